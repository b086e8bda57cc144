//! The application that the unit tests plan for.
use std::collections::BTreeMap;

use landfall_model::app::*;
use landfall_model::ids::RepositoryKey;
use landfall_model::task::ContainerSettings;

pub(crate) fn app() -> App {
    let key = RepositoryKey::new("my-project");
    let repository = Repository {
        key: key.clone(),
        github: None,
        github_id: None,
        source: Some("/srv/git/my-project".to_owned()),
        omit: None,
    };
    App {
        project: "my-project".to_owned(),
        repositories: BTreeMap::from([(key, repository)]),
        services: BTreeMap::from([("app".to_owned(), web()), ("worker".to_owned(), worker())]),
        environments: BTreeMap::new(),
        previews: Some(previews()),
        notifications: Vec::new(),
        webhook_secrets: Vec::new(),
        aws: BTreeMap::new(),
        chatops: None,
        ci: None,
        pipelines: BTreeMap::new(),
    }
}

pub(crate) fn settings() -> ContainerSettings {
    ContainerSettings { essential: true, stop_timeout: 30, ..ContainerSettings::default() }
}

fn build(context: &str) -> ImageSource {
    ImageSource::Build(BuildSource {
        context: context.to_owned(),
        dockerfile: "Dockerfile".to_owned(),
        args: BTreeMap::new(),
        target: None,
        timeout: 600,
    })
}

fn deployment() -> DeploymentConfiguration {
    DeploymentConfiguration {
        minimum_healthy_percent: 100,
        maximum_percent: 200,
        circuit_breaker: CircuitBreaker { enable: true, rollback: true, threshold: None },
        health_check_grace_period: 5,
        timeout: 300,
        strategy: Default::default(),
        alarms: None,
    }
}

fn web() -> Service {
    Service {
        launch_type: landfall_model::task::LaunchType::Fargate,
        base_task_definition: None,
        documents: None,
        name: "app".to_owned(),
        cpu: Some(256),
        memory: Some(512),
        containers: vec![
            ContainerTemplate { name: "app".to_owned(), image: build("."), settings: settings() },
            ContainerTemplate {
                name: "proxy".to_owned(),
                image: ImageSource::Reference("docker.io/library/nginx:1.29".to_owned()),
                settings: ContainerSettings { ports: vec![8080], ..settings() },
            },
        ],
        desired_count: 2,
        deployment: deployment(),
        load_balancer: Some(LoadBalancerBinding {
            container: "proxy".to_owned(),
            port: 8080,
            health_check: TargetHealthCheck {
                protocol: landfall_model::app::HealthCheckProtocol::Http,
                path: "/".to_owned(),
                port: None,
                interval_ms: 500,
                timeout_ms: 400,
                healthy_threshold: 2,
                unhealthy_threshold: 2,
                matcher: "200-399".to_owned(),
            },
            deregistration_delay: 5,
            algorithm: BalancingAlgorithm::RoundRobin,
            idle_timeout: 60,
        }),
    }
}

fn worker() -> Service {
    Service {
        launch_type: landfall_model::task::LaunchType::Fargate,
        base_task_definition: None,
        documents: None,
        name: "worker".to_owned(),
        cpu: None,
        memory: None,
        containers: vec![ContainerTemplate {
            name: "worker".to_owned(),
            image: ImageSource::Await(AwaitSource {
                image: "registry.example/worker:{short_commit}".to_owned(),
                label: None,
                deadline: 900,
                build: None,
                tags: Vec::new(),
            }),
            settings: settings(),
        }],
        desired_count: 1,
        deployment: deployment(),
        load_balancer: None,
    }
}

fn previews() -> Previews {
    Previews {
        on: None,
        branches: vec!["feature/*".to_owned()],
        ignore: Vec::new(),
        pull_requests: true,
        services: vec!["app".to_owned()],
        desired_count: Some(1),
        variables: BTreeMap::from([("MODE".to_owned(), "preview".to_owned())]),
        routing: Routing::Host { domain: "my-project.localhost".to_owned(), port: 8080 },
        ttl: Some(3600),
        limits: Limits { max_previews: None, concurrent_builds: 2, concurrent_executions: 8 },
        hooks: Vec::new(),
        sleep: None,
    }
}

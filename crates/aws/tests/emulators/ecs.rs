//! The orchestrator port on ECS, against ministack and moto.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_ecs::config::{BehaviorVersion, Region};
use aws_sdk_ecs::types as ecs;
use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_model::app::{CircuitBreaker, DeploymentConfiguration};
use landfall_model::aws::AwsTarget;
use landfall_model::inventory::{ResourceKind, TAG_CONTENT_HASH, TAG_ENVIRONMENT, TAG_EXECUTION, TAG_INSTANCE, Tags};
use landfall_model::task::{ContainerDefinition, ContainerSettings, LaunchType, SecretRef, TaskDefinition};
use landfall_ports::PortError;
use landfall_ports::orchestrator::{
    Orchestrator, PutService, RolloutState, RunTaskRequest, ServiceDescription, ServiceStatus,
};

use crate::emulator;
use crate::raw::Raw;

const REGION: &str = "eu-west-1";
const INSTANCE: &str = "aws-tests";
const CLUSTER: &str = "main";

/// A cluster in an account of its own.
struct Place {
    platform: AwsPlatform,
    orchestrator: Arc<dyn Orchestrator>,
    /// What tests look with.
    ecs: aws_sdk_ecs::Client,
    target: AwsTarget,
    account: String,
}

impl Place {
    async fn ministack() -> Self {
        Self::new(&emulator::ministack(), &emulator::account(), REGION).await
    }

    /// moto has one account for all: a region to each test.
    async fn moto(region: &str) -> Self {
        Self::new(&emulator::moto(), "test", region).await
    }

    async fn new(endpoint: &str, account: &str, region: &str) -> Self {
        let config = aws_sdk_ecs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .credentials_provider(emulator::credentials(account))
            .endpoint_url(endpoint)
            .build();
        let ecs = aws_sdk_ecs::Client::from_conf(config);
        ecs.create_cluster().cluster_name(CLUSTER).send().await.unwrap();
        let raw = Raw::new(endpoint, region);
        let subnets = raw.query("ec2", &[("Action", "DescribeSubnets"), ("Version", "2016-11-15")]).await;
        let subnets =
            subnets.split("<subnetId>").skip(1).take(2).map(|rest| rest.split_once('<').unwrap().0.to_owned());
        let target = AwsTarget {
            name: "test".to_owned(),
            region: Some(region.to_owned()),
            endpoint: Some(endpoint.to_owned()),
            cluster: CLUSTER.to_owned(),
            subnets: subnets.collect(),
            security_groups: vec!["sg-1".to_owned()],
            execution_role: Some(format!("arn:aws:iam::{account:0>12}:role/execution")),
            log_group: Some("/landfall/tests".to_owned()),
            ..AwsTarget::default()
        };
        let platform = connect(&target, account, INSTANCE).await;
        Self { orchestrator: platform.orchestrator(), platform, ecs, target, account: account.to_owned() }
    }

    async fn another_installation(&self) -> Arc<dyn Orchestrator> {
        connect(&self.target, &self.account, "another").await.orchestrator()
    }

    async fn register(&self, definition: &TaskDefinition, environment: &str) -> String {
        self.orchestrator.register_task_definition(definition, &tags(environment, "exe_1")).await.unwrap().handle
    }

    async fn raw_service(&self, name: &str) -> ecs::Service {
        let found = self.ecs.describe_services().cluster(CLUSTER).services(name).include(ecs::ServiceField::Tags);
        found.send().await.unwrap().services.unwrap().remove(0)
    }

    async fn service(&self, name: &str) -> ServiceDescription {
        self.orchestrator.describe_service(name).await.unwrap().unwrap()
    }

    fn modified(&self) -> u64 {
        self.platform.calls().get("ecs-service-modify").copied().unwrap_or_default()
    }
}

async fn connect(target: &AwsTarget, account: &str, instance: &str) -> AwsPlatform {
    let options = AwsOptions { instance: instance.to_owned() };
    // Budgets are shared by account and region: the account keeps tests that count calls apart.
    let target = AwsTarget { account: (account.len() == 12).then(|| account.to_owned()), ..target.clone() };
    AwsPlatform::connect_as(&target, options, emulator::credentials(account)).await.unwrap()
}

pub(crate) fn tags(environment: &str, execution: &str) -> Tags {
    let pairs = [(TAG_ENVIRONMENT, environment), (TAG_EXECUTION, execution)];
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn definition(family: &str, image: &str) -> TaskDefinition {
    TaskDefinition {
        family: family.to_owned(),
        cpu: Some(256),
        memory: Some(512),
        containers: vec![ContainerDefinition {
            name: "app".to_owned(),
            image: image.to_owned(),
            settings: ContainerSettings {
                ports: vec![4567],
                environment: BTreeMap::from([("STAGE".to_owned(), "preview".to_owned())]),
                essential: true,
                stop_timeout: 30,
                ..ContainerSettings::default()
            },
        }],
        ..TaskDefinition::default()
    }
}

pub(crate) fn put(name: &str, environment: &str, task_definition: &str) -> PutService {
    PutService {
        name: name.to_owned(),
        launch_type: LaunchType::Fargate,
        task_definition: task_definition.to_owned(),
        desired_count: 2,
        keep_count: false,
        deployment: DeploymentConfiguration {
            minimum_healthy_percent: 50,
            maximum_percent: 150,
            circuit_breaker: CircuitBreaker { enable: true, rollback: true, threshold: Some(5) },
            health_check_grace_period: 0,
            timeout: 900,
            strategy: Default::default(),
            alarms: None,
        },
        target: None,
        tags: tags(environment, "exe_1"),
        adopt: false,
        replace: None,
        document: None,
    }
}

#[tokio::test]
async fn an_identical_definition_is_registered_once() {
    let place = Place::ministack().await;
    let (first, tags) = (definition("app-x", "app:1"), tags("app-x", "exe_1"));
    let made = place.orchestrator.register_task_definition(&first, &tags).await.unwrap();
    assert!(made.created && made.handle.ends_with("task-definition/app-x:1"), "{made:?}");
    let again = place.orchestrator.register_task_definition(&first, &tags).await.unwrap();
    assert_eq!((again.created, &again.handle), (false, &made.handle));
    // Also by a process that knows nothing of it.
    let later = connect(&place.target, &place.account, INSTANCE).await.orchestrator();
    assert!(!later.register_task_definition(&first, &tags).await.unwrap().created);

    let other = definition("app-x", "app:2");
    assert!(place.orchestrator.register_task_definition(&other, &tags).await.unwrap().created);
    // This process knows the first one still.
    let back = place.orchestrator.register_task_definition(&first, &tags).await.unwrap();
    assert_eq!((back.created, &back.handle), (false, &made.handle));

    place.orchestrator.deregister_task_definition(&made.handle).await.unwrap();
    place.orchestrator.deregister_task_definition(&made.handle).await.unwrap();
    place.orchestrator.deregister_task_definition("app-nowhere:7").await.unwrap();
    let anew = place.orchestrator.register_task_definition(&first, &tags).await.unwrap();
    assert!(anew.created && anew.handle != made.handle);
    let foreign = place.another_installation().await;
    assert!(foreign.register_task_definition(&first, &tags).await.unwrap().created, "another's is not ours");
}

#[tokio::test]
async fn what_ecs_registers_is_what_was_asked_for() {
    for place in [Place::ministack().await, Place::moto("eu-west-1").await] {
        let mut asked = definition("app-y", "app:1");
        let settings = &mut asked.containers[0].settings;
        settings.secrets.insert("DB".to_owned(), SecretRef::Ssm("/app/db".to_owned()));
        settings.command = vec!["serve".to_owned()];
        let handle = place.register(&asked, "app-y").await;
        let read = place.ecs.describe_task_definition().task_definition(&handle);
        let read = read.include(ecs::TaskDefinitionField::Tags).send().await.unwrap();
        let tags = read.tags().iter().map(|tag| (tag.key().unwrap(), tag.value().unwrap()));
        let tags: BTreeMap<_, _> = tags.collect();
        assert_eq!(tags.get(TAG_ENVIRONMENT), Some(&"app-y"));
        assert_eq!(tags.get(TAG_INSTANCE), Some(&INSTANCE));
        assert_eq!(tags.get(TAG_CONTENT_HASH).unwrap().len(), 64);
        let read = read.task_definition.unwrap();
        assert_eq!(read.network_mode(), Some(&ecs::NetworkMode::Awsvpc));
        assert_eq!(read.requires_compatibilities(), [ecs::Compatibility::Fargate]);
        assert_eq!((read.cpu(), read.memory()), (Some("256"), Some("512")));
        let app = &read.container_definitions()[0];
        assert_eq!(app.command(), ["serve"]);
        assert_eq!(app.port_mappings()[0].container_port(), Some(4567));
        assert_eq!((app.secrets()[0].name(), app.secrets()[0].value_from()), ("DB", "/app/db"));
        let log = app.log_configuration().unwrap();
        assert_eq!(log.options().unwrap()["awslogs-group"], "/landfall/tests");
        assert_eq!(log.options().unwrap()["awslogs-stream-prefix"], "app-y");
    }
}

#[tokio::test]
async fn a_base_keeps_what_ours_does_not_say() {
    let place = Place::ministack().await;
    let variable = |name: &str, value: &str| ecs::KeyValuePair::builder().name(name).value(value).build();
    let app = ecs::ContainerDefinition::builder()
        .name("app")
        .image("registry/app:base")
        .memory(300)
        .environment(variable("STAGE", "dev"))
        .environment(variable("KEPT", "1"))
        .port_mappings(ecs::PortMapping::builder().container_port(4567).host_port(0).build())
        .mount_points(ecs::MountPoint::builder().source_volume("data").container_path("/data").build());
    let sidecar = ecs::ContainerDefinition::builder().name("sidecar").image("sidecar:3").memory(64);
    let base = (place.ecs.register_task_definition().family("base"))
        .network_mode(ecs::NetworkMode::Bridge)
        .volumes(ecs::Volume::builder().name("data").build())
        .container_definitions(app.build())
        .container_definitions(sidecar.build());
    base.send().await.unwrap();
    let ours = TaskDefinition {
        base: Some("base".to_owned()),
        launch_type: LaunchType::Ec2,
        cpu: None,
        memory: None,
        ..definition("app-z", "registry/app:branch")
    };
    let handle = place.register(&ours, "app-z").await;
    assert!(handle.ends_with("app-z:1"));
    let read = place.ecs.describe_task_definition().task_definition(&handle).send().await.unwrap();
    let read = read.task_definition.unwrap();
    assert_eq!(read.network_mode(), Some(&ecs::NetworkMode::Bridge));
    assert_eq!(read.volumes()[0].name(), Some("data"));
    let [app, sidecar] = read.container_definitions() else { panic!("{read:?}") };
    assert_eq!((app.image(), sidecar.image()), (Some("registry/app:branch"), Some("sidecar:3")));
    assert_eq!(app.memory(), Some(300));
    assert_eq!(app.mount_points().len(), 1);
    assert_eq!(app.port_mappings().len(), 1);
    let environment = app.environment().iter().map(|pair| (pair.name().unwrap(), pair.value().unwrap()));
    let environment: BTreeMap<_, _> = environment.collect();
    assert_eq!(environment, BTreeMap::from([("KEPT", "1"), ("STAGE", "preview")]));

    let missing = TaskDefinition { base: Some("nowhere".to_owned()), ..ours };
    let error = place.orchestrator.register_task_definition(&missing, &tags("app-z", "exe_1")).await.unwrap_err();
    assert!(matches!(&error, PortError::NotFound(text) if text.contains("nowhere")), "{error:?}");
}

#[tokio::test]
async fn a_service_lives_from_creation_to_deletion() {
    let place = Place::ministack().await;
    let first = place.register(&definition("app-s", "app:1"), "app-s").await;
    let request = put("app-s-service", "app-s", &first);
    assert!(place.orchestrator.describe_service("app-s-service").await.unwrap().is_none());
    let made = place.orchestrator.put_service(&request).await.unwrap();
    assert!(made.created);

    let raw = place.raw_service("app-s-service").await;
    assert_eq!(raw.launch_type(), Some(&ecs::LaunchType::Fargate));
    assert_eq!(raw.propagate_tags(), Some(&ecs::PropagateTags::Service));
    let vpc = raw.network_configuration().unwrap().awsvpc_configuration().unwrap();
    assert_eq!(vpc.subnets(), place.target.subnets);
    assert_eq!(vpc.assign_public_ip(), Some(&ecs::AssignPublicIp::Disabled));

    let described = place.service("app-s-service").await;
    assert_eq!((described.status, described.desired), (ServiceStatus::Active, 2));
    assert_eq!(described.task_definition, first);
    assert_eq!(described.deployments[0].id, made.deployment);
    assert_eq!(described.deployments[0].rollout, RolloutState::Completed);
    let settings = described.settings.unwrap();
    assert_eq!(settings.deployment, request.deployment);
    assert_eq!(described.tags.get(TAG_EXECUTION).map(String::as_str), Some("exe_1"));

    // The same again, also by a later execution, changes nothing.
    let before = place.modified();
    let again = place.orchestrator.put_service(&request).await.unwrap();
    assert_eq!((again.deployment, again.created), (made.deployment.clone(), true));
    let later = PutService { tags: tags("app-s", "exe_2"), ..request.clone() };
    let again = place.orchestrator.put_service(&later).await.unwrap();
    assert_eq!((again.deployment, again.created), (made.deployment.clone(), false));
    assert_eq!(place.modified(), before);

    // What differs is sent, and who made the service stays told.
    let second = place.register(&definition("app-s", "app:2"), "app-s").await;
    let update = PutService { task_definition: second.clone(), desired_count: 3, ..later };
    let updated = place.orchestrator.put_service(&update).await.unwrap();
    assert_ne!(updated.deployment, made.deployment);
    let described = place.service("app-s-service").await;
    assert_eq!((&described.task_definition, described.desired), (&second, 3));
    assert_eq!(described.tags.get(TAG_EXECUTION).map(String::as_str), Some("exe_1"));
    assert_eq!(described.deployments[0].id, updated.deployment);

    place.orchestrator.scale_service("app-s-service", 0).await.unwrap();
    assert_eq!(place.service("app-s-service").await.desired, 0);
    place.orchestrator.delete_service("app-s-service").await.unwrap();
    assert!(place.orchestrator.describe_service("app-s-service").await.unwrap().is_none());
    place.orchestrator.delete_service("app-s-service").await.unwrap();
    let gone = place.orchestrator.scale_service("app-s-service", 0).await;
    assert!(matches!(gone, Ok(()) | Err(PortError::NotFound(_))), "{gone:?}");
    // An INACTIVE name is free.
    assert!(place.orchestrator.put_service(&request).await.unwrap().created);
}

#[tokio::test]
async fn a_changed_time_limit_is_kept_and_starts_no_deployment() {
    let place = Place::ministack().await;
    let handle = place.register(&definition("app-t", "app:1"), "app-t").await;
    let mut request = put("app-t-service", "app-t", &handle);
    let made = place.orchestrator.put_service(&request).await.unwrap();
    request.deployment.timeout = 60;
    assert_eq!(place.orchestrator.put_service(&request).await.unwrap().deployment, made.deployment);
    assert_eq!(place.service("app-t-service").await.settings.unwrap().deployment.timeout, 60);
}

#[tokio::test]
async fn what_others_made_is_left_alone() {
    let place = Place::ministack().await;
    let handle = place.register(&definition("app-f", "app:1"), "app-f").await;
    let request = put("app-f-service", "app-f", &handle);
    place.orchestrator.put_service(&request).await.unwrap();
    let conflicts = [
        place.another_installation().await.put_service(&request).await,
        place.orchestrator.put_service(&PutService { tags: tags("app-g", "exe_1"), ..request.clone() }).await,
    ];
    for outcome in conflicts {
        assert!(matches!(&outcome, Err(PortError::Conflict(text)) if text.contains("app-f")), "{outcome:?}");
    }
    let bare = place.ecs.create_service().cluster(CLUSTER).service_name("bare").task_definition(&handle);
    bare.desired_count(0).send().await.unwrap();
    let outcome = place.orchestrator.put_service(&PutService { name: "bare".to_owned(), ..request }).await;
    assert!(matches!(&outcome, Err(PortError::Conflict(text)) if text.contains("not made by Landfall")), "{outcome:?}");
}

pub(crate) fn one_off(handle: &str, token: &str) -> RunTaskRequest {
    RunTaskRequest {
        token: token.to_owned(),
        task_definition: handle.to_owned(),
        container: None,
        command: vec!["migrate".to_owned()],
        environment: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        service: None,
        tags: tags("app-r", "exe_1"),
    }
}

#[tokio::test]
async fn a_token_runs_one_task() {
    for place in [Place::ministack().await, Place::moto("eu-west-2").await] {
        let mut asked = definition("app-r", "app:1");
        // moto sums up the containers' limits and fails where one has none.
        asked.containers[0].settings.memory = Some(256);
        let handle = place.register(&asked, "app-r").await;
        let task = place.orchestrator.run_task(&one_off(&handle, "token-1")).await.unwrap();
        assert_eq!(place.orchestrator.run_task(&one_off(&handle, "token-1")).await.unwrap(), task);
        let other = place.orchestrator.run_task(&one_off(&handle, "token-2")).await.unwrap();
        assert_ne!(other, task);
        let raw = place.ecs.describe_tasks().cluster(CLUSTER).tasks(&task).send().await.unwrap();
        let container = &raw.tasks()[0].overrides().unwrap().container_overrides()[0];
        assert_eq!((container.name(), container.command()), (Some("app"), &["migrate".to_owned()][..]));

        let described = place.orchestrator.describe_task(&task).await.unwrap().unwrap();
        assert_eq!((&described.id, described.containers.len()), (&task, 1));
        place.orchestrator.stop_task(&task, "enough").await.unwrap();
        let described = place.orchestrator.describe_task(&task).await.unwrap().unwrap();
        assert_eq!(described.last_status, "STOPPED");
        assert_eq!(described.stopped_reason.as_deref(), Some("enough"));
        // Found again after it has stopped, too.
        assert_eq!(place.orchestrator.run_task(&one_off(&handle, "token-1")).await.unwrap(), task);
        place.orchestrator.stop_task(&task, "again").await.unwrap();
        // moto answers 500.
        if place.account != "test" {
            place.orchestrator.stop_task("0123456789abcdef0123456789abcdef", "never was").await.unwrap();
        }
        assert!(place.orchestrator.describe_task("0123456789abcdef0123456789abcdef").await.unwrap().is_none());
        // No log group exists: no lines, and no error.
        assert!(place.orchestrator.task_log_tail(&other, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn everything_of_an_environment_is_listed_and_can_be_deleted() {
    let place = Place::ministack().await;
    let foreign = place.another_installation().await;
    let kinds = [ResourceKind::Service, ResourceKind::Task, ResourceKind::TaskDefinition, ResourceKind::Rule];
    for environment in ["app-l", "app-l2"] {
        let family = definition(environment, "app:1");
        let handle = place.register(&family, environment).await;
        let second = format!("{environment}--worker");
        place.register(&definition(&second, "app:1"), environment).await;
        for number in 0..12 {
            let request =
                PutService { desired_count: 0, ..put(&format!("{environment}-{number}"), environment, &handle) };
            place.orchestrator.put_service(&request).await.unwrap();
        }
        let task = RunTaskRequest { tags: tags(environment, "exe_1"), ..one_off(&handle, environment) };
        place.orchestrator.run_task(&task).await.unwrap();
    }
    let handle =
        foreign.register_task_definition(&definition("app-l", "app:1"), &tags("app-l", "exe_1")).await.unwrap();
    foreign.put_service(&put("theirs", "app-l", &handle.handle)).await.unwrap();

    let listing = place.orchestrator.list_owned(Some("app-l"), &kinds).await.unwrap();
    assert!(listing.complete);
    let count = |kind| listing.items.iter().filter(|item| item.kind == kind).count();
    assert_eq!(kinds.map(count), [12, 1, 2, 0], "{:?}", listing.items);
    assert!(listing.items.iter().all(|item| item.environment == "app-l"));
    let all = place.orchestrator.list_owned(None, &kinds).await.unwrap();
    assert_eq!(all.items.len(), 30);

    for item in &listing.items {
        place.orchestrator.delete_owned(item).await.unwrap();
    }
    assert!(place.orchestrator.list_owned(Some("app-l"), &kinds).await.unwrap().items.is_empty());
    assert_eq!(place.orchestrator.list_owned(None, &kinds).await.unwrap().items.len(), 15);
    // And its two tasks, on an endpoint that hands a service's tags on.
    let theirs = foreign.list_owned(None, &[ResourceKind::Service, ResourceKind::TaskDefinition]).await.unwrap();
    assert_eq!(theirs.items.len(), 2);
}

#[tokio::test]
async fn fifty_services_polled_together_are_five_calls() {
    let place = Place::ministack().await;
    let handle = place.register(&definition("app-m", "app:1"), "app-m").await;
    for number in 0..50 {
        let request = PutService { desired_count: 0, ..put(&format!("app-m-{number}"), "app-m", &handle) };
        place.orchestrator.put_service(&request).await.unwrap();
    }
    let before = place.platform.calls();
    let mut polls = tokio::task::JoinSet::new();
    for number in 0..50 {
        let orchestrator = Arc::clone(&place.orchestrator);
        polls.spawn(async move { orchestrator.describe_service(&format!("app-m-{number}")).await });
    }
    for described in polls.join_all().await {
        assert_eq!(described.unwrap().unwrap().deployments.len(), 1);
    }
    let after = place.platform.calls();
    assert_eq!(after["ecs-service-read"] - before["ecs-service-read"], 5);
    let others = |calls: &BTreeMap<&str, u64>| {
        calls.iter().filter(|(k, _)| **k != "ecs-service-read").map(|(_, n)| n).sum::<u64>()
    };
    assert_eq!(others(&after), others(&before));
}

#[tokio::test]
async fn the_wrong_account_writes_nothing() {
    let place = Place::ministack().await;
    let target = AwsTarget { account: Some("999999999999".to_owned()), ..place.target.clone() };
    let options = AwsOptions { instance: INSTANCE.to_owned() };
    let platform = AwsPlatform::connect_as(&target, options, emulator::credentials(&place.account)).await.unwrap();
    let orchestrator = platform.orchestrator();
    let error = orchestrator.register_task_definition(&definition("app-w", "app:1"), &tags("app-w", "exe_1")).await;
    let Err(PortError::Denied(text)) = &error else { panic!("{error:?}") };
    assert!(text.contains(&place.account) && text.contains("999999999999"), "{text}");
    place.register(&definition("app-w", "app:1"), "app-w").await;
    let ours = put("app-w-service", "app-w", "app-w");
    place.orchestrator.put_service(&ours).await.unwrap();
    assert!(matches!(orchestrator.delete_service(&ours.name).await, Err(PortError::Denied(_))));
    // Reading is free.
    assert!(orchestrator.describe_service("any").await.unwrap().is_none());
    assert_eq!(platform.account().await.unwrap(), place.account);
}

#[tokio::test]
async fn a_missing_cluster_says_what_to_correct() {
    let place = Place::moto("eu-west-3").await;
    let target = AwsTarget { cluster: "nowhere".to_owned(), ..place.target.clone() };
    let orchestrator = connect(&target, "test", INSTANCE).await.orchestrator();
    let error = orchestrator.describe_service("any").await.unwrap_err();
    assert!(
        matches!(&error, PortError::Invalid(text) if text.contains("nowhere") && text.contains("eu-west-3")),
        "{error:?}"
    );
}

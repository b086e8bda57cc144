//! The resolved manifest that a project amounts to.

use std::collections::BTreeMap;

use landfall_manifest::yaml::shorten;
use landfall_model::app::{
    App, CircuitBreaker, ContainerTemplate, DeploymentConfiguration, ImageSource, LongLivedEnvironment, Repository,
    Service, ServiceDocuments,
};
use landfall_model::aws::AwsTarget;
use landfall_model::ids::RepositoryKey;
use landfall_model::task::{ContainerSettings, LaunchType};
use serde_json::{Map, Value, json};

use super::{EcspressoProject, Inputs};
use crate::codes;
use crate::write::slug;

pub(super) enum About {
    Config,
    Task,
    Service,
}

/// Something that only both files together show, so that it has a file and no line.
pub(super) struct Wrong {
    pub about: About,
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

/// ecspresso's own default.
const TIMEOUT: u32 = 600;

type Document = Map<String, Value>;

/// A task definition that stands alone: what it must have, and its sizes as ECS has them.
pub(super) fn finish(task: &mut Document) -> Result<(), Wrong> {
    if task.get("family").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(missing(About::Task, "family"));
    }
    sizes(task)?;
    containers(task).map(drop)
}

pub(super) fn project(
    settings: &Document,
    mut task: Document,
    service: Option<Document>,
    inputs: &Inputs<'_>,
    notes: Vec<String>,
) -> Result<EcspressoProject, Wrong> {
    let text = |key: &str| settings.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(family) = task.get("family").and_then(Value::as_str).map(str::to_owned) else {
        return Err(missing(About::Task, "family"));
    };
    sizes(&mut task)?;
    let ignored = ignored_tags(settings);
    without(&mut task, &ignored);
    let containers = containers(&task)?;
    let region = super::region(Some(settings), inputs);
    let cluster = text("cluster").unwrap_or("default").to_owned();
    let environment = inputs.environment.to_owned();
    let target = AwsTarget { name: environment.clone(), region, cluster: name_of(&cluster), ..AwsTarget::default() };
    let timeout = settings.get("timeout").and_then(seconds).unwrap_or(TIMEOUT);

    let task_definition = Value::Object(task);
    let mut services = BTreeMap::new();
    let mut names = BTreeMap::new();
    let mut counts = BTreeMap::new();
    let mut key = None;
    if let Some(mut document) = service {
        without(&mut document, &ignored);
        let named = text("service").or_else(|| document.get("serviceName").and_then(Value::as_str));
        let Some(name) = named.map(str::to_owned) else { return Err(missing(About::Config, "service")) };
        document.insert("serviceName".to_owned(), Value::from(name.as_str()));
        only_ecs(&document)?;
        names_containers(&document, &containers)?;
        let own = slug(&name).unwrap_or_else(|| "service".to_owned());
        if let Some(count) = document.get("desiredCount").and_then(Value::as_u64) {
            counts.insert(own.clone(), u32::try_from(count).unwrap_or(u32::MAX));
        }
        let service = Service {
            name: own.clone(),
            launch_type: launch_type(&document, &task_definition),
            base_task_definition: None,
            cpu: None,
            memory: None,
            containers,
            // A new service's; the count of one that is there stays where the document has none.
            desired_count: counts.get(&own).copied().unwrap_or(1),
            deployment: deployment(&document, timeout),
            load_balancer: None,
            documents: Some(ServiceDocuments {
                task_definition: task_definition.clone(),
                service: Value::Object(document),
            }),
        };
        services.insert(own.clone(), service);
        names.insert(own.clone(), name);
        key = Some(own);
    }
    let project = slug(&family).unwrap_or_else(|| "app".to_owned());
    let repository = RepositoryKey::new(project.clone());
    let long_lived = LongLivedEnvironment {
        name: environment.clone(),
        on: Some(environment.clone()),
        services: key.iter().cloned().collect(),
        variables: BTreeMap::new(),
        names,
        routing: None,
        target_groups: BTreeMap::new(),
        desired_count: counts,
        verify: None,
        schedules: BTreeMap::new(),
        stack: None,
    };
    let app = App {
        project: project.clone(),
        repositories: [(
            repository.clone(),
            Repository { key: repository, github: None, github_id: None, source: None, omit: None },
        )]
        .into(),
        services,
        environments: [(environment.clone(), long_lived)].into(),
        previews: None,
        notifications: Vec::new(),
        webhook_secrets: Vec::new(),
        aws: [(environment.clone(), target)].into(),
        chatops: None,
        ci: None,
        pipelines: BTreeMap::new(),
    };
    Ok(EcspressoProject { app, environment, service: key, task_definition, notes })
}

fn missing(about: About, key: &str) -> Wrong {
    Wrong { about, code: codes::MISSING, message: format!("`{key}` is missing"), help: None }
}

/// Clusters may be given by ARN; their name is the end of it.
fn name_of(cluster: &str) -> String {
    match cluster.strip_prefix("arn:") {
        Some(_) => cluster.rsplit('/').next().unwrap_or(cluster).to_owned(),
        None => cluster.to_owned(),
    }
}

/// As Go writes durations: `10m0s`, `1h30m`, `1.5h`. Whole seconds, rounded up.
pub(super) fn seconds(value: &Value) -> Option<u32> {
    let mut rest = value.as_str()?.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                "us" | "µs" => 0.000_001,
                "ns" => 0.000_000_001,
                _ => return None,
            };
        rest = &rest[end..];
    }
    let most = f64::from(u32::MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and u32::MAX")]
    (total > 0.0 && total <= most).then(|| total.ceil() as u32)
}

/// `0.25 vCPU`, `.5 vcpu`, `0.5 GB`: the numbers that ECS makes of them.
fn sizes(task: &mut Document) -> Result<(), Wrong> {
    for (key, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
        let Some(Value::String(text)) = task.get(key) else { continue };
        let lower = text.trim().to_ascii_lowercase();
        let number = match lower.strip_suffix(unit) {
            None => lower.parse::<u32>().ok(),
            Some(number) => number.trim().parse::<f64>().ok().map(|number| number * 1024.0).and_then(|units| {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, and whole")]
                ((1.0..=1e9).contains(&units) && units.fract() == 0.0).then_some(units as u32)
            }),
        };
        let Some(number) = number else {
            return Err(Wrong {
                about: About::Task,
                code: codes::BAD_VALUE,
                message: format!("`{key}` cannot be `{}`", shorten(text)),
                help: Some("a number, or such as `0.25 vCPU` and `0.5 GB`".to_owned()),
            });
        };
        task.insert(key.to_owned(), Value::from(number.to_string()));
    }
    Ok(())
}

fn ignored_tags(settings: &Document) -> Vec<String> {
    let tags = settings.get("ignore").and_then(|ignore| ignore["tags"].as_array());
    tags.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Tags that `ignore` names are left as they are.
fn without(document: &mut Document, ignored: &[String]) {
    if let Some(Value::Array(tags)) = document.get_mut("tags") {
        tags.retain(|tag| !ignored.iter().any(|ignored| tag["key"] == *ignored));
        if tags.is_empty() {
            document.remove("tags");
        }
    }
}

fn containers(task: &Document) -> Result<Vec<ContainerTemplate>, Wrong> {
    let given = task.get("containerDefinitions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if given.is_empty() {
        return Err(missing(About::Task, "containerDefinitions"));
    }
    let mut containers: Vec<ContainerTemplate> = Vec::new();
    for (index, container) in given.iter().enumerate() {
        let text = |key: &str| container[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let path = |key: &str| format!("containerDefinitions[{index}].{key}");
        let name = text("name").ok_or_else(|| missing(About::Task, &path("name")))?;
        if containers.iter().any(|container| container.name == name) {
            let message = format!("two containers are called `{}`", shorten(&name));
            return Err(Wrong { about: About::Task, code: codes::BAD_VALUE, message, help: None });
        }
        let image = text("image").ok_or_else(|| missing(About::Task, &path("image")))?;
        let settings = ContainerSettings {
            essential: container["essential"].as_bool().unwrap_or(true),
            stop_timeout: 30,
            ..ContainerSettings::default()
        };
        containers.push(ContainerTemplate { name, image: ImageSource::Reference(image), settings });
    }
    Ok(containers)
}

/// Deployments are ECS's own: rolling, blue/green, linear, canary.
fn only_ecs(service: &Document) -> Result<(), Wrong> {
    let controller = service.get("deploymentController").and_then(|controller| controller["type"].as_str());
    match controller {
        None | Some("ECS") => Ok(()),
        Some(other) => Err(Wrong {
            about: About::Service,
            code: codes::UNSUPPORTED,
            message: format!("the deployment controller {} is not supported", shorten(other)),
            help: Some(match other {
                "CODE_DEPLOY" => "ECS does blue/green itself: `deploymentConfiguration: {strategy: BLUE_GREEN}` with \
                                  `loadBalancers[].advancedConfiguration`, and the controller ECS; docs/ecspresso.md says how to move"
                    .to_owned(),
                _ => "use the controller ECS".to_owned(),
            }),
        }),
    }
}

fn names_containers(service: &Document, containers: &[ContainerTemplate]) -> Result<(), Wrong> {
    let balancers = service.get("loadBalancers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (index, balancer) in balancers.iter().enumerate() {
        let Some(name) = balancer["containerName"].as_str() else { continue };
        if !containers.iter().any(|container| container.name == name) {
            return Err(Wrong {
                about: About::Service,
                code: codes::BAD_VALUE,
                message: format!(
                    "`loadBalancers[{index}].containerName` is `{}`: the task definition has no such container",
                    shorten(name)
                ),
                help: landfall_manifest::did_you_mean(name, containers.iter().map(|container| container.name.as_str())),
            });
        }
    }
    Ok(())
}

fn launch_type(service: &Document, task: &Value) -> LaunchType {
    let text = service.get("launchType").and_then(Value::as_str);
    let providers = service.get("capacityProviderStrategy").and_then(Value::as_array);
    let fargate = match (text, providers) {
        (Some(text), _) => text.eq_ignore_ascii_case("FARGATE"),
        (None, Some(providers)) => providers
            .iter()
            .any(|provider| provider["capacityProvider"].as_str().is_some_and(|name| name.starts_with("FARGATE"))),
        (None, None) => task["requiresCompatibilities"].as_array().is_some_and(|all| all.contains(&json!("FARGATE"))),
    };
    if fargate { LaunchType::Fargate } else { LaunchType::Ec2 }
}

/// For what Landfall says and waits; what is put is the document.
fn deployment(service: &Document, timeout: u32) -> DeploymentConfiguration {
    let given = service.get("deploymentConfiguration").cloned().unwrap_or_default();
    let number = |value: &Value, default: u32| value.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let breaker = &given["deploymentCircuitBreaker"];
    DeploymentConfiguration {
        minimum_healthy_percent: number(&given["minimumHealthyPercent"], 100),
        maximum_percent: number(&given["maximumPercent"], 200),
        circuit_breaker: CircuitBreaker {
            enable: breaker["enable"].as_bool().unwrap_or(false),
            rollback: breaker["rollback"].as_bool().unwrap_or(false),
            threshold: None,
        },
        health_check_grace_period: service.get("healthCheckGracePeriodSeconds").map_or(0, |value| number(value, 0)),
        timeout,
        strategy: Default::default(),
        alarms: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (text, value) in [("10m0s", 600), ("1h30m", 5400), ("1.5h", 5400), ("90s", 90), ("1500ms", 2)] {
            assert_eq!(seconds(&Value::from(text)), Some(value), "{text}");
        }
        for text in ["", "10", "0s", "m", "5 minutes", "1d", "-1s", "1..5s", "99999999999h"] {
            assert_eq!(seconds(&Value::from(text)), None, "{text}");
        }
    }

    #[test]
    fn sizes_become_the_numbers_of_ecs() {
        let of = |key: &str, text: &str| {
            let mut task: Document = [(key.to_owned(), Value::from(text))].into_iter().collect();
            sizes(&mut task).ok().and_then(|()| task[key].as_str().map(str::to_owned))
        };
        assert_eq!(of("cpu", "0.25 vCPU").as_deref(), Some("256"));
        assert_eq!(of("cpu", ".5 vcpu").as_deref(), Some("512"));
        assert_eq!(of("cpu", "1024").as_deref(), Some("1024"));
        assert_eq!(of("memory", "0.5GB").as_deref(), Some("512"));
        for (key, text) in
            [("cpu", "much"), ("cpu", "0.5 GB"), ("memory", "-1 GB"), ("memory", "0.0001 GB"), ("memory", "nan gb")]
        {
            assert_eq!(of(key, text), None, "{key} {text}");
        }
    }
}

//! The calls on services.

use serde_json::{Map, Value, json};

use super::clusters::{listing, page_size};
use super::rollout::REVISED;
use super::service::{Service, ServiceStatus};
use super::tags_of;
use crate::world::Caller;
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{boolean, leaf, list, number, page, required, text, texts};

/// What of a request is kept and shown as it came.
const KEPT: &[&str] = &[
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "loadBalancers",
    "serviceRegistries",
    "networkConfiguration",
    "healthCheckGracePeriodSeconds",
    "schedulingStrategy",
    "deploymentController",
    "enableECSManagedTags",
    "propagateTags",
    "enableExecuteCommand",
    "availabilityZoneRebalancing",
    "placementConstraints",
    "placementStrategy",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
    "role",
];

impl Space {
    /// The ARN of the service that a request means by name or ARN in a cluster.
    pub fn service_arn(&self, cluster: &str, name: &str) -> String {
        self.arn("ecs", &format!("service/{}/{}", leaf(cluster), leaf(name)))
    }

    fn live_service(&mut self, input: &Value) -> Result<&mut Service, AwsError> {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let arn = self.service_arn(&cluster, required(input, "service")?);
        match self.ecs.services.get_mut(&arn) {
            Some(service) if service.exists() => Ok(service),
            _ => Err(AwsError::new("ServiceNotFoundException", "Service not found.")),
        }
    }

    pub fn create_service(&mut self, caller: &Caller, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let name = required(input, "serviceName")?.to_owned();
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.len() > 255 || !name.chars().all(legal) {
            return Err(AwsError::invalid(
                "Service name must contain only letters, numbers, underscores, and hyphens.",
            ));
        }
        let arn = self.service_arn(&cluster, &name);
        let token = text(input, "clientToken").map(|token| (token.to_owned(), input.clone()));
        if let Some(service) = self.ecs.services.get(&arn) {
            match service.status {
                ServiceStatus::Active if token.is_some() && service.token == token => {
                    return Ok(json!({"service": self.service_view(service, true)}));
                }
                ServiceStatus::Active => {
                    return Err(AwsError::invalid("Creation of service was not idempotent."));
                }
                ServiceStatus::Draining => {
                    return Err(AwsError::invalid("Unable to Start a service that is still Draining."));
                }
                ServiceStatus::Inactive => {}
            }
        }
        let used = self.ecs.services.values().filter(|service| service.cluster == cluster && service.exists()).count();
        if used >= self.rules.limits.services_per_cluster {
            return Err(AwsError::invalid("The maximum number of services per cluster has been reached."));
        }
        let definition = self.active_definition(required(input, "taskDefinition")?)?.arn.clone();
        let desired = number(input, "desiredCount").unwrap_or(0);
        if desired > self.rules.limits.tasks_per_service {
            return Err(AwsError::invalid("The desired count exceeds the maximum number of tasks per service."));
        }
        let spec = spec_of(input, with_defaults(input));
        self.check_service(&definition, &Value::Object(spec.clone()))?;
        let service = Service {
            name,
            arn: arn.clone(),
            cluster,
            status: ServiceStatus::Active,
            desired,
            definition,
            spec,
            created: self.now,
            created_by: caller.arn.clone(),
            deployments: Vec::new(),
            rollouts: Vec::new(),
            revisions: Vec::new(),
            events: std::collections::VecDeque::new(),
            tasks: Vec::new(),
            failures: Vec::new(),
            steady: false,
            token,
            generation: 0,
            look_at: None,
        };
        // An event of the INACTIVE service of this name must not be taken for one of the new service.
        let generation = self.ecs.services.get(&arn).map_or(0, |former| former.generation + 1);
        self.ecs.services.insert(arn.clone(), Service { generation, ..service });
        self.ecs.tags.remove(&arn);
        self.add_tags(&arn, tags_of(input))?;
        self.begin_rollout(&arn);
        self.describe_one(&arn, true)
    }

    fn describe_one(&self, arn: &str, tags: bool) -> Answer {
        let service = self.ecs.services.get(arn);
        let service = service.ok_or_else(|| AwsError::new("ServiceNotFoundException", "Service not found."))?;
        Ok(json!({"service": self.service_view(service, tags)}))
    }

    /// What ECS checks of a service's settings against its task definition and target groups.
    fn check_service(&self, definition: &str, spec: &Value) -> Result<(), AwsError> {
        let definition = self.active_definition(definition)?;
        let awsvpc = definition.word("networkMode") == Some("awsvpc");
        let fargate = text(spec, "launchType") == Some("FARGATE");
        if fargate && !definition.body["compatibilities"].as_array().is_some_and(|all| all.contains(&json!("FARGATE")))
        {
            return Err(AwsError::invalid("Task definition does not support launch_type FARGATE."));
        }
        let subnets = list(&spec["networkConfiguration"]["awsvpcConfiguration"], "subnets");
        if awsvpc && subnets.is_empty() {
            let message = "Network Configuration must be provided when networkMode 'awsvpc' is specified.";
            return Err(AwsError::invalid(message));
        }
        if !awsvpc && !subnets.is_empty() {
            let message = "Network Configuration is not valid for the given networkMode of this task definition.";
            return Err(AwsError::invalid(message));
        }
        for entry in list(spec, "loadBalancers") {
            let Some(group) = text(entry, "targetGroupArn") else { continue };
            let container = text(entry, "containerName").unwrap_or_default();
            let port = number(entry, "containerPort").unwrap_or_default();
            let found = definition.containers().iter().find(|own| text(own, "name") == Some(container));
            let Some(found) = found else {
                return Err(AwsError::invalid(format!(
                    "The container {container} does not exist in the task definition."
                )));
            };
            if !list(found, "portMappings").iter().any(|mapping| number(mapping, "containerPort") == Some(port)) {
                let message = format!("The container {container} did not have a container port {port} defined.");
                return Err(AwsError::invalid(message));
            }
            let Some(kind) = self.target_group_kind(group) else {
                return Err(AwsError::invalid("The specified target group does not exist."));
            };
            if awsvpc && kind == "instance" {
                let message = format!(
                    "The provided target group {group} has target type instance, which is incompatible with the awsvpc \
                     network mode specified in the task definition."
                );
                return Err(AwsError::invalid(message));
            }
            if !self.target_group_is_used(group) {
                let message =
                    format!("The target group with targetGroupArn {group} does not have an associated load balancer.");
                return Err(AwsError::invalid(message));
            }
        }
        Ok(())
    }

    pub fn update_service(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let known = self.ecs.services.get(&self.service_arn(&cluster, required(input, "service")?));
        if known.is_some_and(|service| service.status != ServiceStatus::Active) {
            return Err(AwsError::new("ServiceNotActiveException", "Service was not ACTIVE."));
        }
        let service = self.live_service(input)?;
        let (arn, mut service) = (service.arn.clone(), service.clone());
        let before = (service.definition.clone(), revised(&service.spec));
        if let Some(definition) = text(input, "taskDefinition") {
            service.definition = self.active_definition(definition)?.arn.clone();
        }
        if let Some(desired) = number(input, "desiredCount") {
            if desired > self.rules.limits.tasks_per_service {
                return Err(AwsError::invalid("The desired count exceeds the maximum number of tasks per service."));
            }
            service.desired = desired;
        }
        service.spec = spec_of(input, service.spec);
        let force = boolean(input, "forceNewDeployment") == Some(true);
        let fresh = force || before != (service.definition.clone(), revised(&service.spec));
        if fresh {
            self.check_service(&service.definition, &Value::Object(service.spec.clone()))?;
        }
        let now = self.now;
        service.steady = false;
        if let Some(primary) = service.deployments.first_mut() {
            primary.updated = now;
        }
        self.ecs.services.insert(arn.clone(), service);
        if fresh {
            self.begin_rollout(&arn);
        } else {
            self.look_at_service(&arn);
        }
        self.describe_one(&arn, false)
    }

    pub fn delete_service(&mut self, input: &Value) -> Answer {
        let force = boolean(input, "force") == Some(true);
        let service = self.live_service(input)?;
        if service.status == ServiceStatus::Active && service.desired > 0 && !force {
            return Err(AwsError::invalid("The service cannot be stopped while it is scaled above 0."));
        }
        let arn = service.arn.clone();
        self.begin_draining(&arn);
        self.describe_one(&arn, false)
    }

    pub fn begin_draining(&mut self, arn: &str) {
        let now = self.now;
        let Some(service) = self.ecs.services.get_mut(arn) else { return };
        if service.status == ServiceStatus::Active {
            service.status = ServiceStatus::Draining;
            service.desired = 0;
            service.steady = false;
            if let Some(rollout) = service.rollout() {
                rollout.status = super::service::RolloutStatus::Stopped;
                rollout.reason = Some("The service was deleted.".to_owned());
                rollout.finished = Some(now);
                rollout.stopped = Some(now);
            }
            self.look_at_service(arn);
        }
    }

    pub fn describe_services(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let names = texts(input, "services");
        if names.is_empty() || names.len() > 10 {
            let message = if names.is_empty() {
                "Services cannot be empty."
            } else {
                "Services cannot have more than 10 elements."
            };
            return Err(AwsError::invalid(message));
        }
        let tags = texts(input, "include").iter().any(|word| word == "TAGS");
        let (mut services, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            let arn = self.service_arn(&cluster, &name);
            match self.ecs.services.get(&arn) {
                Some(service) => services.push(self.service_view(service, tags)),
                None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
            }
        }
        Ok(json!({"services": services, "failures": failures}))
    }

    /// A service that drains "is no longer visible in the console or in the ListServices API operation" (DeleteService).
    pub fn list_services(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        // Ten where nothing is said, as AWS.
        let size = if input.get("maxResults").is_some() { page_size(input, 100)? } else { 10 };
        let arns = self
            .ecs
            .services
            .values()
            .filter(|service| service.cluster == cluster && service.status == ServiceStatus::Active);
        let arns = arns.filter(|service| {
            ["launchType", "schedulingStrategy"].iter().all(|key| {
                text(input, key).is_none_or(|wanted| service.spec.get(*key).and_then(Value::as_str) == Some(wanted))
            })
        });
        let arns = arns.map(|service| (service.arn.clone(), service.arn.clone())).collect();
        let (arns, next) = page(arns, text(input, "nextToken"), size)?;
        Ok(listing("serviceArns", arns, next))
    }
}

fn revised(spec: &Map<String, Value>) -> Vec<Option<Value>> {
    REVISED.iter().map(|key| spec.get(*key).cloned()).collect()
}

/// `former` with what the request says.
fn spec_of(input: &Value, mut former: Map<String, Value>) -> Map<String, Value> {
    for key in KEPT {
        if let Some(value) = input.get(*key).filter(|value| !value.is_null()) {
            former.insert((*key).to_owned(), value.clone());
        }
    }
    // A capacity provider strategy takes the place of a launch type.
    if input.get("capacityProviderStrategy").and_then(Value::as_array).is_some_and(|all| !all.is_empty()) {
        former.remove("launchType");
    }
    let network = former.get_mut("networkConfiguration").and_then(|network| network.get_mut("awsvpcConfiguration"));
    if let Some(Value::Object(network)) = network {
        network.entry("securityGroups").or_insert(json!([]));
        network.entry("assignPublicIp").or_insert(json!("DISABLED"));
    }
    let asked = input.get("deploymentConfiguration").and_then(Value::as_object);
    if let Some(Value::Object(own)) = former.get_mut("deploymentConfiguration") {
        for (key, value) in asked.into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            own.insert(key.clone(), value.clone());
        }
    }
    former
}

/// What ECS fills in when a service is made.
fn with_defaults(input: &Value) -> Map<String, Value> {
    let fargate = text(input, "launchType") == Some("FARGATE");
    let defaults = json!({
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": false, "rollback": false},
            "maximumPercent": 200,
            "minimumHealthyPercent": 100,
            "strategy": "ROLLING",
            "bakeTimeInMinutes": 0,
        },
        "launchType": "EC2",
        "loadBalancers": [],
        "serviceRegistries": [],
        "placementConstraints": [],
        "placementStrategy": [],
        "schedulingStrategy": "REPLICA",
        "deploymentController": {"type": "ECS"},
        "enableECSManagedTags": false,
        "propagateTags": "NONE",
        "enableExecuteCommand": false,
        "availabilityZoneRebalancing": "ENABLED",
    });
    let Value::Object(mut defaults) = defaults else { return Map::new() };
    if fargate {
        defaults.insert("platformVersion".to_owned(), json!("LATEST"));
        defaults.insert("platformFamily".to_owned(), json!("Linux"));
    }
    if !list(input, "loadBalancers").is_empty() {
        defaults.insert("healthCheckGracePeriodSeconds".to_owned(), json!(0));
    }
    defaults
}

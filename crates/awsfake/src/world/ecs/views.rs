//! Services and tasks as ECS describes them.

use serde_json::{Value, json};

use super::service::{Deployment, Rolling, Service, ServiceStatus};
use super::task::{Container, Task, TaskState};
use crate::world::space::Space;
use crate::world::value::{list, number, seconds, text, trimmed};

impl Space {
    pub fn service_view(&self, service: &Service, tags: bool) -> Value {
        let tasks = self.service_tasks(&service.arn);
        let running = tasks.iter().filter(|task| task.counts_as_running()).count();
        let pending = tasks.iter().filter(|task| task.counts_as_pending()).count();
        let deployments: Vec<Value> = (service.deployments.iter().enumerate())
            .map(|(place, deployment)| self.deployment_view(service, place == 0, deployment))
            .collect();
        let events: Vec<Value> = (service.events.iter())
            .map(|(id, at, message)| json!({"id": id, "createdAt": seconds(*at), "message": message}))
            .collect();
        let revisions: Vec<Value> = (service.deployments.iter())
            .map(|deployment| {
                let (running, pending) = self.deployment_counts(service, &deployment.id);
                json!({
                    "arn": deployment.revision,
                    "requestedTaskCount": self.requested(service, deployment),
                    "runningTaskCount": running,
                    "pendingTaskCount": pending,
                })
            })
            .collect();
        let mut view = json!({
            "serviceArn": service.arn,
            "serviceName": service.name,
            "clusterArn": service.cluster,
            "status": service.status.word(),
            "desiredCount": service.desired,
            "runningCount": running,
            "pendingCount": pending,
            "taskDefinition": service.definition,
            "deployments": deployments,
            "events": events,
            "createdAt": seconds(service.created),
            "createdBy": service.created_by,
            "currentServiceRevisions": revisions,
            "roleArn": self.role_of_service(service),
        });
        // The one under way, or the one that brought what runs.
        if !self.rules.no_service_deployments
            && service.status == ServiceStatus::Active
            && let Some(rollout) = service.rollouts.first()
        {
            view["currentServiceDeployment"] = rollout.arn.clone().into();
        }
        if self.rules.no_service_deployments
            && let Value::Object(map) = &mut view
        {
            map.remove("currentServiceRevisions");
        }
        if let Value::Object(map) = &mut view {
            map.extend(
                service.spec.iter().filter(|(key, _)| key.as_str() != "role").map(|(k, v)| (k.clone(), v.clone())),
            );
        }
        if tags {
            view["tags"] = self.ecs_tags(&service.arn);
        }
        trimmed(view)
    }

    fn role_of_service(&self, service: &Service) -> Value {
        let balanced = !service.target_groups().is_empty();
        let role = "role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS";
        if balanced { format!("arn:aws:iam::{}:{role}", self.account).into() } else { Value::Null }
    }

    fn requested(&self, service: &Service, deployment: &Deployment) -> u64 {
        let primary = service.deployments.first().is_some_and(|first| first.id == deployment.id);
        if primary {
            return service.desired;
        }
        let tasks = self.service_tasks(&service.arn);
        tasks.iter().filter(|t| t.is_wanted() && t.deployment.as_deref() == Some(deployment.id.as_str())).count() as u64
    }

    fn deployment_view(&self, service: &Service, primary: bool, deployment: &Deployment) -> Value {
        let (running, pending) = self.deployment_counts(service, &deployment.id);
        let status = match (primary, deployment.state, running + pending) {
            (true, ..) => "PRIMARY",
            (false, Rolling::Failed, 0) => "INACTIVE",
            _ => "ACTIVE",
        };
        let mut view = json!({
            "id": deployment.id,
            "status": status,
            "taskDefinition": deployment.definition,
            "desiredCount": self.requested(service, deployment),
            "pendingCount": pending,
            "runningCount": running,
            "failedTasks": deployment.failed,
            "createdAt": seconds(deployment.created),
            "updatedAt": seconds(deployment.updated),
            "rolloutState": match deployment.state {
                Rolling::InProgress => "IN_PROGRESS",
                Rolling::Completed => "COMPLETED",
                Rolling::Failed => "FAILED",
            },
            "rolloutStateReason": deployment.reason,
        });
        let keys =
            ["launchType", "platformVersion", "platformFamily", "networkConfiguration", "capacityProviderStrategy"];
        for key in keys {
            if let Some(value) = service.spec.get(key) {
                view[key] = value.clone();
            }
        }
        view
    }

    pub fn task_view(&self, task: &Task, tags: bool) -> Value {
        let definition = self.definition(&task.definition);
        let word = |key: &str| definition.and_then(|definition| definition.word(key)).map(str::to_owned);
        let time = |at: Option<u64>| at.map_or(Value::Null, seconds);
        let interface = json!([{
            "id": task.arn,
            "type": "ElasticNetworkInterface",
            "status": if task.state >= TaskState::Deprovisioning { "DELETED" } else { "ATTACHED" },
            "details": [
                {"name": "privateIPv4Address", "value": task.address},
                {"name": "subnetId", "value": list(&task.network, "subnets").first()},
            ],
        }]);
        let containers: Vec<Value> = task.containers.iter().map(|own| container_view(task, own)).collect();
        let pulled = task.state > TaskState::Pending && task.pulled.is_some();
        let mut view = json!({
            "taskArn": task.arn,
            "clusterArn": task.cluster,
            "taskDefinitionArn": task.definition,
            "group": task.group,
            "startedBy": task.started_by,
            "launchType": task.launch_type,
            "lastStatus": task.state.word(),
            "desiredStatus": task.wanted,
            "healthStatus": task.health().word(),
            "createdAt": seconds(task.created),
            "pullStartedAt": if pulled { time(task.pulled) } else { Value::Null },
            "pullStoppedAt": if pulled { time(task.pulled) } else { Value::Null },
            "startedAt": time(task.started),
            "stoppingAt": time(task.stopping),
            "executionStoppedAt": if task.state > TaskState::Stopping { time(task.stopping) } else { Value::Null },
            "stoppedAt": time(task.stopped),
            "stopCode": task.stop_code,
            "stoppedReason": task.stop_reason,
            "attachments": if task.awsvpc { interface } else { json!([]) },
            "attributes": [],
            "availabilityZone": format!("{}a", self.region),
            "connectivity": if task.started.is_some() { json!("CONNECTED") } else { Value::Null },
            "containers": containers,
            "cpu": word("cpu"),
            "memory": word("memory"),
            "enableExecuteCommand": false,
            "overrides": overrides_view(task),
            "platformVersion": if task.launch_type == "FARGATE" { json!("1.4.0") } else { Value::Null },
            "platformFamily": if task.launch_type == "FARGATE" { json!("Linux") } else { Value::Null },
            "version": task.generation + 1,
            "tags": if tags { self.ecs_tags(&task.arn) } else { json!([]) },
        });
        if task.launch_type != "FARGATE" {
            let any = || format!("container-instance/{}/{:032x}", crate::world::value::leaf(&task.cluster), 1);
            view["containerInstanceArn"] = task.instance.clone().unwrap_or_else(|| self.arn("ecs", &any())).into();
        }
        trimmed(view)
    }
}

fn overrides_view(task: &Task) -> Value {
    let given = list(&task.overrides, "containerOverrides");
    let containers: Vec<Value> = (task.containers.iter())
        .map(|own| {
            let found = given.iter().find(|entry| text(entry, "name") == Some(own.name.as_str()));
            found.cloned().unwrap_or_else(|| json!({"name": own.name}))
        })
        .collect();
    let mut view = if task.overrides.is_object() { task.overrides.clone() } else { json!({}) };
    view["containerOverrides"] = containers.into();
    view["inferenceAcceleratorOverrides"] = json!([]);
    view
}

fn container_view(task: &Task, own: &Container) -> Value {
    let status = match task.state {
        TaskState::Provisioning | TaskState::Pending | TaskState::Activating => "PENDING",
        _ if own.exit.is_some() || own.reason.is_some() => "STOPPED",
        TaskState::Deprovisioning | TaskState::Stopped => "STOPPED",
        _ => "RUNNING",
    };
    let bindings: Vec<Value> = if task.awsvpc || task.started.is_none() {
        Vec::new()
    } else {
        let mappings = list(&own.definition, "portMappings").iter();
        mappings
            .filter_map(|mapping| {
                let port = number(mapping, "containerPort")?;
                let host = host_port(task, mapping, port);
                let protocol = text(mapping, "protocol").unwrap_or("tcp");
                Some(json!({"bindIP": "0.0.0.0", "containerPort": port, "hostPort": host, "protocol": protocol}))
            })
            .collect()
    };
    let interfaces =
        if task.awsvpc { json!([{"attachmentId": task.arn, "privateIpv4Address": task.address}]) } else { json!([]) };
    trimmed(json!({
        "containerArn": own.arn,
        "taskArn": task.arn,
        "name": own.name,
        "image": own.image,
        "runtimeId": task.started.map(|_| format!("{}-{}", task.id, own.name)),
        "lastStatus": status,
        "exitCode": own.exit,
        "reason": own.reason,
        "networkBindings": bindings,
        "networkInterfaces": interfaces,
        "healthStatus": own.health.word(),
        "cpu": number(&own.definition, "cpu").unwrap_or(0).to_string(),
        "memory": number(&own.definition, "memory").map(|memory| memory.to_string()),
    }))
}

/// A mapping's own host port, or one of the dynamic range where it says 0.
pub fn host_port(task: &Task, mapping: &Value, port: u64) -> u64 {
    match number(mapping, "hostPort") {
        Some(host) if host > 0 => host,
        _ => {
            let hash = task.id.bytes().fold(port, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
            32_768 + hash % 28_000
        }
    }
}

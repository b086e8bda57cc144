//! A service and its task definition in ECS's words, for platforms that have no documents of their own.

use landfall_model::app::DeploymentConfiguration;
use landfall_model::inventory::Tags;
use landfall_model::task::{ContainerDefinition, SecretRef, TaskDefinition};
use serde_json::{Map, Value, json};

use crate::orchestrator::{Documents, PutService, TargetBinding};

impl Documents {
    /// What is asked for.
    pub fn of(definition: &TaskDefinition, request: &PutService) -> Self {
        let service = service(
            &request.name,
            &request.task_definition,
            request.desired_count,
            &request.deployment,
            request.target.as_ref(),
            &request.tags,
        );
        Self { task_definition: task_definition(definition), service }
    }
}

pub fn task_definition(definition: &TaskDefinition) -> Value {
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| drop(document.insert(key.to_owned(), value));
    put("family", json!(definition.family));
    if let Some(cpu) = definition.cpu {
        put("cpu", json!(cpu.to_string()));
    }
    if let Some(memory) = definition.memory {
        put("memory", json!(memory.to_string()));
    }
    put("containerDefinitions", definition.containers.iter().map(container).collect());
    document.into()
}

fn container(container: &ContainerDefinition) -> Value {
    let settings = &container.settings;
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() && value != json!([]) {
            document.insert(key.to_owned(), value);
        }
    };
    put("name", json!(container.name));
    put("image", json!(container.image));
    put("essential", json!(settings.essential));
    put("entryPoint", json!(settings.entry_point));
    put("command", json!(settings.command));
    put("workingDirectory", json!(settings.working_directory));
    put("user", json!(settings.user));
    put("cpu", json!(settings.cpu));
    put("memory", json!(settings.memory));
    put("stopTimeout", json!(settings.stop_timeout));
    put("readonlyRootFilesystem", json!(settings.readonly_root_filesystem));
    put("portMappings", settings.ports.iter().map(|port| json!({"containerPort": port, "protocol": "tcp"})).collect());
    let variable = |(name, value): (&String, &String)| json!({"name": name, "value": value});
    put("environment", settings.environment.iter().map(variable).collect());
    let secret = |(name, from): (&String, &SecretRef)| json!({"name": name, "valueFrom": value_from(from)});
    put("secrets", settings.secrets.iter().map(secret).collect());
    let depends = settings.depends_on.iter();
    put("dependsOn", depends.map(|on| json!({"containerName": on.container, "condition": on.condition})).collect());
    if let Some(check) = &settings.health_check {
        let check = json!({
            "command": check.command, "interval": check.interval, "timeout": check.timeout,
            "retries": check.retries, "startPeriod": check.start_period,
        });
        put("healthCheck", check);
    }
    document.into()
}

/// Where the value is, never the value.
fn value_from(from: &SecretRef) -> String {
    match from {
        SecretRef::Env(name) => format!("env:{name}"),
        SecretRef::File(path) => format!("file:{path}"),
        SecretRef::Ssm(name) | SecretRef::SecretsManager(name) => name.clone(),
    }
}

pub fn service(
    name: &str,
    task_definition: &str,
    desired_count: u32,
    deployment: &DeploymentConfiguration,
    target: Option<&TargetBinding>,
    tags: &Tags,
) -> Value {
    let breaker = &deployment.circuit_breaker;
    let mut circuit_breaker = json!({"enable": breaker.enable, "rollback": breaker.rollback});
    if let Some(threshold) = breaker.threshold {
        circuit_breaker["thresholdConfiguration"] = json!({"type": "COUNT", "value": threshold});
    }
    let balancer = |target: &TargetBinding| {
        json!({
            "targetGroupArn": target.target_group, "containerName": target.container, "containerPort": target.port
        })
    };
    json!({
        "serviceName": name,
        "taskDefinition": task_definition,
        "desiredCount": desired_count,
        "deploymentConfiguration": {
            "minimumHealthyPercent": deployment.minimum_healthy_percent,
            "maximumPercent": deployment.maximum_percent,
            "deploymentCircuitBreaker": circuit_breaker,
        },
        "healthCheckGracePeriodSeconds": deployment.health_check_grace_period,
        "loadBalancers": target.map(balancer).into_iter().collect::<Vec<_>>(),
        "tags": tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect::<Vec<_>>(),
    })
}

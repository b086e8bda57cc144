//! What AWS fills in where a request says nothing, and which different words mean the same thing to it.
//! Source: the API references of RegisterTaskDefinition and CreateService.

use serde_json::{Value, json};

use super::Kind;

pub(super) fn default(kind: Kind, pattern: &str) -> Option<Value> {
    let value = match (kind, pattern) {
        (Kind::TaskDefinition, "networkMode") => json!("bridge"),
        (Kind::TaskDefinition, "runtimePlatform.cpuArchitecture") => json!("X86_64"),
        (Kind::TaskDefinition, "runtimePlatform.operatingSystemFamily") => json!("LINUX"),
        (Kind::TaskDefinition, "ephemeralStorage.sizeInGiB") => json!(20),
        (Kind::TaskDefinition, "proxyConfiguration.type") => json!("APPMESH"),
        (Kind::TaskDefinition, "volumes.efsVolumeConfiguration.rootDirectory") => json!("/"),
        (Kind::TaskDefinition, "volumes.efsVolumeConfiguration.transitEncryption") => json!("DISABLED"),
        (Kind::TaskDefinition, "volumes.efsVolumeConfiguration.authorizationConfig.iam") => json!("DISABLED"),
        (Kind::TaskDefinition, "volumes.dockerVolumeConfiguration.scope") => json!("task"),
        (Kind::TaskDefinition, "volumes.dockerVolumeConfiguration.driver") => json!("local"),
        (Kind::TaskDefinition, _) => container_default(pattern.strip_prefix("containerDefinitions.")?)?,
        (Kind::Service, "cluster") => json!("default"),
        (Kind::Service, "platformVersion") => json!("LATEST"),
        (Kind::Service, "schedulingStrategy") => json!("REPLICA"),
        (Kind::Service, "propagateTags") => json!("NONE"),
        (Kind::Service, "healthCheckGracePeriodSeconds") => json!(0),
        (Kind::Service, "deploymentController.type") => json!("ECS"),
        (Kind::Service, "deploymentConfiguration.maximumPercent") => json!(200),
        (Kind::Service, "deploymentConfiguration.minimumHealthyPercent") => json!(100),
        (Kind::Service, "deploymentConfiguration.strategy") => json!("ROLLING"),
        (Kind::Service, "deploymentConfiguration.bakeTimeInMinutes") => json!(0),
        (Kind::Service, "networkConfiguration.awsvpcConfiguration.assignPublicIp") => json!("DISABLED"),
        (Kind::Service, "capacityProviderStrategy.base" | "capacityProviderStrategy.weight") => json!(0),
        (Kind::Service, _) => return None,
    };
    Some(value)
}

fn container_default(field: &str) -> Option<Value> {
    Some(match field {
        "essential" => json!(true),
        "cpu" | "portMappings.hostPort" | "healthCheck.startPeriod" => json!(0),
        "portMappings.protocol" => json!("tcp"),
        "healthCheck.interval" => json!(30),
        "healthCheck.timeout" => json!(5),
        "healthCheck.retries" => json!(3),
        "stopTimeout" => json!(30),
        "linuxParameters.swappiness" => json!(60),
        "versionConsistency" => json!("enabled"),
        "restartPolicy.restartAttemptPeriod" => json!(300),
        _ => return None,
    })
}

/// What is as good as not there: AWS tells empty lists and `false` where nothing was said, or the other way round.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// A name and an ARN that ends in it; where both are ARNs, or both names, they must be equal.
pub(super) fn equivalent(pattern: &str, one: &Value, other: &Value) -> bool {
    let (Value::String(one), Value::String(other)) = (one, other) else { return false };
    let (arn, name) = match (one.starts_with("arn:"), other.starts_with("arn:")) {
        (true, false) => (one, other),
        (false, true) => (other, one),
        _ => return false,
    };
    match pattern {
        "taskRoleArn" | "executionRoleArn" | "role" | "cluster" => arn.rsplit('/').next() == name.rsplit('/').next(),
        // Secrets are named by ARN or, in the same region, as SSM parameters by name: `…:parameter/a/b` is `/a/b`.
        "containerDefinitions.secrets" | "containerDefinitions.logConfiguration.secretOptions" => {
            let parameter = arn.split_once(":parameter/").map(|(_, path)| path);
            arn.contains(":ssm:") && parameter == Some(name.strip_prefix('/').unwrap_or(name))
        }
        _ => false,
    }
}

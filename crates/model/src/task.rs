//! Task definitions in ECS's own terms. `TaskDefinition` is what a platform registers; `app::Service` holds the template.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where tasks run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LaunchType {
    /// Fargate's pairs of cpu and memory and its limits are enforced.
    #[default]
    Fargate,
    /// Any size.
    Ec2,
    /// Any size; never meant for AWS.
    Local,
}

impl LaunchType {
    /// Keeps the default out of canonical JSON, so that digests of what does not use it stay.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a platform registers: every image is a reference that can be run, every secret still a reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefinition {
    pub family: String,
    /// A registered task definition (`family` or `family:revision`) that this one is laid over: what it says stays, but
    /// for the containers named here, whose image (unless empty), environment, secrets and non-empty settings are
    /// replaced. AWS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    #[serde(default, skip_serializing_if = "LaunchType::is_default")]
    pub launch_type: LaunchType,
    /// CPU units, 1024 to a vCPU. `None`: not limited at task level (EC2 and local only).
    pub cpu: Option<u32>,
    /// MiB.
    pub memory: Option<u32>,
    pub containers: Vec<ContainerDefinition>,
    /// As of `RegisterTaskDefinition`; of `containers` only names and images count then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<serde_json::Value>,
}

/// One container of a task definition; field meanings are those of ECS `ContainerDefinition`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerDefinition {
    pub name: String,
    pub image: String,
    #[serde(flatten)]
    pub settings: ContainerSettings,
}

/// Everything of a container but its name and image, shared by the manifest's template and the registered definition.
/// (The authored manifest type is separate: it never flattens, so that every error keeps its place.)
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSettings {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry_point: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretRef>,
    /// Paths of SSM: every parameter directly under one is a secret too, under the name of `secret::variable_of`. What `secrets` and
    /// `environment` name wins, then the first path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_paths: Vec<String>,
    /// Variables of the process that makes a plan which `environment` must have then; never in a plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ci_variables: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    pub essential: bool,
    /// Seconds between the stop signal and SIGKILL. ECS default 30; Fargate allows at most 120.
    pub stop_timeout: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Hard limit in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub readonly_root_filesystem: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A container waits for another of the same task to reach this condition before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub container: String,
    pub condition: DependencyCondition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DependencyCondition {
    /// The other container has started.
    Start,
    /// The other container has exited, with any code.
    Complete,
    /// The other container has exited with code 0.
    Success,
    /// The other container's health check has passed.
    Healthy,
}

/// A container health check, run inside the container. Times are seconds. ECS defaults: 30, 5, 3, 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `["CMD", arg...]` or `["CMD-SHELL", line]`.
    pub command: Vec<String>,
    pub interval: u32,
    pub timeout: u32,
    pub retries: u32,
    pub start_period: u32,
}

/// Where a secret's value is. The value itself never enters a plan, the journal, a log or a page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// An environment variable of the Landfall process.
    Env(String),
    /// A file readable by the Landfall process; one trailing newline is dropped.
    File(String),
    /// An SSM parameter name or ARN (AWS only).
    Ssm(String),
    /// A Secrets Manager secret id or ARN, optionally `:json-key` (AWS only).
    SecretsManager(String),
}

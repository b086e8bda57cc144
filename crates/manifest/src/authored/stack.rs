//! A lasting environment as a stack of CloudFormation, as a person writes it.

use landfall_model::stack::Nat;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Map;
use crate::scalar::{Duration, Text};

/// What a stack of CloudFormation has beside the environment's services. Every key has a default.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Stack {
    /// Default: a new one.
    pub network: Option<StackNetwork>,
    /// Default: a new one, under the target's name for it.
    pub cluster: Option<StackCluster>,
    /// The load balancer is reached from within the VPC only. Default: false.
    pub internal: bool,
    /// Id of Route 53's hosted zone that gets the environment's host and those of `rules`. Without a `certificate` of the target
    /// one is made and validated there.
    pub zone: Option<Text>,
    /// By service: which requests are its. All others go to the service with a `load_balancer` that has no rule.
    pub rules: Map<StackRule>,
    /// By service: between how many tasks, and near what use of CPU.
    pub scaling: Map<StackScaling>,
    /// File systems of EFS, by name. Services on Fargate only.
    pub volumes: Map<StackVolume>,
    /// By service: what its containers may do.
    pub permissions: Map<Vec<StackPermission>>,
    /// Days that logs are kept, of those that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90 … Default: 30.
    pub log_retention: Option<u32>,
    /// ARN of the role that CloudFormation acts as. Without one it acts with the rights of whoever applies, who then needs all that
    /// the template makes.
    pub role: Option<Text>,
    /// The stack cannot be deleted before this is taken off. Default: true for environments whose name begins with `prod`.
    pub termination_protection: Option<bool>,
    /// Bucket of S3, or BUCKET/PREFIX, in the stack's region: where a template of more than 51,200 bytes is put for CloudFormation to
    /// read. Default: the state's, where that is on S3.
    pub template_bucket: Option<Text>,
}

/// Where tasks and load balancer are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum StackNetwork {
    /// A VPC of the stack's own, in two zones.
    New(NewNetwork),
    /// The target's `vpc` and `network`.
    Existing(ExistingNetwork),
}

/// A VPC in two zones.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewNetwork {
    /// Default: `10.0.0.0/16`; /16 to /26.
    pub cidr: Option<String>,
    /// How tasks reach the internet: through a gateway in each zone, through `one`, or with addresses of their own (`none`).
    /// Default: per_zone.
    pub nat: Option<Nat>,
}

/// A VPC that exists.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExistingNetwork {
    /// Of the load balancer, in two zones or more. Default: the target's subnets.
    pub load_balancer_subnets: Vec<Text>,
}

/// Where tasks run.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum StackCluster {
    /// A cluster of the stack's own.
    New(NewCluster),
    /// The target's.
    Existing(ExistingCluster),
}

/// A cluster of the stack's own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewCluster {
    /// For services with `launch_type: ec2`.
    pub instances: Option<StackInstances>,
}

/// A cluster that exists; nothing to set.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExistingCluster {}

/// Instances that ECS adds and removes by what tasks need.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["type", "max"]))]
pub(crate) struct StackInstances {
    /// `t3.small`
    pub r#type: Text,
    /// Default: 0.
    pub min: Option<u32>,
    /// Most of them.
    pub max: Option<u32>,
}

/// Requests that go to a service: those for one of the hosts, where given, and one of the paths, where given.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StackRule {
    /// `api.example.com`, `*.example.com`
    pub hosts: Vec<Text>,
    /// `/api/*`
    pub paths: Vec<Text>,
    /// 1 to 50000; lower ones are asked first. Default: by the place in the environment's services, ten apart.
    pub priority: Option<u32>,
}

/// How many tasks run.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["max"]))]
pub(crate) struct StackScaling {
    /// Default: 1.
    pub min: Option<u32>,
    /// Most of them.
    pub max: Option<u32>,
    /// Percent of their CPU that tasks are kept near. Default: 50.
    pub cpu: Option<u32>,
    /// Between removing tasks and removing more. Default: 60s.
    pub scale_in_cooldown: Option<Duration>,
    /// Between adding tasks and adding more. Default: 60s.
    pub scale_out_cooldown: Option<Duration>,
    /// Other limits from a time on, by name.
    pub schedules: Map<StackScalingSchedule>,
}

/// Limits that count from a time on.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["cron"]))]
pub(crate) struct StackScalingSchedule {
    /// Minute, hour, day, month, weekday: `0 8 * * 1-5`
    pub cron: Text,
    /// `Europe/Berlin`. Default: UTC.
    pub time_zone: Option<Text>,
    /// Fewest tasks from then on.
    pub min: Option<u32>,
    /// Most tasks from then on.
    pub max: Option<u32>,
}

/// A file system of EFS.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["mounts"]))]
pub(crate) struct StackVolume {
    /// One that exists, `fs-…`, and lets the tasks in. Default: a new one, which stays when the stack goes.
    pub file_system: Option<Text>,
    /// Who sees it, and where.
    pub mounts: Vec<StackMount>,
}

/// A place in a container.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["service", "path"]))]
pub(crate) struct StackMount {
    /// Whose.
    pub service: String,
    /// Default: the service's only container, or the one behind the load balancer.
    pub container: Option<String>,
    /// Absolute.
    pub path: String,
    /// Default: false.
    pub read_only: bool,
}

/// What containers may do on AWS.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["actions", "resources"]))]
pub(crate) struct StackPermission {
    /// `s3:GetObject`
    pub actions: Vec<Text>,
    /// ARNs, or `*`.
    pub resources: Vec<Text>,
}

//! What a test sets before or while it runs: how long things take, what images do, what the account may have.

use serde::{Deserialize, Serialize};

/// Virtual milliseconds, unless a name says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// From a change of a service to its scheduler's next look at it.
    pub scheduler: u64,
    /// PROVISIONING, of tasks with a network interface of their own.
    pub provisioning: u64,
    /// PENDING: pulling and starting.
    pub pending: u64,
    /// ACTIVATING, of tasks behind a target group.
    pub activating: u64,
    /// From SIGTERM to the exit.
    pub stopping: u64,
    pub deprovisioning: u64,
    /// How long a task without health checks runs before it counts as started: an exit before is a failed start.
    pub settle: u64,
    /// From registration to a target's first health check, or its interval where that is shorter.
    pub first_health_check: u64,
    /// From a container's start to its health check's verdict.
    pub container_health: u64,
    /// The wait before a failed task's successor; doubles with each failure in a row.
    pub restart: u64,
    pub restart_most: u64,
    /// From the last task's end to a deleted service's INACTIVE.
    pub draining: u64,
    /// How long INACTIVE services and stopped tasks are still described.
    pub inactive_kept: u64,
    pub stopped_kept: u64,
    /// The least time in each lifecycle stage of a blue/green, linear or canary deployment.
    pub stage: u64,
    /// How long a Lambda hook takes.
    pub hook: u64,
    /// From its creation until a load balancer is `active`.
    pub load_balancer: u64,
}

impl Default for Timing {
    /// Quick enough for tests at the pace of the real clock.
    fn default() -> Self {
        Self {
            scheduler: 20,
            provisioning: 50,
            pending: 100,
            activating: 20,
            stopping: 50,
            deprovisioning: 20,
            settle: 100,
            first_health_check: 50,
            container_health: 100,
            restart: 50,
            restart_most: 2_000,
            draining: 100,
            inactive_kept: 3_600_000,
            stopped_kept: 3_600_000,
            stage: 20,
            hook: 50,
            load_balancer: 0,
        }
    }
}

impl Timing {
    /// About what AWS takes with Fargate. For virtual time.
    pub fn like_aws() -> Self {
        Self {
            scheduler: 1_000,
            provisioning: 12_000,
            pending: 15_000,
            activating: 2_000,
            stopping: 2_000,
            deprovisioning: 10_000,
            settle: 10_000,
            first_health_check: 5_000,
            container_health: 30_000,
            restart: 1_000,
            restart_most: 900_000,
            draining: 30_000,
            stage: 5_000,
            hook: 5_000,
            load_balancer: 120_000,
            ..Self::default()
        }
    }
}

/// What happens to containers whose image contains `image`. The last rule that matches wins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageRule {
    pub image: String,
    /// Instead of `Timing::pending`.
    pub starts_after: Option<u64>,
    /// Cannot be pulled; the text follows `CannotPullContainerError: `.
    pub pull_error: Option<String>,
    /// Cannot be started; the whole reason (`ResourceInitializationError: …`).
    pub start_error: Option<String>,
    /// Ends by itself with this code, so long after its start.
    pub exits: Option<i64>,
    pub exits_after: u64,
    /// `OutOfMemoryError: …` on its container when it exits.
    pub exit_reason: Option<String>,
    /// Its container health check never passes.
    pub unhealthy: bool,
    /// Its container health check passes, then fails so long after the start.
    pub unhealthy_after: Option<u64>,
    /// Its targets fail their checks with this reason: `timeout`, `refused`, or a status code.
    pub target: Option<String>,
    /// Targets pass no sooner than this after registration.
    pub target_healthy_after: Option<u64>,
    /// Written to the log stream at its start.
    pub logs: Vec<String>,
    /// Ignores SIGTERM: it takes its stop timeout to end.
    pub ignores_stop: bool,
    /// Only for so many tasks, then the rule is spent: `fails twice, then starts`.
    pub times: Option<u32>,
}

/// How many there may be. AWS's defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub listeners_per_load_balancer: usize,
    /// Without the default rules.
    pub rules_per_load_balancer: usize,
    pub target_groups_per_load_balancer: usize,
    pub target_groups: usize,
    pub targets_per_target_group: usize,
    pub load_balancers: usize,
    pub services_per_cluster: usize,
    pub tasks_per_service: u64,
    /// Tasks that a cluster has room for; `None`: as many as are wanted.
    pub capacity: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            listeners_per_load_balancer: 50,
            rules_per_load_balancer: 100,
            target_groups_per_load_balancer: 100,
            target_groups: 3_000,
            targets_per_target_group: 1_000,
            load_balancers: 50,
            services_per_cluster: 5_000,
            tasks_per_service: 5_000,
            capacity: None,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    pub timing: Timing,
    pub limits: Limits,
    pub images: Vec<ImageRule>,
    /// `None`: stacks are records, and clusters have room for every task. Else stacks make what clusters of instances are made of
    /// (clusters, task definitions for EC2, Auto Scaling groups), and tasks on EC2 run on instances, or wait for them.
    pub instances: Option<Instances>,
    /// Functions by name or ARN: what they answer.
    pub functions: Vec<FunctionRule>,
    /// Answer `UnsupportedFeatureException` to the service deployments API, as an old partition or an emulator.
    pub no_service_deployments: bool,
    /// A failed deployment stays in a service's list, INACTIVE, after it was rolled back.
    pub keep_failed_deployments: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FunctionRule {
    pub name: String,
    /// The payload of its answer.
    pub answer: serde_json::Value,
    /// `Unhandled`: the answer is an error of the function.
    pub error: Option<String>,
    /// As a lifecycle hook: SUCCEEDED (default) or FAILED.
    pub hook_status: Option<String>,
}

/// EC2 instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Instances {
    /// From its launch until an instance is registered with its cluster.
    pub registers: u64,
    /// CPU units and MiB of each.
    pub cpu: u64,
    pub memory: u64,
    /// From its termination until an instance is gone. What runs on it dies at once.
    pub ends: u64,
    /// From a launch that failed until Auto Scaling tries it again.
    pub again: u64,
    pub stacks: Vec<InstanceRule>,
    /// Ids of those whose Spot request is marked for termination.
    pub interrupted: Vec<String>,
}

impl Default for Instances {
    fn default() -> Self {
        Self {
            registers: 200,
            cpu: 2_048,
            memory: 3_800,
            ends: 0,
            again: 60_000,
            stacks: Vec::new(),
            interrupted: Vec::new(),
        }
    }
}

/// What goes wrong with instances of stacks whose name contains `stack`, and of these of the groups whose name contains `group`. The last
/// rule that matches wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceRule {
    pub stack: String,
    pub group: String,
    /// Their agents never register.
    pub mute: bool,
    /// None is launched, and why.
    pub refused: Option<String>,
    /// Tasks on them end with this code as soon as they run.
    pub task_exits: Option<i64>,
}

//! What ECS does: task definitions, services, one-off tasks. On AWS the calls go to ECS, locally to our own scheduler.

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::app::DeploymentConfiguration;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, Tags};
use landfall_model::step::{DeployService, Input, ServiceTarget};
use landfall_model::task::{LaunchType, TaskDefinition};
use serde::{Deserialize, Serialize};

use crate::{PortError, PortResult};

#[async_trait]
pub trait Orchestrator: Send + Sync {
    /// Registers a revision, or returns the active one of the same family and content. Natural.
    async fn register_task_definition(&self, definition: &TaskDefinition, tags: &Tags) -> PortResult<Registered>;
    /// Natural: unknown handles are fine.
    async fn deregister_task_definition(&self, handle: &str) -> PortResult<()>;

    /// Creates, or updates in place what the same environment owns under that name; a foreign owner is `Conflict`. Returns
    /// at once; `describe_service` tells how the deployment goes. Natural: the same request again starts no new deployment.
    /// Tags are those of its creation: an update leaves them, so that they tell which execution made it.
    async fn put_service(&self, request: &PutService) -> PortResult<PutServiceOutcome>;
    /// `None`: no such service (or INACTIVE).
    async fn describe_service(&self, name: &str) -> PortResult<Option<ServiceDescription>>;
    /// As `describe_service`, but how earlier deployments ended need not be told: what there is before a change.
    async fn find_service(&self, name: &str) -> PortResult<Option<ServiceDescription>> {
        self.describe_service(name).await
    }
    /// The tags of the service of this name, whoever's it is. `None`: there is none.
    async fn service_tags(&self, name: &str) -> PortResult<Option<Tags>> {
        Ok(self.describe_service(name).await?.map(|service| service.tags))
    }
    /// Takes a service over that exists under this name and is nobody's, or the same environment's of another installation: puts
    /// these tags on it and changes nothing else, but that an execution which it names as its maker gives way to `TAKEN_OVER`: no
    /// undo may take it for what its execution made. `None`: there is no such service. `Conflict`: it is somebody else's. Natural.
    async fn adopt_service(&self, name: &str, tags: &Tags) -> PortResult<Option<ServiceDescription>> {
        let _ = tags;
        self.describe_service(name).await
    }
    /// Lets the newest deployment of a service go on that waits at pause hooks. `only`: at these, by their ids; empty: at all.
    /// `false`: it waits at none of them. Natural.
    async fn continue_deployment(&self, service: &str, only: &[String]) -> PortResult<bool> {
        let _ = (service, only);
        Err(PortError::Invalid("deployments of this platform have no pause hooks".to_owned()))
    }
    /// Stops the deployment of a service that is under way. `false`: none is. Natural.
    async fn stop_deployment(&self, service: &str, how: StopDeployment) -> PortResult<bool> {
        let _ = (service, how);
        Err(PortError::Invalid("deployments of this platform cannot be stopped".to_owned()))
    }
    /// Sets the desired count. Natural.
    async fn scale_service(&self, name: &str, desired_count: u32) -> PortResult<()>;
    /// Begins deletion; gone when `describe_service` says `None`. Natural.
    async fn delete_service(&self, name: &str) -> PortResult<()>;

    /// Starts a one-off task. Token: the same `token` again returns the same task.
    async fn run_task(&self, request: &RunTaskRequest) -> PortResult<String>;
    /// The container that a one-off task is run for where the request names none: the first essential one. `NotFound`:
    /// there is no such task definition, or no essential container in it.
    async fn main_container(&self, task_definition: &str) -> PortResult<String>;
    async fn describe_task(&self, task: &str) -> PortResult<Option<TaskDescription>>;
    async fn stop_task(&self, task: &str, reason: &str) -> PortResult<()>;
    /// The last `lines` lines of a task's containers, oldest first, each prefixed with its container's name.
    async fn task_log_tail(&self, task: &str, lines: usize) -> PortResult<Vec<String>>;
    /// Tasks of these services that have not stopped, where the platform gives tasks no tags of ours: those of services that others
    /// made. Where all of ours have tags there are no others.
    async fn tasks_of(&self, services: &[String]) -> PortResult<Vec<String>> {
        let _ = services;
        Ok(Vec::new())
    }
    /// Lines of all tasks of an environment and of these services of it: the last `history` of each container that runs, then new ones
    /// as they are written, also of tasks that start later. `Invalid` where the platform cannot.
    async fn follow_logs(
        &self,
        environment: &str,
        services: &[String],
        history: usize,
    ) -> PortResult<Box<dyn LogStream>> {
        let _ = (environment, services, history);
        Err(PortError::Invalid("logs of this environment cannot be followed from here".to_owned()))
    }

    /// What runs under this name, as documents. `None`: no such service.
    async fn documents(&self, service: &str) -> PortResult<Option<Documents>> {
        let _ = service;
        Err(PortError::Invalid("this platform cannot show its documents".to_owned()))
    }
    /// What runs under this name, as a document with which `put_service` makes it so again. `None`: no such service, or the
    /// platform takes no documents.
    async fn service_document(&self, name: &str) -> PortResult<Option<serde_json::Value>> {
        let _ = name;
        Ok(None)
    }
    /// What `register_task_definition` and `put_service` would send for these: what `documents` should show after them. Changes
    /// nothing; `request.task_definition` need not be registered.
    async fn desired_documents(&self, definition: &TaskDefinition, request: &PutService) -> PortResult<Documents> {
        let _ = (definition, request);
        Err(PortError::Invalid("this platform cannot show its documents".to_owned()))
    }

    /// Whether what these would make can run: images, secrets, roles, log groups, load balancer, network. Looks and changes
    /// nothing, and sees no secret's value. Empty: there is nothing to look at.
    async fn preflight(&self, definition: &TaskDefinition, request: &PutService) -> PortResult<Vec<Looked>> {
        let _ = (definition, request);
        Ok(Vec::new())
    }

    /// Images that are deployed where this platform is, whoever deployed them: as the task definitions of services and tasks name them,
    /// and by the digest that runs where the platform tells it. Never a part of them.
    async fn images_in_use(&self) -> PortResult<Vec<String>> {
        Err(PortError::Invalid("this platform does not tell which images it runs".to_owned()))
    }

    /// Everything of these kinds that carries our instance's tag, of one environment or of all.
    async fn list_owned(&self, environment: Option<&str>, kinds: &[ResourceKind])
    -> PortResult<Listing<OwnedResource>>;
    /// Deletes one listed resource of a kind that this port owns. Natural.
    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()>;
}

/// A service and its task definition in the platform's own JSON: on AWS as RegisterTaskDefinition and CreateService take them
/// (`desired_documents`), or as DescribeTaskDefinition and DescribeServices show them (`documents`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Documents {
    pub task_definition: serde_json::Value,
    pub service: serde_json::Value,
}

/// One thing that a deployment needs, looked at before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// `image of web: registry/app:1`
    pub what: String,
    #[serde(flatten)]
    pub found: Found,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Found {
    Ok,
    Wrong {
        message: String,
        hint: String,
    },
    /// Never as good as `Ok`: nobody may look, or nobody answers.
    NotChecked {
        why: String,
    },
}

/// Log lines as they come. Dropping it ends the work behind it.
#[async_trait]
pub trait LogStream: Send {
    /// The next line, when there is one; `None`: the platform ended the stream. Cancel safe: no line is lost when the
    /// future is dropped.
    async fn next(&mut self) -> Option<LogLine>;
}

/// One line as it was written, and which container wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub task: String,
    pub container: String,
    pub line: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    pub handle: String,
    pub created: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PutService {
    pub name: String,
    #[serde(default)]
    pub launch_type: LaunchType,
    pub task_definition: String,
    pub desired_count: u32,
    /// As of `DeployService`.
    #[serde(default)]
    pub keep_count: bool,
    pub deployment: DeploymentConfiguration,
    pub target: Option<TargetBinding>,
    pub tags: Tags,
    /// As of `DeployService`.
    #[serde(default)]
    pub adopt: bool,
    /// The deployment that gives way to a new one also where nothing differs. Natural: no effect once another is PRIMARY.
    #[serde(default)]
    pub replace: Option<String>,
    /// As of `DeployService`.
    #[serde(default)]
    pub document: Option<serde_json::Value>,
}

impl PutService {
    /// What a step asks for. `Err` says what an earlier step has not told yet.
    pub fn of(params: &DeployService) -> Result<Self, String> {
        let known = |input: &Input| match input {
            Input::Value(value) => Ok(value.clone()),
            Input::Output { output } => Err(format!("the output {output} is not known")),
        };
        let target = |target: &ServiceTarget| {
            let target_group = known(&target.target_group)?;
            Ok::<_, String>(TargetBinding { target_group, container: target.container.clone(), port: target.port })
        };
        Ok(Self {
            name: params.name.clone(),
            launch_type: params.launch_type,
            task_definition: known(&params.task_definition)?,
            desired_count: params.desired_count,
            keep_count: params.keep_count,
            deployment: params.deployment.clone(),
            target: params.target.as_ref().map(target).transpose()?,
            tags: params.tags.clone(),
            adopt: params.adopt,
            replace: None,
            document: params.document.clone(),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetBinding {
    pub target_group: String,
    pub container: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutServiceOutcome {
    /// Whether the service was made by this request.
    pub created: bool,
    /// The deployment to watch.
    pub deployment: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDescription {
    pub name: String,
    /// ACTIVE or DRAINING.
    pub status: ServiceStatus,
    pub task_definition: String,
    pub desired: u32,
    pub running: u32,
    pub pending: u32,
    /// Newest first; the first one is PRIMARY.
    pub deployments: Vec<DeploymentDescription>,
    /// Newest first, at most 100.
    pub events: Vec<ServiceEvent>,
    pub tags: Tags,
    /// What else an update may change, so that its undo can put it back. `None`: the platform cannot tell.
    #[serde(default)]
    pub settings: Option<ServiceSettings>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    pub deployment: DeploymentConfiguration,
    pub target: Option<TargetBinding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceStatus {
    Active,
    Draining,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentDescription {
    pub id: String,
    pub task_definition: String,
    pub rollout: RolloutState,
    pub reason: Option<String>,
    pub desired: u32,
    pub running: u32,
    pub pending: u32,
    pub failed_tasks: u32,
    /// Stopped tasks of this deployment that failed, newest first, at most 10: the root cause of a failure.
    pub failures: Vec<TaskDescription>,
    pub created_at: Timestamp,
    /// `None`: a rolling deployment, or nothing is known of it.
    #[serde(default)]
    pub shift: Option<TrafficShift>,
}

/// Where a deployment with stages is: blue/green, linear, canary, or a rolling one with pause hooks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficShift {
    /// ECS's word: RECONCILE_SERVICE, PRE_SCALE_UP, SCALE_UP, …, BAKE_TIME, CLEAN_UP. `None`: not told.
    pub stage: Option<String>,
    /// Percent of the production traffic that the new revision is given, rounded down.
    pub percent: u32,
    /// Whether all production traffic goes to the new revision.
    pub shifted: bool,
    /// Pause hooks that wait for somebody.
    pub pauses: Vec<PauseHook>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseHook {
    pub id: String,
    pub expires_at: Option<Timestamp>,
    /// What happens then: CONTINUE or ROLLBACK.
    pub on_timeout: String,
}

/// What becomes of a deployment that is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopDeployment {
    /// What ran before runs again.
    Rollback,
    /// It ends as it is.
    Abort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RolloutState {
    InProgress,
    Completed,
    /// The circuit breaker tripped, or the deployment timed out.
    Failed,
    /// The circuit breaker tripped, an alarm went off or somebody asked for it, and the previous revision runs again.
    RolledBack,
    /// Going back failed too.
    RollbackFailed,
    /// Somebody stopped it, and nothing was rolled back.
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEvent {
    pub at: Timestamp,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTaskRequest {
    pub token: String,
    pub task_definition: String,
    /// Container whose command and environment are overridden; `None`: the first essential one.
    pub container: Option<String>,
    pub command: Vec<String>,
    pub environment: std::collections::BTreeMap<String, String>,
    /// On the platform: whose network it has, where the place names none.
    pub service: Option<String>,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDescription {
    pub id: String,
    /// ECS's word: PROVISIONING, PENDING, ACTIVATING, RUNNING, DEACTIVATING, STOPPING, DEPROVISIONING, STOPPED.
    pub last_status: String,
    /// HEALTHY, UNHEALTHY or UNKNOWN.
    pub health: String,
    /// ECS's words: `Essential container in task exited`, `Task failed ELB health checks in …`.
    pub stopped_reason: Option<String>,
    /// EssentialContainerExited, TaskFailedToStart, UserInitiated, ServiceSchedulerInitiated.
    pub stop_code: Option<String>,
    pub containers: Vec<ContainerDescription>,
    pub started_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerDescription {
    pub name: String,
    pub last_status: String,
    pub exit_code: Option<i64>,
    /// `CannotPullContainerError: …`, `OutOfMemoryError: …` and so on.
    pub reason: Option<String>,
    /// The last log lines of a container that failed.
    pub tail: Vec<String>,
}

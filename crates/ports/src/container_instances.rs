//! The instances that a cluster's tasks run on, as ECS knows them, and tasks that are held to some of them.

use async_trait::async_trait;
use landfall_model::Timestamp;
pub use landfall_model::fleet::ContainerInstance;
use landfall_model::fleet::{Share, Workload};

use crate::PortResult;

/// One task, on an instance for which the expression holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedTask {
    pub task_definition: String,
    /// Of ECS's query language.
    pub expression: String,
    /// By which it is found again: letters, digits, `-`, `_`, 128 at most.
    pub started_by: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// The task's ARN.
    Task(String),
    /// ECS found no instance for it, and why.
    Refused(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PinnedTaskState {
    pub arn: String,
    /// `PENDING`, `RUNNING`, `STOPPED`, …
    pub status: String,
    pub created: Option<Timestamp>,
    pub started: Option<Timestamp>,
    /// Why it stopped, with its containers' reasons and exit codes.
    pub stopped: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceCount {
    pub name: String,
    pub desired: u32,
    pub running: u32,
    /// Of the desired ones ECS keeps so many running while it replaces and moves tasks.
    pub minimum_percent: u32,
    /// Its tasks are to be on instances.
    pub on_instances: bool,
    /// Its newest deployment has failed: ECS tries no more to start its tasks.
    pub failed: bool,
    /// Empty: a launch type says where.
    pub strategy: Vec<Share>,
    /// Capacity providers of deployments before the newest, whose tasks run still.
    pub leaving: Vec<String>,
}

/// Of one cluster; of one that is not there, every listing is empty. Listings are whole, whatever their length.
#[async_trait]
pub trait ContainerInstances: Send + Sync {
    async fn instances(&self) -> PortResult<Vec<ContainerInstance>>;

    /// Drained, or taking tasks again. One that is gone meanwhile is no error.
    async fn drain(&self, instances: &[String], on: bool) -> PortResult<()>;

    async fn run_pinned(&self, task: &PinnedTask) -> PortResult<Placed>;

    /// Newest first, with those that stopped within the last hour.
    async fn started_by(&self, started_by: &str) -> PortResult<Vec<PinnedTaskState>>;

    /// One that is gone is no error.
    async fn stop_task(&self, task: &str, reason: &str) -> PortResult<()>;

    /// All that the cluster has.
    async fn services(&self) -> PortResult<Vec<ServiceCount>>;

    /// A deployment of the service as it is, whose tasks go to other capacity providers. One that is gone is no error.
    async fn move_service(&self, service: &str, strategy: &[Share]) -> PortResult<()>;

    /// All that runs and waits on instances.
    async fn workload(&self) -> PortResult<Workload>;
}

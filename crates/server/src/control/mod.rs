//! The control API: what a person or a command may ask of Landfall, as data. The same requests are answered in-process by
//! [`Service`](crate::Service) and, over HTTP and JSON on the Unix socket, by [`socket::serve`] for [`ControlClient`].

mod client;
mod follow;
pub(crate) mod handle;
pub mod socket;

use std::path::PathBuf;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::environment::{EnvironmentRecord, Phase};
use landfall_model::event::Ask;
use landfall_model::ids::{DeliveryId, EnvironmentId, ExecutionId};
use landfall_ports::journal::ExecutionSummary;
use landfall_ports::store::{DeliveryOutcome, DeliverySummary};
use landfall_workflow::{ExecutionView, Record, Signal};
use serde::{Deserialize, Serialize};

pub use client::ControlClient;

use crate::deploy::{Against, Begun, Change, Comparison, EnvironmentDetail, LockState, ReleaseSummary, TaskReport};
use crate::pipelines::{PipelineRequest, PipelineResponse};
pub use follow::LogLines;

/// Answers control requests: a [`Service`](crate::Service) in this process, or a [`ControlClient`] of another.
#[async_trait]
pub trait Control: Send + Sync {
    async fn call(&self, request: ControlRequest) -> Result<ControlResponse, ControlError>;
    /// Log lines of the environment's tasks: the last `history` of each container that runs, then new ones as they are
    /// written. Ends when the environment is gone; dropping it ends the work behind it.
    async fn follow_logs(&self, environment: EnvironmentId, history: usize) -> LogLines;
}

/// Answered by the [`ControlResponse`] of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    Status,
    /// Puts an intent through the same door as a webhook and waits (up to 30 s) until it was decided.
    Submit {
        target: Target,
        ask: Ask,
        /// `cli:root`
        actor: String,
    },
    /// `all`: tombstones too.
    Previews {
        all: bool,
    },
    /// By environment id, branch (`feature/x`, `#12`) or host label, whichever is unambiguous.
    Preview {
        name: String,
    },
    Executions {
        environment: Option<EnvironmentId>,
        unfinished_only: bool,
        limit: u32,
    },
    /// `history`: with the journal's records.
    Execution {
        id: ExecutionId,
        history: bool,
    },
    Signal {
        id: ExecutionId,
        who: String,
        signal: Signal,
    },
    Deliveries {
        limit: u32,
    },
    /// One comparison of what should be with what is. `dry_run: false` also acts on it.
    Gc {
        dry_run: bool,
    },
    /// Waits until nothing more is being done for the environment, at most `timeout_ms` (and at most 60 s a call).
    Settled {
        environment: EnvironmentId,
        timeout_ms: u64,
    },
    /// The last `lines` log lines of the environment's running tasks.
    Logs {
        environment: EnvironmentId,
        lines: usize,
    },
    /// Begins a change of a lasting environment, in the place of the one that is under way.
    Deploy {
        environment: String,
        change: Change,
        /// `cli:root`
        actor: String,
    },
    /// Newest first; `all`: failed ones, scalings and what is under way too.
    Releases {
        environment: String,
        limit: usize,
        all: bool,
    },
    /// A lasting environment by name.
    Environment {
        name: String,
    },
    /// What is there against what would be sent; `look`: also whether that can work. Changes nothing.
    Compare {
        environment: String,
        against: Against,
        look: bool,
    },
    Lock {
        environment: String,
        reason: String,
        actor: String,
    },
    Unlock {
        environment: String,
    },
    /// Whether somebody locked it, without a look at what runs there.
    LockOf {
        environment: String,
    },
    /// Waits until the execution has records after `version`, has finished or waits for somebody; at most `timeout_ms` (and
    /// at most 60 s a call).
    Watch {
        id: ExecutionId,
        version: u64,
        timeout_ms: u64,
    },
    /// Starts a one-off task of a service's current task definition.
    RunTask {
        environment: String,
        task: OneOff,
    },
    /// How far a one-off task is, with its last `lines` lines.
    TaskOutput {
        environment: String,
        task: String,
        container: String,
        lines: usize,
    },
    StopTask {
        environment: String,
        task: String,
        reason: String,
    },
    /// A consistent copy of the database, into this file.
    Backup {
        to: PathBuf,
    },
    /// Of pipelines and their runs.
    Pipeline(PipelineRequest),
    /// Ends the server as SIGTERM does.
    Shutdown,
}

impl ControlRequest {
    /// Whether it begins nothing: it looks, locks, or tells an execution that is under way something.
    pub(crate) fn begins_nothing(&self) -> bool {
        match self {
            Self::Status
            | Self::Previews { .. }
            | Self::Preview { .. }
            | Self::Executions { .. }
            | Self::Execution { .. }
            | Self::Signal { .. }
            | Self::Deliveries { .. }
            | Self::Settled { .. }
            | Self::Logs { .. }
            | Self::Releases { .. }
            | Self::Environment { .. }
            | Self::Compare { .. }
            | Self::Watch { .. }
            | Self::Lock { .. }
            | Self::Unlock { .. }
            | Self::LockOf { .. }
            | Self::TaskOutput { .. } => true,
            Self::Gc { dry_run } => *dry_run,
            Self::Pipeline(request) => request.begins_nothing(),
            Self::Submit { .. }
            | Self::Deploy { .. }
            | Self::RunTask { .. }
            | Self::StopTask { .. }
            | Self::Backup { .. }
            | Self::Shutdown => false,
        }
    }
}

/// A one-off task of a lasting environment's service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneOff {
    /// The manifest's name.
    pub service: String,
    /// Whose command is replaced and whose exit code counts; `None`: the first essential one.
    pub container: Option<String>,
    /// Empty: the task definition's.
    pub command: Vec<String>,
    pub environment: std::collections::BTreeMap<String, String>,
}

/// Which preview a submitted intent is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// As `Preview { name }` finds it: it must exist.
    Name(String),
    /// Of this repository's key; `None`: the manifest's only one.
    Branch { repository: Option<String>, branch: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlResponse {
    Status(ServerStatus),
    Submit(Submitted),
    Previews(Vec<EnvironmentRecord>),
    Preview(Box<PreviewDetail>),
    Executions(Vec<ExecutionSummary>),
    Execution(Box<ExecutionDetail>),
    Signal,
    Deliveries(Vec<DeliverySummary>),
    Gc(GcReport),
    Settled(Box<SettledReport>),
    Logs(Vec<String>),
    Deploy(Begun),
    Releases(Vec<ReleaseSummary>),
    Environment(Box<EnvironmentDetail>),
    Compare(Box<Comparison>),
    Lock(LockState),
    /// The lock that was removed, if there was one.
    Unlock(Option<LockState>),
    LockOf(Option<LockState>),
    Watch(Box<ExecutionView>),
    RunTask(Box<TaskReport>),
    TaskOutput(Box<TaskReport>),
    StopTask,
    Backup,
    Pipeline(PipelineResponse),
    Shutdown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    pub version: String,
    pub pid: u32,
    pub instance: String,
    pub project: String,
    /// Of the webhook listener, where there is one: `127.0.0.1:8080`.
    pub listen: Option<String>,
    pub started_at: Timestamp,
    /// Environments by phase; tombstones not counted.
    pub previews: std::collections::BTreeMap<Phase, u64>,
    pub live_executions: u64,
    /// Deliveries received and not decided yet.
    pub inbox: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    pub delivery: DeliveryId,
    /// `None`: not decided yet (the inbox is still at work).
    pub outcome: Option<DeliveryOutcome>,
    pub environment: Option<EnvironmentId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewDetail {
    pub record: EnvironmentRecord,
    /// The live one, or else the last.
    pub execution: Option<ExecutionView>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionDetail {
    pub view: ExecutionView,
    pub history: Option<Vec<Record>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    pub findings: Vec<GcFinding>,
    /// Listings that failed or were incomplete: nothing was deleted because of them.
    pub incomplete: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcFinding {
    pub what: String,
    pub why: String,
    /// What is (or, in a dry run, would be) done about it.
    pub action: GcAction,
    /// Why it could not be done.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GcAction {
    Create,
    Destroy,
    Delete,
    /// Acted on if it is still so next time.
    Watch,
    /// Left alone: a listing cannot be trusted.
    Frozen,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettledReport {
    pub record: EnvironmentRecord,
    pub execution: Option<ExecutionView>,
    /// False: the time was up first; ask again.
    pub settled: bool,
}

/// Split by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
    /// Makes no sense in the present state: a signal to a finished execution.
    #[error("{0}")]
    Conflict(String),
    /// Somebody locked the environment.
    #[error("{0}")]
    Locked(String),
    /// The platform does not allow it.
    #[error("{0}")]
    Denied(String),
    /// The platform says that too much is asked of it, for longer than is waited.
    #[error("{0}")]
    Throttled(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("internal error: {0}")]
    Internal(String),
}

impl ControlError {
    /// Whether asking again may help by itself.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Throttled(_))
    }

    /// The same kind with other words.
    pub(crate) fn map(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::NotFound(text) => Self::NotFound(words(text)),
            Self::Invalid(text) => Self::Invalid(words(text)),
            Self::Conflict(text) => Self::Conflict(words(text)),
            Self::Locked(text) => Self::Locked(words(text)),
            Self::Denied(text) => Self::Denied(words(text)),
            Self::Throttled(text) => Self::Throttled(words(text)),
            Self::Unavailable(text) => Self::Unavailable(words(text)),
            Self::Internal(text) => Self::Internal(words(text)),
        }
    }
}

//! Notices: what people are told. One per change, never one per poll; each has an id that a redelivery repeats.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::ids::{EnvironmentId, ExecutionId};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Deterministic: the same crash-and-replay gives the same id, so an outbox row is written once.
    pub id: String,
    pub kind: NoticeKind,
    pub environment: EnvironmentId,
    pub execution: Option<ExecutionId>,
    /// One line, without markup.
    pub text: String,
    pub url: Option<String>,
    /// The root cause of a failure: stopped reason, failed check, last log lines. Of an approval that is asked for: what there is
    /// to know before it.
    pub cause: Option<String>,
    /// Of an approval that is asked for: who may decide and where, a line each. Whoever has a line may decide: never logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<String>,
    pub at: Timestamp,
    /// Notifications by name that it is for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    Queued,
    AwaitingApproval,
    Creating,
    Created,
    Updating,
    Updated,
    Destroying,
    Destroyed,
    // Of lasting environments: a deployment, a rollback, another number of tasks.
    Deploying,
    Deployed,
    Failed,
    RolledBack,
    Paused,
    Superseded,
    Warning,
}

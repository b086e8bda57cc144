//! The step contract: re-entrant handlers that never wait.

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::ids::{EnvironmentId, ExecutionId, IdempotencyKey, StepId};
use landfall_model::step::RunHook;
use landfall_workflow::event::StepError;
use serde::{Deserialize, Serialize};

use crate::PortResult;

/// Who is calling, for keys and tags.
#[derive(Debug, Clone)]
pub struct StepContext {
    pub execution: ExecutionId,
    pub environment: EnvironmentId,
    pub step: StepId,
    /// Names the effect: the same before and after a crash, for all automatic attempts at it, for its polls and for its
    /// undo. Only an operator's retry makes a new one.
    pub key: IdempotencyKey,
    pub attempt: u32,
    /// When the call is made, for limits that a handler keeps by itself.
    pub now: Timestamp,
}

/// What a short call achieved.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Finished; the output is an object whose fields later steps may refer to.
    Done(serde_json::Value),
    /// Call `poll` with `token` after this long.
    Pending { token: serde_json::Value, poll_after_ms: u64, note: Option<String> },
}

/// Runs steps by kind. `params` is the step's JSON with every output reference already replaced.
#[async_trait]
pub trait StepExecutor: Send + Sync {
    async fn start(&self, cx: &StepContext, params: &serde_json::Value) -> Result<Progress, StepError>;
    async fn poll(
        &self,
        cx: &StepContext,
        params: &serde_json::Value,
        token: &serde_json::Value,
    ) -> Result<Progress, StepError>;
    /// Takes back what this execution's attempts at the step did; `output` is `None` when the step never finished (it may
    /// have done something, or nothing: look first). `token`: the last `Pending` one of this undo; on its first call that of
    /// the step itself where it never finished: what a `start` looked up before its effect is known, whatever became of the
    /// effect's record.
    async fn undo(
        &self,
        cx: &StepContext,
        params: &serde_json::Value,
        output: Option<&serde_json::Value>,
        token: Option<&serde_json::Value>,
    ) -> Result<Progress, StepError>;
}

/// Runs command and HTTP hooks in the background under a key.
#[async_trait]
pub trait HookRunner: Send + Sync {
    async fn start(&self, key: &str, hook: &RunHook) -> PortResult<HookState>;
    async fn poll(&self, key: &str) -> PortResult<HookState>;
    async fn cancel(&self, key: &str) -> PortResult<()>;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookState {
    /// Not running here: never started, or this process restarted since.
    Unknown,
    Running,
    /// `code`: exit code or HTTP status.
    Succeeded {
        code: i64,
        tail: Vec<String>,
    },
    Failed {
        code: Option<i64>,
        message: String,
        tail: Vec<String>,
    },
}

//! The journal's vocabulary. Events only grow: a variant or field is never removed or renamed, new fields have defaults.

use serde::{Deserialize, Serialize};

use landfall_model::Timestamp;
use landfall_model::ids::{ExecutionId, IdempotencyKey, StepId};

/// One journal record; its position in the journal is its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub at: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}

/// How an error is to be remedied, as the core needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// May pass by itself: retried by the step's policy. From a poll: the look failed, not the work; it is looked again.
    Retryable,
    /// Asked to slow down: retried, never counted as more than a delay until the step's timeout.
    Throttled,
    /// Will not pass by itself.
    Fatal,
    /// A choice in the plan has gone stale: the execution ends as `NeedsReplan`, without unwinding.
    Stale,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    pub class: ErrorClass,
    /// Stable code with a page under docs/errors/, for example `LF-TASK-EXITED`.
    pub code: String,
    pub message: String,
    /// Root cause in detail: stopped reason, failed check, last log lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// At least this long until the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// How an execution ended. Each has its own message and exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    /// Failed and everything it had done was undone.
    RolledBack,
    /// Failed, and some undo failed too: a declared residue is left.
    RollbackFailed,
    /// Failed where the plan says to keep what was done.
    Failed,
    /// A newer execution took over at a step boundary.
    Superseded,
    /// Stopped by a person and unwound.
    Aborted,
    NeedsReplan,
}

/// What an operator or a newer intent may do to an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Stop at the next step boundary and unwind.
    Abort,
    /// Stop at the next step boundary, undo nothing; the successor plans from fresh inventory.
    Supersede {
        by: String,
    },
    /// Run a failed or paused step again with fresh attempts.
    Retry {
        step: StepId,
    },
    /// Treat a failed or paused step as done with empty outputs.
    Skip {
        step: StepId,
    },
    /// Go on after a pause that names no step (an unknown event).
    Resume,
    Approve {
        step: StepId,
        by: String,
    },
    Reject {
        step: StepId,
        by: String,
    },
}

/// Journal events. The doc comment of each gives the states it may follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// First record, and only there.
    Created { plan: String, intent: String },
    /// Any unfinished state; the driver changed (or came back after a crash).
    LeaseTaken { owner: String, epoch: u64 },
    /// Step was waiting with all needs done, or failed with a retry due. Recovery does not repeat it. `key` is that of the
    /// effect: the same for all automatic attempts, a new one after an operator's retry.
    StepStarted { step: StepId, attempt: u32, key: IdempotencyKey },
    /// Step is started or pending. `token` is the handler's own memory between polls.
    StepPending {
        step: StepId,
        #[serde(default)]
        token: serde_json::Value,
        poll_after_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Step is started or pending.
    StepSucceeded { step: StepId, output: serde_json::Value },
    /// Step is started or pending. `retry_in_ms`: the attempt that will follow; `None`: the step's failure policy applies.
    StepFailed {
        step: StepId,
        attempt: u32,
        error: StepError,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
    },
    /// Step failed, for good or with a retry due, and an operator said so.
    StepSkipped { step: StepId, by: String },
    /// Running, no call in flight: undo begins. Steps with `undo` that were begun, half-done and pending ones included, are
    /// undone in reverse topological order.
    UnwindStarted { cause: String },
    /// Unwinding; step was begun and everything that needs it is undone or given up. Or its undo failed with a retry due.
    /// `key` is that of the effect to take back.
    UndoStarted { step: StepId, attempt: u32, key: IdempotencyKey },
    /// Step's undo is started or pending.
    UndoPending {
        step: StepId,
        #[serde(default)]
        token: serde_json::Value,
        poll_after_ms: u64,
    },
    /// Step's undo is started or pending.
    UndoFinished { step: StepId },
    /// Step's undo is started or pending. `retry_in_ms: None`: given up; the step is declared residue.
    UndoFailed {
        step: StepId,
        attempt: u32,
        error: StepError,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
    },
    /// Running or unwinding. With a step: what is under way goes on, nothing is begun until a signal. Without: an unknown
    /// record; nothing at all goes on until a signal.
    Paused { step: Option<StepId>, reason: String },
    /// Paused; recorded with the signal that ended the pause.
    Resumed { by: String },
    /// Any unfinished state. Recorded before its consequences, in the same append; one that does not apply has none.
    SignalReceived { who: String, signal: Signal },
    /// Running or unwinding, no call in flight; terminal.
    Finished { outcome: Outcome, message: String },
    /// A record of a newer version: the execution pauses for an operator; the record itself is kept.
    #[serde(other)]
    Unknown,
}

/// Names an effect: `attempt` is the one that began it.
pub fn idempotency_key(execution: &ExecutionId, step: &StepId, attempt: u32) -> IdempotencyKey {
    IdempotencyKey(format!("{execution}/{step}/{attempt}"))
}

//! What the engine takes and gives: configuration, plans, ends, errors, observations.

use std::time::Duration;

use landfall_model::ids::{ExecutionId, PlanDigest, StepId};
use landfall_model::notice::Notice;
use landfall_ports::journal::JournalError;
use landfall_workflow::outputs::Begun;
use landfall_workflow::{CorruptJournal, ExecutionView, InvalidPlan, Outcome, Plan};

#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Who holds the leases; unique per process: `host:pid:random`.
    pub owner: String,
    pub lease_ttl: Duration,
    /// The longest a handler's call may take. Shorter than half of `lease_ttl`, so that a lease covers every call.
    pub call_timeout: Duration,
    /// Executions driven at once, paused ones not counted.
    pub max_executions: usize,
    /// How often to look for executions that another process left.
    pub claim_every: Duration,
    /// How often to look for signals that came past this engine.
    pub signals_every: Duration,
    /// Records after which history is folded into a snapshot.
    pub compact_after: usize,
}

impl EngineConfig {
    pub fn new(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            lease_ttl: Duration::from_secs(30),
            call_timeout: Duration::from_secs(12),
            max_executions: 256,
            claim_every: Duration::from_millis(500),
            signals_every: Duration::from_secs(5),
            compact_after: 500,
        }
    }
}

/// A plan to run, with what is journalled and told in the same transaction.
#[derive(Debug, Clone)]
pub struct NewPlan {
    /// Chosen by the caller with [`crate::Engine::new_id`] where a record or a tag must name it first; `None`: made here.
    pub id: Option<ExecutionId>,
    /// Two submits with the same key give one execution, also after it has finished.
    pub dedup_key: String,
    pub plan: Plan,
    /// Who asked for it: the intent's id.
    pub intent: String,
    pub notices: Vec<Notice>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub id: ExecutionId,
    /// The dedup key was known: this is the execution of before.
    pub existing: bool,
}

/// An execution as the journal has it.
#[derive(Debug, Clone)]
pub struct Recalled {
    pub digest: PlanDigest,
    pub plan: Plan,
    /// As of [`NewPlan`].
    pub intent: String,
    /// Parameters of finished steps, references replaced.
    pub brought: Vec<serde_json::Value>,
    /// Of all steps that were begun, finished or not.
    pub begun: Vec<Begun>,
    pub view: ExecutionView,
}

/// Where an execution came to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    Finished {
        outcome: Outcome,
        message: String,
    },
    /// Waits for an operator.
    Paused {
        step: Option<StepId>,
        reason: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the plan is not valid: {0}")]
    InvalidPlan(#[from] InvalidPlan),
    #[error("execution {id}: {error}")]
    Corrupt { id: ExecutionId, error: CorruptJournal },
    /// The signal would change nothing in the state that the execution is in.
    #[error("{0}")]
    Rejected(String),
}

pub type EngineResult<T> = Result<T, EngineError>;

/// Something countable happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation<'a> {
    ExecutionClaimed {
        kind: &'a str,
    },
    /// Finished, or its lease given up (`outcome: None`).
    ExecutionLeft {
        kind: &'a str,
        outcome: Option<Outcome>,
        took: Duration,
    },
    /// One call of a handler: `phase` is start, poll or undo; `result` is done, pending, failed, timeout or panic.
    Call {
        kind: &'a str,
        phase: &'static str,
        result: &'static str,
        took: Duration,
    },
    /// An append that had to be repeated because the journal was unavailable.
    JournalRetry,
}

/// Takes observations for /metrics. Called inline: must not block.
pub trait EngineObserver: Send + Sync {
    fn observe(&self, what: &Observation<'_>);
}

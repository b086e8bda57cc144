//! An execution: its plan and the state folded from its records. Inputs and actions are its only contact with the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use landfall_model::Timestamp;
use landfall_model::ids::{ExecutionId, IdempotencyKey, StepId};
use landfall_model::notice::NoticeKind;

use crate::event::{Event, Outcome, Signal, StepError};
use crate::plan::{Plan, Step};
use crate::status::StepStatus;
use crate::view::Pause;

/// Codes of failures that the core itself decides. Each has a page under docs/errors/.
pub mod codes {
    /// The step's total timeout passed.
    pub const STEP_TIMEOUT: &str = "LF-STEP-TIMEOUT";
    /// The undo's total timeout passed.
    pub const UNDO_TIMEOUT: &str = "LF-UNDO-TIMEOUT";
    /// An effect that is unsafe to repeat was begun and its result is lost.
    pub const RESULT_UNKNOWN: &str = "LF-STEP-RESULT-UNKNOWN";
    /// A parameter refers to an output that no step gave (its step was skipped, or only warned).
    pub const OUTPUT_MISSING: &str = "LF-OUTPUT-MISSING";
    /// One call of a handler took longer than the driver allows.
    pub const CALL_TIMEOUT: &str = "LF-STEP-CALL-TIMEOUT";
    /// A handler panicked.
    pub const STEP_PANIC: &str = "LF-STEP-PANIC";
}

/// One durable run of a plan.
#[derive(Debug, Clone)]
pub struct Execution {
    pub(crate) id: ExecutionId,
    pub(crate) plan: Arc<Plan>,
    /// Indices into the plan's steps, in topological order.
    pub(crate) order: Arc<[usize]>,
    pub(crate) state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub version: u64,
    pub phase: Phase,
    pub intent: String,
    pub steps: BTreeMap<StepId, StepState>,
    pub pause: Option<Pause>,
    /// Pauses so far: numbers their notices.
    pub pauses: u32,
    /// A record was not understood; `false` again once the pause for it is itself recorded.
    #[serde(default)]
    pub unknown_unannounced: bool,
    /// Whether any record was ever not understood: such a history is not compacted away.
    #[serde(default)]
    pub unknown_seen: bool,
    pub stop: Option<Stop>,
    pub superseded_by: Option<String>,
    /// The failure that set `stop`.
    pub cause: Option<StepId>,
    pub cause_error: Option<StepError>,
    pub outcome: Option<Outcome>,
    pub message: Option<String>,
    pub driver: Option<String>,
    pub epoch: u64,
    pub created_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Time of the last record.
    pub last_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Only created (and perhaps signalled): nobody has taken a lease yet.
    Created,
    Running,
    Unwinding,
    Finished,
}

/// Why no new step is started. Ordered: a later one replaces a lesser one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stop {
    FailForward,
    Stale,
    Unwind,
    Abort { by: String },
    Supersede,
}

impl Stop {
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Stop::FailForward => 0,
            Stop::Stale => 1,
            Stop::Unwind => 2,
            Stop::Abort { .. } => 3,
            Stop::Supersede => 4,
        }
    }

    /// Steps that are under way are polled and retried to their end.
    pub(crate) fn lets_started_steps_end(&self) -> bool {
        matches!(self, Stop::FailForward)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepState {
    pub status: StepStatus,
    /// Of the last start; goes up for ever.
    pub attempt: u32,
    pub undo_attempt: u32,
    /// The same for all automatic attempts; a new one when an operator asks for a fresh attempt.
    pub key: Option<IdempotencyKey>,
    /// An operator asked for a fresh attempt: the next start gets a new key.
    #[serde(default)]
    pub fresh: bool,
    /// The handler's memory between polls (of the undo, while that is under way).
    pub token: Option<Value>,
    pub note: Option<String>,
    pub output: Option<Value>,
    pub error: Option<StepError>,
    /// Failures in a row that count against the policy's attempts.
    pub failures: u32,
    /// Failures in a row, throttling included: the exponent of the back-off.
    pub retries: u32,
    pub wait: Option<WaitState>,
    /// Time spent under earlier drivers, and when the present one took over: downtime is not the step's fault.
    pub ran_ms: u64,
    pub clock_from: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl Default for StepState {
    fn default() -> Self {
        Self {
            status: StepStatus::Waiting,
            attempt: 0,
            undo_attempt: 0,
            key: None,
            fresh: false,
            token: None,
            note: None,
            output: None,
            error: None,
            failures: 0,
            retries: 0,
            wait: None,
            ran_ms: 0,
            clock_from: None,
            started_at: None,
            finished_at: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct WaitState {
    pub since: Timestamp,
    pub ms: u64,
}

impl StepState {
    /// Milliseconds under way. A clock that went backwards counts as no time.
    pub(crate) fn elapsed_ms(&self, now: Timestamp) -> u64 {
        self.ran_ms.saturating_add(self.clock_from.map_or(0, |from| ms_between(from, now)))
    }

    /// What is left of the wait: never more than it was, whatever the clock did.
    pub(crate) fn wait_left_ms(&self, now: Timestamp) -> u64 {
        self.wait.map_or(0, |wait| wait.ms.saturating_sub(ms_between(wait.since, now)))
    }
}

pub(crate) fn ms_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond().saturating_sub(from.as_millisecond())).unwrap_or(0)
}

/// What the driver knows at the moment of an input.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub now: Timestamp,
    pub entropy: u64,
    /// Steps with a call begun and not yet reported; the one that is being reported is no longer among them.
    pub in_flight: &'a BTreeSet<StepId>,
    /// The driver is about to leave: record what is reported, begin nothing. The next `Recover` goes on.
    pub draining: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// First claim of a new execution.
    Start {
        owner: String,
        epoch: u64,
    },
    /// Claim of an execution that somebody drove before: after a crash, a release or a take-over.
    Recover {
        owner: String,
        epoch: u64,
    },
    StepReported {
        step: StepId,
        attempt: u32,
        report: Report,
    },
    UndoReported {
        step: StepId,
        attempt: u32,
        report: Report,
    },
    /// The wait of this step is over.
    TimerFired {
        step: StepId,
    },
    Signal {
        who: String,
        signal: Signal,
    },
}

/// The result of one call of a handler.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    Done(Value),
    Pending {
        token: Value,
        poll_after_ms: u64,
        note: Option<String>,
    },
    Failed(StepError),
    /// Cut off: whether it had its effect is not known.
    Unknown(StepError),
}

/// What the driver does once the events are committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Run(Call),
    Poll {
        call: Call,
        token: Value,
    },
    Undo {
        call: Call,
        output: Option<Value>,
        token: Option<Value>,
    },
    /// Report `TimerFired` after this long, on a clock that only goes forward. Replaces an earlier wait of the step.
    Wait {
        step: StepId,
        ms: u64,
    },
    /// The execution has ended: drive it no more.
    Finish {
        outcome: Outcome,
        message: String,
    },
}

/// One call of a handler, with everything it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub step: StepId,
    pub attempt: u32,
    /// Of the effect: the same for start, poll and undo of all automatic attempts.
    pub key: IdempotencyKey,
    /// Output references are replaced.
    pub params: Value,
}

/// Something people are told. Its key is deterministic, so that a replay after a crash gives the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeDraft {
    /// Unique in the execution: `created`, `paused:1`, `warning:hook.seed`.
    pub key: String,
    pub kind: NoticeKind,
    pub text: String,
    pub url: Option<String>,
    pub cause: Option<String>,
}

/// The answer to an input: append `append` (with `notices`, in one transaction), then do `actions`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transition {
    pub append: Vec<Event>,
    pub actions: Vec<Action>,
    pub notices: Vec<NoticeDraft>,
}

/// The input means nothing in this state. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the execution has finished")]
    Finished,
    #[error("the execution was already started")]
    AlreadyStarted,
    #[error("there is no step {0}")]
    NoSuchStep(StepId),
    /// A report of a call that nobody waits for any more.
    #[error("step {step} has no attempt {attempt} under way")]
    Late { step: StepId, attempt: u32 },
    /// The signal would change nothing.
    #[error("{0}")]
    NotNow(String),
    /// A broken promise of this crate: an event it chose is refused by its own table.
    #[error("internal error: {0}")]
    Bug(String),
}

/// The records cannot have been written by this core for this plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorruptJournal {
    #[error("record {version}: {event} cannot follow here: {why}")]
    Impossible { version: u64, event: &'static str, why: String },
    #[error("the plan is not valid: {0}")]
    Plan(String),
    #[error("the snapshot cannot be read: {0}")]
    Snapshot(String),
}

impl Execution {
    pub fn id(&self) -> &ExecutionId {
        &self.id
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Records folded.
    pub fn version(&self) -> u64 {
        self.state.version
    }

    /// Nobody has driven it yet: the first input is `Start`, else `Recover`.
    pub fn is_new(&self) -> bool {
        self.state.phase == Phase::Created
    }

    pub fn outcome(&self) -> Option<Outcome> {
        self.state.outcome
    }

    pub fn pause(&self) -> Option<&Pause> {
        self.state.pause.as_ref().filter(|_| self.state.phase != Phase::Finished)
    }

    pub fn status(&self, step: &StepId) -> Option<StepStatus> {
        self.state.steps.get(step).map(|state| state.status)
    }

    pub(crate) fn steps(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.order.iter().map(|&index| &self.plan.steps[index])
    }

    pub(crate) fn step_state(&self, step: &StepId) -> StepState {
        self.state.steps.get(step).cloned().unwrap_or_default()
    }
}

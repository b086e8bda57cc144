//! The one transition table of steps: what each event makes of a step's status, and which events a status refuses.

use serde::{Deserialize, Serialize};

use crate::event::{Event, Signal};
use crate::plan::FailurePolicy;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not started (again): needs not done, no free slot, or an operator asked for a fresh attempt.
    Waiting,
    /// A call was begun whose result is not recorded.
    Started,
    /// Under way in the world; polled from time to time.
    Pending,
    /// Failed; another attempt is due.
    Retrying,
    /// Failed for good; the step's policy says what becomes of the execution.
    Failed,
    /// Failed for good with policy `warn`: counts as done, with empty outputs.
    Warned,
    Done,
    /// An operator said to treat it as done, with empty outputs.
    Skipped,
    Undoing,
    UndoPending,
    UndoRetrying,
    Undone,
    /// Its undo was given up: what it made may be left.
    Residue,
}

impl StepStatus {
    /// Steps that need this one may start.
    pub fn satisfies_needs(self) -> bool {
        matches!(self, StepStatus::Done | StepStatus::Skipped | StepStatus::Warned)
    }

    /// Takes one of the plan's `max_parallel` slots while running forward.
    pub fn is_under_way(self) -> bool {
        matches!(self, StepStatus::Started | StepStatus::Pending | StepStatus::Retrying)
    }

    pub fn is_undo_under_way(self) -> bool {
        matches!(self, StepStatus::Undoing | StepStatus::UndoPending | StepStatus::UndoRetrying)
    }

    pub fn is_undo_settled(self) -> bool {
        matches!(self, StepStatus::Undone | StepStatus::Residue)
    }
}

/// The step's status after an event that names it. `None`: the event cannot follow this status.
pub fn next_status(from: StepStatus, event: &Event, on_failure: FailurePolicy) -> Option<StepStatus> {
    use StepStatus as S;
    Some(match (from, event) {
        (S::Waiting | S::Retrying, Event::StepStarted { .. }) => S::Started,
        (S::Started | S::Pending, Event::StepPending { .. }) => S::Pending,
        (S::Started | S::Pending, Event::StepSucceeded { .. }) => S::Done,
        (S::Started | S::Pending, Event::StepFailed { retry_in_ms: Some(_), .. }) => S::Retrying,
        (S::Started | S::Pending, Event::StepFailed { retry_in_ms: None, .. }) => match on_failure {
            FailurePolicy::Warn => S::Warned,
            FailurePolicy::Unwind | FailurePolicy::Pause | FailurePolicy::FailForward => S::Failed,
        },
        (S::Failed | S::Retrying, Event::StepSkipped { .. }) => S::Skipped,
        (S::Failed | S::Retrying, Event::SignalReceived { signal: Signal::Retry { .. }, .. }) => S::Waiting,
        (
            S::Done
            | S::Skipped
            | S::Warned
            | S::Failed
            | S::Waiting
            | S::Started
            | S::Pending
            | S::Retrying
            | S::UndoRetrying,
            Event::UndoStarted { .. },
        ) => S::Undoing,
        (S::Undoing | S::UndoPending, Event::UndoPending { .. }) => S::UndoPending,
        (S::Undoing | S::UndoPending, Event::UndoFinished { .. }) => S::Undone,
        (S::Undoing | S::UndoPending, Event::UndoFailed { retry_in_ms: Some(_), .. }) => S::UndoRetrying,
        (S::Undoing | S::UndoPending, Event::UndoFailed { retry_in_ms: None, .. }) => S::Residue,
        _ => return None,
    })
}

//! What a person sees of an execution: plain data for `status`, `executions show`, pages and JSON output.

use serde::{Deserialize, Serialize};

use landfall_model::Timestamp;
use landfall_model::ids::{EnvironmentId, ExecutionId, StepId};

use crate::event::{Outcome, StepError};
use crate::execution::{Execution, Phase};
use crate::notices;
use crate::plan::Step;
use crate::status::StepStatus;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionView {
    pub id: ExecutionId,
    pub environment: EnvironmentId,
    /// The plan's kind: `preview.create` …
    pub kind: String,
    pub title: String,
    pub state: ExecutionState,
    /// Only when finished.
    pub outcome: Option<Outcome>,
    /// One line: why it finished as it did, why it waits, or what is being done.
    pub message: Option<String>,
    /// What it waits for an operator with.
    pub pause: Option<Pause>,
    /// The first failure that stopped it: the root cause.
    pub cause: Option<StepCause>,
    /// Steps whose undo was given up: what they made may be left.
    pub residue: Vec<StepCause>,
    pub steps: Vec<StepView>,
    /// The output named `url`, once a step gave one.
    pub url: Option<String>,
    /// Who drives it, or drove it last.
    pub driver: Option<String>,
    pub created_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Records in the journal.
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionState {
    /// Created; nobody has driven it yet.
    Queued,
    Running,
    /// Waits for an operator: retry, skip, resume or abort.
    Paused,
    Unwinding,
    Finished,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// `None`: an unknown record; `resume` or `abort` goes on.
    pub step: Option<StepId>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCause {
    pub step: StepId,
    pub title: String,
    pub error: StepError,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    pub id: StepId,
    pub kind: String,
    pub title: String,
    pub status: StepStatus,
    pub attempts: u32,
    pub undo_attempts: u32,
    /// First start and last end, undo not included.
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// What a pending step is waiting for.
    pub note: Option<String>,
    /// The last failure, kept while it is retried.
    pub error: Option<StepError>,
    pub output: Option<serde_json::Value>,
}

/// The execution as a person sees it.
pub fn view(execution: &Execution) -> ExecutionView {
    let (plan, state) = (&execution.plan, &execution.state);
    let cause = |step: &Step, error: &StepError| StepCause {
        step: step.id.clone(),
        title: step.title.clone(),
        error: error.clone(),
    };
    let stage = match state.phase {
        Phase::Finished => ExecutionState::Finished,
        _ if state.pause.is_some() => ExecutionState::Paused,
        Phase::Created => ExecutionState::Queued,
        Phase::Running => ExecutionState::Running,
        Phase::Unwinding => ExecutionState::Unwinding,
    };
    ExecutionView {
        id: execution.id.clone(),
        environment: plan.environment.clone(),
        kind: plan.kind.clone(),
        title: plan.title.clone(),
        state: stage,
        outcome: state.outcome,
        message: state.message.clone().or_else(|| line(execution, stage)),
        pause: execution.pause().cloned(),
        cause: state.cause.as_ref().and_then(|id| Some(cause(plan.step(id)?, state.cause_error.as_ref()?))),
        residue: execution
            .steps()
            .filter(|step| notices::is_residue(execution, step))
            .filter_map(|step| Some(cause(step, state.steps.get(&step.id)?.error.as_ref()?)))
            .collect(),
        steps: plan.steps.iter().map(|step| step_view(execution, step)).collect(),
        url: execution.url(),
        driver: state.driver.clone(),
        created_at: state.created_at,
        started_at: state.started_at,
        finished_at: state.finished_at,
        version: state.version,
    }
}

/// What goes on, while it goes on.
fn line(execution: &Execution, stage: ExecutionState) -> Option<String> {
    match stage {
        ExecutionState::Paused => execution.pause().map(|pause| pause.reason.clone()),
        ExecutionState::Unwinding => Some(notices::unwind_cause(execution)),
        ExecutionState::Running => {
            let step = execution.steps().find(|step| execution.step_state(&step.id).status.is_under_way())?;
            Some(match execution.step_state(&step.id).note {
                Some(note) => format!("{}: {note}", step.title),
                None => step.title.clone(),
            })
        }
        ExecutionState::Queued | ExecutionState::Finished => None,
    }
}

fn step_view(execution: &Execution, step: &Step) -> StepView {
    let state = execution.step_state(&step.id);
    StepView {
        id: step.id.clone(),
        kind: step.kind().to_owned(),
        title: step.title.clone(),
        status: state.status,
        attempts: state.attempt,
        undo_attempts: state.undo_attempt,
        started_at: state.started_at,
        finished_at: state.finished_at,
        note: state.note,
        error: state.error,
        output: state.output,
    }
}

//! Folding records into state. Everything that an event means is here; `handle` applies what it chooses through the same
//! function, so that a driver's memory and a replay of its journal cannot differ.

use std::sync::Arc;

use serde_json::Value;

use landfall_model::Timestamp;
use landfall_model::ids::{ExecutionId, StepId};

use crate::event::{ErrorClass, Event, Record, Signal, StepError};
use crate::execution::{CorruptJournal, Execution, Phase, State, StepState, Stop, WaitState, codes, ms_between};
use crate::plan::{FailurePolicy, Idempotency, Plan};
use crate::snapshot;
use crate::status::{StepStatus, next_status};
use crate::view::Pause;

impl Execution {
    /// The execution as of its last record. `snapshot`: the state that replaced compacted records, `records`: the rest.
    pub fn fold(
        plan: &Arc<Plan>,
        id: &ExecutionId,
        snapshot: Option<&Value>,
        records: &[Record],
    ) -> Result<Self, CorruptJournal> {
        plan.validate().map_err(|invalid| CorruptJournal::Plan(invalid.to_string()))?;
        let order = plan.order().ok_or_else(|| CorruptJournal::Plan("it has no order".to_owned()))?;
        let state = match snapshot {
            Some(snapshot) => snapshot::read(snapshot, plan)?,
            None => State::new(plan),
        };
        let mut execution = Self { id: id.clone(), plan: Arc::clone(plan), order: order.into(), state };
        for record in records {
            execution.apply(record.at, &record.event)?;
        }
        Ok(execution)
    }

    /// Takes in one record.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), CorruptJournal> {
        let version = self.state.version + 1;
        self.check_phase(event).and_then(|()| self.change(at, event)).map_err(|why| CorruptJournal::Impossible {
            version,
            event: event.name(),
            why,
        })?;
        self.state.version = version;
        self.state.last_at = Some(at);
        Ok(())
    }

    /// The part of the table that concerns the execution as a whole.
    fn check_phase(&self, event: &Event) -> Result<(), String> {
        let phase = self.state.phase;
        let allowed = match event {
            Event::Created { .. } => self.state.version == 0,
            _ if self.state.version == 0 => false,
            Event::Unknown => true,
            Event::LeaseTaken { .. } | Event::SignalReceived { .. } => phase != Phase::Finished,
            Event::Paused { .. } | Event::Finished { .. } => matches!(phase, Phase::Running | Phase::Unwinding),
            Event::Resumed { .. } => phase != Phase::Finished && self.state.pause.is_some(),
            Event::StepStarted { .. }
            | Event::StepPending { .. }
            | Event::StepSucceeded { .. }
            | Event::StepFailed { .. }
            | Event::StepSkipped { .. }
            | Event::UnwindStarted { .. } => phase == Phase::Running,
            Event::UndoStarted { .. }
            | Event::UndoPending { .. }
            | Event::UndoFinished { .. }
            | Event::UndoFailed { .. } => phase == Phase::Unwinding,
        };
        if allowed { Ok(()) } else { Err(format!("the execution is {phase:?} at version {}", self.state.version)) }
    }

    fn change(&mut self, at: Timestamp, event: &Event) -> Result<(), String> {
        match event {
            Event::Created { intent, .. } => {
                self.state.intent.clone_from(intent);
                self.state.created_at = Some(at);
            }
            Event::LeaseTaken { owner, epoch } => self.lease_taken(at, owner, *epoch),
            Event::StepStarted { step, attempt, key } => {
                let state = self.advance_step(step, event)?;
                state.attempt = *attempt;
                state.key = Some(key.clone());
                state.fresh = false;
                state.wait = None;
                state.started_at.get_or_insert(at);
                state.clock_from.get_or_insert(at);
                state.finished_at = None;
            }
            Event::StepPending { step, token, poll_after_ms, note } => {
                let state = self.advance_step(step, event)?;
                state.token = Some(token.clone());
                state.note.clone_from(note);
                state.wait = Some(WaitState { since: at, ms: *poll_after_ms });
                state.failures = 0;
                state.retries = 0;
            }
            Event::StepSucceeded { step, output } => {
                let state = self.advance_step(step, event)?;
                state.output = Some(output.clone());
                state.error = None;
                state.ended(at);
            }
            Event::StepFailed { step, error, retry_in_ms, .. } => {
                self.step_failed(at, event, step, error, *retry_in_ms)?
            }
            Event::StepSkipped { step, .. } => self.advance_step(step, event)?.ended(at),
            Event::UnwindStarted { .. } => {
                self.state.phase = Phase::Unwinding;
                self.state.pause = None;
            }
            Event::UndoStarted { step, attempt, .. } => {
                let again = self.status(step) == Some(StepStatus::UndoRetrying);
                let state = self.advance_step(step, event)?;
                state.undo_attempt = *attempt;
                state.wait = None;
                if !again {
                    // A step that never finished leaves its undo what it knew.
                    if state.output.is_some() {
                        state.token = None;
                    }
                    state.failures = 0;
                    state.retries = 0;
                    state.ran_ms = 0;
                    state.clock_from = Some(at);
                }
            }
            Event::UndoPending { step, token, poll_after_ms } => {
                let state = self.advance_step(step, event)?;
                state.token = Some(token.clone());
                state.wait = Some(WaitState { since: at, ms: *poll_after_ms });
                state.failures = 0;
                state.retries = 0;
            }
            Event::UndoFinished { step } => self.advance_step(step, event)?.wait = None,
            Event::UndoFailed { step, error, retry_in_ms, .. } => {
                let state = self.advance_step(step, event)?;
                state.failed(at, error, *retry_in_ms);
            }
            Event::Paused { step, reason } => {
                self.state.pause = Some(Pause { step: step.clone(), reason: reason.clone() });
                self.state.pauses = self.state.pauses.saturating_add(1);
                self.state.unknown_unannounced = false;
            }
            Event::Resumed { .. } => {
                let frozen = self.state.pause.take().is_some_and(|pause| pause.step.is_none());
                self.state.unknown_unannounced = false;
                if frozen {
                    // While frozen nothing ran, so that time is not the steps'.
                    self.restart_clocks(at);
                }
            }
            Event::SignalReceived { who, signal } => self.signalled(who, signal, event)?,
            Event::Finished { outcome, message } => {
                self.state.phase = Phase::Finished;
                self.state.outcome = Some(*outcome);
                self.state.message = Some(message.clone());
                self.state.finished_at = Some(at);
                self.state.pause = None;
            }
            Event::Unknown => {
                self.state.unknown_seen = true;
                if self.state.phase != Phase::Finished {
                    self.state.unknown_unannounced = true;
                    let reason = "the journal has a record that this version does not know: a newer Landfall wrote it"
                        .to_owned();
                    self.state.pause = Some(Pause { step: None, reason });
                }
            }
        }
        Ok(())
    }

    /// Sets the step's status by the table; an event that the table refuses changes nothing.
    fn advance_step(&mut self, step: &StepId, event: &Event) -> Result<&mut StepState, String> {
        let plan = Arc::clone(&self.plan);
        let definition = plan.step(step).ok_or_else(|| format!("the plan has no step {step}"))?;
        let policy = match event {
            Event::StepFailed { error, .. } => effective_policy(definition.on_failure, error),
            _ => definition.on_failure,
        };
        let state = self.state.steps.entry(step.clone()).or_default();
        state.status =
            next_status(state.status, event, policy).ok_or_else(|| format!("step {step} is {:?}", state.status))?;
        Ok(state)
    }

    fn step_failed(
        &mut self,
        at: Timestamp,
        event: &Event,
        step: &StepId,
        error: &StepError,
        retry_in_ms: Option<u64>,
    ) -> Result<(), String> {
        let state = self.advance_step(step, event)?;
        state.failed(at, error, retry_in_ms);
        if retry_in_ms.is_some() {
            return Ok(());
        }
        state.ended(at);
        let policy =
            self.plan.step(step).map_or(FailurePolicy::Unwind, |step| effective_policy(step.on_failure, error));
        let stop = match (error.class, policy) {
            (ErrorClass::Stale, _) if !self.plan.last_try => Stop::Stale,
            (_, FailurePolicy::Unwind) => Stop::Unwind,
            (_, FailurePolicy::FailForward) => Stop::FailForward,
            (_, FailurePolicy::Pause | FailurePolicy::Warn) => return Ok(()),
        };
        if self.state.cause.is_none() {
            self.state.cause = Some(step.clone());
            self.state.cause_error = Some(error.clone());
        }
        self.stop(stop);
        Ok(())
    }

    fn stop(&mut self, stop: Stop) {
        if self.state.stop.as_ref().is_none_or(|present| present.rank() < stop.rank()) {
            self.state.stop = Some(stop);
        }
    }

    /// A signal that does not apply is recorded and changes nothing.
    fn signalled(&mut self, who: &str, signal: &Signal, event: &Event) -> Result<(), String> {
        if self.accepts(signal).is_err() {
            return Ok(());
        }
        match signal {
            Signal::Abort => self.stop(Stop::Abort { by: who.to_owned() }),
            Signal::Supersede { by } => {
                self.state.superseded_by = Some(by.clone());
                if self.state.phase != Phase::Unwinding {
                    self.stop(Stop::Supersede);
                }
            }
            Signal::Retry { step } => {
                let waiting_to_retry = self.status(step) == Some(StepStatus::Retrying);
                let state = self.advance_step(step, event)?;
                let old = std::mem::take(state);
                state.attempt = old.attempt;
                state.started_at = old.started_at;
                state.error = old.error;
                state.key = old.key;
                if waiting_to_retry {
                    // The same effect, only sooner and with a full budget.
                    state.token = old.token;
                    state.note = old.note;
                } else {
                    state.fresh = true;
                }
            }
            Signal::Skip { .. } | Signal::Resume | Signal::Approve { .. } | Signal::Reject { .. } => {}
        }
        Ok(())
    }

    fn lease_taken(&mut self, at: Timestamp, owner: &str, epoch: u64) {
        self.state.driver = Some(owner.to_owned());
        self.state.epoch = epoch;
        if self.state.phase == Phase::Created {
            self.state.phase = Phase::Running;
            self.state.started_at = Some(at);
        }
        self.restart_clocks(at);
    }

    /// The time since the last record was downtime (or frozen): steps under way get it back.
    fn restart_clocks(&mut self, at: Timestamp) {
        let last = self.state.last_at;
        for state in self.state.steps.values_mut() {
            if !(state.status.is_under_way() || state.status.is_undo_under_way()) {
                continue;
            }
            if let (Some(from), Some(last)) = (state.clock_from, last) {
                state.ran_ms = state.ran_ms.saturating_add(ms_between(from, last));
            }
            state.clock_from = Some(at);
        }
    }
}

/// An effect that must not be repeated and whose result is unknown waits for a person, unless its failure would not matter.
fn effective_policy(policy: FailurePolicy, error: &StepError) -> FailurePolicy {
    match policy {
        FailurePolicy::Warn => FailurePolicy::Warn,
        _ if error.code == codes::RESULT_UNKNOWN => FailurePolicy::Pause,
        policy => policy,
    }
}

impl State {
    fn new(plan: &Plan) -> Self {
        Self {
            version: 0,
            phase: Phase::Created,
            intent: String::new(),
            steps: plan.steps.iter().map(|step| (step.id.clone(), StepState::default())).collect(),
            pause: None,
            pauses: 0,
            unknown_unannounced: false,
            unknown_seen: false,
            stop: None,
            superseded_by: None,
            cause: None,
            cause_error: None,
            outcome: None,
            message: None,
            driver: None,
            epoch: 0,
            created_at: None,
            started_at: None,
            finished_at: None,
            last_at: None,
        }
    }
}

impl StepState {
    fn failed(&mut self, at: Timestamp, error: &StepError, retry_in_ms: Option<u64>) {
        self.error = Some(error.clone());
        self.retries = self.retries.saturating_add(1);
        if error.class != ErrorClass::Throttled {
            self.failures = self.failures.saturating_add(1);
        }
        self.wait = retry_in_ms.map(|ms| WaitState { since: at, ms });
    }

    fn ended(&mut self, at: Timestamp) {
        self.finished_at = Some(at);
        self.note = None;
        self.wait = None;
    }
}

/// Whether a call whose result is lost may simply be made again.
pub(crate) fn repeatable(idempotency: Idempotency, state: &StepState) -> bool {
    // With a token the effect is known to have begun: a poll only looks.
    idempotency != Idempotency::Unsafe || state.token.is_some()
}

impl Event {
    pub fn name(&self) -> &'static str {
        match self {
            Event::Created { .. } => "created",
            Event::LeaseTaken { .. } => "lease_taken",
            Event::StepStarted { .. } => "step_started",
            Event::StepPending { .. } => "step_pending",
            Event::StepSucceeded { .. } => "step_succeeded",
            Event::StepFailed { .. } => "step_failed",
            Event::StepSkipped { .. } => "step_skipped",
            Event::UnwindStarted { .. } => "unwind_started",
            Event::UndoStarted { .. } => "undo_started",
            Event::UndoPending { .. } => "undo_pending",
            Event::UndoFinished { .. } => "undo_finished",
            Event::UndoFailed { .. } => "undo_failed",
            Event::Paused { .. } => "paused",
            Event::Resumed { .. } => "resumed",
            Event::SignalReceived { .. } => "signal_received",
            Event::Finished { .. } => "finished",
            Event::Unknown => "unknown",
        }
    }
}

//! Unwinding: what was begun is undone in reverse topological order, several at once where the plan allows. A step whose
//! undo is given up is declared residue; the others go on.

use landfall_model::ids::StepId;
use serde_json::{Value, json};

use crate::event::{ErrorClass, Event, StepError, idempotency_key};
use crate::execution::{Action, Call, Execution, Phase, Rejected, Report, StepState, codes};
use crate::handle::{Decider, definition, timed_out};
use crate::plan::Step;
use crate::status::StepStatus;

/// In the token of an undo: what [`crate::Plan::fallback`] says of its step.
pub const FALLBACK: &str = "fallback";

impl Execution {
    /// Whether an unwind calls the step's `undo`: it may have done something, or an execution before it that was cut short
    /// may have, and the plan says that it can be undone.
    pub(crate) fn needs_undo(&self, step: &Step) -> bool {
        if step.undo && self.plan.fallback.contains_key(&step.id) {
            return true;
        }
        let state = self.step_state(&step.id);
        let never_called = state.error.as_ref().is_some_and(|error| error.code == codes::OUTPUT_MISSING);
        step.undo && state.attempt > 0 && !never_called
    }

    /// The steps whose undo may begin now, last ones first: all that depends on them, directly or not, is settled.
    fn ready_to_undo(&self) -> Vec<usize> {
        let mut blocked: Vec<&StepId> = Vec::new();
        let mut ready = Vec::new();
        for &index in self.order.iter().rev() {
            let step = &self.plan.steps[index];
            let status = self.status(&step.id).unwrap_or(StepStatus::Waiting);
            let held = blocked.contains(&&step.id);
            let open = self.needs_undo(step) && !status.is_undo_settled();
            if open && !held && !status.is_undo_under_way() {
                ready.push(index);
            }
            if open || held {
                blocked.extend(&step.needs);
            }
        }
        ready
    }
}

impl Decider<'_> {
    pub(crate) fn advance_unwind(&mut self) -> Result<(), Rejected> {
        let plan = self.plan();
        loop {
            let under_way =
                self.execution.state.steps.values().filter(|state| state.status.is_undo_under_way()).count();
            let ready = self.execution.ready_to_undo();
            match ready.first() {
                Some(&index) if under_way < plan.max_parallel as usize => self.start_undo(&plan.steps[index])?,
                None if under_way == 0 => return self.finish(),
                _ => return Ok(()),
            }
        }
    }

    pub(crate) fn start_undo(&mut self, step: &Step) -> Result<(), Rejected> {
        let state = self.execution.step_state(&step.id);
        let attempt = state.undo_attempt.saturating_add(1);
        let call = self.call(step, attempt);
        let key = match (&call, state.key) {
            (Ok(call), _) => call.key.clone(),
            (Err(_), Some(key)) => key,
            (Err(_), None) => idempotency_key(&self.execution.id, &step.id, attempt),
        };
        self.emit(Event::UndoStarted { step: step.id.clone(), attempt, key })?;
        self.call_undo(step)
    }

    pub(crate) fn call_undo(&mut self, step: &Step) -> Result<(), Rejected> {
        let StepState { undo_attempt, mut token, output, key, .. } = self.execution.step_state(&step.id);
        let mut call = self.call(step, undo_attempt);
        if let Some(fallback) = self.execution.plan.fallback.get(&step.id) {
            // What the step itself would have made need not be known to restore this.
            call = call.or_else(|_| {
                let key = key.unwrap_or_else(|| idempotency_key(&self.execution.id, &step.id, undo_attempt));
                Ok(Call { step: step.id.clone(), attempt: undo_attempt, key, params: step.params.clone() })
            });
            let mut known = token.filter(Value::is_object).unwrap_or_else(|| json!({}));
            known[FALLBACK] = fallback.clone();
            token = Some(known);
        }
        match call {
            Ok(call) => {
                self.out.actions.push(Action::Undo { call, output, token });
                Ok(())
            }
            Err(error) => self.undo_failed(step, error),
        }
    }

    pub(crate) fn undo_reported(&mut self, id: &StepId, attempt: u32, report: Report) -> Result<(), Rejected> {
        let plan = self.plan();
        let step = definition(&plan, id)?;
        let state = self.execution.step_state(id);
        let waited_for = matches!(state.status, StepStatus::Undoing | StepStatus::UndoPending);
        if !waited_for || state.undo_attempt != attempt || self.execution.state.phase != Phase::Unwinding {
            return Err(Rejected::Late { step: id.clone(), attempt });
        }
        match report {
            Report::Done(_) => self.emit(Event::UndoFinished { step: id.clone() }),
            Report::Pending { token, poll_after_ms, note } => {
                let left = step.timeout_ms.saturating_sub(state.elapsed_ms(self.now()));
                if left == 0 {
                    return self.undo_failed(step, timed_out(step, codes::UNDO_TIMEOUT, note));
                }
                if state.status != StepStatus::UndoPending || state.token.as_ref() != Some(&token) {
                    self.emit(Event::UndoPending { step: id.clone(), token, poll_after_ms })?;
                }
                self.out.actions.push(Action::Wait { step: id.clone(), ms: poll_after_ms.min(left) });
                Ok(())
            }
            // Undo looks first, so that it may be repeated whatever became of the call before.
            Report::Failed(error) | Report::Unknown(error) => self.undo_failed(step, error),
        }
    }

    fn undo_failed(&mut self, step: &Step, mut error: StepError) -> Result<(), Rejected> {
        let state = self.execution.step_state(&step.id);
        let left = step.timeout_ms.saturating_sub(state.elapsed_ms(self.now()));
        let mut retry_in_ms = None;
        if matches!(error.class, ErrorClass::Retryable | ErrorClass::Throttled) {
            let counted = state.failures.saturating_add(u32::from(error.class == ErrorClass::Retryable));
            if left == 0 {
                error = timed_out(step, codes::UNDO_TIMEOUT, Some(error.message));
            } else if error.class == ErrorClass::Throttled || counted < step.retry.attempts {
                retry_in_ms = Some(self.backoff(step, state.retries, &error).min(left));
            }
        }
        let attempt = state.undo_attempt;
        self.emit(Event::UndoFailed { step: step.id.clone(), attempt, error, retry_in_ms })?;
        if let Some(ms) = retry_in_ms {
            self.out.actions.push(Action::Wait { step: step.id.clone(), ms });
        }
        Ok(())
    }
}

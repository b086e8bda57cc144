//! Deciding: what an input means in the present state, as events to append and actions to do once they are committed.
//!
//! `handle` works on a scratch copy and applies each event it chooses through the fold, so a chosen event is also a legal
//! one. Crash semantics: actions follow from the records alone. Whatever of them was lost with a process is derived again by
//! `Recover`, with the same idempotency keys. A `Pending` answer with the token and note of the one before is not recorded
//! (a poll every second for an hour would be 3,600 records that say the same); after a crash the older record's wait is
//! over, and the step is polled at once.

use std::sync::Arc;

use landfall_model::Timestamp;
use landfall_model::ids::StepId;

use crate::backoff;
use crate::event::{ErrorClass, Event, Signal, StepError, idempotency_key};
use crate::execution::{
    Action, Call, Context, Execution, Input, NoticeDraft, Phase, Rejected, Report, Stop, Transition, codes,
};
use crate::fold::repeatable;
use crate::notices;
use crate::outputs;
use crate::plan::{Plan, Step};
use crate::status::StepStatus;

impl Execution {
    /// Decides. Pure: the same state, context and input give the same answer.
    pub fn handle(&self, cx: Context<'_>, input: Input) -> Result<Transition, Rejected> {
        if self.state.phase == Phase::Finished {
            return Err(Rejected::Finished);
        }
        let mut decider = Decider { execution: self.clone(), cx, out: Transition::default() };
        decider.input(input)?;
        Ok(decider.out)
    }

    /// Whether the signal would change anything now; the error says why not.
    pub fn accepts(&self, signal: &Signal) -> Result<(), Rejected> {
        let not_now = |why: String| Err(Rejected::NotNow(why));
        let state = &self.state;
        if state.phase == Phase::Finished {
            return Err(Rejected::Finished);
        }
        match signal {
            Signal::Supersede { .. } if state.superseded_by.is_some() => not_now("it is already superseded".to_owned()),
            Signal::Supersede { .. } => Ok(()),
            Signal::Abort if state.phase == Phase::Unwinding && state.pause.is_none() => {
                not_now("it is already being undone".to_owned())
            }
            Signal::Abort => match &state.stop {
                Some(stop @ (Stop::Abort { .. } | Stop::Supersede)) if state.pause.is_none() => {
                    not_now(format!("it is already stopping ({})", notices::stop_word(stop)))
                }
                _ => Ok(()),
            },
            Signal::Retry { step } | Signal::Skip { step } => {
                let status = self.status(step).ok_or_else(|| Rejected::NoSuchStep(step.clone()))?;
                if state.phase != Phase::Running || state.stop.is_some() {
                    not_now("it is already stopping; nothing more is started".to_owned())
                } else if matches!(status, StepStatus::Failed | StepStatus::Retrying) {
                    Ok(())
                } else {
                    not_now(format!("step {step} has not failed (it is {status:?})").to_lowercase())
                }
            }
            Signal::Resume => match &state.pause {
                Some(pause) if pause.step.is_none() => Ok(()),
                Some(_) => not_now("it waits for a decision about a failed step: retry, skip or abort".to_owned()),
                None => not_now("it is not paused".to_owned()),
            },
            Signal::Approve { step, .. } | Signal::Reject { step, .. } => {
                not_now(format!("step {step} does not wait for an approval"))
            }
        }
    }
}

pub(crate) struct Decider<'a> {
    pub(crate) execution: Execution,
    pub(crate) cx: Context<'a>,
    pub(crate) out: Transition,
}

impl Decider<'_> {
    fn input(&mut self, input: Input) -> Result<(), Rejected> {
        match input {
            Input::Start { owner, epoch } => {
                if !self.execution.is_new() {
                    return Err(Rejected::AlreadyStarted);
                }
                self.emit(Event::LeaseTaken { owner, epoch })?;
                self.tell(notices::started(&self.execution));
            }
            Input::Recover { owner, epoch } => {
                let new = self.execution.is_new();
                self.emit(Event::LeaseTaken { owner, epoch })?;
                if new {
                    self.tell(notices::started(&self.execution));
                }
                if self.execution.state.unknown_unannounced {
                    self.pause(None)?;
                }
                self.reissue()?;
            }
            Input::StepReported { step, attempt, report } => self.step_reported(&step, attempt, report)?,
            Input::UndoReported { step, attempt, report } => self.undo_reported(&step, attempt, report)?,
            Input::TimerFired { step } => self.timer_fired(&step)?,
            Input::Signal { who, signal } => self.signal(who, signal)?,
        }
        self.advance()
    }

    pub(crate) fn emit(&mut self, event: Event) -> Result<(), Rejected> {
        self.execution.apply(self.cx.now, &event).map_err(|corrupt| Rejected::Bug(corrupt.to_string()))?;
        self.out.append.push(event);
        Ok(())
    }

    pub(crate) fn tell(&mut self, notice: Option<NoticeDraft>) {
        self.out.notices.extend(notice);
    }

    fn pause(&mut self, step: Option<&StepId>) -> Result<(), Rejected> {
        let reason = match (step, &self.execution.state.pause) {
            (Some(step), _) => notices::pause_reason(&self.execution, step),
            (None, Some(pause)) => pause.reason.clone(),
            (None, None) => "an operator is needed".to_owned(),
        };
        self.emit(Event::Paused { step: step.cloned(), reason })?;
        self.tell(Some(notices::paused(&self.execution)));
        Ok(())
    }

    /// The plan apart from `self`, so that its steps can be read while the state changes.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.execution.plan)
    }

    fn status(&self, step: &StepId) -> StepStatus {
        self.execution.status(step).unwrap_or(StepStatus::Waiting)
    }

    fn frozen(&self) -> bool {
        self.execution.state.pause.as_ref().is_some_and(|pause| pause.step.is_none())
    }

    /// Steps that are under way may go on: nothing is frozen, and no stop cuts them at their boundary.
    fn forward_goes_on(&self) -> bool {
        self.execution.state.phase == Phase::Running
            && !self.frozen()
            && self.execution.state.stop.as_ref().is_none_or(Stop::lets_started_steps_end)
    }

    fn step_reported(&mut self, id: &StepId, attempt: u32, report: Report) -> Result<(), Rejected> {
        let plan = self.plan();
        let step = definition(&plan, id)?;
        let state = self.execution.step_state(id);
        let waited_for = matches!(state.status, StepStatus::Started | StepStatus::Pending) && state.attempt == attempt;
        if !waited_for || self.execution.state.phase != Phase::Running {
            return Err(Rejected::Late { step: id.clone(), attempt });
        }
        match report {
            Report::Done(output) => self.emit(Event::StepSucceeded { step: id.clone(), output }),
            Report::Pending { token, poll_after_ms, note } => {
                let left = step.timeout_ms.saturating_sub(state.elapsed_ms(self.cx.now));
                if left == 0 {
                    return self.step_failed(step, timed_out(step, codes::STEP_TIMEOUT, note.or(state.note)), false);
                }
                let same =
                    state.status == StepStatus::Pending && state.token.as_ref() == Some(&token) && state.note == note;
                if !same {
                    self.emit(Event::StepPending { step: id.clone(), token, poll_after_ms, note })?;
                }
                if self.forward_goes_on() {
                    self.out.actions.push(Action::Wait { step: id.clone(), ms: poll_after_ms.min(left) });
                }
                Ok(())
            }
            Report::Failed(error) => self.step_failed(step, error, false),
            Report::Unknown(error) => self.step_failed(step, error, true),
        }
    }

    /// Another attempt, or the end of the step: then `advance` follows its policy.
    fn step_failed(&mut self, step: &Step, mut error: StepError, unknown: bool) -> Result<(), Rejected> {
        let state = self.execution.step_state(&step.id);
        let left = step.timeout_ms.saturating_sub(state.elapsed_ms(self.cx.now));
        let mut retry_in_ms = None;
        if unknown && !repeatable(step.idempotency, &state) {
            error = result_unknown(step, Some(error));
        } else if matches!(error.class, ErrorClass::Retryable | ErrorClass::Throttled) {
            let counted = state.failures.saturating_add(u32::from(error.class == ErrorClass::Retryable));
            if left == 0 {
                error = timed_out(step, codes::STEP_TIMEOUT, Some(error.message));
            } else if error.class == ErrorClass::Throttled || counted < step.retry.attempts {
                retry_in_ms = Some(self.backoff(step, state.retries, &error).min(left));
            }
        }
        let given_up = retry_in_ms.is_none();
        let (id, attempt) = (step.id.clone(), state.attempt);
        self.emit(Event::StepFailed { step: id.clone(), attempt, error, retry_in_ms })?;
        if given_up && self.execution.status(&id) == Some(StepStatus::Warned) {
            self.tell(notices::warned(&self.execution, step));
        }
        if let Some(ms) = retry_in_ms
            && self.forward_goes_on()
        {
            self.out.actions.push(Action::Wait { step: id, ms });
        }
        Ok(())
    }

    pub(crate) fn backoff(&self, step: &Step, retries: u32, error: &StepError) -> u64 {
        let salt = self.execution.plan.steps.iter().position(|other| other.id == step.id).unwrap_or(0);
        let entropy = backoff::mix(self.cx.entropy, salt as u64);
        let wait = backoff::full_jitter(&step.retry, retries.saturating_add(1), entropy);
        error.retry_after_ms.unwrap_or(0).saturating_add(wait)
    }

    fn timer_fired(&mut self, id: &StepId) -> Result<(), Rejected> {
        let plan = self.plan();
        let step = definition(&plan, id)?;
        if self.cx.in_flight.contains(id) || self.frozen() {
            return Ok(());
        }
        match self.status(id) {
            StepStatus::Pending if self.forward_goes_on() => self.call_again(step),
            StepStatus::Retrying if self.forward_goes_on() => self.start_step(step),
            StepStatus::UndoPending => self.call_undo(step),
            StepStatus::UndoRetrying => self.start_undo(step),
            _ => Ok(()),
        }
    }

    fn signal(&mut self, who: String, signal: Signal) -> Result<(), Rejected> {
        let applies = self.execution.accepts(&signal).is_ok();
        let was_paused = self.execution.pause().cloned();
        self.emit(Event::SignalReceived { who: who.clone(), signal: signal.clone() })?;
        if !applies {
            return Ok(());
        }
        if let Signal::Skip { step } = &signal {
            self.emit(Event::StepSkipped { step: step.clone(), by: who.clone() })?;
        }
        let Some(pause) = was_paused else { return Ok(()) };
        let ends_pause = match &signal {
            Signal::Retry { step } | Signal::Skip { step } => pause.step.as_ref() == Some(step),
            Signal::Abort | Signal::Supersede { .. } | Signal::Resume => true,
            Signal::Approve { .. } | Signal::Reject { .. } => false,
        };
        if ends_pause {
            self.emit(Event::Resumed { by: who })?;
            if pause.step.is_none() && self.execution.state.phase != Phase::Created {
                self.reissue()?;
            }
        }
        Ok(())
    }

    /// Derives the actions of everything under way again: after a crash, or after a pause that froze all.
    fn reissue(&mut self) -> Result<(), Rejected> {
        if self.frozen() {
            return Ok(());
        }
        let (plan, order) = (self.plan(), Arc::clone(&self.execution.order));
        for step in order.iter().map(|&index| &plan.steps[index]) {
            if self.cx.in_flight.contains(&step.id) {
                continue;
            }
            let state = self.execution.step_state(&step.id);
            let wait = Action::Wait { step: step.id.clone(), ms: state.wait_left_ms(self.cx.now) };
            match state.status {
                StepStatus::Started if !self.forward_goes_on() => {}
                StepStatus::Started if repeatable(step.idempotency, &state) => self.call_again(step)?,
                StepStatus::Started => self.step_failed(step, result_unknown(step, None), true)?,
                StepStatus::Pending | StepStatus::Retrying if self.forward_goes_on() => self.out.actions.push(wait),
                StepStatus::Undoing => self.call_undo(step)?,
                StepStatus::UndoPending | StepStatus::UndoRetrying => self.out.actions.push(wait),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whatever can go on now, until nothing can.
    fn advance(&mut self) -> Result<(), Rejected> {
        if self.frozen() || self.cx.draining {
            return Ok(());
        }
        match self.execution.state.phase {
            Phase::Created | Phase::Finished => return Ok(()),
            Phase::Unwinding => return self.advance_unwind(),
            Phase::Running => {}
        }
        if let Some(stop) = self.execution.state.stop.clone() {
            return self.advance_stop(&stop);
        }
        if self.execution.state.pause.is_some() {
            return Ok(());
        }
        let (plan, order) = (self.plan(), Arc::clone(&self.execution.order));
        let steps: Vec<&Step> = order.iter().map(|&index| &plan.steps[index]).collect();
        loop {
            let failed = steps.iter().find(|step| self.status(&step.id) == StepStatus::Failed);
            if let Some(step) = failed {
                return self.pause(Some(&step.id));
            }
            let under_way = steps.iter().filter(|step| self.status(&step.id).is_under_way()).count();
            if under_way >= self.execution.plan.max_parallel as usize {
                return Ok(());
            }
            let satisfied = |id: &StepId| self.status(id).satisfies_needs();
            let ready = steps
                .iter()
                .find(|step| self.status(&step.id) == StepStatus::Waiting && step.needs.iter().all(satisfied));
            match ready {
                Some(step) => self.start_step(step)?,
                None if under_way == 0 => return self.finish(),
                None => return Ok(()),
            }
            // A start may fail at once, for want of an output.
            if let Some(stop) = self.execution.state.stop.clone() {
                return self.advance_stop(&stop);
            }
        }
    }

    /// Stops at a step boundary: calls already begun are reported first.
    fn advance_stop(&mut self, stop: &Stop) -> Result<(), Rejected> {
        if !self.cx.in_flight.is_empty() {
            return Ok(());
        }
        match stop {
            Stop::FailForward => {
                let under_way = self.execution.state.steps.values().any(|state| state.status.is_under_way());
                if under_way { Ok(()) } else { self.finish() }
            }
            Stop::Stale | Stop::Supersede => self.finish(),
            Stop::Unwind | Stop::Abort { .. } => {
                self.emit(Event::UnwindStarted { cause: notices::unwind_cause(&self.execution) })?;
                self.advance_unwind()
            }
        }
    }

    pub(crate) fn finish(&mut self) -> Result<(), Rejected> {
        let (outcome, message) = notices::verdict(&self.execution);
        self.emit(Event::Finished { outcome, message: message.clone() })?;
        self.tell(notices::finished(&self.execution));
        self.out.actions.push(Action::Finish { outcome, message });
        Ok(())
    }

    fn start_step(&mut self, step: &Step) -> Result<(), Rejected> {
        let state = self.execution.step_state(&step.id);
        let attempt = state.attempt.saturating_add(1);
        let key = match state.key {
            Some(key) if !state.fresh => key,
            _ => idempotency_key(&self.execution.id, &step.id, attempt),
        };
        self.emit(Event::StepStarted { step: step.id.clone(), attempt, key })?;
        self.call_again(step)
    }

    /// The call of the attempt that is under way: a poll once the handler has given a token, else the start.
    fn call_again(&mut self, step: &Step) -> Result<(), Rejected> {
        let state = self.execution.step_state(&step.id);
        match self.call(step, state.attempt) {
            Ok(call) => self.out.actions.push(match state.token {
                Some(token) => Action::Poll { call, token },
                None => Action::Run(call),
            }),
            Err(error) => self.step_failed(step, error, false)?,
        }
        Ok(())
    }

    pub(crate) fn call(&self, step: &Step, attempt: u32) -> Result<Call, StepError> {
        let output = |id: &str| self.execution.state.steps.get(&StepId::from(id))?.output.as_ref();
        let params = outputs::resolve(&step.params, &output).map_err(|missing| StepError {
            class: ErrorClass::Fatal,
            code: codes::OUTPUT_MISSING.to_owned(),
            message: format!("{missing}: the step that gives it was skipped or has only warned"),
            detail: None,
            retry_after_ms: None,
        })?;
        let key = self.execution.step_state(&step.id).key;
        let key = key.unwrap_or_else(|| idempotency_key(&self.execution.id, &step.id, attempt));
        Ok(Call { step: step.id.clone(), attempt, key, params })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.cx.now
    }
}

pub(crate) fn definition<'p>(plan: &'p Plan, step: &StepId) -> Result<&'p Step, Rejected> {
    plan.step(step).ok_or_else(|| Rejected::NoSuchStep(step.clone()))
}

pub(crate) fn timed_out(step: &Step, code: &str, last: Option<String>) -> StepError {
    StepError {
        class: ErrorClass::Fatal,
        code: code.to_owned(),
        message: format!("{} took longer than {} s", step.id, step.timeout_ms.div_ceil(1000)),
        detail: last,
        retry_after_ms: None,
    }
}

fn result_unknown(step: &Step, error: Option<StepError>) -> StepError {
    StepError {
        class: ErrorClass::Fatal,
        code: codes::RESULT_UNKNOWN.to_owned(),
        message: format!(
            "{} was begun and its result is lost; it is not safe to repeat: look, then retry, skip or abort",
            step.id
        ),
        detail: error.map(|error| error.message),
        retry_after_ms: None,
    }
}

//! One call of a handler: within its time, within its lease, and with its panics caught.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use landfall_model::ids::{EnvironmentId, ExecutionId, StepId};
use landfall_ports::steps::{Progress, StepContext};
use landfall_workflow::event::{ErrorClass, StepError};
use landfall_workflow::{Call, Input, Report, codes};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::config::Observation;
use crate::engine::Inner;
use crate::live::Held;

/// What is called, out of an `Action`.
pub(crate) enum Phase {
    Start,
    Poll { token: serde_json::Value },
    Undo { output: Option<serde_json::Value>, token: Option<serde_json::Value> },
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Phase::Start => "start",
            Phase::Poll { .. } => "poll",
            Phase::Undo { .. } => "undo",
        }
    }
}

pub(crate) struct Job {
    pub(crate) inner: Arc<Inner>,
    pub(crate) held: Arc<Held>,
    pub(crate) execution: ExecutionId,
    pub(crate) environment: EnvironmentId,
    pub(crate) kind: String,
    pub(crate) call: Call,
    pub(crate) phase: Phase,
}

impl Job {
    /// The step and the input to report; `None`: the lease was lost before the call was begun.
    pub(crate) async fn run(self) -> (StepId, Option<Input>) {
        let step = self.call.step.clone();
        let limit = self.inner.config.call_timeout;
        if !self.held.covers(limit).await {
            return (step, None);
        }
        let phase = self.phase.name();
        let span = tracing::info_span!("step", step = %step, kind = %self.kind, phase, attempt = self.call.attempt);
        let begun = Instant::now();
        let called = AssertUnwindSafe(self.invoke()).catch_unwind();
        let (report, result) = match tokio::time::timeout(limit, called.instrument(span.clone())).await {
            Ok(Ok(Ok(Progress::Done(output)))) => (Report::Done(output), "done"),
            Ok(Ok(Ok(Progress::Pending { token, poll_after_ms, note }))) => {
                (Report::Pending { token, poll_after_ms, note }, "pending")
            }
            Ok(Ok(Err(error))) => (Report::Failed(error), "failed"),
            Ok(Err(panic)) => (Report::Failed(panicked(&self.call.step, panic.as_ref())), "panic"),
            Err(_) => (Report::Unknown(too_slow(&self.call.step, limit.as_secs())), "timeout"),
        };
        let took = begun.elapsed();
        self.inner.observe(&Observation::Call { kind: &self.kind, phase, result, took });
        span.in_scope(|| log(&report, result, took));
        let attempt = self.call.attempt;
        let input = match self.phase {
            Phase::Undo { .. } => Input::UndoReported { step: step.clone(), attempt, report },
            Phase::Start | Phase::Poll { .. } => Input::StepReported { step: step.clone(), attempt, report },
        };
        (step, Some(input))
    }

    async fn invoke(&self) -> Result<Progress, StepError> {
        let cx = StepContext {
            execution: self.execution.clone(),
            environment: self.environment.clone(),
            step: self.call.step.clone(),
            key: self.call.key.clone(),
            attempt: self.call.attempt,
            now: self.inner.clock.now(),
        };
        let (steps, params) = (&self.inner.steps, &self.call.params);
        match &self.phase {
            Phase::Start => steps.start(&cx, params).await,
            Phase::Poll { token } => steps.poll(&cx, params, token).await,
            Phase::Undo { output, token } => steps.undo(&cx, params, output.as_ref(), token.as_ref()).await,
        }
    }
}

fn log(report: &Report, result: &'static str, took: std::time::Duration) {
    match report {
        Report::Failed(error) | Report::Unknown(error) => {
            tracing::warn!(result, code = %error.code, error = %error.message, ?took, "step call failed");
        }
        Report::Done(_) => tracing::info!(result, ?took, "step call"),
        Report::Pending { note, .. } => tracing::debug!(result, ?note, ?took, "step call"),
    }
}

fn panicked(step: &StepId, panic: &(dyn std::any::Any + Send)) -> StepError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    StepError {
        class: ErrorClass::Fatal,
        code: codes::STEP_PANIC.to_owned(),
        message: format!("the handler of {step} panicked; this is a defect of Landfall"),
        detail: text,
        retry_after_ms: None,
    }
}

fn too_slow(step: &StepId, seconds: u64) -> StepError {
    StepError {
        class: ErrorClass::Retryable,
        code: codes::CALL_TIMEOUT.to_owned(),
        message: format!("a call for {step} was cut off after {seconds} s"),
        detail: None,
        retry_after_ms: None,
    }
}

//! Step executors that misbehave around a well-behaved one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use landfall_model::ids::StepId;
use landfall_ports::steps::{Progress, StepContext, StepExecutor};
use landfall_workflow::event::{ErrorClass, StepError};
use serde_json::Value;
use tokio::sync::watch;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The process dies after the effect of the n-th call (start, poll or undo), before its result is reported.
    DieAfterCall(u64),
    /// `start` fails without an effect.
    FailBefore(StepId),
    /// `start` has its effect and then fails.
    FailAfter(StepId),
    /// The first `poll` has its effect and then fails.
    FailAfterPoll(StepId),
    /// Every call is made twice with the same key; the second answer counts.
    Twice,
}

/// Counts calls and commits one fault.
pub struct Faulty {
    inner: Arc<dyn StepExecutor>,
    fault: Fault,
    calls: AtomicU64,
    dead: watch::Sender<bool>,
}

impl Faulty {
    pub fn new(inner: Arc<dyn StepExecutor>, fault: Fault) -> Self {
        Self { inner, fault, calls: AtomicU64::new(0), dead: watch::Sender::new(false) }
    }

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Resolves when the process is to be dead.
    pub async fn died(&self) {
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    /// After a death nothing is begun any more.
    async fn enter(&self) {
        if *self.dead.borrow() {
            std::future::pending::<()>().await;
        }
    }

    async fn leave(&self) {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.fault == Fault::DieAfterCall(calls) {
            self.dead.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}

/// The failure that `FailBefore`, `FailAfter` and `FailAfterPoll` report.
pub fn injected() -> StepError {
    StepError {
        class: ErrorClass::Fatal,
        code: "LF-INJECTED".to_owned(),
        message: "injected failure".to_owned(),
        detail: None,
        retry_after_ms: None,
    }
}

#[async_trait]
impl StepExecutor for Faulty {
    async fn start(&self, cx: &StepContext, params: &Value) -> Result<Progress, StepError> {
        self.enter().await;
        if self.fault == Fault::FailBefore(cx.step.clone()) {
            return Err(injected());
        }
        if self.fault == Fault::Twice {
            let _ = self.inner.start(cx, params).await;
        }
        let result = self.inner.start(cx, params).await;
        self.leave().await;
        if self.fault == Fault::FailAfter(cx.step.clone()) {
            return Err(injected());
        }
        result
    }

    async fn poll(&self, cx: &StepContext, params: &Value, token: &Value) -> Result<Progress, StepError> {
        self.enter().await;
        if self.fault == Fault::Twice {
            let _ = self.inner.poll(cx, params, token).await;
        }
        let result = self.inner.poll(cx, params, token).await;
        self.leave().await;
        if self.fault == Fault::FailAfterPoll(cx.step.clone()) {
            return Err(injected());
        }
        result
    }

    async fn undo(
        &self,
        cx: &StepContext,
        params: &Value,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> Result<Progress, StepError> {
        self.enter().await;
        if self.fault == Fault::Twice {
            let _ = self.inner.undo(cx, params, output, token).await;
        }
        let result = self.inner.undo(cx, params, output, token).await;
        self.leave().await;
        result
    }
}

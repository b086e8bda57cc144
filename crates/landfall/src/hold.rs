//! A place to be killed at. With `LANDFALL_TEST_HOLD=KIND:before` (or `:after`) the first call of a step of that kind stops
//! before its effect (or after it, before its record) and writes `STATE/held`; the crash test then sends SIGKILL. Without the
//! variable nothing of this exists.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use landfall_ports::steps::{Progress, StepContext, StepExecutor};
use landfall_workflow::event::StepError;
use serde_json::Value;

/// Wraps `steps` when `place` is set; `marker` is the file that says that the place was reached.
pub(crate) fn wrap(steps: Arc<dyn StepExecutor>, place: Option<String>, marker: PathBuf) -> Arc<dyn StepExecutor> {
    let Some((kind, when)) = place.as_deref().and_then(|place| place.split_once(':')) else { return steps };
    tracing::warn!(kind, when, "will hold there, for a crash test");
    Arc::new(Hold { steps, kind: kind.to_owned(), after: when == "after", marker, reached: AtomicBool::new(false) })
}

struct Hold {
    steps: Arc<dyn StepExecutor>,
    kind: String,
    after: bool,
    marker: PathBuf,
    reached: AtomicBool,
}

impl Hold {
    /// Whether this call is the one; from then on every call is held, as a dead process makes none.
    fn is_here(&self, params: &Value) -> bool {
        self.reached.load(Ordering::SeqCst) || params.get(&self.kind).is_some()
    }

    async fn hold(&self) -> ! {
        self.reached.store(true, Ordering::SeqCst);
        if let Err(error) = std::fs::write(&self.marker, "held\n") {
            tracing::error!(%error, "cannot say that the place was reached");
        }
        std::future::pending::<()>().await;
        unreachable!("a pending future is never ready")
    }

    async fn around(
        &self,
        params: &Value,
        call: impl Future<Output = Result<Progress, StepError>> + Send,
    ) -> Result<Progress, StepError> {
        let here = self.is_here(params);
        if here && !self.after {
            self.hold().await;
        }
        let result = call.await;
        if here {
            self.hold().await;
        }
        result
    }
}

#[async_trait]
impl StepExecutor for Hold {
    async fn start(&self, cx: &StepContext, params: &Value) -> Result<Progress, StepError> {
        self.around(params, self.steps.start(cx, params)).await
    }

    async fn poll(&self, cx: &StepContext, params: &Value, token: &Value) -> Result<Progress, StepError> {
        self.around(params, self.steps.poll(cx, params, token)).await
    }

    async fn undo(
        &self,
        cx: &StepContext,
        params: &Value,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> Result<Progress, StepError> {
        self.around(params, self.steps.undo(cx, params, output, token)).await
    }
}

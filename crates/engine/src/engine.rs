//! The engine's public face. (Signatures first; the driver follows.)

use std::sync::Arc;

use landfall_model::ids::ExecutionId;
use landfall_ports::clock::Clock;
use landfall_ports::journal::Journal;
use landfall_ports::steps::StepExecutor;
use landfall_workflow::event::Record;
use landfall_workflow::{ExecutionView, Signal};
use tokio_util::sync::CancellationToken;

use crate::config::{EngineConfig, EngineError, EngineObserver, EngineResult, NewPlan, RunEnd, Submitted};

#[derive(Clone)]
pub struct Engine {}

fn not_yet<T>() -> EngineResult<T> {
    Err(EngineError::Rejected("not built yet".to_owned()))
}

impl Engine {
    pub fn new(
        _config: EngineConfig,
        _journal: Arc<dyn Journal>,
        _steps: Arc<dyn StepExecutor>,
        _clock: Arc<dyn Clock>,
    ) -> Self {
        Self {}
    }
    #[must_use]
    pub fn with_observer(self, _observer: Arc<dyn EngineObserver>) -> Self {
        self
    }
    pub async fn submit(&self, _new: NewPlan) -> EngineResult<Submitted> {
        not_yet()
    }
    pub async fn serve(&self, _shutdown: CancellationToken) {}
    pub async fn run_to_end(&self, _id: &ExecutionId) -> EngineResult<RunEnd> {
        not_yet()
    }
    pub async fn wait(&self, _id: &ExecutionId) -> EngineResult<RunEnd> {
        not_yet()
    }
    pub async fn signal(&self, _id: &ExecutionId, _who: &str, _signal: Signal) -> EngineResult<()> {
        not_yet()
    }
    pub async fn view(&self, _id: &ExecutionId) -> EngineResult<ExecutionView> {
        not_yet()
    }
    pub async fn history(&self, _id: &ExecutionId) -> EngineResult<Vec<Record>> {
        not_yet()
    }
}

/// The trace id that all spans of an execution share: the first 16 bytes of the SHA-256 of its id.
pub fn trace_id(_id: &ExecutionId) -> [u8; 16] {
    [0; 16]
}

//! The async driver of executions: claims them from the journal, appends first, and only after the commit acts.
//!
//! Public API:
//! - [`Engine::new`]`(EngineConfig, Arc<dyn Journal>, Arc<dyn StepExecutor>, Arc<dyn Clock>)`, cheap to clone;
//!   [`Engine::with_observer`] for metrics.
//! - [`Engine::submit`]`(NewPlan) -> Submitted { id, existing }`: validates, digests and journals a plan.
//! - [`Engine::serve`]`(CancellationToken)`: claims and drives until cancelled; then lets calls finish, releases leases.
//! - [`Engine::run_to_end`]`(&ExecutionId) -> RunEnd`: for a command without a server; [`Engine::wait`] only watches.
//! - [`Engine::signal`]`(&ExecutionId, who, Signal)`: abort, supersede, retry, skip, resume.
//! - [`Engine::view`]`(&ExecutionId) -> ExecutionView`, [`Engine::history`]`(&ExecutionId) -> Vec<Record>`.
//! - [`Engine::live`]: executions held now.
//! - [`trace_id`]: the trace id that all spans of an execution share.

mod calls;
mod config;
mod drive;
mod engine;
mod live;

pub use config::{
    EngineConfig, EngineError, EngineObserver, EngineResult, NewPlan, Observation, Recalled, RunEnd, Submitted,
};
pub use engine::{Engine, trace_id};

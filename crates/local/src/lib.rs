//! The local platform: ECS semantics on one machine, with containers through the Docker API (Docker or Podman).
//!
//! A task is a pause container that holds a network namespace, and its members in it, so they reach each other on
//! localhost as on Fargate. Files under `STATE/local` say what shall be; labelled containers say what is; actors (one per
//! service, one per task) bring the second to the first. What they decide is decided in pure functions:
//! `scheduler::decide`, `task::decide`, `task::health`.

mod balancer;
mod circleci;
mod core;
mod definitions;
pub mod docker;
pub mod engine;
mod hooks;
pub mod host;
mod housekeeping;
mod http;
mod images;
mod known;
mod labels;
mod logs;
mod network;
mod pause;
mod platform;
mod process;
mod scheduler;
mod secrets;
mod state;
mod subnet;
mod supervisor;
mod task;

pub use balancer::RouterCommand;
pub use engine::{Engine, EngineKind, EngineOptions};
pub use images::context::{Context, digest as context_digest, stage as stage_context};
pub use images::stamp::stamp as context_stamp;
pub use landfall_ports::orchestrator::LogLine;
pub use platform::{LocalOptions, LocalPlatform};
pub use secrets::LocalSecrets;

/// Images that services and tasks of this state directory run, or may go back to. Nothing is asked of the engine.
///
/// # Errors
/// A file that cannot be read: then nobody knows all of them.
pub async fn images_in_use(state: &std::path::Path) -> landfall_ports::PortResult<Vec<String>> {
    definitions::images(&state.join("local")).await
}

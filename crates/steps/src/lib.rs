//! The step handlers: one per kind, written against ports, re-entrant, never waiting.
//!
//! What `undo` may take away is told by the tag `landfall.execution`: tags are those of a resource's creation, so a crash
//! between an effect and its record leaves no doubt about who made it. What an execution did not make it restores or leaves.

pub mod cluster;
mod codes;
mod count;
mod deployment;
mod error;
mod hooks;
mod images;
mod lost;
pub mod machine_image;
mod placed;
mod routing;
pub mod scale;
mod service;
pub mod stack;
mod sweep;
mod task;
mod task_definition;

use async_trait::async_trait;
use landfall_model::step::StepParams;
use landfall_ports::Platform;
use landfall_ports::steps::{Progress, StepContext, StepExecutor};
use landfall_workflow::event::StepError;
use serde_json::Value;

pub use codes::{ALL as CODES, Code};
pub use placed::PlacedSteps;

type StepResult = Result<Progress, StepError>;

/// Polls of things that usually take well under a second.
const SOON_MS: u64 = 25;
/// Polls of things that take seconds.
const LATER_MS: u64 = 250;

/// The first by name, and how many more there are.
pub fn few<T: AsRef<str>>(names: &[T]) -> String {
    const NAMED: usize = 4;
    let shown: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

/// Runs every kind of step on a platform.
#[derive(Clone)]
pub struct Steps {
    platform: Platform,
}

impl Steps {
    pub fn new(platform: Platform) -> Self {
        Self { platform }
    }

    /// No poll comes sooner than the platform bears; 0 waits for nothing, it only lets a token be written first.
    pub(crate) fn paced(&self, mut progress: Progress) -> Progress {
        if let Progress::Pending { poll_after_ms, .. } = &mut progress
            && *poll_after_ms > 0
        {
            *poll_after_ms = self.platform.min_poll_ms.max(*poll_after_ms);
        }
        progress
    }
}

#[async_trait]
impl StepExecutor for Steps {
    async fn start(&self, cx: &StepContext, params: &Value) -> StepResult {
        let progress = match typed(params)? {
            StepParams::BuildImage(p) => self.start_build(cx, &p).await,
            StepParams::AwaitImage(p) => self.await_image(&p).await,
            StepParams::RegisterTaskDefinition(p) => self.register_task_definition(&p).await,
            StepParams::EnsureTargetGroup(p) => self.start_target_group(cx, &p).await,
            StepParams::EnsureRoute(p) => self.ensure_route(&p).await,
            StepParams::DeployService(p) => self.start_deploy(cx, &p).await,
            StepParams::TargetsHealthy(p) => self.targets_healthy(&p).await,
            StepParams::ProbeUrl(p) => self.probe_url(&p).await,
            StepParams::RunHook(p) => self.start_hook(cx, &p).await,
            StepParams::RunTask(p) => self.start_task(cx, &p).await,
            StepParams::StopService(p) => self.stop_service(cx, &p).await,
            StepParams::DeleteService(p) => self.delete_service(cx, &p.name).await,
            StepParams::DeleteRoute(p) => self.delete_route(&p).await,
            StepParams::DeleteTargetGroup(p) => self.delete_target_group(&p).await,
            StepParams::SweepResources(p) => self.sweep_resources(&p).await,
            StepParams::VerifyGone(p) => self.verify_gone(&p).await,
        }?;
        Ok(self.paced(progress))
    }

    async fn poll(&self, cx: &StepContext, params: &Value, token: &Value) -> StepResult {
        let progress = match typed(params)? {
            StepParams::BuildImage(p) => self.poll_build(cx, &p).await,
            StepParams::AwaitImage(p) => self.await_image(&p).await,
            StepParams::EnsureTargetGroup(p) => self.poll_target_group(cx, &p, token).await,
            // Has a pace of its own.
            StepParams::DeployService(p) => return self.poll_deploy(cx, &p, token).await,
            StepParams::TargetsHealthy(p) => self.targets_healthy(&p).await,
            StepParams::ProbeUrl(p) => self.probe_url(&p).await,
            StepParams::RunHook(p) => self.poll_hook(cx, &p).await,
            StepParams::RunTask(p) => self.poll_task(cx, &p, token).await,
            StepParams::StopService(p) => self.poll_stopped(cx, &p).await,
            StepParams::DeleteService(p) => self.poll_deleted(cx, &p.name).await,
            StepParams::SweepResources(p) => self.sweep_resources(&p).await,
            // These are done when they have started; a poll after a crash starts them again.
            StepParams::RegisterTaskDefinition(_)
            | StepParams::EnsureRoute(_)
            | StepParams::DeleteRoute(_)
            | StepParams::DeleteTargetGroup(_)
            | StepParams::VerifyGone(_) => self.start(cx, params).await,
        }?;
        Ok(self.paced(progress))
    }

    async fn undo(
        &self,
        cx: &StepContext,
        params: &Value,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> StepResult {
        let progress = match typed(params)? {
            StepParams::BuildImage(p) => self.undo_build(cx, &p, output).await,
            StepParams::RegisterTaskDefinition(p) => self.undo_register(cx, &p).await,
            StepParams::EnsureTargetGroup(p) => self.undo_target_group(cx, &p, output, token).await,
            StepParams::EnsureRoute(p) => self.undo_route(cx, &p).await,
            StepParams::DeployService(p) => self.undo_as_far_as_known(cx, &p, output, token).await,
            StepParams::RunHook(_) => self.undo_hook(cx).await,
            StepParams::RunTask(_) => self.undo_task(cx).await,
            StepParams::SweepResources(p) => self.undo_sweep(&p).await,
            // These change nothing that could be taken back.
            StepParams::AwaitImage(_)
            | StepParams::TargetsHealthy(_)
            | StepParams::ProbeUrl(_)
            | StepParams::StopService(_)
            | StepParams::DeleteService(_)
            | StepParams::DeleteRoute(_)
            | StepParams::DeleteTargetGroup(_)
            | StepParams::VerifyGone(_) => Ok(done()),
        }?;
        Ok(self.paced(progress))
    }
}

fn typed(params: &Value) -> Result<StepParams, StepError> {
    serde_json::from_value(params.clone()).map_err(|e| {
        let what = format!("this version of Landfall cannot read the step's parameters: {e}");
        error::fatal(codes::PARAMETERS, what)
    })
}

fn done() -> Progress {
    Progress::Done(Value::Object(serde_json::Map::new()))
}

fn pending(poll_after_ms: u64, note: impl Into<String>) -> Progress {
    Progress::Pending { token: Value::Null, poll_after_ms, note: Some(note.into()) }
}

//! Watching one container: its end, and its health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_model::task::HealthCheck;
use tokio::sync::mpsc::UnboundedSender;

use super::decide::Health;
use super::health::{self, Tracker};
use super::run::Message;
use crate::core::Core;
use crate::docker::DockerError;
use crate::docker::types::ContainerInspect;
use crate::process;

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub code: i64,
    pub reason: Option<String>,
}

/// Resolves when the container has ended. The host process tells at once; inspect has the exit code a moment later. A
/// monitor that was killed leaves the engine saying `running` for ever: after five seconds the process is believed.
pub(crate) async fn ended(core: &Core, name: &str, pid: i64) -> Ended {
    let mut process_gone = core.engine.sees_processes && pid > 0 && process::ended(pid).await;
    let mut gone_since = Instant::now();
    loop {
        match core.retry(|| core.docker.inspect_container(name)).await {
            Ok(inspect) if inspect.state.exited() => return from_inspect(&inspect),
            Err(error) if error.is_not_found() => {
                return Ended { code: 137, reason: Some("the container was removed from outside".to_owned()) };
            }
            // Racing inspects answer 500 now and then: look again.
            Ok(_) | Err(_) if process_gone && gone_since.elapsed() > Duration::from_secs(5) => {
                let reason = "the process is gone and the engine does not know its exit code".to_owned();
                return Ended { code: 137, reason: Some(reason) };
            }
            Ok(inspect) if !process_gone && core.engine.sees_processes && inspect.state.pid > 0 => {
                process_gone = process::ended(inspect.state.pid).await;
                gone_since = Instant::now();
            }
            _ => {}
        }
        let pause = if process_gone { 10 } else { 300 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

pub(crate) fn from_inspect(inspect: &ContainerInspect) -> Ended {
    let reason = if inspect.state.oom_killed {
        Some("OutOfMemoryError: container killed due to memory usage".to_owned())
    } else {
        Some(inspect.state.error.clone()).filter(|text| !text.is_empty())
    };
    Ended { code: inspect.state.exit_code, reason }
}

/// Runs the container's health check for as long as the task lives; tells of changes only.
pub(crate) async fn check_health(
    core: Arc<Core>,
    container: String,
    name: String,
    check: HealthCheck,
    known: Health,
    tell: UnboundedSender<Message>,
) {
    let Some(argv) = health::argv(&check) else { return };
    let started = Instant::now();
    let elapsed = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut tracker = Tracker::new(&check, known, 0);
    loop {
        let due = tracker.next();
        tokio::time::sleep(Duration::from_millis(due.at.saturating_sub(elapsed()))).await;
        let Ok(slot) = core.exec_slots.acquire().await else { return };
        let outcome = core.docker.exec(&name, &argv, health::timeout(&check)).await;
        drop(slot);
        let passed = match outcome {
            Ok(outcome) => outcome.exit_code == Some(0),
            // No engine says nothing about the container.
            Err(DockerError::Unavailable(_)) => {
                core.engine.heal().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err(_) => false,
        };
        let before = tracker.health;
        tracker.record(due, passed, elapsed());
        if tracker.health != before && tell.send(Message::Health(container.clone(), tracker.health)).is_err() {
            return;
        }
    }
}

//! task.run: a one-off task, for hooks that need the application itself.

use landfall_model::Timestamp;
use landfall_model::inventory::ResourceKind;
use landfall_model::step::RunTask;
use landfall_ports::orchestrator::{RunTaskRequest, TaskDescription};
use landfall_ports::steps::{Progress, StepContext};
use landfall_workflow::event::StepError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::deployment::reason;
use crate::error::{deleting, fatal, port, with_detail};
use crate::routing::value;
use crate::{SOON_MS, StepResult, Steps, codes, done};

const TAIL: usize = 20;

/// What polls go by: which task, which of its containers decides, and since when it was asked for.
#[derive(Serialize, Deserialize)]
struct Running {
    task: String,
    /// Missing in what was written before containers were told apart.
    #[serde(default)]
    container: Option<String>,
    #[serde(default)]
    since: Option<Timestamp>,
}

impl Steps {
    /// Token: the platform gives the same task for the same key.
    pub(crate) async fn start_task(&self, cx: &StepContext, params: &RunTask) -> StepResult {
        let task_definition = value(&params.task_definition)?.to_owned();
        let container = self.container(params).await?;
        let request = RunTaskRequest {
            token: cx.key.to_string(),
            task_definition,
            container: Some(container.clone()),
            command: params.command.clone(),
            environment: params.environment.clone(),
            service: params.service.clone(),
            tags: params.tags.clone(),
        };
        let task = self.platform.orchestrator.run_task(&request).await.map_err(port)?;
        Ok(running(&Running { task, container: Some(container), since: Some(cx.now) }, "starting"))
    }

    /// The hook's time ends the task here, not in the plan: it has to stop whatever the failure leads to.
    pub(crate) async fn poll_task(&self, cx: &StepContext, params: &RunTask, token: &Value) -> StepResult {
        let Ok(run) = serde_json::from_value::<Running>(token.clone()) else {
            return self.start_task(cx, params).await;
        };
        let id = &run.task;
        let orchestrator = &self.platform.orchestrator;
        let Some(task) = orchestrator.describe_task(id).await.map_err(port)? else {
            return Err(fatal(codes::TASK_GONE, format!("task {id} vanished before its exit code was read")));
        };
        if task.last_status != "STOPPED" {
            if !overdue(task.started_at.or(run.since), params.timeout, cx.now) {
                return Ok(running(&run, &task.last_status.to_lowercase()));
            }
            let why = format!("task {id} took longer than {} s", params.timeout);
            deleting(orchestrator.stop_task(id, &why).await)?;
            let tail = orchestrator.task_log_tail(id, TAIL).await.unwrap_or_default();
            return Err(with_detail(fatal(codes::TASK_FAILED, format!("{why} and was stopped")), &tail));
        }
        let container = match run.container {
            Some(container) => container,
            None => self.container(params).await?,
        };
        let tail = orchestrator.task_log_tail(id, TAIL).await.unwrap_or_default();
        match verdict(&task, &container) {
            Ok(()) => Ok(Progress::Done(json!({"task": id, "tail": tail}))),
            Err(why) => Err(with_detail(fatal(codes::TASK_FAILED, format!("task {id} failed: {why}")), &tail)),
        }
    }

    /// The container that the task is run for.
    async fn container(&self, params: &RunTask) -> Result<String, StepError> {
        match &params.container {
            Some(name) => Ok(name.clone()),
            None => self.platform.orchestrator.main_container(value(&params.task_definition)?).await.map_err(port),
        }
    }

    pub(crate) async fn undo_task(&self, cx: &StepContext) -> StepResult {
        let orchestrator = &self.platform.orchestrator;
        let listing = orchestrator.list_owned(Some(cx.environment.as_str()), &[ResourceKind::Task]).await;
        for task in self.made_by(cx, listing, ResourceKind::Task)? {
            // A service's tasks go with their service.
            if !task.tags.contains_key(landfall_model::inventory::TAG_SERVICE) {
                deleting(orchestrator.stop_task(&task.id, "the execution that started it is undone").await)?;
            }
        }
        Ok(done())
    }
}

fn running(run: &Running, note: &str) -> Progress {
    Progress::Pending {
        token: json!(run),
        poll_after_ms: 2 * SOON_MS,
        note: Some(format!("task {} is {note}", run.task)),
    }
}

/// Where nobody knows since when, the step's own time must do.
fn overdue(since: Option<Timestamp>, seconds: u32, now: Timestamp) -> bool {
    since.is_some_and(|since| now.as_millisecond() - since.as_millisecond() >= i64::from(seconds) * 1_000)
}

/// Only the container that the task was run for decides: containers that it depends on end before it, and its sidecars are
/// stopped after it, with the exit code of whatever signal that takes.
fn verdict(task: &TaskDescription, container: &str) -> Result<(), String> {
    match task.containers.iter().find(|c| c.name == container).and_then(|c| c.exit_code) {
        Some(0) => Ok(()),
        Some(code) => Err(format!("{container} ended with exit code {code}: {}", reason(task))),
        None => Err(format!("{container} never ran to its end: {}", reason(task))),
    }
}

#[cfg(test)]
mod tests {
    use landfall_ports::orchestrator::ContainerDescription;

    use super::*;

    fn stopped(exits: &[(&str, Option<i64>)]) -> TaskDescription {
        let container = |&(name, exit_code): &(&str, Option<i64>)| ContainerDescription {
            name: name.to_owned(),
            last_status: "STOPPED".to_owned(),
            exit_code,
            reason: None,
            tail: Vec::new(),
        };
        TaskDescription {
            id: "t".to_owned(),
            last_status: "STOPPED".to_owned(),
            health: "UNKNOWN".to_owned(),
            stopped_reason: Some("Essential container in task exited".to_owned()),
            stop_code: Some("EssentialContainerExited".to_owned()),
            containers: exits.iter().map(container).collect(),
            started_at: None,
            stopped_at: None,
        }
    }

    #[test]
    fn only_the_container_that_was_run_decides() {
        assert_eq!(verdict(&stopped(&[("app", Some(0)), ("sidecar", Some(143)), ("proxy", Some(137))]), "app"), Ok(()));
        assert_eq!(verdict(&stopped(&[("sidecar", None), ("app", Some(0))]), "app"), Ok(()));
        // An init container did its part, and then the task could not go on.
        let never = verdict(&stopped(&[("init", Some(0)), ("app", None)]), "app").unwrap_err();
        assert!(never.starts_with("app never ran to its end"), "{never}");
        let failed = verdict(&stopped(&[("init", Some(0)), ("app", Some(3))]), "app").unwrap_err();
        assert!(failed.starts_with("app ended with exit code 3"), "{failed}");
        assert!(verdict(&stopped(&[("other", Some(0))]), "app").is_err());
        assert!(verdict(&stopped(&[]), "app").is_err());
    }

    #[test]
    fn a_task_is_overdue_from_its_own_start_on() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(!overdue(Some(at(100)), 60, at(159)));
        assert!(overdue(Some(at(100)), 60, at(160)));
        assert!(!overdue(Some(at(100)), 60, at(10)), "a clock that was set back");
        assert!(!overdue(None, 60, at(1_000)));
    }
}

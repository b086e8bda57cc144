//! task.run: a one-off task, for hooks that need the application itself.

use landfall_model::inventory::ResourceKind;
use landfall_model::step::RunTask;
use landfall_ports::orchestrator::RunTaskRequest;
use landfall_ports::steps::{Progress, StepContext};
use serde_json::{Value, json};

use crate::error::{deleting, fatal, port, with_detail};
use crate::routing::value;
use crate::service::reason;
use crate::{SOON_MS, StepResult, Steps, codes, done};

const TAIL: usize = 20;

impl Steps {
    /// Token: the platform gives the same task for the same key.
    pub(crate) async fn start_task(&self, cx: &StepContext, params: &RunTask) -> StepResult {
        let request = RunTaskRequest {
            token: cx.key.to_string(),
            task_definition: value(&params.task_definition)?.to_owned(),
            container: params.container.clone(),
            command: params.command.clone(),
            environment: params.environment.clone(),
            tags: params.tags.clone(),
        };
        let task = self.platform.orchestrator.run_task(&request).await.map_err(port)?;
        Ok(running(&task, "starting"))
    }

    pub(crate) async fn poll_task(&self, _params: &RunTask, token: &Value) -> StepResult {
        let id = token["task"].as_str().unwrap_or_default();
        let orchestrator = &self.platform.orchestrator;
        let Some(task) = orchestrator.describe_task(id).await.map_err(port)? else {
            return Err(fatal(codes::TASK_GONE, format!("task {id} vanished before its exit code was read")));
        };
        if task.last_status != "STOPPED" {
            return Ok(running(id, &task.last_status.to_lowercase()));
        }
        let tail = orchestrator.task_log_tail(id, TAIL).await.unwrap_or_default();
        let failed = task.containers.iter().any(|c| c.exit_code.is_some_and(|code| code != 0));
        let ran = task.containers.iter().any(|c| c.exit_code.is_some());
        if failed || !ran {
            return Err(with_detail(fatal(codes::TASK_FAILED, format!("task {id} failed: {}", reason(&task))), &tail));
        }
        Ok(Progress::Done(json!({"task": id, "tail": tail})))
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

fn running(task: &str, note: &str) -> Progress {
    Progress::Pending {
        token: json!({"task": task}),
        poll_after_ms: 2 * SOON_MS,
        note: Some(format!("task {task} is {note}")),
    }
}

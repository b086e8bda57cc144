//! One-off tasks of a lasting environment's current task definitions. They are not journalled: who runs one watches it, and
//! what it did is told by its exit code.

use std::collections::BTreeMap;

use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_INSTANCE, TAG_SERVICE, Tags};
use landfall_ports::orchestrator::RunTaskRequest;

use super::{Answer, TaskReport, place, running};
use crate::control::{ControlError, OneOff};
use crate::service::Inner;

pub(crate) async fn run(inner: &Inner, name: &str, one_off: OneOff) -> Answer<TaskReport> {
    let place = place(inner, name)?;
    let OneOff { service, container, command, environment } = one_off;
    if !place.environment.services.contains(&service) {
        let known = place.environment.services.join(", ");
        return Err(ControlError::NotFound(format!("environment {name} has no service `{service}`; it has {known}")));
    }
    let platform = &place.platform.orchestrator;
    let found = running(inner, &place, &service).await?;
    let container = match container {
        Some(container) => container,
        None => platform.main_container(&found.task_definition).await?,
    };
    let request = RunTaskRequest {
        token: format!("{:016x}{:016x}", inner.clock.entropy(), inner.clock.entropy()),
        task_definition: found.task_definition,
        container: Some(container.clone()),
        command,
        environment: environment.into_iter().collect::<BTreeMap<_, _>>(),
        service: Some(found.name),
        tags: Tags::from([
            (TAG_ENVIRONMENT.to_owned(), place.id.to_string()),
            (TAG_INSTANCE.to_owned(), inner.instance.clone()),
            (TAG_SERVICE.to_owned(), service),
        ]),
    };
    let task = platform.run_task(&request).await?;
    Ok(TaskReport { description: platform.describe_task(&task).await?, task, container, lines: Vec::new() })
}

/// How far it is, and the last `lines` lines.
pub(crate) async fn output(
    inner: &Inner,
    name: &str,
    task: String,
    container: String,
    lines: usize,
) -> Answer<TaskReport> {
    let platform = &place(inner, name)?.platform.orchestrator;
    // In this order: of a task that has stopped all lines are there.
    let description = platform.describe_task(&task).await?;
    let lines = match platform.task_log_tail(&task, lines).await {
        Ok(lines) => lines,
        // It has not written any yet.
        Err(landfall_ports::PortError::NotFound(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(TaskReport { task, container, description, lines })
}

pub(crate) async fn stop(inner: &Inner, name: &str, task: &str, reason: &str) -> Answer<()> {
    Ok(place(inner, name)?.platform.orchestrator.stop_task(task, reason).await?)
}

//! The last lines of a task's containers, out of CloudWatch Logs where they log by `awslogs`.

use std::collections::BTreeMap;

use aws_sdk_ecs::types as ecs;
use landfall_ports::{PortError, PortResult};

use super::tasks::task_id;
use super::{Ecs, definition};
use crate::budget::Family;
use crate::call::Call;

/// Lines told of a container that failed.
const TAIL: usize = 20;

impl Ecs {
    /// Lines of the containers of a failed task, by name. Whatever goes wrong leaves them out: they explain a failure and
    /// are never the reason for another.
    pub(crate) async fn tails(&self, task: &ecs::Task) -> BTreeMap<String, Vec<String>> {
        let mut tails = BTreeMap::new();
        for container in task.containers() {
            let name = container.name.clone().unwrap_or_default();
            match self.container_tail(task, &name, TAIL).await {
                Ok(lines) => {
                    tails.insert(name, lines);
                }
                Err(error) => tracing::debug!(%error, container = name, "no log lines"),
            }
        }
        tails
    }

    pub(crate) async fn log_tail(&self, task: &str, lines: usize) -> PortResult<Vec<String>> {
        let Some(found) = self.task(task).await? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for container in found.containers() {
            let name = container.name.clone().unwrap_or_default();
            let tail = self.container_tail(&found, &name, lines).await?;
            all.extend(tail.into_iter().map(|line| format!("{name} | {line}")));
        }
        Ok(all)
    }

    /// Nothing where the container logs elsewhere or has not logged yet.
    async fn container_tail(&self, task: &ecs::Task, container: &str, lines: usize) -> PortResult<Vec<String>> {
        let Some(arn) = &task.task_definition_arn else { return Ok(Vec::new()) };
        let Some(revision) = self.definition(arn).await? else { return Ok(Vec::new()) };
        let named = |there: &&ecs::ContainerDefinition| there.name.as_deref() == Some(container);
        let Some(found) = revision.definition.container_definitions().iter().find(named) else { return Ok(Vec::new()) };
        let Some((group, prefix)) = definition::log_of(found) else { return Ok(Vec::new()) };
        let task = task_id(task.task_arn.as_deref().unwrap_or_default());
        let stream = format!("{prefix}/{container}/{task}");
        let resource = format!("log stream {stream} of group {group}");
        let call = Call { service: "logs", action: "GetLogEvents", family: Family::LogsRead, resource: &resource };
        let limit = i32::try_from(lines.clamp(1, 10_000)).unwrap_or(10_000);
        let request = (self.core.clients.logs.get_log_events())
            .log_group_name(&group)
            .log_stream_name(&stream)
            .start_from_head(false)
            .limit(limit);
        match self.core.caller.call(call, || request.clone().send()).await {
            Ok(answer) => Ok((answer.events.unwrap_or_default().into_iter())
                .filter_map(|event| event.message)
                .map(|line| line.trim_end_matches(['\r', '\n']).to_owned())
                .collect()),
            Err(failed) if failed.not_found() => Ok(Vec::new()),
            Err(failed) => Err(PortError::from(failed)),
        }
    }
}

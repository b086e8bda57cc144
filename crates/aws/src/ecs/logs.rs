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
        let Some(stream) = self.log_stream(task, container).await? else { return Ok(Vec::new()) };
        let Some(page) = self.log_events(&stream, From::End(lines)).await? else { return Ok(Vec::new()) };
        Ok(page.lines)
    }

    /// Where a container of a task logs, if by `awslogs`.
    pub(crate) async fn log_stream(&self, task: &ecs::Task, container: &str) -> PortResult<Option<Stream>> {
        let Some(arn) = &task.task_definition_arn else { return Ok(None) };
        let Some(revision) = self.definition(arn).await? else { return Ok(None) };
        let named = |there: &&ecs::ContainerDefinition| there.name.as_deref() == Some(container);
        let Some(found) = revision.definition.container_definitions().iter().find(named) else { return Ok(None) };
        let Some((group, prefix)) = definition::log_of(found) else { return Ok(None) };
        let task = task_id(task.task_arn.as_deref().unwrap_or_default());
        Ok(Some(Stream { group, name: format!("{prefix}/{container}/{task}") }))
    }

    /// `None`: the stream, or its group, does not exist (yet).
    pub(crate) async fn log_events(&self, stream: &Stream, from: From<'_>) -> PortResult<Option<Page>> {
        let resource = format!("log stream {} of group {}", stream.name, stream.group);
        let call = Call { service: "logs", action: "GetLogEvents", family: Family::LogsRead, resource: &resource };
        let request =
            self.core.clients.logs.get_log_events().log_group_name(&stream.group).log_stream_name(&stream.name);
        let request = match from {
            From::End(lines) => {
                request.start_from_head(false).limit(i32::try_from(lines.clamp(1, MOST)).unwrap_or(i32::MAX))
            }
            From::Beginning => request.start_from_head(true),
            From::Token(token) => request.start_from_head(true).next_token(token),
        };
        let answer = match self.core.caller.call(call, || request.clone().send()).await {
            Ok(answer) => answer,
            Err(failed) if failed.not_found() => return Ok(None),
            Err(failed) => return Err(PortError::from(failed)),
        };
        let line = |text: String| text.trim_end_matches(['\r', '\n']).to_owned();
        let lines = answer.events.unwrap_or_default().into_iter().filter_map(|event| event.message).map(line);
        Ok(Some(Page { lines: lines.collect(), next: answer.next_forward_token }))
    }
}

/// GetLogEvents gives at most so many.
const MOST: usize = 10_000;

#[derive(Clone)]
pub(crate) struct Stream {
    pub group: String,
    pub name: String,
}

#[derive(Clone, Copy)]
pub(crate) enum From<'a> {
    /// The last so many lines.
    End(usize),
    Beginning,
    /// After what an earlier page gave.
    Token(&'a str),
}

pub(crate) struct Page {
    pub lines: Vec<String>,
    /// Comes back unchanged at the end of the stream.
    pub next: Option<String>,
}

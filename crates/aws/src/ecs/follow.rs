//! Log lines of an environment's tasks as they are written, out of CloudWatch Logs, which has to be asked for them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ecs::types as ecs;
use landfall_ports::orchestrator::{LogLine, LogStream};
use landfall_ports::{PortError, PortResult};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Ecs;
use super::logs::{From, Stream};
use super::tasks::task_id;
use crate::tags;

/// GetLogEvents may be called 25 times a second; a poll costs one for each container that runs.
const EVERY: Duration = Duration::from_secs(2);
/// Polls after which a task that is gone is read no more: its last lines arrive late.
const AFTERWARDS: u32 = 5;
/// Pages in a row of one container, before the others have their turn.
const PAGES: usize = 20;
const BUFFER: usize = 1024;
/// Polls that fail in a row, between two words about it.
const TELL_EVERY: u32 = 30;

/// One container.
struct Source {
    task: String,
    container: String,
    stream: Stream,
    /// Where to go on; `None`: nothing was read yet.
    token: Option<String>,
    /// What to begin with, lines of the past; `None`: everything, because it began after we did.
    history: Option<usize>,
    /// Polls since its task was last seen.
    gone: u32,
}

pub(crate) struct Followed {
    lines: mpsc::Receiver<LogLine>,
    work: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.work.abort();
    }
}

#[async_trait]
impl LogStream for Followed {
    async fn next(&mut self) -> Option<LogLine> {
        self.lines.recv().await
    }
}

struct Follower {
    ecs: Ecs,
    environment: String,
    services: Vec<String>,
    history: usize,
    /// By task and container.
    sources: HashMap<(String, String), Source>,
    /// Tasks whose containers log elsewhere, or that were read to their end.
    done: HashSet<String>,
    first: bool,
}

impl Ecs {
    /// What is refused is told at once; what fails later is tried again.
    pub(crate) async fn follow(&self, environment: &str, services: &[String], history: usize) -> PortResult<Followed> {
        let mut follower = Follower {
            ecs: self.clone(),
            environment: environment.to_owned(),
            services: services.to_vec(),
            history,
            sources: HashMap::new(),
            done: HashSet::new(),
            first: true,
        };
        let (sender, lines) = mpsc::channel(BUFFER);
        let begin = follower.poll().await?;
        let mut failures = 0_u32;
        let work = tokio::spawn(async move {
            let mut batch = begin;
            loop {
                for line in batch {
                    if sender.send(line).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(EVERY).await;
                batch = match follower.poll().await {
                    Ok(lines) => {
                        failures = 0;
                        lines
                    }
                    Err(error) => {
                        failures += 1;
                        // One passes; whoever only sees that nothing comes has to be told why.
                        if failures % TELL_EVERY == 2 {
                            tracing::error!(%error, environment = follower.environment, "log lines are late");
                        }
                        Vec::new()
                    }
                };
            }
        });
        Ok(Followed { lines, work })
    }
}

/// Whether one of these services started it: tags of a service are passed on to its tasks only where it says so.
pub(super) fn is_of(task: &ecs::Task, services: &[String]) -> bool {
    let service = task.group().and_then(|group| group.strip_prefix("service:"));
    service.is_some_and(|service| services.iter().any(|name| name == service))
}

impl Follower {
    async fn poll(&mut self) -> PortResult<Vec<LogLine>> {
        let tasks = self.ecs.all_tasks().await?;
        let instance = self.ecs.core.options.instance.clone();
        let ours = |task: &&std::sync::Arc<ecs::Task>| {
            tags::ours(&super::from_tags(task.tags()), &instance, Some(&self.environment))
                || is_of(task, &self.services)
        };
        let tasks: Vec<_> = tasks.iter().filter(ours).cloned().collect();
        for source in self.sources.values_mut() {
            source.gone += 1;
        }
        for task in &tasks {
            self.add(task).await?;
        }
        self.first = false;
        let mut lines = Vec::new();
        let mut failed: Option<PortError> = None;
        for source in self.sources.values_mut() {
            if let Err(error) = read(&self.ecs, source, &mut lines).await {
                failed = Some(error);
            }
        }
        let done = &mut self.done;
        self.sources.retain(|(task, _), source| {
            let over = source.gone > AFTERWARDS;
            if over {
                done.insert(task.clone());
            }
            !over
        });
        match failed {
            // What was read is never lost.
            Some(error) if lines.is_empty() => Err(error),
            _ => Ok(lines),
        }
    }

    async fn add(&mut self, task: &ecs::Task) -> PortResult<()> {
        let id = task_id(task.task_arn.as_deref().unwrap_or_default()).to_owned();
        if self.done.contains(&id) {
            return Ok(());
        }
        for container in task.containers() {
            let name = container.name.clone().unwrap_or_default();
            let key = (id.clone(), name.clone());
            if let Some(source) = self.sources.get_mut(&key) {
                source.gone = 0;
                continue;
            }
            let Some(stream) = self.ecs.log_stream(task, &name).await? else { continue };
            let history = self.first.then_some(self.history);
            let source = Source { task: id.clone(), container: name, stream, token: None, history, gone: 0 };
            self.sources.insert(key, source);
        }
        Ok(())
    }
}

/// To the end of what there is: AWS may give empty pages before it, and the same token again at it.
async fn read(ecs: &Ecs, source: &mut Source, lines: &mut Vec<LogLine>) -> PortResult<()> {
    for _ in 0..PAGES {
        let from = match (&source.token, source.history) {
            (Some(token), _) => From::Token(token),
            (None, Some(history)) => From::End(history),
            (None, None) => From::Beginning,
        };
        let Some(page) = ecs.log_events(&source.stream, from).await? else {
            // It has not logged yet: all that comes is new.
            source.history = None;
            return Ok(());
        };
        // The least that can be asked for is a line.
        let wanted = !matches!(from, From::End(0));
        let line = |line: String| LogLine { task: source.task.clone(), container: source.container.clone(), line };
        lines.extend(page.lines.into_iter().filter(|_| wanted).map(line));
        let end = page.next.is_none() || page.next == source.token;
        if page.next.is_some() {
            source.token = page.next;
        }
        if end {
            return Ok(());
        }
    }
    Ok(())
}

//! Log lines of an environment as they are written: the files are looked at ten times a second, which costs two `stat`s for
//! each container. A container whose file cannot be read (an engine of another user) is told over the engine's API; one that
//! came and went between two looks is read from the copy that was kept of it.
//!
//! A reader may be slower than the containers write, or stand still. So a look reads a slice of each file and sends it before
//! it reads on, and a file's place waits for the reader, not its lines: what is held in memory has an end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use landfall_ports::orchestrator::{LogLine, LogStream};
use tokio::sync::mpsc;

use super::file::{Reader, Slice};
use super::{KEPT_BYTES, api, kept_path, last_kept};
use crate::core::{Core, locked};
use crate::labels;
use crate::task::decide::Phase;
use crate::task::record::TaskRecord;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Bytes of one container's log that a look reads at most.
const SLICE: u64 = 256 * 1024;

/// Lines that wait for the reader at most.
const WAITING: usize = 256;

/// Lines of all tasks of an environment, or of one of its services: the last `history` of each container that runs, then all
/// as they come. Ends when the receiver is dropped, or with the platform.
pub(crate) fn follow(
    core: Arc<Core>,
    environment: String,
    service: Option<String>,
    history: usize,
) -> mpsc::Receiver<LogLine> {
    let (send, receive) = mpsc::channel(WAITING);
    let token = core.cancel.clone();
    let follower = Follower { core, environment, service, history: Some(history), send, sources: BTreeMap::new() };
    tokio::spawn(async move { token.run_until_cancelled(follower.run()).await });
    receive
}

pub(crate) struct Followed(pub(crate) mpsc::Receiver<LogLine>);

#[async_trait]
impl LogStream for Followed {
    async fn next(&mut self) -> Option<LogLine> {
        self.0.recv().await
    }
}

/// Task and container.
type Key = (String, String);

enum Source {
    /// Not started, or the engine does not know it yet. What is said of it begins with the last `tail` lines (all: `None`).
    Unopened { tail: Option<usize> },
    File {
        reader: Reader,
        /// Still to be told, before what follows.
        history: Option<usize>,
    },
    /// Told by a task of its own.
    Engine,
}

struct Follower {
    core: Arc<Core>,
    environment: String,
    service: Option<String>,
    /// At the first look: of containers that are there then, so many lines. Later ones are told whole.
    history: Option<usize>,
    send: mpsc::Sender<LogLine>,
    sources: BTreeMap<Key, Source>,
}

/// The receiver is gone.
pub(super) struct Ended;

/// Where one container's lines go.
pub(super) struct Out {
    pub to: mpsc::Sender<LogLine>,
    pub task: String,
    pub container: String,
}

impl Out {
    fn new(to: &mpsc::Sender<LogLine>, (task, container): &Key) -> Self {
        Self { to: to.clone(), task: task.clone(), container: container.clone() }
    }

    pub(super) async fn line(&self, line: String) -> Result<(), Ended> {
        let line = LogLine { task: self.task.clone(), container: self.container.clone(), line };
        self.to.send(line).await.map_err(|_| Ended)
    }

    pub(super) async fn lines(&self, lines: Vec<String>) -> Result<(), Ended> {
        for line in lines {
            self.line(line).await?;
        }
        Ok(())
    }
}

impl Follower {
    async fn run(mut self) {
        while let Ok(more) = self.look().await {
            if more {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.send.closed() => return,
            }
        }
    }

    /// Whether there is more to read already.
    async fn look(&mut self) -> Result<bool, Ended> {
        let history = self.history.take();
        let mut live = BTreeSet::new();
        for (record, started) in self.tasks() {
            for container in &record.definition.containers {
                let key = (record.id.clone(), container.name.clone());
                let started = started.contains(&key.1);
                let known = self.sources.remove(&key);
                let source = match known.unwrap_or(Source::Unopened { tail: history.filter(|_| started) }) {
                    Source::Unopened { tail } if started => self.open(&key, tail).await,
                    other => other,
                };
                self.sources.insert(key.clone(), source);
                live.insert(key);
            }
        }
        let mut any_more = false;
        let mut over = Vec::new();
        for (key, source) in &mut self.sources {
            let Slice { mut lines, more } = match source {
                Source::File { reader, history } => match history.take() {
                    Some(history) => Slice { lines: reader.last(history).await, more: true },
                    // It can still be read after the container's removal.
                    None => reader.read(SLICE).await,
                },
                Source::Unopened { tail } if !live.contains(key) => {
                    let path = kept_path(&self.core, &self.environment, &key.0, &key.1);
                    Slice { lines: last_kept(&path, *tail).await, more: false }
                }
                Source::Unopened { .. } | Source::Engine => Slice::default(),
            };
            any_more |= more;
            if !more && !live.contains(key) {
                if let Source::File { reader, .. } = source {
                    lines.extend(reader.finish());
                }
                over.push(key.clone());
            }
            Out::new(&self.send, key).lines(lines).await?;
        }
        for key in over {
            self.sources.remove(&key);
        }
        Ok(any_more)
    }

    /// Tasks that have not stopped, and which of their containers were started: of a task that was just taken over perhaps
    /// any, and what it wrote before is history now and not at the next look.
    fn tasks(&self) -> Vec<(TaskRecord, BTreeSet<String>)> {
        let tasks = locked(&self.core.tasks);
        let all = tasks.values().map(|cell| {
            cell.look(|seen| {
                let waits = |name: &str| !seen.adopting && matches!(seen.phases.get(name), None | Some(Phase::Waiting));
                let names = seen.record.definition.containers.iter().map(|container| container.name.clone());
                (seen.record.clone(), names.filter(|name| !waits(name)).collect())
            })
        });
        all.filter(|(record, _)| record.environment() == self.environment && record.stopped_at.is_none())
            .filter(|(record, _)| self.service.is_none() || record.service == self.service)
            .collect()
    }

    async fn open(&self, key: &Key, tail: Option<usize>) -> Source {
        let name = labels::member_name(&key.0, &key.1);
        let Ok(inspect) = self.core.docker.inspect_container(&name).await else { return Source::Unopened { tail } };
        if matches!(inspect.state.status.as_str(), "created" | "configured" | "initialized") {
            // It has written nothing yet, so there is no history.
            return Source::Unopened { tail: None };
        }
        let from = if tail.is_some() { KEPT_BYTES } else { u64::MAX };
        if let Some(reader) = Reader::open(&inspect.log_path, from).await {
            return Source::File { reader, history: tail };
        }
        let (core, out) = (Arc::clone(&self.core), Out::new(&self.send, key));
        let kept = kept_path(&self.core, &self.environment, &key.0, &key.1);
        tokio::spawn(async move {
            tokio::select! {
                _ = api::tell(&core.docker, &name, tail, &kept, &out) => {}
                () = out.to.closed() => {}
                () = core.cancel.cancelled() => {}
            }
        });
        Source::Engine
    }
}

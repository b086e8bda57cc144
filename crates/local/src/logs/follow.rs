//! Log lines of an environment as they are written: the files are looked at ten times a second, which costs a `stat` for each
//! container. A container whose file cannot be read (an engine of another user) is followed over the engine's API; one that
//! came and went between two looks is read from the copy that was kept of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use landfall_ports::orchestrator::{LogLine, LogStream};
use tokio::sync::mpsc;

use super::file::Reader;
use super::{KEPT_BYTES, frame_lines, kept_path, read_kept};
use crate::core::{Core, locked};
use crate::labels;
use crate::task::decide::Phase;
use crate::task::record::TaskRecord;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Lines of all tasks of an environment, or of one of its services: the last `history` of each container that runs, then all
/// as they come. Ends when the receiver is dropped, or with the platform.
pub(crate) fn follow(
    core: Arc<Core>,
    environment: String,
    service: Option<String>,
    history: usize,
) -> mpsc::Receiver<LogLine> {
    let (send, receive) = mpsc::channel(1024);
    let token = core.cancel.clone();
    let follower = Follower { core, environment, service, history, send, sources: BTreeMap::new(), first: true };
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
    /// Not started, or its file is not there yet.
    Unopened,
    File(Reader),
    /// Lines are sent by a task of their own.
    Engine,
}

struct Follower {
    core: Arc<Core>,
    environment: String,
    service: Option<String>,
    history: usize,
    send: mpsc::Sender<LogLine>,
    sources: BTreeMap<Key, Source>,
    /// Containers that are there at the first look show their history, later ones everything.
    first: bool,
}

/// The receiver is gone.
struct Ended;

impl Follower {
    async fn run(mut self) {
        while self.look().await.is_ok() {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.send.closed() => return,
            }
        }
    }

    async fn look(&mut self) -> Result<(), Ended> {
        let mut live = BTreeSet::new();
        for (record, started) in self.tasks() {
            for container in &record.definition.containers {
                let key = (record.id.clone(), container.name.clone());
                let unopened = matches!(self.sources.get(&key), None | Some(Source::Unopened));
                if unopened {
                    let source = if started.contains(&key.1) { self.open(&key).await } else { Source::Unopened };
                    self.sources.insert(key.clone(), source);
                }
                live.insert(key);
            }
        }
        let mut sources = std::mem::take(&mut self.sources);
        for (key, source) in &mut sources {
            let lines = match source {
                // An open file can still be read after the container's removal.
                Source::File(reader) => self.read(reader).await,
                Source::Unopened if !live.contains(key) => {
                    read_kept(&kept_path(&self.core, &self.environment, &key.0, &key.1)).await
                }
                Source::Unopened | Source::Engine => continue,
            };
            for line in lines {
                send(&self.send, key, line).await?;
            }
        }
        sources.retain(|key, _| live.contains(key));
        self.sources = sources;
        self.first = false;
        Ok(())
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

    async fn open(&self, key: &Key) -> Source {
        let name = labels::member_name(&key.0, &key.1);
        let Ok(inspect) = self.core.docker.inspect_container(&name).await else { return Source::Unopened };
        if let Some(reader) = Reader::open(&inspect.log_path, KEPT_BYTES).await {
            return Source::File(reader);
        }
        if !inspect.state.running() {
            return Source::Unopened;
        }
        let tail = self.first.then_some(self.history);
        let (core, key, to) = (Arc::clone(&self.core), key.clone(), self.send.clone());
        let token = self.core.cancel.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = over_api(&core, &name, tail, &key, &to) => {}
                () = to.closed() => {}
                () = token.cancelled() => {}
            }
        });
        Source::Engine
    }

    async fn read(&self, reader: &mut Reader) -> Vec<String> {
        let mut lines = Vec::new();
        reader.read(|line| lines.push(line)).await;
        if self.first {
            lines.drain(..lines.len().saturating_sub(self.history));
        }
        lines
    }
}

async fn send(to: &mpsc::Sender<LogLine>, (task, container): &Key, line: String) -> Result<(), Ended> {
    let line = LogLine { task: task.clone(), container: container.clone(), line };
    to.send(line).await.map_err(|_| Ended)
}

/// Until the container ends.
async fn over_api(core: &Core, name: &str, tail: Option<usize>, key: &Key, to: &mpsc::Sender<LogLine>) {
    let Ok(mut frames) = core.docker.logs(name, tail, true).await else { return };
    while let Ok(Some(frame)) = frames.next().await {
        for line in frame_lines(&frame) {
            if send(to, key, line).await.is_err() {
                return;
            }
        }
    }
}

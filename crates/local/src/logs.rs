//! Container logs: read from the engine's own file, which has nanoseconds and loses nothing (a follow over the API lost
//! more than half of 200,000 fast lines), over the API where the file cannot be read, and from our copy once the container
//! is gone. Partial lines are joined.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landfall_ports::PortResult;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use crate::core::{Core, locked};
use crate::images::file_name;
use crate::labels;
use crate::state;
use crate::task::record::TaskRecord;

/// Of a container that is gone, this much of the end of its log is kept.
const KEPT_BYTES: u64 = 4 * 1024 * 1024;

/// An engine that sends nothing for so long has sent all that it will.
const API_IDLE: Duration = Duration::from_secs(30);

/// One line as it was written, and which container wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub task: String,
    pub container: String,
    pub line: String,
}

/// Joins the pieces of the engine's log file into lines.
#[derive(Debug, Default)]
struct Joiner {
    /// Bytes after the last newline of the file.
    rest: Vec<u8>,
    /// Pieces marked partial, by stream.
    partial: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct JsonLine {
    log: String,
    #[serde(default)]
    stream: String,
}

impl Joiner {
    fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let raw: Vec<u8> = self.rest.drain(..=end).collect();
            if let Some(text) = self.piece(String::from_utf8_lossy(&raw).trim_end_matches(['\n', '\r'])) {
                line(text);
            }
        }
    }

    /// Podman's `TIME STREAM P|F TEXT` or Docker's JSON object.
    fn piece(&mut self, raw: &str) -> Option<String> {
        if let Ok(json) = serde_json::from_str::<JsonLine>(raw) {
            return self.join(json.stream, json.log.ends_with('\n'), json.log.trim_end_matches('\n'));
        }
        let mut parts = raw.splitn(4, ' ');
        let (Some(_time), Some(stream), Some(mark)) = (parts.next(), parts.next(), parts.next()) else {
            return Some(raw.to_owned());
        };
        let stream = stream.to_owned();
        self.join(stream, mark != "P", parts.next().unwrap_or_default())
    }

    fn join(&mut self, stream: String, whole: bool, text: &str) -> Option<String> {
        let piece = self.partial.entry(stream).or_default();
        piece.push_str(text);
        whole.then(|| std::mem::take(piece))
    }
}

/// `STATE/local/logs/ENVIRONMENT/TASK-CONTAINER.log`
fn kept_path(core: &Core, environment: &str, task: &str, container: &str) -> PathBuf {
    core.log_directory(environment).join(format!("{}.log", file_name(&format!("{task}-{container}"))))
}

/// Copies the log of a container that is about to be removed; returns its lines.
pub(crate) async fn keep(core: &Core, record: &TaskRecord, container: &str) -> Vec<String> {
    let lines = live_lines(core, &record.id, container).await;
    let path = kept_path(core, record.environment(), &record.id, container);
    if lines.is_empty() {
        // Nothing written, or removed by a former attempt: what that one kept stays.
        return read_kept(&path).await;
    }
    let text = lines.join("\n") + "\n";
    let written = state::blocking(move || {
        if let Some(parent) = path.parent() {
            state::create_private_dir(parent)?;
        }
        std::fs::write(&path, text)
            .map_err(|e| landfall_ports::PortError::Unavailable(format!("{}: {e}", path.display())))
    })
    .await;
    if let Err(error) = written {
        tracing::warn!(%error, "a container's log is lost");
    }
    lines
}

async fn read_kept(path: &Path) -> Vec<String> {
    let text = tokio::fs::read(path).await.unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

async fn live_lines(core: &Core, task: &str, container: &str) -> Vec<String> {
    let name = labels::member_name(task, container);
    let Ok(inspect) = core.docker.inspect_container(&name).await else { return Vec::new() };
    if let Some(mut reader) = Reader::open(&inspect.log_path, KEPT_BYTES).await {
        let mut lines = Vec::new();
        reader.read(|line| lines.push(line)).await;
        return lines;
    }
    api_lines(core, &name).await
}

async fn api_lines(core: &Core, name: &str) -> Vec<String> {
    let Ok(mut frames) = core.docker.logs(name, Some(10_000), false).await else { return Vec::new() };
    let mut lines = Vec::new();
    while let Ok(Ok(Some(frame))) = tokio::time::timeout(API_IDLE, frames.next()).await {
        for line in String::from_utf8_lossy(&frame.bytes).lines() {
            lines.push(line.split_once(' ').map_or(line, |(_, text)| text).to_owned());
        }
    }
    lines
}

/// A log file read from where the last read stopped.
struct Reader {
    file: tokio::fs::File,
    at: u64,
    joiner: Joiner,
}

impl Reader {
    async fn open(path: &str, last_bytes: u64) -> Option<Self> {
        let file = tokio::fs::File::open(path).await.ok()?;
        let length = file.metadata().await.ok()?.len();
        let mut reader = Self { file, at: length.saturating_sub(last_bytes), joiner: Joiner::default() };
        if reader.at > 0 {
            // Begin with a whole line.
            let mut byte = [0];
            reader.file.seek(std::io::SeekFrom::Start(reader.at)).await.ok()?;
            while reader.file.read(&mut byte).await.ok()? == 1 {
                reader.at += 1;
                if byte[0] == b'\n' {
                    break;
                }
            }
        }
        Some(reader)
    }

    async fn read(&mut self, mut line: impl FnMut(String)) {
        let length = self.file.metadata().await.map_or(0, |metadata| metadata.len());
        if length < self.at {
            // The engine cut the file at its maximal size.
            self.at = 0;
        }
        if self.file.seek(std::io::SeekFrom::Start(self.at)).await.is_err() {
            return;
        }
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = self.file.read(&mut buffer).await {
            self.at += count as u64;
            self.joiner.push(&buffer[..count], &mut line);
        }
    }
}

/// The last lines of a task's containers, each with its container's name before it.
pub(crate) async fn tail(core: &Core, task: &str, lines: usize) -> PortResult<Vec<String>> {
    let mut all = Vec::new();
    if let Some(cell) = core.task(task) {
        let record = cell.look(|seen| seen.record.clone());
        for container in &record.definition.containers {
            let mut of_it = live_lines(core, task, &container.name).await;
            if of_it.is_empty() {
                of_it = read_kept(&kept_path(core, record.environment(), task, &container.name)).await;
            }
            all.extend(of_it.into_iter().map(|line| format!("{} | {line}", container.name)));
        }
    } else {
        all = kept_of_forgotten(core, task).await;
    }
    Ok(all.split_off(all.len().saturating_sub(lines)))
}

/// A service's task whose record is gone: its logs stay until the environment goes.
async fn kept_of_forgotten(core: &Core, task: &str) -> Vec<String> {
    let (directory, task) = (core.directory.join("logs"), task.to_owned());
    let find = move || {
        let mut found = Vec::new();
        let environments = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for file in environments.flat_map(|dir| std::fs::read_dir(dir.path())).flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if let Some(container) = name.strip_prefix(&format!("{task}-")).and_then(|rest| rest.strip_suffix(".log")) {
                let text = std::fs::read(file.path()).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                found.extend(text.lines().map(|line| format!("{container} | {line}")));
            }
        }
        Ok(found)
    };
    state::blocking(find).await.unwrap_or_default()
}

/// Lines of all tasks of an environment, or of one of its services, from `history` lines back and then as they come.
pub(crate) fn follow(
    core: Arc<Core>,
    environment: String,
    service: Option<String>,
    history: usize,
) -> mpsc::Receiver<LogLine> {
    let (send, receive) = mpsc::channel(1024);
    tokio::spawn(async move {
        let token = core.cancel.clone();
        token.run_until_cancelled(follow_all(core, environment, service, history, send)).await;
    });
    receive
}

async fn follow_all(
    core: Arc<Core>,
    environment: String,
    service: Option<String>,
    history: usize,
    send: mpsc::Sender<LogLine>,
) {
    let mut readers: BTreeMap<(String, String), Reader> = BTreeMap::new();
    // Containers that were there at the beginning show their history, later ones everything.
    let mut first = true;
    loop {
        let records: Vec<TaskRecord> = locked(&core.tasks)
            .values()
            .map(|cell| cell.look(|seen| seen.record.clone()))
            .filter(|record| record.environment() == environment && record.stopped_at.is_none())
            .filter(|record| service.is_none() || record.service == service)
            .collect();
        for record in &records {
            for container in &record.definition.containers {
                let key = (record.id.clone(), container.name.clone());
                if readers.contains_key(&key) {
                    continue;
                }
                let name = labels::member_name(&record.id, &container.name);
                if let Ok(inspect) = core.docker.inspect_container(&name).await
                    && let Some(reader) = Reader::open(&inspect.log_path, KEPT_BYTES).await
                {
                    readers.insert(key, reader);
                }
            }
        }
        for ((task, container), reader) in &mut readers {
            let mut lines = Vec::new();
            reader.read(|line| lines.push(line)).await;
            if first {
                lines.drain(..lines.len().saturating_sub(history));
            }
            for line in lines {
                let line = LogLine { task: task.clone(), container: container.clone(), line };
                if send.send(line).await.is_err() {
                    return;
                }
            }
        }
        first = false;
        // An open file can still be read after the container's removal: readers go after their last read.
        readers.retain(|(task, _), _| records.iter().any(|record| record.id == *task));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            () = send.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut joiner = Joiner::default();
        for chunk in bytes.chunks(7) {
            joiner.push(chunk, |line| lines.push(line));
        }
        lines
    }

    #[test]
    fn podmans_partial_lines_are_joined_by_stream() {
        let text = b"2026-11-21T04:00:00.1+00:00 stdout P abc\n\
                     2026-11-21T04:00:00.1+00:00 stderr F err or\n\
                     2026-11-21T04:00:00.2+00:00 stdout F def\n\
                     2026-11-21T04:00:00.3+00:00 stdout F \n";
        assert_eq!(joined(text), ["err or", "abcdef", ""]);
    }

    #[test]
    fn dockers_json_lines() {
        let text =
            b"{\"log\":\"a b\",\"stream\":\"stdout\"}\n{\"log\":\"c\\n\",\"stream\":\"stdout\",\"time\":\"t\"}\n";
        assert_eq!(joined(text), ["a bc"]);
    }
}

//! Container logs: read from the engine's own file, which has nanoseconds and loses nothing (a follow over the API lost
//! more than half of 200,000 fast lines), over the API where the file cannot be read, and from our copy once the container
//! is gone. Partial lines are joined.

mod api;
mod file;
mod follow;

use std::path::{Path, PathBuf};
use std::time::Duration;

use landfall_ports::PortResult;

use crate::core::Core;
use crate::images::file_name;
use crate::labels;
use crate::state;
use crate::task::record::TaskRecord;
use api::{pieces, stream};
use file::{Joiner, Reader};
pub(crate) use follow::{Followed, follow};

/// Of a container that is gone, this much of the end of its log is kept.
const KEPT_BYTES: u64 = 4 * 1024 * 1024;

/// An engine that sends nothing for so long has sent all that it will.
const API_IDLE: Duration = Duration::from_secs(30);

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

/// The last `lines`; all: `None`.
async fn last_kept(path: &Path, lines: Option<usize>) -> Vec<String> {
    let mut kept = read_kept(path).await;
    kept.drain(..kept.len().saturating_sub(lines.unwrap_or(usize::MAX)));
    kept
}

async fn live_lines(core: &Core, task: &str, container: &str) -> Vec<String> {
    let name = labels::member_name(task, container);
    let Ok(inspect) = core.docker.inspect_container(&name).await else { return Vec::new() };
    if let Some(mut reader) = Reader::open(&inspect.log_path, KEPT_BYTES).await {
        let mut lines = reader.last(usize::MAX).await;
        lines.extend(reader.finish());
        return lines;
    }
    api_lines(core, &name).await
}

async fn api_lines(core: &Core, name: &str) -> Vec<String> {
    let Ok(mut frames) = core.docker.logs(name, Some(10_000), false).await else { return Vec::new() };
    let mut lines = Vec::new();
    let mut joiner = Joiner::default();
    while let Ok(Ok(Some(frame))) = tokio::time::timeout(API_IDLE, frames.next()).await {
        let text = String::from_utf8_lossy(&frame.bytes);
        lines.extend(pieces(&text).filter_map(|piece| joiner.join(stream(&frame), piece.last, piece.text)));
    }
    lines.extend(joiner.finish());
    lines
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

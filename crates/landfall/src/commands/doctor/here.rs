//! This machine: git, the state, the container engine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use landfall_local::{Engine, EngineKind};
use landfall_ports::PortError;

use super::Line;
use crate::cli::Global;
use crate::commands::engine_options;
use crate::opened;
use crate::paths::State;

/// Below this nothing works; below the second, not for long.
const NO_DISK: u64 = 100 << 20;
const LITTLE_DISK: u64 = 2 << 30;

/// `local`: environments run here, so that an engine is needed.
pub(super) async fn look(global: &Global, local: bool) -> Vec<Line> {
    let mut lines = vec![git().await];
    match State::of(global.state.clone()) {
        Ok(State::S3 { url, .. }) => lines.push(on_s3(&url, local).await),
        Ok(State::Directory(state)) => {
            lines.extend([writable(&state), lock(&state), disk(&state)]);
            if local {
                lines.extend(engine(&state).await);
            }
        }
        Err(error) => lines.push(Line::wrong("state", error.message)),
    }
    lines
}

/// It is read; a first write is left to a command that has something to write.
async fn on_s3(url: &str, local: bool) -> Line {
    match opened::on_s3(url).await {
        Ok(_) if local => Line::wrong("state", format!("what runs on this machine needs a directory on it, not {url}"))
            .hint("docs/state-s3.md says what a state on S3 is for"),
        Ok(_) => Line::good("state", format!("{url} can be read")),
        Err(error) => Line::wrong("state", error.causes.first().cloned().unwrap_or(error.message)),
    }
}

async fn git() -> Line {
    let asked = tokio::process::Command::new("git").arg("--version").output();
    match tokio::time::timeout(Duration::from_secs(5), asked).await {
        Ok(Ok(output)) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            Line::good("git", said.trim().trim_start_matches("git version ").to_owned())
        }
        _ => Line::wrong("git", "it is not on the PATH")
            .hint("branches are listed and commits checked out with it: install git"),
    }
}

/// The directory itself, or the nearest above it that is there.
fn nearest(state: &Path) -> PathBuf {
    state.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

fn writable(state: &Path) -> Line {
    let (name, there) = ("state", nearest(state));
    match tempfile::Builder::new().prefix(".landfall-doctor-").tempfile_in(&there) {
        Ok(_) if there == state => Line::good(name, state.display().to_string()),
        Ok(_) => Line::good(name, format!("{} can be made", state.display())),
        Err(error) => Line::wrong(name, format!("{} cannot be written: {error}", there.display()))
            .hint("choose another with --state or LANDFALL_STATE"),
    }
}

fn lock(state: &Path) -> Line {
    match landfall_sqlite::holder(state) {
        Ok(None) => Line::good("lock", "nobody has the state"),
        Ok(Some(holder)) => {
            let pid = holder.pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
            let since = holder.since.map(|since| format!(" since {since}")).unwrap_or_default();
            match holder.control_socket {
                Some(socket) if std::os::unix::net::UnixStream::connect(&socket).is_ok() => {
                    Line::good("lock", format!("a server has the state ({pid}{since}) and answers"))
                }
                Some(socket) => {
                    let detail = format!("{pid} has the state{since}, and {} does not answer", socket.display());
                    Line::wrong("lock", detail).hint("it is starting, hangs, or is another user's: look at its log")
                }
                None => Line::good("lock", format!("a command has the state ({pid}{since})")),
            }
        }
        Err(error) => Line::wrong("lock", error.to_string()),
    }
}

fn disk(state: &Path) -> Line {
    let there = nearest(state);
    match rustix::fs::statvfs(&there) {
        Ok(found) => room(found.f_bavail.saturating_mul(found.f_frsize), &there),
        Err(error) => Line::not_checked("disk", format!("{}: {error}", there.display())),
    }
}

fn room(free: u64, there: &Path) -> Line {
    let detail = format!("{} MiB free at {}", free >> 20, there.display());
    match free {
        ..NO_DISK => Line::wrong("disk", detail).hint("make room, or choose another with --state"),
        NO_DISK..LITTLE_DISK => Line::good("disk", detail).hint("journal, images and logs grow"),
        _ => Line::good("disk", detail),
    }
}

async fn engine(state: &Path) -> Vec<Line> {
    let name = "container engine";
    let looked = tokio::time::timeout(Duration::from_secs(15), Engine::look(state, &engine_options())).await;
    let engine = match looked {
        Err(_) => return vec![Line::wrong(name, "its socket does not answer").hint("restart it")],
        Ok(Ok(Some(engine))) => engine,
        Ok(Ok(None)) => {
            return vec![Line::good(name, "Podman is installed; Landfall starts a service of it when it is needed")];
        }
        Ok(Err(PortError::Invalid(text))) => return vec![Line::wrong(name, text)],
        Ok(Err(error)) => {
            let hint = "is it running, and may this user open its socket? LANDFALL_ENGINE names another";
            return vec![Line::wrong(name, error.to_string()).hint(hint)];
        }
    };
    let kind = match engine.kind {
        EngineKind::Docker => "Docker",
        EngineKind::Podman => "Podman",
    };
    let rootless = if engine.rootless { ", rootless" } else { "" };
    let cgroup = if engine.cgroup.is_empty() { String::new() } else { format!(", cgroups {}", engine.cgroup) };
    let mut lines = vec![Line::good(
        name,
        format!("{kind} {}{rootless}{cgroup}, {}", engine.version, engine.docker.socket().display()),
    )];
    if !engine.reachable {
        let why = "containers' addresses are not reachable from here: their ports are published on 127.0.0.1 instead";
        lines.push(Line::good("container addresses", why));
    }
    if !engine.limits_memory || !engine.limits_cpu {
        let missing: Vec<&str> = [("memory", engine.limits_memory), ("cpu", engine.limits_cpu)]
            .iter()
            .filter(|(_, has)| !has)
            .map(|(name, _)| *name)
            .collect();
        let hint = "delegate the controllers to this user (systemd's Delegate=), or run the engine as root";
        lines.push(Line::good("container limits", format!("{} is not limited", missing.join(" and "))).hint(hint));
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::commands::doctor::Finding;

    #[test]
    fn disk_and_state() {
        let there = Path::new("/s");
        assert_eq!(room(NO_DISK - 1, there).finding, Finding::Wrong);
        assert!(room(NO_DISK, there).hint.is_some());
        let enough = room(LITTLE_DISK, there);
        assert_eq!((enough.finding, enough.hint, enough.detail.as_str()), (Finding::Good, None, "2048 MiB free at /s"));
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(writable(directory.path()).detail, directory.path().display().to_string());
        let below = directory.path().join("a/b");
        assert!(writable(&below).detail.ends_with("can be made"));
        assert!(!below.exists() && std::fs::read_dir(directory.path()).unwrap().next().is_none(), "nothing is left");
        assert_eq!(lock(&below).finding, Finding::Good);
    }
}

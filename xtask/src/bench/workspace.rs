//! A benchmark's directory, and the janitor that cleans up after the benchmark however it ends.
//!
//! A server killed in the middle leaves a router, an engine's service, containers and a network. Nobody who is killed can
//! clean up, so a process in a group of its own does: it waits for the end of its input, which comes when the benchmark
//! returns, fails, is interrupted or is killed.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// On whatever a benchmark makes in the engine by itself; the value is its directory.
pub(crate) const LABEL: &str = "landfall.bench";
const PREFIX: &str = "landfall-bench-";

pub(crate) struct Workspace {
    path: PathBuf,
    janitor: Child,
}

impl Workspace {
    pub(crate) fn new() -> Result<Self> {
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir()?.keep();
        let janitor = Command::new(std::env::current_exe()?)
            .args(["bench", "janitor"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start the janitor")?;
        Ok(Self { path, janitor })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `landfall.bench=DIRECTORY`.
    pub(crate) fn label(&self) -> String {
        format!("{LABEL}={}", self.path.display())
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// What works with containers here.
pub(crate) fn engine_cli() -> Option<&'static str> {
    ["podman", "docker"]
        .into_iter()
        .find(|cli| Command::new(cli).arg("info").output().is_ok_and(|output| output.status.success()))
}

/// The janitor's own `main`: waits, then removes processes, containers, networks, images and the directory.
pub(crate) fn janitor(args: &[String]) -> Result<()> {
    let directory = Path::new(args.first().context("which directory?")?);
    if !directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) {
        bail!("{} is no benchmark's directory", directory.display());
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    end_processes(&directory.display().to_string());
    let mut labels = vec![format!("{LABEL}={}", directory.display())];
    let instance = std::fs::read_to_string(directory.join("state/instance"));
    labels.extend(instance.map(|instance| format!("landfall.instance={}", instance.trim())));
    if let Some(engine) = engine_cli() {
        for label in &labels {
            remove(engine, &["ps", "-aq"], &["rm", "-f", "-v"], label);
            remove(engine, &["network", "ls", "-q"], &["network", "rm"], label);
            remove(engine, &["images", "-q"], &["rmi", "-f"], label);
        }
    }
    std::fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))
}

/// Whoever names the directory in its command line: server, router, the engine's service. TERM, then KILL.
fn end_processes(directory: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut told = Vec::new();
    loop {
        let pids = processes(directory);
        let late = Instant::now() > deadline;
        for pid in pids.iter().filter(|pid| late || !told.contains(*pid)) {
            let signal = if late { "-KILL" } else { "-TERM" };
            let _ = Command::new("kill").args([signal, pid]).stderr(Stdio::null()).status();
        }
        if pids.is_empty() || late {
            return;
        }
        told = pids;
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn processes(directory: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let named = |pid: &String| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(directory)
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    pids.filter(|pid| *pid != own && pid.bytes().all(|byte| byte.is_ascii_digit())).filter(named).collect()
}

fn remove(engine: &str, list: &[&str], remove: &[&str], label: &str) {
    let filter = format!("label={label}");
    let Ok(listed) = Command::new(engine).args(list).args(["--filter", &filter]).output() else { return };
    let ids = String::from_utf8_lossy(&listed.stdout).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    if ids.is_empty() {
        return;
    }
    match Command::new(engine).args(remove).args(&ids).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => eprintln!("{engine} {}: {}", remove.join(" "), String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => eprintln!("{engine} {}: {error}", remove.join(" ")),
    }
}

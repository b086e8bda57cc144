//! The server as a child process: the real one, `landfall serve`, of this same binary.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::env_vars;
use crate::error::{CliError, CliResult};

pub(super) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    pub(super) fn start(
        manifest: &Path,
        state: &Path,
        listen: SocketAddr,
        secret: &str,
        variables: &[(&str, String)],
    ) -> CliResult<Self> {
        let start = || {
            let log = manifest.with_file_name("server.log");
            let file = File::create(&log)?;
            // Its own process group: Ctrl-C is for us, and we stop it in order.
            let child = Command::new(std::env::current_exe()?)
                .arg("serve")
                .arg("--config")
                .arg(manifest)
                .arg("--state")
                .arg(state)
                .arg("--listen")
                .arg(listen.to_string())
                .env(env_vars::WEBHOOK_SECRET, secret)
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(file)
                .process_group(0)
                .spawn()?;
            std::io::Result::Ok(Self { child, log })
        };
        start().map_err(|error| CliError::io("cannot start the server", &error))
    }

    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(super) fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// SIGTERM and patience, then SIGKILL; `Err` says what went wrong.
    pub(super) async fn stop(mut self) -> Result<(), String> {
        if self.exited().is_some() {
            return Ok(());
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if self.exited().is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        Err("the server did not stop by itself within 15 s and was killed".to_owned())
    }
}

impl Drop for Server {
    /// For the paths that do not come to `stop`.
    fn drop(&mut self) {
        if self.exited().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

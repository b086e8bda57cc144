//! One step as a process in a group of its own, so that what it started ends with it. Its lines and its end are sent as they come.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use landfall_ci::CiContext;
use landfall_ci::command::{Command, variables};
use rustix::process::{Pid, Signal};
use tokio::io::AsyncRead;
use tokio::sync::mpsc::UnboundedSender;

use crate::cli::Global;
use crate::lines::Lines;
use crate::printer::Color;

/// How long is waited for the rest of the output of a process that has ended: something that it left behind may hold the pipe.
const REST: Duration = Duration::from_secs(2);
/// Between being asked to end and being ended.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Said {
    Line(usize, String),
    Ended(usize, End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Code(u8),
    TimedOut,
    Stopped,
}

pub(super) struct Child {
    pub(super) step: usize,
    pub(super) timeout: Option<Duration>,
    pub(super) process: tokio::process::Child,
}

/// Not yet waited for.
pub(super) fn start(
    command: &Command,
    context: &CiContext,
    directory: &std::path::Path,
    global: &Global,
    color: Color,
) -> std::io::Result<tokio::process::Child> {
    let mut process = match command {
        Command::Shell { script } => {
            let mut shell = tokio::process::Command::new("sh");
            shell.arg("-c").arg(script);
            shell
        }
        Command::Landfall(words) => {
            let mut own = tokio::process::Command::new(std::env::current_exe()?);
            own.args(words).arg("--config").arg(std::path::absolute(&global.config)?);
            if let Some(state) = &global.state {
                own.arg("--state").arg(state);
            }
            match color {
                Color::Auto => {}
                Color::Always => drop(own.args(["--color", "always"])),
                Color::Never => drop(own.args(["--color", "never"])),
            }
            own
        }
    };
    process
        .envs(variables(context))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

impl Child {
    /// To its end, or until `stop` or its time is over.
    pub(super) async fn follow(mut self, said: UnboundedSender<Said>, mut stop: tokio::sync::watch::Receiver<bool>) {
        let step = self.step;
        let out = self.process.stdout.take().map(|pipe| tokio::spawn(lines(step, pipe, said.clone())));
        let err = self.process.stderr.take().map(|pipe| tokio::spawn(lines(step, pipe, said.clone())));
        let group = self.process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let end = tokio::select! {
            status = self.process.wait() => status.map_or(End::Code(74), |status| End::Code(code(status))),
            () = after(self.timeout) => End::TimedOut,
            _ = stop.wait_for(|stop| *stop) => End::Stopped,
        };
        if !matches!(end, End::Code(_)) {
            signal(group, Signal::TERM);
            if tokio::time::timeout(GRACE, self.process.wait()).await.is_err() {
                signal(group, Signal::KILL);
                let _ = self.process.wait().await;
            }
        }
        for reader in [out, err].into_iter().flatten() {
            let stop = reader.abort_handle();
            if tokio::time::timeout(REST, reader).await.is_err() {
                stop.abort();
            }
        }
        // Whoever it left in its group has no job any more.
        signal(group, Signal::KILL);
        let _ = said.send(Said::Ended(step, end));
    }
}

/// Nobody is there any more: nothing to do.
fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

async fn after(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

/// As a shell has it: 128 and the signal's number for who was killed.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;

    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code & 0xff).unwrap_or(1)
}

async fn lines(step: usize, pipe: impl AsyncRead + Unpin, said: UnboundedSender<Said>) {
    let mut lines = Lines::of(pipe);
    while let Some(line) = lines.next().await {
        if said.send(Said::Line(step, line)).is_err() {
            return;
        }
    }
}

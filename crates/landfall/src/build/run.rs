//! Running a builder: what it says is shown and kept, and its image lands in a layout of ours.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use landfall_local::docker::{BUILD_TRIES, BUILT_ONCE_MORE, taken_from_the_build};
use landfall_registry::source::{Archive, Layers, Layout, Source as _, repack, write_layout};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::build::argv::{self, Builder, Job};
use crate::commands::port_error;
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::lines::Lines;

/// Of what a builder said, where it fails.
const TAIL: usize = 20;

/// The builder that answers first, or the one that is asked for.
pub(crate) async fn find(wanted: Option<Builder>) -> CliResult<Builder> {
    let answers = async |program: &str, words: &[&str]| -> Option<String> {
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await.ok()?.ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if matches!(wanted, None | Some(Builder::Docker))
        && let Some(versions) =
            answers("docker", &["version", "--format", "{{.Client.Version}} {{.Server.Version}}"]).await
    {
        let buildx = answers("docker", &["buildx", "inspect"]).await;
        let wish = env_vars::get(env_vars::DOCKER_BUILDKIT);
        return Ok(Builder::of_docker(buildx.as_deref(), &versions, wish.as_deref()));
    }
    for builder in [Builder::Podman, Builder::Buildah] {
        if wanted.is_none_or(|wanted| wanted == builder) && answers(builder.program(), &["--version"]).await.is_some() {
            return Ok(builder);
        }
    }
    let who = wanted.map_or("docker, podman or buildah", Builder::name);
    Err(CliError::new(ExitCode::Unavailable, format!("LF-ENGINE-MISSING: no builder: {who} does not answer"))
        .hint("on Debian or Ubuntu: apt-get install podman runc, or buildah"))
}

/// Where one image's files are.
pub(crate) struct Room<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) layers: PathBuf,
    pub(crate) timeout: Duration,
}

/// Builds, and gives the digest of what is in the layout. Every line goes to `line`.
pub(crate) async fn run(builder: Builder, job: &Job<'_>, room: &Room<'_>, line: &dyn Fn(&str)) -> CliResult<String> {
    let words = argv::build(builder, job);
    let log = room.directory.join("build.log");
    let program = builder.program();
    let build = async {
        let mut tries = BUILD_TRIES;
        loop {
            tries -= 1;
            match spoken(program, &words, builder.environment(), &log, line).await {
                Err(error) if tries > 0 && error.causes.iter().any(|said| taken_from_the_build(said)) => {
                    line(BUILT_ONCE_MORE);
                }
                result => break result,
            }
        }
    };
    tokio::time::timeout(room.timeout, build).await.map_err(|_| {
        let seconds = room.timeout.as_secs();
        CliError::new(ExitCode::Failed, format!("LF-IMAGE-BUILD-FAILED: the build took longer than {seconds} s"))
            .hint("`build.timeout` in the manifest allows more")
    })??;
    let failed = |error: std::io::Error| CliError::io(format!("{}", job.result.display()), &error);
    let told = std::fs::read_to_string(job.result).map_err(failed)?;
    let archive = room.directory.join("image.tar");
    if let Some(words) = argv::take(builder, told.trim(), job.layout, &archive) {
        spoken(program, &words, None, &room.directory.join("take.log"), &|_| ()).await?;
    }
    if matches!(builder, Builder::Docker | Builder::Legacy) {
        let (layers, layout) = (Layers::new(room.layers.clone()), job.layout.to_owned());
        let repacked = tokio::task::spawn_blocking(move || {
            let done = Archive::open(&archive).and_then(|image| write_layout(&repack(&image, None, &layers)?, &layout));
            // It was only on its way.
            let _ = std::fs::remove_file(&archive);
            done
        });
        repacked.await.map_err(|error| CliError::internal("packing the image").cause(&error))?.map_err(port_error)?;
    }
    let layout = Layout::open(job.layout, None).map_err(port_error)?;
    let digest = layout.root().digest.to_string();
    match argv::digest(&told).filter(|told| builder == Builder::Buildx && *told != digest) {
        Some(told) => {
            Err(CliError::new(ExitCode::Failed, format!("the builder says {told}, and its layout holds {digest}")))
        }
        None => Ok(digest),
    }
}

/// Runs a program; its output is told and kept line by line.
async fn spoken(
    program: &str,
    words: &[String],
    environment: Option<(&str, &str)>,
    log: &Path,
    line: &dyn Fn(&str),
) -> CliResult<()> {
    let failed = |error: std::io::Error| CliError::io(format!("cannot run {program}"), &error);
    let mut file = tokio::fs::File::create(log)
        .await
        .map_err(|error| CliError::io(format!("cannot write {}", log.display()), &error))?;
    let mut command = Command::new(program);
    command
        .args(words)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let mut out = child.stdout.take().map(Lines::of);
    let mut err = child.stderr.take().map(Lines::of);
    let mut tail = std::collections::VecDeque::new();
    while out.is_some() || err.is_some() {
        let said = tokio::select! {
            said = next(&mut out) => said,
            said = next(&mut err) => said,
        };
        if let Some(said) = said {
            let said = landfall_model::redact::credentials(&said);
            line(&said);
            // The log is a convenience: a full disk fails the build by itself.
            let _ = file.write_all(format!("{said}\n").as_bytes()).await;
            tail.push_back(said);
            if tail.len() > TAIL {
                tail.pop_front();
            }
        }
    }
    let _ = file.flush().await;
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let last: Vec<String> = tail.into();
    let said = std::io::Error::other(last.join("\n"));
    let what = words.first().map_or("", String::as_str);
    Err(CliError::new(ExitCode::Failed, format!("LF-IMAGE-BUILD-FAILED: {program} {what} ended with {status}"))
        .cause(&said)
        .hint(format!("all of its output is in {}", log.display())))
}

/// The next line; a stream that is over is `None` from then on, and never the first to be ready again.
async fn next<T: tokio::io::AsyncRead + Unpin>(lines: &mut Option<Lines<T>>) -> Option<String> {
    let Some(stream) = lines else { return std::future::pending().await };
    let line = stream.next().await;
    if line.is_none() {
        *lines = None;
    }
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[tokio::test]
    async fn a_line_of_other_bytes_does_not_end_a_build() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("build.log");
        let words = ["-c", r"printf 'caf\351\n'; sleep 0.1; echo after; echo done >&2"].map(str::to_owned);
        spoken("sh", &words, None, &log, &|_| ()).await.unwrap();
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.contains("caf\u{fffd}\n") && said.contains("after\n") && said.contains("done\n"), "{said}");
    }
}

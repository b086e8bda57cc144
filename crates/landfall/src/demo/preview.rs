//! The main job: a git repository, GitHub's deliveries, two containers to a task, a URL; then a change without a failed request;
//! then the branch goes, and it is checked from outside that nothing is left.

use std::path::Path;
use std::time::{Duration, Instant};

use landfall_model::environment::Phase;
use landfall_server::control::{Control, ControlRequest, ControlResponse};

use super::github::GitHub;
use super::leftovers;
use super::repo::Repo;
use super::stages::Stages;
use super::watch::Watch;
use super::world::{World, alive, answers, now, prepare, serve};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

const BRANCH: &str = "feature/test123";
const ENVIRONMENT: &str = "my-project-test123";
/// A stage that `--keep` leaves out.
const PUSHED: &str = "Pushed commit is live";
const HOST: &str = "test123.my-project.localhost";

/// The stages up to the branch's end; with `keep` only up to the first answer.
pub(super) async fn story(world: &mut World, stages: &mut Stages, keep: bool) -> CliResult<()> {
    prepare(world, stages).await?;

    stages.begin("Making a git repository");
    let repo = Repo::create(world.directory.path().join("my-project"), &world.base_image)?;
    repo.branch(BRANCH)?;
    repo.write("text.txt", "hello from feature/test123\n")?;
    let first = repo.commit("Say hello from the branch")?;
    stages.end("Git repository my-project with branch feature/test123", true, None);

    let secret = ulid::Ulid::generate().to_string();
    let manifest = manifest_text(&repo.path, &world.base_image, world.router_addr.port());
    serve(world, stages, &manifest, &secret, &[]).await?;

    let github = GitHub { server: world.server_addr, secret, project: "my-project", branch: BRANCH.to_owned() };
    stages.begin("Delivering GitHub's signed `create`");
    github.create(now()).await?;
    stages.end("Signed `create` delivered, answered 202", true, None);

    stages.begin("Waiting for the URL");
    let answer = answers(world, HOST, |text| text == "hello from feature/test123", given_up).await?;
    let url = format!("http://{HOST}:{}/", world.router_addr.port());
    stages.end("Two containers up behind a URL", true, Some(format!("curl {url} → {answer}")));
    stages.begin("Looking from outside");
    let running = world.resources().await?;
    let containers = running.iter().filter(|name| name.starts_with("container ")).count();
    let seen = format!("target group {ENVIRONMENT}-tg, service {ENVIRONMENT}-service, {containers} containers");
    stages.end("Names as expected", containers >= 3, Some(seen));
    if keep {
        stages.finish();
        return Ok(());
    }

    stages.begin("Pushing a commit");
    let watch = Watch::start(world.router_addr, HOST);
    repo.write("text.txt", "hello again, updated\n")?;
    let second = repo.commit("Say something else")?;
    github.push(&first, &second, now()).await?;
    let answer = answers(world, HOST, |text| text == "hello again, updated", given_up).await?;
    // The old task drains after the new one answers: go on watching until it is gone.
    let settled = settled(world, containers).await;
    let watched = watch.stop().await;
    let seen = format!("curl {url} → {answer}; {} requests meanwhile, {} failed", watched.asked, watched.failed.len());
    stages.end(PUSHED, watched.failed.is_empty() && settled.is_ok(), Some(seen));
    settled?;
    if let Some(first) = watched.failed.first() {
        return Err(CliError::new(
            ExitCode::Failed,
            format!("{} requests failed during the update", watched.failed.len()),
        )
        .cause(&std::io::Error::other(first.clone())));
    }

    stages.begin("Deleting the branch");
    repo.delete_branch(BRANCH)?;
    github.delete(now()).await?;
    let deadline = Instant::now() + world.timeout;
    loop {
        let left = traces(world).await?;
        if left.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            stages.end("Preview destroyed", false, Some(left.join(", ")));
            return Err(CliError::new(
                ExitCode::TraceLeft,
                format!("still there after the delete: {}", left.join(", ")),
            ));
        }
        alive(world)?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stages.end("Signed `delete`: no container, network, image or route is left", true, None);
    Ok(())
}

/// What the engine and the load balancer still show of the preview.
async fn traces(world: &World) -> CliResult<Vec<String>> {
    let mut left = world.resources().await?;
    left.extend(leftovers::route(world.router_addr, HOST).await);
    Ok(left)
}

/// An error where the server has given the preview up or waits for a person: the URL would never answer.
async fn given_up(world: &World) -> CliResult<()> {
    let Some(client) = crate::commands::link::server(&world.state()).await else { return Ok(()) };
    let request = ControlRequest::Preview { name: ENVIRONMENT.to_owned() };
    let Ok(ControlResponse::Preview(detail)) = client.call(request).await else { return Ok(()) };
    if !matches!(detail.record.phase, Phase::Failed | Phase::Paused) {
        return Ok(());
    }
    let message = detail.record.message.unwrap_or_else(|| "the preview failed".to_owned());
    let error = CliError::new(ExitCode::Failed, message);
    Err(match detail.execution {
        Some(view) => error.cause(&std::io::Error::other(crate::render::execution_text(&view))),
        None => error,
    })
}

/// Until no more containers run than one task has.
async fn settled(world: &World, containers: usize) -> CliResult<()> {
    let deadline = Instant::now() + world.timeout;
    loop {
        let found = world.resources().await?;
        if found.iter().filter(|name| name.starts_with("container ")).count() <= containers {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(CliError::new(
                ExitCode::TraceLeft,
                format!("the old task is still there: {}", found.join(", ")),
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What it has shown.
pub(super) fn summary(stages: &Stages) -> String {
    let changed =
        if stages.done.iter().any(|stage| stage.what == PUSHED) { ", changed without a failed request," } else { "" };
    format!(
        "The branch came up behind a URL{changed} and is gone without a trace.\n\
         Next: `landfall init` in a repository of yours, docs/github.md for the webhook, `landfall demo --keep` to play, \
         `landfall demo pipeline` for dev, staging and prod.",
    )
}

pub(super) fn keep(world: &World, printer: &Printer) {
    let (directory, state) = (world.directory.path(), world.state());
    let exe = std::env::current_exe().unwrap_or_else(|_| "landfall".into());
    let exe = exe.display();
    printer.note(format_args!(
        "\nIt keeps running until Ctrl-C. To play with it, in another terminal:\n\n  \
         curl http://{HOST}:{port}/\n  \
         export LANDFALL_STATE={state}\n  \
         {exe} status\n  \
         {exe} preview show {BRANCH}\n  \
         {exe} preview logs {BRANCH}\n  \
         {exe} executions list\n\n\
         The repository is {repo}; its server's log is {log}.",
        port = world.router_addr.port(),
        state = state.display(),
        repo = directory.join("my-project").display(),
        log = directory.join("server.log").display(),
    ));
}

fn manifest_text(repository: &Path, base_image: &str, port: u16) -> String {
    format!(
        r#"project: my-project
repositories:
  my-project:
    source: {}
services:
  web:
    launch_type: local
    containers:
      app:
        build: {{}}
        environment: {{ DEMO_LISTEN: "127.0.0.1:3000" }}
        health_check:
          command: ["CMD", "/landfall", "demo-app", "healthcheck", "127.0.0.1:3000"]
          interval: 5s
          timeout: 5s
        stop_timeout: 3s
      proxy:
        image: {base_image}
        command: [demo-app, proxy, --listen, "0.0.0.0:8080", --upstream, "127.0.0.1:3000"]
        ports: [8080]
        depends_on: {{ app: HEALTHY }}
        stop_timeout: 3s
    load_balancer:
      container: proxy
      port: 8080
      health_check: {{ path: /health, interval: 1s, timeout: 900ms, unhealthy_threshold: 5 }}
      deregistration_delay: 1s
previews:
  branches: [feature/*]
  routing: {{ host: {{ domain: my-project.localhost, port: {port} }} }}
notifications:
  log: {{ log: {{}} }}
"#,
        serde_json::Value::String(repository.display().to_string())
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn its_manifest_is_valid_without_a_warning() {
        let text = manifest_text(Path::new("/tmp/x: y/my-project"), "localhost/landfall-demo-base:01", 8123);
        let source = landfall_manifest::SourceFile::new("landfall.yml", text);
        let loaded = landfall_manifest::load(&source, &|_| None)
            .unwrap_or_else(|found| panic!("{}", landfall_manifest::render(&found, &source, false)));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let app = loaded.app;
        assert_eq!(app.repositories[&"my-project".into()].source.as_deref(), Some("/tmp/x: y/my-project"));
    }
}

//! `landfall demo`: the main job against itself on loopback. A git repository, GitHub's deliveries, two containers to a task,
//! a URL; then a change without a failed request; then the branch goes, and it is checked from outside that nothing is
//! left. Whatever happens, Ctrl-C included, everything that was started is taken down again.

mod github;
mod image;
mod leftovers;
mod repo;
mod server;
mod stages;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use landfall_local::Engine;
use landfall_local::docker::{BuildOptions, Docker};
use landfall_model::environment::Phase;
use landfall_server::control::{Control, ControlRequest, ControlResponse};

use crate::cli::DemoArgs;
use crate::commands::engine_options;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::http::{Ask, send};
use crate::printer::Printer;
use github::GitHub;
use repo::Repo;
use server::Server;
use stages::Stages;
use watch::Watch;

const BRANCH: &str = "feature/test123";
const ENVIRONMENT: &str = "my-project-test123";
/// A stage that `--keep` leaves out.
const PUSHED: &str = "Pushed commit is live";
const HOST: &str = "test123.my-project.localhost";

/// Everything that has to be taken down again, filled in as it comes up.
struct World {
    directory: tempfile::TempDir,
    docker: Option<Docker>,
    base_image: String,
    /// Images of Landfall's that were there before.
    foreign_images: Vec<String>,
    server: Option<Server>,
    /// The installation's id, once its server has one.
    instance: Option<String>,
    server_addr: SocketAddr,
    router_addr: SocketAddr,
    timeout: Duration,
}

impl World {
    fn state(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    /// What the engine still shows of the installation.
    async fn resources(&self) -> CliResult<Vec<String>> {
        let instance = self.instance.as_deref().ok_or_else(|| CliError::internal("no installation"))?;
        leftovers::resources(engine_docker(self)?, instance).await
    }
}

pub(crate) async fn run(args: &DemoArgs, printer: &Printer) -> CliResult<ExitCode> {
    let directory = tempfile::Builder::new()
        .prefix("landfall-demo-")
        .tempdir()
        .map_err(|error| CliError::io("cannot make a temporary directory", &error))?;
    let id = ulid::Ulid::generate().to_string().to_lowercase();
    let (server_addr, router_addr) = free_addresses()?;
    let mut world = World {
        directory,
        docker: None,
        base_image: format!("localhost/landfall-demo-base:{id}"),
        foreign_images: Vec::new(),
        server: None,
        instance: None,
        server_addr,
        router_addr,
        timeout: Duration::from_secs(args.timeout),
    };
    let mut stages = Stages::new(*printer);
    let interrupted = tokio::signal::ctrl_c();
    let result = tokio::select! {
        result = story(&mut world, &mut stages, args.keep) => result,
        _ = interrupted => Err(CliError::new(ExitCode::Interrupted, "interrupted; taking everything down")),
    };
    match result {
        Ok(()) if args.keep => {
            keep(&world, printer);
            let _ = tokio::signal::ctrl_c().await;
            printer.note("\ntaking everything down");
            let left = take_down(&mut world).await;
            verdict(&stages, printer, left)
        }
        Ok(()) => {
            stages.begin("Taking down server, load balancer and images");
            let left = take_down(&mut world).await;
            stages.end("Server, load balancer and images taken down", left.is_empty(), None);
            verdict(&stages, printer, left)
        }
        Err(error) => {
            stages.finish();
            if error.code != ExitCode::Interrupted
                && let Some(server) = &world.server
            {
                printer.note(format_args!("the end of the server's log:\n{}", server.log_tail(20)));
            }
            let left = take_down(&mut world).await;
            Err(left.into_iter().fold(error, |error, trace| error.hint(format!("left behind: {trace}"))))
        }
    }
}

/// The stages up to the branch's end; with `keep` only up to the first answer.
async fn story(world: &mut World, stages: &mut Stages, keep: bool) -> CliResult<()> {
    stages.begin("Finding a container engine");
    let engine = Engine::connect(&world.state(), &engine_options()).await.map_err(crate::commands::port_error)?;
    world.docker = Some(engine.docker.clone());
    world.foreign_images = leftovers::pause_images(&engine.docker).await;
    stages.end("Container engine found", true, Some(format!("{:?} {}", engine.kind, engine.version)));

    stages.begin("Building the base image from this program");
    let context = own_image().map_err(|error| CliError::io("cannot read this program", &error))?;
    let options =
        BuildOptions { tag: world.base_image.clone(), dockerfile: "Dockerfile".to_owned(), ..BuildOptions::default() };
    let built = engine.docker.build(context.into(), &options, |line| tracing::debug!(line, "base image")).await;
    built.map_err(|error| CliError::new(ExitCode::Failed, "the base image cannot be built").cause(&error))?;
    stages.end("Base image built from this program", true, None);

    stages.begin("Making a git repository");
    let repo = Repo::create(world.directory.path().join("my-project"), &world.base_image)?;
    repo.branch(BRANCH)?;
    repo.write("text.txt", "hello from feature/test123\n")?;
    let first = repo.commit("Say hello from the branch")?;
    stages.end("Git repository my-project with branch feature/test123", true, None);

    stages.begin("Starting landfall serve");
    let manifest = world.directory.path().join("landfall.yml");
    std::fs::write(&manifest, manifest_text(&repo.path, &world.base_image, world.router_addr.port()))
        .map_err(|error| CliError::io("cannot write the manifest", &error))?;
    let secret = ulid::Ulid::generate().to_string();
    world.server = Some(Server::start(&manifest, &world.state(), world.server_addr, &secret)?);
    server_up(world).await?;
    world.instance = crate::assemble::instance_of(&world.state());
    stages.end("landfall serve is up", true, Some(format!("http://{}/webhooks/github", world.server_addr)));

    let github = GitHub { server: world.server_addr, secret, branch: BRANCH.to_owned() };
    stages.begin("Delivering GitHub's signed `create`");
    github.create(now()).await?;
    stages.end("Signed `create` delivered, answered 202", true, None);

    stages.begin("Waiting for the URL");
    let answer = url_answers(world, |text| text == "hello from feature/test123").await?;
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
    let answer = url_answers(world, |text| text == "hello again, updated").await?;
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

fn own_image() -> std::io::Result<Vec<u8>> {
    image::context(&std::env::current_exe()?, &std::fs::read_to_string("/proc/self/maps")?)
}

fn engine_docker(world: &World) -> CliResult<&Docker> {
    world.docker.as_ref().ok_or_else(|| CliError::internal("no engine"))
}

/// What the engine and the load balancer still show of the preview.
async fn traces(world: &World) -> CliResult<Vec<String>> {
    let mut left = world.resources().await?;
    left.extend(leftovers::route(world.router_addr, HOST).await);
    Ok(left)
}

async fn server_up(world: &mut World) -> CliResult<()> {
    let deadline = Instant::now() + Duration::from_secs(30).min(world.timeout);
    loop {
        let asked = send(world.server_addr, Ask::get("/healthz"), Duration::from_secs(2)).await;
        if asked.is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        alive(world)?;
        if Instant::now() > deadline {
            return Err(CliError::new(ExitCode::Failed, "the server does not answer on /healthz"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The text at the URL, as soon as it is the wanted one.
async fn url_answers(world: &mut World, wanted: impl Fn(&str) -> bool) -> CliResult<String> {
    let deadline = Instant::now() + world.timeout;
    let mut last = "nothing answered".to_owned();
    let mut look = Instant::now() + Duration::from_secs(1);
    while Instant::now() < deadline {
        if Instant::now() > look {
            given_up(world).await?;
            look = Instant::now() + Duration::from_millis(500);
        }
        match send(world.router_addr, Ask::get("/").host(HOST), Duration::from_secs(5)).await {
            Ok(answer) if answer.status == 200 && wanted(answer.body.trim()) => {
                return Ok(answer.body.trim().to_owned());
            }
            Ok(answer) => last = format!("{} {}", answer.status, answer.body.lines().next().unwrap_or_default()),
            Err(error) => last = error.to_string(),
        }
        alive(world)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(CliError::new(
        ExitCode::Failed,
        format!("the URL did not answer as expected within {} s", world.timeout.as_secs()),
    )
    .cause(&std::io::Error::other(last)))
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

/// Waiting for a server that has died would be in vain.
fn alive(world: &mut World) -> CliResult<()> {
    match world.server.as_mut().and_then(Server::exited) {
        Some(status) => Err(CliError::new(ExitCode::Failed, format!("the server ended with {status}"))),
        None => Ok(()),
    }
}

/// Stops and removes everything; returns what is left in spite of it.
async fn take_down(world: &mut World) -> Vec<String> {
    let mut left = Vec::new();
    if let Some(server) = world.server.take()
        && let Err(what) = server.stop().await
    {
        left.push(what);
    }
    let router = landfall_router::client::RouterClient::new(&world.state());
    if router.ping().await.is_ok() {
        let _ = router.shutdown().await;
        let deadline = Instant::now() + Duration::from_secs(10);
        while router.ping().await.is_ok() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // A server that never came up may have got as far as making something; without an id it has not.
    let instance = world.instance.take().or_else(|| crate::assemble::instance_of(&world.state()));
    if let Some(docker) = &world.docker {
        if let Some(instance) = &instance {
            leftovers::remove(docker, instance).await;
        }
        let _ = docker.remove_image(&world.base_image).await;
        for image in leftovers::pause_images(docker).await {
            if !world.foreign_images.contains(&image) {
                // Refused while another installation uses it, rightly.
                let _ = docker.remove_image(&image).await;
            }
        }
        if let Some(instance) = &instance {
            match leftovers::resources(docker, instance).await {
                Ok(found) => left.extend(found),
                Err(error) => left.push(format!("unknown: {error}")),
            }
        }
    }
    for addr in [world.router_addr, world.server_addr] {
        if leftovers::port_open(addr).await {
            left.push(format!("a listener on {addr}"));
        }
    }
    if let Err(error) = landfall_local::engine::stop_service(&world.state().join("engine")) {
        left.push(format!("the engine's service: {error}"));
    }
    let path = world.directory.path().to_owned();
    if let Err(error) = std::fs::remove_dir_all(&path) {
        left.push(format!("{}: {error}", path.display()));
    }
    left
}

fn verdict(stages: &Stages, printer: &Printer, left: Vec<String>) -> CliResult<ExitCode> {
    stages.finish();
    let ok = left.is_empty() && stages.done.iter().all(|stage| stage.ok);
    let code = if ok { ExitCode::Ok } else { ExitCode::TraceLeft };
    if printer.json() {
        let total = stages.elapsed().as_millis();
        printer.json_data(&serde_json::json!({
            "outcome": code.word(), "exit_code": code as u8, "total_ms": total, "left": left, "stages": stages.done,
        }))?;
    } else {
        printer.data(format_args!("\n{}", stages.table()))?;
    }
    if ok {
        let changed = if stages.done.iter().any(|stage| stage.what == PUSHED) {
            ", changed without a failed request,"
        } else {
            ""
        };
        printer.note(format_args!(
            "The branch came up behind a URL{changed} and is gone without a trace.\n\
             Next: `landfall init` in a repository of yours, docs/github.md for the webhook, `landfall demo --keep` to play.",
        ));
        return Ok(code);
    }
    let mut error = CliError::new(code, "something was left behind, or a stage failed");
    for trace in left {
        error = error.hint(format!("left behind: {trace}"));
    }
    Err(error)
}

fn keep(world: &World, printer: &Printer) {
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
          interval: 1s
          timeout: 1s
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
      health_check: {{ path: /health, interval: 200ms, timeout: 100ms }}
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

/// Two ports that are free now. Somebody may take one in between; then the server says so.
fn free_addresses() -> CliResult<(SocketAddr, SocketAddr)> {
    let bind = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let free = || {
        let (one, other) = (bind()?, bind()?);
        std::io::Result::Ok((one.local_addr()?, other.local_addr()?))
    };
    free().map_err(|error| CliError::io("no free port on 127.0.0.1", &error))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
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

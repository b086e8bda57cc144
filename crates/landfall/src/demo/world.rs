//! What a demonstration runs on and takes down again: the engine, images, the server, the load balancer.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use landfall_local::Engine;
use landfall_local::docker::{BuildOptions, Docker};

use super::server::Server;
use super::stages::Stages;
use super::{image, leftovers};
use crate::commands::engine_options;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::http::{Ask, send};

/// Everything that has to be taken down again, filled in as it comes up.
pub(super) struct World {
    pub(super) directory: tempfile::TempDir,
    pub(super) docker: Option<Docker>,
    pub(super) base_image: String,
    /// Others that are built for it.
    pub(super) images: Vec<String>,
    /// Images of Landfall's that were there before.
    foreign_images: Vec<String>,
    pub(super) server: Option<Server>,
    /// The installation's id, once its server has one.
    pub(super) instance: Option<String>,
    pub(super) server_addr: SocketAddr,
    pub(super) router_addr: SocketAddr,
    pub(super) timeout: Duration,
}

impl World {
    pub(super) fn new(timeout: Duration) -> CliResult<Self> {
        let directory = tempfile::Builder::new()
            .prefix("landfall-demo-")
            .tempdir()
            .map_err(|error| CliError::io("cannot make a temporary directory", &error))?;
        let id = ulid::Ulid::generate().to_string().to_lowercase();
        let (server_addr, router_addr) = free_addresses()?;
        Ok(Self {
            directory,
            docker: None,
            base_image: format!("localhost/landfall-demo-base:{id}"),
            images: Vec::new(),
            foreign_images: Vec::new(),
            server: None,
            instance: None,
            server_addr,
            router_addr,
            timeout,
        })
    }

    pub(super) fn state(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    /// What the engine still shows of the installation.
    pub(super) async fn resources(&self) -> CliResult<Vec<String>> {
        let instance = self.instance.as_deref().ok_or_else(|| CliError::internal("no installation"))?;
        leftovers::resources(self.engine()?, instance).await
    }

    pub(super) fn engine(&self) -> CliResult<&Docker> {
        self.docker.as_ref().ok_or_else(|| CliError::internal("no engine"))
    }

    /// An image from a build context, removed at the end.
    pub(super) async fn build(&mut self, tag: &str, context: Vec<u8>, args: &[(&str, &str)]) -> CliResult<()> {
        self.images.push(tag.to_owned());
        let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options =
            BuildOptions { tag: tag.to_owned(), dockerfile: "Dockerfile".to_owned(), args, ..BuildOptions::default() };
        let built = self.engine()?.build(context.into(), &options, |line| tracing::debug!(line, tag, "build")).await;
        let failed = |error| CliError::new(ExitCode::Failed, format!("{tag} cannot be built")).cause(&error);
        built.map(drop).map_err(failed)
    }
}

/// The first two stages of each: what containers run on, and what they run.
pub(super) async fn prepare(world: &mut World, stages: &mut Stages) -> CliResult<()> {
    stages.begin("Finding a container engine");
    let engine = Engine::connect(&world.state(), &engine_options()).await.map_err(crate::commands::port_error)?;
    world.docker = Some(engine.docker.clone());
    world.foreign_images = leftovers::pause_images(&engine.docker).await;
    stages.end("Container engine found", true, Some(format!("{:?} {}", engine.kind, engine.version)));

    stages.begin("Building the base image from this program");
    let context = own_image().map_err(|error| CliError::io("cannot read this program", &error))?;
    world.build(&world.base_image.clone(), context, &[]).await?;
    stages.end("Base image built from this program", true, None);
    Ok(())
}

/// `landfall serve` of this same program, with `manifest` as its manifest.
pub(super) async fn serve(
    world: &mut World,
    stages: &mut Stages,
    manifest: &str,
    secret: &str,
    variables: &[(&str, String)],
) -> CliResult<()> {
    stages.begin("Starting landfall serve");
    let path = world.directory.path().join("landfall.yml");
    std::fs::write(&path, manifest).map_err(|error| CliError::io("cannot write the manifest", &error))?;
    world.server = Some(Server::start(&path, &world.state(), world.server_addr, secret, variables)?);
    server_up(world).await?;
    world.instance = crate::assemble::instance_of(&world.state());
    stages.end("landfall serve is up", true, Some(format!("http://{}/webhooks/github", world.server_addr)));
    Ok(())
}

fn own_image() -> std::io::Result<Vec<u8>> {
    image::context(&std::env::current_exe()?, &std::fs::read_to_string("/proc/self/maps")?)
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

/// The text at the URL, as soon as it is the wanted one. `given_up`: an error where it would never be.
pub(super) async fn answers(
    world: &mut World,
    host: &str,
    wanted: impl Fn(&str) -> bool,
    given_up: impl AsyncFn(&World) -> CliResult<()>,
) -> CliResult<String> {
    let deadline = Instant::now() + world.timeout;
    let mut last = "nothing answered".to_owned();
    let mut look = Instant::now() + Duration::from_secs(1);
    while Instant::now() < deadline {
        if Instant::now() > look {
            given_up(world).await?;
            look = Instant::now() + Duration::from_millis(500);
        }
        match send(world.router_addr, Ask::get("/").host(host), Duration::from_secs(5)).await {
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
        format!("{host} did not answer as expected within {} s", world.timeout.as_secs()),
    )
    .cause(&std::io::Error::other(last)))
}

/// Waiting for a server that has died would be in vain.
pub(super) fn alive(world: &mut World) -> CliResult<()> {
    match world.server.as_mut().and_then(Server::exited) {
        Some(status) => Err(CliError::new(ExitCode::Failed, format!("the server ended with {status}"))),
        None => Ok(()),
    }
}

/// Stops and removes everything; returns what is left in spite of it.
pub(super) async fn take_down(world: &mut World) -> Vec<String> {
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
        for image in world.images.drain(..).rev() {
            let _ = docker.remove_image(&image).await;
        }
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

/// Two ports that are free now. Somebody may take one in between; then the server says so.
fn free_addresses() -> CliResult<(SocketAddr, SocketAddr)> {
    let bind = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let free = || {
        let (one, other) = (bind()?, bind()?);
        std::io::Result::Ok((one.local_addr()?, other.local_addr()?))
    };
    free().map_err(|error| CliError::io("no free port on 127.0.0.1", &error))
}

pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

//! The router's process: lock, state, workers, control socket, signals.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{RouterClient, socket_path};
use crate::control;
use crate::error::{RouterError, RouterResult};
use crate::plane::Plane;
use crate::store::Store;
use crate::table::Shared;
use crate::worker;

#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The installation's state directory; the router's own files are in `router/` below it.
    pub state_dir: PathBuf,
    /// Threads that serve requests.
    pub workers: usize,
    /// Addresses that every listener opens. A family that the machine lacks is left out.
    pub bind: Vec<IpAddr>,
    /// Client connections at once; more are answered 503. Lowered where the limit on open files demands it.
    pub max_connections: usize,
    /// How long a shutdown waits for requests in flight.
    pub grace: Duration,
}

impl ServeConfig {
    /// Loopback only, one worker per core up to four.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            state_dir: state_dir.into(),
            workers: cores.min(4),
            bind: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            max_connections: 16_384,
            grace: Duration::from_secs(30),
        }
    }
}

/// Serves until SIGTERM, SIGINT or `shutdown`, then finishes what is in flight. One router per state directory: a second
/// one is `Conflict`.
pub fn run_blocking(config: ServeConfig) -> RouterResult<()> {
    run(&config, true)
}

/// A router in a thread of this process, for tests and embedding: no signal handling.
#[derive(Debug)]
pub struct LocalRouter {
    client: RouterClient,
    thread: Option<std::thread::JoinHandle<RouterResult<()>>>,
}

impl LocalRouter {
    /// Returns when the control socket answers.
    pub async fn start(config: ServeConfig) -> RouterResult<Self> {
        let client = RouterClient::new(&config.state_dir);
        let run = move || run(&config, false);
        let thread = std::thread::Builder::new().name("router".to_owned()).spawn(run);
        let mut thread = Some(thread.map_err(|error| RouterError::Unavailable(error.to_string()))?);
        loop {
            if client.ping().await.is_ok() {
                return Ok(Self { client, thread });
            }
            if let Some(ended) = thread.take_if(|thread| thread.is_finished()) {
                let result = ended.join().unwrap_or_else(|_| Err(RouterError::Bug("the router panicked".to_owned())));
                return Err(result.err().unwrap_or_else(|| RouterError::Unavailable("the router ended".to_owned())));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn client(&self) -> &RouterClient {
        &self.client
    }

    /// Shuts down and waits for the end.
    pub async fn stop(mut self) -> RouterResult<()> {
        self.client.shutdown().await?;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(result)) => result,
            _ => Err(RouterError::Bug("the router panicked".to_owned())),
        }
    }
}

fn run(config: &ServeConfig, signals: bool) -> RouterResult<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .map_err(|error| RouterError::Unavailable(format!("cannot start a runtime: {error}")))?;
    runtime.block_on(serve(config, signals))
}

async fn serve(config: &ServeConfig, signals: bool) -> RouterResult<()> {
    let directory = config.state_dir.join("router");
    let at = |what: &str, error: std::io::Error| {
        RouterError::Unavailable(format!("{}: cannot {what}: {error}", directory.display()))
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(|error| at("create", error))?;
    let _lock = take_lock(&directory)?;
    let (store, saved) = Store::open(&directory).map_err(|error| at("read the saved routes", error))?;

    let shared = Arc::new(Shared::new(config.max_connections.min(descriptors() / 2)));
    let mut workers = Vec::new();
    let mut threads = Vec::new();
    for number in 0..config.workers.max(1) {
        let (handle, thread) = worker::start(number, shared.clone()).map_err(|error| at("start a worker", error))?;
        workers.push(handle);
        threads.push(thread);
    }
    let plane = Plane::new(store, shared, workers, config.bind.clone());
    plane.restore(saved);

    let socket = socket_path(&config.state_dir);
    // The lock is ours, so a socket that is there is a dead router's.
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).map_err(|error| at("open the control socket", error))?;
    let private = Permissions::from_mode(0o600);
    std::fs::set_permissions(&socket, private).map_err(|error| at("protect the control socket", error))?;
    let control = tokio::task::spawn_local(control::accept(plane.clone(), listener));
    tracing::info!(pid = std::process::id(), socket = %socket.display(), "router is up");

    let stopped = async {
        let mut retry = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = plane.stop.notified() => return,
                _ = retry.tick() => plane.retry_failed(),
            }
        }
    };
    if signals {
        let signal = |kind| signal(kind).map_err(|error| at("handle signals", error));
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // Caught and ignored: the terminal of whoever started the router may go.
        let _hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            () = stopped => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    } else {
        stopped.await;
    }
    tracing::info!("router is finishing what is in flight");
    // Clients get their answer to `shutdown` before the socket goes; new ones find nothing and may start another router,
    // which waits for the lock to be free.
    tokio::time::sleep(Duration::from_millis(20)).await;
    control.abort();
    plane.stop_workers(config.grace);
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok())).await;
    plane.compact();
    let _ = std::fs::remove_file(&socket);
    if !joined.unwrap_or(false) {
        return Err(RouterError::Bug("a worker panicked".to_owned()));
    }
    Ok(())
}

fn take_lock(directory: &std::path::Path) -> RouterResult<File> {
    let path = directory.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|error| RouterError::Unavailable(format!("{}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(RouterError::Conflict(format!("another router holds {}", path.display())))
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(RouterError::Unavailable(format!("{}: {error}", path.display())))
        }
    }
}

/// How many files this process may open, after asking for as many as it may have.
fn descriptors() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Refused: then it stays as it is.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(current).unwrap_or(usize::MAX).max(64)
}

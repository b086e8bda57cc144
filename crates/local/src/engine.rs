//! Which container engine, and keeping it there.
//!
//! In this order: what the caller names, `DOCKER_HOST`, a service of our own that was started before, the well-known sockets
//! of Docker and Podman, the system's before the user's; where none answers but `podman` is installed, a `podman system
//! service` of our own, detached, so that it outlives us as the containers do. Its socket is found again by the next process;
//! when it dies it is started again. Containers survive that: conmon holds them.
//!
//! Two processes may start it at once: a file lock lets the second one find the first one's socket.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use landfall_ports::{PortError, PortResult};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::docker::Docker;
use crate::known;
use crate::process;
use crate::state;

/// What to install where there is no engine.
pub const MISSING: &str = "LF-ENGINE-MISSING: no container engine was found: neither DOCKER_HOST nor a socket of Docker or \
                           Podman answers, and `podman` is not installed. On Debian or Ubuntu run `apt-get install podman \
                           runc`, or install Docker (https://docs.docker.com/engine/install/) and start it.";

/// Written for the service that we start. cgroupfs, a file for events and small limits work without systemd and without
/// CAP_SYS_RESOURCE. An exec's monitor lingers `exit_command_delay` seconds (default 300): with health checks every few
/// seconds that is hundreds of processes; 0 loses exit codes.
fn containers_conf(runc: bool) -> String {
    let runtime = if runc { "runtime = \"runc\"\n" } else { "" };
    format!(
        "# Written by Landfall for the engine service that it starts; changes are overwritten.\n\
         [containers]\n\
         default_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
         \n\
         [engine]\n\
         cgroup_manager = \"cgroupfs\"\n\
         events_logger = \"file\"\n\
         exit_command_delay = 5\n\
         {runtime}"
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    Docker,
    Podman,
}

/// How to find the engine.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Only this socket, instead of the search.
    pub socket: Option<PathBuf>,
    /// Where a service of our own keeps its socket, configuration and log; default `STATE/engine`. Several state
    /// directories may share one.
    pub directory: Option<PathBuf>,
}

/// The engine as found.
#[derive(Debug)]
pub struct Engine {
    pub docker: Docker,
    pub kind: EngineKind,
    pub version: String,
    /// Containers' addresses can be reached from the host: rootful on Linux. Elsewhere ports are published on 127.0.0.1.
    pub reachable: bool,
    /// The engine's processes are this machine's: their pids can be watched.
    pub sees_processes: bool,
    pub limits_memory: bool,
    pub limits_cpu: bool,
    pub rootless: bool,
    /// `v2 by systemd`; empty where the engine does not say.
    pub cgroup: String,
    /// Set when the service is ours.
    service: Option<PathBuf>,
    healing: Mutex<()>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ServiceRecord {
    pid: i32,
    /// Start time in clock ticks since boot, so that a reused pid is not taken for the service.
    start: u64,
}

/// A service that takes connections and does not answer is busy for so long. Ended in the middle of a removal it would leave
/// containers that are half there.
const SLOW: Duration = Duration::from_secs(30);

/// Of a service of our own, in its directory.
const OWN_SOCKET: &str = "engine.sock";

fn own_directory(state_dir: &Path, options: &EngineOptions) -> PathBuf {
    options.directory.clone().unwrap_or_else(|| state_dir.join("engine"))
}

impl Engine {
    /// Finds or starts an engine. `Invalid` with code LF-ENGINE-MISSING where there is none.
    pub async fn connect(state_dir: &Path, options: &EngineOptions) -> PortResult<Self> {
        if let Some(engine) = Self::look(state_dir, options).await? {
            return Ok(engine);
        }
        let directory = own_directory(state_dir, options);
        start_service(&directory).await?;
        Self::open(&directory.join(OWN_SOCKET), &directory, true).await
    }

    /// As `connect`, and nothing is started. `None`: none runs, and one can be started.
    pub async fn look(state_dir: &Path, options: &EngineOptions) -> PortResult<Option<Self>> {
        let directory = own_directory(state_dir, options);
        let own_socket = directory.join(OWN_SOCKET);
        if let Some(socket) = &options.socket {
            return Self::open(socket, &directory, *socket == own_socket).await.map(Some);
        }
        if let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
            let Some(path) = host.strip_prefix("unix://") else {
                return Err(PortError::Invalid(format!(
                    "DOCKER_HOST is {host}: Landfall needs an engine on this machine (unix://PATH), since it reaches the \
                     containers' addresses and logs"
                )));
            };
            return Self::open(Path::new(path), &directory, false).await.map(Some);
        }
        // One that is slow has our containers, and no other engine has.
        if wait_for(&directory, &own_socket).await? {
            return Self::open(&own_socket, &directory, true).await.map(Some);
        }
        let mut silent = Vec::new();
        for socket in well_known_sockets().into_iter().filter(|socket| socket.exists()) {
            match Docker::new(&socket).ping().await {
                Ok(()) => return Self::open(&socket, &directory, false).await.map(Some),
                Err(error) => silent.push(error.to_string()),
            }
        }
        if process::on_path("podman") { Ok(None) } else { Err(PortError::Invalid(missing(&silent))) }
    }

    async fn open(socket: &Path, directory: &Path, ours: bool) -> PortResult<Self> {
        let docker = Docker::new(socket);
        let version = docker.negotiate().await?;
        let info = known::info(&docker, &version, directory).await?;
        let rootless = info.rootless || info.security_options.iter().any(|option| option.contains("rootless"));
        let kind = if version.podman { EngineKind::Podman } else { EngineKind::Docker };
        if kind == EngineKind::Docker {
            docker.use_logins(crate::host::places());
        }
        let desktop = info.operating_system.contains("Docker Desktop") || !cfg!(target_os = "linux");
        Ok(Self {
            docker,
            kind,
            version: version.version,
            reachable: !rootless && !desktop,
            sees_processes: !desktop,
            limits_memory: info.memory_limit,
            limits_cpu: info.cpu_cfs_quota,
            rootless,
            cgroup: match info.cgroup_version.as_str() {
                "" => String::new(),
                version => format!("v{version} by {}", info.cgroup_driver),
            },
            service: ours.then(|| directory.to_owned()),
            healing: Mutex::new(()),
        })
    }

    /// Whether the engine's service was started by Landfall.
    pub fn is_ours(&self) -> bool {
        self.service.is_some()
    }

    /// After a call found nobody: starts our service again if that is what died. Many callers, one restart.
    pub async fn heal(&self) {
        let _one = self.healing.lock().await;
        if self.docker.ping().await.is_ok() {
            return;
        }
        let Some(directory) = &self.service else { return };
        match start_service(directory).await {
            Ok(()) => tracing::info!(socket = %self.docker.socket().display(), "engine service answers again"),
            Err(error) => tracing::warn!(%error, "engine service cannot be started"),
        }
    }
}

/// Ends the service that was started in this directory (`STATE/engine` unless shared). Containers keep running. Nothing
/// happens where there is none.
pub fn stop_service(directory: &Path) -> PortResult<()> {
    let path = directory.join("service.json");
    if let Some(record) = state::read_json::<ServiceRecord>(&path)?
        && process::start_time(record.pid) == Some(record.start)
    {
        process::kill(record.pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while process::start_time(record.pid) == Some(record.start) {
            if Instant::now() > deadline {
                process::kill(record.pid, rustix::process::Signal::KILL);
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    state::remove(&path)?;
    state::remove(&directory.join("engine.sock"))
}

/// With what the sockets said that are there, mostly that this user may not open them.
fn missing(silent: &[String]) -> String {
    if silent.is_empty() { MISSING.to_owned() } else { format!("{MISSING} Tried: {}.", silent.join("; ")) }
}

fn well_known_sockets() -> Vec<PathBuf> {
    let mut sockets = vec![PathBuf::from("/var/run/docker.sock"), PathBuf::from("/run/podman/podman.sock")];
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR") {
        let runtime = PathBuf::from(runtime);
        sockets.extend([runtime.join("docker.sock"), runtime.join("podman/podman.sock")]);
    }
    sockets
}

async fn start_service(directory: &Path) -> PortResult<()> {
    let owned = directory.to_owned();
    let lock = tokio::task::spawn_blocking(move || lock(&owned))
        .await
        .map_err(|e| PortError::Bug(format!("engine lock: {e}")))??;
    let socket = directory.join("engine.sock");
    let docker = Docker::new(&socket);
    if wait_for(directory, &socket).await? {
        return Ok(());
    }
    // A service that lost its socket would never be found again.
    stop_service(directory)?;
    spawn_service(directory, &socket)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut pause = Duration::from_millis(5);
    while let Err(error) = docker.ping().await {
        if Instant::now() > deadline {
            let log = directory.join("service.log");
            return Err(PortError::Unavailable(format!(
                "`podman system service` does not answer at {} ({error}); see {}",
                socket.display(),
                log.display()
            )));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    drop(lock);
    Ok(())
}

/// Whether our own service answers, for as long as it runs and takes connections.
async fn wait_for(directory: &Path, socket: &Path) -> PortResult<bool> {
    let docker = Docker::new(socket);
    let deadline = Instant::now() + SLOW;
    loop {
        if docker.ping().await.is_ok() {
            return Ok(true);
        }
        let record = state::read_json::<ServiceRecord>(&directory.join("service.json"))?;
        let runs = record.is_some_and(|record| process::start_time(record.pid) == Some(record.start));
        let listens = async || match tokio::time::timeout(Duration::from_secs(3), UnixStream::connect(socket)).await {
            Ok(connected) => connected.is_ok(),
            Err(_) => true,
        };
        if !runs || Instant::now() > deadline || !listens().await {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn lock(directory: &Path) -> PortResult<File> {
    state::create_private_dir(directory)?;
    let path = directory.join("lock");
    let fail = |e| PortError::Unavailable(format!("{}: {e}", path.display()));
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
    file.lock().map_err(fail)?;
    Ok(file)
}

fn spawn_service(directory: &Path, socket: &Path) -> PortResult<()> {
    let fail = |what: &str, e: std::io::Error| PortError::Unavailable(format!("engine service: {what}: {e}"));
    let conf = directory.join("containers.conf");
    std::fs::write(&conf, containers_conf(process::on_path("runc"))).map_err(|e| fail("containers.conf", e))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("service.log"))
        .map_err(|e| fail("service.log", e))?;
    let errors = log.try_clone().map_err(|e| fail("service.log", e))?;
    // Its own process group: Ctrl-C in our terminal is not for it. Nor is our directory: it outlives us, and in one that was
    // removed no container can be started.
    let mut child = Command::new("podman")
        .args(["system", "service", "--time=0"])
        .arg(format!("unix://{}", socket.display()))
        .env("CONTAINERS_CONF", &conf)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|e| fail("cannot start podman", e))?;
    let pid = i32::try_from(child.id()).unwrap_or_default();
    let record = ServiceRecord { pid, start: process::start_time(pid).unwrap_or_default() };
    state::write_json(&directory.join("service.json"), &record)?;
    // Reaped by a thread of its own, so that it leaves no zombie when it ends before us.
    std::thread::spawn(move || child.wait());
    Ok(())
}

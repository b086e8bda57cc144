//! The other end of the control socket: one method per operation, and starting the router where none runs.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use landfall_model::step::RouteTarget;
use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::api::{
    Activity, HealthReport, Hold, Info, Metrics, Op, Put, Reply, Request, Response, RouteSpec, TargetGroupDescription,
    TargetGroupSpec, WaitUntil,
};
use crate::error::{RouterError, RouterResult};
use crate::frame;

/// A call that takes longer is broken off; long polls get their own time on top.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle control connections kept for the next call.
const MAX_IDLE: usize = 8;

/// Where the router of a state directory listens.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("router").join("control.sock")
}

/// Cheap to clone; clones share their connections. Calls may run at the same time.
#[derive(Debug, Clone)]
pub struct RouterClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: PathBuf,
    idle: Mutex<Vec<BufReader<UnixStream>>>,
}

impl RouterClient {
    /// A client of the router of this state directory; connects with the first call.
    pub fn new(state_dir: &Path) -> Self {
        Self { inner: Arc::new(Inner { socket: socket_path(state_dir), idle: Mutex::new(Vec::new()) }) }
    }

    /// The running router of this state directory, or a new one: `spawn` gives the command (`landfall router --state DIR`),
    /// which is detached from this process's group and terminal and logs to `STATE/router/router.log`.
    ///
    /// Two callers at once are fine: the second router finds the lock taken and exits, and both get the first.
    pub async fn ensure_running(state_dir: &Path, spawn: impl Fn() -> Command) -> RouterResult<Self> {
        let client = Self::new(state_dir);
        if client.ping().await.is_ok() {
            return Ok(client);
        }
        let directory = state_dir.join("router");
        let mut child = Some(start(&directory, spawn()).map_err(|error| {
            RouterError::Unavailable(format!("cannot start the router in {}: {error}", directory.display()))
        })?);
        let deadline = Instant::now() + START_TIMEOUT;
        let mut pause = Duration::from_millis(2);
        let mut exited = None;
        loop {
            if client.ping().await.is_ok() {
                if let Some(child) = child {
                    reap(child);
                }
                return Ok(client);
            }
            if let Some(running) = child.as_mut()
                && let Ok(Some(status)) = running.try_wait()
            {
                // Perhaps it lost the lock to another one that is still starting: a little patience.
                exited = Some((status, Instant::now() + Duration::from_secs(2)));
                child = None;
            }
            let over = exited.is_some_and(|(_, patience)| Instant::now() > patience);
            if over || Instant::now() > deadline {
                if let Some(child) = child {
                    reap(child);
                }
                let what = exited.map_or("does not answer".to_owned(), |(status, _)| format!("ended with {status}"));
                let log = directory.join("router.log");
                return Err(RouterError::Unavailable(format!(
                    "the router {what}; the end of {}:\n{}",
                    log.display(),
                    tail(&log)
                )));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    pub async fn ping(&self) -> RouterResult<Info> {
        match self.call(Op::Ping).await? {
            Reply::Info(info) => Ok(info),
            other => Err(unexpected(&other)),
        }
    }

    /// Creates or changes; a target group of that name with another owner is `Conflict`.
    pub async fn put_target_group(&self, spec: &TargetGroupSpec) -> RouterResult<Put> {
        put(self.call(Op::PutTargetGroup(spec.clone())).await?)
    }

    /// Gone is fine; another environment's is left alone; one that a route still uses is `Conflict`.
    pub async fn delete_target_group(&self, name: &str, environment: &str) -> RouterResult<()> {
        done(self.call(Op::DeleteTargetGroup { name: name.to_owned(), environment: environment.to_owned() }).await?)
    }

    /// Registers targets; they take requests once their first health check passed.
    pub async fn register_targets(&self, target_group: &str, targets: &[SocketAddr]) -> RouterResult<()> {
        let op = Op::RegisterTargets { target_group: target_group.to_owned(), targets: targets.to_vec() };
        done(self.call(op).await?)
    }

    /// Starts draining. Returns at once; `wait_health(…, WaitUntil::Drained, …)` tells when they are gone. No request that
    /// arrives after this returned reaches them.
    pub async fn deregister_targets(&self, target_group: &str, targets: &[SocketAddr]) -> RouterResult<()> {
        let op = Op::DeregisterTargets { target_group: target_group.to_owned(), targets: targets.to_vec() };
        done(self.call(op).await?)
    }

    pub async fn target_health(&self, target_group: &str) -> RouterResult<HealthReport> {
        health(self.call(Op::TargetHealth { target_group: target_group.to_owned() }).await?)
    }

    /// Long poll: the report as soon as `until` holds, or as it is when `timeout` (at most 60 s) has passed.
    pub async fn wait_health(
        &self,
        target_group: &str,
        until: WaitUntil,
        timeout: Duration,
    ) -> RouterResult<HealthReport> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).min(60_000);
        health(self.call(Op::WaitHealth { target_group: target_group.to_owned(), until, timeout_ms }).await?)
    }

    /// Creates or changes; a host or port of another owner, or a port of another process, is `Conflict`.
    pub async fn put_route(&self, route: &RouteSpec) -> RouterResult<Put> {
        put(self.call(Op::PutRoute(route.clone())).await?)
    }

    /// Gone is fine; a route of another environment is left alone.
    pub async fn delete_route(&self, route: &RouteTarget, environment: &str) -> RouterResult<()> {
        done(self.call(Op::DeleteRoute { route: route.clone(), environment: environment.to_owned() }).await?)
    }

    pub async fn routes(&self) -> RouterResult<Vec<RouteSpec>> {
        match self.call(Op::Routes).await? {
            Reply::Routes(routes) => Ok(routes),
            other => Err(unexpected(&other)),
        }
    }

    pub async fn target_groups(&self) -> RouterResult<Vec<TargetGroupDescription>> {
        match self.call(Op::TargetGroups).await? {
            Reply::TargetGroups(groups) => Ok(groups),
            other => Err(unexpected(&other)),
        }
    }

    /// `None`: there is no such group.
    pub async fn target_group(&self, name: &str) -> RouterResult<Option<TargetGroupDescription>> {
        match self.call(Op::TargetGroup { name: name.to_owned() }).await {
            Ok(Reply::TargetGroups(groups)) => Ok(groups.into_iter().next()),
            Ok(other) => Err(unexpected(&other)),
            // A router that is older than the operation hangs up on it: look through all.
            Err(RouterError::Unavailable(_)) => {
                Ok(self.target_groups().await?.into_iter().find(|group| group.spec.name == name))
            }
            Err(error) => Err(error),
        }
    }

    /// Ports of `first..=last` that a new listener cannot take: ours and other processes'.
    pub async fn busy_ports(&self, first: u16, last: u16) -> RouterResult<Vec<u16>> {
        match self.call(Op::BusyPorts { first, last }).await? {
            Reply::Ports(ports) => Ok(ports),
            other => Err(unexpected(&other)),
        }
    }

    pub async fn metrics(&self) -> RouterResult<Metrics> {
        match self.call(Op::Metrics).await? {
            Reply::Metrics(metrics) => Ok(metrics),
            other => Err(unexpected(&other)),
        }
    }

    /// Use by environment.
    /// Says what sleeps (the whole set), and waits for the first request for any of it, at most `timeout` (at most 60 s).
    pub async fn hold(&self, asleep: &BTreeMap<String, Hold>, timeout: Duration) -> RouterResult<Vec<String>> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).min(60_000);
        match self.call(Op::Hold { asleep: asleep.clone(), timeout_ms }).await? {
            Reply::Wanted(wanted) => Ok(wanted),
            other => Err(unexpected(&other)),
        }
    }

    /// By environment.
    pub async fn activity(&self) -> RouterResult<BTreeMap<String, Activity>> {
        match self.call(Op::Activity).await? {
            Reply::Activity(activity) => Ok(activity),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the router to finish what is in flight and end. Returns when it has said yes.
    pub async fn shutdown(&self) -> RouterResult<()> {
        done(self.call(Op::Shutdown).await?)
    }

    /// Runs the operations in order, in one message; a failing one does not stop those after it.
    pub async fn batch(&self, ops: Vec<Op>) -> RouterResult<Vec<RouterResult<Reply>>> {
        let expected = ops.len();
        let longest = ops.iter().map(|op| match op {
            Op::WaitHealth { timeout_ms, .. } | Op::Hold { timeout_ms, .. } => *timeout_ms,
            _ => 0,
        });
        let timeout = CALL_TIMEOUT + Duration::from_millis(longest.sum());
        let answer = tokio::time::timeout(timeout, self.exchange(&Request { ops }))
            .await
            .map_err(|_| RouterError::Unavailable(format!("the router did not answer within {timeout:?}")))?;
        match answer {
            Ok(response) if response.results.len() == expected => Ok(response.results),
            Ok(_) => Err(RouterError::Bug("the router answered another number of operations".to_owned())),
            Err(error) => Err(RouterError::Unavailable(format!(
                "the router does not answer at {}: {error}",
                self.inner.socket.display()
            ))),
        }
    }

    async fn call(&self, op: Op) -> RouterResult<Reply> {
        let mut results = self.batch(vec![op]).await?;
        results.pop().unwrap_or_else(|| Err(RouterError::Bug("no result".to_owned())))
    }

    /// An idle connection may be one of a router that has since been restarted: then once more on a new one, which
    /// every operation allows.
    async fn exchange(&self, request: &Request) -> std::io::Result<Response> {
        let idle = self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(stream) = idle
            && let Ok(response) = self.exchange_on(stream, request).await
        {
            return Ok(response);
        }
        let stream = UnixStream::connect(&self.inner.socket).await?;
        self.exchange_on(BufReader::new(stream), request).await
    }

    async fn exchange_on(&self, mut stream: BufReader<UnixStream>, request: &Request) -> std::io::Result<Response> {
        frame::write(&mut stream, request).await?;
        let response = frame::read(&mut stream).await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let mut idle = self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(stream);
        }
        Ok(response)
    }
}

/// Its own process group, so that Ctrl-C in the terminal of whoever started it does not end it; it ignores hang-ups.
fn start(directory: &Path, mut command: Command) -> std::io::Result<Child> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let log = open_log(&directory.join("router.log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).spawn()
}

fn open_log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Waits in a thread of its own, so that a router that ends before its parent leaves no zombie.
fn reap(mut child: Child) {
    // Without the thread nothing but a zombie entry is at stake.
    let _ = std::thread::Builder::new().name("router-reaper".to_owned()).spawn(move || child.wait());
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

fn put(reply: Reply) -> RouterResult<Put> {
    if let Reply::Put(put) = reply { Ok(put) } else { Err(unexpected(&reply)) }
}

fn done(reply: Reply) -> RouterResult<()> {
    if let Reply::Done = reply { Ok(()) } else { Err(unexpected(&reply)) }
}

fn health(reply: Reply) -> RouterResult<HealthReport> {
    if let Reply::Health(report) = reply { Ok(report) } else { Err(unexpected(&reply)) }
}

fn unexpected(reply: &Reply) -> RouterError {
    RouterError::Bug(format!("the router answered something else: {reply:?}"))
}

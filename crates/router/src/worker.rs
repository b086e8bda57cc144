//! A worker: one thread, one single-threaded runtime, its own connections and pools. Workers share the listening sockets.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::proxy::{Client, Tunnel, handle};
use crate::socket::Watched;
use crate::table::{Listener, Shared};
use crate::upstream::Pools;
use crate::watch::{Phase, TICK, Watch};

/// Longest head of a request.
const MAX_HEAD: usize = 64 << 10;

enum Command {
    Listen(Arc<Listener>, Vec<TcpListener>),
    /// Answers when the sockets are closed.
    Unlisten(u16, std::sync::mpsc::SyncSender<()>),
    /// Finish what is in flight, at most for this long, and end.
    Stop(Duration),
}

/// The control thread's end.
pub(crate) struct WorkerHandle {
    commands: mpsc::UnboundedSender<Command>,
}

impl WorkerHandle {
    pub(crate) fn listen(&self, listener: Arc<Listener>, sockets: Vec<TcpListener>) {
        // A worker that is gone has ended the process, or is about to.
        let _ = self.commands.send(Command::Listen(listener, sockets));
    }

    /// Returns when the port is free again.
    pub(crate) fn unlisten(&self, port: u16) {
        let (closed, wait) = std::sync::mpsc::sync_channel(1);
        if self.commands.send(Command::Unlisten(port, closed)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(2));
        }
    }

    pub(crate) fn stop(&self, grace: Duration) {
        let _ = self.commands.send(Command::Stop(grace));
    }
}

pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pools: RefCell<Pools>,
    /// Wall clock in milliseconds, as of the last tick.
    pub(crate) unix_ms: Cell<u64>,
    /// Milliseconds since the worker started, as of the last tick.
    now: Rc<Cell<u64>>,
    watches: RefCell<HashMap<u64, Rc<Watch>>>,
    next: Cell<u64>,
    stopping: Cell<bool>,
}

/// Starts a worker in a thread of its own.
pub(crate) fn start(
    number: usize,
    shared: Arc<Shared>,
) -> std::io::Result<(WorkerHandle, std::thread::JoinHandle<()>)> {
    let (commands, receiver) = mpsc::unbounded_channel();
    let runtime = move || tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let thread = std::thread::Builder::new().name(format!("router-{number}")).spawn(move || match runtime() {
        Ok(runtime) => runtime.block_on(run(shared, receiver)),
        Err(error) => tracing::error!(%error, "a worker cannot start"),
    })?;
    Ok((WorkerHandle { commands }, thread))
}

async fn run(shared: Arc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let worker = Rc::new(Worker {
        shared,
        pools: RefCell::default(),
        unix_ms: Cell::new(unix_ms()),
        now: Rc::default(),
        watches: RefCell::default(),
        next: Cell::new(0),
        stopping: Cell::new(false),
    });
    tokio::task::spawn_local(tick(worker.clone()));
    let mut accepting: HashMap<u16, Vec<JoinHandle<()>>> = HashMap::new();
    let grace = loop {
        match commands.recv().await {
            Some(Command::Listen(listener, sockets)) => {
                let port = listener.port;
                let spawn = |socket| tokio::task::spawn_local(accept(worker.clone(), listener.clone(), socket));
                accepting.entry(port).or_default().extend(sockets.into_iter().map(spawn));
            }
            Some(Command::Unlisten(port, closed)) => {
                close(accepting.remove(&port).unwrap_or_default()).await;
                let _ = closed.send(());
            }
            Some(Command::Stop(grace)) => break grace,
            None => break Duration::ZERO,
        }
    };
    for (_, tasks) in accepting {
        close(tasks).await;
    }
    worker.stopping.set(true);
    worker.wake_all();
    let deadline = Instant::now() + grace;
    while !worker.watches.borrow().is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn close(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.abort();
        // Cancelled, as asked.
        let _ = task.await;
    }
}

impl Worker {
    fn wake_all(&self) {
        for watch in self.watches.borrow().values() {
            watch.wake();
        }
    }
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Clock, timeouts, idle connections.
async fn tick(worker: Rc<Worker>) {
    let started = Instant::now();
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut cuts = 0;
    loop {
        interval.tick().await;
        worker.unix_ms.set(unix_ms());
        worker.now.set(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        for watch in worker.watches.borrow().values() {
            watch.tick();
        }
        let seen = worker.shared.cuts.load(Ordering::Acquire);
        if seen != cuts {
            cuts = seen;
            worker.wake_all();
        }
        worker.pools.borrow_mut().sweep();
    }
}

async fn accept(worker: Rc<Worker>, listener: Arc<Listener>, socket: TcpListener) {
    let port = listener.port;
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(port, %error, "cannot accept connections"),
    };
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => admit(&worker, &listener, stream, peer),
            Err(error) => {
                // Out of descriptors, mostly: let some requests end. A connection that died in the queue costs little.
                tracing::warn!(port, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

fn admit(worker: &Rc<Worker>, listener: &Arc<Listener>, stream: TcpStream, peer: SocketAddr) {
    let shared = &worker.shared;
    if shared.connections.fetch_add(1, Ordering::AcqRel) >= shared.max_connections {
        shared.connections.fetch_sub(1, Ordering::AcqRel);
        shared.refused.fetch_add(1, Ordering::Relaxed);
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nX-Landfall-Error: too_many_connections\r\n\
                       Content-Length: 0\r\nConnection: close\r\n\r\n";
        if let Ok(mut stream) = stream.into_std() {
            // Best effort: the socket's buffer is empty, so it fits.
            let _ = stream.write_all(answer);
        }
        return;
    }
    tokio::task::spawn_local(serve(worker.clone(), listener.clone(), stream, peer));
}

/// Takes the connection out of the books however its task ends.
struct Admitted {
    worker: Rc<Worker>,
    key: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.worker.watches.borrow_mut().remove(&self.key);
        self.worker.shared.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn serve(worker: Rc<Worker>, listener: Arc<Listener>, stream: TcpStream, peer: SocketAddr) {
    let watch = Rc::new(Watch::new(worker.now.clone()));
    let key = worker.next.replace(worker.next.get() + 1);
    worker.watches.borrow_mut().insert(key, watch.clone());
    let _admitted = Admitted { worker: worker.clone(), key };
    let peer = HeaderValue::from_str(&peer.ip().to_string()).unwrap_or(HeaderValue::from_static("unknown"));
    let client =
        Rc::new(Client { worker: worker.clone(), listener, peer, watch: watch.clone(), tunnel: RefCell::default() });
    let service = service_fn({
        let client = client.clone();
        move |request| handle(client.clone(), request)
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    // No pipeline_flush: hyper then stops bounding what it buffers for a slow reader.
    builder.auto_date_header(false).max_header_size(MAX_HEAD).max_buf_size(MAX_HEAD * 4);
    let io = TokioIo::new(Watched { stream, watch: watch.clone() });
    let mut connection = builder.serve_connection(io, service);
    let mut told = false;
    let ended = poll_fn(|cx| {
        watch.register(cx.waker());
        if watch.phase() != Phase::Waiting && (watch.expired() || watch.is_cut()) {
            return Poll::Ready(false);
        }
        if worker.stopping.get() && !told {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(cx).map(|result| result.is_ok())
    })
    .await;
    if !ended {
        return;
    }
    // hyper has shut the socket down, unless the last answer was a 101: then it left everything as it was.
    let tunnel = client.tunnel.borrow_mut().take();
    if let Some(tunnel) = tunnel {
        let parts = connection.into_parts();
        run_tunnel(parts.io.into_inner(), parts.read_buf, tunnel).await;
    }
}

/// Copies both ways until both sides have ended, nothing moved for the idle timeout, or the target was cut.
async fn run_tunnel(mut client: Watched, early: bytes::Bytes, mut tunnel: Tunnel) {
    let watch = client.watch.clone();
    watch.waiting(tunnel.flight.group.idle_timeout_ms());
    watch.at_target(Some(tunnel.flight.target.clone()));
    watch.answering();
    let copy = async {
        tunnel.stream.write_all(&early).await?;
        client.write_all(&tunnel.early).await?;
        tokio::io::copy_bidirectional(&mut client, &mut tunnel.stream).await
    };
    let mut copy = pin!(copy);
    let _ = poll_fn(|cx| {
        watch.register(cx.waker());
        if watch.expired() || watch.is_cut() {
            return Poll::Ready(Ok((0, 0)));
        }
        copy.as_mut().poll(cx)
    })
    .await;
}

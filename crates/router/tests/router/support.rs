//! Backends with behaviour, a router in this process or in one of its own, and a client that shows raw answers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use landfall_model::app::{BalancingAlgorithm, TargetHealthCheck};
use landfall_model::step::RouteTarget;
use landfall_router::api::{RouteSpec, TargetGroupSpec, WaitUntil};
use landfall_router::client::RouterClient;
use landfall_router::{LocalRouter, RouterError, ServeConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn tags(environment: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("landfall".to_owned(), environment.to_owned()),
        ("landfall.instance".to_owned(), "i-test".to_owned()),
    ])
}

pub fn group(name: &str, environment: &str) -> TargetGroupSpec {
    TargetGroupSpec {
        name: name.to_owned(),
        tags: tags(environment),
        health_check: TargetHealthCheck {
            protocol: Default::default(),
            path: "/health".into(),
            port: None,
            interval_ms: 50,
            timeout_ms: 1000,
            healthy_threshold: 2,
            unhealthy_threshold: 2,
            matcher: "200".into(),
        },
        deregistration_delay: 10,
        algorithm: BalancingAlgorithm::RoundRobin,
        idle_timeout: 10,
    }
}

pub fn host_route(host: &str, port: u16, target_group: &str, environment: &str) -> RouteSpec {
    let route = RouteTarget::Host { host: host.to_owned(), port };
    RouteSpec { route, target_group: target_group.to_owned(), tags: tags(environment) }
}

pub fn port_route(port: u16, target_group: &str, environment: &str) -> RouteSpec {
    let route = RouteTarget::Port { port };
    RouteSpec { route, target_group: target_group.to_owned(), tags: tags(environment) }
}

pub fn config(state: &Path) -> ServeConfig {
    let mut config = ServeConfig::new(state);
    config.workers = 2;
    config.bind = vec![Ipv4Addr::LOCALHOST.into()];
    config.grace = Duration::from_secs(5);
    config
}

/// A router in this process with its state directory.
pub struct Fixture {
    pub router: LocalRouter,
    pub state: tempfile::TempDir,
}

impl Fixture {
    pub async fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let router = LocalRouter::start(config(state.path())).await.unwrap();
        Self { router, state }
    }

    pub fn client(&self) -> &RouterClient {
        self.router.client()
    }
}

/// Puts a group with these healthy targets behind a port of its own; returns the port.
pub async fn serve_on_port(client: &RouterClient, spec: &TargetGroupSpec, targets: &[SocketAddr]) -> u16 {
    client.put_target_group(spec).await.unwrap();
    client.register_targets(&spec.name, targets).await.unwrap();
    healthy(client, &spec.name, targets.len()).await;
    put_on_free_port(client, |port| port_route(port, &spec.name, &spec.tags["landfall"])).await
}

pub async fn healthy(client: &RouterClient, group: &str, count: usize) {
    let report = client.wait_health(group, WaitUntil::Healthy(count as u32), PATIENCE).await.unwrap();
    assert_eq!(report.healthy(), count, "{report:?}");
}

/// Another process may take a port between the look and the put: then the next one.
pub async fn put_on_free_port(client: &RouterClient, route: impl Fn(u16) -> RouteSpec) -> u16 {
    for _ in 0..50 {
        let port = free_port().await;
        match client.put_route(&route(port)).await {
            Ok(_) => return port,
            Err(RouterError::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no free port");
}

pub async fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
}

/// A target. Paths: `/health` 200 or `status`; `/echo` gives the request back; `/slow` answers when `release` is
/// notified; `/hang` never; `/die` closes; `/stream` sends a chunk per permit; everything else gives its name.
pub struct Backend {
    pub addr: SocketAddr,
    pub requests: Arc<AtomicUsize>,
    pub health: Arc<AtomicUsize>,
    pub release: Arc<tokio::sync::Semaphore>,
    /// Requests that `/slow`, `/stream` and `/hang` hold.
    pub holding: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    pub async fn start(name: &str) -> Self {
        Self::on(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    pub async fn on(name: &str, addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let context = Context {
            name: name.to_owned(),
            requests: Arc::default(),
            health: Arc::new(AtomicUsize::new(200)),
            release: Arc::new(tokio::sync::Semaphore::new(0)),
            holding: Arc::default(),
        };
        let own = context.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(converse(own.clone(), stream));
            }
        });
        let Context { requests, health, release, holding, .. } = context;
        Self { addr, requests, health, release, holding, task }
    }

    pub async fn held(&self, count: usize) {
        until("requests are held", || self.holding.load(Ordering::SeqCst) >= count).await;
    }
}

#[derive(Clone)]
struct Context {
    name: String,
    requests: Arc<AtomicUsize>,
    health: Arc<AtomicUsize>,
    release: Arc<tokio::sync::Semaphore>,
    holding: Arc<AtomicUsize>,
}

async fn converse(context: Context, mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    for number in 0.. {
        let Some(head) = read_head(&mut stream, &mut buffer).await? else { return Ok(()) };
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        if path == "/health" {
            let status = context.health.load(Ordering::SeqCst);
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return stream.write_all(answer.as_bytes()).await;
        }
        context.requests.fetch_add(1, Ordering::SeqCst);
        if header(&head, "upgrade").is_some() && path == "/ws" {
            let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello";
            stream.write_all(answer.as_bytes()).await?;
            stream.write_all(&buffer).await?;
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await?;
            return Ok(());
        }
        let body = read_body(&mut stream, &mut buffer, &head).await?;
        match path.as_str() {
            "/echo" => reply(&mut stream, format!("{head}{}", String::from_utf8_lossy(&body)).as_bytes()).await?,
            "/count" => reply(&mut stream, body.len().to_string().as_bytes()).await?,
            "/hang" => {
                context.holding.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            "/die" => return Ok(()),
            "/first?a=b" if number > 0 => return Ok(()),
            "/first?a=b" => reply(&mut stream, head.as_bytes()).await?,
            "/once" => {
                reply(&mut stream, context.name.as_bytes()).await?;
                return Ok(());
            }
            "/garbage" => return stream.write_all(b"this is not http\r\n\r\n").await,
            "/slow" => {
                context.holding.fetch_add(1, Ordering::SeqCst);
                context.release.acquire().await.unwrap().forget();
                reply(&mut stream, context.name.as_bytes()).await?;
            }
            "/stream" => {
                context.holding.fetch_add(1, Ordering::SeqCst);
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                for _ in 0..3 {
                    context.release.acquire().await.unwrap().forget();
                    stream.write_all(b"5\r\nchunk\r\n").await?;
                }
                stream.write_all(b"0\r\n\r\n").await?;
            }
            "/big" => {
                let size = 4 << 20;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&vec![b'x'; size]).await?;
            }
            _ if head.starts_with("HEAD") => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").await?;
            }
            _ => reply(&mut stream, context.name.as_bytes()).await?,
        }
    }
    Ok(())
}

async fn reply(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nKeep-Alive: x\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    stream.write_all(&answer).await
}

/// A head with its empty line, as text; what follows stays in `buffer`. `None`: closed before one began.
pub async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..at + 4).collect();
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

pub fn header(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

pub async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> std::io::Result<Vec<u8>> {
    if header(head, "transfer-encoding").is_some() {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = buffer.windows(2).position(|window| window == b"\r\n") {
                    let line: Vec<u8> = buffer.drain(..at + 2).collect();
                    break String::from_utf8_lossy(&line).trim().to_owned();
                }
                more(stream, buffer).await?;
            };
            let size = usize::from_str_radix(&line, 16).unwrap();
            while buffer.len() < size + 2 {
                more(stream, buffer).await?;
            }
            body.extend(buffer.drain(..size + 2).take(size));
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    Ok(buffer.drain(..length).collect())
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// A client connection that speaks raw HTTP.
pub struct Client {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }
}

impl Client {
    pub async fn connect(port: u16) -> Self {
        Self { stream: TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, raw: &str) {
        self.stream.write_all(raw.as_bytes()).await.unwrap();
    }

    pub async fn head(&mut self) -> String {
        let head = tokio::time::timeout(PATIENCE, read_head(&mut self.stream, &mut self.buffer)).await;
        head.expect("an answer in time").expect("an answer").expect("an answer before the connection closed")
    }

    pub async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let body = tokio::time::timeout(PATIENCE, read_body(&mut self.stream, &mut self.buffer, &head)).await;
        let body = String::from_utf8_lossy(&body.unwrap().unwrap()).into_owned();
        Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body }
    }

    pub async fn get(&mut self, host: &str, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        self.answer().await
    }

    /// Whether the router closes the connection; bytes before that are ignored.
    pub async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.is_ok()
    }
}

pub async fn get(port: u16, host: &str, path: &str) -> Answer {
    Client::connect(port).await.get(host, path).await
}

pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const STATE: &str = "ROUTER_TEST_STATE";

/// The command that runs a router process: this test binary, told to run `router_process` only.
pub fn router_command(state: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "router_process", "--ignored", "--nocapture"]).env(STATE, state);
    command
}

/// The body of `router_process`.
pub fn run_router_process() {
    let state = std::env::var_os(STATE).expect("only other tests run this one, with a state directory");
    if let Err(error) = landfall_router::run_blocking(config(Path::new(&state))) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

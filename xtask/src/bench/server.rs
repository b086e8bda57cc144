//! A real `landfall serve` for benchmarks: its own state directory, a free port, killed and removed at the end.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::http::Connection;

pub(crate) const SECRET: &str = "benchmark-secret";

pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) state: PathBuf,
    pub(crate) binary: PathBuf,
}

/// What people get, built once.
pub(crate) fn release_binary() -> Result<PathBuf> {
    crate::dist::released()
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent")?;
    Ok(std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from))
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Server {
    /// `state` is an empty directory of the caller's; it gets `landfall.yml` and `state/`.
    pub(crate) fn start(binary: &Path, directory: &Path, manifest: &str) -> Result<Self> {
        let config = directory.join("landfall.yml");
        std::fs::write(&config, manifest)?;
        let state = directory.join("state");
        let address = format!("127.0.0.1:{}", free_port()?);
        let log = std::fs::File::create(directory.join("serve.log"))?;
        let child = Command::new(binary)
            .args(["serve", "--listen", &address, "--config"])
            .arg(&config)
            .arg("--state")
            .arg(&state)
            .env("LANDFALL_WEBHOOK_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let mut server = Self { child, address, state, binary: binary.to_owned() };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(mut connection) = Connection::tcp(&server.address)
                && connection.get(&server.address.clone(), "/healthz").is_ok_and(|r| r.status == 200)
            {
                return Ok(server);
            }
            if server.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("landfall serve did not come up: {}", std::fs::read_to_string(directory.join("serve.log"))?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Server {
    /// Waits until every delivery is decided.
    pub(crate) fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut connection = Connection::tcp(&self.address)?;
        loop {
            let metrics = connection.get(&self.address, "/metrics")?;
            let text = String::from_utf8_lossy(&metrics.body).into_owned();
            let depth = text.lines().find_map(|line| line.strip_prefix("landfall_inbox_depth ")).map(str::to_owned);
            match depth.as_deref().map(str::trim) {
                Some("0") => return Ok(()),
                None => bail!("no landfall_inbox_depth in the metrics:\n{text}"),
                Some(depth) if Instant::now() > deadline => bail!("still {depth} deliveries undecided after a minute"),
                Some(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn sign(body: &[u8]) -> String {
    // A key of any length is valid for HMAC.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()) else { return String::new() };
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// The head of a signed delivery, to send with `body`.
pub(crate) fn delivery_head(host: &str, event: &str, id: &str, signature: &str) -> String {
    format!(
        "POST /webhooks/github HTTP/1.1\r\nHost: {host}\r\nUser-Agent: GitHub-Hookshot/bench\r\nContent-Type: application/json\r\n\
         X-GitHub-Event: {event}\r\nX-GitHub-Delivery: {id}\r\nX-Hub-Signature-256: {signature}"
    )
}

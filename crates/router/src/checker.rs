//! Health checks: one small task per target that connects, asks, reads the status line and sleeps.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_model::app::TargetHealthCheck;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::TargetState;
use crate::health::matches;
use crate::plane::Plane;
use crate::table::{Group, Target, lock};

/// Runs until the target drains.
pub(crate) async fn check_target(plane: Rc<Plane>, group: Arc<Group>, target: Arc<Target>) {
    let started = Instant::now();
    // After a restart thousands begin at once; their places in the interval are spread by number.
    if target.state() != TargetState::Initial {
        tokio::time::sleep(Duration::from_millis(target.uid % 97)).await;
    }
    while target.state() != TargetState::Draining {
        let check = group.spec().health_check.clone();
        let outcome = Box::pin(probe(target.addr, &check)).await;
        let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (changed, state, delay) = {
            let mut health = lock(&target.health);
            let changed = health.observe(&check, now, outcome);
            (changed, health.state, health.next_delay(&check))
        };
        if changed {
            plane.target_changed(&group, &target, state);
        }
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
}

/// One check: `Err` says why in Elastic Load Balancing's words where it has some.
async fn probe(addr: std::net::SocketAddr, check: &TargetHealthCheck) -> Result<(), String> {
    let mut addr = addr;
    addr.set_port(check.port.unwrap_or(addr.port()));
    match tokio::time::timeout(Duration::from_millis(u64::from(check.timeout_ms)), status(addr, &check.path)).await {
        Err(_) => Err("Request timed out".to_owned()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Err("Connection refused".to_owned()),
        Ok(Err(error)) => Err(format!("Health check failed: {error}")),
        Ok(Ok(status)) if matches(&check.matcher, status) => Ok(()),
        Ok(Ok(status)) => Err(format!("Health checks failed with these codes: [{status}]")),
    }
}

/// The status of a GET. Only the first line of the answer is read.
async fn status(addr: std::net::SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: ELB-HealthChecker/2.0\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0u8; 64];
    let mut filled = 0;
    // "HTTP/1.1 200"
    while filled < 12 {
        let count = stream.read(head.get_mut(filled..).unwrap_or_default()).await?;
        if count == 0 {
            return Err(std::io::Error::other("the target closed the connection without an answer"));
        }
        filled += count;
    }
    let line = std::str::from_utf8(head.get(..12).unwrap_or_default()).unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    status.ok_or_else(|| std::io::Error::other("the answer is not HTTP/1"))
}

//! The control socket.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};

use crate::api::{HealthReport, Hold, Op, Reply, Request, Response, TargetState, WaitUntil};
use crate::error::RouterResult;
use crate::frame;
use crate::plane::Plane;

/// Longest long poll.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Accepts until the task is dropped.
pub(crate) async fn accept(plane: Rc<Plane>, socket: UnixListener) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(serve(plane.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a control connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn serve(plane: Rc<Plane>, stream: UnixStream) {
    let mut stream = BufReader::new(stream);
    loop {
        let request: Request = match frame::read(&mut stream).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "a control message cannot be read"),
        };
        let mut results = Vec::with_capacity(request.ops.len());
        for op in request.ops {
            results.push(match op {
                Op::WaitHealth { target_group, until, timeout_ms } => {
                    wait_health(&plane, &target_group, until, Duration::from_millis(timeout_ms)).await
                }
                Op::Hold { asleep, timeout_ms } => hold(&plane, asleep, Duration::from_millis(timeout_ms)).await,
                op => plane.run(op),
            });
        }
        let written = frame::write(&mut stream, &Response { results }).await;
        plane.tidy();
        if written.is_err() {
            return;
        }
    }
}

async fn wait_health(plane: &Plane, name: &str, until: WaitUntil, timeout: Duration) -> RouterResult<Reply> {
    let mut changes = plane.changes();
    let wait = async {
        loop {
            changes.mark_unchanged();
            let report = plane.health(name)?;
            if holds(until, &report) || changes.changed().await.is_err() {
                return Ok(report);
            }
        }
    };
    match tokio::time::timeout(timeout.min(MAX_WAIT), wait).await {
        Ok(report) => report.map(Reply::Health),
        Err(_) => plane.health(name).map(Reply::Health),
    }
}

async fn hold(plane: &Rc<Plane>, asleep: BTreeMap<String, Hold>, timeout: Duration) -> RouterResult<Reply> {
    let mut demand = plane.demand();
    plane.set_asleep(&asleep);
    let wait = async {
        loop {
            demand.mark_unchanged();
            let wanted = plane.wanted();
            if !wanted.is_empty() || demand.changed().await.is_err() {
                return wanted;
            }
        }
    };
    let wanted = tokio::time::timeout(timeout.min(MAX_WAIT), wait).await.unwrap_or_default();
    Ok(Reply::Wanted(wanted))
}

fn holds(until: WaitUntil, report: &HealthReport) -> bool {
    match until {
        WaitUntil::ChangedFrom(version) => report.version != version,
        WaitUntil::Healthy(minimum) => report.healthy() >= minimum as usize && report.count(TargetState::Initial) == 0,
        WaitUntil::Drained => report.targets.is_empty(),
    }
}

//! Log lines as they are written, from the platform through the service and over the socket to whoever asked. They end when
//! the environment is gone, when the server stops, and when nobody listens any more: a dropped receiver drops the platform's
//! stream, and a connection that is closed drops the receiver.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use landfall_model::environment::Phase;
use landfall_model::ids::EnvironmentId;
use landfall_ports::PortError;
use landfall_ports::orchestrator::{LogLine, LogStream};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ControlError;
use crate::service::{Inner, Service};

/// Lines waiting for a slow reader; then the platform waits, and containers do not.
const WAITING: usize = 256;
/// Of an environment that is gone, what was written last may still be on its way.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Lines, and perhaps an error as the last item. Ending without one: the environment is gone.
pub type LogLines = mpsc::Receiver<Result<LogLine, ControlError>>;

/// The body of a request on the socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Follow {
    pub environment: EnvironmentId,
    pub history: usize,
}

/// A line of the answer's body.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Line(LogLine),
    Error(ControlError),
}

pub(super) fn follow(service: &Service, environment: EnvironmentId, history: usize) -> LogLines {
    let (send, receive) = mpsc::channel(WAITING);
    let service = service.clone();
    tokio::spawn(async move {
        let failed = tokio::select! {
            ended = relay(&service.inner, &environment, history, &send) => ended.err(),
            () = service.inner.shutdown.cancelled() => Some(ControlError::Unavailable("the server stops".to_owned())),
            () = send.closed() => None,
        };
        if let Some(error) = failed {
            let _ = send.send(Err(error)).await;
        }
    });
    receive
}

async fn relay(
    inner: &Inner,
    id: &EnvironmentId,
    history: usize,
    send: &mpsc::Sender<Result<LogLine, ControlError>>,
) -> Result<(), ControlError> {
    let mut changed = inner.records.subscribe();
    if inner.records.get(id).is_none() && !id.is_long_lived() {
        return Err(ControlError::NotFound(format!("no preview `{id}`; `landfall preview list` shows them")));
    }
    let services = inner.services_of(id);
    let opened = inner.platform_of(id)?.orchestrator.follow_logs(id.as_str(), &services, history).await;
    let mut lines: Box<dyn LogStream> = opened.map_err(|error| match error {
        PortError::Invalid(_) => ControlError::Invalid(error.to_string()),
        other => other.into(),
    })?;
    // Once it is gone: so long after that was first seen, or after the last line. Records of other environments, which
    // change all the time, do not put it off.
    let mut end = None;
    loop {
        changed.borrow_and_update();
        let gone = inner.records.get(id).is_none_or(|record| record.phase == Phase::Destroyed);
        if gone && !id.is_long_lived() {
            end.get_or_insert_with(|| Instant::now() + LAST_LINES);
        } else {
            end = None;
        }
        tokio::select! {
            line = lines.next() => {
                let line = line.ok_or_else(|| ControlError::Unavailable("the platform stops".to_owned()))?;
                if send.send(Ok(line)).await.is_err() {
                    return Ok(());
                }
                end = None;
            }
            _ = changed.changed() => {}
            () = passed(end) => return Ok(()),
        }
    }
}

/// Never without a deadline.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// One JSON object a line.
pub(super) struct LineBody(pub LogLines);

impl Body for LineBody {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(item) = ready!(self.0.poll_recv(cx)) else { return Poll::Ready(None) };
        let told = match item {
            Ok(line) => Told::Line(line),
            Err(error) => Told::Error(error),
        };
        Poll::Ready(Some(serde_json::to_vec(&told).map(|mut bytes| {
            bytes.push(b'\n');
            Frame::data(bytes.into())
        })))
    }
}

/// The other end: reads the body until it ends or nobody wants it any more.
pub(super) async fn receive(mut body: Incoming, send: mpsc::Sender<Result<LogLine, ControlError>>) {
    let reading = async {
        let mut buffer = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("the server broke off: {error}"))?;
            buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let told = serde_json::from_slice(&buffer.split_to(end + 1));
                let item = match told.map_err(|error| format!("the server says what is not known here: {error}"))? {
                    Told::Line(line) => Ok(line),
                    Told::Error(error) => Err(error),
                };
                if send.send(item).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok::<_, String>(())
    };
    let read = tokio::select! {
        read = reading => read,
        () = send.closed() => Ok(()),
    };
    if let Err(why) = read {
        let _ = send.send(Err(ControlError::Unavailable(why))).await;
    }
}

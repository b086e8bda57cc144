//! Connections to targets.
//!
//! A connection is polled by whoever uses it: by the request that waits for its answer, then by the answer's body. There
//! is no task per connection and no hop between tasks, which is most of what a proxied request would otherwise cost.
//! Idle connections are kept per worker and per target registration (`Target::uid`), so no pool is ever shared between
//! target groups, and an address that is registered elsewhere starts with an empty one.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Connection, Parts, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::api::TargetState;
use crate::table::{Group, InFlight, Target};
use crate::watch::{Direct, Watch};
use crate::worker::Worker;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Heads of answers; also what bounds the read buffer.
const MAX_BUFFER: usize = 256 << 10;

/// What goes to the target: the client's body, or none on a second try.
pub(crate) enum RequestBody {
    Empty,
    Client(Incoming),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Client(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Client(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Client(body) => body.size_hint(),
        }
    }
}

pub(crate) struct Upstream {
    sender: SendRequest<RequestBody>,
    conn: Connection<TokioIo<Direct>, RequestBody>,
    pub(crate) target: Arc<Target>,
}

/// Why no answer came.
pub(crate) enum Failure {
    /// Nothing was sent; here is the request back.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended after the request may have been read.
    Lost(String),
    TimedOut,
    Cut,
}

impl Upstream {
    pub(crate) async fn connect(group: &Group, target: &Arc<Target>) -> Result<Box<Self>, (&'static str, String)> {
        let addr = target.addr;
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Err(("connection_refused", format!("Target {addr} refused the connection.")));
            }
            Ok(Err(error)) => return Err(("connect_failed", format!("Target {addr} cannot be reached: {error}."))),
            Err(_) => {
                let detail = format!("Target {addr} did not accept a connection within {CONNECT_TIMEOUT:?}.");
                return Err(("connect_timeout", detail));
            }
        };
        let failed = |error: &dyn std::fmt::Display| ("connect_failed", format!("Target {addr}: {error}."));
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(MAX_BUFFER);
        let (sender, conn) = builder.handshake(TokioIo::new(Direct(stream))).await.map_err(|error| failed(&error))?;
        group.stats.connections.fetch_add(1, Ordering::Relaxed);
        let mut upstream = Box::new(Self { sender, conn, target: target.clone() });
        // hyper takes a request only after the connection has asked for one.
        poll_fn(|cx| Poll::Ready(upstream.is_alive(cx))).await;
        Ok(upstream)
    }

    /// Whether a request can be sent now.
    fn is_alive(&mut self, cx: &mut Context<'_>) -> bool {
        self.conn.poll_without_shutdown(cx).is_pending() && self.sender.is_ready()
    }

    /// Sends and waits for the head of the answer.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
        watch: &Watch,
    ) -> Result<Response<Incoming>, Failure> {
        let Self { sender, conn, target } = self;
        let mut answer = pin!(sender.try_send_request(request));
        let mut over: Option<String> = None;
        poll_fn(|cx| {
            if over.is_none()
                && let Poll::Ready(end) = conn.poll_without_shutdown(cx)
            {
                over = Some(end.err().map_or("it closed the connection".to_owned(), |error| error.to_string()));
            }
            match answer.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                    Some(request) => Failure::Unsent(Box::new(request)),
                    None => Failure::Lost(describe(error.error())),
                })),
                Poll::Pending if watch.is_cut() || target.cut.load(Ordering::Acquire) => Poll::Ready(Err(Failure::Cut)),
                Poll::Pending if watch.expired() => Poll::Ready(Err(Failure::TimedOut)),
                Poll::Pending => match over.take() {
                    Some(reason) => Poll::Ready(Err(Failure::Lost(reason))),
                    None => Poll::Pending,
                },
            }
        })
        .await
    }

    /// After a 101: the socket, and what the target has already said on it.
    pub(crate) async fn into_tunnel(mut self: Box<Self>) -> Result<(TcpStream, Bytes), hyper::Error> {
        poll_fn(|cx| self.conn.poll_without_shutdown(cx)).await?;
        let Parts { io, read_buf, .. } = self.conn.into_parts();
        Ok((io.into_inner().0, read_buf))
    }
}

/// hyper's error with its causes.
fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Idle connections of one worker.
#[derive(Default)]
pub(crate) struct Pools {
    /// Boxed, since a connection is large and moves with every request.
    #[allow(clippy::vec_box, reason = "taken out and put back with every request")]
    idle: std::collections::HashMap<u64, Vec<Box<Upstream>>>,
}

/// Idle connections to one target and worker.
const MAX_IDLE: usize = 512;

impl Pools {
    /// An idle connection that is still open, the youngest first.
    pub(crate) fn take(&mut self, target: &Target, cx: &mut Context<'_>) -> Option<Box<Upstream>> {
        let idle = self.idle.get_mut(&target.uid)?;
        while let Some(mut upstream) = idle.pop() {
            if upstream.is_alive(cx) {
                return Some(upstream);
            }
        }
        None
    }

    fn put(&mut self, mut upstream: Box<Upstream>) {
        if upstream.target.state() == TargetState::Draining {
            return;
        }
        if !upstream.sender.is_ready() && !upstream.is_alive(&mut Context::from_waker(Waker::noop())) {
            return;
        }
        let idle = self.idle.entry(upstream.target.uid).or_default();
        if idle.len() < MAX_IDLE {
            idle.push(upstream);
        }
    }

    /// Forgets the target's idle connections: one of them turned out to be stale.
    pub(crate) fn forget(&mut self, target: &Target) {
        self.idle.remove(&target.uid);
    }

    /// Closes what targets have closed, and everything of targets that are leaving.
    pub(crate) fn sweep(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        self.idle.retain(|_, idle| {
            idle.retain_mut(|upstream| upstream.target.state() != TargetState::Draining && upstream.is_alive(cx));
            !idle.is_empty()
        });
    }
}

/// What goes to the client.
pub(crate) struct ResponseBody {
    source: Source,
    /// Told when the answer is complete.
    watch: Rc<Watch>,
}

enum Source {
    Page(Option<Bytes>),
    Target { incoming: Incoming, upstream: Option<Box<Upstream>>, worker: Rc<Worker>, _flight: InFlight },
}

impl ResponseBody {
    pub(crate) fn page(bytes: Bytes, watch: Rc<Watch>) -> Self {
        Self { source: Source::Page(Some(bytes).filter(|bytes| !bytes.is_empty())), watch }
    }

    pub(crate) fn target(
        incoming: Incoming,
        upstream: Box<Upstream>,
        flight: InFlight,
        worker: Rc<Worker>,
        watch: Rc<Watch>,
    ) -> Self {
        Self { source: Source::Target { incoming, upstream: Some(upstream), worker, _flight: flight }, watch }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.source {
            Source::Page(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Target { incoming, upstream, .. } => {
                if let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) {
                    return Poll::Ready(frame);
                }
                // The body moves only when its connection does.
                let over = upstream.as_mut().is_some_and(|upstream| upstream.conn.poll_without_shutdown(cx).is_ready());
                if over {
                    *upstream = None;
                }
                Pin::new(incoming).poll_frame(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Page(bytes) => bytes.is_none(),
            Source::Target { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Page(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Target { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.watch.idle();
        if let Source::Target { incoming, upstream, worker, .. } = &mut self.source
            && let Some(upstream) = upstream.take()
            && finished(incoming)
        {
            worker.pools.borrow_mut().put(upstream);
        }
    }
}

/// Whether the body was read to its end. A chunked one says so only when asked once more.
fn finished(incoming: &mut Incoming) -> bool {
    incoming.is_end_stream() || {
        let mut end = pin!(incoming.frame());
        matches!(end.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(None))
    }
}

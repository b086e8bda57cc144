//! Connections to targets.
//!
//! A connection is polled by whoever uses it: by the request that waits for its answer, then by the answer's body. There
//! is no task per connection and no hop between tasks, which is most of what a proxied request would otherwise cost.
//! Idle connections are kept per worker and per target registration (`Target::uid`), so no pool is ever shared between
//! target groups, and an address that is registered elsewhere starts with an empty one.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Connection, Parts, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::api::TargetState;
use crate::gate::Gate;
use crate::socket::Direct;
use crate::table::{Group, InFlight, Target};
use crate::turn::Turn;
use crate::watch::Watch;
use crate::worker::Worker;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Heads of answers; also what bounds the read buffer.
const MAX_BUFFER: usize = 256 << 10;

/// What goes to the target: the client's body, or none on a second try.
pub(crate) struct RequestBody {
    incoming: Option<Incoming>,
    /// Told when the body ends.
    turn: Option<Turn>,
}

impl RequestBody {
    pub(crate) fn client(incoming: Incoming) -> Self {
        Self { incoming: Some(incoming), turn: None }
    }

    pub(crate) fn empty() -> Self {
        Self { incoming: None, turn: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        // hyper does not ask again after trailers, or when the length is known and reached.
        let over = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || incoming.is_end_stream(),
            Some(Err(_)) => false,
            None => true,
        };
        if let Some(turn) = self.turn.take_if(|_| over) {
            turn.handed();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

pub(crate) struct Upstream {
    sender: SendRequest<RequestBody>,
    /// `None` once it has ended.
    conn: Option<Connection<TokioIo<Direct>, RequestBody>>,
    gate: Gate,
    turn: Turn,
    pub(crate) target: Arc<Target>,
}

/// Why no answer came.
pub(crate) enum Failure {
    /// Nothing was sent; here is the request back.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended after the request may have been read. `unanswered`: without a byte from the target.
    Lost {
        reason: String,
        unanswered: bool,
    },
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
        let turn = Turn::new();
        let io = TokioIo::new(Direct { stream, turn: turn.clone() });
        let (sender, conn) = builder.handshake(io).await.map_err(|error| failed(&error))?;
        group.stats.connections.fetch_add(1, Ordering::Relaxed);
        let mut upstream = Box::new(Self { sender, conn: Some(conn), gate: Gate::new(), turn, target: target.clone() });
        // hyper takes a request only after the connection has asked for one.
        upstream.is_alive();
        Ok(upstream)
    }

    /// Whether a request can be sent now. Nobody is woken when that changes.
    fn is_alive(&mut self) -> bool {
        let Self { sender, conn: Some(conn), gate, .. } = self else { return false };
        let unchanged = !gate.stirred() && sender.is_ready();
        unchanged || gate.poll(|cx| conn.poll_without_shutdown(cx)).is_pending() && sender.is_ready()
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<(), hyper::Error>> {
        match &mut self.conn {
            Some(conn) => self.gate.poll_for(cx.waker(), |cx| conn.poll_without_shutdown(cx)),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Sends and waits for the head of the answer.
    pub(crate) async fn exchange(
        &mut self,
        mut request: Request<RequestBody>,
        watch: &Watch,
    ) -> Result<Response<Incoming>, Failure> {
        let whole = request.body().is_end_stream();
        self.turn.begin(whole);
        request.body_mut().turn = (!whole).then(|| self.turn.clone());
        let turn = self.turn.clone();
        let lost = move |reason| Failure::Lost { reason, unanswered: turn.is_unanswered() };
        let answer = self.gate.quiet(|| self.sender.try_send_request(request));
        // Only the connection can answer, and it is polled right before; so nobody needs to be woken when it does. That
        // holds as long as the channel between them is not made to wait for the task's next turn.
        let mut answer = pin!(tokio::task::unconstrained(answer));
        let mut answer = || match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => Some(Ok(response)),
            Poll::Ready(Err(mut error)) => Some(Err(match error.take_message() {
                Some(request) => Failure::Unsent(Box::new(request)),
                None => lost(describe(error.error())),
            })),
            Poll::Pending => None,
        };
        poll_fn(|cx| {
            let end = self.poll(cx);
            if let Some(result) = answer() {
                return Poll::Ready(result);
            }
            if let Poll::Ready(end) = end {
                let reason = end.err().map_or("it closed the connection".to_owned(), |error| describe(&error));
                // What the connection had not begun to send comes back when it is dropped.
                self.conn = None;
                return Poll::Ready(match answer() {
                    Some(Err(Failure::Unsent(request))) => Err(Failure::Unsent(request)),
                    _ => Err(lost(reason)),
                });
            }
            if watch.is_cut() || self.target.cut.load(Ordering::Acquire) {
                return Poll::Ready(Err(Failure::Cut));
            }
            if watch.expired() { Poll::Ready(Err(Failure::TimedOut)) } else { Poll::Pending }
        })
        .await
    }

    /// After a 101: the socket, and what the target has already said on it.
    pub(crate) async fn into_tunnel(mut self: Box<Self>) -> Result<(TcpStream, Bytes), String> {
        poll_fn(|cx| self.poll(cx)).await.map_err(|error| describe(&error))?;
        let Parts { io, read_buf, .. } = self.conn.take().ok_or("it closed the connection")?.into_parts();
        Ok((io.into_inner().stream, read_buf))
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
    idle: HashMap<u64, Vec<Box<Upstream>>, RandomState>,
}

/// Idle connections to one target and worker.
const MAX_IDLE: usize = 512;

impl Pools {
    /// An idle connection that is still open, the youngest first.
    pub(crate) fn take(&mut self, target: &Target) -> Option<Box<Upstream>> {
        let idle = self.idle.get_mut(&target.uid)?;
        while let Some(mut upstream) = idle.pop() {
            if upstream.is_alive() {
                return Some(upstream);
            }
        }
        None
    }

    fn put(&mut self, mut upstream: Box<Upstream>) {
        if upstream.target.state() == TargetState::Draining || !upstream.turn.is_orderly() || !upstream.is_alive() {
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
        self.idle.retain(|_, idle| {
            idle.retain_mut(|upstream| upstream.target.state() != TargetState::Draining && upstream.is_alive());
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
                // Taking a frame tells the connection that there is room for another: it is polled for that one.
                let mut next = |upstream: &Option<Box<Upstream>>| {
                    let mut frame = || Pin::new(&mut *incoming).poll_frame(&mut Context::from_waker(Waker::noop()));
                    match upstream {
                        Some(upstream) => upstream.gate.quiet(frame),
                        None => frame(),
                    }
                };
                if let Poll::Ready(frame) = next(upstream) {
                    return Poll::Ready(frame);
                }
                // The body moves only when its connection does, so its own waker is of no use.
                if upstream.as_mut().is_some_and(|upstream| upstream.poll(cx).is_ready()) {
                    *upstream = None;
                }
                next(upstream)
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

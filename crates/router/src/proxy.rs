//! One request: which target group, which target, and what the client is told when none answers.
//!
//! A request is tried again, on another connection or target, only while that cannot repeat it: when nothing of it was
//! sent, or when a reused connection turned out to be closed and the method is idempotent and has no body.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use tokio::net::TcpStream;

use crate::api::TargetState;
use crate::headers::{self, Forwarding, Found};
use crate::pages::Refusal;
use crate::table::{Group, InFlight, Listener};
use crate::upstream::{Failure, RequestBody, ResponseBody, Upstream};
use crate::watch::Watch;
use crate::worker::Worker;

/// Connections or targets tried for one request.
const ATTEMPTS: usize = 4;

/// A client connection.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Arc<Listener>,
    /// For `X-Forwarded-For`.
    pub(crate) peer: HeaderValue,
    pub(crate) watch: Rc<Watch>,
    /// Set by a request that was answered 101: what the connection becomes.
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
}

/// The target's side of an upgraded connection.
pub(crate) struct Tunnel {
    pub(crate) stream: TcpStream,
    /// What the target sent right after its 101.
    pub(crate) early: Bytes,
    pub(crate) flight: InFlight,
}

pub(crate) async fn handle(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    client.watch.waiting(u64::MAX);
    let found = Found::of(request.headers());
    let wants_page = found.has(Found::ACCEPT)
        && request
            .headers()
            .get(ACCEPT)
            .is_some_and(|accept| accept.as_bytes().windows(9).any(|window| window.eq_ignore_ascii_case(b"text/html")));
    let is_head = request.method() == Method::HEAD;
    let shared = &client.worker.shared;
    let group = match route(&client, &request, found) {
        Ok(group) => group,
        Err(refusal) => {
            shared.unrouted.fetch_add(1, Ordering::Relaxed);
            return Ok(refuse(&client, &refusal, wants_page, is_head));
        }
    };
    group.stats.requests.fetch_add(1, Ordering::Relaxed);
    group.stats.last_request.store(client.worker.unix_ms.get(), Ordering::Relaxed);
    client.watch.waiting(group.idle_timeout_ms());
    match forward(&client, &group, request, found).await {
        Ok(response) => {
            let status = response.status().as_u16();
            if let Some(counter) = group.stats.target_codes.get(usize::from(status / 100).wrapping_sub(1)) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            shared.count(status);
            client.watch.answering();
            Ok(response)
        }
        Err(refusal) => {
            let index = usize::from(refusal.status.as_u16()).wrapping_sub(502);
            if let Some(counter) = group.stats.router_codes.get(index) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Ok(refuse(&client, &refusal, wants_page, is_head))
        }
    }
}

fn refuse(client: &Client, refusal: &Refusal, html: bool, is_head: bool) -> Response<ResponseBody> {
    client.worker.shared.count(refusal.status.as_u16());
    client.watch.answering();
    client.watch.at_target(None);
    let page = refusal.response(html);
    page.map(|bytes| ResponseBody::page(if is_head { Bytes::new() } else { bytes }, client.watch.clone()))
}

fn route(client: &Client, request: &Request<Incoming>, found: Found) -> Result<Arc<Group>, Refusal> {
    let chunked = found.has(Found::TRANSFER_ENCODING);
    // hyper obeys Transfer-Encoding, drops Content-Length and does not say so; a client that sends both is confused or
    // hostile, so look at what it sent.
    let head = client.watch.take_head(!request.body().is_end_stream(), chunked);
    if head.is_some_and(|head| headers::has_content_length(&head)) {
        return Err(Refusal::bad_request("The request has both Content-Length and Transfer-Encoding."));
    }
    let host = headers::host(request)?;
    let listener = &client.listener;
    listener.find(&host).ok_or_else(|| Refusal::unknown_host(&host, listener.port, &listener.domains()))
}

async fn forward(
    client: &Rc<Client>,
    group: &Arc<Group>,
    mut request: Request<Incoming>,
    found: Found,
) -> Result<Response<ResponseBody>, Refusal> {
    let worker = &client.worker;
    let upgrade = headers::upgrade(&request, found);
    let from = Forwarding { peer: &client.peer, port: &client.listener.port_value };
    headers::forward_request(&mut request, found, &from);
    if let Some(protocol) = &upgrade {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(UPGRADE, protocol.clone());
    }
    let repeatable = request.body().is_end_stream()
        && matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
    let mut request = request.map(RequestBody::client);
    let mut tried = Vec::new();
    let mut refusal = None;
    for _ in 0..ATTEMPTS {
        let flight = match group.pick(&tried) {
            Ok(flight) => flight,
            // Nothing was sent yet, so that it can wait for what sleeps to wake.
            Err(none_left) => crate::hold::hold(client, group, refusal.take().unwrap_or(none_left)).await?,
        };
        client.watch.at_target(Some(flight.target.clone()));
        let pooled = worker.pools.borrow_mut().take(&flight.target);
        let reused = pooled.is_some();
        let mut upstream = match pooled {
            Some(upstream) => upstream,
            None => match Upstream::connect(group, &flight.target).await {
                Ok(upstream) => upstream,
                Err((code, detail)) => {
                    tried.push(flight.target.uid);
                    let status =
                        if code == "connect_timeout" { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
                    refusal = Some(Refusal::new(status, code, detail));
                    continue;
                }
            },
        };
        // It may have been deregistered while we connected, and its address may already be someone else's.
        if flight.target.state() == TargetState::Draining {
            continue;
        }
        let copy = (reused && repeatable).then(|| bodiless_copy(&request));
        match upstream.exchange(request, &client.watch).await {
            Ok(response) => return answer(client, response, upstream, flight, upgrade.is_some()).await,
            Err(Failure::Unsent(unsent)) => {
                request = *unsent;
                worker.pools.borrow_mut().forget(&flight.target);
                let detail = format!("Target {} closed the connection.", flight.target.addr);
                refusal = Some(Refusal::new(StatusCode::BAD_GATEWAY, "connection_lost", detail));
            }
            Err(Failure::Lost { reason, unanswered }) => {
                worker.pools.borrow_mut().forget(&flight.target);
                match copy.filter(|_| unanswered) {
                    Some(copy) => request = copy,
                    None => {
                        let detail = format!("Target {} gave no answer: {reason}.", flight.target.addr);
                        return Err(Refusal::new(StatusCode::BAD_GATEWAY, "connection_lost", detail));
                    }
                }
            }
            Err(Failure::TimedOut) => {
                let seconds = group.idle_timeout_ms() / 1000;
                let detail = format!("Target {} did not answer within {seconds} s.", flight.target.addr);
                return Err(Refusal {
                    close: true,
                    ..Refusal::new(StatusCode::GATEWAY_TIMEOUT, "idle_timeout", detail)
                });
            }
            Err(Failure::Cut) => {
                let detail = format!(
                    "Target {} was deregistered and did not answer within the deregistration delay.",
                    flight.target.addr
                );
                return Err(Refusal {
                    close: true,
                    ..Refusal::new(StatusCode::BAD_GATEWAY, "target_deregistered", detail)
                });
            }
        }
    }
    let detail = "Every connection that was tried closed before it took the request.";
    Err(refusal.unwrap_or_else(|| Refusal::new(StatusCode::BAD_GATEWAY, "connection_lost", detail)))
}

/// What a second try sends. A copy, not what is left on the lost connection: it is certain to be this request.
fn bodiless_copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

async fn answer(
    client: &Rc<Client>,
    mut response: Response<Incoming>,
    upstream: Box<Upstream>,
    flight: InFlight,
    upgrade: bool,
) -> Result<Response<ResponseBody>, Refusal> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::forward_response(response.headers_mut());
        *response.version_mut() = http::Version::HTTP_11;
        let (worker, watch) = (client.worker.clone(), client.watch.clone());
        return Ok(response.map(|incoming| ResponseBody::target(incoming, upstream, flight, worker, watch)));
    }
    let bad = |detail: String| Refusal::new(StatusCode::BAD_GATEWAY, "bad_response", detail);
    let addr = flight.target.addr;
    if !upgrade {
        return Err(bad(format!("Target {addr} switched protocols without being asked to.")));
    }
    let protocol = response.headers().get(UPGRADE).cloned();
    headers::forward_response(response.headers_mut());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        response.headers_mut().insert(UPGRADE, protocol);
    }
    let (stream, early) = upstream.into_tunnel().await.map_err(|error| bad(format!("Target {addr}: {error}.")))?;
    *client.tunnel.borrow_mut() = Some(Tunnel { stream, early, flight });
    Ok(response.map(|_| ResponseBody::page(Bytes::new(), client.watch.clone())))
}

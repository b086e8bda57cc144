//! S3, as much of it as a state needs: objects in buckets that are read, written on a condition and deleted, over HTTP, with a
//! clock that a test moves and with faults. A listener of its own: S3 speaks no protocol that the other services share.
//!
//! What it is strict about, because callers rest on it: `If-Match` and `If-None-Match: *` on PutObject are checked and applied in
//! one piece; a tag is a function of the bytes; what was written is read by everybody at once; `Date` and `Last-Modified` have whole
//! seconds, cut off; a request that is signed for another region than the bucket's is refused; a request may arrive long
//! after its sender stopped waiting for it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::http::{Cut, wall};

/// A running S3. It ends with the last clone.
#[derive(Clone)]
pub struct S3 {
    inner: Arc<Inner>,
}

struct Inner {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<String, Bucket>,
    ahead_ms: u64,
    faults: Vec<(S3Fault, u32)>,
    chance: u64,
    requests: Vec<S3Request>,
}

struct Bucket {
    region: String,
    objects: BTreeMap<String, Object>,
}

#[derive(Clone)]
struct Object {
    body: Bytes,
    etag: String,
    modified_ms: u64,
}

/// A request that was answered, or whose answer was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Request {
    pub method: String,
    pub key: String,
    pub status: u16,
}

/// What happens to the next request of this method whose key has this text; of all of them if `percent` and `times` say so.
#[derive(Debug, Clone)]
pub struct S3Fault {
    pub method: &'static str,
    pub contains: &'static str,
    /// Of the fitting requests.
    pub percent: u64,
    pub times: Option<u32>,
    pub kind: S3FaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3FaultKind {
    /// 503, without effect.
    SlowDown,
    /// 500, without effect.
    Fails,
    /// 500, and it happened.
    FailsAfter,
    /// No answer, and it happened.
    AnswerLost,
    /// No answer, and it happens so many milliseconds later, if its condition still holds then.
    Late(u64),
    /// 409, without effect: another conditional write is under way.
    Collides,
}

impl S3 {
    /// With one bucket, in `region`.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(bucket: &str, region: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        lock(&state).buckets.insert(bucket.to_owned(), Bucket { region: region.to_owned(), objects: BTreeMap::new() });
        let server = tokio::spawn(serve(listener, state.clone()));
        Ok(Self { inner: Arc::new(Inner { address, state, server }) })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.inner.address)
    }

    pub fn advance(&self, ms: u64) {
        lock(&self.inner.state).ahead_ms += ms;
    }

    pub fn fault(&self, fault: S3Fault) {
        lock(&self.inner.state).faults.push((fault, 0));
    }

    pub fn clear_faults(&self) {
        lock(&self.inner.state).faults.clear();
    }

    /// How often faults struck.
    pub fn struck(&self) -> u32 {
        lock(&self.inner.state).faults.iter().map(|(_, struck)| struck).sum()
    }

    /// Requests since the call before.
    pub fn take_requests(&self) -> Vec<S3Request> {
        std::mem::take(&mut lock(&self.inner.state).requests)
    }

    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let state = lock(&self.inner.state);
        state.buckets.get(bucket).map(|bucket| bucket.objects.keys().cloned().collect()).unwrap_or_default()
    }

    pub fn object(&self, bucket: &str, key: &str) -> Option<Bytes> {
        let state = lock(&self.inner.state);
        state.buckets.get(bucket)?.objects.get(key).map(|object| object.body.clone())
    }

    /// Writes past all conditions.
    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) {
        let mut state = lock(&self.inner.state);
        let now = state.now();
        if let Some(bucket) = state.buckets.get_mut(bucket) {
            bucket.objects.insert(key.to_owned(), Object::new(body.into(), now));
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Object {
    fn new(body: Bytes, modified_ms: u64) -> Self {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, &body).hash(&mut hasher);
            hasher.finish()
        };
        let etag = format!("\"{:016x}{:016x}\"", hash(0), hash(1));
        Self { body, etag, modified_ms }
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(connection(stream, state.clone()));
    }
}

async fn connection(stream: TcpStream, state: Arc<Mutex<State>>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { answer(request, &state).await }
    });
    // An error here is a client that went away, or a connection cut on purpose.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, shared: &Arc<Mutex<State>>) -> Result<Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let path = parts.uri.path().trim_start_matches('/').to_owned();
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let (bucket, key, method) = (bucket.to_owned(), key.to_owned(), parts.method.clone());
    let mut state = lock(shared);
    let fault = state.strike(&method, &key);
    let reply = match fault {
        Some(S3FaultKind::SlowDown) => error(503, "SlowDown", "Please reduce your request rate."),
        Some(S3FaultKind::Fails) => error(500, "InternalError", "We encountered an internal error. Please try again."),
        Some(S3FaultKind::Collides) => {
            error(409, "ConditionalRequestConflict", "A conflicting operation is under way.")
        }
        Some(S3FaultKind::Late(ms)) => {
            let shared = shared.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                lock(&shared).act(&method, &bucket, &key, &parts.headers, body);
            });
            return Err(Cut);
        }
        None | Some(S3FaultKind::FailsAfter | S3FaultKind::AnswerLost) => {
            state.act(&method, &bucket, &key, &parts.headers, body)
        }
    };
    let status = reply.status().as_u16();
    state.requests.push(S3Request { method: parts.method.to_string(), key: path.clone(), status });
    let now = state.now();
    drop(state);
    let mut reply = match fault {
        Some(S3FaultKind::AnswerLost) => return Err(Cut),
        Some(S3FaultKind::FailsAfter) => error(500, "InternalError", "We encountered an internal error."),
        _ => reply,
    };
    header(&mut reply, "date", &http_date(now));
    Ok(reply)
}

impl State {
    fn now(&self) -> u64 {
        wall() + self.ahead_ms
    }

    fn strike(&mut self, method: &Method, key: &str) -> Option<S3FaultKind> {
        for (fault, struck) in &mut self.faults {
            let fits = fault.method == method.as_str() && key.contains(fault.contains);
            if !fits || fault.times.is_some_and(|times| *struck >= times) {
                continue;
            }
            // A fixed sequence of chances.
            self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (self.chance >> 33) % 100 < fault.percent {
                *struck += 1;
                return Some(fault.kind);
            }
        }
        None
    }

    fn act(
        &mut self,
        method: &Method,
        bucket: &str,
        key: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        let now = self.now();
        let Some(bucket) = self.buckets.get_mut(bucket) else {
            return error(404, "NoSuchBucket", "The specified bucket does not exist");
        };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let scope = text("authorization").and_then(|value| value.split_once("Credential=")).map(|(_, rest)| rest);
        match scope.and_then(|scope| scope.split('/').nth(2)) {
            None => return error(403, "AccessDenied", "Access Denied"),
            Some(region) if region != bucket.region => {
                let mut reply = error(400, "AuthorizationHeaderMalformed", "the region is wrong");
                header(&mut reply, "x-amz-bucket-region", &bucket.region);
                return reply;
            }
            Some(_) => {}
        }
        let found = bucket.objects.get(key).cloned();
        match method.as_str() {
            "GET" => match found {
                None => error(404, "NoSuchKey", "The specified key does not exist."),
                Some(object) if text("if-none-match") == Some(&object.etag) => with(304, &object, Bytes::new()),
                Some(object) => with(200, &object, object.body.clone()),
            },
            "PUT" => {
                let refused = match (text("if-match"), text("if-none-match"), &found) {
                    (Some(_), _, None) => return error(404, "NoSuchKey", "The specified key does not exist."),
                    (Some(etag), _, Some(object)) => etag != object.etag,
                    (None, Some("*"), found) => found.is_some(),
                    (None, Some(_), _) => return error(501, "NotImplemented", "If-None-Match takes * only"),
                    (None, None, _) => false,
                };
                if refused {
                    return error(
                        412,
                        "PreconditionFailed",
                        "At least one of the preconditions you specified did not hold.",
                    );
                }
                let object = Object::new(body, now);
                let reply = with(200, &object, Bytes::new());
                bucket.objects.insert(key.to_owned(), object);
                reply
            }
            "DELETE" => {
                bucket.objects.remove(key);
                status(204, Bytes::new())
            }
            _ => error(405, "MethodNotAllowed", "The specified method is not allowed against this resource."),
        }
    }
}

fn status(code: u16, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn header(response: &mut Response<Full<Bytes>>, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}

fn with(code: u16, object: &Object, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = status(code, body);
    header(&mut response, "etag", &object.etag);
    header(&mut response, "last-modified", &http_date(object.modified_ms));
    response
}

fn error(code: u16, name: &str, message: &str) -> Response<Full<Bytes>> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{name}</Code><Message>{message}</Message></Error>"
    );
    let mut response = status(code, xml.into());
    header(&mut response, "content-type", "application/xml");
    response
}

/// `Sat, 21 Nov 2026 10:41:00 GMT`
fn http_date(ms: u64) -> String {
    let second = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second)
        .map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or_default()
}

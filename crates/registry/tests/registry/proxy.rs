//! A proxy in front of the registry: counts what passes, and does to a request what the test says.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

pub(crate) enum Do {
    Pass,
    /// Answer without asking the registry.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// So many bytes of the body reach the registry, then both connections break.
    Cut(u64),
    /// As a registry that says how far a cut upload has come: so many bytes are kept, the connection breaks, and who asks for the
    /// upload is told where to go on.
    Keep(u64),
    /// The registry's answer with another header.
    Header(&'static str, String),
    /// The registry gets all and does its work; its answer is lost.
    Swallow,
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

type Rule = Box<dyn FnMut(&Seen) -> Do + Send>;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(upstream: u16, rule: impl FnMut(&Seen) -> Do + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(rule)));
        let log = Arc::clone(&seen);
        let kept: Arc<Mutex<Option<(String, u64)>>> = Arc::default();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, rule, kept) = (Arc::clone(&log), Arc::clone(&rule), Arc::clone(&kept));
                tokio::spawn(async move {
                    let service =
                        hyper::service::service_fn(|request| handle(request, upstream, port, &log, &rule, &kept));
                    // A connection that a rule breaks ends with an error.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { port, seen, task }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.is(method, part)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = Result<Response<BoxBody<Bytes, hyper::Error>>, String>;

async fn handle(
    request: Request<Incoming>,
    upstream: u16,
    own: u16,
    log: &Mutex<Vec<Seen>>,
    rule: &Mutex<Rule>,
    kept: &Mutex<Option<(String, u64)>>,
) -> Answer {
    let seen = Seen {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        headers: request.headers().clone(),
    };
    let action = rule.lock().unwrap()(&seen);
    log.lock().unwrap().push(seen);
    let broken = || "broken by the test".to_owned();
    let standing =
        kept.lock().unwrap().take_if(|_| request.method() == "GET" && request.uri().path().contains("/blobs/uploads/"));
    if let Some((location, bytes)) = standing {
        let mut answer = Response::new(whole(Bytes::new()));
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer.headers_mut().insert("location", HeaderValue::from_str(&location).unwrap());
        answer.headers_mut().insert("range", HeaderValue::from_str(&format!("0-{}", bytes - 1)).unwrap());
        return Ok(answer);
    }
    match action {
        Do::Answer(status, headers, body) => {
            let mut answer = Response::new(whole(body.into()));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
            }
            Ok(answer)
        }
        Do::Pass => forward(request.map(BodyExt::boxed), upstream, own).await,
        Do::Header(name, value) => {
            let mut answer = forward(request.map(BodyExt::boxed), upstream, own).await?;
            answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
            Ok(answer)
        }
        Do::Swallow => {
            let answer = forward(request.map(BodyExt::boxed), upstream, own).await?;
            let _ = answer.into_body().collect().await;
            Err(broken())
        }
        Do::Keep(bytes) => {
            let (mut head, body) = request.into_parts();
            let mut body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
            body.truncate(usize::try_from(bytes).unwrap());
            head.method = hyper::Method::PATCH;
            head.uri = head.uri.to_string().split("&digest=").next().unwrap().parse().unwrap();
            head.headers.insert("content-length", HeaderValue::from(bytes));
            let answer = forward(Request::from_parts(head, whole(body)), upstream, own).await?;
            let location = answer.headers()["location"].to_str().unwrap().to_owned();
            *kept.lock().unwrap() = Some((location, bytes));
            Err(broken())
        }
        Do::Cut(bytes) => {
            let request = request.map(|inner| Cut { inner, left: bytes });
            let _ = forward(request, upstream, own).await;
            Err(broken())
        }
    }
}

fn whole(bytes: Bytes) -> BoxBody<Bytes, hyper::Error> {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}

/// Absolute locations come back to us: the host is told as the client sees it.
async fn forward<B>(request: Request<B>, upstream: u16, own: u16) -> Answer
where
    B: Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(("127.0.0.1", upstream)).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let mut request = request;
    request.headers_mut().insert("host", HeaderValue::from_str(&format!("127.0.0.1:{own}")).unwrap());
    let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
    Ok(answer.map(BodyExt::boxed))
}

struct Cut {
    inner: Incoming,
    left: u64,
}

impl Body for Cut {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(Some(Err("cut".into())));
        }
        Pin::new(&mut self.inner).poll_frame(context).map(|frame| {
            frame.map(|frame| {
                let mut data = frame?.into_data().map_err(|_| "no data")?;
                data.truncate(usize::try_from(self.left).unwrap());
                self.left -= data.len() as u64;
                Ok(Frame::data(data))
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

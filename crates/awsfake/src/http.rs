//! The listener: bytes in and out, the rest is in `State`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::protocol::{self, Protocol, Reply};
use crate::state::State;
use crate::world::Millis;
use crate::world::error::AwsError;
use crate::world::rules::Rules;

pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) start: Rules,
}

impl Shared {
    /// The state, also after a panic of another test's thread.
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn wall() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // Out of descriptors, or the peer is gone already: the next one may be better.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(connection(stream, Arc::clone(&shared)));
    }
}

/// Why a connection ends without an answer.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer is lost")
    }
}

impl std::error::Error for Cut {}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Latency is measured against this fake; delayed acknowledgements would be all of it.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { answer(request, &shared).await }
    });
    // An error here is a client that went away, or a connection cut on purpose.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Result<Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let path = parts.uri.path();
    if let Some(script) = path.strip_prefix("/_fake/") {
        return Ok(reply(control(shared, parts.method.as_str(), script, &body)));
    }
    let query = parts.uri.query().unwrap_or_default();
    let request_id = format!("{:016x}-{:08x}", wall(), body.len());
    let call = match protocol::parse(parts.method.as_str(), path, query, &parts.headers, &body) {
        Ok(call) => call,
        Err(error) => return Ok(reply(protocol::write_error(Protocol::Json, &error, &request_id))),
    };
    let outcome = shared.lock().call(wall(), &call);
    if outcome.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(outcome.latency_ms)).await;
    }
    if outcome.cut {
        return Err(Cut);
    }
    Ok(reply(match &outcome.answer {
        Ok(value) => protocol::write(&call, value, &request_id),
        Err(error) => protocol::write_error(call.protocol, error, &request_id),
    }))
}

fn control(shared: &Shared, method: &str, script: &str, body: &[u8]) -> Reply {
    let input = if body.is_empty() { Ok(serde_json::Value::Null) } else { serde_json::from_slice(body) };
    let answer = match input {
        Ok(input) => shared.lock().control(wall(), &shared.start, method, script, &input),
        Err(error) => Err(AwsError::new("BadScript", error.to_string())),
    };
    match answer {
        Ok(value) => Reply {
            status: 200,
            headers: vec![("content-type", "application/json".to_owned())],
            body: value.to_string().into_bytes(),
        },
        Err(error) => protocol::write_error(Protocol::Json, &error, "script"),
    }
}

fn reply(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

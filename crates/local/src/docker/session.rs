//! The session of a BuildKit build. Docker pulls a base image from a registry that wants a token only for a build that has one,
//! and refuses with "no active sessions" otherwise.
//!
//! A session is a connection on which the roles change: after the upgrade the daemon is the client, of gRPC over HTTP/2, and asks
//! for credentials, secrets and files. Ours has none of them to give: the context goes with the build's own request, and
//! registries are read without credentials. So one call is answered, which asks whether we live, and all others are not known.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use super::CALL_TIMEOUT;
use super::{Docker, DockerError, DockerResult};
use crate::core::now;
use crate::labels;

/// Ends when it is dropped.
pub(super) struct Session {
    pub id: String,
    _connection: AbortOnDropHandle<()>,
}

impl Docker {
    pub(super) async fn session(&self) -> DockerResult<Session> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = labels::short_hash(
            &["session", &std::process::id().to_string(), &number.to_string(), &now().to_string()],
            32,
        );
        let open = self.open_session(&id);
        let upgraded = tokio::time::timeout(CALL_TIMEOUT, open)
            .await
            .map_err(|_| DockerError::Unavailable("the engine did not open a session".to_owned()))??;
        let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(upgraded, service_fn(|request| async move { answer(&request) }));
        // How it ends is told by the build.
        let connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(serve.await) }));
        Ok(Session { id, _connection: connection })
    }

    async fn open_session(&self, id: &str) -> DockerResult<hyper::upgrade::Upgraded> {
        let broken = |e: hyper::Error| DockerError::Unavailable(format!("session with the engine: {e}"));
        let stream = UnixStream::connect(self.socket())
            .await
            .map_err(|e| DockerError::Unavailable(format!("no engine answers at {}: {e}", self.socket().display())))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection.with_upgrades());
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/session", self.prefix()))
            .header("host", "engine")
            .header("connection", "Upgrade")
            .header("upgrade", "h2c")
            .header("x-docker-expose-session-uuid", id)
            .header("x-docker-expose-session-name", "landfall")
            .body(Full::new(Bytes::new()))
            .map_err(|e| DockerError::Decode(format!("POST /session: {e}")))?;
        let response: Response<Incoming> = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.read(response).await?;
            return Err(DockerError::Decode("POST /session".to_owned()));
        }
        hyper::upgrade::on(response).await.map_err(broken)
    }
}

/// In gRPC: `SERVING` (field 1 is 1) to who asks for our health, else `UNIMPLEMENTED`, which the daemon takes for "none".
fn answer(
    request: &Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = std::convert::Infallible> + use<>>, http::Error> {
    let (message, status): (&'static [u8], _) = match request.uri().path() {
        "/grpc.health.v1.Health/Check" => (&[0, 0, 0, 0, 2, 8, 1], "0"),
        _ => (&[], "12"),
    };
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))]);
    Response::builder()
        .header("content-type", "application/grpc")
        .body(Full::new(Bytes::from_static(message)).with_trailers(async { Some(Ok(trailers)) }))
}

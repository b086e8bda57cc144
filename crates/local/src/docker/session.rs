//! The session of a BuildKit build. Docker pulls a base image from a registry that wants a token only for a build that has one,
//! and refuses with "no active sessions" otherwise.
//!
//! A session is a connection on which the roles change: after the upgrade the daemon is the client, of gRPC over HTTP/2, and asks
//! for logins, secrets and files. Ours has logins to give, and no more: the context goes with the build's own request. Two calls are
//! answered, the other one asks whether we live; all others are not known.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use landfall_registry::Repository;
use landfall_registry::credentials::Login;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use super::CALL_TIMEOUT;
use super::buildkit::{first_text, put_text};
use super::{Docker, DockerError, DockerResult};
use crate::core::now;
use crate::labels;

const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";

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
        let docker = self.clone();
        let answering = service_fn(move |request| answer(docker.clone(), request));
        let serve =
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(upgraded, answering);
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
            .header("x-docker-expose-session-grpc-method", CREDENTIALS)
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

/// In gRPC: `SERVING` (field 1 is 1) to who asks for our health, user (1) and secret (2) of a registry, else `UNIMPLEMENTED`, which
/// the daemon takes for "none".
async fn answer(
    docker: Docker,
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, http::Error> {
    let message = match request.uri().path() {
        "/grpc.health.v1.Health/Check" => Some(vec![8, 1]),
        CREDENTIALS => Some(credentials(&docker, request).await),
        _ => None,
    };
    let status = HeaderValue::from_static(if message.is_some() { "0" } else { "12" });
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), status)]);
    let body = Full::new(message.map(framed).unwrap_or_default());
    let body = body.with_trailers(async { Some(Ok(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(body)
}

/// Not compressed, the length, the message.
fn framed(message: Vec<u8>) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, &message].concat().into()
}

/// The host is field 1. Nobody's login is an empty message.
async fn credentials(docker: &Docker, request: Request<Incoming>) -> Vec<u8> {
    let Ok(body) = Limited::new(request.into_body(), 64 * 1024).collect().await else { return Vec::new() };
    let Some(host) = body.to_bytes().get(5..).and_then(first_text) else { return Vec::new() };
    let repository = Repository { registry: host, name: String::new(), plain: false };
    let login = docker.login(&repository).await;
    let mut message = Vec::new();
    if let Some((user, secret)) = login.as_ref().and_then(Login::user_and_secret) {
        put_text(&mut message, 1, user);
        put_text(&mut message, 2, secret);
    }
    message
}

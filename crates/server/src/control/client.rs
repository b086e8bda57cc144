//! The other end of the control socket.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use landfall_model::ids::EnvironmentId;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::follow::{self, Follow};
use super::socket::{Envelope, LOGS};
use super::{Control, ControlError, ControlRequest, ControlResponse, LogLines};

/// Speaks to a running server. Cheap to clone; every call is a connection of its own.
#[derive(Debug, Clone)]
pub struct ControlClient {
    path: PathBuf,
}

impl ControlClient {
    /// `None` when nobody answers on the socket.
    pub async fn connect(path: &Path) -> Option<Self> {
        UnixStream::connect(path).await.ok()?;
        Some(Self { path: path.to_owned() })
    }

    /// The answer, when it is a success. The connection lives as long as the answer's body.
    async fn post(&self, path: &str, body: Vec<u8>) -> Result<Incoming, String> {
        let stream = UnixStream::connect(&self.path).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let request = http::Request::post(path)
            .header(http::header::HOST, "landfall")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes::Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
        Err(format!("answered {status}: {}", String::from_utf8_lossy(&body)))
    }

    async fn exchange(&self, body: Vec<u8>) -> Result<Envelope, String> {
        let body = self.post("/control", body).await?.collect().await.map_err(|e| e.to_string())?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| format!("answered what this version does not know: {error}"))
    }

    fn unanswered(&self, why: &str) -> ControlError {
        ControlError::Unavailable(format!("the server on {} did not answer: {why}", self.path.display()))
    }
}

#[async_trait]
impl Control for ControlClient {
    async fn call(&self, request: ControlRequest) -> Result<ControlResponse, ControlError> {
        let body = serde_json::to_vec(&request).map_err(|error| ControlError::Internal(error.to_string()))?;
        match self.exchange(body).await {
            Ok(Envelope::Ok(response)) => Ok(response),
            Ok(Envelope::Error(error)) => Err(error),
            Err(why) => Err(self.unanswered(&why)),
        }
    }

    async fn follow_logs(&self, environment: EnvironmentId, history: usize) -> LogLines {
        let (send, receive) = mpsc::channel(16);
        let asked = match serde_json::to_vec(&Follow { environment, history }) {
            Ok(body) => self.post(LOGS, body).await,
            Err(error) => Err(error.to_string()),
        };
        match asked {
            Ok(body) => drop(tokio::spawn(follow::receive(body, send))),
            // There is room for one.
            Err(why) => drop(send.try_send(Err(self.unanswered(&why)))),
        }
        receive
    }
}

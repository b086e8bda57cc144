//! The other end of the control socket.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::socket::Envelope;
use super::{Control, ControlError, ControlRequest, ControlResponse};

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

    async fn exchange(&self, body: Vec<u8>) -> Result<Envelope, String> {
        let stream = UnixStream::connect(&self.path).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let request = http::Request::post("/control")
            .header(http::header::HOST, "landfall")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes::Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
        drop(sender);
        driver.abort();
        if !status.is_success() {
            return Err(format!("answered {status}: {}", String::from_utf8_lossy(&body)));
        }
        serde_json::from_slice(&body).map_err(|error| format!("answered what this version does not know: {error}"))
    }
}

#[async_trait]
impl Control for ControlClient {
    async fn call(&self, request: ControlRequest) -> Result<ControlResponse, ControlError> {
        let body = serde_json::to_vec(&request).map_err(|error| ControlError::Internal(error.to_string()))?;
        match self.exchange(body).await {
            Ok(Envelope::Ok(response)) => Ok(response),
            Ok(Envelope::Error(error)) => Err(error),
            Err(why) => {
                Err(ControlError::Unavailable(format!("the server on {} did not answer: {why}", self.path.display())))
            }
        }
    }
}

//! The control socket: HTTP and JSON on a Unix socket that only its owner can open. `POST /control` takes a
//! [`ControlRequest`] and answers `{"ok": ControlResponse}` or `{"error": ControlError}`. `POST /control/logs` takes
//! `{"environment", "history"}` and answers a JSON object a line, `{"line": LogLine}` or at last `{"error": ControlError}`,
//! until the environment is gone.
//!
//! Whoever binds it holds the state directory's lock already, so a socket file that is there is either stale or somebody
//! else's mistake. It is removed only when nobody answers on it.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::follow::{Follow, LineBody};
use super::{Control, ControlError, ControlRequest, ControlResponse};
use crate::service::Service;

pub(super) const LOGS: &str = "/control/logs";

/// What travels back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Envelope {
    Ok(ControlResponse),
    Error(ControlError),
}

/// Binds `path` with mode 0600, in the place of a stale socket.
///
/// # Errors
/// `AddrInUse` when somebody answers there, `AlreadyExists` when something that is no socket is there.
pub async fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is there and is not a socket; move it away", path.display()),
            ));
        }
        Ok(_) => {
            if UnixStream::connect(path).await.is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    format!("another server answers on {}", path.display()),
                ));
            }
            std::fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Made under another name and moved: it is never there with wider rights than it shall have.
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

/// What is done for those who ask on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    All,
    /// Nothing is begun for others: the process ends with its own work.
    Look,
}

/// Serves until `cancel` or the service's own shutdown, then removes the socket.
///
/// # Errors
/// Of the listener.
pub async fn serve(
    service: Service,
    access: Access,
    listener: UnixListener,
    path: &Path,
    cancel: CancellationToken,
) -> io::Result<()> {
    let ends = service.shutdown_token();
    let router = Router::new()
        .route("/control", post(answer))
        .route(LOGS, post(logs))
        .layer(DefaultBodyLimit::max(1 << 20))
        .with_state((service, access));
    let stop = CancellationToken::new();
    let serving = axum::serve(listener, router).with_graceful_shutdown({
        let stop = stop.clone();
        async move { stop.cancelled().await }
    });
    let ending = async {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = ends.cancelled() => {}
        }
        stop.cancel();
        // Long polls end by themselves once the service stops; this is for those that do not.
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    let result = tokio::select! {
        served = serving.into_future() => served,
        () = ending => Ok(()),
    };
    let _ = std::fs::remove_file(path);
    result
}

async fn answer(
    State((service, access)): State<(Service, Access)>,
    Json(request): Json<ControlRequest>,
) -> Json<Envelope> {
    if access == Access::Look && !request.begins_nothing() {
        let message = "this is a command at its own work: it begins nothing for others".to_owned();
        return Json(Envelope::Error(ControlError::Conflict(message)));
    }
    Json(match service.call(request).await {
        Ok(response) => Envelope::Ok(response),
        Err(error) => Envelope::Error(error),
    })
}

async fn logs(State((service, _)): State<(Service, Access)>, Json(request): Json<Follow>) -> Response {
    let lines = service.follow_logs(request.environment, request.history).await;
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(LineBody(lines))).into_response()
}

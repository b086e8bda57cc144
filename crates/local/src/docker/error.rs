//! Errors of the engine, told apart by what to do about them. Podman answers 500 for a name conflict, a port in use and a
//! bad command alike, so the message decides where the status does not.

use http::StatusCode;
use landfall_ports::PortError;
use serde::Deserialize;

pub type DockerResult<T> = Result<T, DockerError>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum DockerError {
    /// No engine, or it broke off: the call may or may not have had its effect.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    NotFound(String),
    /// The name is taken, or the thing is in use.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    PortInUse(String),
    /// The engine has no subnet left for a network, or the one that was asked for overlaps with another's.
    #[error("{0}")]
    NoSubnet(String),
    /// The container's command cannot be run.
    #[error("{0}")]
    BadCommand(String),
    #[error("engine answered {status}: {message}")]
    Other { status: u16, message: String },
    #[error("unexpected answer of the engine to {0}")]
    Decode(String),
}

impl DockerError {
    pub fn is_unavailable(&self) -> bool {
        matches!(self, DockerError::Unavailable(_))
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, DockerError::NotFound(_))
    }
}

impl From<DockerError> for PortError {
    fn from(error: DockerError) -> Self {
        let text = error.to_string();
        match error {
            DockerError::Unavailable(_) => PortError::Unavailable(text),
            DockerError::NotFound(_) => PortError::NotFound(text),
            DockerError::Conflict(_) | DockerError::PortInUse(_) | DockerError::NoSubnet(_) => {
                PortError::Conflict(text)
            }
            DockerError::BadCommand(_) => PortError::Invalid(text),
            DockerError::Other { status, .. } if status >= 500 => PortError::Unavailable(text),
            DockerError::Other { .. } => PortError::Invalid(text),
            DockerError::Decode(_) => PortError::Bug(text),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    message: String,
    cause: String,
}

pub(super) fn from_response(status: StatusCode, body: &[u8]) -> DockerError {
    let message = match serde_json::from_slice::<Body>(body) {
        Ok(body) if !body.message.is_empty() => body.message,
        Ok(body) if !body.cause.is_empty() => body.cause,
        _ => String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_owned(),
    };
    classify(status.as_u16(), message)
}

fn classify(status: u16, message: String) -> DockerError {
    let lower = message.to_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| lower.contains(needle));
    // Before the status: Docker answers 404.
    if has(&[
        "non-overlapping ipv4 address pool",
        "address pools have been fully subnetted",
        "pool overlaps with other one",
        "is already used on the host or by another config",
    ]) {
        return DockerError::NoSubnet(message);
    }
    if status == 404
        || has(&[
            "no such container",
            "container not known",
            "no such image",
            "image not known",
            "network not found",
            "no such network",
        ])
    {
        return DockerError::NotFound(message);
    }
    if has(&["address already in use", "port is already allocated"]) {
        return DockerError::PortInUse(message);
    }
    if has(&[
        "executable file not found",
        "exec format error",
        "no command or entrypoint",
        "no command specified",
        "stat /",
        "permission denied: unknown",
        "oci permission denied",
        "oci runtime attempted to invoke a command that was not found",
        "unable to find user",
        "chdir to cwd",
    ]) {
        return DockerError::BadCommand(message);
    }
    if status == 409
        || has(&[
            "is already in use",
            "already exists",
            "image is in use",
            "image used by",
            "has associated containers",
            "network is being used",
            "has active endpoints",
            "has dependent containers",
        ])
    {
        return DockerError::Conflict(message);
    }
    DockerError::Other { status, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_apart_by_message() {
        let kind = |status, text: &str| classify(status, text.to_owned());
        assert!(matches!(kind(500, "no such container: x"), DockerError::NotFound(_)));
        assert!(matches!(kind(404, "whatever"), DockerError::NotFound(_)));
        assert!(matches!(kind(500, "the container name \"x\" is already in use by 12"), DockerError::Conflict(_)));
        assert!(matches!(kind(409, "conflict"), DockerError::Conflict(_)));
        assert!(matches!(
            kind(500, "rootlessport listen tcp 127.0.0.1:80: bind: address already in use"),
            DockerError::PortInUse(_)
        ));
        assert!(matches!(
            kind(
                500,
                "runc: exec: \"/nope\": stat /nope: no such file or directory: OCI runtime attempted to invoke a command that was not found"
            ),
            DockerError::BadCommand(_)
        ));
        assert!(matches!(
            kind(
                404,
                "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
            ),
            DockerError::NoSubnet(_)
        ));
        assert!(matches!(kind(403, "Pool overlaps with other one on this address space"), DockerError::NoSubnet(_)));
        assert!(matches!(kind(500, "boom"), DockerError::Other { status: 500, .. }));
    }

    #[test]
    fn body_of_either_shape() {
        let error = from_response(StatusCode::INTERNAL_SERVER_ERROR, br#"{"cause":"c","message":"m","response":500}"#);
        assert_eq!(error.to_string(), "engine answered 500: m");
        let error = from_response(StatusCode::INTERNAL_SERVER_ERROR, b"plain\n");
        assert_eq!(error.to_string(), "engine answered 500: plain");
    }
}

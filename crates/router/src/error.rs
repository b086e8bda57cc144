//! Errors by remedy, as they also travel over the control socket.

use serde::{Deserialize, Serialize};

/// What went wrong, split by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterError {
    /// The router does not answer, or its disk is full. May pass by itself.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    NotFound(String),
    /// Exists and belongs to somebody else, or is in use.
    #[error("{0}")]
    Conflict(String),
    /// The request can never succeed as it is.
    #[error("{0}")]
    Invalid(String),
    /// Ours.
    #[error("internal error: {0}")]
    Bug(String),
}

pub type RouterResult<T> = Result<T, RouterError>;

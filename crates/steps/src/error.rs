//! From a port's error, split by remedy, to a step's error, split by what the engine does.

use landfall_ports::PortError;
use landfall_workflow::event::{ErrorClass, StepError};

use crate::codes;

const FULL_RETRY_MS: u64 = 10_000;

pub(crate) fn step_error(class: ErrorClass, code: &str, message: impl Into<String>) -> StepError {
    StepError { class, code: code.to_owned(), message: message.into(), detail: None, retry_after_ms: None }
}

pub(crate) fn fatal(code: &str, message: impl Into<String>) -> StepError {
    step_error(ErrorClass::Fatal, code, message)
}

pub(crate) fn retryable(code: &str, message: impl Into<String>) -> StepError {
    step_error(ErrorClass::Retryable, code, message)
}

/// With the root cause; empty lines are left out.
pub(crate) fn with_detail(mut error: StepError, lines: &[String]) -> StepError {
    let text = lines.iter().filter(|line| !line.trim().is_empty()).cloned().collect::<Vec<_>>().join("\n");
    error.detail = Some(text).filter(|text| !text.is_empty());
    error
}

pub(crate) fn port(error: PortError) -> StepError {
    let message = error.to_string();
    match error {
        PortError::Unavailable(_) => retryable(codes::UNAVAILABLE, message),
        PortError::Throttled { retry_after_ms, .. } => {
            StepError { retry_after_ms, ..step_error(ErrorClass::Throttled, codes::THROTTLED, message) }
        }
        // As long as the step may take, room may still be made.
        PortError::Full(_) => {
            StepError { retry_after_ms: Some(FULL_RETRY_MS), ..step_error(ErrorClass::Throttled, codes::FULL, message) }
        }
        PortError::Denied(_) => fatal(codes::DENIED, message),
        PortError::NotFound(_) => fatal(codes::NOT_FOUND, message),
        PortError::Conflict(_) => fatal(codes::CONFLICT, message),
        PortError::Invalid(_) => fatal(codes::INVALID, message),
        PortError::Bug(_) => fatal(codes::BUG, message),
    }
}

/// For deletions: what is gone already is what was wanted, and what is in use will not be for long.
pub(crate) fn deleting(result: Result<(), PortError>) -> Result<(), StepError> {
    match result {
        Ok(()) | Err(PortError::NotFound(_)) => Ok(()),
        Err(PortError::Conflict(message)) => Err(retryable(codes::CONFLICT, message)),
        Err(error) => Err(port(error)),
    }
}

//! The error a command ends with: an exit code, what happened, why, and what to do about it.

use std::error::Error as StdError;
use std::fmt;

use crate::exit::ExitCode;

#[derive(Debug)]
pub(crate) struct CliError {
    pub(crate) code: ExitCode,
    pub(crate) message: String,
    /// From the outside in.
    pub(crate) causes: Vec<String>,
    pub(crate) hints: Vec<String>,
    /// The message was already printed in a better form (diagnostics); only the code is left to tell.
    pub(crate) printed: bool,
}

pub(crate) type CliResult<T> = Result<T, CliError>;

impl CliError {
    pub(crate) fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), hints: Vec::new(), printed: false }
    }

    /// Everything there was to say has been printed.
    pub(crate) fn silent(code: ExitCode) -> Self {
        Self { printed: true, ..Self::new(code, code.word()) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn cause(mut self, error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // A source repeated in its parent's text adds nothing.
            if !self.causes.last().is_some_and(|last| last.ends_with(&text)) && text != self.message {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    pub(crate) fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => ExitCode::NotFound,
            std::io::ErrorKind::PermissionDenied => ExitCode::Denied,
            _ => ExitCode::Io,
        };
        Self::new(code, what).cause(error)
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::new(ExitCode::Internal, what).hint("this is a defect of Landfall: please report it with the log")
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": {
                "code": self.code.word(),
                "exit_code": self.code as u8,
                "message": self.message,
                "causes": self.causes,
                "hints": self.hints,
            }
        })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for CliError {}

/// The known name closest to `wanted`, for "did you mean".
pub(crate) fn closest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// "no X called Y", with a suggestion or the list of what there is.
pub(crate) fn not_found<'a>(kind: &str, wanted: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> CliError {
    let error = CliError::new(ExitCode::NotFound, format!("no {kind} called `{wanted}`"));
    if let Some(name) = closest(wanted, known.clone()) {
        return error.hint(format!("did you mean `{name}`?"));
    }
    let names: Vec<&str> = known.into_iter().take(10).collect();
    if names.is_empty() {
        return error.hint(format!("there is no {kind} at all"));
    }
    error.hint(format!("there is: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn suggests_what_is_close_and_lists_what_is_not() {
        let known = ["my-project-test123", "my-project-login"];
        let close = not_found("preview", "my-project-test124", known);
        assert_eq!(close.hints, ["did you mean `my-project-test123`?"]);
        let far = not_found("preview", "zzz", known);
        assert_eq!(far.hints, ["there is: my-project-test123, my-project-login"]);
        assert_eq!(not_found("preview", "zzz", []).hints, ["there is no preview at all"]);
    }

    #[test]
    fn causes_are_not_repeated() {
        let inner = std::io::Error::other("disk full");
        let error = CliError::new(ExitCode::Io, "cannot write the backup").cause(&inner);
        assert_eq!(error.causes, ["disk full"]);
    }
}

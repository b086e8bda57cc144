//! Exit codes. docs/exit-codes.md documents them; a test holds the two together. Below 64 the numbers say how a piece of
//! work ended; from 64 on they are those of sysexits.h and say why it did not begin.

use landfall_workflow::Outcome;

macro_rules! exit_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $word:literal;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum ExitCode { $($(#[doc = $doc])+ $variant = $code),+ }

        impl ExitCode {
            #[cfg(test)]
            pub(crate) const ALL: &[(ExitCode, &'static str)] = &[$((ExitCode::$variant, concat!($($doc),+))),+];

            /// The word for it in JSON output.
            pub(crate) fn word(self) -> &'static str {
                match self { $(ExitCode::$variant => $word),+ }
            }
        }
    };
}

exit_codes! {
    /// Done as asked.
    Ok = 0, "ok";
    /// Failed; what was done before the failure was kept, as the plan says.
    Failed = 1, "failed";
    /// `plan`, `diff`, `drift`, `secrets diff`: something differs.
    Different = 2, "different";
    /// Failed, and everything it had done was undone.
    RolledBack = 3, "rolled_back";
    /// Failed, and undoing failed too: something is left behind. `landfall gc` shows it.
    RollbackFailed = 4, "rollback_failed";
    /// A newer request for the same environment took over.
    Superseded = 5, "superseded";
    /// Stopped by a person, and undone.
    Aborted = 6, "aborted";
    /// Waits for an operator: `landfall executions show`, then `retry`, `skip` or `abort`.
    Paused = 7, "paused";
    /// Not finished within `--timeout`; it goes on.
    TimedOut = 8, "timed_out";
    /// Ended because the world had changed since it was planned; a new plan follows.
    NeedsReplan = 9, "needs_replan";
    /// Accepted and waiting: for a place under the limit, or for somebody's approval.
    Waiting = 10, "waiting";
    /// The demonstration found something left behind.
    TraceLeft = 11, "trace_left";
    /// `landfall pipeline`: somebody said no, or nobody said yes in time.
    Rejected = 12, "rejected";
    /// The command line makes no sense.
    Usage = 64, "usage";
    /// The manifest is not valid; every problem was printed.
    InvalidManifest = 65, "invalid_manifest";
    /// No such file, environment, execution or service.
    NotFound = 66, "not_found";
    /// No container engine, or another service that is needed does not answer.
    Unavailable = 69, "unavailable";
    /// A defect of Landfall.
    Internal = 70, "internal";
    /// The thing exists and belongs to somebody else, or is in the way.
    Conflict = 73, "conflict";
    /// Reading or writing failed.
    Io = 74, "io";
    /// Another process owns the state directory and begins nothing for others, or does not answer.
    Locked = 75, "locked";
    /// Somebody locked the environment: `landfall status ENV` says who and why.
    EnvironmentLocked = 76, "environment_locked";
    /// Not allowed.
    Denied = 77, "denied";
    /// AWS says that too much is asked of it, for longer than Landfall repeats a call. Nothing was begun: try again
    /// later.
    Throttled = 79, "throttled";
    /// `landfall run`: the task could not be run or followed. Every other code of it is the container's own.
    RunFailed = 125, "run_failed";
    /// Interrupted with Ctrl-C.
    Interrupted = 130, "interrupted";
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => ExitCode::Ok,
            Outcome::RolledBack => ExitCode::RolledBack,
            Outcome::RollbackFailed => ExitCode::RollbackFailed,
            Outcome::Failed => ExitCode::Failed,
            Outcome::Superseded => ExitCode::Superseded,
            Outcome::Aborted => ExitCode::Aborted,
            Outcome::NeedsReplan => ExitCode::NeedsReplan,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_document_lists_exactly_these_codes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/exit-codes.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
        let expected: Vec<String> = ExitCode::ALL
            .iter()
            .map(|(code, what)| format!("| {} | `{}` | {} |", *code as u8, code.word(), what.trim()))
            .collect();
        assert_eq!(rows, expected, "docs/exit-codes.md and crates/landfall/src/exit.rs differ");
    }

    #[test]
    fn no_two_outcomes_share_a_code() {
        use landfall_workflow::Outcome::*;
        let all = [Succeeded, RolledBack, RollbackFailed, Failed, Superseded, Aborted, NeedsReplan];
        let codes: std::collections::BTreeSet<u8> = all.iter().map(|o| ExitCode::from(*o) as u8).collect();
        assert_eq!(codes.len(), all.len());
    }
}

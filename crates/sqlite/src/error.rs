//! How SQLite's errors become ours: split by remedy, with the file and what to do in the text.

use std::path::{Path, PathBuf};

use landfall_ports::journal::JournalError;
use landfall_ports::store::StoreError;
use rusqlite::ErrorCode;

/// Why a state directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else owns the directory: talk to it over its socket, or stop it first.
    #[error("{}", locked_message(.dir, .pid, .since, .control_socket))]
    Locked { dir: PathBuf, pid: Option<u32>, since: Option<String>, control_socket: Option<PathBuf> },
    #[error(
        "{} was written by a newer Landfall (schema {found}; this one knows up to {supported}): \
         run the newer version, or restore a backup made before the upgrade",
        .path.display()
    )]
    Newer { path: PathBuf, found: i64, supported: i64 },
    #[error("{} is not a Landfall database: move it away, or give another --state directory", .path.display())]
    Foreign { path: PathBuf },
    #[error("{} is damaged ({detail}): restore a backup with `landfall restore`", .path.display())]
    Corrupt { path: PathBuf, detail: String },
    #[error("cannot {what} ({}): {source}", .path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot open {}: {message}", .path.display())]
    Unavailable { path: PathBuf, message: String },
}

fn locked_message(dir: &Path, pid: &Option<u32>, since: &Option<String>, socket: &Option<PathBuf>) -> String {
    let mut text = format!("another Landfall process owns {}", dir.display());
    if let Some(pid) = pid {
        text.push_str(&format!(": pid {pid}"));
    }
    if let Some(since) = since {
        text.push_str(&format!(", since {since}"));
    }
    if let Some(socket) = socket {
        text.push_str(&format!(", control socket {}", socket.display()));
    }
    text.push_str("; stop it first, or use another --state directory");
    text
}

impl OpenError {
    pub(crate) fn io(what: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }

    pub(crate) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        match damage(error) {
            true => Self::Corrupt { path: path.to_owned(), detail: error.to_string() },
            false => Self::Unavailable { path: path.to_owned(), message: explain(error) },
        }
    }
}

/// An error type that a logical transaction can end with. `From` gives the meaning of SQLite's own errors.
pub(crate) trait TransactionError: Send + 'static {
    /// Nothing was written and trying again may help.
    fn unavailable(message: String) -> Self;
    fn corrupt(message: String) -> Self;
    /// Whether the file is in trouble, not just this transaction.
    fn is_unavailable(&self) -> bool;
    fn text(&self) -> String;

    fn from_sqlite(error: &rusqlite::Error) -> Self
    where
        Self: Sized,
    {
        match damage(error) {
            true => Self::corrupt(error.to_string()),
            false => Self::unavailable(explain(error)),
        }
    }
}

/// The journal's and the store's errors are the same in all that matters here.
macro_rules! transaction_error {
    ($($error:ident),*) => {$(
        impl TransactionError for $error {
            fn unavailable(message: String) -> Self {
                Self::Unavailable(message)
            }

            fn corrupt(message: String) -> Self {
                Self::Corrupt(message)
            }

            fn is_unavailable(&self) -> bool {
                matches!(self, Self::Unavailable(_))
            }

            fn text(&self) -> String {
                match self {
                    Self::Unavailable(message) => message.clone(),
                    other => other.to_string(),
                }
            }
        }

        impl From<$error> for Failure<$error> {
            fn from(error: $error) -> Self {
                Self(error)
            }
        }
    )*};
}

transaction_error!(JournalError, StoreError);

/// The error inside a transaction: ours, or SQLite's on its way to becoming ours. Exists so that `?` works on both.
pub(crate) struct Failure<E>(pub(crate) E);

impl<E: TransactionError> From<rusqlite::Error> for Failure<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self(E::from_sqlite(&error))
    }
}

impl<E: TransactionError> Failure<E> {
    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self(E::corrupt(message.into()))
    }
}

/// Errors that trying again cannot help: a damaged file, or rows that are not what this program writes.
fn damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(e, _) => {
            matches!(e.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation)
        }
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// SQLite's message, and for the causes that a person can remove, what to do.
pub(crate) fn explain(error: &rusqlite::Error) -> String {
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "nothing was written; free space on this file system (or raise the limit) to go on"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "nothing was written; another program holds the database: close any `sqlite3` shell on it"
        }
        Some(ErrorCode::SystemIoFailure) => "nothing was written; check the disk and the kernel's log",
        Some(ErrorCode::ReadOnly) => "nothing was written; the file or its file system is read-only",
        Some(ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "nothing was written; check that this user may read and write the state directory"
        }
        _ => return error.to_string(),
    };
    format!("{error}: {hint}")
}

//! Copies of the database, and putting one back.
//!
//! `VACUUM INTO` writes a defragmented copy of one moment, in one read transaction, while the writer goes on. It is written
//! under another name, synced and renamed, so that a file of the asked-for name is always a whole backup.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use landfall_ports::store::StoreError;
use rusqlite::{Connection, OpenFlags};

use crate::error::{OpenError, TransactionError};
use crate::{DATABASE_FILE, lock, schema};

/// Why a backup was not put back. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{} exists already: move it away first, restoring never overwrites", .0.display())]
    Exists(PathBuf),
    /// Not readable, not ours, newer, or the directory is owned by a running server.
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{} is damaged: {problem}", .path.display())]
    Damaged { path: PathBuf, problem: String },
}

/// Copies the database at `path` to the new file `to` (mode 0600). Blocks.
pub(crate) fn backup(path: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |what: &str, e: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!("cannot {what} the backup {}: {e}", to.display()))
    };
    if to.exists() {
        return Err(failed("write", &"the file exists already; choose another name"));
    }
    let partial = with_suffix(to, ".partial");
    let result = copy(path, &partial).map_err(|e| failed("write", &e)).and_then(|()| {
        // A hard link fails where a rename would overwrite a file that somebody made meanwhile.
        std::fs::hard_link(&partial, to).and_then(|()| sync_parent(to)).map_err(|e| failed("finish", &e))
    });
    // The link, if made, holds the file. A left-over part would only be overwritten by the next attempt.
    let _ = std::fs::remove_file(&partial);
    result
}

fn copy(path: &Path, partial: &Path) -> Result<(), String> {
    let io = |e: std::io::Error| e.to_string();
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(partial).map_err(io)?;
    let connection = schema::open_reader(path).map_err(|e| e.to_string())?;
    let target = partial.to_str().ok_or("its name is not UTF-8")?;
    connection.execute("VACUUM INTO ?1", [target]).map_err(|e| match StoreError::from_sqlite(&e) {
        StoreError::Unavailable(message) => message,
        other => other.to_string(),
    })?;
    file.sync_all().map_err(io)
}

/// Puts the backup `from` in place as the database of the state directory `dir`. Refuses to overwrite a database, to work
/// beside a running server, and to install a file that is damaged, foreign or newer.
pub fn restore(from: &Path, dir: &Path) -> Result<(), RestoreError> {
    lock::make_state_dir(dir)?;
    let _lock = lock::OwnerLock::acquire(dir, None)?;
    let target = dir.join(DATABASE_FILE);
    for name in [target.clone(), with_suffix(&target, "-wal"), with_suffix(&target, "-journal")] {
        if name.exists() {
            return Err(RestoreError::Exists(name));
        }
    }
    verify(from)?;
    let partial = with_suffix(&target, ".partial");
    let result = install(from, &partial, &target);
    let _ = std::fs::remove_file(&partial);
    result
}

fn install(from: &Path, partial: &Path, target: &Path) -> Result<(), RestoreError> {
    let mut source = File::open(from).map_err(|e| OpenError::io("read the backup", from, e))?;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(partial)
        .and_then(|mut file| std::io::copy(&mut source, &mut file).and_then(|_| file.sync_all()))
        .map_err(|e| OpenError::io("copy the backup", partial, e))?;
    // What was verified is the source; what counts is the copy.
    verify(partial)?;
    match std::fs::hard_link(partial, target) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(RestoreError::Exists(target.to_owned())),
        result => Ok(result
            .and_then(|()| sync_parent(target))
            .map_err(|e| OpenError::io("put the backup in place", target, e))?),
    }
}

/// Reads every page and checks that it is a database that this program can open.
fn verify(path: &Path) -> Result<(), RestoreError> {
    File::open(path).map_err(|e| OpenError::io("read the backup", path, e))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| OpenError::sqlite(path, &e))?;
    schema::check_header(&connection, path)?;
    let damaged = |problem: String| RestoreError::Damaged { path: path.to_owned(), problem };
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|e| OpenError::sqlite(path, &e))?;
    if version == 0 {
        return Err(damaged("it is empty".to_owned()));
    }
    let report: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(|e| damaged(e.to_string()))?;
    if report != "ok" {
        return Err(damaged(report));
    }
    if connection
        .prepare("PRAGMA foreign_key_check")
        .and_then(|mut s| s.exists([]))
        .map_err(|e| damaged(e.to_string()))?
    {
        return Err(damaged("rows refer to rows that are missing".to_owned()));
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

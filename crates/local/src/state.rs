//! Small JSON files, written so that a reader after a crash finds the old one or the new one, never half of one.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use landfall_ports::{PortError, PortResult};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn fail(path: &Path, error: &std::io::Error) -> PortError {
    PortError::Unavailable(format!("{}: {error}", path.display()))
}

pub(crate) fn create_private_dir(path: &Path) -> PortResult<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| fail(path, &e))
}

/// Durable when it returns: temporary file, fsync, rename, fsync of the directory.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> PortResult<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let text = serde_json::to_vec(value).map_err(|e| PortError::Bug(format!("{}: {e}", path.display())))?;
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("tmp{}-{number}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|e| {
        // What is left of it is in nobody's way.
        let _ = fs::remove_file(&temporary);
        fail(path, &e)
    })
}

/// `None` where there is no file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> PortResult<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(path, &e)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| PortError::Bug(format!("{} is damaged: {e}", path.display())))
}

/// Every `*.json` of a directory, and how many more there are that cannot be read: those are logged and left out.
pub(crate) fn read_all<T: DeserializeOwned>(directory: &Path) -> PortResult<(Vec<T>, usize)> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(e) => return Err(fail(directory, &e)),
    };
    let (mut all, mut damaged) = (Vec::new(), 0);
    for entry in entries {
        let path = entry.map_err(|e| fail(directory, &e))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match read_json(&path) {
            Ok(Some(value)) => all.push(value),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "state file left out");
                damaged += 1;
            }
        }
    }
    Ok((all, damaged))
}

/// Gone is fine.
pub(crate) fn remove(path: &Path) -> PortResult<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(fail(path, &e)),
        _ => Ok(()),
    }
}

/// Gone is fine.
pub(crate) fn remove_dir(path: &Path) -> PortResult<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(fail(path, &e)),
        _ => Ok(()),
    }
}

/// Runs file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> PortResult<T> + Send + 'static,
) -> PortResult<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| PortError::Bug(format!("file work: {e}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_whole_and_nothing_else_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &1).unwrap();
        write_json(&path, &2).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join("b.json"), "{").unwrap();
        assert_eq!(read_all::<u32>(dir.path()).unwrap(), (vec![2], 1));
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(matches!(write_json(&dir.path().join("no/such/x.json"), &1), Err(PortError::Unavailable(_))));
    }
}

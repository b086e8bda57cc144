//! The lock file: one owner per state directory.
//!
//! The lock is the kernel's (`flock`), so it ends with its holder however that dies; the text in the file only says who it
//! is, for messages and for commands that look for the server's socket. A command that merely asks who the holder is takes
//! the shared lock for an instant, and an owner starting in that instant would see it as held: hence the retry below.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::OpenError;

/// The lock file's name in the state directory.
pub const LOCK_FILE: &str = "landfall.lock";

const ATTEMPTS: u32 = 5;
const RETRY: Duration = Duration::from_millis(20);

/// Who owns a state directory, as far as it said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    pub pid: Option<u32>,
    /// RFC 3339.
    pub since: Option<String>,
    pub control_socket: Option<PathBuf>,
}

/// Who owns `dir` now; `None`: nobody (the file may still name the last owner).
pub fn holder(dir: &Path) -> std::io::Result<Option<Holder>> {
    let mut file = match File::open(dir.join(LOCK_FILE)) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Holds the lock while it lives.
#[derive(Debug)]
pub(crate) struct OwnerLock {
    file: File,
}

impl OwnerLock {
    pub(crate) fn acquire(dir: &Path, control_socket: Option<&Path>) -> Result<Self, OpenError> {
        let path = dir.join(LOCK_FILE);
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| OpenError::io("open the lock file", &path, e))?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => std::thread::sleep(RETRY),
                Err(TryLockError::WouldBlock) => {
                    let Holder { pid, since, control_socket } = read_holder(&mut file);
                    return Err(OpenError::Locked { dir: dir.to_owned(), pid, since, control_socket });
                }
                Err(TryLockError::Error(e)) => return Err(OpenError::io("lock", &path, e)),
            }
        }
        write_holder(&mut file, control_socket).map_err(|e| OpenError::io("write the lock file", &path, e))?;
        Ok(Self { file })
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        // The text goes first, so that nobody reads a holder that is no more. Closing the file would unlock it as well.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn write_holder(file: &mut File, control_socket: Option<&Path>) -> std::io::Result<()> {
    let mut text = format!("pid {}\nsince {}\n", std::process::id(), jiff::Timestamp::now().strftime("%FT%TZ"));
    if let Some(socket) = control_socket {
        text.push_str(&format!("socket {}\n", socket.display()));
    }
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    // A holder that cannot be read is still a holder.
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(8192).read_to_string(&mut text));
    let mut holder = Holder::default();
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("pid", value)) => holder.pid = value.parse().ok(),
            Some(("since", value)) => holder.since = Some(value.to_owned()),
            Some(("socket", value)) => holder.control_socket = Some(PathBuf::from(value)),
            _ => {}
        }
    }
    holder
}

/// Makes the state directory, private to its user: it holds webhook bodies and the control socket. One that exists is made
/// private only where it is empty or ours already: somebody's `--state /tmp` is not ours to close (our files are 0600 there).
pub(crate) fn make_state_dir(dir: &Path) -> Result<(), OpenError> {
    let look = |e| OpenError::io("look at the state directory", dir, e);
    if !dir.is_dir() {
        return DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| OpenError::io("create the state directory", dir, e));
    }
    let open_to_others = std::fs::metadata(dir).map_err(look)?.permissions().mode() & 0o077 != 0;
    if open_to_others && (dir.join(LOCK_FILE).exists() || std::fs::read_dir(dir).map_err(look)?.next().is_none()) {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
            .map_err(|e| OpenError::io("make the state directory private (mode 0700)", dir, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_owner_is_told_about_the_first() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(dir.path()).unwrap(), None);
        let lock = OwnerLock::acquire(dir.path(), Some(Path::new("/run/landfall.sock"))).unwrap();
        let error = OwnerLock::acquire(dir.path(), None).unwrap_err();
        let text = error.to_string();
        let pid = std::process::id();
        assert!(text.contains(&format!("pid {pid}")), "{text}");
        assert!(text.contains("/run/landfall.sock"), "{text}");
        assert!(matches!(error, OpenError::Locked { pid: Some(p), .. } if p == pid));

        let seen = holder(dir.path()).unwrap().unwrap();
        assert_eq!(seen.pid, Some(pid));
        assert_eq!(seen.control_socket.as_deref(), Some(Path::new("/run/landfall.sock")));

        drop(lock);
        assert_eq!(holder(dir.path()).unwrap(), None);
        OwnerLock::acquire(dir.path(), None).unwrap();
    }

    #[test]
    fn the_state_directory_becomes_private() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/state");
        make_state_dir(&state).unwrap();
        assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
        make_state_dir(&state).unwrap();
        assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);

        let shared = dir.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        std::fs::write(shared.join("somebody-elses"), "").unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o755)).unwrap();
        make_state_dir(&shared).unwrap();
        assert_eq!(std::fs::metadata(&shared).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_state_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = make_state_dir(&file.path().join("state")).unwrap_err().to_string();
        assert!(error.contains("create the state directory") && error.contains("state"), "{error}");
    }
}

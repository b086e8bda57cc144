//! What the file system says of a build context: whether it can have changed, without reading it.
//!
//! A file whose content changes gets a new time of change (ctime), which nobody sets at will. Those times have a grain, so a file
//! that was changed right before it was read may change again and look the same: a stamp is good for later only if all of its times
//! are older than the reading by more than that.

use std::os::unix::fs::MetadataExt as _;

use landfall_ports::PortResult;
use sha2::{Digest as _, Sha256};

use super::context::{Context, Opened};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The same as long as nothing has changed.
    pub text: String,
    /// The latest time of change, in seconds since 1970.
    pub newest: i64,
}

/// Of what a build may see of it.
///
/// # Errors
/// As of a build's context: it leaves the directory, has no Dockerfile, or is too large.
pub fn stamp(context: Context<'_>) -> PortResult<Stamp> {
    let (mut hash, mut newest) = (Sha256::new(), i64::MIN);
    Opened::of(context)?.walk_any(&mut |_, name, metadata| {
        let name = name.as_os_str().as_encoded_bytes();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(metadata.mode().to_le_bytes());
        // A directory's times change with what is left out of the context.
        if !metadata.is_dir() {
            newest = newest.max(metadata.ctime());
            for number in [metadata.ctime(), metadata.ctime_nsec(), metadata.mtime(), metadata.mtime_nsec()] {
                hash.update(number.to_le_bytes());
            }
            for number in [metadata.dev(), metadata.ino(), metadata.len()] {
                hash.update(number.to_le_bytes());
            }
        }
        Ok(())
    })?;
    Ok(Stamp { text: hex::encode(hash.finalize()), newest })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_changed_file_is_seen_even_with_its_old_size_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000)).unwrap();
        };
        let context = Context { root: dir.path(), directory: ".", dockerfile: "Dockerfile", state: None };
        let stamp = || stamp(context).unwrap();
        write("Dockerfile", "FROM scratch");
        write(".dockerignore", "*.log");
        write("a", "1");
        let first = stamp();
        write("x.log", "left out");
        assert_eq!(stamp(), first);
        assert!(first.newest > 1_000, "that of the change, which nobody sets");
        // The clock of times of change ticks every few milliseconds.
        std::thread::sleep(Duration::from_millis(50));
        write("a", "2");
        let second = stamp();
        assert_ne!(second.text, first.text);
        std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert_ne!(stamp().text, second.text);
    }
}

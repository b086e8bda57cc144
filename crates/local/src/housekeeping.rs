//! What nobody asks for any more is removed at start and once a day: logs of builds and hooks, caches of repositories.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::images::LocalImages;
use crate::state;

const DAY: Duration = Duration::from_secs(24 * 3600);
const KEEP_LOGS: Duration = Duration::from_secs(14 * 24 * 3600);
const KEEP_CACHES: Duration = Duration::from_secs(30 * 24 * 3600);

pub(crate) async fn run(images: &LocalImages, hooks: &Path) {
    loop {
        let directories = [images.directory.clone(), hooks.to_owned()];
        let removed = state::blocking(move || {
            directories.iter().for_each(|directory| remove_old_files(directory, SystemTime::now(), KEEP_LOGS));
            Ok(())
        })
        .await;
        if let Err(error) = removed {
            tracing::warn!(%error, "old logs are left");
        }
        images.remove_unused_caches(SystemTime::now(), KEEP_CACHES).await;
        tokio::time::sleep(DAY).await;
    }
}

/// Whether the file was last written longer ago than that. One that cannot be looked at is not old.
pub(crate) fn is_old(path: &Path, now: SystemTime, keep: Duration) -> bool {
    let written = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| now.duration_since(written).is_ok_and(|age| age > keep))
}

fn remove_old_files(directory: &Path, now: SystemTime, keep: Duration) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_file())
            && is_old(&path, now, keep)
            && let Err(error) = state::remove(&path)
        {
            tracing::warn!(%error, "old file is left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (name, age) in [("old.log", 15), ("young.log", 13)] {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(now - DAY * age).unwrap();
        }
        fs::create_dir(dir.path().join("directory")).unwrap();
        remove_old_files(dir.path(), now + DAY / 2, KEEP_LOGS);
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["directory", "young.log"]);
    }
}

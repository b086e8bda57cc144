//! What Podman said of itself the last time. To say it, it asks the package manager about each of its programs, a quarter of a
//! second in all, and every command would wait for that. It holds as long as the service's socket is the same one. Docker answers
//! at once, and is asked each time.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::docker::types::{Info, Version};
use crate::docker::{Docker, DockerResult};
use crate::state;

const FILE: &str = "info.json";

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    of: Of,
    info: Info,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Of {
    socket: PathBuf,
    inode: u64,
    /// When the socket was made: seconds and nanoseconds.
    made: (i64, i64),
    version: String,
}

/// `directory`: where it is kept, if the state directory is there at all.
pub(crate) async fn info(docker: &Docker, version: &Version, directory: &Path) -> DockerResult<Info> {
    let of = if version.podman { of(docker.socket(), version) } else { None };
    let Some(of) = of else { return docker.info().await };
    let path = directory.join(FILE);
    if let Ok(Some(Known { of: known, info })) = state::read_json::<Known>(&path)
        && known == of
    {
        return Ok(info);
    }
    let info = docker.info().await?;
    if directory.parent().is_some_and(Path::is_dir) {
        let known = Known { of, info };
        let kept = state::create_private_dir(directory).and_then(|()| state::write_json(&path, &known));
        if let Err(error) = kept {
            tracing::debug!(%error, "the engine is asked again next time");
        }
        return Ok(known.info);
    }
    Ok(info)
}

fn of(socket: &Path, version: &Version) -> Option<Of> {
    let found = std::fs::metadata(socket).ok()?;
    Some(Of {
        socket: socket.to_owned(),
        inode: found.ino(),
        made: (found.ctime(), found.ctime_nsec()),
        version: version.version.clone(),
    })
}

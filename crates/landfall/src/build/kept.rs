//! What is kept of images in the state directory: a record beside each layout, and a lock around all.

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths;

/// What is known of a built image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) inputs: String,
    pub(crate) digest: String,
    /// The repository that has it, where it was not built here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) found_in: Option<String>,
    /// Empty: the builder's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) platforms: Vec<String>,
}

/// Whole, or as it was.
pub(super) fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}

pub(super) fn read(room: &Path) -> Option<Record> {
    serde_json::from_slice(&std::fs::read(room.join("image.json")).ok()?).ok()
}

/// Gone is fine.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    let done = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    done.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Whoever builds or pushes is alone in a state directory.
pub(super) fn lock(directory: &Path) -> CliResult<File> {
    paths::lock(directory, "lock", || {
        let message = "another `landfall build` or `landfall push` works in this state directory";
        CliError::new(ExitCode::Locked, message)
            .hint("wait for it, or give this one a directory of its own with --state")
    })
}

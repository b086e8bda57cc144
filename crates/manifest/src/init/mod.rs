//! A first manifest from what a repository already says about itself: its Dockerfiles and its Compose file.
use std::collections::BTreeMap;
use std::path::Path;

/// What `propose` looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepoFiles {
    /// Path relative to the repository (with `/`) → text, of every Dockerfile and Compose file found.
    pub files: BTreeMap<String, String>,
    /// The directory's own name.
    pub directory: String,
    /// The URL of the git remote `origin`.
    pub remote: Option<String>,
}

/// Looks for Dockerfiles and Compose files in `dir` and three levels below, and for the git remote.
pub fn scan(_dir: &Path) -> std::io::Result<RepoFiles> {
    Ok(RepoFiles::default())
}

/// The text of a first manifest, commented; it passes [`crate::load`].
pub fn propose(_files: &RepoFiles) -> String {
    String::new()
}

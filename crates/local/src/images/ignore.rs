//! What ignore files leave out of a build context.
//!
//! BuildKit reads `<Dockerfile>.dockerignore` and only without one `.dockerignore`; Podman and Buildah read `.containerignore`, and newer
//! ones `<Dockerfile>.containerignore` first; docker's old builder and its API know `.dockerignore` alone.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use landfall_ports::{PortError, PortResult};

const MOST_BYTES: u64 = 1024 * 1024;
const DOCKERS: &str = ".dockerignore";
const PODMANS: &str = ".containerignore";

/// The files that may rule a build. Where several do, which one is the builder's choice, so only what all of them leave out is left out.
pub(super) struct Rules {
    files: Vec<Ignore>,
    names: Vec<PathBuf>,
}

impl Rules {
    /// As the engine's API has it.
    pub(super) fn of_engine(directory: &Path) -> PortResult<Self> {
        Self::read(directory, vec![PathBuf::from(DOCKERS)])
    }

    /// Of whatever builder comes.
    pub(super) fn of_any(directory: &Path, dockerfile: &Path) -> PortResult<Self> {
        let beside = |suffix: &str| {
            let mut name = dockerfile.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Self::read(directory, vec![PathBuf::from(DOCKERS), PathBuf::from(PODMANS), beside(DOCKERS), beside(PODMANS)])
    }

    fn read(directory: &Path, names: Vec<PathBuf>) -> PortResult<Self> {
        let files =
            names.iter().filter_map(|name| Ignore::read(directory, name).transpose()).collect::<PortResult<_>>()?;
        Ok(Self { files, names })
    }

    /// Builders are given these files even where they name themselves.
    pub(super) fn ignore(&self, path: &Path) -> bool {
        !self.files.is_empty()
            && self.files.iter().all(|file| file.ignores(path))
            && !self.names.iter().any(|name| name == path)
    }

    pub(super) fn bring_back(&self) -> bool {
        self.files.iter().any(Ignore::brings_back)
    }
}

/// One such file: later lines win, `!` brings back.
struct Ignore(Vec<(GlobMatcher, bool)>);

impl Ignore {
    fn parse(name: &str, text: &str) -> Self {
        let mut rules = Vec::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (keep, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
            match glob {
                Ok(glob) => rules.push((glob.compile_matcher(), keep)),
                // Not the line itself: logs hold no content of a checkout.
                Err(_) => tracing::warn!(file = name, line = number + 1, "invalid pattern left out"),
            }
        }
        Self(rules)
    }

    /// Only a regular file: a commit may hold a link to anything of this machine, `/dev/zero` among it.
    fn read(directory: &Path, name: &Path) -> PortResult<Option<Self>> {
        let (path, name) = (directory.join(name), name.to_string_lossy());
        let refuse = |why: &str| Err(PortError::Invalid(format!("build context: {name} {why}")));
        match std::fs::symlink_metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return refuse(&format!("cannot be read: {e}")),
            Ok(metadata) if !metadata.is_file() => return refuse("is no regular file"),
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)) {
            Err(e) => refuse(&format!("cannot be read: {e}")),
            Ok(read) if read as u64 > MOST_BYTES => refuse("is larger than 1 MiB"),
            Ok(_) => Ok(Some(Self::parse(&name, &String::from_utf8_lossy(&bytes)))),
        }
    }

    /// Whether the path, or a directory above it, is left out.
    fn ignores(&self, path: &Path) -> bool {
        let mut ignored = false;
        for (glob, keep) in &self.0 {
            if path.ancestors().filter(|part| !part.as_os_str().is_empty()).any(|part| glob.is_match(part)) {
                ignored = !keep;
            }
        }
        ignored
    }

    fn brings_back(&self) -> bool {
        self.0.iter().any(|(_, keep)| *keep)
    }
}

//! The build context as a tar or as a digest, without what `.dockerignore` leaves out.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use landfall_ports::{PortError, PortResult};
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1024 * 1024;
const IGNORE_BYTES: u64 = MIB;
const PIECE: usize = 256 * 1024;

/// What a context may weigh: it is held in memory while the engine takes it.
#[derive(Clone, Copy)]
struct Limits {
    bytes: u64,
    entries: usize,
}

const LIMITS: Limits = Limits { bytes: 1024 * MIB, entries: 100_000 };

/// `.dockerignore`: later lines win, `!` brings back.
struct Ignore(Vec<(GlobMatcher, bool)>);

impl Ignore {
    fn parse(text: &str) -> Self {
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
                Err(_) => tracing::warn!(line = number + 1, ".dockerignore: invalid pattern left out"),
            }
        }
        Self(rules)
    }

    /// Only a regular file: a commit may hold a link to anything of this machine, `/dev/zero` among it.
    fn read(directory: &Path) -> PortResult<Self> {
        let path = directory.join(".dockerignore");
        let refuse = |why: &str| Err(PortError::Invalid(format!("build context: .dockerignore {why}")));
        match std::fs::symlink_metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self(Vec::new())),
            Err(e) => return refuse(&format!("cannot be read: {e}")),
            Ok(metadata) if !metadata.is_file() => return refuse("is no regular file"),
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(IGNORE_BYTES + 1).read_to_end(&mut bytes)) {
            Err(e) => refuse(&format!("cannot be read: {e}")),
            Ok(read) if read as u64 > IGNORE_BYTES => refuse("is larger than 1 MiB"),
            Ok(_) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
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

/// A relative path that stays inside.
fn inside(path: &str) -> PortResult<PathBuf> {
    let path = Path::new(path);
    if path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Ok(path.to_owned());
    }
    Err(PortError::Invalid(format!("{} leaves the repository", path.display())))
}

/// Packs `context` of the checkout at `root`: regular files, directories and symbolic links, which are packed as links and
/// never followed.
pub(super) fn pack(root: &Path, context: &str, dockerfile: &str) -> PortResult<Vec<u8>> {
    pack_within(root, context, dockerfile, LIMITS)
}

/// What a build may see of `context`, as a digest: names, kinds, whether a file may be executed, contents. Times are not in it.
///
/// # Errors
/// As of a build's context: it leaves the directory, has no Dockerfile, or is too large.
pub fn digest(root: &Path, context: &str, dockerfile: &str) -> PortResult<String> {
    let mut hash = Sha256::new();
    // Most files fit: then each takes one read, where the library's copying takes three.
    let mut buffer = vec![0; PIECE];
    walk(root, context, dockerfile, LIMITS, &mut |path, name, metadata| {
        let field = |hash: &mut Sha256, bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(&mut hash, name.as_os_str().as_encoded_bytes());
        if metadata.is_dir() {
            hash.update(b"d");
        } else if metadata.is_symlink() {
            hash.update(b"l");
            field(&mut hash, std::fs::read_link(path)?.as_os_str().as_encoded_bytes());
        } else {
            hash.update(if metadata.permissions().mode() & 0o111 == 0 { b"f" } else { b"x" });
            hash.update(metadata.len().to_le_bytes());
            let (mut file, mut left) = (File::open(path)?, metadata.len());
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let read = file.read(&mut buffer[..most])?;
                if read == 0 {
                    return Err(std::io::Error::other("changed while it was read"));
                }
                hash.update(&buffer[..read]);
                left -= read as u64;
            }
        }
        Ok(())
    })?;
    Ok(hex::encode(hash.finalize()))
}

fn pack_within(root: &Path, context: &str, dockerfile: &str, limits: Limits) -> PortResult<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    walk(root, context, dockerfile, limits, &mut |path, name, _| tar.append_path_with_name(path, name))?;
    tar.into_inner().map_err(|e| PortError::Invalid(format!("build context {context}: {e}")))
}

/// Given each entry's path, its name within the context, and what it is.
type Visit<'a> = &'a mut dyn FnMut(&Path, &Path, &Metadata) -> std::io::Result<()>;

fn walk(root: &Path, context: &str, dockerfile: &str, limits: Limits, visit: Visit<'_>) -> PortResult<()> {
    let dockerfile = inside(dockerfile)?;
    let base = root.join(inside(context)?);
    let fail = |path: &Path, e: std::io::Error| PortError::Invalid(format!("build context {}: {e}", path.display()));
    let real =
        base.canonicalize().map_err(|_| PortError::Invalid(format!("no directory {context:?} in that commit")))?;
    let real_root = root.canonicalize().map_err(|e| fail(root, e))?;
    if !real.starts_with(&real_root) || !real.is_dir() {
        return Err(PortError::Invalid(format!("build context {context:?} is no directory of the repository")));
    }
    if !real.join(&dockerfile).is_file() {
        return Err(PortError::Invalid(format!("no {} in {context:?} of that commit", dockerfile.display())));
    }
    let ignore = Ignore::read(&real)?;
    let mut walk = Walk { visit, base: &real, ignore, dockerfile: &dockerfile, left: limits, limits };
    walk.add(Path::new(""))
}

struct Walk<'a> {
    visit: Visit<'a>,
    base: &'a Path,
    ignore: Ignore,
    dockerfile: &'a Path,
    left: Limits,
    limits: Limits,
}

impl Walk<'_> {
    fn add(&mut self, at: &Path) -> PortResult<()> {
        let directory = self.base.join(at);
        let fail = |e: std::io::Error| PortError::Invalid(format!("build context {}: {e}", directory.display()));
        let mut entries: Vec<_> =
            std::fs::read_dir(&directory).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)?;
        // The same commit gives the same tar, and so hits the engine's layer cache.
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = at.join(entry.file_name());
            let kind = entry.file_type().map_err(fail)?;
            let ignored = self.ignore.ignores(&path) && path != self.dockerfile && path != Path::new(".dockerignore");
            if !ignored && (kind.is_dir() || kind.is_file() || kind.is_symlink()) {
                let metadata = entry.metadata().map_err(fail)?;
                self.count(if kind.is_file() { metadata.len() } else { 0 })?;
                (self.visit)(&entry.path(), &path, &metadata).map_err(fail)?;
            }
            if kind.is_dir() && (!ignored || self.ignore.brings_back() || self.dockerfile.starts_with(&path)) {
                self.add(&path)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> PortResult<()> {
        let left = self.left.bytes.checked_sub(bytes).zip(self.left.entries.checked_sub(1));
        let Some((bytes, entries)) = left else {
            return Err(PortError::Invalid(format!(
                "the build context is larger than {} MiB or has more than {} files: leave out by .dockerignore what the \
                 build does not need",
                self.limits.bytes / MIB,
                self.limits.entries
            )));
        };
        self.left = Limits { bytes, entries };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(bytes);
        let mut names: Vec<String> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn leaves_out_what_dockerignore_says() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = dir.path().join("app").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        ["Dockerfile", "a.log", "keep.log", "src/a.log", "src/main.rs", "target/x/y"].into_iter().for_each(write);
        std::fs::write(dir.path().join("app/.dockerignore"), "# c\n*.log\n!keep.log\ntarget\nDockerfile\n").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("app/link")).unwrap();
        let packed = pack(dir.path(), "app", "Dockerfile").unwrap();
        let expected = [".dockerignore", "Dockerfile", "keep.log", "link", "src", "src/a.log", "src/main.rs"];
        let trimmed: Vec<_> = names(&packed).iter().map(|name| name.trim_end_matches('/').to_owned()).collect();
        assert_eq!(trimmed, expected);
    }

    #[test]
    fn a_digest_is_of_what_the_build_sees() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).unwrap();
        let digest = || digest(dir.path(), ".", "Dockerfile").unwrap();
        write("Dockerfile", "FROM scratch");
        write(".dockerignore", "*.log");
        write("a", "1");
        let first = digest();
        write("x.log", "left out");
        std::fs::File::options()
            .write(true)
            .open(dir.path().join("a"))
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        assert_eq!(digest(), first, "neither what is left out nor times count");
        let mut seen = std::collections::BTreeSet::from([first]);
        write("a", "2");
        assert!(seen.insert(digest()));
        std::fs::set_permissions(dir.path().join("a"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(seen.insert(digest()));
        std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert!(seen.insert(digest()));
        std::os::unix::fs::symlink("b", dir.path().join("link")).unwrap();
        assert!(seen.insert(digest()));
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(seen.insert(digest()));
        write("Dockerfile", "FROM scratch\n");
        assert!(seen.insert(digest()));
    }

    #[test]
    fn stays_inside_the_repository() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch").unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
        for (context, dockerfile) in
            [("..", "Dockerfile"), ("/etc", "passwd"), ("out", "passwd"), (".", "../x"), ("no", "D")]
        {
            assert!(pack(dir.path(), context, dockerfile).is_err(), "{context} {dockerfile}");
        }
        assert!(pack(dir.path(), ".", "Dockerfile").is_ok());
        assert!(pack(dir.path(), ".", "Containerfile").unwrap_err().to_string().contains("no Containerfile"));
    }

    #[test]
    fn dockerignore_is_a_regular_file_of_moderate_size() {
        let dir = tempfile::tempdir().unwrap();
        let ignore = dir.path().join(".dockerignore");
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch").unwrap();
        std::os::unix::fs::symlink("/dev/zero", &ignore).unwrap();
        let error = pack(dir.path(), ".", "Dockerfile").unwrap_err().to_string();
        assert!(error.contains(".dockerignore is no regular file"), "{error}");
        std::fs::remove_file(&ignore).unwrap();
        File::create(&ignore).unwrap().set_len(IGNORE_BYTES + 1).unwrap();
        let error = pack(dir.path(), ".", "Dockerfile").unwrap_err().to_string();
        assert!(error.contains("larger than 1 MiB"), "{error}");
    }

    #[test]
    fn size_and_number_are_limited_and_only_what_a_tar_should_hold_goes_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch").unwrap();
        std::fs::write(dir.path().join("data"), [0; 100]).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let pack = |bytes, entries| pack_within(dir.path(), ".", "Dockerfile", Limits { bytes, entries });
        assert_eq!(names(&pack(112, 2).unwrap()), ["Dockerfile", "data"]);
        for (bytes, entries) in [(111, 2), (112, 1)] {
            let error = pack(bytes, entries).unwrap_err().to_string();
            assert!(error.contains("leave out by .dockerignore"), "{error}");
        }
    }
}

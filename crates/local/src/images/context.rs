//! The build context as a tar, a digest or a copy, without what ignore files leave out.
//!
//! The state directory is never part of it: CI keeps it below the checkout, where a cache can save it, and what a build writes there
//! would change what was built, and end up in the image.

use std::fs::{File, Metadata, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use landfall_ports::{PortError, PortResult};
use sha2::{Digest as _, Sha256};

use super::ignore::Rules;

const MIB: u64 = 1024 * 1024;
const PIECE: usize = 256 * 1024;

/// What a context may weigh: it is held in memory while the engine takes it.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    bytes: u64,
    entries: usize,
}

pub(super) const LIMITS: Limits = Limits { bytes: 1024 * MIB, entries: 100_000 };

/// A relative path that stays inside.
fn inside(path: &str) -> PortResult<PathBuf> {
    let path = Path::new(path);
    if path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Ok(path.to_owned());
    }
    Err(PortError::Invalid(format!("{} leaves the repository", path.display())))
}

/// A directory that an image is built from.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The checkout, which is not left.
    pub root: &'a Path,
    /// Below `root`.
    pub directory: &'a str,
    /// Below `directory`.
    pub dockerfile: &'a str,
    /// Where Landfall keeps its state; it may be below `directory`.
    pub state: Option<&'a Path>,
}

/// Packs it for the engine: regular files, directories and symbolic links, which are packed as links and never followed.
pub(super) fn pack(context: Context<'_>) -> PortResult<Vec<u8>> {
    pack_within(context, LIMITS)
}

/// What a build may see of it, as a digest: names, kinds, whether a file may be executed, contents. Times are not in it.
///
/// # Errors
/// As of a build's context: it leaves the directory, has no Dockerfile, or is too large.
pub fn digest(context: Context<'_>) -> PortResult<String> {
    let mut hash = Sha256::new();
    // Most files fit: then each takes one read, where the library's copying takes three.
    let mut buffer = vec![0; PIECE];
    Opened::of(context)?.walk_any(&mut |path, name, metadata| {
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

/// Puts what the digest is of into `into`, where the state directory is below the context: builders cannot be told to leave it out in
/// one way that all of them know. `false`: the directory can be handed over as it is.
///
/// # Errors
/// As of [`digest`], and where a file can be neither linked nor copied.
pub fn stage(context: Context<'_>, into: &Path) -> PortResult<bool> {
    let open = Opened::of(context)?;
    if open.state.is_none() {
        return Ok(false);
    }
    let mut modes = Vec::new();
    std::fs::create_dir_all(into).map_err(|e| PortError::Invalid(format!("{}: {e}", into.display())))?;
    open.walk_any(&mut |path, name, metadata| {
        let to = into.join(name);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if metadata.is_dir() {
            std::fs::create_dir_all(&to)?;
            // It will be removed again.
            modes.push((to, Permissions::from_mode(metadata.permissions().mode() | 0o700)));
        } else if metadata.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(path)?, to)?;
        } else {
            // A link where the file system has it: it takes neither time nor place.
            std::fs::hard_link(path, &to).or_else(|_| std::fs::copy(path, &to).map(drop))?;
        }
        Ok(())
    })?;
    // At last: a directory that may not be written to has all its files by now.
    for (path, mode) in modes.into_iter().rev() {
        std::fs::set_permissions(&path, mode).map_err(|e| PortError::Invalid(format!("{}: {e}", path.display())))?;
    }
    Ok(true)
}

fn pack_within(context: Context<'_>, limits: Limits) -> PortResult<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    let open = Opened::of(context)?;
    let rules = Rules::of_engine(&open.base)?;
    open.walk(rules, limits, &mut |path, name, _| tar.append_path_with_name(path, name))?;
    tar.into_inner().map_err(|e| PortError::Invalid(format!("build context {}: {e}", context.directory)))
}

/// Given each entry's path, its name within the context, and what it is.
type Visit<'a> = &'a mut dyn FnMut(&Path, &Path, &Metadata) -> std::io::Result<()>;

/// A context that was found, and is inside the checkout.
pub(super) struct Opened {
    base: PathBuf,
    dockerfile: PathBuf,
    /// Below `base`, where it is.
    state: Option<PathBuf>,
}

impl Opened {
    pub(super) fn of(Context { root, directory, dockerfile, state }: Context<'_>) -> PortResult<Self> {
        let dockerfile = inside(dockerfile)?;
        let base = root.join(inside(directory)?);
        let invalid = |text: String| PortError::Invalid(text);
        let real = base.canonicalize().map_err(|_| invalid(format!("no directory {directory:?} in that commit")))?;
        let real_root = root.canonicalize().map_err(|e| invalid(format!("build context {}: {e}", root.display())))?;
        if !real.starts_with(&real_root) || !real.is_dir() {
            return Err(invalid(format!("build context {directory:?} is no directory of the repository")));
        }
        if !real.join(&dockerfile).is_file() {
            return Err(invalid(format!("no {} in {directory:?} of that commit", dockerfile.display())));
        }
        // One that is not there has nothing to leave out.
        let state = state.and_then(|state| state.canonicalize().ok());
        let state = state.and_then(|state| state.strip_prefix(&real).ok().map(Path::to_path_buf));
        if state.as_deref() == Some(Path::new("")) {
            return Err(invalid(format!(
                "build context {directory:?} is the state directory: give the state another one"
            )));
        }
        Ok(Self { base: real, dockerfile, state })
    }

    /// What whichever builder comes may see.
    pub(super) fn walk_any(&self, visit: Visit<'_>) -> PortResult<()> {
        self.walk(Rules::of_any(&self.base, &self.dockerfile)?, LIMITS, visit)
    }

    fn walk(&self, rules: Rules, limits: Limits, visit: Visit<'_>) -> PortResult<()> {
        Walk {
            visit,
            base: &self.base,
            rules,
            dockerfile: &self.dockerfile,
            state: self.state.as_deref(),
            left: limits,
            limits,
        }
        .add(Path::new(""))
    }
}

struct Walk<'a> {
    visit: Visit<'a>,
    base: &'a Path,
    rules: Rules,
    dockerfile: &'a Path,
    state: Option<&'a Path>,
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
        entries.sort_by_cached_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = at.join(entry.file_name());
            let kind = entry.file_type().map_err(fail)?;
            if self.state == Some(&*path) {
                continue;
            }
            let ignored = self.rules.ignore(&path) && path != self.dockerfile;
            // Directories on the way to the state are there because of it: only what else they hold counts.
            let on_the_way = self.state.is_some_and(|state| state.starts_with(&path));
            if !ignored && !on_the_way && (kind.is_dir() || kind.is_file() || kind.is_symlink()) {
                let metadata = entry.metadata().map_err(fail)?;
                self.count(if kind.is_file() { metadata.len() } else { 0 })?;
                (self.visit)(&entry.path(), &path, &metadata).map_err(fail)?;
            }
            if kind.is_dir() && (!ignored || self.rules.bring_back() || self.dockerfile.starts_with(&path)) {
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

    fn of<'a>(root: &'a Path, directory: &'a str, dockerfile: &'a str) -> Context<'a> {
        Context { root, directory, dockerfile, state: None }
    }

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
        let packed = pack(of(dir.path(), "app", "Dockerfile")).unwrap();
        let expected = [".dockerignore", "Dockerfile", "keep.log", "link", "src", "src/a.log", "src/main.rs"];
        let trimmed: Vec<_> = names(&packed).iter().map(|name| name.trim_end_matches('/').to_owned()).collect();
        assert_eq!(trimmed, expected);
    }

    #[test]
    fn a_digest_is_of_what_the_build_sees() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).unwrap();
        let digest = || digest(of(dir.path(), ".", "Dockerfile")).unwrap();
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
    fn a_state_directory_inside_is_no_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("Dockerfile", "FROM scratch");
        write("run/start", "1");
        std::fs::set_permissions(dir.path().join("run/start"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("run/start", dir.path().join("link")).unwrap();
        let state = dir.path().join(".kept/landfall");
        let context = Context { state: Some(&state), ..of(dir.path(), ".", "Dockerfile") };
        let first = digest(context).unwrap();
        assert!(!stage(context, &dir.path().join("no")).unwrap(), "it is not there yet");
        write(".kept/landfall/images/layout/blob", "2");
        assert_eq!(digest(context).unwrap(), first);
        assert!(!names(&pack(context).unwrap()).iter().any(|name| name.contains("kept")));
        write(".kept/note", "3");
        assert_ne!(digest(context).unwrap(), first, "only the state is left out");

        let staged = state.join("staged");
        assert!(stage(context, &staged).unwrap());
        assert_eq!(digest(of(&staged, ".", "Dockerfile")).unwrap(), {
            std::fs::rename(&state, dir.path().with_extension("moved")).unwrap();
            let without = digest(context).unwrap();
            std::fs::rename(dir.path().with_extension("moved"), &state).unwrap();
            without
        });
        let all = Context { state: Some(dir.path()), ..context };
        assert!(digest(all).unwrap_err().to_string().contains("is the state directory"));
    }

    #[test]
    fn what_one_builder_may_see_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).unwrap();
        let digest = || digest(of(dir.path(), ".", "Dockerfile")).unwrap();
        for other in [".containerignore", "Dockerfile.dockerignore", "Dockerfile.containerignore"] {
            write("Dockerfile", "FROM scratch");
            write(".dockerignore", "*.log\n*.tmp\n");
            write(other, "*.tmp\n*.bak\n");
            ["a.log", "a.tmp", "a.bak"].into_iter().for_each(|name| write(name, "1"));
            let first = digest();
            write("a.tmp", "2");
            assert_eq!(digest(), first, "{other}: both leave it out");
            for name in ["a.log", "a.bak"] {
                write(name, "2");
                assert_ne!(digest(), first, "{other}: {name}");
                write(name, "1");
            }
            std::fs::remove_file(dir.path().join(".dockerignore")).unwrap();
            let alone = digest();
            write("a.bak", "2");
            assert_eq!(digest(), alone, "{other} alone");
            std::fs::remove_file(dir.path().join(other)).unwrap();
        }
    }

    #[test]
    fn stays_inside_the_repository() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch").unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
        for (context, dockerfile) in
            [("..", "Dockerfile"), ("/etc", "passwd"), ("out", "passwd"), (".", "../x"), ("no", "D")]
        {
            assert!(pack(of(dir.path(), context, dockerfile)).is_err(), "{context} {dockerfile}");
        }
        assert!(pack(of(dir.path(), ".", "Dockerfile")).is_ok());
        assert!(pack(of(dir.path(), ".", "Containerfile")).unwrap_err().to_string().contains("no Containerfile"));
    }

    #[test]
    fn dockerignore_is_a_regular_file_of_moderate_size() {
        let dir = tempfile::tempdir().unwrap();
        let ignore = dir.path().join(".dockerignore");
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch").unwrap();
        std::os::unix::fs::symlink("/dev/zero", &ignore).unwrap();
        let error = pack(of(dir.path(), ".", "Dockerfile")).unwrap_err().to_string();
        assert!(error.contains(".dockerignore is no regular file"), "{error}");
        std::fs::remove_file(&ignore).unwrap();
        File::create(&ignore).unwrap().set_len(MIB + 1).unwrap();
        let error = pack(of(dir.path(), ".", "Dockerfile")).unwrap_err().to_string();
        assert!(error.contains("larger than 1 MiB"), "{error}");
    }

    #[test]
    fn size_and_number_are_limited_and_only_what_a_tar_should_hold_goes_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch").unwrap();
        std::fs::write(dir.path().join("data"), [0; 100]).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let pack = |bytes, entries| pack_within(of(dir.path(), ".", "Dockerfile"), Limits { bytes, entries });
        assert_eq!(names(&pack(112, 2).unwrap()), ["Dockerfile", "data"]);
        for (bytes, entries) in [(111, 2), (112, 1)] {
            let error = pack(bytes, entries).unwrap_err().to_string();
            assert!(error.contains("leave out by .dockerignore"), "{error}");
        }
    }
}

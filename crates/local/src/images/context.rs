//! The build context as a tar, without what `.dockerignore` leaves out.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use landfall_ports::{PortError, PortResult};

/// `.dockerignore`: later lines win, `!` brings back.
struct Ignore(Vec<(GlobMatcher, bool)>);

impl Ignore {
    fn parse(text: &str) -> Self {
        let mut rules = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (keep, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
            match glob {
                Ok(glob) => rules.push((glob.compile_matcher(), keep)),
                Err(error) => tracing::warn!(%error, pattern, ".dockerignore: pattern left out"),
            }
        }
        Self(rules)
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

/// Packs `context` of the checkout at `root`. A symbolic link is packed as one and never followed.
pub(super) fn pack(root: &Path, context: &str, dockerfile: &str) -> PortResult<Vec<u8>> {
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
    let ignore = Ignore::parse(&std::fs::read_to_string(real.join(".dockerignore")).unwrap_or_default());
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    add(&mut tar, &real, Path::new(""), &ignore, &dockerfile)?;
    tar.into_inner().map_err(|e| fail(&real, e))
}

fn add(tar: &mut tar::Builder<Vec<u8>>, base: &Path, at: &Path, ignore: &Ignore, dockerfile: &Path) -> PortResult<()> {
    let fail = |e: std::io::Error| PortError::Invalid(format!("build context {}: {e}", base.join(at).display()));
    let mut entries: Vec<_> =
        std::fs::read_dir(base.join(at)).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)?;
    // The same commit gives the same tar, and so hits the engine's layer cache.
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = at.join(entry.file_name());
        let kind = entry.file_type().map_err(fail)?;
        let ignored = ignore.ignores(&path) && path != *dockerfile && path != Path::new(".dockerignore");
        if kind.is_dir() {
            if !ignored {
                tar.append_path_with_name(entry.path(), &path).map_err(fail)?;
            }
            if !ignored || ignore.brings_back() || dockerfile.starts_with(&path) {
                add(tar, base, &path, ignore, dockerfile)?;
            }
        } else if !ignored && (kind.is_file() || kind.is_symlink()) {
            tar.append_path_with_name(entry.path(), &path).map_err(fail)?;
        }
    }
    Ok(())
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
}

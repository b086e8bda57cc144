//! The I/O of `init`, kept apart: which files there are.
#![expect(clippy::disallowed_methods, reason = "the one place of `init` that reads; `propose` is pure")]

use std::path::Path;

use super::RepoFiles;

const DEPTH: usize = 3;
const MAX_FILES: usize = 100;
const MAX_BYTES: u64 = 256 * 1024;
const SKIPPED: [&str; 5] = ["node_modules", "target", "vendor", "dist", "build"];

/// Looks for Dockerfiles and Compose files in `dir` and three levels below (hidden and vendored directories left out),
/// and for the git remote. Files that are large or not UTF-8 are left out.
pub fn scan(dir: &Path) -> std::io::Result<RepoFiles> {
    let dir = dir.canonicalize()?;
    let directory = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found = RepoFiles { directory, remote: remote(&dir), ..RepoFiles::default() };
    collect(&dir, "", 0, &mut found)?;
    Ok(found)
}

fn collect(dir: &Path, prefix: &str, depth: usize, found: &mut RepoFiles) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        let path = format!("{prefix}{name}");
        if kind.is_dir() && depth < DEPTH && !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
            // A directory that may not be read has nothing to say; the rest still has.
            let _ = collect(&entry.path(), &format!("{path}/"), depth + 1, found);
        }
        let wanted = name.starts_with("Dockerfile") || (depth == 0 && super::COMPOSE.contains(&name.as_str()));
        if kind.is_file()
            && wanted
            && found.files.len() < MAX_FILES
            && entry.metadata()?.len() <= MAX_BYTES
            && let Ok(text) = std::fs::read_to_string(entry.path())
        {
            found.files.insert(path, text);
        }
    }
    Ok(())
}

/// `url` of `[remote "origin"]` in .git/config. Credentials in it are dropped.
fn remote(dir: &Path) -> Option<String> {
    let config = std::fs::read_to_string(dir.join(".git/config")).ok()?;
    let section = config.split_once("[remote \"origin\"]")?.1;
    let section = section.split("\n[").next()?;
    let url = section.lines().find_map(|line| line.trim().strip_prefix("url")?.trim_start().strip_prefix('='))?.trim();
    match url.split_once("://") {
        Some((scheme, rest)) if scheme.starts_with("http") => {
            let host_at = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(host_at);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            Some(format!("{scheme}://{host}{path}"))
        }
        _ => Some(url.to_owned()),
    }
}

//! Checkouts of exact commits, from a bare cache per source.
//!
//! The repository is somebody else's: no hooks run, no submodules are fetched, nothing prompts, and neither a source nor
//! a commit can pass for an option.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use landfall_ports::{PortError, PortResult};
use tokio::process::Command;

use crate::core::locked;
use crate::housekeeping::is_old;
use landfall_model::redact;

use crate::{labels, state};

const TIMEOUT: Duration = Duration::from_secs(300);
/// A file in each repository, written at each use.
const USED: &str = "landfall-used";

pub(super) struct Cache {
    repositories: PathBuf,
    checkouts: PathBuf,
    /// One fetch per repository at a time.
    locks: std::sync::Mutex<std::collections::HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A directory with the commit's files; removed when dropped.
#[derive(Debug)]
pub(super) struct Checkout(PathBuf);

impl Checkout {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // Left-overs are removed at the next start.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Cache {
    pub(super) fn new(repositories: &Path, checkouts: &Path) -> PortResult<Self> {
        // What a crash left.
        state::remove_dir(checkouts)?;
        state::create_private_dir(repositories)?;
        state::create_private_dir(checkouts)?;
        Ok(Self {
            repositories: repositories.to_owned(),
            checkouts: checkouts.to_owned(),
            locks: std::sync::Mutex::default(),
        })
    }

    pub(super) async fn checkout(&self, source: &str, commit: &str) -> PortResult<Checkout> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        if !is_commit(commit) {
            return Err(PortError::Invalid(format!("{commit:?} is not a full commit id")));
        }
        if source.is_empty() || source.starts_with('-') {
            let source = redact::credentials(source);
            return Err(PortError::Invalid(format!("{source:?} is neither a path nor a URL of a repository")));
        }
        // A URL's credentials never leave this file: not in errors, and so not in the journal or a page.
        let key = labels::short_hash(&[source], 16);
        let bare = self.repositories.join(&key);
        let lock = Arc::clone(locked(&self.locks).entry(key).or_default());
        {
            let _one = lock.lock().await;
            self.fetch(&bare, source, commit).await?;
            let used = bare.join(USED);
            std::fs::write(&used, "").map_err(|e| PortError::Unavailable(format!("{}: {e}", used.display())))?;
        }
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let checkout = Checkout(self.checkouts.join(format!("{commit}-{}-{number}", std::process::id())));
        state::create_private_dir(checkout.path())?;
        let index = checkout.path().with_extension("index");
        let mut git = git(&bare);
        git.arg("--work-tree").arg(checkout.path()).env("GIT_INDEX_FILE", &index);
        let done = run(git.args(["checkout", "--force", commit, "--", "."]), "git checkout").await;
        state::remove(&index)?;
        done.map(|()| checkout)
    }

    /// Removes the repositories that nothing was built from for so long.
    pub(super) async fn remove_unused(&self, now: SystemTime, keep: Duration) {
        let entries = std::fs::read_dir(&self.repositories).into_iter().flatten().flatten();
        for entry in entries {
            let bare = entry.path();
            let lock = locked(&self.locks).entry(entry.file_name().to_string_lossy().into_owned()).or_default().clone();
            // A use in between has fetched again or written the mark.
            let _one = lock.lock().await;
            if [USED, "HEAD"].iter().any(|file| bare.join(file).exists() && !is_old(&bare.join(file), now, keep)) {
                continue;
            }
            if let Err(error) = state::blocking(move || state::remove_dir(&bare)).await {
                tracing::warn!(%error, "unused repository is left");
            }
        }
    }

    async fn fetch(&self, bare: &Path, source: &str, commit: &str) -> PortResult<()> {
        if !bare.join("HEAD").exists() {
            let mut init = Command::new("git");
            run(init.args(["init", "--quiet", "--bare", "--"]).arg(bare), "git init").await?;
        }
        let have = run(git(bare).args(["cat-file", "-e"]).arg(format!("{commit}^{{commit}}")), "git cat-file").await;
        if have.is_ok() {
            return Ok(());
        }
        remove_leavings(bare).map_err(|e| PortError::Unavailable(format!("{}: {e}", bare.display())))?;
        // The commit alone where the server allows it; otherwise all branches, and pull requests' heads.
        let alone =
            run(git(bare).args(["fetch", "--quiet", "--no-tags", "--depth=1", "--", source, commit]), "git fetch")
                .await;
        if alone.is_ok() {
            return Ok(());
        }
        let heads = [
            "+refs/heads/*:refs/landfall/heads/*",
            "+refs/tags/*:refs/landfall/tags/*",
            "+refs/pull/*/head:refs/landfall/pull/*/head",
        ];
        let mut all = git(bare);
        all.args(["fetch", "--quiet", "--no-tags", "--prune"]);
        if bare.join("shallow").exists() {
            // Commits below one that was fetched alone.
            all.arg("--unshallow");
        }
        run(all.args(["--", source]).args(heads), "git fetch").await?;
        let found = run(git(bare).args(["cat-file", "-e"]).arg(format!("{commit}^{{commit}}")), "git cat-file").await;
        found.map_err(|_| PortError::NotFound(format!("commit {commit} is not in {}", redact::credentials(source))))
    }
}

/// What a killed fetch left: its locks, which would refuse every later fetch, and half packs. Nobody else uses the cache,
/// and our own fetches take turns.
fn remove_leavings(bare: &Path) -> std::io::Result<()> {
    fn walk(directory: &Path, left: &dyn Fn(&str) -> bool, deep: bool) -> std::io::Result<()> {
        let entries = match std::fs::read_dir(directory) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                if deep {
                    walk(&entry.path(), left, deep)?;
                }
            } else if left(&entry.file_name().to_string_lossy()) {
                state::remove(&entry.path()).map_err(std::io::Error::other)?;
            }
        }
        Ok(())
    }
    let lock = |name: &str| name.ends_with(".lock");
    walk(bare, &lock, false)?;
    walk(&bare.join("refs"), &lock, true)?;
    walk(&bare.join("objects/pack"), &|name| name.starts_with("tmp_"), false)
}

fn git(bare: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("--git-dir").arg(bare);
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "protocol.ext.allow=never"]);
    command.args(["-c", "safe.directory=*", "-c", "fetch.recurseSubmodules=false"]);
    // A fetch becomes a pack, which appears whole or not at all: loose objects of a killed one would show a commit whose
    // files are missing.
    command.args(["-c", "fetch.unpackLimit=1", "-c", "transfer.unpackLimit=1"]);
    command
}

async fn run(command: &mut Command, what: &str) -> PortResult<()> {
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_LFS_SKIP_SMUDGE", "1")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(TIMEOUT, command.output())
        .await
        .map_err(|_| PortError::Unavailable(format!("{what} took longer than {} s", TIMEOUT.as_secs())))?
        .map_err(|e| PortError::Unavailable(format!("{what} cannot be run: {e}; is git installed?")))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = redact::credentials(&String::from_utf8_lossy(&output.stderr));
    Err(PortError::Unavailable(format!("{what} failed: {}", errors.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(dir: &Path, script: &str) -> String {
        let output = std::process::Command::new("sh").arg("-ec").arg(script).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn repository(dir: &Path) -> (String, String) {
        let script = "git init -q -b main r; cd r; git config user.email a@b; git config user.name n; echo one > f; \
                      git add f; git commit -qm 1; git rev-parse HEAD; echo two > f; git commit -qam 2; git rev-parse HEAD";
        let commits = shell(dir, script);
        let (first, second) = commits.split_once('\n').unwrap();
        (first.to_owned(), second.to_owned())
    }

    #[tokio::test]
    async fn exact_commits_and_nothing_left() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = repository(dir.path());
        let cache = Cache::new(&dir.path().join("git"), &dir.path().join("co")).unwrap();
        let source = dir.path().join("r").to_string_lossy().into_owned();
        for (commit, text) in [(&second, "two\n"), (&first, "one\n"), (&second, "two\n")] {
            let checkout = cache.checkout(&source, commit).await.unwrap();
            assert_eq!(std::fs::read_to_string(checkout.path().join("f")).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(dir.path().join("co")).unwrap().count(), 0);
        let gone = cache.checkout(&source, &"0".repeat(40)).await.unwrap_err();
        assert!(matches!(gone, PortError::NotFound(_)), "{gone}");
    }

    #[tokio::test]
    async fn options_do_not_pass_for_sources_or_commits() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(&dir.path().join("git"), &dir.path().join("co")).unwrap();
        let commit = "a".repeat(40);
        for (source, commit) in
            [("--upload-pack=touch x", commit.as_str()), ("", &commit), ("/r", "main"), ("/r", "--all")]
        {
            let error = cache.checkout(source, commit).await.unwrap_err();
            assert!(matches!(error, PortError::Invalid(_)), "{source} {commit}: {error}");
        }
    }

    #[tokio::test]
    async fn a_killed_fetch_leaves_nothing_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = repository(dir.path());
        // A pull request of a fork whose head moved on: no branch has its commit, and the server gives out heads only.
        let script = "cd r; git config uploadpack.allowAnySHA1InWant false; git checkout -q --detach; \
                      git commit -q --allow-empty -m pr; git rev-parse HEAD; git commit -q --allow-empty -m more; \
                      git update-ref refs/pull/7/head HEAD; git checkout -q main";
        let pull = shell(dir.path(), script);
        let cache = Cache::new(&dir.path().join("git"), &dir.path().join("co")).unwrap();
        let source = format!("file://{}", dir.path().join("r").display());
        cache.checkout(&source, &second).await.unwrap();
        let bare = std::fs::read_dir(dir.path().join("git")).unwrap().next().unwrap().unwrap().path();
        shell(&bare, "git config protocol.version 0");
        let count = |kind: &str| shell(&bare, &format!("git count-objects -v | grep '^{kind}:'"));
        assert_eq!((count("count"), count("packs")), ("count: 0".to_owned(), "packs: 1".to_owned()));
        for left in ["shallow.lock", "packed-refs.lock", "refs/landfall.lock", "objects/pack/tmp_pack_x"] {
            std::fs::write(bare.join(left), "").unwrap();
        }
        for commit in [&pull, &first] {
            cache.checkout(&source, commit).await.unwrap();
        }
        assert!(!bare.join("shallow.lock").exists() && !bare.join("objects/pack/tmp_pack_x").exists());
    }

    #[tokio::test]
    async fn errors_hold_no_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(&dir.path().join("git"), &dir.path().join("co")).unwrap();
        let error = cache.checkout("https://bot:s3cret@127.0.0.1:1/x.git", &"a".repeat(40)).await.unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(error.to_string().contains("127.0.0.1:1/x.git"), "{error}");
    }

    #[tokio::test]
    async fn unused_repositories_go_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = repository(dir.path());
        let cache = Cache::new(&dir.path().join("git"), &dir.path().join("co")).unwrap();
        let source = dir.path().join("r").to_string_lossy().into_owned();
        let count = || std::fs::read_dir(dir.path().join("git")).unwrap().count();
        let day = Duration::from_secs(24 * 3600);
        for (days, left) in [(29, 1), (31, 0)] {
            cache.checkout(&source, &first).await.unwrap();
            cache.remove_unused(SystemTime::now() + day * days, day * 30).await;
            assert_eq!(count(), left, "{days} days");
        }
        cache.checkout(&source, &first).await.unwrap();
    }
}

//! What is checked out: CI's word for it, else git's, and what images are labelled with.

use std::path::Path;

use crate::build::Words;
use crate::env_vars;

/// Nobody has to be asked where git has nothing: a process takes longer than a build that finds all there.
fn is_checkout(root: &Path) -> bool {
    let named = std::env::var_os("GIT_DIR").is_some();
    let above = || root.canonicalize().is_ok_and(|root| root.ancestors().any(|one| one.join(".git").exists()));
    named || above()
}

fn git(root: &Path, words: &[&str]) -> Option<String> {
    if !is_checkout(root) {
        return None;
    }
    let mut git = std::process::Command::new("git");
    // Whoever only looks writes nothing: a refreshed index would be a changed context, where that has `.git`.
    git.args(words).current_dir(root).env("GIT_OPTIONAL_LOCKS", "0").stdin(std::process::Stdio::null());
    let output = git.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// What is checked out.
pub(crate) struct Head {
    pub(crate) commit: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) tag: Option<String>,
}

/// What CI says, else git.
pub(crate) fn head(root: &Path) -> Head {
    let commit = env_vars::get(env_vars::CI_COMMIT).or_else(|| git(root, &["rev-parse", "HEAD"]));
    let tag = env_vars::get(env_vars::CI_TAG);
    let branch = env_vars::get(env_vars::CI_BRANCH);
    // A tag's checkout is on no branch.
    let branch = branch.or_else(|| if tag.is_none() { git(root, &["symbolic-ref", "--short", "HEAD"]) } else { None });
    Head { commit, branch, tag }
}

pub(crate) fn words(project: &str, root: &Path) -> Words {
    words_of(project, &head(root))
}

pub(crate) fn words_of(project: &str, head: &Head) -> Words {
    let Head { commit, branch, tag } = head;
    let safe = |name: &String| landfall_model::names::tag_safe(name);
    Words {
        project: project.to_owned(),
        commit: commit.clone(),
        branch: branch.as_ref().and_then(safe),
        tag: tag.as_ref().and_then(safe),
    }
}

/// What is checked out, where that is other content than the commit's: CI may tell one commit and check out another, as the merge of
/// a pull request.
pub(super) fn other_commit(root: &Path, commit: &str) -> Option<String> {
    // What is no commit of git's promises nothing.
    if commit.len() < 7 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let head = git(root, &["rev-parse", "HEAD"])?;
    let tree = |commit: &str| git(root, &["rev-parse", "--verify", "--quiet", &format!("{commit}^{{tree}}")]);
    (head != commit && tree(commit).is_none_or(|told| Some(told) != tree(&head))).then_some(head)
}

/// Files that git knows differ from their commit.
pub(crate) fn is_changed(root: &Path) -> bool {
    git(root, &["status", "--porcelain", "--untracked-files=no"]).is_some()
}

/// Where it was cloned from, without credentials.
pub(crate) fn origin(root: &Path) -> Option<String> {
    git(root, &["config", "--get", "remote.origin.url"]).map(|url| landfall_model::redact::credentials(&url))
}

/// Where the directory is below the top of its checkout: `infra/`, or nothing.
pub(crate) fn prefix(root: &Path) -> String {
    git(root, &["rev-parse", "--show-prefix"]).unwrap_or_default()
}

/// OCI's own labels. The time is the commit's, so that a commit built twice says the same.
pub(super) fn labels(root: &Path, commit: Option<&str>) -> Vec<(String, String)> {
    let name = |short: &str| format!("org.opencontainers.image.{short}");
    let mut labels = Vec::new();
    if let Some(commit) = commit {
        let changed = is_changed(root) || other_commit(root, commit).is_some();
        labels.push((name("revision"), if changed { format!("{commit}-dirty") } else { commit.to_owned() }));
    }
    labels.extend(origin(root).map(|origin| (name("source"), origin)));
    if let Some(time) = git(root, &["show", "--no-patch", "--format=%cI", "HEAD"]) {
        labels.push((name("created"), time));
    }
    labels
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn an_image_is_not_labelled_with_a_commit_of_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let run = |words: &[&str]| {
            let mut own = vec!["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
            own.extend(words);
            git(dir.path(), &own)
        };
        let commit = |text: &str| {
            std::fs::write(dir.path().join("a"), text).unwrap();
            run(&["add", "."]);
            run(&["commit", "--allow-empty", "-m", "x"]).unwrap();
            git(dir.path(), &["rev-parse", "HEAD"]).unwrap()
        };
        assert_eq!(head(dir.path()).branch, None, "no checkout");
        let init = std::process::Command::new("git").arg("init").current_dir(dir.path()).output().unwrap();
        assert!(init.status.success());
        let (first, second) = (commit("1"), commit("2"));
        let third = commit("2");
        let revision = |told: &str| labels(dir.path(), Some(told))[0].1.clone();
        assert_eq!(revision(&third), third);
        assert_eq!(revision(&second), second, "the same files");
        assert_eq!(revision(&first), format!("{first}-dirty"));
        assert_eq!(revision(&"b".repeat(40)), format!("{}-dirty", "b".repeat(40)), "not even fetched");
        assert_eq!(revision(&third[..8]), third[..8]);
        assert_eq!(revision("build-7"), "build-7");
        assert_eq!(other_commit(dir.path(), &first), Some(third));
    }
}

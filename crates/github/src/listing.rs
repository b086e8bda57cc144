//! The branches that exist, by `git ls-remote`. A failed or empty answer is an incomplete listing: it proves nothing.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::app::Repository;
use landfall_model::inventory::Listing;
use landfall_model::redact;
use landfall_ports::source::{Branch, BranchSource};
use landfall_ports::{PortError, PortResult};
use tokio::process::Command;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks the repository's `source` with the `git` program of this machine and the credentials git itself finds.
#[derive(Debug, Clone, Default)]
pub struct GitListing;

#[async_trait]
impl BranchSource for GitListing {
    async fn branches(&self, repository: &Repository) -> PortResult<Listing<Branch>> {
        let source = repository.source.as_deref().ok_or_else(|| {
            PortError::NotFound(format!("repository {} has no `source` to list branches from", repository.key))
        })?;
        let output = Command::new("git")
            .args(["ls-remote", "--quiet", "--heads", "--", source])
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "file:https:ssh:git")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(TIMEOUT, output)
            .await
            .map_err(|_| {
                let source = redact::credentials(source);
                PortError::Unavailable(format!("git ls-remote {source} gave no answer in {} s", TIMEOUT.as_secs()))
            })?
            .map_err(|error| PortError::Unavailable(format!("cannot run git: {error}")))?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            let text = redact::credentials(&format!("git ls-remote {source}: {}", message.trim()));
            return Err(PortError::Unavailable(text));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let items = parse_heads(&text);
        // A line that was not understood (a name that is not UTF-8, a warning) may hide a branch.
        let understood = items.len() == text.lines().count() && !text.contains(char::REPLACEMENT_CHARACTER);
        Ok(Listing { complete: understood && !items.is_empty(), items, at: Timestamp::now() })
    }
}

fn parse_heads(text: &str) -> Vec<Branch> {
    text.lines()
        .filter_map(|line| {
            let (commit, reference) = line.split_once('\t')?;
            let name = reference.strip_prefix("refs/heads/")?;
            Some(Branch { name: name.to_owned(), commit: commit.to_owned() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(source: Option<String>) -> Repository {
        Repository { key: "app".into(), github: None, github_id: None, source, omit: None }
    }

    fn git(directory: &std::path::Path, args: &[&str]) {
        let status = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"])
            .args(args)
            .current_dir(directory)
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "git {args:?}");
    }

    #[test]
    fn credentials_in_a_url_are_not_repeated() {
        assert_eq!(
            redact::credentials("fatal: Authentication failed for 'https://bot:s3cret@git.example/x.git/'"),
            "fatal: Authentication failed for 'https://…@git.example/x.git/'"
        );
        assert_eq!(redact::credentials("fatal: bad host a@b"), "fatal: bad host a@b");
    }

    #[tokio::test]
    async fn lists_the_branches_of_a_real_repository() {
        let directory = tempfile::tempdir().unwrap();
        git(directory.path(), &["init", "-q"]);
        git(directory.path(), &["commit", "-q", "--allow-empty", "-m", "one"]);
        git(directory.path(), &["branch", "feature/test123"]);
        let source = directory.path().display().to_string();
        let listing = GitListing.branches(&repository(Some(source))).await.unwrap();
        let names: Vec<_> = listing.items.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names, ["feature/test123", "main"]);
        assert!(listing.complete && listing.items.iter().all(|b| b.commit.len() == 40));
    }

    #[tokio::test]
    async fn an_empty_repository_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        git(directory.path(), &["init", "-q"]);
        let listing = GitListing.branches(&repository(Some(directory.path().display().to_string()))).await.unwrap();
        assert!(listing.items.is_empty() && !listing.complete);
    }

    #[tokio::test]
    async fn a_missing_repository_is_an_error_and_not_an_empty_list() {
        let gone = GitListing.branches(&repository(Some("/nonexistent/repository".into()))).await;
        assert!(matches!(gone, Err(PortError::Unavailable(_))), "{gone:?}");
        // An option in the place of a URL stays a name.
        let option = GitListing.branches(&repository(Some("--upload-pack=touch /tmp/x".into()))).await;
        assert!(matches!(option, Err(PortError::Unavailable(_))), "{option:?}");
        assert!(matches!(GitListing.branches(&repository(None)).await, Err(PortError::NotFound(_))));
    }
}

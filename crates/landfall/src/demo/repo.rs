//! A git repository like anybody's: an application's text and a Dockerfile. Made with the `git` command, as a person would.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;

pub(super) struct Repo {
    pub(super) path: PathBuf,
}

impl Repo {
    /// An empty one, on `main`.
    pub(super) fn init(path: PathBuf) -> CliResult<Self> {
        std::fs::create_dir_all(&path).map_err(|error| CliError::io("cannot make the repository", &error))?;
        let repo = Self { path };
        repo.git(&["init", "--quiet", "--initial-branch=main"])?;
        Ok(repo)
    }

    /// `main` with a Dockerfile on top of the base image.
    pub(super) fn create(path: PathBuf, base_image: &str) -> CliResult<Self> {
        let repo = Self::init(path)?;
        let dockerfile = format!(
            "FROM {base_image}\nCOPY text.txt /text.txt\nENV DEMO_TEXT_FILE=/text.txt\n\
             ENTRYPOINT [\"/landfall\", \"demo-app\", \"web\"]\n"
        );
        repo.write("Dockerfile", &dockerfile)?;
        repo.write("text.txt", "hello from main\n")?;
        repo.commit("A first version")?;
        Ok(repo)
    }

    pub(super) fn branch(&self, name: &str) -> CliResult<()> {
        self.git(&["checkout", "--quiet", "-b", name]).map(drop)
    }

    /// Back on `main`, without the branch.
    pub(super) fn delete_branch(&self, name: &str) -> CliResult<()> {
        self.git(&["checkout", "--quiet", "main"])?;
        self.git(&["branch", "--quiet", "-D", name]).map(drop)
    }

    pub(super) fn write(&self, file: &str, text: &str) -> CliResult<()> {
        let path = self.path.join(file);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(path, text))
            .map_err(|error| CliError::io(format!("cannot write {file}"), &error))
    }

    /// Everything in the working tree; returns the commit's id.
    pub(super) fn commit(&self, message: &str) -> CliResult<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "-m", message])?;
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, args: &[&str]) -> CliResult<String> {
        run(&self.path, args)
    }
}

/// Nothing of the user's configuration: no hooks, no signing, no templates.
fn run(directory: &Path, args: &[&str]) -> CliResult<String> {
    let output = Command::new("git")
        .args(["-c", "user.name=Landfall", "-c", "user.email=demo@landfall.invalid", "-c", "commit.gpgsign=false"])
        .args(["-c", "core.hooksPath=/dev/null", "-c", "init.templateDir="])
        .args(args)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .map_err(|error| {
            CliError::new(ExitCode::Unavailable, "git cannot be run")
                .cause(&error)
                .hint("install it: on Debian or Ubuntu `apt-get install git`")
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CliError::new(ExitCode::Failed, format!("`git {}` failed", args.join(" ")))
        .cause(&std::io::Error::other(stderr)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn commits_on_a_branch_and_leaves_main_alone() {
        let directory = tempfile::tempdir().unwrap();
        let repo = Repo::create(directory.path().join("my-project"), "localhost/base:1").unwrap();
        repo.branch("feature/test123").unwrap();
        repo.write("text.txt", "changed\n").unwrap();
        let commit = repo.commit("Change").unwrap();
        assert_eq!(commit.len(), 40);
        assert_eq!(repo.git(&["rev-parse", "feature/test123"]).unwrap(), commit);
        assert_ne!(repo.git(&["rev-parse", "main"]).unwrap(), commit);
        repo.delete_branch("feature/test123").unwrap();
        assert_eq!(repo.git(&["branch", "--format=%(refname:short)"]).unwrap(), "main");
    }
}

//! The files that make a host run `landfall ci`: written once, the user's from then on.

mod hosts;

use landfall_model::ci::{Ci, CiAction};

pub use hosts::render;

/// Hosts that a file can be written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    GitHub,
    GitLab,
    CircleCi,
    Travis,
    CodeBuild,
}

impl For {
    pub const ALL: [For; 5] = [For::GitHub, For::GitLab, For::CircleCi, For::Travis, For::CodeBuild];

    pub fn path(self) -> &'static str {
        match self {
            For::GitHub => ".github/workflows/landfall.yml",
            For::GitLab => ".gitlab-ci.yml",
            For::CircleCi => ".circleci/config.yml",
            For::Travis => ".travis.yml",
            For::CodeBuild => "buildspec.yml",
        }
    }

    /// The registry that the host has beside the code, which its jobs may use with what they have.
    pub fn registry(self) -> Option<&'static str> {
        match self {
            For::GitHub => Some("ghcr.io"),
            For::GitLab => Some("registry.gitlab.com"),
            For::CircleCi | For::Travis | For::CodeBuild => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            For::GitHub => "github",
            For::GitLab => "gitlab",
            For::CircleCi => "circleci",
            For::Travis => "travis",
            For::CodeBuild => "codebuild",
        }
    }

    /// Whether its jobs can prove who they are without a key that lasts. CodeBuild's have a role of their own.
    pub fn has_oidc(self) -> bool {
        matches!(self, For::GitHub | For::GitLab | For::CircleCi)
    }
}

/// How a job gets the binary, since a CI machine has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binary {
    /// Downloaded, and refused unless it has this SHA-256: an archive of `cargo xtask dist` (`….tar.gz`), or the bare program.
    Release { url: String, sha256: String },
    /// Copied out of a container image, best named by its digest.
    Image { reference: String },
    /// Compiled, which takes minutes: for trying out a version that nobody released.
    Cargo { source: String, rev: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub binary: Binary,
    /// The role that jobs take on AWS.
    pub role: Option<String>,
    pub region: Option<String>,
    /// `s3://…`, where state is shared.
    pub state: Option<String>,
    pub needs: Needs,
    /// Images go to the registry that the host has beside the code.
    pub beside: bool,
}

/// What the manifest's rules ask of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    pub branches: bool,
    pub tags: bool,
    pub pull_requests: bool,
    /// A step builds or pushes images.
    pub engine: bool,
    /// A step talks to AWS.
    pub aws: bool,
}

impl Needs {
    /// `aws`: whether any of the manifest's places is there.
    pub fn of(ci: &Ci, aws: bool) -> Self {
        let steps = || ci.rules.iter().flat_map(|rule| &rule.steps);
        Needs {
            branches: ci.rules.iter().any(|rule| !rule.branches.is_empty()),
            tags: ci.rules.iter().any(|rule| !rule.tags.is_empty()),
            pull_requests: ci.rules.iter().any(|rule| rule.pull_requests),
            engine: steps().any(|step| matches!(step.run, CiAction::Build | CiAction::Push)),
            aws: aws && steps().any(|step| step.run.reaches_out()),
        }
    }
}

impl Binary {
    /// Lines for `sh` that leave `$HOME/bin/landfall`.
    fn install(&self) -> Vec<String> {
        let mut lines = vec!["mkdir -p \"$HOME/bin\"".to_owned()];
        match self {
            Binary::Release { url, .. } if url.ends_with(".tar.gz") => lines.extend([
                "curl --fail --silent --show-error --location --retry 5 --output /tmp/landfall.tar.gz \"$LANDFALL_URL\"".to_owned(),
                "echo \"$LANDFALL_SHA256  /tmp/landfall.tar.gz\" | sha256sum -c -".to_owned(),
                "tar -xzf /tmp/landfall.tar.gz -C \"$HOME/bin\" landfall".to_owned(),
            ]),
            Binary::Release { .. } => lines.extend([
                "curl --fail --silent --show-error --location --retry 5 --output \"$HOME/bin/landfall\" \"$LANDFALL_URL\"".to_owned(),
                "echo \"$LANDFALL_SHA256  $HOME/bin/landfall\" | sha256sum -c -".to_owned(),
                "chmod +x \"$HOME/bin/landfall\"".to_owned(),
            ]),
            Binary::Image { .. } => lines.extend([
                "docker create --name landfall-binary \"$LANDFALL_IMAGE\"".to_owned(),
                "docker cp landfall-binary:/usr/local/bin/landfall \"$HOME/bin/landfall\"".to_owned(),
                "docker rm landfall-binary".to_owned(),
            ]),
            // Not every machine has a compiler.
            Binary::Cargo { .. } => lines.extend([
                "command -v cargo || curl --proto '=https' --fail --silent --show-error https://sh.rustup.rs | sh -s -- -y --profile minimal".to_owned(),
                "PATH=\"$HOME/.cargo/bin:$PATH\" cargo install --locked --root \"$HOME\" --git \"$LANDFALL_SOURCE\" --rev \"$LANDFALL_REV\" landfall".to_owned(),
            ]),
        }
        lines
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Binary::Release { url, sha256 } => vec![("LANDFALL_URL", url.clone()), ("LANDFALL_SHA256", sha256.clone())],
            Binary::Image { reference } => vec![("LANDFALL_IMAGE", reference.clone())],
            Binary::Cargo { source, rev } => vec![("LANDFALL_SOURCE", source.clone()), ("LANDFALL_REV", rev.clone())],
        }
    }
}

#[cfg(test)]
mod tests;

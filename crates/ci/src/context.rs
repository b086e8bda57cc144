//! Where a job runs and what happened, in one form for every host.

use serde::{Deserialize, Serialize};

/// Who runs the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    #[serde(rename = "github")]
    GitHub,
    #[serde(rename = "gitlab")]
    GitLab,
    #[serde(rename = "circleci")]
    CircleCi,
    Travis,
    Buildkite,
    Jenkins,
    #[serde(rename = "codebuild")]
    CodeBuild,
    /// A person's machine, or a host that is not known: what git says counts.
    Laptop,
}

impl Host {
    pub fn name(self) -> &'static str {
        match self {
            Host::GitHub => "GitHub Actions",
            Host::GitLab => "GitLab CI",
            Host::CircleCi => "CircleCI",
            Host::Travis => "Travis CI",
            Host::Buildkite => "Buildkite",
            Host::Jenkins => "Jenkins",
            Host::CodeBuild => "AWS CodeBuild",
            Host::Laptop => "this machine",
        }
    }
}

/// What the job is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A branch as it is now; also what a schedule or a person starts on it.
    Push {
        branch: String,
    },
    Tag {
        tag: String,
    },
    PullRequest {
        number: u64,
        /// The branch that is to be merged, and into which; empty where the host does not say.
        head: String,
        base: String,
        /// Whether it comes from another repository. Unknown counts as yes.
        fork: bool,
    },
    /// Neither branch, tag nor pull request: a detached commit.
    Manual,
}

impl Event {
    pub fn is_push_to(&self, name: &str) -> bool {
        matches!(self, Event::Push { branch } if branch == name)
    }

    /// `push to master`, as sentences have it.
    pub fn title(&self) -> String {
        match self {
            Event::Push { branch } => format!("push to {branch}"),
            Event::Tag { tag } => format!("tag {tag}"),
            Event::PullRequest { number, head, base, fork } => {
                let from = if *fork { " from a fork" } else { "" };
                match (head.is_empty(), base.is_empty()) {
                    (false, false) => format!("pull request #{number}{from}, {head} into {base}"),
                    _ => format!("pull request #{number}{from}"),
                }
            }
            Event::Manual => "a commit without branch or tag".to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiContext {
    pub host: Host,
    pub event: Event,
    /// `owner/name`, where the host says it.
    pub repository: Option<String>,
    /// The commit that is checked out, in full.
    pub commit: Option<String>,
    /// The commit before a push, or a branch (`origin/master`) that a pull request is compared with.
    pub compare: Option<Compare>,
    /// Name of the job, and where to look at it.
    pub job: Option<String>,
    pub url: Option<String>,
    /// Who caused it.
    pub actor: Option<String>,
}

/// What the changed paths are told against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    Commit(String),
    /// Since the branch that is to be merged left it.
    Branch(String),
    /// The commit's own parent: what a person asks about.
    Parent,
    /// The host does not say what was there before: of a new branch, and some never do. Its parent alone may hide what an earlier commit of
    /// the same push changed.
    Unsaid,
}

/// What git knows of the working tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Git {
    /// `None` where HEAD is detached.
    pub branch: Option<String>,
    pub commit: Option<String>,
    /// Tags at HEAD.
    pub tags: Vec<String>,
    /// URL of `origin`.
    pub origin: Option<String>,
}

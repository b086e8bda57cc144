//! What a forge told us, and what somebody asked for: both plain data, between parsing and deciding.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::environment::EnvironmentKey;
use crate::ids::DeliveryId;

/// A webhook delivery, parsed. Only what Landfall acts on; the raw body stays in the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgeEvent {
    pub delivery: DeliveryId,
    pub repository: ForgeRepository,
    pub kind: ForgeEventKind,
    /// Who did it, for messages.
    pub sender: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgeRepository {
    pub id: Option<u64>,
    /// `my-project`
    pub name: String,
    /// `acme/my-project`, where the payload had it.
    pub full_name: Option<String>,
    pub pushed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgeEventKind {
    Ping,
    BranchCreated {
        branch: String,
    },
    BranchDeleted {
        branch: String,
    },
    /// A push that left the branch in place. `before` is all zeroes for a new branch.
    Pushed {
        branch: String,
        commit: String,
    },
    PullRequest {
        action: PullRequestAction,
        number: u64,
        head_branch: String,
        head_commit: String,
        fork: bool,
    },
    /// Understood, and of no concern: tags, other events, other actions.
    Ignored {
        what: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullRequestAction {
    /// opened, reopened or synchronize.
    Present,
    Closed,
}

/// What someone asked for. Everyone comes through this door: webhooks, the command line, reconcilers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its own id is its deduplication key.
    pub id: DeliveryId,
    pub environment: EnvironmentKey,
    pub ask: Ask,
    /// `github:octocat`, `cli:root`, `landfall:ttl` …
    pub actor: String,
    /// The forge's time, where it had one.
    pub event_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// `commit: None`: a branch was created; its tip is looked up.
    Preview {
        commit: Option<String>,
        pull_request: Option<u64>,
        fork: bool,
        trigger: PreviewTrigger,
    },
    Destroy {
        reason: crate::environment::AbsentReason,
    },
    /// A person allows a fork's exact commit.
    Approve {
        commit: String,
    },
    Pin {
        pinned: bool,
    },
    /// Run no tasks until it is asked for. `Intent::event_at`: since when nobody used it, where nobody asked.
    Sleep,
    Wake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreviewTrigger {
    /// Carries no order: loses to a tombstone that is not provably older.
    BranchCreated,
    Pushed,
    PullRequest,
    Requested,
    /// The listing of branches says that it exists.
    Listed,
    /// Part of what there was is missing: the same again. Changes nothing about what is asked, and is no activity.
    Repair,
}

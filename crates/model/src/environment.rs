//! Environments: who they are, what was asked of them, what is known of them.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::ids::{DeliveryId, EnvironmentId, ExecutionId, RepositoryKey};

/// Identity of a preview: two keys are the same environment exactly when they are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EnvironmentKey {
    pub repository: RepositoryKey,
    pub source: SourceRef,
}

/// What a preview follows. A pull request from the repository itself attaches to its head branch; only one from a fork
/// is an environment of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceRef {
    /// Without `refs/heads/`.
    Branch(String),
    /// A fork's pull request, by number.
    ForkPullRequest(u64),
}

impl std::fmt::Display for SourceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SourceRef::Branch(name) => f.write_str(name),
            SourceRef::ForkPullRequest(number) => write!(f, "#{number}"),
        }
    }
}

/// Every name of an environment's resources, chosen once by `planner::names` when it is first seen and kept with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentNames {
    /// `my-project-test123`; equals the `EnvironmentId`.
    pub base: String,
    /// The host's first label: `test123`. Chosen again, with a hash, where another environment that exists has it when a
    /// plan is made.
    pub host_label: String,
    /// `my-project-test123-tg`, at most 32 characters.
    pub target_group: String,
    /// `my-project-test123-service`, at most 255 characters. Services beyond the first get `--{service}` before the suffix
    /// (two hyphens: no base holds them, so no other environment can have that name).
    pub service: String,
    /// Task definition family prefix.
    pub family: String,
}

/// What the last event asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    Present(Wanted),
    Absent { reason: AbsentReason },
}

/// The commit that an environment shall run. `None`: a `create` event carries no commit; the branch's tip is looked up
/// when the plan is made, and where nothing can be listed the base image is what there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub commit: Option<String>,
    /// A pull request this environment serves, if any.
    pub pull_request: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbsentReason {
    BranchDeleted,
    PullRequestClosed,
    Expired,
    Requested,
    Orphaned,
}

/// Everything the server keeps of one environment: one row. `revision` is the store's optimistic lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentRecord {
    pub id: EnvironmentId,
    pub key: EnvironmentKey,
    pub names: EnvironmentNames,
    /// Row version, set by the store; 0 for a record not stored yet.
    pub revision: u64,
    /// Goes up each time the environment is asked for again after it was asked to go: resources of an older generation
    /// are never adopted, and a `create` older than the tombstone is stale.
    pub generation: u64,
    /// The generation whose resources may exist now; 0: read back and nothing is left. One older than `generation` is
    /// destroyed before anything new is made.
    #[serde(default)]
    pub made_generation: u64,
    /// The generation that has answered as it was asked to at least once; 0: none. What has not is made anew, what has is
    /// updated in place.
    #[serde(default)]
    pub ready_generation: u64,
    pub desired: Desired,
    /// Goes up with every change of `desired`.
    pub desired_seq: u64,
    pub desired_at: Timestamp,
    pub cause: DeliveryId,
    /// The forge's own time of the event where it had one (`repository.pushed_at`); orders events that came late.
    pub event_at: Option<Timestamp>,
    /// The `desired_seq` that the world was last brought to (or given up on: then `phase` is `Failed`).
    pub applied_seq: u64,
    /// The execution that works on it now, and the `desired_seq` it works towards.
    pub live: Option<LiveExecution>,
    pub phase: Phase,
    /// One line: what is awaited, or why it failed.
    pub message: Option<String>,
    pub url: Option<String>,
    /// The listener's port under port routing, kept until the environment is gone or the manifest's range has it no more.
    pub port: Option<u16>,
    pub commit: Option<String>,
    pub last_execution: Option<ExecutionId>,
    /// The last one after which what was asked for served: what a failure goes back to, however many were cut short since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_execution: Option<ExecutionId>,
    pub created_at: Timestamp,
    /// Pushes, deploys and operator commands count; the TTL runs from here.
    pub last_activity: Timestamp,
    /// Exempt from the TTL.
    pub pinned: bool,
    /// Commits of a fork that a person allowed to run.
    pub approved_commits: Vec<String>,
    /// Failed attempts in a row at destroying; sets the back-off of the next.
    pub retries: u32,
    pub retry_at: Option<Timestamp>,
    /// Plans for the present request that went stale in a row (a chosen port was taken); bounded, and sets their back-off.
    #[serde(default)]
    pub replans: u32,
    /// Whether it shall run no tasks although it is wanted.
    #[serde(default)]
    pub sleep: bool,
    /// Its services were scaled to 0, or were about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asleep: Option<Asleep>,
    /// Since when it has been awake, where that is later than the last activity: idle time counts from here at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awake_since: Option<Timestamp>,
}

impl EnvironmentRecord {
    /// One that was asked for at `at`: not stored, and nobody has worked on it yet.
    pub fn new(key: EnvironmentKey, names: EnvironmentNames, wanted: Wanted, cause: DeliveryId, at: Timestamp) -> Self {
        Self {
            id: names.base.clone().into(),
            key,
            names,
            revision: 0,
            generation: 1,
            made_generation: 0,
            ready_generation: 0,
            desired: Desired::Present(wanted),
            desired_seq: 1,
            desired_at: at,
            cause,
            event_at: None,
            applied_seq: 0,
            live: None,
            phase: Phase::Queued,
            message: None,
            url: None,
            port: None,
            commit: None,
            last_execution: None,
            good_execution: None,
            created_at: at,
            last_activity: at,
            pinned: false,
            approved_commits: Vec::new(),
            retries: 0,
            retry_at: None,
            replans: 0,
            sleep: false,
            asleep: None,
            awake_since: None,
        }
    }
}

/// What a preview that sleeps goes back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asleep {
    pub since: Timestamp,
    /// All its services run no task: it was read back.
    pub whole: bool,
    /// `Ready` or `Failed`, as it was before.
    pub was: Phase,
    pub message: Option<String>,
    /// How often waking it failed; part of the key of the next request to wake it.
    #[serde(default)]
    pub failed_wakes: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveExecution {
    pub id: ExecutionId,
    pub seq: u64,
    /// The plan's kind: `preview.create`, `preview.update` or `preview.destroy`.
    #[serde(default)]
    pub kind: String,
    /// The commit that it deploys.
    #[serde(default)]
    pub commit: Option<String>,
}

/// Where an environment stands, in one word for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Accepted; over the cap, waiting for a place.
    Queued,
    /// A fork's commit that nobody has allowed yet.
    AwaitingApproval,
    Creating,
    Updating,
    Ready,
    FallingAsleep,
    /// It runs no task; a request through our own load balancer, or a person, wakes it.
    Asleep,
    Waking,
    /// The last attempt failed and was unwound, or left a declared residue; `message` says why.
    Failed,
    /// An execution waits for an operator.
    Paused,
    Destroying,
    /// A tombstone: read back and nothing is left.
    Destroyed,
}

/// A change of one record: written only if the stored revision is still `expected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentWrite {
    /// 0: the record must not exist yet.
    pub expected: u64,
    pub record: EnvironmentRecord,
}

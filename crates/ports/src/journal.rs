//! The journal port: fallible, conditional, fenced. SQLite, memory, S3; one conformance suite runs on all.

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::ids::{EnvironmentId, ExecutionId, PlanDigest};
use landfall_model::notice::Notice;
use landfall_workflow::event::{Record, Signal};
use serde::{Deserialize, Serialize};

/// Number of records in an execution's journal, compacted ones included.
pub type Version = u64;

#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Another writer was faster: load again.
    #[error("expected version {expected}, found {found}")]
    VersionConflict { expected: Version, found: Version },
    /// The lease was taken over: stop at once, write nothing.
    #[error("lease of epoch {held} is fenced by epoch {current}")]
    Fenced { held: u64, current: u64 },
    #[error("no execution {0}")]
    NotFound(ExecutionId),
    /// Disk full, locked, gone: nothing was written; try again.
    #[error("journal unavailable: {0}")]
    Unavailable(String),
    #[error("journal damaged: {0}")]
    Corrupt(String),
}

pub type JournalResult<T> = Result<T, JournalError>;

/// The right to drive one execution. Expiry is measured on the boot-time clock, so wall-clock jumps do not matter; a
/// lease of another boot is expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub execution: ExecutionId,
    pub owner: String,
    /// Goes up with every take-over.
    pub epoch: u64,
}

#[derive(Debug, Clone)]
pub struct NewExecution {
    pub id: ExecutionId,
    /// Two creates with the same key give one execution.
    pub dedup_key: String,
    pub environment: EnvironmentId,
    pub plan_digest: PlanDigest,
    /// Canonical JSON, kept verbatim.
    pub plan: Vec<u8>,
    /// Starts with `Created`.
    pub records: Vec<Record>,
    /// Written to the outbox in the same transaction.
    pub notices: Vec<Notice>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    New,
    Existing(ExecutionId),
}

/// What one append writes, in one transaction.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub records: Vec<Record>,
    pub notices: Vec<Notice>,
    /// Signals that these records answer: removed from the queue with them.
    pub consumed_signals: Vec<u64>,
    /// The journal ends here: the execution is no longer claimable.
    pub finished: bool,
}

#[derive(Debug, Clone)]
pub struct StoredExecution {
    pub id: ExecutionId,
    pub environment: EnvironmentId,
    pub plan: Vec<u8>,
    /// Folded state as of `snapshot_version`, where history was compacted.
    pub snapshot: Option<serde_json::Value>,
    pub snapshot_version: Version,
    /// Records after the snapshot.
    pub records: Vec<Record>,
    pub version: Version,
    pub finished: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedSignal {
    pub id: u64,
    pub who: String,
    pub signal: Signal,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionSummary {
    pub id: ExecutionId,
    pub environment: EnvironmentId,
    pub created_at: Timestamp,
    pub version: Version,
    pub finished: bool,
    /// Kind and title out of the plan.
    pub kind: String,
    pub title: String,
}

/// A journal record with its place, as followers read it.
#[derive(Debug, Clone)]
pub struct JournalEntry {
    pub cursor: u64,
    pub execution: ExecutionId,
    pub version: Version,
    pub record: Record,
}

#[async_trait]
pub trait Journal: Send + Sync {
    async fn create(&self, new: NewExecution) -> JournalResult<Created>;
    /// All or nothing. Durable when it returns.
    async fn append(&self, lease: &Lease, expect: Version, batch: Batch) -> JournalResult<Version>;
    async fn load(&self, id: &ExecutionId) -> JournalResult<StoredExecution>;
    /// Takes leases on unfinished executions that nobody holds, oldest first. `ttl_ms` runs from now on the boot clock.
    async fn claim(&self, owner: &str, ttl_ms: u64, limit: u32) -> JournalResult<Vec<Lease>>;
    /// Extends the owner's leases; returns those that were lost.
    async fn renew(&self, owner: &str, ttl_ms: u64, held: &[Lease]) -> JournalResult<Vec<Lease>>;
    /// Gives a lease back so that another may claim it at once.
    async fn release(&self, lease: &Lease) -> JournalResult<()>;
    async fn send_signal(&self, id: &ExecutionId, who: &str, signal: Signal) -> JournalResult<()>;
    async fn signals(&self, id: &ExecutionId) -> JournalResult<Vec<QueuedSignal>>;
    /// Replaces the records up to `version` by a snapshot; the tail stays.
    async fn compact(&self, lease: &Lease, version: Version, snapshot: serde_json::Value) -> JournalResult<()>;
    /// Newest first.
    async fn list(
        &self,
        environment: Option<&EnvironmentId>,
        unfinished_only: bool,
        limit: u32,
    ) -> JournalResult<Vec<ExecutionSummary>>;
    /// Records after `cursor` in commit order, over all executions.
    async fn read_after(&self, cursor: u64, limit: u32) -> JournalResult<Vec<JournalEntry>>;
    /// Resolves when something was created, appended or signalled since the call before (or spuriously). In-process only.
    async fn changed(&self);
}

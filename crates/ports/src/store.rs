//! The store port: inbox, environments, outbox. On one machine it is the same SQLite file as the journal.

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::environment::{EnvironmentRecord, EnvironmentWrite};
use landfall_model::ids::{DeliveryId, EnvironmentId, RunId};
use landfall_model::notice::Notice;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A record changed since it was read: read again, decide again.
    #[error("environment {0} changed in between")]
    Conflict(EnvironmentId),
    #[error("store unavailable: {0}")]
    Unavailable(String),
    #[error("store damaged: {0}")]
    Corrupt(String),
}

pub type StoreResult<T> = Result<T, StoreError>;

/// A webhook delivery as received: raw, so that parsing can be repeated and disputed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    pub id: DeliveryId,
    /// `X-GitHub-Event`, or `landfall` for intents of our own (the body is then an `Intent` as JSON).
    pub event: String,
    pub content_type: String,
    pub body: Vec<u8>,
    pub received_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    New,
    /// The id was seen before, whatever became of it.
    Duplicate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Arrival order.
    pub seq: u64,
    pub delivery: NewDelivery,
}

/// What became of a delivery, for `landfall deliveries` and disputes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOutcome {
    Applied { what: String },
    Ignored { why: String },
    Rejected { why: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverySummary {
    pub seq: u64,
    pub id: DeliveryId,
    pub event: String,
    pub bytes: u64,
    pub received_at: Timestamp,
    pub outcome: Option<DeliveryOutcome>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    pub seq: u64,
    pub notice: Notice,
    /// The notification's name in the manifest.
    pub target: String,
    pub attempts: u32,
}

/// A run of a pipeline that begins.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub id: RunId,
    pub pipeline: String,
    /// Two with the same key are one run.
    pub dedup_key: String,
    pub at: Timestamp,
    /// Its first record, as `landfall-pipeline` writes it. Stores know nothing of what records say.
    pub record: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    pub id: RunId,
    pub pipeline: String,
    /// Its place among the runs of its pipeline, from 1.
    pub number: u64,
    pub records: Vec<serde_json::Value>,
    pub finished: bool,
}

fn keeps_no_runs<T>() -> StoreResult<T> {
    let message = "this state keeps no runs of pipelines: use a state directory, with `landfall serve` where several machines ask";
    Err(StoreError::Unavailable(message.to_owned()))
}

#[async_trait]
pub trait Store: Send + Sync {
    /// Durable when it returns; many at once share one commit.
    async fn receive(&self, delivery: NewDelivery) -> StoreResult<Received>;
    /// Not yet finished, in order of arrival.
    async fn pending_deliveries(&self, limit: u32) -> StoreResult<Vec<Delivery>>;
    /// In one transaction: the outcome, the records, the notices.
    async fn finish_delivery(
        &self,
        seq: u64,
        outcome: DeliveryOutcome,
        writes: Vec<EnvironmentWrite>,
        notices: Vec<Notice>,
    ) -> StoreResult<()>;
    async fn deliveries(&self, limit: u32) -> StoreResult<Vec<DeliverySummary>>;

    /// Deliveries not yet finished, and notices not yet sent.
    async fn depths(&self) -> StoreResult<(usize, usize)> {
        let inbox = self.pending_deliveries(u32::MAX).await?.len();
        let outbox = self.due_notices(Timestamp::MAX, u32::MAX).await?.len();
        Ok((inbox, outbox))
    }

    async fn environments(&self) -> StoreResult<Vec<EnvironmentRecord>>;
    async fn environment(&self, id: &EnvironmentId) -> StoreResult<Option<EnvironmentRecord>>;
    /// All or nothing.
    async fn write_environments(&self, writes: Vec<EnvironmentWrite>, notices: Vec<Notice>) -> StoreResult<()>;

    /// Notices (new from any transaction) are fanned out to these targets; called once at start and on a new manifest.
    async fn set_notification_targets(&self, targets: Vec<String>) -> StoreResult<()>;
    async fn due_notices(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<OutboxRow>>;
    /// Delivered, or merged into one that was.
    async fn notices_done(&self, seqs: Vec<u64>) -> StoreResult<()>;
    async fn notice_failed(&self, seq: u64, error: String, retry_at: Option<Timestamp>) -> StoreResult<()>;

    /// Small durable values: the instance id, the last reconcile.
    async fn meta_get(&self, key: &str) -> StoreResult<Option<String>>;
    async fn meta_put(&self, key: &str, value: &str) -> StoreResult<()>;
    /// Writes `value` only where `expected` is what is there (`None`: nothing is). `false`: it was not. Atomic among all who
    /// share the store; this default is for stores with one owner, whose callers take turns.
    async fn meta_swap(&self, key: &str, expected: Option<&str>, value: &str) -> StoreResult<bool> {
        if self.meta_get(key).await?.as_deref() != expected {
            return Ok(false);
        }
        self.meta_put(key, value).await?;
        Ok(true)
    }
    /// The run of this key: the new one, or the one that was there.
    async fn create_run(&self, _new: NewRun) -> StoreResult<RunId> {
        keeps_no_runs()
    }
    /// All or nothing, and durable when it returns. `false`: it has other than `expect` records by now, and nothing was written.
    async fn append_run(
        &self,
        _id: &RunId,
        _expect: u64,
        _records: Vec<serde_json::Value>,
        _finished: bool,
        _notices: Vec<Notice>,
    ) -> StoreResult<bool> {
        keeps_no_runs()
    }
    async fn run(&self, _id: &RunId) -> StoreResult<Option<StoredRun>> {
        Ok(None)
    }
    /// All that have not finished, and the newest `limit` of the others; newest first.
    async fn runs(&self, _limit: u32) -> StoreResult<Vec<RunId>> {
        Ok(Vec::new())
    }
    /// Those of these that have finished are deleted, and their keys with them; how many.
    async fn forget_runs(&self, _ids: Vec<RunId>) -> StoreResult<usize> {
        Ok(0)
    }

    /// Whether other processes write it too: what is kept in memory must then be read again now and then.
    fn is_shared(&self) -> bool {
        false
    }
    /// A consistent copy of everything, while running.
    async fn backup(&self, to: &std::path::Path) -> StoreResult<()>;
    async fn changed(&self);
}

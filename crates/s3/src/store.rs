//! The store port on S3: all of it is the table of contents.

use std::path::Path;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::environment::{EnvironmentRecord, EnvironmentWrite};
use landfall_model::ids::EnvironmentId;
use landfall_model::notice::Notice;
use landfall_ports::store::{
    Delivery, DeliveryOutcome, DeliverySummary, NewDelivery, OutboxRow, Received, Store, StoreError, StoreResult,
};

use crate::cell::Change;
use crate::client::Failure;
use crate::contents::Contents;
use crate::{LOOK, PortFailure, S3Store, failed, refused};

impl From<PortFailure> for StoreError {
    fn from(PortFailure(failure): PortFailure) -> Self {
        match failure {
            Failure::Corrupt(text) => Self::Corrupt(text),
            Failure::Unavailable(text) | Failure::Denied(text) | Failure::NoBucket(text) => Self::Unavailable(text),
        }
    }
}

impl S3Store {
    async fn change<T>(&self, change: impl FnMut(&mut Contents) -> StoreResult<Change<T>>) -> StoreResult<T> {
        self.inner.contents.change(change).await.map_err(refused::<StoreError>)
    }

    async fn contents(&self) -> StoreResult<std::sync::Arc<Contents>> {
        self.inner.contents.read().await.map_err(failed::<StoreError>)
    }

    /// For loops that look for work: what this process did is in it, what others did a moment later.
    async fn recent(&self) -> StoreResult<(std::sync::Arc<Contents>, i64)> {
        let contents = self.inner.contents.read_within(LOOK).await.map_err(failed::<StoreError>)?;
        Ok((contents, self.inner.client.now().map_err(failed::<StoreError>)?.earliest))
    }
}

#[async_trait]
impl Store for S3Store {
    async fn receive(&self, delivery: NewDelivery) -> StoreResult<Received> {
        let received = self
            .change(|contents| {
                let now = self.inner.client.now().map_err(failed::<StoreError>)?;
                let received = contents.inbox.receive(&delivery, &self.inner.me, now.latest)?;
                Ok(if received == Received::New { Change::Write(received) } else { Change::Keep(received) })
            })
            .await?;
        if received == Received::New {
            self.announce(false, true);
        }
        Ok(received)
    }

    async fn pending_deliveries(&self, limit: u32) -> StoreResult<Vec<Delivery>> {
        let (contents, earliest) = self.recent().await?;
        contents.inbox.pending(limit, &self.inner.me, earliest)
    }

    async fn depths(&self) -> StoreResult<(usize, usize)> {
        let (contents, _) = self.recent().await?;
        Ok((contents.inbox.depth(), contents.outbox.depth()))
    }

    async fn finish_delivery(
        &self,
        seq: u64,
        outcome: DeliveryOutcome,
        writes: Vec<EnvironmentWrite>,
        notices: Vec<Notice>,
    ) -> StoreResult<()> {
        self.change(|contents| {
            contents.inbox.finish(seq, &outcome)?;
            contents.write_environments(&writes)?;
            contents.outbox.insert(&notices);
            Ok(Change::Write(()))
        })
        .await?;
        self.announce(false, true);
        Ok(())
    }

    async fn deliveries(&self, limit: u32) -> StoreResult<Vec<DeliverySummary>> {
        Ok(self.contents().await?.inbox.summaries(limit))
    }

    async fn environments(&self) -> StoreResult<Vec<EnvironmentRecord>> {
        self.contents().await?.environments()
    }

    async fn environment(&self, id: &EnvironmentId) -> StoreResult<Option<EnvironmentRecord>> {
        self.contents().await?.environment(id)
    }

    async fn write_environments(&self, writes: Vec<EnvironmentWrite>, notices: Vec<Notice>) -> StoreResult<()> {
        self.change(|contents| {
            contents.write_environments(&writes)?;
            let told = contents.outbox.insert(&notices);
            Ok(if told || !writes.is_empty() { Change::Write(()) } else { Change::Keep(()) })
        })
        .await?;
        self.announce(false, true);
        Ok(())
    }

    async fn set_notification_targets(&self, targets: Vec<String>) -> StoreResult<()> {
        self.change(|contents| {
            let set = contents.outbox.set_targets(&targets);
            Ok(if set { Change::Write(()) } else { Change::Keep(()) })
        })
        .await?;
        self.announce(false, true);
        Ok(())
    }

    /// Rows that are given to this process are left alone by others for a while, so that each is sent once.
    async fn due_notices(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<OutboxRow>> {
        let (contents, earliest) = self.recent().await?;
        let (rows, taken) = contents.outbox.due(now, limit, &self.inner.me, earliest);
        if taken {
            return Ok(rows);
        }
        self.change(|contents| {
            let rows = contents.outbox.take(now, limit, &self.inner.me, earliest);
            Ok(if rows.is_empty() { Change::Keep(rows) } else { Change::Write(rows) })
        })
        .await
    }

    async fn notices_done(&self, seqs: Vec<u64>) -> StoreResult<()> {
        self.change(|contents| {
            let done = contents.outbox.done(&seqs);
            Ok(if done { Change::Write(()) } else { Change::Keep(()) })
        })
        .await
    }

    async fn notice_failed(&self, seq: u64, _error: String, retry_at: Option<Timestamp>) -> StoreResult<()> {
        self.change(|contents| {
            let known = contents.outbox.failed(seq, retry_at);
            Ok(if known { Change::Write(()) } else { Change::Keep(()) })
        })
        .await
    }

    async fn meta_get(&self, key: &str) -> StoreResult<Option<String>> {
        Ok(self.contents().await?.meta.get(key).cloned())
    }

    async fn meta_put(&self, key: &str, value: &str) -> StoreResult<()> {
        self.change(|contents| {
            let before = contents.meta.insert(key.to_owned(), value.to_owned());
            Ok(if before.as_deref() == Some(value) { Change::Keep(()) } else { Change::Write(()) })
        })
        .await
    }

    async fn meta_swap(&self, key: &str, expected: Option<&str>, value: &str) -> StoreResult<bool> {
        self.change(|contents| {
            if contents.meta.get(key).map(String::as_str) != expected {
                return Ok(Change::Keep(false));
            }
            contents.meta.insert(key.to_owned(), value.to_owned());
            Ok(Change::Write(true))
        })
        .await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn backup(&self, _to: &Path) -> StoreResult<()> {
        let text = "a state on S3 has no backup file: S3 keeps old versions of it where the bucket's versioning is on";
        Err(StoreError::Unavailable(text.to_owned()))
    }

    async fn changed(&self) {
        self.inner.store_changes.changed().await;
    }
}

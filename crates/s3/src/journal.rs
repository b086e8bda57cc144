//! The journal port on S3: every call is one compare-and-swap of an execution's object, or one read. `create`, and what an
//! append leaves to do in the table of contents, come to two (the crate's header says which of the two is the commit).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_ports::journal::{
    Batch, Created, ExecutionSummary, Journal, JournalEntry, JournalError, JournalResult, Lease, NewExecution,
    QueuedSignal, StoredExecution, Version,
};
use landfall_workflow::event::Signal;
use tokio::time::Instant;

use crate::backoff::random;
use crate::cell::{Cell, Change};
use crate::client::Failure;
use crate::clock::SKEW;
use crate::contents::{Entry, Retention, key_digest};
use crate::execution::ExecutionObject;
use crate::history::only_failures;
use crate::{Inner, LOOK, PortFailure, S3Store, failed, lock, refused};

/// How long an append that is committed waits for what it leaves to do in the table.
const SETTLING: Duration = Duration::from_secs(3);
/// Objects read at once by one follower.
const READ_AT_ONCE: usize = 16;

impl From<PortFailure> for JournalError {
    fn from(PortFailure(failure): PortFailure) -> Self {
        match failure {
            Failure::Corrupt(text) => Self::Corrupt(text),
            Failure::Unavailable(text) | Failure::Denied(text) | Failure::NoBucket(text) => Self::Unavailable(text),
        }
    }
}

enum Claimed {
    Lease(Lease),
    /// Somebody holds it, or it has finished.
    Held,
}

#[async_trait]
impl Journal for S3Store {
    async fn create(&self, new: NewExecution) -> JournalResult<Created> {
        let inner = &*self.inner;
        let digest = key_digest(&new.dedup_key);
        let contents = inner.contents.read().await.map_err(failed::<JournalError>)?;
        if let Some(existing) = inner.entry_of_key(&contents, &digest).await? {
            return Ok(Created::Existing(ExecutionId::new(existing.id)));
        }
        let object = ExecutionObject::new(&new)?;
        let name = format!("executions/{}.{:016x}.json", new.id, random());
        let entry = Entry::new(&new, name.clone())?;
        let cell = Arc::new(Cell::new(inner.client.clone(), name.clone()));
        cell.create(object).await.map_err(failed::<JournalError>)?;

        let entered = inner.contents.change(|contents| {
            if let Some(existing) = contents.entry_of_key(&digest) {
                return Ok(Change::Keep(Created::Existing(ExecutionId::new(&existing.id))));
            }
            if contents.entry(new.id.as_str()).is_some() {
                let text = format!("execution id {} belongs to another request already", new.id);
                return Err(JournalError::Corrupt(text));
            }
            contents.enter(entry.clone());
            contents.outbox.insert(&new.notices);
            Ok(Change::Write(Created::New))
        });
        let entered = entered.await.map_err(refused::<JournalError>);
        match &entered {
            Ok(Created::New) => {
                lock(&inner.executions).insert(new.id.to_string(), cell.clone());
                inner.learn(&cell).await;
                self.announce(true, !new.notices.is_empty());
                if let Err(failure) = inner.prune(Retention::default()).await {
                    tracing::debug!(%failure, "old executions stay in the table for now");
                }
            }
            // Whether it is entered is not known: its object must stay.
            Err(JournalError::Unavailable(_)) => {}
            Ok(Created::Existing(_)) | Err(_) => {
                if let Err(failure) = inner.client.delete(&name).await {
                    tracing::debug!(%failure, "an object that nobody names is left");
                }
            }
        }
        entered
    }

    async fn append(&self, lease: &Lease, expect: Version, batch: Batch) -> JournalResult<Version> {
        let inner = &*self.inner;
        let cell = inner.find(&lease.execution).await?;
        let told = lock(&inner.told).get(lease.execution.as_str()).cloned().unwrap_or_default();
        let written = cell.change(|object| {
            object.must_be(&lease.execution)?;
            let writes = object.append(lease, expect, &batch, &told)?;
            Ok(if writes { Change::Write(object.version) } else { Change::Keep(object.version) })
        });
        let version = written.await.map_err(refused::<JournalError>)?;
        inner.learn(&cell).await;
        self.announce(true, !batch.notices.is_empty());
        if let Some(object) = cell.known() {
            self.settle(&object).await;
        }
        Ok(version)
    }

    async fn load(&self, id: &ExecutionId) -> JournalResult<StoredExecution> {
        let cell = self.inner.find(id).await?;
        let object = self.inner.read_execution(&cell).await.map_err(failed::<JournalError>)?;
        object.must_be(id)?;
        object.stored()
    }

    async fn claim(&self, owner: &str, ttl_ms: u64, limit: u32) -> JournalResult<Vec<Lease>> {
        let inner = &*self.inner;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut leases = Vec::new();
        if limit == 0 {
            return Ok(leases);
        }
        lock(&inner.owners).insert(owner.to_owned());
        let contents = inner.contents.read().await.map_err(failed::<JournalError>)?;
        for entry in contents.unfinished() {
            if leases.len() >= limit {
                break;
            }
            let cell = inner.cell(entry);
            let object = inner.read_execution(&cell).await.map_err(failed::<JournalError>)?;
            if object.id.is_empty() {
                tracing::error!(execution = entry.id, object = entry.object, "the object of an execution is gone");
                continue;
            }
            self.settle(&object).await;
            if !object.is_free(inner.client.now().map_err(failed::<JournalError>)?) {
                continue;
            }
            let claimed = cell.change(|object| {
                let now = inner.client.now().map_err(failed::<JournalError>)?;
                let lease = object.claim(owner, now, now.until(ttl_ms));
                Ok(lease.map_or(Change::Keep(Claimed::Held), |lease| Change::Write(Claimed::Lease(lease))))
            });
            if let Claimed::Lease(lease) = claimed.await.map_err(refused::<JournalError>)? {
                leases.push(lease);
            }
        }
        Ok(leases)
    }

    async fn renew(&self, owner: &str, ttl_ms: u64, held: &[Lease]) -> JournalResult<Vec<Lease>> {
        let renewals = held.iter().map(|lease| async move {
            match lease.owner == owner && self.inner.renew(lease, ttl_ms).await? {
                true => JournalResult::Ok(None),
                false => Ok(Some(lease.clone())),
            }
        });
        let lost: Vec<Option<Lease>> = futures_util::future::try_join_all(renewals).await?;
        Ok(lost.into_iter().flatten().collect())
    }

    async fn release(&self, lease: &Lease) -> JournalResult<()> {
        let cell = match self.inner.find(&lease.execution).await {
            // Releasing what was lost already is no error: the purpose is met.
            Err(JournalError::NotFound(_)) => return Ok(()),
            found => found?,
        };
        let released = cell.change(|object| {
            let released = object.release(lease);
            Ok::<_, JournalError>(if released { Change::Write(true) } else { Change::Keep(false) })
        });
        if released.await.map_err(refused::<JournalError>)? {
            self.announce(true, false);
        }
        Ok(())
    }

    async fn send_signal(&self, id: &ExecutionId, who: &str, signal: Signal) -> JournalResult<()> {
        let cell = self.inner.find(id).await?;
        let sent = cell.change(|object| {
            object.must_be(id)?;
            if object.finished {
                return Ok(Change::Keep(()));
            }
            object.send(who, &signal)?;
            Ok(Change::Write(()))
        });
        sent.await.map_err(refused::<JournalError>)?;
        self.announce(true, false);
        Ok(())
    }

    async fn signals(&self, id: &ExecutionId) -> JournalResult<Vec<QueuedSignal>> {
        let object = self.inner.find(id).await?.read().await.map_err(failed::<JournalError>)?;
        object.must_be(id)?;
        object.signals()
    }

    async fn compact(&self, lease: &Lease, version: Version, snapshot: serde_json::Value) -> JournalResult<()> {
        let cell = self.inner.find(&lease.execution).await?;
        let compacted = cell.change(|object| {
            object.must_be(&lease.execution)?;
            let compacted = object.compact(lease, version, &snapshot)?;
            Ok(if compacted { Change::Write(true) } else { Change::Keep(false) })
        });
        if compacted.await.map_err(refused::<JournalError>)? {
            self.inner.follow.lock().await.compacted(lease.execution.as_str(), version);
        }
        Ok(())
    }

    async fn list(
        &self,
        environment: Option<&EnvironmentId>,
        unfinished_only: bool,
        limit: u32,
    ) -> JournalResult<Vec<ExecutionSummary>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.inner.summaries(environment, unfinished_only, limit).await
    }

    async fn read_after(&self, cursor: u64, limit: u32) -> JournalResult<Vec<JournalEntry>> {
        let inner = &*self.inner;
        let contents = inner.contents.read_within(LOOK).await.map_err(failed::<JournalError>)?;
        let sure = |entry: &Entry, seen: u64| {
            inner.cell(entry).known().is_some_and(|known| known.version == seen && inner.is_sure(&known))
        };
        let to_read = inner.follow.lock().await.to_read(&contents, cursor, sure);
        let cells: Vec<_> = to_read.into_iter().map(|entry| inner.cell(entry)).collect();
        let reads = cells.into_iter().map(|cell| async move { inner.read_execution(&cell).await });
        // Not under the follower's lock: appends of this process take it.
        let objects: Vec<_> = futures_util::stream::iter(reads).buffered(READ_AT_ONCE).collect().await;
        let mut follow = inner.follow.lock().await;
        let now = inner.client.now().map_err(failed::<JournalError>)?;
        for object in objects {
            match object.map_err(failed::<JournalError>).and_then(|object| follow.learn(&object, now.earliest)) {
                Err(error @ JournalError::Corrupt(_)) => tracing::error!(%error, "an execution cannot be followed"),
                learned => learned?,
            }
        }
        Ok(follow.after(cursor, limit))
    }

    async fn changed(&self) {
        self.inner.journal_changes.changed().await;
    }
}

impl S3Store {
    /// Wakes followers of the journal, of the store, or both. After the commit, never before.
    pub(crate) fn announce(&self, journal: bool, store: bool) {
        if journal {
            self.inner.journal_changes.announce();
        }
        if store {
            self.inner.store_changes.announce();
        }
    }

    /// Copies into the table what an execution's object says and the table may not know: its notices, and that it has
    /// finished. What fails here is left to the next append, or to whoever claims next.
    async fn settle(&self, object: &ExecutionObject) {
        let inner = &*self.inner;
        let told = lock(&inner.told).get(&object.id).cloned().unwrap_or_default();
        let news: Vec<_> = object.notices.iter().filter(|notice| !told.contains(&notice.id)).cloned().collect();
        let is_marked = || {
            let known = inner.contents.known();
            known.is_some_and(|contents| contents.entry(&object.id).is_none_or(|entry| entry.finished.is_some()))
        };
        if news.is_empty() && (!object.finished || is_marked()) {
            return;
        }
        let at = inner.client.now().map_or(0, |now| now.latest);
        let last = object.last_record();
        let copied = inner.contents.change(|contents| {
            let told = contents.outbox.insert(&news);
            let marked = object.finished && contents.finish(&object.id, object.version, at, last.as_ref());
            Ok::<_, ()>(if told || marked { Change::Write(()) } else { Change::Keep(()) })
        });
        // Cut off in the middle it is done again by the next one: a notice counts once, and so does a mark.
        let copied = tokio::time::timeout(SETTLING, copied).await;
        let unavailable = |_| Failure::Unavailable("no answer in time".to_owned());
        match copied.map_err(unavailable).and_then(|copied| copied.or_else(only_failures)) {
            Err(failure) => {
                tracing::warn!(execution = object.id, %failure, "notices wait in the execution's object");
            }
            Ok(()) => {
                let mut told = lock(&inner.told);
                match object.finished {
                    true => told.remove(&object.id),
                    false => told.insert(object.id.clone(), object.notices.iter().map(|n| n.id.clone()).collect()),
                };
                drop(told);
                self.announce(false, !news.is_empty());
            }
        }
    }
}

impl Inner {
    async fn learn(&self, cell: &Cell<ExecutionObject>) {
        let (Some(object), Ok(now)) = (cell.known(), self.client.now()) else { return };
        if let Err(error) = self.follow.lock().await.learn(&object, now.earliest) {
            tracing::error!(%error, "an execution cannot be followed");
        }
    }

    /// Whether a copy's records are what S3 has: it has finished, or a lease that was taken here is sure to last.
    pub(crate) fn is_sure(&self, known: &ExecutionObject) -> bool {
        let held = |holder: &crate::execution::Holder| {
            lock(&self.owners).contains(&holder.owner) && self.client.now().is_ok_and(|now| now.is_before(holder.until))
        };
        known.finished || known.lease.as_ref().is_some_and(held)
    }

    pub(crate) async fn read_execution(&self, cell: &Cell<ExecutionObject>) -> Result<Arc<ExecutionObject>, Failure> {
        match cell.known().filter(|known| self.is_sure(known)) {
            Some(known) => Ok(known),
            None => cell.read().await,
        }
    }

    /// `false`: lost.
    async fn renew(&self, lease: &Lease, ttl_ms: u64) -> JournalResult<bool> {
        let cell = match self.find(&lease.execution).await {
            Err(JournalError::NotFound(_)) => return Ok(false),
            found => found?,
        };
        let begun = Instant::now();
        // Twice, if this machine slept since S3 last told its time: the answer to the first write then says so.
        for _ in 0..2 {
            let until = self.client.now().map_err(failed::<JournalError>)?.until(ttl_ms);
            let renewed = cell.change(|object| match object.renew(lease, until) {
                None => Err(JournalError::NotFound(lease.execution.clone())),
                Some(true) => Ok(Change::Write(())),
                Some(false) => Ok(Change::Keep(())),
            });
            match renewed.await.map_err(refused::<JournalError>) {
                Err(JournalError::NotFound(_)) => return Ok(false),
                renewed => renewed?,
            }
            let took = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
            let owed = self.client.now().map_err(failed::<JournalError>)?.until(ttl_ms).saturating_sub(took);
            if until >= owed.saturating_sub(i64::try_from(SKEW.as_millis()).unwrap_or(0)) {
                break;
            }
        }
        Ok(true)
    }
}

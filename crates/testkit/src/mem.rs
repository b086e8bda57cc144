//! Journal in memory, for tests. With [`crate::mem_store`] it shares one mutex, as the SQLite adapter shares one file, so
//! that "in the same transaction" means the same here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_model::notice::Notice;
use landfall_ports::journal::{
    Batch, Created, ExecutionSummary, Journal, JournalEntry, JournalError, JournalResult, Lease, NewExecution,
    QueuedSignal, StoredExecution, Version,
};
use landfall_workflow::event::{Record, Signal};
use landfall_workflow::{Plan, release};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::mem_store::StoreTables;

/// The journal and the store over one mutex. Leases run on tokio's clock, so a paused test moves them.
#[derive(Default)]
pub struct Mem {
    tables: Mutex<Tables>,
    pub(crate) changed: Notify,
}

#[derive(Default)]
pub(crate) struct Tables {
    executions: BTreeMap<ExecutionId, Row>,
    by_key: BTreeMap<String, ExecutionId>,
    /// Executions in the order of their creation.
    created: Vec<ExecutionId>,
    /// Unfinished ones, by their place in `created`.
    open: BTreeMap<usize, ExecutionId>,
    entries: Vec<JournalEntry>,
    last_cursor: u64,
    next_signal: u64,
    pub(crate) store: StoreTables,
}

struct Row {
    new: NewExecution,
    place: usize,
    snapshot: Option<Value>,
    snapshot_version: Version,
    records: Vec<Record>,
    signals: Vec<QueuedSignal>,
    finished: bool,
    epoch: u64,
    /// Owner and expiry. Expired is not released: until somebody else comes, the holder still writes.
    holder: Option<(String, Instant)>,
}

impl Row {
    fn version(&self) -> Version {
        self.snapshot_version + self.records.len() as u64
    }

    fn plan(&self) -> Option<Plan> {
        serde_json::from_slice(&self.new.plan).ok()
    }

    fn is_held_by(&self, lease: &Lease) -> bool {
        self.epoch == lease.epoch && self.holder.as_ref().is_some_and(|(owner, _)| *owner == lease.owner)
    }

    fn fence(&self, lease: &Lease) -> JournalResult<()> {
        if self.is_held_by(lease) {
            Ok(())
        } else {
            Err(JournalError::Fenced { held: lease.epoch, current: self.epoch })
        }
    }
}

impl Mem {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// Ends every lease, as a reboot does.
    pub fn expire_leases(&self) {
        let now = Instant::now();
        for (_, until) in self.lock().executions.values_mut().filter_map(|row| row.holder.as_mut()) {
            *until = now;
        }
        self.changed.notify_waiters();
    }

    /// Drops all finished executions that nothing keeps.
    pub fn let_go(&self) {
        let mut tables = self.lock();
        let mut kept = release::Kept::default();
        let goes = |row: &&Row| {
            let kind = row.plan().map_or_else(String::new, |plan| plan.kind);
            let is_release = row.records.last().is_some_and(|last| release::is_release(&kind, last));
            row.finished && !kept.stays(row.new.environment.as_str(), &kind, is_release)
        };
        let newest_first = tables.created.iter().rev().filter_map(|id| tables.executions.get(id));
        let gone: Vec<ExecutionId> = newest_first.filter(goes).map(|row| row.new.id.clone()).collect();
        for id in gone {
            if let Some(row) = tables.executions.remove(&id) {
                tables.by_key.remove(&row.new.dedup_key);
            }
            tables.entries.retain(|entry| entry.execution != id);
        }
    }

    /// Right after the `looks`th look at this meta from now on, somebody else writes it.
    pub fn meta_comes_after(&self, key: &str, looks: usize, value: String) {
        self.lock().store.comes_after(key, looks, value);
    }

    /// Every notice ever written, in order.
    pub fn notices(&self) -> Vec<Notice> {
        self.lock().store.notices.clone()
    }

    /// All executions, oldest first.
    pub fn executions(&self) -> Vec<ExecutionId> {
        let tables = self.lock();
        tables.created.iter().filter(|id| tables.executions.contains_key(*id)).cloned().collect()
    }
}

impl Tables {
    fn row(&mut self, id: &ExecutionId) -> JournalResult<&mut Row> {
        self.executions.get_mut(id).ok_or_else(|| JournalError::NotFound(id.clone()))
    }

    fn write(&mut self, id: &ExecutionId, from: Version, records: &[Record], notices: Vec<Notice>) {
        for (index, record) in records.iter().enumerate() {
            self.last_cursor += 1;
            self.entries.push(JournalEntry {
                cursor: self.last_cursor,
                execution: id.clone(),
                version: from + index as u64 + 1,
                record: record.clone(),
            });
        }
        self.store.add_notices(notices);
    }
}

#[async_trait]
impl Journal for Mem {
    async fn create(&self, new: NewExecution) -> JournalResult<Created> {
        let mut tables = self.lock();
        if let Some(id) = tables.by_key.get(&new.dedup_key) {
            return Ok(Created::Existing(id.clone()));
        }
        if tables.executions.contains_key(&new.id) {
            return Err(JournalError::Corrupt(format!("execution id {} belongs to another request already", new.id)));
        }
        let place = tables.created.len();
        tables.by_key.insert(new.dedup_key.clone(), new.id.clone());
        tables.open.insert(place, new.id.clone());
        let (id, records, notices) = (new.id.clone(), new.records.clone(), new.notices.clone());
        let row = Row {
            new,
            place,
            snapshot: None,
            snapshot_version: 0,
            records: records.clone(),
            signals: vec![],
            finished: false,
            epoch: 0,
            holder: None,
        };
        tables.executions.insert(id.clone(), row);
        tables.created.push(id.clone());
        tables.write(&id, 0, &records, notices);
        self.changed.notify_waiters();
        Ok(Created::New)
    }

    async fn append(&self, lease: &Lease, expect: Version, batch: Batch) -> JournalResult<Version> {
        let mut tables = self.lock();
        let row = tables.row(&lease.execution)?;
        row.fence(lease)?;
        if row.version() != expect {
            return Err(JournalError::VersionConflict { expected: expect, found: row.version() });
        }
        row.records.extend(batch.records.iter().cloned());
        row.signals.retain(|signal| !batch.consumed_signals.contains(&signal.id));
        row.finished = batch.finished;
        if batch.finished {
            row.holder = None;
        }
        let (version, place) = (row.version(), row.place);
        if batch.finished {
            tables.open.remove(&place);
        }
        tables.write(&lease.execution, expect, &batch.records, batch.notices);
        self.changed.notify_waiters();
        Ok(version)
    }

    async fn load(&self, id: &ExecutionId) -> JournalResult<StoredExecution> {
        let mut tables = self.lock();
        let row = tables.row(id)?;
        Ok(StoredExecution {
            id: id.clone(),
            environment: row.new.environment.clone(),
            plan: row.new.plan.clone(),
            snapshot: row.snapshot.clone(),
            snapshot_version: row.snapshot_version,
            records: row.records.clone(),
            version: row.version(),
            finished: row.finished,
        })
    }

    async fn claim(&self, owner: &str, ttl_ms: u64, limit: u32) -> JournalResult<Vec<Lease>> {
        let mut tables = self.lock();
        let now = Instant::now();
        let Tables { executions, open, .. } = &mut *tables;
        let mut leases = Vec::new();
        for id in open.values() {
            let Some(row) = executions.get_mut(id) else { continue };
            if leases.len() >= limit as usize {
                break;
            }
            if row.holder.as_ref().is_some_and(|(_, until)| *until > now) {
                continue;
            }
            row.epoch += 1;
            row.holder = Some((owner.to_owned(), now + Duration::from_millis(ttl_ms)));
            leases.push(Lease { execution: id.clone(), owner: owner.to_owned(), epoch: row.epoch });
        }
        Ok(leases)
    }

    async fn renew(&self, owner: &str, ttl_ms: u64, held: &[Lease]) -> JournalResult<Vec<Lease>> {
        let mut tables = self.lock();
        let until = Instant::now() + Duration::from_millis(ttl_ms);
        let mut lost = Vec::new();
        for lease in held {
            match tables.executions.get_mut(&lease.execution) {
                Some(row) if lease.owner == owner && row.is_held_by(lease) => {
                    row.holder = Some((owner.to_owned(), until));
                }
                // Finished under this very lease: nothing is lost.
                Some(row) if lease.owner == owner && row.epoch == lease.epoch && row.finished => {}
                _ => lost.push(lease.clone()),
            }
        }
        Ok(lost)
    }

    async fn release(&self, lease: &Lease) -> JournalResult<()> {
        let mut tables = self.lock();
        // Releasing what was lost already is no error: the purpose is met.
        if let Some(row) = tables.executions.get_mut(&lease.execution)
            && row.is_held_by(lease)
        {
            row.holder = None;
            self.changed.notify_waiters();
        }
        Ok(())
    }

    async fn send_signal(&self, id: &ExecutionId, who: &str, signal: Signal) -> JournalResult<()> {
        let mut tables = self.lock();
        tables.next_signal += 1;
        let queued = QueuedSignal { id: tables.next_signal, who: who.to_owned(), signal };
        tables.row(id)?.signals.push(queued);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn signals(&self, id: &ExecutionId) -> JournalResult<Vec<QueuedSignal>> {
        Ok(self.lock().row(id)?.signals.clone())
    }

    async fn compact(&self, lease: &Lease, version: Version, snapshot: Value) -> JournalResult<()> {
        let mut tables = self.lock();
        let row = tables.row(&lease.execution)?;
        row.fence(lease)?;
        if version > row.version() {
            return Err(JournalError::VersionConflict { expected: version, found: row.version() });
        }
        if version > row.snapshot_version {
            row.records.drain(..(version - row.snapshot_version) as usize);
            row.snapshot = Some(snapshot);
            row.snapshot_version = version;
            tables.entries.retain(|entry| entry.execution != lease.execution || entry.version > version);
        }
        Ok(())
    }

    async fn list(
        &self,
        environment: Option<&EnvironmentId>,
        unfinished_only: bool,
        limit: u32,
    ) -> JournalResult<Vec<ExecutionSummary>> {
        let tables = self.lock();
        let rows = tables.created.iter().rev().filter_map(|id| tables.executions.get(id));
        Ok(rows
            .filter(|row| environment.is_none_or(|wanted| wanted == &row.new.environment))
            .filter(|row| !(unfinished_only && row.finished))
            .take(limit as usize)
            .map(|row| {
                let plan = row.plan();
                ExecutionSummary {
                    id: row.new.id.clone(),
                    environment: row.new.environment.clone(),
                    created_at: row.new.records.first().map_or(Timestamp::UNIX_EPOCH, |record| record.at),
                    version: row.version(),
                    finished: row.finished,
                    kind: plan.as_ref().map_or_else(String::new, |plan| plan.kind.clone()),
                    title: plan.map_or_else(String::new, |plan| plan.title),
                }
            })
            .collect())
    }

    async fn read_after(&self, cursor: u64, limit: u32) -> JournalResult<Vec<JournalEntry>> {
        let tables = self.lock();
        Ok(tables.entries.iter().filter(|entry| entry.cursor > cursor).take(limit as usize).cloned().collect())
    }

    async fn changed(&self) {
        // Spurious wake-ups are allowed; a change between two calls must not be lost for long.
        let _ = tokio::time::timeout(Duration::from_millis(50), self.changed.notified()).await;
    }
}

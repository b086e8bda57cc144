//! The store in memory: inbox, environments, outbox.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::environment::{EnvironmentRecord, EnvironmentWrite};
use landfall_model::ids::{EnvironmentId, RunId};
use landfall_model::notice::Notice;
use landfall_ports::store::{
    Delivery, DeliveryOutcome, DeliverySummary, NewDelivery, NewRun, OutboxRow, Received, Store, StoreError,
    StoreResult, StoredRun,
};

use crate::mem::Mem;

#[derive(Default)]
pub(crate) struct StoreTables {
    deliveries: Vec<(NewDelivery, Option<DeliveryOutcome>)>,
    environments: BTreeMap<EnvironmentId, EnvironmentRecord>,
    pub(crate) notices: Vec<Notice>,
    notice_ids: BTreeSet<String>,
    /// `None`: never set; notices wait for the first ones.
    targets: Option<Vec<String>>,
    outbox: BTreeMap<u64, Outgoing>,
    next_outgoing: u64,
    meta: BTreeMap<String, String>,
    /// With their keys, oldest first.
    runs: Vec<(String, StoredRun)>,
    coming: Option<Coming>,
    full: bool,
}

/// Meta that somebody else writes right after the last of so many looks at it.
struct Coming {
    key: String,
    looks: usize,
    value: String,
}

struct Outgoing {
    row: OutboxRow,
    due: Option<Timestamp>,
    dead: bool,
}

impl Mem {
    /// Whether deliveries, records and settings are refused, as by a full disk. What is there can be read.
    pub fn refuse_writes(&self, refuse: bool) {
        self.lock().store.full = refuse;
        self.changed.notify_waiters();
    }
}

impl StoreTables {
    pub(crate) fn comes_after(&mut self, key: &str, looks: usize, value: String) {
        self.coming = Some(Coming { key: key.to_owned(), looks, value });
    }

    fn writable(&self) -> StoreResult<()> {
        match self.full {
            true => Err(StoreError::Unavailable("no space left on device".to_owned())),
            false => Ok(()),
        }
    }

    /// A notice of a known id was told before.
    pub(crate) fn add_notices(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            if !self.notice_ids.insert(notice.id.clone()) {
                continue;
            }
            self.notices.push(notice.clone());
            self.fan_out(&notice);
        }
    }

    fn fan_out(&mut self, notice: &Notice) {
        for target in self.targets.clone().unwrap_or_default() {
            self.next_outgoing += 1;
            let row = OutboxRow { seq: self.next_outgoing, notice: notice.clone(), target, attempts: 0 };
            self.outbox.insert(row.seq, Outgoing { row, due: None, dead: false });
        }
    }

    fn write(&mut self, writes: Vec<EnvironmentWrite>) -> StoreResult<()> {
        // Written aside first: a conflict leaves everything as it was, and two writes of one record follow each other.
        let mut written: BTreeMap<EnvironmentId, EnvironmentRecord> = BTreeMap::new();
        for EnvironmentWrite { expected, record } in writes {
            let known = written.get(&record.id).or_else(|| self.environments.get(&record.id));
            if known.map_or(0, |known| known.revision) != expected {
                return Err(StoreError::Conflict(record.id));
            }
            written.insert(record.id.clone(), EnvironmentRecord { revision: expected + 1, ..record });
        }
        self.environments.extend(written);
        Ok(())
    }
}

#[async_trait]
impl Store for Mem {
    async fn receive(&self, delivery: NewDelivery) -> StoreResult<Received> {
        let store = &mut self.lock().store;
        store.writable()?;
        let deliveries = &mut store.deliveries;
        if deliveries.iter().any(|(known, _)| known.id == delivery.id) {
            return Ok(Received::Duplicate);
        }
        deliveries.push((delivery, None));
        self.changed.notify_waiters();
        Ok(Received::New)
    }

    async fn pending_deliveries(&self, limit: u32) -> StoreResult<Vec<Delivery>> {
        let tables = self.lock();
        let numbered = tables.store.deliveries.iter().zip(1u64..);
        let pending = numbered.filter(|((_, outcome), _)| outcome.is_none());
        Ok(pending.take(limit as usize).map(|((d, _), seq)| Delivery { seq, delivery: d.clone() }).collect())
    }

    async fn finish_delivery(
        &self,
        seq: u64,
        outcome: DeliveryOutcome,
        writes: Vec<EnvironmentWrite>,
        notices: Vec<Notice>,
    ) -> StoreResult<()> {
        let tables = &mut self.lock().store;
        tables.writable()?;
        let index = usize::try_from(seq).unwrap_or(0).wrapping_sub(1);
        if tables.deliveries.get(index).is_none_or(|(_, outcome)| outcome.is_some()) {
            return Err(StoreError::Corrupt(format!("delivery {seq} is not pending: unknown, or finished before")));
        }
        tables.write(writes)?;
        tables.add_notices(notices);
        tables.deliveries[index].1 = Some(outcome);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn deliveries(&self, limit: u32) -> StoreResult<Vec<DeliverySummary>> {
        let tables = self.lock();
        let newest =
            tables.store.deliveries.iter().zip(1u64..).collect::<Vec<_>>().into_iter().rev().take(limit as usize);
        Ok(newest
            .map(|((delivery, outcome), seq)| DeliverySummary {
                seq,
                id: delivery.id.clone(),
                event: delivery.event.clone(),
                bytes: delivery.body.len() as u64,
                received_at: delivery.received_at,
                outcome: outcome.clone(),
            })
            .collect())
    }

    async fn environments(&self) -> StoreResult<Vec<EnvironmentRecord>> {
        Ok(self.lock().store.environments.values().cloned().collect())
    }

    async fn environment(&self, id: &EnvironmentId) -> StoreResult<Option<EnvironmentRecord>> {
        Ok(self.lock().store.environments.get(id).cloned())
    }

    async fn write_environments(&self, writes: Vec<EnvironmentWrite>, notices: Vec<Notice>) -> StoreResult<()> {
        let tables = &mut self.lock().store;
        tables.writable()?;
        tables.write(writes)?;
        tables.add_notices(notices);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn set_notification_targets(&self, targets: Vec<String>) -> StoreResult<()> {
        let tables = &mut self.lock().store;
        let mut names = Vec::new();
        for target in targets {
            if !names.contains(&target) {
                names.push(target);
            }
        }
        tables.outbox.retain(|_, out| names.contains(&out.row.target));
        if tables.targets.replace(names).is_none() {
            for notice in tables.notices.clone() {
                tables.fan_out(&notice);
            }
        }
        self.changed.notify_waiters();
        Ok(())
    }

    async fn due_notices(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<OutboxRow>> {
        let tables = self.lock();
        let due = tables.store.outbox.values().filter(|out| !out.dead && out.due.is_none_or(|due| due <= now));
        Ok(due.take(limit as usize).map(|out| out.row.clone()).collect())
    }

    async fn notices_done(&self, seqs: Vec<u64>) -> StoreResult<()> {
        self.lock().store.outbox.retain(|seq, _| !seqs.contains(seq));
        Ok(())
    }

    async fn notice_failed(&self, seq: u64, _error: String, retry_at: Option<Timestamp>) -> StoreResult<()> {
        // Given up stays given up.
        if let Some(out) = self.lock().store.outbox.get_mut(&seq).filter(|out| !out.dead) {
            out.row.attempts += 1;
            out.due = retry_at;
            out.dead = retry_at.is_none();
        }
        Ok(())
    }

    async fn meta_get(&self, key: &str) -> StoreResult<Option<String>> {
        let store = &mut self.lock().store;
        let found = store.meta.get(key).cloned();
        if let Some(coming) = store.coming.as_mut().filter(|coming| coming.key == key) {
            coming.looks -= 1;
        }
        if let Some(coming) = store.coming.take_if(|coming| coming.looks == 0) {
            store.meta.insert(coming.key, coming.value);
        }
        Ok(found)
    }

    async fn meta_put(&self, key: &str, value: &str) -> StoreResult<()> {
        let store = &mut self.lock().store;
        store.writable()?;
        store.meta.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    async fn create_run(&self, new: NewRun) -> StoreResult<RunId> {
        let runs = &mut self.lock().store;
        runs.writable()?;
        if let Some((_, known)) = runs.runs.iter().find(|(key, _)| *key == new.dedup_key) {
            return Ok(known.id.clone());
        }
        let own = runs.runs.iter().filter(|(_, run)| run.pipeline == new.pipeline);
        let number = own.map(|(_, run)| run.number).max().unwrap_or(0) + 1;
        let NewRun { id, pipeline, dedup_key, record, .. } = new;
        let run = StoredRun { id: id.clone(), pipeline, number, records: vec![record], finished: false };
        runs.runs.push((dedup_key, run));
        self.changed.notify_waiters();
        Ok(id)
    }

    async fn append_run(
        &self,
        id: &RunId,
        expect: u64,
        records: Vec<serde_json::Value>,
        finished: bool,
        notices: Vec<Notice>,
    ) -> StoreResult<bool> {
        let tables = &mut self.lock().store;
        tables.writable()?;
        let Some((_, run)) = tables.runs.iter_mut().find(|(_, run)| run.id == *id) else { return Ok(false) };
        if run.records.len() as u64 != expect {
            return Ok(false);
        }
        run.records.extend(records);
        run.finished = finished;
        tables.add_notices(notices);
        self.changed.notify_waiters();
        Ok(true)
    }

    async fn run(&self, id: &RunId) -> StoreResult<Option<StoredRun>> {
        Ok(self.lock().store.runs.iter().find(|(_, run)| run.id == *id).map(|(_, run)| run.clone()))
    }

    async fn forget_runs(&self, ids: Vec<RunId>) -> StoreResult<usize> {
        let runs = &mut self.lock().store.runs;
        let before = runs.len();
        runs.retain(|(_, run)| !run.finished || !ids.contains(&run.id));
        Ok(before - runs.len())
    }

    async fn runs(&self, limit: u32) -> StoreResult<Vec<RunId>> {
        let tables = self.lock();
        let newest = tables.store.runs.iter().rev().enumerate();
        let listed = newest.filter(|(index, (_, run))| *index < limit as usize || !run.finished);
        Ok(listed.map(|(_, (_, run))| run.id.clone()).collect())
    }

    async fn backup(&self, _to: &std::path::Path) -> StoreResult<()> {
        Err(StoreError::Unavailable("memory has no backup".to_owned()))
    }

    async fn changed(&self) {
        landfall_ports::journal::Journal::changed(self).await;
    }
}

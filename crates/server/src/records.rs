//! The environments, in memory as they are in the store. Where this process is the only one that writes the store, what it
//! wrote last is what is there; a store that is shared is read again now and then. Every write expects the revision that was
//! read, which orders the loops among themselves, and processes among each other.
//!
//! The race: two loops decide from revision 5; the store takes one write and refuses the other with a conflict. The loser's
//! copy is read again here, and the loser decides again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_model::environment::{EnvironmentKey, EnvironmentRecord, EnvironmentWrite};
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_model::notice::Notice;
use landfall_ports::store::{DeliveryOutcome, Store, StoreError, StoreResult};
use tokio::sync::watch;

pub(crate) struct Records {
    store: Arc<dyn Store>,
    state: Mutex<State>,
    /// Goes up with every change.
    generation: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    by_id: BTreeMap<EnvironmentId, EnvironmentRecord>,
    by_key: BTreeMap<EnvironmentKey, EnvironmentId>,
    /// Changed since the controller looked.
    dirty: BTreeSet<EnvironmentId>,
}

impl State {
    fn put(&mut self, record: EnvironmentRecord) {
        // Two writers may read back in another order than they wrote.
        if self.by_id.get(&record.id).is_some_and(|known| known.revision > record.revision) {
            return;
        }
        self.dirty.insert(record.id.clone());
        self.by_key.insert(record.key.clone(), record.id.clone());
        self.by_id.insert(record.id.clone(), record);
    }
}

impl Records {
    pub(crate) async fn load(store: Arc<dyn Store>) -> StoreResult<Self> {
        let mut state = State::default();
        for record in store.environments().await? {
            state.put(record);
        }
        Ok(Self { store, state: Mutex::new(state), generation: watch::Sender::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: &EnvironmentId) -> Option<EnvironmentRecord> {
        self.state().by_id.get(id).cloned()
    }

    pub(crate) fn by_key(&self, key: &EnvironmentKey) -> Option<EnvironmentRecord> {
        let state = self.state();
        state.by_key.get(key).and_then(|id| state.by_id.get(id)).cloned()
    }

    pub(crate) fn all(&self) -> Vec<EnvironmentRecord> {
        self.state().by_id.values().cloned().collect()
    }

    /// Runs `read` over all records without copying them.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&BTreeMap<EnvironmentId, EnvironmentRecord>) -> T) -> T {
        read(&self.state().by_id)
    }

    pub(crate) fn take_dirty(&self) -> BTreeSet<EnvironmentId> {
        std::mem::take(&mut self.state().dirty)
    }

    pub(crate) fn mark_dirty(&self, ids: impl IntoIterator<Item = EnvironmentId>) {
        self.state().dirty.extend(ids);
        self.announce();
    }

    /// The environments that these executions work on.
    pub(crate) fn worked_on_by(&self, executions: &BTreeSet<ExecutionId>) -> Vec<EnvironmentId> {
        self.read(|records| {
            records
                .values()
                .filter(|record| record.live.as_ref().is_some_and(|live| executions.contains(&live.id)))
                .map(|record| record.id.clone())
                .collect()
        })
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn announce(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Reads all of them again where other processes write them too.
    pub(crate) async fn refresh_shared(&self) -> StoreResult<()> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let found = self.store.environments().await?;
        let mut state = self.state();
        let news: Vec<_> = found.into_iter().filter(|record| state.by_id.get(&record.id) != Some(record)).collect();
        let changed = !news.is_empty();
        news.into_iter().for_each(|record| state.put(record));
        drop(state);
        if changed {
            self.announce();
        }
        Ok(())
    }

    /// All or nothing; a conflict leaves the copies here as fresh as the store's.
    pub(crate) async fn write(&self, records: Vec<EnvironmentRecord>, notices: Vec<Notice>) -> StoreResult<()> {
        let ids: Vec<_> = records.iter().map(|record| record.id.clone()).collect();
        let done = self.store.write_environments(writes(records), notices).await;
        self.refresh(ids, done).await
    }

    pub(crate) async fn finish_delivery(
        &self,
        seq: u64,
        outcome: DeliveryOutcome,
        records: Vec<EnvironmentRecord>,
        notices: Vec<Notice>,
    ) -> StoreResult<()> {
        let ids: Vec<_> = records.iter().map(|record| record.id.clone()).collect();
        let done = self.store.finish_delivery(seq, outcome, writes(records), notices).await;
        self.refresh(ids, done).await
    }

    async fn refresh(&self, ids: Vec<EnvironmentId>, done: StoreResult<()>) -> StoreResult<()> {
        if matches!(done, Ok(()) | Err(StoreError::Conflict(_))) {
            for id in &ids {
                if let Some(record) = self.store.environment(id).await? {
                    self.state().put(record);
                }
            }
            if !ids.is_empty() {
                self.announce();
            }
        }
        done
    }
}

fn writes(records: Vec<EnvironmentRecord>) -> Vec<EnvironmentWrite> {
    records.into_iter().map(|record| EnvironmentWrite { expected: record.revision, record }).collect()
}

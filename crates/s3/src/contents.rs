//! The table of contents: everything that promises atomicity over several things, in one object. Pure.
//!
//! Executions are entered here when they are created and marked when they have finished; what happens in between is in their
//! own objects. Old finished ones move to pages that never change again, so that the table stays small.

use std::collections::BTreeMap;

use landfall_model::Timestamp;
use landfall_model::environment::{EnvironmentRecord, EnvironmentWrite};
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_ports::journal::{ExecutionSummary, JournalError, JournalResult, NewExecution, Version};
use landfall_ports::store::{StoreError, StoreResult};
use landfall_workflow::{Record, release};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::cell::{Object, Writes};
use crate::inbox::Inbox;
use crate::outbox::Outbox;

/// What is kept of finished executions. A lasting environment's newest releases ([`release::KEPT`]) stay in the table beside that, so
/// what comes to a page may be deleted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// In the table, at most.
    pub table: usize,
    /// So many go to a page then.
    pub page: usize,
    /// With more pages than that, the oldest one's executions are deleted.
    pub pages: usize,
}

impl Default for Retention {
    /// The last 8,000 or so.
    fn default() -> Self {
        Self { table: 256, page: 128, pages: 64 }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Contents {
    #[serde(default)]
    writes: Writes,
    last_execution: u64,
    /// Oldest first.
    pub(crate) executions: Vec<Entry>,
    /// Oldest first.
    pub(crate) pages: Vec<PageRef>,
    /// As JSON, so that an older Landfall rewrites unharmed what it does not know.
    environments: BTreeMap<String, Value>,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) meta: BTreeMap<String, String>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) id: String,
    /// The name of its object. Drawn for each attempt to create it: an object that no entry names is nothing.
    pub(crate) object: String,
    /// Of the deduplication key.
    key: String,
    environment: String,
    created_at: Timestamp,
    kind: String,
    title: String,
    /// Its last version, when that was on S3's clock, and whether it left a release; the object may be finished a moment before.
    pub(crate) finished: Option<Finished>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) version: Version,
    pub(crate) at: i64,
    #[serde(default)]
    pub(crate) release: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageRef {
    pub(crate) name: String,
    /// Sequence number of its newest entry.
    pub(crate) last: u64,
}

/// Entries of old executions. Written once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    writes: Writes,
    pub(crate) entries: Vec<Entry>,
}

impl Object for Contents {
    fn writes(&self) -> &Writes {
        &self.writes
    }

    fn writes_mut(&mut self) -> &mut Writes {
        &mut self.writes
    }
}

impl Page {
    pub(crate) fn of(entries: Vec<Entry>) -> Self {
        Self { writes: Writes::default(), entries }
    }
}

impl Object for Page {
    fn writes(&self) -> &Writes {
        &self.writes
    }

    fn writes_mut(&mut self) -> &mut Writes {
        &mut self.writes
    }
}

/// 128 bits: no two keys of any installation share them.
pub(crate) fn key_digest(key: &str) -> String {
    hex::encode(&Sha256::digest(key)[..16])
}

impl Entry {
    pub(crate) fn new(new: &NewExecution, object: String) -> JournalResult<Self> {
        let plan: Value = serde_json::from_slice(&new.plan)
            .map_err(|error| JournalError::Corrupt(format!("the plan of {} is not JSON: {error}", new.id)))?;
        let word = |key: &str| plan.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self {
            seq: 0,
            id: new.id.to_string(),
            object,
            key: key_digest(&new.dedup_key),
            environment: new.environment.to_string(),
            created_at: new.records.first().map_or(Timestamp::UNIX_EPOCH, |record| record.at),
            kind: word("kind"),
            title: word("title"),
            finished: None,
        })
    }

    pub(crate) fn has_key(&self, digest: &str) -> bool {
        self.key == digest
    }

    pub(crate) fn is_of(&self, environment: Option<&EnvironmentId>) -> bool {
        environment.is_none_or(|wanted| wanted.as_str() == self.environment)
    }

    pub(crate) fn summary(&self, version: Version, finished: bool) -> ExecutionSummary {
        ExecutionSummary {
            id: ExecutionId::new(&self.id),
            environment: EnvironmentId::new(&self.environment),
            created_at: self.created_at,
            version,
            finished,
            kind: self.kind.clone(),
            title: self.title.clone(),
        }
    }
}

impl Contents {
    pub(crate) fn entry(&self, id: &str) -> Option<&Entry> {
        self.executions.iter().rev().find(|entry| entry.id == id)
    }

    pub(crate) fn entry_of_key(&self, digest: &str) -> Option<&Entry> {
        self.executions.iter().rev().find(|entry| entry.key == digest)
    }

    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &Entry> {
        self.executions.iter().filter(|entry| entry.finished.is_none())
    }

    pub(crate) fn enter(&mut self, mut entry: Entry) {
        self.last_execution += 1;
        entry.seq = self.last_execution;
        self.executions.push(entry);
    }

    /// `last`: its last record. `false`: it is marked already, or gone to a page.
    pub(crate) fn finish(&mut self, id: &str, version: Version, at: i64, last: Option<&Record>) -> bool {
        let entry = self.executions.iter_mut().rev().find(|entry| entry.id == id && entry.finished.is_none());
        let Some(entry) = entry else { return false };
        let release = last.is_some_and(|last| release::is_release(&entry.kind, last));
        entry.finished = Some(Finished { version, at, release });
        true
    }

    /// The oldest finished entries, if there are too many.
    pub(crate) fn surplus(&self, retention: Retention) -> Option<Vec<Entry>> {
        let mut kept = release::Kept::default();
        let goes = |entry: &&Entry| {
            let mut stays = |finished: Finished| kept.stays(&entry.environment, &entry.kind, finished.release);
            entry.finished.is_some_and(|finished| !stays(finished))
        };
        let finished: Vec<&Entry> = self.executions.iter().rev().filter(goes).collect();
        let too_many = finished.len() > retention.table;
        too_many.then(|| finished.into_iter().rev().take(retention.page).cloned().collect())
    }

    /// Puts a page in the place of its entries. `false`: somebody else was first.
    pub(crate) fn turn(&mut self, name: &str, entries: &[Entry]) -> bool {
        let here = |entry: &Entry| self.executions.iter().any(|own| own.seq == entry.seq && own.id == entry.id);
        if !entries.iter().all(here) {
            return false;
        }
        self.executions.retain(|own| !entries.iter().any(|entry| entry.seq == own.seq));
        let last = entries.iter().map(|entry| entry.seq).max().unwrap_or_default();
        self.pages.push(PageRef { name: name.to_owned(), last });
        true
    }

    pub(crate) fn environments(&self) -> StoreResult<Vec<EnvironmentRecord>> {
        self.environments.iter().map(|(id, value)| environment(id, value)).collect()
    }

    pub(crate) fn environment(&self, id: &EnvironmentId) -> StoreResult<Option<EnvironmentRecord>> {
        self.environments.get(id.as_str()).map(|value| environment(id.as_str(), value)).transpose()
    }

    /// All or nothing: what is refused in the middle is thrown away with the whole changed copy.
    pub(crate) fn write_environments(&mut self, writes: &[EnvironmentWrite]) -> StoreResult<()> {
        for EnvironmentWrite { expected, record } in writes {
            let known = self.environments.get(record.id.as_str());
            let revision = known.and_then(|known| known.get("revision")).and_then(Value::as_u64).unwrap_or(0);
            if revision != *expected {
                return Err(StoreError::Conflict(record.id.clone()));
            }
            let record = EnvironmentRecord { revision: expected + 1, ..record.clone() };
            let value = serde_json::to_value(&record)
                .map_err(|error| StoreError::Corrupt(format!("environment {}: {error}", record.id)))?;
            self.environments.insert(record.id.to_string(), value);
        }
        Ok(())
    }
}

fn environment(id: &str, value: &Value) -> StoreResult<EnvironmentRecord> {
    EnvironmentRecord::deserialize(value).map_err(|error| StoreError::Corrupt(format!("environment {id}: {error}")))
}

#[cfg(test)]
mod tests {
    use landfall_testkit::conformance::fixtures::execution;

    use super::*;

    #[test]
    fn old_executions_move_to_pages_and_unfinished_ones_stay() {
        let mut contents = Contents::default();
        let retention = Retention::default();
        for n in 0..=retention.table + 1 {
            let new = execution(&n.to_string(), "env");
            contents.enter(Entry::new(&new, format!("o-{n}")).unwrap());
            assert_eq!(contents.surplus(retention), None);
            if n != 3 {
                assert!(contents.finish(new.id.as_str(), 2, 0, None));
            }
        }
        let entries = contents.surplus(retention).unwrap();
        assert_eq!((entries.len(), entries[2].id.as_str(), entries[3].id.as_str()), (128, "exe_2", "exe_4"));
        assert!(contents.turn("page", &entries));
        assert!(!contents.turn("page of another runner", &entries));
        assert_eq!(contents.unfinished().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["exe_3"]);
        assert_eq!(contents.pages, [PageRef { name: "page".to_owned(), last: 129 }]);
        assert_eq!(contents.executions.len(), 256 + 2 - 128);
    }
}

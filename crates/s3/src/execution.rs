//! One execution as one object: plan, records, lease, signals. What an append checks (the lease, then the version) and what it
//! writes are one conditional replacement, so a holder that was taken over cannot write, however late its request arrives.
//!
//! Pure: how an object changes. Records, snapshots and signals are kept as the JSON they came as, so that an older Landfall that
//! does not know a kind of record rewrites it unharmed.

use std::collections::BTreeMap;

use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_model::notice::Notice;
use landfall_ports::journal::{
    Batch, JournalEntry, JournalError, JournalResult, Lease, NewExecution, QueuedSignal, StoredExecution, Version,
};
use landfall_workflow::event::{Record, Signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cell::{Object, Writes};
use crate::clock::Bounds;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ExecutionObject {
    #[serde(default)]
    writes: Writes,
    pub(crate) id: String,
    environment: String,
    plan_digest: String,
    plan: String,
    pub(crate) version: Version,
    pub(crate) finished: bool,
    pub(crate) epoch: u64,
    pub(crate) lease: Option<Holder>,
    pub(crate) snapshot_version: Version,
    snapshot: Option<Value>,
    records: Vec<Value>,
    signals: Vec<StoredSignal>,
    last_signal: u64,
    /// Committed with records, and on their way to the outbox of the table of contents.
    #[serde(default)]
    pub(crate) notices: Vec<Notice>,
    /// What a newer Landfall keeps here.
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) owner: String,
    /// On S3's clock, milliseconds since 1970.
    pub(crate) until: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredSignal {
    id: u64,
    who: String,
    signal: Value,
}

impl Object for ExecutionObject {
    fn writes(&self) -> &Writes {
        &self.writes
    }

    fn writes_mut(&mut self) -> &mut Writes {
        &mut self.writes
    }
}

impl ExecutionObject {
    pub(crate) fn new(new: &NewExecution) -> JournalResult<Self> {
        let plan = String::from_utf8(new.plan.clone())
            .map_err(|error| JournalError::Corrupt(format!("the plan of {} is not text: {error}", new.id)))?;
        let records = new.records.iter().map(to_value).collect::<JournalResult<Vec<_>>>()?;
        Ok(Self {
            id: new.id.to_string(),
            environment: new.environment.to_string(),
            plan_digest: new.plan_digest.to_string(),
            plan,
            version: records.len() as u64,
            records,
            ..Self::default()
        })
    }

    /// The default value stands for an object that is gone.
    pub(crate) fn must_be(&self, id: &ExecutionId) -> JournalResult<()> {
        if self.id.is_empty() { Err(JournalError::NotFound(id.clone())) } else { Ok(()) }
    }

    fn fence(&self, lease: &Lease) -> JournalResult<()> {
        let held = self.lease.as_ref().is_some_and(|holder| holder.owner == lease.owner);
        match held && self.epoch == lease.epoch {
            true => Ok(()),
            false => Err(JournalError::Fenced { held: lease.epoch, current: self.epoch }),
        }
    }

    /// `false`: nothing to write. `told`: ids of notices that are in the outbox by now.
    pub(crate) fn append(
        &mut self,
        lease: &Lease,
        expect: Version,
        batch: &Batch,
        told: &[String],
    ) -> JournalResult<bool> {
        self.fence(lease)?;
        if self.version != expect {
            return Err(JournalError::VersionConflict { expected: expect, found: self.version });
        }
        let signals = self.signals.len();
        self.signals.retain(|signal| !batch.consumed_signals.contains(&signal.id));
        let changes =
            !batch.records.is_empty() || !batch.notices.is_empty() || batch.finished || self.signals.len() != signals;
        for record in &batch.records {
            self.records.push(to_value(record)?);
            self.version += 1;
        }
        self.notices.retain(|notice| !told.contains(&notice.id));
        self.notices.extend(batch.notices.iter().cloned());
        if batch.finished {
            self.finished = true;
            self.lease = None;
        }
        Ok(changes)
    }

    /// Takes the lease, if nobody can hold it any more.
    pub(crate) fn claim(&mut self, owner: &str, now: Bounds, until: i64) -> Option<Lease> {
        if !self.is_free(now) {
            return None;
        }
        self.epoch += 1;
        self.lease = Some(Holder { owner: owner.to_owned(), until });
        Some(Lease { execution: ExecutionId::new(&self.id), owner: owner.to_owned(), epoch: self.epoch })
    }

    pub(crate) fn is_free(&self, now: Bounds) -> bool {
        !self.finished && self.lease.as_ref().is_none_or(|holder| now.is_past(holder.until))
    }

    /// `None`: lost. `Some(false)`: there is nothing to extend, and nothing lost: a renewal that ran while the last append was on
    /// its way must not make its driver believe that somebody took over.
    pub(crate) fn renew(&mut self, lease: &Lease, until: i64) -> Option<bool> {
        if self.fence(lease).is_err() {
            return (self.finished && self.epoch == lease.epoch).then_some(false);
        }
        let holder = self.lease.as_mut()?;
        let longer = until > holder.until;
        holder.until = holder.until.max(until);
        Some(longer)
    }

    /// `false`: it was not this lease's any more.
    pub(crate) fn release(&mut self, lease: &Lease) -> bool {
        let held = self.fence(lease).is_ok();
        if held {
            self.lease = None;
        }
        held
    }

    pub(crate) fn send(&mut self, who: &str, signal: &Signal) -> JournalResult<()> {
        self.last_signal += 1;
        self.signals.push(StoredSignal { id: self.last_signal, who: who.to_owned(), signal: to_value(signal)? });
        Ok(())
    }

    /// `false`: what is there already says at least as much.
    pub(crate) fn compact(&mut self, lease: &Lease, version: Version, snapshot: &Value) -> JournalResult<bool> {
        self.fence(lease)?;
        if version > self.version {
            return Err(JournalError::VersionConflict { expected: version, found: self.version });
        }
        if version <= self.snapshot_version {
            return Ok(false);
        }
        let folded = usize::try_from(version - self.snapshot_version).unwrap_or(usize::MAX);
        self.records.drain(..folded.min(self.records.len()));
        self.snapshot = Some(snapshot.clone());
        self.snapshot_version = version;
        Ok(true)
    }

    pub(crate) fn signals(&self) -> JournalResult<Vec<QueuedSignal>> {
        let read = |stored: &StoredSignal| {
            let signal = from_value(&stored.signal, || format!("signal {} of {}", stored.id, self.id))?;
            Ok(QueuedSignal { id: stored.id, who: stored.who.clone(), signal })
        };
        self.signals.iter().map(read).collect()
    }

    pub(crate) fn stored(&self) -> JournalResult<StoredExecution> {
        if self.snapshot_version + self.records.len() as u64 != self.version {
            let text = format!("{}: {} records after {}", self.id, self.records.len(), self.snapshot_version);
            return Err(JournalError::Corrupt(format!("{text}, and version {}", self.version)));
        }
        let records = self.entries(self.snapshot_version)?.into_iter().map(|(_, record)| record).collect();
        Ok(StoredExecution {
            id: ExecutionId::new(&self.id),
            environment: EnvironmentId::new(&self.environment),
            plan: self.plan.clone().into_bytes(),
            snapshot: self.snapshot.clone(),
            snapshot_version: self.snapshot_version,
            records,
            version: self.version,
            finished: self.finished,
        })
    }

    /// `None`: it is compacted, or a newer Landfall's.
    pub(crate) fn last_record(&self) -> Option<Record> {
        Record::deserialize(self.records.last()?).ok()
    }

    /// Records after `version` that are not compacted, with their versions.
    fn entries(&self, version: Version) -> JournalResult<Vec<(Version, Record)>> {
        let numbered = (self.snapshot_version + 1..).zip(&self.records).filter(|(at, _)| *at > version);
        numbered.map(|(at, value)| Ok((at, from_value(value, || format!("{}, record {at}", self.id))?))).collect()
    }

    /// The same as entries of a follower's log that ends at cursor `cursor`.
    pub(crate) fn news(&self, version: Version, cursor: u64) -> JournalResult<Vec<JournalEntry>> {
        let entry = |(cursor, (version, record))| JournalEntry {
            cursor,
            execution: ExecutionId::new(&self.id),
            version,
            record,
        };
        Ok((cursor + 1..).zip(self.entries(version)?).map(entry).collect())
    }
}

fn to_value<T: Serialize>(value: &T) -> JournalResult<Value> {
    serde_json::to_value(value).map_err(|error| JournalError::Corrupt(format!("cannot be written as JSON: {error}")))
}

fn from_value<T: DeserializeOwned>(value: &Value, what: impl FnOnce() -> String) -> JournalResult<T> {
    T::deserialize(value).map_err(|error| JournalError::Corrupt(format!("{}: {error}", what())))
}

#[cfg(test)]
mod tests {
    use landfall_testkit::conformance::fixtures::{batch, execution, step_done};

    use super::*;

    #[test]
    fn what_a_newer_landfall_wrote_survives_an_append() {
        let mut object = ExecutionObject::new(&execution("1", "env")).unwrap();
        let lease = object.claim("engine-1", Bounds { earliest: 0, latest: 1000 }, 5000).unwrap();
        let mut json = serde_json::to_value(&object).unwrap();
        let newer = serde_json::json!({ "at": "2026-01-01T00:00:00Z", "type": "invented_later", "x": 1 });
        json["records"].as_array_mut().unwrap().push(newer.clone());
        json["version"] = 2.into();
        json["invented"] = true.into();
        let mut object: ExecutionObject = serde_json::from_value(json).unwrap();
        assert!(object.append(&lease, 2, &batch(vec![step_done(1, "a")]), &[]).unwrap());
        let json = serde_json::to_value(&object).unwrap();
        assert_eq!((&json["records"][1], &json["invented"]), (&newer, &Value::Bool(true)));
        assert_eq!(object.stored().unwrap().records.len(), 3);
    }

    #[test]
    fn records_that_are_missing_are_noticed() {
        let mut object = ExecutionObject::new(&execution("1", "env")).unwrap();
        object.records.clear();
        assert!(matches!(object.stored(), Err(JournalError::Corrupt(_))));
    }
}

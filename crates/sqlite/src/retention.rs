//! What is thrown away, and when. Nothing goes by itself: the server calls `prune` now and then.
//!
//! * Finished executions older than the policy says, with plan, records and signals. The newest of each environment stays,
//!   however old: it is the answer to "what happened last". So do a lasting environment's newest releases,
//!   and what was tried since ([`landfall_workflow::release`]): they are what it runs and can go back to. Unfinished ones always stay. A pruned execution's
//!   deduplication key is forgotten with it, so the policy is to outlast every redelivery.
//! * Bodies of finished deliveries, and later the deliveries themselves. Ids are kept at least
//!   [`MINIMUM_DELIVERY_DAYS`], because a forge may deliver again that long and a forgotten id would be acted on twice.
//!   Pending deliveries always stay.
//! * Notices older than the deliveries' age whose outbox rows are all done or given up.
//!
//! The file does not shrink: its free pages are used again. A backup is compact, if the file itself must become so.

use std::collections::BTreeSet;

use landfall_model::Timestamp;
use landfall_ports::store::StoreError;
use landfall_workflow::{Record, release};
use rusqlite::{Connection, params};

use crate::SqliteStore;
use crate::codec::{from_json, to_ns};
use crate::error::Failure;

type Step<T> = Result<T, Failure<StoreError>>;

/// GitHub keeps deliveries for redelivery for a few days; this is well above.
pub const MINIMUM_DELIVERY_DAYS: u32 = 30;

/// Ages in days, counted back from `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunePolicy {
    pub now: Timestamp,
    /// Since the execution finished.
    pub executions: u32,
    /// Since the delivery arrived; its body only.
    pub delivery_bodies: u32,
    /// Since the delivery arrived; at least [`MINIMUM_DELIVERY_DAYS`].
    pub deliveries: u32,
}

impl PrunePolicy {
    /// 90 days of executions, 14 of bodies, 90 of delivery ids and notices.
    pub fn standard(now: Timestamp) -> Self {
        Self { now, executions: 90, delivery_bodies: 14, deliveries: 90 }
    }
}

/// Rows that went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub executions: usize,
    pub delivery_bodies: usize,
    pub deliveries: usize,
    pub notices: usize,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum PruneError {
    #[error(
        "deliveries must be kept at least {MINIMUM_DELIVERY_DAYS} days, not {0}: an older redelivery would be acted on"
    )]
    TooShort(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SqliteStore {
    /// Throws away what the policy allows, in one transaction.
    pub async fn prune(&self, policy: PrunePolicy) -> Result<Pruned, PruneError> {
        if policy.deliveries < MINIMUM_DELIVERY_DAYS {
            return Err(PruneError::TooShort(policy.deliveries));
        }
        let before = move |days: u32| {
            to_ns(policy.now).saturating_sub(i64::from(days).saturating_mul(24 * 3600).saturating_mul(1_000_000_000))
        };
        let pruned = self.inner.writer.transact::<_, StoreError, _>(move |connection| {
            let executions = prune_executions(connection, before(policy.executions))?;
            let delivery_bodies = connection.execute(
                "DELETE FROM delivery_bodies WHERE seq IN
                 (SELECT seq FROM deliveries WHERE outcome IS NOT NULL AND received_ns < ?1)",
                params![before(policy.delivery_bodies.min(policy.deliveries))],
            )?;
            let deliveries = connection.execute(
                "DELETE FROM deliveries WHERE outcome IS NOT NULL AND received_ns < ?1",
                params![before(policy.deliveries)],
            )?;
            let notices = connection.execute(
                "DELETE FROM notices WHERE fanned_out = 1 AND at_ns < ?1
                 AND NOT EXISTS (SELECT 1 FROM outbox WHERE notice = notices.id AND state = 'pending')",
                params![before(policy.deliveries)],
            )?;
            Ok(Pruned { executions, delivery_bodies, deliveries, notices })
        });
        Ok(pruned.await?)
    }
}

fn prune_executions(connection: &Connection, before_ns: i64) -> Step<usize> {
    let kept = kept_releases(connection)?;
    let mut old = connection.prepare(
        "SELECT seq FROM executions WHERE finished = 1 AND finished_ns < ?1
         AND seq < (SELECT max(seq) FROM executions newest WHERE newest.environment = executions.environment)",
    )?;
    let old = old.query_map([before_ns], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut delete = connection.prepare("DELETE FROM executions WHERE seq = ?1")?;
    let mut gone = 0;
    for seq in old.iter().filter(|seq| !kept.contains(seq)) {
        gone += delete.execute([seq])?;
    }
    Ok(gone)
}

/// Compaction never takes the record that ends an execution: there is no lease any more to do it with.
fn kept_releases(connection: &Connection) -> Step<BTreeSet<i64>> {
    let mut finished = connection.prepare(
        "SELECT e.seq, e.environment, e.kind, r.json FROM executions e
         JOIN records r ON r.execution = e.seq AND r.version = e.version
         WHERE e.finished = 1 AND e.kind IN (?1, ?2) ORDER BY e.seq DESC",
    )?;
    let mut rows = finished.query([release::DEPLOY, release::ROLLBACK])?;
    let (mut kept, mut seqs) = (release::Kept::default(), BTreeSet::new());
    while let Some(row) = rows.next()? {
        let (seq, environment): (i64, String) = (row.get(0)?, row.get(1)?);
        let (kind, json): (String, String) = (row.get(2)?, row.get(3)?);
        let last: Record = from_json(&json, || format!("the last record of execution {seq}"))?;
        if kept.stays(&environment, &kind, release::is_release(&kind, &last)) {
            seqs.insert(seq);
        }
    }
    Ok(seqs)
}

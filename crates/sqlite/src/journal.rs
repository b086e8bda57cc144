//! The journal port on SQLite: every call is one logical transaction of the writer, or one read.
//!
//! What an append checks, in this order: the execution exists; the lease is the latest one (owner and epoch); the version
//! is the expected one. A lease that expired and was not taken over still writes: nobody else could have. Finishing ends the
//! lease, so whatever its former holder appends afterwards is fenced.

use async_trait::async_trait;
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_ports::journal::{
    Batch, Created, ExecutionSummary, Journal, JournalEntry, JournalError, JournalResult, Lease, NewExecution,
    QueuedSignal, StoredExecution, Version,
};
use landfall_workflow::event::{Record, Signal};
use rusqlite::{Connection, OptionalExtension, params};

use crate::codec::{from_json, from_ns, from_sql, to_json, to_ns, to_sql};
use crate::error::Failure;
use crate::{SqliteStore, outbox};

type Step<T> = Result<T, Failure<JournalError>>;

#[async_trait]
impl Journal for SqliteStore {
    async fn create(&self, new: NewExecution) -> JournalResult<Created> {
        let notices = !new.notices.is_empty();
        let created = self.inner.writer.transact(move |connection| create(connection, &new)).await?;
        if created == Created::New {
            self.announce(true, notices);
        }
        Ok(created)
    }

    async fn append(&self, lease: &Lease, expect: Version, batch: Batch) -> JournalResult<Version> {
        let notices = !batch.notices.is_empty();
        let lease = lease.clone();
        let version = self.inner.writer.transact(move |connection| append(connection, &lease, expect, &batch)).await?;
        self.announce(true, notices);
        Ok(version)
    }

    async fn load(&self, id: &ExecutionId) -> JournalResult<StoredExecution> {
        let id = id.clone();
        self.inner.readers.read(move |connection| load(connection, id)).await
    }

    async fn claim(&self, owner: &str, ttl_ms: u64, limit: u32) -> JournalResult<Vec<Lease>> {
        let (owner, clock) = (owner.to_owned(), self.inner.clock.clone());
        // The clock is read when the transaction runs: a claim that waited for the disk is not short of that time.
        self.inner
            .writer
            .transact(move |connection| claim(connection, &owner, clock.boot_id(), clock.boot_ms(), ttl_ms, limit))
            .await
    }

    async fn renew(&self, owner: &str, ttl_ms: u64, held: &[Lease]) -> JournalResult<Vec<Lease>> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let (owner, held, clock) = (owner.to_owned(), held.to_vec(), self.inner.clock.clone());
        self.inner
            .writer
            .transact(move |connection| {
                let expires = to_sql(clock.boot_ms().saturating_add(ttl_ms));
                let mut lost = Vec::new();
                for lease in held {
                    if !renew(connection, &owner, &lease, expires, clock.boot_id())? {
                        lost.push(lease);
                    }
                }
                Ok(lost)
            })
            .await
    }

    async fn release(&self, lease: &Lease) -> JournalResult<()> {
        let lease = lease.clone();
        let released = self
            .inner
            .writer
            .transact::<_, JournalError, _>(move |connection| {
                let released = connection
                    .prepare_cached(
                        "UPDATE executions SET lease_owner = NULL, lease_expires_boot_ms = NULL, lease_boot_id = NULL
                         WHERE id = ?1 AND lease_owner = ?2 AND lease_epoch = ?3",
                    )?
                    .execute(params![lease.execution.as_str(), lease.owner, to_sql(lease.epoch)])?;
                Ok(released == 1)
            })
            .await?;
        // Releasing what was lost already is no error: the purpose is met. Whoever waits for work has some now.
        if released {
            self.announce(true, false);
        }
        Ok(())
    }

    async fn send_signal(&self, id: &ExecutionId, who: &str, signal: Signal) -> JournalResult<()> {
        let (id, who) = (id.clone(), who.to_owned());
        self.inner
            .writer
            .transact(move |connection| {
                let execution = find(connection, &id)?;
                connection
                    .prepare_cached("INSERT INTO signals (execution, who, json) VALUES (?1, ?2, ?3)")?
                    .execute(params![execution, who, to_json::<JournalError>(&signal)?])?;
                Ok(())
            })
            .await?;
        self.announce(true, false);
        Ok(())
    }

    async fn signals(&self, id: &ExecutionId) -> JournalResult<Vec<QueuedSignal>> {
        let id = id.clone();
        self.inner
            .readers
            .read(move |connection| {
                let execution = find(connection, &id)?;
                let mut statement =
                    connection.prepare_cached("SELECT id, who, json FROM signals WHERE execution = ?1 ORDER BY id")?;
                let mut rows = statement.query([execution])?;
                let mut queued = Vec::new();
                while let Some(row) = rows.next()? {
                    let signal_id = from_sql(row.get(0)?);
                    let json: String = row.get(2)?;
                    let signal = from_json(&json, || format!("signal {signal_id} of {id}"))?;
                    queued.push(QueuedSignal { id: signal_id, who: row.get(1)?, signal });
                }
                Ok(queued)
            })
            .await
    }

    async fn compact(&self, lease: &Lease, version: Version, snapshot: serde_json::Value) -> JournalResult<()> {
        let lease = lease.clone();
        self.inner.writer.transact(move |connection| compact(connection, &lease, version, &snapshot)).await
    }

    async fn list(
        &self,
        environment: Option<&EnvironmentId>,
        unfinished_only: bool,
        limit: u32,
    ) -> JournalResult<Vec<ExecutionSummary>> {
        let environment = environment.cloned();
        self.inner.readers.read(move |connection| list(connection, environment.as_ref(), unfinished_only, limit)).await
    }

    async fn read_after(&self, cursor: u64, limit: u32) -> JournalResult<Vec<JournalEntry>> {
        self.inner.readers.read(move |connection| read_after(connection, cursor, limit)).await
    }

    async fn changed(&self) {
        self.inner.journal_changes.changed().await;
    }
}

fn create(connection: &Connection, new: &NewExecution) -> Step<Created> {
    let existing: Option<String> = connection
        .prepare_cached("SELECT id FROM executions WHERE dedup_key = ?1")?
        .query_row([&new.dedup_key], |row| row.get(0))
        .optional()?;
    if let Some(id) = existing {
        return Ok(Created::Existing(ExecutionId::new(id)));
    }
    let taken = connection.prepare_cached("SELECT 1 FROM executions WHERE id = ?1")?.exists([new.id.as_str()])?;
    if taken {
        return Err(Failure::corrupt(format!("execution id {} belongs to another request already", new.id)));
    }
    let plan: serde_json::Value = serde_json::from_slice(&new.plan)
        .map_err(|e| Failure::corrupt(format!("the plan of {} is not JSON: {e}", new.id)))?;
    let word = |key: &str| plan.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let created_at = new.records.first().map_or(i64::MIN, |record| to_ns(record.at));
    connection
        .prepare_cached(
            "INSERT INTO executions (id, dedup_key, environment, plan_digest, kind, title, created_ns, version)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
        )?
        .execute(params![
            new.id.as_str(),
            new.dedup_key,
            new.environment.as_str(),
            new.plan_digest.as_str(),
            word("kind"),
            word("title"),
            created_at
        ])?;
    let execution = connection.last_insert_rowid();
    connection
        .prepare_cached("INSERT INTO plans (execution, plan) VALUES (?1, ?2)")?
        .execute(params![execution, new.plan])?;
    let version = insert_records(connection, execution, 0, &new.records)?;
    set_version(connection, execution, version)?;
    outbox::insert(connection, &new.notices)?;
    Ok(Created::New)
}

/// Adds records after `version`; returns the version after them.
fn insert_records(connection: &Connection, execution: i64, version: Version, records: &[Record]) -> Step<Version> {
    let mut statement =
        connection.prepare_cached("INSERT INTO records (execution, version, json) VALUES (?1, ?2, ?3)")?;
    let mut version = version;
    for record in records {
        version += 1;
        statement.execute(params![execution, to_sql(version), to_json::<JournalError>(record)?])?;
    }
    Ok(version)
}

fn set_version(connection: &Connection, execution: i64, version: Version) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE executions SET version = ?2 WHERE seq = ?1")?
        .execute(params![execution, to_sql(version)])?;
    Ok(())
}

fn find(connection: &Connection, id: &ExecutionId) -> Step<i64> {
    connection
        .prepare_cached("SELECT seq FROM executions WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?
        .ok_or_else(|| JournalError::NotFound(id.clone()).into())
}

/// An execution as seen by the holder of its latest lease.
struct Leased {
    execution: i64,
    version: Version,
    snapshot_version: Version,
}

/// The fence: passes only the latest lease, and only while it is held.
fn check_lease(connection: &Connection, lease: &Lease) -> Step<Leased> {
    let row = connection
        .prepare_cached(
            "SELECT seq, version, snapshot_version, lease_owner, lease_epoch FROM executions WHERE id = ?1",
        )?
        .query_row([lease.execution.as_str()], |row| {
            let leased = Leased {
                execution: row.get(0)?,
                version: from_sql(row.get(1)?),
                snapshot_version: from_sql(row.get(2)?),
            };
            Ok((leased, row.get::<_, Option<String>>(3)?, from_sql(row.get(4)?)))
        })
        .optional()?;
    let (leased, owner, epoch) = row.ok_or_else(|| JournalError::NotFound(lease.execution.clone()))?;
    if owner.as_deref() != Some(lease.owner.as_str()) || epoch != lease.epoch {
        return Err(JournalError::Fenced { held: lease.epoch, current: epoch }.into());
    }
    Ok(leased)
}

fn append(connection: &Connection, lease: &Lease, expect: Version, batch: &Batch) -> Step<Version> {
    let leased = check_lease(connection, lease)?;
    if leased.version != expect {
        return Err(JournalError::VersionConflict { expected: expect, found: leased.version }.into());
    }
    let version = insert_records(connection, leased.execution, expect, &batch.records)?;
    if version != expect {
        set_version(connection, leased.execution, version)?;
    }
    for signal in &batch.consumed_signals {
        connection
            .prepare_cached("DELETE FROM signals WHERE id = ?1 AND execution = ?2")?
            .execute(params![to_sql(*signal), leased.execution])?;
    }
    if batch.finished {
        let at = batch.records.last().map(|record| to_ns(record.at));
        connection
            .prepare_cached(
                "UPDATE executions SET finished = 1, finished_ns = coalesce(?2, created_ns),
                 lease_owner = NULL, lease_expires_boot_ms = NULL, lease_boot_id = NULL WHERE seq = ?1",
            )?
            .execute(params![leased.execution, at])?;
    }
    outbox::insert(connection, &batch.notices)?;
    Ok(version)
}

fn load(connection: &Connection, id: ExecutionId) -> Step<StoredExecution> {
    let row = connection
        .prepare_cached(
            "SELECT e.seq, e.environment, e.version, e.finished, e.snapshot_version, p.plan, s.json
             FROM executions e JOIN plans p ON p.execution = e.seq LEFT JOIN snapshots s ON s.execution = e.seq
             WHERE e.id = ?1",
        )?
        .query_row([id.as_str()], |row| {
            let snapshot: Option<String> = row.get(6)?;
            let stored = StoredExecution {
                id: id.clone(),
                environment: EnvironmentId::new(row.get::<_, String>(1)?),
                plan: row.get(5)?,
                snapshot: None,
                snapshot_version: from_sql(row.get(4)?),
                records: Vec::new(),
                version: from_sql(row.get(2)?),
                finished: row.get(3)?,
            };
            Ok((row.get::<_, i64>(0)?, stored, snapshot))
        })
        .optional()?;
    let (execution, mut stored, snapshot) = row.ok_or_else(|| JournalError::NotFound(id.clone()))?;
    stored.snapshot = snapshot.map(|json| from_json(&json, || format!("snapshot of {id}"))).transpose()?;
    let mut statement = connection
        .prepare_cached("SELECT version, json FROM records WHERE execution = ?1 AND version > ?2 ORDER BY version")?;
    let mut rows = statement.query(params![execution, to_sql(stored.snapshot_version)])?;
    let mut expected = stored.snapshot_version;
    while let Some(row) = rows.next()? {
        let version = from_sql(row.get(0)?);
        expected += 1;
        if version != expected {
            return Err(Failure::corrupt(format!("{id}: record {expected} is missing, {version} follows")));
        }
        let json: String = row.get(1)?;
        stored.records.push(from_json(&json, || format!("{id}, record {version}"))?);
    }
    if expected != stored.version {
        return Err(Failure::corrupt(format!("{id}: ends at record {expected} instead of {}", stored.version)));
    }
    Ok(stored)
}

fn claim(
    connection: &Connection,
    owner: &str,
    boot_id: &str,
    boot_ms: u64,
    ttl_ms: u64,
    limit: u32,
) -> Step<Vec<Lease>> {
    let free: Vec<(i64, String, i64)> = connection
        .prepare_cached(
            "SELECT seq, id, lease_epoch FROM executions WHERE finished = 0
             AND (lease_owner IS NULL OR lease_boot_id <> ?1 OR lease_expires_boot_ms <= ?2)
             ORDER BY seq LIMIT ?3",
        )?
        .query_map(params![boot_id, to_sql(boot_ms), limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut leases = Vec::with_capacity(free.len());
    for (execution, id, epoch) in free {
        connection
            .prepare_cached(
                "UPDATE executions SET lease_owner = ?2, lease_epoch = ?3, lease_expires_boot_ms = ?4, lease_boot_id = ?5
                 WHERE seq = ?1",
            )?
            .execute(params![execution, owner, epoch + 1, to_sql(boot_ms.saturating_add(ttl_ms)), boot_id])?;
        leases.push(Lease { execution: ExecutionId::new(id), owner: owner.to_owned(), epoch: from_sql(epoch + 1) });
    }
    Ok(leases)
}

/// Extends one lease; `false`: it is lost. One whose execution was finished under it is not: a renewal that ran while the
/// last append was on its way must not make its driver believe that somebody took over.
fn renew(connection: &Connection, owner: &str, lease: &Lease, expires: i64, boot_id: &str) -> Step<bool> {
    if lease.owner != owner {
        return Ok(false);
    }
    let renewed = connection
        .prepare_cached(
            "UPDATE executions SET lease_expires_boot_ms = ?1, lease_boot_id = ?2
             WHERE id = ?3 AND lease_owner = ?4 AND lease_epoch = ?5",
        )?
        .execute(params![expires, boot_id, lease.execution.as_str(), owner, to_sql(lease.epoch)])?;
    if renewed == 1 {
        return Ok(true);
    }
    let finished = connection
        .prepare_cached("SELECT 1 FROM executions WHERE id = ?1 AND lease_epoch = ?2 AND finished = 1")?
        .exists(params![lease.execution.as_str(), to_sql(lease.epoch)])?;
    Ok(finished)
}

fn compact(connection: &Connection, lease: &Lease, version: Version, snapshot: &serde_json::Value) -> Step<()> {
    let leased = check_lease(connection, lease)?;
    if version > leased.version {
        return Err(JournalError::VersionConflict { expected: version, found: leased.version }.into());
    }
    // What is there already says at least as much.
    if version <= leased.snapshot_version {
        return Ok(());
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO snapshots (execution, json) VALUES (?1, ?2)")?
        .execute(params![leased.execution, to_json::<JournalError>(snapshot)?])?;
    connection
        .prepare_cached("UPDATE executions SET snapshot_version = ?2 WHERE seq = ?1")?
        .execute(params![leased.execution, to_sql(version)])?;
    connection
        .prepare_cached("DELETE FROM records WHERE execution = ?1 AND version <= ?2")?
        .execute(params![leased.execution, to_sql(version)])?;
    Ok(())
}

fn list(
    connection: &Connection,
    environment: Option<&EnvironmentId>,
    unfinished_only: bool,
    limit: u32,
) -> Step<Vec<ExecutionSummary>> {
    let mut sql =
        "SELECT id, environment, created_ns, version, finished, kind, title FROM executions WHERE ?1 IS ?1".to_owned();
    if environment.is_some() {
        sql.push_str(" AND environment = ?1");
    }
    if unfinished_only {
        sql.push_str(" AND finished = 0");
    }
    sql.push_str(" ORDER BY seq DESC LIMIT ?2");
    let summaries = connection
        .prepare_cached(&sql)?
        .query_map(params![environment.map(EnvironmentId::as_str), limit], |row| {
            Ok(ExecutionSummary {
                id: ExecutionId::new(row.get::<_, String>(0)?),
                environment: EnvironmentId::new(row.get::<_, String>(1)?),
                created_at: from_ns(row.get(2)?),
                version: from_sql(row.get(3)?),
                finished: row.get(4)?,
                kind: row.get(5)?,
                title: row.get(6)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(summaries)
}

fn read_after(connection: &Connection, cursor: u64, limit: u32) -> Step<Vec<JournalEntry>> {
    let mut statement = connection.prepare_cached(
        "SELECT r.cursor, e.id, r.version, r.json FROM records r JOIN executions e ON e.seq = r.execution
         WHERE r.cursor > ?1 ORDER BY r.cursor LIMIT ?2",
    )?;
    let mut rows = statement.query(params![to_sql(cursor), limit])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let execution = ExecutionId::new(row.get::<_, String>(1)?);
        let version = from_sql(row.get(2)?);
        let json: String = row.get(3)?;
        let record = from_json(&json, || format!("{execution}, record {version}"))?;
        entries.push(JournalEntry { cursor: from_sql(row.get(0)?), execution, version, record });
    }
    Ok(entries)
}

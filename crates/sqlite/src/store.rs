//! The store port on SQLite: inbox, environments, outbox, small durable values.

use std::path::Path;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::environment::{EnvironmentRecord, EnvironmentWrite};
use landfall_model::ids::{DeliveryId, EnvironmentId, RunId};
use landfall_model::notice::Notice;
use landfall_ports::store::{
    Delivery, DeliveryOutcome, DeliverySummary, NewDelivery, NewRun, OutboxRow, Received, Store, StoreError,
    StoreResult, StoredRun,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::codec::{from_json, from_ns, from_sql, to_json, to_ns, to_sql};
use crate::error::Failure;
use crate::{SqliteStore, backup, outbox, runs};

type Step<T> = Result<T, Failure<StoreError>>;

#[async_trait]
impl Store for SqliteStore {
    async fn receive(&self, delivery: NewDelivery) -> StoreResult<Received> {
        // Refuses nothing, so it needs no savepoint: this is the path that thousands of senders share.
        let received = self.inner.writer.transact_unrefused(move |connection| receive(connection, &delivery)).await?;
        if received == Received::New {
            self.announce(false, true);
        }
        Ok(received)
    }

    async fn pending_deliveries(&self, limit: u32) -> StoreResult<Vec<Delivery>> {
        self.inner.readers.read(move |connection| pending_deliveries(connection, limit)).await
    }

    async fn depths(&self) -> StoreResult<(usize, usize)> {
        self.inner.readers.read(depths).await
    }

    async fn finish_delivery(
        &self,
        seq: u64,
        outcome: DeliveryOutcome,
        writes: Vec<EnvironmentWrite>,
        notices: Vec<Notice>,
    ) -> StoreResult<()> {
        self.inner
            .writer
            .transact(move |connection| {
                let finished = connection
                    .prepare_cached("UPDATE deliveries SET outcome = ?2 WHERE seq = ?1 AND outcome IS NULL")?
                    .execute(params![to_sql(seq), to_json::<StoreError>(&outcome)?])?;
                if finished == 0 {
                    return Err(Failure::corrupt(format!(
                        "delivery {seq} is not pending: unknown, or finished before"
                    )));
                }
                write_environments(connection, writes)?;
                outbox::insert(connection, &notices)
            })
            .await?;
        self.announce(false, true);
        Ok(())
    }

    async fn deliveries(&self, limit: u32) -> StoreResult<Vec<DeliverySummary>> {
        self.inner.readers.read(move |connection| deliveries(connection, limit)).await
    }

    async fn environments(&self) -> StoreResult<Vec<EnvironmentRecord>> {
        self.inner
            .readers
            .read(|connection| {
                let mut statement =
                    connection.prepare_cached("SELECT id, revision, json FROM environments ORDER BY id")?;
                let mut rows = statement.query([])?;
                let mut records = Vec::new();
                while let Some(row) = rows.next()? {
                    records.push(environment_row(row)?);
                }
                Ok(records)
            })
            .await
    }

    async fn environment(&self, id: &EnvironmentId) -> StoreResult<Option<EnvironmentRecord>> {
        let id = id.clone();
        self.inner
            .readers
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached("SELECT id, revision, json FROM environments WHERE id = ?1")?;
                let mut rows = statement.query([id.as_str()])?;
                rows.next()?.map(environment_row).transpose()
            })
            .await
    }

    async fn write_environments(&self, writes: Vec<EnvironmentWrite>, notices: Vec<Notice>) -> StoreResult<()> {
        self.inner
            .writer
            .transact(move |connection| {
                write_environments(connection, writes)?;
                outbox::insert(connection, &notices)
            })
            .await?;
        self.announce(false, true);
        Ok(())
    }

    async fn set_notification_targets(&self, targets: Vec<String>) -> StoreResult<()> {
        self.inner.writer.transact(move |connection| outbox::set_targets(connection, &targets)).await?;
        self.announce(false, true);
        Ok(())
    }

    async fn due_notices(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<OutboxRow>> {
        self.inner.readers.read(move |connection| outbox::due(connection, to_ns(now), limit)).await
    }

    async fn notices_done(&self, seqs: Vec<u64>) -> StoreResult<()> {
        self.inner.writer.transact(move |connection| outbox::done(connection, &seqs)).await
    }

    async fn notice_failed(&self, seq: u64, error: String, retry_at: Option<Timestamp>) -> StoreResult<()> {
        self.inner.writer.transact(move |connection| outbox::failed(connection, seq, &error, retry_at.map(to_ns))).await
    }

    async fn meta_get(&self, key: &str) -> StoreResult<Option<String>> {
        let key = key.to_owned();
        self.inner
            .readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
                Ok(statement.query_row([key], |row| row.get(0)).optional()?)
            })
            .await
    }

    async fn meta_put(&self, key: &str, value: &str) -> StoreResult<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.inner
            .writer
            .transact(move |connection| {
                connection
                    .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
                    .execute([key, value])?;
                Ok(())
            })
            .await
    }

    async fn create_run(&self, new: NewRun) -> StoreResult<RunId> {
        let id = self.inner.writer.transact(move |connection| runs::create(connection, &new)).await?;
        self.announce(false, true);
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
        let id = id.clone();
        let written = self
            .inner
            .writer
            .transact(move |connection| runs::append(connection, &id, expect, &records, finished, &notices))
            .await?;
        self.announce(false, true);
        Ok(written)
    }

    async fn run(&self, id: &RunId) -> StoreResult<Option<StoredRun>> {
        let id = id.clone();
        self.inner.readers.read(move |connection| runs::load(connection, &id)).await
    }

    async fn runs(&self, limit: u32) -> StoreResult<Vec<RunId>> {
        self.inner.readers.read(move |connection| runs::list(connection, limit)).await
    }

    async fn forget_runs(&self, ids: Vec<RunId>) -> StoreResult<usize> {
        self.inner.writer.transact(move |connection| runs::forget(connection, &ids)).await
    }

    async fn backup(&self, to: &Path) -> StoreResult<()> {
        let to = to.to_owned();
        let path = self.inner.path.clone();
        match tokio::task::spawn_blocking(move || backup::backup(&path, &to)).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Unavailable("the backup was cut off: Landfall is stopping".to_owned())),
        }
    }

    async fn changed(&self) {
        self.inner.store_changes.changed().await;
    }
}

impl SqliteStore {
    /// Wakes followers of the journal, of the store, or both. After the commit, never before.
    pub(crate) fn announce(&self, journal: bool, store: bool) {
        if journal {
            self.inner.journal_changes.announce();
        }
        if store {
            self.inner.store_changes.announce();
        }
    }
}

fn receive(connection: &Connection, delivery: &NewDelivery) -> Step<Received> {
    let written = connection
        .prepare_cached(
            "INSERT INTO deliveries (id, event, content_type, bytes, received_ns) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            delivery.id.as_str(),
            delivery.event,
            delivery.content_type,
            i64::try_from(delivery.body.len()).unwrap_or(i64::MAX),
            to_ns(delivery.received_at)
        ])?;
    if written == 0 {
        return Ok(Received::Duplicate);
    }
    connection
        .prepare_cached("INSERT INTO delivery_bodies (seq, body) VALUES (?1, ?2)")?
        .execute(params![connection.last_insert_rowid(), delivery.body])?;
    Ok(Received::New)
}

/// Counted in the partial indexes, without a look at any body.
fn depths(connection: &Connection) -> Step<(usize, usize)> {
    let count = |sql: &str| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    let inbox = count("SELECT count(*) FROM deliveries WHERE outcome IS NULL")?;
    let outbox = count("SELECT count(*) FROM outbox WHERE state = 'pending'")?;
    Ok((usize::try_from(inbox).unwrap_or(0), usize::try_from(outbox).unwrap_or(0)))
}

fn pending_deliveries(connection: &Connection, limit: u32) -> Step<Vec<Delivery>> {
    let pending = connection
        .prepare_cached(
            "SELECT d.seq, d.id, d.event, d.content_type, d.received_ns, b.body
             FROM deliveries d JOIN delivery_bodies b ON b.seq = d.seq
             WHERE d.outcome IS NULL ORDER BY d.seq LIMIT ?1",
        )?
        .query_map([limit], |row| {
            Ok(Delivery {
                seq: from_sql(row.get(0)?),
                delivery: NewDelivery {
                    id: DeliveryId::new(row.get::<_, String>(1)?),
                    event: row.get(2)?,
                    content_type: row.get(3)?,
                    received_at: from_ns(row.get(4)?),
                    body: row.get(5)?,
                },
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(pending)
}

fn deliveries(connection: &Connection, limit: u32) -> Step<Vec<DeliverySummary>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, id, event, bytes, received_ns, outcome FROM deliveries ORDER BY seq DESC LIMIT ?1",
    )?;
    let mut rows = statement.query([limit])?;
    let mut summaries = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = from_sql(row.get(0)?);
        let outcome: Option<String> = row.get(5)?;
        summaries.push(DeliverySummary {
            seq,
            id: DeliveryId::new(row.get::<_, String>(1)?),
            event: row.get(2)?,
            bytes: from_sql(row.get(3)?),
            received_at: from_ns(row.get(4)?),
            outcome: outcome.map(|json| from_json(&json, || format!("outcome of delivery {seq}"))).transpose()?,
        });
    }
    Ok(summaries)
}

fn environment_row(row: &rusqlite::Row<'_>) -> Step<EnvironmentRecord> {
    let id: String = row.get(0)?;
    let json: String = row.get(2)?;
    let mut record: EnvironmentRecord = from_json(&json, || format!("environment {id}"))?;
    record.revision = from_sql(row.get(1)?);
    Ok(record)
}

fn write_environments(connection: &Connection, writes: Vec<EnvironmentWrite>) -> Step<()> {
    for EnvironmentWrite { expected, mut record } in writes {
        record.revision = expected + 1;
        let json = to_json::<StoreError>(&record)?;
        let phase = to_json::<StoreError>(&record.phase)?;
        let phase = phase.trim_matches('"');
        let (id, revision) = (record.id.as_str(), to_sql(record.revision));
        let written = match expected {
            0 => connection
                .prepare_cached(
                    "INSERT INTO environments (id, revision, phase, json) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![id, revision, phase, json])?,
            _ => connection
                .prepare_cached(
                    "UPDATE environments SET revision = ?2, phase = ?3, json = ?4 WHERE id = ?1 AND revision = ?2 - 1",
                )?
                .execute(params![id, revision, phase, json])?,
        };
        if written == 0 {
            return Err(StoreError::Conflict(record.id).into());
        }
    }
    Ok(())
}

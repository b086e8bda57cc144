//! Notices and their fan-out to targets, inside whatever transaction made them.
//!
//! A notice is written once by its id, and with it one outbox row for every target configured at that moment. Targets are
//! kept in the database, so notices of a start-up (recovery writes some before the manifest is read) go to those of the
//! last run. Before targets were ever set, notices wait, and the first `set_notification_targets` takes them along. A
//! target that is new later gets only what comes after it; rows of a target that is gone are dropped with it.

use landfall_model::notice::Notice;
use landfall_ports::store::{OutboxRow, StoreError};
use rusqlite::{Connection, params};

use crate::codec::{from_json, from_sql, to_json, to_ns, to_sql};
use crate::error::{Failure, TransactionError};

/// Set once targets were; its absence keeps notices waiting.
const TARGETS_SET: &str = "landfall.notification_targets_set";

/// Writes the notices that are new.
pub(crate) fn insert<E: TransactionError>(connection: &Connection, notices: &[Notice]) -> Result<(), Failure<E>> {
    if notices.is_empty() {
        return Ok(());
    }
    let fanned_out = targets_were_set(connection)?;
    for notice in notices {
        let written = connection
            .prepare_cached("INSERT OR IGNORE INTO notices (id, at_ns, fanned_out, json) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![notice.id, to_ns(notice.at), fanned_out, to_json::<E>(notice)?])?;
        if written == 1 && fanned_out {
            fan_out(connection, &notice.id)?;
        }
    }
    Ok(())
}

fn fan_out(connection: &Connection, notice: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (notice, target) SELECT ?1, name FROM notification_targets ORDER BY position",
        )?
        .execute([notice])?;
    Ok(())
}

fn targets_were_set(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM meta WHERE key = ?1)")?
        .query_row([TARGETS_SET], |r| r.get(0))
}

pub(crate) fn set_targets(connection: &Connection, targets: &[String]) -> Result<(), Failure<StoreError>> {
    connection.execute("DELETE FROM notification_targets", [])?;
    for (position, name) in (0_i64..).zip(targets) {
        connection
            .prepare_cached("INSERT OR IGNORE INTO notification_targets (position, name) VALUES (?1, ?2)")?
            .execute(params![position, name])?;
    }
    connection.execute(
        "DELETE FROM outbox WHERE state = 'pending' AND target NOT IN (SELECT name FROM notification_targets)",
        [],
    )?;
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?1, 'yes')", [TARGETS_SET])?;
    let waiting: Vec<String> = connection
        .prepare_cached("SELECT id FROM notices WHERE fanned_out = 0 ORDER BY seq")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for notice in &waiting {
        fan_out(connection, notice)?;
    }
    connection.execute("UPDATE notices SET fanned_out = 1 WHERE fanned_out = 0", [])?;
    Ok(())
}

pub(crate) fn due(connection: &Connection, now_ns: i64, limit: u32) -> Result<Vec<OutboxRow>, Failure<StoreError>> {
    let mut statement = connection.prepare_cached(
        "SELECT o.seq, o.target, o.attempts, n.json FROM outbox o JOIN notices n ON n.id = o.notice
         WHERE o.state = 'pending' AND o.due_ns <= ?1 ORDER BY o.seq LIMIT ?2",
    )?;
    let mut rows = statement.query(params![now_ns, limit])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = from_sql(row.get(0)?);
        let json: String = row.get(3)?;
        let notice = from_json(&json, || format!("outbox row {seq}"))?;
        due.push(OutboxRow { seq, notice, target: row.get(1)?, attempts: row.get(2)? });
    }
    Ok(due)
}

pub(crate) fn done(connection: &Connection, seqs: &[u64]) -> Result<(), Failure<StoreError>> {
    let mut statement = connection.prepare_cached("UPDATE outbox SET state = 'done', error = NULL WHERE seq = ?1")?;
    for seq in seqs {
        statement.execute([to_sql(*seq)])?;
    }
    Ok(())
}

/// One more attempt failed; without `retry_ns` it was the last.
pub(crate) fn failed(
    connection: &Connection,
    seq: u64,
    error: &str,
    retry_ns: Option<i64>,
) -> Result<(), Failure<StoreError>> {
    connection
        .prepare_cached(
            "UPDATE outbox SET attempts = attempts + 1, error = ?2, due_ns = coalesce(?3, due_ns),
             state = CASE WHEN ?3 IS NULL THEN 'failed' ELSE state END
             WHERE seq = ?1 AND state = 'pending'",
        )?
        .execute(params![to_sql(seq), error, retry_ns])?;
    Ok(())
}

//! Runs of pipelines, beside the journal. Whoever decides about one appends with the number of records that it has read, so of two
//! that decide at once one is refused.

use landfall_model::ids::RunId;
use landfall_model::notice::Notice;
use landfall_ports::store::{NewRun, StoreError, StoredRun};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use crate::codec::{from_json, from_sql, to_json, to_ns, to_sql};
use crate::error::Failure;
use crate::outbox;

type Step<T> = Result<T, Failure<StoreError>>;

pub(crate) fn create(connection: &Connection, new: &NewRun) -> Step<RunId> {
    let known: Option<String> = connection
        .prepare_cached("SELECT id FROM runs WHERE dedup_key = ?1")?
        .query_row([&new.dedup_key], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(RunId(id));
    }
    connection
        .prepare_cached(
            "INSERT INTO runs (id, pipeline, number, dedup_key, created_ns, version)
             VALUES (?1, ?2, (SELECT coalesce(max(number), 0) + 1 FROM runs WHERE pipeline = ?2), ?3, ?4, 1)",
        )?
        .execute(params![new.id.as_str(), new.pipeline, new.dedup_key, to_ns(new.at)])?;
    connection
        .prepare_cached("INSERT INTO run_records (run, version, json) VALUES (?1, 1, ?2)")?
        .execute(params![connection.last_insert_rowid(), to_json::<StoreError>(&new.record)?])?;
    Ok(new.id.clone())
}

/// `false`: it has other than `expect` records.
pub(crate) fn append(
    connection: &Connection,
    id: &RunId,
    expect: u64,
    records: &[Value],
    finished: bool,
    notices: &[Notice],
) -> Step<bool> {
    let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
    let run: Option<i64> = connection
        .prepare_cached(
            "UPDATE runs SET version = version + ?3, finished = ?4 WHERE id = ?1 AND version = ?2 RETURNING seq",
        )?
        .query_row(params![id.as_str(), to_sql(expect), to_sql(count), finished], |row| row.get(0))
        .optional()?;
    let Some(run) = run else { return Ok(false) };
    for (version, record) in (expect + 1..).zip(records) {
        connection
            .prepare_cached("INSERT INTO run_records (run, version, json) VALUES (?1, ?2, ?3)")?
            .execute(params![run, to_sql(version), to_json::<StoreError>(record)?])?;
    }
    outbox::insert(connection, notices)?;
    Ok(true)
}

pub(crate) fn load(connection: &Connection, id: &RunId) -> Step<Option<StoredRun>> {
    let found: Option<(i64, String, i64, bool)> = connection
        .prepare_cached("SELECT seq, pipeline, number, finished FROM runs WHERE id = ?1")?
        .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((seq, pipeline, number, finished)) = found else { return Ok(None) };
    let texts: Vec<String> = connection
        .prepare_cached("SELECT json FROM run_records WHERE run = ?1 ORDER BY version")?
        .query_map([seq], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let records = texts.iter().map(|text| from_json(text, || format!("record of {id}"))).collect::<Step<_>>()?;
    Ok(Some(StoredRun { id: id.clone(), pipeline, number: from_sql(number), records, finished }))
}

pub(crate) fn list(connection: &Connection, limit: u32) -> Step<Vec<RunId>> {
    let ids = connection
        .prepare_cached(
            "SELECT id FROM runs WHERE finished = 0 OR seq IN (SELECT seq FROM runs ORDER BY seq DESC LIMIT ?1)
             ORDER BY seq DESC",
        )?
        .query_map([limit], |row| Ok(RunId(row.get(0)?)))?
        .collect::<Result<_, _>>()?;
    Ok(ids)
}

pub(crate) fn forget(connection: &Connection, ids: &[RunId]) -> Step<usize> {
    let mut delete = connection.prepare_cached("DELETE FROM runs WHERE id = ?1 AND finished = 1")?;
    let mut gone = 0;
    for id in ids {
        gone += delete.execute([id.as_str()])?;
    }
    Ok(gone)
}

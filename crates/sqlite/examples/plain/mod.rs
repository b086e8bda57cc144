//! What everybody would write first: one connection, one insert, one commit. The floor that group commit is judged by.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

/// A table of unique text ids and blobs, in WAL mode with every commit synced.
pub(crate) struct Plain {
    connection: Connection,
    next: u64,
}

impl Plain {
    pub(crate) fn create(file: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE rows (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL)",
        )?;
        Ok(Self { connection, next: 0 })
    }

    /// Commits one row after another; commits per second.
    pub(crate) fn run(&mut self, body: &[u8], time: Duration) -> rusqlite::Result<f64> {
        let mut insert = self.connection.prepare("INSERT INTO rows (id, body) VALUES (?1, ?2)")?;
        let (started, first) = (Instant::now(), self.next);
        while started.elapsed() < time {
            self.next += 1;
            insert.execute(params![
                format!("{:08x}-0000-4000-8000-{:012x}", self.next.wrapping_mul(0x9E37_79B9) as u32, self.next),
                body
            ])?;
        }
        Ok((self.next - first) as f64 / started.elapsed().as_secs_f64())
    }
}

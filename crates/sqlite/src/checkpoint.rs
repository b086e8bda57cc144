//! Keeps the write-ahead log short, and the commits out of it.
//!
//! A checkpoint copies pages from the log into the database and syncs that: milliseconds in which a writer that does it
//! itself lets everybody wait. So a thread with a connection of its own does it, in passes (PASSIVE: takes no lock that a
//! commit needs). But a pass and the commits share one disk: under 64 senders a pass every 4 MiB doubled the slowest
//! answers. So passes wait for a pause of the senders, and a burst is taken by the log alone, up to a length that only a
//! lasting load reaches.
//!
//! **The bound.** A commit writes to the log's beginning again only if it finds everything copied, and under a load without
//! a gap there is always one commit more: the log would grow for ever. At the limit the writer therefore stops between two
//! transactions, waits for the pass under way, and copies the rest itself, which is what was committed during that pass.
//! The next commit finds everything copied. A reader that holds an old moment (a backup under way) keeps the log from
//! beginning again, as it always does in SQLite; then this is tried again after every further step.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use crate::error::{OpenError, explain};
use crate::schema;

/// In pages of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    /// Growth after which a pass is begun at the next pause.
    pub(crate) step: u32,
    /// Growth after which a pass is begun without one.
    pub(crate) burst: u32,
    /// Length at which the writer waits for the log to be copied.
    pub(crate) limit: u32,
}

/// 4 MiB, 256 MiB (a burst of some 20,000 deliveries) and 512 MiB of 4 KiB pages.
pub(crate) const LENGTHS: Lengths = Lengths { step: 1_000, burst: 65_536, limit: 131_072 };

/// How long nobody has written when it is a pause.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Checkpoints {
    lengths: Lengths,
    /// The log's length after the latest commit; told by SQLite.
    length: Arc<AtomicU32>,
    seen: u32,
    next_pass: u32,
    next_burst: u32,
    next_stop: u32,
    /// Held for the length of a pass; opened for the first one, because most processes end before.
    connection: Arc<Mutex<Option<Connection>>>,
    path: PathBuf,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Takes over the checkpoints of the database that `writer` writes; to be told of every commit from now on.
    pub(crate) fn start(writer: &mut Connection, path: &Path, lengths: Lengths) -> Result<Self, OpenError> {
        let sqlite = |e: rusqlite::Error| OpenError::sqlite(path, &e);
        let length = Arc::new(AtomicU32::new(0));
        let told = Arc::clone(&length);
        // Takes the place of SQLite's own hook, which is the automatic checkpoint.
        writer
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
                told.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(sqlite)?;
        let connection = Arc::new(Mutex::new(None));
        let path = path.to_owned();
        let (wake, woken) = sync_channel(1);
        let (shared, database) = (Arc::clone(&connection), path.clone());
        let thread = std::thread::Builder::new()
            .name("landfall-checkpoint".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    pass(&shared, &database);
                }
            })
            .map_err(|e| OpenError::io("start the checkpoints of", &path, e))?;
        let (next_pass, next_burst, next_stop) = (lengths.step, lengths.burst, lengths.limit);
        let (wake, thread) = (Some(wake), Some(thread));
        Ok(Self { lengths, length, seen: 0, next_pass, next_burst, next_stop, connection, path, wake, thread })
    }

    /// How long the next transaction may be waited for before `on_pause` is called. `None`: for ever.
    pub(crate) fn patience(&self) -> Option<Duration> {
        (self.seen >= self.next_pass).then_some(PAUSE)
    }

    /// To be called between transactions, when nobody has written for a while.
    pub(crate) fn on_pause(&mut self) {
        // Full: a pass will begin that has not begun yet.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        self.next_pass = self.seen.saturating_add(self.lengths.step);
    }

    /// To be called between transactions. Waits only at the limit.
    pub(crate) fn after_commit(&mut self) {
        let length = self.length.load(Ordering::Relaxed);
        if length < self.seen {
            (self.next_pass, self.next_burst) = (self.lengths.step, self.lengths.burst);
            self.next_stop = self.lengths.limit;
        }
        self.seen = length;
        if length >= self.next_stop {
            pass(&self.connection, &self.path);
            self.next_stop = length.saturating_add(self.lengths.step);
            (self.next_pass, self.next_burst) = (self.next_stop, self.next_stop);
        } else if length >= self.next_burst {
            self.on_pause();
            self.next_burst = length.saturating_add(self.lengths.burst);
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Copies what can be copied. A failure costs nothing but the log's length: what it holds is durable where it is.
fn pass(connection: &Mutex<Option<Connection>>, database: &Path) {
    let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
    let mut copy = || {
        let opened = match connection.as_ref() {
            Some(opened) => opened,
            None => connection.insert(schema::open_checkpointer(database)?),
        };
        opened.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE)
    };
    if let Err(error) = copy() {
        let database = database.display();
        tracing::warn!(%database, error = explain(&error), "checkpoint failed; the write-ahead log grows until one succeeds");
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const SMALL: Lengths = Lengths { step: 8, burst: 16, limit: 64 };

    struct Log {
        dir: TempDir,
        writer: Connection,
        checkpoints: Checkpoints,
    }

    impl Log {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("landfall.db");
            let mut writer = schema::open_writer(&path).unwrap();
            let checkpoints = Checkpoints::start(&mut writer, &path, SMALL).unwrap();
            Self { dir, writer, checkpoints }
        }

        /// One commit of some pages; the log's length after it.
        fn commit(&mut self, n: u32) -> u32 {
            self.writer
                .execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", (n.to_string(), "x".repeat(20_000)))
                .unwrap();
            self.checkpoints.after_commit();
            self.checkpoints.seen
        }

        fn reader(&self) -> Connection {
            let reader = schema::open_reader(&self.dir.path().join("landfall.db")).unwrap();
            reader.execute_batch("BEGIN; SELECT count(*) FROM meta;").unwrap();
            reader
        }
    }

    #[test]
    fn the_log_stays_short_under_a_load_without_a_gap() {
        let mut log = Log::new();
        let longest = (0..400).map(|n| log.commit(n)).max().unwrap();
        assert!(longest < SMALL.limit + 16, "{longest} pages");
        let rows: u32 = log.writer.query_row("SELECT count(*) FROM meta", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 400);
    }

    #[test]
    fn a_reader_of_an_old_moment_only_delays_it() {
        let mut log = Log::new();
        log.commit(0);
        let reader = log.reader();
        let longest = (1..100).map(|n| log.commit(n)).max().unwrap();
        assert!(longest > SMALL.limit + 100, "{longest} pages: the reader pins the log");
        let old: u32 = reader.query_row("SELECT count(*) FROM meta", [], |row| row.get(0)).unwrap();
        assert_eq!(old, 1, "and reads its own moment");
        drop(reader);
        let shortest = (100..110).map(|n| log.commit(n)).min().unwrap();
        assert!(shortest < SMALL.limit, "{shortest} pages: begun anew");
    }

    #[test]
    fn a_burst_is_taken_by_the_log_and_copied_at_the_pause() {
        let mut log = Log::new();
        (log.checkpoints.next_burst, log.checkpoints.next_stop) = (u32::MAX, u32::MAX);
        assert!(log.checkpoints.patience().is_none(), "nothing to copy");
        let length = (0..40).map(|n| log.commit(n)).max().unwrap();
        assert!(length > SMALL.limit, "{length} pages: nothing was copied meanwhile");
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        for n in 40.. {
            assert_eq!(log.checkpoints.patience(), Some(PAUSE));
            log.checkpoints.on_pause();
            assert!(log.checkpoints.patience().is_none(), "once for a pause");
            std::thread::sleep(Duration::from_millis(5));
            let after = log.commit(n);
            if after < length {
                return;
            }
            log.checkpoints.next_pass = 0;
            assert!(std::time::Instant::now() < deadline, "the thread copied nothing");
        }
    }

    #[test]
    fn without_a_pause_the_thread_alone_keeps_it_short_where_the_disk_is_fast_enough() {
        let mut log = Log::new();
        log.checkpoints.next_stop = u32::MAX;
        // As long as the thread copies at all, some commit finds everything copied.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        let (mut n, mut last) = (0, 0);
        loop {
            let length = log.commit(n);
            if length < last {
                return;
            }
            (n, last) = (n + 1, length);
            log.checkpoints.next_stop = u32::MAX;
            assert!(std::time::Instant::now() < deadline, "the thread copied nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

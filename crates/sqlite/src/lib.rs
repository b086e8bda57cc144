//! Journal and store in one SQLite file, `landfall.db`, in the state directory.
//!
//! **One owner.** Whoever holds `landfall.lock` owns the file; a second opener is told who that is ([`lock`]).
//!
//! **One writer.** A thread of its own holds the only connection that writes. Callers send it logical transactions over a
//! channel; it gathers what is waiting into one physical transaction, a savepoint around each, commits once, and only
//! then answers ([`writer`]). A refused logical transaction (conflict, fenced) leaves its neighbours alone; a failed commit
//! (disk full) fails every one of them, and nothing of any is written.
//!
//! **The log.** A second thread copies the write-ahead log into the database, so that no commit waits for that
//! ([`checkpoint`]).
//!
//! **Many readers.** A small pool of read-only connections serves reads on blocking threads; WAL lets them work beside the
//! writer, and whoever reads after an acknowledgement sees what was acknowledged ([`reader`]).

mod backup;
mod checkpoint;
mod clock;
mod codec;
mod error;
mod journal;
pub mod lock;
mod outbox;
mod reader;
mod retention;
mod runs;
mod schema;
mod store;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use backup::{RestoreError, restore};
pub use clock::{BootClock, SystemBootClock};
pub use error::OpenError;
use landfall_ports::changes::Changes;
pub use lock::{Holder, holder};
pub use retention::{MINIMUM_DELIVERY_DAYS, PruneError, PrunePolicy, Pruned};
pub use schema::SCHEMA_VERSION;

/// The database's name in the state directory. SQLite keeps `-wal` and `-shm` beside it.
pub const DATABASE_FILE: &str = "landfall.db";

/// How to open a store. `Default` is what the server uses.
#[derive(Clone, Default)]
pub struct OpenOptions {
    /// Written into the lock file, so that other commands find the server that owns this directory.
    pub control_socket: Option<PathBuf>,
    /// `None`: the system's boot-time clock.
    pub clock: Option<Arc<dyn BootClock>>,
    /// Bytes the database file may grow to; more is refused as if the disk were full. `None`: no limit of ours.
    pub max_bytes: Option<u64>,
}

/// The embedded journal and store. Cheap to clone; the last clone dropped commits what was sent, closes the file and gives
/// up the lock.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

/// Fields are dropped in this order: the writer finishes its queue and closes, then the readers, then the lock.
struct Inner {
    writer: writer::Writer,
    readers: Arc<reader::Readers>,
    clock: Arc<dyn BootClock>,
    /// What `Journal::changed` and `Store::changed` wait on.
    journal_changes: Changes,
    store_changes: Changes,
    path: PathBuf,
    _lock: lock::OwnerLock,
}

impl SqliteStore {
    /// Takes ownership of `dir` (made with mode 0700 where missing) and opens the database in it (mode 0600), creating or
    /// migrating it first. Blocks for some milliseconds; a retry of up to 100 ms is made when the lock is held.
    pub fn open(dir: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        lock::make_state_dir(dir)?;
        let lock = lock::OwnerLock::acquire(dir, options.control_socket.as_deref())?;
        let path = dir.join(DATABASE_FILE);
        let clock: Arc<dyn BootClock> = match options.clock {
            Some(clock) => clock,
            None => Arc::new(SystemBootClock::new().map_err(|e| OpenError::io("read the boot id", dir, e))?),
        };
        let connection = schema::open_writer(&path)?;
        end_leases(&connection).map_err(|e| OpenError::sqlite(&path, &e))?;
        if let Some(bytes) = options.max_bytes {
            writer::limit_size(&connection, bytes).map_err(|e| OpenError::sqlite(&path, &e))?;
        }
        let writer = writer::Writer::start(connection, &path)?;
        Ok(Self {
            inner: Arc::new(Inner {
                writer,
                readers: Arc::new(reader::Readers::new(&path)),
                clock,
                journal_changes: Changes::new(None),
                store_changes: Changes::new(None),
                path,
                _lock: lock,
            }),
        })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Changes [`OpenOptions::max_bytes`] while running; takes effect with the next commit.
    pub async fn set_max_bytes(&self, bytes: u64) -> Result<(), landfall_ports::store::StoreError> {
        self.inner.writer.configure(move |connection| writer::limit_size(connection, bytes)).await
    }
}

/// Whoever held a lease held this directory's lock as well, and is dead: nobody has to wait for the lease to expire. The
/// epoch stays and goes up with the next claim.
fn end_leases(connection: &rusqlite::Connection) -> rusqlite::Result<usize> {
    connection
        .execute("UPDATE executions SET lease_expires_boot_ms = 0 WHERE finished = 0 AND lease_owner IS NOT NULL", [])
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

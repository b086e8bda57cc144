//! A clock moved by hand, and stores in temporary directories.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_ports::journal::Journal;
use landfall_ports::store::Store;
use landfall_sqlite::{BootClock, OpenOptions, PrunePolicy, SqliteStore};
use landfall_testkit::conformance::Subject;
use tempfile::TempDir;

/// One boot after another, as told.
#[derive(Debug, Default)]
pub(crate) struct ManualBoot {
    ms: AtomicU64,
    boot: AtomicU64,
}

const BOOTS: [&str; 3] = ["boot-a", "boot-b", "boot-c"];

impl ManualBoot {
    pub(crate) fn pass(&self, ms: u64) {
        self.ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn reboot(&self) {
        self.boot.fetch_add(1, Ordering::SeqCst);
        self.ms.store(0, Ordering::SeqCst);
    }
}

impl BootClock for ManualBoot {
    fn boot_ms(&self) -> u64 {
        self.ms.load(Ordering::SeqCst)
    }

    fn boot_id(&self) -> &str {
        BOOTS[usize::try_from(self.boot.load(Ordering::SeqCst)).unwrap()]
    }
}

pub(crate) fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, OpenOptions::default()).unwrap()
}

/// A new store in a directory of its own.
pub(crate) fn fresh() -> (TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (dir, store)
}

/// A store and its clock, as the suites want them.
pub(crate) struct Clocked {
    pub(crate) store: SqliteStore,
    clock: Arc<ManualBoot>,
    _dir: TempDir,
}

impl Clocked {
    pub(crate) fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap())
    }

    /// In memory where the system has a directory of that kind: for what is not about the disk.
    pub(crate) fn unsynced() -> Self {
        Self::in_dir(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn in_dir(dir: TempDir) -> Self {
        let clock = Arc::new(ManualBoot::default());
        clock.pass(5_000);
        let options = OpenOptions { clock: Some(clock.clone()), ..OpenOptions::default() };
        let store = SqliteStore::open(dir.path(), options).unwrap();
        Self { store, clock, _dir: dir }
    }
}

#[async_trait]
impl Subject for Clocked {
    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.store.clone())
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    async fn pass_ms(&self, ms: u64) {
        self.clock.pass(ms);
    }

    async fn reboot(&self) {
        self.clock.reboot();
    }

    async fn age(&self) {
        self.store.prune(PrunePolicy::standard(Timestamp::MAX)).await.unwrap();
    }
}

//! A clock moved by hand, and stores in temporary directories.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use landfall_sqlite::{BootClock, OpenOptions, SqliteStore};
use landfall_testkit::conformance::{Subject, TTL_MS};
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

pub(crate) fn subject() -> Subject {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualBoot::default());
    clock.pass(5_000);
    let options = OpenOptions { clock: Some(clock.clone()), ..OpenOptions::default() };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    let later = Arc::clone(&clock);
    Subject {
        journal: Arc::new(store.clone()),
        store: Arc::new(store),
        expire_leases: Box::new(move || later.pass(TTL_MS)),
        reboot: Box::new(move || clock.reboot()),
        keep: Box::new(dir),
    }
}

//! Copies while running, and putting one back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use landfall_ports::journal::Journal;
use landfall_ports::store::{Store, StoreError};
use landfall_sqlite::{DATABASE_FILE, OpenError, RestoreError, restore};
use landfall_testkit::conformance::fixtures::{batch, claimed, delivery, environment, notice, step_done, write};

use crate::common::{fresh, open};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_while_writing_restores_to_one_moment() {
    let (dir, store) = fresh();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn({
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        async move {
            for n in 0.. {
                let mut delivery = delivery(&format!("d-{n}"), 1);
                delivery.body.resize(5_000, b'x');
                store.receive(delivery).await.unwrap();
                acknowledged.store(n + 1, Ordering::SeqCst);
            }
        }
    });
    let lease = claimed(&store, "1").await;
    store.append(&lease, 1, batch(vec![step_done(1, "a")])).await.unwrap();
    store.write_environments(vec![write(0, environment("a"))], vec![notice("n-1", 1)]).await.unwrap();
    wait_for(&acknowledged, 50).await;
    let before = acknowledged.load(Ordering::SeqCst);
    let copy = dir.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    wait_for(&acknowledged, acknowledged.load(Ordering::SeqCst) + 5).await;
    writer.abort();

    let elsewhere = tempfile::tempdir().unwrap();
    let state = elsewhere.path().join("state");
    restore(&copy, &state).unwrap();
    let restored = open(&state);
    let kept = restored.pending_deliveries(u32::MAX).await.unwrap();
    assert!(kept.len() as u64 >= before, "{} of {before} that were acknowledged before", kept.len());
    for (n, pending) in kept.iter().enumerate() {
        assert_eq!(pending.delivery.id.as_str(), format!("d-{n}"), "one moment: no hole");
    }
    assert_eq!(restored.load(&lease.execution).await.unwrap().version, 2);
    assert_eq!(restored.environments().await.unwrap(), store.environments().await.unwrap());
    // It is a store like any other.
    restored.append(&lease, 2, batch(vec![step_done(2, "b")])).await.unwrap();
    assert!(copy.exists() && !dir.path().join("copy.db.partial").exists());
}

async fn wait_for(counter: &AtomicU64, at_least: u64) {
    let reached = async {
        while counter.load(Ordering::SeqCst) < at_least {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("the writer stands still");
}

#[tokio::test]
async fn a_backup_never_overwrites() {
    let (dir, store) = fresh();
    let file = dir.path().join("precious");
    std::fs::write(&file, "mine").unwrap();
    let error = store.backup(&file).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("exists already")), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let error = store.backup(&dir.path().join("no/such/place.db")).await.unwrap_err().to_string();
    assert!(error.contains("no/such/place.db"), "{error}");
}

#[tokio::test]
async fn restoring_refuses_what_would_lose_something() {
    let (dir, store) = fresh();
    store.receive(delivery("d-1", 1)).await.unwrap();
    let copy = dir.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    let locked = restore(&copy, dir.path()).unwrap_err();
    assert!(matches!(locked, RestoreError::Open(OpenError::Locked { .. })), "{locked}");

    store.receive(delivery("d-2", 1)).await.unwrap();
    drop(store);
    let exists = restore(&copy, dir.path()).unwrap_err();
    assert!(matches!(&exists, RestoreError::Exists(path) if path.ends_with(DATABASE_FILE)), "{exists}");
    assert_eq!(open(dir.path()).pending_deliveries(9).await.unwrap().len(), 2, "as it was");

    // A log without its database may be all that is left of one.
    let orphan = tempfile::tempdir().unwrap();
    std::fs::write(orphan.path().join("landfall.db-wal"), "frames").unwrap();
    assert!(matches!(restore(&copy, orphan.path()).unwrap_err(), RestoreError::Exists(_)));
}

#[tokio::test]
async fn restoring_verifies_first() {
    let (dir, store) = fresh();
    for n in 0..50 {
        store.receive(delivery(&format!("d-{n}"), 1)).await.unwrap();
    }
    let copy = dir.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    let whole = std::fs::read(&copy).unwrap();
    let refused = |name: &str, content: &[u8]| {
        let file = dir.path().join(name);
        std::fs::write(&file, content).unwrap();
        let target = tempfile::tempdir().unwrap();
        let error = restore(&file, target.path()).unwrap_err();
        assert!(!target.path().join(DATABASE_FILE).exists(), "{name} was installed");
        error
    };
    let half = refused("half", &whole[..whole.len() / 2]);
    assert!(matches!(half, RestoreError::Damaged { .. } | RestoreError::Open(OpenError::Corrupt { .. })), "{half}");
    let mut scratched = whole.clone();
    for byte in scratched.iter_mut().skip(8192 + 100).step_by(512) {
        *byte ^= 0x55;
    }
    let error = refused("scratched", &scratched);
    assert!(matches!(error, RestoreError::Damaged { .. } | RestoreError::Open(OpenError::Corrupt { .. })), "{error}");
    assert!(matches!(refused("empty", b""), RestoreError::Damaged { .. }));
    let text = refused("text", "a letter to a friend, much longer than a header. ".repeat(20).as_bytes());
    assert!(matches!(text, RestoreError::Open(OpenError::Foreign { .. })), "{text}");
    let missing = restore(Path::new("/no/such/backup.db"), dir.path().join("new").as_path()).unwrap_err().to_string();
    assert!(missing.contains("/no/such/backup.db"), "{missing}");
}

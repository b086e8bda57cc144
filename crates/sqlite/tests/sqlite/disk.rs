//! A full disk: what was acknowledged stays, what was refused is not there, and it goes on when there is room.

use std::collections::BTreeSet;
use std::sync::Arc;

use landfall_ports::journal::{Batch, Journal, JournalError};
use landfall_ports::store::{DeliveryOutcome, Received, Store, StoreError};
use landfall_sqlite::{DATABASE_FILE, OpenOptions, SqliteStore};
use landfall_testkit::conformance::fixtures::{at, claimed, delivery, environment, notice, step_done, write};
use rusqlite::Connection;

const SMALL: u64 = 600_000;
const LARGE: u64 = 64 << 20;

fn padded(id: &str) -> landfall_ports::store::NewDelivery {
    let mut delivery = delivery(id, 1);
    delivery.body.resize(11_000, b'x');
    delivery
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_whole_transactions_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions { max_bytes: Some(SMALL), ..OpenOptions::default() };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    store.set_notification_targets(vec!["log".to_owned()]).await.unwrap();
    let lease = claimed(&store, "1").await;
    store.write_environments(vec![write(0, environment("a"))], vec![]).await.unwrap();

    // Many senders at once, so that groups fail in the middle.
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..16)
        .map(|sender| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
                for n in 0..10 {
                    let delivery = padded(&format!("d-{sender}-{n}"));
                    let id = delivery.id.0.clone();
                    match store.receive(delivery).await {
                        Ok(received) => {
                            assert_eq!(received, Received::New);
                            acknowledged.push(id);
                        }
                        Err(StoreError::Unavailable(text)) => {
                            assert!(text.contains("full") && text.contains("nothing was written"), "{text}");
                            assert!(text.contains("free space"), "says what to do: {text}");
                            refused.push(id);
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
                (acknowledged, refused)
            })
        })
        .collect();
    let (mut acknowledged, mut refused) = (BTreeSet::new(), Vec::new());
    for task in tasks {
        let (good, bad) = task.await.unwrap();
        acknowledged.extend(good);
        refused.extend(bad);
    }
    assert!(!acknowledged.is_empty() && !refused.is_empty(), "{} and {}", acknowledged.len(), refused.len());
    let kept = async |store: &SqliteStore| {
        let pending = store.pending_deliveries(1000).await.unwrap();
        pending.into_iter().map(|pending| pending.delivery.id.0).collect::<BTreeSet<_>>()
    };
    assert_eq!(kept(&store).await, acknowledged, "exactly what was acknowledged");

    // The journal, and a transaction of several tables: nothing of it is left behind.
    let big = Batch {
        records: (0..200).map(|n| step_done(n, &"long".repeat(200))).collect(),
        notices: vec![notice("n-1", 1)],
        finished: true,
        ..Batch::default()
    };
    let error = store.append(&lease, 1, big.clone()).await.unwrap_err();
    assert!(matches!(&error, JournalError::Unavailable(text) if text.contains("full")), "{error}");
    let stored = store.load(&lease.execution).await.unwrap();
    assert_eq!((stored.version, stored.records.len(), stored.finished), (1, 1, false));
    let first = store.pending_deliveries(1).await.unwrap().remove(0);
    let writes: Vec<_> = [write(1, environment("a"))]
        .into_iter()
        .chain((0..400).map(|n| write(0, environment(&format!("{n}-{}", "long".repeat(100))))))
        .collect();
    let outcome = DeliveryOutcome::Applied { what: "all".to_owned() };
    let error =
        store.finish_delivery(first.seq, outcome.clone(), writes.clone(), vec![notice("n-2", 1)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert_eq!(store.environments().await.unwrap().len(), 1);
    assert_eq!(store.environments().await.unwrap()[0].revision, 1);
    assert!(store.due_notices(at(1000), 9).await.unwrap().is_empty());
    assert_eq!(store.pending_deliveries(1).await.unwrap(), std::slice::from_ref(&first));

    // Room again: the very same calls succeed.
    store.set_max_bytes(LARGE).await.unwrap();
    for id in refused {
        assert_eq!(store.receive(padded(&id)).await.unwrap(), Received::New, "{id} left nothing behind");
        acknowledged.insert(id);
    }
    assert_eq!(store.append(&lease, 1, big).await.unwrap(), 201);
    store.finish_delivery(first.seq, outcome, writes, vec![notice("n-2", 1)]).await.unwrap();
    acknowledged.remove(&first.delivery.id.0);
    assert_eq!(store.due_notices(at(1000), 9).await.unwrap().len(), 2);
    drop(store);

    let check: String = Connection::open(dir.path().join(DATABASE_FILE))
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    let store = SqliteStore::open(dir.path(), OpenOptions::default()).unwrap();
    assert_eq!(kept(&store).await, acknowledged);
}

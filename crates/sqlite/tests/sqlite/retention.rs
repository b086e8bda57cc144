//! What pruning takes, and what it must leave.

use landfall_model::Timestamp;
use landfall_ports::journal::{Journal, JournalError};
use landfall_ports::store::{DeliveryOutcome, Received, Store};
use landfall_sqlite::{MINIMUM_DELIVERY_DAYS, PruneError, PrunePolicy, Pruned};
use landfall_testkit::conformance::fixtures::{at, delivery, execution, finished, last, notice};

use crate::common::fresh;

const DAY: i64 = 24 * 3600;

fn day(n: i64) -> Timestamp {
    at(n * DAY)
}

#[tokio::test]
async fn old_executions_go_except_the_newest_of_each_environment() {
    let (_dir, store) = fresh();
    // Two of `env`, one of `quiet`, one unfinished of `busy` and one after it, one of `env` that is young.
    for (name, environment, ends) in [
        ("1", "env", Some(1)),
        ("2", "env", Some(2)),
        ("3", "quiet", Some(1)),
        ("4", "busy", None),
        ("5", "busy", Some(1)),
        ("6", "env", Some(100)),
    ] {
        store.create(execution(name, environment)).await.unwrap();
        let lease = store.claim("a", 1000, 1).await.unwrap().remove(0);
        if let Some(ends) = ends {
            store.append(&lease, 1, last(vec![finished(ends * DAY)])).await.unwrap();
        }
    }
    let pruned = store.prune(PrunePolicy { executions: 90, ..PrunePolicy::standard(day(120)) }).await.unwrap();
    assert_eq!(pruned, Pruned { executions: 2, ..Pruned::default() });
    let left: Vec<_> = store.list(None, false, 9).await.unwrap().into_iter().map(|summary| summary.id.0).collect();
    assert_eq!(left, ["exe_6", "exe_5", "exe_4", "exe_3"]);
    let gone = store.load(&execution("1", "env").id).await;
    assert!(matches!(gone, Err(JournalError::NotFound(_))), "{gone:?}");
    assert_eq!(store.read_after(0, 100).await.unwrap().len(), 7, "their records went with them");
    assert_eq!(store.prune(PrunePolicy::standard(day(120))).await.unwrap(), Pruned::default());
}

#[tokio::test]
async fn bodies_go_before_ids_and_pending_deliveries_never() {
    let (_dir, store) = fresh();
    store.set_notification_targets(vec!["log".to_owned()]).await.unwrap();
    let done = DeliveryOutcome::Ignored { why: "no rule".to_owned() };
    for (id, arrived) in [("ancient", 0), ("old", 60), ("young", 99)] {
        store.receive(delivery(id, arrived * DAY)).await.unwrap();
        let seq = store.pending_deliveries(1).await.unwrap()[0].seq;
        store.finish_delivery(seq, done.clone(), vec![], vec![notice(id, arrived * DAY)]).await.unwrap();
    }
    store.receive(delivery("waiting", 0)).await.unwrap();
    let due = store.due_notices(day(200), 9).await.unwrap();
    store.notices_done(vec![due[0].seq]).await.unwrap();

    let pruned = store.prune(PrunePolicy::standard(day(100))).await.unwrap();
    assert_eq!(pruned, Pruned { executions: 0, delivery_bodies: 2, deliveries: 1, notices: 1 });
    let left: Vec<_> = store.deliveries(9).await.unwrap().into_iter().map(|summary| summary.id.0).collect();
    assert_eq!(left, ["waiting", "young", "old"]);
    assert_eq!(store.receive(delivery("old", 100 * DAY)).await.unwrap(), Received::Duplicate, "without its body too");
    assert_eq!(store.pending_deliveries(9).await.unwrap()[0].delivery, delivery("waiting", 0));
    assert_eq!(store.due_notices(day(200), 9).await.unwrap().len(), 2, "undelivered notices stay");
}

#[tokio::test]
async fn ids_cannot_be_forgotten_too_early() {
    let (_dir, store) = fresh();
    let policy = PrunePolicy { deliveries: MINIMUM_DELIVERY_DAYS - 1, ..PrunePolicy::standard(day(1)) };
    let error = store.prune(policy).await.unwrap_err();
    assert!(matches!(error, PruneError::TooShort(29)), "{error}");
}

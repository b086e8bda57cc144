//! What [`Store`](landfall_ports::store::Store) promises.

use std::sync::Arc;
use std::time::Duration;

use landfall_model::environment::{EnvironmentRecord, EnvironmentWrite};
use landfall_model::ids::DeliveryId;
use landfall_ports::store::{DeliveryOutcome, OutboxRow, Received, Store, StoreError};

use super::Subject;
use super::sample::{at, delivery, environment, environment_id, notice, write};

/// Runs every case on a subject of its own.
pub async fn store(make: impl Fn() -> Subject) {
    receives_a_delivery_once(&make()).await;
    many_senders_of_one_delivery_give_one(&make()).await;
    deliveries_wait_in_order_of_arrival(&make()).await;
    finishing_a_delivery_is_all_or_nothing(&make()).await;
    revisions_are_an_optimistic_lock(&make()).await;
    writes_of_environments_are_all_or_nothing(&make()).await;
    of_many_writers_of_one_revision_one_wins(&make()).await;
    notices_fan_out_to_every_target(&make()).await;
    notices_wait_for_the_first_targets(&make()).await;
    changed_targets_count_from_then_on(&make()).await;
    the_outbox_tries_again_when_due(&make()).await;
    small_values_are_replaced(&make()).await;
    says_when_something_changed(&make()).await;
}

fn applied(what: &str) -> DeliveryOutcome {
    DeliveryOutcome::Applied { what: what.to_owned() }
}

async fn due(store: &dyn Store, second: i64) -> Vec<OutboxRow> {
    store.due_notices(at(second), 100).await.unwrap()
}

fn told(rows: &[OutboxRow]) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row.notice.id.as_str(), row.target.as_str())).collect()
}

#[track_caller]
fn assert_conflict(result: Result<(), StoreError>, n: u64) {
    assert!(matches!(&result, Err(StoreError::Conflict(id)) if *id == environment_id(n)), "{result:?}");
}

async fn targets(store: &dyn Store, names: &[&str]) {
    store.set_notification_targets(names.iter().map(|name| (*name).to_owned()).collect()).await.unwrap();
}

async fn receives_a_delivery_once(subject: &Subject) {
    let store = &*subject.store;
    assert_eq!(store.receive(delivery(1)).await.unwrap(), Received::New);
    let mut other = delivery(2);
    other.id = delivery(1).id;
    assert_eq!(store.receive(other.clone()).await.unwrap(), Received::Duplicate, "the id alone decides");
    let pending = store.pending_deliveries(9).await.unwrap();
    assert_eq!(pending.iter().map(|pending| &pending.delivery).collect::<Vec<_>>(), [&delivery(1)], "as it came first");
    store.finish_delivery(pending[0].seq, applied("x"), Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(store.receive(other).await.unwrap(), Received::Duplicate, "whatever became of it");
    assert!(store.pending_deliveries(9).await.unwrap().is_empty());
    let mut empty = delivery(3);
    empty.body.clear();
    assert_eq!(store.receive(empty.clone()).await.unwrap(), Received::New);
    assert_eq!(store.pending_deliveries(9).await.unwrap()[0].delivery, empty);
}

async fn many_senders_of_one_delivery_give_one(subject: &Subject) {
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = Arc::clone(&subject.store);
            tokio::spawn(async move { store.receive(delivery(n / 2)).await.unwrap() })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += usize::from(task.await.unwrap() == Received::New);
    }
    assert_eq!(new, 32);
    assert_eq!(subject.store.pending_deliveries(100).await.unwrap().len(), 32);
}

async fn deliveries_wait_in_order_of_arrival(subject: &Subject) {
    let store = &*subject.store;
    for n in [5, 3, 4] {
        store.receive(delivery(n)).await.unwrap();
    }
    let pending = store.pending_deliveries(9).await.unwrap();
    let ids: Vec<_> = pending.iter().map(|pending| pending.delivery.id.clone()).collect();
    assert_eq!(ids, [5, 3, 4].map(|n| delivery(n).id));
    assert!(pending.is_sorted_by(|a, b| a.seq < b.seq));
    assert_eq!(store.pending_deliveries(2).await.unwrap(), pending[..2]);

    let why = DeliveryOutcome::Ignored { why: "no rule \"matches\"".to_owned() };
    store.finish_delivery(pending[1].seq, why.clone(), Vec::new(), Vec::new()).await.unwrap();
    let left: Vec<_> = store.pending_deliveries(9).await.unwrap().into_iter().map(|pending| pending.seq).collect();
    assert_eq!(left, [pending[0].seq, pending[2].seq]);

    let newest = store.deliveries(9).await.unwrap();
    let seen: Vec<_> = newest.iter().map(|summary| (summary.seq, &summary.id, summary.outcome.as_ref())).collect();
    let ids = [4, 3, 5].map(|n| DeliveryId::new(format!("delivery-{n}")));
    assert_eq!(
        seen,
        [(pending[2].seq, &ids[0], None), (pending[1].seq, &ids[1], Some(&why)), (pending[0].seq, &ids[2], None)]
    );
    assert_eq!((newest[0].bytes, newest[0].event.as_str(), newest[0].received_at), (300, "create", at(4)));
    assert_eq!(store.deliveries(1).await.unwrap(), newest[..1]);
}

async fn finishing_a_delivery_is_all_or_nothing(subject: &Subject) {
    let store = &*subject.store;
    targets(store, &["log"]).await;
    store.receive(delivery(1)).await.unwrap();
    store.receive(delivery(2)).await.unwrap();
    let pending = store.pending_deliveries(9).await.unwrap();
    let (first, second) = (pending[0].seq, pending[1].seq);

    let writes = vec![write(1, 0, "one"), write(2, 0, "two")];
    store.finish_delivery(first, applied("both"), writes, vec![notice(1), notice(1)]).await.unwrap();
    assert_eq!(store.environments().await.unwrap().len(), 2);
    assert_eq!(told(&due(store, 100).await), [("notice-1", "log")]);

    // The first write is good, the second is not.
    let writes = vec![write(1, 1, "one again"), write(2, 0, "two again")];
    assert_conflict(store.finish_delivery(second, applied("late"), writes, vec![notice(2)]).await, 2);
    assert_eq!(store.environment(&environment_id(1)).await.unwrap().unwrap().message.as_deref(), Some("one"));
    assert_eq!(due(store, 100).await.len(), 1, "no notice of what did not happen");
    assert_eq!(store.pending_deliveries(9).await.unwrap(), pending[1..], "still to be done");

    // Finished is finished: a second outcome would overwrite what people were told.
    for seq in [first, second + 1000] {
        let twice = store.finish_delivery(seq, applied("twice"), vec![write(3, 0, "three")], vec![notice(3)]).await;
        assert!(matches!(twice, Err(StoreError::Corrupt(_))), "{twice:?}");
    }
    assert!(store.environment(&environment_id(3)).await.unwrap().is_none());
    assert_eq!(due(store, 100).await.len(), 1);
    let outcomes: Vec<_> = store.deliveries(9).await.unwrap().into_iter().map(|summary| summary.outcome).collect();
    assert_eq!(outcomes, [None, Some(applied("both"))]);
}

async fn revisions_are_an_optimistic_lock(subject: &Subject) {
    let store = &*subject.store;
    assert!(store.environment(&environment_id(1)).await.unwrap().is_none());
    let put = |write: EnvironmentWrite| store.write_environments(vec![write], Vec::new());
    assert_conflict(put(write(1, 1, "not there yet")).await, 1);
    // The stored revision is what was expected plus one, whatever the record says.
    let mut first = write(1, 0, "first");
    first.record.revision = 77;
    put(first.clone()).await.unwrap();
    let stored = store.environment(&environment_id(1)).await.unwrap().unwrap();
    assert_eq!(stored, EnvironmentRecord { revision: 1, ..first.record });

    assert_conflict(put(write(1, 0, "exists")).await, 1);
    assert_conflict(put(write(1, 2, "from the future")).await, 1);
    put(write(1, 1, "second")).await.unwrap();
    assert_conflict(put(write(1, 1, "stale")).await, 1);
    let stored = store.environment(&environment_id(1)).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.message.as_deref()), (2, Some("second")));
    assert_eq!(store.environments().await.unwrap(), [stored]);
}

async fn writes_of_environments_are_all_or_nothing(subject: &Subject) {
    let store = &*subject.store;
    targets(store, &["log"]).await;
    let both = vec![write(2, 0, "b"), write(1, 0, "a")];
    store.write_environments(both, vec![notice(1)]).await.unwrap();
    let ids: Vec<_> = store.environments().await.unwrap().into_iter().map(|record| record.id).collect();
    assert_eq!(ids, [1, 2].map(environment_id), "by id");
    let writes = vec![write(1, 1, "new a"), write(3, 0, "c"), write(2, 7, "new b")];
    assert_conflict(store.write_environments(writes, vec![notice(2)]).await, 2);
    let messages: Vec<_> = store.environments().await.unwrap().into_iter().map(|record| record.message).collect();
    assert_eq!(messages, [Some("a".to_owned()), Some("b".to_owned())]);
    assert_eq!(told(&due(store, 100).await), [("notice-1", "log")]);

    // Two writes of one record in a batch follow each other.
    store.write_environments(vec![write(1, 1, "x"), write(1, 2, "y")], Vec::new()).await.unwrap();
    let stored = store.environment(&environment_id(1)).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.message.as_deref()), (3, Some("y")));
    assert_conflict(store.write_environments(vec![write(1, 3, "x"), write(1, 3, "y")], Vec::new()).await, 1);
    assert_eq!(store.environment(&environment_id(1)).await.unwrap(), Some(stored));
}

async fn of_many_writers_of_one_revision_one_wins(subject: &Subject) {
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let store = Arc::clone(&subject.store);
            tokio::spawn(async move { store.write_environments(vec![write(1, 0, &n.to_string())], Vec::new()).await })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => won += 1,
            Err(StoreError::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(subject.store.environments().await.unwrap()[0].revision, 1);
}

async fn notices_fan_out_to_every_target(subject: &Subject) {
    let store = &*subject.store;
    targets(store, &["slack", "log", "slack"]).await;
    store.write_environments(Vec::new(), vec![notice(1), notice(2)]).await.unwrap();
    store.write_environments(Vec::new(), vec![notice(1)]).await.unwrap();
    let rows = due(store, 0).await;
    assert_eq!(told(&rows), [("notice-1", "slack"), ("notice-1", "log"), ("notice-2", "slack"), ("notice-2", "log")]);
    assert_eq!((&rows[0].notice, rows[0].attempts), (&notice(1), 0));
    assert_eq!(store.due_notices(at(0), 3).await.unwrap(), rows[..3]);

    store.notices_done(vec![rows[0].seq, rows[2].seq, rows[3].seq]).await.unwrap();
    store.notices_done(vec![rows[0].seq]).await.unwrap();
    assert_eq!(due(store, 0).await, rows[1..2], "each target's row is its own");
    store.write_environments(Vec::new(), vec![notice(2)]).await.unwrap();
    assert_eq!(due(store, 0).await.len(), 1, "one that was delivered is not told again");
}

async fn notices_wait_for_the_first_targets(subject: &Subject) {
    let store = &*subject.store;
    store.write_environments(Vec::new(), vec![notice(1)]).await.unwrap();
    assert!(due(store, 100).await.is_empty());
    targets(store, &["log"]).await;
    assert_eq!(told(&due(store, 100).await), [("notice-1", "log")]);
    targets(store, &["log"]).await;
    assert_eq!(due(store, 100).await.len(), 1, "once");
}

async fn changed_targets_count_from_then_on(subject: &Subject) {
    let store = &*subject.store;
    targets(store, &["old", "log"]).await;
    store.write_environments(Vec::new(), vec![notice(1)]).await.unwrap();
    targets(store, &["log", "new"]).await;
    store.write_environments(Vec::new(), vec![notice(2)]).await.unwrap();
    assert_eq!(
        told(&due(store, 100).await),
        [("notice-1", "log"), ("notice-2", "log"), ("notice-2", "new")],
        "the new target is not told old news, and nobody serves the old one any more"
    );
    targets(store, &[]).await;
    store.write_environments(Vec::new(), vec![notice(3)]).await.unwrap();
    targets(store, &["log"]).await;
    assert!(due(store, 100).await.is_empty(), "no targets is a choice too: nothing waits");
}

async fn the_outbox_tries_again_when_due(subject: &Subject) {
    let store = &*subject.store;
    targets(store, &["log"]).await;
    store.write_environments(Vec::new(), vec![notice(1), notice(2)]).await.unwrap();
    let rows = due(store, 0).await;
    store.notice_failed(rows[0].seq, "503".to_owned(), Some(at(60))).await.unwrap();
    assert_eq!(told(&due(store, 59).await), [("notice-2", "log")]);
    let again = due(store, 60).await;
    assert_eq!(told(&again), [("notice-1", "log"), ("notice-2", "log")], "in order of writing");
    assert_eq!((again[0].attempts, again[1].attempts), (1, 0));

    store.notice_failed(rows[0].seq, "404".to_owned(), None).await.unwrap();
    assert_eq!(told(&due(store, 1_000_000).await), [("notice-2", "log")], "given up");
    store.notice_failed(rows[0].seq, "late".to_owned(), Some(at(0))).await.unwrap();
    store.notices_done(vec![rows[1].seq]).await.unwrap();
    store.notice_failed(rows[1].seq, "late".to_owned(), Some(at(0))).await.unwrap();
    store.notice_failed(9999, "nobody's".to_owned(), None).await.unwrap();
    assert!(due(store, 1_000_000).await.is_empty(), "given up and done stay so");
}

async fn small_values_are_replaced(subject: &Subject) {
    let store = &*subject.store;
    assert_eq!(store.meta_get("instance").await.unwrap(), None);
    store.meta_put("instance", "one").await.unwrap();
    store.meta_put("instance", "two \0 ü").await.unwrap();
    store.meta_put("", "").await.unwrap();
    assert_eq!(store.meta_get("instance").await.unwrap().as_deref(), Some("two \0 ü"));
    assert_eq!(store.meta_get("").await.unwrap().as_deref(), Some(""));
    assert_eq!(store.meta_get("other").await.unwrap(), None);
}

async fn says_when_something_changed(subject: &Subject) {
    let store = Arc::clone(&subject.store);
    let (heard, mut wakes) = tokio::sync::mpsc::unbounded_channel();
    let follower = tokio::spawn(async move {
        loop {
            let seen = (store.pending_deliveries(100).await.unwrap().len(), store.environments().await.unwrap().len());
            if heard.send(seen).is_err() {
                return;
            }
            store.changed().await;
        }
    });
    let mut wait_for = async |expected| {
        let wait = async { while wakes.recv().await != Some(expected) {} };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("a change was slept through");
    };
    for n in 1..=10_u64 {
        let count = usize::try_from(n).unwrap();
        subject.store.receive(delivery(n)).await.unwrap();
        wait_for((count, count - 1)).await;
        let record = environment(n);
        subject.store.write_environments(vec![EnvironmentWrite { expected: 0, record }], Vec::new()).await.unwrap();
        wait_for((count, count)).await;
    }
    follower.abort();
}

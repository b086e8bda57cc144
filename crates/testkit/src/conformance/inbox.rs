//! Deliveries, environments, small values.

use std::sync::Arc;
use std::time::Duration;

use landfall_model::environment::{EnvironmentRecord, Phase};
use landfall_model::ids::EnvironmentId;
use landfall_ports::store::{DeliveryOutcome, Received, StoreError};

use super::Subject;
use super::fixtures::{at, delivery, environment, notice, write};

fn applied() -> DeliveryOutcome {
    DeliveryOutcome::Applied { what: "created env".to_owned() }
}

pub(super) async fn a_delivery_is_received_once(subject: &impl Subject) {
    let store = subject.store();
    assert_eq!(store.receive(delivery("d-1", 1)).await.unwrap(), Received::New);
    let mut again = delivery("d-1", 2);
    again.body = b"something else".to_vec();
    assert_eq!(store.receive(again).await.unwrap(), Received::Duplicate);
    let pending = store.pending_deliveries(10).await.unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].delivery, delivery("d-1", 1), "the first one stays");
}

pub(super) async fn pending_deliveries_keep_their_order_and_their_bytes(subject: &impl Subject) {
    let store = subject.store();
    let mut sent: Vec<_> = ["d-9", "d-1", "d-5"].iter().map(|id| delivery(id, 3)).collect();
    sent[1].body = Vec::new();
    sent[2].body = vec![0xA5; 300_000];
    for delivery in &sent {
        store.receive(delivery.clone()).await.unwrap();
    }
    let pending = store.pending_deliveries(10).await.unwrap();
    assert_eq!(pending.iter().map(|d| d.delivery.clone()).collect::<Vec<_>>(), sent);
    assert!(pending.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(store.pending_deliveries(2).await.unwrap(), pending[..2]);
    store.finish_delivery(pending[1].seq, applied(), vec![], vec![]).await.unwrap();
    let left: Vec<_> = store.pending_deliveries(10).await.unwrap().iter().map(|d| d.seq).collect();
    assert_eq!(left, [pending[0].seq, pending[2].seq]);
}

pub(super) async fn finishing_writes_all_or_nothing(subject: &impl Subject) {
    let store = subject.store();
    store.set_notification_targets(vec!["log".to_owned()]).await.unwrap();
    store.write_environments(vec![write(0, environment("a"))], vec![]).await.unwrap();
    store.receive(delivery("d-1", 1)).await.unwrap();
    let seq = store.pending_deliveries(1).await.unwrap()[0].seq;

    // `a` moved on since it was read: nothing of this may be seen.
    let writes = vec![write(0, environment("b")), write(0, environment("a"))];
    let result = store.finish_delivery(seq, applied(), writes, vec![notice("n-1", 1)]).await;
    assert!(matches!(result, Err(StoreError::Conflict(id)) if id.as_str() == "a"));
    assert_eq!(store.pending_deliveries(1).await.unwrap().len(), 1);
    assert_eq!(store.environment(&EnvironmentId::new("b")).await.unwrap(), None);
    assert!(store.due_notices(at(100), 10).await.unwrap().is_empty());

    let writes = vec![write(0, environment("b")), write(1, environment("a"))];
    store.finish_delivery(seq, applied(), writes, vec![notice("n-1", 1)]).await.unwrap();
    assert!(store.pending_deliveries(1).await.unwrap().is_empty());
    let ids: Vec<_> = store.environments().await.unwrap().into_iter().map(|e| (e.id.0, e.revision)).collect();
    assert_eq!(ids, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    assert_eq!(store.due_notices(at(100), 10).await.unwrap().len(), 1);
}

pub(super) async fn a_finished_delivery_stays_known(subject: &impl Subject) {
    let store = subject.store();
    for (id, outcome) in [
        ("d-1", applied()),
        ("d-2", DeliveryOutcome::Ignored { why: "a tag".to_owned() }),
        ("d-3", DeliveryOutcome::Rejected { why: "not JSON".to_owned() }),
    ] {
        store.receive(delivery(id, 1)).await.unwrap();
        let seq = store.pending_deliveries(1).await.unwrap()[0].seq;
        store.finish_delivery(seq, outcome, vec![], vec![]).await.unwrap();
        assert_eq!(store.receive(delivery(id, 2)).await.unwrap(), Received::Duplicate);
    }
    store.receive(delivery("d-4", 7)).await.unwrap();
    assert!(store.finish_delivery(4000, applied(), vec![], vec![]).await.is_err(), "there is no such delivery");

    let listed = store.deliveries(10).await.unwrap();
    assert_eq!(listed.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["d-4", "d-3", "d-2", "d-1"]);
    assert_eq!((listed[0].outcome.clone(), listed[0].received_at), (None, at(7)));
    assert_eq!(listed[1].outcome, Some(DeliveryOutcome::Rejected { why: "not JSON".to_owned() }));
    assert_eq!(listed[3].outcome, Some(applied()));
    assert_eq!((listed[3].event.as_str(), listed[3].bytes), ("push", delivery("d-1", 1).body.len() as u64));
    assert_eq!(store.deliveries(2).await.unwrap(), listed[..2]);
}

pub(super) async fn a_delivery_is_finished_once(subject: &impl Subject) {
    let store = subject.store();
    store.set_notification_targets(vec!["log".to_owned()]).await.unwrap();
    store.receive(delivery("d-1", 1)).await.unwrap();
    let seq = store.pending_deliveries(1).await.unwrap()[0].seq;
    store.finish_delivery(seq, applied(), vec![], vec![]).await.unwrap();
    let other = DeliveryOutcome::Ignored { why: "another opinion".to_owned() };
    let twice = store.finish_delivery(seq, other, vec![write(0, environment("a"))], vec![notice("n-1", 1)]).await;
    assert!(matches!(twice, Err(StoreError::Corrupt(_))), "{twice:?}");
    assert_eq!(store.deliveries(1).await.unwrap()[0].outcome, Some(applied()));
    assert!(store.environments().await.unwrap().is_empty());
    assert!(store.due_notices(at(100), 10).await.unwrap().is_empty());
}

pub(super) async fn many_senders_at_once_lose_nothing(subject: &impl Subject) {
    let mut tasks = tokio::task::JoinSet::new();
    // Every delivery is sent twice, by two senders.
    for sender in 0..16 {
        let store = subject.store();
        tasks.spawn(async move {
            let mut new = Vec::new();
            for n in 0..20 {
                let id = format!("d-{}-{n}", sender / 2);
                if store.receive(delivery(&id, n)).await.unwrap() == Received::New {
                    new.push(id);
                }
            }
            new
        });
    }
    let mut new: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    new.sort();
    let mut stored: Vec<String> =
        subject.store().pending_deliveries(1000).await.unwrap().into_iter().map(|d| d.delivery.id.0).collect();
    stored.sort();
    assert_eq!(new.len(), 160);
    assert_eq!(new, stored, "new exactly once, and every one of them stored");
}

pub(super) async fn environments_are_locked_optimistically(subject: &impl Subject) {
    let store = subject.store();
    let id = EnvironmentId::new("a");
    assert_eq!(store.environment(&id).await.unwrap(), None);
    store.write_environments(vec![write(0, environment("a"))], vec![]).await.unwrap();
    let first = store.environment(&id).await.unwrap().unwrap();
    assert_eq!(first, EnvironmentRecord { revision: 1, ..environment("a") });

    let conflict = store.write_environments(vec![write(0, environment("a"))], vec![]).await;
    assert!(matches!(conflict, Err(StoreError::Conflict(_))), "it exists already");
    let changed = EnvironmentRecord { phase: Phase::Ready, url: Some("http://a.localhost/".to_owned()), ..first };
    // The record's own revision is not what is checked.
    store.write_environments(vec![write(1, changed.clone())], vec![]).await.unwrap();
    assert_eq!(store.environment(&id).await.unwrap(), Some(EnvironmentRecord { revision: 2, ..changed.clone() }));
    for stale in [1, 3] {
        let conflict = store.write_environments(vec![write(stale, changed.clone())], vec![]).await;
        assert!(matches!(conflict, Err(StoreError::Conflict(of)) if of == id));
    }
    let nobody = store.write_environments(vec![write(1, environment("b"))], vec![]).await;
    assert!(matches!(nobody, Err(StoreError::Conflict(_))), "it does not exist yet");
}

pub(super) async fn environments_are_written_all_or_nothing(subject: &impl Subject) {
    let store = subject.store();
    store.write_environments(vec![write(0, environment("c"))], vec![]).await.unwrap();
    let batch = vec![write(0, environment("a")), write(0, environment("b")), write(0, environment("c"))];
    assert!(
        matches!(store.write_environments(batch, vec![]).await, Err(StoreError::Conflict(id)) if id.as_str() == "c")
    );
    assert_eq!(store.environments().await.unwrap().len(), 1);
    let batch = vec![write(1, environment("c")), write(0, environment("b")), write(0, environment("a"))];
    store.write_environments(batch, vec![]).await.unwrap();
    let ids: Vec<_> = store.environments().await.unwrap().into_iter().map(|e| e.id.0).collect();
    assert_eq!(ids, ["a", "b", "c"]);
}

pub(super) async fn two_writes_of_one_record_follow_each_other(subject: &impl Subject) {
    let store = subject.store();
    let id = EnvironmentId::new("a");
    let named = |message: &str| EnvironmentRecord { message: Some(message.to_owned()), ..environment("a") };
    store.write_environments(vec![write(0, named("x")), write(1, named("y"))], vec![]).await.unwrap();
    let stored = store.environment(&id).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.message.as_deref()), (2, Some("y")));
    let both = store.write_environments(vec![write(2, named("x")), write(2, named("y"))], vec![]).await;
    assert!(matches!(both, Err(StoreError::Conflict(of)) if of == id));
    assert_eq!(store.environment(&id).await.unwrap(), Some(stored));
}

pub(super) async fn small_values_are_kept(subject: &impl Subject) {
    let store = subject.store();
    assert_eq!(store.meta_get("instance").await.unwrap(), None);
    store.meta_put("instance", "one").await.unwrap();
    store.meta_put("other", "").await.unwrap();
    store.meta_put("instance", "two").await.unwrap();
    assert_eq!(store.meta_get("instance").await.unwrap().as_deref(), Some("two"));
    assert_eq!(store.meta_get("other").await.unwrap().as_deref(), Some(""));
}

pub(super) async fn a_value_is_swapped_only_for_what_was_expected(subject: &impl Subject) {
    let store = subject.store();
    assert!(!store.meta_swap("lock", Some("nobody"), "a").await.unwrap());
    assert_eq!(store.meta_get("lock").await.unwrap(), None);
    assert!(store.meta_swap("lock", None, "a").await.unwrap());
    assert!(!store.meta_swap("lock", None, "b").await.unwrap());
    assert!(store.meta_swap("lock", Some("a"), "").await.unwrap());
    assert!(store.meta_swap("lock", Some(""), "b").await.unwrap());
    assert_eq!(store.meta_get("lock").await.unwrap().as_deref(), Some("b"));
}

pub(super) async fn followers_are_woken(subject: &impl Subject) {
    let store = subject.store();
    let follower = Arc::clone(&store);
    let (seen, mut news) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        loop {
            for pending in follower.pending_deliveries(10).await.unwrap() {
                follower.finish_delivery(pending.seq, applied(), vec![], vec![]).await.unwrap();
                seen.send(pending.delivery.id.0).unwrap();
            }
            follower.changed().await;
        }
    });
    for n in 0..20 {
        let id = format!("d-{n}");
        store.receive(delivery(&id, n)).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(60), news.recv()).await.unwrap().unwrap();
        assert_eq!(next, id);
    }
    task.abort();
}

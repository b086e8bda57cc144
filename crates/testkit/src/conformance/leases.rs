//! Claiming, renewing, expiring, fencing.

use std::collections::BTreeSet;

use landfall_ports::journal::{Batch, JournalError, Lease};
use landfall_workflow::event::Signal;
use serde_json::json;

use super::Subject;
use super::fixtures::{TTL_MS, batch, claimed, execution, finished, last, step_done};

pub(super) async fn a_held_execution_is_not_claimed(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    assert_eq!((lease.owner.as_str(), lease.epoch), ("engine-1", 1));
    assert!(journal.claim("engine-2", TTL_MS, 10).await.unwrap().is_empty());
    assert!(journal.claim("engine-1", TTL_MS, 10).await.unwrap().is_empty(), "not even by its holder");
    subject.pass_ms(TTL_MS - 1000).await;
    assert!(journal.claim("engine-2", TTL_MS, 10).await.unwrap().is_empty());
}

pub(super) async fn an_expired_lease_is_taken_over_and_fenced(subject: &impl Subject) {
    let journal = subject.journal();
    let old = claimed(&*journal, "1").await;
    subject.pass_ms(TTL_MS + 1).await;
    // Expired and not taken over: nobody else has written, so its holder still may.
    assert_eq!(journal.append(&old, 1, batch(vec![step_done(1, "a")])).await.unwrap(), 2);

    let new = journal.claim("engine-2", TTL_MS, 10).await.unwrap().remove(0);
    assert_eq!((&new.execution, new.owner.as_str(), new.epoch), (&old.execution, "engine-2", old.epoch + 1));
    match journal.append(&old, 2, batch(vec![step_done(2, "b")])).await {
        Err(JournalError::Fenced { held, current }) => assert_eq!((held, current), (old.epoch, new.epoch)),
        other => panic!("the former holder must be fenced, not get {other:?}"),
    }
    // Fenced also where its version would be right, and for what is not an append.
    assert!(matches!(journal.append(&old, 9, Batch::default()).await, Err(JournalError::Fenced { .. })));
    assert!(matches!(journal.compact(&old, 1, json!({})).await, Err(JournalError::Fenced { .. })));
    journal.release(&old).await.unwrap();
    assert!(journal.claim("engine-3", TTL_MS, 10).await.unwrap().is_empty(), "its release frees nothing");
    assert_eq!(journal.append(&new, 2, batch(vec![step_done(2, "b")])).await.unwrap(), 3);
}

pub(super) async fn a_renewed_lease_does_not_expire(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    for _ in 0..5 {
        subject.pass_ms(TTL_MS / 2).await;
        assert!(journal.renew("engine-1", TTL_MS, std::slice::from_ref(&lease)).await.unwrap().is_empty());
        assert!(journal.claim("engine-2", TTL_MS, 10).await.unwrap().is_empty());
    }
    assert_eq!(journal.append(&lease, 1, batch(vec![step_done(1, "a")])).await.unwrap(), 2);
}

pub(super) async fn renewing_tells_what_was_lost(subject: &impl Subject) {
    let journal = subject.journal();
    let taken = claimed(&*journal, "1").await;
    subject.pass_ms(TTL_MS + 1).await;
    assert_eq!(journal.claim("engine-2", TTL_MS, 10).await.unwrap().len(), 1);
    let kept = claimed(&*journal, "2").await;
    let over = claimed(&*journal, "3").await;
    journal.append(&over, 1, last(vec![finished(1)])).await.unwrap();
    let given_back = claimed(&*journal, "4").await;
    journal.release(&given_back).await.unwrap();

    let held = [taken.clone(), kept.clone(), over, given_back.clone()];
    // The finished one is not lost: nobody took it over.
    assert_eq!(journal.renew("engine-1", TTL_MS, &held).await.unwrap(), [taken, given_back.clone()]);
    let free = journal.claim("engine-3", TTL_MS, 10).await.unwrap();
    assert_eq!(free.len(), 1, "renewing brings nothing back");
    assert_eq!(free[0].execution, given_back.execution);
}

pub(super) async fn nobody_uses_the_lease_of_another(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    let stranger = Lease { owner: "engine-2".to_owned(), ..lease.clone() };
    assert!(matches!(journal.append(&stranger, 1, Batch::default()).await, Err(JournalError::Fenced { .. })));
    journal.release(&stranger).await.unwrap();
    let held = [lease.clone()];
    assert_eq!(journal.renew("engine-2", TTL_MS, &held).await.unwrap(), held);
    assert!(journal.claim("engine-2", TTL_MS, 10).await.unwrap().is_empty());
    assert_eq!(journal.append(&lease, 1, batch(vec![step_done(1, "a")])).await.unwrap(), 2);
}

pub(super) async fn a_released_lease_is_free_at_once(subject: &impl Subject) {
    let journal = subject.journal();
    let first = claimed(&*journal, "1").await;
    journal.release(&first).await.unwrap();
    assert!(matches!(journal.append(&first, 1, Batch::default()).await, Err(JournalError::Fenced { .. })));
    let second = journal.claim("engine-2", TTL_MS, 10).await.unwrap().remove(0);
    assert_eq!((&second.execution, second.epoch), (&first.execution, first.epoch + 1));
    journal.release(&first).await.unwrap();
    assert!(journal.claim("engine-3", TTL_MS, 10).await.unwrap().is_empty());
}

pub(super) async fn a_lease_of_another_boot_is_expired(subject: &impl Subject) {
    let journal = subject.journal();
    let before = claimed(&*journal, "1").await;
    subject.reboot().await;
    let after = journal.claim("engine-2", TTL_MS, 10).await.unwrap().remove(0);
    assert_eq!((&after.execution, after.epoch), (&before.execution, before.epoch + 1));
    assert!(matches!(journal.append(&before, 1, Batch::default()).await, Err(JournalError::Fenced { .. })));
}

pub(super) async fn a_finished_execution_is_over(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    assert_eq!(journal.append(&lease, 1, last(vec![finished(1)])).await.unwrap(), 2);
    let late = journal.append(&lease, 2, batch(vec![step_done(2, "late")])).await;
    assert!(matches!(late, Err(JournalError::Fenced { .. })), "the lease ended with it: {late:?}");
    subject.pass_ms(10 * TTL_MS).await;
    assert!(journal.claim("engine-2", TTL_MS, 10).await.unwrap().is_empty());
    subject.reboot().await;
    assert!(journal.claim("engine-2", TTL_MS, 10).await.unwrap().is_empty());
    // A signal that comes too late is no error, and changes nothing.
    journal.send_signal(&lease.execution, "root", Signal::Abort).await.unwrap();
    let stored = journal.load(&lease.execution).await.unwrap();
    assert_eq!((stored.version, stored.records.len(), stored.finished), (2, 2, true));
    assert!(journal.list(None, true, 10).await.unwrap().is_empty());
}

pub(super) async fn claims_are_oldest_first_and_limited(subject: &impl Subject) {
    let journal = subject.journal();
    // Ids in another order than creation.
    for name in ["5", "3", "1", "4", "2"] {
        journal.create(execution(name, "env")).await.unwrap();
    }
    let ids = |leases: Vec<Lease>| leases.into_iter().map(|lease| lease.execution.0).collect::<Vec<_>>();
    assert!(journal.claim("engine-1", TTL_MS, 0).await.unwrap().is_empty());
    assert_eq!(ids(journal.claim("engine-1", TTL_MS, 2).await.unwrap()), ["exe_5", "exe_3"]);
    assert_eq!(ids(journal.claim("engine-2", TTL_MS, 10).await.unwrap()), ["exe_1", "exe_4", "exe_2"]);
}

pub(super) async fn racing_claims_never_share(subject: &impl Subject) {
    for n in 0..20 {
        subject.journal().create(execution(&n.to_string(), "env")).await.unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let journal = subject.journal();
        tasks.spawn(async move { journal.claim(&format!("engine-{n}"), TTL_MS, 5).await.unwrap() });
    }
    let leases: Vec<Lease> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(leases.len(), 20);
    assert_eq!(leases.iter().map(|lease| &lease.execution).collect::<BTreeSet<_>>().len(), 20);
}

//! What [`Journal`] promises.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use landfall_model::ids::{ExecutionId, StepId};
use landfall_ports::journal::{Batch, Created, Journal, JournalError, Lease, Version};
use landfall_workflow::event::Signal;

use super::sample::{at, environment_id, execution, execution_id, notice, record};
use super::{Subject, TTL_MS};

/// Runs every case on a subject of its own.
pub async fn journal(make: impl Fn() -> Subject) {
    creates_once_per_key(&make()).await;
    many_creates_of_one_key_give_one_execution(&make()).await;
    keeps_what_was_written(&make()).await;
    refuses_an_unexpected_version(&make()).await;
    of_many_appends_at_one_version_one_wins(&make()).await;
    claims_oldest_first_and_each_once(&make()).await;
    claims_at_the_same_time_never_share(&make()).await;
    fences_the_former_holder(&make()).await;
    a_lease_of_another_boot_is_expired(&make()).await;
    an_expired_lease_that_nobody_took_still_writes(&make()).await;
    renewing_extends_and_reports_the_lost(&make()).await;
    a_released_lease_is_free_and_fenced(&make()).await;
    releasing_a_lost_lease_takes_nothing(&make()).await;
    finishing_ends_the_claims(&make()).await;
    signals_go_with_the_append_that_answers_them(&make()).await;
    compaction_keeps_the_tail(&make()).await;
    compaction_refuses_what_is_no_fold_of_it(&make()).await;
    reads_after_a_cursor_in_commit_order(&make()).await;
    notices_are_written_once_by_id(&make()).await;
    lists_newest_first(&make()).await;
    the_unknown_is_not_found(&make()).await;
    says_when_something_changed(&make()).await;
}

async fn claim_one(journal: &dyn Journal, owner: &str) -> Lease {
    let mut leases = journal.claim(owner, TTL_MS, 1).await.unwrap();
    assert_eq!(leases.len(), 1, "one execution is free for {owner}");
    leases.remove(0)
}

fn records(numbers: impl IntoIterator<Item = u64>) -> Batch {
    Batch { records: numbers.into_iter().map(record).collect(), ..Batch::default() }
}

fn end() -> Batch {
    Batch { finished: true, ..records([99]) }
}

async fn version(journal: &dyn Journal, id: &ExecutionId) -> Version {
    journal.load(id).await.unwrap().version
}

#[track_caller]
fn assert_fenced<T: std::fmt::Debug>(result: Result<T, JournalError>) {
    assert!(matches!(result, Err(JournalError::Fenced { .. })), "not fenced: {result:?}");
}

async fn creates_once_per_key(subject: &Subject) {
    let journal = &*subject.journal;
    assert_eq!(journal.create(execution(1, 1)).await.unwrap(), Created::New);
    let mut again = execution(2, 1);
    again.dedup_key = "key-1".to_owned();
    again.notices = vec![notice(1)];
    assert_eq!(journal.create(again).await.unwrap(), Created::Existing(execution_id(1)));
    assert!(matches!(journal.load(&execution_id(2)).await, Err(JournalError::NotFound(_))));
    assert_eq!(journal.list(None, false, 10).await.unwrap().len(), 1);
    assert_eq!(journal.read_after(0, 10).await.unwrap().len(), 1);

    // Finished or not, the key stays taken; the same id under another key is nobody's retry.
    let lease = claim_one(journal, "a").await;
    journal.append(&lease, 1, end()).await.unwrap();
    assert_eq!(journal.create(execution(1, 1)).await.unwrap(), Created::Existing(execution_id(1)));
    let mut taken = execution(1, 1);
    taken.dedup_key = "another".to_owned();
    assert!(matches!(journal.create(taken).await, Err(JournalError::Corrupt(_))));
    assert!(journal.load(&execution_id(1)).await.unwrap().finished, "the first one is untouched");
}

async fn many_creates_of_one_key_give_one_execution(subject: &Subject) {
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let journal = Arc::clone(&subject.journal);
            let mut new = execution(n, 1);
            new.dedup_key = "same".to_owned();
            tokio::spawn(async move { (new.id.clone(), journal.create(new).await.unwrap()) })
        })
        .collect();
    let (mut made, mut told) = (BTreeSet::new(), BTreeSet::new());
    for task in tasks {
        match task.await.unwrap() {
            (id, Created::New) => made.insert(id),
            (_, Created::Existing(id)) => told.insert(id),
        };
    }
    assert_eq!(made.len(), 1);
    assert_eq!(made, told);
}

async fn keeps_what_was_written(subject: &Subject) {
    let journal = &*subject.journal;
    let new = execution(1, 7);
    journal.create(new.clone()).await.unwrap();
    let lease = claim_one(journal, "a").await;
    assert_eq!((&lease.execution, lease.owner.as_str()), (&execution_id(1), "a"));
    assert_eq!(journal.append(&lease, 1, records([1, 2])).await.unwrap(), 3);
    assert_eq!(journal.append(&lease, 3, Batch::default()).await.unwrap(), 3, "an empty append changes no version");

    let stored = journal.load(&new.id).await.unwrap();
    assert_eq!((&stored.id, &stored.environment), (&new.id, &environment_id(7)));
    assert_eq!(stored.plan, new.plan, "verbatim");
    assert_eq!(stored.records, [new.records[0].clone(), record(1), record(2)]);
    assert_eq!((stored.version, stored.snapshot_version, stored.finished), (3, 0, false));
    assert!(stored.snapshot.is_none());
}

async fn refuses_an_unexpected_version(subject: &Subject) {
    let journal = &*subject.journal;
    journal.create(execution(1, 1)).await.unwrap();
    journal.send_signal(&execution_id(1), "me", Signal::Abort).await.unwrap();
    subject.store.set_notification_targets(vec!["log".to_owned()]).await.unwrap();
    let lease = claim_one(journal, "a").await;
    let signal = journal.signals(&execution_id(1)).await.unwrap()[0].id;
    for expect in [0, 2] {
        let batch = Batch { notices: vec![notice(1)], consumed_signals: vec![signal], ..end() };
        let refused = journal.append(&lease, expect, batch).await;
        assert!(
            matches!(refused, Err(JournalError::VersionConflict { expected, found: 1 }) if expected == expect),
            "{refused:?}"
        );
    }
    let stored = journal.load(&execution_id(1)).await.unwrap();
    assert_eq!((stored.version, stored.records.len(), stored.finished), (1, 1, false), "all or nothing");
    assert_eq!(journal.signals(&execution_id(1)).await.unwrap().len(), 1);
    assert!(subject.store.due_notices(at(1000), 10).await.unwrap().is_empty());
}

async fn of_many_appends_at_one_version_one_wins(subject: &Subject) {
    subject.journal.create(execution(1, 1)).await.unwrap();
    let lease = claim_one(&*subject.journal, "a").await;
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let (journal, lease) = (Arc::clone(&subject.journal), lease.clone());
            tokio::spawn(async move { journal.append(&lease, 1, records([n])).await })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(version) => {
                assert_eq!(version, 2);
                won += 1;
            }
            Err(JournalError::VersionConflict { expected: 1, found: 2 }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(version(&*subject.journal, &execution_id(1)).await, 2);
}

async fn claims_oldest_first_and_each_once(subject: &Subject) {
    let journal = &*subject.journal;
    // Oldest by creation, not by id.
    for n in [3, 1, 2] {
        journal.create(execution(n, n)).await.unwrap();
    }
    let ids = |leases: &[Lease]| leases.iter().map(|lease| lease.execution.clone()).collect::<Vec<_>>();
    assert!(journal.claim("a", TTL_MS, 0).await.unwrap().is_empty());
    assert_eq!(ids(&journal.claim("a", TTL_MS, 2).await.unwrap()), [execution_id(3), execution_id(1)]);
    assert_eq!(ids(&journal.claim("b", TTL_MS, 9).await.unwrap()), [execution_id(2)]);
    assert!(journal.claim("a", TTL_MS, 9).await.unwrap().is_empty(), "held ones are not claimed, its own neither");
}

async fn claims_at_the_same_time_never_share(subject: &Subject) {
    for n in 0..20 {
        subject.journal.create(execution(n, n)).await.unwrap();
    }
    let tasks: Vec<_> = (0..8)
        .map(|owner| {
            let journal = Arc::clone(&subject.journal);
            tokio::spawn(async move { journal.claim(&format!("owner-{owner}"), TTL_MS, 5).await.unwrap() })
        })
        .collect();
    let mut claimed = Vec::new();
    for task in tasks {
        claimed.extend(task.await.unwrap().into_iter().map(|lease| lease.execution));
    }
    assert_eq!(claimed.len(), 20);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>().len(), 20);
}

async fn fences_the_former_holder(subject: &Subject) {
    let journal = &*subject.journal;
    journal.create(execution(1, 1)).await.unwrap();
    let old = claim_one(journal, "a").await;
    journal.append(&old, 1, records([1])).await.unwrap();
    (subject.expire_leases)();
    let new = claim_one(journal, "b").await;
    assert!(new.epoch > old.epoch, "{} after {}", new.epoch, old.epoch);

    match journal.append(&old, 2, records([2])).await {
        Err(JournalError::Fenced { held, current }) => assert_eq!((held, current), (old.epoch, new.epoch)),
        other => panic!("not fenced: {other:?}"),
    }
    // The fence comes before the version: whoever is fenced must stop, not load again.
    assert_fenced(journal.append(&old, 1, records([2])).await);
    assert_fenced(journal.compact(&old, 2, serde_json::json!({})).await);
    // The right epoch of somebody else is not a lease.
    assert_fenced(journal.append(&Lease { owner: "a".to_owned(), ..new.clone() }, 2, records([2])).await);
    assert_eq!(version(journal, &execution_id(1)).await, 2);
    assert_eq!(journal.append(&new, 2, records([3])).await.unwrap(), 3);

    // The same owner again is a take-over like any other.
    (subject.expire_leases)();
    let newer = claim_one(journal, "b").await;
    assert!(newer.epoch > new.epoch);
    assert_fenced(journal.append(&new, 3, records([4])).await);
}

async fn a_lease_of_another_boot_is_expired(subject: &Subject) {
    let journal = &*subject.journal;
    journal.create(execution(1, 1)).await.unwrap();
    let old = claim_one(journal, "a").await;
    (subject.reboot)();
    let new = claim_one(journal, "a").await;
    assert!(new.epoch > old.epoch);
    assert_fenced(journal.append(&old, 1, records([1])).await);
    assert_eq!(journal.append(&new, 1, records([1])).await.unwrap(), 2);
}

async fn an_expired_lease_that_nobody_took_still_writes(subject: &Subject) {
    let journal = &*subject.journal;
    journal.create(execution(1, 1)).await.unwrap();
    let lease = claim_one(journal, "a").await;
    (subject.expire_leases)();
    assert_eq!(journal.append(&lease, 1, records([1])).await.unwrap(), 2);
    assert_eq!(claim_one(journal, "b").await.execution, lease.execution, "writing is not renewing");
}

async fn renewing_extends_and_reports_the_lost(subject: &Subject) {
    let journal = &*subject.journal;
    for n in 1..=4 {
        journal.create(execution(n, n)).await.unwrap();
    }
    let leases = journal.claim("a", TTL_MS, 4).await.unwrap();
    assert!(journal.renew("a", TTL_MS, &[]).await.unwrap().is_empty());
    (subject.expire_leases)();
    // Expired, but nobody came: extended.
    assert!(journal.renew("a", TTL_MS, &leases[..3]).await.unwrap().is_empty());
    let taken = claim_one(journal, "b").await;
    assert_eq!(taken.execution, leases[3].execution, "only the one that was not renewed is free");

    journal.append(&leases[1], 1, end()).await.unwrap();
    journal.release(&leases[2]).await.unwrap();
    let unknown = Lease { execution: execution_id(9), owner: "a".to_owned(), epoch: 1 };
    let held: Vec<Lease> = leases.iter().cloned().chain([unknown.clone()]).collect();
    let lost = journal.renew("a", TTL_MS, &held).await.unwrap();
    assert_eq!(
        lost,
        [leases[2].clone(), leases[3].clone(), unknown],
        "released, taken over, never there; one that it finished itself is no loss"
    );
    let stranger = journal.renew("b", TTL_MS, &leases[..1]).await.unwrap();
    assert_eq!(stranger, leases[..1], "nobody renews another's lease");
    assert!(journal.claim("c", TTL_MS, 1).await.unwrap().len() == 1, "the released one");
    assert!(journal.claim("c", TTL_MS, 1).await.unwrap().is_empty());
}

async fn a_released_lease_is_free_and_fenced(subject: &Subject) {
    let journal = &*subject.journal;
    journal.create(execution(1, 1)).await.unwrap();
    let first = claim_one(journal, "a").await;
    journal.release(&first).await.unwrap();
    assert_fenced(journal.append(&first, 1, records([1])).await);
    let second = claim_one(journal, "b").await;
    assert!(second.epoch > first.epoch);
    assert_fenced(journal.append(&first, 1, records([1])).await);
    assert_eq!(journal.append(&second, 1, records([1])).await.unwrap(), 2);
}

async fn releasing_a_lost_lease_takes_nothing(subject: &Subject) {
    let journal = &*subject.journal;
    journal.create(execution(1, 1)).await.unwrap();
    let old = claim_one(journal, "a").await;
    (subject.expire_leases)();
    let new = claim_one(journal, "b").await;
    journal.release(&old).await.unwrap();
    assert!(journal.claim("c", TTL_MS, 1).await.unwrap().is_empty());
    assert_eq!(journal.append(&new, 1, records([1])).await.unwrap(), 2);
}

async fn finishing_ends_the_claims(subject: &Subject) {
    let journal = &*subject.journal;
    journal.create(execution(1, 1)).await.unwrap();
    let lease = claim_one(journal, "a").await;
    assert_eq!(journal.append(&lease, 1, end()).await.unwrap(), 2);
    assert!(journal.load(&execution_id(1)).await.unwrap().finished);
    assert_fenced(journal.append(&lease, 2, records([1])).await);
    journal.release(&lease).await.unwrap();
    (subject.expire_leases)();
    assert!(journal.claim("b", TTL_MS, 9).await.unwrap().is_empty());
}

async fn signals_go_with_the_append_that_answers_them(subject: &Subject) {
    let journal = &*subject.journal;
    let (one, two) = (execution_id(1), execution_id(2));
    journal.create(execution(1, 1)).await.unwrap();
    journal.create(execution(2, 2)).await.unwrap();
    journal.send_signal(&one, "ann", Signal::Abort).await.unwrap();
    let retry = Signal::Retry { step: StepId::new("service.app") };
    journal.send_signal(&one, "bob", retry.clone()).await.unwrap();
    journal.send_signal(&two, "ann", Signal::Resume).await.unwrap();

    let queued = journal.signals(&one).await.unwrap();
    let sent: Vec<_> = queued.iter().map(|queued| (queued.who.as_str(), &queued.signal)).collect();
    assert_eq!(sent, [("ann", &Signal::Abort), ("bob", &retry)], "in the order of sending");
    let others = journal.signals(&two).await.unwrap()[0].id;

    let lease = claim_one(journal, "a").await;
    let batch = Batch { consumed_signals: vec![queued[0].id, others, 9999], ..records([1]) };
    journal.append(&lease, 1, batch).await.unwrap();
    assert_eq!(journal.signals(&one).await.unwrap(), queued[1..], "the answered one went, the other waits");
    assert_eq!(journal.signals(&two).await.unwrap().len(), 1, "another execution's signal is not its to answer");

    // An id is never given twice: a late answer to the old one must not remove a new one.
    let batch = Batch { consumed_signals: vec![queued[1].id], ..Batch::default() };
    journal.append(&lease, 2, batch).await.unwrap();
    journal.send_signal(&one, "cid", Signal::Abort).await.unwrap();
    let fresh = journal.signals(&one).await.unwrap();
    assert!(queued.iter().all(|old| old.id != fresh[0].id) && fresh[0].id != others);
}

async fn compaction_keeps_the_tail(subject: &Subject) {
    let journal = &*subject.journal;
    let id = execution_id(1);
    journal.create(execution(1, 1)).await.unwrap();
    journal.create(execution(2, 2)).await.unwrap();
    let lease = claim_one(journal, "a").await;
    journal.append(&lease, 1, records(1..=5)).await.unwrap();
    journal.compact(&lease, 4, serde_json::json!({ "folded": [1, null, "é"] })).await.unwrap();

    let stored = journal.load(&id).await.unwrap();
    assert_eq!((stored.version, stored.snapshot_version), (6, 4));
    assert_eq!(stored.snapshot, Some(serde_json::json!({ "folded": [1, null, "é"] })));
    assert_eq!(stored.records, [record(4), record(5)]);

    assert_eq!(journal.append(&lease, 6, records([6])).await.unwrap(), 7, "versions count the compacted ones");
    journal.compact(&lease, 7, serde_json::json!(7)).await.unwrap();
    let stored = journal.load(&id).await.unwrap();
    assert_eq!((stored.version, stored.snapshot_version, stored.records.len()), (7, 7, 0));
    assert_eq!(journal.list(None, false, 9).await.unwrap()[1].version, 7);
    assert_eq!(journal.load(&execution_id(2)).await.unwrap().records.len(), 1, "only its own");
}

async fn compaction_refuses_what_is_no_fold_of_it(subject: &Subject) {
    let journal = &*subject.journal;
    journal.create(execution(1, 1)).await.unwrap();
    let lease = claim_one(journal, "a").await;
    journal.append(&lease, 1, records(1..=3)).await.unwrap();
    let future = journal.compact(&lease, 5, serde_json::json!(0)).await;
    assert!(matches!(future, Err(JournalError::VersionConflict { expected: 5, found: 4 })), "{future:?}");
    journal.compact(&lease, 3, serde_json::json!(3)).await.unwrap();
    // What is there says at least as much, and the answer to the first may have been lost.
    journal.compact(&lease, 2, serde_json::json!(2)).await.unwrap();
    journal.compact(&lease, 3, serde_json::json!(3)).await.unwrap();
    let stored = journal.load(&execution_id(1)).await.unwrap();
    assert_eq!((stored.snapshot, stored.snapshot_version), (Some(serde_json::json!(3)), 3));
    assert_eq!(stored.records, [record(3)]);
}

async fn reads_after_a_cursor_in_commit_order(subject: &Subject) {
    let journal = &*subject.journal;
    journal.create(execution(2, 1)).await.unwrap();
    let two = claim_one(journal, "a").await;
    journal.create(execution(1, 1)).await.unwrap();
    let one = claim_one(journal, "a").await;
    journal.append(&one, 1, records([1])).await.unwrap();
    journal.append(&two, 1, records([2, 3])).await.unwrap();
    journal.append(&one, 2, records([4])).await.unwrap();

    let all = journal.read_after(0, 100).await.unwrap();
    let places: Vec<_> = all.iter().map(|entry| (entry.execution.clone(), entry.version)).collect();
    let (one_id, two_id) = (execution_id(1), execution_id(2));
    let expected = [(&two_id, 1), (&one_id, 1), (&one_id, 2), (&two_id, 2), (&two_id, 3), (&one_id, 3)]
        .map(|(id, v)| (id.clone(), v));
    assert_eq!(places, expected);
    assert!(all.is_sorted_by(|a, b| a.cursor < b.cursor), "cursors rise");
    assert_eq!(all[3].record, record(2));

    let page = journal.read_after(all[1].cursor, 2).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.cursor).collect::<Vec<_>>(), [all[2].cursor, all[3].cursor]);
    assert!(journal.read_after(all[5].cursor, 9).await.unwrap().is_empty());
    // Cursors that were read stay where they are, whatever is compacted.
    journal.compact(&one, 3, serde_json::json!(0)).await.unwrap();
    journal.append(&one, 3, records([5])).await.unwrap();
    let news = journal.read_after(all[5].cursor, 9).await.unwrap();
    assert_eq!(news.iter().map(|entry| (entry.execution.clone(), entry.version)).collect::<Vec<_>>(), [(one_id, 4)]);
}

async fn notices_are_written_once_by_id(subject: &Subject) {
    let (journal, store) = (&*subject.journal, &*subject.store);
    store.set_notification_targets(vec!["log".to_owned()]).await.unwrap();
    let mut new = execution(1, 1);
    new.notices = vec![notice(1)];
    journal.create(new).await.unwrap();
    let lease = claim_one(journal, "a").await;
    let batch = Batch { notices: vec![notice(2), notice(1), notice(2)], ..records([1]) };
    journal.append(&lease, 1, batch).await.unwrap();
    let told: Vec<_> = store.due_notices(at(1000), 9).await.unwrap().into_iter().map(|row| row.notice).collect();
    assert_eq!(told, [notice(1), notice(2)]);
    assert_fenced(
        journal.append(&Lease { epoch: 0, ..lease }, 2, Batch { notices: vec![notice(3)], ..records([2]) }).await,
    );
    assert_eq!(store.due_notices(at(1000), 9).await.unwrap().len(), 2, "what is refused tells nobody");
}

async fn lists_newest_first(subject: &Subject) {
    let journal = &*subject.journal;
    for (n, environment) in [(3, 1), (1, 2), (2, 1)] {
        journal.create(execution(n, environment)).await.unwrap();
    }
    let lease = claim_one(journal, "a").await;
    journal.append(&lease, 1, end()).await.unwrap();
    let ids = |summaries: Vec<landfall_ports::journal::ExecutionSummary>| {
        summaries.into_iter().map(|summary| summary.id).collect::<Vec<_>>()
    };
    let [one, two, three] = [1, 2, 3].map(execution_id);
    let first = environment_id(1);
    assert_eq!(ids(journal.list(None, false, 9).await.unwrap()), [two.clone(), one.clone(), three.clone()]);
    assert_eq!(ids(journal.list(None, false, 1).await.unwrap()), [two.clone()]);
    assert_eq!(ids(journal.list(Some(&first), false, 9).await.unwrap()), [two.clone(), three]);
    assert_eq!(ids(journal.list(Some(&first), true, 9).await.unwrap()), [two.clone()]);
    assert_eq!(ids(journal.list(None, true, 9).await.unwrap()), [two, one]);
    assert!(journal.list(Some(&environment_id(9)), false, 9).await.unwrap().is_empty());

    let oldest = journal.list(None, false, 9).await.unwrap().pop().unwrap();
    assert_eq!((oldest.kind.as_str(), oldest.title.as_str()), ("preview.create", "Create preview 3"));
    assert_eq!((oldest.created_at, oldest.version, oldest.finished), (at(0), 2, true));
    assert_eq!(oldest.environment, first);
}

async fn the_unknown_is_not_found(subject: &Subject) {
    let journal = &*subject.journal;
    let id = execution_id(1);
    let lease = Lease { execution: id.clone(), owner: "a".to_owned(), epoch: 1 };
    let not_found = |error: JournalError| matches!(error, JournalError::NotFound(found) if found == id);
    assert!(not_found(journal.load(&id).await.unwrap_err()));
    assert!(not_found(journal.signals(&id).await.unwrap_err()));
    assert!(not_found(journal.send_signal(&id, "me", Signal::Abort).await.unwrap_err()));
    assert!(not_found(journal.append(&lease, 1, records([1])).await.unwrap_err()));
    assert!(not_found(journal.compact(&lease, 1, serde_json::json!(0)).await.unwrap_err()));
    journal.release(&lease).await.unwrap();
    assert!(journal.claim("a", TTL_MS, 9).await.unwrap().is_empty());
}

async fn says_when_something_changed(subject: &Subject) {
    let journal = Arc::clone(&subject.journal);
    let (heard, mut wakes) = tokio::sync::mpsc::unbounded_channel();
    let follower = tokio::spawn(async move {
        let mut cursor = 0;
        loop {
            for entry in journal.read_after(cursor, 100).await.unwrap() {
                cursor = entry.cursor;
                if heard.send(entry.execution).is_err() {
                    return;
                }
            }
            journal.changed().await;
        }
    });
    for n in 1..=20 {
        subject.journal.create(execution(n, n)).await.unwrap();
        let woken = tokio::time::timeout(Duration::from_secs(20), wakes.recv()).await;
        assert_eq!(woken.expect("a change was slept through"), Some(execution_id(n)));
    }
    follower.abort();
}

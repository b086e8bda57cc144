//! Notices: told once by id, to every target, however their transaction was made.

use landfall_ports::journal::{Batch, JournalError};
use landfall_ports::store::{DeliveryOutcome, OutboxRow, Store, StoreError};

use super::Subject;
use super::fixtures::{at, claimed, delivery, environment, execution, notice, write};

const LATER: i64 = 1000;

async fn targets(store: &dyn Store, names: &[&str]) {
    store.set_notification_targets(names.iter().map(|name| (*name).to_owned()).collect()).await.unwrap();
}

/// Notice id and target of everything due, in order.
async fn due(store: &dyn Store) -> Vec<(String, String)> {
    pairs(store.due_notices(at(LATER), 100).await.unwrap())
}

fn pairs(rows: Vec<OutboxRow>) -> Vec<(String, String)> {
    rows.into_iter().map(|row| (row.notice.id, row.target)).collect()
}

fn pair(notice: &str, target: &str) -> (String, String) {
    (notice.to_owned(), target.to_owned())
}

pub(super) async fn a_notice_is_told_once_to_every_target(subject: &impl Subject) {
    let store = subject.store();
    targets(&*store, &["log", "slack"]).await;
    store.write_environments(vec![], vec![notice("n-1", 1)]).await.unwrap();
    // A replay after a crash: the same id, perhaps with another time.
    store.write_environments(vec![], vec![notice("n-1", 2), notice("n-2", 2)]).await.unwrap();
    let rows = store.due_notices(at(LATER), 100).await.unwrap();
    assert_eq!(rows[0].notice, notice("n-1", 1));
    assert!(rows.iter().all(|row| row.attempts == 0) && rows.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let (first, second) = (rows[0].seq, rows[1].seq);
    let all = [pair("n-1", "log"), pair("n-1", "slack"), pair("n-2", "log"), pair("n-2", "slack")];
    assert_eq!(pairs(rows), all);
    assert_eq!(pairs(store.due_notices(at(LATER), 3).await.unwrap()), all[..3]);

    store.notices_done(vec![first]).await.unwrap();
    store.notices_done(vec![first, second]).await.unwrap();
    assert_eq!(due(&*store).await, all[2..]);
    // Told already: once more by the same id tells nobody.
    store.write_environments(vec![], vec![notice("n-1", 3)]).await.unwrap();
    assert_eq!(due(&*store).await, all[2..]);
}

pub(super) async fn notices_of_all_transactions_are_fanned_out(subject: &impl Subject) {
    let (journal, store) = (subject.journal(), subject.store());
    targets(&*store, &["log"]).await;
    let mut new = execution("0", "env");
    new.notices = vec![notice("n-create", 1)];
    journal.create(new.clone()).await.unwrap();
    journal.create(new).await.unwrap();
    let lease = claimed(&*journal, "1").await;
    let batch = Batch { notices: vec![notice("n-append", 2)], ..Batch::default() };
    journal.append(&lease, 1, batch.clone()).await.unwrap();
    journal.append(&lease, 1, batch).await.unwrap();
    store.receive(delivery("d-1", 1)).await.unwrap();
    let seq = store.pending_deliveries(1).await.unwrap()[0].seq;
    let ignored = DeliveryOutcome::Ignored { why: "a tag".to_owned() };
    store.finish_delivery(seq, ignored, vec![], vec![notice("n-delivery", 3)]).await.unwrap();
    store.write_environments(vec![write(0, environment("a"))], vec![notice("n-write", 4)]).await.unwrap();
    let expected = ["n-create", "n-append", "n-delivery", "n-write"].map(|id| pair(id, "log"));
    assert_eq!(due(&*store).await, expected);
}

pub(super) async fn a_failed_notice_comes_back_when_due(subject: &impl Subject) {
    let store = subject.store();
    targets(&*store, &["slack"]).await;
    store.write_environments(vec![], vec![notice("n-1", 1), notice("n-2", 1)]).await.unwrap();
    let rows = store.due_notices(at(5), 10).await.unwrap();
    let (first, second) = (rows[0].seq, rows[1].seq);

    store.notice_failed(first, "503 Service Unavailable".to_owned(), Some(at(60))).await.unwrap();
    assert_eq!(pairs(store.due_notices(at(59), 10).await.unwrap()), [pair("n-2", "slack")]);
    let rows = store.due_notices(at(60), 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.seq, row.attempts)).collect::<Vec<_>>(), [(first, 1), (second, 0)]);

    store.notice_failed(first, "503 Service Unavailable".to_owned(), Some(at(70))).await.unwrap();
    assert_eq!(store.due_notices(at(70), 10).await.unwrap()[0].attempts, 2);
    // Given up: not due, however late it is.
    store.notice_failed(first, "410 Gone".to_owned(), None).await.unwrap();
    assert_eq!(due(&*store).await, [pair("n-2", "slack")]);
}

pub(super) async fn what_is_over_stays_over(subject: &impl Subject) {
    let store = subject.store();
    targets(&*store, &["log", "log"]).await;
    store.write_environments(vec![], vec![notice("n-1", 1), notice("n-2", 1)]).await.unwrap();
    let rows = store.due_notices(at(LATER), 10).await.unwrap();
    assert_eq!(rows.len(), 2, "a target named twice is one");
    store.notices_done(vec![rows[0].seq]).await.unwrap();
    store.notice_failed(rows[1].seq, "410 Gone".to_owned(), None).await.unwrap();
    for seq in [rows[0].seq, rows[1].seq, 4000] {
        store.notice_failed(seq, "a late answer".to_owned(), Some(at(0))).await.unwrap();
    }
    assert!(due(&*store).await.is_empty());
}

pub(super) async fn notices_before_any_targets_are_not_lost(subject: &impl Subject) {
    let store = subject.store();
    store.write_environments(vec![], vec![notice("n-1", 1)]).await.unwrap();
    assert!(due(&*store).await.is_empty());
    targets(&*store, &["log", "slack"]).await;
    assert_eq!(due(&*store).await, [pair("n-1", "log"), pair("n-1", "slack")]);
    targets(&*store, &["log", "slack"]).await;
    assert_eq!(due(&*store).await.len(), 2, "said again, nothing changes");
}

pub(super) async fn targets_may_change(subject: &impl Subject) {
    let store = subject.store();
    targets(&*store, &["old", "log"]).await;
    store.write_environments(vec![], vec![notice("n-1", 1)]).await.unwrap();
    // Nobody can deliver to a target that is gone; a new one hears of what comes after it.
    targets(&*store, &["log", "new"]).await;
    store.write_environments(vec![], vec![notice("n-2", 2)]).await.unwrap();
    assert_eq!(due(&*store).await, [pair("n-1", "log"), pair("n-2", "log"), pair("n-2", "new")]);
    targets(&*store, &[]).await;
    store.write_environments(vec![], vec![notice("n-3", 3)]).await.unwrap();
    targets(&*store, &["log"]).await;
    assert!(due(&*store).await.is_empty(), "nobody was to be told of n-3");
}

pub(super) async fn a_refused_transaction_tells_nobody(subject: &impl Subject) {
    let (journal, store) = (subject.journal(), subject.store());
    targets(&*store, &["log"]).await;
    let lease = claimed(&*journal, "1").await;
    let batch = Batch { notices: vec![notice("n-1", 1)], ..Batch::default() };
    assert!(matches!(journal.append(&lease, 9, batch).await, Err(JournalError::VersionConflict { .. })));
    let stale = store.write_environments(vec![write(3, environment("a"))], vec![notice("n-2", 1)]).await;
    assert!(matches!(stale, Err(StoreError::Conflict(_))));
    assert!(due(&*store).await.is_empty());
}

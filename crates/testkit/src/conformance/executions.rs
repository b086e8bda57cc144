//! Creating, appending, loading, signals, compaction, following.

use std::sync::Arc;
use std::time::Duration;

use landfall_model::ids::{EnvironmentId, ExecutionId, StepId};
use landfall_ports::journal::{Batch, Created, JournalError, Lease};
use landfall_workflow::event::{Event, Signal};
use serde_json::json;

use super::Subject;
use super::fixtures::{TTL_MS, batch, claimed, execution, record, step_done};

pub(super) async fn create_is_idempotent_by_key(subject: &impl Subject) {
    let journal = subject.journal();
    let first = execution("1", "env");
    assert_eq!(journal.create(first.clone()).await.unwrap(), Created::New);
    assert_eq!(journal.create(first.clone()).await.unwrap(), Created::Existing(first.id.clone()));
    // The same request under an id drawn anew, as a retry after a crash makes it.
    let mut again = execution("2", "env");
    again.dedup_key.clone_from(&first.dedup_key);
    assert_eq!(journal.create(again.clone()).await.unwrap(), Created::Existing(first.id.clone()));
    assert!(matches!(journal.load(&again.id).await, Err(JournalError::NotFound(id)) if id == again.id));
    assert_eq!(journal.list(None, false, 10).await.unwrap().len(), 1);
    assert_eq!(journal.load(&first.id).await.unwrap().records, first.records);
}

pub(super) async fn an_id_belongs_to_one_request(subject: &impl Subject) {
    let journal = subject.journal();
    let first = execution("1", "env");
    journal.create(first.clone()).await.unwrap();
    let mut taken = execution("1", "elsewhere");
    taken.dedup_key = "another".to_owned();
    assert!(matches!(journal.create(taken).await, Err(JournalError::Corrupt(_))));
    assert_eq!(journal.load(&first.id).await.unwrap().environment, first.environment);
}

pub(super) async fn what_is_written_is_read(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    let new = execution("1", "env");
    let more = vec![step_done(1, "target-group"), step_done(2, "service")];
    assert_eq!(journal.append(&lease, 1, batch(more.clone())).await.unwrap(), 3);
    let stored = journal.load(&lease.execution).await.unwrap();
    assert_eq!(stored.id, new.id);
    assert_eq!(stored.environment, new.environment);
    assert_eq!(stored.plan, new.plan, "plan bytes are kept verbatim");
    assert_eq!(stored.records, [new.records, more].concat());
    assert_eq!((stored.version, stored.snapshot_version, stored.finished), (3, 0, false));
    assert_eq!(stored.snapshot, None);
}

pub(super) async fn an_append_expects_a_version(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    for wrong in [0, 2] {
        match journal.append(&lease, wrong, batch(vec![step_done(1, "a")])).await {
            Err(JournalError::VersionConflict { expected, found }) => assert_eq!((expected, found), (wrong, 1)),
            other => panic!("version {wrong} must conflict, not give {other:?}"),
        }
    }
    assert_eq!(journal.load(&lease.execution).await.unwrap().version, 1);
}

pub(super) async fn an_unknown_execution_is_not_found(subject: &impl Subject) {
    let journal = subject.journal();
    let nobody = ExecutionId::new("exe_nobody");
    let lease = Lease { execution: nobody.clone(), owner: "engine-1".to_owned(), epoch: 1 };
    assert!(matches!(journal.load(&nobody).await, Err(JournalError::NotFound(_))));
    assert!(matches!(journal.append(&lease, 0, Batch::default()).await, Err(JournalError::NotFound(_))));
    assert!(matches!(journal.send_signal(&nobody, "root", Signal::Abort).await, Err(JournalError::NotFound(_))));
    assert!(matches!(journal.signals(&nobody).await, Err(JournalError::NotFound(_))));
    assert!(matches!(journal.compact(&lease, 0, json!({})).await, Err(JournalError::NotFound(_))));
    // Releasing what is not held is no error: the purpose is met.
    journal.release(&lease).await.unwrap();
    assert_eq!(journal.renew("engine-1", TTL_MS, std::slice::from_ref(&lease)).await.unwrap(), [lease]);
}

pub(super) async fn an_append_is_all_or_nothing(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    journal.send_signal(&lease.execution, "root", Signal::Abort).await.unwrap();
    let signal = journal.signals(&lease.execution).await.unwrap().remove(0);
    let refused = Batch {
        records: vec![step_done(1, "a"), step_done(2, "b")],
        notices: vec![super::fixtures::notice("n-1", 1)],
        consumed_signals: vec![signal.id],
        finished: true,
    };
    assert!(matches!(
        journal.append(&lease, 7, refused.clone()).await,
        Err(JournalError::VersionConflict { expected: 7, found: 1 })
    ));
    let stored = journal.load(&lease.execution).await.unwrap();
    assert_eq!((stored.version, stored.records.len(), stored.finished), (1, 1, false));
    assert_eq!(journal.signals(&lease.execution).await.unwrap(), [signal]);
    assert_eq!(journal.append(&lease, 1, refused).await.unwrap(), 3);
    assert!(journal.load(&lease.execution).await.unwrap().finished);
    assert!(journal.signals(&lease.execution).await.unwrap().is_empty());
}

pub(super) async fn an_empty_append_checks_the_lease_and_the_version(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    assert_eq!(journal.append(&lease, 1, Batch::default()).await.unwrap(), 1);
    assert!(matches!(
        journal.append(&lease, 2, Batch::default()).await,
        Err(JournalError::VersionConflict { expected: 2, found: 1 })
    ));
    let stale = Lease { epoch: lease.epoch - 1, ..lease.clone() };
    assert!(matches!(journal.append(&stale, 1, Batch::default()).await, Err(JournalError::Fenced { .. })));
}

pub(super) async fn signals_are_consumed_with_the_records_that_answer_them(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    let other = claimed(&*journal, "2").await;
    let retry = Signal::Retry { step: StepId::new("service") };
    journal.send_signal(&lease.execution, "root", retry.clone()).await.unwrap();
    journal.send_signal(&other.execution, "root", Signal::Abort).await.unwrap();
    journal.send_signal(&lease.execution, "octocat", Signal::Abort).await.unwrap();

    let queued = journal.signals(&lease.execution).await.unwrap();
    let seen: Vec<_> = queued.iter().map(|q| (q.who.as_str(), q.signal.clone())).collect();
    assert_eq!(seen, [("root", retry.clone()), ("octocat", Signal::Abort)]);

    let answer = record(1, Event::SignalReceived { who: "root".to_owned(), signal: retry });
    let answered = Batch { records: vec![answer], consumed_signals: vec![queued[0].id], ..Batch::default() };
    journal.append(&lease, 1, answered).await.unwrap();
    assert_eq!(journal.signals(&lease.execution).await.unwrap(), queued[1..]);
    assert_eq!(journal.signals(&other.execution).await.unwrap().len(), 1, "another execution's signal stays");

    let answered = Batch { consumed_signals: vec![queued[1].id], ..Batch::default() };
    journal.append(&lease, 2, answered).await.unwrap();
    journal.send_signal(&lease.execution, "root", Signal::Resume).await.unwrap();
    let next = journal.signals(&lease.execution).await.unwrap();
    assert!(next[0].id > queued[1].id, "an id is never given twice");
}

pub(super) async fn compaction_keeps_the_tail(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    let records: Vec<_> = (1..=4).map(|n| step_done(n, "poll")).collect();
    assert_eq!(journal.append(&lease, 1, batch(records.clone())).await.unwrap(), 5);

    let snapshot = json!({ "folded": 3 });
    journal.compact(&lease, 3, snapshot.clone()).await.unwrap();
    let stored = journal.load(&lease.execution).await.unwrap();
    assert_eq!((stored.snapshot, stored.snapshot_version), (Some(snapshot), 3));
    assert_eq!((stored.records, stored.version), (records[2..].to_vec(), 5));

    // Versions go on where they were, and history can be compacted again, to its very end.
    assert_eq!(journal.append(&lease, 5, batch(vec![step_done(6, "poll")])).await.unwrap(), 6);
    journal.compact(&lease, 6, json!({ "folded": 6 })).await.unwrap();
    let stored = journal.load(&lease.execution).await.unwrap();
    assert_eq!((stored.records.len(), stored.snapshot_version, stored.version), (0, 6, 6));
    assert_eq!(stored.plan, execution("1", "env").plan);
    assert_eq!(journal.append(&lease, 6, batch(vec![step_done(7, "poll")])).await.unwrap(), 7);
    assert_eq!(journal.load(&lease.execution).await.unwrap().records, [step_done(7, "poll")]);
    assert_eq!(journal.list(None, false, 1).await.unwrap()[0].version, 7);
}

pub(super) async fn compaction_checks_what_it_is_given(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    journal.append(&lease, 1, batch(vec![step_done(1, "a")])).await.unwrap();
    let stale = Lease { epoch: lease.epoch - 1, ..lease.clone() };
    assert!(matches!(journal.compact(&stale, 2, json!({})).await, Err(JournalError::Fenced { .. })));
    assert!(matches!(
        journal.compact(&lease, 3, json!({})).await,
        Err(JournalError::VersionConflict { expected: 3, found: 2 })
    ));
    assert_eq!(journal.load(&lease.execution).await.unwrap().records.len(), 2);
    // A snapshot that says less than the one in place changes nothing.
    journal.compact(&lease, 2, json!({ "folded": 2 })).await.unwrap();
    journal.compact(&lease, 1, json!({ "folded": 1 })).await.unwrap();
    let stored = journal.load(&lease.execution).await.unwrap();
    assert_eq!((stored.snapshot, stored.snapshot_version), (Some(json!({ "folded": 2 })), 2));
}

pub(super) async fn followers_read_in_commit_order(subject: &impl Subject) {
    let journal = subject.journal();
    let one = claimed(&*journal, "1").await;
    let two = claimed(&*journal, "2").await;
    journal.append(&two, 1, batch(vec![step_done(1, "a"), step_done(2, "b")])).await.unwrap();
    journal.append(&one, 1, batch(vec![step_done(3, "c")])).await.unwrap();

    let all = journal.read_after(0, 100).await.unwrap();
    let places: Vec<_> = all.iter().map(|entry| (entry.execution.as_str(), entry.version)).collect();
    assert_eq!(places, [("exe_1", 1), ("exe_2", 1), ("exe_2", 2), ("exe_2", 3), ("exe_1", 2)]);
    assert!(all.windows(2).all(|pair| pair[0].cursor < pair[1].cursor));
    assert_eq!(all[3].record, step_done(2, "b"));

    // Page by page it is the same.
    let (mut cursor, mut paged) = (0, Vec::new());
    loop {
        let page = journal.read_after(cursor, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        cursor = last.cursor;
        paged.extend(page.iter().map(|entry| entry.cursor));
    }
    assert_eq!(paged, all.iter().map(|entry| entry.cursor).collect::<Vec<_>>());

    // Cursors are never given again, not even when the newest record was compacted away.
    journal.compact(&one, 2, json!({})).await.unwrap();
    journal.append(&two, 3, batch(vec![step_done(4, "d")])).await.unwrap();
    let news = journal.read_after(cursor, 100).await.unwrap();
    assert_eq!(news.len(), 1);
    assert_eq!((news[0].execution.as_str(), news[0].version), ("exe_2", 4));
}

pub(super) async fn listing_is_newest_first(subject: &impl Subject) {
    let journal = subject.journal();
    for (name, environment) in [("1", "a"), ("2", "b"), ("3", "a")] {
        journal.create(execution(name, environment)).await.unwrap();
    }
    let leases = journal.claim("engine-1", TTL_MS, 100).await.unwrap();
    journal.append(&leases[2], 1, super::fixtures::last(vec![super::fixtures::finished(1)])).await.unwrap();

    let ids = async |environment: Option<&str>, unfinished: bool, limit: u32| {
        let environment = environment.map(EnvironmentId::new);
        let listed = journal.list(environment.as_ref(), unfinished, limit).await.unwrap();
        listed.into_iter().map(|summary| summary.id.0).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, false, 10).await, ["exe_3", "exe_2", "exe_1"]);
    assert_eq!(ids(None, false, 2).await, ["exe_3", "exe_2"]);
    assert_eq!(ids(None, true, 10).await, ["exe_2", "exe_1"]);
    assert_eq!(ids(Some("a"), false, 10).await, ["exe_3", "exe_1"]);
    assert_eq!(ids(Some("a"), true, 10).await, ["exe_1"]);
    assert!(ids(Some("nowhere"), false, 10).await.is_empty());

    let newest = journal.list(None, false, 1).await.unwrap().remove(0);
    assert_eq!(newest.environment.as_str(), "a");
    assert_eq!((newest.kind.as_str(), newest.title.as_str()), ("preview.create", "Create preview a"));
    assert_eq!(newest.created_at, super::fixtures::at(0));
    assert_eq!((newest.version, newest.finished), (2, true));
}

pub(super) async fn records_of_a_newer_version_are_kept(subject: &impl Subject) {
    let journal = subject.journal();
    let lease = claimed(&*journal, "1").await;
    journal.append(&lease, 1, batch(vec![record(1, Event::Unknown), step_done(2, "a")])).await.unwrap();
    let stored = journal.load(&lease.execution).await.unwrap();
    assert_eq!(stored.records[1].event, Event::Unknown);
    assert_eq!(stored.records[2], step_done(2, "a"));
}

pub(super) async fn racing_creates_of_one_key_make_one(subject: &impl Subject) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let journal = subject.journal();
        let mut new = execution(&n.to_string(), "env");
        new.dedup_key = "one and the same".to_owned();
        tasks.spawn(async move { (new.id.clone(), journal.create(new).await.unwrap()) });
    }
    let results = tasks.join_all().await;
    let winners: Vec<_> = results.iter().filter(|(_, created)| *created == Created::New).map(|(id, _)| id).collect();
    assert_eq!(winners.len(), 1);
    for (_, created) in results.iter().filter(|(id, _)| id != winners[0]) {
        assert_eq!(*created, Created::Existing(winners[0].clone()));
    }
}

pub(super) async fn racing_appends_have_one_winner(subject: &impl Subject) {
    let lease = claimed(&*subject.journal(), "1").await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let (journal, lease) = (subject.journal(), lease.clone());
        tasks.spawn(async move { journal.append(&lease, 1, batch(vec![step_done(n, "a"), step_done(n, "b")])).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| matches!(result, Ok(3))).count(), 1);
    let conflict = |result: &&Result<u64, JournalError>| {
        matches!(result, Err(JournalError::VersionConflict { expected: 1, found: 3 }))
    };
    assert_eq!(results.iter().filter(conflict).count(), 15);
    let stored = subject.journal().load(&lease.execution).await.unwrap();
    assert_eq!((stored.version, stored.records.len()), (3, 3));
    assert_eq!(stored.records[1].at, stored.records[2].at, "both are the winner's");
}

pub(super) async fn followers_are_woken(subject: &impl Subject) {
    let journal = subject.journal();
    let (seen, mut news) = tokio::sync::mpsc::unbounded_channel();
    let follower = Arc::clone(&journal);
    let task = tokio::spawn(async move {
        let mut cursor = 0;
        loop {
            for entry in follower.read_after(cursor, 100).await.unwrap() {
                cursor = entry.cursor;
                seen.send((entry.execution, entry.version)).unwrap();
            }
            follower.changed().await;
        }
    });
    let mut next = async || tokio::time::timeout(Duration::from_secs(60), news.recv()).await.unwrap().unwrap();
    let lease = claimed(&*journal, "1").await;
    assert_eq!(next().await, (lease.execution.clone(), 1));
    for version in 1..=20 {
        journal.append(&lease, version, batch(vec![step_done(1, "a")])).await.unwrap();
        assert_eq!(next().await, (lease.execution.clone(), version + 1));
    }
    task.abort();
}

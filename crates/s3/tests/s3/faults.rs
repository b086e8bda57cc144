//! Answers that get lost, requests that arrive late, a runner that dies between two objects.

use std::time::Duration;

use landfall_awsfake::s3::{S3, S3Fault, S3FaultKind};
use landfall_model::ids::EnvironmentId;
use landfall_ports::journal::{Batch, Created, Journal, JournalError};
use landfall_ports::store::{DeliveryOutcome, Received, Store, StoreError};
use landfall_testkit::conformance::fixtures::{
    TTL_MS, at, batch, claimed, delivery, environment, execution, finished, last, notice, step_done, write,
};
use landfall_workflow::event::Signal;

use crate::support::{BUCKET, fake, next_put, prefix, store};

const KINDS: [S3FaultKind; 6] = [
    S3FaultKind::AnswerLost,
    S3FaultKind::FailsAfter,
    S3FaultKind::Late(150),
    S3FaultKind::Fails,
    S3FaultKind::SlowDown,
    S3FaultKind::Collides,
];

/// Whatever became of the first attempt: every change happens once, and its caller hears the truth.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_an_answer_happens_once() {
    let s3 = fake().await;
    for kind in KINDS {
        let s3_store = store(&s3, &prefix()).await;
        next_put(&s3, "executions/", kind);
        assert_eq!(s3_store.create(execution("1", "env")).await.unwrap(), Created::New, "{kind:?}");
        next_put(&s3, "contents.json", kind);
        assert_eq!(s3_store.create(execution("2", "env")).await.unwrap(), Created::New, "{kind:?}");
        assert_eq!(s3_store.list(None, false, 10).await.unwrap().len(), 2);

        next_put(&s3, "executions/", kind);
        let lease = s3_store.claim("engine-1", TTL_MS, 1).await.unwrap().remove(0);
        assert_eq!(lease.epoch, 1, "{kind:?}");
        next_put(&s3, "executions/", kind);
        assert_eq!(s3_store.append(&lease, 1, batch(vec![step_done(1, "a")])).await.unwrap(), 2, "{kind:?}");
        next_put(&s3, "executions/", kind);
        s3_store.send_signal(&lease.execution, "root", Signal::Abort).await.unwrap();
        assert_eq!(s3_store.signals(&lease.execution).await.unwrap().len(), 1, "{kind:?}");

        next_put(&s3, "contents.json", kind);
        assert_eq!(s3_store.receive(delivery("d-1", 1)).await.unwrap(), Received::New, "{kind:?}");
        next_put(&s3, "contents.json", kind);
        assert!(s3_store.meta_swap("lock", None, "mine").await.unwrap(), "{kind:?}");
        let seq = s3_store.pending_deliveries(1).await.unwrap()[0].seq;
        next_put(&s3, "contents.json", kind);
        let outcome = DeliveryOutcome::Applied { what: "created".to_owned() };
        s3_store.finish_delivery(seq, outcome, vec![write(0, environment("a"))], vec![]).await.unwrap();

        // Requests that come late must not undo any of it.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let other = store(&s3, &s3_store.address().prefix.clone()).await;
        assert_eq!(other.load(&lease.execution).await.unwrap().records.len(), 2, "{kind:?}");
        assert_eq!(other.signals(&lease.execution).await.unwrap().len(), 1, "{kind:?}");
        assert_eq!(other.environment(&EnvironmentId::new("a")).await.unwrap().unwrap().revision, 1);
        assert_eq!(other.deliveries(10).await.unwrap().len(), 1);
    }
}

/// A former holder whose append is on its way for long: the take-over has written the object since, so it arrives at nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_arrives_after_the_take_over_is_refused_by_s3() {
    let s3 = fake().await;
    let (old, new) = (store(&s3, "late").await, store(&s3, "late").await);
    let lease = claimed(&old, "1").await;
    next_put(&s3, "executions/", S3FaultKind::Late(400));
    let late = {
        let (old, lease) = (old.clone(), lease.clone());
        tokio::spawn(async move { old.append(&lease, 1, batch(vec![step_done(1, "old")])).await })
    };
    tokio::time::timeout(Duration::from_secs(10), async {
        while s3.struck() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    s3.advance(TTL_MS + 10_000);
    let taken = new.claim("engine-2", TTL_MS, 1).await.unwrap();
    let answer = late.await.unwrap();
    match (taken.first(), answer) {
        // The sender asked again before the take-over: then the record is the old holder's, and counts.
        (Some(taken), Ok(2)) => assert_eq!(taken.epoch, 2),
        (Some(taken), Err(JournalError::Fenced { held: 1, current: 2 })) => {
            assert_eq!(new.append(taken, 1, batch(vec![step_done(1, "new")])).await.unwrap(), 2);
        }
        other => panic!("{other:?}"),
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(new.load(&lease.execution).await.unwrap().records.len(), 2);
}

fn table_cannot_be_written(s3: &S3) {
    let kind = S3FaultKind::Fails;
    s3.fault(S3Fault { method: "PUT", contains: "contents.json", percent: 100, times: None, kind });
}

/// The commit is the execution's object; the rest is done by the next one who looks for work.
#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_dies_between_the_two_objects_leaves_work_that_others_finish() {
    let s3 = fake().await;
    let (dying, other) = (store(&s3, "dies").await, store(&s3, "dies").await);
    other.set_notification_targets(vec!["log".to_owned()]).await.unwrap();
    let lease = claimed(&dying, "1").await;
    table_cannot_be_written(&s3);
    let end = Batch { notices: vec![notice("n-1", 1)], ..last(vec![finished(1)]) };
    assert_eq!(dying.append(&lease, 1, end).await.unwrap(), 2);
    drop(dying);
    s3.clear_faults();

    assert!(other.due_notices(at(9), 10).await.unwrap().is_empty());
    assert!(other.claim("engine-2", TTL_MS, 10).await.unwrap().is_empty());
    assert_eq!(other.due_notices(at(9), 10).await.unwrap()[0].notice.id, "n-1");
    assert!(other.list(None, true, 10).await.unwrap().is_empty());
    assert_eq!(other.list(None, false, 10).await.unwrap()[0].version, 2);
    // Once.
    assert!(other.claim("engine-2", TTL_MS, 10).await.unwrap().is_empty());
    assert_eq!(other.due_notices(at(9), 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_was_cut_off_leaves_nothing_that_anybody_sees() {
    let s3 = fake().await;
    let cut = store(&s3, "cut").await;
    table_cannot_be_written(&s3);
    let create = tokio::spawn(async move { cut.create(execution("1", "env")).await });
    let object = async {
        while !s3.keys(BUCKET).iter().any(|key| key.starts_with("cut/executions/exe_1.")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), object).await.unwrap();
    create.abort();
    assert!(create.await.unwrap_err().is_cancelled());
    // What it had sent already arrives.
    tokio::time::sleep(Duration::from_millis(300)).await;
    s3.clear_faults();
    let other = store(&s3, "cut").await;
    let id = execution("1", "env").id;
    assert!(matches!(other.load(&id).await, Err(JournalError::NotFound(_))));
    assert!(other.claim("engine-1", TTL_MS, 10).await.unwrap().is_empty());
    assert_eq!(other.create(execution("1", "env")).await.unwrap(), Created::New);
    assert_eq!(other.list(None, false, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_s3_is_down_nothing_is_written_and_it_is_said() {
    let s3 = fake().await;
    let down = store(&s3, "down").await;
    for method in ["GET", "PUT"] {
        s3.fault(S3Fault { method, contains: "", percent: 100, times: None, kind: S3FaultKind::SlowDown });
    }
    let error = down.meta_get("instance").await.unwrap_err();
    let StoreError::Unavailable(text) = &error else { panic!("{error}") };
    assert!(text.contains("s3:GetObject on s3://acme-state/down/contents.json: SlowDown"), "{text}");
}

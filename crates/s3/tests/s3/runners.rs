//! Several machines with nothing in common but the bucket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use landfall_ports::journal::{Batch, Journal, JournalError, Lease, Version};
use landfall_ports::store::Store;
use landfall_s3::{LATE, S3Store};
use landfall_testkit::conformance::fixtures::{
    at, batch, claimed, delivery, execution, finished, last, notice, step_done,
};
use landfall_workflow::event::{Event, Record, Signal};
use tokio::sync::Mutex;

use crate::support::{fake, one_in_ten_goes_wrong, store};

const TTL_MS: u64 = 30_000;

/// What a driver does with an append that was not answered: again, and look whether it was its own.
async fn append(runner: &S3Store, lease: &Lease, expect: Version, records: &[Record]) -> Result<Version, JournalError> {
    loop {
        match runner.append(lease, expect, batch(records.to_vec())).await {
            Err(JournalError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(JournalError::VersionConflict { found, .. }) if found == expect + records.len() as u64 => {
                let stored = runner.load(&lease.execution).await?;
                assert!(stored.records.ends_with(records), "two holders of one lease");
                return Ok(found);
            }
            answer => return answer,
        }
    }
}

fn name(record: &Record) -> Option<String> {
    match &record.event {
        Event::StepSucceeded { step, .. } => Some(step.to_string()),
        _ => None,
    }
}

/// Six machines, eight executions, faults; leases are left to run out in the middle of the work, while their former holders go
/// on writing as if they had not noticed. Every record that was acknowledged is there once, in the order of its execution.
#[tokio::test(flavor = "multi_thread")]
async fn many_runners_lose_no_record_and_write_none_twice() {
    const EXECUTIONS: usize = 8;
    const RECORDS: u64 = 25;
    let s3 = fake().await;
    let first = store(&s3, "many").await;
    for n in 0..EXECUTIONS {
        first.create(execution(&n.to_string(), "env")).await.unwrap();
    }
    one_in_ten_goes_wrong(&s3);
    let acknowledged: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
    let done = Arc::new(AtomicBool::new(false));
    let mut runners = tokio::task::JoinSet::new();
    for runner in 0..6 {
        let (s3, acknowledged, done) = (s3.clone(), acknowledged.clone(), done.clone());
        runners.spawn(async move {
            let machine = store(&s3, "many").await;
            let owner = format!("runner-{runner}");
            let (mut turn, mut fenced) = (0u64, 0u64);
            while !done.load(Ordering::SeqCst) {
                for lease in machine.claim(&owner, TTL_MS, 2).await.unwrap_or_default() {
                    let Ok(stored) = machine.load(&lease.execution).await else { continue };
                    let mut version = stored.version;
                    for step in 0..4 {
                        turn += 1;
                        let record = step_done(1, &format!("{owner}.{turn}"));
                        match append(&machine, &lease, version, std::slice::from_ref(&record)).await {
                            Ok(now) => version = now,
                            Err(JournalError::Fenced { .. }) => {
                                fenced += 1;
                                break;
                            }
                            Err(error) => panic!("{error}"),
                        }
                        let mut seen = acknowledged.lock().await;
                        seen.entry(lease.execution.to_string()).or_default().push(format!("{owner}.{turn}"));
                        drop(seen);
                        // A third of the holders lose their machine for so long that others take over.
                        if step == 1 && turn.is_multiple_of(3) {
                            s3.advance(TTL_MS + 10_000);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    if version > RECORDS {
                        let _ = machine.append(&lease, version, last(vec![finished(9)])).await;
                    }
                    let _ = machine.release(&lease).await;
                }
            }
            fenced
        });
    }
    let over = async {
        loop {
            let unfinished = first.list(None, true, 100).await;
            if unfinished.is_ok_and(|list| list.is_empty()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(180), over).await.expect("all executions come to their end");
    done.store(true, Ordering::SeqCst);
    let fenced: u64 = runners.join_all().await.into_iter().sum();
    let struck = s3.struck();
    assert!(struck > 0);
    s3.clear_faults();

    let acknowledged = acknowledged.lock().await;
    let judge = store(&s3, "many").await;
    for n in 0..EXECUTIONS {
        let stored = judge.load(&execution(&n.to_string(), "env").id).await.unwrap();
        let written: Vec<String> = stored.records.iter().filter_map(name).collect();
        let told = &acknowledged[stored.id.as_str()];
        for name in told {
            assert_eq!(written.iter().filter(|other| *other == name).count(), 1, "{name} of {}", stored.id);
        }
        // Nothing else but what a fenced holder was not told of.
        assert!(written.len() >= told.len() && stored.finished);
        let mut once = written.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), written.len(), "written twice in {}", stored.id);
    }
    eprintln!("{} records, {fenced} holders fenced, {} faults", acknowledged.values().flatten().count(), struck);
}

/// Small values are the locks of environments: only one of many gets one, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_swap_one_value_each_counts_once() {
    let s3 = fake().await;
    let mut runners = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let runner = store(&s3, "swap").await;
        runners.spawn(async move {
            for _ in 0..10 {
                loop {
                    let now = runner.meta_get("count").await.unwrap();
                    let next = now.as_deref().map_or(0, |text| text.parse::<u32>().unwrap()) + 1;
                    if runner.meta_swap("count", now.as_deref(), &next.to_string()).await.unwrap() {
                        break;
                    }
                }
            }
        });
    }
    runners.join_all().await;
    let judge = store(&s3, "swap").await;
    assert_eq!(judge.meta_get("count").await.unwrap().as_deref(), Some("50"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_machine_held_is_taken_over_after_its_lease_and_not_before() {
    // So long that the time that this test takes is nothing.
    const TTL_MS: u64 = 3_600_000;
    const SOME: u64 = 300_000;
    let s3 = fake().await;
    let (dead, other) = (store(&s3, "dead").await, store(&s3, "dead").await);
    let new = execution("1", "env");
    dead.create(new.clone()).await.unwrap();
    let old = dead.claim("engine-1", TTL_MS, 1).await.unwrap().remove(0);
    dead.append(&old, 1, batch(vec![step_done(1, "a")])).await.unwrap();

    s3.advance(TTL_MS - SOME);
    assert!(other.claim("engine-2", TTL_MS, 1).await.unwrap().is_empty());
    // Renewed by its holder in time, it holds on.
    assert!(dead.renew("engine-1", TTL_MS, std::slice::from_ref(&old)).await.unwrap().is_empty());
    s3.advance(TTL_MS - SOME);
    assert!(other.claim("engine-2", TTL_MS, 1).await.unwrap().is_empty());

    s3.advance(SOME + u64::try_from(LATE.as_millis()).unwrap());
    let lease = other.claim("engine-2", TTL_MS, 1).await.unwrap().remove(0);
    assert_eq!(lease.epoch, 2);
    assert!(matches!(dead.append(&old, 2, Batch::default()).await, Err(JournalError::Fenced { held: 1, current: 2 })));
    assert_eq!(dead.renew("engine-1", TTL_MS, std::slice::from_ref(&old)).await.unwrap(), [old]);
    assert_eq!(other.load(&new.id).await.unwrap().version, 2);
    assert_eq!(other.append(&lease, 2, last(vec![finished(2)])).await.unwrap(), 3);
}

/// `landfall wait` from elsewhere: it sees records, signals reach the driver, and the end is the end.
#[tokio::test(flavor = "multi_thread")]
async fn another_machine_follows_and_is_heard() {
    let s3 = fake().await;
    let (driver, watcher) = (store(&s3, "watch").await, store(&s3, "watch").await);
    let lease = claimed(&driver, "1").await;
    driver.append(&lease, 1, batch(vec![step_done(1, "a")])).await.unwrap();
    assert_eq!(watcher.load(&lease.execution).await.unwrap().version, 2);
    watcher.send_signal(&lease.execution, "octocat", Signal::Abort).await.unwrap();
    let queued = driver.signals(&lease.execution).await.unwrap();
    assert_eq!(queued[0].who, "octocat");
    // The signal changed the object under the driver's copy: its append is not disturbed.
    let answer = Batch { consumed_signals: vec![queued[0].id], ..batch(vec![step_done(2, "b")]) };
    assert_eq!(driver.append(&lease, 2, answer).await.unwrap(), 3);
    assert_eq!(driver.append(&lease, 3, last(vec![finished(3)])).await.unwrap(), 4);

    let stored = watcher.load(&lease.execution).await.unwrap();
    assert!(stored.finished && stored.version == 4);
    let mut seen = 0;
    let all = async {
        while seen < 4 {
            seen += watcher.read_after(0, 100).await.unwrap().len();
            Journal::changed(&watcher).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
}

/// Each notice is sent by one runner, and each request worked on by the one that received it.
#[tokio::test(flavor = "multi_thread")]
async fn runners_do_not_do_each_others_work() {
    let s3 = fake().await;
    let (one, two) = (store(&s3, "work").await, store(&s3, "work").await);
    one.set_notification_targets(vec!["log".to_owned()]).await.unwrap();
    one.write_environments(vec![], vec![notice("n-1", 1)]).await.unwrap();
    one.receive(delivery("d-1", 1)).await.unwrap();
    assert_eq!(one.due_notices(at(9), 10).await.unwrap().len(), 1);
    // Not the second's first look, which may be a moment old.
    two.environments().await.unwrap();
    assert!(two.due_notices(at(9), 10).await.unwrap().is_empty());
    assert!(two.pending_deliveries(10).await.unwrap().is_empty());
    assert_eq!(one.pending_deliveries(10).await.unwrap().len(), 1);
    assert_eq!(two.depths().await.unwrap(), (1, 1));
    // Unless that one is dead.
    s3.advance(180_000);
    two.environments().await.unwrap();
    assert_eq!(two.due_notices(at(9), 10).await.unwrap().len(), 1);
    assert_eq!(two.pending_deliveries(10).await.unwrap().len(), 1);
}

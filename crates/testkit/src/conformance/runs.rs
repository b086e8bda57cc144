//! Runs of pipelines. For stores that keep them.

use landfall_model::Timestamp;
use landfall_model::ids::RunId;
use landfall_ports::store::{NewRun, Store};
use serde_json::{Value, json};

use super::Subject;
use super::fixtures::notice;

fn new(id: &str, pipeline: &str, key: &str) -> NewRun {
    let (id, pipeline, dedup_key) = (RunId::new(id), pipeline.to_owned(), key.to_owned());
    NewRun { id, pipeline, dedup_key, at: Timestamp::UNIX_EPOCH, record: json!({"record": 1}) }
}

fn record(number: u64) -> Value {
    json!({ "record": number })
}

async fn made(store: &dyn Store, id: &str, pipeline: &str) {
    store.create_run(new(id, pipeline, id)).await.unwrap();
}

pub(super) async fn a_run_is_made_once_for_its_key(subject: &impl Subject) {
    let store = subject.store();
    assert_eq!(store.create_run(new("run_1", "main", "d-1")).await.unwrap(), RunId::new("run_1"));
    assert_eq!(store.create_run(new("run_2", "main", "d-1")).await.unwrap(), RunId::new("run_1"));
    made(&*store, "run_3", "main").await;
    made(&*store, "run_4", "other").await;
    let numbers = async |id: &str| store.run(&id.into()).await.unwrap().unwrap().number;
    assert_eq!((numbers("run_1").await, numbers("run_3").await, numbers("run_4").await), (1, 2, 1));
    assert_eq!(store.run(&"run_2".into()).await.unwrap(), None);
}

pub(super) async fn appends_expect_what_was_read(subject: &impl Subject) {
    let store = subject.store();
    made(&*store, "run_1", "main").await;
    let id = RunId::new("run_1");
    let two = vec![record(2), record(3)];
    assert!(store.append_run(&id, 1, two, false, vec![notice("n1", 1)]).await.unwrap());
    // Of two that have read one record, the second is told, and nothing of it is written.
    assert!(!store.append_run(&id, 1, vec![record(9)], true, vec![notice("n2", 1)]).await.unwrap());
    assert!(!store.append_run(&"run_9".into(), 1, vec![record(9)], false, Vec::new()).await.unwrap());
    let run = store.run(&id).await.unwrap().unwrap();
    assert_eq!((run.records, run.finished), (vec![record(1), record(2), record(3)], false));
    store.set_notification_targets(vec!["log".to_owned()]).await.unwrap();
    let due = store.due_notices(Timestamp::MAX, 10).await.unwrap();
    assert_eq!(due.iter().map(|row| row.notice.id.as_str()).collect::<Vec<_>>(), ["n1"]);
}

pub(super) async fn listing_keeps_what_has_not_finished(subject: &impl Subject) {
    let store = subject.store();
    for number in 1..=5 {
        let id = format!("run_{number}");
        made(&*store, &id, "main").await;
        if number != 2 {
            assert!(store.append_run(&id.as_str().into(), 1, vec![record(2)], true, Vec::new()).await.unwrap());
        }
    }
    let listed = async || store.runs(2).await.unwrap().into_iter().map(|id| id.0).collect::<Vec<_>>();
    assert_eq!(listed().await, ["run_5", "run_4", "run_2"]);
    // A retry takes a finished one up again.
    assert!(store.append_run(&"run_1".into(), 2, vec![record(3)], false, Vec::new()).await.unwrap());
    assert_eq!(listed().await, ["run_5", "run_4", "run_2", "run_1"]);
}

pub(super) async fn only_finished_ones_are_forgotten(subject: &impl Subject) {
    let store = subject.store();
    for number in 1..=4 {
        let id = format!("run_{number}");
        made(&*store, &id, "main").await;
        if number != 2 {
            assert!(store.append_run(&id.as_str().into(), 1, vec![record(2)], true, Vec::new()).await.unwrap());
        }
    }
    let gone = ["run_1", "run_2", "run_9"].map(RunId::new).to_vec();
    assert_eq!(store.forget_runs(gone).await.unwrap(), 1);
    assert_eq!(store.run(&"run_1".into()).await.unwrap(), None);
    let left: Vec<String> = store.runs(9).await.unwrap().into_iter().map(|id| id.0).collect();
    assert_eq!(left, ["run_4", "run_3", "run_2"]);
    // Its key is free again; its number is not.
    assert_eq!(store.create_run(new("run_5", "main", "run_1")).await.unwrap(), RunId::new("run_5"));
    let five = store.run(&"run_5".into()).await.unwrap().unwrap();
    assert_eq!((five.number, five.records), (5, vec![record(1)]));
}

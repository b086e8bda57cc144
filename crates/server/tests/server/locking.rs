//! Locks that are taken while a deployment is on its way to the journal.

use std::time::Duration;

use landfall_model::Timestamp;
use landfall_model::ids::ExecutionId;
use landfall_ports::journal::Journal as _;
use landfall_server::{Control, ControlError, ControlRequest, ControlResponse};
use landfall_workflow::Outcome;
use tokio_util::sync::CancellationToken;

use crate::deploy::{ask, end, image, prod};
use crate::rig::eventually;

const LOCK: &str = "lock/my-project@prod";

/// Whenever the lock is there before the last look at it, nothing is deployed; also where the journal had the execution already.
#[tokio::test]
async fn a_lock_taken_at_any_moment_before_the_answer_stops_it() {
    let mut refused = 0;
    loop {
        let rig = prod(&[]);
        let after = refused + 1;
        let lock = serde_json::json!({"reason": "the sale is on", "by": "cli:bob", "at": Timestamp::UNIX_EPOCH});
        rig.mem.meta_comes_after(LOCK, after, lock.to_string());
        let server = rig.start().await;
        // Waits for its image for ever.
        match ask(&server, image("app:never")).await {
            Ok(_) => break,
            Err(ControlError::Locked(why)) => assert!(why.contains("the sale is on"), "{why}"),
            Err(other) => panic!("{other}"),
        }
        for begun in rig.mem.list(None, false, 10).await.unwrap() {
            assert_eq!(end(&server, &begun.id).await.outcome, Some(Outcome::Aborted), "after look {after}");
        }
        assert!(rig.world.view().is_empty(), "after look {after}");
        refused += 1;
    }
    assert!(refused >= 3, "before the others, before the predecessor, before the journal, after it: {refused}");
}

#[tokio::test]
async fn a_lock_stops_a_deployment_that_waits_for_its_predecessor() {
    let rig = prod(&["app:1"]);
    // Nobody drives anything yet.
    let service = rig.service().await;
    let request =
        |change| ControlRequest::Deploy { environment: "prod".to_owned(), change, actor: "cli:ann".to_owned() };
    let ControlResponse::Deploy(first) = service.call(request(image("app:never"))).await.unwrap() else { panic!() };
    let (waits, asked) = (service.clone(), request(image("app:1")));
    let second = tokio::spawn(async move { waits.call(asked).await });
    eventually("the first is told to make way", async || {
        (!rig.mem.signals(&first.execution).await.unwrap().is_empty()).then_some(())
    })
    .await;
    let lock = ControlRequest::Lock {
        environment: "prod".to_owned(),
        reason: "the sale is on".to_owned(),
        actor: "cli:bob".to_owned(),
    };
    service.call(lock).await.unwrap();
    let stop = CancellationToken::new();
    let (drives, token) = (service.clone(), stop.clone());
    let running = tokio::spawn(async move { drives.run(token).await });
    let answer = tokio::time::timeout(Duration::from_secs(30), second).await.unwrap().unwrap();
    let Err(ControlError::Locked(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("cli:bob"), "{why}");
    assert!(why.contains(&format!("{} had made way already", first.execution)), "{why}");
    let all: Vec<ExecutionId> = rig.mem.list(None, false, 10).await.unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(all, [first.execution]);
    stop.cancel();
    running.await.unwrap();
}

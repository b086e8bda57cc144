//! Locks that are taken while a deployment is on its way to the journal.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::environment::{EnvironmentRecord, EnvironmentWrite};
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_model::notice::Notice;
use landfall_ports::journal::Journal as _;
use landfall_ports::store::{
    Delivery, DeliveryOutcome, DeliverySummary, NewDelivery, OutboxRow, Received, Store, StoreResult,
};
use landfall_server::{Control, ControlError, ControlRequest, ControlResponse};
use landfall_testkit::Mem;
use landfall_workflow::Outcome;
use tokio_util::sync::CancellationToken;

use crate::deploy::{ask, end, image, prod};
use crate::rig::eventually;

const LOCK: &str = "lock/my-project@prod";

/// Right after the `after`th look at the lock, which found none, somebody takes it.
struct Taken {
    mem: Arc<Mem>,
    after: usize,
    looks: AtomicUsize,
}

#[async_trait]
impl Store for Taken {
    async fn receive(&self, delivery: NewDelivery) -> StoreResult<Received> {
        self.mem.receive(delivery).await
    }
    async fn pending_deliveries(&self, limit: u32) -> StoreResult<Vec<Delivery>> {
        self.mem.pending_deliveries(limit).await
    }
    async fn finish_delivery(
        &self,
        seq: u64,
        outcome: DeliveryOutcome,
        writes: Vec<EnvironmentWrite>,
        notices: Vec<Notice>,
    ) -> StoreResult<()> {
        self.mem.finish_delivery(seq, outcome, writes, notices).await
    }
    async fn deliveries(&self, limit: u32) -> StoreResult<Vec<DeliverySummary>> {
        self.mem.deliveries(limit).await
    }
    async fn environments(&self) -> StoreResult<Vec<EnvironmentRecord>> {
        self.mem.environments().await
    }
    async fn environment(&self, id: &EnvironmentId) -> StoreResult<Option<EnvironmentRecord>> {
        self.mem.environment(id).await
    }
    async fn write_environments(&self, writes: Vec<EnvironmentWrite>, notices: Vec<Notice>) -> StoreResult<()> {
        self.mem.write_environments(writes, notices).await
    }
    async fn set_notification_targets(&self, targets: Vec<String>) -> StoreResult<()> {
        self.mem.set_notification_targets(targets).await
    }
    async fn due_notices(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<OutboxRow>> {
        self.mem.due_notices(now, limit).await
    }
    async fn notices_done(&self, seqs: Vec<u64>) -> StoreResult<()> {
        self.mem.notices_done(seqs).await
    }
    async fn notice_failed(&self, seq: u64, error: String, retry_at: Option<Timestamp>) -> StoreResult<()> {
        self.mem.notice_failed(seq, error, retry_at).await
    }
    async fn meta_get(&self, key: &str) -> StoreResult<Option<String>> {
        let found = self.mem.meta_get(key).await?;
        if key == LOCK && self.looks.fetch_add(1, Ordering::SeqCst) + 1 == self.after {
            let lock = serde_json::json!({"reason": "the sale is on", "by": "cli:bob", "at": Timestamp::UNIX_EPOCH});
            self.mem.meta_put(key, &lock.to_string()).await?;
        }
        Ok(found)
    }
    async fn meta_put(&self, key: &str, value: &str) -> StoreResult<()> {
        self.mem.meta_put(key, value).await
    }
    async fn backup(&self, to: &Path) -> StoreResult<()> {
        self.mem.backup(to).await
    }
    async fn changed(&self) {
        Store::changed(&*self.mem).await;
    }
}

/// Whenever the lock is there before the last look at it, nothing is deployed; also where the journal had the execution already.
#[tokio::test]
async fn a_lock_taken_at_any_moment_before_the_answer_stops_it() {
    let mut refused = 0;
    loop {
        let mut rig = prod(&[]);
        let after = refused + 1;
        rig.store = Some(Arc::new(Taken { mem: Arc::clone(&rig.mem), after, looks: AtomicUsize::new(0) }));
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

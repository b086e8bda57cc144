//! What operators and successors do to an execution.

use std::sync::Arc;
use std::time::Duration;

use landfall_engine::{Engine, EngineError, RunEnd};
use landfall_model::ids::ExecutionId;
use landfall_model::notice::NoticeKind;
use landfall_testkit::Mem;
use landfall_workflow::{FailurePolicy, Outcome, Plan, Signal, StepStatus};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::{FakeWorld, engine_on, plan, step, submit};

struct Bench {
    mem: Arc<Mem>,
    world: FakeWorld,
    engine: Engine,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Bench {
    async fn start(plan: Plan) -> (Self, ExecutionId) {
        let mem = Arc::new(Mem::default());
        let world = FakeWorld::default();
        let engine = engine_on("one", mem.clone(), Arc::new(world.clone()));
        let id = submit(&engine, "k", plan).await;
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (engine, stop) = (engine.clone(), stop.clone());
            async move { engine.serve(stop).await }
        });
        (Self { mem, world, engine, stop, serving }, id)
    }

    async fn until(&self, what: &str) {
        for _ in 0..10_000 {
            if self.world.log().iter().any(|line| line == what) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("never saw {what}: {:?}", self.world.log());
    }

    async fn end(self, id: &ExecutionId) -> (Outcome, String) {
        let end = self.engine.wait(id).await.unwrap();
        self.stop.cancel();
        self.serving.await.unwrap();
        match end {
            RunEnd::Finished { outcome, message } => (outcome, message),
            RunEnd::Paused { reason, .. } => panic!("paused: {reason}"),
        }
    }
}

fn waiting() -> Plan {
    plan(vec![
        step("a", &[], json!({})),
        step("b", &["a"], json!({"pending": 1_000_000, "poll_after_ms": 50})),
        step("c", &["b"], json!({})),
    ])
}

#[tokio::test(start_paused = true)]
async fn abort_undoes_pending_steps_too() {
    let (bench, id) = Bench::start(waiting()).await;
    bench.until("poll b").await;
    bench.engine.signal(&id, "cli:ada", Signal::Abort).await.unwrap();
    let (world, mem) = (bench.world.clone(), bench.mem.clone());
    let (outcome, message) = bench.end(&id).await;
    assert_eq!(outcome, Outcome::Aborted);
    assert!(message.contains("cli:ada"), "{message}");
    assert!(world.things().made.is_empty());
    let log = world.log();
    assert_eq!(log[log.len() - 2..], ["undo b", "undo a"]);
    let kinds: Vec<NoticeKind> = mem.notices().iter().map(|notice| notice.kind).collect();
    assert_eq!(kinds, [NoticeKind::Creating, NoticeKind::RolledBack]);
}

#[tokio::test(start_paused = true)]
async fn supersede_leaves_all_as_it_is() {
    let (bench, id) = Bench::start(waiting()).await;
    bench.until("poll b").await;
    bench.engine.signal(&id, "landfall", Signal::Supersede { by: "exe_2".to_owned() }).await.unwrap();
    let world = bench.world.clone();
    let (outcome, message) = bench.end(&id).await;
    assert_eq!((outcome, message.as_str()), (Outcome::Superseded, "superseded by exe_2"));
    assert_eq!(world.things().made.len(), 2);
    assert!(!world.log().iter().any(|line| line.starts_with("undo")));
}

#[tokio::test(start_paused = true)]
async fn superseded_in_the_queue_begins_nothing() {
    let mem = Arc::new(Mem::default());
    let world = FakeWorld::default();
    let engine = engine_on("one", mem.clone(), Arc::new(world.clone()));
    let id = submit(&engine, "k", waiting()).await;
    engine.signal(&id, "landfall", Signal::Supersede { by: "exe_2".to_owned() }).await.unwrap();
    let end = engine.run_to_end(&id).await.unwrap();
    assert!(matches!(end, RunEnd::Finished { outcome: Outcome::Superseded, .. }), "{end:?}");
    assert!(world.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn superseded_while_unwinding_settles_the_world_first() {
    let slow = json!({"undo_pending": 1, "poll_after_ms": 5000});
    let plan = plan(vec![step("a", &[], slow), step("b", &["a"], json!({"fatal": 1}))]);
    let (bench, id) = Bench::start(plan).await;
    bench.until("undo a").await;
    bench.engine.signal(&id, "landfall", Signal::Supersede { by: "exe_2".to_owned() }).await.unwrap();
    let world = bench.world.clone();
    let (outcome, message) = bench.end(&id).await;
    assert_eq!(outcome, Outcome::Superseded);
    assert!(message.contains("broken") && message.contains("exe_2"), "{message}");
    assert!(world.things().made.is_empty());
}

fn pausing() -> Plan {
    let mut hook = step("hook", &["a"], json!({"fatal": 1}));
    hook.on_failure = FailurePolicy::Pause;
    plan(vec![step("a", &[], json!({})), hook, step("z", &["hook"], json!({}))])
}

async fn paused() -> (Bench, ExecutionId) {
    let (bench, id) = Bench::start(pausing()).await;
    let end = bench.engine.wait(&id).await.unwrap();
    assert_eq!(end, RunEnd::Paused { step: Some("hook".into()), reason: "Make hook failed: broken".to_owned() });
    (bench, id)
}

#[tokio::test(start_paused = true)]
async fn retry_is_a_fresh_attempt_with_its_own_key() {
    let (bench, id) = paused().await;
    bench.engine.signal(&id, "cli:ada", Signal::Retry { step: "hook".into() }).await.unwrap();
    let (world, engine) = (bench.world.clone(), bench.engine.clone());
    assert_eq!(bench.end(&id).await.0, Outcome::Succeeded);
    assert_eq!(world.things().keys["hook"].len(), 2);
    let view = engine.view(&id).await.unwrap();
    assert_eq!(view.steps[1].attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn skip_goes_on_without_the_step() {
    let (bench, id) = paused().await;
    bench.engine.signal(&id, "cli:ada", Signal::Skip { step: "hook".into() }).await.unwrap();
    let engine = bench.engine.clone();
    assert_eq!(bench.end(&id).await.0, Outcome::Succeeded);
    assert_eq!(engine.view(&id).await.unwrap().steps[1].status, StepStatus::Skipped);
}

#[tokio::test(start_paused = true)]
async fn abort_ends_a_pause() {
    let (bench, id) = paused().await;
    bench.engine.signal(&id, "cli:ada", Signal::Abort).await.unwrap();
    let world = bench.world.clone();
    assert_eq!(bench.end(&id).await.0, Outcome::Aborted);
    assert!(world.things().made.is_empty());
}

#[tokio::test(start_paused = true)]
async fn signals_that_mean_nothing_are_refused_with_a_reason() {
    let (bench, id) = paused().await;
    for (signal, why) in [
        (Signal::Retry { step: "a".into() }, "has not failed"),
        (Signal::Skip { step: "nowhere".into() }, "no step nowhere"),
        (Signal::Resume, "retry, skip or abort"),
        (Signal::Approve { step: "a".into(), by: "ada".to_owned() }, "approval"),
    ] {
        let Err(EngineError::Rejected(text)) = bench.engine.signal(&id, "cli:ada", signal).await else { panic!() };
        assert!(text.contains(why), "{text}");
    }
    // Sent past the door it is recorded, and changes nothing.
    let journal: &dyn landfall_ports::journal::Journal = &*bench.mem;
    journal.send_signal(&id, "cli:ada", Signal::Resume).await.unwrap();
    bench.engine.signal(&id, "cli:ada", Signal::Skip { step: "hook".into() }).await.unwrap();
    assert_eq!(bench.end(&id).await.0, Outcome::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_paused_execution_takes_no_place() {
    let (bench, _) = paused().await;
    assert_eq!(bench.engine.live(), 1);
    let other = submit(&bench.engine, "other", plan(vec![step("x", &[], json!({}))])).await;
    let engine = bench.engine.clone();
    assert_eq!(bench.end(&other).await.0, Outcome::Succeeded);
    assert_eq!(engine.live(), 0, "nothing is held after serving");
}

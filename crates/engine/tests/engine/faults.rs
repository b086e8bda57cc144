//! Things that go wrong around an execution: the journal, the handler, the clock, the shutdown.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use landfall_engine::{Engine, EngineConfig, EngineObserver, NewPlan, Observation, RunEnd, trace_id};
use landfall_ports::journal::Journal;
use landfall_testkit::{Failing, Gated, Mem, SimClock};
use landfall_workflow::{Event, ExecutionState, FailurePolicy, Idempotency, Outcome, StepStatus, codes};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fake::{FakeWorld, config, diamond, engine_on, plan, step, submit};

fn outcome(end: RunEnd) -> Outcome {
    match end {
        RunEnd::Finished { outcome, .. } => outcome,
        RunEnd::Paused { reason, .. } => panic!("paused: {reason}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_call_outlives_a_full_disk() {
    let mem = Arc::new(Mem::default());
    let journal = Arc::new(Gated::new(mem.clone(), Failing::default()));
    let world = FakeWorld::default();
    let engine = engine_on("one", journal.clone(), Arc::new(world.clone()));
    let id =
        submit(&engine, "k", plan(vec![step("a", &[], json!({"call_ms": 1000})), step("b", &["a"], json!({}))])).await;
    let run = tokio::spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { engine.run_to_end(&id).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Longer than the lease: renewals fail too, and the lease expires under the driver.
    journal.gate.everything.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(!run.is_finished());
    journal.gate.everything.store(false, Ordering::SeqCst);
    assert_eq!(outcome(run.await.unwrap()), Outcome::Succeeded);
    assert_eq!(world.log(), ["start a", "start b"], "nothing was called twice");
    assert!(journal.gate.refused.load(Ordering::SeqCst) > 10);
}

#[tokio::test(start_paused = true)]
async fn an_append_whose_answer_was_lost_is_recognised() {
    let mem = Arc::new(Mem::default());
    let journal = Arc::new(Gated::new(mem.clone(), Failing::default()));
    let world = FakeWorld::default();
    let engine = engine_on("one", journal.clone(), Arc::new(world.clone()));
    let id =
        submit(&engine, "k", plan(vec![step("a", &[], json!({"call_ms": 1000})), step("b", &["a"], json!({}))])).await;
    let run = tokio::spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { engine.run_to_end(&id).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    journal.gate.answers.store(true, Ordering::SeqCst);
    assert_eq!(outcome(run.await.unwrap()), Outcome::Succeeded);
    assert_eq!(world.log(), ["start a", "start b"]);
    let records = engine.history(&id).await.unwrap();
    let leases = records.iter().filter(|record| matches!(record.event, Event::LeaseTaken { .. })).count();
    assert_eq!(leases, 1, "the driver did not have to leave");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_step_and_a_living_engine() {
    let mem = Arc::new(Mem::default());
    let world = FakeWorld::default();
    let engine = engine_on("one", mem, Arc::new(world.clone()));
    let id =
        submit(&engine, "k", plan(vec![step("a", &[], json!({})), step("b", &["a"], json!({"panic": true}))])).await;
    assert_eq!(outcome(engine.run_to_end(&id).await.unwrap()), Outcome::RolledBack);
    let view = engine.view(&id).await.unwrap();
    let cause = view.cause.unwrap().error;
    assert_eq!((cause.code.as_str(), cause.detail.as_deref()), (codes::STEP_PANIC, Some("scripted panic")));
    assert!(world.things().made.is_empty());
    let next = submit(&engine, "next", diamond()).await;
    assert_eq!(outcome(engine.run_to_end(&next).await.unwrap()), Outcome::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_cut_off_and_made_again_under_the_same_key() {
    let mem = Arc::new(Mem::default());
    let world = FakeWorld::default();
    let engine = engine_on("one", mem, Arc::new(world.clone()));
    let id = submit(&engine, "k", plan(vec![step("a", &[], json!({"hang": 1}))])).await;
    assert_eq!(outcome(engine.run_to_end(&id).await.unwrap()), Outcome::Succeeded);
    assert_eq!(world.log(), ["start a", "start a"]);
    assert_eq!(world.things().keys["a"].len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_call_that_hangs_waits_for_a_person() {
    let mut hook = step("hook", &[], json!({"hang": 1, "count": true}));
    hook.idempotency = Idempotency::Unsafe;
    let engine = engine_on("one", Arc::new(Mem::default()), Arc::new(FakeWorld::default()));
    let id = submit(&engine, "k", plan(vec![hook])).await;
    let end = engine.run_to_end(&id).await.unwrap();
    assert!(matches!(&end, RunEnd::Paused { reason, .. } if reason.contains("not safe to repeat")), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_step_times_out_and_is_undone_all_the_same() {
    let world = FakeWorld::default();
    let engine = engine_on("one", Arc::new(Mem::default()), Arc::new(world.clone()));
    let slow = step("slow", &["a"], json!({"pending": 1_000_000, "poll_after_ms": 45_000}));
    let id = submit(&engine, "k", plan(vec![step("a", &[], json!({})), slow])).await;
    assert_eq!(outcome(engine.run_to_end(&id).await.unwrap()), Outcome::RolledBack);
    let view = engine.view(&id).await.unwrap();
    assert_eq!(view.cause.unwrap().error.code, codes::STEP_TIMEOUT);
    // The second wait is cut to what was left of the 60 s.
    let took = view.steps[1].finished_at.unwrap().duration_since(view.steps[1].started_at.unwrap());
    assert_eq!(took.as_secs(), 60);
    assert!(world.things().made.is_empty());
}

#[tokio::test(start_paused = true)]
async fn throttling_is_a_delay_and_not_an_attempt() {
    let world = FakeWorld::default();
    let engine = engine_on("one", Arc::new(Mem::default()), Arc::new(world.clone()));
    let id = submit(&engine, "k", plan(vec![step("a", &[], json!({"throttled": 8}))])).await;
    assert_eq!(outcome(engine.run_to_end(&id).await.unwrap()), Outcome::Succeeded);
    let view = engine.view(&id).await.unwrap();
    assert_eq!(view.steps[0].attempts, 9);
    let took = view.steps[0].finished_at.unwrap().duration_since(view.steps[0].started_at.unwrap());
    assert!(took.as_secs() >= 40, "five seconds each were asked for: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_look_is_looked_again_and_does_not_start_over() {
    let world = FakeWorld::default();
    let engine = engine_on("one", Arc::new(Mem::default()), Arc::new(world.clone()));
    let id = submit(&engine, "k", plan(vec![step("a", &[], json!({"pending": 1, "poll_retryable": 2}))])).await;
    assert_eq!(outcome(engine.run_to_end(&id).await.unwrap()), Outcome::Succeeded);
    assert_eq!(world.log(), ["start a", "poll a", "poll a", "poll a", "poll a"]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_choice_asks_for_a_new_plan_and_undoes_nothing() {
    let world = FakeWorld::default();
    let engine = engine_on("one", Arc::new(Mem::default()), Arc::new(world.clone()));
    let id = submit(&engine, "k", plan(vec![step("a", &[], json!({})), step("b", &["a"], json!({"stale": 1}))])).await;
    assert_eq!(outcome(engine.run_to_end(&id).await.unwrap()), Outcome::NeedsReplan);
    assert_eq!(world.things().made.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_calls_finish_begins_no_more_and_gives_leases_back() {
    let mem = Arc::new(Mem::default());
    let world = FakeWorld::default();
    let engine = engine_on("one", mem.clone(), Arc::new(world.clone()));
    let mut hook = step("hook", &["a"], json!({"count": true}));
    hook.idempotency = Idempotency::Unsafe;
    let id = submit(&engine, "k", plan(vec![step("a", &[], json!({"call_ms": 5000})), hook])).await;
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (engine, stop) = (engine.clone(), stop.clone());
        async move { engine.serve(stop).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    serving.await.unwrap();
    let view = engine.view(&id).await.unwrap();
    assert_eq!(view.steps[0].status, StepStatus::Done);
    assert_eq!(view.steps[1].status, StepStatus::Waiting);
    assert_eq!(mem.claim("two", 1000, 10).await.unwrap().len(), 1, "the lease was given back");
    mem.expire_leases();
    let two = engine_on("two", mem, Arc::new(world.clone()));
    assert_eq!(outcome(two.run_to_end(&id).await.unwrap()), Outcome::Succeeded);
    assert_eq!(world.log(), ["start a", "start hook"]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_neither_stretches_waits_nor_expires_steps() {
    let clock = Arc::new(SimClock::default());
    let world = FakeWorld::default();
    let engine = Engine::new(config("one"), Arc::new(Mem::default()), Arc::new(world.clone()), clock.clone());
    let id = submit(&engine, "k", plan(vec![step("a", &[], json!({"pending": 6, "poll_after_ms": 2000}))])).await;
    let jumps = tokio::spawn(async move {
        for hours in [-3, 30, -48, 2] {
            tokio::time::sleep(Duration::from_secs(2)).await;
            clock.advance_ms(hours * 3_600_000);
        }
    });
    let begun = tokio::time::Instant::now();
    assert_eq!(outcome(engine.run_to_end(&id).await.unwrap()), Outcome::Succeeded);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    jumps.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn fail_forward_lets_started_steps_end_and_keeps_all() {
    let world = FakeWorld::default();
    let engine = engine_on("one", Arc::new(Mem::default()), Arc::new(world.clone()));
    let mut bad = step("bad", &[], json!({"fatal": 1}));
    bad.on_failure = FailurePolicy::FailForward;
    let steps = vec![bad, step("slow", &[], json!({"pending": 3})), step("after", &["slow"], json!({}))];
    let id = submit(&engine, "k", plan(steps)).await;
    assert_eq!(outcome(engine.run_to_end(&id).await.unwrap()), Outcome::Failed);
    let view = engine.view(&id).await.unwrap();
    assert_eq!(view.steps[1].status, StepStatus::Done);
    assert_eq!(view.steps[2].status, StepStatus::Waiting);
    assert_eq!(view.state, ExecutionState::Finished);
}

#[tokio::test(start_paused = true)]
async fn history_is_folded_into_snapshots_and_nothing_is_lost_by_it() {
    let mem = Arc::new(Mem::default());
    let mut small = config("one");
    small.compact_after = 5;
    let world = FakeWorld::default();
    let clock = Arc::new(SimClock::default());
    let engine = Engine::new(small, mem.clone(), Arc::new(world.clone()), clock);
    let id = submit(&engine, "k", diamond()).await;
    assert_eq!(outcome(engine.run_to_end(&id).await.unwrap()), Outcome::Succeeded);
    let stored = mem.load(&id).await.unwrap();
    assert!(stored.snapshot_version >= 6 && stored.records.len() <= 6, "{}", stored.records.len());
    let view = engine.view(&id).await.unwrap();
    assert!(view.steps.iter().all(|step| step.status == StepStatus::Done && step.started_at.is_some()));
}

#[derive(Default)]
struct Counts(std::sync::Mutex<Vec<String>>);

impl EngineObserver for Counts {
    fn observe(&self, what: &Observation<'_>) {
        let line = match what {
            Observation::ExecutionClaimed { kind } => format!("claimed {kind}"),
            Observation::ExecutionLeft { kind, outcome, .. } => format!("left {kind} {outcome:?}"),
            Observation::Call { kind, phase, result, .. } => format!("{kind} {phase} {result}"),
            Observation::JournalRetry => "journal retry".to_owned(),
        };
        self.0.lock().unwrap().push(line);
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_can_be_counted() {
    let counts = Arc::new(Counts::default());
    let engine = engine_on("one", Arc::new(Mem::default()), Arc::new(FakeWorld::default()));
    let engine = engine.with_observer(counts.clone());
    let id = submit(&engine, "k", plan(vec![step("a", &[], json!({"retryable": 1, "pending": 1}))])).await;
    engine.run_to_end(&id).await.unwrap();
    assert_eq!(
        *counts.0.lock().unwrap(),
        [
            "claimed preview.create",
            "fake start failed",
            "fake start pending",
            "fake poll pending",
            "fake poll done",
            "left preview.create Some(Succeeded)",
        ]
    );
    assert_eq!(trace_id(&"exe_1".into()), trace_id(&"exe_1".into()));
    assert_ne!(trace_id(&"exe_1".into()), trace_id(&"exe_2".into()));
}

#[tokio::test(start_paused = true)]
async fn a_dedup_key_gives_one_execution_and_a_bad_plan_none() {
    let mem = Arc::new(Mem::default());
    let engine = engine_on("one", mem.clone(), Arc::new(FakeWorld::default()));
    let first = submit(&engine, "k", diamond()).await;
    assert_eq!(submit(&engine, "k", diamond()).await, first);
    let bad = plan(vec![step("a", &["ghost"], json!({}))]);
    let new = NewPlan { id: None, dedup_key: "bad".to_owned(), plan: bad, intent: "i".to_owned(), notices: vec![] };
    let error = engine.submit(new).await.unwrap_err().to_string();
    assert_eq!(error, "the plan is not valid: step a needs ghost, which is not in the plan");
    assert_eq!(mem.executions(), [first]);
}

/// More than there is place for: all come to an end, and nothing stays in memory.
#[tokio::test(start_paused = true)]
async fn a_thousand_executions_pass_through_few_places() {
    let mem = Arc::new(Mem::default());
    let few = EngineConfig { max_executions: 16, ..config("one") };
    let world = FakeWorld::default();
    let engine = Engine::new(few, mem, Arc::new(world.clone()), Arc::new(SimClock::default()));
    let mut ids = Vec::new();
    for n in 0..1000 {
        ids.push(submit(&engine, &format!("k{n}"), plan(vec![step(&format!("s{n}"), &[], json!({}))])).await);
    }
    assert_eq!(outcome(engine.run_to_end(&ids[999]).await.unwrap()), Outcome::Succeeded);
    assert!(world.things().most_running <= 16);
    assert_eq!(engine.live(), 0);
}

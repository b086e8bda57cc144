//! Two engines on one journal. A lease fences records, not effects: what is promised is that at most one call already begun
//! overlaps, and that the world converges.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use landfall_engine::{Engine, EngineConfig};
use landfall_testkit::{Failing, Gated, Mem, TestClock};
use landfall_workflow::{Event, Outcome};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fake::{FakeWorld, diamond, engine_on, plan, step, submit};

#[tokio::test(start_paused = true)]
async fn many_executions_are_shared_and_each_effect_happens_once() {
    let mem = Arc::new(Mem::default());
    let world = FakeWorld::default();
    let one = engine_on("one", mem.clone(), Arc::new(world.clone()));
    let two = engine_on("two", mem.clone(), Arc::new(world.clone()));
    let mut ids = Vec::new();
    for n in 0..40 {
        let name = format!("s{n}");
        ids.push(submit(&one, &name, plan(vec![step(&name, &[], json!({"pending": 1}))])).await);
    }
    let stop = CancellationToken::new();
    let serve = async {
        tokio::join!(one.serve(stop.clone()), two.serve(stop.clone()));
    };
    let watch = async {
        for id in &ids {
            one.wait(id).await.unwrap();
        }
        stop.cancel();
    };
    tokio::join!(serve, watch);
    let starts = world.log().iter().filter(|line| line.starts_with("start")).count();
    assert_eq!(starts, 40);
    assert_eq!(world.things().made.len(), 40);
}

/// The first engine loses its journal (and so its lease) in the middle of a call; the second takes over; the first comes
/// back with a result nobody wants.
#[tokio::test(start_paused = true)]
async fn a_take_over_overlaps_at_most_one_call_and_converges() {
    for cut_ms in (0..1200).step_by(37) {
        let mem = Arc::new(Mem::default());
        let cut = Arc::new(Gated::new(mem.clone(), Failing::default()));
        let world = FakeWorld::default();
        let short = |owner: &str| EngineConfig { lease_ttl: Duration::from_millis(600), ..EngineConfig::new(owner) };
        let clock = || Arc::new(TestClock::seeded(3));
        let one = Engine::new(short("one"), cut.clone(), Arc::new(world.clone()), clock());
        let two = Engine::new(short("two"), mem.clone(), Arc::new(world.clone()), clock());
        let mut plan = diamond();
        for step in &mut plan.steps {
            step.params["fake"]["call_ms"] = json!(100);
        }
        plan.max_parallel = 1;
        let id = submit(&two, "k", plan).await;
        let stop = CancellationToken::new();
        let (serve_one, serve_two) = (one.serve(stop.clone()), async {
            tokio::time::sleep(Duration::from_millis(cut_ms)).await;
            cut.gate.everything.store(true, Ordering::SeqCst);
            tokio::join!(two.serve(stop.clone()), async {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                cut.gate.everything.store(false, Ordering::SeqCst);
            });
        });
        let watch = async {
            let end = two.wait(&id).await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
            stop.cancel();
            end
        };
        let (_, _, end) = tokio::join!(serve_one, serve_two, watch);
        assert!(matches!(end, landfall_engine::RunEnd::Finished { outcome: Outcome::Succeeded, .. }), "{end:?}");
        assert_eq!(world.things().made.len(), 5, "cut at {cut_ms} ms");
        assert!(world.things().most_running <= 2, "cut at {cut_ms} ms");
        // One call was on its way when the journal went: it is the only one that may be there twice.
        for step in ["image", "group", "definition", "service", "route"] {
            let expected = if step == "group" { 2 } else { 1 };
            let starts = world.log().iter().filter(|line| **line == format!("start {step}")).count();
            assert!(starts <= expected + 1, "{step} was started {starts} times, cut at {cut_ms} ms");
        }
        let epochs: Vec<u64> = two
            .history(&id)
            .await
            .unwrap()
            .iter()
            .filter_map(|record| match &record.event {
                Event::LeaseTaken { epoch, .. } => Some(*epoch),
                _ => None,
            })
            .collect();
        assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
    }
}

//! N previews on the platform in memory, created and destroyed by the real engine, handlers and plans: steps a second, wall
//! time and peak memory, as a Markdown table. Memory is read after each size, smallest first, so it only grows.
//!
//! `cargo run --release -p landfall-steps --example scale [N...]` (default: 100 1000 5000)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/steps/world.rs"]
#[allow(dead_code)]
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use landfall_engine::{Engine, EngineConfig, EngineObserver, NewPlan, Observation};
use landfall_model::ids::ExecutionId;
use landfall_testkit::platform::FakePlatform;
use landfall_testkit::{Mem, TestClock};
use landfall_workflow::{Outcome, Plan};
use tokio_util::sync::CancellationToken;

use world::{FIRST, Place, app, record};

#[derive(Default)]
struct Counts {
    succeeded: AtomicU64,
    other: AtomicU64,
    calls: AtomicU64,
    ended: tokio::sync::Notify,
}

impl EngineObserver for Counts {
    fn observe(&self, what: &Observation<'_>) {
        match what {
            Observation::ExecutionLeft { outcome: Some(outcome), .. } => {
                let count = if *outcome == Outcome::Succeeded { &self.succeeded } else { &self.other };
                count.fetch_add(1, Ordering::SeqCst);
                self.ended.notify_one();
            }
            Observation::Call { .. } => {
                self.calls.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

/// Submits every plan, waits for all of them.
async fn drive(engine: &Engine, counts: &Counts, what: &str, plans: Vec<Plan>) -> Duration {
    let before = counts.succeeded.load(Ordering::SeqCst);
    let n = plans.len() as u64;
    let start = Instant::now();
    for (index, plan) in plans.into_iter().enumerate() {
        let key = format!("{what}-{index}");
        let id = Some(ExecutionId::new(format!("exe_{key}")));
        engine.submit(NewPlan { id, dedup_key: key.clone(), plan, intent: key, notices: vec![] }).await.unwrap();
    }
    while counts.succeeded.load(Ordering::SeqCst) - before < n {
        assert_eq!(counts.other.load(Ordering::SeqCst), 0, "an execution failed");
        let _ = tokio::time::timeout(Duration::from_millis(100), counts.ended.notified()).await;
    }
    start.elapsed()
}

/// MiB.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
}

async fn round(n: usize) {
    let fake = FakePlatform::default();
    let mut places: Vec<Place> = (0..n).map(|_| Place::new(app())).collect();
    for (index, place) in places.iter_mut().enumerate() {
        place.record = record(&place.app, &format!("feature/b{index}"));
        place.fake = fake.clone();
    }
    let counts = Arc::new(Counts::default());
    let engine = Engine::new(
        EngineConfig::new("scale"),
        Arc::new(Mem::default()),
        Arc::new(places[0].steps()),
        Arc::new(TestClock::seeded(1)),
    )
    .with_observer(counts.clone());
    let stop = CancellationToken::new();
    let server = tokio::spawn({
        let (engine, stop) = (engine.clone(), stop.clone());
        async move { engine.serve(stop).await }
    });

    let plans: Vec<Plan> =
        places.iter().enumerate().map(|(i, place)| place.create(&format!("exe_create-{i}"), FIRST)).collect();
    let mut steps = plans.iter().map(|plan| plan.steps.len()).sum::<usize>();
    let create = drive(&engine, &counts, "create", plans).await;
    assert_eq!(fake.view().services.len(), n);
    let plans: Vec<Plan> =
        places.iter().enumerate().map(|(i, place)| place.destroy(&format!("exe_destroy-{i}"))).collect();
    steps += plans.iter().map(|plan| plan.steps.len()).sum::<usize>();
    let destroy = drive(&engine, &counts, "destroy", plans).await;
    assert!(fake.view().is_empty(), "something is left");
    stop.cancel();
    server.await.unwrap();

    let wall = create + destroy;
    println!(
        "| {n} | {steps} | {} | {:.2} | {:.2} | {:.0} | {:.0} |",
        counts.calls.load(Ordering::SeqCst),
        create.as_secs_f64(),
        destroy.as_secs_f64(),
        steps as f64 / wall.as_secs_f64(),
        peak_memory(),
    );
}

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![100, 1_000, 5_000] } else { sizes };
    println!("| previews | steps | calls | create s | destroy s | steps/s | peak MiB |");
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for n in sizes {
        runtime.block_on(round(n));
    }
}

//! N previews asked for at once, on the fake of AWS with AWS's documented request quotas: seconds until the last one answers,
//! beside what the quotas alone allow. Ten projects with a load balancer each (a load balancer takes 100 rules and 100 target
//! groups), one account, one process.
//!
//! Time is virtual: the SDK's requests reach the fake without a socket, each 30 ms away, and the clock jumps to whatever is due
//! next, for the engine, the adapter's budgets and the fake alike. So minutes of AWS's take seconds of a processor, and a busy
//! machine changes nothing.
//!
//! `cargo run --release -p landfall-aws --example quotas [N [EXECUTIONS]]` (default: 1000 previews, 64 executions at once)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[path = "quotas/scene.rs"]
mod scene;
#[path = "quotas/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use landfall_awsfake::quota::{Bucket, documented, family};
use landfall_awsfake::{Fake, Handle, Rules, Timing};
use landfall_engine::{Engine, EngineConfig, EngineObserver, NewPlan, Observation};
use landfall_model::ids::ExecutionId;
use landfall_testkit::Mem;
use landfall_workflow::Outcome;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use scene::PROJECTS;

const AIM: f64 = 1.2;

#[derive(Default)]
struct Counts {
    succeeded: AtomicU64,
    other: AtomicU64,
    ended: tokio::sync::Notify,
}

impl EngineObserver for Counts {
    fn observe(&self, what: &Observation<'_>) {
        if let Observation::ExecutionLeft { outcome: Some(outcome), .. } = what {
            let count = if *outcome == Outcome::Succeeded { &self.succeeded } else { &self.other };
            count.fetch_add(1, Ordering::SeqCst);
            self.ended.notify_one();
        }
    }
}

struct Converged {
    seconds: f64,
    failed: Vec<String>,
    fake: Handle,
}

async fn converge(previews: usize, executions: usize) -> Converged {
    let rules = Rules { timing: Timing::like_aws(), ..Rules::default() };
    let (_, fake) = Fake { rules, scale: 0.0, port: 0 }.run().await.unwrap();
    let places = scene::places(&fake, &format!("http://fake-{previews}-{executions}.invalid")).await;
    fake.throttle_as_documented();
    fake.clear_calls();

    let counts = Arc::new(Counts::default());
    let config = EngineConfig { max_executions: executions, ..EngineConfig::new("quotas") };
    let steps = Arc::new(scene::Everywhere::new(&places));
    let engine = Engine::new(config, Arc::new(Mem::default()), steps, Arc::new(scene::VirtualClock::of(&fake)))
        .with_observer(counts.clone());
    let stop = CancellationToken::new();
    let server = tokio::spawn({
        let (engine, stop) = (engine.clone(), stop.clone());
        async move { engine.serve(stop).await }
    });

    let begun = Instant::now();
    let ids: Vec<ExecutionId> = (0..previews).map(|index| ExecutionId::new(format!("exe_{index}"))).collect();
    for (index, id) in ids.iter().enumerate() {
        let plan = scene::plan(&places[index % PROJECTS], index, id);
        let key = id.to_string();
        let new = NewPlan { id: Some(id.clone()), dedup_key: key.clone(), plan, intent: key, notices: vec![] };
        engine.submit(new).await.unwrap();
    }
    let mut told = 0;
    let ended = || counts.succeeded.load(Ordering::SeqCst) + counts.other.load(Ordering::SeqCst);
    while ended() < previews as u64 {
        let _ = tokio::time::timeout(Duration::from_secs(60), counts.ended.notified()).await;
        let now = begun.elapsed().as_secs();
        if now / 100 != told {
            told = now / 100;
            eprintln!("{now} s: {} previews, {} calls", ended(), fake.calls().len());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    stop.cancel();
    server.await.unwrap();

    let mut failed = Vec::new();
    for id in ids.iter().filter(|_| counts.other.load(Ordering::SeqCst) > 0) {
        let view = engine.view(id).await.unwrap();
        if view.outcome != Some(Outcome::Succeeded) {
            failed.push(format!("{}: {}", view.environment, view.message.unwrap_or_default()));
        }
    }
    Converged { seconds, failed, fake }
}

/// Calls without which no preview comes to be, by family: a revision, a service, a target group with its attributes, a rule.
/// What has to be read is left out, so the floor is lower than anybody can come.
fn necessary(previews: usize) -> BTreeMap<&'static str, f64> {
    let mut calls = BTreeMap::<&str, f64>::new();
    let mut each = |service, operation: &str, count: usize| {
        *calls.entry(family(service, operation)).or_default() += count as f64;
    };
    each("ecs", "RegisterTaskDefinition", previews);
    each("ecs", "CreateService", previews);
    let elb = "elasticloadbalancing";
    each(elb, "CreateTargetGroup", previews);
    each(elb, "ModifyTargetGroupAttributes", previews);
    each(elb, "CreateRule", previews);
    each(elb, "CreateListener", PROJECTS.min(previews));
    calls
}

/// Seconds in which a family lets so many calls through.
fn seconds(bucket: Bucket, calls: f64) -> f64 {
    ((calls - bucket.burst) / bucket.per_second).max(0.0)
}

async fn run(previews: usize, executions: usize) -> bool {
    let alone = converge(1, executions).await;
    let all = converge(previews, executions).await;
    let calls = all.fake.calls();
    let (mut made, mut throttled) = (BTreeMap::<&str, f64>::new(), BTreeMap::<&str, u64>::new());
    for call in &calls {
        *made.entry(call.family).or_default() += 1.0;
        let too_fast = call.code.as_deref().is_some_and(|code| code.contains("Throttling"));
        *throttled.entry(call.family).or_default() += u64::from(too_fast);
    }
    let (quotas, needed) = (documented(), necessary(previews));
    println!("| API family | burst | per s | calls needed | allowed in s | calls made | allowed in s | throttled |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for (name, bucket) in quotas.iter().filter(|(name, _)| made.contains_key(name.as_str())) {
        let (needed, made) = (needed.get(name.as_str()).copied().unwrap_or_default(), made[name.as_str()]);
        println!(
            "| {name} | {} | {} | {needed:.0} | {:.0} | {made:.0} | {:.0} | {} |",
            bucket.burst,
            bucket.per_second,
            seconds(*bucket, needed),
            seconds(*bucket, made),
            throttled[name.as_str()],
        );
    }
    let mut operations = BTreeMap::<&str, u64>::new();
    calls.iter().for_each(|call| *operations.entry(&call.operation).or_default() += 1);
    let operations: Vec<String> = operations.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("\nCalls: {}.", operations.join(", "));
    let floor = quotas.iter().filter_map(|(name, bucket)| Some(seconds(*bucket, *needed.get(name.as_str())?)));
    let floor = floor.fold(0.0, f64::max);
    let throttled: u64 = throttled.values().sum();
    println!("\n| {previews} previews, {executions} executions at once | |");
    println!("|---|---:|");
    println!("| the quotas' floor, s | {floor:.0} |");
    println!("| one preview alone, s | {:.0} |", alone.seconds);
    println!("| until the last of all answers, s | {:.0} |", all.seconds);
    println!("| ÷ floor (aim: at most {AIM}) | {:.3} |", all.seconds / floor);
    println!("| throttled answers, each repeated by the adapter | {throttled} of {} |", calls.len());
    println!("| previews that failed | {} |", all.failed.len());
    for failure in all.failed.iter().take(5) {
        eprintln!("{failure}");
    }
    let met = all.seconds <= AIM * floor && all.failed.is_empty();
    println!("\n{}", if met { "met" } else { "NOT met" });
    met
}

fn main() -> std::process::ExitCode {
    let mut numbers = std::env::args().skip(1).filter_map(|n| n.parse().ok());
    let (previews, executions) = (numbers.next().unwrap_or(1_000), numbers.next().unwrap_or(64));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    if runtime.block_on(run(previews, executions)) {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}

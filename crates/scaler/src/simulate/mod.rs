//! A workload replayed against Landfall's scaler and two others, in a world that is the same for all: what each of them costs,
//! and how long tasks wait.

mod generate;
mod scalers;
mod svg;
mod trace;
mod world;

use serde::Serialize;

pub use self::generate::Generator;
use self::scalers::Scaler;
pub use self::scalers::Who;
pub use self::svg::svg;
pub use self::trace::{Event, Trace, TraceError, What};
use self::world::World;
use crate::cluster::Policy;
use crate::price::{InstanceType, Purchase};
use crate::shape::Kind;

#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub instance_type: InstanceType,
    /// At which price; interruptions are the workload's in either case.
    pub purchase: Purchase,
    /// Seconds from a launch until tasks are placed.
    pub boot: u64,
    /// Instances at most.
    pub max: u64,
    /// Which instances are interrupted.
    pub seed: u64,
    /// Landfall's; the others have theirs.
    pub policy: Policy,
}

/// What came out for one of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub who: Who,
    /// Its name.
    pub trace: String,
    /// Started: the trace's own after its services of second 0, and those that took another's place.
    pub tasks: u64,
    /// Seconds that a task waited: median, 95th and 99th per cent.
    pub pending_p50: u64,
    pub pending_p95: u64,
    pub pending_p99: u64,
    /// Seconds of all tasks together that they waited longer than an instance takes to start.
    pub beyond_boot: u64,
    pub instance_hours: f64,
    /// Instance-hours that what ran would have taken, had it been packed without a gap on instances that start and end in no
    /// time: nobody runs it on fewer.
    pub least_hours: f64,
    /// Dollars.
    pub cost: f64,
    /// 0 to 1; of CPU or of memory, of which more is used.
    pub utilisation: f64,
    /// Instances that got the notice of two minutes.
    pub interruptions: u64,
    /// Stopped with an instance that had not been drained.
    pub killed_undrained: u64,
    /// Stopped with an interrupted instance that was draining.
    pub cut_short: u64,
    /// Still waiting at the end.
    pub never_placed: u64,
    /// Instances.
    pub launches: u64,
    #[serde(skip)]
    pub samples: Vec<Sample>,
}

/// A moment, for the plot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub second: u64,
    pub instances: u64,
    pub waiting: u64,
}

/// Points of the plot.
const SAMPLES: u64 = 480;
/// The services of second 0 have run for so long when the trace begins and anything counts: a day does not begin with nothing
/// there, and how a scaler comes up from nothing is no part of it.
const SETTLE: u64 = 3 * 3600;

pub fn simulate(trace: &Trace, who: Who, options: &Options) -> Outcome {
    let capacity = options.instance_type.capacity();
    let kind = Kind {
        name: options.instance_type.name.clone(),
        capacity,
        ports: Default::default(),
        attributes: Default::default(),
        price: options.instance_type.price(options.purchase),
        limit: u64::MAX,
    };
    let price = kind.price;
    let mut world = World::new(capacity, options.boot, options.seed);
    let mut scaler = Scaler::new(who, kind, options);
    let end = SETTLE + trace.seconds;
    let due = |event: &Event| match event.what {
        What::Service { .. } if event.second == 0 => 0,
        _ => SETTLE + event.second,
    };
    let mut events: Vec<(u64, &Event)> = trace.events.iter().map(|event| (due(event), event)).collect();
    events.sort_by_key(|(at, _)| *at);
    let mut events = events.into_iter().filter(|(at, _)| *at <= end).peekable();
    let (every, step) = (who.every(), (trace.seconds / SAMPLES).max(1));
    let (mut look, mut sample) = (0, SETTLE);
    let mut settled = false;
    let mut samples = Vec::new();
    loop {
        let event = events.peek().map_or(u64::MAX, |(at, _)| *at);
        let next = event.min(look).min(sample).min(world.next()).max(world.now);
        if next > end {
            break;
        }
        world.to(next);
        // The first sample is due then, so this is that second.
        if !settled && next >= SETTLE {
            world.count_from_now();
            settled = true;
        }
        while let Some((_, event)) = events.next_if(|(at, _)| *at <= next) {
            world.happens(&event.what);
        }
        if look <= next {
            scaler.look(&mut world);
            look = next + every;
        }
        if sample <= next {
            let instances = world.there.len() as u64;
            samples.push(Sample { second: next - SETTLE, instances, waiting: world.waiting.len() as u64 });
            sample = next + step;
        }
    }
    world.to(end);
    world.close();
    let never_placed = world.waiting.len() as u64;
    let counts = &mut world.counts;
    counts.waited.sort_unstable();
    let part = |(used, all): (f64, f64)| if all > 0.0 { used / all } else { 0.0 };
    let hours = counts.machine_seconds as f64 / 3600.0;
    Outcome {
        who,
        trace: trace.name.clone(),
        tasks: counts.waited.len() as u64,
        pending_p50: percentile(&counts.waited, 50),
        pending_p95: percentile(&counts.waited, 95),
        pending_p99: percentile(&counts.waited, 99),
        beyond_boot: counts.waited.iter().map(|waited| waited.saturating_sub(options.boot)).sum(),
        instance_hours: hours,
        least_hours: counts.least_seconds as f64 / 3600.0,
        cost: hours * price,
        utilisation: part((counts.used.0, counts.capacity.0)).max(part((counts.used.1, counts.capacity.1))),
        interruptions: counts.interruptions,
        killed_undrained: counts.killed,
        cut_short: counts.cut_short,
        never_placed,
        launches: counts.launches,
        samples,
    }
}

/// Nearest rank.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

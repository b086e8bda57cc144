//! Traces of a day, for any seed: what clusters go through.

use super::trace::{Event, Trace, What};
use crate::random::Random;

const DAY: u64 = 86_400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// Services that follow the sun, tenfold from night to noon, as their own scaling asks every five minutes.
    Diurnal,
    /// Hardly anything, and now and then many tasks at once.
    Batch,
    /// Services of constant size that are deployed again and again, each task replaced.
    Deploys,
    /// Services of constant size, whose Spot instances are interrupted many at a time.
    Storm,
}

/// CPU units, MiB.
const SHAPES: [(u64, u64); 6] = [(256, 512), (512, 1024), (256, 1024), (1024, 2048), (128, 256), (512, 2048)];

impl Generator {
    pub const ALL: [Self; 4] = [Self::Diurnal, Self::Batch, Self::Deploys, Self::Storm];

    pub fn name(self) -> &'static str {
        match self {
            Self::Diurnal => "diurnal",
            Self::Batch => "batch",
            Self::Deploys => "deploys",
            Self::Storm => "storm",
        }
    }

    pub fn trace(self, seed: u64) -> Trace {
        let mut random = Random::new(seed.wrapping_mul(4).wrapping_add(self as u64));
        let events = match self {
            Self::Diurnal => diurnal(&mut random),
            Self::Batch => batch(&mut random),
            Self::Deploys => deploys(&mut random),
            Self::Storm => storm(&mut random),
        };
        let mut trace = Trace::new(self.name(), events);
        trace.seconds = DAY;
        trace
    }
}

fn service(second: u64, index: usize, count: u64) -> Event {
    let (cpu, memory) = SHAPES[index % SHAPES.len()];
    Event { second, what: What::Service { name: format!("web{index}"), count, cpu, memory } }
}

fn diurnal(random: &mut Random) -> Vec<Event> {
    let mut events = Vec::new();
    for index in 0..5 {
        let noon = random.between(10, 40) as f64;
        // Not all have their noon at the same time.
        let shift = random.between(0, 4 * 3600);
        let mut last = u64::MAX;
        for second in (0..DAY).step_by(300) {
            let turn = ((second + shift) as f64 / DAY as f64 * std::f64::consts::TAU).cos();
            let wanted = noon * (0.55 - 0.45 * turn) * (0.95 + 0.1 * random.unit());
            let count = wanted.round().max(1.0) as u64;
            if count != last {
                // Not all at the same second, and not when anybody looks.
                events.push(service(if second == 0 { 0 } else { second + random.below(300) }, index, count));
                last = count;
            }
        }
    }
    events
}

fn batch(random: &mut Random) -> Vec<Event> {
    let mut events = vec![service(0, 0, 2)];
    let mut second = random.exponential(3600.0);
    while (second as u64) < DAY - 2 * 3600 {
        let (cpu, memory) = SHAPES[random.below(4) as usize];
        let (count, seconds) = (random.between(20, 120), random.between(300, 1500));
        let name = format!("job{}", events.len());
        events.push(Event { second: second as u64, what: What::Task { name, count, cpu, memory, seconds } });
        second += random.exponential(4800.0);
    }
    events
}

fn deploys(random: &mut Random) -> Vec<Event> {
    let mut events = Vec::new();
    for index in 0..6 {
        events.push(service(0, index, random.between(6, 30)));
        let mut second = 1800.0 + random.exponential(7200.0);
        while (second as u64) < DAY - 3600 {
            events.push(Event { second: second as u64, what: What::Deploy { name: format!("web{index}") } });
            second += 600.0 + random.exponential(7200.0);
        }
    }
    events
}

fn storm(random: &mut Random) -> Vec<Event> {
    let mut events: Vec<Event> = (0..6).map(|index| service(0, index, random.between(6, 30))).collect();
    let mut second = 3600.0 + random.exponential(5400.0);
    while (second as u64) < DAY - 3600 {
        let percent = random.between(15, 60);
        let what = if random.below(2) == 0 { What::Interrupt { percent } } else { What::Rebalance { percent } };
        events.push(Event { second: second as u64, what });
        second += 900.0 + random.exponential(5400.0);
    }
    events
}

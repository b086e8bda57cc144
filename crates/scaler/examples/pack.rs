//! The packer beside first-fit decreasing, written as everybody writes it: instances and time, as Markdown tables.
//!
//! `cargo run --release -p landfall-scaler --example pack`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
// It measures.
#![allow(clippy::disallowed_methods)]

#[path = "../tests/scaler/naive.rs"]
mod naive;

use std::time::Instant;

use landfall_scaler::cluster::{Cluster, Fleet, Instance, Offer, Policy, Service, State, Status, Tasks};
use landfall_scaler::constraint::{Attributes, Constraint};
use landfall_scaler::decide::decide;
use landfall_scaler::pack::{need, place};
use landfall_scaler::price::Purchase;
use landfall_scaler::shape::{Host, HostPort, Kind, Shape};
use landfall_scaler::{Random, Resources};

fn kind(capacity: Resources) -> Kind {
    Kind {
        name: "one".to_owned(),
        capacity,
        ports: [22, 2375, 2376, 51_678, 51_679, 51_680].map(HostPort::tcp).into(),
        attributes: Attributes::from_iter([
            ("ecs.instance-type".to_owned(), "m5.large".to_owned()),
            ("ecs.availability-zone".to_owned(), "us-east-1a".to_owned()),
        ]),
        price: 1.0,
        limit: u64::MAX,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn timed<T>(rounds: usize, mut work: impl FnMut() -> T) -> (f64, T) {
    let mut last = work();
    let times = (0..rounds).map(|_| {
        let began = Instant::now();
        last = work();
        began.elapsed().as_secs_f64() * 1e3
    });
    (median(times.collect()), last)
}

fn lower(shapes: &[Shape], counts: &[u64], capacity: Resources) -> f64 {
    let load = |need: fn(&Resources) -> u64| {
        shapes.iter().zip(counts).map(|(shape, count)| (need(&shape.need) * count) as f64).sum::<f64>()
            / need(&capacity) as f64
    };
    load(|need| need.cpu).max(load(|need| need.memory))
}

fn main() {
    println!(
        "| 100,000 tasks of 200 shapes | seed | lower bound | first-fit decreasing | landfall | ÷ | naive ms | landfall ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, law) in [
        ("uniform, 3 to 35 %", 0),
        ("independent, 1 to 50 %", 1),
        ("powers of two", 2),
        ("half an instance, CPU against memory", 3),
    ] {
        for seed in [1, 2, 3] {
            let mut random = Random::new(seed);
            let capacity = Resources { tasks: u64::MAX, ..Resources::instance(16_384, 65_536) };
            let kind = kind(capacity);
            let mut shapes = Vec::new();
            for index in 0..200 {
                let (cpu, memory) = match law {
                    0 => (random.between(500, 5_700), random.between(2_000, 22_900)),
                    1 => (random.between(160, 8_192), random.between(650, 32_768)),
                    2 => (256u64 << random.below(6), 512u64 << random.below(7)),
                    _ => {
                        let part = random.unit();
                        (200 + (part * 8_000.0) as u64, 800 + ((1.0 - part) * 32_000.0) as u64)
                    }
                };
                shapes.push(Shape::new(&format!("s{index}"), Resources::task(cpu, memory)));
            }
            let counts = vec![500; 200];
            let began = Instant::now();
            let ffd = naive::first_fit(&shapes, &counts, &kind);
            let slow = began.elapsed().as_secs_f64() * 1e3;
            let (fast, packing) = timed(5, || need(&shapes, &counts, std::slice::from_ref(&kind)));
            println!(
                "| {name} | {seed} | {:.0} | {ffd} | {} | {:.3} | {slow:.0} | {fast:.1} |",
                lower(&shapes, &counts, capacity),
                packing.instances(),
                packing.instances() as f64 / ffd as f64
            );
        }
    }
    println!("\n| | instances | ms |\n|---|---|---|");
    let only =
        Constraint::parse("attribute:ecs.instance-type =~ m5.* and attribute:ecs.availability-zone in [us-east-1a]")
            .unwrap();
    let shape = |name: &str, cpu, memory| Shape {
        constraints: vec![only.clone()],
        ..Shape::new(name, Resources::task(cpu, memory))
    };
    let shapes = [shape("small", 50, 100), shape("large", 95, 190)];
    let ca = kind(Resources { tasks: 100, ..Resources::instance(1_000, 5_000) });
    let (ms, packing) = timed(51, || need(&shapes, &[50_000, 1_000], std::slice::from_ref(&ca)));
    println!("| landfall, 51,000 tasks | {} | {ms:.4} |", packing.instances());
    let (ms, count) = timed(3, || naive::first_fit(&shapes, &[50_000, 1_000], &ca));
    println!("| first-fit decreasing | {count} | {ms:.1} |");
    let hosts = vec![Host { free: Resources::instance(4_096, 16_384), ..kind(Resources::instance(0, 0)).empty() }; 200];
    let shapes: Vec<Shape> = (0..60).map(|n| shape(&format!("s{n}"), 200 + n * 7, 300 + n * 31)).collect();
    let (ms, placed) = timed(21, || place(&shapes, &[1_000; 60], &hosts));
    println!("| schedulable of 60,000 on 200 | {} | {ms:.3} |", 60_000 - placed.left.iter().sum::<u64>());
    let waiting = cluster();
    let mut calm = waiting.clone();
    calm.waiting.clear();
    let mut full = waiting.clone();
    full.instances.iter_mut().for_each(|instance| instance.host.free = Resources::instance(100, 100));
    for (what, cluster) in [("3,000 tasks waiting", waiting), ("nothing waiting", calm), ("every instance full", full)]
    {
        let (ms, decision) = timed(21, || decide(&cluster));
        let change = &decision.fleets[0];
        let tasks: u64 = cluster.instances.iter().map(Instance::running).sum::<u64>()
            + cluster.waiting.iter().map(|tasks| tasks.count).sum::<u64>();
        println!(
            "| a decision at {} instances and {tasks} tasks, {what} | {} launched, {} drained | {ms:.2} |",
            cluster.instances.len(),
            change.launched(),
            change.drain.len()
        );
    }
}

/// 5,000 instances of three types, with 17,000 tasks of 60 shapes on them and 3,000 that wait.
fn cluster() -> Cluster {
    let mut random = Random::new(5);
    let offer = |name: &str, cpu, memory, price| Offer {
        kind: Kind { name: name.to_owned(), price, ..kind(Resources::instance(cpu, memory)) },
        purchase: Purchase::Spot,
        weight: 1,
        short_until: None,
    };
    let offers = vec![offer("a", 4096, 16_384, 0.06), offer("b", 8192, 32_768, 0.15), offer("c", 4096, 8192, 0.07)];
    let shapes: Vec<Shape> = (0..60)
        .map(|index| {
            Shape::new(&format!("s{index}"), Resources::task(128 + 32 * (index % 24), 256 + 96 * (index % 31)))
        })
        .collect();
    let mut instances = Vec::new();
    for id in 0..5_000 {
        let offer = random.below(3) as usize;
        let mut host = offers[offer].kind.empty();
        let (mut tasks, mut standalone) = (Vec::new(), 0);
        for _ in 0..random.between(1, 6) {
            let shape = random.below(60) as usize;
            if host.free.times(&shapes[shape].need) > 0 {
                host.free = host.free.less(&shapes[shape].need);
                match random.below(10) {
                    0 => standalone += 1,
                    _ => tasks.push(Tasks { shape, count: 1 }),
                }
            }
        }
        instances.push(Instance {
            id: format!("i-{id}"),
            fleet: 0,
            offer,
            state: State::Active,
            host,
            tasks,
            standalone,
            notice: None,
        });
    }
    let fleet = Fleet {
        name: "main".to_owned(),
        status: Status::Active,
        min_weight: 0,
        max_weight: 9_000,
        policy: Policy::default(),
        instead_of: None,
        unseen: Attributes::default(),
        replacing: false,
        next_permitted: None,
        signal: None,
        offers,
    };
    Cluster {
        now: 0,
        services: (0..60).map(|shape| Service { shape, desired: 290 }).collect(),
        waiting: (0..60).map(|shape| Tasks { shape, count: 50 }).collect(),
        fleets: vec![fleet],
        shapes,
        instances,
    }
}

//! Every generator against every scaler, as a Markdown table.
//!
//! `cargo run --release -p landfall-scaler --example simulate [SEED...]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use landfall_scaler::cluster::Policy;
use landfall_scaler::price::{Prices, Purchase};
use landfall_scaler::simulate::{Generator, Options, Who, simulate};

fn main() {
    let prices = Prices::embedded().unwrap();
    let seeds: Vec<u64> = std::env::args().skip(1).map(|seed| seed.parse().unwrap()).collect();
    let seeds = if seeds.is_empty() { vec![1, 2, 3] } else { seeds };
    println!(
        "| trace | seed | scaler | p50 s | p95 s | p99 s | beyond boot s | ÷ managed | instance-hours | ÷ managed | at least ÷ managed | used % | interrupted | killed undrained | cut short | never placed |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for generator in Generator::ALL {
        for seed in &seeds {
            let trace = generator.trace(*seed);
            let options = Options {
                instance_type: prices.get("m5.large").unwrap().clone(),
                purchase: Purchase::Spot,
                boot: 90,
                max: 200,
                seed: *seed,
                policy: Policy::default(),
            };
            let run = |who| simulate(&trace, who, &options);
            let managed = run(Who::Managed);
            for outcome in [run(Who::Landfall), run(Who::Original), managed.clone()] {
                println!(
                    "| {} | {seed} | {} | {} | {} | {} | {} | {:.3} | {:.1} | {:.3} | {:.3} | {:.0} | {} | {} | {} | {} |",
                    outcome.trace,
                    outcome.who.name(),
                    outcome.pending_p50,
                    outcome.pending_p95,
                    outcome.pending_p99,
                    outcome.beyond_boot,
                    outcome.beyond_boot as f64 / managed.beyond_boot as f64,
                    outcome.instance_hours,
                    outcome.instance_hours / managed.instance_hours,
                    outcome.least_hours / managed.instance_hours,
                    outcome.utilisation * 100.0,
                    outcome.interruptions,
                    outcome.killed_undrained,
                    outcome.cut_short,
                    outcome.never_placed,
                );
            }
        }
    }
}

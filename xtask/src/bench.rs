//! Benchmarks. Times are compared with a peer's or a floor's of the same run, interleaved, medians of at least five pairs; what is
//! simulated or on virtual time runs once. docs/benchmarks.md holds the last results with the command beside each.

pub(crate) mod aws;
mod ci;
mod deploy;
mod intake;
mod preview;
mod push;
mod push_floor;
mod rebuild;
mod registry;
mod router;
mod router_peers;
mod server;
mod start;
mod stats;
pub(crate) mod synth;
mod watch;
mod workspace;

use anyhow::{Result, bail};

pub(crate) use server::target_directory;

pub(crate) fn run(args: &[String]) -> Result<()> {
    match args.first().map(String::as_str) {
        Some("ci") => ci::run(),
        Some("deploy") => deploy::run(),
        Some("intake") => intake::run(),
        Some("pack") => pack(),
        Some("preview") => preview::run(),
        Some("push") => push::run(),
        Some("quotas") => quotas(),
        Some("rebuild") => rebuild::run(),
        Some("router") => router::run(&args[1..]),
        Some("scale") => scale(),
        Some("start") => start::run(),
        Some("synth") => synth::run(),
        Some("watch") => watch::run(),
        Some("janitor") => workspace::janitor(&args[1..]),
        Some("all") => {
            intake::run()?;
            preview::run()?;
            push::run()?;
            rebuild::run()?;
            router::run(&[])?;
            scale()?;
            deploy::run()?;
            watch::run()?;
            quotas()?;
            pack()?;
            ci::run()?;
            synth::run()?;
            start::run()
        }
        Some(other) => bail!("no benchmark called {other}"),
        None => bail!(
            "name a benchmark: ci, deploy, intake, pack, preview, push, quotas, rebuild, router, scale, start, synth, watch, all"
        ),
    }
}

/// 100, 1,000 and 5,000 previews on an in-memory platform: all created, all destroyed.
fn scale() -> Result<()> {
    example("landfall-steps", "scale")
}

/// 1,000 previews on the fake of AWS under AWS's documented quotas, on virtual time.
fn quotas() -> Result<()> {
    example("landfall-aws", "quotas")
}

/// Packing and deciding beside first-fit decreasing, and the simulation's table.
fn pack() -> Result<()> {
    example("landfall-scaler", "pack")?;
    example("landfall-scaler", "simulate")
}

fn example(package: &str, name: &str) -> Result<()> {
    let run = ["run", "--release", "--quiet", "-p", package, "--example", name];
    if !std::process::Command::new("cargo").args(run).status()?.success() {
        bail!("the example {name} failed");
    }
    Ok(())
}

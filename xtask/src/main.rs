//! Chores that are not part of the product: `cargo xtask arch`, `cargo xtask bench NAME`, `cargo xtask dist`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "xtask talks to the developer")]

mod arch;
mod bench;
mod dist;
mod http;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>

  arch            crate dependencies against the map in ARCHITECTURE.md, file sizes
  bench NAME      ci | deploy | intake | preview | push | quotas | rebuild | router | scale | start | watch | all: a benchmark, its table in Markdown on stdout
  dist            a release: one static binary, its archive, an image of it and checksums, in target/dist";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("arch") => arch::run(),
        Some("bench") => bench::run(&args[1..]),
        Some("dist") => dist::run(&args[1..]),
        // By rustc only, where `dist` builds.
        Some("link") => dist::link::run(&args[1..]),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

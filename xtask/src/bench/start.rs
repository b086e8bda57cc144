//! `landfall --version` beside `rg --version` and `aws --version`: wall time of the whole process, memory, size on disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use super::server::release_binary;
use super::stats::{median, paired_ratio};

const ROUNDS: usize = 25;

pub(crate) fn run() -> Result<()> {
    let landfall = release_binary()?;
    let rg = find("rg").context("ripgrep is not installed (apt-get install ripgrep)")?;
    // The command itself: what PATH has may be a script around it.
    let aws = super::aws::peers()?.join("aws");
    let peers: Vec<(&str, &Path)> = vec![("landfall", &landfall), ("rg", &rg), ("aws", &aws)];
    let mut walls: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
    for round in 0..=ROUNDS {
        for (index, (_, program)) in peers.iter().enumerate() {
            let started = Instant::now();
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            if round > 0 {
                walls[index].push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    println!(
        "| `--version`, medians of {ROUNDS} interleaved rounds | wall ms | landfall's wall ÷ this | peak memory MB | size MB |"
    );
    println!("|---|---|---|---|---|");
    for (index, (name, program)) in peers.iter().enumerate() {
        let size = std::fs::metadata(program).map_or(0, |m| m.len()) as f64 / 1e6;
        println!(
            "| {name} | {:.2} | {:.3} | {:.1} | {size:.2} |",
            median(&walls[index]),
            paired_ratio(&walls[0], &walls[index]),
            peak_memory_mb(Command::new(program).arg("--version"))?,
        );
    }
    Ok(())
}

/// Debian's ripgrep lives in PATH.
fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// GNU time's maximum resident set of one run.
pub(crate) fn peak_memory_mb(command: &mut Command) -> Result<f64> {
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%M"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(key, value),
            None => timed.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        timed.current_dir(directory);
    }
    let output = timed.stdout(Stdio::null()).output().context("GNU time is not installed (apt-get install time)")?;
    let text = String::from_utf8_lossy(&output.stderr);
    Ok(text.lines().last().unwrap_or_default().trim().parse::<f64>().unwrap_or(f64::NAN) / 1e3)
}

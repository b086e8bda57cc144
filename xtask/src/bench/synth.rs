//! `landfall template` beside `cdk synth` and troposphere: the whole process from a source file to a template, of an application on
//! Fargate (VPC in two zones, load balancer, two containers, autoscaling) and of ten services of it. The parts are the same; CDK writes
//! egress rules, policies and a second log group and role as resources of their own, so its count is higher.

#[path = "../../../crates/stack/tests/application/mod.rs"]
pub(crate) mod application;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use self::application::application;
use super::server::{release_binary, target_directory};
use super::start::peak_memory_mb;
use super::stats::{median, paired_ratio};

const ROUNDS: usize = 7;
const CDK: [&str; 3] = ["aws-cdk@2.1148.1", "aws-cdk-lib@2.276.0", "constructs@10.8.1"];
const TROPOSPHERE: &str = "troposphere==4.11.1";

pub(crate) fn run() -> Result<()> {
    let landfall = release_binary()?;
    let home = installed()?;
    println!(
        "| medians of {ROUNDS} interleaved rounds | resources | wall ms | landfall's wall ÷ this | peak memory MB | landfall's memory ÷ this |"
    );
    println!("|---|---|---|---|---|---|");
    for services in [1, 10] {
        std::fs::write(home.join("landfall.yml"), application(services))?;
        let count = services.to_string();
        let command = |program: &Path, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args).current_dir(&home).env("SERVICES", &count).env("CI", "true");
            command
        };
        let cdk = home.join("node_modules/.bin/cdk");
        let synth = ["synth", "--quiet", "--no-notices", "--app", "node app.js", "--output", "cdk.out"];
        let mut peers = [
            ("landfall template", command(&landfall, &["template", "prod", "--quiet", "--output", "json"])),
            ("troposphere", command(&home.join("venv/bin/python"), &["stack.py"])),
            ("cdk synth", command(&cdk, &synth)),
        ];
        let mut walls: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
        let mut made = vec![0; peers.len()];
        for round in 0..=ROUNDS {
            for (index, (name, command)) in peers.iter_mut().enumerate() {
                let started = Instant::now();
                let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped()).output()?;
                let wall = started.elapsed().as_secs_f64() * 1e3;
                ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
                if round > 0 {
                    walls[index].push(wall);
                    continue;
                }
                let text = match *name {
                    "cdk synth" => std::fs::read(home.join("cdk.out/Penguin.template.json"))?,
                    _ => output.stdout,
                };
                let template: serde_json::Value = serde_json::from_slice(&text).with_context(|| (*name).to_owned())?;
                made[index] = template["Resources"].as_object().context("no resources")?.len();
            }
        }
        let memory = peers.iter_mut().map(|(_, command)| peak_memory_mb(command)).collect::<Result<Vec<_>>>()?;
        for (index, (name, _)) in peers.iter().enumerate() {
            println!(
                "| {name}, {services} service{} | {} | {:.2} | 1/{:.0} | {:.1} | 1/{:.0} |",
                if services == 1 { "" } else { "s" },
                made[index],
                median(&walls[index]),
                1.0 / paired_ratio(&walls[0], &walls[index]),
                memory[index],
                memory[index] / memory[0],
            );
        }
    }
    Ok(())
}

/// Both peers in a directory of their own, once.
fn installed() -> Result<PathBuf> {
    let home = target_directory()?.join("synth");
    std::fs::create_dir_all(&home)?;
    std::fs::write(home.join("app.js"), include_str!("synth/app.js"))?;
    std::fs::write(home.join("stack.py"), include_str!("synth/stack.py"))?;
    let run = |program: &Path, args: &[&str]| -> Result<()> {
        let status = Command::new(program).args(args).current_dir(&home).stdout(Stdio::null()).status();
        ensure!(status.with_context(|| program.display().to_string())?.success(), "{} {args:?}", program.display());
        Ok(())
    };
    if !home.join("node_modules/.bin/cdk").exists() {
        let install = ["install", "--silent", "--no-audit", "--no-fund", "--no-save"];
        run(Path::new("npm"), &[&install[..], &CDK].concat())?;
    }
    if !home.join("venv/bin/pip").exists() {
        run(Path::new("python3"), &["-m", "venv", "venv"])?;
    }
    run(&home.join("venv/bin/pip"), &["--quiet", "--disable-pip-version-check", "install", TROPOSPHERE])?;
    Ok(home)
}

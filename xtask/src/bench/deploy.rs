//! `landfall deploy` and `landfall status` beside ecs-deploy and the AWS CLI, in turn, on one endpoint: the fake of AWS
//! (`crates/awsfake`) with rollouts that take no time, so that nothing but the tools themselves is measured. Calls are those
//! that the fake has counted.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::server::release_binary;
use super::start::peak_memory_mb;
use super::stats::{median, paired_ratio};
use super::workspace::Workspace;
use crate::http::Connection;

const ROUNDS: usize = 9;
const CLUSTER: &str = "default";
const SERVICE: &str = "bench-prod-web";
const INSTANT: &str = r#"{"timing": {"scheduler": 0, "provisioning": 0, "pending": 0, "activating": 0, "stopping": 0,
    "deprovisioning": 0, "settle": 0, "first_health_check": 0, "container_health": 0, "draining": 0}}"#;
const MANIFEST: &str = "project: bench
aws:
  fake:
    region: eu-central-1
    endpoint: ENDPOINT
    cluster: default
    network: {subnets: [subnet-0a1b2c3d4e5f60718], security_groups: [sg-0123456789abcdef0]}
    execution_role: ecsTaskExecutionRole
services:
  web:
    cpu: 256
    memory: 512
    containers:
      app: {image: 'registry/app:1', ports: [8080]}
environments:
  prod: {on: fake, services: [web]}
";

pub(crate) fn run() -> Result<()> {
    let landfall = release_binary()?;
    let peers = peers()?;
    let workspace = Workspace::new()?;
    let fake = Fake::start(workspace.path())?;
    let place = Place { landfall, peers, directory: workspace.path().to_owned(), fake };
    std::fs::write(place.directory.join("landfall.yml"), MANIFEST.replace("ENDPOINT", &place.fake.url))?;

    place.deploy(1).timed()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        ours.push(place.counted(place.deploy(2 * round))?);
        theirs.push(place.counted(place.ecs_deploy(2 * round + 1))?);
    }
    println!(
        "| whole command, a rollout that takes no time, medians of {ROUNDS} interleaved rounds | wall ms | calls |"
    );
    println!("|---|---|---|");
    row("`landfall deploy prod --image app=…`", &ours);
    row("`ecs deploy default bench-prod-web -i app …`", &theirs);
    let walls = |runs: &[Ran]| runs.iter().map(|ran| ran.wall_ms).collect::<Vec<_>>();
    println!("| landfall ÷ ecs-deploy | {:.3} | |", paired_ratio(&walls(&ours), &walls(&theirs)));

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(place.counted(place.status())?);
        theirs.push(place.counted(place.describe())?);
    }
    let memory = [peak_memory_mb(&mut place.status().0)?, peak_memory_mb(&mut place.describe().0)?];
    println!("\n| one read, medians of {ROUNDS} interleaved rounds | wall ms | calls | peak memory MB |");
    println!("|---|---|---|---|");
    for (name, runs, memory) in [
        ("`landfall status prod --output json`", &ours, memory[0]),
        ("`aws ecs describe-services`", &theirs, memory[1]),
    ] {
        println!("| {name} | {:.1} | {:.0} | {memory:.1} |", median(&walls(runs)), median(&calls(runs)));
    }
    let wall = paired_ratio(&walls(&ours), &walls(&theirs));
    println!("| landfall ÷ aws | {wall:.3} | | {:.2} |", memory[0] / memory[1]);
    Ok(())
}

fn row(name: &str, runs: &[Ran]) {
    let walls: Vec<f64> = runs.iter().map(|ran| ran.wall_ms).collect();
    println!("| {name} | {:.1} | {:.0} |", median(&walls), median(&calls(runs)));
}

fn calls(runs: &[Ran]) -> Vec<f64> {
    runs.iter().map(|ran| ran.calls as f64).collect()
}

struct Ran {
    wall_ms: f64,
    calls: u64,
}

struct Place {
    landfall: PathBuf,
    peers: PathBuf,
    directory: PathBuf,
    fake: Fake,
}

struct Run(Command);

impl Run {
    fn timed(mut self) -> Result<f64> {
        let started = Instant::now();
        let output = self.0.output()?;
        let wall = started.elapsed().as_secs_f64() * 1e3;
        if !output.status.success() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            bail!("{:?}: {}\n{}{}", self.0, output.status, text(&output.stdout), text(&output.stderr));
        }
        Ok(wall)
    }
}

impl Place {
    fn counted(&self, run: Run) -> Result<Ran> {
        self.fake.forget()?;
        let wall_ms = run.timed()?;
        Ok(Ran { wall_ms, calls: self.fake.calls()? })
    }

    fn command(&self, program: &Path, args: &[&str]) -> Run {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(&self.directory)
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .env("AWS_DEFAULT_REGION", "eu-central-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", &self.fake.url)
            .env("LANDFALL_STATE", self.directory.join("state"))
            .stdin(Stdio::null());
        Run(command)
    }

    fn deploy(&self, version: usize) -> Run {
        self.command(&self.landfall, &["deploy", "prod", "--image", &format!("app=registry/app:{version}")])
    }

    fn ecs_deploy(&self, version: usize) -> Run {
        let image = format!("registry/app:{version}");
        self.command(&self.peers.join("ecs"), &["deploy", CLUSTER, SERVICE, "-i", "app", &image, "--timeout", "60"])
    }

    fn status(&self) -> Run {
        self.command(&self.landfall, &["status", "prod", "--output", "json"])
    }

    fn describe(&self) -> Run {
        self.command(
            &self.peers.join("aws"),
            &["ecs", "describe-services", "--cluster", CLUSTER, "--services", SERVICE],
        )
    }
}

/// ecs-deploy and the AWS CLI in a virtual environment of the benchmarks' own.
pub(crate) fn peers() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent")?;
    let venv = root.join("target/bench-peers");
    let bin = venv.join("bin");
    if !bin.join("ecs").is_file() {
        let run = |command: &mut Command| -> Result<()> {
            match command.status()?.success() {
                true => Ok(()),
                false => bail!("{command:?} failed"),
            }
        };
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let install = ["install", "--quiet", "--disable-pip-version-check", "awscli==1.46.2", "ecs-deploy==1.17.0"];
        run(Command::new(bin.join("pip")).args(install))?;
    }
    Ok(bin)
}

/// The fake of AWS as a process of its own.
pub(crate) struct Fake {
    child: Child,
    pub(crate) url: String,
}

impl Fake {
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let build = ["build", "--release", "--quiet", "-p", "landfall-awsfake"];
        if !Command::new("cargo").args(build).status()?.success() {
            bail!("cargo {} failed", build.join(" "));
        }
        let rules = directory.join("rules.json");
        std::fs::write(&rules, INSTANT)?;
        let binary = release_binary()?.with_file_name("awsfake");
        let mut child = Command::new(&binary)
            .arg("--rules")
            .arg(&rules)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let mut url = String::new();
        let stdout = child.stdout.take().context("the fake has an output")?;
        BufReader::new(stdout).read_line(&mut url)?;
        Ok(Self { child, url: url.trim().to_owned() })
    }

    fn ask(&self, request: &str) -> Result<Value> {
        let host = self.url.trim_start_matches("http://");
        let response = Connection::tcp(host)?.send(&format!("{request} HTTP/1.1\r\nHost: {host}"), b"")?;
        serde_json::from_slice(&response.body).with_context(|| format!("the fake's answer to {request}"))
    }

    fn forget(&self) -> Result<()> {
        self.ask("DELETE /_fake/calls").map(drop)
    }

    fn calls(&self) -> Result<u64> {
        let calls = self.ask("GET /_fake/calls")?;
        Ok(calls["calls"].as_array().context("the fake lists its calls")?.len() as u64)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

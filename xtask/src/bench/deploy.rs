//! `landfall deploy` and `landfall status` beside ecs-deploy and the AWS CLI, in turn, on one endpoint: the fake of AWS
//! (`crates/awsfake`) with rollouts that take no time, so that nothing but the tools themselves is measured. Calls are those
//! that the fake has counted.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::aws::{CLUSTER, Fake, families, image, manifest, peers, service, succeed, tool, verdict};
use super::server::release_binary;
use super::start::peak_memory_mb;
use super::stats::{median, paired_ratio};
use super::workspace::Workspace;

const ROUNDS: usize = 15;
const OURS: &str = "eu-central-1";
const THEIRS: &str = "eu-west-1";

pub(crate) fn run() -> Result<()> {
    let place =
        Place { landfall: release_binary()?, peers: peers()?, workspace: Workspace::new()?, fake: Fake::start()? };
    let fake = &place.fake;
    std::fs::write(place.workspace.path().join("landfall.yml"), manifest(&fake.url, OURS, 1))?;
    fake.pace(0.0)?;
    fake.cluster(OURS)?;
    fake.cluster(THEIRS)?;
    let definition = fake.register(THEIRS, &service(1), "app1", &image("app", 1))?;
    fake.service(THEIRS, &service(1), &definition)?;

    // The first of each makes what is there once: the service, the state, compiled Python.
    succeed(place.deploy(1))?;
    succeed(place.ecs_deploy(1))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        ours.push(place.measured(OURS, place.deploy(2 * round))?);
        theirs.push(place.measured(THEIRS, place.ecs_deploy(2 * round + 1))?);
    }
    println!(
        "| whole command, a rollout that takes no time, medians of {ROUNDS} interleaved rounds | wall ms | calls | by family |"
    );
    println!("|---|---|---|---|");
    row("`landfall deploy prod --image app1=…`", &ours);
    row("`ecs deploy default bench-prod-web1 -i app1 …`", &theirs);
    let (wall, calls) = (ratio(&ours, &theirs), median(&each(&ours, |run| run.calls as f64)));
    println!("| landfall ÷ ecs-deploy | {wall:.3} | | |\n");
    println!("{} {wall:.3} of ecs-deploy's time (aim: 0.1)", verdict(wall <= 0.1));
    println!("{} {calls:.0} calls (aim: 5)", verdict(calls <= 5.0));

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(place.measured(OURS, place.status())?);
        theirs.push(place.measured(THEIRS, place.describe())?);
    }
    let memory = [peak_memory_mb(&mut place.status())?, peak_memory_mb(&mut place.describe())?];
    println!("\n| one read, medians of {ROUNDS} interleaved rounds | wall ms | calls | by family | peak memory MB |");
    println!("|---|---|---|---|---|");
    for (name, runs, memory) in [
        ("`landfall status prod --output json`", &ours, memory[0]),
        ("`aws ecs describe-services`", &theirs, memory[1]),
    ] {
        let wall = median(&each(runs, |run| run.wall_ms));
        println!("| {name} | {wall:.1} | {} | {} | {memory:.1} |", runs[0].calls, runs[0].families);
    }
    let (wall, memory) = (ratio(&ours, &theirs), memory[0] / memory[1]);
    println!("| landfall ÷ aws | {wall:.3} | | | {memory:.2} |\n");
    println!("{} 1/{:.0} of the AWS CLI's time (aim: 1/30)", verdict(wall <= 1.0 / 30.0), 1.0 / wall);
    println!("{} {memory:.2} of its memory (aim: 0.2)", verdict(memory <= 0.2));
    Ok(())
}

struct Ran {
    wall_ms: f64,
    calls: usize,
    families: String,
}

fn each(runs: &[Ran], value: fn(&Ran) -> f64) -> Vec<f64> {
    runs.iter().map(value).collect()
}

fn ratio(ours: &[Ran], theirs: &[Ran]) -> f64 {
    paired_ratio(&each(ours, |run| run.wall_ms), &each(theirs, |run| run.wall_ms))
}

fn row(name: &str, runs: &[Ran]) {
    let (wall, calls) = (median(&each(runs, |run| run.wall_ms)), median(&each(runs, |run| run.calls as f64)));
    let families = runs.last().map_or("", |run| &run.families);
    println!("| {name} | {wall:.1} | {calls:.0} | {families} |");
}

struct Place {
    landfall: PathBuf,
    peers: PathBuf,
    workspace: Workspace,
    fake: Fake,
}

impl Place {
    fn measured(&self, region: &str, command: Command) -> Result<Ran> {
        self.fake.forget_calls()?;
        let started = Instant::now();
        succeed(command)?;
        let wall_ms = started.elapsed().as_secs_f64() * 1e3;
        let calls = self.fake.calls(region)?;
        Ok(Ran { wall_ms, calls: calls.len(), families: families(&calls) })
    }

    fn landfall(&self, args: &[&str]) -> Command {
        tool(&self.landfall, args, self.workspace.path(), &self.fake.url, OURS)
    }

    fn peer(&self, program: &str, args: &[&str]) -> Command {
        tool(&self.peers.join(program), args, self.workspace.path(), &self.fake.url, THEIRS)
    }

    fn deploy(&self, version: usize) -> Command {
        self.landfall(&["deploy", "prod", "--image", &format!("app1={}", image("app", version))])
    }

    fn ecs_deploy(&self, version: usize) -> Command {
        let image = image("app", version);
        self.peer("ecs", &["deploy", CLUSTER, &service(1), "-i", "app1", &image, "--timeout", "60"])
    }

    fn status(&self) -> Command {
        self.landfall(&["status", "prod", "--output", "json"])
    }

    fn describe(&self) -> Command {
        self.peer("aws", &["ecs", "describe-services", "--cluster", CLUSTER, "--services", &service(1)])
    }
}

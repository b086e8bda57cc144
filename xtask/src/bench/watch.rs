//! How soon the end of a rollout is reported, and at how many calls: `landfall deploy`, ecs-deploy and the AWS CLI's waiter side
//! by side on one endpoint, each in a region of its own: the fake of AWS (`crates/awsfake`) in real time, its tasks taking
//! their time in the proportions of Fargate's. The real end is the service deployment's `finishedAt`; the reported one is the
//! end of the command.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use super::aws::{CLUSTER, Called, Fake, families, image, manifest, peers, service, succeed, tool, verdict};
use super::server::release_binary;
use super::stats::median;
use super::workspace::Workspace;

/// Seconds that a rollout is made to take, about, and the share of them in which new tasks settle.
const ROLLOUTS: [(f64, f64); 9] = [
    (3.0, 0.20),
    (5.1, 0.27),
    (7.5, 0.14),
    (9.6, 0.23),
    (12.0, 0.17),
    (14.2, 0.26),
    (17.3, 0.12),
    (19.4, 0.20),
    (21.7, 0.16),
];
/// Of the one that fails and is rolled back.
const BAD_TAKES: f64 = 7.5;
/// For fifty services at once.
const MANY: usize = 50;
const MANY_TAKE: f64 = 15.0;
const MANY_IN: &str = "eu-north-1";
/// A tool that has said nothing for so long is taken for one that never will.
const LONGEST: Duration = Duration::from_secs(75);
/// Calls of one tick come within this.
const ONE_TICK_MS: u64 = 400;

pub(crate) fn run() -> Result<()> {
    let place =
        Place { landfall: release_binary()?, peers: peers()?, workspace: Workspace::new()?, fake: Fake::start()? };
    place.prepare()?;
    std::thread::scope(|scope| {
        // AWS lets fifty revisions be registered in half a minute: meanwhile the single ones are measured.
        let many = scope.spawn(|| succeed(place.landfall_on_many(&[])));
        let single = place.single();
        many.join().map_err(|_| anyhow!("the first deployment of {MANY} services panicked"))??;
        single
    })?;
    place.many()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Landfall,
    EcsDeploy,
    AwsCli,
}

const TOOLS: [Tool; 3] = [Tool::Landfall, Tool::EcsDeploy, Tool::AwsCli];

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Landfall => "`landfall deploy`",
            Tool::EcsDeploy => "`ecs deploy`",
            Tool::AwsCli => "`aws ecs update-service`, `wait services-stable`",
        }
    }

    fn region(self) -> &'static str {
        match self {
            Tool::Landfall => "eu-central-1",
            Tool::EcsDeploy => "eu-west-1",
            Tool::AwsCli => "eu-west-2",
        }
    }
}

/// How a command ended.
struct Ended {
    /// `None`: it had to be ended.
    code: Option<i32>,
    /// Unix seconds.
    at: f64,
    said: String,
}

struct Seen {
    tool: Tool,
    /// Seconds from the deployment's creation to its end.
    took: f64,
    /// Seconds from its end to the command's.
    late: f64,
    ended: Ended,
    calls: Vec<Called>,
}

impl Seen {
    fn row(&self, what: &str) {
        let late = match self.ended.code {
            Some(_) => format!("{:.2}", self.late),
            None => format!("not within {:.0} s", self.late),
        };
        let code = self.ended.code.map_or_else(|| "-".to_owned(), |code| code.to_string());
        let (name, calls) = (self.tool.name(), self.calls.len());
        println!("| {what} | {:.1} | {name} | {late} | {code} | {calls} | {} |", self.took, families(&self.calls));
    }
}

fn wall() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

struct Place {
    landfall: PathBuf,
    peers: PathBuf,
    workspace: Workspace,
    fake: Fake,
}

impl Place {
    /// Clusters and the first service of each tool, and an image that does not stay up.
    fn prepare(&self) -> Result<()> {
        let fake = &self.fake;
        fake.script(
            "POST /_fake/images",
            &json!({"image": "registry.invalid/bad", "exits": 1, "exits_after": 20, "logs": ["no database: giving up"]}),
        )?;
        fake.pace(0.0)?;
        for region in TOOLS.map(Tool::region).into_iter().chain([MANY_IN]) {
            fake.cluster(region)?;
        }
        for region in [Tool::EcsDeploy.region(), Tool::AwsCli.region()] {
            let definition = fake.register(region, &service(1), "app1", &image("app", 1))?;
            fake.service(region, &service(1), &definition)?;
        }
        let write = |directory: PathBuf, text: String| -> Result<()> {
            std::fs::create_dir_all(&directory)?;
            std::fs::write(directory.join("landfall.yml"), text).context("write the manifest")
        };
        write(self.workspace.path().join("one"), manifest(&fake.url, Tool::Landfall.region(), 1))?;
        write(self.workspace.path().join("many"), manifest(&fake.url, MANY_IN, MANY))?;
        self.deploy(Tool::Landfall, &image("app", 1))?.into_iter().try_for_each(succeed)
    }

    fn single(&self) -> Result<()> {
        println!(
            "| a rollout of one service | takes s | tool | reported after its end, s | exit code | calls | by family |"
        );
        println!("|---|---|---|---|---|---|---|");
        let mut all: Vec<(Tool, f64, f64)> = Vec::new();
        for (version, (seconds, settle)) in (2..).zip(ROLLOUTS) {
            self.fake.settling(seconds, settle)?;
            for seen in self.side_by_side(&image("app", version))? {
                seen.row("good");
                all.push((seen.tool, seen.late, seen.calls.len() as f64));
            }
        }
        self.fake.pace(BAD_TAKES)?;
        let bad = self.side_by_side(&image("bad", 1))?;
        for seen in &bad {
            seen.row("rolled back");
        }
        println!("\n| medians of {} good rollouts | reported after s | calls | product |", ROLLOUTS.len());
        println!("|---|---|---|---|");
        let of = |tool: Tool, value: fn(f64, f64) -> f64| {
            median(&all.iter().filter(|one| one.0 == tool).map(|one| value(one.1, one.2)).collect::<Vec<_>>())
        };
        let medians =
            |tool| (of(tool, |late, _| late), of(tool, |_, calls| calls), of(tool, |late, calls| late * calls));
        for tool in TOOLS {
            let (late, calls, product) = medians(tool);
            println!("| {} | {late:.2} | {calls:.0} | {product:.1} |", tool.name());
        }
        let (ours, theirs) = (medians(Tool::Landfall), medians(Tool::EcsDeploy));
        let ratio = ours.2 / theirs.2;
        println!("\n{} latency × calls {ratio:.2} of ecs-deploy's (aim: 0.5)", verdict(ratio <= 0.5));
        println!("{} latency {:.2} of ecs-deploy's (aim: 1)", verdict(ours.0 <= theirs.0), ours.0 / theirs.0);
        println!("{} calls {:.2} of ecs-deploy's (aim: 1)", verdict(ours.1 <= theirs.1), ours.1 / theirs.1);
        let told = bad.iter().find(|seen| seen.tool == Tool::Landfall).context("landfall's rollback")?;
        let reason = told.ended.said.contains("no database: giving up") || told.ended.said.contains("exit code 1");
        let met = told.ended.code.is_some_and(|code| code != 0) && told.late <= 1.0 && reason;
        println!(
            "{} rollback told after {:.2} s, reason {} (aim: 1 s)",
            verdict(met),
            told.late,
            if reason { "said" } else { "MISSING" }
        );
        Ok(())
    }

    /// The commands of a tool that deploys `image` to its service and waits for it.
    fn deploy(&self, tool: Tool, image: &str) -> Result<Vec<Command>> {
        let (web, aws) = (service(1), self.peers.join("aws"));
        let run = |program, args: &[&str]| {
            super::aws::tool(program, args, &self.workspace.path().join("one"), &self.fake.url, tool.region())
        };
        Ok(match tool {
            Tool::Landfall => vec![run(&self.landfall, &["deploy", "prod", "--image", &format!("app1={image}")])],
            Tool::EcsDeploy => {
                let args = ["deploy", CLUSTER, &web, "-i", "app1", image, "--timeout", "120", "--no-deregister"];
                vec![run(&self.peers.join("ecs"), &args)]
            }
            // Its part begins with a definition that is there.
            Tool::AwsCli => {
                let definition = self.fake.register(tool.region(), &web, "app1", image)?;
                let update =
                    ["update-service", "--cluster", CLUSTER, "--service", &web, "--task-definition", &definition];
                let wait = ["wait", "services-stable", "--cluster", CLUSTER, "--services", &web];
                vec![run(&aws, &[&["ecs"], &update[..]].concat()), run(&aws, &[&["ecs"], &wait[..]].concat())]
            }
        })
    }

    fn side_by_side(&self, image: &str) -> Result<Vec<Seen>> {
        let mut commands = Vec::new();
        for tool in TOOLS {
            commands.push((tool, self.deploy(tool, image)?));
        }
        self.fake.forget_calls()?;
        let ended = std::thread::scope(|scope| {
            let threads: Vec<_> = commands.into_iter().map(|(tool, all)| (tool, scope.spawn(|| to_end(all)))).collect();
            let join = |(tool, thread): (Tool, std::thread::ScopedJoinHandle<'_, Result<Ended>>)| {
                Ok((tool, thread.join().map_err(|_| anyhow!("{} was not watched to its end", tool.name()))??))
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        ended.into_iter().map(|(tool, ended)| self.seen(tool, ended)).collect()
    }

    fn seen(&self, tool: Tool, ended: Ended) -> Result<Seen> {
        let calls = self.fake.calls(tool.region())?;
        let newest = self.newest_with_end(tool.region(), &service(1))?;
        let time = |key: &str| newest[key].as_f64().with_context(|| format!("{key} of {newest}"));
        let (from, to) = (time("createdAt")?, time("finishedAt")?);
        Ok(Seen { tool, took: to - from, late: ended.at - to, ended, calls })
    }

    /// The newest service deployment that has ended: the one that the command was about, since nothing that goes back to an
    /// earlier deployment makes another.
    fn newest_with_end(&self, region: &str, service: &str) -> Result<Value> {
        let listed =
            self.fake.ecs(region, "ListServiceDeployments", &json!({"cluster": CLUSTER, "service": service}))?;
        let all = listed["serviceDeployments"].as_array().context("service deployments")?;
        all.iter().find(|one| one["finishedAt"].is_number()).cloned().context("none has ended")
    }

    fn landfall_on_many(&self, args: &[&str]) -> Command {
        let directory = self.workspace.path().join("many");
        tool(&self.landfall, &[&["deploy", "prod"], args].concat(), &directory, &self.fake.url, MANY_IN)
    }

    /// Fifty services begun at once: the same definitions again, so that no quota spreads them.
    fn many(&self) -> Result<()> {
        self.fake.pace(MANY_TAKE)?;
        self.fake.forget_calls()?;
        let begun = Instant::now();
        succeed(self.landfall_on_many(&["--force"]))?;
        let (reported, took) = (wall(), begun.elapsed().as_secs_f64());
        let calls = self.fake.calls(MANY_IN)?;
        let (mut first, mut last) = (f64::MAX, 0.0_f64);
        for index in 1..=MANY {
            let newest = self.newest_with_end(MANY_IN, &service(index))?;
            first = first.min(newest["createdAt"].as_f64().unwrap_or_default());
            last = last.max(newest["finishedAt"].as_f64().unwrap_or_default());
        }
        let ticks = ticks(&calls, first);
        let (most, mean) = (ticks.iter().max().copied().unwrap_or(0), median_of(&ticks));
        println!("\n| {MANY} services at once | |");
        println!("|---|---|");
        println!("| the whole deployment, s | {took:.1} |");
        println!("| from the last rollout's end to the command's, s | {:.2} |", reported - last);
        println!("| calls by family | {} |", families(&calls));
        println!("| ticks of DescribeServices while rollouts went on | {} |", ticks.len());
        println!("| calls in a tick, median and most | {mean:.0}, {most} |\n");
        println!("{} {mean:.0} calls a tick (aim: 5)", verdict(mean <= 5.0));
        Ok(())
    }
}

/// How many DescribeServices came together, from `first` (Unix seconds) and a tick more on.
fn ticks(calls: &[Called], first: f64) -> Vec<usize> {
    let mut ticks: Vec<(u64, usize)> = Vec::new();
    let from = first * 1e3 + 1_500.0;
    for call in calls.iter().filter(|call| call.operation == "DescribeServices" && call.wall_ms as f64 > from) {
        match ticks.last_mut() {
            Some((at, count)) if call.wall_ms.saturating_sub(*at) < ONE_TICK_MS => *count += 1,
            _ => ticks.push((call.wall_ms, 1)),
        }
    }
    ticks.into_iter().map(|(_, count)| count).collect()
}

fn median_of(counts: &[usize]) -> f64 {
    median(&counts.iter().map(|count| *count as f64).collect::<Vec<_>>())
}

/// One after the other, to the end of the last.
fn to_end(commands: Vec<Command>) -> Result<Ended> {
    let deadline = Instant::now() + LONGEST;
    let mut last = Ended { code: Some(0), at: 0.0, said: String::new() };
    for mut command in commands {
        let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("{command:?}"))?;
        let code = within(&mut child, deadline)?;
        let at = wall();
        let said = child.wait_with_output()?;
        last = Ended { code, at, said: String::from_utf8_lossy(&said.stderr).into_owned() };
        if code != Some(0) {
            break;
        }
    }
    Ok(last)
}

/// Its exit code, if it ended by itself in time.
fn within(child: &mut Child, deadline: Instant) -> Result<Option<i32>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! How soon the end of a rollout is reported, and at how many calls: `landfall deploy`, ecs-deploy and the AWS CLI's waiter, in
//! turn, on one endpoint: the fake of AWS (`crates/awsfake`) in real time, its tasks taking their time in the proportions of
//! Fargate's. The real end is the service deployment's `finishedAt`; the reported one is the end of the command.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::deploy::{Fake, peers};
use super::server::release_binary;
use super::stats::median;
use super::workspace::Workspace;
use crate::http::Connection;

/// Seconds that a rollout is made to take, about.
const ROLLOUTS: [f64; 5] = [3.0, 7.5, 12.0, 17.3, 21.7];
/// For fifty services at once.
const MANY: usize = 50;
const MANY_TAKE: f64 = 12.0;
/// A peer that has said nothing so long after a rollback never will.
const NEVER: Duration = Duration::from_secs(60);
const CLUSTER: &str = "default";

pub(crate) fn run() -> Result<()> {
    let landfall = release_binary()?;
    let peers = peers()?;
    let workspace = Workspace::new()?;
    let fake = Fake::start(workspace.path())?;
    let place = Place { landfall, peers, directory: workspace.path().to_owned(), url: fake.url.clone() };
    place.prepare()?;

    place.manifest(1)?;
    place.pace(0.0)?;
    place.succeeds(Tool::Landfall, &image("app", 1))?;
    println!("| a rollout of one service | takes s | tool | reported after its end, s | calls | by family |");
    println!("|---|---|---|---|---|---|");
    let mut all: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    let mut version = 1;
    for seconds in ROLLOUTS {
        place.pace(seconds)?;
        for tool in [Tool::Landfall, Tool::EcsDeploy, Tool::AwsCli] {
            version += 1;
            let seen = place.watched(tool, &image("app", version))?;
            println!(
                "| good | {:.1} | {} | {:.2} | {} | {} |",
                seen.took,
                tool.name(),
                seen.late,
                seen.calls(),
                seen.families()
            );
            all.entry(tool.name()).or_default().push((seen.late, seen.calls() as f64));
        }
    }
    place.pace(7.5)?;
    for tool in [Tool::Landfall, Tool::EcsDeploy, Tool::AwsCli] {
        let seen = place.watched(tool, &image("bad", 1))?;
        let late = if seen.ended { format!("{:.2}", seen.late) } else { format!("not within {} s", NEVER.as_secs()) };
        println!(
            "| rolled back | {:.1} | {} | {late} | {} | {} |",
            seen.took,
            tool.name(),
            seen.calls(),
            seen.families()
        );
        println!("| | | | exit code {} | | |", seen.code.map_or_else(|| "-".to_owned(), |code| code.to_string()));
    }
    println!("\n| medians of {} good rollouts | reported after s | calls | product |", ROLLOUTS.len());
    println!("|---|---|---|---|");
    for (tool, seen) in &all {
        let of = |value: fn(&(f64, f64)) -> f64| median(&seen.iter().map(value).collect::<Vec<_>>());
        println!("| {tool} | {:.2} | {:.0} | {:.1} |", of(|s| s.0), of(|s| s.1), of(|s| s.0 * s.1));
    }
    place.many()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Landfall,
    EcsDeploy,
    AwsCli,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Landfall => "`landfall deploy`",
            Tool::EcsDeploy => "`ecs deploy`",
            Tool::AwsCli => "`aws ecs update-service`, `wait services-stable`",
        }
    }
}

struct Seen {
    /// Seconds from the deployment's creation to its end.
    took: f64,
    /// Seconds from its end to the command's.
    late: f64,
    ended: bool,
    code: Option<i32>,
    operations: BTreeMap<String, u64>,
}

impl Seen {
    fn calls(&self) -> u64 {
        self.operations.values().sum()
    }

    fn families(&self) -> String {
        families(&self.operations)
    }
}

/// As AWS counts them against its quotas.
fn family(operation: &str) -> &'static str {
    match operation {
        "RegisterTaskDefinition" | "DeregisterTaskDefinition" => "definition write",
        operation if operation.contains("TaskDefinition") => "definition read",
        operation if operation.contains("ServiceDeployment") || operation.contains("ServiceRevision") => "deployment",
        "DescribeServices" | "ListServices" => "service read",
        "CreateService" | "UpdateService" | "DeleteService" => "service write",
        "ListTasks" | "DescribeTasks" => "task read",
        _ => "other",
    }
}

fn families(operations: &BTreeMap<String, u64>) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (operation, count) in operations {
        *counts.entry(family(operation)).or_default() += count;
    }
    counts.iter().map(|(family, count)| format!("{family} {count}")).collect::<Vec<_>>().join(", ")
}

fn wall() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// By digest: nobody looks it up.
fn image(name: &str, version: usize) -> String {
    format!("registry.invalid/{name}@sha256:{version:064x}")
}

fn service(index: usize) -> String {
    format!("bench-prod-web{index}")
}

struct Place {
    landfall: PathBuf,
    peers: PathBuf,
    directory: PathBuf,
    url: String,
}

impl Place {
    fn http(&self, request: &str, headers: &str, body: &Value) -> Result<Value> {
        let host = self.url.trim_start_matches("http://");
        let head = format!("{request} HTTP/1.1\r\nHost: {host}{headers}");
        let answer = Connection::tcp(host)?.send(&head, body.to_string().as_bytes())?;
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status != 200 {
            bail!("{request}: {} {text}", answer.status);
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("the fake's answer to {request}"))
    }

    fn ecs(&self, operation: &str, input: &Value) -> Result<Value> {
        let headers = format!(
            "\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=bench/20260101/eu-central-1/ecs/aws4_request, SignedHeaders=host, \
             Signature=0"
        );
        self.http("POST /", &headers, input)
    }

    /// Rollouts of about so many seconds: pulling and starting take most of it, then the new tasks settle and the old ones go.
    fn pace(&self, seconds: f64) -> Result<()> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds below a minute")]
        let part = |share: f64| (seconds * 1e3 * share) as u64;
        let timing = json!({
            "scheduler": part(0.02), "provisioning": part(0.24), "pending": part(0.30), "activating": 0,
            "settle": part(0.20), "stopping": part(0.04), "deprovisioning": part(0.18), "restart": part(0.02),
        });
        self.http("POST /_fake/rules", "", &json!({"timing": timing})).map(drop)
    }

    /// The cluster, and an image that does not stay up.
    fn prepare(&self) -> Result<()> {
        self.ecs("CreateCluster", &json!({"clusterName": CLUSTER}))?;
        self.http("POST /_fake/images", "", &json!({"image": "registry.invalid/bad", "exits": 1, "exits_after": 20}))
            .map(drop)
    }

    fn manifest(&self, services: usize) -> Result<()> {
        let mut text = format!(
            "project: bench\naws:\n  fake:\n    region: eu-central-1\n    endpoint: {}\n    cluster: {CLUSTER}\n    network: {{subnets: \
             [subnet-0a1b2c3d4e5f60718], security_groups: [sg-0123456789abcdef0]}}\n    execution_role: ecsTaskExecutionRole\n\
             environments:\n  prod: {{on: fake}}\nservices:\n",
            self.url
        );
        for index in 1..=services {
            let _ = write!(
                text,
                "  web{index}:\n    cpu: 256\n    memory: 512\n    containers:\n      app{index}: {{image: '{}', ports: [8080]}}\n",
                image("app", 1)
            );
        }
        std::fs::write(self.directory.join("landfall.yml"), text).context("write the manifest")
    }

    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(&self.directory)
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .env("AWS_DEFAULT_REGION", "eu-central-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("LANDFALL_STATE", self.directory.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// The commands of a tool that deploys `image` to the first service and waits for it.
    fn deploy(&self, tool: Tool, image: &str) -> Result<Vec<Command>> {
        let web = service(1);
        Ok(match tool {
            Tool::Landfall => {
                vec![self.command(
                    &self.landfall,
                    &["deploy", "prod", "--service", "web1", "--image", &format!("app1={image}")],
                )]
            }
            Tool::EcsDeploy => {
                let args = ["deploy", CLUSTER, &web, "-i", "app1", image, "--timeout", "120", "--no-deregister"];
                vec![self.command(&self.peers.join("ecs"), &args)]
            }
            Tool::AwsCli => {
                let aws = self.peers.join("aws");
                let definition = self.register(image)?;
                let update = [
                    "ecs",
                    "update-service",
                    "--cluster",
                    CLUSTER,
                    "--service",
                    &web,
                    "--task-definition",
                    &definition,
                ];
                let wait = ["ecs", "wait", "services-stable", "--cluster", CLUSTER, "--services", &web];
                vec![self.command(&aws, &update), self.command(&aws, &wait)]
            }
        })
    }

    /// The CLI's part begins with a definition that is there.
    fn register(&self, image: &str) -> Result<String> {
        let container =
            json!({"name": "app1", "image": image, "essential": true, "portMappings": [{"containerPort": 8080}]});
        let input = json!({"family": service(1), "containerDefinitions": [container], "cpu": "256", "memory": "512",
            "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"]});
        let made = self.ecs("RegisterTaskDefinition", &input)?;
        Ok(made["taskDefinition"]["taskDefinitionArn"].as_str().context("an ARN")?.to_owned())
    }

    fn succeeds(&self, tool: Tool, image: &str) -> Result<()> {
        for mut command in self.deploy(tool, image)? {
            let output = command.stderr(Stdio::piped()).output()?;
            if !output.status.success() {
                bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
            }
        }
        Ok(())
    }

    fn watched(&self, tool: Tool, image: &str) -> Result<Seen> {
        let commands = self.deploy(tool, image)?;
        self.http("DELETE /_fake/calls", "", &Value::Null)?;
        let limit = Duration::from_secs(40) + NEVER;
        let (mut ended, mut code) = (true, None);
        for mut command in commands {
            let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
            (ended, code) = within(&mut child, limit)?;
        }
        let reported = wall();
        let operations = self.operations()?;
        // What went back to an earlier deployment has ended with it.
        let newest = self.newest_with_end(&service(1))?;
        let time = |key: &str| newest[key].as_f64().with_context(|| format!("{key} of {newest}"));
        let (from, to) = (time("createdAt")?, time("finishedAt")?);
        Ok(Seen { took: to - from, late: reported - to, ended, code, operations })
    }

    fn operations(&self) -> Result<BTreeMap<String, u64>> {
        let calls = self.http("GET /_fake/calls", "", &Value::Null)?;
        let mut operations = BTreeMap::new();
        for call in calls["calls"].as_array().context("the fake lists its calls")? {
            *operations.entry(call["operation"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        Ok(operations)
    }

    /// The newest service deployment that an undo did not begin: the one that the command was about.
    fn newest_with_end(&self, service: &str) -> Result<Value> {
        let listed = self.ecs("ListServiceDeployments", &json!({"cluster": CLUSTER, "service": service}))?;
        let all = listed["serviceDeployments"].as_array().context("service deployments")?;
        all.iter().find(|one| one["finishedAt"].is_number()).cloned().context("none has ended")
    }

    /// Fifty services in one deployment, each in its own rollout.
    fn many(&self) -> Result<()> {
        self.manifest(MANY)?;
        self.pace(0.0)?;
        let mut all = self.command(&self.landfall, &["deploy", "prod"]);
        if !all.status()?.success() {
            bail!("the first deployment of {MANY} services failed");
        }
        self.pace(MANY_TAKE)?;
        let mut next = self.command(&self.landfall, &["deploy", "prod"]);
        for index in 1..=MANY {
            next.arg("--image").arg(format!("app{index}={}", image("app", 999)));
        }
        self.http("DELETE /_fake/calls", "", &Value::Null)?;
        let begun = Instant::now();
        if !next.status()?.success() {
            bail!("the deployment of {MANY} services failed");
        }
        let (reported, took) = (wall(), begun.elapsed().as_secs_f64());
        let operations = self.operations()?;
        let mut last: f64 = 0.0;
        for index in 1..=MANY {
            let newest = self.newest_with_end(&service(index))?;
            last = last.max(newest["finishedAt"].as_f64().unwrap_or_default());
        }
        println!("\n| {MANY} services at once | s |");
        println!("|---|---|");
        println!("| the whole deployment | {took:.1} |");
        println!("| from the last rollout's end to the command's | {:.2} |", reported - last);
        println!("| calls by family | {} |", families(&operations));
        let reads = operations.get("DescribeServices").copied().unwrap_or_default();
        println!("| DescribeServices, a second | {:.1} |", reads as f64 / took);
        Ok(())
    }
}

/// Whether it ended by itself in time, and its exit code.
fn within(child: &mut Child, limit: Duration) -> Result<(bool, Option<i32>)> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((true, status.code()));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok((false, None));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

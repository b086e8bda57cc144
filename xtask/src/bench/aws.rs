//! The fake of AWS as a process of its own, and the tools beside which Landfall is measured on it. Each tool works in a region
//! of its own: there it finds nothing of the others, and its calls are told from theirs.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::server::target_directory;
use crate::http::Connection;

pub(crate) const CLUSTER: &str = "default";

/// ecs-deploy and the AWS CLI in a virtual environment of the benchmarks' own: its `bin`.
pub(crate) fn peers() -> Result<PathBuf> {
    let venv = target_directory()?.join("bench-peers");
    let bin = venv.join("bin");
    if !bin.join("ecs").is_file() || !bin.join("aws").is_file() {
        let run = |command: &mut Command| -> Result<()> {
            match command.status()?.success() {
                true => Ok(()),
                false => bail!("{command:?} failed"),
            }
        };
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let install = ["install", "--quiet", "--disable-pip-version-check", "awscli", "ecs-deploy==1.17.0"];
        run(Command::new(bin.join("pip")).args(install))?;
    }
    Ok(bin)
}

pub(crate) struct Fake {
    child: Child,
    pub(crate) url: String,
}

impl Fake {
    pub(crate) fn start() -> Result<Self> {
        Self::built("release")
    }

    /// With cargo's profile of that name.
    pub(crate) fn built(profile: &str) -> Result<Self> {
        let build = ["build", "--quiet", "-p", "landfall-awsfake", "--profile", profile];
        if !Command::new("cargo").args(build).status()?.success() {
            bail!("cargo {} failed", build.join(" "));
        }
        let directory = if profile == "dev" { "debug" } else { profile };
        let binary = target_directory()?.join(directory).join("awsfake");
        let mut child = Command::new(&binary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let mut url = String::new();
        let stdout = child.stdout.take().context("the fake has an output")?;
        BufReader::new(stdout).read_line(&mut url)?;
        Ok(Self { child, url: url.trim().to_owned() })
    }

    fn http(&self, request: &str, headers: &str, body: &Value) -> Result<Value> {
        let host = self.url.trim_start_matches("http://");
        let head = format!("{request} HTTP/1.1\r\nHost: {host}{headers}");
        let answer = Connection::tcp(host)?.send(&head, body.to_string().as_bytes())?;
        if answer.status != 200 {
            bail!("{request}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("the fake's answer to {request}"))
    }

    pub(crate) fn script(&self, request: &str, input: &Value) -> Result<Value> {
        self.http(request, "", input)
    }

    pub(crate) fn ecs(&self, region: &str, operation: &str, input: &Value) -> Result<Value> {
        let headers = format!(
            "\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=bench/20260101/{region}/ecs/aws4_request, SignedHeaders=host, \
             Signature=0"
        );
        self.http("POST /", &headers, input)
    }

    /// Rollouts of about so many seconds: pulling and starting take most of it, then the new tasks settle and the old ones go.
    pub(crate) fn pace(&self, seconds: f64) -> Result<()> {
        self.settling(seconds, 0.20)
    }

    /// As `pace`, with the share of the time in which new tasks settle, before the end: who looks in steps of the time that has passed
    /// would else always be as late.
    pub(crate) fn settling(&self, seconds: f64, share: f64) -> Result<()> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds below a minute")]
        let part = |share: f64| (seconds * 1e3 * share) as u64;
        let timing = json!({
            "scheduler": part(0.02), "provisioning": part(0.24), "pending": part(0.50 - share), "activating": 0,
            "settle": part(share), "stopping": part(0.04), "deprovisioning": part(0.18), "restart": part(0.02),
            "first_health_check": 0, "container_health": 0, "draining": 0,
        });
        self.script("POST /_fake/rules", &json!({"timing": timing})).map(drop)
    }

    pub(crate) fn forget_calls(&self) -> Result<()> {
        self.script("DELETE /_fake/calls", &Value::Null).map(drop)
    }

    /// Those of a region, in their order.
    pub(crate) fn calls(&self, region: &str) -> Result<Vec<Called>> {
        let calls = self.script("GET /_fake/calls", &Value::Null)?;
        let calls = calls["calls"].as_array().context("the fake lists its calls")?.iter();
        let word = |call: &Value, key: &str| call[key].as_str().unwrap_or_default().to_owned();
        let called = |call: &Value| Called {
            operation: word(call, "operation"),
            family: word(call, "family"),
            wall_ms: call["wall"].as_u64().unwrap_or_default(),
        };
        Ok(calls.filter(|call| call["region"] == region).map(called).collect())
    }

    pub(crate) fn cluster(&self, region: &str) -> Result<()> {
        self.ecs(region, "CreateCluster", &json!({"clusterName": CLUSTER})).map(drop)
    }

    /// A task definition as Landfall would register it, but for tags. Its ARN.
    pub(crate) fn register(&self, region: &str, family: &str, container: &str, image: &str) -> Result<String> {
        let container =
            json!({"name": container, "image": image, "essential": true, "portMappings": [{"containerPort": 8080}]});
        let input = json!({"family": family, "containerDefinitions": [container], "cpu": "256", "memory": "512",
            "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"]});
        let made = self.ecs(region, "RegisterTaskDefinition", &input)?;
        Ok(made["taskDefinition"]["taskDefinitionArn"].as_str().context("an ARN")?.to_owned())
    }

    /// A service with a circuit breaker that rolls back, as Landfall's have it.
    pub(crate) fn service(&self, region: &str, name: &str, definition: &str) -> Result<()> {
        let breaker = json!({"enable": true, "rollback": true});
        let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-0a1b2c3d4e5f60718"]}});
        let input = json!({"cluster": CLUSTER, "serviceName": name, "taskDefinition": definition, "desiredCount": 1,
            "launchType": "FARGATE", "networkConfiguration": network,
            "deploymentConfiguration": {"deploymentCircuitBreaker": breaker}});
        self.ecs(region, "CreateService", &input).map(drop)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Called {
    pub(crate) operation: String,
    /// As AWS counts it against its quotas.
    family: String,
    /// Unix milliseconds.
    pub(crate) wall_ms: u64,
}

/// `service read 7, task definition modify 1`
pub(crate) fn families(calls: &[Called]) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for call in calls {
        *counts.entry(call.family.trim_start_matches("ecs ")).or_default() += 1;
    }
    counts.iter().map(|(family, count)| format!("{family} {count}")).collect::<Vec<_>>().join(", ")
}

/// By digest: nobody looks it up.
pub(crate) fn image(name: &str, version: usize) -> String {
    format!("registry.invalid/{name}@sha256:{version:064x}")
}

/// `landfall.yml` of project `bench`: environment `prod` with services `web1` to `webN`, containers `app1` to `appN`.
pub(crate) fn manifest(url: &str, region: &str, services: usize) -> String {
    let mut text = format!(
        "project: bench
aws:
  fake:
    region: {region}
    endpoint: {url}
    cluster: {CLUSTER}
    network: {{subnets: [subnet-0a1b2c3d4e5f60718], security_groups: [sg-0123456789abcdef0]}}
    execution_role: ecsTaskExecutionRole
environments:
  prod: {{on: fake}}
services:
"
    );
    for index in 1..=services {
        let image = image("app", 1);
        text.push_str(&format!(
            "  web{index}:\n    cpu: 256\n    memory: 512\n    containers:\n      app{index}: {{image: '{image}', ports: [8080]}}\n"
        ));
    }
    text
}

/// The service `webINDEX` on ECS.
pub(crate) fn service(index: usize) -> String {
    format!("bench-prod-web{index}")
}

/// A program of a tool that works in `region`, from `directory`.
pub(crate) fn tool(program: &Path, args: &[&str], directory: &Path, url: &str, region: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(directory)
        .env("AWS_ACCESS_KEY_ID", "bench")
        .env("AWS_SECRET_ACCESS_KEY", "bench")
        .env("AWS_DEFAULT_REGION", region)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL", url)
        .env("LANDFALL_STATE", directory.join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Runs it to its end.
///
/// # Errors
/// It failed; with what it said.
pub(crate) fn succeed(mut command: Command) -> Result<()> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        bail!("{command:?}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(())
}

/// Before the line of an aim, below a table.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "✓" } else { "✗ NOT met:" }
}

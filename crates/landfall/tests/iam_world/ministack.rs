//! ministack, which nobody here wrote, with its IAM switched on: it refuses what a user's policy does not allow.
//!
//! What it knows of a policy (docs/emulators.md): actions, the tags of a request to ECS, and the resources of everything but ECS
//! and Elastic Load Balancing, where it takes the cluster or nothing for the resource. So these statements are made `*` for it, and
//! the conditions that it has no values for are left out; our own fake judges them. There are no containers: tasks are
//! records, which neither end nor answer, so the previews have none and hooks that are tasks are left to the fake.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};

use landfall_testkit::emulator::{self, Emulator};
use serde_json::{Value, json};

use crate::common::aws::boto3;
use crate::common::fake::{landfall, visitor};

/// What Landfall says of whatever AWS does not let it do, in a line with the action.
pub(crate) const REFUSED: &str = "may not do";

pub(crate) struct Ministack {
    emulator: Emulator,
    world: Value,
    probe: u16,
    directory: tempfile::TempDir,
}

impl Ministack {
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("landfall-iam-").tempdir().unwrap();
        let emulator = emulator::ministack(&[("AUTH", "true")]);
        let mut cloud = Self { emulator, world: Value::Null, probe: visitor(), directory };
        cloud.world = cloud.ask("setup", None);
        cloud
    }

    /// As its root user, with boto3.
    fn ask(&self, what: &str, input: Option<&Value>) -> Value {
        let mut child = boto3("iam.py", &self.emulator.url)
            .arg(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let text = input.map(Value::to_string).unwrap_or_default();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// From now on, and of what was before nothing is left: neither there nor in the state.
    pub(crate) fn hold_to(&self, policy: &Value) {
        self.ask("policy", Some(policy));
        let _ = std::fs::remove_dir_all(self.directory.path().join("state"));
    }

    /// `delay`: the target group's deregistration delay, and the time that a deployment may take.
    pub(crate) fn manifest(&self, delay: u32) {
        let text = |key: &str| self.world[key].as_str().unwrap();
        let manifest = format!(
            r#"project: my-project
aws:
  cloud:
    region: us-east-1
    endpoint: {endpoint}
    account: "{account}"
    cluster: main
    load_balancer: front
    probe_through: 127.0.0.1:{probe}
    network: {{ subnets: [{subnet}], security_groups: [{group}] }}
    execution_role: {execution}
services:
{web}    desired_count: 0
    deployment: {{ timeout: {delay}0s }}
environments:
  prod:
    on: cloud
    routing: {{ host: {{ name: www.example.com, port: 80 }} }}
previews:
  on: cloud
  branches: ["feature/*"]
  routing: {{ host: {{ domain: previews.example.com, port: 80 }} }}
  hooks:
    seed:
      when: after_create
      run: {{ lambda: {{ function: seed }} }}
      timeout: 30s
{notifications}"#,
            endpoint = self.emulator.url,
            account = text("account"),
            probe = self.probe,
            subnet = text("subnet"),
            group = text("group"),
            execution = text("execution"),
            web = super::web(text("account"), delay),
            notifications = super::notifications(text("topic")),
        );
        std::fs::write(self.directory.path().join("landfall.yml"), manifest).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let key = |n: usize| self.world["key"][n].as_str().unwrap().to_owned();
        let mut command = landfall(self.directory.path(), arguments);
        command
            .envs([("AWS_ACCESS_KEY_ID", key(0)), ("AWS_SECRET_ACCESS_KEY", key(1))])
            // What is tried again, and a notice that cannot be sent, is only told there.
            .env("LANDFALL_LOG", "warn");
        command
    }

    pub(crate) fn landfall(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Its exit code, and all that it said on stderr. With the first refusal it is killed.
    pub(crate) fn until_refused(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut child = self.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while stderr.read_line(&mut said).unwrap() > 0 {
            if said.contains(REFUSED) {
                // It may have ended by itself.
                let _ = child.kill();
            }
        }
        (child.wait().unwrap().code(), said)
    }
}

/// The policy as far as ministack knows it.
pub(crate) fn as_far_as_known(policy: &Value) -> Value {
    let mut policy = policy.clone();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        let actions = statement["Action"].to_string();
        if actions.contains("\"ecs:") || actions.contains("\"elasticloadbalancing:") {
            statement["Resource"] = json!("*");
            if let Some(operators) = statement.get_mut("Condition").and_then(Value::as_object_mut) {
                for keys in operators.values_mut() {
                    let known = |key: &str| actions.contains("\"ecs:") && key.starts_with("aws:RequestTag/");
                    keys.as_object_mut().unwrap().retain(|key, _| known(key));
                }
                operators.retain(|_, keys| !keys.as_object().unwrap().is_empty());
            }
        }
    }
    policy
}

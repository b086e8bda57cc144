//! `landfall cluster` on moto, with agents on its instances: what moto lacks of AWS `agents.py` adds, and for images `builders.py`.

mod ami;
mod deaths;
mod faults;
mod instances;
mod managed;
mod ministack;
mod pipeline;
mod scale;
mod scaling;
mod scaling_troubles;
mod troubles;
mod virtual_time;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use landfall_testkit::emulator::{self, Emulator};
use serde_json::Value;

use crate::common::aws::boto3;
use crate::common::{ends, eventually, http, signal, text};

const INFRA: &str = "cluster:
  name: web
  availability_zones: [us-west-2a, us-west-2b]
ec2_instances:
  ebs_mounts: [{name: root, device_name: /dev/xvda, size: 30}]
  auto_scaling_groups: [{name: reserved, instance_type: t3.medium}]
  spot_fleets:
    - name: main
      desired_weight: 2
      min_weight: 1
      max_weight: 4
      bids: [{instance_type: t3.small, price: 0.01}]
";

struct World {
    moto: Emulator,
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with("agents.py")
    }

    /// On moto, with what this script adds to it.
    fn with(script: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster").join(script);
        let world = Self { moto: emulator::moto_with(&script), directory: tempfile::tempdir().unwrap() };
        world.infra(INFRA);
        world
    }

    fn infra(&self, text: &str) {
        std::fs::write(self.directory.path().join("infra.yml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.any_command(&[&["cluster"], arguments].concat())
    }

    fn any_command(&self, arguments: &[&str]) -> Command {
        let mut command = crate::common::fake::landfall(self.directory.path(), arguments);
        command.env("AWS_ENDPOINT_URL", &self.moto.url).envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-west-2"),
        ]);
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> (String, String) {
        self.any(&[&["cluster"], arguments].concat(), code)
    }

    /// stdout and stderr of any command.
    #[track_caller]
    fn any(&self, arguments: &[&str], code: i32) -> (String, String) {
        let output: Output = self.any_command(arguments).output().unwrap();
        (ends(&output, code, &[]), text(&output.stderr))
    }

    /// As somebody who may do what the policy allows and nothing else. moto knows actions, and neither resources nor conditions.
    fn held_to(&self, policy: &Value, arguments: &[&str]) -> Output {
        // And it calls CloudWatch's by the name of its endpoint.
        let known = policy.to_string().replace("\"cloudwatch:", "\"monitoring:");
        let mut known: Value = serde_json::from_str(&known).unwrap();
        for statement in known["Statement"].as_array_mut().unwrap() {
            statement["Resource"] = "*".into();
            statement.as_object_mut().unwrap().remove("Condition");
        }
        let asked = boto3("stack.py", &self.moto.url).args(["user", &known.to_string()]).output().unwrap();
        let [key, secret]: [String; 2] = serde_json::from_str(&ends(&asked, 0, &[])).unwrap();
        let address = self.moto.url.strip_prefix("http://").unwrap().parse().unwrap();
        let free = |calls: &str| {
            let answer = http::request(address, "POST", "/moto-api/reset-auth", None, &[], calls.as_bytes()).unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        };
        free("0");
        let output =
            self.command(arguments).envs([("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)]).output();
        free("inf");
        output.unwrap()
    }

    #[track_caller]
    fn deploy(&self, version: &str, code: i32) -> Value {
        // Those that register do so at once, but on a machine that is busy that takes seconds.
        let patience = if version == "mute" { "1" } else { "60" };
        let arguments = ["deploy", "--version", version, "--prove", "0", "--register", patience, "--output", "json"];
        serde_json::from_str(&self.run(&arguments, code).0).unwrap()
    }

    /// Versions with their standing and how many instances they have.
    #[track_caller]
    fn versions(&self) -> Vec<(String, String, u64)> {
        let told: Value = serde_json::from_str(&self.run(&["status", "--output", "json"], 0).0).unwrap();
        let versions = told["versions"].as_array().unwrap().iter();
        let own = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
        versions.map(|one| (own(one, "version"), own(one, "standing"), one["instances"].as_u64().unwrap())).collect()
    }
}

fn is(version: &str, standing: &str, instances: u64) -> (String, String, u64) {
    (version.to_owned(), standing.to_owned(), instances)
}

#[test]
fn a_cluster_is_made_rolls_and_goes() {
    let world = World::new();
    let (stdout, _) = world.run(&["plan", "--version", "one"], 2);
    assert!(stdout.contains("stack web-asg-one (new)") && stdout.contains("+ add"), "{stdout}");
    world.run(&["status"], 66);
    let made = world.deploy("one", 0);
    assert_eq!(made["outcome"], "ok", "{made}");
    assert_eq!(world.versions(), [is("one", "active", 3)]);
    // Again: there is nothing to do.
    assert_eq!(world.deploy("one", 0)["did"], serde_json::json!([]));

    // What does not work leaves what is used as it is.
    let mute = world.deploy("mute", 1);
    assert_eq!(mute["why"], "version mute does not work: no instance of it registered within 1 s");
    let sick = world.deploy("sick", 1);
    let why = sick["why"].as_str().unwrap();
    assert!(why.contains("the task that proves main stopped: Essential container in task exited"), "{why}");
    let there = world.versions();
    assert!(there.contains(&is("one", "active", 3)) && there.contains(&is("sick", "failed", 0)), "{there:?}");
    let changed = INFRA.replace("max_weight: 4", "max_weight: 5").replace("t3.small", "t3.large");
    world.infra(&changed);
    let other = world.deploy("one", 1);
    assert_eq!(other["why"], "version one is there already, and made of another infra.yml, or by another landfall");

    // Killed on its way, it goes on, cleans up and takes over.
    let arguments = ["deploy", "--version", "one-0", "--prove", "1"];
    let mut child = world.command(&arguments).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("a new version", Duration::from_secs(60), || {
        let there = world.versions();
        there.iter().any(|(version, ..)| version == "one-0").then_some(()).ok_or(format!("{there:?}"))
    });
    signal(child.id(), "KILL");
    child.wait().unwrap();
    let rolled = world.deploy("one-0", 0);
    assert_eq!(rolled["outcome"], "ok", "{rolled}");
    assert_eq!(world.versions(), [is("one-0", "active", 3)]);

    let (_, stderr) = world.run(&["deactivate", "one-0"], 73);
    assert!(stderr.contains("the only version of cluster web that is used"), "{stderr}");
    world.run(&["activate", "one"], 66);
    let (_, stderr) = world.run(&["destroy"], 77);
    assert!(stderr.contains("with --yes cluster web is deleted: 1 version, 3 instances"), "{stderr}");
    assert_eq!(world.versions(), [is("one-0", "active", 3)]);
    world.run(&["destroy", "--yes"], 0);
    world.run(&["status"], 66);
}

#[test]
fn a_first_file_is_written_for_the_default_vpc() {
    let world = World::new();
    let file = world.directory.path().join("infra.yml");
    let init = |arguments: &[&str], region: &str, code: i32| {
        let output = world.command(&[&["init"], arguments].concat()).env("AWS_REGION", region).output().unwrap();
        (ends(&output, code, &[]), text(&output.stderr))
    };
    // One that is there stays.
    let (_, stderr) = init(&["--name", "web"], "us-west-2", 73);
    assert!(stderr.contains("infra.yml exists") && stderr.contains("--force"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), INFRA);
    let (_, stderr) = init(&["--name", "1web"], "us-west-2", 64);
    assert!(stderr.contains("no cluster can be called `1web`"), "{stderr}");

    let (stdout, stderr) = init(&["--name", "web", "--force", "--output", "json"], "us-east-2", 0);
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert!(stderr.contains("wrote infra.yml") && stderr.contains("landfall cluster deploy"), "{stderr}");
    let written = std::fs::read_to_string(&file).unwrap();
    let zones = ["us-east-2a", "us-east-2b", "us-east-2c"];
    assert!(zones.iter().all(|zone| written.contains(&format!(" # {zone}\n"))), "{written}");
    assert!(!written.contains("us-east-2-xyz"), "{written}");
    assert_eq!(init(&["--name", "web", "--stdout"], "us-east-2", 0).0, written);
    let checked = world.command(&["check", "--output", "json"]).env("AWS_REGION", "us-east-2").output().unwrap();
    let checked: Value = serde_json::from_str(&ends(&checked, 0, &[])).unwrap();
    assert_eq!(checked["problems"], serde_json::json!([]));
    let network = &checked["cluster"]["network"];
    assert_eq!((&network["vpc"], &network["subnets"]), (&told["vpc"], &told["subnets"]));
    assert_eq!(network["subnets"].as_array().unwrap().len(), 3);
    // It is one that can be deployed.
    let plan = world.command(&["plan", "--version", "one"]).env("AWS_REGION", "us-east-2").output().unwrap();
    assert!(ends(&plan, 2, &[]).contains("stack web-asg-one (new)"));

    std::fs::remove_file(&file).unwrap();
    let (_, stderr) = world.run(&["status"], 66);
    assert!(stderr.contains("`landfall cluster init` writes a first one"), "{stderr}");
    let (_, stderr) = init(&["--name", "web"], "eu-north-1", 66);
    assert!(stderr.contains("eu-north-1 has no default VPC") && stderr.contains("vpc: vpc-…"), "{stderr}");
    assert!(!file.exists());
}

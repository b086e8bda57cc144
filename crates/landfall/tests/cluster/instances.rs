//! A cluster on our fake of AWS: its stacks make instances that register after a while, and a service's tasks run on them. Seen past all
//! faults.

use std::collections::BTreeMap;
use std::process::Output;

use landfall_awsfake::{ACCOUNT, Handle, InstanceRule, Instances, REGION};
use serde_json::{Value, json};

use crate::common::fake::FakeAws;
use crate::common::{ends, text};

/// Three instances.
pub(super) const INFRA: &str = "cluster:
  name: web
  availability_zones: [us-east-1a]
ec2_instances:
  auto_scaling_groups: [{name: reserved, instance_type: t3.medium}]
  spot_fleets:
    - name: main
      desired_weight: 2
      min_weight: 1
      max_weight: 6
      bids: [{instance_type: t3.medium, price: 0.04}]
";

/// Versions of this name come without instances that register, and on these tasks end at once.
pub(super) const MUTE: &str = "mute";
pub(super) const SICK: &str = "sick";

pub(super) const TASKS: u64 = 4;

/// `registers`: virtual milliseconds from a launch on.
pub(super) fn with_instances(fake: &Handle, registers: u64) {
    let broken = |stack: &str| InstanceRule { stack: format!("asg-{stack}"), ..InstanceRule::default() };
    let stacks =
        vec![InstanceRule { mute: true, ..broken(MUTE) }, InstanceRule { task_exits: Some(3), ..broken(SICK) }];
    fake.change_rules(|rules| rules.instances = Some(Instances { registers, stacks, ..Instances::default() }));
    let image = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id";
    let parameter = json!({"Name": image, "Value": "ami-0a1b2c3d4e5f60718", "Type": "String"});
    fake.call("ssm", "PutParameter", parameter).unwrap();
}

/// A service of the cluster, with an image of its name.
pub(super) fn serve(fake: &Handle, cluster: &str, name: &str, tasks: u64) {
    let container =
        json!({"name": "app", "image": format!("shop/{name}"), "memory": 512, "cpu": 256, "essential": true});
    let definition = json!({"family": name, "requiresCompatibilities": ["EC2"], "containerDefinitions": [container]});
    fake.call("ecs", "RegisterTaskDefinition", definition).unwrap();
    let service = json!({
        "cluster": cluster, "serviceName": name, "taskDefinition": name, "desiredCount": tasks, "launchType": "EC2",
        "deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 200},
    });
    fake.call("ecs", "CreateService", service).unwrap();
}

/// So many tasks are wanted of it from now on.
pub(super) fn wants(fake: &Handle, name: &str, tasks: u64) {
    fake.call("ecs", "UpdateService", json!({"cluster": "web", "service": name, "desiredCount": tasks})).unwrap();
}

pub(super) fn serve_no_more(fake: &Handle, cluster: &str, name: &str) {
    fake.call("ecs", "DeleteService", json!({"cluster": cluster, "service": name, "force": true})).unwrap();
}

/// All that is in the fake.
pub(super) fn dump(fake: &Handle) -> Value {
    let mut all = fake.state();
    all[format!("{ACCOUNT}/{REGION}")].take()
}

fn all<'a>(dump: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    dump[key].as_array().unwrap_or_else(|| panic!("no {key}")).iter()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What must hold at any time: no service has fewer tasks than it should, and none of them went with its instance.
pub(super) fn nobody_notices(fake: &Handle) {
    nobody_notices_of(fake, None, u64::MAX);
}

/// The same while services grow that had so many tasks before: none has fewer than that.
pub(super) fn nobody_notices_while_growing(fake: &Handle, had: u64) {
    nobody_notices_of(fake, None, had);
}

/// Of this service no task comes up, whatever is done.
pub(super) fn nobody_notices_but(fake: &Handle, never: &str) {
    nobody_notices_of(fake, Some(never), u64::MAX);
}

fn nobody_notices_of(fake: &Handle, never: Option<&str>, had: u64) {
    let dump = dump(fake);
    let well = |one: &&Value| never.is_none_or(|never| one["serviceName"] != never);
    for service in all(&dump, "services").filter(|one| one["status"] == "ACTIVE").filter(well) {
        let (running, desired) = (service["runningCount"].as_u64().unwrap(), service["desiredCount"].as_u64().unwrap());
        assert!(running >= desired.min(had), "{running} of {desired} tasks: {service}");
    }
    for task in all(&dump, "tasks").filter(|task| word(task, "group").starts_with("service:")) {
        assert!(!word(task, "stoppedReason").contains("terminated"), "killed with its instance: {task}");
    }
}

/// What is there, without ids and times: of two worlds in which the same is there it is the same.
pub(super) fn picture(fake: &Handle) -> Vec<String> {
    let dump = dump(fake);
    let mut lines = Vec::new();
    let mut versions = BTreeMap::new();
    for one in all(&dump, "instances") {
        let attribute = |name: &str| word(&one["attributes"], name).to_owned();
        let (version, fleet) = (attribute("landfall.version"), attribute("landfall.fleet"));
        let state = if one["draining"] == true { "draining" } else { "active" };
        versions.insert(word(one, "arn").to_owned(), version.clone());
        lines.push(format!("instance of {version}/{fleet}, {state}, registered: {}", one["arn"].is_string()));
    }
    for one in all(&dump, "stacks") {
        let name = word(one, "name");
        let sets = fake.call("cloudformation", "ListChangeSets", json!({"StackName": name})).unwrap();
        let (parameters, resources) = (&one["parameters"], &one["resources"]);
        let status = if word(one, "status").ends_with("_COMPLETE") { "at rest" } else { word(one, "status") };
        lines.push(format!("stack {name} {status} {parameters} {resources}, open change sets: {}", sets["Summaries"]));
    }
    for one in all(&dump, "auto_scaling_groups") {
        lines.push(format!("group of {}: {} to {}, {}", one["stack"], one["min"], one["max"], one["desired"]));
    }
    for one in all(&dump, "services").filter(|one| one["status"] != "INACTIVE") {
        lines.push(format!("service {}: {} of {}", one["serviceName"], one["runningCount"], one["desiredCount"]));
    }
    for one in all(&dump, "tasks").filter(|one| one["lastStatus"] != "STOPPED") {
        let on = versions.get(word(one, "containerInstanceArn"));
        lines.push(format!("task of {} on {on:?}, {}", one["group"], one["lastStatus"]));
    }
    for one in all(&dump, "task_definitions").filter(|one| one["status"] == "ACTIVE") {
        lines.push(format!("definition of {}", one["family"]));
    }
    lines.extend(all(&dump, "clusters").map(|name| format!("cluster {name}")));
    lines.sort();
    lines
}

/// How many instances each stack's groups ever launched.
pub(super) fn launched(fake: &Handle) -> BTreeMap<String, u64> {
    let dump = dump(fake);
    let mut launched = BTreeMap::new();
    for group in all(&dump, "auto_scaling_groups") {
        *launched.entry(word(group, "stack").to_owned()).or_default() += group["launched"].as_u64().unwrap();
    }
    launched
}

#[track_caller]
pub(super) fn is_there(fake: &Handle, lines: &[&str]) {
    let there = picture(fake);
    for line in lines {
        assert!(there.iter().any(|own| own.starts_with(line)), "no {line}: {there:#?}");
    }
}

#[track_caller]
pub(super) fn is_not_there(fake: &Handle, what: &str) {
    let there = picture(fake);
    assert!(!there.iter().any(|own| own.contains(what)), "{what}: {there:#?}");
}

/// Of that what is of version `one`, and the tasks of whatever version.
pub(super) fn fleet(fake: &Handle) -> Vec<String> {
    let own = |line: &String| {
        ["instance of one/", "stack web-asg-one ", "group of \"web-asg-one\"", "task", "service"]
            .iter()
            .any(|own| line.starts_with(own))
    };
    picture(fake).into_iter().filter(own).collect()
}

/// The real binary in such a world. It compares its own clock with AWS's: so here the two go at one pace.
pub(super) struct World {
    pub(super) aws: FakeAws,
}

impl World {
    pub(super) fn new() -> Self {
        let world = Self { aws: FakeAws::new() };
        world.aws.fake.set_scale(1.0);
        world.aws.fake.call("ecs", "DeleteCluster", json!({"cluster": "main"})).unwrap();
        with_instances(&world.aws.fake, 500);
        world.infra(INFRA);
        world
    }

    pub(super) fn infra(&self, text: &str) {
        self.aws.write("infra.yml", text);
    }

    pub(super) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.aws.landfall(&[&["cluster"], arguments].concat());
        command.env("AWS_ENDPOINT_URL", self.aws.fake.url());
        command
    }

    #[track_caller]
    pub(super) fn run(&self, arguments: &[&str], code: i32) -> (String, String) {
        let output: Output = self.command(arguments).output().unwrap();
        (ends(&output, code, &[]), text(&output.stderr))
    }

    /// What it said besides. `register`: seconds, real ones.
    #[track_caller]
    pub(super) fn deploy(&self, version: &str, register: &str, code: i32) -> (Value, String) {
        let arguments = ["deploy", "--version", version, "--prove", "0", "--register", register, "--output", "json"];
        let (stdout, stderr) = self.run(&arguments, code);
        (serde_json::from_str(&stdout).unwrap(), stderr)
    }

    #[track_caller]
    pub(super) fn deployed(&self, version: &str) {
        let (told, _) = self.deploy(version, "600", 0);
        assert_eq!(told["outcome"], "ok", "{told}");
    }

    /// By version: its standing, and how many instances it has.
    #[track_caller]
    pub(super) fn versions(&self) -> BTreeMap<String, (String, u64)> {
        let told: Value = serde_json::from_str(&self.run(&["status", "--output", "json"], 0).0).unwrap();
        let own = |one: &Value| (word(one, "standing").to_owned(), one["instances"].as_u64().unwrap());
        told["versions"].as_array().unwrap().iter().map(|one| (word(one, "version").to_owned(), own(one))).collect()
    }

    /// What somebody sets with `POST /_fake/stack`.
    pub(super) fn script(&self, stack: &str, script: &Value) {
        self.aws.fake.script("POST", "stack", &json!({"stack": stack, "script": script})).unwrap();
    }
}

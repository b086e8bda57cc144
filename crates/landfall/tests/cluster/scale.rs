//! `landfall cluster scale` on moto: groups whose instances really come and go, and services that ECS places on them.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{World, is};
use crate::common::aws::boto3;
use crate::common::{ends, eventually, signal, text};

const INFRA: &str = "cluster:
  name: web
  availability_zones: [us-west-2a]
ec2_instances:
  ebs_mounts: [{name: root, device_name: /dev/xvda, size: 30}]
  spot_fleets:
    - name: main
      min_weight: 0
      max_weight: 3
      task_threshold_out: 0
      task_threshold_in: 1
      bids: [{instance_type: t3.large, price: 0.05}]
";

/// Of a server that has other work, with no container engine.
const MANIFEST: &str = "project: shop
aws:
  cloud: { region: us-west-2, account: \"123456789012\", cluster: shop, network: { subnets: [subnet-1] } }
services: { web: { cpu: 256, memory: 512, containers: { app: { image: nginx } } } }
environments: { prod: { on: cloud } }
";

impl World {
    /// One task takes a third of what an instance of moto registers, which has 7,482 MiB.
    fn service(&self, desired: u64) {
        let mut command = boto3("service.py", &self.moto.url);
        let arguments = ["web".to_owned(), desired.to_string(), "2400".to_owned()];
        let output = command.args(arguments).env("AWS_DEFAULT_REGION", "us-west-2").output().unwrap();
        ends(&output, 0, &[]);
    }

    /// Of both metrics how often they were published, and the greatest value.
    #[track_caller]
    fn published(&self) -> [(u64, Option<f64>); 2] {
        let output = boto3("metrics.py", &self.moto.url).env("AWS_DEFAULT_REGION", "us-west-2").output().unwrap();
        let told: Value = serde_json::from_str(&ends(&output, 0, &[])).unwrap();
        ["Schedulable Cluster Tasks", "Scheduled Percentage"]
            .map(|name| (told[name][0].as_f64().unwrap() as u64, told[name][1].as_f64()))
    }

    /// It runs until it has published once more, and ends when it is told to.
    #[track_caller]
    fn publishes(&self, command: &mut Command, says: &str) {
        let times = self.published()[1].0 + 1;
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let limit = Instant::now() + Duration::from_secs(120);
        while child.try_wait().unwrap().is_none() {
            if self.published()[1].0 == times || Instant::now() > limit {
                signal(child.id(), "TERM");
                break;
            }
        }
        let output = child.wait_with_output().unwrap();
        ends(&output, 0, &[says]);
        assert_eq!(self.published().map(|one| one.0), [times; 2], "{}", text(&output.stderr));
    }

    #[track_caller]
    fn scale(&self, code: i32) -> Value {
        serde_json::from_str(&self.run(&["scale", "--output", "json"], code).0).unwrap()
    }

    /// Looks until there is nothing left to do: what was done, in order.
    #[track_caller]
    fn settled(&self) -> Vec<String> {
        let mut did = Vec::new();
        eventually("nothing is left to do", Duration::from_secs(240), || {
            let told = self.scale(0);
            let acts = told["acts"].as_array().unwrap();
            let kinds = acts.iter().filter_map(|act| act.as_object()?.keys().next());
            did.extend(kinds.filter(|kind| *kind != "note").cloned());
            let waits = acts.iter().any(|act| act.get("note").is_none()) || self.moving();
            if waits { Err(format!("{told}")) } else { Ok(()) }
        });
        did.dedup();
        did
    }

    /// Instances that start or drain.
    fn moving(&self) -> bool {
        let told: Value = serde_json::from_str(&self.run(&["status", "--output", "json"], 0).0).unwrap();
        !told["unsteady"].as_array().unwrap().is_empty() || told["versions"][0]["draining"] != 0
    }
}

#[test]
fn a_fleet_grows_for_what_waits_and_goes_to_nothing() {
    grows_and_goes(&INFRA.replacen("ec2_instances:\n", "ec2_instances:\n  capacity_rebalance: true\n", 1));
}

/// A request keeps to its target: whoever ends an instance lowers that first. And it rolls: its instances are ended, and then it is.
#[test]
fn a_spot_fleet_grows_for_what_waits_and_goes_to_nothing() {
    let world =
        grows_and_goes(&INFRA.replacen("ec2_instances:\n", "ec2_instances:\n  compatibility: spot_fleets\n", 1));
    world.service(5);
    assert_eq!(world.settled(), ["resize"]);
    let rolled = world.deploy("two", 0);
    assert_eq!(rolled["outcome"], "ok", "{rolled}");
    assert_eq!(world.versions(), [is("two", "active", 2)]);
}

/// What Auto Scaling ends of itself, to replace it, is drained before: no task is killed with its instance.
#[test]
fn what_auto_scaling_replaces_is_drained_before() {
    let world = World::new();
    let zones = INFRA.replacen("[us-west-2a]", "[us-west-2a, us-west-2b]", 1);
    world.infra(&zones.replacen("ec2_instances:\n", "ec2_instances:\n  capacity_rebalance: true\n", 1));
    assert_eq!(world.deploy("one", 0)["outcome"], "ok");
    world.service(5);
    assert_eq!(world.settled(), ["resize", "keep_uneven"]);
    assert_eq!(world.versions(), [is("one", "active", 2)]);
    let ask = |arguments: &[&str]| {
        let mut command = boto3("replace.py", &world.moto.url);
        ends(&command.args(arguments).env("AWS_DEFAULT_REGION", "us-west-2").output().unwrap(), 0, &[])
    };
    let replaced = ask(&[]);
    let did = world.settled();
    assert_eq!(did, ["drain", "release"]);
    assert_eq!(world.versions(), [is("one", "active", 2)]);
    let why: Vec<String> = serde_json::from_str(&ask(&[replaced.trim()])).unwrap();
    assert!(!why.is_empty() && why.iter().all(|why| why == "(service scheduler)"), "{why:?}");
}

/// Of a cluster whose fleets are others' to scale the metrics are published, and nothing is done.
#[track_caller]
pub(super) fn only_looks(world: &World, why: &str) {
    let before = world.versions();
    for quiet in ["--dry-run", "--no-metrics"] {
        let (stdout, stderr) = world.run(&["scale", quiet], 0);
        assert!(stdout.ends_with(&format!("\nthe fleets are left as they are: infra.yml says `{why}`\n")), "{stdout}");
        assert!(stdout.starts_with("room for ") && !format!("{stdout}{stderr}").contains("weight"), "{stdout}{stderr}");
        assert!(!stderr.contains("would") && !stderr.contains("done"), "{stderr}");
        assert_eq!(world.published(), [(0, None), (0, None)], "{quiet}");
    }
    let told = world.scale(0);
    let room = told["schedulable"].as_u64().unwrap();
    let empty = json!([]);
    assert_eq!((&told["acts"], &told["fleets"], &told["reasons"]), (&empty, &empty, &empty), "{told}");
    assert_eq!(told["left_alone"], why);
    let [schedulable, scheduled] = world.published();
    assert_eq!((schedulable, scheduled.0), ((1, Some(room as f64)), 1));
    // A loop publishes too.
    let stays = format!("left as they are: infra.yml says `{why}`; its metrics are published");
    world.publishes(&mut world.command(&["scale", "--every", "1"]), &stays);
    // Who may only look and publish may do it.
    let policy = serde_json::from_str(&world.run(&["iam", "scale", "--account", "123456789012"], 0).0).unwrap();
    ends(&world.held_to(&policy, &["scale"]), 0, &[]);
    assert_eq!(world.published()[0].0, 3);
    assert_eq!(world.versions(), before, "nothing was done");
}

/// Tasks wait, for which Landfall would launch; and nobody does where nobody is to.
#[test]
fn what_is_not_scaled_is_looked_at() {
    let world = World::new();
    let infra = INFRA.replacen("ec2_instances:\n", "ec2_instances:\n  autoscaling: false\n", 1);
    world.infra(&infra.replacen("min_weight: 0", "min_weight: 0\n      desired_weight: 1", 1));
    world.run(&["scale"], 66);
    assert_eq!(world.deploy("one", 0)["outcome"], "ok");
    world.service(5);
    only_looks(&world, "autoscaling: false");
    // Beside a server, too.
    std::fs::write(world.directory.path().join("landfall.yml"), MANIFEST).unwrap();
    let mut served = world.any_command(&["serve", "--listen", "127.0.0.1:0", "--scale", "infra.yml"]);
    served.env("LANDFALL_WEBHOOK_SECRET", "a secret of the tests");
    world.publishes(&mut served, "left as they are: infra.yml says `autoscaling: false`; its metrics are published");
    assert_eq!(world.versions(), [is("one", "active", 1)]);
}

#[track_caller]
fn grows_and_goes(infra: &str) -> World {
    let world = World::new();
    world.infra(infra);
    world.run(&["scale"], 66);
    assert_eq!(world.deploy("one", 0)["outcome"], "ok");
    // Where there are hooks Auto Scaling holds also what it is told to end.
    let goes: &[&str] =
        if infra.contains("rebalance") { &["drain", "terminate", "release"] } else { &["drain", "terminate"] };
    // One proved the version; nothing is wanted of it.
    assert_eq!(world.settled(), goes);
    assert_eq!(world.versions(), [is("one", "active", 0)]);
    assert_eq!(world.scale(0)["acts"], json!([]));

    world.service(5);
    let planned: Value = serde_json::from_str(&world.run(&["scale", "--dry-run", "--output", "json"], 2).0).unwrap();
    assert_eq!(planned["acts"][0]["resize"]["to"], 2, "{planned}");
    assert_eq!(planned["fleets"][0]["reasons"], json!(["5 tasks wait for room: 2 instances more"]));
    assert_eq!(world.versions(), [is("one", "active", 0)], "nothing was done");
    assert_eq!(world.settled(), ["resize"]);
    assert_eq!(world.versions(), [is("one", "active", 2)]);

    // Three tasks are left, for which one instance is enough; the others' are moved before theirs goes.
    world.service(3);
    let did = world.settled();
    assert_eq!(world.versions(), [is("one", "active", 1)], "{did:?}");
    assert_eq!(did, goes);

    // The loop does the same, and is ended by a signal.
    let mut child = world.command(&["scale", "--every", "1"]).stderr(Stdio::null()).spawn().unwrap();
    world.service(9);
    eventually("three instances", Duration::from_secs(240), || {
        let there = world.versions();
        if there == [is("one", "active", 3)] { Ok(()) } else { Err(format!("{there:?}")) }
    });
    world.service(0);
    eventually("no instances", Duration::from_secs(240), || {
        let there = world.versions();
        if there == [is("one", "active", 0)] { Ok(()) } else { Err(format!("{there:?}")) }
    });
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    world
}

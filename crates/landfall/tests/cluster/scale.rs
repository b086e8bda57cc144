//! `landfall cluster scale` on moto: groups whose instances really come and go, and services that ECS places on them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{World, is};
use crate::common::aws::boto3;
use crate::common::{ends, eventually, signal};

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

impl World {
    /// One task takes a third of what an instance of moto registers, which has 7,482 MiB.
    fn service(&self, desired: u64) {
        let mut command = boto3("service.py", &self.moto.url);
        let arguments = ["web".to_owned(), desired.to_string(), "2400".to_owned()];
        let output = command.args(arguments).env("AWS_DEFAULT_REGION", "us-west-2").output().unwrap();
        ends(&output, 0, &[]);
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
    assert_eq!(world.settled(), ["keep_uneven", "resize"]);
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
    let mut child = world.command(&["scale", "--every", "1"]).stderr(std::process::Stdio::null()).spawn().unwrap();
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

//! `landfall cluster scale` with the real binary: while calls to AWS fail, and while AWS launches nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use landfall_awsfake::{Handle, InstanceRule};
use serde_json::{Value, json};

use super::instances::{INFRA, TASKS, World, dump, launched, nobody_notices_while_growing, picture, serve, wants};
use super::scaling::{Asked, MANY, instances, rests, settles};
use super::troubles::CAUSES;
use crate::common::{eventually, text};

/// AWS was away, or would not be asked so often.
const PASSES: [i32; 2] = [69, 79];

/// Nobody waits for a minute here.
fn permit(fake: &Handle) {
    for group in dump(fake)["auto_scaling_groups"].as_array().unwrap() {
        let tag = json!({"ResourceId": group["name"], "Key": "landfall:next-permitted", "Value": "0"});
        fake.call("autoscaling", "CreateOrUpdateTags", json!({"Tags": [tag]})).unwrap();
    }
}

/// With version `one`, a service, and as many instances as that takes.
fn used(world: &World) {
    world.deployed("one");
    serve(&world.aws.fake, "web", "shop", TASKS);
    settled(world, 0);
}

/// Looks until nothing is left to do; what they said. `had`: tasks that a service had which grows.
fn settled(world: &World, had: u64) -> Vec<String> {
    let (fake, mut said) = (&world.aws.fake, Vec::new());
    eventually("nothing is left to do", Duration::from_secs(120), || {
        permit(fake);
        let output = world.command(&["scale", "--output", "json"]).output().unwrap();
        said.push(text(&output.stderr));
        nobody_notices_while_growing(fake, had);
        let code = output.status.code();
        if code.is_some_and(|code| PASSES.contains(&code)) {
            return Err(text(&output.stderr));
        }
        assert_eq!(code, Some(0), "{}", text(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        if told["acts"] == json!([]) && rests(fake) { Ok(()) } else { Err(format!("{told}")) }
    });
    said
}

/// What there was after each change.
fn life(world: &World) -> Vec<Vec<String>> {
    let fake = &world.aws.fake;
    used(world);
    let mut pictures = vec![picture(fake)];
    for tasks in [MANY, TASKS, 0] {
        let had = if tasks == MANY { TASKS } else { u64::MAX };
        wants(fake, "shop", tasks);
        settled(world, had);
        pictures.push(picture(fake));
    }
    pictures
}

#[test]
fn with_one_call_in_ten_failing_a_fleet_has_the_same_size() {
    let (steady, shaken) = (World::new(), World::new());
    shaken.aws.fail_one_in_ten();
    let (expected, there) = std::thread::scope(|scope| {
        let expected = scope.spawn(|| life(&steady));
        (life(&shaken), expected.join().unwrap())
    });
    assert_eq!(there, expected);
    assert_eq!(launched(&shaken.aws.fake), launched(&steady.aws.fake));
    shaken.aws.calls().one_in_ten("scaling a cluster");
    // Those who watch the metric see what is wanted of the cluster: nothing.
    let metrics = dump(&shaken.aws.fake)["metrics"].clone();
    let newest = |name: &str| {
        let own = |one: &&Value| one["name"] == name && one["dimensions"][0]["Value"] == "web";
        metrics.as_array().unwrap().iter().rfind(own).map(|one| one["value"].clone())
    };
    assert_eq!(newest("Scheduled Percentage"), Some(json!("0")), "{metrics}");
    assert!(newest("Schedulable Cluster Tasks").is_some(), "{metrics}");
}

/// From now on the fleet `main` launches none, for this reason; or as many as it is told.
fn refuse(fake: &Handle, why: Option<&str>) {
    let rule = InstanceRule {
        stack: "asg-one".to_owned(),
        group: "MainFleet".to_owned(),
        refused: why.map(str::to_owned),
        ..InstanceRule::default()
    };
    fake.change_rules(|rules| rules.instances.as_mut().unwrap().stacks.push(rule));
}

/// Instances that are not draining, and the tasks that run, all by their ids.
fn at_work(fake: &Handle) -> BTreeSet<String> {
    let dump = dump(fake);
    let own = |key: &str, id: &str, works: &dyn Fn(&Value) -> bool| {
        let all = dump[key].as_array().unwrap().iter().filter(|one| works(one));
        all.map(|one| one[id].to_string()).collect::<Vec<_>>()
    };
    let instances = own("instances", "id", &|one| one["draining"] == false);
    let tasks = own("tasks", "taskArn", &|one| one["lastStatus"] == "RUNNING");
    instances.into_iter().chain(tasks).collect()
}

#[track_caller]
fn nothing_is_launched(why: &str) {
    let world = World::new();
    let fake = &world.aws.fake;
    used(&world);
    let (before, there) = (at_work(fake), instances(fake));
    refuse(fake, Some(why));
    wants(fake, "shop", MANY);
    let (_, stderr) = world.run(&["scale"], 0);
    assert!(stderr.contains("main: weight 1 becomes "), "{stderr}");
    for _ in 0..4 {
        let (_, stderr) = world.run(&["scale"], 0);
        assert!(stderr.contains(&format!("main: an instance could not be launched: {why}")), "{stderr}");
        nobody_notices_while_growing(fake, TASKS);
    }
    assert!(at_work(fake).is_superset(&before) && instances(fake) == there, "{:#?}", picture(fake));
    // What is missing is asked for once, and given up for a while.
    assert_eq!(fake.count("autoscaling", "SetDesiredCapacity"), 2, "{:?}", super::scaling::changes(fake));

    refuse(fake, None);
    fake.set_scale(0.0);
    let grows = Asked { infra: INFRA, had: TASKS };
    world.aws.runtime.block_on(settles(fake, 9, &grows, |_| ()));
    assert!(instances(fake) > there, "{:#?}", picture(fake));
    let there = picture(fake);
    assert!(there.contains(&format!("service \"shop\": {MANY} of {MANY}")), "{there:#?}");
}

#[test]
fn without_spot_capacity_a_fleet_tells_why_and_grows_later() {
    nothing_is_launched(CAUSES[0]);
}

#[test]
fn at_the_account_s_limit_a_fleet_tells_why_and_grows_later() {
    nothing_is_launched(CAUSES[1]);
}

#[test]
fn without_free_addresses_a_fleet_tells_why_and_grows_later() {
    nothing_is_launched(CAUSES[2]);
}

#[test]
fn without_its_image_a_fleet_tells_why_and_grows_later() {
    nothing_is_launched(CAUSES[3]);
}

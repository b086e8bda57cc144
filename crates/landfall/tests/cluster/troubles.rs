//! What goes wrong with a new version is told in AWS's words, and what is used stays as it is.

use std::process::Stdio;
use std::time::Duration;

use landfall_awsfake::{Handle, ImageRule, InstanceRule};
use serde_json::json;

use super::instances::{INFRA, MUTE, TASKS, World, fleet, nobody_notices, nobody_notices_but, picture, serve};
use crate::common::{ends, eventually, signal, text};

/// Why Auto Scaling launches nothing, in its words: no capacity, a limit of the account, a full subnet, an image that is gone.
pub(super) const CAUSES: [&str; 4] = [
    "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request configuration.",
    "You have requested more vCPU capacity than your current vCPU limit of 5 allows for the instance bucket that the specified \
     instance type belongs to.",
    "There are not enough free addresses in subnet 'subnet-0a1b2c3d' to satisfy the requested number of instances.",
    "The image id '[ami-0a1b2c3d4e5f60718]' does not exist",
];

/// A cluster with version `one`, and a service on it.
fn used() -> World {
    let world = World::new();
    world.deployed("one");
    serve(&world.aws.fake, "web", "shop", TASKS);
    runs(&world.aws.fake);
    world
}

fn runs(fake: &Handle) {
    eventually("the service runs", Duration::from_secs(20), || {
        let there = picture(fake);
        if of_shop(&there, "RUNNING") == TASKS { Ok(()) } else { Err(format!("{there:?}")) }
    });
}

/// The service's tasks in this state.
fn of_shop(there: &[String], status: &str) -> u64 {
    let own = |line: &&String| line.starts_with("task of \"service:shop\"") && line.ends_with(&format!("{status:?}"));
    there.iter().filter(own).count() as u64
}

#[test]
fn what_auto_scaling_does_not_launch_is_told_by_the_stack_that_could_not_be_made() {
    let world = used();
    let before = fleet(&world.aws.fake);
    for cause in CAUSES {
        let why = format!(
            "Group did not stabilize. {{current/minSize/maxSize group size = 0/2/6}}. Failed Scaling Activities: {cause}"
        );
        world.script("web-asg-two", &json!({"fail": {"MainFleet": why}}));
        let (told, stderr) = world.deploy("two", "600", 1);
        assert_eq!(told["why"], "stack web-asg-two could not be made");
        let said = format!("MainFleet (AWS::AutoScaling::AutoScalingGroup): {why}");
        assert!(stderr.contains(&said) && stderr.contains("mend it and deploy again"), "{stderr}");
        assert_eq!(fleet(&world.aws.fake), before);
    }
    // An image that is gone CloudFormation finds out sooner.
    world.script("web-asg-two", &json!({}));
    let refuse =
        "Parameter validation failed: parameter value ami-0a1b2c3d4e5f60718 for parameter name ImageId does not exist";
    world.script("web-asg-three", &json!({"refuse": refuse}));
    let (_, stderr) = world.run(&["deploy", "--version", "three", "--prove", "0"], 1);
    assert!(stderr.contains(&format!("CloudFormation refuses the change of web-asg-three: {refuse}")), "{stderr}");
    assert!(stderr.contains("what is there was left as it is"), "{stderr}");
    assert_eq!(fleet(&world.aws.fake), before);
    // Mended, it goes on, and what was left goes.
    world.deployed("two");
    assert_eq!(world.versions(), [("two".to_owned(), ("active".to_owned(), 3))].into());
    nobody_notices(&world.aws.fake);
}

#[test]
fn why_no_instance_comes_is_told_where_the_stack_was_made_all_the_same() {
    let world = used();
    let before = fleet(&world.aws.fake);
    let cause = "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request configuration.";
    let rule = InstanceRule { stack: "asg-two".to_owned(), refused: Some(cause.to_owned()), ..InstanceRule::default() };
    world.aws.fake.change_rules(|rules| rules.instances.as_mut().unwrap().stacks.push(rule));
    let (told, stderr) = world.deploy("two", "3", 1);
    let why =
        format!("version two does not work: no instance of it registered within 3 s; main: {cause}; reserved: {cause}");
    assert_eq!(told["why"], why);
    assert!(stderr.contains(&why) && stderr.contains("what was used before is used still"), "{stderr}");
    // Nothing is known of an agent that does not come.
    let (told, _) = world.deploy(MUTE, "3", 1);
    assert_eq!(told["why"], format!("version {MUTE} does not work: no instance of it registered within 3 s"));
    assert_eq!(fleet(&world.aws.fake), before);
}

/// Its tasks do not come whether anything is rolled or not; and Fargate's are on none of the cluster's instances.
#[test]
fn a_service_that_has_failed_or_is_on_fargate_holds_up_no_roll() {
    let world = used();
    let fake = &world.aws.fake;
    fake.image(ImageRule { image: "shop/broken".to_owned(), exits: Some(1), ..ImageRule::default() });
    let container = json!({"name": "app", "image": "shop/broken", "memory": 512, "cpu": 256, "essential": true});
    for (name, own) in [
        ("failed", json!({"requiresCompatibilities": ["EC2"]})),
        (
            "elsewhere",
            json!({"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}),
        ),
    ] {
        let mut definition = json!({"family": name, "containerDefinitions": [container]});
        definition.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        fake.call("ecs", "RegisterTaskDefinition", definition).unwrap();
        let fargate = name == "elsewhere";
        let mut service = json!({
            "cluster": "web", "serviceName": name, "taskDefinition": name, "desiredCount": 1,
            "launchType": if fargate { "FARGATE" } else { "EC2" },
            "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": !fargate, "rollback": false}},
        });
        if fargate {
            service["networkConfiguration"] = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
        }
        fake.call("ecs", "CreateService", service).unwrap();
    }
    eventually("ECS tries no more", Duration::from_secs(60), || {
        let told = fake.call("ecs", "DescribeServices", json!({"cluster": "web", "services": ["failed"]})).unwrap();
        let state = &told["services"][0]["deployments"][0]["rolloutState"];
        if state == "FAILED" { Ok(()) } else { Err(told.to_string()) }
    });
    world.deployed("two");
    assert_eq!(world.versions(), [("two".to_owned(), ("active".to_owned(), 3))].into());
    let there = picture(fake);
    assert!(there.contains(&"service \"failed\": 0 of 1".to_owned()), "{there:?}");
    assert_eq!(of_shop(&there, "RUNNING"), TASKS, "{there:?}");
}

/// It asks for more than any instance has, and no circuit breaker gives up.
#[test]
fn a_service_that_never_comes_up_holds_a_roll_for_a_while_and_the_others_lose_nothing() {
    let world = used();
    let fake = &world.aws.fake;
    let container = json!({"name": "app", "image": "shop/big", "memory": 4_000_000, "cpu": 256, "essential": true});
    let definition = json!({"family": "big", "requiresCompatibilities": ["EC2"], "containerDefinitions": [container]});
    fake.call("ecs", "RegisterTaskDefinition", definition).unwrap();
    let service = json!({"cluster": "web", "serviceName": "big", "taskDefinition": "big", "desiredCount": 2, "launchType": "EC2"});
    fake.call("ecs", "CreateService", service).unwrap();
    // It is waited for, and no longer than is said.
    let arguments = ["deploy", "--version", "two", "--prove", "0"];
    let (_, stderr) = world.run(&[&arguments[..], &["--timeout", "8"]].concat(), 8);
    assert!(stderr.contains("services have fewer tasks than their minimum healthy percent: big"), "{stderr}");
    assert!(!stderr.contains("take no more tasks"), "{stderr}");
    let arguments = [&arguments[..], &["--recover", "2"]].concat();
    let mut child = world.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        nobody_notices_but(fake, "big");
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    ends(&output, 0, &["cluster web runs version two"]);
    let stderr = text(&output.stderr);
    let told = "service big has 0 of 2 tasks running, 2 is the least that ECS keeps of it, and it has had no more for 2 s: instances are drained";
    assert_eq!(stderr.matches("service big").count(), 1, "{stderr}");
    assert!(stderr.contains(told) && stderr.find(told) < stderr.find("take no more tasks"), "{stderr}");
    assert_eq!(world.versions(), [("two".to_owned(), ("active".to_owned(), 3))].into());
    let there = picture(fake);
    assert!(there.contains(&"service \"big\": 0 of 2".to_owned()), "{there:?}");
    assert_eq!(of_shop(&there, "RUNNING"), TASKS, "{there:?}");
    nobody_notices_but(fake, "big");
}

#[test]
fn a_task_that_does_not_stop_keeps_its_instance() {
    let world = World::new();
    world.deployed("one");
    let fake = &world.aws.fake;
    let container = json!({"name": "app", "image": "shop/stubborn", "memory": 512, "stopTimeout": 86_400});
    let definition = json!({"family": "shop", "requiresCompatibilities": ["EC2"], "containerDefinitions": [container]});
    fake.call("ecs", "RegisterTaskDefinition", definition).unwrap();
    fake.image(ImageRule { image: "shop/stubborn".to_owned(), ignores_stop: true, ..ImageRule::default() });
    let service = json!({"cluster": "web", "serviceName": "shop", "taskDefinition": "shop", "desiredCount": TASKS, "launchType": "EC2"});
    fake.call("ecs", "CreateService", service).unwrap();
    runs(fake);
    let arguments = ["deploy", "--version", "two", "--prove", "0"];
    let mut child = world.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("what takes its place runs, and the task on the first is told to stop", Duration::from_secs(60), || {
        let there = picture(fake);
        let drains = there.iter().any(|line| line.contains("draining"));
        let done = drains && of_shop(&there, "RUNNING") == TASKS && of_shop(&there, "STOPPING") > 0;
        if done { Ok(()) } else { Err(format!("{there:?}")) }
    });
    signal(child.id(), "KILL");
    child.wait().unwrap();
    // One look, which finds what there was to wait for.
    let (_, stderr) = world.run(&[&arguments[..], &["--timeout", "0"]].concat(), 8);
    let moves = stderr.contains("cluster web is not done after 0 s: ") && stderr.contains("of version one");
    assert!(moves && stderr.contains("`landfall cluster deploy --version two` goes on"), "{stderr}");
    // One at a time, and the first still has what does not stop.
    let there = world.versions();
    assert_eq!((&there["one"], &there["two"]), (&("inactive".to_owned(), 3), &("active".to_owned(), 3)));
    let draining = picture(fake).iter().filter(|line| line.contains("draining")).count();
    assert_eq!(draining, 1, "{:?}", picture(fake));
    nobody_notices(fake);
}

#[test]
fn a_stack_that_is_stuck_in_its_rollback_ends_the_roll_and_nothing_is_drained() {
    let world = used();
    let fake = &world.aws.fake;
    let fails = json!({"MainFleet": "You are not authorized to use launch template: lt-0a1b2c3d4e5f60718"});
    world.script("web-asg-one", &json!({"fail": fails, "rollback_fails": fails}));
    let (told, stderr) = world.deploy("two", "600", 1);
    assert_eq!(told["why"], "stack web-asg-one is UPDATE_ROLLBACK_FAILED, and cannot be changed");
    let said =
        ["MainFleet (AWS::AutoScaling::AutoScalingGroup): You are not authorized", "what is used is left as it is"];
    assert!(said.iter().all(|said| stderr.contains(said)), "{stderr}");
    assert_eq!(world.versions()["one"], ("active".to_owned(), 3));
    let dump = super::instances::dump(fake);
    let drains = dump["instances"].as_array().unwrap().iter().any(|one| one["draining"] == true);
    assert!(!drains, "{}", dump["instances"]);
    nobody_notices(fake);
    // Whoever led it out of that calls it again.
    world.script("web-asg-one", &json!({}));
    fake.call("cloudformation", "ContinueUpdateRollback", json!({"StackName": "web-asg-one"})).unwrap();
    eventually("it is well again", Duration::from_secs(20), || {
        let told = fake.call("cloudformation", "DescribeStacks", json!({"StackName": "web-asg-one"})).unwrap();
        let status = told["Stacks"][0]["StackStatus"].as_str().unwrap().to_owned();
        if status == "UPDATE_ROLLBACK_COMPLETE" { Ok(()) } else { Err(status) }
    });
    world.deployed("two");
    assert_eq!(world.versions(), [("two".to_owned(), ("active".to_owned(), 3))].into());
    nobody_notices(fake);
}

#[test]
fn two_deploys_at_once_end_with_one_version() {
    let world = used();
    let at_once = |versions: [&str; 2]| {
        let begun = versions.map(|version| {
            let mut command = world.command(&["deploy", "--version", version, "--prove", "0"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        begun.map(|child| child.wait_with_output().unwrap())
    };
    // The same one: both say that it is done.
    for output in at_once(["two", "two"]) {
        ends(&output, 0, &["cluster web runs version two"]);
    }
    assert_eq!(world.versions(), [("two".to_owned(), ("active".to_owned(), 3))].into());
    nobody_notices(&world.aws.fake);
    // Two of them: that which began later takes the other's place, before or after that was used.
    let outputs = at_once(["three", "four"]);
    let said = outputs.each_ref().map(|output| text(&output.stderr));
    let codes = outputs.each_ref().map(|output| output.status.code());
    let there = world.versions();
    let active: Vec<&String> = there.iter().filter(|(_, one)| one.0 == "active").map(|(version, _)| version).collect();
    assert!(active.len() == 1 && codes.contains(&Some(0)), "{there:?} {codes:?} {said:?}");
    nobody_notices(&world.aws.fake);
    let last = active[0].clone();
    world.deployed(&last);
    assert_eq!(world.versions(), [(last, ("active".to_owned(), 3))].into(), "{said:?}");
}

#[test]
fn a_cluster_whose_name_is_part_of_another_s_is_another() {
    let world = used();
    let fake = &world.aws.fake;
    let own = fleet(fake);
    for name in ["big-web", "web-big"] {
        world.infra(&INFRA.replace("name: web\n", &format!("name: {name}\n")));
        world.deployed("one-0");
        // Replaced, as version `one` of `web` is not.
        world.deployed("one");
        assert_eq!(world.versions(), [("one".to_owned(), ("active".to_owned(), 3))].into());
        world.run(&["destroy", "--yes"], 0);
        world.run(&["status"], 66);
        assert_eq!(fleet(fake), own);
    }
    world.infra(INFRA);
    assert_eq!(world.versions(), [("one".to_owned(), ("active".to_owned(), 3))].into());
    nobody_notices(fake);
}

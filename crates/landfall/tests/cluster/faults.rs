//! The whole life of a cluster with the real binary, while one call in ten to AWS fails: every change ends as it would have without.

use std::process::Stdio;
use std::time::Duration;

use landfall_awsfake::faults::{Fault, FaultError};
use serde_json::json;

use super::instances::{MUTE, SICK, TASKS, World, nobody_notices, picture, serve, serve_no_more};
use crate::common::{eventually, signal, text};

#[test]
fn with_one_call_in_ten_failing_a_cluster_comes_rolls_and_goes() {
    let world = World::new();
    let fake = &world.aws.fake;
    world.aws.fail_one_in_ten();
    world.deployed("one");
    serve(fake, "web", "shop", TASKS);
    let all = |version: &str| [(version.to_owned(), ("active".to_owned(), 3))].into();
    eventually("the service runs", Duration::from_secs(20), || {
        let there = picture(fake);
        let runs = there.iter().any(|line| line == &format!("service \"shop\": {TASKS} of {TASKS}"));
        if runs { Ok(()) } else { Err(format!("{there:?}")) }
    });
    world.deployed("two");
    nobody_notices(fake);
    assert_eq!(world.versions(), all("two"));

    let (told, _) = world.deploy(SICK, "600", 1);
    let why = told["why"].as_str().unwrap();
    assert!(why.contains("the task that proves main stopped: Essential container in task exited"), "{why}");
    let (told, _) = world.deploy(MUTE, "5", 1);
    assert_eq!(told["why"], format!("version {MUTE} does not work: no instance of it registered within 5 s"));
    nobody_notices(fake);
    assert_eq!(world.versions()["two"], ("active".to_owned(), 3));

    // Killed while the former version is drained, and what was is wanted back.
    let mut child = world
        .command(&["deploy", "--version", "three", "--prove", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("something drains", Duration::from_secs(120), || {
        let there = picture(fake);
        if there.iter().any(|line| line.contains("draining")) { Ok(()) } else { Err(format!("{there:?}")) }
    });
    signal(child.id(), "KILL");
    child.wait().unwrap();
    world.run(&["activate", "two"], 0);
    world.run(&["deactivate", "three"], 0);
    nobody_notices(fake);
    assert_eq!(world.versions(), all("two"));
    assert!(!picture(fake).iter().any(|line| line.contains("draining")), "{:?}", picture(fake));

    serve_no_more(fake, "web", "shop");
    fake.call("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": "shop:1"})).unwrap();
    eventually("it is gone", Duration::from_secs(20), || {
        let there = picture(fake);
        if there.iter().any(|line| line.contains("shop")) { Err(format!("{there:?}")) } else { Ok(()) }
    });
    world.run(&["destroy", "--yes"], 0);
    assert_eq!(picture(fake), Vec::<String>::new());
    world.aws.calls().one_in_ten("a cluster's life");
}

/// Also while AWS is away there is somebody who may have enough of waiting.
#[test]
fn whoever_waits_for_aws_can_be_interrupted() {
    let world = World::new();
    let mut command = world.command(&["deploy", "--version", "one", "--prove", "0"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the stack of the version", Duration::from_secs(60), || {
        let there = picture(&world.aws.fake);
        if there.iter().any(|line| line.starts_with("stack web-asg-one")) { Ok(()) } else { Err(format!("{there:?}")) }
    });
    let away = FaultError { code: "ServerException".to_owned(), message: "AWS is away".to_owned(), status: 500 };
    world.aws.fake.fault(Fault { error: Some(away), ..Fault::default() });
    eventually("it has been told so", Duration::from_secs(30), || {
        let told = world.aws.fake.script("GET", "faults", &json!(null)).unwrap()[0]["fired"].clone();
        if told.as_u64() >= Some(3) { Ok(()) } else { Err(told.to_string()) }
    });
    signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("interrupted; cluster web stays as it is now"), "{told}");
}

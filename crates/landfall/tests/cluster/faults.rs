//! The whole life of a cluster with the real binary, while one call in ten to AWS fails: every change ends as it would have without.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::instances::{MUTE, SICK, TASKS, World, nobody_notices, picture, serve, serve_no_more};
use crate::common::{eventually, signal};

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
    assert!(why.contains("the task that proves it stopped: Essential container in task exited"), "{why}");
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

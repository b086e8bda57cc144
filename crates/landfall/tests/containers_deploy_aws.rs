//! A lasting environment on an AWS of real containers, with the real binary and no server: deployed, updated, rolled back, scaled.
//! Judged with boto3 and by what answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::aws::{Cloud, installation};
use common::{Sandbox, ends};

const HOST: &str = "www.example.com";

/// `text` is what the application answers.
fn configure(sandbox: &Sandbox, cloud: &Cloud, text: &str) {
    let environments =
        format!("environments:\n  prod:\n    on: emulator\n    routing: {{ host: {{ name: {HOST} }} }}\n");
    cloud.manifest(sandbox, text, &environments);
}

#[test]
fn deploy_update_rollback_and_scale_on_ecs() {
    let (mut sandbox, cloud) = installation();
    // No container engine is needed for what runs elsewhere: none could be found where these point.
    sandbox.environment.push(("LANDFALL_ENGINE".to_owned(), "/no/such/engine.sock".to_owned()));

    configure(&sandbox, &cloud, "one");
    let stdout = ends(&sandbox.run(&["deploy", "prod"]), 0, &[]);
    assert_eq!(stdout.trim(), format!("http://{HOST}/"));
    cloud.wait_text(&sandbox, HOST, "one");
    let list = cloud.list();
    assert!(list.iter().any(|line| line == "service my-project-prod-web 1"), "{list:?}");

    configure(&sandbox, &cloud, "two");
    ends(&sandbox.run(&["deploy", "prod"]), 0, &[]);
    cloud.wait_text(&sandbox, HOST, "two");
    let releases = sandbox.json(&["releases", "prod"]);
    assert_eq!(releases.as_array().unwrap().len(), 2, "{releases}");

    // The same again is no new deployment, but a release all the same.
    let runs = sandbox.json(&["status", "prod"])["services"][0]["found"]["task_definition"].clone();
    ends(&sandbox.run(&["deploy", "prod"]), 0, &[]);
    assert_eq!(sandbox.json(&["status", "prod"])["services"][0]["found"]["task_definition"], runs);

    ends(&sandbox.run(&["rollback", "prod"]), 0, &[]);
    cloud.wait_text(&sandbox, HOST, "one");
    ends(&sandbox.run(&["scale", "prod", "web=2"]), 0, &[]);
    let status = sandbox.json(&["status", "prod"]);
    assert_eq!(status["services"][0]["found"]["desired"], 2, "{status}");
    ends(&sandbox.run(&["deploy", "prod"]), 0, &[]);
    cloud.wait_text(&sandbox, HOST, "two");
    assert_eq!(sandbox.json(&["status", "prod"])["services"][0]["found"]["desired"], 2, "the live count stays");
    // Nothing is deregistered.
    let list = cloud.list();
    for revision in [1, 2] {
        assert!(list.contains(&format!("task definition my-project-prod-web:{revision}")), "{list:?}");
    }
}

/// The same verbs with one call in ten failing: each does what it is asked to, once.
#[test]
fn with_one_call_in_ten_failing_every_change_of_an_environment_ends_right() {
    let (sandbox, mut cloud) = installation();
    cloud.put_faults_between();
    cloud.fail_one_in_ten();
    let desired = |count: u64| {
        let service = cloud.ask(&["service", "my-project-prod-web"]);
        assert_eq!(service["service"]["desiredCount"], count, "{service}");
        let list = cloud.list();
        let services = list.iter().filter(|line| line.starts_with("service ") || line.starts_with("target group "));
        assert_eq!(services.count(), 2, "{list:?}");
    };
    for round in 0..2 {
        let (one, two) = (format!("one of {round}"), format!("two of {round}"));
        for text in [&one, &two] {
            configure(&sandbox, &cloud, text);
            ends(&sandbox.run(&["deploy", "prod"]), 0, &[]);
            cloud.wait_text(&sandbox, HOST, text);
        }
        ends(&sandbox.run(&["scale", "prod", "web=2"]), 0, &[]);
        desired(2);
        ends(&sandbox.run(&["scale", "prod", "web=1"]), 0, &[]);
        desired(1);
        ends(&sandbox.run(&["rollback", "prod"]), 0, &[]);
        cloud.wait_text(&sandbox, HOST, &one);
    }
    // Each text is a definition of its own, and so is what a rollback brings back, as it is not the newest: none more.
    let definitions = cloud.list().into_iter().filter(|line| line.starts_with("task definition ")).count();
    assert_eq!(definitions, 6);
    cloud.calls().one_in_ten("deploy, scale and rollback");
}

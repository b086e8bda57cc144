//! A lasting environment on an AWS of real containers, with the real binary and no server: deployed, updated, rolled back, scaled.
//! Judged with boto3 and by what answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::process::Output;

use common::aws::Cloud;
use common::{Sandbox, engine};

const HOST: &str = "www.example.com";

fn ends(output: &Output, code: i32) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
}

/// `text` is what the application answers.
fn configure(sandbox: &Sandbox, cloud: &Cloud, text: &str) {
    let subnets = cloud.world["subnets"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect::<Vec<_>>();
    let manifest = format!(
        r#"project: my-project
aws:
  emulator:
    region: us-east-1
    endpoint: http://{api}
    account: "{account}"
    cluster: previews
    load_balancer: {balancer}
    probe_through: {endpoint}/_alb/previews
    network:
      subnets: [{subnets}]
      security_groups: [{group}]
services:
  web:
    base_task_definition: my-project-base
    containers:
      app:
        ports: [8080]
        environment: {{ DEMO_TEXT: "{text}" }}
    load_balancer:
      container: app
      port: 8080
      health_check: {{ path: /health, interval: 5s, timeout: 2s }}
environments:
  prod:
    on: emulator
    routing: {{ host: {{ name: {HOST} }} }}
"#,
        api = cloud.faulty.unwrap_or(cloud.address),
        endpoint = cloud.endpoint(),
        account = common::aws::ACCOUNT,
        balancer = cloud.text("load_balancer"),
        subnets = subnets.join(", "),
        group = cloud.text("security_group"),
    );
    std::fs::write(&sandbox.manifest, manifest).unwrap();
}

fn answers(sandbox: &Sandbox, cloud: &Cloud, text: &str) {
    sandbox.eventually(&format!("{HOST} answers {text:?}"), || match cloud.get(HOST, "/") {
        Ok(answer) if answer.status == 200 && answer.body.trim() == text => Ok(()),
        Ok(answer) => Err(format!("{} {}\n{}", answer.status, answer.body, cloud.log())),
        Err(error) => Err(error.to_string()),
    });
}

#[test]
fn deploy_update_rollback_and_scale_on_ecs() {
    let mut sandbox = Sandbox::new();
    let image = engine::base_image(&sandbox.state);
    let cloud = Cloud::start(&image);
    sandbox.environment.extend(Cloud::credentials().map(|(name, value)| (name.to_owned(), value.to_owned())));
    // No container engine is needed for what runs elsewhere: none could be found where these point.
    sandbox.environment.push(("LANDFALL_ENGINE".to_owned(), "/no/such/engine.sock".to_owned()));

    configure(&sandbox, &cloud, "one");
    let first = sandbox.run(&["deploy", "prod"]);
    ends(&first, 0);
    assert_eq!(String::from_utf8_lossy(&first.stdout).trim(), format!("http://{HOST}/"));
    answers(&sandbox, &cloud, "one");
    let list = cloud.list();
    assert!(list.iter().any(|line| line == "service my-project-prod-web 1"), "{list:?}");

    configure(&sandbox, &cloud, "two");
    ends(&sandbox.run(&["deploy", "prod"]), 0);
    answers(&sandbox, &cloud, "two");
    let releases = sandbox.json(&["releases", "prod"]);
    assert_eq!(releases.as_array().unwrap().len(), 2, "{releases}");

    // The same again is no new deployment, but a release all the same.
    let runs = sandbox.json(&["status", "prod"])["services"][0]["found"]["task_definition"].clone();
    ends(&sandbox.run(&["deploy", "prod"]), 0);
    assert_eq!(sandbox.json(&["status", "prod"])["services"][0]["found"]["task_definition"], runs);

    ends(&sandbox.run(&["rollback", "prod"]), 0);
    answers(&sandbox, &cloud, "one");
    ends(&sandbox.run(&["scale", "prod", "web=2"]), 0);
    let status = sandbox.json(&["status", "prod"]);
    assert_eq!(status["services"][0]["found"]["desired"], 2, "{status}");
    ends(&sandbox.run(&["deploy", "prod"]), 0);
    answers(&sandbox, &cloud, "two");
    assert_eq!(sandbox.json(&["status", "prod"])["services"][0]["found"]["desired"], 2, "the live count stays");
    // Nothing is deregistered.
    let list = cloud.list();
    for revision in [1, 2] {
        assert!(list.contains(&format!("task definition my-project-prod-web:{revision}")), "{list:?}");
    }
}

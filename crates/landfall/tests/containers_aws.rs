//! The real binary against an AWS of real containers: a branch comes up on ECS behind a host rule of a shared load balancer,
//! is updated in place, survives a crash, and goes without a trace. Judged with boto3.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::aws::Cloud;
use common::{Sandbox, engine, github};

const BRANCH: &str = "feature/test123";
const HOST: &str = "test123.previews.example.com";

fn installation() -> (Sandbox, Cloud) {
    let mut sandbox = Sandbox::new();
    let image = engine::base_image(&sandbox.state);
    let cloud = Cloud::start(&image);
    let manifest = format!(
        r#"project: my-project
aws:
  emulator:
    region: us-east-1
    endpoint: {endpoint}
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
        environment: {{ DEMO_TEXT: "hello from ECS" }}
    load_balancer:
      container: app
      port: 8080
      health_check: {{ path: /health, interval: 5s, timeout: 2s }}
previews:
  on: emulator
  branches: ["feature/*"]
  routing: {{ host: {{ domain: previews.example.com, port: 80 }} }}
"#,
        endpoint = cloud.endpoint(),
        account = common::aws::ACCOUNT,
        balancer = cloud.text("load_balancer"),
        subnets = cloud.world["subnets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s.as_str().unwrap())
            .collect::<Vec<_>>()
            .join(", "),
        group = cloud.text("security_group"),
    );
    std::fs::write(&sandbox.manifest, manifest).unwrap();
    sandbox.environment.extend(Cloud::credentials().map(|(name, value)| (name.to_owned(), value.to_owned())));
    (sandbox, cloud)
}

fn wait_text(sandbox: &Sandbox, cloud: &Cloud, text: &str) {
    sandbox.eventually(&format!("{HOST} answers {text:?}"), || match cloud.get(HOST, "/") {
        Ok(answer) if answer.status == 200 && answer.body.trim() == text => Ok(()),
        Ok(answer) => Err(format!("{} {}\n{}", answer.status, answer.body, cloud.log())),
        Err(error) => Err(error.to_string()),
    });
}

fn wait_phase(sandbox: &Sandbox, phase: &str) -> serde_json::Value {
    sandbox.eventually(&format!("{BRANCH} is {phase}"), || {
        let shown = sandbox.json(&["preview", "show", BRANCH]);
        if shown["record"]["phase"] == phase && shown["record"]["live"].is_null() {
            Ok(shown)
        } else {
            Err(shown.to_string())
        }
    })
}

/// The shared listener stays: it is nobody's.
fn wait_nothing_left(sandbox: &Sandbox, cloud: &Cloud) {
    sandbox.eventually("nothing left on AWS", || match cloud.list() {
        left if left == ["listener 80"] => Ok(()),
        left => Err(left.join(", ")),
    });
}

#[test]
fn a_branch_comes_up_on_ecs_and_goes_without_a_trace() {
    let (mut sandbox, cloud) = installation();
    sandbox.start();
    assert_eq!(sandbox.deliver("create", &github::create(BRANCH)), 202);
    wait_text(&sandbox, &cloud, "hello from ECS");
    let shown = wait_phase(&sandbox, "ready");
    assert_eq!(shown["record"]["names"]["service"], "my-project-test123-service");
    assert_eq!(shown["url"].as_str().or(shown["record"]["url"].as_str()), Some(&*format!("http://{HOST}/")), "{shown}");
    let list = cloud.list();
    for expected in
        ["service my-project-test123-service 1", "target group my-project-test123-tg", &format!("rule {HOST}")]
    {
        assert!(list.iter().any(|line| line == expected), "{expected} is not in {list:?}");
    }
    // The base's own words stay, and ours are laid over them.
    let described = cloud.ask(&["service", "my-project-test123-service"]);
    let environment = &described["definition"]["containerDefinitions"][0]["environment"];
    let value = |name: &str| {
        environment
            .as_array()
            .unwrap()
            .iter()
            .find(|v| v["name"] == name)
            .and_then(|v| v["value"].as_str().map(str::to_owned))
    };
    assert_eq!(value("KEPT").as_deref(), Some("from the base"));
    assert_eq!(value("DEMO_TEXT").as_deref(), Some("hello from ECS"));
    assert_eq!(described["service"]["launchType"], "FARGATE");

    assert_eq!(sandbox.deliver("delete", &github::delete(BRANCH)), 202);
    wait_nothing_left(&sandbox, &cloud);
    wait_phase(&sandbox, "destroyed");
    assert!(sandbox.stop().success());
}

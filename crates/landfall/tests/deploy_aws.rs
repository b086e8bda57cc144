//! Lasting environments and previews with the real binary, against our fake of AWS.
//!
//! One call in ten to AWS fails, and every change ends as it would have without. The SDK repeats nothing (`crates/aws/src/config.rs`), so
//! whatever is repeated is repeated by the engine, with what was done and not answered among it. The same with real
//! containers is in `containers_aws.rs` and `containers_deploy_aws.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::time::Duration;

use common::fake::{FakeAws, visitor};
use common::{eventually, signal};
use landfall_awsfake::ImageRule;
use landfall_awsfake::faults::{Fault, FaultError};
use landfall_awsfake::world::is_read;
use serde_json::{Value, json};

const ELB: &str = "elasticloadbalancing";
const SERVICES: [&str; 2] = ["shop-prod-web", "shop-prod-worker"];

struct World {
    aws: FakeAws,
    probe: u16,
}

impl World {
    fn new() -> Self {
        let aws = FakeAws::new();
        let balancer = json!({"Name": "front", "Subnets": ["subnet-1", "subnet-2"]});
        aws.fake.call(ELB, "CreateLoadBalancer", balancer).unwrap();
        aws.fake.call("sns", "CreateTopic", json!({"Name": "ops"})).unwrap();
        aws.fake.call("logs", "CreateLogGroup", json!({"logGroupName": "/shop"})).unwrap();
        aws.fake.image(ImageRule {
            image: image(BROKEN),
            pull_error: Some("pull image manifest has been retried 1 time(s): no such tag".to_owned()),
            ..ImageRule::default()
        });
        Self { aws, probe: visitor() }
    }

    fn manifest(&self, image: &str) {
        let text = format!(
            r#"project: shop
{place}    load_balancer: front
    probe_through: 127.0.0.1:{probe}
    execution_role: execution
    log_group: /shop
services:
  web:
    cpu: 256
    memory: 512
    containers:
      app: {{ image: "{image}", ports: [8080] }}
    load_balancer:
      container: app
      port: 8080
      health_check: {{ path: /health, interval: 5s, timeout: 2s }}
  worker:
    cpu: 256
    memory: 512
    containers:
      app: {{ image: "{image}" }}
environments:
  prod:
    on: cloud
    services: [web, worker]
    routing: {{ host: {{ name: shop.example.com }} }}
previews:
  on: cloud
  branches: ["feature/*"]
  services: [web, worker]
  routing: {{ host: {{ domain: previews.example.com, port: 80 }} }}
notifications:
  ops: {{ sns: {{ topic: "arn:aws:sns:us-east-1:123456789012:ops" }} }}
"#,
            place = self.aws.place(),
            probe = self.probe,
        );
        self.aws.write("landfall.yml", &text);
    }

    fn landfall(&self, arguments: &[&str]) -> Output {
        self.aws.landfall(arguments).output().unwrap()
    }

    /// What it said.
    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32) -> String {
        let output = self.landfall(arguments);
        common::ends(&output, code, &[]);
        common::text(&output.stderr)
    }

    /// Past the faults.
    fn ask(&self, service: &str, operation: &str, input: Value) -> Value {
        self.aws.fake.call(service, operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    /// Each service once, with this image and so many tasks and no other; one target group, listener and rule.
    fn serves(&self, image: &str, counts: [u64; 2]) {
        let services = self.ask("ecs", "ListServices", json!({"cluster": "main"}));
        assert_eq!(services["serviceArns"].as_array().unwrap().len(), SERVICES.len(), "{services}");
        let asked = json!({"cluster": "main", "services": SERVICES});
        let found = self.ask("ecs", "DescribeServices", asked);
        for (service, count) in found["services"].as_array().unwrap().iter().zip(counts) {
            assert_eq!(service["desiredCount"], count, "{service}");
            assert_eq!(service["deployments"].as_array().unwrap().len(), 1, "{service}");
            let revision = self.revision(&service["taskDefinition"]);
            assert_eq!(revision["containerDefinitions"][0]["image"], image, "{service}");
        }
        let balancers = self.ask(ELB, "DescribeLoadBalancers", json!({}));
        let balancer = &balancers["LoadBalancers"][0]["LoadBalancerArn"];
        let groups = self.ask(ELB, "DescribeTargetGroups", json!({}));
        let listeners = self.ask(ELB, "DescribeListeners", json!({"LoadBalancerArn": balancer}));
        let listener = &listeners["Listeners"][0]["ListenerArn"];
        let rules = self.ask(ELB, "DescribeRules", json!({"ListenerArn": listener}));
        let count = |of: &Value| of.as_array().unwrap().len();
        // Beside the rule there is the listener's default.
        let counts = (count(&groups["TargetGroups"]), count(&listeners["Listeners"]), count(&rules["Rules"]));
        assert_eq!(counts, (1, 1, 2), "{groups} {listeners} {rules}");
    }

    fn revision(&self, arn: &Value) -> Value {
        self.ask("ecs", "DescribeTaskDefinition", json!({"taskDefinition": arn}))["taskDefinition"].clone()
    }

    /// Task definitions of an environment: a repeated registration would be one too many.
    fn revisions(&self) -> usize {
        let listed = self.ask("ecs", "ListTaskDefinitions", json!({"status": "ACTIVE"}));
        listed["taskDefinitionArns"].as_array().unwrap().len()
    }

    /// What previews leave is the shared listener, which is nobody's.
    fn nothing_left(&self) {
        let services = self.ask("ecs", "ListServices", json!({"cluster": "main"}));
        let groups = self.ask(ELB, "DescribeTargetGroups", json!({}));
        assert_eq!((&services["serviceArns"], &groups["TargetGroups"]), (&json!([]), &json!([])));
        assert_eq!(self.revisions(), 0);
    }
}

/// By digest: nobody is asked what it is.
fn image(n: usize) -> String {
    format!("shop/web@sha256:{n:064x}")
}

const BROKEN: usize = 0xbad;

/// Deployed anew, scaled, rolled back, deployed again and badly, each to its right end; and so on.
fn a_life(world: &World, rounds: usize) {
    world.manifest(&image(0));
    world.ends(&["deploy", "prod"], 0);
    world.serves(&image(0), [1, 1]);
    for round in 1..=rounds {
        let now = image(round);
        world.manifest(&now);
        world.ends(&["deploy", "prod"], 0);
        world.serves(&now, [1, 1]);
        world.ends(&["scale", "prod", "web=2"], 0);
        world.serves(&now, [2, 1]);
        world.ends(&["scale", "prod", "web=1"], 0);
        world.ends(&["rollback", "prod"], 0);
        world.serves(&image(round - 1), [1, 1]);
        world.ends(&["deploy", "prod"], 0);
        world.manifest(&image(BROKEN));
        let said = world.ends(&["deploy", "prod", "--fail-fast"], 3);
        assert!(said.contains("no such tag"), "{said}");
        world.serves(&now, [1, 1]);
    }
}

#[test]
fn with_one_call_in_ten_failing_every_change_of_a_lasting_environment_ends_right() {
    let world = World::new();
    world.aws.fail_one_in_ten();
    a_life(&world, 3);
    world.aws.calls().one_in_ten("deploy, rollback and scale");
}

#[test]
fn with_one_call_in_ten_failing_previews_come_and_go() {
    let world = World::new();
    world.aws.fail_one_in_ten();
    for round in 0..4_usize {
        world.manifest(&image(round));
        world.ends(&["preview", "create", "feature/one", "--commit", &"1".repeat(40)], 0);
        world.manifest(&image(round + 1));
        world.ends(&["preview", "create", "feature/one", "--commit", &"2".repeat(40)], 0);
        world.ends(&["preview", "destroy", "feature/one"], 0);
        world.nothing_left();
    }
    world.aws.calls().one_in_ten("previews created, updated and destroyed");
}

/// By chance some writes are never hit: here each one is, once with its answer lost, once cut off before it, once failed.
#[test]
fn each_write_of_a_deployment_may_fail_once_before_and_once_after_its_effect() {
    let clean = World::new();
    a_life(&clean, 1);
    let whole = clean.revisions();
    let writes: BTreeSet<(String, String)> = (clean.aws.fake.calls().into_iter())
        .filter(|call| !is_read(&call.operation))
        .map(|call| (call.service, call.operation))
        .collect();
    assert!(writes.contains(&("ecs".to_owned(), "CreateService".to_owned())), "{writes:?}");
    let failed = Some(FaultError { code: "ServerException".to_owned(), message: "injected".to_owned(), status: 500 });
    let kinds = [
        Fault { lose_response: true, ..Fault::default() },
        Fault { cut: true, ..Fault::default() },
        Fault { error: failed, ..Fault::default() },
    ];
    for kind in kinds {
        let world = World::new();
        for (service, operation) in &writes {
            let (service, operation) = (Some(service.clone()), Some(operation.clone()));
            world.aws.fake.fault(Fault { service, operation, times: Some(1), ..kind.clone() });
        }
        a_life(&world, 1);
        let struck = world.aws.fake.script("GET", "faults", &Value::Null).unwrap();
        assert!(struck.as_array().unwrap().iter().all(|armed| armed["fired"] == 1), "{struck}");
        assert_eq!(world.revisions(), whole, "no task definition is registered twice");
    }
}

#[test]
fn throttled_out_has_an_exit_code_of_its_own_and_nothing_is_begun() {
    let world = World::new();
    world.manifest(&image(0));
    world.ends(&["deploy", "prod"], 0);
    let writes = || world.aws.fake.calls().iter().filter(|call| !is_read(&call.operation)).count();
    let before = writes();
    let error = Some(FaultError { code: "Throttling".to_owned(), message: "Rate exceeded".to_owned(), status: 400 });
    world.aws.fake.fault(Fault { service: Some("ecs".to_owned()), error, ..Fault::default() });
    world.manifest(&image(1));
    let output = world.landfall(&["deploy", "prod", "--output", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(output.status.code(), Some(79), "{told}");
    assert_eq!((&told["error"]["code"], &told["error"]["exit_code"]), (&json!("throttled"), &json!(79)), "{told}");
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.contains("ecs:DescribeServices") && message.contains("Rate exceeded"), "{message}");
    world.ends(&["status", "prod"], 79);
    assert_eq!(writes(), before);
    world.aws.fake.clear_faults();
    let executions = world.landfall(&["executions", "list", "--output", "json"]);
    let executions: Value = serde_json::from_slice(&executions.stdout).unwrap();
    assert_eq!(executions.as_array().unwrap().len(), 1, "{executions}");
    world.ends(&["deploy", "prod"], 0);
    world.serves(&image(1), [1, 1]);
}

/// Lines of the tasks that run, then of those that a deployment starts; until Ctrl-C.
#[test]
fn log_lines_of_an_environment_are_followed_across_a_deployment() {
    let world = World::new();
    for n in 0..2 {
        let logs = vec![format!("version {n} listens")];
        world.aws.fake.image(ImageRule { image: image(n), logs, ..ImageRule::default() });
    }
    world.manifest(&image(0));
    world.ends(&["deploy", "prod"], 0);
    let path = world.aws.path().join("followed");
    let file = std::fs::File::create(&path).unwrap();
    let mut following =
        world.aws.landfall(&["logs", "prod", "--follow"]).stdout(file).stderr(Stdio::piped()).spawn().unwrap();
    let told = |text: &str| {
        eventually(text, Duration::from_secs(30), || {
            let lines = std::fs::read_to_string(&path).unwrap();
            // Of both services.
            if lines.matches(text).count() == 2 { Ok(()) } else { Err(lines) }
        });
    };
    told("app | version 0 listens");
    world.manifest(&image(1));
    world.ends(&["deploy", "prod"], 0);
    told("app | version 1 listens");
    assert!(following.try_wait().unwrap().is_none(), "it goes on");
    signal(following.id(), "INT");
    let ended = following.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

/// A service that others made passes no tags on to its tasks: they are found by its name, before it is taken over and after.
#[test]
fn log_lines_of_a_service_that_others_made_are_found_by_its_name() {
    let world = World::new();
    let logs = vec!["theirs listens".to_owned()];
    world.aws.fake.image(ImageRule { image: image(0), logs, ..ImageRule::default() });
    world.manifest(&image(0));
    let ask = |operation: &str, input: Value| world.aws.fake.call("ecs", operation, input).unwrap();
    let options = json!({"awslogs-group": "/shop", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "theirs"});
    let log = json!({"logDriver": "awslogs", "options": options});
    let container = json!({"name": "app", "image": image(0), "memory": 64, "logConfiguration": log});
    ask("RegisterTaskDefinition", json!({"family": "theirs", "containerDefinitions": [container]}));
    for (service, count) in [("shop-prod-web", 1), ("shop-staging-web", 1)] {
        ask(
            "CreateService",
            json!({"cluster": "main", "serviceName": service, "taskDefinition": "theirs", "desiredCount": count}),
        );
    }
    eventually("its line", Duration::from_secs(30), || {
        let output = world.aws.landfall(&["logs", "prod"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // And no other service's.
        if said.matches("app | theirs listens").count() == 1 { Ok(()) } else { Err(format!("{output:?}")) }
    });
    let path = world.aws.path().join("followed");
    let file = std::fs::File::create(&path).unwrap();
    let mut following = world.aws.landfall(&["logs", "prod", "--follow"]).stdout(file).spawn().unwrap();
    eventually("its line is followed", Duration::from_secs(30), || {
        let lines = std::fs::read_to_string(&path).unwrap();
        if lines.matches("theirs listens").count() == 1 { Ok(()) } else { Err(lines) }
    });
    signal(following.id(), "INT");
    assert_eq!(following.wait().unwrap().code(), Some(0));
}

/// Begun and ended, each once, through the same topic as previews; a failure with its cause.
#[test]
fn every_change_of_a_lasting_environment_is_told() {
    let world = World::new();
    world.manifest(&image(0));
    world.ends(&["deploy", "prod", "--commit", "1a2b3c4d5e6f"], 0);
    world.ends(&["scale", "prod", "web=2"], 0);
    world.manifest(&image(BROKEN));
    world.ends(&["deploy", "prod", "--fail-fast"], 3);
    let state = world.aws.fake.state();
    let published = state["123456789012/us-east-1"]["published"].as_array().unwrap();
    let told: Vec<&str> = published.iter().map(|one| one["message"].as_str().unwrap()).collect();
    let ends: Vec<&str> = told.iter().copied().filter(|text| !text.starts_with("shop: deploying prod at")).collect();
    // What begins and has ended by the time it could be told is told as ended.
    let [deployed, rest @ ..] = ends.as_slice() else { panic!("{told:?}") };
    assert!(deployed.starts_with("shop: deployed prod at 1a2b3c4"), "{told:?}");
    assert!(rest.contains(&"shop: scaled prod: web to 2"), "{told:?}");
    let failed = rest.last().unwrap();
    assert!(failed.starts_with("shop: deploying prod failed and was rolled back: "), "{told:?}");
    assert!(failed.contains("no such tag"), "{told:?}");
    for text in &told {
        assert_eq!(told.iter().filter(|other| *other == text).count(), 1, "{told:?}");
    }
}

//! `landfall continue` and `landfall abort` with the real binary against our fake of AWS, from another terminal than the one that
//! deploys and holds the state: a blue/green deployment that waits at a pause hook goes on, is rolled back or ends as it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::process::{Child, Output, Stdio};
use std::time::Duration;

use common::fake::{FakeAws, V1, V2};
use common::{ends, eventually, text};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const WEB: &str = "shop-prod-web";

struct World {
    aws: FakeAws,
}

impl World {
    /// The first version runs.
    fn new() -> Self {
        let world = Self { aws: FakeAws::new() };
        world.manifest("");
        world.ends(&["continue", "prod"], 66, &["nothing was ever deployed to prod"]);
        world.ends(&["deploy", "prod", "--timeout", "60"], 0, &[]);
        world.manifest(
            "
    deployment:
      strategy: blue_green
      lifecycle_hooks:
        - stages: [post_test_traffic_shift]
          pause: { timeout: 24h, on_timeout: rollback }",
        );
        world
    }

    fn manifest(&self, deployment: &str) {
        let manifest = format!(
            r#"project: shop
{place}services:
  web:
    cpu: 256
    memory: 512
    containers:
      app: {{ image: "{V1}" }}{deployment}
  here:
    launch_type: local
    containers:
      app: {{ image: "{V1}" }}
environments:
  prod: {{ on: cloud, services: [web] }}
  dev: {{ services: [here] }}
"#,
            place = self.aws.place(),
        );
        self.aws.write("landfall.yml", &manifest);
    }

    /// stdout.
    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32, says: &[&str]) -> String {
        ends(&self.aws.landfall(arguments).output().unwrap(), code, says)
    }

    /// A deployment of this image that has come to its pause; the command goes on following it.
    fn paused(&self, image: &str) -> Following {
        let image = format!("web/app={image}");
        let arguments = ["deploy", "prod", "--image", &image, "--timeout", "120"];
        let mut command = self.aws.landfall(&arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let following = Following(Some(child));
        eventually("it waits at its pause", LIMIT, || {
            let newest = self.newest();
            let waits = newest["lifecycleHookDetails"][0]["status"] == "AWAITING_ACTION";
            (waits && newest["status"] == "IN_PROGRESS").then_some(()).ok_or_else(|| newest.to_string())
        });
        following
    }

    /// The newest service deployment.
    fn newest(&self) -> Value {
        let ask = |operation, input| self.aws.fake.call("ecs", operation, input).unwrap();
        let listed = ask("ListServiceDeployments", json!({"cluster": "main", "service": WEB}));
        let arn = listed["serviceDeployments"][0]["serviceDeploymentArn"].clone();
        ask("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]}))["serviceDeployments"][0].clone()
    }

    fn runs(&self) -> String {
        let ask = |operation, input| self.aws.fake.call("ecs", operation, input).unwrap();
        let services = ask("DescribeServices", json!({"cluster": "main", "services": [WEB]}));
        let handle = services["services"][0]["taskDefinition"].clone();
        let definition = ask("DescribeTaskDefinition", json!({"taskDefinition": handle}));
        definition["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap().to_owned()
    }
}

/// Killed where a test ends without it.
struct Following(Option<Child>);

impl Following {
    fn end(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }

    /// SIGKILL: the state is free, and the work is in the journal.
    fn dies(mut self) {
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn services(stdout: &str) -> Value {
    let told: Value = serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    told["services"].clone()
}

#[test]
fn a_paused_deployment_goes_on_when_it_is_told_to() {
    let world = World::new();
    world.ends(&["continue", "prod"], 66, &["no deployment to prod waits at a pause hook"]);
    let deploying = world.paused(V2);
    let told = world.ends(&["continue", "prod", "web", "--output", "json"], 0, &["goes on: web"]);
    assert_eq!(services(&told), json!(["web"]));
    ends(&deploying.end(), 0, &[]);
    assert_eq!(world.runs(), V2);
    world.ends(&["continue", "prod"], 66, &["no deployment to prod waits at a pause hook"]);
}

#[test]
fn a_paused_deployment_is_rolled_back_when_it_is_aborted() {
    let world = World::new();
    world.ends(&["abort", "prod"], 66, &["nothing is being deployed to prod"]);
    for (arguments, says, code) in [
        (vec!["abort", "prod", "--output", "json"], "is rolled back: web", "LF-SERVICE-ROLLED-BACK"),
        (
            vec!["abort", "prod", "web", "--no-rollback", "--output", "json"],
            "ends as it is: web",
            "LF-SERVICE-DEPLOYMENT-STOPPED",
        ),
    ] {
        let deploying = world.paused(V2);
        assert_eq!(services(&world.ends(&arguments, 0, &[says])), json!(["web"]));
        ends(&deploying.end(), 3, &[code]);
        assert_eq!(world.runs(), V1, "{arguments:?}");
    }
}

/// Whoever looks meanwhile sees it under way, through the command that has the state; whoever would begin something is refused.
#[test]
fn others_look_while_a_command_deploys() {
    let world = World::new();
    let deploying = world.paused(V2);
    let told: Value = serde_json::from_str(&world.ends(&["status", "prod", "--output", "json"], 0, &[])).unwrap();
    assert_eq!(told["execution"]["outcome"], Value::Null, "{told:#}");
    assert_eq!(told["execution"]["state"], "running", "{told:#}");
    let releases = world.ends(&["releases", "prod", "--all", "--output", "json"], 0, &[]);
    let releases: Value = serde_json::from_str(&releases).unwrap();
    assert_eq!(releases.as_array().unwrap().len(), 2, "the one under way and the one before: {releases:#}");
    let unfinished = world.ends(&["executions", "list", "--unfinished", "--output", "json"], 0, &[]);
    assert_eq!(serde_json::from_str::<Value>(&unfinished).unwrap().as_array().unwrap().len(), 1, "{unfinished}");
    world.ends(&["deploy", "prod"], 75, &["another Landfall process owns"]);
    let mut waiting = world.aws.landfall(&["wait", "prod", "--timeout", "120"]);
    let waiting = Following(Some(waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()));
    world.ends(&["continue", "prod"], 0, &["goes on: web"]);
    ends(&deploying.end(), 0, &[]);
    ends(&waiting.end(), 0, &[]);
    world.ends(&["status", "prod"], 0, &[]);
}

/// Nobody holds the state: the execution is stopped too, and whoever takes it up undoes it.
#[test]
fn what_a_killed_command_left_is_aborted_and_undone() {
    let world = World::new();
    world.paused(V2).dies();
    world.ends(&["abort", "prod"], 0, &["stops at the next step boundary and is undone", "is rolled back: web"]);
    world.ends(&["wait", "prod", "--timeout", "60"], 6, &[]);
    assert_eq!(world.runs(), V1);
    world.ends(&["abort", "prod"], 66, &["nothing is being deployed to prod"]);
}

#[test]
fn what_cannot_be_told_is_refused() {
    let world = World::new();
    for command in ["continue", "abort"] {
        world.ends(&[command, "prod", "nobody"], 66, &["no service `nobody` in prod; there is web"]);
        world.ends(&[command, "staging"], 66, &["staging"]);
    }
    world.ends(&["continue", "dev"], 64, &["is on this machine, where no deployment pauses"]);
    // What was deployed is as it was.
    assert_eq!(world.runs(), V1);
    let stderr = text(&world.aws.landfall(&["status", "prod"]).output().unwrap().stderr);
    assert!(!stderr.contains("error"), "{stderr}");
}

const COMMIT: &str = "1111111111111111111111111111111111111111";

/// Of the stages of a pipeline that somebody approves, the pauses are approved by the same people: by a yes the deployment goes on, by a
/// no ECS goes back, and nobody else's word does either.
#[test]
fn a_pause_in_a_stage_is_approved_or_rejected_like_the_stage() {
    let world = World::new();
    let repository = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop";
    let ecr = |operation: &str, input: Value| world.aws.fake.call("ecr", operation, input).unwrap();
    ecr("CreateRepository", json!({"repositoryName": "shop"}));
    let sns = |operation: &str, input: Value| world.aws.fake.call("sns", operation, input).unwrap();
    let topic = sns("CreateTopic", json!({"Name": "ops"}))["TopicArn"].clone();
    sns("Subscribe", json!({"TopicArn": topic, "Protocol": "email", "Endpoint": "ben@example.com"}));
    let other = "2".repeat(40);
    for commit in [COMMIT, other.as_str()] {
        let image =
            json!({"repositoryName": "shop", "imageManifest": format!("{{\"n\":\"{commit}\"}}"), "imageTag": commit});
        ecr("PutImage", image);
    }
    let manifest = format!(
        r#"project: shop
{place}    execution_role: execution
notifications:
  ops: {{ sns: {{ topic: "{topic}", on: cloud }} }}
services:
  web:
    cpu: 256
    memory: 512
    containers:
      app: {{ await: {{ image: "{repository}:{{commit}}" }} }}
    deployment:
      strategy: blue_green
      lifecycle_hooks:
        - stages: [post_test_traffic_shift]
          pause: {{ timeout: 24h, on_timeout: rollback }}
environments:
  prod: {{ on: cloud, services: [web] }}
pipelines:
  main:
    stages:
      - environment: prod
        run: [{{ deploy: {{}} }}]
        approval: {{ by: [anna, ben] }}
"#,
        place = world.aws.place(),
        topic = topic.as_str().unwrap(),
    );
    world.aws.write("landfall.yml", &manifest);
    let by = |who: &str, arguments: &[&str], code: i32, says: &[&str]| {
        let output = world.aws.landfall(arguments).env("USER", who).output().unwrap();
        ends(&output, code, says);
        text(&output.stderr)
    };
    let show = || -> Value {
        serde_json::from_str(&world.ends(&["pipeline", "show", "main", "--output", "json"], 0, &[])).unwrap()
    };

    by("carl", &["pipeline", "run", "main", "--commit", COMMIT], 10, &[]);
    // Ben has not followed the link that AWS mailed: SNS has taken the question, and nobody reads it.
    let nobody = "sent to ops, where it reaches nobody: not confirmed by ben@example.com";
    let advice = ["what was sent to ops has reached nobody", "landfall notifications subscribe ops ADDRESS"];
    for command in [&["pipeline", "show", "main"][..], &["pipeline", "status"]] {
        let said = by("carl", command, 0, &advice);
        assert!(world.ends(command, 0, &advice).contains(nobody), "{said}");
    }
    sns("ConfirmSubscription", json!({"TopicArn": topic, "Token": "ben@example.com"}));
    by("anna", &["pipeline", "approve", "main"], 10, &["is paused and waits for approval, 0 of 1"]);
    let told = world.ends(&["pipeline", "status"], 0, &[]);
    assert!(told.contains("sent to ops: ben@example.com\n"), "{told}");
    assert_eq!(world.newest()["lifecycleHookDetails"][0]["status"], "AWAITING_ACTION");
    let asked = show()["stages"][0]["approval"]["asked"].clone();
    assert!(asked["shown"]["changes"][0].as_str().unwrap().contains("stands at POST_TEST_TRAFFIC_SHIFT"), "{asked}");
    // What was approved before the stage is another question.
    by("carl", &["pipeline", "approve", "main"], 73, &["is not among those who decide"]);
    by("mallory", &["pipeline", "reject", "main"], 73, &["is not among those who decide"]);
    assert_eq!(world.newest()["lifecycleHookDetails"][0]["status"], "AWAITING_ACTION");
    by("ben", &["pipeline", "approve", "main"], 0, &["approved: prod goes on", "passed"]);
    assert_eq!(world.newest()["status"], "SUCCESSFUL");
    let first = world.runs();

    by("carl", &["pipeline", "run", "main", "--commit", &other], 10, &[]);
    by("anna", &["pipeline", "approve", "main"], 10, &["is paused"]);
    by("ben", &["pipeline", "reject", "main", "--comment", "the basket is broken"], 12, &["the basket is broken"]);
    assert_eq!(show()["state"], "rejected");
    eventually("what ran before runs again", LIMIT, || match world.runs() == first {
        true => Ok(()),
        false => Err(world.runs()),
    });
}

//! `agreement.py` through boto3: the calls that moto and ministack serve too, on all three, and the rest on the fake.
//!
//! Needs the virtual environments of `scripts/emulators`. Where the fake and an emulator differ it is written down here with
//! the reason; a difference that is not, or one that has gone, fails the test.

use std::collections::BTreeMap;
use std::process::Command;

use landfall_awsfake::Fake;
use landfall_testkit::emulator::{self, program};
use serde_json::Value;

/// emulator, fact, what is wrong with the emulator's answer.
const KNOWN: &[(&str, &str, &str)] = &[
    ("ministack", "ecr image missing", "answers an empty list instead of ImageNotFoundException"),
    (
        "ministack",
        "ecs service twice",
        "ClientException; ECS says InvalidParameterException: Creation of service was not idempotent",
    ),
    ("ministack", "ecs service unknown definition", "accepts a task definition that does not exist"),
    ("ministack", "deploy unknown definition", "accepts a task definition that does not exist"),
    ("ministack", "ecs services", "holds the service that it should have refused"),
    ("ministack", "ecs run", "leaves the group empty; ECS says family:NAME"),
    ("ministack", "ecs delete", "INACTIVE at once; ECS drains"),
    ("ministack", "ecs deleted is not listed", "holds the service that it should have refused"),
    ("ministack", "elb group name too long", "does not check names"),
    ("ministack", "elb group missing by name", "answers an empty list instead of TargetGroupNotFound"),
    ("ministack", "elb listener port taken", "accepts a second listener on a port"),
    ("ministack", "elb listener missing", "answers an empty list instead of ListenerNotFound"),
    ("ministack", "elb rule priority taken", "accepts a second rule of a priority"),
    ("ministack", "elb rules", "holds the rule that it should have refused; the default is not last"),
    ("ministack", "elb group in use", "deletes a target group that a rule forwards to"),
    ("ministack", "elb group deleted", "has deleted it before"),
    ("ministack", "elb rule missing", "answers an empty list instead of RuleNotFound"),
    ("ministack", "elb rule deleted", "holds the rule that it should have refused"),
    ("moto", "deploy breaker", "keeps no deployment configuration until it is changed"),
    ("moto", "deploy propagates tags", "forgets enableECSManagedTags"),
    ("moto", "deploy update", "the deployment stays the same one"),
    ("moto", "deploy updated", "the deployment keeps its task definition"),
    ("moto", "ecs definition without containers", "accepts it"),
    ("moto", "ecs definitions newest first", "does not sort"),
    ("moto", "ecs service twice", "accepts it"),
    ("moto", "ecs service described", "the service made twice"),
    ("moto", "ecs service band", "the service made twice, without a deployment configuration"),
    ("moto", "ecs service missing", "names the ARN without its cluster"),
    ("moto", "ecs run", "HTTP 500 for awsvpc (no `private_dns_name`)"),
    ("moto", "ecs run arn", "there is no task"),
    ("moto", "ecs task listed", "there is no task"),
    ("moto", "ecs task missing", "no failures"),
    ("moto", "ecs task stopped", "there is no task"),
    ("moto", "ecs delete", "INACTIVE at once; ECS drains"),
    ("moto", "ecs deleted is not listed", "lists what is INACTIVE; ECS not even what drains"),
    ("moto", "elb balancer", "no scheme where none was asked for"),
    ("moto", "elb listener port taken", "accepts a second listener on a port"),
    ("moto", "elb group deleted", "in use by the listener that it should have refused"),
];

fn run(part: &str, url: &str) -> BTreeMap<String, Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agreement.py");
    let output = Command::new(program("boto", "python")).args([script, part, url]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{part} against {url}:\n{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn on_what_they_share_the_fake_moto_and_ministack_agree() {
    let (url, _fake) = Fake::start().await.unwrap();
    let ours = run("shared", &url);
    for (name, fact) in &ours {
        assert!(
            !fact.as_str().is_some_and(|text| text.starts_with("broken") || text.starts_with("error")),
            "{name}: {fact}"
        );
    }
    let mut faults = Vec::new();
    for (venv, emulator) in [("ministack", emulator::ministack(&[])), ("moto", emulator::moto())] {
        let theirs = run("shared", &emulator.url);
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (fact, own) in &ours {
            let known = KNOWN.iter().find(|(emulator, known, _)| *emulator == venv && known == fact);
            match (theirs[fact] == *own, known) {
                (true, None) | (false, Some(_)) => {}
                (true, Some((.., why))) => faults.push(format!("{venv} has become right about `{fact}` ({why})")),
                (false, None) => faults.push(format!("`{fact}`\n  fake: {own}\n  {venv}: {}", theirs[fact])),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let with = |emulator: &str, fact: &str| KNOWN.iter().any(|(own, known, _)| *own == emulator && *known == fact);
    let facts = ours.keys().map(String::as_str);
    let alone: Vec<&str> = facts.filter(|fact| with("moto", fact) && with("ministack", fact)).collect();
    // Here AWS's own documentation is the only other witness.
    assert_eq!(
        alone,
        [
            "ecs delete",
            "ecs deleted is not listed",
            "ecs run",
            "ecs service twice",
            "elb group deleted",
            "elb listener port taken"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn boto3_reads_everything_else() {
    let (url, _fake) = Fake::start().await.unwrap();
    run("own", &url);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_aws_cli_reads_it() {
    let (url, fake) = Fake::start().await.unwrap();
    fake.call("ecs", "CreateCluster", serde_json::json!({"clusterName": "c"})).unwrap();
    let aws = |arguments: &[&str]| -> Value {
        let mut command = Command::new(program("boto", "aws"));
        command.args(arguments).args([
            "--endpoint-url",
            &url,
            "--region",
            landfall_awsfake::REGION,
            "--output",
            "json",
        ]);
        command.envs([("AWS_ACCESS_KEY_ID", landfall_awsfake::ACCOUNT), ("AWS_SECRET_ACCESS_KEY", "fake")]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    let container = r#"[{"name":"web","image":"x","memory":64}]"#;
    aws(&["ecs", "register-task-definition", "--family", "web", "--container-definitions", container]);
    aws(&[
        "ecs",
        "create-service",
        "--cluster",
        "c",
        "--service-name",
        "web",
        "--task-definition",
        "web",
        "--desired-count",
        "1",
    ]);
    // The peers' own idea of done.
    aws(&["ecs", "wait", "services-stable", "--cluster", "c", "--services", "web"]);
    let described = aws(&["ecs", "describe-services", "--cluster", "c", "--services", "web"]);
    assert_eq!(described["services"][0]["runningCount"], 1);
    let listed = aws(&["ecs", "list-service-deployments", "--cluster", "c", "--service", "web"]);
    assert_eq!(listed["serviceDeployments"][0]["status"], "SUCCESSFUL");
    let balancer = aws(&["elbv2", "create-load-balancer", "--name", "lb", "--subnets", "a", "b"]);
    assert_eq!(balancer["LoadBalancers"][0]["State"]["Code"], "active");
    assert_eq!(fake.count("elasticloadbalancing", "CreateLoadBalancer"), 1);
}

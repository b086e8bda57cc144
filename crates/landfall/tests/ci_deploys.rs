//! Jobs that ship: a commit to an image to a deployment, and the variables of `travis-ecs-deploy` with its `simple-todo` example. With the
//! real binary, against our fake of AWS and a real registry.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use common::fake::{self, FakeAws};
use common::text;
use landfall_awsfake::ImageRule;
use landfall_testkit::registry::{Registry, layout};
use serde_json::{Value, json};

struct World {
    aws: FakeAws,
    registry: Registry,
    digest: String,
}

const CLUSTER: &str = "simple-todo-master";
const SERVICE: &str = "simple-todo";
/// By digest: nobody is asked what it is.
const CACHE: &str = "redis@sha256:00000000000000000000000000000000000000000000000000000000000000ca";

impl World {
    /// The example's cluster and service, on Fargate. What `docker build` leaves is a layout beside the sources, by the image's name.
    fn new() -> Self {
        let (aws, registry) = (FakeAws::new(), Registry::start());
        let bin = aws.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let digest = layout(&aws.path().join("built"), "1");
        let docker = bin.join("docker");
        std::fs::write(
            &docker,
            "#!/bin/sh\n[ \"$1\" = build ] || exit 0\necho \"docker $@\" >> \"$HOME/docker.log\"\ncp -R \"$HOME/built\" \"$3\"\n",
        )
        .unwrap();
        std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
        let world = Self { aws, registry, digest };
        world.ask("CreateCluster", json!({"clusterName": CLUSTER}));
        let image = format!("{}:master", world.registry.image("simple-todo"));
        world.ask(
            "RegisterTaskDefinition",
            json!({"family": "simple-todo-master", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
                "requiresCompatibilities": ["FARGATE"], "executionRoleArn": "arn:aws:iam::123456789012:role/exec",
                "containerDefinitions": [{"name": "web", "image": image}, {"name": "cache", "image": CACHE, "essential": false}]}),
        );
        world.ask(
            "CreateService",
            json!({"cluster": CLUSTER, "serviceName": SERVICE, "taskDefinition": "simple-todo-master", "desiredCount": 1,
                "launchType": "FARGATE", "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}),
        );
        world
    }

    fn ask(&self, operation: &str, input: Value) -> Value {
        self.aws.fake.call("ecs", operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    /// The example's block of variables, as Travis CI hands it to the first job of a push to master.
    fn run(&self, arguments: &[&str], changes: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.aws.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = self.aws.landfall(arguments);
        command
            .envs([("TRAVIS", "true"), ("TRAVIS_JOB_NUMBER", "4.1"), ("TRAVIS_PULL_REQUEST", "false")])
            .envs([
                ("TRAVIS_BRANCH", "master"),
                ("TRAVIS_COMMIT", "1a2b3c4d"),
                ("TRAVIS_REPO_SLUG", "acme/simple-todo"),
            ])
            .envs([("IMAGE_NAME", "simple-todo"), ("DEPLOY_BRANCHES", "master"), ("AWS_REGION", "us-east-1")])
            .envs([("ECS_CLUSTER_MASTER", CLUSTER), ("ECS_SERVICE_MASTER", SERVICE)])
            .env("REMOTE_IMAGE_URL", self.registry.image("simple-todo"))
            .env("AWS_ENDPOINT_URL", self.aws.fake.url())
            .env("PATH", path)
            .envs(changes.iter().copied());
        command.output().unwrap()
    }

    fn definition(&self) -> Value {
        let found = self.ask("DescribeServices", json!({"cluster": CLUSTER, "services": [SERVICE]}));
        let arn = &found["services"][0]["taskDefinition"];
        self.ask("DescribeTaskDefinition", json!({"taskDefinition": arn}))["taskDefinition"].clone()
    }

    fn docker(&self) -> Option<String> {
        std::fs::read_to_string(self.aws.path().join("docker.log")).ok()
    }
}

const SHIM: &[&str] = &["shim", "travis-ecs-deploy"];

#[track_caller]
fn ends(output: &Output, code: i32) -> String {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn the_example_is_built_pushed_and_deployed_and_fargates_fields_survive() {
    let world = World::new();
    let said = ends(&world.run(SHIM, &[]), 0);
    assert!(said.contains("travis_fold:start:landfall_build"), "{said}");
    assert!(said.trim_end().ends_with("build, push, deploy"), "{said}");
    assert_eq!(world.docker().unwrap(), "docker build -t simple-todo .\n");
    let made = world.definition();
    let image = format!("{}@{}", world.registry.image("simple-todo"), world.digest);
    let images: Vec<&str> =
        made["containerDefinitions"].as_array().unwrap().iter().map(|one| one["image"].as_str().unwrap()).collect();
    assert!(
        images[0].ends_with(&world.digest) && images[0].starts_with(&world.registry.image("simple-todo")),
        "{images:?}, {image}"
    );
    assert_eq!(images[1], CACHE);
    assert_eq!((&made["family"], made["revision"].as_u64()), (&json!("simple-todo-master"), Some(2)));
    for (key, value) in [
        ("cpu", json!("256")),
        ("memory", json!("512")),
        ("requiresCompatibilities", json!(["FARGATE"])),
        ("executionRoleArn", json!("arn:aws:iam::123456789012:role/exec")),
        ("networkMode", json!("awsvpc")),
    ] {
        assert_eq!(made[key], value, "{key}");
    }
}

#[test]
fn closed_gates_are_no_failure_and_nothing_is_done() {
    let world = World::new();
    let calls = world.aws.fake.calls().len();
    for change in [("TRAVIS_JOB_NUMBER", "4.2"), ("TRAVIS_PULL_REQUEST", "7"), ("TRAVIS_BRANCH", "feature/x")] {
        ends(&world.run(SHIM, &[change]), 0);
    }
    let said = ends(&world.run(SHIM, &[("DRYRUN", "1")]), 0);
    assert!(said.contains("docker build -t 'simple-todo' .") && said.contains("deploy master"), "{said}");
    let elsewhere = [SHIM, &["--state", "s3://acme-state/shop"]].concat();
    let said = ends(&world.run(&elsewhere, &[("DRYRUN", "1")]), 0);
    assert_eq!(said.matches("--state 's3://acme-state/shop'").count(), 2, "{said}");
    // `landfall ci` without a manifest is the same.
    let said = ends(&world.run(&["ci", "plan"], &[]), 0);
    assert!(said.contains("docker build -t 'simple-todo' .") && !said.contains("DRYRUN"), "{said}");
    let said = ends(&world.run(&["ci", "run", "--branch", "production"], &[]), 64);
    assert!(said.contains("the variables of the job say what it is about"), "{said}");
    assert_eq!((world.docker(), world.aws.fake.calls().len()), (None, calls));
}

#[test]
fn whatever_is_wrong_is_told_before_anything_is_built() {
    let world = World::new();
    for command in [SHIM, &["ci"]] {
        let said = ends(&world.run(command, &[("REMOTE_IMAGE_URL", "")]), 64);
        assert!(said.contains("not set: REMOTE_IMAGE_URL"), "{said}");
    }
    let said = ends(&world.run(SHIM, &[("REMOTE_IMAGE_URL", ""), ("ECS_CLUSTER_MASTER", "")]), 64);
    assert!(said.contains("not set: REMOTE_IMAGE_URL, ECS_CLUSTER_MASTER"), "{said}");
    let said = ends(&world.run(SHIM, &[("ECS_SERVICE_MASTER", "other")]), 66);
    assert!(said.contains("there is no service other in cluster simple-todo-master"), "{said}");
    let said = ends(&world.run(SHIM, &[("REMOTE_IMAGE_URL", "registry.example/else")]), 64);
    assert!(said.contains("no container of service simple-todo runs an image of registry.example/else"), "{said}");
    let both = [("DEPLOY_BRANCHES", "a-b a/b"), ("TRAVIS_BRANCH", "a-b")];
    assert!(ends(&world.run(SHIM, &both), 64).contains("ECS_CLUSTER_A_B"));
    assert_eq!(world.docker(), None);
}

/// A branch's name in whatever form; also as plain `landfall ci` without a manifest.
#[test]
fn any_branch_finds_its_variables_and_its_tag() {
    let world = World::new();
    let changes = [
        ("TRAVIS_BRANCH", "feature/my-App"),
        ("DEPLOY_BRANCHES", "master feature/my-App"),
        ("ECS_CLUSTER_FEATURE_MY_APP", CLUSTER),
        ("ECS_SERVICE_FEATURE_MY_APP", SERVICE),
    ];
    let said = ends(&world.run(&["ci"], &changes), 0);
    assert!(said.contains("simple-todo:feature-my-App"), "{said}");
    assert!(world.definition()["containerDefinitions"][0]["image"].as_str().unwrap().ends_with(&world.digest));
}

/// Not one running task, but the deployment's end, is success.
#[test]
fn a_deployment_that_fails_is_undone_and_is_no_success() {
    let world = World::new();
    let before = world.definition();
    world.aws.fake.image(ImageRule {
        image: format!("{}@{}", world.registry.image("simple-todo"), world.digest),
        pull_error: Some("pull image manifest has been retried 1 time(s): no such tag".to_owned()),
        ..ImageRule::default()
    });
    let said = ends(&world.run(SHIM, &[]), 3);
    assert!(said.contains("no such tag") && said.contains("deploy failed (exit code 3)"), "{said}");
    assert_eq!(world.definition()["taskDefinitionArn"], before["taskDefinitionArn"]);
}

#[test]
fn it_stands_in_the_place_of_the_original() {
    let world = World::new();
    let bin = world.aws.path().join("node_modules/.bin");
    ends(&world.run(&["shim", "travis-ecs-deploy", "--install", "node_modules/.bin"], &[]), 0);
    let linked = world.aws.path().join("link");
    std::fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink(common::landfall(), linked.join("travis-ecs-deploy")).unwrap();
    for program in [bin.join("travis-ecs-deploy"), linked.join("travis-ecs-deploy")] {
        let output =
            Command::new(&program).env("TRAVIS_JOB_NUMBER", "1.2").current_dir(world.aws.path()).output().unwrap();
        assert!(ends(&output, 0).contains("job 1.2 is not the build's first"), "{}", program.display());
    }
}

/// Service → target group → load balancer → its name; the connection goes where the place says.
#[test]
fn probes_find_what_is_deployed_on_aws() {
    let aws = FakeAws::new();
    let ask = |service: &str, operation: &str, input: Value| aws.fake.call(service, operation, input).unwrap();
    const ELB: &str = "elasticloadbalancing";
    let balancer = ask(ELB, "CreateLoadBalancer", json!({"Name": "front", "Subnets": ["subnet-1", "subnet-2"]}));
    let balancer = &balancer["LoadBalancers"][0];
    let group =
        json!({"Name": "web", "Protocol": "HTTP", "Port": "80", "VpcId": balancer["VpcId"], "TargetType": "ip"});
    let group = ask(ELB, "CreateTargetGroup", group)["TargetGroups"][0]["TargetGroupArn"].clone();
    // The first listener leads elsewhere.
    let redirect =
        json!([{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}]);
    let listen = |port: u16, actions: &Value| {
        let listener = json!({"LoadBalancerArn": balancer["LoadBalancerArn"], "Protocol": "HTTP",
            "Port": port.to_string(), "DefaultActions": actions});
        ask(ELB, "CreateListener", listener)["Listeners"][0]["ListenerArn"].clone()
    };
    listen(80, &redirect);
    let ruled = listen(8080, &redirect);
    let rule = |priority: u8, conditions: Value| {
        let actions = json!([{"Type": "forward", "TargetGroupArn": group}]);
        let rule = json!({"ListenerArn": ruled, "Priority": priority.to_string(), "Conditions": conditions, "Actions": actions});
        ask(ELB, "CreateRule", rule);
    };
    // No request can be made up for it: which of these hosts is meant nobody says.
    rule(1, json!([{"Field": "host-header", "Values": ["*.example.org"]}]));
    let container = json!({"name": "app", "image": fake::V1, "portMappings": [{"containerPort": 80}]});
    let definition = json!({"family": "old-web", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"], "containerDefinitions": [container]});
    ask("ecs", "RegisterTaskDefinition", definition);
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    let service = json!({"cluster": "main", "serviceName": "old-web", "taskDefinition": "old-web", "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": network,
        "loadBalancers": [{"targetGroupArn": group, "containerName": "app", "containerPort": 80}]});
    ask("ecs", "CreateService", service);
    let place = aws.place();
    let manifest = format!(
        "project: shop\n{place}    probe_through: 127.0.0.1:{}\n    execution_role: exec\nservices:\n  web: {{ cpu: 256, memory: 512, \
         containers: {{ app: {{ image: \"{}\" }} }} }}\nenvironments: {{ prod: {{ on: cloud, names: {{ web: old-web }} }} }}\n",
        fake::visitor(),
        fake::V1
    );
    aws.write("landfall.yml", &manifest);
    let verify =
        || aws.landfall(&["verify", "prod", "--probes", "--deadline", "20", "--output", "json"]).output().unwrap();
    let asked = || {
        let output = verify();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (report["url"].as_str().unwrap().to_owned(), report["ok"].as_bool().unwrap())
    };
    // All of it under the policy that is printed for it, every right of which is used.
    let printed = aws.landfall(&["iam", "verify"]).output().unwrap();
    let policy: Value = serde_json::from_slice(&printed.stdout).unwrap_or_else(|_| panic!("{printed:?}"));
    aws.fake.clear_calls();
    aws.fake.script("POST", "policy", &policy).unwrap();
    // What the first listener leads to is not this service's answer.
    let said = ends(&verify(), 66);
    assert!(said.contains("where prod is reached is not known"), "{said}");
    let api = json!({"Field": "path-pattern", "Values": ["/api/*"]});
    rule(2, json!([api]));
    let name = balancer["DNSName"].as_str().unwrap();
    assert_eq!(asked().0, format!("http://{name}:8080/api/"));
    rule(3, json!([api, {"Field": "host-header", "Values": ["shop.example.org"]}]));
    assert_eq!(asked(), ("http://shop.example.org:8080/api/".to_owned(), true));
    // By default: the load balancer's own name does.
    listen(8443, &json!([{"Type": "forward", "TargetGroupArn": group}]));
    assert_eq!(asked(), (format!("http://{name}:8443/"), true));
    let used: BTreeSet<String> =
        aws.fake.calls().into_iter().flat_map(|call| call.actions).map(|needed| needed.action).collect();
    let statements = policy["Statement"].as_array().unwrap().iter().flat_map(|one| match &one["Action"] {
        Value::String(only) => vec![only.clone()],
        several => serde_json::from_value(several.clone()).unwrap(),
    });
    let granted: BTreeSet<String> = statements.collect();
    assert!(granted.is_subset(&used), "{granted:?} {used:?}");
    aws.write(
        "landfall.yml",
        &manifest.replace("prod: { on: cloud,", "prod: { on: cloud, verify: { url: \"http://x.example/\" },"),
    );
    let needless = aws.landfall(&["iam", "verify"]).output().unwrap();
    assert!(ends(&needless, 66).contains("no probe has to find"));
}

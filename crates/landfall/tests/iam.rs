//! The policy that `landfall iam` prints: the real binary brings previews up and takes them away under it, deploys a lasting
//! environment and rolls it back, held to it by AWS lookalikes, and every statement and every action in it is needed.
//!
//! Our own fake authorizes as AWS's Service Authorization Reference says: each resource that a call names, PassRole and tagging
//! beside it, conditions on the request and on the tags of what is there. ministack is nobody's of us, and knows actions
//! and the tags of requests (docs/emulators.md).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;
mod iam_world;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use iam_world::ministack::{Ministack, REFUSED, as_far_as_known};
use iam_world::{BRANCH, World, job};
use serde_json::{Value, json};

const COMMITS: [&str; 2] = ["1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"];

fn statements(policy: &Value) -> Vec<Value> {
    policy["Statement"].as_array().unwrap().clone()
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
        one => vec![one.as_str().unwrap().to_owned()],
    }
}

/// Everything that previews can do: one whose hook fails, one that comes up, changes, is put right after
/// somebody's meddling, and goes with a task that nobody remembers.
fn everything(world: &World) {
    world.manifest("bad", 30);
    let failed = world.landfall(&["preview", "create", "feature/bad", "--commit", COMMITS[0]]);
    assert!(!failed.status.success(), "{failed:?}");
    world.manifest("good", 30);
    world.expect(&["preview", "create", BRANCH, "--commit", COMMITS[0]]);
    world.meddle();
    world.manifest("good", 45);
    world.expect(&["preview", "create", BRANCH, "--commit", COMMITS[1]]);
    world.forget_a_task();
    world.expect(&["preview", "destroy", BRANCH]);
    world.expect(&["gc"]);
}

/// Everything that can be done to a lasting environment: a first deployment that fails and leaves nothing, one that comes up,
/// changes, is put right after somebody's meddling, fails, is stopped by somebody, rolled back, scaled, looked at and helped.
fn everything_lasting(world: &World) {
    world.manifest("good", 30);
    let image = format!("side/side={}", job("bad"));
    let bad = ["deploy", "prod", "--image", &image, "--commit", COMMITS[0]];
    world.ends(&bad, 3);
    let left = world.aws.fake.call("ecs", "ListServices", json!({"cluster": "main"})).unwrap();
    assert_eq!(left["serviceArns"], json!([]), "a first deployment that fails leaves nothing");
    world.expect(&["deploy", "prod", "--commit", COMMITS[0]]);
    world.meddle();
    world.manifest("good", 45);
    world.expect(&["deploy", "prod", "--commit", COMMITS[1]]);
    world.ends(&bad, 3);
    stopped_by_somebody(world);
    world.expect(&["rollback", "prod"]);
    world.expect(&["scale", "prod", "side=2"]);
    for look in [&["status", "prod"][..], &["releases", "prod"], &["logs", "prod"], &["drift", "prod"]] {
        let output = world.landfall(look);
        assert!(matches!(output.status.code(), Some(0 | 2)), "{look:?}: {output:?}");
    }
    // A task that does not end by itself is stopped.
    world.ends(&["run", "prod", "side", "--timeout", "1"], 125);
}

/// `landfall abort` of one service, while another process deploys it.
fn stopped_by_somebody(world: &World) {
    let updates = world.aws.fake.count("ecs", "UpdateService");
    let image = format!("side/side={}", job("slow"));
    let slow = ["deploy", "prod", "--service", "side", "--image", &image, "--commit", COMMITS[1]];
    let deploying = world.aws.landfall(&slow).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    common::eventually("the deployment has begun", Duration::from_secs(30), || {
        if world.aws.fake.count("ecs", "UpdateService") > updates { Ok(()) } else { Err("not yet".to_owned()) }
    });
    world.expect(&["abort", "prod", "side"]);
    let ended = deploying.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
}

/// By statement: the actions that it, and no other statement, allowed; and all that it allowed.
fn granted(world: &World) -> (BTreeSet<String>, BTreeMap<String, BTreeSet<String>>) {
    let (mut alone, mut all) = (BTreeSet::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for call in world.aws.fake.calls() {
        for needed in call.actions {
            if let [only] = needed.allowed_by.as_slice() {
                alone.insert(only.clone());
            }
            for sid in needed.allowed_by {
                all.entry(sid).or_default().insert(needed.action.clone());
            }
        }
    }
    (alone, all)
}

/// `what`: previews, or an environment's name.
fn needed_and_not_more(ports: bool, what: &str, everything: fn(&World)) {
    let world = World::new(ports);
    let policy = world.policy(&[what]);
    world.hold_to(&policy);
    everything(&world);
    let denied: Vec<_> = world
        .aws
        .fake
        .calls()
        .into_iter()
        .filter(|call| call.code.as_deref().is_some_and(|code| code.contains("Denied")))
        .collect();
    assert!(denied.is_empty(), "{denied:#?}");
    let (alone, all) = granted(&world);
    for statement in statements(&policy) {
        let sid = statement["Sid"].as_str().unwrap();
        assert!(alone.contains(sid), "without {sid} nothing is denied: nobody needs it");
        for action in words(&statement["Action"]) {
            assert!(all[sid].contains(&action), "{sid}: nobody needs {action}");
        }
    }
}

#[test]
fn previews_by_host_come_and_go_under_the_policy_and_every_right_in_it_is_used() {
    needed_and_not_more(false, "previews", everything);
}

#[test]
fn previews_by_port_come_and_go_under_the_policy_and_every_right_in_it_is_used() {
    needed_and_not_more(true, "previews", everything);
}

#[test]
fn a_lasting_environment_lives_under_the_policy_and_every_right_in_it_is_used() {
    needed_and_not_more(false, "prod", everything_lasting);
}

#[test]
fn a_lasting_environment_by_port_lives_under_the_policy_and_every_right_in_it_is_used() {
    needed_and_not_more(true, "prod", everything_lasting);
}

/// Where a deployment may pause, the policy lets it go on; without that right it is named, and the deployment goes on waiting.
#[test]
fn a_paused_deployment_goes_on_under_the_policy() {
    let world = World::new(false);
    world.manifest("good", 30);
    world.pause_side();
    let policy = world.policy(&["prod"]);
    world.hold_to(&policy);
    world.expect(&["deploy", "prod", "--commit", COMMITS[0]]);
    let image = format!("side/side={}", job("next"));
    let next = ["deploy", "prod", "--service", "side", "--image", &image, "--commit", COMMITS[1]];
    let deploying = world.aws.landfall(&next).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    common::eventually("it waits at its pause", Duration::from_secs(60), || {
        let told = world.expect(&["status", "prod", "--output", "json"]);
        if told.contains("landfall continue") { Ok(()) } else { Err(told) }
    });
    let right = "ecs:ContinueServiceDeployment";
    let mut less = policy.clone();
    for statement in less["Statement"].as_array_mut().unwrap() {
        if let Some(actions) = statement["Action"].as_array_mut() {
            actions.retain(|action| action != right);
        }
    }
    world.hold_to(&less);
    let refused = world.landfall(&["continue", "prod"]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(77), "{stderr}");
    assert!(stderr.contains(&format!("may not do {right} on ")), "{stderr}");
    world.hold_to(&policy);
    world.expect(&["continue", "prod"]);
    let ended = deploying.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(granted(&world).1["SteerDeployments"].contains(right));
}

#[test]
fn another_project_s_policy_is_of_no_use() {
    let world = World::new(false);
    let policy = world.policy(&["previews"]).to_string().replace("my-project", "other").replace("my-pr*", "other-*");
    world.hold_to(&serde_json::from_str(&policy).unwrap());
    world.manifest("good", 30);
    let failed = world.landfall(&["preview", "create", BRANCH, "--commit", COMMITS[0]]);
    assert!(!failed.status.success());
    let stderr = String::from_utf8_lossy(&failed.stderr);
    assert!(stderr.contains("may not do ") && stderr.contains("landfall iam"), "{stderr}");
}

#[test]
fn a_role_that_may_not_be_passed_is_named() {
    let world = World::new(false);
    let mut policy = world.policy(&["previews"]);
    policy["Statement"].as_array_mut().unwrap().retain(|statement| statement["Sid"] != "GiveTasksTheirRoles");
    world.hold_to(&policy);
    world.manifest("good", 30);
    let failed = world.landfall(&["preview", "create", BRANCH, "--commit", COMMITS[0]]);
    let stderr = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success());
    assert!(
        stderr.contains(
            "may not do iam:PassRole on arn:aws:iam::123456789012:role/execution: no policy of its own allows it"
        ),
        "{stderr}"
    );
}

#[test]
fn the_doctor_finds_the_statement_that_is_missing() {
    let world = World::new(false);
    world.manifest("good", 30);
    let whole = world.policy(&["previews", "--checks"]);
    world.hold_to(&whole);
    let doctor = |world: &World| -> (Option<i32>, Value) {
        let output = world.landfall(&["doctor", "previews", "--output", "json"]);
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}")))
    };
    let find = |report: &Value, name: &str| -> Value {
        let places = report["places"].as_array().unwrap();
        let mut all = places.iter().flat_map(|place| place["checks"].as_array().unwrap());
        all.find(|line| line["name"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}")).clone()
    };
    let (code, report) = doctor(&world);
    assert_eq!((code, &report["wrong"]), (Some(0), &json!([])), "{report:#}");
    for name in [
        "manifest",
        "git",
        "state",
        "credentials",
        "region",
        "clock",
        "identity",
        "account",
        "cluster",
        "load balancer",
        "room for rules",
        "execution role",
        "log group",
        "right CreateServices",
    ] {
        assert_eq!(find(&report, name)["finding"], "good", "{name}: {report:#}");
    }
    // Where IAM may simulate, every missing right is found, and the statement that grants it printed as the policy has it.
    world.aws.fake.script("POST", "roles", &json!({"denied": ["ecs:CreateService", "iam:PassRole"]})).unwrap();
    let (code, report) = doctor(&world);
    assert_eq!(code, Some(1));
    assert_eq!(
        report["wrong"],
        json!(["cloud: right GiveTasksTheirRoles", "cloud: right CreateServices"]),
        "{report:#}"
    );
    let line = find(&report, "right CreateServices");
    let statement = statements(&whole).into_iter().find(|own| own["Sid"] == "CreateServices").unwrap();
    assert_eq!(line["grants"], json!([statement]));
    // Where it may not, harmless calls are made, and the rest is said to be unknown: it is not called right or wrong.
    world.aws.fake.script("POST", "roles", &json!({"denied": []})).unwrap();
    let mut least = world.policy(&["previews"]);
    least["Statement"].as_array_mut().unwrap().retain(|statement| statement["Sid"] != "ListServicesAndTasks");
    world.hold_to(&least);
    let (code, report) = doctor(&world);
    assert_eq!((code, &report["wrong"]), (Some(1), &json!(["cloud: right ListServicesAndTasks"])), "{report:#}");
    assert_eq!(find(&report, "right ListServicesAndTasks")["grants"][0]["Sid"], "ListServicesAndTasks");
    for name in ["cluster", "execution role", "log group", "other rights"] {
        assert_eq!(find(&report, name)["finding"], "not_checked", "{name}: {report:#}");
    }
    assert_eq!(find(&report, "cluster")["grants"][0]["Sid"], "CheckCluster");
    let text = world.landfall(&["doctor", "previews"]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert_eq!(text.lines().last(), Some("1 wrong: cloud: right ListServicesAndTasks"), "{text}");
}

/// SNS takes what is published for nobody, and says nothing: the doctor does, until somebody has followed the link that AWS mails.
#[test]
fn a_topic_reaches_nobody_before_its_subscription_is_confirmed() {
    let world = World::new(false);
    world.manifest("good", 30);
    let text = std::fs::read_to_string(world.aws.path().join("landfall.yml")).unwrap();
    world.aws.write("landfall.yml", &text.replace("123456789012:ops\"", "123456789012:quiet\""));
    let sns = |operation: &str, input: Value| world.aws.fake.call("sns", operation, input).unwrap();
    let topic = sns("CreateTopic", json!({"Name": "quiet"}))["TopicArn"].clone();
    let json = |arguments: &[&str], code: i32| -> Value {
        let output = world.landfall(&[arguments, &["--output", "json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let doctor = |code: i32| {
        let report = json(&["doctor", "previews"], code);
        let checks = report["places"][1]["checks"].as_array().unwrap().clone();
        let line = checks.into_iter().find(|line| line["name"] == "topic").unwrap();
        (report["wrong"].clone(), line["detail"].as_str().unwrap().to_owned())
    };
    let (wrong, detail) = doctor(1);
    assert_eq!(
        (wrong, detail),
        (json!(["cloud: topic"]), format!("nobody is subscribed to {}", topic.as_str().unwrap()))
    );
    let listed = world.landfall(&["notifications", "list"]);
    let told = String::from_utf8_lossy(&listed.stderr);
    assert!(told.contains("ops reaches nobody") && told.contains("landfall notifications subscribe ops"), "{told}");

    let anna = "anna@example.com";
    let state = |confirmed: bool| json!([{"protocol": "email", "endpoint": anna, "confirmed": confirmed}]);
    assert_eq!(json(&["notifications", "subscribe", "ops", anna], 0)["subscribers"], state(false));
    assert!(doctor(1).1.ends_with("anna@example.com has not confirmed"));
    let listed = world.landfall(&["notifications", "list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("pending"), "{listed:?}");

    sns("ConfirmSubscription", json!({"TopicArn": topic, "Token": anna}));
    let listed = json(&["notifications", "list"], 0);
    let ops = listed.as_array().unwrap().iter().find(|one| one["name"] == "ops").unwrap();
    assert_eq!((&ops["topic"], &ops["subscribers"]), (&topic, &state(true)));
    assert_eq!(doctor(0).0, json!([]));
    let again = world.landfall(&["notifications", "subscribe", "ops", anna]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is subscribed, and has confirmed"), "{again:?}");

    for (arguments, code) in
        [(["subscribe", "nobody", anna], 66), (["subscribe", "ops", "anna"], 64), (["subscribe", "log", anna], 66)]
    {
        let output = world.landfall(&[&["notifications"][..], &arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    }
    // Whoever may not ask is told what is missing, and nothing is called wrong for it.
    let mut least = world.policy(&["previews"]);
    least["Statement"].as_array_mut().unwrap().retain(|statement| statement["Sid"] != "CheckTopics");
    world.hold_to(&least);
    let listed = world.landfall(&["notifications", "list"]);
    assert!(String::from_utf8_lossy(&listed.stderr).contains("sns:ListSubscriptionsByTopic"), "{listed:?}");
}

#[test]
fn the_doctor_tells_a_wrong_account_a_missing_cluster_and_a_full_load_balancer() {
    let world = World::new(false);
    world.manifest("good", 30);
    let text = std::fs::read_to_string(world.aws.path().join("landfall.yml")).unwrap();
    let text = text.replace("\"123456789012\"", "\"999988887777\"").replace("cluster: main", "cluster: nowhere");
    world.aws.write("landfall.yml", &text);
    world.aws.fake.change_rules(|rules| rules.limits.rules_per_load_balancer = 0);
    let output = world.landfall(&["doctor"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("belong to 123456789012, and `aws.cloud.account` is 999988887777"), "{text}");
    assert!(text.contains("nowhere is not in us-east-1"), "{text}");
    assert!(text.contains("room for rules") && text.contains("0 of 0"), "{text}");
    assert!(
        text.lines().last().unwrap().starts_with("3 wrong: cloud: account, cloud: cluster, cloud: room for rules"),
        "{text}"
    );
}

/// By the source, so that no call is left out that only a rare path makes.
#[test]
fn every_call_in_the_source_is_in_the_table_and_nothing_else_is() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../aws/src");
    let mut text = String::new();
    let mut directories = vec![std::path::PathBuf::from(sources)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                directories.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("_tests.rs") {
                let whole = std::fs::read_to_string(&path).unwrap();
                let whole = whole.split("#[cfg(test)]").next().unwrap();
                // There a short form stands for ECR's calls, elsewhere for another service's.
                let named = if name.starts_with("ecr") {
                    whole.replace(" call(\"", " ecr!(\"").replace("(call(\"", "(ecr!(\"")
                } else {
                    whole.to_owned()
                };
                text.push_str(&named);
            }
        }
    }
    // A call is `Call { service: "x", action: "Y" }`, or by one of the short forms.
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut called = BTreeSet::new();
    let mut find = |before: &str, service: &str| {
        for (at, _) in text.match_indices(before) {
            let rest = &text[at + before.len()..];
            let word: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
            if word.starts_with(char::is_uppercase) {
                called.insert(format!("{service}:{word}"));
            }
        }
    };
    for before in ["Call::ecs(\"", "Call::ecs( \"", "ecs!(\"", "ecs!( \"", "Call { action: \""] {
        find(before, "ecs");
    }
    for before in ["read(\"", "write(\"", "read( \"", "write( \"", "elb!(\"", "elb!( \""] {
        find(before, "elasticloadbalancing");
    }
    for before in
        ["self.cloudformation(\"", "self.call(\"", "self.send(\"", "self.act(\"", "self.pages(\"", "self.pages( \""]
    {
        find(before, "cloudformation");
    }
    find("ecr!(\"", "ecr");
    let named =
        text.match_indices("service: \"").filter_map(|(at, before)| text[at + before.len()..].split('"').next());
    let services: BTreeSet<&str> = named.collect();
    assert!(services.len() > 10, "{services:?}");
    for service in services {
        find(&format!("service: \"{service}\", action: \""), service);
        find(&format!("query({}, \"", service.to_uppercase()), service);
    }
    for before in ["_vpc(\"subnets\", (\"", "let ask = (\""] {
        find(before, "ec2");
    }
    // What the SDK and the state on S3 call, what ECR's registries ask for in the place of a call (crates/registry), and what is
    // never called but checked beside.
    let elsewhere = [
        "cloudformation:BatchDescribeTypeConfigurations",
        "cloudformation:DetectStackResourceDrift",
        "cloudformation:TagResource",
        "ec2:DeleteSnapshot",
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:CompleteLayerUpload",
        "ecr:GetDownloadUrlForLayer",
        "ecr:InitiateLayerUpload",
        "ecr:ListImages",
        "ecr:PutImage",
        "ecr:UploadLayerPart",
        "elasticloadbalancing:AddTags",
        "iam:PassRole",
        "s3:DeleteObject",
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
        "sts:AssumeRole",
    ];
    called.extend(elsewhere.map(str::to_owned));
    let table: BTreeSet<String> = landfall_iam::ACTIONS.iter().map(|row| row.name.to_owned()).collect();
    let (missing, idle): (Vec<_>, Vec<_>) = (called.difference(&table).collect(), table.difference(&called).collect());
    assert!(
        missing.is_empty() && idle.is_empty(),
        "called and not in the table: {missing:?}; in the table and not called: {idle:?}"
    );
}

/// What ministack never asks for: what AWS checks beside a call, and tasks of previews, which have none without containers.
/// Without resources it cannot tell the two statements that allow `ecs:TagResource` apart.
const NOT_ASKED: [&str; 5] =
    ["GiveTasksTheirRoles", "StopTasks", "TagLoadBalancing", "TagServices", "TagTaskDefinitions"];

/// Of a lasting environment besides: no deployment fails there or can be stopped, its rule stays as it was made, and there is no
/// Application Auto Scaling.
const NOT_ASKED_LASTING: [&str; 5] = ["ChangeRules", "DeleteNewServices", "SeeScaling", "SteerDeployments", "TagTasks"];

/// Where service deployments may not be asked for, a deployment is followed by what DescribeServices says of it.
const FALLS_BACK: &str = "FollowDeployments";

/// The deregistration delay in the manifest, a command, and its exit code.
type Step = (u32, &'static [&'static str], i32);

const PREVIEW: [Step; 4] = [
    (30, &["preview", "create", BRANCH, "--commit", COMMITS[0], "--timeout", "60"], 0),
    (45, &["preview", "create", BRANCH, "--commit", COMMITS[1], "--timeout", "60"], 0),
    // Taking away is tried again until it works.
    (45, &["preview", "destroy", BRANCH, "--timeout", "15"], 0),
    (45, &["gc"], 0),
];

const LASTING: [Step; 6] = [
    (30, &["deploy", "prod", "--commit", COMMITS[0], "--timeout", "60"], 0),
    (45, &["deploy", "prod", "--commit", COMMITS[1], "--timeout", "60"], 0),
    (45, &["rollback", "prod", "--timeout", "60"], 0),
    (45, &["scale", "prod", "web=0"], 0),
    (45, &["status", "prod"], 0),
    // Tasks are records there that never end: this one is stopped.
    (45, &["run", "prod", "web", "--timeout", "1"], 125),
];

/// Whether all of it goes well; what was said where it does not.
fn goes_well(cloud: &Ministack, steps: &[Step]) -> Result<(), String> {
    for (delay, arguments, code) in steps {
        cloud.manifest(*delay);
        let (ended, said) = cloud.until_refused(arguments);
        // A notice that cannot be sent, and a rule that cannot be put right, are no failure of the preview.
        if ended != Some(*code) || said.contains(REFUSED) {
            return Err(format!("{arguments:?}: {said}"));
        }
    }
    Ok(())
}

/// Half of the statements to a test: each is taken away once.
fn refuses_without_any_one(what: &str, steps: &[Step], never: &[&str], half: usize) {
    let cloud = Ministack::start();
    cloud.manifest(30);
    let output = cloud.landfall(&["iam", what]);
    let policy: Value = serde_json::from_slice(&output.stdout).unwrap();
    let not_asked = |sid: &str| never.contains(&sid) || sid == FALLS_BACK;
    let without = |gone: &dyn Fn(&str) -> bool| -> Value {
        let mut policy = as_far_as_known(&policy);
        policy["Statement"].as_array_mut().unwrap().retain(|statement| !gone(statement["Sid"].as_str().unwrap()));
        policy
    };
    if half == 0 {
        // `ecs:TagResource` is asked for, by either of two statements.
        cloud.hold_to(&without(&|sid| not_asked(sid) && sid != "TagServices"));
        goes_well(&cloud, steps).unwrap();
    }
    let asked = statements(&policy).into_iter().filter(|statement| !not_asked(statement["Sid"].as_str().unwrap()));
    for statement in asked.skip(half).step_by(2) {
        let sid = statement["Sid"].as_str().unwrap();
        cloud.hold_to(&without(&|other| other == sid));
        let said = goes_well(&cloud, steps).expect_err(&format!("without {sid} all went well"));
        assert!(words(&statement["Action"]).iter().any(|action| said.contains(action)), "without {sid}: {said}");
    }
}

#[test]
fn ministack_enforces_the_policy_and_without_any_one_statement_it_refuses() {
    refuses_without_any_one("previews", &PREVIEW, &NOT_ASKED, 0);
}

#[test]
fn ministack_refuses_without_any_of_the_other_statements_too() {
    refuses_without_any_one("previews", &PREVIEW, &NOT_ASKED, 1);
}

/// Tasks there are those of `landfall run`, so that stopping them is asked for here.
fn never_asked_of_a_lasting_environment() -> Vec<&'static str> {
    NOT_ASKED.into_iter().filter(|sid| *sid != "StopTasks").chain(NOT_ASKED_LASTING).collect()
}

#[test]
fn ministack_enforces_a_lasting_environment_s_policy_and_without_any_one_statement_it_refuses() {
    refuses_without_any_one("prod", &LASTING, &never_asked_of_a_lasting_environment(), 0);
}

#[test]
fn ministack_refuses_a_lasting_environment_without_any_of_the_other_statements_too() {
    refuses_without_any_one("prod", &LASTING, &never_asked_of_a_lasting_environment(), 1);
}

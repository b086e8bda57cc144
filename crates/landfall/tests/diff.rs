//! `plan`, `diff`, `drift` and `verify` with the real binary, against our fake of AWS: with a state and without one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::fake::{FakeAws, V1, V2};
use common::{ends, text};
use serde_json::{Value, json};

struct World {
    aws: FakeAws,
}

impl World {
    fn new() -> Self {
        let world = Self { aws: FakeAws::new() };
        world.manifest("info");
        world
    }

    fn manifest(&self, log: &str) {
        let manifest = format!(
            r#"project: shop
{place}services:
  web:
    cpu: 256
    memory: 512
    containers:
      app:
        image: "{V1}"
        environment: {{ LOG: {log}, API_TOKEN: hunter-{log} }}
  worker:
    cpu: 256
    memory: 512
    containers:
      app: {{ image: "{V1}" }}
environments:
  prod: {{ on: cloud, services: [web, worker] }}
"#,
            place = self.aws.place(),
        );
        self.aws.write("landfall.yml", &manifest);
    }

    /// stdout and stderr.
    #[track_caller]
    fn ends(&self, state: &str, arguments: &[&str], code: i32) -> (String, String) {
        let mut command = self.aws.landfall(arguments);
        let output = command.env("LANDFALL_STATE", self.aws.path().join(state)).output().unwrap();
        (ends(&output, code, &[]), text(&output.stderr))
    }

    fn json(&self, state: &str, arguments: &[&str], code: i32) -> Value {
        let (stdout, _) = self.ends(state, &[arguments, &["--output", "json"]].concat(), code);
        let value: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
        assert_eq!(value["exit_code"], code);
        value
    }

    fn writes(&self) -> usize {
        let writes = ["Create", "Register", "Update", "Delete", "Deregister", "Tag", "Untag", "Run", "Stop", "Put"];
        let calls = self.aws.fake.calls();
        calls.iter().filter(|call| writes.iter().any(|verb| call.operation.starts_with(verb))).count()
    }
}

/// Paths of a service's changes.
fn paths(report: &Value, service: &str) -> Vec<String> {
    let services = report["services"].as_array().unwrap();
    let one = services.iter().find(|one| one["service"] == service).unwrap_or_else(|| panic!("no {service}: {report}"));
    let of = |key: &str| one[key].as_array().unwrap().iter().map(|change| change["path"].as_str().unwrap().to_owned());
    of("task_definition").chain(of("settings")).collect()
}

#[test]
fn what_was_deployed_differs_in_nothing_until_somebody_changes_it() {
    let world = World::new();
    // Before the first deployment, and without a state: everything is new, and nothing is made by looking.
    let report = world.json("nowhere", &["plan", "prod"], 2);
    assert_eq!((report["environment"].as_str(), report["different"].as_bool()), (Some("shop@prod"), Some(true)));
    assert!(report["services"].as_array().unwrap().iter().all(|one| one["exists"] == false), "{report}");
    let steps: Vec<&str> =
        report["steps"].as_array().unwrap().iter().map(|step| step["kind"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        ["task_definition.register", "service.deploy", "task_definition.register", "service.deploy"],
        "{report}"
    );
    assert_eq!(world.writes(), 0);
    assert!(!world.aws.path().join("nowhere").join("landfall.db").exists(), "looking made a state");

    world.ends("state", &["deploy", "prod", "--timeout", "60"], 0);
    world.aws.fake.clear_calls();
    for state in ["state", "nowhere"] {
        for command in ["plan", "diff", "drift"] {
            let report = world.json(state, &[command, "prod"], 0);
            assert_eq!(report["different"], false, "{command} {state}: {report}");
        }
    }
    let (stdout, _) = world.ends("state", &["diff"], 0);
    assert_eq!(stdout, "web (shop-prod-web): the same\nworker (shop-prod-worker): the same\n");

    // The manifest changes: that is what a deployment would do, and nobody's drift.
    world.manifest("debug");
    let report = world.json("state", &["diff", "prod"], 2);
    let changed = ["containerDefinitions[app].environment[API_TOKEN]", "containerDefinitions[app].environment[LOG]"];
    assert_eq!(paths(&report, "web"), changed);
    assert_eq!(paths(&report, "worker"), Vec::<String>::new());
    let (stdout, _) = world.ends("state", &["diff", "prod", "--service", "web"], 2);
    assert!(stdout.contains("[LOG]        info → debug\n") && !stdout.contains("hunter"), "{stdout}");
    assert_eq!(world.json("state", &["drift", "prod"], 0)["different"], false);
    let report = world.json("nowhere", &["diff", "prod", "--image", &format!("worker/app={V2}")], 2);
    assert_eq!(paths(&report, "worker"), ["containerDefinitions[app].image"]);
    world.manifest("info");
    assert_eq!(world.writes(), 0, "looking changed something");

    // A count that somebody set is not held by the manifest, and no drift.
    let service = |change: Value| {
        let mut input = json!({"cluster": "main", "service": "shop-prod-web"});
        input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        world.aws.fake.call("ecs", "UpdateService", input).unwrap();
    };
    service(json!({"desiredCount": 3}));
    assert_eq!(world.json("state", &["drift", "prod"], 0)["different"], false);
    // Somebody else's settings are.
    service(json!({"deploymentConfiguration": {"maximumPercent": 150, "minimumHealthyPercent": 50}}));
    let report = world.json("state", &["drift", "prod"], 2);
    assert_eq!(
        paths(&report, "web"),
        ["deploymentConfiguration.maximumPercent", "deploymentConfiguration.minimumHealthyPercent"]
    );
    assert!(report["release"].is_string(), "{report}");
    // And so is another task definition.
    let found =
        world.aws.fake.call("ecs", "DescribeTaskDefinition", json!({"taskDefinition": "shop-prod-web"})).unwrap();
    let mut definition = found["taskDefinition"].clone();
    definition["containerDefinitions"][0]["image"] = json!("hacked:1");
    world.aws.fake.call("ecs", "RegisterTaskDefinition", definition).unwrap();
    service(json!({"taskDefinition": "shop-prod-web"}));
    let (stdout, _) = world.ends("state", &["drift", "prod"], 2);
    assert!(stdout.contains(&format!("~ containerDefinitions[app].image  hacked:1 → {V1}")), "{stdout}");
    // Somebody takes the service away.
    world
        .aws
        .fake
        .call("ecs", "DeleteService", json!({"cluster": "main", "service": "shop-prod-worker", "force": true}))
        .unwrap();
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let world = World::new();
    let (_, stderr) = world.ends("nowhere", &["diff", "staging"], 66);
    assert!(stderr.contains("staging") && stderr.contains("prod"), "{stderr}");
    let (_, stderr) = world.ends("nowhere", &["diff", "prod", "--image", "nobody=x:1"], 64);
    assert!(stderr.contains("web/app"), "{stderr}");
    let file = world.aws.path().join("imagedefinitions.json");
    std::fs::write(&file, "[{\"name\": \"app\"}]").unwrap();
    let (_, stderr) = world.ends("nowhere", &["diff", "prod", "--imagedefinitions", file.to_str().unwrap()], 64);
    assert!(stderr.contains("entry 1 has no \"imageUri\""), "{stderr}");
    world.aws.fake.call("ecs", "DeleteCluster", json!({"cluster": "main"})).unwrap();
    world.ends("nowhere", &["diff", "prod"], 64);
}

#[test]
fn what_is_missing_is_told_before_anything_is_touched() {
    let world = World::new();
    let report = world.json("nowhere", &["verify", "prod"], 0);
    assert_eq!(report["ok"], true, "{report}");
    let looked = report["services"][0]["looked"].as_array().unwrap();
    assert_eq!(looked[0], json!({"what": "cluster main", "found": "ok"}));
    let not_checked = looked.iter().any(|one| one["what"].as_str().unwrap().starts_with("image of app"));
    assert!(not_checked, "{report}");

    let mut manifest = std::fs::read_to_string(world.aws.path().join("landfall.yml")).unwrap();
    manifest = manifest.replace(
        "    cluster: main\n",
        "    cluster: main\n    log_group: /nowhere\n    execution_role: arn:aws:iam::123456789012:role/execution\n",
    );
    world.aws.write("landfall.yml", &manifest);
    let report = world.json("nowhere", &["verify", "prod"], 1);
    let wrong: Vec<&str> = report["services"][0]["looked"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["found"] == "wrong")
        .map(|one| one["what"].as_str().unwrap())
        .collect();
    assert_eq!(wrong, ["log group /nowhere"], "{report}");
    let (stdout, _) = world.ends("nowhere", &["verify", "prod"], 1);
    assert!(stdout.contains("  wrong        log group /nowhere: ") && stdout.contains("create-log-group"), "{stdout}");
    assert_eq!(world.writes(), 0);
}

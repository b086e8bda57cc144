//! The stacks of a cluster on ministack, which tells what happens to each resource: made, changed, rolled back and deleted, and listed by
//! boto3. It launches no instances, so no version proves itself there.

use std::collections::BTreeSet;
use std::path::Path;

use landfall_testkit::emulator::{self, Emulator};
use serde_json::{Value, json};

use super::instances::INFRA;
use crate::common::aws::boto3;
use crate::common::fake::landfall;
use crate::common::{ends, text};

struct Place {
    emulator: Emulator,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { emulator: emulator::ministack(&[]), directory: tempfile::tempdir().unwrap() };
        place.infra(INFRA);
        place
    }

    fn infra(&self, text: &str) {
        std::fs::write(self.directory.path().join("infra.yml"), text).unwrap();
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> (String, String) {
        let mut command = landfall(self.directory.path(), &[&["cluster"], arguments].concat());
        command.env("AWS_ENDPOINT_URL", &self.emulator.url).env("AMI", "ami-0a1b2c3d4e5f60718");
        let output = command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]).output().unwrap();
        (ends(&output, code, &[]), text(&output.stderr))
    }

    fn ask(&self, arguments: &[&str]) -> Value {
        let output = boto3("cluster.py", &self.emulator.url).args(arguments).output().unwrap();
        serde_json::from_str(&ends(&output, 0, &[])).unwrap()
    }

    /// Resources of a template by their types.
    fn template(&self, part: &str, version: &str) -> Vec<(String, String)> {
        let (printed, _) = self.run(&["template", part, "--version", version, "--output", "json"], 0);
        std::fs::write(self.directory.path().join("template.json"), &printed).unwrap();
        let template: Value = serde_json::from_str(&printed).unwrap();
        let all = template["Resources"].as_object().unwrap();
        all.iter().map(|(name, one)| (name.clone(), one["Type"].as_str().unwrap().to_owned())).collect()
    }
}

/// Types that ministack lacks, as the templates of environments are held to.
fn lacking() -> BTreeSet<String> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../stack/tests/outside/ministack.strip");
    let text = std::fs::read_to_string(list).unwrap();
    text.lines().map(|line| line.split('#').next().unwrap_or_default().trim().to_owned()).collect()
}

fn events<'a>(stack: &'a Value, resource: &str) -> Vec<&'a str> {
    let own = stack["events"].as_array().unwrap().iter().filter(|event| event[0] == resource);
    own.map(|event| event[1].as_str().unwrap()).collect()
}

#[test]
fn stacks_of_a_cluster_live_on_ministack() {
    let place = Place::new();
    // Made, and, as no instance comes, changed to have none.
    let arguments = ["deploy", "--version", "one", "--prove", "0", "--register", "2", "--output", "json"];
    let (told, _) = place.run(&arguments, 1);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["why"], "version one does not work: no instance of it registered within 2 s");
    let listed = place.ask(&["listed"]);
    let parts = [("cluster", "web-cluster"), ("health", "web-cluster-health-task"), ("compute", "web-asg-one")];
    assert_eq!(listed["stacks"].as_object().unwrap().len(), parts.len(), "{listed}");
    for (part, name) in parts {
        let stack = &listed["stacks"][name];
        let wanted = place.template(part, "one");
        for (resource, kind) in &wanted {
            assert!(!lacking().contains(kind), "{kind}");
            assert!(stack["resources"][resource].as_str().unwrap().ends_with("_COMPLETE"), "{resource}: {stack}");
            assert_eq!(events(stack, resource)[..2], ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"], "{resource}: {stack}");
        }
        assert_eq!(stack["resources"].as_object().unwrap().len(), wanted.len(), "{stack}");
        assert_eq!(
            (&stack["tags"]["landfall"], &stack["tags"]["landfall:cluster"]),
            (&json!("cluster/web"), &json!("web"))
        );
        assert_eq!(stack["tags"]["landfall:part"], part);
    }
    let exports = &listed["stacks"]["web-cluster"]["exports"];
    let badges = ["ALBBadgeSg", "AuxBadgeSg", "CacheBadgeSg", "DBBadgeSg", "InstanceProfile"];
    assert_eq!(*exports, json!(badges.map(|badge| format!("web-cluster:{badge}"))));
    let compute = &listed["stacks"]["web-asg-one"];
    assert_eq!((&compute["status"], &compute["parameters"]["Roll"]), (&json!("UPDATE_COMPLETE"), &json!("failed")));
    assert_eq!(events(compute, "MainFleet")[2..], ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE"], "{compute}");
    assert_eq!((&listed["groups"], &listed["clusters"]), (&json!([[0, 0], [0, 0]]), &json!(["web"])));
    // What Landfall says of it.
    let status: Value = serde_json::from_str(&place.run(&["status", "--output", "json"], 0).0).unwrap();
    let version = &status["versions"][0];
    assert_eq!(
        (&version["stack"], &version["standing"], &version["state"]),
        (&json!("web-asg-one"), &json!("failed"), &json!("ready"))
    );

    // A change that fails is rolled back, and is no change.
    let rolled_back = place.ask(&["broken", "web-asg-one"]);
    assert_eq!(rolled_back["status"], "UPDATE_ROLLBACK_COMPLETE", "{rolled_back}");
    assert!(events(&rolled_back, "InstanceSg").contains(&"UPDATE_FAILED"), "{rolled_back}");
    assert_eq!(rolled_back["parameters"], compute["parameters"]);
    let (_, stderr) = place.run(&["status"], 0);
    assert!(!stderr.contains("error"), "{stderr}");

    place.run(&["destroy", "--yes"], 0);
    assert_eq!(place.ask(&["listed"]), json!({"stacks": {}, "groups": [], "clusters": []}));

    // Without its cluster a version cannot be made: nothing is left but a stack that must go.
    place.template("compute", "two");
    let template = place.directory.path().join("template.json");
    let alone = place.ask(&["alone", "web-asg-two", &template.to_string_lossy()]);
    assert_eq!(alone["status"], "ROLLBACK_COMPLETE", "{alone}");
    let failed = alone["events"].as_array().unwrap().iter().find(|event| event[1] == "CREATE_FAILED").unwrap();
    assert_eq!((&failed[0], &failed[2]), (&json!("InstanceSg"), &json!("Export 'web-cluster:ALBBadgeSg' not found")));
}

/// It makes neither Spot Fleets nor capacity providers, and says so before anything of a version is made.
#[test]
fn what_ministack_lacks_is_in_its_strip_list() {
    let place = Place::new();
    for (more, kinds) in [
        ("  compatibility: spot_fleets\n", vec!["AWS::EC2::SpotFleet"]),
        ("  capacity: ecs-managed\n", vec!["AWS::ECS::CapacityProvider"]),
    ] {
        place.infra(&INFRA.replacen("ec2_instances:\n", &format!("ec2_instances:\n{more}"), 1));
        let template = place.template("compute", "two");
        let lacking = lacking();
        let stripped: BTreeSet<&str> =
            template.iter().map(|(_, kind)| kind.as_str()).filter(|kind| lacking.contains(*kind)).collect();
        assert_eq!(stripped.into_iter().collect::<Vec<_>>(), kinds);
        let (_, stderr) = place.run(&["deploy", "--version", "two", "--prove", "0", "--register", "2"], 64);
        assert!(stderr.contains(&format!("Unrecognized resource types: [{}]", kinds[0])), "{stderr}");
        let stacks = place.ask(&["listed"])["stacks"].clone();
        assert_eq!(stacks["web-asg-two"], Value::Null, "{stacks}");
    }
}

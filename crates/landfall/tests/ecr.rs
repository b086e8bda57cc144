//! `landfall build` and `landfall push` into ECR under the policy that `landfall iam push` prints: the real binary logs in by itself, over
//! TLS, as the manifest's place says; every right in the policy is used, and without any one nothing is tagged.
//!
//! Our fake of AWS has ECR's calls; its registries are tests/aws/ecr.py behind a proxy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};

use common::fake::{FakeAws, actions, without};
use common::text;
use landfall_testkit::registry::layout;
use serde_json::{Value, json};

/// A builder whose image is `built/` of its home; it says `podman`.
const PODMAN: &str = r#"#!/bin/sh
case "$1" in
  build) while [ "$1" != --iidfile ]; do shift; done; echo sha256:1 > "$2";;
  push) for last; do :; done; cp -R "$HOME/built" "${last#oci:}";;
esac
"#;

struct World {
    aws: FakeAws,
    registry: Child,
    proxy: String,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.registry.kill();
        let _ = self.registry.wait();
    }
}

impl World {
    /// `place`: more of the manifest's place.
    fn new(place: &str) -> Self {
        let aws = FakeAws::new();
        let path = |name: &str| aws.path().join(name);
        layout(&path("built"), "a layer");
        std::fs::create_dir(path("bin")).unwrap();
        std::fs::write(path("bin/podman"), PODMAN).unwrap();
        std::fs::set_permissions(path("bin/podman"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let openssl = |more: &[&str]| {
            let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
            let output =
                Command::new("openssl").args(["req", "-x509"]).args(key).args(more).current_dir(aws.path()).output();
            assert!(output.as_ref().unwrap().status.success(), "{output:?}");
        };
        openssl(&["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test CA"]);
        let names = "subjectAltName=DNS:123456789012.dkr.ecr.us-east-1.amazonaws.com";
        let signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-keyout", "ecr.key", "-out", "ecr.crt", "-subj", "/CN=ecr"];
        openssl(&[&signed[..], &["-addext", names, "-addext", "basicConstraints=critical,CA:FALSE"]].concat());
        for name in ["policy", "log"] {
            std::fs::write(path(name), "").unwrap();
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aws/ecr.py");
        let mut registry = Command::new("python3")
            .args([script, "ecr.crt", "ecr.key", "policy", "log"])
            .current_dir(aws.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(registry.stdout.take().unwrap()).read_line(&mut port).unwrap();
        aws.fake.call("ecr", "CreateRepository", json!({"repositoryName": "shop"})).unwrap();
        aws.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
        aws.write(".dockerignore", "*\n!Dockerfile\n");
        let manifest = format!(
            "project: shop\n{}{place}services:\n  web:\n    cpu: 256\n    memory: 512\n    containers:\n      app: {{ await: {{ image: \
             \"123456789012.dkr.ecr.us-east-1.amazonaws.com/shop:{{commit}}\", build: {{ context: . }} }} }}\n",
            aws.place()
        );
        aws.write("landfall.yml", &manifest);
        Self { proxy: format!("http://127.0.0.1:{}", port.trim()), registry, aws }
    }

    fn landfall(&self, arguments: &[&str]) -> Output {
        let path = format!("{}:{}", self.aws.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = self.aws.landfall(arguments);
        command.env("PATH", path).env("HTTPS_PROXY", &self.proxy).env("SSL_CERT_FILE", self.aws.path().join("ca.crt"));
        command.env("LANDFALL_COMMIT", "1".repeat(40)).output().unwrap()
    }

    #[track_caller]
    fn expect(&self, arguments: &[&str]) -> String {
        let output = self.landfall(arguments);
        assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Both the calls and the registries; what was pushed is forgotten.
    fn hold_to(&self, policy: &Value) {
        self.aws.fake.clear_calls();
        self.aws.fake.script("POST", "policy", policy).unwrap();
        self.aws.write("policy", &actions(policy).into_iter().collect::<Vec<_>>().join("\n"));
        self.aws.write("log", "");
    }

    fn used(&self) -> BTreeSet<String> {
        let asked = std::fs::read_to_string(self.aws.path().join("log")).unwrap();
        let called = self.aws.fake.calls().into_iter().flat_map(|call| call.actions).map(|needed| needed.action);
        asked.lines().map(str::to_owned).chain(called).filter(|action| action.starts_with("ecr:")).collect()
    }
}

/// Asked for where somebody pushed the same commit before, and for rules that ECR keeps by itself.
const LOOKS: [&str; 2] = ["ecr:DescribeRepositories", "ecr:GetDownloadUrlForLayer"];

#[test]
fn a_push_needs_every_right_of_its_policy_and_no_other() {
    let world = World::new("");
    let policy: Value = serde_json::from_str(&world.expect(&["iam", "push"])).unwrap();
    world.hold_to(&policy);
    world.expect(&["build"]);
    let image = world.expect(&["push"]);
    assert!(image.starts_with("123456789012.dkr.ecr.us-east-1.amazonaws.com/shop@sha256:"), "{image}");
    let (used, granted) = (world.used(), actions(&policy));
    let idle: Vec<_> = granted.difference(&used).filter(|action| *action != LOOKS[1]).collect();
    assert!(idle.is_empty() && used.is_subset(&granted), "not used: {idle:?}; used: {used:?}");
    for action in granted.iter().filter(|action| !LOOKS.contains(&action.as_str())) {
        world.hold_to(&without(&policy, action));
        let refused = world.landfall(&["push"]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(77), "without {action}: {said}");
        // The answer to a HEAD has no words.
        let wordless = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage"].contains(&action.as_str());
        assert!(wordless || said.contains(action), "without {action}: {said}");
    }
}

#[test]
fn the_place_s_role_is_taken_for_its_account_s_registry() {
    let role = "    role: { arn: \"arn:aws:iam::123456789012:role/push\" }\n";
    let world = World::new(role);
    let policy: Value = serde_json::from_str(&world.expect(&["iam", "push"])).unwrap();
    world.aws.write("policy", &actions(&policy).into_iter().collect::<Vec<_>>().join("\n"));
    world.expect(&["build"]);
    world.expect(&["push"]);
    let calls = world.aws.fake.calls();
    let by = |operation: &str| calls.iter().filter(|call| call.operation == operation).count();
    assert!(by("AssumeRole") >= 1 && by("GetAuthorizationToken") >= 1, "{}", calls.len());
}

#[test]
fn reading_releases_takes_the_rights_of_its_policy_and_no_other() {
    let world = World::new("");
    let policy = |what: &str| -> Value { serde_json::from_str(&world.expect(&["iam", what])).unwrap() };
    let (pushes, reads) = (policy("push"), actions(&policy("releases")));
    // What was pushed stays as long as the registry's policy does.
    let both: Vec<String> = actions(&pushes).into_iter().chain(reads.iter().cloned()).collect();
    world.aws.write("policy", &both.join("\n"));
    world.expect(&["build"]);
    world.expect(&["push"]);
    world.aws.fake.clear_calls();
    world.aws.write("log", "");
    assert!(world.expect(&["release", "show"]).contains(&"1".repeat(40)));
    assert!(world.expect(&["release", "list"]).contains("1111111"));
    assert_eq!(world.used(), reads);
}

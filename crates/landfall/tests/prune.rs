//! `landfall images prune` with the real binary: a real registry, and ECR and ECS of our fake.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Output;

use common::ends;
use common::fake::{FakeAws, actions, without};
use common::registry::{World, layout_of};
use landfall_awsfake::faults::{Fault, FaultError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const ALL: [&str; 5] = ["--newest", "0", "--younger", "0s", "--output"];

fn commit(n: usize) -> String {
    format!("{n}").repeat(40)
}

struct Shop {
    aws: FakeAws,
    repository: String,
}

impl Shop {
    fn new(repository: String) -> Self {
        let aws = FakeAws::new();
        let manifest = format!(
            "project: shop\n{}    execution_role: execution\nservices:\n  web:\n    cpu: 256\n    memory: 512\n    containers:\n      \
             app: {{ await: {{ image: \"{repository}:{{commit}}\", deadline: 5s }} }}\nenvironments:\n  prod: {{ on: cloud }}\n",
            aws.place()
        );
        aws.write("landfall.yml", &manifest);
        Self { aws, repository }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.aws.landfall(arguments).output().unwrap()
    }

    fn prune(&self, more: &[&str]) -> Output {
        self.run(&[&["images", "prune"], &ALL[..], &["json"], more].concat())
    }

    fn deploy(&self, n: usize) {
        ends(&self.run(&["deploy", "prod", "--commit", &commit(n)]), 0, &[]);
    }
}

/// The tags of what goes.
fn gone(output: &Output) -> Vec<String> {
    let plans: Value = serde_json::from_str(&ends(output, 0, &[])).unwrap();
    let all = plans[0]["delete"].as_array().unwrap();
    all.iter().flat_map(|one| one["tags"].as_array().unwrap()).map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_deployed_or_may_come_back_stays_and_the_rest_goes_when_asked() {
    let mut registry = World::of("delete: {enabled: true}", "");
    let shop = Shop::new(registry.image("team/web"));
    for n in 1..=5 {
        let directory = registry.path(&format!("work/{n}"));
        layout_of(&directory, &n.to_string(), Some("2020-01-02T03:04:05Z"));
        let target = format!("{}:{}", shop.repository, commit(n));
        ends(&shop.run(&["push", "--from", directory.to_str().unwrap(), &target]), 0, &[]);
    }
    shop.deploy(1);
    shop.deploy(2);
    let mut create = shop.aws.landfall(&["release", "create"]);
    ends(&create.env("LANDFALL_COMMIT", commit(3)).output().unwrap(), 0, &[]);
    // One that somebody else runs in the same cluster, by its tag.
    let image = format!("{}:{}", shop.repository, commit(4));
    let ask = |operation: &str, input: Value| shop.aws.fake.call("ecs", operation, input).unwrap();
    ask(
        "RegisterTaskDefinition",
        json!({"family": "other", "containerDefinitions": [{"name": "x", "image": image, "memory": 64}]}),
    );
    ask(
        "CreateService",
        json!({"cluster": "main", "serviceName": "other", "taskDefinition": "other", "desiredCount": 0}),
    );

    let dry = shop.prune(&[]);
    ends(&dry, 0, &["nothing was deleted; with --yes 1 go"]);
    assert_eq!(gone(&dry), [commit(5)]);
    let there = |n: usize| registry.tag("team/web", &commit(n)).is_some();
    assert!((1..=5).all(there));

    // Whatever cannot be listed deletes nothing.
    for operation in ["ListServices", "ListTasks", "DescribeTaskDefinition"] {
        let error = FaultError { code: "AccessDenied".to_owned(), message: "no".to_owned(), status: 400 };
        let operation = Some(operation.to_owned());
        shop.aws.fake.fault(Fault { operation, error: Some(error), ..Fault::default() });
        ends(&shop.prune(&["--yes"]), 77, &["nothing is pruned, because what runs on cloud cannot be listed"]);
        shop.aws.fake.clear_faults();
    }
    let elsewhere = registry.image("team/none");
    ends(&shop.prune(&["--yes", &elsewhere, &shop.repository]), 66, &["nothing is pruned, because", "team/none"]);
    assert!((1..=5).all(there));

    assert_eq!(gone(&shop.prune(&["--tag", "55*"])), [""; 0]);
    assert_eq!(gone(&shop.prune(&["--yes"])), [commit(5)]);
    assert!((1..=4).all(there) && !there(5));
    ends(&shop.prune(&["--yes"]), 0, &["nothing has to go"]);

    // Without its release, the third one goes too, and the record before it; but not where the registry deletes nothing.
    registry.restart("");
    let refused = shop.prune(&["--yes", "--releases", "0"]);
    ends(&refused, 1, &["LF-REGISTRY-REFUSED", "storage.delete.enabled", "0 of 2 were deleted before"]);
    registry.restart("delete: {enabled: true}");
    let last = gone(&shop.prune(&["--yes", "--releases", "0"]));
    assert_eq!(last, [format!("landfall-release-shop-{}", commit(3)), commit(3)]);
}

#[test]
fn in_ecr_an_index_goes_before_its_images_and_what_is_refused_is_told() {
    let shop = Shop::new("123456789012.dkr.ecr.us-east-1.amazonaws.com/team/web".to_owned());
    let ask = |operation: &str, input: Value| shop.aws.fake.call("ecr", operation, input).unwrap();
    ask("CreateRepository", json!({"repositoryName": "team/web"}));
    let put = |manifest: &Value, tag: Option<&str>| {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(manifest.to_string())));
        ask(
            "PutImage",
            json!({"repositoryName": "team/web", "imageDigest": digest, "imageManifest": manifest.to_string(), "imageTag": tag}),
        );
        digest
    };
    let part = |digest: &str, kind: &str| json!({"mediaType": kind, "digest": digest, "size": 1});
    let image = |n: u32| {
        let config = part(&format!("sha256:{}", n.to_string().repeat(64)), "application/vnd.oci.image.config.v1+json");
        json!({"schemaVersion": 2, "config": config, "layers": []})
    };
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let index = |parts: &[&String]| {
        let parts: Vec<Value> = parts.iter().map(|digest| part(digest, kind)).collect();
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": parts})
    };
    let parts: Vec<String> = (1..=4).map(|n| put(&image(n), None)).collect();
    let deployed = put(&index(&[&parts[0], &parts[1]]), Some(&commit(1)));
    put(&index(&[&parts[1], &parts[2], &parts[3]]), Some(&commit(2)));
    shop.deploy(1);
    // Under the policy that `iam prune` prints, and not without any right of it.
    let policy: Value = serde_json::from_str(&ends(&shop.run(&["iam", "prune"]), 0, &[])).unwrap();
    for action in actions(&policy) {
        shop.aws.fake.script("POST", "policy", &without(&policy, &action)).unwrap();
        ends(&shop.prune(&["--yes"]), 77, &[&action]);
    }
    shop.aws.fake.script("POST", "policy", &policy).unwrap();
    let output = shop.prune(&["--yes"]);
    shop.aws.fake.script("DELETE", "policy", &Value::Null).unwrap();
    assert_eq!(gone(&output), [commit(2)]);
    ends(&output, 0, &["3 of 3 deleted"]);
    let left = ask("DescribeImages", json!({"repositoryName": "team/web"}));
    let mut left: Vec<&str> =
        left["imageDetails"].as_array().unwrap().iter().map(|one| one["imageDigest"].as_str().unwrap()).collect();
    let mut wanted = [deployed.as_str(), &parts[0], &parts[1]];
    left.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(left, wanted);
}

//! `landfall cluster put-pipeline` on moto, read back by boto3 (`tests/aws/pipeline.py`), and the rights that its jobs have.

use serde_json::{Value, json};

use super::World;
use crate::common::aws::boto3;
use crate::common::fake::without;
use crate::common::{ends, git, text};

const CONNECTION: &str = "arn:aws:codeconnections:us-west-2:123456789012:connection/0a1b2c3d";
const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const MIRROR: &str = "https://mirror.example.com/landfall.tar.gz";

impl World {
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// A checkout of a repository on GitHub.
    fn checkout(&self, origin: &str) {
        let root = self.directory.path();
        git(root, &["init", "--quiet", "--initial-branch", "main"]);
        git(root, &["remote", "add", "origin", origin]);
    }

    fn boto3(&self, arguments: &[&str]) -> String {
        let mut command = boto3("pipeline.py", &self.moto.url);
        ends(&command.args(arguments).env("AWS_DEFAULT_REGION", "us-west-2").output().unwrap(), 0, &[])
    }

    fn pipeline(&self) -> Value {
        serde_json::from_str(&self.boto3(&["web-cluster"])).unwrap()
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32, says: &[&str]) {
        let (_, stderr) = self.run(&[&["put-pipeline"], arguments].concat(), code);
        says.iter().for_each(|one| assert!(stderr.contains(one), "{one}: {stderr}"));
    }
}

#[test]
fn a_pipeline_is_shown_asked_for_and_put() {
    let world = World::new();
    world.checkout("git@github.com:acme/clusters.git");
    let put = |more: &[&str], code: i32| {
        let program = ["--url", MIRROR, "--sha256", SHA];
        world.run(&[&["put-pipeline", "--connection", CONNECTION], &program[..], more].concat(), code)
    };
    let (_, stderr) = put(&[], 77);
    assert!(stderr.contains("stack web-cluster-codepipeline (new)") && stderr.contains("+ add"), "{stderr}");
    assert!(stderr.contains("with --yes pushes to main of acme/clusters roll cluster web"), "{stderr}");
    assert_eq!(world.pipeline(), Value::Null);

    let (_, stderr) = put(&["--yes"], 0);
    assert!(stderr.contains("no image is built, as there is no ecs_userdata.sh"), "{stderr}");
    let there = world.pipeline();
    assert_eq!(there["stages"], json!(["Source", "Deploy"]));
    let source = &there["source"];
    assert_eq!(
        [&source["provider"], &source["FullRepositoryId"], &source["BranchName"], &source["ConnectionArn"]],
        ["CodeStarSourceConnection", "acme/clusters", "main", CONNECTION]
    );
    let project = &there["projects"]["web-cluster-deploy"];
    let spec = project["buildspec"].as_str().unwrap();
    assert!(spec.contains("landfall cluster deploy --values infra.yml") && spec.contains("sha256sum -c"), "{spec}");
    let program = |project: &Value| {
        [&project["variables"]["LANDFALL_URL"], &project["variables"]["LANDFALL_SHA256"]].map(Value::clone)
    };
    assert_eq!(program(project), [MIRROR, SHA]);
    let (stdout, _) = put(&["--yes", "--output", "json"], 0);
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&told["changed"], &told["changes"]), (&json!(false), &json!([])), "{told}");

    // With a script an image is made first, and what was said before need not be said again.
    world.write("ecs_userdata.sh", "#!/bin/sh\ntrue\n");
    world.write("infra.yml", &format!("environments: [dev, prod]\n{}", super::INFRA));
    world.write("infra.prod.yml", &super::INFRA.replace("name: web", "name: web-prod"));
    let (stdout, stderr) =
        world.run(&["put-pipeline", "--connection", CONNECTION, "--branch", "release", "--yes", "--output", "json"], 0);
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&told["changed"], &told["outcome"]), (&json!(true), &json!("ok")), "{told}: {stderr}");
    let there = world.pipeline();
    assert_eq!(there["stages"], json!(["Source", "BuildAMI", "DeployDev", "DeployProd"]));
    assert_eq!(there["source"]["BranchName"], "release");
    let spec = |name: &str| there["projects"][name]["buildspec"].as_str().unwrap().to_owned();
    assert!(spec("web-cluster-image-prod").contains("landfall cluster ami build --values infra.prod.yml"));
    assert!(spec("web-cluster-deploy-prod").contains("landfall cluster deploy --values infra.prod.yml"));
    assert!(spec("web-cluster-deploy-dev").contains("landfall cluster deploy --values infra.yml"));
    assert_eq!(
        program(&there["projects"]["web-cluster-deploy-dev"]),
        [MIRROR, SHA],
        "the file and its hash go together"
    );
    // Another file has another hash.
    let other = ["--connection", CONNECTION, "--url", "https://other.example.com/landfall.tar.gz", "--yes"];
    world.refused(&other, 64, &["jobs run no file whose SHA-256 is not known: --sha256"]);
    // It is no part of the cluster.
    world.run(&["status"], 66);
}

#[test]
fn a_token_is_looked_for_first() {
    let world = World::new();
    world.checkout("https://github.com/acme/clusters");
    let arguments = ["--github-token-secret", "GithubToken", "--sha256", SHA, "--yes"];
    world.refused(
        &arguments,
        66,
        &["there is no secret GithubToken in Secrets Manager in us-west-2", "aws secretsmanager create-secret"],
    );
    assert_eq!(world.pipeline(), Value::Null);
    world.boto3(&["secret", "GithubToken"]);
    world.run(&[&["put-pipeline"], &arguments[..]].concat(), 0);
    let there = world.pipeline();
    let source = &there["source"];
    assert_eq!([&source["provider"], &source["Owner"], &source["Repo"]], ["GitHub", "acme", "clusters"]);
    assert_eq!(source["PollForSourceChanges"], "false");
    assert_eq!(there["rights"], json!(["KeepArtifacts", "SeeArtifacts", "RunJobs"]));
}

#[test]
fn what_is_not_known_is_asked_for() {
    let world = World::new();
    let given = ["--connection", CONNECTION, "--sha256", SHA];
    world.refused(&["--sha256", SHA], 64, &["--connection ARN", "--github-token-secret NAME"]);
    world.refused(&["--connection", CONNECTION, "--github-token-secret", "x"], 64, &["cannot be used with"]);
    world.refused(&given, 64, &["infra.yml is in no checkout of git that has an `origin`", "--repository OWNER/NAME"]);
    world.refused(&[&given[..], &["--repository", "acme"]].concat(), 64, &["`acme` is no repository"]);
    world.checkout("git@gitlab.com:acme/clusters.git");
    world.refused(&given, 64, &["`origin` is at gitlab.com", "--repository OWNER/NAME", "landfall ci"]);
    git(world.directory.path(), &["remote", "set-url", "origin", "git@github.com:acme/clusters.git"]);
    world.refused(&["--connection", CONNECTION], 64, &["--sha256", ".sha256"]);
    world.refused(&["--connection", CONNECTION, "--sha256", "0A"], 64, &["64 hexadecimal digits"]);
    world.refused(&["--connection", "arn:aws:iam::1:role/x"], 64, &["a connection's ARN is"]);
    assert_eq!(world.pipeline(), Value::Null);
}

/// Nobody is asked for what is only printed; and who deploys in a pipeline may do what `landfall cluster iam` says, and no more.
#[test]
fn the_job_that_deploys_has_the_rights_that_are_printed() {
    let world = World::new();
    world.checkout("git@github.com:acme/clusters.git");
    let nowhere = |arguments: &[&str]| {
        let output = world.command(arguments).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").output().unwrap();
        serde_json::from_str::<Value>(&ends(&output, 0, &[]))
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
    };
    let template = nowhere(&["put-pipeline", "--connection", CONNECTION, "--print", "--output", "json"]);
    let own = &template["Resources"]["DeployRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"];
    let own: Vec<Value> = own.as_array().unwrap()[2..].to_vec();
    let printed = nowhere(&["iam", "--account", "123456789012"]);
    let list = |value: &Value| if value.is_array() { value.clone() } else { json!([value]) };
    let filled = |value: &Value| {
        let mut value = value.to_string();
        for (name, text) in [("Partition", "aws"), ("Region", "us-west-2"), ("AccountId", "123456789012")] {
            value = value.replace(&format!("${{AWS::{name}}}"), text);
            value = value.replace(&format!("{{\"Ref\":\"AWS::{name}\"}}"), &format!("\"{text}\""));
        }
        let value: Value = serde_json::from_str(&value).unwrap();
        value.as_array().unwrap().iter().map(|one| one.get("Fn::Sub").unwrap_or(one).clone()).collect::<Vec<_>>()
    };
    for (own, printed) in own.iter().zip(printed["Statement"].as_array().unwrap()) {
        let sid = printed["Sid"].as_str().unwrap();
        assert_eq!(own["Sid"], sid);
        assert_eq!(own["Action"], list(&printed["Action"]), "{sid}");
        assert_eq!(json!(filled(&own["Resource"])), list(&printed["Resource"]), "{sid}");
        let operators = |one: &Value| one["Condition"].as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
        assert_eq!(operators(own), operators(printed), "{sid}");
    }
    assert_eq!(own.len(), printed["Statement"].as_array().unwrap().len());
    // What CloudFormation makes it makes for nobody else.
    for statement in own.iter().filter(|one| one["Sid"].as_str().unwrap().starts_with("Make")) {
        let via = &statement["Condition"]["ForAnyValue:StringEquals"]["aws:CalledVia"];
        assert!(via == "cloudformation.amazonaws.com" || statement["Sid"] == "MakeServiceLinkedRoles", "{statement}");
    }
}

/// moto looks at actions only; how far each reaches the tests of `landfall-iam` and `landfall-cluster` say.
#[test]
fn what_is_done_with_a_cluster_is_done_under_its_policies() {
    let world = World::new();
    world.infra(&super::INFRA.replace("min_weight: 1", "min_weight: 0"));
    let policies = ["deploy", "scale", "destroy"].map(|what| {
        serde_json::from_str::<Value>(&world.run(&["iam", what, "--account", "123456789012"], 0).0).unwrap()
    });
    let [deploy, scale, destroy] = &policies;
    let under = |policy: &Value, arguments: &[&str]| world.held_to(policy, arguments);
    let rolled = under(deploy, &["deploy", "--version", "one", "--prove", "0", "--register", "60"]);
    assert_eq!(rolled.status.code(), Some(0), "{}", text(&rolled.stderr));
    let rolled = under(deploy, &["deploy", "--version", "two", "--prove", "0", "--register", "60"]);
    assert_eq!(rolled.status.code(), Some(0), "{}", text(&rolled.stderr));
    for arguments in [&["status"][..], &["activate", "two"]] {
        let told = under(deploy, arguments);
        assert_eq!(told.status.code(), Some(0), "{arguments:?}: {}", text(&told.stderr));
    }
    let scaled = under(scale, &["scale"]);
    assert_eq!(scaled.status.code(), Some(0), "{}", text(&scaled.stderr));

    // A right that is not there is named, and nobody waits for it.
    for (version, action) in [
        ("three", "cloudformation:CreateChangeSet"),
        ("four", "ssm:GetParameter"),
        ("five", "ecs:DescribeContainerInstances"),
    ] {
        let arguments = ["deploy", "--version", version, "--prove", "0", "--register", "60"];
        let refused = under(&without(deploy, action), &arguments);
        let told = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(77), "without {action}: {told}");
        assert!(told.contains(action), "without {action}: {told}");
    }
    let gone = under(destroy, &["destroy", "--yes"]);
    assert_eq!(gone.status.code(), Some(0), "{}", text(&gone.stderr));
    world.run(&["status"], 66);
}

/// The flow that docs/clusters.md shows.
const FLOW: &str = r#"project: clusters
services: {}
ci:
  rules:
    cluster:
      branches: [main]
      paths: ["infra*.yml", ecs_userdata.sh]
      steps:
        - cluster: infra.yml
"#;

/// The same without CodePipeline: a push that changes infra.yml rolls the cluster to its commit, and no other push does.
#[test]
fn a_push_rolls_the_cluster_without_codepipeline() {
    let guide = include_str!("../../../../docs/clusters.md");
    assert!(guide.contains(FLOW), "docs/clusters.md shows another flow");
    let world = World::new();
    world.write("landfall.yml", FLOW);
    let root = world.directory.path();
    git(root, &["init", "--quiet", "--initial-branch", "main"]);
    let commit = |files: &[&str]| {
        git(root, &[&["add"], files].concat());
        git(root, &["commit", "--quiet", "--message", "change"]);
        git(root, &["rev-parse", "HEAD"])
    };
    commit(&["infra.yml", "landfall.yml"]);
    world.write("README.md", "clusters");
    commit(&["README.md"]);
    let steps = |more: &[&str]| {
        let (stdout, _) = world.any(&[&["ci", "plan", "--output", "json"], more].concat(), 0);
        let plan: Value = serde_json::from_str(&stdout).unwrap();
        plan["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(steps(&[]), Vec::<String>::new());
    world.infra(&super::INFRA.replace("max_weight: 4", "max_weight: 6"));
    let head = commit(&["infra.yml"]);
    assert_eq!(steps(&[]), ["cluster infra.yml"]);
    assert_eq!(steps(&["--branch", "feature/x"]), Vec::<String>::new());

    let (stdout, stderr) = world.any(&["ci"], 0);
    let told = format!("{stdout}{stderr}");
    assert!(told.contains(&format!("landfall cluster deploy --values infra.yml --version {head}")), "{told}");
    assert_eq!(world.versions(), [super::is(&head, "active", 3)]);
    // The host's file comes with the rights for it.
    world.any(&["ci", "init", "github", "--role", "arn:aws:iam::123456789012:role/ci", "--sha256", SHA], 0);
    let policy = std::fs::read_to_string(root.join("iam/landfall-cluster-web.json")).unwrap();
    assert!(policy.contains("ecs:RunTask"), "{policy}");
}

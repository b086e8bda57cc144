//! A lasting environment on our fake of AWS that others deploy to as well, past Landfall: what they have deployed stays until
//! somebody asks for something else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::ends;
use common::fake::{FakeAws, V1, V2};
use serde_json::{Value, json};

const WEB: &str = "shop-prod-web";
const THEIRS: &str = "others/web@sha256:0000000000000000000000000000000000000000000000000000000000000007";

struct World {
    aws: FakeAws,
}

/// `prod` as a stack, which others change as well.
struct Stacked {
    aws: FakeAws,
}

impl Stacked {
    fn new() -> Self {
        let aws = FakeAws::new();
        let manifest = format!(
            r#"project: shop
aws:
  cloud: {{ region: us-east-1, endpoint: "{}", account: "123456789012", cluster: shop-dev }}
services:
  web:
    cpu: 256
    memory: 512
    containers:
      app: {{ await: {{ image: "shop:{{commit}}" }}, ports: [80] }}
environments:
  dev: {{ on: cloud, stack: {{ network: {{ new: {{ nat: none }} }} }} }}
"#,
            aws.fake.url()
        );
        aws.write("landfall.yml", &manifest);
        Self { aws }
    }

    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32, says: &[&str]) -> String {
        ends(&self.aws.landfall(arguments).output().unwrap(), code, says)
    }

    fn call(&self, operation: &str, input: Value) -> Value {
        self.aws.fake.call("cloudformation", operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }
}

/// An image that somebody else set and that is said to be meant: no resource changes, and so nothing remembers it.
#[test]
fn an_image_that_is_confirmed_and_cannot_be_recorded_is_said_to_be_so() {
    let world = Stacked::new();
    world.ends(&["stack", "apply", "dev", "--image", "app=shop:1"], 0, &["is up"]);
    let parameters = json!([{"ParameterKey": "WebAppImage", "ParameterValue": "shop:9"}]);
    let update = json!({"StackName": "shop-dev", "UsePreviousTemplate": "true", "Parameters": parameters, "Capabilities": ["CAPABILITY_IAM"]});
    world.call("UpdateStack", update);
    world.aws.fake.settle(60_000);
    let says = ["nothing to change", "WebAppImage stays as somebody else has set it", "say its image each time"];
    world.ends(&["stack", "apply", "dev", "--image", "app=shop:9"], 0, &says);
    world.ends(&["stack", "apply", "dev"], 73, &["somebody set parameters of the stack past Landfall"]);
}

/// Change sets of others in a stack that is not made yet: it is neither deleted nor made past them.
#[test]
fn what_others_are_about_to_make_is_neither_deleted_nor_taken_over() {
    let world = Stacked::new();
    let template = json!({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}).to_string();
    let theirs = json!({"StackName": "shop-dev", "ChangeSetName": "review", "ChangeSetType": "CREATE", "TemplateBody": template});
    world.call("CreateChangeSet", theirs);
    world.aws.fake.settle(60_000);
    let says = ["change sets that Landfall did not make wait in", "nothing was done"];
    world.ends(&["stack", "destroy", "dev", "--yes"], 73, &says);
    let says = ["change sets that Landfall did not make wait in", "landfall stack recover dev"];
    world.ends(&["stack", "plan", "dev", "--image", "app=shop:1"], 73, &says);
    world.ends(&["stack", "apply", "dev", "--image", "app=shop:1"], 73, &says);
    // What is wrong is data, also where nothing is done about it.
    let told = world.ends(&["stack", "recover", "dev", "--yes", "--output", "json"], 73, &[]);
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert_eq!(
        (&told["way"], &told["foreign"], &told["exit_code"]),
        (&json!("discard"), &json!(["review"]), &json!(73))
    );
    assert_eq!(
        world.call("ListChangeSets", json!({"StackName": "shop-dev"}))["Summaries"].as_array().unwrap().len(),
        1
    );
    world.call("DeleteChangeSet", json!({"StackName": "shop-dev", "ChangeSetName": "review"}));
    let told = world.ends(&["stack", "recover", "dev", "--output", "json"], 77, &[]);
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert_eq!((&told["way"], &told["exit_code"]), (&json!("discard"), &json!(77)));
    world.ends(&["stack", "destroy", "dev", "--yes"], 0, &["stack shop-dev is deleted"]);
}

impl World {
    fn new() -> Self {
        let world = Self { aws: FakeAws::new() };
        world.manifest("sg-1");
        world
    }

    /// Which image runs is told by the commit.
    fn manifest(&self, group: &str) {
        let manifest = format!(
            r#"project: shop
{place}    execution_role: execution
services:
  web:
    cpu: 256
    memory: 512
    containers:
      app:
        await: {{ image: "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop:{{commit}}", deadline: 60s }}
environments:
  prod: {{ on: cloud, services: [web] }}
"#,
            place = self.aws.place().replace("sg-1", group),
        );
        self.aws.write("landfall.yml", &manifest);
    }

    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32, says: &[&str]) {
        ends(&self.aws.landfall(arguments).output().unwrap(), code, says);
    }

    fn ask(&self, operation: &str, input: Value) -> Value {
        self.aws.fake.call("ecs", operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    /// As ECS has it, but for what changes by itself.
    fn service(&self) -> Value {
        let mut service =
            self.ask("DescribeServices", json!({"cluster": "main", "services": [WEB]}))["services"][0].take();
        let fields = service.as_object_mut().unwrap();
        for passing in
            ["events", "deployments", "desiredCount", "runningCount", "pendingCount", "currentServiceRevisions"]
        {
            fields.remove(passing);
        }
        service
    }

    fn image(&self) -> String {
        let definition =
            self.ask("DescribeTaskDefinition", json!({"taskDefinition": self.service()["taskDefinition"]}));
        definition["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap().to_owned()
    }

    /// As the console or another tool does it.
    fn others_deploy(&self) {
        let found = self.ask("DescribeTaskDefinition", json!({"taskDefinition": WEB}));
        let mut definition = found["taskDefinition"].clone();
        definition["family"] = json!("theirs");
        definition["containerDefinitions"][0]["image"] = json!(THEIRS);
        self.ask("RegisterTaskDefinition", definition);
        self.ask("UpdateService", json!({"cluster": "main", "service": WEB, "taskDefinition": "theirs"}));
    }
}

#[test]
fn scaling_says_nothing_but_the_count() {
    let world = World::new();
    world.ends(&["deploy", "prod", "--image", &format!("web/app={V1}"), "--timeout", "60"], 0, &[]);
    world.others_deploy();
    let before = world.service();
    // What a deployment would bring as well.
    world.manifest("sg-2");
    world.aws.fake.clear_calls();
    world.ends(&["scale", "prod", "web=3", "--timeout", "60"], 0, &[]);
    let calls = world.aws.fake.calls();
    let updates: Vec<&Value> =
        calls.iter().filter(|call| call.operation == "UpdateService").map(|call| &call.input).collect();
    assert_eq!(updates, [&json!({"cluster": "main", "service": WEB, "desiredCount": 3})]);
    let others = ["CreateService", "RegisterTaskDefinition", "TagResource"];
    assert!(calls.iter().all(|call| !others.contains(&call.operation.as_str())), "{calls:#?}");
    assert_eq!(world.service(), before);
    assert_eq!(world.image(), THEIRS);
}

#[test]
fn a_deployment_without_a_commit_keeps_the_image_that_runs() {
    let world = World::new();
    let deploy = |image: &str| {
        world.ends(&["deploy", "prod", "--image", &format!("web/app={image}"), "--timeout", "60"], 0, &[])
    };
    // Nothing runs yet.
    world.ends(&["deploy", "prod"], 64, &["--commit"]);
    deploy(V1);
    deploy(V2);
    // Of what a rollback registered again, the release's own are kept.
    world.ends(&["rollback", "prod", "--timeout", "60"], 0, &[]);
    world.manifest("sg-2");
    world.ends(&["deploy", "prod", "--timeout", "60"], 0, &[]);
    assert_eq!(world.image(), V1);
    world.others_deploy();
    world.manifest("sg-3");
    world.ends(&["deploy", "prod", "--timeout", "60"], 0, &[]);
    assert_eq!(world.image(), THEIRS);
    assert_eq!(world.service()["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"], json!(["sg-3"]));
}

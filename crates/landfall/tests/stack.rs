//! `landfall stack` and `deploy` of a stack, with the real binary against our fake of CloudFormation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "cluster/mod.rs"]
mod cluster;
mod common;
mod stack_world;

use std::io::{BufReader, Read as _};
use std::process::{Output, Stdio};
use std::time::Duration;

use common::fake::FakeAws;
use common::{ends, eventually, heard, signal, text};
use serde_json::{Value, json};

const REPOSITORY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop";

fn image(digit: u8) -> String {
    format!("{REPOSITORY}@sha256:{:064}", digit)
}

struct World {
    aws: FakeAws,
}

impl World {
    /// Environments `dev` and `prod`, with nothing in the cloud.
    fn new() -> Self {
        let world = Self { aws: FakeAws::new() };
        world.manifest("");
        world
    }

    /// `more`: lines of `dev`.
    fn manifest(&self, more: &str) {
        let place = |name: &str| {
            format!(
                "  {name}: {{ region: us-east-1, endpoint: \"{}\", account: \"123456789012\", cluster: shop-{name} }}\n",
                self.aws.fake.url()
            )
        };
        let manifest = format!(
            r#"project: shop
aws:
{}{}services:
  web:
    cpu: 256
    memory: 512
    containers:
      app: {{ await: {{ image: "{REPOSITORY}:{{commit}}" }}, ports: [80] }}
    load_balancer: {{}}
environments:
  dev:
    on: dev
    stack: {{ network: {{ new: {{ nat: none }} }} }}
{more}  prod:
    on: prod
    stack: {{ network: {{ new: {{ nat: none }} }} }}
"#,
            place("dev"),
            place("prod"),
        );
        self.aws.write("landfall.yml", &manifest);
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.aws.landfall(arguments).output().unwrap()
    }

    /// stdout and stderr.
    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32, says: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        (ends(&output, code, says), text(&output.stderr))
    }

    #[track_caller]
    fn json(&self, arguments: &[&str], code: i32) -> Value {
        let (stdout, _) = self.ends(&[arguments, &["--output", "json"]].concat(), code, &[]);
        let value: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
        assert_eq!(value["exit_code"], code, "{value}");
        value
    }

    #[track_caller]
    fn apply(&self, environment: &str, digit: u8, code: i32, says: &[&str]) -> String {
        let given = format!("app={}", image(digit));
        self.ends(&["stack", "apply", environment, "--image", &given], code, says).1
    }

    fn script(&self, stack: &str, script: &Value) {
        self.aws.fake.script("POST", "stack", &json!({"stack": stack, "script": script})).unwrap();
    }

    fn call(&self, operation: &str, input: Value) -> Value {
        self.aws.fake.call("cloudformation", operation, input).unwrap()
    }

    /// `None`: there is none.
    fn stack(&self, name: &str) -> Option<Value> {
        let told = self.aws.fake.call("cloudformation", "DescribeStacks", json!({"StackName": name})).ok()?;
        Some(told["Stacks"][0].clone())
    }

    fn status(&self, name: &str) -> String {
        self.stack(name).map_or("none".to_owned(), |stack| stack["StackStatus"].as_str().unwrap().to_owned())
    }

    fn change_sets(&self, name: &str) -> usize {
        self.call("ListChangeSets", json!({"StackName": name}))["Summaries"].as_array().unwrap().len()
    }

    fn executed(&self) -> usize {
        let calls = self.aws.fake.calls();
        calls.iter().filter(|call| call.operation == "ExecuteChangeSet" && call.code.is_none()).count()
    }
}

fn rows(plan: &Value, act: &str) -> Vec<String> {
    let rows = plan["changes"].as_array().unwrap().iter().filter(|row| row["act"] == act);
    rows.map(|row| row["resource"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_stack_is_planned_made_changed_and_deleted() {
    let world = World::new();
    let first = format!("app={}", image(1));
    // Looking leaves nothing: no stack, no change set.
    let plan = world.json(&["stack", "plan", "dev", "--image", &first], 2);
    assert_eq!((plan["exists"].as_bool(), plan["stack"].as_str()), (Some(false), Some("shop-dev")));
    let new = rows(&plan, "add");
    assert!(new.contains(&"WebService".to_owned()) && new.contains(&"Vpc".to_owned()), "{plan}");
    eventually("nothing left of it", Duration::from_secs(10), || match world.stack("shop-dev") {
        None => Ok(()),
        Some(stack) => Err(stack.to_string()),
    });
    world.ends(&["stack", "show", "dev"], 66, &["there is no stack shop-dev", "landfall stack apply dev"]);
    world.ends(&["stack", "apply", "dev"], 64, &["no image for web/app, and the stack has none yet", "--release"]);

    let told = world.apply("dev", 1, 0, &["stack shop-dev (new)", "made      WebService", "stack shop-dev is up"]);
    assert!(!told.contains("termination"), "{told}");
    assert_eq!(world.status("shop-dev"), "CREATE_COMPLETE");
    assert_eq!(world.stack("shop-dev").unwrap()["Tags"], json!([{"Key": "landfall", "Value": "shop@dev"}]));

    let calls = world.aws.fake.calls();
    let called = calls.iter().filter(|call| call.service == "cloudformation").map(|call| call.operation.as_str());
    for operation in called.filter(|operation| *operation != "DeleteStack") {
        let action = format!("cloudformation:{operation}");
        assert!(landfall_iam::APPLIES.contains(&action.as_str()), "the export's jobs may not {action}");
    }

    // Images that are not given stay: nothing to change.
    let plan = world.json(&["stack", "plan", "dev"], 0);
    assert_eq!(plan["different"], false);
    assert_eq!(world.ends(&["stack", "plan", "dev"], 0, &[]).0, "stack shop-dev\nnothing to change\n");
    world.ends(&["stack", "apply", "dev"], 0, &["nothing to change"]);
    assert_eq!(world.change_sets("shop-dev"), 0);

    // A release is a new revision, and no replacement that anybody is asked for.
    let executed = world.executed();
    let second = format!("web/app={}", image(2));
    let plan = world.json(&["stack", "plan", "dev", "--image", &second], 2);
    assert_eq!(
        (rows(&plan, "revise"), rows(&plan, "change")),
        (vec!["WebTaskDefinition".into()], vec!["WebService".into()])
    );
    assert_eq!(plan["images"][0]["to"], image(2));
    assert_eq!((world.change_sets("shop-dev"), world.executed()), (0, executed));
    // `deploy` is the same; what it has for services means nothing here.
    world.ends(&["deploy", "dev", "--image", &second, "--service", "web"], 64, &["--service means nothing here"]);
    world.ends(&["deploy", "dev", "--image", &second], 0, &["~ revise", "stack shop-dev is up"]);
    let parameters = &world.stack("shop-dev").unwrap()["Parameters"];
    assert_eq!(parameters[0]["ParameterValue"], image(2));

    let shown = world.json_of(&["stack", "show", "dev"]);
    assert_eq!((shown["status"].as_str(), shown["ours"].as_bool()), (Some("UPDATE_COMPLETE"), Some(true)));
    assert!(shown["outputs"]["Url"].as_str().unwrap().starts_with("http://"), "{shown}");

    world.ends(&["stack", "destroy", "dev"], 77, &["with --yes stack shop-dev and its", "nothing was done"]);
    world.ends(&["stack", "destroy", "dev", "--yes"], 0, &["stack shop-dev is deleted"]);
    assert_eq!(world.status("shop-dev"), "none");
    world.ends(&["stack", "destroy", "dev", "--yes"], 0, &["there is no stack shop-dev"]);
}

impl World {
    #[track_caller]
    fn json_of(&self, arguments: &[&str]) -> Value {
        let (stdout, _) = self.ends(&[arguments, &["--output", "json"]].concat(), 0, &[]);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }
}

#[test]
fn what_is_replaced_or_deleted_is_asked_for() {
    let world = World::new();
    world.apply("dev", 1, 0, &[]);
    world.manifest("    schedules: { nightly: { service: web, cron: \"0 1 * * *\" } }\n");
    world.ends(&["stack", "apply", "dev"], 0, &["+ add", "NightlySchedule"]);
    let executed = world.executed();
    // Another block of addresses is another VPC; and the schedule goes.
    world.manifest("");
    let text = std::fs::read_to_string(world.aws.path().join("landfall.yml")).unwrap();
    world.aws.write("landfall.yml", &text.replacen("nat: none", "nat: none, cidr: 10.9.0.0/16", 1));
    let plan = world.json(&["stack", "plan", "dev"], 2);
    assert!(rows(&plan, "replace").contains(&"Vpc".to_owned()), "{plan}");
    assert!(rows(&plan, "delete").contains(&"NightlySchedule".to_owned()), "{plan}");
    let shown = world.run(&["stack", "plan", "dev", "--color", "always"]);
    let shown = text_of(&shown);
    let red = shown.lines().filter(|line| line.contains("\u{1b}[31m")).count();
    let hurts = rows(&plan, "replace").len() + rows(&plan, "delete").len();
    assert_eq!(red, hurts, "{shown}");

    let refused = ["and here is nobody to ask", "--allow-replacement --allow-deletion"];
    world.ends(&["stack", "apply", "dev"], 77, &refused);
    world.ends(&["stack", "apply", "dev", "--allow-replacement"], 77, &["add --allow-deletion"]);
    world.ends(&["deploy", "dev", "--allow-deletion"], 77, &["add --allow-replacement"]);
    assert_eq!((world.executed(), world.change_sets("shop-dev")), (executed, 0));
    world.ends(&["stack", "apply", "dev", "--allow-replacement", "--allow-deletion"], 0, &["is up"]);
}

fn text_of(output: &Output) -> String {
    text(&output.stdout)
}

#[test]
fn a_failure_is_told_by_its_root_cause_and_never_as_success() {
    let world = World::new();
    // The first creation: nothing is left but a stack that must go.
    world.script("shop-dev", &json!({"fail": {"WebService": BREAKER}}));
    let told = world.apply(
        "dev",
        1,
        3,
        &["WebService (AWS::ECS::Service): Error occurred", "was rolled back: nothing is left"],
    );
    assert!(!told.contains("RequestToken") && !told.contains("is up"), "{told}");
    assert_eq!(world.status("shop-dev"), "ROLLBACK_COMPLETE");
    world.apply("dev", 1, 73, &["could not be made, and cannot be changed", "landfall stack recover dev"]);
    world.ends(&["stack", "plan", "dev", "--image", "app=x"], 73, &["landfall stack recover dev"]);
    world.ends(&["stack", "recover", "dev"], 77, &["all that can be done with it is to delete it", "with --yes"]);
    world.ends(&["stack", "recover", "dev", "--yes"], 0, &["is deleted: `landfall stack apply dev` makes it anew"]);
    world.script("shop-dev", &json!({}));
    world.apply("dev", 1, 0, &[]);

    // A change: what ran before runs again.
    world.script("shop-dev", &json!({"fail": {"WebService": BREAKER}}));
    world.apply("dev", 2, 3, &["WebService (AWS::ECS::Service): Error occurred", "what ran before runs again"]);
    let parameters = &world.stack("shop-dev").unwrap()["Parameters"];
    assert_eq!(parameters[0]["ParameterValue"], image(1));
    world.ends(&["stack", "recover", "dev"], 0, &["its last change was rolled back"]);
    let given = format!("app={}", image(2));
    let ended = world.json(&["stack", "apply", "dev", "--image", &given], 3);
    assert_eq!(
        (ended["outcome"].as_str(), ended["root"]["resource"].as_str()),
        (Some("rolled_back"), Some("WebService"))
    );

    // A rollback that fails too, and the ways out of it.
    let stuck = json!({"fail": {"WebService": BREAKER}, "rollback_fails": {"WebService": "cluster is gone"}});
    world.script("shop-dev", &stuck);
    world.apply("dev", 2, 4, &["in the way: WebService", "cluster is gone", "and so did its rollback"]);
    world.apply("dev", 1, 73, &["is stuck: a change failed, and so did its rollback"]);
    world.ends(&["stack", "recover", "dev", "--yes"], 4, &["WebService", "cluster is gone", "still stuck"]);
    world.ends(&["stack", "recover", "dev", "--yes", "--retain", "Vpc"], 64, &["--retain is for a deletion"]);
    world.ends(&["stack", "recover", "dev", "--yes", "--skip", "WebService"], 0, &["well again"]);
    world.script("shop-dev", &json!({}));
    world.apply("dev", 2, 0, &["is up"]);

    // What CloudFormation refuses at once.
    world
        .script("shop-dev", &json!({"refuse": "Template error: instance of Fn::GetAtt references undefined resource"}));
    world.apply("dev", 3, 1, &["refuses the template", "undefined resource", "nothing was deployed"]);
    assert_eq!(world.change_sets("shop-dev"), 0);
}

const BREAKER: &str = "Resource handler returned message: \"Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'.\" \
                       (RequestToken: 0a, HandlerErrorCode: GeneralServiceException)";

/// The service of `shop-dev`, whose tasks end as soon as they have begun.
struct Crashing<'a>(&'a World);

impl<'a> Crashing<'a> {
    const ARN: &'static str = "arn:aws:ecs:us-east-1:123456789012:service/shop-dev/shop-dev-web";

    fn new(world: &'a World) -> Self {
        let one = Self(world);
        one.ecs("CreateCluster", json!({"clusterName": "shop-dev"}));
        world.aws.fake.call("logs", "CreateLogGroup", json!({"logGroupName": "/ecs/shop-dev-web"})).unwrap();
        let exits = json!({"image": "bad", "exits": 3, "exits_after": 10, "logs": ["booting", "no DATABASE_URL"]});
        world.aws.fake.script("POST", "images", &exits).unwrap();
        let options = json!({"awslogs-group": "/ecs/shop-dev-web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "web"});
        let app = json!({
            "name": "app", "image": "bad", "essential": true, "memory": 64,
            "logConfiguration": {"logDriver": "awslogs", "options": options}
        });
        one.ecs("RegisterTaskDefinition", json!({"family": "shop-dev-web", "containerDefinitions": [app]}));
        one
    }

    fn ecs(&self, operation: &str, input: Value) {
        self.0.aws.fake.call("ecs", operation, input).unwrap();
    }

    /// Once the stack is in that state.
    fn comes_when(&self, status: &str) {
        eventually(status, Duration::from_secs(20), || match self.0.status("shop-dev").as_str() {
            found if found == status => Ok(()),
            other => Err(other.to_owned()),
        });
        let create = json!({"cluster": "shop-dev", "serviceName": "shop-dev-web", "taskDefinition": "shop-dev-web", "desiredCount": 1});
        self.ecs("CreateService", create);
    }
}

/// CloudFormation says that the service did not come up; ECS knows why, for as long as the service is there.
#[test]
fn a_service_that_did_not_come_up_is_told_by_its_tasks() {
    let world = World::new();
    let service = Crashing::new(&world);
    let script = json!({"fail": {"WebService": BREAKER}, "physical": {"WebService": Crashing::ARN}, "step_ms": 10_000});
    world.script("shop-dev", &script);
    let given = format!("app={}", image(1));
    let mut command = world.aws.landfall(&["stack", "apply", "dev", "--image", &given, "--output", "json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    service.comes_when("CREATE_IN_PROGRESS");
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let expected = [
        "error: WebService (AWS::ECS::Service): Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'.",
        "because: Essential container in task exited (app, exit code 3)",
        "because: app: exit code 3",
        "because: app | no DATABASE_URL",
    ];
    for line in expected {
        assert!(said.contains(line), "{line}: {said}");
    }
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let behind = &told["root"]["behind"]["service"];
    assert_eq!(behind["why"], "Essential container in task exited (app, exit code 3)", "{told}");
    assert_eq!(behind["lines"], json!(["app: exit code 3", "app | booting", "app | no DATABASE_URL"]), "{told}");
    // The service is there in ECS still: what could not be made is explained also afterwards.
    let (_, said) = world.ends(&["stack", "recover", "dev"], 77, &["all that can be done with it is to delete it"]);
    assert!(said.contains("WebService (AWS::ECS::Service"), "{said}");
    assert!(said.contains("because: app | no DATABASE_URL"), "{said}");
}

/// What a stack waits for, and what stands in the way of its rollback, `recover` explains as `apply` does, before anything is done.
#[test]
fn a_stuck_service_is_told_by_its_tasks_before_anything_is_done() {
    let world = World::new();
    let service = Crashing::new(&world);
    world.script("shop-dev", &json!({"physical": {"WebService": Crashing::ARN}}));
    world.apply("dev", 1, 0, &[]);
    let script = json!({
        "fail": {"WebService": BREAKER}, "rollback_fails": {"WebService": "the service does not become stable"}, "step_ms": 60_000
    });
    world.script("shop-dev", &script);
    // A real minute.
    world.aws.fake.set_scale(1.0);
    let given = format!("app={}", image(2));
    let mut command = world.aws.landfall(&["stack", "apply", "dev", "--image", &given]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    service.comes_when("UPDATE_IN_PROGRESS");
    // Its task definition is done at once, and the service is under way for a minute.
    world.aws.fake.advance(60_000);
    let why = "because: Essential container in task exited (app, exit code 3)";
    eventually("it says why it waits", Duration::from_secs(30), || {
        let output = world.run(&["stack", "recover", "dev"]);
        let said = text(&output.stderr);
        (said.contains("waits for") && said.contains("WebService (AWS::ECS::Service") && said.contains(why))
            .then_some(())
            .ok_or(said)
    });
    world.aws.fake.advance(240_000);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let executed = world.executed();
    let says =
        ["could not be rolled back because of", "the service does not become stable", why, "app | no DATABASE_URL"];
    world.ends(&["stack", "recover", "dev"], 77, &says);
    let told = world.json(&["stack", "recover", "dev"], 77);
    let blocker = &told["blocking"][0];
    assert_eq!((&told["way"], &blocker["resource"]), (&json!("continue_rollback"), &json!("WebService")), "{told}");
    let lines = json!(["app: exit code 3", "app | booting", "app | no DATABASE_URL"]);
    assert_eq!(blocker["behind"]["service"]["lines"], lines, "{told}");
    assert_eq!((world.status("shop-dev").as_str(), world.executed()), ("UPDATE_ROLLBACK_FAILED", executed));
}

#[test]
fn a_deletion_that_fails_says_what_is_in_the_way_and_who_imports() {
    let world = World::new();
    world.apply("dev", 1, 0, &[]);
    world.script("shop-dev", &json!({"delete_fails": {"Vpc": "The vpc has dependencies and cannot be deleted."}}));
    world.ends(&["stack", "destroy", "dev", "--yes"], 1, &["in the way: Vpc", "has dependencies", "stack recover dev"]);
    assert_eq!(world.status("shop-dev"), "DELETE_FAILED");
    world.apply("dev", 1, 73, &["could not be deleted, and cannot be changed"]);
    world.ends(&["stack", "recover", "dev", "--yes"], 1, &["Vpc", "has dependencies", "still stuck"]);
    world.ends(&["stack", "recover", "dev", "--yes", "--skip", "Vpc"], 64, &["--skip is for a rollback"]);
    world.ends(&["stack", "recover", "dev", "--yes", "--retain", "Vpc"], 0, &["is deleted"]);
    assert_eq!(world.status("shop-dev"), "none");
}

#[test]
fn what_is_locked_stays_as_it_is() {
    let world = World::new();
    world.apply("dev", 1, 0, &[]);
    let executed = world.executed();
    world.ends(&["lock", "dev", "--reason", "the sale is on"], 0, &[]);
    let given = format!("app={}", image(2));
    for command in [&["stack", "apply", "dev", "--image", &given][..], &["deploy", "dev", "--image", &given]] {
        let (_, told) = world.ends(command, 76, &[]);
        assert!(told.contains("the sale is on") && told.contains("landfall unlock dev"), "{told}");
    }
    world.ends(&["stack", "destroy", "dev", "--yes"], 76, &[]);
    assert_eq!((world.executed(), world.status("shop-dev")), (executed, "CREATE_COMPLETE".to_owned()));
    world.ends(&["unlock", "dev"], 0, &[]);
    world.apply("dev", 2, 0, &[]);
}

#[test]
fn production_is_protected_from_deletion() {
    let world = World::new();
    world.apply("prod", 1, 0, &["termination protection off → on", "termination protection is on"]);
    assert_eq!(world.stack("shop-prod").unwrap()["EnableTerminationProtection"], true);
    world.ends(
        &["stack", "destroy", "prod", "--yes"],
        77,
        &["is protected from deletion", "termination_protection: false"],
    );
    assert_eq!(world.json(&["stack", "plan", "prod"], 0)["different"], false);
    let text = std::fs::read_to_string(world.aws.path().join("landfall.yml")).unwrap();
    let (head, tail) = text.rsplit_once("nat: none } }").unwrap();
    world.aws.write("landfall.yml", &format!("{head}nat: none }} }}, termination_protection: false{tail}"));
    assert_eq!(world.json(&["stack", "plan", "prod"], 2)["termination_protection"], false);
    world.ends(&["stack", "apply", "prod"], 0, &["termination protection on → off"]);
    world.ends(&["stack", "destroy", "prod", "--yes"], 0, &["stack shop-prod is deleted"]);
}

/// The template alone is no proof: whose a stack is, is said by its tag.
#[test]
fn a_stack_that_is_not_ours_is_never_touched() {
    let world = World::new();
    let template = json!({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}).to_string();
    let foreign = json!({"StackName": "shop-dev", "TemplateBody": template});
    world.call("CreateStack", foreign);
    world.aws.fake.settle(60_000);
    world.aws.fake.clear_calls();
    let said =
        ["stack shop-dev was not made by Landfall for shop@dev: it is not touched", "the tag `landfall` = `shop@dev`"];
    world.apply("dev", 1, 73, &said);
    for command in ["plan", "recover", "drift"] {
        world.ends(&["stack", command, "dev"], 73, &said[..1]);
    }
    world.ends(&["stack", "destroy", "dev", "--yes"], 73, &said[..1]);
    world.ends(&["deploy", "dev"], 73, &said[..1]);
    assert_eq!(world.json_of(&["stack", "show", "dev"])["ours"], false);
    let writes = ["Create", "Delete", "Execute", "Update", "Continue"];
    let calls = world.aws.fake.calls();
    let written: Vec<&str> = calls
        .iter()
        .map(|call| call.operation.as_str())
        .filter(|name| writes.iter().any(|verb| name.starts_with(verb)))
        .collect();
    assert_eq!(written, Vec::<&str>::new());
    assert_eq!(world.status("shop-dev"), "CREATE_COMPLETE");
}

#[test]
fn a_parameter_that_somebody_else_set_is_not_kept_silently() {
    let world = World::new();
    world.apply("dev", 1, 0, &[]);
    let parameters = json!([{"ParameterKey": "WebAppImage", "ParameterValue": image(9)}]);
    let update = json!({"StackName": "shop-dev", "UsePreviousTemplate": "true", "Parameters": parameters, "Capabilities": ["CAPABILITY_IAM"]});
    world.call("UpdateStack", update);
    world.aws.fake.settle(60_000);
    let executed = world.executed();
    let said = ["somebody set parameters of the stack past Landfall: WebAppImage was", "nothing was deployed"];
    world.ends(&["stack", "plan", "dev"], 73, &said);
    world.ends(&["stack", "apply", "dev"], 73, &said);
    assert_eq!(world.executed(), executed);
    assert_eq!(world.json_of(&["stack", "show", "dev"])["overwritten"][0]["found"], image(9));
    // Whoever says which image it shall be has decided.
    world.apply("dev", 1, 0, &["somebody set WebAppImage to", "is up"]);
    assert_eq!(world.json(&["stack", "plan", "dev"], 0)["different"], false);
}

/// Killed while CloudFormation works, and called again: one change, followed to its end.
#[test]
fn an_apply_that_was_killed_is_followed_by_the_next() {
    let world = World::new();
    world.script("shop-dev", &json!({"step_ms": 60_000}));
    let given = format!("app={}", image(1));
    let arguments = ["stack", "apply", "dev", "--image", &given];
    let mut child = world.aws.landfall(&arguments).stderr(Stdio::null()).spawn().unwrap();
    eventually("it is under way", Duration::from_secs(20), || match world.status("shop-dev").as_str() {
        "CREATE_IN_PROGRESS" => Ok(()),
        other => Err(other.to_owned()),
    });
    child.kill().unwrap();
    child.wait().unwrap();
    // Whoever gives up waiting, or stops it by Ctrl-C, stops nothing.
    let told = world.ends(&["stack", "apply", "dev", "--image", &given, "--timeout", "0"], 8, &["it goes on"]).1;
    assert!(told.contains("is being created already"), "{told}");
    let mut child = world.aws.landfall(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = heard(&mut stderr, "made ");
    signal(child.id(), "INT");
    stderr.read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("CloudFormation goes on with stack shop-dev"), "{said}");
    world.ends(&["stack", "recover", "dev"], 0, &["waits for", "IN_PROGRESS"]);
    let mut command = world.aws.landfall(&arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = heard(&mut stderr, "made ");
    assert!(said.contains("following that"), "{said}");
    // What is left of it comes at once.
    world.aws.fake.advance(7_200_000);
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("made      WebService") && said.contains("nothing to change"), "{said}");
    assert_eq!(world.executed(), 1);
}

/// Both show their plan; the first to execute wins, and with it the other's change set is gone.
#[test]
fn of_two_applies_at_once_one_is_told_that_the_other_was_first() {
    let world = World::new();
    world.apply("dev", 1, 0, &[]);
    world.script("shop-dev", &json!({"step_ms": 1000}));
    let children: Vec<_> = [2, 3]
        .map(|digit| {
            let given = format!("app={}", image(digit));
            let mut command = world.aws.landfall(&["stack", "apply", "dev", "--image", &given]);
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        })
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let codes: Vec<Option<i32>> = children.iter().map(|output| output.status.code()).collect();
    let said: Vec<String> = children.iter().map(|output| text(&output.stderr)).collect();
    // Whoever came so late that the other was under way has followed it, and then made its own change.
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 73))) && codes.contains(&Some(0)), "{codes:?} {said:?}");
    for (code, said) in codes.iter().zip(&said) {
        if *code == Some(73) {
            assert!(
                said.contains("somebody else has changed the stack since") || said.contains("is being changed"),
                "{said}"
            );
        }
    }
    let done = codes.iter().filter(|code| **code == Some(0)).count();
    assert_eq!(world.executed() - 1, done, "{said:?}");
}

#[test]
fn drift_is_what_cloudformation_finds() {
    let world = World::new();
    world.ends(&["stack", "drift", "dev"], 66, &["there is no stack shop-dev"]);
    world.apply("dev", 1, 0, &[]);
    assert_eq!(world.json(&["stack", "drift", "dev"], 0)["different"], false);
    world.script("shop-dev", &json!({"drifted": [["WebService", "/DesiredCount", "1", "5"]]}));
    let found = world.json(&["stack", "drift", "dev"], 2);
    assert_eq!(found["resources"][0]["differences"][0]["actual"], "5");
    let (stdout, _) = world.ends(&["drift", "dev"], 2, &[]);
    assert!(stdout.contains("WebService (AWS::ECS::Service") && stdout.contains("/DesiredCount  1 → 5"), "{stdout}");
}

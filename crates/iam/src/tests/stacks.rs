//! Environments that are stacks.

use landfall_model::pipeline::{TaskWork, Work};
use serde_json::{Value, json};

use super::{app, ask, find, pipeline, sids, stack, stage, takes};
use crate::{Ask, least};

/// What CloudFormation changes Landfall does not; it looks, runs tasks, and asks CloudFormation for this one stack.
#[test]
fn a_stack_needs_its_own_and_no_right_to_change_services() {
    let app = app(|app| app["environments"]["prod"]["stack"] = stack());
    let least = least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap();
    let actions: Vec<&String> = least.policy.statement.iter().flat_map(|one| &one.action).collect();
    let changes = |name: &&&String| {
        ["ecs:CreateService", "ecs:UpdateService", "ecs:RegisterTaskDefinition"].contains(&name.as_str())
            || name.starts_with("elasticloadbalancing:")
    };
    assert_eq!(actions.iter().find(changes), None);
    let change = least.policy.statement.iter().find(|one| one.sid == "ChangeStack").unwrap();
    assert_eq!(change.resource.len(), 1);
    assert!(change.resource[0].ends_with("-prod/*") && change.resource[0].contains(":cloudformation:"), "{change:?}");
    let pass = least.policy.statement.iter().find(|one| one.sid == "GiveCloudFormationItsRole").unwrap();
    assert_eq!(pass.condition["StringEquals"]["iam:PassedToService"], ["cloudformation.amazonaws.com"]);
    for (sid, name) in
        [("ChangeStack", "DetectStackResourceDrift"), ("SeeImportsAndDrift", "BatchDescribeTypeConfigurations")]
    {
        assert!(find(&least, sid).action.contains(&format!("cloudformation:{name}")), "drift takes {name}");
    }
}

/// `landfall verify` looks for the load balancer of a stack that has no name of its own.
#[test]
fn where_a_stack_is_reached_is_looked_for_where_no_name_leads_to_it() {
    let looks = |routing: Value, checks: bool| {
        let app = app(|app| {
            app["environments"]["prod"]["stack"] = stack();
            app["environments"]["prod"]["routing"] = routing;
        });
        let least = least(&Ask { environment: Some("prod"), checks, ..ask(&app) }).unwrap();
        let all = least.policy.statement.into_iter().flat_map(|one| one.action);
        let calls = ["DescribeListeners", "DescribeLoadBalancers", "DescribeTargetGroups"];
        all.filter(|name| calls.iter().any(|call| name.ends_with(call))).count()
    };
    let host = json!({"host": {"host": "shop.example.com", "port": 443}});
    assert_eq!([looks(Value::Null, true), looks(host, true), looks(Value::Null, false)], [3, 0, 0]);
}

/// They run the release's images, which no task definition of the stack's has yet.
#[test]
fn tasks_of_a_stack_s_pipeline_register_what_they_run() {
    let mut app = app(|app| app["environments"]["prod"]["stack"] = stack());
    let plain = least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap();
    let (container, command) = (None, vec!["migrate".to_owned()]);
    let task = TaskWork { service: "web".to_owned(), container, command, timeout: 60 };
    pipeline(&mut app, vec![stage("prod", vec![Work::Task(task), Work::Deploy {}])]);
    let found = least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap();
    let added: Vec<&str> = sids(&found).into_iter().filter(|sid| !sids(&plain).contains(sid)).collect();
    assert_eq!(added, ["RegisterTaskDefinitions", "TagTaskDefinitions"]);
    let families = &find(&found, "RegisterTaskDefinitions").resource;
    assert!(families.iter().all(|family| family.contains(":task-definition/shop-prod-")), "{families:?}");
    found.policy.statement.iter().for_each(takes);
}

/// A long template is put where the manifest says, and CloudFormation reads it there with the same rights.
#[test]
fn long_templates_are_kept_under_the_stacks_own_name_only() {
    let of = |bucket: Value| {
        let app = app(|app| {
            app["environments"]["prod"]["stack"] = stack();
            app["environments"]["prod"]["stack"]["template_bucket"] = bucket;
        });
        least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap()
    };
    let keeps = of(json!("acme-artifacts/landfall"));
    let statement = find(&keeps, "KeepTemplates");
    assert_eq!(statement.action, ["s3:GetObject", "s3:PutObject"]);
    let name = landfall_model::stack::stack_name(&app(|_| {}).project, "prod");
    assert_eq!(statement.resource, [format!("arn:aws:s3:::acme-artifacts/landfall/templates/{name}/*")]);
    assert!(!sids(&of(Value::Null)).contains(&"KeepTemplates"));
}

/// Where the target names no log group, the stack has one for each service.
#[test]
fn the_logs_of_a_stack_are_read() {
    let app = app(|app| {
        app["environments"]["prod"]["stack"] = stack();
        for target in app["aws"].as_object_mut().unwrap().values_mut() {
            target["log_group"] = Value::Null;
        }
    });
    let least = least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap();
    let groups = &find(&least, "ReadLogs").resource;
    assert!(!groups.is_empty() && groups.iter().all(|group| group.contains(":log-group:/ecs/")), "{groups:?}");
}

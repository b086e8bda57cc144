//! Instances that stacks make, and tasks on them.

use landfall_awsfake::{InstanceRule, Instances, Rules};
use serde_json::{Value, json};

use crate::world::{Aws, SECOND, word};

const AGENT: &str = "#!/bin/bash\ncat >>/etc/ecs/ecs.config <<'CONFIG'\nECS_CLUSTER=c\nECS_INSTANCE_ATTRIBUTES={\"landfall.version\":\"one\"}\nCONFIG\n";

/// A world with a group of so many instances.
pub(crate) fn with_instances(count: u64, broken: Vec<InstanceRule>) -> Aws {
    let instances = Instances { registers: 30 * SECOND, stacks: broken, ..Instances::default() };
    let mut aws = Aws::new(Rules { instances: Some(instances), ..Rules::default() });
    let launch = json!({"LaunchTemplateData": {"UserData": {"Fn::Base64": AGENT}}});
    let group = json!({
        "MinSize": {"Ref": "Min"}, "MaxSize": "9",
        "LaunchTemplate": {"LaunchTemplateId": {"Ref": "Launch"}, "Version": "1"},
    });
    let template = json!({
        "Parameters": {"Min": {"Type": "Number"}},
        "Resources": {
            "Launch": {"Type": "AWS::EC2::LaunchTemplate", "Properties": launch},
            "Main": {"Type": "AWS::AutoScaling::AutoScalingGroup", "Properties": group},
        },
    });
    let min = json!([{"ParameterKey": "Min", "ParameterValue": count.to_string()}]);
    let input = json!({"StackName": "fleet", "TemplateBody": template.to_string(), "Parameters": min});
    aws.attempt("cloudformation", "CreateStack", &input).unwrap();
    aws.pass(SECOND);
    aws
}

fn registered(aws: &mut Aws, status: &str) -> Vec<Value> {
    let listed = aws.ecs("ListContainerInstances", json!({"cluster": "c", "status": status}));
    let arns = listed["containerInstanceArns"].clone();
    if arns == json!([]) {
        return Vec::new();
    }
    let told = aws.ecs("DescribeContainerInstances", json!({"cluster": "c", "containerInstances": arns}));
    told["containerInstances"].as_array().unwrap().clone()
}

fn serve(aws: &mut Aws, count: u64) {
    let container = json!({"name": "app", "image": "good", "memory": 1_000, "cpu": 256});
    aws.ecs("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
    aws.ecs("CreateService", json!({"cluster": "c", "serviceName": "web", "taskDefinition": "web", "desiredCount": count, "launchType": "EC2"}));
}

#[test]
fn instances_register_after_a_while_and_tasks_wait_for_room() {
    let mut aws = with_instances(1, Vec::new());
    assert_eq!(registered(&mut aws, "ACTIVE"), Vec::<Value>::new());
    serve(&mut aws, 4);
    aws.pass(10 * SECOND);
    assert_eq!(aws.service("web")["runningCount"], 0);
    assert!(
        aws.events("web").iter().any(|event| event.contains("was unable to place a task")),
        "{:?}",
        aws.events("web")
    );
    aws.pass(60 * SECOND);
    // 3,800 MiB have room for three.
    assert_eq!(aws.service("web")["runningCount"], 3);
    let one = registered(&mut aws, "ACTIVE").remove(0);
    assert_eq!(
        (&one["attributes"][0], &one["runningTasksCount"]),
        (&json!({"name": "landfall.version", "value": "one"}), &json!(3))
    );
    let pinned =
        |value: &str| json!([{"type": "memberOf", "expression": format!("attribute:landfall.version == {value}")}]);
    let run = |value: &str| json!({"cluster": "c", "taskDefinition": "web", "launchType": "EC2", "placementConstraints": pinned(value)});
    let why = aws.ecs("RunTask", run("two"))["failures"][0]["reason"].clone();
    assert_eq!(why, "MemberOf placement constraint unsatisfied.");
    assert_eq!(aws.ecs("RunTask", run("one"))["failures"][0]["reason"], "RESOURCE:MEMORY");
}

#[test]
fn what_drains_is_moved_first_and_what_is_terminated_is_killed() {
    let mut aws = with_instances(2, Vec::new());
    aws.pass(60 * SECOND);
    serve(&mut aws, 2);
    aws.pass(10 * SECOND);
    let all = registered(&mut aws, "ACTIVE");
    assert!(all.iter().all(|one| one["runningTasksCount"] == 1), "one each: {all:?}");
    let first = word(&all[0]["containerInstanceArn"]).to_owned();
    aws.ecs(
        "UpdateContainerInstancesState",
        json!({"cluster": "c", "containerInstances": [first], "status": "DRAINING"}),
    );
    for _ in 0..100 {
        aws.pass(SECOND / 20);
        let running = aws.service("web")["runningCount"].as_u64().unwrap();
        assert!(running >= 2, "{running}");
    }
    assert_eq!(registered(&mut aws, "DRAINING")[0]["runningTasksCount"], 0);
    assert_eq!(registered(&mut aws, "ACTIVE")[0]["runningTasksCount"], 2);
    let tasks = aws.ecs("ListTasks", json!({"cluster": "c"}))["taskArns"].clone();
    aws.attempt("cloudformation", "DeleteStack", &json!({"StackName": "fleet"})).unwrap();
    aws.pass(SECOND);
    assert_eq!(registered(&mut aws, "ACTIVE"), Vec::<Value>::new());
    let told = aws.ecs("DescribeTasks", json!({"cluster": "c", "tasks": tasks}));
    for task in told["tasks"].as_array().unwrap() {
        assert_eq!(task["lastStatus"], "STOPPED", "{task}");
        assert!(word(&task["stoppedReason"]).starts_with("Host EC2 (instance i-"), "{task}");
    }
}

#[test]
fn launches_that_fail_are_told_and_a_cluster_with_instances_stays() {
    let rule =
        InstanceRule { stack: "fleet".to_owned(), refused: Some("no capacity".to_owned()), ..InstanceRule::default() };
    let mut aws = with_instances(2, vec![rule]);
    aws.pass(60 * SECOND);
    let groups = aws.attempt("autoscaling", "DescribeAutoScalingGroups", &json!({})).unwrap();
    let group = &groups["AutoScalingGroups"][0];
    assert_eq!((&group["DesiredCapacity"], &group["Instances"]), (&json!(2), &json!([])));
    let name = json!({"AutoScalingGroupName": group["AutoScalingGroupName"]});
    let told = aws.attempt("autoscaling", "DescribeScalingActivities", &name).unwrap();
    let newest = &told["Activities"][0];
    assert_eq!((&newest["StatusCode"], &newest["StatusMessage"]), (&json!("Failed"), &json!("no capacity")));

    let mut aws = with_instances(1, Vec::new());
    aws.pass(60 * SECOND);
    let refused = aws.attempt("ecs", "DeleteCluster", &json!({"cluster": "c"})).unwrap_err();
    assert_eq!(refused, "ClusterContainsContainerInstancesException");
}

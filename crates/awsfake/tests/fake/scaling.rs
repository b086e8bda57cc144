//! Auto Scaling groups that are told how large they are to be.

use landfall_awsfake::InstanceRule;
use serde_json::{Value, json};

use crate::instances::with_instances;
use crate::world::{Aws, SECOND, word};

fn group(aws: &mut Aws) -> Value {
    let told = aws.attempt("autoscaling", "DescribeAutoScalingGroups", &json!({})).unwrap();
    told["AutoScalingGroups"][0].clone()
}

fn ask(aws: &mut Aws, operation: &str, input: Value) -> Result<Value, String> {
    let mut all = json!({"AutoScalingGroupName": group(aws)["AutoScalingGroupName"]});
    all.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
    aws.attempt("autoscaling", operation, &all)
}

/// How many there are to be, and how many there are.
fn size(aws: &mut Aws) -> (u64, usize) {
    let group = group(aws);
    (group["DesiredCapacity"].as_u64().unwrap(), group["Instances"].as_array().unwrap().len())
}

fn refused(aws: &mut Aws) -> Vec<String> {
    let told = ask(aws, "DescribeScalingActivities", json!({})).unwrap();
    let failed = |one: &&Value| one["StatusCode"] == "Failed";
    let all = told["Activities"].as_array().unwrap().iter();
    all.filter(failed).map(|one| word(&one["StatusMessage"]).to_owned()).collect()
}

#[test]
fn a_group_has_as_many_as_it_is_told_within_its_bounds() {
    let mut aws = with_instances(1, Vec::new());
    assert_eq!(ask(&mut aws, "SetDesiredCapacity", json!({"DesiredCapacity": "3"})), Ok(json!({})));
    assert_eq!(size(&mut aws), (3, 3));
    for beyond in ["0", "10"] {
        let told = ask(&mut aws, "SetDesiredCapacity", json!({"DesiredCapacity": beyond}));
        assert_eq!(told, Err("ValidationError".to_owned()), "{beyond}");
    }
    let ids = |aws: &mut Aws| {
        let all = group(aws)["Instances"].as_array().unwrap().clone();
        all.iter().map(|one| word(&one["InstanceId"]).to_owned()).collect::<Vec<_>>()
    };
    let before = ids(&mut aws);
    let end = |id: &str, fewer: bool| json!({"InstanceId": id, "ShouldDecrementDesiredCapacity": fewer});
    let terminate = "TerminateInstanceInAutoScalingGroup";
    // Another one takes its place.
    ask(&mut aws, terminate, end(&before[0], false)).unwrap();
    assert_eq!((size(&mut aws), ids(&mut aws).contains(&before[0])), ((3, 3), false));
    assert_eq!(ask(&mut aws, terminate, end(&before[0], true)), Err("ValidationError".to_owned()), "it is gone");
    ask(&mut aws, terminate, end(&before[1], true)).unwrap();
    ask(&mut aws, terminate, end(&before[2], true)).unwrap();
    assert_eq!(size(&mut aws), (1, 1));
    let last = ids(&mut aws).remove(0);
    assert_eq!(ask(&mut aws, terminate, end(&last, true)), Err("ValidationError".to_owned()), "there is a minimum");
    let launched = aws
        .attempt("ec2", "DescribeInstances", &json!({"Filter": [{"Name": "instance-id", "Value": [last, before[0]]}]}))
        .unwrap();
    let launched = launched["reservationSet"].as_array().unwrap();
    assert_eq!((launched.len(), &launched[0]["instancesSet"][0]["instanceId"]), (1, &json!(last)));
}

#[test]
fn what_is_terminated_is_there_for_a_while_and_takes_nothing() {
    let mut aws = with_instances(2, Vec::new());
    let mut rules = aws.world.rules().clone();
    rules.instances.as_mut().unwrap().ends = 30 * SECOND;
    aws.world.set_rules(rules);
    aws.pass(60 * SECOND);
    let id = group(&mut aws)["Instances"][0]["InstanceId"].clone();
    let end = json!({"InstanceId": id, "ShouldDecrementDesiredCapacity": false});
    ask(&mut aws, "TerminateInstanceInAutoScalingGroup", end.clone()).unwrap();
    let states = |aws: &mut Aws| {
        let all = group(aws)["Instances"].as_array().unwrap().clone();
        let mut states: Vec<String> = all.iter().map(|one| word(&one["LifecycleState"]).to_owned()).collect();
        states.sort();
        states
    };
    assert_eq!(states(&mut aws), ["InService", "InService", "Terminating"]);
    let again = ask(&mut aws, "TerminateInstanceInAutoScalingGroup", end);
    assert_eq!(again, Err("ValidationError".to_owned()));
    aws.pass(29 * SECOND);
    let listed = aws.ecs("ListContainerInstances", json!({"cluster": "c"}));
    let arns = listed["containerInstanceArns"].clone();
    let told = aws.ecs("DescribeContainerInstances", json!({"cluster": "c", "containerInstances": arns}));
    let connected = |one: &&Value| one["agentConnected"] == true;
    assert_eq!(told["containerInstances"].as_array().unwrap().iter().filter(connected).count(), 1, "{told}");
    aws.pass(SECOND);
    assert_eq!(states(&mut aws), ["InService", "InService"]);
}

#[test]
fn what_cannot_be_launched_is_tried_again_for_as_long_as_it_is_missing() {
    let mut aws = with_instances(1, Vec::new());
    aws.pass(60 * SECOND);
    let mut rules = aws.world.rules().clone();
    let why = "Could not launch Spot Instances.".to_owned();
    let rule = InstanceRule { group: "fleet-Main".to_owned(), refused: Some(why.clone()), ..InstanceRule::default() };
    let elsewhere = InstanceRule { group: "Other".to_owned(), refused: Some("no".to_owned()), ..rule.clone() };
    rules.instances.as_mut().unwrap().stacks = vec![rule, elsewhere];
    aws.world.set_rules(rules.clone());
    ask(&mut aws, "SetDesiredCapacity", json!({"DesiredCapacity": "3"})).unwrap();
    assert_eq!((size(&mut aws), refused(&mut aws)), ((3, 1), vec![why.clone()]));
    aws.pass(130 * SECOND);
    assert_eq!((size(&mut aws), refused(&mut aws)), ((3, 1), vec![why; 3]));
    rules.instances.as_mut().unwrap().stacks.clear();
    aws.world.set_rules(rules);
    aws.pass(60 * SECOND);
    assert_eq!(size(&mut aws), (3, 3));
    // Nothing is missing any more, and nothing is to come.
    assert_eq!((refused(&mut aws).len(), aws.world.next_event().is_some()), (3, true));
    aws.pass(60 * SECOND);
    assert_eq!(aws.world.next_event(), None);
}

#[test]
fn tags_and_suspended_processes_are_kept() {
    let mut aws = with_instances(1, Vec::new());
    let name = word(&group(&mut aws)["AutoScalingGroupName"]).to_owned();
    for value in ["1", "2"] {
        let tag = json!({"ResourceId": name, "ResourceType": "auto-scaling-group", "Key": "k", "Value": value, "PropagateAtLaunch": "false"});
        ask(&mut aws, "CreateOrUpdateTags", json!({"Tags": [tag]})).unwrap();
    }
    ask(&mut aws, "SuspendProcesses", json!({"ScalingProcesses": ["AZRebalance", "Launch"]})).unwrap();
    ask(&mut aws, "SetDesiredCapacity", json!({"DesiredCapacity": "2"})).unwrap();
    let told = group(&mut aws);
    assert_eq!((&told["Tags"][0]["Value"], told["Tags"].as_array().unwrap().len()), (&json!("2"), 1));
    let suspended = told["SuspendedProcesses"].as_array().unwrap().iter().map(|one| word(&one["ProcessName"]));
    assert_eq!(suspended.collect::<Vec<_>>(), ["AZRebalance", "Launch"]);
    assert_eq!((size(&mut aws), &told["AvailabilityZones"]), ((2, 1), &json!(["us-east-1a"])));
    ask(&mut aws, "ResumeProcesses", json!({"ScalingProcesses": ["Launch"]})).unwrap();
    assert_eq!(size(&mut aws), (2, 2));
    let unknown = ask(&mut aws, "SuspendProcesses", json!({"ScalingProcesses": ["Everything"]}));
    assert_eq!(unknown, Err("ValidationError".to_owned()));
    let none = json!({"LifecycleHookName": "drain", "InstanceId": "i-1", "LifecycleActionResult": "CONTINUE"});
    assert_eq!(ask(&mut aws, "CompleteLifecycleAction", none), Err("ValidationError".to_owned()));
}

#[test]
fn whose_spot_request_is_marked_is_told_and_metrics_are_kept() {
    let mut aws = with_instances(2, Vec::new());
    let marked = json!({"Filter": [{"Name": "status-code", "Value": ["marked-for-termination", "marked-for-stop"]}]});
    let told = |aws: &mut Aws| aws.attempt("ec2", "DescribeSpotInstanceRequests", &marked).unwrap();
    assert_eq!(told(&mut aws), json!({"spotInstanceRequestSet": []}));
    let one = group(&mut aws)["Instances"][1]["InstanceId"].clone();
    let mut rules = aws.world.rules().clone();
    rules.instances.as_mut().unwrap().interrupted = vec![word(&one).to_owned(), "i-gone".to_owned()];
    aws.world.set_rules(rules);
    let requests = told(&mut aws)["spotInstanceRequestSet"].as_array().unwrap().clone();
    assert_eq!((requests.len(), &requests[0]["instanceId"]), (1, &one));

    let data = json!([{"MetricName": "Room", "Value": "2.5", "Dimensions": [{"Name": "ClusterName", "Value": "c"}]}]);
    aws.attempt("monitoring", "PutMetricData", &json!({"Namespace": "AWS/ECS", "MetricData": data})).unwrap();
    let dump = aws.world.spaces().next().unwrap().dump();
    let kept = &dump["metrics"][0];
    assert_eq!((&kept["name"], &kept["value"], &kept["namespace"]), (&json!("Room"), &json!("2.5"), &json!("AWS/ECS")));
}

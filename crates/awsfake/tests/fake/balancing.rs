//! Load balancing: target health over time, names, limits, conflicts.

use landfall_awsfake::{ImageRule, Rules};
use serde_json::{Value, json};

use crate::world::{Aws, SECOND, behind, word};

fn balancer(aws: &mut Aws) -> Value {
    aws.elb("CreateLoadBalancer", json!({"Name": "lb", "Subnets": ["a", "b"]}))["LoadBalancers"][0]["LoadBalancerArn"]
        .clone()
}

fn group(aws: &mut Aws, name: &str) -> Value {
    let input = json!({"Name": name, "Protocol": "HTTP", "Port": "80", "VpcId": "vpc-1", "TargetType": "ip"});
    aws.elb("CreateTargetGroup", input)["TargetGroups"][0]["TargetGroupArn"].clone()
}

fn forward(group: &Value) -> Value {
    json!([{"Type": "forward", "TargetGroupArn": group}])
}

#[test]
fn a_target_is_unused_then_initial_then_healthy_then_unhealthy_then_draining() {
    let mut aws = Aws::new(Rules::default());
    let group = group(&mut aws, "g");
    let target = json!([{"Id": "10.0.0.9", "Port": "8080"}]);
    aws.elb("RegisterTargets", json!({"TargetGroupArn": group, "Targets": target}));
    let health = |aws: &mut Aws| aws.health(word(&group))[0].clone();
    assert_eq!(health(&mut aws), ("unused".to_owned(), "Target.NotInUse".to_owned()));
    let lb = balancer(&mut aws);
    aws.elb(
        "CreateListener",
        json!({"LoadBalancerArn": lb, "Port": "80", "Protocol": "HTTP", "DefaultActions": forward(&group)}),
    );
    let other = json!({"TargetGroupArn": group, "Targets": [{"Id": "10.0.0.8", "Port": "1"}]});
    let unknown = aws.elb("DescribeTargetHealth", other.clone());
    assert_eq!(unknown["TargetHealthDescriptions"][0]["TargetHealth"]["Reason"], "Target.NotRegistered");
    aws.elb("RegisterTargets", other);
    assert_eq!(aws.health(word(&group))[1], ("initial".to_owned(), "Elb.InitialHealthChecking".to_owned()));
    aws.pass(SECOND);
    assert_eq!(health(&mut aws).0, "healthy");
    let space = aws.world.space("123456789012", "eu-central-1");
    space.set_target(word(&group), Some("10.0.0.9"), Some("502".to_owned())).unwrap();
    aws.pass(SECOND);
    assert_eq!(health(&mut aws).0, "healthy", "one bad check is not enough");
    aws.pass(31 * SECOND);
    assert_eq!(health(&mut aws), ("unhealthy".to_owned(), "Target.ResponseCodeMismatch".to_owned()));
    aws.elb("DeregisterTargets", json!({"TargetGroupArn": group, "Targets": [{"Id": "10.0.0.9"}]}));
    assert_eq!(health(&mut aws), ("draining".to_owned(), "Target.DeregistrationInProgress".to_owned()));
    aws.pass(299 * SECOND);
    assert_eq!(aws.health(word(&group)).len(), 2);
    aws.pass(2 * SECOND);
    assert_eq!(aws.health(word(&group)).len(), 1);
}

#[test]
fn ecs_ends_tasks_that_fail_their_targets_checks_after_the_grace_period() {
    let sick = ImageRule { image: "sick".to_owned(), target: Some("500".to_owned()), ..ImageRule::default() };
    let mut aws = Aws::with_images(vec![sick]);
    let group = aws.group("web", 0);
    aws.register("web", "good", json!({}));
    let mut service = behind(&group);
    service["healthCheckGracePeriodSeconds"] = json!(60);
    aws.create("web", "web", 1, service);
    aws.finish("web");
    aws.register("web", "sick", json!({}));
    let before = aws.now;
    aws.update("web", json!({"taskDefinition": "web"}));
    let rollout = aws.finish("web");
    assert_eq!(rollout["status"], "ROLLBACK_SUCCESSFUL");
    assert!(aws.now - before >= 180 * SECOND, "three tasks with a grace of 60 s each: {}", aws.now - before);
    let words = format!(
        "(service web) (port 80) is unhealthy in (target-group {group}) due to (reason Health checks failed with these codes: [500])."
    );
    assert!(aws.events("web").contains(&words), "{:?}", aws.events("web"));
    let listed = aws.ecs("ListTasks", json!({"cluster": "c", "desiredStatus": "STOPPED"}));
    let tasks = aws.ecs("DescribeTasks", json!({"cluster": "c", "tasks": listed["taskArns"]}));
    let reason = format!("Task failed ELB health checks in (target-group {group})");
    assert!(tasks["tasks"].as_array().unwrap().iter().any(|task| task["stoppedReason"] == reason), "{tasks}");
}

#[test]
fn duplicates_and_what_is_in_use() {
    let mut aws = Aws::new(Rules::default());
    let (lb, one, two) = (balancer(&mut aws), group(&mut aws, "one"), group(&mut aws, "two"));
    // The same again succeeds; anything else under the name does not.
    assert_eq!(group(&mut aws, "one"), one);
    let other = json!({"Name": "one", "Protocol": "HTTP", "Port": "81", "VpcId": "vpc-1", "TargetType": "ip"});
    assert_eq!(
        aws.attempt("elasticloadbalancing", "CreateTargetGroup", &other).unwrap_err(),
        "DuplicateTargetGroupName"
    );
    let long = json!({"Name": "x".repeat(33), "Protocol": "HTTP", "Port": "81", "VpcId": "v"});
    assert_eq!(aws.attempt("elasticloadbalancing", "CreateTargetGroup", &long).unwrap_err(), "ValidationError");
    let listener = |group: &Value| json!({"LoadBalancerArn": lb, "Port": "80", "Protocol": "HTTP", "DefaultActions": forward(group)});
    let first = aws.elb("CreateListener", listener(&one))["Listeners"][0]["ListenerArn"].clone();
    assert_eq!(aws.elb("CreateListener", listener(&one))["Listeners"][0]["ListenerArn"], first);
    assert_eq!(
        aws.attempt("elasticloadbalancing", "CreateListener", &listener(&two)).unwrap_err(),
        "DuplicateListener"
    );
    let rule = |priority: u32| {
        json!({"ListenerArn": first, "Priority": priority.to_string(), "Actions": forward(&two),
            "Conditions": [{"Field": "host-header", "Values": ["a.example.com"]}]})
    };
    let made = aws.elb("CreateRule", rule(5))["Rules"][0].clone();
    assert_eq!(made["Conditions"][0]["HostHeaderConfig"]["Values"], json!(["a.example.com"]));
    assert_eq!(aws.attempt("elasticloadbalancing", "CreateRule", &rule(5)).unwrap_err(), "PriorityInUse");
    assert_eq!(aws.attempt("elasticloadbalancing", "CreateRule", &rule(50_001)).unwrap_err(), "ValidationError");
    let gone = json!({"TargetGroupArn": two});
    assert_eq!(aws.attempt("elasticloadbalancing", "DeleteTargetGroup", &gone).unwrap_err(), "ResourceInUse");
    aws.elb("DeleteRule", json!({"RuleArn": made["RuleArn"]}));
    aws.elb("DeleteTargetGroup", gone);
    let rules = aws.elb("DescribeRules", json!({"ListenerArn": first}))["Rules"].clone();
    assert_eq!((rules.as_array().unwrap().len(), word(&rules[0]["Priority"])), (1, "default"));
    let delete = json!({"RuleArn": rules[0]["RuleArn"]});
    assert_eq!(aws.attempt("elasticloadbalancing", "DeleteRule", &delete).unwrap_err(), "OperationNotPermitted");
    let missing = json!({"Names": ["none"]});
    assert_eq!(
        aws.attempt("elasticloadbalancing", "DescribeTargetGroups", &missing).unwrap_err(),
        "TargetGroupNotFound"
    );
    assert_eq!(
        aws.attempt("elasticloadbalancing", "DescribeLoadBalancers", &missing).unwrap_err(),
        "LoadBalancerNotFound"
    );
}

#[test]
fn a_load_balancer_has_room_for_fifty_listeners_a_hundred_rules_and_a_hundred_groups() {
    let mut aws = Aws::new(Rules::default());
    let lb = balancer(&mut aws);
    let mut listeners = Vec::new();
    for number in 0..50 {
        let group = group(&mut aws, &format!("g{number}"));
        let input = json!({"LoadBalancerArn": lb, "Port": (1000 + number).to_string(), "Protocol": "HTTP", "DefaultActions": forward(&group)});
        listeners.push(aws.elb("CreateListener", input)["Listeners"][0]["ListenerArn"].clone());
    }
    let group0 = group(&mut aws, "g0");
    let more = json!({"LoadBalancerArn": lb, "Port": "2000", "Protocol": "HTTP", "DefaultActions": forward(&group0)});
    assert_eq!(aws.attempt("elasticloadbalancing", "CreateListener", &more).unwrap_err(), "TooManyListeners");
    // Fifty groups are there; rules may bring fifty more, and fifty rules of the hundred are left after those.
    let rule = |priority: u32, group: &Value| {
        json!({"ListenerArn": listeners[0], "Priority": priority.to_string(), "Actions": forward(group),
            "Conditions": [{"Field": "host-header", "Values": [format!("h{priority}.example.com")]}]})
    };
    for number in 50..100 {
        let group = group(&mut aws, &format!("g{number}"));
        aws.elb("CreateRule", rule(number, &group));
    }
    let over = group(&mut aws, "over");
    let code = aws.attempt("elasticloadbalancing", "CreateRule", &rule(500, &over)).unwrap_err();
    assert_eq!(code, "TooManyUniqueTargetGroupsPerLoadBalancer");
    for number in 100..150 {
        aws.elb("CreateRule", rule(number, &group0));
    }
    assert_eq!(aws.attempt("elasticloadbalancing", "CreateRule", &rule(500, &group0)).unwrap_err(), "TooManyRules");
    let limits = aws.elb("DescribeAccountLimits", json!({}))["Limits"].clone();
    assert!(
        limits.as_array().unwrap().contains(&json!({"Name": "listeners-per-application-load-balancer", "Max": "50"}))
    );
    // Pages.
    let (mut seen, mut marker) = (0, Value::Null);
    loop {
        let page = aws.elb("DescribeListeners", json!({"LoadBalancerArn": lb, "PageSize": "20", "Marker": marker}));
        seen += page["Listeners"].as_array().unwrap().len();
        marker = page["NextMarker"].clone();
        if marker.is_null() {
            break;
        }
    }
    assert_eq!(seen, 50);
    aws.elb("DeleteLoadBalancer", json!({"LoadBalancerArn": lb}));
    assert_eq!(
        aws.attempt("elasticloadbalancing", "DescribeListeners", &json!({"ListenerArns": [listeners[0]]})).unwrap_err(),
        "ListenerNotFound"
    );
}

#[test]
fn a_service_needs_a_target_group_that_a_load_balancer_uses() {
    let mut aws = Aws::new(Rules::default());
    aws.register("web", "one", json!({}));
    let group = group(&mut aws, "g");
    let mut input = json!({"cluster": "c", "serviceName": "web", "taskDefinition": "web", "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"]}}});
    input["loadBalancers"] = json!([{"targetGroupArn": group, "containerName": "web", "containerPort": 80}]);
    assert_eq!(aws.attempt("ecs", "CreateService", &input).unwrap_err(), "InvalidParameterException");
    let lb = balancer(&mut aws);
    aws.elb(
        "CreateListener",
        json!({"LoadBalancerArn": lb, "Port": "80", "Protocol": "HTTP", "DefaultActions": forward(&group)}),
    );
    input["loadBalancers"][0]["containerPort"] = json!(81);
    assert_eq!(aws.attempt("ecs", "CreateService", &input).unwrap_err(), "InvalidParameterException");
    input["loadBalancers"][0]["containerPort"] = json!(80);
    aws.ecs("CreateService", input);
}

#[test]
fn a_target_group_belongs_to_one_load_balancer() {
    let mut aws = Aws::new(Rules::default());
    let (lb, group) = (balancer(&mut aws), group(&mut aws, "g"));
    let listener = |lb: &Value| json!({"LoadBalancerArn": lb, "Port": "80", "Protocol": "HTTP", "DefaultActions": forward(&group)});
    let made = aws.elb("CreateListener", listener(&lb))["Listeners"][0]["ListenerArn"].clone();
    let other = aws.elb("CreateLoadBalancer", json!({"Name": "other", "Subnets": ["a", "b"]}))["LoadBalancers"][0]["LoadBalancerArn"].clone();
    let code = aws.attempt("elasticloadbalancing", "CreateListener", &listener(&other)).unwrap_err();
    assert_eq!(code, "TargetGroupAssociationLimit");
    aws.elb("DeleteListener", json!({"ListenerArn": made}));
    aws.elb("CreateListener", listener(&other));
}

#![allow(clippy::panic)]

use landfall_model::app::{CircuitBreaker, DeploymentConfiguration};
use landfall_model::task::LaunchType;

use super::*;

fn request() -> PutService {
    PutService {
        name: "web".to_owned(),
        launch_type: LaunchType::Fargate,
        task_definition: "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:8".to_owned(),
        desired_count: 1,
        keep_count: false,
        deployment: DeploymentConfiguration {
            minimum_healthy_percent: 100,
            maximum_percent: 200,
            circuit_breaker: CircuitBreaker { enable: false, rollback: false, threshold: None },
            health_check_grace_period: 0,
            timeout: 600,
            strategy: Default::default(),
            alarms: None,
        },
        target: None,
        tags: Tags::new(),
        adopt: true,
        replace: None,
        document: None,
    }
}

/// As ECS tells it.
fn live() -> Value {
    json!({
        "serviceArn": "arn:aws:ecs:eu-west-1:123456789012:service/c/web", "serviceName": "web", "status": "ACTIVE",
        "clusterArn": "arn:aws:ecs:eu-west-1:123456789012:cluster/c", "desiredCount": 3, "runningCount": 3, "pendingCount": 0,
        "taskDefinition": "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:8", "launchType": "FARGATE",
        "platformVersion": "LATEST", "platformFamily": "Linux", "schedulingStrategy": "REPLICA", "propagateTags": "NONE",
        "deploymentController": {"type": "ECS"}, "enableECSManagedTags": false, "enableExecuteCommand": false,
        "availabilityZoneRebalancing": "ENABLED", "healthCheckGracePeriodSeconds": 0,
        "deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 200, "strategy": "ROLLING",
            "bakeTimeInMinutes": 0, "deploymentCircuitBreaker": {"enable": false, "rollback": false}},
        "networkConfiguration": {"awsvpcConfiguration":
            {"subnets": ["subnet-b", "subnet-a"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}},
        "loadBalancers": [], "serviceRegistries": [], "placementConstraints": [], "placementStrategy": [],
        "roleArn": "arn:aws:iam::123456789012:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
        "events": [{"id": "1"}], "createdAt": 1.7, "createdBy": "arn", "tags": [{"key": "team", "value": "shop"}],
        "deployments": [{"id": "ecs-svc/1", "status": "PRIMARY", "desiredCount": 3}]
    })
}

fn updated(document: Value, replace: bool) -> PortResult<Option<Value>> {
    let wanted = service(&request(), &document)?;
    Ok(update(&live(), &wanted, &request(), replace, false)?.map(Value::Object))
}

#[test]
fn what_is_there_already_says_nothing() {
    let document = json!({"launchType": "FARGATE", "deploymentConfiguration": {"maximumPercent": 200},
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-a", "subnet-b"]}}, "tags": [{"key": "x", "value": "y"}]});
    assert_eq!(updated(document, false).unwrap(), None);
    assert_eq!(updated(json!({}), false).unwrap(), None);
    assert_eq!(updated(live(), false).unwrap(), None, "a describe fed back");
}

#[test]
fn only_keys_that_differ_are_sent_and_each_of_them_whole() {
    let deployment = json!({"maximumPercent": 150, "minimumHealthyPercent": 100});
    let document = json!({"desiredCount": 3, "enableExecuteCommand": true, "deploymentConfiguration": deployment});
    let sent = updated(document, false).unwrap();
    assert_eq!(sent, Some(json!({"enableExecuteCommand": true, "deploymentConfiguration": deployment})));
    assert_eq!(updated(json!({"desiredCount": 5}), false).unwrap(), Some(json!({"desiredCount": 5})));
    let keeping = PutService { keep_count: true, ..request() };
    let wanted = service(&keeping, &json!({"desiredCount": 5})).unwrap();
    assert_eq!(update(&live(), &wanted, &keeping, false, false).unwrap(), None, "autoscaling sets it");
    let wanted = service(&request(), &json!({})).unwrap();
    let newer = PutService { task_definition: "web:9".to_owned(), ..request() };
    let sent = update(&live(), &wanted, &newer, false, false).unwrap();
    assert_eq!(sent.map(Value::Object), Some(json!({"taskDefinition": "web:9"})));
}

#[test]
fn a_new_deployment_is_forced_where_ecs_would_begin_none() {
    assert_eq!(updated(json!({}), true).unwrap(), Some(json!({"forceNewDeployment": true})));
    let failed = update(&live(), &service(&request(), &json!({})).unwrap(), &request(), false, true).unwrap();
    assert_eq!(failed.map(Value::Object), Some(json!({"forceNewDeployment": true})));
    let spot = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    let sent = updated(json!({"capacityProviderStrategy": spot}), false).unwrap();
    assert_eq!(sent, Some(json!({"capacityProviderStrategy": spot, "forceNewDeployment": true})));
}

#[test]
fn what_only_creation_sets_is_refused_and_named() {
    for (document, words) in [
        (json!({"launchType": "EC2"}), ["launchType", "FARGATE", "EC2"]),
        (json!({"schedulingStrategy": "DAEMON"}), ["schedulingStrategy", "REPLICA", "DAEMON"]),
        (json!({"role": "ecsServiceRole"}), ["role", "not set", "ecsServiceRole"]),
    ] {
        let Err(PortError::Conflict(text)) = updated(document.clone(), false) else { panic!("{document}") };
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    let Err(PortError::Invalid(text)) = updated(json!({"deploymentController": {"type": "CODE_DEPLOY"}}), false) else {
        panic!("CodeDeploy")
    };
    assert!(text.contains("BLUE_GREEN"), "{text}");
}

#[test]
fn what_was_there_is_put_back_whole_but_for_its_count() {
    let balancer = |group: &str| json!({"targetGroupArn": group, "containerName": "web", "containerPort": 80});
    let mut was = live();
    was["loadBalancers"] = json!([balancer("arn:a"), balancer("arn:b")]);
    was["serviceRegistries"] = json!([{"registryArn": "arn:registry"}]);
    was["deployments"][0]["serviceConnectConfiguration"] = json!({"enabled": true, "namespace": "shop"});
    was["tags"] = json!([{"key": "team", "value": "shop"}, {"key": "landfall.instance", "value": "another"}]);
    let before = to_restore(was.clone());
    for key in ["events", "deployments", "taskSets", "status", "taskDefinition", "clusterArn"] {
        assert!(before.get(key).is_none(), "{key} is long, or of the past");
    }
    assert_eq!(before["tags"], json!([{"key": "team", "value": "shop"}]), "whose it is by then stays");
    assert_eq!(before["serviceConnectConfiguration"]["namespace"], "shop");

    let mut now = was.clone();
    now["desiredCount"] = json!(9);
    now["loadBalancers"] = json!([balancer("arn:new")]);
    now["serviceRegistries"] = json!([]);
    now["healthCheckGracePeriodSeconds"] = json!(60);
    now["networkConfiguration"]["awsvpcConfiguration"]["subnets"] = json!(["subnet-new"]);
    now["deploymentConfiguration"]["alarms"] = json!({"alarmNames": ["5xx"], "enable": true, "rollback": true});
    let hook = json!({"hookTargetArn": "arn:f", "roleArn": "arn:r", "lifecycleStages": ["POST_SCALE_UP"]});
    now["deploymentConfiguration"]["lifecycleHooks"] = json!([hook]);
    let sent = |before: &Value, keep_count: bool| {
        let request = PutService { keep_count, document: Some(before.clone()), ..request() };
        let wanted = with_what_goes(Some(before), &service(&request, before).unwrap(), &now);
        update(&now, &wanted, &request, false, false).unwrap().unwrap()
    };
    let put = sent(&before, true);
    for key in ["loadBalancers", "serviceRegistries", "networkConfiguration", "healthCheckGracePeriodSeconds"] {
        assert_eq!(put[key], was[key]);
    }
    let configuration = &put["deploymentConfiguration"];
    assert_eq!((&configuration["lifecycleHooks"], &configuration["alarms"]["enable"]), (&json!([]), &json!(false)));
    assert_eq!(put.len(), 5, "neither the count nor what is as it was: {put:?}");
    assert_eq!(sent(&before, false)["desiredCount"], 3);
    // A document that somebody wrote leaves what it does not name.
    let own = sent(&json!({"enableExecuteCommand": true}), true);
    assert_eq!(own.keys().collect::<Vec<_>>(), ["enableExecuteCommand"]);
}

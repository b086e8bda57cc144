//! Services that others made, or use besides: taken over, changed, given back as they were. Against the fake.

use landfall_model::inventory::TAG_EXECUTION;
use landfall_model::step::{DeployService, Input, ServiceTarget};
use landfall_ports::PortError;
use landfall_ports::orchestrator::RunTaskRequest;
use landfall_ports::steps::{Progress, StepExecutor};
use serde_json::{Value, json};

use crate::ecs::{one_off, tags};
use crate::endings::{Rollout, WEB, alarms};
use crate::waiting::{World, connect_as};

/// Target groups behind a listener each.
pub(crate) fn groups(world: &World, count: u64) -> Vec<String> {
    let elb = |operation: &str, input: Value| world.fake.call("elasticloadbalancing", operation, input).unwrap();
    let balancer = elb("CreateLoadBalancer", json!({"Name": "main", "Subnets": ["subnet-1", "subnet-2"]}));
    let of = &balancer["LoadBalancers"][0]["LoadBalancerArn"];
    let made = (0..count).map(|number| {
        let group = json!({"Name": format!("web-{number}"), "Protocol": "HTTP", "Port": "80", "VpcId": "vpc-1",
            "TargetType": "ip", "HealthCheckIntervalSeconds": 5, "UnhealthyThresholdCount": 2});
        let group = elb("CreateTargetGroup", group)["TargetGroups"][0]["TargetGroupArn"].clone();
        let action = json!([{"Type": "forward", "TargetGroupArn": group}]);
        let listener =
            json!({"LoadBalancerArn": of, "Port": 80 + number, "Protocol": "HTTP", "DefaultActions": action});
        elb("CreateListener", listener);
        group.as_str().unwrap().to_owned()
    });
    made.collect()
}

pub(crate) fn target(group: &str) -> Option<ServiceTarget> {
    let target_group = Input::Value(group.to_owned());
    Some(ServiceTarget { target_group, container: "app".to_owned(), port: 4567 })
}

/// A service that was made by hand, with a network of its own and these target groups, and three tasks.
fn by_hand(world: &World, groups: &[String]) {
    let container = json!({"name": "app", "image": "good", "memory": 64, "essential": true, "portMappings": [{"containerPort": 4567}]});
    let made = json!({"family": "web", "containerDefinitions": [container], "cpu": "256", "memory": "512",
        "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"]});
    world.fake.call("ecs", "RegisterTaskDefinition", made).unwrap();
    let network = json!({"awsvpcConfiguration":
        {"subnets": ["subnet-9"], "securityGroups": ["sg-9"], "assignPublicIp": "ENABLED"}});
    let balancer = |group| json!({"targetGroupArn": group, "containerName": "app", "containerPort": 4567});
    let service = json!({"cluster": "main", "serviceName": WEB, "taskDefinition": "web", "desiredCount": 3,
        "launchType": "FARGATE", "networkConfiguration": network, "tags": [{"key": "team", "value": "shop"}],
        "loadBalancers": groups.iter().map(balancer).collect::<Vec<_>>(), "healthCheckGracePeriodSeconds": 90,
        "enableExecuteCommand": true});
    world.fake.call("ecs", "CreateService", service).unwrap();
    world.fake.settle(60_000);
}

/// As ECS tells it, but for what changes by itself, and our tags.
fn kept(world: &World) -> Value {
    let mut live = live(world);
    let fields = live.as_object_mut().unwrap();
    let passes =
        ["deployments", "events", "desiredCount", "runningCount", "pendingCount", "tags", "currentServiceDeployment"];
    passes.iter().chain(&["currentServiceRevisions", "taskSets"]).for_each(|key| drop(fields.remove(*key)));
    live
}

fn live(world: &World) -> Value {
    let input = json!({"cluster": "main", "services": [WEB], "include": ["TAGS"]});
    world.fake.call("ecs", "DescribeServices", input).unwrap()["services"][0].clone()
}

/// An existing service is taken over, changed, and given back as it was, whatever Landfall knows of it.
#[tokio::test]
async fn a_service_that_was_made_by_hand_is_taken_over() {
    let world = World::new().await;
    let groups = groups(&world, 3);
    by_hand(&world, &groups[..2]);
    let before = kept(&world);
    assert!(world.orchestrator.describe_service(WEB).await.unwrap().is_none(), "it is not ours");
    let adopting = |deploy: &mut DeployService| (deploy.adopt, deploy.keep_count) = (true, true);
    let mut rollout = Rollout::within(world, "good:2", |deploy| {
        adopting(deploy);
        alarms(deploy, true);
    })
    .await;
    rollout.begin().await;
    rollout.end(500).await.unwrap();
    let ours = rollout.world.service().await;
    assert_eq!((ours.desired, ours.tags.get("team").map(String::as_str)), (3, Some("shop")));
    assert!(!ours.tags.contains_key(TAG_EXECUTION), "who made it is not known: {:?}", ours.tags);
    let now = live(&rollout.world);
    let vpc = &now["networkConfiguration"]["awsvpcConfiguration"];
    assert_eq!((&vpc["subnets"], &vpc["securityGroups"]), (&json!(["subnet-1"]), &json!(["sg-9"])));
    assert_eq!(now["loadBalancers"], before["loadBalancers"], "both stay");
    let token = rollout.token.as_ref().unwrap()["previous_document"].to_string();
    assert!(token.len() < 2_000, "what the journal keeps is not long: {token}");
    // Scaled meanwhile: the undo says no count.
    let scaled = json!({"cluster": "main", "service": WEB, "desiredCount": 4});
    rollout.world.fake.call("ecs", "UpdateService", scaled).unwrap();
    rollout.undo().await;
    rollout.runs(":1").await;
    assert_eq!(rollout.world.service().await.desired, 4);
    let restored = kept(&rollout.world);
    let alarms = &restored["deploymentConfiguration"]["alarms"];
    assert!(alarms.is_null() || alarms["enable"] == false, "{alarms}");
    for key in ["networkConfiguration", "loadBalancers", "healthCheckGracePeriodSeconds", "taskDefinition"] {
        assert_eq!(restored[key], before[key]);
    }

    // Two of them would go for one: refused before anything of the service is changed.
    let mut refused = Rollout::within(rollout.world, "good:2", |deploy| {
        adopting(deploy);
        deploy.target = target(&groups[2]);
    })
    .await;
    let Progress::Pending { token, .. } = refused.steps.start(&refused.cx, &refused.params).await.unwrap() else {
        panic!("it is there")
    };
    refused.token = Some(token.clone());
    let error = refused.steps.poll(&refused.cx, &refused.params, &token).await.unwrap_err();
    assert_eq!(error.code, "LF-PLATFORM-INVALID", "{}", error.message);
    assert!(groups.iter().all(|group| error.message.contains(group.as_str())), "{}", error.message);
    refused.undo().await;
    assert_eq!(kept(&refused.world)["loadBalancers"], before["loadBalancers"]);
}

/// Its one load balancer gives way to the manifest's, and comes back with its grace period.
#[tokio::test]
async fn a_load_balancer_that_was_replaced_comes_back() {
    let world = World::new().await;
    let groups = groups(&world, 2);
    by_hand(&world, &groups[..1]);
    let before = kept(&world);
    let mut rollout = Rollout::within(world, "good:2", |deploy| {
        (deploy.adopt, deploy.keep_count) = (true, true);
        deploy.target = target(&groups[1]);
        deploy.deployment.health_check_grace_period = 5;
    })
    .await;
    rollout.begin().await;
    rollout.end(500).await.unwrap();
    let now = live(&rollout.world);
    assert_eq!(now["loadBalancers"][0]["targetGroupArn"], groups[1].as_str());
    rollout.undo().await;
    rollout.runs(":1").await;
    let restored = kept(&rollout.world);
    for key in ["networkConfiguration", "loadBalancers", "healthCheckGracePeriodSeconds", "deploymentConfiguration"] {
        assert_eq!(restored[key], before[key]);
    }
}

/// Application Auto Scaling changes the count while a deployment runs: neither that nor its undo says another.
#[tokio::test]
async fn a_count_that_autoscaling_sets_stays() {
    let world = World::new().await;
    Rollout::runs_good(&world).await;
    let keeping = |deploy: &mut DeployService| deploy.keep_count = true;
    let scaled = |world: &World, count: u32| {
        let body = json!({"cluster": "main", "service": WEB, "desiredCount": count});
        world.fake.call("ecs", "UpdateService", body).unwrap();
    };
    let mut bad = Rollout::within(world, "bad", keeping).await;
    bad.begin().await;
    scaled(&bad.world, 3);
    assert_eq!(bad.end(20).await.unwrap_err().0, "LF-SERVICE-ROLLED-BACK");
    bad.undo().await;
    bad.runs(":1").await;
    assert_eq!(bad.world.service().await.desired, 3);
    // Planned before it was scaled, and undone after all is well.
    let mut good = Rollout::within(bad.world, "good:2", keeping).await;
    scaled(&good.world, 4);
    good.begin().await;
    scaled(&good.world, 2);
    good.end(20).await.unwrap();
    good.runs(":3").await;
    assert_eq!(good.world.service().await.desired, 2);
    scaled(&good.world, 5);
    good.undo().await;
    good.runs(":1").await;
    assert_eq!(good.world.service().await.desired, 5);
}

/// Two installations of one manifest, one cluster.
#[tokio::test]
async fn a_service_that_another_installation_takes_over_is_left_to_it() {
    let world = World::new().await;
    by_hand(&world, &[]);
    let adopting = |deploy: &mut DeployService| (deploy.adopt, deploy.keep_count) = (true, true);
    let mut ours = Rollout::within(world, "good:2", adopting).await;
    ours.begin().await;
    let other = connect_as(&ours.world.target, "another").await.orchestrator();
    other.adopt_service(WEB, &tags("web", "exe_9")).await.unwrap().unwrap();
    ours.world.fake.clear_calls();
    // Not one more change, though this process has just put its own tags on.
    let (code, message, _) = ours.end(20).await.unwrap_err();
    assert_eq!(code, "LF-SERVICE-TAKEN-OVER", "{message}");
    assert!(message.contains("installation another"), "{message}");
    let undone = ours.steps.undo(&ours.cx, &ours.params, None, ours.token.as_ref()).await.unwrap_err();
    assert_eq!(undone.code, "LF-SERVICE-TAKEN-OVER");
    for change in ["UpdateService", "TagResource", "DeleteService"] {
        assert_eq!(ours.world.fake.count("ecs", change), 0, "{change}");
    }
}

#[tokio::test]
async fn a_service_whose_tags_are_taken_off_is_put_back_all_the_same() {
    let world = World::new().await;
    Rollout::runs_good(&world).await;
    let mut rollout = Rollout::within(world, "good:2", |deploy| (deploy.adopt, deploy.keep_count) = (true, true)).await;
    rollout.begin().await;
    let strip = |world: &World| {
        let live = live(world);
        let keys: Vec<&Value> = live["tags"].as_array().unwrap().iter().map(|tag| &tag["key"]).collect();
        world.fake.call("ecs", "UntagResource", json!({"resourceArn": live["serviceArn"], "tagKeys": keys})).unwrap();
    };
    strip(&rollout.world);
    rollout.end(500).await.unwrap();
    rollout.runs(":2").await;
    // By another process: this one believes for a minute that what it put on is only not to be seen yet.
    rollout.world.restarted().await;
    strip(&rollout.world);
    rollout.steps = Rollout::steps(&rollout.world);
    rollout.undo().await;
    rollout.runs(":1").await;
}

/// A stack's network is its own, and the manifest does not name it.
#[tokio::test]
async fn a_task_has_its_service_s_network_where_the_place_names_none() {
    let mut world = World::new().await;
    by_hand(&world, &[]);
    world.target.subnets.clear();
    world.restarted().await;
    let run = async |service: Option<&str>, token: &str| {
        let request = RunTaskRequest { service: service.map(str::to_owned), ..one_off("web:1", token) };
        world.orchestrator.run_task(&request).await
    };
    let refused = run(None, "token-1").await.unwrap_err();
    assert!(matches!(&refused, PortError::Invalid(text) if text.contains("give `subnets`")), "{refused:?}");
    let task = run(Some(WEB), "token-2").await.unwrap();
    let input = json!({"cluster": "main", "tasks": [task]});
    let task = &world.fake.call("ecs", "DescribeTasks", input).unwrap()["tasks"][0];
    assert_eq!(task["attachments"][0]["details"][1], json!({"name": "subnetId", "value": "subnet-9"}), "{task:#}");
}

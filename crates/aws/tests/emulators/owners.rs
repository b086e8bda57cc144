//! Whose things are, and what a listing may claim: against the fake.

use std::time::{Duration, Instant};

use landfall_awsfake::faults::{Fault, FaultError};
use landfall_model::inventory::{ResourceKind, TAG_ENVIRONMENT};
use landfall_ports::PortError;

use serde_json::json;

use crate::waiting::{World, connect_as};

/// Two installations of one manifest on one cluster: the same names, the same environment ids.
#[tokio::test]
async fn another_installation_s_service_of_the_same_name_is_neither_seen_nor_stopped_nor_deleted() {
    let world = World::new().await;
    let id = world.deploy("good").await;
    world.end(&id).await;
    let other = connect_as(&world.target, "another").await.orchestrator();
    assert!(other.describe_service("web-service").await.unwrap().is_none());
    assert!(matches!(other.scale_service("web-service", 0).await, Err(PortError::NotFound(_))));
    other.delete_service("web-service").await.unwrap();
    assert_eq!(world.fake.count("ecs", "UpdateService") + world.fake.count("ecs", "DeleteService"), 0);
    world.fake.settle(60_000);
    let service = world.service().await;
    assert_eq!((service.desired, service.running), (1, 1));
    // But its name is taken.
    let taken = other.put_service(&world.request("good").await).await;
    assert!(matches!(&taken, Err(PortError::Conflict(text)) if text.contains("aws-tests")), "{taken:?}");
}

#[tokio::test]
async fn a_service_that_nobody_tagged_is_not_ours() {
    let world = World::new().await;
    let request = world.request("good").await;
    let bare = json!({"cluster": "main", "serviceName": request.name, "taskDefinition": request.task_definition,
        "desiredCount": 0, "launchType": "FARGATE", "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}, "tags": [{"key": TAG_ENVIRONMENT, "value": "web"}]});
    world.fake.call("ecs", "CreateService", bare).unwrap();
    assert!(world.orchestrator.describe_service(&request.name).await.unwrap().is_none());
    world.orchestrator.delete_service(&request.name).await.unwrap();
    assert_eq!(world.fake.count("ecs", "DeleteService"), 0);
}

/// ECS hears of a rule or a listener some time after the load balancer does.
#[tokio::test]
async fn a_target_group_that_ecs_does_not_know_routed_yet_is_waited_for_also_in_an_update() {
    let world = World::new().await;
    let first = world.deploy("good").await;
    world.end(&first).await;
    let update = world.request("good:2").await;
    let message = "The target group with targetGroupArn x does not have an associated load balancer.";
    let error = FaultError { code: "InvalidParameterException".to_owned(), message: message.to_owned(), status: 400 };
    world.fake.fault(Fault {
        operation: Some("UpdateService".to_owned()),
        times: Some(1),
        error: Some(error),
        ..Fault::default()
    });
    let early = world.orchestrator.put_service(&update).await;
    assert!(matches!(&early, Err(PortError::Unavailable(text)) if text.contains("associated")), "{early:?}");
    assert!(world.orchestrator.put_service(&update).await.is_ok());
}

/// Another copy answers the listing than the look.
#[tokio::test]
async fn what_is_listed_and_not_described_leaves_no_listing() {
    let world = World::new().await;
    let lag = json!({"lag_ms": 3_000, "services": ["ecs"], "operations": ["DescribeServices"]});
    world.fake.script("POST", "consistency", &lag).unwrap();
    world.deploy("good").await;
    let list = || world.orchestrator.list_owned(Some("web"), &[ResourceKind::Service]);
    let early = list().await;
    assert!(matches!(&early, Err(PortError::Unavailable(text)) if text.contains("web-service")), "{early:?}");
    world.fake.advance(4_000);
    assert_eq!(list().await.unwrap().items.len(), 1);
}

fn foreign_definitions(world: &World, count: usize) {
    let container = json!({"name": "app", "image": "good", "memory": 64});
    for number in 0..count {
        let definition = json!({"family": format!("theirs-{number}"), "containerDefinitions": [container],
            "tags": [{"key": "team", "value": "other"}]});
        world.fake.call("ecs", "RegisterTaskDefinition", definition).unwrap();
    }
}

#[tokio::test]
async fn the_task_definitions_of_others_are_read_once() {
    let world = World::new().await;
    foreign_definitions(&world, 120);
    world.request("good").await;
    world.fake.clear_calls();
    let count = |operation| world.fake.count("ecs", operation);
    for listings in 1..4 {
        let all = world.orchestrator.list_owned(None, &[ResourceKind::TaskDefinition]).await.unwrap();
        assert_eq!(all.items.len(), 1);
        assert_eq!((count("ListTaskDefinitionFamilies"), count("ListTaskDefinitions")), (0, 2 * listings));
        // Ours was registered by this process.
        assert_eq!(count("DescribeTaskDefinition"), 120);
    }
}

/// The engine cuts off whoever asks for long.
#[tokio::test]
async fn a_listing_that_is_cut_off_goes_on_and_does_not_begin_anew() {
    let world = World::new().await;
    foreign_definitions(&world, 30);
    world.fake.clear_calls();
    world.fake.fault(Fault {
        operation: Some("DescribeTaskDefinition".to_owned()),
        latency_ms: 20,
        ..Fault::default()
    });
    let list = || world.orchestrator.list_owned(None, &[ResourceKind::TaskDefinition]);
    assert!(tokio::time::timeout(Duration::from_millis(100), list()).await.is_err());
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.fake.count("ecs", "DescribeTaskDefinition") < 30 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(list().await.unwrap().complete);
    assert_eq!(world.fake.count("ecs", "DescribeTaskDefinition"), 30);
}

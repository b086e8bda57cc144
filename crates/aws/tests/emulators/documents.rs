//! What there is against what we would send: nothing differs after it was sent, and every change shows where it was made.

use std::sync::Arc;

use aws_sdk_ecs::config::{BehaviorVersion, Region};
use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_awsfake::{ACCOUNT, Fake, Handle};
use landfall_deploy::diff::{Kind, diff};
use landfall_model::aws::AwsTarget;
use landfall_model::task::{HealthCheck, LaunchType, SecretRef, TaskDefinition};
use landfall_ports::orchestrator::{Documents, Orchestrator, PutService};
use serde_json::json;

use crate::ecs::{definition, put, tags};
use crate::emulator;
use crate::raw::{Raw, element};

const FAMILY: &str = "shop-prod-web";
const ENVIRONMENT: &str = "shop@prod";

fn target(endpoint: &str, region: &str, account: &str) -> AwsTarget {
    AwsTarget {
        name: "test".to_owned(),
        region: Some(region.to_owned()),
        endpoint: Some(endpoint.to_owned()),
        cluster: "main".to_owned(),
        subnets: vec!["subnet-2".to_owned(), "subnet-1".to_owned()],
        security_groups: vec!["sg-1".to_owned()],
        execution_role: Some(format!("arn:aws:iam::{account:0>12}:role/execution")),
        log_group: Some("/apps".to_owned()),
        ..AwsTarget::default()
    }
}

async fn connect(target: &AwsTarget, key: &str) -> Arc<dyn Orchestrator> {
    let options = AwsOptions { instance: "aws-tests".to_owned() };
    AwsPlatform::connect_as(target, options, emulator::credentials(key)).await.unwrap().orchestrator()
}

/// All that the mapping knows of, so that all of it comes back.
fn rich(image: &str) -> TaskDefinition {
    let mut made = definition(FAMILY, image);
    let settings = &mut made.containers[0].settings;
    settings.command = vec!["serve".to_owned(), "--port".to_owned(), "4567".to_owned()];
    settings.environment.insert("EMPTY".to_owned(), String::new());
    settings.secrets.insert("TOKEN".to_owned(), SecretRef::Ssm("/shop/token".to_owned()));
    settings.health_check = Some(HealthCheck {
        command: vec!["CMD-SHELL".to_owned(), "true".to_owned()],
        interval: 30,
        timeout: 5,
        retries: 3,
        start_period: 0,
    });
    made
}

fn request(handle: &str) -> PutService {
    PutService { tags: tags(ENVIRONMENT, "exe_1"), ..put(FAMILY, ENVIRONMENT, handle) }
}

async fn deploy(orchestrator: &dyn Orchestrator, definition: &TaskDefinition, request: &PutService) {
    let made = orchestrator.register_task_definition(definition, &request.tags).await.unwrap();
    let request = PutService { task_definition: made.handle, ..request.clone() };
    orchestrator.put_service(&request).await.unwrap();
}

fn paths(live: &Documents, wanted: &Documents) -> Vec<String> {
    let definitions = diff(Kind::TaskDefinition, &live.task_definition, &wanted.task_definition);
    let services = diff(Kind::Service, &live.service, &wanted.service);
    definitions.into_iter().chain(services).map(|change| change.path).collect()
}

const NOTHING: [&str; 0] = [];

/// moto keeps nothing of these and tells none of them: there they always differ.
const FORGOTTEN_BY_MOTO: [&str; 2] = ["deploymentConfiguration.", "enableECSManagedTags"];

fn remembered(paths: Vec<String>) -> Vec<String> {
    paths.into_iter().filter(|path| !FORGOTTEN_BY_MOTO.iter().any(|one| path.starts_with(one))).collect()
}

/// The same on all three, so that the fake is not the only witness.
async fn what_was_sent_is_there_and_changes_show(orchestrator: Arc<dyn Orchestrator>, moto: bool) {
    let paths = |live: &Documents, wanted: &Documents| {
        let paths = paths(live, wanted);
        if moto { remembered(paths) } else { paths }
    };
    let (made, put) = (rich("shop/web:1"), request(FAMILY));
    assert_eq!(orchestrator.documents(FAMILY).await.unwrap(), None);
    let before = orchestrator.desired_documents(&made, &put).await.unwrap();
    assert_eq!(orchestrator.documents(FAMILY).await.unwrap(), None, "looking made a service");
    assert_eq!(before.task_definition["containerDefinitions"][0]["image"], "shop/web:1");
    assert_eq!(before.service["serviceName"], FAMILY);

    deploy(&*orchestrator, &made, &put).await;
    let live = orchestrator.documents(FAMILY).await.unwrap().unwrap();
    assert_eq!(live.service["status"], "ACTIVE");
    assert!(live.task_definition["revision"].is_u64(), "{}", live.task_definition);
    let wanted =
        async |made: &TaskDefinition, put: &PutService| orchestrator.desired_documents(made, put).await.unwrap();
    assert_eq!(paths(&live, &wanted(&made, &put).await), NOTHING);
    assert_eq!(paths(&live, &live), NOTHING);

    assert_eq!(paths(&live, &wanted(&rich("shop/web:2"), &put).await), ["containerDefinitions[app].image"]);
    let mut changed = made.clone();
    changed.containers[0].settings.environment.insert("STAGE".to_owned(), "production".to_owned());
    assert_eq!(paths(&live, &wanted(&changed, &put).await), ["containerDefinitions[app].environment[STAGE]"]);
    let mut changed = made.clone();
    changed.containers[0].settings.environment.remove("EMPTY");
    assert_eq!(paths(&live, &wanted(&changed, &put).await), ["containerDefinitions[app].environment[EMPTY]"]);
    let changed = TaskDefinition { cpu: Some(512), ..made.clone() };
    assert_eq!(paths(&live, &wanted(&changed, &put).await), ["cpu"]);
    let more = PutService { desired_count: 3, ..put.clone() };
    assert_eq!(paths(&live, &wanted(&made, &more).await), ["desiredCount"]);
    let mut slower = put.clone();
    slower.deployment.maximum_percent = 200;
    if !moto {
        assert_eq!(paths(&live, &wanted(&made, &slower).await), ["deploymentConfiguration.maximumPercent"]);
    }
    // Other executions, other tags.
    let later = PutService { tags: tags(ENVIRONMENT, "exe_2"), ..put.clone() };
    assert_eq!(paths(&live, &wanted(&made, &later).await), NOTHING);

    orchestrator.delete_service(FAMILY).await.unwrap();
}

async fn fake() -> (Handle, AwsTarget, Arc<dyn Orchestrator>) {
    let (url, fake) = Fake::start_frozen().await.unwrap();
    fake.call("ecs", "CreateCluster", json!({"clusterName": "main"})).unwrap();
    fake.call("logs", "CreateLogGroup", json!({"logGroupName": "/apps"})).unwrap();
    let target = target(&url, landfall_awsfake::REGION, ACCOUNT);
    let orchestrator = connect(&target, ACCOUNT).await;
    (fake, target, orchestrator)
}

#[tokio::test]
async fn on_the_fake() {
    let (_fake, _, orchestrator) = fake().await;
    what_was_sent_is_there_and_changes_show(orchestrator, false).await;
}

async fn cluster(endpoint: &str, key: &str, region: &str) -> aws_sdk_ecs::Client {
    let config = aws_sdk_ecs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(emulator::credentials(key))
        .endpoint_url(endpoint)
        .build();
    let ecs = aws_sdk_ecs::Client::from_conf(config);
    ecs.create_cluster().cluster_name("main").send().await.unwrap();
    ecs
}

async fn ministack() -> (aws_sdk_ecs::Client, Arc<dyn Orchestrator>) {
    let (url, account) = (emulator::ministack(), emulator::account());
    let ecs = cluster(&url, &account, "eu-west-1").await;
    let target = AwsTarget { account: Some(account.clone()), ..target(&url, "eu-west-1", &account) };
    (ecs, connect(&target, &account).await)
}

/// One region to each test.
async fn moto(region: &str) -> (Raw, aws_sdk_ecs::Client, Arc<dyn Orchestrator>) {
    let url = emulator::moto();
    let ecs = cluster(&url, "test", region).await;
    let raw = Raw::new(&url, region);
    let subnets = raw.query("ec2", &[("Action", "DescribeSubnets"), ("Version", "2016-11-15")]).await;
    let subnets: Vec<String> =
        subnets.split("<subnetId>").skip(1).take(2).map(|rest| rest.split_once('<').unwrap().0.to_owned()).collect();
    let vpc = element(&raw.query("ec2", &[("Action", "DescribeVpcs"), ("Version", "2016-11-15")]).await, "vpcId");
    let groups = [
        ("Action", "DescribeSecurityGroups"),
        ("Version", "2016-11-15"),
        ("Filter.1.Name", "vpc-id"),
        ("Filter.1.Value.1", &vpc),
    ];
    let security_groups = vec![element(&raw.query("ec2", &groups).await, "groupId")];
    let target = AwsTarget { subnets, security_groups, ..target(&url, region, "123456789012") };
    (raw, ecs, connect(&target, "test").await)
}

#[tokio::test]
async fn on_ministack() {
    let (_, orchestrator) = ministack().await;
    what_was_sent_is_there_and_changes_show(orchestrator, false).await;
}

#[tokio::test]
async fn on_moto() {
    let (_, _, orchestrator) = moto("eu-south-1").await;
    what_was_sent_is_there_and_changes_show(orchestrator, true).await;
}

#[tokio::test]
async fn asking_what_would_be_sent_sends_nothing() {
    let (fake, _, orchestrator) = fake().await;
    fake.clear_calls();
    orchestrator.desired_documents(&rich("shop/web:1"), &request(FAMILY)).await.unwrap();
    let calls: Vec<String> = fake.calls().into_iter().map(|call| call.operation).collect();
    assert_eq!(calls, ["DescribeServices"]);
}

/// On instances, laid over a task definition that somebody else registered.
#[tokio::test]
async fn what_is_laid_over_a_base_is_compared_as_it_will_be() {
    let (fake, _, orchestrator) = fake().await;
    let base = json!({
        "family": "base", "networkMode": "bridge", "requiresCompatibilities": ["EC2"],
        "volumes": [{"name": "data", "host": {"sourcePath": "/data"}}],
        "containerDefinitions": [
            {"name": "app", "image": "old", "memory": 256, "portMappings": [{"containerPort": 4567, "hostPort": 0}]},
            {"name": "agent", "image": "agent:1", "memory": 64, "essential": false, "dockerLabels": {"a": "b"}}
        ]
    });
    fake.call("ecs", "RegisterTaskDefinition", base.clone()).unwrap();
    let mut made = TaskDefinition { base: Some("base".to_owned()), launch_type: LaunchType::Ec2, ..rich("shop/web:1") };
    (made.cpu, made.memory) = (None, None);
    let put = PutService { launch_type: LaunchType::Ec2, ..request(FAMILY) };
    deploy(&*orchestrator, &made, &put).await;
    let live = orchestrator.documents(FAMILY).await.unwrap().unwrap();
    let wanted = orchestrator.desired_documents(&made, &put).await.unwrap();
    assert_eq!(wanted.task_definition["containerDefinitions"][1]["image"], "agent:1");
    assert!(wanted.service["networkConfiguration"].is_null());
    assert_eq!(paths(&live, &wanted), NOTHING);
    // Another base is another task definition, also where the manifest is the same.
    let mut newer = base;
    newer["containerDefinitions"][1]["image"] = json!("agent:2");
    fake.call("ecs", "RegisterTaskDefinition", newer).unwrap();
    let wanted = orchestrator.desired_documents(&made, &put).await.unwrap();
    assert_eq!(paths(&live, &wanted), ["containerDefinitions[agent].image"]);
}

/// A count that Application Auto Scaling set is nobody's difference.
#[tokio::test]
async fn an_autoscaled_count_does_not_show() {
    let (raw, ecs, orchestrator) = moto("eu-south-2").await;
    let (made, put) = (rich("shop/web:1"), request(FAMILY));
    deploy(&*orchestrator, &made, &put).await;
    ecs.update_service().cluster("main").service(FAMILY).desired_count(7).send().await.unwrap();
    let wanted = orchestrator.desired_documents(&made, &put).await.unwrap();
    let live = orchestrator.documents(FAMILY).await.unwrap().unwrap();
    assert_eq!(remembered(paths(&live, &wanted)), ["desiredCount"]);
    let scaled = json!({
        "ServiceNamespace": "ecs", "ResourceId": format!("service/main/{FAMILY}"),
        "ScalableDimension": "ecs:service:DesiredCount", "MinCapacity": 2, "MaxCapacity": 10
    });
    raw.json("application-autoscaling", "AnyScaleFrontendService.RegisterScalableTarget", scaled).await;
    let live = orchestrator.documents(FAMILY).await.unwrap().unwrap();
    assert_eq!(live.service["scalableTarget"], json!({"minCapacity": 2, "maxCapacity": 10}));
    assert_eq!(remembered(paths(&live, &wanted)), NOTHING);
}

/// A service of somebody else's is read as it is.
#[tokio::test]
async fn documents_of_a_foreign_service_are_shown() {
    let (ecs, orchestrator) = ministack().await;
    let container = aws_sdk_ecs::types::ContainerDefinition::builder().name("app").image("x:1").memory(128).build();
    let registered =
        ecs.register_task_definition().family(FAMILY).container_definitions(container).send().await.unwrap();
    assert!(registered.task_definition().is_some());
    ecs.create_service()
        .cluster("main")
        .service_name(FAMILY)
        .task_definition(FAMILY)
        .desired_count(1)
        .send()
        .await
        .unwrap();
    let live = orchestrator.documents(FAMILY).await.unwrap().unwrap();
    let wanted = orchestrator.desired_documents(&rich("x:2"), &request(FAMILY)).await.unwrap();
    let paths = paths(&live, &wanted);
    assert!(paths.contains(&"containerDefinitions[app].image".to_owned()), "{paths:?}");
    assert!(paths.contains(&"desiredCount".to_owned()), "{paths:?}");
    // How it was made is no business of an update.
    assert!(!paths.iter().any(|path| path == "launchType" || path == "propagateTags"), "{paths:?}");
}

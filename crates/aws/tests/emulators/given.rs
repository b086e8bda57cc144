//! What other tools' files need: lookups, and documents sent as they are. On ministack and on moto.

use landfall_aws::{AwsOptions, AwsPlatform, ParameterValue};
use landfall_model::app::{CircuitBreaker, DeploymentConfiguration};
use landfall_model::aws::AwsTarget;
use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_EXECUTION, Tags};
use landfall_model::task::{ContainerDefinition, ContainerSettings, LaunchType, TaskDefinition};
use landfall_ports::PortError;
use landfall_ports::orchestrator::PutService;
use serde_json::{Value, json};

use crate::emulator;
use crate::raw::Raw;

struct Place {
    platform: AwsPlatform,
    raw: Raw,
    /// moto counts no running tasks and knows fewer keys.
    runs: bool,
}

impl Place {
    async fn new(endpoint: &str, key: &str, region: &str, runs: bool) -> Self {
        let target = AwsTarget {
            name: "test".to_owned(),
            region: Some(region.to_owned()),
            endpoint: Some(endpoint.to_owned()),
            cluster: "main".to_owned(),
            ..AwsTarget::default()
        };
        let options = AwsOptions { instance: "given-tests".to_owned() };
        let platform = AwsPlatform::connect_as(&target, options, emulator::credentials(key)).await.unwrap();
        Self { platform, raw: Raw::new(endpoint, region), runs }
    }

    async fn moto(region: &str) -> Self {
        Self::new(&emulator::moto(), "test", region, false).await
    }

    async fn ministack(region: &str) -> Self {
        Self::new(&emulator::ministack(), "test", region, true).await
    }

    async fn ecs(&self, action: &str, body: Value) -> Value {
        self.raw.json("ecs", &format!("AmazonEC2ContainerServiceV20141113.{action}"), body).await
    }

    async fn put_object(&self, path: &str, body: &str) {
        let put = reqwest::Client::new().put(format!("{}/{path}", self.raw.endpoint)).body(body.to_owned());
        let scope = format!("Credential=test/20260101/{}/s3/aws4_request", self.raw.region);
        let put = put.header("authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"));
        let answer = put.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }
}

const STACK: &str = r#"{"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "given"}}},
    "Outputs": {"Plain": {"Value": "a & <b>"}, "Shared": {"Value": "subnet-1", "Export": {"Name": "net-subnet"}}}}"#;

async fn what_files_ask_is_answered(place: Place) {
    let (raw, platform) = (&place.raw, &place.platform);
    for (name, kind, value) in
        [("/f/text", "String", "one"), ("/f/list", "StringList", "x,y"), ("/f/s", "SecureString", "z")]
    {
        raw.json("ssm", "AmazonSSM.PutParameter", json!({"Name": name, "Type": kind, "Value": value})).await;
    }
    assert!(platform.parameter("/f/text").await.unwrap() == ParameterValue::Text("one".to_owned()));
    assert!(platform.parameter("/f/s").await.unwrap() == ParameterValue::Text("z".to_owned()));
    let list = ParameterValue::List(vec!["x".to_owned(), "y".to_owned()]);
    assert!(platform.parameter("/f/list").await.unwrap() == list);
    assert!(matches!(platform.parameter("/f/none").await, Err(PortError::NotFound(_))));

    let body = json!({"Name": "f-secret", "SecretString": "hidden"});
    raw.json("secretsmanager", "secretsmanager.CreateSecret", body).await;
    let arn = platform.secret_arn("f-secret").await.unwrap();
    assert!(arn.starts_with("arn:aws:secretsmanager:") && arn.contains(":secret:f-secret-"), "{arn}");
    assert!(matches!(platform.secret_arn("f-none").await, Err(PortError::NotFound(_))));

    let fields = [("Action", "CreateStack"), ("Version", "2010-05-15"), ("StackName", "net"), ("TemplateBody", STACK)];
    raw.query("cloudformation", &fields).await;
    let outputs = platform.stack_outputs("net").await.unwrap();
    assert_eq!((outputs["Plain"].as_str(), outputs["Shared"].as_str()), ("a & <b>", "subnet-1"));
    assert_eq!(platform.stack_exports().await.unwrap()["net-subnet"], "subnet-1");
    let gone = platform.stack_outputs("gone").await.unwrap_err();
    assert!(matches!(gone, PortError::NotFound(_)), "{gone}");

    place.put_object("given-bucket", "").await;
    place.put_object("given-bucket/a%20b/terraform.tfstate", "{\"version\": 4}").await;
    let text = platform.object("given-bucket", "a b/terraform.tfstate", None).await.unwrap();
    assert_eq!(text, "{\"version\": 4}");
    let gone = platform.object("given-bucket", "none", None).await.unwrap_err();
    assert!(matches!(gone, PortError::NotFound(_)), "{gone}");
    let caller = platform.caller_identity().await.unwrap();
    assert_eq!((caller["Account"].len(), caller["Arn"].starts_with("arn:aws:")), (12, true), "{caller:?}");
}

#[tokio::test]
async fn what_files_ask_is_answered_on_moto() {
    what_files_ask_is_answered(Place::moto("us-east-1").await).await;
}

#[tokio::test]
async fn what_files_ask_is_answered_on_ministack() {
    what_files_ask_is_answered(Place::ministack("us-east-1").await).await;
}

fn tags(execution: &str) -> Tags {
    let tags = [(TAG_ENVIRONMENT, "shop@default"), (TAG_EXECUTION, execution)];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn definition(image: &str) -> TaskDefinition {
    let settings = ContainerSettings { essential: true, ..ContainerSettings::default() };
    TaskDefinition {
        family: "given".to_owned(),
        containers: vec![ContainerDefinition { name: "web".to_owned(), image: image.to_owned(), settings }],
        document: Some(json!({
            "family": "other", "networkMode": "bridge", "tags": [{"key": "team", "value": "shop"}],
            "containerDefinitions": [{"name": "web", "image": "busybox:0", "memory": 64, "essential": true,
                "dockerLabels": {"Team": "shop"}, "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}]
        })),
        ..TaskDefinition::default()
    }
}

fn request(task_definition: &str, document: Value) -> PutService {
    PutService {
        name: "given".to_owned(),
        launch_type: LaunchType::Ec2,
        task_definition: task_definition.to_owned(),
        desired_count: 1,
        keep_count: false,
        deployment: DeploymentConfiguration {
            minimum_healthy_percent: 100,
            maximum_percent: 200,
            circuit_breaker: CircuitBreaker { enable: false, rollback: false, threshold: None },
            health_check_grace_period: 0,
            timeout: 600,
            strategy: landfall_model::strategy::DeploymentStrategy::default(),
            alarms: None,
        },
        target: None,
        tags: tags("exe_1"),
        adopt: true,
        replace: None,
        document: Some(document),
    }
}

async fn documents_are_sent_as_they_are(place: Place) {
    place.ecs("CreateCluster", json!({"clusterName": "main"})).await;
    let orchestrator = place.platform.orchestrator();
    let register =
        async |image| orchestrator.register_task_definition(&definition(image), &tags("exe_1")).await.unwrap();
    let first = register("busybox:1").await;
    assert!(first.created);
    let again = register("busybox:1").await;
    assert_eq!((again.created, &again.handle), (false, &first.handle), "the same is not registered again");
    let described = json!({"taskDefinition": first.handle, "include": ["TAGS"]});
    let described = place.ecs("DescribeTaskDefinition", described).await;
    let container = &described["taskDefinition"]["containerDefinitions"][0];
    assert_eq!((&container["image"], &described["taskDefinition"]["family"]), (&json!("busybox:1"), &json!("given")));
    assert_eq!(container["dockerLabels"], json!({"Team": "shop"}));
    let tagged = described["tags"].as_array().unwrap();
    assert!(tagged.contains(&json!({"key": "team", "value": "shop"})) && tagged.len() > 1, "{tagged:?}");

    let document = json!({"launchType": "EC2", "propagateTags": "SERVICE",
        "deploymentConfiguration": {"maximumPercent": 150, "minimumHealthyPercent": 50}});
    let put = orchestrator.put_service(&request(&first.handle, document.clone())).await.unwrap();
    assert!(put.created);
    let same = orchestrator.put_service(&request(&first.handle, document.clone())).await.unwrap();
    assert_eq!(same.deployment, put.deployment, "natural");
    let live = async || {
        let body = json!({"cluster": "main", "services": ["given"]});
        place.ecs("DescribeServices", body).await["services"][0].clone()
    };
    assert_eq!(live().await["deploymentConfiguration"]["maximumPercent"], 150);

    // Without a count in the document the live one stays.
    orchestrator.scale_service("given", 2).await.unwrap();
    let second = register("busybox:2").await;
    let put = orchestrator.put_service(&request(&second.handle, document.clone())).await.unwrap();
    let now = live().await;
    assert_eq!((now["taskDefinition"].as_str(), now["desiredCount"].as_u64()), (Some(&*second.handle), Some(2)));
    if place.runs {
        let told = orchestrator.describe_service("given").await.unwrap().unwrap();
        assert!(told.deployments.iter().any(|deployment| deployment.id == put.deployment), "{told:?}");
    }
    let mut counted = document.clone();
    counted["desiredCount"] = json!(0);
    orchestrator.put_service(&request(&second.handle, counted)).await.unwrap();
    assert_eq!(live().await["desiredCount"], 0);

    let fargate = json!({"launchType": "FARGATE"});
    let refused = orchestrator.put_service(&request(&second.handle, fargate)).await.unwrap_err();
    assert!(matches!(&refused, PortError::Conflict(text) if text.contains("launchType")), "{refused}");
}

#[tokio::test]
async fn documents_are_sent_as_they_are_on_moto() {
    documents_are_sent_as_they_are(Place::moto("eu-west-2").await).await;
}

#[tokio::test]
async fn documents_are_sent_as_they_are_on_ministack() {
    documents_are_sent_as_they_are(Place::ministack("eu-west-2").await).await;
}

//! What a deployment needs, looked at before it: all there, and each thing missing.

use std::sync::Arc;

use aws_sdk_cloudwatchlogs::config::{BehaviorVersion, Region};
use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_model::aws::AwsTarget;
use landfall_model::task::{SecretRef, TaskDefinition};
use landfall_ports::orchestrator::{Found, Looked, Orchestrator, PutService, TargetBinding};
use serde_json::{Value, json};

use crate::ecs::{definition, put, tags};
use crate::emulator;
use crate::raw::{Raw, element};

const ACCOUNT: &str = "123456789012";

/// All that a service of one container needs, in moto, in a region of its own.
struct Place {
    raw: Raw,
    target: AwsTarget,
    definition: TaskDefinition,
    request: PutService,
}

fn trust(service: &str) -> String {
    let statement = json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"});
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

impl Place {
    async fn new(region: &str) -> Self {
        let url = emulator::moto();
        let raw = Raw::new(&url, region);
        let ecs = |action: &str| format!("AmazonEC2ContainerServiceV20141113.{action}");
        raw.json("ecs", &ecs("CreateCluster"), json!({"clusterName": "main"})).await;
        let ecr = |action: &str| format!("AmazonEC2ContainerRegistry_V20150921.{action}");
        raw.json("ecr", &ecr("CreateRepository"), json!({"repositoryName": "shop/web"})).await;
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"digest": "sha256:0", "size": 1, "mediaType": "application/vnd.docker.container.image.v1+json"}, "layers": []});
        let image = json!({"repositoryName": "shop/web", "imageTag": "1", "imageManifest": manifest.to_string()});
        raw.json("ecr", &ecr("PutImage"), image).await;
        let secret = json!({"Name": "shop/db", "SecretString": "hunter2"});
        let secret = raw.json("secretsmanager", "secretsmanager.CreateSecret", secret).await;
        let parameter = json!({"Name": "/shop/token", "Type": "SecureString", "Value": "hunter2"});
        raw.json("ssm", "AmazonSSM.PutParameter", parameter).await;
        let logs = aws_sdk_cloudwatchlogs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .credentials_provider(emulator::credentials("test"))
            .endpoint_url(&url)
            .build();
        let logs = aws_sdk_cloudwatchlogs::Client::from_conf(logs);
        logs.create_log_group().log_group_name("/apps").send().await.unwrap();
        let name = format!("execution-{region}");
        raw.role(&name, "ecs-tasks.amazonaws.com").await;
        let ec2 = [("Version", "2016-11-15")];
        let subnets = raw.query("ec2", &[("Action", "DescribeSubnets"), ec2[0]]).await;
        let vpc = element(&subnets, "vpcId");
        let ids = subnets.split("<subnetId>").skip(1).take(2).map(|rest| rest.split_once('<').unwrap().0.to_owned());
        let ids: Vec<String> = ids.collect();
        let filter = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
        let groups = raw.query("ec2", &[&[("Action", "DescribeSecurityGroups"), ec2[0]], &filter[..]].concat()).await;
        let elb = [("Version", "2015-12-01")];
        let group = [("Name", "web"), ("Protocol", "HTTP"), ("Port", "80"), ("VpcId", &vpc), ("TargetType", "ip")];
        let group =
            raw.query("elasticloadbalancing", &[&[("Action", "CreateTargetGroup"), elb[0]], &group[..]].concat()).await;
        let group = element(&group, "TargetGroupArn");
        let balancer = [("Name", "main"), ("Subnets.member.1", &ids[0]), ("Subnets.member.2", &ids[1])];
        let balancer = raw
            .query("elasticloadbalancing", &[&[("Action", "CreateLoadBalancer"), elb[0]], &balancer[..]].concat())
            .await;
        let balancer = element(&balancer, "LoadBalancerArn");
        let listener = [
            ("LoadBalancerArn", balancer.as_str()),
            ("Protocol", "HTTP"),
            ("Port", "80"),
            ("DefaultActions.member.1.Type", "forward"),
            ("DefaultActions.member.1.TargetGroupArn", &group),
        ];
        raw.query("elasticloadbalancing", &[&[("Action", "CreateListener"), elb[0]], &listener[..]].concat()).await;

        let image = format!("{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/shop/web:1");
        let mut definition = definition("shop-prod-web", &image);
        let settings = &mut definition.containers[0].settings;
        let arn = secret["ARN"].as_str().unwrap().to_owned();
        settings.secrets.insert("DB".to_owned(), SecretRef::SecretsManager(format!("{arn}:password")));
        settings.secrets.insert("TOKEN".to_owned(), SecretRef::Ssm("/shop/token".to_owned()));
        let target = TargetBinding { target_group: group, container: "app".to_owned(), port: 4567 };
        let request = PutService {
            tags: tags("shop@prod", "exe_1"),
            target: Some(target),
            ..put("shop-prod-web", "shop@prod", "shop-prod-web")
        };
        let target = AwsTarget {
            name: "test".to_owned(),
            region: Some(region.to_owned()),
            endpoint: Some(url),
            cluster: "main".to_owned(),
            subnets: ids,
            security_groups: vec![element(&groups, "groupId")],
            execution_role: Some(format!("arn:aws:iam::{ACCOUNT}:role/{name}")),
            log_group: Some("/apps".to_owned()),
            ..AwsTarget::default()
        };
        Self { raw, target, definition, request }
    }

    async fn look(&self) -> Vec<Looked> {
        looked(&self.target, &self.definition, &self.request).await
    }
}

async fn looked(target: &AwsTarget, definition: &TaskDefinition, request: &PutService) -> Vec<Looked> {
    let options = AwsOptions { instance: "aws-tests".to_owned() };
    let platform = AwsPlatform::connect_as(target, options, emulator::credentials("test")).await.unwrap();
    let orchestrator: Arc<dyn Orchestrator> = platform.orchestrator();
    orchestrator.preflight(definition, request).await.unwrap()
}

/// What is wrong, by the first words of what was looked at.
fn wrong(all: &[Looked]) -> Vec<(String, String)> {
    let of = |one: &Looked| match &one.found {
        Found::Wrong { message, .. } => Some((one.what.clone(), message.clone())),
        _ => None,
    };
    all.iter().filter_map(of).collect()
}

impl Raw {
    async fn role(&self, name: &str, service: &str) {
        let role = [("Action", "CreateRole"), ("Version", "2010-05-08"), ("RoleName", name)];
        self.query("iam", &[&role[..], &[("AssumeRolePolicyDocument", &trust(service))]].concat()).await;
    }
}

#[tokio::test]
async fn where_everything_is_there_all_is_well() {
    let place = Place::new("ap-southeast-3").await;
    let all = place.look().await;
    let bad: Vec<&Looked> = all.iter().filter(|one| one.found != Found::Ok).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let kinds: Vec<&str> = all.iter().map(|one| one.what.split([' ', ':']).next().unwrap()).collect();
    assert_eq!(
        kinds,
        ["cluster", "image", "secret", "secret", "execution", "log", "subnets", "security", "target"],
        "{all:#?}"
    );
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    let Value::Array(json) = serde_json::to_value(&all).unwrap() else { panic!() };
    assert_eq!(json[0], json!({"what": "cluster main", "found": "ok"}));
}

#[tokio::test]
async fn each_thing_that_is_missing_is_told_by_itself() {
    let place = Place::new("ap-southeast-4").await;
    let expect =
        async |target: &AwsTarget, definition: &TaskDefinition, request: &PutService, what: &str, said: &str| {
            let all = looked(target, definition, request).await;
            let found = wrong(&all);
            let [(first, message)] = found.as_slice() else { panic!("{what}: {all:#?}") };
            assert!(first.starts_with(what) && message.contains(said), "{first}: {message}");
        };
    let (target, definition, request) = (&place.target, &place.definition, &place.request);
    let at = |change: &dyn Fn(&mut AwsTarget)| {
        let mut target = place.target.clone();
        change(&mut target);
        target
    };
    let of = |change: &dyn Fn(&mut TaskDefinition)| {
        let mut definition = place.definition.clone();
        change(&mut definition);
        definition
    };
    expect(&at(&|it| it.cluster = "other".to_owned()), definition, request, "cluster other", "MISSING").await;
    let image = of(&|it| it.containers[0].image = it.containers[0].image.replace(":1", ":2"));
    expect(target, &image, request, "image of app", "not in the registry").await;
    let set = |name: &'static str, reference: SecretRef| {
        of(&move |it| drop(it.containers[0].settings.secrets.insert(name.to_owned(), reference.clone())))
    };
    let gone = set("TOKEN", SecretRef::Ssm("/shop/other".to_owned()));
    expect(target, &gone, request, "secret TOKEN of app", "no such parameter").await;
    let arn = format!("arn:aws:secretsmanager:ap-southeast-4:{ACCOUNT}:secret:other-AbCdEf");
    let gone = set("DB", SecretRef::SecretsManager(arn));
    expect(target, &gone, request, "secret DB of app", "no such secret").await;
    let by_name = set("DB", SecretRef::SecretsManager("other".to_owned()));
    expect(target, &by_name, request, "task definition shop-prod-web", "other").await;
    let role = at(&|it| it.execution_role = Some(format!("arn:aws:iam::{ACCOUNT}:role/nobody")));
    expect(&role, definition, request, "execution role", "no such role").await;
    place.raw.role("for-lambda", "lambda.amazonaws.com").await;
    let role = at(&|it| it.task_role = Some(format!("arn:aws:iam::{ACCOUNT}:role/for-lambda")));
    expect(&role, definition, request, "task role", "trust policy").await;
    expect(&at(&|it| it.log_group = Some("/app".to_owned())), definition, request, "log group /app", "does not exist")
        .await;
    let subnet = at(&|it| it.subnets.push("subnet-0123456789abcdef0".to_owned()));
    expect(&subnet, definition, request, "subnets", "subnet-0123456789abcdef0").await;
    let group = at(&|it| it.security_groups = vec!["sg-0123456789abcdef0".to_owned()]);
    expect(&group, definition, request, "security groups", "sg-0123456789abcdef0").await;
    let mut other = request.clone();
    other.target.as_mut().unwrap().port = 80;
    expect(target, definition, &other, "target group web", "has no port 80").await;
    let mut other = request.clone();
    let missing = format!("arn:aws:elasticloadbalancing:ap-southeast-4:{ACCOUNT}:targetgroup/gone/0123456789abcdef");
    other.target.as_mut().unwrap().target_group = missing;
    expect(target, definition, &other, "target group gone", "no such target group").await;
}

/// Images of other registries, and what knows nothing of EC2.
#[tokio::test]
async fn what_cannot_be_looked_at_is_not_checked() {
    let (url, fake) = landfall_awsfake::Fake::start_frozen().await.unwrap();
    fake.call("ecs", "CreateCluster", json!({"clusterName": "main"})).unwrap();
    let account = landfall_awsfake::ACCOUNT;
    let target = AwsTarget {
        name: "test".to_owned(),
        region: Some(landfall_awsfake::REGION.to_owned()),
        endpoint: Some(url),
        cluster: "main".to_owned(),
        subnets: vec!["subnet-1".to_owned()],
        execution_role: Some(format!("arn:aws:iam::{account}:role/execution")),
        ..AwsTarget::default()
    };
    let all = looked(&target, &definition("web", "docker.io/library/nginx:1"), &put("web", "shop@prod", "web")).await;
    assert!(wrong(&all).is_empty(), "{all:#?}");
    let not_checked = |what: &str| {
        all.iter()
            .any(|one| one.what.starts_with(what) && matches!(&one.found, Found::NotChecked { why } if !why.is_empty()))
    };
    assert!(not_checked("image of app") && not_checked("subnets"), "{all:#?}");
}

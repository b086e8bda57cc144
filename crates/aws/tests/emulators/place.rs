//! One region of an emulator with a load balancer in it, to a test by itself: both emulators keep regions apart.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_elasticloadbalancingv2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_elasticloadbalancingv2::types::{Action, Listener, ProtocolEnum};
use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_model::aws::AwsTarget;

use crate::emulator;
use crate::raw::{Raw, element};

pub(crate) const INSTANCE: &str = "aws2-tests";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Moto,
    Ministack,
}

pub(crate) struct Place {
    pub kind: Kind,
    pub platform: AwsPlatform,
    pub raw: Raw,
    /// What tests look with.
    pub elb: aws_sdk_elasticloadbalancingv2::Client,
    /// Of the load balancer.
    pub name: String,
    pub arn: String,
    pub vpc: String,
    pub certificate: String,
    target: AwsTarget,
}

const REGIONS: [&str; 16] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ca-central-1",
    "sa-east-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-central-1",
    "eu-north-1",
    "ap-south-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-southeast-1",
    "ap-southeast-2",
];

impl Place {
    pub(crate) async fn moto() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self::new(Kind::Moto, &emulator::moto(), NEXT.fetch_add(1, Ordering::Relaxed)).await
    }

    pub(crate) async fn ministack() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Self::new(Kind::Ministack, &emulator::ministack(), NEXT.fetch_add(1, Ordering::Relaxed)).await
    }

    /// ministack serves requests to load balancers of this region only. For one test.
    pub(crate) async fn with_a_data_plane() -> Self {
        Self::new(Kind::Ministack, &emulator::ministack(), 0).await
    }

    async fn new(kind: Kind, endpoint: &str, number: usize) -> Self {
        let region = REGIONS[number];
        let raw = Raw::new(endpoint, region);
        let elb = aws_sdk_elasticloadbalancingv2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
            .endpoint_url(endpoint)
            .build();
        let elb = aws_sdk_elasticloadbalancingv2::Client::from_conf(elb);
        let subnets = raw.query("ec2", &[("Action", "DescribeSubnets"), ("Version", "2016-11-15")]).await;
        let vpc = element(&subnets, "vpcId");
        let subnets =
            subnets.split("<subnetId>").skip(1).take(2).map(|rest| rest.split_once('<').unwrap().0.to_owned());
        let name = format!("main-{number}");
        let made = elb.create_load_balancer().name(&name).set_subnets(Some(subnets.collect())).send().await.unwrap();
        let arn = made.load_balancers()[0].load_balancer_arn().unwrap().to_owned();
        let target = AwsTarget {
            name: "test".to_owned(),
            region: Some(region.to_owned()),
            endpoint: Some(endpoint.to_owned()),
            cluster: "main".to_owned(),
            load_balancer: Some(name.clone()),
            ..AwsTarget::default()
        };
        let certificate = serde_json::json!({"DomainName": "*.example"});
        let certificate = raw.json("acm", "CertificateManager.RequestCertificate", certificate).await;
        let certificate = certificate["CertificateArn"].as_str().unwrap().to_owned();
        let platform = connect(&target).await;
        Self { kind, platform, raw, elb, name, arn, vpc, certificate, target }
    }

    /// The same place by a target that is a little different.
    pub(crate) async fn with(&self, change: impl FnOnce(&mut AwsTarget)) -> AwsPlatform {
        let mut target = self.target.clone();
        change(&mut target);
        connect(&target).await
    }

    pub(crate) async fn listener(&self, port: i32) -> Option<Listener> {
        let found = self.elb.describe_listeners().load_balancer_arn(&self.arn).send().await.unwrap();
        let mut found = found.listeners.unwrap_or_default().into_iter().filter(|found| found.port == Some(port));
        let first = found.next();
        assert!(found.next().is_none(), "two listeners on port {port}");
        first
    }

    pub(crate) async fn priorities(&self, listener: &Listener) -> Vec<String> {
        let rules = self.elb.describe_rules().listener_arn(listener.listener_arn().unwrap()).page_size(400);
        let rules = rules.send().await.unwrap();
        let mut found: Vec<String> = rules.rules().iter().map(|rule| rule.priority().unwrap().to_owned()).collect();
        found.sort();
        found
    }

    pub(crate) async fn rule_priority(&self, rule: &str) -> String {
        let found = self.elb.describe_rules().rule_arns(rule).send().await.unwrap();
        found.rules()[0].priority().unwrap().to_owned()
    }

    /// Without our tags.
    pub(crate) async fn foreign_group(&self, name: &str) -> String {
        let made = self.elb.create_target_group().name(name).protocol(ProtocolEnum::Http).port(80).vpc_id(&self.vpc);
        made.send().await.unwrap().target_groups()[0].target_group_arn().unwrap().to_owned()
    }

    /// Without our tags.
    pub(crate) async fn foreign_listener(&self, port: i32, action: Action) -> String {
        let made = self.elb.create_listener().load_balancer_arn(&self.arn).protocol(ProtocolEnum::Http).port(port);
        let made = made.default_actions(action).send().await.unwrap();
        made.listeners()[0].listener_arn().unwrap().to_owned()
    }
}

pub(crate) async fn connect(target: &AwsTarget) -> AwsPlatform {
    let options = AwsOptions { instance: INSTANCE.to_owned() };
    AwsPlatform::connect_as(target, options, emulator::credentials("test")).await.unwrap()
}

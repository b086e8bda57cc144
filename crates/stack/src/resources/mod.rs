//! CloudFormation's types as far as our templates use them. Fields and meanings are those of the resource and property types'
//! reference (<https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-template-resource-type-ref.html>); what is
//! `None` or empty is not written.

pub mod around;
pub mod balancer;
pub mod delivery;
pub mod ecs;
pub mod network;

use serde::Serialize;

use crate::expr::{Expr, Id};

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Resource {
    #[serde(flatten)]
    pub properties: Properties,
    /// Only while it holds the resource is there.
    pub condition: Option<Id>,
    /// What must be there first and is not referred to.
    pub depends_on: Vec<Id>,
    /// What becomes of it when it leaves the stack: nothing said is `Delete`.
    pub deletion_policy: Option<&'static str>,
    pub update_replace_policy: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "Type", content = "Properties")]
#[allow(clippy::large_enum_variant, reason = "some hundreds at most, each written once")]
pub enum Properties {
    #[serde(rename = "AWS::EC2::VPC")]
    Vpc(network::Vpc),
    #[serde(rename = "AWS::EC2::Subnet")]
    Subnet(network::Subnet),
    #[serde(rename = "AWS::EC2::InternetGateway")]
    InternetGateway(network::InternetGateway),
    #[serde(rename = "AWS::EC2::VPCGatewayAttachment")]
    GatewayAttachment(network::GatewayAttachment),
    #[serde(rename = "AWS::EC2::RouteTable")]
    RouteTable(network::RouteTable),
    #[serde(rename = "AWS::EC2::Route")]
    Route(network::Route),
    #[serde(rename = "AWS::EC2::SubnetRouteTableAssociation")]
    RouteTableAssociation(network::RouteTableAssociation),
    #[serde(rename = "AWS::EC2::EIP")]
    Address(network::Address),
    #[serde(rename = "AWS::EC2::NatGateway")]
    NatGateway(network::NatGateway),
    #[serde(rename = "AWS::EC2::SecurityGroup")]
    SecurityGroup(network::SecurityGroup),
    #[serde(rename = "AWS::EC2::LaunchTemplate")]
    LaunchTemplate(network::LaunchTemplate),
    #[serde(rename = "AWS::AutoScaling::AutoScalingGroup")]
    InstanceGroup(network::InstanceGroup),
    #[serde(rename = "AWS::AutoScaling::LifecycleHook")]
    InstanceHook(network::InstanceHook),
    #[serde(rename = "AWS::EC2::SpotFleet")]
    SpotFleet(network::SpotFleet),
    #[serde(rename = "AWS::ECS::Cluster")]
    Cluster(ecs::Cluster),
    #[serde(rename = "AWS::ECS::CapacityProvider")]
    CapacityProvider(ecs::CapacityProvider),
    #[serde(rename = "AWS::ECS::ClusterCapacityProviderAssociations")]
    CapacityProviders(ecs::CapacityProviders),
    #[serde(rename = "AWS::ECS::TaskDefinition")]
    TaskDefinition(ecs::TaskDefinition),
    #[serde(rename = "AWS::ECS::Service")]
    Service(ecs::Service),
    #[serde(rename = "AWS::ElasticLoadBalancingV2::LoadBalancer")]
    LoadBalancer(balancer::LoadBalancer),
    #[serde(rename = "AWS::ElasticLoadBalancingV2::Listener")]
    Listener(balancer::Listener),
    #[serde(rename = "AWS::ElasticLoadBalancingV2::ListenerRule")]
    ListenerRule(balancer::ListenerRule),
    #[serde(rename = "AWS::ElasticLoadBalancingV2::TargetGroup")]
    TargetGroup(balancer::TargetGroup),
    #[serde(rename = "AWS::IAM::Role")]
    Role(around::Role),
    #[serde(rename = "AWS::IAM::InstanceProfile")]
    InstanceProfile(around::InstanceProfile),
    #[serde(rename = "AWS::Logs::LogGroup")]
    LogGroup(around::LogGroup),
    #[serde(rename = "AWS::ApplicationAutoScaling::ScalableTarget")]
    ScalableTarget(around::ScalableTarget),
    #[serde(rename = "AWS::ApplicationAutoScaling::ScalingPolicy")]
    ScalingPolicy(around::ScalingPolicy),
    #[serde(rename = "AWS::Scheduler::Schedule")]
    Schedule(around::Schedule),
    #[serde(rename = "AWS::CertificateManager::Certificate")]
    Certificate(around::Certificate),
    #[serde(rename = "AWS::Route53::RecordSet")]
    RecordSet(around::RecordSet),
    #[serde(rename = "AWS::EFS::FileSystem")]
    FileSystem(around::FileSystem),
    #[serde(rename = "AWS::EFS::MountTarget")]
    MountTarget(around::MountTarget),
    #[serde(rename = "AWS::CodePipeline::Pipeline")]
    Pipeline(delivery::Pipeline),
    #[serde(rename = "AWS::CodeBuild::Project")]
    Project(delivery::Project),
    #[serde(rename = "AWS::S3::Bucket")]
    Bucket(delivery::Bucket),
    #[serde(rename = "AWS::S3::BucketPolicy")]
    BucketPolicy(delivery::BucketPolicy),
    #[serde(rename = "AWS::SNS::Topic")]
    Topic(delivery::Topic),
    #[serde(rename = "AWS::SNS::Subscription")]
    Subscription(delivery::Subscription),
    #[serde(rename = "AWS::CodePipeline::Webhook")]
    Webhook(delivery::Webhook),
    #[serde(rename = "AWS::SecretsManager::Secret")]
    Secret(delivery::Secret),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    pub key: &'static str,
    pub value: Expr,
}

/// As Auto Scaling groups have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PropagatedTag {
    pub key: &'static str,
    pub value: Expr,
    pub propagate_at_launch: bool,
}

/// Of task definitions, schedules' targets and others: name and value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NameValue {
    pub name: String,
    pub value: Expr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyValue {
    pub key: &'static str,
    pub value: String,
}

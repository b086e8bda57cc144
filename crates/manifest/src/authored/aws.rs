//! Places on AWS as a person writes them. Identifiers are text whatever they look like: an account is not a number.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::scalar::Text;

/// A place on AWS: account and region, cluster, load balancer, and how tasks are placed. Credentials are never part of it:
/// they come from the SDK's own chain (environment, profile, SSO, web identity, instance role).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["cluster"]))]
pub(crate) struct AwsTarget {
    /// Default: what the SDK's chain says (AWS_REGION, profile, instance metadata).
    pub region: Option<String>,
    /// A profile of the shared configuration files.
    pub profile: Option<Text>,
    /// Instead of AWS's own endpoints, for every service: an emulator, a VPC endpoint.
    pub endpoint: Option<String>,
    /// Twelve digits. Where given, the credentials must belong to it or nothing is written.
    pub account: Option<Text>,
    /// A role that is assumed before anything else.
    pub role: Option<AssumeRole>,
    /// Name or ARN of the ECS cluster.
    pub cluster: Text,
    /// Name or ARN of the Application Load Balancer that all share; needed by services with a `load_balancer`.
    pub load_balancer: Option<Text>,
    /// What URLs name instead of the load balancer's own DNS name.
    pub address: Option<Text>,
    /// `host:port`, or a URL whose path goes before the probe's, where Landfall's own probes connect instead of the URL's
    /// host: a tunnel to a private load balancer, an emulator.
    pub probe_through: Option<Text>,
    /// VPC of target groups. Default: the load balancer's.
    pub vpc: Option<Text>,
    /// For tasks in awsvpc mode, so always with Fargate.
    pub network: Option<Network>,
    /// Name or ARN of the role that pulls images, reads secrets and writes logs.
    pub execution_role: Option<Text>,
    /// Name or ARN of the role that the containers have.
    pub task_role: Option<Text>,
    /// CloudWatch Logs group of all containers. Without it containers log nowhere, unless a base task definition says
    /// otherwise.
    pub log_group: Option<Text>,
    /// ARN of a certificate in ACM: listeners that Landfall makes are HTTPS.
    pub certificate: Option<Text>,
}

/// A role that is assumed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["arn"]))]
pub(crate) struct AssumeRole {
    /// ARN of the role.
    pub arn: Text,
    /// What the role's trust policy asks of strangers.
    pub external_id: Option<Text>,
}

/// Where the network interfaces of tasks are.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["subnets"]))]
pub(crate) struct Network {
    /// `subnet-…`, at most 16.
    pub subnets: Vec<Text>,
    /// `sg-…`, at most 5. Default: the VPC's own.
    pub security_groups: Vec<Text>,
    /// Needed in public subnets for pulling images; Fargate only. Default: false.
    pub public_ip: bool,
}

/// A Lambda function, invoked with the environment as JSON.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["function"]))]
pub(crate) struct LambdaHook {
    /// Name or ARN, with or without a version or alias: `ci-deploy`, `ci-deploy:live`.
    pub function: Text,
}

/// An SNS topic.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["topic"]))]
pub(crate) struct SnsTarget {
    /// ARN of the topic.
    pub topic: Text,
    /// The name under `aws` through which it is reached. Default: where previews run, else the only one.
    pub on: Option<Text>,
    /// Messages for a chat forwarder behind the topic: a JSON string with channel, username, icon_url and text.
    pub envelope: Option<Envelope>,
}

/// What a chat forwarder reads, as ECS Deity sent it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["channel"]))]
pub(crate) struct Envelope {
    /// `#name` of a channel.
    pub channel: Text,
    /// Default: `landfall`.
    pub username: Option<Text>,
    /// Default: none.
    pub icon_url: Option<String>,
}

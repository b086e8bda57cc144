//! The resolved manifest: defaults filled in, references checked, nothing authored left. `landfall-manifest` makes it,
//! everything else reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aws::AwsTarget;
use crate::ci::Ci;
use crate::cron::Schedule;
use crate::ids::{EnvironmentId, RepositoryKey};
use crate::pipeline::Pipeline;
use crate::probe::Verify;
use crate::stack::Stack;
use crate::step::{RouteTarget, url};
use crate::strategy::{DeploymentAlarms, DeploymentStrategy};
use crate::task::{ContainerSettings, LaunchType, SecretRef};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Lower-case letters, digits and hyphens; the prefix of every name.
    pub project: String,
    /// Repositories that may ask for environments, by key. Never empty: a manifest without the section gets one entry
    /// named after the project.
    pub repositories: BTreeMap<RepositoryKey, Repository>,
    pub services: BTreeMap<String, Service>,
    pub environments: BTreeMap<String, LongLivedEnvironment>,
    pub previews: Option<Previews>,
    pub notifications: Vec<Notification>,
    /// Secrets that sign GitHub webhooks; any one of them is accepted (rotation).
    pub webhook_secrets: Vec<SecretRef>,
    /// Places on AWS, by name.
    #[serde(default)]
    pub aws: BTreeMap<String, AwsTarget>,
    /// Commands from a chat.
    #[serde(default)]
    pub chatops: Option<ChatOps>,
    /// What a CI job does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci: Option<Ci>,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pipelines: BTreeMap<String, Pipeline>,
}

/// Who may ask for previews out of a chat, and how a request proves where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatOps {
    pub slack: Option<SlackCommands>,
}

/// Slack's slash command (`signing_secret`) and its older outgoing webhook (`outgoing_token`); at least one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlackCommands {
    pub signing_secret: Option<SecretRef>,
    pub outgoing_token: Option<SecretRef>,
    /// Ids (`C0123ABCD`) or names (`#deploys`); empty: every channel of the workspace.
    pub channels: Vec<String>,
    /// Ids (`U0123ABCD`); empty: everybody of the workspace.
    pub users: Vec<String>,
}

impl App {
    /// Where previews run; `None`: on this machine.
    pub fn preview_target(&self) -> Option<&AwsTarget> {
        self.aws.get(self.previews.as_ref()?.on.as_ref()?)
    }

    /// Where a preview's route is reached.
    pub fn route_url(&self, route: &RouteTarget) -> String {
        route_url(self.preview_target(), route)
    }
}

/// Where a route is reached. On AWS a listener is reached at the load balancer's address, not here, and speaks TLS where there
/// is a certificate.
pub fn route_url(target: Option<&AwsTarget>, route: &RouteTarget) -> String {
    let Some(AwsTarget { address, certificate, .. }) = target else { return route.url() };
    match (route, address) {
        (RouteTarget::Host { host, port }, _) | (RouteTarget::Port { port }, Some(host)) => {
            url(certificate.is_some(), host, *port)
        }
        (RouteTarget::Port { .. }, None) => route.url(),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    pub key: RepositoryKey,
    /// `owner/name` on GitHub, matched without case; `None` accepts the repository whose bare name equals the key.
    pub github: Option<String>,
    /// GitHub's numeric id; survives renames. Wins over `github` when both are given.
    pub github_id: Option<u64>,
    /// What `git clone` and `git ls-remote` take: an absolute path or a URL. `None`: nothing can be built or listed.
    pub source: Option<String>,
    /// Every occurrence of this text is removed from the repository's name before resources are named (`repo_ommit`).
    pub omit: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    #[serde(default)]
    pub launch_type: LaunchType,
    /// A task definition registered elsewhere that `containers` are laid over (AWS only).
    #[serde(default)]
    pub base_task_definition: Option<String>,
    /// Task-level CPU units and MiB.
    pub cpu: Option<u32>,
    pub memory: Option<u32>,
    pub containers: Vec<ContainerTemplate>,
    pub desired_count: u32,
    pub deployment: DeploymentConfiguration,
    /// The container and port that receive traffic; `None` for a worker.
    pub load_balancer: Option<LoadBalancerBinding>,
    /// What is registered and put instead, in ECS's own JSON (AWS only): of the rest only `name`, the containers' names and their
    /// images count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<ServiceDocuments>,
}

impl Service {
    /// The tag that its awaited image is pushed with, as the manifest writes it; the commit where that tells none.
    pub fn awaited_tag(&self) -> &str {
        let mut tags = self.containers.iter().filter_map(|container| match &container.image {
            ImageSource::Await(wait) => Some(wait.image.rsplit_once(':')?.1),
            _ => None,
        });
        // A registry's port is no tag.
        tags.find(|tag| !tag.contains('/')).unwrap_or("{commit}")
    }
}

/// A service described in ECS's own words, as other tools keep it in files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceDocuments {
    /// As RegisterTaskDefinition takes it.
    pub task_definition: serde_json::Value,
    /// As CreateService takes it.
    pub service: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerTemplate {
    pub name: String,
    pub image: ImageSource,
    pub settings: ContainerSettings,
}

/// Where a container's image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// As written, the same for every branch.
    Reference(String),
    /// Built by Landfall from a checkout of the environment's commit.
    Build(BuildSource),
    /// Made by somebody else (CI): waited for until it can be resolved or the deadline passes.
    Await(AwaitSource),
    /// Whatever the base task definition has.
    Base,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSource {
    /// Directory of the build context, relative to the repository's root.
    pub context: String,
    /// Relative to the context.
    pub dockerfile: String,
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    /// Seconds until a build is given up.
    pub timeout: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitSource {
    /// May hold `{commit}`, `{short_commit}`, `{branch}` (made legal for a tag) and `{project}`.
    pub image: String,
    /// Instead of a tag: any image of that repository whose label has this value (placeholders as above).
    pub label: Option<(String, String)>,
    /// Seconds until the wait ends as a failure.
    pub deadline: u32,
    /// How `landfall build` makes it, in CI or by hand; `landfall push` sends it to `image`. Where it is awaited nothing is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildSource>,
    /// Tags that it gets beside that of `image`; placeholders as above, and `{tag}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentConfiguration {
    pub minimum_healthy_percent: u32,
    pub maximum_percent: u32,
    pub circuit_breaker: CircuitBreaker,
    /// Seconds a task's failing load balancer health checks are ignored after it started.
    pub health_check_grace_period: u32,
    /// Seconds until a deployment that is neither done nor failed counts as timed out.
    pub timeout: u32,
    #[serde(default, skip_serializing_if = "DeploymentStrategy::is_default")]
    pub strategy: DeploymentStrategy,
    /// Alarms of CloudWatch that end a deployment while they are in ALARM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarms: Option<DeploymentAlarms>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreaker {
    pub enable: bool,
    pub rollback: bool,
    /// Consecutive failed tasks that trip it; ECS computes `ceil(desired / 2)` clamped to 3..=200. `None`: as ECS.
    pub threshold: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerBinding {
    pub container: String,
    pub port: u16,
    pub health_check: TargetHealthCheck,
    /// Seconds a deregistered target may finish its requests.
    pub deregistration_delay: u32,
    pub algorithm: BalancingAlgorithm,
    /// Seconds without a byte before a request is answered 504.
    pub idle_timeout: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalancingAlgorithm {
    RoundRobin,
    LeastOutstandingRequests,
}

/// Elastic Load Balancing's HTTP health check of a target. Times are milliseconds so that local checks can be quick;
/// AWS accepts whole seconds only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealthCheck {
    #[serde(default)]
    pub protocol: HealthCheckProtocol,
    pub path: String,
    /// `None`: the traffic port.
    pub port: Option<u16>,
    pub interval_ms: u32,
    pub timeout_ms: u32,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
    /// `200`, `200,202`, `200-299` or a mix.
    pub matcher: String,
}

/// What a target is asked in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheckProtocol {
    #[default]
    Http,
    /// AWS only; the target's certificate is not verified (ELB's rule).
    Https,
}

/// A named, lasting environment (dev, staging, prod).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongLivedEnvironment {
    pub name: String,
    /// A name under `aws`; `None`: this machine.
    #[serde(default)]
    pub on: Option<String>,
    pub services: Vec<String>,
    /// Values set over each container's own `environment`.
    pub variables: BTreeMap<String, String>,
    /// By service: the name that it (and its family) has on the platform already. Default: `{project}-{environment}-{service}`.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
    /// Where the first service with a load balancer binding answers. `None`: nothing is routed to it by Landfall.
    #[serde(default)]
    pub routing: Option<RouteTarget>,
    /// By service: a target group that exists (AWS only), by ARN. Then none is made, nor a route.
    #[serde(default)]
    pub target_groups: BTreeMap<String, String>,
    /// By service: held at every deployment. Without it the live count stays, and a new service gets its own `desired_count`.
    #[serde(default)]
    pub desired_count: BTreeMap<String, u32>,
    /// What shows that it does what it should; `None`: that its root answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// By name: one-off tasks that are run again and again, on this machine by the server, in a stack by EventBridge Scheduler.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<String, Schedule>,
    /// It is a stack of CloudFormation, and changes through that only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Stack>,
}

impl LongLivedEnvironment {
    /// `my-project@prod`: no preview's id has an `@`.
    pub fn id(&self, project: &str) -> EnvironmentId {
        EnvironmentId::new(format!("{project}@{}", self.name))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Previews {
    /// A name under `aws`; `None`: this machine.
    #[serde(default)]
    pub on: Option<String>,
    /// A branch gets a preview when it matches one of `branches` and none of `ignore` (globs; `*` stops at `/`, `**` does not).
    pub branches: Vec<String>,
    pub ignore: Vec<String>,
    /// Whether pull requests get a preview too (their branch's, or their own for forks).
    pub pull_requests: bool,
    /// Services of a preview; the first one with a load balancer binding answers at the URL.
    pub services: Vec<String>,
    /// Overrides `desired_count` of every service in a preview.
    pub desired_count: Option<u32>,
    pub variables: BTreeMap<String, String>,
    pub routing: Routing,
    /// Seconds after the last activity; `None`: no limit.
    pub ttl: Option<u64>,
    pub limits: Limits,
    pub hooks: Vec<Hook>,
    /// When a preview that nobody uses is put to sleep; `None`: only when asked.
    #[serde(default)]
    pub sleep: Option<Sleep>,
}

/// Scaling to nothing what nobody asks for. Only where Landfall's own load balancer sees the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleep {
    /// Seconds without a request.
    pub after: u64,
    /// Seconds that a request is held while the preview wakes.
    pub hold: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// `http://{leaf}.{domain}:{port}/` on one shared listener.
    Host { domain: String, port: u16 },
    /// A listener of its own for every preview, from `first..=last`.
    Ports { first: u16, last: u16 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Previews that may exist at once; more wait in a queue. Updates and deletions never wait.
    pub max_previews: Option<u32>,
    pub concurrent_builds: u32,
    pub concurrent_executions: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    pub name: String,
    pub when: HookPoint,
    pub run: HookAction,
    /// Seconds.
    pub timeout: u32,
    pub on_failure: HookFailure,
    /// Whether it may be run again when a crash left it unknown whether it ran. If not, the execution pauses there.
    pub rerunnable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// After images are there, before the service is made.
    BeforeCreate,
    /// After the URL answers.
    AfterCreate,
    BeforeUpdate,
    AfterUpdate,
    BeforeDestroy,
    AfterDestroy,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookAction {
    /// argv, run on the Landfall host with `LANDFALL_*` variables describing the environment.
    Command { argv: Vec<String>, directory: Option<String> },
    /// The environment as JSON; 2xx is success.
    Http {
        url: String,
        method: String,
        headers: BTreeMap<String, String>,
        /// Sent as `Authorization: Bearer …`.
        secret: Option<SecretRef>,
        /// Headers whose values are looked up when they are sent.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        secret_headers: BTreeMap<String, SecretRef>,
    },
    /// A one-off task of a service's task definition, one container's command replaced; exit code 0 is success.
    Task { service: String, container: Option<String>, command: Vec<String> },
    /// A Lambda function of the preview's AWS account, invoked with the environment as JSON; a function error is a failure.
    Lambda { function: String },
    /// A pipeline of CircleCI (API v2), triggered; with `wait` followed until all its workflows have ended well.
    #[serde(rename = "circleci")]
    CircleCi(CircleCi),
}

/// `branch` and texts in `parameters` may hold `{branch}`, `{commit}`, `{url}`, `{environment}`, `{project}` and `{hook}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircleCi {
    /// Where its API is, without a slash at the end: `https://circleci.com`.
    pub host: String,
    /// `gh/acme/my-project`
    pub project: String,
    pub branch: String,
    /// Text, numbers and booleans: each as the pipeline declares it.
    pub parameters: BTreeMap<String, serde_json::Value>,
    pub token: SecretRef,
    pub wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookFailure {
    /// The execution fails and unwinds.
    Fail,
    /// A warning is recorded and the execution goes on.
    Warn,
    /// The execution waits for an operator.
    Pause,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub name: String,
    pub to: NotificationTarget,
    /// Kinds that are sent; empty means all.
    pub on: Vec<crate::notice::NoticeKind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationTarget {
    /// A line in the server's log.
    Log,
    /// JSON with `X-Landfall-Signature-256: sha256=<hmac of the body>` where a secret is given.
    Webhook { url: String, secret: Option<SecretRef> },
    /// `{"text": …}` as Slack's incoming webhooks take it.
    Slack { url: UrlOrSecret, channel: Option<String> },
    /// An SNS topic, reached through the AWS target `on`. With `envelope` the message is what ECS Deity sent: a JSON
    /// string with channel, username, icon_url and text under `default` (`MessageStructure=json`).
    Sns { topic: String, on: String, envelope: Option<ChatEnvelope> },
}

/// What a Slack forwarder behind an SNS topic reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatEnvelope {
    pub channel: String,
    pub username: String,
    pub icon_url: Option<String>,
}

/// A Slack webhook URL is itself a secret; it may be given in the open or by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UrlOrSecret {
    Url(String),
    Secret(SecretRef),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn urls_on_aws_name_the_load_balancer_and_speak_tls_with_a_certificate() {
        let app = |certificate: Option<&str>, address: Option<&str>| -> App {
            serde_json::from_value(serde_json::json!({
                "project": "p", "repositories": {}, "services": {}, "environments": {}, "notifications": [],
                "webhook_secrets": [],
                "previews": {
                    "on": "main", "branches": [], "ignore": [], "pull_requests": false, "services": [], "variables": {},
                    "routing": {"ports": {"first": 1, "last": 2}}, "hooks": [],
                    "limits": {"concurrent_builds": 1, "concurrent_executions": 1}
                },
                "aws": {"main": {
                    "name": "main", "cluster": "c", "subnets": [], "security_groups": [], "public_ip": false,
                    "certificate": certificate, "address": address
                }}
            }))
            .unwrap()
        };
        assert_eq!(url(false, "a.example", 80), "http://a.example/");
        assert_eq!(url(true, "a.example", 443), "https://a.example/");
        assert_eq!(url(true, "a.example", 8443), "https://a.example:8443/");
        assert_eq!(url(false, "a.example", 8001), "http://a.example:8001/");
        let host = |port| RouteTarget::Host { host: "a.example.com".to_owned(), port };
        let plain = app(None, Some("lb.example.com"));
        assert_eq!(plain.route_url(&host(80)), "http://a.example.com/");
        assert_eq!(plain.route_url(&host(8080)), "http://a.example.com:8080/");
        assert_eq!(plain.route_url(&RouteTarget::Port { port: 8001 }), "http://lb.example.com:8001/");
        let tls = app(Some("arn:aws:acm:…"), Some("lb.example.com"));
        assert_eq!(tls.route_url(&host(443)), "https://a.example.com/");
        assert_eq!(tls.route_url(&host(8443)), "https://a.example.com:8443/");
        assert_eq!(tls.route_url(&RouteTarget::Port { port: 8001 }), "https://lb.example.com:8001/");
    }
}

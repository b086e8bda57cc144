//! What a person writes in `landfall.yml`. These types give the JSON Schema, and through it the shape that the text is
//! checked against; doc comments become the descriptions an editor shows. Every field has a serde default so that a
//! manifest with errors still decodes and the semantic checks can go on; what is required says `extend("required")`.
//!
//! Externally tagged enums only and nothing flattened, so that every error has its place.

mod aws;
mod chat;
mod ci;
mod pipeline;
mod stack;
mod strategy;
mod verify;

use std::collections::BTreeMap;

use landfall_model::app::{BalancingAlgorithm, HealthCheckProtocol, HookFailure, HookPoint};
use landfall_model::notice::NoticeKind;
use landfall_model::strategy::StrategyKind;
use landfall_model::task::{DependencyCondition, LaunchType, SecretRef};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use self::aws::{AwsTarget, LambdaHook, SnsTarget};
pub(crate) use self::chat::{ChatOps, CircleCiHook, SlackCommands, Sleep};
pub(crate) use self::ci::{Ci, CiRule, CiStep};
pub(crate) use self::pipeline::{
    Pipeline, PipelineStage, StageApproval, StageCheck, StageRequires, StageStack, StageTask, StageWork,
};
pub(crate) use self::stack::{
    NewNetwork, Stack, StackCluster, StackMount, StackNetwork, StackPermission, StackScaling, StackScalingSchedule,
};
pub(crate) use self::strategy::{Alarms, Alternate, LifecycleHook};
pub(crate) use self::verify::{Probe, Verify};
use crate::scalar::{CheckCommand, Duration, PortRange, Text};

type Map<T> = BTreeMap<String, T>;

/// The manifest of one project: its services, and the environments they run in.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Landfall manifest", extend("required" = ["project", "services"], "patternProperties" = {"^x-": true}))]
pub(crate) struct Manifest {
    /// Lower-case letters, digits and hyphens; the prefix of every name.
    #[schemars(extend("pattern" = "^[a-z]([a-z0-9-]*[a-z0-9])?$", "maxLength" = 40))]
    pub project: String,
    /// Repositories that may ask for environments, by key. Default: one, named after the project.
    pub repositories: Map<Repository>,
    /// Services by name; each becomes an ECS service with its task definition.
    pub services: Map<Service>,
    /// Named, lasting environments: dev, staging, prod.
    pub environments: Map<Environment>,
    /// Preview environments per branch. Without this section there are none; `previews: {}` takes every default.
    pub previews: Option<Previews>,
    /// Who is told about what, by name.
    pub notifications: Map<Notification>,
    /// Incoming GitHub webhooks.
    pub webhook: Option<Webhook>,
    /// Places on AWS by name; previews and environments say `on: NAME`.
    pub aws: Map<AwsTarget>,
    /// Who may ask for previews out of a chat.
    pub chatops: Option<ChatOps>,
    /// What `landfall ci` does for which event.
    pub ci: Option<Ci>,
    /// Ways of a release from environment to environment, by name.
    pub pipelines: Map<Pipeline>,
    /// A cluster of EC2 and Spot instances for `landfall cluster`: what an `infra.yml` holds. docs/clusters.md lists the keys.
    pub cluster: Map<serde_json::Value>,
}

/// A repository that may ask for environments.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Repository {
    /// `owner/name` on GitHub. Without it, any repository whose bare name equals the key is accepted.
    pub github: Option<String>,
    /// GitHub's numeric id; survives renames and wins over `github`.
    pub github_id: Option<u64>,
    /// What `git clone` and `git ls-remote` take: a URL, or a path relative to the manifest. Without it nothing can be
    /// built from the repository and its branches cannot be listed.
    pub source: Option<String>,
    /// Text removed from the repository's name wherever it occurs, before resources are named.
    pub omit: Option<String>,
}

/// A service: a task definition and how many tasks of it run.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["containers"]))]
pub(crate) struct Service {
    /// Where the tasks are meant to run; decides which sizes are legal. Default: fargate.
    pub launch_type: LaunchType,
    /// A task definition registered elsewhere, on AWS: `family`, `family:revision` or its ARN. What `containers` say is laid
    /// over it; a container without an image keeps the one it has there.
    pub base_task_definition: Option<Text>,
    /// CPU units of the whole task, 1024 to a vCPU.
    pub cpu: Option<u32>,
    /// MiB of the whole task.
    pub memory: Option<u32>,
    /// Tasks to keep running. Default: 1.
    pub desired_count: Option<u32>,
    /// Containers of the task by name. They share one network namespace: they reach each other on localhost.
    pub containers: Map<Container>,
    /// How one version replaces another.
    pub deployment: Option<Deployment>,
    /// The container and port that receive traffic. A service without it is a worker.
    pub load_balancer: Option<LoadBalancer>,
}

/// A container of a task. Exactly one of `image`, `build` and `await` says where its image comes from, or none where the
/// service has a `base_task_definition`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Container {
    /// An image reference, the same for every branch.
    pub image: Option<String>,
    /// Built by Landfall from a checkout of the environment's commit.
    pub build: Option<Build>,
    /// Made by somebody else (CI): waited for until it exists.
    pub r#await: Option<Await>,
    /// Replaces the image's ENTRYPOINT.
    pub entry_point: Vec<Text>,
    /// Replaces the image's CMD.
    pub command: Vec<Text>,
    /// Replaces the image's WORKDIR.
    pub working_directory: Option<String>,
    /// `uid`, `uid:gid`, or names of the image.
    pub user: Option<Text>,
    /// Ports the container listens on. No two containers of a task can listen on the same one.
    pub ports: Vec<Port>,
    /// Environment variables in the open.
    pub environment: Map<Text>,
    /// Files of `NAME=VALUE` lines, relative to the manifest, in the open. `environment` wins, then the last file.
    pub env_file: Vec<String>,
    /// Names of variables that CI sets: at each deployment their values are taken from where Landfall runs, in the open.
    pub ci_variables: Vec<String>,
    /// Environment variables whose values are references, resolved when the container starts. `{environment}` in a reference is the
    /// environment's name, and `preview` for previews.
    pub secrets: Map<SecretRef>,
    /// Paths of SSM: every parameter directly under one is a secret, called as the last part of its name in capitals, `-` and `.` as
    /// `_`. What `environment` or `secrets` names wins, then the first path. `{environment}` as in `secrets`.
    pub secret_paths: Vec<String>,
    /// Containers of the same task and what each must have reached before this one starts.
    pub depends_on: Map<DependencyCondition>,
    /// Run inside the container.
    pub health_check: Option<HealthCheck>,
    /// Whether the task stops when this container stops. Default: true.
    pub essential: Option<bool>,
    /// Between the stop signal and SIGKILL. Default: 30s; Fargate allows 120s.
    pub stop_timeout: Option<Duration>,
    /// CPU units of this container.
    pub cpu: Option<u32>,
    /// Hard limit in MiB.
    pub memory: Option<u32>,
    /// Default: false.
    pub readonly_root_filesystem: bool,
}

/// A TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Port(#[schemars(range(min = 1, max = 65535))] pub u16);

/// An image built from the repository.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Build {
    /// Directory of the build context, relative to the repository's root. Default: `.`
    pub context: Option<String>,
    /// Relative to the context. Default: `Dockerfile`
    pub dockerfile: Option<String>,
    /// Build arguments.
    pub args: Map<Text>,
    /// The stage to build. Default: the last one.
    pub target: Option<String>,
    /// Default: 15m.
    pub timeout: Option<Duration>,
}

/// An image that somebody else pushes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["image"]))]
pub(crate) struct Await {
    /// May hold `{commit}`, `{short_commit}`, `{branch}` and `{project}`.
    pub image: String,
    /// Instead of a tag: one `label: value` that an image of the repository must carry; placeholders as in `image`.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    pub label: Map<Text>,
    /// How long to wait. Default: 15m.
    pub deadline: Option<Duration>,
    /// How `landfall build` makes it; `landfall push` sends it to `image`.
    pub build: Option<Build>,
    /// Further tags that a push gives it; placeholders as in `image`, and `{tag}`, the git tag. Those that hold what is not known are left out.
    pub tags: Vec<String>,
}

/// A container health check.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["command"]))]
pub(crate) struct HealthCheck {
    /// A shell line, or `["CMD", arg, …]` or `["CMD-SHELL", line]`. Exit code 0 is healthy.
    pub command: Option<CheckCommand>,
    /// Whole seconds. Default: 2s, on AWS 5s (ECS: 30s). On AWS 5s to 300s.
    pub interval: Option<Duration>,
    /// Whole seconds, at most the interval. Default: 2s (ECS: 5s). On AWS 2s to 60s.
    pub timeout: Option<Duration>,
    /// Failures in a row until unhealthy. Default: 3.
    pub retries: Option<u32>,
    /// Failures do not count for this long after the start. Default: 0s.
    pub start_period: Option<Duration>,
}

/// How one version of a service replaces another, as ECS does it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Deployment {
    /// Percent of `desired_count` that stays up. Default: 100.
    pub minimum_healthy_percent: Option<u32>,
    /// Percent of `desired_count` that may run at once. Default: 200.
    pub maximum_percent: Option<u32>,
    /// Ends a deployment whose tasks keep failing.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Failing load balancer checks are ignored for this long after a task started. Default: 0s.
    pub health_check_grace_period: Option<Duration>,
    /// A deployment that takes longer has failed. Default: 10m, and as long as its bake times and pauses may take.
    pub timeout: Option<Duration>,
    /// How traffic goes over to the new tasks; of previews always `rolling`. Others than `rolling` are on AWS only. Default:
    /// rolling.
    pub strategy: Option<StrategyKind>,
    /// Percent of the traffic, with one decimal at most: of each step (linear, 3 to 100; default 10), or of the first (canary,
    /// 0.1 to 100; default 5).
    pub percent: Option<Text>,
    /// How long a step is held (linear; default 6m), or the first one (canary; default 10m). Whole minutes, up to 24h.
    pub step_bake_time: Option<Duration>,
    /// How long both versions run on once all traffic is shifted. Whole minutes, up to 24h. Default: 0m.
    pub bake_time: Option<Duration>,
    /// What happens at stages of the deployment before it goes on. AWS only.
    pub lifecycle_hooks: Vec<LifecycleHook>,
    /// The second target group and the rules for two versions at once.
    pub alternate: Option<Alternate>,
    /// Alarms of CloudWatch that end a deployment. AWS only.
    pub alarms: Option<Alarms>,
}

/// Ends a deployment whose tasks keep failing.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CircuitBreaker {
    /// Default: true.
    pub enable: Option<bool>,
    /// Go back to the last version that worked. Default: true.
    pub rollback: Option<bool>,
    /// Failed tasks in a row that trip it. Default: as ECS, half of `desired_count`, at least 3 and at most 200.
    pub threshold: Option<u32>,
}

/// The container and port that receive traffic, and how targets are checked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LoadBalancer {
    /// Default: the only container that has ports.
    pub container: Option<String>,
    /// Default: the only port of that container.
    pub port: Option<Port>,
    /// HTTP checks of every target.
    pub health_check: Option<TargetCheck>,
    /// How long a removed target may finish its requests. Whole seconds. Default: 5s (ELB: 300s).
    pub deregistration_delay: Option<Duration>,
    /// Default: round_robin.
    pub algorithm: Option<BalancingAlgorithm>,
    /// Without a byte for this long a request is answered 504. Whole seconds. Default: 60s.
    pub idle_timeout: Option<Duration>,
}

/// Elastic Load Balancing's HTTP health check of a target.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TargetCheck {
    /// Default: http. `https` on AWS only; the target's certificate is not verified.
    pub protocol: Option<HealthCheckProtocol>,
    /// Default: `/`
    pub path: Option<String>,
    /// Default: the port that receives traffic.
    pub port: Option<Port>,
    /// Default: 2s, on AWS 5s (ELB: 30s). On AWS whole seconds, 5s to 300s.
    pub interval: Option<Duration>,
    /// Less than the interval. Default: 1s or half of a shorter interval, on AWS 2s (ELB: 5s). On AWS 2s to 120s.
    pub timeout: Option<Duration>,
    /// Successes in a row until healthy. Default: 2. On AWS 2 to 10.
    pub healthy_threshold: Option<u32>,
    /// Failures in a row until unhealthy. Default: 2. On AWS 2 to 10.
    pub unhealthy_threshold: Option<u32>,
    /// Status codes that are healthy: `200`, `200,202`, `200-299` or a mix. Default: `200-399`
    pub matcher: Option<Text>,
}

/// A named, lasting environment.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Environment {
    /// A name under `aws`. Default: this machine.
    pub on: Option<Text>,
    /// Default: all services.
    pub services: Option<Vec<String>>,
    /// Set over each container's own `environment`.
    pub variables: Map<Text>,
    /// By service: the name that it has on the platform already. Default: `{project}-{environment}-{service}`.
    pub names: Map<Text>,
    /// Where the first service with a `load_balancer` answers. Default: `http://{environment}.{project}.localhost:8080/`; on AWS
    /// it must be given, or the service's target group.
    pub routing: Option<EnvironmentRouting>,
    /// By service: the ARN of a target group that exists, instead of one of Landfall's with its route. AWS only.
    pub target_groups: Map<Text>,
    /// By service: tasks to keep running, set at every deployment. Default: the live count stays; of a new service its own
    /// `desired_count`.
    pub desired_count: Map<u32>,
    /// What `landfall verify ENV --probes` asks once it is deployed. Default: that `/` answers 200 to 399.
    pub verify: Option<Verify>,
    /// One-off tasks by name that are run again and again: on this machine by `landfall serve`, in a stack by EventBridge Scheduler.
    pub schedules: Map<Schedule>,
    /// The environment is a stack of CloudFormation, which `landfall template ENV` prints: network, cluster, load balancer and all
    /// that its services need. `stack: {}` takes every default. AWS only.
    pub stack: Option<Stack>,
}

impl Environment {
    /// Where it names none, it runs all services.
    pub(crate) fn runs(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|all| all.iter().any(|one| one == service))
    }
}

/// A one-off task, again and again.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["service", "cron"]))]
pub(crate) struct Schedule {
    /// Whose task definition.
    pub service: String,
    /// Whose command is replaced. Default: the service's only container, or the one behind the load balancer.
    pub container: Option<String>,
    /// Default: the container's own.
    pub command: Vec<Text>,
    /// Minute, hour, day, month, weekday: `30 2 * * *`
    pub cron: Text,
    /// `Europe/Berlin`. Default: UTC.
    pub time_zone: Option<Text>,
}

/// Where a lasting environment is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum EnvironmentRouting {
    /// By name on a shared port.
    Host(EnvironmentHost),
    /// By a listener of its own on this port.
    Port(Port),
}

/// `http://{name}:{port}/`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub(crate) struct EnvironmentHost {
    /// A host name that leads to the load balancer.
    pub name: String,
    /// Default: 8080; on AWS 443 with a `certificate`, else 80.
    pub port: Option<Port>,
}

/// Preview environments: one per branch, behind a URL, gone with the branch.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Previews {
    /// A name under `aws`. Default: this machine.
    pub on: Option<Text>,
    /// Globs of branches that get one; `*` stops at `/`, `**` does not. Default: `["feature/*"]`
    pub branches: Option<Vec<String>>,
    /// Globs of branches that do not.
    pub ignore: Vec<String>,
    /// Whether pull requests get one too; forks only after approval of the commit. Default: false.
    pub pull_requests: bool,
    /// Services of a preview; the first with a `load_balancer` answers at the URL. Default: all services.
    pub services: Option<Vec<String>>,
    /// Overrides `desired_count` of every service.
    pub desired_count: Option<u32>,
    /// Set over each container's own `environment`.
    pub variables: Map<Text>,
    /// How a preview is reached. Default: by host, `http://{branch}.{project}.localhost:8080/`; on AWS it must be given.
    pub routing: Option<Routing>,
    /// A preview without activity for this long is destroyed. Default: never.
    pub ttl: Option<Duration>,
    /// How much may happen at once.
    pub limits: Option<Limits>,
    /// Commands, HTTP calls and one-off tasks around create, update and destroy; run in the order written.
    pub hooks: Map<Hook>,
    /// Scale to 0 what nobody uses; the next request wakes it. Default: only `landfall preview sleep`.
    pub sleep: Option<Sleep>,
}

/// How a preview is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Routing {
    /// By name on one shared port.
    Host(HostRouting),
    /// By a port of its own.
    Ports(PortsRouting),
}

/// By name on one shared port: `http://{branch}.{domain}:{port}/`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostRouting {
    /// Default: `{project}.localhost`, which browsers and curl resolve by themselves. On AWS a domain whose wildcard
    /// points to the load balancer.
    pub domain: Option<String>,
    /// Default: 8080; on AWS 443 with a `certificate`, else 80.
    pub port: Option<Port>,
}

/// A listener of its own for every preview.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["range"]))]
pub(crate) struct PortsRouting {
    /// First and last port, both included: `8000-8099`.
    pub range: Option<PortRange>,
}

/// How much may happen at once.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Previews that may exist; more wait in a queue. Default: no limit.
    pub max_previews: Option<u32>,
    /// Default: 2.
    pub concurrent_builds: Option<u32>,
    /// Default: 8 on this machine, 64 on AWS.
    pub concurrent_executions: Option<u32>,
}

/// Something run around create, update or destroy of a preview.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["when", "run"]))]
pub(crate) struct Hook {
    /// At which point.
    pub when: Option<HookPoint>,
    /// What.
    pub run: Option<HookRun>,
    /// Whole seconds. Default: 5m.
    pub timeout: Option<Duration>,
    /// Default: fail.
    pub on_failure: Option<HookFailure>,
    /// Whether it may run again when a crash left it unknown whether it ran; if not, an operator is asked. Default: false.
    pub rerunnable: bool,
}

/// What a hook does.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum HookRun {
    /// Program and arguments, run on Landfall's host with `LANDFALL_*` variables describing the environment.
    Command(Vec<Text>),
    /// A program in a directory.
    Exec(ExecHook),
    /// The environment as JSON to a URL; 2xx is success.
    Http(HttpHook),
    /// A one-off task of a service's task definition; exit code 0 is success.
    Task(TaskHook),
    /// A Lambda function, where previews run on AWS; a function error is a failure.
    Lambda(LambdaHook),
    /// A pipeline of CircleCI.
    Circleci(CircleCiHook),
}

/// A program, run on Landfall's host in a directory.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["command"]))]
pub(crate) struct ExecHook {
    /// Program and arguments.
    pub command: Vec<Text>,
    /// Relative to the manifest. Default: where Landfall runs.
    pub working_directory: Option<String>,
}

/// An HTTP call.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub(crate) struct HttpHook {
    /// `http://` or `https://`.
    pub url: String,
    /// Default: POST.
    pub method: Option<HttpMethod>,
    /// Sent as they are.
    pub headers: Map<Text>,
    /// Sent as `Authorization: Bearer …`.
    pub secret: Option<SecretRef>,
    /// Headers whose values are references, looked up when they are sent.
    pub secret_headers: Map<SecretRef>,
}

/// An HTTP method.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum HttpMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// A one-off task.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["service", "command"]))]
pub(crate) struct TaskHook {
    /// Whose task definition.
    pub service: String,
    /// Whose command is replaced. Default: the service's only container, or the one behind the load balancer.
    pub container: Option<String>,
    /// The command instead of the container's own.
    pub command: Vec<Text>,
}

/// Who is told. Exactly one of `log`, `webhook`, `slack` and `sns`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Notification {
    /// A line in the server's log.
    pub log: Option<LogTarget>,
    /// Signed JSON to a URL.
    pub webhook: Option<WebhookTarget>,
    /// A message in Slack's incoming-webhook format.
    pub slack: Option<SlackTarget>,
    /// A message to an SNS topic.
    pub sns: Option<SnsTarget>,
    /// Kinds that are sent. Default: all.
    pub on: Vec<NoticeKind>,
}

/// A line in the server's log; nothing to set.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogTarget {}

/// Signed JSON to a URL.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub(crate) struct WebhookTarget {
    /// `http://` or `https://`.
    pub url: String,
    /// Signs the body: `X-Landfall-Signature-256: sha256=<hmac>`.
    pub secret: Option<SecretRef>,
}

/// Slack's incoming webhook. Exactly one of `url` and `url_secret`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SlackTarget {
    /// The URL in the open. It is itself a secret: prefer `url_secret`.
    pub url: Option<String>,
    /// The URL by reference.
    pub url_secret: Option<SecretRef>,
    /// Instead of the webhook's own channel.
    pub channel: Option<String>,
}

/// Incoming GitHub webhooks.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Webhook {
    /// Secrets that sign deliveries; any one is accepted, so that they can be rotated.
    pub secrets: Vec<SecretRef>,
}

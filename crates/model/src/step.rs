//! The typed parameters and outputs of every step kind. The planner writes them into a plan as JSON, the step handlers read
//! them back; in between they are data that a journal keeps verbatim, so fields are only ever added, with defaults.
//!
//! A value that an earlier step will produce is an [`Input::Output`]; the engine replaces it before the handler sees it.
//! Results flow between steps this way; choices never do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::app::{BalancingAlgorithm, BuildSource, DeploymentConfiguration, HookAction, TargetHealthCheck};
use crate::inventory::{ResourceKind, Tags};
use crate::task::{ContainerDefinition, ContainerSettings, LaunchType, TaskDefinition};

/// A value known now, or the field of an earlier step's output: `{"$output": "image.app/image"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    Output {
        #[serde(rename = "$output")]
        output: String,
    },
    Value(String),
}

impl Input {
    /// The output `field` of step `step`.
    pub fn output(step: &str, field: &str) -> Self {
        Input::Output { output: format!("{step}/{field}") }
    }

    /// The value; `None` while it is still a reference, which a handler never sees.
    pub fn value(&self) -> Option<&str> {
        match self {
            Input::Value(text) => Some(text),
            Input::Output { .. } => None,
        }
    }
}

/// All step kinds. Serialized with the kind as the only key; `kind()` is the name used in plans, metrics and docs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "read, used and dropped one at a time")]
pub enum StepParams {
    #[serde(rename = "image.build")]
    BuildImage(BuildImage),
    #[serde(rename = "image.await")]
    AwaitImage(AwaitImage),
    #[serde(rename = "task_definition.register")]
    RegisterTaskDefinition(RegisterTaskDefinition),
    #[serde(rename = "target_group.ensure")]
    EnsureTargetGroup(EnsureTargetGroup),
    #[serde(rename = "route.ensure")]
    EnsureRoute(EnsureRoute),
    #[serde(rename = "service.deploy")]
    DeployService(DeployService),
    #[serde(rename = "targets.healthy")]
    TargetsHealthy(TargetsHealthy),
    #[serde(rename = "url.probe")]
    ProbeUrl(ProbeUrl),
    #[serde(rename = "hook.run")]
    RunHook(RunHook),
    #[serde(rename = "task.run")]
    RunTask(RunTask),
    #[serde(rename = "service.stop")]
    StopService(StopService),
    #[serde(rename = "service.delete")]
    DeleteService(DeleteService),
    #[serde(rename = "route.delete")]
    DeleteRoute(DeleteRoute),
    #[serde(rename = "target_group.delete")]
    DeleteTargetGroup(DeleteTargetGroup),
    #[serde(rename = "resources.sweep")]
    SweepResources(SweepResources),
    #[serde(rename = "resources.verify_gone")]
    VerifyGone(VerifyGone),
}

impl StepParams {
    pub fn kind(&self) -> &'static str {
        match self {
            StepParams::BuildImage(_) => "image.build",
            StepParams::AwaitImage(_) => "image.await",
            StepParams::RegisterTaskDefinition(_) => "task_definition.register",
            StepParams::EnsureTargetGroup(_) => "target_group.ensure",
            StepParams::EnsureRoute(_) => "route.ensure",
            StepParams::DeployService(_) => "service.deploy",
            StepParams::TargetsHealthy(_) => "targets.healthy",
            StepParams::ProbeUrl(_) => "url.probe",
            StepParams::RunHook(_) => "hook.run",
            StepParams::RunTask(_) => "task.run",
            StepParams::StopService(_) => "service.stop",
            StepParams::DeleteService(_) => "service.delete",
            StepParams::DeleteRoute(_) => "route.delete",
            StepParams::DeleteTargetGroup(_) => "target_group.delete",
            StepParams::SweepResources(_) => "resources.sweep",
            StepParams::VerifyGone(_) => "resources.verify_gone",
        }
    }

    /// What a step of this kind leaves in the world.
    pub fn creates(&self) -> Option<ResourceKind> {
        Some(match self {
            StepParams::BuildImage(_) => ResourceKind::Image,
            StepParams::RegisterTaskDefinition(_) => ResourceKind::TaskDefinition,
            StepParams::EnsureTargetGroup(_) => ResourceKind::TargetGroup,
            StepParams::EnsureRoute(_) => ResourceKind::Rule,
            StepParams::DeployService(_) => ResourceKind::Service,
            _ => return None,
        })
    }
}

/// Output: `image`, a reference that the platform can run, pinned (`name@sha256:…` or an image id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildImage {
    /// What `git clone` takes.
    pub source: String,
    /// Full commit id.
    pub commit: String,
    pub build: BuildSource,
    /// The name the image gets: `{base}-{container}:{short commit}`.
    pub tag: String,
    pub tags: Tags,
}

/// Output: `image`, as of `BuildImage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitImage {
    /// Placeholders already replaced.
    pub image: String,
    pub label: Option<(String, String)>,
}

/// Output: `task_definition`, the platform's handle of the revision; `created`, whether this step made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterTaskDefinition {
    pub family: String,
    /// As of `TaskDefinition::base`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    #[serde(default, skip_serializing_if = "LaunchType::is_default")]
    pub launch_type: LaunchType,
    pub cpu: Option<u32>,
    pub memory: Option<u32>,
    pub containers: Vec<ContainerInput>,
    pub tags: Tags,
    /// A task definition as ECS's RegisterTaskDefinition takes it (AWS only). Then nothing above but `family` counts, and of
    /// `containers` only the images, put in by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerInput {
    pub name: String,
    pub image: Input,
    pub settings: ContainerSettings,
}

/// Output: `target_group`, the handle; `created`; `former`, the settings of before where there were others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnsureTargetGroup {
    pub name: String,
    /// Of the tasks it will hold, as is `base`: they decide whether targets are addresses or instances.
    #[serde(default, skip_serializing_if = "LaunchType::is_default")]
    pub launch_type: LaunchType,
    /// As of `TaskDefinition::base`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    pub port: u16,
    pub health_check: TargetHealthCheck,
    pub deregistration_delay: u32,
    pub algorithm: BalancingAlgorithm,
    pub idle_timeout: u32,
    pub tags: Tags,
}

/// Output: `url`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnsureRoute {
    pub route: RouteTarget,
    pub target_group: Input,
    pub tags: Tags,
}

impl RegisterTaskDefinition {
    /// What a platform registers. `Err` says which image is not known yet.
    pub fn definition(&self) -> Result<TaskDefinition, String> {
        let container = |input: &ContainerInput| {
            let image =
                input.image.value().ok_or_else(|| format!("the image of container {} is not known", input.name))?;
            Ok::<_, String>(ContainerDefinition {
                name: input.name.clone(),
                image: image.to_owned(),
                settings: input.settings.clone(),
            })
        };
        Ok(TaskDefinition {
            family: self.family.clone(),
            base: self.base.clone(),
            launch_type: self.launch_type,
            cpu: self.cpu,
            memory: self.memory,
            containers: self.containers.iter().map(container).collect::<Result<_, _>>()?,
            document: self.document.clone(),
        })
    }
}

/// A host rule on a shared listener, or a listener of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteTarget {
    Host { host: String, port: u16 },
    Port { port: u16 },
}

impl RouteTarget {
    /// As this machine's load balancer serves it; a host on 443 is behind somebody's TLS.
    pub fn url(&self) -> String {
        match self {
            RouteTarget::Host { host, port } => url(*port == 443, host, *port),
            RouteTarget::Port { port } => format!("http://127.0.0.1:{port}/"),
        }
    }
}

/// Without the port where it is the scheme's own.
pub fn url(https: bool, host: &str, port: u16) -> String {
    let (scheme, usual) = if https { ("https", 443) } else { ("http", 80) };
    if port == usual { format!("{scheme}://{host}/") } else { format!("{scheme}://{host}:{port}/") }
}

/// Creates the service or updates it in place, then polls until the deployment is completed or failed.
/// Output: `service`; `created`; `previous_task_definition`, `previous_desired_count` and `previous_settings` where there
/// was one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployService {
    pub name: String,
    #[serde(default, skip_serializing_if = "LaunchType::is_default")]
    pub launch_type: LaunchType,
    pub task_definition: Input,
    pub desired_count: u32,
    /// Whether a service that is there keeps the count it has, whatever that is by then: somebody else sets it (autoscaling,
    /// `landfall scale`). Then `desired_count` is only what one that has to be made begins with.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep_count: bool,
    /// Sets `desired_count` and nothing else: `task_definition` is what ran when this was planned, and whatever runs by now stays.
    #[serde(default, skip_serializing_if = "is_false")]
    pub only_count: bool,
    pub deployment: DeploymentConfiguration,
    pub target: Option<ServiceTarget>,
    pub tags: Tags,
    /// Whether a service of that name may be taken over: one without Landfall's tags, or of the same environment of another
    /// installation.
    #[serde(default, skip_serializing_if = "is_false")]
    pub adopt: bool,
    /// A new deployment also where nothing differs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    #[serde(default, skip_serializing_if = "WaitUntil::is_default")]
    pub wait_until: WaitUntil,
    /// Failed after this many failed tasks with one and the same reason, before the platform gives up by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_fast: Option<u32>,
    /// A service as ECS's CreateService takes it (AWS only). Then nothing above but `name`, `task_definition`, `adopt`, `force`
    /// and what is awaited counts, and `keep_count`; without `desiredCount` in it the live count is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<serde_json::Value>,
}

/// How far a deployment is followed before its step is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitUntil {
    /// The platform took it.
    Started,
    /// All traffic goes to the new revision; bake times and the end of the old tasks are not awaited. Where traffic is not
    /// shifted (rolling deployments): as `Stable`.
    TrafficShifted,
    /// The platform says it is completed.
    #[default]
    Stable,
}

impl WaitUntil {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTarget {
    pub target_group: Input,
    pub container: String,
    pub port: u16,
}

/// Polls until at least `minimum` targets are healthy and none of them is initial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetsHealthy {
    pub target_group: Input,
    pub minimum: u32,
}

/// Polls the URL through the load balancer until it answers below 500.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeUrl {
    pub url: Input,
}

/// A command or HTTP hook. Output: `exit` or `status`, and `tail`, the last lines of its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHook {
    pub name: String,
    pub action: HookAction,
    pub environment: BTreeMap<String, String>,
    /// Seconds.
    pub timeout: u32,
    /// Begun again when a restart left it unknown whether it ran; if not, the execution pauses there.
    #[serde(default)]
    pub rerunnable: bool,
}

/// A one-off task; done when it stopped with exit code 0. Output: `task`, `tail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTask {
    pub task_definition: Input,
    pub container: Option<String>,
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub timeout: u32,
    /// On the platform: whose network it has, where the place names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    pub tags: Tags,
}

/// Desired count 0, then polls until no task is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopService {
    pub name: String,
}

/// Deletes, then polls until the service is gone or INACTIVE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteService {
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRoute {
    pub route: RouteTarget,
    /// Whose route it must be: a route of the same host that belongs to another environment is left alone.
    pub environment: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteTargetGroup {
    pub name: String,
    pub environment: String,
}

/// Deletes whatever of these kinds still carries the environment's tag (task definitions, images, networks, leftovers). Tasks of a
/// service go with their service: without services among the kinds, only tasks of their own do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepResources {
    pub environment: String,
    pub kinds: Vec<ResourceKind>,
    /// Ids that must stay (the task definitions and images still in use, when sweeping after an update).
    #[serde(default)]
    pub keep: Vec<Input>,
    /// The environment's routes other than this one go too; they do not count among `kinds`. Nothing of that happens
    /// unless the listing has this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_route: Option<RouteTarget>,
    /// What its undo deletes in the same way, keeping none. Where the undo of the other steps would restore what an attempt that
    /// was cut short had begun, they have none and this is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo_kinds: Vec<ResourceKind>,
}

/// Reads back that nothing with the environment's tag is left; fails with the list of what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyGone {
    pub environment: String,
}

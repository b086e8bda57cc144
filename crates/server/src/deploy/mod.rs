//! Lasting environments: deployments, what was released, locks, one-off tasks. All state is in the journal (executions of plans of
//! the kinds `environment.*`) and in the store's meta (locks); the rest is looked up.
//!
//! **One execution at a time per environment.** In one process a mutex orders those who begin; between processes that share a
//! journal (CI runners) the deduplication key does: it names the execution that came before, so of two that begin after the same
//! one the journal takes the first, and the second finds it as its predecessor, supersedes it and plans again.

mod attempts;
mod begin;
mod compare;
mod given;
mod live;
mod lock;
mod status;
mod task;

use std::collections::BTreeMap;

use landfall_model::Timestamp;
use landfall_model::app::LongLivedEnvironment;
use landfall_model::aws::AwsTarget;
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_planner::PlanError;
use landfall_planner::names::{lasting_name, lasting_services};
use landfall_planner::plan::{Following, ImageOverride, Release};
use landfall_ports::Platform;
use landfall_ports::orchestrator::{ServiceDescription, TaskDescription};
use landfall_workflow::{ExecutionView, Outcome};
use serde::{Deserialize, Serialize};

use crate::control::ControlError;
use crate::service::Inner;

pub(crate) use begin::{begin, begin_task, begun_by};
pub(crate) use compare::answer as compare_here;
pub use compare::{Against, Compared, Comparison, PlannedStep, Scene, compare};
pub(crate) use lock::{lock, lock_of, unlock, unlock_if};
pub(crate) use status::{releases, status, watch};
pub(crate) use task::{output, run, stop};

type Answer<T> = Result<T, ControlError>;

/// What is asked of a lasting environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Deploy {
        commit: Option<String>,
        images: Vec<ImageOverride>,
        /// Of the manifest; empty: all.
        services: Vec<String>,
        following: Following,
        /// Registered instead of the one service's own (AWS only), as RegisterTaskDefinition takes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task_definition: Option<serde_json::Value>,
    },
    /// To a release, a commit or a digest; `None`: to the last one that ended well before the present one.
    Rollback {
        to: Option<String>,
        following: Following,
    },
    Scale {
        counts: BTreeMap<String, u32>,
        following: Following,
    },
}

/// An execution that was journalled for a lasting environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    pub environment: EnvironmentId,
    pub execution: ExecutionId,
    pub title: String,
    /// Executions that had to make way.
    pub superseded: Vec<ExecutionId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockState {
    pub reason: String,
    pub by: String,
    pub at: Timestamp,
}

/// One line of `landfall releases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSummary {
    pub id: ExecutionId,
    pub kind: String,
    pub title: String,
    pub by: String,
    pub commit: Option<String>,
    pub created_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// `None`: under way.
    pub outcome: Option<Outcome>,
    /// Whether this is what was released last.
    pub present: bool,
    pub url: Option<String>,
    pub services: BTreeMap<String, ReleasedService>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedService {
    pub task_definition: String,
    /// Container → pinned image.
    pub images: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentDetail {
    pub name: String,
    pub id: EnvironmentId,
    /// The place under `aws`; `None`: the machine of the state directory.
    pub on: Option<String>,
    pub url: Option<String>,
    pub lock: Option<LockState>,
    /// What is released now.
    pub release: Option<ReleaseSummary>,
    /// The newest, whether it has ended or not.
    pub execution: Option<ExecutionView>,
    pub services: Vec<ServiceDetail>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceDetail {
    /// In the manifest, and on the platform.
    pub service: String,
    pub name: String,
    /// `None`: it was never made, or is gone.
    pub found: Option<ServiceDescription>,
    /// What the release pinned, where the service runs it.
    pub images: BTreeMap<String, String>,
}

/// How far a one-off task is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    pub task: String,
    /// Whose exit code counts.
    pub container: String,
    /// `None`: it is not known (any more).
    pub description: Option<TaskDescription>,
    /// The last lines of its containers: `CONTAINER | TEXT`.
    pub lines: Vec<String>,
}

/// An environment of the manifest with its place.
pub(crate) struct Place<'a> {
    pub environment: &'a LongLivedEnvironment,
    pub id: EnvironmentId,
    pub platform: &'a Platform,
}

/// By name, or by id; an empty name is the manifest's only one.
pub(crate) fn place<'a>(inner: &'a Inner, name: &str) -> Answer<Place<'a>> {
    let project = &inner.app.project;
    let bare = name.strip_prefix(project.as_str()).and_then(|rest| rest.strip_prefix('@')).unwrap_or(name);
    let only = || inner.app.environments.values().next().filter(|_| inner.app.environments.len() == 1);
    let found = if bare.is_empty() { only() } else { inner.app.environments.get(bare) };
    let Some(environment) = found else {
        let known: Vec<&str> = inner.app.environments.keys().map(String::as_str).collect();
        let known = match known.as_slice() {
            [] => "the manifest has none".to_owned(),
            known => format!("there is {}", known.join(", ")),
        };
        return Err(match bare {
            "" => ControlError::Invalid(format!("say which environment; {known}")),
            bare => ControlError::NotFound(format!("no environment `{bare}`; {known}")),
        });
    };
    let bare = &environment.name;
    let platform = inner
        .places
        .get(bare)
        .ok_or_else(|| ControlError::Internal(format!("environment {bare} was not given a platform")))?;
    Ok(Place { environment, id: environment.id(project), platform })
}

/// A service of the environment as it runs now.
pub(crate) async fn running(inner: &Inner, place: &Place<'_>, service: &str) -> Answer<ServiceDescription> {
    let on_platform = lasting_name(&inner.app, place.environment, service);
    let found = place.platform.orchestrator.describe_service(&on_platform).await?;
    found.ok_or_else(|| {
        let environment = &place.environment.name;
        ControlError::NotFound(format!("service {on_platform} does not exist yet: `landfall deploy {environment}`"))
    })
}

/// Where it runs, with what URLs of its load balancer name.
pub(crate) async fn target(inner: &Inner, place: &Place<'_>) -> Answer<Option<AwsTarget>> {
    let Some(mut target) = place.environment.on.as_ref().and_then(|on| inner.app.aws.get(on)).cloned() else {
        return Ok(None);
    };
    let listens = matches!(place.environment.routing, Some(landfall_model::step::RouteTarget::Port { .. }));
    if target.address.is_none() && listens {
        target.address = place.platform.load_balancer.address().await?;
    }
    Ok(Some(target))
}

/// What cannot be planned is the asker's fault, unless somebody else was there first.
fn refused(error: PlanError) -> ControlError {
    match error {
        PlanError::Elsewhere(message) => ControlError::Conflict(message),
        other => ControlError::Invalid(other.to_string()),
    }
}

fn summary(release: &Release, by: &str, seen: &ExecutionView, present: bool) -> ReleaseSummary {
    let services = release.services.iter().map(|(name, one)| {
        let images = one.images().map(|(container, image)| (container.to_owned(), image.to_owned())).collect();
        (name.clone(), ReleasedService { task_definition: one.task_definition.clone(), images })
    });
    ReleaseSummary {
        id: seen.id.clone(),
        kind: seen.kind.clone(),
        title: seen.title.clone(),
        by: by.to_owned(),
        commit: release.commit.clone(),
        created_at: seen.created_at,
        finished_at: seen.finished_at,
        outcome: seen.outcome,
        present,
        url: release.url.clone(),
        services: services.collect(),
    }
}

impl Inner {
    /// Where an environment of either kind runs.
    pub(crate) fn platform_of(&self, id: &EnvironmentId) -> Answer<&Platform> {
        if id.is_long_lived() { Ok(place(self, id.as_str())?.platform) } else { Ok(&self.platform) }
    }

    /// What the services of a lasting environment are called, which others may have made. Those of previews are all our own.
    pub(crate) fn services_of(&self, id: &EnvironmentId) -> Vec<String> {
        let place = id.is_long_lived().then(|| place(self, id.as_str()).ok()).flatten();
        place.map_or_else(Vec::new, |place| lasting_services(&self.app, place.environment))
    }
}

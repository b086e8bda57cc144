//! Plans: every name, port, tag and key chosen before anything runs.
//!
//! Shapes (arrows are `needs`; what does not depend on each other runs side by side):
//!
//! ```text
//! create   image.* → task_definition.* → hooks before ─┐
//!          target_group → route ───────────────────────┴→ service.* → targets → probe → hooks after
//! update   the same; at the end a sweep of services, task definitions, images and routes no longer used
//! create   after one that was superseded: the same as an update, so that what answers goes on answering; before it, tasks that
//!          hooks left running are stopped, and the undo of that step is to sweep everything
//! sleep    service.stop of every service
//! wake     service.* as they served last → targets → probe
//! destroy  hooks before → service.stop → service.delete → route → target_group → sweep by tag → hooks after → verify
//!          (route and target_group only where the manifest still tells the route; with a task among the hooks after,
//!          the sweep leaves task definitions and images to a second one after the hooks)
//! ```

mod back;
mod deploy;
pub mod environment;
mod hooks;
mod preview;
pub mod release;
mod schedule;
mod sleep;
mod step;
mod task;
mod teardown;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use landfall_model::app::{App, Previews, Routing, Service};
use landfall_model::environment::{EnvironmentRecord, SourceRef};
use landfall_model::ids::{EnvironmentId, ExecutionId, PlanDigest};
use landfall_model::inventory::{
    OwnedResource, TAG_COMMIT, TAG_ENVIRONMENT, TAG_EXECUTION, TAG_GENERATION, TAG_INSTANCE, Tags,
};
use landfall_model::step::{RouteTarget, StepParams};
use landfall_workflow::{ExecutionView, Plan};

use crate::control::holds_place;
use crate::names::hashed_names;

pub use back::{Touched, touched, ways_back};
pub use deploy::Following;
pub use environment::{
    EnvironmentInputs, ImageOverride, Running, by_hand, environment, environment_url, rollback, scale,
};
pub use preview::preview;
pub use release::{Attempt, NoRelease, Release, Released};
pub use schedule::scheduled;
pub use sleep::{sleep, wake};
pub use task::only_task;
pub use teardown::destroy;

/// Version of the plan's shape, for readers of old journals.
const SCHEMA: u32 = 1;
const MAX_PARALLEL: u32 = 8;
/// Where nothing but AWS's quotas bounds what may go on at once: a service mostly waits for its tasks.
const MAX_PARALLEL_ON_AWS: u32 = 64;
/// The first step of a create that goes on from an attempt which was cut short.
const LEFTOVERS: &str = "leftovers";
/// The last step of an update, and of such a create.
const UNUSED: &str = "unused";
/// Seconds for whatever may have to stop services: longer than the longest stop timeout and deregistration delay together.
const STOP_S: u32 = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    Create,
    Update,
    Destroy,
    Sleep,
    Wake,
}

impl PlanKind {
    pub fn as_str(self) -> &'static str {
        match self {
            PlanKind::Create => "preview.create",
            PlanKind::Update => "preview.update",
            PlanKind::Destroy => "preview.destroy",
            PlanKind::Sleep => "preview.sleep",
            PlanKind::Wake => "preview.wake",
        }
    }
}

/// What a plan is made from besides the manifest and the record.
#[derive(Debug, Clone)]
pub struct PlanInputs {
    /// The installation's id, for `landfall.instance`.
    pub instance: String,
    /// The execution that will run the plan, for `landfall.execution`.
    pub execution: ExecutionId,
    /// The plan that made what there is now, if it is known.
    pub parent: Option<PlanDigest>,
    /// Task definitions that run now, by service name of the manifest: one-off task hooks of a destroy run from these, or
    /// from what `owned` has registered for the service.
    pub running: BTreeMap<String, String>,
    /// What carries the environment's tag now; may be empty. A destroy stops the services it finds here too.
    pub owned: Vec<OwnedResource>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub plan: Plan,
    /// What had to be left out, for a person: hooks whose service is gone, and such.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(
        "no port of {first}-{last} is free: {previews} held by other previews, {busy} by something else; destroy a preview or widen previews.routing.ports.range"
    )]
    PortRangeExhausted { first: u16, last: u16, busy: usize, previews: usize },
    #[error("the manifest has no `previews` section")]
    NoPreviews,
    #[error("{0}")]
    Unplannable(String),
    /// Somebody else has deployed, and what is asked would undo that.
    #[error("{0}")]
    Elsewhere(String),
}

/// Where the preview answers: `None` without a service that takes traffic, or before its port is chosen.
pub fn url(app: &App, record: &EnvironmentRecord) -> Option<String> {
    let previews = app.previews.as_ref()?;
    services(app, previews).ok()?.iter().find(|service| service.load_balancer.is_some())?;
    route_target(previews, record).map(|route| app.route_url(&route))
}

/// The listener's port that the preview keeps while it is there: none where the manifest does not route by port.
pub fn port(app: &App, record: &EnvironmentRecord) -> Option<u16> {
    match &app.previews.as_ref()?.routing {
        Routing::Ports { .. } => record.port,
        Routing::Host { .. } => None,
    }
}

/// The host's first label for a plan about to be made: the record's own, or the one with a hash where another environment
/// that exists has the same (another repository's, from before the manifest had both). Who answers there keeps it.
pub fn host_label<'a>(
    app: &App,
    record: &EnvironmentRecord,
    others: impl IntoIterator<Item = &'a EnvironmentRecord>,
) -> String {
    let own = &record.names.host_label;
    let by_host = app.previews.as_ref().is_some_and(|previews| matches!(previews.routing, Routing::Host { .. }));
    let answers = record.url.is_some() && record.url == url(app, record);
    let same =
        |other: &EnvironmentRecord| other.id != record.id && other.names.host_label == *own && holds_place(other);
    if by_host && !answers && others.into_iter().any(same) {
        return hashed_names(app, &record.key).host_label;
    }
    own.clone()
}

/// Has an update go back, if it fails, to what `good` made: the parameters, references replaced, of the last execution after
/// which all served. For plans that follow others that were cut short; what those have left is not what ran before.
/// `asleep`: what there was ran no task, and goes back to that.
pub fn fall_back(plan: &mut Plan, good: &[serde_json::Value], asleep: bool) {
    let mut good: Vec<StepParams> =
        good.iter().filter_map(|params| serde_json::from_value(params.clone()).ok()).collect();
    for params in good.iter_mut().filter(|_| asleep) {
        if let StepParams::DeployService(service) = params {
            service.desired_count = 0;
        }
    }
    for step in &plan.steps {
        let Ok(now) = step.typed() else { continue };
        let same = |was: &&StepParams| back::same(was, &now);
        if let Some(params) = good.iter().find(same).and_then(|was| serde_json::to_value(was).ok()) {
            plan.fallback.insert(step.id.clone(), params);
        }
    }
}

/// Whether all that an update brings served already: only what is no longer used was being cleared.
pub fn serves(view: &ExecutionView) -> bool {
    let (last, others): (Vec<_>, Vec<_>) = view.steps.iter().partition(|step| step.id.as_str() == UNUSED);
    last.iter().any(|step| step.attempts > 0 && step.undo_attempts == 0)
        && others.iter().all(|step| step.status.satisfies_needs())
}

fn route_target(previews: &Previews, record: &EnvironmentRecord) -> Option<RouteTarget> {
    match &previews.routing {
        Routing::Host { domain, port } => {
            Some(RouteTarget::Host { host: format!("{}.{domain}", record.names.host_label), port: *port })
        }
        Routing::Ports { .. } => record.port.map(|port| RouteTarget::Port { port }),
    }
}

/// The services of a preview, in the manifest's order; the first with a load balancer binding takes the traffic.
fn services<'a>(app: &'a App, previews: &Previews) -> Result<Vec<&'a Service>, PlanError> {
    let find = |name: &String| {
        let missing =
            || PlanError::Unplannable(format!("previews.services names `{name}`, which is not in the manifest"));
        app.services.get(name).ok_or_else(missing)
    };
    previews.services.iter().map(find).collect()
}

fn tags(record: &EnvironmentRecord, commit: Option<&str>, inputs: &PlanInputs) -> Tags {
    tags_of(&record.id, record.generation, &inputs.instance, &inputs.execution, commit)
}

/// Of whatever an execution makes for an environment.
fn tags_of(
    environment: &EnvironmentId,
    generation: u64,
    instance: &str,
    execution: &ExecutionId,
    commit: Option<&str>,
) -> Tags {
    let mut tags = Tags::from([
        (TAG_ENVIRONMENT.to_owned(), environment.to_string()),
        (TAG_INSTANCE.to_owned(), instance.to_owned()),
        (TAG_GENERATION.to_owned(), generation.to_string()),
        (TAG_EXECUTION.to_owned(), execution.to_string()),
    ]);
    tags.extend(commit.map(|commit| (TAG_COMMIT.to_owned(), commit.to_owned())));
    tags
}

/// What containers and hooks are told of the environment they are in.
fn variables(
    app: &App,
    record: &EnvironmentRecord,
    commit: Option<&str>,
    url: Option<&str>,
) -> BTreeMap<String, String> {
    let branch = match &record.key.source {
        SourceRef::Branch(name) => name.clone(),
        SourceRef::ForkPullRequest(number) => format!("pull/{number}/head"),
    };
    let mut variables = BTreeMap::from([
        ("LANDFALL_ENVIRONMENT".to_owned(), record.id.to_string()),
        ("LANDFALL_PROJECT".to_owned(), app.project.clone()),
        ("LANDFALL_BRANCH".to_owned(), branch),
    ]);
    variables.extend(commit.map(|commit| ("LANDFALL_COMMIT".to_owned(), commit.to_owned())));
    variables.extend(url.map(|url| ("LANDFALL_URL".to_owned(), url.to_owned())));
    variables
}

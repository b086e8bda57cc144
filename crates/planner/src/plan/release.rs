//! Releases: what a lasting environment was brought to by executions that succeeded. A projection of the journal; nothing
//! else is kept.

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::Timestamp;
use landfall_model::ids::{ExecutionId, PlanDigest};
use landfall_model::inventory::{TAG_COMMIT, TAG_SERVICE, Tags};
use landfall_model::step::{DeployService, EnsureRoute, EnsureTargetGroup, RegisterTaskDefinition, StepParams};
use landfall_workflow::outputs::Begun;
use landfall_workflow::{ExecutionView, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::back::Touched;
use crate::names::is_target_group;

/// Plan kinds of lasting environments, beside [`SCALE`].
pub use landfall_workflow::release::{DEPLOY, ROLLBACK};
pub const SCALE: &str = "environment.scale";

/// One execution for a lasting environment, newest first in every list here.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub execution: ExecutionId,
    pub plan: PlanDigest,
    /// Of a rollback: the plan of the release that it brought back.
    pub parent: Option<PlanDigest>,
    pub kind: String,
    pub outcome: Option<Outcome>,
    /// Only of what succeeded and is no scaling.
    pub release: Option<Release>,
    /// Handles of the task definitions that it registered, or found.
    pub registered: BTreeSet<String>,
    pub touched: Vec<Touched>,
}

/// The handles that steps of these answered.
pub fn registered(begun: &[Begun]) -> BTreeSet<String> {
    let registers = |one: &&Begun| one.step.as_str().starts_with("task_definition.");
    let handle =
        |one: &Begun| one.written.iter().find_map(|written| written["task_definition"].as_str().map(str::to_owned));
    begun.iter().filter(registers).filter_map(handle).collect()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its name: the execution that made it.
    pub id: ExecutionId,
    pub kind: String,
    pub title: String,
    pub commit: Option<String>,
    pub at: Option<Timestamp>,
    pub url: Option<String>,
    /// By the manifest's name. Only those that this execution deployed, until [`state`] adds the others.
    pub services: BTreeMap<String, Released>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group: Option<EnsureTargetGroup>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<EnsureRoute>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Released {
    /// The handle of what was registered.
    pub task_definition: String,
    /// With pinned images.
    pub definition: RegisterTaskDefinition,
    pub deploy: DeployService,
}

impl Released {
    /// Container → pinned image.
    pub fn images(&self) -> impl Iterator<Item = (&str, &str)> {
        let containers = self.definition.containers.iter();
        containers.filter_map(|container| Some((container.name.as_str(), container.image.value()?)))
    }

    /// Whether it is bound to that target group of Landfall's.
    pub fn is_behind(&self, group: &EnsureTargetGroup) -> bool {
        let handle = self.deploy.target.as_ref().and_then(|target| target.target_group.value());
        handle.is_some_and(|handle| is_target_group(handle, &group.name))
    }
}

impl Release {
    /// `brought`: the parameters of the execution's finished steps, references replaced. `None` where it deployed nothing or
    /// has not succeeded.
    pub fn of(view: &ExecutionView, brought: &[Value]) -> Option<Self> {
        if view.outcome != Some(Outcome::Succeeded) || !matches!(view.kind.as_str(), DEPLOY | ROLLBACK) {
            return None;
        }
        let service = |tags: &Tags| tags.get(TAG_SERVICE).cloned();
        let mut definitions = BTreeMap::new();
        let mut deployed = BTreeMap::new();
        let (mut target_group, mut route, mut commit) = (None, None, None);
        for params in brought.iter().filter_map(|params| serde_json::from_value(params.clone()).ok()) {
            match params {
                StepParams::RegisterTaskDefinition(one) => {
                    commit = commit.or_else(|| one.tags.get(TAG_COMMIT).cloned());
                    definitions.insert(service(&one.tags)?, one);
                }
                StepParams::DeployService(one) => drop(deployed.insert(service(&one.tags)?, one)),
                StepParams::EnsureTargetGroup(one) => target_group = Some(one),
                StepParams::EnsureRoute(one) => route = Some(one),
                _ => {}
            }
        }
        let released = |(name, deploy): (String, DeployService)| {
            let definition = definitions.remove(&name)?;
            let task_definition = deploy.task_definition.value()?.to_owned();
            Some((name, Released { task_definition, definition, deploy }))
        };
        let services: BTreeMap<_, _> = deployed.into_iter().filter_map(released).collect();
        if services.is_empty() {
            return None;
        }
        Some(Self {
            id: view.id.clone(),
            kind: view.kind.clone(),
            title: view.title.clone(),
            commit,
            at: view.finished_at,
            url: view.url.clone(),
            services,
            target_group,
            route,
        })
    }

    /// What its steps were given, as [`super::fall_back`] takes it; with the desired counts of now.
    pub fn parameters(&self, live: &BTreeMap<String, u32>) -> Vec<Value> {
        let group = self.target_group.clone().map(StepParams::EnsureTargetGroup);
        let services = self.services.iter().map(|(name, released)| {
            let desired_count = live.get(name).copied().unwrap_or(released.deploy.desired_count);
            StepParams::DeployService(DeployService { desired_count, ..released.deploy.clone() })
        });
        // Parameters are plain data: they cannot fail to serialize.
        group.into_iter().chain(services).filter_map(|params| serde_json::to_value(params).ok()).collect()
    }

    /// Whether `text` names it: its id or the end of it, the beginning of its commit, or of an image's digest.
    fn is_named(&self, text: &str) -> bool {
        let digest = text.strip_prefix("sha256:").unwrap_or(text);
        let of_image =
            |image: &str| image.rsplit_once("sha256:").is_some_and(|(_, hex)| hex.starts_with(digest)) || image == text;
        let long = digest.len() >= 7;
        let id = self.id.as_str();
        id == text
            || (long && id.to_ascii_uppercase().ends_with(&text.to_ascii_uppercase()))
            || (long && self.commit.as_deref().is_some_and(|commit| commit.starts_with(text)))
            || (long && self.services.values().flat_map(Released::images).any(|(_, image)| of_image(image)))
    }
}

/// What the environment runs after `attempts` (newest first): each service as the newest release has it that deployed it, and
/// the way in of the newest release of which a service is still behind it.
pub fn state(attempts: &[Attempt]) -> Option<Release> {
    let mut releases = attempts.iter().filter_map(|attempt| attempt.release.as_ref()).peekable();
    let newest = Release::clone(releases.peek()?);
    let mut state = Release { services: BTreeMap::new(), target_group: None, route: None, ..newest };
    for release in releases {
        let mut still = false;
        for (name, service) in &release.services {
            if !state.services.contains_key(name) {
                state.services.insert(name.clone(), service.clone());
                still |= release.target_group.as_ref().is_some_and(|group| service.is_behind(group));
            }
        }
        if still && state.target_group.is_none() {
            (state.target_group, state.route) = (release.target_group.clone(), release.route.clone());
        }
    }
    Some(state)
}

/// Task definitions of attempts that ended half done: a service that runs one runs what is nobody's wish. One of an attempt that
/// was undone whole runs only where somebody has put it there since.
pub fn unfinished(attempts: &[Attempt]) -> BTreeSet<String> {
    let of = attempts.iter().filter(|attempt| !super::back::ended_whole(attempt.outcome));
    of.flat_map(|attempt| attempt.registered.iter().cloned()).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRelease {
    #[error("nothing was ever released here")]
    None,
    #[error("there is no release before the present one")]
    NoEarlier,
    #[error("no release is, or has, `{0}`")]
    Unknown(String),
}

/// What a rollback goes back to, as an index into `attempts` (newest first): the release that is named; else the last one that
/// ended well before the newest attempt, however that ended. Going back from a rollback goes on from what it brought back, and
/// what is the same as what runs is passed over.
pub fn rollback_to(attempts: &[Attempt], to: Option<&str>) -> Result<usize, NoRelease> {
    let released = |index: &usize| attempts[*index].release.is_some();
    if let Some(text) = to {
        let named = |index: &usize| attempts[*index].release.as_ref().is_some_and(|release| release.is_named(text));
        return (0..attempts.len()).find(named).ok_or_else(|| NoRelease::Unknown(text.to_owned()));
    }
    let changes = |attempt: &Attempt| attempt.kind != SCALE;
    let newest = (0..attempts.len()).find(|index| changes(&attempts[*index])).ok_or(NoRelease::None)?;
    let Some(present) = &attempts[newest].release else {
        return (newest + 1..attempts.len()).find(released).ok_or(NoRelease::None);
    };
    let mut from = newest;
    // A release that was brought back stands where it stood the first time.
    while let Some(parent) = attempts[from].parent.as_ref().filter(|_| attempts[from].kind == ROLLBACK) {
        match (from + 1..attempts.len()).find(|index| attempts[*index].plan == *parent) {
            Some(index) => from = index,
            None => break,
        }
    }
    let same = |other: &Release| what_runs(other) == what_runs(present);
    (from + 1..attempts.len())
        .find(|index| attempts[*index].release.as_ref().is_some_and(|release| !same(release)))
        .ok_or(NoRelease::NoEarlier)
}

/// By content: the same may have been registered again.
fn what_runs(release: &Release) -> BTreeMap<&str, RegisterTaskDefinition> {
    let untagged = |one: &Released| RegisterTaskDefinition { tags: Tags::new(), ..one.definition.clone() };
    release.services.iter().map(|(name, one)| (name.as_str(), untagged(one))).collect()
}

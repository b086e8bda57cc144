//! Where a plan of a lasting environment goes back to if it fails, where attempts before it were cut short.
//!
//! A step looks at what there is before it changes it, and its undo puts that back. That is what ran before only if whoever came
//! before left nothing half done. So each service, and each target group, is judged by itself: from the newest attempt that had
//! it to one that ended whole. What the attempts in between have put there nobody meant to keep. The oldest of them saw
//! what was there before them all, and the journal has it.
//!
//! Whole is what succeeded and what was undone: `RolledBack`, and `Aborted`, since an abort unwinds (where an undo is given up, either
//! ends as `RollbackFailed`; superseded while it unwinds, as `Superseded`). Scaling is passed over: it changes the count alone,
//! which no later undo puts back.

use std::collections::BTreeMap;

use landfall_model::app::{BalancingAlgorithm, DeploymentConfiguration, TargetHealthCheck};
use landfall_model::inventory::TAG_SERVICE;
use landfall_model::step::{DeployService, EnsureTargetGroup, Input, ServiceTarget, StepParams};
use landfall_workflow::outputs::Begun;
use landfall_workflow::{Outcome, Plan, Step};
use serde::Deserialize;
use serde_json::Value;

use super::release::{Attempt, Release, SCALE};

/// A service or target group that an attempt was to change.
#[derive(Debug, Clone, PartialEq)]
pub struct Touched {
    /// Of its step, references replaced as far as they were known.
    pub params: StepParams,
    /// Whether the step, or its undo, was begun.
    pub begun: bool,
    /// What the step's handler has written down.
    pub written: Vec<Value>,
    /// As of [`Plan::fallback`].
    pub fallback: Option<Value>,
}

/// All of an attempt's.
pub fn touched(plan: &Plan, begun: &[Begun]) -> Vec<Touched> {
    let of = |step: &Step| {
        let one = begun.iter().find(|one| one.step == step.id);
        let params = serde_json::from_value(one.map_or(&step.params, |one| &one.params).clone()).ok()?;
        matches!(params, StepParams::DeployService(_) | StepParams::EnsureTargetGroup(_)).then(|| Touched {
            params,
            begun: one.is_some(),
            written: one.map(|one| one.written.clone()).unwrap_or_default(),
            fallback: plan.fallback.get(&step.id).cloned(),
        })
    };
    plan.steps.iter().filter_map(of).collect()
}

/// Whether both are about the same thing on the platform.
pub(super) fn same(one: &StepParams, other: &StepParams) -> bool {
    match (one, other) {
        (StepParams::EnsureTargetGroup(one), StepParams::EnsureTargetGroup(other)) => one.name == other.name,
        (StepParams::DeployService(one), StepParams::DeployService(other)) => one.name == other.name,
        _ => false,
    }
}

/// Says in `plan` what to go back to where a step would find something half done: what the journal has of before, else what
/// `present` released; where neither is known, that nothing is. `attempts`: newest first. `live`: the counts of now stay.
pub fn ways_back(plan: &mut Plan, attempts: &[Attempt], present: Option<&Release>, live: &BTreeMap<String, u32>) {
    let released: Vec<StepParams> = present
        .map(|present| present.parameters(live))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|params| serde_json::from_value(params).ok())
        .collect();
    for step in &plan.steps {
        let Ok(params) = step.typed() else { continue };
        let cut = cut_short(attempts, &params);
        if cut.is_empty() {
            continue;
        }
        let mut back = before_all(&cut).or_else(|| released.iter().find(|was| same(was, &params)).cloned());
        if let Some(StepParams::DeployService(service)) = &mut back
            && let Some(count) = service.tags.get(TAG_SERVICE).and_then(|name| live.get(name))
        {
            service.desired_count = *count;
        }
        // Parameters are plain data: they cannot fail to serialize.
        let back = back.map(|params| serde_json::to_value(params).unwrap_or_default());
        // Of a target group only settings are put back: without a record of others they stay.
        let lost = matches!(params, StepParams::DeployService(_)).then_some(Value::Null);
        plan.fallback.extend(back.or(lost).map(|back| (step.id.clone(), back)));
    }
}

pub(super) fn ended_whole(outcome: Option<Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Succeeded | Outcome::RolledBack | Outcome::Aborted))
}

/// What attempts did to it since one that had it ended whole; newest first.
fn cut_short<'a>(attempts: &'a [Attempt], params: &StepParams) -> Vec<&'a Touched> {
    let mut cut = Vec::new();
    for attempt in attempts.iter().filter(|attempt| attempt.kind != SCALE) {
        let Some(touched) = attempt.touched.iter().find(|touched| same(&touched.params, params)) else { continue };
        if ended_whole(attempt.outcome) {
            break;
        }
        cut.extend(touched.begun.then_some(touched));
    }
    cut
}

/// What was there before the oldest of these. `None`: nothing was, or it is not known.
fn before_all(cut: &[&Touched]) -> Option<StepParams> {
    for touched in cut.iter().rev() {
        if let Some(fallback) = &touched.fallback {
            // What came before that attempt was half done already, and is further back than these go.
            return serde_json::from_value(fallback.clone()).ok();
        }
        let made = touched.written.iter().any(|written| written["created"] == true);
        let before = match &touched.params {
            StepParams::DeployService(asked) => service(asked, &touched.written),
            StepParams::EnsureTargetGroup(asked) => group(asked, &touched.written),
            _ => None,
        };
        if before.is_some() || made {
            return before;
        }
        // It ended before it had changed anything.
    }
    None
}

/// As service.deploy writes it down before it changes a service.
#[derive(Deserialize)]
struct Previous {
    previous_task_definition: String,
    previous_desired_count: u32,
    #[serde(default)]
    previous_settings: Option<Settings>,
    #[serde(default)]
    previous_document: Option<Value>,
}

#[derive(Deserialize)]
struct Settings {
    deployment: DeploymentConfiguration,
    target: Option<ServiceTarget>,
}

fn service(asked: &DeployService, written: &[Value]) -> Option<StepParams> {
    let previous: Previous = written.iter().find_map(|written| serde_json::from_value(written.clone()).ok())?;
    let (deployment, target) = match previous.previous_settings {
        Some(settings) => (settings.deployment, settings.target),
        None => (asked.deployment.clone(), asked.target.clone()),
    };
    Some(StepParams::DeployService(DeployService {
        task_definition: Input::Value(previous.previous_task_definition),
        desired_count: previous.previous_desired_count,
        deployment,
        target,
        document: previous.previous_document,
        force: false,
        ..asked.clone()
    }))
}

/// As target_group.ensure writes it down, where it changes anything.
#[derive(Deserialize)]
struct Former {
    health_check: TargetHealthCheck,
    deregistration_delay: u32,
    algorithm: BalancingAlgorithm,
    idle_timeout: u32,
}

fn group(asked: &EnsureTargetGroup, written: &[Value]) -> Option<StepParams> {
    let former =
        written.iter().find_map(|written| serde_json::from_value::<Former>(written.get("former")?.clone()).ok());
    let was = match former {
        Some(Former { health_check, deregistration_delay, algorithm, idle_timeout }) => {
            EnsureTargetGroup { health_check, deregistration_delay, algorithm, idle_timeout, ..asked.clone() }
        }
        // It was as it was asked to be.
        None if written.iter().any(|written| written["created"] == false) => asked.clone(),
        None => return None,
    };
    Some(StepParams::EnsureTargetGroup(was))
}

//! Deployments that stand at pause hooks of ECS while a stage is at work: who approves stages is asked, and what they say is told to ECS.

use landfall_model::app::{LongLivedEnvironment, Service};
use landfall_model::pipeline::Work;
use landfall_model::strategy::LifecycleAction;
use landfall_pipeline::{Call, Pause, Standing};
use landfall_planner::names::lasting_name;
use landfall_ports::PortResult;
use landfall_ports::orchestrator::{Orchestrator, StopDeployment, TrafficShift};

use crate::service::Inner;

/// Where the deployment stands. Where people have said yes to that it is let go on, and where it is to end it is stopped, which a
/// deployment at a pause does not notice by itself. Each is safe to do again.
pub(super) async fn steered(inner: &Inner, call: &Call) -> PortResult<Option<Pause>> {
    if call.work != Some(Work::Deploy {}) {
        return Ok(None);
    }
    let (Some(environment), Some(platform)) =
        (inner.app.environments.get(&call.environment), inner.places.get(&call.environment))
    else {
        return Ok(None);
    };
    let orchestrator = &*platform.orchestrator;
    let Some(found) = standing(inner, environment, orchestrator).await? else { return Ok(None) };
    for (service, now) in &found.services {
        let name = lasting_name(&inner.app, environment, service);
        let approved = call.go_on.as_ref().and_then(|pause| pause.services.get(service));
        if call.stop {
            orchestrator.stop_deployment(&name, StopDeployment::Rollback).await?;
        } else if approved.is_some_and(|asked| now.within(asked)) {
            orchestrator.continue_deployment(&name, &now.hooks).await?;
        }
    }
    Ok(Some(found))
}

async fn standing(
    inner: &Inner,
    environment: &LongLivedEnvironment,
    orchestrator: &dyn Orchestrator,
) -> PortResult<Option<Pause>> {
    let mut pause = Pause::default();
    for service in &environment.services {
        if !inner.app.services.get(service).is_some_and(may_pause) {
            continue;
        }
        let found = orchestrator.describe_service(&lasting_name(&inner.app, environment, service)).await?;
        let newest = found.and_then(|found| found.deployments.into_iter().next());
        let Some(shift) = newest.and_then(|newest| newest.shift).filter(|shift| !shift.pauses.is_empty()) else {
            continue;
        };
        let mut hooks: Vec<String> = shift.pauses.iter().map(|one| one.id.clone()).collect();
        hooks.sort();
        pause.lines.push(said(service, &shift));
        pause.until = pause.until.into_iter().chain(shift.pauses.iter().filter_map(|one| one.expires_at)).min();
        pause.services.insert(service.clone(), Standing { at: shift.stage.unwrap_or_default(), hooks });
    }
    Ok((!pause.services.is_empty()).then_some(pause))
}

/// Documents may have hooks that nobody here has read.
fn may_pause(service: &Service) -> bool {
    let pauses = |action: &LifecycleAction| matches!(action, LifecycleAction::Pause { .. });
    service.documents.is_some() || service.deployment.strategy.hooks.iter().any(|hook| pauses(&hook.action))
}

fn said(service: &str, shift: &TrafficShift) -> String {
    let stage = shift.stage.as_deref().unwrap_or("a pause hook");
    let then = shift.pauses.first().map_or("", |one| match one.on_timeout.as_str() {
        "CONTINUE" => "; it goes on by itself in the end",
        _ => "; it is rolled back by itself in the end",
    });
    format!("{service}: stands at {stage} with {} % of the traffic on the new version{then}", shift.percent)
}

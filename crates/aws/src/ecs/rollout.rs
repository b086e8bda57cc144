//! How a service's deployments go, told truthfully.
//!
//! DescribeServices shows deployments that still have tasks; once ECS has rolled back, the failed one vanishes and the service
//! looks as steady as ever, which is where other tools report success. So a deployment is followed by its id, and what has
//! vanished is looked up: in the service deployments API (whose service revisions bear the deployments' numbers) where the
//! endpoint has it, and in the service's events.

use aws_sdk_ecs::types as ecs;
use aws_sdk_ecs::types::{DeploymentRolloutState as Live, ServiceDeploymentStatus as Status};
use landfall_model::Timestamp;
use landfall_ports::orchestrator::{DeploymentDescription, RolloutState, TrafficShift};

use super::change::{primary, timeout};

/// A deployment as the service deployments API tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Past {
    pub arn: String,
    /// `ecs-svc/NUMBER`, of the target service revision.
    pub id: String,
    pub status: Status,
    /// The circuit breaker tripped or an alarm went off: nobody stopped it.
    pub by_itself: bool,
    /// There was no revision before it to go back to.
    pub first: bool,
    pub reason: Option<String>,
    pub task_definition: String,
    pub desired: u32,
    pub running: u32,
    pub pending: u32,
    pub failed_tasks: u32,
    pub created_at: Timestamp,
    pub shift: Option<TrafficShift>,
}

/// Newest first; the first one is PRIMARY. `past` newest first.
pub(crate) fn deployments(service: &ecs::Service, past: &[Past], now: Timestamp) -> Vec<DeploymentDescription> {
    let mut live: Vec<&ecs::Deployment> = service.deployments().iter().collect();
    live.sort_by_key(|deployment| {
        (deployment.status.as_deref() != Some("PRIMARY"), std::cmp::Reverse(time(deployment.created_at.as_ref())))
    });
    let mut all: Vec<DeploymentDescription> =
        live.iter().filter_map(|deployment| describe(service, deployment, past, now)).collect();
    let ages: Vec<(String, Timestamp)> = (all.iter().map(|live| (live.id.clone(), live.created_at)))
        .chain(past.iter().map(|past| (past.id.clone(), past.created_at)))
        .collect();
    for entry in past {
        let known = all.iter().any(|deployment| deployment.id == entry.id);
        // One that was stopped because a newer one took over has not failed: it is nobody's any more.
        let newer = |(id, created_at): &(String, Timestamp)| *id != entry.id && *created_at >= entry.created_at;
        let superseded = entry.status == Status::Stopped && ages.iter().any(newer);
        if !known && !superseded {
            all.push(from_past(entry));
        }
    }
    for (id, failure) in told_by_events(service) {
        if !all.iter().any(|deployment| deployment.id == id) {
            all.push(from_events(service, id, failure));
        }
    }
    all
}

/// Whether the service deployments API must be asked: what DescribeServices shows does not tell the end of `watched`.
pub(crate) fn needs_past(service: &ecs::Service, watched: &[String]) -> bool {
    let shown = |id: &String| service.deployments().iter().any(|deployment| deployment.id.as_ref() == Some(id));
    let failed = |deployment: &ecs::Deployment| deployment.rollout_state == Some(Live::Failed);
    has_stages(service)
        || watched.is_empty()
        || !watched.iter().all(shown)
        || rolling_back(service)
        || service.deployments().iter().any(failed)
}

/// Whether its deployments go through stages that DescribeServices does not show.
pub(crate) fn has_stages(service: &ecs::Service) -> bool {
    let configuration = service.deployment_configuration.as_ref();
    let rolling = (configuration.and_then(|own| own.strategy.as_ref()))
        .is_none_or(|strategy| *strategy == ecs::DeploymentStrategy::Rolling);
    !rolling || configuration.is_some_and(|own| !own.lifecycle_hooks().is_empty())
}

/// What DescribeServices shows of the deployments, as far as it bears on how they end.
pub(crate) fn signature(service: &ecs::Service) -> String {
    let mut text = String::new();
    for deployment in service.deployments() {
        for part in [&deployment.id, &deployment.status] {
            text.push_str(part.as_deref().unwrap_or_default());
            text.push(' ');
        }
        text.push_str(deployment.rollout_state.as_ref().map_or("-", Live::as_str));
        text.push(';');
    }
    text
}

/// Whether the API's answer lags behind, or tells of something that goes on out of DescribeServices' sight.
pub(crate) fn unsettled(past: &[Past]) -> bool {
    past.first().is_some_and(|newest| ended(newest).is_none())
}

/// Whether DescribeServices tells the end of the PRIMARY deployment.
pub(crate) fn primary_ended(service: &ecs::Service) -> bool {
    let state = primary(service).and_then(|primary| primary.rollout_state.as_ref());
    matches!(state, Some(Live::Completed | Live::Failed))
}

pub(crate) fn has_ended(past: &Past) -> bool {
    ended(past).is_some()
}

fn ended(past: &Past) -> Option<RolloutState> {
    match past.status {
        Status::Successful => Some(RolloutState::Completed),
        Status::RollbackSuccessful => Some(RolloutState::RolledBack),
        // ECS tries even so: "No rollback candidate was found".
        Status::RollbackFailed if past.first => Some(RolloutState::Failed),
        Status::RollbackFailed => Some(RolloutState::RollbackFailed),
        Status::Stopped if past.by_itself => Some(RolloutState::Failed),
        Status::Stopped => Some(RolloutState::Stopped),
        _ => None,
    }
}

/// `None`: a newer deployment took over before this one came to an end.
fn describe(
    service: &ecs::Service,
    deployment: &ecs::Deployment,
    past: &[Past],
    now: Timestamp,
) -> Option<DeploymentDescription> {
    let id = deployment.id.clone().unwrap_or_default();
    let is_primary = deployment.status.as_deref() == Some("PRIMARY");
    let past = past.iter().find(|past| past.id == id);
    let created_at = time(deployment.created_at.as_ref());
    let mut reason = deployment.rollout_state_reason.clone().filter(|reason| !reason.is_empty());
    let mut rollout = match &deployment.rollout_state {
        Some(Live::Completed) => RolloutState::Completed,
        Some(Live::Failed) if is_primary => RolloutState::Failed,
        Some(Live::Failed) => after_failure(service, &mut reason),
        Some(Live::InProgress) if is_primary || rolling_back(service) => RolloutState::InProgress,
        Some(Live::InProgress) => {
            let newer = primary(service).is_some_and(|primary| time(primary.created_at.as_ref()) >= created_at);
            past.filter(|past| past.status != Status::Stopped || !newer).and_then(ended)?
        }
        // Deployment controllers other than ECS's own, and endpoints that leave it out.
        _ => by_counts(service, deployment),
    };
    if let Some(past) = past {
        let told = ended(past);
        rollout = match (rollout, told) {
            // The API knows of bake times, hooks and roll-backs under way.
            (RolloutState::Completed | RolloutState::Failed, None) => RolloutState::InProgress,
            (RolloutState::Failed, Some(told)) if told != RolloutState::Completed => told,
            (RolloutState::Completed, Some(told)) => told,
            // A deployment that ECS went back to runs again under its old number, which once ended well.
            (RolloutState::InProgress, Some(told)) if told != RolloutState::Completed => told,
            (rollout, _) => rollout,
        };
        if rollout != RolloutState::Completed {
            reason = past.reason.clone().or(reason);
        }
    }
    if is_primary
        && rollout == RolloutState::InProgress
        && !rolling_back(service)
        && let Some(limit) = timeout(service)
        && now.as_second() >= created_at.as_second() + i64::from(limit)
    {
        rollout = RolloutState::Failed;
        reason = Some(format!(
            "deployment timed out after {limit} s with {} of {} tasks running",
            deployment.running_count, deployment.desired_count
        ));
    }
    Some(DeploymentDescription {
        id,
        task_definition: deployment.task_definition.clone().unwrap_or_default(),
        rollout,
        reason,
        desired: count(deployment.desired_count),
        running: count(deployment.running_count),
        pending: count(deployment.pending_count),
        failed_tasks: count(deployment.failed_tasks),
        failures: Vec::new(),
        created_at,
        shift: past.filter(|_| rollout == RolloutState::InProgress).and_then(|past| past.shift.clone()),
    })
}

/// Failed, and no longer the PRIMARY one.
fn after_failure(service: &ecs::Service, reason: &mut Option<String>) -> RolloutState {
    let Some(primary) = primary(service) else { return RolloutState::Failed };
    match primary.rollout_state {
        Some(Live::InProgress) if rolling_back(service) => RolloutState::InProgress,
        Some(Live::Completed) if rolls_back(service) => RolloutState::RolledBack,
        Some(Live::Failed) if rolls_back(service) => {
            let why = primary.rollout_state_reason.as_deref().unwrap_or_default();
            *reason = Some(format!("{} The roll-back failed too: {why}", reason.as_deref().unwrap_or_default()));
            RolloutState::RollbackFailed
        }
        _ => RolloutState::Failed,
    }
}

/// Whether failed deployments of this service are rolled back at all.
fn rolls_back(service: &ecs::Service) -> bool {
    let configuration = service.deployment_configuration.as_ref();
    let breaker = configuration.and_then(|c| c.deployment_circuit_breaker.as_ref());
    let alarms = configuration.and_then(|c| c.alarms.as_ref());
    breaker.is_some_and(|breaker| breaker.enable && breaker.rollback)
        || alarms.is_some_and(|alarms| alarms.enable && alarms.rollback)
}

/// "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/…", also by alarms.
fn rolling_back(service: &ecs::Service) -> bool {
    let Some(primary) = primary(service) else { return false };
    let reason = primary.rollout_state_reason.as_deref().unwrap_or_default().to_ascii_lowercase();
    primary.rollout_state == Some(Live::InProgress) && (reason.contains("rolling back") || reason.contains("rollback"))
}

fn by_counts(service: &ecs::Service, deployment: &ecs::Deployment) -> RolloutState {
    let alone = service.deployments().len() == 1;
    if alone && deployment.running_count == deployment.desired_count && deployment.pending_count == 0 {
        RolloutState::Completed
    } else {
        RolloutState::InProgress
    }
}

fn from_past(past: &Past) -> DeploymentDescription {
    DeploymentDescription {
        id: past.id.clone(),
        task_definition: past.task_definition.clone(),
        rollout: ended(past).unwrap_or(RolloutState::InProgress),
        reason: past.reason.clone(),
        desired: past.desired,
        running: past.running,
        pending: past.pending,
        failed_tasks: past.failed_tasks,
        failures: Vec::new(),
        created_at: past.created_at,
        shift: past.shift.clone(),
    }
}

/// Deployments whose end the events tell, newest first; with the failure's reason. ECS writes `(service web) (deployment
/// ecs-svc/1) deployment failed: tasks failed to start.` and `… deployment completed.`
fn told_by_events(service: &ecs::Service) -> Vec<(&str, Option<&str>)> {
    let mut told: Vec<(&str, Option<&str>)> = Vec::new();
    for event in service.events() {
        let Some((_, rest)) = event.message().unwrap_or_default().split_once("(deployment ") else { continue };
        let Some((id, rest)) = rest.split_once(") ") else { continue };
        let end = match rest.strip_prefix("deployment failed") {
            Some(why) => Some(why.trim_start_matches(':').trim()),
            None if rest.starts_with("deployment completed") => None,
            None => continue,
        };
        if !told.iter().any(|(known, _)| *known == id) {
            told.push((id, end));
        }
    }
    told
}

fn from_events(service: &ecs::Service, id: &str, failure: Option<&str>) -> DeploymentDescription {
    let primary = primary(service).and_then(|primary| primary.rollout_state.as_ref());
    let rollout = match (failure, primary) {
        (None, _) => RolloutState::Completed,
        (Some(_), Some(Live::InProgress)) if rolling_back(service) => RolloutState::InProgress,
        (Some(_), Some(Live::Completed)) if rolls_back(service) => RolloutState::RolledBack,
        (Some(_), _) => RolloutState::Failed,
    };
    let message = |event: &&ecs::ServiceEvent| event.message().is_some_and(|message| message.contains(id));
    let at = service.events().iter().filter(message).filter_map(|event| event.created_at.as_ref()).next_back();
    DeploymentDescription {
        id: id.to_owned(),
        task_definition: String::new(),
        rollout,
        reason: failure.map(|why| format!("deployment failed: {why}")),
        desired: 0,
        running: 0,
        pending: 0,
        failed_tasks: 0,
        failures: Vec::new(),
        created_at: time(at),
        shift: None,
    }
}

/// `ecs-svc/NUMBER` out of `arn:…:service-revision/CLUSTER/SERVICE/NUMBER`.
pub(crate) fn deployment_id(service_revision: &str) -> String {
    format!("ecs-svc/{}", service_revision.rsplit('/').next().unwrap_or_default())
}

pub(crate) fn time(at: Option<&aws_smithy_types::DateTime>) -> Timestamp {
    at.and_then(|at| Timestamp::from_millisecond(at.to_millis().ok()?).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn count(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;

//! What dies or ails while it serves: who stays, and who takes its place, beside what is to be served next. As ECS does it since October 2023
//! (<https://aws.amazon.com/blogs/containers/a-deep-dive-into-amazon-ecs-task-health-and-task-replacement/>) and, during deployments, since
//! November 2025 (<https://aws.amazon.com/about-aws/whats-new/2025/11/amazon-ecs-service-availability-rolling-deployments>).

use landfall_model::Timestamp;
use landfall_ports::orchestrator::RolloutState;

use super::decide::{Action, Elb, TaskView, Verdict, after, breaker_threshold, limits, since, start, wake};
use super::service::{Deployment, ServiceState};
use crate::task::record::Stop;

/// Container checks end a task in its own actor; what the load balancer says is judged here, after the grace period. As on ECS, a task of a
/// version that was good stays until another stands in for it, where the maximum has room for one: too busy for a check is not dead. These are
/// returned.
pub(super) fn replace_unhealthy(
    verdict: &mut Verdict,
    tasks: &[TaskView],
    stopping: &mut Vec<String>,
    now: Timestamp,
) -> Vec<String> {
    let grace = i64::from(verdict.state.configuration.health_check_grace_period) * 1000;
    let group = verdict.state.target.as_ref().map(|target| target.target_group.clone()).unwrap_or_default();
    let mut unhealthy: Vec<&TaskView> = Vec::new();
    for task in tasks.iter().filter(|task| task.live() && task.elb == Elb::Unhealthy) {
        let Some(started) = task.started_at else { continue };
        if since(started, now) < grace {
            wake(verdict, after(started, grace));
            continue;
        }
        unhealthy.push(task);
    }
    unhealthy.sort_by_key(|task| task.started_at);
    let mut ailing: Vec<String> = unhealthy.iter().map(|task| task.id.clone()).collect();
    for task in unhealthy {
        if stays(verdict, tasks, task, &ailing, now) {
            continue;
        }
        ailing.retain(|id| id != &task.id);
        let why = task.elb_reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let reason = format!("Task failed ELB health checks in (target-group {group}){why}");
        verdict.state.say(now, format!("(task {}) is unhealthy in (target-group {group}){why}", task.id));
        verdict
            .actions
            .push(Action::Stop { task: task.id.clone(), stop: Stop::failed("ServiceSchedulerInitiated", &reason) });
        stopping.push(task.id.clone());
    }
    ailing
}

/// Whether an unhealthy task is still wanted: too few others of its version are ready, and another has room beside it or is on its way.
fn stays(verdict: &Verdict, tasks: &[TaskView], task: &TaskView, ailing: &[String], now: Timestamp) -> bool {
    let state = &verdict.state;
    let stops =
        |id: &str| verdict.actions.iter().any(|action| matches!(action, Action::Stop { task, .. } if task == id));
    let live: Vec<&TaskView> = tasks.iter().filter(|other| other.live() && !stops(&other.id)).collect();
    let Some(wanted) = wanted(state, &task.deployment, &live, now) else { return false };
    let of_it = || live.iter().filter(|other| other.deployment == task.deployment);
    let sick = of_it().filter(|other| ailing.contains(&other.id)).count();
    let ready = of_it().filter(|other| other.ready(now)).count() + serving_beside(state, &task.deployment, &live);
    let coming = of_it().any(|other| !ailing.contains(&other.id) && !other.ready(now));
    ready + sick <= wanted && (coming || live.len() < limits(state).1)
}

/// How many tasks a deployment that was good is to have: the PRIMARY all, the one that it replaces as many as the minimum still lacks.
/// `None`: it never was, or is of the past.
pub(super) fn wanted(state: &ServiceState, deployment: &str, live: &[&TaskView], now: Timestamp) -> Option<usize> {
    let primary = state.deployments.first()?;
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    if primary.id == deployment {
        return primary.is_good().then(|| size(state.desired));
    }
    let before = replaced(state).filter(|before| before.id == deployment)?;
    let ready = live.iter().filter(|task| task.deployment == primary.id && task.ready(now)).count();
    Some(limits(state).0.min(size(before.had)).saturating_sub(ready))
}

/// Tasks of versions that are neither this one nor the PRIMARY, and that serve beside it: of one whose deployment was superseded half way.
fn serving_beside(state: &ServiceState, deployment: &str, live: &[&TaskView]) -> usize {
    let primary = state.deployments.first().map(|primary| primary.id.as_str()).unwrap_or_default();
    let beside = |task: &&&TaskView| task.deployment != deployment && task.deployment != primary && task.healthy();
    if deployment == primary { 0 } else { live.iter().filter(beside).count() }
}

/// Whether the PRIMARY has no task at all, and may have one.
pub(super) fn lacks_all(state: &ServiceState, live: &[&TaskView]) -> bool {
    let Some(primary) = state.deployments.first() else { return false };
    state.desired > 0 && !held_back(state) && live.iter().all(|task| task.deployment != primary.id)
}

/// Whether no task of the PRIMARY is started any more: it is given up, or about to be.
pub(super) fn held_back(state: &ServiceState) -> bool {
    let Some(primary) = state.deployments.first() else { return true };
    let trips = state.configuration.circuit_breaker.enable && primary.rollout == RolloutState::InProgress;
    primary.given_up || (trips && primary.consecutive_failures >= breaker_threshold(state))
}

/// What serves while the PRIMARY comes up.
pub(super) fn replaced(state: &ServiceState) -> Option<&Deployment> {
    state.deployments.iter().skip(1).find(|deployment| deployment.had > 0)
}

/// Tasks of the version that serves while the PRIMARY comes up, where the minimum lacks some: as on ECS, what dies is replaced by its own
/// version, which the new one's fate does not touch. How many.
pub(super) fn start_old(
    verdict: &mut Verdict,
    left: &[&TaskView],
    ailing: &[String],
    room: usize,
    now: Timestamp,
) -> usize {
    let Some(id) = replaced(&verdict.state).map(|before| before.id.clone()) else { return 0 };
    let wanted = wanted(&verdict.state, &id, left, now).unwrap_or(0);
    let own = left.iter().filter(|task| task.deployment == id && !ailing.contains(&task.id)).count();
    let there = own + serving_beside(&verdict.state, &id, left);
    let missing = room.min(wanted.saturating_sub(there));
    start(verdict, missing, &id, left, ailing, now);
    // Also where the delay after a failure is not over yet.
    missing
}

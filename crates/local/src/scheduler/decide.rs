//! What a service does next. Pure: state, tasks and time in; new state and actions out. Deciding twice on the same input
//! gives the same answer, so a crash between storing the state and acting is repaired by deciding again: what is to be
//! started or stopped follows from the tasks that exist, never from a memory of having asked.

use landfall_model::Timestamp;
use landfall_ports::orchestrator::{RolloutState, ServiceStatus, StopDeployment, TaskDescription};

use super::replace::{held_back, lacks_all, replace_unhealthy, replaced, start_old, wanted};
use super::service::{Deployment, ServiceState};
use crate::task::decide::Health;
use crate::task::record::Stop;

/// A task without any health signal counts towards a steady state once it has run for this long.
pub(crate) const SETTLE_MS: i64 = 1_000;
/// A task that lasted this long sets the restart delay back.
const LASTED_MS: i64 = 30_000;
const FIRST_DELAY_MS: i64 = 250;
const LONGEST_DELAY_MS: i64 = 60_000;
const MAX_FAILURES: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elb {
    /// No target group.
    None,
    Initial,
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskView {
    pub id: String,
    pub deployment: String,
    /// RUNNING since.
    pub started_at: Option<Timestamp>,
    /// Whether containers have health checks at all.
    pub checked: bool,
    pub health: Health,
    pub elb: Elb,
    pub elb_reason: Option<String>,
    pub stopping: bool,
    /// On its way out because it failed.
    pub failing: bool,
    /// Why it stopped, once it has.
    pub stopped: Option<Stop>,
    /// Of a stopped task, for the root cause.
    pub description: Option<TaskDescription>,
}

impl TaskView {
    pub(super) fn live(&self) -> bool {
        !self.stopping && self.stopped.is_none()
    }

    /// Counts towards healthy: running and no check says otherwise.
    pub(super) fn healthy(&self) -> bool {
        self.live()
            && self.started_at.is_some()
            && (!self.checked || self.health == Health::Healthy)
            && matches!(self.elb, Elb::None | Elb::Healthy)
    }

    /// Healthy, and where nothing checks it, alive for a moment.
    pub(super) fn ready(&self, now: Timestamp) -> bool {
        let judged = self.checked || self.elb != Elb::None;
        self.healthy() && (judged || self.started_at.is_some_and(|at| since(at, now) >= SETTLE_MS))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Start {
        task: String,
        deployment: String,
        task_definition: String,
    },
    Stop {
        task: String,
        stop: Stop,
    },
    /// The stopped task has been counted: its record may go.
    Forget {
        task: String,
    },
    /// Nothing is left of a service that was deleted.
    Remove,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub state: ServiceState,
    pub actions: Vec<Action>,
    /// Decide again then at the latest.
    pub wake_at: Option<Timestamp>,
}

pub(super) fn since(then: Timestamp, now: Timestamp) -> i64 {
    now.as_millisecond() - then.as_millisecond()
}

pub(crate) fn after(now: Timestamp, ms: i64) -> Timestamp {
    Timestamp::from_millisecond(now.as_millisecond().saturating_add(ms)).unwrap_or(now)
}

/// ECS's threshold: half the desired count, at least 3 and at most 200.
pub(crate) fn breaker_threshold(state: &ServiceState) -> u32 {
    let configured = state.configuration.circuit_breaker.threshold;
    configured.unwrap_or_else(|| state.desired.div_ceil(2).clamp(3, 200)).max(1)
}

fn restart_delay(failures: u32) -> i64 {
    FIRST_DELAY_MS.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(LONGEST_DELAY_MS)
}

pub(crate) fn decide(state: &ServiceState, tasks: &[TaskView], now: Timestamp) -> Verdict {
    let mut verdict = Verdict { state: state.clone(), actions: Vec::new(), wake_at: None };
    let mut stopping: Vec<String> = Vec::new();
    count_failures(&mut verdict, tasks, now);
    if state.status == ServiceStatus::Draining {
        drain(&mut verdict, tasks);
        return verdict;
    }
    let ailing = replace_unhealthy(&mut verdict, tasks, &mut stopping, now);
    // Those count as failed once they stop, in a moment; only then is it known when to start the next.
    let replacing = !stopping.is_empty();
    judge_deployment(&mut verdict, tasks, now);
    let live: Vec<&TaskView> = tasks.iter().filter(|task| task.live() && !stopping.contains(&task.id)).collect();
    stop_surplus(&mut verdict, &live, &ailing, &mut stopping, now);
    if !replacing {
        let left: Vec<&TaskView> = live.into_iter().filter(|task| !stopping.contains(&task.id)).collect();
        let room = limits(&verdict.state).1.saturating_sub(left.len());
        // What is served now comes before what is to be served next, but for one task of that: it may be the remedy.
        let first = usize::from(lacks_all(&verdict.state, &left));
        let taken = start_old(&mut verdict, &left, &ailing, room.saturating_sub(first), now);
        start_missing(&mut verdict, &left, &ailing, room - taken, now);
    }
    finish(&mut verdict, tasks, &stopping, now);
    verdict
}

/// Each failed task counts once: its id is kept as long as its record exists.
fn count_failures(verdict: &mut Verdict, tasks: &[TaskView], now: Timestamp) {
    let mut told = Vec::new();
    for deployment in &mut verdict.state.deployments {
        deployment.counted.retain(|id| tasks.iter().any(|task| &task.id == id));
        let of_it = || tasks.iter().filter(|task| task.deployment == deployment.id);
        if of_it().any(|task| task.ready(now)) {
            deployment.consecutive_failures = 0;
        }
        // Of before the failure it says nothing that a task lasts.
        let lasted = |task: &TaskView| {
            let from = task.started_at.map(|at| deployment.retry_at.map_or(at, |retry| at.max(retry)));
            task.ready(now) && from.is_some_and(|at| since(at, now) >= LASTED_MS)
        };
        if of_it().any(lasted) {
            deployment.backoff = 0;
            deployment.retry_at = None;
        }
        // Counted when the stop begins, since a replacement is started then; what there is to tell comes with its end.
        let failed: Vec<&TaskView> =
            of_it().filter(|task| task.failing && !deployment.counted.contains(&task.id)).collect();
        let stopped: Vec<&TaskView> = of_it().filter(|task| task.failing && task.stopped.is_some()).collect();
        for task in failed {
            deployment.counted.push(task.id.clone());
            deployment.failed_tasks += 1;
            deployment.consecutive_failures += 1;
            deployment.backoff += 1;
            deployment.retry_at = Some(after(now, restart_delay(deployment.backoff)));
        }
        for task in stopped {
            if let Some(description) = &task.description
                && !deployment.failures.iter().any(|known| known.id == description.id)
            {
                deployment.failures.insert(0, description.clone());
                deployment.failures.truncate(MAX_FAILURES);
                let reason = task.stopped.as_ref().map(|stop| stop.reason.clone()).unwrap_or_default();
                told.push(format!("task {} stopped: {reason}", task.id));
            }
        }
    }
    for message in told {
        verdict.state.steady = false;
        verdict.state.say(now, message);
    }
    for task in tasks.iter().filter(|task| task.stopped.is_some()) {
        verdict.actions.push(Action::Forget { task: task.id.clone() });
    }
}

fn drain(verdict: &mut Verdict, tasks: &[TaskView]) {
    for task in tasks.iter().filter(|task| task.live()) {
        let stop = Stop::asked("ServiceSchedulerInitiated", "Scaling activity initiated by service deletion");
        verdict.actions.push(Action::Stop { task: task.id.clone(), stop });
    }
    if tasks.iter().all(|task| task.stopped.is_some()) {
        verdict.actions.push(Action::Remove);
    }
}

pub(super) fn wake(verdict: &mut Verdict, at: Timestamp) {
    verdict.wake_at = Some(verdict.wake_at.map_or(at, |earlier| earlier.min(at)));
}

/// The circuit breaker and the deployment's time limit.
fn judge_deployment(verdict: &mut Verdict, tasks: &[TaskView], now: Timestamp) {
    let threshold = breaker_threshold(&verdict.state);
    let breaker = verdict.state.configuration.circuit_breaker.clone();
    let timeout = i64::from(verdict.state.configuration.timeout) * 1000;
    let Some(primary) = verdict.state.deployments.first() else { return };
    if primary.rollout != RolloutState::InProgress || primary.given_up {
        return;
    }
    let tripped = breaker.enable && primary.consecutive_failures >= threshold;
    if tripped && tasks.iter().any(|task| task.deployment == primary.id && task.failing && task.stopped.is_none()) {
        // The last failure's cause is not known before its task has stopped; `start_missing` starts nothing meanwhile.
        return;
    }
    let deadline = after(primary.created_at, timeout);
    let timed_out = timeout > 0 && now >= deadline;
    if !tripped && !timed_out {
        if timeout > 0 {
            wake(verdict, deadline);
        }
        return;
    }
    let why = if tripped {
        "ECS deployment circuit breaker: tasks failed to start.".to_owned()
    } else {
        let unready =
            tasks.iter().filter(|task| task.deployment == primary.id && task.live() && !task.ready(now)).count();
        format!("deployment timed out after {} s with {unready} tasks not ready.", timeout / 1000)
    };
    give_up(&mut verdict.state, &why, breaker.enable && breaker.rollback, now);
}

fn give_up(state: &mut ServiceState, why: &str, rollback: bool, now: Timestamp) {
    let is_good = |deployment: &&Deployment| deployment.rollout == RolloutState::Completed || deployment.had > 0;
    let good = state.deployments.iter().skip(1).find(is_good);
    let good = good.map(|deployment| (deployment.id.clone(), deployment.task_definition.clone()));
    let Some(primary) = state.deployments.first_mut() else { return };
    let id = primary.id.clone();
    primary.given_up = true;
    // Rolling back a roll-back would go round in circles.
    match good.filter(|_| rollback && primary.rolls_back.is_none()) {
        Some((back, definition)) => {
            primary.reason = Some(format!("{why} Rolling back to {definition}."));
            state.say(now, format!("(deployment {id}) deployment failed: {why}"));
            state.say(now, format!("rolling back to deployment {back}."));
            state.make_primary_again(&back, id, now);
        }
        None => {
            primary.rollout = RolloutState::Failed;
            primary.reason = Some(why.to_owned());
            let rolled_back = primary.rolls_back.clone();
            state.say(now, format!("(deployment {id}) deployment failed: {why}"));
            if let Some(original) = rolled_back.and_then(|of| find(state, &of)) {
                original.rollout = RolloutState::RollbackFailed;
                original.reason =
                    Some(format!("{} The roll-back failed too: {why}", original.reason.clone().unwrap_or_default()));
            }
        }
    }
}

/// Ends the deployment under way because somebody asks for it. Whether one was.
pub(crate) fn stop(state: &mut ServiceState, how: StopDeployment, now: Timestamp) -> bool {
    const WHY: &str = "deployment was stopped by somebody.";
    let Some(primary) = state.deployments.first_mut() else { return false };
    if primary.rollout != RolloutState::InProgress || primary.given_up || primary.rolls_back.is_some() {
        return false;
    }
    match how {
        StopDeployment::Rollback => give_up(state, WHY, true, now),
        StopDeployment::Abort => {
            primary.given_up = true;
            primary.rollout = RolloutState::Stopped;
            primary.reason = Some(WHY.to_owned());
            let id = primary.id.clone();
            state.say(now, format!("(deployment {id}) {WHY}"));
        }
    }
    true
}

fn find<'a>(state: &'a mut ServiceState, id: &str) -> Option<&'a mut Deployment> {
    state.deployments.iter_mut().find(|deployment| deployment.id == id)
}

pub(super) fn limits(state: &ServiceState) -> (usize, usize) {
    let desired = u64::from(state.desired);
    let minimum = (desired * u64::from(state.configuration.minimum_healthy_percent)).div_ceil(100);
    let maximum = desired * u64::from(state.configuration.maximum_percent) / 100;
    (usize::try_from(minimum).unwrap_or(usize::MAX), usize::try_from(maximum.max(minimum)).unwrap_or(usize::MAX))
}

/// Tasks of older deployments go as the minimum allows; surplus ones of the PRIMARY go at once, unready and young first.
fn stop_surplus(
    verdict: &mut Verdict,
    live: &[&TaskView],
    ailing: &[String],
    stopping: &mut Vec<String>,
    now: Timestamp,
) {
    let Some(primary) = verdict.state.deployments.first() else { return };
    let (id, given_up) = (primary.id.clone(), primary.given_up);
    let (minimum, _) = limits(&verdict.state);
    let well = live.iter().filter(|task| !ailing.contains(&task.id));
    let (mut current, mut old): (Vec<&TaskView>, Vec<&TaskView>) = well.partition(|task| task.deployment == id);
    let reason = format!("Scaling activity initiated by (deployment {id})");
    let asked = || Stop::asked("ServiceSchedulerInitiated", &reason);
    // A deployment that failed with nothing to go back to keeps what is healthy of the one before.
    let desired = if given_up { 0 } else { usize::try_from(verdict.state.desired).unwrap_or(usize::MAX) };
    current.sort_by_key(|task| (task.healthy(), std::cmp::Reverse(task.started_at)));
    let surplus = current.len().saturating_sub(desired);
    let mut going: Vec<&TaskView> = current.drain(..surplus).collect();
    let failed_alone = given_up && !old.is_empty() && verdict.state.desired > 0;
    if !failed_alone {
        let mut healthy =
            current.iter().filter(|task| task.ready(now)).count() + old.iter().filter(|task| task.healthy()).count();
        old.sort_by_key(|task| task.healthy());
        // What stands in for old ones that died stays until it is not needed.
        let before = replaced(&verdict.state).map(|before| before.id.clone());
        let wanted = before.as_ref().and_then(|id| wanted(&verdict.state, id, live, now)).unwrap_or(0);
        let mut lacking = wanted.saturating_sub(old.iter().filter(|task| task.healthy()).count());
        // Not where they leave the new one no room at all.
        let mut crowded = match lacks_all(&verdict.state, live) {
            true => (live.len() + 1).saturating_sub(limits(&verdict.state).1 + going.len()),
            false => 0,
        };
        for task in old {
            if !task.healthy() {
                let stands_in = before.as_ref() == Some(&task.deployment) && crowded == 0;
                crowded = crowded.saturating_sub(1);
                match lacking.checked_sub(1).filter(|_| stands_in) {
                    Some(left) => lacking = left,
                    None => going.push(task),
                }
            } else if healthy > minimum {
                healthy -= 1;
                going.push(task);
            }
        }
    }
    if going.is_empty() {
        return;
    }
    let names: Vec<String> = going.iter().map(|task| format!("(task {})", task.id)).collect();
    verdict.state.say(now, format!("has stopped {} running tasks: {}.", going.len(), names.join(" ")));
    for task in going {
        verdict.actions.push(Action::Stop { task: task.id.clone(), stop: asked() });
        stopping.push(task.id.clone());
    }
}

fn start_missing(verdict: &mut Verdict, left: &[&TaskView], ailing: &[String], room: usize, now: Timestamp) {
    let desired = usize::try_from(verdict.state.desired).unwrap_or(usize::MAX);
    let primary = verdict.state.deployments.first().filter(|_| !held_back(&verdict.state));
    let Some(id) = primary.map(|primary| primary.id.clone()) else { return };
    let current = left.iter().filter(|task| task.deployment == id && !ailing.contains(&task.id)).count();
    start(verdict, room.min(desired.saturating_sub(current)), &id, left, ailing, now);
}

/// None before the delay after a failure is over. One that is started because another is unhealthy delays the next as a failure would: who
/// recovers and fails again by turns is not to have ever another beside it.
pub(super) fn start(
    verdict: &mut Verdict,
    room: usize,
    deployment: &str,
    left: &[&TaskView],
    ailing: &[String],
    now: Timestamp,
) {
    let Some(own) = find(&mut verdict.state, deployment).filter(|_| room > 0) else { return };
    if let Some(at) = own.retry_at.filter(|at| *at > now) {
        wake(verdict, at);
        return;
    }
    if left.iter().any(|task| task.deployment == deployment && ailing.contains(&task.id)) {
        own.backoff += 1;
        own.retry_at = Some(after(now, restart_delay(own.backoff)));
    }
    let task_definition = own.task_definition.clone();
    let mut names = Vec::new();
    for _ in 0..room {
        let task = verdict.state.next_task_id();
        names.push(format!("(task {task})"));
        let (deployment, task_definition) = (deployment.to_owned(), task_definition.clone());
        verdict.actions.push(Action::Start { task, deployment, task_definition });
    }
    verdict.state.steady = false;
    verdict.state.say(now, format!("has started {room} tasks: {}.", names.join(" ")));
}

/// COMPLETED when the PRIMARY's tasks are all ready and none of another deployment is left that is not on its way out.
fn finish(verdict: &mut Verdict, tasks: &[TaskView], stopping: &[String], now: Timestamp) {
    let Some(primary) = verdict.state.deployments.first() else { return };
    let id = primary.id.clone();
    if primary.given_up {
        return;
    }
    let left: Vec<&TaskView> = tasks.iter().filter(|task| task.live() && !stopping.contains(&task.id)).collect();
    for task in left.iter().filter(|task| task.healthy() && !task.ready(now)) {
        if let Some(started) = task.started_at {
            wake(verdict, after(started, SETTLE_MS));
        }
    }
    for task in left.iter().filter(|task| task.ready(now)) {
        if let Some(started) = task.started_at.filter(|at| since(*at, now) < LASTED_MS) {
            wake(verdict, after(started, LASTED_MS));
        }
    }
    let desired = usize::try_from(verdict.state.desired).unwrap_or(usize::MAX);
    let ready = left.iter().filter(|task| task.deployment == id && task.ready(now)).count();
    if ready != desired || left.len() != ready {
        return;
    }
    let mut rolled_back = None;
    if let Some(primary) = verdict.state.deployments.first_mut()
        && primary.rollout == RolloutState::InProgress
    {
        primary.rollout = RolloutState::Completed;
        primary.reason = Some(format!("ECS deployment {id} completed."));
        rolled_back = primary.rolls_back.clone();
        verdict.state.deployments.iter_mut().for_each(|deployment| deployment.had = 0);
        verdict.state.say(now, format!("(deployment {id}) deployment completed."));
    }
    if let Some(original) = rolled_back.and_then(|of| find(&mut verdict.state, &of)) {
        original.rollout = RolloutState::RolledBack;
    }
    if !verdict.state.steady {
        verdict.state.steady = true;
        verdict.state.say(now, "has reached a steady state.".to_owned());
    }
}

//! One service's loop: look at its tasks and targets, decide, store, act. The state is stored before anything is done, so
//! that a number once given to a task is never given again; what was decided and not done is decided again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use landfall_ports::orchestrator::{PutService, PutServiceOutcome, ServiceDescription, ServiceStatus};
use landfall_ports::{PortError, PortResult};
use landfall_router::api::{TargetState, WaitUntil};
use tokio::sync::Notify;

use super::decide::{self, Action, Elb, TaskView};
use super::service::ServiceState;
use crate::core::{Core, locked, now};
use crate::task::containers::unkept_limits;
use crate::task::record::TaskRecord;
use crate::task::run::TaskCell;
use crate::{definitions, state, supervisor};

/// State and reason of each target.
type Targets = BTreeMap<SocketAddr, (Elb, Option<String>)>;

pub(crate) struct ServiceCell {
    pub name: String,
    pub state: tokio::sync::Mutex<ServiceState>,
    pub wake: Arc<Notify>,
    /// What the load balancer last said of its targets; `None` before it said anything.
    elb: Mutex<Option<Targets>>,
}

impl ServiceCell {
    pub(crate) fn new(state: ServiceState) -> Arc<Self> {
        Arc::new(Self {
            name: state.name.clone(),
            state: tokio::sync::Mutex::new(state),
            wake: Arc::new(Notify::new()),
            elb: Mutex::default(),
        })
    }

    pub(crate) async fn describe(&self, core: &Core) -> ServiceDescription {
        let state = self.state.lock().await;
        let views = views(core, self, &state);
        state.describe(&views)
    }

    pub(crate) async fn update(&self, core: &Core, request: &PutService) -> PortResult<PutServiceOutcome> {
        let mut state = self.state.lock().await;
        let mut next = state.clone();
        let outcome = next.update(request, now());
        if next != *state {
            store(core, &next).await?;
            *state = next;
        }
        drop(state);
        self.wake.notify_one();
        Ok(outcome)
    }

    /// Changes the desired count or the status.
    pub(crate) async fn change(&self, core: &Core, change: impl FnOnce(&mut ServiceState) + Send) -> PortResult<()> {
        let mut state = self.state.lock().await;
        let mut next = state.clone();
        change(&mut next);
        if next != *state {
            store(core, &next).await?;
            *state = next;
        }
        drop(state);
        self.wake.notify_one();
        Ok(())
    }
}

pub(crate) async fn store(core: &Core, service: &ServiceState) -> PortResult<()> {
    let path = core.file("services", &crate::images::file_name(&service.name));
    let service = service.clone();
    state::blocking(move || state::write_json(&path, &service)).await
}

fn views(core: &Core, cell: &ServiceCell, service: &ServiceState) -> Vec<TaskView> {
    let elb = locked(&cell.elb).clone().unwrap_or_default();
    core.tasks_of(&cell.name).iter().map(|task| view(task, service, &elb)).collect()
}

fn view(task: &TaskCell, service: &ServiceState, elb: &Targets) -> TaskView {
    let (mut view, stopped) = task.look(|seen| {
        let record = &seen.record;
        let running = seen.status == "RUNNING" || seen.status == "ACTIVATING";
        let (elb, elb_reason) = match (&service.target, seen.target.and_then(|target| elb.get(&target))) {
            (None, _) => (Elb::None, None),
            (Some(_), Some((state, reason))) => (*state, reason.clone()),
            (Some(_), None) => (Elb::Initial, None),
        };
        let stopped = seen.status == "STOPPED";
        let view = TaskView {
            id: record.id.clone(),
            deployment: record.deployment.clone().unwrap_or_default(),
            started_at: record.started_at.filter(|_| running),
            checked: record
                .definition
                .containers
                .iter()
                .any(|c| c.settings.essential && c.settings.health_check.is_some()),
            health: seen.health,
            elb,
            elb_reason,
            stopping: record.stopping.is_some(),
            failing: record.stopping.as_ref().is_some_and(|stop| stop.failed),
            stopped: record.stopping.clone().filter(|_| stopped),
            description: None,
        };
        (view, stopped)
    });
    if stopped {
        view.description = Some(task.describe());
    }
    view
}

/// Runs until the service is gone or the platform shuts down.
pub(crate) async fn run(core: Arc<Core>, cell: Arc<ServiceCell>) {
    let token = core.cancel.child_token();
    let _ends_watch = token.clone().drop_guard();
    let (watch_core, watch_cell) = (Arc::clone(&core), Arc::clone(&cell));
    tokio::spawn(async move { token.run_until_cancelled(watch_targets(watch_core, watch_cell)).await });
    loop {
        match reconcile(&core, &cell).await {
            Ok(Next::Gone) => return,
            Ok(Next::At(wake_at)) => {
                let pause = wake_at.map_or(Duration::from_secs(5), |at| {
                    let ms = at.as_millisecond() - now().as_millisecond();
                    Duration::from_millis(u64::try_from(ms).unwrap_or(0).clamp(1, 5_000))
                });
                tokio::select! {
                    () = cell.wake.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => {
                tracing::error!(%error, service = cell.name, "service cannot be reconciled, trying again");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

enum Next {
    At(Option<landfall_model::Timestamp>),
    Gone,
}

async fn reconcile(core: &Arc<Core>, cell: &Arc<ServiceCell>) -> PortResult<Next> {
    let mut state = cell.state.lock().await;
    if unsettled(core, cell, &state) {
        return Ok(Next::At(None));
    }
    let views = views(core, cell, &state);
    let verdict = decide::decide(&state, &views, now());
    if verdict.state != *state {
        store(core, &verdict.state).await?;
        *state = verdict.state.clone();
    }
    let mut warnings = Vec::new();
    let mut acted = false;
    for action in verdict.actions {
        match action {
            Action::Start { task, deployment, task_definition } => {
                acted = true;
                let definition = match definitions::load(core, &task_definition).await {
                    // Of a version that is replaced it may be gone: nothing stands in for it any more.
                    Err(PortError::NotFound(why))
                        if state.deployments.first().is_some_and(|one| one.id != deployment) =>
                    {
                        tracing::warn!(service = state.name, "no task of the version before is started: {why}");
                        let gone = state.deployments.iter_mut().filter(|one| one.id == deployment);
                        gone.for_each(|one| one.had = 0);
                        store(core, &state).await?;
                        continue;
                    }
                    definition => definition?,
                };
                warnings.extend(unkept_limits(core, &definition));
                let record = TaskRecord {
                    id: task,
                    tags: state.tags.clone(),
                    service: Some(state.name.clone()),
                    deployment: Some(deployment),
                    token: None,
                    definition,
                    target: state.target.clone(),
                    created_at: now(),
                    started_at: None,
                    stopping: None,
                    stopped_at: None,
                    healthy: Vec::new(),
                    containers: BTreeMap::new(),
                };
                supervisor::begin_task(core, record).await?;
            }
            Action::Stop { task, stop } => {
                if let Some(task) = core.task(&task) {
                    locked(&task.seen).record.stopping.get_or_insert(stop.clone());
                    task.stop(stop);
                }
            }
            Action::Forget { task } => supervisor::forget_task(core, &task).await?,
            Action::Remove => {
                core.release_network(state.environment()).await;
                let (path, name) = (core.file("services", &crate::images::file_name(&state.name)), state.name.clone());
                state::blocking(move || state::remove(&path)).await?;
                locked(&core.services).remove(&name);
                core.changed.notify_waiters();
                return Ok(Next::Gone);
            }
        }
    }
    if let Some(warning) = warnings.pop()
        && !state.events.iter().any(|event| event.message.ends_with(&warning))
    {
        state.say(now(), warning);
        store(core, &state).await?;
    }
    core.changed.notify_waiters();
    let soon = acted && state.status == ServiceStatus::Active;
    Ok(Next::At(verdict.wake_at.or_else(|| soon.then(|| decide::after(now(), 1_000)))))
}

/// After a restart: tasks that were taken over and not yet looked at, or whose targets' health is not yet known, would
/// pass for unhealthy, and an update under way would stop the old ones too early.
fn unsettled(core: &Core, cell: &ServiceCell, state: &ServiceState) -> bool {
    let tasks = core.tasks_of(&cell.name);
    let unheard = state.target.is_some() && locked(&cell.elb).is_none();
    tasks.iter().any(|task| task.look(|seen| seen.adopting || (unheard && seen.record.started_at.is_some())))
}

/// Follows the target group by long polls; every change wakes the service.
async fn watch_targets(core: Arc<Core>, cell: Arc<ServiceCell>) {
    let mut watched: Option<(String, u64)> = None;
    loop {
        let group = cell.state.lock().await.target.as_ref().map(|target| target.target_group.clone());
        let Some(group) = group else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let version = watched.as_ref().filter(|(name, _)| *name == group).map_or(0, |(_, version)| *version);
        match core.router.wait_health(&group, WaitUntil::ChangedFrom(version)).await {
            Ok(report) => {
                let elb = |state| match state {
                    TargetState::Healthy => Elb::Healthy,
                    TargetState::Unhealthy => Elb::Unhealthy,
                    TargetState::Initial | TargetState::Draining => Elb::Initial,
                };
                let seen: BTreeMap<_, _> = report
                    .targets
                    .into_iter()
                    .map(|health| (health.target, (elb(health.state), health.reason)))
                    .collect();
                watched = Some((group, report.version));
                let seen = Some(seen);
                let changed = std::mem::replace(&mut *locked(&cell.elb), seen.clone()) != seen;
                if changed {
                    cell.wake.notify_one();
                }
            }
            // The group was deleted before its service: nobody is healthy in it.
            Err(PortError::NotFound(_)) => {
                if locked(&cell.elb).replace(BTreeMap::new()).is_none() {
                    cell.wake.notify_one();
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            // What was last known stays: a router that is restarting says nothing about the tasks.
            Err(error) => {
                tracing::debug!(%error, service = cell.name, "target health unknown");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

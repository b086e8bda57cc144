//! Begins, adopts and forgets: the join between what is on disk, what the engine has, and what is supervised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use landfall_model::inventory::TAG_ENVIRONMENT;
use landfall_ports::{PortError, PortResult};

use crate::core::{Core, locked, now};
use crate::labels;
use crate::scheduler::actor::{self, ServiceCell};
use crate::scheduler::service::ServiceState;
use crate::state;
use crate::task::record::{Stop, TaskRecord};
use crate::task::run::{self, TaskCell};

/// Records of one-off tasks that stopped are kept this long.
const KEEP_STOPPED_S: i64 = 24 * 3600;

/// Records the task, then begins it. Begun before is fine.
pub(crate) async fn begin_task(core: &Arc<Core>, record: TaskRecord) -> PortResult<()> {
    if core.task(&record.id).is_some() {
        return Ok(());
    }
    let (path, stored) = (core.file("tasks", &record.id), record.clone());
    state::blocking(move || state::write_json(&path, &stored)).await?;
    spawn_task(core, record, false);
    Ok(())
}

fn spawn_task(core: &Arc<Core>, record: TaskRecord, adopted: bool) {
    let finished = record.stopped_at.is_some();
    let (cell, messages) = TaskCell::new(record);
    locked(&cell.seen).adopting = adopted && !finished;
    {
        let mut tasks = locked(&core.tasks);
        if tasks.contains_key(&cell.id) {
            return;
        }
        tasks.insert(cell.id.clone(), Arc::clone(&cell));
    }
    if finished {
        return;
    }
    let (core, token) = (Arc::clone(core), core.cancel.clone());
    tokio::spawn(async move { token.run_until_cancelled(run::run(core, cell, messages, adopted)).await });
}

pub(crate) fn spawn_service(core: &Arc<Core>, cell: Arc<ServiceCell>) {
    let (core, token) = (Arc::clone(core), core.cancel.clone());
    tokio::spawn(async move { token.run_until_cancelled(actor::run(core, cell)).await });
}

/// The record of a service's stopped task, once it has been counted.
pub(crate) async fn forget_task(core: &Core, id: &str) -> PortResult<()> {
    let path = core.file("tasks", id);
    state::blocking(move || state::remove(&path)).await?;
    locked(&core.tasks).remove(id);
    Ok(())
}

/// Takes over what a former process left: running tasks are watched and not restarted, half-made ones are finished, and
/// containers that are certainly nobody's are removed.
pub(crate) async fn take_over(core: &Arc<Core>) -> PortResult<()> {
    for directory in ["services", "tasks", "task-definitions", "logs"] {
        state::create_private_dir(&core.directory.join(directory))?;
    }
    let directory = core.directory.clone();
    let ((services, damaged_services), (tasks, damaged_tasks)) = state::blocking(move || {
        let services = state::read_all::<ServiceState>(&directory.join("services"))?;
        Ok((services, state::read_all::<TaskRecord>(&directory.join("tasks"))?))
    })
    .await?;
    remove_strays(core, &services, &tasks, damaged_services + damaged_tasks > 0).await?;
    let known: BTreeSet<String> = services.iter().map(|service| service.name.clone()).collect();
    for service in services {
        locked(&core.services).insert(service.name.clone(), ServiceCell::new(service));
    }
    for mut record in tasks {
        // While a service's record cannot be read, no task is known to be nobody's.
        let ownerless =
            damaged_services == 0 && record.service.as_ref().is_some_and(|service| !known.contains(service));
        if ownerless && record.stopped_at.is_some() {
            forget_task(core, &record.id).await?;
            continue;
        }
        if ownerless && record.stopping.is_none() {
            record.stopping = Some(Stop::asked("ServiceSchedulerInitiated", "The task's service is gone"));
        }
        spawn_task(core, record, true);
    }
    // After the tasks: a service that saw none would start new ones.
    let cells: Vec<Arc<ServiceCell>> = locked(&core.services).values().cloned().collect();
    for cell in cells {
        spawn_service(core, cell);
    }
    let (core, token) = (Arc::clone(core), core.cancel.clone());
    tokio::spawn(async move { token.run_until_cancelled(sweep(core)).await });
    Ok(())
}

async fn remove_strays(core: &Core, services: &[ServiceState], tasks: &[TaskRecord], damaged: bool) -> PortResult<()> {
    let of_services = services.iter().map(ServiceState::environment);
    let of_tasks = tasks.iter().map(TaskRecord::environment);
    let records = Records {
        tasks: tasks.iter().map(|task| (task.id.as_str(), task.stopped_at.is_some())).collect(),
        environments: of_services.chain(of_tasks).filter(|name| !name.is_empty()).collect(),
        damaged,
    };
    let found = core.docker.list_containers(&labels::owned_by(&core.instance, None)).await?;
    let mut strays: Vec<_> = found.iter().filter(|container| records.stray(&container.labels)).collect();
    // Members before their pause container.
    strays.sort_by_key(|container| container.labels.get(labels::ROLE).is_some_and(|role| role == "pause"));
    for container in strays {
        tracing::info!(container = container.name(), "removing a container that no task asks for");
        core.docker.remove_container(&container.id).await?;
    }
    Ok(())
}

/// What the files say about containers.
///
/// A task's record is written before its first container and removed after its last one, so a crash leaves records without
/// containers and not the other way round, but for one case: a create that the engine was still working on when the task
/// was stopped. It is cleaned up here when the files are known to be whole where it belongs. A container without any record
/// in its environment says that the files are gone (a restored or a fresh state directory), not that the container is
/// wrong: the reconciler, which looks twice and knows the environments, decides about that.
struct Records<'a> {
    /// Whether it has stopped, by id.
    tasks: BTreeMap<&'a str, bool>,
    /// Those with at least one service or task.
    environments: BTreeSet<&'a str>,
    /// A record cannot be read: what it stood for is unknown.
    damaged: bool,
}

impl Records<'_> {
    fn stray(&self, of_container: &BTreeMap<String, String>) -> bool {
        let label = |key: &str| of_container.get(key).map_or("", String::as_str);
        match self.tasks.get(label(labels::TASK)) {
            Some(stopped) => *stopped,
            None => !self.damaged && self.environments.contains(label(TAG_ENVIRONMENT)),
        }
    }
}

/// Now and then: forgets old one-off tasks, and service tasks whose service is gone.
async fn sweep(core: Arc<Core>) {
    loop {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let cells: Vec<Arc<TaskCell>> = locked(&core.tasks).values().cloned().collect();
        for cell in cells {
            let stopped = cell.look(|seen| seen.record.stopped_at.filter(|_| seen.status == "STOPPED"));
            let Some(stopped) = stopped else { continue };
            let old = now().as_second() - stopped.as_second() > KEEP_STOPPED_S;
            let ownerless = cell.service.as_ref().is_some_and(|service| core.service(service).is_none());
            if (old || ownerless)
                && let Err(error) = forget_task(&core, &cell.id).await
            {
                tracing::warn!(%error, task = cell.id, "old task record cannot be removed");
            }
        }
    }
}

/// Logs and stopped records of an environment that is gone.
pub(crate) async fn purge(core: &Core, environment: &str) -> PortResult<()> {
    let cells: Vec<Arc<TaskCell>> = locked(&core.tasks).values().cloned().collect();
    let of_it: Vec<_> =
        cells.into_iter().filter(|cell| cell.look(|seen| seen.record.environment() == environment)).collect();
    if of_it.iter().any(|cell| cell.look(|seen| seen.status != "STOPPED")) {
        return Err(PortError::Conflict(format!("tasks of {environment} still run")));
    }
    for cell in of_it {
        forget_task(core, &cell.id).await?;
    }
    let directory = core.log_directory(environment);
    state::blocking(move || state::remove_dir(&directory)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_nobodys_is_removed() {
        let container = |task: &str, environment: &str| {
            BTreeMap::from([
                (labels::TASK.to_owned(), task.to_owned()),
                (TAG_ENVIRONMENT.to_owned(), environment.to_owned()),
            ])
        };
        let tasks = BTreeMap::from([("live", false), ("stopped", true)]);
        let mut records = Records { tasks, environments: BTreeSet::from(["e"]), damaged: false };
        assert!(!records.stray(&container("live", "e")));
        assert!(records.stray(&container("stopped", "e")));
        assert!(records.stray(&container("unrecorded", "e")));
        assert!(!records.stray(&container("unrecorded", "restored")));
        records.damaged = true;
        assert!(!records.stray(&container("unrecorded", "e")));
        assert!(records.stray(&container("stopped", "e")));
        let empty = Records { tasks: BTreeMap::new(), environments: BTreeSet::new(), damaged: false };
        assert!(!empty.stray(&container("live", "e")) && !empty.stray(&BTreeMap::new()));
    }
}

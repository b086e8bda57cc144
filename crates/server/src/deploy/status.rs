//! Looking at a lasting environment, and following an execution.

use std::collections::BTreeMap;
use std::time::Duration;

use landfall_model::ids::ExecutionId;
use landfall_planner::names::lasting_name;
use landfall_planner::plan::{self, release};
use landfall_ports::Platform;
use landfall_ports::orchestrator::{RolloutState, ServiceDescription};
use landfall_workflow::{ExecutionState, ExecutionView};

use super::{
    Answer, EnvironmentDetail, ReleaseSummary, ReleasedService, ServiceDetail, attempts, lock, place, summary, target,
};
use crate::service::Inner;

const LONGEST_POLL: Duration = Duration::from_secs(60);
/// At most a second for a platform to look around.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// The journal tells of changes in this process only.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Newest first; `all`: also what failed, scaled or is under way.
pub(crate) async fn releases(inner: &Inner, name: &str, limit: usize, all: bool) -> Answer<Vec<ReleaseSummary>> {
    let place = place(inner, name)?;
    let wanted = |one: &plan::Attempt| all || one.release.is_some();
    let seen =
        attempts::read(inner, &place.id, |so_far| so_far.iter().filter(|one| wanted(one)).count() >= limit).await?;
    let present = seen.iter().position(|one| one.attempt.release.is_some());
    let shown = seen.iter().enumerate().filter(|(_, one)| wanted(&one.attempt)).map(|(index, one)| {
        match &one.attempt.release {
            Some(release) => summary(release, &one.by, &one.view, present == Some(index)),
            None => ReleaseSummary {
                id: one.view.id.clone(),
                kind: one.view.kind.clone(),
                title: one.view.title.clone(),
                by: one.by.clone(),
                commit: None,
                created_at: one.view.created_at,
                finished_at: one.view.finished_at,
                outcome: one.view.outcome,
                present: false,
                url: None,
                services: BTreeMap::new(),
            },
        }
    });
    Ok(shown.collect())
}

pub(crate) async fn status(inner: &Inner, name: &str) -> Answer<EnvironmentDetail> {
    let place = place(inner, name)?;
    let (app, environment) = (&inner.app, place.environment);
    let seen = attempts::recent(inner, &place.id, &environment.services).await?;
    let state = release::state(&attempts::bare(&seen));
    let newest = seen.iter().find(|one| one.attempt.release.is_some());
    let released = newest.and_then(|one| Some((one.attempt.release.as_ref()?, one)));
    let mut services = Vec::new();
    for service in &environment.services {
        let name = lasting_name(app, environment, service);
        let found = settled(place.platform, &name).await?;
        let of = state.as_ref().and_then(|state| state.services.get(service));
        let runs = of.filter(|of| found.as_ref().is_some_and(|found| found.task_definition == of.task_definition));
        let images = runs.map(|of| ReleasedService {
            task_definition: of.task_definition.clone(),
            images: of.images().map(|(container, image)| (container.to_owned(), image.to_owned())).collect(),
        });
        let images = images.map(|of| of.images).unwrap_or_default();
        services.push(ServiceDetail { service: service.clone(), name, found, images });
    }
    let made = services.iter().any(|service| service.found.is_some());
    let url = match made {
        true => plan::environment_url(app, environment, target(inner, &place).await?.as_ref()),
        false => None,
    };
    Ok(EnvironmentDetail {
        name: environment.name.clone(),
        id: place.id.clone(),
        on: environment.on.clone(),
        url,
        lock: lock::held(inner, &place.id).await?,
        release: released.map(|(release, one)| summary(release, &one.by, &one.view, true)),
        execution: seen.into_iter().next().map(|one| one.view),
        services,
    })
}

/// A platform in this process that has only just taken over what runs may not have looked at every task yet.
async fn settled(platform: &Platform, name: &str) -> Answer<Option<ServiceDescription>> {
    let mut left = if platform.min_poll_ms == 0 { LOOKS } else { 0 };
    loop {
        let found = platform.orchestrator.describe_service(name).await?;
        let looked_at = |service: &ServiceDescription| {
            let at_rest = service.deployments.first().is_some_and(|one| one.rollout == RolloutState::Completed);
            !at_rest || service.running >= service.desired
        };
        if left == 0 || found.as_ref().is_none_or(looked_at) {
            return Ok(found);
        }
        left -= 1;
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Waits until the execution has records after `version`, has finished or waits for somebody, at most `timeout_ms` (and 60 s).
pub(crate) async fn watch(inner: &Inner, id: &ExecutionId, version: u64, timeout_ms: u64) -> Answer<ExecutionView> {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(timeout_ms).min(LONGEST_POLL);
    loop {
        let view = inner.engine.view(id).await?;
        let rests = matches!(view.state, ExecutionState::Finished | ExecutionState::Paused);
        let late = tokio::time::Instant::now() >= deadline;
        if rests || view.version > version || late || inner.shutdown.is_cancelled() {
            return Ok(view);
        }
        tokio::select! {
            () = inner.journal.changed() => {}
            () = inner.shutdown.cancelled() => {}
            () = tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + LOOK_AGAIN)) => {}
        }
    }
}

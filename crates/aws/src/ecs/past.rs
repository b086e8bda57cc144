//! The service deployments API: what became of deployments that DescribeServices no longer shows.
//!
//! Asked only when what DescribeServices shows has changed and does not tell the end of the deployment that is watched, so
//! that an undisturbed rollout costs nothing but DescribeServices; where there are stages, also at every poll, by ARN. `rollout`
//! decides; here is what is remembered between polls.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ecs::types as ecs;
use landfall_model::Timestamp;
use landfall_ports::orchestrator::{DeploymentDescription, RolloutState};
use landfall_ports::{PortError, PortResult};
use tokio::time::Instant;

use super::rollout::{self, Past, count, time};
use super::{Ecs, Memory, change, locked};

/// Deployments looked back on.
const LOOK_BACK: i32 = 10;

/// One service, as followed by this process.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    /// Deployments whose end somebody may ask for.
    ids: Vec<String>,
    /// The deployment that this process began and has not been shown yet.
    begun: Option<Begun>,
    /// The last deployment that this process began, and when by its own clock.
    since: Option<(String, Instant)>,
    /// What was shown when the API was last asked.
    signature: Option<String>,
    past: Arc<Vec<Past>>,
}

impl Watch {
    /// Whether reads may be too old to show what this process began.
    pub(crate) fn may_be_unseen(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.at.elapsed() <= LAG)
    }

    /// From now on its absence means that it is gone.
    pub(crate) fn deleted(&mut self) {
        self.begun = None;
    }
}

/// ECS answers reads from copies that may be seconds old.
const LAG: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Begun {
    id: String,
    task_definition: String,
    desired: u32,
    at: Instant,
    created_at: Timestamp,
}

impl Memory {
    /// From now on the end of this deployment is of interest.
    pub(crate) fn watch(&self, service: &str, deployment: &ecs::Deployment) {
        let id = deployment.id.clone().unwrap_or_default();
        let mut watches = locked(&self.watches);
        let watch = watches.entry(service.to_owned()).or_default();
        watch.ids = vec![id.clone()];
        // The same again begins nothing.
        if watch.since.as_ref().is_none_or(|(known, _)| *known != id) {
            watch.since = Some((id.clone(), Instant::now()));
        }
        watch.begun = Some(Begun {
            id,
            task_definition: deployment.task_definition.clone().unwrap_or_default(),
            desired: count(deployment.desired_count),
            at: Instant::now(),
            created_at: time(deployment.created_at.as_ref()),
        });
    }

    /// The time by AWS's clock, as far as it shows: a deployment's age is not measured by two clocks that differ.
    pub(crate) fn now_there(&self, service: &ecs::Service, here: Timestamp) -> Timestamp {
        let Some(primary) = change::primary(service) else { return here };
        let name = service.service_name.as_deref().unwrap_or_default();
        let watches = locked(&self.watches);
        let Some((id, since)) = watches.get(name).and_then(|watch| watch.since.as_ref()) else { return here };
        if primary.id.as_ref() != Some(id) {
            return here;
        }
        time(primary.created_at.as_ref()).checked_add(since.elapsed()).unwrap_or(here)
    }

    /// Whether this process has just begun a newer one than reads still show as PRIMARY.
    pub(crate) fn has_begun_after(&self, service: &str, primary: Option<&ecs::Deployment>) -> bool {
        let shown = primary.map_or(Timestamp::UNIX_EPOCH, |primary| time(primary.created_at.as_ref()));
        let watches = locked(&self.watches);
        let begun = watches.get(service).and_then(|watch| watch.begun.as_ref());
        begun.is_some_and(|begun| begun.created_at > shown && begun.at.elapsed() <= LAG)
    }

    /// Adds the deployment that this process has just begun while reads are too old to show it: its absence does not mean that
    /// another took over.
    pub(crate) fn add_begun(&self, service: &str, deployments: &mut Vec<DeploymentDescription>) {
        let mut watches = locked(&self.watches);
        let Some(watch) = watches.get_mut(service) else { return };
        let Some(begun) = &watch.begun else { return };
        if begun.at.elapsed() > LAG {
            watch.begun = None;
            return;
        }
        // Shown, or superseded by a newer one that is. It stays: the next read may come from an older copy.
        let shown = |told: &DeploymentDescription| told.id == begun.id || told.created_at >= begun.created_at;
        if deployments.iter().any(shown) {
            return;
        }
        let not_yet = DeploymentDescription {
            id: begun.id.clone(),
            task_definition: begun.task_definition.clone(),
            rollout: RolloutState::InProgress,
            reason: Some("begun; ECS does not show it yet".to_owned()),
            desired: begun.desired,
            running: 0,
            pending: 0,
            failed_tasks: 0,
            failures: Vec::new(),
            created_at: begun.created_at,
            shift: None,
        };
        deployments.insert(0, not_yet);
    }
}

impl Ecs {
    pub(crate) async fn past(&self, service: &ecs::Service) -> PortResult<Arc<Vec<Past>>> {
        let name = service.service_name.clone().unwrap_or_default();
        let watch = locked(&self.watches).get(&name).cloned().unwrap_or_default();
        let signature = rollout::signature(service);
        let newest = watch.past.first().map(|past| past.id.as_str());
        let primary = change::primary(service).and_then(|primary| primary.id.as_deref());
        let unsettled = rollout::unsettled(&watch.past);
        let changed = watch.signature.as_ref() != Some(&signature);
        // Each API lags by itself: what one tells as ended, the other may not know of yet.
        let behind = newest != primary || rollout::primary_ended(service);
        let ask = (rollout::needs_past(service, &watch.ids) || unsettled) && (changed || unsettled && behind);
        if !ask {
            let past = match service.current_service_deployment.as_deref() {
                Some(arn) if unsettled && rollout::has_stages(service) => {
                    self.with_newest(&name, arn, &watch.past).await?
                }
                _ => watch.past,
            };
            self.remember(name, primary, watch.signature, Arc::clone(&past));
            return Ok(past);
        }
        match self.list_deployments(&name, LOOK_BACK).await {
            Ok(past) => {
                let past = Arc::new(merged(past, &watch.past));
                self.remember(name, primary, Some(signature), Arc::clone(&past));
                Ok(past)
            }
            // Not allowed, or an endpoint without it: the events must do.
            Err(error @ (PortError::Denied(_) | PortError::Invalid(_) | PortError::NotFound(_))) => {
                tracing::debug!(%error, "without the service deployments API");
                self.remember(name, primary, Some(signature), Arc::clone(&watch.past));
                Ok(watch.past)
            }
            Err(error) => Err(error),
        }
    }

    /// Stages go by without a trace in DescribeServices.
    async fn with_newest(&self, name: &str, arn: &str, past: &Arc<Vec<Past>>) -> PortResult<Arc<Vec<Past>>> {
        let Some(newest) = self.deployment_by_arn(name, arn).await? else { return Ok(Arc::clone(past)) };
        Ok(Arc::new(merged(vec![newest], past)))
    }

    fn remember(&self, name: String, primary: Option<&str>, signature: Option<String>, past: Arc<Vec<Past>>) {
        let mut watches = locked(&self.watches);
        let watch = watches.entry(name).or_default();
        watch.signature = signature;
        watch.past = past;
        if let Some(primary) = primary
            && watch.begun.is_none()
            && !watch.ids.iter().any(|id| id == primary)
        {
            watch.ids = vec![primary.to_owned()];
        }
    }
}

/// What the API told earlier and no longer does stays told.
fn merged(mut past: Vec<Past>, before: &[Past]) -> Vec<Past> {
    for old in before {
        if !past.iter().any(|new| new.id == old.id) && rollout::has_ended(old) {
            past.push(old.clone());
        }
    }
    past.truncate(usize::try_from(LOOK_BACK).unwrap_or_default() * 2);
    past
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One read after another may come from an older copy.
    #[tokio::test(start_paused = true)]
    async fn what_was_begun_is_told_also_when_it_was_shown_and_is_no_longer() {
        let deployment = |id: &str, second: i64| {
            let at = aws_smithy_types::DateTime::from_secs(second);
            ecs::Deployment::builder().id(id).created_at(at).build()
        };
        let told = |shown: &ecs::Deployment| DeploymentDescription {
            id: shown.id.clone().unwrap_or_default(),
            task_definition: String::new(),
            rollout: RolloutState::Completed,
            reason: None,
            desired: 1,
            running: 1,
            pending: 0,
            failed_tasks: 0,
            failures: Vec::new(),
            created_at: time(shown.created_at.as_ref()),
            shift: None,
        };
        let (old, new, newer) = (deployment("old", 1), deployment("new", 2), deployment("newer", 3));
        let memory = Memory::default();
        memory.watch("web", &new);
        let with = |shown: &[&ecs::Deployment]| {
            let mut all: Vec<_> = shown.iter().map(|shown| told(shown)).collect();
            memory.add_begun("web", &mut all);
            all.into_iter().map(|told| told.id).collect::<Vec<_>>()
        };
        assert_eq!(with(&[&old]), ["new", "old"]);
        assert_eq!(with(&[&new, &old]), ["new", "old"]);
        assert_eq!(with(&[&old]), ["new", "old"], "an older copy");
        assert_eq!(with(&[&newer, &old]), ["newer", "old"], "superseded");
        tokio::time::advance(LAG + Duration::from_secs(1)).await;
        assert_eq!(with(&[&old]), ["old"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_off_makes_no_deployment_older() {
        let memory = Memory::default();
        let primary = |id: &str| {
            let at = aws_smithy_types::DateTime::from_secs(1_000);
            ecs::Deployment::builder().id(id).status("PRIMARY").created_at(at).build()
        };
        let service = |id: &str| ecs::Service::builder().service_name("web").deployments(primary(id)).build();
        let second = |second: i64| Timestamp::from_second(second).unwrap();
        memory.watch("web", &primary("ours"));
        tokio::time::advance(Duration::from_secs(30)).await;
        memory.watch("web", &primary("ours"));
        assert_eq!(memory.now_there(&service("ours"), second(5_000)), second(1_030), "ours is ahead");
        assert_eq!(memory.now_there(&service("ours"), second(10)), second(1_030), "ours is behind");
        assert_eq!(memory.now_there(&service("another"), second(5_000)), second(5_000));
    }
}

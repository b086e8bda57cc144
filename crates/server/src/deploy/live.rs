//! What is there before a change: desired counts, what runs, and its images where somebody else has deployed it.

use std::collections::BTreeMap;

use landfall_planner::names::lasting_name;
use landfall_planner::plan::{EnvironmentInputs, Running};
use landfall_ports::PortError;
use landfall_ports::orchestrator::{Documents, ServiceStatus};

use super::{Answer, Place, compare};
use crate::service::Inner;

/// Of the services that exist, by the manifest's name.
#[derive(Default)]
pub(super) struct Live {
    pub counts: BTreeMap<String, u32>,
    pub running: BTreeMap<String, Running>,
}

pub(super) async fn look(inner: &Inner, place: &Place<'_>) -> Answer<Live> {
    let mut live = Live::default();
    for service in &place.environment.services {
        let name = lasting_name(&inner.app, place.environment, service);
        let (desired, running) = match place.platform.orchestrator.find_service(&name).await? {
            // It goes, with its count of 0, and the next one is made as new.
            Some(found) if found.status == ServiceStatus::Draining => (None, None),
            Some(found) => {
                (Some(found.desired), Some(Running { task_definition: found.task_definition, images: None }))
            }
            // Not ours yet, but about to be taken over: its count stays as well.
            None => match documents(place, &name).await? {
                Some(documents) if documents.service["status"] == "DRAINING" => (None, None),
                Some(documents) => (compare::count(&documents), compare::running(&documents)),
                None => (None, None),
            },
        };
        live.counts.extend(desired.map(|desired| (service.clone(), desired)));
        live.running.extend(running.map(|running| (service.clone(), running)));
    }
    Ok(live)
}

/// Reads the images of what was not released here, so that a deployment without a commit can keep them.
pub(super) async fn read_images(inner: &Inner, place: &Place<'_>, cx: &mut EnvironmentInputs) -> Answer<()> {
    for service in &place.environment.services {
        let unknown = cx.running.get(service).is_some_and(|running| running.images.is_none());
        if !unknown || cx.runs_release(service) {
            continue;
        }
        let name = lasting_name(&inner.app, place.environment, service);
        // Deployed anew since the look: what is read last counts.
        if let Some(running) = documents(place, &name).await?.as_ref().and_then(compare::running) {
            cx.running.insert(service.clone(), running);
        }
    }
    Ok(())
}

/// `None`: there is no such service, or the platform cannot tell.
async fn documents(place: &Place<'_>, name: &str) -> Answer<Option<Documents>> {
    match place.platform.orchestrator.documents(name).await {
        Ok(documents) => Ok(documents),
        Err(PortError::Invalid(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

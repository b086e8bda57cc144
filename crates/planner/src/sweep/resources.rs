//! Resources without an environment, and environments without their services.

use std::collections::BTreeSet;

use landfall_model::environment::{Desired, EnvironmentRecord, Phase};
use landfall_model::event::{Ask, PreviewTrigger};
use landfall_model::ids::EnvironmentId;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_INSTANCE};

use super::{FindingAction, Sweep, intent_id};
use crate::control::{awaits_approval, wanted};
use crate::names::service_name;

impl Sweep<'_> {
    pub(super) fn resources(&mut self, owned: &[Listing<OwnedResource>]) {
        let of = owned.len();
        for (index, _) in owned.iter().enumerate().filter(|(_, listing)| !listing.complete) {
            let what = format!("listing {} of {of} of what exists", index + 1);
            self.find(what, "it failed or is not complete; nothing is deleted because of it", FindingAction::Frozen);
        }
        let listed: BTreeSet<&OwnedResource> =
            owned.iter().filter(|listing| listing.complete).flat_map(|listing| &listing.items).collect();
        for resource in &listed {
            if let Some(why) = self.orphaned(resource) {
                self.orphan(resource, why);
            }
        }
        // Nobody says which of the listings has the services, so all of them must be whole.
        if of > 0 && owned.iter().all(|listing| listing.complete) {
            let services: BTreeSet<(&str, &str)> = listed
                .iter()
                .filter(|resource| resource.kind == ResourceKind::Service)
                .map(|resource| (resource.environment.as_str(), resource.name.as_str()))
                .collect();
            for record in self.records.values().copied().collect::<Vec<_>>() {
                self.services(record, &services);
            }
        }
    }

    /// Why the resource belongs to nobody; `None` when it may belong to somebody.
    fn orphaned(&self, resource: &OwnedResource) -> Option<String> {
        let environment = &resource.environment;
        let ours = resource.tags.get(TAG_INSTANCE).is_some_and(|instance| !instance.is_empty());
        let id = EnvironmentId::from(environment.as_str());
        // What lasts is never swept: it has no record, and goes when somebody says so.
        if !ours || environment.is_empty() || id.is_long_lived() {
            return None;
        }
        let Some(record) = self.records.get(&id) else {
            return Some(format!("no environment `{environment}` is known"));
        };
        let idle = matches!(record.phase, Phase::Destroyed | Phase::Failed | Phase::Queued | Phase::AwaitingApproval)
            && record.live.is_none()
            && record.made_generation == 0;
        // It may be made at any moment, under the same names.
        let about_to_begin =
            wanted(record).is_some() && record.applied_seq != record.desired_seq && !awaits_approval(record);
        (idle && !about_to_begin && self.is_news_to(record)).then(|| match record.desired {
            Desired::Absent { .. } => format!("`{environment}` is gone"),
            Desired::Present(_) => format!("`{environment}` has made nothing"),
        })
    }

    fn orphan(&mut self, resource: &OwnedResource, why: String) {
        let key = format!("{:?}/{}", resource.kind, resource.id);
        let action = match self.before.orphans.contains(&key) {
            true => FindingAction::DeleteResource(resource.clone()),
            false => FindingAction::Watch,
        };
        self.memory.orphans.insert(key);
        self.find(format!("{:?} {}", resource.kind, resource.name), why, action);
    }

    /// A preview that is said to be ready has all its services. To deploy again what is there changes nothing, so an empty
    /// listing is reason enough: a platform that lost everything is repaired, too.
    fn services(&mut self, record: &EnvironmentRecord, services: &BTreeSet<(&str, &str)>) {
        let Some(previews) = &self.app.previews else { return };
        let settled = record.phase == Phase::Ready
            && record.live.is_none()
            && record.applied_seq == record.desired_seq
            && record.made_generation == record.generation;
        let (Some(wanted), true) = (wanted(record), settled && self.is_news_to(record)) else { return };
        let missing = previews
            .services
            .iter()
            .enumerate()
            .map(|(index, service)| service_name(&record.names, service, index == 0))
            .find(|name| !services.contains(&(record.id.as_str(), name.as_str())));
        let Some(missing) = missing else { return };
        self.memory.vanished.insert(record.id.clone());
        let action = if self.before.vanished.contains(&record.id) {
            let ask = Ask::Preview {
                commit: wanted.commit.clone().or_else(|| record.commit.clone()),
                pull_request: wanted.pull_request,
                fork: false,
                trigger: PreviewTrigger::Repair,
            };
            self.intent(intent_id(record, "repair"), &record.key, ask)
        } else {
            FindingAction::Watch
        };
        self.find(record.id.as_str(), format!("its service {missing} is not there"), action);
    }
}

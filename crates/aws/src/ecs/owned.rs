//! What carries our tags. ECS cannot list by tag, so everything is listed to the last page and its tags are read.
//!
//! Services, tasks and all task definitions are listed once for all who ask at the same time, in the background: whoever is cut
//! off finds the work done when it asks again. Task definitions can be many, and each costs a call: for one environment only
//! the families are looked at that are named after it (`planner::names`: the environment itself, or the environment, two
//! hyphens and a service). A revision never changes: ours are kept, and of the others that they are not ours.
//!
//! A listing and a look may be answered by copies of different age. What is listed and cannot be looked at may be ours, so
//! the listing fails.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws_sdk_ecs::types as ecs;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_ENVIRONMENT, Tags};
use landfall_ports::{PortError, PortResult};

use super::register::{Revision, revision_name};
use super::rollout::time;
use super::service::DESCRIBE_SERVICES;
use super::tasks::task_id;
use super::{Ecs, change, locked};
use crate::budget::Family;
use crate::call::Call;
use crate::core::now;
use crate::error::Failed;
use crate::tags;

/// Stopped tasks remembered, so that their last hour in ECS costs nothing.
const STOPPED: usize = 50_000;
/// Revisions remembered as not ours: more than accounts have that are active, and some 20 MB.
const FOREIGN: usize = 200_000;
/// ECS answers reads from copies that may be seconds old.
const LAG_SECONDS: i64 = 60;

impl Ecs {
    /// Fails rather than leave something out: a listing that is told is complete.
    pub(crate) async fn owned(
        &self,
        environment: Option<&str>,
        kinds: &[ResourceKind],
    ) -> PortResult<Listing<OwnedResource>> {
        let at = now();
        let mut items = Vec::new();
        for kind in kinds {
            match kind {
                ResourceKind::Service => items.extend(self.owned_services(environment).await?),
                ResourceKind::Task => items.extend(self.owned_tasks(environment).await?),
                ResourceKind::TaskDefinition => items.extend(self.owned_definitions(environment).await?),
                // The load balancer's and the image port's, and what only one machine has.
                ResourceKind::Container
                | ResourceKind::Network
                | ResourceKind::TargetGroup
                | ResourceKind::Rule
                | ResourceKind::Listener
                | ResourceKind::Image => {}
            }
        }
        Ok(Listing { items, complete: true, at })
    }

    fn item(&self, kind: ResourceKind, id: &str, mut tags: Tags, environment: Option<&str>) -> Option<OwnedResource> {
        if !tags::ours(&tags, &self.core.options.instance, environment) {
            return None;
        }
        tags.remove(change::TAG_TIMEOUT);
        let environment = tags.get(TAG_ENVIRONMENT).cloned().unwrap_or_default();
        Some(OwnedResource { kind, id: id.to_owned(), name: revision_name(id).to_owned(), environment, tags })
    }

    async fn owned_services(&self, environment: Option<&str>) -> PortResult<Vec<OwnedResource>> {
        let this = self.clone();
        let list = move |_| {
            let this = this.clone();
            async move { Ok(HashMap::from([((), Arc::new(this.all_services().await?))])) }
        };
        let services = self.batches.all_services.get((), list).await?;
        let item = |service: &Arc<ecs::Service>| {
            let name = service.service_name.as_deref()?;
            self.item(ResourceKind::Service, name, super::from_tags(service.tags()), environment)
        };
        Ok(services.iter().filter_map(item).collect())
    }

    /// Of the cluster, but those that are INACTIVE.
    pub(super) async fn all_services(&self) -> PortResult<Vec<Arc<ecs::Service>>> {
        let names = self.list_services().await.map_err(|failed| self.explained(failed))?;
        self.described_services(names).await
    }

    /// As `all_services`; of a cluster that is not there, none.
    pub(super) async fn services_if_there(&self) -> PortResult<Vec<Arc<ecs::Service>>> {
        match self.list_services().await {
            Err(failed) if failed.is("ClusterNotFoundException") => Ok(Vec::new()),
            names => self.described_services(names?).await,
        }
    }

    async fn described_services(&self, names: Vec<String>) -> PortResult<Vec<Arc<ecs::Service>>> {
        let mut all = Vec::new();
        for chunk in names.chunks(DESCRIBE_SERVICES) {
            // Through the same batches as polls are.
            let reads = chunk.iter().map(|name| async move { (name, self.service(name).await) });
            for (name, service) in futures_util::future::join_all(reads).await {
                let service = service?.ok_or_else(|| unseen(&format!("service {name}")))?;
                if service.status.as_deref() != Some("INACTIVE") {
                    all.push(service);
                }
            }
        }
        Ok(all)
    }

    async fn list_services(&self) -> Result<Vec<String>, Failed> {
        let resource = format!("services of cluster {}", self.core.target.cluster);
        let call = Call::ecs("ListServices", Family::ServiceRead, &resource);
        let request = self.core.clients.ecs.list_services().cluster(&self.core.target.cluster).max_results(100);
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = request.clone().set_next_token(next);
            let answer = self.core.caller.call(call, || page.clone().send()).await?;
            let name = |arn: &String| revision_name(arn).to_owned();
            all.extend(answer.service_arns().iter().map(name));
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    async fn owned_tasks(&self, environment: Option<&str>) -> PortResult<Vec<OwnedResource>> {
        let tasks = self.all_tasks().await?;
        let item = |task: &Arc<ecs::Task>| {
            let id = task_id(task.task_arn.as_deref()?);
            self.item(ResourceKind::Task, id, super::from_tags(task.tags()), environment)
        };
        Ok(tasks.iter().filter_map(item).collect())
    }

    /// Of the cluster, those that have not stopped.
    pub(crate) async fn all_tasks(&self) -> PortResult<Arc<Vec<Arc<ecs::Task>>>> {
        let this = self.clone();
        let list = move |_| {
            let this = this.clone();
            let every = [ecs::DesiredStatus::Running, ecs::DesiredStatus::Stopped];
            async move { Ok(HashMap::from([((), Arc::new(this.live_tasks(&every).await?))])) }
        };
        self.batches.all_tasks.get((), list).await
    }

    /// Those that are to be so and have not stopped. Stopped tasks are records and no resources; those on their way there still are.
    pub(crate) async fn live_tasks(&self, desired: &[ecs::DesiredStatus]) -> PortResult<Vec<Arc<ecs::Task>>> {
        let cluster = &self.core.target.cluster;
        let mut arns = Vec::new();
        for status in desired.iter().cloned() {
            let request = self.core.clients.ecs.list_tasks().cluster(cluster).desired_status(status);
            arns.extend(self.list_tasks(request, &format!("tasks of cluster {cluster}")).await?);
        }
        arns.sort();
        arns.dedup();
        {
            let stopped = locked(&self.stopped);
            arns.retain(|arn| !stopped.contains(task_id(arn)));
        }
        let mut tasks = self.tasks(arns).await?;
        let mut stopped = locked(&self.stopped);
        if stopped.len() > STOPPED {
            stopped.clear();
        }
        tasks.retain(|task| {
            let ended = task.last_status.as_deref() == Some("STOPPED");
            if ended {
                stopped.extend(task.task_arn.as_deref().map(|arn| task_id(arn).to_owned()));
            }
            !ended
        });
        Ok(tasks)
    }

    async fn owned_definitions(&self, environment: Option<&str>) -> PortResult<Vec<OwnedResource>> {
        let revisions = if let Some(environment) = environment {
            let mut arns = Vec::new();
            for family in self.families(environment).await? {
                arns.extend(self.revisions_of(Some(&family)).await?);
            }
            Arc::new(self.our_revisions(&arns).await?)
        } else {
            let this = self.clone();
            let list = move |_| {
                let this = this.clone();
                async move { Ok(HashMap::from([((), Arc::new(this.all_our_revisions().await?))])) }
            };
            self.batches.all_definitions.get((), list).await?
        };
        let item = |revision: &Arc<Revision>| {
            self.item(ResourceKind::TaskDefinition, &revision.arn, revision.tags.clone(), environment)
        };
        Ok(revisions.iter().filter_map(item).collect())
    }

    /// Of the account and region.
    async fn all_our_revisions(&self) -> PortResult<Vec<Arc<Revision>>> {
        let arns = self.revisions_of(None).await?;
        let listed: HashSet<&str> = arns.iter().map(|arn| revision_name(arn)).collect();
        locked(&self.foreign).retain(|name| listed.contains(name.as_str()));
        self.our_revisions(&arns).await
    }

    async fn our_revisions(&self, arns: &[String]) -> PortResult<Vec<Arc<Revision>>> {
        let mut ours = Vec::new();
        for arn in arns {
            ours.extend(self.our_revision(arn).await?);
        }
        Ok(ours)
    }

    /// One that is listed; `None`: it is not this installation's.
    async fn our_revision(&self, arn: &str) -> PortResult<Option<Arc<Revision>>> {
        let name = revision_name(arn);
        let is_ours = |tags: &Tags| tags::ours(tags, &self.core.options.instance, None);
        let kept = locked(&self.definitions).get(name).cloned();
        if let Some(kept) = kept {
            return Ok(Some(kept).filter(|kept| is_ours(&kept.tags)));
        }
        if locked(&self.foreign).contains(name) {
            return Ok(None);
        }
        let described = self.describe_definition(arn).await?;
        let (definition, tags) = described.ok_or_else(|| unseen(&format!("task definition {name}")))?;
        if is_ours(&tags) {
            return Ok(Some(self.keep(definition, tags)));
        }
        // Without tags it may be so new that they are not known everywhere.
        let old = time(definition.registered_at.as_ref()).as_second() + LAG_SECONDS < now().as_second();
        if old || !tags.is_empty() {
            let mut foreign = locked(&self.foreign);
            if foreign.len() >= FOREIGN {
                foreign.clear();
            }
            foreign.insert(name.to_owned());
        }
        Ok(None)
    }

    async fn families(&self, environment: &str) -> PortResult<Vec<String>> {
        let call = Call::ecs("ListTaskDefinitionFamilies", Family::TaskDefinitionRead, environment);
        let request = (self.core.clients.ecs.list_task_definition_families())
            .family_prefix(environment)
            .status(ecs::TaskDefinitionFamilyStatus::Active)
            .max_results(100);
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = request.clone().set_next_token(next);
            let answer = self.ecs(call, || page.clone().send()).await?;
            all.extend(answer.families.unwrap_or_default());
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        all.retain(|family| family_of(family, environment));
        Ok(all)
    }

    /// ARNs of a family's active revisions, or of all.
    async fn revisions_of(&self, family: Option<&str>) -> PortResult<Vec<String>> {
        let resource = family.unwrap_or("all task definitions");
        let call = Call::ecs("ListTaskDefinitions", Family::TaskDefinitionRead, resource);
        let request = (self.core.clients.ecs.list_task_definitions())
            .set_family_prefix(family.map(str::to_owned))
            .status(ecs::TaskDefinitionStatus::Active)
            .max_results(100);
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = request.clone().set_next_token(next);
            let answer = self.ecs(call, || page.clone().send()).await?;
            all.extend(answer.task_definition_arns.unwrap_or_default());
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        // The filter is called a prefix.
        let of = |arn: &String| {
            family.is_none_or(|family| revision_name(arn).rsplit_once(':').is_some_and(|(name, _)| name == family))
        };
        all.retain(of);
        Ok(all)
    }
}

fn unseen(what: &str) -> PortError {
    PortError::Unavailable(format!("{what} is listed, and ECS does not describe it yet"))
}

fn family_of(family: &str, environment: &str) -> bool {
    family.strip_prefix(environment).is_some_and(|rest| rest.is_empty() || rest.starts_with("--"))
}

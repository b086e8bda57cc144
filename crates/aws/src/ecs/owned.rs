//! What carries our tags. ECS cannot list by tag, so everything is listed to the last page and its tags are read.
//!
//! Services and tasks are listed once for all who ask at the same time. Task definitions can be many, and each costs a call: for
//! one environment only the families are looked at that are named after it (`planner::names`: the environment itself, or
//! the environment, two hyphens and a service); what was read of a revision is kept, because it never changes.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_ecs::types as ecs;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_ENVIRONMENT, Tags};
use landfall_ports::PortResult;

use super::register::revision_name;
use super::service::DESCRIBE_SERVICES;
use super::tasks::task_id;
use super::{Ecs, change, locked};
use crate::budget::Family;
use crate::call::Call;
use crate::core::now;
use crate::tags;

/// Stopped tasks remembered, so that their last hour in ECS costs nothing.
const STOPPED: usize = 50_000;

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
            async move { Ok(HashMap::from([((), Arc::new(this.list_services().await?))])) }
        };
        let names = self.batches.all_services.get((), list).await?;
        let mut items = Vec::new();
        for chunk in names.chunks(DESCRIBE_SERVICES) {
            // Through the same batches as polls are.
            let reads = chunk.iter().map(|name| self.service(name));
            for service in futures_util::future::join_all(reads).await {
                let Some(service) = service? else { continue };
                if service.status.as_deref() == Some("INACTIVE") {
                    continue;
                }
                let name = service.service_name.as_deref().unwrap_or_default();
                items.extend(self.item(ResourceKind::Service, name, super::from_tags(service.tags()), environment));
            }
        }
        Ok(items)
    }

    async fn list_services(&self) -> PortResult<Vec<String>> {
        let resource = format!("services of cluster {}", self.core.target.cluster);
        let call = Call { service: "ecs", action: "ListServices", family: Family::ServiceRead, resource: &resource };
        let request = self.core.clients.ecs.list_services().cluster(&self.core.target.cluster).max_results(100);
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = request.clone().set_next_token(next);
            let answer = self.ecs(call, || page.clone().send()).await?;
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
            async move { Ok(HashMap::from([((), Arc::new(this.live_tasks().await?))])) }
        };
        self.batches.all_tasks.get((), list).await
    }

    /// Stopped tasks are records and no resources; those on their way there still are.
    async fn live_tasks(&self) -> PortResult<Vec<Arc<ecs::Task>>> {
        let cluster = &self.core.target.cluster;
        let mut arns = Vec::new();
        for status in [ecs::DesiredStatus::Running, ecs::DesiredStatus::Stopped] {
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
        let mut items = Vec::new();
        for family in self.families(environment).await? {
            for arn in self.revisions_of(&family).await? {
                // Gone between the listing and the look.
                let Some(revision) = self.definition(&arn).await? else { continue };
                items.extend(self.item(ResourceKind::TaskDefinition, &arn, revision.tags.clone(), environment));
            }
        }
        Ok(items)
    }

    async fn families(&self, environment: Option<&str>) -> PortResult<Vec<String>> {
        let call = Call {
            service: "ecs",
            action: "ListTaskDefinitionFamilies",
            family: Family::TaskDefinitionRead,
            resource: environment.unwrap_or("all families"),
        };
        let request = (self.core.clients.ecs.list_task_definition_families())
            .set_family_prefix(environment.map(str::to_owned))
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
        all.retain(|family| environment.is_none_or(|environment| family_of(family, environment)));
        Ok(all)
    }

    /// ARNs of its active revisions.
    async fn revisions_of(&self, family: &str) -> PortResult<Vec<String>> {
        let call = Call {
            service: "ecs",
            action: "ListTaskDefinitions",
            family: Family::TaskDefinitionRead,
            resource: family,
        };
        let request = (self.core.clients.ecs.list_task_definitions())
            .family_prefix(family)
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
        let of = |arn: &String| revision_name(arn).rsplit_once(':').is_some_and(|(name, _)| name == family);
        all.retain(of);
        Ok(all)
    }
}

fn family_of(family: &str, environment: &str) -> bool {
    family.strip_prefix(environment).is_some_and(|rest| rest.is_empty() || rest.starts_with("--"))
}

//! Services: created or updated under their names, described with the causes of failures.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ecs::operation::create_service::builders::CreateServiceFluentBuilder;
use aws_sdk_ecs::types as ecs;
use landfall_model::inventory::{TAG_EXECUTION, TAG_INSTANCE, Tags};
use landfall_model::task::LaunchType;
use landfall_ports::orchestrator::{
    DeploymentDescription, PutService, PutServiceOutcome, RolloutState, ServiceDescription, ServiceEvent,
    ServiceStatus, TaskDescription,
};
use landfall_ports::{PortError, PortResult};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::change::{self, Change, TAG_TIMEOUT};
use super::rollout::{self, Past, count, time};
use super::{Ecs, locked, tasks};
use crate::budget::Family;
use crate::call::Call;
use crate::core::now;
use crate::error::Failed;
use crate::tags;

/// DescribeServices takes 10.
pub(crate) const DESCRIBE_SERVICES: usize = 10;
const MAX_EVENTS: usize = 100;
const MAX_FAILURES: usize = 10;
/// Failed tasks whose last log lines are read.
const WITH_TAILS: usize = 2;

/// Failed tasks of one deployment, as read when it had failed `count` of them.
#[derive(Clone)]
pub(crate) struct Failures {
    pub service: String,
    count: u32,
    ended: bool,
    /// Reads in a row that found none: ECS may know the count before it shows the tasks, and forgets them after an hour.
    empty_reads: u32,
    tasks: Vec<TaskDescription>,
}

/// What there is before a change is read to plan it, to record it and to make it: once, where these follow each other at once,
/// as they do unless something has to be built or waited for. So what the journal says of before is what the update was
/// compared with. Somebody else's change in between is not seen; within this time ECS may not show it either (`past::LAG`).
/// A put uses it up: repeated, it reads anew.
#[derive(Default)]
pub(crate) struct Found(HashMap<String, Seen>);

struct Seen {
    asked: Instant,
    service: Arc<ecs::Service>,
    /// The same in ECS's own words.
    told: Value,
}

impl Found {
    const FRESH: Duration = Duration::from_secs(1);

    pub(crate) fn keep(&mut self, name: &str, service: Arc<ecs::Service>, told: Value, asked: Instant) {
        self.0.retain(|_, seen| seen.asked.elapsed() <= Self::FRESH);
        self.0.insert(name.to_owned(), Seen { asked, service, told });
    }

    fn fresh(&self, name: &str) -> Option<&Seen> {
        self.0.get(name).filter(|seen| seen.asked.elapsed() <= Self::FRESH)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<ecs::Service>> {
        self.fresh(name).map(|seen| Arc::clone(&seen.service))
    }

    pub(crate) fn told(&self, name: &str) -> Option<Value> {
        self.fresh(name).map(|seen| seen.told.clone())
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Arc<ecs::Service>> {
        let found = self.get(name);
        self.0.remove(name);
        found
    }
}

impl Ecs {
    /// INACTIVE ones too.
    pub(crate) async fn service(&self, name: &str) -> PortResult<Option<Arc<ecs::Service>>> {
        let this = self.clone();
        let fetch = move |names| {
            let this = this.clone();
            async move { this.describe_services(names).await }
        };
        self.batches.services.get(name.to_owned(), fetch).await
    }

    /// As `service`, for polls.
    pub(crate) async fn followed_service(&self, name: &str) -> PortResult<Option<Arc<ecs::Service>>> {
        let this = self.clone();
        let fetch = move |names| {
            let this = this.clone();
            async move { this.describe_services(names).await }
        };
        self.batches.services.follow(name.to_owned(), fetch).await
    }

    /// Answers every name.
    pub(crate) async fn describe_services(
        &self,
        names: Vec<String>,
    ) -> PortResult<HashMap<String, Option<Arc<ecs::Service>>>> {
        let resource = format!("services {}", super::some_of(&names));
        let call = Call::ecs("DescribeServices", Family::ServiceRead, &resource);
        let request = (self.core.clients.ecs.describe_services())
            .cluster(&self.core.target.cluster)
            .set_services(Some(names.clone()))
            .include(ecs::ServiceField::Tags);
        let answer = self.ecs(call, || request.clone().send()).await?;
        super::only_missing(&call, answer.failures())?;
        let mut found: HashMap<String, Arc<ecs::Service>> = HashMap::new();
        for mut service in answer.services.unwrap_or_default() {
            self.add_put_on(&mut service);
            let Some(name) = service.service_name.clone() else { continue };
            // Of one name there may be several, all but one INACTIVE.
            let better = |there: &Arc<ecs::Service>| there.status.as_deref() != Some("INACTIVE");
            if !found.get(&name).is_some_and(better) {
                found.insert(name, Arc::new(service));
            }
        }
        Ok(names.into_iter().map(|name| (name.clone(), found.get(&name).cloned())).collect())
    }

    pub(crate) async fn put(&self, request: &PutService) -> PortResult<PutServiceOutcome> {
        let mut tags = self.core.tags(&request.tags);
        tags.insert(TAG_TIMEOUT.to_owned(), request.deployment.timeout.to_string());
        tags::check(&tags)?;
        let found = locked(&self.found).take(&request.name);
        let there = match found {
            Some(found) => Some(found),
            None => self.service(&request.name).await?,
        };
        let exists = there.as_ref().is_some_and(|service| service.status.as_deref() != Some("INACTIVE"));
        let network = self.network(request, exists).await?;
        if let Some(service) = &there
            && let Some(outcome) = self.put_over(service, request, &tags, network.clone()).await?
        {
            return Ok(outcome);
        }
        let formerly = there.and_then(|service| service.created_at).map(|at| at.to_string()).unwrap_or_default();
        if let Some(outcome) = self.create(request, &tags, network.clone(), &formerly).await? {
            return Ok(outcome);
        }
        // Made in between: by a call of ours whose answer was lost, or by somebody else.
        let again = self.service(&request.name).await?;
        let outcome = match &again {
            Some(service) => self.put_over(service, request, &tags, network).await?,
            None => None,
        };
        outcome.ok_or_else(|| PortError::Unavailable(format!("service {} exists and cannot be read yet", request.name)))
    }

    /// `None`: no subnets of its own, or those that it has.
    async fn network(&self, request: &PutService, exists: bool) -> PortResult<Option<ecs::NetworkConfiguration>> {
        let what = format!("service {}", request.name);
        let awsvpc = match request.launch_type {
            LaunchType::Fargate => true,
            LaunchType::Ec2 | LaunchType::Local => {
                let revision = self.definition(&request.task_definition).await?.ok_or_else(|| {
                    PortError::NotFound(format!(
                        "{what}: task definition {} is not registered",
                        request.task_definition
                    ))
                })?;
                revision.definition.network_mode == Some(ecs::NetworkMode::Awsvpc)
            }
        };
        self.network_for(request, awsvpc, exists)
    }

    /// As `network`, where it is known whether its tasks are in awsvpc mode.
    pub(crate) fn network_for(
        &self,
        request: &PutService,
        awsvpc: bool,
        exists: bool,
    ) -> PortResult<Option<ecs::NetworkConfiguration>> {
        if exists && self.core.target.subnets.is_empty() {
            return Ok(None);
        }
        change::network(&self.core.target, awsvpc, &format!("service {}", request.name))
    }

    /// `None`: it is INACTIVE, and its name free.
    async fn put_over(
        &self,
        service: &ecs::Service,
        request: &PutService,
        tags: &Tags,
        network: Option<ecs::NetworkConfiguration>,
    ) -> PortResult<Option<PutServiceOutcome>> {
        match service.status.as_deref() {
            Some("INACTIVE") => return Ok(None),
            Some("DRAINING") => {
                return Err(PortError::Unavailable(format!("service {} is still draining", request.name)));
            }
            _ => {}
        }
        let there = super::from_tags(service.tags());
        self.adopt(service, &request.name, tags, request.adopt).await?;
        if there.get(TAG_TIMEOUT) != tags.get(TAG_TIMEOUT) {
            let timeout = tags.iter().filter(|(key, _)| *key == TAG_TIMEOUT).map(|(k, v)| (k.clone(), v.clone()));
            self.tag(service, &timeout.collect()).await?;
        }
        let mut change = change::change(service, request, network)?;
        if request.replace.is_some() && self.has_begun_after(&request.name, change::primary(service)) {
            change.force = false;
        }
        let updated;
        let after = if change.is_empty() {
            service
        } else {
            updated = self.update(&request.name, change).await?;
            &updated
        };
        let execution = tags.get(TAG_EXECUTION);
        let outcome = PutServiceOutcome {
            created: execution.is_some() && there.get(TAG_EXECUTION) == execution,
            deployment: self.watched(&request.name, after)?,
        };
        Ok(Some(outcome))
    }

    pub(crate) fn watched(&self, name: &str, service: &ecs::Service) -> PortResult<String> {
        locked(&self.found).take(name);
        let primary = change::primary(service).filter(|primary| primary.id.is_some());
        let primary =
            primary.ok_or_else(|| PortError::Unavailable(format!("service {name} shows no deployment yet")))?;
        self.watch(name, primary);
        Ok(primary.id.clone().unwrap_or_default())
    }

    /// What `create` sends; over a service that is `there`, with what of its deployment configuration has to go.
    pub(crate) fn creation(
        &self,
        request: &PutService,
        tags: &Tags,
        network: Option<ecs::NetworkConfiguration>,
        formerly: &str,
        there: Option<&ecs::DeploymentConfiguration>,
    ) -> PortResult<CreateServiceFluentBuilder> {
        let grace = super::definition::number(request.deployment.health_check_grace_period);
        let alternate = request.deployment.strategy.alternate.as_ref();
        Ok((self.core.clients.ecs.create_service())
            .cluster(&self.core.target.cluster)
            .service_name(&request.name)
            .task_definition(&request.task_definition)
            .desired_count(super::definition::number(request.desired_count))
            .launch_type(change::launch_type(request)?)
            .deployment_configuration(change::deployment(&request.deployment, there)?)
            .set_load_balancers(request.target.as_ref().map(|target| change::load_balancers(Some(target), alternate)))
            .set_health_check_grace_period_seconds(request.target.as_ref().map(|_| grace))
            .set_network_configuration(network)
            .client_token(client_token(request, tags, formerly))
            .enable_ecs_managed_tags(true)
            .propagate_tags(ecs::PropagateTags::Service)
            .set_tags(Some(super::to_tags(tags))))
    }

    /// `None`: a service of that name exists.
    async fn create(
        &self,
        request: &PutService,
        tags: &Tags,
        network: Option<ecs::NetworkConfiguration>,
        formerly: &str,
    ) -> PortResult<Option<PutServiceOutcome>> {
        let resource = format!("service {}", request.name);
        let call = Call::ecs("CreateService", Family::ServiceModify, &resource);
        let send = self.creation(request, tags, network, formerly, None)?;
        let made = match self.core.caller.call(call, || send.clone().send()).await {
            Ok(answer) => answer.service,
            Err(failed) => return self.not_created(failed).map(|()| None),
        };
        let made = made.ok_or_else(|| PortError::Unavailable(format!("{}: an empty answer", call.what())))?;
        Ok(Some(PutServiceOutcome { created: true, deployment: self.watched(&request.name, &made)? }))
    }

    async fn update(&self, name: &str, change: Change) -> PortResult<ecs::Service> {
        let resource = format!("service {name}");
        let call = Call::ecs("UpdateService", Family::ServiceModify, &resource);
        let request = (self.core.clients.ecs.update_service())
            .cluster(&self.core.target.cluster)
            .service(name)
            .set_task_definition(change.task_definition)
            .set_desired_count(change.desired_count)
            .set_deployment_configuration(change.deployment)
            .set_load_balancers(change.load_balancers)
            .set_health_check_grace_period_seconds(change.grace_period)
            .set_network_configuration(change.network)
            .set_force_new_deployment(change.force.then_some(true));
        match self.core.caller.call(call, || request.clone().send()).await {
            Ok(answer) => {
                answer.service.ok_or_else(|| PortError::Unavailable(format!("{}: an empty answer", call.what())))
            }
            Err(failed) => Err(self.not_updated(&call, failed)),
        }
    }

    /// `Ok`: a service of that name exists.
    pub(crate) fn not_created(&self, failed: Failed) -> PortResult<()> {
        let message = failed.message.to_ascii_lowercase();
        if message.contains("idempotent") || message.contains("already exists") {
            return Ok(());
        }
        Err(self.not_put(failed))
    }

    pub(crate) fn not_updated(&self, call: &Call<'_>, failed: Failed) -> PortError {
        // Deleted since it was looked at: the next try makes it anew.
        let gone = failed.not_found() || failed.is("ServiceNotActiveException");
        if gone && !failed.is("ClusterNotFoundException") {
            return PortError::Unavailable(format!("{}: it was deleted meanwhile", call.what()));
        }
        self.not_put(failed)
    }

    /// The name of a service that drains, and a target group whose rule ECS has not heard of yet, pass by themselves.
    fn not_put(&self, failed: Failed) -> PortError {
        let message = failed.message.to_ascii_lowercase();
        if message.contains("draining") || message.contains("does not have an associated load balancer") {
            return PortError::Unavailable(failed.error.to_string());
        }
        self.explained(failed)
    }

    pub(crate) async fn describe(&self, name: &str) -> PortResult<Option<ServiceDescription>> {
        let Some(service) = self.followed_service(name).await?.filter(|service| self.is_ours(service)) else {
            self.forget_service(name);
            return Ok(None);
        };
        self.told(name, &service).await.map(Some)
    }

    pub(crate) async fn told(&self, name: &str, service: &ecs::Service) -> PortResult<ServiceDescription> {
        if service.status.as_deref() == Some("DRAINING") {
            return Ok(self.shown(name, service));
        }
        let past = self.past(service).await?;
        let mut told = self.with_deployments(name, service, &past);
        self.add_begun(name, &mut told.deployments);
        self.add_failures(name, &mut told.deployments).await?;
        Ok(told)
    }

    /// What DescribeServices alone tells.
    pub(crate) fn shown(&self, name: &str, service: &ecs::Service) -> ServiceDescription {
        self.with_deployments(name, service, &[])
    }

    fn with_deployments(&self, name: &str, service: &ecs::Service, past: &[Past]) -> ServiceDescription {
        let status = match service.status.as_deref() {
            Some("DRAINING") => ServiceStatus::Draining,
            _ => ServiceStatus::Active,
        };
        let mut tags = super::from_tags(service.tags());
        tags.remove(TAG_TIMEOUT);
        ServiceDescription {
            name: name.to_owned(),
            status,
            task_definition: service.task_definition.clone().unwrap_or_default(),
            desired: count(service.desired_count),
            running: count(service.running_count),
            pending: count(service.pending_count),
            deployments: rollout::deployments(service, past, self.now_there(service, now())),
            events: events(service),
            tags,
            settings: Some(change::settings(service)),
        }
    }

    /// Those that ECS remembers, the newest first.
    pub(crate) async fn failed_tasks(&self, service: &str) -> PortResult<Vec<Arc<ecs::Task>>> {
        let request = self.core.clients.ecs.list_tasks().cluster(&self.core.target.cluster).service_name(service);
        let request = request.desired_status(ecs::DesiredStatus::Stopped);
        let arns = self.list_tasks(request, &format!("stopped tasks of service {service}")).await?;
        let mut stopped = self.tasks(arns).await?;
        stopped.retain(|task| tasks::failed(task) && task.stopped_at.is_some());
        stopped.sort_by_key(|task| std::cmp::Reverse(time(task.stopped_at.as_ref())));
        Ok(stopped)
    }

    /// As many as are told of, the first with their last lines.
    pub(crate) async fn described(&self, failed: impl Iterator<Item = &Arc<ecs::Task>>) -> Vec<TaskDescription> {
        let mut failures = Vec::new();
        for (at, task) in failed.take(MAX_FAILURES).enumerate() {
            let tails = if at < WITH_TAILS { self.tails(task).await } else { BTreeMap::new() };
            failures.push(tasks::describe(task, &tails));
        }
        failures
    }

    /// Stopped tasks are read only when a deployment's count of failures has risen or it has failed altogether.
    async fn add_failures(&self, name: &str, deployments: &mut [DeploymentDescription]) -> PortResult<()> {
        let mut stale = false;
        for deployment in deployments.iter_mut() {
            let ended = matches!(deployment.rollout, RolloutState::Failed | RolloutState::RolledBack);
            if deployment.failed_tasks == 0 && !ended {
                continue;
            }
            let known = locked(&self.failures).get(&deployment.id).cloned();
            match known {
                Some(known) if known.count == deployment.failed_tasks && known.ended == ended => {
                    stale |= known.tasks.is_empty() && known.empty_reads < 3;
                    deployment.failures = known.tasks;
                }
                Some(known) => {
                    stale = true;
                    deployment.failures = known.tasks;
                }
                None => stale = true,
            }
        }
        if !stale {
            return Ok(());
        }
        let stopped = self.failed_tasks(name).await?;
        for deployment in deployments {
            let ended = matches!(deployment.rollout, RolloutState::Failed | RolloutState::RolledBack);
            if deployment.failed_tasks == 0 && !ended {
                continue;
            }
            let failures = self.described(stopped.iter().filter(|task| tasks::belongs(task, deployment))).await;
            let mut known = locked(&self.failures);
            let entry = known.entry(deployment.id.clone()).or_insert_with(|| Failures {
                service: name.to_owned(),
                count: 0,
                ended: false,
                empty_reads: 0,
                tasks: Vec::new(),
            });
            (entry.count, entry.ended) = (deployment.failed_tasks, ended);
            entry.empty_reads = if failures.is_empty() { entry.empty_reads + 1 } else { 0 };
            // ECS forgets stopped tasks after an hour; what was read stays.
            if !failures.is_empty() {
                entry.tasks = failures;
            }
            deployment.failures.clone_from(&entry.tasks);
        }
        Ok(())
    }
}

/// The newest first.
pub(crate) fn events(service: &ecs::Service) -> Vec<ServiceEvent> {
    let event = |event: &ecs::ServiceEvent| ServiceEvent {
        at: time(event.created_at.as_ref()),
        message: event.message.clone().unwrap_or_default(),
    };
    service.events().iter().take(MAX_EVENTS).map(event).collect()
}

/// The same for the same request of the same execution; another once a former service of that name is gone.
pub(crate) fn client_token(request: &PutService, tags: &Tags, formerly: &str) -> String {
    let tag = |key: &str| tags.get(key).map_or("", String::as_str);
    let mut hasher = Sha256::new();
    for part in [&request.name, tag(TAG_INSTANCE), tag(TAG_EXECUTION), &request.task_definition, formerly] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut token = hex::encode(hasher.finalize());
    // At most 36 characters.
    token.truncate(32);
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_found_is_used_while_it_is_fresh_and_up_to_a_put() {
        let mut found = Found::default();
        let service = Arc::new(ecs::Service::builder().service_name("web").build());
        let keep = |found: &mut Found, asked| found.keep("web", Arc::clone(&service), Value::Null, asked);
        keep(&mut found, Instant::now());
        assert!(found.told("web").is_some() && found.get("web").is_some() && found.get("other").is_none());
        assert!(found.take("web").is_some());
        assert!(found.get("web").is_none(), "a put that is repeated reads anew");
        keep(&mut found, Instant::now());
        tokio::time::advance(Found::FRESH + Duration::from_millis(1)).await;
        assert!(found.get("web").is_none() && found.take("web").is_none());
        keep(&mut found, Instant::now() - Found::FRESH - Duration::from_millis(1));
        assert!(found.get("web").is_none(), "the answer was long in coming");
    }
}

//! The cluster's instances, and tasks that are held to some of them.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use aws_sdk_ecs::types as ecs;
use landfall_model::fleet::{Amounts, FixedPort, Share, Workload};
use landfall_ports::container_instances::{
    ContainerInstance, ContainerInstances, PinnedTask, PinnedTaskState, Placed, ServiceCount,
};
use landfall_ports::{PortError, PortResult};

use super::rollout::count;
use super::tasks::{describe, failures_said, moment};
use super::workload::{before, given_up, minimum_percent, on_instances};
use super::{Ecs, some_of};
use crate::budget::Family;
use crate::call::Call;
use crate::error::Failed;

/// What UpdateContainerInstancesState takes, and what DescribeContainerInstances does.
const UPDATED: usize = 10;
const DESCRIBED: usize = 100;

impl Ecs {
    /// ARNs, of all pages, in this state or in any; none of a cluster that is not there.
    pub(super) async fn listed(&self, status: Option<ecs::ContainerInstanceStatus>) -> PortResult<Vec<String>> {
        let resource = format!("instances of cluster {}", self.core.target.cluster);
        let call = Call::ecs("ListContainerInstances", Family::ClusterResourceRead, &resource);
        let request = self.core.clients.ecs.list_container_instances().cluster(&self.core.target.cluster);
        let request = request.set_status(status).max_results(100);
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = request.clone().set_next_token(next);
            let answer = match self.core.caller.call(call, || page.clone().send()).await {
                Ok(answer) => answer,
                Err(failed) if no_cluster(&failed) => return Ok(Vec::new()),
                Err(failed) => return Err(failed.into()),
            };
            all.extend(answer.container_instance_arns.unwrap_or_default());
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(all);
            }
        }
    }
}

fn no_cluster(failed: &Failed) -> bool {
    failed.is("ClusterNotFoundException")
}

#[async_trait]
impl ContainerInstances for Ecs {
    async fn instances(&self) -> PortResult<Vec<ContainerInstance>> {
        // In one listing: an instance that changes its state between two would be in none.
        let arns = self.listed(None).await?;
        let mut all = Vec::new();
        for chunk in arns.chunks(DESCRIBED) {
            let resource = format!("instances {}", some_of(chunk));
            let call = Call::ecs("DescribeContainerInstances", Family::ClusterResourceRead, &resource);
            let request = (self.core.clients.ecs.describe_container_instances())
                .cluster(&self.core.target.cluster)
                .set_container_instances(Some(chunk.to_vec()));
            let answer = self.ecs(call, || request.clone().send()).await?;
            super::only_missing(&call, answer.failures())?;
            let found = answer.container_instances.unwrap_or_default();
            all.extend(found.iter().map(described).filter(|one| matches!(&*one.status, "ACTIVE" | "DRAINING")));
        }
        // ECS's counts leave out tasks that were told to stop, which have connections until their targets are deregistered
        // (<https://github.com/aws/aws-cdk/issues/13506>).
        let draining = all.iter_mut().filter(|one| one.status == "DRAINING");
        let mut draining: HashMap<&str, &mut u32> = draining.map(|one| (one.arn.as_str(), &mut one.tasks)).collect();
        if !draining.is_empty() {
            for task in self.live_tasks(&[ecs::DesiredStatus::Stopped]).await? {
                let instance = task.container_instance_arn.as_deref().unwrap_or_default();
                if let Some(tasks) = draining.get_mut(instance) {
                    **tasks += 1;
                }
            }
        }
        Ok(all)
    }

    async fn drain(&self, instances: &[String], on: bool) -> PortResult<()> {
        let status = if on { ecs::ContainerInstanceStatus::Draining } else { ecs::ContainerInstanceStatus::Active };
        for chunk in instances.chunks(UPDATED) {
            let resource = format!("instances {}", some_of(chunk));
            let call = Call::ecs("UpdateContainerInstancesState", Family::ClusterResourceModify, &resource);
            let request = (self.core.clients.ecs.update_container_instances_state())
                .cluster(&self.core.target.cluster)
                .status(status.clone())
                .set_container_instances(Some(chunk.to_vec()));
            let answer = self.ecs(call, || request.clone().send()).await?;
            super::only_missing(&call, answer.failures())?;
        }
        Ok(())
    }

    async fn run_pinned(&self, task: &PinnedTask) -> PortResult<Placed> {
        let resource = format!("task of {}", task.task_definition);
        let call = Call::ecs("RunTask", Family::ClusterResourceModify, &resource);
        let constraint = ecs::PlacementConstraint::builder()
            .r#type(ecs::PlacementConstraintType::MemberOf)
            .expression(&task.expression)
            .build();
        let request = (self.core.clients.ecs.run_task())
            .cluster(&self.core.target.cluster)
            .task_definition(&task.task_definition)
            .launch_type(ecs::LaunchType::Ec2)
            .count(1)
            .started_by(&task.started_by)
            .placement_constraints(constraint);
        let answer = match self.core.caller.call(call, || request.clone().send()).await {
            Ok(answer) => answer,
            // "No Container Instances were found in your cluster.": it is a refusal too, in another form.
            Err(failed) if failed.message.contains("No Container Instances were found") => {
                return Ok(Placed::Refused("no instance is registered with the cluster".to_owned()));
            }
            Err(failed) => return Err(self.explained(failed)),
        };
        if let Some(arn) = answer.tasks().first().and_then(|task| task.task_arn.clone()) {
            return Ok(Placed::Task(arn));
        }
        Ok(Placed::Refused(match failures_said(answer.failures()).as_slice() {
            [] => "ECS does not say why".to_owned(),
            reasons => reasons.join(", "),
        }))
    }

    async fn started_by(&self, started_by: &str) -> PortResult<Vec<PinnedTaskState>> {
        let by = || self.core.clients.ecs.list_tasks().cluster(&self.core.target.cluster).started_by(started_by);
        let mut arns = self.list_tasks(by(), "tasks by their starter").await?;
        let stopped = by().desired_status(ecs::DesiredStatus::Stopped);
        arns.extend(self.list_tasks(stopped, "stopped tasks by their starter").await?);
        arns.sort();
        arns.dedup();
        let tasks = self.tasks(arns).await?;
        let mut all: Vec<PinnedTaskState> = tasks
            .iter()
            .filter(|task| task.started_by.as_deref() == Some(started_by))
            .map(|task| state(task))
            .collect();
        all.sort_by(|a, b| (b.created, &b.arn).cmp(&(a.created, &a.arn)));
        Ok(all)
    }

    async fn stop_task(&self, task: &str, reason: &str) -> PortResult<()> {
        self.stop(task, reason).await
    }

    async fn services(&self) -> PortResult<Vec<ServiceCount>> {
        let services = self.services_if_there().await?;
        let one = |service: &std::sync::Arc<ecs::Service>| ServiceCount {
            name: service.service_name.clone().unwrap_or_default(),
            desired: count(service.desired_count),
            running: count(service.running_count),
            minimum_percent: minimum_percent(service),
            on_instances: on_instances(service),
            failed: given_up(service),
            strategy: service.capacity_provider_strategy().iter().map(share).collect(),
            leaving: before(service)
                .flat_map(ecs::Deployment::capacity_provider_strategy)
                .map(|one| one.capacity_provider.clone())
                .collect(),
        };
        Ok(services.iter().map(one).collect())
    }

    async fn move_service(&self, service: &str, strategy: &[Share]) -> PortResult<()> {
        let resource = format!("service {service}");
        let call = Call::ecs("UpdateService", Family::ServiceModify, &resource);
        let item = |share: &Share| {
            ecs::CapacityProviderStrategyItem::builder()
                .capacity_provider(&share.provider)
                .base(i32::try_from(share.base).unwrap_or(i32::MAX))
                .weight(i32::try_from(share.weight).unwrap_or(i32::MAX))
                .build()
                .map_err(|error| PortError::Invalid(error.to_string()))
        };
        // Another strategy takes a new deployment.
        let request = (self.core.clients.ecs.update_service())
            .cluster(&self.core.target.cluster)
            .service(service)
            .set_capacity_provider_strategy(Some(strategy.iter().map(item).collect::<PortResult<_>>()?))
            .force_new_deployment(true);
        match self.core.caller.call(call, || request.clone().send()).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.is("ServiceNotFoundException") || failed.is("ServiceNotActiveException") => Ok(()),
            Err(failed) => Err(self.explained(failed)),
        }
    }

    async fn workload(&self) -> PortResult<Workload> {
        self.loads().await
    }
}

fn share(item: &ecs::CapacityProviderStrategyItem) -> Share {
    Share { provider: item.capacity_provider.clone(), base: count(item.base), weight: count(item.weight) }
}

fn described(instance: &ecs::ContainerInstance) -> ContainerInstance {
    let attribute = |one: &ecs::Attribute| (one.name.clone(), one.value.clone().unwrap_or_default());
    ContainerInstance {
        arn: instance.container_instance_arn.clone().unwrap_or_default(),
        status: instance.status.clone().unwrap_or_default(),
        connected: instance.agent_connected,
        attributes: instance.attributes().iter().map(attribute).collect(),
        tasks: count(instance.running_tasks_count) + count(instance.pending_tasks_count),
        instance: instance.ec2_instance_id.clone().unwrap_or_default(),
        registered: amounts(instance.registered_resources()),
        remaining: amounts(instance.remaining_resources()),
    }
}

fn amounts(resources: &[ecs::Resource]) -> Amounts {
    let named = |name: &str| resources.iter().find(|one| one.name.as_deref() == Some(name));
    let number = |name: &str| named(name).and_then(|one| u64::try_from(one.integer_value).ok()).unwrap_or(0);
    let set = |name: &str| named(name).map(ecs::Resource::string_set_value).unwrap_or_default();
    let ports = [("PORTS", false), ("PORTS_UDP", true)];
    let ports = ports.into_iter().flat_map(|(name, udp)| {
        set(name).iter().filter_map(move |port| Some(FixedPort { port: port.parse().ok()?, udp }))
    });
    Amounts {
        cpu: number("CPU"),
        memory: number("MEMORY"),
        // Their ids.
        gpu: set("GPU").len() as u64,
        ports: ports.collect(),
    }
}

fn state(task: &ecs::Task) -> PinnedTaskState {
    let told = describe(task, &BTreeMap::new());
    let containers =
        told.containers.into_iter().filter_map(|container| match (container.reason, container.exit_code) {
            (Some(reason), _) => Some(format!("{}: {reason}", container.name)),
            (None, Some(code)) => Some(format!("{} exited with {code}", container.name)),
            (None, None) => None,
        });
    let why: Vec<String> = told.stopped_reason.into_iter().chain(containers).collect();
    let stops = told.last_status == "STOPPED" || task.desired_status.as_deref() == Some("STOPPED");
    PinnedTaskState {
        arn: task.task_arn.clone().unwrap_or_default(),
        status: if stops { "STOPPED".to_owned() } else { told.last_status },
        created: moment(task.created_at.as_ref()),
        started: told.started_at,
        stopped: stops.then(|| if why.is_empty() { "ECS does not say why".to_owned() } else { why.join("; ") }),
    }
}

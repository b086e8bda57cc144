//! What a cluster's instances are there for: services, tasks, and what each of them takes.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::types as ecs;
use landfall_model::fleet::{FixedPort, Needs, Placement, ServiceLoad, TaskLoad, Workload};
use landfall_ports::PortResult;

use super::Ecs;
use super::rollout::count;

impl Ecs {
    pub(super) async fn loads(&self) -> PortResult<Workload> {
        let services = self.services_if_there().await?;
        let newest: BTreeSet<String> = services.iter().filter_map(|one| primary(one)?.id.clone()).collect();
        let services: Vec<ServiceLoad> = services.iter().filter(|one| on_instances(one)).map(|one| load(one)).collect();
        let request = self.core.clients.ecs.list_tasks().cluster(&self.core.target.cluster);
        let request = request.desired_status(ecs::DesiredStatus::Running);
        let tasks = match services.is_empty() {
            // Also of a cluster that is not there.
            true if self.listed(Some(ecs::ContainerInstanceStatus::Active)).await?.is_empty() => Vec::new(),
            _ => self.list_tasks(request, "tasks of the cluster").await?,
        };
        let tasks = self.tasks(tasks).await?;
        let tasks: Vec<TaskLoad> = tasks.iter().filter_map(|one| task(one, &newest)).collect();
        let named = services.iter().map(|one| &one.definition).chain(tasks.iter().map(|one| &one.definition));
        let named: BTreeSet<&String> = named.filter(|arn| !arn.is_empty()).collect();
        let mut needs = BTreeMap::new();
        for arn in named {
            // Revisions do not change: one is read once.
            if let Some(revision) = self.definition(arn).await? {
                needs.insert(arn.clone(), needed(&revision.definition));
            }
        }
        Ok(Workload { services, tasks, needs })
    }
}

fn fargate(launch: Option<&ecs::LaunchType>, providers: &[&str]) -> bool {
    match (launch, providers) {
        (Some(launch), _) => *launch != ecs::LaunchType::Ec2,
        (None, []) => false,
        (None, providers) => providers.iter().all(|name| name.starts_with("FARGATE")),
    }
}

pub(super) fn on_instances(service: &ecs::Service) -> bool {
    let providers: Vec<&str> =
        service.capacity_provider_strategy().iter().map(|one| one.capacity_provider.as_str()).collect();
    !fargate(service.launch_type.as_ref(), &providers)
}

fn primary(service: &ecs::Service) -> Option<&ecs::Deployment> {
    service.deployments().iter().find(|one| one.status.as_deref() == Some("PRIMARY"))
}

/// ECS tries no more to start its tasks.
pub(super) fn given_up(service: &ecs::Service) -> bool {
    primary(service).is_some_and(|one| one.rollout_state == Some(ecs::DeploymentRolloutState::Failed))
}

/// `minimumHealthyPercent`. Its default where nobody said another one: 100, and 0 of `DAEMON` services
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html>).
pub(super) fn minimum_percent(service: &ecs::Service) -> u32 {
    let daemon = service.scheduling_strategy == Some(ecs::SchedulingStrategy::Daemon);
    let said = service.deployment_configuration.as_ref().and_then(|one| one.minimum_healthy_percent);
    count(said.unwrap_or(if daemon { 0 } else { 100 }))
}

/// Deployments that have tasks still, but are not the newest.
pub(super) fn before(service: &ecs::Service) -> impl Iterator<Item = &ecs::Deployment> {
    service.deployments().iter().filter(|one| one.status.as_deref() != Some("PRIMARY"))
}

fn load(service: &ecs::Service) -> ServiceLoad {
    let primary = primary(service);
    let definition = primary.and_then(|one| one.task_definition.clone()).or_else(|| service.task_definition.clone());
    let expressions = service.placement_constraints().iter().filter_map(|one| one.expression.clone());
    let distinct = |one: &ecs::PlacementConstraint| one.r#type == Some(ecs::PlacementConstraintType::DistinctInstance);
    let desired = u64::from(count(primary.map_or(service.desired_count, |one| one.desired_count)));
    let percent = service.deployment_configuration.as_ref().and_then(|one| one.maximum_percent);
    let most = u64::from(count(service.desired_count)) * u64::from(count(percent.unwrap_or(200))) / 100;
    ServiceLoad {
        name: service.service_name.clone().unwrap_or_default(),
        definition: definition.unwrap_or_default(),
        desired,
        most: most.max(desired),
        failed: given_up(service),
        daemon: service.scheduling_strategy == Some(ecs::SchedulingStrategy::Daemon),
        placement: Placement {
            distinct: service.placement_constraints().iter().any(distinct),
            expressions: expressions.collect(),
        },
    }
}

/// `None`: it runs on Fargate.
fn task(task: &ecs::Task, newest: &BTreeSet<String>) -> Option<TaskLoad> {
    let provider: Vec<&str> = task.capacity_provider_name.as_deref().into_iter().collect();
    if fargate(task.launch_type.as_ref(), &provider) {
        return None;
    }
    Some(TaskLoad {
        definition: task.task_definition_arn.clone().unwrap_or_default(),
        service: task.group.as_deref().and_then(|group| group.strip_prefix("service:")).map(str::to_owned),
        newest: task.started_by.as_ref().is_some_and(|by| newest.contains(by)),
        on: task.container_instance_arn.clone().filter(|arn| !arn.is_empty()),
    })
}

/// What ECS keeps for a task: what the task says, else what its containers say; of a container's memories the reservation.
fn needed(definition: &ecs::TaskDefinition) -> Needs {
    let containers = definition.container_definitions();
    let amount = |value: Option<i32>| u64::from(count(value.unwrap_or(0)));
    let sum = |of: &dyn Fn(&ecs::ContainerDefinition) -> u64| containers.iter().map(of).sum::<u64>();
    let whole = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<u64>().ok());
    let cpu = sum(&|one| count(one.cpu).into());
    let reserved = sum(&|one| amount(one.memory_reservation.or(one.memory)));
    let gpus = containers.iter().flat_map(ecs::ContainerDefinition::resource_requirements);
    let gpus = gpus.filter(|one| one.r#type == ecs::ResourceType::Gpu).filter_map(|one| one.value.parse::<u64>().ok());
    let mode = definition.network_mode.as_ref();
    let ports = containers.iter().flat_map(ecs::ContainerDefinition::port_mappings).filter_map(|mapping| {
        let port = match mode {
            Some(ecs::NetworkMode::Awsvpc | ecs::NetworkMode::None) => None,
            Some(ecs::NetworkMode::Host) => mapping.container_port,
            _ => mapping.host_port,
        };
        let port = u16::try_from(port?).ok().filter(|port| *port > 0)?;
        Some(FixedPort { port, udp: mapping.protocol == Some(ecs::TransportProtocol::Udp) })
    });
    Needs {
        cpu: whole(&definition.cpu).unwrap_or(cpu),
        memory: whole(&definition.memory).unwrap_or(reserved),
        gpu: gpus.sum(),
        awsvpc: mode == Some(&ecs::NetworkMode::Awsvpc),
        ports: ports.collect(),
        expressions: definition.placement_constraints().iter().filter_map(|one| one.expression.clone()).collect(),
        pod: (cpu, sum(&|one| amount(one.memory).max(amount(one.memory_reservation)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_have_as_many_tasks_as_its_deployments_are_allowed() {
        let deployment = ecs::Deployment::builder().status("PRIMARY").desired_count(4).id("ecs-svc/2");
        let old = ecs::Deployment::builder().status("ACTIVE").desired_count(4).id("ecs-svc/1").build();
        let rules = ecs::DeploymentConfiguration::builder().maximum_percent(150).build();
        let service = ecs::Service::builder().desired_count(4).deployment_configuration(rules).deployments(old);
        let own = load(&service.clone().deployments(deployment.clone().build()).build());
        assert_eq!((own.desired, own.most, own.failed), (4, 6, false));
        let failed = deployment.rollout_state(ecs::DeploymentRolloutState::Failed).build();
        assert!(load(&service.deployments(failed).build()).failed);
        let newest = BTreeSet::from(["ecs-svc/2".to_owned()]);
        let of = |by: &str| task(&ecs::Task::builder().group("service:web").started_by(by).build(), &newest).unwrap();
        assert_eq!((of("ecs-svc/1").newest, of("ecs-svc/2").newest), (false, true));
        assert_eq!(of("ecs-svc/2").service.as_deref(), Some("web"));
        assert_eq!(task(&ecs::Task::builder().launch_type(ecs::LaunchType::Fargate).build(), &newest), None);
    }

    #[test]
    fn ecs_keeps_all_tasks_of_a_service_where_nobody_says_less() {
        let said = |percent| ecs::DeploymentConfiguration::builder().minimum_healthy_percent(percent).build();
        let of = |service: ecs::builders::ServiceBuilder| minimum_percent(&service.build());
        let daemon = || ecs::Service::builder().scheduling_strategy(ecs::SchedulingStrategy::Daemon);
        let unsaid = ecs::DeploymentConfiguration::builder().maximum_percent(150).build();
        assert_eq!(of(ecs::Service::builder()), 100);
        assert_eq!(of(ecs::Service::builder().deployment_configuration(unsaid)), 100);
        assert_eq!(of(ecs::Service::builder().deployment_configuration(said(50))), 50);
        assert_eq!((of(daemon()), of(daemon().deployment_configuration(said(66)))), (0, 66));
    }

    #[test]
    fn what_a_task_takes_is_what_ecs_keeps_for_it() {
        let container = |cpu, memory, reserved| {
            ecs::ContainerDefinition::builder().cpu(cpu).set_memory(memory).set_memory_reservation(reserved)
        };
        let gpu = ecs::ResourceRequirement::builder().r#type(ecs::ResourceType::Gpu).value("2").build().unwrap();
        let port = |host, container| ecs::PortMapping::builder().host_port(host).container_port(container).build();
        let app = container(128, Some(512), Some(256)).resource_requirements(gpu).port_mappings(port(8080, 80));
        let side = container(64, Some(128), None).port_mappings(port(0, 81));
        let definition = ecs::TaskDefinition::builder().container_definitions(app.build());
        let definition = definition.container_definitions(side.build());
        let own = needed(&definition.clone().build());
        let fixed = |port| FixedPort { port, udp: false };
        assert_eq!((own.cpu, own.memory, own.gpu, own.awsvpc), (192, 384, 2, false));
        assert_eq!((own.ports, own.pod), (BTreeSet::from([fixed(8080)]), (192, 640)));
        let host = needed(&definition.clone().network_mode(ecs::NetworkMode::Host).build());
        assert_eq!(host.ports, BTreeSet::from([fixed(80), fixed(81)]));
        let own = needed(&definition.network_mode(ecs::NetworkMode::Awsvpc).cpu("512").memory("1024").build());
        assert_eq!((own.cpu, own.memory, own.awsvpc, own.ports), (512, 1024, true, BTreeSet::new()));
    }

    #[test]
    fn fargate_s_services_are_not_the_instances() {
        let strategy =
            |name: &str| ecs::CapacityProviderStrategyItem::builder().capacity_provider(name).build().unwrap();
        let of = |service: ecs::builders::ServiceBuilder| on_instances(&service.build());
        assert!(of(ecs::Service::builder()) && of(ecs::Service::builder().launch_type(ecs::LaunchType::Ec2)));
        assert!(!of(ecs::Service::builder().launch_type(ecs::LaunchType::Fargate)));
        assert!(!of(ecs::Service::builder().capacity_provider_strategy(strategy("FARGATE_SPOT"))));
        assert!(of(ecs::Service::builder().capacity_provider_strategy(strategy("landfall-web-main-1"))));
    }
}

//! A service with its task definition, its security group and its log group.

use std::collections::BTreeMap;

use landfall_model::app::Service;
use landfall_model::task::LaunchType;

use super::Build;
use super::balancer::Balancer;
use super::cluster::Cluster;
use super::network::Network;
use super::roles::Roles;
use super::storage::Volumes;
use crate::expr::{Expr, Id};
use crate::resources::Properties;
use crate::resources::around::LogGroup;
use crate::resources::ecs::{
    Alarms, Awsvpc, CircuitBreaker, DeploymentConfiguration, NetworkConfiguration, Service as ServiceProperties,
    ServiceLoadBalancer, TaskDefinition,
};
use crate::resources::network::{Ingress, SecurityGroup};

/// What schedules need of a service.
pub(super) struct Made {
    pub definition: Id,
    pub roles: Roles,
    pub launch_type: LaunchType,
    /// `None`: on the instances' network.
    pub awsvpc: Option<Awsvpc>,
}

impl<'a> Build<'a> {
    /// Of services on Fargate: only the load balancer gets to their tasks.
    pub(super) fn task_groups(&mut self, network: &Network, balancer: Option<&Balancer>) -> BTreeMap<&'a str, Id> {
        let services = self.services.clone();
        let on_fargate = services.into_iter().filter(|service| service.launch_type == LaunchType::Fargate);
        on_fargate
            .map(|service| {
                let mut ports = Vec::new();
                if let (Some(binding), Some(_)) = (&service.load_balancer, balancer) {
                    ports.push(binding.port);
                    ports.extend(binding.health_check.port.filter(|port| *port != binding.port));
                }
                let ingress = ports.into_iter().map(|port| Ingress {
                    description: "The load balancer".to_owned(),
                    ip_protocol: "tcp",
                    from_port: port,
                    to_port: port,
                    cidr_ip: None,
                    source_security_group_id: Some(Expr::from(&super::balancer::group_id())),
                });
                let group = SecurityGroup {
                    group_description: format!("Tasks of {}", self.full_name(&service.name)),
                    vpc_id: Some(network.vpc.clone()),
                    security_group_ingress: ingress.collect(),
                    security_group_egress: Vec::new(),
                    tags: self.named(&service.name),
                };
                let id = self.draft.add(Id::of(&[&service.name, "SecurityGroup"]), Properties::SecurityGroup(group));
                (service.name.as_str(), id)
            })
            .collect()
    }

    pub(super) fn service(
        &mut self,
        service: &'a Service,
        network: &Network,
        cluster: &Cluster,
        balancer: Option<&Balancer>,
        groups: &BTreeMap<&'a str, Id>,
        volumes: &Volumes,
    ) -> Made {
        let name = service.name.as_str();
        let awsvpc = groups.get(name).map(|own| Awsvpc {
            subnets: network.task_subnets.clone(),
            security_groups: std::iter::once(Expr::from(own)).chain(network.groups.clone()).collect(),
            assign_public_ip: if network.public_ip { "ENABLED" } else { "DISABLED" },
        });
        let log_group = self.log_group(name);
        let roles = self.roles(service, log_group.as_ref(), volumes);
        let definition = self.task_definition(service, log_group.as_ref(), &roles, volumes);
        let attached = service.load_balancer.as_ref().zip(balancer.and_then(|balancer| balancer.groups.get(name)));
        let load_balancers: Vec<_> = attached
            .map(|(binding, group)| ServiceLoadBalancer {
                container_name: binding.container.clone(),
                container_port: binding.port,
                target_group_arn: Expr::from(group),
            })
            .into_iter()
            .collect();
        let mut after: Vec<Id> = balancer.and_then(|balancer| balancer.leads.get(name)).cloned().into_iter().collect();
        after.extend(network.ways_out.clone());
        for (volume, _) in self.mounted(name) {
            after.extend(volumes.get(volume).into_iter().flat_map(|one| one.targets.clone()));
        }
        let capacity = cluster.capacity.as_ref().filter(|_| service.launch_type == LaunchType::Ec2);
        after.extend(capacity.map(|capacity| capacity.associated.clone()));
        let deployment = &service.deployment;
        let properties = ServiceProperties {
            service_name: self.full_name(name),
            cluster: cluster.name.clone(),
            task_definition: Expr::from(&definition),
            launch_type: capacity.is_none().then(|| launch_type(service.launch_type)),
            capacity_provider_strategy: capacity.map(super::cluster::Capacity::strategy).unwrap_or_default(),
            desired_count: self.desired_count(service),
            deployment_configuration: DeploymentConfiguration {
                minimum_healthy_percent: deployment.minimum_healthy_percent,
                maximum_percent: deployment.maximum_percent,
                deployment_circuit_breaker: CircuitBreaker {
                    enable: deployment.circuit_breaker.enable,
                    rollback: deployment.circuit_breaker.enable && deployment.circuit_breaker.rollback,
                },
                alarms: deployment.alarms.as_ref().map(|alarms| Alarms {
                    alarm_names: alarms.names.clone(),
                    enable: alarms.enable,
                    rollback: alarms.rollback,
                }),
            },
            health_check_grace_period_seconds: attached.map(|_| deployment.health_check_grace_period),
            network_configuration: awsvpc
                .clone()
                .map(|awsvpc_configuration| NetworkConfiguration { awsvpc_configuration }),
            load_balancers,
            propagate_tags: "SERVICE",
            tags: self.tags(),
        };
        let id = self.draft.add_after(Id::of(&[name, "Service"]), Properties::Service(properties), after);
        self.scaling(name, &id, cluster);
        let shown = format!("Name of service {name}");
        self.draft.output(Id::of(&[name, "ServiceName"]).as_str(), &shown, Expr::Attribute(id, "Name"));
        Made { definition, roles, launch_type: service.launch_type, awsvpc }
    }

    /// `None`: the target names one that exists.
    fn log_group(&mut self, service: &str) -> Option<Id> {
        if self.target.log_group.is_some() {
            return None;
        }
        let group = LogGroup {
            log_group_name: format!("/ecs/{}", self.full_name(service)),
            retention_in_days: self.stack.log_retention,
            tags: self.tags(),
        };
        Some(self.draft.add(Id::of(&[service, "LogGroup"]), Properties::LogGroup(group)))
    }

    fn task_definition(&mut self, service: &Service, log_group: Option<&Id>, roles: &Roles, volumes: &Volumes) -> Id {
        let name = service.name.as_str();
        let logs = match (log_group, &self.target.log_group) {
            (Some(id), _) => Expr::from(id),
            (None, given) => Expr::text(given.clone().unwrap_or_default()),
        };
        let containers = service.containers.iter().map(|container| {
            let mounts = self.mount_points(name, &container.name);
            self.container(service, container, &logs, mounts)
        });
        let container_definitions = containers.collect();
        let properties = TaskDefinition {
            family: self.full_name(name),
            requires_compatibilities: vec![launch_type(service.launch_type)],
            network_mode: if service.launch_type == LaunchType::Ec2 { "bridge" } else { "awsvpc" },
            cpu: service.cpu.map(|cpu| cpu.to_string()),
            memory: service.memory.map(|memory| memory.to_string()),
            execution_role_arn: roles.execution.clone(),
            task_role_arn: roles.task.clone(),
            container_definitions,
            volumes: self.task_volumes(name, volumes),
            placement_constraints: Vec::new(),
            tags: self.tags(),
        };
        self.draft.add(Id::of(&[name, "TaskDefinition"]), Properties::TaskDefinition(properties))
    }

    /// What scales by itself is left at what it is.
    fn desired_count(&self, service: &Service) -> Option<u32> {
        let given = self.environment.desired_count.get(&service.name).copied();
        match self.stack.scaling.contains_key(&service.name) {
            true => None,
            false => Some(given.unwrap_or(service.desired_count)),
        }
    }
}

pub(super) fn launch_type(launch_type: LaunchType) -> &'static str {
    match launch_type {
        LaunchType::Ec2 => "EC2",
        LaunchType::Fargate | LaunchType::Local => "FARGATE",
    }
}

//! What a service shall be, and what an update must say to get there: only what differs, so that the same request again says
//! nothing and starts no deployment.

use aws_sdk_ecs::types as ecs;
use aws_smithy_types::error::operation::BuildError;
use landfall_model::app::{CircuitBreaker, DeploymentConfiguration};
use landfall_model::aws::AwsTarget;
use landfall_model::strategy::{AlternateTarget, DeploymentStrategy};
use landfall_model::task::LaunchType;
use landfall_ports::orchestrator::{PutService, ServiceSettings, TargetBinding};
use landfall_ports::{PortError, PortResult};

use super::definition::number;
use super::register::same_revision;
use super::strategy;

/// Seconds after which an unfinished deployment counts as failed. ECS has no such limit, so that it is kept with the service;
/// unlike the other tags it follows every update.
pub(crate) const TAG_TIMEOUT: &str = "landfall.deployment-timeout";
/// Where nothing says: no service of ours.
const NO_TIMEOUT: u32 = 0;

/// An update of a service. Every field: `None` stays as it is.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Change {
    pub task_definition: Option<String>,
    pub desired_count: Option<i32>,
    pub deployment: Option<ecs::DeploymentConfiguration>,
    pub load_balancers: Option<Vec<ecs::LoadBalancer>>,
    pub grace_period: Option<i32>,
    pub network: Option<ecs::NetworkConfiguration>,
    /// The same once more, because the last one failed or has to give way.
    pub force: bool,
}

impl Change {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub(crate) fn change(
    service: &ecs::Service,
    request: &PutService,
    network: Option<ecs::NetworkConfiguration>,
) -> PortResult<Change> {
    let launch = launch_type(request)?;
    // With a capacity provider the service has no launch type.
    if let Some(there) = &service.launch_type
        && *there != launch
    {
        return Err(PortError::Conflict(format!(
            "service {} runs on {there} and cannot be moved to {launch}: delete it first, or give it another name",
            request.name
        )));
    }
    let mut change = Change::default();
    let current = service.task_definition.as_deref().unwrap_or_default();
    if !same_revision(current, &request.task_definition) {
        change.task_definition = Some(request.task_definition.clone());
    } else if let Some(primary) = primary(service) {
        let failed = primary.rollout_state == Some(ecs::DeploymentRolloutState::Failed);
        change.force = failed || request.replace.is_some() && primary.id == request.replace;
    }
    if !request.keep_count && service.desired_count != number(request.desired_count) {
        change.desired_count = Some(number(request.desired_count));
    }
    let there = service.deployment_configuration.as_ref();
    if !same_deployment(there, &request.deployment) {
        change.deployment = Some(deployment(&request.deployment, there)?);
    }
    change.load_balancers = balancing(service, request)?;
    let grace = number(request.deployment.health_check_grace_period);
    if request.target.is_some() && service.health_check_grace_period_seconds.unwrap_or(0) != grace {
        change.grace_period = Some(grace);
    }
    if let Some(network) = network.map(|network| with_groups_of(service, network))
        && !same_network(service.network_configuration.as_ref(), &network)
    {
        change.network = Some(network);
    }
    Ok(change)
}

/// The load balancers that the service is to have instead of its own. `None`: it keeps them.
///
/// # Errors
/// `Invalid`: it was taken over with several, and all but one would go: ECS replaces the whole list.
pub(crate) fn balancing(service: &ecs::Service, request: &PutService) -> PortResult<Option<Vec<ecs::LoadBalancer>>> {
    let there = service.load_balancers();
    let alternate = request.deployment.strategy.alternate.as_ref();
    let kept = match &request.target {
        // What was taken over keeps a load balancer that Landfall knows nothing of.
        None => request.adopt || binding(service).is_none(),
        Some(target) => there
            .iter()
            .any(|one| bound(one).as_ref() == Some(target) && strategy::read_alternate(one).as_ref() == alternate),
    };
    match &request.target {
        _ if kept => Ok(None),
        Some(target) if request.adopt && there.len() > 1 => {
            let groups: Vec<&str> = there.iter().filter_map(|one| one.target_group_arn.as_deref()).collect();
            Err(PortError::Invalid(format!(
                "service {} has {} load balancers ({}), and with target group {} all of them would go: name one of its own \
                 under `target_groups` of the environment, or leave `load_balancer` out of the service so that they stay",
                request.name,
                there.len(),
                groups.join(", "),
                target.target_group
            )))
        }
        target => Ok(Some(load_balancers(target.as_ref(), alternate))),
    }
}

/// Groups that nobody asks for stay: without any AWS would put in the VPC's default one.
fn with_groups_of(service: &ecs::Service, mut wanted: ecs::NetworkConfiguration) -> ecs::NetworkConfiguration {
    let there = service.network_configuration.as_ref().and_then(|there| there.awsvpc_configuration.as_ref());
    if let (Some(there), Some(vpc)) = (there, wanted.awsvpc_configuration.as_mut())
        && vpc.security_groups().is_empty()
    {
        vpc.security_groups.clone_from(&there.security_groups);
    }
    wanted
}

pub(crate) fn primary(service: &ecs::Service) -> Option<&ecs::Deployment> {
    service.deployments().iter().find(|deployment| deployment.status.as_deref() == Some("PRIMARY"))
}

pub(crate) fn launch_type(request: &PutService) -> PortResult<ecs::LaunchType> {
    match request.launch_type {
        LaunchType::Fargate => Ok(ecs::LaunchType::Fargate),
        LaunchType::Ec2 => Ok(ecs::LaunchType::Ec2),
        LaunchType::Local => Err(PortError::Invalid(format!(
            "service {}: launch type local runs on this machine only; use fargate or ec2",
            request.name
        ))),
    }
}

/// Only tasks in awsvpc mode have subnets of their own.
pub(crate) fn network(target: &AwsTarget, awsvpc: bool, what: &str) -> PortResult<Option<ecs::NetworkConfiguration>> {
    if !awsvpc {
        return Ok(None);
    }
    if target.subnets.is_empty() {
        return Err(PortError::Invalid(format!(
            "{what}: tasks in awsvpc mode need subnets; give `subnets` in target {}",
            target.name
        )));
    }
    let public = if target.public_ip { ecs::AssignPublicIp::Enabled } else { ecs::AssignPublicIp::Disabled };
    let groups = Some(target.security_groups.clone()).filter(|groups| !groups.is_empty());
    let vpc = ecs::AwsVpcConfiguration::builder()
        .set_subnets(Some(target.subnets.clone()))
        .set_security_groups(groups)
        .assign_public_ip(public)
        .build()
        .map_err(bug)?;
    Ok(Some(ecs::NetworkConfiguration::builder().awsvpc_configuration(vpc).build()))
}

fn bug(error: BuildError) -> PortError {
    PortError::Bug(error.to_string())
}

/// Without groups of ours AWS puts in the VPC's default one.
fn same_network(there: Option<&ecs::NetworkConfiguration>, wanted: &ecs::NetworkConfiguration) -> bool {
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    let (Some(there), Some(wanted)) =
        (there.and_then(|there| there.awsvpc_configuration.as_ref()), &wanted.awsvpc_configuration)
    else {
        return false;
    };
    let public = |vpc: &ecs::AwsVpcConfiguration| vpc.assign_public_ip == Some(ecs::AssignPublicIp::Enabled);
    let groups = wanted.security_groups();
    sorted(&there.subnets) == sorted(&wanted.subnets)
        && (groups.is_empty() || sorted(there.security_groups()) == sorted(groups))
        && public(there) == public(wanted)
}

/// `there`: what the service has now.
pub(crate) fn deployment(
    wanted: &DeploymentConfiguration,
    there: Option<&ecs::DeploymentConfiguration>,
) -> PortResult<ecs::DeploymentConfiguration> {
    let breaker = &wanted.circuit_breaker;
    let threshold = match breaker.threshold {
        Some(count) => Some(
            ecs::ThresholdConfiguration::builder()
                .r#type(ecs::ThresholdType::Count)
                .value(number(count))
                .build()
                .map_err(bug)?,
        ),
        None => None,
    };
    let breaker = ecs::DeploymentCircuitBreaker::builder()
        .enable(breaker.enable)
        .rollback(breaker.rollback)
        .set_threshold_configuration(threshold)
        .build();
    let mut built = ecs::DeploymentConfiguration::builder()
        .minimum_healthy_percent(number(wanted.minimum_healthy_percent))
        .maximum_percent(number(wanted.maximum_percent))
        .deployment_circuit_breaker(breaker)
        .build();
    strategy::put(&mut built, wanted, there)?;
    Ok(built)
}

/// AWS fills in what was left out, so only what we say is compared.
fn same_deployment(there: Option<&ecs::DeploymentConfiguration>, wanted: &DeploymentConfiguration) -> bool {
    let Some(there) = there else { return false };
    let read = read_deployment(Some(there), 0, NO_TIMEOUT);
    // The alternate target group belongs to the load balancer.
    let strategy = DeploymentStrategy { alternate: None, ..strategy::lean(&wanted.strategy) };
    DeploymentConfiguration { health_check_grace_period: 0, timeout: NO_TIMEOUT, strategy, ..wanted.clone() } == read
}

fn count(value: Option<i32>, default: u32) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
}

fn read_deployment(there: Option<&ecs::DeploymentConfiguration>, grace: u32, timeout: u32) -> DeploymentConfiguration {
    let breaker = there.and_then(|there| there.deployment_circuit_breaker.as_ref());
    let threshold = breaker
        .and_then(|breaker| breaker.threshold_configuration.as_ref())
        .filter(|threshold| threshold.r#type == ecs::ThresholdType::Count)
        .and_then(|threshold| u32::try_from(threshold.value).ok());
    DeploymentConfiguration {
        minimum_healthy_percent: count(there.and_then(|there| there.minimum_healthy_percent), 100),
        maximum_percent: count(there.and_then(|there| there.maximum_percent), 200),
        circuit_breaker: CircuitBreaker {
            enable: breaker.is_some_and(|breaker| breaker.enable),
            rollback: breaker.is_some_and(|breaker| breaker.rollback),
            threshold,
        },
        health_check_grace_period: grace,
        timeout,
        strategy: strategy::read(there),
        alarms: strategy::read_alarms(there),
    }
}

pub(crate) fn load_balancers(
    target: Option<&TargetBinding>,
    alternate: Option<&AlternateTarget>,
) -> Vec<ecs::LoadBalancer> {
    let balancer = |target: &TargetBinding| {
        ecs::LoadBalancer::builder()
            .target_group_arn(&target.target_group)
            .container_name(&target.container)
            .container_port(i32::from(target.port))
            .set_advanced_configuration(alternate.map(strategy::advanced))
            .build()
    };
    target.map(balancer).into_iter().collect()
}

fn binding(service: &ecs::Service) -> Option<TargetBinding> {
    service.load_balancers().iter().find_map(bound)
}

fn bound(balancer: &ecs::LoadBalancer) -> Option<TargetBinding> {
    Some(TargetBinding {
        target_group: balancer.target_group_arn.clone()?,
        container: balancer.container_name.clone().unwrap_or_default(),
        port: balancer.container_port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
    })
}

fn alternate_of(service: &ecs::Service) -> Option<AlternateTarget> {
    service.load_balancers().iter().find_map(strategy::read_alternate)
}

/// What an update may change and its undo puts back.
pub(crate) fn settings(service: &ecs::Service) -> ServiceSettings {
    let grace = count(service.health_check_grace_period_seconds, 0);
    let timeout = timeout(service).unwrap_or(NO_TIMEOUT);
    let mut deployment = read_deployment(service.deployment_configuration.as_ref(), grace, timeout);
    deployment.strategy.alternate = alternate_of(service);
    ServiceSettings { deployment, target: binding(service) }
}

pub(crate) fn timeout(service: &ecs::Service) -> Option<u32> {
    let tag = service.tags().iter().find(|tag| tag.key.as_deref() == Some(TAG_TIMEOUT))?;
    tag.value.as_deref()?.parse().ok().filter(|seconds| *seconds > 0)
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;

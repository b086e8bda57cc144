//! Task definitions: ours to ECS's, alone or laid over one that is registered.
//!
//! A base is kept as it is but for what only ECS may say (ARN, revision, status, dates); of the containers that ours names,
//! image, environment and secrets are replaced or added by key and every other setting that ours gives replaces the base's.

use std::collections::BTreeMap;

use aws_sdk_ecs::types as ecs;
use aws_smithy_types::error::operation::BuildError;
use landfall_model::aws::AwsTarget;
use landfall_model::task::{ContainerDefinition, ContainerSettings, DependencyCondition, LaunchType, TaskDefinition};
use landfall_ports::{PortError, PortResult};
use sha2::{Digest as _, Sha256};

/// Version of the mapping below: a change of it makes other revisions out of the same definition.
const MAPPING: &str = "1";

/// `valueFrom` by environment variable, of one container.
pub(crate) type ValueFrom = BTreeMap<String, String>;

/// All that decides what is registered, as a hash: base (an exact revision), definition, secrets' ARNs, target, environment,
/// installation.
pub(crate) fn content_hash(
    definition: &TaskDefinition,
    base: Option<&str>,
    target: &AwsTarget,
    secrets: &BTreeMap<String, ValueFrom>,
    environment: &str,
    instance: &str,
) -> PortResult<String> {
    let text = serde_json::to_string(definition)
        .map_err(|error| PortError::Bug(format!("task definition {}: {error}", definition.family)))?;
    let option = |text: &Option<String>| text.clone().unwrap_or_default();
    let parts = [
        MAPPING.to_owned(),
        text,
        base.unwrap_or_default().to_owned(),
        format!("{secrets:?}"),
        option(&target.execution_role),
        option(&target.task_role),
        option(&target.log_group),
        environment.to_owned(),
        instance.to_owned(),
    ];
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    Ok(hex::encode(hasher.finalize()))
}

/// What shall be registered. `secrets`: for each of our containers.
pub(crate) fn build(
    definition: &TaskDefinition,
    base: Option<&ecs::TaskDefinition>,
    target: &AwsTarget,
    region: &str,
    secrets: &BTreeMap<String, ValueFrom>,
) -> PortResult<ecs::TaskDefinition> {
    let text = |error: BuildError| PortError::Bug(format!("task definition {}: {error}", definition.family));
    let mut made = base.cloned().unwrap_or_else(|| ecs::TaskDefinition::builder().build());
    made.family = Some(definition.family.clone());
    let compatibility = match definition.launch_type {
        LaunchType::Fargate => ecs::Compatibility::Fargate,
        LaunchType::Ec2 => ecs::Compatibility::Ec2,
        LaunchType::Local => {
            return Err(PortError::Invalid(format!(
                "task definition {}: launch type local runs on this machine only; use fargate or ec2",
                definition.family
            )));
        }
    };
    let kept = made.network_mode.take();
    made.network_mode = Some(match (&compatibility, kept) {
        (ecs::Compatibility::Fargate, _) => ecs::NetworkMode::Awsvpc,
        (_, Some(mode)) => mode,
        _ => ecs::NetworkMode::Bridge,
    });
    // One, so that one-off tasks know where to run.
    made.requires_compatibilities = Some(vec![compatibility]);
    if let Some(cpu) = definition.cpu {
        made.cpu = Some(cpu.to_string());
    }
    if let Some(memory) = definition.memory {
        made.memory = Some(memory.to_string());
    }
    if target.execution_role.is_some() {
        made.execution_role_arn.clone_from(&target.execution_role);
    }
    if target.task_role.is_some() {
        made.task_role_arn.clone_from(&target.task_role);
    }
    let bridge = made.network_mode == Some(ecs::NetworkMode::Bridge);
    let nothing = ValueFrom::new();
    let mut containers = made.container_definitions.take().unwrap_or_default();
    for ours in &definition.containers {
        let at = containers.iter().position(|container| container.name.as_deref() == Some(ours.name.as_str()));
        let theirs = at.map(|at| containers.remove(at));
        let secrets = secrets.get(&ours.name).unwrap_or(&nothing);
        let container = lay_over(ours, theirs, secrets, bridge, definition).map_err(text)?;
        let container = with_log(container, target, region, &definition.family).map_err(text)?;
        if container.image.is_none() {
            return Err(PortError::Invalid(format!(
                "task definition {}: container {} has no image, and its base has no such container",
                definition.family, ours.name
            )));
        }
        containers.insert(at.unwrap_or(containers.len()), container);
    }
    let needs_role = definition.launch_type == LaunchType::Fargate
        && made.execution_role_arn.is_none()
        && containers.iter().any(|container| container.secrets.is_some() || container.log_configuration.is_some());
    if needs_role {
        return Err(PortError::Invalid(format!(
            "task definition {}: Fargate reads secrets and writes logs as the execution role; give the target's \
             `execution_role`",
            definition.family
        )));
    }
    made.container_definitions = Some(containers);
    Ok(made)
}

fn lay_over(
    ours: &ContainerDefinition,
    theirs: Option<ecs::ContainerDefinition>,
    secrets: &ValueFrom,
    bridge: bool,
    definition: &TaskDefinition,
) -> Result<ecs::ContainerDefinition, BuildError> {
    let settings = &ours.settings;
    let new = theirs.is_none();
    let mut made = theirs.unwrap_or_else(|| ecs::ContainerDefinition::builder().build());
    made.name = Some(ours.name.clone());
    if !ours.image.is_empty() {
        made.image = Some(ours.image.clone());
    }
    if new {
        made.essential = Some(settings.essential);
        made.stop_timeout = Some(number(settings.stop_timeout));
    }
    if !settings.entry_point.is_empty() {
        made.entry_point = Some(settings.entry_point.clone());
    }
    if !settings.command.is_empty() {
        made.command = Some(settings.command.clone());
    }
    if settings.working_directory.is_some() {
        made.working_directory.clone_from(&settings.working_directory);
    }
    if settings.user.is_some() {
        made.user.clone_from(&settings.user);
    }
    if settings.readonly_root_filesystem {
        made.readonly_root_filesystem = Some(true);
    }
    if let Some(cpu) = settings.cpu {
        made.cpu = number(cpu);
    }
    if let Some(memory) = settings.memory {
        made.memory = Some(number(memory));
    }
    // Outside Fargate a container without any limit is refused unless the task has one.
    let no_limit = made.memory.is_none() && made.memory_reservation.is_none() && definition.memory.is_none();
    if new && no_limit && definition.launch_type == LaunchType::Ec2 {
        made.memory_reservation = Some(LEAST_MEMORY);
    }
    add_ports(&mut made, settings, bridge);
    set_environment(&mut made, settings, secrets)?;
    if !settings.depends_on.is_empty() {
        let depend = |dependency: &landfall_model::task::Dependency| {
            ecs::ContainerDependency::builder()
                .container_name(&dependency.container)
                .condition(condition(dependency.condition))
                .build()
        };
        made.depends_on = Some(settings.depends_on.iter().map(depend).collect::<Result<_, _>>()?);
    }
    if let Some(check) = &settings.health_check {
        let check = ecs::HealthCheck::builder()
            .set_command(Some(check.command.clone()))
            .interval(number(check.interval))
            .timeout(number(check.timeout))
            .retries(number(check.retries))
            .start_period(number(check.start_period));
        made.health_check = Some(check.build()?);
    }
    Ok(made)
}

/// MiB that an EC2 container reserves where nothing says how much; ECS's least is 6.
const LEAST_MEMORY: i32 = 128;

/// Ports that the base maps stay as they are mapped.
fn add_ports(made: &mut ecs::ContainerDefinition, settings: &ContainerSettings, bridge: bool) {
    for port in &settings.ports {
        let port = i32::from(*port);
        let mappings = made.port_mappings.get_or_insert_default();
        if mappings.iter().any(|mapping| mapping.container_port == Some(port)) {
            continue;
        }
        let mapping = ecs::PortMapping::builder().container_port(port).protocol(ecs::TransportProtocol::Tcp);
        // 0: any free port of the instance, so that tasks of many environments share it.
        mappings.push(if bridge { mapping.host_port(0) } else { mapping }.build());
    }
}

/// By key. A name is either a variable or a secret: ECS refuses both.
fn set_environment(
    made: &mut ecs::ContainerDefinition,
    settings: &ContainerSettings,
    secrets: &ValueFrom,
) -> Result<(), BuildError> {
    let named = |name: &str| settings.environment.contains_key(name) || secrets.contains_key(name);
    let mut variables = made.environment.take().unwrap_or_default();
    variables.retain(|pair| !pair.name.as_deref().is_some_and(named));
    let pair = |(name, value): (&String, &String)| ecs::KeyValuePair::builder().name(name).value(value).build();
    variables.extend(settings.environment.iter().map(pair));
    made.environment = Some(variables).filter(|all| !all.is_empty());
    let mut all = made.secrets.take().unwrap_or_default();
    all.retain(|secret| !named(&secret.name));
    for (name, from) in secrets {
        all.push(ecs::Secret::builder().name(name).value_from(from).build()?);
    }
    made.secrets = Some(all).filter(|all| !all.is_empty());
    Ok(())
}

/// `awslogs` where the target has a group and the base says nothing else. Streams are `family/container/task`.
fn with_log(
    mut made: ecs::ContainerDefinition,
    target: &AwsTarget,
    region: &str,
    family: &str,
) -> Result<ecs::ContainerDefinition, BuildError> {
    if let (Some(group), None) = (&target.log_group, &made.log_configuration) {
        let configuration = ecs::LogConfiguration::builder()
            .log_driver(ecs::LogDriver::Awslogs)
            .options("awslogs-group", group)
            .options("awslogs-region", region)
            .options("awslogs-stream-prefix", family);
        made.log_configuration = Some(configuration.build()?);
    }
    Ok(made)
}

fn condition(condition: DependencyCondition) -> ecs::ContainerCondition {
    match condition {
        DependencyCondition::Start => ecs::ContainerCondition::Start,
        DependencyCondition::Complete => ecs::ContainerCondition::Complete,
        DependencyCondition::Success => ecs::ContainerCondition::Success,
        DependencyCondition::Healthy => ecs::ContainerCondition::Healthy,
    }
}

pub(crate) fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Where one of its containers logs: group and stream prefix, if by `awslogs`.
pub(crate) fn log_of(container: &ecs::ContainerDefinition) -> Option<(String, String)> {
    let configuration = container.log_configuration.as_ref()?;
    if configuration.log_driver != ecs::LogDriver::Awslogs {
        return None;
    }
    let options = configuration.options.as_ref()?;
    Some((options.get("awslogs-group")?.clone(), options.get("awslogs-stream-prefix")?.clone()))
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;

//! What a task asks of the engine: its pause container, its members, their end. Refusals come back in ECS's words.

use std::collections::BTreeMap;

use landfall_model::task::{ContainerDefinition, TaskDefinition};

use super::record::TaskRecord;
use crate::core::{Core, words};
use crate::docker::types::{CreateContainer, Healthcheck, HostConfig, LogConfig, PortBinding};
use crate::docker::{DockerError, DockerResult};
use crate::engine::EngineKind;
use crate::labels;
use crate::secrets::LocalSecrets;

/// Makes the pause container, or finds the one that an unanswered or crashed attempt made.
pub(crate) async fn create_pause(core: &Core, record: &TaskRecord) -> DockerResult<()> {
    let (network, image) =
        tokio::try_join!(core.retry(|| core.network(record.environment())), core.retry(|| core.pause_image()))?;
    let mut body = CreateContainer {
        image,
        hostname: record.id.get(..12).map(str::to_owned),
        labels: labels::of_task(
            &record.tags,
            &core.instance,
            &record.id,
            record.service.as_deref(),
            record.deployment.as_deref(),
            None,
        ),
        host_config: HostConfig { network_mode: network, log_config: log_config(core), ..HostConfig::default() },
        ..CreateContainer::default()
    };
    let target = record.target.as_ref().filter(|_| core.publish).map(|target| (String::new(), target.port));
    let given = core.ports.iter().map(|(host, container)| (host.to_string(), *container));
    for (host_port, container) in target.into_iter().chain(given) {
        let port = format!("{container}/tcp");
        body.exposed_ports.insert(port.clone(), crate::docker::types::Empty {});
        // Podman publishes on every address unless told otherwise.
        let binding = PortBinding { host_ip: "127.0.0.1".to_owned(), host_port };
        body.host_config.port_bindings.entry(port).or_default().push(binding);
    }
    create(core, &labels::pause_name(&record.id), &body).await
}

/// Makes a member. The error is the stopped reason in ECS's words.
pub(crate) async fn create_member(
    core: &Core,
    record: &TaskRecord,
    container: &ContainerDefinition,
) -> Result<(), String> {
    let body = member(core, record, container)?;
    let name = labels::member_name(&record.id, &container.name);
    let missing = match create(core, &name, &body).await {
        Ok(()) => return Ok(()),
        Err(error) if error.is_not_found() => error,
        Err(error) => return Err(format!("CannotCreateContainerError: {}", words(&error))),
    };
    let pulled = if body.image.starts_with("sha256:") {
        Err(missing)
    } else {
        core.retry(|| core.docker.pull_image(&body.image)).await
    };
    if let Err(error) = pulled {
        return Err(format!("CannotPullContainerError: {}: {}", container.image, words(&error)));
    }
    create(core, &name, &body).await.map_err(|error| format!("CannotCreateContainerError: {}", words(&error)))
}

async fn create(core: &Core, name: &str, body: &CreateContainer) -> DockerResult<()> {
    match core.retry(|| core.docker.create_container(name, body)).await {
        // The name is made of the task's id: nobody else has it.
        Ok(_) | Err(DockerError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn member(core: &Core, record: &TaskRecord, container: &ContainerDefinition) -> Result<CreateContainer, String> {
    let settings = &container.settings;
    let mut environment: BTreeMap<&str, String> = BTreeMap::new();
    environment.insert("ECS_CONTAINER_NAME", container.name.clone());
    environment.extend(settings.environment.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let secrets = LocalSecrets::within(&core.directory).of(settings)?;
    environment.extend(secrets.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let limits = limits(&record.definition, container);
    Ok(CreateContainer {
        image: container.image.clone(),
        entrypoint: settings.entry_point.clone(),
        cmd: settings.command.clone(),
        env: environment.into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
        working_dir: settings.working_directory.clone(),
        user: settings.user.clone(),
        labels: labels::of_task(
            &record.tags,
            &core.instance,
            &record.id,
            record.service.as_deref(),
            record.deployment.as_deref(),
            Some(&container.name),
        ),
        // We run the definition's. Amazon ECS, too, does not look at the image's.
        healthcheck: Some(Healthcheck::none()),
        host_config: HostConfig {
            network_mode: format!("container:{}", labels::pause_name(&record.id)),
            memory: if core.engine.limits_memory { limits.memory } else { 0 },
            nano_cpus: if core.engine.limits_cpu { limits.nano_cpus } else { 0 },
            cpu_shares: limits.cpu_shares,
            readonly_rootfs: settings.readonly_root_filesystem,
            log_config: log_config(core),
            ..HostConfig::default()
        },
        ..CreateContainer::default()
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Limits {
    memory: i64,
    nano_cpus: i64,
    cpu_shares: i64,
}

/// A container's own limits, capped by the task's. The task's limit holds for each container and not for their sum.
fn limits(definition: &TaskDefinition, container: &ContainerDefinition) -> Limits {
    let memory = match (container.settings.memory, definition.memory) {
        (Some(own), Some(task)) => own.min(task),
        (own, task) => own.or(task).unwrap_or(0),
    };
    Limits {
        memory: i64::from(memory) * 1024 * 1024,
        nano_cpus: i64::from(definition.cpu.unwrap_or(0)) * 1_000_000_000 / 1024,
        cpu_shares: container.settings.cpu.map_or(0, |units| i64::from(units.max(2))),
    }
}

/// What of the limits this engine cannot keep; one line for the service's events.
pub(crate) fn unkept_limits(core: &Core, definition: &TaskDefinition) -> Option<String> {
    let any = |limit: fn(&Limits) -> i64| {
        definition.containers.iter().any(|container| limit(&limits(definition, container)) > 0)
    };
    let mut unkept = Vec::new();
    if !core.engine.limits_memory && any(|limits| limits.memory) {
        unkept.push("memory");
    }
    if !core.engine.limits_cpu && any(|limits| limits.nano_cpus) {
        unkept.push("cpu");
    }
    (!unkept.is_empty()).then(|| format!("warning: this engine cannot limit {}.", unkept.join(" and ")))
}

fn log_config(core: &Core) -> LogConfig {
    let kind = match core.engine.kind {
        EngineKind::Docker => "json-file",
        EngineKind::Podman => "k8s-file",
    };
    let mut config = BTreeMap::from([("max-size".to_owned(), "32m".to_owned())]);
    if core.engine.kind == EngineKind::Docker {
        config.insert("max-file".to_owned(), "2".to_owned());
    }
    LogConfig { r#type: kind.to_owned(), config }
}

/// Members first, pause last: the engine refuses it the other way round. Gone is fine.
pub(crate) async fn remove_all(core: &Core, members: &[String], pause: &str) -> DockerResult<()> {
    let removals = members.iter().map(|name| core.retry(|| core.docker.remove_container(name)));
    for removed in futures_util::future::join_all(removals).await {
        removed?;
    }
    core.retry(|| core.docker.remove_container(pause)).await
}

#[cfg(test)]
mod tests {
    use landfall_model::task::ContainerSettings;

    use super::*;

    #[test]
    fn limits_are_capped_by_the_task() {
        let container = |memory, cpu| ContainerDefinition {
            name: "a".to_owned(),
            image: "i".to_owned(),
            settings: ContainerSettings { memory, cpu, ..ContainerSettings::default() },
        };
        let task = |memory, cpu| TaskDefinition { family: "f".to_owned(), cpu, memory, ..TaskDefinition::default() };
        let mib = 1024 * 1024;
        assert_eq!(
            limits(&task(Some(512), Some(256)), &container(Some(1024), Some(1))),
            Limits { memory: 512 * mib, nano_cpus: 250_000_000, cpu_shares: 2 }
        );
        assert_eq!(
            limits(&task(None, None), &container(None, None)),
            Limits { memory: 0, nano_cpus: 0, cpu_shares: 0 }
        );
        assert_eq!(limits(&task(None, None), &container(Some(64), None)).memory, 64 * mib);
    }
}

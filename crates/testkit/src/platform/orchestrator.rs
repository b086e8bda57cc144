//! ECS, in memory: task definitions, services whose deployments advance by being described, one-off tasks.

use std::collections::BTreeSet;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::inventory::{
    Listing, OwnedResource, ResourceKind, TAG_ENVIRONMENT, TAG_EXECUTION, TAG_INSTANCE, TAKEN_OVER, Tags,
};
use landfall_model::task::TaskDefinition;
use landfall_ports::orchestrator::{
    ContainerDescription, DeploymentDescription, Documents, LogLine, LogStream, Orchestrator, PauseHook, PutService,
    PutServiceOutcome, Registered, RolloutState, RunTaskRequest, ServiceDescription, ServiceEvent, ServiceSettings,
    ServiceStatus, StopDeployment, TargetBinding, TaskDescription, TrafficShift,
};
use landfall_ports::{PortError, PortResult};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{FakePlatform, Service, Task, World, same_owner};

struct Followed(UnboundedReceiver<LogLine>);

#[async_trait]
impl LogStream for Followed {
    async fn next(&mut self) -> Option<LogLine> {
        self.0.recv().await
    }
}

#[async_trait]
impl Orchestrator for FakePlatform {
    async fn register_task_definition(&self, definition: &TaskDefinition, tags: &Tags) -> PortResult<Registered> {
        self.call("register_task_definition", |world| {
            let content = serde_json::to_string(definition).map_err(|e| PortError::Bug(e.to_string()))?;
            let handle = format!("{}:{:08x}", definition.family, fnv(&content));
            let created = !world.task_definitions.contains_key(&handle);
            if created {
                world.effect("register_task_definition");
                world.note(ResourceKind::TaskDefinition, &handle, tags);
                world.task_definitions.insert(handle.clone(), (definition.clone(), tags.clone()));
            }
            Ok(Registered { handle, created })
        })
    }

    async fn deregister_task_definition(&self, handle: &str) -> PortResult<()> {
        self.call("deregister_task_definition", |world| {
            if world.task_definitions.remove(handle).is_some() {
                world.effect("deregister_task_definition");
            }
            Ok(())
        })
    }

    async fn put_service(&self, request: &PutService) -> PortResult<PutServiceOutcome> {
        self.call("put_service", |world| put_service(world, request))
    }

    async fn service_tags(&self, name: &str) -> PortResult<Option<Tags>> {
        self.call("service_tags", |world| Ok(world.services.get(name).map(|service| service.request.tags.clone())))
    }

    async fn adopt_service(&self, name: &str, tags: &Tags) -> PortResult<Option<ServiceDescription>> {
        self.call("adopt_service", |world| {
            adopt(world, name, tags, true)?;
            Ok(world.services.get(name).map(describe))
        })
    }

    async fn documents(&self, service: &str) -> PortResult<Option<Documents>> {
        self.call("documents", |world| {
            let Some(found) = world.services.get(service) else { return Ok(None) };
            let request = PutService { desired_count: found.desired, ..found.request.clone() };
            let definition = world.task_definitions.get(&request.task_definition);
            let definition = definition.map(|(definition, _)| definition.clone()).unwrap_or_default();
            Ok(Some(Documents::of(&definition, &request)))
        })
    }

    async fn desired_documents(&self, definition: &TaskDefinition, request: &PutService) -> PortResult<Documents> {
        self.call("desired_documents", |_| Ok(Documents::of(definition, request)))
    }

    async fn describe_service(&self, name: &str) -> PortResult<Option<ServiceDescription>> {
        self.call("describe_service", |world| {
            advance(world, name);
            let instance = world.behaviour.instance.as_ref();
            let seen = |service: &&Service| instance.is_none() || service.request.tags.get(TAG_INSTANCE) == instance;
            Ok(world.services.get(name).filter(seen).map(describe))
        })
    }

    async fn continue_deployment(&self, service: &str, only: &[String]) -> PortResult<bool> {
        self.call("continue_deployment", |world| {
            let service = world.services.get_mut(service);
            let newest =
                service.ok_or_else(|| PortError::NotFound("no such service".to_owned()))?.deployments.first_mut();
            let paused = newest.and_then(|newest| newest.shift.as_mut()).is_some_and(|shift| {
                let before = shift.pauses.len();
                shift.pauses.retain(|pause| !only.is_empty() && !only.contains(&pause.id));
                shift.pauses.len() < before
            });
            if paused {
                world.effect("continue_deployment");
            }
            Ok(paused)
        })
    }

    async fn stop_deployment(&self, service: &str, how: StopDeployment) -> PortResult<bool> {
        self.call("stop_deployment", |world| {
            let name = service;
            let service = world.services.get_mut(name).ok_or_else(|| PortError::NotFound(format!("service {name}")))?;
            if service.deployments[0].rollout != RolloutState::InProgress {
                return Ok(false);
            }
            service.deployments[0].reason = Some("stopped by somebody".to_owned());
            match how {
                StopDeployment::Abort => service.deployments[0].rollout = RolloutState::Stopped,
                StopDeployment::Rollback => roll_back(world, name),
            }
            world.effect("stop_deployment");
            Ok(true)
        })
    }

    async fn scale_service(&self, name: &str, desired_count: u32) -> PortResult<()> {
        self.call("scale_service", |world| {
            let patience = world.behaviour.patience;
            let service = world.services.get_mut(name).ok_or_else(|| PortError::NotFound(format!("service {name}")))?;
            if service.desired != desired_count {
                service.desired = desired_count;
                service.deployments[0].desired = desired_count;
                service.left = patience;
                world.effect("scale_service");
            }
            Ok(())
        })
    }

    async fn delete_service(&self, name: &str) -> PortResult<()> {
        self.call("delete_service", |world| {
            let patience = world.behaviour.patience;
            if let Some(service) = world.services.get_mut(name)
                && !service.deleting
            {
                service.deleting = true;
                service.desired = 0;
                service.left = patience;
                world.effect("delete_service");
            }
            Ok(())
        })
    }

    async fn run_task(&self, request: &RunTaskRequest) -> PortResult<String> {
        self.call("run_task", |world| {
            let id = format!("task-{:08x}", fnv(&request.token));
            if world.tasks.contains_key(&id) {
                return Ok(id);
            }
            if !world.task_definitions.contains_key(&request.task_definition) {
                return Err(PortError::Invalid(format!("no task definition {}", request.task_definition)));
            }
            world.effect("run_task");
            world.task_runs += 1;
            world.note(ResourceKind::Task, &id, &request.tags);
            let left = world.behaviour.patience;
            world.tasks.insert(id.clone(), Task { request: request.clone(), left, stopped: None });
            Ok(id)
        })
    }

    async fn main_container(&self, task_definition: &str) -> PortResult<String> {
        self.call("main_container", |world| {
            let of = |definition: &TaskDefinition| {
                definition.containers.iter().find(|c| c.settings.essential).map(|c| c.name.clone())
            };
            let found = world.task_definitions.get(task_definition).and_then(|(definition, _)| of(definition));
            found.ok_or_else(|| PortError::NotFound(format!("no task definition {task_definition}")))
        })
    }

    async fn describe_task(&self, task: &str) -> PortResult<Option<TaskDescription>> {
        self.call("describe_task", |world| {
            let (failing, sidecars) = (&world.behaviour.failing_commands, world.behaviour.sidecars.clone());
            let started_at = world.behaviour.tasks_started_at;
            let Some(found) = world.tasks.get_mut(task) else { return Ok(None) };
            if found.stopped.is_none() && found.left == 0 {
                let fails = found.request.command.first().is_some_and(|command| failing.contains(command));
                found.stopped = Some(if fails { "1".to_owned() } else { "0".to_owned() });
            }
            found.left = found.left.saturating_sub(1);
            let exit_code = found.stopped.as_ref().and_then(|code| code.parse().ok());
            let mut described = task_description(task, exit_code);
            described.started_at = started_at;
            described.containers[0].name = found.request.container.clone().unwrap_or_else(|| "app".to_owned());
            // Not in the order of the definition: ECS promises none.
            for (name, code) in sidecars {
                let exit_code = exit_code.map(|_| code);
                let template = described.containers[0].clone();
                described.containers.insert(0, ContainerDescription { name, exit_code, ..template });
            }
            Ok(Some(described))
        })
    }

    async fn stop_task(&self, task: &str, _reason: &str) -> PortResult<()> {
        self.call("stop_task", |world| {
            if let Some(found) = world.tasks.get_mut(task)
                && found.stopped.is_none()
            {
                found.stopped = Some("137".to_owned());
                world.effect("stop_task");
            }
            Ok(())
        })
    }

    async fn task_log_tail(&self, task: &str, _lines: usize) -> PortResult<Vec<String>> {
        self.call("task_log_tail", |world| {
            Ok(if world.tasks.contains_key(task) { vec!["app: ran".to_owned()] } else { vec![] })
        })
    }

    async fn follow_logs(
        &self,
        environment: &str,
        _services: &[String],
        _history: usize,
    ) -> PortResult<Box<dyn LogStream>> {
        self.call("follow_logs", |world| {
            let (to, lines) = unbounded_channel();
            world.followers.push((environment.to_owned(), to));
            Ok(Box::new(Followed(lines)) as Box<dyn LogStream>)
        })
    }

    async fn list_owned(
        &self,
        environment: Option<&str>,
        kinds: &[ResourceKind],
    ) -> PortResult<Listing<OwnedResource>> {
        self.call("list_owned", |world| {
            let of_ours = |kind: &&ResourceKind| {
                matches!(kind, ResourceKind::Service | ResourceKind::Task | ResourceKind::TaskDefinition)
            };
            let kinds: Vec<ResourceKind> = kinds.iter().filter(of_ours).copied().collect();
            world.listing(environment, &kinds)
        })
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        self.call("delete_owned", |world| {
            let gone = match resource.kind {
                ResourceKind::Service => world.services.remove(&resource.id).is_some(),
                ResourceKind::TaskDefinition => world.task_definitions.remove(&resource.id).is_some(),
                ResourceKind::Task => match world.tasks.get_mut(&resource.id) {
                    Some(task) => task.stopped.replace("137".to_owned()).is_none(),
                    None => false,
                },
                _ => false,
            };
            if gone {
                world.effect("delete_owned");
            }
            Ok(())
        })
    }
}

fn put_service(world: &mut World, request: &PutService) -> PortResult<PutServiceOutcome> {
    if !world.task_definitions.contains_key(&request.task_definition) {
        return Err(PortError::Invalid(format!("no task definition {}", request.task_definition)));
    }
    if let Some(target) = &request.target
        && !world.target_groups.contains_key(&target.target_group)
    {
        return Err(PortError::Invalid(format!("no target group {}", target.target_group)));
    }
    let patience = world.behaviour.patience;
    adopt(world, &request.name, &request.tags, request.adopt)?;
    let kept = world.services.get(&request.name).filter(|_| request.keep_count).map(|service| service.desired);
    let request = &PutService { desired_count: kept.unwrap_or(request.desired_count), ..request.clone() };
    if let Some(service) = world.services.get(&request.name) {
        if service.deleting {
            return Err(PortError::Unavailable(format!("service {} is draining", request.name)));
        }
        let current = &service.request;
        let live = matches!(service.deployments[0].rollout, RolloutState::InProgress | RolloutState::Completed);
        let counted = service.desired != request.desired_count;
        let replaces = request.replace.as_ref() == Some(&service.deployments[0].id);
        if current.task_definition == request.task_definition
            && current.target == request.target
            && !replaces
            && (counted && live || !counted && current.deployment != request.deployment)
        {
            // As ECS: the configuration and the count alone start no deployment.
            let outcome = PutServiceOutcome { created: false, deployment: service.deployments[0].id.clone() };
            if let Some(service) = world.services.get_mut(&request.name) {
                service.request.deployment = request.deployment.clone();
                service.request.desired_count = request.desired_count;
                service.desired = request.desired_count;
                service.deployments[0].desired = request.desired_count;
                if counted {
                    service.left = patience;
                }
            }
            world.effect("update_service");
            return Ok(outcome);
        }
        if current.task_definition == request.task_definition
            && service.desired == request.desired_count
            && current.target == request.target
            && !replaces
        {
            return Ok(PutServiceOutcome { created: false, deployment: service.deployments[0].id.clone() });
        }
    }
    world.deployments += 1;
    let deployment = deployment(world.deployments, &request.task_definition, request.desired_count);
    let id = deployment.id.clone();
    let created = !world.services.contains_key(&request.name);
    world.effect(if created { "create_service" } else { "update_service" });
    let old = world.services.remove(&request.name);
    let binding = |target: Option<&TargetBinding>| target.map(|target| target.target_group.clone());
    let (bound, to_bind) =
        (old.as_ref().and_then(|old| binding(old.request.target.as_ref())), binding(request.target.as_ref()));
    if bound != to_bind
        && let Some(group) = bound.and_then(|name| world.target_groups.get_mut(&name))
    {
        group.service = None;
    }
    if let Some(group) = to_bind.and_then(|name| world.target_groups.get_mut(&name)) {
        group.service = Some(request.name.clone());
    }
    let tags = old.as_ref().map_or_else(|| request.tags.clone(), |s| s.request.tags.clone());
    // What never came up is nothing to go back to.
    let stable = old.as_ref().and_then(|s| match s.deployments[0].rollout {
        RolloutState::Completed => Some(s.request.task_definition.clone()),
        _ => s.stable.clone(),
    });
    let mut deployments = old.as_ref().map(|s| s.deployments.clone()).unwrap_or_default();
    deployments.insert(0, deployment);
    let running = old.map_or(0, |s| s.running);
    let service = Service {
        request: PutService { tags, ..request.clone() },
        desired: request.desired_count,
        running,
        left: patience,
        deleting: false,
        deployments,
        stable,
    };
    world.note(ResourceKind::Service, &request.name, &service.request.tags);
    world.services.insert(request.name.clone(), service);
    Ok(PutServiceOutcome { created, deployment: id })
}

/// Refuses another environment's service; one that may be taken over gets these tags.
fn adopt(world: &mut World, name: &str, tags: &Tags, may: bool) -> PortResult<()> {
    let Some(service) = world.services.get_mut(name) else { return Ok(()) };
    let there = &mut service.request.tags;
    if same_owner(there, tags) {
        return Ok(());
    }
    let nobody_s = !there.contains_key(TAG_ENVIRONMENT) && !there.contains_key(TAG_INSTANCE);
    if !may || !nobody_s && there.get(TAG_ENVIRONMENT) != tags.get(TAG_ENVIRONMENT) {
        return Err(PortError::Conflict(format!("service {name} belongs to another environment")));
    }
    there.extend(tags.iter().filter(|(key, _)| *key != TAG_EXECUTION).map(|(key, value)| (key.clone(), value.clone())));
    if let Some(maker) = there.get_mut(TAG_EXECUTION) {
        TAKEN_OVER.clone_into(maker);
    }
    let tags = there.clone();
    world.note(ResourceKind::Service, name, &tags);
    world.effect("adopt_service");
    Ok(())
}

fn deployment(number: u64, task_definition: &str, desired: u32) -> DeploymentDescription {
    DeploymentDescription {
        id: format!("ecs-svc/{number}"),
        task_definition: task_definition.to_owned(),
        rollout: RolloutState::InProgress,
        reason: None,
        desired,
        running: 0,
        pending: desired,
        failed_tasks: 0,
        failures: Vec::new(),
        created_at: Timestamp::UNIX_EPOCH,
        shift: None,
    }
}

/// One describe's worth of progress.
fn advance(world: &mut World, name: &str) {
    let Some(service) = world.services.get(name) else { return };
    let definition = world.task_definitions.get(&service.request.task_definition);
    let among = |images: &BTreeSet<String>| {
        definition.is_some_and(|(definition, _)| definition.containers.iter().any(|c| images.contains(&c.image)))
    };
    let behaviour = &world.behaviour;
    let (fails, restarts) = (among(&behaviour.crashing_images), among(&behaviour.restarting_images));
    let (pauses, bakes) = (among(&behaviour.pausing_images), among(&behaviour.baking_images));
    let Some(service) = world.services.get_mut(name) else { return };
    if service.left > 0 {
        service.left -= 1;
        return;
    }
    if service.deleting {
        world.services.remove(name);
        return;
    }
    let newest = &mut service.deployments[0];
    if newest.rollout == RolloutState::InProgress && fails {
        newest.failed_tasks = 3;
        newest.pending = 0;
        newest.failures = vec![task_description("task-crashed", Some(1))];
        newest.reason = Some("deployment circuit breaker: tasks failed to start".to_owned());
        roll_back(world, name);
        return;
    }
    if newest.rollout == RolloutState::InProgress && restarts {
        newest.failed_tasks += 1;
        newest.failures.insert(0, task_description(&format!("task-{}", newest.failed_tasks), Some(1)));
        newest.failures.truncate(10);
        return;
    }
    if newest.rollout == RolloutState::InProgress && (pauses || bakes) {
        let stage = if bakes { "BAKE_TIME" } else { "POST_TEST_TRAFFIC_SHIFT" };
        let first = newest.shift.is_none();
        let pause = || PauseHook { id: "pause-1".to_owned(), expires_at: None, on_timeout: "ROLLBACK".to_owned() };
        let shift = newest.shift.get_or_insert_with(|| TrafficShift {
            stage: Some(stage.to_owned()),
            percent: if bakes { 100 } else { 0 },
            shifted: bakes,
            pauses: Vec::new(),
        });
        if first && pauses {
            shift.pauses.push(pause());
        }
        if bakes || !shift.pauses.is_empty() {
            newest.running = newest.desired;
            newest.pending = 0;
            return;
        }
    }
    service.running = service.desired;
    if matches!(newest.rollout, RolloutState::InProgress | RolloutState::Completed) {
        newest.running = newest.desired;
        newest.pending = 0;
    }
    if newest.rollout == RolloutState::InProgress {
        newest.rollout = RolloutState::Completed;
        service.stable = None;
        service.deployments.truncate(2);
    }
}

/// Ends the newest deployment: what ran before runs again, if anything did.
fn roll_back(world: &mut World, name: &str) {
    let Some(service) = world.services.get_mut(name) else { return };
    let Some(handle) = service.stable.clone() else {
        service.deployments[0].rollout = RolloutState::Failed;
        service.running = 0;
        return;
    };
    service.deployments[0].rollout = RolloutState::RolledBack;
    service.request.task_definition.clone_from(&handle);
    // As ECS: the way back is a deployment of its own, with the count of now.
    world.deployments += 1;
    service.deployments.insert(0, deployment(world.deployments, &handle, service.desired));
}

fn describe(service: &Service) -> ServiceDescription {
    ServiceDescription {
        name: service.request.name.clone(),
        status: if service.deleting { ServiceStatus::Draining } else { ServiceStatus::Active },
        task_definition: service.request.task_definition.clone(),
        desired: service.desired,
        running: service.running,
        pending: service.desired.saturating_sub(service.running),
        deployments: service.deployments.clone(),
        events: vec![ServiceEvent { at: Timestamp::UNIX_EPOCH, message: "(fake) described".to_owned() }],
        tags: service.request.tags.clone(),
        settings: Some(ServiceSettings {
            deployment: service.request.deployment.clone(),
            target: service.request.target.clone(),
        }),
    }
}

fn task_description(id: &str, exit_code: Option<i64>) -> TaskDescription {
    let stopped = exit_code.is_some();
    TaskDescription {
        id: id.to_owned(),
        last_status: if stopped { "STOPPED" } else { "RUNNING" }.to_owned(),
        health: "UNKNOWN".to_owned(),
        stopped_reason: stopped.then(|| "Essential container in task exited".to_owned()),
        stop_code: stopped.then(|| "EssentialContainerExited".to_owned()),
        containers: vec![ContainerDescription {
            name: "app".to_owned(),
            last_status: if stopped { "STOPPED" } else { "RUNNING" }.to_owned(),
            exit_code,
            reason: None,
            tail: if exit_code == Some(1) { vec!["boom".to_owned()] } else { Vec::new() },
        }],
        started_at: Some(Timestamp::UNIX_EPOCH),
        stopped_at: stopped.then_some(Timestamp::UNIX_EPOCH),
    }
}

/// FNV-1a: stable between runs, and plenty for a fake.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

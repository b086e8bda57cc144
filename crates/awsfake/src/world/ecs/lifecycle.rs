//! A task's way from PROVISIONING to STOPPED, and what its containers do on it.

use serde_json::{Value, json};

use super::task::{Container, Health, Task, TaskState};
use crate::world::error::AwsError;
use crate::world::space::{ContainerStep, Event, Space};
use crate::world::value::{boolean, number, text};

/// What a new task is made from.
#[derive(Debug, Clone, Default)]
pub struct NewTask {
    pub cluster: String,
    pub service: Option<String>,
    pub deployment: Option<String>,
    pub group: String,
    pub started_by: Option<String>,
    pub definition: String,
    pub launch_type: String,
    pub overrides: Value,
    /// `awsvpcConfiguration`, or null.
    pub network: Value,
    pub targets: Vec<(String, String, u64)>,
    /// Of whoever starts it, beside those of its definition.
    pub constraints: Vec<Value>,
    pub tags: Vec<(String, String)>,
}

impl Space {
    /// # Errors
    /// Why it cannot be placed.
    pub fn start_task(&mut self, new: NewTask) -> Result<String, String> {
        if let Some(room) = self.rules.limits.capacity {
            let live = self.ecs.tasks.values().filter(|task| task.cluster == new.cluster && task.is_live()).count();
            if live >= room {
                return Err("RESOURCE:MEMORY".to_owned());
            }
        }
        let definition = self.definition(&new.definition).ok_or("MISSING")?.clone();
        let instance = self.place(&new.cluster, &definition, &new.launch_type, &new.constraints)?;
        let exits = instance.as_deref().and_then(|instance| self.exits_on(instance));
        let id = self.ids.hex32();
        let cluster = crate::world::value::leaf(&new.cluster).to_owned();
        let awsvpc = definition.word("networkMode") == Some("awsvpc");
        let mut containers = Vec::new();
        for (place, container) in definition.containers().iter().enumerate() {
            let image = text(container, "image").unwrap_or_default().to_owned();
            let mut rule = self.image_rule(&image);
            rule.exits = exits.or(rule.exits);
            containers.push(Container {
                name: text(container, "name").unwrap_or_default().to_owned(),
                arn: self.arn("ecs", &format!("container/{cluster}/{id}/{place:08x}-0000-4000-8000-000000000000")),
                image,
                essential: boolean(container, "essential").unwrap_or(true),
                checked: container.get("healthCheck").is_some_and(|check| !check.is_null()),
                health: Health::Unknown,
                exit: None,
                reason: None,
                rule,
                stop_timeout: number(container, "stopTimeout").unwrap_or(30) * 1000,
                definition: container.clone(),
            });
        }
        let number = self.ids.draw();
        let task = Task {
            arn: self.arn("ecs", &format!("task/{cluster}/{id}")),
            id: id.clone(),
            cluster: new.cluster,
            service: new.service.clone(),
            deployment: new.deployment,
            group: new.group,
            started_by: new.started_by,
            definition: definition.arn.clone(),
            launch_type: new.launch_type,
            instance,
            state: if awsvpc { TaskState::Provisioning } else { TaskState::Pending },
            wanted: "RUNNING",
            created: self.now,
            pulled: None,
            started: None,
            stopping: None,
            stopped: None,
            stop_code: None,
            stop_reason: None,
            containers,
            address: format!("10.0.{}.{}", (number >> 8) % 256, number % 254 + 1),
            overrides: new.overrides,
            network: new.network,
            awsvpc,
            targets: new.targets,
            settled: false,
            failed: false,
            generation: 0,
        };
        let arn = task.arn.clone();
        let wait = if awsvpc { self.rules.timing.provisioning } else { self.pending_time(&task) };
        self.at(self.now + wait, Event::Task { id: id.clone(), generation: 0 });
        if let Some(service) = new.service.and_then(|arn| self.ecs.services.get_mut(&arn)) {
            service.tasks.push(id.clone());
        }
        self.ecs.tasks.insert(id.clone(), task);
        if !new.tags.is_empty() {
            self.ecs.tags.insert(arn, new.tags);
        }
        Ok(id)
    }

    fn pending_time(&self, task: &Task) -> u64 {
        let longest = task.containers.iter().filter_map(|container| container.rule.starts_after).max();
        longest.unwrap_or(self.rules.timing.pending)
    }

    /// Into `state`, and on from there after `wait`.
    fn go(&mut self, id: &str, state: TaskState, wait: Option<u64>) {
        let Some(task) = self.ecs.tasks.get_mut(id) else { return };
        task.state = state;
        task.generation += 1;
        let generation = task.generation;
        if let Some(wait) = wait {
            self.at(self.now + wait, Event::Task { id: id.to_owned(), generation });
        }
        self.task_changed(id);
    }

    /// Tells the scheduler of the task's service.
    fn task_changed(&mut self, id: &str) {
        if let Some(service) = self.ecs.tasks.get(id).and_then(|task| task.service.clone()) {
            self.look_at_service(&service);
        }
    }

    pub fn task_event(&mut self, id: &str, generation: u64) {
        let timing = self.rules.timing.clone();
        let Some(task) = self.ecs.tasks.get(id).filter(|task| task.generation == generation).cloned() else { return };
        match task.state {
            TaskState::Provisioning => self.go(id, TaskState::Pending, Some(self.pending_time(&task))),
            TaskState::Pending => self.launch(id, &task),
            TaskState::Activating => self.running(id),
            TaskState::Running | TaskState::Stopped => {}
            TaskState::Deactivating => self.go(id, TaskState::Stopping, Some(self.stop_time(&task))),
            TaskState::Stopping => {
                self.exit_containers(id);
                if task.awsvpc {
                    self.go(id, TaskState::Deprovisioning, Some(timing.deprovisioning));
                } else {
                    self.stopped(id);
                }
            }
            TaskState::Deprovisioning => self.stopped(id),
        }
    }

    fn stop_time(&self, task: &Task) -> u64 {
        let exited = task.containers.iter().all(|container| container.exit.is_some() || container.reason.is_some());
        let stubborn =
            task.containers.iter().filter(|container| container.rule.ignores_stop && container.exit.is_none());
        let longest = stubborn.map(|container| container.stop_timeout).max();
        if task.started.is_none() || exited { 0 } else { longest.unwrap_or(self.rules.timing.stopping) }
    }

    /// Images are pulled and containers started, or they cannot be.
    fn launch(&mut self, id: &str, task: &Task) {
        for container in &task.containers {
            let reason = match (&container.rule.pull_error, &container.rule.start_error) {
                (Some(error), _) => format!("CannotPullContainerError: {error}"),
                (None, Some(error)) => error.clone(),
                (None, None) => continue,
            };
            let name = container.name.clone();
            if let Some(task) = self.ecs.tasks.get_mut(id) {
                task.failed = true;
                for own in task.containers.iter_mut().filter(|own| own.name == name) {
                    own.reason = Some(reason.clone());
                }
            }
            // ECS puts the container's reason into the task's for Fargate; for EC2 it says this.
            let shown = if task.launch_type == "FARGATE" { reason } else { "Task failed to start".to_owned() };
            self.end_task(id, "TaskFailedToStart", &shown);
            return;
        }
        let now = self.now;
        if let Some(task) = self.ecs.tasks.get_mut(id) {
            task.pulled = Some(now);
        }
        if task.targets.is_empty() {
            self.running(id);
        } else {
            self.go(id, TaskState::Activating, Some(self.rules.timing.activating));
        }
    }

    fn running(&mut self, id: &str) {
        let now = self.now;
        let timing = self.rules.timing.clone();
        let Some(task) = self.ecs.tasks.get_mut(id) else { return };
        task.started = Some(now);
        let task = task.clone();
        for (group, container, port) in &task.targets {
            let delay = task.containers.iter().find(|own| own.name == *container);
            let rule = delay.map(|own| own.rule.clone()).unwrap_or_default();
            self.register_task_target(group, &task, *port, &rule);
        }
        self.write_logs(&task);
        let step = |step| Event::Container { task: id.to_owned(), step };
        for container in &task.containers {
            if container.rule.exits.is_some() {
                self.at(now + container.rule.exits_after, step(ContainerStep::Exit));
            }
            if container.checked {
                let verdict = if container.rule.unhealthy { ContainerStep::Unhealthy } else { ContainerStep::Healthy };
                self.at(now + timing.container_health, step(verdict));
                if let Some(after) = container.rule.unhealthy_after {
                    self.at(now + after, step(ContainerStep::Unhealthy));
                }
            }
        }
        self.at(now + timing.settle, step(ContainerStep::Settled));
        self.go(id, TaskState::Running, None);
        if let Some(service) = task.service.clone()
            && !task.targets.is_empty()
        {
            for (group, ..) in &task.targets {
                self.service_says(&service, format!("registered 1 targets in (target-group {group})"));
            }
        }
    }

    pub fn container_event(&mut self, id: &str, step: ContainerStep) {
        let now = self.now;
        let Some(task) = self.ecs.tasks.get_mut(id).filter(|task| task.state == TaskState::Running) else { return };
        let started = task.started.unwrap_or_default();
        match step {
            ContainerStep::Settled => task.settled = true,
            ContainerStep::Healthy => {
                for own in task.containers.iter_mut().filter(|own| own.checked && !own.rule.unhealthy) {
                    own.health = Health::Healthy;
                }
            }
            ContainerStep::Unhealthy => {
                let due = |own: &Container| {
                    own.rule.unhealthy || own.rule.unhealthy_after.is_some_and(|after| started + after <= now)
                };
                for own in task.containers.iter_mut().filter(|own| own.checked && due(own)) {
                    own.health = Health::Unhealthy;
                }
            }
            ContainerStep::Exit => {
                let mut essential = false;
                for own in &mut task.containers {
                    if own.exit.is_none() && own.rule.exits.is_some() && started + own.rule.exits_after <= now {
                        own.exit = own.rule.exits;
                        own.reason = own.rule.exit_reason.clone();
                        essential |= own.essential;
                    }
                }
                if essential {
                    // A service's task is never meant to end, whatever its code.
                    task.failed = task.service.is_some();
                    self.end_task(id, "EssentialContainerExited", "Essential container in task exited");
                }
            }
        }
        self.task_changed(id);
    }

    /// Begins the end of a task: out of its target groups first, then SIGTERM.
    pub fn end_task(&mut self, id: &str, code: &'static str, reason: &str) {
        let now = self.now;
        let Some(task) = self.ecs.tasks.get_mut(id).filter(|task| task.state <= TaskState::Running) else { return };
        task.wanted = "STOPPED";
        task.stopping = Some(now);
        task.stop_code = Some(code);
        task.stop_reason = Some(reason.to_owned());
        let task = task.clone();
        if task.failed
            && let Some(service) = task.service.as_ref().and_then(|arn| self.ecs.services.get_mut(arn))
        {
            service.failures.extend(task.deployment.clone());
        }
        let drained = self.deregister_task_targets(&task);
        if let (Some(until), Some(service)) = (drained, &task.service) {
            self.service_says(service, "has begun draining connections on 1 tasks.".to_owned());
            for (group, ..) in &task.targets {
                self.service_says(service, format!("deregistered 1 targets in (target-group {group})"));
            }
            // A task that ended by itself has nothing to drain.
            if code != "EssentialContainerExited" {
                self.go(id, TaskState::Deactivating, Some(until.saturating_sub(now)));
                return;
            }
        }
        self.go(id, TaskState::Stopping, Some(self.stop_time(&task)));
    }

    /// It is gone with the instance that it ran on.
    pub fn kill_task(&mut self, id: &str, reason: &str) {
        let now = self.now;
        let Some(task) = self.ecs.tasks.get_mut(id).filter(|task| task.is_live()) else { return };
        task.wanted = "STOPPED";
        task.stopping.get_or_insert(now);
        task.stop_reason = Some(reason.to_owned());
        let task = task.clone();
        self.deregister_task_targets(&task);
        self.stopped(id);
    }

    fn exit_containers(&mut self, id: &str) {
        let Some(task) = self.ecs.tasks.get_mut(id) else { return };
        let started = task.started.is_some();
        for container in &mut task.containers {
            if container.exit.is_none() && started {
                container.exit = Some(if container.rule.ignores_stop { 137 } else { 0 });
            }
            container.health = if container.checked { container.health } else { Health::Unknown };
        }
    }

    fn stopped(&mut self, id: &str) {
        let now = self.now;
        let Some(task) = self.ecs.tasks.get_mut(id) else { return };
        task.stopped = Some(now);
        let service = task.service.clone();
        self.go(id, TaskState::Stopped, None);
        if let Some(service) = service.as_ref().and_then(|arn| self.ecs.services.get_mut(arn)) {
            service.tasks.retain(|other| other != id);
        }
        self.at(now + self.rules.timing.stopped_kept, Event::ForgetTask { id: id.to_owned() });
    }

    pub fn forget_task(&mut self, id: &str) {
        if let Some(task) = self.ecs.tasks.remove(id) {
            self.ecs.tags.remove(&task.arn);
        }
    }

    /// A task by id or ARN, within a cluster.
    pub fn task(&self, cluster: &str, name: &str) -> Result<&Task, AwsError> {
        let found = self.ecs.tasks.get(crate::world::value::leaf(name)).filter(|task| task.cluster == cluster);
        found.ok_or_else(|| AwsError::invalid("The referenced task was not found."))
    }

    /// The lines of its images' rules, to the streams of containers with the `awslogs` driver.
    fn write_logs(&mut self, task: &Task) {
        for container in &task.containers {
            let options = &container.definition["logConfiguration"]["options"];
            let (Some(group), Some(prefix)) = (text(options, "awslogs-group"), text(options, "awslogs-stream-prefix"))
            else {
                continue;
            };
            let stream = format!("{prefix}/{}/{}", container.name, task.id);
            let lines: Vec<Value> = container.rule.logs.iter().map(|line| json!(line)).collect();
            self.append_logs(group, &stream, &lines);
        }
    }
}

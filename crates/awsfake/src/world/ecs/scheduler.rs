//! The service scheduler: one look at a service compares what is wanted with what runs, starts and stops tasks within the
//! band that the deployment configuration allows, and notices the endings.
//!
//! Every change of a task, a target or a request asks for a look; looks asked for at the same time are one.

use super::lifecycle::NewTask;
use super::service::{Rolling, RolloutStatus, ServiceStatus};
use super::task::{Health, Task, TaskState};
use crate::world::elb::TargetState;
use crate::world::space::{Event, Space};

/// What a service says of a task that finds no place.
const UNABLE: &str = "was unable to place a task";

impl Space {
    pub fn look_at_service(&mut self, arn: &str) {
        self.look_later(arn, self.rules.timing.scheduler);
    }

    /// A look after `wait`, unless an earlier one is due.
    pub fn look_later(&mut self, arn: &str, wait: u64) {
        let when = self.now + wait;
        let Some(service) = self.ecs.services.get_mut(arn) else { return };
        if service.look_at.is_some_and(|due| due <= when) {
            return;
        }
        service.look_at = Some(when);
        service.generation += 1;
        let generation = service.generation;
        self.at(when, Event::Service { arn: arn.to_owned(), generation });
    }

    pub fn service_says(&mut self, arn: &str, words: String) {
        let id = self.ids.uuid();
        let now = self.now;
        let Some(service) = self.ecs.services.get_mut(arn) else { return };
        let message = format!("(service {}) {words}", service.name);
        service.events.push_front((id, now, message));
        service.events.truncate(100);
    }

    pub fn service_event(&mut self, arn: &str, generation: u64) {
        let Some(service) = self.ecs.services.get_mut(arn).filter(|service| service.generation == generation) else {
            return;
        };
        service.look_at = None;
        match service.status {
            ServiceStatus::Inactive => {}
            ServiceStatus::Draining => self.drain_service(arn),
            ServiceStatus::Active => {
                self.stop_failing_tasks(arn);
                self.count_failures(arn);
                self.breaker_check(arn);
                self.move_rollout(arn);
                self.roll(arn);
                self.notice_steady(arn);
            }
        }
    }

    fn drain_service(&mut self, arn: &str) {
        let tasks = self.ecs.services.get(arn).map(|service| service.tasks.clone()).unwrap_or_default();
        for task in &tasks {
            self.end_task(task, "ServiceSchedulerInitiated", "Scaling activity initiated by service deletion");
        }
        let Some(service) = self.ecs.services.get_mut(arn) else { return };
        if !service.tasks.is_empty() {
            return;
        }
        // The last task is gone: INACTIVE a while later, and only then may the name be used again.
        if service.steady {
            service.status = ServiceStatus::Inactive;
            service.deployments.clear();
            self.at(self.now + self.rules.timing.inactive_kept, Event::ForgetService { arn: arn.to_owned() });
        } else {
            service.steady = true;
            self.look_later(arn, self.rules.timing.draining);
        }
    }

    pub fn forget_service(&mut self, arn: &str) {
        // A new service may have taken the name meanwhile.
        if self.ecs.services.get(arn).is_some_and(|service| service.status == ServiceStatus::Inactive) {
            self.ecs.services.remove(arn);
            self.ecs.tags.remove(arn);
        }
    }

    pub fn service_tasks(&self, arn: &str) -> Vec<&Task> {
        let ids = self.ecs.services.get(arn).map_or(&[][..], |service| service.tasks.as_slice());
        ids.iter().filter_map(|id| self.ecs.tasks.get(id)).collect()
    }

    /// Running, and nothing speaks against it.
    pub fn is_well(&self, task: &Task) -> bool {
        task.state == TaskState::Running
            && task.wanted == "RUNNING"
            && if task.is_checked() { task.health() == Health::Healthy } else { task.settled }
            && task.targets.iter().all(|(group, _, port)| {
                matches!(self.task_target(group, task, *port), Some(TargetState::Healthy | TargetState::Unused))
            })
    }

    fn stop_failing_tasks(&mut self, arn: &str) {
        let Some(service) = self.ecs.services.get(arn) else { return };
        let grace = service.spec.get("healthCheckGracePeriodSeconds").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let mut failing = Vec::new();
        let mut in_grace: Option<u64> = None;
        for task in self.service_tasks(arn) {
            if task.state != TaskState::Running {
                continue;
            }
            if task.health() == Health::Unhealthy {
                failing.push((task.id.clone(), "Task failed container health checks".to_owned(), String::new()));
                continue;
            }
            let since = task.started.unwrap_or(self.now);
            let left = (since + grace * 1000).saturating_sub(self.now);
            if left > 0 {
                in_grace = Some(in_grace.map_or(left, |other| other.min(left)));
                continue;
            }
            for (group, _, port) in &task.targets {
                if self.task_target(group, task, *port) == Some(TargetState::Unhealthy) {
                    let reason = self.target_reason(group, task, *port);
                    let words =
                        format!("(port {port}) is unhealthy in (target-group {group}) due to (reason {reason}).");
                    failing.push((
                        task.id.clone(),
                        format!("Task failed ELB health checks in (target-group {group})"),
                        words,
                    ));
                    break;
                }
            }
        }
        if let Some(left) = in_grace {
            self.look_later(arn, left);
        }
        for (task, reason, words) in failing {
            let words = if words.is_empty() { format!("(task {task}) failed container health checks.") } else { words };
            self.service_says(arn, words);
            if let Some(own) = self.ecs.tasks.get_mut(&task) {
                own.failed = true;
            }
            self.end_task(&task, "ServiceSchedulerInitiated", &reason);
        }
    }

    /// Starts that failed since the last look, against their deployments; and the well ones, which reset the count.
    fn count_failures(&mut self, arn: &str) {
        let timing = self.rules.timing.clone();
        let well: Vec<String> = self
            .service_tasks(arn)
            .into_iter()
            .filter(|task| self.is_well(task))
            .filter_map(|task| task.deployment.clone())
            .collect();
        let now = self.now;
        let Some(service) = self.ecs.services.get_mut(arn) else { return };
        let failed = std::mem::take(&mut service.failures);
        let reset = service.breaker().reset;
        let mut tired = false;
        for id in failed {
            let Some(deployment) = service.deployment(&id) else { continue };
            deployment.streak += 1;
            let wait = timing.restart.saturating_mul(1 << deployment.streak.min(20)).min(timing.restart_most).max(1);
            deployment.not_before = now + wait;
            tired |= deployment.streak == 5;
            if deployment.state == Rolling::InProgress {
                deployment.failed += 1;
                let failures = deployment.failed;
                if let Some(rollout) = service.rollout().filter(|rollout| rollout.rollback.is_none()) {
                    rollout.failures = failures;
                    rollout.updated = now;
                }
            }
        }
        for id in well {
            let Some(deployment) = service.deployment(&id) else { continue };
            deployment.streak = 0;
            if reset && deployment.failed > 0 {
                deployment.failed = 0;
                if let Some(rollout) = service.rollout() {
                    rollout.failures = 0;
                }
            }
        }
        if tired {
            self.service_says(arn, "is unable to consistently start tasks successfully.".to_owned());
        }
    }

    /// One step of the rolling update: what may be started is started, what may be stopped is stopped.
    fn roll(&mut self, arn: &str) {
        let Some(service) = self.ecs.services.get(arn).cloned() else { return };
        let Some(primary) = service.deployments.first() else { return };
        let rollout = service.rollouts.first().filter(|rollout| !rollout.status.is_over());
        if rollout.is_some_and(|rollout| rollout.status == RolloutStatus::Pending) {
            return;
        }
        let shifting = rollout.filter(|rollout| rollout.stage.is_some() && rollout.rollback.is_none());
        let tasks: Vec<Task> = self.service_tasks(arn).into_iter().filter(|task| task.is_wanted()).cloned().collect();
        // What is on an instance that drains has to move, whosever it is.
        let stays = |task: &&Task| task.deployment.as_deref() == Some(primary.id.as_str()) && !self.on_draining(task);
        let (own, others): (Vec<_>, Vec<_>) = tasks.iter().partition(stays);
        let own_count = own.len() as u64;
        let (least, most) = service.band();

        if own_count > service.desired {
            let mut surplus: Vec<&&Task> = own.iter().collect();
            surplus.sort_by_key(|task| (self.is_well(task), std::cmp::Reverse(task.created)));
            let surplus: Vec<String> =
                surplus.iter().take((own_count - service.desired) as usize).map(|task| task.id.clone()).collect();
            self.stop_for_scaling(arn, &service.deployments[0].id, &surplus);
        }
        // A failed deployment starts nothing any more, and leaves the former tasks.
        if primary.state == Rolling::Failed {
            return;
        }
        let wanted = service.desired.saturating_sub(own_count);
        let room = match shifting {
            Some(rollout) if !rollout.may_scale() => 0,
            Some(_) => wanted,
            None => most.saturating_sub(tasks.len() as u64).min(wanted),
        };
        if room > 0 {
            if self.now < primary.not_before {
                let wait = primary.not_before - self.now;
                self.look_later(arn, wait);
            } else {
                self.start_for_service(arn, room);
            }
        }
        let well = tasks.iter().filter(|task| self.is_well(task)).count() as u64;
        let spare = match shifting {
            Some(rollout) if !rollout.may_clean_up() => return,
            Some(_) => others.len() as u64,
            None => well.saturating_sub(least),
        };
        let mut stop = Vec::new();
        let mut left = spare;
        for task in &others {
            let is_well = self.is_well(task);
            if is_well && left == 0 {
                continue;
            }
            left -= u64::from(is_well && left > 0);
            stop.push(task.id.clone());
        }
        self.stop_for_scaling(arn, &service.deployments[0].id, &stop);
    }

    fn stop_for_scaling(&mut self, arn: &str, deployment: &str, tasks: &[String]) {
        if tasks.is_empty() {
            return;
        }
        let named: Vec<String> = tasks.iter().map(|task| format!("(task {task})")).collect();
        self.service_says(arn, format!("has stopped {} running tasks: {}.", tasks.len(), named.join(" ")));
        for task in tasks {
            let reason = format!("Scaling activity initiated by (deployment {deployment})");
            self.end_task(task, "ServiceSchedulerInitiated", &reason);
        }
    }

    fn start_for_service(&mut self, arn: &str, count: u64) {
        let Some(service) = self.ecs.services.get(arn).cloned() else { return };
        let Some(primary) = service.deployments.first() else { return };
        let mut started = Vec::new();
        let propagate = service.spec.get("propagateTags").and_then(serde_json::Value::as_str);
        let tags = match propagate {
            Some("SERVICE") => self.ecs.tags.get(arn).cloned().unwrap_or_default(),
            Some("TASK_DEFINITION") => self.ecs.tags.get(&primary.definition).cloned().unwrap_or_default(),
            _ => Vec::new(),
        };
        for _ in 0..count {
            let launch_type = service.spec.get("launchType").and_then(serde_json::Value::as_str).unwrap_or("EC2");
            let task = self.start_task(NewTask {
                cluster: service.cluster.clone(),
                service: Some(arn.to_owned()),
                deployment: Some(primary.id.clone()),
                group: format!("service:{}", service.name),
                started_by: Some(primary.id.clone()),
                definition: primary.definition.clone(),
                launch_type: launch_type.to_owned(),
                overrides: serde_json::Value::Null,
                network: service
                    .spec
                    .get("networkConfiguration")
                    .map_or(serde_json::Value::Null, |of| of["awsvpcConfiguration"].clone()),
                targets: service.target_groups(),
                constraints: service
                    .spec
                    .get("placementConstraints")
                    .and_then(serde_json::Value::as_array)
                    .cloned()
                    .unwrap_or_default(),
                tags: tags.clone(),
            });
            match task {
                Ok(task) => started.push(format!("(task {task})")),
                Err(why) => {
                    let words =
                        format!("{UNABLE} because no container instance met all of its requirements. Reason: {why}");
                    let said = self.ecs.services.get(arn).and_then(|service| service.events.front());
                    if said.is_none_or(|(_, _, message)| !message.contains(UNABLE)) {
                        self.service_says(arn, words);
                    }
                    self.look_later(arn, self.rules.timing.restart.max(1) * 8);
                    break;
                }
            }
        }
        if let Some(service) = self.ecs.services.get_mut(arn) {
            service.steady = false;
        }
        if !started.is_empty() {
            self.service_says(arn, format!("has started {} tasks: {}.", started.len(), started.join(" ")));
        }
    }

    fn notice_steady(&mut self, arn: &str) {
        let Some(service) = self.ecs.services.get(arn) else { return };
        let Some(primary) = service.deployments.first() else { return };
        let (id, desired, steady, state) = (primary.id.clone(), service.desired, service.steady, primary.state);
        let tasks = self.service_tasks(arn);
        // Draining tasks hold the deployment back; those after SIGTERM do not.
        let live: Vec<_> = tasks.iter().filter(|task| task.state <= TaskState::Deactivating).collect();
        let own = live.iter().filter(|task| task.deployment.as_deref() == Some(id.as_str()));
        let well = own.clone().filter(|task| self.is_well(task)).count() as u64;
        let rest = live.len() as u64 - well;
        if well != desired || rest > 0 || state == Rolling::Failed {
            return;
        }
        let over = service.rollouts.first().is_none_or(|rollout| rollout.status.is_over());
        if !over && !self.finish_rollout(arn) {
            return;
        }
        if !steady || !over {
            if let Some(service) = self.ecs.services.get_mut(arn) {
                service.steady = true;
            }
            self.service_says(arn, "has reached a steady state.".to_owned());
        }
    }
}

//! Targets and what their health checks say, over time.

use serde_json::{Value, json};

use crate::world::Millis;
use crate::world::ecs::task::Task;
use crate::world::ecs::views::host_port;
use crate::world::error::{Answer, AwsError};
use crate::world::rules::ImageRule;
use crate::world::space::{Event, Space};
use crate::world::value::{list, needed, number, text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    Initial,
    Healthy,
    Unhealthy,
    Draining,
    Unused,
}

impl TargetState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Unused => "unused",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Target {
    pub id: String,
    pub port: u64,
    pub state: TargetState,
    /// What its checks find: `None` passes; else `timeout`, `refused` or a status code.
    fault: Option<String>,
    passes_at: Millis,
    failures: u64,
    /// The ECS service to tell of changes.
    service: Option<String>,
    generation: u64,
}

impl Target {
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn reason(&self) -> Option<(&'static str, String)> {
        match (self.state, self.fault.as_deref()) {
            (TargetState::Healthy, _) => None,
            (TargetState::Initial, _) => {
                Some(("Elb.InitialHealthChecking", "Initial health checks in progress".to_owned()))
            }
            (TargetState::Draining, _) => {
                Some(("Target.DeregistrationInProgress", "Target deregistration is in progress".to_owned()))
            }
            (TargetState::Unused, _) => Some((
                "Target.NotInUse",
                "Target group is not configured to receive traffic from the load balancer".to_owned(),
            )),
            (TargetState::Unhealthy, Some("timeout")) => Some(("Target.Timeout", "Request timed out".to_owned())),
            (TargetState::Unhealthy, Some("refused") | None) => {
                Some(("Target.FailedHealthChecks", "Health checks failed".to_owned()))
            }
            (TargetState::Unhealthy, Some(code)) => {
                Some(("Target.ResponseCodeMismatch", format!("Health checks failed with these codes: [{code}]")))
            }
        }
    }
}

impl Space {
    /// Where a task is reached in a group: its own address, or the instance's with the mapped port.
    fn target_address(task: &Task, port: u64) -> (String, u64) {
        if task.awsvpc {
            return (task.address.clone(), port);
        }
        let mapping = task.containers.iter().flat_map(|own| list(&own.definition, "portMappings"));
        let mapping = mapping.into_iter().find(|mapping| number(mapping, "containerPort") == Some(port));
        ("i-0fake000000000000".to_owned(), mapping.map_or(port, |mapping| host_port(task, mapping, port)))
    }

    pub fn register_task_target(&mut self, group: &str, task: &Task, port: u64, rule: &ImageRule) {
        let (id, port) = Self::target_address(task, port);
        let passes_at = self.now + rule.target_healthy_after.unwrap_or(0);
        self.register_target(group, id, port, rule.target.clone(), passes_at, task.service.clone());
    }

    fn register_target(
        &mut self,
        arn: &str,
        id: String,
        port: u64,
        fault: Option<String>,
        passes_at: Millis,
        service: Option<String>,
    ) {
        let first = self.rules.timing.first_health_check;
        let now = self.now;
        let Some(group) = self.elb.target_groups.get_mut(arn) else { return };
        let wait = first.min(group.seconds("HealthCheckIntervalSeconds") * 1000);
        let former = group.targets.iter().position(|own| own.id == id && own.port == port);
        let generation = match former {
            // Registering what is registered changes nothing; what drains comes back.
            Some(place) if group.targets[place].state != TargetState::Draining => return,
            Some(place) => group.targets.remove(place).generation + 1,
            None => 0,
        };
        group.targets.push(Target {
            id: id.clone(),
            port,
            state: TargetState::Initial,
            fault,
            passes_at,
            failures: 0,
            service,
            generation,
        });
        self.at(now + wait, Event::Target { group: arn.to_owned(), id, port, generation });
    }

    pub fn target_event(&mut self, arn: &str, id: &str, port: u64, generation: u64) {
        let now = self.now;
        let used = self.target_group_is_used(arn);
        let Some(group) = self.elb.target_groups.get_mut(arn) else { return };
        let interval = group.seconds("HealthCheckIntervalSeconds") * 1000;
        let threshold = group.seconds("UnhealthyThresholdCount");
        let own = |target: &Target| target.id == id && target.port == port && target.generation == generation;
        let Some(place) = group.targets.iter().position(own) else { return };
        let target = &mut group.targets[place];
        let service = target.service.clone();
        if target.state == TargetState::Draining {
            group.targets.remove(place);
        } else {
            let before = target.state;
            if target.fault.is_none() && target.passes_at <= now {
                target.failures = 0;
                // A new target needs one good check only.
                target.state = TargetState::Healthy;
            } else {
                target.failures += 1;
                // A target that only takes its time is not unhealthy before it has failed often enough.
                if target.failures >= threshold {
                    target.state = TargetState::Unhealthy;
                }
            }
            let settled = target.state == TargetState::Healthy && target.fault.is_none();
            let changed = before != target.state;
            // A good target stays good until a test or a deregistration says otherwise: no event per interval.
            if !settled && used {
                let wait = if target.fault.is_none() {
                    interval.min(target.passes_at.saturating_sub(now).max(1))
                } else {
                    interval
                };
                let again = Event::Target { group: arn.to_owned(), id: id.to_owned(), port, generation };
                self.at(now + wait, again);
            }
            if !changed {
                return;
            }
        }
        if let Some(service) = service {
            self.look_at_service(&service);
        }
    }

    /// When the last of the task's targets will have drained; `None`: it has none.
    pub fn deregister_task_targets(&mut self, task: &Task) -> Option<Millis> {
        let mut until = None;
        for (group, _, port) in &task.targets {
            let (id, port) = Self::target_address(task, *port);
            if let Some(end) = self.drain_target(group, &id, port) {
                until = Some(until.map_or(end, |other: Millis| other.max(end)));
            }
        }
        until
    }

    fn drain_target(&mut self, arn: &str, id: &str, port: u64) -> Option<Millis> {
        let now = self.now;
        let used = self.target_group_is_used(arn);
        let group = self.elb.target_groups.get_mut(arn)?;
        let end = now + if used { group.deregistration_delay() } else { 0 };
        let target = group.targets.iter_mut().find(|own| own.id == id && own.port == port)?;
        if target.state == TargetState::Draining {
            return None;
        }
        target.state = TargetState::Draining;
        target.generation += 1;
        let generation = target.generation;
        self.at(end, Event::Target { group: arn.to_owned(), id: id.to_owned(), port, generation });
        Some(end)
    }

    pub fn task_target(&self, group: &str, task: &Task, port: u64) -> Option<TargetState> {
        let (id, port) = Self::target_address(task, port);
        let used = self.target_group_is_used(group);
        let group = self.elb.target_groups.get(group)?;
        let target = group.targets.iter().find(|own| own.id == id && own.port == port)?;
        Some(if used { target.state } else { TargetState::Unused })
    }

    pub fn target_reason(&self, group: &str, task: &Task, port: u64) -> String {
        let (id, port) = Self::target_address(task, port);
        let group = self.elb.target_groups.get(group);
        let target = group.and_then(|group| group.targets.iter().find(|own| own.id == id && own.port == port));
        target.and_then(Target::reason).map(|(_, words)| words).unwrap_or_default()
    }

    pub fn register_targets(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "TargetGroupArn")?.to_owned();
        let default = self.group_port(&arn)?;
        let targets = list(input, "Targets").to_vec();
        let count = self.target_group(&arn)?.targets.len();
        if count + targets.len() > self.rules.limits.targets_per_target_group {
            return Err(AwsError::new("TooManyTargets", "The maximum number of targets has been reached"));
        }
        for target in targets {
            let id = needed(&target, "Id")?.to_owned();
            let port = number(&target, "Port").unwrap_or(default);
            self.register_target(&arn, id, port, None, self.now, None);
        }
        Ok(json!({}))
    }

    fn group_port(&self, arn: &str) -> Result<u64, AwsError> {
        Ok(self.target_group(arn)?.port)
    }

    pub fn deregister_targets(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "TargetGroupArn")?.to_owned();
        self.target_group(&arn)?;
        for target in list(input, "Targets") {
            let id = needed(target, "Id")?.to_owned();
            let group = self.target_group(&arn)?;
            let ports: Vec<u64> = match number(target, "Port") {
                Some(port) => vec![port],
                None => group.targets.iter().filter(|own| own.id == id).map(|own| own.port).collect(),
            };
            for port in ports {
                self.drain_target(&arn, &id, port);
            }
        }
        Ok(json!({}))
    }

    pub fn describe_target_health(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "TargetGroupArn")?.to_owned();
        let used = self.target_group_is_used(&arn);
        let group = self.target_group(&arn)?;
        let asked = list(input, "Targets");
        let mut rows = Vec::new();
        for own in &group.targets {
            let wanted = |entry: &Value| {
                text(entry, "Id") == Some(own.id.as_str()) && number(entry, "Port").is_none_or(|port| port == own.port)
            };
            if !asked.is_empty() && !asked.iter().any(wanted) {
                continue;
            }
            let mut own = own.clone();
            if !used {
                own.state = TargetState::Unused;
            }
            let mut health = json!({"State": own.state.word()});
            if let Some((code, words)) = own.reason() {
                health["Reason"] = code.into();
                health["Description"] = words.into();
            }
            rows.push(json!({
                "Target": {"Id": own.id, "Port": own.port},
                "HealthCheckPort": own.port.to_string(),
                "TargetHealth": health,
            }));
        }
        for entry in asked {
            let known = |own: &Target| {
                text(entry, "Id") == Some(own.id.as_str()) && number(entry, "Port").is_none_or(|port| port == own.port)
            };
            if !group.targets.iter().any(known) {
                rows.push(json!({
                    "Target": {"Id": entry["Id"], "Port": number(entry, "Port").unwrap_or(80)},
                    "TargetHealth": {
                        "State": "unused",
                        "Reason": "Target.NotRegistered",
                        "Description": "Target is not registered to the target group",
                    },
                }));
            }
        }
        Ok(json!({"TargetHealthDescriptions": rows}))
    }

    /// Changes what a target's checks find. Of a test.
    pub fn set_target(&mut self, group: &str, id: Option<&str>, fault: Option<String>) -> Answer {
        self.target_group(group)?;
        let now = self.now;
        let mut again = Vec::new();
        if let Some(own) = self.elb.target_groups.get_mut(group) {
            let matching =
                |target: &&mut Target| id.is_none_or(|id| target.id == id) && target.state != TargetState::Draining;
            for target in own.targets.iter_mut().filter(matching) {
                target.fault = fault.clone();
                target.failures = 0;
                target.passes_at = now;
                target.generation += 1;
                again.push((target.id.clone(), target.port, target.generation));
            }
        }
        for (id, port, generation) in again {
            self.at(now, Event::Target { group: group.to_owned(), id, port, generation });
        }
        Ok(json!({}))
    }
}

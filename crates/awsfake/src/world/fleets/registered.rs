//! Container instances: what ECS places on them, and its calls on them.

use serde_json::{Value, json};

use super::{Instance, Registered};
use crate::world::ecs::clusters::{listing, page_size};
use crate::world::ecs::definitions::Definition;
use crate::world::ecs::task::Task;
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{list, number, page, required, text, texts};

/// Why nothing can be placed where there is no container instance.
pub(crate) const NONE_REGISTERED: &str = "No Container Instances were found in your cluster.";

/// CPU units and MiB of a task.
fn needs(definition: &Definition) -> (u64, u64) {
    let whole = |key: &str| definition.word(key).and_then(|text| text.parse::<u64>().ok());
    let each = |keys: &[&str]| {
        let of = |container: &Value| keys.iter().find_map(|key| number(container, key)).unwrap_or(0);
        definition.containers().iter().map(of).sum()
    };
    let memory = whole("memory").unwrap_or_else(|| each(&["memoryReservation", "memory"]));
    (whole("cpu").unwrap_or_else(|| each(&["cpu"])), memory)
}

/// Of the cluster query language what Landfall says in it. `None`: another expression.
fn holds(expression: &str, one: &Registered) -> Option<bool> {
    if let Some((first, rest)) = expression.split_once(" and ") {
        return Some(holds(first, one)? && holds(rest, one)?);
    }
    let rest = expression.strip_prefix("attribute:")?;
    if let Some(name) = rest.strip_suffix(" exists") {
        return Some(one.attributes.contains_key(name));
    }
    let (name, value) = rest.split_once(" == ")?;
    Some(one.attributes.get(name).is_some_and(|own| own == value))
}

impl Space {
    fn of_cluster<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = &'a Registered> {
        let all = self.fleets.instances.values().filter_map(|one| one.registered.as_ref());
        all.filter(move |one| one.cluster == cluster)
    }

    pub fn container_instances(&self, cluster: &str) -> usize {
        self.of_cluster(cluster).count()
    }

    fn tasks_on<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = &'a Task> {
        self.ecs.tasks.values().filter(move |task| task.instance.as_deref() == Some(instance) && task.is_live())
    }

    fn left_on(&self, instance: &str) -> (u64, u64) {
        let all = self.rules.instances.as_ref().map(|rules| (rules.cpu, rules.memory)).unwrap_or_default();
        self.tasks_on(instance).filter_map(|task| self.definition(&task.definition)).fold(all, |left, definition| {
            let (cpu, memory) = needs(definition);
            (left.0.saturating_sub(cpu), left.1.saturating_sub(memory))
        })
    }

    /// The container instance that a task goes to: of those that fit the one with the fewest. `None`: to none in particular.
    ///
    /// # Errors
    /// Why it cannot be placed.
    pub fn place(
        &self,
        cluster: &str,
        definition: &Definition,
        launch_type: &str,
        constraints: &[Value],
    ) -> Result<Option<String>, String> {
        if self.rules.instances.is_none() || launch_type == "FARGATE" {
            return Ok(None);
        }
        // What is ended has no agent any more.
        let stays = |arn: &str| {
            let mut ending = self.fleets.instances.values().filter(|one| one.ending);
            !ending.any(|one| one.registered.as_ref().is_some_and(|own| own.arn == arn))
        };
        let mut fitting: Vec<&Registered> =
            self.of_cluster(cluster).filter(|one| !one.draining && stays(&one.arn)).collect();
        if fitting.is_empty() {
            return Err(NONE_REGISTERED.to_owned());
        }
        let own = definition.body.get("placementConstraints").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for constraint in own.iter().chain(constraints).filter(|one| text(one, "type") == Some("memberOf")) {
            let expression = text(constraint, "expression").unwrap_or_default();
            if fitting.iter().any(|one| holds(expression, one).is_none()) {
                return Err(format!("the fake does not understand {expression}"));
            }
            fitting.retain(|one| holds(expression, one) == Some(true));
        }
        if fitting.is_empty() {
            return Err("MemberOf placement constraint unsatisfied.".to_owned());
        }
        let (cpu, memory) = needs(definition);
        let left = |one: &Registered| self.left_on(&one.arn);
        if fitting.iter().all(|one| left(one).1 < memory) {
            return Err("RESOURCE:MEMORY".to_owned());
        }
        fitting.retain(|one| left(one).0 >= cpu && left(one).1 >= memory);
        let fewest = fitting.into_iter().min_by_key(|one| (self.tasks_on(&one.arn).count(), one.arn.clone()));
        fewest.map(|one| Some(one.arn.clone())).ok_or_else(|| "RESOURCE:CPU".to_owned())
    }

    /// Whether a service's task has to be moved from where it is.
    pub fn on_draining(&self, task: &Task) -> bool {
        let Some(instance) = &task.instance else { return false };
        self.of_cluster(&task.cluster).any(|one| one.arn == *instance && one.draining)
    }

    fn container_instance_view(&self, one: &Registered, own: &Instance) -> Value {
        // Those that were told to stop ECS counts no more.
        let wanted: Vec<&Task> = self.tasks_on(&one.arn).filter(|task| task.wanted == "RUNNING").collect();
        let running = wanted.iter().filter(|task| task.counts_as_running()).count();
        let attributes: Vec<Value> =
            one.attributes.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let resources = |(cpu, memory): (u64, u64)| {
            let of = |name: &str, value: u64| json!({"name": name, "type": "INTEGER", "integerValue": value});
            json!([of("CPU", cpu), of("MEMORY", memory)])
        };
        let all = self.rules.instances.as_ref().map(|rules| (rules.cpu, rules.memory)).unwrap_or_default();
        json!({
            "containerInstanceArn": one.arn,
            "ec2InstanceId": own.id,
            "status": if one.draining { "DRAINING" } else { "ACTIVE" },
            "agentConnected": !own.ending,
            "runningTasksCount": running,
            "pendingTasksCount": wanted.len() - running,
            "attributes": attributes,
            "registeredResources": resources(all),
            "remainingResources": resources(self.left_on(&one.arn)),
        })
    }

    pub fn list_container_instances(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let size = page_size(input, 100)?;
        let fits = |one: &&Registered| match text(input, "status") {
            Some("ACTIVE") => !one.draining,
            Some("DRAINING") => one.draining,
            None => true,
            Some(_) => false,
        };
        let mut arns: Vec<(String, String)> =
            self.of_cluster(&cluster).filter(fits).map(|one| (one.arn.clone(), one.arn.clone())).collect();
        arns.sort();
        let (arns, next) = page(arns, text(input, "nextToken"), size)?;
        Ok(listing("containerInstanceArns", arns, next))
    }

    pub fn describe_container_instances(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let wanted = texts(input, "containerInstances");
        if wanted.is_empty() || wanted.len() > 100 {
            return Err(AwsError::invalid("Container instances must be between 1 and 100."));
        }
        self.told_of(&cluster, &wanted)
    }

    fn told_of(&self, cluster: &str, arns: &[String]) -> Answer {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in arns {
            let of = |own: &&Registered| own.cluster == cluster && own.arn == *arn;
            let all = self.fleets.instances.values();
            match all.filter_map(|one| Some((one.registered.as_ref().filter(of)?, one))).next() {
                Some((own, one)) => found.push(self.container_instance_view(own, one)),
                None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
            }
        }
        Ok(json!({"containerInstances": found, "failures": failures}))
    }

    pub fn update_container_instances_state(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let draining = match required(input, "status")? {
            "DRAINING" => true,
            "ACTIVE" => false,
            other => return Err(AwsError::invalid(format!("Invalid status: {other}"))),
        };
        let wanted = texts(input, "containerInstances");
        if list(input, "containerInstances").is_empty() || wanted.len() > 10 {
            return Err(AwsError::invalid("Container instances must be between 1 and 10."));
        }
        let all = self.fleets.instances.values_mut().filter_map(|one| one.registered.as_mut());
        for own in all.filter(|own| own.cluster == cluster && wanted.contains(&own.arn)) {
            own.draining = draining;
        }
        self.look_at_cluster(&cluster);
        self.told_of(&cluster, &wanted)
    }
}

//! Task definitions: families and revisions, ACTIVE, INACTIVE and DELETE_IN_PROGRESS.

use serde_json::{Map, Value, json};

use super::clusters::{listing, page_size};
use super::tags_of;
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{boolean, copy, leaf, list, number, page, required, seconds, text, texts};
use crate::world::{Caller, Millis};

#[derive(Debug, Clone)]
pub struct Definition {
    pub arn: String,
    pub family: String,
    pub revision: u64,
    pub status: &'static str,
    registered: Millis,
    deregistered: Option<Millis>,
    registered_by: String,
    /// As it was registered, with what ECS adds.
    pub body: Map<String, Value>,
}

const KEPT: &[&str] = &[
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "cpu",
    "memory",
    "pidMode",
    "ipcMode",
    "proxyConfiguration",
    "inferenceAccelerators",
    "ephemeralStorage",
    "runtimePlatform",
    "requiresCompatibilities",
];

impl Definition {
    pub fn view(&self) -> Value {
        let mut view = self.body.clone();
        view.insert("taskDefinitionArn".to_owned(), self.arn.clone().into());
        view.insert("family".to_owned(), self.family.clone().into());
        view.insert("revision".to_owned(), self.revision.into());
        view.insert("status".to_owned(), self.status.into());
        view.insert("registeredAt".to_owned(), seconds(self.registered));
        view.insert("registeredBy".to_owned(), self.registered_by.clone().into());
        if let Some(at) = self.deregistered {
            view.insert("deregisteredAt".to_owned(), seconds(at));
        }
        Value::Object(view)
    }

    pub fn containers(&self) -> &[Value] {
        self.body.get("containerDefinitions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub fn word(&self, key: &str) -> Option<&str> {
        self.body.get(key).and_then(Value::as_str)
    }
}

impl Space {
    /// What `family`, `family:revision` or an ARN means; a bare family is its newest ACTIVE revision.
    pub fn definition(&self, name: &str) -> Option<&Definition> {
        if name.starts_with("arn:") && !name.starts_with(&self.arn("ecs", "task-definition/")) {
            return None;
        }
        let short = leaf(name);
        match short.rsplit_once(':') {
            Some((family, revision)) => {
                let revision: u64 = revision.parse().ok()?;
                self.ecs.families.get(family)?.iter().find(|definition| definition.revision == revision)
            }
            None => self.ecs.families.get(short)?.iter().rev().find(|definition| definition.status == "ACTIVE"),
        }
    }

    /// The definition for what is about to run.
    pub fn active_definition(&self, name: &str) -> Result<&Definition, AwsError> {
        match self.definition(name) {
            None => Err(AwsError::client("TaskDefinition not found.")),
            Some(definition) if definition.status == "ACTIVE" => Ok(definition),
            Some(_) => Err(AwsError::client("TaskDefinition is inactive")),
        }
    }

    pub fn register_task_definition(&mut self, caller: &Caller, input: &Value) -> Answer {
        let family = required(input, "family")?.to_owned();
        let legal = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if family.len() > 255 || !legal(&family) {
            return Err(AwsError::client("Family contains invalid characters."));
        }
        let containers = list(input, "containerDefinitions");
        if containers.is_empty() {
            return Err(AwsError::client("Container definitions should not be empty."));
        }
        let fargate = texts(input, "requiresCompatibilities").iter().any(|word| word == "FARGATE");
        if fargate && (text(input, "cpu").is_none() || text(input, "memory").is_none()) {
            return Err(AwsError::client("Fargate requires task definition to have cpu and memory at the task level."));
        }
        if fargate && text(input, "networkMode") != Some("awsvpc") {
            return Err(AwsError::client("Fargate only supports network mode ‘awsvpc’."));
        }
        let mut filled = Vec::new();
        for container in containers {
            let Some(name) = text(container, "name") else {
                return Err(AwsError::client("Container.name must not be null or empty."));
            };
            if text(container, "image").is_none() {
                return Err(AwsError::client(format!(
                    "Container.image contains invalid characters or is empty: {name}"
                )));
            }
            let memory = number(container, "memory").or_else(|| number(container, "memoryReservation"));
            if memory.is_none() && text(input, "memory").is_none() {
                let message = "Invalid setting for container '{}'. At least one of 'memory' or 'memoryReservation' must be specified.";
                return Err(AwsError::client(message.replace("{}", name)));
            }
            filled.push(with_defaults(container, text(input, "networkMode")));
        }
        if !containers.iter().any(|container| boolean(container, "essential") != Some(false)) {
            return Err(AwsError::client("At least one essential container must be specified."));
        }
        let revision = self.ecs.families.get(&family).and_then(|all| all.last()).map_or(1, |last| last.revision + 1);
        let mut body = copy(input, KEPT);
        body.insert("containerDefinitions".to_owned(), filled.into());
        body.insert("volumes".to_owned(), input.get("volumes").cloned().unwrap_or(json!([])));
        body.insert("placementConstraints".to_owned(), input.get("placementConstraints").cloned().unwrap_or(json!([])));
        body.insert("requiresAttributes".to_owned(), json!([]));
        body.insert("compatibilities".to_owned(), if fargate { json!(["EC2", "FARGATE"]) } else { json!(["EC2"]) });
        let definition = Definition {
            arn: self.arn("ecs", &format!("task-definition/{family}:{revision}")),
            family: family.clone(),
            revision,
            status: "ACTIVE",
            registered: self.now,
            deregistered: None,
            registered_by: caller.arn.clone(),
            body,
        };
        let arn = definition.arn.clone();
        let view = definition.view();
        self.ecs.families.entry(family).or_default().push(definition);
        self.add_tags(&arn, tags_of(input))?;
        Ok(json!({"taskDefinition": view, "tags": self.ecs_tags(&arn)}))
    }

    pub fn describe_task_definition(&mut self, input: &Value) -> Answer {
        let name = required(input, "taskDefinition")?;
        let definition =
            self.definition(name).ok_or_else(|| AwsError::client("Unable to describe task definition."))?;
        let mut answer = json!({"taskDefinition": definition.view()});
        if texts(input, "include").iter().any(|word| word == "TAGS") {
            answer["tags"] = self.ecs_tags(&definition.arn);
        }
        Ok(answer)
    }

    fn definition_mut(&mut self, name: &str) -> Option<&mut Definition> {
        let (family, revision) = leaf(name).rsplit_once(':')?;
        let revision: u64 = revision.parse().ok()?;
        self.ecs.families.get_mut(family)?.iter_mut().find(|definition| definition.revision == revision)
    }

    pub fn deregister_task_definition(&mut self, input: &Value) -> Answer {
        let name = required(input, "taskDefinition")?.to_owned();
        let now = self.now;
        if !leaf(&name).contains(':') {
            return Err(AwsError::client(format!("Invalid revision number. Number: {name}")));
        }
        let definition =
            self.definition_mut(&name).ok_or_else(|| AwsError::client("Unable to describe task definition."))?;
        if definition.status == "ACTIVE" {
            definition.status = "INACTIVE";
            definition.deregistered = Some(now);
        }
        Ok(json!({"taskDefinition": definition.view()}))
    }

    pub fn delete_task_definitions(&mut self, input: &Value) -> Answer {
        let names = texts(input, "taskDefinitions");
        if names.is_empty() || names.len() > 10 {
            return Err(AwsError::invalid("The number of task definitions must be between 1 and 10."));
        }
        let (mut deleted, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            let arn = self.definition(&name).map(|definition| definition.arn.clone());
            let used = arn.as_ref().is_some_and(|arn| {
                self.ecs.tasks.values().any(|task| task.is_live() && task.definition == *arn)
                    || self.ecs.services.values().any(|service| service.exists() && service.uses(arn))
            });
            match self.definition_mut(&name) {
                Some(definition) if definition.status == "ACTIVE" => failures.push(json!({
                    "arn": definition.arn, "reason": "The specified task definition is still in ACTIVE status. Please deregister the target and try again.",
                })),
                Some(definition) => {
                    definition.status = "DELETE_IN_PROGRESS";
                    deleted.push(definition.view());
                    let (family, revision) = (definition.family.clone(), definition.revision);
                    if !used && let Some(all) = self.ecs.families.get_mut(&family) {
                        // The number stays taken: the newest is kept as a mark until something newer is registered.
                        let newest = all.last().map(|last| last.revision);
                        all.retain(|other| other.revision != revision || newest == Some(revision));
                    }
                }
                None => failures.push(json!({"arn": name, "reason": "MISSING"})),
            }
        }
        Ok(json!({"taskDefinitions": deleted, "failures": failures}))
    }

    pub fn list_task_definitions(&mut self, input: &Value) -> Answer {
        let size = page_size(input, 100)?;
        let status = text(input, "status").unwrap_or("ACTIVE");
        let descending = text(input, "sort") == Some("DESC");
        let mut arns: Vec<(String, String)> = Vec::new();
        let families = self
            .ecs
            .families
            .iter()
            .filter(|(family, _)| text(input, "familyPrefix").is_none_or(|prefix| prefix == family.as_str()));
        for (place, (_, all)) in families.enumerate() {
            for definition in all.iter().filter(|definition| definition.status == status) {
                // Revisions by number and not by text, and either way round in one ascending key.
                let (major, minor) = if descending {
                    (u64::MAX - place as u64, u64::MAX - definition.revision)
                } else {
                    (place as u64, definition.revision)
                };
                arns.push((format!("{major:020}/{minor:020}"), definition.arn.clone()));
            }
        }
        arns.sort();
        let (arns, next) = page(arns, text(input, "nextToken"), size)?;
        Ok(listing("taskDefinitionArns", arns, next))
    }

    pub fn list_task_definition_families(&mut self, input: &Value) -> Answer {
        let size = page_size(input, 100)?;
        let status = text(input, "status").unwrap_or("ALL");
        let prefix = text(input, "familyPrefix").unwrap_or_default();
        let families = self.ecs.families.iter().filter(|(family, all)| {
            let active = all.iter().any(|definition| definition.status == "ACTIVE");
            family.starts_with(prefix) && (status == "ALL" || (status == "ACTIVE") == active)
        });
        let families = families.map(|(family, _)| (family.clone(), family.clone())).collect();
        let (families, next) = page(families, text(input, "nextToken"), size)?;
        Ok(listing("families", families, next))
    }
}

/// What ECS adds to a container when it registers it.
fn with_defaults(container: &Value, network: Option<&str>) -> Value {
    let mut filled = container.clone();
    if let Value::Object(map) = &mut filled {
        map.entry("cpu").or_insert(json!(0));
        map.entry("essential").or_insert(json!(true));
        for key in ["environment", "mountPoints", "volumesFrom", "portMappings", "systemControls"] {
            map.entry(key).or_insert(json!([]));
        }
        for mapping in map.get_mut("portMappings").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::Object(mapping) = mapping {
                mapping.entry("protocol").or_insert(json!("tcp"));
                // Dynamic on a bridge; else the task has the port itself.
                let own = matches!(network, Some("awsvpc" | "host"));
                let port = mapping.get("containerPort").filter(|_| own).cloned().unwrap_or(json!(0));
                mapping.entry("hostPort").or_insert(port);
            }
        }
    }
    filled
}

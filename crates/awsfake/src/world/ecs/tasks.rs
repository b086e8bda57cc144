//! The calls on tasks.

use serde_json::{Value, json};

use super::clusters::{listing, page_size};
use super::lifecycle::NewTask;
use super::tags_of;
use super::task::Task;
use crate::world::error::{Answer, AwsError};
use crate::world::fleets::NONE_REGISTERED;
use crate::world::space::Space;
use crate::world::value::{leaf, list, number, page, required, text, texts};

impl Space {
    pub fn run_task(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let definition = self.active_definition(required(input, "taskDefinition")?)?.clone();
        let count = number(input, "count").unwrap_or(1);
        if !(1..=10).contains(&count) {
            return Err(AwsError::invalid("The count must be between 1 and 10."));
        }
        let awsvpc = definition.word("networkMode") == Some("awsvpc");
        if awsvpc && list(&input["networkConfiguration"]["awsvpcConfiguration"], "subnets").is_empty() {
            let message = "Network Configuration must be provided when networkMode 'awsvpc' is specified.";
            return Err(AwsError::invalid(message));
        }
        for entry in list(&input["overrides"], "containerOverrides") {
            let name = text(entry, "name").unwrap_or_default();
            if !definition.containers().iter().any(|own| text(own, "name") == Some(name)) {
                let message = format!("Override for container named {name} is not a container in the TaskDefinition.");
                return Err(AwsError::invalid(message));
            }
        }
        let token = text(input, "clientToken").map(|token| (cluster.clone(), token.to_owned()));
        if let Some((request, ids)) = token.as_ref().and_then(|token| self.ecs.tokens.get(token)) {
            if request != input {
                let message = "The ClientToken was already used with other parameters.";
                return Err(AwsError::new("ConflictException", message));
            }
            let tasks: Vec<Value> =
                ids.iter().filter_map(|id| self.ecs.tasks.get(id)).map(|task| self.task_view(task, true)).collect();
            return Ok(json!({"tasks": tasks, "failures": []}));
        }
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let family = definition.family.clone();
            let started = self.start_task(NewTask {
                cluster: cluster.clone(),
                service: None,
                deployment: None,
                group: text(input, "group").map_or_else(|| format!("family:{family}"), str::to_owned),
                started_by: text(input, "startedBy").map(str::to_owned),
                definition: definition.arn.clone(),
                launch_type: text(input, "launchType").unwrap_or(if awsvpc { "FARGATE" } else { "EC2" }).to_owned(),
                overrides: input.get("overrides").cloned().unwrap_or_default(),
                network: input["networkConfiguration"]["awsvpcConfiguration"].clone(),
                targets: Vec::new(),
                constraints: list(input, "placementConstraints").to_vec(),
                tags: tags_of(input),
            });
            match started {
                Ok(id) => tasks.push(id),
                Err(why) if why == NONE_REGISTERED => return Err(AwsError::invalid(why)),
                Err(why) => failures.push(json!({"arn": cluster, "reason": why})),
            }
        }
        if let Some(token) = token {
            self.ecs.tokens.insert(token, (input.clone(), tasks.clone()));
        }
        let tasks: Vec<Value> =
            tasks.iter().filter_map(|id| self.ecs.tasks.get(id)).map(|task| self.task_view(task, true)).collect();
        Ok(json!({"tasks": tasks, "failures": failures}))
    }

    pub fn stop_task_call(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let id = self.task(&cluster, required(input, "task")?)?.id.clone();
        let reason = text(input, "reason").unwrap_or("Task stopped by user").to_owned();
        self.end_task(&id, "UserInitiated", &reason);
        let task = self.task(&cluster, &id)?;
        Ok(json!({"task": self.task_view(task, false)}))
    }

    pub fn list_tasks(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let size = page_size(input, 100)?;
        let service = match text(input, "serviceName") {
            None => None,
            Some(name) => {
                let arn = self.service_arn(&cluster, name);
                if !self.ecs.services.contains_key(&arn) {
                    return Err(AwsError::new("ServiceNotFoundException", "Service not found."));
                }
                Some(arn)
            }
        };
        let wanted = text(input, "desiredStatus").unwrap_or("RUNNING");
        let fits = |task: &&Task| {
            task.cluster == cluster
                && task.wanted == wanted
                && service.as_ref().is_none_or(|arn| task.service.as_ref() == Some(arn))
                && text(input, "family").is_none_or(|family| leaf(&task.definition).starts_with(&format!("{family}:")))
                && text(input, "startedBy").is_none_or(|by| task.started_by.as_deref() == Some(by))
                && text(input, "launchType").is_none_or(|kind| task.launch_type == kind)
        };
        let arns = self.ecs.tasks.values().filter(fits).map(|task| (task.id.clone(), task.arn.clone())).collect();
        let (arns, next) = page(arns, text(input, "nextToken"), size)?;
        Ok(listing("taskArns", arns, next))
    }

    pub fn describe_tasks(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let names = texts(input, "tasks");
        if names.is_empty() || names.len() > 100 {
            let message =
                if names.is_empty() { "Tasks cannot be empty." } else { "Tasks cannot have more than 100 elements." };
            return Err(AwsError::invalid(message));
        }
        let tags = texts(input, "include").iter().any(|word| word == "TAGS");
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            match self.task(&cluster, &name) {
                Ok(task) => tasks.push(self.task_view(task, tags)),
                Err(_) => {
                    let arn = self.arn("ecs", &format!("task/{}/{}", leaf(&cluster), leaf(&name)));
                    failures.push(json!({"arn": arn, "reason": "MISSING"}));
                }
            }
        }
        Ok(json!({"tasks": tasks, "failures": failures}))
    }
}

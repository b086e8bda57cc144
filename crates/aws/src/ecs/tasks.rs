//! One-off tasks, and what is known of any task.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_sdk_ecs::types as ecs;
use landfall_model::Timestamp;
use landfall_ports::orchestrator::{ContainerDescription, DeploymentDescription, RunTaskRequest, TaskDescription};
use landfall_ports::{PortError, PortResult};
use sha2::{Digest as _, Sha256};

use super::register::{Revision, same_revision};
use super::rollout::time;
use super::{Ecs, change};
use crate::budget::Family;
use crate::call::Call;
use crate::tags;

/// DescribeTasks takes 100.
pub(crate) const DESCRIBE_TASKS: usize = 100;

impl Ecs {
    /// AWS keeps a client token for a while only, and endpoints that are not AWS may not know it: so a task that carries the
    /// token is looked for first.
    pub(crate) async fn run(&self, request: &RunTaskRequest) -> PortResult<String> {
        let tags = self.core.tags(&request.tags);
        tags::check(&tags)?;
        let revision = self.definition(&request.task_definition).await?.ok_or_else(|| {
            PortError::NotFound(format!("task definition {} is not registered", request.task_definition))
        })?;
        let started_by = started_by(&self.core.options.instance, &request.token);
        if let Some(task) = self.started(&started_by, &revision).await? {
            return Ok(task);
        }
        let what = format!("task of {}", request.task_definition);
        let awsvpc = revision.definition.network_mode == Some(ecs::NetworkMode::Awsvpc);
        let overrides = overrides(request, &revision.definition)?;
        let network = self.network_of_task(request, awsvpc, &what).await?;
        let fargate = revision.definition.requires_compatibilities().contains(&ecs::Compatibility::Fargate);
        let send = (self.core.clients.ecs.run_task())
            .cluster(&self.core.target.cluster)
            .task_definition(&revision.arn)
            .launch_type(if fargate { ecs::LaunchType::Fargate } else { ecs::LaunchType::Ec2 })
            .count(1)
            .client_token(&started_by)
            .started_by(&started_by)
            .overrides(overrides)
            .enable_ecs_managed_tags(true)
            .set_network_configuration(network)
            .set_tags(Some(super::to_tags(&tags)));
        let call = Call::ecs("RunTask", Family::ClusterResourceModify, &what);
        let answer = self.ecs(call, || send.clone().send()).await?;
        if let Some(arn) = answer.tasks().first().and_then(|task| task.task_arn.as_deref()) {
            return Ok(task_id(arn).to_owned());
        }
        Err(not_run(&call, answer.failures()))
    }

    /// The place's; where it names no subnets the service's: that of a stack is the stack's own.
    async fn network_of_task(
        &self,
        request: &RunTaskRequest,
        awsvpc: bool,
        what: &str,
    ) -> PortResult<Option<ecs::NetworkConfiguration>> {
        if let Some(service) = request.service.as_ref().filter(|_| awsvpc && self.core.target.subnets.is_empty())
            && let Some(network) = self.service(service).await?.and_then(|found| found.network_configuration.clone())
        {
            return Ok(Some(network));
        }
        change::network(&self.core.target, awsvpc, what)
    }

    /// Running, or stopped within the hour for which ECS remembers.
    async fn started(&self, started_by: &str, revision: &Revision) -> PortResult<Option<String>> {
        let (cluster, family) = (&self.core.target.cluster, revision.definition.family.clone().unwrap_or_default());
        let by = self.core.clients.ecs.list_tasks().cluster(cluster).started_by(started_by);
        if let Some(arn) = self.list_tasks(by, "tasks by their starter").await?.first() {
            return Ok(Some(task_id(arn).to_owned()));
        }
        // `startedBy` cannot be combined with other filters.
        let request = self.core.clients.ecs.list_tasks().cluster(cluster).family(&family);
        let stopped = request.desired_status(ecs::DesiredStatus::Stopped);
        let stopped = self.list_tasks(stopped, &format!("stopped tasks of {family}")).await?;
        for task in self.tasks(stopped).await? {
            if task.started_by.as_deref() == Some(started_by) {
                return Ok(task.task_arn.as_deref().map(|arn| task_id(arn).to_owned()));
            }
        }
        Ok(None)
    }

    /// ARNs, of all pages.
    pub(crate) async fn list_tasks(
        &self,
        request: aws_sdk_ecs::operation::list_tasks::builders::ListTasksFluentBuilder,
        resource: &str,
    ) -> PortResult<Vec<String>> {
        let call = Call::ecs("ListTasks", Family::ClusterResourceRead, resource);
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = request.clone().max_results(100).set_next_token(next);
            let answer = self.ecs(call, || page.clone().send()).await?;
            all.extend(answer.task_arns.unwrap_or_default());
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// Those that exist, in no order.
    pub(crate) async fn tasks(&self, arns: Vec<String>) -> PortResult<Vec<Arc<ecs::Task>>> {
        let mut all = Vec::new();
        for chunk in arns.chunks(DESCRIBE_TASKS) {
            all.extend(self.describe_tasks(chunk.to_vec()).await?.into_values().flatten());
        }
        Ok(all)
    }

    pub(crate) async fn task(&self, task: &str) -> PortResult<Option<Arc<ecs::Task>>> {
        let this = self.clone();
        let fetch = move |keys| {
            let this = this.clone();
            async move { this.describe_tasks(keys).await }
        };
        self.batches.tasks.get(task_id(task).to_owned(), fetch).await
    }

    /// Answers every id, by the id that was asked for.
    async fn describe_tasks(&self, ids: Vec<String>) -> PortResult<HashMap<String, Option<Arc<ecs::Task>>>> {
        let resource = format!("tasks {}", super::some_of(&ids));
        let call = Call::ecs("DescribeTasks", Family::ClusterResourceRead, &resource);
        let request = (self.core.clients.ecs.describe_tasks())
            .cluster(&self.core.target.cluster)
            .set_tasks(Some(ids.clone()))
            .include(ecs::TaskField::Tags);
        let answer = self.ecs(call, || request.clone().send()).await?;
        super::only_missing(&call, answer.failures())?;
        let found: HashMap<String, Arc<ecs::Task>> = (answer.tasks.unwrap_or_default().into_iter())
            .filter_map(|task| Some((task_id(task.task_arn.as_deref()?).to_owned(), Arc::new(task))))
            .collect();
        Ok(ids.into_iter().map(|id| (id.clone(), found.get(task_id(&id)).cloned())).collect())
    }

    /// A task that is gone, or has stopped, is fine.
    pub(crate) async fn stop(&self, task: &str, reason: &str) -> PortResult<()> {
        let resource = format!("task {task}");
        let call = Call::ecs("StopTask", Family::ClusterResourceModify, &resource);
        let request =
            self.core.clients.ecs.stop_task().cluster(&self.core.target.cluster).task(task_id(task)).reason(reason);
        match self.core.caller.call(call, || request.clone().send()).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.is("InvalidParameterException") || failed.is("ClientException") => {
                // "The referenced task was not found.", in words that differ: look.
                match self.task(task).await? {
                    Some(there) if there.last_status.as_deref() != Some("STOPPED") => Err(failed.into()),
                    _ => Ok(()),
                }
            }
            Err(failed) => Err(self.explained(failed)),
        }
    }
}

/// Legal as a client token (at most 64 characters) and as `startedBy` (letters, digits, `-_/`).
fn started_by(instance: &str, token: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [instance, token] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut digest = hex::encode(hasher.finalize());
    // Accounts of before 2021 allow 36 characters.
    digest.truncate(27);
    format!("landfall-{digest}")
}

/// The one named, else the first essential one. ECS takes a container for essential unless it is told otherwise.
pub(crate) fn container_to_run<'a>(
    definition: &'a ecs::TaskDefinition,
    name: Option<&str>,
) -> Option<&'a ecs::ContainerDefinition> {
    definition.container_definitions().iter().find(|container| match name {
        Some(name) => container.name.as_deref() == Some(name),
        None => container.essential != Some(false),
    })
}

fn overrides(request: &RunTaskRequest, definition: &ecs::TaskDefinition) -> PortResult<ecs::TaskOverride> {
    let wanted = container_to_run(definition, request.container.as_deref());
    let Some(name) = wanted.and_then(|container| container.name.clone()) else {
        return Err(PortError::Invalid(format!(
            "task definition {} has no container {}",
            request.task_definition,
            request.container.as_deref().unwrap_or("that is essential")
        )));
    };
    if request.command.is_empty() && request.environment.is_empty() {
        return Ok(ecs::TaskOverride::builder().build());
    }
    let pair = |(name, value): (&String, &String)| ecs::KeyValuePair::builder().name(name).value(value).build();
    let environment: Vec<ecs::KeyValuePair> = request.environment.iter().map(pair).collect();
    let container = ecs::ContainerOverride::builder()
        .name(name)
        .set_command(Some(request.command.clone()).filter(|command| !command.is_empty()))
        .set_environment(Some(environment).filter(|environment| !environment.is_empty()));
    Ok(ecs::TaskOverride::builder().container_overrides(container.build()).build())
}

/// `RESOURCE:MEMORY`, `RESOURCE:ENI`, `AGENT`, `LOCATION`: nowhere to run it now. Others never pass by themselves.
pub(super) fn failures_said(failures: &[ecs::Failure]) -> Vec<String> {
    let text = |failure: &ecs::Failure| {
        let detail = failure.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("{}{detail}", failure.reason.as_deref().unwrap_or("no reason given"))
    };
    failures.iter().map(text).collect()
}

fn not_run(call: &Call<'_>, failures: &[ecs::Failure]) -> PortError {
    let reasons = failures_said(failures);
    let passes = |reason: &str| {
        ["RESOURCE:", "AGENT", "EMPTY CAPACITY PROVIDER", "Capacity is unavailable"]
            .iter()
            .any(|known| reason.starts_with(known))
    };
    let message = match reasons.is_empty() {
        true => format!("{}: the answer names no task", call.what()),
        false => format!("{}: no place to run it: {}", call.what(), reasons.join(", ")),
    };
    if reasons.iter().all(|reason| passes(reason)) {
        PortError::Unavailable(message)
    } else {
        PortError::Invalid(message)
    }
}

/// The last part of an ARN, which ECS takes as well.
pub(crate) fn task_id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// Of what did not happen yet there is none.
pub(super) fn moment(at: Option<&aws_smithy_types::DateTime>) -> Option<Timestamp> {
    at.map(|at| time(Some(at)))
}

/// `tails`: the last lines of containers, by name.
pub(crate) fn describe(task: &ecs::Task, tails: &BTreeMap<String, Vec<String>>) -> TaskDescription {
    let container = |container: &ecs::Container| {
        let name = container.name.clone().unwrap_or_default();
        ContainerDescription {
            tail: tails.get(&name).cloned().unwrap_or_default(),
            name,
            last_status: container.last_status.clone().unwrap_or_default(),
            exit_code: container.exit_code.map(i64::from),
            reason: container.reason.clone().filter(|reason| !reason.is_empty()),
        }
    };
    TaskDescription {
        id: task.task_arn.as_deref().map(|arn| task_id(arn).to_owned()).unwrap_or_default(),
        last_status: task.last_status.clone().unwrap_or_default(),
        health: task.health_status.as_ref().map_or("UNKNOWN", ecs::HealthStatus::as_str).to_owned(),
        stopped_reason: task.stopped_reason.clone().filter(|reason| !reason.is_empty()),
        stop_code: task.stop_code.as_ref().map(|code| code.as_str().to_owned()),
        containers: task.containers().iter().map(container).collect(),
        started_at: moment(task.started_at.as_ref()),
        stopped_at: moment(task.stopped_at.as_ref()),
    }
}

/// Service tasks are started by their deployment; where that is not said, the task definition and the time must do.
pub(crate) fn belongs(task: &ecs::Task, deployment: &DeploymentDescription) -> bool {
    match task.started_by.as_deref() {
        Some(by) if by.starts_with("ecs-svc/") => by == deployment.id,
        _ => {
            let definition = task.task_definition_arn.as_deref().unwrap_or_default();
            same_revision(definition, &deployment.task_definition)
                && time(task.created_at.as_ref()) >= deployment.created_at
        }
    }
}

/// Whether a stopped task failed, rather than being asked to go.
pub(crate) fn failed(task: &ecs::Task) -> bool {
    let reason = task.stopped_reason.as_deref().unwrap_or_default();
    match &task.stop_code {
        Some(ecs::TaskStopCode::UserInitiated) => false,
        // "Scaling activity initiated by (deployment …)" is a task that was no longer needed; "Task failed ELB health
        // checks in …" is not.
        Some(ecs::TaskStopCode::ServiceSchedulerInitiated) => !reason.starts_with("Scaling activity"),
        _ => true,
    }
}

//! service.deploy, service.stop, service.delete.

use landfall_model::inventory::TAG_EXECUTION;
use landfall_model::step::{DeployService, StopService};
use landfall_ports::PortError;
use landfall_ports::orchestrator::{
    DeploymentDescription, PutService, RolloutState, ServiceDescription, TargetBinding, TaskDescription,
};
use landfall_ports::steps::{Progress, StepContext};
use landfall_workflow::event::StepError;
use serde_json::{Value, json};

use crate::error::{deleting, fatal, port, with_detail};
use crate::routing::value;
use crate::{SOON_MS, StepResult, Steps, codes, done, pending};

impl Steps {
    /// Natural: the same request again starts no new deployment.
    pub(crate) async fn start_deploy(&self, params: &DeployService) -> StepResult {
        let put = self.platform.orchestrator.put_service(&request(params)?).await.map_err(port)?;
        let token = json!({
            "deployment": put.deployment,
            "service": params.name,
            "created": put.created,
            "previous_task_definition": put.previous_task_definition,
            "previous_desired_count": put.previous_desired_count,
        });
        Ok(Progress::Pending { token, poll_after_ms: SOON_MS, note: Some("deployment begun".to_owned()) })
    }

    pub(crate) async fn poll_deploy(&self, params: &DeployService, token: &Value) -> StepResult {
        let Some(service) = self.platform.orchestrator.describe_service(&params.name).await.map_err(port)? else {
            // Somebody took it away meanwhile: it is made again.
            return self.start_deploy(params).await;
        };
        let id = token["deployment"].as_str().unwrap_or_default();
        let Some(deployment) = service.deployments.iter().find(|d| d.id == id) else {
            let message = format!("another deployment of service {} took over", params.name);
            return Err(fatal(codes::SERVICE_REPLACED, message));
        };
        match deployment.rollout {
            RolloutState::Completed => Ok(Progress::Done(token.clone())),
            RolloutState::InProgress => {
                let failed = match deployment.failed_tasks {
                    0 => String::new(),
                    n => format!(
                        ", {n} failed{}",
                        deployment.failures.first().map_or_else(String::new, |t| format!(" ({})", reason(t)))
                    ),
                };
                let note = format!("{} of {} tasks running{failed}", deployment.running, deployment.desired);
                Ok(Progress::Pending { token: token.clone(), poll_after_ms: SOON_MS, note: Some(note) })
            }
            RolloutState::Failed => Err(deployment_error(codes::SERVICE_FAILED, "failed", &service, deployment)),
            RolloutState::RolledBack => {
                Err(deployment_error(codes::SERVICE_ROLLED_BACK, "failed and was rolled back", &service, deployment))
            }
        }
    }

    /// What this execution made goes; what was there before runs again as it did.
    pub(crate) async fn undo_deploy(
        &self,
        cx: &StepContext,
        params: &DeployService,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> StepResult {
        let orchestrator = &self.platform.orchestrator;
        let Some(service) = orchestrator.describe_service(&params.name).await.map_err(port)? else { return Ok(done()) };
        if service.tags.get(TAG_EXECUTION).map(String::as_str) == Some(cx.execution.as_str()) {
            return self.delete_service(&params.name).await;
        }
        let recorded = |v: &Value| v.get("previous_task_definition").and_then(Value::as_str).map(str::to_owned);
        let ours = value(&params.task_definition)?;
        // Without a record: what the deployment before ours ran, unless the platform has gone back to it already.
        let before = || {
            service.deployments.get(1).filter(|_| service.task_definition == ours).map(|d| d.task_definition.clone())
        };
        let Some(previous) = output.and_then(recorded).or_else(|| token.and_then(recorded)).or_else(before) else {
            return Ok(done());
        };
        let count = [output, token]
            .into_iter()
            .flatten()
            .find_map(|v| v.get("previous_desired_count").and_then(Value::as_u64))
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(service.desired);
        let put = PutService { task_definition: previous, desired_count: count, ..request(params)? };
        let back = orchestrator.put_service(&put).await.map_err(port)?;
        let now = orchestrator.describe_service(&params.name).await.map_err(port)?;
        let rollout = now.and_then(|s| s.deployments.into_iter().find(|d| d.id == back.deployment)).map(|d| d.rollout);
        Ok(match rollout {
            Some(RolloutState::InProgress) => pending_with(token, "going back to what ran before"),
            _ => done(),
        })
    }

    pub(crate) async fn stop_service(&self, params: &StopService) -> StepResult {
        match self.platform.orchestrator.scale_service(&params.name, 0).await {
            Err(PortError::NotFound(_)) => Ok(done()),
            Err(error) => Err(port(error)),
            Ok(()) => self.poll_stopped(params).await,
        }
    }

    pub(crate) async fn poll_stopped(&self, params: &StopService) -> StepResult {
        match self.platform.orchestrator.describe_service(&params.name).await.map_err(port)? {
            Some(service) if service.running + service.pending > 0 => {
                Ok(pending(SOON_MS, format!("{} tasks still running", service.running + service.pending)))
            }
            _ => Ok(done()),
        }
    }

    pub(crate) async fn delete_service(&self, name: &str) -> StepResult {
        deleting(self.platform.orchestrator.delete_service(name).await)?;
        self.poll_deleted(name).await
    }

    pub(crate) async fn poll_deleted(&self, name: &str) -> StepResult {
        match self.platform.orchestrator.describe_service(name).await.map_err(port)? {
            None => Ok(done()),
            Some(service) => Ok(pending(SOON_MS, format!("draining, {} tasks running", service.running))),
        }
    }
}

/// Keeps the first token: it knows what ran before.
fn pending_with(token: Option<&Value>, note: &str) -> Progress {
    Progress::Pending {
        token: token.cloned().unwrap_or(Value::Null),
        poll_after_ms: SOON_MS,
        note: Some(note.to_owned()),
    }
}

fn request(params: &DeployService) -> Result<PutService, StepError> {
    let target = match &params.target {
        None => None,
        Some(target) => Some(TargetBinding {
            target_group: value(&target.target_group)?.to_owned(),
            container: target.container.clone(),
            port: target.port,
        }),
    };
    Ok(PutService {
        name: params.name.clone(),
        task_definition: value(&params.task_definition)?.to_owned(),
        desired_count: params.desired_count,
        deployment: params.deployment.clone(),
        target,
        tags: params.tags.clone(),
    })
}

/// Says why: the newest failed task in ECS's words, its containers' exit codes and last lines, else the newest event.
fn deployment_error(
    code: &str,
    what: &str,
    service: &ServiceDescription,
    deployment: &DeploymentDescription,
) -> StepError {
    let task = deployment.failures.first();
    let cause = task
        .map(reason)
        .or_else(|| deployment.reason.clone())
        .or_else(|| service.events.first().map(|event| event.message.clone()))
        .unwrap_or_else(|| "no reason was given".to_owned());
    let mut lines: Vec<String> = deployment.reason.iter().cloned().collect();
    for container in task.iter().flat_map(|t| &t.containers) {
        if let Some(code) = container.exit_code {
            lines.push(format!("{}: exit code {code}", container.name));
        }
        lines.extend(container.reason.iter().map(|r| format!("{}: {r}", container.name)));
        lines.extend(container.tail.iter().map(|line| format!("{} | {line}", container.name)));
    }
    with_detail(fatal(code, format!("deployment of service {} {what}: {cause}", service.name)), &lines)
}

pub(crate) fn reason(task: &TaskDescription) -> String {
    let reason = task.stopped_reason.clone().unwrap_or_else(|| "task stopped".to_owned());
    let culprit = task.containers.iter().find(|c| c.reason.is_some() || c.exit_code.is_some_and(|code| code != 0));
    match culprit {
        Some(container) => {
            let code = container.exit_code.map_or_else(String::new, |code| format!(", exit code {code}"));
            let why = container.reason.as_ref().map_or_else(String::new, |r| format!(": {r}"));
            format!("{reason} ({}{code}{why})", container.name)
        }
        None => reason,
    }
}

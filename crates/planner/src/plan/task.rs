//! A one-off task of a service before it is deployed: its images and its definition, and then the task.

use std::collections::BTreeMap;

use landfall_model::inventory::TAG_SERVICE;
use landfall_model::pipeline::TaskWork;
use landfall_model::step::{Input, RegisterTaskDefinition, RunTask, StepParams};
use landfall_workflow::{FailurePolicy, Plan};

use super::PlanError;
use super::step::Builder;

/// The plan's kind: no release, and nothing that a rollback goes back to.
const KIND: &str = "environment.task";

/// Makes of a deployment's plan one that runs the task and deploys nothing. What it registers stays: the deployment finds it.
/// `service`: what the task's is called on the platform.
///
/// # Errors
/// The service is not in the plan.
pub fn only_task(plan: &mut Plan, task: &TaskWork, service: String) -> Result<(), PlanError> {
    let id = format!("task_definition.{}", task.service);
    let definition = plan.steps.iter().find(|step| step.id.as_str() == id);
    let registers = definition.and_then(|step| serde_json::from_value::<StepParams>(step.params.clone()).ok());
    let Some(StepParams::RegisterTaskDefinition(RegisterTaskDefinition { mut tags, .. })) = registers else {
        return Err(PlanError::Unplannable(format!(
            "service {} has no task definition to run a task of",
            task.service
        )));
    };
    // With it the task would be the service's, and no undo of this plan would stop it.
    tags.remove(TAG_SERVICE);
    let needs: Vec<_> = definition.map(|step| step.needs.clone()).unwrap_or_default();
    plan.steps.retain(|step| step.id.as_str() == id || needs.contains(&step.id));
    let mut builder = Builder::new(FailurePolicy::Unwind);
    let params = RunTask {
        task_definition: Input::output(&id, "task_definition"),
        container: task.container.clone(),
        command: task.command.clone(),
        environment: BTreeMap::new(),
        timeout: task.timeout,
        service: Some(service),
        tags,
    };
    let title = format!("Run task of {}: {}", task.service, task.command.join(" "));
    builder.add("task", title.clone(), &[id.as_str().into()], StepParams::RunTask(params));
    // Who runs it ends it at its own time; the step's is only there for one who does not.
    builder.timeout_s(task.timeout.saturating_mul(2).saturating_add(60));
    plan.steps.append(&mut builder.steps);
    plan.steps.iter_mut().filter(|step| step.id.as_str() == id).for_each(|step| step.undo = false);
    KIND.clone_into(&mut plan.kind);
    plan.title = title;
    plan.fallback.clear();
    Ok(())
}

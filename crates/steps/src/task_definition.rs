//! task_definition.register.

use landfall_model::inventory::{ResourceKind, TAG_SERVICE};
use landfall_model::step::{ContainerInput, RegisterTaskDefinition};
use landfall_model::task::{ContainerDefinition, TaskDefinition};
use landfall_ports::steps::{Progress, StepContext};
use landfall_workflow::event::StepError;
use serde_json::json;

use crate::error::{deleting, fatal, port};
use crate::{StepResult, Steps, codes, done};

impl Steps {
    /// Natural: an identical revision is found by its content.
    pub(crate) async fn register_task_definition(&self, params: &RegisterTaskDefinition) -> StepResult {
        let containers = params.containers.iter().map(container).collect::<Result<_, _>>()?;
        let definition = TaskDefinition {
            family: params.family.clone(),
            base: params.base.clone(),
            launch_type: params.launch_type,
            cpu: params.cpu,
            memory: params.memory,
            containers,
            document: params.document.clone(),
        };
        let registered =
            self.platform.orchestrator.register_task_definition(&definition, &params.tags).await.map_err(port)?;
        Ok(Progress::Done(json!({"task_definition": registered.handle, "created": registered.created})))
    }

    /// Only of this step's service: another's may still run from its own.
    pub(crate) async fn undo_register(&self, cx: &StepContext, params: &RegisterTaskDefinition) -> StepResult {
        let orchestrator = &self.platform.orchestrator;
        let listing = orchestrator.list_owned(Some(cx.environment.as_str()), &[ResourceKind::TaskDefinition]).await;
        let made = self.made_by(cx, listing, ResourceKind::TaskDefinition)?;
        for definition in made.iter().filter(|made| made.tags.get(TAG_SERVICE) == params.tags.get(TAG_SERVICE)) {
            deleting(orchestrator.deregister_task_definition(&definition.id).await)?;
        }
        Ok(done())
    }
}

fn container(input: &ContainerInput) -> Result<ContainerDefinition, StepError> {
    let image = input
        .image
        .value()
        .ok_or_else(|| fatal(codes::PARAMETERS, format!("the image of container {} is not known", input.name)))?;
    Ok(ContainerDefinition { name: input.name.clone(), image: image.to_owned(), settings: input.settings.clone() })
}

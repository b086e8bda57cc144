//! task_definition.register.

use landfall_model::inventory::{ResourceKind, TAG_SERVICE};
use landfall_model::step::RegisterTaskDefinition;
use landfall_ports::steps::{Progress, StepContext};
use serde_json::json;

use crate::error::{deleting, fatal, port};
use crate::{StepResult, Steps, codes, done};

impl Steps {
    /// Natural: an identical revision is found by its content.
    pub(crate) async fn register_task_definition(&self, params: &RegisterTaskDefinition) -> StepResult {
        let definition = params.definition().map_err(|missing| fatal(codes::PARAMETERS, missing))?;
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

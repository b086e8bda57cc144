//! The undo of service.deploy where the plan says that nothing is known to go back to: deployments before it were cut short, and
//! none before them was whole. What the step found is restored, since that is better than what failed; but it is what the others
//! left half done, and so this is no undo that may call itself one.

use landfall_model::inventory::TAG_EXECUTION;
use landfall_model::step::DeployService;
use landfall_ports::steps::{Progress, StepContext};
use landfall_workflow::FALLBACK;
use serde_json::Value;

use crate::error::fatal;
use crate::{StepResult, Steps, codes, done};

impl Steps {
    pub(crate) async fn undo_as_far_as_known(
        &self,
        cx: &StepContext,
        params: &DeployService,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> StepResult {
        if !token.is_some_and(|token| token.get(FALLBACK).is_some_and(Value::is_null)) {
            return self.undo_deploy(cx, params, output, token).await;
        }
        let Some(service) = self.to_undo(cx, params, output, token).await? else { return Ok(done()) };
        let made = service.tags.get(TAG_EXECUTION).map(String::as_str) == Some(cx.execution.as_str());
        // A step that was never begun has written nothing down, and changed nothing.
        let begun = output.is_some() || token.and_then(Value::as_object).is_some_and(|token| token.len() > 1);
        if made || begun {
            let progress = self.undo_deploy(cx, params, output, token).await?;
            if made || matches!(progress, Progress::Pending { .. }) {
                return Ok(progress);
            }
        }
        let message = format!(
            "service {} is as this deployment found it: left half done by others that were cut short, and what ran before them, if \
             anything did, is not known",
            params.name
        );
        Err(fatal(codes::SERVICE_NO_WAY_BACK, message))
    }
}

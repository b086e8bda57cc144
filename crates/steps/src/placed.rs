//! Which platform a step runs on: the environment's own.

use std::collections::BTreeMap;

use async_trait::async_trait;
use landfall_model::ids::EnvironmentId;
use landfall_ports::Platform;
use landfall_ports::steps::{Progress, StepContext, StepExecutor};
use landfall_workflow::event::StepError;
use serde_json::Value;

use crate::error::fatal;
use crate::{StepResult, Steps, codes};

/// Previews run on one platform, each lasting environment on its own.
#[derive(Clone)]
pub struct PlacedSteps {
    previews: Steps,
    lasting: BTreeMap<EnvironmentId, Steps>,
}

impl PlacedSteps {
    pub fn new(previews: Platform, lasting: impl IntoIterator<Item = (EnvironmentId, Platform)>) -> Self {
        let lasting = lasting.into_iter().map(|(id, platform)| (id, Steps::new(platform))).collect();
        Self { previews: Steps::new(previews), lasting }
    }

    /// # Errors
    /// An environment that the manifest has lost: on any other platform the step would touch somebody else's.
    fn of(&self, cx: &StepContext) -> Result<&Steps, StepError> {
        if !cx.environment.is_long_lived() {
            return Ok(&self.previews);
        }
        self.lasting.get(&cx.environment.whole()).ok_or_else(|| {
            let message = format!("{} is not in the manifest any more: where it runs is not known", cx.environment);
            fatal(codes::NOT_FOUND, message)
        })
    }
}

#[async_trait]
impl StepExecutor for PlacedSteps {
    async fn start(&self, cx: &StepContext, params: &Value) -> StepResult {
        self.of(cx)?.start(cx, params).await
    }

    async fn poll(&self, cx: &StepContext, params: &Value, token: &Value) -> Result<Progress, StepError> {
        self.of(cx)?.poll(cx, params, token).await
    }

    async fn undo(
        &self,
        cx: &StepContext,
        params: &Value,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> StepResult {
        self.of(cx)?.undo(cx, params, output, token).await
    }
}

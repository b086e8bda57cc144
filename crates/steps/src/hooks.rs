//! hook.run: a command or an HTTP call on the Landfall host.

use landfall_model::step::RunHook;
use landfall_ports::steps::{HookState, Progress, StepContext};
use landfall_workflow::codes::RESULT_UNKNOWN;
use serde_json::json;

use crate::error::{fatal, port, with_detail};
use crate::{SOON_MS, StepResult, Steps, codes, done, pending};

impl Steps {
    pub(crate) async fn start_hook(&self, cx: &StepContext, params: &RunHook) -> StepResult {
        let state = self.platform.hooks.start(cx.key.as_str(), params).await.map_err(port)?;
        hook_progress(params, state)
    }

    pub(crate) async fn poll_hook(&self, cx: &StepContext, params: &RunHook) -> StepResult {
        match self.platform.hooks.poll(cx.key.as_str()).await.map_err(port)? {
            HookState::Unknown if params.rerunnable => self.start_hook(cx, params).await,
            HookState::Unknown => {
                let message = format!(
                    "Landfall was restarted while hook {} ran, and whether it finished is unknown; retry runs it again, skip takes it as done",
                    params.name
                );
                Err(fatal(RESULT_UNKNOWN, message))
            }
            state => hook_progress(params, state),
        }
    }

    pub(crate) async fn undo_hook(&self, cx: &StepContext) -> StepResult {
        self.platform.hooks.cancel(cx.key.as_str()).await.map_err(port)?;
        Ok(done())
    }
}

fn hook_progress(params: &RunHook, state: HookState) -> StepResult {
    match state {
        HookState::Unknown | HookState::Running => Ok(pending(2 * SOON_MS, format!("hook {} is running", params.name))),
        HookState::Succeeded { code, tail } => Ok(Progress::Done(json!({"code": code, "tail": tail}))),
        HookState::Failed { code, message, tail } => {
            let code = code.map_or_else(String::new, |code| format!(" ({code})"));
            let error = fatal(codes::HOOK_FAILED, format!("hook {} failed{code}: {message}", params.name));
            Err(with_detail(error, &tail))
        }
    }
}

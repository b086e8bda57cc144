//! Hooks as steps, one after the other in the manifest's order.

use std::collections::BTreeMap;

use landfall_model::app::{Hook, HookAction, HookFailure, HookPoint, Previews};
use landfall_model::ids::StepId;
use landfall_model::inventory::Tags;
use landfall_model::secret::PREVIEW;
use landfall_model::step::{Input, RunHook, RunTask, StepParams};
use landfall_workflow::FailurePolicy;

use super::step::Builder;

pub(super) struct HookContext<'a> {
    pub(super) previews: &'a Previews,
    pub(super) variables: &'a BTreeMap<String, String>,
    pub(super) tags: &'a Tags,
    /// The task definition of a service, where it has one.
    pub(super) task_definition: &'a dyn Fn(&str) -> Option<Input>,
    /// What `on_failure: fail` means in this plan.
    pub(super) fail: FailurePolicy,
}

/// Adds the hooks of `point`; returns what the steps after them need.
pub(super) fn add(
    builder: &mut Builder,
    cx: &HookContext<'_>,
    point: HookPoint,
    after: Vec<StepId>,
    warnings: &mut Vec<String>,
) -> Vec<StepId> {
    let mut needs = after;
    for hook in cx.previews.hooks.iter().filter(|hook| hook.when == point) {
        let Some(params) = params(hook, cx) else {
            warnings.push(format!("hook {} is left out: its service has no task definition to run from", hook.name));
            continue;
        };
        let id = builder.add(format!("hook.{}", hook.name), format!("Run hook {}", hook.name), &needs, params);
        // Who runs it ends it at its own time, which a task has from its start on and again until then; the step's is only
        // there for one who does not.
        let times = if matches!(hook.run, HookAction::Task { .. }) { 2 } else { 1 };
        builder.timeout_s(hook.timeout.saturating_mul(times).saturating_add(60));
        builder.last(|step| {
            step.on_failure = match hook.on_failure {
                HookFailure::Fail => cx.fail,
                HookFailure::Warn => FailurePolicy::Warn,
                HookFailure::Pause => FailurePolicy::Pause,
            };
        });
        needs = vec![id];
    }
    needs
}

fn params(hook: &Hook, cx: &HookContext<'_>) -> Option<StepParams> {
    let mut environment = cx.variables.clone();
    environment.insert("LANDFALL_HOOK".to_owned(), hook.name.clone());
    Some(match &hook.run {
        HookAction::Command { .. } | HookAction::Http { .. } | HookAction::Lambda { .. } | HookAction::CircleCi(_) => {
            let mut action = hook.run.clone();
            action.refer_to(PREVIEW);
            StepParams::RunHook(RunHook {
                name: hook.name.clone(),
                action,
                environment,
                timeout: hook.timeout,
                rerunnable: hook.rerunnable,
            })
        }
        HookAction::Task { service, container, command } => StepParams::RunTask(RunTask {
            task_definition: (cx.task_definition)(service)?,
            container: container.clone(),
            command: command.clone(),
            environment,
            timeout: hook.timeout,
            service: None,
            tags: cx.tags.clone(),
        }),
    })
}

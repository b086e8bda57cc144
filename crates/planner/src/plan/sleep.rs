//! Putting a preview to sleep and waking it: its services alone are touched. Target group, route, task definitions and images
//! stay, so that it wakes as it was and its address goes on being its own.

use std::collections::BTreeMap;

use landfall_model::app::App;
use landfall_model::environment::EnvironmentRecord;
use landfall_model::ids::StepId;
use landfall_model::step::{StepParams, StopService};
use landfall_workflow::{FailurePolicy, Plan};

use super::step::Builder;
use super::teardown::service_names;
use super::{MAX_PARALLEL, PlanError, PlanInputs, PlanKind, Planned, SCHEMA, STOP_S};

/// Seconds until a URL whose targets are healthy must answer.
const PROBE_S: u32 = 60;

/// Scales every service of the preview to 0. There is nothing to undo: where it fails, the preview is woken.
pub fn sleep(app: &App, record: &EnvironmentRecord, inputs: &PlanInputs) -> Planned {
    let mut builder = Builder::new(FailurePolicy::FailForward);
    for name in service_names(app.previews.as_ref(), record, inputs) {
        let stop = StepParams::StopService(StopService { name: name.clone() });
        builder.add(format!("stop.{name}"), format!("Stop the tasks of {name}"), &[], stop);
        builder.timeout_s(STOP_S);
    }
    planned(record, PlanKind::Sleep, format!("Put preview {} to sleep", record.id), builder, inputs)
}

/// Runs again what served last: `good` has the parameters, references replaced, of the last execution after which all did. A
/// manifest that has changed since has its turn with the next update.
///
/// # Errors
/// Where `good` has no service.
pub fn wake(record: &EnvironmentRecord, good: &[serde_json::Value], inputs: &PlanInputs) -> Result<Planned, PlanError> {
    let good: Vec<StepParams> = good.iter().filter_map(|params| serde_json::from_value(params.clone()).ok()).collect();
    let mut builder = Builder::new(FailurePolicy::Unwind);
    let mut needs: Vec<StepId> = Vec::new();
    for params in &good {
        let StepParams::DeployService(service) = params else { continue };
        let title = format!("Start the tasks of {}", service.name);
        needs.push(builder.add(format!("start.{}", service.name), title, &[], params.clone()));
        builder.timeout_s(service.deployment.timeout.saturating_add(120));
    }
    if needs.is_empty() {
        return Err(PlanError::Unplannable("nothing is known that served before".to_owned()));
    }
    let patience = |params: &StepParams| match params {
        StepParams::DeployService(service) => service.deployment.timeout,
        _ => 0,
    };
    let patience = good.iter().map(patience).max().unwrap_or_default();
    if let Some(params) = good.iter().find(|params| matches!(params, StepParams::TargetsHealthy(_))) {
        needs = vec![builder.add("targets", "Wait for healthy targets".to_owned(), &needs, params.clone())];
        builder.timeout_s(patience);
    }
    if let Some(params) = good.iter().find(|params| matches!(params, StepParams::ProbeUrl(_))) {
        builder.add("probe", "Ask the URL".to_owned(), &needs, params.clone());
        builder.timeout_s(PROBE_S);
    }
    Ok(planned(record, PlanKind::Wake, format!("Wake preview {}", record.id), builder, inputs))
}

fn planned(
    record: &EnvironmentRecord,
    kind: PlanKind,
    title: String,
    builder: Builder,
    inputs: &PlanInputs,
) -> Planned {
    let plan = Plan {
        schema: SCHEMA,
        kind: kind.as_str().to_owned(),
        environment: record.id.clone(),
        generation: record.generation,
        parent: inputs.parent.clone(),
        title,
        steps: builder.steps,
        max_parallel: MAX_PARALLEL,
        last_try: true,
        // Nobody wants to hear of every nap; what goes wrong, the record tells.
        quiet: true,
        again: false,
        fallback: BTreeMap::new(),
    };
    Planned { plan, warnings: Vec::new() }
}

//! Destroy: in the reverse order of creation, by names and then by tags, read back at the end.

use std::collections::BTreeMap;

use landfall_model::app::{App, HookPoint, Previews};
use landfall_model::environment::EnvironmentRecord;
use landfall_model::ids::StepId;
use landfall_model::inventory::ResourceKind;
use landfall_model::step::{
    DeleteRoute, DeleteService, DeleteTargetGroup, Input, RouteTarget, StepParams, StopService, SweepResources,
    VerifyGone,
};
use landfall_workflow::{FailurePolicy, Plan};

use super::hooks::{self, HookContext};
use super::step::Builder;
use super::{MAX_PARALLEL, PlanInputs, PlanKind, Planned, SCHEMA, STOP_S, route_target, tags, url, variables};
use crate::names::service_name;

/// A plan that takes everything of the environment away. Works from names and tags, whatever became of the manifest.
///
/// A step that fails is passed over with a warning: the sweep by tag comes after it, and `verify` alone decides whether the
/// environment is gone.
pub fn destroy(app: &App, record: &EnvironmentRecord, inputs: &PlanInputs) -> Planned {
    let environment = record.id.to_string();
    let address = url(app, record);
    let variables = variables(app, record, record.commit.as_deref(), address.as_deref());
    let tags = tags(record, record.commit.as_deref(), inputs);
    let mut builder = Builder::new(FailurePolicy::Warn);
    let mut warnings = Vec::new();
    let running = |service: &str| inputs.running.get(service).map(|handle| Input::Value(handle.clone()));
    let hooks = |builder: &mut Builder, point, after: Vec<StepId>, warnings: &mut Vec<String>| match &app.previews {
        None => after,
        Some(previews) => {
            let cx = HookContext {
                previews,
                variables: &variables,
                tags: &tags,
                task_definition: &running,
                fail: FailurePolicy::FailForward,
            };
            hooks::add(builder, &cx, point, after, warnings)
        }
    };

    let mut needs = hooks(&mut builder, HookPoint::BeforeDestroy, Vec::new(), &mut warnings);
    let mut gone = Vec::new();
    for name in service_names(app.previews.as_ref(), record, inputs) {
        let stop = StepParams::StopService(StopService { name: name.clone() });
        let stopped = builder.add(format!("stop.{name}"), format!("Stop the tasks of {name}"), &needs, stop);
        builder.timeout_s(STOP_S);
        let delete = StepParams::DeleteService(DeleteService { name: name.clone() });
        gone.push(builder.add(format!("delete.{name}"), format!("Delete service {name}"), &[stopped], delete));
        builder.timeout_s(STOP_S);
    }
    if !gone.is_empty() {
        needs = gone;
    }
    if let Some(route) = app.previews.as_ref().and_then(|previews| route_target(previews, record)) {
        needs = vec![delete_route(&mut builder, route, &environment, &needs)];
        let name = record.names.target_group.clone();
        let title = format!("Delete target group {name}");
        let group = DeleteTargetGroup { name, environment: environment.clone() };
        needs = vec![builder.add("target_group", title, &needs, StepParams::DeleteTargetGroup(group))];
    }
    // Where the manifest no longer tells the route, the sweep takes both, in their order: a target group cannot go before
    // the routes to it.
    let sweep = SweepResources {
        environment: environment.clone(),
        kinds: ResourceKind::ALL.to_vec(),
        keep: Vec::new(),
        keep_route: None,
    };
    needs = vec![builder.add(
        "sweep",
        "Delete all that carries the environment's tag".to_owned(),
        &needs,
        StepParams::SweepResources(sweep),
    )];
    builder.timeout_s(STOP_S);
    // A task hook has nothing to run from any more: such hooks belong before.
    needs = hooks(&mut builder, HookPoint::AfterDestroy, needs, &mut warnings);
    let verify = StepParams::VerifyGone(VerifyGone { environment });
    builder.add("verify", "Read back that nothing is left".to_owned(), &needs, verify);
    builder.last(|step| step.on_failure = FailurePolicy::FailForward);

    let plan = Plan {
        schema: SCHEMA,
        kind: PlanKind::Destroy.as_str().to_owned(),
        environment: record.id.clone(),
        generation: record.generation,
        parent: inputs.parent.clone(),
        title: format!("Destroy preview {}", record.id),
        steps: builder.steps,
        max_parallel: MAX_PARALLEL,
        last_try: false,
        quiet: record.retries > 0,
    };
    Planned { plan, warnings }
}

fn delete_route(builder: &mut Builder, route: RouteTarget, environment: &str, needs: &[StepId]) -> StepId {
    let title = format!("Delete route {}", route.url());
    builder.add(
        "route",
        title,
        needs,
        StepParams::DeleteRoute(DeleteRoute { route, environment: environment.to_owned() }),
    )
}

/// By the manifest as it is now, and by the tags of what is there: each once.
fn service_names(previews: Option<&Previews>, record: &EnvironmentRecord, inputs: &PlanInputs) -> Vec<String> {
    let mut names = BTreeMap::new();
    for (index, service) in previews.iter().flat_map(|p| p.services.iter()).enumerate() {
        names.insert(service_name(&record.names, service, index == 0), ());
    }
    for resource in
        inputs.owned.iter().filter(|r| r.kind == ResourceKind::Service && r.environment == record.id.as_str())
    {
        names.insert(resource.name.clone(), ());
    }
    names.into_keys().collect()
}

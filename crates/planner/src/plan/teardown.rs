//! Destroy: in the reverse order of creation, by names and then by tags, read back at the end.

use std::collections::BTreeMap;

use landfall_model::app::{App, Hook, HookAction, HookPoint, Previews};
use landfall_model::environment::EnvironmentRecord;
use landfall_model::ids::StepId;
use landfall_model::inventory::{OwnedResource, ResourceKind, TAG_EXECUTION, TAG_SERVICE};
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
    let definition = |service: &str| definition(record, inputs, service).map(Input::Value);
    let hooks = |builder: &mut Builder, point, after: Vec<StepId>, warnings: &mut Vec<String>| match &app.previews {
        None => after,
        Some(previews) => {
            let cx = HookContext {
                previews,
                variables: &variables,
                tags: &tags,
                task_definition: &definition,
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
    // A task that runs after all that has only its definition and its image left: those go last.
    let after = |hook: &&Hook| hook.when == HookPoint::AfterDestroy;
    let task = |hook: &Hook| match &hook.run {
        HookAction::Task { service, .. } => definition(service).is_some(),
        _ => false,
    };
    let tasks = app.previews.iter().flat_map(|previews| &previews.hooks).filter(after).any(task);
    let last = |kind: &ResourceKind| tasks && matches!(kind, ResourceKind::TaskDefinition | ResourceKind::Image);
    let first: Vec<ResourceKind> = ResourceKind::ALL.into_iter().filter(|kind| !last(kind)).collect();
    let title = "Delete all that carries the environment's tag";
    needs = vec![sweep(&mut builder, "sweep", title, &environment, first, &needs)];
    needs = hooks(&mut builder, HookPoint::AfterDestroy, needs, &mut warnings);
    if tasks {
        let title = "Delete what the last tasks ran from";
        needs = vec![sweep(&mut builder, "sweep.last", title, &environment, ResourceKind::ALL.to_vec(), &needs)];
    }
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
        again: false,
        fallback: BTreeMap::new(),
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

fn sweep(
    builder: &mut Builder,
    id: &str,
    title: &str,
    environment: &str,
    kinds: Vec<ResourceKind>,
    needs: &[StepId],
) -> StepId {
    let params = SweepResources {
        environment: environment.to_owned(),
        kinds,
        keep: Vec::new(),
        keep_route: None,
        undo_kinds: Vec::new(),
    };
    let step = builder.add(id, title.to_owned(), needs, StepParams::SweepResources(params));
    builder.timeout_s(STOP_S);
    step
}

/// What a task of this service runs from: what the service runs, or, where it is gone already, what was registered for it
/// last.
fn definition(record: &EnvironmentRecord, inputs: &PlanInputs, service: &str) -> Option<String> {
    let registered = || {
        let of_service = |resource: &&OwnedResource| {
            resource.kind == ResourceKind::TaskDefinition
                && resource.environment == record.id.as_str()
                && resource.tags.get(TAG_SERVICE).map(String::as_str) == Some(service)
        };
        let age = |resource: &&OwnedResource| (resource.tags.get(TAG_EXECUTION).cloned(), resource.id.clone());
        inputs.owned.iter().filter(of_service).max_by_key(age).map(|resource| resource.id.clone())
    };
    inputs.running.get(service).cloned().or_else(registered)
}

/// By the manifest as it is now, and by the tags of what is there: each once.
pub(super) fn service_names(
    previews: Option<&Previews>,
    record: &EnvironmentRecord,
    inputs: &PlanInputs,
) -> Vec<String> {
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

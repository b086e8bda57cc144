//! Create and update of a preview: the same steps, except where they begin and end.

use std::collections::BTreeMap;

use landfall_model::app::{App, HookPoint, Previews, Service};
use landfall_model::environment::EnvironmentRecord;
use landfall_model::ids::StepId;
use landfall_model::inventory::ResourceKind;
use landfall_model::secret::PREVIEW;
use landfall_model::step::{Input, RouteTarget, StepParams, SweepResources};
use landfall_workflow::{FailurePolicy, Plan};

use super::deploy::{Attached, Deploy, Following, Part, Scene};
use super::hooks::{self, HookContext};
use super::step::Builder;
use super::{
    LEFTOVERS, MAX_PARALLEL, PlanError, PlanInputs, PlanKind, Planned, SCHEMA, STOP_S, UNUSED, route_target, services,
    tags, variables,
};
use crate::control::{MAX_REPLANS, at_commit};
use crate::names::{family_name, service_name};

struct Preview<'a> {
    previews: &'a Previews,
    record: &'a EnvironmentRecord,
    deploy: Deploy<'a>,
}

/// A plan that brings the preview to `commit`. Under port routing `record.port` must be chosen (and stored) before.
/// `kind` is `Create` or `Update`; `record` is the one before [`crate::control::started`].
///
/// # Errors
/// What keeps it from being planned: no previews in the manifest, a service that is not there, an image that needs a commit
/// or a repository that is not known.
pub fn preview(
    app: &App,
    record: &EnvironmentRecord,
    kind: PlanKind,
    commit: Option<&str>,
    inputs: &PlanInputs,
) -> Result<Planned, PlanError> {
    let previews = app.previews.as_ref().ok_or(PlanError::NoPreviews)?;
    let services = services(app, previews)?;
    let primary = services.iter().position(|service| service.load_balancer.is_some());
    let route = match primary {
        None => None,
        Some(_) => Some(
            route_target(previews, record)
                .ok_or_else(|| PlanError::Unplannable("no port has been chosen for the preview yet".to_owned()))?,
        ),
    };
    let url = route.as_ref().map(|route| app.route_url(route));
    let deploy = Deploy {
        app,
        scene: Scene {
            base: record.names.base.clone(),
            several: services.len() > 1,
            branch: Some(&record.key.source),
            repository: Some(&record.key.repository),
            environment: PREVIEW,
            variables: &previews.variables,
            images: BTreeMap::new(),
            kept: BTreeMap::new(),
            pinned: false,
            adopt: false,
            following: Following::default(),
        },
        commit,
        tags: tags(record, commit, inputs),
        variables: variables(app, record, commit, url.as_deref()),
        builder: Builder::new(FailurePolicy::Unwind),
        first: Vec::new(),
        builds: Vec::new(),
    };
    let mut preview = Preview { previews, record, deploy };
    let mut warnings = Vec::new();
    let goes_on = kind == PlanKind::Create && record.made_generation != 0;
    if goes_on {
        preview.go_on();
    }
    let parts: Vec<Part<'_>> =
        services.iter().enumerate().map(|(index, service)| preview.part(service, index == 0)).collect();
    let ready = route.as_ref().zip(url.as_deref()).zip(primary).and_then(|((route, url), index)| {
        preview.deploy.routing(route, url, &record.names.target_group, services[index])
    });
    let mut definitions = BTreeMap::new();
    let mut images = Vec::new();
    for part in &parts {
        let (id, mut used) = preview.deploy.task_definition(part)?;
        definitions.insert(part.service.name.clone(), id);
        images.append(&mut used);
    }
    let (before, after) = match kind {
        PlanKind::Update => (HookPoint::BeforeUpdate, HookPoint::AfterUpdate),
        _ => (HookPoint::BeforeCreate, HookPoint::AfterCreate),
    };
    let needs = preview.hooks(before, definitions.values().cloned().collect(), &definitions, &mut warnings);
    let mut deployed = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let target = ready.as_ref().filter(|_| Some(index) == primary).map(Attached::Made);
        deployed.push(preview.deploy.service(part, &definitions[&part.service.name], target, &needs));
    }
    if let (Some(index), Some(routed)) = (primary, &ready) {
        deployed.extend(preview.deploy.answering(&parts[index], routed, &deployed[index]));
    }
    let done = preview.hooks(after, deployed, &definitions, &mut warnings);
    if kind == PlanKind::Update || goes_on {
        preview.sweep_unused(&services, &definitions, &images, route.as_ref(), &done);
    }
    if goes_on {
        preview.deploy.builder.leave_undo_to(LEFTOVERS);
    }

    let word = if kind == PlanKind::Update { "Update" } else { "Create" };
    let plan = Plan {
        schema: SCHEMA,
        kind: kind.as_str().to_owned(),
        environment: record.id.clone(),
        generation: record.generation,
        parent: inputs.parent.clone(),
        title: format!("{word} preview {}{}", record.id, at_commit(commit)),
        steps: preview.deploy.builder.steps,
        max_parallel: MAX_PARALLEL,
        last_try: record.replans >= MAX_REPLANS,
        quiet: false,
        again: record.replans > 0,
        fallback: BTreeMap::new(),
    };
    Ok(Planned { plan, warnings })
}

impl<'a> Preview<'a> {
    fn part(&self, service: &'a Service, first: bool) -> Part<'a> {
        Part {
            service,
            name: service_name(&self.record.names, &service.name, first),
            family: family_name(&self.record.names, &service.name, first),
            desired_count: self.previews.desired_count.unwrap_or(service.desired_count),
            keep_count: false,
        }
    }

    /// An attempt that was superseded is not unwound: what it made is gone on from, and may answer already. Tasks of its hooks end
    /// before the same hooks begin again. If this attempt fails too, nothing of either stays.
    fn go_on(&mut self) {
        let params = SweepResources {
            environment: self.record.id.to_string(),
            kinds: vec![ResourceKind::Task],
            keep: Vec::new(),
            keep_route: None,
            undo_kinds: ResourceKind::ALL.to_vec(),
        };
        let title = "Stop what an earlier attempt left running".to_owned();
        self.deploy.first = vec![self.deploy.builder.add(LEFTOVERS, title, &[], StepParams::SweepResources(params))];
        self.deploy.builder.timeout_s(STOP_S);
    }

    fn hooks(
        &mut self,
        point: HookPoint,
        after: Vec<StepId>,
        definitions: &BTreeMap<String, StepId>,
        warnings: &mut Vec<String>,
    ) -> Vec<StepId> {
        let definition = |service: &str| Some(Input::output(definitions.get(service)?.as_str(), "task_definition"));
        let cx = HookContext {
            previews: self.previews,
            variables: &self.deploy.variables,
            tags: &self.deploy.tags,
            task_definition: &definition,
            fail: FailurePolicy::Unwind,
        };
        let mut after = after;
        // A task hook refers to a definition, so it needs the step that registers it.
        for step in definitions.values() {
            if !after.contains(step) {
                after.push(step.clone());
            }
        }
        hooks::add(&mut self.deploy.builder, &cx, point, after, warnings)
    }

    /// The images and task definitions of before are of no use once the new ones serve, nor are services that the manifest
    /// has lost (without their task definition they could not even start a task again), nor the address of before where the
    /// manifest routes in another way now.
    fn sweep_unused(
        &mut self,
        services: &[&Service],
        definitions: &BTreeMap<String, StepId>,
        images: &[Input],
        route: Option<&RouteTarget>,
        after: &[StepId],
    ) {
        let mut keep: Vec<Input> =
            definitions.values().map(|id| Input::output(id.as_str(), "task_definition")).collect();
        keep.extend(images.iter().cloned());
        let name = |(index, service): (usize, &&Service)| service_name(&self.record.names, &service.name, index == 0);
        keep.extend(services.iter().enumerate().map(name).map(Input::Value));
        let mut needs = after.to_vec();
        for input in &keep {
            if let Input::Output { output } = input {
                let step = StepId::new(output.split('/').next().unwrap_or_default());
                if !needs.contains(&step) {
                    needs.push(step);
                }
            }
        }
        let mut kinds = vec![ResourceKind::Service, ResourceKind::TaskDefinition, ResourceKind::Image];
        if route.is_none() {
            kinds.extend([ResourceKind::Rule, ResourceKind::Listener, ResourceKind::TargetGroup]);
        }
        let params = SweepResources {
            environment: self.record.id.to_string(),
            kinds,
            keep,
            keep_route: route.cloned(),
            undo_kinds: Vec::new(),
        };
        let title = "Clear what is no longer used".to_owned();
        self.deploy.builder.add(UNUSED, title, &needs, StepParams::SweepResources(params));
        self.deploy.builder.timeout_s(STOP_S);
        self.deploy.builder.last(|step| step.on_failure = FailurePolicy::Warn);
    }
}

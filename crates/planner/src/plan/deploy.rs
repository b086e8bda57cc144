//! Create and update: the same steps, except where they begin and end.

use std::collections::BTreeMap;

use landfall_model::app::{App, BuildSource, ContainerTemplate, HookPoint, ImageSource, Previews, Service};
use landfall_model::environment::{EnvironmentRecord, SourceRef};
use landfall_model::ids::StepId;
use landfall_model::inventory::{ResourceKind, TAG_SERVICE, Tags};
use landfall_model::step::{
    AwaitImage, BuildImage, ContainerInput, DeployService, EnsureRoute, EnsureTargetGroup, Input, ProbeUrl,
    RegisterTaskDefinition, RouteTarget, ServiceTarget, StepParams, SweepResources, TargetsHealthy, WaitUntil,
};
use landfall_workflow::{FailurePolicy, Plan};

use super::hooks::{self, HookContext};
use super::step::Builder;
use super::{
    MAX_PARALLEL, PlanError, PlanInputs, PlanKind, Planned, SCHEMA, STOP_S, UNUSED, route_target, services, tags,
    variables,
};
use crate::control::{MAX_REPLANS, at_commit, short_commit};
use crate::names::{family_name, service_name};

/// Seconds that a build may wait for its turn, on top of its own time.
const BUILD_QUEUE_S: u32 = 1_800;
/// Seconds until a URL whose targets are healthy must answer.
const PROBE_S: u32 = 60;

struct Deploy<'a> {
    app: &'a App,
    previews: &'a Previews,
    record: &'a EnvironmentRecord,
    commit: Option<&'a str>,
    tags: Tags,
    variables: BTreeMap<String, String>,
    builder: Builder,
    /// Steps that every first step of the plan waits for.
    first: Vec<StepId>,
    /// One build for containers that want the same.
    builds: Vec<(BuildSource, StepId)>,
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
    let mut deploy = Deploy {
        app,
        previews,
        record,
        commit,
        tags: tags(record, commit, inputs),
        variables: variables(app, record, commit, url.as_deref()),
        builder: Builder::new(FailurePolicy::Unwind),
        first: Vec::new(),
        builds: Vec::new(),
    };
    let mut warnings = Vec::new();
    if kind == PlanKind::Create && record.made_generation != 0 {
        deploy.sweep_leftovers();
    }
    let ready = deploy.routing(route.as_ref(), primary.map(|index| services[index]));
    let mut definitions = BTreeMap::new();
    let mut images = Vec::new();
    for (index, service) in services.iter().enumerate() {
        let (id, mut used) = deploy.task_definition(service, index == 0)?;
        definitions.insert(service.name.clone(), id);
        images.append(&mut used);
    }
    let (before, after) = match kind {
        PlanKind::Update => (HookPoint::BeforeUpdate, HookPoint::AfterUpdate),
        _ => (HookPoint::BeforeCreate, HookPoint::AfterCreate),
    };
    let needs = deploy.hooks(before, definitions.values().cloned().collect(), &definitions, &mut warnings);
    let mut deployed = Vec::new();
    for (index, service) in services.iter().enumerate() {
        let target = ready.as_ref().filter(|_| Some(index) == primary);
        deployed.push(deploy.service(service, index == 0, &definitions[&service.name], target, &needs));
    }
    if let (Some(index), Some(routed)) = (primary, &ready) {
        deployed.extend(deploy.answering(services[index], routed, &deployed[index]));
    }
    let done = deploy.hooks(after, deployed, &definitions, &mut warnings);
    if kind == PlanKind::Update {
        deploy.sweep_unused(&services, &definitions, &images, route.as_ref(), &done);
    }

    let word = if kind == PlanKind::Update { "Update" } else { "Create" };
    let plan = Plan {
        schema: SCHEMA,
        kind: kind.as_str().to_owned(),
        environment: record.id.clone(),
        generation: record.generation,
        parent: inputs.parent.clone(),
        title: format!("{word} preview {}{}", record.id, at_commit(commit)),
        steps: deploy.builder.steps,
        max_parallel: MAX_PARALLEL,
        last_try: record.replans >= MAX_REPLANS,
        quiet: false,
        again: record.replans > 0,
        fallback: BTreeMap::new(),
    };
    Ok(Planned { plan, warnings })
}

/// Steps that make the way in.
struct Routed {
    target_group: StepId,
    route: StepId,
}

impl Deploy<'_> {
    /// An attempt that was superseded is not unwound: what it made is taken away before a new beginning. Its images stay, so
    /// that a build which was done is not done again.
    fn sweep_leftovers(&mut self) {
        let kinds = ResourceKind::ALL.into_iter().filter(|kind| *kind != ResourceKind::Image).collect();
        let params =
            SweepResources { environment: self.record.id.to_string(), kinds, keep: Vec::new(), keep_route: None };
        let title = "Clear what an earlier attempt left".to_owned();
        self.first = vec![self.builder.add("leftovers", title, &[], StepParams::SweepResources(params))];
        self.builder.timeout_s(STOP_S);
    }

    fn routing(&mut self, route: Option<&RouteTarget>, service: Option<&Service>) -> Option<Routed> {
        let (route, binding) = (route?, service?.load_balancer.as_ref()?);
        let name = self.record.names.target_group.clone();
        let group = EnsureTargetGroup {
            name: name.clone(),
            launch_type: service?.launch_type,
            base: service?.base_task_definition.clone(),
            port: binding.port,
            health_check: binding.health_check.clone(),
            deregistration_delay: binding.deregistration_delay,
            algorithm: binding.algorithm,
            idle_timeout: binding.idle_timeout,
            tags: self.tags.clone(),
        };
        let first = self.first.clone();
        let title = format!("Ensure target group {name}");
        let target_group = self.builder.add("target_group", title, &first, StepParams::EnsureTargetGroup(group));
        let ensure = EnsureRoute {
            route: route.clone(),
            target_group: Input::output(target_group.as_str(), "target_group"),
            tags: self.tags.clone(),
        };
        let title = format!("Ensure route {}", self.app.route_url(route));
        let route =
            self.builder.add("route", title, std::slice::from_ref(&target_group), StepParams::EnsureRoute(ensure));
        Some(Routed { target_group, route })
    }

    /// The step that registers it, and the images that it uses.
    fn task_definition(&mut self, service: &Service, first: bool) -> Result<(StepId, Vec<Input>), PlanError> {
        let mut needs = self.first.clone();
        let mut containers = Vec::new();
        let mut images = Vec::new();
        for container in &service.containers {
            let image = self.image(service, container)?;
            if let Input::Output { output } = &image {
                let step = StepId::new(output.split('/').next().unwrap_or_default());
                if !needs.contains(&step) {
                    needs.push(step);
                }
                images.push(image.clone());
            }
            let mut settings = container.settings.clone();
            settings.environment.extend(self.previews.variables.clone());
            settings.environment.extend(self.variables.clone());
            containers.push(ContainerInput { name: container.name.clone(), image, settings });
        }
        let family = family_name(&self.record.names, &service.name, first);
        let params = RegisterTaskDefinition {
            family: family.clone(),
            base: service.base_task_definition.clone(),
            launch_type: service.launch_type,
            cpu: service.cpu,
            memory: service.memory,
            containers,
            tags: self.service_tags(service),
            document: None,
        };
        let id = format!("task_definition.{}", service.name);
        let title = format!("Register task definition {family}");
        Ok((self.builder.add(id, title, &needs, StepParams::RegisterTaskDefinition(params)), images))
    }

    fn image(&mut self, service: &Service, container: &ContainerTemplate) -> Result<Input, PlanError> {
        let id = format!("image.{}.{}", service.name, container.name);
        match &container.image {
            ImageSource::Reference(reference) => Ok(Input::Value(reference.clone())),
            // Laid over the base, an empty image keeps the base's.
            ImageSource::Base => Ok(Input::Value(String::new())),
            ImageSource::Build(build) => self.build(id, service, container, build),
            ImageSource::Await(wait) => {
                let fill = |text: &str| self.fill(text, &container.name);
                let label = match &wait.label {
                    Some((key, value)) => Some((key.clone(), fill(value)?)),
                    None => None,
                };
                let params = AwaitImage { image: fill(&wait.image)?, label };
                let title = format!("Wait for image {}", params.image);
                let first = self.first.clone();
                let step = self.builder.add(id, title, &first, StepParams::AwaitImage(params));
                self.builder.timeout_s(wait.deadline);
                Ok(Input::output(step.as_str(), "image"))
            }
        }
    }

    fn build(
        &mut self,
        id: String,
        service: &Service,
        container: &ContainerTemplate,
        build: &BuildSource,
    ) -> Result<Input, PlanError> {
        if let Some((_, step)) = self.builds.iter().find(|(known, _)| known == build) {
            return Ok(Input::output(step.as_str(), "image"));
        }
        let who = &container.name;
        let unplannable = |message: String| PlanError::Unplannable(message);
        let commit = self.commit.ok_or_else(|| {
            unplannable(format!(
                "container {who} is built from a commit, and none is known; give the repository a `source`"
            ))
        })?;
        let source =
            self.app.repositories.get(&self.record.key.repository).and_then(|r| r.source.clone()).ok_or_else(|| {
                unplannable(format!(
                    "container {who} is built from a checkout, and repository {} has no `source`",
                    self.record.key.repository
                ))
            })?;
        let several = self.previews.services.len() > 1;
        let name = if several { format!("{}-{who}", service.name) } else { who.clone() };
        let params = BuildImage {
            source,
            commit: commit.to_owned(),
            build: build.clone(),
            tag: format!("{}-{}:{}", self.record.names.base, name.to_ascii_lowercase(), short_commit(commit)),
            tags: self.service_tags(service),
        };
        let title = format!("Build image {}", params.tag);
        let first = self.first.clone();
        let step = self.builder.add(id, title, &first, StepParams::BuildImage(params));
        self.builder.timeout_s(build.timeout.saturating_add(BUILD_QUEUE_S));
        self.builds.push((build.clone(), step.clone()));
        Ok(Input::output(step.as_str(), "image"))
    }

    /// Replaces the placeholders of an awaited image's name.
    fn fill(&self, text: &str, container: &str) -> Result<String, PlanError> {
        let mut text = text.replace("{project}", &self.app.project);
        if text.contains("{branch}") {
            let branch = match &self.record.key.source {
                SourceRef::Branch(branch) => tag_safe(branch).ok_or_else(|| {
                    PlanError::Unplannable(format!(
                        "container {container} waits for an image named after the branch, and {branch:?} leaves nothing that a tag may hold; use {{short_commit}}"
                    ))
                })?,
                SourceRef::ForkPullRequest(number) => format!("pr-{number}"),
            };
            text = text.replace("{branch}", &branch);
        }
        if text.contains("{commit}") || text.contains("{short_commit}") {
            let Some(commit) = self.commit else {
                let message = format!(
                    "container {container} waits for an image of a commit, and none is known; give the repository a `source`"
                );
                return Err(PlanError::Unplannable(message));
            };
            text = text.replace("{commit}", commit).replace("{short_commit}", short_commit(commit));
        }
        Ok(text)
    }

    fn service(
        &mut self,
        service: &Service,
        first: bool,
        definition: &StepId,
        target: Option<&Routed>,
        after: &[StepId],
    ) -> StepId {
        let name = service_name(&self.record.names, &service.name, first);
        let binding = service.load_balancer.as_ref();
        let target_of = |routed: &Routed| {
            binding.map(|binding| ServiceTarget {
                target_group: Input::output(routed.target_group.as_str(), "target_group"),
                container: binding.container.clone(),
                port: binding.port,
            })
        };
        let params = DeployService {
            name: name.clone(),
            launch_type: service.launch_type,
            task_definition: Input::output(definition.as_str(), "task_definition"),
            desired_count: self.desired_count(service),
            deployment: service.deployment.clone(),
            target: target.and_then(target_of),
            tags: self.service_tags(service),
            adopt: false,
            force: false,
            wait_until: WaitUntil::Stable,
            fail_fast: None,
            document: None,
        };
        let mut needs = after.to_vec();
        for step in [Some(definition), target.map(|t| &t.target_group), target.map(|t| &t.route)].into_iter().flatten()
        {
            if !needs.contains(step) {
                needs.push(step.clone());
            }
        }
        let id = format!("service.{}", service.name);
        let step = self.builder.add(id, format!("Deploy service {name}"), &needs, StepParams::DeployService(params));
        // The platform's own deployment timeout comes first and knows the reason.
        self.builder.timeout_s(service.deployment.timeout.saturating_add(120));
        step
    }

    /// Healthy targets, and an answer through the load balancer.
    fn answering(&mut self, service: &Service, routed: &Routed, deployed: &StepId) -> Vec<StepId> {
        let minimum = self.desired_count(service);
        if minimum == 0 {
            return Vec::new();
        }
        let target_group = Input::output(routed.target_group.as_str(), "target_group");
        let needs = [deployed.clone(), routed.target_group.clone()];
        let params = StepParams::TargetsHealthy(TargetsHealthy { target_group, minimum });
        let targets = self.builder.add("targets", "Wait for healthy targets".to_owned(), &needs, params);
        self.builder.timeout_s(service.deployment.timeout);
        let params = StepParams::ProbeUrl(ProbeUrl { url: Input::output(routed.route.as_str(), "url") });
        let probe = self.builder.add("probe", "Ask the URL".to_owned(), &[targets, routed.route.clone()], params);
        self.builder.timeout_s(PROBE_S);
        vec![probe]
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
            variables: &self.variables,
            tags: &self.tags,
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
        hooks::add(&mut self.builder, &cx, point, after, warnings)
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
        let params =
            SweepResources { environment: self.record.id.to_string(), kinds, keep, keep_route: route.cloned() };
        let title = "Clear what is no longer used".to_owned();
        self.builder.add(UNUSED, title, &needs, StepParams::SweepResources(params));
        self.builder.timeout_s(STOP_S);
        self.builder.last(|step| step.on_failure = FailurePolicy::Warn);
    }

    fn desired_count(&self, service: &Service) -> u32 {
        self.previews.desired_count.unwrap_or(service.desired_count)
    }

    fn service_tags(&self, service: &Service) -> Tags {
        let mut tags = self.tags.clone();
        tags.insert(TAG_SERVICE.to_owned(), service.name.clone());
        tags
    }
}

/// A branch's name as a legal tag of an image; `None` where nothing of it is legal.
fn tag_safe(branch: &str) -> Option<String> {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let tag: String = branch.chars().map(legal).skip_while(|c| matches!(c, '.' | '-')).take(128).collect();
    Some(tag).filter(|tag| !tag.is_empty())
}

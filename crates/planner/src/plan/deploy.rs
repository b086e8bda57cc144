//! The steps that bring services to where they run, for previews and for lasting environments alike.

use std::collections::BTreeMap;

use landfall_model::app::{App, BuildSource, ContainerTemplate, ImageSource, Service};
use landfall_model::environment::SourceRef;
use landfall_model::ids::{RepositoryKey, StepId};
use landfall_model::inventory::{TAG_SERVICE, Tags};
use landfall_model::names::{filled, short_commit, tag_safe};
use landfall_model::step::{
    AwaitImage, BuildImage, ContainerInput, DeployService, EnsureRoute, EnsureTargetGroup, Input, ProbeUrl,
    RegisterTaskDefinition, RouteTarget, ServiceTarget, StepParams, TargetsHealthy, WaitUntil,
};
use landfall_model::strategy::DeploymentStrategy;
use landfall_model::task::ContainerSettings;

use serde::{Deserialize, Serialize};

use super::PlanError;
use super::step::Builder;

/// Seconds that a build may wait for its turn, on top of its own time.
const BUILD_QUEUE_S: u32 = 1_800;
/// Seconds until a URL whose targets are healthy must answer.
const PROBE_S: u32 = 60;

/// What a preview and a lasting environment differ in.
pub(super) struct Scene<'a> {
    /// Built images are named after it.
    pub(super) base: String,
    /// Whether containers' names alone may clash in the names of built images.
    pub(super) several: bool,
    pub(super) branch: Option<&'a SourceRef>,
    /// Where checkouts come from.
    pub(super) repository: Option<&'a RepositoryKey>,
    /// What references of secrets call it.
    pub(super) environment: &'a str,
    /// Set over each container's own.
    pub(super) variables: &'a BTreeMap<String, String>,
    /// Instead of what the manifest says, by service and container.
    pub(super) images: BTreeMap<(String, String), String>,
    /// What runs now, by service: where the manifest's image needs a commit and none is known.
    pub(super) kept: BTreeMap<String, Kept>,
    /// Whether references are looked up once and kept by digest.
    pub(super) pinned: bool,
    pub(super) adopt: bool,
    pub(super) following: Following,
}

/// The images that a service runs.
pub(super) enum Kept {
    /// As released, pinned; by container.
    Images(BTreeMap<String, String>),
    /// As somebody else deployed them, perhaps by tags, which are looked up once like any other reference.
    Others(BTreeMap<String, String>),
    /// Not known: what needs one is refused with this.
    Unread(PlanError),
}

/// How a deployment is begun and followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// Also where nothing differs.
    #[serde(default)]
    pub force: bool,
    #[serde(default)]
    pub wait_until: WaitUntil,
    /// Failed after so many failed tasks with one reason.
    #[serde(default)]
    pub fail_fast: Option<u32>,
}

/// A service as it is to be in one environment.
pub(super) struct Part<'a> {
    pub(super) service: &'a Service,
    pub(super) name: String,
    pub(super) family: String,
    pub(super) desired_count: u32,
    /// As of `DeployService`.
    pub(super) keep_count: bool,
}

/// Steps that make the way in.
pub(super) struct Routed {
    pub(super) target_group: StepId,
    pub(super) route: StepId,
}

/// The target group that a service registers with.
#[derive(Clone, Copy)]
pub(super) enum Attached<'a> {
    Made(&'a Routed),
    /// Its ARN.
    Existing(&'a str),
}

pub(super) struct Deploy<'a> {
    pub(super) app: &'a App,
    pub(super) scene: Scene<'a>,
    pub(super) commit: Option<&'a str>,
    pub(super) tags: Tags,
    /// Told to every container, over everything else.
    pub(super) variables: BTreeMap<String, String>,
    pub(super) builder: Builder,
    /// Steps that every first step of the plan waits for.
    pub(super) first: Vec<StepId>,
    /// One build for containers that want the same.
    pub(super) builds: Vec<(BuildSource, StepId)>,
}

impl Deploy<'_> {
    /// `None` for a service that takes no traffic.
    pub(super) fn routing(&mut self, route: &RouteTarget, url: &str, name: &str, service: &Service) -> Option<Routed> {
        let binding = service.load_balancer.as_ref()?;
        let group = EnsureTargetGroup {
            name: name.to_owned(),
            launch_type: service.launch_type,
            base: service.base_task_definition.clone(),
            port: binding.port,
            health_check: binding.health_check.clone(),
            deregistration_delay: binding.deregistration_delay,
            algorithm: binding.algorithm,
            idle_timeout: binding.idle_timeout,
            tags: self.tags.clone(),
        };
        Some(self.routed(group, route.clone(), url))
    }

    pub(super) fn routed(&mut self, group: EnsureTargetGroup, route: RouteTarget, url: &str) -> Routed {
        let first = self.first.clone();
        let title = format!("Ensure target group {}", group.name);
        let target_group = self.builder.add("target_group", title, &first, StepParams::EnsureTargetGroup(group));
        let ensure = EnsureRoute {
            route,
            target_group: Input::output(target_group.as_str(), "target_group"),
            tags: self.tags.clone(),
        };
        let title = format!("Ensure route {url}");
        let route =
            self.builder.add("route", title, std::slice::from_ref(&target_group), StepParams::EnsureRoute(ensure));
        Routed { target_group, route }
    }

    /// The step that registers it, and the images that it uses.
    pub(super) fn task_definition(&mut self, part: &Part<'_>) -> Result<(StepId, Vec<Input>), PlanError> {
        let service = part.service;
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
            settings.environment.extend(self.scene.variables.clone());
            settings.environment.extend(self.variables.clone());
            settings.refer_to(self.scene.environment);
            told_by_ci(&mut settings, &service.name, &container.name)?;
            containers.push(ContainerInput { name: container.name.clone(), image, settings });
        }
        let document = service.documents.as_ref().map(|documents| documents.task_definition.clone());
        if document.is_some() {
            // What it says itself stays.
            containers.retain(|container| container.image.value() != Some(""));
        }
        let params = RegisterTaskDefinition {
            family: part.family.clone(),
            base: service.base_task_definition.clone(),
            launch_type: service.launch_type,
            cpu: service.cpu,
            memory: service.memory,
            containers,
            tags: self.service_tags(&service.name),
            document,
        };
        Ok((self.register(&service.name, params, &needs), images))
    }

    pub(super) fn register(&mut self, service: &str, params: RegisterTaskDefinition, needs: &[StepId]) -> StepId {
        let title = format!("Register task definition {}", params.family);
        let id = format!("task_definition.{service}");
        self.builder.add(id, title, needs, StepParams::RegisterTaskDefinition(params))
    }

    fn image(&mut self, service: &Service, container: &ContainerTemplate) -> Result<Input, PlanError> {
        let id = format!("image.{}.{}", service.name, container.name);
        let key = (service.name.clone(), container.name.clone());
        if let Some(given) = self.scene.images.get(&key).cloned() {
            return Ok(self.reference(id, &given));
        }
        if self.commit.is_none() && needs_commit(&container.image) {
            match self.scene.kept.get(&service.name) {
                Some(Kept::Images(images)) => {
                    if let Some(kept) = images.get(&container.name) {
                        return Ok(Input::Value(kept.clone()));
                    }
                }
                Some(Kept::Others(images)) => {
                    if let Some(kept) = images.get(&container.name).cloned() {
                        return Ok(self.reference(id, &kept));
                    }
                }
                Some(Kept::Unread(why)) => return Err(why.clone()),
                None => {}
            }
        }
        match &container.image {
            ImageSource::Reference(reference) => Ok(self.reference(id, reference)),
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

    /// As written, or the digest that it has now.
    fn reference(&mut self, id: String, reference: &str) -> Input {
        if !self.scene.pinned || reference.contains("@sha256:") || reference.starts_with("sha256:") {
            return Input::Value(reference.to_owned());
        }
        let params = AwaitImage { image: reference.to_owned(), label: None };
        let first = self.first.clone();
        let step = self.builder.add(id, format!("Look up image {reference}"), &first, StepParams::AwaitImage(params));
        Input::output(step.as_str(), "image")
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
            unplannable(format!("container {who} is built from a commit, and none is known; {}", self.remedy()))
        })?;
        let key =
            self.scene.repository.ok_or_else(|| {
                unplannable(format!("container {who} is built from a checkout, and the manifest has several repositories and none named after the project"))
            })?;
        let source = self.app.repositories.get(key).and_then(|r| r.source.clone()).ok_or_else(|| {
            unplannable(format!("container {who} is built from a checkout, and repository {key} has no `source`"))
        })?;
        let name = if self.scene.several { format!("{}-{who}", service.name) } else { who.clone() };
        let params = BuildImage {
            source,
            commit: commit.to_owned(),
            build: build.clone(),
            tag: format!("{}-{}:{}", self.scene.base, name.to_ascii_lowercase(), short_commit(commit)),
            tags: self.service_tags(&service.name),
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
        let unplannable =
            |what: &str| PlanError::Unplannable(format!("container {container} waits for an image {what}"));
        let branch = || match self.scene.branch {
            None => Err(unplannable(
                "named after a branch, and a lasting environment follows none; use {short_commit}, or name the image",
            )),
            Some(SourceRef::Branch(branch)) => tag_safe(branch).ok_or_else(|| {
                unplannable(&format!(
                    "named after the branch, and {branch:?} leaves nothing that a tag may hold; use {{short_commit}}"
                ))
            }),
            Some(SourceRef::ForkPullRequest(number)) => Ok(format!("pr-{number}")),
        };
        let unknown = || unplannable(&format!("of a commit, and none is known; {}", self.remedy()));
        filled(text, &self.app.project, branch, || self.commit.ok_or_else(unknown))
    }

    fn remedy(&self) -> &'static str {
        match self.scene.branch {
            Some(_) => "give the repository a `source`",
            None => "say which with --commit, or name the image with --image",
        }
    }

    pub(super) fn service(
        &mut self,
        part: &Part<'_>,
        definition: &StepId,
        target: Option<Attached<'_>>,
        after: &[StepId],
    ) -> StepId {
        let service = part.service;
        let target_group = match target {
            Some(Attached::Made(routed)) => Some(Input::output(routed.target_group.as_str(), "target_group")),
            Some(Attached::Existing(arn)) => Some(Input::Value(arn.to_owned())),
            None => None,
        };
        let target_of = |target_group: Input| {
            let binding = service.load_balancer.as_ref()?;
            Some(ServiceTarget { target_group, container: binding.container.clone(), port: binding.port })
        };
        let mut deployment = service.deployment.clone();
        if !self.scene.adopt {
            // A preview's traffic goes by Landfall's own rule.
            (deployment.strategy, deployment.alarms) = (DeploymentStrategy::default(), None);
        }
        let following = self.scene.following;
        let params = DeployService {
            name: part.name.clone(),
            launch_type: service.launch_type,
            task_definition: Input::output(definition.as_str(), "task_definition"),
            desired_count: part.desired_count,
            keep_count: part.keep_count,
            only_count: false,
            deployment,
            target: target_group.and_then(target_of),
            tags: self.service_tags(&service.name),
            adopt: self.scene.adopt,
            force: following.force,
            wait_until: following.wait_until,
            fail_fast: following.fail_fast,
            document: service.documents.as_ref().map(|documents| documents.service.clone()),
        };
        let mut needs = after.to_vec();
        let made = match target {
            Some(Attached::Made(routed)) => vec![&routed.target_group, &routed.route],
            _ => Vec::new(),
        };
        for step in std::iter::once(definition).chain(made) {
            if !needs.contains(step) {
                needs.push(step.clone());
            }
        }
        self.put(&service.name, params, &needs)
    }

    pub(super) fn put(&mut self, service: &str, params: DeployService, needs: &[StepId]) -> StepId {
        let title = format!("Deploy service {}", params.name);
        // The platform's own deployment timeout comes first and knows the reason.
        let timeout = params.deployment.timeout.saturating_add(120);
        let step = self.builder.add(format!("service.{service}"), title, needs, StepParams::DeployService(params));
        self.builder.timeout_s(timeout);
        step
    }

    /// Healthy targets, and an answer through the load balancer.
    pub(super) fn answering(&mut self, part: &Part<'_>, routed: &Routed, deployed: &StepId) -> Vec<StepId> {
        let minimum = healthy(part.desired_count, part.keep_count);
        self.answers(minimum, part.service.deployment.timeout, routed, deployed)
    }

    pub(super) fn answers(&mut self, minimum: u32, timeout: u32, routed: &Routed, deployed: &StepId) -> Vec<StepId> {
        if minimum == 0 || self.scene.following.wait_until == WaitUntil::Started {
            return Vec::new();
        }
        let target_group = Input::output(routed.target_group.as_str(), "target_group");
        let needs = [deployed.clone(), routed.target_group.clone()];
        let params = StepParams::TargetsHealthy(TargetsHealthy { target_group, minimum });
        let targets = self.builder.add("targets", "Wait for healthy targets".to_owned(), &needs, params);
        self.builder.timeout_s(timeout);
        let params = StepParams::ProbeUrl(ProbeUrl { url: Input::output(routed.route.as_str(), "url") });
        let probe = self.builder.add("probe", "Ask the URL".to_owned(), &[targets, routed.route.clone()], params);
        self.builder.timeout_s(PROBE_S);
        vec![probe]
    }

    pub(super) fn service_tags(&self, service: &str) -> Tags {
        let mut tags = self.tags.clone();
        tags.insert(TAG_SERVICE.to_owned(), service.to_owned());
        tags
    }
}

/// Targets that must be healthy. Of a count that somebody else sets only that there is one: it may be another by then, and the
/// deployment has waited for its tasks.
pub(super) fn healthy(desired_count: u32, keep_count: bool) -> u32 {
    if keep_count { desired_count.min(1) } else { desired_count }
}

/// Whether the image is told by the commit.
fn needs_commit(image: &ImageSource) -> bool {
    let told = |text: &str| text.contains("{commit}") || text.contains("{short_commit}") || text.contains("{branch}");
    match image {
        ImageSource::Build(_) => true,
        ImageSource::Await(wait) => told(&wait.image) || wait.label.as_ref().is_some_and(|(_, value)| told(value)),
        ImageSource::Reference(_) | ImageSource::Base => false,
    }
}

/// What CI was to say is there. Its names are taken out: a plan keeps what was said.
fn told_by_ci(settings: &mut ContainerSettings, service: &str, container: &str) -> Result<(), PlanError> {
    let mut unset = std::mem::take(&mut settings.ci_variables);
    unset.retain(|name| !settings.environment.contains_key(name));
    let verb = match unset.len() {
        0 => return Ok(()),
        1 => "is",
        _ => "are",
    };
    Err(PlanError::Unplannable(format!(
        "{} of {service}/{container} {verb} taken from where Landfall runs (`ci_variables`), and not set there",
        unset.join(", ")
    )))
}

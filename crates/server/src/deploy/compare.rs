//! What a deployment would send against what there is, service by service, without a step being taken: the plan is made as a
//! deployment makes it, and what its steps would be given is looked up instead of made.
//!
//! Also without a state: then what runs keeps its images.

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::app::{App, LongLivedEnvironment};
use landfall_model::aws::AwsTarget;
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_model::step::{AwaitImage, DeployService, Input, RegisterTaskDefinition, StepParams};
use landfall_planner::names::{is_target_group, lasting_name};
use landfall_planner::plan::{self, EnvironmentInputs, Following, ImageOverride, Release, Released, Running, release};
use landfall_ports::orchestrator::{Documents, Looked, PutService};
use landfall_ports::{Platform, PortError};
use landfall_workflow::Plan;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Answer, attempts, place, refused, target};
use crate::control::ControlError;
use crate::service::Inner;

/// What is compared with what there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// What a deployment of these would send.
    Manifest {
        commit: Option<String>,
        images: Vec<ImageOverride>,
        /// Of the manifest; empty: all.
        services: Vec<String>,
    },
    /// What was released last; where nothing is known to have been, the manifest with the images that run.
    Release,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub environment: EnvironmentId,
    pub title: String,
    /// What was released last, where that is known.
    pub release: Option<ExecutionId>,
    /// Of the deployment; none against a release.
    pub steps: Vec<PlannedStep>,
    pub services: Vec<Compared>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub id: String,
    pub kind: String,
    pub title: String,
    /// Steps that it waits for.
    pub needs: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// In the manifest, and on the platform.
    pub service: String,
    pub name: String,
    /// `None`: it is not there.
    pub live: Option<Documents>,
    pub wanted: Documents,
    /// What could not be known before the deployment.
    pub notes: Vec<String>,
    /// Only where it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looked: Vec<Looked>,
}

/// One environment, and all that is needed to look at it.
pub struct Scene<'a> {
    pub app: &'a App,
    pub environment: &'a LongLivedEnvironment,
    pub platform: &'a Platform,
    pub instance: String,
    /// Where it runs, with the load balancer's address; `None`: this machine.
    pub target: Option<AwsTarget>,
    /// What was released last, where that is known.
    pub present: Option<Release>,
    /// As of [`release::unfinished`].
    pub unfinished: BTreeSet<String>,
}

/// Compares. `look`: also whether it can work.
///
/// # Errors
/// What cannot be planned (`Invalid`), and what the platform does not tell.
pub async fn compare(scene: &Scene<'_>, against: &Against, look: bool) -> Result<Comparison, ControlError> {
    plan::by_hand(scene.environment).map_err(refused)?;
    let live = live(scene).await?;
    let mut comparison = Comparison {
        environment: scene.environment.id(&scene.app.project),
        title: String::new(),
        release: scene.present.as_ref().map(|present| present.id.clone()),
        steps: Vec::new(),
        services: Vec::new(),
    };
    let wanted = match (against, &scene.present) {
        (Against::Release, Some(present)) => {
            comparison.title = format!("What {} released", present.id);
            released(scene, present, &live)
        }
        _ => {
            let plan = planned(scene, against, &live)?;
            comparison.title.clone_from(&plan.title);
            if *against != Against::Release {
                comparison.steps = plan.steps.iter().map(step).collect();
            }
            Resolver { scene, live: &live }.wanted(&plan).await?
        }
    };
    for Wanted { service, definition, put, notes } in wanted {
        let invalid = |missing: String| ControlError::Internal(format!("service {service}: {missing}"));
        let (definition, request) = (definition.definition().map_err(invalid)?, PutService::of(&put).map_err(invalid)?);
        let orchestrator = &scene.platform.orchestrator;
        let looked = match look {
            true => orchestrator.preflight(&definition, &request).await.map_err(told)?,
            false => Vec::new(),
        };
        let documents = match orchestrator.desired_documents(&definition, &request).await {
            Ok(documents) => documents,
            // Told by what was looked at.
            Err(_) if !looked.is_empty() => Documents { task_definition: Value::Null, service: Value::Null },
            Err(error) => return Err(told(error)),
        };
        comparison.services.push(Compared {
            name: request.name,
            live: live.get(&service).cloned().flatten(),
            service,
            wanted: documents,
            notes,
            looked,
        });
    }
    Ok(comparison)
}

/// What the manifest names and the platform does not have, or does not take, is the manifest's fault.
fn told(error: PortError) -> ControlError {
    match error {
        PortError::NotFound(message) | PortError::Invalid(message) => ControlError::Invalid(message),
        other => other.into(),
    }
}

pub(crate) async fn answer(inner: &Inner, name: &str, against: &Against, look: bool) -> Answer<Comparison> {
    let place = place(inner, name)?;
    let seen = attempts::recent(inner, &place.id, &place.environment.services).await?;
    let attempts = attempts::bare(&seen);
    let scene = Scene {
        app: &inner.app,
        environment: place.environment,
        platform: place.platform,
        instance: inner.instance.clone(),
        target: target(inner, &place).await?,
        present: release::state(&attempts),
        unfinished: release::unfinished(&attempts),
    };
    compare(&scene, against, look).await
}

type Live = BTreeMap<String, Option<Documents>>;

/// By the manifest's name.
async fn live(scene: &Scene<'_>) -> Answer<Live> {
    let mut live = Live::new();
    for service in &scene.environment.services {
        let name = lasting_name(scene.app, scene.environment, service);
        live.insert(service.clone(), scene.platform.orchestrator.documents(&name).await.map_err(told)?);
    }
    Ok(live)
}

fn planned(scene: &Scene<'_>, against: &Against, live: &Live) -> Answer<Plan> {
    let (commit, images, services) = match against {
        Against::Manifest { commit, images, services } => (commit.clone(), images.clone(), services.clone()),
        Against::Release => (None, Vec::new(), Vec::new()),
    };
    let count = |(name, documents): (&String, &Option<Documents>)| Some((name.clone(), count(documents.as_ref()?)?));
    let runs = |(name, documents): (&String, &Option<Documents>)| Some((name.clone(), running(documents.as_ref()?)?));
    let cx = EnvironmentInputs {
        instance: scene.instance.clone(),
        execution: ExecutionId::new("exe_plan"),
        commit,
        images,
        services,
        live: live.iter().filter_map(count).collect(),
        running: live.iter().filter_map(runs).collect(),
        unfinished: scene.unfinished.clone(),
        target: scene.target.clone(),
        following: Following::default(),
        present: scene.present.clone(),
        comparing: matches!(against, Against::Release),
    };
    Ok(plan::environment(scene.app, scene.environment, &cx).map_err(refused)?.plan)
}

/// What the documents say that runs.
pub(super) fn running(documents: &Documents) -> Option<Running> {
    let task_definition = documents.service["taskDefinition"].as_str()?.to_owned();
    let image =
        |container: &Value| Some((container["name"].as_str()?.to_owned(), container["image"].as_str()?.to_owned()));
    let containers = documents.task_definition["containerDefinitions"].as_array();
    let images = containers.map(|containers| containers.iter().filter_map(image).collect());
    Some(Running { task_definition, images })
}

fn step(step: &landfall_workflow::Step) -> PlannedStep {
    PlannedStep {
        id: step.id.to_string(),
        kind: step.kind().to_owned(),
        title: step.title.clone(),
        needs: step.needs.iter().map(ToString::to_string).collect(),
    }
}

/// A service's two steps with everything known.
struct Wanted {
    service: String,
    definition: RegisterTaskDefinition,
    put: DeployService,
    notes: Vec<String>,
}

/// Counts that the manifest does not hold are nobody's drift: `landfall scale` and autoscaling set them.
fn released(scene: &Scene<'_>, release: &Release, live: &Live) -> Vec<Wanted> {
    let of = |(service, released): (&String, &Released)| {
        let mut put = released.deploy.clone();
        let held = scene.environment.desired_count.get(service).copied();
        let count = held.or_else(|| count(live.get(service)?.as_ref()?));
        put.desired_count = count.unwrap_or(put.desired_count);
        if held.is_none()
            && let Some(document) = put.document.as_mut().and_then(Value::as_object_mut)
        {
            document.remove("desiredCount");
        }
        Wanted { service: service.clone(), definition: released.definition.clone(), put, notes: Vec::new() }
    };
    // Of services that the manifest has no more, nothing is known here.
    let here = |(service, _): &(&String, &Released)| scene.environment.services.contains(service);
    release.services.iter().filter(here).map(of).collect()
}

/// The desired count of now.
pub(super) fn count(live: &Documents) -> Option<u32> {
    u32::try_from(live.service["desiredCount"].as_u64()?).ok()
}

/// Puts what is there, or would be, in the place of what earlier steps bring.
struct Resolver<'a> {
    scene: &'a Scene<'a>,
    live: &'a Live,
}

impl Resolver<'_> {
    async fn wanted(&self, plan: &Plan) -> Answer<Vec<Wanted>> {
        let mut images: BTreeMap<String, (String, Option<String>)> = BTreeMap::new();
        let mut definitions = BTreeMap::new();
        let mut groups = BTreeMap::new();
        let mut wanted = Vec::new();
        // In the order of the plan: what a step needs comes before it.
        for step in &plan.steps {
            let Ok(params) = serde_json::from_value::<StepParams>(step.params.clone()) else { continue };
            let id = step.id.to_string();
            match params {
                StepParams::AwaitImage(params) => drop(images.insert(id, self.image(params).await?)),
                StepParams::BuildImage(params) => {
                    let built = AwaitImage { image: params.tag, label: None };
                    drop(images.insert(id, self.image(built).await?));
                }
                StepParams::RegisterTaskDefinition(params) => drop(definitions.insert(id, params)),
                StepParams::EnsureTargetGroup(params) => drop(groups.insert(id, params.name)),
                StepParams::DeployService(mut put) => {
                    let service = id.strip_prefix("service.").unwrap_or(&id).to_owned();
                    let Input::Output { output } = &put.task_definition else { continue };
                    let Some(mut definition) = definitions.remove(before_slash(output)) else { continue };
                    let mut notes = Vec::new();
                    for container in &mut definition.containers {
                        if let Input::Output { output } = &container.image
                            && let Some((image, note)) = images.get(before_slash(output))
                        {
                            notes.extend(note.clone());
                            container.image = Input::Value(image.clone());
                        }
                    }
                    put.task_definition = Input::Value(definition.family.clone());
                    if let Some(target) = &mut put.target
                        && let Input::Output { output } = &target.target_group
                        && let Some(name) = groups.get(before_slash(output))
                    {
                        target.target_group = Input::Value(self.target_group(&service, name));
                    }
                    wanted.push(Wanted { service, definition, put, notes });
                }
                _ => {}
            }
        }
        Ok(wanted)
    }

    /// The digest that it has now; as it is written, and a note, where there is none.
    async fn image(&self, params: AwaitImage) -> Answer<(String, Option<String>)> {
        match self.scene.platform.images.resolve(&params).await {
            Ok(Some(found)) => Ok((found, None)),
            Ok(None) => {
                let note = format!("image {} is not there yet: the deployment builds it or waits for it", params.image);
                Ok((params.image, Some(note)))
            }
            Err(error) => {
                let note = format!("image {} was not looked up: {error}", params.image);
                Ok((params.image, Some(note)))
            }
        }
    }

    /// Of the group of that name that the service has; the name alone where it has none yet.
    fn target_group(&self, service: &str, name: &str) -> String {
        let live = self.live.get(service).and_then(Option::as_ref);
        let balancers = live.and_then(|live| live.service["loadBalancers"].as_array()).into_iter().flatten();
        let mut handles = balancers.filter_map(|balancer| balancer["targetGroupArn"].as_str());
        handles.find(|handle| is_target_group(handle, name)).unwrap_or(name).to_owned()
    }
}

fn before_slash(output: &str) -> &str {
    output.split('/').next().unwrap_or(output)
}

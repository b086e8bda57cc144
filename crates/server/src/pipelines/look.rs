//! What a run needs to know of the world: its images by digest, whether a stage may be entered, and what would be deployed over
//! what. Looks and changes nothing, but that `enter` takes the environment's lock.

use std::collections::BTreeMap;

use landfall_deploy::diff::{Kind, diff, text};
use landfall_model::app::{ImageSource, LongLivedEnvironment, Service};
use landfall_model::names::{self, short_commit, tag_safe};
use landfall_model::pipeline::{PipelineRelease, Requires, Stage, Work, is_pinned};
use landfall_model::step::AwaitImage;
use landfall_pipeline::{Run, Shown, StageState, Surveyed};
use landfall_planner::plan::{self, ImageOverride};
use landfall_ports::{Platform, PortError};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{holder, stack as stacks};
use crate::control::ControlError;
use crate::deploy::{self, Against, Comparison};
use crate::service::Inner;

/// Releases of an environment among which one of the same images is looked for.
const LOOKED_BACK: usize = 50;

/// Every image of every stage, by the digest that it has now. `Ok(Err)`: one is not there yet.
pub(super) async fn resolve(inner: &Inner, run: &Run) -> Result<Result<PipelineRelease, String>, String> {
    let mut release = run.release().clone();
    for stage in &run.pipeline().stages {
        let Some(environment) = inner.app.environments.get(&stage.environment) else {
            return Err(format!("the manifest has no environment {} any more", stage.environment));
        };
        let Some(platform) = inner.places.get(&stage.environment) else {
            return Err(format!("environment {} has no place", stage.environment));
        };
        for service in &environment.services {
            let Some(own) = inner.app.services.get(service) else {
                return Err(format!("the manifest has no service {service} any more"));
            };
            for (container, wanted) in wanted(own, &release, &inner.app.project)? {
                let known = release.images.entry(service.clone()).or_default();
                // Found once, it is the same for every stage. One that was given without a digest stays as it was given: the run refuses it.
                if known.contains_key(&container) {
                    continue;
                }
                match platform.images.resolve(&wanted).await {
                    Ok(Some(image)) => drop(known.insert(container, image)),
                    Ok(None) | Err(PortError::NotFound(_)) => {
                        return Ok(Err(format!("{} of {service}/{container} is not there yet", wanted.image)));
                    }
                    Err(error @ (PortError::Invalid(_) | PortError::Bug(_))) => {
                        return Err(format!("{} of {service}/{container}: {error}", wanted.image));
                    }
                    Err(error) => return Ok(Err(format!("{} of {service}/{container}: {error}", wanted.image))),
                }
            }
        }
    }
    Ok(Ok(release))
}

/// What each container runs, where the manifest tells. Nothing of those whose image a base task definition holds.
fn wanted(service: &Service, release: &PipelineRelease, project: &str) -> Result<Vec<(String, AwaitImage)>, String> {
    let mut all = Vec::new();
    for container in &service.containers {
        let who = format!("{}/{}", service.name, container.name);
        let image = match &container.image {
            ImageSource::Base => continue,
            ImageSource::Reference(image) => AwaitImage { image: image.clone(), label: None },
            ImageSource::Await(wait) => {
                let label = match &wait.label {
                    Some((key, value)) => Some((key.clone(), filled(value, release, project, &who)?)),
                    None => None,
                };
                AwaitImage { image: filled(&wait.image, release, project, &who)?, label }
            }
            ImageSource::Build(_) => {
                return Err(format!("{who} is built by the deployment: a pipeline promotes what was pushed"));
            }
        };
        all.push((container.name.clone(), image));
    }
    Ok(all)
}

/// A name with the release's commit, its branch and the project in it.
pub(super) fn filled(text: &str, release: &PipelineRelease, project: &str, who: &str) -> Result<String, String> {
    let unknown = |what: &str| format!("{who} is named after a {what}, and none is known");
    let branch = || release.branch.as_deref().and_then(tag_safe).ok_or_else(|| unknown("branch"));
    names::filled(text, project, branch, || release.commit.as_deref().ok_or_else(|| unknown("commit")))
}

/// The images of one environment as they are called where it pulls them.
pub(super) fn images(
    stage: &Stage,
    environment: &LongLivedEnvironment,
    release: &PipelineRelease,
) -> Vec<ImageOverride> {
    let mut all = Vec::new();
    for service in &environment.services {
        for (container, image) in release.images.get(service).into_iter().flatten() {
            let image = copied(stage, image).unwrap_or_else(|| image.clone());
            all.push(ImageOverride { service: Some(service.clone()), container: container.clone(), image });
        }
    }
    all
}

/// What an image is called once the stage has copied it; `None`: it is not copied.
pub(super) fn copied(stage: &Stage, image: &str) -> Option<String> {
    let (name, digest) = image.split_once('@')?;
    stage.run.iter().find_map(|work| match work {
        Work::Copy { repositories } => repositories.get(name).map(|to| format!("{to}@{digest}")),
        _ => None,
    })
}

pub(super) fn against(run: &Run, stage: &Stage, environment: &LongLivedEnvironment) -> Against {
    let release = run.release();
    let images = images(stage, environment, release);
    Against::Manifest { commit: release.commit.clone(), images, services: Vec::new() }
}

/// Whether the stage may be entered, and what that would mean.
pub(super) async fn survey(inner: &Inner, run: &Run, stage: usize) -> Surveyed {
    let own = match here(inner, run, stage) {
        Ok((own, _)) => own,
        Err(why) => return Surveyed { closed: vec![why], shown: None },
    };
    let mut closed = Vec::new();
    match deploy::lock_of(inner, &own.environment).await {
        Ok(Some(lock)) if lock.by != holder(run.id()) => {
            closed.push(format!("{} was locked by {} at {:.0}: {}", own.environment, lock.by, lock.at, lock.reason));
        }
        Ok(_) => {}
        Err(error) => closed.push(error.to_string()),
    }
    closed.extend(required(inner, &own.requires, run.release()).await);
    if !closed.is_empty() {
        return Surveyed { closed, shown: None };
    }
    match shown(inner, run, stage, false).await {
        Ok(shown) => Surveyed { closed, shown: Some(shown) },
        Err(why) => Surveyed { closed: vec![why], shown: None },
    }
}

/// Takes the lock, then looks afresh: what is found is not changed by anybody of ours until the stage ends.
pub(super) async fn enter(inner: &Inner, run: &Run, stage: usize) -> Result<(Shown, Option<String>), Vec<String>> {
    let (own, environment) = here(inner, run, stage).map_err(|why| vec![why])?;
    let one = |error: ControlError| vec![error.to_string()];
    let by = holder(run.id());
    match deploy::lock_of(inner, &own.environment).await.map_err(one)? {
        Some(lock) if lock.by == by => {}
        _ => {
            let reason = format!("{} #{} is in this stage", run.pipeline().name, run.seq());
            deploy::lock(inner, &own.environment, reason, by).await.map_err(one)?;
        }
    }
    let looked = async {
        let stack = environment.stack.is_some();
        let released = if stack { None } else { settled(inner, &own.environment).await.map_err(one)? };
        let shown = shown(inner, run, stage, true).await.map_err(|why| vec![why])?;
        let before = match stack {
            true => stacks::before(inner, environment).await.map_err(|why| vec![why])?,
            false => released,
        };
        Ok((shown, before))
    };
    let looked = looked.await;
    if looked.is_err()
        && let Err(error) = deploy::unlock_if(inner, &own.environment, &holder(run.id())).await
    {
        tracing::warn!(%error, environment = own.environment, "its lock is not given back yet");
    }
    looked
}

/// What is released there. A deployment that somebody began before the lock was taken comes to its end first.
async fn settled(inner: &Inner, environment: &str) -> Result<Option<String>, ControlError> {
    let detail = deploy::status(inner, environment).await?;
    if let Some(under_way) = detail.execution.filter(|view| view.outcome.is_none()) {
        return Err(ControlError::Conflict(format!("{} ({}) is under way", under_way.title, under_way.id)));
    }
    Ok(detail.release.map(|release| release.id.to_string()))
}

pub(super) fn here<'a>(
    inner: &'a Inner,
    run: &'a Run,
    stage: usize,
) -> Result<(&'a Stage, &'a LongLivedEnvironment), String> {
    let own = run.pipeline().stages.get(stage).ok_or_else(|| "there is no such stage".to_owned())?;
    let environment = inner.app.environments.get(&own.environment);
    Ok((own, environment.ok_or_else(|| format!("the manifest has no environment {} any more", own.environment))?))
}

/// What does not hold.
async fn required(inner: &Inner, requires: &Requires, release: &PipelineRelease) -> Vec<String> {
    let mut closed = Vec::new();
    for name in &requires.passed {
        match has_run(inner, name, release).await {
            Ok(true) => {}
            Ok(false) => closed.push(format!("these images have not come out well in {name} yet")),
            Err(error) => closed.push(format!("{name} cannot be looked at: {error}")),
        }
    }
    for check in &requires.checks {
        if let Err(why) = inner.outside.probe(&check.url, None, &check.probe).await {
            closed.push(format!("check {}: {}: {why}", check.probe.name, check.url));
        }
    }
    for (environment, names) in &requires.quiet {
        match inner.outside.alarms(environment, names).await {
            Ok(loud) if loud.is_empty() => {}
            Ok(loud) => closed.push(format!("in ALARM in {environment}: {}", loud.join(", "))),
            Err(error) => closed.push(format!("alarms of {environment} cannot be looked at: {error}")),
        }
    }
    closed
}

pub(super) fn digest_of(image: &str) -> &str {
    image.rsplit_once("sha256:").map_or(image, |(_, hex)| hex)
}

/// Whether a deployment of these images has ended well there. Repositories may differ: the digest is the image.
async fn has_run(inner: &Inner, name: &str, release: &PipelineRelease) -> Result<bool, ControlError> {
    let Some(environment) = inner.app.environments.get(name) else { return Ok(false) };
    let wanted: Vec<(&str, &str, &str)> = (release.images.iter())
        .filter(|(service, _)| environment.services.contains(service))
        .flat_map(|(service, images)| {
            images.iter().map(move |(name, image)| (service.as_str(), name.as_str(), digest_of(image)))
        })
        .collect();
    // Of no image at all nothing is known.
    if wanted.is_empty() {
        return Ok(false);
    }
    if environment.stack.is_some() {
        let wanted = wanted.into_iter().map(|(service, container, digest)| (format!("{service}/{container}"), digest));
        return stacks::has_run(inner, environment, &wanted.collect()).await.map_err(ControlError::Unavailable);
    }
    let seen = deploy::releases(inner, name, LOOKED_BACK, false).await?;
    let ended_well = |one: &deploy::ReleaseSummary| {
        one.outcome == Some(landfall_workflow::Outcome::Succeeded) && passed(inner, name, &one.by)
    };
    Ok(seen.iter().filter(|one| ended_well(one)).any(|one| {
        wanted.iter().all(|(service, container, digest)| {
            let image = one.services.get(*service).and_then(|service| service.images.get(*container));
            image.is_some_and(|image| digest_of(image) == *digest)
        })
    }))
}

/// Whether a stage that began the deployment has passed: what it checked afterwards counts as well.
fn passed(inner: &Inner, environment: &str, by: &str) -> bool {
    let Some((run, _)) = by.strip_prefix("pipeline:").and_then(|key| key.split_once('/')) else { return true };
    let run = inner.pipelines.get(&run.into()).map(|(run, _)| run.view());
    let mut stages = run.iter().flat_map(|run| &run.stages);
    stages.any(|stage| stage.environment == environment && stage.state == StageState::Passed)
}

/// What would be deployed over what. `Err`: it could not be, and why.
pub(super) async fn shown(inner: &Inner, run: &Run, stage: usize, afresh: bool) -> Result<Shown, String> {
    let (own, environment) = here(inner, run, stage)?;
    let platform = inner.places.get(&own.environment).ok_or_else(|| "it has no place".to_owned())?;
    are_there(platform, own, run.release(), environment).await?;
    let look_at = match stage.checked_sub(1).and_then(|before| run.pipeline().stages.get(before)) {
        Some(before) => url(inner, &before.environment).await,
        None => None,
    };
    if environment.stack.is_some() {
        return Ok(Shown { look_at, ..stacks::shown(inner, run, own, environment, afresh).await? });
    }
    let comparison = deploy::compare_here(inner, &own.environment, &against(run, own, environment), false).await;
    let comparison =
        comparison.map_err(|error| format!("what would change in {} is not known: {error}", own.environment))?;
    let release = deploy::releases(inner, &own.environment, 1, false).await.map_err(|error| error.to_string())?;
    let from = release.first().map(|release| {
        let commit = release
            .commit
            .as_deref()
            .map_or_else(|| "images given by hand".to_owned(), |text| short_commit(text).to_owned());
        format!("{commit} ({})", release.id)
    });
    let mut shown = told(&comparison);
    for one in images(own, environment, run.release()) {
        shown.images.insert(format!("{}/{}", one.service.unwrap_or_default(), one.container), one.image);
    }
    Ok(Shown { environment: own.environment.clone(), from, look_at, ..shown })
}

/// Where it is reached, as far as that follows from the manifest.
pub(super) async fn url(inner: &Inner, name: &str) -> Option<String> {
    let place = deploy::place(inner, name).ok()?;
    if let Some(url) = place.environment.verify.as_ref().and_then(|verify| verify.url.clone()) {
        return Some(url);
    }
    if place.environment.stack.is_some() {
        return stacks::url(inner, place.environment).await;
    }
    let target = deploy::target(inner, &place).await.ok()?;
    plan::environment_url(&inner.app, place.environment, target.as_ref())
}

/// Nothing is begun with an image that its registry does not have any more.
async fn are_there(
    platform: &Platform,
    stage: &Stage,
    release: &PipelineRelease,
    environment: &LongLivedEnvironment,
) -> Result<(), String> {
    for service in &environment.services {
        for (container, image) in release.images.get(service).into_iter().flatten() {
            let who = format!("{service}/{container}");
            if !is_pinned(image) {
                return Err(format!("{who}: {image} is not named by digest"));
            }
            // What is copied is looked for by who copies it, in the place that it comes from.
            if copied(stage, image).is_some() {
                continue;
            }
            let look = AwaitImage { image: image.clone(), label: None };
            match platform.images.resolve(&look).await {
                Ok(Some(found)) if digest_of(&found) == digest_of(image) => {}
                Ok(Some(found)) => return Err(format!("{who}: {image} answers as {found}")),
                Ok(None) | Err(PortError::NotFound(_)) => {
                    return Err(format!(
                        "{who}: {image} is not in its registry any more: push it again, or begin a new run"
                    ));
                }
                Err(PortError::Invalid(_)) if image.starts_with("sha256:") => {
                    return Err(format!(
                        "{who}: {image} is not on this machine any more: build it again, or begin a new run"
                    ));
                }
                Err(error) => return Err(format!("{who}: {image} cannot be looked at: {error}")),
            }
        }
    }
    Ok(())
}

/// The comparison in what an approval is bound to. Counts are left out: they scale by themselves.
fn told(comparison: &Comparison) -> Shown {
    let mut shown = Shown::default();
    for one in &comparison.services {
        let nothing = Value::Null;
        let (definition, service) = match &one.live {
            Some(live) => (&live.task_definition, &live.service),
            None => (&nothing, &nothing),
        };
        for container in definition["containerDefinitions"].as_array().into_iter().flatten() {
            if let (Some(name), Some(image)) = (container["name"].as_str(), container["image"].as_str()) {
                shown.present.insert(format!("{}/{name}", one.service), image.to_owned());
            }
        }
        let state = match &one.live {
            Some(live) => live.service["taskDefinition"].as_str().unwrap_or("unknown").to_owned(),
            None => "not there".to_owned(),
        };
        shown.state.insert(one.service.clone(), state);
        let mut wanted = one.wanted.service.clone();
        if let Some(fields) = wanted.as_object_mut() {
            fields.remove("desiredCount");
        }
        let config: BTreeMap<&str, &Value> =
            [("service", &wanted), ("task_definition", &one.wanted.task_definition)].into();
        let bytes = serde_json::to_vec(&config).unwrap_or_default();
        shown.config.insert(one.service.clone(), hex::encode(Sha256::digest(&bytes)));
        if one.live.is_none() {
            shown.changes.push(format!("{}: is made, as {}", one.service, one.name));
            continue;
        }
        let mut changes = diff(Kind::TaskDefinition, definition, &one.wanted.task_definition);
        let settings = diff(Kind::Service, service, &one.wanted.service);
        // The definition's name in the service's document follows from the definition.
        changes
            .extend(settings.into_iter().filter(|one| !matches!(one.path.as_str(), "desiredCount" | "taskDefinition")));
        let lines = text(&changes);
        shown.changes.extend(lines.lines().map(|line| format!("{}: {}", one.service, line.trim_end())));
    }
    shown
}

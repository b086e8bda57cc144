//! Plans for lasting environments. Nothing is swept and nothing deregistered: what ran before can run again.
//!
//! ```text
//! deploy    image.* → task_definition.* ─┐
//!           target_group → route ────────┴→ service.* → targets → probe
//! rollback  the same with a release's own parameters: its images are pinned, its definitions are found or registered again
//! scale     service.*
//! ```

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::app::{App, LongLivedEnvironment, Service, route_url};
use landfall_model::aws::AwsTarget;
use landfall_model::ids::{ExecutionId, PlanDigest, RepositoryKey};
use landfall_model::inventory::Tags;
use landfall_model::step::{DeployService, Input, RouteTarget};
use landfall_workflow::{FailurePolicy, Plan};
use serde::{Deserialize, Serialize};

use super::deploy::{Attached, Deploy, Following, Kept, Part, Scene, healthy};
use super::release::{self, Release, Released};
use super::step::Builder;
use super::{MAX_PARALLEL, MAX_PARALLEL_ON_AWS, PlanError, Planned, SCHEMA, tags_of};
use crate::control::at_commit;
use crate::names::{lasting_name, lasting_target_group};

/// There is only ever one: a lasting environment is never made anew.
pub(super) const GENERATION: u64 = 1;

/// What a plan for a lasting environment is made from besides the manifest.
#[derive(Debug, Clone)]
pub struct EnvironmentInputs {
    /// The installation's id, for `landfall.instance`.
    pub instance: String,
    /// The execution that will run the plan.
    pub execution: ExecutionId,
    /// Full commit id.
    pub commit: Option<String>,
    pub images: Vec<ImageOverride>,
    /// Of the manifest; empty: all of the environment.
    pub services: Vec<String>,
    /// Desired counts of now, by the manifest's name: what a service begins with that has to be made again. One that is there
    /// keeps the count it has by then, unless the environment holds it.
    pub live: BTreeMap<String, u32>,
    /// What the services run that are there, by the manifest's name.
    pub running: BTreeMap<String, Running>,
    /// As of [`release::unfinished`].
    pub unfinished: BTreeSet<String>,
    /// Where it runs, with the load balancer's address; `None`: this machine.
    pub target: Option<AwsTarget>,
    pub following: Following,
    /// What was released last.
    pub present: Option<Release>,
    /// Nothing is to be changed: what others run is as they say it, by tag or digest.
    pub comparing: bool,
}

/// What a service runs, whoever deployed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The platform's handle.
    pub task_definition: String,
    /// Container → image. `None`: not read.
    pub images: Option<BTreeMap<String, String>>,
}

impl EnvironmentInputs {
    /// Whether what this service runs is what was released last, or may be taken for it: what is left of an attempt that came to
    /// no release is not what anybody meant to run, and what is not there runs nothing.
    pub fn runs_release(&self, service: &str) -> bool {
        let Some(running) = self.running.get(service) else { return true };
        let released = self.present.as_ref().and_then(|present| present.services.get(service));
        released.is_some_and(|released| released.task_definition == running.task_definition)
            || self.unfinished.contains(&running.task_definition)
    }
}

/// An image given by hand: `[SERVICE/]CONTAINER=REFERENCE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageOverride {
    /// `None`: whichever service of the environment has such a container.
    pub service: Option<String>,
    pub container: String,
    pub image: String,
}

/// A plan that brings the environment to the manifest's services, at `commit`.
///
/// # Errors
/// A service or container that is not there, an image that needs a commit or repository that is not known.
pub fn environment(
    app: &App,
    environment: &LongLivedEnvironment,
    cx: &EnvironmentInputs,
) -> Result<Planned, PlanError> {
    by_hand(environment)?;
    let all = services(app, environment)?;
    let chosen: Vec<&Service> = match cx.services.is_empty() {
        true => all.clone(),
        false => cx.services.iter().map(|name| one(&all, environment, name)).collect::<Result<_, _>>()?,
    };
    let primary = all.iter().find(|service| service.load_balancer.is_some()).map(|service| service.name.as_str());
    let route = environment.routing.as_ref();
    let url = environment_url(app, environment, cx.target.as_ref());
    let mut deploy = Deploy {
        app,
        scene: Scene {
            base: format!("{}-{}", app.project, environment.name),
            several: all.len() > 1,
            branch: None,
            repository: repository(app),
            environment: &environment.name,
            variables: &environment.variables,
            images: overrides(environment, &chosen, &cx.images)?,
            kept: kept(cx),
            pinned: true,
            adopt: true,
            following: cx.following,
        },
        commit: cx.commit.as_deref(),
        tags: tags(app, environment, cx, cx.commit.as_deref()),
        variables: variables(app, environment, cx.commit.as_deref(), url.as_deref()),
        builder: Builder::new(FailurePolicy::Unwind),
        first: Vec::new(),
        builds: Vec::new(),
    };
    let mut deployed = Vec::new();
    for service in chosen {
        let name = lasting_name(app, environment, &service.name);
        let family = service.documents.as_ref().and_then(|documents| documents.task_definition["family"].as_str());
        let part = Part {
            service,
            family: family.map_or_else(|| name.clone(), str::to_owned),
            name,
            desired_count: desired_count(environment, &service.name, cx).unwrap_or(service.desired_count),
            keep_count: !environment.desired_count.contains_key(&service.name),
        };
        let existing = environment.target_groups.get(&service.name);
        let routed = match (existing, route, url.as_deref()) {
            (None, Some(route), Some(url)) if primary == Some(service.name.as_str()) && service.documents.is_none() => {
                deploy.routing(route, url, &lasting_target_group(app, environment, &service.name), service)
            }
            _ => None,
        };
        let (definition, _) = deploy.task_definition(&part)?;
        deploy.builder.keep(&definition);
        let attached = routed.as_ref().map(Attached::Made).or(existing.map(|arn| Attached::Existing(arn)));
        let id = deploy.service(&part, &definition, attached, &[]);
        deployed.push((part, routed, id));
    }
    for (part, routed, id) in &deployed {
        if let Some(routed) = routed {
            deploy.answering(part, routed, id);
        }
    }
    let title = format!("Deploy {}{}", environment.name, at_commit(cx.commit.as_deref()));
    Ok(planned(app, environment, release::DEPLOY, title, None, deploy))
}

/// A plan that brings back `to`: what the environment ran after that release, as [`release::state`] gives it. `plan` is the
/// release's own.
pub fn rollback(
    app: &App,
    environment: &LongLivedEnvironment,
    to: &Release,
    plan: PlanDigest,
    cx: &EnvironmentInputs,
) -> Planned {
    let commit = to.commit.as_deref();
    let mut deploy = bare(app, environment, cx, commit);
    let target = cx.target.as_ref();
    // What the manifest binds elsewhere by now has its way in from elsewhere; one that was retired stays so.
    let behind = |released: &Released| to.target_group.as_ref().is_some_and(|group| released.is_behind(group));
    let ways_in = to.target_group.clone().zip(to.route.clone()).filter(|_| to.services.values().any(behind));
    let routed = ways_in.map(|(mut group, route)| {
        group.tags.clone_from(&deploy.tags);
        deploy.routed(group, route.route.clone(), &route_url(target, &route.route))
    });
    let mut answers = None;
    for (name, released) in &to.services {
        let mut definition = released.definition.clone();
        definition.tags = deploy.service_tags(name);
        let registered = deploy.register(name, definition, &[]);
        deploy.builder.keep(&registered);
        let mut put = released.deploy.clone();
        put.task_definition = Input::output(registered.as_str(), "task_definition");
        put.tags = deploy.service_tags(name);
        put.desired_count = desired_count(environment, name, cx).unwrap_or(put.desired_count);
        let held = environment.desired_count.get(name);
        put.keep_count = held.is_none();
        if let Some(count) = held {
            count_in_document(&mut put, *count);
        }
        put.adopt = true;
        (put.force, put.wait_until, put.fail_fast) =
            (cx.following.force, cx.following.wait_until, cx.following.fail_fast);
        let mut needs = vec![registered];
        let made = routed.as_ref().zip(put.target.as_mut()).filter(|_| behind(released));
        let mut serves = false;
        if let Some((routed, target)) = made {
            target.target_group = Input::output(routed.target_group.as_str(), "target_group");
            needs.extend([routed.target_group.clone(), routed.route.clone()]);
            serves = true;
        }
        let (minimum, timeout) = (healthy(put.desired_count, put.keep_count), put.deployment.timeout);
        let id = deploy.put(name, put, &needs);
        if serves {
            answers = Some((minimum, timeout, id));
        }
    }
    if let (Some((minimum, timeout, id)), Some(routed)) = (answers, &routed) {
        deploy.answers(minimum, timeout, routed, &id);
    }
    let title = format!("Roll {} back to {}{}", environment.name, to.id, at_commit(commit));
    planned(app, environment, release::ROLLBACK, title, Some(plan), deploy)
}

/// A plan that changes desired counts and nothing else: what runs, whoever deployed it, goes on running.
///
/// # Errors
/// A service that was never deployed here, or is not there.
pub fn scale(
    app: &App,
    environment: &LongLivedEnvironment,
    counts: &BTreeMap<String, u32>,
    cx: &EnvironmentInputs,
) -> Result<Planned, PlanError> {
    by_hand(environment)?;
    let all = services(app, environment)?;
    let mut deploy = bare(app, environment, cx, None);
    let mut words = Vec::new();
    for (name, count) in counts {
        one(&all, environment, name)?;
        let released = cx.present.as_ref().and_then(|present| present.services.get(name)).ok_or_else(|| {
            PlanError::Unplannable(format!("service `{name}` was never deployed to {} by Landfall", environment.name))
        })?;
        let running = cx.running.get(name).ok_or_else(|| {
            let (platform, of) = (&released.deploy.name, &environment.name);
            PlanError::Unplannable(format!("service {platform} does not exist: `landfall deploy {of}` makes it again"))
        })?;
        let mut put = released.deploy.clone();
        put.task_definition = Input::Value(running.task_definition.clone());
        (put.desired_count, put.keep_count, put.only_count) = (*count, false, true);
        put.tags = deploy.service_tags(name);
        (put.adopt, put.force, put.document) = (true, false, None);
        (put.wait_until, put.fail_fast) = (cx.following.wait_until, cx.following.fail_fast);
        words.push(format!("{name} to {count}"));
        let title = format!("Scale service {} to {count}", put.name);
        deploy.put(name, put, &[]);
        deploy.builder.last(|step| step.title = title);
    }
    if words.is_empty() {
        return Err(PlanError::Unplannable("say which service to scale: SERVICE=COUNT".to_owned()));
    }
    let title = format!("Scale {}: {}", environment.name, words.join(", "));
    Ok(planned(app, environment, release::SCALE, title, None, deploy))
}

fn count_in_document(put: &mut DeployService, count: u32) {
    if let Some(document) = put.document.as_mut().and_then(serde_json::Value::as_object_mut) {
        document.insert("desiredCount".to_owned(), count.into());
    }
}

fn bare<'a>(
    app: &'a App,
    environment: &'a LongLivedEnvironment,
    cx: &EnvironmentInputs,
    commit: Option<&'a str>,
) -> Deploy<'a> {
    Deploy {
        app,
        scene: Scene {
            base: String::new(),
            several: false,
            branch: None,
            repository: None,
            environment: &environment.name,
            variables: &environment.variables,
            images: BTreeMap::new(),
            kept: BTreeMap::new(),
            pinned: true,
            adopt: true,
            following: cx.following,
        },
        commit,
        tags: tags(app, environment, cx, commit),
        variables: BTreeMap::new(),
        builder: Builder::new(FailurePolicy::Unwind),
        first: Vec::new(),
        builds: Vec::new(),
    }
}

fn planned(
    app: &App,
    environment: &LongLivedEnvironment,
    kind: &str,
    title: String,
    parent: Option<PlanDigest>,
    deploy: Deploy<'_>,
) -> Planned {
    let plan = Plan {
        schema: SCHEMA,
        kind: kind.to_owned(),
        environment: environment.id(&app.project),
        generation: GENERATION,
        parent,
        title,
        steps: deploy.builder.steps,
        max_parallel: if environment.on.is_some() { MAX_PARALLEL_ON_AWS } else { MAX_PARALLEL },
        // Nobody plans again by himself: whoever asked is told.
        last_try: true,
        quiet: false,
        again: false,
        fallback: BTreeMap::new(),
    };
    Planned { plan, warnings: Vec::new() }
}

/// One way to change a thing: what CloudFormation has made is CloudFormation's, and the next change of the stack would undo ours.
///
/// # Errors
/// The environment is a stack.
pub fn by_hand(environment: &LongLivedEnvironment) -> Result<(), PlanError> {
    let name = &environment.name;
    match environment.stack {
        None => Ok(()),
        Some(_) => Err(PlanError::Unplannable(format!(
            "environment {name} is a stack and changes through it only: `landfall stack apply {name}`, with an earlier --release to go \
             back; how many tasks run is the manifest's (`stack.scaling`, `desired_count`)"
        ))),
    }
}

/// The environment's services, in its order.
pub fn services<'a>(app: &'a App, environment: &LongLivedEnvironment) -> Result<Vec<&'a Service>, PlanError> {
    let find = |name: &String| {
        let missing = || {
            let of = &environment.name;
            PlanError::Unplannable(format!("environments.{of}.services names `{name}`, which is not in the manifest"))
        };
        app.services.get(name).ok_or_else(missing)
    };
    environment.services.iter().map(find).collect()
}

fn one<'a>(all: &[&'a Service], environment: &LongLivedEnvironment, name: &str) -> Result<&'a Service, PlanError> {
    all.iter().copied().find(|service| service.name == name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|service| service.name.as_str()).collect();
        let of = &environment.name;
        PlanError::Unplannable(format!("environment {of} has no service `{name}`; it has {}", names.join(", ")))
    })
}

fn overrides(
    environment: &LongLivedEnvironment,
    services: &[&Service],
    given: &[ImageOverride],
) -> Result<BTreeMap<(String, String), String>, PlanError> {
    let mut images = BTreeMap::new();
    for one in given {
        let of = |service: &&&Service| one.service.as_ref().is_none_or(|name| *name == service.name);
        let has = |service: &&&Service| service.containers.iter().any(|container| container.name == one.container);
        let found: Vec<_> = services.iter().filter(of).filter(has).collect();
        let written = match &one.service {
            Some(service) => format!("{service}/{}", one.container),
            None => one.container.clone(),
        };
        match found.as_slice() {
            [service] => drop(images.insert((service.name.clone(), one.container.clone()), one.image.clone())),
            [] => {
                let all = services.iter().flat_map(|service| {
                    service.containers.iter().map(|container| format!("{}/{}", service.name, container.name))
                });
                let all: Vec<String> = all.collect();
                let name = &environment.name;
                let message = format!("no container `{written}` is deployed to {name}; there is {}", all.join(", "));
                return Err(PlanError::Unplannable(message));
            }
            [first, ..] => {
                let message = format!("several services have a container `{written}`; say {}/{written}=…", first.name);
                return Err(PlanError::Unplannable(message));
            }
        }
    }
    Ok(images)
}

/// By service: the images of what runs, whoever deployed it.
fn kept(cx: &EnvironmentInputs) -> BTreeMap<String, Kept> {
    let present = cx.present.as_ref().map(|present| &present.services);
    let names: BTreeSet<&String> =
        cx.running.keys().chain(present.into_iter().flatten().map(|(name, _)| name)).collect();
    let of = |name: &String| {
        let released = present.and_then(|services| services.get(name));
        if cx.runs_release(name) {
            let images = released?.images().filter(|(_, image)| !image.is_empty());
            return Some(Kept::Images(
                images.map(|(container, image)| (container.to_owned(), image.to_owned())).collect(),
            ));
        }
        let running = cx.running.get(name)?;
        if let Some(images) = &running.images {
            return Some(match cx.comparing {
                true => Kept::Images(images.clone()),
                false => Kept::Others(images.clone()),
            });
        }
        let released = released.map_or("nothing", |released| &released.task_definition);
        Some(Kept::Unread(PlanError::Elsewhere(format!(
            "service `{name}` runs {}, released last was {released}: somebody else deployed it, and its images cannot be read; say \
             which are to run with --commit or --image",
            running.task_definition
        ))))
    };
    names.into_iter().filter_map(|name| Some((name.clone(), of(name)?))).collect()
}

/// The environment's own, or that of now. `None`: neither is known, since the service is not there.
fn desired_count(environment: &LongLivedEnvironment, service: &str, cx: &EnvironmentInputs) -> Option<u32> {
    environment.desired_count.get(service).or_else(|| cx.live.get(service)).copied()
}

/// The only one, or the one named after the project.
fn repository(app: &App) -> Option<&RepositoryKey> {
    let mut all = app.repositories.keys();
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only),
        _ => app.repositories.keys().find(|key| key.as_str() == app.project),
    }
}

fn tags(app: &App, environment: &LongLivedEnvironment, cx: &EnvironmentInputs, commit: Option<&str>) -> Tags {
    tags_of(&environment.id(&app.project), GENERATION, &cx.instance, &cx.execution, commit)
}

/// What containers are told of the environment they are in.
fn variables(
    app: &App,
    environment: &LongLivedEnvironment,
    commit: Option<&str>,
    url: Option<&str>,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([
        ("LANDFALL_ENVIRONMENT".to_owned(), environment.id(&app.project).to_string()),
        ("LANDFALL_PROJECT".to_owned(), app.project.clone()),
    ]);
    variables.extend(commit.map(|commit| ("LANDFALL_COMMIT".to_owned(), commit.to_owned())));
    variables.extend(url.map(|url| ("LANDFALL_URL".to_owned(), url.to_owned())));
    variables
}

/// Where the environment answers; `None` where Landfall routes nothing to it.
pub fn environment_url(app: &App, environment: &LongLivedEnvironment, target: Option<&AwsTarget>) -> Option<String> {
    let all = services(app, environment).ok()?;
    let primary = all.iter().find(|service| service.load_balancer.is_some())?;
    let made = primary.documents.is_none() && !environment.target_groups.contains_key(&primary.name);
    environment.routing.as_ref().filter(|_| made).map(|route: &RouteTarget| route_url(target, route))
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;

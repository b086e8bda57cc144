//! What a stage does. Deployments, tasks and roll-backs are ordinary executions of the engine, found again by the key that they were
//! begun for; the rest is small, natural, and done again after a death.

use std::collections::{BTreeMap, BTreeSet};

use landfall_engine::EngineError;
use landfall_model::app::{ContainerTemplate, ImageSource, Service};
use landfall_model::ids::{ExecutionId, SYSTEM_ACTOR};
use landfall_model::pipeline::{PipelineRelease, Stage, TaskWork, Work};
use landfall_pipeline::{Call, Report, Run};
use landfall_planner::plan::Following;
use landfall_ports::PortError;
use landfall_workflow::{ExecutionState, Outcome, Signal};
use serde_json::json;

use super::{look, pauses, stack};
use crate::control::ControlError;
use crate::deploy::{self, Against, Change};
use crate::service::Inner;

/// Between two looks at an execution, and at what does not answer yet.
const POLL_MS: u64 = 500;
/// While it stands at a pause, for hours or days.
const PAUSED_MS: u64 = 3_000;
/// As long as registries and parameters may be away.
const OUTSIDE_MS: i64 = 600_000;
/// As long as it may be unknown what would be deployed over what.
const SHOWN_WITHIN_MS: i64 = 120_000;
/// After a call that failed and may work later.
pub(super) const RETRY_MS: u64 = 3_000;

pub(super) fn failed(message: impl Into<String>) -> Report {
    Report::Failed { message: message.into(), undone: false }
}

/// Nothing can be begun or told; perhaps later.
fn later(call: &Call, why: String) -> Report {
    Report::Unknown { token: call.token.clone().unwrap_or_else(|| json!({})), after_ms: RETRY_MS, note: Some(why) }
}

/// Milliseconds since the work began.
fn spent(inner: &Inner, call: &Call) -> i64 {
    inner.clock.now().as_millisecond().saturating_sub(call.started_at.as_millisecond())
}

/// What is away may come back, for a while.
fn for_a_while(inner: &Inner, call: &Call, error: &PortError, why: String) -> Report {
    if error.passes() && spent(inner, call) <= OUTSIDE_MS { later(call, why) } else { failed(why) }
}

pub(super) async fn work(inner: &Inner, run: &Run, call: &Call) -> Report {
    let (stage, environment) = match look::here(inner, run, call.stage) {
        Ok(found) => found,
        Err(why) => return failed(why),
    };
    match &call.work {
        Some(Work::Deploy {}) if environment.stack.is_some() => {
            stack::apply(inner, run, stage, environment, call).await
        }
        Some(Work::Stack { .. }) => stack::apply(inner, run, stage, environment, call).await,
        Some(Work::Deploy {}) => {
            let Against::Manifest { commit, images, services } = look::against(run, stage, environment) else {
                return failed("a deployment is of the manifest");
            };
            match other_than_shown(inner, run, call).await {
                Ok(None) => {}
                Ok(Some(why)) => return Report::Failed { message: why, undone: true },
                Err(why) if spent(inner, call) < SHOWN_WITHIN_MS => return later(call, why),
                Err(message) => return Report::Failed { message, undone: true },
            }
            let change =
                Change::Deploy { commit, images, services, following: Following::default(), task_definition: None };
            executed(inner, call, Begun::Change(change)).await
        }
        Some(Work::Task(task)) => {
            let Against::Manifest { commit, mut images, .. } = look::against(run, stage, environment) else {
                return failed("a task is of the manifest");
            };
            images.retain(|image| image.service.as_ref() == Some(&task.service));
            let change = Change::Deploy {
                commit,
                images,
                services: vec![task.service.clone()],
                following: Following::default(),
                task_definition: None,
            };
            executed(inner, call, Begun::Task(task.clone(), change)).await
        }
        Some(Work::Verify {}) => verify(inner, call).await,
        Some(Work::Copy { .. }) => copy(inner, stage, call).await,
        Some(work @ Work::Publish { .. }) => publish(inner, call, work).await,
        None => failed("this version does not know that work"),
    }
}

/// What is about to be sent is what was approved: a server that came back with another manifest sends nothing else.
async fn other_than_shown(inner: &Inner, run: &Run, call: &Call) -> Result<Option<String>, String> {
    let begun = call.token.as_ref().is_some_and(|token| !token["execution"].is_null());
    let Some(approved) = call.shown.as_ref().filter(|_| !begun && !call.stop) else { return Ok(None) };
    if deploy::begun_by(inner, &call.environment, &by(call)).await.map_err(|error| error.to_string())?.is_some() {
        return Ok(None);
    }
    let now = look::shown(inner, run, call.stage, true).await?;
    let other = match (now.images == approved.images, now.config == approved.config) {
        (true, true) => return Ok(None),
        (true, false) => "the settings that would be sent",
        (false, _) => "the images that would run",
    };
    Ok(Some(format!("{other} are not those that were shown: the manifest was changed since; nothing was deployed")))
}

/// Who begins an execution for this call.
fn by(call: &Call) -> String {
    format!("pipeline:{}", call.key)
}

/// Back to the release that was there.
pub(super) async fn rollback(inner: &Inner, run: &Run, call: &Call) -> Report {
    let (stage, environment) = match look::here(inner, run, call.stage) {
        Ok(found) => found,
        Err(why) => return failed(why),
    };
    if environment.stack.is_some() {
        return stack::back(inner, run, stage, environment, call).await;
    }
    let change = Change::Rollback { to: call.to.clone(), following: Following::default() };
    executed(inner, call, Begun::Change(change)).await
}

enum Begun {
    Change(Change),
    Task(TaskWork, Change),
}

async fn executed(inner: &Inner, call: &Call, what: Begun) -> Report {
    let by = by(call);
    let known = call.token.as_ref().and_then(|token| token["execution"].as_str()).map(ExecutionId::from);
    let id = match known {
        Some(id) => id,
        None => match begun(inner, call, &by, what).await {
            Ok(Some(id)) => id,
            Ok(None) => return Report::Failed { message: "stopped before it was begun".to_owned(), undone: true },
            Err(error) if error.passes() => return later(call, error.to_string()),
            Err(error) => return failed(error.to_string()),
        },
    };
    let view = match inner.engine.view(&id).await {
        Ok(view) => view,
        Err(error) => return later(call, error.to_string()),
    };
    let Some(outcome) = view.outcome else {
        if call.stop {
            match inner.engine.signal(&id, SYSTEM_ACTOR, Signal::Abort).await {
                Ok(()) | Err(EngineError::Rejected(_)) => {}
                Err(error) => return later(call, error.to_string()),
            }
        }
        let pause = match pauses::steered(inner, call).await {
            Ok(pause) => pause,
            Err(error) => return later(call, error.to_string()),
        };
        let note = match view.state {
            ExecutionState::Paused => Some(format!(
                "waits for an operator: {}; `landfall executions show {id}`",
                view.message.as_deref().unwrap_or("paused")
            )),
            _ => view.message,
        };
        let token = json!({ "execution": id });
        return match pause {
            Some(pause) => Report::Paused { token, after_ms: PAUSED_MS, note, pause },
            None => Report::Pending { token, after_ms: POLL_MS, note },
        };
    };
    let mut output = BTreeMap::from([("execution".to_owned(), id.to_string())]);
    output.extend(view.url.clone().map(|url| ("url".to_owned(), url)));
    let cause = view.cause.as_ref().map(|cause| format!("{}: {}", cause.title, cause.error.message));
    let why = cause.or_else(|| view.message.clone()).unwrap_or_else(|| "it failed".to_owned());
    let message = format!("{why} (`landfall executions show {id}`)");
    match outcome {
        Outcome::Succeeded => Report::Done { output },
        Outcome::RolledBack | Outcome::Aborted => Report::Failed { message, undone: true },
        Outcome::Superseded => failed(format!("a newer request took over ({id})")),
        Outcome::Failed | Outcome::RollbackFailed | Outcome::NeedsReplan => failed(message),
    }
}

/// The execution for this key: the one that was begun before, or a new one. `None`: it is to stop, and was never begun.
async fn begun(inner: &Inner, call: &Call, by: &str, what: Begun) -> Result<Option<ExecutionId>, ControlError> {
    if let Some(id) = deploy::begun_by(inner, &call.environment, by).await? {
        return Ok(Some(id));
    }
    if call.stop {
        return Ok(None);
    }
    Ok(Some(match what {
        Begun::Change(change) => deploy::begin(inner, &call.environment, change, by.to_owned()).await?.execution,
        Begun::Task(task, change) => deploy::begin_task(inner, &call.environment, &task, &change, by).await?,
    }))
}

/// One try of every probe; they have the time that the environment gives them.
async fn verify(inner: &Inner, call: &Call) -> Report {
    if call.stop {
        return failed("stopped");
    }
    let Some(environment) = inner.app.environments.get(&call.environment) else {
        return failed(format!("the manifest has no environment {} any more", call.environment));
    };
    let verify = environment.verify.clone().unwrap_or_default();
    let Some(url) = look::url(inner, &call.environment).await else {
        return failed(format!(
            "where {} is reached is not known: give it {} or `verify: {{url: …}}`",
            call.environment,
            if environment.stack.is_some() { "a service with a `load_balancer`" } else { "`routing`" }
        ));
    };
    // A URL that somebody gave is meant as it is.
    let place = environment.on.as_ref().and_then(|on| inner.app.aws.get(on));
    let through = place.filter(|_| verify.url.is_none()).and_then(|place| place.probe_through.clone());
    let mut wrong = Vec::new();
    for probe in &verify.probes {
        let at = format!("{}/{}", url.trim_end_matches('/'), probe.path.trim_start_matches('/'));
        if let Err(why) = inner.outside.probe(&at, through.as_deref(), probe).await {
            wrong.push(format!("{}: GET {at}: {why}", probe.name));
        }
    }
    if wrong.is_empty() {
        return Report::Done { output: BTreeMap::from([("url".to_owned(), url)]) };
    }
    if spent(inner, call) >= i64::from(verify.deadline).saturating_mul(1_000) {
        return failed(format!("{} after {} s", wrong.join("; "), verify.deadline));
    }
    Report::Pending { token: json!({}), after_ms: POLL_MS, note: None }
}

async fn copy(inner: &Inner, stage: &Stage, call: &Call) -> Report {
    let mut output = BTreeMap::new();
    for image in call.release.images.values().flat_map(BTreeMap::values) {
        let Some(wanted) = look::copied(stage, image) else { continue };
        if output.contains_key(&format!("image.{image}")) {
            continue;
        }
        if call.stop {
            return failed("stopped");
        }
        let to = wanted.split('@').next().unwrap_or_default();
        match inner.outside.copy(image, to, &tags(inner, &call.release, image)).await {
            Ok(made) if made == wanted => drop(output.insert(format!("image.{image}"), made)),
            Ok(made) => return failed(format!("{image} became {made}: it is not the same image, and is not deployed")),
            Err(PortError::NotFound(_)) => {
                return failed(format!("{image} is not in its registry any more: push it again, or begin a new run"));
            }
            Err(error) => return for_a_while(inner, call, &error, error.to_string()),
        }
    }
    Report::Done { output }
}

async fn publish(inner: &Inner, call: &Call, work: &Work) -> Report {
    let mut output = BTreeMap::new();
    for (name, value) in published(inner, call, work) {
        let value = match value {
            Ok(value) => value,
            Err(why) => return failed(format!("parameter {name} is not written: {why}")),
        };
        match inner.outside.put_parameter(&call.environment, &name, &value).await {
            Ok(()) => drop(output.insert(name, value)),
            Err(error) => return for_a_while(inner, call, &error, format!("parameter {name} is not written: {error}")),
        }
    }
    Report::Done { output }
}

/// Parameter and value.
fn published(inner: &Inner, call: &Call, work: &Work) -> Vec<(String, Result<String, String>)> {
    let Some(environment) = inner.app.environments.get(&call.environment) else { return Vec::new() };
    let all = work.parameters(&environment.services);
    all.map(|(name, service)| (name, image_tag(inner, service, &call.release))).collect()
}

/// The tag that the service's awaited image was pushed with.
///
/// # Errors
/// Why it is not known.
pub(super) fn image_tag(inner: &Inner, service: &str, release: &PipelineRelease) -> Result<String, String> {
    let tag = inner.app.services.get(service).map_or("{commit}", Service::awaited_tag);
    look::filled(tag, release, &inner.app.project, &format!("the image of {service}"))
}

/// `None`: the container's image is awaited under no tag.
fn awaited_tag(
    inner: &Inner,
    service: &str,
    container: &ContainerTemplate,
    release: &PipelineRelease,
) -> Option<Result<String, String>> {
    let ImageSource::Await(wait) = &container.image else { return None };
    let (_, tag) = wait.image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
    Some(look::filled(tag, release, &inner.app.project, &format!("the image of {service}/{}", container.name)))
}

/// What an image of the release is called where it was pushed to: `image_tag` publishes the same, and it leads to the image in every
/// registry that it was copied to.
fn tags(inner: &Inner, release: &PipelineRelease, image: &str) -> Vec<String> {
    let mut tags = BTreeSet::new();
    for (name, images) in &release.images {
        let containers = inner.app.services.get(name).map(|own| own.containers.as_slice()).unwrap_or_default();
        let awaits = containers.iter().any(|one| awaited_tag(inner, name, one, release).is_some());
        for container in containers.iter().filter(|one| images.get(&one.name).is_some_and(|own| own == image)) {
            let tag = match awaits {
                true => awaited_tag(inner, name, container, release),
                false => Some(image_tag(inner, name, release)),
            };
            tags.extend(tag.and_then(Result::ok));
        }
    }
    tags.into_iter().collect()
}

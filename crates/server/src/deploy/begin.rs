//! Begins a change of a lasting environment: the one under way makes way, what runs is looked up, a plan is made and journalled.

use std::time::Duration;

use landfall_engine::{EngineError, NewPlan};
use landfall_model::app::LongLivedEnvironment;
use landfall_model::documents::TASK_DEFINITION_TOLD;
use landfall_model::ids::{ExecutionId, SYSTEM_ACTOR};
use landfall_model::pipeline::TaskWork;
use landfall_planner::names::lasting_name;
use landfall_planner::plan::{self, EnvironmentInputs, NoRelease, release};
use landfall_planner::{Planned, lint};
use landfall_ports::journal::ExecutionSummary;
use landfall_workflow::Signal;
use serde_json::Value;

use super::{Answer, Begun, Change, Place, attempts, given, live, lock, place, refused, target};
use crate::control::ControlError;
use crate::service::Inner;

/// An execution stops at a step boundary; no call of a step takes longer.
const MAKES_WAY_WITHIN: Duration = Duration::from_secs(60);
/// Others that begin at the same moment, in other processes.
const RIVALS: usize = 5;
/// Executions among which one that was begun before a death is looked for: it is the newest, or nearly.
const LOOKED_BACK: u32 = 10;

pub(crate) async fn begin(inner: &Inner, name: &str, change: Change, by: String) -> Answer<Begun> {
    let place = place(inner, name)?;
    lock::refuse(inner, &place.id, &place.environment.name, &by).await?;
    let alone = inner.deploying(&place.id);
    let _alone = alone.lock().await;
    let mut superseded = Vec::new();
    for _ in 0..RIVALS {
        // Others may have kept this waiting for minutes.
        unlocked(inner, &place, &by, &superseded).await?;
        let under_way = inner.journal.list(Some(&place.id), true, 100).await?;
        if !under_way.is_empty() {
            refuse(&change, &under_way, name)?;
            // Nobody makes way for what cannot even be planned.
            planned(inner, &place, &change, &inner.engine.new_id(inner.clock.now())).await?;
        }
        superseded.extend(make_way(inner, under_way, &by).await?);
        let begun = once(inner, &place, &change, &by, &superseded).await;
        if let Some(begun) = begun.map_err(|error| half_done(error, &superseded))? {
            return Ok(Begun { superseded, ..begun });
        }
    }
    Err(ControlError::Conflict(format!("others keep deploying to {name}; try again when they are done")))
}

/// A count changes nothing that a deployment is at, and would leave it half done.
fn refuse(change: &Change, under_way: &[ExecutionSummary], name: &str) -> Answer<()> {
    let deployment = under_way.iter().find(|one| matches!(one.kind.as_str(), release::DEPLOY | release::ROLLBACK));
    match (change, deployment) {
        (Change::Scale { .. }, Some(one)) => Err(ControlError::Conflict(format!(
            "{} ({}) is under way: scale when it has ended; `landfall wait {name}` waits for that",
            one.title, one.id
        ))),
        _ => Ok(()),
    }
}

/// # Errors
/// `Locked`; also who has made way by then, and so is half done.
async fn unlocked(inner: &Inner, place: &Place<'_>, by: &str, superseded: &[ExecutionId]) -> Answer<()> {
    let refused = lock::refuse(inner, &place.id, &place.environment.name, by).await;
    refused.map_err(|error| half_done(error, superseded))
}

/// Says of whatever ends the request who has made way for it.
fn half_done(error: ControlError, superseded: &[ExecutionId]) -> ControlError {
    const SAID: &str = "had made way already and is half done";
    let halves: Vec<&str> = superseded.iter().map(ExecutionId::as_str).collect();
    if halves.is_empty() || error.to_string().contains(SAID) {
        return error;
    }
    error.map(|why| format!("{why}; {} {SAID}", halves.join(", ")))
}

/// Supersedes these and waits until they have stopped.
async fn make_way(inner: &Inner, under_way: Vec<ExecutionSummary>, by: &str) -> Answer<Vec<ExecutionId>> {
    let mut superseded = Vec::new();
    for summary in under_way {
        let signal = Signal::Supersede { by: format!("a newer request of {by}") };
        match inner.engine.signal(&summary.id, SYSTEM_ACTOR, signal).await {
            Ok(()) => superseded.push(summary.id.clone()),
            // Finished meanwhile, or superseded already.
            Err(EngineError::Rejected(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = tokio::time::timeout(MAKES_WAY_WITHIN, finished(inner, &summary.id)).await;
        ended.map_err(|_| {
            ControlError::Unavailable(format!(
                "{} was told to make way and has not stopped within {} s; is the process that drives it alive?",
                summary.id,
                MAKES_WAY_WITHIN.as_secs()
            ))
        })??;
    }
    Ok(superseded)
}

async fn finished(inner: &Inner, id: &ExecutionId) -> Answer<()> {
    loop {
        if inner.engine.view(id).await?.outcome.is_some() {
            return Ok(());
        }
        tokio::select! {
            () = inner.journal.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}

/// `None`: somebody else began after the same predecessor, and was first.
///
/// Locks and executions are written to different places, so a lock may be taken after the last look at it and before the journal has
/// the execution. That is why it is looked at once more afterwards: a lock written before the execution was is seen then, and the
/// execution is taken back before anybody is told of it. One that is written later finds a deployment that had begun, which
/// a lock lets be. (Taken back means undone: the engine may have begun already.)
async fn once(
    inner: &Inner,
    place: &Place<'_>,
    change: &Change,
    by: &str,
    superseded: &[ExecutionId],
) -> Answer<Option<Begun>> {
    let newest = inner.journal.list(Some(&place.id), false, 1).await?.into_iter().next();
    let execution = inner.engine.new_id(inner.clock.now());
    let planned = planned(inner, place, change, &execution).await?;
    let dedup_key = match &newest {
        Some(before) => format!("{}/after/{}", place.id, before.id),
        None => format!("{}/first", place.id),
    };
    let title = planned.plan.title.clone();
    let new =
        NewPlan { id: Some(execution), dedup_key, plan: planned.plan, intent: by.to_owned(), notices: Vec::new() };
    unlocked(inner, place, by, superseded).await?;
    let submitted = inner.engine.submit(new).await?;
    if submitted.existing {
        return Ok(None);
    }
    if let Err(ControlError::Locked(why)) = unlocked(inner, place, by, superseded).await {
        match inner.engine.signal(&submitted.id, SYSTEM_ACTOR, Signal::Abort).await {
            Ok(()) => return Err(ControlError::Locked(format!("{why}; {} is taken back", submitted.id))),
            // It has ended already: that is what is told.
            Err(EngineError::Rejected(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    tracing::info!(environment = %place.id, execution = %submitted.id, title, "begun");
    Ok(Some(Begun { environment: place.id.clone(), execution: submitted.id, title, superseded: Vec::new() }))
}

async fn planned(inner: &Inner, place: &Place<'_>, change: &Change, execution: &ExecutionId) -> Answer<Planned> {
    let (app, environment) = (&inner.app, place.environment);
    plan::by_hand(environment).map_err(refused)?;
    let everything = matches!(change, Change::Rollback { .. });
    let seen = match everything {
        true => attempts::read(inner, &place.id, |_| false).await?,
        false => attempts::recent(inner, &place.id, &environment.services).await?,
    };
    let attempts = attempts::bare(&seen);
    let present = release::state(&attempts);
    let live = live::look(inner, place).await?;
    let mut cx = EnvironmentInputs {
        instance: inner.instance.clone(),
        execution: execution.clone(),
        commit: None,
        images: Vec::new(),
        services: Vec::new(),
        live: live.counts,
        running: live.running,
        unfinished: release::unfinished(&attempts),
        target: target(inner, place).await?,
        following: plan::Following::default(),
        present,
        comparing: false,
    };
    let mut planned = match change {
        Change::Deploy { commit, images, services, following, task_definition } => {
            let given = task_definition.as_ref().map(|document| given::app(app, environment, services, document));
            let given = given.transpose()?;
            let app = given.as_ref().unwrap_or(app);
            cx.commit.clone_from(commit);
            cx.images.clone_from(images);
            cx.services.clone_from(services);
            cx.following = *following;
            if commit.is_none() {
                live::read_images(inner, place, &mut cx).await?;
            }
            plan::environment(app, environment, &cx).map_err(refused)?
        }
        Change::Rollback { to, following } => {
            cx.following = *following;
            let index =
                release::rollback_to(&attempts, to.as_deref()).map_err(|error| no_release(&error, environment))?;
            let state = release::state(&attempts[index..]).ok_or_else(|| no_release(&NoRelease::None, environment))?;
            plan::rollback(app, environment, &state, attempts[index].plan.clone(), &cx)
        }
        Change::Scale { counts, following } => {
            cx.following = *following;
            plan::scale(app, environment, counts, &cx).map_err(refused)?
        }
    };
    // A count has nowhere else to go back to.
    if !matches!(change, Change::Scale { .. }) {
        plan::ways_back(&mut planned.plan, &attempts, cx.present.as_ref(), &cx.live);
    }
    lint::check(&planned.plan).map_err(ControlError::Invalid)?;
    Ok(planned)
}

fn no_release(error: &NoRelease, environment: &LongLivedEnvironment) -> ControlError {
    ControlError::NotFound(format!("{}: {error}; `landfall releases {0}` lists them", environment.name))
}

/// The execution that was begun for exactly this, if it was: what asked may have died before it could keep its id.
pub(crate) async fn begun_by(inner: &Inner, name: &str, by: &str) -> Answer<Option<ExecutionId>> {
    let place = place(inner, name)?;
    for summary in inner.journal.list(Some(&place.id), false, LOOKED_BACK).await? {
        if inner.engine.recall(&summary.id).await?.intent == by {
            return Ok(Some(summary.id));
        }
    }
    Ok(None)
}

/// A one-off task of a service as it would be deployed with these images, as an execution of its own. Nothing makes way for it. Where
/// the environment is a stack, of the task definition that serves, with these images in it: the template's is CloudFormation's.
pub(crate) async fn begin_task(
    inner: &Inner,
    name: &str,
    task: &TaskWork,
    change: &Change,
    by: &str,
) -> Answer<ExecutionId> {
    let place = place(inner, name)?;
    lock::refuse(inner, &place.id, name, by).await?;
    let execution = inner.engine.new_id(inner.clock.now());
    let service = lasting_name(&inner.app, place.environment, &task.service);
    let mut planned = match place.environment.stack {
        None => planned(inner, &place, change, &execution).await?,
        Some(_) => {
            let change = with_what_serves(&place, &service, change).await?;
            let environment = LongLivedEnvironment { stack: None, ..place.environment.clone() };
            let place = Place { environment: &environment, id: place.id.clone(), platform: place.platform };
            planned(inner, &place, &change, &execution).await?
        }
    };
    plan::only_task(&mut planned.plan, task, service).map_err(refused)?;
    lint::check(&planned.plan).map_err(ControlError::Invalid)?;
    let new = NewPlan {
        id: Some(execution),
        dedup_key: by.to_owned(),
        plan: planned.plan,
        intent: by.to_owned(),
        notices: Vec::new(),
    };
    Ok(inner.engine.submit(new).await?.id)
}

/// The change with the task definition of a stack's service, as it can be registered again.
async fn with_what_serves(place: &Place<'_>, service: &str, change: &Change) -> Answer<Change> {
    let documents = place.platform.orchestrator.documents(service).await?;
    let Some(mut document) = documents.map(|documents| documents.task_definition).filter(Value::is_object) else {
        let name = &place.environment.name;
        return Err(ControlError::NotFound(format!(
            "service {service} is not there yet, and a task of a stack is run of the task definition that serves: put the task \
             after `stack` or `deploy`, or apply the stack once by `landfall stack apply {name}`"
        )));
    };
    if let Some(fields) = document.as_object_mut() {
        // CloudFormation's own tags can be set by nobody else.
        fields.retain(|key, _| key != "tags" && !TASK_DEFINITION_TOLD.contains(&key.as_str()));
    }
    let mut change = change.clone();
    if let Change::Deploy { task_definition, .. } = &mut change {
        *task_definition = Some(document);
    }
    Ok(change)
}

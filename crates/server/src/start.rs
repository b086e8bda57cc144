//! Begins an execution: looks up the commit, chooses a port, plans, lints, writes the record, creates the execution.
//!
//! What takes long (listing branches, looking at the platform) comes first and holds nothing. Choosing a place and a port and
//! writing the record that holds them is one step under a lock, so two environments never choose the same. So is the host
//! label, where another environment has it already.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use landfall_engine::{EngineError, NewPlan};
use landfall_model::app::Routing;
use landfall_model::environment::{Desired, EnvironmentRecord, SourceRef};
use landfall_model::ids::ExecutionId;
use landfall_model::inventory::{OwnedResource, ResourceKind};
use landfall_planner::control::{dedup_key, plan_failed, started};
use landfall_planner::names::service_name;
use landfall_planner::{PlanError, PlanInputs, PlanKind, Planned, choose_port, lint, plan};
use landfall_ports::PortError;
use landfall_ports::journal::JournalError;
use landfall_ports::store::StoreResult;

use crate::controller::{Next, has_place, later, write};
use crate::service::Inner;

/// Until a listing that failed, or ports that could not be looked at, are asked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

enum Commit {
    Known(Option<String>),
    /// The branch is not there.
    Missing(String),
    /// Could not be looked up now.
    Later(String),
}

pub(crate) async fn start(inner: &Inner, record: &EnvironmentRecord, kind: PlanKind) -> StoreResult<Next> {
    let commit = match kind {
        PlanKind::Destroy => Commit::Known(None),
        PlanKind::Sleep | PlanKind::Wake => Commit::Known(record.commit.clone()),
        PlanKind::Create | PlanKind::Update => commit(inner, record).await,
    };
    let commit = match commit {
        Commit::Known(commit) => commit,
        Commit::Missing(message) => return give_up(inner, record, kind, &message).await,
        Commit::Later(message) => {
            if record.message.as_ref() != Some(&message) {
                let mut next = record.clone();
                next.message = Some(message);
                inner.records.write(vec![next], Vec::new()).await?;
            }
            return Ok(Next::Rest(later(inner, LOOK_AGAIN)));
        }
    };
    let owned = match kind {
        PlanKind::Destroy | PlanKind::Sleep => owned(inner, record).await,
        PlanKind::Create | PlanKind::Update | PlanKind::Wake => Vec::new(),
    };
    let inputs = PlanInputs {
        instance: inner.instance.clone(),
        execution: inner.engine.new_id(inner.clock.now()),
        parent: parent(inner, record, kind).await,
        running: running(inner, record, kind).await,
        owned,
    };

    let good = match good(inner, record, kind).await {
        Ok(good) => good,
        Err(error) => {
            tracing::warn!(environment = %record.id, %error, "what served last cannot be read");
            return Ok(Next::Rest(later(inner, LOOK_AGAIN)));
        }
    };
    let ports = match ports(inner, record, kind).await {
        Ok(ports) => ports,
        Err(error) => {
            tracing::warn!(environment = %record.id, %error, "ports cannot be looked at");
            return Ok(Next::Rest(later(inner, LOOK_AGAIN)));
        }
    };
    let choosing = inner.choosing.lock().await;
    // It may have changed while it was looked around for.
    if inner.records.get(&record.id).is_none_or(|now| now.revision != record.revision) {
        return Ok(Next::Again);
    }
    if kind == PlanKind::Create && !has_place(inner, record) {
        return Ok(Next::Again);
    }
    let mut record = record.clone();
    if deploys(kind) {
        let label = inner.records.read(|records| plan::host_label(&inner.app, &record, records.values()));
        if label != record.names.host_label {
            let id = &record.id;
            tracing::warn!(environment = %id, label, "another environment has its host label; it gets one with a hash");
            record.names.host_label = label;
        }
    }
    if let Some((first, last, busy)) = ports {
        let taken: BTreeSet<u16> = inner.records.read(|records| {
            records.values().filter(|other| other.id != record.id).filter_map(|other| other.port).collect()
        });
        match choose_port(&record.id, first, last, &busy, &taken) {
            Ok(port) => record.port = Some(port),
            Err(error) => return give_up(inner, &record, kind, &error.to_string()).await,
        }
    }
    let planned = match planned(inner, &record, kind, commit.as_deref(), &inputs, &good) {
        Ok(planned) => planned,
        Err(message) => return give_up(inner, &record, kind, &message).await,
    };
    for warning in &planned.warnings {
        tracing::warn!(environment = %record.id, "{warning}");
    }
    let key = dedup_key(&record, kind);
    let intent = record.cause.to_string();
    let settled = started(&record, kind, &inputs.execution, commit.as_deref(), inner.clock.now());
    write(inner, settled).await?;
    drop(choosing);
    if kind == PlanKind::Sleep {
        // From before its first task stops, requests are held and not refused.
        inner.sleepers.announce(inner).await;
    }

    let new =
        NewPlan { id: Some(inputs.execution.clone()), dedup_key: key, plan: planned.plan, intent, notices: Vec::new() };
    tracing::info!(environment = %record.id, execution = %inputs.execution, kind = kind.as_str(), "begun");
    match inner.engine.submit(new).await {
        Ok(_) => Ok(Next::Again),
        Err(error @ EngineError::InvalidPlan(_)) => {
            // Lint passed it: a defect. The record names an execution that will never be; undo that, and say so.
            let Some(mut record) = inner.records.get(&record.id) else { return Ok(Next::Rest(None)) };
            record.live = None;
            give_up(inner, &record, kind, &error.to_string()).await
        }
        Err(error) => {
            // The journal does not know it: `Lost` at the next look, and planned anew.
            tracing::warn!(execution = %inputs.execution, %error, "not journalled; will be planned again");
            Ok(Next::Rest(later(inner, LOOK_AGAIN)))
        }
    }
}

fn planned(
    inner: &Inner,
    record: &EnvironmentRecord,
    kind: PlanKind,
    commit: Option<&str>,
    inputs: &PlanInputs,
    good: &[serde_json::Value],
) -> Result<Planned, String> {
    let mut planned = match kind {
        PlanKind::Destroy => plan::destroy(&inner.app, record, inputs),
        PlanKind::Sleep => plan::sleep(&inner.app, record, inputs),
        PlanKind::Wake => woken(inner, record, commit, inputs, good).map_err(|error| error.to_string())?,
        PlanKind::Create | PlanKind::Update => {
            plan::preview(&inner.app, record, kind, commit, inputs).map_err(|error: PlanError| error.to_string())?
        }
    };
    if deploys(kind) {
        plan::fall_back(&mut planned.plan, good, record.asleep.is_some());
    }
    lint::check(&planned.plan)?;
    Ok(planned)
}

fn deploys(kind: PlanKind) -> bool {
    matches!(kind, PlanKind::Create | PlanKind::Update)
}

/// As it served last; where that was so long ago that the journal has it no more, as the manifest has it now.
fn woken(
    inner: &Inner,
    record: &EnvironmentRecord,
    commit: Option<&str>,
    inputs: &PlanInputs,
    good: &[serde_json::Value],
) -> Result<Planned, PlanError> {
    plan::wake(record, good, inputs).or_else(|_| {
        let mut planned = plan::preview(&inner.app, record, PlanKind::Update, commit, inputs)?;
        PlanKind::Wake.as_str().clone_into(&mut planned.plan.kind);
        (planned.plan.quiet, planned.plan.last_try) = (true, true);
        Ok(planned)
    })
}

async fn give_up(inner: &Inner, record: &EnvironmentRecord, kind: PlanKind, message: &str) -> StoreResult<Next> {
    tracing::warn!(environment = %record.id, kind = kind.as_str(), "{message}");
    write(inner, plan_failed(record, kind, message, inner.clock.now())).await?;
    Ok(Next::Again)
}

/// The commit to run: what was asked for, or else the branch's tip.
async fn commit(inner: &Inner, record: &EnvironmentRecord) -> Commit {
    let Desired::Present(wanted) = &record.desired else { return Commit::Known(None) };
    if wanted.commit.is_some() {
        return Commit::Known(wanted.commit.clone());
    }
    let SourceRef::Branch(branch) = &record.key.source else { return Commit::Known(None) };
    let Some(repository) = inner.app.repositories.get(&record.key.repository) else {
        return Commit::Missing(format!("repository `{}` is not in the manifest any more", record.key.repository));
    };
    match inner.branches.branches(repository).await {
        Ok(listing) => match listing.items.into_iter().find(|found| found.name == *branch) {
            Some(found) => Commit::Known(Some(found.commit)),
            None if listing.complete => {
                Commit::Missing(format!("branch `{branch}` does not exist in repository `{}`", repository.key))
            }
            None => Commit::Later(format!("waiting for the commit of `{branch}`: the listing was not complete")),
        },
        // Nothing to list: the base images are what there is.
        Err(PortError::NotFound(_)) => Commit::Known(None),
        Err(error) => Commit::Later(format!("waiting for the commit of `{branch}`: {error}")),
    }
}

/// What must be known to choose a port, where one is to be chosen.
async fn ports(
    inner: &Inner,
    record: &EnvironmentRecord,
    kind: PlanKind,
) -> Result<Option<(u16, u16, BTreeSet<u16>)>, PortError> {
    let routing = inner.app.previews.as_ref().map(|previews| &previews.routing);
    match routing {
        Some(Routing::Ports { first, last })
            if deploys(kind) && record.port.is_none_or(|port| !(*first..=*last).contains(&port)) =>
        {
            let busy = inner.platform.load_balancer.busy_ports(*first, *last).await?;
            Ok(Some((*first, *last, busy.into_iter().collect())))
        }
        _ => Ok(None),
    }
}

/// A help for the plan, not its ground: what could not be listed is found by the sweep step.
async fn owned(inner: &Inner, record: &EnvironmentRecord) -> Vec<OwnedResource> {
    let environment = Some(record.id.as_str());
    let platform = &inner.platform;
    let listings = [
        platform.orchestrator.list_owned(environment, &ResourceKind::ALL).await,
        platform.load_balancer.list_owned(environment).await,
        platform.images.list_owned(environment).await,
    ];
    let mut owned = Vec::new();
    for listing in listings {
        match listing {
            Ok(listing) => owned.extend(listing.items),
            Err(error) => tracing::debug!(environment = %record.id, %error, "not listed before the destroy"),
        }
    }
    owned
}

async fn parent(inner: &Inner, record: &EnvironmentRecord, kind: PlanKind) -> Option<landfall_model::ids::PlanDigest> {
    if kind != PlanKind::Update {
        return None;
    }
    let stored = inner.journal.load(record.last_execution.as_ref()?).await.ok()?;
    Some(landfall_workflow::digest(&stored.plan))
}

/// What the last execution after which all served had made, where others have been at work since: they may have been cut
/// short, and what they left is not what a failure goes back to. Nothing where that was so long ago that it is pruned.
async fn good(
    inner: &Inner,
    record: &EnvironmentRecord,
    kind: PlanKind,
) -> Result<Vec<serde_json::Value>, EngineError> {
    let since = |good: &&ExecutionId| match kind {
        PlanKind::Update => Some(*good) != record.last_execution.as_ref(),
        PlanKind::Wake => true,
        PlanKind::Create | PlanKind::Destroy | PlanKind::Sleep => false,
    };
    let Some(good) = record.good_execution.as_ref().filter(since) else { return Ok(Vec::new()) };
    match inner.engine.brought(good).await {
        Err(EngineError::Journal(JournalError::NotFound(_))) => Ok(Vec::new()),
        brought => brought,
    }
}

/// Task definitions that run now: one-off hooks before a destroy run from them.
async fn running(inner: &Inner, record: &EnvironmentRecord, kind: PlanKind) -> BTreeMap<String, String> {
    let mut running = BTreeMap::new();
    let previews = inner.app.previews.as_ref();
    let services = previews.filter(|previews| kind == PlanKind::Destroy && !previews.hooks.is_empty());
    for (index, service) in services.into_iter().flat_map(|previews| previews.services.iter()).enumerate() {
        let name = service_name(&record.names, service, index == 0);
        if let Ok(Some(description)) = inner.platform.orchestrator.describe_service(&name).await {
            running.insert(service.clone(), description.task_definition);
        }
    }
    running
}

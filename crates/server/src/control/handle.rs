//! Answers control requests in-process.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use landfall_engine::EngineError;
use landfall_model::environment::{EnvironmentKey, EnvironmentRecord, Phase, SourceRef};
use landfall_model::event::{Ask, Intent};
use landfall_model::ids::{DeliveryId, EnvironmentId, ExecutionId, RepositoryKey};
use landfall_model::inventory::ResourceKind;
use landfall_ports::PortError;
use landfall_ports::journal::JournalError;
use landfall_ports::store::{DeliveryOutcome, StoreError};
use landfall_workflow::{ExecutionState, ExecutionView};

use super::{
    Control, ControlError, ControlRequest, ControlResponse, ExecutionDetail, LogLines, PreviewDetail, ServerStatus,
    SettledReport, Submitted, Target, follow,
};
use crate::service::{Inner, Service};
use crate::{deploy, inbox, pipelines, reconcile};

const DECIDED_WITHIN: Duration = Duration::from_secs(30);
const LONGEST_POLL: Duration = Duration::from_secs(60);

type Answer<T> = Result<T, ControlError>;

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) => ControlError::Conflict(error.to_string()),
            StoreError::Unavailable(_) => ControlError::Unavailable(error.to_string()),
            StoreError::Corrupt(_) => ControlError::Internal(error.to_string()),
        }
    }
}

impl From<EngineError> for ControlError {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Journal(journal) => journal.clone().into(),
            EngineError::Rejected(_) => ControlError::Conflict(error.to_string()),
            EngineError::InvalidPlan(_) | EngineError::Corrupt { .. } => ControlError::Internal(error.to_string()),
        }
    }
}

impl From<JournalError> for ControlError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::NotFound(_) => ControlError::NotFound(error.to_string()),
            JournalError::Unavailable(_) => ControlError::Unavailable(error.to_string()),
            JournalError::VersionConflict { .. } | JournalError::Fenced { .. } => {
                ControlError::Conflict(error.to_string())
            }
            JournalError::Corrupt(_) => ControlError::Internal(error.to_string()),
        }
    }
}

impl From<PortError> for ControlError {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Denied(_) => ControlError::Denied(error.to_string()),
            PortError::Throttled { .. } => ControlError::Throttled(error.to_string()),
            _ => ControlError::Unavailable(error.to_string()),
        }
    }
}

#[async_trait]
impl Control for Service {
    async fn call(&self, request: ControlRequest) -> Answer<ControlResponse> {
        if request.begins_nothing() {
            return self.answered(request).await;
        }
        // Whoever hangs up meanwhile must not end it between what is written and what is remembered.
        let service = self.clone();
        let done = tokio::spawn(async move { service.answered(request).await }).await;
        done.unwrap_or_else(|error| Err(ControlError::Internal(format!("the request ended early: {error}"))))
    }

    async fn follow_logs(&self, environment: EnvironmentId, history: usize) -> LogLines {
        follow::follow(self, environment, history.min(10_000))
    }
}

impl Service {
    async fn answered(&self, request: ControlRequest) -> Answer<ControlResponse> {
        let inner = &*self.inner;
        Ok(match request {
            ControlRequest::Status => ControlResponse::Status(status(inner).await?),
            ControlRequest::Submit { target, ask, actor } => {
                ControlResponse::Submit(submit(inner, target, ask, actor).await?)
            }
            ControlRequest::Previews { all } => {
                let mut records = inner.records.all();
                records.retain(|record| all || record.phase != Phase::Destroyed);
                ControlResponse::Previews(records)
            }
            ControlRequest::Preview { name } => {
                let record = find(inner, &name)?;
                let execution = execution_of(inner, &record).await?;
                ControlResponse::Preview(Box::new(PreviewDetail { record, execution }))
            }
            ControlRequest::Executions { environment, unfinished_only, limit } => ControlResponse::Executions(
                inner.journal.list(environment.as_ref(), unfinished_only, limit.min(10_000)).await?,
            ),
            ControlRequest::Execution { id, history } => {
                let view = inner.engine.view(&id).await?;
                let history = if history { Some(inner.engine.history(&id).await?) } else { None };
                ControlResponse::Execution(Box::new(ExecutionDetail { view, history }))
            }
            ControlRequest::Signal { id, who, signal } => {
                inner.engine.signal(&id, &who, signal).await?;
                ControlResponse::Signal
            }
            ControlRequest::Deliveries { limit } => {
                ControlResponse::Deliveries(inner.store.deliveries(limit.min(10_000)).await?)
            }
            ControlRequest::Gc { dry_run } => ControlResponse::Gc(reconcile::once(inner, dry_run).await?),
            ControlRequest::Settled { environment, timeout_ms } => {
                ControlResponse::Settled(Box::new(settled(inner, &environment, timeout_ms).await?))
            }
            ControlRequest::Logs { environment, lines } => {
                ControlResponse::Logs(logs(inner, &environment, lines.min(10_000)).await?)
            }
            ControlRequest::Deploy { environment, change, actor } => {
                ControlResponse::Deploy(deploy::begin(inner, &environment, change, actor).await?)
            }
            ControlRequest::Releases { environment, limit, all } => {
                ControlResponse::Releases(deploy::releases(inner, &environment, limit, all).await?)
            }
            ControlRequest::Environment { name } => {
                ControlResponse::Environment(Box::new(deploy::status(inner, &name).await?))
            }
            ControlRequest::Compare { environment, against, look } => {
                ControlResponse::Compare(Box::new(deploy::compare_here(inner, &environment, &against, look).await?))
            }
            ControlRequest::Lock { environment, reason, actor } => {
                ControlResponse::Lock(deploy::lock(inner, &environment, reason, actor).await?)
            }
            ControlRequest::LockOf { environment } => {
                ControlResponse::LockOf(deploy::lock_of(inner, &environment).await?)
            }
            ControlRequest::Unlock { environment } => {
                ControlResponse::Unlock(deploy::unlock(inner, &environment).await?)
            }
            ControlRequest::Watch { id, version, timeout_ms } => {
                ControlResponse::Watch(Box::new(deploy::watch(inner, &id, version, timeout_ms).await?))
            }
            ControlRequest::RunTask { environment, task } => {
                ControlResponse::RunTask(Box::new(deploy::run(inner, &environment, task).await?))
            }
            ControlRequest::TaskOutput { environment, task, container, lines } => ControlResponse::TaskOutput(
                Box::new(deploy::output(inner, &environment, task, container, lines.min(10_000)).await?),
            ),
            ControlRequest::StopTask { environment, task, reason } => {
                deploy::stop(inner, &environment, &task, &reason).await?;
                ControlResponse::StopTask
            }
            ControlRequest::Backup { to } => {
                inner.store.backup(&to).await?;
                ControlResponse::Backup
            }
            ControlRequest::Pipeline(request) => ControlResponse::Pipeline(pipelines::answer(inner, request).await?),
            ControlRequest::Shutdown => {
                inner.shutdown.cancel();
                ControlResponse::Shutdown
            }
        })
    }
}

async fn status(inner: &Inner) -> Answer<ServerStatus> {
    let mut previews = BTreeMap::new();
    inner.records.read(|records| {
        for record in records.values().filter(|record| record.phase != Phase::Destroyed) {
            *previews.entry(record.phase).or_insert(0) += 1;
        }
    });
    let live = inner.records.read(|records| records.values().filter(|record| record.live.is_some()).count());
    let (pending, _) = inner.store.depths().await?;
    Ok(ServerStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        instance: inner.instance.clone(),
        project: inner.app.project.clone(),
        listen: inner.listen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
        started_at: inner.started_at,
        previews,
        live_executions: u64::try_from(live).unwrap_or(u64::MAX),
        inbox: u64::try_from(pending).unwrap_or(u64::MAX),
    })
}

async fn submit(inner: &Inner, target: Target, ask: Ask, actor: String) -> Answer<Submitted> {
    let environment = match target {
        Target::Name(name) => find(inner, &name)?.key,
        Target::Branch { repository, branch } => {
            EnvironmentKey { repository: repository_key(inner, repository)?, source: source(&branch) }
        }
    };
    let id = DeliveryId::new(format!("cli:{:016x}{:016x}", inner.clock.entropy(), inner.clock.entropy()));
    let intent = Intent { id: id.clone(), environment: environment.clone(), ask, actor, event_at: None };
    let mut decided = inner.expect(&id);
    if let Err(error) = inbox::put(inner, &intent).await {
        inner.forget(&id);
        return Err(error.into());
    }
    let _ = tokio::time::timeout(DECIDED_WITHIN, decided.wait_for(|decided| *decided)).await;
    inner.forget(&id);
    let outcome: Option<DeliveryOutcome> =
        inner.store.deliveries(1000).await?.into_iter().find(|delivery| delivery.id == id).and_then(|d| d.outcome);
    let environment = inner.records.by_key(&environment).map(|record| record.id);
    Ok(Submitted { delivery: id, outcome, environment })
}

pub(crate) fn repository_key(inner: &Inner, wanted: Option<String>) -> Answer<RepositoryKey> {
    let keys = || inner.app.repositories.keys().map(RepositoryKey::as_str).collect::<Vec<_>>().join(", ");
    match wanted {
        Some(wanted) => {
            let key = RepositoryKey::new(wanted);
            match inner.app.repositories.contains_key(&key) {
                true => Ok(key),
                false => {
                    Err(ControlError::NotFound(format!("no repository `{key}` in the manifest; there is {}", keys())))
                }
            }
        }
        None => {
            let mut all = inner.app.repositories.keys();
            match (all.next(), all.next()) {
                (Some(only), None) => Ok(only.clone()),
                _ => Err(ControlError::Invalid(format!("say which repository: {}", keys()))),
            }
        }
    }
}

/// `#12` is a fork's pull request; git allows `#` in a branch's name, but nobody names one so.
pub(crate) fn source(text: &str) -> SourceRef {
    match text.strip_prefix('#').and_then(|number| number.parse().ok()) {
        Some(number) => SourceRef::ForkPullRequest(number),
        None => SourceRef::Branch(text.to_owned()),
    }
}

/// By id, or else by source or host label where that names one environment only; living ones before tombstones.
pub(crate) fn find(inner: &Inner, name: &str) -> Answer<EnvironmentRecord> {
    if let Some(record) = inner.records.get(&name.into()) {
        return Ok(record);
    }
    let wanted = source(name);
    let mut found = inner.records.all();
    found.retain(|record| record.key.source == wanted || record.names.host_label == name);
    if found.iter().any(|record| record.phase != Phase::Destroyed) {
        found.retain(|record| record.phase != Phase::Destroyed);
    }
    match found.len() {
        0 => Err(ControlError::NotFound(format!("no preview `{name}`; `landfall preview list` shows what there is"))),
        1 => Ok(found.remove(0)),
        _ => {
            let ids: Vec<_> = found.iter().map(|record| record.id.as_str()).collect();
            Err(ControlError::Invalid(format!("`{name}` may be any of {}; use one of these ids", ids.join(", "))))
        }
    }
}

async fn execution_of(inner: &Inner, record: &EnvironmentRecord) -> Answer<Option<ExecutionView>> {
    let id: Option<&ExecutionId> = record.live.as_ref().map(|live| &live.id).or(record.last_execution.as_ref());
    let Some(id) = id else { return Ok(None) };
    match inner.engine.view(id).await {
        Ok(view) => Ok(Some(view)),
        // Named in the record and not journalled yet, or pruned since.
        Err(EngineError::Journal(JournalError::NotFound(_))) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Long poll. What is settled: nothing is left to do without a push, a person or a free place.
async fn settled(inner: &Inner, id: &EnvironmentId, timeout_ms: u64) -> Answer<SettledReport> {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(timeout_ms).min(LONGEST_POLL);
    let mut changed = inner.records.subscribe();
    loop {
        inner.records.refresh_shared().await?;
        changed.borrow_and_update();
        let record = inner
            .records
            .get(id)
            .ok_or_else(|| ControlError::NotFound(format!("no preview `{id}`; `landfall preview list` shows them")))?;
        let execution = execution_of(inner, &record).await?;
        let paused = execution.as_ref().is_some_and(|view| view.state == ExecutionState::Paused);
        // The execution pauses first, and the record says so and why a moment later: who asks wants both.
        let settled = rests(&record) || (record.phase == Phase::Paused && record.live.is_some() && paused);
        if settled || inner.shutdown.is_cancelled() || tokio::time::Instant::now() >= deadline {
            return Ok(SettledReport { record, execution, settled });
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = inner.shutdown.cancelled() => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

fn rests(record: &EnvironmentRecord) -> bool {
    if record.live.is_some() {
        return false;
    }
    match record.phase {
        Phase::AwaitingApproval => true,
        // In the queue and told so; one that was only just asked for has no message yet.
        Phase::Queued => record.message.is_some(),
        _ => record.applied_seq == record.desired_seq && !landfall_planner::control::sleep_pending(record),
    }
}

async fn logs(inner: &Inner, id: &EnvironmentId, lines: usize) -> Answer<Vec<String>> {
    let orchestrator = &inner.platform_of(id)?.orchestrator;
    let owned = orchestrator.list_owned(Some(id.as_str()), &[ResourceKind::Task]).await?;
    let owned = owned.items.into_iter().filter(|task| task.kind == ResourceKind::Task).map(|task| task.id);
    let mut tasks: Vec<String> = owned.collect();
    let others = orchestrator.tasks_of(&inner.services_of(id)).await?;
    tasks.extend(others.into_iter().filter(|other| !tasks.contains(other)).collect::<Vec<_>>());
    let mut out = Vec::new();
    for task in &tasks {
        match orchestrator.task_log_tail(task, lines).await {
            Ok(tail) => out.extend(tail),
            // It ended while we looked.
            Err(PortError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(out)
}

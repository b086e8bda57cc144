//! The controller: looks at one environment, asks `planner::decide` what it needs, does that one thing, looks again.
//!
//! It is level-triggered. Records that changed, executions that came to rest and timers only say where to look; every
//! environment is looked at once after a start, and all of those at work every few seconds, so a lost wake-up delays
//! and never loses. One environment is looked at by one task at a time; many environments at once.
//!
//! The order of writes is the one that `planner::control` asks for: the record names the execution first, the journal gets it
//! second. A crash between the two leaves a live execution that the journal does not know; it is `Lost`, and planned anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use landfall_engine::EngineError;
use landfall_model::Timestamp;
use landfall_model::environment::{Desired, EnvironmentRecord};
use landfall_model::ids::EnvironmentId;
use landfall_model::notice::{Notice, NoticeKind};
use landfall_planner::control::Cause;
use landfall_planner::{DecideContext, Decision, LiveStatus, Settled, decide, place, plan};
use landfall_ports::journal::JournalError;
use landfall_ports::store::{StoreError, StoreResult};
use landfall_workflow::event::ErrorClass;
use landfall_workflow::{Event, ExecutionState, Signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::service::{Inner, Service};
use crate::{inbox, start};

/// When to look at an environment again, if nothing happens before.
type Wake = Option<Timestamp>;

const CURSOR_KEY: &str = "controller.cursor";
/// After an error of the store, the journal or a listing.
const RETRY: Duration = Duration::from_secs(2);

pub(crate) async fn run(service: &Service, cancel: &CancellationToken) {
    let inner = &*service.inner;
    let mut changed = inner.records.subscribe();
    let mut follower = Follower::new(inner).await;
    inner.records.mark_dirty(inner.records.all().into_iter().map(|record| record.id));
    let mut tasks: JoinSet<(EnvironmentId, Wake)> = JoinSet::new();
    let mut busy: BTreeSet<EnvironmentId> = BTreeSet::new();
    let mut ready: BTreeSet<EnvironmentId> = BTreeSet::new();
    let mut timers: BTreeMap<EnvironmentId, Timestamp> = BTreeMap::new();
    let mut look = tokio::time::interval(inner.config.look_again);
    loop {
        ready.extend(inner.records.take_dirty());
        let now = inner.clock.now();
        ready.extend(timers.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()));
        let free = inner.config.parallel.max(1).saturating_sub(busy.len());
        let next: Vec<_> = ready.iter().filter(|id| !busy.contains(*id)).take(free).cloned().collect();
        for id in next {
            ready.remove(&id);
            timers.remove(&id);
            busy.insert(id.clone());
            let service = service.clone();
            tasks.spawn(async move {
                let wake = settle(&service.inner, &id).await;
                (id, wake)
            });
        }
        inner.metrics.previews(&inner.records);
        let timer = until(timers.values().min().copied(), now, inner.config.look_again);
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(done) = tasks.join_next() => {
                match done {
                    Ok((id, wake)) => {
                        busy.remove(&id);
                        if let Some(at) = wake {
                            timers.insert(id, at);
                        }
                    }
                    Err(error) => {
                        // A defect; what it held is looked at again with everything else.
                        tracing::error!(%error, "a look at an environment ended early");
                        busy.clear();
                        while tasks.join_next().await.is_some() {}
                        inner.records.mark_dirty(inner.records.all().into_iter().map(|record| record.id));
                    }
                }
            }
            _ = changed.changed() => {}
            () = inner.journal.changed() => ready.extend(follower.news(inner).await),
            _ = look.tick() => {
                if let Err(error) = inner.records.refresh_shared().await {
                    tracing::warn!(%error, "the environments cannot be read again");
                }
                ready.extend(follower.news(inner).await);
                ready.extend(inner.records.read(|records| {
                    let at_work = |record: &&EnvironmentRecord| {
                        record.live.is_some() || record.applied_seq != record.desired_seq
                    };
                    records.values().filter(at_work).map(|record| record.id.clone()).collect::<Vec<_>>()
                }));
            }
            () = tokio::time::sleep(timer) => {}
        }
    }
    while tasks.join_next().await.is_some() {}
    follower.save(inner).await;
}

fn until(at: Option<Timestamp>, now: Timestamp, at_most: Duration) -> Duration {
    let Some(at) = at else { return at_most };
    let ms = at.as_millisecond().saturating_sub(now.as_millisecond()).max(0);
    Duration::from_millis(u64::try_from(ms).unwrap_or(0).saturating_add(1)).min(at_most)
}

/// Reads the journal for executions that came to rest or went on after a rest.
struct Follower {
    cursor: u64,
}

impl Follower {
    /// Everything before now is of no interest: every environment is looked at once anyway.
    async fn new(inner: &Inner) -> Self {
        let saved = inner.store.meta_get(CURSOR_KEY).await.ok().flatten();
        let mut follower = Self { cursor: saved.and_then(|text| text.parse().ok()).unwrap_or(0) };
        follower.news(inner).await;
        follower.save(inner).await;
        follower
    }

    async fn save(&self, inner: &Inner) {
        if let Err(error) = inner.store.meta_put(CURSOR_KEY, &self.cursor.to_string()).await {
            tracing::debug!(%error, "the journal's cursor is not saved; the next start reads further back");
        }
    }

    async fn news(&mut self, inner: &Inner) -> Vec<EnvironmentId> {
        let mut rested = BTreeSet::new();
        loop {
            match inner.journal.read_after(self.cursor, 1000).await {
                Ok(entries) if entries.is_empty() => break,
                Ok(entries) => {
                    for entry in entries {
                        self.cursor = self.cursor.max(entry.cursor);
                        if matches!(
                            entry.record.event,
                            Event::Finished { .. } | Event::Paused { .. } | Event::Resumed { .. }
                        ) {
                            rested.insert(entry.execution);
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the journal cannot be read");
                    break;
                }
            }
        }
        inner.records.worked_on_by(&rested)
    }
}

/// Does what the environment needs until it needs nothing more now.
async fn settle(inner: &Inner, id: &EnvironmentId) -> Wake {
    // Far more than the longest chain of decisions; a defect must not spin.
    for _ in 0..16 {
        match step(inner, id).await {
            Ok(Next::Again) => {}
            Ok(Next::Rest(wake)) => return wake,
            Err(StoreError::Conflict(_)) => {}
            Err(error) => {
                tracing::warn!(environment = %id, %error, "cannot go on with this environment yet");
                return later(inner, RETRY);
            }
        }
    }
    later(inner, RETRY)
}

pub(crate) fn later(inner: &Inner, after: Duration) -> Wake {
    let after = jiff::SignedDuration::try_from(after).ok()?;
    inner.clock.now().checked_add(after).ok()
}

pub(crate) enum Next {
    Again,
    Rest(Wake),
}

async fn step(inner: &Inner, id: &EnvironmentId) -> StoreResult<Next> {
    let Some(record) = inner.records.get(id) else { return Ok(Next::Rest(None)) };
    let Ok(live) = live_status(inner, &record).await else { return Ok(Next::Rest(later(inner, RETRY))) };
    let finished = matches!(live, Some(LiveStatus::Finished { .. }));
    let cx = context(inner, &record, live);
    match decide(&record, &cx) {
        Decision::Nothing { wake_at } => Ok(Next::Rest(wake_at)),
        Decision::Start(kind) => start::start(inner, &record, kind).await,
        Decision::Supersede { execution } => {
            let by = Signal::Supersede { by: format!("request {}", record.cause) };
            match inner.engine.signal(&execution, landfall_model::ids::SYSTEM_ACTOR, by).await {
                Ok(()) | Err(EngineError::Rejected(_)) => {
                    remember_superseded(inner, |set| set.insert(execution));
                    Ok(Next::Again)
                }
                Err(error) => {
                    tracing::warn!(%execution, %error, "cannot be superseded yet");
                    Ok(Next::Rest(later(inner, RETRY)))
                }
            }
        }
        Decision::Queue(settled) | Decision::Settle(settled) => {
            let frees_a_place = finished || settled.record.live.is_none();
            write(inner, settled).await?;
            if let Some(live) = record.live.as_ref().filter(|_| finished) {
                remember_superseded(inner, |set| set.remove(&live.id));
                if let Ok(view) = inner.engine.view(&live.id).await {
                    inner.metrics.finished(&view);
                }
            }
            if frees_a_place {
                wake_queued(inner, id);
            }
            Ok(Next::Again)
        }
        Decision::Expire(intent) | Decision::Doze(intent) => {
            inbox::put(inner, &intent).await?;
            Ok(Next::Rest(later(inner, RETRY)))
        }
    }
}

fn context(inner: &Inner, record: &EnvironmentRecord, live: Option<LiveStatus>) -> DecideContext {
    let previews = inner.app.previews.as_ref();
    let cap = previews.and_then(|previews| previews.limits.max_previews);
    DecideContext {
        now: inner.clock.now(),
        live,
        place: inner.records.read(|records| place(records.values(), &record.id, cap)),
        ttl: previews.and_then(|previews| previews.ttl),
        url: plan::url(&inner.app, record),
        port: plan::port(&inner.app, record),
        idle: inner.sleepers.idle(inner, record),
    }
}

/// Whether the environment may take a place now; asked again when it is about to.
pub(crate) fn has_place(inner: &Inner, record: &EnvironmentRecord) -> bool {
    landfall_planner::control::holds_place(record)
        || context(inner, record, None).place == landfall_planner::Place::Free
}

fn remember_superseded<T>(
    inner: &Inner,
    change: impl FnOnce(&mut BTreeSet<landfall_model::ids::ExecutionId>) -> T,
) -> T {
    change(&mut inner.superseded.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Those who wait are told where they stand whenever somebody ahead of them moves.
fn wake_queued(inner: &Inner, moved: &EnvironmentId) {
    if inner.app.previews.as_ref().is_none_or(|previews| previews.limits.max_previews.is_none()) {
        return;
    }
    let waiting: Vec<_> = inner.records.read(|records| {
        let waits = |record: &&EnvironmentRecord| {
            record.live.is_none()
                && record.id != *moved
                && record.applied_seq != record.desired_seq
                && matches!(record.desired, Desired::Present(_))
        };
        records.values().filter(waits).map(|record| record.id.clone()).collect()
    });
    inner.records.mark_dirty(waiting);
}

/// `Err`: the journal could not say.
async fn live_status(inner: &Inner, record: &EnvironmentRecord) -> Result<Option<LiveStatus>, ()> {
    let Some(live) = &record.live else { return Ok(None) };
    let superseding = remember_superseded(inner, |set| set.contains(&live.id));
    match inner.engine.view(&live.id).await {
        Ok(view) => Ok(Some(match (view.state, view.outcome) {
            (ExecutionState::Finished, Some(outcome)) => LiveStatus::Finished {
                outcome,
                serves: plan::serves(&view),
                message: view.message.unwrap_or_default(),
                cause: view.cause.map(|cause| Cause {
                    stale: cause.error.class == ErrorClass::Stale,
                    text: match cause.error.detail {
                        Some(detail) => format!("{}: {}\n{detail}", cause.title, cause.error.message),
                        None => format!("{}: {}", cause.title, cause.error.message),
                    },
                }),
            },
            (ExecutionState::Paused, _) => {
                LiveStatus::Paused { reason: view.pause.map(|pause| pause.reason).unwrap_or_default(), superseding }
            }
            _ => LiveStatus::Running { superseding },
        })),
        Err(EngineError::Journal(JournalError::NotFound(_))) => Ok(Some(LiveStatus::Lost)),
        Err(error) => {
            tracing::warn!(environment = %record.id, execution = %live.id, %error, "the execution cannot be read");
            Err(())
        }
    }
}

pub(crate) async fn write(inner: &Inner, settled: Settled) -> StoreResult<()> {
    let notices = settled.notices.into_iter().filter(|notice| !told_by_the_execution(notice)).collect();
    inner.records.write(vec![settled.record], notices).await
}

/// What an execution does, it tells itself, in the transaction of the record that says so. The record's own notices are only
/// those that no execution tells: one message for each change.
fn told_by_the_execution(notice: &Notice) -> bool {
    notice.execution.is_some()
        && matches!(
            notice.kind,
            NoticeKind::Creating
                | NoticeKind::Created
                | NoticeKind::Updating
                | NoticeKind::Updated
                | NoticeKind::Destroying
                | NoticeKind::Destroyed
                | NoticeKind::Failed
                | NoticeKind::RolledBack
                | NoticeKind::Superseded
                | NoticeKind::Paused
        )
}

//! The engine's public face: submit, serve, watch, signal.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use landfall_model::Timestamp;
use landfall_model::ids::ExecutionId;
use landfall_ports::clock::Clock;
use landfall_ports::journal::{Created, Journal, JournalError, NewExecution, StoredExecution};
use landfall_ports::steps::StepExecutor;
use landfall_workflow::event::Record;
use landfall_workflow::{CorruptJournal, Event, Execution, ExecutionView, InvalidPlan, Plan, Signal, view};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::config::{
    EngineConfig, EngineError, EngineObserver, EngineResult, NewPlan, Observation, Recalled, RunEnd, Submitted,
};
use crate::drive::drive;
use crate::live::{Adopted, Live, millis, renew};

/// Drives executions. Clones share everything.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) steps: Arc<dyn StepExecutor>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) live: Live,
    /// There may be something to claim, or a place to claim it for.
    pub(crate) claimable: Notify,
    /// Some execution came to rest.
    pub(crate) settled: Notify,
    observer: OnceLock<Arc<dyn EngineObserver>>,
    serving: AtomicUsize,
}

impl Inner {
    pub(crate) fn observe(&self, what: &Observation<'_>) {
        if let Some(observer) = self.observer.get() {
            observer.observe(what);
        }
    }

    pub(crate) async fn load(&self, id: &ExecutionId) -> EngineResult<(StoredExecution, Execution)> {
        let stored = self.journal.load(id).await?;
        let corrupt = |error: CorruptJournal| EngineError::Corrupt { id: id.clone(), error };
        let plan: Plan = serde_json::from_slice(&stored.plan)
            .map_err(|error| corrupt(CorruptJournal::Plan(format!("it cannot be read: {error}"))))?;
        let execution =
            Execution::fold(&Arc::new(plan), id, stored.snapshot.as_ref(), &stored.records).map_err(corrupt)?;
        Ok((stored, execution))
    }
}

impl Engine {
    /// `call_timeout` is cut to half of `lease_ttl`: renewals come three times a lease, so a lease always has that long.
    pub fn new(
        mut config: EngineConfig,
        journal: Arc<dyn Journal>,
        steps: Arc<dyn StepExecutor>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        config.call_timeout = config.call_timeout.min(config.lease_ttl / 2);
        Self {
            inner: Arc::new(Inner {
                config,
                journal,
                steps,
                clock,
                live: Live::default(),
                claimable: Notify::new(),
                settled: Notify::new(),
                observer: OnceLock::new(),
                serving: AtomicUsize::new(0),
            }),
        }
    }

    /// Sends observations there. Only the first observer counts.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn EngineObserver>) -> Self {
        let _ = self.inner.observer.set(observer);
        self
    }

    /// Journals a plan. Durable when it returns; driven as soon as somebody serves.
    pub async fn submit(&self, new: NewPlan) -> EngineResult<Submitted> {
        new.plan.validate()?;
        let unreadable =
            |error: serde_json::Error| EngineError::InvalidPlan(InvalidPlan { problems: vec![error.to_string()] });
        let plan = new.plan.canonical_bytes().map_err(unreadable)?;
        let plan_digest = landfall_workflow::digest(&plan);
        let now = self.inner.clock.now();
        let id = new.id.unwrap_or_else(|| self.new_id(now));
        let created = Event::Created { plan: plan_digest.to_string(), intent: new.intent };
        let execution = NewExecution {
            id: id.clone(),
            dedup_key: new.dedup_key,
            environment: new.plan.environment,
            plan_digest,
            plan,
            records: vec![Record { at: now, event: created }],
            notices: new.notices,
        };
        let submitted = match self.inner.journal.create(execution).await? {
            Created::New => Submitted { id, existing: false },
            Created::Existing(id) => Submitted { id, existing: true },
        };
        self.inner.claimable.notify_one();
        Ok(submitted)
    }

    /// An id for an execution that will be submitted.
    pub fn new_id(&self, now: Timestamp) -> ExecutionId {
        let clock = &self.inner.clock;
        let random = (u128::from(clock.entropy()) << 64) | u128::from(clock.entropy());
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        ExecutionId(format!("exe_{}", ulid::Ulid::from_parts(millis, random)))
    }

    /// Claims and drives until cancelled. Then: no new calls, those begun are let finish and recorded, leases are released.
    pub async fn serve(&self, shutdown: CancellationToken) {
        let inner = &self.inner;
        inner.serving.fetch_add(1, Ordering::SeqCst);
        let stop_renewing = CancellationToken::new();
        // Sets, so that dropping this future (a process that dies, in tests) ends all it has spawned.
        let mut renewals = JoinSet::new();
        renewals.spawn(renew(Arc::clone(inner), stop_renewing.clone()));
        let mut drivers = JoinSet::new();
        while !shutdown.is_cancelled() {
            let full = self.claim(&mut drivers, &shutdown).await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = inner.claimable.notified() => {}
                () = tokio::time::sleep(inner.config.claim_every) => {}
                // A place is free and others wait for it.
                Some(_) = drivers.join_next(), if full => {}
            }
            while drivers.try_join_next().is_some() {}
        }
        while drivers.join_next().await.is_some() {}
        stop_renewing.cancel();
        renewals.join_next().await;
        inner.serving.fetch_sub(1, Ordering::SeqCst);
    }

    /// `true`: there may be more than there was place for.
    async fn claim(&self, drivers: &mut JoinSet<()>, shutdown: &CancellationToken) -> bool {
        let inner = &self.inner;
        let free = inner.config.max_executions.saturating_sub(inner.live.busy());
        if free == 0 {
            return true;
        }
        let limit = u32::try_from(free).unwrap_or(u32::MAX);
        let covered_until = Instant::now() + inner.config.lease_ttl;
        let leases = match inner.journal.claim(&inner.config.owner, millis(inner.config.lease_ttl), limit).await {
            Ok(leases) => leases,
            Err(error) => {
                tracing::warn!(%error, "nothing can be claimed now");
                return false;
            }
        };
        let full = leases.len() >= free;
        for lease in leases {
            match inner.live.adopt(lease.clone(), covered_until) {
                Adopted::New(held) => {
                    let trace_id = hex::encode(trace_id(&lease.execution));
                    let span = tracing::info_span!("execution", id = %lease.execution, trace_id);
                    let driver = drive(Arc::clone(inner), held, shutdown.child_token());
                    let (inner, id) = (Arc::clone(inner), lease.execution);
                    let guarded = async move {
                        if AssertUnwindSafe(driver).catch_unwind().await.is_err() {
                            // No longer renewed, so that the lease expires and the next claim recovers.
                            tracing::error!("the driver panicked; this is a defect of Landfall");
                            inner.live.remove(&id);
                        }
                    };
                    drivers.spawn(guarded.instrument(span));
                }
                Adopted::Known => {
                    tracing::info!(execution = %lease.execution, epoch = lease.epoch, "lease taken again")
                }
                Adopted::Leaving => {
                    let _ = inner.journal.release(&lease).await;
                }
            }
        }
        full
    }

    /// Drives (if nobody in this process does) until this execution has come to rest. What else is unfinished in the same
    /// journal is driven along meanwhile.
    pub async fn run_to_end(&self, id: &ExecutionId) -> EngineResult<RunEnd> {
        if self.inner.serving.load(Ordering::SeqCst) > 0 {
            return self.wait(id).await;
        }
        let stop = CancellationToken::new();
        let serve = self.serve(stop.clone());
        let watch = async {
            let end = self.wait(id).await;
            stop.cancel();
            end
        };
        tokio::join!(serve, watch).1
    }

    /// Waits until the execution has finished, or is paused with no signal on its way to it. An execution that cannot be
    /// read is an error at once; a journal that is only unavailable is asked again.
    pub async fn wait(&self, id: &ExecutionId) -> EngineResult<RunEnd> {
        loop {
            let settled = self.inner.settled.notified();
            match self.rest(id).await {
                Ok(Some(end)) => return Ok(end),
                Ok(None) | Err(EngineError::Journal(JournalError::Unavailable(_))) => {}
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = settled => {}
                () = tokio::time::sleep(Duration::from_millis(250)) => {}
            }
        }
    }

    async fn rest(&self, id: &ExecutionId) -> EngineResult<Option<RunEnd>> {
        let seen = view(&self.inner.load(id).await?.1);
        if let Some(outcome) = seen.outcome {
            return Ok(Some(RunEnd::Finished { outcome, message: seen.message.unwrap_or_default() }));
        }
        match seen.pause {
            Some(pause) if self.inner.journal.signals(id).await?.is_empty() => {
                Ok(Some(RunEnd::Paused { step: pause.step, reason: pause.reason }))
            }
            _ => Ok(None),
        }
    }

    /// Queues a signal, durably. `Rejected` when it would change nothing now; signals already queued are not considered.
    pub async fn signal(&self, id: &ExecutionId, who: &str, signal: Signal) -> EngineResult<()> {
        let (_, execution) = self.inner.load(id).await?;
        execution.accepts(&signal).map_err(|rejected| EngineError::Rejected(rejected.to_string()))?;
        self.inner.journal.send_signal(id, who, signal).await?;
        if let Some(held) = self.inner.live.get(id) {
            held.wake.notify_one();
        }
        Ok(())
    }

    pub async fn view(&self, id: &ExecutionId) -> EngineResult<ExecutionView> {
        Ok(view(&self.inner.load(id).await?.1))
    }

    /// What the execution's finished steps were given: [`Execution::brought`].
    pub async fn brought(&self, id: &ExecutionId) -> EngineResult<Vec<serde_json::Value>> {
        Ok(self.inner.load(id).await?.1.brought())
    }

    /// All of it at once: its plan, how it went, and what its finished steps were given.
    pub async fn recall(&self, id: &ExecutionId) -> EngineResult<Recalled> {
        let (stored, execution) = self.inner.load(id).await?;
        Ok(Recalled {
            digest: landfall_workflow::digest(&stored.plan),
            plan: Plan::clone(execution.plan()),
            intent: execution.intent().to_owned(),
            brought: execution.brought(),
            begun: execution.begun(),
            view: view(&execution),
        })
    }

    /// The records that were not compacted, oldest first.
    pub async fn history(&self, id: &ExecutionId) -> EngineResult<Vec<Record>> {
        Ok(self.inner.journal.load(id).await?.records)
    }

    /// Executions held by this engine, parked ones included: for /metrics.
    pub fn live(&self) -> usize {
        self.inner.live.len()
    }
}

/// The trace id that all spans of an execution share: the first 16 bytes of the SHA-256 of its id.
pub fn trace_id(id: &ExecutionId) -> [u8; 16] {
    let digest = Sha256::digest(id.as_str());
    std::array::from_fn(|index| digest[index])
}

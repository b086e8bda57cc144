//! Driving one execution: inputs in, one append each, actions after the commit.
//!
//! The order that everything rests on: handle → append (expected version, lease) → fold → act. A crash before the append
//! leaves the world and the journal as they were; a crash after it leaves records from which `Recover` derives the same
//! actions with the same keys. While the journal is unavailable the append is repeated and nothing else happens, so the
//! result of a finished call waits in memory.
//!
//! An append may be committed although its answer was lost. The repetition then finds its own records at the expected
//! version: they are compared and taken for what they are. Any other conflict means a second writer under the same lease,
//! which cannot be argued with: the driver leaves, and whoever claims next recovers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use landfall_model::Timestamp;
use landfall_model::ids::{ExecutionId, StepId};
use landfall_model::notice::Notice;
use landfall_ports::journal::{Batch, JournalError, Lease, Version};
use landfall_workflow::event::{Event, Record};
use landfall_workflow::{Action, Context, Execution, Input, Outcome, Rejected, Transition};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::calls::{Job, Phase};
use crate::config::Observation;
use crate::engine::Inner;
use crate::live::Held;

/// Why a driver leaves an execution that has not finished.
#[derive(Debug, thiserror::Error)]
enum Leave {
    #[error("somebody else holds the lease")]
    Fenced,
    #[error("shutting down")]
    Shutdown,
    /// The next claim starts from what the journal says.
    #[error("the journal contradicts this driver: {0}")]
    Conflict(String),
}

/// The wall clock as of the claim plus time that only goes forward: a clock that jumps neither reorders the records of one
/// driver nor makes a step time out.
struct DriveClock {
    wall: Timestamp,
    since: Instant,
}

impl DriveClock {
    fn now(&self) -> Timestamp {
        let elapsed = jiff::SignedDuration::try_from(self.since.elapsed()).unwrap_or_default();
        self.wall.checked_add(elapsed).unwrap_or(self.wall)
    }
}

struct Driver {
    inner: Arc<Inner>,
    held: Arc<Held>,
    execution: Execution,
    /// Records since the last snapshot.
    tail: usize,
    clock: DriveClock,
    calls: JoinSet<(StepId, Option<Input>)>,
    in_flight: BTreeSet<StepId>,
    timers: BTreeMap<StepId, Instant>,
    draining: bool,
}

/// Drives until the end, the loss of the lease or the shutdown; then gives the lease back.
pub(crate) async fn drive(inner: Arc<Inner>, held: Arc<Held>, shutdown: CancellationToken) {
    let id = held.lease().execution;
    let begun = Instant::now();
    let mut kind = String::new();
    let result = match load(&inner, &held, &id, &shutdown).await {
        Ok(Some((execution, tail))) => {
            kind.clone_from(&execution.plan().kind);
            inner.observe(&Observation::ExecutionClaimed { kind: &kind });
            let clock = DriveClock { wall: inner.clock.now(), since: Instant::now() };
            let mut driver = Driver {
                inner: Arc::clone(&inner),
                held: Arc::clone(&held),
                execution,
                tail,
                clock,
                calls: JoinSet::new(),
                in_flight: BTreeSet::new(),
                timers: BTreeMap::new(),
                draining: false,
            };
            driver.run(&shutdown).await.map(Some)
        }
        Ok(None) => Ok(None),
        Err(leave) => Err(leave),
    };
    if matches!(result, Err(Leave::Conflict(_))) {
        // Not to be back here at once, should the next driver come to the same end.
        tokio::time::sleep(inner.config.claim_every).await;
    }
    let lease = inner.live.remove(&id);
    match &result {
        Ok(Some(outcome)) => tracing::info!(?outcome, "execution finished"),
        Ok(None) => {}
        Err(Leave::Conflict(why)) => tracing::error!(why, "execution left: the journal contradicts this driver"),
        Err(leave) => tracing::info!(%leave, "execution left"),
    }
    if let (Err(Leave::Shutdown | Leave::Conflict(_)), Some(lease)) = (&result, lease)
        && let Err(error) = inner.journal.release(&lease).await
    {
        tracing::warn!(%error, "lease not released; it expires by itself");
    }
    inner.observe(&Observation::ExecutionLeft { kind: &kind, outcome: result.ok().flatten(), took: begun.elapsed() });
    inner.settled.notify_waiters();
}

/// `None`: already finished. An execution that cannot be read is kept under its lease and left alone until the shutdown: no
/// other engine of this version could do better.
async fn load(
    inner: &Inner,
    held: &Held,
    id: &ExecutionId,
    shutdown: &CancellationToken,
) -> Result<Option<(Execution, usize)>, Leave> {
    let mut backoff = Backoff::default();
    loop {
        match inner.load(id).await {
            Ok((stored, _)) if stored.finished => return Ok(None),
            Ok((stored, execution)) => return Ok(Some((execution, stored.records.len()))),
            Err(crate::EngineError::Journal(JournalError::Unavailable(error))) => {
                tracing::warn!(error, "journal unavailable; trying again");
                backoff.wait(held, shutdown).await?;
            }
            Err(error) => {
                tracing::error!(%error, "this execution cannot be driven; it needs an operator");
                held.parked.store(true, Ordering::Relaxed);
                inner.settled.notify_waiters();
                tokio::select! {
                    () = held.lost.cancelled() => return Err(Leave::Fenced),
                    () = shutdown.cancelled() => return Err(Leave::Shutdown),
                }
            }
        }
    }
}

impl Driver {
    async fn run(&mut self, shutdown: &CancellationToken) -> Result<Outcome, Leave> {
        let Lease { owner, epoch, .. } = self.held.lease();
        // Signals to an execution that nobody has begun come first: one that is superseded in the queue starts nothing.
        if self.execution.is_new() {
            self.take_signals(shutdown).await?;
            self.input(Input::Start { owner, epoch }, vec![], shutdown).await?;
        } else {
            self.input(Input::Recover { owner, epoch }, vec![], shutdown).await?;
        }
        let signals_every = self.inner.config.signals_every;
        let mut look_at = Instant::now();
        while self.execution.outcome().is_none() {
            self.park();
            if self.draining && self.calls.is_empty() {
                return Err(Leave::Shutdown);
            }
            let next = self.timers.iter().min_by_key(|(_, at)| **at).map(|(step, at)| (step.clone(), *at));
            let timer_at = next.as_ref().map_or_else(|| Instant::now() + Duration::from_secs(3600), |(_, at)| *at);
            tokio::select! {
                biased;
                () = self.held.lost.cancelled() => return Err(Leave::Fenced),
                Some(joined) = self.calls.join_next() => match joined {
                    Ok((step, input)) => {
                        self.in_flight.remove(&step);
                        let Some(input) = input else { return Err(Leave::Fenced) };
                        self.input(input, vec![], shutdown).await?;
                    }
                    Err(error) => return Err(Leave::Conflict(error.to_string())),
                },
                () = shutdown.cancelled(), if !self.draining => self.draining = true,
                () = self.held.wake.notified(), if !self.draining => {
                    self.take_signals(shutdown).await?;
                    look_at = Instant::now() + signals_every;
                }
                () = tokio::time::sleep_until(look_at), if !self.draining => {
                    self.take_signals(shutdown).await?;
                    look_at = Instant::now() + signals_every;
                }
                () = tokio::time::sleep_until(timer_at), if next.is_some() && !self.draining => {
                    if let Some((step, _)) = next {
                        self.timers.remove(&step);
                        self.input(Input::TimerFired { step }, vec![], shutdown).await?;
                    }
                }
            }
        }
        self.execution.outcome().ok_or_else(|| Leave::Conflict("finished without an outcome".to_owned()))
    }

    /// A paused execution with nothing to wait for but a signal takes no place, and no clock's drift.
    fn park(&mut self) {
        let idle = self.execution.pause().is_some() && self.calls.is_empty() && self.timers.is_empty();
        if self.held.parked.swap(idle, Ordering::Relaxed) != idle {
            self.inner.settled.notify_waiters();
            self.inner.claimable.notify_one();
        }
        if idle {
            self.clock = DriveClock { wall: self.inner.clock.now(), since: Instant::now() };
        }
    }

    async fn take_signals(&mut self, shutdown: &CancellationToken) -> Result<(), Leave> {
        let queued = match self.inner.journal.signals(self.execution.id()).await {
            Ok(queued) => queued,
            Err(error) => {
                tracing::warn!(%error, "signals cannot be read now");
                return Ok(());
            }
        };
        for signal in queued {
            if self.execution.outcome().is_some() {
                break;
            }
            tracing::info!(who = %signal.who, signal = ?signal.signal, "signal");
            if self.execution.pause().is_some() && self.calls.is_empty() {
                self.clock = DriveClock { wall: self.inner.clock.now(), since: Instant::now() };
            }
            let input = Input::Signal { who: signal.who, signal: signal.signal };
            self.input(input, vec![signal.id], shutdown).await?;
        }
        Ok(())
    }

    async fn input(&mut self, input: Input, consumed: Vec<u64>, shutdown: &CancellationToken) -> Result<(), Leave> {
        let now = self.clock.now();
        let cx =
            Context { now, entropy: self.inner.clock.entropy(), in_flight: &self.in_flight, draining: self.draining };
        let transition = match self.execution.handle(cx, input) {
            Ok(transition) => transition,
            Err(late @ Rejected::Late { .. }) => {
                tracing::debug!(%late, "report dropped");
                return Ok(());
            }
            Err(rejected) => return Err(Leave::Conflict(rejected.to_string())),
        };
        let Transition { append, actions, notices } = transition;
        let notices: Vec<Notice> = notices
            .into_iter()
            .map(|draft| Notice {
                id: format!("{}:{}", self.execution.id(), draft.key),
                kind: draft.kind,
                environment: self.execution.plan().environment.clone(),
                execution: Some(self.execution.id().clone()),
                text: draft.text,
                url: draft.url,
                cause: draft.cause,
                at: now,
                links: None,
                to: Vec::new(),
            })
            .collect();
        let finished = append.iter().any(|event| matches!(event, Event::Finished { .. }));
        let records: Vec<Record> = append.into_iter().map(|event| Record { at: now, event }).collect();
        if !records.is_empty() {
            self.commit(Batch { records, notices, consumed_signals: consumed, finished }, shutdown).await?;
        }
        for action in actions {
            self.act(action);
        }
        Ok(())
    }

    async fn commit(&mut self, batch: Batch, shutdown: &CancellationToken) -> Result<(), Leave> {
        let expect: Version = self.execution.version();
        let mut backoff = Backoff::default();
        loop {
            let lease = self.held.lease();
            let error = match self.inner.journal.append(&lease, expect, batch.clone()).await {
                Ok(_) => break,
                Err(error) => error,
            };
            match error {
                JournalError::Unavailable(error) => {
                    self.inner.observe(&Observation::JournalRetry);
                    tracing::warn!(error, "journal unavailable; the records wait in memory");
                    backoff.wait(&self.held, shutdown).await?;
                }
                JournalError::Fenced { .. } if self.held.lease() != lease => {}
                JournalError::Fenced { .. } => return Err(Leave::Fenced),
                JournalError::VersionConflict { found, .. } => {
                    if self.was_ours(expect, found, &batch.records).await {
                        break;
                    }
                    return Err(Leave::Conflict(format!("expected version {expect}, found {found}")));
                }
                error @ (JournalError::NotFound(_) | JournalError::Corrupt(_)) => {
                    return Err(Leave::Conflict(error.to_string()));
                }
            }
        }
        for record in &batch.records {
            self.execution.apply(record.at, &record.event).map_err(|corrupt| Leave::Conflict(corrupt.to_string()))?;
        }
        self.tail += batch.records.len();
        if self.execution.pause().is_some() || batch.finished {
            self.inner.settled.notify_waiters();
        }
        self.compact().await;
        Ok(())
    }

    /// Whether the journal's last records are those we just tried to append.
    async fn was_ours(&self, expect: Version, found: Version, records: &[Record]) -> bool {
        if found != expect + records.len() as u64 {
            return false;
        }
        match self.inner.journal.load(self.execution.id()).await {
            Ok(stored) => stored.version == found && stored.records.ends_with(records),
            Err(_) => false,
        }
    }

    async fn compact(&mut self) {
        if !self.execution.should_compact(self.tail, self.inner.config.compact_after) {
            return;
        }
        let Ok(snapshot) = self.execution.to_snapshot() else { return };
        match self.inner.journal.compact(&self.held.lease(), self.execution.version(), snapshot).await {
            Ok(()) => self.tail = 0,
            // Only longer to load; tried again after as many records more.
            Err(error) => {
                self.tail /= 2;
                tracing::warn!(%error, "history not compacted");
            }
        }
    }

    fn act(&mut self, action: Action) {
        let (call, phase) = match action {
            Action::Run(call) => (call, Phase::Start),
            Action::Poll { call, token } => (call, Phase::Poll { token }),
            Action::Undo { call, output, token } => (call, Phase::Undo { output, token }),
            Action::Wait { step, ms } => {
                self.timers.insert(step, Instant::now() + Duration::from_millis(ms));
                return;
            }
            Action::Finish { .. } => return,
        };
        self.timers.remove(&call.step);
        self.in_flight.insert(call.step.clone());
        let kind = self.execution.plan().step(&call.step).map_or("", |step| step.kind()).to_owned();
        let job = Job {
            inner: Arc::clone(&self.inner),
            held: Arc::clone(&self.held),
            execution: self.execution.id().clone(),
            environment: self.execution.plan().environment.clone(),
            kind,
            call,
            phase,
        };
        self.calls.spawn(tracing::Instrument::instrument(job.run(), tracing::Span::current()));
    }
}

/// 20 ms, doubling up to 2 s.
#[derive(Default)]
struct Backoff {
    tries: u32,
}

impl Backoff {
    async fn wait(&mut self, held: &Held, shutdown: &CancellationToken) -> Result<(), Leave> {
        let wait = Duration::from_millis((20u64 << self.tries.min(7)).min(2000));
        self.tries += 1;
        // On shutdown the results in memory get a few more chances.
        if shutdown.is_cancelled() && self.tries > 5 {
            return Err(Leave::Shutdown);
        }
        tokio::select! {
            () = held.lost.cancelled() => Err(Leave::Fenced),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

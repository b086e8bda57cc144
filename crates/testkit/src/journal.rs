//! Journals that fail: a process that dies after its k-th commit, and a disk that is full for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_ports::journal::{
    Batch, Created, ExecutionSummary, Journal, JournalEntry, JournalError, JournalResult, Lease, NewExecution,
    QueuedSignal, StoredExecution, Version,
};
use landfall_workflow::event::Signal;
use tokio::sync::watch;

/// When a wrapped journal stops answering.
pub trait Gate: Send + Sync {
    /// Before anything: may it be done at all?
    fn check(&self, is_append: bool) -> JournalResult<()>;
    /// After an append that was committed. An error here is an answer that got lost.
    fn committed(&self) -> JournalResult<()>;
}

/// A journal behind a gate.
pub struct Gated<G> {
    inner: Arc<dyn Journal>,
    pub gate: G,
}

impl<G: Gate> Gated<G> {
    pub fn new(inner: Arc<dyn Journal>, gate: G) -> Self {
        Self { inner, gate }
    }
}

/// Answers until the `k`-th append is committed; that one's answer never arrives, and nothing after it.
pub struct StopAfter {
    k: u64,
    commits: AtomicU64,
    dead: watch::Sender<bool>,
}

impl StopAfter {
    pub fn commits(k: u64) -> Self {
        Self { k, commits: AtomicU64::new(0), dead: watch::Sender::new(false) }
    }

    /// Counts, and never stops.
    pub fn never() -> Self {
        Self::commits(u64::MAX)
    }

    pub fn count(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Resolves when the process is to be dead.
    pub async fn died(&self) {
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }
}

impl Gate for StopAfter {
    fn check(&self, _is_append: bool) -> JournalResult<()> {
        if *self.dead.borrow() { Err(JournalError::Unavailable("this process is dead".to_owned())) } else { Ok(()) }
    }

    fn committed(&self) -> JournalResult<()> {
        if self.commits.fetch_add(1, Ordering::SeqCst) + 1 == self.k {
            self.dead.send_replace(true);
        }
        self.check(true)
    }
}

/// Fails while it is told to: all appends, or everything; or loses the answers of appends that were committed.
#[derive(Default)]
pub struct Failing {
    pub appends: AtomicBool,
    pub everything: AtomicBool,
    pub answers: AtomicBool,
    pub refused: AtomicU64,
}

impl Gate for Failing {
    fn check(&self, is_append: bool) -> JournalResult<()> {
        if self.everything.load(Ordering::SeqCst) || (is_append && self.appends.load(Ordering::SeqCst)) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(JournalError::Unavailable("no space left on device".to_owned()));
        }
        Ok(())
    }

    fn committed(&self) -> JournalResult<()> {
        if self.answers.swap(false, Ordering::SeqCst) {
            return Err(JournalError::Unavailable("the answer was lost".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl<G: Gate> Journal for Gated<G> {
    async fn create(&self, new: NewExecution) -> JournalResult<Created> {
        self.gate.check(true)?;
        self.inner.create(new).await
    }

    async fn append(&self, lease: &Lease, expect: Version, batch: Batch) -> JournalResult<Version> {
        self.gate.check(true)?;
        let version = self.inner.append(lease, expect, batch).await?;
        self.gate.committed()?;
        Ok(version)
    }

    async fn load(&self, id: &ExecutionId) -> JournalResult<StoredExecution> {
        self.gate.check(false)?;
        self.inner.load(id).await
    }

    async fn claim(&self, owner: &str, ttl_ms: u64, limit: u32) -> JournalResult<Vec<Lease>> {
        self.gate.check(false)?;
        self.inner.claim(owner, ttl_ms, limit).await
    }

    async fn renew(&self, owner: &str, ttl_ms: u64, held: &[Lease]) -> JournalResult<Vec<Lease>> {
        self.gate.check(false)?;
        self.inner.renew(owner, ttl_ms, held).await
    }

    async fn release(&self, lease: &Lease) -> JournalResult<()> {
        self.gate.check(false)?;
        self.inner.release(lease).await
    }

    async fn send_signal(&self, id: &ExecutionId, who: &str, signal: Signal) -> JournalResult<()> {
        self.gate.check(false)?;
        self.inner.send_signal(id, who, signal).await
    }

    async fn signals(&self, id: &ExecutionId) -> JournalResult<Vec<QueuedSignal>> {
        self.gate.check(false)?;
        self.inner.signals(id).await
    }

    async fn compact(&self, lease: &Lease, version: Version, snapshot: serde_json::Value) -> JournalResult<()> {
        self.gate.check(false)?;
        self.inner.compact(lease, version, snapshot).await
    }

    async fn list(
        &self,
        environment: Option<&EnvironmentId>,
        unfinished_only: bool,
        limit: u32,
    ) -> JournalResult<Vec<ExecutionSummary>> {
        self.gate.check(false)?;
        self.inner.list(environment, unfinished_only, limit).await
    }

    async fn read_after(&self, cursor: u64, limit: u32) -> JournalResult<Vec<JournalEntry>> {
        self.gate.check(false)?;
        self.inner.read_after(cursor, limit).await
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }
}

//! The core and its loops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use landfall_engine::Engine;
use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_model::ids::{DeliveryId, EnvironmentId, ExecutionId};
use landfall_pipeline::retention::Retention;
use landfall_ports::Platform;
use landfall_ports::clock::Clock;
use landfall_ports::journal::Journal;
use landfall_ports::pipelines::Outside;
use landfall_ports::source::BranchSource;
use landfall_ports::stacks::Stacks;
use landfall_ports::store::{Store, StoreResult};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::pipelines::Pipelines;
use crate::records::Records;
use crate::sleepers::Sleepers;
use crate::{controller, inbox, pipelines, reconcile, schedules, sleepers};

/// What a service is made of; all of it chosen by the caller.
pub struct ServiceParts {
    pub app: App,
    pub store: Arc<dyn Store>,
    pub journal: Arc<dyn Journal>,
    /// Made over the same journal, with [`Metrics`] as its observer.
    pub engine: Engine,
    pub platform: Platform,
    /// Where lasting environments run, by name.
    pub places: BTreeMap<String, Platform>,
    /// CloudFormation where lasting environments that are stacks are, by name.
    pub stacks: BTreeMap<String, Arc<dyn Stacks>>,
    pub branches: Arc<dyn BranchSource>,
    /// What stages of pipelines need beside the platforms.
    pub outside: Arc<dyn Outside>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    /// As [`instance_id`] gives it.
    pub instance: String,
}

#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Between two comparisons with the world; `None`: only when asked.
    pub reconcile_every: Option<Duration>,
    /// Environments looked at at once.
    pub parallel: usize,
    /// The longest that the controller goes without looking at what it may have missed.
    pub look_again: Duration,
    /// Where people reach the pages; `None`: nowhere, and notices name commands instead of links.
    pub public_url: Option<String>,
    /// Once a day finished runs of pipelines that are older go; `None`: never.
    pub runs: Option<Retention>,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            reconcile_every: Some(Duration::from_secs(60)),
            parallel: 16,
            look_again: Duration::from_secs(5),
            public_url: None,
            runs: Some(Retention { days: 90, newest: 50 }),
        }
    }
}

/// Landfall's core. Cheap to clone. Nothing moves until [`Service::run`].
#[derive(Clone)]
pub struct Service {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub app: App,
    pub store: Arc<dyn Store>,
    pub journal: Arc<dyn Journal>,
    pub engine: Engine,
    pub platform: Platform,
    pub places: BTreeMap<String, Platform>,
    /// CloudFormation where lasting environments that are stacks are, by name.
    pub stacks: BTreeMap<String, Arc<dyn Stacks>>,
    pub branches: Arc<dyn BranchSource>,
    /// What stages of pipelines need beside the platforms.
    pub outside: Arc<dyn Outside>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub instance: String,
    pub config: ServiceConfig,
    pub records: Records,
    pub started_at: Timestamp,
    /// Set by the public listener.
    pub listen: Mutex<Option<String>>,
    pub shutdown: CancellationToken,
    /// Choosing a port or a place and writing the choice is one step.
    pub choosing: tokio::sync::Mutex<()>,
    /// Two comparisons at once would act on each other's memory.
    pub comparing: tokio::sync::Mutex<()>,
    /// Executions that were told to make way, so that they are told once.
    pub superseded: Mutex<BTreeSet<ExecutionId>>,
    /// Who waits for which delivery to be decided.
    waiting: Mutex<BTreeMap<DeliveryId, watch::Sender<bool>>>,
    /// Held by who begins a change of that lasting environment.
    deploying: Mutex<BTreeMap<EnvironmentId, Arc<tokio::sync::Mutex<()>>>>,
    pub sleepers: Sleepers,
    pub pipelines: Pipelines,
}

impl Service {
    /// Reads the environments. The store and the journal must be this process's own.
    pub async fn new(parts: ServiceParts, config: ServiceConfig) -> StoreResult<Self> {
        let records = Records::load(parts.store.clone()).await?;
        let started_at = parts.clock.now();
        Ok(Self {
            inner: Arc::new(Inner {
                app: parts.app,
                store: parts.store,
                journal: parts.journal,
                engine: parts.engine,
                platform: parts.platform,
                places: parts.places,
                stacks: parts.stacks,
                branches: parts.branches,
                outside: parts.outside,
                clock: parts.clock,
                metrics: parts.metrics,
                instance: parts.instance,
                config,
                records,
                started_at,
                listen: Mutex::default(),
                shutdown: CancellationToken::new(),
                choosing: tokio::sync::Mutex::default(),
                comparing: tokio::sync::Mutex::default(),
                superseded: Mutex::default(),
                waiting: Mutex::default(),
                deploying: Mutex::default(),
                sleepers: Sleepers::default(),
                pipelines: Pipelines::default(),
            }),
        })
    }

    /// Works until `cancel`, or until a `Shutdown` request; calls that were begun are finished first. Dropping the future
    /// instead stops everything where it is, as a crash does.
    pub async fn run(&self, cancel: CancellationToken) {
        let shutdown = self.inner.shutdown.clone();
        let stop = shutdown.child_token();
        // A task each: `changed()` of the ports tells every task of every change once.
        let mut loops = JoinSet::new();
        let (inner, token) = (self.inner.clone(), stop.clone());
        loops.spawn(async move { inbox::run(&inner, &token).await });
        let (service, token) = (self.clone(), stop.clone());
        loops.spawn(async move { controller::run(&service, &token).await });
        let (inner, token) = (self.inner.clone(), stop.clone());
        loops.spawn(async move { reconcile::run(&inner, &token).await });
        let (inner, token) = (self.inner.clone(), stop.clone());
        loops.spawn(async move { sleepers::run(&inner, &token).await });
        let (inner, token) = (self.inner.clone(), stop.clone());
        loops.spawn(async move { schedules::run(&inner, &token).await });
        let (service, token) = (self.clone(), stop.clone());
        loops.spawn(async move { pipelines::run(&service, &token).await });
        let (engine, token) = (self.inner.engine.clone(), stop.clone());
        loops.spawn(async move { engine.serve(token).await });
        loop {
            tokio::select! {
                () = cancel.cancelled(), if !shutdown.is_cancelled() => shutdown.cancel(),
                ended = loops.join_next() => match ended {
                    None => return,
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        tracing::error!(%error, "a loop of the service ended early: shutting down");
                        shutdown.cancel();
                    }
                },
            }
        }
    }

    /// Cancelled when this service was asked to shut down; listeners end with it.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.inner.shutdown.clone()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }
}

impl Inner {
    /// A receiver that turns true once the delivery is decided. Subscribe before receiving it.
    pub(crate) fn expect(&self, id: &DeliveryId) -> watch::Receiver<bool> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(id.clone()).or_insert_with(|| watch::Sender::new(false)).subscribe()
    }

    pub(crate) fn deploying(&self, id: &EnvironmentId) -> Arc<tokio::sync::Mutex<()>> {
        self.deploying.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default().clone()
    }

    pub(crate) fn decided(&self, id: &DeliveryId) {
        let sender = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(sender) = sender {
            sender.send_replace(true);
        }
    }

    pub(crate) fn forget(&self, id: &DeliveryId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// This installation's id, made once and kept in the store: the value of the label `landfall.instance`.
pub async fn instance_id(store: &dyn Store, clock: &dyn Clock) -> StoreResult<String> {
    const KEY: &str = "instance";
    if let Some(id) = store.meta_get(KEY).await? {
        return Ok(id);
    }
    let id = format!("{:016x}", clock.entropy());
    // Of two processes that begin a shared store, one makes it.
    if store.meta_swap(KEY, None, &id).await? {
        return Ok(id);
    }
    Ok(store.meta_get(KEY).await?.unwrap_or(id))
}

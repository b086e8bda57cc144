//! Runs of pipelines at work: what `landfall_pipeline` decides is written, then done.
//!
//! It is level-triggered, as the controller is: what a run needs next follows from its records alone, so a lost wake-up delays and
//! a death loses nothing. Deciding and writing is one step under one lock, with every other run in view: of two that may enter an
//! environment, one is first. Doing holds no lock, and many runs do things at once, each one thing at a time.
//!
//! **An environment's lock** is taken by `Enter`, after the record that says so, and given back after the record that ends the
//! stage. A death between the two leaves a lock of a run that no longer holds it: every look gives such locks back.

mod ask;
mod forget;
mod look;
mod pauses;
mod stack;
mod tell;
mod trigger;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use landfall_model::Timestamp;
use landfall_model::ids::RunId;
use landfall_model::pipeline::PipelineRelease;
use landfall_pipeline::{
    Action, Context, Event, Input, Next, Outcome, Peer, Record, Refused, Run, RunSummary, RunView, Transition,
};
use landfall_ports::store::{NewRun, StoreError, StoreResult, StoredRun};
use landfall_stack::live::Plan;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::deploy;
use crate::service::{Inner, Service};

pub(crate) use ask::answer;
pub use ask::{Current, CurrentParameter, CurrentStack, PipelineRequest, PipelineResponse};
pub use tell::{PAGE, link_key};
pub(crate) use trigger::pushed;

/// The longest without a look, so that what was missed is found.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// After an error of the store.
const RETRY: Duration = Duration::from_secs(2);

/// What a lock of a run says who holds it.
pub(crate) fn holder(run: &RunId) -> String {
    format!("pipeline:{run}")
}

/// What is known in this process.
pub(crate) struct Pipelines {
    runs: Mutex<BTreeMap<RunId, Known>>,
    /// Deciding and writing is one step.
    deciding: tokio::sync::Mutex<()>,
    /// Whether runs were read from the store.
    read: tokio::sync::OnceCell<()>,
    changed: watch::Sender<u64>,
    /// What CloudFormation said that a change set would do, by its name, which follows from what is wanted and from the stack's state.
    plans: Mutex<BTreeMap<String, Option<Plan>>>,
}

struct Known {
    run: Run,
    /// As of [`Context::looked`].
    looked: Option<Timestamp>,
}

impl Default for Pipelines {
    fn default() -> Self {
        Self {
            runs: Mutex::default(),
            deciding: tokio::sync::Mutex::default(),
            read: tokio::sync::OnceCell::new(),
            changed: watch::Sender::new(0),
            plans: Mutex::default(),
        }
    }
}

impl Pipelines {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<RunId, Known>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plans(&self) -> MutexGuard<'_, BTreeMap<String, Option<Plan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &RunId) -> Option<(Run, Option<Timestamp>)> {
        self.runs().get(id).map(|known| (known.run.clone(), known.looked))
    }

    fn peers(&self) -> Vec<Peer> {
        self.runs().values().map(|known| Peer::of(&known.run)).collect()
    }

    fn looked(&self, id: &RunId, at: Timestamp) {
        if let Some(known) = self.runs().get_mut(id) {
            known.looked = Some(at);
        }
    }

    fn put(&self, run: Run) {
        self.runs().insert(run.id().clone(), Known { run, looked: None });
        self.changed.send_modify(|generation| *generation += 1);
    }

    fn live(&self) -> Vec<RunId> {
        let runs = self.runs();
        runs.values().filter(|known| known.run.outcome().is_none()).map(|known| known.run.id().clone()).collect()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn views(&self) -> Vec<RunView> {
        self.runs().values().map(|known| known.run.view()).collect()
    }

    /// Newest first.
    fn summaries(&self) -> Vec<RunSummary> {
        let mut all: Vec<RunSummary> = self.runs().values().map(|known| known.run.summary()).collect();
        all.sort_by(|one, other| (other.created_at, &other.id).cmp(&(one.created_at, &one.id)));
        all
    }
}

/// What is to be begun.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pub pipeline: String,
    pub release: PipelineRelease,
    pub by: String,
    pub trigger: String,
    /// Two with the same are one run; `None`: always a new one.
    pub key: Option<String>,
}

fn unreadable(id: &RunId, why: &str) -> StoreError {
    StoreError::Corrupt(format!("run {id}: {why}"))
}

fn folded(stored: &StoredRun) -> StoreResult<Run> {
    let records: Vec<Record> = stored
        .records
        .iter()
        .map(|record| serde_json::from_value(record.clone()))
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(&stored.id, &error.to_string()))?;
    Run::fold(&stored.id, stored.number, &records).map_err(|error| unreadable(&stored.id, &error.to_string()))
}

/// Reads the store's runs, once, and all of them: what retention kept says what an environment runs, however long ago that was.
pub(crate) async fn read(inner: &Inner) -> StoreResult<()> {
    let done = inner
        .pipelines
        .read
        .get_or_try_init(async || {
            for id in inner.store.runs(u32::MAX).await? {
                if let Some(stored) = inner.store.run(&id).await? {
                    match folded(&stored) {
                        Ok(run) => inner.pipelines.put(run),
                        // One that cannot be read must not stand in the way of the others.
                        Err(error) => tracing::error!(%error, "a run is left alone"),
                    }
                }
            }
            Ok(())
        })
        .await;
    done.copied()
}

/// Begins a run, or finds the one of the same key.
pub(crate) async fn begin(inner: &Inner, begin: Begin) -> StoreResult<Option<Run>> {
    read(inner).await?;
    let Some(pipeline) = inner.app.pipelines.get(&begin.pipeline).cloned() else { return Ok(None) };
    let now = inner.clock.now();
    let id = RunId(inner.engine.new_id(now).as_str().replacen("exe_", "run_", 1));
    let event = Event::Created { pipeline, release: begin.release, by: begin.by, trigger: begin.trigger };
    let record =
        serde_json::to_value(Record { at: now, event }).map_err(|error| unreadable(&id, &error.to_string()))?;
    let dedup_key = begin.key.unwrap_or_else(|| id.to_string());
    let _deciding = inner.pipelines.deciding.lock().await;
    let new = NewRun { id, pipeline: begin.pipeline, dedup_key, at: now, record };
    let id = inner.store.create_run(new).await?;
    if let Some((run, _)) = inner.pipelines.get(&id) {
        return Ok(Some(run));
    }
    let stored = inner.store.run(&id).await?.ok_or_else(|| unreadable(&id, "it is gone"))?;
    let run = folded(&stored)?;
    tracing::info!(run = %id, pipeline = run.pipeline().name, number = run.seq(), "begun");
    inner.pipelines.put(run.clone());
    Ok(Some(run))
}

/// Decides, writes, and gives back what is no longer held.
pub(crate) async fn handle(inner: &Inner, id: &RunId, input: Input) -> StoreResult<Option<Result<String, Refused>>> {
    let _deciding = inner.pipelines.deciding.lock().await;
    let Some((mut run, looked)) = inner.pipelines.get(id) else { return Ok(None) };
    let peers = inner.pipelines.peers();
    let now = inner.clock.now();
    let out = run.handle(Context::new(now, &peers, looked), input).map_err(|why| unreadable(id, &why))?;
    let Transition { append, notices, answer } = out;
    if append.is_empty() {
        return Ok(answer);
    }
    let (held, expect) = (run.holds().map(str::to_owned), run.version());
    let mut records = Vec::new();
    for event in append {
        let record = Record { at: now, event };
        run.apply(&record).map_err(|error| unreadable(id, &error.to_string()))?;
        records.push(serde_json::to_value(&record).map_err(|error| unreadable(id, &error.to_string()))?);
    }
    let notices = tell::notices(inner, &run, notices, now).await?;
    let finished = run.outcome().is_some();
    if !inner.store.append_run(id, expect, records, finished, notices).await? {
        // One process owns the state, and it takes turns: somebody else's hand in the file.
        return Err(unreadable(id, "somebody else has written its journal; nothing was begun"));
    }
    tracing::info!(run = %id, "{}", run.summary().message);
    let now_held = run.holds().map(str::to_owned);
    // Whoever sees that the stage has ended finds its environment free.
    if let Some(environment) = held.filter(|before| now_held.as_ref() != Some(before)) {
        give_back(inner, &run, &environment).await;
    }
    inner.pipelines.put(run);
    Ok(answer)
}

/// Pipelines that begin after this one.
fn after(inner: &Inner, run: &Run) -> Vec<Begin> {
    let name = &run.pipeline().name;
    let all = inner.app.pipelines.values().filter(|pipeline| pipeline.on.after.as_ref() == Some(name));
    all.map(|pipeline| Begin {
        pipeline: pipeline.name.clone(),
        release: run.release().clone(),
        by: run.by().to_owned(),
        trigger: format!("{name} #{} has passed", run.seq()),
        key: Some(format!("after/{}/{}", run.id(), pipeline.name)),
    })
    .collect()
}

/// The lock of an environment that this run does not hold (any more).
async fn give_back(inner: &Inner, run: &Run, environment: &str) {
    if let Err(error) = deploy::unlock_if(inner, environment, &holder(run.id())).await {
        tracing::warn!(%error, environment, "its lock is not given back yet; the next look tries again");
    }
}

pub(crate) async fn run(service: &Service, cancel: &CancellationToken) {
    let inner = &*service.inner;
    while let Err(error) = read(inner).await {
        tracing::warn!(%error, "runs of pipelines cannot be read");
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
    if inner.app.pipelines.is_empty() && inner.pipelines.live().is_empty() {
        return;
    }
    let mut changed = inner.pipelines.subscribe();
    let mut tasks: JoinSet<(RunId, Option<Timestamp>)> = JoinSet::new();
    // Being looked at; of those, the ones to look at once more because something changed meanwhile; until when others wait.
    let (mut busy, mut again) = (BTreeSet::<RunId>::new(), BTreeSet::<RunId>::new());
    let mut wakes: BTreeMap<RunId, Timestamp> = BTreeMap::new();
    let mut look = tokio::time::interval(LOOK_AGAIN);
    let mut forgets = tokio::time::interval(forget::EVERY);
    // Beside the runs: it asks AWS what stacks run.
    let mut forgetting: JoinSet<()> = JoinSet::new();
    loop {
        let now = inner.clock.now();
        for id in inner.pipelines.live() {
            if wakes.get(&id).is_none_or(|at| *at <= now) && busy.insert(id.clone()) {
                wakes.remove(&id);
                let service = service.clone();
                tasks.spawn(async move {
                    let wake = drive(&service.inner, &id).await;
                    (id, wake)
                });
            }
        }
        let first = wakes.values().min().copied().unwrap_or(Timestamp::MAX);
        let ms = first.as_millisecond().saturating_sub(now.as_millisecond()).clamp(0, 60_000);
        let pause = Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 1);
        let mut dirty = false;
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(done) = tasks.join_next() => match done {
                Ok((id, wake)) => {
                    busy.remove(&id);
                    if !again.remove(&id) {
                        wakes.insert(id, wake.unwrap_or(Timestamp::MAX));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "a look at a run ended early");
                    while tasks.join_next().await.is_some() {}
                    busy.clear();
                }
            },
            _ = changed.changed() => dirty = true,
            _ = look.tick() => dirty = true,
            Some(_) = forgetting.join_next() => {}
            _ = forgets.tick(), if forgetting.is_empty() => {
                let service = service.clone();
                forgetting.spawn(async move { forget::forget(&service.inner).await });
            }
            () = tokio::time::sleep(pause) => {}
        }
        if dirty {
            sweep(inner).await;
            again.extend(busy.iter().cloned());
            wakes.clear();
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Locks of runs that do not hold them, and pipelines that were to begin after others: what a death may have left.
async fn sweep(inner: &Inner) {
    let is_held = |environment: &str, by: &str| {
        let runs = inner.pipelines.runs();
        runs.values().any(|known| known.run.holds() == Some(environment) && holder(known.run.id()) == by)
    };
    for name in inner.app.environments.keys() {
        if let Ok(Some(lock)) = deploy::lock_of(inner, name).await
            && lock.by.starts_with("pipeline:")
            && !is_held(name, &lock.by)
        {
            // A run begins to hold an environment under this lock, before it takes the environment's.
            let _deciding = inner.pipelines.deciding.lock().await;
            if is_held(name, &lock.by) {
                continue;
            }
            tracing::info!(environment = name, by = lock.by, "a lock that nobody holds any more is removed");
            if let Err(error) = deploy::unlock_if(inner, name, &lock.by).await {
                tracing::warn!(%error, environment = name, "it could not be removed");
            }
        }
    }
    let next: Vec<Begin> = {
        let runs = inner.pipelines.runs();
        // Those of long ago passed before a pipeline was told to begin after them.
        let since = inner.clock.now().checked_sub(jiff::SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
        let fresh = |run: &Run| run.view().finished_at.is_some_and(|at| at > since);
        let passed = runs.values().filter(|known| known.run.outcome() == Some(Outcome::Passed) && fresh(&known.run));
        passed.flat_map(|known| after(inner, &known.run)).collect()
    };
    for one in next {
        if let Err(error) = begin(inner, one).await {
            tracing::warn!(%error, "the next pipeline could not be begun");
        }
    }
}

/// Does what the run needs until it waits. `None`: until something changes.
async fn drive(inner: &Inner, id: &RunId) -> Option<Timestamp> {
    let later = |after: Duration| inner.clock.now().checked_add(jiff::SignedDuration::try_from(after).ok()?).ok();
    loop {
        if inner.shutdown.is_cancelled() {
            return None;
        }
        match one(inner, id).await {
            Ok(Some(wake)) => return wake,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(run = %id, %error, "cannot go on with this run yet");
                return later(RETRY);
            }
        }
    }
}

/// `Some`: it waits, until then.
async fn one(inner: &Inner, id: &RunId) -> StoreResult<Option<Option<Timestamp>>> {
    handle(inner, id, Input::Look).await?;
    let Some((run, looked)) = inner.pipelines.get(id) else { return Ok(Some(None)) };
    let peers = inner.pipelines.peers();
    let now = inner.clock.now();
    let action = match run.next(&Context::new(now, &peers, looked)) {
        Next::Rest => return Ok(Some(None)),
        Next::Wait(at) => return Ok(Some(at)),
        Next::Do(action) => action,
    };
    let input = match action {
        Action::Resolve => Input::Resolved(look::resolve(inner, &run).await),
        Action::Survey { stage } => Input::Surveyed(look::survey(inner, &run, stage).await),
        Action::Enter { stage } => Input::Entered(look::enter(inner, &run, stage).await),
        Action::Begin => Input::Began,
        Action::Work(call) => Input::Reported(work::work(inner, &run, &call).await),
        Action::Rollback(call) => Input::Reported(work::rollback(inner, &run, &call).await),
    };
    inner.pipelines.looked(id, inner.clock.now());
    handle(inner, id, input).await?;
    Ok(None)
}

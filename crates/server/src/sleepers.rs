//! Sleep, as far as it needs the load balancer: when each preview was used last, and who asks for one that sleeps.
//!
//! The load balancer holds requests for what it was told is asleep, and answers the call that told it as soon as there is such
//! a request. What is told is always the whole set, made from the records anew: after a crash of either side the next call sets
//! it right. The set has a preview from before its first task is stopped until after the last one answers, so that a request
//! finds either a healthy target or a place to wait.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use landfall_model::Timestamp;
use landfall_model::environment::{Desired, EnvironmentRecord};
use landfall_planner::control::{Idle, is_idle, wake_intent};
use landfall_ports::PortResult;
use landfall_ports::load_balancer::{Activity, Hold};
use tokio_util::sync::CancellationToken;

use crate::inbox;
use crate::service::Inner;

/// How long a request is held where the manifest does not say.
const HOLD_MS: u64 = 60_000;
/// Between two looks at who was used when; a quarter of the idle time where that is less.
const LOOK: Duration = Duration::from_secs(15);
/// After an error, and while nobody can hold requests.
const RETRY: Duration = Duration::from_secs(5);
const ANNOUNCE: Duration = Duration::from_secs(5);
/// Until what a request asked for is in the records.
const DECIDED: Duration = Duration::from_millis(200);

#[derive(Default)]
pub(crate) struct Sleepers {
    seen: Mutex<Option<Seen>>,
}

struct Seen {
    at: Timestamp,
    activity: BTreeMap<String, Activity>,
}

type Asleep = BTreeMap<String, Hold>;

impl Sleepers {
    /// What decides whether it may be put to sleep; `None`: the manifest does not ask for it, or nobody could say.
    pub(crate) fn idle(&self, inner: &Inner, record: &EnvironmentRecord) -> Option<Idle> {
        let after = inner.app.previews.as_ref()?.sleep.as_ref()?.after;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.as_ref()?;
        let used = seen.activity.get(record.id.as_str());
        Some(Idle {
            after,
            seen_at: seen.at,
            last_request: used.and_then(|used| used.last_request_at),
            in_use: used.is_some_and(|used| used.active > 0),
        })
    }

    /// Tells the load balancer what sleeps, now.
    pub(crate) async fn announce(&self, inner: &Inner) {
        let asleep = asleep(inner);
        let told = tokio::time::timeout(ANNOUNCE, inner.platform.load_balancer.hold(&asleep, 0)).await;
        if !matches!(told, Ok(Ok(_))) {
            tracing::warn!(?told, "requests for what falls asleep are not held yet");
        }
    }

    fn saw(&self, seen: Option<Seen>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

/// Only a server does this: a command does not stay to wake anything.
pub(crate) async fn run(inner: &Inner, cancel: &CancellationToken) {
    if inner.config.reconcile_every.is_none() {
        return;
    }
    let mut told = Asleep::new();
    while !cancel.is_cancelled() {
        let mut changed = inner.records.subscribe();
        let asleep = asleep(inner);
        if asleep.is_empty() && told.is_empty() && !watches(inner) {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = changed.changed() => continue,
            }
        }
        told.clone_from(&asleep);
        let round = tokio::select! {
            () = cancel.cancelled() => return,
            round = round(inner, &asleep) => round,
            () = differs(inner, &asleep, &mut changed) => continue,
        };
        match round {
            Ok(true) => {}
            outcome => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "the load balancer does not say who is used");
                }
                inner.sleepers.saw(None);
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }
}

/// Waits for somebody who asks for what sleeps, then looks at who is used. `false`: this load balancer can do neither.
async fn round(inner: &Inner, asleep: &Asleep) -> PortResult<bool> {
    let balancer = &inner.platform.load_balancer;
    let wait = look_every(inner);
    let Some(wanted) = balancer.hold(asleep, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)).await? else {
        return Ok(false);
    };
    if !wanted.is_empty() {
        let mut changed = inner.records.subscribe();
        for environment in wanted {
            let record = inner.records.get(&environment.as_str().into());
            let Some(intent) = record.as_ref().and_then(wake_intent) else { continue };
            if let Err(error) = inbox::put(inner, &intent).await {
                tracing::warn!(environment, %error, "a request for it waits, and that it does cannot be written down");
            }
        }
        let _ = tokio::time::timeout(DECIDED, changed.changed()).await;
    }
    if watches(inner) {
        // Before the question: a request after this moment may be missing from the answer.
        let at = inner.clock.now();
        let Some(mut activity) = balancer.activity().await? else { return Ok(false) };
        for used in activity.values_mut().filter(|used| used.active > 0) {
            used.last_request_at = Some(at);
        }
        keep_later(inner, &mut activity);
        inner.sleepers.saw(Some(Seen { at, activity }));
        let idle: Vec<_> = inner.records.read(|records| {
            let idle = |record: &&EnvironmentRecord| {
                inner.sleepers.idle(inner, record).is_some_and(|idle| is_idle(record, &idle, at))
            };
            records.values().filter(idle).map(|record| record.id.clone()).collect()
        });
        if !idle.is_empty() {
            inner.records.mark_dirty(idle);
        }
    }
    Ok(true)
}

/// A connection that was open at the last look counted as used until then, although its request is older.
fn keep_later(inner: &Inner, activity: &mut BTreeMap<String, Activity>) {
    let seen = inner.sleepers.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(seen) = seen.as_ref() else { return };
    for (environment, used) in activity {
        let before = seen.activity.get(environment).and_then(|before| before.last_request_at);
        used.last_request_at = used.last_request_at.max(before);
    }
}

/// Resolves when what sleeps is no longer what was told.
async fn differs(inner: &Inner, told: &Asleep, changed: &mut tokio::sync::watch::Receiver<u64>) {
    while changed.changed().await.is_ok() {
        if asleep(inner) != *told {
            return;
        }
    }
    std::future::pending().await
}

/// Whether somebody may fall asleep.
fn watches(inner: &Inner) -> bool {
    let sleeps = inner.app.previews.as_ref().is_some_and(|previews| previews.sleep.is_some());
    sleeps && inner.records.read(|records| records.values().any(|record| record.url.is_some()))
}

fn asleep(inner: &Inner) -> Asleep {
    let sleep = inner.app.previews.as_ref().and_then(|previews| previews.sleep.as_ref());
    let hold_ms = sleep.map_or(HOLD_MS, |sleep| u64::from(sleep.hold) * 1_000);
    inner.records.read(|records| {
        let asleep =
            |record: &&EnvironmentRecord| record.asleep.is_some() && matches!(record.desired, Desired::Present(_));
        let hold = |record: &EnvironmentRecord| (record.id.to_string(), Hold { hold_ms, waking: !record.sleep });
        records.values().filter(asleep).map(hold).collect()
    })
}

fn look_every(inner: &Inner) -> Duration {
    let sleep = inner.app.previews.as_ref().and_then(|previews| previews.sleep.as_ref());
    sleep.map_or(LOOK, |sleep| (Duration::from_secs(sleep.after) / 4).min(LOOK))
}

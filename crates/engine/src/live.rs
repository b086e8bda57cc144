//! The leases this engine holds, and their renewal.
//!
//! A lease fences records: an append with an old epoch is refused. It does not fence effects, so a call is begun only while
//! the lease is sure to outlive it. "Sure" is counted from before the claim or renewal was sent, on a clock that only goes
//! forward. When renewals fail (disk full, journal gone) no new call is begun, and what calls have reported stays in memory
//! until it can be appended.
//!
//! The race to know: our own lease can expire under us while the journal is away, and our own claim loop may then take it
//! again with a higher epoch. The driver is still there with results in memory, so it is handed the new lease instead of
//! being replaced; both sides take the map's lock, so a driver that leaves releases whichever lease it holds last.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use landfall_model::ids::ExecutionId;
use landfall_ports::journal::Lease;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::Inner;

pub(crate) struct Held {
    lease: Mutex<(Lease, Instant)>,
    renewed: Notify,
    /// Somebody else took the lease over: stop at once.
    pub(crate) lost: CancellationToken,
    /// A signal was sent.
    pub(crate) wake: Notify,
    /// Paused with nothing in flight: takes no place among `max_executions`.
    pub(crate) parked: AtomicBool,
}

impl Held {
    fn new(lease: Lease, covered_until: Instant) -> Self {
        Self {
            lease: Mutex::new((lease, covered_until)),
            renewed: Notify::new(),
            lost: CancellationToken::new(),
            wake: Notify::new(),
            parked: AtomicBool::new(false),
        }
    }

    pub(crate) fn lease(&self) -> Lease {
        lock(&self.lease).0.clone()
    }

    fn set(&self, lease: Lease, covered_until: Instant) {
        *lock(&self.lease) = (lease, covered_until);
        self.renewed.notify_waiters();
    }

    /// Waits until the lease is sure to hold for another `call`. `false`: it was lost.
    pub(crate) async fn covers(&self, call: Duration) -> bool {
        loop {
            let renewed = self.renewed.notified();
            if self.lost.is_cancelled() {
                return false;
            }
            if Instant::now() + call <= lock(&self.lease).1 {
                return true;
            }
            tokio::select! {
                () = renewed => {}
                () = self.lost.cancelled() => return false,
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Live {
    map: Mutex<HashMap<ExecutionId, Arc<Held>>>,
}

pub(crate) enum Adopted {
    New(Arc<Held>),
    /// Handed to the driver that is already there.
    Known,
    /// The driver that is there is leaving: give the lease back, it can be claimed again in a moment.
    Leaving,
}

impl Live {
    pub(crate) fn adopt(&self, lease: Lease, covered_until: Instant) -> Adopted {
        let mut map = lock(&self.map);
        if let Some(held) = map.get(&lease.execution) {
            if held.lost.is_cancelled() {
                return Adopted::Leaving;
            }
            held.set(lease, covered_until);
            return Adopted::Known;
        }
        let held = Arc::new(Held::new(lease.clone(), covered_until));
        map.insert(lease.execution, Arc::clone(&held));
        Adopted::New(held)
    }

    /// The driver leaves; returns the lease it held last.
    pub(crate) fn remove(&self, id: &ExecutionId) -> Option<Lease> {
        lock(&self.map).remove(id).map(|held| held.lease())
    }

    pub(crate) fn get(&self, id: &ExecutionId) -> Option<Arc<Held>> {
        lock(&self.map).get(id).cloned()
    }

    /// Executions that take a place: all but the parked ones.
    pub(crate) fn busy(&self) -> usize {
        lock(&self.map).values().filter(|held| !held.parked.load(Ordering::Relaxed)).count()
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.map).len()
    }

    fn all(&self) -> Vec<Arc<Held>> {
        lock(&self.map).values().cloned().collect()
    }
}

/// Renews every lease three times in its life, until cancelled.
pub(crate) async fn renew(inner: Arc<Inner>, stop: CancellationToken) {
    let ttl = inner.config.lease_ttl;
    let mut pause = ttl / 3;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let held = inner.live.all();
        if held.is_empty() {
            pause = ttl / 3;
            continue;
        }
        let leases: Vec<Lease> = held.iter().map(|held| held.lease()).collect();
        let covered_until = Instant::now() + ttl;
        match inner.journal.renew(&inner.config.owner, millis(ttl), &leases).await {
            Ok(lost) => {
                pause = ttl / 3;
                for (held, lease) in held.iter().zip(leases) {
                    // A lease that was replaced in the meantime is not judged by its predecessor.
                    if held.lease() != lease {
                        continue;
                    }
                    if lost.contains(&lease) {
                        tracing::warn!(execution = %lease.execution, epoch = lease.epoch, "lease lost");
                        held.lost.cancel();
                    } else {
                        held.set(lease, covered_until);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "leases not renewed; no new call is begun until they are");
                pause = (ttl / 20).max(Duration::from_millis(20));
            }
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Requests for what sleeps: held until a target is healthy, at most for a time and at most so many, while somebody is told
//! that it is asked for.
//!
//! Whoever decides what sleeps says so with the whole set, again and again, and the same call waits for the first request
//! (`Op::Hold`). So nothing of it is on disk: after a restart of either side the next call sets it right.
//!
//! The race that counts is between a request that finds no target and the last target's going: the set is told before a target
//! goes, and a request looks for a target again after it has taken its place in the queue.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::{Hold, owner};
use crate::pages::Refusal;
use crate::plane::Plane;
use crate::proxy::Client;
use crate::table::{Group, InFlight};

/// Requests of one target group that wait at once; more are told to come again.
pub(crate) const QUEUE: u32 = 512;

/// What a target group knows of its environment's sleep.
#[derive(Debug, Default)]
pub(crate) struct Sleep {
    /// How long a request is held; 0: it is awake.
    hold_ms: AtomicU64,
    /// Asked for since it was told to be asleep, and not being woken yet.
    wanted: AtomicBool,
    /// Who asks meanwhile need not be told of.
    waking: AtomicBool,
    held: AtomicU32,
    /// Told when a target changes, or what is held here does.
    changed: Notify,
}

impl Sleep {
    /// Those who are held look again.
    pub(crate) fn stir(&self) {
        if self.held.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    fn set(&self, hold: Option<&Hold>) {
        let was = self.hold_ms.swap(hold.map_or(0, |hold| hold.hold_ms.max(1)), Ordering::SeqCst);
        self.waking.store(hold.is_some_and(|hold| hold.waking), Ordering::SeqCst);
        if hold.is_none_or(|hold| hold.waking) {
            self.wanted.store(false, Ordering::SeqCst);
        }
        if was != 0 && hold.is_none() {
            self.stir();
        }
    }

    fn hold_ms(&self) -> Option<u64> {
        Some(self.hold_ms.load(Ordering::SeqCst)).filter(|ms| *ms > 0)
    }
}

/// A place in the queue.
struct Place<'a>(&'a Sleep);

impl<'a> Place<'a> {
    fn take(sleep: &'a Sleep) -> Option<Self> {
        let place = Place(sleep);
        (sleep.held.fetch_add(1, Ordering::SeqCst) < QUEUE).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A target, where the group is asleep and one gets healthy in time. `none_left`: what a request for a group that is awake is
/// told.
pub(crate) async fn hold(client: &Rc<Client>, group: &Arc<Group>, none_left: Refusal) -> Result<InFlight, Refusal> {
    let sleep = &group.sleep;
    let Some(hold_ms) = sleep.hold_ms() else { return Err(none_left) };
    let Some(_place) = Place::take(sleep) else { return Err(Refusal::asleep("asleep_queue_full", &group.name)) };
    client.watch.waiting(u64::MAX);
    let deadline = Instant::now() + Duration::from_millis(hold_ms);
    if !sleep.waking.load(Ordering::SeqCst) && !sleep.wanted.swap(true, Ordering::SeqCst) {
        client.worker.shared.demand.send_modify(|count| *count += 1);
    }
    loop {
        // Before the look, so that no change after it is missed.
        let changed = sleep.changed.notified();
        match group.pick(&[]) {
            Ok(flight) => {
                client.watch.waiting(group.idle_timeout_ms());
                return Ok(flight);
            }
            Err(none_left) if sleep.hold_ms().is_none() => return Err(none_left),
            Err(_) => {}
        }
        if tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Err(Refusal::asleep("asleep", &group.name));
        }
    }
}

impl Plane {
    /// Takes the set of what sleeps, by environment, in the place of the one before.
    pub(crate) fn set_asleep(&self, asleep: &BTreeMap<String, Hold>) {
        self.each_group(|group| group.sleep.set(asleep.get(owner(&group.spec().tags).0)));
    }

    /// Environments of the set that are asked for and not being woken.
    pub(crate) fn wanted(&self) -> Vec<String> {
        let mut wanted = Vec::new();
        self.each_group(|group| {
            let sleep = &group.sleep;
            let waking = sleep.waking.load(Ordering::SeqCst);
            if sleep.hold_ms().is_some() && !waking && sleep.wanted.load(Ordering::SeqCst) {
                wanted.push(owner(&group.spec().tags).0.to_owned());
            }
        });
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }
}

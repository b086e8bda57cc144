//! What the workers read: listeners, hosts, target groups, targets. The control thread alone writes it.
//!
//! Every map has its own lock, so adding one route among thousands changes one entry and copies nothing; readers hold a
//! lock for one lookup. A request picks its target, and counts itself in flight there, under the read lock of the
//! group's targets; deregistration marks the target under the write lock. So once a deregistration has been answered, no
//! new request can pick the target, and the draining count misses nobody.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use http::HeaderValue;
use landfall_model::app::BalancingAlgorithm;
use tokio::sync::{Notify, watch};

use crate::api::{TargetGroupSpec, TargetHealth, TargetState};
use crate::health::Health;
use crate::hold::Sleep;
use crate::pages::Refusal;

/// Locks are held for a few instructions that cannot panic; a poisoned one is used as it is.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// One port. Either host rules or a default group, never both.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) port: u16,
    /// For `X-Forwarded-Port`.
    pub(crate) port_value: HeaderValue,
    pub(crate) rules: RwLock<Rules>,
}

#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Lower case; `*.domain` answers for every host below it that has no rule of its own.
    pub(crate) hosts: HashMap<Box<str>, Arc<Group>, RandomState>,
    pub(crate) default: Option<Arc<Group>>,
}

impl Listener {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, port_value: HeaderValue::from(port), rules: RwLock::default() }
    }

    /// `host`: lower case, without port.
    pub(crate) fn find(&self, host: &str) -> Option<Arc<Group>> {
        let rules = read(&self.rules);
        if let Some(group) = rules.default.as_ref().or_else(|| rules.hosts.get(host)) {
            return Some(group.clone());
        }
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(group) = rules.hosts.get(format!("*.{parent}").as_str()) {
                return Some(group.clone());
            }
            rest = parent;
        }
        None
    }

    /// The domains below which there are hosts, for the page of an unknown one; at most five.
    pub(crate) fn domains(&self) -> Vec<String> {
        let mut domains: Vec<String> =
            read(&self.rules).hosts.keys().filter_map(|host| Some(host.split_once('.')?.1.to_owned())).collect();
        domains.sort_unstable();
        domains.dedup();
        domains.truncate(5);
        domains
    }
}

/// A target group and its counters.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) spec: RwLock<Arc<TargetGroupSpec>>,
    pub(crate) targets: RwLock<Vec<Arc<Target>>>,
    /// Changes with every change of a target's presence or state.
    pub(crate) version: AtomicU64,
    /// Copies of fields of `spec`, read with every request.
    idle_timeout_ms: AtomicU64,
    least_outstanding: AtomicBool,
    next: AtomicUsize,
    pub(crate) stats: Stats,
    pub(crate) sleep: Sleep,
}

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) requests: AtomicU64,
    pub(crate) active: AtomicU64,
    /// Milliseconds since the epoch; 0: never.
    pub(crate) last_request: AtomicU64,
    pub(crate) target_codes: [AtomicU64; 5],
    pub(crate) router_codes: [AtomicU64; 3],
    pub(crate) connections: AtomicU64,
}

impl Group {
    pub(crate) fn new(spec: TargetGroupSpec, version: u64) -> Self {
        let group = Self {
            name: spec.name.clone(),
            spec: RwLock::new(Arc::new(spec.clone())),
            targets: RwLock::default(),
            version: AtomicU64::new(version),
            idle_timeout_ms: AtomicU64::new(0),
            least_outstanding: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            stats: Stats::default(),
            sleep: Sleep::default(),
        };
        group.set_spec(spec);
        group
    }

    pub(crate) fn set_spec(&self, spec: TargetGroupSpec) {
        self.idle_timeout_ms.store(u64::from(spec.idle_timeout.max(1)) * 1000, Ordering::Relaxed);
        let least = spec.algorithm == BalancingAlgorithm::LeastOutstandingRequests;
        self.least_outstanding.store(least, Ordering::Relaxed);
        *write(&self.spec) = Arc::new(spec);
    }

    pub(crate) fn spec(&self) -> Arc<TargetGroupSpec> {
        read(&self.spec).clone()
    }

    pub(crate) fn idle_timeout_ms(&self) -> u64 {
        self.idle_timeout_ms.load(Ordering::Relaxed)
    }

    /// A healthy target that is not in `tried`, with the request counted as in flight.
    pub(crate) fn pick(self: &Arc<Self>, tried: &[u64]) -> Result<InFlight, Refusal> {
        let targets = read(&self.targets);
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let (later, first) = targets.split_at(turn.checked_rem(targets.len()).unwrap_or(0));
        let usable = first
            .iter()
            .chain(later)
            .filter(|target| target.state() == TargetState::Healthy && !tried.contains(&target.uid));
        let chosen = if self.least_outstanding.load(Ordering::Relaxed) {
            usable.min_by_key(|target| target.in_flight.load(Ordering::Relaxed))
        } else {
            let mut usable = usable;
            usable.next()
        };
        match chosen {
            Some(target) => {
                target.in_flight.fetch_add(1, Ordering::SeqCst);
                self.stats.active.fetch_add(1, Ordering::Relaxed);
                Ok(InFlight { target: target.clone(), group: self.clone() })
            }
            None => Err(Refusal::no_target(&self.name, targets.iter().map(|target| target.describe()))),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Target {
    /// Unique in this process. Connection pools are keyed by it, so an address that moves to another group, or comes
    /// back to the same one, never meets an old connection.
    pub(crate) uid: u64,
    pub(crate) addr: SocketAddr,
    state: AtomicU8,
    pub(crate) in_flight: AtomicU32,
    /// The deregistration delay is over: what is still in flight is cut.
    pub(crate) cut: AtomicBool,
    pub(crate) health: Mutex<Health>,
    /// Something that watches it while it drains.
    pub(crate) idle: Arc<Notify>,
}

const STATES: [TargetState; 4] =
    [TargetState::Initial, TargetState::Healthy, TargetState::Unhealthy, TargetState::Draining];

impl Target {
    pub(crate) fn new(uid: u64, addr: SocketAddr, state: TargetState, idle: Arc<Notify>) -> Self {
        Self {
            uid,
            addr,
            state: AtomicU8::new(state as u8),
            in_flight: AtomicU32::new(0),
            cut: AtomicBool::new(false),
            health: Mutex::new(Health::new(state)),
            idle,
        }
    }

    pub(crate) fn state(&self) -> TargetState {
        STATES.get(usize::from(self.state.load(Ordering::SeqCst))).copied().unwrap_or(TargetState::Draining)
    }

    pub(crate) fn set_state(&self, state: TargetState) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    pub(crate) fn describe(&self) -> TargetHealth {
        let state = self.state();
        let reason = match state {
            TargetState::Draining => Some("Target deregistration is in progress".to_owned()),
            _ => lock(&self.health).reason.clone(),
        };
        TargetHealth { target: self.addr, state, reason, in_flight: self.in_flight.load(Ordering::SeqCst) }
    }
}

/// One request (or tunnel) at a target, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) target: Arc<Target>,
    pub(crate) group: Arc<Group>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.group.stats.active.fetch_sub(1, Ordering::Relaxed);
        if self.target.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.target.state() == TargetState::Draining {
            self.target.idle.notify_one();
        }
    }
}

/// Shared by all threads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connections: AtomicUsize,
    pub(crate) max_connections: usize,
    pub(crate) refused: AtomicU64,
    pub(crate) unrouted: AtomicU64,
    /// Index: status code - 100.
    pub(crate) codes: Vec<AtomicU64>,
    /// Goes up when a target is cut, so that workers look at their requests.
    pub(crate) cuts: AtomicU64,
    /// Goes up when the first request for something that sleeps is held.
    pub(crate) demand: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(max_connections: usize) -> Self {
        Self {
            connections: AtomicUsize::new(0),
            max_connections,
            refused: AtomicU64::new(0),
            unrouted: AtomicU64::new(0),
            codes: (100..600).map(|_| AtomicU64::new(0)).collect(),
            cuts: AtomicU64::new(0),
            demand: watch::Sender::new(0),
        }
    }

    pub(crate) fn count(&self, status: u16) {
        if let Some(counter) = self.codes.get(usize::from(status).wrapping_sub(100)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

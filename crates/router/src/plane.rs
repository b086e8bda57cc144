//! The control side: what exists, who owns it, and every operation on it. One thread runs it, so operations are in order.
//!
//! An operation checks, opens what it needs (a port), writes the change to the log, and only then shows it to the
//! workers and answers. What fails before the log leaves nothing behind.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use landfall_model::Timestamp;
use landfall_model::inventory::Tags;
use landfall_model::step::RouteTarget;
use tokio::sync::{Notify, watch};

use crate::api::{
    Activity, HealthReport, Info, Metrics, Op, Put, Reply, RouteSpec, TargetGroupDescription, TargetGroupMetrics,
    TargetGroupSpec, TargetState, owner,
};
use crate::bind::bind;
use crate::error::{RouterError, RouterResult};
use crate::headers::normal_host;
use crate::health::check_matcher;
use crate::store::{Change, Saved, SavedGroup, Store, route_key};
use crate::table::{Group, Listener, Shared, Target, read, write};
use crate::worker::WorkerHandle;

/// A route as it is kept: thousands of them share what their target groups have already.
#[derive(Clone)]
struct Route {
    route: RouteTarget,
    group: Arc<Group>,
    /// `None`: those of the target group.
    tags: Option<Tags>,
}

impl Route {
    fn new(route: RouteSpec, group: Arc<Group>) -> Self {
        let tags = Some(route.tags).filter(|tags| *tags != group.spec().tags);
        Self { route: route.route, group, tags }
    }

    fn spec(&self) -> RouteSpec {
        let tags = self.tags.clone().unwrap_or_else(|| self.group.spec().tags.clone());
        RouteSpec { route: self.route.clone(), target_group: self.group.name.clone(), tags }
    }
}

pub(crate) struct Plane {
    store: RefCell<Store>,
    groups: RefCell<BTreeMap<String, Arc<Group>>>,
    /// By `route_key`.
    routes: RefCell<BTreeMap<String, Route>>,
    listeners: RefCell<BTreeMap<u16, Arc<Listener>>>,
    failed: RefCell<BTreeMap<u16, String>>,
    workers: Vec<WorkerHandle>,
    shared: Arc<Shared>,
    bind: Vec<IpAddr>,
    started_at: Timestamp,
    next_uid: Cell<u64>,
    /// Wakes everybody who waits for health.
    changed: watch::Sender<u64>,
    pub(crate) stop: Notify,
}

impl Plane {
    pub(crate) fn new(store: Store, shared: Arc<Shared>, workers: Vec<WorkerHandle>, bind: Vec<IpAddr>) -> Rc<Self> {
        Rc::new(Self {
            store: RefCell::new(store),
            groups: RefCell::default(),
            routes: RefCell::default(),
            listeners: RefCell::default(),
            failed: RefCell::default(),
            workers,
            shared,
            bind,
            started_at: Timestamp::now(),
            // Versions of a former process must not come back: somebody may wait for one to change.
            next_uid: Cell::new(u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(1)),
            changed: watch::Sender::new(0),
            stop: Notify::new(),
        })
    }

    /// Serves what was saved: targets keep their last state until their first check; what was draining is gone.
    pub(crate) fn restore(self: &Rc<Self>, saved: Saved) {
        for saved in saved.groups {
            let group = Arc::new(Group::new(saved.spec, self.uid()));
            group.stats.requests.store(saved.requests, Ordering::Relaxed);
            group.stats.last_request.store(saved.last_request, Ordering::Relaxed);
            self.groups.borrow_mut().insert(group.name.clone(), group.clone());
            for (addr, state) in saved.targets {
                if state != TargetState::Draining {
                    self.add_target(&group, addr, state);
                }
            }
        }
        for route in saved.routes {
            if let Some(group) = self.groups.borrow().get(&route.target_group).cloned() {
                let port = port_of(&route.route);
                let listener = self.listeners.borrow().get(&port).cloned();
                let listener = listener.unwrap_or_else(|| {
                    let listener = Arc::new(Listener::new(port));
                    self.listeners.borrow_mut().insert(port, listener.clone());
                    listener
                });
                publish(&listener, &route.route, Some(group.clone()));
                self.routes.borrow_mut().insert(route_key(&route.route), Route::new(route, group));
            }
        }
        let listeners: Vec<_> = self.listeners.borrow().values().cloned().collect();
        for listener in listeners {
            if let Err(error) = self.open(&listener) {
                tracing::error!(port = listener.port, %error, "cannot listen; trying again every second");
                self.failed.borrow_mut().insert(listener.port, error.to_string());
            }
        }
    }

    /// Opens ports that could not be opened at start.
    pub(crate) fn retry_failed(&self) {
        let failed: Vec<u16> = self.failed.borrow().keys().copied().collect();
        for port in failed {
            let listener = self.listeners.borrow().get(&port).cloned();
            let opened = listener.is_none_or(|listener| self.open(&listener).is_ok());
            if opened {
                tracing::info!(port, "listening after all");
                self.failed.borrow_mut().remove(&port);
            }
        }
    }

    /// Runs one operation that answers at once; `WaitHealth` is the control socket's affair.
    pub(crate) fn run(self: &Rc<Self>, op: Op) -> RouterResult<Reply> {
        let reply = match op {
            Op::Ping => Reply::Info(self.info()),
            Op::PutTargetGroup(spec) => Reply::Put(self.put_group(spec)?),
            Op::DeleteTargetGroup { name, environment } => self.delete_group(&name, &environment)?,
            Op::RegisterTargets { target_group, targets } => self.register(&target_group, &targets)?,
            Op::DeregisterTargets { target_group, targets } => self.deregister(&target_group, &targets)?,
            Op::TargetHealth { target_group } | Op::WaitHealth { target_group, .. } => {
                Reply::Health(self.health(&target_group)?)
            }
            Op::PutRoute(route) => Reply::Put(self.put_route(route)?),
            Op::DeleteRoute { route, environment } => self.delete_route(&route, &environment)?,
            Op::Routes => Reply::Routes(self.routes.borrow().values().map(Route::spec).collect()),
            Op::TargetGroups => Reply::TargetGroups(self.groups.borrow().values().map(describe_group).collect()),
            Op::TargetGroup { name } => {
                Reply::TargetGroups(self.groups.borrow().get(&name).map(describe_group).into_iter().collect())
            }
            Op::BusyPorts { first, last } => Reply::Ports((first..=last).filter(|port| self.is_busy(*port)).collect()),
            Op::Metrics => Reply::Metrics(self.metrics()),
            Op::Activity => Reply::Activity(self.activity()),
            Op::Hold { asleep, .. } => {
                self.set_asleep(&asleep);
                Reply::Wanted(self.wanted())
            }
            Op::Shutdown => {
                self.stop.notify_one();
                Reply::Done
            }
        };
        Ok(reply)
    }

    /// Shortens the log when it has grown long. It waits for the disk, so answers go first: the log has all they promise.
    pub(crate) fn tidy(&self) {
        if self.store.borrow().wants_compaction() {
            self.compact();
        }
    }

    pub(crate) fn compact(&self) {
        let saved = self.snapshot();
        if let Err(error) = self.store.borrow_mut().compact(saved) {
            tracing::error!(%error, "cannot write the snapshot of routes; the log keeps growing");
        }
    }

    pub(crate) fn health(&self, name: &str) -> RouterResult<HealthReport> {
        let group = self.group(name)?;
        let targets = read(&group.targets).iter().map(|target| target.describe()).collect();
        Ok(HealthReport { version: group.version.load(Ordering::Acquire), targets })
    }

    pub(crate) fn each_group(&self, mut see: impl FnMut(&Group)) {
        self.groups.borrow().values().for_each(|group| see(group));
    }

    /// Goes up when somebody asks for what sleeps.
    pub(crate) fn demand(&self) -> watch::Receiver<u64> {
        self.shared.demand.subscribe()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A check changed the target's state or reason.
    pub(crate) fn target_changed(&self, group: &Group, target: &Target, state: TargetState) {
        // Never out of draining: a check that was under way when deregistration came says nothing any more.
        {
            let _targets = write(&group.targets);
            if target.state() == TargetState::Draining {
                return;
            }
            target.set_state(state);
        }
        tracing::info!(group = %group.name, target = %target.addr, state = state.as_str(), "target changed");
        let change = Change::Target(group.name.clone(), target.addr, state);
        if let Err(error) = self.store.borrow_mut().append(&[change]) {
            // After a restart the target starts with an older state and is checked again: harmless.
            tracing::warn!(%error, "cannot record a target's state");
        }
        self.bump(group);
    }

    fn put_group(self: &Rc<Self>, mut spec: TargetGroupSpec) -> RouterResult<Put> {
        check_owner(&spec.tags, &format!("target group {}", spec.name))?;
        let check = &spec.health_check;
        check_matcher(&check.matcher).map_err(RouterError::Invalid)?;
        if !check.path.starts_with('/') || check.path.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(RouterError::Invalid(format!("health check path {:?} is not a path", check.path)));
        }
        if spec.name.is_empty() || check.interval_ms == 0 || check.timeout_ms == 0 {
            return Err(RouterError::Invalid("a target group needs a name, an interval and a timeout".to_owned()));
        }
        let existing = self.groups.borrow().get(&spec.name).cloned();
        if let Some(group) = &existing {
            let current = group.spec();
            same_owner(&current.tags, &spec.tags, &format!("target group {}", spec.name))?;
            // Tags tell who made it, so a change leaves them.
            spec.tags.clone_from(&current.tags);
            if *current == spec {
                return Ok(Put { created: false });
            }
        }
        self.append(&[Change::PutGroup(spec.clone())])?;
        match &existing {
            Some(group) => group.set_spec(spec),
            None => {
                let group = Arc::new(Group::new(spec, self.uid()));
                self.groups.borrow_mut().insert(group.name.clone(), group);
            }
        }
        Ok(Put { created: existing.is_none() })
    }

    fn delete_group(&self, name: &str, environment: &str) -> RouterResult<Reply> {
        let Some(group) = self.groups.borrow().get(name).cloned() else { return Ok(Reply::Done) };
        if owner(&group.spec().tags).0 != environment {
            return Ok(Reply::Done);
        }
        if let Some((key, _)) = self.routes.borrow().iter().find(|(_, route)| route.group.name == name) {
            return Err(RouterError::Conflict(format!("target group {name} is still used by the route {key}")));
        }
        self.append(&[Change::DeleteGroup(name.to_owned())])?;
        self.groups.borrow_mut().remove(name);
        // No route leads here any more; what is in flight ends by itself, idle connections and checks go.
        for target in write(&group.targets).drain(..) {
            target.set_state(TargetState::Draining);
        }
        self.bump(&group);
        Ok(Reply::Done)
    }

    fn register(self: &Rc<Self>, name: &str, addrs: &[SocketAddr]) -> RouterResult<Reply> {
        let group = self.group(name)?;
        let known = |addr: &SocketAddr| {
            let targets = read(&group.targets);
            targets.iter().any(|target| target.addr == *addr && target.state() != TargetState::Draining)
        };
        let mut new: Vec<SocketAddr> = addrs.iter().copied().filter(|addr| !known(addr)).collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return Ok(Reply::Done);
        }
        let changes: Vec<Change> =
            new.iter().map(|addr| Change::Target(name.to_owned(), *addr, TargetState::Initial)).collect();
        self.append(&changes)?;
        for addr in new {
            self.add_target(&group, addr, TargetState::Initial);
        }
        self.bump(&group);
        Ok(Reply::Done)
    }

    fn add_target(self: &Rc<Self>, group: &Arc<Group>, addr: SocketAddr, state: TargetState) {
        let target = Arc::new(Target::new(self.uid(), addr, state, Arc::new(Notify::new())));
        write(&group.targets).push(target.clone());
        tokio::task::spawn_local(crate::checker::check_target(self.clone(), group.clone(), target));
    }

    fn deregister(self: &Rc<Self>, name: &str, addrs: &[SocketAddr]) -> RouterResult<Reply> {
        let Some(group) = self.groups.borrow().get(name).cloned() else { return Ok(Reply::Done) };
        let leaving: Vec<Arc<Target>> = read(&group.targets)
            .iter()
            .filter(|target| addrs.contains(&target.addr) && target.state() != TargetState::Draining)
            .cloned()
            .collect();
        if leaving.is_empty() {
            return Ok(Reply::Done);
        }
        let changes: Vec<Change> =
            leaving.iter().map(|target| Change::RemoveTarget(name.to_owned(), target.addr)).collect();
        self.append(&changes)?;
        {
            let _targets = write(&group.targets);
            for target in &leaving {
                target.set_state(TargetState::Draining);
            }
        }
        for target in leaving {
            if target.in_flight.load(Ordering::SeqCst) == 0 {
                write(&group.targets).retain(|other| other.uid != target.uid);
            } else {
                tokio::task::spawn_local(drain(self.clone(), group.clone(), target));
            }
        }
        self.bump(&group);
        Ok(Reply::Done)
    }

    fn put_route(&self, mut route: RouteSpec) -> RouterResult<Put> {
        let what = route.route.url();
        check_owner(&route.tags, &what)?;
        if let RouteTarget::Host { host, .. } = &mut route.route {
            let normal = normal_host(host).filter(|normal| normal.len() == host.trim_end_matches('.').len());
            let normal = normal.filter(|host| !host.is_empty()).map(Cow::into_owned);
            *host = normal.ok_or_else(|| {
                RouterError::Invalid(format!("{host:?} is not a host name (letters, digits, hyphens, dots; no port)"))
            })?;
        }
        let port = port_of(&route.route);
        if port == 0 {
            return Err(RouterError::Invalid("a route needs a port from 1 to 65535".to_owned()));
        }
        let group = self.group(&route.target_group)?;
        same_owner(&group.spec().tags, &route.tags, &format!("target group {}", route.target_group))?;
        let key = route_key(&route.route);
        let existing = self.routes.borrow().get(&key).map(Route::spec);
        if let Some(existing) = &existing {
            same_owner(&existing.tags, &route.tags, &what)?;
            route.tags.clone_from(&existing.tags);
            if *existing == route {
                return Ok(Put { created: false });
            }
        }
        let listener = self.listeners.borrow().get(&port).cloned();
        if existing.is_none()
            && let Some(listener) = &listener
        {
            let hosts = !read(&listener.rules).hosts.is_empty();
            match &route.route {
                RouteTarget::Port { .. } if hosts => {
                    return Err(RouterError::Conflict(format!("port {port} is shared by host rules")));
                }
                RouteTarget::Host { .. } if !hosts => {
                    let holder = self.routes.borrow().get(&format!(":{port}")).map(Route::spec);
                    let holder = holder.map(|route| owner(&route.tags).0.to_owned()).unwrap_or_default();
                    return Err(RouterError::Conflict(format!("port {port} is a listener of {holder}'s own")));
                }
                _ => {}
            }
        }
        let fresh = listener.is_none();
        let listener = listener.unwrap_or_else(|| Arc::new(Listener::new(port)));
        if fresh {
            self.open(&listener)?;
        }
        if let Err(error) = self.append(&[Change::PutRoute(route.clone())]) {
            if fresh {
                self.close(port);
            }
            return Err(error);
        }
        self.listeners.borrow_mut().insert(port, listener.clone());
        publish(&listener, &route.route, Some(group.clone()));
        self.routes.borrow_mut().insert(key, Route::new(route, group));
        Ok(Put { created: existing.is_none() })
    }

    fn delete_route(&self, route: &RouteTarget, environment: &str) -> RouterResult<Reply> {
        let key = route_key(route);
        let Some(existing) = self.routes.borrow().get(&key).map(Route::spec) else { return Ok(Reply::Done) };
        if owner(&existing.tags).0 != environment {
            return Ok(Reply::Done);
        }
        self.append(&[Change::DeleteRoute(existing.route.clone())])?;
        self.routes.borrow_mut().remove(&key);
        let port = port_of(&existing.route);
        let listener = self.listeners.borrow().get(&port).cloned();
        if let Some(listener) = listener {
            publish(&listener, &existing.route, None);
            if read(&listener.rules).hosts.is_empty() {
                self.listeners.borrow_mut().remove(&port);
                self.failed.borrow_mut().remove(&port);
                self.close(port);
            }
        }
        Ok(Reply::Done)
    }

    /// One socket per address, shared by all workers, so no accepted connection is lost between them.
    fn open(&self, listener: &Arc<Listener>) -> RouterResult<()> {
        let port = listener.port;
        let sockets = bind(&self.bind, port)?;
        for worker in &self.workers {
            let copies = sockets.iter().map(TcpListener::try_clone).collect::<std::io::Result<Vec<_>>>();
            let copies = copies.map_err(|error| RouterError::Unavailable(format!("port {port}: {error}")))?;
            worker.listen(listener.clone(), copies);
        }
        Ok(())
    }

    fn close(&self, port: u16) {
        for worker in &self.workers {
            worker.unlisten(port);
        }
    }

    /// Tells every worker to finish and end.
    pub(crate) fn stop_workers(&self, grace: std::time::Duration) {
        for worker in &self.workers {
            worker.stop(grace);
        }
    }

    fn is_busy(&self, port: u16) -> bool {
        self.listeners.borrow().contains_key(&port) || bind(&self.bind, port).is_err()
    }

    fn group(&self, name: &str) -> RouterResult<Arc<Group>> {
        let group = self.groups.borrow().get(name).cloned();
        group.ok_or_else(|| RouterError::NotFound(format!("no target group {name}")))
    }

    fn append(&self, changes: &[Change]) -> RouterResult<()> {
        let result = self.store.borrow_mut().append(changes);
        result.map_err(|error| RouterError::Unavailable(format!("cannot write the router's log: {error}")))
    }

    fn bump(&self, group: &Group) {
        group.version.store(self.uid(), Ordering::Release);
        self.changed.send_modify(|count| *count += 1);
        group.sleep.stir();
    }

    fn uid(&self) -> u64 {
        self.next_uid.replace(self.next_uid.get() + 1)
    }

    fn info(&self) -> Info {
        let failed = self.failed.borrow().clone();
        Info {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            target_groups: self.groups.borrow().len() as u64,
            routes: self.routes.borrow().len() as u64,
            listening: self.listeners.borrow().keys().copied().filter(|port| !failed.contains_key(port)).collect(),
            failed,
        }
    }

    fn snapshot(&self) -> Saved {
        let group = |group: &Arc<Group>| SavedGroup {
            spec: (*group.spec()).clone(),
            targets: read(&group.targets)
                .iter()
                .filter(|target| target.state() != TargetState::Draining)
                .map(|target| (target.addr, target.state()))
                .collect(),
            requests: group.stats.requests.load(Ordering::Relaxed),
            last_request: group.stats.last_request.load(Ordering::Relaxed),
        };
        let groups = self.groups.borrow().values().map(group).collect();
        Saved { groups, routes: self.routes.borrow().values().map(Route::spec).collect(), ..Saved::default() }
    }

    fn metrics(&self) -> Metrics {
        let shared = &self.shared;
        let codes = (100u16..).zip(&shared.codes).map(|(code, count)| (code, count.load(Ordering::Relaxed)));
        let group = |group: &Arc<Group>| {
            let stats = &group.stats;
            let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let [router_502, router_503, router_504] = stats.router_codes.each_ref().map(load);
            let metrics = TargetGroupMetrics {
                environment: owner(&group.spec().tags).0.to_owned(),
                requests: load(&stats.requests),
                active: load(&stats.active),
                target_codes: stats.target_codes.each_ref().map(load),
                router_502,
                router_503,
                router_504,
                target_connections: load(&stats.connections),
            };
            (group.name.clone(), metrics)
        };
        Metrics {
            connections: shared.connections.load(Ordering::Relaxed) as u64,
            connections_refused: shared.refused.load(Ordering::Relaxed),
            unrouted: shared.unrouted.load(Ordering::Relaxed),
            codes: codes.filter(|(_, count)| *count > 0).collect(),
            target_groups: self.groups.borrow().values().map(group).collect(),
        }
    }

    fn activity(&self) -> BTreeMap<String, Activity> {
        let mut all: BTreeMap<String, Activity> = BTreeMap::new();
        for group in self.groups.borrow().values() {
            let entry = all.entry(owner(&group.spec().tags).0.to_owned()).or_default();
            entry.requests += group.stats.requests.load(Ordering::Relaxed);
            entry.active += group.stats.active.load(Ordering::Relaxed);
            let last = group.stats.last_request.load(Ordering::Relaxed);
            let last = i64::try_from(last).ok().filter(|last| *last > 0);
            let last = last.and_then(|last| Timestamp::from_millisecond(last).ok());
            entry.last_request_at = entry.last_request_at.max(last);
        }
        all
    }

    /// Milliseconds of the deregistration delay are over: cut what is left.
    fn cut(&self, target: &Target) {
        target.cut.store(true, Ordering::Release);
        self.shared.cuts.fetch_add(1, Ordering::AcqRel);
    }
}

fn describe_group(group: &Arc<Group>) -> TargetGroupDescription {
    let targets = read(&group.targets).iter().map(|target| target.describe()).collect();
    TargetGroupDescription { spec: (*group.spec()).clone(), targets }
}

/// Waits until a draining target has nothing in flight, or its time is over.
async fn drain(plane: Rc<Plane>, group: Arc<Group>, target: Arc<Target>) {
    let delay = std::time::Duration::from_secs(u64::from(group.spec().deregistration_delay));
    let empty = async {
        while target.in_flight.load(Ordering::SeqCst) > 0 {
            target.idle.notified().await;
        }
    };
    if tokio::time::timeout(delay, empty).await.is_err() {
        tracing::warn!(group = %group.name, target = %target.addr, "deregistration delay is over, cutting requests");
        plane.cut(&target);
    }
    write(&group.targets).retain(|other| other.uid != target.uid);
    plane.bump(&group);
}

fn publish(listener: &Listener, route: &RouteTarget, group: Option<Arc<Group>>) {
    match (route, group) {
        (RouteTarget::Host { host, .. }, Some(group)) => {
            write(&listener.rules).hosts.insert(host.as_str().into(), group);
        }
        (RouteTarget::Host { host, .. }, None) => {
            write(&listener.rules).hosts.remove(host.as_str());
        }
        (RouteTarget::Port { .. }, group) => write(&listener.rules).default = group,
    }
}

fn port_of(route: &RouteTarget) -> u16 {
    match route {
        RouteTarget::Host { port, .. } | RouteTarget::Port { port } => *port,
    }
}

fn check_owner(tags: &Tags, what: &str) -> RouterResult<()> {
    if owner(tags).0.is_empty() {
        return Err(RouterError::Invalid(format!("{what} has no `landfall` tag, so nobody could delete it")));
    }
    Ok(())
}

fn same_owner(current: &Tags, wanted: &Tags, what: &str) -> RouterResult<()> {
    let ((environment, instance), wanted) = (owner(current), owner(wanted));
    if (environment, instance) == wanted {
        return Ok(());
    }
    let installation = if environment == wanted.0 { format!(" of the installation {instance}") } else { String::new() };
    Err(RouterError::Conflict(format!("{what} belongs to {environment}{installation}, not to {}", wanted.0)))
}

//! What travels over the control socket: resources, operations, answers. Fields are only ever added, with defaults, since
//! a router of an older version may serve a newer daemon and the other way round.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use landfall_model::Timestamp;
use landfall_model::app::{BalancingAlgorithm, TargetHealthCheck};
use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_INSTANCE, Tags};
use landfall_model::step::{EnsureTargetGroup, RouteTarget};
use serde::{Deserialize, Serialize};

use crate::error::RouterError;

/// A target group without its targets. The owner is `tags["landfall"]` with `tags["landfall.instance"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupSpec {
    pub name: String,
    pub tags: Tags,
    pub health_check: TargetHealthCheck,
    /// Seconds a deregistered target may finish its requests; it ends early when nothing is in flight.
    pub deregistration_delay: u32,
    pub algorithm: BalancingAlgorithm,
    /// Seconds without a byte until a request is answered 504 or, once its answer began, cut.
    pub idle_timeout: u32,
}

impl From<&EnsureTargetGroup> for TargetGroupSpec {
    fn from(request: &EnsureTargetGroup) -> Self {
        Self {
            name: request.name.clone(),
            tags: request.tags.clone(),
            health_check: request.health_check.clone(),
            deregistration_delay: request.deregistration_delay,
            algorithm: request.algorithm,
            idle_timeout: request.idle_timeout,
        }
    }
}

/// A host rule on a shared listener, or a listener of its own, and the target group behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    pub route: RouteTarget,
    pub target_group: String,
    pub tags: Tags,
}

/// Environment and installation that a set of tags belongs to.
pub(crate) fn owner(tags: &Tags) -> (&str, &str) {
    let get = |key| tags.get(key).map(String::as_str).unwrap_or_default();
    (get(TAG_ENVIRONMENT), get(TAG_INSTANCE))
}

/// The words of Elastic Load Balancing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// Registered; no check has passed and not enough have failed.
    Initial,
    Healthy,
    Unhealthy,
    /// Deregistered; finishes what it has.
    Draining,
}

impl TargetState {
    pub fn as_str(self) -> &'static str {
        match self {
            TargetState::Initial => "initial",
            TargetState::Healthy => "healthy",
            TargetState::Unhealthy => "unhealthy",
            TargetState::Draining => "draining",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealth {
    pub target: SocketAddr,
    pub state: TargetState,
    /// Why it is not healthy: `Health checks failed with these codes: [500]`, `Connection refused`, …
    pub reason: Option<String>,
    /// Requests and tunnels in flight.
    pub in_flight: u32,
}

/// The targets of one group. `version` changes whenever a target appears, disappears or changes its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    pub version: u64,
    pub targets: Vec<TargetHealth>,
}

impl HealthReport {
    pub fn healthy(&self) -> usize {
        self.count(TargetState::Healthy)
    }

    pub fn count(&self, state: TargetState) -> usize {
        self.targets.iter().filter(|target| target.state == state).count()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupDescription {
    pub spec: TargetGroupSpec,
    pub targets: Vec<TargetHealth>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// Whether it did not exist before.
    pub created: bool,
}

/// One call. Everything is natural (repeating it changes nothing), so a client may send it again after a broken
/// connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Ping,
    PutTargetGroup(TargetGroupSpec),
    /// Gone is fine; another environment's is left alone; in use by a route is `Conflict`.
    DeleteTargetGroup {
        name: String,
        environment: String,
    },
    /// Adds targets; one that is draining is taken back.
    RegisterTargets {
        target_group: String,
        targets: Vec<SocketAddr>,
    },
    /// Starts draining; unknown targets and groups are fine.
    DeregisterTargets {
        target_group: String,
        targets: Vec<SocketAddr>,
    },
    TargetHealth {
        target_group: String,
    },
    /// Answers as soon as `until` holds, at the latest after `timeout_ms` (0 to 60,000).
    WaitHealth {
        target_group: String,
        until: WaitUntil,
        timeout_ms: u64,
    },
    PutRoute(RouteSpec),
    /// Gone is fine; another environment's is left alone.
    DeleteRoute {
        route: RouteTarget,
        environment: String,
    },
    Routes,
    TargetGroups,
    /// `Reply::TargetGroups` with this one, or with none.
    TargetGroup {
        name: String,
    },
    BusyPorts {
        first: u16,
        last: u16,
    },
    Metrics,
    Activity,
    /// What sleeps, by environment, in the place of the set before: requests for it that find no target are held. Answers
    /// (`Reply::Wanted`) with those of it that are asked for and not being woken, as soon as there is one, at the latest after
    /// `timeout_ms` (0 to 60,000).
    Hold {
        asleep: BTreeMap<String, Hold>,
        timeout_ms: u64,
    },
    Shutdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Then a request is answered 503.
    pub hold_ms: u64,
    /// Being woken: requests are held, and nobody needs to be told of them.
    #[serde(default)]
    pub waking: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitUntil {
    /// The group's version is no longer this one.
    ChangedFrom(u64),
    /// At least this many targets are healthy and none is initial.
    Healthy(u32),
    /// No target is left, draining ones included.
    Drained,
}

/// What an operation gave back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done,
    Put(Put),
    Info(Info),
    Health(HealthReport),
    Routes(Vec<RouteSpec>),
    TargetGroups(Vec<TargetGroupDescription>),
    Ports(Vec<u16>),
    Metrics(Metrics),
    Activity(BTreeMap<String, Activity>),
    Wanted(Vec<String>),
}

/// A message from the client. The operations run in order; one that fails does not stop the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) ops: Vec<Op>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Response {
    pub(crate) results: Vec<Result<Reply, RouterError>>,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    pub pid: u32,
    pub version: String,
    pub started_at: Timestamp,
    pub target_groups: u64,
    pub routes: u64,
    /// Ports that listen.
    pub listening: Vec<u16>,
    /// Ports of routes that could not be opened at start, with the reason; retried every second.
    pub failed: BTreeMap<u16, String>,
}

/// Use of one environment, for TTLs that count from the last request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    pub requests: u64,
    pub active: u64,
    pub last_request_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Client connections open now.
    pub connections: u64,
    /// Client connections refused because of the limit.
    pub connections_refused: u64,
    /// Requests that matched no route.
    pub unrouted: u64,
    /// Answers by status code, ours and the targets' together.
    pub codes: BTreeMap<u16, u64>,
    pub target_groups: BTreeMap<String, TargetGroupMetrics>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupMetrics {
    pub environment: String,
    pub requests: u64,
    pub active: u64,
    /// Answers of the targets: 1xx (101 included), 2xx, 3xx, 4xx, 5xx.
    pub target_codes: [u64; 5],
    /// Answers made here because no target gave one: 502, 503, 504.
    pub router_502: u64,
    pub router_503: u64,
    pub router_504: u64,
    /// Connections opened to targets; requests beyond that reused one.
    pub target_connections: u64,
}

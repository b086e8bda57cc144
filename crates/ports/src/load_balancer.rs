//! What Elastic Load Balancing does: target groups, listeners, host rules, target health.

use std::collections::BTreeMap;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::app::{BalancingAlgorithm, TargetHealthCheck};
use landfall_model::inventory::{Listing, OwnedResource, Tags};
use landfall_model::step::{EnsureTargetGroup, RouteTarget};
use serde::{Deserialize, Serialize};

use crate::PortResult;

#[async_trait]
pub trait LoadBalancer: Send + Sync {
    /// Creates or changes the target group of that name. Natural; a foreign owner is `Conflict`. Returns its handle. Tags
    /// are those of its creation: a change leaves them, so that they tell which execution made it.
    async fn put_target_group(&self, request: &EnsureTargetGroup) -> PortResult<Put>;
    /// The target group of that name, whoever owns it; `None`: there is none, or the platform cannot tell what it was set
    /// to (then a failed update does not bring the former settings back).
    async fn describe_target_group(&self, _name: &str) -> PortResult<Option<TargetGroupDescription>> {
        Ok(None)
    }
    /// Natural: gone is fine; still in use by a route is `Conflict`.
    async fn delete_target_group(&self, name: &str, environment: &str) -> PortResult<()>;
    async fn target_health(&self, target_group: &str) -> PortResult<Vec<TargetHealth>>;

    /// Creates or changes the host rule or the listener. Natural. A port that somebody else holds is `Conflict`. Tags are
    /// those of its creation.
    async fn put_route(&self, route: &RouteTarget, target_group: &str, tags: &Tags) -> PortResult<Put>;
    /// Natural; a route of another environment is left alone.
    async fn delete_route(&self, route: &RouteTarget, environment: &str) -> PortResult<()>;
    /// Routes that exist, of any environment of this installation.
    async fn routes(&self) -> PortResult<Listing<RouteDescription>>;
    /// Ports of `first..=last` that cannot be taken: our listeners and other processes' sockets.
    async fn busy_ports(&self, first: u16, last: u16) -> PortResult<Vec<u16>>;
    /// The status code of a GET through the load balancer; `None` while nothing answers.
    async fn probe(&self, url: &str) -> PortResult<Option<u16>>;

    /// Use of environments, by id; `None`: this load balancer does not tell.
    async fn activity(&self) -> PortResult<Option<BTreeMap<String, Activity>>> {
        Ok(None)
    }
    /// Requests for these environments, by id, that find no target are held until one is healthy; those of all others are not.
    /// Answers with those of `asleep` that are asked for and not `waking`, as soon as there is one, or else after `timeout_ms`
    /// with none. `None`: this load balancer cannot hold requests.
    async fn hold(&self, _asleep: &BTreeMap<String, Hold>, _timeout_ms: u64) -> PortResult<Option<Vec<String>>> {
        Ok(None)
    }

    /// What URLs of listeners name, where that is another machine. `None`: this one.
    async fn address(&self) -> PortResult<Option<String>> {
        Ok(None)
    }

    async fn list_owned(&self, environment: Option<&str>) -> PortResult<Listing<OwnedResource>>;
    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()>;
}

/// Use of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Requests and upgraded connections under way.
    pub active: u64,
    pub last_request_at: Option<Timestamp>,
}

/// How requests for an environment that runs no task are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Then a request is answered 503.
    pub hold_ms: u64,
    /// It is being woken already: nobody needs to be told that it is asked for.
    pub waking: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    pub handle: String,
    pub created: bool,
    /// Of a route: where it is reached, where the platform knows better than the route's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupDescription {
    pub settings: TargetGroupSettings,
    pub tags: Tags,
}

/// What a change of a target group may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupSettings {
    pub health_check: TargetHealthCheck,
    /// Seconds.
    pub deregistration_delay: u32,
    pub algorithm: BalancingAlgorithm,
    /// Seconds.
    pub idle_timeout: u32,
}

impl From<&EnsureTargetGroup> for TargetGroupSettings {
    fn from(request: &EnsureTargetGroup) -> Self {
        Self {
            health_check: request.health_check.clone(),
            deregistration_delay: request.deregistration_delay,
            algorithm: request.algorithm,
            idle_timeout: request.idle_timeout,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteDescription {
    pub route: RouteTarget,
    pub target_group: String,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealth {
    /// `10.89.0.5:8080`
    pub target: String,
    pub state: TargetState,
    /// `Health checks failed with these codes: [500]`, `Connection refused`, …
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    Initial,
    Healthy,
    Unhealthy,
    Draining,
}

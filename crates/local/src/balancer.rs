//! The load balancer port over the router's client. The router is a process of its own; when it does not answer it is
//! started again, its routes and targets come back from its own snapshot.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_ENVIRONMENT, TAG_INSTANCE, Tags};
use landfall_model::step::{EnsureTargetGroup, RouteTarget};
use landfall_ports::load_balancer::{
    Activity, Hold, LoadBalancer, Put, RouteDescription, TargetGroupDescription, TargetGroupSettings, TargetHealth,
    TargetState,
};
use landfall_ports::{PortError, PortResult};
use landfall_router::api::{HealthReport, RouteSpec, TargetGroupSpec, TargetState as RouterState, WaitUntil};
use landfall_router::client::RouterClient;
use landfall_router::{RouterError, RouterResult};
use tokio_util::sync::CancellationToken;

use crate::core::{Core, now};

/// The command that runs the router of a state directory: `landfall router --state DIR`.
pub type RouterCommand = Arc<dyn Fn() -> Command + Send + Sync>;

pub(crate) struct Router {
    client: RouterClient,
    state_dir: PathBuf,
    spawn: Option<RouterCommand>,
}

impl Router {
    /// `spawn` is `None` where somebody else keeps the router running (tests).
    pub(crate) fn new(state_dir: &Path, spawn: Option<RouterCommand>) -> Self {
        Self { client: RouterClient::new(state_dir), state_dir: state_dir.to_owned(), spawn }
    }

    pub(crate) fn client(&self) -> &RouterClient {
        &self.client
    }

    /// One call, and once more on a router that was started for it.
    async fn call<T, F: Future<Output = RouterResult<T>>>(&self, call: impl Fn(RouterClient) -> F) -> PortResult<T> {
        match (call(self.client.clone()).await, &self.spawn) {
            (Err(RouterError::Unavailable(_)), Some(spawn)) => {
                let spawn = Arc::clone(spawn);
                RouterClient::ensure_running(&self.state_dir, move || spawn()).await.map_err(port_error)?;
                call(self.client.clone()).await.map_err(port_error)
            }
            (result, _) => result.map_err(port_error),
        }
    }

    /// Repeated while the router cannot be reached.
    pub(crate) async fn register(&self, group: &str, target: SocketAddr, cancel: &CancellationToken) -> PortResult<()> {
        self.insist(cancel, || self.call(|client| async move { client.register_targets(group, &[target]).await })).await
    }

    /// Long poll of a few seconds.
    pub(crate) async fn wait_health(&self, group: &str, until: WaitUntil) -> PortResult<HealthReport> {
        self.call(|client| async move { client.wait_health(group, until, Duration::from_secs(5)).await }).await
    }

    /// A group that is gone is fine.
    pub(crate) async fn deregister(&self, group: &str, target: SocketAddr, cancel: &CancellationToken) {
        let call = || self.call(|client| async move { client.deregister_targets(group, &[target]).await });
        match self.insist(cancel, call).await {
            Ok(()) | Err(PortError::NotFound(_)) => {}
            Err(error) => tracing::warn!(%error, group, "target cannot be deregistered"),
        }
    }

    async fn insist<F: Future<Output = PortResult<()>>>(
        &self,
        cancel: &CancellationToken,
        call: impl Fn() -> F,
    ) -> PortResult<()> {
        let mut pause = Duration::from_millis(20);
        loop {
            match call().await {
                Err(PortError::Unavailable(error)) if !cancel.is_cancelled() => {
                    tracing::debug!(error, "router unavailable, trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                other => return other,
            }
        }
    }
}

fn port_error(error: RouterError) -> PortError {
    match error {
        RouterError::Unavailable(text) => PortError::Unavailable(text),
        RouterError::NotFound(text) => PortError::NotFound(text),
        RouterError::Conflict(text) => PortError::Conflict(text),
        RouterError::Invalid(text) => PortError::Invalid(text),
        RouterError::Bug(text) => PortError::Bug(text),
    }
}

/// The handle of a route: `host:NAME:PORT` or `port:PORT`.
fn route_id(route: &RouteTarget) -> String {
    match route {
        RouteTarget::Host { host, port } => format!("host:{host}:{port}"),
        RouteTarget::Port { port } => format!("port:{port}"),
    }
}

fn parse_route(id: &str) -> Option<RouteTarget> {
    if let Some(port) = id.strip_prefix("port:") {
        return Some(RouteTarget::Port { port: port.parse().ok()? });
    }
    let (host, port) = id.strip_prefix("host:")?.rsplit_once(':')?;
    Some(RouteTarget::Host { host: host.to_owned(), port: port.parse().ok()? })
}

/// The load balancer of the local platform.
pub(crate) struct LocalBalancer {
    pub core: Arc<Core>,
    pub http: crate::http::Http,
}

impl LocalBalancer {
    fn tags(&self, tags: &Tags) -> Tags {
        crate::labels::with_instance(tags, &self.core.instance)
    }

    fn ours(&self, tags: &Tags, environment: Option<&str>) -> bool {
        tags.get(TAG_INSTANCE) == Some(&self.core.instance)
            && environment.is_none_or(|wanted| tags.get(TAG_ENVIRONMENT).is_some_and(|found| found == wanted))
    }
}

fn owned(kind: ResourceKind, id: String, name: String, tags: Tags) -> OwnedResource {
    let environment = tags.get(TAG_ENVIRONMENT).cloned().unwrap_or_default();
    OwnedResource { kind, id, name, environment, tags }
}

#[async_trait]
impl LoadBalancer for LocalBalancer {
    async fn put_target_group(&self, request: &EnsureTargetGroup) -> PortResult<Put> {
        let spec = TargetGroupSpec { tags: self.tags(&request.tags), ..TargetGroupSpec::from(request) };
        let spec = &spec;
        let put = self.core.router.call(|client| async move { client.put_target_group(spec).await }).await?;
        Ok(Put { handle: request.name.clone(), created: put.created, url: None })
    }

    async fn describe_target_group(&self, name: &str) -> PortResult<Option<TargetGroupDescription>> {
        let group = self.core.router.call(|client| async move { client.target_group(name).await }).await?;
        Ok(group.map(|group| TargetGroupDescription {
            settings: TargetGroupSettings {
                health_check: group.spec.health_check,
                deregistration_delay: group.spec.deregistration_delay,
                algorithm: group.spec.algorithm,
                idle_timeout: group.spec.idle_timeout,
            },
            tags: group.spec.tags,
        }))
    }

    async fn delete_target_group(&self, name: &str, environment: &str) -> PortResult<()> {
        self.core.router.call(|client| async move { client.delete_target_group(name, environment).await }).await
    }

    async fn target_health(&self, target_group: &str) -> PortResult<Vec<TargetHealth>> {
        let report = self.core.router.call(|client| async move { client.target_health(target_group).await }).await?;
        let describe = |health: landfall_router::api::TargetHealth| TargetHealth {
            target: health.target.to_string(),
            state: match health.state {
                RouterState::Initial => TargetState::Initial,
                RouterState::Healthy => TargetState::Healthy,
                RouterState::Unhealthy => TargetState::Unhealthy,
                RouterState::Draining => TargetState::Draining,
            },
            reason: health.reason,
        };
        Ok(report.targets.into_iter().map(describe).collect())
    }

    async fn put_route(&self, route: &RouteTarget, target_group: &str, tags: &Tags) -> PortResult<Put> {
        let spec = RouteSpec { route: route.clone(), target_group: target_group.to_owned(), tags: self.tags(tags) };
        let spec = &spec;
        let put = self.core.router.call(|client| async move { client.put_route(spec).await }).await?;
        Ok(Put { handle: route_id(route), created: put.created, url: None })
    }

    async fn delete_route(&self, route: &RouteTarget, environment: &str) -> PortResult<()> {
        self.core.router.call(|client| async move { client.delete_route(route, environment).await }).await
    }

    async fn routes(&self) -> PortResult<Listing<RouteDescription>> {
        let routes = self.core.router.call(|client| async move { client.routes().await }).await?;
        let describe =
            |spec: RouteSpec| RouteDescription { route: spec.route, target_group: spec.target_group, tags: spec.tags };
        let items = routes.into_iter().filter(|spec| self.ours(&spec.tags, None)).map(describe).collect();
        Ok(Listing { items, complete: true, at: now() })
    }

    async fn busy_ports(&self, first: u16, last: u16) -> PortResult<Vec<u16>> {
        self.core.router.call(|client| async move { client.busy_ports(first, last).await }).await
    }

    async fn probe(&self, url: &str) -> PortResult<Option<u16>> {
        crate::http::probe(self.http.get()?, url).await
    }

    async fn activity(&self) -> PortResult<Option<BTreeMap<String, Activity>>> {
        let used = self.core.router.call(|client| async move { client.activity().await }).await?;
        let of = |used: landfall_router::api::Activity| Activity {
            active: used.active,
            last_request_at: used.last_request_at,
        };
        Ok(Some(used.into_iter().map(|(environment, used)| (environment, of(used))).collect()))
    }

    async fn hold(&self, asleep: &BTreeMap<String, Hold>, timeout_ms: u64) -> PortResult<Option<Vec<String>>> {
        let of = |hold: &Hold| landfall_router::api::Hold { hold_ms: hold.hold_ms, waking: hold.waking };
        let asleep: BTreeMap<_, _> = asleep.iter().map(|(environment, hold)| (environment.clone(), of(hold))).collect();
        let (asleep, timeout) = (&asleep, Duration::from_millis(timeout_ms));
        self.core.router.call(|client| async move { client.hold(asleep, timeout).await }).await.map(Some)
    }

    async fn list_owned(&self, environment: Option<&str>) -> PortResult<Listing<OwnedResource>> {
        let routes = self.core.router.call(|client| async move { client.routes().await }).await?;
        let groups = self.core.router.call(|client| async move { client.target_groups().await }).await?;
        let mut items = Vec::new();
        for spec in routes.into_iter().filter(|spec| self.ours(&spec.tags, environment)) {
            let kind = match &spec.route {
                RouteTarget::Host { .. } => ResourceKind::Rule,
                RouteTarget::Port { .. } => ResourceKind::Listener,
            };
            items.push(owned(kind, route_id(&spec.route), spec.route.url(), spec.tags));
        }
        for group in groups.into_iter().filter(|group| self.ours(&group.spec.tags, environment)) {
            items.push(owned(ResourceKind::TargetGroup, group.spec.name.clone(), group.spec.name, group.spec.tags));
        }
        Ok(Listing { items, complete: true, at: now() })
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        match resource.kind {
            ResourceKind::TargetGroup => self.delete_target_group(&resource.id, &resource.environment).await,
            ResourceKind::Rule | ResourceKind::Listener => {
                let route = parse_route(&resource.id)
                    .ok_or_else(|| PortError::Invalid(format!("{} is not the handle of a route", resource.id)))?;
                self.delete_route(&route, &resource.environment).await
            }
            kind => Err(PortError::Invalid(format!("the load balancer owns no {kind:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_handles_round_trip() {
        for route in
            [RouteTarget::Port { port: 9000 }, RouteTarget::Host { host: "a.b.localhost".to_owned(), port: 8080 }]
        {
            assert_eq!(parse_route(&route_id(&route)), Some(route));
        }
        assert_eq!(parse_route("port:x"), None);
    }
}

//! Elastic Load Balancing, in memory: targets are healthy because the service behind them runs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, Tags};
use landfall_model::step::{EnsureTargetGroup, RouteTarget};
use landfall_ports::load_balancer::{
    Activity, Hold, LoadBalancer, Put, RouteDescription, TargetGroupDescription, TargetGroupSettings, TargetHealth,
    TargetState,
};
use landfall_ports::{PortError, PortResult};

use super::{FakePlatform, Route, TargetGroup, World, route_key, same_owner};

#[async_trait]
impl LoadBalancer for FakePlatform {
    async fn put_target_group(&self, request: &EnsureTargetGroup) -> PortResult<Put> {
        self.call("put_target_group", |world| {
            if let Some(group) = world.target_groups.get_mut(&request.name) {
                if !same_owner(&group.spec.tags, &request.tags) {
                    return Err(PortError::Conflict(format!(
                        "target group {} belongs to another environment",
                        request.name
                    )));
                }
                let spec = EnsureTargetGroup { tags: group.spec.tags.clone(), ..request.clone() };
                let changed = std::mem::replace(&mut group.spec, spec) != group.spec;
                if changed {
                    world.effect("change_target_group");
                }
                return Ok(Put { handle: request.name.clone(), created: false, url: None });
            }
            world.effect("put_target_group");
            world.note(ResourceKind::TargetGroup, &request.name, &request.tags);
            let group = TargetGroup { spec: request.clone(), service: None, routes: 0 };
            world.target_groups.insert(request.name.clone(), group);
            Ok(Put { handle: request.name.clone(), created: true, url: None })
        })
    }

    async fn describe_target_group(&self, name: &str) -> PortResult<Option<TargetGroupDescription>> {
        self.call("describe_target_group", |world| {
            let describe = |group: &TargetGroup| TargetGroupDescription {
                settings: TargetGroupSettings::from(&group.spec),
                tags: group.spec.tags.clone(),
            };
            Ok(world.target_groups.get(name).map(describe))
        })
    }

    async fn delete_target_group(&self, name: &str, environment: &str) -> PortResult<()> {
        self.call("delete_target_group", |world| delete_target_group(world, name, environment))
    }

    async fn target_health(&self, target_group: &str) -> PortResult<Vec<TargetHealth>> {
        self.call("target_health", |world| {
            let group =
                world.target_groups.get(target_group).ok_or_else(|| PortError::NotFound(target_group.to_owned()))?;
            let running = group.service.as_ref().and_then(|name| world.services.get(name)).map_or(0, |s| s.running);
            let target =
                |n| TargetHealth { target: format!("10.0.0.{n}:80"), state: TargetState::Healthy, reason: None };
            Ok((1..=running).map(target).collect())
        })
    }

    async fn put_route(&self, route: &RouteTarget, target_group: &str, tags: &Tags) -> PortResult<Put> {
        self.call("put_route", |world| {
            if let RouteTarget::Port { port } = route
                && world.behaviour.foreign_ports.contains(port)
            {
                return Err(PortError::Conflict(format!("port {port} is in use by another process")));
            }
            if !world.target_groups.contains_key(target_group) {
                return Err(PortError::Invalid(format!("no target group {target_group}")));
            }
            let key = route_key(route);
            let old = world.routes.get(&key);
            if old.is_some_and(|old| !same_owner(&old.tags, tags)) {
                return Err(PortError::Conflict(format!("route {key} belongs to another environment")));
            }
            let created = old.is_none();
            let before = old.map(|old| old.target_group.clone());
            let tags = old.map_or_else(|| tags.clone(), |old| old.tags.clone());
            if before.as_deref() != Some(target_group) {
                if let Some(group) = before.and_then(|name| world.target_groups.get_mut(&name)) {
                    group.routes -= 1;
                }
                if let Some(group) = world.target_groups.get_mut(target_group) {
                    group.routes += 1;
                }
                world.effect("put_route");
            }
            let kind = match route {
                RouteTarget::Host { .. } => ResourceKind::Rule,
                RouteTarget::Port { .. } => ResourceKind::Listener,
            };
            world.note(kind, &key, &tags);
            let entry = Route { route: route.clone(), target_group: target_group.to_owned(), tags };
            world.routes.insert(key.clone(), entry);
            Ok(Put { handle: key, created, url: None })
        })
    }

    async fn delete_route(&self, route: &RouteTarget, environment: &str) -> PortResult<()> {
        self.call("delete_route", |world| {
            delete_route(world, &route_key(route), environment);
            Ok(())
        })
    }

    async fn routes(&self) -> PortResult<Listing<RouteDescription>> {
        self.call("routes", |world| {
            world.listing(None, &[])?;
            let describe = |r: &Route| RouteDescription {
                route: r.route.clone(),
                target_group: r.target_group.clone(),
                tags: r.tags.clone(),
            };
            let items = world.routes.values().map(describe).collect();
            Ok(Listing { items, complete: true, at: Timestamp::UNIX_EPOCH })
        })
    }

    async fn busy_ports(&self, first: u16, last: u16) -> PortResult<Vec<u16>> {
        self.call("busy_ports", |world| {
            let ours = world.routes.values().map(|r| match r.route {
                RouteTarget::Host { port, .. } | RouteTarget::Port { port } => port,
            });
            let mut ports: Vec<u16> = ours.chain(world.behaviour.foreign_ports.iter().copied()).collect();
            ports.retain(|port| (first..=last).contains(port));
            ports.sort_unstable();
            ports.dedup();
            Ok(ports)
        })
    }

    async fn probe(&self, url: &str) -> PortResult<Option<u16>> {
        self.call("probe", |world| {
            let address = url.trim_start_matches("http://").trim_end_matches('/');
            let port = address.rsplit_once(':').map_or("80", |(_, port)| port);
            let key = if world.routes.contains_key(address) { address.to_owned() } else { format!(":{port}") };
            let Some(route) = world.routes.get(&key) else { return Ok(None) };
            let service = world.target_groups.get(&route.target_group).and_then(|g| g.service.as_ref());
            let running = service.and_then(|name| world.services.get(name)).map_or(0, |s| s.running);
            Ok(Some(if running > 0 { 200 } else { 503 }))
        })
    }

    async fn activity(&self) -> PortResult<Option<BTreeMap<String, Activity>>> {
        self.call("activity", |world| Ok(Some(world.used.clone())))
    }

    async fn hold(&self, asleep: &BTreeMap<String, Hold>, timeout_ms: u64) -> PortResult<Option<Vec<String>>> {
        self.call("hold", |world| {
            world.asleep.clone_from(asleep);
            world.wanted.retain(|environment| asleep.get(environment).is_some_and(|hold| !hold.waking));
            Ok(())
        })?;
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_millis(timeout_ms);
        loop {
            let wanted: Vec<String> = self.lock().wanted.iter().cloned().collect();
            if !wanted.is_empty() || tokio::time::Instant::now() >= deadline {
                return Ok(Some(wanted));
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn list_owned(&self, environment: Option<&str>) -> PortResult<Listing<OwnedResource>> {
        let kinds = [ResourceKind::TargetGroup, ResourceKind::Rule, ResourceKind::Listener];
        self.call("list_owned", |world| world.listing(environment, &kinds))
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        self.call("delete_owned", |world| match resource.kind {
            ResourceKind::TargetGroup => delete_target_group(world, &resource.id, &resource.environment),
            ResourceKind::Rule | ResourceKind::Listener => {
                delete_route(world, &resource.id, &resource.environment);
                Ok(())
            }
            other => Err(PortError::Invalid(format!("{other:?} is not the load balancer's"))),
        })
    }
}

fn delete_target_group(world: &mut World, name: &str, environment: &str) -> PortResult<()> {
    let Some(group) = world.target_groups.get(name) else { return Ok(()) };
    if group.spec.tags.get(landfall_model::inventory::TAG_ENVIRONMENT).map(String::as_str) != Some(environment) {
        return Ok(());
    }
    if group.routes > 0 {
        return Err(PortError::Conflict(format!("target group {name} is in use by {} route(s)", group.routes)));
    }
    world.target_groups.remove(name);
    world.effect("delete_target_group");
    Ok(())
}

fn delete_route(world: &mut World, key: &str, environment: &str) {
    let owner = |r: &Route| r.tags.get(landfall_model::inventory::TAG_ENVIRONMENT).cloned();
    if world.routes.get(key).and_then(owner).as_deref() != Some(environment) {
        return;
    }
    if let Some(route) = world.routes.remove(key) {
        world.effect("delete_route");
        if let Some(group) = world.target_groups.get_mut(&route.target_group) {
            group.routes -= 1;
        }
    }
}

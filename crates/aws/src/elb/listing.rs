//! What of the load balancer is Landfall's, read to the last page. A thing that vanishes while it is read makes the reading
//! begin again; where that goes on, the listing says that it is not complete.

use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_ENVIRONMENT, Tags};
use landfall_model::step::RouteTarget;
use landfall_ports::load_balancer::RouteDescription;
use landfall_ports::{PortError, PortResult};

use super::Elb;
use super::groups::arn;
use super::routes::{arn_of, rule_arn};
use super::rules::{self, forwards_to, hosts};
use crate::core::now;
use crate::tags;

const READINGS: u32 = 3;

struct OwnedRoute {
    arn: String,
    route: RouteTarget,
    target_group: String,
    tags: Tags,
}

impl Elb {
    fn of_this_installation(&self, tags: &Tags) -> bool {
        tags::ours(tags, &self.core.options.instance, None)
    }

    pub(super) async fn list_routes(&self) -> PortResult<Listing<RouteDescription>> {
        let describe = |owned: OwnedRoute| RouteDescription {
            route: owned.route,
            target_group: owned.target_group,
            tags: owned.tags,
        };
        Ok(match self.again(|| self.owned_routes()).await? {
            Some(found) => Listing { items: found.into_iter().map(describe).collect(), complete: true, at: now() },
            None => Listing { items: Vec::new(), complete: false, at: now() },
        })
    }

    pub(super) async fn list(&self, environment: Option<&str>) -> PortResult<Listing<OwnedResource>> {
        let read = || async {
            let mut items = self.owned_groups().await?;
            for OwnedRoute { arn, route, tags, .. } in self.owned_routes().await? {
                let kind = match &route {
                    RouteTarget::Host { .. } => ResourceKind::Rule,
                    RouteTarget::Port { .. } => ResourceKind::Listener,
                };
                items.push(owned(kind, arn, name(&route), tags));
            }
            Ok(items)
        };
        Ok(match self.again(read).await? {
            Some(mut items) => {
                items.retain(|item| environment.is_none_or(|wanted| item.environment == wanted));
                Listing { items, complete: true, at: now() }
            }
            None => Listing { items: Vec::new(), complete: false, at: now() },
        })
    }

    /// `None`: something vanished during each of the readings.
    async fn again<T, F: Future<Output = PortResult<T>>>(&self, read: impl Fn() -> F) -> PortResult<Option<T>> {
        // Whether the load balancer is there at all is another matter.
        self.balancer().await?;
        for _ in 0..READINGS {
            match read().await {
                Ok(items) => return Ok(Some(items)),
                Err(PortError::NotFound(gone)) => {
                    tracing::debug!(gone, "vanished while listing");
                    self.balancer_anew().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn owned_groups(&self) -> PortResult<Vec<OwnedResource>> {
        let groups = self.target_groups().await?;
        let arns: Vec<String> = groups.iter().map(arn).collect();
        let arns: Vec<&str> = arns.iter().map(String::as_str).collect();
        let mut known = self.known_tags(&arns).await?;
        let groups = groups.into_iter().filter_map(|group| {
            let arn = arn(&group);
            let tags = known.remove(&arn).filter(|tags| self.of_this_installation(tags))?;
            Some(owned(ResourceKind::TargetGroup, arn, group.target_group_name.unwrap_or_default(), tags))
        });
        Ok(groups.collect())
    }

    /// An environment's own listener holds no rules of ours; every other one, whoever made it, may.
    async fn owned_routes(&self) -> PortResult<Vec<OwnedRoute>> {
        let listeners = self.listeners().await?;
        let arns: Vec<&str> = listeners.iter().map(arn_of).collect();
        let known = self.known_tags(&arns).await?;
        let mut routes = Vec::new();
        for listener in &listeners {
            let Some(port) = rules::port(listener) else { continue };
            let tags = known.get(arn_of(listener)).cloned().unwrap_or_default();
            if self.of_this_installation(&tags) {
                routes.push(OwnedRoute {
                    arn: arn_of(listener).to_owned(),
                    route: RouteTarget::Port { port },
                    target_group: forwards_to(listener.default_actions.as_deref()).unwrap_or_default().to_owned(),
                    tags,
                });
                continue;
            }
            let all = self.rules(arn_of(listener)).await?;
            let of_hosts: Vec<_> = all.iter().filter(|rule| !hosts(rule).is_empty()).collect();
            let arns: Vec<&str> = of_hosts.iter().map(|rule| rule_arn(rule)).collect();
            let mut known = self.known_tags(&arns).await?;
            for rule in of_hosts {
                let Some(tags) = known.remove(rule_arn(rule)).filter(|tags| self.of_this_installation(tags)) else {
                    continue;
                };
                let Some(host) = hosts(rule).into_iter().next() else { continue };
                routes.push(OwnedRoute {
                    arn: rule_arn(rule).to_owned(),
                    route: RouteTarget::Host { host, port },
                    target_group: forwards_to(rule.actions.as_deref()).unwrap_or_default().to_owned(),
                    tags,
                });
            }
        }
        Ok(routes)
    }
}

fn name(route: &RouteTarget) -> String {
    match route {
        RouteTarget::Host { host, port } => format!("{host}:{port}"),
        RouteTarget::Port { port } => format!("port {port}"),
    }
}

fn owned(kind: ResourceKind, id: String, name: String, tags: Tags) -> OwnedResource {
    let environment = tags.get(TAG_ENVIRONMENT).cloned().unwrap_or_default();
    OwnedResource { kind, id, name, environment, tags }
}

//! The load balancer port on Elastic Load Balancing v2: one Application Load Balancer that all environments share.
//!
//! **Whose a thing is** stands in its tags, which are given in the call that creates it. What carries another environment's
//! or another installation's tags, or none, is refused or left alone, never adopted.
//!
//! **A lost answer.** A call may have had its effect although no answer came. Every put looks first, by the one thing that
//! cannot be there twice: a target group's name, a listener's port, a host among a listener's rules. The lowest free priority
//! is taken for a rule, so that a repeated creation meets `PriorityInUse` and looks again, even where the first look was
//! answered by a replica that had not heard of it.
//!
//! **Two at once.** Within this process rules and shared listeners are made one at a time (`routing`). Between processes AWS
//! decides: `PriorityInUse`, `DuplicateListener` and `DuplicateTargetGroupName` end in another look.
//!
//! **The shared listener** of host rules is made where it is missing and never deleted: with it would go rules that were put
//! on it meanwhile. It carries the installation's tag and no environment's.

pub(crate) mod calls;
mod groups;
mod limits;
mod listing;
mod routes;
mod rules;
mod seen;
mod target_group;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_ENVIRONMENT, Tags};
use landfall_model::step::{EnsureTargetGroup, RouteTarget};
use landfall_ports::load_balancer::{LoadBalancer, Put, RouteDescription, TargetGroupDescription, TargetHealth};
use landfall_ports::{PortError, PortResult};
use tokio::sync::OnceCell;

use self::seen::SeenTags;
use crate::core::{Core, now};
use crate::ecs::Ecs;
use crate::http::Http;
use crate::tags;

pub(crate) struct Elb {
    core: Arc<Core>,
    ecs: Ecs,
    http: Http,
    balancer: tokio::sync::Mutex<Option<Arc<Balancer>>>,
    idle_timeout: OnceCell<u32>,
    routing: tokio::sync::Mutex<()>,
    seen_tags: Mutex<SeenTags>,
}

struct Balancer {
    arn: String,
    name: String,
    dns_name: String,
    vpc: Option<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whose something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// This environment's.
    Ours,
    /// Another environment's of this installation.
    Sibling,
    Foreign,
}

impl Elb {
    pub(crate) fn new(core: Arc<Core>, ecs: Ecs, http: Http) -> Self {
        Self {
            core,
            ecs,
            http,
            balancer: tokio::sync::Mutex::default(),
            idle_timeout: OnceCell::new(),
            routing: tokio::sync::Mutex::new(()),
            seen_tags: Mutex::default(),
        }
    }

    /// What URLs name: the target's `address`, else the load balancer's DNS name.
    pub(crate) async fn address(&self) -> PortResult<String> {
        match &self.core.target.address {
            Some(address) => Ok(address.clone()),
            None => Ok(self.balancer().await?.dns_name.clone()),
        }
    }

    fn owner(&self, tags: &Tags, environment: Option<&str>) -> Owner {
        let instance = &self.core.options.instance;
        match environment {
            Some(_) if tags::ours(tags, instance, environment) => Owner::Ours,
            _ if tags::ours(tags, instance, None) => Owner::Sibling,
            _ => Owner::Foreign,
        }
    }

    /// A message about something of somebody else.
    fn belongs(&self, what: &str, tags: &Tags) -> PortError {
        let whose = match (tags.get(TAG_ENVIRONMENT), self.owner(tags, None)) {
            (Some(environment), Owner::Foreign) => {
                format!("environment {environment} of another installation of Landfall")
            }
            (Some(environment), _) => format!("environment {environment}"),
            (None, _) => "somebody else: it has no tag of Landfall's".to_owned(),
        };
        PortError::Conflict(format!("{what} belongs to {whose}"))
    }
}

fn environment_of(tags: &Tags) -> Option<&str> {
    tags.get(TAG_ENVIRONMENT).map(String::as_str)
}

#[async_trait]
impl LoadBalancer for Elb {
    async fn put_target_group(&self, request: &EnsureTargetGroup) -> PortResult<Put> {
        self.put_group(request).await
    }

    async fn describe_target_group(&self, name: &str) -> PortResult<Option<TargetGroupDescription>> {
        self.describe_group(name).await
    }

    async fn delete_target_group(&self, name: &str, environment: &str) -> PortResult<()> {
        self.delete_group(name, environment).await
    }

    async fn target_health(&self, target_group: &str) -> PortResult<Vec<TargetHealth>> {
        self.group_health(target_group).await
    }

    async fn put_route(&self, route: &RouteTarget, target_group: &str, tags: &Tags) -> PortResult<Put> {
        match route {
            RouteTarget::Host { host, port } => self.put_rule(host, *port, target_group, tags).await,
            RouteTarget::Port { port } => self.put_listener(*port, target_group, tags).await,
        }
    }

    async fn delete_route(&self, route: &RouteTarget, environment: &str) -> PortResult<()> {
        match route {
            RouteTarget::Host { host, port } => self.delete_rule(host, *port, environment).await,
            RouteTarget::Port { port } => self.delete_listener(*port, environment).await,
        }
    }

    async fn routes(&self) -> PortResult<Listing<RouteDescription>> {
        self.list_routes().await
    }

    /// Whoever's listeners.
    async fn busy_ports(&self, first: u16, last: u16) -> PortResult<Vec<u16>> {
        let listeners = self.listeners().await?;
        let mut ports: Vec<u16> = listeners.iter().filter_map(rules::port).collect();
        ports.retain(|port| (first..=last).contains(port));
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }

    async fn probe(&self, url: &str) -> PortResult<Option<u16>> {
        crate::http::probe(self.http.get()?, url, self.core.target.probe_through.as_deref()).await
    }

    async fn address(&self) -> PortResult<Option<String>> {
        match (&self.core.target.address, &self.core.target.load_balancer) {
            (None, None) => Ok(None),
            _ => Ok(Some(Elb::address(self).await?)),
        }
    }

    async fn list_owned(&self, environment: Option<&str>) -> PortResult<Listing<OwnedResource>> {
        // Without a load balancer none of this is ever made, and no right to ask may be there.
        if self.core.target.load_balancer.is_none() {
            return Ok(Listing { items: Vec::new(), complete: true, at: now() });
        }
        self.list(environment).await
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        match resource.kind {
            ResourceKind::TargetGroup => self.delete_group(&resource.id, &resource.environment).await,
            ResourceKind::Rule => self.delete_rule_arn(&resource.id, &resource.environment).await,
            ResourceKind::Listener => self.delete_listener_arn(&resource.id, &resource.environment).await,
            kind => Err(PortError::Invalid(format!("the load balancer owns no {kind:?}"))),
        }
    }
}

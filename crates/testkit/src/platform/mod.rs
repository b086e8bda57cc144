//! A platform in memory: all four ports over one stateful world, with slow progress, faults and a count of effects.
//!
//! Nothing here is a recording: services become stable by being described, targets are healthy because a service behind
//! them runs, a route answers because its target group does. Calls cost O(log n), so a thousand previews are cheap.

mod faults;
mod images;
mod load_balancer;
mod orchestrator;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use landfall_model::Timestamp;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_ENVIRONMENT, TAG_INSTANCE, Tags};
use landfall_model::step::{EnsureTargetGroup, RouteTarget};
use landfall_model::task::TaskDefinition;
use landfall_ports::images::BuildState;
use landfall_ports::load_balancer::{Activity, Hold, TargetGroupSettings};
use landfall_ports::orchestrator::{DeploymentDescription, LogLine, PutService, RunTaskRequest};
use landfall_ports::steps::HookState;
use landfall_ports::{Platform, PortError, PortResult};
use tokio::sync::mpsc::UnboundedSender;

pub use faults::{Fault, When};

/// How the world behaves; change it any time through [`FakePlatform::behave`].
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Describes (or polls) until something that takes time is done. 0: at once.
    pub patience: u32,
    /// Images whose containers exit with code 1.
    pub crashing_images: BTreeSet<String>,
    /// Images whose containers exit with code 1 again and again, without an end to their deployment.
    pub restarting_images: BTreeSet<String>,
    /// Images whose deployments wait at a pause hook until they are told to go on.
    pub pausing_images: BTreeSet<String>,
    /// Images whose deployments have shifted all traffic and bake without an end.
    pub baking_images: BTreeSet<String>,
    /// Commits whose build fails.
    pub broken_commits: BTreeSet<String>,
    /// Images that `resolve` finds, by the reference asked for.
    pub available_images: BTreeSet<String>,
    /// Hooks that fail, by name.
    pub failing_hooks: BTreeSet<String>,
    /// One-off tasks whose command starts with one of these exit with code 1.
    pub failing_commands: BTreeSet<String>,
    /// Further containers of one-off tasks, with the exit code that they are stopped with.
    pub sidecars: BTreeMap<String, i64>,
    /// When one-off tasks say that they began to run; `None`: they do not say.
    pub tasks_started_at: Option<Timestamp>,
    /// Ports held by somebody else.
    pub foreign_ports: BTreeSet<u16>,
    /// Only services with this tag of an installation are described. `None`: all.
    pub instance: Option<String>,
    /// Listings fail.
    pub blind: bool,
    /// Listings say that they are incomplete.
    pub short_listings: bool,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    behaviour: Behaviour,
    task_definitions: BTreeMap<String, (TaskDefinition, Tags)>,
    services: BTreeMap<String, Service>,
    tasks: BTreeMap<String, Task>,
    target_groups: BTreeMap<String, TargetGroup>,
    routes: BTreeMap<String, Route>,
    images: BTreeMap<String, Tags>,
    /// What was ever made for an environment; entries of what is gone are dropped by the next listing. A listing of one
    /// environment costs what that environment has, not what the world has.
    index: BTreeMap<String, BTreeSet<(ResourceKind, String)>>,
    /// In this process only: gone after [`FakePlatform::restart`].
    builds: BTreeMap<String, (u32, BuildState)>,
    hooks: BTreeMap<String, (u32, HookState)>,
    faults: Vec<Fault>,
    /// Calls by `port.method`.
    calls: BTreeMap<&'static str, u64>,
    /// Effects that change the world, by method.
    effects: BTreeMap<&'static str, u64>,
    hook_runs: Vec<(String, String)>,
    task_runs: u64,
    deployments: u64,
    /// Who follows which environment's logs.
    followers: Vec<(String, UnboundedSender<LogLine>)>,
    /// What the load balancer was told to be asleep, and who was asked for.
    asleep: BTreeMap<String, Hold>,
    used: BTreeMap<String, Activity>,
    wanted: BTreeSet<String>,
}

#[derive(Debug)]
pub(crate) struct Service {
    request: PutService,
    desired: u32,
    running: u32,
    left: u32,
    deleting: bool,
    /// Newest first.
    deployments: Vec<DeploymentDescription>,
    /// What runs when the circuit breaker has rolled back.
    stable: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Task {
    request: RunTaskRequest,
    left: u32,
    stopped: Option<String>,
}

#[derive(Debug)]
pub(crate) struct TargetGroup {
    spec: EnsureTargetGroup,
    /// The service that registers its tasks here.
    service: Option<String>,
    routes: u32,
}

#[derive(Debug)]
pub(crate) struct Route {
    route: RouteTarget,
    target_group: String,
    tags: Tags,
}

/// The world as a test compares it: two runs that end in equal views did the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorldView {
    /// Name → task definition, desired, running.
    pub services: BTreeMap<String, (String, u32, u32)>,
    pub running_tasks: BTreeSet<String>,
    pub task_definitions: BTreeSet<String>,
    pub target_groups: BTreeSet<String>,
    /// Name of a service or a target group → what it is set to, besides the above.
    pub settings: BTreeMap<String, String>,
    /// Route → target group.
    pub routes: BTreeMap<String, String>,
    pub images: BTreeSet<String>,
}

impl WorldView {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Clones share one world.
#[derive(Clone, Default)]
pub struct FakePlatform {
    pub(crate) world: Arc<Mutex<World>>,
}

impl FakePlatform {
    pub fn new(behaviour: Behaviour) -> Self {
        let platform = Self::default();
        platform.lock().behaviour = behaviour;
        platform
    }

    /// The four ports.
    pub fn platform(&self) -> Platform {
        Platform {
            orchestrator: Arc::new(self.clone()),
            load_balancer: Arc::new(self.clone()),
            images: Arc::new(self.clone()),
            hooks: Arc::new(self.clone()),
            min_poll_ms: 0,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.lock().behaviour);
    }

    /// What a new process finds: builds and hooks that ran inside the old one are unknown.
    pub fn restart(&self) {
        let mut world = self.lock();
        world.builds.clear();
        world.hooks.clear();
    }

    pub fn view(&self) -> WorldView {
        let world = self.lock();
        let of_service = |(name, s): (&String, &Service)| {
            (name.clone(), format!("{:?} {:?}", s.request.deployment, s.request.target))
        };
        let of_group = |(name, g): (&String, &TargetGroup)| {
            (name.clone(), format!("{:?} for {:?}", TargetGroupSettings::from(&g.spec), g.service))
        };
        WorldView {
            settings: world.services.iter().map(of_service).chain(world.target_groups.iter().map(of_group)).collect(),
            services: world
                .services
                .iter()
                .map(|(name, s)| (name.clone(), (s.request.task_definition.clone(), s.desired, s.running)))
                .collect(),
            running_tasks: world.tasks.iter().filter(|(_, t)| t.stopped.is_none()).map(|(id, _)| id.clone()).collect(),
            task_definitions: world.task_definitions.keys().cloned().collect(),
            target_groups: world.target_groups.keys().cloned().collect(),
            routes: world.routes.iter().map(|(key, r)| (key.clone(), r.target_group.clone())).collect(),
            images: world.images.keys().cloned().collect(),
        }
    }

    /// Everything that carries an environment's tag, as `kind name`.
    pub fn leaks(&self, environment: &str) -> Vec<String> {
        let mut world = self.lock();
        let all = world.owned(Some(environment), &ResourceKind::ALL);
        all.into_iter().map(|r| format!("{:?} {}", r.kind, r.name)).collect()
    }

    /// Calls that changed something, by method.
    pub fn effects(&self) -> BTreeMap<&'static str, u64> {
        self.lock().effects.clone()
    }

    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.lock().calls.clone()
    }

    /// Hook name and key of every hook that was begun.
    pub fn hook_runs(&self) -> Vec<(String, String)> {
        self.lock().hook_runs.clone()
    }

    /// One-off tasks that were really started.
    pub fn task_runs(&self) -> u64 {
        self.lock().task_runs
    }

    /// A container writes a line; returns to how many followers it goes.
    pub fn write_log(&self, environment: &str, line: LogLine) -> usize {
        let mut world = self.lock();
        world.followers.retain(|(_, to)| !to.is_closed());
        let of_it = world.followers.iter().filter(|(followed, _)| followed == environment);
        of_it.filter(|(_, to)| to.send(line.clone()).is_ok()).count()
    }

    /// A request for an environment through the load balancer. Whether it would be answered at once: something runs; else
    /// whether it would be held.
    pub fn request(&self, environment: &str, now: Timestamp) -> Result<(), bool> {
        let mut world = self.lock();
        world.used.entry(environment.to_owned()).or_default().last_request_at = Some(now);
        let of_it = |service: &&Service| service.request.tags.get(TAG_ENVIRONMENT).is_some_and(|of| of == environment);
        if world.services.values().filter(of_it).any(|service| service.running > 0) {
            return Ok(());
        }
        let held = world.asleep.contains_key(environment);
        if held {
            world.wanted.insert(environment.to_owned());
        }
        Err(held)
    }

    /// Puts a resource of another environment (or another installation) into the world.
    pub fn plant_target_group(&self, spec: EnsureTargetGroup) {
        let name = spec.name.clone();
        let mut world = self.lock();
        world.note(ResourceKind::TargetGroup, &name, &spec.tags);
        world.target_groups.insert(name, TargetGroup { spec, service: None, routes: 0 });
    }

    /// All that are registered.
    pub fn definitions(&self) -> Vec<TaskDefinition> {
        self.lock().task_definitions.values().map(|(definition, _)| definition.clone()).collect()
    }

    /// The task definition that a service runs, without advancing it.
    pub fn definition_of(&self, service: &str) -> Option<String> {
        self.lock().services.get(service).map(|s| s.request.task_definition.clone())
    }

    /// Sets the tags of a service behind everybody's back.
    pub fn retag_service(&self, name: &str, tags: &Tags) {
        let mut world = self.lock();
        if let Some(service) = world.services.get_mut(name) {
            service.request.tags.clone_from(tags);
            world.note(ResourceKind::Service, name, tags);
        }
    }

    /// Takes a service away behind everybody's back.
    pub fn vanish_service(&self, name: &str) {
        self.lock().services.remove(name);
    }
}

impl World {
    pub(crate) fn effect(&mut self, method: &'static str) {
        *self.effects.entry(method).or_default() += 1;
    }

    /// Enters a new resource into the index.
    pub(crate) fn note(&mut self, kind: ResourceKind, id: &str, tags: &Tags) {
        let environment = tags.get(TAG_ENVIRONMENT).cloned().unwrap_or_default();
        self.index.entry(environment).or_default().insert((kind, id.to_owned()));
    }

    /// The tags of what exists.
    fn tags_of(&self, kind: ResourceKind, id: &str) -> Option<&Tags> {
        let route = |host: bool| {
            let of_kind = |r: &&Route| matches!(r.route, RouteTarget::Host { .. }) == host;
            self.routes.get(id).filter(of_kind).map(|r| &r.tags)
        };
        match kind {
            ResourceKind::Service => self.services.get(id).map(|s| &s.request.tags),
            ResourceKind::Task => self.tasks.get(id).filter(|t| t.stopped.is_none()).map(|t| &t.request.tags),
            ResourceKind::TaskDefinition => self.task_definitions.get(id).map(|(_, tags)| tags),
            ResourceKind::TargetGroup => self.target_groups.get(id).map(|g| &g.spec.tags),
            ResourceKind::Rule => route(true),
            ResourceKind::Listener => route(false),
            ResourceKind::Image => self.images.get(id),
            ResourceKind::Container | ResourceKind::Network => None,
        }
    }

    pub(crate) fn owned(&mut self, environment: Option<&str>, kinds: &[ResourceKind]) -> Vec<OwnedResource> {
        let environments: Vec<String> = match environment {
            Some(one) => vec![one.to_owned()],
            None => self.index.keys().cloned().collect(),
        };
        let mut all = Vec::new();
        for environment in environments {
            let Some(mut known) = self.index.remove(&environment) else { continue };
            let ours = |tags: &&Tags| tags.get(TAG_ENVIRONMENT).is_none_or(|e| *e == environment);
            known.retain(|(kind, id)| {
                let Some(tags) = self.tags_of(*kind, id).filter(ours) else { return false };
                if kinds.contains(kind) {
                    all.push(OwnedResource {
                        kind: *kind,
                        id: id.clone(),
                        name: id.clone(),
                        environment: environment.clone(),
                        tags: tags.clone(),
                    });
                }
                true
            });
            if !known.is_empty() {
                self.index.insert(environment, known);
            }
        }
        all
    }

    pub(crate) fn listing(
        &mut self,
        environment: Option<&str>,
        kinds: &[ResourceKind],
    ) -> PortResult<Listing<OwnedResource>> {
        if self.behaviour.blind {
            return Err(PortError::Unavailable("the listing fails".to_owned()));
        }
        let complete = !self.behaviour.short_listings;
        Ok(Listing { items: self.owned(environment, kinds), complete, at: Timestamp::UNIX_EPOCH })
    }
}

pub(crate) fn route_key(route: &RouteTarget) -> String {
    match route {
        RouteTarget::Host { host, port } => format!("{host}:{port}"),
        RouteTarget::Port { port } => format!(":{port}"),
    }
}

/// Whether `tags` say that `owner`'s environment made it.
pub(crate) fn same_owner(tags: &Tags, owner: &Tags) -> bool {
    [TAG_ENVIRONMENT, TAG_INSTANCE].iter().all(|key| tags.get(*key) == owner.get(*key))
}

//! Instances that tasks run on, and what runs and waits on them, as AWS shows it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

/// A group of Auto Scaling, or a request for a Spot Fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetState {
    /// The group's name, or the request's id (`sfr-…`).
    pub id: String,
    /// In units of weight; of a Spot Fleet AWS knows no bounds.
    pub bounds: Option<(u64, u64)>,
    /// In units of weight.
    pub desired: u64,
    pub members: Vec<Member>,
    /// Availability zones that instances come in; none: AWS does not say.
    pub zones: Vec<String>,
    /// Auto Scaling ends instances, whatever runs on them, to have as many in each zone.
    pub evens_out: bool,
    /// What was written down with [`FleetState::id`] when it was scaled last.
    pub next_permitted: Option<String>,
    /// Set while the newest launch is one that failed.
    pub failed: Option<LaunchFailure>,
}

/// What a service's strategy gives a capacity provider of its tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    pub provider: String,
    pub base: u32,
    pub weight: u32,
}

/// Of groups: before Auto Scaling ends an instance it waits until this lifecycle hook is completed.
pub const DRAIN_HOOK: &str = "landfall-drain";

/// An instance of a fleet, registered with a cluster or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// `i-…`
    pub instance: String,
    /// `t3.medium`
    pub kind: String,
    /// `None`: AWS does not say.
    pub weight: Option<u64>,
    /// AWS is ending it.
    pub leaving: bool,
    /// And waits with it until it is told that nothing runs there any more ([`DRAIN_HOOK`]).
    pub held: bool,
    /// Auto Scaling's word for it.
    pub unhealthy: bool,
    /// It has the notice of two minutes.
    pub interrupted: bool,
    /// `None`: nobody asked.
    pub launched: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchFailure {
    pub at: Timestamp,
    /// AWS's words.
    pub why: String,
}

/// What an instance has, or what of it is free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts {
    /// CPU units: 1,024 are one vCPU.
    pub cpu: u64,
    /// MiB.
    pub memory: u64,
    pub gpu: u64,
    /// Ports of the instance that are taken.
    pub ports: BTreeSet<FixedPort>,
}

/// A port of the instance itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FixedPort {
    pub port: u16,
    pub udp: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerInstance {
    pub arn: String,
    /// `i-…`
    pub instance: String,
    /// `ACTIVE`, `DRAINING`, …
    pub status: String,
    /// ECS's agent is there.
    pub connected: bool,
    /// With their values; those without one are empty.
    pub attributes: BTreeMap<String, String>,
    /// Running and pending; where it is drained also those that were told to stop and have not stopped yet.
    pub tasks: u32,
    pub registered: Amounts,
    pub remaining: Amounts,
}

/// What a cluster's instances are there for. Fargate's is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    pub services: Vec<ServiceLoad>,
    pub tasks: Vec<TaskLoad>,
    /// By the task definitions' ARNs: all that services and tasks name.
    pub needs: BTreeMap<String, Needs>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceLoad {
    pub name: String,
    /// Of its newest deployment.
    pub definition: String,
    pub desired: u64,
    /// Tasks of all its deployments at a time: ECS starts no more.
    pub most: u64,
    /// Its newest deployment failed: ECS starts no more tasks of it.
    pub failed: bool,
    /// One task on every instance, whatever is decided.
    pub daemon: bool,
    pub placement: Placement,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// One task to an instance.
    pub distinct: bool,
    /// Expressions of the cluster query language, all of which hold.
    pub expressions: Vec<String>,
}

/// A task that has not stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskLoad {
    pub definition: String,
    /// Of the service that keeps it running; `None`: nobody would start it again.
    pub service: Option<String>,
    /// Of the service's newest deployment.
    pub newest: bool,
    /// The ARN of the container instance; `None`: it waits for one.
    pub on: Option<String>,
}

/// What each task of a definition takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// CPU units.
    pub cpu: u64,
    /// MiB that are kept for it.
    pub memory: u64,
    pub gpu: u64,
    /// It has a network interface of its own.
    pub awsvpc: bool,
    pub ports: BTreeSet<FixedPort>,
    pub expressions: Vec<String>,
    /// CPU units and MiB as ecs-cluster-deployer counted them: containers only, and of each the greater of its two memories.
    pub pod: (u64, u64),
}

/// What is on instances of a type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeFacts {
    pub name: String,
    pub vcpus: u64,
    /// MiB.
    pub memory: u64,
    /// The instance's own among them.
    pub network_interfaces: u64,
    pub gpus: u64,
    /// `x86_64`, `arm64`
    pub architecture: String,
}

/// What is published of a cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedulable {
    /// How many more of the largest task could be placed.
    pub tasks: f64,
    /// Of all that is wanted and could be: 0 to 1.
    pub scheduled: f64,
}

//! The words of packing: tasks of one shape, instances that may be had, and instances that are there.

use std::collections::BTreeSet;

use crate::constraint::{Attributes, Constraint};
use crate::resources::Resources;

/// A port of the instance itself; one task has it at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    pub port: u16,
    /// TCP otherwise.
    pub udp: bool,
}

impl HostPort {
    pub fn tcp(port: u16) -> Self {
        Self { port, udp: false }
    }
}

/// Tasks that are alike in all that placement asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// What reasons call it.
    pub name: String,
    /// Of one task.
    pub need: Resources,
    /// Fixed host ports; ports that the engine picks are no matter.
    pub ports: BTreeSet<HostPort>,
    /// `distinctInstance`: the service or group of which an instance runs one task at most.
    pub distinct: Option<String>,
    /// All of them hold where a task runs.
    pub constraints: Vec<Constraint>,
}

impl Shape {
    pub fn new(name: &str, need: Resources) -> Self {
        Self {
            name: name.to_owned(),
            need: Resources { tasks: need.tasks.max(1), ..need },
            ports: BTreeSet::new(),
            distinct: None,
            constraints: Vec::new(),
        }
    }

    /// Whether an instance can run one at most, whatever its size.
    pub fn alone(&self) -> bool {
        !self.ports.is_empty() || self.distinct.is_some()
    }

    /// Of an instance that is not there yet: whether it may come with what is asked for.
    pub fn allows(&self, attributes: &Attributes) -> bool {
        self.constraints.iter().all(|constraint| constraint.may_hold(attributes))
    }

    /// Whether it comes with what is asked for, whatever else it comes with.
    pub fn suits(&self, attributes: &Attributes) -> bool {
        self.constraints.iter().all(|constraint| constraint.holds(attributes))
    }
}

/// Instances that may be had.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// What reasons call it.
    pub name: String,
    /// What tasks find on an empty one.
    pub capacity: Resources,
    /// Ports that are taken on an empty one: ECS keeps 22, 2375, 2376, 51678 to 51680.
    pub ports: BTreeSet<HostPort>,
    /// With ECS's own: `ecs.instance-type`, `ecs.availability-zone`, … Some of them may be open.
    pub attributes: Attributes,
    /// Dollars an hour.
    pub price: f64,
    /// How many may be had; `u64::MAX` where nothing but the fleet's maximum limits it.
    pub limit: u64,
}

/// An instance that is there, or one that is coming, with what of it is free.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Host {
    pub free: Resources,
    /// Host ports that are taken.
    pub ports: BTreeSet<HostPort>,
    /// Groups of `distinctInstance` that have a task here.
    pub groups: BTreeSet<String>,
    pub attributes: Attributes,
}

impl Kind {
    /// Whether an empty one may take at least one such task: size, ports and constraints.
    pub fn takes(&self, shape: &Shape) -> bool {
        self.capacity.times(&shape.need) > 0 && self.ports.is_disjoint(&shape.ports) && shape.allows(&self.attributes)
    }

    /// Whether every one that is launched does.
    pub fn surely_takes(&self, shape: &Shape) -> bool {
        self.takes(shape) && shape.suits(&self.attributes)
    }

    pub fn empty(&self) -> Host {
        Host {
            free: self.capacity,
            ports: self.ports.clone(),
            groups: BTreeSet::new(),
            attributes: self.attributes.clone(),
        }
    }
}

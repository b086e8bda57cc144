//! What the scaler is given: a cluster as it was seen at one moment.

use serde::Serialize;

use crate::constraint::Attributes;
use crate::price::Purchase;
use crate::shape::{Host, Kind, Shape};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// Seconds since 1970.
    pub now: i64,
    /// Of all tasks below, which name theirs by its index here.
    pub shapes: Vec<Shape>,
    pub services: Vec<Service>,
    /// Tasks without an instance, of services and standalone ones.
    pub waiting: Vec<Tasks>,
    pub fleets: Vec<Fleet>,
    pub instances: Vec<Instance>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Index in [`Cluster::shapes`].
    pub shape: usize,
    /// Tasks that are wanted.
    pub desired: u64,
}

/// So many tasks of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tasks {
    /// Index in [`Cluster::shapes`].
    pub shape: usize,
    pub count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    #[default]
    Active,
    /// Empties and goes.
    Inactive,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// What decisions call it.
    pub name: String,
    pub status: Status,
    /// Units of weight, as [`Offer::weight`] counts instances.
    pub min_weight: u64,
    /// Units of weight, of all that is there, draining or not.
    pub max_weight: u64,
    pub policy: Policy,
    /// It is on demand, and asked for something only where no Spot is to be had of this one, an index in [`Cluster::fleets`]; the maximum of
    /// that one is for both together.
    pub instead_of: Option<usize>,
    /// More is there than is asked for, as AWS replaces an instance that it ends thereafter: nothing is too much then.
    pub replacing: bool,
    /// Before this nothing is done that can wait, as it was written down: see [`crate::compatible::next_permitted`].
    pub next_permitted: Option<String>,
    /// Only with [`Metric::Compatible`]: the metric's average over the last four minutes; `None` where there is none.
    pub signal: Option<f64>,
    /// What its instances may carry for all that is known where none is there.
    pub unseen: Attributes,
    /// In the order of the file, which decides between those that cost the same.
    pub offers: Vec<Offer>,
}

impl Fleet {
    /// Whether instances of it are launched, and taken back, for tasks that wait.
    pub(crate) fn packs(&self) -> bool {
        self.status == Status::Active && self.policy.metric == Metric::Packed
    }

    /// Whether any of its types may.
    pub(crate) fn takes(&self, shape: &Shape) -> bool {
        self.offers.iter().any(|offer| offer.kind.takes(shape))
    }

    /// Whether any of its types does, whatever AWS gives its instances besides.
    pub(crate) fn surely_takes(&self, shape: &Shape) -> bool {
        self.offers.iter().any(|offer| offer.kind.surely_takes(shape))
    }
}

/// A type of instance that a fleet may have, bought one way.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    pub kind: Kind,
    pub purchase: Purchase,
    /// What one counts in the fleet's weights; 1 and more.
    pub weight: u64,
    /// There was no capacity, or an account's limit was reached: not asked for again before this, in seconds since 1970.
    pub short_until: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    /// Whole tasks on whole instances.
    #[default]
    Packed,
    /// ecs-cluster-deployer's fractional sum, and its scaler.
    Compatible,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub metric: Metric,
    /// Tasks: instances are added where fewer than this could still be scheduled; `task_threshold_out` of `infra.yml`.
    pub out_below: u64,
    /// Tasks: instances go where more than this could; `task_threshold_in`.
    pub in_above: u64,
    /// Units of weight that are added for that at a time.
    pub out_amount: u64,
    /// Units of weight that are taken away at a time, at most.
    pub in_amount: u64,
    /// Seconds between two changes that can wait.
    pub cooldown: i64,
}

impl Default for Policy {
    /// Room for at least one more of the largest task, and no more than for three.
    fn default() -> Self {
        Self { metric: Metric::Packed, out_below: 1, in_above: 3, out_amount: 1, in_amount: u64::MAX, cooldown: 60 }
    }
}

impl Policy {
    /// ecs-cluster-deployer's: thresholds of its stacks, its amounts and its cooldown.
    pub fn compatible() -> Self {
        Self { metric: Metric::Compatible, out_below: 3, in_above: 10, out_amount: 2, in_amount: 1, cooldown: 300 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Launched, and not yet registered.
    Starting,
    Active,
    Draining,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// It ends within two minutes.
    Interruption,
    /// It is more likely than others to be interrupted.
    Rebalance,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// What decisions call it.
    pub id: String,
    /// Index in [`Cluster::fleets`].
    pub fleet: usize,
    /// Index in [`Fleet::offers`].
    pub offer: usize,
    pub state: State,
    /// What is free; of one that starts, what will be.
    pub host: Host,
    /// Services' tasks on it.
    pub tasks: Vec<Tasks>,
    /// How many tasks of no service are on it: nobody starts others when these are stopped.
    pub standalone: u64,
    pub notice: Option<Notice>,
}

impl Instance {
    /// How many tasks are on it.
    pub fn running(&self) -> u64 {
        self.tasks.iter().map(|tasks| tasks.count).sum::<u64>() + self.standalone
    }
}

impl Cluster {
    pub(crate) fn offer(&self, instance: &Instance) -> &Offer {
        &self.fleets[instance.fleet].offers[instance.offer]
    }

    /// Whether nothing runs, nothing waits and nothing is wanted.
    pub fn idle(&self) -> bool {
        self.services.iter().all(|service| service.desired == 0)
            && self.waiting.iter().all(|tasks| tasks.count == 0)
            && self.instances.iter().all(|instance| instance.running() == 0)
    }
}

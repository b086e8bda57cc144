//! Which instances a cluster's fleets are to have: what was seen of AWS becomes what [`landfall_scaler`] decides about, and what it decides
//! becomes what is asked of AWS.
//!
//! ```text
//! Seen ─ view ─► scaler::Cluster ─ decide ─► Decision ─ acts ─► ECS, Auto Scaling
//! ```
//!
//! Nothing is remembered between two looks: what is there, and what is written down with the fleets, is all that counts. Whoever is cut off
//! between two acts loses nothing.

mod acts;
mod view;

use std::collections::BTreeMap;
use std::fmt;

use landfall_model::fleet::{ContainerInstance, FleetState, Schedulable, TypeFacts, Workload};
use landfall_scaler::cluster::Cluster;
use landfall_scaler::compatible::{NOTHING, Wanted, metric};
use landfall_scaler::decide::{Decision, decide, schedulable};
use landfall_scaler::price::Prices;
use landfall_stack::Id;

pub use self::acts::Act;
use crate::build::{STANDS_IN, Standing};
use crate::infra::{Infra, Metric};
use crate::names::Version;

/// An instance that has not registered so long after its launch will not.
pub const REGISTERS: i64 = 900;
/// A fleet whose launch failed is not asked again so long, where others can do.
pub const SHORT: i64 = 300;

/// One look.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub infra: &'a Infra,
    pub prices: &'a Prices,
    /// Seconds since 1970.
    pub now: i64,
    pub units: &'a [Unit],
    /// Of the whole cluster.
    pub instances: &'a [ContainerInstance],
    pub workload: &'a Workload,
    /// By name: of the types that the table of prices does not have.
    pub types: &'a BTreeMap<String, TypeFacts>,
    /// Of the metric over the last four minutes; only `metric: compatible` asks.
    pub average: Option<f64>,
}

/// A fleet or group of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub version: Version,
    pub standing: Standing,
    pub called: Called,
    pub state: FleetState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// As in `infra.yml`.
    pub name: String,
    /// It stands in for the fleet of that name where no Spot is to be had.
    pub stands_in: bool,
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.stands_in { " (on demand)" } else { "" })
    }
}

impl Unit {
    /// Versions that are tested, and those that failed, are whoever's deploys them.
    pub fn counts(standing: Standing) -> bool {
        !matches!(standing, Standing::Testing | Standing::Failed)
    }
}

/// What is to be done, why, and what to tell.
#[derive(Debug, Clone)]
pub struct Round {
    pub decision: Decision,
    /// How many more of the largest task could be placed now; `None`: nothing is wanted.
    pub schedulable: Option<u64>,
    pub acts: Vec<Act>,
    pub metrics: Schedulable,
    /// What cannot be taken into account, and what nobody waits for any more.
    pub notes: Vec<String>,
}

impl Round {
    pub fn of(seen: &Seen<'_>) -> Self {
        let view::View { cluster, notes } = view::view(seen);
        let decision = decide(&cluster);
        let acts = acts::acts(seen, &cluster, &decision);
        let schedulable = schedulable(&cluster);
        let metrics = metrics(seen, &cluster, schedulable);
        Self { decision, schedulable, acts, metrics, notes }
    }
}

/// As ecs-cluster-deployer published them. With `metric: compatible` its own sum of fractions, else whole tasks.
fn metrics(seen: &Seen<'_>, cluster: &Cluster, schedulable: Option<u64>) -> Schedulable {
    if seen.infra.metric == Metric::Packed {
        let wanted = cluster.services.iter().map(|service| service.desired).sum::<u64>() as f64;
        let Some(tasks) = schedulable else { return Schedulable { tasks: NOTHING, scheduled: 0.0 } };
        let scheduled = if wanted > 0.0 { wanted / (wanted + tasks as f64) } else { 0.0 };
        return Schedulable { tasks: tasks as f64, scheduled };
    }
    let services = seen.workload.services.iter().filter_map(|service| {
        let (cpu, memory) = seen.workload.needs.get(&service.definition)?.pod;
        Some(Wanted { cpu, memory, desired: service.desired })
    });
    let services: Vec<Wanted> = services.collect();
    let active = seen.instances.iter().filter(|instance| instance.status == "ACTIVE");
    let remaining: Vec<(u64, u64)> =
        active.map(|instance| (instance.remaining.cpu, instance.remaining.memory)).collect();
    let told = metric(&services, &remaining);
    Schedulable { tasks: told.schedulable, scheduled: told.scheduled }
}

/// What a resource of a version's stack is called in `infra.yml`; `None`: it is no fleet and no group. One that the file does not have any
/// more is called as the stack calls it.
pub fn called(infra: &Infra, resource: &str, kind: &str) -> Option<Called> {
    if !matches!(kind, "AWS::AutoScaling::AutoScalingGroup" | "AWS::EC2::SpotFleet") {
        return None;
    }
    let fleets = infra.fleets.iter().flat_map(|one| [(&one.name, "Fleet"), (&one.name, STANDS_IN)]);
    let mut named = fleets.chain(infra.groups.iter().map(|one| (&one.name, "Group")));
    let own = named.find(|(name, kind)| Id::of(&[name, kind]).to_string() == resource);
    let (name, kind) = own.map_or((resource, kind), |(name, kind)| (name.as_str(), kind));
    Some(Called { name: name.to_owned(), stands_in: kind == STANDS_IN })
}

/// Seconds: over so many the metric is averaged.
pub const AVERAGE_OVER: u32 = 240;

#[cfg(test)]
mod tests;

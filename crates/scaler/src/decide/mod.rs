//! What to do about a cluster's instances, and why. A pure function of what was seen: [`decide`].
//!
//! In this order, every time anew:
//!
//! 1. Instances with a notice are drained at once; their tasks count as waiting.
//! 2. What waits is placed on what is there and on what is starting. For the rest instances that drain are taken back, then
//!    instances are launched, all active fleets' types together, cheapest first. This does not wait for a cooldown: what
//!    starts counts, so nothing is asked for twice.
//! 3. Room below the threshold is added to, above it instances go, each fleet by the room on its own instances, once its
//!    cooldown is over. Those go that have the fewest tasks to move; only where every one of them has room elsewhere. A fleet
//!    stays as it is while a task waits that had no room and that a type of its own would take: tasks that it could never
//!    run do not hold it up.
//! 4. What has drained is terminated. Inactive fleets drain as far as there is room for their tasks, and are gone when empty.
//!
//! What neither drains nor has a notice is never taken below the minimum. All that is there, draining or not, never grows above
//! the maximum: at the maximum a successor waits until what drains is gone. Standalone tasks are never moved: nobody would
//! start them again.

mod compat;
mod instead;
mod inward;
mod outward;
mod reason;
mod vain;

use serde::Serialize;

pub use self::reason::Reason;
use crate::cluster::{Cluster, Instance, Metric, State, Status};
use crate::pack::Rooms;

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Decision {
    /// One for each fleet, in their order.
    pub fleets: Vec<Change>,
    /// What concerns no fleet in particular.
    pub reasons: Vec<Reason>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Change {
    /// Its name.
    pub fleet: String,
    /// Units of weight that the fleet has once all this is done.
    pub target: u64,
    /// Index in [`crate::cluster::Fleet::offers`], and how many instances.
    pub launch: Vec<(usize, u64)>,
    /// Ids of instances.
    pub drain: Vec<String>,
    /// Ids of draining instances that are active again.
    pub undrain: Vec<String>,
    /// Ids of instances.
    pub terminate: Vec<String>,
    /// To be written down where it is given, for [`crate::cluster::Fleet::next_permitted`]: seconds since 1970.
    pub next_permitted: Option<i64>,
    /// Nothing is left of an inactive fleet.
    pub delete: bool,
    pub reasons: Vec<Reason>,
}

impl Change {
    pub fn launched(&self) -> u64 {
        self.launch.iter().map(|(_, count)| count).sum()
    }
}

impl Decision {
    pub fn is_nothing(&self) -> bool {
        self.fleets.iter().all(|fleet| {
            fleet.launch.is_empty()
                && fleet.drain.is_empty()
                && fleet.undrain.is_empty()
                && fleet.terminate.is_empty()
                && !fleet.delete
        })
    }
}

pub fn decide(cluster: &Cluster) -> Decision {
    let mut work = Work::new(cluster);
    work.notices();
    let beyond = work.outward();
    for (fleet, own) in cluster.fleets.iter().enumerate().filter(|(_, own)| own.status == Status::Active) {
        match own.policy.metric {
            Metric::Compatible => work.compatible(fleet),
            Metric::Packed => work.room(fleet, &beyond),
        }
    }
    work.terminate();
    work.done()
}

/// How many more of the largest task, that of which the fewest fit, have room on the instances that are there and stay. `None`: nothing is
/// wanted, and nothing waits.
pub fn schedulable(cluster: &Cluster) -> Option<u64> {
    let mut work = Work::new(cluster);
    let there = |host: &usize| cluster.instances[work.hosts[*host]].state == State::Active;
    let there: Vec<usize> = (0..work.hosts.len()).filter(there).collect();
    std::mem::take(&mut work.relevant).into_iter().map(|shape| work.rooms.room_on(shape, &there)).min()
}

/// A decision in the making.
struct Work<'a> {
    cluster: &'a Cluster,
    changes: Vec<Change>,
    reasons: Vec<Reason>,
    /// What tasks can be placed on: active fleets' instances, those that are there, and then those that start.
    rooms: Rooms<'a>,
    /// Of a host in `rooms`, the instance; of an instance, its host in `rooms`.
    hosts: Vec<usize>,
    host: Vec<Option<usize>>,
    /// Instances that stay: they are in the fleet's weight.
    stays: Vec<bool>,
    /// Instances that show that tasks which wait find on others like them not what they ask for: without them nobody would know.
    proof: Vec<bool>,
    /// Of each fleet, the weight of an instance whose tasks go to it from what stands in for it.
    returning: Vec<u64>,
    /// Of each fleet, the weight of all its instances.
    there: Vec<u64>,
    /// What counts for the metric: of services that want tasks, and of what waits.
    relevant: Vec<usize>,
    idle: bool,
}

impl<'a> Work<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let stays = |instance: &Instance| {
            let active = cluster.fleets[instance.fleet].status == Status::Active;
            active && instance.notice.is_none() && instance.state != State::Draining
        };
        let mut hosts: Vec<usize> =
            (0..cluster.instances.len()).filter(|index| stays(&cluster.instances[*index])).collect();
        // The fullest first, as `binpack` has it, so that what can become empty does; what only starts comes last.
        let key = |index: usize| {
            let instance = &cluster.instances[index];
            (instance.state == State::Starting, instance.running() == 0, instance.host.free.memory)
        };
        hosts.sort_by(|a, b| {
            key(*a).cmp(&key(*b)).then_with(|| cluster.instances[*a].id.cmp(&cluster.instances[*b].id))
        });
        let mut host = vec![None; cluster.instances.len()];
        for (at, index) in hosts.iter().enumerate() {
            host[*index] = Some(at);
        }
        let rooms = Rooms::new(&cluster.shapes, hosts.iter().map(|index| &cluster.instances[*index].host));
        let mut relevant: Vec<usize> = cluster
            .services
            .iter()
            .filter(|service| service.desired > 0)
            .map(|service| service.shape)
            .chain(cluster.waiting.iter().filter(|tasks| tasks.count > 0).map(|tasks| tasks.shape))
            .collect();
        relevant.sort_unstable();
        relevant.dedup();
        let mut there = vec![0u64; cluster.fleets.len()];
        for instance in &cluster.instances {
            there[instance.fleet] = there[instance.fleet].saturating_add(cluster.offer(instance).weight);
        }
        let changes = cluster.fleets.iter().map(|fleet| Change { fleet: fleet.name.clone(), ..Change::default() });
        Self {
            cluster,
            changes: changes.collect(),
            reasons: Vec::new(),
            rooms,
            hosts,
            host,
            stays: cluster.instances.iter().map(stays).collect(),
            proof: vec![false; cluster.instances.len()],
            returning: vec![0; cluster.fleets.len()],
            there,
            relevant,
            idle: cluster.idle(),
        }
    }

    fn notices(&mut self) {
        for instance in &self.cluster.instances {
            if let (Some(notice), true) = (instance.notice, instance.state != State::Draining) {
                let change = &mut self.changes[instance.fleet];
                if instance.state == State::Active {
                    change.drain.push(instance.id.clone());
                    change.reasons.push(Reason::Notice { instance: instance.id.clone(), notice });
                }
            }
        }
    }

    /// Of each shape: what waits, and what is about to.
    fn demand(&self) -> Vec<u64> {
        let mut demand = vec![0; self.cluster.shapes.len()];
        for tasks in &self.cluster.waiting {
            demand[tasks.shape] += tasks.count;
        }
        for instance in &self.cluster.instances {
            // Of those that drain already ECS has started others: they wait by themselves, or run.
            if instance.state == State::Active && instance.notice.is_some() {
                instance.tasks.iter().for_each(|tasks| demand[tasks.shape] += tasks.count);
            }
        }
        demand
    }

    /// How much more a fleet may weigh: what drains is there until it is gone. What stands in for another leaves room for what that one has at
    /// least, and what goes from the one to the other is in both for a while.
    fn headroom(&self, fleet: usize) -> u64 {
        let all = &self.cluster.fleets;
        let spot = all[fleet].instead_of.unwrap_or(fleet);
        let weight = |one: usize| {
            let least = if one == spot && one != fleet { all[one].min_weight } else { 0 };
            self.there[one].saturating_add(self.launched(one)).max(least)
        };
        let both = self.both(spot).map(weight).fold(0, u64::saturating_add);
        let most = all[fleet].max_weight.min(all[spot].max_weight);
        most.saturating_add(self.returning[fleet]).saturating_sub(both)
    }

    /// A fleet, and what stands in for it.
    fn both(&self, spot: usize) -> impl Iterator<Item = usize> {
        let own = move |one: &usize| *one == spot || self.cluster.fleets[*one].instead_of == Some(spot);
        (0..self.cluster.fleets.len()).filter(own)
    }

    fn launched(&self, fleet: usize) -> u64 {
        let launched = self.changes[fleet].launch.iter();
        launched
            .map(|(offer, count)| self.cluster.fleets[fleet].offers[*offer].weight.saturating_mul(*count))
            .fold(0, u64::saturating_add)
    }

    /// A fleet's weight once all that is decided so far is done.
    fn weight(&self, fleet: usize) -> u64 {
        let stay = self.cluster.instances.iter().zip(&self.stays);
        let stay = stay.filter(|(instance, stays)| **stays && instance.fleet == fleet);
        stay.map(|(instance, _)| self.cluster.offer(instance).weight).sum::<u64>().saturating_add(self.launched(fleet))
    }

    /// Room ahead of need: more of it, or less. What has just been asked for is not judged before it is there.
    fn room(&mut self, fleet: usize, beyond: &[u64]) {
        // What stands in keeps no room; where Spot is to be had it goes as its tasks do.
        match self.cluster.fleets[fleet].instead_of {
            Some(spot) if self.is_short(spot) && !self.waited_for(fleet, beyond) => {
                return self.inward(fleet, Vec::new());
            }
            Some(_) => return,
            None => {}
        }
        let change = &self.changes[fleet];
        if change.launch.is_empty() && change.undrain.is_empty() {
            let room = self.schedulable(fleet);
            if !self.little_room(fleet, &room) && !self.waited_for(fleet, beyond) {
                self.inward(fleet, room);
            }
        }
    }

    /// Whether tasks that had no room on what is there could run on this fleet.
    fn waited_for(&self, fleet: usize, beyond: &[u64]) -> bool {
        let waiting = self.cluster.shapes.iter().zip(beyond).filter(|(_, count)| **count > 0);
        waiting.map(|(shape, _)| shape).any(|shape| self.cluster.fleets[fleet].takes(shape))
    }

    /// Of each shape that counts, how many more have room on the fleet's instances; without those that it could never run,
    /// which it has nothing to do with, and those that it might: nobody can launch room for them ahead.
    fn schedulable(&mut self, fleet: usize) -> Vec<(usize, u64)> {
        let own: Vec<usize> =
            (0..self.hosts.len()).filter(|host| self.cluster.instances[self.hosts[*host]].fleet == fleet).collect();
        let takes = |shape: &&usize| self.cluster.fleets[fleet].surely_takes(&self.cluster.shapes[**shape]);
        let relevant = self.relevant.iter().filter(takes);
        relevant.map(|shape| (*shape, self.rooms.room_on(*shape, &own))).collect()
    }

    fn stamp(&mut self, fleet: usize) {
        let policy = &self.cluster.fleets[fleet].policy;
        self.changes[fleet].next_permitted = Some(self.cluster.now.saturating_add(policy.cooldown));
    }

    fn terminate(&mut self) {
        for instance in &self.cluster.instances {
            let change = &mut self.changes[instance.fleet];
            if instance.state == State::Draining && instance.running() == 0 && !change.undrain.contains(&instance.id) {
                change.terminate.push(instance.id.clone());
                change.reasons.push(Reason::Drained { instance: instance.id.clone() });
            }
        }
    }

    fn done(mut self) -> Decision {
        for fleet in 0..self.changes.len() {
            self.changes[fleet].target = self.weight(fleet);
        }
        Decision { fleets: self.changes, reasons: self.reasons }
    }
}

//! What stands in for Spot: back to it once it is to be had again.

use super::{Reason, Work};
use crate::cluster::{Instance, State, Status};

impl Work<'_> {
    /// No Spot is to be had of this fleet.
    pub(super) fn is_short(&self, fleet: usize) -> bool {
        let now = self.cluster.now;
        let mut own = self.cluster.fleets[fleet].offers.iter().filter(|offer| offer.kind.limit > 0);
        own.all(|offer| offer.short_until.is_some_and(|until| until > now))
    }

    /// Instances that stand in for Spot where that is to be had again, one with tasks after the other: drained where these have room, else room
    /// is asked for.
    pub(super) fn returns(&mut self, left: &mut [u64]) {
        let cluster = self.cluster;
        for (fleet, own) in cluster.fleets.iter().enumerate().filter(|(_, own)| own.status == Status::Active) {
            let Some(spot) = own.instead_of.filter(|spot| !self.is_short(*spot)) else { continue };
            let moves = |one: &Instance| match one.state {
                State::Starting => one.fleet == spot || one.fleet == fleet,
                State::Draining => one.fleet == fleet,
                State::Active => false,
            };
            let mut waits = cluster.instances.iter().any(moves);
            let mut goes: Vec<usize> = (0..cluster.instances.len())
                .filter(|index| {
                    let one = &cluster.instances[*index];
                    one.fleet == fleet && one.state == State::Active && self.stays[*index] && one.standalone == 0
                })
                .collect();
            goes.sort_by_key(|index| (cluster.instances[*index].running(), &cluster.instances[*index].id));
            for index in goes {
                let instance = &cluster.instances[index];
                let busy = instance.running() > 0;
                if busy && std::mem::replace(&mut waits, true) {
                    break;
                }
                if self.goes_to_spot(index) {
                    self.changes[fleet].drain.push(instance.id.clone());
                } else if busy {
                    instance.tasks.iter().for_each(|tasks| left[tasks.shape] += tasks.count);
                    self.returning[spot] = cluster.offer(instance).weight;
                }
                self.changes[fleet].reasons.push(Reason::Returns { instance: instance.id.clone() });
            }
        }
    }

    /// Takes the instance away if its tasks have room on others that are there, and do not stand in themselves.
    fn goes_to_spot(&mut self, index: usize) -> bool {
        let cluster = self.cluster;
        let (instance, Some(host)) = (&cluster.instances[index], self.host[index]) else { return false };
        let mut tasks: Vec<(usize, u64)> = instance.tasks.iter().map(|tasks| (tasks.shape, tasks.count)).collect();
        tasks.extend(self.rooms.on(host));
        let others: Vec<usize> = (0..self.hosts.len())
            .filter(|other| {
                let one = &cluster.instances[self.hosts[*other]];
                one.fleet == instance.fleet || one.state != State::Active
            })
            .filter(|other| !self.rooms.is_gone(*other))
            .collect();
        let mark = self.rooms.mark();
        others.iter().for_each(|other| self.rooms.gone(*other, true));
        let stay: u64 = tasks.iter().map(|(shape, count)| self.rooms.move_here(*shape, *count)).sum();
        if stay > 0 {
            self.rooms.back(&mark);
        }
        others.iter().for_each(|other| self.rooms.gone(*other, false));
        self.rooms.look_again(&mark);
        if stay == 0 {
            self.rooms.gone(host, true);
            self.stays[index] = false;
        }
        stay == 0
    }
}

//! Less: instances whose tasks have room elsewhere, those that are cheapest to drain first.

use super::{Reason, Work};
use crate::cluster::State;
use crate::compatible::permitted;

/// So many instances whose tasks found no room elsewhere end the search: the fuller ones will not either.
const TRIES: usize = 32;
/// Of a fleet's instances with tasks, how many are drained at a time: a tenth, or this where that is more.
const AT_ONCE: usize = 10;

/// How far a fleet goes in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inward {
    /// Only as long as more than this can be scheduled.
    pub(super) above: u64,
    /// And never so that fewer than this can.
    pub(super) keep: u64,
    /// Weight, at most; where instances weigh more, one.
    pub(super) amount: u64,
    /// Down to this, whatever can be scheduled.
    pub(super) down_to: u64,
}

impl Work<'_> {
    pub(super) fn inward(&mut self, fleet: usize) {
        let own = &self.cluster.fleets[fleet];
        let policy = &own.policy;
        let weight = self.weight(fleet);
        let over = weight > own.max_weight;
        if !over && !self.idle && self.schedulable(Some(fleet)) <= policy.in_above {
            return;
        }
        if weight <= own.min_weight.min(own.max_weight) {
            return;
        }
        if let Err(until) = permitted(own.next_permitted.as_deref(), self.cluster.now) {
            self.changes[fleet].reasons.push(Reason::Cooldown { until });
            return;
        }
        let how = Inward {
            above: policy.in_above,
            keep: policy.out_below,
            amount: policy.in_amount,
            down_to: if over { own.max_weight } else { u64::MAX },
        };
        if over {
            self.changes[fleet].reasons.push(Reason::AboveMaximum { weight, maximum: own.max_weight });
        }
        if self.shrink(fleet, how) {
            self.stamp(fleet);
        }
    }

    /// Drains what can go; whether anything does.
    pub(super) fn shrink(&mut self, fleet: usize, how: Inward) -> bool {
        let cluster = self.cluster;
        let mut candidates: Vec<usize> = (0..cluster.instances.len())
            .filter(|index| {
                let instance = &cluster.instances[*index];
                instance.fleet == fleet
                    && self.stays[*index]
                    && instance.state == State::Active
                    && instance.standalone() == 0
            })
            .collect();
        // The fewest tasks to move; of those the dearest; then always the same.
        candidates.sort_by(|a, b| {
            let (a, b) = (&cluster.instances[*a], &cluster.instances[*b]);
            (a.running().cmp(&b.running()))
                .then_with(|| cluster.offer(b).kind.price.total_cmp(&cluster.offer(a).kind.price))
                .then_with(|| a.id.cmp(&b.id))
        });
        let minimum = cluster.fleets[fleet].min_weight.min(cluster.fleets[fleet].max_weight);
        let busy = candidates.iter().filter(|index| cluster.instances[**index].running() > 0).count();
        let mut at_once = (busy / 10).max(AT_ONCE);
        let (mut weight, mut gone, mut tries) = (self.weight(fleet), 0, 0);
        let mut room = self.schedulable_each(Some(fleet));
        for index in candidates {
            let own = cluster.offer(&cluster.instances[index]).weight;
            let enough = room.iter().any(|(_, count)| *count <= how.above) && !self.idle;
            if tries > TRIES || at_once == 0 || gone >= how.amount || enough && weight <= how.down_to {
                break;
            }
            if weight < minimum.saturating_add(own) || gone > 0 && gone.saturating_add(own) > how.amount {
                continue;
            }
            let forced = weight > how.down_to;
            let keep = if forced || self.idle { 0 } else { how.keep };
            match self.try_without(index, &room, keep) {
                None => tries += 1,
                Some(after) => {
                    room = after;
                    weight -= own;
                    gone += own;
                    self.stays[index] = false;
                    let instance = &cluster.instances[index];
                    at_once -= usize::from(instance.running() > 0);
                    let id = instance.id.clone();
                    let change = &mut self.changes[fleet];
                    change.drain.push(id.clone());
                    change.reasons.push(match self.idle {
                        true => Reason::Idle { instance: id },
                        false => Reason::Spare { instance: id, tasks: instance.running() },
                    });
                }
            }
        }
        gone > 0
    }

    /// Takes the instance away if its tasks have room on others and `keep` of each remains; what then can be scheduled.
    fn try_without(&mut self, index: usize, room: &[(usize, u64)], keep: u64) -> Option<Vec<(usize, u64)>> {
        let instance = &self.cluster.instances[index];
        let host = self.host[index]?;
        let mut after = room.to_vec();
        for (shape, count) in &mut after {
            *count = count.saturating_sub(self.rooms.room_at(*shape, host));
        }
        if after.iter().any(|(_, count)| *count < keep) {
            return None;
        }
        self.rooms.gone(host, true);
        let mark = self.rooms.mark();
        // Its own tasks, and those that were to come here.
        let mut tasks: Vec<(usize, u64)> = Self::moves(instance).map(|tasks| (tasks.shape, tasks.count)).collect();
        tasks.extend(self.rooms.on(host));
        let unplaced = |work: &mut Self| tasks.iter().map(|(shape, count)| work.rooms.put(*shape, *count)).sum::<u64>();
        let left = unplaced(self);
        let mut used: Vec<usize> = self.rooms.used(mark).collect();
        used.sort_unstable();
        used.dedup();
        // Only hosts that took something have other room now. Those of other fleets are not in this fleet's.
        let fleet = instance.fleet;
        used.retain(|host| self.cluster.instances[self.hosts[*host]].fleet == fleet);
        self.rooms.back(mark);
        if left == 0 && !used.is_empty() {
            let sum =
                |work: &mut Self, shape: usize| used.iter().map(|host| work.rooms.room_at(shape, *host)).sum::<u64>();
            let before: Vec<u64> = after.iter().map(|(shape, _)| sum(self, *shape)).collect();
            unplaced(self);
            for ((shape, count), before) in after.iter_mut().zip(before) {
                *count = (*count + sum(self, *shape)).saturating_sub(before);
            }
        } else if left == 0 {
            unplaced(self);
        }
        if left > 0 || after.iter().any(|(_, count)| *count < keep) {
            self.rooms.back(mark);
            self.rooms.gone(host, false);
            return None;
        }
        Some(after)
    }
}

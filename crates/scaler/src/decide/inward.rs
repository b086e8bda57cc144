//! Less: instances whose tasks have room elsewhere, those that are cheapest to drain first.

use super::{Reason, Work};
use crate::cluster::State;
use crate::compatible::permitted;

/// So many instances whose tasks found no room elsewhere end the search: the fuller ones will not either.
const TRIES: usize = 32;
/// Of a fleet's instances with tasks, how many are drained at a time: a tenth, or this where that is more.
const AT_ONCE: usize = 10;

impl Work<'_> {
    /// `room`: of each shape, how many can be scheduled on the fleet.
    pub(super) fn inward(&mut self, fleet: usize, room: Vec<(usize, u64)>) {
        let own = &self.cluster.fleets[fleet];
        if own.replacing {
            return;
        }
        let policy = &own.policy;
        let weight = self.weight(fleet);
        let over = weight > own.max_weight;
        if !over && !self.idle && room.iter().any(|(_, count)| *count <= policy.in_above) {
            return;
        }
        if weight <= own.min_weight.min(own.max_weight) {
            return;
        }
        if let Err(until) = permitted(own.next_permitted.as_deref(), self.cluster.now) {
            self.changes[fleet].reasons.push(Reason::Cooldown { until });
            return;
        }
        let mut down_to = u64::MAX;
        if over {
            down_to = own.max_weight;
            self.changes[fleet].reasons.push(Reason::AboveMaximum { weight, maximum: down_to });
        }
        if self.shrink(fleet, room, policy.in_amount, down_to) {
            self.stamp(fleet);
        }
    }

    /// Drains what can go, a weight of `amount` at most, or one instance where that weighs more; whether anything does. Down
    /// to the weight `down_to` whatever can be scheduled then, further only as the policy's thresholds have it.
    pub(super) fn shrink(&mut self, fleet: usize, mut room: Vec<(usize, u64)>, amount: u64, down_to: u64) -> bool {
        let cluster = self.cluster;
        let policy = &cluster.fleets[fleet].policy;
        let mut candidates: Vec<usize> = (0..cluster.instances.len())
            .filter(|index| {
                let instance = &cluster.instances[*index];
                instance.fleet == fleet
                    && self.stays[*index]
                    && instance.state == State::Active
                    && instance.standalone == 0
                    && !self.proof[*index]
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
        for index in candidates {
            let own = cluster.offer(&cluster.instances[index]).weight;
            let forced = weight > down_to;
            let enough = room.iter().any(|(_, count)| *count <= policy.in_above) && !self.idle;
            if tries > TRIES || at_once == 0 || gone >= amount || enough && !forced {
                break;
            }
            if weight < minimum.saturating_add(own) || gone > 0 && gone.saturating_add(own) > amount {
                continue;
            }
            let keep = if forced || self.idle { 0 } else { policy.out_below };
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
            *count = count.saturating_sub(self.rooms.room_on(*shape, &[host]));
        }
        if after.iter().any(|(_, count)| *count < keep) {
            return None;
        }
        let mark = self.rooms.mark();
        self.rooms.gone(host, true);
        // Its own tasks, and those that were to come here.
        let mut tasks: Vec<(usize, u64)> = instance.tasks.iter().map(|tasks| (tasks.shape, tasks.count)).collect();
        tasks.extend(self.rooms.on(host));
        let unplaced =
            |work: &mut Self| tasks.iter().map(|(shape, count)| work.rooms.move_here(*shape, *count)).sum::<u64>();
        let left = unplaced(self);
        let mut used: Vec<usize> = self.rooms.used(&mark).collect();
        used.sort_unstable();
        used.dedup();
        // Only hosts that took something have other room now. Those of other fleets are not in this fleet's.
        let fleet = instance.fleet;
        used.retain(|host| self.cluster.instances[self.hosts[*host]].fleet == fleet);
        self.rooms.back(&mark);
        if left == 0 && !used.is_empty() {
            let before: Vec<u64> = after.iter().map(|(shape, _)| self.rooms.room_on(*shape, &used)).collect();
            unplaced(self);
            for ((shape, count), before) in after.iter_mut().zip(before) {
                *count = (*count + self.rooms.room_on(*shape, &used)).saturating_sub(before);
            }
        } else if left == 0 {
            unplaced(self);
        }
        if left > 0 || after.iter().any(|(_, count)| *count < keep) {
            self.rooms.back(&mark);
            self.rooms.gone(host, false);
            return None;
        }
        Some(after)
    }
}

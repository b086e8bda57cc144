//! More: for what waits, for a fleet's minimum, and for room ahead of need.

use super::{Reason, Work};
use crate::cluster::{Fleet, Offer, State, Status};
use crate::compatible::permitted;
use crate::pack::{need, place};
use crate::price::Purchase;
use crate::shape::Kind;

impl Work<'_> {
    /// Places what waits, drains what inactive fleets can let go, and launches for the rest. Of each shape, how many had no
    /// room on what is there.
    pub(super) fn outward(&mut self) -> Vec<u64> {
        let demand = self.demand();
        let mut left = self.rooms.put_all(&demand);
        self.inactive(&mut left);
        let mut beyond = left.clone();
        self.returns(&mut left);
        if left.iter().any(|left| *left > 0) {
            self.take_back(&mut left);
            let vain = self.in_vain(&mut left);
            self.launch(&mut left);
            self.not_served(&left);
            for (at, count, instances) in vain {
                beyond[at] = 0;
                let shape = self.cluster.shapes[at].name.clone();
                self.reasons.push(Reason::Missed { shape, tasks: count, instances });
            }
        }
        for fleet in 0..self.cluster.fleets.len() {
            self.minimum(fleet);
        }
        beyond
    }

    /// Every instance of an inactive fleet that can be drained; what has no room yet is added to what is left.
    fn inactive(&mut self, left: &mut [u64]) {
        let cluster = self.cluster;
        for (fleet, _) in cluster.fleets.iter().enumerate().filter(|(_, fleet)| fleet.status == Status::Inactive) {
            let mut own = cluster.instances.iter().filter(|instance| instance.fleet == fleet).peekable();
            if own.peek().is_none() {
                self.changes[fleet].delete = true;
                self.changes[fleet].reasons.push(Reason::Gone);
            }
            for instance in own.filter(|instance| instance.notice.is_none()) {
                let id = instance.id.clone();
                match instance.state {
                    State::Draining => {}
                    State::Starting => {
                        self.changes[fleet].terminate.push(id.clone());
                        self.changes[fleet].reasons.push(Reason::NotNeeded { instance: id });
                    }
                    State::Active => {
                        let mark = self.rooms.mark();
                        let tasks = instance.tasks.iter();
                        let stay: u64 = tasks.map(|tasks| self.rooms.move_here(tasks.shape, tasks.count)).sum();
                        if stay == 0 {
                            self.changes[fleet].drain.push(id.clone());
                            self.changes[fleet].reasons.push(Reason::Inactive { instance: id });
                        } else {
                            self.rooms.back(&mark);
                            instance.tasks.iter().for_each(|tasks| left[tasks.shape] += tasks.count);
                            self.changes[fleet].reasons.push(Reason::NoRoomElsewhere { instance: id, tasks: stay });
                        }
                    }
                }
            }
        }
    }

    /// Instances that drain and need not, one by one.
    fn take_back(&mut self, left: &mut Vec<u64>) {
        let cluster = self.cluster;
        for (index, instance) in cluster.instances.iter().enumerate() {
            let fleet = &cluster.fleets[instance.fleet];
            if instance.state != State::Draining || instance.notice.is_some() || !fleet.packs() {
                continue;
            }
            let placed = place(&cluster.shapes, left, std::slice::from_ref(&instance.host));
            let spot = fleet.instead_of.unwrap_or(instance.fleet);
            let both = self.both(spot).map(|one| self.weight(one)).fold(0, u64::saturating_add);
            let weight = both.saturating_add(cluster.offer(instance).weight);
            let open = fleet.instead_of.is_none_or(|spot| self.is_short(spot));
            if placed.left == *left || weight > fleet.max_weight || !open {
                continue;
            }
            *left = placed.left;
            self.stays[index] = true;
            self.changes[instance.fleet].undrain.push(instance.id.clone());
            self.changes[instance.fleet].reasons.push(Reason::Needed { instance: instance.id.clone() });
        }
    }

    /// Whether it may be asked for now.
    fn open(&self, fleet: usize, offer: &Offer) -> bool {
        let short = offer.short_until.is_some_and(|until| until > self.cluster.now);
        !short && self.cluster.fleets[fleet].instead_of.is_none_or(|spot| self.is_short(spot))
    }

    fn launch(&mut self, left: &mut [u64]) {
        let cluster = self.cluster;
        let offers: Vec<(usize, usize)> = (0..cluster.fleets.len())
            .filter(|fleet| cluster.fleets[*fleet].packs())
            .flat_map(|fleet| (0..cluster.fleets[fleet].offers.len()).map(move |offer| (fleet, offer)))
            .filter(|(fleet, offer)| self.open(*fleet, &cluster.fleets[*fleet].offers[*offer]))
            .collect();
        // Fleets' maxima are shared by their types: what goes beyond one is packed again on what remains.
        for _ in 0..=offers.len() {
            let mut kinds: Vec<Kind> = Vec::new();
            for (fleet, offer) in &offers {
                let Offer { kind, weight, .. } = &cluster.fleets[*fleet].offers[*offer];
                let more = self.headroom(*fleet) / (*weight).max(1);
                let had = self.changes[*fleet].launch.iter().find(|(which, _)| which == offer).map_or(0, |(_, n)| *n);
                kinds.push(Kind { limit: more.min(kind.limit.saturating_sub(had)), ..kind.clone() });
            }
            let packing = need(&cluster.shapes, left, &kinds);
            if packing.bins.is_empty() {
                break;
            }
            for bin in packing.bins {
                let (fleet, offer) = offers[bin.kind];
                let weight = cluster.fleets[fleet].offers[offer].weight;
                let more = self.headroom(fleet) / weight.max(1);
                let count = bin.count.min(more);
                if count == 0 {
                    continue;
                }
                let tasks: u64 = bin.tasks.iter().map(|(_, each)| each * count).sum();
                bin.tasks.iter().for_each(|(shape, each)| left[*shape] -= each * count);
                self.ask(fleet, offer, count);
                let reasons = &mut self.changes[fleet].reasons;
                match reasons.iter_mut().find_map(|reason| match reason {
                    Reason::Waiting { tasks, instances } => Some((tasks, instances)),
                    _ => None,
                }) {
                    Some((waiting, instances)) => {
                        *waiting += tasks;
                        *instances += count;
                    }
                    None => reasons.push(Reason::Waiting { tasks, instances: count }),
                }
            }
            if left.iter().all(|left| *left == 0) {
                break;
            }
        }
    }

    /// Launches, stamps, and says where it is not what would have been taken otherwise.
    fn ask(&mut self, fleet: usize, offer: usize, count: u64) {
        let now = self.cluster.now;
        let offers = &self.cluster.fleets[fleet].offers;
        let launch = &mut self.changes[fleet].launch;
        match launch.iter_mut().find(|(which, _)| *which == offer) {
            Some((_, more)) => *more += count,
            None => launch.push((offer, count)),
        }
        self.stamp(fleet);
        let mut add = |reason: Reason| {
            let reasons = &mut self.changes[fleet].reasons;
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        };
        let asked = &offers[offer];
        let spot = self.cluster.fleets[fleet].instead_of;
        let others = offers.iter().chain(spot.into_iter().flat_map(|spot| &self.cluster.fleets[spot].offers));
        for other in others.filter(|other| other.short_until.is_some_and(|until| until > now)) {
            if other.kind.price <= asked.kind.price || other.purchase == Purchase::Spot {
                add(Reason::Short { kind: other.kind.name.clone() });
            }
        }
        if spot.is_some() {
            add(Reason::OnDemand);
        }
    }

    fn not_served(&mut self, left: &[u64]) {
        let cluster = self.cluster;
        let (mut at_maximum, mut by_metric) = (0, 0);
        for (shape, left) in cluster.shapes.iter().zip(left).filter(|(_, left)| **left > 0) {
            let takes = cluster.fleets.iter().filter(|fleet| fleet.status == Status::Active && fleet.takes(shape));
            let takes = takes.filter(|fleet| fleet.instead_of.is_none());
            let packs: Vec<bool> = takes.map(Fleet::packs).collect();
            if packs.is_empty() {
                self.reasons.push(Reason::FitsNowhere { shape: shape.name.clone(), tasks: *left });
            } else if packs.contains(&true) {
                at_maximum += left;
            } else {
                by_metric += left;
            }
        }
        if by_metric > 0 {
            self.reasons.push(Reason::ByMetric { tasks: by_metric });
        }
        if at_maximum > 0 {
            self.reasons.push(Reason::AtMaximum { tasks: at_maximum });
        }
    }

    /// Of those that may be asked for, the cheapest for its weight, as often as `weight` takes and the maximum allows; how many.
    pub(super) fn grow(&mut self, fleet: usize, weight: u64, fits: impl Fn(&Kind) -> bool) -> u64 {
        let own = &self.cluster.fleets[fleet];
        let room = self.headroom(fleet);
        let open = own.offers.iter().enumerate().filter(|(_, offer)| {
            self.open(fleet, offer) && (1..=room).contains(&offer.weight) && offer.kind.limit > 0 && fits(&offer.kind)
        });
        let per_weight = |offer: &Offer| offer.kind.price / offer.weight as f64;
        let cheapest = open.min_by(|a, b| per_weight(a.1).total_cmp(&per_weight(b.1)));
        let Some((index, offer)) = cheapest else { return 0 };
        let count = weight.div_ceil(offer.weight).min(room / offer.weight).min(offer.kind.limit);
        if count > 0 {
            self.ask(fleet, index, count);
        }
        count
    }

    fn minimum(&mut self, fleet: usize) {
        let own = &self.cluster.fleets[fleet];
        let (weight, minimum) = (self.weight(fleet), own.min_weight.min(own.max_weight));
        if own.status == Status::Active && weight < minimum && self.grow(fleet, minimum - weight, |_| true) > 0 {
            self.changes[fleet].reasons.push(Reason::BelowMinimum { weight, minimum });
        }
    }

    /// Whether the fleet has too little room, whatever could be done about it.
    pub(super) fn little_room(&mut self, fleet: usize, room: &[(usize, u64)]) -> bool {
        let own = &self.cluster.fleets[fleet];
        let Some((shape, schedulable)) = room.iter().copied().min_by_key(|(_, count)| *count) else { return false };
        let below = own.policy.out_below;
        if schedulable >= below {
            return false;
        }
        if let Err(until) = permitted(own.next_permitted.as_deref(), self.cluster.now) {
            self.changes[fleet].reasons.push(Reason::Cooldown { until });
            return true;
        }
        let shape = &self.cluster.shapes[shape];
        if self.grow(fleet, own.policy.out_amount, |kind| kind.takes(shape)) > 0 {
            self.changes[fleet].reasons.push(Reason::LittleRoom { schedulable, below });
        }
        true
    }
}

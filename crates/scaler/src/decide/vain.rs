//! What nobody can choose, and how often it is tried.

use super::Work;
use crate::cluster::{Offer, State};
use crate::shape::Kind;

impl Work<'_> {
    /// Takes out of what is left tasks that are particular about what AWS gives an instance by chance, its zone for one, where so many came
    /// without it that more of them would be no better: which, how many of them, and how many instances came so. What shows it stays.
    pub(super) fn in_vain(&mut self, left: &mut [u64]) -> Vec<(usize, u64, u64)> {
        let cluster = self.cluster;
        let offers = || cluster.fleets.iter().filter(|fleet| fleet.packs()).flat_map(|fleet| &fleet.offers);
        let mut vain = Vec::new();
        for (at, (shape, left)) in cluster.shapes.iter().zip(left).enumerate().filter(|(_, (_, left))| **left > 0) {
            let takes: Vec<&Offer> = offers().filter(|offer| offer.kind.takes(shape)).collect();
            if takes.iter().any(|offer| offer.kind.surely_takes(shape)) {
                continue;
            }
            let there = self.hosts.iter().copied().filter(|index| cluster.instances[*index].state == State::Active);
            // Those with tasks of their own are there anyway.
            let empty = there.filter(|index| cluster.instances[*index].running() == 0);
            let mut without: Vec<usize> = empty
                .filter(|index| {
                    let one = &cluster.instances[*index];
                    let kind = &cluster.offer(one).kind;
                    let unseen = Kind { attributes: cluster.fleets[one.fleet].unseen.clone(), ..kind.clone() };
                    !shape.allows(&one.host.attributes)
                        && (kind.takes(shape) || takes.is_empty() && unseen.takes(shape))
                })
                .collect();
            without.sort_by_key(|index| &cluster.instances[*index].id);
            let one_in = takes.iter().map(|offer| offer.kind.attributes.one_in()).max();
            // Where those that are there show that no other one will have it, one of them is enough.
            let enough = one_in.map_or(1, |one_in| usize::try_from(one_in).unwrap_or(usize::MAX));
            if without.len() >= enough {
                without.iter().take(enough).for_each(|index| self.proof[*index] = true);
                if !takes.is_empty() {
                    vain.push((at, std::mem::take(left), without.len() as u64));
                }
            }
        }
        vain
    }
}

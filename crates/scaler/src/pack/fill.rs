//! One instance, filled from what is left.

use super::problem::Problem;
use crate::resources::{KINDS, take, times};

/// What goes in next.
pub(super) enum How<'a> {
    /// The first of this order that fits, as often as it does.
    Order(&'a [usize]),
    /// What suits best what is still free, weighed by `value` per item: a task that needs much of what there is much of.
    Suits { weights: &'a [f64; KINDS], value: &'a [f64] },
}

/// Item and how many of it.
pub(super) type Content = Vec<(usize, u64)>;

pub(super) struct Filler<'a> {
    problem: &'a Problem,
    /// Per case and item: the part of the case that one takes, per kind of resource. Unlimited resources take nothing.
    shares: Vec<Vec<[f64; KINDS]>>,
    /// The last filling in which a token was taken.
    taken: Vec<u32>,
    filling: u32,
    candidates: Vec<usize>,
}

impl<'a> Filler<'a> {
    pub(super) fn new(problem: &'a Problem) -> Self {
        let shares = problem.cases.iter().map(|one| {
            let share = |need: u64, have: u64| if have == u64::MAX { 0.0 } else { need as f64 / have.max(1) as f64 };
            let shares = problem.items.iter().map(|item| {
                let mut shares = [0.0; KINDS];
                for (at, out) in shares.iter_mut().enumerate() {
                    *out = share(item.need[at], one.capacity[at]);
                }
                shares
            });
            shares.collect()
        });
        Self { problem, shares: shares.collect(), taken: vec![0; problem.tokens], filling: 0, candidates: Vec::new() }
    }

    pub(super) fn share(&self, which: usize, item: usize) -> &[f64; KINDS] {
        &self.shares[which][item]
    }

    /// How many of it go in, of those that are left.
    fn fits(&self, free: &[u64; KINDS], item: usize, left: u64) -> u64 {
        let Problem { items, .. } = self.problem;
        let item = &items[item];
        if left == 0 || item.need.iter().zip(free).any(|(need, free)| need > free) {
            return 0;
        }
        if item.only.is_empty() {
            return times(free, &item.need).min(left);
        }
        u64::from(item.only.iter().all(|token| self.taken[*token as usize] != self.filling))
    }

    fn put(&mut self, free: &mut [u64; KINDS], content: &mut Content, item: usize, count: u64) {
        for token in &self.problem.items[item].only {
            self.taken[*token as usize] = self.filling;
        }
        take(free, &self.problem.items[item].need, count);
        match content.iter_mut().find(|(other, _)| *other == item) {
            Some((_, more)) => *more += count,
            None => content.push((item, count)),
        }
    }

    pub(super) fn fill(&mut self, which: usize, left: &[u64], how: &How<'_>) -> Content {
        self.filling += 1;
        let mut free = self.problem.cases[which].capacity;
        let mut content = Content::new();
        match how {
            How::Order(order) => {
                for item in *order {
                    if !self.problem.items[*item].fits[which] {
                        continue;
                    }
                    let count = self.fits(&free, *item, left[*item]);
                    if count > 0 {
                        self.put(&mut free, &mut content, *item, count);
                    }
                }
            }
            How::Suits { weights, value } => self.suits(which, left, weights, value, &mut free, &mut content),
        }
        content
    }

    fn suits(
        &mut self,
        which: usize,
        left: &[u64],
        weights: &[f64; KINDS],
        value: &[f64],
        free: &mut [u64; KINDS],
        content: &mut Content,
    ) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        candidates.extend((0..left.len()).filter(|item| left[*item] > 0 && self.problem.items[*item].fits[which]));
        let capacity = self.problem.cases[which].capacity;
        loop {
            let mut rest = [0.0; KINDS];
            for (at, rest) in rest.iter_mut().enumerate() {
                if capacity[at] != u64::MAX {
                    *rest = weights[at] * free[at] as f64 / capacity[at].max(1) as f64;
                }
            }
            let mut best: Option<(f64, usize, u64)> = None;
            candidates.retain(|item| {
                let already = content.iter().find(|(other, _)| other == item).map_or(0, |(_, count)| *count);
                let count = self.fits(free, *item, left[*item] - already);
                if count == 0 {
                    return false;
                }
                let shares = &self.shares[which][*item];
                let suits: f64 = shares.iter().zip(rest).map(|(share, rest)| share * rest).sum();
                let score = suits * value[*item];
                if best.is_none_or(|(most, ..)| score > most) {
                    best = Some((score, *item, count));
                }
                true
            });
            let Some((_, item, count)) = best else { break };
            // A quarter of what fits at a time: small tasks would otherwise take a look at everything each.
            self.put(free, content, item, (count / 4).max(1));
        }
        self.candidates = candidates;
    }
}

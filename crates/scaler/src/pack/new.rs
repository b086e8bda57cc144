//! Which instances would hold what waits.
//!
//! Several ways are tried, and the cheapest result is the answer; among them is first-fit decreasing itself, so that no result
//! is worse. All of them fill one instance after the other and repeat a filling as often as there are tasks for it. What
//! makes the difference with many shapes: what goes in is what suits the rest of the instance, and what lags behind counts for more, so that the shapes go down together and
//! the last instances are not left with those that fit nowhere.

use super::fill::{Content, Filler, How};
use super::problem::Problem;
use crate::resources::KINDS;
use crate::shape::{Kind, Shape};

/// So many instances of one kind, filled alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bin {
    pub kind: usize,
    pub count: u64,
    /// Shape, and how many of it on each.
    pub tasks: Vec<(usize, u64)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Packing {
    pub bins: Vec<Bin>,
    /// Of each shape, how many fit nowhere: no kind takes it, or no more may be had.
    pub left: Vec<u64>,
    /// An hour.
    pub price: f64,
}

impl Packing {
    pub fn instances(&self) -> u64 {
        self.bins.iter().map(|bin| bin.count).sum()
    }

    /// Of each kind.
    pub fn kinds(&self, kinds: usize) -> Vec<u64> {
        let mut counts = vec![0; kinds];
        for bin in &self.bins {
            counts[bin.kind] += bin.count;
        }
        counts
    }
}

/// The instances that `counts[i]` tasks of `shapes[i]` need, at the lowest price that is found. Of two kinds that serve as
/// well for the price, the first.
pub fn need(shapes: &[Shape], counts: &[u64], kinds: &[Kind]) -> Packing {
    // In an order of their own, so that the order in which they come does not matter; without those of which there is none.
    let mut all: Vec<usize> = (0..shapes.len()).filter(|index| counts[*index] > 0).collect();
    all.sort_by(|a, b| (shapes[*b].need, &shapes[*a].name).cmp(&(shapes[*a].need, &shapes[*b].name)));
    let sorted: Vec<&Shape> = all.iter().map(|index| &shapes[*index]).collect();
    let of: Vec<u64> = all.iter().map(|index| counts[*index]).collect();
    let mut packing = best(&Problem::new(&sorted, kinds), &of);
    for (index, _) in packing.bins.iter_mut().flat_map(|bin| &mut bin.tasks) {
        *index = all[*index];
    }
    let mut left = vec![0; shapes.len()];
    for (index, count) in all.iter().zip(&packing.left) {
        left[*index] = *count;
    }
    Packing { left, ..packing }
}

fn best(problem: &Problem, counts: &[u64]) -> Packing {
    let mut filler = Filler::new(problem);
    let basis = Basis::new(problem, &filler, counts);
    let mut best: Option<Packing> = None;
    for way in basis.ways() {
        let packing = pack(problem, &mut filler, counts, &basis, way);
        if best.as_ref().is_none_or(|best| better(&packing, best)) {
            best = Some(packing);
        }
        // A packing that leaves out what another way finds room for is cheap for that.
        let whole =
            |best: &Packing| best.left.iter().zip(&problem.items).all(|(left, item)| *left == 0 || item.nowhere());
        if best.as_ref().is_some_and(|best| whole(best) && best.price <= basis.least * (1.0 + 1e-9)) {
            break;
        }
    }
    best.unwrap_or_default()
}

fn better(a: &Packing, b: &Packing) -> bool {
    let left = |packing: &Packing| packing.left.iter().sum::<u64>();
    (left(a), a.price) < (left(b), b.price - 1e-9)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Those first of which an instance takes one: they say how many instances there are at least, and others fill them up.
    Alone,
    Largest,
    Sum,
    /// How strongly what lags behind counts.
    Suits(f64),
    /// One kind as far as it goes: for the last instances a kind that is worth less for its price may still cost less.
    Only(usize),
}

/// What all ways need to know.
struct Basis {
    alone: Option<Vec<usize>>,
    largest: Vec<usize>,
    sum: Vec<usize>,
    weights: [f64; KINDS],
    /// What one task costs where it costs least.
    value: Vec<f64>,
    /// No packing is cheaper.
    least: f64,
    kinds: usize,
}

impl Basis {
    fn new(problem: &Problem, filler: &Filler<'_>, counts: &[u64]) -> Self {
        let items = problem.items.len();
        let each = |item: usize, of: &dyn Fn(&[f64; KINDS]) -> f64| {
            let cases = problem.cases.iter().enumerate().filter(|(which, _)| problem.items[item].fits[*which]);
            cases.map(|(which, one)| one.price * of(filler.share(which, item))).fold(f64::INFINITY, f64::min)
        };
        let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
        let max = |shares: &[f64; KINDS]| shares.iter().copied().fold(0.0, f64::max);
        let total = |shares: &[f64; KINDS]| shares.iter().sum::<f64>();
        let largest: Vec<f64> = (0..items).map(|item| finite(each(item, &max))).collect();
        let sums: Vec<f64> = (0..items).map(|item| finite(each(item, &total))).collect();
        let mut weights = [0.0; KINDS];
        let mut least: f64 = 0.0;
        for (at, weight) in weights.iter_mut().enumerate() {
            let load = (0..items).map(|item| counts[item] as f64 * finite(each(item, &|shares| shares[at])));
            *weight = load.sum();
            least = least.max(*weight);
        }
        let all: f64 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        weights.iter_mut().for_each(|weight| *weight /= all);
        let order = |size: &[f64]| {
            let mut order: Vec<usize> = (0..items).collect();
            order.sort_by(|a, b| size[*b].total_cmp(&size[*a]));
            order
        };
        let (by_largest, by_sum) = (order(&largest), order(&sums));
        let alone = problem.items.iter().any(|item| !item.only.is_empty()).then(|| {
            let mut order = by_largest.clone();
            order.sort_by_key(|item| problem.items[*item].only.is_empty());
            order
        });
        Self { alone, largest: by_largest, sum: by_sum, weights, value: largest, least, kinds: problem.cases.len() }
    }

    fn ways(&self) -> Vec<Way> {
        let mut ways = vec![Way::Largest];
        if self.value.len() > 1 {
            ways.extend(self.alone.iter().map(|_| Way::Alone));
            // With several kinds every filling is tried on each of them, and there are ways that only they have.
            let pulls: &[f64] = if self.kinds > 1 { &[4.0] } else { &[0.0, 2.0, 4.0, 8.0] };
            ways.push(Way::Sum);
            ways.extend(pulls.iter().map(|pull| Way::Suits(*pull)));
        }
        if self.kinds > 1 {
            ways.extend((0..self.kinds).map(Way::Only));
        }
        ways
    }
}

/// How many fillings at most, where shapes are to go down together.
const ROUNDS: u64 = 500;

fn pack(problem: &Problem, filler: &mut Filler<'_>, counts: &[u64], basis: &Basis, way: Way) -> Packing {
    let mut packing = Packing { left: counts.to_vec(), ..Packing::default() };
    let mut limits: Vec<u64> = problem.cases.iter().map(|one| one.limit).collect();
    let mut value = vec![1.0; counts.len()];
    let at_once = match way {
        Way::Suits(pull) if pull > 0.0 => (counts.iter().sum::<u64>() / ROUNDS / 4).max(1),
        _ => u64::MAX,
    };
    loop {
        let how = match way {
            Way::Alone => How::Order(basis.alone.as_deref().unwrap_or(&basis.largest)),
            Way::Largest | Way::Only(_) => How::Order(&basis.largest),
            Way::Sum => How::Order(&basis.sum),
            Way::Suits(pull) => {
                for ((value, left), all) in value.iter_mut().zip(&packing.left).zip(counts) {
                    *value = if *all == 0 { 0.0 } else { (pull * *left as f64 / *all as f64).exp() };
                }
                How::Suits { weights: &basis.weights, value: &value }
            }
        };
        let only = match way {
            Way::Only(kind) if limits[kind] > 0 => {
                let content = filler.fill(kind, &packing.left, &how);
                (!content.is_empty()).then_some((kind, content))
            }
            _ => None,
        };
        let found = only.or_else(|| fullest(problem, filler, &packing.left, &limits, basis, &how));
        let Some((kind, tasks)) = found else { break };
        let repeat = tasks.iter().map(|(item, each)| packing.left[*item] / each).min().unwrap_or(1);
        let count = repeat.min(limits[kind]).min(at_once).max(1);
        for (item, each) in &tasks {
            packing.left[*item] -= each * count;
        }
        limits[kind] -= if limits[kind] == u64::MAX { 0 } else { count };
        packing.bins.push(Bin { kind, count, tasks });
    }
    smaller(problem, &mut packing, &mut limits);
    merge(&mut packing.bins);
    packing.price = packing.bins.iter().map(|bin| problem.cases[bin.kind].price * bin.count as f64).sum();
    packing
}

/// The kind whose filling is worth most for its price.
fn fullest(
    problem: &Problem,
    filler: &mut Filler<'_>,
    left: &[u64],
    limits: &[u64],
    basis: &Basis,
    how: &How<'_>,
) -> Option<(usize, Content)> {
    let mut best: Option<(f64, usize, Content)> = None;
    for (which, one) in problem.cases.iter().enumerate() {
        if limits[which] == 0 {
            continue;
        }
        let content = filler.fill(which, left, how);
        if content.is_empty() {
            continue;
        }
        let worth: f64 = content.iter().map(|(item, count)| basis.value[*item] * *count as f64).sum();
        let worth = worth / one.price;
        if best.as_ref().is_none_or(|(most, ..)| worth > *most + 1e-12) {
            best = Some((worth, which, content));
        }
    }
    best.map(|(_, kind, content)| (kind, content))
}

/// What was filled only in part may fit on something cheaper.
fn smaller(problem: &Problem, packing: &mut Packing, limits: &mut [u64]) {
    for bin in &mut packing.bins {
        let mut need = [0u64; KINDS];
        for (item, count) in &bin.tasks {
            for (need, one) in need.iter_mut().zip(problem.items[*item].need) {
                *need += one * count;
            }
        }
        let current = problem.cases[bin.kind].price;
        let fits = |which: usize| {
            bin.tasks.iter().all(|(item, _)| problem.items[*item].fits[which])
                && need.iter().zip(problem.cases[which].capacity).all(|(need, have)| *need <= have)
        };
        let others = problem.cases.iter().enumerate();
        let others = others.filter(|(which, one)| one.price < current && limits[*which] >= bin.count && fits(*which));
        if let Some((which, _)) = others.min_by(|a, b| a.1.price.total_cmp(&b.1.price)) {
            for (kind, back) in [(which, false), (bin.kind, true)] {
                if limits[kind] != u64::MAX {
                    limits[kind] = if back { limits[kind] + bin.count } else { limits[kind] - bin.count };
                }
            }
            bin.kind = which;
        }
    }
}

/// Fillings that are alike become one.
fn merge(bins: &mut Vec<Bin>) {
    for bin in bins.iter_mut() {
        bin.tasks.sort_unstable();
    }
    bins.sort_by(|a, b| (a.kind, &a.tasks).cmp(&(b.kind, &b.tasks)));
    bins.dedup_by(|next, first| {
        let alike = next.kind == first.kind && next.tasks == first.tasks;
        if alike {
            first.count += next.count;
        }
        alike
    });
}

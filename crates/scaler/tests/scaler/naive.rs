//! First-fit decreasing as it is written down everywhere, a task at a time: what the packer is measured against, and checked with.

use landfall_scaler::Resources;
use landfall_scaler::shape::{Kind, Shape};

/// Instances of one kind that first-fit decreasing opens; tasks that fit on none are left out.
pub(crate) fn first_fit(shapes: &[Shape], counts: &[u64], kind: &Kind) -> u64 {
    let share = |need: u64, have: u64| if have == u64::MAX { 0.0 } else { need as f64 / have.max(1) as f64 };
    let size = |shape: &Shape| {
        let (need, have) = (shape.need, kind.capacity);
        [
            (need.cpu, have.cpu),
            (need.memory, have.memory),
            (need.gpu, have.gpu),
            (need.eni, have.eni),
            (need.tasks, have.tasks),
        ]
        .into_iter()
        .map(|(need, have)| share(need, have))
        .fold(0.0, f64::max)
    };
    let mut tasks: Vec<usize> = (0..shapes.len())
        .filter(|shape| shapes[*shape].allows(&kind.attributes) && kind.capacity.times(&shapes[*shape].need) > 0)
        .flat_map(|shape| std::iter::repeat_n(shape, counts[shape] as usize))
        .collect();
    let key = |task: &usize| (&shapes[*task].need, &shapes[*task].name);
    tasks.sort_by(|a, b| {
        size(&shapes[*b]).total_cmp(&size(&shapes[*a])).then_with(|| (key(b).0, key(a).1).cmp(&(key(a).0, key(b).1)))
    });
    let mut bins: Vec<(Resources, Vec<usize>)> = Vec::new();
    for task in tasks {
        let shape = &shapes[task];
        let clash = |on: &[usize]| {
            shape.alone()
                && on.iter().any(|other| {
                    let other = &shapes[*other];
                    shape.distinct.is_some() && shape.distinct == other.distinct
                        || shape.ports.intersection(&other.ports).next().is_some()
                })
        };
        let found = bins.iter_mut().find(|(free, on)| free.times(&shape.need) > 0 && !clash(on));
        match found {
            Some((free, on)) => {
                *free = free.less(&shape.need);
                if shape.alone() {
                    on.push(task);
                }
            }
            None => bins.push((kind.capacity.less(&shape.need), if shape.alone() { vec![task] } else { Vec::new() })),
        }
    }
    bins.len() as u64
}

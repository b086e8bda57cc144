//! What finds room on the instances that are there.

use super::problem::{Allowed, Classes, Tokens};
use crate::resources::{KINDS, give, take, times};
use crate::shape::{Host, Shape};

/// What was placed, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Of each shape, how many found no room.
    pub left: Vec<u64>,
    /// On each host: shape and how many.
    pub on: Vec<Vec<(usize, u64)>>,
}

impl Placed {
    pub fn complete(&self) -> bool {
        self.left.iter().all(|left| *left == 0)
    }
}

/// How many more tasks of this shape the hosts have room for, with nothing else placed. `u64::MAX` where nothing limits it.
pub fn room(shape: &Shape, hosts: &[Host]) -> u64 {
    Rooms::new(std::slice::from_ref(shape), hosts.iter()).room(0)
}

/// Places `counts[i]` tasks of `shapes[i]`: large shapes first, each on the first hosts that have room.
pub fn place(shapes: &[Shape], counts: &[u64], hosts: &[Host]) -> Placed {
    let mut rooms = Rooms::new(shapes, hosts.iter());
    let left = rooms.put_all(counts);
    Placed { left, on: rooms.on }
}

/// Where things stood.
pub(crate) struct Mark {
    puts: usize,
    first: Vec<usize>,
}

/// Hosts while tasks are placed on them, taken off again, and hosts taken away.
pub(crate) struct Rooms<'a> {
    shapes: &'a [Shape],
    classes: Classes<'a>,
    /// Per shape; what it keeps others from.
    only: Vec<Vec<u32>>,
    /// Per shape and class of attributes; asked for once.
    allowed: Vec<Option<Vec<Allowed>>>,
    free: Vec<[u64; KINDS]>,
    taken: Vec<Vec<u32>>,
    gone: Vec<bool>,
    /// Per shape: no host before this one takes any. What is full stays full, so nobody looks at it again.
    first: Vec<usize>,
    /// Hosts, in the order in which they were given something.
    puts: Vec<usize>,
    /// On each host: shape and how many.
    on: Vec<Vec<(usize, u64)>>,
}

impl<'a> Rooms<'a> {
    pub(crate) fn new(shapes: &'a [Shape], hosts: impl Iterator<Item = &'a Host> + Clone) -> Self {
        let tokens = Tokens::of(shapes);
        let free: Vec<[u64; KINDS]> = hosts.clone().map(|host| host.free.array()).collect();
        Self {
            shapes,
            classes: Classes::new(hosts.clone().map(|host| &host.attributes)),
            only: shapes.iter().map(|shape| tokens.shape(shape)).collect(),
            allowed: vec![None; shapes.len()],
            taken: hosts.map(|host| tokens.taken(&host.ports, &host.groups)).collect(),
            gone: vec![false; free.len()],
            first: vec![0; shapes.len()],
            on: vec![Vec::new(); free.len()],
            free,
            puts: Vec::new(),
        }
    }

    fn allow(&mut self, shape: usize) {
        if self.allowed[shape].is_none() {
            self.allowed[shape] = Some(self.classes.allowed(&self.shapes[shape]));
        }
    }

    fn verdict(&self, shape: usize, host: usize) -> Option<Allowed> {
        Some(self.allowed[shape].as_ref()?[self.classes.of[host]])
    }

    /// How many of the shape one host takes; `surely`: whatever it will come with.
    fn fits(&self, shape: usize, need: &[u64; KINDS], host: usize, surely: bool) -> u64 {
        let free = &self.free[host];
        let allowed = || self.verdict(shape, host).is_some_and(|own| own.may && (!surely || own.surely));
        if need.iter().zip(free).any(|(need, free)| need > free) || self.gone[host] || !allowed() {
            return 0;
        }
        match self.only[shape].as_slice() {
            [] => times(free, need),
            only => u64::from(only.iter().all(|token| !self.taken[host].contains(token))),
        }
    }

    /// How many more of the shape find room, on all hosts together.
    pub(crate) fn room(&mut self, shape: usize) -> u64 {
        let all: Vec<usize> = (0..self.free.len()).collect();
        self.room_on(shape, &all)
    }

    /// On these hosts together.
    pub(crate) fn room_on(&mut self, shape: usize, hosts: &[usize]) -> u64 {
        self.allow(shape);
        let need = self.shapes[shape].need.array();
        hosts.iter().fold(0u64, |sum, host| sum.saturating_add(self.fits(shape, &need, *host, false)))
    }

    /// Places as many as there is room for; how many there was none for.
    pub(crate) fn put(&mut self, shape: usize, count: u64) -> u64 {
        self.place(shape, count, false)
    }

    /// As `put`, of tasks that run elsewhere: only where they surely may.
    pub(crate) fn move_here(&mut self, shape: usize, count: u64) -> u64 {
        self.place(shape, count, true)
    }

    fn place(&mut self, shape: usize, count: u64, surely: bool) -> u64 {
        self.allow(shape);
        let need = self.shapes[shape].need.array();
        let mut left = count;
        for host in self.first[shape]..self.free.len() {
            if left == 0 {
                break;
            }
            let fits = self.fits(shape, &need, host, surely);
            let count = fits.min(left);
            // What it may be seen to take once it is there is not passed over.
            let open = surely && self.verdict(shape, host).is_some_and(|own| own.may && !own.surely);
            if count == fits && host == self.first[shape] && !open {
                self.first[shape] += 1;
            }
            if count > 0 {
                take(&mut self.free[host], &need, count);
                self.taken[host].extend(&self.only[shape]);
                self.puts.push(host);
                self.on[host].push((shape, count));
                left -= count;
            }
        }
        left
    }

    pub(crate) fn put_all(&mut self, counts: &[u64]) -> Vec<u64> {
        let mut left = counts.to_vec();
        for shape in self.order() {
            if counts[shape] > 0 {
                left[shape] = self.put(shape, counts[shape]);
            }
        }
        left
    }

    /// Where things stand, to come back to by `back`.
    pub(crate) fn mark(&self) -> Mark {
        Mark { puts: self.puts.len(), first: self.first.clone() }
    }

    pub(crate) fn back(&mut self, mark: &Mark) {
        for host in self.puts.drain(mark.puts..).rev() {
            let Some((shape, count)) = self.on[host].pop() else { continue };
            give(&mut self.free[host], &self.shapes[shape].need.array(), count);
            let keep = self.taken[host].len() - self.only[shape].len();
            self.taken[host].truncate(keep);
        }
        self.first.copy_from_slice(&mark.first);
    }

    /// Looks again at hosts that were away since the mark.
    pub(crate) fn look_again(&mut self, mark: &Mark) {
        self.first.copy_from_slice(&mark.first);
    }

    /// What was placed on the host.
    pub(crate) fn on(&self, host: usize) -> &[(usize, u64)] {
        &self.on[host]
    }

    /// Hosts on which something was placed since the mark.
    pub(crate) fn used(&self, mark: &Mark) -> impl Iterator<Item = usize> + '_ {
        self.puts[mark.puts..].iter().copied()
    }

    pub(crate) fn is_gone(&self, host: usize) -> bool {
        self.gone[host]
    }

    /// Takes a host away, or gives it back, after coming `back` to what was before.
    pub(crate) fn gone(&mut self, host: usize, gone: bool) {
        self.gone[host] = gone;
    }

    /// Those that few hosts may take, then the largest: by the greatest part that one takes of the most that any host has of
    /// anything. Ties by what is asked for, then by name, so that the order in which shapes come does not matter.
    fn order(&self) -> Vec<usize> {
        let mut most = [1u64; KINDS];
        for free in &self.free {
            for (most, free) in most.iter_mut().zip(free) {
                *most = (*most).max(if *free == u64::MAX { 0 } else { *free });
            }
        }
        let key = |shape: &Shape| {
            let parts = shape.need.array().into_iter().zip(most).map(|(need, most)| need as f64 / most as f64);
            let narrow = usize::from(!shape.constraints.is_empty()) + usize::from(shape.alone());
            (narrow, parts.fold(0.0, f64::max))
        };
        let keys: Vec<(usize, f64)> = self.shapes.iter().map(key).collect();
        let mut order: Vec<usize> = (0..self.shapes.len()).collect();
        order.sort_by(|a, b| {
            let (one, other) = (&self.shapes[*a], &self.shapes[*b]);
            (keys[*b].0.cmp(&keys[*a].0))
                .then(keys[*b].1.total_cmp(&keys[*a].1))
                .then_with(|| other.need.cmp(&one.need))
                .then_with(|| one.name.cmp(&other.name))
        });
        order
    }
}

//! Shapes, instances and constraints with everything that is text resolved to numbers, once.

use std::collections::{BTreeMap, BTreeSet};

use crate::constraint::Attributes;
use crate::resources::KINDS;
use crate::shape::{HostPort, Kind, Shape};

/// What one task on an instance keeps others from: a host port, or a group of `distinctInstance`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Only {
    Port(HostPort),
    Group(String),
}

/// Numbers for those of them that any shape asks for; what no shape asks for is no matter.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    numbers: BTreeMap<Only, u32>,
}

impl Tokens {
    pub(super) fn of<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> Self {
        let mut tokens = Self::default();
        for shape in shapes {
            let ports = shape.ports.iter().map(|port| Only::Port(*port));
            for only in ports.chain(shape.distinct.clone().map(Only::Group)) {
                let next = tokens.numbers.len() as u32;
                tokens.numbers.entry(only).or_insert(next);
            }
        }
        tokens
    }

    pub(super) fn shape(&self, shape: &Shape) -> Vec<u32> {
        self.taken(&shape.ports, shape.distinct.iter())
    }

    pub(super) fn taken<'a>(
        &self,
        ports: &BTreeSet<HostPort>,
        groups: impl IntoIterator<Item = &'a String>,
    ) -> Vec<u32> {
        if self.numbers.is_empty() {
            return Vec::new();
        }
        let ports = ports.iter().map(|port| Only::Port(*port));
        let all = ports.chain(groups.into_iter().cloned().map(Only::Group));
        all.filter_map(|only| self.numbers.get(&only).copied()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) need: [u64; KINDS],
    /// With any of them, one is all that an instance takes.
    pub(super) only: Vec<u32>,
    /// May run on an empty instance of that kind at all: constraints, ports and size.
    pub(super) fits: Vec<bool>,
}

impl Item {
    /// No kind takes it.
    pub(super) fn nowhere(&self) -> bool {
        self.fits.iter().all(|fits| !fits)
    }
}

/// A kind of instance, empty.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) capacity: [u64; KINDS],
    pub(super) price: f64,
    pub(super) limit: u64,
}

#[derive(Debug)]
pub(super) struct Problem {
    pub(super) items: Vec<Item>,
    pub(super) cases: Vec<Case>,
    pub(super) tokens: usize,
}

impl Problem {
    pub(super) fn new(shapes: &[&Shape], kinds: &[Kind]) -> Self {
        let tokens = Tokens::of(shapes.iter().copied());
        let items = shapes.iter().map(|shape| Item {
            need: shape.need.array(),
            only: tokens.shape(shape),
            fits: kinds.iter().map(|kind| kind.takes(shape)).collect(),
        });
        let cases = kinds.iter().map(|kind| Case {
            capacity: kind.capacity.array(),
            price: kind.price.max(1e-9),
            limit: kind.limit,
        });
        Self { items: items.collect(), cases: cases.collect(), tokens: tokens.len() }
    }
}

/// Whether a shape may run on instances with some attributes, and whether it does whatever else they come with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) may: bool,
    pub(super) surely: bool,
}

/// Instances with the same attributes are asked once whether a shape may run there.
#[derive(Debug)]
pub(super) struct Classes<'a> {
    classes: Vec<&'a Attributes>,
    pub(super) of: Vec<usize>,
}

impl<'a> Classes<'a> {
    pub(super) fn new(all: impl Iterator<Item = &'a Attributes>) -> Self {
        let mut numbers: BTreeMap<&Attributes, usize> = BTreeMap::new();
        let mut classes = Vec::new();
        let of = all.map(|attributes| {
            *numbers.entry(attributes).or_insert_with(|| {
                classes.push(attributes);
                classes.len() - 1
            })
        });
        let of = of.collect();
        Self { classes, of }
    }

    pub(super) fn allowed(&self, shape: &Shape) -> Vec<Allowed> {
        let of = |attributes: &&Attributes| Allowed { may: shape.allows(attributes), surely: shape.suits(attributes) };
        self.classes.iter().map(of).collect()
    }
}

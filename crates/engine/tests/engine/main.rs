//! The engine on the memory journal with a small world: crash matrix, two engines, signals, faults, random plans.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crash;
mod fake;
mod faults;
mod random;
mod signals;
mod two_engines;

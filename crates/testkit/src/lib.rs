//! Stateful fakes, clocks and harnesses for tests. Development only: nothing that ships depends on it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

pub mod clock;
pub mod conformance;
pub mod crash;
pub mod emulator;
pub mod journal;
pub mod mem;
pub mod mem_store;
pub mod platform;
pub mod ports;
pub mod registry;
pub mod stacks;
pub mod steps;

pub use clock::{SimClock, TestClock};
pub use journal::{Failing, Gated, StopAfter};
pub use mem::Mem;

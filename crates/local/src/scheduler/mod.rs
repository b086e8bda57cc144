//! The service scheduler: `decide` is pure, `service` its state, `actor` the loop that observes and obeys.

pub(crate) mod actor;
pub(crate) mod decide;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod decide_tests;
mod replace;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod replacing_tests;
pub(crate) mod service;

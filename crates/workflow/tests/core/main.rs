//! The workflow core from outside: properties on random plans and inputs, single decisions, golden journals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod decisions;
mod golden;
mod plans;
mod properties;
mod sim;

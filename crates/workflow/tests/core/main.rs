//! The workflow core from outside: properties on random plans and inputs, single decisions, golden journals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Golden files are read and written here; the core itself touches none.
#![allow(clippy::disallowed_methods)]

mod decisions;
mod golden;
mod plans;
mod properties;
mod sim;

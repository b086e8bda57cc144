//! The state on S3: the ports' promises, many runners at once, lost answers, throttling, take-over. On our own fake, and on the
//! emulators as far as they go.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod conformance;
mod edges;
mod emulators;
mod faults;
mod runners;
mod support;

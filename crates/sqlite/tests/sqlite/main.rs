//! The SQLite adapter: the suites that every implementation passes, and what is SQLite's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

mod backup;
mod common;
mod conformance;
mod differential;
mod disk;
mod kill;
mod opening;
mod retention;

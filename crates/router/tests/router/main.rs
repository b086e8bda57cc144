//! The router over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, unreachable_pub)]

mod change;
mod early;
mod hostile;
mod model;
mod process;
mod proxying;
mod sleeping;
mod support;

/// Not a test: the process that `process` starts and kills.
#[test]
#[ignore = "started by other tests as a router process"]
fn router_process() {
    support::run_router_process();
}

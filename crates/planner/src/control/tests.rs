#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The state machine against a small model of server and engine: every short sequence of events with everything an execution
//! may do in between, and long random ones.

mod cases;
mod model;
mod sequences;

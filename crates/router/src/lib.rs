//! The embedded load balancer: target groups, host rules, port listeners, health checks, draining.
//!
//! It is a process of its own (`landfall router --state DIR`), because URLs must go on answering while the daemon is
//! killed or upgraded. Everybody else talks to it through [`client::RouterClient`], over a Unix socket of mode 0600 in
//! the state directory; what it serves is on disk before a call is answered, so a restart serves the same at once.
//!
//! docs/load-balancer.md says what it does and where it differs from Elastic Load Balancing.

pub mod api;
mod bind;
mod checker;
pub mod client;
mod control;
mod error;
mod frame;
mod gate;
mod headers;
mod health;
mod hold;
mod pages;
mod plane;
mod proxy;
mod serve;
mod socket;
mod store;
mod table;
mod turn;
mod upstream;
mod watch;
mod worker;

pub use error::{RouterError, RouterResult};
pub use serve::{LocalRouter, ServeConfig, run_blocking};

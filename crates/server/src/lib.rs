//! Landfall at work: webhooks in, environments brought to what was asked of them, control and metrics.
//!
//! [`Service`] is the core that the daemon and commands without a daemon share. It owns four loops, all level-triggered and
//! all safe to stop anywhere:
//!
//! - **inbox** ([`Service::run`]): delivery → event → intents → records, one transaction each;
//! - **controller**: record and live execution → the next thing to do;
//! - **reconciler**: the world and the listings of branches → intents and deletions of orphans;
//! - **engine**: executions → effects.
//!
//! [`public::serve`] is the listener for webhooks and health; [`control::socket::serve`] the Unix socket for everything else.

pub mod chat;
pub mod control;
mod controller;
pub mod deploy;
mod inbox;
mod listen;
pub mod metrics;
mod pages;
pub mod pipelines;
pub mod public;
mod reconcile;
mod records;
mod schedules;
mod service;
mod sleepers;
mod start;

pub use control::{Control, ControlClient, ControlError, ControlRequest, ControlResponse};
pub use metrics::Metrics;
pub use service::{Service, ServiceConfig, ServiceParts, instance_id};

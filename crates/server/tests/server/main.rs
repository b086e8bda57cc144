//! The server, spoken to as GitHub and as an operator do, over a platform and a store in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod chat;
mod control;
mod conversation;
mod deity;
mod deploy;
mod intake;
mod locking;
mod others;
mod pages;
mod pipelines;
mod rig;
mod schedules;
mod sleep;
mod stacks;
mod stages;
mod storm;

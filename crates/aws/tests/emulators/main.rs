//! The adapters against AWS emulators.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adopted;
mod credentials;
mod documents;
mod ecs;
mod edges;
mod elb;
mod emulator;
mod endings;
mod given;
mod messaging;
mod owners;
mod place;
mod preflight;
mod raw;
mod refusals;
mod secrets;
mod stock;
mod waiting;

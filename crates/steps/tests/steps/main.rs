//! The handlers on a platform in memory: one by one, and every shipped plan shape through the crash matrix.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod handlers;
mod lasting;
mod machine_image;
mod matrix;
mod rollouts;
mod sleeping;
mod stacks;
mod tasks;
mod world;

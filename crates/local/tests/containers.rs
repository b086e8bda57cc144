//! The local platform on a real engine: containers of a busybox image built here, nothing pulled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "containers/between.rs"]
mod between;
#[path = "containers/support.rs"]
mod support;

#[path = "containers/images.rs"]
mod images;
#[path = "containers/logs.rs"]
mod logs;
#[path = "containers/private.rs"]
mod private;
#[path = "containers/recovery.rs"]
mod recovery;
#[path = "containers/services.rs"]
mod services;
#[path = "containers/speed.rs"]
mod speed;
#[path = "containers/tasks.rs"]
mod tasks;

//! The client against a real registry (Debian's `docker-registry`), directly and through a proxy that does what networks do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archives;
mod auth;
mod faults;
mod image;
mod proxy;
mod pushing;
mod server;

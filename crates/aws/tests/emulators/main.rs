//! The adapters against AWS emulators.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Each of these tests at a place of its own on that emulator.
macro_rules! on {
    ($emulator:ident: $($name:ident),+ $(,)?) => {
        mod $emulator {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::place::Place::$emulator().await).await;
            })+
        }
    };
}

mod adopted;
mod credentials;
mod documents;
mod draining;
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

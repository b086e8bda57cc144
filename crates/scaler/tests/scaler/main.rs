//! The packer and the scaler as properties: whatever comes in, these hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod deciding;
mod instead;
mod naive;
mod packing;
mod simulating;

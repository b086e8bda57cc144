//! The fake against what AWS documents, on virtual time; and against boto3, moto and ministack (`agreement`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agreement;
mod balancing;
mod endings;
mod instances;
mod scaling;
mod staged;
mod wire;
mod world;

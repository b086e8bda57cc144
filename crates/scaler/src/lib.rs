//! How many instances a cluster needs, of which types, and which of them can go: whole tasks packed on whole instances, a
//! scaler that says why, a simulator that shows what it is worth beside others, and what it all costs. Everything here is a
//! function of what it is given: no clock, no randomness, no AWS.

pub mod cluster;
pub mod compatible;
pub mod constraint;
pub mod cost;
pub mod decide;
pub mod pack;
pub mod price;
mod random;
mod resources;
pub mod shape;
pub mod simulate;

pub use random::Random;
pub use resources::Resources;

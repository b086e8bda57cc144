//! Wall time as a port, so that tests move it by hand.

use landfall_model::Timestamp;

pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
    /// For jitter and ids; a seeded sequence in tests.
    fn entropy(&self) -> u64;
}

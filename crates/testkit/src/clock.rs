//! Clocks for tests: one moved by hand, one that follows the real time with a seeded entropy.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use landfall_model::Timestamp;
use landfall_ports::clock::Clock;

/// 2026-01-01T00:00:00Z
const EPOCH_MS: i64 = 1_767_225_600_000;

/// Stands still until it is moved, also backwards. Entropy is a seeded sequence.
#[derive(Debug)]
pub struct SimClock {
    ms: AtomicI64,
    entropy: AtomicU64,
}

impl Default for SimClock {
    fn default() -> Self {
        Self::seeded(1)
    }
}

impl SimClock {
    pub fn seeded(seed: u64) -> Self {
        Self { ms: AtomicI64::new(EPOCH_MS), entropy: AtomicU64::new(seed) }
    }

    /// Negative: backwards.
    pub fn advance_ms(&self, ms: i64) {
        self.ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.ms.load(Ordering::SeqCst)).unwrap()
    }

    fn entropy(&self) -> u64 {
        next(&self.entropy)
    }
}

/// Follows tokio's clock (also a paused one) from a fixed start.
#[derive(Debug)]
pub struct TestClock {
    since: tokio::time::Instant,
    entropy: AtomicU64,
}

impl TestClock {
    pub fn seeded(seed: u64) -> Self {
        Self { since: tokio::time::Instant::now(), entropy: AtomicU64::new(seed) }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.since.elapsed().as_millis()).unwrap();
        Timestamp::from_millisecond(EPOCH_MS + elapsed).unwrap()
    }

    fn entropy(&self) -> u64 {
        next(&self.entropy)
    }
}

/// SplitMix64.
fn next(state: &AtomicU64) -> u64 {
    let mut z = state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

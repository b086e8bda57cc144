//! Waiting before another try: longer each time, and by chance, so that those who collided do not meet again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

const FIRST_MS: u64 = 25;
const LONGEST_MS: u64 = 2_000;

pub(crate) struct Backoff {
    until: Instant,
    tries: u32,
}

impl Backoff {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, tries: 0 }
    }

    /// `false`: the patience is at its end, and nothing was waited for.
    pub(crate) async fn wait(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        tokio::time::sleep(delay(self.tries, random())).await;
        self.tries += 1;
        true
    }
}

/// Between nothing and 25 ms, doubling up to 2 s.
fn delay(tries: u32, chance: u64) -> Duration {
    let most = (FIRST_MS << tries.min(7)).min(LONGEST_MS);
    Duration::from_millis(1 + chance % most)
}

/// Not for secrets.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay_within_their_bounds() {
        assert_eq!(delay(0, 24), Duration::from_millis(25));
        assert_eq!(delay(60, 1_999), Duration::from_secs(2));
        assert_ne!(random(), random());
    }
}

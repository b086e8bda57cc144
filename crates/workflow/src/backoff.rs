//! Exponential backoff with full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

use crate::plan::RetryPolicy;

/// Milliseconds until attempt `failures + 1`: uniform in `0..=min(initial * 2^(failures-1), max)`.
pub(crate) fn full_jitter(policy: &RetryPolicy, failures: u32, entropy: u64) -> u64 {
    let ceiling = ceiling(policy, failures);
    // The bias of a modulo over 64 bits is far below a millisecond.
    entropy % ceiling.saturating_add(1).max(1)
}

pub(crate) fn ceiling(policy: &RetryPolicy, failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1);
    let grown = if doublings >= policy.initial_ms.leading_zeros() && policy.initial_ms > 0 {
        u64::MAX
    } else {
        policy.initial_ms.checked_shl(doublings).unwrap_or(0)
    };
    grown.min(policy.max_ms)
}

/// A different draw for each use of one entropy value (SplitMix64), so that steps that fail together do not retry together.
pub(crate) fn mix(entropy: u64, salt: u64) -> u64 {
    let mut z = entropy.wrapping_add(salt.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubles_up_to_the_maximum() {
        let policy = RetryPolicy { attempts: 9, initial_ms: 100, max_ms: 1500 };
        assert_eq!([1, 2, 3, 4, 5, 6].map(|n| ceiling(&policy, n)), [100, 200, 400, 800, 1500, 1500]);
    }

    proptest! {
        #[test]
        fn never_over_the_ceiling(initial_ms: u64, max_ms: u64, failures: u32, entropy: u64) {
            let policy = RetryPolicy { attempts: 3, initial_ms, max_ms };
            prop_assert!(full_jitter(&policy, failures, entropy) <= max_ms);
            prop_assert!(ceiling(&policy, failures) <= ceiling(&policy, failures.saturating_add(1)));
        }
    }
}

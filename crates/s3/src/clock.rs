//! The one clock that all runners share: S3's own, as the `Date` header of its answers tells it.
//!
//! A runner never learns that time exactly, only bounds. An answer with `Date: D` (whole seconds, cut off) was made between
//! its request and its arrival, and at that moment S3's clock read at least D and less than D + 1 s. From then on this process's
//! monotonic clock counts. So `earliest` = D + time since the arrival, `latest` = D + 1 s + time since the request, and
//! S3's clock is between them.
//!
//! Who grants a lease writes `latest` + its duration as the end; who would take it over waits until `earliest` has passed
//! that end by [`SKEW`]. So nobody takes over before the holder's own count of the duration is over, even if the two were
//! answered by machines of S3 whose clocks differ by two seconds; a lease that nobody renews is free for others at most
//! [`LATE`] after its end. What each machine believes the time to be never comes in.
//!
//! A machine that slept (its monotonic clock stood still) is too early in both bounds. A claim reads the object right before
//! it judges, so its bounds are fresh; a renewal looks at the answer of its own write, and writes again where the end it wrote
//! was too early.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// By how much the clocks of S3's machines may differ.
pub const SKEW: Duration = Duration::from_secs(2);
/// An expired lease is free for others at the latest so long after its end: skew, and the second that `Date` cuts off, on both
/// sides.
pub const LATE: Duration = Duration::from_secs(4);

const SECOND_MS: i64 = 1000;

#[derive(Debug, Default)]
pub(crate) struct S3Clock(Mutex<Option<Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    date_ms: i64,
    sent: Instant,
    arrived: Instant,
}

/// Milliseconds since 1970 between which S3's clock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) earliest: i64,
    pub(crate) latest: i64,
}

impl Bounds {
    /// The end of a lease that is granted now.
    pub(crate) fn until(self, ttl_ms: u64) -> i64 {
        self.latest.saturating_add(i64::try_from(ttl_ms).unwrap_or(i64::MAX))
    }

    /// Whether a lease with this end is over for everybody.
    pub(crate) fn is_past(self, end: i64) -> bool {
        self.earliest >= end.saturating_add(i64::try_from(SKEW.as_millis()).unwrap_or(i64::MAX))
    }

    /// Whether nobody can have taken over a lease with this end yet.
    pub(crate) fn is_before(self, end: i64) -> bool {
        self.latest < end
    }
}

impl S3Clock {
    /// Only the last answer counts: bounds made of several machines' clocks would be narrower than any of them knows.
    pub(crate) fn observe(&self, date_ms: i64, sent: Instant, arrived: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen { date_ms, sent, arrived });
    }

    /// `None` before the first answer.
    pub(crate) fn bounds(&self) -> Option<Bounds> {
        let seen = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(seen.at(Instant::now()))
    }
}

impl Seen {
    fn at(&self, now: Instant) -> Bounds {
        let ms = |since: Instant| i64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(i64::MAX);
        Bounds {
            earliest: self.date_ms.saturating_add(ms(self.arrived)),
            latest: self.date_ms.saturating_add(SECOND_MS).saturating_add(ms(self.sent)).saturating_add(1),
        }
    }
}

/// The `Date` header, in milliseconds since 1970.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text).ok().map(|at| at.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        assert_eq!(parse_date("Thu, 01 Jan 2026 00:00:01 GMT"), Some(1_767_225_601_000));
        assert_eq!(parse_date("yesterday"), None);
    }

    /// Whatever the true time of the answer within its second, whatever the way took, and whatever two machines of S3 differ by
    /// (up to the allowance): no take-over before the holder's own count of the lease is over, and none much later.
    #[test]
    fn nobody_takes_over_early_and_nobody_waits_long() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let ttl = 30_000;
        for (sent, answered, arrived) in [(0u64, 0u64, 0u64), (0, 999, 1_000), (400, 1_600, 3_000), (0, 1, 2_000)] {
            for skew in [-2_000i64, 0, 2_000] {
                // The holder's S3 machine is right; true time is milliseconds after `start`, which is a whole second.
                let date = i64::try_from(answered / 1000 * 1000).unwrap();
                let holder = Seen { date_ms: date, sent: at(sent), arrived: at(arrived) };
                let granted = arrived + 5;
                let end = holder.at(at(granted)).until(ttl);
                let over = granted + ttl;
                let judge = |true_ms: u64| {
                    let theirs = (i64::try_from(true_ms).unwrap() + skew).div_euclid(1000) * 1000;
                    Seen { date_ms: theirs, sent: at(true_ms), arrived: at(true_ms) }.at(at(true_ms)).is_past(end)
                };
                assert!((0..over).step_by(7).all(|now| !judge(now)), "early: {sent} {answered} {arrived} {skew}");
                let late = u64::try_from(LATE.as_millis()).unwrap() + (answered.max(sent) - sent) + 2_000;
                assert!(judge(over + late), "late: {sent} {answered} {arrived} {skew}");
            }
        }
    }
}

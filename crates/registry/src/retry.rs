//! When a request is sent again, and after how long.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// Tries of one request in all.
pub(crate) const TRIES: u32 = 6;
const FIRST_MS: u64 = 200;
const LONGEST_MS: u64 = 10_000;
/// A registry that asks for more than this is told to be throttling instead of being waited for.
const LONGEST_ASKED: Duration = Duration::from_secs(90);

/// Whether an answer may be another one the next time.
pub(crate) fn passes_by_itself(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// The wait before try `tried + 1`; `None`: it was the last. Doubling, and half of it by chance, so that layers that were refused
/// together do not come back together.
pub(crate) fn pause(tried: u32, asked: Option<Duration>, chance: u64) -> Option<Duration> {
    if tried >= TRIES {
        return None;
    }
    let most = (FIRST_MS << tried.saturating_sub(1).min(10)).min(LONGEST_MS);
    let own = Duration::from_millis(most / 2 + chance % (most / 2));
    match asked {
        Some(asked) if asked > LONGEST_ASKED => None,
        Some(asked) => Some(asked + own / 4),
        None => Some(own),
    }
}

/// `Retry-After` in seconds. The form with a date is rare and needs a clock that agrees: it counts as none.
pub(crate) fn asked(header: Option<&str>) -> Option<Duration> {
    header?.trim().parse().ok().map(Duration::from_secs)
}

/// Not for secrets.
pub(crate) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_bounded_and_end() {
        let ms = |tried, chance| pause(tried, None, chance).map(|pause| pause.as_millis());
        assert_eq!((ms(1, 0), ms(1, 99), ms(2, 0), ms(5, 0)), (Some(100), Some(199), Some(200), Some(1600)));
        assert_eq!(ms(TRIES, 0), None);
    }

    #[test]
    fn what_the_registry_asks_for_is_the_least() {
        let asked_for = |seconds: &str| pause(1, asked(Some(seconds)), 0);
        assert!(asked_for("3").is_some_and(|pause| pause >= Duration::from_secs(3)));
        assert_eq!(asked_for("3600"), None);
        assert_eq!(asked(Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
    }

    #[test]
    fn only_what_may_pass_is_repeated() {
        assert!([429, 500, 503].into_iter().all(passes_by_itself));
        assert!(![200, 400, 401, 403, 404, 413, 501].into_iter().any(passes_by_itself));
    }
}

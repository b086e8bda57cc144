//! Times as people read them, in UTC.

use landfall_model::Timestamp;

pub(crate) struct Time {
    /// `2026-11-22T01:10:00Z`
    pub machine: String,
    /// `22 Nov 2026, 01:10`
    pub human: String,
}

impl Time {
    pub(crate) fn of(at: Timestamp) -> Self {
        Self { machine: format!("{at:.0}"), human: at.strftime("%-d %b %Y, %H:%M").to_string() }
    }
}

/// Whole seconds between two times; none where they are the wrong way round.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second().saturating_sub(from.as_second())).unwrap_or(0)
}

/// `3 d 2 h`, `2 h 5 min`, `4 min 10 s`, `7 s`: two units at most.
pub(crate) fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units.iter().skip(first).take(2) {
        if parts.is_empty() || left >= *unit {
            parts.push(format!("{} {name}", left / unit));
        }
        left %= unit;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (7, "7 s"),
            (60, "1 min"),
            (250, "4 min 10 s"),
            (3_600, "1 h"),
            (3_605, "1 h"),
            (7_500, "2 h 5 min"),
            (266_400, "3 d 2 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        let at = Timestamp::from_second(1_795_309_800).unwrap_or_default();
        assert_eq!(Time::of(at).machine, "2026-11-22T01:10:00Z");
        assert_eq!(Time::of(at).human, "22 Nov 2026, 01:10");
    }
}

//! Values between Rust and rows.

use landfall_model::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Failure, TransactionError};

pub(crate) fn to_json<E: TransactionError>(value: &impl Serialize) -> Result<String, Failure<E>> {
    serde_json::to_string(value).map_err(|e| Failure::corrupt(format!("cannot be written as JSON: {e}")))
}

/// `place` names the row for the error: `environment my-project-test123`.
pub(crate) fn from_json<T: DeserializeOwned, E: TransactionError>(
    text: &str,
    place: impl FnOnce() -> String,
) -> Result<T, Failure<E>> {
    serde_json::from_str(text).map_err(|e| Failure::corrupt(format!("{}: {e}", place())))
}

/// Nanoseconds since 1970; exact until the year 2262, clamped after it.
pub(crate) fn to_ns(at: Timestamp) -> i64 {
    let ns = at.as_nanosecond();
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

pub(crate) fn from_ns(ns: i64) -> Timestamp {
    // Every i64 of nanoseconds is within jiff's range.
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// SQLite's integers are signed. Versions, sequence numbers and sizes never come near the end.
pub(crate) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_to_the_nanosecond() {
        let at: Timestamp = "2026-11-21T05:00:00.123456789Z".parse().unwrap();
        assert_eq!(from_ns(to_ns(at)), at);
        let before: Timestamp = "1931-01-02T03:04:05.000000001Z".parse().unwrap();
        assert_eq!(from_ns(to_ns(before)), before);
        assert_eq!(to_ns(Timestamp::MAX), i64::MAX);
        assert_eq!(to_ns(Timestamp::MIN), i64::MIN);
    }
}

//! Dollars an hour, exactly.

use std::fmt;

use serde::Serialize;

/// Millionths of a dollar for an hour of an instance, or of a unit of weight where an instance has several: as EC2 counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Price(u64);

/// EC2 sells nothing for more; beyond it a price is a slip.
const MOST_DOLLARS: u64 = 1_000;

impl Price {
    /// `0.0104`: digits with at most six after the point, more than nothing and at most a thousand.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && part.is_empty() || whole.len() > 4 || part.len() > 6 || !digits(whole) || !digits(part) {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: u64 = format!("{part:0<6}").parse().ok()?;
        let micros = whole * 1_000_000 + part;
        (1..=MOST_DOLLARS * 1_000_000).contains(&micros).then_some(Self(micros))
    }

    pub fn micros(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:06}", self.0 % 1_000_000);
        match part.trim_end_matches('0') {
            "" => write!(f, "{}", self.0 / 1_000_000),
            part => write!(f, "{}.{part}", self.0 / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_and_written_exactly() {
        for (text, written) in
            [("0.01", "0.01"), ("0.0104", "0.0104"), (".5", "0.5"), ("1", "1"), ("12.50", "12.5"), ("1000", "1000")]
        {
            assert_eq!(Price::parse(text).map(|price| price.to_string()).as_deref(), Some(written), "{text}");
        }
        for text in ["", ".", "0", "0.0", "-1", "1e3", "0.0000001", "1000.1", "99999", "a", "1.2.3", "$1", " 1"] {
            assert_eq!(Price::parse(text), None, "{text}");
        }
        assert_eq!(Price::parse("0.014").unwrap().micros(), 14_000);
    }
}

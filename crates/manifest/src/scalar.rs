//! Values with a notation of their own. [`crate::shape`] reads them from the text, where it knows the place; what serde sees
//! here is already the plain value.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// The extension key by which the shape recognises these types in the schema.
pub(crate) const MARK: &str = "x-landfall";

/// A length of time; milliseconds once decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Duration(pub u64);

/// A value that is text whatever it looks like: `8080` and `true` are taken as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text(pub String);

/// Text, a whole number or a boolean, as YAML tells them apart: `"8080"` is text, `8080` a number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Plain(pub serde_json::Value);

/// First and last port, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct PortRange(pub (u16, u16));

/// A shell line, or ECS's `["CMD", …]` and `["CMD-SHELL", line]`; always the list once decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct CheckCommand(pub Vec<String>);

macro_rules! schema {
    ($type:ident, $($json:tt)+) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($json)+)
            }
        }
    };
}

schema!(Duration, {
    "title": "Duration", "description": "`500ms`, `30s`, `5m`, `72h`, `10d`, `1h30m`, or seconds as a number",
    "type": ["string", "integer"], "pattern": "^([0-9]+(ms|s|m|h|d))+$", "minimum": 0, "x-landfall": "duration"
});
schema!(Text, {
    "title": "Text", "description": "Text; numbers and booleans are taken as written",
    "type": ["string", "number", "boolean"], "x-landfall": "text"
});
schema!(Plain, {
    "title": "Plain", "description": "Text, a whole number, or true or false",
    "type": ["string", "integer", "boolean"], "x-landfall": "plain"
});
schema!(PortRange, {
    "title": "PortRange", "description": "First and last port, both included: `8000-8099`",
    "type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$", "x-landfall": "port_range"
});
schema!(CheckCommand, {
    "title": "CheckCommand", "description": "A shell line, or `[\"CMD\", arg, …]` or `[\"CMD-SHELL\", line]`",
    "type": ["string", "array"], "items": {"type": ["string", "number", "boolean"]}, "x-landfall": "check_command"
});

/// Milliseconds. `Err` says what is wrong.
pub(crate) fn duration(text: &str) -> Result<u64, &'static str> {
    const FORM: &str = "a duration is `500ms`, `30s`, `5m`, `72h`, `10d`, `1h30m`, or seconds as a number";
    const LONG: &str = "a duration may not exceed 10 years";
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(FORM);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits == 0 {
            return Err(FORM);
        }
        let value: u64 = rest[..digits].parse().map_err(|_| LONG)?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "ms" => 1,
            "s" => 1_000,
            "" if total == 0 && rest.is_empty() => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(FORM),
        };
        rest = &rest[unit..];
        total = value.checked_mul(factor).and_then(|ms| total.checked_add(ms)).ok_or(LONG)?;
    }
    if total > 10 * 366 * 86_400_000 { Err(LONG) } else { Ok(total) }
}

/// `8000-8099`; order and limits are checked later.
pub(crate) fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.trim().split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_notation() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("30", 30_000),
            ("5m", 300_000),
            ("72h", 259_200_000),
            ("10d", 864_000_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(ms), "{text}");
        }
        for text in ["", "s", "-5s", "5 s", "5w", "1.5h", "5M", "5m3", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn port_ranges_are_two_ports() {
        assert_eq!(port_range("8000-8099"), Some((8000, 8099)));
        for text in ["8000", "8000-", "-1", "8000-99999", "a-b", "1-2-3"] {
            assert_eq!(port_range(text), None, "{text}");
        }
    }
}

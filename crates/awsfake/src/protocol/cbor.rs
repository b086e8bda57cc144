//! The little of CBOR that CloudWatch's protocol (`rpc-v2-cbor`) needs. Values are JSON's; timestamps are tag 1.

use serde_json::{Map, Value};

/// `None`: not CBOR, or a kind of it that AWS's protocol does not use.
pub(crate) fn decode(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader { bytes, at: 0 };
    reader.value()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

const BREAK: u8 = 0xff;

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let part = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(part)
    }

    /// The number in a head; `None` inside: of indefinite length.
    fn head(&mut self, low: u8) -> Option<Option<u64>> {
        let width = match low {
            0..=23 => return Some(Some(u64::from(low))),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            31 => return Some(None),
            _ => return None,
        };
        Some(Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))))
    }

    fn ends(&mut self) -> bool {
        let ends = self.bytes.get(self.at) == Some(&BREAK);
        self.at += usize::from(ends);
        ends
    }

    fn value(&mut self) -> Option<Value> {
        let first = self.byte()?;
        let (major, low) = (first >> 5, first & 31);
        if major == 7 {
            return match low {
                20 => Some(false.into()),
                21 => Some(true.into()),
                22 | 23 => Some(Value::Null),
                26 => Some(f64::from(f32::from_be_bytes(self.take(4)?.try_into().ok()?)).into()),
                27 => Some(f64::from_be_bytes(self.take(8)?.try_into().ok()?).into()),
                _ => None,
            };
        }
        let length = self.head(low)?;
        match (major, length) {
            (0, Some(number)) => Some(number.into()),
            (1, Some(number)) => Some((-1 - i64::try_from(number).ok()?).into()),
            (2 | 3, Some(length)) => {
                let text = self.take(usize::try_from(length).ok()?)?;
                Some(String::from_utf8_lossy(text).into_owned().into())
            }
            (2 | 3, None) => {
                let mut whole = String::new();
                while !self.ends() {
                    whole.push_str(self.value()?.as_str()?);
                }
                Some(whole.into())
            }
            (4, length) => {
                let mut items = Vec::new();
                while length.map_or_else(|| !self.ends(), |length| (items.len() as u64) < length) {
                    items.push(self.value()?);
                }
                Some(items.into())
            }
            (5, length) => {
                let (mut map, mut count) = (Map::new(), 0);
                while length.map_or_else(|| !self.ends(), |length| count < length) {
                    let key = self.value()?.as_str()?.to_owned();
                    map.insert(key, self.value()?);
                    count += 1;
                }
                Some(map.into())
            }
            // A tag: its content is all that matters here.
            (6, Some(_)) => self.value(),
            _ => None,
        }
    }
}

pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, "", value);
    out
}

fn head(out: &mut Vec<u8>, major: u8, number: u64) {
    match u8::try_from(number) {
        Ok(small) if small < 24 => out.push(major << 5 | small),
        _ => {
            out.push(major << 5 | 27);
            out.extend(number.to_be_bytes());
        }
    }
}

fn float(out: &mut Vec<u8>, number: f64) {
    out.push(0xfb);
    out.extend(number.to_be_bytes());
}

fn write(out: &mut Vec<u8>, key: &str, value: &Value) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => head(out, 0, number),
            (None, Some(number)) => head(out, 1, number.unsigned_abs() - 1),
            _ => float(out, number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => {
            let time = key.ends_with("Timestamp").then(|| text.parse::<jiff::Timestamp>().ok()).flatten();
            if let Some(time) = time {
                head(out, 6, 1);
                float(out, time.as_duration().as_secs_f64());
            } else {
                head(out, 3, text.len() as u64);
                out.extend(text.bytes());
            }
        }
        Value::Array(items) => {
            head(out, 4, items.len() as u64);
            items.iter().for_each(|item| write(out, key, item));
        }
        Value::Object(map) => {
            head(out, 5, map.len() as u64);
            for (key, value) in map {
                head(out, 3, key.len() as u64);
                out.extend(key.bytes());
                write(out, key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let value = json!({"a": [1, -2, 300, 1.5, true, null, "é"], "b": {"c": u64::MAX}, "d": [], "e": {}});
        assert_eq!(decode(&encode(&value)), Some(value));
    }

    #[test]
    fn indefinite_lengths_and_tags_are_read_and_rubbish_is_not() {
        // {_ "a": [_ 1], "t": 1(0.0)}
        let bytes = b"\xbf\x61a\x9f\x01\xff\x61t\xc1\xfb\0\0\0\0\0\0\0\0\xff";
        assert_eq!(decode(bytes), Some(json!({"a": [1], "t": 0.0})));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None);
        }
    }

    #[test]
    fn times_are_tagged() {
        let bytes = encode(&json!({"StateUpdatedTimestamp": "1970-01-01T00:00:01Z"}));
        assert!(bytes.windows(2).any(|pair| pair == [0xc1, 0xfb]));
    }
}

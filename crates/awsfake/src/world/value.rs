//! Reading requests. The query protocol sends every scalar as text, so numbers and booleans are taken from text too.

use serde_json::{Map, Value};

use super::error::AwsError;

pub fn text<'a>(input: &'a Value, key: &str) -> Option<&'a str> {
    input.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

pub fn number(input: &Value, key: &str) -> Option<u64> {
    let value = input.get(key)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

pub fn boolean(input: &Value, key: &str) -> Option<bool> {
    let value = input.get(key)?;
    value.as_bool().or_else(|| value.as_str()?.parse().ok())
}

pub fn list<'a>(input: &'a Value, key: &str) -> &'a [Value] {
    input.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub fn texts(input: &Value, key: &str) -> Vec<String> {
    list(input, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `key` must be there; the error is ECS's.
pub fn required<'a>(input: &'a Value, key: &str) -> Result<&'a str, AwsError> {
    text(input, key).ok_or_else(|| AwsError::invalid(format!("{key} can not be blank.")))
}

/// The same with the error of the query protocol's services.
pub fn needed<'a>(input: &'a Value, key: &str) -> Result<&'a str, AwsError> {
    text(input, key).ok_or_else(|| AwsError::validation(format!("A {key} must be specified")))
}

/// The part of an ARN after its last slash, or the whole.
pub fn leaf(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// Unix milliseconds as the JSON protocol writes time: seconds with a fraction.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit into 53 bits")]
pub fn seconds(at: u64) -> Value {
    Value::from(at as f64 / 1000.0)
}

/// Unix milliseconds as the query protocol writes time.
pub fn iso(at: u64) -> String {
    i64::try_from(at).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default().to_string()
}

/// Leaves out nulls, as AWS does.
pub fn trimmed(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, entry| !entry.is_null());
    }
    value
}

pub fn copy(from: &Value, keys: &[&str]) -> Map<String, Value> {
    keys.iter().filter_map(|key| Some(((*key).to_owned(), from.get(*key).filter(|v| !v.is_null())?.clone()))).collect()
}

/// One page of `items`, which are sorted by their key, behind the item named by `token`; and the next token.
/// Tokens name the last key given out and not an offset, so that what is deleted between two pages hides nothing.
pub fn page<T>(
    items: Vec<(String, T)>,
    token: Option<&str>,
    size: usize,
) -> Result<(Vec<T>, Option<String>), AwsError> {
    let after = match token {
        None => None,
        Some(token) => Some(decode(token).ok_or_else(|| AwsError::invalid("Invalid token."))?),
    };
    let start = match &after {
        None => 0,
        Some(key) => items.iter().position(|(other, _)| other > key).unwrap_or(items.len()),
    };
    let more = items.len() > start + size;
    let mut last = None;
    let mut page = Vec::new();
    for (key, item) in items.into_iter().skip(start).take(size) {
        last = Some(key);
        page.push(item);
    }
    Ok((page, last.filter(|_| more).map(|key| encode(&key))))
}

fn encode(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(token: &str) -> Option<String> {
    let bytes = (0..token.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(token.get(at..at + 2)?, 16).ok())
        .collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_every_item_once_even_if_one_goes_between_two_pages() {
        let items = |left_out: &str| -> Vec<(String, String)> {
            ["a", "b", "c", "d", "e"]
                .iter()
                .filter(|key| **key != left_out)
                .map(|key| ((*key).to_owned(), (*key).to_owned()))
                .collect()
        };
        let (first, token) = page(items(""), None, 2).unwrap();
        assert_eq!(first, ["a", "b"]);
        let (second, token) = page(items("b"), token.as_deref(), 2).unwrap();
        assert_eq!(second, ["c", "d"]);
        let (third, token) = page(items("b"), token.as_deref(), 2).unwrap();
        assert_eq!(third, ["e"]);
        assert_eq!(token, None);
        assert_eq!(page(items(""), Some("zz"), 2).unwrap_err().code, "InvalidParameterException");
    }
}

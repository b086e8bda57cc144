//! The query protocol: `Actions.member.1.Type=forward` in, XML out. EC2 says `Filter.1.Name`, and answers with items.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// A form as nested objects; `X.member.N` and `X.N` are arrays, `X.entry.N` a map or an array of pairs as SNS has them.
pub(crate) fn parse(form: &str) -> Value {
    let mut root = Value::Object(Map::new());
    let mut fields: Vec<(Vec<String>, String)> = Vec::new();
    for pair in form.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        fields.push((decode(key).split('.').map(str::to_owned).collect(), decode(value)));
    }
    for (path, value) in fields {
        put(&mut root, &path, value);
    }
    arrays(root)
}

fn put(node: &mut Value, path: &[String], value: String) {
    let Some((first, rest)) = path.split_first() else { return };
    let Value::Object(map) = node else { return };
    if rest.is_empty() {
        map.insert(first.clone(), Value::String(value));
    } else {
        put(map.entry(first.clone()).or_insert_with(|| Value::Object(Map::new())), rest, value);
    }
}

/// Turns `{"member": {"1": …, "2": …}}` and `{"1": …, "2": …}` into an array in order of the numbers.
fn arrays(node: Value) -> Value {
    let Value::Object(mut map) = node else { return node };
    let listed = ["member", "entry"].iter().find(|key| map.len() == 1 && map.contains_key(**key));
    if let Some(Value::Object(items)) = listed.and_then(|key| map.remove(*key)) {
        return in_order(items);
    }
    if !map.is_empty() && map.keys().all(|key| key.bytes().all(|byte| byte.is_ascii_digit())) {
        return in_order(map);
    }
    Value::Object(map.into_iter().map(|(key, value)| (key, arrays(value))).collect())
}

fn in_order(items: Map<String, Value>) -> Value {
    let mut items: Vec<(u64, Value)> =
        items.into_iter().filter_map(|(place, item)| Some((place.parse().ok()?, arrays(item)))).collect();
    items.sort_by_key(|(place, _)| *place);
    items.into_iter().map(|(_, item)| item).collect()
}

pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[at], hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Arrays are `<member>`s, or whatever `each` is; nulls are left out.
fn element(out: &mut String, name: &str, value: &Value, each: &str) {
    match value {
        Value::Null => return,
        Value::Array(items) => {
            let _ = write!(out, "<{name}>");
            for item in items {
                element(out, each, item, each);
            }
        }
        Value::Object(map) => {
            let _ = write!(out, "<{name}>");
            for (key, value) in map {
                element(out, key, value, each);
            }
        }
        Value::String(text) => {
            let _ = write!(out, "<{name}>{}", escape(text));
        }
        // CloudWatch speaks JSON too, where time is a number.
        Value::Number(number) if name.ends_with("Timestamp") => {
            let seconds = number.as_f64().unwrap_or_default();
            let time = jiff::Timestamp::from_duration(jiff::SignedDuration::from_secs_f64(seconds));
            let _ = write!(out, "<{name}>{}", time.unwrap_or_default());
        }
        other => {
            let _ = write!(out, "<{name}>{other}");
        }
    }
    let _ = write!(out, "</{name}>");
}

pub(crate) fn response(operation: &str, namespace: &str, answer: &Value, request: &str) -> String {
    let mut out = format!("<{operation}Response xmlns=\"{namespace}\"><{operation}Result>");
    for (key, value) in answer.as_object().into_iter().flatten() {
        match value {
            // The one map among the answers.
            Value::Object(map) if operation == "GetTopicAttributes" => {
                let _ = write!(out, "<{key}>");
                for (key, value) in map {
                    let _ = write!(out, "<entry>");
                    element(&mut out, "key", &Value::String(key.clone()), "member");
                    element(&mut out, "value", value, "member");
                    let _ = write!(out, "</entry>");
                }
                let _ = write!(out, "</{key}>");
            }
            _ => element(&mut out, key, value, "member"),
        }
    }
    let _ = write!(
        out,
        "</{operation}Result><ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata></{operation}Response>"
    );
    out
}

pub(crate) fn error(code: &str, message: &str, sender: &str, request: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>{sender}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request}</RequestId></ErrorResponse>",
        escape(code),
        escape(message)
    )
}

pub(crate) fn ec2_response(operation: &str, namespace: &str, answer: &Value, request: &str) -> String {
    let mut out = format!("<{operation}Response xmlns=\"{namespace}\"><requestId>{request}</requestId>");
    for (key, value) in answer.as_object().into_iter().flatten() {
        element(&mut out, key, value, "item");
    }
    let _ = write!(out, "</{operation}Response>");
    out
}

pub(crate) fn ec2_error(code: &str, message: &str, request: &str) -> String {
    format!(
        "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors><RequestID>{request}</RequestID></Response>",
        escape(code),
        escape(message)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_lists_in_their_order() {
        let form = "Action=CreateRule&Conditions.member.1.Field=host-header&Conditions.member.1.Values.member.10=b\
                    &Conditions.member.1.Values.member.2=a%2Bc&Priority=7&Message=x+y%26z";
        assert_eq!(
            parse(form),
            json!({
                "Action": "CreateRule",
                "Conditions": [{"Field": "host-header", "Values": ["a+c", "b"]}],
                "Priority": "7",
                "Message": "x y&z",
            })
        );
    }

    #[test]
    fn ec2_has_numbers_alone_and_answers_with_items() {
        let form = "Action=DescribeInstances&Filter.1.Name=instance-id&Filter.1.Value.1=i-1&Filter.1.Value.2=i-2";
        let filters = json!([{"Name": "instance-id", "Value": ["i-1", "i-2"]}]);
        assert_eq!(parse(form), json!({"Action": "DescribeInstances", "Filter": filters}));
        let answer = json!({"reservationSet": [{"instancesSet": [{"instanceId": "i-1"}]}]});
        let text = ec2_response("DescribeInstances", "ns", &answer, "r");
        let item = "<reservationSet><item><instancesSet><item><instanceId>i-1</instanceId></item></instancesSet></item></reservationSet>";
        assert!(text.contains(item), "{text}");
    }

    #[test]
    fn answers_are_escaped_and_nulls_left_out() {
        let answer =
            json!({"Rules": [{"Priority": "default", "Port": 80, "Gone": null, "Text": "a<b&c"}], "Empty": []});
        let text = response("DescribeRules", "ns", &answer, "r");
        assert!(text.contains("<Priority>default</Priority>"), "{text}");
        assert!(text.contains("<Port>80</Port>") && !text.contains("Gone"), "{text}");
        assert!(text.contains("<Text>a&lt;b&amp;c</Text>") && text.contains("<Empty></Empty>"), "{text}");
    }
}

//! Values that look like secrets, out of what is shown. The comparison itself sees everything.

use landfall_model::redact;
use serde_json::Value;

use super::shape::Path;

const HIDDEN: &str = "(hidden)";

/// Parts of names of variables and log options whose values nobody should see in a build's log.
const TELLING: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "APIKEY",
    "API_KEY",
    "API-KEY",
    "ACCESS_KEY",
    "ACCESSKEY",
    "PRIVATE_KEY",
    "CREDENTIAL",
    "_PWD",
    "_PASS",
    "SIGNING_KEY",
    "ENCRYPTION_KEY",
    "MASTER_KEY",
    "LICENSE_KEY",
    "_DSN",
];

/// Where values are the user's own.
const FREE: &[&str] = &["environment", "options", "dockerLabels", "driverOpts", "labels", "properties"];

pub(super) fn secrets(path: &Path, value: Option<Value>) -> (Option<Value>, bool) {
    let Some(mut value) = value else { return (None, false) };
    let last = path.pattern.rsplit('.').next().unwrap_or_default();
    let name = path.key.to_ascii_uppercase();
    if path.in_entry && FREE.contains(&last) && TELLING.iter().any(|part| name.contains(part)) {
        let empty = value.as_str().is_some_and(str::is_empty);
        return if empty { (Some(value), false) } else { (Some(HIDDEN.into()), true) };
    }
    let hidden = credentials(&mut value);
    (Some(value), hidden)
}

fn credentials(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let shown = redact::credentials(text);
            let hidden = shown != *text;
            *text = shown;
            hidden
        }
        // No short cut: every element is to be gone through.
        Value::Array(list) => list.iter_mut().fold(false, |hidden, value| credentials(value) | hidden),
        Value::Object(fields) => fields.values_mut().fold(false, |hidden, value| credentials(value) | hidden),
        _ => false,
    }
}

//! Changes for people: one line each, the values in one column.

use serde_json::Value;

use super::Change;

/// Paths longer than this push their own value to the right, and nobody else's.
const WIDEST: usize = 64;

/// `+` new, `-` gone, `~` another value. Every line ends in a newline; nothing for no changes.
pub fn text(changes: &[Change]) -> String {
    let width = changes.iter().map(|change| change.path.chars().count()).filter(|width| *width <= WIDEST).max();
    let width = width.unwrap_or(0);
    let mut out = String::new();
    for change in changes {
        let (sign, value) = match (&change.from, &change.to) {
            (None, Some(to)) => ('+', shown(to)),
            (Some(from), None) => ('-', shown(from)),
            (Some(from), Some(to)) if change.hidden && from == to => {
                ('~', format!("{} (its secret part differs)", shown(to)))
            }
            (Some(from), Some(to)) => ('~', format!("{} → {}", shown(from), shown(to))),
            (None, None) => continue,
        };
        out.push_str(&format!("{sign} {:width$}  {value}\n", change.path));
    }
    out
}

/// As JSON, but for simple words: a terminal's control characters never come through.
fn shown(value: &Value) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '\'');
    match value {
        Value::String(text) if !text.is_empty() && text.chars().all(plain) => text.clone(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

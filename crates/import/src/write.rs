//! A manifest's text, line by line.

/// Where editors find the schema.
pub(crate) const SCHEMA: &str = "# yaml-language-server: $schema=https://raw.githubusercontent.com/landfall/landfall/main/docs/landfall.schema.json";

#[derive(Debug, Default)]
pub(crate) struct Lines(pub String);

impl Lines {
    pub(crate) fn line(&mut self, depth: usize, text: impl AsRef<str>) {
        let text = text.as_ref();
        if !text.is_empty() {
            self.0.extend(std::iter::repeat_n("  ", depth));
            self.0.push_str(text);
        }
        self.0.push('\n');
    }

    /// A comment, however many lines the text has.
    pub(crate) fn remark(&mut self, depth: usize, text: &str) {
        for line in text.lines() {
            self.line(depth, format!("# {}", line.trim_end()));
        }
    }

    /// `key: value` with the value as text.
    pub(crate) fn text(&mut self, depth: usize, key: &str, value: &str) {
        self.line(depth, format!("{}: {}", name(key), quoted(value)));
    }

    pub(crate) fn maybe(&mut self, depth: usize, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(depth, key, value);
        }
    }

    pub(crate) fn list(&mut self, depth: usize, key: &str, values: &[String]) {
        if !values.is_empty() {
            self.line(depth, format!("{}: {}", name(key), flow(values)));
        }
    }
}

pub(crate) fn flow(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", "))
}

/// A key: quoted where YAML would read it as something else, never interpolated.
pub(crate) fn name(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { json(text) }
}

/// Text as a YAML scalar that the manifest takes as written: `$` is doubled, since `${…}` would be replaced.
pub(crate) fn quoted(text: &str) -> String {
    with_variables(&text.replace('$', "$$"))
}

/// The same for text whose `${VAR}` is meant.
pub(crate) fn with_variables(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { json(text) }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn is_plain(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if unit.len() < text.len() && matches!(unit, "ms" | "s" | "m" | "h" | "d") {
        return true;
    }
    let word = text.to_ascii_lowercase();
    let special = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && !text.ends_with(':')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./@:-".contains(&b))
        && !special.contains(&word.as_str())
}

/// The nearest legal name of a project or service.
pub(crate) fn slug(text: &str) -> Option<String> {
    landfall_manifest::legal_name(text, 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_what_it_is() {
        for (text, written) in [
            ("my-cluster", "my-cluster"),
            ("arn:aws:sns:eu-west-1:123456789012:x", "arn:aws:sns:eu-west-1:123456789012:x"),
            ("123456789012", "\"123456789012\""),
            ("yes", "\"yes\""),
            ("a: b", "\"a: b\""),
            ("#test", "\"#test\""),
            ("${HOME} $x", "\"$${HOME} $$x\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(text), written);
        }
        assert_eq!(slug("My_App.v2-").as_deref(), Some("my-app-v2"));
        assert_eq!(slug("42"), None);
    }
}

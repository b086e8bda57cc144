//! Values that never show in the output: those of variables that look like secrets, and of those that the manifest names.

use std::borrow::Cow;

use landfall_model::redact::looks_secret;

use crate::detect::Variables;

const HIDDEN: &str = "***";
/// Shorter ones would take words out of every line; who named the variable is believed down to the second.
const SHORTEST: usize = 6;
const SHORTEST_NAMED: usize = 3;

#[derive(Debug, Clone, Default)]
pub struct Masks {
    /// The longest first: one may be the beginning of another.
    values: Vec<String>,
    named: Vec<String>,
}

impl Masks {
    /// `named`: variables that the manifest's `ci.mask` lists.
    pub fn of(variables: &Variables, named: &[String]) -> Self {
        let mut values = Vec::new();
        let mut told = Vec::new();
        for (name, value) in variables {
            let is_named = named.contains(name);
            if !is_named && (!looks_secret(name) || only_points(name, value)) {
                continue;
            }
            let shortest = if is_named { SHORTEST_NAMED } else { SHORTEST };
            // The output is looked at line by line.
            for line in value.lines().map(str::trim).filter(|line| line.len() >= shortest) {
                values.push(line.to_owned());
                if is_named {
                    told.push(line.to_owned());
                }
            }
        }
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self { values, named: told }
    }

    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for value in &self.values {
            if text.contains(value.as_str()) {
                text = Cow::Owned(text.replace(value.as_str(), HIDDEN));
            }
        }
        text
    }

    /// What the manifest named: a host that hides values is told these, for the steps after us.
    pub fn named(&self) -> &[String] {
        &self.named
    }
}

/// Where a secret is, or a setting about one, and no secret.
fn only_points(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let ends = ["_FILE", "_PATH", "_DIR", "_URL", "_URI", "_ARN", "_NAME", "_STORE"];
    ends.iter().any(|end| name.ends_with(end)) || matches!(value, "true" | "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_by_name_and_by_looks() {
        let variables: Variables = [
            ("AWS_SECRET_ACCESS_KEY", "abcdefgh"),
            ("OTHER_TOKEN", "abcdefghij"),
            ("SHORT_TOKEN", "no"),
            ("SLASHED_SECRET", "/abcd+ef/"),
            ("TOKEN_FILE", "/run/secrets/token"),
            ("LICENCE", "abc\nline two"),
            ("HOME", "/home/me"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let masks = Masks::of(&variables, &["LICENCE".to_owned(), "NOT_SET".to_owned()]);
        assert_eq!(masks.apply("abcdefghij abcdefgh no /home/me"), "*** *** no /home/me");
        assert_eq!(masks.apply("abc and line two"), "*** and ***");
        assert_eq!(masks.apply("/abcd+ef/"), "***");
        assert_eq!(masks.apply("/run/secrets/token"), "/run/secrets/token");
        assert_eq!(masks.named(), ["abc", "line two"]);
        assert!(matches!(masks.apply("nothing here"), Cow::Borrowed(_)));
    }
}

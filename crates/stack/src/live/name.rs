//! Names and tokens: the same for the same change, so that a command that was cut off finds again what it had begun.

use sha2::{Digest as _, Sha256};

use super::wanted::Wanted;

const APPLY: &str = "landfall-";
const PLAN: &str = "landfall-plan-";

/// Of the change set that `apply` executes. `at`: what tells the stack's present state from its others, so that no change set of an
/// earlier state is taken for one of this.
pub fn change_set_name(wanted: &Wanted, at: &str) -> String {
    format!("{APPLY}{}", fingerprint(wanted, at))
}

/// Of one that is only looked at.
pub fn plan_name(wanted: &Wanted, at: &str) -> String {
    format!("{PLAN}{}", fingerprint(wanted, at))
}

/// Whether Landfall made it.
pub fn is_ours(change_set: &str) -> bool {
    change_set.starts_with(APPLY)
}

/// CloudFormation takes 128 letters, digits and hyphens. `of`: what is begun, the same for every try at it.
pub fn token(verb: &str, of: &[&str]) -> String {
    format!("landfall-{verb}-{}", hash(of))
}

fn fingerprint(wanted: &Wanted, at: &str) -> String {
    let mut parts = vec![wanted.template.as_str(), at, wanted.role.as_deref().unwrap_or_default()];
    for (name, value) in &wanted.parameters {
        parts.extend([name.as_str(), value.as_deref().unwrap_or("\u{0}")]);
    }
    for (name, value) in &wanted.labels {
        parts.extend([name.as_str(), value.as_str()]);
    }
    hash(&parts)
}

/// Each with its length, so that no two lists are the same text.
fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hex::encode(&hasher.finalize()[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_changes_with_all_that_it_stands_for() {
        let wanted = |template: &str, value: Option<&str>| Wanted {
            template: template.to_owned(),
            parameters: [("A".to_owned(), value.map(str::to_owned))].into(),
            ..Wanted::default()
        };
        let all = [
            change_set_name(&wanted("t", Some("1")), "x"),
            change_set_name(&wanted("t", Some("2")), "x"),
            change_set_name(&wanted("t", None), "x"),
            change_set_name(&wanted("u", Some("1")), "x"),
            change_set_name(&wanted("t", Some("1")), "y"),
            plan_name(&wanted("t", Some("1")), "x"),
            token("apply", &["t", "1"]),
            token("apply", &["t1", ""]),
            token("delete", &["t", "1"]),
        ];
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all[0], change_set_name(&wanted("t", Some("1")), "x"));
        assert!(all.iter().all(|name| name.len() < 64 && is_ours(name)));
        assert!(!is_ours("console-review"));
    }
}

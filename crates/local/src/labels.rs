//! Names and labels of what we make in the engine. Names are deterministic, so that a create after a crash finds what the
//! crash left; labels are what adoption and sweeps look for.

use std::collections::BTreeMap;

use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_INSTANCE, TAG_SERVICE, Tags};
use sha2::{Digest, Sha256};

pub(crate) const TASK: &str = "landfall.task";
pub(crate) const CONTAINER: &str = "landfall.container";
pub(crate) const DEPLOYMENT: &str = "landfall.deployment";
/// `pause` or `member`.
pub(crate) const ROLE: &str = "landfall.role";
/// Hash of all that went into a build.
pub(crate) const BUILD: &str = "landfall.build";
/// OCI's own.
pub(crate) const REVISION: &str = "org.opencontainers.image.revision";

/// Lower-case hexadecimal digits of a hash over the parts; the parts cannot run into each other.
pub(crate) fn short_hash(parts: &[&str], digits: usize) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut text = hex::encode(hasher.finalize());
    text.truncate(digits);
    text
}

/// The container that holds the task's network namespace.
pub(crate) fn pause_name(task: &str) -> String {
    format!("landfall-{task}")
}

pub(crate) fn member_name(task: &str, container: &str) -> String {
    format!("landfall-{task}-{container}")
}

/// One network per environment and installation; the suffix keeps two state directories on one machine apart. Engines take no `@`
/// in names, which lasting environments have; no id has a dot.
pub(crate) fn network_name(environment: &str, instance: &str) -> String {
    format!("landfall-{}-{}", environment.replace('@', "."), short_hash(&[instance], 6))
}

/// The filter for everything of one installation, or of one of its environments.
pub(crate) fn owned_by(instance: &str, environment: Option<&str>) -> Vec<String> {
    let mut labels = vec![format!("{TAG_INSTANCE}={instance}")];
    labels.extend(environment.map(|environment| format!("{TAG_ENVIRONMENT}={environment}")));
    labels
}

/// The tags of a request as labels, with the instance always ours.
pub(crate) fn with_instance(tags: &Tags, instance: &str) -> BTreeMap<String, String> {
    let mut labels = tags.clone();
    labels.insert(TAG_INSTANCE.to_owned(), instance.to_owned());
    labels
}

pub(crate) fn of_task(
    tags: &Tags,
    instance: &str,
    task: &str,
    service: Option<&str>,
    deployment: Option<&str>,
    container: Option<&str>,
) -> BTreeMap<String, String> {
    let mut labels = with_instance(tags, instance);
    labels.insert(TASK.to_owned(), task.to_owned());
    labels.insert(ROLE.to_owned(), if container.is_some() { "member" } else { "pause" }.to_owned());
    let optional = [(TAG_SERVICE, service), (DEPLOYMENT, deployment), (CONTAINER, container)];
    for (key, value) in optional {
        if let Some(value) = value {
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(short_hash(&["ab", "c"], 12), short_hash(&["a", "bc"], 12));
        assert_eq!(short_hash(&["ab", "c"], 12).len(), 12);
    }

    #[test]
    fn networks_of_two_installations_differ() {
        assert_ne!(network_name("e", "one"), network_name("e", "two"));
        assert!(network_name("shop@prod", "one").starts_with("landfall-shop.prod-"));
    }
}

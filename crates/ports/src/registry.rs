//! A registry that a cloud runs: it is logged in to with the cloud's own credentials, and its repositories are made before
//! anything can be pushed to them.

use std::time::Duration;

use async_trait::async_trait;
pub use landfall_model::Timestamp;

use crate::PortResult;

#[async_trait]
pub trait CloudRegistry: Send + Sync {
    /// Whether this host is one of the cloud's registries.
    fn serves(&self, registry: &str) -> bool;
    async fn login(&self, registry: &str) -> PortResult<CloudLogin>;
    /// `None`: there is no such repository.
    async fn repository(&self, registry: &str, name: &str) -> PortResult<Option<RepositoryRules>>;
    /// Natural: one that is there is left as it is.
    async fn create_repository(&self, registry: &str, name: &str) -> PortResult<()>;
    /// All images of a repository, also those without a tag; `None`: the cloud has no listing of its own, and the registry is asked.
    async fn images(&self, _registry: &str, _name: &str) -> PortResult<Option<Vec<CloudImage>>> {
        Ok(None)
    }
    /// Manifests word for word, by digest; those that are gone are left out. Only where there are `images`.
    async fn manifests(&self, _registry: &str, _name: &str, _digests: &[String]) -> PortResult<Vec<CloudManifest>> {
        Ok(Vec::new())
    }
    /// Deletes images with all their tags; answers those that stay, and why. One that is gone already is no failure.
    async fn delete_images(
        &self,
        _registry: &str,
        _name: &str,
        digests: &[String],
    ) -> PortResult<Vec<(String, String)>> {
        Ok(digests.iter().map(|digest| (digest.clone(), "the cloud deletes none".to_owned())).collect())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudImage {
    pub digest: String,
    pub tags: Vec<String>,
    /// When it was pushed.
    pub pushed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudManifest {
    pub digest: String,
    pub media_type: Option<String>,
    pub text: String,
}

/// Has no text form: it holds a password.
#[derive(Clone)]
pub struct CloudLogin {
    pub user: String,
    pub password: String,
    /// How long it is good for.
    pub lifetime: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositoryRules {
    /// A tag that has an image keeps it.
    pub immutable: bool,
    /// Patterns with `*`, of tags for which the opposite holds.
    pub exceptions: Vec<String>,
}

impl RepositoryRules {
    /// Whether a tag that has an image may be given another one.
    pub fn may_move(&self, tag: &str) -> bool {
        self.immutable == self.exceptions.iter().any(|pattern| fits(pattern, tag))
    }
}

/// `*` stands for any text, also none.
pub fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|left| {
            left.char_indices().map(|(at, _)| at).chain([left.len()]).any(|at| fits(rest, &left[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immutable_tags_and_their_exceptions() {
        let exceptions = vec!["latest".to_owned(), "dev-*".to_owned(), "*-rc*".to_owned()];
        let mut rules = RepositoryRules { immutable: true, exceptions };
        assert!(["latest", "dev-", "dev-1", "1-rc", "1-rc2"].iter().all(|tag| rules.may_move(tag)));
        assert!(!["1.0", "latest2", "adev-1"].iter().any(|tag| rules.may_move(tag)));
        rules.immutable = false;
        assert!(rules.may_move("1.0") && !rules.may_move("latest"));
        assert!(RepositoryRules::default().may_move("1.0"));
    }
}

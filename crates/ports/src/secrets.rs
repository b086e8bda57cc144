//! Where containers' secrets are kept: SSM and Secrets Manager on AWS, a file on this machine. References are those of manifests;
//! `env` and `file` are not kept anywhere by Landfall and are refused.

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::task::SecretRef;

use crate::{PortError, PortResult};

/// A value that shows nowhere: not by `Debug`, not in an error.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// For whoever it is meant for, and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// What may be known of a secret without its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretInfo {
    pub changed: Option<Timestamp>,
    /// Says what is unusual about it: `a String, readable without decryption`; `its key is not looked at`.
    pub remark: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Created,
    Changed,
}

#[async_trait]
pub trait SecretStore: Send + Sync {
    /// `None`: it is not there. No value is read.
    async fn look(&self, reference: &SecretRef) -> PortResult<Option<SecretInfo>>;

    /// Names of the parameters directly under a path of SSM, sorted. No value is read.
    async fn under(&self, path: &str) -> PortResult<Vec<String>>;

    /// `None`: it is not there.
    async fn read(&self, reference: &SecretRef) -> PortResult<Option<SecretValue>>;

    /// Makes it, or gives it another value; of a secret with a JSON key, that key alone.
    ///
    /// # Errors
    /// `Invalid` for what cannot be written so: a pinned version, bytes that are not text, a value that is too long. `Conflict` for
    /// what is there in another form.
    async fn write(&self, reference: &SecretRef, value: &SecretValue) -> PortResult<Written>;

    /// Makes a parameter of SSM that anybody who may read it reads in the open, or gives it another value. For what is no secret.
    /// Natural.
    ///
    /// # Errors
    /// `Conflict` where a secret is kept under that name.
    async fn write_open(&self, name: &str, value: &str) -> PortResult<()> {
        self.write(&SecretRef::Ssm(name.to_owned()), &SecretValue::new(value)).await.map(drop)
    }
}

/// One key of a JSON object, as ECS gives it to a container.
pub fn json_key(value: &str, key: &str) -> Option<String> {
    let object: serde_json::Value = serde_json::from_str(value).ok()?;
    match object.get(key)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// The JSON object with this key set; a new one where there is none yet.
///
/// # Errors
/// `Conflict` where what is there is no JSON object.
pub fn with_json_key(before: Option<&str>, key: &str, value: &str, name: &str) -> PortResult<String> {
    let parsed = before.map_or_else(|| Ok(serde_json::Value::Object(serde_json::Map::new())), serde_json::from_str);
    let Ok(serde_json::Value::Object(mut object)) = parsed else {
        return Err(PortError::Conflict(format!("{name} is no JSON object, so its key {key} cannot be set")));
    };
    object.insert(key.to_owned(), value.into());
    Ok(serde_json::Value::Object(object).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_value_shows_nowhere() {
        assert_eq!(format!("{:?}", SecretValue::new("hush")), "SecretValue(…)");
    }

    #[test]
    fn one_key_of_a_json_secret() {
        let secret = r#"{"url": "https://h", "port": 5432, "none": null}"#;
        assert_eq!(json_key(secret, "url").as_deref(), Some("https://h"));
        assert_eq!(json_key(secret, "port").as_deref(), Some("5432"));
        assert_eq!((json_key(secret, "none"), json_key(secret, "x"), json_key("plain", "x")), (None, None, None));
        let changed = with_json_key(Some(secret), "url", "new", "db").unwrap();
        assert_eq!(json_key(&changed, "url").as_deref(), Some("new"));
        assert_eq!(json_key(&changed, "port").as_deref(), Some("5432"));
        assert_eq!(with_json_key(None, "a", "b", "db").unwrap(), r#"{"a":"b"}"#);
        let refused = with_json_key(Some("plain hush"), "a", "b", "db").unwrap_err().to_string();
        assert!(!refused.contains("hush"), "{refused}");
    }
}

//! Values of secrets, read when a container is made and given to it alone: never to a label, a log or an error.
//!
//! What AWS keeps in SSM and Secrets Manager is kept here in one file, `STATE/local/secrets.json`, which its owner alone may read: a
//! manifest's references mean the same on this machine. `landfall secrets` writes it; whoever writes holds `secrets.lock`, so that
//! two writers lose nothing of each other's, and replaces the file whole, so that a container that starts meanwhile reads the old or
//! the new one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::secret::{SecretId, parameter_name, path_of, variables_of};
use landfall_model::task::{ContainerSettings, SecretRef};
use landfall_ports::secrets::{SecretInfo, SecretStore, SecretValue, Written, json_key, with_json_key};
use landfall_ports::{PortError, PortResult};
use serde::{Deserialize, Serialize};

use crate::core::now;
use crate::state;

const SSM: &str = "ssm:";
const SECRETS_MANAGER: &str = "secretsmanager:";

#[derive(Serialize, Deserialize)]
struct Kept {
    value: String,
    changed: Timestamp,
}

/// By kind and name: `ssm:/shop/dev/db`, `secretsmanager:shop/dev`.
type All = BTreeMap<String, Kept>;

/// This machine's secrets.
#[derive(Debug, Clone)]
pub struct LocalSecrets {
    path: PathBuf,
}

impl LocalSecrets {
    pub fn new(state_dir: &Path) -> Self {
        Self::within(&state_dir.join("local"))
    }

    /// `directory`: `STATE/local`.
    pub(crate) fn within(directory: &Path) -> Self {
        Self { path: directory.join("secrets.json") }
    }

    fn all(&self) -> PortResult<All> {
        Ok(state::read_json(&self.path)?.unwrap_or_default())
    }

    /// The value behind a reference. Errors name the reference, never the value.
    pub(crate) fn resolve(&self, reference: &SecretRef) -> PortResult<String> {
        match reference {
            SecretRef::Env(_) | SecretRef::File(_) => resolve(reference),
            SecretRef::Ssm(name) => self.get(reference)?.ok_or_else(|| missing("parameter", name)),
            SecretRef::SecretsManager(name) => self.get(reference)?.ok_or_else(|| missing("secret", name)),
        }
    }

    fn get(&self, reference: &SecretRef) -> PortResult<Option<String>> {
        let (key, json) = place(reference)?;
        let value = self.all()?.remove(&key).map(|kept| kept.value);
        Ok(match json {
            Some(json) => value.and_then(|value| json_key(&value, &json)),
            None => value,
        })
    }

    /// Refused when a task definition is registered, long before a container needs it.
    pub(crate) fn check(&self, settings: &ContainerSettings) -> PortResult<()> {
        for reference in settings.secrets.values() {
            if matches!(reference, SecretRef::Ssm(_) | SecretRef::SecretsManager(_)) {
                self.resolve(reference)?;
            }
        }
        self.under_paths(settings).map(drop)
    }

    /// All that a container is given, by variable.
    ///
    /// # Errors
    /// Says of which variable.
    pub(crate) fn of(&self, settings: &ContainerSettings) -> Result<BTreeMap<String, String>, String> {
        let unable =
            |what: &str, error: PortError| format!("ResourceInitializationError: unable to get secret {what}: {error}");
        let under = self.under_paths(settings).map_err(|error| unable("paths", error))?;
        let under = under.into_iter().map(|(variable, parameter)| (variable, SecretRef::Ssm(parameter)));
        let named = settings.secrets.iter().map(|(variable, reference)| (variable.clone(), reference.clone()));
        let value = |(variable, reference): (String, SecretRef)| {
            let value = self.resolve(&reference).map_err(|error| unable(&variable, error))?;
            Ok((variable, value))
        };
        under.chain(named).map(value).collect()
    }

    fn under_paths(&self, settings: &ContainerSettings) -> PortResult<BTreeMap<String, String>> {
        let mut found = Vec::new();
        for path in &settings.secret_paths {
            let parameters = self.names_under(path)?;
            if parameters.is_empty() {
                return Err(PortError::Invalid(format!(
                    "no parameter is under {path} on this machine: `landfall secrets set` makes one, or correct `secret_paths`"
                )));
            }
            found.push((path.clone(), parameters));
        }
        let taken = |name: &str| settings.environment.contains_key(name) || settings.secrets.contains_key(name);
        variables_of(&found, taken).map_err(PortError::Invalid)
    }

    fn names_under(&self, path: &str) -> PortResult<Vec<String>> {
        let before = format!("{}/", path_of(path).trim_end_matches('/'));
        let all = self.all()?;
        let names = all.into_keys().filter_map(|key| key.strip_prefix(SSM).map(str::to_owned));
        Ok(names.filter(|name| name.strip_prefix(&before).is_some_and(|rest| !rest.contains('/'))).collect())
    }

    fn put(&self, reference: &SecretRef, value: &str) -> PortResult<Written> {
        if let SecretRef::SecretsManager(text) = reference {
            let id = SecretId::parse(text);
            if id.version.is_some() || id.stage.is_some_and(|stage| stage != "AWSCURRENT") {
                return Err(PortError::Invalid(format!(
                    "{text}: this machine keeps the current version of a secret only"
                )));
            }
        }
        let (key, json) = place(reference)?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        state::create_private_dir(directory)?;
        let lock = directory.join("secrets.lock");
        let held = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _held = held.map_err(|error| PortError::Unavailable(format!("{}: {error}", lock.display())))?;
        let mut all = self.all()?;
        let before = all.get(&key).map(|kept| kept.value.as_str());
        let whole = match &json {
            Some(json) => with_json_key(before, json, value, &format!("secret {}", &key[SECRETS_MANAGER.len()..]))?,
            None => value.to_owned(),
        };
        let written = if before.is_some() { Written::Changed } else { Written::Created };
        all.insert(key, Kept { value: whole, changed: now() });
        state::write_json(&self.path, &all)?;
        Ok(written)
    }
}

/// Where it is kept, and which JSON key of it is meant.
fn place(reference: &SecretRef) -> PortResult<(String, Option<String>)> {
    match reference {
        SecretRef::Ssm(name) => Ok((format!("{SSM}{}", parameter_name(name)), None)),
        SecretRef::SecretsManager(text) => {
            let id = SecretId::parse(text);
            Ok((format!("{SECRETS_MANAGER}{}", id.id), id.key.map(str::to_owned)))
        }
        SecretRef::Env(name) | SecretRef::File(name) => {
            Err(PortError::Invalid(format!("{name} is read where it is, and not kept by Landfall")))
        }
    }
}

fn missing(kind: &str, name: &str) -> PortError {
    PortError::Invalid(format!(
        "{kind} {name} is not among this machine's secrets: `landfall secrets set` puts it there"
    ))
}

#[async_trait]
impl SecretStore for LocalSecrets {
    async fn look(&self, reference: &SecretRef) -> PortResult<Option<SecretInfo>> {
        let (key, json) = place(reference)?;
        let Some(kept) = self.all()?.remove(&key) else { return Ok(None) };
        if json.is_some_and(|json| json_key(&kept.value, &json).is_none()) {
            return Ok(None);
        }
        Ok(Some(SecretInfo { changed: Some(kept.changed), remark: None }))
    }

    async fn under(&self, path: &str) -> PortResult<Vec<String>> {
        self.names_under(path)
    }

    async fn read(&self, reference: &SecretRef) -> PortResult<Option<SecretValue>> {
        Ok(self.get(reference)?.map(SecretValue::new))
    }

    async fn write(&self, reference: &SecretRef, value: &SecretValue) -> PortResult<Written> {
        let (own, reference, value) = (self.clone(), reference.clone(), value.clone());
        state::blocking(move || own.put(&reference, value.expose())).await
    }
}

/// A variable or a file of this machine.
pub(crate) fn resolve(reference: &SecretRef) -> PortResult<String> {
    match reference {
        SecretRef::Env(name) => std::env::var(name).map_err(|_| {
            PortError::Invalid(format!("environment variable {name} is not set for the Landfall process"))
        }),
        SecretRef::File(path) => {
            let mut text = std::fs::read_to_string(path)
                .map_err(|e| PortError::Invalid(format!("secret file {path} cannot be read: {e}")))?;
            if text.ends_with('\n') {
                text.pop();
            }
            Ok(text)
        }
        SecretRef::Ssm(_) | SecretRef::SecretsManager(_) => Err(PortError::Bug("a store has this one".to_owned())),
    }
}

/// A hook's: of this machine, or from where the environment's secrets are kept.
///
/// # Errors
/// Names the reference, never the value.
pub(crate) async fn read(store: &dyn SecretStore, reference: &SecretRef) -> PortResult<String> {
    let (kind, name) = match reference {
        SecretRef::Env(_) | SecretRef::File(_) => return resolve(reference),
        SecretRef::Ssm(name) => ("parameter", name),
        SecretRef::SecretsManager(name) => ("secret", name),
    };
    let value = store.read(reference).await?;
    value.map(|value| value.expose().to_owned()).ok_or_else(|| {
        PortError::NotFound(format!("{kind} {name} is not where this environment's secrets are kept (docs/secrets.md)"))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_newline_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, "hush\n\n").unwrap();
        let reference = SecretRef::File(path.to_str().unwrap().to_owned());
        assert_eq!(resolve(&reference).unwrap(), "hush\n");
    }

    #[test]
    fn what_is_not_there_is_invalid() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = LocalSecrets::new(dir.path());
        for reference in [
            SecretRef::Env("LANDFALL_TEST_NOT_SET_ANYWHERE".to_owned()),
            SecretRef::File("/no/such/file".to_owned()),
            SecretRef::Ssm("/p".to_owned()),
            SecretRef::SecretsManager("s".to_owned()),
        ] {
            assert!(matches!(secrets.resolve(&reference), Err(PortError::Invalid(_))), "{reference:?}");
        }
        let of = |name: &str, reference| ContainerSettings {
            secrets: BTreeMap::from([(name.to_owned(), reference)]),
            ..ContainerSettings::default()
        };
        assert!(secrets.check(&of("P", SecretRef::Ssm("/p".to_owned()))).is_err());
        // What only the server's own surroundings have is looked for when it is needed.
        assert!(secrets.check(&of("P", SecretRef::Env("LANDFALL_TEST_NOT_SET_ANYWHERE".to_owned()))).is_ok());
    }

    #[tokio::test]
    async fn references_of_aws_mean_the_same_here() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = LocalSecrets::new(dir.path());
        let put = async |reference: SecretRef, value: &str| secrets.write(&reference, &SecretValue::new(value)).await;
        let manager = |text: &str| SecretRef::SecretsManager(text.to_owned());
        assert_eq!(put(SecretRef::Ssm("/shop/dev/db-url".to_owned()), "one").await.unwrap(), Written::Created);
        assert_eq!(put(SecretRef::Ssm("/shop/dev/db-url".to_owned()), "two").await.unwrap(), Written::Changed);
        assert_eq!(put(SecretRef::Ssm("/shop/dev/deep/x".to_owned()), "no").await.unwrap(), Written::Created);
        assert_eq!(put(manager("shop:user"), "u").await.unwrap(), Written::Created);
        assert_eq!(put(manager("shop:pass"), "p").await.unwrap(), Written::Changed);
        assert!(put(manager("shop:pass:AWSPREVIOUS"), "p").await.is_err());
        assert_eq!(secrets.resolve(&manager("shop:user")).unwrap(), "u");
        assert_eq!(secrets.look(&manager("shop:none")).await.unwrap(), None);
        assert!(secrets.look(&manager("shop:pass")).await.unwrap().unwrap().changed.is_some());
        let file = dir.path().join("local/secrets.json");
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let settings = ContainerSettings {
            secrets: BTreeMap::from([("PASS".to_owned(), manager("shop:pass"))]),
            secret_paths: vec!["/shop/dev/".to_owned()],
            ..ContainerSettings::default()
        };
        secrets.check(&settings).unwrap();
        let found = secrets.of(&settings).unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, [("DB_URL", "two"), ("PASS", "p")]);
        let nothing = ContainerSettings { secret_paths: vec!["/shop/prod".to_owned()], ..settings };
        assert!(secrets.check(&nothing).unwrap_err().to_string().contains("landfall secrets set"));
    }

    #[test]
    fn writers_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = LocalSecrets::new(dir.path());
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let secrets = &secrets;
                scope.spawn(move || {
                    for number in 0..4 {
                        secrets.put(&SecretRef::Ssm(format!("/p/{writer}-{number}")), "v").unwrap();
                    }
                });
            }
        });
        assert_eq!(secrets.names_under("/p").unwrap().len(), 32);
    }
}

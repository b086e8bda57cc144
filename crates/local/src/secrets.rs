//! Values of secrets, read when a container is made and given to it alone: never to a file, a label, a log or an error.

use landfall_model::task::SecretRef;
use landfall_ports::{PortError, PortResult};

/// The value behind a reference. Errors name the reference, never the value.
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
        SecretRef::Ssm(name) => Err(aws_only("SSM parameter", name)),
        SecretRef::SecretsManager(name) => Err(aws_only("Secrets Manager secret", name)),
    }
}

/// Refused when a task definition is registered, long before a container needs it.
pub(crate) fn check(reference: &SecretRef) -> PortResult<()> {
    match reference {
        SecretRef::Env(_) | SecretRef::File(_) => Ok(()),
        SecretRef::Ssm(name) => Err(aws_only("SSM parameter", name)),
        SecretRef::SecretsManager(name) => Err(aws_only("Secrets Manager secret", name)),
    }
}

fn aws_only(kind: &str, name: &str) -> PortError {
    PortError::Invalid(format!("{kind} {name}: the local platform reads secrets from `env` or `file` only"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, "hush\n\n").unwrap();
        let reference = SecretRef::File(path.to_str().unwrap().to_owned());
        assert_eq!(resolve(&reference).unwrap(), "hush\n");
        assert!(check(&reference).is_ok());
    }

    #[test]
    fn unset_and_foreign_ones_are_invalid() {
        for reference in [
            SecretRef::Env("LANDFALL_TEST_NOT_SET_ANYWHERE".to_owned()),
            SecretRef::File("/no/such/file".to_owned()),
            SecretRef::Ssm("/p".to_owned()),
            SecretRef::SecretsManager("s".to_owned()),
        ] {
            assert!(matches!(resolve(&reference), Err(PortError::Invalid(_))), "{reference:?}");
        }
        assert!(check(&SecretRef::Ssm("/p".to_owned())).is_err());
    }
}

//! Secrets as ECS takes them: `valueFrom`, read by the execution role when a task starts. The value never passes through here.

use landfall_model::task::SecretRef;
use landfall_ports::{PortError, PortResult};

/// What ECS shall be told, or what must be asked first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    ValueFrom(String),
    /// ECS takes Secrets Manager's secrets by ARN only.
    Lookup {
        name: String,
        json_key: Option<String>,
    },
}

pub(crate) fn source(variable: &str, reference: &SecretRef) -> PortResult<Source> {
    match reference {
        // A name or an ARN: ECS takes both.
        SecretRef::Ssm(parameter) => Ok(Source::ValueFrom(parameter.clone())),
        SecretRef::SecretsManager(id) => Ok(secrets_manager(id)),
        SecretRef::Env(_) | SecretRef::File(_) => Err(PortError::Invalid(format!(
            "secret {variable}: tasks on AWS cannot read this machine's environment and files; put the value into SSM or \
             Secrets Manager and refer to it by `ssm` or `secrets_manager`"
        ))),
    }
}

/// `NAME`, `NAME:key`, `ARN`, `ARN:key`, or ECS's own `ARN:key:stage:version`.
fn secrets_manager(id: &str) -> Source {
    if !id.starts_with("arn:") {
        return match id.split_once(':') {
            Some((name, key)) => Source::Lookup { name: name.to_owned(), json_key: Some(key.to_owned()) },
            None => Source::Lookup { name: id.to_owned(), json_key: None },
        };
    }
    // arn:partition:secretsmanager:region:account:secret:name-suffix has six colons.
    let parts = id.split(':').count();
    Source::ValueFrom(if parts == 8 { format!("{id}::") } else { id.to_owned() })
}

pub(crate) fn value_from(arn: &str, json_key: Option<&str>) -> String {
    json_key.map_or_else(|| arn.to_owned(), |key| format!("{arn}:{key}::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf";

    fn of(id: &str) -> Source {
        source("DB", &SecretRef::SecretsManager(id.to_owned())).unwrap()
    }

    #[test]
    fn references_become_what_ecs_takes() {
        assert_eq!(source("A", &SecretRef::Ssm("/a/b".to_owned())).unwrap(), Source::ValueFrom("/a/b".to_owned()));
        assert_eq!(of(ARN), Source::ValueFrom(ARN.to_owned()));
        assert_eq!(of(&format!("{ARN}:password")), Source::ValueFrom(format!("{ARN}:password::")));
        assert_eq!(of(&format!("{ARN}:password::")), Source::ValueFrom(format!("{ARN}:password::")));
        assert_eq!(of("db"), Source::Lookup { name: "db".to_owned(), json_key: None });
        assert_eq!(of("db:user"), Source::Lookup { name: "db".to_owned(), json_key: Some("user".to_owned()) });
        assert_eq!(value_from(ARN, Some("user")), format!("{ARN}:user::"));
    }

    #[test]
    fn this_machine_s_secrets_are_refused_with_a_way_out() {
        let error = source("TOKEN", &SecretRef::Env("TOKEN".to_owned())).unwrap_err().to_string();
        assert!(error.contains("TOKEN") && error.contains("ssm"), "{error}");
    }
}

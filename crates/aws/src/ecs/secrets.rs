//! Secrets as ECS takes them: `valueFrom`, read by the execution role when a task starts. The value never passes through here.

use landfall_model::task::SecretRef;
use landfall_ports::{PortError, PortResult};

use crate::secrets::SecretId;

/// What ECS shall be told, or what must be asked first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    ValueFrom(String),
    /// ECS takes Secrets Manager's secrets by ARN only: the ARN of this one belongs before what `value_from` adds.
    Lookup(SecretId<'a>),
}

pub(crate) fn source<'a>(variable: &str, reference: &'a SecretRef) -> PortResult<Source<'a>> {
    match reference {
        // A name or an ARN: ECS takes both.
        SecretRef::Ssm(parameter) => Ok(Source::ValueFrom(parameter.clone())),
        SecretRef::SecretsManager(text) => {
            let secret = SecretId::parse(text);
            Ok(if secret.id.starts_with("arn:") {
                Source::ValueFrom(value_from(secret.id, &secret))
            } else {
                Source::Lookup(secret)
            })
        }
        SecretRef::Env(_) | SecretRef::File(_) => Err(PortError::Invalid(format!(
            "secret {variable}: tasks on AWS cannot read this machine's environment and files; put the value into SSM or \
             Secrets Manager and refer to it by `ssm` or `secrets_manager`"
        ))),
    }
}

/// The ARN alone, or whole, `ARN:JSON-KEY:STAGE:VERSION`: ECS wants every colon as soon as there is one, with nothing between
/// them where nothing is said.
pub(crate) fn value_from(arn: &str, secret: &SecretId<'_>) -> String {
    if (secret.key, secret.stage, secret.version) == (None, None, None) {
        return arn.to_owned();
    }
    let part = |part: Option<&str>| part.unwrap_or_default().to_owned();
    format!("{arn}:{}:{}:{}", part(secret.key), part(secret.stage), part(secret.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf";

    fn of(id: &str) -> String {
        let reference = SecretRef::SecretsManager(id.to_owned());
        match source("DB", &reference).unwrap() {
            Source::ValueFrom(from) => from,
            Source::Lookup(secret) => format!("? {} {}", secret.id, value_from(ARN, &secret)),
        }
    }

    #[test]
    fn references_become_what_ecs_takes() {
        let parameter = SecretRef::Ssm("/a/b".to_owned());
        assert_eq!(source("A", &parameter).unwrap(), Source::ValueFrom("/a/b".to_owned()));
        assert_eq!(of(ARN), ARN);
        assert_eq!(of(&format!("{ARN}:::")), ARN);
        assert_eq!(of(&format!("{ARN}:password")), format!("{ARN}:password::"));
        assert_eq!(of(&format!("{ARN}:password:")), format!("{ARN}:password::"));
        assert_eq!(of(&format!("{ARN}:password::")), format!("{ARN}:password::"));
        assert_eq!(of(&format!("{ARN}::AWSPREVIOUS")), format!("{ARN}::AWSPREVIOUS:"));
        assert_eq!(of(&format!("{ARN}:password::v1")), format!("{ARN}:password::v1"));
        assert_eq!(of("db"), format!("? db {ARN}"));
        assert_eq!(of("db:user"), format!("? db {ARN}:user::"));
        assert_eq!(of("db:user:AWSPREVIOUS"), format!("? db {ARN}:user:AWSPREVIOUS:"));
    }

    #[test]
    fn this_machine_s_secrets_are_refused_with_a_way_out() {
        let error = source("TOKEN", &SecretRef::Env("TOKEN".to_owned())).unwrap_err().to_string();
        assert!(error.contains("TOKEN") && error.contains("ssm"), "{error}");
    }
}

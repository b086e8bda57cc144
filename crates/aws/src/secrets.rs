//! Values of secrets that Landfall itself needs (a webhook's secret, a chat's URL). Containers' secrets are ECS's business. A
//! value is returned and nothing else: never logged, never part of an error.

use landfall_model::task::SecretRef;
use landfall_ports::{PortError, PortResult};
use serde_json::{Value, json};

use crate::budget::Family;
use crate::call::Call;
use crate::core::Core;
use crate::signed::{self, Signer, region_of};

/// # Errors
/// `Invalid` for references that are not AWS's, and for secrets without the JSON key or without text.
pub(crate) async fn resolve(core: &Core, signer: &Signer, reference: &SecretRef) -> PortResult<String> {
    match reference {
        SecretRef::Ssm(name) => parameter(core, signer, name).await,
        SecretRef::SecretsManager(text) => secret(core, text).await,
        SecretRef::Env(name) | SecretRef::File(name) => {
            Err(PortError::Invalid(format!("{name} is read on this machine, not from AWS")))
        }
    }
}

async fn parameter(core: &Core, signer: &Signer, name: &str) -> PortResult<String> {
    let resource = format!("parameter {name}");
    let call = Call { service: "ssm", action: "GetParameter", family: Family::SsmRead, resource: &resource };
    let body = json!({"Name": name, "WithDecryption": true});
    let region = region_of(name, &core.region);
    let answer = signed::json(signer, core, call, region, "AmazonSSM.GetParameter", &body).await?;
    let value = answer["Parameter"]["Value"].as_str();
    value.map(str::to_owned).ok_or_else(|| PortError::Invalid(format!("{resource} has no value")))
}

async fn secret(core: &Core, text: &str) -> PortResult<String> {
    let reference = SecretId::parse(text);
    let region = region_of(reference.id, &core.region);
    let client = if region == core.region {
        core.clients.secrets.clone()
    } else {
        let config = aws_sdk_secretsmanager::config::Builder::from(&core.sdk);
        let region = aws_sdk_secretsmanager::config::Region::new(region.to_owned());
        aws_sdk_secretsmanager::Client::from_conf(config.region(region).build())
    };
    let resource = format!("secret {}", reference.id);
    let call =
        Call { service: "secretsmanager", action: "GetSecretValue", family: Family::SecretsRead, resource: &resource };
    let send = || {
        let request = client.get_secret_value().secret_id(reference.id);
        let request = request.set_version_stage(reference.stage.map(str::to_owned));
        request.set_version_id(reference.version.map(str::to_owned)).send()
    };
    let answer = core.caller.call(call, send).await?;
    let value = answer.secret_string.ok_or_else(|| PortError::Invalid(format!("{resource} holds bytes, not text")))?;
    match reference.key {
        None => Ok(value),
        Some(key) => json_key(&value, key)
            .ok_or_else(|| PortError::Invalid(format!("{resource} is no JSON object with the key {key}"))),
    }
}

fn json_key(value: &str, key: &str) -> Option<String> {
    let object: Value = serde_json::from_str(value).ok()?;
    match object.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// As ECS reads `valueFrom`: `ID[:JSON-KEY[:STAGE[:VERSION]]]`, where an ARN has seven parts of its own and parts may be empty.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SecretId<'a> {
    pub id: &'a str,
    pub key: Option<&'a str>,
    pub stage: Option<&'a str>,
    pub version: Option<&'a str>,
}

impl<'a> SecretId<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let own = if text.starts_with("arn:") { 7 } else { 1 };
        let end = text.match_indices(':').nth(own - 1).map_or(text.len(), |(at, _)| at);
        let mut rest = text[end..].split(':').skip(1).map(|part| Some(part).filter(|part| !part.is_empty()));
        let mut next = || rest.next().flatten();
        Self { id: &text[..end], key: next(), stage: next(), version: next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_ecs_reads_them() {
        let of = |id, key, stage, version| SecretId { id, key, stage, version };
        assert_eq!(SecretId::parse("slack"), of("slack", None, None, None));
        assert_eq!(SecretId::parse("team/slack:url"), of("team/slack", Some("url"), None, None));
        let arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:slack-AbCdEf";
        assert_eq!(SecretId::parse(arn), of(arn, None, None, None));
        let full = format!("{arn}:url:AWSPREVIOUS:v1");
        assert_eq!(SecretId::parse(&full), of(arn, Some("url"), Some("AWSPREVIOUS"), Some("v1")));
        let empty = format!("{arn}:url::");
        assert_eq!(SecretId::parse(&empty), of(arn, Some("url"), None, None));
        let stage = format!("{arn}::AWSPREVIOUS:");
        assert_eq!(SecretId::parse(&stage), of(arn, None, Some("AWSPREVIOUS"), None));
    }

    #[test]
    fn one_key_of_a_json_secret() {
        let secret = r#"{"url": "https://h", "port": 5432, "none": null}"#;
        assert_eq!(json_key(secret, "url").as_deref(), Some("https://h"));
        assert_eq!(json_key(secret, "port").as_deref(), Some("5432"));
        assert_eq!((json_key(secret, "none"), json_key(secret, "x"), json_key("plain", "x")), (None, None, None));
    }
}

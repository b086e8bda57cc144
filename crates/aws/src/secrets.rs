//! Values of secrets that Landfall itself needs (a webhook's secret, a chat's URL). Containers' secrets are ECS's business. A
//! value is returned and nothing else: never logged, never part of an error.

pub(crate) use landfall_model::secret::SecretId;
use landfall_model::task::SecretRef;
use landfall_ports::secrets::json_key;
use landfall_ports::{PortError, PortResult};
use serde_json::json;

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

//! What is read of parameters and secrets. A value is returned and nothing else: never logged, never part of an error.

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
pub(crate) use landfall_model::secret::SecretId;
use landfall_model::secret::parameter_name;
use landfall_model::task::SecretRef;
use landfall_ports::secrets::json_key;
use landfall_ports::{PortError, PortResult};
use serde_json::{Value, json};

use crate::budget::Family;
use crate::call::Call;
use crate::core::Core;
use crate::signed::{self, Signer, region_of};

/// The value of one that Landfall itself needs (a webhook's secret, a chat's URL). Containers' secrets are ECS's business.
///
/// # Errors
/// `Invalid` for references that are not AWS's, and for secrets without the JSON key or without text.
pub(crate) async fn resolve(core: &Core, signer: &Signer, reference: &SecretRef) -> PortResult<String> {
    match reference {
        SecretRef::Ssm(name) => {
            let found = parameter(core, signer, region_of(name, &core.region), name).await?;
            let value = found["Value"].as_str();
            value.map(str::to_owned).ok_or_else(|| PortError::Invalid(format!("parameter {name} has no value")))
        }
        SecretRef::SecretsManager(reference) => {
            let secret = SecretId::parse(reference);
            let value = text(core, &secret).await?;
            match secret.key {
                None => Ok(value),
                Some(key) => json_key(&value, key).ok_or_else(|| {
                    PortError::Invalid(format!("secret {} is no JSON object with the key {key}", secret.id))
                }),
            }
        }
        SecretRef::Env(name) | SecretRef::File(name) => {
            Err(PortError::Invalid(format!("{name} is read on this machine, not from AWS")))
        }
    }
}

/// Type and value, decrypted. `name` may be an ARN.
pub(crate) async fn parameter(core: &Core, signer: &Signer, region: &str, name: &str) -> PortResult<Value> {
    let resource = format!("parameter {name}");
    let call = Call { service: "ssm", action: "GetParameter", family: Family::SsmRead, resource: &resource };
    let body = json!({"Name": name, "WithDecryption": true});
    let mut answer = signed::json(signer, core, call, region, "AmazonSSM.GetParameter", &body).await?;
    Ok(answer["Parameter"].take())
}

/// Type, key, tier and dates of a parameter, by its name or its ARN; never the value. `None`: it is not there.
pub(crate) async fn described_parameter(core: &Core, signer: &Signer, reference: &str) -> PortResult<Option<Value>> {
    let name = parameter_name(reference);
    let resource = format!("parameter {name}");
    let call = Call { service: "ssm", action: "DescribeParameters", family: Family::SsmRead, resource: &resource };
    let body = json!({"ParameterFilters": [{"Key": "Name", "Option": "Equals", "Values": [name]}]});
    let region = region_of(reference, &core.region);
    let mut answer = signed::json(signer, core, call, region, "AmazonSSM.DescribeParameters", &body).await?;
    let same = |one: &Value| {
        one["Name"].as_str().is_some_and(|found| found.trim_start_matches('/') == name.trim_start_matches('/'))
    };
    let found = answer["Parameters"].as_array_mut().and_then(|all| all.iter_mut().find(|one| same(one)));
    Ok(found.map(Value::take))
}

fn client(core: &Core, id: &str) -> aws_sdk_secretsmanager::Client {
    let region = region_of(id, &core.region);
    if region == core.region {
        return core.clients.secrets.clone();
    }
    let config = aws_sdk_secretsmanager::config::Builder::from(&core.sdk);
    let region = aws_sdk_secretsmanager::config::Region::new(region.to_owned());
    aws_sdk_secretsmanager::Client::from_conf(config.region(region).build())
}

/// A whole secret's value, of the version and stage that the reference names.
pub(crate) async fn text(core: &Core, secret: &SecretId<'_>) -> PortResult<String> {
    let resource = format!("secret {}", secret.id);
    let request = client(core, secret.id).get_secret_value().secret_id(secret.id);
    let request = request.set_version_stage(secret.stage.map(str::to_owned));
    let request = request.set_version_id(secret.version.map(str::to_owned));
    let call =
        Call { service: "secretsmanager", action: "GetSecretValue", family: Family::SecretsRead, resource: &resource };
    let answer = core.caller.call(call, || request.clone().send()).await?;
    answer.secret_string.ok_or_else(|| PortError::Invalid(format!("{resource} holds bytes, not text")))
}

/// Without its value.
pub(crate) async fn described(core: &Core, id: &str) -> PortResult<DescribeSecretOutput> {
    let resource = format!("secret {id}");
    let request = client(core, id).describe_secret().secret_id(id);
    let call =
        Call { service: "secretsmanager", action: "DescribeSecret", family: Family::SecretsRead, resource: &resource };
    Ok(core.caller.call(call, || request.clone().send()).await?)
}

pub(crate) async fn arn(core: &Core, name: &str) -> PortResult<String> {
    let found = described(core, name).await?;
    found.arn.ok_or_else(|| PortError::NotFound(format!("secret {name} has no ARN")))
}

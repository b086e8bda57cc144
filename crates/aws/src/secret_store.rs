//! Containers' secrets in SSM and Secrets Manager, for whoever sets, compares and copies them. A deployment only refers to them.
//! A value goes into a request's body and nowhere else.

use std::sync::Arc;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::secret::{parameter_name, path_of};
use landfall_model::task::SecretRef;
use landfall_ports::secrets::{SecretInfo, SecretStore, SecretValue, Written, json_key, with_json_key};
use landfall_ports::{PortError, PortResult};
use serde_json::{Value, json};

use crate::budget::{Family, random};
use crate::call::Call;
use crate::core::Core;
use crate::secrets::{self, SecretId};
use crate::signed::{self, Signer, region_of};

/// Of a parameter of the standard tier, and of the advanced one, which costs money and is never chosen here.
const STANDARD: usize = 4096;
const ADVANCED: usize = 8192;
/// Secrets Manager's limit.
const SECRET: usize = 65_536;
/// Pages of names under a path; fifty names each.
const PAGES: usize = 40;

pub(crate) struct AwsSecrets {
    core: Arc<Core>,
    signer: Arc<Signer>,
}

impl AwsSecrets {
    pub(crate) fn new(core: Arc<Core>, signer: Arc<Signer>) -> Self {
        Self { core, signer }
    }

    async fn ssm(&self, call: Call<'_>, region: &str, body: &Value) -> PortResult<Value> {
        let target = format!("AmazonSSM.{}", call.action);
        let hidden = [body["Value"].as_str().unwrap_or_default()];
        signed::json_hiding(&self.signer, &self.core, call, region, &target, body, &hidden).await
    }

    /// `value`: what no error may repeat.
    async fn secrets(&self, call: Call<'_>, body: &Value, value: &str) -> PortResult<Value> {
        let region = region_of(body["SecretId"].as_str().unwrap_or_default(), &self.core.region);
        let target = format!("secretsmanager.{}", call.action);
        let hidden = [body["SecretString"].as_str().unwrap_or_default(), value];
        signed::json_hiding(&self.signer, &self.core, call, region, &target, body, &hidden).await
    }

    async fn put_parameter(&self, reference: &str, value: &str) -> PortResult<Written> {
        let name = parameter_name(reference);
        let resource = format!("parameter {name}");
        let before = secrets::described_parameter(&self.core, &self.signer, reference).await?;
        let tier = before.as_ref().and_then(|before| before["Tier"].as_str()).filter(|tier| *tier == "Advanced");
        let most = if tier.is_some() { ADVANCED } else { STANDARD };
        if value.is_empty() || value.len() > most {
            return Err(PortError::Invalid(format!(
                "{resource} takes 1 to {most} bytes, and the value has {}: a longer one fits into Secrets Manager",
                value.len()
            )));
        }
        let mut body = json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": before.is_some()});
        if let Some(before) = &before {
            if before["Type"].as_str().is_some_and(|kind| kind != "SecureString") {
                return Err(PortError::Conflict(format!(
                    "{resource} is a {}, which is readable without decryption, and SSM changes no parameter's type: delete it, and \
                     set it again",
                    before["Type"].as_str().unwrap_or_default()
                )));
            }
            // Without it the value would be encrypted with the account's own key from now on.
            if let Some(key) = before["KeyId"].as_str().filter(|key| *key != "alias/aws/ssm") {
                body["KeyId"] = key.into();
            }
        }
        if let Some(tier) = tier {
            body["Tier"] = tier.into();
        }
        let call = Call { service: "ssm", action: "PutParameter", family: Family::SsmWrite, resource: &resource };
        self.ssm(call, region_of(reference, &self.core.region), &body).await?;
        Ok(if before.is_some() { Written::Changed } else { Written::Created })
    }

    async fn put_open(&self, name: &str, value: &str) -> PortResult<()> {
        let resource = format!("parameter {name}");
        let before = secrets::described_parameter(&self.core, &self.signer, name).await?;
        if let Some(kind) = before.as_ref().and_then(|before| before["Type"].as_str()).filter(|kind| *kind != "String")
        {
            return Err(PortError::Conflict(format!(
                "{resource} is a {kind}, and SSM changes no parameter's type: delete it, or give the tag another name"
            )));
        }
        let body = json!({"Name": name, "Value": value, "Type": "String", "Overwrite": before.is_some()});
        let call = Call { service: "ssm", action: "PutParameter", family: Family::SsmWrite, resource: &resource };
        self.ssm(call, region_of(name, &self.core.region), &body).await.map(drop)
    }

    async fn put_secret(&self, text: &str, value: &str) -> PortResult<Written> {
        let secret = SecretId::parse(text);
        let resource = format!("secret {}", secret.id);
        if secret.version.is_some() || secret.stage.is_some_and(|stage| stage != "AWSCURRENT") {
            return Err(PortError::Invalid(format!(
                "{text} is one version of a secret, which never changes: refer to the secret without stage and version to set it"
            )));
        }
        let before = none_if_missing(secrets::described(&self.core, secret.id).await)?;
        if before.as_ref().is_some_and(|before| before.deleted_date.is_some()) {
            return Err(PortError::Conflict(format!(
                "{resource} is scheduled for deletion: `aws secretsmanager restore-secret` brings it back"
            )));
        }
        if before.is_none() && secret.id.starts_with("arn:") {
            return Err(PortError::NotFound(format!(
                "{resource} does not exist, and a new one gets an ARN of Secrets Manager's choice: refer to it by its name"
            )));
        }
        let whole = match secret.key {
            None => value.to_owned(),
            Some(key) => {
                // Between this read and the write another key may be set by somebody else, and be lost.
                let current = match before {
                    Some(_) => none_if_missing(
                        secrets::text(&self.core, &SecretId { id: secret.id, key: None, stage: None, version: None })
                            .await,
                    )?,
                    None => None,
                };
                with_json_key(current.as_deref(), key, value, &resource)?
            }
        };
        if whole.is_empty() || whole.len() > SECRET {
            return Err(PortError::Invalid(format!(
                "{resource} takes 1 to {SECRET} bytes, and it would have {}",
                whole.len()
            )));
        }
        let token = format!("{:016x}{:016x}", random(), random());
        let body = |id: &str| json!({id: secret.id, "SecretString": whole, "ClientRequestToken": token});
        let (family, resource) = (Family::SecretsWrite, resource.as_str());
        match before {
            Some(_) => {
                let call = Call { service: "secretsmanager", action: "PutSecretValue", family, resource };
                self.secrets(call, &body("SecretId"), value).await.map(|_| Written::Changed)
            }
            None => {
                let call = Call { service: "secretsmanager", action: "CreateSecret", family, resource };
                self.secrets(call, &body("Name"), value).await.map(|_| Written::Created)
            }
        }
    }
}

#[async_trait]
impl SecretStore for AwsSecrets {
    async fn write_open(&self, name: &str, value: &str) -> PortResult<()> {
        self.put_open(name, value).await
    }

    async fn look(&self, reference: &SecretRef) -> PortResult<Option<SecretInfo>> {
        match reference {
            SecretRef::Ssm(name) => {
                let found = secrets::described_parameter(&self.core, &self.signer, name).await?;
                Ok(found.map(|found| SecretInfo {
                    changed: time(&found["LastModifiedDate"]),
                    remark: (found["Type"].as_str().filter(|kind| *kind != "SecureString"))
                        .map(|kind| format!("a {kind}, readable without decryption")),
                }))
            }
            SecretRef::SecretsManager(text) => {
                let secret = SecretId::parse(text);
                let found = none_if_missing(secrets::described(&self.core, secret.id).await)?;
                Ok(found.map(|found| SecretInfo {
                    changed: (found.last_changed_date.or(found.created_date))
                        .and_then(|at| Timestamp::from_millisecond(at.to_millis().ok()?).ok()),
                    remark: match found.deleted_date {
                        Some(_) => Some("scheduled for deletion".to_owned()),
                        None => secret.key.map(|_| "its key is not looked at".to_owned()),
                    },
                }))
            }
            SecretRef::Env(_) | SecretRef::File(_) => Err(elsewhere()),
        }
    }

    async fn under(&self, path: &str) -> PortResult<Vec<String>> {
        let path = path_of(path);
        let resource = format!("parameters under {path}");
        let call = Call { service: "ssm", action: "DescribeParameters", family: Family::SsmRead, resource: &resource };
        let mut body = json!({
            "ParameterFilters": [{"Key": "Path", "Option": "OneLevel", "Values": [path]}], "MaxResults": 50
        });
        let mut names = Vec::new();
        for _ in 0..PAGES {
            let answer = self.ssm(call, &self.core.region, &body).await?;
            let found = answer["Parameters"].as_array().into_iter().flatten().filter_map(|one| one["Name"].as_str());
            // Not everybody who speaks this protocol stops at one level.
            let direct = |name: &&str| {
                let rest = name.strip_prefix(path.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
                rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
            };
            names.extend(found.filter(direct).map(str::to_owned));
            match answer["NextToken"].as_str().filter(|next| !next.is_empty()) {
                Some(next) => body["NextToken"] = next.into(),
                None => {
                    names.sort_unstable();
                    names.dedup();
                    return Ok(names);
                }
            }
        }
        Err(PortError::Invalid(format!("{resource}: more than {} of them", PAGES * 50)))
    }

    async fn read(&self, reference: &SecretRef) -> PortResult<Option<SecretValue>> {
        let text = match reference {
            SecretRef::Ssm(name) => {
                let region = region_of(name, &self.core.region);
                let found = secrets::parameter(&self.core, &self.signer, region, &parameter_name(name)).await;
                none_if_missing(found)?.and_then(|found| Some(found["Value"].as_str()?.to_owned()))
            }
            SecretRef::SecretsManager(text) => {
                let secret = SecretId::parse(text);
                let whole = none_if_missing(secrets::text(&self.core, &secret).await)?;
                match secret.key {
                    None => whole,
                    Some(key) => whole.and_then(|whole| json_key(&whole, key)),
                }
            }
            SecretRef::Env(_) | SecretRef::File(_) => return Err(elsewhere()),
        };
        Ok(text.map(SecretValue::new))
    }

    async fn write(&self, reference: &SecretRef, value: &SecretValue) -> PortResult<Written> {
        match reference {
            SecretRef::Ssm(name) => self.put_parameter(name, value.expose()).await,
            SecretRef::SecretsManager(text) => self.put_secret(text, value.expose()).await,
            SecretRef::Env(_) | SecretRef::File(_) => Err(elsewhere()),
        }
    }
}

fn elsewhere() -> PortError {
    PortError::Invalid("variables and files of this machine are not kept on AWS".to_owned())
}

fn none_if_missing<T>(answer: PortResult<T>) -> PortResult<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(PortError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Seconds since 1970, with fractions.
fn time(value: &Value) -> Option<Timestamp> {
    #[allow(clippy::cast_possible_truncation, reason = "milliseconds of this era are far below i64::MAX")]
    let ms = (value.as_f64()? * 1000.0) as i64;
    Timestamp::from_millisecond(ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions() {
        let at = time(&json!(1_763_762_400.25)).unwrap();
        assert_eq!(at.as_millisecond(), 1_763_762_400_250);
        assert_eq!(time(&Value::Null), None);
    }
}

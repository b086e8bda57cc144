//! SSM parameters and Secrets Manager.

use serde_json::{Value, json};

use crate::world::Millis;
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{boolean, list, number, page, required, seconds, text, texts};

#[derive(Debug, Clone)]
pub struct Parameter {
    value: String,
    kind: String,
    version: u64,
    changed: Millis,
    key: Option<String>,
    tier: String,
}

#[derive(Debug, Clone)]
pub struct Secret {
    arn: String,
    value: String,
    version: String,
    created: Millis,
    changed: Millis,
    deleted: bool,
}

impl Space {
    fn parameter_view(&self, name: &str, own: &Parameter, decrypted: bool) -> Value {
        let hidden = own.kind == "SecureString" && !decrypted;
        json!({
            "Name": name,
            "Type": own.kind,
            "Value": if hidden { "AQICAHfakefakefake==".to_owned() } else { own.value.clone() },
            "Version": own.version,
            "LastModifiedDate": seconds(own.changed),
            "ARN": self.arn("ssm", &format!("parameter/{}", name.trim_start_matches('/'))),
            "DataType": "text",
        })
    }

    fn find_parameter(&self, name: &str) -> Option<(String, Parameter)> {
        // An ARN names a parameter too.
        let name = match name.split_once(":parameter/") {
            Some((_, rest)) if self.others.parameters.contains_key(rest) => rest.to_owned(),
            Some((_, rest)) => format!("/{rest}"),
            None => name.to_owned(),
        };
        let own = self.others.parameters.get(&name)?.clone();
        Some((name, own))
    }

    pub fn ssm_call(&mut self, operation: &str, input: &Value) -> Answer {
        let decrypted = boolean(input, "WithDecryption") == Some(true);
        match operation {
            "PutParameter" => {
                let name = required(input, "Name")?.to_owned();
                let value = required(input, "Value")?.to_owned();
                let former = self.others.parameters.get(&name);
                if former.is_some() && boolean(input, "Overwrite") != Some(true) {
                    let message = "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.";
                    return Err(AwsError::new("ParameterAlreadyExists", message));
                }
                if value.len() > 4096 && text(input, "Tier") != Some("Advanced") {
                    let message = "Standard tier parameters support a maximum parameter value of 4096 characters.";
                    return Err(AwsError::new("ValidationException", message));
                }
                // As AWS does with what a constraint refuses: the value is repeated.
                if value.contains("{{") {
                    let message = format!("Value '{value}' at 'value' failed to satisfy constraint: no {{{{}}}} in it");
                    return Err(AwsError::new("ValidationException", &message));
                }
                let changes = text(input, "Type").is_some_and(|kind| former.is_some_and(|former| former.kind != kind));
                if changes {
                    return Err(AwsError::new("HierarchyTypeMismatchException", "The parameter has another type."));
                }
                let version = former.map_or(1, |former| former.version + 1);
                let kind = text(input, "Type").map(str::to_owned);
                let kind = kind.or_else(|| former.map(|own| own.kind.clone())).unwrap_or("String".to_owned());
                // Without a key the account's own is used, whatever was used before.
                let key = text(input, "KeyId").map_or_else(|| "alias/aws/ssm".to_owned(), str::to_owned);
                let key = Some(key).filter(|_| kind == "SecureString");
                let tier = text(input, "Tier").unwrap_or("Standard").to_owned();
                self.others.parameters.insert(name, Parameter { value, kind, version, changed: self.now, key, tier });
                Ok(json!({"Version": version, "Tier": "Standard"}))
            }
            "GetParameter" => {
                let found = self.find_parameter(required(input, "Name")?);
                let (name, own) = found.ok_or_else(|| AwsError::new("ParameterNotFound", ""))?;
                Ok(json!({"Parameter": self.parameter_view(&name, &own, decrypted)}))
            }
            "GetParameters" => {
                let names = texts(input, "Names");
                if names.is_empty() || names.len() > 10 {
                    return Err(AwsError::new("ValidationException", "Names must have between 1 and 10 elements."));
                }
                let (mut found, mut invalid) = (Vec::new(), Vec::new());
                for name in names {
                    match self.find_parameter(&name) {
                        Some((name, own)) => found.push(self.parameter_view(&name, &own, decrypted)),
                        None => invalid.push(name),
                    }
                }
                Ok(json!({"Parameters": found, "InvalidParameters": invalid}))
            }
            "DescribeParameters" => {
                let mut rows: Vec<(String, Value)> = Vec::new();
                for (name, own) in &self.others.parameters {
                    let fits = list(input, "ParameterFilters").iter().all(|filter| {
                        let values = texts(filter, "Values");
                        match (text(filter, "Key"), text(filter, "Option")) {
                            (Some("Name"), _) => values.contains(name),
                            (Some("Path"), option) => values.iter().any(|path| {
                                let inside = name.strip_prefix(&format!("{}/", path.trim_end_matches('/')));
                                inside.is_some_and(|rest| option == Some("Recursive") || !rest.contains('/'))
                            }),
                            _ => false,
                        }
                    });
                    if fits {
                        let mut row = json!({
                            "Name": name, "Type": own.kind, "LastModifiedDate": seconds(own.changed),
                            "Version": own.version, "Tier": own.tier, "DataType": "text",
                        });
                        if let Some(key) = &own.key {
                            row["KeyId"] = key.as_str().into();
                        }
                        rows.push((name.clone(), row));
                    }
                }
                let size = number(input, "MaxResults").unwrap_or(10).clamp(1, 50) as usize;
                let (rows, next) = page(rows, text(input, "NextToken"), size)?;
                let mut answer = json!({"Parameters": rows});
                if let Some(next) = next {
                    answer["NextToken"] = next.into();
                }
                Ok(answer)
            }
            "GetParametersByPath" => {
                let path = format!("{}/", required(input, "Path")?.trim_end_matches('/'));
                let deep = boolean(input, "Recursive") == Some(true);
                let inside = |name: &str| name.strip_prefix(&path).is_some_and(|rest| deep || !rest.contains('/'));
                let rows = self.others.parameters.iter().filter(|(name, _)| inside(name));
                let rows = rows.map(|(name, own)| (name.clone(), self.parameter_view(name, own, decrypted))).collect();
                let (rows, next) = page(rows, text(input, "NextToken"), 10)?;
                let mut answer = json!({"Parameters": rows});
                if let Some(next) = next {
                    answer["NextToken"] = next.into();
                }
                Ok(answer)
            }
            "DeleteParameter" => {
                let gone = self.others.parameters.remove(required(input, "Name")?);
                gone.map(|_| json!({})).ok_or_else(|| AwsError::new("ParameterNotFound", ""))
            }
            _ => Err(AwsError::unknown_operation("ssm", operation)),
        }
    }

    pub fn secrets_call(&mut self, operation: &str, input: &Value) -> Answer {
        if operation == "CreateSecret" {
            let name = required(input, "Name")?.to_owned();
            if self.others.secrets.contains_key(&name) {
                let message = format!("The operation failed because the secret {name} already exists.");
                return Err(AwsError::new("ResourceExistsException", message));
            }
            let suffix = &self.ids.hex16()[..6];
            let secret = Secret {
                arn: self.arn("secretsmanager", &format!("secret:{name}-{suffix}")),
                value: text(input, "SecretString").unwrap_or_default().to_owned(),
                version: self.ids.uuid(),
                created: self.now,
                changed: self.now,
                deleted: false,
            };
            let answer = json!({"ARN": secret.arn, "Name": name, "VersionId": secret.version});
            self.others.secrets.insert(name, secret);
            return Ok(answer);
        }
        let id = required(input, "SecretId")?;
        let found = self.others.secrets.iter_mut().find(|(name, own)| {
            // A partial ARN, without the six characters, is an ARN too.
            *name == id || own.arn == id || own.arn.len() == id.len() + 7 && own.arn.starts_with(&format!("{id}-"))
        });
        let missing = || {
            let message = "Secrets Manager can't find the specified secret.";
            AwsError::new("ResourceNotFoundException", message)
        };
        let (name, own) = found.ok_or_else(missing)?;
        if own.deleted && operation != "DescribeSecret" {
            let message = "You can't perform this operation on the secret because it was marked for deletion.";
            return Err(AwsError::new("InvalidRequestException", message));
        }
        match operation {
            "GetSecretValue" => Ok(json!({
                "ARN": own.arn,
                "Name": name,
                "VersionId": own.version,
                "SecretString": own.value,
                "VersionStages": ["AWSCURRENT"],
                "CreatedDate": seconds(own.created),
            })),
            "DescribeSecret" => Ok(json!({
                "ARN": own.arn,
                "Name": name,
                "CreatedDate": seconds(own.created),
                "LastChangedDate": seconds(own.changed),
                "VersionIdsToStages": {own.version.clone(): ["AWSCURRENT"]},
            })),
            "PutSecretValue" => {
                own.changed = self.now;
                own.value = text(input, "SecretString").unwrap_or_default().to_owned();
                Ok(json!({"ARN": own.arn, "Name": name, "VersionId": own.version, "VersionStages": ["AWSCURRENT"]}))
            }
            "DeleteSecret" => {
                own.deleted = true;
                Ok(json!({"ARN": own.arn, "Name": name, "DeletionDate": seconds(self.now)}))
            }
            _ => Err(AwsError::unknown_operation("secretsmanager", operation)),
        }
    }
}

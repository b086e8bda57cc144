//! Images, secrets, roles and log groups: what a task needs before its first line of output.

use landfall_model::step::AwaitImage;
use landfall_ports::PortError;
use landfall_ports::images::Images as _;
use landfall_ports::orchestrator::{Documents, Looked};
use serde_json::Value;

use super::{Ecs, Look, containers, fine, looked, not_checked, wrong};
use crate::budget::Family;
use crate::call::Call;
use crate::images::EcrImages;
use crate::secrets::{self, SecretId};
use crate::signed::{self, region_of};

pub(super) const NO_INSTANCE: &str = "start one with the ECS agent and this cluster's name, or use fargate";

impl Ecs {
    pub(super) async fn images_exist(&self, documents: &Documents) -> Vec<Looked> {
        let mut all: Vec<Looked> = Vec::new();
        let ecr = EcrImages::new(std::sync::Arc::clone(&self.core), None);
        for (name, container) in containers(documents) {
            let image = container["image"].as_str().unwrap_or_default();
            let what = format!("image of {name}: {image}");
            if !EcrImages::is_ecr(image) {
                all.push(not_checked(what, "only images in ECR are looked up"));
                continue;
            }
            let request = AwaitImage { image: image.to_owned(), label: None };
            let look = match ecr.resolve(&request).await {
                Ok(Some(_)) => fine(),
                Ok(None) => wrong("it is not in the registry", "push it, or correct its name and tag"),
                Err(error) => Err(error),
            };
            all.push(looked(what, look));
        }
        all
    }

    pub(super) async fn secrets_exist(&self, documents: &Documents) -> Vec<Looked> {
        let mut all = Vec::new();
        // One look at a secret, however many variables come of it.
        let mut known: Vec<(String, Look)> = Vec::new();
        for (name, container) in containers(documents) {
            let variables = container["secrets"].as_array().into_iter().flatten();
            let options = container["logConfiguration"]["secretOptions"].as_array().into_iter().flatten();
            let mut asked: Vec<(String, &str)> = variables
                .chain(options)
                .filter_map(|secret| Some((secret["name"].as_str()?.to_owned(), secret["valueFrom"].as_str()?)))
                .collect();
            if let Some(registry) = container["repositoryCredentials"]["credentialsParameter"].as_str() {
                asked.push(("registry credentials".to_owned(), registry));
            }
            for (variable, from) in asked {
                let what = format!("secret {variable} of {name}: {from}");
                if self.is_elsewhere(from) {
                    all.push(not_checked(what, "it belongs to another account"));
                    continue;
                }
                let id = if from.contains(":secretsmanager:") { SecretId::parse(from).id } else { from };
                let look = match known.iter().find(|(known, _)| known == id) {
                    Some((_, look)) => again(look),
                    None => {
                        let look = self.secret_exists(id).await;
                        known.push((id.to_owned(), again(&look)));
                        look
                    }
                };
                all.push(looked(what, look));
            }
        }
        all
    }

    /// As far as ARNs tell: another account than that of the execution role.
    fn is_elsewhere(&self, from: &str) -> bool {
        let account = |arn: &str| arn.split(':').nth(4).map(str::to_owned);
        let own = self.core.target.account.clone().or_else(|| account(self.core.target.execution_role.as_deref()?));
        from.starts_with("arn:") && own.is_some() && account(from) != own
    }

    async fn secret_exists(&self, id: &str) -> Look {
        let region = region_of(id, &self.core.region);
        if id.contains(":secretsmanager:") {
            return match secrets::described(&self.core, id).await {
                Ok(found) if found.deleted_date.is_some() => wrong(
                    "it is scheduled for deletion",
                    "`aws secretsmanager restore-secret`, or refer to another one",
                ),
                Ok(_) => fine(),
                Err(PortError::NotFound(_)) => {
                    wrong(format!("there is no such secret in {region}"), "create it, or correct its ARN")
                }
                Err(error) => Err(error),
            };
        }
        // A list without values, unlike GetParameter.
        match secrets::described_parameter(&self.core, &self.signer, id).await? {
            Some(_) => fine(),
            None => wrong(format!("there is no such parameter in {region}"), "create it, or correct its name"),
        }
    }

    pub(super) async fn roles_are_trusted(&self, documents: &Documents) -> Vec<Looked> {
        let mut all = Vec::new();
        for (field, name) in [("executionRoleArn", "execution role"), ("taskRoleArn", "task role")] {
            if let Some(role) = documents.task_definition[field].as_str() {
                all.push(looked(format!("{name} {role}"), self.role_is_trusted(role).await));
            }
        }
        all
    }

    async fn role_is_trusted(&self, role: &str) -> Look {
        let name = role.rsplit('/').next().unwrap_or(role);
        let call = Call { service: "iam", action: "GetRole", family: Family::IamRead, resource: role };
        // One service for all regions of a partition, signed for in one of them.
        let region = match self.core.region.split('-').next() {
            Some("cn") => "cn-north-1",
            _ if self.core.region.starts_with("us-gov-") => "us-gov-west-1",
            _ => "us-east-1",
        };
        let parameters = [("RoleName".to_owned(), name.to_owned())];
        let answer = signed::query(&self.signer, &self.core, call, region, "2010-05-08", &parameters)
            .await
            .map_err(PortError::from);
        match answer {
            Ok(answer) => {
                let document = signed::xml(&answer, "AssumeRolePolicyDocument").unwrap_or_default();
                match trusts_tasks(&document) {
                    Some(true) => fine(),
                    Some(false) => wrong(
                        "its trust policy does not let ecs-tasks.amazonaws.com assume it",
                        "allow sts:AssumeRole to the principal {\"Service\": \"ecs-tasks.amazonaws.com\"}",
                    ),
                    None => Err(PortError::Unavailable("its trust policy cannot be read".to_owned())),
                }
            }
            Err(PortError::NotFound(_)) => wrong("there is no such role", "create it, or correct its ARN"),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn log_groups_exist(&self, documents: &Documents) -> Vec<Looked> {
        let mut all: Vec<Looked> = Vec::new();
        for (_, container) in containers(documents) {
            let log = &container["logConfiguration"];
            let options = &log["options"];
            let Some(group) = options["awslogs-group"].as_str().filter(|_| log["logDriver"] == "awslogs") else {
                continue;
            };
            let what = format!("log group {group}");
            let makes_it = options["awslogs-create-group"] == "true";
            if makes_it || all.iter().any(|seen| seen.what == what) {
                continue;
            }
            let region = options["awslogs-region"].as_str().unwrap_or(&self.core.region);
            if region != self.core.region {
                all.push(not_checked(what, format!("it is in {region}")));
                continue;
            }
            all.push(looked(what, self.log_group_exists(group).await));
        }
        all
    }

    async fn log_group_exists(&self, group: &str) -> Look {
        let resource = format!("log group {group}");
        let call = Call { service: "logs", action: "DescribeLogGroups", family: Family::LogsRead, resource: &resource };
        // In order of their names, so that the group itself comes first of those that begin with its name.
        let request = self.core.clients.logs.describe_log_groups().log_group_name_prefix(group);
        let answer = self.ecs(call, || request.clone().send()).await?;
        match answer.log_groups().iter().any(|found| found.log_group_name() == Some(group)) {
            true => fine(),
            false => wrong(
                format!("it does not exist in {}, and tasks that log there do not start", self.core.region),
                format!("`aws logs create-log-group --log-group-name {group}`"),
            ),
        }
    }
}

/// The same answer for another who asks.
fn again(look: &Look) -> Look {
    match look {
        Ok(found) => Ok(found.clone()),
        Err(error) => Err(error.clone()),
    }
}

/// Whether a trust policy, percent-encoded as IAM tells it, lets ECS's tasks assume the role. `None`: it cannot be read.
fn trusts_tasks(document: &str) -> Option<bool> {
    let policy: Value = serde_json::from_str(&decoded(document)).ok()?;
    let many = |value: &Value| match value {
        Value::Array(all) => all.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let allows = |statement: &Value| {
        let service = |one: &Value| one == "ecs-tasks.amazonaws.com" || one == "*";
        let action = |one: &Value| matches!(one.as_str(), Some("sts:AssumeRole" | "sts:*" | "*"));
        statement["Effect"] == "Allow"
            && (statement["Principal"] == "*" || many(&statement["Principal"]["Service"]).iter().any(service))
            && many(&statement["Action"]).iter().any(action)
    };
    Some(many(&policy["Statement"]).iter().any(allows))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::signed::percent_encoded;

    #[test]
    fn trust_policies_are_read_as_iam_writes_them() {
        let of = |principal: Value, action: Value, effect: &str| {
            let policy = json!({"Statement": [{"Effect": effect, "Principal": principal, "Action": action}]});
            trusts_tasks(&percent_encoded(&policy.to_string()))
        };
        let tasks = json!({"Service": "ecs-tasks.amazonaws.com"});
        assert_eq!(of(tasks.clone(), json!("sts:AssumeRole"), "Allow"), Some(true));
        let several = json!({"Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]});
        assert_eq!(of(several, json!(["sts:TagSession", "sts:AssumeRole"]), "Allow"), Some(true));
        assert_eq!(of(tasks.clone(), json!("sts:AssumeRole"), "Deny"), Some(false));
        assert_eq!(of(tasks, json!("sts:TagSession"), "Allow"), Some(false));
        assert_eq!(of(json!({"Service": "ecs.amazonaws.com"}), json!("sts:AssumeRole"), "Allow"), Some(false));
        assert_eq!(trusts_tasks("no json"), None);
        // One statement that is no list, unencoded as emulators tell it.
        let one = json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*"}});
        assert_eq!(trusts_tasks(&one.to_string()), Some(true));
    }
}

//! The IAM actions that a call needs, and policies over them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::world::Caller;
use crate::world::error::AwsError;
use crate::world::others::access::matches;
use crate::world::value::{leaf, list, text};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Needed {
    pub action: String,
    /// An ARN, or `*` where the action takes no resource or the request names none.
    pub resource: String,
}

fn prefix(service: &str) -> &str {
    match service {
        "monitoring" => "cloudwatch",
        "tagging" => "tag",
        other => other,
    }
}

/// What a call needs: its own action, and what AWS checks beside it (PassRole for roles, tagging for tags on create).
pub fn needed(caller: &Caller, service: &str, operation: &str, input: &Value) -> Vec<Needed> {
    let own = match (service, operation) {
        ("lambda", "Invoke") => "InvokeFunction",
        _ => operation,
    };
    let resource = resource(caller, service, operation, input);
    let mut all = vec![Needed { action: format!("{}:{own}", prefix(service)), resource: resource.clone() }];
    let mut roles = Vec::new();
    for holder in [input, &input["overrides"]] {
        roles.extend(["taskRoleArn", "executionRoleArn"].iter().filter_map(|key| text(holder, key)));
    }
    all.extend(roles.into_iter().map(|role| {
        let resource = if role.starts_with("arn:") {
            role.to_owned()
        } else {
            format!("arn:aws:iam::{}:role/{role}", caller.account)
        };
        Needed { action: "iam:PassRole".to_owned(), resource }
    }));
    let creates = ["Create", "Register", "RunTask"].iter().any(|verb| operation.starts_with(verb));
    if creates && service == "ecs" && !list(input, "tags").is_empty() {
        all.push(Needed { action: "ecs:TagResource".to_owned(), resource });
    } else if creates && service == "elasticloadbalancing" && !list(input, "Tags").is_empty() {
        all.push(Needed { action: "elasticloadbalancing:AddTags".to_owned(), resource });
    }
    all
}

fn resource(caller: &Caller, service: &str, operation: &str, input: &Value) -> String {
    let arn = |service: &str, rest: String| format!("arn:aws:{service}:{}:{}:{rest}", caller.region, caller.account);
    let full = |service: &str, kind: &str, name: &str| {
        if name.starts_with("arn:") { name.to_owned() } else { arn(service, format!("{kind}/{name}")) }
    };
    let cluster = leaf(text(input, "cluster").unwrap_or("default"));
    match (service, operation) {
        ("ecs", "CreateService" | "UpdateService" | "DeleteService" | "ListServiceDeployments") => {
            let name = text(input, "serviceName").or_else(|| text(input, "service")).unwrap_or("*");
            arn("ecs", format!("service/{cluster}/{}", leaf(name)))
        }
        ("ecs", "RunTask") => full("ecs", "task-definition", text(input, "taskDefinition").unwrap_or("*")),
        ("ecs", "StopTask") => arn("ecs", format!("task/{cluster}/{}", leaf(text(input, "task").unwrap_or("*")))),
        ("ecs", "StopServiceDeployment" | "ContinueServiceDeployment") => {
            text(input, "serviceDeploymentArn").unwrap_or("*").to_owned()
        }
        ("ecs", "TagResource" | "UntagResource" | "ListTagsForResource") => {
            text(input, "resourceArn").unwrap_or("*").to_owned()
        }
        ("elasticloadbalancing", operation) if !operation.starts_with("Describe") => {
            let keys = ["RuleArn", "ListenerArn", "TargetGroupArn", "LoadBalancerArn"];
            let named = keys.iter().find_map(|key| text(input, key)).map(str::to_owned);
            let listed = list(input, "ResourceArns").first().and_then(Value::as_str).map(str::to_owned);
            let made = (operation == "CreateTargetGroup")
                .then(|| arn(service, format!("targetgroup/{}/*", text(input, "Name").unwrap_or("*"))));
            named.or(listed).or(made).unwrap_or_else(|| "*".to_owned())
        }
        ("sts", "AssumeRole" | "AssumeRoleWithWebIdentity") => text(input, "RoleArn").unwrap_or("*").to_owned(),
        ("sns", _) => text(input, "TopicArn").unwrap_or("*").to_owned(),
        ("lambda", _) => {
            let name = text(input, "FunctionName").unwrap_or("*");
            if name.starts_with("arn:") { name.to_owned() } else { arn("lambda", format!("function:{name}")) }
        }
        ("logs", _) => {
            text(input, "logGroupName").map_or("*".to_owned(), |name| arn("logs", format!("log-group:{name}:*")))
        }
        ("ecr", "GetAuthorizationToken") => "*".to_owned(),
        ("ecr", _) => text(input, "repositoryName").map_or("*".to_owned(), |name| full("ecr", "repository", name)),
        ("ssm", "GetParameter" | "PutParameter" | "DeleteParameter") => {
            let name = text(input, "Name").unwrap_or("*");
            full("ssm", "parameter", name.trim_start_matches('/'))
        }
        ("secretsmanager", _) => text(input, "SecretId").unwrap_or("*").to_owned(),
        _ => "*".to_owned(),
    }
}

/// A policy document. Conditions are not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    pub statement: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    pub effect: String,
    pub action: OneOrMore,
    pub resource: OneOrMore,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::One(pattern) => matches(pattern, text),
            Self::More(patterns) => patterns.iter().any(|pattern| matches(pattern, text)),
        }
    }
}

impl Policy {
    pub fn allows(&self, needed: &Needed) -> bool {
        let fits =
            |statement: &&Statement| statement.action.fits(&needed.action) && statement.resource.fits(&needed.resource);
        let mut fitting = self.statement.iter().filter(fits).peekable();
        fitting.peek().is_some() && fitting.all(|statement| statement.effect == "Allow")
    }

    /// The answer to a call that lacks a right, in AWS's words.
    pub fn check(&self, caller: &Caller, service: &str, needed: &[Needed]) -> Result<(), AwsError> {
        // Everybody may ask who he is.
        let lacking = needed.iter().find(|own| own.action != "sts:GetCallerIdentity" && !self.allows(own));
        let Some(lacking) = lacking else { return Ok(()) };
        let message = format!(
            "User: {} is not authorized to perform: {} on resource: {} because no identity-based policy allows the {} action",
            caller.arn, lacking.action, lacking.resource, lacking.action
        );
        let json = matches!(service, "ecs" | "ecr" | "ssm" | "secretsmanager" | "logs" | "tagging" | "lambda");
        let (code, status) = match (json, service) {
            (true, "lambda") => ("AccessDeniedException", 403),
            (true, _) => ("AccessDeniedException", 400),
            (false, "sns") => ("AuthorizationError", 403),
            (false, _) => ("AccessDenied", 403),
        };
        Err(AwsError::new(code, message).status(status))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn registering_with_roles_and_tags_needs_pass_role_and_tag_resource() {
        let caller =
            Caller { account: "123456789012".into(), region: "us-east-1".into(), arn: "arn:aws:iam::1:user/x".into() };
        let input = json!({
            "family": "web", "taskRoleArn": "arn:aws:iam::123456789012:role/task", "executionRoleArn": "execution",
            "tags": [{"key": "a", "value": "b"}],
        });
        let all = needed(&caller, "ecs", "RegisterTaskDefinition", &input);
        let actions: Vec<&str> = all.iter().map(|own| own.action.as_str()).collect();
        assert_eq!(actions, ["ecs:RegisterTaskDefinition", "iam:PassRole", "iam:PassRole", "ecs:TagResource"]);
        assert_eq!(all[2].resource, "arn:aws:iam::123456789012:role/execution");
        let policy: Policy = serde_json::from_value(json!({"Statement": [
            {"Effect": "Allow", "Action": ["ecs:*"], "Resource": "*"},
            {"Effect": "Allow", "Action": "iam:PassRole", "Resource": ["arn:aws:iam::123456789012:role/task"]},
        ]}))
        .unwrap();
        let error = policy.check(&caller, "ecs", &all).unwrap_err();
        assert_eq!(error.code, "AccessDeniedException");
        assert!(
            error.message.contains("iam:PassRole on resource: arn:aws:iam::123456789012:role/execution"),
            "{}",
            error.message
        );
    }
}

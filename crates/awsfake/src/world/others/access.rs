//! STS and the little of IAM that a doctor asks.

use serde_json::{Value, json};

use crate::world::Caller;
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{iso, leaf, needed, number, text, texts};

impl Space {
    pub fn sts_call(&mut self, caller: &Caller, operation: &str, input: &Value) -> Answer {
        match operation {
            "GetCallerIdentity" => {
                let user =
                    if caller.arn.contains(":user/") { "AIDAFAKEUSER00000000" } else { "AROAFAKEROLE00000000:session" };
                Ok(json!({"Arn": caller.arn, "UserId": user, "Account": caller.account}))
            }
            "AssumeRole" | "AssumeRoleWithWebIdentity" => {
                let role = needed(input, "RoleArn")?.to_owned();
                let session = needed(input, "RoleSessionName")?.to_owned();
                if operation == "AssumeRoleWithWebIdentity" && text(input, "WebIdentityToken").is_none() {
                    return Err(AwsError::new("InvalidIdentityToken", "No OpenIDConnect token was given"));
                }
                let Some(account) = role.split(':').nth(4).filter(|part| part.len() == 12).map(str::to_owned) else {
                    return Err(AwsError::validation(format!("{role} is invalid")));
                };
                if !self.role_exists(leaf(&role)) {
                    let who = &caller.arn;
                    let message =
                        format!("User: {who} is not authorized to perform: sts:{operation} on resource: {role}");
                    return Err(AwsError::new("AccessDenied", message).status(403));
                }
                let lasts = number(input, "DurationSeconds").unwrap_or(3600);
                let name = leaf(&role).to_owned();
                // The access key carries account and role, so that a call with it is known without a table.
                let credentials = json!({
                    "AccessKeyId": format!("ASIAFAKE{account}"),
                    "SecretAccessKey": format!("secret-of-{name}"),
                    "SessionToken": format!("{name}/{session}"),
                    "Expiration": iso(self.now + lasts * 1000),
                });
                let mut answer = json!({
                    "Credentials": credentials,
                    "AssumedRoleUser": {
                        "AssumedRoleId": format!("AROAFAKEROLE00000000:{session}"),
                        "Arn": format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
                    },
                });
                if operation == "AssumeRoleWithWebIdentity" {
                    answer["SubjectFromWebIdentityToken"] = "fake".into();
                }
                Ok(answer)
            }
            _ => Err(AwsError::new(
                "InvalidAction",
                format!("Could not find operation {operation} for version 2011-06-15"),
            )),
        }
    }

    fn role_exists(&self, name: &str) -> bool {
        self.others.roles.is_empty() || self.others.roles.iter().any(|role| role == name)
    }

    pub fn iam_call(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "GetRole" => {
                let name = needed(input, "RoleName")?;
                if !self.role_exists(name) {
                    let message = format!("The role with name {name} cannot be found.");
                    return Err(AwsError::new("NoSuchEntity", message).status(404));
                }
                Ok(json!({"Role": {
                    "Path": "/",
                    "RoleName": name,
                    "RoleId": "AROAFAKEROLE00000000",
                    "Arn": format!("arn:aws:iam::{}:role/{name}", self.account),
                    "CreateDate": iso(self.now),
                }}))
            }
            "SimulatePrincipalPolicy" => {
                let resources = texts(input, "ResourceArns");
                let resource = resources.first().map_or("*", String::as_str);
                let rows: Vec<Value> = (texts(input, "ActionNames").into_iter())
                    .map(|action| {
                        let denied = self.others.denied.iter().any(|pattern| matches(pattern, &action));
                        let decision = if denied { "implicitDeny" } else { "allowed" };
                        json!({"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": decision})
                    })
                    .collect();
                Ok(json!({"IsTruncated": false, "EvaluationResults": rows}))
            }
            _ => Err(AwsError::new(
                "InvalidAction",
                format!("Could not find operation {operation} for version 2010-05-08"),
            )),
        }
    }
}

/// An IAM pattern with `*` and `?`, without regard to case, as IAM compares actions.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.to_lowercase().chars().collect(), text.to_lowercase().chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((place, from)) = star {
            star = Some((place, from + 1));
            p = place + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_of_policies() {
        assert!(matches("ecs:*", "ecs:UpdateService"));
        assert!(matches("ecs:Describe*", "ecs:describeServices"));
        assert!(matches("arn:aws:ecs:*:*:service/*/pre-?", "arn:aws:ecs:eu-west-1:1:service/a/pre-1"));
        assert!(!matches("ecs:List*", "ecs:DescribeServices"));
        assert!(!matches("ecs:UpdateService", "ecs:UpdateServicePrimaryTaskSet"));
        assert!(matches("*", ""));
    }
}

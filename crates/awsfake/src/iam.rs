//! The IAM actions that a call needs, on what and under which conditions, and policies over them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::world::Caller;
use crate::world::error::AwsError;
use crate::world::others::access::matches;
use crate::world::value::{leaf, list, text, texts};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Needed {
    pub action: String,
    /// An ARN, or `*` where the action takes no resource or the request names none.
    pub resource: String,
    /// What of the request conditions can ask: `aws:RequestTag/x`, `ecs:cluster`, `iam:PassedToService`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
    /// The statements (`Sid`) of the policy that allow it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_by: Vec<String>,
}

fn prefix(service: &str) -> &str {
    match service {
        "monitoring" => "cloudwatch",
        "tagging" => "tag",
        other => other,
    }
}

/// What a call needs: its own action on each thing that it names, and what AWS checks beside it (PassRole for roles, tagging for
/// tags on create).
pub fn needed(caller: &Caller, service: &str, operation: &str, input: &Value) -> Vec<Needed> {
    let own = match (service, operation) {
        ("lambda", "Invoke") => "InvokeFunction",
        _ => operation,
    };
    let tags: BTreeMap<String, String> = [("tags", "key", "value"), ("Tags", "Key", "Value")]
        .iter()
        .flat_map(|(tags, key, value)| {
            let one = |tag: &Value| Some((text(tag, key)?.to_owned(), text(tag, value).unwrap_or_default().to_owned()));
            list(input, tags).iter().filter_map(one).collect::<Vec<_>>()
        })
        .map(|(key, value)| (format!("aws:RequestTag/{key}"), value))
        .collect();
    let mut context = tags.clone();
    let of_cluster = !operation.contains("TaskDefinition") && operation != "TagResource";
    if service == "ecs" && of_cluster {
        let cluster = leaf(text(input, "cluster").unwrap_or("default"));
        let arn = format!("arn:aws:ecs:{}:{}:cluster/{cluster}", caller.region, caller.account);
        context.insert("ecs:cluster".to_owned(), arn);
    }
    if let ("secretsmanager", "CreateSecret", Some(name)) = (service, operation, text(input, "Name")) {
        context.insert("secretsmanager:Name".to_owned(), name.to_owned());
    }
    let action = format!("{}:{own}", prefix(service));
    let mut all: Vec<Needed> = resources(caller, service, operation, input)
        .into_iter()
        .map(|resource| Needed { action: action.clone(), resource, context: context.clone(), allowed_by: Vec::new() })
        .collect();
    let pass = |role: &str, to: &str| Needed {
        action: "iam:PassRole".to_owned(),
        resource: match role.starts_with("arn:") {
            true => role.to_owned(),
            false => format!("arn:aws:iam::{}:role/{role}", caller.account),
        },
        context: BTreeMap::from([("iam:PassedToService".to_owned(), to.to_owned())]),
        allowed_by: Vec::new(),
    };
    for holder in [input, &input["overrides"]] {
        let roles = ["taskRoleArn", "executionRoleArn"].iter().filter_map(|key| text(holder, key));
        all.extend(roles.map(|role| pass(role, "ecs-tasks.amazonaws.com")));
    }
    if service == "ecs" {
        let balancers = list(input, "loadBalancers").iter();
        let of_balancers = balancers.filter_map(|one| text(&one["advancedConfiguration"], "roleArn"));
        let hooks = list(&input["deploymentConfiguration"], "lifecycleHooks").iter();
        let of_hooks = hooks.filter_map(|hook| text(hook, "roleArn"));
        all.extend(of_balancers.chain(of_hooks).map(|role| pass(role, "ecs.amazonaws.com")));
    }
    if service == "cloudformation" {
        all.extend(text(input, "RoleARN").map(|role| pass(role, "cloudformation.amazonaws.com")));
    }
    let creates = ["Create", "Register", "RunTask"].iter().any(|verb| operation.starts_with(verb));
    if creates && !tags.is_empty() && matches!(service, "ecs" | "elasticloadbalancing") {
        let (action, key) = match service {
            "ecs" => ("ecs:TagResource", "ecs:CreateAction"),
            _ => ("elasticloadbalancing:AddTags", "elasticloadbalancing:CreateAction"),
        };
        let mut context = tags;
        context.insert(key.to_owned(), operation.to_owned());
        let resource = made(caller, operation, input);
        all.push(Needed { action: action.to_owned(), resource, context, allowed_by: Vec::new() });
    }
    all
}

fn arn(caller: &Caller, service: &str, rest: &str) -> String {
    format!("arn:aws:{service}:{}:{}:{rest}", caller.region, caller.account)
}

/// What a call that creates will make, as far as it is known before.
fn made(caller: &Caller, operation: &str, input: &Value) -> String {
    let cluster = leaf(text(input, "cluster").unwrap_or("default"));
    let on = |from: &str, to: &str, given: &str| format!("{}/*", given.replacen(from, to, 1));
    match operation {
        "RunTask" => arn(caller, "ecs", &format!("task/{cluster}/*")),
        "CreateListener" => on(":loadbalancer/", ":listener/", text(input, "LoadBalancerArn").unwrap_or("*")),
        "CreateRule" => on(":listener/", ":listener-rule/", text(input, "ListenerArn").unwrap_or("*")),
        _ => {
            let service = if operation == "CreateTargetGroup" { "elasticloadbalancing" } else { "ecs" };
            resources(caller, service, operation, input).into_iter().next().unwrap_or_default()
        }
    }
}

/// AWS's Service Authorization Reference has what a call is authorized on.
fn resources(caller: &Caller, service: &str, operation: &str, input: &Value) -> Vec<String> {
    let cluster = leaf(text(input, "cluster").unwrap_or("default"));
    let within = |kind: &str, name: &str| {
        if name.starts_with("arn:") {
            name.to_owned()
        } else {
            arn(caller, "ecs", &format!("{kind}/{cluster}/{}", leaf(name)))
        }
    };
    let all =
        |key: &str, kind: &str| -> Vec<String> { texts(input, key).iter().map(|name| within(kind, name)).collect() };
    // Of a deployment or revision: its service, and itself.
    let of_service = |arns: Vec<String>, kind: &str| -> Vec<String> {
        let service = |arn: &String| {
            let parent = arn.rsplit_once('/').map_or(arn.as_str(), |(parent, _)| parent);
            parent.replacen(&format!(":{kind}/"), ":service/", 1)
        };
        arns.iter().flat_map(|arn| [service(arn), arn.clone()]).collect()
    };
    match (service, operation) {
        ("ecs", "CreateService" | "UpdateService" | "DeleteService" | "ListServiceDeployments") => {
            vec![within("service", text(input, "serviceName").or_else(|| text(input, "service")).unwrap_or("*"))]
        }
        ("ecs", "DescribeServices") => all("services", "service"),
        ("ecs", "DescribeTasks") => all("tasks", "task"),
        ("ecs", "DescribeServiceDeployments") => {
            of_service(texts(input, "serviceDeploymentArns"), "service-deployment")
        }
        ("ecs", "DescribeServiceRevisions") => of_service(texts(input, "serviceRevisionArns"), "service-revision"),
        ("ecs", "StopServiceDeployment" | "ContinueServiceDeployment") => {
            let deployment = text(input, "serviceDeploymentArn").unwrap_or("*").to_owned();
            of_service(vec![deployment], "service-deployment")
        }
        ("ecs", "RegisterTaskDefinition") => {
            vec![arn(caller, "ecs", &format!("task-definition/{}:*", text(input, "family").unwrap_or_default()))]
        }
        ("ecs", "DescribeClusters") => {
            let one = |name: &String| arn(caller, "ecs", &format!("cluster/{}", leaf(name)));
            texts(input, "clusters").iter().map(one).collect()
        }
        _ => vec![resource(caller, service, operation, input)],
    }
}

fn resource(caller: &Caller, service: &str, operation: &str, input: &Value) -> String {
    let arn = |service: &str, rest: String| arn(caller, service, &rest);
    let full = |service: &str, kind: &str, name: &str| {
        if name.starts_with("arn:") { name.to_owned() } else { arn(service, format!("{kind}/{name}")) }
    };
    let cluster = leaf(text(input, "cluster").unwrap_or("default"));
    match (service, operation) {
        ("ecs", "RunTask") => full("ecs", "task-definition", text(input, "taskDefinition").unwrap_or("*")),
        ("ecs", "StopTask") => arn("ecs", format!("task/{cluster}/{}", leaf(text(input, "task").unwrap_or("*")))),
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
        ("logs", "GetLogEvents") => {
            let (group, stream) = (text(input, "logGroupName"), text(input, "logStreamName"));
            arn("logs", format!("log-group:{}:log-stream:{}", group.unwrap_or("*"), stream.unwrap_or("*")))
        }
        ("logs", "DescribeLogGroups") => "*".to_owned(),
        ("logs", _) => {
            text(input, "logGroupName").map_or("*".to_owned(), |name| arn("logs", format!("log-group:{name}:*")))
        }
        ("cloudformation", "ListImports" | "ListExports" | "DescribeStackDriftDetectionStatus") => "*".to_owned(),
        ("cloudformation", _) => match text(input, "StackName").unwrap_or("*") {
            id if id.starts_with("arn:") => id.to_owned(),
            name => arn(service, format!("stack/{name}/*")),
        },
        ("iam", "GetRole") => {
            format!("arn:aws:iam::{}:role/{}", caller.account, text(input, "RoleName").unwrap_or("*"))
        }
        ("iam", "SimulatePrincipalPolicy") => text(input, "PolicySourceArn").unwrap_or("*").to_owned(),
        ("ecr", "GetAuthorizationToken") => "*".to_owned(),
        ("ecr", _) => text(input, "repositoryName").map_or("*".to_owned(), |name| full("ecr", "repository", name)),
        ("ssm", "GetParameter" | "PutParameter" | "DeleteParameter") => {
            let name = text(input, "Name").unwrap_or("*");
            full("ssm", "parameter", name.trim_start_matches('/'))
        }
        ("secretsmanager", _) => match text(input, "SecretId").or_else(|| text(input, "Name")).unwrap_or("*") {
            id if id.starts_with("arn:") => id.to_owned(),
            // The service's own six characters.
            id => arn("secretsmanager", format!("secret:{id}-AbCdEf")),
        },
        _ => "*".to_owned(),
    }
}

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    pub statement: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    #[serde(default)]
    pub sid: String,
    pub effect: String,
    pub action: OneOrMore,
    pub resource: OneOrMore,
    /// Operator, key, values.
    #[serde(default)]
    pub condition: BTreeMap<String, BTreeMap<String, OneOrMore>>,
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

/// Tags of what exists, by ARN.
pub type Tags<'a> = dyn Fn(&str) -> Vec<(String, String)> + 'a;

impl Statement {
    fn fits(&self, needed: &Needed, tags: &Tags<'_>) -> bool {
        self.action.fits(&needed.action)
            && self.resource.fits(&needed.resource)
            && self.condition.iter().all(|(operator, keys)| {
                keys.iter().all(|(key, values)| {
                    // A key that is not there fits nothing.
                    value_of(key, needed, tags).is_some_and(|value| values.compare(operator, &value))
                })
            })
    }
}

fn value_of(key: &str, needed: &Needed, tags: &Tags<'_>) -> Option<String> {
    if let Some(tag) = key.strip_prefix("aws:ResourceTag/") {
        return tags(&needed.resource).into_iter().find(|(own, _)| own == tag).map(|(_, value)| value);
    }
    needed.context.get(key).cloned()
}

impl OneOrMore {
    /// An operator that is not known fits nothing: a policy that means something else is no right.
    fn compare(&self, operator: &str, value: &str) -> bool {
        let all: Vec<&str> = match self {
            Self::One(one) => vec![one],
            Self::More(more) => more.iter().map(String::as_str).collect(),
        };
        match operator {
            "StringEquals" | "ArnEquals" => all.contains(&value),
            "StringLike" | "ArnLike" => all.iter().any(|pattern| matches(pattern, value)),
            _ => false,
        }
    }
}

impl Policy {
    /// `tags`: of what the call is about, for conditions on them.
    pub fn allows(&self, needed: &Needed, tags: &Tags<'_>) -> bool {
        let mut fitting = self.statement.iter().filter(|statement| statement.fits(needed, tags)).peekable();
        fitting.peek().is_some() && fitting.all(|statement| statement.effect == "Allow")
    }

    /// The statements that allow it.
    pub fn granting(&self, needed: &Needed, tags: &Tags<'_>) -> Vec<String> {
        let allowing = self.statement.iter().filter(|own| own.effect == "Allow" && own.fits(needed, tags));
        allowing.map(|statement| statement.sid.clone()).collect()
    }

    /// The answer to a call that lacks a right, in AWS's words.
    ///
    /// # Errors
    /// Something is not allowed.
    pub fn check(&self, caller: &Caller, service: &str, needed: &[Needed], tags: &Tags<'_>) -> Result<(), AwsError> {
        // Everybody may ask who he is.
        let lacking = needed.iter().find(|own| own.action != "sts:GetCallerIdentity" && !self.allows(own, tags));
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
        let error = policy.check(&caller, "ecs", &all, &|_| Vec::new()).unwrap_err();
        assert_eq!(error.code, "AccessDeniedException");
        assert!(
            error.message.contains("iam:PassRole on resource: arn:aws:iam::123456789012:role/execution"),
            "{}",
            error.message
        );
    }

    #[test]
    fn conditions_ask_the_request_and_the_tags_of_what_is_there() {
        let caller =
            Caller { account: "123456789012".into(), region: "us-east-1".into(), arn: "arn:aws:iam::1:user/x".into() };
        let policy = |condition: Value| -> Policy {
            serde_json::from_value(json!({"Statement": [
                {"Sid": "X", "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition},
            ]}))
            .unwrap()
        };
        let create = json!({"cluster": "main", "serviceName": "web", "tags": [{"key": "landfall", "value": "app-x"}]});
        let allows = |condition: Value, operation: &str, input: &Value| {
            let all = needed(&caller, "ecs", operation, input);
            let tags = |arn: &str| match arn.ends_with("task/main/1") {
                true => vec![("landfall".to_owned(), "app-x".to_owned())],
                false => Vec::new(),
            };
            policy(condition).allows(&all[0], &tags)
        };
        assert!(allows(json!({"StringLike": {"aws:RequestTag/landfall": "app-*"}}), "CreateService", &create));
        assert!(!allows(json!({"StringLike": {"aws:RequestTag/landfall": ["other-*"]}}), "CreateService", &create));
        assert!(!allows(json!({"StringLike": {"aws:RequestTag/none": "*"}}), "CreateService", &create));
        let cluster = json!({"ArnLike": {"ecs:cluster": "arn:aws:ecs:us-east-1:123456789012:cluster/main"}});
        assert!(allows(cluster.clone(), "ListTasks", &json!({"cluster": "main"})));
        assert!(!allows(cluster, "ListTasks", &json!({"cluster": "other"})));
        let ours = json!({"StringLike": {"aws:ResourceTag/landfall": "app-*"}});
        assert!(allows(ours.clone(), "StopTask", &json!({"cluster": "main", "task": "1"})));
        assert!(!allows(ours, "StopTask", &json!({"cluster": "main", "task": "2"})));
        assert!(!allows(json!({"Unknown": {"ecs:cluster": "*"}}), "ListTasks", &json!({"cluster": "main"})));
    }

    #[test]
    fn a_call_is_authorized_on_everything_that_it_names() {
        let caller = Caller { account: "1".into(), region: "r".into(), arn: "arn:x".into() };
        let of = |service, operation, input: Value| -> Vec<String> {
            needed(&caller, service, operation, &input)
                .into_iter()
                .map(|own| format!("{} {}", own.action, own.resource))
                .collect()
        };
        assert_eq!(
            of("ecs", "DescribeServices", json!({"cluster": "c", "services": ["a", "arn:aws:ecs:r:1:service/c/b"]})),
            ["ecs:DescribeServices arn:aws:ecs:r:1:service/c/a", "ecs:DescribeServices arn:aws:ecs:r:1:service/c/b"]
        );
        assert_eq!(
            of(
                "ecs",
                "StopServiceDeployment",
                json!({"serviceDeploymentArn": "arn:aws:ecs:r:1:service-deployment/c/a/1"})
            ),
            [
                "ecs:StopServiceDeployment arn:aws:ecs:r:1:service/c/a",
                "ecs:StopServiceDeployment arn:aws:ecs:r:1:service-deployment/c/a/1"
            ]
        );
        let listener = "arn:aws:elasticloadbalancing:r:1:listener/app/lb/id/l";
        let tags = json!([{"Key": "a", "Value": "b"}]);
        assert_eq!(
            of("elasticloadbalancing", "CreateRule", json!({"ListenerArn": listener, "Tags": tags})),
            [
                format!("elasticloadbalancing:CreateRule {listener}"),
                "elasticloadbalancing:AddTags arn:aws:elasticloadbalancing:r:1:listener-rule/app/lb/id/l/*".to_owned()
            ]
        );
    }
}

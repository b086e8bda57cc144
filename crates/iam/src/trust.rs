//! Who may take a role: trust policies for where deployments run from.

use std::collections::BTreeMap;

use crate::policy::{Effect, Policy, Statement};

/// Where the role is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustKind {
    /// GitHub Actions. `repository`: `owner/name`. Tokens carry `repo:OWNER/NAME:…`
    /// (<https://docs.github.com/en/actions/security-for-github-actions/security-hardening-your-deployments/configuring-openid-connect-in-amazon-web-services>).
    GitHub { repository: String, environment: Option<String> },
    /// GitLab CI. `project`: `group/name`. Tokens carry `project_path:GROUP/NAME:ref_type:…`
    /// (<https://docs.gitlab.com/ci/cloud_services/aws/>).
    GitLab { host: String, project: String },
    /// CircleCI. Tokens are issued for the organisation and carry `org/ORG/project/PROJECT/user/…`
    /// (<https://circleci.com/docs/openid-connect-tokens/>).
    CircleCi { organisation: String, project: String },
    /// A server that runs as an ECS task.
    Ecs,
    /// A server on an EC2 instance.
    Ec2,
}

/// `account` and `partition` of the role.
pub fn trust(kind: &TrustKind, account: &str, partition: &str) -> Policy {
    let provider = |host: &str| format!("arn:{partition}:iam::{account}:oidc-provider/{host}");
    let federated = |sid: &str, host: &str, audience: &str, subject: String| {
        // An audience other than ours, or another repository's subject, and the role is anybody's who has an account there.
        statement(sid, "sts:AssumeRoleWithWebIdentity", "Federated", &provider(host))
            .when("StringEquals", &format!("{host}:aud"), [audience.to_owned()])
            .when("StringLike", &format!("{host}:sub"), [subject])
    };
    let one = match kind {
        TrustKind::GitHub { repository, environment } => {
            let subject = match environment {
                Some(environment) => format!("repo:{repository}:environment:{environment}"),
                None => format!("repo:{repository}:*"),
            };
            federated("GitHubActions", "token.actions.githubusercontent.com", "sts.amazonaws.com", subject)
        }
        TrustKind::GitLab { host, project } => {
            federated("GitLab", host, &format!("https://{host}"), format!("project_path:{project}:*"))
        }
        TrustKind::CircleCi { organisation, project } => federated(
            "CircleCI",
            &format!("oidc.circleci.com/org/{organisation}"),
            organisation,
            format!("org/{organisation}/project/{project}/user/*"),
        ),
        TrustKind::Ecs => statement("EcsTasks", "sts:AssumeRole", "Service", "ecs-tasks.amazonaws.com").when(
            "StringEquals",
            "aws:SourceAccount",
            [account.to_owned()],
        ),
        TrustKind::Ec2 => statement("Ec2Instances", "sts:AssumeRole", "Service", "ec2.amazonaws.com"),
    };
    Policy::new(vec![one])
}

fn statement(sid: &str, action: &str, kind: &str, who: &str) -> Statement {
    Statement {
        effect: Effect::Allow,
        principal: Some(BTreeMap::from([(kind.to_owned(), who.to_owned())])),
        ..Statement::allow(sid, &[action], [])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_role_for_github_is_that_repository_s_only() {
        let kind = TrustKind::GitHub { repository: "acme/shop".to_owned(), environment: None };
        assert_eq!(
            trust(&kind, "111122223333", "aws").json(),
            json!({"Version": "2012-10-17", "Statement": [{
                "Sid": "GitHubActions",
                "Effect": "Allow",
                "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"},
                    "StringLike": {"token.actions.githubusercontent.com:sub": "repo:acme/shop:*"},
                },
            }]})
        );
        let kind = TrustKind::GitHub { repository: "acme/shop".to_owned(), environment: Some("prod".to_owned()) };
        let policy = trust(&kind, "111122223333", "aws").json();
        let condition = &policy["Statement"][0]["Condition"]["StringLike"];
        assert_eq!(condition["token.actions.githubusercontent.com:sub"], "repo:acme/shop:environment:prod");
    }

    #[test]
    fn other_issuers_and_servers() {
        let of = |kind| trust(&kind, "111122223333", "aws").json()["Statement"][0].clone();
        let gitlab = of(TrustKind::GitLab { host: "gitlab.com".to_owned(), project: "acme/shop".to_owned() });
        assert_eq!(gitlab["Principal"]["Federated"], "arn:aws:iam::111122223333:oidc-provider/gitlab.com");
        assert_eq!(gitlab["Condition"]["StringLike"]["gitlab.com:sub"], "project_path:acme/shop:*");
        let circle = of(TrustKind::CircleCi { organisation: "o-1".to_owned(), project: "p-1".to_owned() });
        assert_eq!(circle["Condition"]["StringEquals"]["oidc.circleci.com/org/o-1:aud"], "o-1");
        assert_eq!(circle["Condition"]["StringLike"]["oidc.circleci.com/org/o-1:sub"], "org/o-1/project/p-1/user/*");
        assert_eq!(of(TrustKind::Ecs)["Principal"]["Service"], "ecs-tasks.amazonaws.com");
        let ec2 = of(TrustKind::Ec2);
        assert_eq!(
            (&ec2["Action"], &ec2["Principal"]["Service"]),
            (&json!("sts:AssumeRole"), &json!("ec2.amazonaws.com"))
        );
    }
}

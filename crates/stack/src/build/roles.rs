//! What a service's tasks may do: as ECS's agent, before they run (execution role), and themselves (task role). Each right reaches what
//! the service uses and no further.

use landfall_model::app::{ImageSource, Service};
use landfall_model::task::SecretRef;

use super::Build;
use super::container::{arn, secret_resource};
use super::storage::Volumes;
use crate::expr::{Expr, Id};
use crate::policy::{Policy, Statement};
use crate::resources::Properties;
use crate::resources::around::{InlinePolicy, Role};

#[derive(Debug, Clone, Default)]
pub(super) struct Roles {
    pub execution: Option<Expr>,
    pub task: Option<Expr>,
}

impl Build<'_> {
    pub(super) fn roles(&mut self, service: &Service, log_group: Option<&Id>, volumes: &Volumes) -> Roles {
        let execution = match &self.target.execution_role {
            Some(role) => Some(role_arn(role)),
            None => {
                let statements = self.execution_rights(service, log_group);
                let what = format!("ECS, for tasks of {}: images, secrets and logs", self.full_name(&service.name));
                Some(self.role(&[&service.name, "ExecutionRole"], "ecs-tasks", what, statements))
            }
        };
        let task = match &self.target.task_role {
            Some(role) => Some(role_arn(role)),
            None => {
                let statements = self.task_rights(service, volumes);
                let what = format!("Containers of {}", self.full_name(&service.name));
                (!statements.is_empty()).then(|| self.role(&[&service.name, "TaskRole"], "ecs-tasks", what, statements))
            }
        };
        Roles { execution, task }
    }

    pub(super) fn role(&mut self, id: &[&str], who: &str, what: String, statements: Vec<Statement>) -> Expr {
        let policies = match statements.is_empty() {
            true => Vec::new(),
            false => vec![InlinePolicy { policy_name: "rights", policy_document: Policy::new(statements) }],
        };
        let role = Role {
            description: what,
            assume_role_policy_document: Policy::trust(who),
            managed_policy_arns: Vec::new(),
            policies,
            tags: self.tags(),
        };
        let id = self.draft.add(Id::of(id), Properties::Role(role));
        Expr::Attribute(id, "Arn")
    }

    fn execution_rights(&self, service: &Service, log_group: Option<&Id>) -> Vec<Statement> {
        let mut statements = Vec::new();
        let mut repositories = Vec::new();
        for container in &service.containers {
            let repository = match &container.image {
                ImageSource::Reference(image) => repository(image, &self.app.project),
                ImageSource::Await(source) => repository(&source.image, &self.app.project),
                ImageSource::Build(_) | ImageSource::Base => None,
            };
            repositories.extend(repository.filter(|one| !repositories.contains(one)));
        }
        if !repositories.is_empty() {
            let pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
            statements.push(Statement::allow("LogInToRegistry", &["ecr:GetAuthorizationToken"], [Expr::text("*")]));
            statements.push(Statement::allow("PullImages", &pull, repositories));
        }
        let write = ["logs:CreateLogStream", "logs:PutLogEvents"];
        let logs = match (log_group, &self.target.log_group) {
            (Some(id), _) => Some(Expr::Attribute(id.clone(), "Arn")),
            (None, Some(name)) => Some(Expr::sub(format!("{}:log-group:{name}:*", arn("logs")))),
            (None, None) => None,
        };
        statements.extend(logs.map(|logs| Statement::allow("WriteLogs", &write, [logs])));
        let secrets = service.containers.iter().flat_map(|container| container.settings.secrets.values());
        let secrets: Vec<SecretRef> = secrets.map(|secret| secret.in_environment(&self.environment.name)).collect();
        let (mut parameters, mut secret_values) = (Vec::new(), Vec::new());
        for secret in &secrets {
            let all = match secret {
                SecretRef::Ssm(_) => &mut parameters,
                _ => &mut secret_values,
            };
            all.extend(secret_resource(secret).filter(|one| !all.contains(one)));
        }
        if !parameters.is_empty() {
            statements.push(Statement::allow("ReadParameters", &["ssm:GetParameters"], parameters));
        }
        if !secret_values.is_empty() {
            statements.push(Statement::allow("ReadSecrets", &["secretsmanager:GetSecretValue"], secret_values));
        }
        statements
    }

    fn task_rights(&self, service: &Service, volumes: &Volumes) -> Vec<Statement> {
        let mut statements = Vec::new();
        for permission in self.stack.permissions.get(&service.name).into_iter().flatten() {
            let actions: Vec<&str> = permission.actions.iter().map(String::as_str).collect();
            let resources = permission.resources.iter().map(Expr::text);
            statements.push(Statement::allow(&format!("Permission{}", statements.len() + 1), &actions, resources));
        }
        for (name, writes) in self.mounted(&service.name) {
            let Some(file_system) = volumes.get(name) else { continue };
            let mut actions = vec!["elasticfilesystem:ClientMount"];
            if writes {
                // Files belong to root in a new file system.
                actions.extend(["elasticfilesystem:ClientRootAccess", "elasticfilesystem:ClientWrite"]);
            }
            let sid = format!("Mount{}", Id::of(&[name]));
            statements.push(Statement::allow(&sid, &actions, [file_system.arn.clone()]));
        }
        statements
    }
}

/// By name or ARN, as the manifest takes them.
fn role_arn(role: &str) -> Expr {
    match role.starts_with("arn:") {
        true => Expr::text(role),
        false => Expr::sub(format!("arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/{role}")),
    }
}

/// `ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME` of ECR; `None`: another registry's, which asks for no rights. A name that
/// depends on more than the project holds for all of its kind.
fn repository(image: &str, project: &str) -> Option<Expr> {
    let (host, rest) = image.split_once('/')?;
    let parts: Vec<&str> = host.split('.').collect();
    let [account, "dkr", "ecr", region, "amazonaws", ..] = parts.as_slice() else { return None };
    let name = rest.split('@').next().unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let mut pattern = name.replace("{project}", project);
    while let (Some(begin), Some(end)) = (pattern.find('{'), pattern.find('}')) {
        if begin >= end {
            break;
        }
        pattern.replace_range(begin..=end, "*");
    }
    Some(Expr::sub(format!("arn:${{AWS::Partition}}:ecr:{region}:{account}:repository/{pattern}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_of_ecr() {
        let of = |image: &str| repository(image, "shop").map(|expr| expr.within());
        let arn = |name: &str| Some(format!("arn:${{AWS::Partition}}:ecr:eu-west-1:111122223333:repository/{name}"));
        const HOST: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
        assert_eq!(of(&format!("{HOST}/web:{{commit}}")), arn("web"));
        assert_eq!(of(&format!("{HOST}/team/{{project}}-web@sha256:0")), arn("team/shop-web"));
        assert_eq!(of(&format!("{HOST}/{{branch}}/web")), arn("*/web"));
        assert_eq!(of("docker.io/library/nginx:1"), None);
        assert_eq!(of("nginx"), None);
    }
}

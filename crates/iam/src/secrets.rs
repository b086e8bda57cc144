//! Containers' secrets: what a deployment must find, and what `landfall secrets` reads and writes.

use landfall_model::secret::{PREVIEW, SecretId, in_environment, path_of};
use landfall_model::task::SecretRef;

use crate::least::{Ask, Place};
use crate::policy::Statement;
use crate::statements::{parameter_arn, secret_arn, services};

/// Each as it is in this environment.
pub(crate) fn of_containers(ask: &Ask<'_>) -> Vec<SecretRef> {
    let name = ask.environment.unwrap_or(PREVIEW);
    let containers = services(ask).into_iter().flat_map(|service| &service.containers);
    let all = containers.flat_map(|container| container.settings.secrets.values());
    all.map(|secret| secret.in_environment(name)).collect()
}

/// Of parameters that all become secrets.
pub(crate) fn paths(ask: &Ask<'_>) -> Vec<String> {
    let name = ask.environment.unwrap_or(PREVIEW);
    let containers = services(ask).into_iter().flat_map(|service| &service.containers);
    let all = containers.flat_map(|container| &container.settings.secret_paths);
    all.map(|path| in_environment(path_of(path), name).into_owned()).collect()
}

pub(crate) fn manage(ask: &Ask<'_>, place: &Place<'_>, all: &mut Vec<Statement>) {
    let secrets = of_containers(ask);
    let parameters = secrets.iter().filter_map(|secret| match secret {
        SecretRef::Ssm(name) => Some(parameter_arn(place, name)),
        _ => None,
    });
    let under = paths(ask).into_iter().map(|path| parameter_arn(place, &format!("{path}/*")));
    let parameters: Vec<String> = parameters.chain(under).collect();
    if !parameters.is_empty() {
        all.push(Statement::allow("SetParameters", &["ssm:GetParameter", "ssm:PutParameter"], parameters));
        all.push(Statement::allow("ListParameters", &["ssm:DescribeParameters"], ["*".to_owned()]));
    }
    let manager = || {
        secrets.iter().filter_map(|secret| match secret {
            SecretRef::SecretsManager(text) => Some(text.as_str()),
            _ => None,
        })
    };
    let arns: Vec<String> = manager().map(|text| secret_arn(place, text)).collect();
    if !arns.is_empty() {
        let actions =
            ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"];
        all.push(Statement::allow("SetSecrets", &actions, arns));
    }
    // Those that are named by their ARN are there already.
    let names: Vec<&str> =
        manager().map(|text| SecretId::parse(text).id).filter(|id| !id.starts_with("arn:")).collect();
    if !names.is_empty() {
        let arns = names.iter().map(|name| place.arn("secretsmanager", &format!("secret:{name}*")));
        let create = Statement::allow("CreateSecrets", &["secretsmanager:CreateSecret"], arns);
        // The ARN of what is about to be made ends in what nobody knows yet.
        all.push(create.when("StringEquals", "secretsmanager:Name", names.iter().map(|name| (*name).to_owned())));
    }
}

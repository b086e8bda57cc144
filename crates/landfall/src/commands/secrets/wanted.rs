//! Which secrets the containers of an environment take, by what the manifest says. Pure.

use std::collections::BTreeMap;

use landfall_model::app::Service;
use landfall_model::secret::{SecretId, in_environment, parameter_name, path_of, variables_of};
use landfall_model::task::SecretRef;

/// A variable and what it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub name: String,
    pub reference: SecretRef,
    /// `service/container`
    pub users: Vec<String>,
}

/// A container's paths, and what they do not give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Under {
    pub user: String,
    pub paths: Vec<String>,
    pub taken: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub named: Vec<Wanted>,
    pub under: Vec<Under>,
}

/// `environment`: what stands for `{environment}`.
pub(super) fn needs(services: &[&Service], environment: &str) -> Needs {
    let mut needs = Needs::default();
    for service in services {
        for container in &service.containers {
            let user = format!("{}/{}", service.name, container.name);
            let settings = &container.settings;
            for (name, reference) in &settings.secrets {
                take(&mut needs.named, name, reference.in_environment(environment), &user);
            }
            if !settings.secret_paths.is_empty() {
                let paths = settings.secret_paths.iter();
                needs.under.push(Under {
                    paths: paths.map(|path| in_environment(path_of(path), environment).into_owned()).collect(),
                    taken: settings.secrets.keys().chain(settings.environment.keys()).cloned().collect(),
                    user,
                });
            }
        }
        in_documents(service, &mut needs.named);
    }
    needs
}

/// Those of a task definition that is written in ECS's own words.
fn in_documents(service: &Service, all: &mut Vec<Wanted>) {
    let Some(documents) = &service.documents else { return };
    for container in documents.task_definition["containerDefinitions"].as_array().into_iter().flatten() {
        let user = format!("{}/{}", service.name, container["name"].as_str().unwrap_or_default());
        for secret in container["secrets"].as_array().into_iter().flatten() {
            let (Some(name), Some(from)) = (secret["name"].as_str(), secret["valueFrom"].as_str()) else { continue };
            let reference = match from.contains(":secretsmanager:") {
                true => SecretRef::SecretsManager(from.to_owned()),
                false => SecretRef::Ssm(from.to_owned()),
            };
            take(all, name, reference, &user);
        }
    }
}

fn take(all: &mut Vec<Wanted>, name: &str, reference: SecretRef, user: &str) {
    match all.iter_mut().find(|one| one.name == name && one.reference == reference) {
        Some(known) => known.users.push(user.to_owned()),
        None => all.push(Wanted { name: name.to_owned(), reference, users: vec![user.to_owned()] }),
    }
}

/// All of them, sorted. `found`: the parameters under each path.
pub(super) fn all(needs: &Needs, found: &BTreeMap<String, Vec<String>>) -> Result<Vec<Wanted>, String> {
    let mut all = needs.named.clone();
    for under in &needs.under {
        let of = |path: &String| (path.clone(), found.get(path).cloned().unwrap_or_default());
        let paths: Vec<(String, Vec<String>)> = under.paths.iter().map(of).collect();
        for (variable, parameter) in variables_of(&paths, |name| under.taken.iter().any(|taken| taken == name))? {
            take(&mut all, &variable, SecretRef::Ssm(parameter), &under.user);
        }
    }
    all.sort_by(|a, b| (&a.name, &a.reference).cmp(&(&b.name, &b.reference)));
    Ok(all)
}

/// What was not found by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotOne {
    None,
    /// Refers to different things; as they must be named.
    Several(Vec<String>),
}

/// `NAME`, or `SERVICE/CONTAINER:NAME`. What nothing names yet gets its place under the first path.
pub(super) fn find(needs: &Needs, all: &[Wanted], wanted: &str) -> Result<SecretRef, NotOne> {
    let (user, name) = match wanted.rsplit_once(':') {
        Some((user, name)) => (Some(user), name),
        None => (None, wanted),
    };
    let of_user = |one: &&Wanted| user.is_none_or(|user| one.users.iter().any(|own| own == user));
    let found: Vec<&Wanted> = all.iter().filter(|one| one.name == name).filter(of_user).collect();
    match found.as_slice() {
        [one] => return Ok(one.reference.clone()),
        [] => {}
        several => {
            let names = several.iter().filter_map(|one| Some(format!("{}:{name}", one.users.first()?)));
            return Err(NotOne::Several(names.collect()));
        }
    }
    let legal = name.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_');
    let under = needs.under.iter().find(|under| {
        user.is_none_or(|user| user == under.user) && legal && !under.taken.iter().any(|taken| taken == name)
    });
    let path = under.and_then(|under| under.paths.first()).ok_or(NotOne::None)?;
    Ok(SecretRef::Ssm(format!("{}/{name}", path.trim_end_matches('/'))))
}

/// Names by which the references of two environments are compared: the variable, and its container too where one of them refers to
/// different things by it.
pub(super) fn keys(one: &[Wanted], other: &[Wanted]) -> [BTreeMap<String, SecretRef>; 2] {
    let several = |all: &[Wanted], name: &str| all.iter().filter(|wanted| wanted.name == name).count() > 1;
    let of = |all: &[Wanted]| {
        let mut keys = BTreeMap::new();
        for wanted in all {
            if several(one, &wanted.name) || several(other, &wanted.name) {
                for user in &wanted.users {
                    keys.insert(format!("{user}:{}", wanted.name), wanted.reference.clone());
                }
            } else {
                keys.insert(wanted.name.clone(), wanted.reference.clone());
            }
        }
        keys
    };
    [of(one), of(other)]
}

/// Kind and name, for people and for JSON.
pub(super) fn shown(reference: &SecretRef) -> (&'static str, String) {
    match reference {
        SecretRef::Env(name) => ("env", name.clone()),
        SecretRef::File(path) => ("file", path.clone()),
        SecretRef::Ssm(name) => ("ssm", parameter_name(name).into_owned()),
        SecretRef::SecretsManager(text) => ("secrets_manager", text.clone()),
    }
}

/// In one line: `ssm /shop/prod/db`, `secrets_manager shop/db key password`.
pub(super) fn line(reference: &SecretRef) -> String {
    let (kind, name) = shown(reference);
    match reference {
        SecretRef::SecretsManager(text) => {
            let id = SecretId::parse(text);
            let key = id.key.map(|key| format!(" key {key}")).unwrap_or_default();
            let pinned = if id.stage.is_some() || id.version.is_some() { " (one version)" } else { "" };
            format!("{kind} {}{key}{pinned}", id.id)
        }
        _ => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn wanted(name: &str, ssm: &str, users: &[&str]) -> Wanted {
        let users = users.iter().map(|user| (*user).to_owned()).collect();
        Wanted { name: name.to_owned(), reference: SecretRef::Ssm(ssm.to_owned()), users }
    }

    fn some() -> (Needs, Vec<Wanted>) {
        let named = vec![
            wanted("A", "/a", &["web/app", "worker/app"]),
            wanted("B", "/b1", &["web/app"]),
            wanted("B", "/b2", &["worker/app"]),
        ];
        let under = vec![Under {
            user: "web/app".to_owned(),
            paths: vec!["/shop/prod".to_owned()],
            taken: vec!["A".to_owned(), "B".to_owned()],
        }];
        let needs = Needs { named, under };
        let found = BTreeMap::from([(
            "/shop/prod".to_owned(),
            vec!["/shop/prod/api-key".to_owned(), "/shop/prod/a".to_owned()],
        )]);
        let all = all(&needs, &found).unwrap();
        (needs, all)
    }

    #[test]
    fn a_secret_is_found_by_its_variable() {
        let (needs, all) = some();
        let ssm = |name: &str| Ok(SecretRef::Ssm(name.to_owned()));
        assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["A", "API_KEY", "B", "B"]);
        assert_eq!(find(&needs, &all, "A"), ssm("/a"));
        assert_eq!(find(&needs, &all, "API_KEY"), ssm("/shop/prod/api-key"));
        assert_eq!(find(&needs, &all, "NEW"), ssm("/shop/prod/NEW"));
        assert_eq!(find(&needs, &all, "worker/app:B"), ssm("/b2"));
        let both = vec!["web/app:B".to_owned(), "worker/app:B".to_owned()];
        assert_eq!(find(&needs, &all, "B"), Err(NotOne::Several(both)));
        // What may be a value is no new name.
        assert_eq!(find(&needs, &all, "hunter2"), Err(NotOne::None));
        assert_eq!(find(&needs, &all, "worker/app:NEW"), Err(NotOne::None));
    }

    #[test]
    fn environments_are_compared_by_variable_and_where_that_is_not_enough_by_container() {
        let (_, all) = some();
        let [one, other] = keys(&all, &[wanted("A", "/x", &["web/app"])]);
        assert_eq!(one.keys().collect::<Vec<_>>(), ["A", "API_KEY", "web/app:B", "worker/app:B"]);
        assert_eq!(other.keys().collect::<Vec<_>>(), ["A"]);
    }

    #[test]
    fn references_are_shown_without_their_colons() {
        let manager = |text: &str| line(&SecretRef::SecretsManager(text.to_owned()));
        assert_eq!(manager("shop/db:password"), "secrets_manager shop/db key password");
        assert_eq!(manager("shop/db::AWSPREVIOUS"), "secrets_manager shop/db (one version)");
        assert_eq!(line(&SecretRef::Env("A".to_owned())), "env A");
    }
}

//! References to secrets: as ECS's `valueFrom` reads them, for which environment, and what a parameter's variable is called.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::app::HookAction;
use crate::task::{ContainerSettings, SecretRef};

/// Stands for the environment's name in references and paths.
pub const ENVIRONMENT: &str = "{environment}";
/// What previews put there, all of them the same.
pub const PREVIEW: &str = "preview";
/// What `landfall up` puts there, for the working tree.
pub const LOCAL: &str = "local";

/// `{environment}` becomes `name`.
pub fn in_environment<'t>(text: &'t str, name: &str) -> Cow<'t, str> {
    match text.contains(ENVIRONMENT) {
        true => Cow::Owned(text.replace(ENVIRONMENT, name)),
        false => Cow::Borrowed(text),
    }
}

impl SecretRef {
    /// The reference of the environment with this name. What is on this machine is the same for all.
    #[must_use]
    pub fn in_environment(&self, name: &str) -> Self {
        match self {
            Self::Ssm(text) => Self::Ssm(in_environment(text, name).into_owned()),
            Self::SecretsManager(text) => Self::SecretsManager(in_environment(text, name).into_owned()),
            Self::Env(_) | Self::File(_) => self.clone(),
        }
    }
}

impl ContainerSettings {
    /// Its references become those of the environment with this name.
    pub fn refer_to(&mut self, environment: &str) {
        for secret in self.secrets.values_mut() {
            *secret = secret.in_environment(environment);
        }
        for path in &mut self.secret_paths {
            *path = in_environment(path, environment).into_owned();
        }
    }
}

impl HookAction {
    /// What is looked up when it runs.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::Http { secret, secret_headers, .. } => secret.iter().chain(secret_headers.values()).collect(),
            Self::CircleCi(circle) => vec![&circle.token],
            Self::Command { .. } | Self::Task { .. } | Self::Lambda { .. } => Vec::new(),
        }
    }

    /// Its references become those of the environment with this name.
    pub fn refer_to(&mut self, environment: &str) {
        match self {
            Self::Http { secret, secret_headers, .. } => {
                for secret in secret.iter_mut().chain(secret_headers.values_mut()) {
                    *secret = secret.in_environment(environment);
                }
            }
            Self::CircleCi(circle) => circle.token = circle.token.in_environment(environment),
            Self::Command { .. } | Self::Task { .. } | Self::Lambda { .. } => {}
        }
    }
}

/// As ECS reads `valueFrom`: `ID[:JSON-KEY[:STAGE[:VERSION]]]`, where an ARN has seven parts of its own and parts may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretId<'a> {
    pub id: &'a str,
    pub key: Option<&'a str>,
    pub stage: Option<&'a str>,
    pub version: Option<&'a str>,
}

impl<'a> SecretId<'a> {
    pub fn parse(text: &'a str) -> Self {
        let own = if text.starts_with("arn:") { 7 } else { 1 };
        let end = text.match_indices(':').nth(own - 1).map_or(text.len(), |(at, _)| at);
        let mut rest = text[end..].split(':').skip(1).map(|part| Some(part).filter(|part| !part.is_empty()));
        let mut next = || rest.next().flatten();
        Self { id: &text[..end], key: next(), stage: next(), version: next() }
    }
}

/// A parameter's name, also where its ARN is given. An ARN leaves out the slash before a path: `…:parameter/a/b` is `/a/b`.
pub fn parameter_name(text: &str) -> Cow<'_, str> {
    match text.split_once(":parameter/").filter(|_| text.starts_with("arn:")) {
        Some((_, rest)) if rest.contains('/') => Cow::Owned(format!("/{rest}")),
        Some((_, rest)) => Cow::Borrowed(rest),
        None => Cow::Borrowed(text),
    }
}

/// A path without the slashes at its end: `/shop/prod`.
pub fn path_of(text: &str) -> &str {
    match text.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

/// The variable that a parameter under a path becomes: the last part of its name in capitals, `-` and `.` as `_`. `None`: no
/// variable can be called that.
pub fn variable_of(parameter: &str) -> Option<String> {
    let last = parameter.rsplit('/').next().unwrap_or_default();
    let name = last.replace(['-', '.'], "_").to_ascii_uppercase();
    let legal = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
    let legal = legal && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    legal.then_some(name)
}

/// Variables of the parameters under paths: the first path that has a variable wins, as what `taken` says does before all.
///
/// # Errors
/// Parameters that no variable can be called after, or two of one path that are called the same.
pub fn variables_of(
    paths: &[(String, Vec<String>)],
    taken: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::<String, String>::new();
    for (path, parameters) in paths {
        let mut own = BTreeMap::<String, &String>::new();
        for parameter in parameters {
            let variable = variable_of(parameter).ok_or_else(|| {
                format!("no environment variable can be called after {parameter}, which is under {path}")
            })?;
            if let Some(other) = own.insert(variable.clone(), parameter) {
                return Err(format!("{other} and {parameter} would both be the variable {variable}"));
            }
        }
        for (variable, parameter) in own {
            if !taken(&variable) {
                all.entry(variable).or_insert_with(|| parameter.clone());
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn references_are_read_as_ecs_reads_them() {
        let of = |id, key, stage, version| SecretId { id, key, stage, version };
        assert_eq!(SecretId::parse("slack"), of("slack", None, None, None));
        assert_eq!(SecretId::parse("team/slack:url"), of("team/slack", Some("url"), None, None));
        let arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:slack-AbCdEf";
        assert_eq!(SecretId::parse(arn), of(arn, None, None, None));
        let full = format!("{arn}:url:AWSPREVIOUS:v1");
        assert_eq!(SecretId::parse(&full), of(arn, Some("url"), Some("AWSPREVIOUS"), Some("v1")));
        let empty = format!("{arn}:url::");
        assert_eq!(SecretId::parse(&empty), of(arn, Some("url"), None, None));
        let stage = format!("{arn}::AWSPREVIOUS:");
        assert_eq!(SecretId::parse(&stage), of(arn, None, Some("AWSPREVIOUS"), None));
    }

    #[test]
    fn an_environment_has_references_of_its_own() {
        let ssm = SecretRef::Ssm("/shop/{environment}/db".to_owned());
        assert_eq!(ssm.in_environment("prod"), SecretRef::Ssm("/shop/prod/db".to_owned()));
        let env = SecretRef::Env("DB".to_owned());
        assert_eq!(env.in_environment("prod"), env);
    }

    #[test]
    fn parameters_are_named_by_their_arn_too() {
        assert_eq!(parameter_name("arn:aws:ssm:eu-west-1:111122223333:parameter/shop/db"), "/shop/db");
        assert_eq!(parameter_name("arn:aws:ssm:eu-west-1:111122223333:parameter/db"), "db");
        assert_eq!(parameter_name("/shop/db"), "/shop/db");
        assert_eq!((path_of("/shop/"), path_of("/"), path_of("/a/b")), ("/shop", "/", "/a/b"));
    }

    #[test]
    fn parameters_become_variables() {
        assert_eq!(variable_of("/shop/prod/database-url").as_deref(), Some("DATABASE_URL"));
        assert_eq!(variable_of("/shop/prod/API.KEY").as_deref(), Some("API_KEY"));
        assert_eq!((variable_of("/shop/9lives"), variable_of("/shop/ä"), variable_of("/")), (None, None, None));
        let paths = |all: &[(&str, &[&str])]| -> Vec<(String, Vec<String>)> {
            let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            all.iter().map(|(path, names)| ((*path).to_owned(), of(names))).collect()
        };
        let all = paths(&[("/a", &["/a/x", "/a/y"]), ("/b", &["/b/x", "/b/z"])]);
        let found = variables_of(&all, |name| name == "Y").unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|(name, from)| (name.as_str(), from.as_str())).collect();
        assert_eq!(found, [("X", "/a/x"), ("Z", "/b/z")]);
        let twice = variables_of(&paths(&[("/a", &["/a/x-y", "/a/x.y"])]), |_| false).unwrap_err();
        assert_eq!(twice, "/a/x-y and /a/x.y would both be the variable X_Y");
        assert!(variables_of(&paths(&[("/a", &["/a/1"])]), |_| false).is_err());
    }
}

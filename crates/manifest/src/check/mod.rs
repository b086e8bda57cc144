//! What only a look at the whole can tell: sizes, references, cycles, ports, names. Every check adds to one list and goes
//! on. Values that the shape already refused are absent here, so a check says nothing about what is not there.

mod arn;
mod aws;
mod chat;
mod ci;
mod environments;
mod pipeline;
mod placed;
mod previews;
mod service;
mod size;
mod stack;
mod strategy;
pub(crate) mod syntax;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::redact::looks_secret;
use landfall_model::task::SecretRef;

use crate::authored::{Manifest, Repository};
use crate::codes;
use crate::diagnostic::{Diagnostic, closest, did_you_mean};
use crate::github;
use crate::scalar::{Duration, Text};
use crate::shape::{listed, shown};
use crate::tree::{At, Data, shorten};

const PROJECT_LENGTH: usize = 40;
const SERVICE_LENGTH: usize = 40;

pub(crate) fn check(manifest: &Manifest, at: At<'_>, found: &mut Vec<Diagnostic>) {
    let on_aws = crate::place::on_aws(manifest);
    let mut checker = Checker { found, root: at, on_aws };
    checker.project(manifest);
    checker.targets(manifest);
    checker.repositories(&manifest.repositories, at.get("repositories"));
    let services = at.get("services");
    // A repository of clusters has none.
    let mut steps = manifest.ci.iter().flat_map(|ci| ci.rules.values()).flat_map(|rule| &rule.steps);
    let clusters = steps.any(|step| step.cluster.is_some());
    if services.is_map() && services.keys().next().is_none() && !clusters {
        let error = Diagnostic::error(codes::MISSING, "`services` is empty").label(services.span(), "needs a service");
        checker.push(error);
    }
    for (name, service) in &manifest.services {
        checker.service(name, service, services.get(name));
        checker.can_be_updated(manifest, service, services.get(name));
    }
    checker.environments(manifest);
    if let Some(previews) = &manifest.previews {
        checker.previews(manifest, previews, at.get("previews"));
    }
    checker.placed(manifest);
    checker.strategies(manifest);
    checker.stacks(manifest);
    checker.notifications(manifest);
    checker.chatops(manifest);
    checker.ci(manifest);
    checker.pipelines(manifest);
    if let Some(webhook) = &manifest.webhook {
        for (index, secret) in webhook.secrets.iter().enumerate() {
            checker.secret_ref(secret, at.get("webhook").get("secrets").item(index));
        }
    }
}

struct Checker<'f, 't> {
    found: &'f mut Vec<Diagnostic>,
    root: At<'t>,
    /// Services that run on AWS somewhere.
    on_aws: BTreeSet<String>,
}

impl Checker<'_, '_> {
    fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    fn error(&mut self, code: &'static str, at: At<'_>, message: impl Into<String>, label: impl Into<String>) {
        self.push(Diagnostic::error(code, message).label(at.span(), label));
    }

    fn project(&mut self, manifest: &Manifest) {
        let at = self.root.get("project");
        // Absent: the shape has said so.
        if !manifest.project.is_empty() || is_empty_text(at) {
            self.name("project", &manifest.project, PROJECT_LENGTH, at);
        }
    }

    fn name(&mut self, what: &str, name: &str, longest: usize, at: At<'_>) {
        if let Err(rule) = syntax::name(name, longest) {
            let message = match what {
                "project" => format!("{} is no legal project name", shown_at(at)),
                _ => format!("`{}` is no legal {what} name", shorten(name)),
            };
            let error = Diagnostic::error(codes::NAME, message)
                .label(if what == "project" { at.span() } else { at.key_span() }, rule)
                .maybe_help(
                    syntax::legal_name(name, longest)
                        .filter(|_| !is_interpolated(at))
                        .map(|legal| format!("use `{legal}`")),
                );
            self.push(error);
        }
    }

    fn repositories(&mut self, repositories: &BTreeMap<String, Repository>, at: At<'_>) {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (key, repository) in repositories {
            let at = at.get(key);
            // Keys that begin with `github:` are what repositories without an entry are called.
            if !syntax::container_name(key) && !syntax::github_repository(&format!("x/{key}")) {
                let error = Diagnostic::error(codes::NAME, format!("`{}` cannot be a repository's key", shorten(key)));
                self.push(error.label(at.key_span(), "letters, digits, `-`, `_` and `.`"));
            }
            if let Some(github) = &repository.github {
                let at = at.get("github");
                if !syntax::github_repository(github) {
                    let meant = github::Repository::of_origin(github)
                        .or_else(|_| github::Repository::of_origin(&format!("https://{github}")));
                    let meant = meant.map(|meant| meant.to_string()).ok();
                    let error = Diagnostic::error(codes::REPOSITORY, "`github` is `owner/name`")
                        .label(at.span(), "not `owner/name`")
                        .maybe_help(
                            meant.filter(|own| syntax::github_repository(own)).map(|own| format!("use `{own}`")),
                        );
                    self.push(error);
                }
                if let Some(other) = seen.insert(github.to_ascii_lowercase(), key) {
                    let message = format!("repositories `{other}` and `{key}` are the same on GitHub");
                    let other = self.root.get("repositories").get(other).get("github").span();
                    let error = Diagnostic::error(codes::REPOSITORY, message).label(at.span(), "given again");
                    self.push(error.label(other, "first given here"));
                }
            }
            if let Some(id) = repository.github_id
                && let Some(other) = seen.insert(format!("#{id}"), key)
            {
                let message = format!("repositories `{other}` and `{key}` have the same `github_id`");
                self.error(codes::REPOSITORY, at.get("github_id"), message, "given again");
            }
            if let Some(source) = &repository.source {
                let at = at.get("source");
                if source.trim().is_empty() || source.starts_with('-') || source.chars().any(char::is_control) {
                    self.error(codes::REPOSITORY, at, "`source` is neither a URL nor a path", "git cannot clone this");
                } else if let Some((user, _)) = source.split_once("://").and_then(|(_, rest)| rest.split_once('@'))
                    && user.contains(':')
                    && !user.contains('/')
                {
                    // Also from a variable: plans and the journal keep `source` as it is.
                    let error = Diagnostic::error(codes::SOURCE_PASSWORD, "`source` holds a password")
                        .label(at.span(), "would be kept in plans")
                        .help("use a git credential helper or an SSH URL");
                    self.push(error);
                }
            }
        }
    }

    /// A reference to a service by name.
    fn service_ref(&mut self, name: &str, at: At<'_>) -> bool {
        let services = self.root.get("services");
        if services.keys().any(|known| known == name) {
            return true;
        }
        let error = Diagnostic::error(codes::UNKNOWN_SERVICE, format!("there is no service {}", shown_at(at)))
            .label(at.span(), "not defined under `services`")
            .help(known("service", services.keys()))
            .maybe_help(did_you_mean(name, services.keys()));
        self.push(error);
        false
    }

    /// Names of services, each once.
    fn service_refs(&mut self, names: &[String], at: At<'_>) {
        for (index, name) in names.iter().enumerate() {
            if self.service_ref(name, at.item(index)) && names[..index].contains(name) {
                let message = format!("service `{}` is listed twice", shorten(name));
                self.error(codes::BAD_VALUE, at.item(index), message, "again here");
            }
        }
    }

    /// Variables in the open: legal names, and nothing that looks like a secret.
    fn variables(&mut self, variables: &BTreeMap<String, Text>, at: At<'_>) {
        for (name, value) in variables {
            let at = at.get(name);
            self.variable_name(name, at);
            if looks_secret(name) && !value.0.is_empty() && !only_points(name, &value.0) {
                let warning = Diagnostic::warning(codes::PLAIN_SECRET, format!("`{name}` looks like a secret"))
                    .label(at.key_span(), "its value would be kept in plans and shown by the engine")
                    .help(format!("move it to `secrets`: `{name}: {{env: {name}}}`"));
                self.push(warning);
            }
        }
    }

    fn variable_name(&mut self, name: &str, at: At<'_>) {
        if !syntax::variable_name(name) {
            let message = format!("`{}` cannot be the name of an environment variable", shorten(name));
            let error = Diagnostic::error(codes::VARIABLE_NAME, message);
            self.push(error.label(at.key_span(), "letters, digits and `_`, not beginning with a digit"));
        }
    }

    fn secret_ref(&mut self, secret: &SecretRef, at: At<'_>) {
        let (key, text) = match secret {
            SecretRef::Env(text) => ("env", text),
            SecretRef::File(text) => ("file", text),
            SecretRef::Ssm(text) => ("ssm", text),
            SecretRef::SecretsManager(text) => ("secrets_manager", text),
        };
        let at = at.get(key);
        if text.trim().is_empty() {
            self.error(codes::BAD_VALUE, at, format!("`{key}` names nothing"), "empty");
        } else if matches!(secret, SecretRef::Env(_)) && !syntax::variable_name(text) {
            let error = Diagnostic::error(codes::VARIABLE_NAME, "`env` is the name of an environment variable")
                .label(at.span(), "letters, digits and `_`, not beginning with a digit")
                .help("give the variable's name, not its value");
            self.push(error);
        }
    }

    fn url(&mut self, url: &str, at: At<'_>) {
        if !at.is_given() {
            return;
        }
        if let Err(rule) = syntax::http_url(url) {
            self.error(codes::URL, at, "not a usable URL", rule);
        }
    }

    /// Whole seconds within `least..=most`.
    fn seconds(&mut self, value: Option<Duration>, at: At<'_>, least: u64, most: u64) {
        let Some(Duration(ms)) = value else { return };
        if ms % 1_000 != 0 {
            self.error(codes::OUT_OF_RANGE, at, "whole seconds only", "not whole seconds");
        } else if !(least..=most).contains(&(ms / 1_000)) {
            let message = "a duration out of range";
            self.error(codes::OUT_OF_RANGE, at, message, format!("must be {least}s to {most}s"));
        }
    }

    fn number(&mut self, value: Option<u32>, at: At<'_>, least: u32, most: u32) {
        if let Some(value) = value
            && !(least..=most).contains(&value)
        {
            self.error(codes::OUT_OF_RANGE, at, "a number out of range", format!("must be {least} to {most}"));
        }
    }

    /// Exactly one of `keys` below `at`. `false` and a diagnostic otherwise.
    fn exactly_one(&mut self, what: &str, at: At<'_>, keys: &[&'static str]) -> bool {
        // A key whose value was refused still counts, and so does a misspelt one: both have been reported.
        let given: Vec<_> = at.keys().filter(|key| keys.contains(key)).collect();
        if given.is_empty() && at.keys().any(|key| closest(key, keys.iter().copied()).is_some()) {
            return false;
        }
        let names = || listed(keys.iter().copied(), "or");
        match given.as_slice() {
            [_] => true,
            [] => {
                let error = Diagnostic::error(codes::EXACTLY_ONE, format!("{what} needs one of {}", names()));
                self.push(error.label(at.key_span(), "none given"));
                false
            }
            [first, second, ..] => {
                let error = Diagnostic::error(codes::EXACTLY_ONE, format!("{what} takes only one of {}", names()))
                    .label(at.get(second).key_span(), "one too many")
                    .label(at.get(first).key_span(), "already given here");
                self.push(error);
                false
            }
        }
    }
}

fn known<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> String {
    match names.take(12).collect::<Vec<_>>() {
        names if names.is_empty() => format!("no {what} is defined"),
        names => format!("defined: {}", names.join(", ")),
    }
}

/// `PASSWORD_FILE=/run/secrets/x` and `TOKEN_URL=https://…` say where a secret is, not what it is.
pub(crate) fn only_points(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let pointing = ["_FILE", "_PATH", "_URL", "_URI", "_NAME", "_ARN", "_ID", "_TTL", "_LENGTH", "_EXPIRY", "_TIMEOUT"];
    pointing.iter().any(|end| name.ends_with(end)) || matches!(value, "true" | "false") || value.parse::<u16>().is_ok()
}

fn is_interpolated(at: At<'_>) -> bool {
    at.node.is_some_and(|node| matches!(&node.data, Data::Scalar(scalar) if scalar.interpolated))
}

/// The value at `at` as a message may repeat it.
fn shown_at(at: At<'_>) -> String {
    match at.node.map(|node| &node.data) {
        Some(Data::Scalar(scalar)) => shown(scalar),
        _ => "this".to_owned(),
    }
}

fn is_empty_text(at: At<'_>) -> bool {
    at.node.is_some_and(|node| matches!(&node.data, Data::Scalar(scalar) if scalar.text.is_empty() && !scalar.plain))
}

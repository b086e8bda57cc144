//! Variables in the open that do not stand in the manifest: those of env files, and those that CI sets. Both end up in task
//! definitions for everybody to read who may describe one, so what is called like a secret is refused here, with the way that keeps
//! it one.

use std::collections::BTreeMap;
use std::path::Path;

use landfall_model::app::App;
use landfall_model::redact::looks_secret;

use crate::authored::{Container, Manifest};
use crate::check::{only_points, syntax};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::env_file;
use crate::tree::{At, shorten};

/// Reads a file by its path.
pub(crate) type Files<'a> = dyn Fn(&Path) -> std::io::Result<String> + 'a;
pub(crate) type Vars<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// By service and container.
pub(crate) type Given = BTreeMap<(String, String), BTreeMap<String, String>>;

pub(crate) struct Outside<'a> {
    pub vars: &'a Vars<'a>,
    pub files: &'a Files<'a>,
    /// Of the manifest.
    pub directory: &'a Path,
}

/// What is written in a container itself wins over its files, a later file over an earlier one.
pub(crate) fn given(manifest: &Manifest, root: At<'_>, outside: &Outside<'_>, found: &mut Vec<Diagnostic>) -> Given {
    let mut all = Given::new();
    for (service, authored) in &manifest.services {
        for (name, container) in &authored.containers {
            let at = root.get("services").get(service).get("containers").get(name);
            let mut own = BTreeMap::new();
            for (index, file) in container.env_file.iter().enumerate() {
                of_file(file, container, at.get("env_file").item(index), outside, &mut own, found);
            }
            for (index, variable) in container.ci_variables.iter().enumerate() {
                let at = at.get("ci_variables").item(index);
                if of_ci(variable, container, at, found)
                    && let Some(value) = (outside.vars)(variable)
                {
                    own.insert(variable.clone(), value);
                }
            }
            if !own.is_empty() {
                all.insert((service.clone(), name.clone()), own);
            }
        }
    }
    all
}

pub(crate) fn add(app: &mut App, given: Given) {
    for ((service, name), variables) in given {
        let containers = app.services.get_mut(&service).map(|service| &mut service.containers);
        let Some(container) = containers.and_then(|all| all.iter_mut().find(|one| one.name == name)) else { continue };
        for (variable, value) in variables {
            container.settings.environment.entry(variable).or_insert(value);
        }
    }
}

fn of_file(
    file: &str,
    container: &Container,
    at: At<'_>,
    outside: &Outside<'_>,
    own: &mut BTreeMap<String, String>,
    found: &mut Vec<Diagnostic>,
) {
    let text = match (outside.files)(&outside.directory.join(file)) {
        Ok(text) => text,
        Err(error) => {
            let error = Diagnostic::error(codes::ENV_FILE, format!("the env file {} cannot be read", shorten(file)))
                .label(at.span(), error.to_string())
                .help("its path is relative to the manifest");
            found.push(error);
            return;
        }
    };
    let pairs = match env_file::parse(&text) {
        Ok(pairs) => pairs,
        Err(bad) => {
            let error =
                Diagnostic::error(codes::ENV_FILE, format!("line {} of {}: {}", bad.line, shorten(file), bad.why))
                    .label(at.span(), "not an env file")
                    .help("each line is NAME=VALUE, a comment or blank; quotes may hold several lines");
            found.push(error);
            return;
        }
    };
    for pair in pairs {
        let place = format!("line {} of {}", pair.line, shorten(file));
        if looks_secret(&pair.name) && !pair.value.is_empty() && !only_points(&pair.name, &pair.value) {
            let error = Diagnostic::error(
                codes::OPEN_SECRET,
                format!("`{}`, {place}, looks like a secret", shorten(&pair.name)),
            )
            .label(at.span(), "task definitions would show its value")
            .help(format!(
                "take it out of the file, name it under `secrets`, and `landfall secrets set ENV {} --env-file FILE`",
                pair.name
            ));
            found.push(error);
        } else if container.secrets.contains_key(&pair.name) {
            let error = Diagnostic::error(codes::VARIABLE_NAME, format!("`{}` is set twice", shorten(&pair.name)))
                .label(at.span(), format!("in the open, {place}"))
                .help("it stands under `secrets` too: keep one of them");
            found.push(error);
        } else {
            own.insert(pair.name, pair.value);
        }
    }
}

/// Whether it may be taken.
fn of_ci(variable: &str, container: &Container, at: At<'_>, found: &mut Vec<Diagnostic>) -> bool {
    let error = if !syntax::variable_name(variable) {
        let message = format!("`{}` cannot be the name of an environment variable", shorten(variable));
        let error = Diagnostic::error(codes::VARIABLE_NAME, message);
        error.label(at.span(), "letters, digits and `_`, not beginning with a digit")
    } else if looks_secret(variable) && !only_points(variable, "") {
        Diagnostic::error(codes::OPEN_SECRET, format!("`{}` looks like a secret", shorten(variable)))
            .label(at.span(), "task definitions would show its value")
            .help(format!(
                "name it under `secrets`; in CI, `landfall secrets set ENV {variable} --from-env` gives it its value"
            ))
    } else if container.environment.contains_key(variable) || container.secrets.contains_key(variable) {
        Diagnostic::error(codes::VARIABLE_NAME, format!("`{}` is set twice", shorten(variable)))
            .label(at.span(), "taken from CI")
            .help("it stands under `environment` or `secrets` too: keep one of them")
    } else {
        return true;
    };
    found.push(error);
    false
}

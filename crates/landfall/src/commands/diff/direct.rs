//! A comparison with the manifest and AWS alone.

use std::collections::BTreeSet;

use landfall_model::app::{App, LongLivedEnvironment};
use landfall_model::step::RouteTarget;
use landfall_server::deploy::{Against, Comparison, Scene};

use crate::assemble::instance_of;
use crate::backend::Backend;
use crate::cli::Global;
use crate::commands::link::{control_error, server};
use crate::commands::{manifest, port_error};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::State;
use crate::places::Places;
use crate::printer::Printer;

/// Names no installation; tags are never compared.
const NOBODY: &str = "none";

/// Whether there is somebody to ask, or a journal to look into. A look makes none.
pub(super) async fn has_state(global: &Global) -> CliResult<bool> {
    Ok(match State::of(global.state.clone())? {
        State::S3 { .. } => true,
        State::Directory(directory) => instance_of(&directory).is_some() || server(&directory).await.is_some(),
    })
}

pub(super) fn is_on_aws(name: &str, global: &Global, printer: &Printer) -> CliResult<bool> {
    let app = manifest::load(&global.config, printer)?;
    Ok(environment(&app, name)?.on.is_some())
}

pub(super) async fn compare(
    name: &str,
    against: &Against,
    look: bool,
    global: &Global,
    printer: &Printer,
) -> CliResult<Comparison> {
    let state = State::of(global.state.clone())?;
    let app = manifest::load(&global.config, printer)?;
    let environment = environment(&app, name)?;
    let instance = instance_of(state.directory()).unwrap_or_else(|| NOBODY.to_owned());
    let places = Places::connect(&app, &instance).await?;
    let backend = Backend::new(state.directory(), &app, &instance, &places)?;
    let platform = backend.environments().remove(&environment.name);
    let platform = platform.ok_or_else(|| CliError::internal("an environment without a platform"))?;
    let mut target = environment.on.as_ref().and_then(|on| app.aws.get(on)).cloned();
    if let Some(target) = &mut target
        && target.address.is_none()
        && matches!(environment.routing, Some(RouteTarget::Port { .. }))
    {
        target.address = platform.load_balancer.address().await.map_err(port_error)?;
    }
    let unfinished = BTreeSet::new();
    let scene = Scene { app: &app, environment, platform: &platform, instance, target, present: None, unfinished };
    let compared = landfall_server::deploy::compare(&scene, against, look).await;
    backend.shutdown();
    compared.map_err(|error| control_error(&error))
}

/// By name; the only one where none is given.
pub(crate) fn environment<'a>(app: &'a App, name: &str) -> CliResult<&'a LongLivedEnvironment> {
    let mut all = app.environments.values();
    let found = match (name, all.next(), all.next()) {
        ("", Some(only), None) => Some(only),
        _ => app.environments.get(name),
    };
    let known: Vec<&str> = app.environments.keys().map(String::as_str).collect();
    found.ok_or_else(|| match (name, known.as_slice()) {
        (_, []) => CliError::new(ExitCode::NotFound, "the manifest has no `environments`"),
        ("", known) => CliError::new(ExitCode::Usage, format!("say which environment: {}", known.join(", "))),
        (name, known) => {
            CliError::new(ExitCode::NotFound, format!("no environment `{name}`; there is {}", known.join(", ")))
        }
    })
}

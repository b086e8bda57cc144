//! `continue` and `abort`: what to do with deployments that are under way.
//!
//! Whoever deploys may hold the state for hours, at a pause hook for days. So the platform is told directly: the execution that
//! follows the deployment, wherever it runs, sees it go on or come to its end. Only where nobody holds the state, or a server
//! does, is its execution stopped first, by a signal.

use std::sync::Arc;

use landfall_model::app::{App, LongLivedEnvironment};
use landfall_planner::names::lasting_name;
use landfall_ports::orchestrator::{Orchestrator, StopDeployment};
use landfall_ports::{PortError, PortResult};
use landfall_server::control::{ControlRequest, ControlResponse};
use landfall_workflow::Signal;
use serde::Serialize;

use crate::assemble::{Purpose, instance_of};
use crate::backend::Backend;
use crate::cli::Global;
use crate::cli::strategy::{AbortArgs, ContinueArgs};
use crate::commands::diff::direct;
use crate::commands::link::{Link, actor};
use crate::commands::{manifest, port_error};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::State;
use crate::places::Places;
use crate::printer::Printer;

/// What became of it.
#[derive(Debug, Serialize)]
struct Told {
    environment: String,
    /// The execution that was told to stop.
    execution: Option<String>,
    /// Services whose deployment was told, by the manifest's names.
    services: Vec<String>,
}

pub(crate) async fn go_on(args: &ContinueArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = manifest::load(&global.config, printer)?;
    let environment = direct::environment(&app, &args.environment)?;
    if environment.on.is_none() {
        let message = format!("environment {} is on this machine, where no deployment pauses", environment.name);
        return Err(CliError::new(ExitCode::Usage, message));
    }
    let chosen = chosen(environment, args.service.as_deref())?;
    let services = each(&app, environment, &chosen, global, printer, async |orchestrator, name| {
        orchestrator.continue_deployment(name, &[]).await
    })
    .await?;
    if services.is_empty() {
        let message = format!("no deployment to {} waits at a pause hook", environment.name);
        return Err(CliError::new(ExitCode::NotFound, message).hint("`landfall status ENV` shows what is under way"));
    }
    printer.note(format_args!("goes on: {}", services.join(", ")));
    let told = Told { environment: environment.name.clone(), execution: None, services };
    if printer.json() {
        printer.json_data(&told)?;
    }
    Ok(ExitCode::Ok)
}

pub(crate) async fn abort(args: &AbortArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = manifest::load(&global.config, printer)?;
    let environment = direct::environment(&app, &args.environment)?;
    let chosen = chosen(environment, args.service.as_deref())?;
    let how = if args.no_rollback { StopDeployment::Abort } else { StopDeployment::Rollback };
    let execution = match args.service {
        None => signalled(environment, global, printer).await?,
        Some(_) => None,
    };
    if let Some(execution) = &execution {
        printer.note(format_args!("{execution} stops at the next step boundary and is undone"));
    }
    let services = match environment.on {
        Some(_) => {
            each(&app, environment, &chosen, global, printer, async |orchestrator, name| {
                orchestrator.stop_deployment(name, how).await
            })
            .await?
        }
        None => Vec::new(),
    };
    if !services.is_empty() {
        let what = if args.no_rollback { "ends as it is" } else { "is rolled back" };
        printer.note(format_args!("{what}: {}", services.join(", ")));
    }
    if execution.is_none() && services.is_empty() {
        let message = format!("nothing is being deployed to {}", environment.name);
        return Err(CliError::new(ExitCode::NotFound, message));
    }
    let told = Told { environment: environment.name.clone(), execution, services };
    if printer.json() {
        printer.json_data(&told)?;
    }
    Ok(ExitCode::Ok)
}

fn chosen(environment: &LongLivedEnvironment, service: Option<&str>) -> CliResult<Vec<String>> {
    match service {
        None => Ok(environment.services.clone()),
        Some(one) if environment.services.iter().any(|known| known == one) => Ok(vec![one.to_owned()]),
        Some(other) => {
            let message =
                format!("no service `{other}` in {}; there is {}", environment.name, environment.services.join(", "));
            Err(CliError::new(ExitCode::NotFound, message))
        }
    }
}

/// The execution under way, if it had to be told to stop. Where another command holds the state, that is the one that deploys: on
/// AWS it learns of the end from the platform.
async fn signalled(
    environment: &LongLivedEnvironment,
    global: &Global,
    printer: &Printer,
) -> CliResult<Option<String>> {
    let link = match Link::open(global, printer, Purpose::LookAtEnvironment).await {
        Ok(Link::Command(_)) if environment.on.is_some() => return Ok(None),
        Ok(link) => link,
        Err(error) if error.code == ExitCode::Locked && environment.on.is_some() => return Ok(None),
        Err(error) => return Err(error),
    };
    let stopped = stop_execution(&link, &environment.name).await;
    link.close().await;
    stopped
}

async fn stop_execution(link: &Link, environment: &str) -> CliResult<Option<String>> {
    let detail = super::environment::environment(link, environment).await?;
    let Some(execution) = detail.execution.filter(|execution| execution.outcome.is_none()) else { return Ok(None) };
    let request = ControlRequest::Signal { id: execution.id.clone(), who: actor(), signal: Signal::Abort };
    match link.call(request).await? {
        ControlResponse::Signal => Ok(Some(execution.id.to_string())),
        other => Err(super::link::unexpected(&other)),
    }
}

/// The platform of an environment, without the state: whoever deploys may hold that for long.
pub(crate) struct Reached {
    pub(crate) backend: Backend,
    pub(crate) orchestrator: Arc<dyn Orchestrator>,
}

pub(crate) async fn reach(
    app: &App,
    environment: &LongLivedEnvironment,
    global: &Global,
    printer: &Printer,
) -> CliResult<Reached> {
    let state = State::of(global.state.clone())?;
    let mut instance = instance_of(state.directory());
    if instance.is_none() && matches!(state, State::S3 { .. }) {
        // A state that other machines share: this one has not seen it yet.
        Link::open(global, printer, Purpose::LookAtEnvironment).await?.close().await;
        instance = instance_of(state.directory());
    }
    let instance = instance.ok_or_else(|| {
        CliError::new(ExitCode::NotFound, format!("nothing was ever deployed to {} by {state}", environment.name))
            .hint("`--state DIR` names another state")
    })?;
    let places = Places::connect(app, &instance).await?;
    let backend = Backend::new(state.directory(), app, &instance, &places)?;
    let platform = backend.environments().remove(&environment.name);
    let platform = platform.ok_or_else(|| CliError::internal("an environment without a platform"))?;
    Ok(Reached { backend, orchestrator: platform.orchestrator })
}

/// Tells the platform about each service; the manifest's names of those that had something to be told.
async fn each(
    app: &App,
    environment: &LongLivedEnvironment,
    services: &[String],
    global: &Global,
    printer: &Printer,
    tell: impl AsyncFn(&dyn Orchestrator, &str) -> PortResult<bool>,
) -> CliResult<Vec<String>> {
    let Reached { backend, orchestrator } = reach(app, environment, global, printer).await?;
    let mut told = Vec::new();
    let mut failed = None;
    for service in services {
        match tell(&*orchestrator, &lasting_name(app, environment, service)).await {
            Ok(true) => told.push(service.clone()),
            Ok(false) | Err(PortError::NotFound(_)) => {}
            Err(error) => failed = Some(error),
        }
    }
    backend.shutdown();
    match failed {
        Some(error) if told.is_empty() => Err(port_error(error)),
        Some(error) => {
            printer.warn(error.to_string());
            Ok(told)
        }
        None => Ok(told),
    }
}

//! Lasting environments: `deploy`, `rollback`, `scale`, `wait`, `releases`, `lock`, `unlock`, `status ENV`, `run`, `logs`.

pub(crate) mod cause;
mod follow;
mod look;
mod run;

use landfall_planner::plan::ImageOverride;
use landfall_server::control::{ControlRequest, ControlResponse};
use landfall_server::deploy::{Begun, Change, EnvironmentDetail};

use crate::assemble::Purpose;
use crate::cli::Global;
use crate::cli::environment::{
    DeployArgs, LockArgs, RollbackArgs, ScaleArgs, UnlockArgs, WaitArgs, WaitingArgs, WhatArgs,
};
use crate::commands::ecspresso::task_definition;
use crate::commands::link::{Link, actor, unexpected};
use crate::commands::{release, stack};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(crate) use look::{logs, releases, status};
pub(crate) use run::run;

/// The manifest's only one, where none is named.
fn named(environment: Option<&String>) -> String {
    environment.cloned().unwrap_or_default()
}

pub(crate) async fn deploy(args: &DeployArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    if let Some(name) = stack::is_one(args.what.environment.as_deref(), global, printer) {
        return stack::deploy(&name, args, global, printer).await;
    }
    if args.allow.allow_replacement || args.allow.allow_deletion {
        let message = "--allow-replacement and --allow-deletion are for environments with a `stack`";
        return Err(CliError::new(ExitCode::Usage, message));
    }
    let (commit, images) = commit_and_images(&args.what, global, printer).await?;
    let change = Change::Deploy {
        commit,
        images,
        services: args.what.services.clone(),
        following: args.following.following(),
        task_definition: args.task_definition.as_deref().map(|file| task_definition(file, printer)).transpose()?,
    };
    changed(&named(args.what.environment.as_ref()), change, &args.waiting, global, printer).await
}

/// What is to run: an image that is named wins over its release's, and a release over the manifest.
pub(crate) async fn commit_and_images(
    args: &WhatArgs,
    global: &Global,
    printer: &Printer,
) -> CliResult<(Option<String>, Vec<ImageOverride>)> {
    let mut images = args.images.clone();
    if let Some(file) = &args.imagedefinitions {
        images.extend(image_definitions(file)?);
    }
    let mut commit = args.commit.clone();
    if let Some(wanted) = &args.release
        && let Some((of, released)) = release::deployable(wanted, args, global, printer).await?
    {
        commit = Some(of);
        images.extend(released);
    }
    Ok((commit, images))
}

pub(crate) async fn rollback(args: &RollbackArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let change = Change::Rollback { to: args.to.clone(), following: args.following.following() };
    changed(&named(args.environment.as_ref()), change, &args.waiting, global, printer).await
}

pub(crate) async fn scale(args: &ScaleArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let counts = args.counts.iter().cloned().collect();
    let change = Change::Scale { counts, following: landfall_planner::plan::Following::default() };
    changed(&args.environment, change, &args.waiting, global, printer).await
}

async fn changed(
    environment: &str,
    change: Change,
    waiting: &WaitingArgs,
    global: &Global,
    printer: &Printer,
) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::WorkOnEnvironment, async |link| {
        link.may_leave(waiting.detach, "--detach")?;
        let request = ControlRequest::Deploy { environment: environment.to_owned(), change, actor: actor() };
        let begun: Begun = match link.call(request).await? {
            ControlResponse::Deploy(begun) => begun,
            other => return Err(unexpected(&other)),
        };
        for before in &begun.superseded {
            printer.note(format_args!("{before} was under way and has made way"));
        }
        if waiting.detach {
            printer.note(format_args!("{}: `landfall wait {}` waits for it", begun.title, begun.execution));
            printer.emit(&begun, |begun| begun.execution.to_string())?;
            return Ok(ExitCode::Ok);
        }
        follow::to_end(link, &begun.execution, waiting.timeout, printer).await
    })
    .await
}

pub(crate) async fn wait(args: &WaitArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::WaitForEnvironment, async |link| {
        let execution = if args.what.starts_with("exe_") {
            args.what.as_str().into()
        } else {
            let detail = environment(link, &args.what).await?;
            let name = detail.name.clone();
            let newest = detail
                .execution
                .ok_or_else(|| CliError::new(ExitCode::NotFound, format!("nothing was ever deployed to {name}")))?;
            newest.id
        };
        follow::to_end(link, &execution, args.timeout, printer).await
    })
    .await
}

pub(crate) async fn environment(link: &Link, name: &str) -> CliResult<EnvironmentDetail> {
    match link.call(ControlRequest::Environment { name: name.to_owned() }).await? {
        ControlResponse::Environment(detail) => Ok(*detail),
        other => Err(unexpected(&other)),
    }
}

pub(crate) async fn lock(args: &LockArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::LookAtEnvironment, async |link| {
        let LockArgs { environment, reason } = args.clone();
        let request = ControlRequest::Lock { environment, reason, actor: actor() };
        match link.call(request).await? {
            ControlResponse::Lock(state) => {
                printer.note(format_args!("{} takes no deployments until `landfall unlock`", args.environment));
                if printer.json() {
                    printer.json_data(&state)?;
                }
                Ok(ExitCode::Ok)
            }
            other => Err(unexpected(&other)),
        }
    })
    .await
}

pub(crate) async fn unlock(args: &UnlockArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::LookAtEnvironment, async |link| {
        match link.call(ControlRequest::Unlock { environment: args.environment.clone() }).await? {
            ControlResponse::Unlock(before) => {
                match &before {
                    Some(lock) => printer.note(format_args!("the lock of {} is removed: {}", lock.by, lock.reason)),
                    None => printer.note("it was not locked"),
                }
                if printer.json() {
                    printer.json_data(&before)?;
                }
                Ok(ExitCode::Ok)
            }
            other => Err(unexpected(&other)),
        }
    })
    .await
}

/// CodePipeline's file: images by container.
pub(crate) fn image_definitions(file: &std::path::Path) -> CliResult<Vec<ImageOverride>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::io(format!("cannot read {}", file.display()), &error))?;
    let images = landfall_deploy::files::image_definitions(&text)
        .map_err(|error| CliError::new(ExitCode::Usage, format!("{}: {error}", file.display())))?;
    let one = |(container, image)| ImageOverride { service: None, container, image };
    Ok(images.into_iter().map(one).collect())
}

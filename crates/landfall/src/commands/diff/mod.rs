//! `plan`, `diff`, `drift` and `verify`: what a deployment would do, what differs, and whether it can work. They change nothing,
//! and for an environment on AWS they need neither the state nor its lock: without one, what runs stands for what was released.

pub(crate) mod direct;
mod print;

use landfall_server::control::{ControlRequest, ControlResponse};
use landfall_server::deploy::{Against, Comparison};

use crate::assemble::Purpose;
use crate::cli::Global;
use crate::cli::diff::{DriftArgs, VerifyArgs};
use crate::cli::environment::WhatArgs;
use crate::commands::environment::commit_and_images;
use crate::commands::link::{Link, unexpected};
use crate::commands::stack;
use crate::commands::verify::probes;
use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(crate) async fn plan(args: &WhatArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    if stack::is_one(args.environment.as_deref(), global, printer).is_some() {
        return stack::plan(args, global, printer).await;
    }
    let comparison = of_manifest(args, false, global, printer).await?;
    print::differences(&comparison, true, printer)
}

pub(crate) async fn diff(args: &WhatArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    if stack::is_one(args.environment.as_deref(), global, printer).is_some() {
        return stack::plan(args, global, printer).await;
    }
    let comparison = of_manifest(args, false, global, printer).await?;
    print::differences(&comparison, false, printer)
}

pub(crate) async fn drift(args: &DriftArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    if let Some(name) = stack::is_one(args.environment.as_deref(), global, printer) {
        return stack::drift(&name, global, printer).await;
    }
    let comparison = compared(args.environment.as_ref(), Against::Release, false, global, printer).await?;
    if comparison.release.is_none() {
        printer.note("no release is known here: compared with the manifest and the images that run");
    }
    print::differences(&comparison, false, printer)
}

pub(crate) async fn verify(args: &VerifyArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    if args.probes {
        return probes(args, global, printer).await;
    }
    let comparison = of_manifest(&args.what, true, global, printer).await?;
    print::findings(&comparison, printer)
}

async fn of_manifest(args: &WhatArgs, look: bool, global: &Global, printer: &Printer) -> CliResult<Comparison> {
    let (commit, images) = commit_and_images(args, global, printer).await?;
    let against = Against::Manifest { commit, images, services: args.services.clone() };
    compared(args.environment.as_ref(), against, look, global, printer).await
}

/// By the server or the state, which know the releases; else directly.
async fn compared(
    environment: Option<&String>,
    against: Against,
    look: bool,
    global: &Global,
    printer: &Printer,
) -> CliResult<Comparison> {
    let name = environment.map_or("", String::as_str);
    // Before the first deployment there is no state, and looking makes none; here the platform itself is in it.
    if !direct::has_state(global).await? && direct::is_on_aws(name, global, printer)? {
        return direct::compare(name, &against, look, global, printer).await;
    }
    let link = match Link::open(global, printer, Purpose::LookAtEnvironment).await {
        Ok(link) => link,
        Err(error) if error.code == ExitCode::Locked && direct::is_on_aws(name, global, printer)? => {
            printer.note("the state is in use by another command: compared without its releases");
            return direct::compare(name, &against, look, global, printer).await;
        }
        Err(error) => return Err(error),
    };
    let answer = link.call(ControlRequest::Compare { environment: name.to_owned(), against, look }).await;
    link.close().await;
    match answer? {
        ControlResponse::Compare(comparison) => Ok(*comparison),
        other => Err(unexpected(&other)),
    }
}

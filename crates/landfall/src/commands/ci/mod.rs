//! `landfall ci`: what `landfall-ci` decides, done. One process from the first step to the last; nothing of it runs without one.

mod child;
mod dropin;
mod init;
mod keep;
mod run;
mod surroundings;

use std::path::{Path, PathBuf};

use landfall_ci::plan::{Flow, plan as planned};
use landfall_ci::{CiContext, Masks};
use landfall_model::ci::Ci;

use crate::cli::Global;
use crate::cli::ci::{CiArgs, CiCommand, EventArgs};
use crate::commands::manifest;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::root;
use crate::printer::Printer;

use surroundings::Surroundings;

/// The code to exit with: ours, or that of the step that failed.
pub(crate) async fn run(args: &CiArgs, global: &Global, printer: &Printer) -> CliResult<u8> {
    let none = EventArgs::default();
    let (event, resume) = match &args.command {
        Some(CiCommand::Init(args)) => return init::run(args, global, printer).map(|code| code as u8),
        Some(CiCommand::Plan(event)) => return plan(event, global, printer).map(|code| code as u8),
        Some(CiCommand::Run(event)) => (event, false),
        Some(CiCommand::Resume(event)) => (event, true),
        None => (&none, false),
    };
    if !global.config.exists() {
        let here = Surroundings::look(root(&global.config)?)?;
        if dropin::is_meant(&here) {
            return dropin::to_end(here, resume, global, printer).await;
        }
    }
    let job = Job::of(event, global, printer)?;
    run::to_end(&job, resume, global, printer).await
}

/// `travis-ecs-deploy`, by its variables.
pub(crate) async fn travis(global: &Global, printer: &Printer) -> CliResult<u8> {
    let here = std::env::current_dir().map_err(|error| CliError::io("the directory that this runs in", &error))?;
    dropin::to_end(Surroundings::look(here)?, false, global, printer).await
}

fn plan(event: &EventArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let job = Job::of(event, global, printer)?;
    printer.emit(&job.flow, Flow::text)?;
    Ok(ExitCode::Ok)
}

/// A flow, and what it takes to run it.
struct Job {
    flow: Flow,
    masks: Masks,
    /// Where the steps run: the manifest's directory.
    directory: PathBuf,
    summary: Option<PathBuf>,
}

impl Job {
    fn of(event: &EventArgs, global: &Global, printer: &Printer) -> CliResult<Self> {
        let ci = manifest::load(&global.config, printer)?.ci.ok_or_else(|| without_rules(&global.config))?;
        let here = Surroundings::look(root(&global.config)?)?;
        let context = here.context(event)?;
        let flow = flow(&ci, context, &here)?;
        Ok(Self {
            masks: Masks::of(&here.variables, &ci.mask),
            summary: here.summary(flow.context.host),
            directory: here.directory,
            flow,
        })
    }
}

fn without_rules(config: &Path) -> CliError {
    CliError::new(ExitCode::NotFound, format!("{} has no section `ci`", config.display()))
        .hint("`landfall init --flow` writes one; docs/ci.md tells what it holds")
}

fn flow(ci: &Ci, context: CiContext, here: &Surroundings) -> CliResult<Flow> {
    let changed = here.changed(ci, &context);
    planned(ci, context, &changed).map_err(|refused| CliError::new(ExitCode::InvalidManifest, refused))
}

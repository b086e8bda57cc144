//! `landfall ci`: what `landfall-ci` decides, done. One process from the first step to the last; nothing of it runs without one.

mod child;
mod dropin;
mod init;
mod keep;
mod run;
mod surroundings;

use std::path::{Path, PathBuf};

use landfall_ci::command::Command as StepCommand;
use landfall_ci::detect::run_of;
use landfall_ci::plan::{Flow, PlannedStep, plan as planned};
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
    let (event, way) = match &args.command {
        Some(CiCommand::Init(args)) => return init::run(args, global, printer).map(|code| code as u8),
        Some(CiCommand::Plan(event)) => (event, Way::Plan),
        Some(CiCommand::Run(event)) => (event, Way::Run),
        Some(CiCommand::Resume(event)) => (event, Way::Resume),
        None => (&none, Way::Run),
    };
    if !global.config.exists() {
        let here = Surroundings::look(root(&global.config)?)?;
        if dropin::is_meant(&here) {
            if *event != none {
                let message = "an event is given, and there are no rules that it could be for";
                return Err(CliError::new(ExitCode::Usage, message)
                    .hint("without landfall.yml the variables of the job say what it is about: docs/travis.md"));
            }
            return dropin::to_end(here, way, global, printer).await;
        }
    }
    let job = Job::of(event, global, printer)?;
    if way == Way::Plan {
        printer.emit(&job.flow, Flow::text)?;
        return Ok(ExitCode::Ok as u8);
    }
    run::to_end(&job, way == Way::Resume, global, printer).await
}

/// What is wanted of a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plan,
    Run,
    Resume,
}

/// `travis-ecs-deploy`, by its variables.
pub(crate) async fn travis(global: &Global, printer: &Printer) -> CliResult<u8> {
    let here = std::env::current_dir().map_err(|error| CliError::io("the directory that this runs in", &error))?;
    dropin::to_end(Surroundings::look(here)?, Way::Run, global, printer).await
}

/// A flow, and what it takes to run it.
struct Job {
    flow: Flow,
    masks: Masks,
    /// Where the steps run: the manifest's directory.
    directory: PathBuf,
    summary: Option<PathBuf>,
    /// By which the host knows further tries of one run.
    #[cfg_attr(not(feature = "aws"), allow(dead_code))]
    run: Option<String>,
    /// Its steps hand each other what no other machine has.
    #[cfg_attr(not(feature = "aws"), allow(dead_code))]
    on_one_machine: bool,
}

impl Job {
    fn of(event: &EventArgs, global: &Global, printer: &Printer) -> CliResult<Self> {
        let ci = manifest::load(&global.config, printer)?.ci.ok_or_else(|| without_rules(&global.config))?;
        let here = Surroundings::look(root(&global.config)?)?;
        let context = here.context(event)?;
        let masks = Masks::of(&here.variables, &ci.mask);
        let flow = flow(&ci, context, &here, &masks)?;
        let (summary, run) = (here.summary(flow.context.host), run_of(&here.variables).map(str::to_owned));
        Ok(Self { masks, summary, run, on_one_machine: false, directory: here.directory, flow })
    }
}

fn without_rules(config: &Path) -> CliError {
    CliError::new(ExitCode::NotFound, format!("{} has no section `ci`", config.display()))
        .hint("`landfall init --flow` writes one; docs/ci.md tells what it holds")
}

fn flow(ci: &Ci, context: CiContext, here: &Surroundings, masks: &Masks) -> CliResult<Flow> {
    let changed = here.changed(ci, &context);
    let flow = planned(ci, context, &changed).map_err(|refused| CliError::new(ExitCode::InvalidManifest, refused))?;
    let mut given = flow.steps.iter().filter(|step| !step.args.is_empty());
    given.try_for_each(|step| understood(step, &flow.context, masks))?;
    Ok(flow)
}

/// Before anything runs: words that its command would refuse.
fn understood(step: &PlannedStep, context: &CiContext, masks: &Masks) -> CliResult<()> {
    use clap::Parser as _;

    // What the event lacks for it is told when its turn comes.
    let Ok(StepCommand::Landfall(words)) = StepCommand::of(&step.run, &step.args, context) else { return Ok(()) };
    // As the step is started.
    let own = ["--config", "landfall.yml", "--state", "state", "--color", "never"].map(str::to_owned);
    let read = crate::cli::Cli::try_parse_from(std::iter::once("landfall".to_owned()).chain(words).chain(own));
    read.map(drop).map_err(|refused| {
        let said = refused.to_string();
        let why = said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let why = masks.apply(&why).into_owned();
        CliError::new(ExitCode::InvalidManifest, format!("step `{}`: {why}", step.name)).hint("see its `args`")
    })
}

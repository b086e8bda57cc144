//! `landfall stack`: an environment that is a stack of CloudFormation, planned, applied, looked at, led out of where it is stuck.
//!
//! What is decided is `landfall_stack::live`, what is done `landfall_steps::stack`; here it is shown, asked for and followed. No state
//! of Landfall's is needed: all there is to know is in the stack, but whether somebody locked the environment.

mod apply;
mod destroy;
mod drift;
mod images;
mod plan;
mod recover;
mod show;
mod watch;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;

use landfall_model::app::{App, LongLivedEnvironment};
use landfall_model::cloudformation::StackState;
use landfall_model::stack::stack_name;
use landfall_ports::images::Images;
use landfall_ports::stacks::Stacks;
use landfall_server::control::{ControlRequest, ControlResponse};
use landfall_server::deploy::LockState;
use landfall_stack::Unfit;
use landfall_stack::live::{Before, Unwanted, Wanted, overwritten, wanted};

use crate::assemble::Purpose;
use crate::cli::Global;
use crate::cli::environment::WhatArgs;
use crate::cli::stack::StackCommand;
use crate::commands::diff::direct::environment;
use crate::commands::link::{Link, unexpected};
use crate::commands::{manifest, port_error};
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::paths::State;
use crate::places::Places;
use crate::printer::Printer;

pub(crate) use apply::{code, deploy, tell_causes};
pub(crate) use drift::of as drift;
pub(crate) use plan::{looked, made, run as plan};
pub(crate) use watch::{Watched, watch};

pub(crate) async fn run(command: StackCommand, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        StackCommand::Plan(args) => plan::run(&args, global, printer).await,
        StackCommand::Apply(args) => apply::run(&args, global, printer).await,
        StackCommand::Show(args) => show::run(&args, global, printer).await,
        StackCommand::Recover(args) => recover::run(&args, global, printer).await,
        StackCommand::Destroy(args) => destroy::run(&args, global, printer).await,
        StackCommand::Drift(args) => drift::run(&args, global, printer).await,
    }
}

/// An environment and the CloudFormation where it is.
struct Open {
    app: App,
    environment: LongLivedEnvironment,
    /// `shop-prod`
    name: String,
    /// `shop@prod`
    id: String,
    stacks: Arc<dyn Stacks>,
    images: Arc<dyn Images>,
}

impl Open {
    async fn of(environment: &str, global: &Global, printer: &Printer) -> CliResult<Self> {
        let mut app = manifest::load(&global.config, printer)?;
        State::of(global.state.clone())?.keeps_templates(&mut app);
        let name = environment.strip_prefix(&format!("{}@", app.project)).unwrap_or(environment);
        let Some(found) = app.environments.get(name).cloned() else {
            return Err(not_found("environment", name, app.environments.keys().map(String::as_str)));
        };
        let (Some(_), Some(on)) = (&found.stack, &found.on) else { return Err(no_stack(name)) };
        let places = Places::connect(&app, "none").await?;
        let (stacks, images) = places.stacks(on)?;
        let (stack, id) = (stack_name(&app.project, name), found.id(&app.project).to_string());
        Ok(Self { environment: found, name: stack, id, stacks, images, app })
    }

    /// # Errors
    /// Somebody locked the environment. Where there is no state of Landfall's, nobody has.
    async fn unlocked(&self, global: &Global, printer: &Printer) -> CliResult<()> {
        if let State::Directory(directory) = State::of(global.state.clone())?
            && !directory.exists()
        {
            return Ok(());
        }
        let quiet = Printer::new(printer.format, printer.color(), true);
        let link = Link::open(global, &quiet, Purpose::LookAtEnvironment).await?;
        let answer = link.call(ControlRequest::LockOf { environment: self.environment.name.clone() }).await;
        link.close().await;
        match answer? {
            ControlResponse::LockOf(None) => Ok(()),
            ControlResponse::LockOf(Some(LockState { reason, by, at })) => {
                let name = &self.environment.name;
                let message = format!("environment {name} was locked by {by} at {at:.0}: {reason}");
                Err(CliError::new(ExitCode::EnvironmentLocked, message)
                    .hint(format!("nothing was changed; `landfall unlock {name}` opens it")))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn describe(&self) -> CliResult<Option<StackState>> {
        self.stacks.describe(&self.name).await.map_err(port_error)
    }

    /// Of what is to run. A stack changes as a whole.
    async fn of_what(args: &WhatArgs, global: &Global, printer: &Printer) -> CliResult<Self> {
        let app = manifest::load(&global.config, &Printer::new(printer.format, printer.color(), true))?;
        let name = environment(&app, args.environment.as_deref().unwrap_or_default())?.name.clone();
        if !args.services.is_empty() {
            let message =
                format!("--service means nothing here: environment {name} is a stack, which changes as a whole");
            return Err(CliError::new(ExitCode::Usage, message).hint("leave it out; docs/stacks.md tells the rest"));
        }
        Self::of(&name, global, printer).await
    }

    /// What the stack shall be, with images as they are given; what is not given stays.
    async fn wanted(
        &self,
        args: &WhatArgs,
        live: Option<&StackState>,
        global: &Global,
        printer: &Printer,
    ) -> CliResult<Wanted> {
        let given = images::given(self, args, global, printer).await?;
        let template = match live {
            Some(live) => self.stacks.template(&live.id).await.map_err(port_error)?,
            None => None,
        };
        if let Some(live) = live {
            for one in overwritten(live, template.as_deref()) {
                if given.parameters.contains_key(&one.parameter) {
                    let (name, found, set) = (&one.parameter, &one.found, &one.set);
                    printer.warn(format_args!("somebody set {name} to {found} since Landfall set it to {set}"));
                }
            }
        }
        let live = live.map(|live| (live, template.as_deref()));
        wanted(&self.app, &self.environment, &given, live).map_err(|unwanted| self.unwanted(unwanted))
    }

    fn unwanted(&self, unwanted: Unwanted) -> CliError {
        let message = unwanted.to_string();
        let name = &self.environment.name;
        let give = format!("say it by --release, --commit or --image: `landfall stack apply {name} --release COMMIT`");
        match unwanted {
            Unwanted::Unfit(Unfit::NoEnvironment(_) | Unfit::NoStack(_) | Unfit::NoPlace(_)) => {
                CliError::new(ExitCode::Usage, message)
            }
            Unwanted::Unfit(_) | Unwanted::Excess(_) => CliError::new(ExitCode::InvalidManifest, message),
            Unwanted::Nowhere(_) => CliError::new(ExitCode::InvalidManifest, message).hint(format!(
                "name a bucket in the stack's region: `template_bucket: BUCKET` under environments.{name}.stack; a state on S3 \
                 (`--state s3://BUCKET/PREFIX`) is taken where it names none"
            )),
            Unwanted::NoContainer { .. } => CliError::new(ExitCode::Usage, message),
            Unwanted::Missing(_) => {
                CliError::new(ExitCode::Usage, format!("{message}, and the stack has none yet")).hint(give)
            }
            Unwanted::Overwritten(_) => CliError::new(ExitCode::Conflict, message)
                .hint(format!("nothing was deployed. Which image shall it be? {give}")),
        }
    }

    /// Why nothing can be begun.
    fn held(&self, before: &Before) -> CliError {
        CliError::new(ExitCode::Conflict, before.said(&self.name, &self.id))
            .hint(before.remedy(&self.environment.name, &self.id))
    }
}

/// The environment's name, where it is a stack; the only one where none is named. What is wrong with the manifest is told by those who go
/// on.
pub(crate) fn is_one(environment: Option<&str>, global: &Global, printer: &Printer) -> Option<String> {
    let quiet = Printer::new(printer.format, printer.color(), true);
    let app = manifest::load(&global.config, &quiet).ok()?;
    let name = match environment {
        Some(name) => name.strip_prefix(&format!("{}@", app.project)).unwrap_or(name),
        None => app.environments.keys().next().filter(|_| app.environments.len() == 1)?,
    };
    app.environments.get(name).filter(|found| found.stack.is_some()).map(|found| found.name.clone())
}

fn no_stack(name: &str) -> CliError {
    CliError::new(ExitCode::Usage, format!("environment {name} has no `stack`"))
        .hint(format!("`landfall deploy {name}` deploys it; docs/stacks.md tells what a stack is"))
}

/// Asked for, or said by `--yes`. `what`: happens then.
pub(crate) fn meant(yes: bool, what: &str, printer: &Printer) -> CliResult<()> {
    if yes {
        return Ok(());
    }
    if !somebody_there(printer) {
        printer.note(format_args!("with --yes {what}"));
        return Err(CliError::new(ExitCode::Denied, "here is nobody to ask: nothing was done")
            .hint("if that is meant, add --yes"));
    }
    match asked(&format!("{what}. Go on?")) {
        true => Ok(()),
        false => Err(CliError::new(ExitCode::Aborted, "nothing was done")),
    }
}

/// Whether somebody sits there who can be asked.
fn somebody_there(printer: &Printer) -> bool {
    printer.interactive() && std::io::stdin().is_terminal()
}

/// `y` or `yes`; all else is no.
fn asked(question: &str) -> bool {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

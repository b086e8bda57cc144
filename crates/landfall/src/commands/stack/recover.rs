//! `landfall stack recover`: what is wrong with a stack is said, and what would be done about it; with `--yes`, or asked for, it is done.

use landfall_model::cloudformation::{StackEvent, StackState};
use landfall_ports::stacks::Back;
use landfall_stack::live::{Before, Cause, Ending, Way, before, of_operation, token, way};
use landfall_steps::stack::{behind, mark};
use serde::Serialize;

use super::apply::{code, tell_behind, tell_causes};
use super::destroy::delete;
use super::watch::{Watched, watch};
use super::{Open, meant};
use crate::cli::Global;
use crate::cli::stack::StackRecoverArgs;
use crate::commands::port_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::{OutputFormat, Printer};

/// An export of the stack that others import.
#[derive(Debug, Serialize)]
pub(super) struct Imported {
    export: String,
    by: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Diagnosis<'a> {
    environment: &'a str,
    stack: &'a str,
    status: Option<&'a str>,
    #[serde(flatten)]
    way: &'a Way,
    /// Of what is waited for: why it does not come, as far as that is known.
    #[serde(skip_serializing_if = "<[Cause]>::is_empty")]
    waits: &'a [Cause],
    imported: &'a [Imported],
    /// What was done came to this; none where nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<Ending>,
    exit_code: u8,
}

pub(super) async fn run(args: &StackRecoverArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.environment, global, printer).await?;
    let live = open.describe().await?;
    if let foreign @ Before::Foreign(_) = before(live.as_ref(), &open.id) {
        return Err(open.held(&foreign));
    }
    let (resources, events, sets) = match &live {
        Some(live) => (
            open.stacks.resources(&live.id).await.map_err(port_error)?,
            open.stacks.events(&live.id, Back::Operation).await.map_err(port_error)?,
            open.stacks.change_sets(&open.name).await.map_err(port_error)?,
        ),
        None => Default::default(),
    };
    let mut way = way(live.as_ref(), &resources, &events, &sets);
    let waits = match &live {
        Some(live) => looked_behind(&open, &mut way, of_operation(&events, &live.id)).await,
        None => Vec::new(),
    };
    let imported = match (&way, &live) {
        (Way::DeleteAgain { .. } | Way::Delete { .. }, Some(live)) => blocked_imports(&open, live).await?,
        _ => Vec::new(),
    };
    say(&open, live.as_ref(), &way, &waits, &imported, printer);
    let misplaced = match &way {
        Way::ContinueRollback { .. } if !args.retain.is_empty() => Some("--retain is for a deletion that failed"),
        Way::DeleteAgain { .. } if !args.skip.is_empty() => Some("--skip is for a rollback that failed"),
        Way::ContinueRollback { .. } | Way::DeleteAgain { .. } => None,
        _ if !args.skip.is_empty() || !args.retain.is_empty() => Some("--skip and --retain have nothing to do here"),
        _ => None,
    };
    if let Some(misplaced) = misplaced {
        return Err(CliError::new(ExitCode::Usage, misplaced));
    }
    let print = |ending: Option<Ending>, code: ExitCode| match printer.json() {
        true => printer.json_data(&Diagnosis {
            environment: &open.id,
            stack: &open.name,
            status: live.as_ref().map(|live| live.status.as_str()),
            way: &way,
            waits: &waits,
            imported: &imported,
            ending,
            exit_code: code as u8,
        }),
        false => Ok(()),
    };
    let done = async {
        let Some(live) = &live else { return Ok(None) };
        if !matches!(way, Way::Absent | Way::Healthy { .. } | Way::Apply | Way::Wait { .. }) {
            open.unlocked(global, printer).await?;
        }
        done(&open, live, &way, &imported, args, printer).await
    };
    let ending = match done.await {
        Ok(ending) => ending,
        // What is wrong is known, whatever stands in the way of mending it: stdout has one document, and that is in it.
        Err(error) if printer.json() => {
            print(None, error.code)?;
            Printer::new(OutputFormat::Text, printer.color(), printer.quiet).error(&error);
            return Err(CliError::silent(error.code));
        }
        Err(error) => return Err(error),
    };
    let code = match (&ending, &way) {
        (Some(watched), _) => told(&open, watched, printer),
        (None, Way::Absent | Way::Healthy { .. }) => ExitCode::Ok,
        (None, Way::Discard { .. } | Way::Apply | Way::Wait { .. }) => ExitCode::Ok,
        (None, _) => ExitCode::Failed,
    };
    print(ending.as_ref().map(|watched| watched.ending), code)?;
    Ok(code)
}

/// What is behind each failure, as `apply` tells it; and why what is waited for does not come.
async fn looked_behind(open: &Open, way: &mut Way, newest_first: &[StackEvent]) -> Vec<Cause> {
    for cause in way.causes_mut() {
        cause.behind = behind(&*open.stacks, cause, newest_first).await;
    }
    let mut waits = Vec::new();
    if let Way::Wait { on } = way {
        for one in on {
            let (resource, kind, physical) = (one.resource.clone(), one.kind.clone(), one.physical.clone());
            let cause = Cause { resource, kind, physical, reason: one.status.clone(), behind: None };
            if let found @ Some(_) = behind(&*open.stacks, &cause, newest_first).await {
                waits.push(Cause { behind: found, ..cause });
            }
        }
    }
    waits
}

/// Does what leads out; `None`: nothing is to be done, or it was done at once.
async fn done(
    open: &Open,
    live: &StackState,
    way: &Way,
    imported: &[Imported],
    args: &StackRecoverArgs,
    printer: &Printer,
) -> CliResult<Option<Watched>> {
    let name = &open.environment.name;
    let again = format!("landfall stack recover {name} --yes");
    let role = open.environment.stack.as_ref().and_then(|stack| stack.role.as_deref());
    match way {
        Way::Discard { foreign } if foreign.is_empty() => {
            meant(args.yes, &format!("stack {}, which is empty, is deleted", open.name), printer)?;
            delete(open, live, &[], args.timeout, &again, printer).await.map(Some)
        }
        Way::Discard { foreign } => Err(others_wait(open, foreign)),
        Way::Delete { .. } | Way::DeleteAgain { .. } => {
            if !imported.is_empty() {
                let message = format!("stack {} cannot be deleted while other stacks import from it", open.name);
                return Err(CliError::new(ExitCode::Conflict, message).hint("delete or change those stacks first"));
            }
            if live.protected {
                let message = format!("stack {} is protected from deletion", open.name);
                let off = format!(
                    "aws cloudformation update-termination-protection --no-enable-termination-protection --stack-name {}",
                    open.name
                );
                return Err(CliError::new(ExitCode::Denied, message).hint(format!("`{off}` takes that off")));
            }
            let without = match args.retain.as_slice() {
                [] => String::new(),
                kept => format!(" but for {}, which nobody looks after then", kept.join(", ")),
            };
            meant(args.yes, &format!("stack {} is deleted{without}", open.name), printer)?;
            delete(open, live, &args.retain, args.timeout, &again, printer).await.map(Some)
        }
        Way::ContinueRollback { .. } => {
            let without = match args.skip.as_slice() {
                [] => String::new(),
                skipped => format!(" without {}, which CloudFormation then takes for rolled back", skipped.join(", ")),
            };
            meant(args.yes, &format!("the rollback of stack {} is tried again{without}", open.name), printer)?;
            let begun = mark(&*open.stacks, &live.id).await.map_err(port_error)?;
            let since = begun.since.as_deref().unwrap_or_default();
            let token = token("continue", &[&live.id, since, &args.skip.join(",")]);
            open.stacks.continue_rollback(&live.id, &args.skip, role, &token).await.map_err(port_error)?;
            watch(&*open.stacks, &open.name, &begun, args.timeout, &again, printer).await.map(Some)
        }
        Way::Absent | Way::Healthy { .. } | Way::Apply | Way::Wait { .. } | Way::Ask { .. } => Ok(None),
    }
}

/// Change sets of others in a stack that is only reviewed: they would go with it.
pub(super) fn others_wait(open: &Open, foreign: &[String]) -> CliError {
    let message = format!(
        "change sets that Landfall did not make wait in stack {} ({}): nothing was done",
        open.name,
        foreign.join(", ")
    );
    CliError::new(ExitCode::Conflict, message).hint("whoever made them executes or deletes them")
}

fn say(open: &Open, live: Option<&StackState>, way: &Way, waits: &[Cause], imported: &[Imported], printer: &Printer) {
    let (stack, name) = (&open.name, &open.environment.name);
    let told = |one: &Cause| {
        let physical = one.physical.as_deref().unwrap_or("-");
        printer.note(format_args!("  {} ({} {physical}): {}", one.resource, one.kind, one.reason));
        tell_behind(one, printer);
    };
    let blockers = |all: &[Cause]| all.iter().for_each(told);
    match way {
        Way::Absent => printer.note(format_args!("there is no stack {stack}: `landfall stack apply {name}` makes it")),
        Way::Healthy { rolled_back: false } => printer.note(format_args!("stack {stack} is well")),
        Way::Healthy { rolled_back: true } => printer.note(format_args!(
            "stack {stack} is well: its last change was rolled back, and what ran before runs; `landfall stack apply {name}` tries again"
        )),
        Way::Discard { foreign } => {
            printer.note(format_args!("stack {stack} was planned and never made: it is empty"));
            if !foreign.is_empty() {
                printer.note(format_args!("  change sets in it: {}", foreign.join(", ")));
            }
        }
        Way::Delete { failed, blocking } => {
            printer.note(format_args!(
                "the creation of stack {stack} failed, and all that can be done with it is to delete it; then `landfall stack apply \
                 {name}` makes it anew"
            ));
            failed.iter().filter(|one| blocking.iter().all(|other| other.resource != one.resource)).for_each(told);
            blockers(blocking);
        }
        Way::ContinueRollback { blocking } => {
            printer.note(format_args!("a change of stack {stack} failed, and could not be rolled back because of"));
            blockers(blocking);
            printer.note("mend that, and the rollback is tried again; or leave them out with --skip RESOURCE: they stay as they are");
        }
        Way::Apply => printer.note(format_args!(
            "a change of stack {stack} failed and was left half done: `landfall stack apply {name}` goes on from there"
        )),
        Way::DeleteAgain { blocking } => {
            printer.note(format_args!("stack {stack} could not be deleted because of"));
            blockers(blocking);
            printer.note("mend that, and it is tried again; or leave them where they are with --retain RESOURCE: they are nobody's then");
        }
        Way::Wait { on } => {
            let status = live.map(|live| live.status.as_str()).unwrap_or_default();
            printer.note(format_args!("stack {stack} is under way ({status}) and waits for"));
            for one in on {
                let physical = one.physical.as_deref().unwrap_or("-");
                let since = one.at.map(|at| format!(", since {}", crate::render::ago(at, landfall_model::Timestamp::now())));
                let since = since.map(|since| since.replace(" ago", "")).unwrap_or_default();
                printer.note(format_args!("  {} ({} {physical}) {}{since}", one.resource, one.kind, one.status));
                waits.iter().filter(|cause| cause.resource == one.resource).for_each(|cause| tell_behind(cause, printer));
            }
            printer.note(format_args!("`landfall stack apply {name}` follows it; CloudFormation gives up by itself, which takes hours"));
        }
        Way::Ask { status } => printer.note(format_args!("stack {stack} is in state {status}, which this version does not know")),
    }
    tell_imports(imported, printer);
}

pub(super) fn tell_imports(imported: &[Imported], printer: &Printer) {
    for one in imported {
        printer.note(format_args!("  export {} is imported by {}", one.export, one.by.join(", ")));
    }
}

/// Exports of the stack with those who import them.
pub(super) async fn blocked_imports(open: &Open, live: &StackState) -> CliResult<Vec<Imported>> {
    let mut all = Vec::new();
    for export in live.outputs.iter().filter_map(|output| output.export.as_ref()) {
        let by = open.stacks.importers(export).await.map_err(port_error)?;
        if !by.is_empty() {
            all.push(Imported { export: export.clone(), by });
        }
    }
    Ok(all)
}

fn told(open: &Open, watched: &Watched, printer: &Printer) -> ExitCode {
    let (stack, name) = (&open.name, &open.environment.name);
    match watched.ending {
        Ending::Gone => {
            printer.note(format_args!("stack {stack} is deleted: `landfall stack apply {name}` makes it anew"))
        }
        // That is what was asked for.
        Ending::RolledBack | Ending::Done => {
            printer.note(format_args!("stack {stack} is well again, as it was before the change"));
        }
        Ending::RollbackFailed | Ending::Failed => {
            tell_causes(&watched.causes, printer);
            printer.failure(format_args!("stack {stack} is still stuck"));
            return code(watched.ending);
        }
    }
    ExitCode::Ok
}

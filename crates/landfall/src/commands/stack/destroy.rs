//! `landfall stack destroy`.

use landfall_model::cloudformation::StackState;
use landfall_stack::live::{Before, Ending, Phase, Way, Work, before, token, way};
use landfall_steps::stack::{mark, under_way};

use super::apply::{code, tell_causes};
use super::recover::{blocked_imports, others_wait, tell_imports};
use super::watch::{Watched, watch};
use super::{Open, meant};
use crate::cli::Global;
use crate::cli::stack::StackDestroyArgs;
use crate::commands::port_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(super) async fn run(args: &StackDestroyArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.environment, global, printer).await?;
    open.unlocked(global, printer).await?;
    let live = open.describe().await?;
    let again = format!("landfall stack destroy {} --yes", open.environment.name);
    let first = before(live.as_ref(), &open.id);
    let live = match (live, first) {
        (None, _) => {
            printer.note(format_args!("there is no stack {}: nothing to delete", open.name));
            return Ok(ExitCode::Ok);
        }
        (Some(_), Before::Watch(Work::Delete)) => {
            printer.note(format_args!("stack {} is being deleted already: following that", open.name));
            if let Some(begun) = under_way(&*open.stacks, &open.name).await.map_err(port_error)? {
                let watched = watch(&*open.stacks, &open.name, &begun, args.timeout, &again, printer).await?;
                return Ok(ended(&open, &watched, printer));
            }
            return Ok(ExitCode::Ok);
        }
        (Some(live), Before::Update | Before::Stuck(Phase::NeverCame | Phase::RollbackStuck)) => live,
        (Some(live), Before::Create) => {
            let sets = open.stacks.change_sets(&open.name).await.map_err(port_error)?;
            match way(Some(&live), &[], &[], &sets) {
                Way::Discard { foreign } if !foreign.is_empty() => return Err(others_wait(&open, &foreign)),
                _ => live,
            }
        }
        (Some(_), held) => return Err(open.held(&held)),
    };
    if live.protected {
        let name = &open.environment.name;
        let message = format!("stack {} is protected from deletion", open.name);
        return Err(CliError::new(ExitCode::Denied, message).hint(format!(
            "put `termination_protection: false` under environments.{name}.stack, and `landfall stack apply {name}` first"
        )));
    }
    let imports = blocked_imports(&open, &live).await?;
    if !imports.is_empty() {
        tell_imports(&imports, printer);
        let message = format!("stack {} cannot be deleted while other stacks import from it", open.name);
        return Err(CliError::new(ExitCode::Conflict, message).hint("delete or change those stacks first"));
    }
    let count = open.stacks.resources(&live.id).await.map_err(port_error)?.len();
    meant(args.yes, &format!("stack {} and its {count} resources are deleted", open.name), printer)?;
    let watched = delete(&open, &live, &[], args.timeout, &again, printer).await?;
    Ok(ended(&open, &watched, printer))
}

/// Begun under a token that follows from where the stack is now, and followed.
pub(super) async fn delete(
    open: &Open,
    live: &StackState,
    retain: &[String],
    timeout: u64,
    again: &str,
    printer: &Printer,
) -> CliResult<Watched> {
    let begun = mark(&*open.stacks, &live.id).await.map_err(port_error)?;
    let token = token("delete", &[&live.id, begun.since.as_deref().unwrap_or_default()]);
    let role = open.environment.stack.as_ref().and_then(|stack| stack.role.as_deref());
    open.stacks.delete(&live.id, retain, role, &token).await.map_err(port_error)?;
    watch(&*open.stacks, &open.name, &begun, timeout, again, printer).await
}

fn ended(open: &Open, watched: &Watched, printer: &Printer) -> ExitCode {
    if watched.ending == Ending::Gone {
        printer.note(format_args!("stack {} is deleted", open.name));
        return ExitCode::Ok;
    }
    tell_causes(&watched.causes, printer);
    printer.failure(format_args!("stack {} could not be deleted", open.name));
    let name = &open.environment.name;
    printer.hint(format!("`landfall stack recover {name}` says what is in the way, and what can be done"));
    match code(watched.ending) {
        ExitCode::Ok => ExitCode::Failed,
        code => code,
    }
}

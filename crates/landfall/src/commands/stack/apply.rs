//! `landfall stack apply`, and `landfall deploy` of an environment that is a stack.

use std::collections::BTreeMap;

use landfall_model::cloudformation::StackState;
use landfall_stack::live::{Before, Cause, Causes, Ending, before, overwritten};
use landfall_steps::stack::{Purpose, Ready, discard, execute, mark, under_way};
use serde::Serialize;

use super::plan::{Shown, made};
use super::watch::{Watched, watch};
use super::{Open, asked, somebody_there};
use crate::cli::Global;
use crate::cli::environment::DeployArgs;
use crate::cli::stack::{AllowArgs, StackApplyArgs, meaningless};
use crate::commands::port_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

/// As printed with `--output json`.
#[derive(Debug, Serialize)]
struct Applied {
    environment: String,
    stack: String,
    outcome: &'static str,
    exit_code: u8,
    /// Whether anything was executed.
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Shown>,
    #[serde(flatten)]
    causes: Causes,
    outputs: BTreeMap<String, String>,
}

/// `landfall deploy` of such an environment is the same; what means nothing to a stack is refused.
pub(crate) async fn deploy(
    environment: &str,
    args: &DeployArgs,
    global: &Global,
    printer: &Printer,
) -> CliResult<ExitCode> {
    if let Some(flag) = meaningless(args) {
        let message =
            format!("{flag} means nothing here: environment {environment} is a stack, which changes as a whole");
        return Err(CliError::new(ExitCode::Usage, message).hint("leave it out; docs/stacks.md tells the rest"));
    }
    let args = StackApplyArgs { what: args.what.clone(), allow: args.allow, timeout: args.waiting.timeout };
    run(&args, global, printer).await
}

pub(super) async fn run(args: &StackApplyArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of_what(&args.what, global, printer).await?;
    open.unlocked(global, printer).await?;
    let live = match settled(&open, args.timeout, printer).await? {
        Settled::Stack(live) => live,
        Settled::Ended(watched) => return finished(&open, &watched, None, true, printer).await,
    };
    let wanted = open.wanted(&args.what, live.as_ref(), global, printer).await?;
    let ready = made(&*open.stacks, &wanted, Purpose::Apply, |before| open.held(before), printer).await?;
    let shown = Shown::of(&open, &wanted, live.as_ref(), ready.as_ref());
    if let (Some(live), None) = (&live, &ready) {
        unrecorded(&open, live, printer).await?;
    }
    if !shown.different {
        printer.note(format_args!("stack {}: nothing to change", open.name));
        let done = Watched { ending: Ending::Done, causes: Causes::default() };
        return finished(&open, &done, None, false, printer).await;
    }
    printer.note(shown.text().trim_end());
    let protects = shown.protects();
    let watched = match &ready {
        Some(ready) => {
            // Whoever was asked may have thought for long.
            let may = match allowed(&shown, args.allow, printer) {
                Ok(()) => open.unlocked(global, printer).await,
                refused => refused,
            };
            if let Err(refused) = may {
                discard(&*open.stacks, &open.name, &ready.set.name).await.map_err(port_error)?;
                return Err(refused);
            }
            executed(&open, ready, args.timeout, printer).await?
        }
        None => Watched { ending: Ending::Done, causes: Causes::default() },
    };
    if watched.ending == Ending::Done
        && let Some(on) = protects
    {
        open.stacks.protect(&open.name, on).await.map_err(port_error)?;
        printer.note(format_args!("termination protection is {}", if on { "on" } else { "off" }));
    }
    finished(&open, &watched, Some(shown), true, printer).await
}

/// That an image past Landfall is meant is remembered in the template, which CloudFormation does not change where no resource does.
async fn unrecorded(open: &Open, live: &StackState, printer: &Printer) -> CliResult<()> {
    let template = open.stacks.template(&live.id).await.map_err(port_error)?;
    for one in overwritten(live, template.as_deref()) {
        let parameter = &one.parameter;
        printer.hint(format!(
            "{parameter} stays as somebody else has set it, and CloudFormation cannot record that this is meant before something else of the \
             stack changes: until then say its image each time"
        ));
    }
    Ok(())
}

enum Settled {
    /// It may be changed.
    Stack(Option<StackState>),
    /// What was under way did not end well.
    Ended(Watched),
}

/// What is under way is followed to its end: it may be ours, from a command that was cut off.
async fn settled(open: &Open, timeout: u64, printer: &Printer) -> CliResult<Settled> {
    loop {
        let live = open.describe().await?;
        match before(live.as_ref(), &open.id) {
            Before::Create | Before::Update => return Ok(Settled::Stack(live)),
            Before::Watch(work) => {
                printer.note(format_args!("stack {} is being {} already: following that", open.name, work.said()));
                let Some(begun) = under_way(&*open.stacks, &open.name).await.map_err(port_error)? else { continue };
                let watched = watch(&*open.stacks, &open.name, &begun, timeout, &again(open), printer).await?;
                if !matches!(watched.ending, Ending::Done | Ending::Gone) {
                    return Ok(Settled::Ended(watched));
                }
            }
            held => return Err(open.held(&held)),
        }
    }
}

fn again(open: &Open) -> String {
    format!("landfall stack apply {}", open.environment.name)
}

async fn executed(open: &Open, ready: &Ready, timeout: u64, printer: &Printer) -> CliResult<Watched> {
    let begun = mark(&*open.stacks, &open.name).await.map_err(port_error)?;
    execute(&*open.stacks, &begun, &ready.set.id)
        .await
        .map_err(|error| port_error(error).hint(format!("nothing was deployed; `{}` plans anew", again(open))))?;
    watch(&*open.stacks, &open.name, &begun, timeout, &again(open), printer).await
}

/// Replacements and deletions are asked for, or were allowed before.
fn allowed(shown: &Shown, allow: AllowArgs, printer: &Printer) -> CliResult<()> {
    let replaces = shown.plan.replaces() && !allow.allow_replacement;
    let deletes = shown.plan.deletes() && !allow.allow_deletion;
    let (what, flags) = match (replaces, deletes) {
        (false, false) => return Ok(()),
        (true, false) => ("replaced", "--allow-replacement"),
        (false, true) => ("deleted", "--allow-deletion"),
        (true, true) => ("replaced and deleted", "--allow-replacement --allow-deletion"),
    };
    let count = shown.plan.count(|act| (replaces && act.replaces()) || (deletes && act.deletes()));
    let are = if count == 1 { "1 resource is".to_owned() } else { format!("{count} resources are") };
    if somebody_there(printer) {
        if asked(&format!("{are} {what}. Apply?")) {
            return Ok(());
        }
        return Err(CliError::new(ExitCode::Aborted, "not applied: nothing was changed"));
    }
    Err(CliError::new(ExitCode::Denied, format!("{are} {what}, and here is nobody to ask: nothing was changed"))
        .hint(format!("if that is meant, add {flags}")))
}

async fn finished(
    open: &Open,
    watched: &Watched,
    plan: Option<Shown>,
    changed: bool,
    printer: &Printer,
) -> CliResult<ExitCode> {
    let code = code(watched.ending);
    let live = open.describe().await?;
    let outputs = live.iter().flat_map(|live| &live.outputs);
    let outputs: BTreeMap<String, String> = outputs.map(|one| (one.key.clone(), one.value.clone())).collect();
    let name = &open.name;
    tell_causes(&watched.causes, printer);
    let environment = &open.environment.name;
    match watched.ending {
        Ending::Done if changed => match outputs.get("Url") {
            Some(url) => printer.note(format_args!("stack {name} is up: {url}")),
            None => printer.note(format_args!("stack {name} is up")),
        },
        Ending::Done => {}
        Ending::RolledBack => {
            let what = match live.as_ref().is_some_and(|live| live.status == "ROLLBACK_COMPLETE") {
                true => format!("nothing is left of it; `landfall stack recover {environment}` clears it away"),
                false => "what ran before runs again".to_owned(),
            };
            printer.failure(format_args!("stack {name} was rolled back: {what}"));
        }
        Ending::RollbackFailed => {
            printer.failure(format_args!("stack {name}: the change failed, and so did its rollback"));
            printer.hint(format!("`landfall stack recover {environment}` says why, and leads out of it"));
        }
        Ending::Failed => {
            printer.failure(format_args!("stack {name} failed"));
            printer.hint(format!("`landfall stack recover {environment}` says why, and leads out of it"));
        }
        Ending::Gone => printer.failure(format_args!("stack {name} is gone: somebody deleted it")),
    }
    if printer.json() {
        let (environment, stack, causes) = (open.id.clone(), open.name.clone(), watched.causes.clone());
        let (outcome, exit_code) = (code.word(), code as u8);
        printer.json_data(&Applied { environment, stack, outcome, exit_code, changed, plan, causes, outputs })?;
    }
    Ok(code)
}

pub(crate) fn tell_causes(causes: &Causes, printer: &Printer) {
    if let Some(root) = &causes.root {
        tell_cause(root, "", printer);
    }
    for one in &causes.blocking {
        tell_cause(one, "in the way: ", printer);
    }
}

fn tell_cause(cause: &Cause, head: &str, printer: &Printer) {
    if let Some(first) = cause.sentences().first() {
        printer.failure(format_args!("{head}{first}"));
    }
    tell_behind(cause, printer);
}

/// What is behind a failure that was told.
pub(super) fn tell_behind(cause: &Cause, printer: &Printer) {
    cause.sentences().into_iter().skip(1).for_each(|sentence| printer.because(sentence));
    let Some(troubles) = cause.troubles() else { return };
    troubles.lines.iter().for_each(|line| printer.because(line));
    troubles.fix.iter().for_each(|fix| printer.hint(fix));
}

pub(crate) fn code(ending: Ending) -> ExitCode {
    match ending {
        Ending::Done => ExitCode::Ok,
        Ending::RolledBack => ExitCode::RolledBack,
        Ending::RollbackFailed => ExitCode::RollbackFailed,
        Ending::Failed | Ending::Gone => ExitCode::Failed,
    }
}

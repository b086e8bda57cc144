//! Follows an execution to its end, with its steps as they go by.

use std::time::{Duration, Instant};

use landfall_model::ids::ExecutionId;
use landfall_server::control::{ControlRequest, ControlResponse};
use landfall_workflow::{ExecutionState, ExecutionView};
use serde::Serialize;

use super::cause;
use crate::commands::link::{Link, unexpected};
use crate::commands::wait::{Steps, word};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::{OutputFormat, Printer};
use crate::{progress, render};

/// How it ended, as printed with `--output json`.
#[derive(Debug, Serialize)]
struct Ended {
    #[serde(rename = "outcome", serialize_with = "word")]
    code: ExitCode,
    exit_code: u8,
    /// What most likely helps.
    fix: Option<String>,
    execution: ExecutionView,
}

pub(super) async fn to_end(link: &Link, id: &ExecutionId, timeout: u64, printer: &Printer) -> CliResult<ExitCode> {
    let deadline = Instant::now() + Duration::from_secs(timeout);
    let mut steps = Steps::new(*printer);
    let mut version = 0;
    let (view, code) = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(5_000);
        let view = match link.call(ControlRequest::Watch { id: id.clone(), version, timeout_ms }).await? {
            ControlResponse::Watch(view) => *view,
            other => return Err(unexpected(&other)),
        };
        version = view.version;
        steps.show(&view);
        match (view.state, view.outcome) {
            (_, Some(outcome)) => break (view, ExitCode::from(outcome)),
            (ExecutionState::Paused, _) => break (view, ExitCode::Paused),
            _ if Instant::now() >= deadline => break (view, ExitCode::TimedOut),
            _ => {}
        }
    };
    steps.finish();
    let why = if code == ExitCode::Ok { None } else { cause::of(&view) };
    let ended =
        Ended { code, exit_code: code as u8, fix: why.as_ref().and_then(|why| why.fix.clone()), execution: view };
    printer.emit(&ended, |ended| match code {
        ExitCode::Ok => ended.execution.url.clone().unwrap_or_default(),
        _ => String::new(),
    })?;
    tell(&ended, why, timeout, !matches!(link, Link::Here(_)), printer);
    Ok(code)
}

/// The last line: what happened, and where to look.
fn done(view: &ExecutionView) -> String {
    let took = match (view.started_at, view.finished_at) {
        (Some(from), Some(to)) => format!(" in {}", progress::duration(render::span(from, to))),
        _ => String::new(),
    };
    let environment = view.environment.as_str();
    let name = environment.split_once('@').map_or(environment, |(_, name)| name);
    format!("{}: done{took}; `landfall status {name}` shows what runs", view.title)
}

fn tell(ended: &Ended, why: Option<cause::Cause>, timeout: u64, elsewhere: bool, printer: &Printer) {
    let view = &ended.execution;
    let message = view.message.clone().unwrap_or_default();
    let title = &view.title;
    let text = match ended.code {
        ExitCode::Ok => return printer.note(done(view)),
        ExitCode::TimedOut => format!("{title}: not finished within {timeout} s ({message})"),
        ExitCode::Superseded => format!("{title}: a newer request took over"),
        ExitCode::Aborted => format!("{title}: {message}"),
        ExitCode::Paused => format!("{title}: waits for an operator: {message}"),
        ExitCode::RolledBack => format!("{title} failed, and what it had done is undone"),
        ExitCode::RollbackFailed => format!("{title} failed, and undoing failed too"),
        _ => format!("{title}: {message}"),
    };
    let mut error = CliError::new(ended.code, text);
    for left in &view.residue {
        error.causes.push(format!("left behind: {} ({})", left.title, left.error.message));
    }
    if let Some(why) = why {
        error.causes.push(why.text);
        error.hints.extend(why.fix);
    }
    let error = match ended.code {
        ExitCode::TimedOut if elsewhere => {
            error.hint(format!("it goes on; `landfall wait {}` waits for its end", view.id))
        }
        ExitCode::TimedOut => error
            .hint(format!("what the platform has begun goes on; `landfall wait {}` takes the rest up again", view.id)),
        ExitCode::Paused => error.hint(format!("`landfall executions show {}`, then retry, skip or abort", view.id)),
        ExitCode::RollbackFailed => error.hint(format!("`landfall executions show {}` has every step", view.id)),
        _ => error,
    };
    // The JSON of the result is on stdout already; the error in JSON would be a second document.
    Printer::new(OutputFormat::Text, printer.color(), printer.quiet).error(&error);
}

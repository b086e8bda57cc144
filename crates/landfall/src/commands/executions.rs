//! `landfall executions …`

use landfall_model::Timestamp;
use landfall_model::ids::{ExecutionId, StepId};
use landfall_ports::journal::ExecutionSummary;
use landfall_server::control::{ControlRequest, ControlResponse, ExecutionDetail};
use landfall_workflow::{ExecutionState, Signal};

use crate::assemble::Purpose;
use crate::cli::{ExecutionsCommand, Global};
use crate::commands::link::{Link, actor, unexpected};
use crate::commands::preview;
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::render;

pub(crate) async fn run(command: ExecutionsCommand, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let purpose = match &command {
        ExecutionsCommand::List { .. } | ExecutionsCommand::Show { .. } => Purpose::Look,
        _ => Purpose::Work,
    };
    let link = Link::open(global, printer, purpose).await?;
    let result = with(&link, command, printer).await;
    link.close().await;
    result
}

async fn with(link: &Link, command: ExecutionsCommand, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        ExecutionsCommand::List { preview, unfinished, limit } => {
            let environment = match preview {
                Some(name) => Some(preview::find(link, &name).await?.record.id),
                None => None,
            };
            let request = ControlRequest::Executions { environment, unfinished_only: unfinished, limit };
            let summaries = list(link, request).await?;
            printer.emit(&summaries, |summaries| render::executions(summaries, Timestamp::now()))?;
            Ok(ExitCode::Ok)
        }
        ExecutionsCommand::Show { execution } => {
            let detail = find(link, &execution, printer.json()).await?;
            let code = match (detail.view.state, detail.view.outcome) {
                (_, Some(outcome)) => ExitCode::from(outcome),
                (ExecutionState::Paused, _) => ExitCode::Paused,
                _ => ExitCode::Ok,
            };
            printer.emit(&detail, |detail| render::execution_text(&detail.view))?;
            Ok(code)
        }
        ExecutionsCommand::Retry { execution, step } => {
            let (id, step) = paused_at(link, &execution, step).await?;
            signal(link, id, Signal::Retry { step }, "will be retried", printer).await
        }
        ExecutionsCommand::Skip { execution, step } => {
            let (id, step) = paused_at(link, &execution, step).await?;
            signal(link, id, Signal::Skip { step }, "will be skipped", printer).await
        }
        ExecutionsCommand::Abort { execution } => {
            let id = find(link, &execution, false).await?.view.id;
            signal(link, id, Signal::Abort, "stops at the next step boundary and is undone", printer).await
        }
    }
}

pub(crate) async fn list(link: &Link, request: ControlRequest) -> CliResult<Vec<ExecutionSummary>> {
    match link.call(request).await? {
        ControlResponse::Executions(summaries) => Ok(summaries),
        other => Err(unexpected(&other)),
    }
}

async fn find(link: &Link, execution: &str, history: bool) -> CliResult<ExecutionDetail> {
    let request = ControlRequest::Execution { id: ExecutionId::new(execution), history };
    match link.call(request).await {
        Ok(ControlResponse::Execution(detail)) => Ok(*detail),
        Ok(other) => Err(unexpected(&other)),
        Err(error) if error.code == ExitCode::NotFound => {
            let request = ControlRequest::Executions { environment: None, unfinished_only: false, limit: 100 };
            let known = list(link, request).await.unwrap_or_default();
            Err(not_found("execution", execution, known.iter().map(|summary| summary.id.as_str())))
        }
        Err(error) => Err(error),
    }
}

/// The step that was named, or the one that the execution waits at.
async fn paused_at(link: &Link, execution: &str, step: Option<String>) -> CliResult<(ExecutionId, StepId)> {
    let view = find(link, execution, false).await?.view;
    if let Some(step) = step {
        if view.steps.iter().any(|known| known.id.as_str() == step) {
            return Ok((view.id, StepId::new(step)));
        }
        return Err(not_found("step", &step, view.steps.iter().map(|known| known.id.as_str())));
    }
    match view.pause.and_then(|pause| pause.step) {
        Some(step) => Ok((view.id, step)),
        None => Err(CliError::new(ExitCode::Conflict, format!("{} does not wait at a step", view.id))
            .hint("name the step; `landfall executions show` lists them")),
    }
}

async fn signal(link: &Link, id: ExecutionId, signal: Signal, what: &str, printer: &Printer) -> CliResult<ExitCode> {
    let request = ControlRequest::Signal { id: id.clone(), who: actor(), signal };
    match link.call(request).await? {
        ControlResponse::Signal => {
            printer.note(format_args!("{id} {what}"));
            if printer.json() {
                printer.json_data(&serde_json::json!({ "execution": id, "accepted": true }))?;
            }
            Ok(ExitCode::Ok)
        }
        other => Err(unexpected(&other)),
    }
}

//! Waiting for a preview to come to rest, with its steps as they go by.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use landfall_model::environment::{EnvironmentRecord, Phase};
use landfall_model::ids::{EnvironmentId, ExecutionId, StepId};
use landfall_server::control::{ControlRequest, ControlResponse, SettledReport};
use landfall_workflow::{ExecutionState, ExecutionView, StepStatus};
use serde::Serialize;

use crate::commands::link::{Link, unexpected};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};
use crate::render;

/// How it ended, as printed with `--output json`.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    #[serde(rename = "outcome", serialize_with = "word")]
    pub(crate) code: ExitCode,
    pub(crate) exit_code: u8,
    #[serde(rename = "preview")]
    pub(crate) record: EnvironmentRecord,
    pub(crate) execution: Option<ExecutionView>,
}

pub(crate) fn word<S: serde::Serializer>(code: &ExitCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.word())
}

pub(crate) async fn settled(
    link: &Link,
    environment: &EnvironmentId,
    timeout: u64,
    printer: &Printer,
) -> CliResult<Ended> {
    let deadline = Instant::now() + Duration::from_secs(timeout);
    let mut steps = Steps::new(*printer);
    loop {
        let request = ControlRequest::Settled { environment: environment.clone(), timeout_ms: 250 };
        let report = match link.call(request).await? {
            ControlResponse::Settled(report) => *report,
            other => return Err(unexpected(&other)),
        };
        if let Some(view) = &report.execution {
            steps.show(view);
        }
        let code = if report.settled || report.record.phase == Phase::Paused {
            verdict(&report)
        } else if Instant::now() > deadline {
            ExitCode::TimedOut
        } else {
            continue;
        };
        steps.progress.finish();
        tell(&report, code, timeout, printer);
        return Ok(Ended { code, exit_code: code as u8, record: report.record, execution: report.execution });
    }
}

/// What is reached decides; how the last execution ended says why it was not.
fn verdict(report: &SettledReport) -> ExitCode {
    let record = &report.record;
    match record.phase {
        // It says why it could not be woken.
        Phase::Asleep if record.message.is_some() => ExitCode::Failed,
        Phase::Ready | Phase::Asleep | Phase::Destroyed => ExitCode::Ok,
        Phase::Queued | Phase::AwaitingApproval => ExitCode::Waiting,
        Phase::Paused => ExitCode::Paused,
        Phase::Failed
        | Phase::Creating
        | Phase::Updating
        | Phase::FallingAsleep
        | Phase::Waking
        | Phase::Destroying => match report.execution.as_ref().and_then(|view| view.outcome).map(ExitCode::from) {
            Some(code) if code != ExitCode::Ok => code,
            _ => ExitCode::Failed,
        },
    }
}

fn tell(report: &SettledReport, code: ExitCode, timeout: u64, printer: &Printer) {
    let id = &report.record.id;
    if code == ExitCode::Ok {
        printer.note(format_args!("{id} is {}", render::phase(report.record.phase)));
        return;
    }
    let message = report.record.message.clone().unwrap_or_else(|| render::phase(report.record.phase).to_owned());
    let error = CliError::new(
        code,
        match code {
            ExitCode::TimedOut => format!("{id}: not finished within {timeout} s; it goes on ({message})"),
            _ => format!("{id}: {message}"),
        },
    );
    let error = match report.execution.as_ref().and_then(|view| view.cause.as_ref()) {
        Some(cause) => {
            let detail = cause.error.detail.as_deref().unwrap_or_default();
            error.cause(&std::io::Error::other(
                format!("{} {}\n{detail}", cause.error.code, cause.error.message).trim().to_owned(),
            ))
        }
        None => error,
    };
    let error = match (code, &report.execution) {
        (ExitCode::Paused, Some(view)) => {
            error.hint(format!("`landfall executions show {}`, then retry, skip or abort", view.id))
        }
        (ExitCode::Waiting, _) if report.record.phase == Phase::AwaitingApproval => {
            error.hint(format!("`landfall preview approve {id} COMMIT` allows exactly that commit"))
        }
        (ExitCode::RollbackFailed, _) => error.hint("`landfall gc --dry-run` shows what is left"),
        _ => error,
    };
    // The JSON of the result follows on stdout; the error in JSON would be a second document.
    Printer::new(crate::printer::OutputFormat::Text, printer.color(), printer.quiet).error(&error);
}

/// Prints each step once it ends, over the executions that follow one another.
pub(crate) struct Steps {
    progress: Progress,
    shown: BTreeMap<(ExecutionId, StepId), StepStatus>,
    titled: Option<ExecutionId>,
    /// Why a step was tried again last.
    excused: BTreeMap<(ExecutionId, StepId), String>,
}

impl Steps {
    pub(crate) fn new(printer: Printer) -> Self {
        Self { progress: Progress::new(printer), shown: BTreeMap::new(), titled: None, excused: BTreeMap::new() }
    }

    pub(crate) fn finish(&self) {
        self.progress.finish();
    }

    pub(crate) fn show(&mut self, view: &ExecutionView) {
        // An execution that was over before we looked is not ours to tell.
        if self.titled.as_ref() != Some(&view.id) {
            if self.titled.is_none() && view.state == ExecutionState::Finished && view.outcome.is_none() {
                return;
            }
            self.progress.note(&view.title);
            self.titled = Some(view.id.clone());
        }
        let mut running = Vec::new();
        for step in &view.steps {
            let mark = match step.status {
                StepStatus::Done => Mark::Done,
                StepStatus::Warned => Mark::Warned,
                StepStatus::Skipped => Mark::Skipped,
                StepStatus::Failed | StepStatus::Residue => Mark::Failed,
                StepStatus::Undone => Mark::Undone,
                StepStatus::Waiting => continue,
                _ => {
                    if let Some(error) = step.error.as_ref().filter(|_| tries_again(step.status)) {
                        let before = self.excused.insert((view.id.clone(), step.id.clone()), error.message.clone());
                        if before.as_ref() != Some(&error.message) {
                            let why = format!("{}: trying again: {}", step.title, error.message);
                            self.progress.line(Mark::Warned, &why, None);
                        }
                    }
                    running.push(match &step.note {
                        Some(note) => format!("{}: {note}", step.title),
                        None => step.title.clone(),
                    });
                    continue;
                }
            };
            if self.shown.insert((view.id.clone(), step.id.clone()), step.status) == Some(step.status) {
                continue;
            }
            let took = step.started_at.zip(step.finished_at).map(|(from, to)| render::span(from, to));
            let took = took.filter(|_| mark != Mark::Undone);
            self.progress.line(mark, &step.title, took);
        }
        self.progress.running(&running.join(", "));
    }
}

fn tries_again(status: StepStatus) -> bool {
    matches!(status, StepStatus::Retrying | StepStatus::UndoRetrying)
}

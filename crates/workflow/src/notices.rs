//! What people are told, and in which words. One message per change; ids by content, so that a crash repeats none.

use landfall_model::ids::StepId;
use landfall_model::notice::NoticeKind;

use crate::event::{Outcome, StepError};
use crate::execution::{Execution, NoticeDraft, Phase, Stop, codes};
use crate::plan::Step;
use crate::release;
use crate::status::StepStatus;

pub(crate) fn started(execution: &Execution) -> Option<NoticeDraft> {
    if execution.plan.quiet || execution.plan.again {
        return None;
    }
    let environment = &execution.plan.environment;
    let (kind, text) = match execution.plan.kind.as_str() {
        "preview.create" => (NoticeKind::Creating, format!("Creating preview {environment}")),
        "preview.update" => (NoticeKind::Updating, format!("Updating preview {environment}")),
        "preview.destroy" => (NoticeKind::Destroying, format!("Destroying preview {environment}")),
        _ => (NoticeKind::Deploying, lasting(execution)?.begun()),
    };
    Some(NoticeDraft { key: "started".to_owned(), kind, text, url: None, cause: None })
}

/// A change of a lasting environment, in words: its plan's title begins with the verb.
struct Change<'a> {
    project: &'a str,
    doing: &'static str,
    done: &'static str,
    what: &'a str,
}

/// `None`: it is of a preview, or of a kind that nobody is told about.
fn lasting(execution: &Execution) -> Option<Change<'_>> {
    let plan = &execution.plan;
    let (verb, doing, done) = match plan.kind.as_str() {
        release::DEPLOY => ("Deploy ", "deploying", "deployed"),
        release::ROLLBACK => ("Roll ", "rolling", "rolled"),
        "environment.scale" => ("Scale ", "scaling", "scaled"),
        _ => return None,
    };
    let environment = plan.environment.as_str();
    let project = environment.split_once('@').map_or(environment, |(project, _)| project);
    Some(Change { project, doing, done, what: plan.title.strip_prefix(verb).unwrap_or(&plan.title) })
}

impl Change<'_> {
    fn begun(&self) -> String {
        format!("{}: {} {}", self.project, self.doing, self.what)
    }

    fn ended(&self, outcome: Outcome, message: &str) -> (NoticeKind, String) {
        let begun = self.begun();
        match outcome {
            Outcome::Succeeded => (NoticeKind::Deployed, format!("{}: {} {}", self.project, self.done, self.what)),
            Outcome::RolledBack => (NoticeKind::RolledBack, format!("{begun} failed and was rolled back: {message}")),
            Outcome::Aborted => (NoticeKind::RolledBack, format!("{begun} was stopped: {message}")),
            Outcome::RollbackFailed => {
                (NoticeKind::Failed, format!("{begun} failed, and so did undoing it: {message}"))
            }
            // Nobody plans it again: whoever asked has to.
            Outcome::Failed | Outcome::NeedsReplan => (NoticeKind::Failed, format!("{begun} failed: {message}")),
            Outcome::Superseded => (NoticeKind::Superseded, format!("{begun} was {message}")),
        }
    }
}

pub(crate) fn warned(execution: &Execution, step: &Step) -> Option<NoticeDraft> {
    if execution.plan.quiet {
        return None;
    }
    let error = execution.step_state(&step.id).error?;
    Some(NoticeDraft {
        key: format!("warning:{}", step.id),
        kind: NoticeKind::Warning,
        text: format!("{}: {} failed and is passed over: {}", execution.plan.environment, step.title, error.message),
        url: None,
        cause: Some(cause_text(&error)),
    })
}

pub(crate) fn pause_reason(execution: &Execution, step: &StepId) -> String {
    let title = execution.plan.step(step).map_or(step.as_str(), |step| &step.title);
    match execution.step_state(step).error {
        Some(error) if error.code == codes::RESULT_UNKNOWN => error.message,
        Some(error) => format!("{title} failed: {}", error.message),
        None => format!("{title} waits for a decision"),
    }
}

pub(crate) fn paused(execution: &Execution) -> NoticeDraft {
    let pause = execution.pause();
    let reason = pause.map_or("", |pause| &pause.reason);
    let cause = pause.and_then(|pause| execution.step_state(pause.step.as_ref()?).error);
    NoticeDraft {
        key: format!("paused:{}", execution.state.pauses),
        kind: NoticeKind::Paused,
        text: format!("{}: paused: {reason}", execution.plan.environment),
        url: None,
        cause: cause.as_ref().map(cause_text),
    }
}

pub(crate) fn unwind_cause(execution: &Execution) -> String {
    match &execution.state.stop {
        Some(Stop::Abort { by }) => format!("aborted by {by}"),
        _ => failure_line(execution),
    }
}

pub(crate) fn stop_word(stop: &Stop) -> &'static str {
    match stop {
        Stop::FailForward => "failed",
        Stop::Stale => "stale",
        Stop::Unwind => "undoing",
        Stop::Abort { .. } => "aborted",
        Stop::Supersede => "superseded",
    }
}

/// How it ended and why, in one line. Only asked where nothing is left to do.
pub(crate) fn verdict(execution: &Execution) -> (Outcome, String) {
    let state = &execution.state;
    if state.phase == Phase::Unwinding {
        let residue: Vec<&str> =
            execution.steps().filter(|s| is_residue(execution, s)).map(|step| step.title.as_str()).collect();
        let left = if residue.is_empty() { String::new() } else { format!("; not undone: {}", residue.join(", ")) };
        let why = unwind_cause(execution);
        return match (&state.superseded_by, &state.stop) {
            (Some(by), _) => (Outcome::Superseded, format!("{why}; then superseded by {by}{left}")),
            _ if !residue.is_empty() => (Outcome::RollbackFailed, format!("{why}{left}")),
            (None, Some(Stop::Abort { .. })) => (Outcome::Aborted, format!("{why}, everything undone")),
            _ => (Outcome::RolledBack, format!("{why}; everything undone")),
        };
    }
    match &state.stop {
        Some(Stop::Supersede) => {
            (Outcome::Superseded, format!("superseded by {}", state.superseded_by.as_deref().unwrap_or("a newer one")))
        }
        Some(Stop::Stale) => (Outcome::NeedsReplan, failure_line(execution)),
        Some(Stop::FailForward | Stop::Unwind) => (Outcome::Failed, failure_line(execution)),
        Some(Stop::Abort { by }) => (Outcome::Aborted, format!("aborted by {by}")),
        None => {
            let warned = state.steps.values().filter(|step| step.status == StepStatus::Warned).count();
            let with = if warned == 0 { String::new() } else { format!(" with {warned} warning(s)") };
            (Outcome::Succeeded, format!("succeeded{with}"))
        }
    }
}

pub(crate) fn finished(execution: &Execution) -> Option<NoticeDraft> {
    let outcome = execution.outcome()?;
    if execution.plan.quiet && outcome != Outcome::Succeeded {
        return None;
    }
    let url = execution.url();
    let message = execution.state.message.as_deref().unwrap_or_default();
    let environment = &execution.plan.environment;
    let what = match execution.plan.kind.as_str() {
        "preview.create" => "Creating",
        "preview.update" => "Updating",
        "preview.destroy" => "Destroying",
        _ => execution.plan.title.as_str(),
    };
    let (kind, text) = match outcome {
        _ if let Some(change) = lasting(execution) => change.ended(outcome, message),
        Outcome::Succeeded => match execution.plan.kind.as_str() {
            "preview.create" => (NoticeKind::Created, format!("Preview {environment} is up")),
            "preview.update" => (NoticeKind::Updated, format!("Preview {environment} is updated")),
            "preview.destroy" => (NoticeKind::Destroyed, format!("Preview {environment} is gone")),
            _ => return None,
        },
        Outcome::RolledBack | Outcome::Aborted => {
            (NoticeKind::RolledBack, format!("{what} {environment} was rolled back: {message}"))
        }
        Outcome::RollbackFailed | Outcome::Failed => {
            (NoticeKind::Failed, format!("{what} {environment} failed: {message}"))
        }
        Outcome::Superseded => (NoticeKind::Superseded, format!("{what} {environment} was {message}")),
        // The controller plans again and tells then.
        Outcome::NeedsReplan => return None,
    };
    let cause = if outcome == Outcome::Succeeded { None } else { execution.state.cause_error.as_ref().map(cause_text) };
    Some(NoticeDraft { key: "finished".to_owned(), kind, text: one_line(&text), url, cause })
}

impl Execution {
    /// The output named `url`: of the last step in order that gave one.
    pub fn url(&self) -> Option<String> {
        let output = |step: &Step| self.step_state(&step.id).output?.get("url")?.as_str().map(str::to_owned);
        self.steps().rev().find_map(output)
    }
}

pub(crate) fn is_residue(execution: &Execution, step: &Step) -> bool {
    execution.status(&step.id) == Some(StepStatus::Residue)
}

fn failure_line(execution: &Execution) -> String {
    let Some(id) = &execution.state.cause else { return "failed".to_owned() };
    let title = execution.plan.step(id).map_or(id.as_str(), |step| &step.title);
    match execution.state.cause_error.as_ref() {
        Some(error) => one_line(&format!("{title}: {}", error.message)),
        None => format!("{title} failed"),
    }
}

fn cause_text(error: &StepError) -> String {
    match &error.detail {
        Some(detail) => format!("{}: {}\n{detail}", error.code, error.message),
        None => format!("{}: {}", error.code, error.message),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

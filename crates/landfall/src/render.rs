//! Text for people. Pure: what comes in decides what comes out; the JSON form of everything is its serde form.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Cell, Table, presets};
use landfall_model::Timestamp;
use landfall_model::environment::{EnvironmentRecord, Phase};
use landfall_ports::journal::ExecutionSummary;
use landfall_ports::store::{DeliveryOutcome, DeliverySummary};
use landfall_workflow::{ExecutionState, ExecutionView, Outcome, StepStatus};
use owo_colors::OwoColorize;

use crate::progress::duration;

pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::AwaitingApproval => "awaiting approval",
        Phase::Creating => "creating",
        Phase::Updating => "updating",
        Phase::Ready => "ready",
        Phase::FallingAsleep => "falling asleep",
        Phase::Asleep => "asleep",
        Phase::Waking => "waking",
        Phase::Failed => "failed",
        Phase::Paused => "paused",
        Phase::Destroying => "destroying",
        Phase::Destroyed => "destroyed",
    }
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|text| Cell::new(text.to_uppercase())));
    table
}

pub(crate) fn trimmed(table: &Table) -> String {
    let text = table.to_string();
    text.lines().map(|line| line.trim_end().strip_prefix(' ').unwrap_or(line.trim_end())).fold(
        String::new(),
        |mut out, line| {
            out.push_str(line);
            out.push('\n');
            out
        },
    )
}

/// `5 s ago`, `3 h ago`; the first unit that fits.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(at.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

pub(crate) fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

pub(crate) fn previews(records: &[EnvironmentRecord], now: Timestamp) -> String {
    if records.is_empty() {
        return "no previews\n".to_owned();
    }
    let mut table = table(&["preview", "branch", "phase", "commit", "url", "active"]);
    for record in records {
        table.add_row([
            Cell::new(&record.id),
            Cell::new(&record.key.source),
            Cell::new(phase(record.phase)),
            Cell::new(record.commit.as_deref().map_or("-", short)),
            Cell::new(record.url.as_deref().unwrap_or("-")),
            Cell::new(ago(record.last_activity, now)),
        ]);
    }
    let mut out = trimmed(&table);
    for record in records.iter().filter(|record| matches!(record.phase, Phase::Failed | Phase::Paused)) {
        if let Some(message) = &record.message {
            let _ = writeln!(out, "\n{}: {message}", record.id.bold());
        }
    }
    out
}

pub(crate) fn preview(record: &EnvironmentRecord, execution: Option<&ExecutionView>, now: Timestamp) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<14}{value}");
    };
    field("preview", record.id.as_str());
    field("repository", record.key.repository.as_str());
    field("branch", &record.key.source.to_string());
    field("phase", phase(record.phase));
    if let Some(message) = &record.message {
        field("", message);
    }
    if let Some(asleep) = &record.asleep {
        field("asleep", &format!("for {}", ago(asleep.since, now).trim_end_matches(" ago")));
    }
    field("url", record.url.as_deref().unwrap_or("-"));
    field("commit", record.commit.as_deref().unwrap_or("-"));
    field("service", &record.names.service);
    field("target group", &record.names.target_group);
    field("created", &ago(record.created_at, now));
    let pinned = if record.pinned { " (pinned: no time limit)" } else { "" };
    field("active", &format!("{}{pinned}", ago(record.last_activity, now)));
    if let Some(view) = execution {
        let _ = write!(out, "\n{}", execution_text(view));
    }
    out
}

pub(crate) fn executions(list: &[ExecutionSummary], now: Timestamp) -> String {
    if list.is_empty() {
        return "no executions\n".to_owned();
    }
    let mut table = table(&["execution", "environment", "kind", "finished", "begun", "title"]);
    for summary in list {
        table.add_row([
            Cell::new(&summary.id),
            Cell::new(&summary.environment),
            Cell::new(&summary.kind),
            Cell::new(if summary.finished { "yes" } else { "no" }),
            Cell::new(ago(summary.created_at, now)),
            Cell::new(&summary.title),
        ]);
    }
    trimmed(&table)
}

pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::RolledBack => "failed and was undone",
        Outcome::RollbackFailed => "failed, and undoing failed too: something is left",
        Outcome::Failed => "failed; what was done is kept",
        Outcome::Superseded => "superseded by a newer request",
        Outcome::Aborted => "aborted and undone",
        Outcome::NeedsReplan => "ended for a new plan: the world had changed",
    }
}

pub(crate) fn symbol(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Waiting => " ",
        StepStatus::Started | StepStatus::Pending | StepStatus::Retrying => "…",
        StepStatus::Done => "✓",
        StepStatus::Warned => "!",
        StepStatus::Skipped => "-",
        StepStatus::Failed | StepStatus::Residue => "✗",
        StepStatus::Undoing | StepStatus::UndoPending | StepStatus::UndoRetrying | StepStatus::Undone => "↩",
    }
}

/// The status where the symbol does not say enough.
fn word(status: StepStatus) -> Option<&'static str> {
    match status {
        StepStatus::Retrying => Some("retrying"),
        StepStatus::Failed => Some("failed"),
        StepStatus::Warned => Some("failed, went on"),
        StepStatus::Skipped => Some("skipped"),
        StepStatus::Undoing | StepStatus::UndoPending | StepStatus::UndoRetrying => Some("undoing"),
        StepStatus::Undone => Some("undone"),
        StepStatus::Residue => Some("could not be undone"),
        StepStatus::Waiting | StepStatus::Started | StepStatus::Pending | StepStatus::Done => None,
    }
}

pub(crate) fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

pub(crate) fn execution_text(view: &ExecutionView) -> String {
    let mut out = String::new();
    let state = match (view.state, view.outcome) {
        (_, Some(end)) => outcome(end),
        (ExecutionState::Queued, _) => "queued",
        (ExecutionState::Running, _) => "running",
        (ExecutionState::Paused, _) => "paused: waits for an operator",
        (ExecutionState::Unwinding, _) => "undoing what was done",
        (ExecutionState::Finished, _) => "finished",
    };
    let _ = writeln!(out, "{} {}", view.title.bold(), format_args!("({})", view.id).dimmed());
    let _ = writeln!(out, "{state}");
    if let Some(message) = view.message.as_ref().filter(|message| *message != state) {
        let _ = writeln!(out, "{message}");
    }
    out.push('\n');
    let width = view.steps.iter().map(|step| step.title.chars().count()).max().unwrap_or(0);
    for step in &view.steps {
        let _ = write!(out, "{} {}", symbol(step.status), step.title);
        let mut remarks: Vec<String> = Vec::new();
        if let (Some(from), Some(to)) = (step.started_at, step.finished_at) {
            remarks.push(format!("{:>9}", duration(span(from, to))));
        }
        remarks.extend(word(step.status).map(str::to_owned));
        if step.attempts > 1 {
            remarks.push(format!("{} attempts", step.attempts));
        }
        if step.status.is_under_way() {
            remarks.extend(step.note.clone());
        }
        if !remarks.is_empty() {
            let _ = write!(out, "{:pad$}  {}", "", remarks.join("  "), pad = width - step.title.chars().count());
        }
        out.push('\n');
        if let Some(error) = step.error.as_ref().filter(|_| !step.status.satisfies_needs()) {
            let _ = writeln!(out, "    {}", format_args!("{} {}", error.code, error.message).red());
        }
    }
    if let Some(cause) = &view.cause {
        let _ = writeln!(out, "\ncause: {} {}", cause.error.code, cause.error.message);
        for line in cause.error.detail.iter().flat_map(|detail| detail.lines()) {
            let _ = writeln!(out, "  {line}");
        }
    }
    for left in &view.residue {
        let _ = writeln!(out, "left behind: {} ({})", left.title, left.error.message);
    }
    if let Some(pause) = &view.pause {
        let step = pause.step.as_ref().map_or(String::new(), |step| format!(" at step {step}"));
        let _ = writeln!(out, "\nwaits{step}: {}", pause.reason);
        let _ = writeln!(out, "next: landfall executions retry|skip|abort {}", view.id);
    }
    if let Some(url) = &view.url {
        let _ = writeln!(out, "\n{url}");
    }
    out
}

pub(crate) fn deliveries(list: &[DeliverySummary], now: Timestamp) -> String {
    if list.is_empty() {
        return "no deliveries\n".to_owned();
    }
    let mut table = table(&["#", "delivery", "event", "bytes", "received", "outcome"]);
    for delivery in list {
        let outcome = match &delivery.outcome {
            None => "pending".to_owned(),
            Some(DeliveryOutcome::Applied { what }) => what.clone(),
            Some(DeliveryOutcome::Ignored { why }) => format!("ignored: {why}"),
            Some(DeliveryOutcome::Rejected { why }) => format!("rejected: {why}"),
        };
        table.add_row([
            delivery.seq.to_string(),
            delivery.id.to_string(),
            delivery.event.clone(),
            delivery.bytes.to_string(),
            ago(delivery.received_at, now),
            outcome,
        ]);
    }
    trimmed(&table)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_past() {
        let now = at("2026-11-21T12:00:00Z");
        assert_eq!(ago(at("2026-11-21T11:59:58Z"), now), "2 s ago");
        assert_eq!(ago(at("2026-11-21T11:58:00Z"), now), "2 min ago");
        assert_eq!(ago(at("2026-11-20T11:00:00Z"), now), "25 h ago");
        assert_eq!(ago(at("2026-11-01T12:00:00Z"), now), "20 d ago");
        // A clock that was set back is no reason for a negative age.
        assert_eq!(ago(at("2026-11-21T13:00:00Z"), now), "0 s ago");
    }

    #[test]
    fn deliveries_say_what_became_of_them() {
        let now = at("2026-11-21T12:00:00Z");
        let delivery = |seq, outcome| DeliverySummary {
            seq,
            id: format!("d-{seq}").into(),
            event: "create".into(),
            bytes: 8_192,
            received_at: now,
            outcome,
        };
        let text =
            deliveries(&[delivery(2, None), delivery(1, Some(DeliveryOutcome::Ignored { why: "tag".into() }))], now);
        insta::assert_snapshot!(text, @r"
        #  DELIVERY  EVENT   BYTES  RECEIVED  OUTCOME
        2  d-2       create  8192   0 s ago   pending
        1  d-1       create  8192   0 s ago   ignored: tag
        ");
    }
}

//! Runs as a person reads them.

use std::fmt::Write as _;

use comfy_table::Cell;
use landfall_model::Timestamp;
use landfall_model::notice::Sent;
use landfall_pipeline::{AskedView, Moment, RunSummary, RunView, StageState, StageView, WorkState};
use landfall_server::pipelines::Current;

use crate::progress::duration;
use crate::render::{ago, short, span, table, trimmed};

pub(super) fn list(list: &[RunSummary], now: Timestamp) -> String {
    if list.is_empty() {
        return "no runs\n".to_owned();
    }
    let mut table = table(&["run", "state", "commit", "by", "begun", "what"]);
    for one in list {
        table.add_row([
            Cell::new(format!("{}#{}", one.pipeline, one.number)),
            Cell::new(one.state.word()),
            Cell::new(one.commit.as_deref().map_or("-", short)),
            Cell::new(&one.by),
            Cell::new(ago(one.created_at, now)),
            Cell::new(&one.message),
        ]);
    }
    trimmed(&table)
}

/// Those that have not ended, with their stages.
pub(super) fn live(views: &[RunView], now: Timestamp) -> String {
    let mut out = String::new();
    for view in views {
        let commit = view.release.short();
        let _ = writeln!(out, "{}#{}  {}  {commit}: {}", view.pipeline, view.number, view.state.word(), view.message);
        out.push_str(&stages(view, now));
    }
    out
}

fn sign(state: StageState) -> &'static str {
    match state {
        StageState::Ahead => "·",
        StageState::Waiting | StageState::AwaitingApproval => "?",
        StageState::Entering | StageState::Running | StageState::RollingBack => "▸",
        StageState::Passed => "✓",
        StageState::RolledBack => "↩",
        StageState::Failed | StageState::Rejected | StageState::Superseded | StageState::Cancelled => "✗",
    }
}

fn word(state: StageState) -> &'static str {
    match state {
        StageState::Ahead => "",
        StageState::Waiting => "waiting",
        StageState::AwaitingApproval => "awaiting approval",
        StageState::Entering => "about to begin",
        StageState::Running => "running",
        StageState::RollingBack => "rolling back",
        StageState::Passed => "passed",
        StageState::Failed => "failed",
        StageState::RolledBack => "rolled back",
        StageState::Rejected => "rejected",
        StageState::Superseded => "superseded",
        StageState::Cancelled => "cancelled",
    }
}

/// Where the question of a stage went that waits for its answer.
pub(super) fn sent(stage: &StageView) -> &[Sent] {
    let asked = stage.approval.as_ref().and_then(|approval| approval.asked.as_ref());
    asked.filter(|_| stage.state == StageState::AwaitingApproval).map_or(&[], |asked| &asked.sent)
}

fn stages(view: &RunView, now: Timestamp) -> String {
    let width = view.stages.iter().map(|stage| stage.environment.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for stage in &view.stages {
        let took = match (stage.entered_at, stage.finished_at) {
            (Some(from), to) => format!("  {}", duration(span(from, to.unwrap_or(now)))),
            _ => String::new(),
        };
        let url = stage.url.as_ref().map_or_else(String::new, |url| format!("  {url}"));
        let line = format!("  {} {:width$}  {}{took}{url}", sign(stage.state), stage.environment, word(stage.state));
        let _ = writeln!(out, "{}", line.trim_end());
        if let Some(why) = &stage.why {
            let _ = writeln!(out, "    {:width$}  {why}", "");
        }
        for one in sent(stage) {
            let _ = writeln!(out, "    {:width$}  {}", "", one.said());
        }
    }
    out
}

pub(super) fn whole(view: &RunView, now: Timestamp) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<10}{value}");
    };
    field("run", &format!("{}#{}  {}", view.pipeline, view.number, view.id));
    field("state", &format!("{}: {}", view.state.word(), view.message));
    if let Some(commit) = &view.release.commit {
        let branch = view.release.branch.as_ref().map_or_else(String::new, |branch| format!(" of {branch}"));
        field("commit", &format!("{commit}{branch}"));
    }
    if let Some(id) = &view.release.id {
        field("release", id);
    }
    field("begun", &format!("{} by {}: {}", ago(view.created_at, now), view.by, view.trigger));
    if let Some(to) = view.finished_at {
        field("took", &duration(span(view.created_at, to)));
    }
    for (service, images) in &view.release.images {
        for (container, image) in images {
            field("image", &format!("{service}/{container}  {image}"));
        }
    }
    let _ = write!(out, "\n{}", stages(view, now));
    for stage in &view.stages {
        let asked = stage.approval.as_ref().and_then(|approval| approval.asked.as_ref());
        if let Some(asked) = asked.filter(|_| stage.state == StageState::AwaitingApproval) {
            let _ = write!(out, "\n{}", question(view, stage, asked));
        }
    }
    out.push_str("\ntime-line\n");
    for one in &view.timeline {
        let _ = writeln!(out, "  {}", moment(view, one));
    }
    let mut works = table(&["stage", "work", "", "took", "execution"]);
    let mut any = false;
    for stage in &view.stages {
        for work in stage.work.iter().filter(|work| work.started_at.is_some()) {
            any = true;
            let took = work.started_at.map(|from| duration(span(from, work.finished_at.unwrap_or(now))));
            let how = match work.state {
                WorkState::Ahead => "",
                WorkState::Running => "running",
                WorkState::Done => "done",
                WorkState::Failed => "failed",
            };
            let execution = work.output.get("execution").map_or("", String::as_str);
            works.add_row([&stage.environment, &work.title, how, &took.unwrap_or_default(), execution]);
        }
    }
    if any {
        let _ = write!(out, "\n{}", trimmed(&works));
    }
    out
}

/// What there is to decide.
pub(super) fn question(view: &RunView, stage: &StageView, asked: &AskedView) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<13}{value}");
    };
    field("to", &format!("{} of {}", view.release.short(), view.title));
    field("in", &stage.environment);
    field("instead of", asked.shown.from.as_deref().unwrap_or("nothing: it was never deployed"));
    if let Some(url) = &asked.shown.look_at {
        field("look at", url);
    }
    if let Some(approval) = &stage.approval {
        let by: Vec<&str> = asked.votes.iter().map(|vote| vote.by.as_str()).collect();
        let said = if by.is_empty() { String::new() } else { format!("; {} said yes", by.join(", ")) };
        field("needs", &format!("{} of {}{said}", approval.count, approval.by.join(", ")));
    }
    if let Some(deadline) = asked.deadline {
        field("by", &format!("{deadline:.0}"));
    }
    field("fingerprint", &asked.fingerprint);
    match asked.shown.changes.as_slice() {
        [] => out.push_str("  nothing differs\n"),
        changes => changes.iter().for_each(|line| {
            let _ = writeln!(out, "    {line}");
        }),
    }
    format!("approval of {}:\n{out}", stage.environment)
}

/// `  12.3s  dev      deploy`
pub(super) fn moment(view: &RunView, moment: &Moment) -> String {
    let since = duration(span(view.created_at, moment.at));
    let width = view.stages.iter().map(|stage| stage.environment.chars().count()).max().unwrap_or(0);
    let stage = moment.stage.and_then(|stage| view.stages.get(stage)).map_or("", |stage| stage.environment.as_str());
    format!("{since:>10}  {stage:width$}  {}", moment.text)
}

pub(super) fn current(current: &Current, now: Timestamp) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<14}{value}");
    };
    field("environment", &current.environment);
    if let Some(release) = &current.release {
        field("commit", release.commit.as_deref().unwrap_or("-"));
        let at = release.finished_at.map_or_else(String::new, |at| format!(", {}", ago(at, now)));
        field("release", &format!("{}{at} by {}", release.id, release.by));
        for (service, one) in &release.services {
            for (container, image) in &one.images {
                field("image", &format!("{service}/{container}  {image}"));
            }
        }
    }
    if let Some(stack) = &current.stack {
        field("commit", stack.commit.as_deref().unwrap_or("-"));
        let at = stack.changed.map_or_else(String::new, |at| format!(", changed {}", ago(at, now)));
        field("stack", &format!("{}  {}{at}", stack.name, stack.status));
        for (who, image) in &stack.images {
            field("image", &format!("{who}  {image}"));
        }
    }
    for one in &current.parameters {
        field("parameter", &format!("{}  {}", one.name, one.value.as_deref().unwrap_or("-")));
    }
    out
}

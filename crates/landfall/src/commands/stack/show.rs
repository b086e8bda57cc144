//! `landfall stack show`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use landfall_model::Timestamp;
use landfall_model::cloudformation::{StackResource, StackState};
use landfall_stack::live::{Before, Overwritten, before, overwritten};
use serde::Serialize;

use super::Open;
use crate::cli::Global;
use crate::cli::stack::StackNameArgs;
use crate::commands::port_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::render::ago;

#[derive(Debug, Serialize)]
struct Shown {
    environment: String,
    stack: String,
    id: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether it is this environment's.
    ours: bool,
    termination_protection: bool,
    created: Option<Timestamp>,
    updated: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<String>,
    outputs: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
    overwritten: Vec<Overwritten>,
    resources: usize,
    /// Those that are not well, or not done.
    unwell: Vec<StackResource>,
}

pub(super) async fn run(args: &StackNameArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.environment, global, printer).await?;
    let Some(live) = open.describe().await? else { return Err(absent(&open)) };
    let resources = open.stacks.resources(&live.id).await.map_err(port_error)?;
    let template = open.stacks.template(&live.id).await.map_err(port_error)?;
    let shown = shown(&open, live, resources, template.as_deref());
    printer.emit(&shown, |shown| text(shown, Timestamp::now()))?;
    let name = &args.environment;
    match before(open.describe().await?.as_ref(), &open.id) {
        Before::Stuck(_) => printer.hint(format!("it is stuck: `landfall stack recover {name}` leads out of it")),
        Before::Watch(_) => printer.hint(format!("`landfall stack apply {name}` follows what is under way")),
        Before::Foreign(_) => printer.hint("it was not made by Landfall for this environment, and is not touched"),
        Before::Create | Before::Update => {}
    }
    Ok(ExitCode::Ok)
}

pub(super) fn absent(open: &Open) -> CliError {
    CliError::new(ExitCode::NotFound, format!("there is no stack {}", open.name))
        .hint(format!("`landfall stack apply {}` makes it", open.environment.name))
}

fn shown(open: &Open, live: StackState, resources: Vec<StackResource>, template: Option<&str>) -> Shown {
    let count = resources.len();
    let well = |one: &StackResource| one.status.ends_with("_COMPLETE") || one.status == "DELETE_SKIPPED";
    Shown {
        environment: open.id.clone(),
        stack: open.name.clone(),
        ours: !matches!(before(Some(&live), &open.id), Before::Foreign(_)),
        termination_protection: live.protected,
        created: live.created,
        updated: live.updated,
        drift: live.drift.clone().filter(|drift| drift != "NOT_CHECKED"),
        outputs: live.outputs.iter().map(|one| (one.key.clone(), one.value.clone())).collect(),
        overwritten: overwritten(&live, template),
        parameters: live.parameters,
        resources: count,
        unwell: resources.into_iter().filter(|one| !well(one)).collect(),
        id: live.id,
        status: live.status,
        reason: live.reason,
    }
}

/// Of CloudFormation's words only two say whether there is any.
fn drift_said(status: &str) -> String {
    match status {
        "IN_SYNC" => "none when it was looked for".to_owned(),
        "DRIFTED" => "found when it was looked for".to_owned(),
        other => format!("not known ({other})"),
    }
}

fn text(shown: &Shown, now: Timestamp) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<14}{value}");
    };
    field("stack", &shown.stack);
    field("status", &shown.status);
    if let Some(reason) = &shown.reason {
        field("because", &landfall_stack::live::told(reason));
    }
    if let Some(at) = shown.updated.or(shown.created) {
        field("changed", &ago(at, now));
    }
    field("protected", if shown.termination_protection { "yes: it cannot be deleted" } else { "no" });
    if let Some(drift) = &shown.drift {
        field("drift", &drift_said(drift));
    }
    field("resources", &shown.resources.to_string());
    for (head, all) in [("outputs", &shown.outputs), ("parameters", &shown.parameters)] {
        let width = all.keys().map(String::len).max().unwrap_or_default();
        if !all.is_empty() {
            let _ = writeln!(out, "\n{head}");
        }
        for (key, value) in all {
            let _ = writeln!(out, "  {key:width$}  {value}");
        }
    }
    for one in &shown.overwritten {
        let _ = writeln!(out, "  ! {} was set past Landfall, which set it to {}", one.parameter, one.set);
    }
    if !shown.unwell.is_empty() {
        let _ = writeln!(out, "\nnot well");
    }
    for one in &shown.unwell {
        let reason = one.reason.as_deref().map(landfall_stack::live::told).unwrap_or_default();
        let _ = writeln!(out, "  {}  {}  {reason}", one.resource, one.status);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_found_only_where_it_was() {
        assert!(drift_said("IN_SYNC").starts_with("none") && drift_said("DRIFTED").starts_with("found"));
        assert_eq!(drift_said("UNKNOWN"), "not known (UNKNOWN)");
    }
}

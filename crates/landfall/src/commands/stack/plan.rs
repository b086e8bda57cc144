//! `landfall stack plan`, and how a plan is shown.

use std::time::{Duration, Instant};

use landfall_model::cloudformation::StackState;
use landfall_ports::stacks::Stacks;
use landfall_stack::live::{Act, Before, ImageChange, Plan, Row, Wanted, protects};
use landfall_steps::stack::{Prepared, Purpose, Ready, discard, prepare};
use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::Open;
use crate::cli::Global;
use crate::cli::environment::WhatArgs;
use crate::commands::port_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::progress::Progress;

/// A change set takes seconds; of a large stack a minute or two.
const PATIENCE: Duration = Duration::from_secs(300);
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// What applying does, as JSON and as text.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    environment: String,
    stack: String,
    /// Whether the stack is there.
    exists: bool,
    pub(super) different: bool,
    exit_code: u8,
    images: Vec<ImageChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    termination_protection: Option<bool>,
    #[serde(flatten)]
    pub(super) plan: Plan,
}

impl Shown {
    /// `ready`: none where no resource changes.
    pub(super) fn of(open: &Open, wanted: &Wanted, live: Option<&StackState>, ready: Option<&Ready>) -> Self {
        let termination_protection = protects(live, wanted.protected);
        let different = ready.is_some() || termination_protection.is_some();
        Self {
            environment: open.id.clone(),
            stack: open.name.clone(),
            exists: ready.is_none_or(|ready| !ready.create),
            different,
            exit_code: if different { ExitCode::Different } else { ExitCode::Ok } as u8,
            images: wanted.images_changed(live),
            termination_protection,
            plan: ready.map(|ready| ready.plan.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn protects(&self) -> Option<bool> {
        self.termination_protection
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let head = if self.exists { "" } else { " (new)" };
        out.push_str(&format!("stack {}{head}\n", self.stack));
        for image in &self.images {
            let to = short(&image.to);
            match &image.from {
                Some(from) => out.push_str(&format!("  image    {}  {} → {to}\n", image.parameter, short(from))),
                None => out.push_str(&format!("  image    {}  {to}\n", image.parameter)),
            }
        }
        let named = self.plan.width();
        for row in &self.plan.rows {
            out.push_str(&line(row, named));
        }
        if let Some(on) = self.termination_protection {
            let (from, to) = if on { ("off", "on") } else { ("on", "off") };
            out.push_str(&format!("  termination protection {from} → {to}\n"));
        }
        out.push_str(&format!("{}\n", self.summary()));
        out
    }

    fn summary(&self) -> String {
        let count = |of: &[Act]| self.plan.count(|act| of.contains(&act));
        let counts = [
            (count(&[Act::Add, Act::Import]), "to add"),
            (count(&[Act::Change, Act::Revise]), "to change"),
            (count(&[Act::Release]), "to let go"),
            (count(&[Act::Replace, Act::MayReplace]), "to replace"),
            (count(&[Act::Delete]), "to delete"),
        ];
        let said: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        match (self.different, said.is_empty()) {
            (false, _) => "nothing to change".to_owned(),
            (true, true) => "no resource changes".to_owned(),
            (true, false) => said.join(", "),
        }
    }
}

fn line(row: &Row, width: usize) -> String {
    let text = row.line(width);
    match row.act {
        Act::Add | Act::Import => format!("  {}\n", text.green()),
        Act::Change | Act::Revise | Act::Release => format!("  {text}\n"),
        Act::MayReplace | Act::Replace | Act::Delete => format!("  {}\n", text.red().bold()),
    }
}

/// A digest's first twelve, with the name before it.
fn short(image: &str) -> String {
    match image.split_once("@sha256:") {
        Some((name, digest)) => {
            format!("{}@{}", name.rsplit('/').next().unwrap_or(name), digest.get(..12).unwrap_or(digest))
        }
        None => image.to_owned(),
    }
}

/// `landfall plan` and `diff` of such an environment are the same.
pub(crate) async fn run(args: &WhatArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of_what(args, global, printer).await?;
    let live = open.describe().await?;
    let before = landfall_stack::live::before(live.as_ref(), &open.id);
    if !matches!(before, Before::Create | Before::Update) {
        return Err(open.held(&before));
    }
    let wanted = open.wanted(args, live.as_ref(), global, printer).await?;
    let ready = looked(&*open.stacks, &wanted, |before| open.held(before), printer).await?;
    let shown = Shown::of(&open, &wanted, live.as_ref(), ready.as_ref());
    printer.emit(&shown, Shown::text)?;
    Ok(if shown.different { ExitCode::Different } else { ExitCode::Ok })
}

/// What a change would do; its change set goes again. `None`: nothing. `held`: why no change can be begun.
pub(crate) async fn looked(
    stacks: &dyn Stacks,
    wanted: &Wanted,
    held: impl Fn(&Before) -> CliError,
    printer: &Printer,
) -> CliResult<Option<Ready>> {
    let ready = made(stacks, wanted, Purpose::Look, held, printer).await?;
    if let Some(ready) = &ready {
        discard(stacks, &wanted.stack, &ready.set.name).await.map_err(port_error)?;
    }
    Ok(ready)
}

/// The change set; `None` where there is nothing to change.
pub(crate) async fn made(
    stacks: &dyn Stacks,
    wanted: &Wanted,
    purpose: Purpose,
    held: impl Fn(&Before) -> CliError,
    printer: &Printer,
) -> CliResult<Option<Ready>> {
    let name = &wanted.stack;
    let progress = Progress::new(*printer);
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST;
    loop {
        match prepare(stacks, wanted, purpose).await.map_err(port_error)? {
            Prepared::Ready(ready) => return Ok(Some(*ready)),
            Prepared::Nothing => return Ok(None),
            Prepared::Held(before) => return Err(held(&before)),
            Prepared::Refused(reason) => {
                let reason = landfall_stack::live::told(&reason);
                let message = format!("CloudFormation refuses the template of {name}: {reason}");
                return Err(CliError::new(ExitCode::Failed, message).hint("nothing was deployed"));
            }
            Prepared::Pending if Instant::now() > deadline => {
                let message = format!("CloudFormation makes no change set of {name} in time");
                return Err(CliError::new(ExitCode::TimedOut, message).hint("nothing was deployed: try again"));
            }
            Prepared::Pending => progress.running("a change set is being made"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

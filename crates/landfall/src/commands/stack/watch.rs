//! A change of a stack, followed to its end: a line for each resource when it is done, what is under way between.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use landfall_model::Timestamp;
use landfall_model::cloudformation::StackEvent;
use landfall_ports::stacks::Stacks;
use landfall_stack::live::{Causes, Ending, Seen};
use landfall_steps::few;
use landfall_steps::stack::{Begun, follow, look_behind};

use crate::commands::port_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);

/// How it ended.
pub(crate) struct Watched {
    pub(crate) ending: Ending,
    pub(crate) causes: Causes,
}

/// Until its end, Ctrl-C or `timeout` seconds. `again`: the command that follows it further.
pub(crate) async fn watch(
    stacks: &dyn Stacks,
    name: &str,
    begun: &Begun,
    timeout: u64,
    again: &str,
    printer: &Printer,
) -> CliResult<Watched> {
    // From the first line on: whoever interrupts is told that it goes on.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let _ = futures_util::poll!(interrupted.as_mut());
    let deadline = Instant::now() + Duration::from_secs(timeout);
    let mut lines = Lines::new(*printer, &begun.stack);
    let mut pause = FIRST;
    let mut seen = Seen::new();
    loop {
        let look = follow(stacks, begun).await.map_err(port_error)?;
        lines.show(&look.events);
        look_behind(stacks, begun, &look, &mut seen).await;
        if let Some(ending) = look.ending {
            lines.progress.finish();
            return Ok(Watched { ending, causes: look.causes(&begun.stack, &seen) });
        }
        if Instant::now() > deadline {
            lines.progress.finish();
            let message = format!("stack {name} is not done after {timeout} s; it goes on");
            return Err(CliError::new(ExitCode::TimedOut, message).hint(format!("`{again}` follows it further")));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST),
            _ = &mut interrupted => {
                lines.progress.finish();
                let message = format!("interrupted; CloudFormation goes on with stack {name}");
                return Err(CliError::new(ExitCode::Interrupted, message).hint(format!("`{again}` follows it further")));
            }
        }
    }
}

struct Lines {
    progress: Progress,
    stack: String,
    seen: HashSet<String>,
    /// When each resource that is under way began.
    running: BTreeMap<String, Timestamp>,
    back: bool,
}

impl Lines {
    fn new(printer: Printer, stack: &str) -> Self {
        Self {
            progress: Progress::new(printer),
            stack: stack.to_owned(),
            seen: HashSet::new(),
            running: BTreeMap::new(),
            back: false,
        }
    }

    fn show(&mut self, newest_first: &[StackEvent]) {
        for event in newest_first.iter().rev() {
            if !self.seen.insert(event.id.clone()) {
                continue;
            }
            if event.is_of(&self.stack) {
                self.of_stack(event);
            } else {
                self.of_resource(event);
            }
        }
        let names: Vec<&str> = self.running.keys().map(String::as_str).collect();
        self.progress.running(&few(&names));
    }

    fn of_stack(&mut self, event: &StackEvent) {
        if event.status.ends_with("ROLLBACK_IN_PROGRESS") && !self.back {
            self.back = true;
            self.running.clear();
            self.progress.line(Mark::Warned, "it failed: rolling back", None);
        }
    }

    fn of_resource(&mut self, event: &StackEvent) {
        let name = &event.resource;
        if event.status.ends_with("_IN_PROGRESS") {
            self.running.entry(name.clone()).or_insert(event.at);
            return;
        }
        let began = self.running.remove(name);
        let took = began.and_then(|began| Duration::try_from(event.at.duration_since(began)).ok());
        let kind = event.kind.strip_prefix("AWS::").unwrap_or(&event.kind);
        let verb = match event.status.split('_').next().unwrap_or_default() {
            "CREATE" => "made",
            "UPDATE" if self.back => "as it was",
            "UPDATE" => "changed",
            "DELETE" if event.status == "DELETE_SKIPPED" => "kept",
            "DELETE" => "deleted",
            _ => "done",
        };
        if event.status.ends_with("_FAILED") {
            let reason = landfall_stack::live::told(event.reason.as_deref().unwrap_or_default());
            let cancelled = reason.to_ascii_lowercase().contains("cancelled");
            let mark = if cancelled { Mark::Skipped } else { Mark::Failed };
            let text = if cancelled {
                format!("cancelled {name}  {kind}")
            } else {
                format!("failed    {name}  {kind}: {reason}")
            };
            return self.progress.line(mark, &text, took);
        }
        let mark = if self.back { Mark::Undone } else { Mark::Done };
        self.progress.line(mark, &format!("{verb:<9} {name}  {kind}"), took);
    }
}

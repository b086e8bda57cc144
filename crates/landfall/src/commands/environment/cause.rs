//! Why an execution failed, as the last thing that is printed: the step, the platform's reason, exit codes, the last lines of the
//! failed task, and what most likely helps.

use landfall_deploy::fix::{Stopped, likely_fix};
use landfall_workflow::ExecutionView;

/// Log lines that are shown.
const LINES: usize = 20;

/// Of the failure that stopped it, with the likely fix last.
pub(crate) struct Cause {
    pub(crate) text: String,
    pub(crate) fix: Option<String>,
}

pub(crate) fn of(view: &ExecutionView) -> Option<Cause> {
    let cause = view.cause.as_ref()?;
    let detail = cause.error.detail.as_deref().unwrap_or_default();
    let lines: Vec<&str> = detail.lines().collect();
    let is_log = |line: &&str| line.split_once(" | ").is_some_and(|(who, _)| !who.contains(' '));
    let (logs, said): (Vec<&str>, Vec<&str>) = lines.into_iter().partition(is_log);
    let exit = said.iter().find_map(|line| line.split_once(": exit code ")?.1.trim().parse::<i64>().ok());
    let reasons = said.iter().filter(|line| !line.contains(": exit code "));
    let container = reasons.map(|line| line.split_once(": ").map_or(*line, |(_, reason)| reason)).next_back();
    let tail: Vec<String> =
        logs.iter().map(|line| line.split_once(" | ").map_or(*line, |(_, text)| text).to_owned()).collect();
    let stopped = Stopped {
        stop_code: None,
        reason: Some(&cause.error.message),
        exit_code: exit,
        container_reason: container,
        tail: &tail,
    };
    let mut text = format!("{} {}", cause.error.code, cause.error.message);
    for line in said.iter().chain(logs.iter().skip(logs.len().saturating_sub(LINES))) {
        text.push('\n');
        text.push_str(line);
    }
    Some(Cause { text, fix: likely_fix(&stopped).map(str::to_owned) })
}

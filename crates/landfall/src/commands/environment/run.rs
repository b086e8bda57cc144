//! `landfall run`: a one-off task, its lines as they are written, and its container's exit code as our own. What is Landfall's own
//! failure ends with 125, as `docker run`'s does, so that a script can tell the two apart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use landfall_server::control::{ControlRequest, ControlResponse, OneOff};
use landfall_server::deploy::TaskReport;
use serde_json::json;

use crate::assemble::Purpose;
use crate::cli::Global;
use crate::cli::environment::RunArgs;
use crate::commands::link::{Link, unexpected};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Log lines may come later than the end of what wrote them.
const LAST_LINES: Duration = Duration::from_secs(3);
/// As many as are asked for at once; a task that writes more in between loses the oldest here.
const LINES: usize = 10_000;

/// The code to exit with: the container's own, or [`ExitCode::RunFailed`].
pub(crate) async fn run(args: &RunArgs, global: &Global, printer: &Printer) -> CliResult<u8> {
    let failed = |error: CliError| CliError { code: ExitCode::RunFailed, ..error };
    let link = Link::open(global, printer, Purpose::WorkOnEnvironment).await.map_err(failed)?;
    let result = on(&link, args, printer).await;
    link.close().await;
    result.map_err(failed)
}

async fn on(link: &Link, args: &RunArgs, printer: &Printer) -> CliResult<u8> {
    let task = OneOff {
        service: args.service.clone(),
        container: args.container.clone(),
        command: args.command.clone(),
        environment: args.variables(),
    };
    let request = ControlRequest::RunTask { environment: args.environment.clone(), task };
    let begun = match link.call(request).await? {
        ControlResponse::RunTask(report) => *report,
        other => return Err(unexpected(&other)),
    };
    printer.note(format_args!("task {}", begun.task));
    let mut shown = Shown::default();
    let ended = tokio::select! {
        ended = watched(link, args, &begun, &mut shown, printer) => ended?,
        _ = tokio::signal::ctrl_c() => {
            stop(link, args, &begun, "Interrupted with Ctrl-C").await?;
            return Err(CliError::new(ExitCode::RunFailed, format!("interrupted; task {} is stopped", begun.task)));
        }
    };
    judged(&ended, printer)
}

/// Until it has stopped and its lines are there.
async fn watched(
    link: &Link,
    args: &RunArgs,
    begun: &TaskReport,
    shown: &mut Shown,
    printer: &Printer,
) -> CliResult<TaskReport> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let mut stopped_at: Option<Instant> = None;
    loop {
        let request = ControlRequest::TaskOutput {
            environment: args.environment.clone(),
            task: begun.task.clone(),
            container: begun.container.clone(),
            lines: LINES,
        };
        let report = match link.call(request).await? {
            ControlResponse::TaskOutput(report) => *report,
            other => return Err(unexpected(&other)),
        };
        let news = shown.news(&report.lines);
        let quiet = news.is_empty();
        for (container, text) in news {
            match (printer.json(), container == begun.container || container.is_empty()) {
                (true, _) => printer.data(json!({ "container": container, "text": text }))?,
                (false, true) => printer.data(text)?,
                (false, false) => printer.data(format_args!("{container} | {text}"))?,
            }
        }
        let Some(description) = &report.description else {
            return Err(CliError::new(ExitCode::RunFailed, format!("task {} is not known any more", begun.task))
                .hint("was it removed by hand?"));
        };
        if description.last_status == "STOPPED" {
            let since = *stopped_at.get_or_insert_with(Instant::now);
            let complete = report.description.as_ref().is_some_and(|task| exit_code(task, &begun.container).is_none());
            if (quiet && !shown.is_empty()) || complete || since.elapsed() >= LAST_LINES {
                return Ok(report);
            }
        } else if Instant::now() >= deadline {
            stop(link, args, begun, "Not finished within its time").await?;
            let message = format!("task {} did not end within {} s and is stopped", begun.task, args.timeout);
            return Err(CliError::new(ExitCode::RunFailed, message).hint("`--timeout` gives it longer"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn stop(link: &Link, args: &RunArgs, begun: &TaskReport, reason: &str) -> CliResult<()> {
    let request = ControlRequest::StopTask {
        environment: args.environment.clone(),
        task: begun.task.clone(),
        reason: reason.to_owned(),
    };
    link.call(request).await.map(|_| ())
}

fn exit_code(task: &landfall_ports::orchestrator::TaskDescription, container: &str) -> Option<i64> {
    task.containers.iter().find(|one| one.name == container)?.exit_code
}

fn judged(report: &TaskReport, printer: &Printer) -> CliResult<u8> {
    let task = report.description.as_ref();
    let reason = task.and_then(|task| task.stopped_reason.clone());
    if let Some(code) = task.and_then(|task| exit_code(task, &report.container)) {
        printer.note(format_args!("container {} exited with {code}", report.container));
        // Codes of a process are of one byte; ECS and Docker tell them so.
        return Ok(u8::try_from(code).unwrap_or(ExitCode::RunFailed as u8));
    }
    let message = format!("container {} never ran", report.container);
    let mut error = CliError::new(ExitCode::RunFailed, message);
    error.causes.extend(task.and_then(|task| task.stop_code.clone()).into_iter().chain(reason.clone()));
    let mut said = None;
    for container in task.into_iter().flat_map(|task| &task.containers) {
        if let Some(why) = &container.reason {
            error.causes.push(format!("{}: {why}", container.name));
            said = said.or(Some(why.as_str()));
        }
    }
    let fix = landfall_deploy::fix::likely_fix(&landfall_deploy::fix::Stopped {
        stop_code: task.and_then(|task| task.stop_code.as_deref()),
        reason: reason.as_deref(),
        exit_code: None,
        container_reason: said,
        tail: &[],
    });
    error.hints.extend(fix.map(str::to_owned));
    Err(error)
}

/// Which lines were shown, by container: lines of several containers come one container after the other. What comes is the end
/// of a container's lines, so it either begins with what was shown, or has moved on.
#[derive(Default)]
struct Shown(BTreeMap<String, Vec<String>>);

impl Shown {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those after what was shown last, with their container.
    fn news(&mut self, lines: &[String]) -> Vec<(String, String)> {
        let mut now: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines {
            let (container, text) = line.split_once(" | ").unwrap_or(("", line));
            now.entry(container.to_owned()).or_default().push(text.to_owned());
        }
        let mut news = Vec::new();
        for (container, lines) in now {
            let before = self.0.get(&container).map_or(&[][..], Vec::as_slice);
            let overlap = (0..=before.len().min(lines.len()))
                .rev()
                .find(|length| before[before.len() - length..] == lines[..*length])
                .unwrap_or(0);
            news.extend(lines[overlap..].iter().map(|line| (container.clone(), line.clone())));
            self.0.insert(container, lines);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a1` is line `1` of container `a`.
    fn lines(text: &str) -> Vec<String> {
        text.split_whitespace().map(|line| format!("{} | {}", &line[..1], &line[1..])).collect()
    }

    #[test]
    fn every_line_is_shown_once() {
        let mut shown = Shown::default();
        let mut news = |text: &str| -> String {
            let news = shown.news(&lines(text));
            news.into_iter().map(|(container, line)| container + &line).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(news(""), "");
        assert_eq!(news("a1 a2"), "a1 a2");
        assert_eq!(news("a1 a2"), "");
        assert_eq!(news("a1 a2 a2 b1"), "a2 b1");
        assert_eq!(news("a1 a2 a2 a3 b1 b2"), "a3 b2");
        // The oldest fell out of the window.
        assert_eq!(news("a2 a3 a4 b1 b2"), "a4");
        assert_eq!(news("a8 a9"), "a8 a9");
    }
}

//! Lines of a preview's containers, each with its container's name, in colours that tell them apart.

use std::collections::BTreeMap;

use landfall_model::ids::EnvironmentId;
use landfall_ports::orchestrator::LogLine;
use landfall_server::control::{ControlRequest, ControlResponse};
use owo_colors::{AnsiColors, OwoColorize};

use crate::commands::link::{Link, control_error, unexpected};
use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::printer::Printer;

const COLORS: [AnsiColors; 6] = [
    AnsiColors::Cyan,
    AnsiColors::Yellow,
    AnsiColors::Green,
    AnsiColors::Magenta,
    AnsiColors::Blue,
    AnsiColors::BrightRed,
];

/// A colour for each name, in the order they turn up.
#[derive(Default)]
pub(crate) struct Palette(BTreeMap<String, AnsiColors>);

impl Palette {
    pub(crate) fn paint(&mut self, name: &str) -> String {
        let next = COLORS[self.0.len() % COLORS.len()];
        let color = *self.0.entry(name.to_owned()).or_insert(next);
        name.color(color).to_string()
    }
}

/// The ends of what the preview's containers wrote; with `follow` what they write from now on too, until Ctrl-C or until the
/// preview is gone.
pub(crate) async fn run(
    link: &Link,
    environment: &EnvironmentId,
    tail: usize,
    follow: bool,
    printer: &Printer,
) -> CliResult<ExitCode> {
    if !follow {
        let mut palette = Palette::default();
        let request = ControlRequest::Logs { environment: environment.clone(), lines: tail };
        return match link.call(request).await? {
            ControlResponse::Logs(lines) => {
                for line in &lines {
                    // As the port words it: `CONTAINER | TEXT`.
                    let (container, text) = line.split_once(" | ").unwrap_or(("", line));
                    print(container, text, &mut palette, printer)?;
                }
                Ok(ExitCode::Ok)
            }
            other => Err(unexpected(&other)),
        };
    }
    let mut lines = link.follow_logs(environment, tail).await;
    let next = async || lines.recv().await.map(|line| line.map_err(|error| control_error(&error)));
    if self::follow(next, printer).await? {
        printer.note(format_args!("{environment} is gone"));
    }
    Ok(ExitCode::Ok)
}

/// Until Ctrl-C, or until there are no more: whether that was the end. `next` may be asked and not waited for.
pub(crate) async fn follow(
    mut next: impl AsyncFnMut() -> Option<CliResult<LogLine>>,
    printer: &Printer,
) -> CliResult<bool> {
    let mut palette = Palette::default();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            line = next() => match line {
                Some(line) => {
                    let line = line?;
                    print(&line.container, &line.line, &mut palette, printer)?;
                }
                None => return Ok(true),
            },
            _ = &mut interrupted => return Ok(false),
        }
    }
}

fn print(container: &str, text: &str, palette: &mut Palette, printer: &Printer) -> CliResult<()> {
    if printer.json() {
        return printer.data(serde_json::json!({ "container": container, "text": text }));
    }
    printer.data(format_args!("{} | {text}", palette.paint(container)))
}

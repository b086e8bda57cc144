//! Lines of a preview's containers, each with its container's name, in colours that tell them apart.

use std::collections::BTreeMap;
use std::time::Duration;

use landfall_model::ids::EnvironmentId;
use landfall_server::control::{ControlRequest, ControlResponse};
use owo_colors::{AnsiColors, OwoColorize};

use crate::commands::link::{Link, unexpected};
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

pub(crate) async fn run(
    link: &Link,
    environment: &EnvironmentId,
    tail: usize,
    follow: bool,
    printer: &Printer,
) -> CliResult<ExitCode> {
    let mut palette = Palette::default();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let lines = if seen.is_empty() { tail } else { tail.max(500) };
        let request = ControlRequest::Logs { environment: environment.clone(), lines };
        let all = match link.call(request).await? {
            ControlResponse::Logs(lines) => lines,
            other => return Err(unexpected(&other)),
        };
        for line in new_lines(&seen, &all) {
            print(line, &mut palette, printer)?;
        }
        seen = all;
        if !follow {
            return Ok(ExitCode::Ok);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::Ok),
        }
    }
}

fn print(line: &str, palette: &mut Palette, printer: &Printer) -> CliResult<()> {
    if printer.json() {
        let (container, text) = line.split_once(' ').unwrap_or(("", line));
        return printer.data(serde_json::json!({ "container": container.trim_end_matches(':'), "text": text }));
    }
    match line.split_once(' ') {
        Some((name, text)) => printer.data(format_args!("{} {text}", palette.paint(name))),
        None => printer.data(line),
    }
}

/// Lines of `all` that come after what `seen` ended with, container by container (each one's own order is kept, theirs among
/// each other is not).
fn new_lines<'a>(seen: &[String], all: &'a [String]) -> Vec<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in seen {
        *counts.entry(line.as_str()).or_default() += 1;
    }
    all.iter()
        .filter(|line| match counts.get_mut(line.as_str()) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        })
        .map(String::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_printed() {
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let seen = lines(&["app a", "app b", "app b"]);
        let all = lines(&["app b", "app b", "app c", "app b", "proxy a"]);
        assert_eq!(new_lines(&seen, &all), ["app c", "app b", "proxy a"]);
    }
}

//! Where output goes: stdout is data, stderr is everything else. Nothing else in the binary prints.
//!
//! Colour follows `--color`, NO_COLOR and whether the stream is a terminal; no message depends on it.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Printer {
    pub(crate) format: OutputFormat,
    pub(crate) quiet: bool,
    color: Color,
}

impl Printer {
    pub(crate) fn new(format: OutputFormat, color: Color, quiet: bool) -> Self {
        Self { format, quiet, color }
    }

    pub(crate) fn color(&self) -> Color {
        self.color
    }

    pub(crate) fn json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Whether a person watches stderr: then progress may move.
    pub(crate) fn interactive(&self) -> bool {
        !self.quiet && !self.json() && std::io::stderr().is_terminal()
    }

    fn choice(&self, stream: &impl anstream::stream::RawStream) -> ColorChoice {
        match self.color {
            Color::Auto => AutoStream::choice(stream),
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }

    pub(crate) fn stderr_has_color(&self) -> bool {
        self.choice(&std::io::stderr()) != ColorChoice::Never
    }

    pub(crate) fn stdout_has_color(&self) -> bool {
        self.choice(&std::io::stdout()) != ColorChoice::Never
    }

    /// Data, with a newline. A closed pipe (`| head`) ends the command quietly, as it does for every filter.
    pub(crate) fn data(&self, text: impl Display) -> CliResult<()> {
        let stdout = std::io::stdout();
        let choice = self.choice(&stdout);
        let mut stream = AutoStream::new(stdout.lock(), choice);
        finish(writeln!(stream, "{text}").and_then(|()| stream.flush()))
    }

    /// Data as it is, without a newline.
    pub(crate) fn raw(&self, text: &str) -> CliResult<()> {
        let mut stdout = std::io::stdout().lock();
        finish(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
    }

    /// What others print, shown as it comes: among the data, except where that is one JSON document. That nobody reads it any more
    /// does not end the work that it tells of.
    pub(crate) fn log(&self, text: &str) {
        let _ = match self.json() {
            true => std::io::stderr().lock().write_all(text.as_bytes()),
            false => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
            }
        };
    }

    pub(crate) fn json_data(&self, value: &impl Serialize) -> CliResult<()> {
        let text = serde_json::to_string_pretty(value).map_err(|e| CliError::internal("output").cause(&e))?;
        self.data(text)
    }

    /// The JSON form when JSON is asked for, the text form otherwise.
    pub(crate) fn emit<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> CliResult<()> {
        if self.json() {
            return self.json_data(value);
        }
        let text = text(value);
        if text.is_empty() { Ok(()) } else { self.data(text.trim_end_matches('\n')) }
    }

    fn to_stderr(self, line: impl Display) {
        let stderr = std::io::stderr();
        let choice = self.choice(&stderr);
        let mut stream = AutoStream::new(stderr.lock(), choice);
        // Nobody is left to tell when stderr itself is gone.
        let _ = writeln!(stream, "{line}");
    }

    /// A remark for a person; silent under `--quiet`.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            self.to_stderr(text);
        }
    }

    /// The one line that says how it failed.
    pub(crate) fn failure(&self, text: impl Display) {
        self.to_stderr(format_args!("{} {text}", "error:".red().bold()));
    }

    /// What is behind the failure that was told last.
    pub(crate) fn because(&self, text: impl Display) {
        self.to_stderr(format_args!("  {} {text}", "because:".dimmed()));
    }

    pub(crate) fn warn(&self, text: impl Display) {
        self.to_stderr(format_args!("{} {text}", "warning:".yellow().bold()));
    }

    pub(crate) fn hint(&self, text: impl Display) {
        if !self.quiet {
            self.to_stderr(format_args!("  {} {text}", "hint:".cyan()));
        }
    }

    pub(crate) fn error(&self, error: &CliError) {
        if !error.printed {
            self.to_stderr(format_args!("{} {}", "error:".red().bold(), error.message));
            for cause in &error.causes {
                self.to_stderr(format_args!("  {} {}", "because:".dimmed(), indent(cause)));
            }
            for hint in &error.hints {
                self.to_stderr(format_args!("  {} {}", "hint:".cyan(), indent(hint)));
            }
            if self.json() {
                let _ = self.json_data(&error.to_json());
            }
        }
    }
}

/// Continuation lines under the label.
fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

fn finish(result: std::io::Result<()>) -> CliResult<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(CliError::silent(ExitCode::Ok)),
        Err(error) => Err(CliError::io("cannot write to stdout", &error)),
    }
}

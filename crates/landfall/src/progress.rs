//! Work in progress on stderr: on a terminal a spinner for what runs and a line for what is done, elsewhere one plain line
//! for each change, so that a CI log reads the same from top to bottom; there a line now and then tells what still runs,
//! because CI hosts end jobs that say nothing for minutes.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::OwoColorize;

use crate::printer::Printer;

/// How long plain output says nothing while something runs.
const SILENCE: Duration = Duration::from_secs(30);

/// How a line of progress ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Done,
    Failed,
    Warned,
    Undone,
    Skipped,
}

impl Mark {
    /// Tells the marks apart without colour.
    fn symbol(self) -> &'static str {
        match self {
            Mark::Done => "✓",
            Mark::Failed => "✗",
            Mark::Warned => "!",
            Mark::Undone => "↩",
            Mark::Skipped => "-",
        }
    }

    fn painted(self) -> String {
        let symbol = self.symbol();
        match self {
            Mark::Done => symbol.green().to_string(),
            Mark::Failed => symbol.red().to_string(),
            Mark::Warned | Mark::Undone => symbol.yellow().to_string(),
            Mark::Skipped => symbol.dimmed().to_string(),
        }
    }
}

pub(crate) struct Progress {
    printer: Printer,
    bar: Option<ProgressBar>,
    finished: Cell<bool>,
    /// When plain output last said something.
    said: Cell<Instant>,
}

impl Progress {
    pub(crate) fn new(printer: Printer) -> Self {
        let bar = printer.interactive().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style.tick_strings(&["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏", " "]));
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { printer, bar, finished: Cell::new(false), said: Cell::new(Instant::now()) }
    }

    /// What runs now. On a terminal it replaces the last one; elsewhere it is worth a line after a long silence.
    pub(crate) fn running(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None if !text.is_empty() && self.said.get().elapsed() >= SILENCE => self.note(&format!("… {text}")),
            None => {}
        }
    }

    /// What somebody else's program says: on a terminal the newest line of it, elsewhere all.
    pub(crate) fn told(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.note(text),
        }
    }

    /// A line that stays: `✓ Deploy service my-project-test123-service   1.2 s`.
    pub(crate) fn line(&self, mark: Mark, text: &str, took: Option<Duration>) {
        let mut line = format!("{} {text}", mark.painted());
        if let Some(took) = took {
            let pad = 64_usize.saturating_sub(text.chars().count());
            let _ = write!(line, "{:pad$} {:>8}", "", duration(took).dimmed());
        }
        self.note(&line);
    }

    pub(crate) fn note(&self, text: &str) {
        self.said.set(Instant::now());
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.note(text)),
            None => self.printer.note(text),
        }
    }

    /// Whether nothing moves (any more).
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    pub(crate) fn finish(&self) {
        self.finished.set(true);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// `85 ms`, `1.2 s`, `3 min 05 s`, `2 h 10 min`.
pub(crate) fn duration(took: Duration) -> String {
    let ms = took.as_millis();
    let seconds = took.as_secs();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let of = |ms| duration(Duration::from_millis(ms));
        assert_eq!(of(0), "0 ms");
        assert_eq!(of(999), "999 ms");
        assert_eq!(of(1_250), "1.2 s");
        assert_eq!(of(59_999), "59.9 s");
        assert_eq!(of(185_000), "3 min 05 s");
        assert_eq!(of(7_800_000), "2 h 10 min");
    }
}

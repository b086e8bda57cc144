//! What happened and how long it took, aligned.

use std::time::{Duration, Instant};

use owo_colors::OwoColorize;
use serde::Serialize;

use crate::printer::Printer;
use crate::progress::{Mark, Progress, duration};

#[derive(Debug, Serialize)]
pub(super) struct Stage {
    pub(super) what: String,
    pub(super) ms: u64,
    pub(super) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seen: Option<String>,
}

/// Prints each stage as it ends and keeps them all.
pub(super) struct Stages {
    progress: Progress,
    begun: Instant,
    since: Instant,
    pub(super) done: Vec<Stage>,
}

impl Stages {
    pub(super) fn new(printer: Printer) -> Self {
        Self { progress: Progress::new(printer), begun: Instant::now(), since: Instant::now(), done: Vec::new() }
    }

    pub(super) fn begin(&mut self, what: &str) {
        self.since = Instant::now();
        self.progress.running(what);
    }

    /// Ends the stage begun last; `seen` is shown below it.
    pub(super) fn end(&mut self, what: &str, ok: bool, seen: Option<String>) {
        let took = self.since.elapsed();
        self.progress.line(if ok { Mark::Done } else { Mark::Failed }, what, Some(took));
        if let Some(seen) = &seen {
            self.progress.note(&format!("    {}", seen.dimmed()));
        }
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.done.push(Stage { what: what.to_owned(), ms, ok, seen });
    }

    pub(super) fn finish(&self) {
        self.progress.finish();
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A bar for each stage, so that the eye finds the long ones.
    pub(super) fn table(&self) -> String {
        table(&self.done, self.elapsed())
    }
}

fn table(stages: &[Stage], total: Duration) -> String {
    let width = stages.iter().map(|stage| stage.what.chars().count()).max().unwrap_or(0).max("total".len());
    let longest = stages.iter().map(|stage| stage.ms).max().unwrap_or(0).max(1);
    let mut out = String::new();
    for stage in stages {
        let bar = "▪".repeat(usize::try_from(stage.ms * 20 / longest).unwrap_or(0).max(1));
        let pad = width - stage.what.chars().count();
        let time = duration(Duration::from_millis(stage.ms));
        out.push_str(&format!("  {}{:pad$}  {time:>9}  {bar}\n", stage.what, ""));
    }
    out.push_str(&format!("  total{:pad$}  {:>9}\n", "", duration(total), pad = width - "total".len()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let stage = |what: &str, ms| Stage { what: what.into(), ms, ok: true, seen: None };
        let text = table(&[stage("create → 202", 4), stage("the URL answers", 2_040)], Duration::from_millis(2_100));
        assert_eq!(
            text,
            "  create → 202          4 ms  ▪\n  the URL answers      2.0 s  ▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪\n  total                2.1 s\n"
        );
    }
}

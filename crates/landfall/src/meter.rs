//! How far a push is, on stderr: on a terminal a bar with bytes and rate, elsewhere a line now and then.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use landfall_registry::watch::{Event, Watcher};

use crate::printer::Printer;

/// How long plain output says nothing while bytes move.
const SILENCE: Duration = Duration::from_secs(30);
/// The rate is that of the last seconds.
const WINDOW: Duration = Duration::from_secs(5);
/// What is smaller has gone before a bar is seen.
const SMALL: u64 = 100_000;

pub(crate) struct Meter {
    printer: Printer,
    state: Mutex<State>,
}

struct State {
    bar: Option<ProgressBar>,
    total: u64,
    sent: u64,
    said: Instant,
    recent: VecDeque<(Instant, u64)>,
    /// The first tag may be given.
    tagging: bool,
}

impl Meter {
    pub(crate) fn new(printer: Printer) -> Self {
        Self { printer, state: Mutex::new(State::new(Instant::now())) }
    }

    /// Whether a tag may have been given.
    pub(crate) fn tagging(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tagging
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = self.state.lock().unwrap_or_else(PoisonError::into_inner).bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self { bar: None, total: 0, sent: 0, said: now, recent: VecDeque::new(), tagging: false }
    }

    fn moved(&mut self, now: Instant) -> u64 {
        self.recent.push_back((now, self.sent));
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) && self.recent.len() > 2 {
            self.recent.pop_front();
        }
        let Some((since, before)) = self.recent.front() else { return 0 };
        let ms = now.duration_since(*since).as_millis().max(1);
        u64::try_from(u128::from(self.sent.saturating_sub(*before)) * 1000 / ms).unwrap_or(u64::MAX)
    }

    fn note(&mut self, printer: Printer, text: &str) {
        self.said = Instant::now();
        match &self.bar {
            Some(bar) => bar.suspend(|| printer.note(text)),
            None => printer.note(text),
        }
    }
}

impl Watcher for Meter {
    fn event(&self, event: Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Planned { bytes, .. } => {
                // One client sends several images, one after the other.
                if let Some(bar) = state.bar.take() {
                    bar.finish_and_clear();
                }
                *state = State { total: bytes, tagging: state.tagging, ..State::new(Instant::now()) };
                if bytes >= SMALL && self.printer.interactive() {
                    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
                    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {msg}") {
                        bar.set_style(style);
                    }
                    state.bar = Some(bar);
                }
            }
            Event::Present(blob) | Event::Mounted(blob) => {
                state.total = state.total.saturating_sub(blob.size);
                if let Some(bar) = &state.bar {
                    bar.set_length(state.total);
                }
            }
            Event::Sent(bytes) => {
                state.sent += bytes;
                let now = Instant::now();
                let rate = state.moved(now);
                let text = || format!("{} of {}, {}/s", size(state.sent), size(state.total), size(rate));
                if let Some(bar) = &state.bar {
                    bar.set_position(state.sent);
                    bar.set_message(text());
                } else if now.duration_since(state.said) >= SILENCE {
                    let text = format!("… {}", text());
                    state.note(self.printer, &text);
                }
            }
            Event::Lost(bytes) => state.sent = state.sent.saturating_sub(bytes),
            Event::Resumed(blob, bytes) => {
                let text = format!("… layer {} goes on after {}", blob.digest.short(), size(bytes));
                state.note(self.printer, &text);
            }
            Event::Retry { what, why, wait } => {
                let text = format!("! {what}: {why}; again in {}", crate::progress::duration(wait));
                state.note(self.printer, &text);
            }
            // Without a tag the image gets its digest.
            Event::Tagging(name) => state.tagging |= !name.contains(':'),
            Event::Uploaded(_) | Event::Tagged(_) => {}
        }
    }
}

/// `812 B`, `12.3 KB`, `125.3 MB`: thousands, as registries and clouds count.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let of = [0, 999, 1_000, 12_345, 999_949, 999_950, 125_300_000, 3_000_000_000].map(size);
        assert_eq!(of, ["0 B", "999 B", "1.0 KB", "12.3 KB", "999.9 KB", "1.0 MB", "125.3 MB", "3.0 GB"]);
    }

    /// As a push of two images through one client tells them.
    #[test]
    fn what_is_sent_is_counted_for_each_image() {
        use crate::printer::{Color, OutputFormat};

        let meter = Meter::new(Printer::new(OutputFormat::default(), Color::default(), true));
        let seen = |meter: &Meter| {
            let state = meter.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.total, state.sent, state.recent.len(), state.tagging)
        };
        meter.event(Event::Planned { blobs: 1, bytes: 500 });
        meter.event(Event::Sent(500));
        meter.event(Event::Tagging("sha256:0f"));
        assert_eq!(seen(&meter), (500, 500, 1, false), "a digest is no tag");
        meter.event(Event::Tagging("v1"));
        meter.event(Event::Planned { blobs: 1, bytes: 70 });
        assert_eq!(seen(&meter), (70, 0, 0, true));
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut state = State::new(start);
        assert_eq!(state.moved(start), 0);
        state.sent = 2_000;
        assert_eq!(state.moved(start + Duration::from_secs(2)), 1_000);
        for second in 3..20 {
            state.sent += 500;
            state.moved(start + Duration::from_secs(second));
        }
        assert_eq!(state.moved(start + Duration::from_secs(19)), 500);
    }
}

//! When a container's health check is due and what its results mean. Pure; times are milliseconds since the container
//! started.
//!
//! Results count at the interval's ticks only. Until the first pass the check also runs quickly in between, where only a
//! pass counts, so that a container that is ready after 300 ms need not wait for the first tick of a 30 s interval.

use std::time::Duration;

use landfall_model::task::HealthCheck;

use super::decide::Health;

const FIRST_PROBE_MS: u64 = 100;
const SLOWEST_PROBE_MS: u64 = 2_000;

#[derive(Debug, Clone)]
pub(crate) struct Tracker {
    interval: u64,
    retries: u32,
    start_period: u64,
    next_tick: u64,
    next_probe: u64,
    probe_gap: u64,
    failures: u32,
    pub health: Health,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub at: u64,
    /// Whether a failure counts.
    pub tick: bool,
}

impl Tracker {
    /// `known`: what was known of a container that is taken over.
    pub(crate) fn new(check: &HealthCheck, known: Health, now: u64) -> Self {
        let interval = u64::from(check.interval.max(1)) * 1000;
        Self {
            interval,
            retries: check.retries.max(1),
            start_period: u64::from(check.start_period) * 1000,
            next_tick: now + interval,
            next_probe: now + FIRST_PROBE_MS,
            probe_gap: FIRST_PROBE_MS,
            failures: 0,
            health: known,
        }
    }

    pub(crate) fn next(&self) -> Due {
        if self.health == Health::Unknown && self.next_probe < self.next_tick {
            Due { at: self.next_probe, tick: false }
        } else {
            Due { at: self.next_tick, tick: true }
        }
    }

    /// The result of the check that was due, finished at `now`.
    pub(crate) fn record(&mut self, due: Due, passed: bool, now: u64) {
        if due.tick {
            self.next_tick = now + self.interval;
        }
        self.probe_gap = (self.probe_gap * 2).min(SLOWEST_PROBE_MS);
        self.next_probe = now + self.probe_gap;
        if passed {
            self.failures = 0;
            self.health = Health::Healthy;
        } else if due.tick && now >= self.start_period {
            self.failures += 1;
            if self.failures >= self.retries {
                self.health = Health::Unhealthy;
            }
        }
    }
}

/// What is run inside the container; `None` for anything but CMD and CMD-SHELL.
pub(crate) fn argv(check: &HealthCheck) -> Option<Vec<String>> {
    match check.command.split_first() {
        Some((kind, rest)) if kind == "CMD" && !rest.is_empty() => Some(rest.to_vec()),
        Some((kind, rest)) if kind == "CMD-SHELL" && !rest.is_empty() => {
            Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")])
        }
        _ => None,
    }
}

pub(crate) fn timeout(check: &HealthCheck) -> Duration {
    Duration::from_secs(u64::from(check.timeout.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start_period: u32) -> HealthCheck {
        let command = vec!["CMD-SHELL".to_owned(), "true".to_owned()];
        HealthCheck { command, interval: 5, timeout: 2, retries: 3, start_period }
    }

    /// Runs checks until `end`; each takes 10 ms; `passes` says whether one at that time passes.
    fn simulate(start_period: u32, end: u64, passes: impl Fn(u64) -> bool) -> (Tracker, Option<(u64, Health)>) {
        let mut tracker = Tracker::new(&check(start_period), Health::Unknown, 0);
        let mut first = None;
        while tracker.next().at < end {
            let due = tracker.next();
            tracker.record(due, passes(due.at), due.at + 10);
            if first.is_none() && tracker.health != Health::Unknown {
                first = Some((due.at, tracker.health));
            }
        }
        (tracker, first)
    }

    #[test]
    fn ready_early_is_seen_early() {
        let (_, first) = simulate(0, 10_000, |at| at > 250);
        let (at, health) = first.unwrap();
        assert!(at < 1_000 && health == Health::Healthy, "{at}");
    }

    #[test]
    fn three_failed_ticks_make_unhealthy_and_quick_probes_do_not_count() {
        let (_, first) = simulate(0, 60_000, |_| false);
        let (at, health) = first.unwrap();
        assert_eq!(health, Health::Unhealthy);
        assert!((15_000..15_100).contains(&at), "{at}");
    }

    #[test]
    fn failures_in_the_start_period_do_not_count() {
        let (_, first) = simulate(20, 60_000, |_| false);
        let (at, _) = first.unwrap();
        assert!((30_000..30_200).contains(&at), "{at}");
    }

    #[test]
    fn one_pass_forgives_and_healthy_turns_unhealthy() {
        let (tracker, _) = simulate(0, 32_000, |at| at < 1_000 || (11_000..16_000).contains(&at));
        assert_eq!(tracker.health, Health::Unhealthy);
        let (tracker, _) = simulate(0, 29_000, |at| at < 1_000 || (11_000..16_000).contains(&at));
        assert_eq!(tracker.health, Health::Healthy);
    }

    #[test]
    fn commands() {
        assert_eq!(argv(&check(0)).unwrap(), ["/bin/sh", "-c", "true"]);
        let mut other = check(0);
        other.command = vec!["NONE".to_owned()];
        assert_eq!(argv(&other), None);
        other.command = vec!["CMD".to_owned(), "a".to_owned(), "b".to_owned()];
        assert_eq!(argv(&other).unwrap(), ["a", "b"]);
    }
}

//! When a target is healthy: Elastic Load Balancing's rules as a pure state machine, and the matcher of status codes.
//!
//! - A target starts as `initial`. One passed check makes it healthy (whatever the threshold), so a preview answers as
//!   soon as it can. It is checked at once and then every few milliseconds, but failures count at most once per
//!   interval, so quick checks do not make it unhealthy any sooner.
//! - From then on `unhealthy_threshold` failures in a row make it unhealthy, `healthy_threshold` successes healthy again.

use landfall_model::app::TargetHealthCheck;

use crate::api::TargetState;

/// The first pause between checks of an initial target, and the longest.
const QUICK_FIRST_MS: u64 = 10;
const QUICK_LAST_MS: u64 = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) state: TargetState,
    pub(crate) reason: Option<String>,
    passed: u32,
    failed: u32,
    /// When the last failure was counted.
    counted_at: Option<u64>,
    quick: u64,
}

impl Health {
    /// `state`: what was last known, after a restart; `Initial` for a new target.
    pub(crate) fn new(state: TargetState) -> Self {
        let reason = (state == TargetState::Initial).then(|| "Target registration is in progress".to_owned());
        Self { state, reason, passed: 0, failed: 0, counted_at: None, quick: QUICK_FIRST_MS }
    }

    /// Takes in one check. Returns whether state or reason changed. `now`: milliseconds of any monotonic clock.
    pub(crate) fn observe(&mut self, check: &TargetHealthCheck, now: u64, outcome: Result<(), String>) -> bool {
        let before = (self.state, self.reason.clone());
        match outcome {
            Ok(()) => {
                self.failed = 0;
                self.counted_at = None;
                self.passed = self.passed.saturating_add(1);
                if self.state == TargetState::Initial || self.passed >= check.healthy_threshold.max(1) {
                    self.state = TargetState::Healthy;
                    self.reason = None;
                }
            }
            Err(reason) => {
                self.passed = 0;
                let interval = u64::from(check.interval_ms);
                if self.counted_at.is_none_or(|at| now.saturating_sub(at) >= interval) {
                    self.counted_at = Some(now);
                    self.failed = self.failed.saturating_add(1);
                }
                if self.failed >= check.unhealthy_threshold.max(1) {
                    self.state = TargetState::Unhealthy;
                }
                if self.state != TargetState::Healthy {
                    self.reason = Some(reason);
                }
            }
        }
        (self.state, &self.reason) != (before.0, &before.1)
    }

    /// Milliseconds until the next check.
    pub(crate) fn next_delay(&mut self, check: &TargetHealthCheck) -> u64 {
        let interval = u64::from(check.interval_ms).max(1);
        if self.state != TargetState::Initial {
            return interval;
        }
        let delay = self.quick.min(interval);
        self.quick = (self.quick * 3 / 2).min(QUICK_LAST_MS);
        delay
    }
}

/// Whether `matcher` (`200`, `200,202`, `200-299` or a mix) names this status.
pub(crate) fn matches(matcher: &str, status: u16) -> bool {
    matcher.split(',').any(|part| range(part).is_some_and(|(first, last)| (first..=last).contains(&status)))
}

/// What is wrong with a matcher.
pub(crate) fn check_matcher(matcher: &str) -> Result<(), String> {
    match matcher.split(',').find(|part| range(part).is_none()) {
        None => Ok(()),
        Some(part) => Err(format!("matcher {matcher:?}: {part:?} is neither a status code nor a range like 200-299")),
    }
}

fn range(part: &str) -> Option<(u16, u16)> {
    let code = |text: &str| text.trim().parse::<u16>().ok().filter(|code| (100..=599).contains(code));
    match part.split_once('-') {
        None => code(part).map(|code| (code, code)),
        Some((first, last)) => Some((code(first)?, code(last)?)).filter(|(first, last)| first <= last),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn check() -> TargetHealthCheck {
        TargetHealthCheck {
            protocol: Default::default(),
            path: "/".into(),
            port: None,
            interval_ms: 1000,
            timeout_ms: 500,
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            matcher: "200".into(),
        }
    }

    #[test]
    fn one_success_makes_an_initial_target_healthy() {
        let mut health = Health::new(TargetState::Initial);
        assert!(health.observe(&check(), 0, Ok(())));
        assert_eq!(health.state, TargetState::Healthy);
        assert_eq!(health.reason, None);
    }

    #[test]
    fn quick_checks_do_not_count_twice_in_an_interval() {
        let (mut health, check) = (Health::new(TargetState::Initial), check());
        for now in [0, 10, 25, 500, 999] {
            health.observe(&check, now, Err("Connection refused".into()));
            assert_eq!(health.state, TargetState::Initial, "at {now}");
        }
        health.observe(&check, 1000, Err("Connection refused".into()));
        assert_eq!(health.state, TargetState::Unhealthy);
        assert_eq!(health.reason.as_deref(), Some("Connection refused"));
    }

    #[test]
    fn an_unhealthy_target_needs_the_threshold_in_a_row() {
        let (mut health, check) = (Health::new(TargetState::Unhealthy), check());
        for outcome in [Ok(()), Ok(()), Err("x".to_owned()), Ok(()), Ok(())] {
            health.observe(&check, 5000, outcome);
            assert_eq!(health.state, TargetState::Unhealthy);
        }
        health.observe(&check, 9000, Ok(()));
        assert_eq!(health.state, TargetState::Healthy);
    }

    #[test]
    fn a_healthy_target_survives_single_failures() {
        let (mut health, check) = (Health::new(TargetState::Healthy), check());
        for step in 0..10u64 {
            let outcome = if step % 2 == 0 { Err("x".to_owned()) } else { Ok(()) };
            health.observe(&check, step * 1000, outcome);
            assert_eq!(health.state, TargetState::Healthy);
        }
    }

    #[test]
    fn delays_grow_while_initial_and_are_the_interval_afterwards() {
        let (mut health, check) = (Health::new(TargetState::Initial), check());
        let delays: Vec<u64> = (0..9).map(|_| health.next_delay(&check)).collect();
        assert_eq!(delays, [10, 15, 22, 33, 49, 73, 100, 100, 100]);
        health.observe(&check, 0, Ok(()));
        assert_eq!(health.next_delay(&check), 1000);
    }

    #[test]
    fn matchers() {
        for (matcher, status, expected) in [
            ("200", 200, true),
            ("200", 201, false),
            ("200,202", 202, true),
            ("200-299", 250, true),
            ("200-299", 300, false),
            ("200-202, 404", 404, true),
        ] {
            assert_eq!(matches(matcher, status), expected, "{matcher} {status}");
        }
        for bad in ["", "abc", "200-", "300-200", "99", "600", "200,,201"] {
            assert!(check_matcher(bad).is_err(), "{bad:?}");
        }
        assert!(check_matcher("200-299,404").is_ok());
    }
}

//! ecs-cluster-deployer's metric and scaler, as they are: for those who rely on their numbers, and to compare with.
//!
//! The metric adds fractions of tasks over instances, so ten instances with room for half a task each count as five. It looks
//! at services only, takes the largest task by memory, and knows neither ports, nor network interfaces, nor GPUs.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::cluster::Fleet;

/// What the metric says with nothing to schedule.
pub const NOTHING: f64 = 999_999.0;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// `Schedulable Cluster Tasks`.
    pub schedulable: f64,
    /// `Scheduled Percentage`: 0 to 1.
    pub scheduled: f64,
}

/// A service: CPU units and MiB of one task, and how many are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub cpu: u64,
    pub memory: u64,
    pub desired: u64,
}

/// A container: CPU units, memory and memoryReservation. Of the two memories the greater counts.
pub fn pod(containers: &[(u64, u64, u64)]) -> (u64, u64) {
    let of = |sum: (u64, u64), (cpu, memory, reserved): &(u64, u64, u64)| (sum.0 + cpu, sum.1 + memory.max(reserved));
    containers.iter().fold((0, 0), of)
}

/// `remaining`: CPU units and MiB that are left on each ACTIVE instance.
pub fn metric(services: &[Wanted], remaining: &[(u64, u64)]) -> Metrics {
    let services = || services.iter().filter(|service| service.desired > 0);
    let Some(largest) = services().max_by_key(|service| service.memory) else {
        return Metrics { schedulable: NOTHING, scheduled: 0.0 };
    };
    // What cannot be divided by counts as it is.
    let spaces = |left: u64, need: u64| if need == 0 { left as f64 } else { left as f64 / need as f64 };
    let schedulable =
        remaining.iter().map(|(cpu, memory)| spaces(*cpu, largest.cpu).min(spaces(*memory, largest.memory))).sum();
    let desired = services().map(|service| service.desired).sum::<u64>() as f64;
    Metrics { schedulable, scheduled: desired / (desired + schedulable) }
}

/// When the next change is permitted, from what was written down at the last one: seconds since 1970, or UTC as Python prints
/// it. What cannot be read permits it.
pub fn next_permitted(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(seconds);
    }
    let time: DateTime = text.trim_end_matches('Z').parse().ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

pub(crate) fn permitted(text: Option<&str>, now: i64) -> Result<(), i64> {
    match text.and_then(next_permitted) {
        Some(until) if until > now => Err(until),
        _ => Ok(()),
    }
}

/// What the original would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing, and the time is left as it is.
    Cooldown(i64),
    /// No datapoint: the original stops with an error, we leave things as they are.
    NoData,
    /// Nothing to change; the time is stamped all the same.
    Stay,
    /// A target of 0 while tasks run: nothing.
    StillRunning,
    /// The fleet's new weight.
    Target(u64),
}

/// The scaler of an active fleet whose weight is `target` now. `running`: how many tasks of the cluster run.
pub fn active(fleet: &Fleet, target: u64, running: u64, now: i64) -> Step {
    let Fleet { policy, min_weight: min, max_weight: max, .. } = fleet;
    if let Err(until) = permitted(fleet.next_permitted.as_deref(), now) {
        return Step::Cooldown(until);
    }
    let Some(average) = fleet.signal else { return Step::NoData };
    let wanted = if average > policy.in_above as f64 {
        target.saturating_sub(policy.in_amount)
    } else if average < policy.out_below as f64 {
        target.saturating_add(policy.out_amount)
    } else {
        return Step::Stay;
    };
    match wanted.clamp(*min, *max.max(min)) {
        same if same == target => Step::Stay,
        0 if running > 0 => Step::StillRunning,
        new => Step::Target(new),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::cluster::{Policy, Status};

    /// The original's tests run the bare code's defaults: thresholds 7 and 2, weights 1 to 10.
    fn bare(signal: f64) -> Fleet {
        Fleet {
            name: "bare".to_owned(),
            status: Status::Active,
            min_weight: 1,
            max_weight: 10,
            policy: Policy { out_below: 2, in_above: 7, ..Policy::compatible() },
            instead_of: None,
            unseen: Default::default(),
            replacing: false,
            next_permitted: None,
            signal: Some(signal),
            offers: Vec::new(),
        }
    }

    #[test]
    fn the_originals_oracles() {
        let step = |average: f64, target| active(&bare(average), target, 1, 0);
        assert_eq!(step(1.0, 1), Step::Target(3), "metric 1 scales by +2: target 1 becomes 3");
        assert_eq!(step(8.0, 3), Step::Target(2), "metric 8 scales by -1");
        assert_eq!(step(8.0, 1), Step::Stay, "-1 at target 1 makes no call");
        let mut nine = bare(8.0);
        nine.policy.in_amount = 9;
        assert_eq!(active(&nine, 1, 1, 0), Step::Stay, "-9 at target 1 makes no call");
        // Strictly above and below.
        assert_eq!((step(7.0, 3), step(2.0, 3)), (Step::Stay, Step::Stay));
        assert_eq!(active(&Fleet { signal: None, ..bare(0.0) }, 3, 1, 0), Step::NoData);
        let to_nothing = |average| Fleet { min_weight: 0, ..bare(average) };
        assert_eq!(active(&to_nothing(NOTHING), 1, 4, 0), Step::StillRunning);
        assert_eq!(active(&to_nothing(NOTHING), 1, 0, 0), Step::Target(0));
        assert_eq!(active(&to_nothing(0.0), 9, 0, 0), Step::Target(10));
    }

    #[test]
    fn the_time_is_read_as_the_original_writes_it_and_what_is_no_time_is_past() {
        let stamp = "2018-02-11 15:04:48.926316";
        let at = next_permitted(stamp).unwrap();
        assert_eq!(at, 1_518_361_488);
        let step = |stamp: &str, now| active(&Fleet { next_permitted: Some(stamp.to_owned()), ..bare(1.0) }, 1, 1, now);
        assert_eq!(step(stamp, at - 1), Step::Cooldown(at));
        assert_eq!(step(stamp, at), Step::Target(3));
        assert_eq!(step("boston", 0), Step::Target(3));
        assert_eq!(next_permitted("0"), Some(0));
    }

    #[test]
    fn the_metric_adds_fractions() {
        // Two containers of 20 CPU units and 256 MiB: 40 and 512.
        assert_eq!(pod(&[(20, 256, 128), (20, 128, 256)]), (40, 512));
        let service = Wanted { cpu: 40, memory: 512, desired: 2 };
        let halves = metric(&[service], &[(20, 1024); 10]);
        assert_eq!(
            (halves.schedulable, halves.scheduled),
            (5.0, 2.0 / 7.0),
            "ten halves are five, though nothing fits"
        );
        let none = metric(&[Wanted { desired: 0, ..service }], &[(20, 1024)]);
        assert_eq!((none.schedulable, none.scheduled), (NOTHING, 0.0));
        let no_cpu = metric(&[Wanted { cpu: 0, ..service }], &[(3, 1024)]);
        assert_eq!(no_cpu.schedulable, 2.0, "what cannot be divided by counts as it is");
        let largest = metric(&[service, Wanted { cpu: 10, memory: 2048, desired: 1 }], &[(1000, 1024)]);
        assert_eq!(largest.schedulable, 0.5, "the largest by memory");
    }
}

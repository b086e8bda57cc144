//! Why: plain sentences, one for each thing that was decided, and for what was not.

use std::fmt;

use serde::Serialize;

use crate::cluster::Notice;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Tasks wait that no instance has room for, and instances for them are launched.
    Waiting {
        tasks: u64,
        instances: u64,
    },
    /// Too little room is left.
    LittleRoom {
        schedulable: u64,
        below: u64,
    },
    BelowMinimum {
        weight: u64,
        minimum: u64,
    },
    AboveMaximum {
        weight: u64,
        maximum: u64,
    },
    /// More would be needed than the fleets may have.
    AtMaximum {
        tasks: u64,
    },
    /// Only fleets take them that grow by `metric: compatible`, which looks at no task that waits.
    ByMetric {
        tasks: u64,
    },
    /// No instance type of any active fleet takes such a task.
    FitsNowhere {
        shape: String,
        tasks: u64,
    },
    /// Instances came that have not what such a task asks for.
    Missed {
        shape: String,
        tasks: u64,
        instances: u64,
    },
    /// A type that was asked for before had no capacity: others are taken.
    Short {
        kind: String,
    },
    /// No Spot is to be had.
    OnDemand,
    Notice {
        instance: String,
        notice: Notice,
    },
    /// Its tasks have room elsewhere.
    Spare {
        instance: String,
        tasks: u64,
    },
    /// Nothing runs in the whole cluster.
    Idle {
        instance: String,
    },
    /// The fleet is inactive, and the instance's tasks have room elsewhere.
    Inactive {
        instance: String,
    },
    /// The fleet is inactive, and the instance waits until its tasks have room.
    NoRoomElsewhere {
        instance: String,
        tasks: u64,
    },
    /// It stands in for Spot, which is to be had again: its tasks go there.
    Returns {
        instance: String,
    },
    /// It was draining, and is needed after all.
    Needed {
        instance: String,
    },
    /// It has drained.
    Drained {
        instance: String,
    },
    /// It was starting in a fleet that has become inactive.
    NotNeeded {
        instance: String,
    },
    Cooldown {
        until: i64,
    },
    /// `metric: compatible` without a datapoint.
    NoData,
    Metric {
        average: f64,
        from: u64,
        to: u64,
    },
    StillRunning {
        tasks: u64,
    },
    /// Nothing is left of an inactive fleet.
    Gone,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = |count: &u64| if *count == 1 { "1 task".to_owned() } else { format!("{count} tasks") };
        let go = |count: &u64| format!("{} {} on waiting", tasks(count), if *count == 1 { "goes" } else { "go" });
        match self {
            Self::Waiting { tasks: waiting, instances } => {
                let instances =
                    if *instances == 1 { "1 instance".to_owned() } else { format!("{instances} instances") };
                let wait = if *waiting == 1 { "waits" } else { "wait" };
                write!(f, "{} {wait} for room: {instances} more", tasks(waiting))
            }
            Self::LittleRoom { schedulable, below } => {
                write!(f, "room for {} of the largest kind is less than {below}", tasks(schedulable))
            }
            Self::BelowMinimum { weight, minimum } => write!(f, "weight {weight} is below the minimum of {minimum}"),
            Self::AboveMaximum { weight, maximum } => write!(f, "weight {weight} is above the maximum of {maximum}"),
            Self::AtMaximum { tasks: left } => {
                write!(f, "{}: the fleets are at their maximum, or have no capacity", go(left))
            }
            Self::ByMetric { tasks: left } => {
                write!(f, "{}: with `metric: compatible` nothing is launched for what waits", go(left))
            }
            Self::FitsNowhere { shape, tasks: left } => {
                let fit = if *left == 1 { "fits" } else { "fit" };
                write!(f, "{} of `{shape}` {fit} on no instance type of any active fleet", tasks(left))
            }
            Self::Missed { shape, tasks: left, instances } => {
                let came = if *instances == 1 { "1 instance".to_owned() } else { format!("{instances} instances") };
                write!(f, "`{shape}`: {}, as {came} came without what its placement constraints ask for", go(left))
            }
            Self::Short { kind } => write!(f, "{kind} had no capacity a short while ago: another type is taken"),
            Self::OnDemand => f.write_str("no Spot is to be had: on demand"),
            Self::Notice { instance, notice: Notice::Interruption } => {
                write!(f, "{instance} is about to be interrupted: drained")
            }
            Self::Notice { instance, notice: Notice::Rebalance } => {
                write!(f, "{instance} is likely to be interrupted: drained before it is")
            }
            Self::Spare { instance, tasks: 0 } => write!(f, "{instance} is empty and not needed"),
            Self::Spare { instance, tasks: moved } => {
                write!(f, "{instance} is not needed: its {} have room elsewhere", tasks(moved))
            }
            Self::Idle { instance } => write!(f, "nothing runs and nothing waits: {instance} goes"),
            Self::Inactive { instance } => write!(f, "its fleet is inactive: {instance} is drained"),
            Self::NoRoomElsewhere { instance, tasks: stay } => {
                write!(f, "its fleet is inactive, but {} of {instance} have no room elsewhere yet", tasks(stay))
            }
            Self::Returns { instance } => {
                write!(f, "Spot is to be had again: {instance} goes when its tasks have room there")
            }
            Self::Needed { instance } => write!(f, "{instance} is needed after all: it stops draining"),
            Self::Drained { instance } => write!(f, "{instance} has drained: terminated"),
            Self::NotNeeded { instance } => write!(f, "{instance} of an inactive fleet runs nothing yet: terminated"),
            Self::Cooldown { until } => write!(f, "what can wait waits until {until} (seconds since 1970)"),
            Self::NoData => f.write_str("the metric has no data: nothing is changed"),
            Self::Metric { average, from, to } => {
                write!(f, "the metric's average is {average:.2}: weight {from} becomes {to}")
            }
            Self::StillRunning { tasks: running } => write!(f, "not to 0: {} still run", tasks(running)),
            Self::Gone => f.write_str("nothing is left of it: its stack can go"),
        }
    }
}

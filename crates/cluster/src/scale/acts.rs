//! What is decided, as what is asked of ECS and Auto Scaling.

use landfall_model::fleet::{ContainerInstance, Member};
use landfall_scaler::cluster::{Cluster, Fleet, Status};
use landfall_scaler::decide::{Change, Decision};
use serde::Serialize;

use super::{Seen, Unit, view};
use crate::names::{Version, attributes};

/// One thing to do, in this order. Each may be done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// ECS starts the services' tasks elsewhere. `instances`: ARNs.
    Drain { fleet: String, instances: Vec<String> },
    /// They take tasks again.
    Undrain { fleet: String, instances: Vec<String> },
    /// `left`: what the fleet is to have without it, in units of weight; `null`: another one takes its place.
    Terminate { fleet: String, id: String, instance: String, left: Option<u64> },
    /// Auto Scaling, which holds it, may end it: nothing runs on it any more.
    Release { fleet: String, id: String, instance: String },
    /// In units of weight.
    Resize { fleet: String, id: String, from: u64, to: u64 },
    /// When what can wait is permitted again, in seconds since 1970.
    Note { fleet: String, id: String, next_permitted: i64 },
    /// Nothing is left of the version.
    Delete { version: Version },
    /// Auto Scaling ends no more instances to have as many in each zone: it does not ask what runs on them.
    KeepUneven { fleet: String, id: String },
}

pub(super) fn acts(seen: &Seen<'_>, cluster: &Cluster, decision: &Decision) -> Vec<Act> {
    let mut all = Vec::new();
    for (at, unit) in seen.units.iter().enumerate() {
        if let (Some(change), Some(fleet)) = (decision.fleets.get(at), cluster.fleets.get(at)) {
            of_unit(seen, unit, fleet, change, &mut all);
        }
    }
    // After all that others wait for.
    seen.units.iter().for_each(|unit| release(seen, unit, &mut all));
    // A version is gone when all of its fleets are, and none of its instances is registered any more.
    let mut versions: Vec<&Version> = seen.units.iter().map(|unit| &unit.version).collect();
    versions.dedup();
    for version in versions {
        let own = || seen.units.iter().zip(&decision.fleets).filter(|(unit, _)| unit.version == *version);
        let registered = seen
            .instances
            .iter()
            .any(|one| one.attributes.get(attributes::VERSION).is_some_and(|own| own == version.as_str()));
        if own().all(|(unit, change)| change.delete && unit.state.members.is_empty()) && !registered {
            all.push(Act::Delete { version: version.clone() });
        }
    }
    // What nothing else waits for.
    for unit in seen.units.iter().filter(|unit| unit.state.evens_out && unit.state.zones.len() > 1) {
        all.push(Act::KeepUneven { fleet: unit.called.to_string(), id: unit.state.id.clone() });
    }
    all
}

fn of_unit(seen: &Seen<'_>, unit: &Unit, fleet: &Fleet, change: &Change, all: &mut Vec<Act>) {
    let name = &unit.called.to_string();
    let arns = |ids: &[String]| -> Vec<String> {
        let arn = |id: &String| seen.instances.iter().find(|one| one.instance == *id).map(|one| one.arn.clone());
        ids.iter().filter_map(arn).collect()
    };
    let (mut drain, undrain) = (arns(&change.drain), arns(&change.undrain));
    let held = unit.state.members.iter().filter(|member| member.held && !is_dead(seen, member));
    let held = held.filter_map(|member| registered(seen, member)).filter(|one| one.status == "ACTIVE");
    drain.extend(held.map(|one| one.arn.clone()));
    if !drain.is_empty() {
        all.push(Act::Drain { fleet: name.clone(), instances: drain });
    }
    if !undrain.is_empty() {
        all.push(Act::Undrain { fleet: name.clone(), instances: undrain });
    }
    let id = &unit.state.id;
    let (least, most) = (fleet.min_weight, fleet.max_weight);
    let mut there = 0;
    let mut desired = unit.state.desired;
    // Of one that goes its successor may be there already.
    let mut surplus = view::there(unit, &fleet.offers).saturating_sub(desired);
    for member in unit.state.members.iter().filter(|member| !member.leaving) {
        let weight = view::weight(member, &fleet.offers);
        if !change.terminate.contains(&member.instance) && !lost(seen, change, &member.instance) {
            there += weight;
            continue;
        }
        let succeeded = surplus >= weight;
        surplus -= if succeeded { weight } else { 0 };
        let left = desired.checked_sub(weight).filter(|left| !succeeded && *left >= least);
        desired = left.unwrap_or(desired);
        let instance = member.instance.clone();
        all.push(Act::Terminate { fleet: name.clone(), id: id.clone(), instance, left });
    }
    // AWS launches these already, some of them in the place of what it ended itself.
    let coming = match fleet.status {
        Status::Active if unit.state.failed.is_none() => {
            unit.state.desired.saturating_sub(view::there(unit, &fleet.offers))
        }
        _ => 0,
    };
    let launched: u64 =
        change.launch.iter().map(|(offer, count)| fleet.offers[*offer].weight.saturating_mul(*count)).sum();
    let to = there.saturating_add(coming).saturating_add(launched).max(least);
    let replacing = fleet.replacing && launched == 0 && to > desired;
    if to != desired && to <= most && !replacing {
        all.push(Act::Resize { fleet: name.clone(), id: id.clone(), from: desired, to });
    }
    if let Some(next_permitted) = change.next_permitted {
        all.push(Act::Note { fleet: name.clone(), id: id.clone(), next_permitted });
    }
}

/// What Auto Scaling holds goes once nothing runs on it any more.
fn release(seen: &Seen<'_>, unit: &Unit, all: &mut Vec<Act>) {
    for member in unit.state.members.iter().filter(|member| member.held) {
        let runs = |one: &ContainerInstance| one.status == "ACTIVE" || view::busy(seen, one);
        if is_dead(seen, member) || !registered(seen, member).is_some_and(runs) {
            let (fleet, id, instance) = (unit.called.to_string(), unit.state.id.clone(), member.instance.clone());
            all.push(Act::Release { fleet, id, instance });
        }
    }
}

fn registered<'a>(seen: &Seen<'a>, member: &Member) -> Option<&'a ContainerInstance> {
    seen.instances.iter().find(|one| one.instance == member.instance)
}

/// Nothing stops on it any more, however long one waits. That its agent is away for a moment says nothing alone.
fn is_dead(seen: &Seen<'_>, member: &Member) -> bool {
    member.unhealthy && registered(seen, member).is_none_or(|one| !one.connected)
}

/// One that never registered has nothing to drain: it goes at once where it is to go.
fn lost(seen: &Seen<'_>, change: &Change, instance: &str) -> bool {
    change.drain.iter().any(|id| id == instance) && !seen.instances.iter().any(|one| one.instance == instance)
}

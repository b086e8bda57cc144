//! What was seen, as the scaler has it.

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::fleet::{
    ContainerInstance, FixedPort, LaunchFailure, Member, Needs, Placement, ServiceLoad, TypeFacts,
};
use landfall_scaler::Resources;
use landfall_scaler::cluster::{
    Cluster, Fleet, Instance, Metric as Scaled, Notice, Offer, Policy, Service, State, Status, Tasks,
};
use landfall_scaler::constraint::{Attributes, Constraint};
use landfall_scaler::price::Purchase;
use landfall_scaler::shape::{Host, HostPort, Kind, Shape};

use super::{Called, REGISTERS, SHORT, Seen, Unit};
use crate::build::{Standing, falls_back};
use crate::infra::{self, Infra, Metric};
use crate::names::{Version, attributes};

/// Of a type's memory, what tasks find where no instance of it is registered yet: the kernel and the agent keep the rest.
const MEMORY_LEFT: (u64, u64) = (92, 100);
/// Of Docker, of SSH and of ECS's agent: taken on every instance.
const RESERVED: [u16; 5] = [22, 2375, 2376, 51678, 51679];
const ZONE: &str = "ecs.availability-zone";
/// Every instance has one of its own.
const BY_CHANCE: [&str; 2] = ["ecs.subnet-id", "ecs.awsvpc-trunk-id"];
/// Dearer than any type whose price is known, for each vCPU and hour.
const UNKNOWN_PRICE: f64 = 1.0;

pub(super) struct View {
    pub cluster: Cluster,
    pub notes: Vec<String>,
}

pub(super) fn view(seen: &Seen<'_>) -> View {
    let mut shapes = Shapes { seen, all: Vec::new(), known: BTreeMap::new(), notes: BTreeSet::new() };
    let mut services = Vec::new();
    let mut waiting = Vec::new();
    let mut daemons = Resources::default();
    for service in &seen.workload.services {
        let shape = shapes.of(&service.definition, Some(&service.name));
        if service.daemon {
            // Each instance runs one, before anything else.
            daemons = daemons.plus(&shapes.all[shape].need);
            continue;
        }
        services.push(Service { shape, desired: service.desired });
        let missing = missing(seen, service);
        if missing > 0 {
            add(&mut waiting, shape, missing);
        }
    }
    for task in seen.workload.tasks.iter().filter(|task| task.on.is_none()) {
        let shape = shapes.of(&task.definition, task.service.as_deref());
        add(&mut waiting, shape, 1);
    }
    let mut notes = Vec::new();
    let mut fleets: Vec<Fleet> = Vec::new();
    let mut instances = Vec::new();
    let mut versions: BTreeMap<&Version, Attributes> = BTreeMap::new();
    for unit in seen.units {
        let fleet = fleets.len();
        let learned = versions.entry(&unit.version).or_insert_with(|| learned(seen, &unit.version)).clone();
        let offers = offers(seen, unit, &carries(seen, unit, learned), &daemons);
        let registered: BTreeMap<&str, &ContainerInstance> =
            seen.instances.iter().map(|one| (one.instance.as_str(), one)).collect();
        for member in unit.state.members.iter().filter(|member| !member.leaving) {
            let Some(offer) = offers.iter().position(|offer| offer.kind.name == member.kind) else { continue };
            let container = registered.get(member.instance.as_str()).copied();
            let lost = container.is_none() && is_lost(member, seen.now);
            if lost {
                notes.push(format!(
                    "{} ({}) is there for more than {} minutes and has not registered: it takes no tasks; its log tells why \
                     (`aws ssm start-session --target {0}`, /var/log/cloud-init-output.log)",
                    member.instance,
                    unit.called,
                    REGISTERS / 60
                ));
            }
            let mut host = offers[offer].kind.empty();
            let (tasks, standalone) = container.map(|one| shapes.on(one, &mut host)).unwrap_or_default();
            if lost || container.is_some_and(|one| !one.connected) {
                host.free = Resources::default();
            }
            let state = match container.map(|one| one.status.as_str()) {
                Some("DRAINING") => State::Draining,
                Some("ACTIVE") => State::Active,
                // Nothing runs on it, so it may go as others may.
                None if lost => State::Active,
                _ => State::Starting,
            };
            let notice = member.interrupted.then_some(Notice::Interruption);
            instances.push(Instance {
                id: member.instance.clone(),
                fleet,
                offer,
                state,
                host,
                tasks,
                standalone,
                notice,
            });
        }
        let (offer, expected) = expected(unit, &offers).unwrap_or_default();
        for number in 0..expected {
            instances.push(Instance {
                id: format!("{} {number}", unit.state.id),
                fleet,
                offer,
                state: State::Starting,
                host: offers[offer].kind.empty(),
                tasks: Vec::new(),
                standalone: 0,
                notice: None,
            });
        }
        let tells = |failed: &&LaunchFailure| {
            there(unit, &offers) < unit.state.desired || failed.at.as_second() + SHORT > seen.now
        };
        if let Some(failed) = unit.state.failed.as_ref().filter(tells) {
            notes.push(format!("{}: an instance could not be launched: {}", unit.called, failed.why));
        }
        fleets.push(self::fleet(seen, unit, offers));
    }
    notes.extend(shapes.notes);
    let cluster = Cluster { now: seen.now, shapes: shapes.all, services, waiting, fleets, instances };
    View { cluster, notes }
}

/// Tasks that ECS has not started, and would if it had room: those that are missing, and those in the place of what drains. Such tasks are
/// nowhere to be seen but in the service's events.
fn missing(seen: &Seen<'_>, service: &ServiceLoad) -> u64 {
    if service.failed {
        return 0;
    }
    let own = || seen.workload.tasks.iter().filter(|task| task.service.as_ref() == Some(&service.name));
    let drains = |arn: &String| seen.instances.iter().any(|one| one.arn == *arn && one.status == "DRAINING");
    let stay = own().filter(|task| task.newest && !task.on.as_ref().is_some_and(drains)).count() as u64;
    service.desired.saturating_sub(stay).min(service.most.saturating_sub(own().count() as u64))
}

/// Whether something runs on it, or stops, that is not on every instance anyway.
pub(super) fn busy(seen: &Seen<'_>, one: &ContainerInstance) -> bool {
    let daemon = |name: &String| seen.workload.services.iter().any(|service| service.daemon && service.name == *name);
    let own = seen.workload.tasks.iter().filter(|task| task.on.as_ref() == Some(&one.arn));
    let daemons = own.filter(|task| task.service.as_ref().is_some_and(daemon)).count();
    one.tasks as usize > daemons
}

fn add(all: &mut Vec<Tasks>, shape: usize, count: u64) {
    match all.iter_mut().find(|one| one.shape == shape) {
        Some(one) => one.count += count,
        None => all.push(Tasks { shape, count }),
    }
}

fn is_lost(member: &Member, now: i64) -> bool {
    member.launched.is_some_and(|at| now - at.as_second() > REGISTERS)
}

/// Instances that are asked for and not there yet, all of the largest offer: which types they are AWS tells in a moment, and until then what
/// was asked for is not asked for again. Those of a launch that failed nobody counts on.
fn expected(unit: &Unit, offers: &[Offer]) -> Option<(usize, u64)> {
    let open = offers.iter().enumerate().filter(|(_, offer)| offer.kind.limit > 0 && unit.state.failed.is_none());
    let (at, largest) = open.max_by_key(|(at, offer)| (offer.kind.capacity, std::cmp::Reverse(*at)))?;
    Some((at, unit.state.desired.saturating_sub(there(unit, offers)).div_ceil(largest.weight.max(1))))
}

/// The weight of what is there, without what AWS is ending.
pub(super) fn there(unit: &Unit, offers: &[Offer]) -> u64 {
    unit.state.members.iter().filter(|member| !member.leaving).map(|member| weight(member, offers)).sum()
}

/// Whether a group has an instance more than is asked for. By what the heaviest weighs: a group of several weights overshoots by less. A
/// Spot Fleet keeps for as long as it may what it has a successor for.
pub(super) fn replacing(unit: &Unit, offers: &[Offer]) -> bool {
    let stays = unit.state.members.iter().filter(|member| !member.leaving);
    let heaviest = stays.map(|member| weight(member, offers)).max().unwrap_or(0);
    heaviest > 0 && unit.state.bounds.is_some() && there(unit, offers) >= unit.state.desired + heaviest
}

/// AWS's word for it, else the file's.
pub(super) fn weight(member: &Member, offers: &[Offer]) -> u64 {
    let own = offers.iter().find(|offer| offer.kind.name == member.kind);
    member.weight.unwrap_or_else(|| own.map_or(1, |offer| offer.weight))
}

fn fleet(seen: &Seen<'_>, unit: &Unit, offers: Vec<Offer>) -> Fleet {
    let of_file = seen.infra.bounds().get(&unit.called.name).map(|one| (u64::from(one.min), u64::from(one.max)));
    let (min_weight, max_weight) = unit.state.bounds.or(of_file).unwrap_or((0, 0));
    Fleet {
        name: unit.called.to_string(),
        status: if unit.standing == Standing::Inactive { Status::Inactive } else { Status::Active },
        min_weight,
        max_weight,
        policy: policy(seen.infra, &unit.called),
        instead_of: seen.units.iter().position(|other| {
            let spot = Called { stands_in: false, ..unit.called.clone() };
            unit.called.stands_in && other.version == unit.version && other.called == spot
        }),
        replacing: replacing(unit, &offers),
        unseen: {
            let mut open = Attributes::default();
            open.and_more();
            carries(seen, unit, open)
        },
        next_permitted: unit.state.next_permitted.clone(),
        signal: seen.average,
        offers,
    }
}

/// Groups have no thresholds: they grow for what waits, and shrink to their minimum.
fn policy(infra: &Infra, called: &Called) -> Policy {
    let Some(fleet) = infra.fleets.iter().find(|fleet| fleet.name == called.name && !called.stands_in) else {
        return Policy { out_below: 0, in_above: 0, ..Policy::default() };
    };
    let own = match infra.metric {
        Metric::Packed => Policy { metric: Scaled::Packed, ..Policy::default() },
        Metric::Compatible => Policy::compatible(),
    };
    Policy { out_below: fleet.threshold_out.into(), in_above: fleet.threshold_in.into(), ..own }
}

/// What the file names, and what is there besides.
fn offers(seen: &Seen<'_>, unit: &Unit, carries: &Attributes, daemons: &Resources) -> Vec<Offer> {
    let Called { name, stands_in } = &unit.called;
    let fleet = seen.infra.fleets.iter().find(|fleet| fleet.name == *name);
    let group = seen.infra.groups.iter().find(|group| group.name == *name);
    let purchase = if group.is_some() || *stands_in { Purchase::OnDemand } else { Purchase::Spot };
    // The file may say otherwise since the version was made.
    let closed = *stands_in && !fleet.is_some_and(|fleet| fleet.on_demand_fallback);
    let limit = if closed || *stands_in && !falls_back(seen.infra) { 0 } else { u64::MAX };
    let mut bids = fleet.map(|fleet| fleet.bids.as_slice()).unwrap_or_default();
    if *stands_in {
        // On demand Auto Scaling takes the first for as long as it has any
        // (<https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_InstancesDistribution.html>: `prioritized`).
        bids = bids.get(..1).unwrap_or_default();
    }
    let mut named: Vec<(&str, u64, Option<f64>, u64)> = bids
        .iter()
        .map(|bid: &infra::Bid| {
            let price = bid.price.to_string().parse::<f64>().ok();
            (
                bid.instance_type.as_str(),
                u64::from(bid.weight),
                price.filter(|_| !stands_in).map(|price| price * f64::from(bid.weight)),
                limit,
            )
        })
        .collect();
    named.extend(group.map(|group| (group.instance_type.as_str(), 1, None, u64::MAX)));
    for member in &unit.state.members {
        if !named.iter().any(|(name, ..)| *name == member.kind) {
            named.push((&member.kind, member.weight.unwrap_or(1), None, 0));
        }
    }
    let short_until = unit.state.failed.as_ref().map(|failed| failed.at.as_second() + SHORT);
    let offer = |(name, weight, bid, limit): (&str, u64, Option<f64>, u64)| Offer {
        kind: Kind { limit, ..kind(seen, unit, name, (purchase, bid), carries, daemons) },
        purchase,
        weight,
        short_until,
    };
    named.into_iter().map(offer).collect()
}

fn kind(
    seen: &Seen<'_>,
    unit: &Unit,
    name: &str,
    (purchase, bid): (Purchase, Option<f64>),
    carries: &Attributes,
    daemons: &Resources,
) -> Kind {
    let listed = seen.prices.get(name).ok();
    let facts = seen.types.get(name);
    let sibling = seen.instances.iter().find(|one| {
        let is = |key: &str, value: &str| one.attributes.get(key).is_some_and(|own| own == value);
        is("ecs.instance-type", name)
            && is(attributes::FLEET, &unit.called.name)
            && is(attributes::VERSION, unit.version.as_str())
    });
    let mut capacity = match (listed, facts) {
        (Some(listed), _) => listed.capacity(),
        (None, Some(facts)) => nominal(facts),
        (None, None) => Resources::default(),
    };
    capacity.memory = capacity.memory * MEMORY_LEFT.0 / MEMORY_LEFT.1;
    let mut ports: BTreeSet<HostPort> = RESERVED.map(HostPort::tcp).into();
    if let Some(one) = sibling {
        let registered = &one.registered;
        capacity = Resources { cpu: registered.cpu, memory: registered.memory, gpu: registered.gpu, ..capacity };
        ports.extend(registered.ports.iter().map(port));
        if one.attributes.contains_key("ecs.awsvpc-trunk-id") {
            capacity.eni = u64::MAX;
        }
    }
    let vcpus = listed.map_or_else(|| facts.map_or(1, |facts| facts.vcpus), |listed| u64::from(listed.vcpu));
    let known = listed.map(|listed| listed.price(purchase));
    let price = known.or(bid).unwrap_or(vcpus as f64 * UNKNOWN_PRICE);
    let mut attributes = carries.clone();
    attributes.is("ecs.instance-type", name);
    Kind { name: name.to_owned(), capacity: capacity.less(daemons), ports, attributes, price, limit: u64::MAX }
}

fn nominal(facts: &TypeFacts) -> Resources {
    Resources {
        cpu: facts.vcpus * 1024,
        memory: facts.memory,
        gpu: facts.gpus,
        eni: facts.network_interfaces.saturating_sub(1),
        tasks: u64::MAX,
    }
}

/// What all instances of a version carry, as those that are there tell: they run the same script, whatever their fleet. Nothing is known of
/// others where there is none.
fn learned(seen: &Seen<'_>, version: &Version) -> Attributes {
    let is =
        |one: &&ContainerInstance| one.attributes.get(attributes::VERSION).is_some_and(|own| own == version.as_str());
    let all: Vec<&BTreeMap<String, String>> = seen.instances.iter().filter(is).map(|one| &one.attributes).collect();
    let mut learned = Attributes::default();
    let Some(first) = all.first() else {
        learned.and_more();
        return learned;
    };
    let names: BTreeSet<&String> = all.iter().flat_map(|one| one.keys()).collect();
    for name in names {
        if !all.iter().all(|one| one.contains_key(name)) {
            learned.maybe(name);
        } else if all.iter().all(|one| one.get(name) == first.get(name)) && !BY_CHANCE.contains(&name.as_str()) {
            learned.is(name, &first[name]);
        } else {
            learned.any(name);
        }
    }
    learned
}

/// What every instance of it will carry, its type but. In which zone AWS launches it nobody knows.
fn carries(seen: &Seen<'_>, unit: &Unit, mut all: Attributes) -> Attributes {
    match unit.state.zones.is_empty() {
        true => all.any(ZONE),
        false => all.one_of(ZONE, &unit.state.zones),
    }
    let version = unit.version.as_str();
    for (name, value) in [
        (attributes::ASG_VERSION, version),
        (attributes::CLUSTER_NAME, &seen.infra.name),
        (attributes::FLEET, &unit.called.name),
        (attributes::VERSION, version),
        ("ecs.os-type", "linux"),
    ] {
        all.is(name, value);
    }
    all
}

fn port(one: &FixedPort) -> HostPort {
    HostPort { port: one.port, udp: one.udp }
}

/// Shapes of tasks: a definition, and the service that it runs for, whose constraints hold beside its own.
struct Shapes<'a> {
    seen: &'a Seen<'a>,
    all: Vec<Shape>,
    known: BTreeMap<(String, Option<String>), usize>,
    notes: BTreeSet<String>,
}

impl Shapes<'_> {
    fn of(&mut self, definition: &str, service: Option<&str>) -> usize {
        let key = (definition.to_owned(), service.map(str::to_owned));
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let none = Needs::default();
        let needs = self.seen.workload.needs.get(definition).unwrap_or(&none);
        let name = service.unwrap_or_else(|| definition.rsplit('/').next().unwrap_or(definition));
        let need =
            Resources { gpu: needs.gpu, eni: u64::from(needs.awsvpc), ..Resources::task(needs.cpu, needs.memory) };
        let none = Placement::default();
        let own = self.seen.workload.services.iter().find(|one| Some(one.name.as_str()) == service);
        let placement = own.map_or(&none, |one| &one.placement);
        let expressions = needs.expressions.iter().chain(&placement.expressions);
        let constraints = expressions.map(|text| constraint(text, name, &mut self.notes)).collect();
        self.all.push(Shape {
            ports: needs.ports.iter().map(port).collect(),
            distinct: placement.distinct.then(|| name.to_owned()),
            constraints,
            ..Shape::new(name, need)
        });
        let at = self.all.len() - 1;
        self.known.insert(key, at);
        at
    }

    /// The tasks of a registered instance, and how many are of no service; what is free on it goes into `host`.
    fn on(&mut self, one: &ContainerInstance, host: &mut Host) -> (Vec<Tasks>, u64) {
        let own: Vec<_> = self.seen.workload.tasks.iter().filter(|task| task.on.as_deref() == Some(&one.arn)).collect();
        let (mut tasks, mut standalone, mut interfaces) = (Vec::new(), 0, 0);
        for task in &own {
            let needs = self.seen.workload.needs.get(&task.definition);
            interfaces += u64::from(needs.is_some_and(|needs| needs.awsvpc));
            let service =
                self.seen.workload.services.iter().find(|service| Some(&service.name) == task.service.as_ref());
            if service.is_some_and(|service| service.daemon) {
                continue;
            }
            if task.service.is_none() {
                standalone += 1;
                continue;
            }
            let shape = self.of(&task.definition, task.service.as_deref());
            host.groups.extend(self.all[shape].distinct.clone());
            add(&mut tasks, shape, 1);
        }
        // Those that stop are no longer listed, and are there all the same: nothing is ended under them.
        standalone += u64::from(one.tasks).saturating_sub(own.len() as u64);
        let free = &one.remaining;
        let eni = if host.free.eni == u64::MAX { u64::MAX } else { host.free.eni.saturating_sub(interfaces) };
        host.free = Resources { cpu: free.cpu, memory: free.memory, gpu: free.gpu, eni, tasks: u64::MAX };
        host.ports.extend(free.ports.iter().map(port));
        host.attributes = one.attributes.clone().into_iter().collect();
        (tasks, standalone)
    }
}

/// One that cannot be read holds nowhere: nothing is launched for its tasks that might not take them.
fn constraint(text: &str, name: &str, notes: &mut BTreeSet<String>) -> Constraint {
    Constraint::parse(text).unwrap_or_else(|error| {
        notes.insert(format!("{name}: {error}; no instance is launched for its tasks"));
        Constraint::never()
    })
}

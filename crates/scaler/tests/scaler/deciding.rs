//! The scaler on clusters that come as they come: never below the minimum, never above the maximum, never a running task
//! without a place, and down to nothing when nothing runs.

use std::collections::{BTreeMap, BTreeSet};

use landfall_scaler::Resources;
use landfall_scaler::cluster::{
    Cluster, Fleet, Instance, Metric, Notice, Offer, Policy, Service, State, Status, Tasks,
};
use landfall_scaler::constraint::{Attributes, Constraint};
use landfall_scaler::decide::{Decision, Reason, decide};
use landfall_scaler::pack::place;
use landfall_scaler::price::Purchase;
use landfall_scaler::shape::{Host, HostPort, Kind, Shape};
use proptest::prelude::*;

pub(crate) fn kind(name: &str, capacity: Resources, price: f64) -> Kind {
    let attributes = Attributes::from_iter([("ecs.instance-type".to_owned(), name.to_owned())]);
    Kind { name: name.to_owned(), capacity, ports: BTreeSet::new(), attributes, price, limit: u64::MAX }
}

pub(crate) fn spot(kind: Kind, weight: u64) -> Offer {
    Offer { kind, purchase: Purchase::Spot, weight, short_until: None }
}

pub(crate) fn fleet(name: &str, min_weight: u64, max_weight: u64) -> Fleet {
    Fleet {
        name: name.to_owned(),
        status: Status::Active,
        min_weight,
        max_weight,
        policy: Policy::default(),
        instead_of: None,
        unseen: Attributes::default(),
        replacing: false,
        next_permitted: None,
        signal: None,
        offers: vec![
            spot(kind("small", Resources::instance(1024, 2048), 1.0), 1),
            spot(kind("big", Resources::instance(4096, 8192), 2.5), 2),
        ],
    }
}

/// So many tasks of a shape, and whether they are standalone.
type Few = (usize, u64, bool);

/// With as many of the tasks as fit.
pub(crate) fn instance(cluster: &Cluster, id: usize, fleet: usize, offer: usize, tasks: &[Few]) -> Instance {
    let mut host = cluster.fleets[fleet].offers[offer].kind.empty();
    let (mut kept, mut standalone) = (Vec::new(), 0);
    for (index, count, alone) in tasks {
        let shape = &cluster.shapes[*index];
        let most = host.free.times(&shape.need).min(if shape.alone() { 1 } else { u64::MAX });
        let count = most.min(*count);
        if count > 0 && (!shape.alone() || shape.ports.is_disjoint(&host.ports)) {
            host.free = host.free.less(&shape.need.by(count));
            host.ports.extend(&shape.ports);
            match alone {
                true => standalone += count,
                false => kept.push(Tasks { shape: *index, count }),
            }
        }
    }
    Instance { id: format!("i-{id}"), fleet, offer, state: State::Active, host, tasks: kept, standalone, notice: None }
}

pub(crate) fn shapes() -> Vec<Shape> {
    let mut web = Shape::new("web", Resources::task(256, 512));
    web.ports.insert(HostPort::tcp(80));
    vec![web, Shape::new("api", Resources::task(512, 700)), Shape::new("job", Resources::task(900, 1500))]
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![4 => Just(State::Active), 1 => Just(State::Draining), 1 => Just(State::Starting)]
}

fn notice() -> impl Strategy<Value = Option<Notice>> {
    prop_oneof![6 => Just(None), 1 => Just(Some(Notice::Interruption)), 1 => Just(Some(Notice::Rebalance))]
}

type One = (usize, usize, Vec<Few>, State, Option<Notice>);

fn one() -> impl Strategy<Value = One> {
    (
        0..2usize,
        0..2usize,
        prop::collection::vec((0..3usize, 1..5u64, prop::bool::weighted(0.2)), 0..4),
        state(),
        notice(),
    )
}

prop_compose! {
    fn cluster()(
        bounds in prop::collection::vec((0..4u64, 0..14u64), 2),
        inactive in prop::bool::weighted(0.3),
        compatible in prop::bool::weighted(0.2),
        signal in prop::option::of(0.0..20.0f64),
        instances in prop::collection::vec(one(), 0..12),
        waiting in prop::collection::vec((0..3usize, 0..9u64, any::<bool>()), 0..3),
        amount in prop_oneof![Just(u64::MAX), 1..4u64],
    ) -> Cluster {
        let mut cluster = Cluster { now: 1_000, shapes: shapes(), ..Cluster::default() };
        for (index, (min, more)) in bounds.into_iter().enumerate() {
            let mut one = fleet(&format!("f{index}"), min, min + more);
            one.policy.in_amount = amount;
            one.signal = signal;
            if compatible {
                one.policy = Policy { metric: Metric::Compatible, ..Policy::compatible() };
            }
            cluster.fleets.push(one);
        }
        if inactive {
            cluster.fleets[1].status = Status::Inactive;
        }
        for (id, (fleet, offer, tasks, state, notice)) in instances.into_iter().enumerate() {
            let tasks = if state == State::Starting { Vec::new() } else { tasks };
            let one = instance(&cluster, id, fleet, offer, &tasks);
            cluster.instances.push(Instance { state, notice, ..one });
        }
        let mut desired = [0; 3];
        for tasks in cluster.instances.iter().flat_map(|instance| &instance.tasks) {
            desired[tasks.shape] += tasks.count;
        }
        for (shape, count, standalone) in waiting {
            cluster.waiting.push(Tasks { shape, count });
            desired[shape] += if standalone { 0 } else { count };
        }
        cluster.services = desired.iter().enumerate().map(|(shape, desired)| Service { shape, desired: *desired }).collect();
        cluster
    }
}

/// What stays, by what was decided.
fn stays(cluster: &Cluster, decision: &Decision, fleet: usize) -> Vec<usize> {
    let change = &decision.fleets[fleet];
    let own = (0..cluster.instances.len()).filter(|index| cluster.instances[*index].fleet == fleet);
    own.filter(|index| {
        let instance = &cluster.instances[*index];
        let drains = instance.state == State::Draining && !change.undrain.contains(&instance.id);
        !drains
            && instance.notice.is_none()
            && !change.drain.contains(&instance.id)
            && !change.terminate.contains(&instance.id)
    })
    .collect()
}

fn weight(cluster: &Cluster, decision: &Decision, fleet: usize) -> (u64, u64) {
    let offers = &cluster.fleets[fleet].offers;
    let stay = stays(cluster, decision, fleet).iter().map(|index| offers[cluster.instances[*index].offer].weight).sum();
    (stay, decision.fleets[fleet].launch.iter().map(|(offer, count)| offers[*offer].weight * count).sum())
}

/// Of what has to find room once all of it is done, how many tasks cannot: what waits, what has to leave an instance with a
/// notice or an inactive fleet, and what is drained otherwise, on what stays, is taken back or launched.
fn unscheduled(cluster: &Cluster, decision: &Decision) -> u64 {
    let mut counts = vec![0; cluster.shapes.len()];
    cluster.waiting.iter().for_each(|tasks| counts[tasks.shape] += tasks.count);
    for instance in cluster.instances.iter().filter(|one| one.state == State::Active) {
        let drained = decision.fleets[instance.fleet].drain.contains(&instance.id);
        if drained || instance.notice.is_some() || cluster.fleets[instance.fleet].status == Status::Inactive {
            instance.tasks.iter().for_each(|tasks| counts[tasks.shape] += tasks.count);
        }
    }
    let mut hosts: Vec<Host> = Vec::new();
    for fleet in (0..cluster.fleets.len()).filter(|fleet| cluster.fleets[*fleet].status == Status::Active) {
        hosts.extend(stays(cluster, decision, fleet).iter().map(|index| cluster.instances[*index].host.clone()));
        for (offer, count) in &decision.fleets[fleet].launch {
            let empty = cluster.fleets[fleet].offers[*offer].kind.empty();
            hosts.extend(std::iter::repeat_n(empty, *count as usize));
        }
    }
    match place(&cluster.shapes, &counts, &hosts) {
        placed if placed.complete() => 0,
        _ => least_left(&cluster.shapes, &counts, &hosts),
    }
}

/// How many of three shapes find no room at least: every way to fill host after host, of those that leave as many of two
/// shapes only the one that leaves the fewest of the third.
fn least_left(shapes: &[Shape], counts: &[u64], hosts: &[Host]) -> u64 {
    let mut lefts = BTreeMap::from([((counts[0], counts[1]), counts[2])]);
    for host in hosts {
        let most = |shape: usize, free: &Resources| {
            let shape = &shapes[shape];
            let limit =
                if !shape.ports.is_disjoint(&host.ports) { 0 } else { if shape.alone() { 1 } else { u64::MAX } };
            free.times(&shape.need).min(limit)
        };
        let mut next: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for ((a, b), c) in lefts {
            for first in 0..=most(0, &host.free).min(a) {
                let free = host.free.less(&shapes[0].need.by(first));
                for second in 0..=most(1, &free).min(b) {
                    let free = free.less(&shapes[1].need.by(second));
                    let third = c - most(2, &free).min(c);
                    let least = next.entry((a - first, b - second)).or_insert(third);
                    *least = third.min(*least);
                }
            }
        }
        lefts = next;
    }
    lefts.into_iter().map(|((a, b), c)| a + b + c).min().unwrap_or(0)
}

/// What the decision says goes on waiting.
fn told(decision: &Decision) -> u64 {
    let of = |reason: &Reason| match reason {
        Reason::AtMaximum { tasks } | Reason::ByMetric { tasks } | Reason::FitsNowhere { tasks, .. } => *tasks,
        _ => 0,
    };
    decision.reasons.iter().map(of).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn within_bounds_and_nothing_unscheduled(cluster in cluster()) {
        let decision = decide(&cluster);
        for (index, fleet) in cluster.fleets.iter().enumerate() {
            let (stay, launched) = weight(&cluster, &decision, index);
            prop_assert_eq!(decision.fleets[index].target, if fleet.status == Status::Active { stay + launched } else { 0 });
            if fleet.status == Status::Inactive {
                prop_assert!(decision.fleets[index].launch.is_empty() && decision.fleets[index].undrain.is_empty());
                continue;
            }
            // Launches end at the maximum, with all that is there; what drains never takes it below the minimum.
            let there = cluster.instances.iter().filter(|one| one.fleet == index);
            let there: u64 = there.map(|one| fleet.offers[one.offer].weight).sum();
            prop_assert!(launched == 0 || there + launched <= fleet.max_weight, "{:?}", decision);
            let taken = decision.fleets[index].drain.iter().filter(|id| {
                cluster.instances.iter().any(|one| one.id == **id && one.notice.is_none())
            });
            prop_assert!(taken.count() == 0 || stay >= fleet.min_weight.min(fleet.max_weight), "{:?}", decision);
        }
        // Whatever is drained has room, beside what waits: only what the decision says goes on waiting has none.
        prop_assert!(unscheduled(&cluster, &decision) <= told(&decision), "{:?}", decision);
        // Nothing with a standalone task is drained but for a notice or an inactive fleet.
        for (fleet, change) in decision.fleets.iter().enumerate() {
            for instance in cluster.instances.iter().filter(|one| change.drain.contains(&one.id)) {
                let free = instance.notice.is_some() || cluster.fleets[fleet].status == Status::Inactive;
                prop_assert!(free || instance.standalone == 0);
            }
            for instance in cluster.instances.iter().filter(|one| change.terminate.contains(&one.id)) {
                prop_assert_eq!(instance.running(), 0);
            }
        }
        prop_assert_eq!(&decision, &decide(&cluster));
    }

    #[test]
    fn down_to_nothing_when_nothing_runs(mut cluster in cluster()) {
        cluster.waiting.clear();
        cluster.services.iter_mut().for_each(|service| service.desired = 0);
        for fleet in &mut cluster.fleets {
            (fleet.min_weight, fleet.policy.metric) = (0, Metric::Packed);
        }
        let capacities: Vec<Host> = cluster.instances.iter().map(|one| cluster.fleets[one.fleet].offers[one.offer].kind.empty()).collect();
        for (instance, empty) in cluster.instances.iter_mut().zip(capacities) {
            (instance.host, instance.tasks, instance.standalone) = (empty, Vec::new(), 0);
        }
        // One every five minutes, at the slowest.
        for _ in 0..100 {
            let decision = decide(&cluster);
            for change in &decision.fleets {
                prop_assert!(change.launch.is_empty());
                cluster.instances.retain(|one| !change.terminate.contains(&one.id));
            }
            for instance in &mut cluster.instances {
                let change = &decision.fleets[instance.fleet];
                if change.drain.contains(&instance.id) {
                    instance.state = State::Draining;
                } else if instance.state == State::Starting {
                    instance.state = State::Active;
                }
            }
            for (fleet, change) in cluster.fleets.iter_mut().zip(&decision.fleets) {
                fleet.next_permitted = change.next_permitted.map(|at| at.to_string()).or(fleet.next_permitted.take());
            }
            cluster.now += 60;
        }
        prop_assert!(cluster.instances.is_empty(), "{:?}", cluster.instances);
    }
}

/// One fleet, two instances: one full of `api`, one with a single task.
pub(crate) fn two() -> Cluster {
    let mut cluster =
        Cluster { now: 1_000, shapes: shapes(), fleets: vec![fleet("main", 0, 10)], ..Cluster::default() };
    let (a, b) = (instance(&cluster, 0, 0, 1, &[(1, 2, false)]), instance(&cluster, 1, 0, 1, &[(1, 1, false)]));
    cluster.instances = vec![a, b];
    cluster.services = vec![Service { shape: 1, desired: 3 }];
    cluster
}

#[test]
fn what_waits_is_launched_for_at_once_and_not_twice() {
    let mut cluster = two();
    cluster.fleets[0].next_permitted = Some("2000".to_owned());
    cluster.waiting = vec![Tasks { shape: 2, count: 9 }];
    let decision = decide(&cluster);
    let change = &decision.fleets[0];
    // The two have room for three of them each: three more want one of the big ones, which costs less than three small ones.
    assert_eq!(change.launch, [(1, 1)], "{decision:?}");
    assert!(change.reasons.contains(&Reason::Waiting { tasks: 3, instances: 1 }), "{decision:?}");
    let starting = instance(&cluster, 2, 0, 1, &[]);
    cluster.instances.push(Instance { state: State::Starting, ..starting });
    assert!(decide(&cluster).fleets[0].launch.is_empty());
}

#[test]
fn the_emptier_one_goes_and_its_task_has_room() {
    let mut cluster = two();
    let decision = decide(&cluster);
    assert_eq!(decision.fleets[0].drain, ["i-1"]);
    assert_eq!(decision.fleets[0].reasons, [Reason::Spare { instance: "i-1".to_owned(), tasks: 1 }]);
    assert_eq!(decision.fleets[0].next_permitted, Some(1_060));
    // A standalone task stays where it is.
    let alone = |instance: &mut Instance| instance.standalone = instance.tasks.drain(..).map(|tasks| tasks.count).sum();
    alone(&mut cluster.instances[1]);
    assert_eq!(decide(&cluster).fleets[0].drain, ["i-0"]);
    alone(&mut cluster.instances[0]);
    assert!(decide(&cluster).fleets[0].drain.is_empty());
    let mut soon = two();
    soon.fleets[0].next_permitted = Some("1001".to_owned());
    assert_eq!(decide(&soon).fleets[0].reasons, [Reason::Cooldown { until: 1_001 }]);
    soon.fleets[0].next_permitted = Some("boston".to_owned());
    assert_eq!(decide(&soon).fleets[0].drain, ["i-1"]);
}

#[test]
fn a_notice_drains_and_what_has_no_room_is_replaced_before_it_stops() {
    let mut cluster = two();
    cluster.instances.remove(1);
    cluster.instances[0].notice = Some(Notice::Interruption);
    let decision = decide(&cluster);
    assert_eq!(decision.fleets[0].drain, ["i-0"]);
    assert_eq!(decision.fleets[0].launched(), 1);
    let words: Vec<String> = decision.fleets[0].reasons.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["i-0 is about to be interrupted: drained", "2 tasks wait for room: 1 instance more"]);
}

#[test]
fn an_instance_that_drains_is_taken_back_before_another_is_launched() {
    let mut cluster = two();
    cluster.instances[1].state = State::Draining;
    cluster.waiting = vec![Tasks { shape: 1, count: 8 }];
    let decision = decide(&cluster);
    assert_eq!((decision.fleets[0].undrain.as_slice(), decision.fleets[0].launched()), (&["i-1".to_owned()][..], 0));
}

#[test]
fn as_many_that_drain_are_taken_back_as_what_waits_needs() {
    let mut cluster = two();
    cluster.instances = (0..3).map(|id| instance(&cluster, id, 0, 0, &[])).collect();
    cluster.instances.iter_mut().for_each(|instance| instance.state = State::Draining);
    // Two on each.
    cluster.waiting = vec![Tasks { shape: 1, count: 4 }];
    let change = &decide(&cluster).fleets[0];
    assert_eq!((change.undrain.as_slice(), change.launched()), (&["i-0".to_owned(), "i-1".to_owned()][..], 0));
    assert_eq!(change.terminate, ["i-2"]);
}

/// Fifty empty instances, and a task with a place nowhere.
pub(crate) fn fifty(constraint: &str) -> Cluster {
    let mut cluster =
        Cluster { now: 1_000, shapes: shapes(), fleets: vec![fleet("main", 0, 60)], ..Cluster::default() };
    cluster.instances = (0..50).map(|id| instance(&cluster, id, 0, 0, &[])).collect();
    let mut odd = Shape::new("odd", Resources::task(128, 128));
    odd.constraints = vec![Constraint::parse(constraint).unwrap()];
    cluster.shapes.push(odd);
    cluster.waiting = vec![Tasks { shape: 3, count: 1 }];
    cluster
}

#[test]
fn a_task_that_fits_nowhere_holds_no_fleet_up() {
    let cluster = fifty("attribute:ecs.instance-type == none");
    let decision = decide(&cluster);
    assert_eq!(decision.fleets[0].drain.len(), 50, "{decision:?}");
    assert_eq!(decision.reasons, [Reason::FitsNowhere { shape: "odd".to_owned(), tasks: 1 }]);
    // Nor does one on a port that is taken on every instance.
    let mut cluster = fifty("attribute:ecs.instance-type exists");
    cluster.shapes[3].ports.insert(HostPort::tcp(22));
    cluster.fleets[0].offers.iter_mut().for_each(|offer| offer.kind.ports.extend([HostPort::tcp(22)]));
    cluster.instances.iter_mut().for_each(|instance| instance.host.ports.extend([HostPort::tcp(22)]));
    let decision = decide(&cluster);
    assert_eq!((decision.fleets[0].drain.len(), decision.fleets[0].launched()), (50, 0), "{decision:?}");
}

#[test]
fn a_task_that_waits_for_another_fleets_maximum_holds_up_that_fleet_only() {
    let mut cluster = fifty("attribute:ecs.instance-type == other");
    let other = spot(kind("other", Resources::instance(256, 256), 1.0), 1);
    cluster.fleets.push(Fleet { offers: vec![other], ..fleet("other", 0, 3) });
    for id in 50..53 {
        let full = instance(&cluster, id, 1, 0, &[(3, 2, true)]);
        cluster.instances.push(full);
    }
    let decision = decide(&cluster);
    assert_eq!(decision.reasons, [Reason::AtMaximum { tasks: 1 }]);
    assert_eq!(decision.fleets.iter().map(|change| change.drain.len()).collect::<Vec<_>>(), [50, 0], "{decision:?}");
}

#[test]
fn an_inactive_fleet_empties_as_far_as_there_is_room_and_is_gone_when_empty() {
    let mut cluster = two();
    let api = (1, 5, false);
    cluster.fleets.push(Fleet { status: Status::Inactive, min_weight: 3, ..fleet("old", 0, 9) });
    let (a, b) = (instance(&cluster, 2, 1, 1, &[api]), instance(&cluster, 3, 1, 1, &[api]));
    cluster.instances.extend([a, b]);
    cluster.services[0].desired = 13;
    cluster.fleets[0].policy.in_above = 99;
    let decision = decide(&cluster);
    // Room for 13 in all, 6 and 7 free on what is there.
    assert_eq!(decision.fleets[1].drain, ["i-2", "i-3"], "{decision:?}");
    cluster.instances.remove(0);
    let decision = decide(&cluster);
    assert_eq!((decision.fleets[1].drain.len(), decision.fleets[0].launched()), (1, 1), "{decision:?}");
    cluster.instances.retain(|instance| instance.fleet == 0);
    assert!(decide(&cluster).fleets[1].delete);
}

#[test]
fn compatible_takes_the_originals_steps_and_still_drains() {
    let mut cluster = two();
    cluster.fleets[0].policy = Policy::compatible();
    cluster.fleets[0].offers.remove(0);
    cluster.instances.iter_mut().for_each(|instance| instance.offer = 0);
    cluster.fleets[0].offers[0].weight = 1;
    cluster.fleets[0].signal = Some(2.9);
    assert_eq!(decide(&cluster).fleets[0].launched(), 2);
    cluster.fleets[0].signal = Some(10.1);
    let decision = decide(&cluster);
    assert_eq!((decision.fleets[0].drain.as_slice(), decision.fleets[0].target), (&["i-1".to_owned()][..], 1));
    assert_eq!(decision.fleets[0].next_permitted, Some(1_300));
    cluster.fleets[0].signal = None;
    assert_eq!(decide(&cluster).fleets[0].reasons, [Reason::NoData]);
}

#[test]
fn what_waits_where_only_the_metric_launches_is_not_told_to_be_at_a_maximum() {
    let mut cluster = two();
    cluster.fleets[0].policy = Policy::compatible();
    // Room for 6 and for 7.
    cluster.waiting = vec![Tasks { shape: 1, count: 14 }];
    let decision = decide(&cluster);
    assert_eq!((decision.fleets[0].launched(), &decision.reasons[..]), (0, &[Reason::ByMetric { tasks: 1 }][..]));
    assert!(decision.reasons[0].to_string().starts_with("1 task goes on waiting: with `metric: compatible`"));
    // One that packs is at its maximum.
    cluster.fleets.push(fleet("full", 0, 0));
    assert_eq!(decide(&cluster).reasons, [Reason::AtMaximum { tasks: 1 }]);
    // An inactive one is none that takes them.
    cluster.fleets[1].status = Status::Inactive;
    assert_eq!(decide(&cluster).reasons, [Reason::ByMetric { tasks: 1 }]);
}

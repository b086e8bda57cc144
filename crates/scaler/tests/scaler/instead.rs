//! What is not to be had, and what stands in for it; what nobody can choose.

use landfall_scaler::Resources;
use landfall_scaler::cluster::{Cluster, Fleet, Instance, Offer, Policy, Service, State, Tasks};
use landfall_scaler::decide::{Decision, Reason, decide};
use landfall_scaler::price::Purchase;

use crate::deciding::{fifty, fleet, instance, kind, shapes, spot, two};

#[test]
fn no_capacity_takes_the_next_type_and_then_on_demand_where_allowed() {
    let mut cluster = two();
    cluster.instances.clear();
    cluster.waiting = vec![Tasks { shape: 1, count: 2 }];
    assert_eq!(decide(&cluster).fleets[0].launch, [(0, 1)]);
    cluster.fleets[0].offers[0].short_until = Some(1_100);
    let next = decide(&cluster);
    assert_eq!(next.fleets[0].launch, [(1, 1)]);
    assert!(next.fleets[0].reasons.contains(&Reason::Short { kind: "small".to_owned() }));
    cluster.fleets[0].offers[1].short_until = Some(1_100);
    let none = decide(&cluster);
    assert!(none.fleets[0].launch.is_empty() && none.reasons == [Reason::AtMaximum { tasks: 2 }], "{none:?}");

    let own = kind("small", Resources::instance(1024, 2048), 0.1);
    let own = Offer { purchase: Purchase::OnDemand, ..spot(own, 1) };
    let policy = Policy { out_below: 0, in_above: 0, ..Policy::default() };
    let most = cluster.fleets[0].max_weight;
    cluster.fleets.push(Fleet { instead_of: Some(0), offers: vec![own], policy, ..fleet("instead", 0, most) });
    let bought = decide(&cluster);
    assert!(bought.fleets[0].launch.is_empty());
    assert_eq!(bought.fleets[1].launch, [(0, 1)]);
    assert!(bought.fleets[1].reasons.contains(&Reason::OnDemand));
    assert!(bought.fleets[1].reasons.contains(&Reason::Short { kind: "big".to_owned() }));
    // One maximum for both.
    for id in 0..most as usize {
        let full = instance(&cluster, id, 0, 0, &[(1, 2, false)]);
        cluster.instances.push(full);
    }
    let most = decide(&cluster);
    assert!(most.fleets.iter().all(|change| change.launch.is_empty()), "{most:?}");
    assert_eq!(most.reasons, [Reason::AtMaximum { tasks: 2 }]);
    cluster.instances.clear();
    // Cheaper or not: once Spot is to be had, that is asked for.
    cluster.now = 1_100;
    let again = decide(&cluster);
    assert_eq!((again.fleets[0].launch.as_slice(), again.fleets[1].launched()), (&[(0, 1)][..], 0));
}

/// Types whose zone AWS chooses among two, and a task that is particular about it.
fn particular(zone: &str) -> Cluster {
    let mut cluster = fifty(&format!("attribute:ecs.availability-zone == {zone}"));
    for offer in &mut cluster.fleets[0].offers {
        offer.kind.attributes.one_of("ecs.availability-zone", &["a".to_owned(), "b".to_owned()]);
    }
    cluster.instances.clear();
    cluster
}

fn comes(cluster: &mut Cluster, zone: &str) {
    let id = cluster.instances.len();
    let mut came = instance(cluster, id, 0, 0, &[]);
    came.host.attributes.is("ecs.availability-zone", zone);
    cluster.instances.push(came);
}

#[test]
fn a_task_that_is_particular_about_what_nobody_chooses_is_launched_for_as_long_as_that_may_help() {
    assert_eq!(decide(&particular("c")).reasons, [Reason::FitsNowhere { shape: "odd".to_owned(), tasks: 1 }]);
    let mut cluster = particular("a");
    assert_eq!(decide(&cluster).fleets[0].launched(), 1);
    // It may be the one: nothing more before that is known.
    comes(&mut cluster, "b");
    let starting = instance(&cluster, 1, 0, 0, &[]);
    cluster.instances[0] = Instance { state: State::Starting, ..starting };
    assert_eq!(decide(&cluster).fleets[0].launched(), 0);
    // It was not: Auto Scaling takes the zone with the fewest, so the next one will be.
    cluster.instances.clear();
    comes(&mut cluster, "b");
    let decision = decide(&cluster);
    assert_eq!((decision.fleets[0].launched(), decision.fleets[0].drain.len()), (1, 0), "{decision:?}");
    // It was not either. What shows that stays, and nothing besides is held up.
    comes(&mut cluster, "b");
    let decision = decide(&cluster);
    assert_eq!(decision.reasons, [Reason::Missed { shape: "odd".to_owned(), tasks: 1, instances: 2 }]);
    assert_eq!((decision.fleets[0].launched(), decision.fleets[0].drain.len()), (0, 0), "{decision:?}");
    comes(&mut cluster, "b");
    assert_eq!(decide(&cluster).fleets[0].drain, ["i-2"]);
    // What waits no more holds nothing.
    cluster.waiting.clear();
    let decision = decide(&cluster);
    assert_eq!((decision.fleets[0].launched(), decision.fleets[0].drain.len()), (0, 3), "{decision:?}");
}

#[test]
fn the_last_instance_that_shows_that_others_are_no_better_stays() {
    let mut cluster = fifty("attribute:stack == prod");
    cluster.fleets[0].unseen.and_more();
    let decision = decide(&cluster);
    assert_eq!(decision.reasons, [Reason::FitsNowhere { shape: "odd".to_owned(), tasks: 1 }]);
    assert_eq!((decision.fleets[0].launched(), decision.fleets[0].drain.len()), (0, 49), "{decision:?}");
    assert!(!decision.fleets[0].drain.contains(&"i-0".to_owned()));
}

/// A task is not moved onto an instance that may turn out to be in another zone.
#[test]
fn what_runs_is_not_moved_to_where_it_only_may_run() {
    let mut cluster = particular("a");
    cluster.waiting.clear();
    cluster.shapes[3].need = Resources::task(64, 64);
    for zone in ["a", "a"] {
        comes(&mut cluster, zone);
    }
    cluster.instances[0].tasks = vec![Tasks { shape: 3, count: 1 }];
    cluster.instances[1].state = State::Starting;
    let open = cluster.fleets[0].offers[0].kind.attributes.clone();
    cluster.instances[1].host.attributes = open;
    assert_eq!(decide(&cluster).fleets[0].drain, [] as [&str; 0]);
    cluster.instances[1].host.attributes.is("ecs.availability-zone", "a");
    assert_eq!(decide(&cluster).fleets[0].drain, ["i-0"]);
}

/// Instances of `small` that stand in for a fleet, full of two tasks of `api` each, and Spot to be had again.
fn stood_in(instances: usize, most: u64) -> Cluster {
    let mut cluster = Cluster {
        now: 1_000,
        shapes: shapes(),
        fleets: vec![fleet("main", 0, most), fleet("instead", 0, most)],
        ..Cluster::default()
    };
    cluster.fleets[0].offers.truncate(1);
    cluster.fleets[1].offers.truncate(1);
    cluster.fleets[1].offers[0].purchase = Purchase::OnDemand;
    cluster.fleets[1].instead_of = Some(0);
    cluster.fleets[1].policy = Policy { out_below: 0, in_above: 0, ..Policy::default() };
    for id in 0..instances {
        let full = instance(&cluster, id, 1, 0, &[(1, 2, false)]);
        cluster.instances.push(full);
    }
    cluster.services = vec![Service { shape: 1, desired: 2 * instances as u64 }];
    cluster
}

/// As AWS does what was decided, look for look.
fn done(cluster: &mut Cluster, decision: &Decision) {
    for (fleet, change) in decision.fleets.iter().enumerate() {
        cluster.instances.retain(|one| !change.terminate.contains(&one.id));
        for _ in 0..change.launched() {
            let id = 100 + cluster.instances.len();
            let came = instance(cluster, id, fleet, 0, &[]);
            cluster.instances.push(came);
        }
        for id in &change.drain {
            let at = cluster.instances.iter().position(|one| one.id == *id).unwrap();
            let gone = &mut cluster.instances[at];
            gone.state = State::Draining;
            for moved in std::mem::take(&mut gone.tasks) {
                let need = cluster.shapes[moved.shape].need.by(moved.count);
                let to = cluster
                    .instances
                    .iter_mut()
                    .find(|one| one.state == State::Active && one.host.free.times(&need) > 0);
                let to = to.unwrap();
                to.host.free = to.host.free.less(&need);
                to.tasks.push(moved);
            }
        }
    }
}

#[test]
fn what_stands_in_goes_back_to_spot_full_or_not_and_at_the_maximum_too() {
    for most in [3, 10] {
        let mut cluster = stood_in(3, most);
        // Not while there is none.
        cluster.fleets[0].offers[0].short_until = Some(2_000);
        assert!(decide(&cluster).is_nothing());
        cluster.fleets[0].offers[0].short_until = None;
        for _ in 0..20 {
            let decision = decide(&cluster);
            done(&mut cluster, &decision);
            cluster.now += 60;
            let weight = cluster.instances.len() as u64;
            assert!(weight <= most + 1, "{weight}: {decision:?}");
        }
        let left = |fleet| cluster.instances.iter().filter(|one| one.fleet == fleet).count() as u64;
        assert_eq!(left(1), 0, "{:?}", decide(&cluster));
        assert!((3..=most.min(4)).contains(&left(0)), "{}", left(0));
    }
}

#[test]
fn what_stands_in_leaves_room_for_the_least_of_spot() {
    let mut cluster = stood_in(0, 4);
    cluster.fleets[0].min_weight = 2;
    cluster.fleets[0].offers[0].short_until = Some(2_000);
    cluster.waiting = vec![Tasks { shape: 1, count: 12 }];
    assert_eq!(decide(&cluster).fleets[1].launched(), 2);
}

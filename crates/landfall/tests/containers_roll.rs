//! Nobody notices that a cluster rolls: a service is used all the time while a second version of the cluster takes the place of the first,
//! whose instances are really killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;
mod roll_world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use landfall_cluster::roll::Next;
use roll_world::load::{Kind, Load, Seen};
use roll_world::{Drained, World};

/// `count`: instances of the fleet, beside one of a group.
fn infra(count: u32) -> String {
    format!(
        "cluster:
  name: web
  availability_zones: [us-west-2a]
ec2_instances:
  auto_scaling_groups: [{{name: reserved, instance_type: t3.medium}}]
  spot_fleets:
    - name: main
      desired_weight: {count}
      min_weight: {count}
      max_weight: 8
      bids: [{{instance_type: t3.small, price: 0.01}}]
"
    )
}

/// As it is where it is needed: network namespaces.
fn fit() -> bool {
    let why = roll_world::instance::unfit();
    if let Some(why) = &why {
        eprintln!("not run: there can be no instances with networks of their own here: {why}");
    }
    why.is_none()
}

struct Rolled {
    did: Vec<Next>,
    during: Seen,
    whole: Seen,
    seconds: f64,
}

/// The second version comes and the first one goes, while the service is used: for so many requests at least from its beginning on.
async fn rolled(world: &World, infra: &str, tasks: usize, at_least: usize) -> Rolled {
    world.deploy(infra, "one").await;
    let port = world.serve(tasks).await;
    let load = Load::begin(port);
    let (mut before, all) = (load.so_far(), world.instances("one").0.len());
    // All kinds of requests are under way, and every instance has had some.
    let patience = Instant::now() + Duration::from_secs(60);
    while before.by.len() < all || before.answered.len() < Kind::ALL.len() {
        assert!(Instant::now() < patience, "{before:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        before = load.so_far();
    }
    let began = Instant::now();
    let did = world.deploy(infra, "two").await;
    let seconds = began.elapsed().as_secs_f64();
    let mut during = load.so_far();
    while load.so_far().requests() < before.requests() + at_least {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (kind, count) in before.answered {
        *during.answered.entry(kind).or_default() -= count;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Rolled { did, during, whole: load.end().await, seconds }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_uses_a_service_notices_that_the_cluster_rolls() {
    if !fit() {
        return;
    }
    let world = World::new(Drained::Waits).await;
    let Rolled { did, during, whole, seconds } = rolled(&world, &infra(3), 8, 10_000).await;
    eprintln!(
        "{} requests, {} of them during the {seconds:.1} s of the roll: {:?}; {} failures",
        whole.requests(),
        during.requests(),
        during.answered,
        whole.failures.len()
    );
    assert_eq!(whole.failures, [""; 0]);
    assert!(whole.requests() >= 10_000, "{whole:?}");
    for kind in Kind::ALL {
        assert!(during.answered.get(&kind).is_some_and(|count| *count > 20), "{kind:?}: {during:?}");
    }
    // Four instances were drained one by one, and are gone; four have come; all have served.
    let drained = did.iter().filter_map(|one| match one {
        Next::Drain { instances, .. } => Some(instances.len()),
        _ => None,
    });
    assert_eq!(drained.collect::<Vec<_>>(), [1; 4], "{did:?}");
    assert!(matches!(did.last(), Some(Next::Delete { stack, .. }) if stack == "web-asg-one"), "{did:?}");
    let ((old, gone), (new, none)) = (world.instances("one"), world.instances("two"));
    assert_eq!((old.len(), gone.len(), new.len(), none.len()), (0, 4, 4, 0));
    let by = |version: &str, names: &[String]| names.iter().map(|name| format!("{version} {name}")).collect();
    let all: BTreeSet<String> =
        [by("one", &gone), by("two", &new)].into_iter().flat_map(|of: Vec<String>| of).collect();
    assert_eq!(whole.by, all);
}

/// That there are failures to be seen, where there are any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_are_killed_undrained_are_noticed() {
    if !fit() {
        return;
    }
    let world = World::new(Drained::Killed).await;
    let Rolled { did, whole, .. } = rolled(&world, &infra(1), 4, 0).await;
    eprintln!("{} requests, {} failures: {:?}", whole.requests(), whole.failures.len(), whole.failures.first());
    assert!(matches!(did.last(), Some(Next::Delete { stack, .. }) if stack == "web-asg-one"), "{did:?}");
    assert_eq!(world.instances("one").1.len(), 2);
    assert!(whole.failures.len() > 3, "{whole:?}");
}

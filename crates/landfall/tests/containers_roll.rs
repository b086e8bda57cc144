//! Nobody notices that a cluster rolls: a service is used all the time while a second version of the cluster takes the place of the first,
//! whose instances are really killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;
mod roll_world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use landfall_cluster::roll::Next;
use roll_world::World;
use roll_world::load::{Kind, Load, Seen};

/// Four instances.
const INFRA: &str = "cluster:
  name: web
  availability_zones: [us-west-2a]
ec2_instances:
  auto_scaling_groups: [{name: reserved, instance_type: t3.medium}]
  spot_fleets:
    - name: main
      desired_weight: 3
      min_weight: 3
      max_weight: 8
      bids: [{instance_type: t3.small, price: 0.01}]
";
const TASKS: usize = 8;
/// From the beginning of the roll on.
const AT_LEAST: usize = 10_000;

/// As it is where it is needed: network namespaces. Where there are none the test fails, unless it is said that this is known.
fn fit() -> bool {
    let Some(why) = roll_world::instance::unfit() else { return true };
    let known = std::env::var("LANDFALL_TESTS_WITHOUT_ENGINE").is_ok_and(|value| value == "1");
    assert!(known, "there can be no instances with networks of their own here: {why}");
    eprintln!("skipped: there can be no instances with networks of their own here: {why}");
    false
}

struct Rolled {
    port: u16,
    did: Vec<Next>,
    during: Seen,
    whole: Seen,
    seconds: f64,
}

/// The second version comes and the first one goes, while the service is used.
async fn rolled(world: &World) -> Rolled {
    world.deploy(INFRA, "one").await;
    let port = world.serve(TASKS).await;
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
    let did = world.deploy(INFRA, "two").await;
    let seconds = began.elapsed().as_secs_f64();
    let mut during = load.so_far();
    let patience = Instant::now() + Duration::from_secs(90);
    loop {
        let since = load.so_far().requests() - before.requests();
        if since >= AT_LEAST {
            break;
        }
        assert!(Instant::now() < patience, "{since} requests since the roll began, and it has ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (kind, count) in before.answered {
        *during.answered.entry(kind).or_default() -= count;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Rolled { port, did, during, whole: load.end().await, seconds }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_uses_a_service_notices_that_the_cluster_rolls() {
    if !fit() {
        return;
    }
    let world = World::new().await;
    let Rolled { port, did, during, whole, seconds } = rolled(&world).await;
    eprintln!(
        "{} requests, {} of them during the {seconds:.1} s of the roll: {:?}; {} failures",
        whole.requests(),
        during.requests(),
        during.answered,
        whole.failures.len()
    );
    assert_eq!(whole.failures, [""; 0]);
    assert!(whole.requests() >= AT_LEAST, "{whole:?}");
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
    is_noticed_undrained(&world, port).await;
}

/// That there are failures to be seen, where there are any.
async fn is_noticed_undrained(world: &World, port: u16) {
    let load = Load::begin(port);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.kill_one("two").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let seen = load.end().await;
    let (all, failures) = (seen.requests(), &seen.failures);
    eprintln!("killed undrained: {all} requests, {} failures: {:?}", failures.len(), failures.first());
    let (there, gone) = world.instances("two");
    assert_eq!((there.len(), gone.len()), (3, 1));
    assert!(!failures.is_empty(), "{seen:?}");
}

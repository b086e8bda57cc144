//! What dies or ails while it serves, beside what is to be served next.

use landfall_ports::orchestrator::RolloutState;
use proptest::prelude::*;

use super::decide::{Elb, TaskView};
use super::decide_tests::{Fate, World, request, targeted};

/// Too busy for its check is not dead: its connections stay until another stands in for it, where the maximum has room for one.
#[test]
fn an_unhealthy_task_of_a_good_version_stays_until_another_is_ready() {
    for (maximum, desired, least) in [(200, 1, 1), (200, 3, 3), (100, 3, 2)] {
        let mut request = targeted(request("a:1", desired));
        request.deployment.maximum_percent = maximum;
        let mut world = World::new(&request, vec![]);
        world.until("up", |world| world.rollout(0) == RolloutState::Completed);
        let sick: Vec<String> = world.views().iter().map(|view| view.id.clone()).collect();
        let mut fewest = usize::MAX;
        for _ in 0..2_000 {
            for (view, _, fate) in world.tasks.iter_mut().filter(|(view, ..)| sick.contains(&view.id)) {
                (view.elb, *fate) = (Elb::Unhealthy, Fate::NeverHealthy);
            }
            world.tick();
            fewest = fewest.min(world.views().iter().filter(|view| view.stopped.is_none()).count());
        }
        assert!(fewest >= least, "{maximum} %: {fewest} of {desired}");
        assert!(world.most <= desired as usize * maximum as usize / 100, "{maximum} %: {} at once", world.most);
        let left: Vec<TaskView> = world.views().into_iter().filter(|view| view.stopped.is_none()).collect();
        assert_eq!(left.len(), desired as usize, "{:#?}", world.state.events);
        assert!(left.iter().all(|view| view.elb == Elb::Healthy), "{maximum} %: {left:#?}");
        assert!(world.said("is unhealthy in (target-group tg)"));
    }
}

#[test]
fn one_that_recovers_needs_nobody_in_its_place() {
    let mut world = World::new(&targeted(request("a:1", 1)), vec![]);
    world.until("up", |world| world.rollout(0) == RolloutState::Completed);
    let first = world.tasks[0].0.id.clone();
    (world.tasks[0].0.elb, world.tasks[0].2) = (Elb::Unhealthy, Fate::NeverHealthy);
    world.run(50);
    assert_eq!(world.tasks.len(), 2);
    (world.tasks[0].0.elb, world.tasks[0].2) = (Elb::Healthy, Fate::Runs);
    world.run(500);
    assert_eq!(world.tasks.iter().map(|(view, ..)| &view.id).collect::<Vec<_>>(), [&first]);
}

#[test]
fn an_ailment_that_is_over_delays_nothing_later() {
    let mut world = World::new(&targeted(request("a:1", 1)), vec![]);
    world.until("up", |world| world.rollout(0) == RolloutState::Completed);
    for _ in 0..5 {
        let last = world.tasks.len() - 1;
        (world.tasks[last].0.elb, world.tasks[last].2) = (Elb::Unhealthy, Fate::NeverHealthy);
        world.run(40_000);
    }
    world.dies(0);
    let before = world.started;
    world.run(1_000);
    assert_eq!(world.started - before, 1, "{:#?}", world.state.events);
}

/// As on ECS: by its own version, which the new one's fate does not touch.
#[test]
fn what_dies_of_the_old_version_during_a_deployment_is_replaced() {
    for (desired, fate) in [(1, Fate::Dies(150)), (3, Fate::NeverHealthy)] {
        let of = |definition: &str| {
            let mut request = targeted(request(definition, desired));
            request.deployment.circuit_breaker.threshold = Some(9);
            request
        };
        let mut world = World::new(&of("a:1"), vec![("a:2", fate)]);
        world.until("first", |world| world.rollout(0) == RolloutState::Completed);
        let good = world.state.deployments[0].id.clone();
        world.update(&of("a:2"));
        world.run(20);
        world.dies(0);
        let serving = |world: &World| world.serving(&good);
        world.run(20);
        assert_eq!(serving(&world), desired as usize - 1);
        world.until("replaced", |world| serving(world) == desired as usize);
        assert_eq!(world.rollout(0), RolloutState::InProgress, "long before it is known how the new version fares");
        world.until("rolled back", |world| {
            world.state.deployments.iter().any(|d| d.rollout == RolloutState::RolledBack)
        });
        assert_eq!(
            (serving(&world), world.tasks.iter().filter(|(view, ..)| view.live()).count()),
            (desired as usize, desired as usize)
        );
    }
}

/// A task that is started for one that died is in nobody's way, and is not stopped by what counts the others too.
#[test]
fn a_deployment_that_is_superseded_half_way_leaves_everything_as_it_serves() {
    for fate in [Fate::Runs, Fate::Dies(150)] {
        let mut world = World::new(&targeted(request("a:1", 4)), vec![("a:3", fate)]);
        world.until("first", |world| world.rollout(0) == RolloutState::Completed);
        world.update(&targeted(request("a:2", 4)));
        // Half of it: two of the new ones are ready, two are not yet, and two of the old ones went.
        world.run(120);
        let newest = world.state.deployments[0].id.clone();
        let mut seen = 0;
        for (view, since, _) in world.tasks.iter_mut().filter(|(view, ..)| view.deployment == newest) {
            seen += 1;
            if seen > 2 { *since += 1_000_000 } else { view.elb = Elb::Healthy }
        }
        world.run(30);
        let healthy = |world: &World| world.tasks.iter().filter(|(view, ..)| view.healthy()).count();
        assert_eq!(healthy(&world), 4);
        let before = world.started;
        world.update(&targeted(request("a:3", 4)));
        world.run(90);
        assert_eq!((world.started - before, healthy(&world)), (4, 4), "{:#?}", world.state.events);
        world.until("settled", |world| world.rollout(0) == RolloutState::Completed);
        assert!(world.least >= 4 && world.most <= 8, "{} to {}", world.least, world.most);
    }
}

/// One slot is the new version's, which may be the remedy; all others are first for what serves.
#[test]
fn a_sick_old_version_leaves_room_for_the_new_one() {
    let of = |definition: &str| {
        let mut request = targeted(request(definition, 1));
        request.deployment.health_check_grace_period = 300;
        request
    };
    let mut world = World::new(&of("a:1"), vec![]);
    world.until("first", |world| world.rollout(0) == RolloutState::Completed);
    world.run(301_000);
    (world.tasks[0].0.elb, world.tasks[0].2) = (Elb::Unhealthy, Fate::NeverHealthy);
    world.fates.push(("a:1", Fate::NeverHealthy));
    world.run(50);
    assert_eq!(world.tasks.len(), 2, "one stands in, and is never healthy");
    world.update(&of("a:2"));
    world.run(1_000);
    assert_eq!(world.rollout(0), RolloutState::Completed, "{:#?}", world.state.events);
}

#[test]
fn what_died_of_the_old_version_is_first_where_there_is_little_room() {
    let of = |definition: &str| {
        let mut request = targeted(request(definition, 4));
        request.deployment.maximum_percent = 150;
        request
    };
    let mut world = World::new(&of("a:1"), vec![("a:2", Fate::Dies(i64::MAX / 2))]);
    world.until("first", |world| world.rollout(0) == RolloutState::Completed);
    let good = world.state.deployments[0].id.clone();
    world.update(&of("a:2"));
    world.run(20);
    world.dies(0);
    world.run(600);
    assert_eq!((world.serving(&good), world.most), (4, 6), "{:#?}", world.state.events);
}

/// A sibling that has lived for long says nothing of one that cannot start.
#[test]
fn one_of_several_that_dies_again_and_again_is_started_ever_more_slowly() {
    let mut world = World::new(&targeted(request("a:1", 2)), vec![]);
    world.until("up", |world| world.rollout(0) == RolloutState::Completed);
    world.run(40_000);
    world.fates.push(("a:1", Fate::Dies(50)));
    world.dies(0);
    let before = world.started;
    world.run(10_000);
    assert!((4..=7).contains(&(world.started - before)), "{}", world.started - before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Versions of every fate, deaths, ailments, recoveries and counts in any order: never more tasks than the maximum, no storm of starts, and
    /// once a version that runs is asked for, just that is there.
    #[test]
    fn whatever_happens_it_settles(
        acts in prop::collection::vec((0_u8..8, any::<u8>(), 1_i64..900), 1..25),
        percents in prop::sample::select(vec![(100, 200), (100, 150), (50, 100), (0, 100), (0, 200)]),
        desired in 1_u32..5,
        rollback in any::<bool>(),
    ) {
        // Other percentages leave no room for an update.
        prop_assume!(desired * percents.1 / 100 > desired || (desired * percents.0).div_ceil(100) < desired);
        let of = |definition: &str, desired: u32| {
            let mut request = targeted(request(definition, desired));
            (request.deployment.minimum_healthy_percent, request.deployment.maximum_percent) = percents;
            request.deployment.circuit_breaker.rollback = rollback;
            request
        };
        let fates = vec![("dies:1", Fate::Dies(150)), ("sick:1", Fate::NeverHealthy)];
        let mut world = World::new(&of("good:1", desired), fates);
        let mut asked = desired;
        for (act, which, ms) in acts {
            let at = usize::from(which) % world.tasks.len().max(1);
            match (act, world.tasks.get_mut(at)) {
                (0, _) => asked = 1 + u32::from(which) % 4,
                (1, Some((view, ..))) if view.live() => world.dies(at),
                (2, Some((view, _, fate))) if view.live() && view.started_at.is_some() => (view.elb, *fate) = (Elb::Unhealthy, Fate::NeverHealthy),
                (3, Some((view, _, fate))) if view.live() && view.started_at.is_some() => (view.elb, *fate) = (Elb::Healthy, Fate::Runs),
                _ => {}
            }
            let definition = ["good:1", "good:2", "dies:1", "sick:1"][usize::from(which) % 4];
            if matches!(act, 0 | 4..=6) {
                world.update(&of(definition, asked));
            }
            let (before, most) = (world.started, asked as usize * percents.1 as usize / 100);
            world.run(ms);
            let there = world.tasks.iter().filter(|(view, ..)| view.live()).count();
            // Where the count was lowered what is too much goes one after another.
            prop_assert!(there <= most.max(4 * percents.1 as usize / 100), "{} of {}", there, most);
            prop_assert!(world.started - before <= 40, "{} starts within {} ms: {:#?}", world.started - before, ms, world.state.events);
        }
        world.update(&of("good:9", desired));
        let settled = |world: &World| {
            let newest = &world.state.deployments[0].id;
            let mut left = world.tasks.iter().map(|(view, ..)| view).filter(|view| view.stopped.is_none());
            let all = left.clone().count() == desired as usize;
            all && left.all(|view| view.healthy() && &view.deployment == newest)
        };
        world.until("settled", |world| world.rollout(0) == RolloutState::Completed && settled(world));
        let started = world.started;
        world.run(5_000);
        prop_assert!(settled(&world) && world.started == started, "{:#?}", world.state.events);
    }
}

/// What an update asks more of is not asked of what it replaces, and one that comes out well leaves nobody behind.
#[test]
fn the_old_version_grows_with_no_update() {
    let mut world = World::new(&targeted(request("a:1", 1)), vec![]);
    world.until("first", |world| world.rollout(0) == RolloutState::Completed);
    world.update(&targeted(request("a:2", 4)));
    world.until("second", |world| world.rollout(0) == RolloutState::Completed);
    assert_eq!((world.started, world.state.deployments[1].had), (5, 0));
}

//! Rolls from look to look against a cluster that behaves as ECS and CloudFormation do, with whoever rolls killed anywhere.

mod short;
mod world;

use std::collections::BTreeMap;

use landfall_cluster::roll::{
    Base, Bond, Compute, Failure, Goal, Instance, Named, Next, Patience, Short, State, Wait, computes, emptied, next,
};
use landfall_cluster::{Part, Standing, Version, labels, owner, stack_name};
use landfall_model::Timestamp;
use landfall_model::cloudformation::StackState;
use landfall_model::fleet::Share;
use landfall_model::inventory::TAG_ENVIRONMENT;
use proptest::prelude::*;

use self::world::{Broken, World, base, compute, instance};

fn version(text: &str) -> Version {
    Version::parse(text, "any").unwrap()
}

fn stack(cluster: &str, name: &str, status: &str, created: i64) -> StackState {
    let one = version(name);
    let mut tags = labels(cluster, Part::Compute, Some(&one));
    tags.insert(TAG_ENVIRONMENT.to_owned(), owner(cluster));
    StackState {
        id: format!("arn:{cluster}-{name}"),
        name: stack_name(cluster, Part::Compute, Some(&one)),
        status: status.to_owned(),
        tags,
        parameters: [("Status", "active"), ("Roll", "done")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        created: Timestamp::from_second(created).ok(),
        ..StackState::default()
    }
}

#[test]
fn stacks_are_this_cluster_s_by_their_tags_and_by_nothing_else() {
    let mut foreign = stack("kloudcover", "foreign", "CREATE_COMPLETE", 9);
    foreign.tags.remove(TAG_ENVIRONMENT);
    let mut health = stack("kloudcover", "health", "CREATE_COMPLETE", 9);
    health.tags.insert("landfall:part".to_owned(), "health".to_owned());
    let all = [
        stack("scaling-kloudcover", "something", "CREATE_COMPLETE", 1),
        stack("kloudcover", "something", "UPDATE_ROLLBACK_COMPLETE", 3),
        stack("kloudcover", "my-version", "CREATE_COMPLETE", 4),
        stack("kloudcover", "10", "ROLLBACK_COMPLETE", 5),
        stack("kloudcover", "1", "UPDATE_IN_PROGRESS", 2),
        stack("kloudcover", "gone", "DELETE_COMPLETE", 6),
        // As ecs-cluster-deployer made them: of its name alone nobody is anybody's.
        StackState { tags: BTreeMap::new(), ..stack("kloudcover", "old", "CREATE_COMPLETE", 7) },
        foreign,
        health,
    ];
    let found: Vec<(String, State)> =
        computes("kloudcover", &all).into_iter().map(|one| (one.version.to_string(), one.state)).collect();
    let of = |name: &str, state: State| (name.to_owned(), state);
    let expected = [
        of("1", State::Busy),
        of("something", State::Ready),
        of("my-version", State::Ready),
        of("10", State::NeverCame),
    ];
    assert_eq!(found, expected);
    assert_eq!(computes("scaling-kloudcover", &all).len(), 1);
    assert_eq!(computes("kloud", &all), []);
}

fn deploy(name: &str) -> Goal {
    Goal::Deploy { version: version(name), fresh: true }
}

fn keep(name: &str) -> Goal {
    Goal::Keep { version: version(name), fresh: true }
}

fn retire(name: &str) -> Goal {
    Goal::Retire { version: version(name), fresh: true }
}

fn decided(goal: &Goal, world: &World) -> Next {
    next(goal, &world.facts, Patience::default())
}

#[test]
fn a_first_version_comes_and_a_second_takes_its_place() {
    let mut world = World::new();
    assert_eq!(world.roll(&deploy("1"), &[]), Next::Done);
    assert_eq!(world.standing("1"), Some(Standing::Active));
    for one in &mut world.facts.instances {
        one.tasks = 4;
    }
    world.facts.proofs.clear();
    assert_eq!(world.roll(&deploy("10"), &[]), Next::Done);
    assert_eq!((world.standing("1"), world.standing("10")), (None, Some(Standing::Active)));
    assert_eq!(world.deleted, ["1"]);
    assert_eq!(world.tasks(), 8);
}

#[test]
fn what_does_not_work_leaves_the_old_untouched() {
    let half = [Broken::HalfEmpty, Broken::HalfStops];
    for broken in [Broken::Empty, Broken::Full, Broken::Stops, Broken::Hangs, Broken::Unmade].into_iter().chain(half) {
        let mut world = World::new().with("1", Standing::Active, 4);
        world.broken.insert("2".to_owned(), broken);
        let ended = world.roll(&deploy("2"), &[]);
        assert!(matches!(ended, Next::Failed { .. }), "{broken:?}: {ended:?}");
        assert_eq!(world.standing("1"), Some(Standing::Active));
        assert!(
            world.facts.instances.iter().all(|one| !one.draining && one.version.as_deref() == Some("1")),
            "{broken:?}"
        );
        // The next one cleans up.
        world.facts.proofs.clear();
        world.facts.refused.clear();
        world.broken.clear();
        assert_eq!(world.roll(&deploy("3"), &[]), Next::Done);
        assert_eq!(world.standing("2"), None, "{broken:?}");
    }
}

/// ECS places tasks of services also on a version that is tested.
#[test]
fn what_started_on_a_version_that_does_not_work_leaves_it_first() {
    let mut world = World::new().with("1", Standing::Active, 4);
    world.lands = 1;
    world.broken.insert("2".to_owned(), Broken::HalfStops);
    let why = Failure::Unproven { version: version("2") };
    assert_eq!(world.roll(&deploy("2"), &[]), Next::Failed { why });
    assert_eq!(world.tasks(), 4 * 3 + 2, "none was killed");
    // Where there is no room they are not killed either.
    let mut world = World::new();
    world.lands = 1;
    world.broken.insert("1".to_owned(), Broken::HalfEmpty);
    let why = "no instance of burst registered within 900 s".to_owned();
    let unmoved = Next::Failed { why: Failure::Unmoved { version: version("1"), why, tasks: 1 } };
    assert_eq!(world.roll(&deploy("1"), &[]), unmoved);
    assert_eq!((world.standing("1"), world.tasks()), (Some(Standing::Testing), 2));
    // Asked for again long after, when there is room.
    world.facts.now += 7_200;
    world.facts.leaves = None;
    world.facts.instances.extend((0..2).map(|number| instance("0", number, 3)));
    let why = Failure::Unproven { version: version("1") };
    assert_eq!(world.roll(&deploy("1"), &[]), Next::Failed { why });
    assert_eq!(world.tasks(), 2 * 3 + 1, "none was killed");
}

#[test]
fn services_keep_what_they_should_have() {
    let mut world = World::new().with("1", Standing::Inactive, 8).with("2", Standing::Active, 8);
    world.facts.unsteady = vec![Short::new("web", 2, 3, 100)];
    let on = Wait::Steady { services: vec!["web".to_owned()] };
    assert_eq!(decided(&Goal::Settle, &world), Next::Wait { on });
    world.facts.unsteady.clear();
    let Next::Drain { instances, .. } = decided(&Goal::Settle, &world) else { panic!() };
    assert_eq!(instances.len(), 2);
    world.act(&Next::Drain { version: version("1"), instances });
    // Not the next before the first are empty.
    let on = Wait::Move { version: version("1"), instances: 2, tasks: 6 };
    assert_eq!(decided(&Goal::Settle, &world), Next::Wait { on });
}

#[test]
fn what_is_set_active_again_is_drained_no_more() {
    let mut world = World::new().with("1", Standing::Inactive, 4).with("2", Standing::Active, 4);
    for _ in 0..3 {
        let decided = decided(&Goal::Settle, &world);
        world.act(&decided);
    }
    assert!(world.facts.instances.iter().any(|one| one.draining));
    world.of(&version("1")).standing = Standing::Active;
    assert_eq!(decided(&Goal::Settle, &world), Next::Done);
    assert_eq!(world.roll(&keep("1"), &[]), Next::Done);
    assert!(world.facts.instances.iter().all(|one| !one.draining));
    // And the deployment that is done does not set it inactive again.
    assert_eq!(world.roll(&Goal::Deploy { version: version("2"), fresh: false }, &[]), Next::Done);
    assert_eq!(world.standing("1"), Some(Standing::Active));
}

/// Also where the stacks that last have to be changed first.
#[test]
fn a_failure_of_before_counts_no_more() {
    for unmade in [false, true] {
        let mut world = World::new().with("1", Standing::Active, 2).with("2", Standing::Failed, 0);
        if unmade {
            world.of(&version("2")).state = State::NeverCame;
        }
        world.facts.cluster.current = false;
        world.facts.health.current = false;
        world.broken.insert("2".to_owned(), Broken::Stops);
        let why = Failure::Unproven { version: version("2") };
        assert_eq!(world.roll(&deploy("2"), &[]), Next::Failed { why }, "tried once more, and once");
        assert_eq!(world.standing("1"), Some(Standing::Active));
        world.broken.clear();
        world.facts.cluster.current = false;
        assert_eq!(world.roll(&deploy("2"), &[]), Next::Done);
        assert_eq!((world.standing("1"), world.standing("2")), (None, Some(Standing::Active)));
    }
}

#[test]
fn who_activates_and_who_deactivates_do_not_fight() {
    let mut world = World::new().with("1", Standing::Inactive, 2).with("2", Standing::Active, 2);
    let mut goal = keep("1");
    let told = Next::Stand { version: version("1"), standing: Standing::Active, why: None };
    assert_eq!(decided(&goal, &world), told);
    // Nobody knows of what was not done.
    goal.did(&Next::Stand { version: version("2"), standing: Standing::Inactive, why: None });
    goal.did(&Next::Delete { stack: "c-asg-1".to_owned(), id: "arn:1".to_owned() });
    assert_eq!(decided(&goal, &world), told);
    goal.did(&told);
    let Next::Failed { why } = decided(&goal, &world) else { panic!() };
    assert_eq!(why.to_string(), "version 1 was set inactive meanwhile");
    let mut goal = retire("2");
    world.of(&version("1")).standing = Standing::Active;
    let told = Next::Stand { version: version("2"), standing: Standing::Inactive, why: None };
    assert_eq!(decided(&goal, &world), told);
    goal.did(&told);
    let Next::Failed { why } = decided(&goal, &world) else { panic!() };
    assert_eq!(why.to_string(), "version 2 was set active meanwhile");
    let gone = Failure::Gone { version: version("3") };
    assert_eq!(decided(&keep("3"), &world), Next::Failed { why: gone });
    // That is what was asked for.
    assert_eq!(decided(&retire("3"), &world), Next::Done);
}

#[test]
fn the_last_version_that_is_used_stays() {
    let mut world = World::new().with("1", Standing::Failed, 0).with("2", Standing::Active, 0);
    let Next::Failed { why } = decided(&retire("2"), &world) else { panic!() };
    assert_eq!(why.to_string(), "2 is the only version of cluster c that is used: its tasks would have nowhere to go");
    // One that does not work may go before any does.
    world.of(&version("2")).standing = Standing::Failed;
    assert_eq!(world.roll(&retire("1"), &[]), Next::Done);
    assert_eq!(world.deleted, ["1", "2"]);
    // What is half gone is no place for tasks.
    let mut world = World::new().with("1", Standing::Active, 0).with("2", Standing::Active, 2);
    world.of(&version("1")).state = State::Stuck("DELETE_FAILED".to_owned());
    assert!(matches!(decided(&retire("2"), &world), Next::Failed { why: Failure::Last { .. } }));
    let gone = Next::Delete { stack: "c-asg-1".to_owned(), id: "arn:1".to_owned() };
    assert_eq!((decided(&retire("1"), &world), decided(&Goal::Settle, &world)), (gone, Next::Done));
}

/// Whoever proved it died, or was overtaken: the task would keep its instance for as long as it lives.
#[test]
fn what_proves_a_version_that_goes_is_stopped() {
    let mut world = World::new().with("1", Standing::Inactive, 2).with("2", Standing::Active, 2);
    world.of(&version("1")).proving = vec!["t1".to_owned()];
    for goal in [deploy("2"), keep("2"), retire("1"), Goal::Settle] {
        assert_eq!(decided(&goal, &world), Next::StopProof { task: "t1".to_owned() });
    }
    world.of(&version("1")).proving.clear();
    assert!(matches!(decided(&Goal::Settle, &world), Next::Drain { .. }));
}

#[test]
fn whom_a_version_replaces() {
    let mut world = World::new().with("used", Standing::Active, 1).with("inactive", Standing::Inactive, 1);
    world = world.with("failed", Standing::Failed, 0).with("tested", Standing::Testing, 1);
    fn names<'a>(all: impl IntoIterator<Item = &'a Compute>) -> Vec<&'a str> {
        all.into_iter().map(|one| one.version.as_str()).collect()
    }
    let facts = &world.facts;
    assert_eq!(names(facts.replaced_by(&version("new"))), ["used", "tested"]);
    // It takes nobody's place any more.
    assert_eq!(names(facts.replaced_by(&version("used"))), [""; 0]);
    assert_eq!(names(facts.replaced_by(&version("inactive"))), ["used"]);
    assert_eq!(names(emptied(&deploy("new"), facts)), ["inactive", "failed"]);
}

#[test]
fn a_whole_cluster_goes_with_its_tasks() {
    let mut world = World::new().with("1", Standing::Active, 3);
    for one in &mut world.facts.instances {
        one.tasks = 0;
    }
    assert_eq!(world.roll(&Goal::Destroy, &[]), Next::Done);
    assert_eq!((world.facts.cluster.state, world.facts.health.state), (State::Absent, State::Absent));
}

#[test]
fn stacks_that_are_not_ours_or_stuck_stop_it() {
    let mut world = World::new().with("1", Standing::Active, 1);
    world.facts.cluster.state = State::Foreign(Some("shop@prod".to_owned()));
    let ended = decided(&deploy("2"), &world);
    assert!(
        matches!(&ended, Next::Failed { why: Failure::Foreign { stack, .. } } if stack == "c-cluster"),
        "{ended:?}"
    );
    world.facts.cluster.state = State::Stuck("UPDATE_ROLLBACK_FAILED".to_owned());
    let Next::Failed { why } = decided(&deploy("2"), &world) else { panic!() };
    assert_eq!(why.to_string(), "stack c-cluster is UPDATE_ROLLBACK_FAILED, and cannot be changed");
    world.facts.cluster.state = State::Ready;
    world.of(&version("1")).current = false;
    let same = decided(&deploy("1"), &world);
    assert_eq!(same, Next::Failed { why: Failure::Other { version: version("1") } });
}

#[test]
fn what_is_rolled_back_is_not_asked_for_again_and_again() {
    let mut world = World::new().with("1", Standing::Active, 1).with("2", Standing::Testing, 1);
    // Rolled back before anybody asked: tried once more.
    world.facts.cluster = Base { current: false, ..base("cluster", State::Ready) };
    assert_eq!(decided(&deploy("2"), &world), Next::Apply { part: Part::Cluster });
    world.facts.cluster.undone = true;
    let Next::Failed { why } = decided(&deploy("2"), &world) else { panic!() };
    assert_eq!(why.to_string(), "the change of stack c-cluster was rolled back");
    world.facts.cluster.current = true;
    world.of(&version("2")).undone = true;
    let undone = Next::Failed { why: Failure::Undone { stack: "c-asg-2".to_owned() } };
    // Neither tested further nor taken for what `activate` asked for.
    for goal in [deploy("2"), keep("2"), Goal::Settle] {
        assert_eq!(decided(&goal, &world), undone);
    }
    assert!(matches!(decided(&Goal::Destroy, &world), Next::Delete { .. }));
    // And `activate` waits until CloudFormation says how it went.
    *world.of(&version("2")) = Compute { state: State::Busy, ..compute("2", Standing::Active, 900) };
    let on = Wait::Stack { stack: "c-asg-2".to_owned() };
    assert_eq!(decided(&keep("2"), &world), Next::Wait { on });
}

#[test]
fn what_could_not_be_deleted_is_deleted_again_after_the_others() {
    let half_gone = || State::Stuck("DELETE_FAILED".to_owned());
    let mut world =
        World::new().with("1", Standing::Inactive, 0).with("2", Standing::Inactive, 0).with("3", Standing::Active, 2);
    world.of(&version("1")).state = half_gone();
    let gone = |name: &str| Next::Delete { stack: format!("c-asg-{name}"), id: format!("arn:{name}") };
    assert_eq!(decided(&deploy("3"), &world), gone("1"));
    // Not a second time in one run, but what else there is to do is done.
    world.of(&version("1")).undone = true;
    assert_eq!(decided(&deploy("3"), &world), gone("2"));
    world.act(&gone("2"));
    let stuck = Failure::Stuck { stack: "c-asg-1".to_owned(), status: "DELETE_FAILED".to_owned() };
    assert_eq!(decided(&deploy("3"), &world), Next::Failed { why: stuck });
    // Somebody deletes one that is used: it goes where another works, and is left alone elsewhere.
    *world.of(&version("1")) = Compute { state: half_gone(), ..compute("1", Standing::Active, 100) };
    assert_eq!(decided(&deploy("3"), &world), gone("1"));
    assert_eq!(decided(&Goal::Settle, &world), Next::Done);
    // The wanted one itself, without and with tasks on what is left of it.
    assert_eq!(decided(&deploy("1"), &world), gone("1"));
    world.facts.instances.push(instance("1", 0, 2));
    assert!(matches!(decided(&deploy("1"), &world), Next::Failed { why: Failure::Stuck { .. } }));
}

#[test]
fn a_stuck_version_that_is_used_is_not_passed_over() {
    let mut world = World::new().with("1", Standing::Active, 2).with("2", Standing::Replacing, 2);
    world.of(&version("1")).state = State::Stuck("UPDATE_ROLLBACK_FAILED".to_owned());
    let why = Failure::Stuck { stack: "c-asg-1".to_owned(), status: "UPDATE_ROLLBACK_FAILED".to_owned() };
    assert_eq!(decided(&deploy("2"), &world), Next::Failed { why });
    world.of(&version("1")).state = State::Ready;
    let told = Next::Stand { version: version("1"), standing: Standing::Inactive, why: None };
    assert_eq!(decided(&deploy("2"), &world), told);
}

/// Each would set the other inactive otherwise, and none would be used.
#[test]
fn of_two_that_take_over_at_once_the_newer_one_does() {
    let mut world = World::new().with("1", Standing::Active, 2).with("2", Standing::Replacing, 2);
    world = world.with("3", Standing::Replacing, 2);
    let begun = world.facts.now;
    for (name, created) in [("2", begun - 60), ("3", begun - 50)] {
        let own = world.of(&version(name));
        (own.created, own.since) = (created, begun);
    }
    let on = Wait::Rival { version: version("3") };
    assert_eq!(decided(&deploy("2"), &world), Next::Wait { on: on.clone() });
    let inactive = |name: &str| Next::Stand { version: version(name), standing: Standing::Inactive, why: None };
    assert_eq!(decided(&deploy("3"), &world), inactive("2"));
    world.of(&version("1")).standing = Standing::Inactive;
    assert_eq!(decided(&deploy("2"), &world), Next::Wait { on });
    assert_eq!(decided(&deploy("3"), &world), inactive("2"));
    // Made within the same second, one of them is first all the same.
    world.of(&version("3")).created = begun - 60;
    assert!(matches!(decided(&deploy("2"), &world), Next::Wait { .. }));
    // Nobody is behind it: whoever wants the older one gets it.
    world.facts.now += 180;
    assert_eq!(decided(&deploy("2"), &world), inactive("3"));
}

#[test]
fn capacity_providers_are_the_cluster_s_from_when_a_version_is_used_until_nothing_is_left_of_it() {
    let infra = super::infra(super::MANAGED);
    let of = |name: &str| format!("landfall-managed_main_{name}");
    let mut world = World::new().with("1", Standing::Active, 2).with("2", Standing::Testing, 2);
    world.facts.associated = vec![of("1")];
    assert_eq!(world.facts.providers(&infra), [of("1")]);
    // Proven, it is that to which tasks go.
    world.of(&version("2")).standing = Standing::Replacing;
    assert_eq!(world.facts.providers(&infra), [of("2"), of("1")]);
    world.facts.associated = vec![of("2"), of("1")];
    world.of(&version("1")).standing = Standing::Inactive;
    assert_eq!(world.facts.providers(&infra), [of("2"), of("1")]);
    for one in world.facts.instances.iter_mut().filter(|one| one.version.as_deref() == Some("1")) {
        one.draining = true;
    }
    assert_eq!(world.facts.providers(&infra), [of("2"), of("1")]);
    // Drained: it goes from the cluster, and then itself.
    world.facts.instances.iter_mut().for_each(|one| one.tasks = 0);
    assert_eq!(world.facts.providers(&infra), [of("2")]);
    let told = landfall_cluster::cluster(&infra, &world.facts.providers(&infra)).compact();
    assert_eq!(landfall_cluster::associated(&told), [of("2")]);
    let both = landfall_cluster::cluster(&infra, &[of("1"), of("2")]).compact();
    assert!(landfall_cluster::same(
        &landfall_cluster::disassociated(&both, &[of("2")]),
        &landfall_cluster::cluster(&infra, &[of("1")]).compact()
    ));
    let none = landfall_cluster::cluster(&infra, &[]).compact();
    assert!(landfall_cluster::same(&landfall_cluster::disassociated(&both, &[of("1"), of("2")]), &none));
    assert!(!landfall_cluster::same(&both, &none) && !landfall_cluster::same("", "{"));
    // For every goal: from the cluster first, and only then itself.
    world.facts.associated = vec![of("2"), of("1")];
    world.of(&version("1")).associated = vec![of("1")];
    world.of(&version("2")).standing = Standing::Active;
    world.facts.instances.retain(|one| one.version.as_deref() == Some("2"));
    let everything = Next::Disassociate { providers: vec![of("2"), of("1")] };
    assert_eq!(decided(&Goal::Destroy, &world), everything);
    for goal in [deploy("2"), Goal::Settle, retire("1")] {
        assert_eq!(decided(&goal, &world), Next::Disassociate { providers: vec![of("1")] });
        world.facts.cluster.state = State::Busy;
        assert_eq!(decided(&goal, &world), Next::Wait { on: Wait::Stack { stack: "c-cluster".to_owned() } });
        // A task still uses it, perhaps.
        world.facts.cluster = Base { undone: true, ..base("cluster", State::Ready) };
        assert!(matches!(decided(&goal, &world), Next::Failed { why: Failure::Undone { .. } }), "{goal:?}");
        world.facts.cluster.undone = false;
        let own = std::mem::take(&mut world.of(&version("1")).associated);
        assert_eq!(decided(&goal, &world), Next::Delete { stack: "c-asg-1".to_owned(), id: "arn:1".to_owned() });
        world.of(&version("1")).associated = own;
    }
    // Of what never came there is none.
    world.of(&version("2")).state = State::NeverCame;
    assert_eq!(world.facts.providers(&infra), Vec::<String>::new());
}

#[test]
fn services_leave_the_capacity_providers_of_a_version_before_its_instances_are_drained() {
    let infra = super::infra(super::MANAGED);
    let of = |name: &str| format!("landfall-managed_main_{name}");
    let share = |provider: String, base, weight| Share { provider, base, weight };
    let mut world = World::new().with("1", Standing::Active, 2).with("2", Standing::Replacing, 2);
    world.facts.associated = vec![of("2"), of("1")];
    // Nothing goes yet.
    assert_eq!(world.facts.moved(&infra, &[share(of("1"), 1, 2)]), None);
    world.of(&version("1")).standing = Standing::Inactive;
    world.of(&version("2")).standing = Standing::Active;
    for (before, after) in [
        (vec![share(of("1"), 1, 2)], Some(vec![share(of("2"), 1, 2)])),
        // One that has both keeps one.
        (vec![share(of("2"), 0, 1), share(of("1"), 1, 3)], Some(vec![share(of("2"), 1, 3)])),
        (vec![share("FARGATE".to_owned(), 0, 1)], None),
        (vec![share(of("2"), 1, 2)], None),
        (vec![], None),
    ] {
        assert_eq!(world.facts.moved(&infra, &before), after, "{before:?}");
    }
    // Where the cluster does not have them yet nothing could start there.
    world.facts.associated = vec![of("1")];
    assert_eq!(world.facts.moved(&infra, &[share(of("1"), 1, 2)]), None);
    let strategy = vec![share(of("2"), 1, 2)];
    let app = |bond: Bond| ("app".to_owned(), bond);
    world.facts.bonds = vec![app(Bond::Moving), app(Bond::Stray(strategy.clone()))];
    for goal in [deploy("2"), Goal::Settle, retire("1")] {
        let moves = Next::Move { service: "app".to_owned(), strategy: strategy.clone() };
        assert_eq!(decided(&goal, &world), moves, "{goal:?}");
    }
    // On its way, or with nowhere to go yet: nothing is drained.
    world.facts.bonds = vec![app(Bond::Moving)];
    let on = Wait::Bound { services: vec!["app".to_owned()] };
    assert_eq!(decided(&retire("1"), &world), Next::Wait { on });
    world.facts.bonds.push(app(Bond::Stuck));
    let nowhere = Failure::Nowhere { service: "app".to_owned() };
    assert_eq!(decided(&retire("1"), &world), Next::Failed { why: nowhere });
    world.facts.bonds.push(app(Bond::Returned));
    let why = Failure::Returned { service: "app".to_owned() };
    assert_eq!(decided(&deploy("2"), &world), Next::Failed { why });
    world.facts.bonds.clear();
    assert!(matches!(decided(&deploy("2"), &world), Next::Drain { .. }));
    // Nothing runs on it, and a service of no tasks names it all the same.
    world.facts.instances.retain(|one| one.version.as_deref() == Some("2"));
    world.facts.associated = vec![of("2"), of("1")];
    assert_eq!(world.facts.providers(&infra), [of("2")]);
    world.facts.named = [of("1")].into();
    assert_eq!(world.facts.providers(&infra), [of("2"), of("1")]);
}

#[test]
fn a_service_that_was_moved_is_on_its_way_or_did_not_come_up() {
    let infra = super::infra(super::MANAGED);
    let of = |name: &str| format!("landfall-managed_main_{name}");
    let share = |version: &str| vec![Share { provider: of(version), base: 0, weight: 1 }];
    let mut world = World::new().with("1", Standing::Inactive, 2).with("2", Standing::Active, 2);
    world.facts.associated = vec![of("2"), of("1")];
    let (old, new, now) = (share("1"), share("2"), world.facts.now);
    let free = Named { strategy: &new, leaving: &[], failed: false, moved: None };
    let gone = [of("1")];
    let bond = |world: &World, named| world.facts.bond(&infra, named);
    assert_eq!(bond(&world, free), None);
    assert_eq!(bond(&world, Named { failed: true, ..free }), None, "where it failed is where it stays");
    assert_eq!(bond(&world, Named { strategy: &old, ..free }), Some(Bond::Stray(new.clone())));
    // Its tasks are under way, or ECS has given them up.
    assert_eq!(bond(&world, Named { leaving: &gone, ..free }), Some(Bond::Moving));
    assert_eq!(bond(&world, Named { leaving: &gone, failed: true, ..free }), Some(Bond::Returned));
    // As it was before: not seen yet, on its way back, or back.
    let back = Named { strategy: &old, moved: Some((&old, now + 30)), ..free };
    assert_eq!(bond(&world, back), Some(Bond::Moving));
    world.facts.now += 30;
    assert_eq!(bond(&world, Named { leaving: &gone, ..back }), Some(Bond::Moving));
    assert_eq!(bond(&world, back), Some(Bond::Returned));
    // Where it was moved to goes meanwhile, too: it is moved on.
    world = world.with("3", Standing::Active, 2);
    world.facts.associated.push(of("3"));
    world.of(&version("2")).standing = Standing::Inactive;
    assert_eq!(bond(&world, Named { strategy: &new, moved: Some((&old, now)), ..free }), Some(Bond::Stray(share("3"))));
    world.facts.associated = vec![of("1")];
    assert_eq!(bond(&world, Named { strategy: &old, ..free }), Some(Bond::Stuck));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whoever rolls is killed anywhere, and asked for anew: `act` asserts that nothing is drained but what was set inactive, that nothing
    /// takes over unproven, and that no stack goes with tasks on it.
    #[test]
    fn kills_anywhere_end_where_none_would(
        dice in prop::collection::vec(any::<u8>(), 0..150),
        old in 0_u32..9,
        how in 0_usize..7,
        lands in 0_u32..3,
    ) {
        let mut world = World::new();
        world.lands = lands;
        if old > 0 {
            world = world.with("1", Standing::Active, old);
        }
        let broken = [Broken::Empty, Broken::HalfEmpty, Broken::Full, Broken::Stops, Broken::HalfStops, Broken::Hangs];
        if let Some(broken) = broken.get(how) {
            world.broken.insert("2".to_owned(), *broken);
        }
        let before = world.facts.instances.clone();
        match world.roll(&deploy("2"), &dice) {
            Next::Done => {
                prop_assert!(broken.get(how).is_none());
                prop_assert_eq!((world.standing("1"), world.standing("2")), (None, Some(Standing::Active)));
            }
            _ => {
                prop_assert!(broken.get(how).is_some());
                prop_assert_eq!(world.standing("1"), (old > 0).then_some(Standing::Active));
                let left: Vec<Instance> = world.facts.instances.iter().filter(|one| one.version.as_deref() == Some("1")).cloned().collect();
                prop_assert!(left.iter().zip(&before).all(|(left, before)| left.arn == before.arn && !left.draining));
            }
        }
    }

    /// The same of `activate` and `deactivate`; nothing that runs is lost on the way.
    #[test]
    fn killed_anywhere_a_version_is_used_or_goes(
        dice in prop::collection::vec(any::<u8>(), 0..100),
        was in prop::sample::select(vec![Standing::Testing, Standing::Active, Standing::Inactive, Standing::Failed, Standing::Replacing]),
        instances in (0_u32..9, 1_u32..5),
        drained in 0_usize..9,
        keeps in any::<bool>(),
    ) {
        let mut world = World::new().with("1", was, instances.0).with("2", Standing::Active, instances.1);
        world.facts.instances.iter_mut().take(drained.min(instances.0 as usize)).for_each(|one| one.draining = true);
        let tasks = world.tasks();
        let goal = if keeps { keep("1") } else { retire("1") };
        prop_assert_eq!(world.roll(&goal, &dice), Next::Done);
        prop_assert_eq!(world.standing("1"), keeps.then_some(Standing::Active));
        prop_assert_eq!(world.standing("2"), Some(Standing::Active));
        prop_assert_eq!(world.tasks(), tasks);
        prop_assert!(world.facts.instances.iter().all(|one| !one.draining));
        prop_assert_eq!(&world.deleted, &(if keeps { vec![] } else { vec!["1".to_owned()] }));
    }
}

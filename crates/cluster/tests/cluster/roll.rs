//! Rolls from look to look against a cluster that behaves as ECS and CloudFormation do, with whoever rolls killed anywhere.

use std::collections::BTreeMap;

use landfall_cluster::roll::{
    Base, Compute, Facts, Failure, Goal, Instance, Next, Patience, Proof, Proving, State, Wait, computes, next,
};
use landfall_cluster::{Part, Standing, Version, labels, owner, stack_name};
use landfall_model::Timestamp;
use landfall_model::cloudformation::StackState;
use landfall_model::inventory::TAG_ENVIRONMENT;
use proptest::prelude::*;

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

/// What CloudFormation, EC2 and ECS do with what they are told.
struct World {
    facts: Facts,
    /// Versions that do not work, and how.
    broken: BTreeMap<String, Broken>,
    /// Of the wanted version.
    proven: Vec<String>,
    /// What somebody sets by hand, at which look.
    deleted: Vec<String>,
    tasks: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// No instance comes.
    Empty,
    /// No task is placed.
    Full,
    /// The task stops.
    Stops,
    /// The task never runs.
    Hangs,
    /// The stack cannot be made.
    Unmade,
}

fn compute(name: &str, standing: Standing, at: i64) -> Compute {
    Compute {
        version: version(name),
        stack: format!("c-asg-{name}"),
        id: format!("arn:{name}"),
        state: State::Ready,
        standing,
        current: true,
        undone: false,
        associated: false,
        created: at,
        since: at,
    }
}

fn instance(name: &str, number: u32, tasks: u32) -> Instance {
    Instance {
        arn: format!("{name}/{number}"),
        version: Some(name.to_owned()),
        fleet: Some("main".to_owned()),
        draining: false,
        connected: true,
        tasks,
    }
}

impl World {
    fn new() -> Self {
        let facts = Facts { name: "c".to_owned(), now: 1_000, ..Facts::default() };
        Self { facts, broken: BTreeMap::new(), proven: Vec::new(), deleted: Vec::new(), tasks: 0 }
    }

    /// With a version that has tasks on its instances.
    fn with(mut self, name: &str, standing: Standing, instances: u32) -> Self {
        let base = Base { state: State::Ready, current: true, undone: false };
        (self.facts.cluster, self.facts.health) = (base.clone(), base);
        self.facts.computes.push(compute(name, standing, self.facts.now - 500));
        self.facts.instances.extend((0..instances).map(|number| instance(name, number, 3)));
        self
    }

    fn of(&mut self, name: &Version) -> &mut Compute {
        self.facts.computes.iter_mut().find(|one| one.version == *name).unwrap()
    }

    fn standing(&self, name: &str) -> Option<Standing> {
        self.facts.computes.iter().find(|one| one.version.as_str() == name).map(|one| one.standing)
    }

    fn act(&mut self, next: &Next) {
        match next {
            Next::Apply { part: Part::Cluster } => {
                self.facts.cluster = Base { state: State::Busy, current: true, undone: false }
            }
            Next::Apply { .. } => self.facts.health = Base { state: State::Busy, current: true, undone: false },
            Next::Create { version } => {
                let mut one = compute(version.as_str(), Standing::Testing, self.facts.now);
                one.state = State::Busy;
                self.facts.computes.push(one);
            }
            Next::Stand { version, standing, .. } => {
                let (proven, now) = (self.proven.clone(), self.facts.now);
                let one = self.of(version);
                match standing {
                    Standing::Replacing => assert!(proven.contains(&version.to_string()), "{version} was never proven"),
                    Standing::Testing => one.since = now,
                    _ => {}
                }
                one.standing = *standing;
                if *standing == Standing::Failed {
                    self.facts.instances.retain(|one| one.version.as_deref() != Some(version.as_str()));
                }
            }
            Next::Prove { version } => match self.broken.get(version.as_str()) {
                Some(Broken::Full) => self.facts.refused = Some("RESOURCE:MEMORY".to_owned()),
                _ => {
                    self.tasks += 1;
                    let task = format!("t{}", self.tasks);
                    let proof = Proof { task, created: self.facts.now, state: Proving::Pending };
                    self.facts.proofs.insert(0, proof);
                }
            },
            Next::StopProof { task } => {
                let proof = self.facts.proofs.iter_mut().find(|proof| proof.task == *task).unwrap();
                proof.state = Proving::Stopped("told to".to_owned());
            }
            Next::Drain { version, instances } => {
                let standing = self.of(version).standing;
                assert!(matches!(standing, Standing::Inactive | Standing::Failed), "{version} is {standing:?}");
                for one in self.facts.instances.iter_mut().filter(|one| instances.contains(&one.arn)) {
                    assert_eq!(one.version.as_deref(), Some(version.as_str()));
                    one.draining = true;
                }
            }
            Next::Undrain { instances, .. } => {
                for one in self.facts.instances.iter_mut().filter(|one| instances.contains(&one.arn)) {
                    one.draining = false;
                }
            }
            Next::Delete { id, .. } => {
                let at = self.facts.computes.iter().position(|one| one.id == *id).unwrap();
                let gone = self.facts.computes.remove(at).version;
                let left = self.facts.of_version(&gone).map(|one| one.tasks).sum::<u32>();
                assert_eq!(left, 0, "tasks were killed with {gone}");
                self.facts.instances.retain(|one| one.version.as_deref() != Some(gone.as_str()));
                self.deleted.push(gone.to_string());
            }
            Next::Leave { part: Part::Cluster } => self.facts.cluster = Base::default(),
            Next::Leave { .. } => self.facts.health = Base::default(),
            Next::Wait { .. } | Next::Done | Next::Failed { .. } => {}
        }
    }

    /// A few seconds later.
    fn pass(&mut self, seconds: i64) {
        let facts = &mut self.facts;
        facts.now += seconds;
        for base in [&mut facts.cluster, &mut facts.health] {
            if base.state == State::Busy {
                base.state = State::Ready;
            }
        }
        for one in &mut facts.computes {
            let broken = self.broken.get(one.version.as_str());
            if one.state == State::Busy {
                one.state = if broken == Some(&Broken::Unmade) { State::NeverCame } else { State::Ready };
            }
            let there = facts.instances.iter().any(|own| own.version.as_deref() == Some(one.version.as_str()));
            let comes = one.standing == Standing::Testing && one.state == State::Ready && !there;
            if comes && facts.now > one.since + 60 && broken != Some(&Broken::Empty) {
                facts.instances.extend((0..2).map(|number| instance(one.version.as_str(), number, 0)));
            }
        }
        // ECS moves a task of each instance that is drained, where there is somewhere to move it to.
        let mut moved = 0;
        let room = facts.instances.iter().any(|one| !one.draining);
        for one in facts.instances.iter_mut().filter(|one| room && one.draining && one.tasks > 0) {
            one.tasks -= 1;
            moved += 1;
        }
        let testing: Vec<String> = facts.computes.iter().map(|one| one.version.to_string()).collect();
        if let Some(one) = facts.instances.iter_mut().find(|one| !one.draining) {
            one.tasks += moved;
        }
        facts.unsteady = if moved > 0 { vec!["web".to_owned()] } else { Vec::new() };
        let broken = testing.last().and_then(|name| self.broken.get(name));
        if let Some(proof) = facts.proofs.first_mut() {
            let state = match (&proof.state, broken) {
                (Proving::Pending, Some(Broken::Hangs)) => Proving::Pending,
                (Proving::Pending, Some(Broken::Stops)) => Proving::Stopped("exit 1".to_owned()),
                (Proving::Pending, _) => Proving::Running(facts.now),
                (other, _) => other.clone(),
            };
            if let Proving::Running(since) = &state
                && facts.now - since >= Patience::default().stays
                && let Some(name) = testing.last()
            {
                self.proven.push(name.clone());
            }
            proof.state = state;
        }
    }

    /// Looks, acts, and is killed before or after it acts, as the dice say. Until it ends.
    fn roll(&mut self, goal: &Goal, dice: &[u8]) -> Next {
        let mut goal = goal.clone();
        for look in 0..4_000 {
            let decided = next(&goal, &self.facts, Patience::default());
            let die = dice.get(look % dice.len().max(1)).copied().unwrap_or(255);
            if matches!(decided, Next::Done | Next::Failed { .. }) {
                return decided;
            }
            match die {
                // Killed before it acts, or what it asked for did not come through.
                0..40 => {}
                // Killed after it acted: somebody asks for the same anew.
                40..70 => self.act(&decided),
                _ => {
                    self.act(&decided);
                    if let Goal::Deploy { fresh, .. } = &mut goal {
                        *fresh = false;
                    }
                }
            }
            self.pass(i64::from(die % 7) + 1);
        }
        panic!("it does not end: {:?}", next(&goal, &self.facts, Patience::default()));
    }
}

fn deploy(name: &str) -> Goal {
    Goal::Deploy { version: version(name), fresh: true }
}

#[test]
fn a_first_version_comes_and_a_second_takes_its_place() {
    let mut world = World::new();
    assert_eq!(world.roll(&deploy("1"), &[100]), Next::Done);
    assert_eq!(world.standing("1"), Some(Standing::Active));
    for one in &mut world.facts.instances {
        one.tasks = 4;
    }
    world.facts.proofs.clear();
    assert_eq!(world.roll(&deploy("10"), &[100]), Next::Done);
    assert_eq!((world.standing("1"), world.standing("10")), (None, Some(Standing::Active)));
    assert_eq!(world.deleted, ["1"]);
    assert_eq!(world.facts.instances.iter().map(|one| one.tasks).sum::<u32>(), 8);
}

#[test]
fn what_does_not_work_leaves_the_old_untouched() {
    for broken in [Broken::Empty, Broken::Full, Broken::Stops, Broken::Hangs, Broken::Unmade] {
        let mut world = World::new().with("1", Standing::Active, 4);
        world.broken.insert("2".to_owned(), broken);
        let ended = world.roll(&deploy("2"), &[100]);
        assert!(matches!(ended, Next::Failed { .. }), "{broken:?}: {ended:?}");
        assert_eq!(world.standing("1"), Some(Standing::Active));
        assert!(
            world.facts.instances.iter().all(|one| !one.draining && one.version.as_deref() == Some("1")),
            "{broken:?}"
        );
        // The next one cleans up.
        world.facts.proofs.clear();
        world.facts.refused = None;
        world.broken.clear();
        assert_eq!(world.roll(&deploy("3"), &[100]), Next::Done);
        assert_eq!(world.standing("2"), None, "{broken:?}");
    }
}

#[test]
fn services_keep_what_they_should_have() {
    let mut world = World::new().with("1", Standing::Inactive, 8).with("2", Standing::Active, 8);
    world.facts.unsteady = vec!["web".to_owned()];
    let on = Wait::Steady { services: vec!["web".to_owned()] };
    assert_eq!(next(&Goal::Settle, &world.facts, Patience::default()), Next::Wait { on });
    world.facts.unsteady.clear();
    let Next::Drain { instances, .. } = next(&Goal::Settle, &world.facts, Patience::default()) else { panic!() };
    assert_eq!(instances.len(), 2);
    world.act(&Next::Drain { version: version("1"), instances });
    // Not the next before the first are empty.
    let on = Wait::Move { version: version("1"), instances: 2, tasks: 6 };
    assert_eq!(next(&Goal::Settle, &world.facts, Patience::default()), Next::Wait { on });
}

#[test]
fn what_is_set_active_again_is_drained_no_more() {
    let mut world = World::new().with("1", Standing::Inactive, 4).with("2", Standing::Active, 4);
    for _ in 0..3 {
        let decided = next(&Goal::Settle, &world.facts, Patience::default());
        world.act(&decided);
    }
    assert!(world.facts.instances.iter().any(|one| one.draining));
    world.of(&version("1")).standing = Standing::Active;
    assert_eq!(next(&Goal::Settle, &world.facts, Patience::default()), Next::Done);
    assert_eq!(world.roll(&Goal::Keep(version("1")), &[100]), Next::Done);
    assert!(world.facts.instances.iter().all(|one| !one.draining));
    // And the deployment that is done does not set it inactive again.
    assert_eq!(world.roll(&Goal::Deploy { version: version("2"), fresh: false }, &[100]), Next::Done);
    assert_eq!(world.standing("1"), Some(Standing::Active));
}

#[test]
fn a_whole_cluster_goes_with_its_tasks() {
    let mut world = World::new().with("1", Standing::Active, 3);
    for one in &mut world.facts.instances {
        one.tasks = 0;
    }
    assert_eq!(world.roll(&Goal::Destroy, &[100]), Next::Done);
    assert_eq!((world.facts.cluster.state, world.facts.health.state), (State::Absent, State::Absent));
}

#[test]
fn stacks_that_are_not_ours_or_stuck_stop_it() {
    let mut world = World::new().with("1", Standing::Active, 1);
    world.facts.cluster.state = State::Foreign(Some("shop@prod".to_owned()));
    let ended = next(&deploy("2"), &world.facts, Patience::default());
    assert!(
        matches!(&ended, Next::Failed { why: Failure::Foreign { stack, .. } } if stack == "c-cluster"),
        "{ended:?}"
    );
    world.facts.cluster.state = State::Stuck("UPDATE_ROLLBACK_FAILED".to_owned());
    let Next::Failed { why } = next(&deploy("2"), &world.facts, Patience::default()) else { panic!() };
    assert_eq!(why.to_string(), "stack c-cluster is UPDATE_ROLLBACK_FAILED, and cannot be changed");
    world.facts.cluster.state = State::Ready;
    world.of(&version("1")).current = false;
    let same = next(&deploy("1"), &world.facts, Patience::default());
    assert_eq!(same, Next::Failed { why: Failure::Other { version: version("1") } });
}

#[test]
fn what_is_rolled_back_is_not_asked_for_again_and_again() {
    let decided = |goal: &Goal, world: &World| next(goal, &world.facts, Patience::default());
    let mut world = World::new().with("1", Standing::Active, 1).with("2", Standing::Testing, 1);
    // Rolled back before anybody asked: tried once more.
    world.facts.cluster = Base { state: State::Ready, current: false, undone: false };
    assert_eq!(decided(&deploy("2"), &world), Next::Apply { part: Part::Cluster });
    world.facts.cluster.undone = true;
    let Next::Failed { why } = decided(&deploy("2"), &world) else { panic!() };
    assert_eq!(why.to_string(), "the change of stack c-cluster was rolled back");
    world.facts.cluster.current = true;
    world.of(&version("2")).undone = true;
    let undone = Next::Failed { why: Failure::Undone { stack: "c-asg-2".to_owned() } };
    // Neither tested further nor taken for what `activate` asked for.
    for goal in [deploy("2"), Goal::Keep(version("2")), Goal::Settle] {
        assert_eq!(decided(&goal, &world), undone);
    }
    assert!(matches!(decided(&Goal::Destroy, &world), Next::Delete { .. }));
    // And `activate` waits until CloudFormation says how it went.
    *world.of(&version("2")) = Compute { state: State::Busy, ..compute("2", Standing::Active, 900) };
    let on = Wait::Stack { stack: "c-asg-2".to_owned() };
    assert_eq!(decided(&Goal::Keep(version("2")), &world), Next::Wait { on });
}

#[test]
fn what_could_not_be_deleted_is_deleted_again_after_the_others() {
    let decided = |goal: &Goal, world: &World| next(goal, &world.facts, Patience::default());
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
    assert_eq!(next(&deploy("2"), &world.facts, Patience::default()), Next::Failed { why });
    world.of(&version("1")).state = State::Ready;
    let told = Next::Stand { version: version("1"), standing: Standing::Inactive, why: None };
    assert_eq!(next(&deploy("2"), &world.facts, Patience::default()), told);
}

#[test]
fn capacity_providers_are_the_cluster_s_from_when_a_version_is_used_until_nothing_is_left_of_it() {
    let infra = super::infra(super::MANAGED);
    let of = |name: &str| format!("landfall-managed-main-{name}");
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
        &landfall_cluster::disassociated(&both, &[of("1")]),
        &landfall_cluster::cluster(&infra, &[of("1")]).compact()
    ));
    let none = landfall_cluster::cluster(&infra, &[]).compact();
    assert!(landfall_cluster::same(&landfall_cluster::disassociated(&both, &[]), &none));
    assert!(!landfall_cluster::same(&both, &none) && !landfall_cluster::same("", "{"));
    // For every goal: from the cluster first, and only then itself.
    world.of(&version("1")).associated = true;
    world.facts.instances.retain(|one| one.version.as_deref() == Some("2"));
    assert_eq!(next(&Goal::Destroy, &world.facts, Patience::default()), Next::Apply { part: Part::Cluster });
    for goal in [deploy("2"), Goal::Settle] {
        world.of(&version("2")).standing = Standing::Active;
        let decided = |world: &World| next(&goal, &world.facts, Patience::default());
        assert_eq!(decided(&world), Next::Apply { part: Part::Cluster });
        world.facts.cluster.state = State::Busy;
        assert_eq!(decided(&world), Next::Wait { on: Wait::Stack { stack: "c-cluster".to_owned() } });
        // A task still uses it, perhaps.
        world.facts.cluster = Base { state: State::Ready, current: goal != deploy("2"), undone: true };
        assert!(matches!(decided(&world), Next::Failed { why: Failure::Undone { .. } }), "{goal:?}");
        world.facts.cluster = Base { state: State::Ready, current: true, undone: false };
        world.of(&version("1")).associated = false;
        assert_eq!(decided(&world), Next::Delete { stack: "c-asg-1".to_owned(), id: "arn:1".to_owned() });
        world.of(&version("1")).associated = true;
    }
    // Of what never came there is none.
    world.of(&version("2")).state = State::NeverCame;
    assert_eq!(world.facts.providers(&infra), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whoever rolls is killed anywhere, and asked for anew: `act` asserts that nothing is drained but what was set inactive, that nothing
    /// takes over unproven, and that no stack goes with tasks on it.
    #[test]
    fn kills_anywhere_end_where_none_would(dice in prop::collection::vec(any::<u8>(), 1..60), old in 0_u32..9, how in 0_usize..7) {
        // A hand that is killed every time never comes to anything.
        prop_assume!(dice.iter().any(|die| *die >= 70));
        let mut world = World::new();
        if old > 0 {
            world = world.with("1", Standing::Active, old);
        }
        let broken = [Broken::Empty, Broken::Full, Broken::Stops, Broken::Hangs];
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
}

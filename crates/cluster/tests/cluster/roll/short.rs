//! Services with too few tasks: which of them hold drains, and for how long.

use landfall_cluster::Standing;
use landfall_cluster::roll::{Goal, Next, Patience, Short, Shortages, Wait, next};

use super::deploy;
use super::world::World;

/// A cluster in which an old version is to be emptied, and what whoever rolls it remembers.
struct Rolled {
    world: World,
    shortages: Shortages,
}

impl Rolled {
    fn new() -> Self {
        let world = World::new().with("1", Standing::Inactive, 8).with("2", Standing::Active, 8);
        Self { world, shortages: Shortages::default() }
    }

    /// So many seconds later: for which services drains wait.
    fn after(&mut self, seconds: i64, services: &[Short]) -> Vec<String> {
        let facts = &mut self.world.facts;
        facts.now += seconds;
        facts.unsteady = self.shortages.look(services.to_vec(), facts.drains(&deploy("2")), facts.now);
        match next(&deploy("2"), facts, Patience::default()) {
            Next::Wait { on: Wait::Steady { services } } => services,
            Next::Drain { .. } => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    fn given_up(&self) -> Vec<&str> {
        self.world.facts.given_up(Patience::default()).map(|one| one.name.as_str()).collect()
    }
}

fn web(running: u32) -> Short {
    Short::new("web", running, 4, 100)
}

#[test]
fn a_service_holds_drains_while_it_has_less_than_ecs_keeps_of_it() {
    // As the API reference has it, rounded up; and nobody waits for more than there are to be.
    let least = |desired, percent| Short::new("web", 0, desired, percent).least;
    assert_eq!([least(4, 100), least(4, 50), least(3, 50), least(1, 1)], [4, 2, 2, 1]);
    assert_eq!([least(4, 0), least(0, 100), least(4, 150), least(u32::MAX, 100)], [0, 0, 4, u32::MAX]);
    for (running, percent, holds) in
        [(4, 100, false), (3, 100, true), (3, 50, false), (2, 50, false), (1, 50, true), (0, 0, false)]
    {
        let service = Short::new("web", running, 4, percent);
        let mut rolled = Rolled::new();
        let expected = if holds { vec!["web"] } else { Vec::new() };
        assert_eq!(rolled.after(0, &[service]), expected, "{running} of 4 at {percent} %");
        // What it should have and has not is told by `status` in any case.
        assert_eq!(rolled.world.facts.unsteady.len(), usize::from(running < 4));
    }
}

#[test]
fn one_that_does_not_get_better_holds_drains_for_ten_minutes() {
    let mut rolled = Rolled::new();
    let big = || Short::new("big", 0, 1, 100);
    assert_eq!(rolled.after(0, &[big(), web(4)]), ["big"]);
    assert_eq!(rolled.after(600, &[big(), web(4)]), ["big"]);
    assert_eq!(rolled.given_up(), [""; 0]);
    assert_eq!(rolled.after(1, &[big(), web(4)]), [""; 0]);
    assert_eq!(rolled.given_up(), ["big"]);
    // Each has its own time.
    assert_eq!(rolled.after(1, &[big(), web(3)]), ["web"]);
    assert_eq!((rolled.given_up(), rolled.world.facts.unsteady.len()), (vec!["big"], 2));
}

#[test]
fn one_more_task_gives_a_service_its_time_anew() {
    let mut rolled = Rolled::new();
    assert_eq!(rolled.after(0, &[web(1)]), ["web"]);
    assert_eq!(rolled.after(599, &[web(2)]), ["web"]);
    // Less is nothing better, and neither is what it had.
    assert_eq!(rolled.after(300, &[web(1)]), ["web"]);
    assert_eq!(rolled.after(300, &[web(2)]), ["web"]);
    assert_eq!(rolled.after(1, &[web(2)]), [""; 0]);
    assert_eq!(rolled.given_up(), ["web"]);
    assert_eq!(rolled.after(1, &[web(3)]), ["web"]);
    assert_eq!(rolled.given_up(), [""; 0]);
}

/// Its tasks start, and end again: for a moment all is well, which is no recovery.
#[test]
fn one_whose_tasks_end_again_and_again_does_not_hold_drains_for_ever() {
    let mut rolled = Rolled::new();
    let mut held = 0;
    for cycle in 0..60 {
        held += usize::from(!rolled.after(20, &[Short::new("crashes", 0, 1, 100)]).is_empty());
        assert_eq!(rolled.after(10, &[Short::new("crashes", 1, 1, 100)]), [""; 0], "{cycle}");
    }
    // 600 s from when it had one for the first time.
    assert_eq!(held, 21);
    // One that was well for a minute has recovered.
    rolled.after(60, &[Short::new("crashes", 1, 1, 100)]);
    assert_eq!(rolled.after(5, &[Short::new("crashes", 0, 1, 100)]), ["crashes"]);
    assert_eq!(rolled.after(601, &[Short::new("crashes", 0, 1, 100)]), [""; 0]);
}

/// There is room for it on the new version only once that is there.
#[test]
fn its_time_begins_when_something_is_to_be_drained() {
    let mut rolled = Rolled::new();
    rolled.world.of(&super::version("1")).standing = Standing::Active;
    let facts = &mut rolled.world.facts;
    assert!(!facts.drains(&deploy("2")) && !facts.drains(&Goal::Settle));
    facts.unsteady = rolled.shortages.look(vec![web(1)], false, facts.now);
    assert_eq!((facts.unsteady.len(), facts.unsteady[0].since), (1, None));
    facts.now += 3_600;
    rolled.world.of(&super::version("1")).standing = Standing::Inactive;
    assert_eq!(rolled.after(0, &[web(1)]), ["web"]);
    assert_eq!(rolled.after(600, &[web(1)]), ["web"]);
    assert_eq!(rolled.after(1, &[web(1)]), [""; 0]);
    // And of a service that is gone nothing is left.
    assert_eq!(rolled.after(1, &[]), [""; 0]);
    assert_eq!(rolled.after(1, &[web(1)]), ["web"]);
}

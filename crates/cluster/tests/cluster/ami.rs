//! Images that are made from look to look against an EC2 that keeps its word, with whoever makes them killed anywhere, late, or not alone.

use std::collections::BTreeMap;

use landfall_cluster::ami::{Ending, Facts, Next, Order, Patience, SOURCE, next, recipe};
use landfall_model::Timestamp;
use landfall_model::machine_image::{ImageState, MachineLaunch, MachineState};
use proptest::prelude::*;

const SCRIPT: &str = "#!/bin/sh\ntrue\n";

fn order() -> Order {
    Order { source: "ami-1".to_owned(), recipe: Some(recipe(SCRIPT)) }
}

/// What EC2 does with what it is told.
#[derive(Debug, Clone)]
struct World {
    facts: Facts,
    tokens: BTreeMap<String, String>,
    /// Of the script.
    code: i32,
    /// EC2 says how it ended.
    tells: bool,
    /// Seconds that the script is given.
    limit: i64,
    /// What an image becomes.
    image: &'static str,
    /// What a builder becomes, once it runs.
    builder: &'static str,
    /// All that ever were made.
    launches: usize,
    images: usize,
}

/// Of one that makes an image.
#[derive(Debug, Clone, Default)]
struct Run {
    launched: Option<String>,
    silent: i64,
}

impl World {
    fn new() -> Self {
        Self {
            facts: Facts { now: 1_000_000, ..Facts::default() },
            tokens: BTreeMap::new(),
            code: 0,
            tells: true,
            limit: Patience::default().script,
            image: "available",
            builder: "stopped",
            launches: 0,
            images: 0,
        }
    }

    fn look(&self, order: &Order, run: &mut Run) -> Facts {
        let mut facts = Facts { launched: run.launched.clone(), ..self.facts.clone() };
        if order.stopped(&facts).is_some() {
            facts.ending = self.tells.then(|| Ending { code: self.code, lines: vec!["last".to_owned()] });
            facts.silent = run.silent;
            run.silent += 60;
        }
        facts
    }

    fn builder(&mut self, id: &str) -> Option<&mut MachineState> {
        self.facts.builders.iter_mut().find(|one| one.id == id && one.state != "terminated")
    }

    fn act(&mut self, order: &Order, decided: &Next, run: &mut Run) {
        match decided {
            Next::Launch => run.launched = Some(self.launch(order)),
            Next::Create { builder } => {
                let name = order.name(builder);
                let there = self.facts.images.iter().any(|one| one.name == name);
                if !there && self.builder(builder).is_some() {
                    self.images += 1;
                    self.facts.images.push(ImageState {
                        id: format!("ami-made-{}", self.images),
                        name,
                        state: "pending".to_owned(),
                        created: Timestamp::from_second(self.facts.now).ok(),
                        tags: order.tags(builder, "web"),
                        ..ImageState::default()
                    });
                }
            }
            Next::Terminate { builder } => self.end(builder),
            Next::Failed { builder, image, .. } => {
                self.facts.images.retain(|one| Some(&one.id) != image.as_ref());
                builder.iter().for_each(|builder| self.end(builder));
            }
            Next::Wait { .. } | Next::Done { .. } => {}
        }
    }

    fn end(&mut self, id: &str) {
        if let Some(builder) = self.builder(id) {
            builder.state = "terminated".to_owned();
        }
    }

    /// As EC2 heeds tokens: one that is known gives its instance again, or says that it is gone.
    fn launch(&mut self, order: &Order) -> String {
        for attempt in 0.. {
            let script = MachineLaunch { user_data: format!("{:?}", order.recipe), ..MachineLaunch::default() };
            let launch = order.launch("web", script, self.limit, attempt);
            match self.tokens.get(&launch.token).cloned() {
                Some(id) if self.builder(&id).is_some() => return id,
                Some(_) => {}
                None => {
                    self.launches += 1;
                    let id = format!("i-{}", self.launches);
                    self.tokens.insert(launch.token, id.clone());
                    self.facts.builders.push(MachineState {
                        id: id.clone(),
                        state: "pending".to_owned(),
                        launched: Timestamp::from_second(self.facts.now).ok(),
                        tags: launch.tags,
                        ..MachineState::default()
                    });
                    return id;
                }
            }
        }
        unreachable!()
    }

    /// A minute passes.
    fn passes(&mut self) {
        self.facts.now += 60;
        let (becomes, image) = (self.builder, self.image);
        for one in &mut self.facts.builders {
            one.state = match one.state.as_str() {
                "pending" => "running",
                "running" => becomes,
                "stopping" => "stopped",
                other => other,
            }
            .to_owned();
        }
        for one in self.facts.images.iter_mut().filter(|one| one.state == "pending") {
            one.state = image.to_owned();
        }
    }

    /// From look to look until it ends: how. `killed`: after so many acts, and whether the last one was done.
    fn make(&mut self, order: &Order, killed: Option<(usize, bool)>) -> Option<Next> {
        let (mut run, mut acts) = (Run::default(), 0);
        for _ in 0..1000 {
            let facts = self.look(order, &mut run);
            let decided = next(order, &facts, Patience::default());
            if killed == Some((acts, false)) {
                return None;
            }
            self.act(order, &decided, &mut run);
            acts += 1;
            if killed == Some((acts - 1, true)) {
                return None;
            }
            if matches!(decided, Next::Done { .. } | Next::Failed { .. }) {
                return Some(decided);
            }
            self.passes();
        }
        panic!("it never ends: {:?}", self.facts);
    }

    /// Instances and volumes that cost something still.
    fn left(&self) -> Vec<&str> {
        let there = self.facts.builders.iter().filter(|one| one.state != "terminated");
        there.map(|one| one.id.as_str()).collect()
    }
}

fn done(image: &str) -> Option<Next> {
    Some(Next::Done { image: image.to_owned() })
}

#[test]
fn an_image_is_made_once_and_used_from_then_on() {
    let mut world = World::new();
    assert_eq!(world.make(&order(), None), done("ami-made-1"));
    assert_eq!(world.make(&order(), None), done("ami-made-1"));
    assert_eq!((world.launches, world.images, world.left().len()), (1, 1, 0));
    // Another script, another source: another image.
    let other = Order { recipe: Some(recipe("#!/bin/sh\nfalse\n")), ..order() };
    assert_eq!(world.make(&other, None), done("ami-made-2"));
    let newer = Order { source: "ami-2".to_owned(), ..order() };
    assert_eq!(world.make(&newer, None), done("ami-made-3"));
    assert_eq!(world.make(&order(), None), done("ami-made-1"));
}

#[test]
fn without_its_tag_it_is_made_again_also_where_its_builder_is_there_still() {
    for builder_is_left in [false, true] {
        let mut world = World::new();
        assert_eq!(world.make(&order(), None), done("ami-made-1"));
        if builder_is_left {
            world.facts.builders[0].state = "stopped".to_owned();
        }
        world.facts.images[0].tags.remove(SOURCE);
        assert_eq!(world.make(&order(), None), done("ami-made-2"));
        assert_eq!((world.launches, world.images, world.left().len()), (2, 2, 0));
    }
}

#[test]
fn killed_anywhere_it_comes_to_the_same_end_with_one_builder_and_one_image() {
    for at in 0..40 {
        for acted in [false, true] {
            for again in 0..12 {
                let mut world = World::new();
                let first = world.make(&order(), Some((at, acted)));
                let second = world.make(&order(), Some((again, acted)));
                assert!(first.is_none() || first == done("ami-made-1"), "{first:?}");
                assert!(second.is_none() || second == done("ami-made-1"), "{second:?}");
                assert_eq!(world.make(&order(), None), done("ami-made-1"));
                assert_eq!((world.launches, world.images, world.left().len()), (1, 1, 0), "{at} {acted} {again}");
            }
        }
    }
}

#[test]
fn what_fails_is_told_and_leaves_nothing() {
    let ends = |change: fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        let Some(Next::Failed { why, .. }) = world.make(&order(), None) else { panic!("it did not fail") };
        assert_eq!((world.launches, world.left().len(), world.facts.images.len()), (1, 0, 0), "{why}");
        // Mended, it is tried again: EC2 takes another token for that.
        world = World { code: 0, tells: true, image: "available", builder: "stopped", ..world };
        assert!(matches!(world.make(&order(), None), Some(Next::Done { .. })), "{why}");
        assert_eq!((world.launches, world.left().len()), (2, 0), "{why}");
        why.to_string()
    };
    assert_eq!(ends(|world| world.code = 3), "the script ran on i-1 and ended with 3");
    assert_eq!(ends(|world| world.code = 124), "the script ran on i-1 and was not done in time");
    assert_eq!(
        ends(|world| world.builder = "running"),
        "i-1 has not stopped 3660 s after its launch, as it does when its script ends"
    );
    assert_eq!(ends(|world| world.tells = false), "i-1 has stopped, and its console does not say how its script ended");
    assert_eq!(ends(|world| world.builder = "terminated"), "i-1 was terminated before its script ended");
    assert_eq!(ends(|world| world.image = "failed"), "image ami-made-1 could not be made");
}

#[test]
fn what_another_left_behind_long_ago_is_no_failure_of_this_run() {
    let mut world = World { tells: false, builder: "running", ..World::new() };
    assert_eq!(world.make(&order(), Some((3, true))), None);
    world.facts.now += 86_400;
    world = World { tells: true, builder: "stopped", ..world };
    assert_eq!(world.make(&order(), None), done("ami-made-1"));
    assert_eq!((world.launches, world.left().len()), (2, 0));

    // Of another script: left alone while somebody may be at it, and no longer.
    let mut world = World::new();
    let other = Order { recipe: Some(recipe("#!/bin/sh\nfalse\n")), ..order() };
    assert_eq!(world.make(&other, Some((1, true))), None);
    assert!(matches!(world.make(&order(), None), Some(Next::Done { .. })));
    assert_eq!(world.left(), ["i-1"]);
    world.facts.now += 8 * 3600;
    assert!(matches!(world.make(&order(), None), Some(Next::Done { .. })));
    assert_eq!(world.left(), [""; 0]);
}

#[test]
fn a_script_that_was_given_longer_is_waited_for_by_whoever_comes() {
    let mut world = World { limit: 4 * 3600, builder: "running", ..World::new() };
    assert_eq!(world.make(&order(), Some((3, true))), None);
    let sees = |world: &World| next(&order(), &world.look(&order(), &mut Run::default()), Patience::default());
    world.facts.now += 3 * 3600;
    assert!(matches!(sees(&world), Next::Wait { .. }), "{:?}", sees(&world));
    world.facts.now += 2 * 3600;
    assert_eq!(sees(&world), Next::Terminate { builder: "i-1".to_owned() });
}

#[test]
fn an_image_that_failed_and_was_left_hinders_nobody() {
    let mut world = World::new();
    let (name, tags) = (order().name("i-gone"), order().tags("i-gone", "web"));
    let (id, state) = ("ami-left".to_owned(), "failed".to_owned());
    world.facts.images.push(ImageState { id, name, state, tags, ..ImageState::default() });
    assert_eq!(world.make(&order(), None), done("ami-made-1"));
    assert_eq!((world.launches, world.left().len()), (1, 0));
}

#[test]
fn without_a_script_an_image_of_somebody_else_is_used() {
    let order = Order { recipe: None, ..order() };
    let mut world = World::new();
    let told = "there is no image of ami-1, and no script to make one with";
    assert!(matches!(world.make(&order, None), Some(Next::Failed { why, .. }) if why.to_string() == told));
    // As ecs-cluster-deployer's Packer tags it.
    let tags = BTreeMap::from([(SOURCE.to_owned(), "ami-1".to_owned())]);
    world.facts.images.push(ImageState {
        id: "ami-packer".to_owned(),
        state: "available".to_owned(),
        tags,
        ..ImageState::default()
    });
    assert_eq!(world.make(&order, None), done("ami-packer"));
    // It does not say what is in it, and so is none of a script.
    assert_eq!(world.make(&self::order(), None), done("ami-made-1"));
    assert_eq!(world.make(&order, None), done("ami-packer"));
}

#[test]
fn one_launch_has_one_token() {
    let launch = |subnet: &str, attempt| {
        let launch = MachineLaunch { subnet: subnet.to_owned(), ..MachineLaunch::default() };
        order().launch("web", launch, 60, attempt).token
    };
    assert_eq!(launch("subnet-1", 0), launch("subnet-1", 0));
    assert_ne!(launch("subnet-1", 0), launch("subnet-1", 1));
    assert_ne!(launch("subnet-1", 0), launch("subnet-2", 0));
    assert_eq!(launch("subnet-1", 0).len(), 64);
    assert!(order().name("i-0123456789abcdef0").len() <= 128);
}

proptest! {
    /// Several at once, each acting on what it saw at some time before, killed and called again: there is one image in the end, and nothing
    /// beside it.
    #[test]
    fn several_at_once_end_where_one_would(steps in prop::collection::vec((0_usize..3, 0_u8..4), 0..120)) {
        let (order, mut world) = (order(), World::new());
        let mut runs = vec![(Run::default(), None::<Next>); 3];
        for (who, what) in steps {
            let (run, decided) = &mut runs[who];
            match what {
                0 => *decided = Some(next(&order, &world.look(&order, run), Patience::default())),
                1 => if let Some(decided) = decided.take() {
                    world.act(&order, &decided, run);
                },
                2 => world.passes(),
                _ => (*run, *decided) = (Run::default(), None),
            }
        }
        prop_assert_eq!(world.make(&order, None), done("ami-made-1"));
        prop_assert_eq!((world.images, world.left().len()), (1, 0));
    }
}

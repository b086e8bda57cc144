#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use landfall_manifest::SourceFile;
use landfall_model::Timestamp;
use landfall_model::fleet::{
    Amounts, ContainerInstance, FixedPort, FleetState, LaunchFailure, Member, Needs, Placement, ServiceLoad, TaskLoad,
    Workload,
};
use landfall_scaler::price::Prices;

use super::{Act, Called, Round, Seen, Unit};
use crate::build::Standing;
use crate::infra::Infra;
use crate::names::{Version, attributes};

const NOW: i64 = 1_800_000_000;
const DEFINITION: &str = "arn:aws:ecs:us-west-2:1:task-definition/web:1";

/// Two fleets, of t3.medium and of the dearer m5.large, and a group on demand.
const INFRA: &str = "cluster: {name: web}
ec2_instances:
  auto_scaling_groups: [{name: reserved, instance_type: m5.large, desired_instances: 1, min_size: 0, max_size: 2}]
  spot_fleets:
    - name: main
      min_weight: 1
      max_weight: 4
      task_threshold_out: 0
      task_threshold_in: 3
      bids: [{instance_type: t3.medium, price: 0.04}]
    - name: large
      min_weight: 0
      max_weight: 4
      task_threshold_out: 0
      task_threshold_in: 3
      bids: [{instance_type: m5.large, price: 0.09}]
";

struct World {
    infra: Infra,
    units: Vec<Unit>,
    instances: Vec<ContainerInstance>,
    workload: Workload,
    average: Option<f64>,
}

impl World {
    /// Of version `v`, active: `main`, `large` and `reserved`, with so many instances.
    fn new(main: u64, large: u64) -> Self {
        Self::of(INFRA, main, large)
    }

    fn of(infra: &str, main: u64, large: u64) -> Self {
        let infra = crate::load(SourceFile::new("infra.yml", infra), Some("us-west-2")).unwrap().infra;
        let mut world =
            Self { infra, units: Vec::new(), instances: Vec::new(), workload: Workload::default(), average: None };
        world.unit("main", "t3.medium", main, (1, 4));
        world.unit("large", "m5.large", large, (0, 4));
        world.unit("reserved", "m5.large", 0, (0, 2));
        world
    }

    fn unit(&mut self, name: &str, kind: &str, count: u64, bounds: (u64, u64)) {
        let member = |number: u64| Member {
            instance: format!("i-{name}-{number}"),
            kind: kind.to_owned(),
            weight: Some(1),
            ..Member::default()
        };
        let members: Vec<Member> = (0..count).map(member).collect();
        for one in &members {
            self.instances.push(container(name, one));
        }
        let id = format!("asg-{name}");
        let state = FleetState { id, bounds: Some(bounds), desired: count, members, ..FleetState::default() };
        let version = Version::parse("v", "web").unwrap();
        self.units.push(Unit { version, standing: Standing::Active, called: called(name), state });
    }

    /// So many tasks are wanted; those that are not placed wait.
    fn service(&mut self, desired: u64, memory: u64) {
        self.workload.services.push(ServiceLoad {
            name: "web".to_owned(),
            definition: DEFINITION.to_owned(),
            desired,
            most: desired * 2,
            ..ServiceLoad::default()
        });
        self.workload
            .needs
            .insert(DEFINITION.to_owned(), Needs { cpu: 256, memory, pod: (256, memory), ..Needs::default() });
    }

    /// On the instance of that number of `main`.
    fn task(&mut self, fleet: &str, number: usize, service: Option<&str>, memory: u64) {
        let id = format!("i-{fleet}-{number}");
        let one = self.instances.iter_mut().find(|one| one.instance == id).unwrap();
        one.tasks += 1;
        one.remaining.memory -= memory;
        one.remaining.cpu -= 256;
        self.workload.tasks.push(TaskLoad {
            definition: DEFINITION.to_owned(),
            service: service.map(str::to_owned),
            newest: service.is_some(),
            on: Some(one.arn.clone()),
        });
    }

    fn state(&mut self, fleet: &str) -> &mut FleetState {
        &mut self.units.iter_mut().find(|unit| unit.called == called(fleet)).unwrap().state
    }

    fn draining(&mut self, id: &str) {
        self.instances.iter_mut().find(|one| one.instance == id).unwrap().status = "DRAINING".to_owned();
    }

    fn look(&self) -> Round {
        let types = BTreeMap::new();
        Round::of(&Seen {
            infra: &self.infra,
            prices: &Prices::embedded().unwrap(),
            now: NOW,
            units: &self.units,
            instances: &self.instances,
            workload: &self.workload,
            types: &types,
            average: self.average,
        })
    }

    /// All but what is written down.
    fn acts(&self) -> Vec<Act> {
        self.look().acts.into_iter().filter(|act| !matches!(act, Act::Note { .. })).collect()
    }
}

fn called(name: &str) -> Called {
    Called { name: name.to_owned(), stands_in: false }
}

fn container(fleet: &str, member: &Member) -> ContainerInstance {
    let large = member.kind.ends_with("large");
    let memory = if large { 7800 } else { 3900 };
    let taken = BTreeSet::from([22, 2375, 2376, 51678, 51679].map(|port| FixedPort { port, udp: false }));
    let amounts = Amounts { cpu: 2048, memory, gpu: 0, ports: taken };
    let attributes = [
        (attributes::FLEET, fleet),
        (attributes::VERSION, "v"),
        ("ecs.instance-type", member.kind.as_str()),
        ("ecs.availability-zone", "us-west-2a"),
    ];
    ContainerInstance {
        arn: format!("arn:aws:ecs:us-west-2:1:container-instance/web/{}", member.instance),
        instance: member.instance.clone(),
        status: "ACTIVE".to_owned(),
        connected: true,
        attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        tasks: 0,
        registered: amounts.clone(),
        remaining: amounts,
    }
}

fn resize(fleet: &str, from: u64, to: u64) -> Act {
    Act::Resize { fleet: fleet.to_owned(), id: format!("asg-{fleet}"), from, to }
}

fn terminate(fleet: &str, instance: &str, left: Option<u64>) -> Act {
    Act::Terminate { fleet: fleet.to_owned(), id: format!("asg-{fleet}"), instance: instance.to_owned(), left }
}

fn arn(instance: &str) -> String {
    format!("arn:aws:ecs:us-west-2:1:container-instance/web/{instance}")
}

#[test]
fn what_waits_is_launched_for_once() {
    let mut world = World::new(1, 0);
    // Three go onto a t3.medium that is there, three onto each one that is coming.
    world.service(8, 1200);
    assert_eq!(world.acts(), [resize("main", 1, 3)]);
    world.state("main").desired = 3;
    assert_eq!(world.acts(), [], "they are coming");
    let arrived: Vec<Member> = (1..3)
        .map(|number| Member {
            instance: format!("i-main-{number}"),
            kind: "t3.medium".to_owned(),
            weight: Some(1),
            launched: Timestamp::from_second(NOW - 20).ok(),
            ..Member::default()
        })
        .collect();
    world.state("main").members.extend(arrived);
    assert_eq!(world.acts(), [], "they start");
}

#[test]
fn when_what_can_wait_is_permitted_again_is_written_down_with_the_fleet() {
    let mut world = World::new(1, 0);
    world.service(8, 1200);
    let note = Act::Note { fleet: "main".to_owned(), id: "asg-main".to_owned(), next_permitted: NOW + 60 };
    assert!(world.look().acts.contains(&note));
}

#[test]
fn where_aws_has_no_capacity_another_fleet_is_asked_and_the_first_one_asks_no_more() {
    let mut world = World::new(1, 0);
    world.service(8, 1200);
    let failed = |before: i64| LaunchFailure {
        at: Timestamp::from_second(NOW - before).unwrap(),
        why: "We currently do not have sufficient t3.medium capacity".to_owned(),
    };
    world.state("main").desired = 3;
    world.state("main").failed = Some(failed(60));
    let round = world.look();
    assert!(
        round.acts.contains(&resize("main", 3, 1)) && round.acts.contains(&resize("large", 0, 1)),
        "{:?}",
        round.acts
    );
    assert_eq!(
        round.notes,
        ["main: an instance could not be launched: We currently do not have sufficient t3.medium capacity"]
    );
    // Five minutes later it may have some again.
    world.state("main").desired = 1;
    world.state("main").failed = Some(failed(301));
    assert_eq!(world.acts(), [resize("main", 1, 3)]);
    assert_eq!(world.look().notes, Vec::<String>::new());
}

#[test]
fn with_no_spot_left_groups_on_demand_grow() {
    let mut world = World::new(1, 0);
    world.service(8, 1200);
    for fleet in ["main", "large"] {
        let failed = LaunchFailure { at: Timestamp::from_second(NOW - 1).unwrap(), why: "no".to_owned() };
        world.state(fleet).failed = Some(failed);
    }
    assert_eq!(world.acts(), [resize("reserved", 0, 1)]);
}

/// A fleet, and the group that stands in for it.
fn with_fallback(infra: &str) -> World {
    let infra =
        infra.replacen("      task_threshold_out", "      on_demand_fallback: true\n      task_threshold_out", 1);
    let mut world = World::of(&infra, 1, 0);
    world.units.retain(|unit| unit.called.name == "main");
    world.unit("main-instead", "t3.medium", 0, (0, 4));
    world.units[1].called = Called { name: "main".to_owned(), stands_in: true };
    world.service(8, 1200);
    world
}

fn no_spot(before: i64) -> Option<LaunchFailure> {
    Some(LaunchFailure { at: Timestamp::from_second(NOW - before).unwrap(), why: "no capacity".to_owned() })
}

#[test]
fn what_no_spot_is_to_be_had_for_is_launched_on_demand_where_the_file_says_so() {
    let mut world = with_fallback(INFRA);
    assert_eq!(world.acts(), [resize("main", 1, 3)]);
    world.state("main").desired = 3;
    world.state("main").failed = no_spot(60);
    let instead =
        |from, to| Act::Resize { fleet: "main (on demand)".to_owned(), id: "asg-main-instead".to_owned(), from, to };
    assert_eq!(world.acts(), [resize("main", 3, 1), instead(0, 2)]);
    let said: Vec<String> = world.look().decision.fleets[1].reasons.iter().map(ToString::to_string).collect();
    assert!(said.contains(&"no Spot is to be had: on demand".to_owned()), "{said:?}");
    // Both together have one maximum.
    world.state("main").bounds = Some((1, 2));
    world.units[1].state.bounds = Some((0, 2));
    assert_eq!(world.acts(), [resize("main", 3, 1), instead(0, 1)]);
    // Said no more, it is closed also where the version has the group still.
    let mut world = with_fallback(INFRA);
    world.infra.fleets[0].on_demand_fallback = false;
    world.state("main").failed = no_spot(60);
    assert_eq!(world.acts(), []);
}

#[test]
fn what_stands_in_goes_when_its_tasks_have_room_on_spot() {
    let mut world = with_fallback(INFRA);
    world.workload.services.clear();
    world.service(2, 1200);
    world.units[1].state.members =
        vec![Member { instance: "i-main-9".to_owned(), kind: "t3.medium".to_owned(), ..Member::default() }];
    world.units[1].state.desired = 1;
    world.instances.push(container("main", &world.units[1].state.members[0]));
    world.task("main", 0, Some("web"), 1200);
    world.task("main", 9, Some("web"), 1200);
    let drain = Act::Drain { fleet: "main (on demand)".to_owned(), instances: vec![arn("i-main-9")] };
    assert_eq!(world.acts(), [drain]);
}

#[test]
fn auto_scaling_is_told_once_to_end_nothing_for_the_sake_of_zones() {
    let mut world = World::new(1, 0);
    world.state("main").evens_out = true;
    assert_eq!(world.acts(), [], "it is in one zone");
    world.state("main").zones = ["a", "b"].map(str::to_owned).into();
    assert_eq!(world.acts(), [Act::KeepUneven { fleet: "main".to_owned(), id: "asg-main".to_owned() }]);
    world.state("main").evens_out = false;
    assert_eq!(world.acts(), []);
}

#[test]
fn a_zone_that_a_task_asks_for_and_attributes_of_instances_that_never_were_there_may_come() {
    let asks = |world: &mut World, expression: &str| {
        world.service(1, 1200);
        world.workload.needs.get_mut(DEFINITION).unwrap().expressions = vec![expression.to_owned()];
        world.units.truncate(1);
        world.state("main").zones = ["us-west-2a", "us-west-2b"].map(str::to_owned).into();
        world.acts()
    };
    // The one that is there is in us-west-2a.
    let zone = "attribute:ecs.availability-zone == us-west-2b";
    let mut world = World::new(1, 0);
    world.task("main", 0, None, 1200);
    assert_eq!(asks(&mut world, zone), [resize("main", 1, 2)]);
    assert_eq!(asks(&mut World::new(1, 0), "attribute:ecs.availability-zone == us-west-2c"), []);
    // What user data gives an instance the first one tells.
    let own = "attribute:stack == prod";
    assert_eq!(asks(&mut World::new(0, 0), own), [resize("main", 0, 1)]);
    assert_eq!(asks(&mut World::new(1, 0), own), []);
    let mut world = World::new(1, 0);
    world.instances[0].attributes.insert("stack".to_owned(), "prod".to_owned());
    world.task("main", 0, None, 3000);
    assert_eq!(asks(&mut world, own), [resize("main", 1, 2)]);
}

#[test]
fn what_is_about_to_be_interrupted_drains_and_then_goes() {
    let mut world = World::new(2, 0);
    world.service(2, 1200);
    world.task("main", 0, Some("web"), 1200);
    world.task("main", 1, Some("web"), 1200);
    world.state("main").members[1].interrupted = true;
    let drain = Act::Drain { fleet: "main".to_owned(), instances: vec![arn("i-main-1")] };
    assert_eq!(world.acts()[0], drain);
    // ECS's own agent drained it before: it is not taken back. Its task has room on the other one.
    world.draining("i-main-1");
    assert!(
        !world.acts().iter().any(|act| matches!(act, Act::Undrain { .. } | Act::Drain { .. })),
        "{:?}",
        world.acts()
    );
    world.workload.tasks.pop();
    world.instances[1].tasks = 0;
    assert_eq!(world.acts(), [terminate("main", "i-main-1", Some(1))]);
    // At its minimum the fleet gets another one.
    world.state("main").bounds = Some((2, 4));
    assert_eq!(world.acts(), [terminate("main", "i-main-1", None)]);
}

/// Its successor is launched before, and is neither too much nor what the fleet is to have.
#[test]
fn what_auto_scaling_is_about_to_end_drains_and_is_let_go() {
    let mut world = World::new(3, 0);
    world.service(2, 900);
    world.task("main", 0, Some("web"), 900);
    world.task("main", 1, Some("web"), 900);
    assert_eq!(world.acts().len(), 1, "of three that are asked for one is too much");
    world.state("main").desired = 2;
    assert_eq!(world.acts(), [], "the successor is there");
    world.state("main").bounds = Some((1, 2));
    assert_eq!(world.acts(), [], "beyond the maximum, even");
    let held = &mut world.state("main").members[1];
    (held.leaving, held.held) = (true, true);
    let drains = |act: &Act| matches!(act, Act::Drain { instances, .. } if instances.contains(&arn("i-main-1")));
    assert!(world.acts().iter().any(drains), "{:?}", world.acts());
    world.draining("i-main-1");
    let release = Act::Release { fleet: "main".to_owned(), id: "asg-main".to_owned(), instance: "i-main-1".to_owned() };
    assert!(!world.acts().contains(&release), "its task still runs");
    world.workload.tasks.pop();
    assert!(!world.acts().contains(&release), "and stops");
    world.instances[1].tasks = 0;
    assert_eq!(world.acts().last(), Some(&release));
    // One that is not registered has nothing to drain.
    let own = world.instances.remove(1);
    assert_eq!(world.acts().last(), Some(&release));
    // Let go, it is nobody's business any more.
    world.state("main").members[1].held = false;
    assert!(!world.acts().contains(&release));
    // On a dead one nothing stops any more.
    world.instances.insert(1, ContainerInstance { tasks: 1, connected: false, ..own });
    world.state("main").members[1].held = true;
    assert!(!world.acts().contains(&release));
    world.state("main").members[1].unhealthy = true;
    assert_eq!(world.acts().last(), Some(&release));
}

#[test]
fn one_that_goes_leaves_its_place_to_the_successor_that_is_there() {
    let mut world = World::new(3, 0);
    world.service(2, 1900);
    world.task("main", 0, Some("web"), 1900);
    world.task("main", 2, Some("web"), 1900);
    world.state("main").desired = 2;
    world.state("main").members[1].interrupted = true;
    world.draining("i-main-1");
    assert_eq!(world.acts(), [terminate("main", "i-main-1", None)], "two stay, and two are asked for");
}

#[test]
fn tasks_in_the_place_of_what_drains_wait_too() {
    let mut world = World::new(2, 0);
    world.service(4, 1900);
    for number in [0, 0, 1, 1] {
        world.task("main", number, Some("web"), 1900);
    }
    world.state("main").members[1].interrupted = true;
    world.draining("i-main-1");
    assert_eq!(world.acts(), [resize("main", 2, 3)], "ECS would start two more, and has nowhere to");
    world.workload.services[0].most = 5;
    assert_eq!(world.acts(), [resize("main", 2, 3)], "one at a time");
    world.workload.services[0].most = 4;
    assert_eq!(world.acts(), [], "it ends the old ones first");
    world.workload.services[0].most = 8;
    world.workload.services[0].failed = true;
    assert_eq!(world.acts(), []);
}

#[test]
fn nothing_is_ended_under_tasks_that_stop() {
    let mut world = World::new(2, 0);
    world.draining("i-main-1");
    world.instances[1].tasks = 1;
    assert_eq!(world.acts(), [], "the task is listed no more, and counted");
    world.instances[1].tasks = 0;
    assert_eq!(world.acts(), [terminate("main", "i-main-1", Some(1))]);
}

#[test]
fn an_idle_cluster_goes_down_to_its_minimum() {
    let mut world = World::new(3, 2);
    let drained: Vec<String> = world
        .acts()
        .into_iter()
        .flat_map(|act| if let Act::Drain { instances, .. } = act { instances } else { panic!("{act:?}") })
        .collect();
    assert_eq!(drained.len(), 4, "one of main stays: {drained:?}");
    for one in &mut world.instances {
        if drained.contains(&one.arn) {
            one.status = "DRAINING".to_owned();
        }
    }
    let acts = world.acts();
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::Terminate { left: Some(_), .. })).count(), 4, "{acts:?}");
    assert!(acts.contains(&terminate("large", "i-large-1", Some(0))), "{acts:?}");
}

#[test]
fn an_instance_that_never_registered_is_told_and_is_no_room() {
    let mut world = World::new(2, 0);
    world.service(6, 1200);
    world.instances.remove(1);
    world.state("main").members[1].launched = Timestamp::from_second(NOW - 100).ok();
    assert_eq!(world.acts(), [], "it starts");
    world.state("main").members[1].launched = Timestamp::from_second(NOW - 901).ok();
    let round = world.look();
    assert!(round.acts.contains(&resize("main", 2, 3)), "{:?}", round.acts);
    let told = "i-main-1 (main) is there for more than 15 minutes and has not registered: it takes no tasks";
    assert!(round.notes[0].starts_with(told), "{:?}", round.notes);
}

#[test]
fn versions_that_are_not_used_empty_and_go() {
    let mut world = World::new(1, 0);
    world.units.truncate(1);
    world.unit("main", "t3.medium", 1, (0, 4));
    let old = world.units.last_mut().unwrap();
    old.version = Version::parse("old", "web").unwrap();
    old.standing = Standing::Inactive;
    old.state.id = "asg-old".to_owned();
    old.state.members[0].instance = "i-old".to_owned();
    let one = world.instances.last_mut().unwrap();
    one.instance = "i-old".to_owned();
    one.arn = arn("i-old");
    one.attributes.insert(attributes::VERSION.to_owned(), "old".to_owned());
    assert_eq!(world.acts(), [Act::Drain { fleet: "main".to_owned(), instances: vec![arn("i-old")] }]);
    world.draining("i-old");
    let gone = Act::Terminate {
        fleet: "main".to_owned(),
        id: "asg-old".to_owned(),
        instance: "i-old".to_owned(),
        left: Some(0),
    };
    assert_eq!(world.acts(), [gone]);
    world.units[1].state.members.clear();
    world.units[1].state.desired = 0;
    assert_eq!(world.acts(), [], "it is registered still");
    world.instances.pop();
    assert_eq!(world.acts(), [Act::Delete { version: Version::parse("old", "web").unwrap() }]);
}

#[test]
fn daemons_are_on_every_instance_and_hold_none() {
    let mut world = World::new(2, 0);
    world.service(2, 100);
    world.workload.services[0].daemon = true;
    world.task("main", 0, Some("web"), 100);
    world.task("main", 1, Some("web"), 100);
    let round = world.look();
    assert!(matches!(&round.acts[..], [Act::Drain { instances, .. }, ..] if instances.len() == 1), "{:?}", round.acts);
    // What they take of a new instance is not there for others: three tasks of 1,250 would fit otherwise, and one does.
    let mut world = World::new(0, 0);
    world.state("main").bounds = Some((0, 4));
    world.state("large").bounds = Some((0, 0));
    world.service(4, 1250);
    assert_eq!(world.acts(), [resize("main", 0, 2)], "92 % of 4 GiB are room for three");
    world.service(1, 1300);
    world.workload.services[1].name = "logs".to_owned();
    world.workload.services[1].daemon = true;
    world.workload.services[1].definition = "arn:logs".to_owned();
    world.workload.needs.insert("arn:logs".to_owned(), Needs { memory: 1300, ..Needs::default() });
    world.workload.needs.get_mut(DEFINITION).unwrap().memory = 1250;
    assert_eq!(world.acts(), [resize("main", 0, 4)], "for one, beside the daemon's");
}

#[test]
fn a_constraint_that_cannot_be_read_is_told_and_launches_nothing() {
    let mut world = World::new(0, 0);
    world.state("main").bounds = Some((0, 4));
    world.service(3, 100);
    world.workload.services[0].placement =
        Placement { distinct: false, expressions: vec!["task:group == service:db".to_owned()] };
    let round = world.look();
    assert_eq!(round.acts, []);
    assert!(
        round.notes[0].starts_with("web: the placement constraint `task:group == service:db`"),
        "{:?}",
        round.notes
    );
    // One that can: one to an instance, of this version only.
    let expression = "attribute:landfall.version == v and attribute:landfall.fleet == main".to_owned();
    world.workload.services[0].placement = Placement { distinct: true, expressions: vec![expression] };
    assert_eq!(world.acts(), [resize("main", 0, 3)]);
}

#[test]
fn standalone_tasks_that_wait_are_launched_for_and_those_that_run_hold_their_instance() {
    let mut world = World::new(2, 0);
    world.service(0, 1200);
    world.task("main", 1, None, 1200);
    let acts = world.acts();
    assert_eq!(acts, [Act::Drain { fleet: "main".to_owned(), instances: vec![arn("i-main-0")] }]);
    for _ in 0..6 {
        world.workload.tasks.push(TaskLoad { definition: DEFINITION.to_owned(), ..TaskLoad::default() });
    }
    assert_eq!(world.acts(), [resize("main", 2, 3)]);
}

#[test]
fn the_compatible_metric_is_the_original_s() {
    let compatible = INFRA.replace("ec2_instances:\n", "ec2_instances:\n  metric: compatible\n");
    let compatible = compatible.replace("task_threshold_out: 0", "task_threshold_out: 1");
    let mut world = World::of(&compatible, 2, 0);
    world.service(2, 3900);
    world.workload.services[0].failed = true;
    for one in &mut world.instances {
        one.remaining.memory = 1950;
    }
    let told = world.look().metrics;
    assert_eq!((told.tasks, told.scheduled), (1.0, 2.0 / 3.0), "two halves are one, though nothing fits");
    // Below the threshold of 1: two more; without a datapoint nothing.
    assert_eq!(world.acts(), []);
    world.average = Some(0.5);
    assert!(world.acts().contains(&resize("main", 2, 4)), "{:?}", world.acts());
}

//! A cluster that behaves as ECS and CloudFormation do.

use std::collections::{BTreeMap, BTreeSet};

use landfall_cluster::roll::{
    Base, Compute, Facts, Goal, Instance, Next, Patience, Proof, Proving, Short, State, next,
};
use landfall_cluster::{Part, Standing, Version};

use super::version;

/// What CloudFormation, EC2 and ECS do with what they are told.
pub(super) struct World {
    pub(super) facts: Facts,
    /// Versions that do not work, and how.
    pub(super) broken: BTreeMap<String, Broken>,
    /// Of the wanted version.
    proven: Vec<String>,
    /// What somebody sets by hand, at which look.
    pub(super) deleted: Vec<String>,
    tasks: u32,
    /// Tasks of services that start on each instance of a version that is tested.
    pub(super) lands: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// No instance comes.
    Empty,
    /// None of one of its two fleets.
    HalfEmpty,
    /// No task is placed.
    Full,
    /// The tasks stop.
    Stops,
    /// That of one of its two fleets.
    HalfStops,
    /// The task never runs.
    Hangs,
    /// The stack cannot be made.
    Unmade,
}

pub(super) fn compute(name: &str, standing: Standing, at: i64) -> Compute {
    Compute {
        version: version(name),
        stack: format!("c-asg-{name}"),
        id: format!("arn:{name}"),
        state: State::Ready,
        standing,
        current: true,
        undone: false,
        associated: Vec::new(),
        proving: Vec::new(),
        created: at,
        since: at,
    }
}

pub(super) fn instance(name: &str, number: u32, tasks: u32) -> Instance {
    Instance {
        weight: 1,
        arn: format!("{name}/{number}"),
        version: Some(name.to_owned()),
        fleet: Some("main".to_owned()),
        draining: false,
        connected: true,
        tasks,
    }
}

/// The stack that lasts, as it shall be.
pub(super) fn base(part: &str, state: State) -> Base {
    Base { id: format!("arn:{part}"), state, current: true, undone: false }
}

impl World {
    pub(super) fn new() -> Self {
        let tested = vec!["main".to_owned(), "burst".to_owned()];
        let facts = Facts { name: "c".to_owned(), now: 1_000, tested, ..Facts::default() };
        Self { facts, broken: BTreeMap::new(), proven: Vec::new(), deleted: Vec::new(), tasks: 0, lands: 0 }
    }

    /// With a version that has tasks on its instances.
    pub(super) fn with(mut self, name: &str, standing: Standing, instances: u32) -> Self {
        (self.facts.cluster, self.facts.health) = (base("cluster", State::Ready), base("health", State::Ready));
        self.facts.computes.push(compute(name, standing, self.facts.now - 500));
        self.facts.instances.extend((0..instances).map(|number| instance(name, number, 3)));
        self
    }

    pub(super) fn of(&mut self, name: &Version) -> &mut Compute {
        self.facts.computes.iter_mut().find(|one| one.version == *name).unwrap()
    }

    pub(super) fn standing(&self, name: &str) -> Option<Standing> {
        self.facts.computes.iter().find(|one| one.version.as_str() == name).map(|one| one.standing)
    }

    pub(super) fn act(&mut self, next: &Next) {
        match next {
            Next::Apply { part: Part::Cluster } => self.facts.cluster = base("cluster", State::Busy),
            Next::Apply { .. } => self.facts.health = base("health", State::Busy),
            Next::Move { service, .. } => self.facts.bonds.retain(|(bound, _)| bound != service),
            Next::Disassociate { providers } => {
                let facts = &mut self.facts;
                facts.cluster.state = State::Busy;
                let all = facts.computes.iter_mut().map(|one| &mut one.associated).chain([&mut facts.associated]);
                all.for_each(|names| names.retain(|name| !providers.contains(name)));
            }
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
                assert_eq!(one.state, State::Ready, "{version} is changed while it is changed");
                (one.standing, one.state) = (*standing, State::Busy);
                if *standing == Standing::Failed {
                    let proofs = self.facts.proofs.iter().filter(|proof| !matches!(proof.state, Proving::Stopped(_)));
                    let proofs = u32::try_from(proofs.count()).unwrap();
                    let tasks = self.facts.of_version(version).map(|one| one.tasks).sum::<u32>();
                    assert!(tasks <= proofs, "{tasks} tasks were killed with {version}");
                    self.facts.instances.retain(|one| one.version.as_deref() != Some(version.as_str()));
                }
            }
            Next::Prove { version, fleet } => match self.broken.get(version.as_str()) {
                Some(Broken::Full) => {
                    self.facts.refused.insert(fleet.clone(), "RESOURCE:MEMORY".to_owned());
                }
                _ => {
                    let there = self.facts.of_version(version).any(|one| one.fleet.as_ref() == Some(fleet));
                    assert!(there, "{fleet} has no instance");
                    self.tasks += 1;
                    let task = format!("t{}", self.tasks);
                    let fleet = fleet.clone();
                    let proof = Proof { task, fleet, created: self.facts.now, state: Proving::Pending };
                    self.facts.proofs.insert(0, proof);
                    self.placed(version, true);
                }
            },
            Next::StopProof { task } => {
                let proof = self.facts.proofs.iter_mut().find(|proof| proof.task == *task).unwrap();
                proof.state = Proving::Stopped("told to".to_owned());
                if let Some(version) = self.facts.computes.last().map(|one| one.version.clone()) {
                    self.placed(&version, false);
                }
            }
            Next::Drain { version, instances } => {
                let standing = self.of(version).standing;
                let fails = standing == Standing::Testing && self.broken.contains_key(version.as_str());
                assert!(
                    fails || matches!(standing, Standing::Inactive | Standing::Failed),
                    "{version} is {standing:?}"
                );
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
            Next::Delete { id, .. } if *id == self.facts.cluster.id => {
                assert_eq!((&self.facts.computes[..], &self.facts.health.state), (&[][..], &State::Absent));
                self.facts.cluster = Base::default();
            }
            Next::Delete { id, .. } if *id == self.facts.health.id => self.facts.health = Base::default(),
            Next::Delete { id, .. } => {
                let at = self.facts.computes.iter().position(|one| one.id == *id).unwrap();
                let Compute { version: gone, associated, .. } = self.facts.computes.remove(at);
                assert_eq!(associated, [""; 0], "ECS deletes no capacity provider that is a cluster's");
                let left = self.facts.of_version(&gone).map(|one| one.tasks).sum::<u32>();
                assert_eq!(left, 0, "tasks were killed with {gone}");
                self.facts.instances.retain(|one| one.version.as_deref() != Some(gone.as_str()));
                self.deleted.push(gone.to_string());
            }
            Next::Wait { .. } | Next::Done | Next::Failed { .. } => {}
        }
    }

    /// A task that proves it is on an instance of the version, or is there no more.
    fn placed(&mut self, version: &Version, on: bool) {
        let own = |one: &&mut Instance| one.version.as_deref() == Some(version.as_str()) && (on || one.tasks > 0);
        if let Some(one) = self.facts.instances.iter_mut().find(own) {
            one.tasks = if on { one.tasks + 1 } else { one.tasks - 1 };
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
                let fleets = if broken == Some(&Broken::HalfEmpty) { 1 } else { 2 };
                for (number, fleet) in (0..).zip(&facts.tested[..fleets]) {
                    let fleet = Some(fleet.clone());
                    facts.instances.push(Instance { fleet, ..instance(one.version.as_str(), number, self.lands) });
                }
            }
        }
        let tested =
            facts.computes.iter().rfind(|one| one.standing == Standing::Testing).map(|one| one.version.clone());
        let all: Vec<bool> = tested.iter().flat_map(|one| facts.of_version(one)).map(|one| one.draining).collect();
        let leaves = !all.is_empty() && all.iter().all(|draining| *draining);
        facts.leaves = leaves.then(|| facts.leaves.unwrap_or(facts.now));
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
        facts.unsteady = if moved > 0 { vec![Short::new("web", 2, 3, 100)] } else { Vec::new() };
        let broken = testing.last().and_then(|name| self.broken.get(name));
        let mut ended = 0;
        for proof in &mut facts.proofs {
            let ran = !matches!(proof.state, Proving::Stopped(_));
            let half = proof.fleet == "burst";
            proof.state = match (&proof.state, broken) {
                (Proving::Pending, Some(Broken::Hangs)) => Proving::Pending,
                (Proving::Pending, Some(Broken::Stops)) => Proving::Stopped("exit 1".to_owned()),
                (Proving::Pending, Some(Broken::HalfStops)) if half => Proving::Stopped("exit 1".to_owned()),
                (Proving::Pending, _) => Proving::Running(facts.now),
                (other, _) => other.clone(),
            };
            ended += u32::from(ran && matches!(proof.state, Proving::Stopped(_)));
        }
        let stays = |proof: &&Proof| matches!(proof.state, Proving::Running(since) if facts.now - since >= Patience::default().stays);
        let proven: BTreeSet<&String> = facts.proofs.iter().filter(stays).map(|proof| &proof.fleet).collect();
        if proven.len() == facts.tested.len() {
            self.proven.extend(testing.last().cloned());
        }
        if let Some(name) = testing.last() {
            (0..ended).for_each(|_| self.placed(&version(name), false));
        }
    }

    /// Looks and acts, until it ends; for as many looks as there are dice whoever does so may be killed before or after it acts, and somebody
    /// asks for the same anew.
    pub(super) fn roll(&mut self, asked: &Goal, dice: &[u8]) -> Next {
        let mut goal = asked.clone();
        for look in 0..4_000 {
            let decided = next(&goal, &self.facts, Patience::default());
            if matches!(decided, Next::Done | Next::Failed { .. }) {
                return decided;
            }
            let die = dice.get(look).copied().unwrap_or(255);
            if die >= 40 {
                self.act(&decided);
                goal.did(&decided);
            }
            if die < 70 {
                goal = asked.clone();
            }
            self.pass(i64::from(die % 7) + 1);
        }
        panic!("it does not end: {:?}", next(&goal, &self.facts, Patience::default()));
    }

    pub(super) fn tasks(&self) -> u32 {
        self.facts.instances.iter().map(|one| one.tasks).sum()
    }
}

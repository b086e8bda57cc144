//! What is observed of a cluster, as it is decided about. Of which cluster and of which version a stack is its tags say, whole: a name that
//! is a part of another's means nothing.

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::cloudformation::StackState;
use landfall_model::fleet::Share;
use landfall_model::inventory::TAG_ENVIRONMENT;
use landfall_stack::live::{Before, Phase, before};
use serde::Serialize;

use super::{Goal, Patience, Short, emptied};
use crate::build::{Standing, providers};
use crate::infra::Infra;
use crate::names::{LABEL_CLUSTER, LABEL_PART, LABEL_VERSION, Part, Version, owner};

/// One look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The cluster's name.
    pub name: String,
    pub cluster: Base,
    pub health: Base,
    /// Of this cluster, whatever state they are in.
    pub computes: Vec<Compute>,
    pub instances: Vec<Instance>,
    /// Fleets and groups of the version that is being deployed that have to show that they work.
    pub tested: Vec<String>,
    /// Of that version, the newest of each fleet first.
    pub proofs: Vec<Proof>,
    /// Since when the instances of that version, which is tested, all drain, as whoever looks has seen it.
    pub leaves: Option<i64>,
    /// Why no task could be started on a fleet when it was last tried.
    pub refused: BTreeMap<String, String>,
    /// All that are on the cluster.
    pub services: Vec<String>,
    /// Services with fewer tasks running than they should have.
    pub unsteady: Vec<Short>,
    /// Services that are bound to capacity providers of versions that go.
    pub bonds: Vec<(String, Bond)>,
    /// Capacity providers that any service names.
    pub named: BTreeSet<String>,
    /// Capacity providers that the cluster's stack associates; none while CloudFormation is at work on it.
    pub associated: Vec<String>,
    /// Seconds since 1970.
    pub now: i64,
}

/// How a service is bound to versions that go: its tasks would start on no instance once theirs are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bond {
    /// It is to have this strategy instead.
    Stray(Vec<Share>),
    /// On its way.
    Moving,
    /// The cluster has no other capacity provider for it.
    Stuck,
    /// It was moved, and its tasks did not come up there.
    Returned,
}

/// What a service names.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub strategy: &'a [Share],
    /// Capacity providers of deployments before the newest, whose tasks run still.
    pub leaving: &'a [String],
    /// Its newest deployment has failed.
    pub failed: bool,
    /// It was moved from this strategy, and a look before this second may show it as it was.
    pub moved: Option<(&'a [Share], i64)>,
}

/// A stack that lasts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// Its ARN, where it is there.
    pub id: String,
    pub state: State,
    /// It is what `infra.yml` says.
    pub current: bool,
    /// What this run began of it was rolled back, or its deletion failed.
    pub undone: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    #[default]
    Absent,
    Busy,
    Ready,
    /// Its creation failed: it can only be deleted.
    NeverCame,
    /// It can neither be changed nor is anything under way.
    Stuck(String),
    /// One of that name belongs to somebody else, by its tag.
    Foreign(Option<String>),
}

impl State {
    pub fn of(stack: Option<&StackState>, cluster: &str) -> Self {
        match before(stack, &owner(cluster)) {
            Before::Create => Self::Absent,
            Before::Update => Self::Ready,
            Before::Watch(_) => Self::Busy,
            Before::Stuck(Phase::NeverCame) => Self::NeverCame,
            Before::Stuck(_) => Self::Stuck(stack.map(|stack| stack.status.clone()).unwrap_or_default()),
            Before::Foreign(owner) => Self::Foreign(owner),
        }
    }
}

/// Seconds: a change of a stack that sets another version inactive takes less.
const ABANDONED: i64 = 180;

/// It can only be deleted again.
pub(super) const DELETE_FAILED: &str = "DELETE_FAILED";

/// The stack of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compute {
    pub version: Version,
    /// Its name.
    pub stack: String,
    /// Its ARN.
    pub id: String,
    pub state: State,
    pub standing: Standing,
    /// It is what `infra.yml` says; only of the version that is deployed.
    pub current: bool,
    /// What this run began of it was rolled back, or its deletion failed.
    pub undone: bool,
    /// Capacity providers of it that the cluster's stack associates, or may: CloudFormation is at work on that.
    pub associated: Vec<String>,
    /// Of one that goes, tasks that were to prove it and run still: whoever began them is gone, or was overtaken.
    pub proving: Vec<String>,
    /// Seconds since 1970.
    pub created: i64,
    /// The last change of it.
    pub since: i64,
}

/// A container instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub arn: String,
    /// By its attribute.
    pub version: Option<String>,
    pub fleet: Option<String>,
    /// Of its fleet's size.
    pub weight: u32,
    pub draining: bool,
    /// Its agent is there.
    pub connected: bool,
    /// Running and pending.
    pub tasks: u32,
}

/// A task that is to show that a version works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub task: String,
    pub fleet: String,
    /// Seconds since 1970.
    pub created: i64,
    pub state: Proving,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proving {
    Pending,
    /// Since when.
    Running(i64),
    /// And why.
    Stopped(String),
}

/// The compute stacks of this cluster among all stacks of an account and region, oldest first: by what their tags say.
pub fn computes(cluster: &str, all: &[StackState]) -> Vec<Compute> {
    let mut found: Vec<Compute> = all.iter().filter_map(|stack| compute(cluster, stack)).collect();
    found.sort_by(|a, b| (a.created, &a.version).cmp(&(b.created, &b.version)));
    found
}

fn compute(cluster: &str, stack: &StackState) -> Option<Compute> {
    let tag = |key: &str| stack.tags.get(key).map(String::as_str);
    let ours = tag(TAG_ENVIRONMENT) == Some(&owner(cluster))
        && tag(LABEL_CLUSTER) == Some(cluster)
        && tag(LABEL_PART) == Some(Part::Compute.as_str());
    let version = Version::parse(tag(LABEL_VERSION).filter(|_| ours)?, cluster).ok()?;
    let state = State::of(Some(stack), cluster);
    let parameter = |name: &str| stack.parameters.get(name).map(String::as_str).unwrap_or_default();
    (state != State::Absent).then(|| Compute {
        version,
        stack: stack.name.clone(),
        id: stack.id.clone(),
        state,
        standing: Standing::of(parameter("Status"), parameter("Roll")),
        current: false,
        undone: false,
        associated: Vec::new(),
        proving: Vec::new(),
        created: stack.created.map(|at| at.as_second()).unwrap_or_default(),
        since: stack.updated.or(stack.created).map(|at| at.as_second()).unwrap_or_default(),
    })
}

impl Compute {
    /// Its deletion failed, and nothing else can be done with it.
    pub(super) fn half_gone(&self) -> bool {
        matches!(&self.state, State::Stuck(status) if status == DELETE_FAILED)
    }

    /// Tasks go to it.
    pub fn used(&self) -> bool {
        self.standing.status() == "active" && !self.half_gone()
    }

    /// It is used no more, or never was.
    pub fn goes(&self) -> bool {
        matches!(self.standing, Standing::Inactive | Standing::Failed) || self.state == State::NeverCame
    }
}

impl Facts {
    pub fn compute(&self, version: &Version) -> Option<&Compute> {
        self.computes.iter().find(|one| one.version == *version)
    }

    /// Versions in whose place this one comes when it is deployed. One that is used already takes nobody's place; one that began to be
    /// tested later takes over by itself, or fails by itself.
    pub fn replaced_by(&self, version: &Version) -> Vec<&Compute> {
        let own = self.compute(version);
        let yields = |one: &&Compute| match one.standing {
            Standing::Active | Standing::Replacing => true,
            Standing::Testing => own.is_none_or(|own| one.created < own.created),
            Standing::Inactive | Standing::Failed => false,
        };
        match own.is_some_and(|own| own.standing == Standing::Active) {
            true => Vec::new(),
            false => self.computes.iter().filter(|one| one.version != *version).filter(yields).collect(),
        }
    }

    /// Of two versions that take the place of all others at a time the newer one is to stay, so the older one waits to be set inactive: else
    /// each would set the other so, and none would be used. One that has not moved for so long has nobody behind it any more.
    pub(super) fn rival(&self, own: &Compute) -> Option<&Compute> {
        let newer = |one: &&Compute| (one.created, &one.version) > (own.created, &own.version);
        let moves = |one: &&Compute| one.state == State::Busy || self.now - one.since < ABANDONED;
        let replacing = self.computes.iter().filter(|one| one.standing == Standing::Replacing);
        replacing.filter(newer).find(moves)
    }

    pub fn of_version(&self, version: &Version) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(move |one| one.version.as_deref() == Some(version.as_str()))
    }

    /// Capacity providers that the cluster is to have: those of versions that are used, the newest first, to which tasks go by default; and
    /// what it had before for as long as anything is left of it, or a service names it, as ECS disassociates none that a task uses
    /// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutClusterCapacityProviders.html>). What is associated cannot be
    /// deleted: so a version's go before its stack does.
    pub fn providers(&self, infra: &Infra) -> Vec<String> {
        let there =
            self.computes.iter().rev().filter(|one| matches!(one.state, State::Ready | State::Busy | State::Stuck(_)));
        let (used, others): (Vec<&Compute>, Vec<&Compute>) = there.partition(|one| one.used());
        let runs = |one: &Compute| self.of_version(&one.version).any(|one| !one.draining || one.tasks > 0);
        let kept =
            |one: &Compute, name: &String| self.associated.contains(name) && (runs(one) || self.named.contains(name));
        let left = others.into_iter().flat_map(|one| {
            providers(infra, &one.version).into_iter().filter(move |name| kept(one, name)).collect::<Vec<_>>()
        });
        used.into_iter().flat_map(|one| providers(infra, &one.version)).chain(left).collect()
    }

    /// Services for which drains wait.
    pub(super) fn holding(&self, patience: Patience) -> Vec<String> {
        let holding = self.unsteady.iter().filter(|one| one.holds(self.now, patience.recovers));
        holding.map(|one| one.name.clone()).collect()
    }

    /// Services that have too few tasks, and for which drains wait no more.
    pub fn given_up(&self, patience: Patience) -> impl Iterator<Item = &Short> {
        self.unsteady.iter().filter(move |one| one.given_up(self.now, patience.recovers))
    }

    /// Something is still to be drained.
    pub fn drains(&self, goal: &Goal) -> bool {
        emptied(goal, self).any(|one| self.of_version(&one.version).any(|one| !one.draining))
    }

    fn left(&self) -> impl Iterator<Item = &Compute> {
        self.computes.iter().filter(|one| one.goes() || one.half_gone())
    }

    /// Capacity providers of versions that go.
    fn going(&self, infra: &Infra) -> BTreeSet<String> {
        self.left().flat_map(|one| providers(infra, &one.version)).collect()
    }

    /// `None`: the service is bound to no version that goes.
    pub fn bond(&self, infra: &Infra, service: Named<'_>) -> Option<Bond> {
        let going = self.going(infra);
        let leaves = service.leaving.iter().any(|name| going.contains(name));
        if !service.strategy.iter().any(|share| going.contains(&share.provider)) {
            return leaves.then_some(if service.failed { Bond::Returned } else { Bond::Moving });
        }
        Some(match (self.moved(infra, service.strategy), service.moved) {
            (None, _) => Bond::Stuck,
            (Some(_), Some((before, until))) if before == service.strategy => {
                if leaves || self.now < until {
                    Bond::Moving
                } else {
                    Bond::Returned
                }
            }
            (Some(to), _) => Bond::Stray(to),
        })
    }

    /// A service's strategy without the capacity providers of versions that go: those of the same fleets of the newest version that is used stand in
    /// their place, once the cluster has them. `None`: it names none of these, or has to wait.
    pub fn moved(&self, infra: &Infra, strategy: &[Share]) -> Option<Vec<Share>> {
        let newest = self.computes.iter().rev().find(|one| one.used())?;
        let to = providers(infra, &newest.version);
        let places: BTreeMap<String, &String> =
            self.left().flat_map(|one| providers(infra, &one.version).into_iter().zip(&to)).collect();
        let mut moved: Vec<Share> = Vec::new();
        for share in strategy {
            let provider = places.get(&share.provider).map_or(&share.provider, |to| to);
            match moved.iter_mut().find(|one| one.provider == *provider) {
                Some(there) => {
                    there.base = there.base.max(share.base);
                    there.weight = there.weight.max(share.weight);
                }
                None => moved.push(Share { provider: provider.clone(), ..share.clone() }),
            }
        }
        let named = |name: &String| strategy.iter().any(|share| share.provider == *name);
        let ready = |to: &String| named(to) || self.associated.contains(to);
        (moved != strategy && moved.iter().all(|share| ready(&share.provider))).then_some(moved)
    }

    /// How large each fleet and group is now, in units of weight, of all versions that are used.
    pub fn at_work(&self) -> BTreeMap<String, u32> {
        let used = |version: &str| {
            let of = |one: &&Compute| one.version.as_str() == version;
            self.computes.iter().find(of).is_some_and(|one| one.standing.status() == "active")
        };
        let mut all = BTreeMap::new();
        for one in self.instances.iter().filter(|one| one.version.as_deref().is_some_and(used)) {
            if let Some(fleet) = &one.fleet {
                *all.entry(fleet.clone()).or_default() += one.weight;
            }
        }
        all
    }
}

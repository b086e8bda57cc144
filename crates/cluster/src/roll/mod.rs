//! What is done next about a cluster, as a function of what is observed. Nothing is remembered between two looks: what has been reached is
//! in the stacks' parameters, so whoever is killed anywhere goes on from there, and two at once end where one would.
//!
//! ```text
//! cluster, health task ─► new version, testing ─► instances register ─► a task on them runs and stays
//!   ─► new version active, replacing ─► the others inactive ─► new version done ─► theirs drained, a few at a time ─► empty ─► deleted
//! ```
//!
//! `replacing` is what tells the moment of taking over from the time after it: an old version that somebody sets active again later stays.

mod facts;
mod short;

pub use facts::{Base, Bond, Compute, Facts, Instance, Named, Proof, Proving, State, computes};
pub use short::{Short, Shortages};

use landfall_model::fleet::Share;
use serde::Serialize;

use self::facts::DELETE_FAILED;

use crate::build::Standing;
use crate::names::{Part, Version, stack_name};

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// This version instead of all others. `fresh`: it was asked for just now, and so a failure of before counts no more.
    Deploy { version: Version, fresh: bool },
    /// What is inactive goes.
    Settle,
    /// This version is used, beside others, and what is drained of it takes tasks again; what is inactive goes. `fresh`: as of `Deploy`; once
    /// it was done, whoever sets the version inactive meanwhile wins.
    Keep { version: Version, fresh: bool },
    /// This version is used no more, and goes with all that is inactive. `fresh`: as of `Keep`.
    Retire { version: Version, fresh: bool },
    /// Everything goes, the cluster last, and with it whatever runs there: there is nowhere to move it to.
    Destroy,
}

impl Goal {
    /// Of which version it is.
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Deploy { version, .. } | Self::Keep { version, .. } | Self::Retire { version, .. } => Some(version),
            Self::Settle | Self::Destroy => None,
        }
    }

    /// Something was done for it. What happens to its version from then on happened to what was asked for: it is no failure of before. What is
    /// done first to the stacks that last, or to clear away what failed before, says nothing about the version.
    pub fn did(&mut self, done: &Next) {
        let (Self::Deploy { version, fresh } | Self::Keep { version, fresh } | Self::Retire { version, fresh }) = self
        else {
            return;
        };
        let (Next::Create { version: of } | Next::Stand { version: of, .. } | Next::Prove { version: of, .. }) = done
        else {
            return;
        };
        *fresh &= of != version;
    }
}

/// Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until the first instance of a version is registered, and a task can be placed on it.
    pub registers: i64,
    /// Until a task that was placed runs.
    pub starts: i64,
    /// For which it must run.
    pub stays: i64,
    /// Until tasks of services have left the instances of a version that does not work.
    pub moves: i64,
    /// For which a service that has fewer tasks than ECS keeps of it, and no more than before, holds drains.
    pub recovers: i64,
}

impl Default for Patience {
    /// Spot takes minutes; an image is pulled within 240 seconds, as ecs-cluster-deployer waits.
    fn default() -> Self {
        Self { registers: 900, starts: 240, stays: 16, moves: 900, recovers: 600 }
    }
}

/// One thing to do, or to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Next {
    /// Make or change a stack that lasts, to what `infra.yml` says.
    Apply {
        part: Part,
    },
    /// Make the version's stack, testing.
    Create {
        version: Version,
    },
    Stand {
        version: Version,
        standing: Standing,
        /// Of a failure.
        why: Option<String>,
    },
    /// Run a task on the instances of the version's fleet.
    Prove {
        version: Version,
        fleet: String,
    },
    StopProof {
        task: String,
    },
    /// No more tasks onto these instances, and those of services elsewhere.
    Drain {
        version: Version,
        instances: Vec<String>,
    },
    Undrain {
        version: Version,
        instances: Vec<String>,
    },
    /// A deployment of a service that names capacity providers of versions that go, with others in their place.
    Move {
        service: String,
        strategy: Vec<Share>,
    },
    /// Take these capacity providers from the cluster, and change nothing else of its stack.
    Disassociate {
        providers: Vec<String>,
    },
    Delete {
        stack: String,
        id: String,
    },
    Wait {
        on: Wait,
    },
    Done,
    Failed {
        why: Failure,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "for")]
pub enum Wait {
    /// CloudFormation is at work on it.
    Stack { stack: String },
    /// Somebody else is about to put this version in the place of all others.
    Rival { version: Version },
    /// No instance of a fleet of it is there yet.
    Register { version: Version, fleet: String },
    /// The task is placed and does not run yet.
    Start { task: String },
    /// It runs, for so many seconds now.
    Stay { task: String, seconds: i64 },
    /// Tasks move away from instances.
    Move { version: Version, instances: usize, tasks: u32 },
    /// Services that have fewer tasks than ECS keeps of them.
    Steady { services: Vec<String> },
    /// Services that still run on, or name, capacity providers of versions that go.
    Bound { services: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Failure {
    #[error("stack {stack} is {status}, and cannot be changed")]
    Stuck { stack: String, status: String },
    #[error("the change of stack {stack} was rolled back")]
    Undone { stack: String },
    #[error("stack {stack} could not be made")]
    NeverCame { stack: String },
    #[error("stack {stack} belongs to {}", .owner.as_deref().unwrap_or("somebody else"))]
    Foreign { stack: String, owner: Option<String> },
    #[error("version {version} is there already, and made of another infra.yml, or by another landfall")]
    Other { version: Version },
    #[error("version {version} does not work")]
    Unproven { version: Version },
    #[error(
        "version {version} does not work: {why}; and {tasks} tasks that started on its instances find no room elsewhere: they stay"
    )]
    Unmoved { version: Version, why: String, tasks: u32 },
    #[error("version {version} was set {status} meanwhile")]
    Overtaken { version: Version, status: &'static str },
    #[error(
        "the tasks of service {service} do not come up on the capacity providers that it was moved to; they run on those of a version that goes"
    )]
    Returned { service: String },
    #[error("service {service} names capacity providers of a version that goes, and the cluster has none of another")]
    Nowhere { service: String },
    #[error("there is no version {version} any more")]
    Gone { version: Version },
    #[error("{version} is the only version of cluster {cluster} that is used: its tasks would have nowhere to go")]
    Last { version: Version, cluster: String },
}

pub fn next(goal: &Goal, facts: &Facts, patience: Patience) -> Next {
    // What CloudFormation took back it would take back again; whoever asks anew tries it once more.
    let undone = facts.computes.iter().find(|one| one.undone && one.state == State::Ready);
    if let Some(one) = undone.filter(|_| *goal != Goal::Destroy) {
        return failed(Failure::Undone { stack: one.stack.clone() });
    }
    let decided = match goal {
        Goal::Deploy { version, fresh } => deploy(version, *fresh, facts, patience),
        Goal::Keep { version, fresh } => keep(version, *fresh, facts),
        Goal::Retire { version, fresh } => retire(version, *fresh, facts),
        Goal::Settle | Goal::Destroy => None,
    };
    decided.or_else(|| empty(goal, facts, patience)).or_else(|| leave(goal, facts)).unwrap_or(Next::Done)
}

/// Why a stack cannot be changed now.
fn held(state: &State, stack: &str) -> Option<Next> {
    let stack = stack.to_owned();
    match state {
        State::Busy => Some(Next::Wait { on: Wait::Stack { stack } }),
        State::Stuck(status) => Some(failed(Failure::Stuck { stack, status: status.clone() })),
        State::NeverCame => Some(failed(Failure::NeverCame { stack })),
        State::Foreign(owner) => Some(failed(Failure::Foreign { stack, owner: owner.clone() })),
        State::Ready | State::Absent => None,
    }
}

fn base(part: Part, stack: &Base, cluster: &str) -> Option<Next> {
    let name = stack_name(cluster, part, None);
    held(&stack.state, &name).or_else(|| match stack {
        Base { state: State::Ready, current: true, .. } => None,
        Base { state: State::Ready, undone: true, .. } => Some(failed(Failure::Undone { stack: name })),
        _ => Some(Next::Apply { part }),
    })
}

fn failed(why: Failure) -> Next {
    Next::Failed { why }
}

fn stand(version: &Version, standing: Standing) -> Option<Next> {
    Some(Next::Stand { version: version.clone(), standing, why: None })
}

fn delete(stack: &str, id: &str) -> Option<Next> {
    Some(Next::Delete { stack: stack.to_owned(), id: id.to_owned() })
}

fn overtaken(own: &Compute) -> Option<Next> {
    Some(failed(Failure::Overtaken { version: own.version.clone(), status: own.standing.status() }))
}

fn lasting(facts: &Facts) -> Option<Next> {
    let first = base(Part::Cluster, &facts.cluster, &facts.name);
    first.or_else(|| base(Part::Health, &facts.health, &facts.name))
}

/// Whether what is left of the version's stack is deleted, and it is made again.
pub fn anew(own: &Compute, fresh: bool, facts: &Facts) -> bool {
    match &own.state {
        State::NeverCame => fresh,
        _ => own.half_gone() && !own.undone && facts.of_version(&own.version).all(|one| one.tasks == 0),
    }
}

/// Until the version is one that is used, and all others are not.
fn deploy(version: &Version, fresh: bool, facts: &Facts, patience: Patience) -> Option<Next> {
    if let Some(first) = lasting(facts) {
        return Some(first);
    }
    let Some(own) = facts.compute(version) else {
        return Some(Next::Create { version: version.clone() });
    };
    if anew(own, fresh, facts) {
        return delete(&own.stack, &own.id);
    }
    if let Some(held) = held(&own.state, &own.stack) {
        return Some(held);
    }
    if !own.current {
        return Some(failed(Failure::Other { version: version.clone() }));
    }
    match own.standing {
        Standing::Failed | Standing::Inactive if fresh => stand(version, Standing::Testing),
        Standing::Failed => Some(failed(Failure::Unproven { version: version.clone() })),
        Standing::Inactive => overtaken(own),
        Standing::Testing => test(own, facts, patience),
        Standing::Replacing if let Some(rival) = facts.rival(own) => {
            Some(Next::Wait { on: Wait::Rival { version: rival.version.clone() } })
        }
        Standing::Replacing => {
            let others = facts.replaced_by(version).into_iter();
            let others = others.filter(|one| matches!(one.state, State::Ready | State::Busy));
            // First those that are about to do the same: they wait for it.
            match others.min_by_key(|one| one.standing != Standing::Replacing) {
                Some(one) => held(&one.state, &one.stack).or_else(|| stand(&one.version, Standing::Inactive)),
                None => in_use(version, facts).or_else(|| stand(version, Standing::Active)),
            }
        }
        Standing::Active => {
            let runs = |proof: &&Proof| !matches!(proof.state, Proving::Stopped(_));
            facts.proofs.iter().find(runs).map(|proof| Next::StopProof { task: proof.task.clone() })
        }
    }
}

/// Another version that tasks go to still, and that cannot be told otherwise. What is half gone goes on going.
fn in_use(version: &Version, facts: &Facts) -> Option<Next> {
    let others = facts.computes.iter().filter(|one| one.version != *version && one.used());
    others.filter(|one| matches!(one.state, State::Stuck(_))).find_map(|one| held(&one.state, &one.stack))
}

/// A version that is tested takes tasks of services, as ECS likes: they leave before its instances do.
fn test(own: &Compute, facts: &Facts, patience: Patience) -> Option<Next> {
    let verdict = prove(own, facts, patience);
    match &verdict {
        Some(Next::Stand { standing: Standing::Failed, why, .. }) => {
            let why = why.clone().unwrap_or_default();
            leaves(&own.version, why, facts, patience).or(verdict)
        }
        _ => undrain(&own.version, facts).or(verdict),
    }
}

fn leaves(version: &Version, why: String, facts: &Facts, patience: Patience) -> Option<Next> {
    let all: Vec<&Instance> = facts.of_version(version).collect();
    let proofs = facts.proofs.iter().filter(|proof| !matches!(proof.state, Proving::Stopped(_))).count();
    let tasks = all.iter().map(|one| one.tasks).sum::<u32>().saturating_sub(u32::try_from(proofs).unwrap_or(u32::MAX));
    if tasks == 0 {
        return None;
    }
    let version = version.clone();
    let active: Vec<String> = all.iter().filter(|one| !one.draining).map(|one| one.arn.clone()).collect();
    if !active.is_empty() {
        return Some(Next::Drain { version, instances: active });
    }
    if facts.leaves.is_some_and(|since| facts.now - since > patience.moves) {
        return Some(failed(Failure::Unmoved { version, why, tasks }));
    }
    let instances = all.iter().filter(|one| one.tasks > 0).count();
    Some(Next::Wait { on: Wait::Move { version, instances, tasks } })
}

/// Whether a version works: instances of each of its fleets register, and a task that is held to them runs and stays.
fn prove(own: &Compute, facts: &Facts, patience: Patience) -> Option<Next> {
    let version = &own.version;
    let fails =
        |why: String| Some(Next::Stand { version: version.clone(), standing: Standing::Failed, why: Some(why) });
    let late = facts.now - own.since > patience.registers;
    let registered = |fleet: &String| {
        let of = |one: &Instance| one.fleet.as_ref() == Some(fleet) && one.connected && !one.draining;
        facts.of_version(version).any(of)
    };
    // Of an earlier try nothing counts; CloudFormation and ECS agree about the time to a second or two.
    let proof = |fleet: &String| facts.proofs.iter().find(|one| one.fleet == *fleet && one.created + 5 >= own.since);
    if facts.tested.is_empty() {
        return fails("none of its fleets has a size".to_owned());
    }
    // Whose, where there is a choice.
    let of = |fleet: &String| if facts.tested.len() == 1 { "it".to_owned() } else { fleet.clone() };
    let (mut next, mut waits) = (None, None);
    for fleet in &facts.tested {
        let wait = match proof(fleet).map(|proof| (proof, &proof.state)) {
            Some((_, Proving::Stopped(why))) => {
                return fails(format!("the task that proves {} stopped: {why}", of(fleet)));
            }
            Some((proof, Proving::Pending)) if facts.now - proof.created > patience.starts => {
                return fails(format!("the task that proves {} does not run after {} s", of(fleet), patience.starts));
            }
            Some((proof, Proving::Pending)) => Wait::Start { task: proof.task.clone() },
            Some((_, Proving::Running(since))) if facts.now - since >= patience.stays => continue,
            Some((proof, Proving::Running(since))) => {
                Wait::Stay { task: proof.task.clone(), seconds: facts.now - since }
            }
            None if late && let Some(why) = facts.refused.get(fleet) => {
                return fails(format!("no task can be placed on instances of {}: {why}", of(fleet)));
            }
            None if !registered(fleet) && late => {
                let none = facts.of_version(version).next().is_none();
                let whose = if none { "it".to_owned() } else { of(fleet) };
                return fails(format!("no instance of {whose} registered within {} s", patience.registers));
            }
            None if !registered(fleet) => Wait::Register { version: version.clone(), fleet: fleet.clone() },
            None => {
                next.get_or_insert(Next::Prove { version: version.clone(), fleet: fleet.clone() });
                continue;
            }
        };
        waits.get_or_insert(Next::Wait { on: wait });
    }
    next.or(waits).or_else(|| stand(version, Standing::Replacing))
}

/// Until the version is one that is used, and its instances take tasks.
fn keep(version: &Version, fresh: bool, facts: &Facts) -> Option<Next> {
    let Some(own) = facts.compute(version) else {
        return Some(failed(Failure::Gone { version: version.clone() }));
    };
    held(&own.state, &own.stack).or_else(|| match own.standing {
        Standing::Active => undrain(version, facts),
        _ if fresh => stand(version, Standing::Active),
        _ => overtaken(own),
    })
}

/// Until the version is one of those that are emptied.
fn retire(version: &Version, fresh: bool, facts: &Facts) -> Option<Next> {
    let own = facts.compute(version).filter(|own| !own.goes())?;
    let other = facts.computes.iter().any(|one| one.version != *version && one.used());
    if own.standing.status() == "active" && !other {
        return Some(failed(Failure::Last { version: version.clone(), cluster: facts.name.clone() }));
    }
    if own.half_gone() {
        return None;
    }
    held(&own.state, &own.stack).or_else(|| match fresh {
        true => stand(version, Standing::Inactive),
        false => overtaken(own),
    })
}

fn undrain(version: &Version, facts: &Facts) -> Option<Next> {
    let draining = facts.of_version(version).filter(|one| one.draining);
    let instances: Vec<String> = draining.map(|one| one.arn.clone()).collect();
    (!instances.is_empty()).then(|| Next::Undrain { version: version.clone(), instances })
}

/// Stacks that are not used any more: their instances are drained a few at a time, while services have what ECS keeps of them, and the stack
/// goes when nothing runs on them.
fn empty(goal: &Goal, facts: &Facts, patience: Patience) -> Option<Next> {
    if let Some(first) = unbind(facts).filter(|_| *goal != Goal::Destroy) {
        return Some(first);
    }
    let (mut waits, mut fails) = (None, None);
    for one in emptied(goal, facts) {
        match empty_one(goal, one, facts, patience) {
            Some(Next::Wait { on }) => drop(waits.get_or_insert(on)),
            // One that is stuck is not in the way of the others.
            Some(Next::Failed { why }) => drop(fails.get_or_insert(why)),
            Some(next) => return Some(next),
            None => {}
        }
    }
    waits.map(|on| Next::Wait { on }).or(fails.map(failed))
}

/// Until no service is bound to a version that goes.
fn unbind(facts: &Facts) -> Option<Next> {
    let moves = facts.bonds.iter().find_map(|(service, bond)| match bond {
        Bond::Stray(strategy) => Some(Next::Move { service: service.clone(), strategy: strategy.clone() }),
        _ => None,
    });
    let first = |of: Bond| facts.bonds.iter().find(|(_, bond)| *bond == of).map(|(service, _)| service.clone());
    let returned = || Some(failed(Failure::Returned { service: first(Bond::Returned)? }));
    let stuck = || {
        let service = first(Bond::Stuck)?;
        let stack = stack_name(&facts.name, Part::Cluster, None);
        held(&facts.cluster.state, &stack).or_else(|| Some(failed(Failure::Nowhere { service })))
    };
    let waits = || {
        let services: Vec<String> = facts.bonds.iter().map(|(service, _)| service.clone()).collect();
        (!services.is_empty()).then_some(Next::Wait { on: Wait::Bound { services } })
    };
    moves.or_else(returned).or_else(stuck).or_else(waits)
}

/// Versions that go without anything being said of them first.
pub fn emptied<'a>(goal: &'a Goal, facts: &'a Facts) -> impl Iterator<Item = &'a Compute> {
    facts.computes.iter().filter(move |one| match goal {
        Goal::Destroy => true,
        // Another version is there, which works: before that is so nothing is emptied.
        Goal::Deploy { .. } => one.goes() || one.half_gone(),
        Goal::Retire { version, .. } => one.goes() || one.half_gone() && one.version == *version,
        Goal::Settle | Goal::Keep { .. } => one.goes(),
    })
}

fn empty_one(goal: &Goal, one: &Compute, facts: &Facts, patience: Patience) -> Option<Next> {
    match &one.state {
        State::Absent | State::Foreign(_) => return None,
        State::Busy | State::Stuck(_) if !one.half_gone() || one.undone => return held(&one.state, &one.stack),
        _ => {}
    }
    let delete = || disassociate(goal, one, facts).or_else(|| delete(&one.stack, &one.id));
    if *goal == Goal::Destroy {
        return delete();
    }
    // ECS moves no task that is no service's.
    if let Some(task) = one.proving.first() {
        return Some(Next::StopProof { task: task.clone() });
    }
    let all: Vec<&Instance> = facts.of_version(&one.version).collect();
    let (draining, mut active): (Vec<&Instance>, Vec<&Instance>) = all.iter().partition(|one| one.draining);
    let tasks: u32 = draining.iter().map(|one| one.tasks).sum();
    if active.is_empty() && tasks == 0 {
        return delete();
    }
    if tasks > 0 {
        let instances = draining.iter().filter(|one| one.tasks > 0).count();
        return Some(Next::Wait { on: Wait::Move { version: one.version.clone(), instances, tasks } });
    }
    let services = facts.holding(patience);
    if !services.is_empty() {
        return Some(Next::Wait { on: Wait::Steady { services } });
    }
    let few = all.len().div_ceil(4);
    // Those with the fewest tasks first; what is empty costs nothing.
    active.sort_by(|a, b| (a.tasks, &a.arn).cmp(&(b.tasks, &b.arn)));
    let instances = active.iter().take(few).map(|one| one.arn.clone()).collect();
    Some(Next::Drain { version: one.version.clone(), instances })
}

/// ECS deletes no capacity provider that is a cluster's: it is taken from the cluster first.
fn disassociate(goal: &Goal, one: &Compute, facts: &Facts) -> Option<Next> {
    if one.associated.is_empty() {
        return None;
    }
    let stack = stack_name(&facts.name, Part::Cluster, None);
    held(&facts.cluster.state, &stack).or_else(|| match facts.cluster.undone {
        true => Some(failed(Failure::Undone { stack })),
        false => {
            // With everything that goes, in one change.
            let whole = *goal == Goal::Destroy;
            Some(Next::Disassociate { providers: if whole { &facts.associated } else { &one.associated }.clone() })
        }
    })
}

/// What lasts goes last.
fn leave(goal: &Goal, facts: &Facts) -> Option<Next> {
    if *goal != Goal::Destroy || !facts.computes.is_empty() {
        return None;
    }
    [(Part::Health, &facts.health), (Part::Cluster, &facts.cluster)].into_iter().find_map(|(part, stack)| {
        let name = stack_name(&facts.name, part, None);
        match &stack.state {
            State::Absent | State::Foreign(_) => None,
            State::Stuck(status) if status == DELETE_FAILED && !stack.undone => delete(&name, &stack.id),
            State::Busy | State::Stuck(_) => held(&stack.state, &name),
            State::Ready | State::NeverCame => delete(&name, &stack.id),
        }
    })
}

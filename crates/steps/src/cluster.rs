//! A cluster brought to what is wanted, in looks that never wait: each observes all of it, and does at most one thing, which
//! `landfall_cluster::roll` decides. Whoever is cut off between two looks, or within one, loses nothing: what is begun is begun under a name
//! or a token that follows from what is wanted.

use std::collections::BTreeMap;

use landfall_cluster::roll::{Base, Facts, Goal, Instance, Next, Proof, Proving, State, computes};
use landfall_cluster::{
    Around, Capacity, Infra, Part, Standing, Unfit, Version, associated, attributes, cluster, compute, disassociated,
    health, labels, owner, providers, restanding, same, sizes, stack_name,
};
use landfall_model::Timestamp;
use landfall_model::cloudformation::StackState;
use landfall_ports::container_instances::{ContainerInstance, ContainerInstances, PinnedTask, PinnedTaskState, Placed};
use landfall_ports::stacks::Stacks;
use landfall_ports::{PortError, PortResult};
use landfall_stack::live::{Before, Phase, Plan, Wanted, phase, token};

use crate::stack::{Prepared, Purpose, discard, execute, mark, prepare};

/// A cluster, and the AWS that it is on.
pub struct Cluster<'a> {
    pub infra: &'a Infra,
    pub around: Around,
    /// Of a version that is made.
    pub image: Option<String>,
    pub stacks: &'a dyn Stacks,
    pub instances: &'a dyn ContainerInstances,
    memory: Memory,
}

/// What only saves calls, and why the last task was not placed.
#[derive(Default)]
struct Memory {
    /// Templates by the stack's ARN and the time of its last change.
    templates: BTreeMap<(String, String), String>,
    /// Since when tasks are seen of which ECS does not say when they were made or began.
    seen: BTreeMap<(String, String), i64>,
    refused: Option<String>,
    /// The cluster's template without what is to go, where nobody deploys.
    less: Option<String>,
    /// By the stack's ARN.
    begun: BTreeMap<String, Begun>,
}

/// What this run began on a stack.
struct Begun {
    /// The stack's last change of before.
    before: Option<Timestamp>,
    /// CloudFormation was seen at work on it since.
    seen: bool,
}

impl Begun {
    /// Whether it came to nothing. A look right after the beginning may show the stack as it was before: that says nothing.
    fn undone(&mut self, stack: &StackState) -> bool {
        let at = phase(Some(stack));
        self.seen |= matches!(at, Phase::Busy(_));
        match at {
            Phase::Steady { rolled_back: true } => self.seen || stack.updated != self.before,
            Phase::DeleteStuck => self.seen,
            _ => false,
        }
    }
}

impl Memory {
    fn undone(&mut self, stack: &StackState) -> bool {
        self.begun.get_mut(&stack.id).is_some_and(|begun| begun.undone(stack))
    }
}

/// How a thing to do went.
#[derive(Debug, Clone, PartialEq)]
pub enum Did {
    /// It is begun, or done.
    It,
    /// Look again.
    Pending,
    /// The stack cannot be changed.
    Held { stack: String, before: Before },
    /// CloudFormation refuses the change, and why.
    Refused { stack: String, why: String },
}

/// What a change set would do to a stack.
#[derive(Debug, Clone, PartialEq)]
pub enum Planned {
    Pending,
    Held(Before),
    Refused(String),
    /// Nothing: it is as it is wanted.
    Same,
    Changes {
        new: bool,
        plan: Plan,
    },
}

impl<'a> Cluster<'a> {
    pub fn new(
        infra: &'a Infra,
        around: Around,
        image: Option<String>,
        stacks: &'a dyn Stacks,
        instances: &'a dyn ContainerInstances,
    ) -> Self {
        Self { infra, around, image, stacks, instances, memory: Memory::default() }
    }

    /// All of it, as it is now. `now`: seconds since 1970.
    ///
    /// # Errors
    /// AWS's.
    pub async fn look(&mut self, goal: &Goal, now: i64) -> PortResult<Facts> {
        let name = &self.infra.name;
        let all = self.stacks.list().await?;
        let mut found = computes(name, &all);
        for one in &mut found {
            let stack = all.iter().find(|stack| stack.id == one.id);
            one.undone = stack.is_some_and(|stack| self.memory.undone(stack));
        }
        let wanted = match goal {
            Goal::Deploy { version, .. } => Some(version.clone()),
            Goal::Settle | Goal::Keep(_) | Goal::Destroy => None,
        };
        let (mut cluster_stack, mut health_stack) = (Base::default(), Base::default());
        for (part, base) in [(Part::Cluster, &mut cluster_stack), (Part::Health, &mut health_stack)] {
            let stack = all.iter().find(|stack| stack.name == stack_name(name, part, None));
            base.state = State::of(stack, name);
            base.undone = stack.is_some_and(|stack| self.memory.undone(stack));
        }
        let mut proofs = Vec::new();
        if let Some(version) = &wanted
            && let Some(own) = found.iter().position(|one| one.version == *version)
        {
            if found[own].state == State::Ready
                && let Some(stack) = all.iter().find(|stack| stack.id == found[own].id)
            {
                let template = self.template(stack).await?;
                found[own].current = self.instances_of(version).is_ok_and(|wanted| template == Some(wanted));
            }
            let told = self.instances.started_by(&self.started_by(version)).await?;
            proofs = told
                .iter()
                .map(|task| {
                    let key = (task.arn.clone(), task.status.clone());
                    proof(task, *self.memory.seen.entry(key).or_insert(now))
                })
                .collect();
        }
        let (instances, unsteady) = match cluster_stack.state {
            State::Absent => (Vec::new(), Vec::new()),
            _ => {
                let instances = self.instances.instances().await?;
                let services = self.instances.services().await?;
                let less = services.into_iter().filter(|service| service.running < service.desired);
                (instances.iter().map(instance).collect(), less.map(|service| service.name).collect())
            }
        };
        let mut facts = Facts {
            name: name.clone(),
            cluster: cluster_stack,
            health: health_stack,
            computes: found,
            instances,
            proofs,
            refused: self.memory.refused.clone(),
            unsteady,
            associated: Vec::new(),
            now,
        };
        self.associations(goal, &mut facts, &all).await?;
        // Whether they are what they shall be matters to whoever deploys only.
        for part in [Part::Cluster, Part::Health].into_iter().filter(|_| wanted.is_some()) {
            let base = if part == Part::Cluster { &facts.cluster } else { &facts.health };
            let stack = all.iter().find(|stack| stack.name == stack_name(name, part, None));
            let Some(stack) = stack.filter(|_| base.state == State::Ready) else { continue };
            let there = self.template(stack).await?.unwrap_or_default();
            let current = same(&self.lasting(part, &facts), &there);
            let base = if part == Part::Cluster { &mut facts.cluster } else { &mut facts.health };
            base.current = current;
        }
        Ok(facts)
    }

    /// Which capacity providers the cluster has, and with what template it would have only those that it is to have.
    async fn associations(&mut self, goal: &Goal, facts: &mut Facts, all: &[StackState]) -> PortResult<()> {
        if self.infra.capacity != Capacity::EcsManaged {
            return Ok(());
        }
        let name = stack_name(&self.infra.name, Part::Cluster, None);
        let stack = all.iter().find(|stack| stack.name == name).filter(|_| facts.cluster.state == State::Ready);
        let there = match stack {
            Some(stack) => self.template(stack).await?.unwrap_or_default(),
            None => String::new(),
        };
        facts.associated = associated(&there);
        for one in &mut facts.computes {
            let of = providers(self.infra, &one.version);
            let busy = facts.cluster.state == State::Busy;
            one.associated = busy || of.iter().any(|name| facts.associated.contains(name));
        }
        self.memory.less = match goal {
            Goal::Deploy { .. } => None,
            Goal::Destroy => Some(disassociated(&there, &[])),
            Goal::Settle | Goal::Keep(_) => Some(disassociated(&there, &facts.providers(self.infra))),
        };
        Ok(())
    }

    /// The one thing.
    ///
    /// # Errors
    /// AWS's; `Invalid` where no template can be made.
    pub async fn act(&mut self, next: &Next, facts: &Facts) -> PortResult<Did> {
        match next {
            Next::Apply { part } => {
                let wanted = self.wanted_base(*part, facts);
                self.change(&wanted).await
            }
            Next::Create { version } => {
                let wanted = self.wanted_compute(version, facts)?;
                self.change(&wanted).await
            }
            Next::Stand { version, standing, .. } => self.stand(version, *standing, facts).await,
            Next::Prove { version } => self.prove(version).await,
            Next::StopProof { task } => {
                self.instances.stop_task(task, "it has shown that the instances work").await?;
                Ok(Did::It)
            }
            Next::Drain { instances, .. } => {
                self.instances.drain(instances, true).await?;
                Ok(Did::It)
            }
            Next::Undrain { instances, .. } => {
                self.instances.drain(instances, false).await?;
                Ok(Did::It)
            }
            Next::Delete { id, .. } => self.delete(id).await,
            Next::Leave { part } => {
                let stack = self.stacks.describe(&stack_name(&self.infra.name, *part, None)).await?;
                match stack {
                    Some(stack) => self.delete(&stack.id).await,
                    None => Ok(Did::It),
                }
            }
            Next::Wait { .. } | Next::Done | Next::Failed { .. } => Ok(Did::Pending),
        }
    }

    /// What making or changing a stack would do. The change set goes again.
    ///
    /// # Errors
    /// As of [`Self::act`].
    pub async fn planned(&self, part: Part, version: &Version, facts: &Facts) -> PortResult<Planned> {
        let wanted = match part {
            Part::Compute => self.wanted_compute(version, facts)?,
            part => self.wanted_base(part, facts),
        };
        match prepare(self.stacks, &wanted, Purpose::Look).await? {
            Prepared::Pending => Ok(Planned::Pending),
            Prepared::Nothing => Ok(Planned::Same),
            Prepared::Held(before) => Ok(Planned::Held(before)),
            Prepared::Refused(why) => Ok(Planned::Refused(why)),
            Prepared::Ready(ready) => {
                discard(self.stacks, &wanted.stack, &ready.set.name).await?;
                Ok(Planned::Changes { new: ready.create, plan: ready.plan })
            }
        }
    }

    async fn change(&mut self, wanted: &Wanted) -> PortResult<Did> {
        match prepare(self.stacks, wanted, Purpose::Apply).await? {
            Prepared::Pending => Ok(Did::Pending),
            Prepared::Nothing => Ok(Did::It),
            Prepared::Held(before) => Ok(Did::Held { stack: wanted.stack.clone(), before }),
            Prepared::Refused(why) => Ok(Did::Refused { stack: wanted.stack.clone(), why }),
            Prepared::Ready(ready) => {
                let begun = mark(self.stacks, &wanted.stack).await?;
                match execute(self.stacks, &begun, &ready.set.name).await {
                    // Somebody else was faster: the next look tells what is to be done then.
                    Ok(()) | Err(PortError::Conflict(_)) => {
                        let before = ready.stack.and_then(|stack| stack.updated);
                        self.memory.begun.insert(begun.stack, Begun { before, seen: false });
                        Ok(Did::It)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn delete(&mut self, id: &str) -> PortResult<Did> {
        let begun = match mark(self.stacks, id).await {
            Err(PortError::NotFound(_)) => return Ok(Did::It),
            begun => begun?,
        };
        // One that failed is begun anew under another token: CloudFormation may take the same one as said already.
        let token = token("delete", &[id, begun.since.as_deref().unwrap_or_default()]);
        match self.stacks.delete(id, &[], None, &token).await {
            Ok(()) => {
                self.memory.begun.insert(begun.stack, Begun { before: None, seen: false });
                Ok(Did::It)
            }
            Err(PortError::NotFound(_)) => Ok(Did::It),
            Err(PortError::Conflict(_)) => Ok(Did::Pending),
            Err(error) => Err(error),
        }
    }

    /// Of the version that is wanted by what `infra.yml` says; of another by its own template, as that is of another infra.yml.
    async fn stand(&mut self, version: &Version, standing: Standing, facts: &Facts) -> PortResult<Did> {
        let Some(own) = facts.computes.iter().find(|one| one.version == *version) else { return Ok(Did::Pending) };
        let Some(stack) = self.stacks.describe(&own.id).await? else { return Ok(Did::Pending) };
        let template = self.stacks.template(&own.id).await?.unwrap_or_default();
        let sized = match own.current {
            true => sizes(self.infra, standing, &facts.at_work()),
            false => restanding(&template, standing),
        };
        let mut parameters: BTreeMap<String, Option<String>> =
            stack.parameters.keys().map(|name| (name.clone(), None)).collect();
        parameters.extend(sized.into_iter().map(|(name, value)| (name, Some(value))));
        let wanted = Wanted { template, parameters, ..self.wanted(Part::Compute, Some(version)) };
        self.change(&wanted).await
    }

    async fn prove(&mut self, version: &Version) -> PortResult<Did> {
        let stack = self.stacks.describe(&stack_name(&self.infra.name, Part::Health, None)).await?;
        let outputs = stack.map(|stack| stack.outputs).unwrap_or_default();
        let definition = outputs.into_iter().find(|one| one.key == landfall_cluster::HEALTH_TASK);
        let Some(definition) = definition else {
            return Err(PortError::Invalid("the health task's stack has no task definition".to_owned()));
        };
        let task = PinnedTask {
            task_definition: definition.value,
            expression: format!("attribute:{} == {version}", attributes::VERSION),
            started_by: self.started_by(version),
        };
        match self.instances.run_pinned(&task).await? {
            Placed::Task(_) => {
                self.memory.refused = None;
                Ok(Did::It)
            }
            Placed::Refused(why) => {
                self.memory.refused = Some(why);
                Ok(Did::Pending)
            }
        }
    }

    fn started_by(&self, version: &Version) -> String {
        token("proof", &[&self.infra.name, version.as_str()])
    }

    fn wanted(&self, part: Part, version: Option<&Version>) -> Wanted {
        Wanted {
            stack: stack_name(&self.infra.name, part, version),
            environment: owner(&self.infra.name),
            labels: labels(&self.infra.name, part, version).into_iter().collect(),
            ..Wanted::default()
        }
    }

    fn wanted_base(&self, part: Part, facts: &Facts) -> Wanted {
        let less = self.memory.less.clone().filter(|_| part == Part::Cluster);
        let template = less.unwrap_or_else(|| self.lasting(part, facts));
        Wanted { template, ..self.wanted(part, None) }
    }

    fn wanted_compute(&self, version: &Version, facts: &Facts) -> PortResult<Wanted> {
        let template = self.instances_of(version).map_err(|unfit| PortError::Invalid(unfit.to_string()))?;
        let given = sizes(self.infra, Standing::Testing, &facts.at_work());
        let mut parameters: BTreeMap<String, Option<String>> =
            given.into_iter().map(|(name, value)| (name, Some(value))).collect();
        parameters.insert("ImageId".to_owned(), self.image.clone());
        Ok(Wanted { template, parameters, ..self.wanted(Part::Compute, Some(version)) })
    }

    fn instances_of(&self, version: &Version) -> Result<String, Unfit> {
        compute(self.infra, version, &self.around).map(|template| template.compact())
    }

    /// The template of a stack that lasts.
    fn lasting(&self, part: Part, facts: &Facts) -> String {
        match part {
            Part::Health => health(self.infra).compact(),
            _ => cluster(self.infra, &facts.providers(self.infra)).compact(),
        }
    }

    async fn template(&mut self, stack: &StackState) -> PortResult<Option<String>> {
        let at = stack.updated.or(stack.created).map(|at| at.to_string()).unwrap_or_default();
        let key = (stack.id.clone(), format!("{at} {}", stack.status));
        if let Some(known) = self.memory.templates.get(&key) {
            return Ok(Some(known.clone()));
        }
        let template = self.stacks.template(&stack.id).await?;
        if let Some(template) = &template {
            self.memory.templates.insert(key, template.clone());
        }
        Ok(template)
    }
}

fn instance(one: &ContainerInstance) -> Instance {
    let attribute = |name: &str| one.attributes.get(name).cloned();
    Instance {
        arn: one.arn.clone(),
        version: attribute(attributes::VERSION),
        fleet: attribute(attributes::FLEET),
        draining: one.status == "DRAINING",
        connected: one.connected,
        tasks: one.tasks,
    }
}

/// `seen`: since when, where ECS does not say.
fn proof(task: &PinnedTaskState, seen: i64) -> Proof {
    let state = match (&task.stopped, task.status.as_str()) {
        (Some(why), _) => Proving::Stopped(why.clone()),
        (None, "RUNNING") => Proving::Running(task.started.map_or(seen, |at| at.as_second())),
        (None, _) => Proving::Pending,
    };
    Proof { task: task.arn.clone(), created: task.created.map_or(seen, |at| at.as_second()), state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_run_began_came_to_nothing_where_it_was_seen_to() {
        let at = |second| Timestamp::from_second(second).ok();
        let stack = |status: &str, updated| StackState { status: status.to_owned(), updated, ..StackState::default() };
        let mut begun = Begun { before: at(1), seen: false };
        // Rolled back long ago, and not seen at work yet.
        assert!(!begun.undone(&stack("UPDATE_ROLLBACK_COMPLETE", at(1))));
        assert!(begun.undone(&stack("UPDATE_ROLLBACK_COMPLETE", at(2))));
        assert!(!begun.undone(&stack("UPDATE_COMPLETE", at(2))));
        let mut begun = Begun { before: None, seen: false };
        assert!(!begun.undone(&stack("DELETE_FAILED", at(1))));
        assert!(!begun.undone(&stack("DELETE_IN_PROGRESS", at(1))));
        assert!(begun.undone(&stack("DELETE_FAILED", at(1))));
        // Of what others began nobody here knows.
        assert!(!Memory::default().undone(&stack("UPDATE_ROLLBACK_COMPLETE", at(2))));
    }
}

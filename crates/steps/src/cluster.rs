//! A cluster brought to what is wanted, in looks that never wait: each observes all of it, and does at most one thing, which
//! `landfall_cluster::roll` decides. Whoever is cut off between two looks, or within one, loses nothing: what is begun is begun under a name
//! or a token that follows from what is wanted.

use std::collections::{BTreeMap, BTreeSet};

use landfall_cluster::roll::{
    Base, Facts, Goal, Instance, Named, Next, Proof, Proving, Short, Shortages, State, computes,
};
use landfall_cluster::{
    Around, Capacity, HEALTH_TASK, Infra, Part, Standing, Unfit, Version, associated, attributes, cluster, compute,
    disassociated, health, labels, owner, providers, restanding, same, sized, sizes, stack_name,
};
use landfall_model::Timestamp;
use landfall_model::cloudformation::StackState;
use landfall_model::fleet::Share;
use landfall_ports::container_instances::{
    ContainerInstance, ContainerInstances, PinnedTask, PinnedTaskState, Placed, ServiceCount,
};
use landfall_ports::stacks::{Back, Stacks};
use landfall_ports::{PortError, PortResult};
use landfall_stack::live::{Before, Phase, Wanted, phase, token};

use crate::stack::{self, Prepared, Purpose, execute, prepare_at, state_of};

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
    /// All stacks, as the last look found them.
    stacks: Vec<StackState>,
    /// Templates by the state that the stack was in, or what CloudFormation takes for the same.
    templates: BTreeMap<String, String>,
    /// Since when tasks are seen of which ECS does not say when they were made or began.
    seen: BTreeMap<(String, String), i64>,
    /// By fleet.
    refused: BTreeMap<String, String>,
    /// Since when all instances of the version that is tested drain.
    leaves: Option<i64>,
    /// Services that were told to go elsewhere, from which strategy, and the first look since.
    moved: BTreeMap<String, (Vec<Share>, Option<i64>)>,
    /// Of services, as the last look found them.
    strategies: BTreeMap<String, Vec<Share>>,
    /// Services below their minimum while there was something to drain.
    shortages: Shortages,
    /// By the stack's ARN.
    begun: BTreeMap<String, Begun>,
    /// A stack's state in which a change of it came to nothing, and how often.
    vain: Option<(String, u32)>,
}

/// So many times something is tried on a stack that does not change by it.
const IN_VAIN: u32 = 8;
/// For so many seconds a look may not show yet what was begun.
const STALE: i64 = 5;
/// For so many seconds a service that was moved may still be told as it was.
const RETURNED: i64 = 30;

/// What this run began on a stack.
struct Begun {
    /// The stack's last change of before.
    before: Option<Timestamp>,
    /// CloudFormation was seen at work on it since.
    seen: bool,
    /// Of the first look since, in seconds since 1970.
    at: Option<i64>,
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
    fn begin(&mut self, stack: String, before: Option<Timestamp>) {
        self.begun.insert(stack, Begun { before, seen: false, at: None });
    }

    /// Whether this look shows the stack as it was before what was begun on it.
    fn stale(&mut self, stack: &StackState, now: i64) -> bool {
        let Some(begun) = self.begun.get_mut(&stack.id) else { return false };
        let late = now >= *begun.at.get_or_insert(now) + STALE;
        let as_before = begun.before == stack.updated && matches!(phase(Some(stack)), Phase::Steady { .. });
        !begun.seen && !late && as_before
    }

    /// A change came to nothing. Somebody else was faster, and then the next look finds another state; where it does not, and does not for so
    /// long, there is no sense in trying it for ever.
    fn vain(&mut self, at: String, stack: &str, why: String) -> Did {
        let times = self.vain.take().filter(|(before, _)| *before == at).map_or(1, |(_, times)| times + 1);
        self.vain = Some((at, times));
        if times < IN_VAIN { Did::Pending } else { Did::Refused { stack: stack.to_owned(), why } }
    }

    fn undone(&mut self, stack: &StackState) -> bool {
        self.begun.get_mut(&stack.id).is_some_and(|begun| begun.undone(stack))
    }
}

/// How a thing to do went.
#[derive(Debug, Clone, PartialEq)]
pub enum Did {
    /// It is begun, or done.
    It,
    /// The same again: a change set of it is being made.
    Soon,
    /// Look again.
    Pending,
    /// The stack cannot be changed.
    Held { stack: String, before: Before },
    /// CloudFormation refuses the change, and why.
    Refused { stack: String, why: String },
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
            let Some(stack) = all.iter().find(|stack| stack.id == one.id) else { continue };
            one.undone = self.memory.undone(stack);
            if self.memory.stale(stack, now) {
                one.state = State::Busy;
            }
        }
        let wanted = match goal {
            Goal::Deploy { version, .. } => Some(version.clone()),
            Goal::Settle | Goal::Keep { .. } | Goal::Retire { .. } | Goal::Destroy => None,
        };
        let mut base = |part| {
            let stack = all.iter().find(|stack| stack.name == stack_name(name, part, None));
            let undone = stack.is_some_and(|stack| self.memory.undone(stack));
            let id = stack.map(|stack| stack.id.clone()).unwrap_or_default();
            Base { id, state: State::of(stack, name), current: false, undone }
        };
        let (cluster_stack, health_stack) = (base(Part::Cluster), base(Part::Health));
        let (instances, services) = match cluster_stack.state {
            State::Absent => Default::default(),
            _ => (self.instances.instances().await?, self.instances.services().await?),
        };
        let (mut proofs, mut tested) = (Vec::new(), Vec::new());
        if let Some(version) = &wanted
            && let Some(own) = found.iter_mut().find(|one| one.version == *version)
        {
            let stack = all.iter().find(|stack| stack.id == own.id).filter(|_| own.state == State::Ready);
            if let (Some(stack), Ok(template)) = (stack, self.instances_of(version)) {
                own.current = same(&template, &self.template(stack).await?);
                tested = sized(self.infra, &stack.parameters);
            }
            let fleets = match own.standing {
                Standing::Testing => tested.iter().cloned().collect(),
                _ => busy(version, &instances),
            };
            let mut all = instances.iter().filter(|one| is_of(one, version)).peekable();
            let leaves =
                own.standing == Standing::Testing && all.peek().is_some() && all.all(|one| one.status == "DRAINING");
            self.memory.leaves = leaves.then(|| self.memory.leaves.unwrap_or(now));
            for fleet in fleets {
                for task in self.instances.started_by(&self.started_by(version, &fleet)).await? {
                    let key = (task.arn.clone(), task.status.clone());
                    proofs.push(proof(&task, &fleet, *self.memory.seen.entry(key).or_insert(now)));
                }
            }
        }
        for one in found.iter_mut().filter(|one| one.goes() && Some(&one.version) != wanted.as_ref()) {
            one.proving = self.proving(&one.version, &instances).await?;
        }
        let counted = services.iter().filter(|service| service.on_instances && !service.failed);
        let counted = counted.map(|one| Short::new(&one.name, one.running, one.desired, one.minimum_percent)).collect();
        let mut facts = Facts {
            name: name.clone(),
            cluster: cluster_stack,
            health: health_stack,
            computes: found,
            instances: instances.iter().map(|one| instance(self.infra, one)).collect(),
            tested,
            leaves: self.memory.leaves,
            proofs,
            refused: self.memory.refused.clone(),
            services: services.iter().map(|service| service.name.clone()).collect(),
            now,
            ..Facts::default()
        };
        facts.unsteady = self.memory.shortages.look(counted, facts.drains(goal), now);
        let ready = |base: &Base| all.iter().find(|stack| base.state == State::Ready && stack.id == base.id);
        if self.infra.capacity == Capacity::EcsManaged {
            self.associations(ready(&facts.cluster), &mut facts).await?;
            self.bonds(services, &mut facts);
        }
        // Whether they are what they shall be matters to whoever deploys only.
        if wanted.is_some() {
            if let Some(stack) = ready(&facts.cluster) {
                facts.cluster.current = same(&self.lasting(Part::Cluster, &facts), &self.template(stack).await?);
            }
            if let Some(stack) = ready(&facts.health) {
                facts.health.current = same(&self.lasting(Part::Health, &facts), &self.template(stack).await?);
            }
        }
        self.memory.stacks = all;
        Ok(facts)
    }

    /// Tasks that run to prove a version, where anything runs on its instances.
    async fn proving(&self, version: &Version, instances: &[ContainerInstance]) -> PortResult<Vec<String>> {
        let mut proving = Vec::new();
        for fleet in busy(version, instances) {
            let told = self.instances.started_by(&self.started_by(version, &fleet)).await?;
            proving.extend(told.into_iter().filter(|task| task.stopped.is_none()).map(|task| task.arn));
        }
        Ok(proving)
    }

    /// Which capacity providers the cluster has. `stack`: the cluster's, where it is at rest.
    async fn associations(&mut self, stack: Option<&StackState>, facts: &mut Facts) -> PortResult<()> {
        if let Some(stack) = stack {
            facts.associated = associated(&self.template(stack).await?);
        }
        for one in &mut facts.computes {
            one.associated = providers(self.infra, &one.version);
            if facts.cluster.state != State::Busy {
                one.associated.retain(|name| facts.associated.contains(name));
            }
        }
        Ok(())
    }

    /// Which services are bound to versions that go. From where one is, it is moved once by one run.
    fn bonds(&mut self, services: Vec<ServiceCount>, facts: &mut Facts) {
        for service in &services {
            facts.named.extend(service.strategy.iter().map(|share| share.provider.clone()));
            facts.named.extend(service.leaving.iter().cloned());
        }
        self.memory.strategies.clear();
        for ServiceCount { name, strategy, leaving, failed, .. } in services {
            let moved = self.memory.moved.get_mut(&name);
            let moved = moved.map(|(before, since)| (&**before, *since.get_or_insert(facts.now) + RETURNED));
            let named = Named { strategy: &strategy, leaving: &leaving, failed, moved };
            if let Some(bond) = facts.bond(self.infra, named) {
                facts.bonds.push((name.clone(), bond));
            }
            self.memory.strategies.insert(name, strategy);
        }
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
            Next::Move { service, strategy } => {
                self.instances.move_service(service, strategy).await?;
                let before = self.memory.strategies.remove(service).unwrap_or_default();
                self.memory.moved.insert(service.clone(), (before, None));
                Ok(Did::It)
            }
            Next::Disassociate { providers } => {
                let Some(stack) = self.seen(&facts.cluster.id) else { return Ok(Did::Pending) };
                let template = disassociated(&self.template(&stack).await?, providers);
                let wanted = Wanted { template, ..self.of_part(Part::Cluster, None) };
                self.change(&wanted).await
            }
            Next::Stand { version, standing, .. } => self.stand(version, *standing, facts).await,
            Next::Prove { version, fleet } => self.prove(version, fleet, facts).await,
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
            Next::Wait { .. } | Next::Done | Next::Failed { .. } => Ok(Did::Pending),
        }
    }

    /// A stack as it shall be; of instances, of this version as it is made.
    ///
    /// # Errors
    /// `Invalid` where no template can be made.
    pub fn wanted(&self, part: Part, version: &Version, facts: &Facts) -> PortResult<Wanted> {
        match part {
            Part::Compute => self.wanted_compute(version, facts),
            part => Ok(self.wanted_base(part, facts)),
        }
    }

    async fn change(&mut self, wanted: &Wanted) -> PortResult<Did> {
        let stack = self.memory.stacks.iter().find(|stack| stack.name == wanted.stack).cloned();
        let (at, there) = (state_of(stack.as_ref()), stack.is_some());
        let prepared = match prepare_at(self.stacks, wanted, Purpose::Apply, stack).await {
            // It went after it was seen: another one does the same, and was faster.
            Err(PortError::NotFound(why)) if there => return Ok(self.memory.vain(at, &wanted.stack, why)),
            prepared => prepared?,
        };
        match prepared {
            Prepared::Pending => Ok(Did::Soon),
            // Where parameters are to be others there is something to change.
            Prepared::Nothing if !wanted.parameters.is_empty() => {
                Ok(self.memory.vain(at, &wanted.stack, "it sees no change in it".to_owned()))
            }
            Prepared::Nothing => {
                // Templates that differ where CloudFormation sees no difference, as in a description: it would say so each time.
                self.memory.templates.insert(at, wanted.template.clone());
                Ok(Did::It)
            }
            Prepared::Held(before) => Ok(Did::Held { stack: wanted.stack.clone(), before }),
            Prepared::Refused(why) => Ok(Did::Refused { stack: wanted.stack.clone(), why }),
            Prepared::Ready(ready) => {
                let (stack, before) = match ready.stack {
                    Some(stack) => (stack.id, stack.updated),
                    None => (wanted.stack.clone(), None),
                };
                let begun = stack::Begun { stack, since: None };
                let told = execute(self.stacks, &begun, &ready.set.id).await;
                if let Ok(()) | Err(PortError::Conflict(_) | PortError::NotFound(_)) = &told {
                    self.memory.begin(begun.stack, before);
                }
                match told {
                    Ok(()) => Ok(Did::It),
                    Err(PortError::Conflict(why) | PortError::NotFound(why)) => {
                        Ok(self.memory.vain(at, &wanted.stack, why))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn delete(&mut self, id: &str) -> PortResult<Did> {
        let newest = match self.stacks.events(id, Back::Newest).await {
            Err(PortError::NotFound(_)) => return Ok(Did::It),
            events => events?.into_iter().next(),
        };
        // One that failed is begun anew under another token: CloudFormation may take the same one as said already.
        let token = token("delete", &[id, newest.as_ref().map(|event| event.id.as_str()).unwrap_or_default()]);
        match self.stacks.delete(id, &[], None, &token).await {
            Ok(()) => {
                self.memory.begin(id.to_owned(), None);
                Ok(Did::It)
            }
            Err(PortError::NotFound(_)) => Ok(Did::It),
            Err(PortError::Conflict(_)) => Ok(Did::Pending),
            Err(error) => Err(error),
        }
    }

    /// Of the version that is wanted by what `infra.yml` says; of another by its own template, as that is of another infra.yml.
    async fn stand(&mut self, version: &Version, standing: Standing, facts: &Facts) -> PortResult<Did> {
        let Some(own) = facts.compute(version) else { return Ok(Did::Pending) };
        let Some(stack) = self.seen(&own.id) else { return Ok(Did::Pending) };
        let template = self.template(&stack).await?;
        let sized = match own.current {
            true => sizes(self.infra, standing, &facts.at_work()),
            false => restanding(&template, standing),
        };
        let mut parameters: BTreeMap<String, Option<String>> =
            stack.parameters.keys().map(|name| (name.clone(), None)).collect();
        parameters.extend(sized.into_iter().map(|(name, value)| (name, Some(value))));
        let wanted = Wanted { template, parameters, ..self.of_part(Part::Compute, Some(version)) };
        self.change(&wanted).await
    }

    async fn prove(&mut self, version: &Version, fleet: &str, facts: &Facts) -> PortResult<Did> {
        let outputs = self.seen(&facts.health.id).map(|stack| stack.outputs).unwrap_or_default();
        let definition = outputs.into_iter().find(|one| one.key == HEALTH_TASK);
        let Some(definition) = definition else {
            return Err(PortError::Invalid("the health task's stack has no task definition".to_owned()));
        };
        let task = PinnedTask {
            task_definition: definition.value,
            expression: format!(
                "attribute:{} == {version} and attribute:{} == {fleet}",
                attributes::VERSION,
                attributes::FLEET
            ),
            started_by: self.started_by(version, fleet),
        };
        match self.instances.run_pinned(&task).await? {
            Placed::Task(_) => {
                self.memory.refused.remove(fleet);
                Ok(Did::It)
            }
            Placed::Refused(why) => {
                self.memory.refused.insert(fleet.to_owned(), why);
                Ok(Did::Pending)
            }
        }
    }

    fn started_by(&self, version: &Version, fleet: &str) -> String {
        token("proof", &[&self.infra.name, version.as_str(), fleet])
    }

    fn of_part(&self, part: Part, version: Option<&Version>) -> Wanted {
        Wanted {
            stack: stack_name(&self.infra.name, part, version),
            environment: owner(&self.infra.name),
            labels: labels(&self.infra.name, part, version).into_iter().collect(),
            ..Wanted::default()
        }
    }

    fn wanted_base(&self, part: Part, facts: &Facts) -> Wanted {
        Wanted { template: self.lasting(part, facts), ..self.of_part(part, None) }
    }

    fn wanted_compute(&self, version: &Version, facts: &Facts) -> PortResult<Wanted> {
        let template = self.instances_of(version).map_err(|unfit| PortError::Invalid(unfit.to_string()))?;
        let given = sizes(self.infra, Standing::Testing, &facts.at_work());
        let mut parameters: BTreeMap<String, Option<String>> =
            given.into_iter().map(|(name, value)| (name, Some(value))).collect();
        parameters.insert("ImageId".to_owned(), self.image.clone());
        Ok(Wanted { template, parameters, ..self.of_part(Part::Compute, Some(version)) })
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

    /// As the last look found it. By its ARN.
    fn seen(&self, stack: &str) -> Option<StackState> {
        self.memory.stacks.iter().find(|one| one.id == stack).cloned()
    }

    async fn template(&mut self, stack: &StackState) -> PortResult<String> {
        let at = state_of(Some(stack));
        if let Some(known) = self.memory.templates.get(&at) {
            return Ok(known.clone());
        }
        let template = self.stacks.template(&stack.id).await?.unwrap_or_default();
        self.memory.templates.insert(at, template.clone());
        Ok(template)
    }
}

fn instance(infra: &Infra, one: &ContainerInstance) -> Instance {
    let attribute = |name: &str| one.attributes.get(name).cloned();
    let kind = attribute("ecs.instance-type");
    Instance {
        weight: infra.weight(attribute(attributes::FLEET).as_deref(), kind.as_deref()),
        arn: one.arn.clone(),
        version: attribute(attributes::VERSION),
        fleet: attribute(attributes::FLEET),
        draining: one.status == "DRAINING",
        connected: one.connected,
        tasks: one.tasks,
    }
}

fn is_of(one: &ContainerInstance, version: &Version) -> bool {
    one.attributes.get(attributes::VERSION).is_some_and(|own| own == version.as_str())
}

/// Fleets and groups of a version on whose instances anything runs.
fn busy(version: &Version, instances: &[ContainerInstance]) -> BTreeSet<String> {
    let attribute = |one: &ContainerInstance, name: &str| one.attributes.get(name).cloned();
    let own = |one: &&ContainerInstance| one.tasks > 0 && is_of(one, version);
    instances.iter().filter(own).filter_map(|one| attribute(one, attributes::FLEET)).collect()
}

/// `seen`: since when, where ECS does not say.
fn proof(task: &PinnedTaskState, fleet: &str, seen: i64) -> Proof {
    let state = match (&task.stopped, task.status.as_str()) {
        (Some(why), _) => Proving::Stopped(why.clone()),
        (None, "RUNNING") => Proving::Running(task.started.map_or(seen, |at| at.as_second())),
        (None, _) => Proving::Pending,
    };
    Proof {
        task: task.arn.clone(),
        fleet: fleet.to_owned(),
        created: task.created.map_or(seen, |at| at.as_second()),
        state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_run_began_came_to_nothing_where_it_was_seen_to() {
        let at = |second| Timestamp::from_second(second).ok();
        let stack = |status: &str, updated| StackState { status: status.to_owned(), updated, ..StackState::default() };
        let mut begun = Begun { before: at(1), seen: false, at: None };
        // Rolled back long ago, and not seen at work yet.
        assert!(!begun.undone(&stack("UPDATE_ROLLBACK_COMPLETE", at(1))));
        assert!(begun.undone(&stack("UPDATE_ROLLBACK_COMPLETE", at(2))));
        assert!(!begun.undone(&stack("UPDATE_COMPLETE", at(2))));
        let mut begun = Begun { before: None, seen: false, at: None };
        assert!(!begun.undone(&stack("DELETE_FAILED", at(1))));
        assert!(!begun.undone(&stack("DELETE_IN_PROGRESS", at(1))));
        assert!(begun.undone(&stack("DELETE_FAILED", at(1))));
        // Of what others began nobody here knows.
        assert!(!Memory::default().undone(&stack("UPDATE_ROLLBACK_COMPLETE", at(2))));
    }
}

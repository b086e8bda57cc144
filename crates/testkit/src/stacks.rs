//! CloudFormation in memory: stacks that change look by look, change sets that are obsolete with the first that is executed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::cloudformation::{
    ChangeSet, DriftDetection, NewChangeSet, ResourceChange, ResourceDrift, StackEvent, StackOutput, StackResource,
    StackState,
};
use landfall_ports::stacks::{Back, ServiceFailures, Stacks};
use landfall_ports::{PortError, PortResult};

/// What a change set is when the stack was changed since.
const OBSOLETE: &str = "OBSOLETE";

/// How it behaves; change it any time through [`FakeStacks::behave`].
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// What every change set of a stack that is there says it does.
    pub changes: Vec<ResourceChange>,
    /// What a change set that is not only looked at does besides, from this many that were made on: the world has moved meanwhile.
    pub surprise: Option<(usize, ResourceChange)>,
    /// Looks at the events until a change is done.
    pub patience: u32,
    /// Why the next change fails, after which it is rolled back.
    pub fails: Option<String>,
    /// Outputs of every stack.
    pub outputs: Vec<StackOutput>,
    /// What ECS tells of the service that fails, until the rollback has taken it away.
    pub failures: ServiceFailures,
    /// No change set of a stack that is there has changes, whatever its template says, as where only a description differs.
    pub nothing: bool,
    /// So many lists show everything as it was before the last change was begun.
    pub late: u32,
}

#[derive(Debug, Default)]
struct World {
    behaviour: Behaviour,
    stacks: BTreeMap<String, Stack>,
    /// Of everything that is made or happens.
    count: u64,
    /// Change sets that were executed, and those that were made.
    executed: Vec<String>,
    made: Vec<String>,
    /// What lists show, and so many of them.
    before: (Vec<StackState>, u32),
}

#[derive(Debug, Default)]
struct Stack {
    state: StackState,
    template: String,
    sets: BTreeMap<String, Set>,
    /// Oldest first.
    events: Vec<StackEvent>,
    under_way: Option<UnderWay>,
}

impl Stack {
    /// Change sets of what it was.
    fn obsolete(&mut self) {
        for set in self.sets.values_mut().filter(|set| set.token.is_none()) {
            set.told.execution = OBSOLETE.to_owned();
        }
    }
}

#[derive(Debug)]
struct Set {
    told: ChangeSet,
    new: NewChangeSet,
    token: Option<String>,
}

#[derive(Debug)]
struct UnderWay {
    left: u32,
    create: bool,
    fails: Option<String>,
    /// It failed, and is rolled back.
    back: bool,
    set: NewChangeSet,
}

/// Clones are the same CloudFormation.
#[derive(Debug, Clone, Default)]
pub struct FakeStacks(Arc<Mutex<World>>);

impl FakeStacks {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.world().behaviour);
    }

    /// Names of change sets that were executed.
    pub fn executed(&self) -> Vec<String> {
        self.world().executed.clone()
    }

    /// Names of change sets that were ever made.
    pub fn made(&self) -> Vec<String> {
        self.world().made.clone()
    }

    /// Change sets of a stack that wait.
    pub fn waiting(&self, stack: &str) -> usize {
        let waits = |set: &&Set| set.token.is_none() && set.told.execution != OBSOLETE;
        self.world().stack(stack).map_or(0, |stack| stack.sets.values().filter(waits).count())
    }

    pub fn state(&self, stack: &str) -> Option<StackState> {
        self.world().stack(stack).map(|stack| stack.state.clone())
    }

    /// As somebody does in the console.
    pub fn touch(&self, stack: &str, change: impl FnOnce(&mut StackState)) {
        let mut world = self.world();
        let at = world.tick();
        let stack = world.stack(stack).unwrap();
        change(&mut stack.state);
        stack.state.updated = Some(at);
        stack.obsolete();
    }
}

impl World {
    fn states(&self) -> Vec<StackState> {
        self.stacks.values().map(|stack| stack.state.clone()).collect()
    }

    fn tick(&mut self) -> Timestamp {
        self.count += 1;
        Timestamp::from_second(1_800_000_000 + self.count as i64).unwrap()
    }

    /// By name or ARN.
    fn stack(&mut self, of: &str) -> Option<&mut Stack> {
        let key =
            self.stacks.iter().find(|(name, stack)| *name == of || stack.state.id == of).map(|(name, _)| name.clone());
        self.stacks.get_mut(&key?)
    }

    fn event(&mut self, of: &str, resource: &str, status: &str, reason: Option<String>) {
        let at = self.tick();
        let id = format!("event-{}", self.count);
        let stack = self.stack(of).unwrap();
        let own = resource == stack.state.name;
        let kind = if own { "AWS::CloudFormation::Stack" } else { "AWS::ECS::Service" }.to_owned();
        let physical = Some(if own { stack.state.id.clone() } else { format!("{of}-{resource}") });
        if own {
            stack.state.status = status.to_owned();
            stack.state.updated = Some(at);
        }
        let (resource, status) = (resource.to_owned(), status.to_owned());
        stack.events.push(StackEvent { id, at, resource, physical, kind, status, reason });
    }

    /// A look.
    fn advance(&mut self, of: &str) {
        let outputs = self.behaviour.outputs.clone();
        let Some(stack) = self.stack(of) else { return };
        let Some(under_way) = &mut stack.under_way else { return };
        if under_way.left > 0 {
            under_way.left -= 1;
            return;
        }
        let name = stack.state.name.clone();
        let verb = if under_way.create { "CREATE" } else { "UPDATE" };
        let back = if under_way.create { "ROLLBACK" } else { "UPDATE_ROLLBACK" };
        if let Some(why) = under_way.fails.take() {
            under_way.back = true;
            self.event(of, "WebService", &format!("{verb}_FAILED"), Some(why));
            self.event(of, &name, &format!("{back}_IN_PROGRESS"), None);
            return;
        }
        let UnderWay { back: failed, set, .. } = stack.under_way.take().unwrap();
        if failed {
            self.behaviour.failures = ServiceFailures::default();
            self.event(of, &name, &format!("{back}_COMPLETE"), None);
            return;
        }
        for (parameter, value) in set.parameters {
            if let Some(value) = value {
                stack.state.parameters.insert(parameter, value);
            }
        }
        stack.state.outputs = outputs;
        stack.template = set.template;
        self.event(of, "WebService", &format!("{verb}_COMPLETE"), None);
        self.event(of, &name, &format!("{verb}_COMPLETE"), None);
    }
}

fn named<'a>(stack: &'a mut Stack, set: &str) -> Option<&'a mut Set> {
    stack.sets.values_mut().find(|one| one.told.name == set || one.told.id == set)
}

#[async_trait]
impl Stacks for FakeStacks {
    async fn describe(&self, stack: &str) -> PortResult<Option<StackState>> {
        Ok(self.state(stack))
    }

    async fn list(&self) -> PortResult<Vec<StackState>> {
        let mut world = self.world();
        let (before, left) = &mut world.before;
        if *left > 0 {
            *left -= 1;
            return Ok(before.clone());
        }
        Ok(world.states())
    }

    async fn template(&self, stack: &str) -> PortResult<Option<String>> {
        Ok(self.world().stack(stack).map(|stack| stack.template.clone()))
    }

    async fn create_change_set(&self, set: &NewChangeSet) -> PortResult<()> {
        let mut world = self.world();
        let at = world.tick();
        let (count, changes, never) = (world.count, world.behaviour.changes.clone(), world.behaviour.nothing);
        if world.stack(&set.stack).is_none() {
            let id = format!("arn:aws:cloudformation:eu-west-1:1:stack/{}/{count}", set.stack);
            let status = "REVIEW_IN_PROGRESS".to_owned();
            let (name, tags) = (set.stack.clone(), set.tags.clone());
            let state = StackState { id, name, status, tags, created: Some(at), ..StackState::default() };
            world.stacks.insert(set.stack.clone(), Stack { state, ..Stack::default() });
        }
        world.made.push(set.name.clone());
        let (surprise, so_far) = (world.behaviour.surprise.clone(), world.made.len());
        let surprise = surprise.filter(|(from, _)| so_far >= *from).map(|(_, change)| change);
        let stack = world.stack(&set.stack).unwrap();
        if stack.under_way.is_some() || stack.sets.contains_key(&set.name) {
            return Err(PortError::Conflict("the stack is changing, or has one of that name".to_owned()));
        }
        let same = set
            .parameters
            .iter()
            .all(|(name, value)| value.as_ref().is_none_or(|value| stack.state.parameters.get(name) == Some(value)));
        let nothing = !set.create && (never || same && stack.template == set.template && changes.is_empty());
        let add = |resource: &str, kind: &str| ResourceChange {
            action: "Add".to_owned(),
            resource: resource.to_owned(),
            kind: kind.to_owned(),
            ..ResourceChange::default()
        };
        let revised = ResourceChange {
            action: "Modify".to_owned(),
            resource: "WebTaskDefinition".to_owned(),
            kind: "AWS::ECS::TaskDefinition".to_owned(),
            replacement: Some("True".to_owned()),
            properties: vec!["ContainerDefinitions".to_owned()],
            ..ResourceChange::default()
        };
        let changes = match (set.create, changes.is_empty()) {
            (true, _) => vec![add("Vpc", "AWS::EC2::VPC"), add("WebService", "AWS::ECS::Service")],
            (false, true) => vec![revised],
            (false, false) => changes,
        };
        let changes = changes.into_iter().chain(surprise).collect();
        let told = ChangeSet {
            id: format!("arn:aws:cloudformation:eu-west-1:1:changeSet/{}/{count}", set.name),
            name: set.name.clone(),
            status: if nothing { "FAILED" } else { "CREATE_COMPLETE" }.to_owned(),
            execution: if nothing { "UNAVAILABLE" } else { "AVAILABLE" }.to_owned(),
            reason: nothing.then(|| "The submitted information didn't contain changes.".to_owned()),
            changes,
        };
        stack.sets.insert(set.name.clone(), Set { told, new: set.clone(), token: None });
        Ok(())
    }

    async fn change_set(&self, stack: &str, name: &str) -> PortResult<Option<ChangeSet>> {
        Ok(self.world().stack(stack).and_then(|stack| named(stack, name)).map(|set| set.told.clone()))
    }

    async fn change_sets(&self, stack: &str) -> PortResult<Vec<String>> {
        Ok(self.world().stack(stack).map(|stack| stack.sets.keys().cloned().collect()).unwrap_or_default())
    }

    async fn delete_change_set(&self, stack: &str, name: &str) -> PortResult<()> {
        if let Some(stack) = self.world().stack(stack) {
            stack.sets.retain(|_, set| set.told.name != name && set.told.id != name);
        }
        Ok(())
    }

    async fn execute(&self, of: &str, change_set: &str, token: &str) -> PortResult<()> {
        let mut world = self.world();
        let Behaviour { patience, fails, late, .. } = world.behaviour.clone();
        world.before = (world.states(), late);
        let gone = || PortError::NotFound(format!("ChangeSet [{change_set}] does not exist"));
        let stack = world.stack(of).ok_or_else(gone)?;
        let set = named(stack, change_set).ok_or_else(gone)?;
        if set.told.execution == OBSOLETE {
            let why = "cannot be executed in its current execution status of [OBSOLETE]";
            return Err(PortError::Conflict(format!("ChangeSet [{change_set}] {why}")));
        }
        match &set.token {
            Some(first) if first == token => return Ok(()),
            Some(_) => return Err(PortError::Conflict("it was executed".to_owned())),
            None => set.token = Some(token.to_owned()),
        }
        set.told.execution = "EXECUTE_COMPLETE".to_owned();
        let (executed, new) = (set.told.name.clone(), set.new.clone());
        stack.obsolete();
        let name = stack.state.name.clone();
        stack.under_way = Some(UnderWay { left: patience, create: new.create, fails, back: false, set: new.clone() });
        world.behaviour.fails = None;
        world.executed.push(executed);
        let verb = if new.create { "CREATE" } else { "UPDATE" };
        world.event(of, &name, &format!("{verb}_IN_PROGRESS"), None);
        world.event(of, "WebService", &format!("{verb}_IN_PROGRESS"), None);
        Ok(())
    }

    async fn events(&self, of: &str, back: Back<'_>) -> PortResult<Vec<StackEvent>> {
        let mut world = self.world();
        world.advance(of);
        let Some(stack) = world.stack(of) else { return Ok(Vec::new()) };
        let mut events = stack.events.iter().rev().cloned().collect();
        back.reached(&stack.state.id, &mut events);
        Ok(events)
    }

    async fn resources(&self, _: &str) -> PortResult<Vec<StackResource>> {
        Ok(Vec::new())
    }

    async fn delete(&self, of: &str, _: &[String], _: Option<&str>, _: &str) -> PortResult<()> {
        self.world().stacks.retain(|name, stack| name != of && stack.state.id != of);
        Ok(())
    }

    async fn continue_rollback(&self, _: &str, _: &[String], _: Option<&str>, _: &str) -> PortResult<()> {
        Err(PortError::Invalid("nothing is stuck here".to_owned()))
    }

    async fn protect(&self, stack: &str, on: bool) -> PortResult<()> {
        if let Some(stack) = self.world().stack(stack) {
            stack.state.protected = on;
        }
        Ok(())
    }

    async fn importers(&self, _: &str) -> PortResult<Vec<String>> {
        Ok(Vec::new())
    }

    async fn detect_drift(&self, _: &str) -> PortResult<String> {
        Err(PortError::Invalid("drift is not looked for here".to_owned()))
    }

    async fn drift_detection(&self, _: &str) -> PortResult<DriftDetection> {
        Err(PortError::Invalid("drift is not looked for here".to_owned()))
    }

    async fn drifts(&self, _: &str) -> PortResult<Vec<ResourceDrift>> {
        Ok(Vec::new())
    }

    async fn service_failures(&self, _: &str, since: Timestamp) -> PortResult<ServiceFailures> {
        let mut told = self.world().behaviour.failures.clone();
        told.events.retain(|event| event.at >= since);
        Ok(told)
    }
}

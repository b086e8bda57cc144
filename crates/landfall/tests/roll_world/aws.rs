//! The ports through which the roll touches AWS, over what there is here. CloudFormation's own doings are the test kit's; what a version's
//! stack has in it is made here, as its parameters say.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use landfall_cluster::{LABEL_VERSION, attributes};
use landfall_model::Timestamp;
use landfall_model::cloudformation::{
    ChangeSet, DriftDetection, NewChangeSet, ResourceDrift, StackEvent, StackResource, StackState,
};
use landfall_model::fleet::{Share, Workload};
use landfall_ports::PortResult;
use landfall_ports::container_instances::{
    ContainerInstance, ContainerInstances, PinnedTask, PinnedTaskState, Placed, ServiceCount,
};
use landfall_ports::stacks::{Back, ServiceFailures, Stacks};

use super::instance::Instance;
use super::scheduler::{Status, live};
use super::{GROUP, Inner, Member, blocking};

pub(crate) struct Aws(pub(crate) Arc<Inner>);

impl Member {
    pub(crate) fn takes_tasks(&self) -> bool {
        self.machine.is_some() && !self.draining && !self.gone
    }
}

impl Inner {
    /// Auto Scaling: as many instances as a version's stack says.
    fn scale(self: &Arc<Self>, stack: &StackState) {
        let Some(version) = stack.tags.get(LABEL_VERSION).filter(|_| stack.status.ends_with("E_COMPLETE")) else {
            return;
        };
        let mut state = self.state();
        for (fleet, name) in [("main", "MainFleet"), ("reserved", "ReservedGroup")] {
            let bound = |end: &str| stack.parameters.get(&format!("{name}{end}")).and_then(|it| it.parse().ok());
            let (least, most) = (bound("Min").unwrap_or(0), bound("Max").unwrap_or(usize::MAX));
            let own = |one: &&Member| one.version == *version && one.fleet == fleet && !one.gone;
            let there = state.instances.values().filter(own).count();
            assert!(there <= most, "the roll of these tests takes nobody away so");
            for _ in there..least {
                let number = state.instances.len() as u32;
                let arn = format!("container-instance/{number}");
                let (version, fleet) = (version.clone(), fleet.to_owned());
                state
                    .instances
                    .insert(arn.clone(), Member { version, fleet, machine: None, draining: false, gone: false });
                let this = self.clone();
                tokio::spawn(async move {
                    let at = this.clone();
                    let boots = move || Instance::boot(at.directory.path(), number, &at.image);
                    let booted = tokio::task::spawn_blocking(boots).await;
                    match booted {
                        Ok(machine) => {
                            if let Some(member) = this.state().instances.get_mut(&arn) {
                                member.machine = Some(Arc::new(machine));
                            }
                        }
                        Err(why) => this.state().failed = Some(format!("{arn} does not boot: {why}")),
                    }
                });
            }
        }
    }

    /// Ends so many instances at most, as they are. ECS finds it out, and its tasks are none any more.
    pub(super) async fn terminate(&self, version: &str, most: usize) {
        let of: Vec<(String, Arc<Instance>)> = {
            let mut state = self.state();
            let of = state.instances.iter_mut().filter(|(_, one)| one.version == version && !one.gone).take(most);
            of.filter_map(|(arn, one)| {
                one.gone = true;
                Some((arn.clone(), one.machine.clone()?))
            })
            .collect()
        };
        for (_, machine) in &of {
            let machine = machine.clone();
            blocking(move || machine.terminate()).await;
        }
        let mut state = self.state();
        for task in
            state.tasks.iter_mut().filter(|task| of.iter().any(|(arn, _)| *arn == task.instance) && task.there())
        {
            task.stop("Host EC2 (instance) terminated.");
            (task.status, task.healthy) = (Status::Stopped, false);
        }
    }

    /// As it is told: with the times of this machine.
    fn told(&self, mut stack: StackState) -> StackState {
        let mut state = self.state();
        let mut real = |at: Timestamp| *state.times.entry(at).or_insert_with(Timestamp::now);
        (stack.created, stack.updated) = (stack.created.map(&mut real), stack.updated.map(&mut real));
        if state.deleting.contains(&stack.id) {
            stack.status = "DELETE_IN_PROGRESS".to_owned();
        }
        stack
    }
}

#[async_trait]
impl Stacks for Aws {
    async fn describe(&self, stack: &str) -> PortResult<Option<StackState>> {
        Ok(self.0.stacks.describe(stack).await?.map(|stack| self.0.told(stack)))
    }

    async fn list(&self) -> PortResult<Vec<StackState>> {
        let all = self.0.stacks.list().await?;
        for stack in &all {
            // With each look what is under way comes further.
            self.0.stacks.events(&stack.id, Back::Newest).await?;
            self.0.scale(stack);
        }
        Ok(all.into_iter().map(|stack| self.0.told(stack)).collect())
    }

    async fn template(&self, stack: &str) -> PortResult<Option<String>> {
        self.0.stacks.template(stack).await
    }

    async fn create_change_set(&self, set: &NewChangeSet) -> PortResult<()> {
        self.0.stacks.create_change_set(set).await
    }

    async fn change_set(&self, stack: &str, name: &str) -> PortResult<Option<ChangeSet>> {
        self.0.stacks.change_set(stack, name).await
    }

    async fn change_sets(&self, stack: &str) -> PortResult<Vec<String>> {
        self.0.stacks.change_sets(stack).await
    }

    async fn delete_change_set(&self, stack: &str, name: &str) -> PortResult<()> {
        self.0.stacks.delete_change_set(stack, name).await
    }

    async fn execute(&self, stack: &str, change_set: &str, token: &str) -> PortResult<()> {
        self.0.stacks.execute(stack, change_set, token).await
    }

    async fn events(&self, stack: &str, back: Back<'_>) -> PortResult<Vec<StackEvent>> {
        self.0.stacks.events(stack, back).await
    }

    async fn resources(&self, stack: &str) -> PortResult<Vec<StackResource>> {
        self.0.stacks.resources(stack).await
    }

    /// The stack is gone when its instances are.
    async fn delete(&self, id: &str, retain: &[String], role: Option<&str>, token: &str) -> PortResult<()> {
        let Some(stack) = self.0.stacks.describe(id).await? else { return Ok(()) };
        if self.0.state().deleting.insert(stack.id.clone()) {
            let (this, token, retain, role) =
                (self.0.clone(), token.to_owned(), retain.to_vec(), role.map(str::to_owned));
            tokio::spawn(async move {
                if let Some(version) = stack.tags.get(LABEL_VERSION) {
                    this.terminate(version, usize::MAX).await;
                }
                this.stacks.delete(&stack.id, &retain, role.as_deref(), &token).await.unwrap();
            });
        }
        Ok(())
    }

    async fn continue_rollback(&self, stack: &str, skip: &[String], role: Option<&str>, token: &str) -> PortResult<()> {
        self.0.stacks.continue_rollback(stack, skip, role, token).await
    }

    async fn protect(&self, stack: &str, on: bool) -> PortResult<()> {
        self.0.stacks.protect(stack, on).await
    }

    async fn importers(&self, export: &str) -> PortResult<Vec<String>> {
        self.0.stacks.importers(export).await
    }

    async fn detect_drift(&self, stack: &str) -> PortResult<String> {
        self.0.stacks.detect_drift(stack).await
    }

    async fn drift_detection(&self, id: &str) -> PortResult<DriftDetection> {
        self.0.stacks.drift_detection(id).await
    }

    async fn drifts(&self, stack: &str) -> PortResult<Vec<ResourceDrift>> {
        self.0.stacks.drifts(stack).await
    }

    async fn service_failures(&self, service: &str, since: Timestamp) -> PortResult<ServiceFailures> {
        self.0.stacks.service_failures(service, since).await
    }
}

#[async_trait]
impl ContainerInstances for Aws {
    async fn instances(&self) -> PortResult<Vec<ContainerInstance>> {
        let state = self.0.state();
        if let Some(why) = &state.failed {
            panic!("{why}");
        }
        let registered = state.instances.iter().filter(|(_, one)| one.machine.is_some() && !one.gone);
        let told = registered.map(|(arn, one)| {
            let tasks = state.tasks.iter().filter(|task| task.instance == *arn && task.there()).count() as u32;
            ContainerInstance {
                arn: arn.clone(),
                status: if one.draining { "DRAINING" } else { "ACTIVE" }.to_owned(),
                connected: true,
                attributes: BTreeMap::from([
                    (attributes::VERSION.to_owned(), one.version.clone()),
                    (attributes::FLEET.to_owned(), one.fleet.clone()),
                ]),
                tasks,
                ..ContainerInstance::default()
            }
        });
        Ok(told.collect())
    }

    async fn drain(&self, instances: &[String], on: bool) -> PortResult<()> {
        let mut state = self.0.state();
        for (_, one) in state.instances.iter_mut().filter(|(arn, _)| instances.contains(arn)) {
            one.draining = on;
        }
        Ok(())
    }

    async fn run_pinned(&self, task: &PinnedTask) -> PortResult<Placed> {
        let (version, fleet) = task.expression.split_once(" and ").unwrap_or_else(|| panic!("{}", task.expression));
        let value = |of: &str, name: &str| of.strip_prefix(&format!("attribute:{name} == ")).unwrap().to_owned();
        let (version, fleet) = (value(version, attributes::VERSION), value(fleet, attributes::FLEET));
        let mut state = self.0.state();
        let Some(instance) = state.place(|one| one.version == version && one.fleet == fleet) else {
            return Ok(Placed::Refused("MemberOf placement constraint unsatisfied.".to_owned()));
        };
        let arn = state.add_task(instance, Some(task.started_by.clone()));
        tokio::spawn(live(self.0.clone(), arn.clone()));
        Ok(Placed::Task(arn))
    }

    async fn started_by(&self, started_by: &str) -> PortResult<Vec<PinnedTaskState>> {
        let state = self.0.state();
        let own = state.tasks.iter().rev().filter(|task| task.started_by.as_deref() == Some(started_by));
        let told = own.map(|task| PinnedTaskState {
            arn: task.arn.clone(),
            status: match task.status {
                Status::Pending => "PENDING".to_owned(),
                Status::Running => "RUNNING".to_owned(),
                _ => "STOPPED".to_owned(),
            },
            created: Some(task.created),
            started: task.started,
            stopped: (task.stops || !task.there()).then(|| task.why.clone()),
        });
        Ok(told.collect())
    }

    async fn stop_task(&self, task: &str, reason: &str) -> PortResult<()> {
        if let Some(task) = self.0.state().task(task) {
            task.stop(reason);
        }
        Ok(())
    }

    async fn services(&self) -> PortResult<Vec<ServiceCount>> {
        let state = self.0.state();
        let running = |task: &&super::Task| task.started_by.is_none() && task.status == Status::Running;
        let running = state.tasks.iter().filter(running).count() as u32;
        let desired = state.desired as u32;
        let one = ServiceCount {
            name: GROUP.to_owned(),
            desired,
            running,
            minimum_percent: 100,
            on_instances: true,
            ..ServiceCount::default()
        };
        Ok(if state.desired == 0 { Vec::new() } else { vec![one] })
    }
    async fn move_service(&self, _: &str, _: &[Share]) -> PortResult<()> {
        unreachable!("nobody has capacity providers here")
    }

    async fn workload(&self) -> PortResult<Workload> {
        unreachable!("nothing is scaled here")
    }
}

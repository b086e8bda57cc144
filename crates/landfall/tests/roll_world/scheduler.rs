//! What ECS's scheduler does, as its developer guide has it, for one service: `minimumHealthyPercent` 100, `maximumPercent` 200. Tasks on
//! instances that are drained are replaced elsewhere first; when the replacement is healthy, the old one is deregistered, its connections end,
//! and it is stopped.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use landfall_model::Timestamp;

use super::{GROUP, Inner, State, blocking};

const PAUSE: Duration = Duration::from_millis(100);
const FIRST_PORT: usize = 8_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Running,
    /// It is deregistered from its target group, and ends what it has.
    Deactivating,
    Stopping,
    Stopped,
}

#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) arn: String,
    /// Its ARN.
    pub(crate) instance: String,
    /// `None`: it is the service's.
    pub(crate) started_by: Option<String>,
    pub(crate) status: Status,
    /// Its target is.
    pub(crate) healthy: bool,
    /// The status that it shall have is STOPPED.
    pub(crate) stops: bool,
    pub(crate) why: String,
    pub(crate) created: Timestamp,
    pub(crate) started: Option<Timestamp>,
}

impl Task {
    pub(crate) fn there(&self) -> bool {
        self.status != Status::Stopped
    }

    fn of_service(&self) -> bool {
        self.started_by.is_none() && self.there() && !self.stops
    }

    pub(crate) fn stop(&mut self, why: &str) {
        if !self.stops {
            (self.stops, self.why) = (true, why.to_owned());
        }
    }
}

impl State {
    /// The instance that takes tasks, for which this holds, and has the fewest.
    pub(crate) fn place(&self, holds: impl Fn(&super::Member) -> bool) -> Option<String> {
        let takes = self.instances.iter().filter(|(_, one)| one.takes_tasks() && holds(one));
        let has = |arn: &str| self.tasks.iter().filter(|task| task.there() && task.instance == arn).count();
        takes.min_by_key(|(arn, _)| has(arn)).map(|(arn, _)| arn.clone())
    }

    pub(crate) fn add_task(&mut self, instance: String, started_by: Option<String>) -> String {
        let arn = format!("task-{}", self.tasks.len());
        self.tasks.push(Task {
            arn: arn.clone(),
            instance,
            started_by,
            status: Status::Pending,
            healthy: false,
            stops: false,
            why: String::new(),
            created: Timestamp::now(),
            started: None,
        });
        arn
    }

    pub(crate) fn task(&mut self, arn: &str) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.arn == arn)
    }

    fn takes_tasks(&self, instance: &str) -> bool {
        self.instances.get(instance).is_some_and(super::Member::takes_tasks)
    }

    /// New tasks that are to be started, after others were told to stop.
    fn decide(&mut self) -> Vec<String> {
        let own: Vec<Task> = self.tasks.iter().filter(|task| task.of_service()).cloned().collect();
        let (stay, leave): (Vec<&Task>, Vec<&Task>) = own.iter().partition(|task| self.takes_tasks(&task.instance));
        let missing = self.desired.saturating_sub(stay.len()).min((self.desired * 2).saturating_sub(own.len()));
        let spare = own.iter().filter(|task| task.healthy).count().saturating_sub(self.desired);
        // What is not healthy yet goes at once.
        let (old, young): (Vec<&Task>, Vec<&Task>) = leave.into_iter().partition(|task| task.healthy);
        let stops: Vec<String> = young.iter().chain(old.iter().take(spare)).map(|task| task.arn.clone()).collect();
        for arn in stops {
            if let Some(task) = self.task(&arn) {
                task.stop("its instance is drained");
            }
        }
        (0..missing).filter_map(|_| self.place(|_| true).map(|instance| self.add_task(instance, None))).collect()
    }
}

pub(crate) async fn schedule(world: Weak<Inner>) {
    while let Some(world) = world.upgrade() {
        for arn in world.state().decide() {
            tokio::spawn(live(world.clone(), arn));
        }
        drop(world);
        tokio::time::sleep(PAUSE).await;
    }
}

/// A task from its start to its end.
pub(crate) async fn live(world: Arc<Inner>, arn: String) {
    let found = {
        let mut state = world.state();
        let task = state.task(&arn).unwrap().clone();
        let member = &state.instances[&task.instance];
        member.machine.clone().map(|machine| (task, member.version.clone(), machine))
    };
    let Some((task, version, machine)) = found else { return };
    let number: usize = arn.trim_start_matches("task-").parse().unwrap();
    let target = SocketAddr::from((machine.address, (FIRST_PORT + number) as u16));
    let args: Vec<String> = match &task.started_by {
        Some(_) => ["demo-app", "job", "--sleep-ms", "3600000"].map(str::to_owned).into(),
        None => {
            let text = format!("{version} {}", machine.name);
            let listen = format!("0.0.0.0:{}", target.port());
            ["demo-app", "web", "--listen", &listen, "--text", &text].map(str::to_owned).into()
        }
    };
    let (on, name) = (machine.clone(), arn.clone());
    let ran = blocking(move || on.run(&name, &args.iter().map(String::as_str).collect::<Vec<_>>())).await;
    if let Err(why) = ran {
        return ended(&world, &arn, &why);
    }
    if let Some(task) = world.state().task(&arn).filter(|task| task.there()) {
        (task.status, task.started) = (Status::Running, Some(Timestamp::now()));
    }
    let serves = task.started_by.is_none();
    if serves {
        world.router.register_targets(GROUP, &[target]).await.unwrap();
    }
    loop {
        let healthy = serves && target_state(&world, target).await == Some("healthy");
        let Some(task) = world.state().task(&arn).cloned().filter(Task::there) else { break };
        if task.stops {
            break;
        }
        if let Some(task) = world.state().task(&arn) {
            task.healthy = healthy;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if serves {
        set(&world, &arn, Status::Deactivating);
        world.router.deregister_targets(GROUP, &[target]).await.unwrap();
        while target_state(&world, target).await.is_some() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    set(&world, &arn, Status::Stopping);
    let name = arn.clone();
    let stopped = blocking(move || machine.stop(&name)).await;
    ended(&world, &arn, &stopped.err().unwrap_or_default());
}

fn set(world: &Inner, arn: &str, status: Status) {
    if let Some(task) = world.state().task(arn).filter(|task| task.there()) {
        (task.status, task.healthy) = (status, false);
    }
}

fn ended(world: &Inner, arn: &str, why: &str) {
    set(world, arn, Status::Stopped);
    if let Some(task) = world.state().task(arn).filter(|_| !why.is_empty()) {
        task.why = why.to_owned();
    }
}

async fn target_state(world: &Inner, target: SocketAddr) -> Option<&'static str> {
    let report = world.router.target_health(GROUP).await.unwrap();
    report.targets.into_iter().find(|one| one.target == target).map(|one| one.state.as_str())
}

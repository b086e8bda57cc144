//! A cluster that is not on AWS: CloudFormation in memory, instances that are Podman services of their own, a stand-in for ECS's scheduler,
//! and Landfall's own load balancer before the service. What rolls it is Landfall's roll.

pub(crate) mod aws;
pub(crate) mod instance;
pub(crate) mod load;
pub(crate) mod scheduler;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use landfall_cluster::roll::{Goal, Next, Patience, next};
use landfall_cluster::{Around, Infra, Standing, Version};
use landfall_manifest::SourceFile;
use landfall_model::Timestamp;
use landfall_model::app::{BalancingAlgorithm, TargetHealthCheck};
use landfall_model::cloudformation::StackOutput;
use landfall_model::step::RouteTarget;
use landfall_router::api::{RouteSpec, TargetGroupSpec};
use landfall_router::client::RouterClient;
use landfall_steps::cluster::{Cluster, Did};
use landfall_testkit::stacks::FakeStacks;

use self::instance::{IMAGE, Instance};
use self::scheduler::Task;
use crate::common;

pub(crate) const GROUP: &str = "web";

/// Ended with all its instances when it is dropped.
pub(crate) struct World(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    image: Vec<u8>,
    directory: tempfile::TempDir,
    pub(crate) router: RouterClient,
    stacks: FakeStacks,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// By ARN; those that are gone too.
    instances: BTreeMap<String, Member>,
    tasks: Vec<Task>,
    /// Tasks that the service shall have.
    desired: usize,
    /// Why an instance does not boot.
    failed: Option<String>,
    /// ARNs of stacks.
    deleting: BTreeSet<String>,
    /// CloudFormation in memory has a time of its own: when it was what it says.
    times: BTreeMap<Timestamp, Timestamp>,
}

pub(crate) struct Member {
    version: String,
    fleet: String,
    /// `None`: it boots, and is not registered yet.
    machine: Option<Arc<Instance>>,
    draining: bool,
    gone: bool,
}

impl Drop for World {
    fn drop(&mut self) {
        for member in self.0.state().instances.values_mut().filter(|one| !one.gone) {
            if let Some(machine) = &member.machine {
                machine.terminate();
            }
        }
        common::engine::stop_own_processes(self.0.directory.path());
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("landfall-test-").tempdir().unwrap();
        let state = directory.path().join("state");
        let command = || {
            let mut command = Command::new(common::landfall());
            command.args(["router", "--state"]).arg(&state).env_remove("LANDFALL_STATE");
            command
        };
        let router = RouterClient::ensure_running(&state, command).await.unwrap();
        let stacks = FakeStacks::default();
        let output = |key: &str| StackOutput {
            key: key.to_owned(),
            value: "health:1".to_owned(),
            description: None,
            export: None,
        };
        stacks.behave(|it| it.outputs = vec![output(landfall_cluster::HEALTH_TASK)]);
        let image = common::engine::image_archive(IMAGE);
        let inner = Inner { image, directory, router, stacks, state: Mutex::default() };
        let inner = Arc::new(inner);
        tokio::spawn(scheduler::schedule(Arc::downgrade(&inner)));
        Self(inner)
    }

    /// Deploys a version as `landfall cluster deploy` does, from look to look. What was done.
    pub(crate) async fn deploy(&self, infra: &str, version: &str) -> Vec<Next> {
        let infra = infra_of(infra);
        let version = Version::parse(version, &infra.name).unwrap();
        let image = Some("ami-1".to_owned());
        let aws = aws::Aws(self.0.clone());
        let mut cluster = Cluster::new(&infra, Around::default(), image, &aws, &aws);
        let patience = Patience { registers: 120, starts: 60, stays: 2, ..Patience::default() };
        let mut goal = Goal::Deploy { version, fresh: true };
        let mut did = Vec::new();
        loop {
            let facts = cluster.look(&goal, Timestamp::now().as_second()).await.unwrap();
            match next(&goal, &facts, patience) {
                Next::Done => return did,
                Next::Failed { why } => panic!("{why}; done so far: {did:?}"),
                Next::Stand { standing: Standing::Failed, why, .. } => panic!("{why:?}; done so far: {did:?}"),
                Next::Wait { .. } => {}
                doing => match cluster.act(&doing, &facts).await.unwrap() {
                    Did::It => {
                        goal.did(&doing);
                        did.push(doing);
                    }
                    Did::Soon | Did::Pending => {}
                    other => panic!("{other:?}; done so far: {did:?}"),
                },
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A service of so many tasks behind a port, until all of them answer.
    pub(crate) async fn serve(&self, tasks: usize) -> u16 {
        let tags = BTreeMap::from([("landfall", "roll"), ("landfall.instance", "roll")]);
        let tags: BTreeMap<String, String> = tags.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let group = TargetGroupSpec {
            name: GROUP.to_owned(),
            tags: tags.clone(),
            health_check: TargetHealthCheck {
                protocol: Default::default(),
                path: "/health".to_owned(),
                port: None,
                interval_ms: 500,
                timeout_ms: 5_000,
                healthy_threshold: 2,
                unhealthy_threshold: 3,
                matcher: "200".to_owned(),
            },
            // Over as soon as nothing is under way, as with Elastic Load Balancing: longer than anything here takes.
            deregistration_delay: 60,
            algorithm: BalancingAlgorithm::RoundRobin,
            idle_timeout: 60,
        };
        self.0.router.put_target_group(&group).await.unwrap();
        let port = landfall_testkit::ports::port();
        let route = RouteSpec { route: RouteTarget::Port { port }, target_group: GROUP.to_owned(), tags };
        self.0.router.put_route(&route).await.unwrap();
        self.0.state().desired = tasks;
        for _ in 0..600 {
            if self.0.state().tasks.iter().filter(|task| task.healthy).count() == tasks {
                return port;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the service does not come up: {:?}", self.0.state().tasks);
    }

    /// One of a version's instances, with the tasks that it has.
    pub(crate) async fn kill_one(&self, version: &str) {
        self.0.terminate(version, 1).await;
    }

    /// The names of a version's instances that are there, and those that are gone without a trace.
    pub(crate) fn instances(&self, version: &str) -> (Vec<String>, Vec<String>) {
        let state = self.0.state();
        let of = state.instances.values().filter(|one| one.version == version);
        let machines = of.filter_map(|one| one.machine.as_ref().map(|machine| (one.gone, machine.clone())));
        let machines: Vec<(bool, Arc<Instance>)> = machines.collect();
        drop(state);
        let (gone, there): (Vec<_>, Vec<_>) = machines.into_iter().partition(|(gone, _)| *gone);
        let names = |of: Vec<(bool, Arc<Instance>)>| of.iter().map(|(_, one)| one.name.clone()).collect();
        let gone = gone.into_iter().filter(|(_, machine)| machine.is_gone()).collect();
        (names(there), names(gone))
    }
}

fn infra_of(text: &str) -> Infra {
    match landfall_cluster::load(SourceFile::new("infra.yml", text), Some("us-west-2")) {
        Ok(loaded) => loaded.infra,
        Err((_, diagnostics)) => panic!("{diagnostics:?}"),
    }
}

/// Of what takes its time and waits for processes.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

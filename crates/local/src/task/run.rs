//! One task's life, driven by one actor: provision, start by dependencies, register, watch, stop, remove.
//!
//! Every effect can be repeated. A crash at any point leaves a record, containers, or both; the next process lists the
//! containers by label and starts the same actor, which finds by name what is there: a made container is started, a
//! running one is only watched, an exited one is read. A record that says `stopping` goes straight to the stop.
//!
//! The pause container holds the network namespace. When it dies its members run on without a network, and starting any
//! of them would silently restart it in a new namespace: so its death ends the task, and members are never restarted.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use landfall_ports::orchestrator::TaskDescription;
use landfall_router::RouterError;
use landfall_router::api::WaitUntil;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::containers::{create_member, create_pause, remove_all};
use super::decide::{self, Health, Phase};
use super::record::{ContainerRecord, Stop, TaskRecord};
use super::watch::{self, Ended};
use crate::core::{Core, locked, now, words};
use crate::docker::DockerResult;
use crate::docker::types::ContainerInspect;
use crate::{labels, logs, state};

const TAIL_LINES: usize = 20;

#[derive(Debug)]
pub(crate) enum Message {
    Ended(String, Ended),
    PauseEnded,
    Health(String, Health),
    Stop(Stop),
}

/// What the rest of the platform sees of a task.
pub(crate) struct TaskCell {
    pub id: String,
    pub service: Option<String>,
    pub seen: Mutex<Seen>,
    tell: UnboundedSender<Message>,
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub record: TaskRecord,
    /// ECS's word.
    pub status: &'static str,
    pub phases: BTreeMap<String, Phase>,
    pub health: Health,
    /// Begun by a former process and not yet looked at: nothing may be concluded from its state.
    pub adopting: bool,
    /// What the load balancer sends requests to.
    pub target: Option<SocketAddr>,
}

impl TaskCell {
    /// A cell and the actor's end of it. A stopped record needs no actor.
    pub(crate) fn new(record: TaskRecord) -> (Arc<Self>, UnboundedReceiver<Message>) {
        let (tell, messages) = unbounded_channel();
        let status = if record.stopped_at.is_some() { "STOPPED" } else { "PROVISIONING" };
        let seen = Seen {
            status,
            phases: BTreeMap::new(),
            health: Health::Unknown,
            target: None,
            adopting: false,
            record: record.clone(),
        };
        (Arc::new(Self { id: record.id, service: record.service, seen: Mutex::new(seen), tell }), messages)
    }

    /// Asks the actor to stop the task; the first reason stays.
    pub(crate) fn stop(&self, stop: Stop) {
        // A task that has stopped has no actor any more: nothing to do.
        let _ = self.tell.send(Message::Stop(stop));
    }

    pub(crate) fn look<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&locked(&self.seen))
    }

    pub(crate) fn describe(&self) -> TaskDescription {
        self.look(|seen| {
            let word = |phase: &Phase| match phase {
                Phase::Waiting => "PENDING",
                Phase::Running(_) => "RUNNING",
                Phase::Exited(_) | Phase::Refused(_) => "STOPPED",
            };
            let statuses = seen.phases.iter().map(|(name, phase)| (name.clone(), word(phase).to_owned())).collect();
            let health = match seen.health {
                Health::Unknown => "UNKNOWN",
                Health::Healthy => "HEALTHY",
                Health::Unhealthy => "UNHEALTHY",
            };
            seen.record.describe(seen.status, health, &statuses)
        })
    }
}

struct Actor {
    core: Arc<Core>,
    cell: Arc<TaskCell>,
    messages: UnboundedReceiver<Message>,
    /// Watchers and health checks end with the actor.
    children: CancellationToken,
}

/// Drives the task until it has stopped. `adopted`: containers may exist already.
pub(crate) async fn run(core: Arc<Core>, cell: Arc<TaskCell>, messages: UnboundedReceiver<Message>, adopted: bool) {
    let children = core.cancel.child_token();
    let _ends_children = children.clone().drop_guard();
    let mut actor = Actor { core, cell, messages, children };
    let decided = actor.cell.look(|seen| seen.record.stopping.clone());
    let stop = match decided {
        Some(stop) => stop,
        None => match actor.live(adopted).await {
            Ok(never) => match never {},
            Err(stop) => stop,
        },
    };
    actor.end(stop).await;
}

enum Never {}

impl Actor {
    fn record(&self) -> TaskRecord {
        self.cell.look(|seen| seen.record.clone())
    }

    fn set(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut locked(&self.cell.seen));
        self.core.tell(self.cell.service.as_deref());
    }

    fn phase(&self, container: &str, phase: Phase) {
        self.set(|seen| {
            seen.phases.insert(container.to_owned(), phase);
        });
    }

    /// Writes the record; a full disk delays the task and does not lose it.
    async fn store(&self) {
        let record = self.record();
        let path = self.core.file("tasks", &record.id);
        let mut pause = Duration::from_millis(50);
        loop {
            let (path, record) = (path.clone(), record.clone());
            match state::blocking(move || state::write_json(&path, &record)).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(%error, task = %self.cell.id, "task record cannot be written, trying again")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    async fn live(&mut self, adopted: bool) -> Result<Never, Stop> {
        let found = if adopted { self.adopt().await? } else { BTreeMap::new() };
        let pause = self.interruptible(Self::provision(Arc::clone(&self.core), self.record(), found)).await??;
        self.take_over(&pause);
        self.set(|seen| {
            if seen.status == "PROVISIONING" {
                seen.status = "PENDING";
            }
        });
        loop {
            let (definition, phases) = self.cell.look(|seen| (seen.record.definition.clone(), seen.phases.clone()));
            let decision = decide::decide(&definition, &phases, self.cell.service.is_some());
            if let Some(stop) = decision.stop {
                return Err(stop);
            }
            self.set(|seen| seen.health = decision.health.unwrap_or(Health::Unknown));
            if !decision.start.is_empty() {
                self.start(decision.start).await?;
                continue;
            }
            if decision.all_started && self.cell.look(|seen| seen.status != "RUNNING") {
                self.running().await?;
                continue;
            }
            if self.cell.look(|seen| seen.adopting) {
                self.set(|seen| seen.adopting = false);
            }
            let Some(message) = self.messages.recv().await else { std::future::pending().await };
            self.take(message).await?;
        }
    }

    /// Runs provisioning unless a stop is asked for meanwhile.
    async fn interruptible<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                message = self.messages.recv() => {
                    if let Some(Message::Stop(stop)) = message {
                        // What an unfinished call leaves behind has the task's names; the stop removes it by name.
                        return Err(stop);
                    }
                }
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), Stop> {
        match message {
            Message::Stop(stop) => Err(stop),
            Message::PauseEnded => Err(Stop::failed(
                "EssentialContainerExited",
                "Essential container in task exited: the pause container, which holds the task's network, ended",
            )),
            Message::Ended(container, ended) => {
                self.ended(&container, ended);
                Ok(())
            }
            Message::Health(container, health) => {
                let changed = self.cell.look(|seen| matches!(seen.phases.get(&container), Some(Phase::Running(_))));
                if changed {
                    self.set(|seen| {
                        seen.phases.insert(container.clone(), Phase::Running(health));
                        seen.record.healthy.retain(|name| *name != container);
                        if health == Health::Healthy {
                            seen.record.healthy.push(container);
                        }
                    });
                    self.store().await;
                }
                Ok(())
            }
        }
    }

    fn ended(&self, container: &str, ended: Ended) {
        self.set(|seen| {
            seen.phases.insert(container.to_owned(), Phase::Exited(ended.code));
            let record = seen.record.containers.entry(container.to_owned()).or_default();
            record.exit_code = Some(ended.code);
            record.reason = ended.reason;
        });
    }

    /// What a former process left. A task that had started a container and lost its pause container is over.
    async fn adopt(&self) -> Result<BTreeMap<String, ContainerInspect>, Stop> {
        let record = self.record();
        let pause = labels::pause_name(&record.id);
        let names = record
            .definition
            .containers
            .iter()
            .map(|c| labels::member_name(&record.id, &c.name))
            .chain([pause.clone()]);
        let names: Vec<String> = names.collect();
        let inspects =
            join_all(names.iter().map(|name| self.core.retry(|| self.core.docker.inspect_container(name)))).await;
        let mut found = BTreeMap::new();
        for (name, inspect) in names.into_iter().zip(inspects) {
            match inspect {
                Ok(inspect) => {
                    found.insert(name, inspect);
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    return Err(Stop::failed(
                        "TaskFailedToStart",
                        &format!("Task could not be adopted: {}", words(&error)),
                    ));
                }
            }
        }
        let pause_runs = found.get(&pause).is_some_and(|inspect| inspect.state.running());
        let was_started = |inspect: &ContainerInspect| inspect.state.running() || inspect.state.exited();
        let began = record.started_at.is_some() || found.values().any(was_started);
        if began && !pause_runs {
            self.adopt_members(&record, &found);
            return Err(Stop::failed(
                "EssentialContainerExited",
                "Essential container in task exited: the task's network was gone when Landfall came back",
            ));
        }
        self.adopt_members(&record, &found);
        Ok(found)
    }

    fn adopt_members(&self, record: &TaskRecord, found: &BTreeMap<String, ContainerInspect>) {
        for container in &record.definition.containers {
            match found.get(&labels::member_name(&record.id, &container.name)) {
                Some(inspect) if inspect.state.running() => {
                    let healthy = record.healthy.contains(&container.name);
                    let health = if healthy { Health::Healthy } else { Health::Unknown };
                    self.phase(&container.name, Phase::Running(health));
                    self.watch(&container.name, inspect.state.pid, health);
                }
                Some(inspect) if inspect.state.exited() => self.ended(&container.name, watch::from_inspect(inspect)),
                None if record.started_at.is_some() => {
                    let reason = Some("the container was removed from outside".to_owned());
                    self.ended(&container.name, Ended { code: 137, reason });
                }
                _ => {}
            }
        }
    }

    /// The pause container running and every member made. Members are made while pause starts, started after it.
    async fn provision(
        core: Arc<Core>,
        record: TaskRecord,
        found: BTreeMap<String, ContainerInspect>,
    ) -> Result<ContainerInspect, Stop> {
        let pause = labels::pause_name(&record.id);
        let failed = |what: &str, error: String| Stop::failed("TaskFailedToStart", &format!("{what}: {error}"));
        if let Some(inspect) = found.get(&pause).filter(|inspect| inspect.state.running()) {
            let missing = record.definition.containers.iter();
            let missing = missing.filter(|c| !found.contains_key(&labels::member_name(&record.id, &c.name)));
            if record.started_at.is_none() {
                let made = join_all(missing.map(|container| create_member(&core, &record, container))).await;
                made.into_iter()
                    .collect::<Result<Vec<()>, String>>()
                    .map_err(|why| Stop::failed("TaskFailedToStart", &why))?;
            }
            return Ok(inspect.clone());
        }
        let members: Vec<String> =
            record.definition.containers.iter().map(|c| labels::member_name(&record.id, &c.name)).collect();
        let refused = match Self::make(&core, &record, &pause).await {
            Ok(made) => return made,
            Err(error) => error,
        };
        // The network or the image was removed since we last used it: once more with new ones. Podman says so when the pause
        // container is made, Docker when it is started; what was made by then belongs to the old network.
        tracing::debug!(error = %refused, "pause container refused, trying once more");
        core.forget_network(record.environment());
        core.forget_pause_image();
        let again = async {
            remove_all(&core, &members, &pause).await?;
            Self::make(&core, &record, &pause).await
        };
        again.await.map_err(|e| failed("ResourceInitializationError: the task's network", words(&e)))?
    }

    /// The inner error is final; the outer one is of the pause container.
    async fn make(core: &Core, record: &TaskRecord, pause: &str) -> DockerResult<Result<ContainerInspect, Stop>> {
        create_pause(core, record).await?;
        let begin = async {
            core.retry(|| core.docker.start_container(pause)).await?;
            core.retry(|| core.docker.inspect_container(pause)).await
        };
        let members =
            join_all(record.definition.containers.iter().map(|container| create_member(core, record, container)));
        let (begun, made) = tokio::join!(begin, members);
        let inspect = begun?;
        let made: Result<Vec<()>, String> = made.into_iter().collect();
        Ok(made.map(|_| inspect).map_err(|why| Stop::failed("TaskFailedToStart", &why)))
    }

    /// The address, and a watch on the pause container.
    fn take_over(&self, pause: &ContainerInspect) {
        let binding = self.cell.look(|seen| seen.record.target.clone());
        let target = binding.and_then(|binding| {
            if self.core.publish {
                let port = pause.network_settings.published(binding.port)?;
                return Some(SocketAddr::from(([127, 0, 0, 1], port)));
            }
            Some(SocketAddr::new(pause.network_settings.address()?.parse().ok()?, binding.port))
        });
        self.set(|seen| seen.target = target);
        let (core, tell, pid) = (Arc::clone(&self.core), self.cell.tell.clone(), pause.state.pid);
        let name = labels::pause_name(&self.cell.id);
        self.child(async move {
            watch::ended(&core, &name, pid).await;
            // The actor may have ended first.
            let _ = tell.send(Message::PauseEnded);
        });
    }

    fn child(&self, work: impl Future<Output = ()> + Send + 'static) {
        let token = self.children.clone();
        tokio::spawn(async move { token.run_until_cancelled(work).await });
    }

    fn watch(&self, container: &str, pid: i64, known: Health) {
        let name = labels::member_name(&self.cell.id, container);
        let (core, tell) = (Arc::clone(&self.core), self.cell.tell.clone());
        let (of, watched) = (container.to_owned(), name.clone());
        self.child(async move {
            let ended = watch::ended(&core, &watched, pid).await;
            let _ = tell.send(Message::Ended(of, ended));
        });
        let check = self.cell.look(|seen| {
            let definition = seen.record.definition.containers.iter().find(|definition| definition.name == container);
            definition.and_then(|definition| definition.settings.health_check.clone())
        });
        if let Some(check) = check {
            let (core, tell) = (Arc::clone(&self.core), self.cell.tell.clone());
            self.child(watch::check_health(core, container.to_owned(), name, check, known, tell));
        }
    }

    /// Starts these containers at once; a stop meanwhile waits for them, which is short.
    async fn start(&self, containers: Vec<String>) -> Result<(), Stop> {
        let starts = containers.iter().map(|container| {
            let name = labels::member_name(&self.cell.id, container);
            async move {
                self.core.retry(|| self.core.docker.start_container(&name)).await?;
                self.core.retry(|| self.core.docker.inspect_container(&name)).await
            }
        });
        for (container, started) in containers.iter().zip(join_all(starts).await) {
            match started {
                Ok(inspect) if inspect.state.exited() => self.ended(container, watch::from_inspect(&inspect)),
                Ok(inspect) => {
                    self.phase(container, Phase::Running(Health::Unknown));
                    self.watch(container, inspect.state.pid, Health::Unknown);
                }
                Err(error) => {
                    let reason = format!("CannotStartContainerError: {container}: {}", words(&error));
                    self.set(|seen| {
                        let record = ContainerRecord { reason: Some(reason.clone()), ..ContainerRecord::default() };
                        seen.record.containers.insert(container.clone(), record);
                    });
                    self.phase(container, Phase::Refused(reason));
                }
            }
        }
        Ok(())
    }

    /// Every container was started: the target takes requests from now on.
    async fn running(&mut self) -> Result<(), Stop> {
        let (binding, target) = self.cell.look(|seen| (seen.record.target.clone(), seen.target));
        self.set(|seen| {
            seen.status = "ACTIVATING";
            seen.record.started_at = seen.record.started_at.or_else(|| Some(now()));
        });
        if let Some(binding) = binding {
            let Some(target) = target else {
                return Err(Stop::failed("TaskFailedToStart", "ResourceInitializationError: the task has no address"));
            };
            let core = Arc::clone(&self.core);
            let register = async move { core.router.register(&binding.target_group, target, &core.cancel).await };
            let (registered, ()) = tokio::join!(register, self.store());
            if let Err(error) = registered {
                return Err(Stop::failed("TaskFailedToStart", &format!("ResourceInitializationError: {error}")));
            }
        } else {
            self.store().await;
        }
        self.set(|seen| seen.status = "RUNNING");
        Ok(())
    }

    async fn end(&mut self, stop: Stop) {
        self.set(|seen| {
            seen.adopting = false;
            seen.record.stopping = Some(stop.clone());
            seen.status = "DEACTIVATING";
        });
        self.store().await;
        self.drain(&stop).await;
        self.set(|seen| seen.status = "STOPPING");
        let record = self.record();
        for group in decide::stop_order(&record.definition) {
            join_all(group.iter().map(|container| self.stop_container(&record, container))).await;
        }
        self.set(|seen| seen.status = "DEPROVISIONING");
        self.children.cancel();
        self.keep_logs(&record, stop.failed).await;
        let members: Vec<String> =
            record.definition.containers.iter().map(|c| labels::member_name(&record.id, &c.name)).collect();
        let mut pause = Duration::from_millis(50);
        while let Err(error) = remove_all(&self.core, &members, &labels::pause_name(&record.id)).await {
            tracing::warn!(%error, task = %record.id, "containers cannot be removed, trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        self.set(|seen| seen.record.stopped_at = Some(now()));
        self.store().await;
        self.set(|seen| seen.status = "STOPPED");
    }

    /// No new requests, and those in flight finish. A task that died has none to wait for.
    async fn drain(&self, stop: &Stop) {
        let (binding, target) = self.cell.look(|seen| (seen.record.target.clone(), seen.target));
        let Some(binding) = binding else { return };
        let target = match target {
            Some(target) => Some(target),
            None => self.recorded_target(binding.port).await,
        };
        let Some(target) = target else { return };
        let cancel = &self.core.cancel;
        self.core.router.deregister(&binding.target_group, target, cancel).await;
        let dead = stop.code == "EssentialContainerExited" || stop.code == "TaskFailedToStart";
        if dead {
            return;
        }
        let mut version = 0;
        loop {
            let until = WaitUntil::ChangedFrom(version);
            match self.core.router.client().wait_health(&binding.target_group, until, Duration::from_secs(20)).await {
                Ok(report) if report.targets.iter().any(|health| health.target == target) => version = report.version,
                Ok(_) | Err(RouterError::NotFound(_)) => return,
                Err(error) => {
                    tracing::debug!(%error, "drain: the router does not answer");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// After a crash in the middle of a stop the address is only known to the pause container.
    async fn recorded_target(&self, port: u16) -> Option<SocketAddr> {
        let name = labels::pause_name(&self.cell.id);
        let inspect = self.core.retry(|| self.core.docker.inspect_container(&name)).await.ok()?;
        if self.core.publish {
            return Some(SocketAddr::from(([127, 0, 0, 1], inspect.network_settings.published(port)?)));
        }
        Some(SocketAddr::new(inspect.network_settings.address()?.parse().ok()?, port))
    }

    async fn stop_container(&self, record: &TaskRecord, container: &str) {
        if self.cell.look(|seen| matches!(seen.phases.get(container), Some(Phase::Exited(_) | Phase::Refused(_)))) {
            return;
        }
        let name = labels::member_name(&record.id, container);
        let definition = record.definition.containers.iter().find(|definition| definition.name == container);
        let timeout = definition.map_or(30, |definition| definition.settings.stop_timeout);
        let core = &self.core;
        match core.retry(|| core.docker.inspect_container(&name)).await {
            Ok(inspect) if inspect.state.exited() => return self.ended(container, watch::from_inspect(&inspect)),
            Ok(inspect) if !inspect.state.running() => return,
            Ok(_) => {}
            Err(_) => return,
        }
        if let Err(error) = core.retry(|| core.docker.stop_container(&name, timeout)).await {
            // It is removed by force in a moment; only its exit code is at stake.
            tracing::warn!(%error, container = name, "stop refused");
        }
        for _ in 0..100 {
            match core.retry(|| core.docker.inspect_container(&name)).await {
                Ok(inspect) if inspect.state.exited() => return self.ended(container, watch::from_inspect(&inspect)),
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(_) => return,
            }
        }
    }

    /// Containers are about to go and their logs with them. Of a task that failed, the last lines go into its record.
    async fn keep_logs(&self, record: &TaskRecord, failed: bool) {
        for container in &record.definition.containers {
            let mut lines = logs::keep(&self.core, record, &container.name).await;
            if failed {
                let tail = lines.split_off(lines.len().saturating_sub(TAIL_LINES));
                self.set(|seen| seen.record.containers.entry(container.name.clone()).or_default().tail = tail);
            }
        }
    }
}

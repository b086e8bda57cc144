//! The platform as a whole, and its orchestrator port.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use landfall_model::app::BuildSource;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_ENVIRONMENT, TAG_INSTANCE, Tags};
use landfall_model::task::TaskDefinition;
use landfall_ports::orchestrator::{
    Documents, LogLine, LogStream, Orchestrator, PutService, PutServiceOutcome, Registered, RunTaskRequest,
    ServiceDescription, ServiceStatus, StopDeployment, TaskDescription,
};
use landfall_ports::{Platform, PortError, PortResult, documents};
use tokio::sync::mpsc;

use crate::balancer::{LocalBalancer, Router, RouterCommand};
use crate::core::{Core, locked, now};
use crate::docker::types::ContainerSummary;
use crate::engine::{Engine, EngineOptions};
use crate::hooks::LocalHooks;
use crate::images::LocalImages;
use crate::logs;
use crate::scheduler::actor::{self, ServiceCell};
use crate::scheduler::decide;
use crate::scheduler::service::ServiceState;
use crate::secrets::LocalSecrets;
use crate::task::record::{Stop, TaskRecord};
use crate::{definitions, host, housekeeping, http, images, labels, state, supervisor};

/// How to set up the local platform.
#[derive(Clone)]
pub struct LocalOptions {
    pub state_dir: PathBuf,
    /// This installation's id: only what carries it is ever touched.
    pub instance: String,
    pub engine: EngineOptions,
    /// Runs the router where none answers; `None`: somebody else keeps it running.
    pub router: Option<RouterCommand>,
    /// Publish target ports on 127.0.0.1 instead of using container addresses; `None`: as the engine needs it.
    pub publish: Option<bool>,
    /// Further ports of every task on 127.0.0.1, host's and container's: for one task at a time.
    pub ports: Vec<(u16, u16)>,
    pub concurrent_builds: usize,
}

impl LocalOptions {
    pub fn new(state_dir: &Path, instance: &str) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            instance: instance.to_owned(),
            engine: EngineOptions::default(),
            router: None,
            publish: None,
            ports: Vec::new(),
            concurrent_builds: 2,
        }
    }
}

/// Containers, images, hooks and the load balancer of one machine. Cheap to clone.
#[derive(Clone)]
pub struct LocalPlatform {
    core: Arc<Core>,
    balancer: Arc<LocalBalancer>,
    images: Arc<LocalImages>,
    hooks: Arc<LocalHooks>,
}

impl LocalPlatform {
    /// Finds or starts the engine. Nothing is supervised until `start`.
    pub async fn connect(options: LocalOptions) -> PortResult<Self> {
        let engine = Engine::connect(&options.state_dir, &options.engine).await?;
        let router = Router::new(&options.state_dir, options.router);
        let directory = options.state_dir.join("local");
        for name in ["services", "tasks", "task-definitions", "logs"] {
            state::create_private_dir(&directory.join(name))?;
        }
        let mut core = Core::new(engine, router, options.instance, directory, options.publish);
        core.ports = options.ports;
        let core = Arc::new(core);
        let http = http::http();
        let images =
            LocalImages::new(Arc::clone(&core), host::registries(), &options.state_dir, options.concurrent_builds)?;
        let secrets = Arc::new(LocalSecrets::new(&options.state_dir));
        let hooks = LocalHooks::new(http.clone(), secrets, &options.state_dir)?;
        let balancer = LocalBalancer { core: Arc::clone(&core), http };
        Ok(Self { core, balancer: Arc::new(balancer), images: Arc::new(images), hooks: Arc::new(hooks) })
    }

    /// Takes over what exists and supervises it from now on. Once per platform.
    pub async fn start(&self) -> PortResult<()> {
        supervisor::take_over(&self.core).await?;
        let (token, images, hooks) = (self.core.cancel.clone(), Arc::clone(&self.images), Arc::clone(&self.hooks));
        tokio::spawn(async move { token.run_until_cancelled(housekeeping::run(&images, &hooks.directory)).await });
        Ok(())
    }

    /// Stops supervising. Containers, routes and the router keep running. Final: make a new platform to go on.
    pub fn shutdown(&self) {
        self.core.cancel.cancel();
    }

    /// The four ports for the step handlers.
    pub fn ports(&self) -> Platform {
        Platform {
            orchestrator: Arc::new(self.clone()),
            load_balancer: Arc::clone(&self.balancer) as _,
            images: Arc::clone(&self.images) as _,
            hooks: Arc::clone(&self.hooks) as _,
            min_poll_ms: 0,
        }
    }

    pub fn engine(&self) -> &Engine {
        &self.core.engine
    }

    /// Lines of every task of the environment (or of one of its services): the last `history` of each container, then new
    /// ones as they come, also of tasks that start later. Dropping the receiver ends it.
    pub fn follow_logs(&self, environment: &str, service: Option<&str>, history: usize) -> mpsc::Receiver<LogLine> {
        logs::follow(Arc::clone(&self.core), environment.to_owned(), service.map(str::to_owned), history)
    }

    /// Builds an image from a directory as it is (not from a commit) and returns its id. The image carries `tags`; every line
    /// of the engine's output goes to `line`.
    pub async fn build_directory(
        &self,
        root: &Path,
        build: &BuildSource,
        tag: &str,
        tags: &Tags,
        line: impl FnMut(&str) + Send,
    ) -> PortResult<String> {
        images::build_directory(&self.core, root, build, tag, tags, line).await
    }

    /// Tasks of an environment that have not stopped, with their services' names.
    pub fn tasks(&self, environment: &str) -> Vec<(Option<String>, TaskDescription)> {
        let cells: Vec<_> = locked(&self.core.tasks).values().cloned().collect();
        cells
            .into_iter()
            .filter(|cell| cell.look(|seen| seen.record.environment() == environment && seen.status != "STOPPED"))
            .map(|cell| (cell.service.clone(), cell.describe()))
            .collect()
    }

    /// Resolves when a service or task changed since the call (or spuriously).
    pub async fn changed(&self) {
        self.core.changed.notified().await;
    }
}

fn one_off_id(instance: &str, token: &str) -> String {
    labels::short_hash(&["run-task", instance, token], 32)
}

fn main_container(definition: &TaskDefinition) -> Option<String> {
    definition.containers.iter().find(|c| c.settings.essential).map(|c| c.name.clone())
}

fn override_container(definition: &mut TaskDefinition, request: &RunTaskRequest) -> PortResult<()> {
    let wanted = request.container.clone().or_else(|| main_container(definition)).unwrap_or_default();
    let container = definition.containers.iter_mut().find(|container| container.name == wanted).ok_or_else(|| {
        PortError::Invalid(format!("task definition {} has no container {wanted:?}", request.task_definition))
    })?;
    if !request.command.is_empty() {
        container.settings.command.clone_from(&request.command);
    }
    container.settings.environment.extend(request.environment.clone());
    Ok(())
}

fn owned(kind: ResourceKind, id: &str, name: &str, tags: &Tags) -> OwnedResource {
    OwnedResource {
        kind,
        id: id.to_owned(),
        name: name.to_owned(),
        environment: tags.get(TAG_ENVIRONMENT).cloned().unwrap_or_default(),
        tags: tags.clone(),
    }
}

#[async_trait]
impl Orchestrator for LocalPlatform {
    async fn register_task_definition(&self, definition: &TaskDefinition, tags: &Tags) -> PortResult<Registered> {
        definitions::register(&self.core, definition, tags).await
    }

    async fn deregister_task_definition(&self, handle: &str) -> PortResult<()> {
        definitions::deregister(&self.core, handle).await
    }

    async fn put_service(&self, request: &PutService) -> PortResult<PutServiceOutcome> {
        self.core.supervising()?;
        let definition = definitions::load(&self.core, &request.task_definition).await?;
        if let Some(target) = &request.target
            && !definition.containers.iter().any(|container| container.name == target.container)
        {
            let text = format!("service {}: the task definition has no container {}", request.name, target.container);
            return Err(PortError::Invalid(text));
        }
        let mut request = request.clone();
        request.tags = labels::with_instance(&request.tags, &self.core.instance);
        if let Some(cell) = self.core.service(&request.name) {
            let (owner, draining) = {
                let state = cell.state.lock().await;
                (state.environment().to_owned(), state.status == ServiceStatus::Draining)
            };
            if request.tags.get(TAG_ENVIRONMENT).is_none_or(|environment| *environment != owner) {
                return Err(PortError::Conflict(format!("service {} belongs to environment {owner}", request.name)));
            }
            if draining {
                // As on ECS: a service cannot be made anew while the old one still drains.
                return Err(PortError::Unavailable(format!("service {} is still being deleted", request.name)));
            }
            return cell.update(&self.core, &request).await;
        }
        let state = ServiceState::new(&request, now());
        let outcome = state.last_outcome.clone();
        actor::store(&self.core, &state).await?;
        let cell = ServiceCell::new(state);
        let inserted = {
            let mut services = locked(&self.core.services);
            if services.contains_key(&request.name) {
                false
            } else {
                services.insert(request.name.clone(), Arc::clone(&cell));
                true
            }
        };
        if !inserted {
            return Err(PortError::Unavailable(format!("service {} is being made by another call", request.name)));
        }
        supervisor::spawn_service(&self.core, cell);
        Ok(outcome)
    }

    async fn documents(&self, service: &str) -> PortResult<Option<Documents>> {
        let Some(cell) = self.core.service(service) else { return Ok(None) };
        let (handle, document) = {
            let state = cell.state.lock().await;
            let handle = state.deployments.first().map(|primary| primary.task_definition.clone()).unwrap_or_default();
            let (configuration, target) = (&state.configuration, state.target.as_ref());
            let document = documents::service(service, &handle, state.desired, configuration, target, &state.tags);
            (handle, document)
        };
        let task_definition = match definitions::load(&self.core, &handle).await {
            Ok(definition) => documents::task_definition(&definition),
            Err(PortError::NotFound(_)) => serde_json::Value::Null,
            Err(error) => return Err(error),
        };
        Ok(Some(Documents { task_definition, service: document }))
    }

    async fn desired_documents(&self, definition: &TaskDefinition, request: &PutService) -> PortResult<Documents> {
        Ok(Documents::of(definition, request))
    }

    async fn describe_service(&self, name: &str) -> PortResult<Option<ServiceDescription>> {
        match self.core.service(name) {
            Some(cell) => Ok(Some(cell.describe(&self.core).await)),
            None => Ok(None),
        }
    }

    async fn scale_service(&self, name: &str, desired_count: u32) -> PortResult<()> {
        let cell = self.core.service(name).ok_or_else(|| PortError::NotFound(format!("no service {name}")))?;
        cell.change(&self.core, |state| state.desired = desired_count).await
    }

    async fn stop_deployment(&self, service: &str, how: StopDeployment) -> PortResult<bool> {
        self.core.supervising()?;
        let cell = self.core.service(service).ok_or_else(|| PortError::NotFound(format!("no service {service}")))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        let stop = move |state: &mut ServiceState| told.store(decide::stop(state, how, now()), Ordering::Relaxed);
        cell.change(&self.core, stop).await?;
        Ok(stopped.load(Ordering::Relaxed))
    }

    async fn delete_service(&self, name: &str) -> PortResult<()> {
        let Some(cell) = self.core.service(name) else { return Ok(()) };
        cell.change(&self.core, |state| {
            state.status = ServiceStatus::Draining;
            state.desired = 0;
        })
        .await
    }

    async fn run_task(&self, request: &RunTaskRequest) -> PortResult<String> {
        self.core.supervising()?;
        let id = one_off_id(&self.core.instance, &request.token);
        if self.core.task(&id).is_some() {
            return Ok(id);
        }
        let mut definition = definitions::load(&self.core, &request.task_definition).await?;
        override_container(&mut definition, request)?;
        let record = TaskRecord {
            id: id.clone(),
            tags: labels::with_instance(&request.tags, &self.core.instance),
            service: None,
            deployment: None,
            token: Some(request.token.clone()),
            definition,
            target: None,
            created_at: now(),
            started_at: None,
            stopping: None,
            stopped_at: None,
            healthy: Vec::new(),
            containers: std::collections::BTreeMap::new(),
        };
        supervisor::begin_task(&self.core, record).await?;
        Ok(id)
    }

    async fn main_container(&self, task_definition: &str) -> PortResult<String> {
        main_container(&definitions::load(&self.core, task_definition).await?)
            .ok_or_else(|| PortError::NotFound(format!("task definition {task_definition} has no essential container")))
    }

    async fn describe_task(&self, task: &str) -> PortResult<Option<TaskDescription>> {
        Ok(self.core.task(task).map(|cell| cell.describe()))
    }

    async fn stop_task(&self, task: &str, reason: &str) -> PortResult<()> {
        if let Some(cell) = self.core.task(task) {
            cell.stop(Stop::asked("UserInitiated", reason));
        }
        Ok(())
    }

    async fn task_log_tail(&self, task: &str, lines: usize) -> PortResult<Vec<String>> {
        logs::tail(&self.core, task, lines).await
    }

    async fn follow_logs(
        &self,
        environment: &str,
        _services: &[String],
        history: usize,
    ) -> PortResult<Box<dyn LogStream>> {
        Ok(Box::new(logs::Followed(LocalPlatform::follow_logs(self, environment, None, history))))
    }

    async fn list_owned(
        &self,
        environment: Option<&str>,
        kinds: &[ResourceKind],
    ) -> PortResult<Listing<OwnedResource>> {
        let mut items = Vec::new();
        for kind in kinds {
            match kind {
                ResourceKind::Service => items.extend(self.owned_services(environment).await),
                ResourceKind::Task => items.extend(self.owned_tasks(environment)),
                ResourceKind::TaskDefinition => items.extend(definitions::list_owned(&self.core, environment).await?),
                ResourceKind::Container => {
                    let filter = labels::owned_by(&self.core.instance, environment);
                    let found: Vec<ContainerSummary> = self.core.docker.list_containers(&filter).await?;
                    let describe = |c: &ContainerSummary| owned(ResourceKind::Container, &c.id, c.name(), &c.labels);
                    items.extend(found.iter().map(describe));
                }
                ResourceKind::Network => {
                    let filter = labels::owned_by(&self.core.instance, environment);
                    let found = self.core.docker.list_networks(&filter).await?;
                    // Engines differ in how they combine several label filters: ask each again.
                    let ours = |tags: &Tags| {
                        tags.get(TAG_INSTANCE) == Some(&self.core.instance)
                            && environment
                                .is_none_or(|wanted| tags.get(TAG_ENVIRONMENT).is_some_and(|tag| tag == wanted))
                    };
                    let describe =
                        |n: &crate::docker::types::Network| owned(ResourceKind::Network, &n.id, &n.name, &n.labels);
                    items.extend(found.iter().filter(|network| ours(&network.labels)).map(describe));
                }
                // The load balancer's and the image port's.
                ResourceKind::TargetGroup | ResourceKind::Rule | ResourceKind::Listener | ResourceKind::Image => {}
            }
        }
        Ok(Listing { items, complete: true, at: now() })
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        match resource.kind {
            ResourceKind::Service => self.delete_service(&resource.id).await,
            ResourceKind::Task => self.stop_task(&resource.id, "Deleted by Landfall").await,
            ResourceKind::TaskDefinition => self.deregister_task_definition(&resource.id).await,
            ResourceKind::Container => self.delete_container(&resource.id).await,
            ResourceKind::Network => {
                self.core.docker.remove_network(&resource.id).await?;
                self.core.forget_network(&resource.environment);
                supervisor::purge(&self.core, &resource.environment).await
            }
            kind => Err(PortError::Invalid(format!("the orchestrator owns no {kind:?}"))),
        }
    }
}

impl LocalPlatform {
    async fn owned_services(&self, environment: Option<&str>) -> Vec<OwnedResource> {
        let cells: Vec<_> = locked(&self.core.services).values().cloned().collect();
        let mut items = Vec::new();
        for cell in cells {
            let state = cell.state.lock().await;
            if environment.is_none_or(|wanted| state.environment() == wanted) {
                items.push(owned(ResourceKind::Service, &state.name, &state.name, &state.tags));
            }
        }
        items
    }

    /// Stopped tasks are records and no resources.
    fn owned_tasks(&self, environment: Option<&str>) -> Vec<OwnedResource> {
        let cells: Vec<_> = locked(&self.core.tasks).values().cloned().collect();
        let of = |cell: &Arc<crate::task::run::TaskCell>| {
            cell.look(|seen| {
                let wanted = environment.is_none_or(|wanted| seen.record.environment() == wanted);
                (wanted && seen.status != "STOPPED")
                    .then(|| owned(ResourceKind::Task, &cell.id, &cell.id, &seen.record.tags))
            })
        };
        cells.iter().filter_map(of).collect()
    }

    /// A container of a supervised task goes with its task; any other one is removed.
    async fn delete_container(&self, id: &str) -> PortResult<()> {
        let inspect = match self.core.docker.inspect_container(id).await {
            Ok(inspect) => inspect,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if inspect.config.labels.get(TAG_INSTANCE) != Some(&self.core.instance) {
            return Err(PortError::Conflict(format!("container {id} is not ours")));
        }
        let task = inspect.config.labels.get(labels::TASK).and_then(|task| self.core.task(task));
        if let Some(cell) = task.filter(|cell| cell.look(|seen| seen.status != "STOPPED")) {
            cell.stop(Stop::asked("UserInitiated", "Deleted by Landfall"));
            return Ok(());
        }
        Ok(self.core.docker.remove_container(id).await?)
    }

    /// The build's log file under the state directory.
    pub fn build_log(&self, key: &str) -> PathBuf {
        images::log_path(&self.images.directory, key)
    }
}

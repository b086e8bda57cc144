//! The orchestrator port on Amazon ECS.

mod adopt;
mod change;
mod definition;
mod documents;
mod follow;
mod in_use;
mod logs;
mod of_stack;
mod owned;
mod past;
mod pinned;
mod preflight;
mod raw;
mod raw_service;
mod register;
mod removal;
mod rollout;
mod secrets;
mod service;
mod strategy;
mod tasks;
mod told;
mod workload;

use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_sdk_ecs::types as ecs;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, Tags};
use landfall_model::task::TaskDefinition;
use landfall_ports::orchestrator::{
    Documents, LogStream, Looked, Orchestrator, PutService, PutServiceOutcome, Registered, RunTaskRequest,
    ServiceDescription, StopDeployment, TaskDescription,
};
use landfall_ports::{PortError, PortResult};
use tokio::time::Instant;

use self::past::Watch;
use self::register::Revision;
use self::service::Failures;
use crate::batch::Batcher;
use crate::call::Call;
use crate::core::Core;
use crate::error::Failed;
use crate::signed::Signer;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ecs {
    core: Arc<Core>,
    /// For what is asked of other services than ECS.
    signer: Arc<Signer>,
    batches: Arc<Batches>,
    memory: Arc<Memory>,
}

/// What several callers ask for together.
pub(crate) struct Batches {
    services: Arc<Batcher<String, Option<Arc<ecs::Service>>>>,
    deployments: Arc<Batcher<String, Option<Arc<ecs::ServiceDeployment>>>>,
    tasks: Arc<Batcher<String, Option<Arc<ecs::Task>>>>,
    /// All services of the cluster; all tasks that have not stopped; all task definitions of this installation.
    all_services: Arc<Batcher<(), Arc<Vec<Arc<ecs::Service>>>>>,
    all_tasks: Arc<Batcher<(), Arc<Vec<Arc<ecs::Task>>>>>,
    all_definitions: Arc<Batcher<(), Arc<Vec<Arc<Revision>>>>>,
}

/// What never changes, or is only read again when something else says so. Losing it costs calls and nothing else.
#[derive(Default)]
pub(crate) struct Memory {
    /// By `family:revision`.
    definitions: Mutex<HashMap<String, Arc<Revision>>>,
    /// Active ones that are not this installation's, by `family:revision`.
    foreign: Mutex<std::collections::HashSet<String>>,
    /// ARNs by family and content hash.
    registered: Mutex<HashMap<(String, String), String>>,
    watches: Mutex<HashMap<String, Watch>>,
    /// Services as they were found just now, for the change that follows.
    found: Mutex<service::Found>,
    /// Task definitions of service revisions.
    revisions: Mutex<HashMap<String, String>>,
    failures: Mutex<HashMap<String, Failures>>,
    adopted: Mutex<HashMap<String, adopt::PutOn>>,
    /// Tasks that have stopped stay so.
    stopped: Mutex<std::collections::HashSet<String>>,
}

impl std::ops::Deref for Ecs {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

impl Ecs {
    pub(crate) fn new(core: Arc<Core>, signer: Arc<Signer>) -> Self {
        let batches = Batches {
            services: Batcher::new(service::DESCRIBE_SERVICES),
            deployments: Batcher::new(told::DESCRIBE_DEPLOYMENTS),
            tasks: Batcher::new(tasks::DESCRIBE_TASKS),
            all_services: Batcher::new(1),
            all_tasks: Batcher::new(1),
            all_definitions: Batcher::new(1),
        };
        Self { core, signer, batches: Arc::new(batches), memory: Arc::default() }
    }

    /// A call to ECS whose errors need no telling apart.
    async fn ecs<T, E, F, S>(&self, call: Call<'_>, send: S) -> PortResult<T>
    where
        S: Fn() -> F,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        self.core.caller.call(call, send).await.map_err(|failed| self.explained(failed))
    }

    /// A missing cluster is never what a step meant by "not found".
    fn explained(&self, failed: Failed) -> PortError {
        if failed.is("ClusterNotFoundException") {
            let (target, region) = (&self.core.target, &self.core.region);
            return PortError::Invalid(format!(
                "{}: there is no cluster {} in region {region}: correct `cluster` or `region` of target {}",
                failed.error, target.cluster, target.name
            ));
        }
        failed.error
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_tags(tags: &Tags) -> Vec<ecs::Tag> {
    tags.iter().map(|(key, value)| ecs::Tag::builder().key(key).value(value).build()).collect()
}

fn from_tags(tags: &[ecs::Tag]) -> Tags {
    crate::tags::read(tags.iter().map(|tag| (tag.key.as_deref(), tag.value.as_deref())))
}

/// For messages.
pub(crate) fn some_of(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first, ..] => format!("{first} and {} more", names.len() - 1),
    }
}

/// `failures` of a describe: what does not exist is an answer; anything else is none.
fn only_missing(call: &Call<'_>, failures: &[ecs::Failure]) -> PortResult<()> {
    let other = failures.iter().find(|failure| failure.reason.as_deref() != Some("MISSING"));
    match other {
        None => Ok(()),
        Some(failure) => Err(PortError::Unavailable(format!(
            "{}: {}: {}",
            call.what(),
            failure.arn.as_deref().unwrap_or_default(),
            failure.reason.as_deref().unwrap_or("no reason given")
        ))),
    }
}

#[async_trait]
impl Orchestrator for Ecs {
    async fn register_task_definition(&self, definition: &TaskDefinition, tags: &Tags) -> PortResult<Registered> {
        match &definition.document {
            Some(document) => self.register_document(definition, document, tags).await,
            None => self.register(definition, tags).await,
        }
    }

    async fn deregister_task_definition(&self, handle: &str) -> PortResult<()> {
        self.deregister(handle).await
    }

    async fn put_service(&self, request: &PutService) -> PortResult<PutServiceOutcome> {
        match &request.document {
            Some(document) => self.put_document(request, document).await,
            None => self.put(request).await,
        }
    }

    async fn find_service(&self, name: &str) -> PortResult<Option<ServiceDescription>> {
        let found = locked(&self.found).get(name);
        if let Some(found) = found {
            return Ok(Some(self.shown(name, &found)));
        }
        let asked = Instant::now();
        let found = self.as_it_is(name).await?.filter(|(service, _)| self.is_ours(service));
        Ok(found.map(|(service, told)| {
            let shown = self.shown(name, &service);
            locked(&self.found).keep(name, Arc::new(service), told, asked);
            shown
        }))
    }

    async fn service_tags(&self, name: &str) -> PortResult<Option<Tags>> {
        let found = self.service(name).await?.filter(|service| service.status.as_deref() != Some("INACTIVE"));
        Ok(found.map(|service| from_tags(service.tags())))
    }

    async fn adopt_service(&self, name: &str, tags: &Tags) -> PortResult<Option<ServiceDescription>> {
        self.take_over(name, tags).await
    }

    async fn describe_service(&self, name: &str) -> PortResult<Option<ServiceDescription>> {
        self.describe(name).await
    }

    async fn continue_deployment(&self, service: &str, only: &[String]) -> PortResult<bool> {
        self.go_on(service, only).await
    }

    async fn stop_deployment(&self, service: &str, how: StopDeployment) -> PortResult<bool> {
        self.halt(service, how).await
    }

    async fn scale_service(&self, name: &str, desired_count: u32) -> PortResult<()> {
        self.scale(name, desired_count).await
    }

    async fn delete_service(&self, name: &str) -> PortResult<()> {
        self.delete(name).await
    }

    async fn run_task(&self, request: &RunTaskRequest) -> PortResult<String> {
        self.run(request).await
    }

    async fn main_container(&self, task_definition: &str) -> PortResult<String> {
        let revision = self.definition(task_definition).await?;
        let name = revision.and_then(|revision| tasks::container_to_run(&revision.definition, None)?.name.clone());
        name.ok_or_else(|| {
            PortError::NotFound(format!(
                "task definition {task_definition} has no essential container, or is not there"
            ))
        })
    }

    async fn describe_task(&self, task: &str) -> PortResult<Option<TaskDescription>> {
        let Some(found) = self.task(task).await? else { return Ok(None) };
        let tails = match found.last_status.as_deref() {
            Some("STOPPED") if tasks::failed(&found) => self.tails(&found).await,
            _ => BTreeMap::new(),
        };
        Ok(Some(tasks::describe(&found, &tails)))
    }

    async fn stop_task(&self, task: &str, reason: &str) -> PortResult<()> {
        self.stop(task, reason).await
    }

    async fn task_log_tail(&self, task: &str, lines: usize) -> PortResult<Vec<String>> {
        self.log_tail(task, lines).await
    }

    async fn tasks_of(&self, services: &[String]) -> PortResult<Vec<String>> {
        let tasks = self.all_tasks().await?;
        let of = tasks.iter().filter(|task| follow::is_of(task, services));
        Ok(of.filter_map(|task| task.task_arn.as_deref().map(|arn| tasks::task_id(arn).to_owned())).collect())
    }

    async fn follow_logs(
        &self,
        environment: &str,
        services: &[String],
        history: usize,
    ) -> PortResult<Box<dyn LogStream>> {
        Ok(Box::new(self.follow(environment, services, history).await?))
    }

    async fn documents(&self, service: &str) -> PortResult<Option<Documents>> {
        self.live_documents(service).await
    }

    async fn service_document(&self, name: &str) -> PortResult<Option<serde_json::Value>> {
        self.document_to_restore(name).await
    }

    async fn desired_documents(&self, definition: &TaskDefinition, request: &PutService) -> PortResult<Documents> {
        match (&definition.document, &request.document) {
            (Some(document), Some(service)) => self.given_documents(definition, document, request, service).await,
            _ => self.wanted_documents(definition, request).await,
        }
    }

    async fn preflight(&self, definition: &TaskDefinition, request: &PutService) -> PortResult<Vec<Looked>> {
        self.look(definition, request).await
    }

    async fn images_in_use(&self) -> PortResult<Vec<String>> {
        self.images_of_all().await
    }

    async fn list_owned(
        &self,
        environment: Option<&str>,
        kinds: &[ResourceKind],
    ) -> PortResult<Listing<OwnedResource>> {
        self.owned(environment, kinds).await
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        match resource.kind {
            ResourceKind::Service => self.delete(&resource.id).await,
            ResourceKind::Task => self.stop(&resource.id, "Deleted by Landfall").await,
            ResourceKind::TaskDefinition => self.deregister(&resource.id).await,
            kind => Err(PortError::Invalid(format!("ECS has no {kind:?}"))),
        }
    }
}

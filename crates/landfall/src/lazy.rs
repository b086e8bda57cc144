//! This machine's platform, connected to when something is first asked of it: a command that only deploys to AWS needs no
//! container engine. Every method of every port is passed on; a test holds this file against the traits, since a method with
//! a default body that is not passed on would silently do the default.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use landfall_local::{LocalOptions, LocalPlatform};
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, Tags};
use landfall_model::step::{AwaitImage, BuildImage, EnsureTargetGroup, RouteTarget, RunHook};
use landfall_model::task::TaskDefinition;
use landfall_ports::images::{BuildState, Images};
use landfall_ports::load_balancer::{
    Activity, Hold, LoadBalancer, Put, RouteDescription, TargetGroupDescription, TargetHealth,
};
use landfall_ports::orchestrator::{
    Documents, LogStream, Looked, Orchestrator, PutService, PutServiceOutcome, Registered, RunTaskRequest,
    ServiceDescription, StopDeployment, TaskDescription,
};
use landfall_ports::steps::{HookRunner, HookState};
use landfall_ports::{Platform, PortError, PortResult};
use tokio::sync::OnceCell;

use crate::commands::engine_options;
use crate::commands::serve::router_command;

/// Clones share the connection.
#[derive(Clone)]
pub(crate) struct LazyLocal {
    inner: Arc<Inner>,
}

struct Inner {
    state: PathBuf,
    instance: String,
    concurrent_builds: usize,
    connected: OnceCell<(LocalPlatform, Platform)>,
    refused: OnceLock<String>,
}

impl LazyLocal {
    pub(crate) fn new(state: PathBuf, instance: String, concurrent_builds: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                state,
                instance,
                concurrent_builds,
                connected: OnceCell::new(),
                refused: OnceLock::new(),
            }),
        }
    }

    /// Finds or starts the engine, and takes over what runs. One that failed is tried again by the next who asks.
    pub(crate) async fn connect(&self) -> PortResult<&Platform> {
        let inner = &self.inner;
        if let Some(why) = inner.refused.get() {
            return Err(PortError::Invalid(why.clone()));
        }
        let connected = inner.connected.get_or_try_init(async || {
            let router_state = inner.state.clone();
            let options = LocalOptions {
                engine: engine_options(),
                router: Some(Arc::new(move || router_command(&router_state))),
                concurrent_builds: inner.concurrent_builds,
                ..LocalOptions::new(&inner.state, &inner.instance)
            };
            let local = LocalPlatform::connect(options).await?;
            local.start().await?;
            let ports = local.ports();
            PortResult::Ok((local, ports))
        });
        Ok(&connected.await?.1)
    }

    /// Connects no more, and says why. Only the first reason counts.
    pub(crate) fn refuse(&self, why: String) {
        let _ = self.inner.refused.set(why);
    }

    pub(crate) fn ports(&self) -> Platform {
        Platform {
            orchestrator: Arc::new(self.clone()),
            load_balancer: Arc::new(self.clone()),
            images: Arc::new(self.clone()),
            hooks: Arc::new(self.clone()),
            min_poll_ms: 0,
        }
    }

    /// Loops end; containers and routes stay.
    pub(crate) fn shutdown(&self) {
        if let Some((local, _)) = self.inner.connected.get() {
            local.shutdown();
        }
    }
}

#[async_trait]
impl Orchestrator for LazyLocal {
    async fn register_task_definition(&self, definition: &TaskDefinition, tags: &Tags) -> PortResult<Registered> {
        self.connect().await?.orchestrator.register_task_definition(definition, tags).await
    }

    async fn deregister_task_definition(&self, handle: &str) -> PortResult<()> {
        self.connect().await?.orchestrator.deregister_task_definition(handle).await
    }

    async fn put_service(&self, request: &PutService) -> PortResult<PutServiceOutcome> {
        self.connect().await?.orchestrator.put_service(request).await
    }

    async fn describe_service(&self, name: &str) -> PortResult<Option<ServiceDescription>> {
        self.connect().await?.orchestrator.describe_service(name).await
    }

    async fn find_service(&self, name: &str) -> PortResult<Option<ServiceDescription>> {
        self.connect().await?.orchestrator.find_service(name).await
    }

    async fn service_tags(&self, name: &str) -> PortResult<Option<Tags>> {
        self.connect().await?.orchestrator.service_tags(name).await
    }

    async fn adopt_service(&self, name: &str, tags: &Tags) -> PortResult<Option<ServiceDescription>> {
        self.connect().await?.orchestrator.adopt_service(name, tags).await
    }

    async fn continue_deployment(&self, service: &str, only: &[String]) -> PortResult<bool> {
        self.connect().await?.orchestrator.continue_deployment(service, only).await
    }

    async fn stop_deployment(&self, service: &str, how: StopDeployment) -> PortResult<bool> {
        self.connect().await?.orchestrator.stop_deployment(service, how).await
    }

    async fn scale_service(&self, name: &str, desired_count: u32) -> PortResult<()> {
        self.connect().await?.orchestrator.scale_service(name, desired_count).await
    }

    async fn delete_service(&self, name: &str) -> PortResult<()> {
        self.connect().await?.orchestrator.delete_service(name).await
    }

    async fn run_task(&self, request: &RunTaskRequest) -> PortResult<String> {
        self.connect().await?.orchestrator.run_task(request).await
    }

    async fn main_container(&self, task_definition: &str) -> PortResult<String> {
        self.connect().await?.orchestrator.main_container(task_definition).await
    }

    async fn describe_task(&self, task: &str) -> PortResult<Option<TaskDescription>> {
        self.connect().await?.orchestrator.describe_task(task).await
    }

    async fn stop_task(&self, task: &str, reason: &str) -> PortResult<()> {
        self.connect().await?.orchestrator.stop_task(task, reason).await
    }

    async fn task_log_tail(&self, task: &str, lines: usize) -> PortResult<Vec<String>> {
        self.connect().await?.orchestrator.task_log_tail(task, lines).await
    }

    async fn tasks_of(&self, services: &[String]) -> PortResult<Vec<String>> {
        self.connect().await?.orchestrator.tasks_of(services).await
    }

    async fn follow_logs(
        &self,
        environment: &str,
        services: &[String],
        history: usize,
    ) -> PortResult<Box<dyn LogStream>> {
        self.connect().await?.orchestrator.follow_logs(environment, services, history).await
    }

    async fn documents(&self, service: &str) -> PortResult<Option<Documents>> {
        self.connect().await?.orchestrator.documents(service).await
    }

    async fn service_document(&self, name: &str) -> PortResult<Option<serde_json::Value>> {
        self.connect().await?.orchestrator.service_document(name).await
    }

    async fn desired_documents(&self, definition: &TaskDefinition, request: &PutService) -> PortResult<Documents> {
        self.connect().await?.orchestrator.desired_documents(definition, request).await
    }

    async fn preflight(&self, definition: &TaskDefinition, request: &PutService) -> PortResult<Vec<Looked>> {
        self.connect().await?.orchestrator.preflight(definition, request).await
    }

    /// Of the state directory's files: nothing is taken over for this.
    async fn images_in_use(&self) -> PortResult<Vec<String>> {
        landfall_local::images_in_use(&self.inner.state).await
    }

    async fn list_owned(
        &self,
        environment: Option<&str>,
        kinds: &[ResourceKind],
    ) -> PortResult<Listing<OwnedResource>> {
        self.connect().await?.orchestrator.list_owned(environment, kinds).await
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        self.connect().await?.orchestrator.delete_owned(resource).await
    }
}

#[async_trait]
impl LoadBalancer for LazyLocal {
    async fn put_target_group(&self, request: &EnsureTargetGroup) -> PortResult<Put> {
        self.connect().await?.load_balancer.put_target_group(request).await
    }

    async fn describe_target_group(&self, name: &str) -> PortResult<Option<TargetGroupDescription>> {
        self.connect().await?.load_balancer.describe_target_group(name).await
    }

    async fn delete_target_group(&self, name: &str, environment: &str) -> PortResult<()> {
        self.connect().await?.load_balancer.delete_target_group(name, environment).await
    }

    async fn target_health(&self, target_group: &str) -> PortResult<Vec<TargetHealth>> {
        self.connect().await?.load_balancer.target_health(target_group).await
    }

    async fn put_route(&self, route: &RouteTarget, target_group: &str, tags: &Tags) -> PortResult<Put> {
        self.connect().await?.load_balancer.put_route(route, target_group, tags).await
    }

    async fn delete_route(&self, route: &RouteTarget, environment: &str) -> PortResult<()> {
        self.connect().await?.load_balancer.delete_route(route, environment).await
    }

    async fn routes(&self) -> PortResult<Listing<RouteDescription>> {
        self.connect().await?.load_balancer.routes().await
    }

    async fn busy_ports(&self, first: u16, last: u16) -> PortResult<Vec<u16>> {
        self.connect().await?.load_balancer.busy_ports(first, last).await
    }

    async fn probe(&self, url: &str) -> PortResult<Option<u16>> {
        self.connect().await?.load_balancer.probe(url).await
    }

    async fn activity(&self) -> PortResult<Option<BTreeMap<String, Activity>>> {
        self.connect().await?.load_balancer.activity().await
    }

    async fn hold(&self, asleep: &BTreeMap<String, Hold>, timeout_ms: u64) -> PortResult<Option<Vec<String>>> {
        self.connect().await?.load_balancer.hold(asleep, timeout_ms).await
    }

    async fn address(&self) -> PortResult<Option<String>> {
        self.connect().await?.load_balancer.address().await
    }

    async fn list_owned(&self, environment: Option<&str>) -> PortResult<Listing<OwnedResource>> {
        self.connect().await?.load_balancer.list_owned(environment).await
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        self.connect().await?.load_balancer.delete_owned(resource).await
    }
}

#[async_trait]
impl Images for LazyLocal {
    async fn start_build(&self, key: &str, request: &BuildImage) -> PortResult<BuildState> {
        self.connect().await?.images.start_build(key, request).await
    }

    async fn poll_build(&self, key: &str) -> PortResult<BuildState> {
        self.connect().await?.images.poll_build(key).await
    }

    async fn cancel_build(&self, key: &str) -> PortResult<()> {
        self.connect().await?.images.cancel_build(key).await
    }

    async fn resolve(&self, request: &AwaitImage) -> PortResult<Option<String>> {
        self.connect().await?.images.resolve(request).await
    }

    async fn list_owned(&self, environment: Option<&str>) -> PortResult<Listing<OwnedResource>> {
        self.connect().await?.images.list_owned(environment).await
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        self.connect().await?.images.delete_owned(resource).await
    }
}

#[async_trait]
impl HookRunner for LazyLocal {
    async fn start(&self, key: &str, hook: &RunHook) -> PortResult<HookState> {
        self.connect().await?.hooks.start(key, hook).await
    }

    async fn poll(&self, key: &str) -> PortResult<HookState> {
        self.connect().await?.hooks.poll(key).await
    }

    async fn cancel(&self, key: &str) -> PortResult<()> {
        self.connect().await?.hooks.cancel(key).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    #[test]
    fn every_method_of_every_port_is_passed_on() {
        let here = include_str!("lazy.rs");
        let ports = concat!(env!("CARGO_MANIFEST_DIR"), "/../ports/src");
        for (file, port) in [
            ("orchestrator.rs", "Orchestrator"),
            ("load_balancer.rs", "LoadBalancer"),
            ("images.rs", "Images"),
            ("steps.rs", "HookRunner"),
        ] {
            let text = std::fs::read_to_string(format!("{ports}/{file}")).unwrap();
            let of = |text: &str, head: &str| -> Vec<String> {
                let body = text.split_once(head).unwrap().1.split_once("\n}").unwrap().0;
                let names = body.split("async fn ").skip(1);
                names.map(|rest| rest.split('(').next().unwrap().to_owned()).collect()
            };
            let wanted = of(&text, &format!("pub trait {port}:"));
            assert!(!wanted.is_empty());
            assert_eq!(of(here, &format!("impl {port} for LazyLocal {{")), wanted, "{port}");
        }
    }
}

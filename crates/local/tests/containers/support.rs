//! One platform per test, each with its own state directory and instance, all on one engine socket.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use landfall_local::docker::{BuildOptions, Docker};
use landfall_local::{EngineOptions, LocalOptions, LocalPlatform};
use landfall_model::app::{BalancingAlgorithm, CircuitBreaker, DeploymentConfiguration, TargetHealthCheck};
use landfall_model::inventory::{ResourceKind, Tags};
use landfall_model::step::EnsureTargetGroup;
use landfall_model::task::{ContainerDefinition, ContainerSettings, TaskDefinition};
use landfall_ports::orchestrator::{
    DeploymentDescription, Orchestrator, PutService, RolloutState, RunTaskRequest, ServiceDescription, TargetBinding,
    TaskDescription,
};
use landfall_ports::{PortError, PortResult};
use landfall_router::{LocalRouter, ServeConfig};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Stays for the next run. Another content, another tag.
pub(crate) const IMAGE: &str = "localhost/landfall-test-busybox:2";
const ENGINE_DIRECTORY: &str = "landfall-test-engine";

pub(crate) struct World {
    pub platform: LocalPlatform,
    pub options: LocalOptions,
    pub environment: String,
    router: Option<LocalRouter>,
    _state: TempDir,
}

/// Shared by all test processes of this user, so that one engine service serves them all.
fn engine_directory() -> PathBuf {
    std::env::temp_dir().join(ENGINE_DIRECTORY)
}

fn without_engine_is_fine() -> bool {
    std::env::var("LANDFALL_TESTS_WITHOUT_ENGINE").is_ok_and(|value| value == "1")
}

/// Runs a test on a fresh platform, then destroys everything and checks that nothing is left.
pub(crate) fn with_world<F: Future<Output = World>>(test: impl FnOnce(World) -> F) {
    on_engine(Some(engine_directory()), test);
}

/// On an engine service of its own, which the test may kill. Where the engine is not ours to start, this is `with_world`.
pub(crate) fn with_own_engine<F: Future<Output = World>>(test: impl FnOnce(World) -> F) {
    on_engine(None, test);
}

/// What a test that failed leaves would hold images and networks that the next ones need.
#[derive(Default)]
struct Leftovers(OnceLock<(Docker, String)>);

impl Drop for Leftovers {
    fn drop(&mut self) {
        let Some((docker, label)) = self.0.get().filter(|_| std::thread::panicking()) else { return };
        let labels = [label.clone()];
        let sweep = async || {
            let containers = docker.list_containers(&labels).await?;
            let networks = docker.list_networks(&labels).await?;
            let nothing = containers.is_empty() && networks.is_empty();
            // In use by what goes first: the next round takes it.
            for container in containers {
                let _ = docker.remove_container(&container.id).await;
            }
            for network in networks {
                let _ = docker.remove_network(&network.id).await;
            }
            Ok::<_, landfall_local::docker::DockerError>(nothing)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let swept = runtime.block_on(async {
            for _ in 0..50 {
                if matches!(sweep().await, Ok(true)) {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            false
        });
        if !swept {
            eprintln!("{label}: something is left");
        }
    }
}

fn on_engine<F: Future<Output = World>>(directory: Option<PathBuf>, test: impl FnOnce(World) -> F) {
    // Before the runtime, so that it goes after it: by then nothing starts anything any more.
    let leftovers = Leftovers::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = match World::new(directory).await {
            Ok(world) => world,
            Err(PortError::Invalid(text)) if text.contains("LF-ENGINE-MISSING") && without_engine_is_fine() => {
                eprintln!("skipped: {text}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let label = format!("landfall.instance={}", world.options.instance);
        leftovers.0.get_or_init(|| (world.docker().clone(), label));
        test(world).await.destroy().await;
    });
}

async fn image(docker: &Docker) {
    static BUILT: OnceLock<OnceCell<()>> = OnceLock::new();
    let build = || async {
        if docker.inspect_image(IMAGE).await.is_ok() {
            return;
        }
        let mut tar = tar::Builder::new(Vec::new());
        let busybox =
            std::fs::read("/bin/busybox").expect("busybox-static is not installed: apt-get install busybox-static");
        let dockerfile: &[u8] = b"FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n";
        for (path, mode, bytes) in [("Dockerfile", 0o644, dockerfile), ("busybox", 0o755, &busybox)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(mode);
            tar.append_data(&mut header, path, bytes).unwrap();
        }
        let options =
            BuildOptions { tag: IMAGE.to_owned(), dockerfile: "Dockerfile".to_owned(), ..BuildOptions::default() };
        docker.build(tar.into_inner().unwrap().into(), &options, |_| {}).await.unwrap();
    };
    BUILT.get_or_init(OnceCell::new).get_or_init(build).await;
}

impl World {
    async fn new(directory: Option<PathBuf>) -> PortResult<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let state = tempfile::tempdir().unwrap();
        let id = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut options = LocalOptions::new(state.path(), &format!("test-{id}"));
        options.engine = EngineOptions { socket: None, directory: directory.clone() };
        let router = LocalRouter::start(ServeConfig::new(state.path())).await.unwrap();
        let platform = LocalPlatform::connect(options.clone()).await?;
        image(&platform.engine().docker).await;
        platform.start().await?;
        Ok(Self { platform, options, environment: format!("env-{id}"), router: Some(router), _state: state })
    }

    /// As after a crash of the process: nothing is stopped, a new platform takes over.
    pub(crate) async fn restart(&mut self) {
        self.platform.shutdown();
        self.platform = LocalPlatform::connect(self.options.clone()).await.unwrap();
        self.platform.start().await.unwrap();
    }

    pub(crate) fn docker(&self) -> &Docker {
        &self.platform.engine().docker
    }

    pub(crate) fn tags(&self) -> Tags {
        [("landfall".to_owned(), self.environment.clone())].into()
    }

    pub(crate) async fn register(&self, containers: Vec<ContainerDefinition>) -> String {
        let definition = TaskDefinition { family: self.environment.clone(), containers, ..TaskDefinition::default() };
        self.platform.register_task_definition(&definition, &self.tags()).await.unwrap().handle
    }

    pub(crate) async fn run(&self, containers: Vec<ContainerDefinition>) -> String {
        let task_definition = self.register(containers).await;
        let request = RunTaskRequest {
            token: task_definition.clone(),
            task_definition,
            container: None,
            command: Vec::new(),
            environment: BTreeMap::new(),
            service: None,
            tags: self.tags(),
        };
        self.platform.run_task(&request).await.unwrap()
    }

    pub(crate) async fn task(&self, id: &str) -> TaskDescription {
        self.platform.describe_task(id).await.unwrap().expect("no such task")
    }

    pub(crate) async fn until_task(
        &self,
        id: &str,
        what: &str,
        done: impl Fn(&TaskDescription) -> bool,
    ) -> TaskDescription {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            let task = self.task(id).await;
            if done(&task) {
                return task;
            }
            assert!(Instant::now() < deadline, "never {what}: {task:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn stopped(&self, id: &str) -> TaskDescription {
        self.until_task(id, "stopped", |task| task.last_status == "STOPPED").await
    }

    pub(crate) fn name(&self) -> String {
        format!("{}-service", self.environment)
    }

    pub(crate) fn service(&self, task_definition: &str, desired: u32) -> PutService {
        PutService {
            launch_type: landfall_model::task::LaunchType::Local,
            name: self.name(),
            task_definition: task_definition.to_owned(),
            desired_count: desired,
            keep_count: false,
            deployment: DeploymentConfiguration {
                minimum_healthy_percent: 100,
                maximum_percent: 200,
                circuit_breaker: CircuitBreaker { enable: true, rollback: true, threshold: None },
                health_check_grace_period: 0,
                timeout: 120,
                strategy: Default::default(),
                alarms: None,
            },
            target: None,
            tags: self.tags(),
            adopt: false,
            replace: None,
            document: None,
        }
    }

    /// The same with a target group behind it.
    pub(crate) async fn web_service(&self, task_definition: &str, desired: u32) -> PutService {
        let group = format!("{}-tg", self.environment);
        let request = EnsureTargetGroup {
            launch_type: landfall_model::task::LaunchType::Local,
            name: group.clone(),
            base: None,
            port: 8080,
            health_check: TargetHealthCheck {
                protocol: landfall_model::app::HealthCheckProtocol::Http,
                path: "/".to_owned(),
                port: None,
                interval_ms: 200,
                timeout_ms: 1000,
                healthy_threshold: 1,
                unhealthy_threshold: 20,
                matcher: "200-404".to_owned(),
            },
            deregistration_delay: 1,
            algorithm: BalancingAlgorithm::RoundRobin,
            idle_timeout: 30,
            tags: self.tags(),
        };
        self.platform.ports().load_balancer.put_target_group(&request).await.unwrap();
        let mut service = self.service(task_definition, desired);
        service.target = Some(TargetBinding { target_group: group, container: "app".to_owned(), port: 8080 });
        service
    }

    pub(crate) async fn put(&self, request: &PutService) -> String {
        self.platform.put_service(request).await.unwrap().deployment
    }

    pub(crate) async fn describe(&self) -> ServiceDescription {
        self.platform.describe_service(&self.name()).await.unwrap().expect("no such service")
    }

    pub(crate) async fn until_service(
        &self,
        what: &str,
        done: impl Fn(&ServiceDescription) -> bool,
    ) -> ServiceDescription {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            let service = self.describe().await;
            if done(&service) {
                return service;
            }
            assert!(Instant::now() < deadline, "never {what}: {service:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn completed(&self, deployment: &str) -> ServiceDescription {
        self.until_service("completed", |service| of(service, deployment).rollout == RolloutState::Completed).await
    }

    /// Ids of the running tasks and of their containers.
    pub(crate) async fn containers(&self) -> Vec<(String, String)> {
        let found = self.docker().list_containers(&[format!("landfall={}", self.environment)]).await.unwrap();
        let mut ids: Vec<_> = found.into_iter().map(|c| (c.name().to_owned(), c.id)).collect();
        ids.sort();
        ids
    }

    /// Destroys as a sweep does, and fails if anything is left.
    async fn destroy(mut self) {
        let platform = &self.platform;
        let ports = platform.ports();
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            let mut left = match platform.list_owned(None, &ResourceKind::ALL).await {
                Ok(listing) => listing.items,
                // Podman fails whole listings while a container of any test goes.
                Err(error) => {
                    assert!(Instant::now() < deadline, "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            left.extend(ports.load_balancer.list_owned(None).await.unwrap().items);
            left.extend(ports.images.list_owned(None).await.unwrap().items);
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "left: {left:#?}");
            for resource in &left {
                // In use by what goes first: the next round takes it.
                let _ = match resource.kind {
                    ResourceKind::Image => ports.images.delete_owned(resource).await,
                    ResourceKind::TargetGroup | ResourceKind::Rule | ResourceKind::Listener => {
                        ports.load_balancer.delete_owned(resource).await
                    }
                    _ => platform.delete_owned(resource).await,
                };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let label = [format!("landfall.instance={}", self.options.instance)];
        assert_eq!(self.docker().list_containers(&label).await.unwrap().len(), 0);
        assert_eq!(self.docker().list_networks(&label).await.unwrap().len(), 0);
        let logs = self.options.state_dir.join("local/logs");
        assert_eq!(std::fs::read_dir(logs).unwrap().count(), 0, "logs are left");
        self.platform.shutdown();
        if self.options.engine.directory.is_none() {
            landfall_local::engine::stop_service(&self.options.state_dir.join("engine")).unwrap();
        }
        if let Some(router) = self.router.take() {
            router.stop().await.unwrap();
        }
    }
}

pub(crate) fn of<'a>(service: &'a ServiceDescription, deployment: &str) -> &'a DeploymentDescription {
    service.deployments.iter().find(|found| found.id == deployment).expect("deployment gone")
}

pub(crate) fn container(name: &str, script: &str) -> ContainerDefinition {
    ContainerDefinition {
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        settings: ContainerSettings {
            command: vec!["/bin/busybox".to_owned(), "sh".to_owned(), "-c".to_owned(), script.to_owned()],
            essential: true,
            stop_timeout: 2,
            ..ContainerSettings::default()
        },
    }
}

/// Answers every request; ends at once on SIGTERM.
pub(crate) fn web(version: &str) -> ContainerDefinition {
    let script = format!(
        "/bin/busybox mkdir -p /w; echo {version} > /w/index.html; trap 'exit 0' TERM; \
         /bin/busybox httpd -f -p 8080 -h /w & wait"
    );
    container("app", &script)
}

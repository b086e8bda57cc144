//! `landfall up`: one service of the manifest in the foreground, images built from the working tree as it is or pulled as they were
//! pushed, logs merged; on Ctrl-C it is gone.
//!
//! It is an installation of its own below the state directory (`up/PROJECT-SERVICE`), so that it needs no server and touches
//! nothing of one. One that was killed is cleared away by the next.

mod from;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_local::{LocalOptions, LocalPlatform};
use landfall_model::app::{App, AwaitSource, BuildSource, ContainerTemplate, ImageSource, Service};
use landfall_model::inventory::{ResourceKind, TAG_ENVIRONMENT, TAG_INSTANCE, TAG_SERVICE, Tags};
use landfall_model::step::{EnsureTargetGroup, RouteTarget};
use landfall_model::task::{ContainerDefinition, LaunchType, TaskDefinition};
use landfall_ports::Platform;
use landfall_ports::orchestrator::{PutService, RolloutState, TargetBinding};

use crate::cli::{Global, UpArgs};
use crate::commands::logs::Palette;
use crate::commands::serve::router_command;
use crate::commands::{engine_options, manifest, port_error};
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::paths;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};

/// For requests that the load balancer still has; then it ends by itself.
const ROUTER_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: &UpArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = match &args.repository {
        Some(repository) => from::application(repository)?,
        None => manifest::load(&global.config, printer)?,
    };
    // A manifest says where the container listens, and a load balancer is before it.
    let published = args.port.filter(|_| args.repository.is_some());
    if let (Some((host, container)), None) = (args.port, published)
        && host != container
    {
        return Err(CliError::new(
            ExitCode::Usage,
            "the manifest says what the container listens at: write --port PORT",
        ));
    }
    let service = choose(&app, args.service.as_deref())?;
    let environment = format!("{}-{}", app.project, service.name);
    let state = paths::state_dir(global.state.clone())?.join("up").join(&environment);
    let _lock = paths::lock(&state, "up.lock", || {
        CliError::new(ExitCode::Locked, "another `landfall up` runs this service").hint("stop it with Ctrl-C first")
    })?;
    let root = paths::root(&global.config)?;
    // All that can be wrong with it is known before an engine is started.
    let variables = from::variables(&args.env_file)?;
    let pushed = match &args.from {
        Some(version) => from::images(&app, service, version, &root, printer).await?,
        None => BTreeMap::new(),
    };
    let instance = format!("up-{environment}-{:016x}", fingerprint(&state));
    let router_state = state.clone();
    let options = LocalOptions {
        engine: engine_options(),
        router: Some(Arc::new(move || router_command(&router_state))),
        ports: args.debug_ports.iter().copied().chain(published).collect(),
        ..LocalOptions::new(&state, &instance)
    };
    let local = LocalPlatform::connect(options).await.map_err(port_error)?;
    local.start().await.map_err(port_error)?;
    let up =
        Up { platform: local.ports(), local, service, environment, instance, variables, pushed, printer: *printer };
    up.clear(false).await;
    let result = tokio::select! {
        result = up.work(&root, args.port.map(|(host, _)| host), published.is_some()) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    printer.note("going down");
    let left = up.clear(true).await;
    up.local.shutdown();
    let router = landfall_router::client::RouterClient::new(&state);
    // It serves nobody but us, and its port is free for the next one when we are done.
    if let Ok(info) = router.ping().await
        && router.shutdown().await.is_ok()
    {
        ended(info.pid).await;
    }
    let stopped = landfall_local::engine::stop_service(&state.join("engine"));
    result?;
    stopped.map_err(port_error)?;
    if left.is_empty() {
        return Ok(ExitCode::Ok);
    }
    Err(left
        .into_iter()
        .fold(CliError::new(ExitCode::RollbackFailed, "something is left behind"), |error, left| error.hint(left)))
}

/// A process that is stopping, or patience.
async fn ended(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return };
    let deadline = Instant::now() + ROUTER_PATIENCE;
    while rustix::process::test_kill_process(pid).is_ok() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn choose<'a>(app: &'a App, wanted: Option<&str>) -> CliResult<&'a Service> {
    if let Some(wanted) = wanted {
        return app
            .services
            .get(wanted)
            .ok_or_else(|| not_found("service", wanted, app.services.keys().map(String::as_str)));
    }
    let with_url = app.services.values().find(|service| service.load_balancer.is_some());
    with_url
        .or_else(|| app.services.values().next())
        .ok_or_else(|| CliError::new(ExitCode::NotFound, "the manifest has no service"))
}

/// The same for the same directory, so that the next run finds what a killed one left.
fn fingerprint(state: &Path) -> u64 {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(state.as_os_str().as_encoded_bytes());
    digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

struct Up<'a> {
    local: LocalPlatform,
    platform: Platform,
    service: &'a Service,
    environment: String,
    instance: String,
    /// For the service's own containers, over the manifest's.
    variables: BTreeMap<String, String>,
    /// By container.
    pushed: BTreeMap<String, from::Pinned>,
    printer: Printer,
}

impl Up<'_> {
    fn tags(&self) -> Tags {
        BTreeMap::from([
            (TAG_ENVIRONMENT.to_owned(), self.environment.clone()),
            (TAG_INSTANCE.to_owned(), self.instance.clone()),
            (TAG_SERVICE.to_owned(), self.service.name.clone()),
        ])
    }

    fn service_name(&self) -> String {
        format!("{}-service", self.environment)
    }

    fn target_group(&self) -> String {
        "up-tg".to_owned()
    }

    /// From the working tree.
    async fn built(
        &self,
        template: &ContainerTemplate,
        build: &BuildSource,
        root: &Path,
        progress: &Progress,
    ) -> CliResult<String> {
        progress.running(&format!("building {}", template.name));
        let since = Instant::now();
        let tag = format!("{}-{}:working-tree", self.environment, template.name);
        let (tags, mut tail) = (self.tags(), Vec::new());
        let built = self.local.build_directory(root, build, &tag, &tags, |line| tail.push(line.to_owned())).await;
        let image = built.map_err(|error| {
            let lines = tail[tail.len().saturating_sub(20)..].join("\n");
            CliError::new(ExitCode::Failed, format!("the image of {} cannot be built", template.name))
                .cause(&std::io::Error::other(format!("{lines}\n{error}")))
        })?;
        let said = format!("Image of {} built from the working tree", template.name);
        progress.line(Mark::Done, &said, Some(since.elapsed()));
        Ok(image)
    }

    /// Until it fails; it never ends well by itself.
    async fn work(&self, root: &Path, port: Option<u16>, published: bool) -> CliResult<()> {
        let progress = Progress::new(self.printer);
        let mut containers = Vec::new();
        for template in &self.service.containers {
            let image = match &template.image {
                ImageSource::Reference(reference) => reference.clone(),
                ImageSource::Build(build) => self.built(template, build, root, &progress).await?,
                ImageSource::Await(AwaitSource { build: Some(build), .. })
                    if !self.pushed.contains_key(&template.name) =>
                {
                    self.built(template, build, root, &progress).await?
                }
                ImageSource::Base => {
                    let message = format!("container {} runs what is in ECS's base task definition", template.name);
                    return Err(CliError::new(ExitCode::Usage, message)
                        .hint("`landfall up` runs the working tree: give the container an `image` or a `build`"));
                }
                ImageSource::Await(wanted) => {
                    let Some(pinned) = self.pushed.get(&template.name) else {
                        let message = format!(
                            "container {} takes the image that CI makes for a commit ({})",
                            template.name, wanted.image
                        );
                        return Err(CliError::new(ExitCode::Usage, message)
                            .hint("`--from latest`, or a commit or a tag, runs what was pushed")
                            .hint("`landfall up` alone runs the working tree: give the container a `build`"));
                    };
                    progress.running(&format!("pulling {}", pinned.image));
                    let since = Instant::now();
                    from::pull(&self.local.engine().docker, pinned, &self.printer).await?;
                    let said = format!("Image of {} pulled: {}", template.name, pinned.image);
                    progress.line(Mark::Done, &said, Some(since.elapsed()));
                    pinned.image.clone()
                }
            };
            let mut settings = template.settings.clone();
            settings.refer_to(landfall_model::secret::LOCAL);
            // What only CI knows is left out here.
            settings.ci_variables.clear();
            if !matches!(template.image, ImageSource::Reference(_)) {
                settings.environment.extend(self.variables.clone());
            }
            containers.push(ContainerDefinition { name: template.name.clone(), image, settings });
        }
        let definition = TaskDefinition {
            family: self.environment.clone(),
            base: None,
            launch_type: LaunchType::Local,
            cpu: self.service.cpu,
            memory: self.service.memory,
            containers,
            document: None,
        };
        let registered =
            self.platform.orchestrator.register_task_definition(&definition, &self.tags()).await.map_err(port_error)?;
        let url = match port {
            Some(port) if published => Some(format!("http://127.0.0.1:{port}/")),
            port => self.route(port).await?,
        };
        let since = Instant::now();
        let mut lines = self.local.follow_logs(&self.environment, None, 100);
        let request = PutService {
            name: self.service_name(),
            launch_type: LaunchType::Local,
            task_definition: registered.handle,
            desired_count: 1,
            keep_count: false,
            deployment: self.service.deployment.clone(),
            target: self.service.load_balancer.as_ref().map(|binding| TargetBinding {
                target_group: self.target_group(),
                container: binding.container.clone(),
                port: binding.port,
            }),
            tags: self.tags(),
            adopt: false,
            replace: None,
            document: None,
        };
        self.platform.orchestrator.put_service(&request).await.map_err(port_error)?;
        progress.running(&format!("starting {}", self.service.name));
        let mut palette = Palette::default();
        let mut told = false;
        let mut look = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                line = lines.recv() => {
                    let Some(line) = line else {
                        return Err(CliError::internal("the logs ended"));
                    };
                    if told { progress.finish(); }
                    self.printer.data(format_args!("{} {}", palette.paint(&line.container), line.line))?;
                }
                _ = look.tick() => {
                    if let Some(failure) = self.look(&mut told).await? {
                        return Err(failure);
                    }
                    if told && !progress.is_finished() {
                        progress.line(Mark::Done, &format!("{} is up", self.service.name), Some(since.elapsed()));
                        progress.finish();
                        if let Some(url) = &url { self.printer.note(url); }
                        self.printer.note("Ctrl-C takes it down; logs follow");
                    }
                }
            }
        }
    }

    /// Sets `up` once the deployment is complete; an error once it cannot be any more.
    async fn look(&self, up: &mut bool) -> CliResult<Option<CliError>> {
        let described = self.platform.orchestrator.describe_service(&self.service_name()).await.map_err(port_error)?;
        let Some(deployment) = described.as_ref().and_then(|service| service.deployments.first()) else {
            return Ok(None);
        };
        match deployment.rollout {
            RolloutState::InProgress => Ok(None),
            RolloutState::Completed => {
                *up = true;
                Ok(None)
            }
            RolloutState::Failed | RolloutState::RolledBack | RolloutState::RollbackFailed | RolloutState::Stopped => {
                let mut error = CliError::new(ExitCode::RolledBack, format!("{} does not come up", self.service.name));
                for task in &deployment.failures {
                    let reason = task.stopped_reason.clone().unwrap_or_else(|| task.last_status.clone());
                    error.causes.push(reason);
                    for container in &task.containers {
                        let code = container.exit_code.map_or(String::new(), |code| format!(" exited with {code}"));
                        let why = container.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
                        if !(code.is_empty() && why.is_empty()) {
                            error.causes.push(format!("{}{code}{why}", container.name));
                        }
                    }
                }
                error.causes.dedup();
                error.causes.truncate(6);
                Ok(Some(error))
            }
        }
    }

    async fn route(&self, port: Option<u16>) -> CliResult<Option<String>> {
        let Some(binding) = &self.service.load_balancer else { return Ok(None) };
        let request = EnsureTargetGroup {
            name: self.target_group(),
            launch_type: LaunchType::Local,
            base: None,
            port: binding.port,
            health_check: binding.health_check.clone(),
            deregistration_delay: 0,
            algorithm: binding.algorithm,
            idle_timeout: binding.idle_timeout,
            tags: self.tags(),
        };
        self.platform.load_balancer.put_target_group(&request).await.map_err(port_error)?;
        let port = match port {
            Some(port) => port,
            None => free_port()?,
        };
        let route = RouteTarget::Port { port };
        self.platform.load_balancer.put_route(&route, &self.target_group(), &self.tags()).await.map_err(port_error)?;
        Ok(Some(route.url()))
    }

    /// Takes everything of this installation away, images only when `images`; what is left in spite of it.
    async fn clear(&self, images: bool) -> Vec<String> {
        let orchestrator = &self.platform.orchestrator;
        let deadline = Instant::now() + Duration::from_secs(150);
        let mut left = Vec::new();
        if orchestrator.delete_service(&self.service_name()).await.is_ok() {
            while matches!(orchestrator.describe_service(&self.service_name()).await, Ok(Some(_)))
                && Instant::now() < deadline
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        for _ in 0..3 {
            left.clear();
            let owned = [
                orchestrator.list_owned(None, &ResourceKind::ALL).await,
                self.platform.load_balancer.list_owned(None).await,
                self.platform.images.list_owned(None).await,
            ];
            let mut resources = Vec::new();
            for listing in owned {
                match listing {
                    Ok(listing) => resources.extend(listing.items),
                    Err(error) => left.push(error.to_string()),
                }
            }
            if !images {
                resources.retain(|resource| resource.kind != ResourceKind::Image);
            }
            if resources.is_empty() {
                break;
            }
            resources.sort_by_key(|resource| ResourceKind::ALL.iter().position(|kind| *kind == resource.kind));
            for resource in resources {
                let deleted = match resource.kind {
                    ResourceKind::Rule | ResourceKind::Listener | ResourceKind::TargetGroup => {
                        self.platform.load_balancer.delete_owned(&resource).await
                    }
                    ResourceKind::Image => self.platform.images.delete_owned(&resource).await,
                    _ => orchestrator.delete_owned(&resource).await,
                };
                if let Err(error) = deleted {
                    left.push(format!("{}: {error}", resource.name));
                }
            }
        }
        left
    }
}

fn free_port() -> CliResult<u16> {
    std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|addr| addr.port())
        .map_err(|error| CliError::io("no free port on 127.0.0.1", &error))
}

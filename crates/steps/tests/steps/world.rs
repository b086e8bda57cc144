//! A manifest with one of everything, an environment of it, and plans carried out without an engine.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use landfall_model::Timestamp;
use landfall_model::app::*;
use landfall_model::environment::{EnvironmentKey, EnvironmentRecord, Phase, SourceRef, Wanted};
use landfall_model::ids::{DeliveryId, EnvironmentId, ExecutionId, IdempotencyKey, RepositoryKey, StepId};
use landfall_model::task::ContainerSettings;
use landfall_planner::names::service_name;
use landfall_planner::{PlanInputs, PlanKind, destroy, environment_names, preview};
use landfall_ports::orchestrator::Orchestrator;
use landfall_ports::steps::{Progress, StepContext, StepExecutor};
use landfall_steps::Steps;
use landfall_testkit::platform::{Behaviour, FakePlatform};
use landfall_workflow::event::{StepError, idempotency_key};
use landfall_workflow::{Plan, outputs};
use serde_json::Value;

pub(crate) const FIRST: &str = "1111111aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const SECOND: &str = "2222222bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn settings() -> ContainerSettings {
    ContainerSettings { essential: true, stop_timeout: 30, ..ContainerSettings::default() }
}

pub(crate) fn deployment() -> DeploymentConfiguration {
    DeploymentConfiguration {
        minimum_healthy_percent: 100,
        maximum_percent: 200,
        circuit_breaker: CircuitBreaker { enable: true, rollback: true, threshold: None },
        health_check_grace_period: 5,
        timeout: 300,
        strategy: Default::default(),
        alarms: None,
    }
}

fn web() -> Service {
    let build = BuildSource {
        context: ".".to_owned(),
        dockerfile: "Dockerfile".to_owned(),
        args: BTreeMap::new(),
        target: None,
        timeout: 600,
    };
    Service {
        launch_type: landfall_model::task::LaunchType::Fargate,
        base_task_definition: None,
        documents: None,
        name: "app".to_owned(),
        cpu: Some(256),
        memory: Some(512),
        containers: vec![
            ContainerTemplate { name: "app".to_owned(), image: ImageSource::Build(build), settings: settings() },
            ContainerTemplate {
                name: "proxy".to_owned(),
                image: ImageSource::Reference("docker.io/library/nginx:1.29".to_owned()),
                settings: ContainerSettings { ports: vec![8080], ..settings() },
            },
        ],
        desired_count: 1,
        deployment: deployment(),
        load_balancer: Some(LoadBalancerBinding {
            container: "proxy".to_owned(),
            port: 8080,
            health_check: TargetHealthCheck {
                protocol: landfall_model::app::HealthCheckProtocol::Http,
                path: "/".to_owned(),
                port: None,
                interval_ms: 500,
                timeout_ms: 400,
                healthy_threshold: 2,
                unhealthy_threshold: 2,
                matcher: "200-399".to_owned(),
            },
            deregistration_delay: 5,
            algorithm: BalancingAlgorithm::RoundRobin,
            idle_timeout: 60,
        }),
    }
}

fn worker() -> Service {
    let image = AwaitSource {
        image: "registry.example/worker:{short_commit}".to_owned(),
        label: None,
        deadline: 900,
        build: None,
        tags: Vec::new(),
    };
    Service {
        launch_type: landfall_model::task::LaunchType::Fargate,
        base_task_definition: None,
        documents: None,
        name: "worker".to_owned(),
        cpu: None,
        memory: None,
        containers: vec![ContainerTemplate {
            name: "worker".to_owned(),
            image: ImageSource::Await(image),
            settings: settings(),
        }],
        desired_count: 1,
        deployment: deployment(),
        load_balancer: None,
    }
}

/// One service behind a host rule, no hooks.
pub(crate) fn app() -> App {
    let key = RepositoryKey::new("my-project");
    let repository = Repository {
        key: key.clone(),
        github: None,
        github_id: None,
        source: Some("/srv/git/my-project".to_owned()),
        omit: None,
    };
    App {
        project: "my-project".to_owned(),
        repositories: BTreeMap::from([(key, repository)]),
        services: BTreeMap::from([("app".to_owned(), web()), ("worker".to_owned(), worker())]),
        environments: BTreeMap::new(),
        previews: Some(Previews {
            on: None,
            branches: vec!["feature/*".to_owned()],
            ignore: Vec::new(),
            pull_requests: true,
            services: vec!["app".to_owned()],
            desired_count: None,
            variables: BTreeMap::new(),
            routing: Routing::Host { domain: "my-project.localhost".to_owned(), port: 8080 },
            ttl: None,
            limits: Limits { max_previews: None, concurrent_builds: 2, concurrent_executions: 8 },
            hooks: Vec::new(),
            sleep: None,
        }),
        notifications: Vec::new(),
        webhook_secrets: Vec::new(),
        aws: BTreeMap::new(),
        chatops: None,
        ci: None,
        pipelines: BTreeMap::new(),
    }
}

pub(crate) fn with_ports(mut app: App) -> App {
    app.previews.as_mut().unwrap().routing = Routing::Ports { first: 9000, last: 9009 };
    app
}

fn hook(name: &str, when: HookPoint, run: HookAction, rerunnable: bool) -> Hook {
    Hook { name: name.to_owned(), when, run, timeout: 60, on_failure: HookFailure::Fail, rerunnable }
}

fn command() -> HookAction {
    HookAction::Command { argv: vec!["true".to_owned()], directory: None }
}

fn http() -> HookAction {
    let url = "http://127.0.0.1:1/hook".to_owned();
    HookAction::Http {
        url,
        method: "POST".to_owned(),
        headers: BTreeMap::new(),
        secret: None,
        secret_headers: BTreeMap::new(),
    }
}

fn task() -> HookAction {
    HookAction::Task { service: "app".to_owned(), container: None, command: vec!["migrate".to_owned()] }
}

/// Two services, an awaited image, and hooks of every kind at every point. Those named `once-` may not be run again.
pub(crate) fn full() -> App {
    let mut app = app();
    let previews = app.previews.as_mut().unwrap();
    previews.services = vec!["app".to_owned(), "worker".to_owned()];
    previews.hooks = vec![
        hook("once-prepare", HookPoint::BeforeCreate, command(), false),
        hook("migrate", HookPoint::BeforeCreate, task(), false),
        hook("announce", HookPoint::AfterCreate, http(), true),
        hook("migrate-again", HookPoint::BeforeUpdate, task(), false),
        hook("once-refresh", HookPoint::AfterUpdate, command(), false),
        hook("dump", HookPoint::BeforeDestroy, task(), false),
        hook("once-farewell", HookPoint::BeforeDestroy, command(), false),
        hook("forget", HookPoint::AfterDestroy, http(), true),
    ];
    app
}

/// As `full`, with a task to run when all else is gone.
pub(crate) fn with_last_task() -> App {
    let mut app = full();
    app.previews.as_mut().unwrap().hooks.push(hook("drop-database", HookPoint::AfterDestroy, task(), false));
    app
}

pub(crate) fn record(app: &App, branch: &str) -> EnvironmentRecord {
    let key =
        EnvironmentKey { repository: RepositoryKey::new("my-project"), source: SourceRef::Branch(branch.to_owned()) };
    let names = environment_names(app, &key);
    let cause = DeliveryId::new("delivery-1");
    EnvironmentRecord {
        revision: 1,
        phase: Phase::Creating,
        port: Some(9003),
        commit: Some(FIRST.to_owned()),
        ..EnvironmentRecord::new(key, names, Wanted::default(), cause, Timestamp::UNIX_EPOCH)
    }
}

/// One environment on one platform, and the plans for it.
pub(crate) struct Place {
    pub(crate) app: App,
    pub(crate) record: EnvironmentRecord,
    pub(crate) fake: FakePlatform,
    /// One-off tasks that were run while the world of before was made.
    pub(crate) earlier_tasks: Cell<u64>,
}

impl Place {
    pub(crate) fn new(app: App) -> Self {
        let available = [FIRST, SECOND].map(|commit| format!("registry.example/worker:{}", &commit[..7]));
        let behaviour =
            Behaviour { patience: 1, available_images: available.into_iter().collect(), ..Behaviour::default() };
        let record = record(&app, "feature/test123");
        Self { app, record, fake: FakePlatform::new(behaviour), earlier_tasks: Cell::new(0) }
    }

    pub(crate) fn environment(&self) -> &str {
        self.record.id.as_str()
    }

    fn inputs(&self, execution: &str) -> PlanInputs {
        let names = &self.record.names;
        let services = [("app", true), ("worker", false)];
        let running = |(service, first)| {
            let definition = self.fake.definition_of(&service_name(names, service, first))?;
            Some((service.to_owned(), definition))
        };
        PlanInputs {
            instance: "this".to_owned(),
            execution: ExecutionId::new(execution),
            parent: None,
            running: services.into_iter().filter_map(running).collect(),
            owned: now(Orchestrator::list_owned(
                &self.fake,
                Some(self.environment()),
                &landfall_model::inventory::ResourceKind::ALL,
            ))
            .unwrap()
            .items,
        }
    }

    pub(crate) fn create(&self, execution: &str, commit: &str) -> Plan {
        self.deploy(PlanKind::Create, execution, commit)
    }

    pub(crate) fn update(&self, execution: &str, commit: &str) -> Plan {
        self.deploy(PlanKind::Update, execution, commit)
    }

    fn deploy(&self, kind: PlanKind, execution: &str, commit: &str) -> Plan {
        let planned = preview(&self.app, &self.record, kind, Some(commit), &self.inputs(execution)).unwrap();
        assert_eq!(planned.warnings, Vec::<String>::new());
        planned.plan
    }

    pub(crate) fn destroy(&self, execution: &str) -> Plan {
        destroy(&self.app, &self.record, &self.inputs(execution)).plan
    }

    pub(crate) fn steps(&self) -> Steps {
        Steps::new(self.fake.platform())
    }

    /// Carries a plan out, step after step, as far as it goes.
    pub(crate) fn carry_out(&self, execution: &str, plan: &Plan) -> Result<BTreeMap<StepId, Value>, StepError> {
        self.carry_out_until(execution, plan, None)
    }

    pub(crate) fn carry_out_until(
        &self,
        execution: &str,
        plan: &Plan,
        last: Option<&str>,
    ) -> Result<BTreeMap<StepId, Value>, StepError> {
        let mut done: BTreeMap<StepId, Value> = BTreeMap::new();
        for index in plan.order().unwrap() {
            let step = &plan.steps[index];
            let params = outputs::resolve(&step.params, &|id: &str| done.get(&StepId::new(id))).unwrap();
            let cx = context(execution, plan.environment.as_str(), step.id.as_str());
            done.insert(step.id.clone(), finish(&self.steps(), &cx, &params)?);
            if last == Some(step.id.as_str()) {
                break;
            }
        }
        self.earlier_tasks.set(self.fake.task_runs());
        Ok(done)
    }
}

pub(crate) fn context(execution: &str, environment: &str, step: &str) -> StepContext {
    let (execution, step) = (ExecutionId::new(execution), StepId::new(step));
    let key: IdempotencyKey = idempotency_key(&execution, &step, 1);
    StepContext {
        execution,
        environment: EnvironmentId::new(environment),
        step,
        key,
        attempt: 1,
        now: Timestamp::UNIX_EPOCH,
    }
}

/// Starts and polls until it is done or has failed.
pub(crate) fn finish(steps: &dyn StepExecutor, cx: &StepContext, params: &Value) -> Result<Value, StepError> {
    let mut progress = now(steps.start(cx, params))?;
    for _ in 0..50 {
        match progress {
            Progress::Done(output) => return Ok(output),
            Progress::Pending { token, .. } => progress = now(steps.poll(cx, params, &token))?,
        }
    }
    panic!("{} never ends", cx.step)
}

/// The platform in memory never waits, so one poll is enough.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a call on the platform in memory waited"),
    }
}

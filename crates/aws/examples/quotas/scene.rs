//! Ten projects on one account, and the plans of their previews.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_awsfake::Handle;
use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_model::aws::AwsTarget;
use landfall_model::environment::{EnvironmentKey, EnvironmentRecord, Phase, SourceRef, Wanted};
use landfall_model::ids::{DeliveryId, ExecutionId, RepositoryKey};
use landfall_planner::{PlanInputs, PlanKind, environment_names, preview};
use landfall_ports::Platform;
use landfall_ports::clock::Clock;
use landfall_ports::steps::{Progress, StepContext, StepExecutor};
use landfall_steps::Steps;
use landfall_testkit::platform::FakePlatform;
use landfall_workflow::Plan;
use landfall_workflow::event::StepError;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::wire::Wire;

pub(crate) const PROJECTS: usize = 10;
const INSTANCE: &str = "quotas";
const COMMIT: &str = "1111111aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// As `landfall` paces polls of AWS.
const MIN_POLL_MS: u64 = 1_000;

pub(crate) struct Place {
    app: App,
    steps: Steps,
}

fn project(number: usize) -> String {
    format!("p{number}")
}

pub(crate) async fn places(fake: &Handle, endpoint: &str) -> Vec<Place> {
    fake.call("ecs", "CreateCluster", json!({"clusterName": "main"})).unwrap();
    let wire = Wire::new(fake);
    let mut places = Vec::new();
    for number in 0..PROJECTS {
        let balancer = json!({"Name": project(number), "Subnets": ["subnet-1", "subnet-2"]});
        fake.call("elasticloadbalancing", "CreateLoadBalancer", balancer).unwrap();
        let target = AwsTarget {
            name: "main".to_owned(),
            region: Some(landfall_awsfake::REGION.to_owned()),
            endpoint: Some(endpoint.to_owned()),
            cluster: "main".to_owned(),
            load_balancer: Some(project(number)),
            subnets: vec!["subnet-1".to_owned(), "subnet-2".to_owned()],
            ..AwsTarget::default()
        };
        let options = AwsOptions { instance: INSTANCE.to_owned() };
        let credentials = SharedCredentialsProvider::new(Credentials::new("bench", "bench", None, None, "bench"));
        let aws = AwsPlatform::connect_over(&target, options, credentials, wire.client()).await.unwrap();
        let platform = Platform {
            orchestrator: aws.orchestrator(),
            load_balancer: aws.load_balancer(),
            images: aws.images(None),
            hooks: aws.hooks(Arc::new(FakePlatform::default())),
            min_poll_ms: MIN_POLL_MS,
        };
        places.push(Place { app: app(&project(number), &target), steps: Steps::new(platform) });
    }
    // Load balancers take a while to become active.
    fake.settle(u64::try_from(Duration::from_secs(300).as_millis()).unwrap());
    places
}

/// One service behind a host rule.
fn app(project: &str, target: &AwsTarget) -> App {
    let image = format!("registry.invalid/app@sha256:{:064x}", 1);
    let check = json!({"path": "/", "port": null, "interval_ms": 5_000, "timeout_ms": 4_000, "healthy_threshold": 2,
        "unhealthy_threshold": 2, "matcher": "200-399"});
    serde_json::from_value(json!({
        "project": project,
        "repositories": {project: {"key": project, "github": null, "github_id": null, "source": null, "omit": null}},
        "services": {"web": {
            "name": "web", "launch_type": "fargate", "cpu": 256, "memory": 512, "desired_count": 1,
            "containers": [{"name": "app", "image": {"reference": image},
                "settings": {"ports": [8080], "essential": true, "stop_timeout": 30}}],
            "deployment": {"minimum_healthy_percent": 100, "maximum_percent": 200, "health_check_grace_period": 60,
                "timeout": 900, "circuit_breaker": {"enable": true, "rollback": true, "threshold": null}},
            "load_balancer": {"container": "app", "port": 8080, "health_check": check, "deregistration_delay": 5,
                "algorithm": "round_robin", "idle_timeout": 60},
        }},
        "environments": {},
        "previews": {
            "on": "main", "branches": ["feature/*"], "ignore": [], "pull_requests": false, "services": ["web"],
            "desired_count": null, "variables": {}, "routing": {"host": {"domain": format!("{project}.invalid"), "port": 80}},
            "ttl": null, "limits": {"max_previews": null, "concurrent_builds": 1, "concurrent_executions": 1}, "hooks": [],
        },
        "notifications": [],
        "webhook_secrets": [],
        "aws": {"main": serde_json::to_value(target).unwrap()},
    }))
    .unwrap()
}

fn record(app: &App, branch: &str) -> EnvironmentRecord {
    let key = EnvironmentKey {
        repository: RepositoryKey::new(app.project.clone()),
        source: SourceRef::Branch(branch.to_owned()),
    };
    let names = environment_names(app, &key);
    let cause = DeliveryId::new("bench");
    EnvironmentRecord {
        revision: 1,
        phase: Phase::Creating,
        commit: Some(COMMIT.to_owned()),
        ..EnvironmentRecord::new(key, names, Wanted::default(), cause, Timestamp::UNIX_EPOCH)
    }
}

/// Of the preview of branch `feature/bINDEX`.
pub(crate) fn plan(place: &Place, index: usize, execution: &ExecutionId) -> Plan {
    let inputs = PlanInputs {
        instance: INSTANCE.to_owned(),
        execution: execution.clone(),
        parent: None,
        running: BTreeMap::new(),
        owned: Vec::new(),
    };
    let record = record(&place.app, &format!("feature/b{index}"));
    preview(&place.app, &record, PlanKind::Create, Some(COMMIT), &inputs).unwrap().plan
}

/// The fake's time: it began at the real one's.
pub(crate) struct VirtualClock {
    began: Timestamp,
    since: Instant,
    draws: AtomicU64,
}

impl VirtualClock {
    pub(crate) fn of(fake: &Handle) -> Self {
        let began = Timestamp::from_millisecond(i64::try_from(fake.now()).unwrap()).unwrap();
        Self { began, since: Instant::now(), draws: AtomicU64::new(1) }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.began.checked_add(self.since.elapsed()).unwrap()
    }

    /// Spread, and the same in every run.
    fn entropy(&self) -> u64 {
        self.draws.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// Each project's steps on its own load balancer; requests to its URLs are answered, since the fake has no data plane.
pub(crate) struct Everywhere(BTreeMap<String, Steps>);

impl Everywhere {
    pub(crate) fn new(places: &[Place]) -> Self {
        Self(places.iter().map(|place| (place.app.project.clone(), place.steps.clone())).collect())
    }

    fn of(&self, cx: &StepContext) -> &Steps {
        &self.0[cx.environment.as_str().split('-').next().unwrap()]
    }
}

fn probed(params: &Value) -> Option<Progress> {
    let url = params.get("url.probe")?.get("url")?;
    Some(Progress::Done(json!({"url": url, "status": 200})))
}

#[async_trait]
impl StepExecutor for Everywhere {
    async fn start(&self, cx: &StepContext, params: &Value) -> Result<Progress, StepError> {
        match probed(params) {
            Some(done) => Ok(done),
            None => self.of(cx).start(cx, params).await,
        }
    }

    async fn poll(&self, cx: &StepContext, params: &Value, token: &Value) -> Result<Progress, StepError> {
        self.of(cx).poll(cx, params, token).await
    }

    async fn undo(
        &self,
        cx: &StepContext,
        params: &Value,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> Result<Progress, StepError> {
        self.of(cx).undo(cx, params, output, token).await
    }
}

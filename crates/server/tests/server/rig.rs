//! Everything that outlives a crash (store, journal, platform, branches), and a server over it that can be killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use landfall_engine::{Engine, EngineConfig};
use landfall_model::Timestamp;
use landfall_model::app::{App, Repository};
use landfall_model::ids::RepositoryKey;
use landfall_model::inventory::Listing;
use landfall_pipeline::retention::Retention;
use landfall_ports::clock::Clock;
use landfall_ports::pipelines::{Nowhere, Outside};
use landfall_ports::source::{Branch, BranchSource};
use landfall_ports::stacks::Stacks;
use landfall_ports::store::{DeliveryOutcome, Store};
use landfall_ports::{PortError, PortResult};
use landfall_server::chat::Chat;
use landfall_server::{Control, ControlRequest, Metrics, Service, ServiceConfig, ServiceParts, public};
use landfall_steps::PlacedSteps;
use landfall_testkit::Mem;
use landfall_testkit::platform::FakePlatform;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const SECRET: &[u8] = b"It's a Secret to Everybody";

/// Goes as fast as real time, so that timeouts of the server mean what they say.
pub(crate) struct SystemClock {
    state: Mutex<u64>,
    ahead: Mutex<SignedDuration>,
}

impl SystemClock {
    fn new() -> Self {
        Self { state: Mutex::new(7), ahead: Mutex::new(SignedDuration::ZERO) }
    }

    /// As if it were that time now.
    pub(crate) fn set(&self, time: Timestamp) {
        *self.ahead.lock().unwrap() = time.duration_since(Timestamp::now());
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now() + *self.ahead.lock().unwrap()
    }

    fn entropy(&self) -> u64 {
        let mut state = self.state.lock().unwrap();
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state ^ (*state >> 31)
    }
}

/// The branches of the one repository: name → tip. `None`: cannot be listed.
#[derive(Clone, Default)]
pub(crate) struct FakeForge(pub(crate) Arc<Mutex<Option<BTreeMap<String, String>>>>);

#[async_trait]
impl BranchSource for FakeForge {
    async fn branches(&self, repository: &Repository) -> PortResult<Listing<Branch>> {
        if repository.source.is_none() {
            return Err(PortError::NotFound("no source".to_owned()));
        }
        let Some(branches) = self.0.lock().unwrap().clone() else {
            return Err(PortError::Unavailable("the forge is away".to_owned()));
        };
        let items: Vec<_> = branches.into_iter().map(|(name, commit)| Branch { name, commit }).collect();
        Ok(Listing { complete: !items.is_empty(), items, at: Timestamp::now() })
    }
}

#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) app: App,
    pub(crate) mem: Arc<Mem>,
    pub(crate) world: FakePlatform,
    pub(crate) forge: FakeForge,
    pub(crate) chat: Option<Chat>,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) stacks: BTreeMap<String, Arc<dyn Stacks>>,
    pub(crate) reconcile_every: Option<Duration>,
    pub(crate) runs: Option<Retention>,
    pub(crate) clock: Arc<SystemClock>,
}

/// An application without previews: whatever comes in is decided, and nothing is begun.
pub(crate) fn app() -> App {
    let key = RepositoryKey::new("my-project");
    let repository = Repository { key: key.clone(), github: None, github_id: None, source: None, omit: None };
    App {
        project: "my-project".to_owned(),
        repositories: BTreeMap::from([(key, repository)]),
        services: BTreeMap::new(),
        environments: BTreeMap::new(),
        previews: None,
        notifications: Vec::new(),
        webhook_secrets: Vec::new(),
        aws: BTreeMap::new(),
        chatops: None,
        ci: None,
        pipelines: BTreeMap::new(),
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self {
            app: app(),
            mem: Arc::new(Mem::default()),
            world: FakePlatform::default(),
            forge: FakeForge::default(),
            chat: None,
            outside: Arc::new(Nowhere),
            stacks: BTreeMap::new(),
            reconcile_every: None,
            runs: None,
            clock: Arc::new(SystemClock::new()),
        }
    }

    pub(crate) async fn service(&self) -> Service {
        let metrics = Metrics::new();
        let lasting = self.app.environments.values().map(|one| (one.id(&self.app.project), self.world.platform()));
        let steps = Arc::new(PlacedSteps::new(self.world.platform(), lasting));
        let engine = Engine::new(EngineConfig::new("test"), self.mem.clone(), steps, self.clock.clone())
            .with_observer(Arc::new(metrics.clone()));
        let parts = ServiceParts {
            app: self.app.clone(),
            store: self.mem.clone(),
            journal: self.mem.clone(),
            engine,
            platform: self.world.platform(),
            places: self.app.environments.keys().map(|name| (name.clone(), self.world.platform())).collect(),
            stacks: self.stacks.clone(),
            branches: Arc::new(self.forge.clone()),
            outside: self.outside.clone(),
            clock: self.clock.clone(),
            metrics,
            instance: "test-instance".to_owned(),
        };
        Service::new(
            parts,
            ServiceConfig { reconcile_every: self.reconcile_every, runs: self.runs, ..ServiceConfig::default() },
        )
        .await
        .unwrap()
    }

    /// A server on a free port of the loopback, on a runtime of its own: whatever it spawned dies with it.
    pub(crate) async fn start(&self) -> Server {
        static PROVIDER: std::sync::Once = std::sync::Once::new();
        PROVIDER.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cancel = CancellationToken::new();
        let (rig, token) = (self.clone(), cancel.clone());
        let started = runtime.spawn(async move {
            let service = rig.service().await;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (running, stop) = (service.clone(), token.clone());
            let work = tokio::spawn(async move { running.run(stop).await });
            let public = service.clone();
            let listen = tokio::spawn(async move {
                let secrets = vec![b"the next one".to_vec(), SECRET.to_vec()];
                public::serve(public, listener, secrets, rig.chat.clone(), token).await.unwrap();
            });
            (service, address, vec![work, listen])
        });
        let (service, address, tasks) = started.await.unwrap();
        Server { service, address, store: self.mem.clone(), cancel, tasks, runtime: Some(runtime) }
    }
}

pub(crate) struct Server {
    pub(crate) service: Service,
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<Mem>,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    runtime: Option<Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) struct Post {
    pub(crate) event: String,
    pub(crate) delivery: Option<String>,
    pub(crate) content_type: String,
    /// `None`: not signed. `Some(None)`: signed with the right secret.
    pub(crate) signature: Option<Option<String>>,
    pub(crate) body: Vec<u8>,
}

impl Post {
    pub(crate) fn new(event: &str, delivery: &str, body: &Value) -> Self {
        Self {
            event: event.to_owned(),
            delivery: Some(delivery.to_owned()),
            content_type: "application/json".to_owned(),
            signature: Some(None),
            body: body.to_string().into_bytes(),
        }
    }
}

pub(crate) fn created(branch: &str) -> Value {
    json!({"ref": branch, "ref_type": "branch", "repository": {"id": 42, "name": "my-project"}})
}

impl Server {
    /// Ends where it is, as SIGKILL does: nothing is released, nothing is finished, nothing goes on.
    pub(crate) async fn kill(mut self, rig: &Rig) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10))).await.unwrap();
        rig.world.restart();
        rig.mem.expire_leases();
    }

    pub(crate) async fn request(&self, request: http::Request<Full<Bytes>>) -> (u16, String) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        driver.abort();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let request = http::Request::get(path).header("host", "test").body(Full::new(Bytes::new())).unwrap();
        self.request(request).await
    }

    pub(crate) async fn post(&self, post: Post) -> (u16, Value) {
        let mut request = http::Request::post("/webhooks/github")
            .header("host", "test")
            .header("content-type", &post.content_type)
            .header("x-github-event", &post.event);
        if let Some(id) = &post.delivery {
            request = request.header("x-github-delivery", id);
        }
        if let Some(signature) = &post.signature {
            let right = || landfall_github::webhook::sign(SECRET, &post.body);
            request = request.header("x-hub-signature-256", signature.clone().unwrap_or_else(right));
        }
        let (status, text) = self.request(request.body(Full::new(post.body.into())).unwrap()).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// What became of a delivery, once it is decided.
    pub(crate) async fn outcome(&self, id: &str) -> DeliveryOutcome {
        eventually(&format!("delivery {id} is decided"), async || {
            let deliveries = self.store.deliveries(1000).await.unwrap();
            deliveries.into_iter().find(|delivery| delivery.id.as_str() == id).and_then(|d| d.outcome)
        })
        .await
    }

    /// Everything that is known of an environment, for a test's last words.
    pub(crate) async fn describe(&self, id: &str) -> String {
        let record = self.store.environment(&id.into()).await.unwrap();
        let last = record.as_ref().and_then(|record| record.last_execution.clone());
        let view = match last {
            Some(execution) => {
                Some(self.service.call(ControlRequest::Execution { id: execution, history: true }).await)
            }
            None => None,
        };
        format!("{record:#?}\n{view:#?}")
    }

    /// Ends as SIGTERM does; fails when it takes long.
    pub(crate) async fn stop(mut self) {
        self.cancel.cancel();
        for task in self.tasks.drain(..) {
            tokio::time::timeout(Duration::from_secs(20), task).await.expect("it ends").unwrap();
        }
    }
}

/// Asks until there is an answer, at most 20 s.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

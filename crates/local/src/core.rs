//! What all parts of the local platform share: the engine, the router, the directories, and the maps of what is supervised.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use landfall_model::Timestamp;
use landfall_ports::{PortError, PortResult};
use tokio::sync::{Notify, OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::balancer::Router;
use crate::docker::{Docker, DockerError, DockerResult};
use crate::engine::Engine;
use crate::network;
use crate::pause;
use crate::scheduler::actor::ServiceCell;
use crate::task::run::TaskCell;

/// Health checks at once: each is a process of the engine's.
const EXEC_SLOTS: usize = 4;

pub(crate) struct Core {
    pub engine: Engine,
    pub docker: Docker,
    pub router: Router,
    pub instance: String,
    /// `STATE/local`
    pub directory: PathBuf,
    /// Publish ports on 127.0.0.1 instead of reaching containers by their address.
    pub publish: bool,
    /// On 127.0.0.1 besides: host's port and container's.
    pub ports: Vec<(u16, u16)>,
    pub services: Mutex<BTreeMap<String, Arc<ServiceCell>>>,
    pub tasks: Mutex<BTreeMap<String, Arc<TaskCell>>>,
    pub exec_slots: Semaphore,
    pub cancel: CancellationToken,
    /// Something about a task or service changed.
    pub changed: Notify,
    networks: Mutex<HashMap<String, Arc<OnceCell<String>>>>,
    pause_image: Mutex<Arc<OnceCell<String>>>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(crate) fn new(
        engine: Engine,
        router: Router,
        instance: String,
        directory: PathBuf,
        publish: Option<bool>,
    ) -> Self {
        Self {
            docker: engine.docker.clone(),
            publish: publish.unwrap_or(!engine.reachable),
            ports: Vec::new(),
            engine,
            router,
            instance,
            directory,
            services: Mutex::default(),
            tasks: Mutex::default(),
            exec_slots: Semaphore::new(EXEC_SLOTS),
            cancel: CancellationToken::new(),
            changed: Notify::new(),
            networks: Mutex::default(),
            pause_image: Mutex::default(),
        }
    }

    /// Repeats a call for as long as no engine answers, and brings our own engine service back meanwhile. Every call so
    /// wrapped is natural or finds by name what an unanswered attempt left behind.
    pub(crate) async fn retry<T, F: Future<Output = DockerResult<T>>>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> DockerResult<T> {
        let mut pause = Duration::from_millis(20);
        loop {
            match call().await {
                Err(error) if error.is_unavailable() => {
                    tracing::debug!(%error, "engine unavailable, trying again");
                    self.engine.heal().await;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                other => return other,
            }
        }
    }

    pub(crate) fn task(&self, id: &str) -> Option<Arc<TaskCell>> {
        locked(&self.tasks).get(id).cloned()
    }

    pub(crate) fn tasks_of(&self, service: &str) -> Vec<Arc<TaskCell>> {
        let tasks = locked(&self.tasks);
        tasks.values().filter(|cell| cell.service.as_deref() == Some(service)).cloned().collect()
    }

    pub(crate) fn service(&self, name: &str) -> Option<Arc<ServiceCell>> {
        locked(&self.services).get(name).cloned()
    }

    pub(crate) fn file(&self, kind: &str, name: &str) -> PathBuf {
        self.directory.join(kind).join(format!("{name}.json"))
    }

    /// Logs of containers that are gone, by environment.
    pub(crate) fn log_directory(&self, environment: &str) -> PathBuf {
        self.directory.join("logs").join(crate::images::file_name(environment))
    }

    /// The environment's network, made when it is missing.
    pub(crate) async fn network(&self, environment: &str) -> DockerResult<String> {
        let cell = Arc::clone(locked(&self.networks).entry(environment.to_owned()).or_default());
        cell.get_or_try_init(|| network::ensure(self, environment)).await.cloned()
    }

    /// With a service goes the environment's network, unless others of the environment use it: then the engine refuses. A task
    /// that is about to start there makes it anew.
    pub(crate) async fn release_network(&self, environment: &str) {
        match network::remove(self, environment).await {
            Ok(()) => {
                self.forget_network(environment);
                // A sweep finds no network any more to take the logs along with.
                if let Err(error) = crate::supervisor::purge(self, environment).await {
                    tracing::debug!(%error, environment, "logs kept");
                }
            }
            Err(error) => tracing::debug!(%error, environment, "network kept"),
        }
    }

    /// After a network was removed, or found to be.
    pub(crate) fn forget_network(&self, environment: &str) {
        locked(&self.networks).remove(environment);
    }

    pub(crate) async fn pause_image(&self) -> DockerResult<String> {
        let cell = Arc::clone(&locked(&self.pause_image));
        cell.get_or_try_init(|| pause::ensure_image(&self.docker)).await.cloned()
    }

    /// After it was found to be removed: it is shared by all installations, and prunes take it when no task runs.
    pub(crate) fn forget_pause_image(&self) {
        *locked(&self.pause_image) = Arc::default();
    }

    pub(crate) fn tell(&self, service: Option<&str>) {
        if let Some(cell) = service.and_then(|name| self.service(name)) {
            cell.wake.notify_one();
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn supervising(&self) -> PortResult<()> {
        if self.cancel.is_cancelled() {
            return Err(PortError::Unavailable("the local platform is shutting down".to_owned()));
        }
        Ok(())
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A removed image or network shows as a refusal; everything else keeps its words.
pub(crate) fn words(error: &DockerError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

//! The wiring: everything that implements a port, put together around the service object. The only place that knows all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landfall_engine::{Engine, EngineConfig};
use landfall_github::GitListing;
use landfall_model::Timestamp;
use landfall_model::app::{App, NotificationTarget, UrlOrSecret};
use landfall_notify::{Notifier, Target, TargetKind};
use landfall_ports::clock::Clock;
use landfall_server::chat::Chat;
use landfall_server::control::socket::{self, Access};
use landfall_server::{Metrics, Service, ServiceConfig, ServiceParts, instance_id, public};
use landfall_sqlite::{PrunePolicy, SqliteStore};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, runs_here};
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::opened::Opened;
use crate::outside::Beyond;
use crate::paths::State;
use crate::places::{Places, same_place};
use crate::secrets;

/// The server's socket for commands, in the state directory.
pub(crate) const CONTROL_SOCKET: &str = "control.sock";
/// That of a command which holds the state while it works: others look through it.
pub(crate) const COMMAND_SOCKET: &str = "command.sock";
/// The installation's id as text, so that tools from outside can look for what carries it while nothing of ours runs.
const INSTANCE_FILE: &str = "instance";
/// Between looks for executions that other machines left: each is some requests.
const SHARED_CLAIM_EVERY: Duration = Duration::from_secs(2);
/// How long a stop waits for notices that can be sent at once.
const LAST_NOTICES: Duration = Duration::from_secs(5);
/// Answers that are on their way to others.
const LAST_LOOKS: Duration = Duration::from_secs(1);

/// The id of the installation in this state directory; `None` before its first server.
pub(crate) fn instance_of(state: &Path) -> Option<String> {
    let text = std::fs::read_to_string(state.join(INSTANCE_FILE)).ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// By rename: whoever read an empty id and asked Podman for that label would get everybody's resources.
fn write_instance(state: &Path, instance: &str) -> std::io::Result<()> {
    let text = format!("{instance}\n");
    // Replacing a file waits for the disk; it hardly ever changes.
    if std::fs::read_to_string(state.join(INSTANCE_FILE)).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let temporary = state.join(format!("{INSTANCE_FILE}.{}", std::process::id()));
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, state.join(INSTANCE_FILE))
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn entropy(&self) -> u64 {
        u64::try_from(ulid::Ulid::generate().random() & u128::from(u64::MAX)).unwrap_or_default()
    }
}

/// For people who look who holds a lease.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Once a day, what is older than the retention goes (docs/operations.md).
async fn prune(store: Arc<SqliteStore>, cancel: CancellationToken) {
    loop {
        match store.prune(PrunePolicy::standard(Timestamp::now())).await {
            Ok(pruned) => tracing::debug!(?pruned, "old records pruned"),
            Err(error) => tracing::warn!(%error, "old records are not pruned"),
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(24 * 3600)) => {}
        }
    }
}

/// What the state is opened for, where no server has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing is begun, resumed or told: a read changes nothing.
    Look,
    Work,
    /// As `Look`, and nothing is asked of where previews run before something needs it.
    LookAtEnvironment,
    /// As `Work`, likewise.
    WorkOnEnvironment,
    /// Goes on with what another left, and looks on while another is at it.
    WaitForEnvironment,
}

impl Purpose {
    fn is_about_previews(self) -> bool {
        matches!(self, Purpose::Look | Purpose::Work)
    }

    pub(crate) fn works(self) -> bool {
        matches!(self, Purpose::Work | Purpose::WorkOnEnvironment | Purpose::WaitForEnvironment)
    }

    /// Where a command is at work, its socket will do.
    pub(crate) fn is_content_to_look(self) -> bool {
        !matches!(self, Purpose::Work | Purpose::WorkOnEnvironment)
    }
}

/// A service with its loops running (to look, without). Owns the state directory until `close` or the end of `serve`.
pub(crate) struct Assembly {
    pub(crate) service: Service,
    backend: Backend,
    notifier: Arc<Notifier>,
    socket: PathBuf,
    public: Option<(TcpListener, Vec<Vec<u8>>, Option<Chat>)>,
    cancel: CancellationToken,
    loops: JoinHandle<()>,
    notices: JoinHandle<()>,
    /// Those who look through a command's socket.
    looks: Option<JoinHandle<()>>,
    purpose: Purpose,
}

impl Assembly {
    /// Opens the state (`Locked` where somebody else has it), finds the container engine, takes over what runs, and goes to
    /// work on what is unfinished. With a listener it is a server: it also compares the world with the records by itself.
    pub(crate) async fn open(
        state: &State,
        mut app: App,
        listener: Option<TcpListener>,
        purpose: Purpose,
    ) -> CliResult<Self> {
        state.keeps_templates(&mut app);
        let directory = state.directory();
        let socket = directory.join(CONTROL_SOCKET);
        let options = landfall_sqlite::OpenOptions {
            control_socket: listener.is_some().then(|| socket.clone()),
            ..landfall_sqlite::OpenOptions::default()
        };
        let Opened { journal, store, sqlite } = Opened::open(state, options, &app).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let unavailable = |error: landfall_ports::store::StoreError| {
            CliError::new(ExitCode::Io, "the state cannot be read").cause(&error)
        };
        let instance = instance_id(&*store, &*clock).await.map_err(unavailable)?;
        write_instance(directory, &instance)
            .map_err(|error| CliError::io("cannot write the installation's id", &error))?;
        let places = Arc::new(Places::connect(&app, &instance).await?);
        let webhook_secrets = match &listener {
            Some(_) => secrets::webhook(&app.webhook_secrets, &places).await?,
            None => Vec::new(),
        };
        let chat = match (&listener, app.chatops.as_ref().and_then(|chatops| chatops.slack.as_ref())) {
            (Some(_), Some(slack)) => Some(secrets::chat(slack, &places).await?),
            _ => None,
        };
        if purpose == Purpose::Work {
            same_place(&*store, &places.of_previews(&app).await?).await?;
        }
        let backend = Backend::new(directory, &app, &instance, &places)?;
        if let State::S3 { url, .. } = state {
            backend.refuse_local(format!(
                "what runs on this machine needs a state directory on it, and the state is {url}"
            ));
        }
        if purpose.is_about_previews() && app.previews.is_some() {
            backend.connect_previews(&mut app, &places).await?;
        }
        if listener.is_some() && runs_here(directory) {
            backend.connect_local().await?;
        }
        let mut targets = Vec::new();
        for notification in &app.notifications {
            targets.push(target(notification, &places).await?);
        }
        let platform = backend.previews();
        let environments = backend.environments();
        let lasting = app.environments.values().filter_map(|environment| {
            Some((environment.id(&app.project), environments.get(&environment.name)?.clone()))
        });

        let mut stacks = BTreeMap::new();
        for environment in app.environments.values().filter(|environment| environment.stack.is_some()) {
            // A build without AWS has none, and says so where one is needed.
            if let Some(Ok((there, _))) = environment.on.as_ref().map(|on| places.stacks(on)) {
                stacks.insert(environment.name.clone(), there);
            }
        }
        let outside = Arc::new(Beyond::new(&app, directory, places)?);
        let metrics = Metrics::new();
        let owner = format!("{}:{}:{:08x}", host_name(), std::process::id(), clock.entropy() as u32);
        let steps = Arc::new(landfall_steps::PlacedSteps::new(platform.clone(), lasting));
        let steps = crate::hold::wrap(steps, env_vars::get(env_vars::TEST_HOLD), directory.join("held"));
        let mut config = EngineConfig::new(owner);
        if store.is_shared() {
            config.claim_every = SHARED_CLAIM_EVERY;
        }
        if let Some(previews) = &app.previews {
            config.max_executions = previews.limits.concurrent_executions.max(1) as usize;
        }
        let engine =
            Engine::new(config, journal.clone(), steps, clock.clone()).with_observer(Arc::new(metrics.clone()));
        let notifier = Notifier::new(store.clone(), clock.clone(), targets);
        let parts = ServiceParts {
            app,
            store,
            journal,
            engine,
            platform,
            places: environments,
            stacks,
            branches: Arc::new(GitListing),
            outside,
            clock,
            metrics,
            instance,
        };
        let mut config = ServiceConfig { public_url: env_vars::get(env_vars::PUBLIC_URL), ..ServiceConfig::default() };
        if listener.is_none() {
            (config.reconcile_every, config.runs) = (None, None);
        }
        let service = Service::new(parts, config).await.map_err(unavailable)?;
        let notifier = notifier.heard_by(Arc::new(service.clone()));
        let (cancel, notifier) = (CancellationToken::new(), Arc::new(notifier));
        let loops = tokio::spawn({
            let (service, cancel) = (service.clone(), cancel.clone());
            async move {
                if purpose.works() {
                    service.run(cancel).await;
                }
            }
        });
        let notices = tokio::spawn({
            let (notifier, cancel) = (notifier.clone(), cancel.clone());
            async move {
                if purpose.works() {
                    notifier.run(cancel.cancelled()).await;
                }
            }
        });
        if let (Some(_), Some(sqlite)) = (&listener, sqlite) {
            tokio::spawn(prune(sqlite, cancel.clone()));
        }
        let is_looked_at = listener.is_none() && purpose.works() && matches!(state, State::Directory(_));
        let looks = is_looked_at
            .then(|| tokio::spawn(be_looked_at(service.clone(), directory.join(COMMAND_SOCKET), cancel.clone())));
        let public = listener.map(|listener| (listener, webhook_secrets, chat));
        Ok(Self { service, backend, notifier, socket, public, cancel, loops, notices, looks, purpose })
    }

    /// Takes webhooks and commands until `stop`, or until a command asks for the end.
    pub(crate) async fn serve(mut self, stop: impl Future<Output = &'static str>) -> CliResult<()> {
        let Some((listener, secrets, chat)) = self.public.take() else {
            return Err(CliError::internal("a service without a listener cannot serve"));
        };
        let control = socket::bind(&self.socket)
            .await
            .map_err(|error| CliError::io(format!("control socket {}", self.socket.display()), &error))?;
        let cancel = self.cancel.clone();
        let public = public::serve(self.service.clone(), listener, secrets, chat, cancel.clone());
        let control = socket::serve(self.service.clone(), Access::All, control, &self.socket, cancel.clone());
        let ends = self.service.shutdown_token();
        let stopping = async {
            tokio::select! {
                why = stop => tracing::info!(why, "stopping"),
                () = ends.cancelled() => tracing::info!("stopping, as asked"),
            }
            cancel.cancel();
        };
        let (public, control, ()) = tokio::join!(
            async {
                let ended = public.await;
                cancel.cancel();
                ended
            },
            async {
                let ended = control.await;
                cancel.cancel();
                ended
            },
            async {
                tokio::select! { () = stopping => {} () = cancel.cancelled() => {} }
            },
        );
        self.close().await;
        public.map_err(|error| CliError::new(ExitCode::Io, "the webhook listener failed").cause(&error))?;
        control.map_err(|error| CliError::io("the control socket failed", &error))
    }

    /// Calls that were begun are finished and recorded, notices that can go out go out, the state is closed. Containers,
    /// routes and the load balancer stay.
    pub(crate) async fn close(self) {
        self.cancel.cancel();
        if let Err(error) = self.loops.await {
            tracing::error!(%error, "a loop ended badly");
        }
        let tells = self.purpose.works();
        let mut notices = self.notices;
        let last = async {
            let _ = (&mut notices).await;
            if tells {
                let _ = self.notifier.drain().await;
            }
        };
        if tokio::time::timeout(LAST_NOTICES, last).await.is_err() {
            notices.abort();
            tracing::info!("notices are left for the next start");
        }
        if let Some(looks) = self.looks {
            // Whoever waited for the same end hears of it.
            let _ = tokio::time::timeout(LAST_LOOKS, looks).await;
        }
        self.backend.shutdown();
    }

    /// Where webhooks are taken.
    pub(crate) fn listen_text(&self) -> String {
        let addr = self.public.as_ref().and_then(|(listener, ..)| listener.local_addr().ok());
        addr.map_or_else(|| "-".to_owned(), |addr| addr.to_string())
    }
}

/// For as long as a command works. Without the socket others are only told that the state is in use.
async fn be_looked_at(service: Service, path: PathBuf, cancel: CancellationToken) {
    let served = match socket::bind(&path).await {
        Ok(listener) => socket::serve(service, Access::Look, listener, &path, cancel).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::debug!(%error, path = %path.display(), "nobody can look in meanwhile");
    }
}

async fn target(notification: &landfall_model::app::Notification, places: &Places) -> CliResult<Target> {
    let kind = match &notification.to {
        NotificationTarget::Log => TargetKind::Log,
        NotificationTarget::Webhook { url, secret } => TargetKind::Webhook {
            url: url.clone(),
            secret: match secret {
                Some(secret) => Some(secrets::resolve(secret, places).await?),
                None => None,
            },
        },
        NotificationTarget::Sns { topic, on, envelope } => {
            TargetKind::Topic { topic: places.topic(on, topic)?, envelope: envelope.clone() }
        }
        NotificationTarget::Slack { url, channel } => TargetKind::Slack {
            url: match url {
                UrlOrSecret::Url(url) => url.clone(),
                UrlOrSecret::Secret(secret) => secrets::resolve(secret, places).await?,
            },
            channel: channel.clone(),
        },
    };
    Ok(Target { name: notification.name.clone(), kind, on: notification.on.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_differs() {
        assert_ne!(SystemClock.entropy(), SystemClock.entropy());
    }
}

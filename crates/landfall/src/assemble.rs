//! The wiring: everything that implements a port, put together around the service object. The only place that knows all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landfall_engine::{Engine, EngineConfig};
use landfall_github::GitListing;
use landfall_local::{LocalOptions, LocalPlatform};
use landfall_model::Timestamp;
use landfall_model::app::{App, NotificationTarget, UrlOrSecret};
use landfall_model::task::SecretRef;
use landfall_notify::{Notifier, Target, TargetKind};
use landfall_ports::clock::Clock;
use landfall_server::control::socket;
use landfall_server::{Metrics, Service, ServiceConfig, ServiceParts, instance_id, public};
use landfall_sqlite::{PrunePolicy, SqliteStore};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::commands::serve::router_command;
use crate::commands::state::open_error;
use crate::commands::{engine_options, port_error};
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;

/// The server's socket for commands, in the state directory.
pub(crate) const CONTROL_SOCKET: &str = "control.sock";
/// The installation's id as text, so that tools from outside can look for what carries it while nothing of ours runs.
const INSTANCE_FILE: &str = "instance";
/// How long a stop waits for notices that can be sent at once.
const LAST_NOTICES: Duration = Duration::from_secs(5);

/// The id of the installation in this state directory; `None` before its first server.
pub(crate) fn instance_of(state: &Path) -> Option<String> {
    let text = std::fs::read_to_string(state.join(INSTANCE_FILE)).ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// By rename: whoever read an empty id and asked Podman for that label would get everybody's resources.
fn write_instance(state: &Path, instance: &str) -> std::io::Result<()> {
    let temporary = state.join(format!("{INSTANCE_FILE}.{}", std::process::id()));
    std::fs::write(&temporary, format!("{instance}\n"))?;
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
}

/// A service with its loops running (to look, without). Owns the state directory until `close` or the end of `serve`.
pub(crate) struct Assembly {
    pub(crate) service: Service,
    local: LocalPlatform,
    notifier: Arc<Notifier>,
    socket: PathBuf,
    public: Option<(TcpListener, Vec<Vec<u8>>)>,
    cancel: CancellationToken,
    loops: JoinHandle<()>,
    notices: JoinHandle<()>,
    purpose: Purpose,
}

impl Assembly {
    /// Opens the state (`Locked` where somebody else has it), finds the container engine, takes over what runs, and goes to
    /// work on what is unfinished. With a listener it is a server: it also compares the world with the records by itself.
    pub(crate) async fn open(
        state: &Path,
        app: App,
        listener: Option<TcpListener>,
        purpose: Purpose,
    ) -> CliResult<Self> {
        let socket = state.join(CONTROL_SOCKET);
        let options = landfall_sqlite::OpenOptions {
            control_socket: listener.is_some().then(|| socket.clone()),
            ..landfall_sqlite::OpenOptions::default()
        };
        let store = Arc::new(SqliteStore::open(state, options).map_err(|error| open_error(&error))?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let unavailable = |error: landfall_ports::store::StoreError| {
            CliError::new(ExitCode::Io, "the state cannot be read").cause(&error)
        };
        let instance = instance_id(&*store, &*clock).await.map_err(unavailable)?;
        write_instance(state, &instance).map_err(|error| CliError::io("cannot write the installation's id", &error))?;
        let webhook_secrets = match &listener {
            Some(_) => webhook_secrets(&app.webhook_secrets, resolve)?,
            None => Vec::new(),
        };

        let router_state = state.to_owned();
        let options = LocalOptions {
            engine: engine_options(),
            router: Some(Arc::new(move || router_command(&router_state))),
            concurrent_builds: app
                .previews
                .as_ref()
                .map_or(2, |previews| previews.limits.concurrent_builds.max(1) as usize),
            ..LocalOptions::new(state, &instance)
        };
        let local = LocalPlatform::connect(options).await.map_err(port_error)?;
        local.start().await.map_err(port_error)?;
        let platform = local.ports();

        let metrics = Metrics::new();
        let owner = format!("{}:{:08x}", std::process::id(), clock.entropy() as u32);
        let steps = Arc::new(landfall_steps::Steps::new(platform.clone()));
        let steps = crate::hold::wrap(steps, env_vars::get(env_vars::TEST_HOLD), state.join("held"));
        let mut config = EngineConfig::new(owner);
        if let Some(previews) = &app.previews {
            config.max_executions = previews.limits.concurrent_executions.max(1) as usize;
        }
        let engine = Engine::new(config, store.clone(), steps, clock.clone()).with_observer(Arc::new(metrics.clone()));
        let targets = app.notifications.iter().map(target).collect::<CliResult<Vec<_>>>()?;
        let notifier = Notifier::new(store.clone(), clock.clone(), targets)
            .map_err(|error| CliError::new(ExitCode::Internal, "no HTTP client for notifications").cause(&error))?;
        let parts = ServiceParts {
            app,
            store: store.clone(),
            journal: store.clone(),
            engine,
            platform,
            branches: Arc::new(GitListing),
            clock,
            metrics,
            instance,
        };
        let pruned = store;
        let config = match listener {
            Some(_) => ServiceConfig::default(),
            None => ServiceConfig { reconcile_every: None, ..ServiceConfig::default() },
        };
        let service = Service::new(parts, config).await.map_err(unavailable)?;
        let (cancel, notifier) = (CancellationToken::new(), Arc::new(notifier));
        let loops = tokio::spawn({
            let (service, cancel) = (service.clone(), cancel.clone());
            async move {
                if purpose == Purpose::Work {
                    service.run(cancel).await;
                }
            }
        });
        let notices = tokio::spawn({
            let notifier = notifier.clone();
            async move {
                if purpose == Purpose::Work {
                    notifier.run().await;
                }
            }
        });
        if listener.is_some() {
            tokio::spawn(prune(pruned, cancel.clone()));
        }
        let public = listener.map(|listener| (listener, webhook_secrets));
        Ok(Self { service, local, notifier, socket, public, cancel, loops, notices, purpose })
    }

    /// Takes webhooks and commands until `stop`, or until a command asks for the end.
    pub(crate) async fn serve(mut self, stop: impl Future<Output = &'static str>) -> CliResult<()> {
        let Some((listener, secrets)) = self.public.take() else {
            return Err(CliError::internal("a service without a listener cannot serve"));
        };
        let control = socket::bind(&self.socket)
            .await
            .map_err(|error| CliError::io(format!("control socket {}", self.socket.display()), &error))?;
        let cancel = self.cancel.clone();
        let public = public::serve(self.service.clone(), listener, secrets, cancel.clone());
        let control = socket::serve(self.service.clone(), control, &self.socket, cancel.clone());
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
        self.notices.abort();
        let _ = self.notices.await;
        let tells = self.purpose == Purpose::Work;
        if tells && tokio::time::timeout(LAST_NOTICES, self.notifier.drain()).await.is_err() {
            tracing::info!("notices are left for the next start");
        }
        self.local.shutdown();
    }

    /// Where webhooks are taken.
    pub(crate) fn listen_text(&self) -> String {
        let addr = self.public.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
        addr.map_or_else(|| "-".to_owned(), |addr| addr.to_string())
    }
}

fn target(notification: &landfall_model::app::Notification) -> CliResult<Target> {
    let kind = match &notification.to {
        NotificationTarget::Log => TargetKind::Log,
        NotificationTarget::Webhook { url, secret } => {
            TargetKind::Webhook { url: url.clone(), secret: secret.as_ref().map(resolve).transpose()? }
        }
        NotificationTarget::Sns { topic, .. } => {
            return Err(CliError::new(
                ExitCode::InvalidManifest,
                format!("SNS topic {topic} cannot be reached from here"),
            ));
        }
        NotificationTarget::Slack { url, channel } => TargetKind::Slack {
            url: match url {
                UrlOrSecret::Url(url) => url.clone(),
                UrlOrSecret::Secret(secret) => resolve(secret)?,
            },
            channel: channel.clone(),
        },
    };
    Ok(Target { name: notification.name.clone(), kind, on: notification.on.clone() })
}

/// Every one of them is good. Our own variable may hold several, separated by commas, for the time of a rotation; any other
/// source is one secret, commas included.
fn webhook_secrets(
    secrets: &[SecretRef],
    resolve: impl Fn(&SecretRef) -> CliResult<String>,
) -> CliResult<Vec<Vec<u8>>> {
    let mut values = Vec::new();
    for secret in secrets {
        let value = resolve(secret)?;
        if *secret == SecretRef::Env(env_vars::WEBHOOK_SECRET.to_owned()) {
            let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            values.extend(parts.map(|part| part.as_bytes().to_vec()));
        } else if !value.is_empty() {
            values.push(value.into_bytes());
        }
    }
    if values.is_empty() {
        return Err(CliError::new(ExitCode::Usage, "the secrets that sign webhooks are empty")
            .hint("docs/github.md says how to set up the webhook"));
    }
    Ok(values)
}

/// The value of a secret of ours (webhooks, notifications). Its name may be shown, its value never.
fn resolve(secret: &SecretRef) -> CliResult<String> {
    match secret {
        SecretRef::Env(name) => std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
            CliError::new(ExitCode::NotFound, format!("the environment variable {name}, named as a secret, is not set"))
        }),
        SecretRef::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| CliError::io(format!("the secret's file {path} cannot be read"), &error))?;
            Ok(text.strip_suffix('\n').map_or(text.clone(), |text| text.strip_suffix('\r').unwrap_or(text).to_owned()))
        }
        SecretRef::Ssm(name) | SecretRef::SecretsManager(name) => Err(CliError::new(
            ExitCode::Usage,
            format!("the secret {name} is on AWS, which this version does not read"),
        )
        .hint("use `env` or `file`")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_secret_loses_one_newline_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            resolve(&SecretRef::File(path.display().to_string())).unwrap()
        };
        assert_eq!(read("abc\n"), "abc");
        assert_eq!(read("abc\r\n"), "abc");
        assert_eq!(read("abc\n\n"), "abc\n");
        assert_eq!(read("abc"), "abc");
        let missing = resolve(&SecretRef::Env("LANDFALL_TEST_NO_SUCH_SECRET".into())).unwrap_err();
        assert_eq!(missing.code, ExitCode::NotFound);
        assert!(resolve(&SecretRef::Ssm("/x".into())).is_err());
    }

    #[test]
    fn our_variable_holds_two_secrets_while_rotating() {
        let ours = SecretRef::Env(env_vars::WEBHOOK_SECRET.to_owned());
        let other = SecretRef::Env("OTHER".to_owned());
        let values = |secret: &SecretRef, value: &str| {
            webhook_secrets(std::slice::from_ref(secret), |_| Ok(value.to_owned()))
                .map(|values| values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(values(&ours, "old").unwrap(), ["old"]);
        assert_eq!(values(&ours, "old,new").unwrap(), ["old", "new"]);
        assert_eq!(values(&ours, " old, new ,").unwrap(), ["old", "new"]);
        assert_eq!(values(&other, "a,b").unwrap(), ["a,b"], "elsewhere a comma is part of the secret");
        // Nothing that anybody could sign with.
        assert_eq!(values(&ours, ", ,").unwrap_err().code, ExitCode::Usage);
        assert_eq!(values(&other, "").unwrap_err().code, ExitCode::Usage);
    }

    #[test]
    fn entropy_differs() {
        assert_ne!(SystemClock.entropy(), SystemClock.entropy());
    }
}

//! The way to Landfall: the running server of the state directory, or, where none runs, the same service in this process.

use std::path::Path;
use std::time::{Duration, Instant};

use landfall_model::app::App;
use landfall_model::event::{Ask, PreviewTrigger};
use landfall_model::ids::EnvironmentId;
use landfall_server::control::{
    Control, ControlClient, ControlError, ControlRequest, ControlResponse, LogLines, Target,
};

use crate::assemble::{Assembly, COMMAND_SOCKET, CONTROL_SOCKET, Purpose};
use crate::cli::Global;
use crate::commands::manifest;
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::State;
use crate::printer::Printer;

/// How long a command may have the state without a socket: one that looks never has one, one that works opens it at once and
/// ends soon after it has closed it.
const BETWEEN: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(50);

pub(crate) enum Link {
    Server(ControlClient),
    /// A command that is at work: it lets others look.
    Command(ControlClient),
    /// Owns the state until `close`.
    Here(Box<Assembly>),
}

impl Link {
    /// The running server, or else the state opened here, for which the manifest must be there. Whoever only looks or
    /// waits does so through the command that has the state, where one has.
    pub(crate) async fn open(global: &Global, printer: &Printer, purpose: Purpose) -> CliResult<Self> {
        let until = Instant::now() + BETWEEN;
        // Read once: what there is to say about it is said once.
        let mut app = None;
        loop {
            let error = match Self::once(global, printer, purpose, &mut app).await {
                Err(error) if error.code == ExitCode::Locked => error,
                opened => return opened,
            };
            // Whoever has it looks, and is done in a moment; or works, and is about to open its socket or to end.
            if Instant::now() > until || !purpose.is_content_to_look() && is_at_work(global).await? {
                return Err(error);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Opens the way, works, closes it.
    pub(crate) async fn with(
        global: &Global,
        printer: &Printer,
        purpose: Purpose,
        work: impl AsyncFnOnce(&Self) -> CliResult<ExitCode>,
    ) -> CliResult<ExitCode> {
        let link = Self::open(global, printer, purpose).await?;
        let result = work(&link).await;
        link.close().await;
        result
    }

    /// Whether `option` may be given: without a server there is nobody to go on.
    pub(crate) fn may_leave(&self, leaves: bool, option: &str) -> CliResult<()> {
        if leaves && !self.is_server() {
            let message = format!("{option} needs a running server: here there is nobody to go on");
            return Err(CliError::new(ExitCode::Usage, message).hint("leave it out, or start `landfall serve`"));
        }
        Ok(())
    }

    async fn once(global: &Global, printer: &Printer, purpose: Purpose, read: &mut Option<App>) -> CliResult<Self> {
        let state = State::of(global.state.clone())?;
        // A state on S3 has no server: every machine opens it itself.
        if let State::Directory(directory) = &state
            && let Some(client) = server(directory).await
        {
            return Ok(Link::Server(client));
        }
        if let State::Directory(directory) = &state
            && purpose.is_content_to_look()
            && let Some(client) = answering(&directory.join(COMMAND_SOCKET)).await
        {
            return Ok(Link::Command(client));
        }
        let app = match read {
            Some(app) => app,
            None => read.insert(manifest::load(&global.config, printer).map_err(|error| {
                if error.code == ExitCode::NotFound {
                    error.hint(format!("no server runs for {state}; `--state DIR` names another"))
                } else {
                    error
                }
            })?),
        };
        Ok(Link::Here(Box::new(Assembly::open(&state, app.clone(), None, purpose).await?)))
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Link::Server(_))
    }

    pub(crate) async fn call(&self, request: ControlRequest) -> CliResult<ControlResponse> {
        let answer = match self {
            Link::Server(client) | Link::Command(client) => client.call(request).await,
            Link::Here(assembly) => assembly.service.call(request).await,
        };
        answer.map_err(|error| control_error(&error))
    }

    pub(crate) async fn follow_logs(&self, environment: &EnvironmentId, history: usize) -> LogLines {
        match self {
            Link::Server(client) | Link::Command(client) => client.follow_logs(environment.clone(), history).await,
            Link::Here(assembly) => assembly.service.follow_logs(environment.clone(), history).await,
        }
    }

    /// Nothing to do with a server; here: work in flight is finished, the state is closed, containers and load balancer stay.
    pub(crate) async fn close(self) {
        if let Link::Here(assembly) = self {
            assembly.close().await;
        }
    }
}

/// The client of a server that answers. A socket file that nobody listens on is a dead server's.
pub(crate) async fn server(state: &Path) -> Option<ControlClient> {
    answering(&state.join(CONTROL_SOCKET)).await
}

/// Whether a command works on the state, for as long as that takes.
async fn is_at_work(global: &Global) -> CliResult<bool> {
    Ok(match State::of(global.state.clone())? {
        State::Directory(directory) => answering(&directory.join(COMMAND_SOCKET)).await.is_some(),
        State::S3 { .. } => false,
    })
}

async fn answering(socket: &Path) -> Option<ControlClient> {
    let client = ControlClient::connect(socket).await?;
    let answer = tokio::time::timeout(Duration::from_secs(5), client.call(ControlRequest::Status)).await;
    matches!(answer, Ok(Ok(_))).then_some(client)
}

pub(crate) fn control_error(error: &ControlError) -> CliError {
    let code = match error {
        ControlError::NotFound(_) => ExitCode::NotFound,
        ControlError::Invalid(_) => ExitCode::Usage,
        ControlError::Conflict(_) => ExitCode::Conflict,
        ControlError::Locked(_) => ExitCode::EnvironmentLocked,
        ControlError::Denied(_) => ExitCode::Denied,
        ControlError::Throttled(_) => ExitCode::Throttled,
        ControlError::Unavailable(_) => ExitCode::Unavailable,
        ControlError::Internal(_) => ExitCode::Internal,
    };
    CliError::new(code, error.to_string())
}

/// An answer of another kind than asked for: client and server do not speak the same language.
pub(crate) fn unexpected(response: &ControlResponse) -> CliError {
    let text = format!("{response:?}");
    let kind = text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
    CliError::new(ExitCode::Internal, format!("the server gave an answer of another kind ({kind})"))
        .hint("is it of another version? `landfall status` says; restart it after an upgrade")
}

/// `cli:root`. Containers of CI often have no `USER`.
pub(crate) fn actor() -> String {
    let name = env_vars::get(env_vars::USER).or_else(|| account(&std::fs::read_to_string("/etc/passwd").ok()?));
    format!("cli:{}", name.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string()))
}

/// Of this process's user.
fn account(passwd: &str) -> Option<String> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let of = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    };
    passwd.lines().find_map(of)
}

pub(crate) fn submit(target: Target, ask: Ask) -> ControlRequest {
    ControlRequest::Submit { target, ask, actor: actor() }
}

pub(crate) fn ask_preview(commit: Option<String>) -> Ask {
    Ask::Preview { commit, pull_request: None, fork: false, trigger: PreviewTrigger::Requested }
}

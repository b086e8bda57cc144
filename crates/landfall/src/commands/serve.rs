//! `landfall serve` and the hidden `landfall router`.

use std::net::SocketAddr;

use tokio::signal::unix::{SignalKind, signal};

use crate::assemble::{Assembly, Purpose};
use crate::cli::{Global, RouterArgs, ServeArgs};
use crate::commands::manifest;
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::{self, State};
use crate::printer::Printer;

/// Until SIGTERM or Ctrl-C; then work in flight comes to a safe point, and containers and load balancer stay.
pub(crate) async fn serve(args: &ServeArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let directory = paths::state_dir(global.state.clone())?;
    let app = manifest::load(&global.config, printer)?;
    if app.webhook_secrets.is_empty() {
        return Err(CliError::new(ExitCode::Usage, "there is no secret that signs webhooks")
            .hint("set LANDFALL_WEBHOOK_SECRET, or name one in the manifest under `webhook.secrets`")
            .hint("docs/github.md says how to set up the webhook"));
    }
    let listener = listen(args.listen).await?;
    let assembly = Assembly::open(&State::Directory(directory.clone()), app, Some(listener), Purpose::Work).await?;
    printer.note(format_args!(
        "webhooks on http://{}/webhooks/github, state in {}",
        assembly.listen_text(),
        directory.display()
    ));
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| CliError::io("cannot handle signals", &error))?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = tokio::signal::ctrl_c() => "Ctrl-C",
        }
    };
    let scaled = args.scale.iter().map(|values| super::cluster::scale::beside(values, printer));
    tokio::select! {
        served = assembly.serve(stop) => served?,
        _ = futures_util::future::join_all(scaled), if !args.scale.is_empty() => {}
    }
    Ok(ExitCode::Ok)
}

async fn listen(addr: SocketAddr) -> CliResult<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(addr).await.map_err(|error| {
        let failed = CliError::new(
            match error.kind() {
                std::io::ErrorKind::AddrInUse => ExitCode::Conflict,
                std::io::ErrorKind::PermissionDenied => ExitCode::Denied,
                _ => ExitCode::Io,
            },
            format!("cannot listen on {addr}"),
        );
        let failed = failed.cause(&error);
        if error.kind() == std::io::ErrorKind::AddrInUse {
            failed.hint(format!("somebody else has port {}; `--listen ADDR` names another", addr.port()))
        } else {
            failed
        }
    })
}

/// Its own runtime, made by the router for its purposes.
pub(crate) fn router(args: &RouterArgs, global: &Global) -> CliResult<ExitCode> {
    let directory = paths::state_dir(global.state.clone())?;
    let mut config = landfall_router::ServeConfig::new(directory);
    if let Some(workers) = args.workers {
        config.workers = usize::from(workers);
    }
    landfall_router::run_blocking(config).map_err(|error| {
        let code = match error {
            landfall_router::RouterError::Conflict(_) => ExitCode::Locked,
            landfall_router::RouterError::Unavailable(_) => ExitCode::Unavailable,
            _ => ExitCode::Internal,
        };
        CliError::new(code, "the load balancer ended").cause(&error)
    })?;
    Ok(ExitCode::Ok)
}

/// The command that starts the load balancer of a state directory: this program.
pub(crate) fn router_command(state: &std::path::Path) -> std::process::Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "landfall".into());
    let mut command = std::process::Command::new(program);
    command.arg("router").arg("--state").arg(state);
    // It needs no secret and no directory, and outlives whoever has them.
    command.current_dir("/");
    command.env_remove(env_vars::WEBHOOK_SECRET);
    command
}

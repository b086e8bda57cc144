//! Looking at the installation as a whole, repairing it, and keeping copies: `status`, `gc`, `deliveries`, `backup`, `restore`.

use std::path::PathBuf;

use landfall_model::Timestamp;
use landfall_server::control::{ControlRequest, ControlResponse, GcAction, GcReport};
use landfall_sqlite::{OpenError, RestoreError};
use serde_json::json;

use crate::assemble::Purpose;
use crate::cli::{BackupArgs, DeliveriesArgs, GcArgs, Global, RestoreArgs};
use crate::commands::link::{self, Link, unexpected};
use crate::commands::{executions, preview};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::{self, State};
use crate::printer::Printer;
use crate::progress::duration;
use crate::render;

/// Without a server this is an answer too, and not an error.
pub(crate) async fn status(global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let state = match State::of(global.state.clone())? {
        State::Directory(directory) => directory,
        State::S3 { url, .. } => return shared_status(&url, global, printer).await,
    };
    let router = landfall_router::client::RouterClient::new(&state).ping().await.ok();
    let Some(client) = link::server(&state).await else {
        let holder = landfall_sqlite::holder(&state);
        let held = matches!(holder, Ok(Some(_)));
        printer.emit(
            &json!({ "running": false, "state": state, "router": router.is_some(), "locked": held }),
            |_| {
                let router = if router.is_some() { "running" } else { "not running" };
                format!("server         not running\nstate          {}\nload balancer  {router}\n", state.display())
            },
        )?;
        printer.hint("`landfall status ENV` looks at an environment; `landfall serve` starts a server, previews that are up go on without one");
        return Ok(ExitCode::Ok);
    };
    let link = Link::Server(client);
    let server = match link.call(ControlRequest::Status).await? {
        ControlResponse::Status(status) => status,
        other => return Err(unexpected(&other)),
    };
    let previews = preview::list(&link, false).await?;
    let request = ControlRequest::Executions { environment: None, unfinished_only: true, limit: 100 };
    let unfinished = executions::list(&link, request).await?;
    let now = Timestamp::now();
    let data = json!({
        "running": true, "state": state, "router": router.is_some(), "server": server, "previews": previews,
        "executions": unfinished,
    });
    printer.emit(&data, |_| {
        let listen = server.listen.as_deref().unwrap_or("-");
        let up = duration(render::span(server.started_at, now));
        let router = if router.is_some() { "running" } else { "not running (started on demand)" };
        let mut text = format!(
            "server         pid {}, version {}, up {up}\nwebhooks       {listen}\nstate          {}\nload balancer  {router}\n\
             project        {}\ninbox          {} waiting\n\n{}",
            server.pid,
            server.version,
            state.display(),
            server.project,
            server.inbox,
            render::previews(&previews, now),
        );
        if !unfinished.is_empty() {
            text.push('\n');
            text.push_str(&render::executions(&unfinished, now));
        }
        text
    })?;
    if server.version != env!("CARGO_PKG_VERSION") {
        printer.warn(format_args!(
            "the server is version {}, this command {}",
            server.version,
            env!("CARGO_PKG_VERSION")
        ));
    }
    Ok(ExitCode::Ok)
}

/// Of a state on S3: there is no server to ask, and no load balancer of ours.
async fn shared_status(url: &str, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let link = Link::open(global, printer, Purpose::LookAtEnvironment).await?;
    let request = ControlRequest::Executions { environment: None, unfinished_only: true, limit: 100 };
    let seen =
        async { Ok::<_, CliError>((preview::list(&link, false).await?, executions::list(&link, request).await?)) };
    let seen = seen.await;
    link.close().await;
    let (previews, unfinished) = seen?;
    let now = Timestamp::now();
    let data = json!({ "running": false, "state": url, "previews": previews, "executions": unfinished });
    printer.emit(&data, |_| {
        let mut text = format!("state  {url}\n\n{}", render::previews(&previews, now));
        if !unfinished.is_empty() {
            text.push('\n');
            text.push_str(&render::executions(&unfinished, now));
        }
        text
    })?;
    Ok(ExitCode::Ok)
}

pub(crate) async fn gc(args: &GcArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let purpose = if args.dry_run { Purpose::Look } else { Purpose::Work };
    let link = Link::open(global, printer, purpose).await?;
    let result = link.call(ControlRequest::Gc { dry_run: args.dry_run }).await;
    link.close().await;
    let report = match result? {
        ControlResponse::Gc(report) => report,
        other => return Err(unexpected(&other)),
    };
    for what in &report.incomplete {
        printer.warn(format_args!("incomplete, so nothing is deleted because of it: {what}"));
    }
    printer.emit(&report, |report| gc_text(report, args.dry_run))?;
    let failed = report.findings.iter().any(|finding| finding.error.is_some());
    Ok(if failed { ExitCode::Failed } else { ExitCode::Ok })
}

fn gc_text(report: &GcReport, dry_run: bool) -> String {
    if report.findings.is_empty() {
        return "everything is as it should be\n".to_owned();
    }
    let mut text = String::new();
    for finding in &report.findings {
        let action = match (finding.action, dry_run) {
            (GcAction::Create, true) => "would create",
            (GcAction::Create, false) => "creates",
            (GcAction::Destroy, true) => "would destroy",
            (GcAction::Destroy, false) => "destroys",
            (GcAction::Delete, true) => "would delete",
            (GcAction::Delete, false) => "deleted",
            (GcAction::Watch, _) => "watches",
            (GcAction::Frozen, _) => "leaves alone",
        };
        let error = finding.error.as_ref().map_or(String::new(), |error| format!("\n  failed: {error}"));
        text.push_str(&format!("{action:<13} {}: {}{error}\n", finding.what, finding.why));
    }
    text
}

pub(crate) async fn deliveries(args: &DeliveriesArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let link = Link::open(global, printer, Purpose::Look).await?;
    let result = link.call(ControlRequest::Deliveries { limit: args.limit }).await;
    link.close().await;
    match result? {
        ControlResponse::Deliveries(list) => {
            printer.emit(&list, |list| render::deliveries(list, Timestamp::now()))?;
            Ok(ExitCode::Ok)
        }
        other => Err(unexpected(&other)),
    }
}

/// Needs no manifest: without a server the database is opened alone.
pub(crate) async fn backup(args: &BackupArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let state = paths::state_dir(global.state.clone())?;
    let to = std::path::absolute(&args.file)
        .map_err(|error| CliError::io(format!("backup {}", args.file.display()), &error))?;
    if to.exists() {
        return Err(CliError::new(ExitCode::Conflict, format!("{} exists", to.display())).hint("choose another name"));
    }
    match link::server(&state).await {
        Some(client) => match Link::Server(client).call(ControlRequest::Backup { to: to.clone() }).await? {
            ControlResponse::Backup => {}
            other => return Err(unexpected(&other)),
        },
        None => {
            if !state.join(landfall_sqlite::DATABASE_FILE).exists() {
                return Err(CliError::new(ExitCode::NotFound, format!("there is no state in {}", state.display()))
                    .hint("`--state DIR` names another directory"));
            }
            let store = landfall_sqlite::SqliteStore::open(&state, landfall_sqlite::OpenOptions::default())
                .map_err(|error| open_error(&error))?;
            landfall_ports::store::Store::backup(&store, &to)
                .await
                .map_err(|error| CliError::new(ExitCode::Io, "the backup cannot be written").cause(&error))?;
        }
    }
    printer.emit(&json!({ "file": to }), |_| to.display().to_string())?;
    Ok(ExitCode::Ok)
}

/// Restoring never overwrites: with `--force` the old database moves aside first.
pub(crate) async fn restore(args: &RestoreArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let state = paths::state_dir(global.state.clone())?;
    if link::server(&state).await.is_some() {
        return Err(
            CliError::new(ExitCode::Locked, format!("a server runs for {}", state.display())).hint("stop it first")
        );
    }
    let database = state.join(landfall_sqlite::DATABASE_FILE);
    let mut aside: Option<PathBuf> = None;
    if database.exists() {
        if !args.force {
            return Err(CliError::new(ExitCode::Conflict, format!("there is a state in {}", state.display()))
                .hint("`--force` replaces it, and keeps it beside the new one"));
        }
        aside = Some(move_aside(&state)?);
    }
    let restored = landfall_sqlite::restore(&args.file, &state);
    if let Err(error) = restored {
        if let Some(aside) = &aside {
            // Best effort: where it fails, the state is still there in `aside`.
            for file in database_files() {
                let _ = std::fs::rename(aside.join(&file), state.join(&file));
            }
            let _ = std::fs::remove_dir(aside);
        }
        return Err(match error {
            RestoreError::Open(error) => open_error(&error),
            RestoreError::Exists(_) => CliError::new(ExitCode::Conflict, error.to_string()),
            RestoreError::Damaged { .. } => CliError::new(ExitCode::Io, error.to_string()).hint("take another backup"),
        });
    }
    if let Some(aside) = &aside {
        printer.note(format_args!("the state that was there is in {}", aside.display()));
    }
    printer.emit(&json!({ "state": state, "kept": aside }), |_| format!("restored into {}", state.display()))?;
    printer.hint("`landfall gc --dry-run` shows where the backup and what exists differ");
    Ok(ExitCode::Ok)
}

/// The database and what SQLite keeps beside it.
fn database_files() -> [String; 3] {
    ["", "-wal", "-shm"].map(|suffix| format!("{}{suffix}", landfall_sqlite::DATABASE_FILE))
}

/// Opened and closed first: then the write-ahead log is in the file, and nobody else owns it. One that cannot be opened any
/// more is what a restore is for: it is kept as it is.
fn move_aside(state: &std::path::Path) -> CliResult<PathBuf> {
    match landfall_sqlite::SqliteStore::open(state, landfall_sqlite::OpenOptions::default()) {
        Ok(store) => drop(store),
        Err(error @ OpenError::Locked { .. }) => return Err(open_error(&error)),
        Err(error) => tracing::warn!(%error, "the state that is there cannot be opened"),
    }
    let name = format!("replaced-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    let aside = state.join(name);
    let failed = |error: std::io::Error| CliError::io("the state that is there cannot be moved aside", &error);
    std::fs::create_dir(&aside).map_err(failed)?;
    for file in database_files() {
        if state.join(&file).exists() {
            std::fs::rename(state.join(&file), aside.join(&file)).map_err(failed)?;
        }
    }
    Ok(aside)
}

pub(crate) fn open_error(error: &OpenError) -> CliError {
    let code = match error {
        OpenError::Locked { .. } => ExitCode::Locked,
        OpenError::Newer { .. } | OpenError::Foreign { .. } => ExitCode::Conflict,
        OpenError::Corrupt { .. } | OpenError::Unavailable { .. } => ExitCode::Io,
        OpenError::Io { source, .. } => match source.kind() {
            std::io::ErrorKind::PermissionDenied => ExitCode::Denied,
            std::io::ErrorKind::NotFound => ExitCode::NotFound,
            _ => ExitCode::Io,
        },
    };
    CliError::new(code, error.to_string())
}

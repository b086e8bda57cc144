//! `landfall images`: what a repository has, copies, further tags.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use landfall_ports::PortResult;
use landfall_registry::watch::Quiet;
use landfall_registry::{AT_ONCE, Push, Pushed, Reference, is_tag};
use serde::Serialize;

use crate::cli::Global;
use crate::cli::images::{CopyArgs, ImagesCommand};
use crate::commands::push::{client, refused, summary};
use crate::commands::{port_error, prune};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::meter::Meter;
use crate::paths;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};

pub(crate) async fn run(command: ImagesCommand, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        ImagesCommand::List { repository } => list(&repository, printer).await,
        ImagesCommand::Copy(args) => copy(&args, global, printer).await,
        ImagesCommand::Prune(args) => prune::run(&args, global, printer).await,
        ImagesCommand::Retag { image, tags, immutable } => retag(&image, &tags, immutable, printer).await,
    }
}

#[derive(Serialize)]
struct Row {
    tag: String,
    digest: String,
}

async fn list(repository: &str, printer: &Printer) -> CliResult<ExitCode> {
    let reference = Reference::parse(repository).map_err(port_error)?;
    if reference.tag.is_some() || reference.digest.is_some() {
        return Err(CliError::new(ExitCode::Usage, format!("{repository} names an image and not a repository")));
    }
    let client = client(Arc::new(Quiet));
    let mut tags = client.tags(&reference.repository).await.map_err(port_error)?;
    tags.sort();
    let (repository, client) = (&reference.repository, &client);
    let rows = stream::iter(tags).map(|tag| async move {
        let found = client.find(repository, &tag).await?;
        // Removed since it was listed.
        PortResult::Ok(
            found.map(|found| Row { tag, digest: found.digest.map_or_else(String::new, |digest| digest.to_string()) }),
        )
    });
    let rows: Vec<Option<Row>> = rows.buffered(AT_ONCE).try_collect().await.map_err(port_error)?;
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    let width = rows.iter().map(|row| row.tag.len()).max().unwrap_or_default();
    printer.emit(&rows, |rows| {
        rows.iter().map(|row| format!("{:width$}  {}", row.tag, row.digest)).collect::<Vec<_>>().join("\n")
    })?;
    Ok(ExitCode::Ok)
}

async fn copy(args: &CopyArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let since = Instant::now();
    let from = Reference::parse(&args.from).map_err(port_error)?;
    let to = Reference::parse(&args.to).map_err(port_error)?;
    if to.digest.is_some() {
        return Err(CliError::new(ExitCode::Usage, format!("{}: a copy has its original's digest", args.to)));
    }
    let tags: Vec<String> = to.tag.clone().or_else(|| from.tag.clone()).into_iter().collect();
    let push = Push {
        repository: &to.repository,
        tags: &tags,
        immutable: args.immutable,
        create_repository: args.create_repository,
        mounts: &[],
    };
    let state = paths::State::of(global.state.clone())?.directory().join("layers");
    let failed = |error: std::io::Error| CliError::io(format!("{}", state.display()), &error);
    std::fs::create_dir_all(&state).map_err(failed)?;
    let scratch = tempfile::tempdir_in(&state).map_err(failed)?;
    let meter = Arc::new(Meter::new(*printer));
    let copied = client(meter.clone()).copy(&from, &push, scratch.path()).await;
    meter.finish();
    let pushed = copied.map_err(refused)?.ok_or_else(|| missing(&from))?;
    told(&to, &tags, &pushed, since, printer)
}

async fn retag(image: &str, tags: &[String], immutable: bool, printer: &Printer) -> CliResult<ExitCode> {
    let since = Instant::now();
    let from = Reference::parse(image).map_err(port_error)?;
    if let Some(bad) = tags.iter().find(|tag| !is_tag(tag)) {
        return Err(CliError::new(ExitCode::Usage, format!("{bad:?} is no tag")));
    }
    let push = Push { repository: &from.repository, tags, immutable, create_repository: false, mounts: &[] };
    let tagged = client(Arc::new(Quiet)).retag(&push, &from.version()).await.map_err(refused)?;
    told(&from, tags, &tagged.ok_or_else(|| missing(&from))?, since, printer)
}

fn missing(image: &Reference) -> CliError {
    CliError::new(ExitCode::NotFound, format!("{}:{}: there is no such image", image.repository, image.version()))
        .hint(format!("landfall images list {}", image.repository))
}

fn told(to: &Reference, tags: &[String], pushed: &Pushed, since: Instant, printer: &Printer) -> CliResult<ExitCode> {
    let names = if tags.is_empty() { String::new() } else { format!(":{}", tags.join(", :")) };
    let said = format!("{}{names}  {}", to.repository, summary(pushed));
    Progress::new(*printer).line(Mark::Done, &said, Some(since.elapsed()));
    let image = format!("{}@{}", to.repository, pushed.digest);
    printer.emit(&serde_json::json!({"image": image, "tags": tags, "pushed": pushed}), |_| image.clone())?;
    Ok(ExitCode::Ok)
}

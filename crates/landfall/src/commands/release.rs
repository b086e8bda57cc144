//! `landfall release`: what a commit is, recorded beside its images; and the same for `push`, which records, and `deploy`, which goes by it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use comfy_table::Cell;
use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_model::pipeline::PipelineRelease;
use landfall_planner::plan::ImageOverride;
use landfall_registry::watch::Quiet;
use landfall_registry::{Client, Digest, Reference, Repository};
use serde::Serialize;

use crate::build::{self, Words};
use crate::cli::Global;
use crate::cli::environment::WhatArgs;
use crate::cli::release::{CreateArgs, ListArgs, ReleaseCommand, ShowArgs};
use crate::commands::push::{client, client_of};
use crate::commands::{manifest, pipeline, port_error};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::root;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};
use crate::release::{self, Found, Put, Release, gather, provenance};
use crate::render::{ago, short, table, trimmed};

type Repositories = BTreeMap<String, Repository>;

pub(crate) async fn run(command: ReleaseCommand, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        ReleaseCommand::Create(args) => create(&args, global, printer).await,
        ReleaseCommand::Show(args) => show(&args, global, printer).await,
        ReleaseCommand::List(args) => list(&args, global, printer).await,
        ReleaseCommand::Current(args) => pipeline::current(&args.environment, global, printer).await,
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a Digest,
    repositories: &'a [String],
    #[serde(flatten)]
    release: &'a Release,
}

impl<'a> Answer<'a> {
    fn of(found: &'a Found) -> Self {
        Self { id: &found.id, repositories: &found.repositories, release: &found.release }
    }
}

async fn create(args: &CreateArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    #[derive(Serialize)]
    struct Created<'a> {
        what: Put,
        #[serde(flatten)]
        answer: Answer<'a>,
    }
    let app = manifest::load(&global.config, printer)?;
    let root = root(&global.config)?;
    let client = client_of(&app, Arc::new(Quiet));
    let (put, found) = record(&app, &root, &client, &BTreeMap::new(), args.replace, printer).await?;
    printer.emit(&Created { what: put, answer: Answer::of(&found) }, |_| found.id.to_string())?;
    Ok(ExitCode::Ok)
}

async fn show(args: &ShowArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let (client, project, repositories) = places(&args.repositories, global, printer)?;
    let wanted = match &args.release {
        Some(wanted) => wanted.clone(),
        None => build::head(&root(&global.config)?).commit.ok_or_else(|| unknown_commit(ExitCode::Usage))?,
    };
    let found = release::find(&client, &repositories, project.as_deref(), &wanted).await?;
    let found = found.ok_or_else(|| none(&wanted, &repositories))?;
    printer.emit(&Answer::of(&found), |_| one_text(&found, Timestamp::now()))?;
    Ok(ExitCode::Ok)
}

async fn list(args: &ListArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let (client, project, repositories) = places(&args.repositories, global, printer)?;
    let all = release::all(&client, &repositories, project.as_deref(), args.limit).await.map_err(port_error)?;
    let answers: Vec<Answer<'_>> = all.iter().map(Answer::of).collect();
    printer.emit(&answers, |_| many_text(&all, Timestamp::now()))?;
    Ok(ExitCode::Ok)
}

/// What is recorded is what the registry has: nothing is taken from this machine's own records.
async fn record(
    app: &App,
    root: &Path,
    client: &Client,
    known: &BTreeMap<String, Digest>,
    replace: bool,
    printer: &Printer,
) -> CliResult<(Put, Found)> {
    let since = Instant::now();
    let head = build::head(root);
    let words = build::words_of(&app.project, &head);
    let commit = head.commit.clone().filter(|commit| release::is_commit(commit));
    let commit = commit.ok_or_else(|| unknown_commit(ExitCode::Usage))?;
    let repositories = own(app, &words)?;
    let services = gather(app, &words, client, known, printer).await?;
    let made = Release {
        project: app.project.clone(),
        commit,
        branch: head.branch,
        tag: head.tag,
        // Whole seconds: their text sorts as they do.
        created: Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default(),
        services,
        provenance: provenance(root),
    };
    let (put, found) = release::put(client, &repositories, &made, replace).await?;
    let what = match put {
        Put::Created => "",
        Put::Existed => ", was there",
        Put::Replaced => ", in the place of another one of this commit",
    };
    let mark = if put == Put::Existed { Mark::Skipped } else { Mark::Done };
    let said = format!("Release {}  sha256:{}{what}", short(&found.release.commit), found.id.short());
    Progress::new(*printer).line(mark, &said, Some(since.elapsed()));
    Ok((put, found))
}

/// Where a push ends before there is a release of it.
pub(crate) const UNRECORDED: &str = "the images are pushed; `landfall release create` records their release";

/// After a push: `known` are the digests that it has sent, by reference. Where there cannot be a release yet, that is said and is no error.
pub(crate) async fn after_push(
    app: &App,
    config: &Path,
    client: &Client,
    known: &BTreeMap<String, Digest>,
    immutable: bool,
    printer: &Printer,
) -> CliResult<()> {
    match record(app, &root(config)?, client, known, !immutable, printer).await {
        Ok(_) => Ok(()),
        Err(error) if cannot_be(&error) => {
            printer.note(format_args!("no release is recorded: {}", error.message));
            Ok(())
        }
        Err(error) => Err(error.hint(UNRECORDED)),
    }
}

/// Nobody's failure: there is no commit, an image is others' to push, or the registry takes no artifacts.
fn cannot_be(error: &CliError) -> bool {
    let refused = error.code == ExitCode::Failed && error.message.contains("LF-REGISTRY-REFUSED");
    refused || matches!(error.code, ExitCode::Usage | ExitCode::NotFound | ExitCode::InvalidManifest)
}

/// For `--release` of `deploy`, `plan`, `diff` and `verify`: the commit, and its images instead of the manifest's. `None`: there is no such
/// release, and a commit was given to go by then.
pub(crate) async fn deployable(
    wanted: &str,
    args: &WhatArgs,
    global: &Global,
    printer: &Printer,
) -> CliResult<Option<(String, Vec<ImageOverride>)>> {
    // What there is to say of the manifest is told by whoever deploys.
    let app = manifest::load(&global.config, &Printer::new(printer.format, printer.color(), true))?;
    let words = build::words(&app.project, &root(&global.config)?);
    let repositories = match own(&app, &words) {
        Err(_) if args.commit.is_some() => return Ok(None),
        repositories => repositories?,
    };
    let client = client_of(&app, Arc::new(Quiet));
    let found = match release::find(&client, &repositories, Some(&app.project), wanted).await {
        // Whoever deploys by commit need not be allowed to read the registry.
        Err(error) if args.commit.is_some() && matches!(error.code, ExitCode::Denied | ExitCode::Usage) => {
            printer.note(format_args!("by commit, because its release cannot be read: {}", error.message));
            return Ok(None);
        }
        found => found?,
    };
    let Some(found) = found else {
        return match args.commit {
            Some(_) => {
                printer.note(format_args!("{} has no release: by the images that are named after it", short(wanted)));
                Ok(None)
            }
            None => Err(none(wanted, &repositories)),
        };
    };
    let release = found.release;
    let at = ago(release.created, Timestamp::now());
    let by = &release.provenance.by;
    printer.note(format_args!("release sha256:{} of {}, {at} by {by}", found.id.short(), short(&release.commit)));
    let name = args.environment.as_deref();
    let environment = match name {
        Some(name) => app.environments.get(name.strip_prefix(&format!("{}@", app.project)).unwrap_or(name)),
        None => app.environments.values().next(),
    };
    // An environment that is not there is told by who knows them all.
    let deployed = environment.map_or(&[][..], |environment| environment.services.as_slice());
    let mut images = Vec::new();
    for service in deployed.iter().filter(|name| args.services.is_empty() || args.services.contains(name)) {
        let (Some(part), Some(own)) = (release.services.get(service), app.services.get(service)) else { continue };
        for (container, shipped) in part.containers.iter().filter(|(_, shipped)| shipped.image.contains('@')) {
            let given = |one: &ImageOverride| {
                one.container == *container && one.service.as_ref().is_none_or(|given| given == service)
            };
            let is_here = own.containers.iter().any(|here| here.name == *container);
            if is_here && !args.images.iter().any(given) {
                let (service, image) = (Some(service.clone()), shipped.image.clone());
                images.push(ImageOverride { service, container: container.clone(), image });
            }
        }
    }
    Ok(Some((release.commit, images)))
}

/// For `pipeline run --release`: its images, by digest.
pub(crate) async fn promoted(wanted: &str, global: &Global, printer: &Printer) -> CliResult<PipelineRelease> {
    let app = manifest::load(&global.config, &Printer::new(printer.format, printer.color(), true))?;
    let words = build::words(&app.project, &root(&global.config)?);
    let repositories = own(&app, &words)?;
    let client = client_of(&app, Arc::new(Quiet));
    let found = release::find(&client, &repositories, Some(&app.project), wanted).await?;
    let found = found.ok_or_else(|| none(wanted, &repositories))?;
    let images = found.release.services.iter().map(|(service, part)| {
        let own = app.services.get(service).map(|own| own.containers.as_slice()).unwrap_or_default();
        // Of what the manifest has no more, nothing is deployed.
        let here = part.containers.iter().filter(|(name, _)| own.iter().any(|container| container.name == **name));
        (service.clone(), here.map(|(name, shipped)| (name.clone(), shipped.image.clone())).collect())
    });
    Ok(PipelineRelease {
        id: Some(found.id.to_string()),
        commit: Some(found.release.commit.clone()),
        branch: found.release.branch.clone(),
        images: images.filter(|(service, _)| app.services.contains_key(service)).collect(),
    })
}

fn unknown_commit(code: ExitCode) -> CliError {
    CliError::new(code, "the commit is not known").hint("LANDFALL_COMMIT says it, or a git repository")
}

fn none(wanted: &str, repositories: &Repositories) -> CliError {
    let names: Vec<&str> = repositories.keys().map(String::as_str).collect();
    CliError::new(ExitCode::NotFound, format!("there is no release of {wanted} in {}", names.join(", ")))
        .hint("`landfall release list` shows what there is; `landfall push` and `landfall release create` make one")
}

/// Repositories as given, with any project's releases; else the manifest's, with its own.
fn places(given: &[String], global: &Global, printer: &Printer) -> CliResult<(Client, Option<String>, Repositories)> {
    if given.is_empty() {
        let app = manifest::load(&global.config, printer)?;
        let words = build::words(&app.project, &root(&global.config)?);
        return Ok((client_of(&app, Arc::new(Quiet)), Some(app.project.clone()), own(&app, &words)?));
    }
    Ok((client(Arc::new(Quiet)), None, named(given)?))
}

/// Repositories by their names on the command line.
pub(crate) fn named(given: &[String]) -> CliResult<Repositories> {
    let mut all = Repositories::new();
    for text in given {
        let reference = Reference::parse(text).map_err(port_error)?;
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(CliError::new(ExitCode::Usage, format!("{text} names an image and not a repository")));
        }
        all.insert(reference.repository.to_string(), reference.repository);
    }
    Ok(all)
}

/// The manifest's own.
pub(crate) fn own(app: &App, words: &Words) -> CliResult<Repositories> {
    let all = release::repositories(app, words).map_err(|why| CliError::new(ExitCode::InvalidManifest, why))?;
    if all.is_empty() {
        return Err(CliError::new(ExitCode::NotFound, "the manifest awaits no image of a registry")
            .hint("`await` with `image` names one (docs/images.md); or give a repository"));
    }
    Ok(all)
}

fn one_text(found: &Found, now: Timestamp) -> String {
    let (release, mut out) = (&found.release, String::new());
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<12}{value}");
    };
    field("release", &found.id.to_string());
    field("project", &release.project);
    let dirty = if release.provenance.dirty { ", with changes that were not committed" } else { "" };
    field("commit", &format!("{}{dirty}", release.commit));
    for (name, value) in [("branch", &release.branch), ("tag", &release.tag), ("source", &release.provenance.source)] {
        if let Some(value) = value {
            field(name, value);
        }
    }
    field("created", &format!("{}, {}", release.created, ago(release.created, now)));
    field(
        "by",
        &format!(
            "{} on {}, landfall {}",
            release.provenance.by, release.provenance.machine, release.provenance.landfall
        ),
    );
    if let Some(ci) = &release.provenance.ci {
        let parts = [Some(&ci.host), ci.job.as_ref(), ci.url.as_ref()];
        field("ci", &parts.into_iter().flatten().cloned().collect::<Vec<_>>().join("  "));
    }
    field("kept in", &found.repositories.join(", "));
    for (service, part) in &release.services {
        let _ = writeln!(out, "\n{service}  configuration {}", part.config);
        for (container, shipped) in &part.containers {
            let _ = writeln!(out, "  {container:<10}{}", shipped.image);
        }
    }
    out
}

fn many_text(all: &[Found], now: Timestamp) -> String {
    if all.is_empty() {
        return "no releases\n".to_owned();
    }
    let mut table = table(&["commit", "release", "of", "created", "by", "images"]);
    for found in all {
        let release = &found.release;
        let images = release.services.iter().flat_map(|(service, part)| {
            part.containers.iter().filter(|(_, shipped)| !shipped.foreign).map(move |(container, shipped)| {
                let digest = shipped.image.rsplit_once("sha256:").map_or("-", |(_, hex)| hex.get(..12).unwrap_or(hex));
                format!("{service}/{container}={digest}")
            })
        });
        table.add_row([
            Cell::new(short(&release.commit)),
            Cell::new(format!("sha256:{}", found.id.short())),
            Cell::new(release.tag.as_deref().or(release.branch.as_deref()).unwrap_or("-")),
            Cell::new(ago(release.created, now)),
            Cell::new(&release.provenance.by),
            Cell::new(images.collect::<Vec<_>>().join(" ")),
        ]);
    }
    trimmed(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_fails_only_for_a_release_that_could_be() {
        let of = |code, message: &str| cannot_be(&CliError::new(code, message));
        assert!(of(ExitCode::NotFound, "web/app: r/x:1 is not there"));
        assert!(of(ExitCode::Failed, "the release is not kept in r/x: LF-REGISTRY-REFUSED: manifest invalid"));
        for code in [ExitCode::Denied, ExitCode::Unavailable, ExitCode::Conflict, ExitCode::Failed] {
            assert!(!of(code, "LF-REGISTRY-DIGEST"), "{code:?}");
        }
    }
}

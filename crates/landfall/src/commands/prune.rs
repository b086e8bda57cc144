//! `landfall images prune`: what a repository has and nothing needs goes, and nothing else.
//!
//! Repositories are read first and what is needed last, so that what is deployed meanwhile is seen. Every listing must be whole: one that
//! fails ends the command before anything is deleted. So does a deployment under way, whose image may not run yet.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_ports::Platform;
use landfall_registry::watch::Quiet;
use landfall_registry::{Client, Digest, Held, Repository};
use landfall_server::control::{ControlRequest, ControlResponse};
use landfall_workflow::release::KEPT;
use serde::Serialize;

use crate::assemble::{Purpose, instance_of};
use crate::backend::Backend;
use crate::build;
use crate::cli::Global;
use crate::cli::images::PruneArgs;
use crate::commands::executions;
use crate::commands::link::{Link, unexpected};
use crate::commands::push::{client_of, refused};
use crate::commands::release::{named, own};
use crate::commands::{manifest, port_error};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::{State, root};
use crate::places::Places;
use crate::printer::Printer;
use crate::prune::{Needed, Plan, Rules, plan};
use crate::render::{ago, table, trimmed};

/// Unfinished executions that are told.
const UNDER_WAY: u32 = 10;

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// How many were deleted.
    deleted: usize,
}

pub(crate) async fn run(args: &PruneArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = manifest::load(&global.config, printer).map_err(|error| {
        error.hint("the manifest says where images are deployed: without it nobody knows what is needed")
    })?;
    let repositories = match args.repositories.as_slice() {
        [] => own(&app, &build::words(&app.project, &root(&global.config)?))?,
        given => named(given)?,
    };
    let client = client_of(&app, Arc::new(Quiet));
    let mut stocks: Vec<(&Repository, BTreeMap<Digest, Held>)> = Vec::new();
    for (name, repository) in &repositories {
        let stock = client.stock(repository).await.map_err(|error| not_listed(name, refused(error)))?;
        stocks.push((repository, stock));
    }
    let needed = needed(&app, global, printer).await?;
    let rules = Rules { newest: args.newest, younger: args.younger, tags: args.tags.clone(), releases: args.releases };
    let now = Timestamp::now();
    let plans: Vec<Plan> =
        stocks.iter().map(|(repository, stock)| plan(repository, stock, &needed, &rules, now)).collect();
    let mut deleted = vec![0; plans.len()];
    let mut stays = Vec::new();
    let mut failed = None;
    if args.yes {
        for (at, plan) in plans.iter().enumerate() {
            match delete(&client, stocks[at].0, plan, &mut deleted[at]).await {
                Ok(refused) => stays.extend(refused),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
    }
    let all: usize = plans.iter().map(|plan| plan.delete.len()).sum();
    let gone: usize = deleted.iter().sum();
    let answers: Vec<Answer<'_>> =
        plans.iter().zip(&deleted).map(|(plan, deleted)| Answer { plan, deleted: *deleted }).collect();
    printer.emit(&answers, |_| plans.iter().map(|plan| text(plan, now)).collect::<Vec<_>>().join("\n"))?;
    if let Some(error) = failed {
        return Err(error.hint(format!("{gone} of {all} were deleted before; the command again goes on")));
    }
    for why in &stays {
        printer.warn(why);
    }
    match (args.yes, all) {
        (_, 0) => printer.note("nothing has to go"),
        (false, _) => printer.note(format_args!("nothing was deleted; with --yes {all} go")),
        (true, _) => printer.note(format_args!("{gone} of {all} deleted")),
    }
    Ok(if stays.is_empty() { ExitCode::Ok } else { ExitCode::Failed })
}

async fn delete(client: &Client, repository: &Repository, plan: &Plan, deleted: &mut usize) -> CliResult<Vec<String>> {
    let digests: Vec<Digest> = plan.delete.iter().map(|one| one.digest.clone()).collect();
    let refused_ones = client.delete_manifests(repository, &digests, |_| *deleted += 1).await.map_err(|error| {
        let forbidden = error.to_string().contains("does not allow it");
        let error = refused(error);
        match forbidden {
            true => error.hint(
                "distribution deletes with `storage.delete.enabled: true` in its configuration (REGISTRY_STORAGE_DELETE_ENABLED)",
            ),
            false => error,
        }
    })?;
    Ok(refused_ones.into_iter().map(|one| format!("{repository}@{}: {}", one.digest, one.why)).collect())
}

fn not_listed(what: &str, mut error: CliError) -> CliError {
    error.message = format!("nothing is pruned, because {what} cannot be listed: {}", error.message);
    error
}

/// Everything that is deployed or may be gone back to, as this state and the places of the manifest tell.
async fn needed(app: &App, global: &Global, printer: &Printer) -> CliResult<Needed> {
    let mut needed = Needed::default();
    let failed = |error| not_listed("what was deployed", error);
    let link = Link::open(global, printer, Purpose::LookAtEnvironment).await.map_err(failed)?;
    let released = released(&link, app, &mut needed).await;
    link.close().await;
    released?;
    let state = State::of(global.state.clone())?;
    let instance = instance_of(state.directory()).unwrap_or_default();
    let places = Places::connect(app, &instance).await.map_err(failed)?;
    let backend = Backend::new(state.directory(), app, &instance, &places).map_err(failed)?;
    let mut platforms: BTreeMap<Option<String>, Platform> = BTreeMap::new();
    let environments = backend.environments();
    for (name, environment) in &app.environments {
        if let Some(platform) = environments.get(name) {
            platforms.insert(environment.on.clone(), platform.clone());
        }
    }
    if app.previews.is_some() {
        platforms.insert(app.preview_target().map(|target| target.name.clone()), backend.previews());
    }
    if platforms.is_empty() {
        printer.warn("the manifest deploys nothing: only the rules say what stays");
    }
    let mut listed = Ok(());
    for (on, platform) in &platforms {
        let place = on.as_deref().unwrap_or("this machine");
        match platform.orchestrator.images_in_use().await {
            Ok(images) => {
                let why = format!("deployed on {place}");
                images.iter().for_each(|image| needed.add(image, &why));
            }
            Err(error) => {
                listed = Err(not_listed(&format!("what runs on {place}"), port_error(error)));
                break;
            }
        }
    }
    backend.shutdown();
    listed.map(|()| needed)
}

async fn released(link: &Link, app: &App, needed: &mut Needed) -> CliResult<()> {
    let failed = |error| not_listed("what was deployed", error);
    let request = ControlRequest::Executions { environment: None, unfinished_only: true, limit: UNDER_WAY };
    let under_way = executions::list(link, request).await.map_err(failed)?;
    if let Some(one) = under_way.first() {
        let message = format!("nothing is pruned while something is under way: {} ({})", one.title, one.id);
        return Err(CliError::new(ExitCode::Conflict, message)
            .hint(format!("`landfall wait {}` waits for its end; `landfall executions list` shows all", one.id)));
    }
    for name in app.environments.keys() {
        let request = ControlRequest::Releases { environment: name.clone(), limit: KEPT, all: false };
        let releases = match link.call(request).await.map_err(failed)? {
            ControlResponse::Releases(releases) => releases,
            other => return Err(unexpected(&other)),
        };
        for release in releases {
            let why = if release.present { format!("released to {name}") } else { format!("{name} may go back to it") };
            let images = release.services.values().flat_map(|service| service.images.values());
            images.for_each(|image| needed.add(image, &why));
        }
    }
    Ok(())
}

fn text(plan: &Plan, now: Timestamp) -> String {
    let mut out = String::new();
    let (goes, stays) = (plan.delete.len(), plan.keep.len());
    let _ = writeln!(out, "{}: {goes} to delete, {stays} stay", plan.repository);
    if goes + stays == 0 {
        return out;
    }
    let mut rows = table(&["", "image", "age", "why", "tags"]);
    for (what, verdicts) in [("delete", &plan.delete), ("keep", &plan.keep)] {
        for one in verdicts {
            let age = one.since.map_or_else(|| "-".to_owned(), |since| ago(since, now));
            rows.add_row([what, one.digest.short(), &age, &one.why, &one.tags.join(" ")]);
        }
    }
    out.push_str(&trimmed(&rows));
    out
}

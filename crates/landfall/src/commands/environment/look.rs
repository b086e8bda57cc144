//! `releases`, `status ENV`, `logs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::Cell;
use landfall_model::Timestamp;
use landfall_ports::orchestrator::{RolloutState, ServiceDescription};
use landfall_server::control::{ControlRequest, ControlResponse};
use landfall_server::deploy::{EnvironmentDetail, ReleaseSummary, ServiceDetail};
use landfall_workflow::ExecutionState;

use super::{environment, named};
use crate::assemble::Purpose;
use crate::cli::Global;
use crate::cli::environment::{LogsArgs, ReleasesArgs};
use crate::commands::link::{Link, server, unexpected};
use crate::commands::strategy::{Reached, reach};
use crate::commands::{logs as lines, manifest, port_error};
use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::paths::State;
use crate::printer::Printer;
use crate::render::{ago, outcome, short, table, trimmed};

/// Events of a service that are shown.
const EVENTS: usize = 5;

pub(crate) async fn releases(args: &ReleasesArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::LookAtEnvironment, async |link| {
        let environment = named(args.environment.as_ref());
        let request = ControlRequest::Releases { environment, limit: args.limit, all: args.all };
        let releases = match link.call(request).await? {
            ControlResponse::Releases(releases) => releases,
            other => return Err(unexpected(&other)),
        };
        printer.emit(&releases, |releases| releases_text(releases, args.all, Timestamp::now()))?;
        Ok(ExitCode::Ok)
    })
    .await
}

pub(crate) async fn status(name: &str, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::LookAtEnvironment, async |link| {
        let detail = environment(link, name).await?;
        printer.emit(&detail, |detail| status_text(detail, Timestamp::now()))?;
        Ok(ExitCode::Ok)
    })
    .await
}

pub(crate) async fn logs(args: &LogsArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    if args.follow
        && let Some(code) = followed_directly(args, global, printer).await?
    {
        return Ok(code);
    }
    Link::with(global, printer, Purpose::LookAtEnvironment, async |link| {
        let id = environment(link, &args.environment).await?.id;
        lines::run(link, &id, args.tail, args.follow, printer).await
    })
    .await
}

/// Whoever follows does so for hours, and must not hold the state from those who deploy meanwhile: on AWS the platform is asked
/// without it. `None`: the environment is on this machine, a server has the state, or there is no such environment.
async fn followed_directly(args: &LogsArgs, global: &Global, printer: &Printer) -> CliResult<Option<ExitCode>> {
    if let State::Directory(directory) = State::of(global.state.clone())?
        && server(&directory).await.is_some()
    {
        return Ok(None);
    }
    // What is wrong with the manifest is told by those who go on.
    let quiet = Printer::new(printer.format, printer.color(), true);
    let Ok(app) = manifest::load(&global.config, &quiet) else { return Ok(None) };
    let name = args.environment.strip_prefix(&format!("{}@", app.project)).unwrap_or(&args.environment);
    let Some(environment) = app.environments.get(name).filter(|environment| environment.on.is_some()) else {
        return Ok(None);
    };
    let Reached { backend, orchestrator } = reach(&app, environment, global, printer).await?;
    let services = landfall_planner::names::lasting_services(&app, environment);
    let followed = orchestrator.follow_logs(environment.id(&app.project).as_str(), &services, args.tail).await;
    let ended = match followed {
        Ok(mut stream) => lines::follow(async || stream.next().await.map(Ok), printer).await,
        Err(error) => Err(port_error(error)),
    };
    backend.shutdown();
    ended.map(|_| Some(ExitCode::Ok))
}

fn releases_text(releases: &[ReleaseSummary], all: bool, now: Timestamp) -> String {
    if releases.is_empty() {
        return "no releases\n".to_owned();
    }
    let header = ["", "release", "kind", "commit", "when", "by", "images"];
    let mut table = match all {
        true => table(&["", "release", "kind", "commit", "when", "by", "images", "outcome"]),
        false => table(&header),
    };
    for release in releases {
        let images = release.services.iter().flat_map(|(service, one)| {
            one.images.iter().filter(|(_, image)| !image.is_empty()).map(move |(container, image)| {
                let who = if container == service { service.clone() } else { format!("{service}/{container}") };
                format!("{who}={}", short_image(image))
            })
        });
        let at = release.finished_at.or(release.created_at);
        let mut row = vec![
            Cell::new(if release.present { "*" } else { "" }),
            Cell::new(&release.id),
            Cell::new(release.kind.trim_start_matches("environment.")),
            Cell::new(release.commit.as_deref().map_or("-", short)),
            Cell::new(at.map_or_else(|| "-".to_owned(), |at| ago(at, now))),
            Cell::new(&release.by),
            Cell::new(images.collect::<Vec<_>>().join(" ")),
        ];
        if all {
            row.push(Cell::new(release.outcome.map_or("under way", outcome)));
        }
        table.add_row(row);
    }
    trimmed(&table)
}

/// `sha256:1a2b3c4d5e6f` and a digest's first twelve; the rest is for JSON.
fn short_image(image: &str) -> String {
    match image.rsplit_once("sha256:") {
        Some((name, digest)) => {
            let digest = digest.get(..12).unwrap_or(digest);
            let name = name.trim_end_matches('@').rsplit('/').next().unwrap_or_default();
            if name.is_empty() { format!("sha256:{digest}") } else { format!("{name}@{digest}") }
        }
        None => image.to_owned(),
    }
}

fn status_text(detail: &EnvironmentDetail, now: Timestamp) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<14}{value}");
    };
    field("environment", &detail.name);
    field("on", detail.on.as_deref().unwrap_or("this machine"));
    field("url", detail.url.as_deref().unwrap_or("-"));
    match &detail.release {
        Some(release) => {
            let commit = release.commit.as_deref().map_or_else(String::new, |commit| format!(" at {}", short(commit)));
            let at = release.finished_at.map_or_else(String::new, |at| format!(", {}", ago(at, now)));
            field("release", &format!("{}{commit}{at} by {}", release.id, release.by));
        }
        None => field("release", "none"),
    }
    if let Some(lock) = &detail.lock {
        field("locked", &format!("by {} {}: {}", lock.by, ago(lock.at, now), lock.reason));
    }
    if let Some(view) = &detail.execution {
        let how = match (view.state, view.outcome) {
            (_, Some(end)) => outcome(end).to_owned(),
            (ExecutionState::Paused, _) => "waits for an operator".to_owned(),
            _ => format!("under way: {}", view.message.as_deref().unwrap_or("begun")),
        };
        field("last", &format!("{} ({}), {how}", view.title, view.id));
    }
    let mut services = table(&["service", "name", "status", "desired", "running", "pending", "definition", "images"]);
    for service in &detail.services {
        let number = |of: fn(&ServiceDescription) -> u32| {
            service.found.as_ref().map_or_else(|| "-".to_owned(), |found| of(found).to_string())
        };
        let images: BTreeMap<&str, String> =
            service.images.iter().map(|(container, image)| (container.as_str(), short_image(image))).collect();
        let images: Vec<String> = images.into_iter().map(|(container, image)| format!("{container}={image}")).collect();
        services.add_row([
            Cell::new(&service.service),
            Cell::new(&service.name),
            Cell::new(word(service)),
            Cell::new(number(|found| found.desired)),
            Cell::new(number(|found| found.running)),
            Cell::new(number(|found| found.pending)),
            Cell::new(service.found.as_ref().map_or("-", |found| last_part(&found.task_definition))),
            Cell::new(if images.is_empty() { "-".to_owned() } else { images.join(" ") }),
        ]);
    }
    let _ = write!(out, "\n{}", trimmed(&services));
    for service in &detail.services {
        let Some(found) = &service.found else { continue };
        let moving = found.deployments.len() > 1
            || found.deployments.iter().any(|deployment| deployment.rollout != RolloutState::Completed);
        if moving {
            let _ = writeln!(out, "\n{} deployments", service.service);
            let mut deployments = table(&["id", "rollout", "definition", "desired", "running", "pending", "failed"]);
            for one in &found.deployments {
                deployments.add_row([
                    one.id.clone(),
                    format!("{:?}", one.rollout),
                    last_part(&one.task_definition).to_owned(),
                    one.desired.to_string(),
                    one.running.to_string(),
                    one.pending.to_string(),
                    one.failed_tasks.to_string(),
                ]);
            }
            out.push_str(&trimmed(&deployments));
        }
        if !found.events.is_empty() {
            let _ = writeln!(out, "\n{} events", service.service);
            for event in found.events.iter().take(EVENTS) {
                let _ = writeln!(out, "{:>10}  {}", ago(event.at, now), event.message);
            }
        }
    }
    out
}

fn word(service: &ServiceDetail) -> &'static str {
    let Some(found) = &service.found else { return "not there" };
    match found.deployments.first().map(|deployment| deployment.rollout) {
        _ if found.status == landfall_ports::orchestrator::ServiceStatus::Draining => "draining",
        Some(RolloutState::InProgress) => "deploying",
        Some(RolloutState::Completed) if found.running < found.desired => "below desired",
        Some(RolloutState::Completed) => "steady",
        Some(RolloutState::RolledBack) => "rolled back",
        Some(_) => "failed",
        None => "unknown",
    }
}

/// `family:revision` of an ARN.
fn last_part(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_short_and_still_tell_which() {
        assert_eq!(short_image("sha256:0123456789abcdef0123"), "sha256:0123456789ab");
        assert_eq!(short_image("registry.example/team/app@sha256:0123456789abcdef"), "app@0123456789ab");
        assert_eq!(short_image("nginx:1.29"), "nginx:1.29");
        assert_eq!(last_part("arn:aws:ecs:eu-west-1:111122223333:task-definition/web:3"), "web:3");
    }
}

//! What goes into a release: images as their registries have them, and where this is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use landfall_ci::detect::{Sources, Variables, detect, event_file, host};
use landfall_ci::{Git, Host};
use landfall_model::app::{App, ImageSource};
use landfall_ports::PortError;
use landfall_registry::{Client, Digest, Reference};

use super::{CiRun, Part, Provenance, Shipped};
use crate::build::{self, Words};
use crate::commands::link::actor;
use crate::commands::port_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

/// For the digest of an image that is somebody else's: a release does without.
const FOREIGN: Duration = Duration::from_secs(10);

/// The images of all services, by digest. `known`: digests that are known already, by reference.
///
/// # Errors
/// `NotFound`: an image of the manifest's own is not in its registry.
pub(crate) async fn gather(
    app: &App,
    words: &Words,
    client: &Client,
    known: &BTreeMap<String, Digest>,
    printer: &Printer,
) -> CliResult<BTreeMap<String, Part>> {
    // What several containers run is asked for once.
    let mut seen: BTreeMap<String, Option<Shipped>> = BTreeMap::new();
    let mut services = BTreeMap::new();
    for service in app.services.values() {
        let mut containers = BTreeMap::new();
        for container in &service.containers {
            let who = format!("{}/{}", service.name, container.name);
            let image = match &container.image {
                ImageSource::Await(wanted) => words.fill(&wanted.image).map_err(|name| {
                    CliError::new(ExitCode::Usage, format!("{who}: nothing is known for {name} of its image's name"))
                })?,
                ImageSource::Reference(reference) => reference.clone(),
                // The base's own, or built where it is deployed: neither is in a registry of ours.
                ImageSource::Base | ImageSource::Build(_) => continue,
            };
            let foreign = matches!(container.image, ImageSource::Reference(_));
            if let Some(shipped) = seen.get(&image) {
                containers.extend(shipped.clone().map(|shipped| (container.name.clone(), shipped)));
                continue;
            }
            let shipped = match foreign {
                true => Some(Shipped { image: others(&who, &image, client, printer).await, foreign }),
                false => ours(&who, &image, client, known).await?.map(|image| Shipped { image, foreign }),
            };
            seen.insert(image, shipped.clone());
            containers.extend(shipped.map(|shipped| (container.name.clone(), shipped)));
        }
        let config = super::config(service).map_err(port_error)?;
        services.insert(service.name.clone(), Part { config, containers });
    }
    Ok(services)
}

/// `None`: of this machine's engine only.
async fn ours(who: &str, image: &str, client: &Client, known: &BTreeMap<String, Digest>) -> CliResult<Option<String>> {
    let reference = Reference::parse(image).map_err(port_error)?;
    if reference.repository.registry == "localhost" {
        return Ok(None);
    }
    let digest = match known.get(&reference.to_string()) {
        Some(digest) => Some(digest.clone()),
        None => {
            let found = client.find(&reference.repository, &reference.version()).await.map_err(port_error)?;
            found.and_then(|found| found.digest)
        }
    };
    let missing =
        || CliError::new(ExitCode::NotFound, format!("{who}: {image} is not there")).hint("`landfall push` sends it");
    Ok(Some(format!("{}@{}", reference.repository, digest.ok_or_else(missing)?)))
}

/// By digest where it can be told soon.
async fn others(who: &str, image: &str, client: &Client, printer: &Printer) -> String {
    if image.contains("@sha256:") {
        return image.to_owned();
    }
    let why = match tokio::time::timeout(FOREIGN, client.resolve(image)).await {
        Ok(Ok(Some(pinned))) => return pinned,
        Ok(Ok(None)) => "it is not there".to_owned(),
        Ok(Err(PortError::Unavailable(why) | PortError::Denied(why))) => why,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its registry does not answer".to_owned(),
    };
    printer.note(format_args!("{who}: the release has {image} without its digest: {why}"));
    image.to_owned()
}

pub(crate) fn provenance(root: &Path) -> Provenance {
    let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let variables: Variables = std::env::vars_os().filter_map(readable).collect();
    let file = event_file(&variables).and_then(|path| std::fs::read(path).ok());
    let sources = Sources { variables: Some(&variables), event_file: file.as_deref(), git: Git::default() };
    let run = Some(host(&variables)).filter(|host| *host != Host::Laptop);
    let context = run.and_then(|_| detect(&sources).ok());
    let ci = run.map(|host| CiRun {
        host: host.name().to_owned(),
        job: context.as_ref().and_then(|context| context.job.clone()),
        url: context.as_ref().and_then(|context| context.url.clone()),
    });
    Provenance {
        by: context.and_then(|context| context.actor).unwrap_or_else(actor),
        machine: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        landfall: env!("CARGO_PKG_VERSION").to_owned(),
        source: build::origin(root),
        dirty: build::is_changed(root),
        ci,
    }
}

//! `landfall push --from`: an image from this machine into a registry. The digest on stdout; everything else on stderr.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use landfall_model::app::App;
use landfall_model::aws::AwsTarget;
use landfall_ports::registry::CloudRegistry;
use landfall_ports::{PortError, PortResult};
use landfall_registry::credentials::Places;
use landfall_registry::manifest::{Descriptor, Document};
use landfall_registry::source::{Archive, Kind, Layers, Layout, Source, repack};
use landfall_registry::watch::Watcher;
use landfall_registry::{Client, Place, Push, Pushed, Reference, is_tag};
use serde::Serialize;

use crate::cli::Global;
use crate::cli::images::PushArgs;
use crate::commands::{engine_options, port_error, publish};
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::meter::{Meter, size};
use crate::paths;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};
use crate::stop::Stop;

#[derive(Serialize)]
struct Answer<'a> {
    /// As a task definition names it: with its digest.
    image: String,
    repository: String,
    tags: &'a [String],
    #[serde(flatten)]
    pushed: &'a Pushed,
    duration_ms: u64,
}

pub(crate) async fn run(args: &PushArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let (given, from) = match (&args.target, &args.from) {
        (Some(target), Some(from)) => (target, from),
        (None, None) => return publish::run(args, global, printer).await,
        _ => {
            return Err(CliError::new(ExitCode::Usage, "--from and a target belong together")
                .hint("without both, what the manifest builds goes where the manifest awaits it"));
        }
    };
    let since = Instant::now();
    let target = Reference::parse(given).map_err(port_error)?;
    if target.digest.is_some() {
        return Err(CliError::new(ExitCode::Usage, format!("{given}: a digest comes out of a push")));
    }
    let mut tags: Vec<String> = target.tag.iter().chain(&args.how.tags).cloned().collect();
    tags.dedup();
    legal(&tags)?;
    let source = source(from, global, printer).await?;
    let meter = Arc::new(Meter::new(*printer));
    let client = client(meter.clone());
    let push = Push {
        repository: &target.repository,
        tags: &tags,
        immutable: args.how.immutable,
        create_repository: args.how.create_repository,
        mounts: &args.how.mounts,
    };
    let mut stop = Stop::listen()?;
    let pushed = tokio::select! {
        pushed = client.push(&push, source.as_ref()) => pushed,
        () = stop.asked() => {
            interrupted(&meter, printer);
            return Ok(ExitCode::Interrupted);
        }
    };
    meter.finish();
    let pushed = pushed.map_err(refused)?;
    let took = since.elapsed();
    let progress = Progress::new(*printer);
    let names = if tags.is_empty() { String::new() } else { format!(":{}", tags.join(", :")) };
    let said = format!("{}{names}  {}", target.repository, summary(&pushed));
    progress.line(Mark::Done, &said, Some(took));
    let answer = Answer {
        image: format!("{}@{}", target.repository, pushed.digest),
        repository: target.repository.to_string(),
        tags: &tags,
        pushed: &pushed,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    };
    printer.emit(&answer, |answer| answer.image.clone())?;
    Ok(ExitCode::Ok)
}

/// What a push that was broken off leaves behind.
pub(crate) fn interrupted(meter: &Meter, printer: &Printer) {
    meter.finish();
    let tagged = match meter.tagging() {
        true => "tags were being given: some may be there",
        false => "nothing was tagged",
    };
    printer.note(format!("{tagged}; what has arrived is found by the next push"));
}

/// Before anything is sent: a registry refuses them one by one, when those before are given.
pub(crate) fn legal(tags: &[String]) -> CliResult<()> {
    tags.iter().find(|tag| !is_tag(tag)).map_or(Ok(()), |bad| {
        let message =
            format!("{bad:?} is no tag: up to 128 letters, digits, `_`, `.` and `-`, not beginning with the last two");
        Err(CliError::new(ExitCode::Usage, message))
    })
}

/// What a registry could not accept, or what was damaged on the way, is nobody's slip on the command line.
pub(crate) fn refused(error: PortError) -> CliError {
    let failed = matches!(&error, PortError::Invalid(text) if text.starts_with("LF-REGISTRY-"));
    let mut said = port_error(error);
    if failed {
        said.code = ExitCode::Failed;
    }
    said
}

/// A client with this process's logins.
pub(crate) fn client(watcher: Arc<dyn Watcher>) -> Client {
    Client::watched(Places::of(env_vars::get), cloud(Vec::new()), watcher)
}

/// One that logs in to ECR as the manifest's places say.
pub(crate) fn client_of(app: &App, watcher: Arc<dyn Watcher>) -> Client {
    Client::watched(Places::of(env_vars::get), cloud(app.aws.values().cloned().collect()), watcher)
}

/// The same, with logins of these places.
pub(crate) fn client_as(app: &App, logins: Places, watcher: Arc<dyn Watcher>) -> Client {
    Client::watched(logins, cloud(app.aws.values().cloned().collect()), watcher)
}

#[cfg(feature = "aws")]
fn cloud(places: Vec<AwsTarget>) -> Option<Arc<dyn CloudRegistry>> {
    Some(Arc::new(landfall_aws::Ecr::of_places(places)))
}

#[cfg(not(feature = "aws"))]
fn cloud(_places: Vec<AwsTarget>) -> Option<Arc<dyn CloudRegistry>> {
    None
}

pub(crate) fn summary(pushed: &Pushed) -> String {
    let layers = &pushed.layers;
    let all = layers.present + layers.mounted + layers.uploaded;
    if all == 0 {
        return if pushed.tagged.is_empty() { "was there" } else { "was there, tagged" }.to_owned();
    }
    let mounted = if layers.mounted > 0 { format!(", {} taken over", layers.mounted) } else { String::new() };
    format!("{} of {all} blobs sent, {}{mounted}", layers.uploaded, size(layers.uploaded_bytes))
}

/// A path of a layout or an archive, else an image of the engine. A name without `/` or `.` in front may be an image's, called as something
/// else that lies there: then it is a path only if an image is in it.
async fn source(from: &str, global: &Global, printer: &Printer) -> CliResult<Box<dyn Source>> {
    match on_disk(from) {
        Some((path, name)) if path.is_dir() => Ok(Box::new(Layout::open(&path, name.as_deref()).map_err(port_error)?)),
        Some((path, name)) => archive(path, name, global, printer).await,
        None if from.starts_with(['/', '.']) => {
            Err(CliError::new(ExitCode::NotFound, format!("{from}: there is no such directory or file")))
        }
        None => engine(from, global, printer).await,
    }
}

/// The path, and what follows its last colon where there is no such path with it.
fn on_disk(from: &str) -> Option<(PathBuf, Option<String>)> {
    if holds_image(from) {
        return Some((PathBuf::from(from), None));
    }
    // A name may hold a colon itself: `image.tar:localhost/app:v1`.
    let cuts = from.match_indices(':').map(|(at, _)| at);
    cuts.map(|at| (&from[..at], &from[at + 1..]))
        .find(|(path, _)| holds_image(path))
        .map(|(path, name)| (PathBuf::from(path), Some(name.to_owned())))
}

fn holds_image(name: &str) -> bool {
    let path = Path::new(name);
    if name.starts_with(['/', '.']) {
        return path.exists();
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => ["oci-layout", "index.json"].iter().any(|name| path.join(name).is_file()),
        // One that says what it is by its name is not looked into.
        Ok(_) => path.extension().is_some() || Archive::open(path).and_then(|archive| archive.kind()).is_ok(),
        Err(_) => false,
    }
}

/// Where compressed layers of docker's archives are kept between pushes.
fn layers(global: &Global) -> CliResult<Layers> {
    Ok(Layers::new(paths::State::of(global.state.clone())?.directory().join("layers")))
}

async fn archive(
    path: PathBuf,
    name: Option<String>,
    global: &Global,
    printer: &Printer,
) -> CliResult<Box<dyn Source>> {
    let layers = layers(global)?;
    let progress = Progress::new(*printer);
    progress.running("reading the archive, compressing layers");
    let read = tokio::task::spawn_blocking(move || {
        let archive = Archive::open(&path)?;
        PortResult::<Box<dyn Source>>::Ok(match archive.kind()? {
            Kind::Oci => Box::new(archive.layout(name.as_deref())?),
            Kind::Docker => Box::new(repack(&archive, name.as_deref(), &layers)?),
        })
    });
    read.await.map_err(|error| CliError::internal("reading the archive").cause(&error))?.map_err(port_error)
}

/// What the engine saved, with the file that layers are sent from which it had compressed already.
struct Saved {
    source: Box<dyn Source>,
    /// Removed with it.
    _file: tempfile::NamedTempFile,
}

impl Source for Saved {
    fn root(&self) -> &Descriptor {
        self.source.root()
    }

    fn manifest(&self, descriptor: &Descriptor) -> PortResult<Document> {
        self.source.manifest(descriptor)
    }

    fn place(&self, descriptor: &Descriptor) -> PortResult<Place> {
        self.source.place(descriptor)
    }
}

/// The engine saves its image into a file, which is gone when the push is over.
async fn engine(image: &str, global: &Global, printer: &Printer) -> CliResult<Box<dyn Source>> {
    let state = paths::State::of(global.state.clone())?.directory().to_owned();
    let engine = landfall_local::Engine::look(&state, &engine_options()).await.map_err(port_error)?;
    let layers = state.join("layers");
    let failed = |error: &std::io::Error| CliError::io(format!("{}", layers.display()), error);
    std::fs::create_dir_all(&layers).map_err(|error| failed(&error))?;
    let file = tempfile::NamedTempFile::new_in(&layers).map_err(|error| failed(&error))?;
    let progress = Progress::new(*printer);
    progress.running(&format!("taking {image} from the engine"));
    let saved = match engine {
        Some(engine) => engine.docker.save_image(image, file.path()).await.map_err(|error| port_error(error.into())),
        None => podman_save(image, file.path()).await,
    };
    saved.map_err(|error| {
        error.hint("--from takes an OCI layout's directory, an archive, or an image that the engine has")
    })?;
    drop(progress);
    let source = archive(file.path().to_owned(), None, global, printer).await?;
    Ok(Box::new(Saved { source, _file: file }))
}

/// Podman without a service: nothing is started for one image.
async fn podman_save(image: &str, file: &Path) -> CliResult<()> {
    let mut podman = tokio::process::Command::new("podman");
    podman.args(["save", "--quiet", "--output"]).arg(file).arg("--").arg(image).kill_on_drop(true);
    let output = podman.output().await.map_err(|error| CliError::io("podman save", &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("it said nothing").trim_start_matches("Error: ");
    Err(CliError::new(ExitCode::NotFound, format!("podman save {image}: {last}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_name_behind_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        std::fs::write(&path, "").unwrap();
        let text = path.to_str().unwrap();
        assert_eq!(on_disk(text), Some((path.clone(), None)));
        assert_eq!(on_disk(&format!("{text}:app:v1")), Some((path.clone(), Some("app:v1".to_owned()))));
        assert_eq!(on_disk("nothing/here:v1"), None);
    }
}

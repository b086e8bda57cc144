//! The image port: builds from a checkout of an exact commit, look-ups of images made by others.
//!
//! A build runs in the background under its key. Its result is the image itself, labelled with a hash of everything that
//! went into it: after a restart the same request finds the image, or builds again.

pub(crate) mod context;
mod git;
mod ignore;
pub(crate) mod stamp;

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use landfall_model::app::BuildSource;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_ENVIRONMENT, TAG_INSTANCE, Tags};
use landfall_model::redact;
use landfall_model::step::{AwaitImage, BuildImage};
use landfall_ports::images::{BuildState, Images};
use landfall_ports::{PortError, PortResult};
use landfall_registry::{Client, Reference, same_repository};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::core::{Core, locked, now};
use crate::docker::{BuildOptions, DockerError};
use crate::{labels, state};

const TAIL_LINES: usize = 20;
/// A build's log is cut here.
const LOG_BYTES: usize = 16 * 1024 * 1024;

/// A name that is one path segment: what is not plain is replaced, and what was altered or long gets a hash.
pub(crate) fn file_name(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let cleaned: String = text.chars().map(|c| if plain(c) { c } else { '_' }).take(100).collect();
    if cleaned == text && !cleaned.starts_with('.') && !cleaned.is_empty() {
        return cleaned;
    }
    format!("{}-{}", cleaned.trim_start_matches('.'), labels::short_hash(&[text], 12))
}

pub(crate) fn log_path(directory: &Path, key: &str) -> PathBuf {
    directory.join(format!("{}.log", file_name(key)))
}

pub(crate) struct LocalImages {
    core: Arc<Core>,
    registries: Client,
    /// `STATE/builds`: logs.
    pub directory: PathBuf,
    git: Arc<git::Cache>,
    slots: Arc<Semaphore>,
    builds: Arc<Mutex<HashMap<String, Build>>>,
    /// By what is built: a second build of it waits for the first, and takes its image.
    same: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

#[derive(Clone)]
struct Build {
    state: BuildState,
    cancel: CancellationToken,
}

impl LocalImages {
    pub(crate) fn new(core: Arc<Core>, registries: Client, state_dir: &Path, slots: usize) -> PortResult<Self> {
        let directory = state_dir.join("builds");
        state::create_private_dir(&directory)?;
        let git = Arc::new(git::Cache::new(&state_dir.join("git"), &state_dir.join("checkouts"))?);
        let slots = Arc::new(Semaphore::new(slots.max(1)));
        Ok(Self { core, registries, directory, git, slots, builds: Arc::default(), same: Mutex::default() })
    }

    /// Everything that decides what the image holds, and whose it is: each environment gets an image of its own, so that
    /// destroying one takes nothing from another. The engine's layer cache makes the second one cheap.
    fn build_hash(&self, request: &BuildImage) -> String {
        let build = serde_json::to_string(&request.build).unwrap_or_default();
        let environment = request.tags.get(TAG_ENVIRONMENT).map_or("", String::as_str);
        labels::short_hash(
            &[&self.core.instance, environment, &request.source, &request.commit, &build, &request.tag],
            64,
        )
    }

    pub(crate) async fn remove_unused_caches(&self, now: SystemTime, keep: Duration) {
        self.git.remove_unused(now, keep).await;
    }

    fn one_at_a_time(&self, hash: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut same = locked(&self.same);
        same.retain(|_, lock| lock.strong_count() > 0);
        let lock = same.get(hash).and_then(Weak::upgrade).unwrap_or_default();
        same.insert(hash.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

async fn built_before(core: &Core, hash: &str) -> PortResult<Option<String>> {
    let found = core.docker.list_images(&[format!("{}={hash}", labels::BUILD)]).await?;
    Ok(found.into_iter().max_by_key(|image| image.created).map(|image| normal_id(&image.id)))
}

/// `sha256:…` whichever way the engine writes it.
fn normal_id(id: &str) -> String {
    if id.starts_with("sha256:") { id.to_owned() } else { format!("sha256:{id}") }
}

/// A build may write without end, and its log is a convenience: a full disk fails the build by itself.
struct BuildLog<W> {
    file: W,
    left: usize,
}

impl<W: Write> BuildLog<W> {
    fn line(&mut self, line: &str) {
        if self.left == 0 {
            return;
        }
        self.left = self.left.saturating_sub(line.len() + 1);
        let line = if self.left == 0 { "(cut here: the log has reached its maximal size)" } else { line };
        let _ = writeln!(self.file, "{line}");
    }
}

/// One build from checkout to image, without its queueing.
struct Job {
    core: Arc<Core>,
    git: Arc<git::Cache>,
    request: BuildImage,
    hash: String,
    log: PathBuf,
}

impl Job {
    async fn run(&self, mut note: impl FnMut(&str) + Send) -> Result<String, (String, Vec<String>)> {
        let mut lines: Vec<String> = Vec::new();
        match self.attempt(&mut lines, &mut note).await {
            Ok(image) => Ok(image),
            Err(message) => {
                let tail = lines.split_off(lines.len().saturating_sub(TAIL_LINES));
                Err((redact::credentials(&message), tail))
            }
        }
    }

    async fn attempt(&self, lines: &mut Vec<String>, note: &mut (impl FnMut(&str) + Send)) -> Result<String, String> {
        let request = &self.request;
        note("fetching the commit");
        let checkout = self.git.checkout(&request.source, &request.commit).await.map_err(|e| e.to_string())?;
        let build = request.build.clone();
        let root = checkout.path().to_owned();
        note("packing the build context");
        let context = state::blocking(move || {
            let (directory, dockerfile) = (&*build.context, &*build.dockerfile);
            context::pack(context::Context { root: &root, directory, dockerfile, state: None })
        });
        let context = context.await.map_err(|e| e.to_string())?;
        let mut image_labels = labels::with_instance(&request.tags, &self.core.instance);
        image_labels.insert(labels::BUILD.to_owned(), self.hash.clone());
        image_labels.insert(labels::REVISION.to_owned(), request.commit.clone());
        let options = BuildOptions {
            // A bare name would become docker.io/library/… with one engine and localhost/… with another.
            tag: format!("localhost/{}", request.tag),
            dockerfile: request.build.dockerfile.clone(),
            target: request.build.target.clone(),
            args: request.build.args.clone(),
            labels: image_labels,
        };
        let log = std::fs::File::create(&self.log).map_err(|e| format!("{}: {e}", self.log.display()))?;
        let mut log = BuildLog { file: log, left: LOG_BYTES };
        let built = self.core.docker.build(context.into(), &options, |line| {
            let line = redact::credentials(line);
            log.line(&line);
            note(&line);
            lines.push(line);
            if lines.len() > 1000 {
                lines.drain(..500);
            }
        });
        let id = built.await.map_err(|error| match error {
            DockerError::Other { message, .. } => message,
            other => other.to_string(),
        })?;
        // The stream's id may be short. Not asked for by its tag: another installation may just have moved that to its own.
        let inspect = self.core.docker.inspect_image(&id).await;
        let image = normal_id(&inspect.map_or(id, |inspect| inspect.id));
        self.forget_others(&image).await;
        Ok(image)
    }

    /// The build of a server that was killed may have come to its end beside this one, which has its name now. The engine refuses where
    /// one is in use.
    async fn forget_others(&self, image: &str) {
        let found = self.core.docker.list_images(&[format!("{}={}", labels::BUILD, self.hash)]).await;
        let unnamed = |tags: &[String]| tags.iter().all(|tag| tag == "<none>:<none>");
        for other in found.unwrap_or_default().iter().filter(|one| unnamed(&one.repo_tags)) {
            let id = normal_id(&other.id);
            if id != image
                && let Err(error) = self.core.docker.remove_image(&id).await
            {
                tracing::debug!(%error, id, "an image of the same build stays");
            }
        }
    }
}

/// What the engine may have an image by: Podman puts `localhost/` before the name of its own that says no registry.
fn own_names(image: &str) -> Vec<String> {
    let has_host = image.split_once('/').is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost");
    let local = (!has_host).then(|| format!("localhost/{image}"));
    std::iter::once(image.to_owned()).chain(local).collect()
}

/// Builds a directory as it is, uncommitted changes included. Every line of the engine's output goes to `line`.
pub(crate) async fn build_directory(
    core: &Core,
    root: &Path,
    build: &BuildSource,
    tag: &str,
    tags: &Tags,
    line: impl FnMut(&str) + Send,
) -> PortResult<String> {
    let (root, directory, dockerfile) = (root.to_owned(), build.context.clone(), build.dockerfile.clone());
    // Ours is one of its directories.
    let state = core.directory.parent().map(Path::to_path_buf);
    let context = state::blocking(move || {
        let (directory, dockerfile) = (&*directory, &*dockerfile);
        context::pack(context::Context { root: &root, directory, dockerfile, state: state.as_deref() })
    });
    let context = context.await?;
    let options = BuildOptions {
        tag: format!("localhost/{tag}"),
        dockerfile: build.dockerfile.clone(),
        target: build.target.clone(),
        args: build.args.clone(),
        labels: labels::with_instance(tags, &core.instance),
    };
    core.docker.build(context.into(), &options, line).await?;
    Ok(normal_id(&core.docker.inspect_image(&options.tag).await?.id))
}

#[async_trait]
impl Images for LocalImages {
    async fn start_build(&self, key: &str, request: &BuildImage) -> PortResult<BuildState> {
        if let Some(build) = locked(&self.builds).get(key) {
            return Ok(build.state.clone());
        }
        let hash = self.build_hash(request);
        if let Some(image) = built_before(&self.core, &hash).await? {
            return Ok(BuildState::Done { image, cached: true });
        }
        let cancel = self.core.cancel.child_token();
        {
            let mut builds = locked(&self.builds);
            if let Some(build) = builds.get(key) {
                return Ok(build.state.clone());
            }
            builds.insert(key.to_owned(), Build { state: BuildState::Queued, cancel: cancel.clone() });
        }
        let log = log_path(&self.directory, key);
        let job = Job { core: Arc::clone(&self.core), git: Arc::clone(&self.git), request: request.clone(), hash, log };
        let (builds, slots, key) = (Arc::clone(&self.builds), Arc::clone(&self.slots), key.to_owned());
        let same = self.one_at_a_time(&job.hash);
        let timeout = Duration::from_secs(u64::from(request.build.timeout.max(1)));
        tokio::spawn(async move {
            let set = |state: BuildState| {
                if let Some(build) = locked(&builds).get_mut(&key) {
                    build.state = state;
                }
            };
            let work = async {
                let _same = same.lock().await;
                if let Ok(Some(image)) = built_before(&job.core, &job.hash).await {
                    return set(BuildState::Done { image, cached: true });
                }
                let Ok(_slot) = slots.acquire().await else { return };
                set(BuildState::Running { note: None });
                let noting = job.run(|line| set(BuildState::Running { note: Some(line.to_owned()) }));
                let result = tokio::time::timeout(timeout, noting).await;
                set(match result {
                    Ok(Ok(image)) => BuildState::Done { image, cached: false },
                    Ok(Err((message, tail))) => BuildState::Failed { message, tail },
                    Err(_) => BuildState::Failed {
                        message: format!("the build took longer than {} s", timeout.as_secs()),
                        tail: Vec::new(),
                    },
                });
            };
            if cancel.run_until_cancelled(work).await.is_none() {
                set(BuildState::Failed { message: "the build was cancelled".to_owned(), tail: Vec::new() });
            }
        });
        Ok(BuildState::Queued)
    }

    async fn poll_build(&self, key: &str) -> PortResult<BuildState> {
        let mut builds = locked(&self.builds);
        let state = builds.get(key).map_or(BuildState::Unknown, |build| build.state.clone());
        if matches!(state, BuildState::Failed { .. }) {
            // Told once: the next start is a new attempt.
            builds.remove(key);
        }
        Ok(state)
    }

    async fn cancel_build(&self, key: &str) -> PortResult<()> {
        if let Some(build) = locked(&self.builds).remove(key) {
            build.cancel.cancel();
        }
        Ok(())
    }

    async fn resolve(&self, request: &AwaitImage) -> PortResult<Option<String>> {
        if let Some((label, value)) = &request.label {
            let found = self.core.docker.list_images(&[format!("{label}={value}")]).await?;
            let repository = Reference::parse(&request.image)?.repository.full_name();
            let of_it =
                found.into_iter().filter(|image| image.repo_tags.iter().any(|tag| same_repository(tag, &repository)));
            return Ok(of_it.max_by_key(|image| image.created).map(|image| normal_id(&image.id)));
        }
        for name in own_names(&request.image) {
            match self.core.docker.inspect_image(&name).await {
                Ok(image) => return Ok(Some(normal_id(&image.id))),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.registries.resolve(&request.image).await
    }

    async fn list_owned(&self, environment: Option<&str>) -> PortResult<Listing<OwnedResource>> {
        let found = self.core.docker.list_images(&[format!("{TAG_INSTANCE}={}", self.core.instance)]).await?;
        let of = |tags: &BTreeMap<String, String>| {
            tags.get(TAG_INSTANCE) == Some(&self.core.instance)
                && environment.is_none_or(|wanted| tags.get(TAG_ENVIRONMENT).is_some_and(|found| found == wanted))
        };
        let items = found.into_iter().filter(|image| of(&image.labels)).map(|image| OwnedResource {
            kind: ResourceKind::Image,
            id: normal_id(&image.id),
            name: image.repo_tags.first().cloned().unwrap_or_else(|| image.id.clone()),
            environment: image.labels.get(TAG_ENVIRONMENT).cloned().unwrap_or_default(),
            tags: image.labels,
        });
        Ok(Listing { items: items.collect(), complete: true, at: now() })
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        if resource.kind != ResourceKind::Image {
            return Err(PortError::Invalid(format!("the image port owns no {:?}", resource.kind)));
        }
        let image = match self.core.docker.inspect_image(&resource.id).await {
            Ok(image) => image,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // By name first: the id of an image with several names cannot be removed without force.
        for tag in &image.repo_tags {
            self.core.docker.remove_image(tag).await?;
        }
        // A finished build may not answer with an image that is gone.
        locked(&self.builds)
            .retain(|_, build| !matches!(&build.state, BuildState::Done { image, .. } if *image == resource.id));
        Ok(self.core.docker.remove_image(&resource.id).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_without_a_registry_may_be_podmans_own() {
        assert_eq!(own_names("shop:v1"), ["shop:v1", "localhost/shop:v1"]);
        assert_eq!(own_names("team/shop"), ["team/shop", "localhost/team/shop"]);
        for named in ["127.0.0.1:5000/team/shop:v1", "ghcr.io/acme/shop", "localhost/shop"] {
            assert_eq!(own_names(named), [named]);
        }
    }

    #[test]
    fn file_names_are_one_harmless_segment() {
        assert_eq!(file_name("my-project-test:1").len(), "my-project-test_1-".len() + 12);
        assert_eq!(file_name("plain.name"), "plain.name");
        for hostile in ["..", "../../etc/passwd", "", "a/b", "é", &"x".repeat(300)] {
            let name = file_name(hostile);
            assert!(!name.contains('/') && !name.starts_with('.') && name.len() < 130 && !name.is_empty(), "{name}");
        }
        assert_ne!(file_name("a/b"), file_name("a:b"));
    }

    #[test]
    fn a_build_log_is_cut_once_and_says_so() {
        let mut log = BuildLog { file: Vec::new(), left: 10 };
        ["1234", "5678", "9", "x"].into_iter().for_each(|line| log.line(line));
        assert_eq!(String::from_utf8(log.file).unwrap(), "1234\n(cut here: the log has reached its maximal size)\n");
    }
}

//! The manifest's images: built side by side by whatever builder there is, kept as layouts in the state directory, and found again
//! by what they were built from.
//!
//! An image that is there for the same inputs, here or in its registry, is not built again. Here its record says so, and is written
//! after the layout and removed before it changes: a build that was killed leaves no record, and is done again.

mod argv;
mod checkout;
mod context;
mod items;
mod kept;
mod run;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use landfall_model::app::App;
use landfall_registry::{Client, Reference, Repository};
use serde::Serialize;

pub(crate) use argv::Builder;
pub(crate) use checkout::{head, is_changed, origin, prefix, words, words_of};
pub(crate) use items::{Item, Words, inputs_tag};
pub(crate) use kept::Record;
pub(crate) use run::find;

use crate::build::argv::Job;
use crate::build::checkout::{labels, other_commit};
use crate::build::context::{context, with_context};
use crate::build::kept::{lock, read, remove, replace};
use crate::commands::port_error;
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::paths;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};

/// Builds at once: each has processes of its own.
const AT_ONCE: usize = 4;
/// The manifest's images with what they are built from now.
pub(crate) struct Images {
    pub(crate) items: Vec<Item>,
    /// As `items`.
    pub(crate) inputs: Vec<String>,
    /// As `items`: digests of the files that builds see.
    contexts: Vec<String>,
    platforms: Vec<Vec<String>>,
    order: Vec<usize>,
    needs: Vec<Vec<usize>>,
    root: PathBuf,
    state: PathBuf,
    /// Below `state`.
    directory: PathBuf,
    project: String,
    pub(crate) words: Words,
    _lock: File,
}

/// What was asked for beside the manifest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) builder: Option<Builder>,
    pub(crate) platforms: Vec<String>,
    pub(crate) secrets: Vec<String>,
    pub(crate) fresh: bool,
    /// Repositories for the builder's cache.
    pub(crate) cache_from: Vec<Repository>,
    pub(crate) cache_to: Vec<Repository>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Built {
    pub(crate) image: String,
    pub(crate) digest: String,
    /// Built now, or there for the same inputs.
    pub(crate) built: bool,
}

/// As `items`.
async fn contexts(items: &[Item], root: &Path, state: &Path, directory: &Path) -> CliResult<Vec<String>> {
    let each = items.iter().map(|item| context(root, state, item, directory.join(item.key())));
    stream::iter(each).buffered(AT_ONCE).try_collect().await
}

impl Images {
    /// Reads build contexts; `state`: where layouts are kept. Without `platforms` those that each was built for.
    pub(crate) async fn look(app: &App, config: &Path, state: &Path, platforms: Option<&[String]>) -> CliResult<Self> {
        let items = items::items(app);
        if items.is_empty() {
            return Err(CliError::new(ExitCode::NotFound, "the manifest has no image to build")
                .hint("a container's `build` has one, or `await` with `build` (docs/images.md)"));
        }
        let root = paths::root(config)?;
        let directory = state.join("images");
        let lock = lock(&directory)?;
        let mut dockerfiles = Vec::new();
        for item in &items {
            let path = root.join(&item.source.context).join(&item.source.dockerfile);
            let text = std::fs::read_to_string(&path);
            dockerfiles.push(text.map_err(|error| CliError::io(format!("{}: {}", item.name, path.display()), &error))?);
        }
        let items::Order { sorted: order, needs } =
            items::order(&items, &app.project, &dockerfiles).map_err(|names| {
                let message = format!("these images are based on each other: {}", names.join(", "));
                CliError::new(ExitCode::InvalidManifest, message)
            })?;
        let contexts = contexts(&items, &root, state, &directory).await?;
        let before = |item: &Item| read(&directory.join(item.key())).map_or_else(Vec::new, |record| record.platforms);
        let platforms: Vec<Vec<String>> =
            items.iter().map(|item| platforms.map_or_else(|| before(item), <[String]>::to_vec)).collect();
        let mut inputs = vec![String::new(); items.len()];
        for item in &order {
            let bases: Vec<String> = needs[*item].iter().map(|base| inputs[*base].clone()).collect();
            inputs[*item] = items::inputs(&items[*item].source, &contexts[*item], &platforms[*item], &bases);
        }
        let words = words(&app.project, &root);
        Ok(Self {
            items,
            inputs,
            contexts,
            platforms,
            order,
            needs,
            root,
            state: state.to_owned(),
            directory,
            project: app.project.clone(),
            words,
            _lock: lock,
        })
    }

    /// What is checked out, where it is not what the commit holds.
    pub(crate) fn other_commit(&self) -> Option<String> {
        other_commit(&self.root, self.words.commit.as_deref()?)
    }

    /// Whether the files are as they were when they were looked at: else nobody knows which of them a build has taken.
    pub(crate) async fn unchanged(&self) -> CliResult<()> {
        let now = contexts(&self.items, &self.root, &self.state, &self.directory).await?;
        let moved = self.items.iter().zip(self.contexts.iter().zip(&now)).find(|(_, (then, now))| then != now);
        moved.map_or(Ok(()), |(item, _)| {
            Err(CliError::new(ExitCode::Conflict, format!("{} has changed while it was built", item.name))
                .hint("landfall build --push again"))
        })
    }

    /// Those that are meant by `SERVICE` and `SERVICE/CONTAINER`.
    pub(crate) fn chosen(&self, what: &[String]) -> CliResult<BTreeSet<usize>> {
        if what.is_empty() {
            return Ok((0..self.items.len()).collect());
        }
        let mut chosen = BTreeSet::new();
        for name in what {
            let fits = |item: &Item| item.name == *name || item.name.split('/').next() == Some(name);
            let before = chosen.len();
            chosen.extend((0..self.items.len()).filter(|item| fits(&self.items[*item])));
            if chosen.len() == before {
                return Err(not_found("image", name, self.items.iter().map(|item| item.name.as_str())));
            }
        }
        Ok(chosen)
    }

    fn room(&self, item: usize) -> PathBuf {
        self.directory.join(self.items[item].key())
    }

    pub(crate) fn layout(&self, item: usize) -> PathBuf {
        self.room(item).join("layout")
    }

    /// What is there for the inputs of now.
    pub(crate) fn record(&self, item: usize) -> Option<Record> {
        let record = read(&self.room(item))?;
        let there = record.found_in.is_some() || self.layout(item).join("index.json").exists();
        (record.inputs == self.inputs[item] && there).then_some(record)
    }

    fn write(&self, item: usize, record: &Record) -> CliResult<()> {
        let path = self.room(item).join("image.json");
        let text = serde_json::to_vec_pretty(record).map_err(|error| CliError::internal("record").cause(&error))?;
        let written = std::fs::create_dir_all(self.room(item)).and_then(|()| replace(&path, &text));
        written.map_err(|error| CliError::io(format!("cannot write {}", path.display()), &error))
    }

    /// Builds what has changed of `chosen`, and what that is based on.
    pub(crate) async fn build(
        &self,
        chosen: &BTreeSet<usize>,
        wishes: &Wishes,
        client: &Client,
        printer: &Printer,
    ) -> CliResult<Vec<Built>> {
        let mut there = BTreeSet::new();
        if !wishes.fresh {
            for item in chosen {
                // What a registry had, it may have lost; and the manifest may name another one by now.
                let here = self.record(*item).is_some_and(|record| record.found_in.is_none());
                if here || self.in_registry(*item, client).await? {
                    there.insert(*item);
                }
            }
        }
        let stale = items::stale(&self.order, &self.needs, |item| there.contains(&item) || !chosen.contains(&item));
        let progress = Progress::new(*printer);
        if !stale.is_empty() {
            let builder = run::find(wishes.builder).await?;
            if wishes.platforms.len() > 1 && !builder.many_platforms() {
                let message = format!("{} builds an image for one platform at a time", builder.name());
                return Err(CliError::new(ExitCode::Unavailable, message)
                    .hint("several take docker buildx with a driver of its own: docker buildx create --use"));
            }
            if !wishes.secrets.is_empty() && !builder.takes_secrets() {
                let message = format!("{} hands no secrets to a build", builder.name());
                return Err(CliError::new(ExitCode::Unavailable, message).hint(
                    "docker's plugin buildx does (packages docker-buildx-plugin, docker-buildx), podman and buildah too; DOCKER_BUILDKIT=0 turns it off",
                ));
            }
            if !(wishes.cache_from.is_empty() && wishes.cache_to.is_empty() || builder.caches_in_registries()) {
                let message = format!("{} keeps no cache in a registry", builder.name());
                return Err(CliError::new(ExitCode::Unavailable, message).hint(
                    "docker buildx with a driver of its own does, podman and buildah too: docker buildx create --use",
                ));
            }
            let mut done: BTreeSet<usize> = BTreeSet::new();
            while done.len() < stale.len() {
                let ready = stale.iter().copied().filter(|item| !done.contains(item));
                let ready = ready.filter(|item| self.needs[*item].iter().all(|base| done.contains(base)));
                let work = ready.map(|item| self.one(item, builder, wishes, &progress));
                let built: Vec<usize> = stream::iter(work).buffer_unordered(AT_ONCE).try_collect().await?;
                done.extend(built);
            }
        }
        let mut all = Vec::new();
        for item in chosen {
            let Some(record) = self.record(*item) else { continue };
            let (image, built) = (self.items[*item].name.clone(), stale.contains(item));
            if !built {
                let place = record.found_in.as_ref().map_or_else(String::new, |place| format!(", in {place}"));
                progress.line(Mark::Skipped, &format!("{image}  unchanged{place}"), None);
            }
            all.push(Built { image, digest: record.digest, built });
        }
        Ok(all)
    }

    /// Whether its registry has it; then the record says so.
    async fn in_registry(&self, item: usize, client: &Client) -> CliResult<bool> {
        let Some(target) = self.items[item].target.as_ref().and_then(|target| self.words.fill(target).ok()) else {
            return Ok(false);
        };
        // A base has to be in the builder, wherever else it is.
        if self.needs.iter().any(|bases| bases.contains(&item)) {
            return Ok(false);
        }
        let reference = Reference::parse(&target).map_err(port_error)?;
        let found = match client.find(&reference.repository, &inputs_tag(&self.inputs[item])).await {
            Ok(found) => found,
            // The push will say so; a build needs no registry.
            Err(error) => {
                tracing::warn!(%error, image = self.items[item].name, "its registry cannot be asked: it is built");
                None
            }
        };
        let Some(digest) = found.and_then(|found| found.digest) else { return Ok(false) };
        let record = Record {
            inputs: self.inputs[item].clone(),
            digest: digest.to_string(),
            found_in: Some(reference.repository.to_string()),
            platforms: self.platforms[item].clone(),
        };
        self.write(item, &record).map(|()| true)
    }

    async fn one(&self, at: usize, builder: Builder, wishes: &Wishes, progress: &Progress) -> CliResult<usize> {
        let (item, room, since) = (&self.items[at], self.room(at), Instant::now());
        let fresh = room.join("layout.new");
        let failed = |error: std::io::Error| CliError::io(format!("{}", room.display()), &error);
        std::fs::create_dir_all(&room).map_err(failed)?;
        remove(&room.join("image.json")).map_err(failed)?;
        remove(&fresh).map_err(failed)?;
        let labels = labels(&self.root, self.words.commit.as_deref());
        let layouts: Vec<(String, PathBuf)> =
            self.needs[at].iter().map(|base| (self.items[*base].local(&self.project), self.layout(*base))).collect();
        let bases: Vec<(String, &Path)> = layouts.iter().map(|(name, path)| (name.clone(), path.as_path())).collect();
        let staged = room.join("context");
        remove(&staged).map_err(failed)?;
        let into = staged.clone();
        let stage = move |context: landfall_local::Context<'_>| landfall_local::stage_context(context, &into);
        let is_staged = with_context(&self.root, &self.state, item, stage).await?;
        let context = if is_staged { staged.clone() } else { self.root.join(&item.source.context) };
        let job = Job {
            source: &item.source,
            context: &context,
            local: &item.local(&self.project),
            labels: &labels,
            platforms: &wishes.platforms,
            secrets: &wishes.secrets,
            fresh: wishes.fresh,
            cache_from: &wishes.cache_from,
            cache_to: &wishes.cache_to,
            cache_key: &item.key(),
            result: &room.join("result"),
            layout: &fresh,
            bases: &bases,
        };
        progress.running(&format!("building {}", item.name));
        let said = |line: &str| progress.told(&format!("[{}] {line}", item.name));
        let layers = self.directory.with_file_name("layers");
        let timeout = Duration::from_secs(u64::from(item.source.timeout.max(1)));
        let digest = run::run(builder, &job, &run::Room { directory: &room, layers, timeout }, &said).await;
        remove(&staged).map_err(failed)?;
        let digest = digest.map_err(|mut error| {
            progress.line(Mark::Failed, &format!("Build {}", item.name), Some(since.elapsed()));
            error.message = format!("{}: {}", item.name, error.message);
            error
        })?;
        remove(&self.layout(at)).and_then(|()| std::fs::rename(&fresh, self.layout(at))).map_err(failed)?;
        let short = digest.get(..19).unwrap_or(&digest).to_owned();
        self.write(
            at,
            &Record { inputs: self.inputs[at].clone(), digest, found_in: None, platforms: self.platforms[at].clone() },
        )?;
        progress.line(Mark::Done, &format!("Build {}  {}, {short}", item.name, builder.name()), Some(since.elapsed()));
        Ok(at)
    }
}

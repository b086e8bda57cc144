//! Releases in registries: looked for, listed, put.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use landfall_ports::{PortError, PortResult};
use landfall_registry::artifact::{Artifact, annotations, kind};
use landfall_registry::manifest::Document;
use landfall_registry::{AT_ONCE, Client, Digest, Push, Repository};

use super::{CREATED, IMAGES, KIND, PROJECT, Release, Wanted, of_tag, tag};
use crate::commands::port_error;
use crate::commands::push::refused;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;

/// A release with where it is.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The digest of its manifest: the release's name.
    pub(crate) id: Digest,
    pub(crate) release: Release,
    /// Those that have it, of those that were looked into.
    pub(crate) repositories: Vec<String>,
    artifact: Artifact,
}

/// What became of a release that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Put {
    Created,
    /// The same was there.
    Existed,
    /// Another one was there.
    Replaced,
}

type Repositories = BTreeMap<String, Repository>;

/// The releases of this commit: none, one, or, where somebody was cut off while replacing one, several.
async fn exact(client: &Client, repositories: &Repositories, project: &str, commit: &str) -> PortResult<Vec<Found>> {
    let Some(tag) = tag(project, commit) else { return Ok(Vec::new()) };
    let asked = repositories.values().map(|repository| (repository, tag.as_str()));
    together(client, asked.collect()).await
}

/// Everything that repositories have, newest first; those of one time by commit. `project`: only its.
pub(crate) async fn all(
    client: &Client,
    repositories: &Repositories,
    project: Option<&str>,
    limit: usize,
) -> PortResult<Vec<Found>> {
    let tags = tags(client, repositories, |of, _| project.is_none_or(|project| project == of)).await?;
    // What is shown is read whole, and of the others only when they were made.
    let heads = tags.iter().map(|(repository, tag)| async move {
        let found = client.manifest(repository, tag).await?;
        PortResult::Ok(
            found.map(|found| (annotations(&found).get(CREATED).cloned().unwrap_or_default(), *repository, tag)),
        )
    });
    let heads: Vec<_> = stream::iter(heads).buffered(AT_ONCE).try_collect().await?;
    let mut heads: Vec<_> = heads.into_iter().flatten().collect();
    heads.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.2.cmp(other.2)));
    let mut newest: Vec<&str> = heads.iter().map(|(_, _, tag)| tag.as_str()).collect();
    newest.dedup();
    newest.truncate(limit);
    let shown: Vec<_> =
        heads.iter().filter(|head| newest.contains(&head.2.as_str())).map(|head| (head.1, head.2.as_str())).collect();
    let mut found = together(client, shown).await?;
    found.sort_by(|one, other| {
        let key = |found: &Found| (found.release.commit.clone(), found.id.clone());
        other.release.created.cmp(&one.release.created).then_with(|| key(one).cmp(&key(other)))
    });
    Ok(found)
}

/// The one that is meant. `project`: only its.
///
/// # Errors
/// Several are, or a registry does not answer.
pub(crate) async fn find(
    client: &Client,
    repositories: &Repositories,
    project: Option<&str>,
    wanted: &str,
) -> CliResult<Option<Found>> {
    let Some(parsed) = Wanted::parse(wanted) else {
        let message = format!("{wanted:?} is neither a commit nor a release's id");
        return Err(CliError::new(ExitCode::Usage, message)
            .hint("a commit, or at least its first seven digits; or `sha256:…`, as `landfall release list` shows it"));
    };
    let mut found = Vec::new();
    if let (Wanted::Commit(commit), Some(project)) = (&parsed, project) {
        found = exact(client, repositories, project, commit).await.map_err(port_error)?;
    }
    if found.is_empty() {
        let of = |project_of: &str, commit: &str| {
            let whole = match &parsed {
                Wanted::Commit(beginning) => commit.starts_with(beginning.as_str()),
                Wanted::Id(_) => true,
            };
            whole && project.is_none_or(|project| project == project_of)
        };
        let tags = tags(client, repositories, of).await.map_err(port_error)?;
        let asked = tags.iter().map(|(repository, tag)| (*repository, tag.as_str()));
        found = together(client, asked.collect()).await.map_err(port_error)?;
        if let Wanted::Id(hex) = &parsed {
            found.retain(|found| found.id.hex().starts_with(hex.as_str()));
        }
    }
    if found.len() > 1 {
        let is_one_commit = found.iter().all(|one| one.release.commit == found[0].release.commit);
        let mut error = CliError::new(ExitCode::Conflict, format!("{wanted} names {} releases", found.len()));
        for one in &found {
            error = error.hint(format!("{} of {} in {}", one.id, one.release.commit, one.repositories.join(", ")));
        }
        if is_one_commit {
            error =
                error.hint("somebody was cut off: `landfall release create --replace` for that commit makes it one");
        }
        return Err(error);
    }
    Ok(found.pop())
}

/// Tags of releases, of those that are wanted by project and commit.
async fn tags<'a>(
    client: &Client,
    repositories: &'a Repositories,
    wanted: impl Fn(&str, &str) -> bool,
) -> PortResult<Vec<(&'a Repository, String)>> {
    let listed = repositories.values().map(|repository| async move {
        match client.tags(repository).await {
            Ok(tags) => Ok((repository, tags)),
            // Nothing was pushed to it yet.
            Err(PortError::NotFound(_)) => Ok((repository, Vec::new())),
            Err(error) => Err(error),
        }
    });
    let listed: Vec<(&Repository, Vec<String>)> = stream::iter(listed).buffered(AT_ONCE).try_collect().await?;
    let mut all = Vec::new();
    for (repository, tags) in listed {
        let own = tags.into_iter().filter(|tag| of_tag(tag).is_some_and(|(project, commit)| wanted(project, commit)));
        all.extend(own.map(|tag| (repository, tag)));
    }
    Ok(all)
}

/// Those that are there, each once with all the repositories that have it.
async fn together(client: &Client, asked: Vec<(&Repository, &str)>) -> PortResult<Vec<Found>> {
    let read = asked.into_iter().map(|(repository, tag)| async move {
        let Some(document) = client.manifest(repository, tag).await? else { return PortResult::Ok(None) };
        let artifact = client.artifact(repository, document, KIND).await?;
        let release: Release = serde_json::from_slice(artifact.body())
            .map_err(|error| PortError::Invalid(format!("{repository}:{tag}: this is no release: {error}")))?;
        Ok(Some((repository.to_string(), artifact, release)))
    });
    let read: Vec<_> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
    let mut all: Vec<Found> = Vec::new();
    for (repository, artifact, release) in read.into_iter().flatten() {
        match all.iter_mut().find(|found| found.id == *artifact.digest()) {
            Some(known) => known.repositories.push(repository),
            None => {
                let id = artifact.digest().clone();
                all.push(Found { id, release, repositories: vec![repository], artifact });
            }
        }
    }
    Ok(all)
}

/// Keeps the release in each of the repositories, its tag last. Where the same is known already in one of them, that one is what the
/// others get: all of them have the same document.
///
/// # Errors
/// `Conflict`: the commit has another release, and `replace` does not allow for it. Else as a push.
pub(crate) async fn put(
    client: &Client,
    repositories: &Repositories,
    release: &Release,
    replace: bool,
) -> CliResult<(Put, Found)> {
    let Some(tag) = tag(&release.project, &release.commit) else {
        let message = format!("{} {}: no tag can name this release", release.project, release.commit);
        return Err(CliError::new(ExitCode::Usage, message)
            .hint("the commit must be git's, in full: LANDFALL_COMMIT, or a git repository"));
    };
    let before = exact(client, repositories, &release.project, &release.commit).await.map_err(port_error)?;
    let other = before.iter().find(|one| !release.differences(&one.release).is_empty());
    if let Some(other) = other.filter(|_| !replace) {
        let message = format!("{} has another release already, {}", release.commit, other.id);
        let error = CliError::new(ExitCode::Conflict, message);
        let error = release.differences(&other.release).into_iter().fold(error, |error, one| error.hint(one));
        return Err(error.hint("nothing was changed; --replace puts this one in its place"));
    }
    let put = match (other, before.first()) {
        (Some(_), _) => Put::Replaced,
        (None, Some(_)) => Put::Existed,
        (None, None) => Put::Created,
    };
    let same = before.iter().find(|one| release.differences(&one.release).is_empty()).cloned();
    let mut found = match same {
        Some(same) => same,
        None => {
            let body = serde_json::to_vec_pretty(release)
                .map_err(|error| CliError::internal("a release as JSON").cause(&error))?;
            let artifact = Artifact::new(KIND, Bytes::from(body), release.annotations()).map_err(port_error)?;
            Found { id: artifact.digest().clone(), release: release.clone(), repositories: Vec::new(), artifact }
        }
    };
    let tags = [tag];
    let mut done: Vec<String> = Vec::new();
    for (name, repository) in repositories {
        let push = Push { repository, tags: &tags, immutable: !replace, create_repository: false, mounts: &[] };
        client.push(&push, &found.artifact).await.map_err(|error| {
            let mut error = refused(error);
            error.message = format!("the release is not kept in {name}: {}", error.message);
            if !done.is_empty() {
                error = error.hint(format!("it is in {}; the command again completes it", done.join(", ")));
            }
            error
        })?;
        done.push(name.clone());
    }
    found.repositories = done;
    Ok((put, found))
}

/// When the release was made, its project and its images by digest, as its manifest alone tells; `None`: no release.
pub(crate) fn images_of(document: &Document) -> Option<(String, String, Vec<String>)> {
    if kind(document) != Some(KIND) {
        return None;
    }
    let text = |name: &str| annotations(document).get(name).cloned().unwrap_or_default();
    let images = text(IMAGES).split_whitespace().map(str::to_owned).collect();
    Some((text(CREATED), text(PROJECT), images))
}

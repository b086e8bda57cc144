//! `landfall up --from`: which pushed version is meant, and how the engine gets it.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use landfall_local::docker::Docker;
use landfall_model::app::{App, ImageSource, Service};
use landfall_ports::PortError;
use landfall_registry::credentials::{Login, Places, Secret};
use landfall_registry::watch::Quiet;
use landfall_registry::{Client, Reference, Repository};

use crate::build::{self, Words};
use crate::commands::push::{client_as, client_of};
use crate::commands::{port_error, secrets};
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::release;

/// Of a name that comes from a repository's.
const MOST: usize = 40;

/// A version, by digest.
pub(super) struct Pinned {
    /// `REPOSITORY@DIGEST`
    pub(super) image: String,
    /// As it was asked for, where a tag names it: the engine may have another image of that name.
    named: Option<String>,
    login: Option<Login>,
}

/// What runs where there is no manifest: one container of the repository's image.
pub(super) fn application(repository: &str) -> CliResult<App> {
    let reference = Reference::parse(repository).map_err(port_error)?;
    if reference.tag.is_some() || reference.digest.is_some() {
        return Err(CliError::new(ExitCode::Usage, format!("{repository} names an image and not a repository"))
            .hint("--from says which one"));
    }
    let slug = landfall_model::names::slug(&reference.repository.name);
    let name = if slug.starts_with(|c: char| c.is_ascii_alphabetic()) { slug } else { format!("image-{slug}") };
    let name = name.get(..MOST).map_or(name.as_str(), |cut| cut.trim_end_matches('-'));
    let image = format!("{}:{{commit}}", reference.repository.full_name());
    let manifest = serde_json::json!({"project": "up", "services": {name: {"launch_type": "local", "containers": {"app": {
        "await": {"image": image},
    }}}}});
    let source = landfall_manifest::SourceFile::new(repository, manifest.to_string());
    let loaded = landfall_manifest::load(&source, &|_| None);
    loaded.map(|loaded| loaded.app).map_err(|found| {
        let why = found.first().map_or_else(String::new, |found| found.message.clone());
        CliError::new(ExitCode::Usage, format!("{repository} cannot be run: {why}"))
    })
}

/// The pushed images of a service's containers, by container. Nothing is pulled yet.
pub(super) async fn images(
    app: &App,
    service: &Service,
    version: &str,
    root: &std::path::Path,
    printer: &Printer,
) -> CliResult<BTreeMap<String, Pinned>> {
    let words = build::words(&app.project, root);
    let mut client = client_of(app, Arc::new(Quiet));
    let mut all = BTreeMap::new();
    for container in &service.containers {
        let ImageSource::Await(wanted) = &container.image else { continue };
        let who = format!("{}/{}", service.name, container.name);
        let repository = release::repository(&wanted.image, &words);
        let repository = repository.map_err(|why| CliError::new(ExitCode::InvalidManifest, format!("{who}: {why}")))?;
        let Some(repository) = repository else { continue };
        let look = Look { app, words: &words, who: &who, template: &wanted.image, repository: &repository };
        let mut found = look.version(&client, version).await;
        if let Err(refused) = &found
            && refused.code == ExitCode::Denied
            && std::io::stdin().is_terminal()
            && !printer.json()
        {
            printer.note(&refused.message);
            client = client_as(app, asked(&repository.registry)?, Arc::new(Quiet));
            found = look.version(&client, version).await;
        }
        let (digest, tag) = found.map_err(|error| match error.code {
            ExitCode::Denied => error.hint(format!(
                "`docker login {0}` or `podman login {0}`; from a terminal, up asks",
                repository.registry
            )),
            _ => error,
        })?;
        let login = client.login(&repository).await.map_err(port_error)?;
        let image = format!("{}@{digest}", repository.full_name());
        let named = tag.map(|tag| format!("{}:{tag}", repository.full_name()));
        all.insert(container.name.clone(), Pinned { image, named, login });
    }
    if all.is_empty() {
        return Err(CliError::new(ExitCode::Usage, format!("no image of {} is pushed anywhere", service.name))
            .hint("`--from` runs what CI pushed: a container's `await` names it (docs/images.md)"));
    }
    Ok(all)
}

struct Look<'a> {
    app: &'a App,
    words: &'a Words,
    who: &'a str,
    /// The awaited image, with placeholders.
    template: &'a str,
    repository: &'a Repository,
}

impl Look<'_> {
    /// Digest, and the tag that named it.
    async fn version(&self, client: &Client, version: &str) -> CliResult<(String, Option<String>)> {
        let tag = match version {
            "highest" => {
                let tags = client.tags(self.repository).await.map_err(port_error)?;
                highest(&tags).map(str::to_owned).ok_or_else(|| self.missing("no tag is a version, as v1.2.3"))?
            }
            commit if release::is_commit(commit) => {
                if let Some(digest) = self.released(client, commit).await? {
                    return Ok((digest, None));
                }
                // Without a release: as deployments would await it.
                let words = Words { commit: Some(commit.to_owned()), ..self.words.clone() };
                let filled = words.fill(self.template).ok().filter(|image| image.contains(commit));
                if let Some(image) = filled {
                    let reference = Reference::parse(&image).map_err(port_error)?;
                    if let Some(digest) = self.digest(client, &reference.version()).await? {
                        return Ok((digest, None));
                    }
                }
                self.beginning_with(client, commit).await?
            }
            tag => tag.to_owned(),
        };
        if !landfall_registry::is_tag(&tag) {
            return Err(CliError::new(ExitCode::Usage, format!("{tag:?} is neither a commit nor a tag")));
        }
        match self.digest(client, &tag).await? {
            Some(digest) => Ok((digest, Some(tag))),
            None => Err(self.missing(&format!("there is no {tag}"))),
        }
    }

    /// The one tag that is a commit which begins so; else what was asked for.
    async fn beginning_with(&self, client: &Client, commit: &str) -> CliResult<String> {
        let tags = client.tags(self.repository).await.map_err(port_error)?;
        let fits = |tag: &&String| tag.starts_with(commit) && release::is_commit(tag);
        let found: Vec<&String> = tags.iter().filter(fits).collect();
        match found.as_slice() {
            [] => Ok(commit.to_owned()),
            [one] => Ok((*one).clone()),
            [..] => Err(CliError::new(ExitCode::Usage, format!("{commit} is the beginning of {} tags", found.len()))
                .hint(format!("`landfall images list {}` shows them", self.repository))),
        }
    }

    async fn released(&self, client: &Client, commit: &str) -> CliResult<Option<String>> {
        let repositories = BTreeMap::from([(self.repository.to_string(), self.repository.clone())]);
        let found = release::find(client, &repositories, Some(&self.app.project), commit).await?;
        let image = found.and_then(|found| {
            let (service, container) = self.who.split_once('/')?;
            Some(found.release.services.get(service)?.containers.get(container)?.image.clone())
        });
        Ok(image.and_then(|image| image.split_once('@').map(|(_, digest)| digest.to_owned())))
    }

    async fn digest(&self, client: &Client, version: &str) -> CliResult<Option<String>> {
        let found = client.find(self.repository, version).await.map_err(port_error)?;
        Ok(found.and_then(|found| found.digest).map(|digest| digest.to_string()))
    }

    fn missing(&self, why: &str) -> CliError {
        CliError::new(ExitCode::NotFound, format!("{}: {}: {why}", self.who, self.repository))
            .hint(format!("`landfall images list {}` shows what there is", self.repository))
    }
}

/// The highest version among tags: `1.2.3` or `v1.2.3`. One with an appendix (`-rc1`) only where there is no other.
fn highest(tags: &[String]) -> Option<&str> {
    let version = |tag: &str| -> Option<(bool, [u64; 3], String)> {
        let (numbers, appendix) = tag
            .strip_prefix('v')
            .unwrap_or(tag)
            .split_once('-')
            .map_or_else(|| (tag.strip_prefix('v').unwrap_or(tag), ""), |(numbers, appendix)| (numbers, appendix));
        let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
        let all = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then(|| (appendix.is_empty(), all, appendix.to_owned()))
    };
    tags.iter().filter_map(|tag| Some((version(tag)?, tag.as_str()))).max().map(|(_, tag)| tag)
}

/// What a person types, as a file of logins.
fn asked(registry: &str) -> CliResult<Places> {
    let failed = |error: std::io::Error| CliError::io("the terminal cannot be read", &error);
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "user at {registry}: ");
    let _ = stderr.flush();
    let mut user = String::new();
    std::io::stdin().read_line(&mut user).map_err(failed)?;
    let password = secrets::input::asked("password")?;
    let password = String::from_utf8(password).map_err(|_| CliError::new(ExitCode::Usage, "a password is text"))?;
    let file = serde_json::json!({"auths": {registry: {"username": user.trim(), "password": password}}});
    let mut places = Places::of(env_vars::get);
    places.text = Some(Secret::new(file.to_string()));
    Ok(places)
}

/// Pulls it, and drops what the engine has under the same name and is another image.
pub(super) async fn pull(docker: &Docker, pinned: &Pinned, printer: &Printer) -> CliResult<()> {
    if let Some(named) = &pinned.named
        && let Ok(local) = docker.inspect_image(named).await
    {
        let digest = pinned.image.split_once('@').map_or("", |(_, digest)| digest);
        if !local.repo_digests.iter().any(|known| known.ends_with(digest)) {
            match docker.remove_image(named).await {
                Ok(()) => printer.note(format_args!("{named} was another image here, and is dropped")),
                // Whoever uses it keeps it; what is run goes by its digest.
                Err(error) => printer.note(format_args!("{named} is another image here, and is in use: {error}")),
            }
        }
    }
    let pulled = docker.pull_image_as(&pinned.image, pinned.login.as_ref()).await;
    pulled.map_err(|error| {
        let mut said = port_error(PortError::from(error));
        said.code = ExitCode::Unavailable;
        said.message = format!("{} cannot be pulled: {}", pinned.image, said.message);
        said
    })
}

/// `NAME=VALUE` lines; a later file wins.
pub(super) fn variables(files: &[PathBuf]) -> CliResult<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| CliError::io(format!("cannot read {}", file.display()), &error))?;
        let pairs = landfall_manifest::env_file::parse(&text).map_err(|wrong| {
            CliError::new(ExitCode::Usage, format!("{}, line {}: {}", file.display(), wrong.line, wrong.why))
        })?;
        all.extend(pairs.into_iter().map(|pair| (pair.name, pair.value)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_is_no_text_order() {
        let of = |tags: &[&str]| {
            let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            highest(&tags).map(str::to_owned)
        };
        assert_eq!(of(&["v1.9.0", "v1.10.0", "latest", "1a2b3c4", "v2.0.0-rc1"]).as_deref(), Some("v1.10.0"));
        assert_eq!(of(&["1.0.0", "v0.9.9"]).as_deref(), Some("1.0.0"));
        assert_eq!(of(&["v2.0.0-rc1", "v2.0.0-rc2"]).as_deref(), Some("v2.0.0-rc2"));
        assert_eq!(of(&["v1", "1.2", "1.2.3.4", "1.2.x", "main"]), None);
    }
}

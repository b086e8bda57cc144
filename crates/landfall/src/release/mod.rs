//! A release: what one commit is, in images by digest, and who made it where. It is kept in the registry beside the images, under a tag that
//! follows from project and commit, so that every machine that can pull them finds it. (What was deployed to an environment is
//! another matter: the journal has it, and `landfall releases` lists it.)

mod gather;
mod keep;

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::Timestamp;
use landfall_model::app::{App, ImageSource};
use landfall_ports::PortResult;
use landfall_registry::{Digest, Reference, Repository, is_tag};
use serde::{Deserialize, Serialize};

use crate::build::Words;

pub(crate) use gather::{gather, provenance};
pub(crate) use keep::{Found, Put, all, find, images_of, put};

pub(crate) const KIND: &str = "application/vnd.landfall.release.v1+json";
pub(crate) const TAG: &str = "landfall-release-";
/// Annotations, beside OCI's own for time and commit.
const PROJECT: &str = "landfall.release.project";
/// `REPOSITORY@DIGEST`, separated by spaces.
const IMAGES: &str = "landfall.release.images";
const CREATED: &str = "org.opencontainers.image.created";
const REVISION: &str = "org.opencontainers.image.revision";
/// An abbreviated commit or digest has so many digits at least.
pub(crate) const SHORTEST: usize = 7;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Release {
    pub(crate) project: String,
    pub(crate) commit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) services: BTreeMap<String, Part>,
    pub(crate) provenance: Provenance,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Digest of the service as the manifest resolves it: changes when its task definition would, or the way it is deployed.
    pub(crate) config: Digest,
    pub(crate) containers: BTreeMap<String, Shipped>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shipped {
    /// `REPOSITORY@DIGEST`; as the manifest has it where its digest could not be told.
    pub(crate) image: String,
    /// Somebody else's image, which the commit only names: it may move between two looks, and tells no two releases apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) foreign: bool,
}

/// Who made the record, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Provenance {
    pub(crate) by: String,
    pub(crate) machine: String,
    /// Landfall's version.
    pub(crate) landfall: String,
    /// Where the commit comes from; without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// Files differed from the commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dirty: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ci: Option<CiRun>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CiRun {
    pub(crate) host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

impl Release {
    /// The images by digest: `REPOSITORY@DIGEST`.
    pub(crate) fn pinned(&self) -> BTreeSet<&str> {
        let all = self.services.values().flat_map(|part| part.containers.values());
        all.map(|shipped| shipped.image.as_str()).filter(|image| image.contains('@')).collect()
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let images: Vec<&str> = self.pinned().into_iter().collect();
        let all = [
            (CREATED, self.created.to_string()),
            (REVISION, self.commit.clone()),
            (PROJECT, self.project.clone()),
            (IMAGES, images.join(" ")),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// In what `other` is another release of the same commit; who made it and when does not count. Empty: the same.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let names: BTreeSet<&String> = self.services.keys().chain(other.services.keys()).collect();
        for name in names {
            let (Some(here), Some(there)) = (self.services.get(name), other.services.get(name)) else {
                found.push(format!("service {name} is in one of them only"));
                continue;
            };
            let containers: BTreeSet<&String> = here.containers.keys().chain(there.containers.keys()).collect();
            for container in containers {
                let of = |part: &Part| part.containers.get(container).cloned();
                let (ours, theirs) = (of(here), of(there));
                let foreign = |one: &Option<Shipped>| one.as_ref().is_some_and(|one| one.foreign);
                if ours != theirs && !(foreign(&ours) && foreign(&theirs)) {
                    let said = |one: Option<Shipped>| one.map_or_else(|| "nothing".to_owned(), |one| one.image);
                    found.push(format!("{name}/{container} is {} and not {}", said(ours), said(theirs)));
                }
            }
            // Another version may resolve the same manifest to more than this one knows.
            if here.config != there.config && self.provenance.landfall == other.provenance.landfall {
                found.push(format!("service {name} is configured otherwise"));
            }
        }
        found
    }
}

/// Whether this can name a commit of git, or its beginning.
pub(crate) fn is_commit(text: &str) -> bool {
    (SHORTEST..=64).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Where a commit's release is; `None`: no tag can hold it.
pub(crate) fn tag(project: &str, commit: &str) -> Option<String> {
    Some(format!("{TAG}{project}-{commit}")).filter(|tag| is_commit(commit) && is_tag(tag))
}

/// Project and commit of a release's tag.
pub(crate) fn of_tag(tag: &str) -> Option<(&str, &str)> {
    let (project, commit) = tag.strip_prefix(TAG)?.rsplit_once('-')?;
    (!project.is_empty() && is_commit(commit)).then_some((project, commit))
}

/// `prod` of `landfall-release-prod-1a2b…`, and so on: how a release is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A commit or the beginning of one.
    Commit(String),
    /// The release's own digest, or the beginning of it, without `sha256:`.
    Id(String),
}

impl Wanted {
    /// `None`: it can be neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix("sha256:") {
            Some(hex) => is_commit(hex).then(|| Self::Id(hex.to_owned())),
            None => is_commit(&text).then_some(Self::Commit(text)),
        }
    }
}

/// The repositories of a manifest's own images, by name, each once. `Err`: a name that cannot be told, and why.
pub(crate) fn repositories(app: &App, words: &Words) -> Result<BTreeMap<String, Repository>, String> {
    let mut all = BTreeMap::new();
    for (who, image) in awaited(app) {
        let Some(repository) = repository(&image, words).map_err(|why| format!("{who}: {why}"))? else { continue };
        all.insert(repository.to_string(), repository);
    }
    Ok(all)
}

/// `None`: an image of this machine's engine only.
pub(crate) fn repository(image: &str, words: &Words) -> Result<Option<Repository>, String> {
    // A repository that is named after the commit or the branch could not be found by those who know neither.
    let name = image.replace("{project}", &words.project);
    let tail = name.rfind('/').map_or(0, |at| at + 1);
    let bare = match name[tail..].find(':') {
        Some(colon) => &name[..tail + colon],
        None => name.as_str(),
    };
    if bare.contains('{') {
        return Err(format!("{image}: the repository's own name has a placeholder, so releases are not found in it"));
    }
    let repository = Reference::parse(bare).map_err(|error| error.to_string())?.repository;
    Ok(Some(repository).filter(|repository| repository.registry != "localhost"))
}

/// `SERVICE/CONTAINER` with the image that is awaited for it.
pub(crate) fn awaited(app: &App) -> impl Iterator<Item = (String, String)> {
    app.services.values().flat_map(|service| {
        service.containers.iter().filter_map(|container| match &container.image {
            ImageSource::Await(wanted) => Some((format!("{}/{}", service.name, container.name), wanted.image.clone())),
            _ => None,
        })
    })
}

/// The service's digest as JSON has it.
///
/// # Errors
/// `Bug`: never seen.
pub(crate) fn config(service: &landfall_model::app::Service) -> PortResult<Digest> {
    // Through a value, whose keys are sorted.
    let value = serde_json::to_value(service).map_err(|error| landfall_ports::PortError::Bug(error.to_string()))?;
    Ok(Digest::of(value.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn release() -> Release {
        let shipped = |image: &str, foreign| Shipped { image: image.to_owned(), foreign };
        let containers = BTreeMap::from([
            ("app".to_owned(), shipped("r.example/web@sha256:aa", false)),
            ("cache".to_owned(), shipped("redis@sha256:cc", true)),
        ]);
        Release {
            project: "shop".to_owned(),
            commit: "1a2b3c4".to_owned(),
            branch: None,
            tag: None,
            created: Timestamp::UNIX_EPOCH,
            services: BTreeMap::from([("web".to_owned(), Part { config: Digest::of(b"1"), containers })]),
            provenance: Provenance::default(),
        }
    }

    fn change(change: impl FnOnce(&mut Release)) -> Vec<String> {
        let mut other = release();
        change(&mut other);
        release().differences(&other)
    }

    #[test]
    fn only_own_images_and_configuration_tell_releases_apart() {
        assert!(change(|other| other.provenance.by = "ci".to_owned()).is_empty());
        let image = |other: &mut Release, container: &str, image: &str| {
            other.services.get_mut("web").unwrap().containers.get_mut(container).unwrap().image = image.to_owned();
        };
        assert!(change(|other| image(other, "cache", "redis:7")).is_empty());
        let moved = change(|other| image(other, "app", "r.example/web@sha256:bb"));
        assert_eq!(moved, ["web/app is r.example/web@sha256:aa and not r.example/web@sha256:bb"]);
        let fresh = |other: &mut Release| other.services.get_mut("web").unwrap().config = Digest::of(b"2");
        assert_eq!(change(fresh), ["service web is configured otherwise"]);
        let newer = change(|other| {
            fresh(other);
            other.provenance.landfall = "9".to_owned();
        });
        assert!(newer.is_empty(), "{newer:?}");
        assert_eq!(change(|other| other.services.clear()), ["service web is in one of them only"]);
    }

    #[test]
    fn tags_say_whose_release_they_are() {
        let tag = tag("my-shop", "1a2b3c4").unwrap();
        assert_eq!((tag.as_str(), of_tag(&tag)), ("landfall-release-my-shop-1a2b3c4", Some(("my-shop", "1a2b3c4"))));
        let inputs = format!("landfall-{}", "a".repeat(32));
        for other in ["latest", "landfall-release-", "landfall-release-1a2b3c4", "landfall-release-x-v1", &inputs] {
            assert_eq!(of_tag(other), None, "{other}");
        }
        assert_eq!(super::tag(&"x".repeat(120), "1a2b3c4"), None);
        assert_eq!(super::tag("shop", "main"), None);
    }

    #[test]
    fn commits_and_ids_are_asked_for() {
        assert_eq!(Wanted::parse("1A2B3C4"), Some(Wanted::Commit("1a2b3c4".to_owned())));
        assert_eq!(Wanted::parse("sha256:0123456"), Some(Wanted::Id("0123456".to_owned())));
        for bad in ["", "123456", "main", "sha256:1", "v1.2.3"] {
            assert_eq!(Wanted::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn repositories_are_told_without_a_commit() {
        let words = Words { project: "shop".to_owned(), ..Words::default() };
        let of = |image: &str| repository(image, &words).map(|found| found.map(|found| found.to_string()));
        assert_eq!(of("127.0.0.1:5000/a/{project}-web:{commit}"), Ok(Some("127.0.0.1:5000/a/shop-web".to_owned())));
        assert_eq!(of("r.example/web"), Ok(Some("r.example/web".to_owned())));
        assert_eq!(of("localhost/web:{commit}"), Ok(None));
        assert!(of("r.example/{branch}/web:{commit}").unwrap_err().contains("placeholder"));
    }
}

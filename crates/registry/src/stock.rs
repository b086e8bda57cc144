//! All that a repository has, as far as it tells, and deleting some of it.
//!
//! The distribution protocol lists tags only. What no tag and no index names is not seen by it, and stays for the registry's own garbage
//! collection; a cloud that has a listing of its own (ECR) is asked for that, and tells of all. Anything that cannot be read makes the
//! whole an error: nobody should delete by half of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use landfall_ports::registry::Timestamp;
use landfall_ports::{PortError, PortResult};

use crate::client::Client;
use crate::codes;
use crate::digest::Digest;
use crate::manifest::{Content, Document};
use crate::push::AT_ONCE;
use crate::reference::Repository;

/// Before this, times are those of builders that write none.
const FIRST_SECOND: i64 = 315_532_800;
const CREATED: &str = "org.opencontainers.image.created";

/// A manifest in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub document: Document,
    /// Sorted.
    pub tags: Vec<String>,
    /// When it was pushed, where that is told, else when it was built; `None`: nobody says.
    pub since: Option<Timestamp>,
}

impl Held {
    pub fn digest(&self) -> &Digest {
        &self.document.digest
    }

    /// Manifests that it names: an index's images.
    pub fn parts(&self) -> impl Iterator<Item = &Digest> {
        let index = match &self.document.content {
            Content::Index(index) => index.manifests.as_slice(),
            Content::Image(_) => &[],
        };
        index.iter().filter(|part| part.is_manifest()).map(|part| &part.digest)
    }

    /// The manifest that it says something about: a signature's, an attestation's. By its `subject`, or a tag as cosign gives them
    /// (`sha256-HEX.sig`).
    pub fn subject(&self) -> Option<Digest> {
        if let Content::Image(image) = &self.document.content
            && let Some(subject) = &image.subject
        {
            return Some(subject.digest.clone());
        }
        self.tags.iter().find_map(|tag| {
            let hex = tag.strip_prefix("sha256-")?.get(..64)?;
            format!("sha256:{hex}").parse().ok()
        })
    }
}

/// Why something was not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub digest: Digest,
    pub why: String,
}

impl Client {
    /// Everything in the repository, by digest.
    ///
    /// # Errors
    /// As [`Client::tags`]; also where only a part can be read.
    pub async fn stock(&self, repository: &Repository) -> PortResult<BTreeMap<Digest, Held>> {
        match self.cloud_stock(repository).await? {
            Some(stock) => Ok(stock),
            None => self.tagged_stock(repository).await,
        }
    }

    async fn cloud_stock(&self, repository: &Repository) -> PortResult<Option<BTreeMap<Digest, Held>>> {
        let (registry, name) = (&repository.registry, &repository.name);
        let Some(cloud) = self.transport.cloud.as_ref().filter(|cloud| cloud.serves(registry)) else { return Ok(None) };
        let Some(listed) = cloud.images(registry, name).await? else { return Ok(None) };
        let digests: Vec<String> = listed.iter().map(|image| image.digest.clone()).collect();
        let manifests = cloud.manifests(registry, name, &digests).await?;
        let mut texts: BTreeMap<String, _> = manifests.into_iter().map(|one| (one.digest.clone(), one)).collect();
        let mut stock = BTreeMap::new();
        for image in listed {
            let lacks = || {
                PortError::Unavailable(format!(
                    "{}: {repository} lists {} and does not give its manifest",
                    codes::UNAVAILABLE,
                    image.digest
                ))
            };
            let digest: Digest = image.digest.parse().map_err(|()| lacks())?;
            let manifest = texts.remove(&image.digest).ok_or_else(lacks)?;
            let document = Document::parse(Bytes::from(manifest.text), manifest.media_type.as_deref())?;
            // By the name that the cloud has for it: that is what is deleted.
            let document = Document { digest: digest.clone(), ..document };
            let mut tags = image.tags;
            tags.sort();
            stock.insert(digest, Held { document, tags, since: image.pushed_at });
        }
        Ok(Some(stock))
    }

    async fn tagged_stock(&self, repository: &Repository) -> PortResult<BTreeMap<Digest, Held>> {
        let tags = self.tags(repository).await?;
        let read = tags.into_iter().map(|tag| async move {
            let found = self.manifest(repository, &tag).await?;
            // Removed since it was listed.
            PortResult::Ok(found.map(|document| (tag, document)))
        });
        let read: Vec<_> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
        let mut stock: BTreeMap<Digest, Held> = BTreeMap::new();
        for (tag, document) in read.into_iter().flatten() {
            let held = Held { document, tags: Vec::new(), since: None };
            stock.entry(held.digest().clone()).or_insert(held).tags.push(tag);
        }
        self.add_parts(repository, &mut stock).await?;
        let images = stock.values().filter_map(|held| match &held.document.content {
            Content::Image(image) => Some((held.digest().clone(), image)),
            Content::Index(_) => None,
        });
        let built = images.map(|(digest, image)| async move {
            let named = image.annotations.get(CREATED).and_then(|text| text.parse().ok());
            let since = match named {
                Some(at) => Some(at),
                None if image.config.media_type.contains("image") => {
                    built_at(&self.small_blob(repository, &image.config.digest).await?)
                }
                None => None,
            };
            PortResult::Ok((digest, since))
        });
        let built: BTreeMap<Digest, Option<Timestamp>> = stream::iter(built).buffered(AT_ONCE).try_collect().await?;
        let whole = |held: &Held| {
            let own = held.parts().map(|part| built.get(part).copied().flatten());
            own.max().flatten()
        };
        let indexes: Vec<(Digest, Option<Timestamp>)> = stock
            .values()
            .filter(|held| held.parts().next().is_some())
            .map(|held| (held.digest().clone(), whole(held)))
            .collect();
        for (digest, since) in built.into_iter().chain(indexes) {
            if let Some(held) = stock.get_mut(&digest) {
                held.since = since.filter(|at| at.as_second() > FIRST_SECOND);
                held.tags.sort();
            }
        }
        Ok(stock)
    }

    /// What indexes name, also those in indexes.
    async fn add_parts(&self, repository: &Repository, stock: &mut BTreeMap<Digest, Held>) -> PortResult<()> {
        loop {
            let named = stock.values().flat_map(Held::parts).filter(|part| !stock.contains_key(*part));
            let missing: BTreeSet<Digest> = named.cloned().collect();
            let read = missing.iter().map(|part| async move { self.manifest(repository, &part.to_string()).await });
            let read: Vec<Option<Document>> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
            // An index may name a platform's image that was never copied along.
            let found: Vec<Document> = read.into_iter().flatten().collect();
            if found.is_empty() {
                return Ok(());
            }
            stock.extend(
                found
                    .into_iter()
                    .map(|document| (document.digest.clone(), Held { document, tags: Vec::new(), since: None })),
            );
        }
    }

    /// Deletes manifests in this order, each with all its tags; those that stay, and why. What is gone already is no failure.
    ///
    /// # Errors
    /// As [`Client::resolve`]; `Invalid`: the registry deletes nothing. What came before is deleted then.
    pub async fn delete_manifests(
        &self,
        repository: &Repository,
        digests: &[Digest],
        mut deleted: impl FnMut(&Digest),
    ) -> PortResult<Vec<Refused>> {
        let cloud = self.transport.cloud.as_ref().filter(|cloud| cloud.serves(&repository.registry));
        let Some(cloud) = cloud else {
            for digest in digests {
                self.delete_manifest(repository, digest).await?;
                deleted(digest);
            }
            return Ok(Vec::new());
        };
        let names: Vec<String> = digests.iter().map(Digest::to_string).collect();
        let stays = cloud.delete_images(&repository.registry, &repository.name, &names).await?;
        let stays: BTreeMap<String, String> = stays.into_iter().collect();
        let mut refused = Vec::new();
        for digest in digests {
            match stays.get(&digest.to_string()) {
                Some(why) => refused.push(Refused { digest: digest.clone(), why: why.clone() }),
                None => deleted(digest),
            }
        }
        Ok(refused)
    }
}

/// Of an image's configuration.
fn built_at(config: &[u8]) -> Option<Timestamp> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    let own = [&config["created"], &config["config"]["Labels"][CREATED]];
    let times = own.into_iter().filter_map(|time| time.as_str()?.parse::<Timestamp>().ok());
    times.max().filter(|at| at.as_second() > FIRST_SECOND)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn held(text: String, tags: &[&str]) -> Held {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Held { document: Document::parse(Bytes::from(text), None).unwrap(), tags, since: None }
    }

    #[test]
    fn times_of_builders_that_write_none_are_not_known() {
        let of = |text: &str| built_at(text.as_bytes()).map(|at| at.to_string());
        assert_eq!(of(r#"{"created":"2026-01-02T03:04:05Z"}"#).as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(of(r#"{"created":"1970-01-01T00:00:00Z"}"#), None);
        let labelled = r#"{"created":"1970-01-01T00:00:00Z","config":{"Labels":{"org.opencontainers.image.created":"2026-01-02T04:04:05+01:00"}}}"#;
        assert_eq!(of(labelled).as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!((of("{}"), of("nonsense")), (None, None));
    }

    #[test]
    fn what_belongs_to_another_manifest_says_to_which() {
        let (digest, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let part = |media: &str, digest: &Digest| format!(r#"{{"mediaType":"{media}","digest":"{digest}","size":1}}"#);
        let image = format!(r#"{{"schemaVersion":2,"config":{0},"layers":[]}}"#, part("x", &digest));
        assert_eq!(held(image.clone(), &["v1"]).subject(), None);
        let tag = format!("sha256-{}.sig", other.hex());
        assert_eq!(held(image.clone(), &[&tag]).subject(), Some(other.clone()));
        let about = image.replace("\"layers\":[]", &format!("\"layers\":[],\"subject\":{}", part("x", &other)));
        assert_eq!(held(about, &[]).subject(), Some(other.clone()));
        let oci = "application/vnd.oci.image.manifest.v1+json";
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#, part(oci, &other), part("a/b", &digest));
        assert_eq!(held(index, &[]).parts().collect::<Vec<_>>(), [&other]);
    }
}

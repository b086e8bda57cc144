//! An image on its way into a registry, as a whole.
//!
//! First the tags, because a push that finds its image there has nothing else to do, and one that may not move a tag must not send
//! anything. Then blobs, largest first, side by side, and with them whether the image is there under another name: one round trip
//! for both. Then manifests, those that others name first; the tags are last. A push that fails anywhere before has tagged
//! nothing, and what has arrived is found there by the next one.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use landfall_ports::{PortError, PortResult};
use serde::Serialize;

use crate::client::{Client, Found};
use crate::codes;
use crate::digest::Digest;
use crate::http::Action;
use crate::manifest::{Content, Descriptor, Document};
use crate::reference::Repository;
use crate::source::Source;
use crate::upload::How;
use crate::watch::Event;

/// Layers at once, as skopeo has it.
pub const AT_ONCE: usize = 6;
/// Manifests in all, those of indexes in indexes included.
pub(crate) const MANIFESTS: usize = 1_000;

/// What should be where.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    pub repository: &'a Repository,
    /// None: the image is known by its digest only.
    pub tags: &'a [String],
    /// No tag that has another image is moved.
    pub immutable: bool,
    /// A cloud's repository that is missing is made.
    pub create_repository: bool,
    /// Repositories of the same registry whose layers may be taken over.
    pub mounts: &'a [String],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    pub digest: Digest,
    pub media_type: String,
    /// Tags that were given or moved; those that had the image already are not among them.
    pub tagged: Vec<String>,
    pub layers: Layers,
}

/// Blobs by how they came there, and the bytes of those that travelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Layers {
    pub present: usize,
    pub mounted: usize,
    pub uploaded: usize,
    pub uploaded_bytes: u64,
}

impl Client {
    /// # Errors
    /// `Conflict`: a tag may not be moved. `Invalid`: the image cannot be used, or arrived as another. Else as every call. Nothing
    /// is tagged then, but for some of several tags where the error is that of a later one.
    pub async fn push(&self, push: &Push<'_>, source: &dyn Source) -> PortResult<Pushed> {
        let root = source.manifest(source.root())?;
        let known = self.tags_of(push, &root).await?;
        if known.manifest {
            return self.tag(push, &root, &known, Layers::default()).await;
        }
        let documents = closure(&root, source)?;
        let (there, mut layers) =
            try_join(self.has_manifest(push, &root), self.blobs(push, &documents, source)).await?;
        if there {
            layers = Layers::default();
        } else {
            self.parts(push, &documents).await?;
        }
        self.tag(push, &root, &known.with(there, push, &root), layers).await
    }

    /// All manifests but the root, which is the first: those that others name come before those that name them.
    pub(crate) async fn parts(&self, push: &Push<'_>, documents: &[Document]) -> PortResult<()> {
        for document in documents.iter().skip(1).rev() {
            self.put_manifest(push.repository, &document.digest.to_string(), document).await?;
        }
        Ok(())
    }

    pub(crate) async fn tag(
        &self,
        push: &Push<'_>,
        root: &Document,
        known: &Known,
        layers: Layers,
    ) -> PortResult<Pushed> {
        for (at, version) in known.missing.iter().enumerate() {
            self.watcher().event(Event::Tagging(version));
            let put = self.put_manifest(push.repository, version, root).await;
            let given = || format!("; tagged already: {}", known.missing[..at].join(", "));
            put.map_err(|error| if at == 0 { error } else { error.and(&given()) })?;
            self.watcher().event(Event::Tagged(version));
        }
        let tagged = push.tags.iter().filter(|tag| known.missing.contains(*tag)).cloned().collect();
        Ok(Pushed { digest: root.digest.clone(), media_type: root.media_type.clone(), tagged, layers })
    }

    /// Gives tags to the image that the repository has under `version`; `None`: it has none. No blob is touched.
    ///
    /// # Errors
    /// As [`Client::push`].
    pub async fn retag(&self, push: &Push<'_>, version: &str) -> PortResult<Option<Pushed>> {
        let Some(document) = self.manifest(push.repository, version).await? else { return Ok(None) };
        let known = self.tags_of(push, &document).await?.with(true, push, &document);
        self.tag(push, &document, &known, Layers::default()).await.map(Some)
    }

    /// What the registry has of the image, and whether its tags may be given to it.
    pub(crate) async fn known(&self, push: &Push<'_>, root: &Document) -> PortResult<Known> {
        let known = self.tags_of(push, root).await?;
        let there = known.manifest || self.has_manifest(push, root).await?;
        Ok(known.with(there, push, root))
    }

    /// What its tags say.
    async fn tags_of(&self, push: &Push<'_>, root: &Document) -> PortResult<Known> {
        let find = |tag: &String| {
            let tag = tag.clone();
            async move {
                let found = self.find_as(push.repository, &tag, Action::Push).await?;
                PortResult::Ok((tag, found))
            }
        };
        // With one tag its own answer says all in the case that counts: nothing has changed.
        let mut found = Vec::new();
        if let [tag] = push.tags {
            found.push(find(tag).await?);
            if found.iter().all(|(_, found)| is(found.as_ref(), &root.digest)) {
                return Ok(Known { manifest: true, missing: Vec::new() });
            }
        }
        let rules = self.rules(push.repository, push.create_repository).await?;
        if found.is_empty() {
            found = stream::iter(push.tags.iter().map(find)).buffered(AT_ONCE).try_collect().await?;
        }
        let may_move = |tag: &str| !push.immutable && rules.as_ref().is_none_or(|rules| rules.may_move(tag));
        decide(&root.digest, &found, may_move)
            .map_err(|(tag, other)| moved(push.repository, &tag, other.as_ref(), &root.digest))
    }

    async fn has_manifest(&self, push: &Push<'_>, root: &Document) -> PortResult<bool> {
        Ok(self.find_as(push.repository, &root.digest.to_string(), Action::Push).await?.is_some())
    }

    async fn blobs(&self, push: &Push<'_>, documents: &[Document], source: &dyn Source) -> PortResult<Layers> {
        let blobs = wanted(documents);
        let mut jobs = Vec::with_capacity(blobs.len());
        for descriptor in &blobs {
            jobs.push((*descriptor, source.place(descriptor)?));
        }
        let bytes = blobs.iter().map(|descriptor| descriptor.size).sum();
        self.watcher().event(Event::Planned { blobs: blobs.len(), bytes });
        let work = jobs.iter().map(|(descriptor, place)| async move {
            let how = self.ensure_blob(push.repository, descriptor, place, push.mounts).await?;
            PortResult::Ok((how, descriptor.size))
        });
        let done: Vec<(How, u64)> = stream::iter(work).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(Layers::of(&done))
    }
}

impl Layers {
    pub(crate) fn of(done: &[(How, u64)]) -> Self {
        let mut layers = Self::default();
        for (how, size) in done {
            match how {
                How::Present => layers.present += 1,
                How::Mounted => layers.mounted += 1,
                How::Uploaded => {
                    layers.uploaded += 1;
                    layers.uploaded_bytes += size;
                }
            }
        }
        layers
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The registry has the manifest, and so all that it needs.
    pub manifest: bool,
    /// Tags to give, or the digest where there are none.
    pub missing: Vec<String>,
}

impl Known {
    /// `there`: the repository has the manifest. Without tags it is to be known by its digest.
    fn with(mut self, there: bool, push: &Push<'_>, root: &Document) -> Self {
        self.manifest |= there;
        if push.tags.is_empty() && !self.manifest {
            self.missing.push(root.digest.to_string());
        }
        self
    }
}

fn is(found: Option<&Found>, digest: &Digest) -> bool {
    found.is_some_and(|found| found.digest.as_ref() == Some(digest))
}

/// `Err`: the tag that would have to be moved and may not be, and what it has.
fn decide(
    digest: &Digest,
    found: &[(String, Option<Found>)],
    may_move: impl Fn(&str) -> bool,
) -> Result<Known, (String, Option<Digest>)> {
    let mut known = Known { manifest: false, missing: Vec::new() };
    for (tag, found) in found {
        match found {
            same if is(same.as_ref(), digest) => known.manifest = true,
            Some(other) if !may_move(tag) => return Err((tag.clone(), other.digest.clone())),
            _ => known.missing.push(tag.clone()),
        }
    }
    Ok(known)
}

fn moved(repository: &Repository, tag: &str, other: Option<&Digest>, digest: &Digest) -> PortError {
    let other = other.map_or_else(|| "another image".to_owned(), Digest::to_string);
    PortError::Conflict(format!(
        "{}: {repository}:{tag} is {other} and may not become {digest}: nothing was sent",
        codes::IMMUTABLE
    ))
}

/// The manifest and all those that it names, itself first, each once.
pub(crate) fn closure(root: &Document, source: &dyn Source) -> PortResult<Vec<Document>> {
    let mut all = vec![root.clone()];
    let mut seen = BTreeSet::from([root.digest.clone()]);
    let mut at = 0;
    while at < all.len() {
        let Content::Index(index) = &all[at].content else {
            at += 1;
            continue;
        };
        for descriptor in index.manifests.clone() {
            if descriptor.is_manifest() && seen.insert(descriptor.digest.clone()) {
                all.push(source.manifest(&descriptor)?);
            }
        }
        if all.len() > MANIFESTS {
            return Err(PortError::Invalid(format!("{}: more than {MANIFESTS} manifests", codes::SOURCE)));
        }
        at += 1;
    }
    Ok(all)
}

/// Blobs that must be in the registry, each once, largest first, so that none is begun when all others are done.
pub(crate) fn wanted(documents: &[Document]) -> Vec<&Descriptor> {
    let blobs = documents.iter().flat_map(Document::needs);
    let blobs = blobs.filter(|descriptor| !descriptor.is_manifest() && descriptor.urls.is_empty());
    let unique: BTreeMap<&Digest, &Descriptor> = blobs.map(|descriptor| (&descriptor.digest, descriptor)).collect();
    let mut all: Vec<&Descriptor> = unique.into_values().collect();
    all.sort_by_key(|descriptor| std::cmp::Reverse(descriptor.size));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(version: &str, digest: Option<&Digest>) -> (String, Option<Found>) {
        (version.to_owned(), digest.map(|digest| Found { digest: Some(digest.clone()) }))
    }

    #[test]
    fn what_is_left_to_tag() {
        let (ours, other) = (Digest::of(b"ours"), Digest::of(b"other"));
        let decide = |found: &[_], free| super::decide(&ours, found, |_| free);
        let known = |manifest, missing: &[&str]| {
            Ok(Known { manifest, missing: missing.iter().map(|text| (*text).to_owned()).collect() })
        };
        assert_eq!(decide(&[found("a", Some(&ours)), found("b", Some(&ours))], false), known(true, &[]));
        assert_eq!(decide(&[found("a", Some(&ours)), found("b", None)], false), known(true, &["b"]));
        assert_eq!(decide(&[found("a", None), found("b", None)], false), known(false, &["a", "b"]));
        let moved = [found("a", Some(&other)), found("b", None)];
        assert_eq!(decide(&moved, true), known(false, &["a", "b"]));
        assert_eq!(decide(&moved, false), Err(("a".to_owned(), Some(other.clone()))));
        assert_eq!(decide(&[], false), known(false, &[]));
    }
}

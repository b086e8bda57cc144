//! Small documents beside images: an OCI image manifest with an `artifactType`, an empty configuration and one layer.
//!
//! It is found by its tag, and names no `subject`: distribution 2.8 has no referrers, and what is said of several images at once
//! belongs to none of them. (OCI image specification 1.1, "Guidelines for Artifact Usage".)

use std::collections::BTreeMap;

use bytes::Bytes;
use landfall_ports::{PortError, PortResult};

use crate::blob::Place;
use crate::client::Client;
use crate::codes;
use crate::digest::Digest;
use crate::manifest::{Content, Descriptor, Document, Image, OCI_MANIFEST, write};
use crate::reference::Repository;
use crate::source::Source;

/// The configuration of what has none: `{}`.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A document as it is pushed: the same content always has the same digest.
#[derive(Debug, Clone)]
pub struct Artifact {
    root: Descriptor,
    document: Document,
    body: Bytes,
}

impl Artifact {
    /// `kind`: the media type of the artifact and of its one layer.
    ///
    /// # Errors
    /// `Bug`: never seen.
    pub fn new(kind: &str, body: Bytes, annotations: BTreeMap<String, String>) -> PortResult<Self> {
        let layer = Descriptor::new(kind, Digest::of(&body), body.len() as u64);
        let image = Image {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            artifact_type: Some(kind.to_owned()),
            config: Descriptor::new(EMPTY, Digest::of(b"{}"), 2),
            layers: vec![layer],
            subject: None,
            annotations,
        };
        let document = Document::parse(write(&image)?, Some(OCI_MANIFEST))?;
        Ok(Self::of(document, body))
    }

    fn of(document: Document, body: Bytes) -> Self {
        Self { root: document.descriptor(), document, body }
    }

    pub fn digest(&self) -> &Digest {
        &self.root.digest
    }

    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl Source for Artifact {
    fn root(&self) -> &Descriptor {
        &self.root
    }

    fn manifest(&self, descriptor: &Descriptor) -> PortResult<Document> {
        if descriptor.digest == self.root.digest { Ok(self.document.clone()) } else { Err(foreign(descriptor)) }
    }

    fn place(&self, descriptor: &Descriptor) -> PortResult<Place> {
        let known = [Bytes::from_static(b"{}"), self.body.clone()];
        let found = known.into_iter().find(|bytes| Digest::of(bytes) == descriptor.digest);
        found.map(Place::Bytes).ok_or_else(|| foreign(descriptor))
    }
}

fn foreign(descriptor: &Descriptor) -> PortError {
    PortError::Bug(format!("{} is no part of this artifact", descriptor.digest))
}

/// What kind of artifact a manifest is; `None`: an image or an index.
pub fn kind(document: &Document) -> Option<&str> {
    match &document.content {
        Content::Image(image) => image.artifact_type.as_deref(),
        Content::Index(_) => None,
    }
}

/// Its annotations.
pub fn annotations(document: &Document) -> &BTreeMap<String, String> {
    match &document.content {
        Content::Image(image) => &image.annotations,
        Content::Index(index) => &index.annotations,
    }
}

impl Client {
    /// The artifact of this manifest, with its document.
    ///
    /// # Errors
    /// As [`Client::small_blob`]; `Invalid`: it is another kind of artifact, or not one document.
    pub async fn artifact(&self, repository: &Repository, document: Document, kind: &str) -> PortResult<Artifact> {
        let wrong =
            |why: &str| PortError::Invalid(format!("{}: {repository}@{}: {why}", codes::REFUSED, document.digest));
        let layer = match &document.content {
            Content::Image(image) if image.artifact_type.as_deref() == Some(kind) => match image.layers.as_slice() {
                [layer] => layer.digest.clone(),
                _ => return Err(wrong("an artifact with other than one document")),
            },
            _ => return Err(wrong(&format!("not of the kind {kind}"))),
        };
        let body = self.small_blob(repository, &layer).await?;
        Ok(Artifact::of(document, body))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const KIND: &str = "application/vnd.example.v1+json";

    fn artifact(body: &'static str) -> Artifact {
        let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        Artifact::new(KIND, Bytes::from_static(body.as_bytes()), annotations).unwrap()
    }

    #[test]
    fn the_same_content_has_the_same_digest_and_all_its_parts() {
        let (one, other) = (artifact("{\"a\":1}"), artifact("{\"a\":2}"));
        assert_eq!(one.digest(), artifact("{\"a\":1}").digest());
        assert_ne!(one.digest(), other.digest());
        let document = one.manifest(one.root()).unwrap();
        assert_eq!((kind(&document), annotations(&document)["a"].as_str()), (Some(KIND), "b"));
        let Content::Image(image) = &document.content else { panic!("an image manifest") };
        assert_eq!(image.config.digest.hex(), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        for part in image.layers.iter().chain([&image.config]) {
            assert_eq!(one.place(part).unwrap().digest().unwrap(), part.digest);
        }
        assert!(one.place(other.root()).is_err() && one.manifest(other.root()).is_err());
    }
}

//! Manifests and indexes, as far as moving images needs them. They travel as the bytes they are: their digest is of those.

use std::collections::BTreeMap;

use bytes::Bytes;
use landfall_ports::{PortError, PortResult};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What a registry is asked for.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                                   application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// A manifest larger than this is none; registries draw the line here too.
pub(crate) const LARGEST: u64 = 4 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Where a layer is that may not be distributed: it is never uploaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

impl Descriptor {
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Whether it stands for a manifest or an index, and not for a blob.
    pub fn is_manifest(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | OCI_MANIFEST | DOCKER_LIST | DOCKER_MANIFEST)
    }
}

/// A manifest of either kind with its own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Bytes,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Image(Box<Image>),
    Index(Index),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Document {
    /// # Errors
    /// `Invalid`: neither an image manifest nor an index.
    pub fn parse(bytes: Bytes, media_type: Option<&str>) -> PortResult<Self> {
        let bad = |why: &str| PortError::Invalid(format!("this is no image manifest: {why}"));
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| bad(&e.to_string()))?;
        let named =
            value["mediaType"].as_str().or(media_type.map(|text| text.split(';').next().unwrap_or(text).trim()));
        let is_index = match named {
            Some(OCI_INDEX | DOCKER_LIST) => true,
            Some(OCI_MANIFEST | DOCKER_MANIFEST) => false,
            // OCI lets both leave it out.
            _ => value["manifests"].is_array(),
        };
        let known = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
        let fallback = if is_index { OCI_INDEX } else { OCI_MANIFEST };
        let media_type = named.filter(|name| known.contains(name)).unwrap_or(fallback).to_owned();
        if value["schemaVersion"] == 1 {
            return Err(bad("schema 1 went out of use in 2017; push the image again with a current tool"));
        }
        let content = if is_index {
            Content::Index(serde_json::from_value(value).map_err(|e| bad(&e.to_string()))?)
        } else {
            Content::Image(serde_json::from_value(value).map_err(|e| bad(&e.to_string()))?)
        };
        Ok(Self { media_type, digest: Digest::of(&bytes), bytes, content })
    }

    /// What must be in the registry before this manifest: manifests first, then blobs.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &Descriptor> {
        let (one, many) = match &self.content {
            Content::Image(image) => (Some(&image.config), &image.layers),
            Content::Index(index) => (None, &index.manifests),
        };
        many.iter().chain(one)
    }

    /// The descriptor of this document itself.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest.clone(), self.bytes.len() as u64)
    }
}

/// An image manifest of OCI as bytes.
///
/// # Errors
/// `Bug`: never seen.
pub fn write<T: Serialize>(value: &T) -> PortResult<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|e| PortError::Bug(format!("manifest: {e}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn parse(text: &str, media_type: Option<&str>) -> PortResult<Document> {
        Document::parse(Bytes::from(text.to_owned()), media_type)
    }

    #[test]
    fn both_kinds_are_told_apart_with_and_without_their_media_type() {
        let digest = Digest::of(b"");
        let part = format!(r#"{{"mediaType":"x","digest":"{digest}","size":1}}"#);
        let image = format!(r#"{{"schemaVersion":2,"config":{part},"layers":[{part}]}}"#);
        let document = parse(&image, None).unwrap();
        assert_eq!((document.media_type.as_str(), document.needs().count()), (OCI_MANIFEST, 2));
        assert_eq!(document.digest, Digest::of(image.as_bytes()));
        let docker =
            parse(&image, Some("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8")).unwrap();
        assert_eq!(docker.media_type, DOCKER_MANIFEST);
        let index = parse(&format!(r#"{{"schemaVersion":2,"manifests":[{part}]}}"#), None).unwrap();
        assert!(matches!(index.content, Content::Index(_)) && index.media_type == OCI_INDEX);
    }

    #[test]
    fn what_is_none_says_so() {
        for (text, word) in
            [("[]", "no image manifest"), (r#"{"schemaVersion":1}"#, "schema 1"), ("<html>", "manifest")]
        {
            let error = parse(text, None).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let bad = r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:../x","size":1},"layers":[]}"#;
        assert!(parse(bad, None).unwrap_err().to_string().contains("not a sha256 digest"));
    }
}

//! OCI's image layout: a directory, or the same within a tar.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use landfall_ports::{PortError, PortResult};

use crate::blob::Place;
use crate::codes;
use crate::digest::Digest;
use crate::manifest::{Descriptor, Document, Index, LARGEST, write};
use crate::push::{closure, wanted};
use crate::source::Source;

/// The annotation that holds an image's tag within a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

pub(crate) fn bad(at: &Path, why: impl std::fmt::Display) -> PortError {
    PortError::Invalid(format!("{}: {}: {why}", codes::SOURCE, at.display()))
}

/// Where a layout's files are.
pub(crate) trait Files: Send + Sync {
    /// `None`: there is no such file.
    fn file(&self, name: &str) -> PortResult<Option<Place>>;
    fn path(&self) -> &Path;
}

#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Files for Directory {
    fn file(&self, name: &str) -> PortResult<Option<Place>> {
        let path = self.0.join(name);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(Place::File { path, offset: 0, size: metadata.len() })),
            Ok(_) => Err(bad(&path, "is no regular file")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(bad(&path, e)),
        }
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

/// One image of a layout.
pub struct Layout {
    files: Box<dyn Files>,
    root: Descriptor,
}

impl Layout {
    /// The image called `name` in the directory's index, or its only one.
    ///
    /// # Errors
    /// `Invalid`: no layout, or not that image.
    pub fn open(directory: &Path, name: Option<&str>) -> PortResult<Self> {
        Self::of(Box::new(Directory(directory.to_owned())), name)
    }

    pub(crate) fn of(files: Box<dyn Files>, name: Option<&str>) -> PortResult<Self> {
        let at = files.path().to_owned();
        if files.file("oci-layout")?.is_none() {
            return Err(bad(&at, "this is no OCI layout: it has no file `oci-layout`"));
        }
        let index = files.file("index.json")?.ok_or_else(|| bad(&at, "the layout has no index.json"))?;
        let index: Index =
            serde_json::from_slice(&whole(&index, &at)?).map_err(|e| bad(&at, format!("index.json: {e}")))?;
        let root = choose(&index, name).map_err(|why| bad(&at, why))?;
        Ok(Self { files, root })
    }
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.files.path().display(), self.root.digest)
    }
}

impl Source for Layout {
    fn root(&self) -> &Descriptor {
        &self.root
    }

    fn manifest(&self, descriptor: &Descriptor) -> PortResult<Document> {
        let bytes = whole(&self.place(descriptor)?, self.files.path())?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest {
            let why = format!("the manifest {} is damaged: it is {found}", descriptor.digest);
            return Err(PortError::Invalid(format!("{}: {}: {why}", codes::DIGEST, self.files.path().display())));
        }
        Document::parse(bytes, Some(&descriptor.media_type)).map_err(|e| bad(self.files.path(), e))
    }

    fn place(&self, descriptor: &Descriptor) -> PortResult<Place> {
        let name = format!("blobs/sha256/{}", descriptor.digest.hex());
        let place = self.files.file(&name)?.ok_or_else(|| bad(self.files.path(), format!("{name} is missing")))?;
        if place.size() != descriptor.size {
            let why = format!("{name} has {} bytes and should have {}", place.size(), descriptor.size);
            return Err(bad(self.files.path(), why));
        }
        Ok(place)
    }
}

/// Writes an image as a layout of its own; the directory is made, and must hold nothing.
///
/// # Errors
/// `Full`: no room. `Invalid`: the image is damaged, or nothing can be written there.
pub fn write_layout(source: &dyn Source, directory: &Path) -> PortResult<()> {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(|e| not_written(&blobs, &e))?;
    let root = source.manifest(source.root())?;
    let documents = closure(&root, source)?;
    for document in &documents {
        let path = blobs.join(document.digest.hex());
        std::fs::write(&path, &document.bytes).map_err(|e| not_written(&path, &e))?;
    }
    for descriptor in wanted(&documents) {
        let (place, path) = (source.place(descriptor)?, blobs.join(descriptor.digest.hex()));
        let mut from = place.open().map_err(|e| bad(directory, format!("{}: {e}", place.name())))?;
        let mut to = std::fs::File::create(&path).map_err(|e| not_written(&path, &e))?;
        std::io::copy(&mut from, &mut to).map_err(|e| not_written(&path, &e))?;
    }
    let index =
        Index { schema_version: 2, media_type: None, manifests: vec![root.descriptor()], annotations: BTreeMap::new() };
    let files =
        [("index.json", write(&index)?), ("oci-layout", Bytes::from_static(b"{\"imageLayoutVersion\":\"1.0.0\"}"))];
    for (name, bytes) in files {
        let path = directory.join(name);
        std::fs::write(&path, bytes).map_err(|e| not_written(&path, &e))?;
    }
    Ok(())
}

/// Of a file of ours.
pub(crate) fn not_written(path: &Path, error: &std::io::Error) -> PortError {
    let text = format!("{}: {}: {error}", codes::DISK, path.display());
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => PortError::Full(text),
        _ => PortError::Invalid(text),
    }
}

fn whole(place: &Place, at: &Path) -> PortResult<Bytes> {
    let mut bytes = Vec::new();
    let read = place.open().and_then(|opened| opened.take(LARGEST + 1).read_to_end(&mut bytes));
    read.map_err(|e| bad(at, format!("{}: {e}", place.name())))?;
    if bytes.len() as u64 > LARGEST {
        return Err(bad(at, format!("{} is larger than a manifest may be", place.name())));
    }
    Ok(Bytes::from(bytes))
}

fn choose(index: &Index, name: Option<&str>) -> Result<Descriptor, String> {
    fn named(descriptor: &Descriptor) -> Option<&str> {
        descriptor.annotations.get(REF_NAME).map(String::as_str)
    }
    let names: Vec<&str> = index.manifests.iter().filter_map(named).collect();
    let names = if names.is_empty() { "no names".to_owned() } else { names.join(", ") };
    match (name, index.manifests.as_slice()) {
        (_, []) => Err("the layout is empty".to_owned()),
        (None, [only]) => Ok(only.clone()),
        (None, many) => Err(format!("the layout holds {} images; say which, as LAYOUT:NAME ({names})", many.len())),
        // The newest of a name is the last: tools append.
        (Some(name), all) => {
            let fits = |descriptor: &&Descriptor| {
                named(descriptor).is_some_and(|own| own == name || own.rsplit(':').next() == Some(name))
            };
            all.iter().rev().find(fits).cloned().ok_or_else(|| format!("the layout has no image {name:?} ({names})"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::manifest::{OCI_INDEX, OCI_MANIFEST};

    fn named(name: Option<&str>, text: &[u8]) -> Descriptor {
        let mut descriptor = Descriptor::new(OCI_MANIFEST, Digest::of(text), 1);
        descriptor.annotations.extend(name.map(|name| (REF_NAME.to_owned(), name.to_owned())));
        descriptor
    }

    #[test]
    fn an_image_is_chosen_by_its_name() {
        let index =
            |manifests| Index { schema_version: 2, media_type: None, manifests, annotations: Default::default() };
        let (a, b, newer) =
            (named(Some("v1"), b"a"), named(Some("docker.io/library/app:v2"), b"b"), named(Some("v1"), b"c"));
        let all = index(vec![a.clone(), b.clone(), newer.clone()]);
        assert_eq!(choose(&all, Some("v1")), Ok(newer));
        assert_eq!(choose(&all, Some("v2")), Ok(b));
        assert!(choose(&all, Some("v3")).unwrap_err().contains("no image \"v3\""));
        assert!(choose(&all, None).unwrap_err().contains("3 images"));
        assert_eq!(choose(&index(vec![a.clone()]), None), Ok(a));
        assert!(choose(&index(vec![]), None).is_err());
    }

    #[test]
    fn what_is_no_layout_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error = |name: &str| Layout::open(&dir.path().join(name), None).unwrap_err().to_string();
        assert!(error("none").contains("no OCI layout"), "{}", error("none"));
        std::fs::write(dir.path().join("oci-layout"), "{}").unwrap();
        assert!(error(".").contains("no index.json"), "{}", error("."));
        std::fs::write(dir.path().join("index.json"), "{").unwrap();
        assert!(error(".").contains("index.json:"), "{}", error("."));
    }

    #[test]
    fn damage_is_found_before_anything_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = dir.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let manifest = br#"{"schemaVersion":2,"manifests":[]}"#;
        let descriptor = Descriptor::new(OCI_INDEX, Digest::of(manifest), manifest.len() as u64);
        let index = Index {
            schema_version: 2,
            media_type: None,
            manifests: vec![descriptor.clone()],
            annotations: Default::default(),
        };
        std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        std::fs::write(dir.path().join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
        let file = blobs.join(descriptor.digest.hex());
        let layout = Layout::open(dir.path(), None).unwrap();
        assert!(layout.manifest(&descriptor).unwrap_err().to_string().contains("is missing"));
        std::fs::write(&file, &manifest[1..]).unwrap();
        assert!(layout.manifest(&descriptor).unwrap_err().to_string().contains("and should have"));
        std::fs::write(&file, manifest.to_ascii_uppercase()).unwrap();
        assert!(layout.manifest(&descriptor).unwrap_err().to_string().contains("damaged"));
        std::fs::write(&file, manifest).unwrap();
        assert_eq!(layout.manifest(&descriptor).unwrap().digest, descriptor.digest);
    }
}

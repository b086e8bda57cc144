//! What `docker save` and `podman save` write: layers mostly uncompressed, and no manifest that a registry takes.
//!
//! Layers that are compressed already, as of Docker with containerd's store, are kept as they are. The others are compressed here, each on a thread of its own, and kept by the digest of what they hold: the next push of the image
//! compresses only what has changed. The same layers always give the same manifest, so that a second push finds its digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use landfall_ports::{PortError, PortResult};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::blob::Place;
use crate::codes;
use crate::digest::Digest;
use crate::manifest::{
    Descriptor, Document, Image, LARGEST, OCI_CONFIG, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST, write,
};
use crate::source::Source;
use crate::source::archive::{Archive, Packed};
use crate::source::layout::{Files as _, bad, not_written};

/// Part of the names of what is kept: another level or library writes other bytes.
const HOW: &str = "gzip5-1";
const LEVEL: u32 = 5;

/// Compressed layers by the digest of what they hold, in a directory that may be removed at any time.
#[derive(Debug, Clone)]
pub struct Layers(PathBuf);

impl Layers {
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    fn known(&self, diff: &Digest) -> PathBuf {
        self.0.join(format!("{}.{HOW}", diff.hex()))
    }

    /// A file of another size is none: it was cut by a full disk or a power failure.
    fn find(&self, diff: &Digest) -> Option<(Digest, Place)> {
        let known = std::fs::read_to_string(self.known(diff)).ok()?;
        let (digest, size) = known.trim().split_once(' ')?;
        let (digest, size): (Digest, u64) = (digest.parse().ok()?, size.parse().ok()?);
        let path = self.0.join(digest.hex());
        let fits = std::fs::metadata(&path).is_ok_and(|found| found.len() == size);
        fits.then_some((digest, Place::File { path, offset: 0, size }))
    }

    /// Compresses what `place` holds, which must be `diff`. Other threads and other processes may do the same at once: each writes
    /// files of its own, which get their names when they are whole, and what they hold is the same.
    fn add(&self, place: &Place, diff: &Digest, at: &Path) -> PortResult<(Digest, Place)> {
        let full = |e: std::io::Error| not_written(&self.0, &e);
        std::fs::create_dir_all(&self.0).map_err(full)?;
        let draft = || {
            let readable = std::fs::Permissions::from_mode(0o644);
            tempfile::Builder::new().suffix(".draft").permissions(readable).tempfile_in(&self.0).map_err(full)
        };
        let mut layer = draft()?;
        let digest = self.compress(place, diff, at, layer.as_file_mut())?;
        let size = layer.as_file().metadata().map_err(full)?.len();
        let path = self.0.join(digest.hex());
        layer.persist(&path).map_err(|e| full(e.error))?;
        let mut known = draft()?;
        known.write_all(format!("{digest} {size}").as_bytes()).map_err(full)?;
        known.persist(self.known(diff)).map_err(|e| full(e.error))?;
        Ok((digest, Place::File { path, offset: 0, size }))
    }

    fn compress(&self, place: &Place, diff: &Digest, at: &Path, draft: &mut File) -> PortResult<Digest> {
        let full = |e: std::io::Error| not_written(&self.0, &e);
        let mut source = place.open().map_err(|e| bad(at, e))?;
        let file = BufWriter::with_capacity(256 * 1024, draft);
        let mut packed = GzEncoder::new(Hashed { inner: file, hash: Sha256::new() }, Compression::new(LEVEL));
        let (mut raw, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
        loop {
            let read = source.read(&mut buffer).map_err(|e| bad(at, e))?;
            if read == 0 {
                break;
            }
            raw.update(&buffer[..read]);
            packed.write_all(&buffer[..read]).map_err(full)?;
        }
        let mut hashed = packed.finish().map_err(full)?;
        hashed.flush().map_err(full)?;
        let found = Digest::of_hash(raw);
        if found != *diff {
            let why = format!("a layer is {found}, and the image says {diff}: it is damaged");
            return Err(PortError::Invalid(format!("{}: {}: {why}", codes::DIGEST, at.display())));
        }
        Ok(Digest::of_hash(hashed.hash))
    }
}

struct Hashed<W> {
    inner: W,
    hash: Sha256,
}

impl<W: std::io::Write> std::io::Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// An image with a manifest of our own.
#[derive(Debug)]
pub struct Repacked {
    document: Document,
    root: Descriptor,
    places: BTreeMap<Digest, Place>,
}

impl Source for Repacked {
    fn root(&self) -> &Descriptor {
        &self.root
    }

    fn manifest(&self, _descriptor: &Descriptor) -> PortResult<Document> {
        Ok(self.document.clone())
    }

    fn place(&self, descriptor: &Descriptor) -> PortResult<Place> {
        let place = self.places.get(&descriptor.digest).cloned();
        place.ok_or_else(|| PortError::Bug(format!("layer {} was not packed", descriptor.digest)))
    }
}

/// The image called `name` in the archive, or its only one, with compressed layers. Blocks; layers are compressed side by side.
///
/// # Errors
/// `Invalid`: not that image, or damaged. `Full`: no room for compressed layers.
pub fn repack(archive: &Archive, name: Option<&str>, store: &Layers) -> PortResult<Repacked> {
    let at = archive.path();
    let images: Vec<Saved> = parse(archive, "manifest.json")?.1;
    let saved = choose(&images, name).map_err(|why| bad(at, why))?;
    let (config_bytes, config): (Bytes, Config) = parse(archive, &saved.config)?;
    let diffs = &config.rootfs.diff_ids;
    if diffs.len() != saved.layers.len() {
        return Err(bad(at, format!("{} layers, and the image says {}", saved.layers.len(), diffs.len())));
    }
    let mut places = BTreeMap::new();
    let mut layers = Vec::new();
    let pairs: Vec<(&Digest, &String)> = diffs.iter().zip(&saved.layers).collect();
    for (media_type, (digest, place)) in side_by_side(&pairs, |(diff, layer)| {
        let place = archive.file(layer)?.ok_or_else(|| bad(at, format!("{layer} is missing")))?;
        let media_type = match Packed::of(&place).map_err(|e| bad(at, format!("{layer}: {e}")))? {
            None => {
                let packed = store.find(diff).map_or_else(|| store.add(&place, diff, at), Ok)?;
                return Ok((OCI_LAYER_GZIP, packed));
            }
            Some(Packed::Gzip) => OCI_LAYER_GZIP,
            Some(Packed::Zstd) => OCI_LAYER_ZSTD,
        };
        Ok((media_type, (as_named(&place, layer, at)?, place)))
    })? {
        layers.push(Descriptor::new(media_type, digest.clone(), place.size()));
        places.insert(digest, place);
    }
    let config = Descriptor::new(OCI_CONFIG, Digest::of(&config_bytes), config_bytes.len() as u64);
    places.insert(config.digest.clone(), Place::Bytes(config_bytes));
    let image = Image {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    let document = Document::parse(write(&image)?, Some(OCI_MANIFEST))?;
    Ok(Repacked { root: document.descriptor(), document, places })
}

/// Of a compressed layer, which lies under the name of its digest.
fn as_named(place: &Place, name: &str, at: &Path) -> PortResult<Digest> {
    let found = place.digest().map_err(|e| bad(at, format!("{name}: {e}")))?;
    match name.strip_prefix("blobs/sha256/").filter(|hex| *hex != found.hex()) {
        Some(hex) => {
            let why = format!("layer {hex} is {found}: it is damaged");
            Err(PortError::Invalid(format!("{}: {}: {why}", codes::DIGEST, at.display())))
        }
        None => Ok(found),
    }
}

/// Whether any image of `manifest.json` has a layer that is not compressed. A layer that is missing is found by who sends it, and
/// a file that is not docker's says nothing.
pub(super) fn has_bare_layers(archive: &Archive) -> PortResult<bool> {
    let Ok((_, images)) = parse::<Vec<Saved>>(archive, "manifest.json") else { return Ok(false) };
    for layer in images.iter().flat_map(|image| &image.layers) {
        if let Some(place) = archive.file(layer)?
            && Packed::of(&place).map_err(|e| bad(archive.path(), format!("{layer}: {e}")))?.is_none()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// In the order of `items`, as many at once as there are cores. The first error counts.
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> PortResult<R> + Sync) -> PortResult<Vec<R>> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(items.len().max(1));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(item)));
        }
    };
    let mut all: Vec<(usize, PortResult<R>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    all.sort_by_key(|(at, _)| *at);
    if all.len() < items.len() {
        return Err(PortError::Bug("a thread that compressed a layer ended early".to_owned()));
    }
    all.into_iter().map(|(_, result)| result).collect()
}

fn parse<T: for<'de> Deserialize<'de>>(archive: &Archive, name: &str) -> PortResult<(Bytes, T)> {
    let at = archive.path();
    let place = archive.file(name)?.ok_or_else(|| bad(at, format!("{name} is missing")))?;
    let mut bytes = Vec::new();
    let read = place.open().and_then(|opened| opened.take(LARGEST).read_to_end(&mut bytes));
    read.map_err(|e| bad(at, format!("{name}: {e}")))?;
    let value = serde_json::from_slice(&bytes).map_err(|e| bad(at, format!("{name}: {e}")))?;
    Ok((Bytes::from(bytes), value))
}

fn choose<'a>(images: &'a [Saved], name: Option<&str>) -> Result<&'a Saved, String> {
    let tags = |saved: &'a Saved| saved.repo_tags.iter().flatten();
    let names: Vec<&str> = images.iter().flat_map(tags).map(String::as_str).collect();
    match (name, images) {
        (None, [only]) => Ok(only),
        (None, many) => {
            Err(format!("the archive holds {} images; say which, as ARCHIVE:NAME ({})", many.len(), names.join(", ")))
        }
        (Some(name), all) => {
            let fits = |own: &String| {
                own == name || own.ends_with(&format!("/{name}")) || own.rsplit(':').next() == Some(name)
            };
            let found = all.iter().find(|saved| tags(saved).any(fits));
            found.ok_or_else(|| format!("the archive has no image {name:?} ({})", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use flate2::read::GzDecoder;

    #[test]
    fn layers_are_compressed_once_and_come_out_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let store = Layers::new(dir.path().join("layers"));
        let text = "layer ".repeat(100_000);
        let place = Place::Bytes(Bytes::from(text.clone()));
        let diff = Digest::of(text.as_bytes());
        assert!(store.find(&diff).is_none());
        let (digest, packed) = store.add(&place, &diff, dir.path()).unwrap();
        assert_eq!(packed.digest().unwrap(), digest);
        let mut back = String::new();
        GzDecoder::new(packed.open().unwrap()).read_to_string(&mut back).unwrap();
        assert!(back == text && packed.size() < 10_000);
        assert_eq!(store.find(&diff), Some((digest, packed)));
        let error = store.add(&place, &Digest::of(b"other"), dir.path()).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        let left = std::fs::read_dir(dir.path().join("layers")).unwrap();
        assert_eq!(
            left.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "draft")).count(),
            0
        );
    }

    #[test]
    fn builds_that_compress_the_same_layer_at_once_do_not_meet() {
        let dir = tempfile::tempdir().unwrap();
        let store = Layers::new(dir.path().join("layers"));
        let place = Place::Bytes(Bytes::from("layer ".repeat(50_000)));
        let diff = place.digest().unwrap();
        let together = std::sync::Barrier::new(8);
        let added: Vec<(Digest, Place)> = std::thread::scope(|scope| {
            let add = || {
                together.wait();
                store.add(&place, &diff, dir.path()).unwrap()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(add)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (digest, packed) in &added {
            assert_eq!(packed.digest().unwrap(), *digest);
        }
        assert_eq!(store.find(&diff).as_ref(), Some(&added[0]));
        assert_eq!(
            std::fs::read_dir(dir.path().join("layers")).unwrap().count(),
            2,
            "the layer, and what is known of it"
        );
    }

    #[test]
    fn a_layer_of_another_size_is_compressed_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Layers::new(dir.path().to_owned());
        let place = Place::Bytes(Bytes::from("layer ".repeat(1_000)));
        let diff = place.digest().unwrap();
        let (digest, packed) = store.add(&place, &diff, dir.path()).unwrap();
        std::fs::write(dir.path().join(digest.hex()), digest.to_string()).unwrap();
        assert_eq!(store.find(&diff), None);
        assert_eq!(store.add(&place, &diff, dir.path()).unwrap(), (digest.clone(), packed));
        assert_eq!(store.find(&diff).unwrap().1.digest().unwrap(), digest);
    }

    #[test]
    fn a_full_disk_is_told_from_a_damaged_layer() {
        let store = Layers::new(PathBuf::from("/layers"));
        let place = Place::Bytes(Bytes::from(vec![7; 1_000_000]));
        let diff = place.digest().unwrap();
        let mut disk = File::create("/dev/full").unwrap();
        let error = store.compress(&place, &diff, Path::new("a.tar"), &mut disk).unwrap_err();
        assert!(matches!(&error, PortError::Full(text) if text.contains("LF-IMAGE-DISK: /layers")), "{error}");
    }

    #[test]
    fn an_image_is_chosen_by_its_tag() {
        let saved = |config: &str, tags: &[&str]| Saved {
            config: config.to_owned(),
            repo_tags: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()),
            layers: Vec::new(),
        };
        let all = [saved("a", &["docker.io/library/app:v1"]), saved("b", &["localhost/other:v2"])];
        assert_eq!(choose(&all, Some("app:v1")).unwrap().config, "a");
        assert_eq!(choose(&all, Some("v2")).unwrap().config, "b");
        assert!(choose(&all, Some("v3")).unwrap_err().contains("localhost/other:v2"));
        assert!(choose(&all, None).unwrap_err().contains("2 images"));
        assert_eq!(choose(&all[..1], None).unwrap().config, "a");
    }

    #[test]
    fn the_order_is_kept_and_errors_are_told() {
        let items: Vec<u32> = (0..50).collect();
        assert_eq!(
            side_by_side(&items, |item| Ok(item * 2)).unwrap(),
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
        let failed = side_by_side(&items, |item| if *item == 7 { Err(PortError::Bug("7".to_owned())) } else { Ok(()) });
        assert!(failed.is_err());
    }
}

//! What Docker saves since version 25: `manifest.json` and an OCI layout in one archive, with layers as its store has them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use landfall_ports::PortResult;
use landfall_registry::Digest;
use landfall_registry::manifest::{
    Content, Descriptor, Image, Index, OCI_CONFIG, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST, write,
};
use landfall_registry::source::{Archive, Kind, Layers, Layout, Repacked, Source, repack, write_layout};

use crate::image::{noise, text};
use crate::pushing::{client, push, tags, whole};
use crate::server::{Registry, reference};

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layer as it is stored, and the digest of what it holds.
struct Stored {
    media_type: &'static str,
    bytes: Vec<u8>,
    diff: Digest,
}

fn bare(bytes: Vec<u8>) -> Stored {
    Stored { media_type: OCI_LAYER, diff: Digest::of(&bytes), bytes }
}

fn gzip(bytes: &[u8]) -> Stored {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    Stored { media_type: OCI_LAYER_GZIP, bytes: packed.finish().unwrap(), diff: Digest::of(bytes) }
}

/// No more of the format than its first bytes.
fn zstd() -> Stored {
    let bytes = [&[0x28, 0xb5, 0x2f, 0xfd][..], &noise(3, 5_000)].concat();
    Stored { media_type: OCI_LAYER_ZSTD, bytes, diff: Digest::of(b"what it holds") }
}

/// The archive, and the digest of the manifest in its layout.
fn saved(directory: &Path, layers: &[Stored]) -> (PathBuf, Digest) {
    let path = directory.join("image.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    let name = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let mut blob = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        add(&name(&digest), bytes);
        Descriptor::new(media_type, digest, bytes.len() as u64)
    };
    let diffs: Vec<String> = layers.iter().map(|layer| layer.diff.to_string()).collect();
    let config =
        serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}});
    let image = Image {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: blob(OCI_CONFIG, &serde_json::to_vec(&config).unwrap()),
        layers: layers.iter().map(|layer| blob(layer.media_type, &layer.bytes)).collect(),
        subject: None,
        annotations: Default::default(),
    };
    let root = blob(OCI_MANIFEST, &write(&image).unwrap());
    let names: Vec<String> = image.layers.iter().map(|layer| name(&layer.digest)).collect();
    let list = serde_json::json!([{"Config": name(&image.config.digest), "RepoTags": ["app:v1"], "Layers": names}]);
    let index =
        Index { schema_version: 2, media_type: None, manifests: vec![root.clone()], annotations: Default::default() };
    add("index.json", &write(&index).unwrap());
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    add("manifest.json", &serde_json::to_vec(&list).unwrap());
    tar.finish().unwrap();
    (path, root.digest)
}

fn packed(path: &Path, store: &Path) -> PortResult<Repacked> {
    repack(&Archive::open(path).unwrap(), None, &Layers::new(store.to_owned()))
}

fn layers_of(source: &dyn Source) -> Vec<Descriptor> {
    let Content::Image(image) = source.manifest(source.root()).unwrap().content else { panic!("an index") };
    image.layers
}

#[tokio::test]
async fn layers_of_dockers_own_store_are_compressed_although_there_is_a_layout() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let stored = [bare(text(1, 20_000)), gzip(&text(2, 20_000))];
    let (path, _) = saved(dir.path(), &stored);
    assert_eq!(Archive::open(&path).unwrap().kind().unwrap(), Kind::Docker);
    let source = packed(&path, &dir.path().join("layers")).unwrap();
    let target = reference(registry.port, "app");
    client().push(&push(&target, &tags(&["v1"])), &source).await.unwrap();
    whole(&target, "v1", &source).await;
    let layers = layers_of(&source);
    assert!(layers.iter().all(|layer| layer.media_type == OCI_LAYER_GZIP));
    assert!(layers[0].size < stored[0].bytes.len() as u64 / 3, "{} bytes", layers[0].size);
    assert_eq!(layers[1].digest, Digest::of(&stored[1].bytes), "compressed once is enough");
}

#[tokio::test]
async fn layers_of_containerds_store_are_kept_as_they_are() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let stored = [gzip(&text(1, 20_000)), zstd()];
    let (path, digest) = saved(dir.path(), &stored);
    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.kind().unwrap(), Kind::Oci);
    let target = reference(registry.port, "app");
    let pushed = client().push(&push(&target, &tags(&["v1"])), &archive.layout(None).unwrap()).await.unwrap();
    assert_eq!(pushed.digest, digest, "the engine's own");

    // As `landfall build` takes every image out of docker.
    let source = packed(&path, &dir.path().join("layers")).unwrap();
    let layout = dir.path().join("layout");
    write_layout(&source, &layout).unwrap();
    std::fs::remove_file(&path).unwrap();
    let layout = Layout::open(&layout, None).unwrap();
    client().push(&push(&target, &tags(&["built"])), &layout).await.unwrap();
    whole(&target, "built", &layout).await;
    for (layer, stored) in layers_of(&layout).iter().zip(&stored) {
        assert_eq!((layer.media_type.as_str(), &layer.digest), (stored.media_type, &Digest::of(&stored.bytes)));
    }
}

#[test]
fn a_compressed_layer_that_is_damaged_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let stored = [zstd()];
    let (path, _) = saved(dir.path(), &stored);
    let mut bytes = std::fs::read(&path).unwrap();
    let part = &stored[0].bytes[1_000..1_016];
    let at = bytes.windows(part.len()).position(|window| window == part).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = packed(&path, dir.path()).unwrap_err().to_string();
    assert!(error.contains("LF-REGISTRY-DIGEST") && error.contains("damaged"), "{error}");
}

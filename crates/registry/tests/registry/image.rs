//! Images made for tests.

use std::path::Path;

use landfall_registry::Digest;
use landfall_registry::manifest::{
    Descriptor, Image, Index, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Platform, write,
};
use landfall_registry::source::Layout;

/// Bytes that look like nothing, always the same for a seed.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn blob(directory: &Path, bytes: &[u8], media_type: &str) -> Descriptor {
    let digest = Digest::of(bytes);
    let path = directory.join("blobs/sha256");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join(digest.hex()), bytes).unwrap();
    Descriptor::new(media_type, digest, bytes.len() as u64)
}

pub(crate) fn manifest(directory: &Path, layers: &[Vec<u8>]) -> Descriptor {
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"n":{}}}"#,
        layers.len()
    );
    let image = Image {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: blob(directory, config.as_bytes(), OCI_CONFIG),
        layers: layers.iter().map(|layer| blob(directory, layer, OCI_LAYER_GZIP)).collect(),
        subject: None,
        annotations: Default::default(),
    };
    blob(directory, &write(&image).unwrap(), OCI_MANIFEST)
}

fn finish(directory: &Path, root: Descriptor) -> Layout {
    let index = index(vec![root]);
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(directory.join("index.json"), write(&index).unwrap()).unwrap();
    Layout::open(directory, None).unwrap()
}

fn index(manifests: Vec<Descriptor>) -> Index {
    Index { schema_version: 2, media_type: Some(OCI_INDEX.to_owned()), manifests, annotations: Default::default() }
}

/// A layout with one image.
pub(crate) fn layout(directory: &Path, layers: &[Vec<u8>]) -> Layout {
    let root = manifest(directory, layers);
    finish(directory, root)
}

/// A layout with one image for several platforms.
pub(crate) fn platforms(directory: &Path, images: &[(&str, Vec<Vec<u8>>)]) -> Layout {
    let manifests = images.iter().map(|(architecture, layers)| {
        let platform = Platform {
            architecture: (*architecture).to_owned(),
            os: "linux".to_owned(),
            variant: None,
            os_version: None,
        };
        Descriptor { platform: Some(platform), ..manifest(directory, layers) }
    });
    let index = index(manifests.collect());
    let root = blob(directory, &write(&index).unwrap(), OCI_INDEX);
    finish(directory, root)
}

/// What `docker save` writes of an image with these layers.
pub(crate) fn docker_archive(path: &Path, tag: &str, layers: &[Vec<u8>]) {
    let diffs: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config =
        serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}});
    let config = serde_json::to_vec(&config).unwrap();
    let name = |digest: &Digest| format!("{}/layer.tar", digest.hex());
    let names: Vec<String> = layers.iter().map(|layer| name(&Digest::of(layer))).collect();
    let own = format!("{}.json", Digest::of(&config).hex());
    let list = serde_json::json!([{"Config": own, "RepoTags": [tag], "Layers": names}]);
    let mut tar = tar::Builder::new(std::fs::File::create(path).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    add(&own, &config);
    add("manifest.json", &serde_json::to_vec(&list).unwrap());
    tar.finish().unwrap();
}

/// Text that compresses.
pub(crate) fn text(seed: u64, lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("line {line} of {seed}\n").into_bytes()).collect()
}

//! An image of one program and what it needs of a machine: the certificates of the public authorities, a place for temporary files,
//! and the order in which names are looked up. Written as an OCI layout, which `landfall push --from DIRECTORY` sends anywhere.
//!
//! Certificates are Mozilla's, from the crate of the version that Cargo.lock names, where the binary looks for a machine's own:
//! another file in their place, or `SSL_CERT_FILE`, is trusted instead.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::archive::{Entry, gzip, sha256, tar};

/// Where jobs that `landfall ci init --binary image` writes find it.
pub(super) const PROGRAM: &str = "usr/local/bin/landfall";
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

pub(super) struct Image<'a> {
    pub(super) program: Vec<u8>,
    /// As Rust has it: `x86_64`.
    pub(super) architecture: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) time: u64,
}

/// OCI's own. `time`: in seconds.
pub(super) fn labels(version: &str, commit: &str, time: u64) -> Result<BTreeMap<String, String>> {
    let all = [
        ("title", "landfall".to_owned()),
        ("version", version.to_owned()),
        ("revision", commit.to_owned()),
        ("source", env!("CARGO_PKG_REPOSITORY").to_owned()),
        ("licenses", env!("CARGO_PKG_LICENSE").to_owned()),
        ("created", at(time)?),
    ];
    Ok(all.into_iter().map(|(name, value)| (format!("org.opencontainers.image.{name}"), value)).collect())
}

fn at(time: u64) -> Result<String> {
    Ok(jiff::Timestamp::from_second(i64::try_from(time)?)?.to_string())
}

/// Its digest. The directory must not be there.
pub(super) fn write(image: &Image<'_>, directory: &Path) -> Result<String> {
    let architecture = match image.architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("what do registries call {other}?"),
    };
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).with_context(|| blobs.display().to_string())?;
    let put = |bytes: &[u8], media_type: &str| -> Result<Value> {
        let hex = sha256(bytes)?;
        std::fs::write(blobs.join(&hex), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()}))
    };
    // What changes with every version is a layer of its own.
    let (mut layers, mut diffs, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for (entries, said) in [(surroundings(), "certificates"), (program(image.program.clone()), "landfall")] {
        let bytes = tar(entries, image.time)?;
        diffs.push(format!("sha256:{}", sha256(&bytes)?));
        layers.push(put(&gzip(&bytes)?, "application/vnd.oci.image.layer.v1.tar+gzip")?);
        history.push(json!({"created": at(image.time)?, "created_by": said}));
    }
    let config = json!({
        "created": at(image.time)?,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Entrypoint": [format!("/{PROGRAM}")],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANDFALL_STATE=/var/lib/landfall"],
            "WorkingDir": "/",
            "Labels": image.labels,
        },
        "rootfs": {"type": "layers", "diff_ids": diffs},
        "history": history,
    });
    let config = put(&serde_json::to_vec(&config)?, "application/vnd.oci.image.config.v1+json")?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers, "annotations": image.labels,
    });
    let mut root = put(&serde_json::to_vec(&manifest)?, media_type)?;
    let digest = root["digest"].as_str().unwrap_or_default().to_owned();
    root["platform"] = json!({"architecture": architecture, "os": "linux"});
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [root],
    });
    std::fs::write(directory.join("index.json"), serde_json::to_vec(&index)?)?;
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(digest)
}

fn surroundings() -> Vec<Entry> {
    let mut entries: Vec<Entry> = ["etc", "etc/ssl", "etc/ssl/certs"].map(|path| Entry::directory(path, 0o755)).into();
    entries.push(Entry::directory("tmp", 0o1777));
    entries.push(Entry::file(CERTIFICATES, 0o644, certificates()));
    entries.push(Entry::file("etc/nsswitch.conf", 0o644, b"hosts: files dns\n".to_vec()));
    entries
}

fn program(program: Vec<u8>) -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        ["usr", "usr/local", "usr/local/bin"].map(|path| Entry::directory(path, 0o755)).into();
    entries.push(Entry::file(PROGRAM, 0o755, program));
    entries
}

/// As PEM.
fn certificates() -> Vec<u8> {
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem.into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn every_digest_in_the_layout_is_that_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("image");
        let labels = labels("1.2.3", "c1", 0).unwrap();
        let image = Image { program: b"program".to_vec(), architecture: "x86_64", labels: &labels, time: 0 };
        let digest = write(&image, &layout).unwrap();
        let read = |descriptor: &Value| -> Vec<u8> {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = std::fs::read(layout.join("blobs/sha256").join(digest)).unwrap();
            assert_eq!(sha256(&bytes).unwrap(), digest);
            assert_eq!(descriptor["size"].as_u64().unwrap(), bytes.len() as u64);
            bytes
        };
        let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
        let index = json(&std::fs::read(layout.join("index.json")).unwrap());
        assert_eq!(index["manifests"][0]["digest"], digest);
        let manifest = json(&read(&index["manifests"][0]));
        let config = json(&read(&manifest["config"]));
        assert_eq!((&config["architecture"], &config["os"]), (&json!("amd64"), &json!("linux")));
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/local/bin/landfall"]));
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.created"], "1970-01-01T00:00:00Z");
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.revision"], "c1");
        let mut paths = Vec::new();
        for (layer, diff) in
            manifest["layers"].as_array().unwrap().iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap())
        {
            let packed = dir.path().join("layer.gz");
            std::fs::write(&packed, read(layer)).unwrap();
            let bytes = std::process::Command::new("gzip").arg("-dc").arg(&packed).output().unwrap().stdout;
            assert_eq!(*diff, format!("sha256:{}", sha256(&bytes).unwrap()));
            let mut archive = tar::Archive::new(bytes.as_slice());
            paths.extend(archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()));
        }
        for path in [PROGRAM, CERTIFICATES, "tmp/", "etc/nsswitch.conf"] {
            assert!(paths.iter().any(|own| own == path), "{path} is not in {paths:?}");
        }
        assert!(write(&Image { architecture: "s390x", ..image }, &dir.path().join("x")).is_err());
    }

    #[test]
    fn the_authorities_are_there() {
        let text = String::from_utf8(certificates()).unwrap();
        let count = text.matches("-----BEGIN CERTIFICATE-----").count();
        assert!(count > 100 && count == text.matches("-----END CERTIFICATE-----").count(), "{count}");
        assert!(text.lines().all(|line| line.len() <= 64));
    }
}

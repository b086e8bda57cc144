//! A real registry of the test's own, Debian's `docker-registry`: its directory, its port, gone when dropped. And an image for it.

use std::io::Read as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::ports;

pub struct Registry {
    process: Child,
    pub port: u16,
    directory: tempfile::TempDir,
}

impl Registry {
    pub fn start() -> Self {
        Self::of("", "")
    }

    /// `storage`: a key of that section of its configuration, as `delete: {enabled: true}`; `more`: sections besides. A port that
    /// somebody else takes between its choice and its use is followed by another.
    pub fn of(storage: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let started = (0..20).find_map(|_| {
            let port = ports::port();
            Some((spawn(directory.path(), port, storage, more)?, port))
        });
        let (process, port) = started.expect("no registry starts");
        Self { process, port, directory }
    }

    /// With what it holds, at the same port.
    pub fn restart(&mut self, storage: &str) {
        self.stop();
        self.process = spawn(self.directory.path(), self.port, storage, "").expect("its port is free");
    }

    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// `127.0.0.1:PORT/NAME`.
    pub fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Where it keeps a repository's tags.
    pub fn tag_file(&self, repository: &str, tag: &str) -> PathBuf {
        let repositories = self.directory.path().join("data/docker/registry/v2/repositories");
        repositories.join(repository).join("_manifests/tags").join(tag)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// When it listens. `None`: somebody has the port.
fn spawn(directory: &Path, port: u16, storage: &str, more: &str) -> Option<Child> {
    let config = directory.join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
         {storage}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
        directory.join("data").display()
    );
    std::fs::write(&config, text).unwrap();
    let mut process = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect(
            "docker-registry is needed: `scripts/unpacked docker-registry docker-registry` fetches it, ./test does",
        );
    let mut log = process.stderr.take().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if process.try_wait().unwrap().is_some() {
            let mut said = String::new();
            log.read_to_string(&mut said).unwrap();
            assert!(said.contains("address already in use"), "{said}");
            return None;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        assert!(Instant::now() < until, "docker-registry does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Its log is not read any more, and must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Some(process)
}

/// Writes an OCI layout with one image, whose only layer is this text; the image's digest. Enough for a registry, not for an engine.
pub fn layout(directory: &Path, text: &str) -> String {
    layout_of(directory, text, None)
}

/// The same, built then.
pub fn layout_of(directory: &Path, text: &str, created: Option<&str>) -> String {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let hex = hex::encode(Sha256::digest(bytes));
        std::fs::write(blobs.join(&hex), bytes).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    };
    let layer = put(text.as_bytes(), "application/vnd.oci.image.layer.v1.tar");
    let mut config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    if let Some(created) = created {
        config["created"] = json!(created);
    }
    let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]});
    let root = put(manifest.to_string().as_bytes(), media_type);
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [root]});
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

//! A real registry with a home and a state directory of the test's own, and images small enough to write by hand.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{eventually, landfall};

/// A registry, a home and a state directory of the test's own.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    registry: Child,
    pub(crate) port: u16,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// `more`: further sections of the registry's configuration.
    pub(crate) fn with(more: &str) -> Self {
        Self::of("", more)
    }

    /// `storage`: further keys of that section, as `delete: {enabled: true}`.
    pub(crate) fn of(storage: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["home", "state", "work"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (registry, port) = eventually("docker-registry", Duration::from_secs(30), || {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            start(dir.path(), port, storage, more).map(|process| (process, port))
        });
        Self { dir, registry, port }
    }

    /// The same registry at the same port, started anew.
    pub(crate) fn restart(&mut self, storage: &str) {
        self.stop();
        let port = self.port;
        self.registry =
            eventually("docker-registry", Duration::from_secs(30), || start(self.dir.path(), port, storage, ""));
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.registry.kill();
        let _ = self.registry.wait();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn landfall(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(landfall());
        command.args(arguments).current_dir(self.path("work")).stdin(Stdio::null());
        for name in [
            "DOCKER_CONFIG",
            "REGISTRY_AUTH_FILE",
            "XDG_RUNTIME_DIR",
            "LANDFALL_COMMIT",
            "LANDFALL_BRANCH",
            "LANDFALL_TAG",
        ] {
            command.env_remove(name);
        }
        command
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("home"))
            .env("LANDFALL_STATE", self.path("state"));
        command
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let digest = head.lines().find_map(|line| line.strip_prefix("Docker-Content-Digest: "));
        (status, digest.unwrap_or_default().to_owned(), body.to_owned())
    }

    /// The digest that the tag has.
    pub(crate) fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        let (status, digest, _) = self.get(&format!("/v2/{repository}/manifests/{tag}"));
        (status == 200).then_some(digest)
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(dir: &Path, port: u16, storage: &str, more: &str) -> Result<Child, String> {
    let data = dir.join("data");
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  {storage}\nhttp:\n  \
         addr: 127.0.0.1:{port}\n{more}",
        data.display()
    );
    std::fs::write(dir.join("registry.yml"), text).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(dir.join("registry.yml")).stdout(Stdio::null()).stderr(Stdio::null());
    let spawned = command.env("OTEL_TRACES_EXPORTER", "none").spawn();
    let mut process = spawned.expect("docker-registry is needed: apt-get install docker-registry (./test does)");
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(process);
        }
        if process.try_wait().unwrap().is_some() {
            return Err("it ended: the port was taken".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = process.kill();
    let _ = process.wait();
    Err("it does not listen".to_owned())
}

/// A layout with one image of one layer that holds this text.
pub(crate) fn layout(directory: &Path, text: &str) -> String {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let hex = hex::encode(Sha256::digest(bytes));
        std::fs::write(blobs.join(&hex), bytes).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    };
    let layer = put(text.as_bytes(), "application/vnd.oci.image.layer.v1.tar");
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = put(&serde_json::to_vec(&config).unwrap(), "application/vnd.oci.image.config.v1+json");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]});
    let root = put(&serde_json::to_vec(&manifest).unwrap(), media_type);
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [root]});
    std::fs::write(directory.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

pub(crate) fn have(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(program).is_file())
}

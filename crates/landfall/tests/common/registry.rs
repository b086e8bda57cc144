//! A real registry with a home and a state directory of the test's own, and images small enough to write by hand.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use landfall_testkit::registry::Registry;
#[allow(unused_imports, reason = "each binary of tests takes what it needs")]
pub(crate) use landfall_testkit::registry::{layout, layout_of};

use super::landfall;

/// A registry, a home and a state directory of the test's own.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    registry: Registry,
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
        let registry = Registry::of(storage, more);
        let port = registry.port;
        Self { dir, registry, port }
    }

    /// The same registry at the same port, started anew.
    pub(crate) fn restart(&mut self, storage: &str) {
        self.registry.restart(storage);
    }

    pub(crate) fn stop(&mut self) {
        self.registry.stop();
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

    pub(crate) fn tag_file(&self, repository: &str, tag: &str) -> PathBuf {
        self.registry.tag_file(repository, tag)
    }

    /// A file for `CONTAINERS_REGISTRIES_CONF`, by which Podman speaks plain HTTP to it.
    pub(crate) fn trusted(&self) -> PathBuf {
        let conf = self.path("registries.conf");
        std::fs::write(&conf, format!("[[registry]]\nlocation = \"127.0.0.1:{}\"\ninsecure = true\n", self.port))
            .unwrap();
        conf
    }

    pub(crate) fn image(&self, name: &str) -> String {
        self.registry.image(name)
    }
}

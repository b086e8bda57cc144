//! A registry of the test's own: its directory, its port, gone when dropped.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use landfall_registry::Reference;

pub(crate) struct Registry {
    process: Child,
    pub(crate) port: u16,
    directory: tempfile::TempDir,
}

/// Ports are chosen one at a time, and each is taken before the next is chosen.
static CHOOSING: Mutex<()> = Mutex::new(());

impl Registry {
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// `more`: lines of its configuration.
    pub(crate) fn with(more: &str) -> Self {
        let _one = CHOOSING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(registry) = Self::at(port, more) {
                return registry;
            }
        }
        panic!("no registry starts");
    }

    fn at(port: u16, more: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.yml");
        let data = directory.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
             delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = process.expect("docker-registry is needed: apt-get install docker-registry (./test does)");
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(_ended) = process.try_wait().unwrap() {
                // Somebody had the port, or the configuration is wrong: the last lines say which.
                let said = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
                let said: Vec<String> = said.collect();
                assert!(said.iter().any(|line| line.contains("address already in use")), "{said:?}");
                return None;
            }
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            assert!(Instant::now() < until, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Its log is not read any more, and must not fill the pipe.
        let mut log = process.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Self { process, port, directory })
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        reference(self.port, name)
    }

    /// Where it keeps a repository's tags.
    pub(crate) fn tag_file(&self, repository: &str, tag: &str) -> PathBuf {
        let repositories = self.directory.path().join("data/docker/registry/v2/repositories");
        repositories.join(repository).join("_manifests/tags").join(tag)
    }
}

pub(crate) fn reference(port: u16, name: &str) -> Reference {
    Reference::parse(&format!("127.0.0.1:{port}/{name}")).unwrap()
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

//! Debian's `docker-registry` on loopback, for benchmarks of what is sent to it; plainly, or over TLS with an authority of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::server::free_port;

/// Ends with the value.
pub(crate) struct Registry {
    process: Child,
    pub(crate) port: u16,
}

impl Registry {
    /// Keeps what it is sent in `data` below the directory; clients trust `certs/ca.crt` there.
    pub(crate) fn start(directory: &Path, tls: bool) -> Result<Self> {
        let path = |name: &str| directory.join(name).display().to_string();
        let port = free_port()?;
        let mut http = format!("http:\n  addr: 127.0.0.1:{port}\n");
        if tls {
            certificates(directory)?;
            http.push_str(&format!("  tls: {{certificate: {}, key: {}}}\n", path("server.crt"), path("server.key")));
        }
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n{http}",
            path("data")
        );
        std::fs::write(directory.join("config.yml"), text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(directory.join("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().context("docker-registry is not installed (apt-get install docker-registry)")?;
        let registry = Self { process, port };
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                bail!("docker-registry does not listen");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An authority and a server's certificate of it.
fn certificates(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory.join("certs"))?;
    let own = |args: &[&str]| quiet(Command::new("openssl").args(args).current_dir(directory));
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    own(&[&["req", "-x509"], &key[..], &["-keyout", "ca.key", "-out", "certs/ca.crt", "-subj", "/CN=bench CA"]]
        .concat())?;
    let signed = ["req", "-x509", "-CA", "certs/ca.crt", "-CAkey", "ca.key"];
    let subject = ["-keyout", "server.key", "-out", "server.crt", "-subj", "/CN=bench"];
    let more = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    own(&[&signed[..], &key[..], &subject[..], &more[..]].concat())
}

/// Runs to a good end, or says what it said.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{:?} is not installed", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?}: {}", command.get_program(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

//! AWS emulators as child processes on ports of their own, from the virtual environments that `scripts/emulators` makes.
//!
//! Whoever is the parent holds the child's standard input: when that closes, however the parent ends, the child's whole process
//! group is killed.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Gone when dropped.
pub struct Emulator {
    pub url: String,
    child: Child,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A program of a virtual environment: `moto`, `ministack`, `boto`, `cfn-lint` and others.
pub fn program(venv: &str, name: &str) -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/emulators");
    let directory = std::env::var_os("LANDFALL_EMULATORS").map_or_else(default, PathBuf::from);
    let path = directory.join(venv).join("bin").join(name);
    assert!(
        path.exists(),
        "{} is missing: run scripts/emulators, or name another directory in LANDFALL_EMULATORS",
        path.display()
    );
    path
}

/// moto reads a service's code when it is first asked for it, which takes seconds where much runs: before it answers anything, instead.
const MOTO: &str = "\
import sys
import moto.cloudformation.urls, moto.ecr.urls, moto.ecs.urls, moto.elbv2.urls, moto.ssm.urls, moto.sts.urls
from moto.server import main
main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";

/// AWS's protocols, stricter than the other, one account; services never run.
pub fn moto() -> Emulator {
    let port = free_port();
    start("moto", "python", &["-c", MOTO, &port], &[], &port, "/moto-api/config")
}

/// As `moto`, with what this script of Python adds to it: it is given the port.
pub fn moto_with(script: &Path) -> Emulator {
    let port = free_port();
    let script = script.to_string_lossy();
    start("moto", "python", &[&script, &port], &[], &port, "/moto-api/config")
}

/// Without containers: tasks are records that run at once. `more`: of its environment.
pub fn ministack(more: &[(&str, &str)]) -> Emulator {
    let port = free_port();
    let own = ministack_at(&port, "/nonexistent");
    let environment = [&own.each_ref().map(|(name, value)| (*name, value.as_str())), more].concat();
    start("ministack", "ministack", &[], &environment, &port, "/_ministack/health")
}

/// What ministack is told to listen at `port` of the loopback, and to run containers with the engine at `docker`.
pub fn ministack_at(port: &str, docker: &str) -> [(&'static str, String); 5] {
    [
        ("DOCKER_HOST", format!("unix://{docker}")),
        ("BIND_HOST", "127.0.0.1".to_owned()),
        ("MINISTACK_HOST", "127.0.0.1".to_owned()),
        ("GATEWAY_PORT", port.to_owned()),
        ("IOT_MTLS_ENABLED", "0".to_owned()),
    ]
}

fn free_port() -> String {
    crate::ports::port().to_string()
}

fn start(venv: &str, name: &str, args: &[&str], environment: &[(&str, &str)], port: &str, ready: &str) -> Emulator {
    let mut log = tempfile::tempfile().unwrap();
    let mut command = Command::new("setsid");
    command.args(["--wait", "sh", "-c", "\"$0\" \"$@\" </dev/null & cat >/dev/null; kill -9 0"]);
    command.arg(program(venv, name)).args(args).envs(environment.iter().copied()).env_remove("AWS_ENDPOINT_URL");
    command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
    let mut emulator = Emulator { url: format!("http://127.0.0.1:{port}"), child: command.spawn().unwrap() };
    let deadline = Instant::now() + Duration::from_secs(180);
    while !answers(port, ready) {
        assert!(Instant::now() < deadline, "{name} does not answer on port {port}:\n{}", said(&mut log));
        assert!(emulator.child.try_wait().unwrap().is_none(), "{name} has ended:\n{}", said(&mut log));
        std::thread::sleep(Duration::from_millis(20));
    }
    emulator
}

fn said(log: &mut File) -> String {
    let mut text = String::new();
    let _ = log.rewind().and_then(|()| log.read_to_string(&mut text));
    text
}

fn answers(port: &str, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(format!("127.0.0.1:{port}")) else { return false };
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(10))).is_ok()
        && stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.split(' ').nth(1).is_some_and(|status| status.starts_with('2'))
}

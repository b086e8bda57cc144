//! AWS emulators as child processes on ports of their own. Whoever is the parent holds the child's standard input: when that closes,
//! however the parent ends, the child's whole process group is killed.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Emulator {
    pub(crate) url: String,
    child: Child,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub(crate) fn moto() -> Emulator {
    let port = free_port();
    start("moto", "moto_server", &["-H", "127.0.0.1", "-p", &port], &[], &port, "/moto-api/data.json")
}

/// Without containers: tasks are records.
pub(crate) fn ministack() -> Emulator {
    let port = free_port();
    let environment = [
        ("DOCKER_HOST", "unix:///nonexistent"),
        ("BIND_HOST", "127.0.0.1"),
        ("MINISTACK_HOST", "127.0.0.1"),
        ("GATEWAY_PORT", &port),
        ("IOT_MTLS_ENABLED", "0"),
    ];
    start("ministack", "ministack", &[], &environment, &port, "/_ministack/health")
}

/// Of a virtual environment that `scripts/emulators` has made.
pub(crate) fn program(venv: &str, name: &str) -> PathBuf {
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

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

fn start(venv: &str, name: &str, args: &[&str], environment: &[(&str, &str)], port: &str, ready: &str) -> Emulator {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{port}.log"));
    let output = std::fs::File::create(&log).unwrap();
    let mut command = Command::new("setsid");
    command.args(["--wait", "sh", "-c", "\"$0\" \"$@\" </dev/null & cat >/dev/null; kill -9 0"]);
    command.arg(program(venv, name)).args(args).envs(environment.iter().copied()).env_remove("AWS_ENDPOINT_URL");
    command.stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !answers(port, ready) {
        let text = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(Instant::now() < deadline, "{name} does not answer on port {port}:\n{}", text());
        assert!(child.try_wait().unwrap().is_none(), "{name} has ended:\n{}", text());
        std::thread::sleep(Duration::from_millis(20));
    }
    Emulator { url: format!("http://127.0.0.1:{port}"), child }
}

fn answers(port: &str, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(format!("127.0.0.1:{port}")) else { return false };
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(10))).is_ok()
        && stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.split(' ').nth(1) == Some("200")
}

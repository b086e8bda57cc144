//! AWS emulators as child processes, one of each kind to a test process, on ports of their own.
//!
//! Whoever is the parent holds the child's standard input: when that closes, however the parent ends, the child's whole process
//! group is killed. Tests keep out of each other's way by account (ministack takes a key of twelve digits as one) or by
//! region.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

/// AWS's protocols, stricter than the other, one account; services never run.
pub(crate) fn moto() -> String {
    static URL: LazyLock<String> = LazyLock::new(|| {
        let port = free_port().to_string();
        start("moto", "moto_server", &["-H", "127.0.0.1", "-p", &port], &[], &port, "/moto-api/data.json")
    });
    URL.clone()
}

/// Without containers: tasks are records that run at once.
pub(crate) fn ministack() -> String {
    static URL: LazyLock<String> = LazyLock::new(|| start_ministack(&[]));
    URL.clone()
}

/// Checks signatures and rights, but those of `test`, its root.
pub(crate) fn checking_ministack() -> String {
    static URL: LazyLock<String> = LazyLock::new(|| start_ministack(&[("AUTH", "true")]));
    URL.clone()
}

fn start_ministack(more: &[(&str, &str)]) -> String {
    let port = free_port().to_string();
    let environment = [
        ("DOCKER_HOST", "unix:///nonexistent"),
        ("BIND_HOST", "127.0.0.1"),
        ("MINISTACK_HOST", "127.0.0.1"),
        ("GATEWAY_PORT", &port),
        ("IOT_MTLS_ENABLED", "0"),
    ];
    start("ministack", "ministack", &[], &[&environment, more].concat(), &port, "/_ministack/health")
}

/// An account that no other test of this process has.
pub(crate) fn account() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:012}", 310_000_000_000 + NEXT.fetch_add(1, Ordering::Relaxed))
}

/// ministack takes the key as the account id where it has twelve digits; nobody checks the signature.
pub(crate) fn credentials(key: &str) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new(key, "test", None, None, "tests"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where `scripts/emulators` puts them.
fn directory() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/emulators");
    std::env::var_os("LANDFALL_EMULATORS").map_or_else(default, PathBuf::from)
}

#[allow(clippy::zombie_processes, reason = "it lives as long as this process")]
fn start(venv: &str, program: &str, args: &[&str], environment: &[(&str, &str)], port: &str, ready: &str) -> String {
    let path = directory().join(venv).join("bin").join(program);
    assert!(
        path.exists(),
        "the AWS emulator {} is missing: run scripts/emulators, or name another directory in LANDFALL_EMULATORS",
        path.display()
    );
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{program}-{port}.log"));
    let output = std::fs::File::create(&log).unwrap();
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", "\"$0\" \"$@\" </dev/null & cat >/dev/null; kill -9 0"]).arg(path).args(args);
    command.envs(environment.iter().copied()).env_remove("AWS_ENDPOINT_URL");
    command.stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut child = command.spawn().unwrap();
    // Held open until this process ends.
    std::mem::forget(child.stdin.take());
    let url = format!("http://127.0.0.1:{port}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !answers(port, ready) {
        let text = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(Instant::now() < deadline, "{program} does not answer on {url}:\n{}", text());
        assert!(child.try_wait().unwrap().is_none(), "{program} has ended:\n{}", text());
        std::thread::sleep(Duration::from_millis(20));
    }
    url
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

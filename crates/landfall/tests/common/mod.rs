//! What the tests of the real binary share: a sandbox that cleans up after itself, a server to start and kill, GitHub's
//! deliveries, the engine seen from outside, and AWS: an emulator's and our fake's. Blocking: a test reads from top to bottom.

#![allow(dead_code, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod aws;
pub(crate) mod engine;
pub(crate) mod fake;
pub(crate) mod github;
pub(crate) mod http;
#[path = "../../src/demo/image.rs"]
mod image;
pub(crate) mod registry;
pub(crate) mod running;
pub(crate) mod tally;

use std::fs::File;
use std::io::BufRead;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) const SECRET: &str = "a secret of the tests";

pub(crate) fn landfall() -> &'static str {
    env!("CARGO_BIN_EXE_landfall")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Ends with this code, and stderr holds every one of these. Gives stdout.
#[track_caller]
pub(crate) fn ends(output: &Output, code: i32, says: &[&str]) -> String {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    for what in says {
        assert!(stderr.contains(what), "no {what:?} in {stderr}");
    }
    stdout
}

/// What git says, which must succeed.
pub(crate) fn git(repository: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.com", "-C"])
        .arg(repository)
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// Polls until `look` gives something; panics with `what` and the last refusal after `limit`.
pub(crate) fn eventually<T>(what: &str, limit: Duration, look: impl FnMut() -> Result<T, String>) -> T {
    poll(limit, look).unwrap_or_else(|why| panic!("{what}: not within {limit:?}: {why}"))
}

fn poll<T>(limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let deadline = Instant::now() + limit;
    loop {
        let began = Instant::now();
        match look() {
            // As long as the look took: one that starts processes shall not have a core for itself.
            Err(_) if Instant::now() < deadline => std::thread::sleep(began.elapsed().max(Duration::from_millis(20))),
            result => return result,
        }
    }
}

/// Reads on until this is said: all of it since the beginning.
pub(crate) fn heard(from: &mut impl BufRead, what: &str) -> String {
    let mut said = String::new();
    while !said.contains(what) {
        assert_ne!(from.read_line(&mut said).unwrap(), 0, "it ends and does not say {what:?}: {said}");
    }
    said
}

/// One installation in a temporary directory. Dropped, it ends the server and the load balancer, and removes every
/// container, network and image that carries its instance label.
pub(crate) struct Sandbox {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) state: PathBuf,
    pub(crate) manifest: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) router: SocketAddr,
    pub(crate) environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("landfall-test-").tempdir().unwrap();
        let [listen, router] = [(); 2].map(|()| landfall_testkit::ports::port());
        Self {
            state: directory.path().join("state"),
            manifest: directory.path().join("landfall.yml"),
            directory,
            listen: ([127, 0, 0, 1], listen).into(),
            router: ([127, 0, 0, 1], router).into(),
            environment: Vec::new(),
            child: None,
        }
    }

    /// An empty git repository, and the tests' image for what is built from it.
    pub(crate) fn repository(&self) -> (PathBuf, String) {
        let repository = self.directory.path().join("repository");
        std::fs::create_dir(&repository).unwrap();
        git(&repository, &["init", "-q", "-b", "main"]);
        (repository, engine::base_image(&self.state))
    }

    /// Two containers to a task, application and reverse proxy, from the tests' image. `app_environment` are the knobs of
    /// `landfall demo-app web`; `extra` is appended to the manifest.
    pub(crate) fn two_container_manifest(&self, app_environment: &[(&str, &str)], extra: &str) {
        let image = engine::base_image(&self.state);
        let variables: String =
            app_environment.iter().map(|(name, value)| format!("          {name}: {value:?}\n")).collect();
        let text = format!(
            r#"project: my-project
services:
  web:
    launch_type: local
    containers:
      app:
        image: {image}
        command: [demo-app, web]
        stop_timeout: 2s
        environment:
          DEMO_LISTEN: "127.0.0.1:3000"
{variables}
        health_check:
          command: ["CMD", "/landfall", "demo-app", "healthcheck", "127.0.0.1:3000"]
          interval: 5s
          timeout: 5s
      proxy:
        image: {image}
        command: [demo-app, proxy, --listen, "0.0.0.0:8080", --upstream, "127.0.0.1:3000"]
        ports: [8080]
        stop_timeout: 2s
        depends_on: {{ app: HEALTHY }}
    load_balancer:
      container: proxy
      port: 8080
      health_check: {{ path: /health, interval: 1s, timeout: 900ms, unhealthy_threshold: 5 }}
      deregistration_delay: 1s
previews:
  branches: ["feature/*"]
  routing: {{ host: {{ domain: my-project.localhost, port: {port} }} }}
{extra}"#,
            port = self.router.port(),
        );
        std::fs::write(&self.manifest, text).unwrap();
    }

    /// A command of the real binary, on this installation.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(landfall());
        command
            .args(args)
            .env("LANDFALL_STATE", &self.state)
            .env("LANDFALL_CONFIG", &self.manifest)
            .env("LANDFALL_WEBHOOK_SECRET", SECRET)
            .env("NO_COLOR", "1")
            .env_remove("LANDFALL_LOG")
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs with `--output json`, which must succeed.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = self.command(args).args(["--output", "json"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {}\n{stderr}", output.status);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {output:?}"))
    }

    /// `landfall serve` in a process group of its own, and until it answers.
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.wait_up();
    }

    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "a server is running");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let listen = self.listen.to_string();
        let mut command = self.command(&["serve", "--listen", &listen]);
        let filter = std::env::var("LANDFALL_TEST_LOG").unwrap_or_else(|_| "info".to_owned());
        command.env("LANDFALL_LOG", filter).stdout(Stdio::null()).stderr(log).process_group(0);
        self.child = Some(command.spawn().unwrap());
    }

    pub(crate) fn wait_up(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if http::get(self.listen, "/healthz", None).is_ok_and(|answer| answer.status == 200) {
                return;
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none() && Instant::now() < deadline, "the server is not up ({ended:?}):\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("no server").id()
    }

    /// SIGKILL, as a crash.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("no server");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("no server");
        signal(child.id(), "TERM");
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The label value of this installation, as the server itself says.
    pub(crate) fn instance(&self) -> String {
        let status = self.json(&["status"]);
        status["server"]["instance"].as_str().unwrap_or_else(|| panic!("no instance in {status}")).to_owned()
    }

    /// A GET through the load balancer.
    pub(crate) fn get(&self, host: &str, path: &str) -> std::io::Result<http::Answer> {
        http::get(self.router, path, Some(host))
    }

    /// `eventually`, with the server's log where it does not come to that.
    pub(crate) fn eventually<T>(&self, what: &str, look: impl FnMut() -> Result<T, String>) -> T {
        let limit = Duration::from_secs(180);
        poll(limit, look).unwrap_or_else(|why| panic!("{what}: not within {limit:?}: {why}\n{}", self.log()))
    }

    pub(crate) fn wait_text(&self, host: &str, text: &str) {
        self.eventually(&format!("http://{host}/ answers {text:?}"), || match self.get(host, "/") {
            Ok(answer) if answer.status == 200 && answer.body.trim() == text => Ok(()),
            Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
            Err(error) => Err(error.to_string()),
        });
    }

    /// Containers, networks and images of this installation, as the engine lists them.
    pub(crate) fn resources(&self) -> Vec<String> {
        engine::owned(&self.state)
    }

    pub(crate) fn wait_nothing_left(&self, host: &str) {
        self.eventually("nothing left", || {
            let left = self.resources();
            if !left.is_empty() {
                return Err(left.join(", "));
            }
            match self.get(host, "/") {
                Ok(answer) if answer.status != 404 => Err(format!("{host} answers {}", answer.status)),
                _ => Ok(()),
            }
        });
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        engine::remove_owned(&self.state);
        engine::stop_own_processes(&self.state);
    }
}

/// With the `kill` command: std has no signals but SIGKILL.
pub(crate) fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
}

/// Processes whose command line names this path (the load balancer, the engine's service).
pub(crate) fn processes_of(path: &Path) -> Vec<u32> {
    let wanted = path.to_string_lossy().into_owned();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_string_lossy().parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted))
        })
        .collect()
}

impl Sandbox {
    /// A server that holds where it comes to `place`, `KIND:before` or `KIND:after` its effect.
    pub(crate) fn start_held_at(&mut self, place: &str) {
        self.environment.push((HOLD.to_owned(), place.to_owned()));
        self.start();
    }

    /// SIGKILL as soon as it has come there; the next server does not hold.
    pub(crate) fn kill_when_held(&mut self, place: &str) {
        let marker = self.state.join("held");
        self.eventually(place, || if marker.exists() { Ok(()) } else { Err("not reached".to_owned()) });
        self.kill();
        std::fs::remove_file(&marker).unwrap();
        self.environment.retain(|(name, _)| name != HOLD);
    }
}

const HOLD: &str = "LANDFALL_TEST_HOLD";

/// The steps of every destroy.
pub(crate) const DESTROY: [&str; 6] = [
    "service.stop",
    "service.delete",
    "route.delete",
    "target_group.delete",
    "resources.sweep",
    "resources.verify_gone",
];

/// xorshift64*: reproducible, and nothing more is asked of it.
pub(crate) struct Random(u64);

impl Random {
    /// From `LANDFALL_TEST_SEED`, else from the clock; printed, so that a run can be repeated.
    pub(crate) fn seeded() -> Self {
        let seed = std::env::var("LANDFALL_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs());
        eprintln!("LANDFALL_TEST_SEED={seed}");
        Self(seed | 1)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

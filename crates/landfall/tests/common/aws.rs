//! An AWS that nobody here wrote: ministack, whose ECS tasks are real containers and whose load balancer forwards to them.
//! What is in it is told by boto3 (`tests/aws/world.py`), never by Landfall.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use landfall_testkit::emulator::{ministack_at, program};
use serde_json::Value;

use super::tally::{Fate, Tally};
use super::{Sandbox, engine, eventually, http, signal};

/// ministack's account of keys that name none; its load balancer serves no other.
pub(crate) const ACCOUNT: &str = "000000000000";

pub(crate) struct Cloud {
    pub(crate) address: SocketAddr,
    pub(crate) world: Value,
    /// Where faults are put between: the same cloud through a proxy.
    pub(crate) faulty: Option<SocketAddr>,
    children: Vec<Child>,
    directory: tempfile::TempDir,
}

/// What containers need to start anywhere, as root, without systemd (the API's defaults ask for more than may be had).
const CONTAINERS_CONF: &str = r#"[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"#;

/// A script of `tests/aws`, as the root user of what answers at `endpoint`.
pub(crate) fn boto3(script: &str, endpoint: &str) -> Command {
    let mut command = Command::new(program("boto", "python"));
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws").join(script))
        .envs(Cloud::credentials())
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", endpoint);
    command
}

/// A cloud that runs the tests' image, and an installation that is somebody there.
pub(crate) fn installation() -> (Sandbox, Cloud) {
    let mut sandbox = Sandbox::new();
    let image = engine::base_image(&sandbox.state);
    let cloud = Cloud::start(&image);
    sandbox.environment.extend(Cloud::credentials().map(|(name, value)| (name.to_owned(), value.to_owned())));
    (sandbox, cloud)
}

impl Cloud {
    /// With a cluster, a network, a load balancer and a base task definition that runs `image`, on a container engine's
    /// service of its own.
    pub(crate) fn start(image: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("landfall-aws-").tempdir().unwrap();
        let port = landfall_testkit::ports::port();
        let (conf, socket) = (directory.path().join("containers.conf"), directory.path().join("podman.sock"));
        std::fs::write(&conf, CONTAINERS_CONF).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let engine = Command::new("podman")
            .args(["system", "service", "--time=0", &format!("unix://{}", socket.display())])
            .env("CONTAINERS_CONF", &conf)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log.try_clone().unwrap())
            .process_group(0)
            .spawn()
            .expect("these tests need Podman");
        eventually("podman's service", Duration::from_secs(180), || {
            std::os::unix::net::UnixStream::connect(&socket).map(drop).map_err(|e| e.to_string())
        });
        let emulator = Command::new(program("ministack", "ministack"))
            .envs(ministack_at(&port.to_string(), &socket.to_string_lossy()))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let children = vec![emulator, engine];
        let mut cloud = Self { address, world: Value::Null, faulty: None, children, directory };
        eventually("ministack answers", Duration::from_secs(180), || {
            match http::get(address, "/_ministack/health", None) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        cloud.world = cloud.ask(&["setup", image]);
        cloud
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What Landfall and boto3 need to be somebody there.
    pub(crate) fn credentials() -> [(&'static str, &'static str); 2] {
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
    }

    /// A manifest of one service that answers with `text`. `rest` says what comes of it on `emulator`.
    pub(crate) fn manifest(&self, sandbox: &Sandbox, text: &str, rest: &str) {
        let subnets: Vec<_> = self.world["subnets"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
        let manifest = format!(
            r#"project: my-project
aws:
  emulator:
    region: us-east-1
    endpoint: http://{api}
    account: "{ACCOUNT}"
    cluster: previews
    load_balancer: {balancer}
    probe_through: {endpoint}/_alb/previews
    network:
      subnets: [{subnets}]
      security_groups: [{group}]
services:
  web:
    base_task_definition: my-project-base
    containers:
      app:
        ports: [8080]
        environment: {{ DEMO_TEXT: "{text}" }}
    load_balancer:
      container: app
      port: 8080
      health_check: {{ path: /health, interval: 5s, timeout: 2s }}
{rest}"#,
            api = self.faulty.unwrap_or(self.address),
            endpoint = self.endpoint(),
            balancer = self.text("load_balancer"),
            subnets = subnets.join(", "),
            group = self.text("security_group"),
        );
        std::fs::write(&sandbox.manifest, manifest).unwrap();
    }

    pub(crate) fn wait_text(&self, sandbox: &Sandbox, host: &str, text: &str) {
        sandbox.eventually(&format!("{host} answers {text:?}"), || match self.get(host, "/") {
            Ok(answer) if answer.status == 200 && answer.body.trim() == text => Ok(()),
            Ok(answer) => Err(format!("{} {}\n{}", answer.status, answer.body, self.log())),
            Err(error) => Err(error.to_string()),
        });
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Value {
        let output = boto3("world.py", &self.endpoint()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Everything that Landfall makes, as `service NAME COUNT`, `rule HOST` and so on.
    pub(crate) fn list(&self) -> Vec<String> {
        serde_json::from_value(self.ask(&["list"])).unwrap()
    }

    /// A GET through the emulator's load balancer; the host chooses the rule.
    pub(crate) fn get(&self, host: &str, path: &str) -> std::io::Result<http::Answer> {
        http::get(self.address, &format!("/_alb/previews{path}"), Some(host))
    }

    /// A proxy that does as its rules say; none yet.
    pub(crate) fn put_faults_between(&mut self) {
        let port = landfall_testkit::ports::port();
        let child = Command::new(program("microburst", "microburst"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--upstream", &self.endpoint()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        self.children.insert(0, child);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        eventually("the proxy answers", Duration::from_secs(180), || {
            http::get(address, "/_microburst/fired", None).map(drop).map_err(|e| e.to_string())
        });
        // It loads the models of services with the first call to each, which takes longer than anybody waits for AWS.
        let warm = boto3("world.py", &format!("http://{address}")).arg("list").output().unwrap();
        assert!(warm.status.success(), "{}", String::from_utf8_lossy(&warm.stderr));
        self.faulty = Some(address);
    }

    /// More than one call in ten is throttled, fails, is cut off, or loses its answer after the effect. What no rule strikes is let
    /// through by the last one, which only counts.
    pub(crate) fn fail_one_in_ten(&self) {
        let json = [("Content-Type", "application/json")];
        let rules = serde_json::json!([
            {"service": "ecs", "probability": 0.03, "error": {"code": "ThrottlingException", "status": 400}},
            {"service": "elbv2", "probability": 0.03, "error": {"code": "Throttling", "status": 400}},
            {"probability": 0.03, "error": {"code": "ServerException", "status": 500}},
            {"probability": 0.02, "reset": true},
            {"probability": 0.05, "response": {"abort_bytes": 0}},
            {"latency": 0.001},
        ]);
        let body = rules.to_string();
        let answer =
            http::request(self.faulty.unwrap(), "POST", "/_microburst/rules", None, &json, body.as_bytes()).unwrap();
        assert_eq!(answer.status / 100, 2, "{answer:?}");
    }

    /// Calls that the proxy has seen: `microburst_faults_total{service="ecs",operation="RunTask",action="reset"} 3`.
    pub(crate) fn calls(&self) -> Tally {
        let metrics = http::get(self.faulty.unwrap(), "/_microburst/metrics", None).unwrap().body;
        let mut tally = Tally::default();
        for line in metrics.lines().filter(|line| line.starts_with("microburst_faults_total{")) {
            let (labels, count) = line.rsplit_once(' ').unwrap();
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap();
                rest.split('"').next().unwrap().to_owned()
            };
            let fate = match label("action") {
                action if action.starts_with("latency") => Fate::Answered,
                action if action.contains("abort") => Fate::Lost,
                _ => Fate::Failed,
            };
            let service = label("service").replace("elbv2", "elasticloadbalancing");
            tally.add(&service, &label("operation"), fate, count.parse().unwrap());
        }
        tally
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.world[key].as_str().unwrap()
    }
}

impl Drop for Cloud {
    /// SIGTERM, on which it removes its containers; then its whole group, as it has been seen to stay.
    fn drop(&mut self) {
        // The engine comes last: the emulator needs it to remove its containers.
        for child in &mut self.children {
            signal(child.id(), "TERM");
            for _ in 0..100 {
                if matches!(child.try_wait(), Ok(Some(_))) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status();
            let _ = child.wait();
        }
    }
}

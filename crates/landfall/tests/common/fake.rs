//! The real binary against our fake of AWS, in an environment of its own: nothing of whoever runs the tests gets in.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use landfall_awsfake::faults::{Fault, FaultError};
use landfall_awsfake::{Fake, Handle};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::tally::{Fate, Tally};

pub(crate) const V1: &str = "shop/web@sha256:0000000000000000000000000000000000000000000000000000000000000001";
pub(crate) const V2: &str = "shop/web@sha256:0000000000000000000000000000000000000000000000000000000000000002";

/// A fake with the cluster `main`, and a directory to work in.
pub(crate) struct FakeAws {
    pub(crate) fake: Handle,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) runtime: Runtime,
}

impl FakeAws {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (_, fake) = runtime.block_on(Fake { scale: 20.0, ..Fake::default() }.run()).unwrap();
        fake.call("ecs", "CreateCluster", json!({"clusterName": "main"})).unwrap();
        let directory = tempfile::Builder::new().prefix("landfall-test-").tempdir().unwrap();
        Self { fake, directory, runtime }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// The place `cloud` of a manifest; more of it may follow.
    pub(crate) fn place(&self) -> String {
        format!(
            r#"aws:
  cloud:
    region: us-east-1
    endpoint: {}
    account: "123456789012"
    cluster: main
    network: {{ subnets: [subnet-1], security_groups: [sg-1] }}
"#,
            self.fake.url()
        )
    }

    pub(crate) fn landfall(&self, arguments: &[&str]) -> Command {
        landfall(self.path(), arguments)
    }

    /// Throttled, failed, cut off before the effect, and answers that are lost after it.
    pub(crate) fn fail_one_in_ten(&self) {
        let error = |code: &str, message: &str, status| {
            Some(FaultError { code: code.to_owned(), message: message.to_owned(), status })
        };
        let (throttled, broken) =
            (error("Throttling", "Rate exceeded", 400), error("ServerException", "injected", 500));
        // Few are throttled: after each a client halves its rate for a quarter of a minute.
        self.fake.fault(Fault { percent: Some(1), error: throttled, ..Fault::default() });
        self.fake.fault(Fault { percent: Some(5), error: broken, ..Fault::default() });
        self.fake.fault(Fault { percent: Some(2), cut: true, ..Fault::default() });
        self.fake.fault(Fault { percent: Some(3), lose_response: true, ..Fault::default() });
    }

    pub(crate) fn calls(&self) -> Tally {
        let mut tally = Tally::default();
        for call in self.fake.calls() {
            let fate = match call.code.as_deref() {
                None if call.lost => Fate::Lost,
                Some("ThrottlingException" | "Throttling" | "ServerException" | "ConnectionCut") => Fate::Failed,
                _ => Fate::Answered,
            };
            tally.add(&call.service, &call.operation, fate, 1);
        }
        tally
    }
}

/// With `home` for its home, its directory, and the place of its manifest and its state.
pub(crate) fn landfall(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(super::landfall());
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("LANDFALL_STATE", home.join("state"))
        .env("LANDFALL_CONFIG", home.join("landfall.yml"))
        // Nothing here needs one.
        .env("LANDFALL_ENGINE", "/nonexistent.sock")
        .envs([("AWS_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true"), ("NO_COLOR", "1")])
        .envs([("AWS_ACCESS_KEY_ID", "AKIATEST"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

/// Answers every request with 200: what is behind the load balancer.
pub(crate) fn visitor() -> u16 {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
    port
}

/// All that a policy allows.
pub(crate) fn actions(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().unwrap().iter();
    let words = statements.flat_map(|statement| match &statement["Action"] {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    });
    words.map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The policy, but for this one.
pub(crate) fn without(policy: &Value, action: &str) -> Value {
    let mut less = policy.clone();
    // A statement says something.
    less["Statement"].as_array_mut().unwrap().retain_mut(|statement| {
        let left: Vec<String> =
            actions(&json!({"Statement": [statement]})).into_iter().filter(|own| own != action).collect();
        statement["Action"] = json!(left);
        !left.is_empty()
    });
    less
}

//! The real binary with its state on S3: machines that share nothing but a bucket. S3 and ECS are our fakes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::fake::{self, FakeAws, V1};
use common::{ends, eventually, text};
use landfall_awsfake::s3::S3;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const BUCKET: &str = "acme-state";
const STATE: &str = "s3://acme-state/my-project";

struct World {
    s3: S3,
    aws: FakeAws,
}

/// A runner: a home of its own, and the manifest of the repository.
struct Machine<'a> {
    world: &'a World,
    home: PathBuf,
}

impl World {
    fn new() -> Self {
        let aws = FakeAws::new();
        // Not where the runners believe it to be.
        let s3 = aws.runtime.block_on(S3::start(BUCKET, "eu-central-1")).unwrap();
        let world = Self { s3, aws };
        world.manifest("my-project", "on: cloud, ", "");
        world
    }

    fn manifest(&self, project: &str, on: &str, more: &str) {
        let manifest = format!(
            r#"project: {project}
{place}services:
  web:
    cpu: 256
    memory: 512
    containers:
      app: {{ image: "{V1}" }}
environments:
  prod: {{ {on}services: [web] }}
{more}"#,
            place = self.aws.place(),
        );
        self.aws.write("landfall.yml", &manifest);
    }

    fn machine(&self, name: &str) -> Machine<'_> {
        let home = self.aws.path().join(name);
        std::fs::create_dir_all(&home).unwrap();
        Machine { world: self, home }
    }

    fn services_made(&self) -> usize {
        self.aws.fake.count("ecs", "CreateService")
    }
}

impl Machine<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = fake::landfall(&self.home, arguments);
        command
            .env("LANDFALL_STATE", STATE)
            .env("LANDFALL_CONFIG", self.world.aws.path().join("landfall.yml"))
            .env("AWS_ENDPOINT_URL_S3", self.world.s3.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32, says: &[&str]) -> String {
        ends(&self.run(arguments), code, says)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let stdout = self.ends(&[arguments, &["--output", "json"]].concat(), 0, &[]);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }

    /// What this machine keeps for itself.
    fn scratch(&self) -> PathBuf {
        self.home.join(".local/state/landfall/s3/s3-acme-state-my-project")
    }
}

/// Killed before ECS heard of it, and after ECS had done it and nobody had written it down.
#[test]
fn what_one_machine_began_another_one_ends() {
    for place in ["service.deploy:before", "service.deploy:after"] {
        let world = World::new();
        let (first, second) = (world.machine("first"), world.machine("second"));
        let mut killed = first.command(&["deploy", "prod"]).env("LANDFALL_TEST_HOLD", place).spawn().unwrap();
        let held = first.scratch().join("held");
        eventually("the place to be killed at", LIMIT, || held.exists().then_some(()).ok_or_else(String::new));
        killed.kill().unwrap();
        assert_eq!(killed.wait().unwrap().signal(), Some(9));

        let unfinished = second.json(&["executions", "list", "--unfinished"]);
        let execution = unfinished[0]["id"].as_str().unwrap().to_owned();
        // Half a minute and some for S3; the second machine does not ask its own clock.
        let waits = second.command(&["wait", &execution, "--timeout", "60"]).spawn().unwrap();
        world.s3.advance(40_000);
        let output = waits.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{place}: {}", text(&output.stderr));
        assert_eq!(world.services_made(), 1, "{place}");

        let third = world.machine("third");
        let releases = third.json(&["releases", "prod"]);
        assert!(releases.to_string().contains(&execution), "{releases}");
        assert_eq!(third.json(&["executions", "list", "--unfinished"]), json!([]));
        assert!(!third.home.join(".local/state/landfall/landfall.db").exists());
        third.ends(&["wait", "prod"], 0, &[]);
    }
}

/// The lease of one machine's deployment keeps the other's hands off it while that one follows it to the end.
#[test]
fn two_machines_at_once_do_the_work_once() {
    let world = World::new();
    world.aws.fake.set_scale(2.0);
    let (first, second) = (world.machine("first"), world.machine("second"));
    let deploys = first.command(&["deploy", "prod"]).spawn().unwrap();
    let execution = eventually("the execution is known elsewhere", LIMIT, || {
        let listed = second.json(&["executions", "list"]);
        listed[0]["id"].as_str().map(str::to_owned).ok_or_else(|| listed.to_string())
    });
    let follows = second.command(&["wait", &execution]).spawn().unwrap();
    for (who, child) in [("first", deploys), ("second", follows)] {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{who}: {}", text(&output.stderr));
    }
    assert_eq!(world.services_made(), 1);
    assert_eq!(world.aws.fake.count("ecs", "RegisterTaskDefinition"), 1);
}

#[test]
fn a_lock_that_one_machine_takes_binds_all() {
    let world = World::new();
    let (first, second) = (world.machine("first"), world.machine("second"));
    first.ends(&["lock", "prod", "--reason", "the sale is on"], 0, &[]);
    second.ends(&["deploy", "prod"], 76, &["the sale is on"]);
    second.ends(&["lock", "prod", "--reason", "mine"], 76, &["the sale is on"]);
    assert_eq!(world.services_made(), 0);
    second.ends(&["unlock", "prod"], 0, &[]);
    first.ends(&["deploy", "prod", "--timeout", "60"], 0, &[]);
    assert_eq!(world.services_made(), 1);
}

/// A job's machine dies in the middle; the next try is on another one.
#[test]
fn a_killed_job_goes_on_on_another_machine() {
    let world = World::new();
    let log = world.aws.path().join("log");
    let say = |word: &str| format!("echo {word} >> {}", log.display());
    let waits = format!("{}; test -e go || {{ touch waiting; exec sleep 300; }}", say("second"));
    let steps = format!(
        "ci:\n  rules:\n    all:\n      branches: [\"**\"]\n      steps:\n        - test: [{:?}]\n        - test: [{waits:?}]\n          name: \
         second\n          needs: [test]\n",
        say("once")
    );
    world.manifest("my-project", "on: cloud, ", &steps);
    let (first, second) = (world.machine("first"), world.machine("second"));
    let job = |machine: &Machine<'_>| {
        let mut command = machine.command(&["ci", "resume"]);
        command.envs([
            ("GITLAB_CI", "true"),
            ("CI_PROJECT_PATH", "acme/shop"),
            ("CI_COMMIT_SHA", "c1"),
            ("CI_COMMIT_BRANCH", "main"),
        ]);
        command
    };
    let said = || std::fs::read_to_string(&log).unwrap_or_default();

    let mut killed = job(&first).spawn().unwrap();
    let waiting = world.aws.path().join("waiting");
    eventually("the second step", LIMIT, || waiting.exists().then_some(()).ok_or_else(said));
    let recorded = || {
        let keys = world.s3.keys(BUCKET).into_iter().filter(|key| key.starts_with("my-project/ci/"));
        keys.filter_map(|key| world.s3.object(BUCKET, &key)).any(|body| String::from_utf8_lossy(&body).contains("done"))
    };
    eventually("the first step is recorded", LIMIT, || recorded().then_some(()).ok_or_else(String::new));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let kept = || world.s3.keys(BUCKET).iter().filter(|key| key.starts_with("my-project/ci/")).count();
    assert_eq!(kept(), 1);
    assert!(!first.scratch().join("ci").exists());

    std::fs::write(world.aws.path().join("go"), "").unwrap();
    let went_on = ends(&job(&second).output().unwrap(), 0, &[]);
    assert_eq!(said(), "once\nsecond\nsecond\n", "{went_on}");
    assert_eq!(kept(), 0, "it is over");
    // Whoever starts it once more wants it done.
    ends(&job(&first).output().unwrap(), 0, &["no record of this flow"]);
    assert_eq!(said(), "once\nsecond\nsecond\nonce\nsecond\n");

    // A job that has no rights there is done, and says what it lacks.
    let refused = job(&second).env("LANDFALL_STATE", "s3://nobodys/x").output().unwrap();
    ends(&refused, 0, &["NoSuchBucket", "all of this job runs", "cannot be continued when it is killed"]);
}

#[test]
fn what_a_state_on_s3_is_not_for_is_refused_and_says_so() {
    let world = World::new();
    let machine = world.machine("first");
    let directory = "this needs a state directory on this machine, and the state is s3://acme-state/my-project";
    for command in [&["serve"][..], &["backup", "file.db"], &["restore", "file.db"], &["up"]] {
        machine.ends(command, 64, &[directory, "--state DIR"]);
    }
    machine.ends(&["status"], 0, &[]);
    machine.ends(&["status", "--state", "s3://acme-state//x"], 64, &["empty parts"]);
    machine.ends(&["status", "--state", "s3://nobodys/x"], 66, &["NoSuchBucket"]);

    let this_machine = "what runs on this machine needs a state directory on it";
    world.manifest(
        "my-project",
        "",
        "previews:\n  branches: [\"*\"]\n  routing: { host: { domain: localhost, port: 8080 } }\n",
    );
    machine.ends(&["preview", "create", "feature/x"], 64, &[this_machine]);
    let refused = machine.run(&["deploy", "prod", "--timeout", "30"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains(this_machine), "{}", text(&refused.stderr));

    world.manifest("another", "on: cloud, ", "");
    machine.ends(&["executions", "list"], 73, &["is the state of project my-project", "a prefix of its own"]);
}

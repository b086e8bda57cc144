//! SIGKILL, everywhere: the real binary and real containers, killed before and after the effect of every kind of step, and at
//! random moments. Each time it is started again, the world must converge to what was asked last, with nothing leaked or
//! doubled, judged from outside: the engine's own listing, every host probed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{DESTROY, Random, Sandbox, eventually, git, github};

const HOST: &str = "test123.my-project.localhost";
const BRANCH: &str = "feature/test123";
const TEXT: &str = "built from a commit";

const CREATE: [&str; 10] = [
    "image.build",
    "image.await",
    "task_definition.register",
    "hook.run",
    "task.run",
    "target_group.ensure",
    "route.ensure",
    "service.deploy",
    "targets.healthy",
    "url.probe",
];

/// A repository, a manifest that uses every kind of step, and a file in which each hook that ran left a line.
struct Crashes {
    sandbox: Sandbox,
    up: bool,
}

impl Crashes {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let (repository, base) = sandbox.repository();
        std::fs::write(repository.join("Dockerfile"), format!("FROM {base}\nENV DEMO_TEXT=\"{TEXT}\"\n")).unwrap();
        git(&repository, &["add", "."]);
        git(&repository, &["commit", "-q", "-m", "one"]);
        git(&repository, &["branch", BRANCH]);
        let hooks = sandbox.directory.path().join("hooks.log");
        let manifest = format!(
            r#"project: my-project
repositories:
  my-project: {{ source: {repository} }}
services:
  web:
    launch_type: local
    containers:
      app:
        build: {{ context: . }}
        command: [demo-app, web]
        stop_timeout: 1s
        environment: {{ DEMO_LISTEN: "127.0.0.1:3000" }}
      proxy:
        await: {{ image: "{base}", deadline: 60s }}
        command: [demo-app, proxy, --listen, "0.0.0.0:8080", --upstream, "127.0.0.1:3000"]
        ports: [8080]
        stop_timeout: 1s
    load_balancer:
      container: proxy
      port: 8080
      health_check: {{ path: /health, interval: 200ms, timeout: 100ms }}
      deregistration_delay: 0s
previews:
  branches: ["feature/*"]
  routing: {{ host: {{ domain: my-project.localhost, port: {port} }} }}
  hooks:
    announce:
      when: before_create
      rerunnable: true
      run: {{ command: [sh, -c, 'echo "$LANDFALL_ENVIRONMENT" >> {hooks}'] }}
    migrate:
      when: before_create
      run: {{ task: {{ service: web, container: app, command: [demo-app, job] }} }}
"#,
            repository = repository.display(),
            hooks = hooks.display(),
            port = sandbox.router.port(),
        );
        std::fs::write(&sandbox.manifest, manifest).unwrap();
        Self { sandbox, up: false }
    }

    /// Asks for the opposite of what there is.
    fn ask(&mut self) {
        self.up = !self.up;
        let (event, payload) = match self.up {
            true => ("create", github::create(BRANCH)),
            false => ("delete", github::delete(BRANCH)),
        };
        assert_eq!(self.sandbox.deliver(event, &payload), 202);
    }

    /// What was asked last holds, and goes on holding; nothing is unfinished.
    fn converged(&self) {
        let what = if self.up { "the branch is up" } else { "the branch is gone" };
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, Duration::from_secs(90), || self.look());
            std::thread::sleep(Duration::from_millis(150));
            if let Err(why) = self.look() {
                panic!("{what}, and then it was not: {why}");
            }
        }));
        if let Err(panic) = looked {
            eprintln!("{}\n{:?}", self.sandbox.log(), self.sandbox.run(&["executions", "list"]));
            std::panic::resume_unwind(panic);
        }
    }

    fn look(&self) -> Result<(), String> {
        let resources = self.sandbox.resources();
        let count = |prefix: &str| resources.iter().filter(|name| name.starts_with(prefix)).count();
        let counts = (count("container "), count("network "), count("image "));
        let answer = self.sandbox.get(HOST, "/").ok();
        let unfinished = self.sandbox.json(&["executions", "list", "--unfinished"]);
        if unfinished.as_array().is_none_or(|list| !list.is_empty()) {
            return Err(format!("unfinished: {unfinished}"));
        }
        match self.up {
            // A pause container and two members on one network, from one image.
            true if counts != (3, 1, 1) => Err(resources.join(", ")),
            true => match answer {
                Some(answer) if answer.status == 200 && answer.body.trim() == TEXT => Ok(()),
                other => Err(format!("{HOST}: {other:?}")),
            },
            false if !resources.is_empty() => Err(resources.join(", ")),
            false => match answer {
                Some(answer) if answer.status != 404 => Err(format!("{HOST} answers {}", answer.status)),
                _ => Ok(()),
            },
        }
    }

    /// Starts a server that holds at `place`, asks, waits until the place is reached, kills, starts again.
    fn killed_at(&mut self, place: &str) {
        let marker = self.sandbox.state.join("held");
        self.sandbox.environment = vec![("LANDFALL_TEST_HOLD".to_owned(), place.to_owned())];
        self.sandbox.start();
        self.ask();
        eventually(place, Duration::from_secs(60), || match marker.exists() {
            true => Ok(()),
            false => Err(self.sandbox.log()),
        });
        self.sandbox.kill();
        std::fs::remove_file(&marker).unwrap();
        self.sandbox.environment.clear();
        self.sandbox.start();
        self.converged();
        assert!(self.sandbox.stop().success());
    }
}

#[test]
fn killed_before_every_effect() {
    at_every_effect("before");
}

#[test]
fn killed_after_every_effect() {
    at_every_effect("after");
}

fn at_every_effect(when: &str) {
    let mut crashes = Crashes::new();
    let mut histogram: BTreeMap<String, u32> = BTreeMap::new();
    let rounds = CREATE.len().max(DESTROY.len());
    for round in 0..rounds {
        // Up, then down: the shorter list goes round again.
        for kind in [CREATE[round], DESTROY[round % DESTROY.len()]] {
            let place = format!("{kind}:{when}");
            crashes.killed_at(&place);
            *histogram.entry(place).or_default() += 1;
        }
    }
    eprintln!("kills between a step's start and its record:");
    for (place, count) in &histogram {
        eprintln!("  {place:<32} {}", "#".repeat(*count as usize));
    }
    assert_eq!(histogram.len(), CREATE.len() + DESTROY.len(), "every kind");
    // Every task that a hook started has ended, and the hook on the host ran for every preview at least once.
    let ran = std::fs::read_to_string(crashes.sandbox.directory.path().join("hooks.log")).unwrap();
    assert!(ran.lines().count() >= rounds, "{ran}");
    assert!(ran.lines().all(|line| line == "my-project-test123"), "{ran}");
}

#[test]
fn killed_at_random_moments() {
    let mut random = Random::seeded();
    let mut crashes = Crashes::new();
    let mut longest = Duration::from_millis(2_500);
    for kill in 0..20 {
        crashes.sandbox.start();
        let asked = Instant::now();
        crashes.ask();
        let wait = longest.mul_f64(random.unit());
        std::thread::sleep(wait);
        crashes.sandbox.kill();
        let containers = crashes.sandbox.resources().iter().filter(|name| name.starts_with("container ")).count();
        eprintln!(
            "kill {kill:>2}: {} after {:>4} ms, {containers} containers there",
            if crashes.up { "create" } else { "delete" },
            asked.elapsed().as_millis()
        );
        crashes.sandbox.start();
        crashes.converged();
        // Not all kills shall come too late on a quick machine.
        longest = longest.min((asked.elapsed()).max(Duration::from_millis(800)));
        assert!(crashes.sandbox.stop().success());
    }
}

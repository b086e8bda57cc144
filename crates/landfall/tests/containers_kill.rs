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

/// Every kind of step in the order in which a plan needs them, so that one creation is killed at each in turn: what may be done side by
/// side is in a row of its own. Beside each what the destroy after it is killed at.
const ROWS: [(&[&str], &[&str]); 3] = [
    (
        &[
            "image.build",
            "task_definition.register",
            "hook.run",
            "task.run",
            "service.deploy",
            "targets.healthy",
            "url.probe",
        ],
        &["service.stop", "route.delete", "resources.verify_gone"],
    ),
    (&["image.await"], &["service.delete", "target_group.delete"]),
    (&["target_group.ensure", "route.ensure"], &["resources.sweep"]),
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
      health_check: {{ path: /health, interval: 1s, timeout: 900ms, unhealthy_threshold: 5 }}
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
            eventually(what, Duration::from_secs(240), || self.look());
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

    fn killed_at(&mut self, places: &[String]) {
        for (index, place) in places.iter().enumerate() {
            self.sandbox.start_held_at(place);
            if index == 0 {
                self.ask();
            }
            self.sandbox.kill_when_held(place);
        }
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
    for (up, down) in ROWS {
        for kinds in [up, down] {
            let places: Vec<String> = kinds.iter().map(|kind| format!("{kind}:{when}")).collect();
            crashes.killed_at(&places);
            for place in places {
                *histogram.entry(place).or_default() += 1;
            }
        }
    }
    eprintln!("kills between a step's start and its record:");
    for (place, count) in &histogram {
        eprintln!("  {place:<32} {}", "#".repeat(*count as usize));
    }
    let all: usize = ROWS.iter().map(|(up, down)| up.len() + down.len()).sum();
    assert_eq!(histogram.len(), all, "no kind is there twice");
    assert!(DESTROY.iter().all(|kind| histogram.contains_key(&format!("{kind}:{when}"))), "every kind");
    // Every task that a hook started has ended, and the hook on the host ran for every preview at least once.
    let ran = std::fs::read_to_string(crashes.sandbox.directory.path().join("hooks.log")).unwrap();
    assert!(ran.lines().count() >= ROWS.len(), "{ran}");
    assert!(ran.lines().all(|line| line == "my-project-test123"), "{ran}");
}

#[test]
fn killed_at_random_moments() {
    let mut random = Random::seeded();
    let mut crashes = Crashes::new();
    let mut longest = Duration::from_millis(2_500);
    crashes.sandbox.start();
    for kill in 0..20 {
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
    }
    assert!(crashes.sandbox.stop().success());
}

//! Lasting environments with the real binary and real containers on this machine: deployments, failures that unwind, rollback,
//! releases, scale, locks, one-off tasks, and SIGKILL in the middle. Judged from outside: by what answers at the URL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::registry::World;
use common::{Sandbox, ends, git, http, text};
use serde_json::Value;

const HOST: &str = "prod.my-project.localhost";

/// A repository whose commits are versions of an application, and an environment `prod` that they are deployed to.
struct Prod {
    sandbox: Sandbox,
    repository: PathBuf,
    base: String,
}

impl Prod {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let (repository, base) = sandbox.repository();
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
        command: [demo-app, web, --listen, "0.0.0.0:8080"]
        ports: [8080]
        stop_timeout: 2s
        environment: {{ DEMO_MODE: manifest }}
    deployment: {{ circuit_breaker: {{ threshold: 2 }} }}
    load_balancer:
      health_check: {{ path: /health, interval: 1s, timeout: 900ms, unhealthy_threshold: 5 }}
      deregistration_delay: 1s
environments:
  prod:
    variables: {{ DEMO_MODE: prod }}
    routing: {{ host: {{ name: {HOST}, port: {port} }} }}
"#,
            repository = repository.display(),
            port = sandbox.router.port(),
        );
        std::fs::write(&sandbox.manifest, manifest).unwrap();
        Self { sandbox, repository, base }
    }

    /// A commit whose application has these variables; its id.
    fn version(&self, variables: &[(&str, &str)]) -> String {
        let lines: String = variables.iter().map(|(name, value)| format!("ENV {name}=\"{value}\"\n")).collect();
        std::fs::write(self.repository.join("Dockerfile"), format!("FROM {}\n{lines}", self.base)).unwrap();
        git(&self.repository, &["add", "."]);
        git(&self.repository, &["commit", "-q", "--allow-empty", "-m", "a version"]);
        git(&self.repository, &["rev-parse", "HEAD"])
    }

    fn deploy(&self, commit: &str) -> Output {
        self.sandbox.run(&["deploy", "prod", "--commit", commit, "--timeout", "90"])
    }

    fn status(&self) -> Value {
        self.sandbox.json(&["status", "prod"])
    }

    fn answers(&self, wanted: &str) {
        let answer = self.sandbox.get(HOST, "/").unwrap();
        assert_eq!((answer.status, answer.body.trim()), (200, wanted));
    }
}

/// Asks the URL all the time, and tells afterwards what was not a 200.
struct Asker {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, Vec<String>)>,
}

impl Asker {
    fn start(sandbox: &Sandbox) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (router, stopped) = (sandbox.router, stop.clone());
        let thread = std::thread::spawn(move || {
            let (mut asked, mut bad) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                match http::get(router, "/", Some(HOST)) {
                    Ok(answer) if answer.status == 200 => {}
                    Ok(answer) => bad.push(format!("{} {}", answer.status, answer.body)),
                    Err(error) => bad.push(error.to_string()),
                }
                asked += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            (asked, bad)
        });
        Self { stop, thread }
    }

    fn nothing_failed(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (asked, bad) = self.thread.join().unwrap();
        assert!(asked > 10 && bad.is_empty(), "of {asked} requests {} failed: {:?}", bad.len(), bad.first());
    }
}

#[test]
fn deployments_releases_and_rollback_without_a_server() {
    let prod = Prod::new();
    let sandbox = &prod.sandbox;
    let v1 = prod.version(&[("DEMO_TEXT", "v1")]);
    let first = prod.deploy(&v1);
    ends(&first, 0, &["Deploy prod at", "Deploy service my-project-prod-web"]);
    assert_eq!(text(&first.stdout).trim(), format!("http://{HOST}:{}/", sandbox.router.port()));
    prod.answers("v1");
    assert!(sandbox.get(HOST, "/env").unwrap().body.contains("DEMO_MODE=prod"), "variables of the environment");

    // An update loses no request.
    let v2 = prod.version(&[("DEMO_TEXT", "v2")]);
    let asker = Asker::start(sandbox);
    ends(&prod.deploy(&v2), 0, &[]);
    asker.nothing_failed();
    prod.answers("v2");

    // One that crashes is undone, and the last thing printed is the cause.
    let v3 = prod.version(&[("DEMO_TEXT", "v3"), ("DEMO_EXIT", "3")]);
    let asker = Asker::start(sandbox);
    let failed = prod.deploy(&v3);
    ends(&failed, 3, &["undone", "LF-SERVICE-", "exit code 3"]);
    asker.nothing_failed();
    prod.answers("v2");
    let again = sandbox.command(&["deploy", "prod", "--commit", &v3, "--output", "json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((again.status.code(), &json["outcome"]), (Some(3), &Value::from("rolled_back")));
    prod.answers("v2");

    // Good, good, bad, bad: what ended well last comes back, and then what was before it.
    let releases = sandbox.json(&["releases", "prod"]);
    let commits: Vec<&str> = releases.as_array().unwrap().iter().map(|one| one["commit"].as_str().unwrap()).collect();
    assert_eq!(commits, [v2.as_str(), v1.as_str()], "{releases}");
    assert_eq!(releases[0]["present"], true);
    let image = releases[1]["services"]["web"]["images"]["app"].as_str().unwrap();
    assert!(image.contains("sha256:"), "a release has pinned images: {image}");
    ends(&sandbox.run(&["rollback", "prod"]), 0, &["Roll prod back"]);
    prod.answers("v2");
    let asker = Asker::start(sandbox);
    ends(&sandbox.run(&["rollback", "prod"]), 0, &[]);
    asker.nothing_failed();
    prod.answers("v1");
    ends(&sandbox.run(&["rollback", "prod"]), 66, &["no release before"]);
    ends(&sandbox.run(&["rollback", "prod", "--to", &v2[..8]]), 0, &[]);
    prod.answers("v2");
    ends(&sandbox.run(&["rollback", "prod", "--to", image]), 0, &[]);
    prod.answers("v1");
    let all = sandbox.json(&["releases", "prod", "--all"]);
    assert_eq!(all.as_array().unwrap().len(), 8, "{all}");

    let status = prod.status();
    assert_eq!(status["services"][0]["found"]["running"], 1, "{status}");
    assert_eq!(status["release"]["commit"], v1.as_str());
    assert_eq!(status["services"][0]["images"]["app"], image);
    let shown = sandbox.run(&["status", "prod"]);
    ends(&shown, 0, &[]);
    assert!(text(&shown.stdout).contains("my-project-prod-web"), "{}", text(&shown.stdout));
    // What is kept for rollbacks, and nothing else, is left of all that.
    let swept = sandbox.json(&["gc"]);
    assert_eq!(swept["findings"], serde_json::json!([]), "what lasts is never swept");
}

/// On a machine with nothing but a repository and a registry, as it was written: master is built, pushed, deployed and asked, a tag promotes
/// what its commit has.
#[test]
fn the_flow_that_init_writes_runs_as_it_is_written() {
    let (registry, mut sandbox) = (World::new(), Sandbox::new());
    let (repository, base) = sandbox.repository();
    let conf = registry.trusted();
    sandbox.environment.push(("CONTAINERS_REGISTRIES_CONF".to_owned(), conf.display().to_string()));
    sandbox.manifest = repository.join("landfall.yml");
    let write = |name: &str, text: &str| std::fs::write(repository.join(name), text).unwrap();
    let command = r#"["demo-app", "web", "--listen", "0.0.0.0:8080"]"#;
    write("Dockerfile", &format!("FROM {base}\nENV DEMO_TEXT=one\nEXPOSE 8080\nCMD {command}\n"));
    write("Makefile", "test:\n\t@echo tested\n");
    let shop = registry.image("team/shop");
    let place = repository.display().to_string();
    ends(&sandbox.run(&["init", "--flow", "--image", &shop, &place]), 0, &["ci plan --branch master"]);
    let text = std::fs::read_to_string(&sandbox.manifest).unwrap();
    // The one thing that is not as it was written: tests share the machine, and each has a port of its own.
    let own = |name: &str| {
        format!("  {name}:\n    routing: {{host: {{name: {name}.shop.localhost, port: {}}}}}\n", sandbox.router.port())
    };
    let moved = text.replace("  dev:\n    verify", &format!("{}    verify", own("dev")));
    let moved = moved.replace("  prod:\n    verify", &format!("{}    verify", own("prod")));
    assert_ne!(moved, text);
    std::fs::write(&sandbox.manifest, moved).unwrap();
    git(&repository, &["branch", "-M", "master"]);
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "-q", "-m", "one"]);
    let ci = |words: &[&str]| {
        sandbox.command(words).current_dir(&repository).env_remove("LANDFALL_CONFIG").output().unwrap()
    };
    let master = ci(&["ci"]);
    ends(&master, 0, &["push to master: done in", "test, build, push, deploy dev, verify dev"]);
    let commit = git(&repository, &["rev-parse", "HEAD"]);
    let digest = registry.tag("team/shop", &commit).expect("it is pushed under its commit");
    git(&repository, &["tag", "v1-prod"]);
    git(&repository, &["checkout", "-q", "v1-prod"]);
    let tag = ci(&["ci"]);
    ends(&tag, 0, &["tag v1-prod: done in", "promote prod, verify prod"]);
    assert!(!text_of(&tag).contains("Build"), "{}", text_of(&tag));
    for environment in ["dev", "prod"] {
        let status = sandbox.json(&["status", environment]);
        let image = status["services"][0]["images"]["app"].as_str().unwrap_or_else(|| panic!("{status}"));
        assert!(image.ends_with(&digest), "{environment}: {image}");
    }
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_first_deployment_that_fails_leaves_nothing_behind() {
    let prod = Prod::new();
    let broken = prod.version(&[("DEMO_EXIT", "137")]);
    ends(&prod.deploy(&broken), 3, &["exit code 137"]);
    let status = prod.status();
    assert_eq!(status["services"][0]["found"], Value::Null, "{status}");
    assert_eq!((&status["release"], &status["url"]), (&Value::Null, &Value::Null));
    prod.sandbox.eventually("no container is left", || {
        let left: Vec<String> =
            prod.sandbox.resources().into_iter().filter(|one| one.starts_with("container")).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    });
    assert_ne!(prod.sandbox.get(HOST, "/").map_or(404, |answer| answer.status), 200);
    // Without any that ended well there is nothing to go back to, and nothing to scale.
    ends(&prod.sandbox.run(&["rollback", "prod"]), 66, &["nothing was ever released"]);
    ends(&prod.sandbox.run(&["scale", "prod", "web=2"]), 64, &["never deployed"]);
    ends(&prod.sandbox.run(&["deploy", "staging"]), 66, &["no environment `staging`", "prod"]);
    ends(&prod.sandbox.run(&["deploy", "prod"]), 64, &["--commit"]);
    ends(&prod.sandbox.run(&["deploy", "prod", "--image", "nope=x:1"]), 64, &["no container `nope`", "web/app"]);
}

#[test]
fn scale_lock_run_and_logs() {
    let prod = Prod::new();
    let sandbox = &prod.sandbox;
    let v1 = prod.version(&[("DEMO_TEXT", "v1")]);
    // The only environment needs no name.
    ends(&sandbox.run(&["deploy", "--commit", &v1]), 0, &[]);

    ends(&sandbox.run(&["scale", "prod", "web=2"]), 0, &["web to 2"]);
    assert_eq!(prod.status()["services"][0]["found"]["running"], 2);
    // The live count stays: neither a deployment nor a rollback takes tasks away.
    let v2 = prod.version(&[("DEMO_TEXT", "v2")]);
    ends(&prod.deploy(&v2), 0, &[]);
    assert_eq!(prod.status()["services"][0]["found"]["desired"], 2);
    ends(&sandbox.run(&["rollback", "prod"]), 0, &[]);
    assert_eq!(prod.status()["services"][0]["found"]["desired"], 2);
    prod.answers("v1");

    ends(&sandbox.run(&["lock", "prod", "--reason", "the sale is on"]), 0, &[]);
    for refused in [vec!["deploy", "prod", "--commit", &v2], vec!["rollback", "prod"], vec!["scale", "prod", "web=1"]] {
        ends(&sandbox.run(&refused), 76, &["the sale is on"]);
    }
    ends(&sandbox.run(&["lock", "prod", "--reason", "mine"]), 76, &["the sale is on"]);
    assert_eq!(prod.status()["lock"]["reason"], "the sale is on");
    ends(&sandbox.run(&["unlock", "prod"]), 0, &["the sale is on"]);
    ends(&sandbox.run(&["scale", "prod", "web=1"]), 0, &[]);

    // The container's exit code is the command's; what could not be run ends with 125.
    let job = sandbox.run(&["run", "prod", "web", "--", "demo-app", "job", "migrated", "--exit", "7"]);
    ends(&job, 7, &["exited with 7"]);
    assert_eq!(text(&job.stdout), "migrated\n");
    let env = sandbox.run(&["run", "prod", "web", "--env", "EXTRA=given", "--", "demo-app", "job"]);
    ends(&env, 0, &[]);
    assert_eq!(text(&env.stdout), "done\n");
    ends(&sandbox.run(&["run", "prod", "web", "--container", "nope", "--", "x"]), 125, &["no container \"nope\""]);
    ends(&sandbox.run(&["run", "prod", "api", "--", "true"]), 125, &["no service `api`"]);
    let slow = ["run", "prod", "web", "--timeout", "1", "--", "demo-app", "job", "--sleep-ms", "60000"];
    ends(&sandbox.run(&slow), 125, &["did not end within 1 s"]);

    let logs = sandbox.run(&["logs", "prod"]);
    ends(&logs, 0, &[]);
    assert!(text(&logs.stdout).contains("web listens on"), "{}", text(&logs.stdout));
}

#[test]
fn with_a_server_a_newer_deployment_takes_over_and_a_detached_one_is_waited_for() {
    let mut prod = Prod::new();
    let v1 = prod.version(&[("DEMO_TEXT", "v1")]);
    // Never healthy, and given long to become so.
    let hangs = prod.version(&[("DEMO_TEXT", "hangs"), ("DEMO_FAIL_HEALTH", "1")]);
    let v2 = prod.version(&[("DEMO_TEXT", "v2")]);
    prod.sandbox.start();
    let sandbox = &prod.sandbox;
    ends(&prod.deploy(&v1), 0, &[]);
    let begun = sandbox.json(&["deploy", "prod", "--commit", &hangs, "--detach"]);
    let older = begun["execution"].as_str().unwrap().to_owned();
    ends(&sandbox.run(&["wait", "prod", "--timeout", "1"]), 8, &["goes on", &older]);
    let waits = sandbox.command(&["wait", &older]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let newer = prod.deploy(&v2);
    ends(&newer, 0, &[&older, "made way"]);
    ends(&waits.wait_with_output().unwrap(), 5, &["a newer request took over"]);
    prod.answers("v2");
    ends(&sandbox.run(&["wait", "prod"]), 0, &[]);
    ends(&sandbox.run(&["wait", &older]), 5, &[]);
    // One that follows a deployment which was cut short goes back to what served, not to what was half done.
    let begun = sandbox.json(&["deploy", "prod", "--commit", &hangs, "--detach"]);
    let hanging = begun["execution"].as_str().unwrap().to_owned();
    sandbox.eventually("it is under way", || {
        let view = sandbox.json(&["executions", "show", &hanging]);
        let step = view["view"]["steps"].as_array().unwrap().iter().find(|step| step["id"] == "service.web").cloned();
        if step.as_ref().is_some_and(|step| step["status"] == "pending") { Ok(()) } else { Err(format!("{step:?}")) }
    });
    let broken = prod.version(&[("DEMO_EXIT", "3")]);
    ends(&prod.deploy(&broken), 3, &["exit code 3"]);
    prod.answers("v2");
    assert_eq!(prod.sandbox.stop().code(), Some(0));
}

#[test]
fn sigkill_in_the_middle_of_a_deployment() {
    for place in
        ["task_definition.register:after", "service.deploy:before", "service.deploy:after", "targets.healthy:before"]
    {
        let mut prod = Prod::new();
        let v1 = prod.version(&[("DEMO_TEXT", "v1")]);
        ends(&prod.deploy(&v1), 0, &[]);
        let v2 = prod.version(&[("DEMO_TEXT", "v2")]);
        let kill = |prod: &mut Prod, commit: &str| {
            let held = prod.sandbox.state.join("held");
            let _ = std::fs::remove_file(&held);
            let mut command = prod.sandbox.command(&["deploy", "prod", "--commit", commit]);
            command.env("LANDFALL_TEST_HOLD", place).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            prod.sandbox.eventually(place, || match child.try_wait().unwrap() {
                Some(status) => panic!("{place}: ended before, with {status}"),
                None if held.exists() => Ok(()),
                None => Err("not there yet".to_owned()),
            });
            child.kill().unwrap();
            child.wait().unwrap();
        };
        kill(&mut prod, &v2);
        // Taken up where it was.
        ends(&prod.sandbox.run(&["wait", "prod"]), 0, &[]);
        prod.answers("v2");
        // And superseded by the next one.
        kill(&mut prod, &v1);
        let v3 = prod.version(&[("DEMO_TEXT", "v3")]);
        ends(&prod.deploy(&v3), 0, &["made way"]);
        prod.answers("v3");
        let status = prod.status();
        assert_eq!(status["services"][0]["found"]["running"], 1, "{place}: {status}");
    }
}

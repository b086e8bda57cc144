//! What operators do, with the real binary and real containers: previews by port, executions that wait for a person, repair,
//! approval of forks, an engine that dies, `up` and `demo`. Judged from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use common::running::Running;
use common::{Sandbox, ends, engine, eventually, github, http, text};
use serde_json::{Value, json};

const HOST: &str = "test123.my-project.localhost";
const BRANCH: &str = "feature/test123";
const LIMIT: Duration = Duration::from_secs(180);

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn listens(port: u16) -> bool {
    TcpStream::connect_timeout(&loopback(port), Duration::from_secs(2)).is_ok()
}

impl Sandbox {
    fn edit_manifest(&self, from: &str, to: &str) {
        let before = std::fs::read_to_string(&self.manifest).unwrap();
        assert!(before.contains(from), "{before}");
        std::fs::write(&self.manifest, before.replace(from, to)).unwrap();
    }

    fn create(&self, branch: &str) -> Output {
        self.run(&["preview", "create", branch, "--timeout", "240"])
    }

    fn record(&self, preview: &str) -> Value {
        self.json(&["preview", "show", preview])["record"].clone()
    }

    fn wait_phase(&self, preview: &str, phase: &str) {
        self.eventually(&format!("{preview} is {phase}"), || {
            let record = self.record(preview);
            if record["phase"] == phase { Ok(()) } else { Err(record.to_string()) }
        });
    }

    /// One request to the engine that this installation uses, past Landfall.
    fn engine(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let socket = engine::socket(&self.state).expect("no engine answers");
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("Content-Type", "application/json")];
        let answer = http::exchange(stream, method, path, "engine", &headers, body.as_bytes()).unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
    }

    /// Names of the containers and networks, and ids of the images, that carry `label` with a value that `wanted` takes.
    fn labelled(&self, label: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        // Podman's own first: over Docker's API one container that is half removed fails them all.
        for (own, path) in [
            ("/v4.0.0/libpod/containers/json?all=true", "/containers/json?all=true"),
            ("/v4.0.0/libpod/networks/json", "/networks"),
            ("/images/json?all=true", "/images/json?all=true"),
        ] {
            let listed = self.eventually(path, || {
                let tries = [own, path].map(|path| self.engine("GET", path, &Value::Null));
                let failed = format!("{tries:?}");
                let listed = tries.into_iter().find_map(|(status, body)| (status == 200).then_some(body));
                listed.and_then(|body| body.as_array().cloned()).ok_or(failed)
            });
            for item in listed {
                let labels = [&item["Labels"], &item["labels"]].into_iter().find(|labels| labels.is_object());
                if labels.and_then(|labels| labels[label].as_str()).is_some_and(&wanted) {
                    let name = [&item["Names"][0], &item["Name"], &item["name"], &item["Id"]];
                    let name = name.into_iter().find_map(Value::as_str).unwrap_or_default();
                    found.push(format!("{path}: {name}"));
                }
            }
        }
        found
    }
}

/// An engine to look with after the one that was used is gone; it runs nothing.
fn outside() -> Sandbox {
    let outside = Sandbox::new();
    outside.two_container_manifest(&[], "");
    assert_eq!(outside.json(&["preview", "list"]), json!([]));
    outside
}

/// Three ports in a row, the first one held.
fn range() -> (TcpListener, [u16; 3]) {
    let ports = landfall_testkit::ports::row();
    (TcpListener::bind(loopback(ports[0])).unwrap(), ports)
}

#[test]
fn previews_by_port_take_what_is_free_and_give_it_back() {
    let mut sandbox = Sandbox::new();
    let (held, ports) = range();
    sandbox.two_container_manifest(&[("DEMO_TEXT", "by port")], "");
    let host = format!("{{ host: {{ domain: my-project.localhost, port: {} }} }}", sandbox.router.port());
    let range = format!("{}-{}", ports[0], ports[2]);
    sandbox.edit_manifest(&host, &format!("{{ ports: {{ range: \"{range}\" }} }}"));
    sandbox.start();

    let port_of = |branch: &str| {
        let created = sandbox.create(branch);
        ends(&created, 0, &[]);
        let port = u16::try_from(sandbox.record(branch)["port"].as_u64().unwrap()).unwrap();
        assert_eq!(text(&created.stdout).trim(), format!("http://127.0.0.1:{port}/"));
        let answer = http::get(loopback(port), "/", None).unwrap();
        assert_eq!((answer.status, answer.body.trim()), (200, "by port"));
        port
    };
    let (first, second) = (port_of("feature/one"), port_of("feature/two"));
    let mut taken = [first, second];
    taken.sort_unstable();
    assert_eq!(taken, ports[1..], "the first of the range is held by somebody else");

    let third = sandbox.create("feature/three");
    ends(&third, 1, &[&range, "2 held by other previews, 1 by something else"]);
    let record = sandbox.record("feature/three");
    assert_eq!(record["phase"], "failed", "{record}");
    assert!(record["port"].is_null() && record["message"].as_str().unwrap().contains(&range), "{record}");
    assert_eq!(http::get(loopback(first), "/", None).unwrap().status, 200, "the others are none the worse for it");

    ends(&sandbox.run(&["preview", "destroy", "feature/one", "--timeout", "240"]), 0, &[]);
    assert!(!listens(first));
    assert_eq!(sandbox.record("feature/three")["phase"], "failed", "nothing is tried again unasked");
    assert_eq!(port_of("feature/three"), first);

    for branch in ["feature/two", "feature/three"] {
        ends(&sandbox.run(&["preview", "destroy", branch, "--timeout", "240"]), 0, &[]);
    }
    drop(held);
    for port in ports {
        assert!(!listens(port), "something listens on {port}");
    }
    assert_eq!(sandbox.resources(), [""; 0]);
}

#[test]
fn a_paused_execution_is_aborted_retried_and_skipped() {
    let mut sandbox = Sandbox::new();
    let gate = sandbox.directory.path().join("gate");
    let hooks = format!(
        "  hooks:\n    announce: {{ when: before_create, on_failure: warn, run: {{ command: [sh, -c, 'echo nobody home; exit 9'] }} }}\n    \
         gate: {{ when: before_create, on_failure: pause, run: {{ command: [test, -e, {}] }} }}\n",
        gate.display()
    );
    sandbox.two_container_manifest(&[("DEMO_TEXT", "past the gate")], &hooks);
    sandbox.start();
    let paused = |branch: &str| {
        let created = sandbox.create(branch);
        ends(&created, 7, &["retry, skip or abort"]);
        assert_eq!(sandbox.record(branch)["phase"], "paused");
        let unfinished = sandbox.json(&["executions", "list", "--unfinished"]);
        assert_eq!(unfinished.as_array().unwrap().len(), 1, "{unfinished}");
        let id = unfinished[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(sandbox.run(&["executions", "show", &id]).status.code(), Some(7));
        assert!(text(&created.stderr).contains(&id), "{created:?}");
        id
    };
    let none_unfinished = || assert_eq!(sandbox.json(&["executions", "list", "--unfinished"]), json!([]));
    let steps = |id: &str, kind: &str| -> Vec<String> {
        let shown = text(&sandbox.run(&["executions", "show", id, "--output", "json"]).stdout);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let steps = shown["view"]["steps"].as_array().unwrap().iter().filter(|step| step["kind"] == kind);
        steps.map(|step| step["status"].as_str().unwrap().to_owned()).collect()
    };

    let id = paused(BRANCH);
    ends(&sandbox.run(&["executions", "abort", &id]), 0, &[]);
    sandbox.eventually("the abort is done", || match sandbox.run(&["executions", "show", &id]).status.code() {
        Some(6) => Ok(()),
        code => Err(format!("{code:?}")),
    });
    sandbox.wait_phase(BRANCH, "failed");
    sandbox.wait_nothing_left(HOST);
    none_unfinished();
    ends(&sandbox.run(&["executions", "retry", &id]), 73, &["does not wait"]);

    let id = paused(BRANCH);
    // A retry that fails again waits again.
    ends(&sandbox.run(&["executions", "retry", &id]), 0, &[]);
    sandbox.eventually("paused again", || {
        let shown = sandbox.run(&["executions", "show", &id, "--output", "json"]);
        let view: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let attempts = view["view"]["steps"].as_array().unwrap().iter().map(|step| step["attempts"].as_u64().unwrap());
        match (shown.status.code(), attempts.max()) {
            (Some(7), Some(2)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    std::fs::write(&gate, "").unwrap();
    ends(&sandbox.run(&["executions", "retry", &id]), 0, &[]);
    sandbox.wait_phase(BRANCH, "ready");
    sandbox.wait_text(HOST, "past the gate");
    assert_eq!(steps(&id, "hook.run"), ["warned", "done"]);
    none_unfinished();

    std::fs::remove_file(&gate).unwrap();
    let other = "feature/skipped";
    let id = paused(other);
    assert_eq!(sandbox.record(BRANCH)["phase"], "ready");
    let step = sandbox.run(&["executions", "skip", &id, "no-such-step"]);
    assert_eq!(step.status.code(), Some(66), "{step:?}");
    ends(&sandbox.run(&["executions", "skip", &id]), 0, &[]);
    sandbox.wait_phase(other, "ready");
    sandbox.wait_text("skipped.my-project.localhost", "past the gate");
    assert_eq!(steps(&id, "hook.run"), ["warned", "skipped"]);
    none_unfinished();
}

/// A container and a network of the same name, made past Landfall with its labels. Dropped, they go.
struct Stranger<'a> {
    sandbox: &'a Sandbox,
    name: String,
    container: String,
}

impl<'a> Stranger<'a> {
    fn planted(sandbox: &'a Sandbox, image: &str, what: &str, instance: &str) -> Self {
        let labels = json!({ "landfall": "my-project-forgotten", "landfall.instance": instance });
        let name = format!("landfall-test-{what}-{instance}");
        // Docker may have no subnet left to give by itself.
        let subnet = format!("10.191.{}.0/24", std::process::id() % 100 * 2 + u32::from(what == "own"));
        let network = json!({ "Name": name, "Labels": labels, "IPAM": { "Config": [{ "Subnet": subnet }] } });
        let mut stranger = Self { sandbox, name, container: String::new() };
        let (status, made) = sandbox.engine("POST", "/networks/create", &network);
        assert_eq!(status, 201, "{made}");
        let container = json!({ "Image": image, "Cmd": ["demo-app", "web"], "Labels": labels });
        let path = format!("/containers/create?name={}", stranger.name);
        let (status, made) = sandbox.engine("POST", &path, &container);
        assert_eq!(status, 201, "{made}");
        stranger.container = made["Id"].as_str().unwrap().to_owned();
        stranger
    }
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        if engine::socket(&self.sandbox.state).is_none() {
            return;
        }
        for path in [format!("/containers/{}?force=true", self.name), format!("/networks/{}", self.name)] {
            self.sandbox.engine("DELETE", &path, &Value::Null);
        }
    }
}

#[test]
fn what_nobody_asked_for_is_watched_and_then_removed() {
    let mut sandbox = Sandbox::new();
    sandbox.two_container_manifest(&[("DEMO_TEXT", "mine")], "");
    let image = engine::base_image(&sandbox.state);
    sandbox.start();
    ends(&sandbox.create(BRANCH), 0, &[]);
    let before = sandbox.resources();
    assert_eq!(sandbox.json(&["gc"])["findings"], json!([]), "a preview that is up is nothing to repair");

    let instance = sandbox.instance();
    let own = Stranger::planted(&sandbox, &image, "own", &instance);
    let foreign = Stranger::planted(&sandbox, &image, "foreign", &format!("{instance}-other"));
    let started = sandbox.engine("POST", &format!("/containers/{}/start", own.container), &Value::Null);
    assert_eq!(started.0, 204, "a running one goes, too: {started:?}");

    let look = |args: &[&str]| -> Vec<String> {
        let report = sandbox.json(args);
        assert_eq!(report["incomplete"].as_array().unwrap().len(), 0, "{report}");
        let findings = report["findings"].as_array().unwrap().iter();
        let mut found: Vec<String> = findings
            .inspect(|finding| assert!(finding["error"].is_null(), "{finding}"))
            .map(|finding| format!("{} {}", finding["action"].as_str().unwrap(), finding["what"].as_str().unwrap()))
            .collect();
        found.sort_unstable();
        found
    };
    let name = &own.name;
    let told = |action: &str| vec![format!("{action} Container {name}"), format!("{action} Network {name}")];
    // To look changes nothing, however often.
    assert_eq!(look(&["gc", "--dry-run"]), told("watch"));
    assert_eq!(look(&["gc", "--dry-run"]), told("watch"));
    assert_eq!(look(&["gc"]), told("watch"));
    assert_eq!(look(&["gc", "--dry-run"]), told("delete"));
    let shown = sandbox.run(&["gc", "--dry-run"]);
    assert!(text(&shown.stdout).contains("no environment `my-project-forgotten` is known"), "{shown:?}");
    assert_eq!(sandbox.resources().len(), before.len() + 2);
    assert_eq!(look(&["gc"]), told("delete"));
    assert_eq!(look(&["gc"]), [""; 0]);
    assert_eq!(sandbox.resources(), before);
    sandbox.wait_text(HOST, "mine");

    // Another installation's are not ours to touch.
    for path in [format!("/containers/{}/json", foreign.container), format!("/networks/{}", foreign.name)] {
        assert_eq!(sandbox.engine("GET", &path, &Value::Null).0, 200, "{path}");
    }
}

fn fork(action: &str, commit: &str) -> Value {
    json!({
        "action": action, "number": 7,
        "pull_request": {
            "number": 7,
            "head": { "ref": "patch-1", "sha": commit, "repo": { "id": 99 } },
            "base": { "ref": "main", "sha": "a".repeat(40), "repo": { "id": 42 } },
        },
        "repository": github::create("main")["repository"], "sender": { "login": "stranger" },
    })
}

#[test]
fn a_fork_runs_only_at_the_commit_that_was_approved_and_every_delivery_is_accounted_for() {
    let mut sandbox = Sandbox::new();
    sandbox.two_container_manifest(&[("DEMO_TEXT", "from a fork")], "  pull_requests: true\n");
    sandbox.start();
    let (first, second) = ("c".repeat(40), "d".repeat(40));
    let id = "#7";
    let approve = |commit: &str| sandbox.run(&["preview", "approve", id, commit, "--timeout", "240"]);

    assert_eq!(sandbox.deliver_as("fork-1", "pull_request", &fork("opened", &first)), 202);
    sandbox.eventually("it waits for approval", || match sandbox.run(&["preview", "show", id]).status.code() {
        Some(0) => Ok(()),
        code => Err(format!("{code:?}")),
    });
    sandbox.wait_phase(id, "awaiting_approval");
    assert_eq!(sandbox.resources(), [""; 0]);
    assert_eq!(sandbox.json(&["executions", "list"]), json!([]));
    ends(&approve(&second), 73, &["is not the one that waits", &first]);
    assert_eq!(sandbox.record(id)["phase"], "awaiting_approval");

    let approved = approve(&first);
    ends(&approved, 0, &[]);
    let url = text(&approved.stdout);
    let host = url.trim().trim_start_matches("http://").split(':').next().unwrap().to_owned();
    sandbox.wait_text(&host, "from a fork");
    assert_eq!(sandbox.record(id)["commit"], first);
    let resources = sandbox.resources();

    // The next commit waits again, and the approval of the last one is worth nothing; what runs goes on.
    assert_eq!(sandbox.deliver_as("fork-2", "pull_request", &fork("synchronize", &second)), 202);
    sandbox.wait_phase(id, "awaiting_approval");
    ends(&approve(&first), 73, &["is not the one that waits", &second]);
    assert_eq!(sandbox.resources(), resources);
    sandbox.wait_text(&host, "from a fork");

    let pinned = |args: &[&str]| sandbox.json(args)["record"]["pinned"].as_bool().unwrap();
    assert!(!pinned(&["preview", "show", id]));
    assert!(pinned(&["preview", "pin", id]) && pinned(&["preview", "show", id]));
    assert!(!pinned(&["preview", "pin", "--off", id]) && !pinned(&["preview", "show", id]));

    assert_eq!(sandbox.deliver_as("unknown-event", "workflow_run", &json!({ "action": "completed" })), 202);
    assert_eq!(sandbox.deliver_as("other-branch", "create", &github::create("main")), 202);
    assert_eq!(sandbox.deliver_as("no-ref", "create", &json!({ "ref_type": "branch" })), 202);
    let broken = b"{\"ref\": ";
    let answer = sandbox.deliver_raw("no-json", "create", &github::sign(common::SECRET, broken), broken).unwrap();
    assert_eq!(answer.status, 400);
    let forged = sandbox.deliver_raw("forged", "create", &github::sign("guessed", b"{}"), b"{}").unwrap();
    assert_eq!(forged.status, 401);
    assert_eq!(sandbox.deliver_as("fork-3", "pull_request", &fork("closed", &second)), 202);
    sandbox.wait_nothing_left(&host);

    let listed = sandbox.json(&["deliveries", "--limit", "100"]);
    let outcome = |id: &str| {
        let found = listed.as_array().unwrap().iter().find(|delivery| delivery["id"] == id);
        found.map(|delivery| delivery["outcome"].clone()).unwrap_or_default()
    };
    for (id, word, says) in [
        ("fork-1", "applied", "preview my-project-pr-7-"),
        ("fork-2", "applied", "preview my-project-pr-7-"),
        ("fork-3", "applied", "destroy my-project-pr-7-"),
        ("unknown-event", "ignored", "workflow_run"),
        ("other-branch", "ignored", "matches none of"),
        ("no-ref", "rejected", "`ref` is missing"),
        ("no-json", "rejected", "JSON"),
    ] {
        let outcome = outcome(id);
        let told = outcome[word].as_object().and_then(|inner| inner.values().next()).and_then(Value::as_str);
        assert!(told.is_some_and(|told| told.contains(says)), "{id} is {outcome}, not {word}: {says}");
    }
    assert!(outcome("forged").is_null(), "what is not signed is not kept: {listed}");
    let shown = text(&sandbox.run(&["deliveries"]).stdout);
    assert!(shown.contains("ignored: event workflow_run") && shown.contains("rejected: "), "{shown}");
}

/// The pid of the engine's service that Landfall started for this state directory.
fn own_service(state: &Path) -> Option<u32> {
    let record = std::fs::read(state.join("engine/service.json")).ok()?;
    let record: Value = serde_json::from_slice(&record).ok()?;
    record["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}

#[test]
fn an_engine_that_dies_is_started_again_and_the_preview_comes_up() {
    let mut sandbox = Sandbox::new();
    // Long, beside what a busy engine takes to list its containers.
    sandbox.two_container_manifest(&[("DEMO_TEXT", "after all"), ("DEMO_START_DELAY_MS", "6000")], "");
    let manifest = std::fs::read_to_string(&sandbox.manifest).unwrap();
    let patient = manifest.replace("          interval: 5s\n", "          interval: 5s\n          start_period: 30s\n");
    assert_ne!(patient, manifest);
    std::fs::write(&sandbox.manifest, patient).unwrap();
    sandbox.start();
    let Some(first) = own_service(&sandbox.state) else {
        eprintln!("the engine here was not started by Landfall: nothing to kill");
        return;
    };
    let kill = |sandbox: &Sandbox, pid: u32| {
        common::signal(pid, "KILL");
        pid_gone(pid);
        assert!(sandbox.pid() != pid);
    };
    let again = |sandbox: &Sandbox, before: u32| {
        sandbox.eventually("the engine is started again", || {
            let pid = own_service(&sandbox.state).filter(|pid| *pid != before).ok_or("not yet")?;
            engine::socket(&sandbox.state).map(|_| pid).ok_or_else(|| "it does not answer".to_owned())
        })
    };

    assert_eq!(sandbox.deliver("create", &github::create(BRANCH)), 202);
    sandbox.eventually("something is made", || match sandbox.resources().iter().any(|r| r.starts_with("container ")) {
        true => Ok(()),
        false => Err("no container yet".to_owned()),
    });
    assert_ne!(sandbox.record(BRANCH)["phase"], "ready", "it was to be killed in the middle");
    kill(&sandbox, first);
    let second = again(&sandbox, first);
    sandbox.wait_text(HOST, "after all");
    sandbox.wait_phase(BRANCH, "ready");
    let resources = sandbox.resources();
    assert_eq!(resources.iter().filter(|name| name.starts_with("container ")).count(), 3, "{resources:?}");

    // Containers live without it, and a destroy finds a new one.
    kill(&sandbox, second);
    assert_eq!(sandbox.get(HOST, "/").unwrap().status, 200);
    assert_eq!(sandbox.deliver("delete", &github::delete(BRANCH)), 202);
    again(&sandbox, second);
    sandbox.wait_nothing_left(HOST);
    sandbox.wait_phase("my-project-test123", "destroyed");
}

fn pid_gone(pid: u32) {
    let stat = format!("/proc/{pid}/stat");
    eventually("the process is gone", Duration::from_secs(10), || match std::fs::read_to_string(&stat) {
        Ok(stat) if !stat.contains(") Z ") => Err(stat),
        _ => Ok(()),
    });
}

/// Also of a container that deployments await from a registry, which nobody asks here.
#[test]
fn up_runs_the_working_tree_until_it_is_interrupted() {
    let outside = outside();
    let sandbox = Sandbox::new();
    let base = engine::base_image(&outside.state);
    let root = sandbox.directory.path();
    std::fs::write(root.join("Dockerfile"), format!("FROM {base}\nENV DEMO_TEXT=\"from the working tree\"\n")).unwrap();
    let project = format!("up-test-{}", std::process::id());
    let manifest = format!(
        "project: {project}\nservices:\n  web:\n    launch_type: local\n    containers:\n      app:\n        await: {{ image: \"127.0.0.1:9/nobody:{{commit}}\", build: {{}} }}\n        \
         command: [demo-app, web]\n        ports: [8080]\n        stop_timeout: 2s\n        \
         environment: {{ DEMO_LISTEN: \"0.0.0.0:8080\" }}\n    load_balancer:\n      \
         health_check: {{ path: /health, interval: 1s, timeout: 900ms, unhealthy_threshold: 5 }}\n"
    );
    std::fs::write(&sandbox.manifest, manifest).unwrap();
    let port = landfall_testkit::ports::port();
    let log = root.join("up.log");
    let mut up = Running::start(sandbox.command(&["up", "--port", &port.to_string()]), &log);
    eventually("the URL answers", LIMIT, || match http::get(loopback(port), "/", None) {
        Ok(answer) if answer.status == 200 && answer.body.trim() == "from the working tree" => Ok(()),
        _ if up.ended().is_some() => panic!("it ended:\n{}", up.output()),
        other => Err(format!("{other:?}\n{}", up.output())),
    });
    eventually("the URL is printed, and logs", LIMIT, || {
        let output = up.output();
        let told = output.contains(&format!("http://127.0.0.1:{port}/")) && output.contains("web listens on");
        if told { Ok(()) } else { Err(output) }
    });
    let owned = || outside.labelled("landfall", |environment| environment == format!("{project}-web"));
    assert!(owned().len() >= 3, "{:?}", owned());
    let second = sandbox.run(&["up"]);
    ends(&second, 75, &["another `landfall up`"]);

    up.signal("INT");
    let status = up.wait(LIMIT);
    assert_eq!(status.code(), Some(0), "{}", up.output());
    assert_eq!(owned(), [""; 0]);
    assert!(!listens(port));
    let own = sandbox.state.join("up");
    assert_eq!(common::processes_of(&own), [0; 0], "the load balancer and the engine's service end with it");
}

#[test]
fn the_demonstration_succeeds_and_leaves_nothing() {
    let outside = outside();
    // Another installation of this machine has a preview of the demonstration's name: not to be waited for nor touched.
    let other = format!("demo-test-{}", std::process::id());
    std::fs::write(outside.state.join("instance"), &other).unwrap();
    let planted = json!({
        "Image": engine::base_image(&outside.state),
        "Labels": { "landfall": "my-project-test123", "landfall.instance": other },
    });
    for _ in 0..6 {
        assert_eq!(outside.engine("POST", "/containers/create", &planted).0, 201);
    }
    let others = || outside.resources().into_iter().collect::<std::collections::BTreeSet<_>>();
    let before = others();
    assert_eq!(before.len(), 6, "{before:?}");

    let temporary = outside.directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = outside.command(&["demo", "--timeout", "50"]);
    command.env("TMPDIR", &temporary);
    let mut demo = Running::start(command, &outside.directory.path().join("demo.log"));
    // Its label, as long as it can be read.
    let instance = eventually("the demonstration's server has an id", LIMIT, || {
        let made = std::fs::read_dir(&temporary).unwrap().filter_map(Result::ok);
        let read = made.filter_map(|entry| std::fs::read_to_string(entry.path().join("state/instance")).ok());
        match read.map(|id| id.trim().to_owned()).find(|id| !id.is_empty()) {
            Some(id) => Ok(id),
            None if demo.ended().is_some() => panic!("it ended:\n{}", demo.output()),
            None => Err(demo.output()),
        }
    });
    let status = demo.wait(Duration::from_secs(600));
    let output = demo.output();
    assert_eq!(status.code(), Some(0), "{output}");
    for told in [
        "my-project-test123-tg",
        "my-project-test123-service",
        "hello from feature/test123",
        "hello again, updated",
        "The branch came up behind a URL, changed without a failed request, and is gone without a trace.",
    ] {
        assert!(output.contains(told), "no {told:?} in {output}");
    }
    assert_eq!(outside.labelled("landfall.instance", |label| label == instance), [""; 0]);
    assert_eq!(others(), before);
    assert_eq!(common::processes_of(&temporary), [0; 0], "{output}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "its directory is gone");
}

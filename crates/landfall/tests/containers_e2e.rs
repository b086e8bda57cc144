//! The real binary with real containers: what GitHub and a browser would see, judged from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Sandbox, eventually, github, http};

const HOST: &str = "test123.my-project.localhost";
const BRANCH: &str = "feature/test123";

#[test]
fn a_branch_comes_up_behind_a_url_and_goes_without_a_trace() {
    let mut sandbox = Sandbox::new();
    sandbox.two_container_manifest(&[("DEMO_TEXT", "hello from a container")], "");
    sandbox.start();

    // Nobody gets in without the secret, and nothing comes of it.
    let body = github::create(BRANCH).to_string().into_bytes();
    let forged = sandbox.deliver_raw("forged-1", "create", &github::sign("another secret", &body), &body).unwrap();
    assert_eq!(forged.status, 401);
    let unsigned = http::request(
        sandbox.listen,
        "POST",
        "/webhooks/github",
        None,
        &[("Content-Type", "application/json"), ("X-GitHub-Event", "create"), ("X-GitHub-Delivery", "unsigned-1")],
        &body,
    );
    assert_eq!(unsigned.unwrap().status, 401);
    assert_eq!(sandbox.json(&["preview", "list"]).as_array().unwrap().len(), 0);

    let id = github::delivery_id();
    assert_eq!(sandbox.deliver_as(&id, "create", &github::create(BRANCH)), 202);
    // GitHub's "Redeliver": the same id changes nothing.
    assert_eq!(sandbox.deliver_as(&id, "create", &github::create(BRANCH)), 202);
    sandbox.wait_text(HOST, "hello from a container");
    let resources = sandbox.resources();
    assert_eq!(resources.iter().filter(|name| name.starts_with("container ")).count(), 3, "{resources:?}");
    let shown = sandbox.json(&["preview", "show", BRANCH]);
    assert_eq!(shown["record"]["id"], "my-project-test123");
    assert_eq!(shown["record"]["names"]["target_group"], "my-project-test123-tg");
    assert_eq!(shown["record"]["names"]["service"], "my-project-test123-service");
    assert_eq!(sandbox.json(&["executions", "list"]).as_array().unwrap().len(), 1, "one execution for one branch");

    // What came in on the way: forwarded headers, the proxy's view.
    let headers = sandbox.get(HOST, "/headers").unwrap().body;
    assert!(headers.contains("x-forwarded-for: 127.0.0.1"), "{headers}");
    assert!(sandbox.get("nobody.my-project.localhost", "/").is_ok_and(|answer| answer.status == 404));

    let logs = sandbox.run(&["preview", "logs", BRANCH]);
    assert!(String::from_utf8_lossy(&logs.stdout).contains("app | web listens on"), "{logs:?}");
    let mut follows = ["until it is gone", "until interrupted"].map(|what| {
        let path = sandbox.directory.path().join(what);
        let mut command = sandbox.command(&["preview", "logs", BRANCH, "--follow", "--tail", "1"]);
        command.stdout(std::fs::File::create(&path).unwrap()).stderr(Stdio::null());
        (command.spawn().unwrap(), path)
    });
    for (_, path) in &follows {
        eventually("lines are told", Duration::from_secs(120), || match std::fs::read_to_string(path).unwrap() {
            text if text.contains("app | ") && text.contains("proxy | ") => Ok(()),
            text => Err(text),
        });
    }
    let [(stays, _), (interrupted, _)] = &mut follows;
    common::signal(interrupted.id(), "INT");
    assert_eq!(interrupted.wait().unwrap().code(), Some(0));
    assert!(stays.try_wait().unwrap().is_none());
    // It answers before it counts as up: the load balancer has it, and its probe through that comes after.
    sandbox.eventually("it is up", || match &sandbox.json(&["preview", "show", BRANCH])["record"]["phase"] {
        phase if phase == "ready" => Ok(()),
        phase => Err(phase.to_string()),
    });
    let open = sandbox.run(&["preview", "open", "--print", BRANCH]);
    let url = format!("http://{HOST}:{}/\n", sandbox.router.port());
    assert_eq!((open.status.code(), common::text(&open.stdout)), (Some(0), url), "{}", common::text(&open.stderr));
    let unknown = sandbox.run(&["preview", "show", "feature/test124"]);
    assert_eq!(unknown.status.code(), Some(66));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean"), "{unknown:?}");

    // A backup of the running server can be put back elsewhere.
    let backup = sandbox.directory.path().join("backup.db");
    assert!(sandbox.run(&["backup", backup.to_str().unwrap()]).status.success());
    let other = sandbox.directory.path().join("other");
    let restored = sandbox.run(&["restore", backup.to_str().unwrap(), "--state", other.to_str().unwrap()]);
    assert!(restored.status.success(), "{restored:?}");
    // Also over a state that cannot be opened any more, which is kept.
    std::fs::write(other.join("landfall.db"), b"no database at all").unwrap();
    let again = sandbox.run(&[
        "restore",
        "--force",
        backup.to_str().unwrap(),
        "--state",
        other.to_str().unwrap(),
        "--output",
        "json",
    ]);
    assert!(again.status.success(), "{again:?}");
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    let kept = std::path::Path::new(again["kept"].as_str().unwrap()).join("landfall.db");
    assert_eq!(std::fs::read(kept).unwrap(), b"no database at all");

    assert_eq!(sandbox.deliver("delete", &github::delete(BRANCH)), 202);
    sandbox.wait_nothing_left(HOST);
    eventually("logs end with the preview", Duration::from_secs(120), || match stays.try_wait().unwrap() {
        Some(status) if status.success() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let execution = sandbox.json(&["executions", "list", "--limit", "1"])[0]["id"].as_str().unwrap().to_owned();
    eventually("the destruction is recorded", Duration::from_secs(120), || {
        let shown = sandbox.run(&["executions", "show", &execution]);
        if String::from_utf8_lossy(&shown.stdout).contains("succeeded") { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    assert!(sandbox.stop().success());
}

#[test]
fn the_load_balancer_serves_while_the_server_is_killed() {
    let mut sandbox = Sandbox::new();
    sandbox.two_container_manifest(&[("DEMO_TEXT", "still here")], "");
    sandbox.start();
    assert_eq!(sandbox.deliver("create", &github::create(BRANCH)), 202);
    sandbox.wait_text(HOST, "still here");
    let before = sandbox.resources();

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, asked, router) = (stop.clone(), asked.clone(), sandbox.router);
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    match http::get(router, "/", Some(HOST)) {
                        Ok(answer) if answer.status == 200 => {}
                        other => failures.push(format!("{other:?}")),
                    }
                }
                failures
            })
        })
        .collect();
    // One request that outlasts the kill, and one upgraded connection that is used on both sides of it.
    let router = sandbox.router;
    let long = std::thread::spawn(move || http::get(router, "/stream?chunks=30&ms=100", Some(HOST)));
    let mut socket = upgraded(router);
    echo(&mut socket, b"before");

    sandbox.kill();
    echo(&mut socket, b"while nobody serves");
    let so_far = asked.load(Ordering::Relaxed);
    eventually("requests go on without a server", Duration::from_secs(120), || {
        if asked.load(Ordering::Relaxed) > so_far + 100 { Ok(()) } else { Err("too few".to_owned()) }
    });
    sandbox.start();
    echo(&mut socket, b"after");
    let streamed = long.join().unwrap().unwrap();
    assert_eq!((streamed.status, streamed.body.lines().count()), (200, 30));
    stop.store(true, Ordering::Relaxed);
    let failures: Vec<String> = load.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert!(
        failures.is_empty(),
        "{} of {} failed: {:?}",
        failures.len(),
        asked.load(Ordering::Relaxed),
        failures.first()
    );
    // Adopted, not restarted.
    assert_eq!(sandbox.resources(), before);
    drop(socket);

    assert_eq!(sandbox.deliver("delete", &github::delete(BRANCH)), 202);
    sandbox.wait_nothing_left(HOST);
}

fn upgraded(router: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(router).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream
}

fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
}

#[test]
fn two_servers_on_one_state_directory_are_refused() {
    let mut sandbox = Sandbox::new();
    sandbox.two_container_manifest(&[], "");
    sandbox.start();
    let second = sandbox.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(75), "{second:?}");
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(text.contains(&sandbox.pid().to_string()), "names the holder: {text}");
    // The first one is none the worse for it.
    assert!(sandbox.json(&["status"])["running"].as_bool().unwrap());
    let port_taken = sandbox.run(&["serve", "--state", "elsewhere", "--listen", &sandbox.listen.to_string()]);
    assert_eq!(port_taken.status.code(), Some(73), "{port_taken:?}");
    assert!(sandbox.stop().success());
}

#[test]
fn a_container_that_exits_at_once_is_undone_and_says_why() {
    let mut sandbox = Sandbox::new();
    sandbox.two_container_manifest(&[("DEMO_EXIT", "3")], "");
    sandbox.start();
    let created = sandbox.run(&["preview", "create", BRANCH, "--timeout", "90"]);
    assert_eq!(created.status.code(), Some(3), "{created:?}\n{}", sandbox.log());
    let text = String::from_utf8_lossy(&created.stderr);
    assert!(text.contains("LF-SERVICE-DEPLOYMENT-FAILED") && text.contains("exiting with 3, as told"), "{text}");
    sandbox.wait_nothing_left(HOST);
    assert!(sandbox.stop().success());
}

#[test]
fn commands_work_without_a_server_and_leave_the_url_working() {
    let sandbox = Sandbox::new();
    sandbox.two_container_manifest(&[("DEMO_TEXT", "nobody serves")], "");
    let created = sandbox.run(&["preview", "create", BRANCH, "--timeout", "240"]);
    assert!(created.status.success(), "{created:?}");
    let url = String::from_utf8_lossy(&created.stdout).trim().to_owned();
    assert_eq!(url, format!("http://{HOST}:{}/", sandbox.router.port()));
    sandbox.wait_text(HOST, "nobody serves");
    assert_eq!(sandbox.json(&["status"])["running"], false);
    let listed = sandbox.json(&["preview", "list"]);
    assert_eq!(listed[0]["phase"], "ready");
    let destroyed = sandbox.run(&["preview", "destroy", BRANCH, "--timeout", "240"]);
    assert!(destroyed.status.success(), "{destroyed:?}");
    sandbox.wait_nothing_left(HOST);
}

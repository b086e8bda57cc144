//! Sleep and wake with real containers: what nobody uses runs none, whoever asks for it is answered, and no request fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Sandbox, github, http};

const HOST: &str = "test123.my-project.localhost";
const BRANCH: &str = "feature/test123";

fn containers(sandbox: &Sandbox) -> usize {
    sandbox.resources().iter().filter(|name| name.starts_with("container ")).count()
}

fn falls_asleep(sandbox: &Sandbox) {
    sandbox.eventually("it is asleep", || {
        let shown = sandbox.json(&["preview", "show", BRANCH]);
        let (phase, running) = (shown["record"]["phase"].clone(), containers(sandbox));
        if phase == "asleep" && running == 0 { Ok(()) } else { Err(format!("{phase}, {running} containers")) }
    });
}

fn runs(sandbox: &Sandbox, kind: &str) -> usize {
    let all = sandbox.json(&["executions", "list", "--limit", "100"]);
    all.as_array().unwrap().iter().filter(|execution| execution["kind"] == kind).count()
}

#[test]
fn what_nobody_uses_runs_no_container_and_the_first_request_wakes_it() {
    let mut sandbox = Sandbox::new();
    sandbox.two_container_manifest(&[("DEMO_TEXT", "good morning")], "  sleep: { after: 5s, hold: 2m }\n");
    sandbox.start();
    assert_eq!(sandbox.deliver("create", &github::create(BRANCH)), 202);
    sandbox.wait_text(HOST, "good morning");
    falls_asleep(&sandbox);

    // Many at once, from a process that knows nothing of sleep.
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let router = sandbox.router;
            std::thread::spawn(move || http::get(router, "/", Some(HOST)))
        })
        .collect();
    for asked in asking {
        let answer = asked.join().unwrap().unwrap();
        assert!(answer.status == 200 && answer.body.contains("good morning"), "{answer:?}");
    }
    assert_eq!(runs(&sandbox, "preview.wake"), 1, "many requests wake it once");

    // Asleep again, and the server is killed: whoever asks waits until it is back.
    falls_asleep(&sandbox);
    sandbox.kill();
    let router = sandbox.router;
    let patient = std::thread::spawn(move || http::get(router, "/", Some(HOST)));
    sandbox.spawn();
    sandbox.wait_up();
    let answer = patient.join().unwrap().unwrap();
    assert!(answer.status == 200 && answer.body.contains("good morning"), "{answer:?}");

    falls_asleep(&sandbox);
    assert_eq!(sandbox.deliver("delete", &github::delete(BRANCH)), 202);
    sandbox.wait_nothing_left(HOST);
    assert!(sandbox.stop().success());
}

fn is_ready(sandbox: &Sandbox) {
    sandbox.eventually("it is ready", || {
        let shown = sandbox.json(&["preview", "show", BRANCH]);
        if shown["record"]["phase"] == "ready" { Ok(()) } else { Err(shown["record"].to_string()) }
    });
}

#[test]
fn no_request_fails_while_people_put_it_to_sleep_and_wake_it() {
    let mut sandbox = Sandbox::new();
    let token = sandbox.directory.path().join("slack-token");
    std::fs::write(&token, "gIkuvaNzQIHg97ATvDxqgjtO\n").unwrap();
    let chat =
        format!("chatops: {{ slack: {{ outgoing_token: {{ file: {} }}, channels: [C0123ABCD] }} }}\n", token.display());
    sandbox.two_container_manifest(&[("DEMO_TEXT", "still here")], &chat);
    sandbox.start();
    assert_eq!(sandbox.deliver("create", &github::create(BRANCH)), 202);
    sandbox.wait_text(HOST, "still here");
    // It answers a little before that is written down, and sleep is refused to what has not come up.
    is_ready(&sandbox);

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (stop, asked, router) = (stop.clone(), asked.clone(), sandbox.router);
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match http::get(router, "/", Some(HOST)) {
                        Ok(answer) if answer.status == 200 => asked.fetch_add(1, Ordering::Relaxed),
                        other => {
                            failures.push(format!("{other:?}"));
                            0
                        }
                    };
                }
                failures
            })
        })
        .collect();
    for _ in 0..2 {
        let before = asked.load(Ordering::Relaxed);
        sandbox.eventually("it is asked for", || {
            let now = asked.load(Ordering::Relaxed);
            if now > before + 20 { Ok(()) } else { Err(format!("{now}")) }
        });
        // In the middle of it a request comes, and it is woken: whichever of the two it ends as, it says so.
        let slept = sandbox.run(&["preview", "sleep", BRANCH]);
        assert!(slept.status.success(), "{slept:?}");
    }
    is_ready(&sandbox);
    stop.store(true, Ordering::Relaxed);
    let failures: Vec<String> = load.into_iter().flat_map(|one| one.join().unwrap()).collect();
    assert!(failures.is_empty(), "{} of {}: {failures:#?}", failures.len(), asked.load(Ordering::Relaxed));

    // With nobody there who asks for it, it stays asleep.
    assert!(sandbox.run(&["preview", "sleep", BRANCH]).status.success());
    falls_asleep(&sandbox);
    // Woken out of the chat, and by nobody who has not its token.
    let say = |token: &str| {
        let body = format!(
            "token={token}&team_id=T1&channel_id=C0123ABCD&user_name=steve&timestamp=1.1&text=wake+feature%2Ftest123"
        );
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        http::request(sandbox.listen, "POST", "/webhooks/slack/outgoing", None, &form, body.as_bytes()).unwrap()
    };
    assert_eq!(say("guessed").status, 401);
    let answer = say("gIkuvaNzQIHg97ATvDxqgjtO");
    assert!(answer.status == 200 && answer.body.contains("Going to wake my-project env"), "{answer:?}");
    assert!(sandbox.get(HOST, "/").unwrap().body.contains("still here"));
    let deliveries = sandbox.json(&["deliveries"]).to_string();
    assert!(deliveries.contains("slack:") && !deliveries.contains("gIkuva"), "{deliveries}");
    assert_eq!(sandbox.deliver("delete", &github::delete(BRANCH)), 202);
    sandbox.wait_nothing_left(HOST);
    assert!(sandbox.stop().success());
}

//! Requests for what sleeps: held, told of once, released when it answers, and answered clearly when it does not.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use landfall_router::api::{Hold, WaitUntil};

use crate::support::*;

const NO_WAIT: Duration = Duration::ZERO;

fn asleep(hold_ms: u64, waking: bool) -> BTreeMap<String, Hold> {
    BTreeMap::from([("env".to_owned(), Hold { hold_ms, waking })])
}

/// A target group that runs nothing, on a port of its own.
async fn nothing_runs() -> (Fixture, u16) {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    client.put_target_group(&group("tg", "env")).await.unwrap();
    let port = put_on_free_port(client, |port| port_route(port, "tg", "env")).await;
    (fixture, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_wait_for_one_waking_and_none_fails() {
    let (fixture, port) = nothing_runs().await;
    let client = fixture.client();
    assert!(client.hold(&asleep(20_000, false), NO_WAIT).await.unwrap().is_empty());
    let waiting = client.clone();
    let told = tokio::spawn(async move { waiting.hold(&asleep(20_000, false), PATIENCE).await });
    let requests: Vec<_> = (0..40).map(|_| tokio::spawn(get(port, "x", "/"))).collect();
    assert_eq!(told.await.unwrap().unwrap(), ["env"]);
    // It is told until somebody says that he is at it; then no more, whoever comes.
    assert_eq!(client.hold(&asleep(20_000, false), NO_WAIT).await.unwrap(), ["env"]);
    assert!(client.hold(&asleep(20_000, true), NO_WAIT).await.unwrap().is_empty());
    let late = tokio::spawn(get(port, "x", "/"));
    let mut websocket = Client::connect(port).await;
    websocket
        .send(
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
        )
        .await;
    let mut post = Client::connect(port).await;
    post.send("POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").await;
    assert!(client.hold(&asleep(20_000, true), Duration::from_millis(100)).await.unwrap().is_empty());
    let backend = Backend::start("b1").await;
    client.register_targets("tg", &[backend.addr]).await.unwrap();
    for request in requests.into_iter().chain([late]) {
        let answer = request.await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "b1"));
    }
    assert!(websocket.head().await.starts_with("HTTP/1.1 101"));
    assert_eq!(post.answer().await.body, "3", "a body waits with its request");
    let used = &client.activity().await.unwrap()["env"];
    assert_eq!((used.requests, used.active), (43, 1), "the upgraded connection is in use");
    assert!(used.last_request_at.is_some());
    drop(websocket);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_is_told_when_to_come_again() {
    let (fixture, port) = nothing_runs().await;
    let client = fixture.client();
    client.hold(&asleep(150, false), NO_WAIT).await.unwrap();
    let mut browser = Client::connect(port).await;
    browser.send("GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n").await;
    let answer = browser.answer().await;
    assert_eq!((answer.status, answer.header("retry-after").as_deref()), (503, Some("5")));
    assert_eq!(answer.header("x-landfall-error").as_deref(), Some("asleep"));
    assert!(answer.body.contains("http-equiv=\"refresh\"") && answer.body.contains("waking up"), "{}", answer.body);
    // Although the client has its answer, it was asked for.
    assert_eq!(client.hold(&asleep(150, false), NO_WAIT).await.unwrap(), ["env"]);
    // The same connection goes on.
    browser.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = browser.answer().await;
    assert!(answer.status == 503 && !answer.body.contains("<html"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_asleep_is_refused_at_once() {
    let (fixture, port) = nothing_runs().await;
    let client = fixture.client();
    assert_eq!(get(port, "x", "/").await.header("x-landfall-error").as_deref(), Some("no_targets"));
    let other = BTreeMap::from([("other".to_owned(), Hold { hold_ms: 20_000, waking: false })]);
    client.hold(&other, NO_WAIT).await.unwrap();
    assert_eq!(get(port, "x", "/").await.header("x-landfall-error").as_deref(), Some("no_targets"));
    // Who is held when it is no longer said to be asleep, because it is destroyed, is let go.
    client.hold(&asleep(20_000, false), NO_WAIT).await.unwrap();
    let held = tokio::spawn(get(port, "x", "/"));
    assert_eq!(client.hold(&asleep(20_000, false), PATIENCE).await.unwrap(), ["env"]);
    client.hold(&BTreeMap::new(), NO_WAIT).await.unwrap();
    assert_eq!(held.await.unwrap().header("x-landfall-error").as_deref(), Some("no_targets"));
    assert!(client.hold(&asleep(20_000, false), NO_WAIT).await.unwrap().is_empty(), "nobody asks for it any more");
}

/// The set is told before the last target goes: whoever comes at any moment is answered by a target, the old or the new one.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_it_falls_asleep_and_wakes() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let (old, new) = (Backend::start("old").await, Backend::start("new").await);
    let port = serve_on_port(client, &group("tg", "env"), &[old.addr]).await;
    let asking: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let answer = get(port, "x", "/").await;
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    let done = answer.body == "new";
                    seen.push(answer.body);
                    if done {
                        return seen.len();
                    }
                }
            })
        })
        .collect();
    until("the old one is used", || old.requests.load(Ordering::SeqCst) > 20).await;
    client.hold(&asleep(20_000, false), NO_WAIT).await.unwrap();
    client.deregister_targets("tg", &[old.addr]).await.unwrap();
    client.wait_health("tg", WaitUntil::Drained, PATIENCE).await.unwrap();
    drop(old);
    assert_eq!(client.hold(&asleep(20_000, false), PATIENCE).await.unwrap(), ["env"]);
    client.register_targets("tg", &[new.addr]).await.unwrap();
    for asking in asking {
        assert!(asking.await.unwrap() > 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_says_so_and_who_leaves_makes_room() {
    const QUEUE: usize = 512;
    let (fixture, port) = nothing_runs().await;
    let client = fixture.client();
    client.hold(&asleep(20_000, false), NO_WAIT).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..QUEUE {
        let mut one = Client::connect(port).await;
        one.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        held.push(one);
    }
    // Not all of them need have arrived yet.
    let mut full = None;
    for _ in 0..2_000 {
        let mut more = Client::connect(port).await;
        more.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        match tokio::time::timeout(Duration::from_millis(50), more.answer()).await {
            Ok(answer) => {
                full = Some(answer);
                break;
            }
            Err(_) => held.push(more),
        }
    }
    let full = full.expect("there is an end to it");
    assert_eq!((full.status, full.header("x-landfall-error").as_deref()), (503, Some("asleep_queue_full")));
    assert_eq!(full.header("retry-after").as_deref(), Some("5"));
    drop(held);
    let backend = Backend::start("b1").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let late = loop {
        let late = tokio::spawn(get(port, "x", "/"));
        tokio::time::sleep(Duration::from_millis(20)).await;
        if !late.is_finished() {
            break late;
        }
        assert!(tokio::time::Instant::now() < deadline, "the places of those who left are free");
    };
    client.register_targets("tg", &[backend.addr]).await.unwrap();
    assert_eq!(late.await.unwrap().status, 200);
}

//! Changes while requests run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use landfall_router::api::{TargetState, WaitUntil};

use crate::support::*;

/// Clients that ask without pause until told to stop; every answer must be 200 with one of the expected bodies.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(port: u16, host: &str, expected: &[&str]) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..4)
            .map(|number| {
                let (stop, answered) = (stop.clone(), answered.clone());
                let host = host.to_owned();
                let expected: Vec<String> = expected.iter().map(|body| (*body).to_owned()).collect();
                tokio::spawn(async move {
                    let mut client = Client::connect(port).await;
                    while !stop.load(Ordering::SeqCst) {
                        // Half of the clients keep their connection, half open a new one each time.
                        if number % 2 == 0 {
                            client = Client::connect(port).await;
                        }
                        let answer = client.get(&host, "/").await;
                        assert!(answer.status == 200 && expected.contains(&answer.body), "{answer:?}");
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        Self { stop, answered, clients }
    }

    async fn progress(&self) {
        let seen = self.answered.load(Ordering::SeqCst);
        until("requests go on", || {
            self.answered.load(Ordering::SeqCst) > seen + 20 || self.clients.iter().any(|client| client.is_finished())
        })
        .await;
    }

    async fn finish(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.expect("no request failed");
        }
        self.answered.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_and_routes_change_under_load_without_a_failure() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = serve_on_port(client, &group("tg", "env"), &[a.addr]).await;
    let load = Load::start(port, "x", &["a", "b"]);
    let shared = put_on_free_port(client, |port| host_route("h.test", port, "tg", "env")).await;
    for round in 0..10 {
        let (new, old) = if round % 2 == 0 { (&b, &a) } else { (&a, &b) };
        client.register_targets("tg", &[new.addr]).await.unwrap();
        healthy(client, "tg", 2).await;
        load.progress().await;
        client.deregister_targets("tg", &[old.addr]).await.unwrap();
        for extra in 0..20 {
            client.put_route(&host_route(&format!("h{round}-{extra}.test"), shared, "tg", "env")).await.unwrap();
        }
        let report = client.wait_health("tg", WaitUntil::Healthy(1), PATIENCE).await.unwrap();
        assert_eq!(report.healthy(), 1);
        until_count(client, 1).await;
        let seen = old.requests.load(Ordering::SeqCst);
        load.progress().await;
        assert_eq!(old.requests.load(Ordering::SeqCst), seen, "a drained target gets no request");
    }
    assert!(load.finish().await > 100);
    assert_eq!(client.routes().await.unwrap().len(), 202);
}

async fn until_count(client: &landfall_router::client::RouterClient, count: usize) {
    loop {
        let report = client.target_health("tg").await.unwrap();
        if report.targets.len() == count {
            return;
        }
        client.wait_health("tg", WaitUntil::ChangedFrom(report.version), PATIENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_survives_deregistration() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let backend = Backend::start("a").await;
    let port = serve_on_port(client, &group("tg", "env"), &[backend.addr]).await;
    let mut slow = Client::connect(port).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut socket = Client::connect(port).await;
    socket.send("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    socket.head().await;
    backend.held(1).await;
    client.deregister_targets("tg", &[backend.addr]).await.unwrap();
    let report = client.target_health("tg").await.unwrap();
    assert_eq!(report.targets[0].state, TargetState::Draining);
    assert_eq!(report.targets[0].in_flight, 2);
    assert_eq!(get(port, "x", "/").await.status, 503);
    backend.release.add_permits(1);
    assert_eq!(slow.answer().await.body, "a");
    socket.send("still here").await;
    while !String::from_utf8_lossy(&socket.buffer).ends_with("still here") {
        use tokio::io::AsyncReadExt;
        assert!(socket.stream.read_buf(&mut socket.buffer).await.unwrap() > 0);
    }
    drop(socket);
    let report = client.wait_health("tg", WaitUntil::Drained, PATIENCE).await.unwrap();
    assert!(report.targets.is_empty(), "{report:?}");
    // The client's own connection outlives the target.
    let other = Backend::start("b").await;
    client.register_targets("tg", &[other.addr]).await.unwrap();
    healthy(client, "tg", 1).await;
    assert_eq!(slow.get("x", "/").await.body, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deregistration_delay_ends_what_hangs() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let backend = Backend::start("a").await;
    let mut spec = group("tg", "env");
    spec.deregistration_delay = 1;
    let port = serve_on_port(client, &spec, &[backend.addr]).await;
    let mut hanging = Client::connect(port).await;
    hanging.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut streaming = Client::connect(port).await;
    streaming.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await;
    streaming.head().await;
    let mut socket = Client::connect(port).await;
    socket.send("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    socket.head().await;
    backend.held(2).await;
    client.deregister_targets("tg", &[backend.addr]).await.unwrap();
    let answer = hanging.answer().await;
    assert_eq!((answer.status, answer.header("x-landfall-error").as_deref()), (502, Some("target_deregistered")));
    assert!(streaming.closed().await);
    assert!(socket.closed().await);
    let report = client.wait_health("tg", WaitUntil::Drained, PATIENCE).await.unwrap();
    assert!(report.targets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_moves_to_another_environment_takes_no_request_along() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let spare = Backend::start("a").await;
    let first = Backend::start("a").await;
    let addr: SocketAddr = first.addr;
    client.put_target_group(&group("tg-b", "b")).await.unwrap();
    let a_port = serve_on_port(client, &group("tg-a", "a"), &[first.addr, spare.addr]).await;
    let b_port = put_on_free_port(client, |port| port_route(port, "tg-b", "b")).await;
    let load = Load::start(a_port, "x", &["a"]);
    load.progress().await;
    client.deregister_targets("tg-a", &[addr]).await.unwrap();
    // Environment B's task gets the address that A's just left, while A is under load.
    drop(first);
    let second = loop {
        match tokio::net::TcpListener::bind(addr).await {
            Ok(listener) => {
                drop(listener);
                break Backend::on("b", addr).await;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    client.register_targets("tg-b", &[addr]).await.unwrap();
    healthy(client, "tg-b", 1).await;
    let b_load = Load::start(b_port, "x", &["b"]);
    load.progress().await;
    b_load.progress().await;
    load.progress().await;
    load.finish().await;
    let sent_to_b = b_load.finish().await;
    assert_eq!(second.requests.load(Ordering::SeqCst), sent_to_b, "every request at B's target came for B");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_target() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = serve_on_port(client, &group("tg", "env"), &[a.addr, b.addr]).await;
    let version = client.target_health("tg").await.unwrap().version;
    a.health.store(503, Ordering::SeqCst);
    let report = client.wait_health("tg", WaitUntil::ChangedFrom(version), PATIENCE).await.unwrap();
    assert_eq!(report.count(TargetState::Unhealthy), 1, "{report:?}");
    for _ in 0..4 {
        assert_eq!(get(port, "x", "/").await.body, "b");
    }
    a.health.store(200, Ordering::SeqCst);
    healthy(client, "tg", 2).await;
    // A wait for what does not come ends with its time.
    let report = client.wait_health("tg", WaitUntil::Healthy(3), Duration::from_millis(50)).await.unwrap();
    assert_eq!(report.healthy(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_is_counted_by_environment() {
    let fixture = Fixture::start().await;
    let backend = Backend::start("a").await;
    let port = serve_on_port(fixture.client(), &group("tg", "env"), &[backend.addr]).await;
    let before = landfall_model::Timestamp::now();
    for _ in 0..3 {
        get(port, "x", "/").await;
    }
    let activity = fixture.client().activity().await.unwrap();
    assert_eq!(activity["env"].requests, 3);
    let last = activity["env"].last_request_at.unwrap();
    assert!((last - before).get_seconds().abs() < 30, "{last} {before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_finishes_what_is_in_flight() {
    let fixture = Fixture::start().await;
    let backend = Backend::start("a").await;
    let port = serve_on_port(fixture.client(), &group("tg", "env"), &[backend.addr]).await;
    let mut slow = Client::connect(port).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    backend.held(1).await;
    let stop = tokio::spawn(fixture.router.stop());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "still accepting");
    }
    backend.release.add_permits(1);
    assert_eq!(slow.answer().await.body, "a");
    assert!(slow.closed().await);
    stop.await.unwrap().unwrap();
}

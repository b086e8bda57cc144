//! What happens to one request.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

async fn one() -> (Fixture, Backend, u16) {
    let (fixture, backend) = (Fixture::start().await, Backend::start("b1").await);
    let port = serve_on_port(fixture.client(), &group("tg", "env"), &[backend.addr]).await;
    (fixture, backend, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn forwards_with_host_kept_and_origin_told() {
    let (_fixture, _backend, port) = one().await;
    let mut client = Client::connect(port).await;
    client
        .send("GET /echo HTTP/1.1\r\nHost: Some.Host:99\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Forwarded-For: 1.2.3.4\r\nX-End: kept\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    let seen = |name| header(&answer.body, name);
    assert_eq!(seen("host").as_deref(), Some("Some.Host:99"));
    assert_eq!(seen("x-forwarded-for").as_deref(), Some("1.2.3.4, 127.0.0.1"));
    assert_eq!(seen("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(seen("x-forwarded-host").as_deref(), Some("Some.Host:99"));
    assert_eq!(seen("x-forwarded-port"), Some(port.to_string()));
    assert_eq!(seen("x-end").as_deref(), Some("kept"));
    assert_eq!((seen("x-hop"), seen("keep-alive")), (None, None));
    assert_eq!(answer.header("keep-alive"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_choose_environments_without_case_and_port() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    for (name, backend) in [("a", &a), ("b", &b)] {
        client.put_target_group(&group(name, name)).await.unwrap();
        client.register_targets(name, &[backend.addr]).await.unwrap();
        healthy(client, name, 1).await;
    }
    let port = put_on_free_port(client, |port| host_route("a.p.localhost", port, "a", "a")).await;
    client.put_route(&host_route("B.p.localhost", port, "b", "b")).await.unwrap();
    client.put_route(&host_route("*.wild.localhost", port, "b", "b")).await.unwrap();
    for (host, expected) in [
        ("a.p.localhost".to_owned(), "a"),
        (format!("A.P.LocalHost:{port}"), "a"),
        ("a.p.localhost.".to_owned(), "a"),
        ("b.p.localhost".to_owned(), "b"),
        ("x.y.wild.localhost".to_owned(), "b"),
    ] {
        assert_eq!(get(port, &host, "/").await.body, expected, "{host}");
    }
    let unknown = get(port, "c.p.localhost", "/").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.header("x-landfall-error").as_deref(), Some("unknown_host"));
    assert!(unknown.body.contains("NAME.p.localhost"), "{}", unknown.body);
    // One connection may speak to several hosts.
    let mut connection = Client::connect(port).await;
    for _ in 0..3 {
        assert_eq!(connection.get("a.p.localhost", "/").await.body, "a");
        assert_eq!(connection.get("b.p.localhost", "/").await.body, "b");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_in_both_directions() {
    let (_fixture, backend, port) = one().await;
    let mut client = Client::connect(port).await;
    client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
    // Each chunk arrives before the next one exists.
    for _ in 0..3 {
        backend.release.add_permits(1);
        while !String::from_utf8_lossy(&client.buffer).contains("chunk\r\n") {
            assert!(client.stream.read_buf(&mut client.buffer).await.unwrap() > 0);
        }
        client.buffer.clear();
    }
    let mut client = Client::connect(port).await;
    client.send("POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..100 {
        client.send(&format!("2710\r\n{}\r\n", "y".repeat(10_000))).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "1000000");
    let answer = client.get("x", "/big").await;
    assert_eq!(answer.body.len(), 4 << 20);
    // The connection to the target is used again after a body of each kind.
    assert_eq!(client.get("x", "/").await.body, "b1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_the_target_back() {
    let (fixture, backend) = (Fixture::start().await, tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let addr = backend.local_addr().unwrap();
    // Sends for as long as somebody reads, and counts.
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = sent.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = backend.accept().await.unwrap();
            let counter = counter.clone();
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                let head = read_head(&mut stream, &mut buffer).await.unwrap().unwrap();
                let head_only = head.contains("/health");
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await.unwrap();
                while !head_only && stream.write_all(&[b'z'; 65536]).await.is_ok() {
                    counter.fetch_add(65536, Ordering::SeqCst);
                }
            });
        }
    });
    let port = serve_on_port(fixture.client(), &group("tg", "env"), &[addr]).await;
    let mut client = Client::connect(port).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.head().await;
    // Buffers of sockets on the way fill up, then the target must stop: what it sent no longer grows.
    let mut last = usize::MAX;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let now = sent.load(Ordering::SeqCst);
        if now == last {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline && now < 200_000_000, "no backpressure: {now}");
        last = now;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert!(last > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass_bytes_both_ways() {
    let (_fixture, _backend, port) = one().await;
    let mut client = Client::connect(port).await;
    // The first bytes of the new protocol come along with the request, and with the answer.
    client
        .send("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly")
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(header(&head, "upgrade").as_deref(), Some("websocket"));
    assert_eq!(header(&head, "sec-websocket-accept").as_deref(), Some("x"));
    for message in ["", "ping", "pong"] {
        client.send(message).await;
    }
    while client.buffer.len() < "helloearlypingpong".len() {
        assert!(client.stream.read_buf(&mut client.buffer).await.unwrap() > 0);
    }
    assert_eq!(client.buffer, b"helloearlypingpong");
    client.stream.shutdown().await.unwrap();
    assert!(client.closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_expect_and_http_1_0() {
    let (_fixture, _backend, port) = one().await;
    let mut client = Client::connect(port).await;
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(header(&head, "content-length").as_deref(), Some("12345"));
    client.send("POST /count HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 100"));
    client.send("abc").await;
    assert_eq!(client.answer().await.body, "3");
    let mut old = Client::connect(port).await;
    old.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.answer().await.body, "b1");
    assert!(old.closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let (_fixture, _backend, port) = one().await;
    let mut client = Client::connect(port).await;
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab";
    client.send(&request.repeat(10)).await;
    for _ in 0..10 {
        assert_eq!(client.answer().await.body, "b1");
        assert_eq!(client.answer().await.body, "2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_why() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let mut spec = group("tg", "env");
    spec.idle_timeout = 1;
    let backend = Backend::start("b1").await;
    client.put_target_group(&spec).await.unwrap();
    let port = put_on_free_port(client, |port| port_route(port, "tg", "env")).await;
    let expect = async |path: &str, status: u16, code: &str, text: &str| {
        let answer = get(port, "x", path).await;
        assert_eq!((answer.status, answer.header("x-landfall-error").as_deref()), (status, Some(code)), "{answer:?}");
        assert!(answer.body.contains(text), "{answer:?}");
    };
    expect("/", 503, "no_targets", "has no targets").await;

    backend.health.store(500, Ordering::SeqCst);
    client.register_targets("tg", &[backend.addr]).await.unwrap();
    let reached = client.wait_health("tg", landfall_router::api::WaitUntil::Drained, std::time::Duration::ZERO).await;
    assert_eq!(reached.unwrap().targets.len(), 1);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let report = client.target_health("tg").await.unwrap();
        if report.count(landfall_router::api::TargetState::Unhealthy) == 1 {
            let reason = report.targets[0].reason.clone();
            assert_eq!(reason.as_deref(), Some("Health checks failed with these codes: [500]"));
            break;
        }
        assert!(tokio::time::Instant::now() < deadline);
    }
    expect("/", 503, "no_healthy_targets", "is unhealthy: Health checks failed with these codes: [500]").await;

    backend.health.store(200, Ordering::SeqCst);
    healthy(client, "tg", 1).await;
    assert_eq!(get(port, "x", "/").await.body, "b1");
    expect("/die", 502, "connection_lost", "gave no answer").await;
    expect("/garbage", 502, "connection_lost", "gave no answer").await;
    expect("/hang", 504, "idle_timeout", "did not answer within 1 s").await;

    let page = {
        let mut connection = Client::connect(port).await;
        connection.send("GET /die HTTP/1.1\r\nHost: x\r\nAccept: text/html,*/*\r\n\r\n").await;
        connection.answer().await
    };
    assert!(page.body.contains("<h1>502 Bad Gateway</h1>"), "{page:?}");
    let metrics = client.metrics().await.unwrap();
    let counts = &metrics.target_groups["tg"];
    assert_eq!((counts.router_502, counts.router_503, counts.router_504), (3, 2, 1), "{counts:?}");
    assert_eq!(counts.target_codes[1], 1);
    assert_eq!(metrics.codes[&504], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_target_is_tried_only_when_nothing_was_sent() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let mut spec = group("tg", "env");
    // Long enough that the dead target stays in rotation.
    spec.health_check.interval_ms = 60_000;
    let (alive, dead) = (Backend::start("alive").await, Backend::start("dead").await);
    let port = serve_on_port(client, &spec, &[alive.addr, dead.addr]).await;
    let dead_addr = dead.addr;
    drop(dead);
    until_refused(dead_addr).await;
    for _ in 0..6 {
        assert_eq!(get(port, "x", "/").await.body, "alive");
    }
    // A request that may have been read is not repeated.
    let before = alive.requests.load(Ordering::SeqCst);
    let mut connection = Client::connect(port).await;
    connection.send("POST /die HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab").await;
    assert_eq!(connection.answer().await.status, 502);
    assert_eq!(alive.requests.load(Ordering::SeqCst), before + 1);
    client.deregister_targets("tg", &[alive.addr]).await.unwrap();
    let refused = get(port, "x", "/").await;
    assert_eq!((refused.status, refused.header("x-landfall-error").as_deref()), (502, Some("connection_refused")));
}

async fn until_refused(addr: SocketAddr) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(addr).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_target_closes_cost_no_request() {
    let (_fixture, _backend, port) = one().await;
    // The target closes after each answer without saying so.
    let mut client = Client::connect(port).await;
    for _ in 0..200 {
        assert_eq!(client.get("x", "/once").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_lost_on_an_old_connection_is_repeated_whole_if_it_may_be() {
    let (fixture, backend, port) = one().await;
    const REQUEST: &str =
        "GET /first?a=b HTTP/1.1\r\nHost: X\r\nCookie: one\r\nCookie: two\r\nConnection: x\r\nX: y\r\n\r\n";
    for connection in 0..8 {
        let mut client = Client::connect(port).await;
        for _ in 0..3 {
            client.send(REQUEST).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 200, "connection {connection}: {}", answer.body);
            assert!(answer.body.starts_with("GET /first?a=b HTTP/1.1\r\n"), "{}", answer.body);
            let lines: Vec<&str> = answer.body.lines().collect();
            for line in ["host: X", "cookie: one", "cookie: two", "x-forwarded-for: 127.0.0.1", "x-forwarded-host: X"] {
                assert_eq!(lines.iter().filter(|one| **one == line).count(), 1, "{line} in {}", answer.body);
            }
            assert!(!lines.contains(&"x: y"), "{}", answer.body);
        }
    }
    assert!(backend.requests.load(Ordering::SeqCst) > 24, "no connection was used twice");
    let before = backend.requests.load(Ordering::SeqCst);
    let mut client = Client::connect(port).await;
    let mut lost = 0;
    for _ in 0..4 {
        client.send("POST /first?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        let answer = client.answer().await;
        lost += usize::from(answer.status == 502);
    }
    assert!(lost > 0);
    assert_eq!(backend.requests.load(Ordering::SeqCst), before + 4);
    drop(fixture);
}

#[tokio::test(flavor = "multi_thread")]
async fn least_outstanding_requests_avoids_the_busy_target() {
    let fixture = Fixture::start().await;
    let mut spec = group("tg", "env");
    spec.algorithm = landfall_model::app::BalancingAlgorithm::LeastOutstandingRequests;
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = serve_on_port(fixture.client(), &spec, &[a.addr, b.addr]).await;
    let mut held = Client::connect(port).await;
    held.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    until("one target holds the request", || a.holding.load(Ordering::SeqCst) + b.holding.load(Ordering::SeqCst) == 1)
        .await;
    let (busy, free) = if a.holding.load(Ordering::SeqCst) == 1 { (&a, "b") } else { (&b, "a") };
    for _ in 0..10 {
        assert_eq!(get(port, "x", "/").await.body, free);
    }
    busy.release.add_permits(1);
    assert_eq!(held.answer().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_takes_turns() {
    let fixture = Fixture::start().await;
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = serve_on_port(fixture.client(), &group("tg", "env"), &[a.addr, b.addr]).await;
    for _ in 0..10 {
        get(port, "x", "/").await;
    }
    assert_eq!((a.requests.load(Ordering::SeqCst), b.requests.load(Ordering::SeqCst)), (5, 5));
}

//! What a confused or hostile client may send: an answer or a closed connection, and the router goes on.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

async fn host_fixture() -> (Fixture, Backend, u16) {
    let (fixture, backend) = (Fixture::start().await, Backend::start("good").await);
    let client = fixture.client();
    client.put_target_group(&group("tg", "env")).await.unwrap();
    client.register_targets("tg", &[backend.addr]).await.unwrap();
    healthy(client, "tg", 1).await;
    let port = put_on_free_port(client, |port| host_route("good.test", port, "tg", "env")).await;
    (fixture, backend, port)
}

/// Everything the router answers until it closes or is silent for a while after we closed our side.
async fn raw(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut answer = Vec::new();
    // It may have closed already.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
    answer
}

async fn status(port: u16, request: &str) -> u16 {
    let mut client = Client::connect(port).await;
    client.send(request).await;
    client.answer().await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_are_refused() {
    let (_fixture, backend, port) = host_fixture().await;
    for (request, expected) in [
        ("POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: +5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: good.test\r\nHost: other.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: good.test/../x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : good.test\r\n\r\n", 400),
        ("CONNECT good.test:80 HTTP/1.1\r\nHost: good.test\r\n\r\n", 400),
        ("GET http://other.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n", 404),
        ("GET http://good.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n", 200),
    ] {
        assert_eq!(status(port, request).await, expected, "{request}");
    }
    // The second request of a pipeline is looked at like the first.
    let mut client = Client::connect(port).await;
    client
        .send("GET / HTTP/1.1\r\nHost: good.test\r\n\r\nPOST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 400);
    assert!(client.closed().await);
    assert_eq!(backend.requests.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded() {
    let (_fixture, _backend, port) = host_fixture().await;
    let long = format!("GET / HTTP/1.1\r\nHost: good.test\r\nX: {}\r\n\r\n", "a".repeat(200_000));
    let answer = raw(port, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    let many = format!("GET / HTTP/1.1\r\nHost: good.test\r\n{}\r\n", "X: y\r\n".repeat(500));
    assert!(!raw(port, many.as_bytes()).await.starts_with(b"HTTP/1.1 200"));
    assert_eq!(get(port, "good.test", "/").await.body, "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dripping_head_is_cut_off() {
    let (_fixture, _backend, port) = host_fixture().await;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let drip = tokio::spawn(async move {
        write.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        loop {
            if write.write_all(b"X: y\r\n").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let mut rest = Vec::new();
    // A reset counts as an end, too.
    let _ = tokio::time::timeout(PATIENCE, read.read_to_end(&mut rest)).await.expect("the router ends it");
    drip.abort();
    assert_eq!(get(port, "good.test", "/").await.body, "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_told_so() {
    let state = tempfile::tempdir().unwrap();
    let mut config = config(state.path());
    config.max_connections = 3;
    let router = landfall_router::LocalRouter::start(config).await.unwrap();
    let backend = Backend::start("a").await;
    let port = serve_on_port(router.client(), &group("tg", "env"), &[backend.addr]).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(port).await;
        assert_eq!(client.get("x", "/").await.status, 200);
        open.push(client);
    }
    let mut refused = Client::connect(port).await;
    let answer = refused.answer().await;
    assert_eq!(answer.header("x-landfall-error").as_deref(), Some("too_many_connections"));
    assert_eq!(open[0].get("x", "/").await.status, 200);
    assert_eq!(router.client().metrics().await.unwrap().connections_refused, 1);
    router.stop().await.unwrap();
}

#[test]
fn no_bytes_kill_the_router() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (_fixture, backend, port) = runtime.block_on(host_fixture());
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let piece = prop_oneof![
        Just("GET / HTTP/1.1\r\n".as_bytes().to_vec()),
        Just(b"Host: ".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Content-Length: 4\r\n".to_vec()),
        Just(b"Connection: upgrade\r\nUpgrade: x\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let bytes = proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    runner
        .run(&bytes, |bytes| {
            runtime.block_on(async {
                raw(port, &bytes).await;
                let answer = get(port, "good.test", "/").await;
                prop_assert_eq!(answer.body, "good");
                Ok(())
            })
        })
        .unwrap();
    // Hosts of every kind: only the known one is answered by the target.
    let hosts = proptest::collection::vec(any::<u8>(), 0..60);
    runner
        .run(&hosts, |host| {
            prop_assume!(!host.contains(&b'\n') && !host.to_ascii_lowercase().starts_with(b"good.test"));
            let before = backend.requests.load(std::sync::atomic::Ordering::SeqCst);
            let request = [b"GET / HTTP/1.1\r\nHost: ", host.as_slice(), b"\r\n\r\n"].concat();
            runtime.block_on(raw(port, &request));
            prop_assert_eq!(backend.requests.load(std::sync::atomic::Ordering::SeqCst), before);
            Ok(())
        })
        .unwrap();
}

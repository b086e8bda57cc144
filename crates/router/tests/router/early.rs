//! Targets that answer before they have read the request: what becomes of the connection, and of the next request.

use std::net::{Ipv4Addr, SocketAddr};

use landfall_router::LocalRouter;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

/// A router with one worker, so with one pool, and a target whose connections the test itself serves.
struct Stage {
    _router: LocalRouter,
    _state: tempfile::TempDir,
    _health: Backend,
    target: TcpListener,
    port: u16,
}

impl Stage {
    async fn set() -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut config = config(state.path());
        config.workers = 1;
        let router = LocalRouter::start(config).await.unwrap();
        let health = Backend::start("health").await;
        let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut spec = group("tg", "env");
        spec.health_check.port = Some(health.addr.port());
        let addr: SocketAddr = target.local_addr().unwrap();
        let port = serve_on_port(router.client(), &spec, &[addr]).await;
        Self { _router: router, _state: state, _health: health, target, port }
    }

    /// The target's side of the next connection, and the head that it reads there.
    async fn accept(&self) -> (TcpStream, Vec<u8>, String) {
        let (mut stream, _) = self.target.accept().await.unwrap();
        let mut buffer = Vec::new();
        let head = read_head(&mut stream, &mut buffer).await.unwrap().expect("a request");
        (stream, buffer, head)
    }

    /// Sends `GET /own` while `old` and every new connection are served: a request on `old` is dropped without an
    /// answer, one on a new connection is answered with its path. The heads that the target saw, and the answer.
    async fn get_own(&self, mut old: TcpStream, mut buffer: Vec<u8>) -> (Option<String>, Vec<String>, Answer) {
        let on_old = tokio::spawn(async move { read_head(&mut old, &mut buffer).await.unwrap() });
        let mut client = Client::connect(self.port).await;
        client.send("GET /own HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut on_new = Vec::new();
        let serve = async {
            loop {
                let (mut stream, _, head) = self.accept().await;
                let path = head.split(' ').nth(1).unwrap_or_default();
                let length = path.len();
                let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{path}");
                on_new.push(head.clone());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let answer = tokio::select! {
            answer = client.answer() => answer,
            () = serve => unreachable!(),
        };
        let on_old = tokio::time::timeout(PATIENCE, on_old).await.expect("the connection is closed or used").unwrap();
        (on_old, on_new, answer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_never_repeated_as_the_request_of_another_client() {
    const BODY: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    const REFUSAL: &[u8] = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";
    let stage = Stage::set().await;
    // The answer and the body arrive so close to each other that the router meets them in either order or at once.
    for round in 0..100 {
        let mut client = Client::connect(stage.port).await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", BODY.len())).await;
        let (mut stream, mut buffer, head) = stage.accept().await;
        if round % 2 == 0 {
            stream.write_all(REFUSAL).await.unwrap();
            client.send(BODY).await;
        } else {
            client.send(BODY).await;
            stream.write_all(REFUSAL).await.unwrap();
        }
        assert_eq!(client.answer().await.status, 413);
        let read = tokio::time::timeout(PATIENCE, read_body(&mut stream, &mut buffer, &head)).await.unwrap();
        if read.is_err() {
            // The answer was first: the rest of the body was not sent.
            continue;
        }
        let (on_old, on_new, answer) = stage.get_own(stream, buffer).await;
        for head in on_old.iter().chain(&on_new) {
            assert!(head.starts_with("GET /own HTTP/1.1\r\n"), "round {round}: {head}");
            assert!(head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "round {round}: {head}");
        }
        assert!(answer.status == 502 || answer.body == "/own", "round {round}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_answered_before_it_had_the_body_is_not_used_again() {
    let stage = Stage::set().await;
    let mut client = Client::connect(stage.port).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab").await;
    let (mut stream, mut buffer, head) = stage.accept().await;
    stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\n").await.unwrap();
    let refusal = client.head().await;
    assert!(refusal.starts_with("HTTP/1.1 413 "), "{refusal}");
    // Both messages are completed properly all the same.
    client.send("cd").await;
    assert_eq!(read_body(&mut stream, &mut buffer, &head).await.unwrap(), b"abcd");
    stream.write_all(b"late").await.unwrap();
    assert_eq!(read_body(&mut client.stream, &mut client.buffer, &refusal).await.unwrap(), b"late");
    let (on_old, on_new, answer) = stage.get_own(stream, buffer).await;
    assert_eq!((on_old, on_new.len(), answer.body.as_str()), (None, 1, "/own"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_read_the_whole_request_first_is_used_again() {
    let stage = Stage::set().await;
    for body in ["Content-Length: 4\r\n\r\nabcd", "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"] {
        let mut client = Client::connect(stage.port).await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: x\r\n{body}")).await;
        let (mut stream, mut buffer, head) = stage.accept().await;
        assert_eq!(read_body(&mut stream, &mut buffer, &head).await.unwrap(), b"abcd");
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        assert_eq!(client.answer().await.status, 413);
        // The target drops this one unanswered: it is repeated as itself on a new connection.
        let (on_old, on_new, answer) = stage.get_own(stream, buffer).await;
        assert_eq!((on_old.as_ref(), answer.body.as_str()), (on_new.first(), "/own"));
        assert_eq!(on_new.len(), 1, "{body}");
    }
}

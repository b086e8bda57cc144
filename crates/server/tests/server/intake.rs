//! The public listener: who is let in, what is kept, what is answered.

use landfall_ports::store::{DeliveryOutcome, Store};
use landfall_server::public::{self, ServeError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::rig::{Post, Rig, created, eventually};

#[tokio::test]
async fn a_signed_delivery_is_kept_and_decided_once() {
    let server = Rig::new().start().await;
    let body = created("feature/x");
    let (status, answer) = server.post(Post::new("create", "d-1", &body)).await;
    assert_eq!((status, answer), (202, json!({"delivery": "d-1", "status": "accepted"})));
    let DeliveryOutcome::Ignored { why } = server.outcome("d-1").await else { panic!("there are no previews") };
    assert!(why.contains("previews"), "{why}");
    let (status, answer) = server.post(Post::new("create", "d-1", &body)).await;
    assert_eq!((status, answer["status"].as_str()), (202, Some("duplicate")));
    assert_eq!(server.store.deliveries(10).await.unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn forms_other_events_and_pings_are_taken() {
    let server = Rig::new().start().await;
    let mut form = Post::new("ping", "form-1", &json!({}));
    form.content_type = "application/x-www-form-urlencoded".to_owned();
    form.body = b"payload=%7B%22zen%22%3A%22x+y%22%7D".to_vec();
    assert_eq!(server.post(form).await.0, 202);
    assert_eq!(server.post(Post::new("issue_comment", "other-1", &json!({"action": "created"}))).await.0, 202);
    assert!(matches!(server.outcome("form-1").await, DeliveryOutcome::Ignored { .. }));
    assert!(matches!(server.outcome("other-1").await, DeliveryOutcome::Ignored { .. }));
}

#[tokio::test]
async fn without_the_right_signature_nothing_is_kept() {
    let server = Rig::new().start().await;
    let body = created("feature/x");
    for signature in [None, Some("sha256=".to_owned() + &"0".repeat(64)), Some("sha1=abc".to_owned())] {
        let mut post = Post::new("create", "d-1", &body);
        post.signature = signature.map(Some);
        assert_eq!(server.post(post).await.0, 401);
    }
    // Right for another body.
    let mut post = Post::new("create", "d-1", &body);
    post.signature = Some(Some(landfall_github::webhook::sign(crate::rig::SECRET, b"{}")));
    assert_eq!(server.post(post).await.0, 401);
    // The other secret of a rotation is as good.
    let mut post = Post::new("create", "d-1", &body);
    post.signature = Some(Some(landfall_github::webhook::sign(b"the next one", &post.body)));
    assert_eq!(server.post(post).await.0, 202);
    assert_eq!(server.store.deliveries(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_signed_and_broken_is_kept_for_the_record() {
    let server = Rig::new().start().await;
    let mut truncated = Post::new("create", "cut-1", &created("feature/x"));
    truncated.body.truncate(20);
    assert_eq!(server.post(truncated).await.0, 400);
    let mut bytes = Post::new("create", "bytes-1", &json!({}));
    bytes.body = b"{\"ref\": \"\xff\xfe\"}".to_vec();
    let status = server.post(bytes).await.0;
    assert!(status == 400 || status == 202, "{status}");
    let mut typed = Post::new("create", "type-1", &json!({}));
    typed.content_type = "text/plain".to_owned();
    assert_eq!(server.post(typed).await.0, 400);
    for id in ["cut-1", "bytes-1", "type-1"] {
        assert!(matches!(server.outcome(id).await, DeliveryOutcome::Rejected { .. }), "{id}");
    }
    // None of them stands in the way of the next.
    assert_eq!(server.post(Post::new("ping", "after-1", &json!({}))).await.0, 202);
    server.outcome("after-1").await;
}

#[tokio::test]
async fn ids_and_events_are_asked_for_and_ours_cannot_be_taken() {
    let server = Rig::new().start().await;
    let mut without = Post::new("create", "x", &json!({}));
    without.delivery = None;
    assert_eq!(server.post(without).await.0, 400);
    assert_eq!(server.post(Post::new("create", "landfall:ttl", &json!({}))).await.0, 400);
    assert_eq!(server.post(Post::new("landfall", "d-1", &json!({}))).await.0, 400);
    assert_eq!(server.store.deliveries(10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn more_than_github_sends_is_refused_by_its_length() {
    let server = Rig::new().start().await;
    let mut post = Post::new("create", "big-1", &json!({}));
    post.body = vec![b' '; public::MAX_BODY + 1];
    post.signature = Some(Some("sha256=".to_owned() + &"0".repeat(64)));
    assert_eq!(server.post(post).await.0, 413);
    assert_eq!(server.store.deliveries(10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_listener_serves_webhooks_health_and_metrics_alone() {
    let server = Rig::new().start().await;
    assert_eq!(server.get("/healthz").await.0, 200);
    server.post(Post::new("ping", "p-1", &json!({}))).await;
    server.outcome("p-1").await;
    let (status, text) = server.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "landfall_webhook_requests_total{answer=\"accepted\"} 1",
        "landfall_deliveries_total{outcome=\"ignored\"} 1",
        "landfall_inbox_depth 0",
        "landfall_build_info",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    for path in ["/", "/control", "/webhooks", "/status"] {
        assert_eq!(server.get(path).await.0, 404, "{path}");
    }
    assert_eq!(server.get("/webhooks/github").await.0, 405);
}

#[tokio::test]
async fn without_a_secret_it_does_not_serve() {
    let service = Rig::new().service().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = public::serve(service, listener, vec![Vec::new()], None, CancellationToken::new()).await;
    assert!(matches!(served, Err(ServeError::NoSecret)));
}

#[tokio::test]
async fn what_was_answered_202_survives_a_crash_before_it_was_decided() {
    let rig = Rig::new();
    // Nobody works on the inbox: only the listener runs.
    let service = rig.service().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let serving = tokio::spawn(public::serve(service, listener, vec![crate::rig::SECRET.to_vec()], None, cancel));
    let body = created("feature/x").to_string();
    let signature = landfall_github::webhook::sign(crate::rig::SECRET, body.as_bytes());
    let request = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         x-github-event: create\r\nx-github-delivery: d-1\r\nx-hub-signature-256: {signature}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    serving.abort();
    assert_eq!(rig.mem.pending_deliveries(10).await.unwrap().len(), 1);
    let next = rig.start().await;
    next.outcome("d-1").await;
    assert_eq!(rig.mem.pending_deliveries(10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn while_nothing_can_be_stored_deliveries_are_refused_and_it_is_not_well() {
    let rig = Rig::new();
    let server = rig.start().await;
    rig.mem.refuse_writes(true);
    let body = created("feature/x");
    let (status, answer) = server.post(Post::new("create", "d-1", &body)).await;
    assert_eq!((status, answer["status"].as_str()), (503, Some("unavailable")), "{answer}");
    // Refused, and so not kept: GitHub shows it as failed, and it can be redelivered.
    assert_eq!(server.store.deliveries(10).await.unwrap().len(), 0);
    let (status, text) = server.get("/healthz").await;
    assert_eq!(status, 503);
    assert!(text.contains("store unavailable"), "{text}");
    // Reading works, so the metrics say how many were refused.
    let (status, text) = server.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("landfall_webhook_requests_total{answer=\"unavailable\"} 1"), "{text}");

    rig.mem.refuse_writes(false);
    let (status, answer) = server.post(Post::new("create", "d-1", &body)).await;
    assert_eq!((status, answer["status"].as_str()), (202, Some("accepted")), "{answer}");
    server.outcome("d-1").await;
    eventually("it is well again", async || (server.get("/healthz").await.0 == 200).then_some(())).await;
    server.stop().await;
}

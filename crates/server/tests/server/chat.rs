//! Commands from Slack over real HTTP: who is let in, what is asked, what is answered, and what is told in the end.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use landfall_model::environment::Phase;
use landfall_ports::store::Store;
use landfall_server::chat::{Chat, ReplyOrigin, sign};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::conversation;
use crate::rig::{Rig, Server, eventually};

const SIGNING: &[u8] = b"8f742231b10e8888abcd99yyyzzz85a5";
const TOKEN: &str = "gIkuvaNzQIHg97ATvDxqgjtO";
const BRANCH: &str = "feature/test123";

fn rig() -> Rig {
    let mut rig = conversation::rig();
    rig.chat = Some(Chat {
        signing_secret: Some(SIGNING.to_vec()),
        outgoing_token: Some(TOKEN.as_bytes().to_vec()),
        channels: vec!["C1".to_owned(), "#deploys".to_owned()],
        users: Vec::new(),
        reply_to: ReplyOrigin::default(),
    });
    rig
}

/// A form as Slack sends it.
fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("team_id", "T1").append_pair("channel_id", "C1").append_pair("channel_name", "test");
    form.append_pair("user_id", "U1").append_pair("user_name", "steve").append_pair("command", "/landfall");
    form.extend_pairs(fields);
    form.finish().into_bytes()
}

struct Slash {
    body: Vec<u8>,
    at: i64,
    signature: Option<String>,
    retry: bool,
}

impl Slash {
    fn new(text: &str, trigger: &str) -> Self {
        Self::of(form(&[("text", text), ("trigger_id", trigger)]))
    }

    fn of(body: Vec<u8>) -> Self {
        Self { body, at: jiff::Timestamp::now().as_second(), signature: None, retry: false }
    }
}

async fn slash(server: &Server, slash: Slash) -> (u16, Value) {
    let signature = slash.signature.unwrap_or_else(|| sign(SIGNING, slash.at, &slash.body));
    let mut request = http::Request::post("/webhooks/slack/command")
        .header("host", "test")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-slack-request-timestamp", slash.at)
        .header("x-slack-signature", signature);
    if slash.retry {
        request = request.header("x-slack-retry-num", "1");
    }
    let (status, text) = server.request(request.body(Full::new(Bytes::from(slash.body))).unwrap()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The text and whether everybody sees it.
async fn said(server: &Server, text: &str, trigger: &str) -> (String, bool) {
    let (status, answer) = slash(server, Slash::new(text, trigger)).await;
    assert_eq!(status, 200, "{answer}");
    (answer["text"].as_str().unwrap().to_owned(), answer["response_type"] == "in_channel")
}

async fn outgoing(server: &Server, fields: &[(&str, &str)]) -> (u16, Value) {
    let request = http::Request::post("/webhooks/slack/outgoing")
        .header("host", "test")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form(fields))))
        .unwrap();
    let (status, text) = server.request(request).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn phase(server: &Server) -> Option<Phase> {
    let all = server.store.environments().await.unwrap();
    all.into_iter().find(|record| record.id.as_str() == "my-project-test123").map(|record| record.phase)
}

async fn reaches(server: &Server, wanted: Phase) {
    eventually(&format!("it is {wanted:?}"), async || (phase(server).await == Some(wanted)).then_some(())).await;
}

#[tokio::test]
async fn a_preview_is_asked_for_looked_at_and_taken_away() {
    let server = rig().start().await;
    let (text, all) = said(&server, &format!("create {BRANCH}"), "t-1").await;
    assert_eq!((text.as_str(), all), ("Going to create my-project env for `feature/test123`", true));
    reaches(&server, Phase::Ready).await;
    let (text, all) = said(&server, "list", "t-2").await;
    assert!(text.contains("*my-project-test123* is ready: `feature/test123`") && !all, "{text}");
    assert!(text.contains("<http://test123.my-project.localhost:8080/>"), "{text}");
    let (text, _) = said(&server, &format!("status {BRANCH}"), "t-3").await;
    assert!(text.contains("is ready") && text.contains("asked for just now"), "{text}");
    let (text, all) = said(&server, &format!("destroy {BRANCH}"), "t-4").await;
    assert_eq!((text.as_str(), all), ("Going to destroy my-project env of `feature/test123`", true));
    reaches(&server, Phase::Destroyed).await;
    assert_eq!(said(&server, "list", "t-5").await.0, "There are no previews.");
    let deliveries = server.store.deliveries(10).await.unwrap();
    assert_eq!(deliveries.len(), 2, "what only reads is not kept");
    assert!(deliveries.iter().all(|delivery| delivery.id.as_str().starts_with("slack:")));
    server.stop().await;
}

#[tokio::test]
async fn a_preview_is_put_to_sleep_and_woken() {
    let server = rig().start().await;
    said(&server, &format!("create {BRANCH}"), "t-1").await;
    reaches(&server, Phase::Ready).await;
    let (text, _) = said(&server, &format!("wake {BRANCH}"), "t-2").await;
    assert_eq!(text, "`feature/test123`: it is awake");
    said(&server, &format!("sleep {BRANCH}"), "t-3").await;
    reaches(&server, Phase::Asleep).await;
    let (text, _) = said(&server, &format!("wake {BRANCH}"), "t-4").await;
    assert!(text.starts_with("Going to wake my-project env of `feature/test123`"), "{text}");
    reaches(&server, Phase::Ready).await;
}

#[tokio::test]
async fn only_what_slack_signed_lately_is_heard() {
    let server = rig().start().await;
    let now = jiff::Timestamp::now().as_second();
    let wrong = |change: fn(&mut Slash)| {
        let mut one = Slash::new(&format!("create {BRANCH}"), "t-1");
        change(&mut one);
        one
    };
    for (why, one) in [
        ("another secret", wrong(|one| one.signature = Some(sign(b"other", one.at, &one.body)))),
        ("another body", wrong(|one| one.signature = Some(sign(SIGNING, one.at, b"text=list")))),
        ("old", wrong(|one| one.at -= 301)),
        // A second may pass until it is looked at.
        ("from the future", wrong(|one| one.at += 310)),
        ("another time", wrong(|one| one.signature = Some(sign(SIGNING, one.at - 1, &one.body)))),
        ("no signature", wrong(|one| one.signature = Some(String::new()))),
    ] {
        let (status, answer) = slash(&server, one).await;
        assert_eq!(status, 401, "{why}: {answer}");
    }
    let mut bad = Slash::of(b"text=\xff\xfe".to_vec());
    bad.at = now;
    assert_eq!(slash(&server, bad).await.0, 400);
    assert_eq!(slash(&server, Slash::of(vec![b'a'; 300 * 1024])).await.0, 400);
    assert!(server.store.deliveries(10).await.unwrap().is_empty());
    assert_eq!(phase(&server).await, None);
}

#[tokio::test]
async fn what_slack_sends_again_is_done_once() {
    let server = rig().start().await;
    let (first, retry) =
        (Slash::new(&format!("create {BRANCH}"), "t-1"), Slash::new(&format!("create {BRANCH}"), "t-1"));
    let (at, body) = (first.at, first.body.clone());
    assert_eq!(slash(&server, first).await.0, 200);
    // Byte for byte: a replay.
    let (status, answer) = slash(&server, Slash { at, ..Slash::of(body) }).await;
    assert!(status == 200 && answer["text"].as_str().unwrap().contains("taken already"), "{answer}");
    assert_eq!(answer["response_type"], "ephemeral");
    // Slack itself, with a new time and signature, and with its word that it is a retry.
    let (status, answer) = slash(&server, Slash { retry: true, at: at + 1, ..retry }).await;
    assert!(status == 200 && answer["text"].as_str().unwrap().starts_with("Going to create"), "{answer}");
    assert_eq!(server.store.deliveries(10).await.unwrap().len(), 1);
    // The same words again, by the same person: another request.
    said(&server, &format!("create {BRANCH}"), "t-2").await;
    assert_eq!(server.store.deliveries(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_is_answered_and_not_kept() {
    let mut rig = rig();
    rig.chat.as_mut().unwrap().users = vec!["U1".to_owned(), "U2".to_owned()];
    let server = rig.start().await;
    let answers = [
        ("", "*Landfall* for my-project"),
        ("creat feature/x", "Did you mean `create`?"),
        ("hello", "There is no command `hello`"),
        ("create", "`create` of which branch?"),
        ("create main", "not applicable branch name: branch `main` matches none of `feature/*`"),
        ("create feature/x nowhere", "no repository `nowhere`"),
        ("create #12", "a fork's pull request is asked for on GitHub"),
        ("create a..b", "`a..b` cannot be the name of a branch."),
        ("destroy feature/none", "no preview `feature/none`"),
        ("status <!channel>", "no preview `&lt;!channel&gt;`"),
    ];
    for (index, (text, wanted)) in answers.into_iter().enumerate() {
        let (said, all) = said(&server, text, &format!("t-{index}")).await;
        assert!(said.contains(wanted) && !all, "{text}: {said}");
    }
    let elsewhere = form(&[("text", "list")]);
    let elsewhere = String::from_utf8(elsewhere).unwrap().replace("channel_id=C1", "channel_id=C2").into_bytes();
    let (status, answer) = slash(&server, Slash::of(elsewhere)).await;
    assert_eq!((status, answer["text"].as_str()), (200, Some("Commands are not taken in this channel.")));
    let named = String::from_utf8(form(&[("text", "list")])).unwrap();
    let named = named.replace("channel_id=C1&channel_name=test", "channel_id=C2&channel_name=deploys").into_bytes();
    assert_eq!(slash(&server, Slash::of(named)).await.1["text"], "There are no previews.");
    let stranger =
        String::from_utf8(form(&[("text", "list")])).unwrap().replace("user_id=U1", "user_id=U3").into_bytes();
    let (_, answer) = slash(&server, Slash::of(stranger)).await;
    assert_eq!(answer["text"], "You are not among those whose commands are taken.");
    assert!(server.store.deliveries(10).await.unwrap().is_empty());
    assert_eq!(slash(&server, Slash::of(b"ssl_check=1&token=x".to_vec())).await.0, 200);
}

#[tokio::test]
async fn the_outgoing_webhook_takes_deitys_words() {
    let server = rig().start().await;
    let text = format!("dev {BRANCH}");
    let fields = |token: &'static str| {
        [("token", token), ("trigger_word", "dev"), ("text", text.as_str()), ("timestamp", "1355517523.000005")]
    };
    for token in ["", "wrong", "gIkuvaNzQIHg97ATvDxqgjt"] {
        assert_eq!(outgoing(&server, &fields(token)).await.0, 401);
    }
    assert!(server.store.deliveries(10).await.unwrap().is_empty());
    let (status, answer) = outgoing(&server, &fields(TOKEN)).await;
    assert_eq!((status, answer["text"].as_str()), (200, Some("Going to create my-project env for `feature/test123`")));
    let (_, answer) = outgoing(&server, &fields(TOKEN)).await;
    assert!(answer["text"].as_str().unwrap().contains("taken already"), "{answer}");
    reaches(&server, Phase::Ready).await;
    let (_, answer) = outgoing(&server, &[("token", TOKEN), ("trigger_word", "dev"), ("text", "dev list")]).await;
    assert!(answer["text"].as_str().unwrap().contains("is ready"), "{answer}");
    let bot = [("token", TOKEN), ("bot_id", "B1"), ("text", "dev list")];
    assert_eq!(outgoing(&server, &bot).await, (200, serde_json::json!({})), "bots are not answered");
    assert_eq!(server.store.deliveries(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn without_a_secret_its_door_is_shut() {
    let mut rig = rig();
    rig.chat = Some(Chat::default());
    let server = rig.start().await;
    assert_eq!(slash(&server, Slash::new("list", "t-1")).await.0, 404);
    assert_eq!(outgoing(&server, &[("token", ""), ("text", "list")]).await.0, 404);
    rig.chat = None;
    let server = rig.start().await;
    assert_eq!(slash(&server, Slash::new("list", "t-1")).await.0, 404);
}

#[tokio::test]
async fn how_it_ended_is_told_where_slack_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::<String>::new()));
    let told = heard.clone();
    let playing = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.ends_with(b"}") {
                let count = stream.read(&mut buffer).await.unwrap();
                assert!(count > 0, "{}", String::from_utf8_lossy(&request));
                request.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
            told.lock().unwrap().push(String::from_utf8(request).unwrap());
        }
    });
    let mut rig = rig();
    rig.chat.as_mut().unwrap().reply_to = ReplyOrigin::for_tests(&origin);
    let server = rig.start().await;
    // One that leads elsewhere is not called, and the command is taken all the same.
    let text = format!("create {BRANCH}");
    let elsewhere = "http://127.0.0.1:1/commands";
    let body = form(&[("text", &text), ("trigger_id", "t-0"), ("response_url", elsewhere)]);
    assert_eq!(slash(&server, Slash::of(body)).await.0, 200);
    let url = format!("{origin}/commands/1/2");
    let body = form(&[("text", &text), ("trigger_id", "t-1"), ("response_url", &url)]);
    assert_eq!(slash(&server, Slash::of(body)).await.0, 200);
    let request = eventually("it is told", async || heard.lock().unwrap().first().cloned()).await;
    assert!(request.starts_with("POST /commands/1/2 "), "{request}");
    let body: Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["response_type"], "in_channel");
    assert!(body["text"].as_str().unwrap().contains("*my-project-test123* is ready"), "{body}");
    assert_eq!(heard.lock().unwrap().len(), 1);
    playing.abort();
}

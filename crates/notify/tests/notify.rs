//! Notices over the real wire to a small HTTP server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Once};

use hmac::{Hmac, KeyInit, Mac};
use landfall_model::Timestamp;
use landfall_model::app::ChatEnvelope;
use landfall_model::notice::{Notice, NoticeKind, Sent};
use landfall_notify::{Notifier, Target, TargetKind};
use landfall_ports::store::Store;
use landfall_ports::topic::{Hears, Subscriber, Topic, TopicBody, TopicMessage};
use landfall_ports::{PortError, PortResult};
use landfall_testkit::{Mem, SimClock};

struct Request {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }
}

/// Answers each request with the next of `statuses` and passes the requests on.
fn server(statuses: Vec<u16>) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?token=secret-token", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for status in statuses {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let headers: Vec<_> = lines
                .iter()
                .skip(1)
                .filter_map(|l| l.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned())))
                .collect();
            let mut request = Request { headers, body: Vec::new() };
            request.body.resize(request.header("content-length").parse().unwrap(), 0);
            reader.read_exact(&mut request.body).unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            sender.send(request).unwrap();
        }
    });
    (url, receiver)
}

fn notice(id: &str, kind: NoticeKind) -> Notice {
    Notice {
        id: id.into(),
        kind,
        environment: "my-project-test123".into(),
        execution: None,
        text: format!("{id} happened"),
        url: None,
        cause: None,
        at: Timestamp::UNIX_EPOCH,
        links: None,
        to: Vec::new(),
    }
}

async fn notifier(clock: &Arc<SimClock>, targets: Vec<Target>) -> (Arc<Mem>, Notifier) {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
    let store = Arc::new(Mem::default());
    store.set_notification_targets(targets.iter().map(|t| t.name.clone()).collect()).await.unwrap();
    let notifier = Notifier::new(store.clone(), clock.clone(), targets);
    (store, notifier)
}

fn target(name: &str, kind: TargetKind) -> Target {
    Target { name: name.into(), kind, on: Vec::new() }
}

#[tokio::test]
async fn a_webhook_is_signed_and_told_once() {
    let (url, requests) = server(vec![200]);
    let clock = Arc::new(SimClock::seeded(1));
    let kind = TargetKind::Webhook { url, secret: Some("s3cret".into()) };
    let (store, notifier) = notifier(&clock, vec![target("hook", kind)]).await;
    store.write_environments(vec![], vec![notice("n1", NoticeKind::Created)]).await.unwrap();
    store.write_environments(vec![], vec![notice("n1", NoticeKind::Created)]).await.unwrap();
    assert_eq!(notifier.drain().await.unwrap(), 1);
    assert_eq!(notifier.drain().await.unwrap(), 0);

    let request = requests.recv().unwrap();
    assert_eq!(request.header("x-landfall-notice"), "n1");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").unwrap();
    mac.update(&request.body);
    let expected = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    assert_eq!(request.header("x-landfall-signature-256"), expected);
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["notice"]["text"], "n1 happened");
}

#[tokio::test]
async fn a_failing_target_is_tried_again_later_and_holds_up_nobody() {
    let (broken, broken_requests) = server(vec![500, 200]);
    let (well, well_requests) = server(vec![200]);
    let clock = Arc::new(SimClock::seeded(1));
    let slack = TargetKind::Slack { url: broken, channel: None };
    let hook = TargetKind::Webhook { url: well, secret: None };
    let (store, notifier) = notifier(&clock, vec![target("broken", slack), target("well", hook)]).await;
    store.write_environments(vec![], vec![notice("n1", NoticeKind::Failed)]).await.unwrap();
    notifier.drain().await.unwrap();
    assert_eq!(well_requests.recv().unwrap().header("x-landfall-notice"), "n1");
    broken_requests.recv().unwrap();
    assert_eq!(notifier.drain().await.unwrap(), 0, "not due yet");
    clock.advance_ms(2_001);
    assert_eq!(notifier.drain().await.unwrap(), 1);
    let again: serde_json::Value = serde_json::from_slice(&broken_requests.recv().unwrap().body).unwrap();
    assert_eq!(again["text"], ":x: n1 happened");
    clock.advance_ms(10_000_000);
    assert_eq!(notifier.drain().await.unwrap(), 0, "told once and no more");
}

#[tokio::test]
async fn overtaken_states_are_merged_and_unwanted_kinds_are_dropped() {
    let (url, requests) = server(vec![200, 200]);
    let clock = Arc::new(SimClock::seeded(1));
    let mut only = target("hook", TargetKind::Webhook { url, secret: None });
    only.on = vec![NoticeKind::Creating, NoticeKind::Created, NoticeKind::Failed];
    let (store, notifier) = notifier(&clock, vec![only]).await;
    let kinds = [
        ("n1", NoticeKind::Creating),
        ("n2", NoticeKind::Created),
        ("n3", NoticeKind::Warning),
        ("n4", NoticeKind::Failed),
    ];
    let notices = kinds.map(|(id, kind)| notice(id, kind)).to_vec();
    store.write_environments(vec![], notices).await.unwrap();
    assert_eq!(notifier.drain().await.unwrap(), 4);
    let told: Vec<_> = (0..2).map(|_| requests.recv().unwrap().header("x-landfall-notice").to_owned()).collect();
    assert_eq!(told, ["n2", "n4"]);
}

/// A topic whose first answer is lost.
#[derive(Default)]
struct Flaky(Mutex<Vec<TopicMessage>>);

#[async_trait::async_trait]
impl Topic for Flaky {
    async fn publish(&self, message: &TopicMessage) -> PortResult<()> {
        let mut published = self.0.lock().unwrap();
        published.push(message.clone());
        if published.len() == 1 { Err(PortError::Unavailable("no answer in time".into())) } else { Ok(()) }
    }

    async fn subscribers(&self) -> PortResult<Vec<Subscriber>> {
        let one = |protocol: &str, endpoint: &str, confirmed: bool| Subscriber {
            protocol: protocol.into(),
            endpoint: endpoint.into(),
            confirmed,
        };
        match self.0.lock().unwrap().len() {
            2 => {
                Ok(vec![one("email", "ben@example.com", false), one("https", "https://example.com/?key=secret", true)])
            }
            _ => Err(PortError::Denied("sns:ListSubscriptionsByTopic".into())),
        }
    }
}

#[derive(Default)]
struct Ear(Mutex<Vec<(String, Sent)>>);

#[async_trait::async_trait]
impl Hears for Ear {
    async fn sent(&self, notice: &str, sent: Sent) {
        self.0.lock().unwrap().push((notice.to_owned(), sent));
    }
}

/// Of each attempt; where it is not known who reads a topic, it is sent all the same.
#[tokio::test]
async fn to_whom_a_question_was_sent_is_told() {
    let clock = Arc::new(SimClock::seeded(1));
    let kind = TargetKind::Topic { topic: Arc::new(Flaky::default()), envelope: None };
    let (store, notifier) = notifier(&clock, vec![target("mail", kind), target("log", TargetKind::Log)]).await;
    let ear = Arc::new(Ear::default());
    let notifier = notifier.heard_by(ear.clone());
    let question = |id: &str| Notice { to: vec!["mail".into()], ..notice(id, NoticeKind::AwaitingApproval) };
    store.write_environments(vec![], vec![question("q1"), notice("n1", NoticeKind::Created)]).await.unwrap();
    let heard = || {
        let all = std::mem::take(&mut *ear.0.lock().unwrap());
        let line = |(id, sent): &(String, Sent)| format!("{id} {}", sent.said());
        all.iter().map(line).collect::<Vec<_>>()
    };
    notifier.drain().await.unwrap();
    assert_eq!(heard(), ["q1 could not be sent to mail yet: no answer in time"]);
    clock.advance_ms(2_001);
    notifier.drain().await.unwrap();
    assert_eq!(heard(), ["q1 sent to mail: https; not confirmed, so not sent: ben@example.com"]);
    while notifier.drain().await.unwrap() > 0 {}
    store.write_environments(vec![], vec![question("q2")]).await.unwrap();
    notifier.drain().await.unwrap();
    assert_eq!(heard(), ["q2 sent to mail"], "nothing of other notices, nor of those that they are not for");
}

#[tokio::test]
async fn a_topic_gets_one_message_per_change_with_the_same_id_when_tried_again() {
    let clock = Arc::new(SimClock::seeded(1));
    let topic = Arc::new(Flaky::default());
    let envelope = ChatEnvelope { channel: "#test".into(), username: "ecs deity".into(), icon_url: None };
    let kind = TargetKind::Topic { topic: topic.clone(), envelope: Some(envelope) };
    let (store, notifier) = notifier(&clock, vec![target("topic", kind)]).await;
    store.write_environments(vec![], vec![notice("n1", NoticeKind::Created)]).await.unwrap();
    notifier.drain().await.unwrap();
    clock.advance_ms(2_001);
    notifier.drain().await.unwrap();
    assert_eq!(notifier.drain().await.unwrap(), 0);
    let published = topic.0.lock().unwrap();
    assert_eq!((published.len(), &published[0]), (2, &published[1]));
    assert_eq!((published[0].id.as_str(), published[0].group.as_str()), ("n1", "my-project-test123"));
    let TopicBody::ByProtocol(body) = &published[0].body else { unreachable!() };
    let outer: serde_json::Value = serde_json::from_str(body).unwrap();
    let chat: serde_json::Value = serde_json::from_str(outer["default"].as_str().unwrap()).unwrap();
    assert_eq!((&chat["channel"], &chat["username"]), (&"#test".into(), &"ecs deity".into()));
    assert_eq!(chat["text"], ":white_check_mark: n1 happened");
}

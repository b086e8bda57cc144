//! The page behind the link, over HTTP: what it shows to whom, what it refuses, and that only a decision decides.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use landfall_model::ids::RunId;
use landfall_model::notice::{Reader, Sent};
use landfall_pipeline::link::{Claim, PURPOSE, mint};
use landfall_pipeline::{RunState, RunView, Via};
use landfall_ports::clock::Clock as _;
use landfall_ports::topic::Hears as _;
use landfall_server::ControlError;
use landfall_server::pipelines::{PipelineRequest, PipelineResponse, link_key};
use sha2::Sha256;
use tokio::net::TcpStream;

use crate::pipelines::{decide, pipeline, reaches, rig, run, show};
use crate::rig::{Rig, Server};

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Of a field of the page's form.
    fn field(&self, name: &str) -> String {
        let (_, rest) =
            self.body.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("{}", self.body));
        rest.split('"').next().unwrap().to_owned()
    }
}

async fn send(server: &Server, request: http::request::Builder, body: String) -> Answer {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = request.header("host", "test").body(Full::new(Bytes::from(body))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    driver.abort();
    let answer = Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    // Whatever it says, it keeps to itself.
    assert!(answer.header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    assert_eq!(
        ["cache-control", "referrer-policy", "x-content-type-options", "x-frame-options"]
            .map(|name| answer.header(name)),
        ["no-store", "same-origin", "nosniff", "DENY"]
    );
    answer
}

async fn get(server: &Server, path: &str, cookie: &str) -> Answer {
    send(server, Request::get(path).header("cookie", cookie), String::new()).await
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn post(server: &Server, path: &str, cookie: &str, pairs: &[(&str, &str)]) -> Answer {
    let request = Request::post(path).header("cookie", cookie);
    send(server, request.header("content-type", "application/x-www-form-urlencoded"), form(pairs)).await
}

/// As a page has it that shows the form.
fn csrf(key: &[u8], token: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(b"csrf\0");
    mac.update(token.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// A run that asks for approval of prod.
struct Asked {
    rig: Rig,
    server: Server,
    run: RunView,
    key: Vec<u8>,
    path: String,
}

impl Asked {
    async fn new() -> Self {
        let (rig, _) = rig();
        let server = rig.start().await;
        let begun = run(&server).await;
        let run = reaches(&server, &begun.id, RunState::AwaitingApproval).await;
        let key = link_key(&server.service).await.unwrap();
        let path = format!("/pipelines/runs/{}", run.id);
        Self { rig, server, run, key, path }
    }

    fn fingerprint(&self) -> String {
        self.run.stages[1].approval.as_ref().unwrap().asked.as_ref().unwrap().fingerprint.clone()
    }

    fn claim(&self, approver: &str) -> Claim {
        Claim {
            purpose: PURPOSE.to_owned(),
            run: self.run.id.clone(),
            stage: "prod".to_owned(),
            fingerprint: self.fingerprint(),
            approver: approver.to_owned(),
            expires: self.rig.clock.now() + SignedDuration::from_hours(1),
            nonce: "n1".to_owned(),
        }
    }

    fn token(&self, claim: &Claim) -> String {
        mint(&self.key, claim)
    }

    /// Opens a link as a browser does, and keeps its cookie.
    async fn open(&self, token: &str) -> String {
        let answer = get(&self.server, &format!("{}?token={token}", self.path), "").await;
        assert_eq!((answer.status, answer.header("location")), (303, self.path.as_str()), "{}", answer.body);
        let cookie = answer.header("set-cookie").to_owned();
        assert!(
            cookie.contains("; HttpOnly; SameSite=Lax") && cookie.contains(&format!("; Path={};", self.path)),
            "{cookie}"
        );
        cookie.split(';').next().unwrap().to_owned()
    }

    async fn page(&self, cookie: &str) -> Answer {
        get(&self.server, &self.path, cookie).await
    }

    async fn decide(&self, cookie: &str, page: &Answer, decision: &str) -> Answer {
        let (csrf, fingerprint) = (page.field("csrf"), page.field("fingerprint"));
        let pairs = [
            ("csrf", csrf.as_str()),
            ("stage", "prod"),
            ("fingerprint", fingerprint.as_str()),
            ("comment", " looked at it\r\ntwice "),
            ("decision", decision),
        ];
        post(&self.server, &self.path, cookie, &pairs).await
    }

    async fn waits(&self) {
        let view = show(&self.server, &self.run.id).await;
        assert_eq!(view.state, RunState::AwaitingApproval);
        assert!(view.stages[1].approval.as_ref().unwrap().asked.as_ref().unwrap().votes.is_empty());
    }

    async fn is(&self, state: RunState) -> RunView {
        reaches(&self.server, &self.run.id, state).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_shows_and_its_form_decides_once() {
    let asked = Asked::new().await;
    let cookie = asked.open(&asked.token(&asked.claim("anna"))).await;
    // However often it is looked at, nothing is decided.
    for _ in 0..3 {
        let page = asked.page(&cookie).await;
        assert!(page.status == 200 && page.body.contains("Shall 1a2b3c4 go to prod?"), "{}", page.body);
        assert!(!page.body.contains("token=") && !page.body.contains(&cookie));
    }
    asked.waits().await;
    let page = asked.page(&cookie).await;
    let answer = asked.decide(&cookie, &page, "approve").await;
    assert_eq!((answer.status, answer.header("location")), (303, asked.path.as_str()), "{}", answer.body);
    let passed = asked.is(RunState::Passed).await;
    let vote = &passed.stages[1].approval.as_ref().unwrap().asked.as_ref().unwrap().votes[0];
    assert_eq!((vote.by.as_str(), vote.via, vote.comment.as_deref()), ("anna", Via::Link, Some("looked at it\ntwice")));
    // Replayed: by the same page, and by the same link in another browser.
    let again = asked.decide(&cookie, &page, "reject").await;
    assert_eq!(again.status, 409, "{}", again.body);
    let other = asked.open(&asked.token(&asked.claim("anna"))).await;
    let page = asked.page(&other).await;
    assert!(page.status == 200 && !page.body.contains("<form"), "{}", page.body);
    let view = show(&asked.server, &asked.run.id).await;
    assert_eq!((view.state, &view.stages), (passed.state, &passed.stages));
    // Who tried is kept as well.
    let last = &view.timeline.last().unwrap().text;
    assert_eq!(last, "a rejection of anna changed nothing: this link was used already");
}

/// As the notifier tells it, once it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn whom_the_question_has_reached_is_said() {
    let asked = Asked::new().await;
    let cookie = asked.open(&asked.token(&asked.claim("anna"))).await;
    let readers = vec![Reader { who: "ben@example.com".to_owned(), confirmed: false }];
    let sent = Sent { to: "mail".to_owned(), error: None, readers: Some(readers) };
    for notice in [format!("{}/asked/1/1", asked.run.id), format!("{}/asked/1/7", asked.run.id), "exe_1/3".to_owned()] {
        asked.server.service.sent(&notice, sent.clone()).await;
    }
    let page = asked.page(&cookie).await;
    assert!(
        page.body.contains("Sent to mail, where it reaches nobody: not confirmed by ben@example.com."),
        "{}",
        page.body
    );
    let kept = |view: &RunView| view.stages[1].approval.as_ref().unwrap().asked.as_ref().unwrap().sent.clone();
    assert_eq!(kept(&show(&asked.server, &asked.run.id).await), std::slice::from_ref(&sent));
    // It can still be decided, and is known after a death.
    asked.server.kill(&asked.rig).await;
    let server = asked.rig.start().await;
    let view = show(&server, &asked.run.id).await;
    assert_eq!((view.state, kept(&view)), (RunState::AwaitingApproval, vec![sent]));
    decide(&server, &view, "cli:anna", true).await.unwrap();
    reaches(&server, &view.id, RunState::Passed).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ends_the_run() {
    let asked = Asked::new().await;
    let cookie = asked.open(&asked.token(&asked.claim("ben"))).await;
    let page = asked.page(&cookie).await;
    assert_eq!(asked.decide(&cookie, &page, "reject").await.status, 303);
    let view = asked.is(RunState::Rejected).await;
    assert!(view.message.contains("ben"), "{}", view.message);
    assert!(asked.page(&cookie).await.body.contains("rejected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_none_show_nothing() {
    let asked = Asked::new().await;
    let right = asked.claim("anna");
    let now = asked.rig.clock.now();
    let claims = [
        ("expired", 410, Claim { expires: now - SignedDuration::from_secs(1), ..right.clone() }),
        ("another run", 403, Claim { run: RunId::new("run_other"), ..right.clone() }),
        ("another purpose", 403, Claim { purpose: "preview.page".to_owned(), ..right.clone() }),
    ];
    let mut tokens: Vec<(&str, u16, String)> =
        claims.iter().map(|(what, status, claim)| (*what, *status, asked.token(claim))).collect();
    tokens.push(("forged", 403, mint(b"another key", &right)));
    tokens.push(("no key", 403, mint(b"", &right)));
    let good = asked.token(&right);
    tokens.push(("cut off", 403, good[..good.len() - 2].to_owned()));
    tokens.push(("nothing", 403, "x.y".to_owned()));
    tokens.push(("very long", 403, "a".repeat(6_000)));
    for (what, status, token) in tokens {
        for answer in [
            get(&asked.server, &format!("{}?token={token}", asked.path), "").await,
            asked.page(&format!("landfall={token}")).await,
            post(&asked.server, &asked.path, &format!("landfall={token}"), &[("decision", "approve")]).await,
        ] {
            assert_eq!(answer.status, status, "{what}: {}", answer.body);
            assert!(answer.header("set-cookie").is_empty() && !answer.body.contains("prod"), "{what}: {}", answer.body);
        }
    }
    let nobody = asked.page("").await;
    assert!(nobody.status == 401 && !nobody.body.contains("prod"), "{}", nobody.body);
    // A run that is none is not told apart from one that the link is not for.
    let elsewhere = get(&asked.server, "/pipelines/runs/run_none", &format!("landfall={good}")).await;
    assert_eq!(elsewhere.status, 403);
    assert_eq!(asked.server.get("/pipelines").await.0, 404);
    asked.waits().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_other_pages_decide_nothing() {
    let asked = Asked::new().await;
    let cookie = asked.open(&asked.token(&asked.claim("anna"))).await;
    let page = asked.page(&cookie).await;
    let (csrf, fingerprint) = (page.field("csrf"), page.field("fingerprint"));
    let fields =
        |csrf: &str| form(&[("csrf", csrf), ("stage", "prod"), ("fingerprint", &fingerprint), ("decision", "approve")]);
    // The token of another session of the same person.
    let other = asked.open(&asked.token(&Claim { nonce: "n2".to_owned(), ..asked.claim("anna") })).await;
    let others = asked.page(&other).await.field("csrf");
    assert_ne!(csrf, others);
    let urlencoded = "application/x-www-form-urlencoded";
    for (what, status, body, kind, extra) in [
        ("no token", 403, fields(""), urlencoded, None),
        ("a wrong token", 403, fields(&"0".repeat(64)), urlencoded, None),
        ("another session's token", 403, fields(&others), urlencoded, None),
        ("another site, by the browser", 403, fields(&csrf), urlencoded, Some(("sec-fetch-site", "cross-site"))),
        ("another site, by its origin", 403, fields(&csrf), urlencoded, Some(("origin", "https://evil.example"))),
        ("no origin at all", 403, fields(&csrf), urlencoded, Some(("origin", "null"))),
        ("no form", 415, fields(&csrf), "text/plain", None),
        ("no decision", 400, fields(&csrf).replace("approve", "maybe"), urlencoded, None),
        ("too long", 413, fields(&csrf) + &"x".repeat(20_000), urlencoded, None),
        ("another fingerprint", 409, fields(&csrf).replace("sha256", "sha999"), urlencoded, None),
        ("another stage", 409, fields(&csrf).replace("stage=prod", "stage=dev"), urlencoded, None),
    ] {
        let mut request = Request::post(&asked.path).header("cookie", &cookie).header("content-type", kind);
        if let Some((name, value)) = extra {
            request = request.header(name, value);
        }
        if status == 413 {
            let request = request.header("host", "test").body(Full::new(Bytes::from(body))).unwrap();
            assert_eq!(asked.server.request(request).await.0, status, "{what}");
            continue;
        }
        let answer = send(&asked.server, request, body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
    }
    asked.waits().await;
    let from_here = Request::post(&asked.path)
        .header("cookie", &cookie)
        .header("content-type", urlencoded)
        .header("sec-fetch-site", "same-origin")
        .header("origin", "http://test");
    assert_eq!(send(&asked.server, from_here, fields(&csrf)).await.status, 303);
    asked.is(RunState::Passed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_decide_is_told_so() {
    let asked = Asked::new().await;
    // `carl` has begun it, and `eve` is nobody here.
    for name in ["carl", "eve"] {
        let cookie = asked.open(&asked.token(&asked.claim(name))).await;
        let page = asked.page(&cookie).await;
        assert!(page.status == 200 && !page.body.contains("<form"), "{}", page.body);
    }
    // What the page does not offer is refused as well.
    let claim = asked.claim("eve");
    let cookie = asked.open(&asked.token(&claim)).await;
    let csrf = csrf(&asked.key, &asked.token(&claim));
    let pairs =
        [("csrf", csrf.as_str()), ("stage", "prod"), ("fingerprint", &claim.fingerprint), ("decision", "approve")];
    assert_eq!(post(&asked.server, &asked.path, &cookie, &pairs).await.status, 409);
    asked.waits().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_opens_the_page_for_who_asks() {
    let asked = Asked::new().await;
    let open = |by: &str| PipelineRequest::Open { run: "main#1".to_owned(), by: by.to_owned() };
    let url = |response: PipelineResponse| match response {
        PipelineResponse::Open { url } => url,
        other => panic!("{other:?}"),
    };
    let link = url(pipeline(&asked.server, open("cli:anna")).await.unwrap());
    let begin = format!("http://{}{}?token=", asked.server.address, asked.path);
    let token = link.strip_prefix(&begin).unwrap_or_else(|| panic!("{link}"));
    let cookie = asked.open(token).await;
    let page = asked.page(&cookie).await;
    assert!(page.body.contains("You decide as <strong>anna</strong>"), "{}", page.body);
    // Also as a header, to look.
    let bearer = Request::get(&asked.path).header("authorization", format!("Bearer {token}"));
    assert_eq!(send(&asked.server, bearer, String::new()).await.status, 200);
    assert_eq!(asked.decide(&cookie, &page, "approve").await.status, 303);
    let view = asked.is(RunState::Passed).await;
    let vote = &view.stages[1].approval.as_ref().unwrap().asked.as_ref().unwrap().votes[0];
    assert_eq!((vote.by.as_str(), vote.via), ("cli:anna", Via::Page));
    let unknown = PipelineRequest::Open { run: "main#7".to_owned(), by: "cli:anna".to_owned() };
    assert!(matches!(pipeline(&asked.server, unknown).await, Err(ControlError::NotFound(_))));
}

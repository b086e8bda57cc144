//! The same client against S3s that others wrote: whether they take our signatures, and which promises of conditional writes they
//! keep (docs/emulators.md).

use landfall_ports::journal::{Created, Journal, JournalError};
use landfall_ports::store::Store;
use landfall_s3::{Address, Failure, S3Store};
use landfall_testkit::conformance::fixtures::{TTL_MS, batch, claimed, execution, finished, last, step_done};
use landfall_testkit::emulator;
use landfall_workflow::event::Signal;

use crate::support::{BUCKET, REGION, prefix, sdk};

/// A call that the product never makes; emulators route by the scope and check no signature of `test`.
async fn raw(method: reqwest::Method, url: &str, service: &str, body: String) -> String {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let scope = format!("test/20260101/{REGION}/{service}/aws4_request");
    let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
    let request = reqwest::Client::new().request(method, url).header("authorization", authorization);
    let form = if service == "s3" { "application/xml" } else { "application/x-www-form-urlencoded" };
    let answer = request.header("content-type", form).body(body).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success() || status.as_u16() == 409, "{url}: {status}: {text}");
    text
}

async fn bucket(endpoint: &str) {
    let location = format!(
        "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
    );
    raw(reqwest::Method::PUT, &format!("{endpoint}/{BUCKET}"), "s3", location).await;
}

async fn open(endpoint: &str, prefix: &str) -> S3Store {
    let address = Address::parse(&format!("s3://{BUCKET}/{prefix}")).unwrap();
    S3Store::open_with(address, Some(sdk(endpoint, REGION, "test", "test"))).await.unwrap()
}

/// Everything once, from two machines that see each other's writes.
async fn two_machines_share_a_state(endpoint: String) {
    bucket(&endpoint).await;
    let prefix = format!("{}/ü +%", prefix());
    let (one, two) = (open(&endpoint, &prefix).await, open(&endpoint, &prefix).await);
    let lease = claimed(&one, "1").await;
    assert_eq!(two.create(execution("1", "env")).await.unwrap(), Created::Existing(lease.execution.clone()));
    assert!(two.claim("engine-2", TTL_MS, 10).await.unwrap().is_empty());
    assert_eq!(one.append(&lease, 1, batch(vec![step_done(1, "a")])).await.unwrap(), 2);
    two.send_signal(&lease.execution, "octocat", Signal::Abort).await.unwrap();
    assert_eq!(one.append(&lease, 2, batch(vec![step_done(2, "b")])).await.unwrap(), 3);
    assert_eq!(two.load(&lease.execution).await.unwrap().version, 3);
    one.release(&lease).await.unwrap();
    let next = two.claim("engine-2", TTL_MS, 10).await.unwrap().remove(0);
    assert_eq!(next.epoch, 2);
    assert!(matches!(one.append(&lease, 3, batch(vec![step_done(3, "c")])).await, Err(JournalError::Fenced { .. })));
    assert_eq!(two.append(&next, 3, last(vec![finished(3)])).await.unwrap(), 4);
    assert!(one.list(None, false, 1).await.unwrap()[0].finished);
    assert!(one.meta_swap("lock", None, "one").await.unwrap());
    assert!(!two.meta_swap("lock", None, "two").await.unwrap());
}

/// Whether a condition is checked and the object written in one piece. moto's threads do not promise it.
async fn writers_at_once_lose_nothing(endpoint: String) {
    bucket(&endpoint).await;
    let prefix = prefix();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = open(&endpoint, &prefix).await;
        writers.spawn(async move {
            let mut written = 0;
            while written < 15 {
                let now = store.meta_get("count").await.unwrap();
                let next = now.as_deref().map_or(0, |text| text.parse::<u32>().unwrap()) + 1;
                written += u32::from(store.meta_swap("count", now.as_deref(), &next.to_string()).await.unwrap());
            }
        });
    }
    writers.join_all().await;
    assert_eq!(open(&endpoint, &prefix).await.meta_get("count").await.unwrap().as_deref(), Some("60"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ministack_is_a_state() {
    let ministack = emulator::ministack(&[]);
    two_machines_share_a_state(ministack.url.clone()).await;
    writers_at_once_lose_nothing(ministack.url.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_is_a_state() {
    let moto = emulator::moto();
    two_machines_share_a_state(moto.url.clone()).await;
}

fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    rest.split_once("</").unwrap().0.to_owned()
}

/// The policy of docs/state-s3.md is enough, and signatures are right; another secret, or a right less, is refused and named.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_rights_are_checked() {
    let ministack = emulator::ministack(&[("AUTH", "true")]);
    let endpoint = ministack.url.as_str();
    bucket(endpoint).await;
    let iam = async |fields: &str| {
        let body = format!("UserName=runner&Version=2010-05-08&{fields}");
        raw(reqwest::Method::POST, &format!("{endpoint}/"), "iam", body).await
    };
    iam("Action=CreateUser").await;
    let page = include_str!("../../../../docs/state-s3.md");
    let policy = page.split_once("```json\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    let policy = policy.replace("BUCKET", BUCKET).replace("PREFIX", "rights");
    let put = async |policy: &str| {
        let encoded: String = policy.bytes().map(|byte| format!("%{byte:02X}")).collect();
        iam(&format!("Action=PutUserPolicy&PolicyName=state&PolicyDocument={encoded}")).await
    };
    put(&policy).await;
    let key = iam("Action=CreateAccessKey").await;
    let (key, secret) = (element(&key, "AccessKeyId"), element(&key, "SecretAccessKey"));
    let open = |prefix: &str, secret: &str| {
        let address = Address::parse(&format!("s3://{BUCKET}/{prefix}")).unwrap();
        S3Store::open_with(address, Some(sdk(endpoint, REGION, &key, secret)))
    };
    let store = open("rights", &secret).await.unwrap();
    let lease = claimed(&store, "a b+ü~").await;
    assert_eq!(store.append(&lease, 1, last(vec![finished(1)])).await.unwrap(), 2);

    let wrong = open("rights", "wrong").await.unwrap_err();
    assert!(matches!(&wrong, Failure::Denied(text) if text.contains("SignatureDoesNotMatch")), "{wrong}");
    let elsewhere = open("elsewhere", &secret).await.unwrap_err();
    assert!(matches!(&elsewhere, Failure::Denied(text) if text.contains("s3:GetObject on s3://acme-state/elsewhere")));
    put(&policy.replace("\"s3:PutObject\", ", "")).await;
    let refused = store.meta_put("a", "b").await.unwrap_err().to_string();
    assert!(refused.contains("s3:PutObject on s3://acme-state/rights/contents.json: AccessDenied"), "{refused}");
}

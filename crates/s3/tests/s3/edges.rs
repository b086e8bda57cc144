//! Growth, other regions, newer formats, refusals; and how many requests things cost.

use landfall_awsfake::s3::S3;
use landfall_ports::journal::{Created, Journal};
use landfall_ports::store::Store;
use landfall_s3::{Address, Failure, S3Store};
use landfall_testkit::conformance::fixtures::{TTL_MS, batch, claimed, execution, finished, last, step_done};

use crate::support::{BUCKET, REGION, address, fake, sdk, store};

#[tokio::test(flavor = "multi_thread")]
async fn the_table_stays_small_and_old_executions_stay_known() {
    let s3 = fake().await;
    let writer = store(&s3, "old").await;
    let stays = execution("stays", "env");
    writer.create(stays.clone()).await.unwrap();
    let stays_lease = writer.claim("engine-1", TTL_MS, 1).await.unwrap().remove(0);
    for n in 0..420 {
        let lease = claimed(&writer, &n.to_string()).await;
        writer.append(&lease, 1, last(vec![finished(1)])).await.unwrap();
    }
    assert_eq!(s3.keys(BUCKET).iter().filter(|key| key.starts_with("old/pages/")).count(), 2);
    let table = s3.object(BUCKET, "old/contents.json").unwrap();
    assert!(table.len() < 120_000, "{} bytes", table.len());

    let reader = store(&s3, "old").await;
    let listed = reader.list(None, false, 1000).await.unwrap();
    assert_eq!(listed.len(), 421);
    let ids: Vec<&str> = listed.iter().map(|summary| summary.id.as_str()).collect();
    assert_eq!((ids[0], ids[419], ids[420]), ("exe_419", "exe_0", "exe_stays"));
    assert_eq!(reader.list(None, false, 300).await.unwrap()[299].id.as_str(), "exe_120");
    assert_eq!(reader.list(None, true, 10).await.unwrap().len(), 1);
    assert_eq!(reader.load(&execution("3", "env").id).await.unwrap().version, 2);
    // A key of long ago is still known.
    let mut again = execution("again", "env");
    again.dedup_key = execution("3", "env").dedup_key;
    assert_eq!(reader.create(again).await.unwrap(), Created::Existing(execution("3", "env").id));
    assert_eq!(writer.append(&stays_lease, 1, batch(vec![step_done(1, "a")])).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_in_another_region_is_found() {
    let s3 = fake().await;
    let sdk = sdk(&s3.url(), "us-east-1", "AKIATEST", "test");
    let elsewhere = S3Store::open_with(address("region"), Some(sdk)).await.unwrap();
    elsewhere.meta_put("instance", "one").await.unwrap();
    assert_eq!(store(&s3, "region").await.meta_get("instance").await.unwrap().as_deref(), Some("one"));
    let refused = s3.take_requests().iter().filter(|request| request.status == 400).count();
    assert_eq!(refused, 1, "asked once, then known");
}

async fn refusal(s3: &S3, address: Address) -> Failure {
    S3Store::open_with(address, Some(sdk(&s3.url(), REGION, "AKIATEST", "test"))).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_says_why() {
    let s3 = fake().await;
    let missing = refusal(&s3, Address::parse("s3://nobody/x").unwrap()).await;
    assert!(matches!(&missing, Failure::NoBucket(text) if text.contains("s3://nobody/x/contents.json")), "{missing}");

    store(&s3, "newer").await.meta_put("a", "b").await.unwrap();
    let table = String::from_utf8(s3.object(BUCKET, "newer/contents.json").unwrap().to_vec()).unwrap();
    s3.put(BUCKET, "newer/contents.json", table.replace("\"format\":1", "\"format\":2"));
    let newer = refusal(&s3, address("newer")).await;
    assert!(
        matches!(&newer, Failure::Corrupt(text) if text.contains("format 2") && text.contains("update")),
        "{newer}"
    );

    s3.put(BUCKET, "damaged/contents.json", "{\"writes\":");
    assert!(matches!(refusal(&s3, address("damaged")).await, Failure::Corrupt(_)));
}

/// The table of docs/state-s3.md.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted() {
    let s3 = fake().await;
    let runner = store(&s3, "count").await;
    runner.meta_put("instance", "one").await.unwrap();
    let methods = || {
        let requests = s3.take_requests();
        let of = |method: &str| requests.iter().filter(|request| request.method == method).count();
        (of("GET"), of("PUT"), of("DELETE"))
    };
    methods();
    runner.create(execution("1", "env")).await.unwrap();
    assert_eq!(methods(), (1, 2, 0), "create");
    let lease = runner.claim("engine-1", TTL_MS, 1).await.unwrap().remove(0);
    assert_eq!(methods(), (2, 1, 0), "claim");
    for version in 1..=10 {
        runner.append(&lease, version, batch(vec![step_done(1, "a")])).await.unwrap();
        runner.load(&lease.execution).await.unwrap();
    }
    assert_eq!(methods(), (0, 10, 0), "ten appends, and looks at what we drive ourselves");
    assert!(runner.claim("engine-1", TTL_MS, 1).await.unwrap().is_empty());
    assert_eq!(methods(), (1, 0, 0), "a look for work");
    runner.renew("engine-1", 2 * TTL_MS, std::slice::from_ref(&lease)).await.unwrap();
    assert_eq!(methods(), (0, 1, 0), "a renewal");
    runner.append(&lease, 11, last(vec![finished(1)])).await.unwrap();
    assert_eq!(methods(), (0, 2, 0), "the end, in its object and in the table");
}

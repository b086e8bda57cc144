//! The same suite that SQLite passes.

use std::sync::Arc;

use async_trait::async_trait;
use landfall_awsfake::s3::S3;
use landfall_ports::journal::Journal;
use landfall_ports::store::Store;
use landfall_s3::{LATE, Retention, S3Store};
use landfall_testkit::conformance::fixtures::TTL_MS;
use landfall_testkit::conformance::{self, Subject};

use crate::support::{fake, one_in_ten_goes_wrong, prefix, store};

struct OnS3 {
    s3: S3,
    store: S3Store,
}

impl OnS3 {
    async fn new(s3: &S3) -> Self {
        Self { s3: s3.clone(), store: store(s3, &prefix()).await }
    }

    fn late() -> u64 {
        u64::try_from(LATE.as_millis()).unwrap()
    }
}

#[async_trait]
impl Subject for OnS3 {
    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.store.clone())
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    /// An end is judged late, never early: where the checks let a lease expire by a millisecond, the allowance is added.
    async fn pass_ms(&self, ms: u64) {
        self.s3.advance(if ms > TTL_MS { ms + Self::late() } else { ms });
    }

    /// A claim first: it marks what has finished where the finisher could not.
    async fn age(&self) {
        self.store.claim("engine-1", TTL_MS, 100).await.unwrap();
        let none = Retention { table: 0, page: 8, pages: 0 };
        while self.store.prune(none).await.unwrap() {}
    }

    /// No boot matters here: after the machine of a holder is gone its lease runs out.
    async fn reboot(&self) {
        self.s3.advance(TTL_MS + Self::late());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_journals_promises() {
    let s3 = fake().await;
    conformance::journal(async || OnS3::new(&s3).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_stores_promises() {
    let s3 = fake().await;
    conformance::store(async || OnS3::new(&s3).await).await;
}

/// Of ten requests one is throttled, fails, collides, happens without an answer, or happens after its sender gave up on it.
#[tokio::test(flavor = "multi_thread")]
async fn the_promises_hold_while_one_request_in_ten_goes_wrong() {
    let s3 = fake().await;
    one_in_ten_goes_wrong(&s3);
    conformance::journal(async || OnS3::new(&s3).await).await;
    conformance::store(async || OnS3::new(&s3).await).await;
    assert!(s3.struck() > 40, "{} faults struck", s3.struck());
}

//! Stores over a fake S3, and over an emulator.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use landfall_awsfake::s3::{S3, S3Fault, S3FaultKind};
use landfall_s3::{Address, S3Store, SdkConfig};

pub(crate) const BUCKET: &str = "acme-state";
pub(crate) const REGION: &str = "eu-west-1";

pub(crate) async fn fake() -> S3 {
    S3::start(BUCKET, REGION).await.unwrap()
}

/// What the environment of a runner would say.
pub(crate) fn sdk(endpoint: &str, region: &str, key: &str, secret: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(key, secret, None, None, "tests")))
        .build()
}

pub(crate) fn address(prefix: &str) -> Address {
    Address::parse(&format!("s3://{BUCKET}/{prefix}")).unwrap()
}

/// Another runner's.
pub(crate) async fn store(s3: &S3, prefix: &str) -> S3Store {
    S3Store::open_with(address(prefix), Some(sdk(&s3.url(), REGION, "AKIATEST", "test"))).await.unwrap()
}

pub(crate) fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("state/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Faults of every kind, each with its share.
pub(crate) fn one_in_ten_goes_wrong(s3: &S3) {
    let all = |method, kind| S3Fault { method, contains: "", percent: 2, times: None, kind };
    for kind in [
        S3FaultKind::SlowDown,
        S3FaultKind::FailsAfter,
        S3FaultKind::AnswerLost,
        S3FaultKind::Late(20),
        S3FaultKind::Collides,
    ] {
        s3.fault(all("PUT", kind));
    }
    for kind in [S3FaultKind::SlowDown, S3FaultKind::Fails, S3FaultKind::AnswerLost] {
        s3.fault(all("GET", kind));
    }
}

/// The next write of an object whose key has this text.
pub(crate) fn next_put(s3: &S3, contains: &'static str, kind: S3FaultKind) {
    s3.clear_faults();
    s3.fault(S3Fault { method: "PUT", contains, percent: 100, times: Some(1), kind });
}

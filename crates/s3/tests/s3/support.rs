//! Stores over a fake S3, and over an emulator.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use landfall_awsfake::s3::S3;
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

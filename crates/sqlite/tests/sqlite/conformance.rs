//! The suites of the two ports, and exactly when a lease ends.

use std::sync::Arc;

use landfall_ports::journal::Journal;
use landfall_sqlite::{OpenOptions, SqliteStore};
use landfall_testkit::conformance::{self, sample};

use crate::common::{ManualBoot, subject};

#[tokio::test(flavor = "multi_thread")]
async fn the_journals_promises() {
    conformance::journal(subject).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_promises() {
    conformance::store(subject).await;
}

#[tokio::test]
async fn a_lease_ends_at_its_time_on_the_boot_clock() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualBoot::default());
    let options = OpenOptions { clock: Some(clock.clone()), ..OpenOptions::default() };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    store.create(sample::execution(1, 1)).await.unwrap();
    let lease = store.claim("a", 1000, 9).await.unwrap().remove(0);
    clock.pass(999);
    assert!(store.claim("b", 1000, 9).await.unwrap().is_empty(), "one millisecond early");
    store.renew("a", 1000, std::slice::from_ref(&lease)).await.unwrap();
    clock.pass(999);
    assert!(store.claim("b", 1000, 9).await.unwrap().is_empty(), "renewed from then on");
    clock.pass(1);
    assert_eq!(store.claim("b", 1000, 9).await.unwrap()[0].epoch, lease.epoch + 1);

    // A young machine: the expiry of before the reboot lies far ahead of its clock, and means nothing.
    clock.pass(10_000_000);
    let lease = store.claim("c", 1000, 9).await.unwrap().remove(0);
    clock.reboot();
    assert_eq!(store.claim("d", 1000, 9).await.unwrap()[0].epoch, lease.epoch + 1);
}

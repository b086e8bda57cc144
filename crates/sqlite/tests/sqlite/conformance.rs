//! The suites of the two ports, and exactly when a lease ends.

use landfall_ports::journal::Journal;
use landfall_testkit::conformance::{self, Subject, fixtures};

use crate::common::Clocked;

#[tokio::test(flavor = "multi_thread")]
async fn the_journals_promises() {
    conformance::journal(async || Clocked::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_promises() {
    conformance::store(async || Clocked::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promises_about_runs() {
    conformance::runs(async || Clocked::new()).await;
}

#[tokio::test]
async fn a_lease_ends_at_its_time_on_the_boot_clock() {
    let subject = Clocked::new();
    let store = &subject.store;
    store.create(fixtures::execution("1", "env")).await.unwrap();
    let lease = store.claim("a", 1000, 9).await.unwrap().remove(0);
    subject.pass_ms(999).await;
    assert!(store.claim("b", 1000, 9).await.unwrap().is_empty(), "one millisecond early");
    store.renew("a", 1000, std::slice::from_ref(&lease)).await.unwrap();
    subject.pass_ms(999).await;
    assert!(store.claim("b", 1000, 9).await.unwrap().is_empty(), "renewed from then on");
    subject.pass_ms(1).await;
    assert_eq!(store.claim("b", 1000, 9).await.unwrap()[0].epoch, lease.epoch + 1);

    // A young machine: the expiry of before the reboot lies far ahead of its clock, and means nothing.
    subject.pass_ms(10_000_000).await;
    let lease = store.claim("c", 1000, 9).await.unwrap().remove(0);
    subject.reboot().await;
    assert_eq!(store.claim("d", 1000, 9).await.unwrap()[0].epoch, lease.epoch + 1);
}

//! AWS emulators, one of each kind to a test process. Tests keep out of each other's way by account (ministack takes a key of twelve
//! digits as one) or by region.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use landfall_testkit::emulator::{self, Emulator};

pub(crate) fn moto() -> String {
    static MOTO: LazyLock<Emulator> = LazyLock::new(emulator::moto);
    MOTO.url.clone()
}

pub(crate) fn ministack() -> String {
    static MINISTACK: LazyLock<Emulator> = LazyLock::new(|| emulator::ministack(&[]));
    MINISTACK.url.clone()
}

/// Checks signatures and rights, but those of `test`, its root.
pub(crate) fn checking_ministack() -> String {
    static MINISTACK: LazyLock<Emulator> = LazyLock::new(|| emulator::ministack(&[("AUTH", "true")]));
    MINISTACK.url.clone()
}

/// An account that no other test of this process has.
pub(crate) fn account() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:012}", 310_000_000_000 + NEXT.fetch_add(1, Ordering::Relaxed))
}

/// ministack takes the key as the account id where it has twelve digits; nobody checks the signature.
pub(crate) fn credentials(key: &str) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new(key, "test", None, None, "tests"))
}

//! One suite for every implementation of the journal and store ports: each promise of the ports' documentation is a case
//! here, run on a fresh subject. An implementation's tests call [`journal()`] and [`store()`] with a way to make one.

pub mod journal;
pub mod sample;
pub mod store;

use std::sync::Arc;

use landfall_ports::journal::Journal;
use landfall_ports::store::Store;

pub use journal::journal;
pub use store::store;

/// An empty journal and the store that shares its transactions.
pub struct Subject {
    pub journal: Arc<dyn Journal>,
    pub store: Arc<dyn Store>,
    /// Lets more time pass on the leases' clock than [`TTL_MS`].
    pub expire_leases: Box<dyn Fn() + Send + Sync>,
    /// Another boot of the machine: the clock starts again near zero.
    pub reboot: Box<dyn Fn() + Send + Sync>,
    /// Dropped last: a temporary directory, for example.
    pub keep: Box<dyn std::any::Any + Send + Sync>,
}

impl Subject {
    /// Over [`crate::Mem`].
    pub fn memory() -> Self {
        let mem = Arc::new(crate::Mem::default());
        let (clock, boot) = (Arc::clone(&mem), Arc::clone(&mem));
        Self {
            journal: Arc::clone(&mem) as Arc<dyn Journal>,
            store: mem,
            expire_leases: Box::new(move || clock.expire_leases()),
            reboot: Box::new(move || boot.expire_leases()),
            keep: Box::new(()),
        }
    }
}

/// What the suite asks leases for: no case takes this long on a real clock.
pub const TTL_MS: u64 = 600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_keeps_the_journals_promises() {
        journal(Subject::memory).await;
    }

    #[tokio::test]
    async fn memory_keeps_the_stores_promises() {
        store(Subject::memory).await;
    }
}

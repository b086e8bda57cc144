//! `changed()`: wakes followers in this process without losing a wake-up, and lets them look now and then for what other
//! machines did.
//!
//! Every change raises a generation, and every task is remembered with the generation it was last told of: a task that was told
//! of an older one returns at once. So a change between a follower's read and its wait is not lost, whoever else was told.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::Id;

/// Tasks remembered. Tasks end without telling, so the memory is emptied when full.
const REMEMBERED: usize = 1024;

pub(crate) struct Changes {
    generation: watch::Sender<u64>,
    told: Mutex<HashMap<Option<Id>, u64>>,
    look: Duration,
}

impl Changes {
    /// `look`: how long a follower waits at most.
    pub(crate) fn new(look: Duration) -> Self {
        Self { generation: watch::Sender::new(1), told: Mutex::default(), look }
    }

    pub(crate) fn announce(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    pub(crate) async fn changed(&self) {
        let task = tokio::task::try_id();
        let seen = self.told.lock().unwrap_or_else(PoisonError::into_inner).get(&task).copied().unwrap_or(0);
        let mut receiver = self.generation.subscribe();
        let news = tokio::time::timeout(self.look, receiver.wait_for(|generation| *generation > seen)).await;
        let now = news.ok().and_then(Result::ok).map_or(seen, |generation| *generation);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(task, now);
    }
}

//! `changed()` of journals and stores: wakes those who follow, without losing a wake-up.
//!
//! The race: a follower reads, finds nothing, and a change is committed before it waits. A plain notification would be
//! gone; a stored permit would be taken by whichever of several followers comes first, and the others would sleep through
//! the change. So every change raises a generation, and every task is remembered with the generation it was last told of:
//! a task that was told of an older one returns at once, whoever else was told meanwhile. A task seen for the first time
//! returns at once too (a spurious wake-up, which the ports allow), and so does everyone after the memory was cleared.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::Id;

/// Tasks remembered. Tasks end without telling, so the memory is emptied when full.
const REMEMBERED: usize = 1024;

#[derive(Debug)]
pub struct Changes {
    generation: watch::Sender<u64>,
    /// `None`: outside any task, that is in `block_on`.
    told: Mutex<HashMap<Option<Id>, u64>>,
    look: Option<Duration>,
}

impl Changes {
    /// `look`: how long a follower waits at most, where other processes write too and nobody announces that here.
    pub fn new(look: Option<Duration>) -> Self {
        Self { generation: watch::Sender::new(1), told: Mutex::default(), look }
    }

    /// After the commit, never before.
    pub fn announce(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Resolves when something was announced since this task's call before, when it is time to look, or spuriously. Cancel-safe.
    pub async fn changed(&self) {
        let task = tokio::task::try_id();
        let seen = self.told.lock().unwrap_or_else(PoisonError::into_inner).get(&task).copied().unwrap_or(0);
        let mut receiver = self.generation.subscribe();
        // Fails only when the sender is gone, and `self` holds it.
        let news = receiver.wait_for(|generation| *generation > seen);
        let news = match self.look {
            None => news.await.ok(),
            Some(look) => tokio::time::timeout(look, news).await.ok().and_then(Result::ok),
        };
        let now = news.map_or(seen, |generation| *generation);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(task, now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_change_between_two_calls_is_not_lost_on_any_follower() {
        let changes = Arc::new(Changes::new(None));
        let (woken, mut wakes) = tokio::sync::mpsc::unbounded_channel();
        let mut gates = Vec::new();
        for follower in 0..3 {
            let (gate, mut opened) = tokio::sync::mpsc::unbounded_channel::<()>();
            gates.push(gate);
            let (changes, woken) = (Arc::clone(&changes), woken.clone());
            tokio::spawn(async move {
                changes.changed().await;
                let _ = woken.send(follower);
                // Busy until told otherwise: the change below happens meanwhile.
                while opened.recv().await.is_some() {
                    changes.changed().await;
                    let _ = woken.send(follower);
                }
            });
        }
        for _ in 0..3 {
            wakes.recv().await.unwrap();
        }
        changes.announce();
        for (follower, gate) in gates.iter().enumerate() {
            gate.send(()).unwrap();
            assert_eq!(wakes.recv().await, Some(follower), "each of them hears of the one change");
        }
    }

    #[tokio::test]
    async fn without_a_change_it_waits() {
        let changes = Changes::new(None);
        changes.changed().await;
        let quiet = tokio::time::timeout(Duration::from_millis(20), changes.changed()).await;
        assert!(quiet.is_err(), "nothing was announced");
        changes.announce();
        tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.unwrap();
    }
}

//! Notices and their fan-out, as a part of the table of contents. Pure.
//!
//! As in SQLite: a notice is told once by its id, to every target configured at that moment; before targets were ever set it
//! waits for the first ones. What differs: several runners send. A row that one of them was given is left alone by the others for
//! [`TAKEN_MS`], or a runner that died with it would keep it for ever.

use std::collections::BTreeMap;

use landfall_model::Timestamp;
use landfall_model::notice::Notice;
use landfall_ports::store::OutboxRow;
use serde::{Deserialize, Serialize};

/// Longer than a round of sending takes, with a target that does not answer.
const TAKEN_MS: i64 = 120_000;
/// Ids of notices that are remembered, so that a replay does not tell them again.
const REMEMBERED: usize = 500;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outbox {
    /// `None`: never set.
    targets: Option<Vec<String>>,
    /// Those with rows, and those that wait for the first targets.
    notices: BTreeMap<String, Notice>,
    waiting: Vec<String>,
    /// Oldest first.
    known: Vec<String>,
    rows: Vec<Row>,
    last_row: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    seq: u64,
    notice: String,
    target: String,
    attempts: u32,
    due: Option<Timestamp>,
    taken: Option<Taken>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    by: String,
    /// On S3's clock.
    until: i64,
}

impl Outbox {
    /// Whether any was new.
    pub(crate) fn insert(&mut self, notices: &[Notice]) -> bool {
        let mut new = false;
        for notice in notices {
            if self.known.contains(&notice.id) {
                continue;
            }
            new = true;
            self.known.push(notice.id.clone());
            match &self.targets {
                None => {
                    self.notices.insert(notice.id.clone(), notice.clone());
                    self.waiting.push(notice.id.clone());
                }
                Some(_) => self.fan_out(notice.clone()),
            }
        }
        let surplus = self.known.len().saturating_sub(REMEMBERED);
        self.known.drain(..surplus);
        new
    }

    fn fan_out(&mut self, notice: Notice) {
        for target in self.targets.clone().unwrap_or_default() {
            self.last_row += 1;
            let (seq, notice) = (self.last_row, notice.id.clone());
            self.rows.push(Row { seq, notice, target, attempts: 0, due: None, taken: None });
            // Last, so that a notice that nobody is told of is not kept.
        }
        if self.rows.iter().any(|row| row.notice == notice.id) {
            self.notices.insert(notice.id.clone(), notice);
        }
    }

    /// `false`: they are set so already.
    pub(crate) fn set_targets(&mut self, targets: &[String]) -> bool {
        let mut names: Vec<String> = Vec::new();
        for target in targets {
            if !names.contains(target) {
                names.push(target.clone());
            }
        }
        if self.targets.as_ref() == Some(&names) {
            return false;
        }
        self.rows.retain(|row| names.contains(&row.target));
        self.targets = Some(names);
        for id in std::mem::take(&mut self.waiting) {
            if let Some(notice) = self.notices.remove(&id) {
                self.fan_out(notice);
            }
        }
        self.forget();
        true
    }

    fn is_due(row: &Row, now: Timestamp, me: &str, server: i64) -> bool {
        let free = row.taken.as_ref().is_none_or(|taken| taken.by == me || taken.until <= server);
        free && row.due.is_none_or(|due| due <= now)
    }

    /// Rows that `me` may send now, and whether all of them are known to be `me`'s. `server`: at the earliest it is so late.
    pub(crate) fn due(&self, now: Timestamp, limit: u32, me: &str, server: i64) -> (Vec<OutboxRow>, bool) {
        let due = self.rows.iter().filter(|row| Self::is_due(row, now, me, server)).take(limit as usize);
        let mut all_taken = true;
        let rows = due.filter_map(|row| {
            all_taken &= row.taken.as_ref().is_some_and(|taken| taken.by == me && taken.until > server + TAKEN_MS / 2);
            let notice = self.notices.get(&row.notice)?.clone();
            Some(OutboxRow { seq: row.seq, notice, target: row.target.clone(), attempts: row.attempts })
        });
        (rows.collect(), all_taken)
    }

    /// The same, and they are `me`'s for a while.
    pub(crate) fn take(&mut self, now: Timestamp, limit: u32, me: &str, server: i64) -> Vec<OutboxRow> {
        let due = self.rows.iter_mut().filter(|row| Self::is_due(row, now, me, server)).take(limit as usize);
        for row in due {
            row.taken = Some(Taken { by: me.to_owned(), until: server + TAKEN_MS });
        }
        self.due(now, limit, me, server).0
    }

    pub(crate) fn done(&mut self, seqs: &[u64]) -> bool {
        let before = self.rows.len();
        self.rows.retain(|row| !seqs.contains(&row.seq));
        self.forget();
        before != self.rows.len()
    }

    /// One more attempt failed; without `retry_at` it was the last.
    pub(crate) fn failed(&mut self, seq: u64, retry_at: Option<Timestamp>) -> bool {
        let Some(retry_at) = retry_at else { return self.done(&[seq]) };
        let Some(row) = self.rows.iter_mut().find(|row| row.seq == seq) else { return false };
        row.attempts += 1;
        row.due = Some(retry_at);
        row.taken = None;
        true
    }

    /// Not yet sent, whoever has them.
    pub(crate) fn depth(&self) -> usize {
        self.rows.len()
    }

    fn forget(&mut self) {
        let Self { notices, rows, waiting, .. } = self;
        notices.retain(|id, _| waiting.contains(id) || rows.iter().any(|row| row.notice == *id));
    }
}

#[cfg(test)]
mod tests {
    use landfall_testkit::conformance::fixtures::{at, notice};

    use super::*;

    fn outbox() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.set_targets(&["log".to_owned()]);
        assert!(outbox.insert(&[notice("n-1", 1), notice("n-2", 1)]));
        outbox
    }

    #[test]
    fn two_runners_never_send_the_same_row() {
        let mut outbox = outbox();
        assert_eq!(outbox.take(at(5), 1, "a", 0).len(), 1);
        let ids = |rows: Vec<OutboxRow>| rows.into_iter().map(|row| row.notice.id).collect::<Vec<_>>();
        assert_eq!(ids(outbox.take(at(5), 10, "b", 1000)), ["n-2"]);
        assert!(outbox.due(at(5), 10, "a", 1000).1);
        // The one that died with it.
        assert_eq!(ids(outbox.take(at(5), 10, "b", TAKEN_MS + 1)), ["n-1", "n-2"]);
        assert!(ids(outbox.take(at(5), 10, "a", TAKEN_MS + 2)).is_empty());
    }

    #[test]
    fn what_is_over_leaves_nothing_but_its_id() {
        let mut outbox = outbox();
        assert!(outbox.done(&[1]) && outbox.failed(2, None));
        assert!(outbox.notices.is_empty() && outbox.rows.is_empty());
        assert!(!outbox.insert(&[notice("n-1", 1), notice("n-2", 1)]));
        for n in 0..1000 {
            outbox.insert(&[notice(&format!("m-{n}"), 1)]);
        }
        assert_eq!(outbox.known.len(), REMEMBERED);
    }
}

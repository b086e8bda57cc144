//! Following: records of all executions in the order in which this process learned of them.
//!
//! No number orders the commits of several objects, so a cursor is this process's own. What it commits itself it learns of at
//! once, in the order of its commits; what others do, when it looks. A cursor is never less than S3's clock in microseconds
//! when it is given, so one that another process saved is behind everything that is learned here: whoever goes on from it
//! reads some records again and misses none of executions that are unfinished, or finished since.

use std::collections::{HashMap, VecDeque};

use landfall_ports::journal::{JournalEntry, JournalResult};

use crate::contents::{Contents, Entry};
use crate::execution::ExecutionObject;

/// Entries kept for followers, who read every few seconds.
const KEPT: usize = 50_000;
/// For clocks that differ, and for a table that was marked some time after the finish.
const MARGIN_MS: i64 = 120_000;

#[derive(Default)]
pub(crate) struct Follow {
    log: VecDeque<JournalEntry>,
    /// Versions in the log, by execution.
    seen: HashMap<String, u64>,
    last: u64,
}

impl Follow {
    /// Puts what is new of an execution into the log. `now`: S3's clock.
    pub(crate) fn learn(&mut self, object: &ExecutionObject, now: i64) -> JournalResult<()> {
        let seen = self.seen.get(&object.id).copied().unwrap_or(0);
        if object.version <= seen {
            return Ok(());
        }
        let micros = u64::try_from(now).unwrap_or(0).saturating_mul(1000);
        let news = object.news(seen, self.last.max(micros))?;
        if let Some(last) = news.last() {
            self.last = last.cursor;
        }
        self.log.extend(news);
        self.seen.insert(object.id.clone(), object.version);
        while self.log.len() > KEPT {
            self.log.pop_front();
        }
        Ok(())
    }

    /// Drops what was compacted.
    pub(crate) fn compacted(&mut self, id: &str, version: u64) {
        self.log.retain(|entry| entry.execution.as_str() != id || entry.version > version);
    }

    /// Executions that may have records after `cursor` which are not in the log. `sure`: nobody but this process writes it now.
    pub(crate) fn to_read<'a>(
        &self,
        contents: &'a Contents,
        cursor: u64,
        sure: impl Fn(&Entry, u64) -> bool,
    ) -> Vec<&'a Entry> {
        let since = i64::try_from(cursor / 1000).unwrap_or(i64::MAX).saturating_sub(MARGIN_MS);
        let unread = |entry: &&Entry| {
            let seen = self.seen.get(&entry.id).copied();
            match entry.finished {
                Some(finished) => seen.map_or(finished.at >= since, |seen| seen < finished.version),
                None => !seen.is_some_and(|seen| sure(entry, seen)),
            }
        };
        contents.executions.iter().filter(unread).collect()
    }

    pub(crate) fn after(&self, cursor: u64, limit: u32) -> Vec<JournalEntry> {
        self.log.iter().filter(|entry| entry.cursor > cursor).take(limit as usize).cloned().collect()
    }
}

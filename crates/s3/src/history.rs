//! Where an execution is, and old executions on their pages.

use std::sync::Arc;

use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_ports::journal::{ExecutionSummary, JournalError, JournalResult};

use crate::backoff::random;
use crate::cell::{Cell, Change, Refused};
use crate::client::Failure;
use crate::contents::{Contents, Entry, Page, PageRef, Retention};
use crate::execution::ExecutionObject;
use crate::{Inner, failed, lock};

/// Deleted at once, of a page that goes.
const DELETED_AT_ONCE: usize = 16;

impl Inner {
    /// The object of an entry.
    pub(crate) fn cell(&self, entry: &Entry) -> Arc<Cell<ExecutionObject>> {
        let mut cells = lock(&self.executions);
        let cell = || Arc::new(Cell::new(self.client.clone(), entry.object.clone()));
        cells.entry(entry.id.clone()).or_insert_with(cell).clone()
    }

    /// The object of an execution. Once found it is known for good: an entry never names another object.
    pub(crate) async fn find(&self, id: &ExecutionId) -> JournalResult<Arc<Cell<ExecutionObject>>> {
        if let Some(cell) = lock(&self.executions).get(id.as_str()) {
            return Ok(cell.clone());
        }
        let contents = self.contents.read().await.map_err(failed::<JournalError>)?;
        if let Some(entry) = contents.entry(id.as_str()) {
            return Ok(self.cell(entry));
        }
        for page in contents.pages.iter().rev() {
            let page = self.page(page).await?;
            if let Some(entry) = page.entries.iter().find(|entry| entry.id == id.as_str()) {
                return Ok(self.cell(entry));
            }
        }
        Err(JournalError::NotFound(id.clone()))
    }

    pub(crate) async fn page(&self, page: &PageRef) -> JournalResult<Arc<Page>> {
        if let Some(page) = lock(&self.pages).get(&page.name) {
            return Ok(page.clone());
        }
        let read = Cell::<Page>::new(self.client.clone(), page.name.clone()).read().await;
        let read = read.map_err(failed::<JournalError>)?;
        lock(&self.pages).insert(page.name.clone(), read.clone());
        Ok(read)
    }

    /// The entry with this deduplication key, wherever it is.
    pub(crate) async fn entry_of_key(&self, contents: &Contents, digest: &str) -> JournalResult<Option<Entry>> {
        if let Some(entry) = contents.entry_of_key(digest) {
            return Ok(Some(entry.clone()));
        }
        let pages = contents.pages.iter().map(|page| self.page(page));
        for page in futures_util::future::try_join_all(pages).await? {
            if let Some(entry) = page.entries.iter().find(|entry| entry.has_key(digest)) {
                return Ok(Some(entry.clone()));
            }
        }
        Ok(None)
    }

    pub(crate) async fn summaries(
        &self,
        environment: Option<&EnvironmentId>,
        unfinished_only: bool,
        limit: usize,
    ) -> JournalResult<Vec<ExecutionSummary>> {
        let contents = self.contents.read().await.map_err(failed::<JournalError>)?;
        let wanted = |entry: &&Entry| entry.is_of(environment) && !(unfinished_only && entry.finished.is_some());
        let mut found: Vec<Entry> = contents.executions.iter().filter(wanted).cloned().collect();
        for page in contents.pages.iter().rev().take_while(|_| !unfinished_only) {
            // All that a page has is older than its last, but the table may still have older ones: unfinished, or releases.
            if found.iter().filter(|entry| entry.seq > page.last).count() >= limit {
                break;
            }
            found.extend(self.page(page).await?.entries.iter().filter(wanted).cloned());
        }
        found.sort_by_key(|entry| std::cmp::Reverse(entry.seq));
        // Some more, for those that turn out to be finished.
        let mut summaries = Vec::new();
        for entry in found {
            if summaries.len() >= limit {
                break;
            }
            let (version, finished) = match entry.finished {
                Some(finished) => (finished.version, true),
                None => {
                    let object = self.read_execution(&self.cell(&entry)).await.map_err(failed::<JournalError>)?;
                    (object.version, object.finished)
                }
            };
            if !(unfinished_only && finished) {
                summaries.push(entry.summary(version, finished));
            }
        }
        Ok(summaries)
    }

    /// Moves the oldest finished executions out of the table, if it has too many, and lets the oldest of all go. Best effort:
    /// whoever creates the next one does what is left.
    pub(crate) async fn prune(&self, retention: Retention) -> Result<bool, Failure> {
        let Some(contents) = self.contents.known() else { return Ok(false) };
        let Some(entries) = contents.surplus(retention) else { return Ok(false) };
        let name = format!("pages/{:012}-{:016x}.json", entries.last().map_or(0, |entry| entry.seq), random());
        let page = Cell::<Page>::new(self.client.clone(), name.clone());
        page.create(Page::of(entries.clone())).await?;
        let turned = self.contents.change(|contents| {
            let turned = contents.turn(&name, &entries);
            Ok::<_, ()>(if turned { Change::Write(true) } else { Change::Keep(false) })
        });
        if !turned.await.or_else(only_failures)? {
            self.client.delete(&name).await?;
            return Ok(false);
        }
        lock(&self.executions).retain(|id, _| !entries.iter().any(|entry| entry.id == *id));
        self.drop_oldest_page(retention.pages).await?;
        Ok(true)
    }

    /// The objects first: whoever is killed in between leaves a page by which the next one finds them.
    async fn drop_oldest_page(&self, most: usize) -> Result<(), Failure> {
        let Some(contents) = self.contents.known().filter(|contents| contents.pages.len() > most) else {
            return Ok(());
        };
        let Some(oldest) = contents.pages.first() else { return Ok(()) };
        let page = Cell::<Page>::new(self.client.clone(), oldest.name.clone()).read().await?;
        for some in page.entries.chunks(DELETED_AT_ONCE) {
            futures_util::future::try_join_all(some.iter().map(|entry| self.client.delete(&entry.object))).await?;
        }
        let dropped = self.contents.change(|contents| {
            let before = contents.pages.len();
            contents.pages.retain(|page| page.name != oldest.name);
            Ok::<_, ()>(if contents.pages.len() == before { Change::Keep(()) } else { Change::Write(()) })
        });
        dropped.await.or_else(only_failures)?;
        lock(&self.pages).remove(&oldest.name);
        self.client.delete(&oldest.name).await
    }
}

/// Of a change that refuses nothing.
pub(crate) fn only_failures<T: Default>(refused: Refused<()>) -> Result<T, Failure> {
    match refused {
        Refused::By(()) => Ok(T::default()),
        Refused::Failed(failure) => Err(failure),
    }
}

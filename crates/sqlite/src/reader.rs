//! A pool of read-only connections. Each read is one read transaction, so what it returns is of one moment.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::error::{Failure, TransactionError};
use crate::schema;

/// Reads at once; more wait. SQLite reads are short and mostly from the page cache.
const READERS: usize = 4;

pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::new(Vec::new()), permits: Semaphore::new(READERS) }
    }

    /// Runs `body` on a blocking thread.
    pub(crate) async fn read<T, E, F>(self: &Arc<Self>, body: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, Failure<E>> + Send + 'static,
        T: Send + 'static,
        E: TransactionError,
    {
        let closed = |_| E::unavailable("the database is closing".to_owned());
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let this = Arc::clone(self);
        match tokio::task::spawn_blocking(move || this.read_blocking(body)).await {
            Ok(result) => result.map_err(|Failure(error)| error),
            Err(_) => Err(E::unavailable("the read was cut off: Landfall is stopping".to_owned())),
        }
    }

    fn read_blocking<T, E, F>(&self, body: F) -> Result<T, Failure<E>>
    where
        F: FnOnce(&Connection) -> Result<T, Failure<E>>,
        E: TransactionError,
    {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.path)?,
        };
        connection.prepare_cached("BEGIN")?.execute([])?;
        let result = body(&connection);
        connection.prepare_cached("COMMIT")?.execute([])?;
        // Only a connection that ended its transaction comes back.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }
}

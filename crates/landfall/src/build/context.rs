//! Build contexts off the async threads; one is read only if it can have changed.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use landfall_ports::PortResult;
use serde::{Deserialize, Serialize};

use crate::build::Item;
use crate::build::kept::replace;
use crate::commands::port_error;
use crate::error::{CliError, CliResult};

/// Seconds after which no change can have the time of one before; file systems of other machines are coarse.
const SETTLED: i64 = 3;

/// A context's digest, as it was when nothing had changed yet.
#[derive(Serialize, Deserialize)]
struct Seen {
    stamp: String,
    digest: String,
}

/// Reads a context only if it can have changed since its digest was made.
pub(super) async fn context(root: &Path, state: &Path, item: &Item, room: PathBuf) -> CliResult<String> {
    let work = move |context: landfall_local::Context<'_>| {
        let path = room.join("context.json");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let stamp = landfall_local::context_stamp(context)?;
        let seen: Option<Seen> = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(seen) = seen.filter(|seen| seen.stamp == stamp.text) {
            return Ok(seen.digest);
        }
        let digest = landfall_local::context_digest(context)?;
        // What was changed just now may change again without a trace.
        if stamp.newest.saturating_add(SETTLED) < i64::try_from(now).unwrap_or_default() {
            let seen = Seen { stamp: stamp.text, digest: digest.clone() };
            // Without it the next time only takes longer.
            let text = serde_json::to_vec(&seen).unwrap_or_default();
            let _ = std::fs::create_dir_all(&room).and_then(|()| replace(&path, &text));
        }
        Ok(digest)
    };
    with_context(root, state, item, work).await
}

pub(super) async fn with_context<T: Send + 'static>(
    root: &Path,
    state: &Path,
    item: &Item,
    work: impl FnOnce(landfall_local::Context<'_>) -> PortResult<T> + Send + 'static,
) -> CliResult<T> {
    let (root, state, source) = (root.to_owned(), state.to_owned(), item.source.clone());
    let done = tokio::task::spawn_blocking(move || {
        let (directory, dockerfile) = (&*source.context, &*source.dockerfile);
        work(landfall_local::Context { root: &root, directory, dockerfile, state: Some(&state) })
    });
    done.await.map_err(|error| CliError::internal("reading a build context").cause(&error))?.map_err(port_error)
}

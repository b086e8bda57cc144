//! Finished runs that are old go, once a day.

use std::time::Duration;

use landfall_model::ids::RunId;
use landfall_pipeline::retention::{Remains, Retention, gone};
use landfall_ports::store::StoreResult;

use super::folded;
use crate::service::Inner;

pub(super) const EVERY: Duration = Duration::from_secs(24 * 3_600);

pub(super) async fn forget(inner: &Inner) {
    let Some(retention) = inner.config.runs else { return };
    match forgotten(inner, retention).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "old runs of pipelines are forgotten"),
        Err(error) => tracing::warn!(%error, "old runs of pipelines are not forgotten"),
    }
}

async fn forgotten(inner: &Inner, retention: Retention) -> StoreResult<usize> {
    let mut all = Vec::new();
    for id in inner.store.runs(u32::MAX).await? {
        if let Some(stored) = inner.store.run(&id).await? {
            // One that cannot be read stays where it is; and so its environments may be told by an older one.
            match folded(&stored) {
                Ok(run) => all.push(Remains::of(&run)),
                Err(error) => tracing::debug!(%error, "a run is left alone"),
            }
        }
    }
    let old = gone(&all, inner.clock.now(), retention);
    // Somebody may have taken one up again since: under this lock nobody does.
    let _deciding = inner.pipelines.deciding.lock().await;
    let live = inner.pipelines.live();
    let old: Vec<RunId> = old.into_iter().filter(|id| !live.contains(id)).collect();
    let count = inner.store.forget_runs(old.clone()).await?;
    let mut runs = inner.pipelines.runs();
    runs.retain(|id, _| !old.contains(id));
    Ok(count)
}

//! Finished runs that are old go, once a day.

use std::collections::BTreeSet;
use std::time::Duration;

use landfall_model::ids::RunId;
use landfall_pipeline::retention::{Remains, Retention, gone};
use landfall_ports::store::StoreResult;

use super::stack;
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
    let old = |live: &BTreeSet<RunId>| {
        let all: Vec<Remains> = inner.pipelines.runs().values().map(|known| Remains::of(&known.run)).collect();
        gone(&all, live, inner.clock.now(), retention)
    };
    if old(&BTreeSet::new()).is_empty() {
        return Ok(0);
    }
    // AWS is asked without the lock: a run that brings something meanwhile is too young to go.
    let live = stack::spoken_for(inner).await;
    // Under this lock nobody takes one up again.
    let _deciding = inner.pipelines.deciding.lock().await;
    let old = old(&live);
    let count = inner.store.forget_runs(old.clone()).await?;
    inner.pipelines.runs().retain(|id, _| !old.contains(id));
    Ok(count)
}

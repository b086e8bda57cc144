//! The reconciler: lists what there is, compares it with what should be (`planner::sweep`), and lets the difference in
//! through the door that webhooks come through. Orphans, which have no record, it deletes itself.
//!
//! The order matters: what exists is listed *before* the records are read. So a resource made in between has its record by
//! then, and is no orphan.

use std::collections::BTreeMap;

use landfall_model::event::Ask;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind};
use landfall_planner::{BranchList, Finding, FindingAction, SweepMemory, compare};
use landfall_ports::store::{StoreError, StoreResult};
use landfall_ports::{PortError, PortResult};
use tokio_util::sync::CancellationToken;

use crate::control::{GcAction, GcFinding, GcReport};
use crate::inbox;
use crate::service::Inner;

const MEMORY_KEY: &str = "sweep.memory";

pub(crate) async fn run(inner: &Inner, cancel: &CancellationToken) {
    let Some(every) = inner.config.reconcile_every else { return };
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            result = once(inner, false) => match result {
                Ok(report) => {
                    for finding in report.findings.iter().filter(|finding| finding.action != GcAction::Watch) {
                        tracing::info!(what = finding.what, error = finding.error, "{}", finding.why);
                    }
                }
                Err(error) => tracing::warn!(%error, "the world could not be compared"),
            }
        }
    }
}

pub(crate) async fn once(inner: &Inner, dry_run: bool) -> StoreResult<GcReport> {
    let _alone = inner.comparing.lock().await;
    let mut incomplete = Vec::new();
    // What is listed is at least as new as this.
    let seen = inner.clock.now();
    let owned = owned(inner, &mut incomplete).await;
    let branches = branches(inner, &mut incomplete).await;
    let memory: SweepMemory =
        inner.store.meta_get(MEMORY_KEY).await?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let records = inner.records.all();
    let comparison = compare(&inner.app, &records, &owned, &branches, &memory, seen);
    let mut order = comparison.findings;
    order.sort_by_key(|finding| match &finding.action {
        FindingAction::DeleteResource(resource) => ResourceKind::ALL.iter().position(|kind| *kind == resource.kind),
        _ => None,
    });
    let mut findings = Vec::with_capacity(order.len());
    for finding in order {
        let error = if dry_run { None } else { act(inner, &finding).await };
        let action = action(&finding);
        findings.push(GcFinding { what: finding.what, why: finding.why, action, error });
    }
    if !dry_run {
        let text = serde_json::to_string(&comparison.memory).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        inner.store.meta_put(MEMORY_KEY, &text).await?;
        inner.metrics.reconciled(inner.clock.now());
    }
    Ok(GcReport { findings, incomplete })
}

/// One failure never keeps the rest from being done.
async fn act(inner: &Inner, finding: &Finding) -> Option<String> {
    match &finding.action {
        FindingAction::Intent(intent) => inbox::put(inner, intent).await.err().map(|error| error.to_string()),
        FindingAction::DeleteResource(resource) => delete(inner, resource).await.err().map(|error| error.to_string()),
        FindingAction::Watch | FindingAction::Frozen => None,
    }
}

fn action(finding: &Finding) -> GcAction {
    match &finding.action {
        FindingAction::Intent(intent) if matches!(intent.ask, Ask::Destroy { .. }) => GcAction::Destroy,
        FindingAction::Intent(_) => GcAction::Create,
        FindingAction::DeleteResource(_) => GcAction::Delete,
        FindingAction::Watch => GcAction::Watch,
        FindingAction::Frozen => GcAction::Frozen,
    }
}

async fn delete(inner: &Inner, resource: &OwnedResource) -> PortResult<()> {
    // Something may have begun for that environment since the comparison, under the same names.
    let begun = inner.records.get(&resource.environment.as_str().into()).is_some_and(|record| record.live.is_some());
    if begun {
        return Err(PortError::Conflict(
            "an execution has begun for its environment; looked at again next time".to_owned(),
        ));
    }
    let platform = &inner.platform;
    match resource.kind {
        ResourceKind::Service
        | ResourceKind::Task
        | ResourceKind::TaskDefinition
        | ResourceKind::Container
        | ResourceKind::Network => platform.orchestrator.delete_owned(resource).await,
        ResourceKind::TargetGroup | ResourceKind::Rule | ResourceKind::Listener => {
            platform.load_balancer.delete_owned(resource).await
        }
        ResourceKind::Image => platform.images.delete_owned(resource).await,
    }
}

/// One listing per port; one that failed is there as an incomplete one.
async fn owned(inner: &Inner, incomplete: &mut Vec<String>) -> Vec<Listing<OwnedResource>> {
    let platform = &inner.platform;
    let listings = tokio::join!(
        platform.orchestrator.list_owned(None, &ResourceKind::ALL),
        platform.load_balancer.list_owned(None),
        platform.images.list_owned(None),
    );
    [("tasks and services", listings.0), ("load balancer", listings.1), ("images", listings.2)]
        .into_iter()
        .map(|(what, listing)| match listing {
            Ok(listing) => {
                if !listing.complete {
                    incomplete.push(format!("{what}: the listing is not complete"));
                }
                listing
            }
            Err(error) => {
                incomplete.push(format!("{what}: {error}"));
                Listing { items: Vec::new(), complete: false, at: inner.clock.now() }
            }
        })
        .collect()
}

async fn branches(
    inner: &Inner,
    incomplete: &mut Vec<String>,
) -> BTreeMap<landfall_model::ids::RepositoryKey, Option<BranchList>> {
    let mut found = BTreeMap::new();
    for (key, repository) in &inner.app.repositories {
        let list = match inner.branches.branches(repository).await {
            Ok(listing) => {
                if !listing.complete {
                    incomplete.push(format!("branches of `{key}`: the listing is empty or not complete"));
                }
                let branches = listing.items.into_iter().map(|branch| (branch.name, branch.commit)).collect();
                Some(BranchList { branches, complete: listing.complete })
            }
            Err(PortError::NotFound(_)) => None,
            Err(error) => {
                incomplete.push(format!("branches of `{key}`: {error}"));
                None
            }
        };
        found.insert(key.clone(), list);
    }
    found
}

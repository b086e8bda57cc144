//! resources.sweep, resources.verify_gone, and the look-up by tag that every undo uses.

use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_EXECUTION};
use landfall_model::step::{SweepResources, VerifyGone};
use landfall_ports::PortResult;
use landfall_ports::steps::StepContext;
use landfall_workflow::event::StepError;

use crate::error::{deleting, port, retryable};
use crate::{SOON_MS, StepResult, Steps, codes, done, pending};

impl Steps {
    /// The resources of `kind` in `listing` that this execution made.
    pub(crate) fn made_by(
        &self,
        cx: &StepContext,
        listing: PortResult<Listing<OwnedResource>>,
        kind: ResourceKind,
    ) -> Result<Vec<OwnedResource>, StepError> {
        let mut items = complete(listing.map_err(port)?)?;
        items.retain(|resource| {
            resource.kind == kind && resource.tags.get(TAG_EXECUTION).map(String::as_str) == Some(cx.execution.as_str())
        });
        Ok(items)
    }

    async fn owned(&self, environment: &str, kinds: &[ResourceKind]) -> Result<Vec<OwnedResource>, StepError> {
        let platform = &self.platform;
        let all = [
            platform.orchestrator.list_owned(Some(environment), kinds).await,
            platform.load_balancer.list_owned(Some(environment)).await,
            platform.images.list_owned(Some(environment)).await,
        ];
        let mut owned = Vec::new();
        for listing in all {
            owned.extend(complete(listing.map_err(port)?)?);
        }
        owned.retain(|resource| kinds.contains(&resource.kind) && resource.environment == environment);
        owned.sort_by_key(|resource| ResourceKind::ALL.iter().position(|kind| *kind == resource.kind));
        Ok(owned)
    }

    /// Deletes what is listed and looks again until nothing is. One that fails does not keep the others.
    pub(crate) async fn sweep_resources(&self, params: &SweepResources) -> StepResult {
        let mut left = self.owned(&params.environment, &params.kinds).await?;
        let keep = |r: &OwnedResource| params.keep.iter().filter_map(|k| k.value()).any(|k| k == r.id || k == r.name);
        left.retain(|resource| !keep(resource));
        if left.is_empty() {
            return Ok(done());
        }
        let mut failed = None;
        for resource in &left {
            if let Err(error) = deleting(self.delete_owned(resource).await) {
                failed = Some(StepError { message: format!("{}: {}", describe(resource), error.message), ..error });
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(pending(SOON_MS, format!("deleting {}", list(&left)))),
        }
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        match resource.kind {
            ResourceKind::TargetGroup | ResourceKind::Rule | ResourceKind::Listener => {
                self.platform.load_balancer.delete_owned(resource).await
            }
            ResourceKind::Image => self.platform.images.delete_owned(resource).await,
            ResourceKind::Service
            | ResourceKind::Task
            | ResourceKind::TaskDefinition
            | ResourceKind::Container
            | ResourceKind::Network => self.platform.orchestrator.delete_owned(resource).await,
        }
    }

    /// "Destroyed" is said only after this has read back that nothing is left.
    pub(crate) async fn verify_gone(&self, params: &VerifyGone) -> StepResult {
        let left = self.owned(&params.environment, &ResourceKind::ALL).await?;
        if left.is_empty() {
            return Ok(done());
        }
        Err(retryable(codes::LEFT, format!("still there: {}", list(&left))))
    }
}

fn complete(listing: Listing<OwnedResource>) -> Result<Vec<OwnedResource>, StepError> {
    if listing.complete {
        return Ok(listing.items);
    }
    Err(retryable(codes::LISTING, "a listing was incomplete; nothing is deleted because of it"))
}

fn describe(resource: &OwnedResource) -> String {
    let kind = serde_json::to_value(resource.kind).ok();
    format!("{} {}", kind.as_ref().and_then(|k| k.as_str()).unwrap_or("resource").replace('_', " "), resource.name)
}

/// The first few by name.
fn list(resources: &[OwnedResource]) -> String {
    let shown: Vec<String> = resources.iter().take(5).map(describe).collect();
    let more = resources.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

//! resources.sweep, resources.verify_gone, and the look-up by tag that every undo uses.

use landfall_model::inventory::{Listing, OwnedResource, ResourceKind, TAG_ENVIRONMENT, TAG_EXECUTION, TAG_SERVICE};
use landfall_model::step::{RouteTarget, SweepResources, VerifyGone};
use landfall_ports::PortResult;
use landfall_ports::load_balancer::RouteDescription;
use landfall_ports::steps::StepContext;
use landfall_workflow::event::StepError;

use crate::error::{deleting, port, retryable};
use crate::{SOON_MS, StepResult, Steps, codes, done, few, pending};

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
        let services = params.kinds.contains(&ResourceKind::Service);
        let serving = |r: &OwnedResource| r.kind == ResourceKind::Task && r.tags.contains_key(TAG_SERVICE);
        left.retain(|resource| !keep(resource) && (services || !serving(resource)));
        let mut failed = None;
        let former = match &params.keep_route {
            Some(route) => self.former_routes(&params.environment, route).await?,
            None => Vec::new(),
        };
        for route in &former {
            if let Err(error) = deleting(self.platform.load_balancer.delete_route(route, &params.environment).await) {
                failed = Some(StepError { message: format!("route {}: {}", route.url(), error.message), ..error });
            }
        }
        if left.is_empty() && former.is_empty() {
            return Ok(done());
        }
        for resource in &left {
            if let Err(error) = deleting(self.delete_owned(resource).await) {
                failed = Some(StepError { message: format!("{}: {}", describe(resource), error.message), ..error });
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                let what = former.iter().map(|route| format!("route {}", route.url())).chain(left.iter().map(describe));
                Ok(pending(SOON_MS, format!("deleting {}", few(&what.collect::<Vec<_>>()))))
            }
        }
    }

    pub(crate) async fn undo_sweep(&self, params: &SweepResources) -> StepResult {
        if params.undo_kinds.is_empty() {
            return Ok(done());
        }
        let all = SweepResources {
            environment: params.environment.clone(),
            kinds: params.undo_kinds.clone(),
            keep: Vec::new(),
            keep_route: None,
            undo_kinds: Vec::new(),
        };
        self.sweep_resources(&all).await
    }

    /// The environment's routes besides `keep`; none unless `keep` is seen among them, so that a name written in another
    /// way never takes the route away that serves.
    async fn former_routes(&self, environment: &str, keep: &RouteTarget) -> Result<Vec<RouteTarget>, StepError> {
        let routes = complete(self.platform.load_balancer.routes().await.map_err(port)?)?;
        let ours = |route: &RouteDescription| route.tags.get(TAG_ENVIRONMENT).map(String::as_str) == Some(environment);
        let ours: Vec<RouteTarget> = routes.into_iter().filter(ours).map(|route| route.route).collect();
        let stays = |route: &RouteTarget| route.url().eq_ignore_ascii_case(&keep.url());
        if !ours.iter().any(stays) {
            return Ok(Vec::new());
        }
        Ok(ours.into_iter().filter(|route| !stays(route)).collect())
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
        let left: Vec<String> = left.iter().map(describe).collect();
        Err(retryable(codes::LEFT, format!("still there: {}", few(&left))))
    }
}

fn complete<T>(listing: Listing<T>) -> Result<Vec<T>, StepError> {
    if listing.complete {
        return Ok(listing.items);
    }
    Err(retryable(codes::LISTING, "a listing was incomplete; nothing is deleted because of it"))
}

fn describe(resource: &OwnedResource) -> String {
    let kind = serde_json::to_value(resource.kind).ok();
    format!("{} {}", kind.as_ref().and_then(|k| k.as_str()).unwrap_or("resource").replace('_', " "), resource.name)
}

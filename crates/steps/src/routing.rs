//! target_group.ensure, route.ensure, targets.healthy, url.probe, route.delete, target_group.delete.

use landfall_model::inventory::ResourceKind;
use landfall_model::step::{
    DeleteRoute, DeleteTargetGroup, EnsureRoute, EnsureTargetGroup, Input, ProbeUrl, RouteTarget, TargetsHealthy,
};
use landfall_ports::PortError;
use landfall_ports::load_balancer::TargetState;
use landfall_ports::steps::{Progress, StepContext};
use landfall_workflow::event::{ErrorClass, StepError};
use serde_json::json;

use crate::error::{deleting, fatal, port, step_error};
use crate::{SOON_MS, StepResult, Steps, codes, done, pending};

impl Steps {
    pub(crate) async fn ensure_target_group(&self, params: &EnsureTargetGroup) -> StepResult {
        let put = self.platform.load_balancer.put_target_group(params).await.map_err(port)?;
        Ok(Progress::Done(json!({"target_group": put.handle, "created": put.created})))
    }

    pub(crate) async fn undo_target_group(&self, cx: &StepContext, params: &EnsureTargetGroup) -> StepResult {
        let balancer = &self.platform.load_balancer;
        let listing = balancer.list_owned(Some(cx.environment.as_str())).await;
        let made = self.made_by(cx, listing, ResourceKind::TargetGroup)?;
        if made.iter().any(|group| group.name == params.name) {
            deleting(balancer.delete_target_group(&params.name, cx.environment.as_str()).await)?;
        }
        Ok(done())
    }

    pub(crate) async fn ensure_route(&self, params: &EnsureRoute) -> StepResult {
        let target_group = value(&params.target_group)?;
        match self.platform.load_balancer.put_route(&params.route, target_group, &params.tags).await {
            Ok(put) => Ok(Progress::Done(
                json!({"url": put.url.unwrap_or_else(|| params.route.url()), "created": put.created}),
            )),
            // The plan chose a port that was free then: the choice has gone stale, and the next plan chooses again.
            Err(PortError::Conflict(message)) if matches!(params.route, RouteTarget::Port { .. }) => {
                Err(step_error(ErrorClass::Stale, codes::PORT_TAKEN, message))
            }
            Err(error) => Err(port(error)),
        }
    }

    pub(crate) async fn undo_route(&self, cx: &StepContext, params: &EnsureRoute) -> StepResult {
        let balancer = &self.platform.load_balancer;
        let kind = match params.route {
            RouteTarget::Host { .. } => ResourceKind::Rule,
            RouteTarget::Port { .. } => ResourceKind::Listener,
        };
        let made = self.made_by(cx, balancer.list_owned(Some(cx.environment.as_str())).await, kind)?;
        if !made.is_empty() {
            deleting(balancer.delete_route(&params.route, cx.environment.as_str()).await)?;
        }
        Ok(done())
    }

    pub(crate) async fn targets_healthy(&self, params: &TargetsHealthy) -> StepResult {
        let targets = self.platform.load_balancer.target_health(value(&params.target_group)?).await.map_err(port)?;
        let of = |state| targets.iter().filter(|target| target.state == state).count();
        let healthy = of(TargetState::Healthy);
        let minimum = usize::try_from(params.minimum).unwrap_or(usize::MAX);
        if healthy >= minimum && of(TargetState::Initial) == 0 {
            return Ok(Progress::Done(json!({"healthy": healthy})));
        }
        let why = targets.iter().find_map(|t| t.reason.as_ref().map(|reason| format!(": {} {reason}", t.target)));
        Ok(pending(SOON_MS, format!("{healthy} of {minimum} targets healthy{}", why.unwrap_or_default())))
    }

    pub(crate) async fn probe_url(&self, params: &ProbeUrl) -> StepResult {
        let url = value(&params.url)?;
        match self.platform.load_balancer.probe(url).await.map_err(port)? {
            Some(status) if status < 500 => Ok(Progress::Done(json!({"url": url, "status": status}))),
            Some(status) => Ok(pending(2 * SOON_MS, format!("{url} answers {status}"))),
            None => Ok(pending(2 * SOON_MS, format!("{url} does not answer yet"))),
        }
    }

    pub(crate) async fn delete_route(&self, params: &DeleteRoute) -> StepResult {
        deleting(self.platform.load_balancer.delete_route(&params.route, &params.environment).await)?;
        Ok(done())
    }

    pub(crate) async fn delete_target_group(&self, params: &DeleteTargetGroup) -> StepResult {
        deleting(self.platform.load_balancer.delete_target_group(&params.name, &params.environment).await)?;
        Ok(done())
    }
}

/// The engine has replaced every output reference before a handler is called.
pub(crate) fn value(input: &Input) -> Result<&str, StepError> {
    input.value().ok_or_else(|| fatal(codes::PARAMETERS, "an output that the step needs is not known"))
}

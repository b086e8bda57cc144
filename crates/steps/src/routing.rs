//! target_group.ensure, route.ensure, targets.healthy, url.probe, route.delete, target_group.delete.

use landfall_model::inventory::{ResourceKind, TAG_ENVIRONMENT, Tags};
use landfall_model::step::{
    DeleteRoute, DeleteTargetGroup, EnsureRoute, EnsureTargetGroup, Input, ProbeUrl, RouteTarget, StepParams,
    TargetsHealthy,
};
use landfall_ports::PortError;
use landfall_ports::load_balancer::{TargetGroupSettings, TargetState};
use landfall_ports::steps::{Progress, StepContext};
use landfall_workflow::FALLBACK;
use landfall_workflow::event::{ErrorClass, StepError};
use serde_json::{Value, json};

use crate::error::{deleting, fatal, port, step_error, with_detail};
use crate::{SOON_MS, StepResult, Steps, codes, done, pending, typed};

impl Steps {
    /// A group that is there with other settings is changed by the first poll only: by then its former settings are in the
    /// journal, so that no crash between the change and its record loses them.
    pub(crate) async fn start_target_group(&self, cx: &StepContext, params: &EnsureTargetGroup) -> StepResult {
        match self.our_target_group(cx, &params.name).await? {
            Some(former) if former != TargetGroupSettings::from(params) => Ok(Progress::Pending {
                token: json!({"former": former}),
                poll_after_ms: 0,
                note: Some("its settings change".to_owned()),
            }),
            _ => self.put_target_group(params, None).await,
        }
    }

    pub(crate) async fn poll_target_group(
        &self,
        cx: &StepContext,
        params: &EnsureTargetGroup,
        token: &Value,
    ) -> StepResult {
        match former(Some(token)) {
            Some(former) => self.put_target_group(params, Some(former)).await,
            None => self.start_target_group(cx, params).await,
        }
    }

    async fn put_target_group(&self, params: &EnsureTargetGroup, former: Option<TargetGroupSettings>) -> StepResult {
        let put = self.platform.load_balancer.put_target_group(params).await.map_err(port)?;
        let mut output = json!({"target_group": put.handle, "created": put.created});
        if let Some(former) = former {
            output["former"] = json!(former);
        }
        Ok(Progress::Done(output))
    }

    /// What this execution made goes; what was there before is set as it was: before this execution, or before all that were
    /// cut short since one last succeeded.
    pub(crate) async fn undo_target_group(
        &self,
        cx: &StepContext,
        params: &EnsureTargetGroup,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> StepResult {
        let balancer = &self.platform.load_balancer;
        let listing = balancer.list_owned(Some(cx.environment.as_str())).await;
        let made = self.made_by(cx, listing, ResourceKind::TargetGroup)?;
        if made.iter().any(|group| group.name == params.name) {
            deleting(balancer.delete_target_group(&params.name, cx.environment.as_str()).await)?;
            return Ok(done());
        }
        let good = match fallback(token)? {
            Some(StepParams::EnsureTargetGroup(good)) => Some(TargetGroupSettings::from(&good)),
            _ => None,
        };
        let Some(former) = good.or_else(|| former(output)).or_else(|| former(token)) else { return Ok(done()) };
        if self.our_target_group(cx, &params.name).await?.is_some_and(|now| now != former) {
            let back = EnsureTargetGroup {
                health_check: former.health_check,
                deregistration_delay: former.deregistration_delay,
                algorithm: former.algorithm,
                idle_timeout: former.idle_timeout,
                ..params.clone()
            };
            balancer.put_target_group(&back).await.map_err(port)?;
        }
        Ok(done())
    }

    /// `None`: there is none, or it is another environment's, or the platform cannot tell.
    async fn our_target_group(&self, cx: &StepContext, name: &str) -> Result<Option<TargetGroupSettings>, StepError> {
        let group = self.platform.load_balancer.describe_target_group(name).await.map_err(port)?;
        let ours = |tags: &Tags| tags.get(TAG_ENVIRONMENT).map(String::as_str) == Some(cx.environment.as_str());
        Ok(group.filter(|group| ours(&group.tags)).map(|group| group.settings))
    }

    pub(crate) async fn ensure_route(&self, params: &EnsureRoute) -> StepResult {
        let target_group = value(&params.target_group)?;
        match self.platform.load_balancer.put_route(&params.route, target_group, &params.tags).await {
            Ok(put) => Ok(Progress::Done(
                json!({"url": put.url.unwrap_or_else(|| params.route.url()), "created": put.created}),
            )),
            // The plan chose a port that was free then: the choice has gone stale, and the next plan chooses again.
            Err(PortError::Conflict(message)) if matches!(params.route, RouteTarget::Port { .. }) => {
                let stale = step_error(ErrorClass::Stale, codes::PORT_TAKEN, message);
                Err(with_detail(stale, &[PORT_TAKEN_HINT.to_owned()]))
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

const PORT_TAKEN_HINT: &str =
    "find who holds it (`ss -ltnp`), or give previews.routing.ports a range that nothing else takes ports from";

fn former(from: Option<&Value>) -> Option<TargetGroupSettings> {
    serde_json::from_value(from?.get("former")?.clone()).ok()
}

/// What the plan says to go back to, whatever the step found.
pub(crate) fn fallback(token: Option<&Value>) -> Result<Option<StepParams>, StepError> {
    token.and_then(|token| token.get(FALLBACK)).filter(|back| !back.is_null()).map(typed).transpose()
}

/// The engine has replaced every output reference before a handler is called.
pub(crate) fn value(input: &Input) -> Result<&str, StepError> {
    input.value().ok_or_else(|| fatal(codes::PARAMETERS, "an output that the step needs is not known"))
}

//! service.deploy of a count alone (`DeployService::only_count`). Who scales decides on a number, not on what runs: whatever
//! was deployed since the plan was made, by whomever, goes on running.

use landfall_model::step::{DeployService, WaitUntil};
use landfall_ports::PortError;
use landfall_ports::orchestrator::RolloutState;
use landfall_ports::steps::{Progress, StepContext};
use serde_json::{Value, json};

use crate::error::{fatal, port};
use crate::service::Before;
use crate::{SOON_MS, StepResult, Steps, codes, done};

impl Steps {
    /// Natural. Told again until it is seen: reads may be older than what was just written, and would show all tasks running.
    pub(crate) async fn set_count(&self, params: &DeployService, before: Option<Before>) -> StepResult {
        let orchestrator = &self.platform.orchestrator;
        orchestrator.scale_service(&params.name, params.desired_count).await.map_err(port)?;
        let mut token = before.map_or_else(|| json!({}), |before| before.write());
        token["service"] = json!(params.name);
        token["created"] = json!(false);
        if params.wait_until == WaitUntil::Started {
            return Ok(Progress::Done(token));
        }
        let Some(service) = orchestrator.find_service(&params.name).await.map_err(port)? else {
            return Err(fatal(codes::NOT_FOUND, format!("service {} was deleted meanwhile", params.name)));
        };
        let Some(primary) = service.deployments.first() else {
            return Err(port(PortError::Unavailable(format!("service {} shows no deployment yet", params.name))));
        };
        let note = Some("count is set".to_owned());
        if service.desired != params.desired_count {
            return Ok(self.paced(Progress::Pending { token, poll_after_ms: SOON_MS, note }));
        }
        token["deployment"] = json!(primary.id);
        Ok(Progress::Pending { token, poll_after_ms: SOON_MS, note })
    }

    /// The count of before, unless somebody has set another since.
    pub(crate) async fn undo_count(
        &self,
        cx: &StepContext,
        params: &DeployService,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> StepResult {
        let Some(before) = [token, output].into_iter().flatten().find_map(Before::read) else { return Ok(done()) };
        let Some(mut service) = self.to_undo(cx, params, output, token).await? else { return Ok(done()) };
        let orchestrator = &self.platform.orchestrator;
        if service.desired == params.desired_count && service.desired != before.desired_count {
            orchestrator.scale_service(&params.name, before.desired_count).await.map_err(port)?;
            match orchestrator.describe_service(&params.name).await.map_err(port)? {
                Some(now) => service = now,
                None => return Ok(done()),
            }
        }
        // Somebody's deployment that is under way, or came to nothing, is not waited for.
        let at_rest = service.deployments.first().is_some_and(|first| first.rollout == RolloutState::Completed);
        if at_rest && service.desired == before.desired_count && service.running != service.desired {
            let note = Some("going back to the count of before".to_owned());
            return Ok(Progress::Pending { token: before.write(), poll_after_ms: SOON_MS, note });
        }
        Ok(done())
    }
}

//! service.deploy, service.stop, service.delete.

use landfall_model::Timestamp;
use landfall_model::inventory::{ResourceKind, TAG_ENVIRONMENT, TAG_EXECUTION, TAG_INSTANCE, Tags};
use landfall_model::step::{DeployService, StepParams, StopService, WaitUntil};
use landfall_model::strategy::StrategyKind;
use landfall_ports::PortError;
use landfall_ports::orchestrator::{
    PutService, RolloutState, ServiceDescription, ServiceSettings, ServiceStatus, StopDeployment,
};
use landfall_ports::steps::{Progress, StepContext};
use landfall_workflow::event::StepError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::deployment::{deployment_error, given_up, note, pace};
use crate::error::{deleting, fatal, port};
use crate::routing::{fallback, value};
use crate::{SOON_MS, StepResult, Steps, codes, done, pending};

impl Steps {
    /// A service that is there is changed by the first poll only: by then what ran before is in the journal, so that no crash
    /// between the change and its record loses it. One that is being deleted has to be gone before it can be made again.
    pub(crate) async fn start_deploy(&self, cx: &StepContext, params: &DeployService) -> StepResult {
        let found = self.platform.orchestrator.find_service(&params.name).await.map_err(port)?;
        let mut there = found.filter(|service| is_ours(cx, service));
        if there.is_none() && params.adopt {
            // Taken over first, so that what ran before is in the journal as if it had been ours.
            there = self.platform.orchestrator.adopt_service(&params.name, &params.tags).await.map_err(port)?;
        }
        match there {
            Some(service) if service.status == ServiceStatus::Draining => Ok(draining(&service, &Value::Null)),
            Some(service) => {
                let before = Before { document: self.live_document(params).await?, ..Before::of(service) };
                let mut token = before.write();
                token[LOOKED_AT] = json!(cx.now);
                Ok(Progress::Pending { token, poll_after_ms: 0, note: Some("update begun".to_owned()) })
            }
            None => self.put_service(params, None).await,
        }
    }

    /// What the service was, so that an undo can put all of it back, also what steps say nothing of: of one that a document
    /// describes, or that Landfall may not have made.
    async fn live_document(&self, params: &DeployService) -> Result<Option<Value>, StepError> {
        if params.only_count || params.document.is_none() && !params.adopt {
            return Ok(None);
        }
        self.platform.orchestrator.service_document(&params.name).await.map_err(port)
    }

    /// Natural: the same request again starts no new deployment.
    async fn put_service(&self, params: &DeployService, before: Option<Before>) -> StepResult {
        if params.only_count {
            return self.set_count(params, before).await;
        }
        let replace = before.as_ref().filter(|_| params.force).and_then(|before| before.deployment.clone());
        let request = PutService { replace, ..request(params)? };
        let put = self.platform.orchestrator.put_service(&request).await.map_err(port)?;
        let mut token = before.map_or_else(|| json!({}), |before| before.write());
        token["deployment"] = json!(put.deployment);
        token["service"] = json!(params.name);
        token["created"] = json!(put.created);
        if params.wait_until == WaitUntil::Started {
            return Ok(Progress::Done(token));
        }
        Ok(Progress::Pending { token, poll_after_ms: 0, note: Some("deployment begun".to_owned()) })
    }

    pub(crate) async fn poll_deploy(&self, cx: &StepContext, params: &DeployService, token: &Value) -> StepResult {
        let Some(id) = token["deployment"].as_str() else {
            return match Before::read(token) {
                // Not paced: where all is there already, an update ends at once.
                Some(before) => {
                    // Written down by a process that died since, perhaps long ago: only a beginning takes over from another.
                    if params.adopt && !just_looked(cx, token) {
                        self.of_no_other(params).await?;
                    }
                    self.put_service(params, Some(before)).await
                }
                None => self.start_deploy(cx, params).await.map(|progress| self.paced(progress)),
            };
        };
        let Some(service) = self.platform.orchestrator.describe_service(&params.name).await.map_err(port)? else {
            // Somebody took it away meanwhile, or its tags: it is made again, or taken over again.
            let there = self.of_no_other(params).await?.is_some();
            if there && params.only_count {
                // A count is set of what is ours alone.
                self.platform.orchestrator.adopt_service(&params.name, &params.tags).await.map_err(port)?;
            }
            let progress = self.put_service(params, Before::read(token)).await?;
            return Ok(self.paced(if there { still_made(progress, token) } else { progress }));
        };
        if service.status == ServiceStatus::Draining {
            return Ok(self.paced(draining(&service, token)));
        }
        let Some(deployment) = service.deployments.iter().find(|d| d.id == id) else {
            let message = format!("another deployment of service {} took over", params.name);
            return Err(fatal(codes::SERVICE_REPLACED, message));
        };
        match deployment.rollout {
            // A change of the desired count alone begins no deployment: the one that is there was completed before it.
            RolloutState::Completed if deployment.running >= deployment.desired => Ok(Progress::Done(token.clone())),
            RolloutState::Completed | RolloutState::InProgress => {
                if let Some(error) = given_up(params, &service, deployment) {
                    return Err(error);
                }
                let shifted = deployment.shift.as_ref().is_some_and(|shift| shift.shifted);
                if params.wait_until == WaitUntil::TrafficShifted && shifted {
                    return Ok(Progress::Done(token.clone()));
                }
                let note = Some(note(deployment, &params.name));
                let poll_after_ms = pace(&service, deployment, cx.now, self.platform.min_poll_ms).max(SOON_MS);
                Ok(Progress::Pending { token: token.clone(), poll_after_ms, note })
            }
            RolloutState::Failed => Err(deployment_error(codes::SERVICE_FAILED, "failed", &service, deployment)),
            RolloutState::RolledBack => {
                Err(deployment_error(codes::SERVICE_ROLLED_BACK, "failed and was rolled back", &service, deployment))
            }
            RolloutState::RollbackFailed => {
                let what = "failed, and so did going back to what ran before";
                Err(deployment_error(codes::SERVICE_ROLLBACK_FAILED, what, &service, deployment))
            }
            RolloutState::Stopped => {
                Err(deployment_error(codes::SERVICE_STOPPED, "was stopped by somebody", &service, deployment))
            }
        }
    }

    /// What this execution made goes; what was there before (or before all that were cut short) runs again as it did.
    pub(crate) async fn undo_deploy(
        &self,
        cx: &StepContext,
        params: &DeployService,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> StepResult {
        if params.only_count {
            return self.undo_count(cx, params, output, token).await;
        }
        let Some(service) = self.to_undo(cx, params, output, token).await? else { return Ok(done()) };
        if service.tags.get(TAG_EXECUTION).map(String::as_str) == Some(cx.execution.as_str()) {
            return self.delete_service(cx, &params.name).await;
        }
        let good = match fallback(token)? {
            Some(StepParams::DeployService(good)) => Some(request(&good)?),
            _ => None,
        };
        let (before, request) = match good {
            Some(good) => (Before::made_by(&good), good),
            None => match self.before(cx, params, &service, output, token).await? {
                Some(before) => (before, request(params)?),
                None if params.adopt && was_made(output, token) => return Err(untagged(params)),
                None => return Ok(done()),
            },
        };
        let orchestrator = &self.platform.orchestrator;
        // Before platforms told them, settings were not journalled: then they stay as this update made them.
        let settings = before.settings.clone().unwrap_or_else(|| ServiceSettings {
            deployment: request.deployment.clone(),
            target: request.target.clone(),
        });
        let is_back = service.task_definition == before.task_definition
            && (params.keep_count || service.desired == before.desired_count)
            && service.settings.as_ref().is_none_or(|now| *now == settings);
        let ours = [token, output].into_iter().flatten().find_map(|of| of["deployment"].as_str());
        let goes_on = service.deployments.first().is_some_and(|first| {
            first.rollout == RolloutState::InProgress
                && Some(first.id.as_str()) == ours
                && before.deployment.as_deref().is_some_and(|before| before != first.id)
        });
        // The platform could not go back by itself: then this tries once more.
        let failed =
            |rollout| matches!(rollout, RolloutState::Failed | RolloutState::RollbackFailed | RolloutState::Stopped);
        let gave_up = service.deployments.first().is_some_and(|first| failed(first.rollout))
            && service.deployments.iter().any(|told| {
                Some(told.id.as_str()) == ours && before.deployment.as_ref() != Some(&told.id) && failed(told.rollout)
            });
        let mut back = token.and_then(|token| token[BACK].as_str()).map(str::to_owned);
        let staged = service.settings.as_ref().is_some_and(|now| now.deployment.strategy.kind != StrategyKind::Rolling);
        if goes_on && (is_back || staged) {
            // Of the same definition there is nothing to put back but to end it; where traffic is shifted, that is quicker too.
            match orchestrator.stop_deployment(&params.name, StopDeployment::Rollback).await {
                Ok(_) | Err(PortError::Invalid(_)) => {}
                Err(error) => return Err(port(error)),
            }
        } else if !is_back || back.is_none() && (gave_up || before.document.is_some()) {
            let document = before.document.clone().or(request.document.clone());
            let request = PutService {
                document,
                task_definition: before.task_definition.clone(),
                desired_count: before.desired_count,
                keep_count: params.keep_count,
                deployment: settings.deployment,
                target: settings.target,
                ..request
            };
            back = Some(orchestrator.put_service(&request).await.map_err(port)?.deployment);
        }
        // The platform may have gone back by itself already; either way the first deployment is the one that counts.
        let Some(service) = orchestrator.describe_service(&params.name).await.map_err(port)? else { return Ok(done()) };
        let pending = || {
            let mut token = before.write();
            if let Some(ours) = ours {
                token["deployment"] = json!(ours);
            }
            if let Some(back) = &back {
                token[BACK] = json!(back);
            }
            Ok(Progress::Pending { token, poll_after_ms: SOON_MS, note: Some(GOING_BACK.to_owned()) })
        };
        match service.deployments.first() {
            Some(first) if first.rollout == RolloutState::InProgress => pending(),
            Some(first)
                if first.rollout != RolloutState::Completed
                    && params.task_definition.value() != Some(before.task_definition.as_str())
                    && first.task_definition == before.task_definition =>
            {
                Err(deployment_error(
                    codes::SERVICE_FAILED,
                    "failed while going back to what ran before",
                    &service,
                    first,
                ))
            }
            // A change of the count alone begins no deployment.
            Some(first) if first.rollout == RolloutState::Completed && service.running != service.desired => pending(),
            _ => Ok(done()),
        }
    }

    /// Tags of the service, if it is there; not seen as this installation's.
    ///
    /// # Errors
    /// It is another installation's: two that took it over in turns would never end.
    async fn of_no_other(&self, params: &DeployService) -> Result<Option<Tags>, StepError> {
        let there = self.platform.orchestrator.service_tags(&params.name).await.map_err(port)?;
        let instance = there.as_ref().and_then(|tags| tags.get(TAG_INSTANCE));
        match instance.filter(|instance| params.tags.get(TAG_INSTANCE) != Some(*instance)) {
            Some(instance) => {
                let message = format!(
                    "service {} belongs to installation {instance} by now, which may be deploying it: nothing more is changed",
                    params.name
                );
                Err(fatal(codes::SERVICE_TAKEN_OVER, message))
            }
            None => Ok(there),
        }
    }

    /// What an undo of this step is about. `None`: there is nothing of it to undo.
    ///
    /// # Errors
    /// As of `lost`.
    pub(crate) async fn to_undo(
        &self,
        cx: &StepContext,
        params: &DeployService,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> Result<Option<ServiceDescription>, StepError> {
        match self.our_service(cx, &params.name).await? {
            None => self.lost(params, output, token).await,
            ours => Ok(ours),
        }
    }

    /// A service that this execution changed and that no longer says so: one that is nobody's is taken over again. `None`: it is
    /// gone, or was never changed.
    ///
    /// # Errors
    /// It is another's by now, or was made by this execution and has lost its tags: it is not as it was, and stays so.
    async fn lost(
        &self,
        params: &DeployService,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> Result<Option<ServiceDescription>, StepError> {
        let changed =
            [token, output].into_iter().flatten().find_map(Before::read).is_some() || fallback(token)?.is_some();
        if !params.adopt || !changed && !was_made(output, token) || self.of_no_other(params).await?.is_none() {
            return Ok(None);
        }
        if !changed {
            return Err(untagged(params));
        }
        self.platform.orchestrator.adopt_service(&params.name, &params.tags).await.map_err(port)
    }

    /// What ran before this execution. Without a record of it: what the deployment before ours ran. Ours it is where the token says so, or
    /// where this execution registered the definition that runs now; otherwise nothing was changed.
    async fn before(
        &self,
        cx: &StepContext,
        params: &DeployService,
        service: &ServiceDescription,
        output: Option<&Value>,
        token: Option<&Value>,
    ) -> Result<Option<Before>, StepError> {
        let ours = value(&params.task_definition)?;
        if let Some(recorded) = [token, output].into_iter().flatten().find_map(Before::read) {
            return Ok(Some(recorded));
        }
        if service.task_definition != ours {
            return Ok(None);
        }
        let begun = [token, output].into_iter().flatten().find_map(|of| of["deployment"].as_str());
        if !begun.is_some_and(|begun| service.deployments.iter().any(|deployment| deployment.id == begun)) {
            // Those of a lasting environment are not named after it, and whoever deploys there has no right to list them.
            if params.adopt {
                return Ok(None);
            }
            let orchestrator = &self.platform.orchestrator;
            let listing = orchestrator.list_owned(Some(cx.environment.as_str()), &[ResourceKind::TaskDefinition]).await;
            let made = self.made_by(cx, listing, ResourceKind::TaskDefinition)?;
            if !made.iter().any(|definition| definition.id == ours) {
                return Ok(None);
            }
        }
        let previous = service.deployments.iter().find(|deployment| deployment.task_definition != ours);
        Ok(previous.map(|previous| Before {
            task_definition: previous.task_definition.clone(),
            desired_count: service.desired,
            settings: None,
            deployment: None,
            document: None,
        }))
    }

    /// `None`: there is none of that name, or it is another environment's and none of our business.
    pub(crate) async fn our_service(
        &self,
        cx: &StepContext,
        name: &str,
    ) -> Result<Option<ServiceDescription>, StepError> {
        let service = self.platform.orchestrator.describe_service(name).await.map_err(port)?;
        Ok(service.filter(|service| is_ours(cx, service)))
    }

    pub(crate) async fn stop_service(&self, cx: &StepContext, params: &StopService) -> StepResult {
        if self.our_service(cx, &params.name).await?.is_none() {
            return Ok(done());
        }
        match self.platform.orchestrator.scale_service(&params.name, 0).await {
            Err(PortError::NotFound(_)) => Ok(done()),
            Err(error) => Err(port(error)),
            Ok(()) => self.poll_stopped(cx, params).await,
        }
    }

    pub(crate) async fn poll_stopped(&self, cx: &StepContext, params: &StopService) -> StepResult {
        match self.our_service(cx, &params.name).await? {
            Some(service) if service.running + service.pending > 0 => {
                Ok(pending(SOON_MS, format!("{} tasks still running", service.running + service.pending)))
            }
            _ => Ok(done()),
        }
    }

    pub(crate) async fn delete_service(&self, cx: &StepContext, name: &str) -> StepResult {
        if self.our_service(cx, name).await?.is_none() {
            return Ok(done());
        }
        deleting(self.platform.orchestrator.delete_service(name).await)?;
        self.poll_deleted(cx, name).await
    }

    pub(crate) async fn poll_deleted(&self, cx: &StepContext, name: &str) -> StepResult {
        match self.our_service(cx, name).await? {
            None => Ok(done()),
            Some(service) => Ok(draining(&service, &Value::Null)),
        }
    }
}

fn is_ours(cx: &StepContext, service: &ServiceDescription) -> bool {
    service.tags.get(TAG_ENVIRONMENT).map(String::as_str) == Some(cx.environment.as_str())
}

fn was_made(output: Option<&Value>, token: Option<&Value>) -> bool {
    [token, output].into_iter().flatten().any(|record| record["created"] == true)
}

/// Of a service that was there all the time and has lost its tags: that this execution made it is only told here from now on.
fn still_made(mut progress: Progress, token: &Value) -> Progress {
    if token["created"] == true {
        let (Progress::Done(record) | Progress::Pending { token: record, .. }) = &mut progress;
        record["created"] = json!(true);
    }
    progress
}

fn untagged(params: &DeployService) -> StepError {
    let message = format!(
        "service {} was made by this deployment, and somebody has taken the tags off it that say so: it is left as it is; delete \
         it, or deploy again",
        params.name
    );
    fatal(codes::CONFLICT, message)
}

/// Its deletion ends by itself, or with the step's time.
fn draining(service: &ServiceDescription, token: &Value) -> Progress {
    let note = format!("draining, {} tasks running", service.running);
    Progress::Pending { token: token.clone(), poll_after_ms: SOON_MS, note: Some(note) }
}

/// In the token of a step that has only looked: when.
const LOOKED_AT: &str = "looked_at";
/// Milliseconds for which nobody can have taken a service over and begun a deployment of it.
const JUST_NOW_MS: i64 = 2_000;

fn just_looked(cx: &StepContext, token: &Value) -> bool {
    let at: Option<Timestamp> = serde_json::from_value(token[LOOKED_AT].clone()).ok();
    at.is_some_and(|at| (0..JUST_NOW_MS).contains(&(cx.now.as_millisecond() - at.as_millisecond())))
}

/// In the token of an undo: the deployment that goes back.
const BACK: &str = "back";
const GOING_BACK: &str = "going back to what ran before";

/// What ran before an update: in the token of a step or of an undo under way, and in the output of a finished step.
#[derive(Serialize, Deserialize)]
pub(crate) struct Before {
    #[serde(rename = "previous_task_definition")]
    task_definition: String,
    #[serde(rename = "previous_desired_count")]
    pub(crate) desired_count: u32,
    #[serde(rename = "previous_settings", default)]
    settings: Option<ServiceSettings>,
    /// The PRIMARY one then.
    #[serde(rename = "previous_deployment", default, skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    /// As the platform told it, where it takes documents.
    #[serde(rename = "previous_document", default, skip_serializing_if = "Option::is_none")]
    document: Option<Value>,
}

impl Before {
    fn of(service: ServiceDescription) -> Self {
        Self {
            task_definition: service.task_definition,
            desired_count: service.desired,
            settings: service.settings,
            deployment: service.deployments.into_iter().next().map(|deployment| deployment.id),
            document: None,
        }
    }

    fn made_by(request: &PutService) -> Self {
        Self {
            task_definition: request.task_definition.clone(),
            desired_count: request.desired_count,
            settings: Some(ServiceSettings { deployment: request.deployment.clone(), target: request.target.clone() }),
            deployment: None,
            document: request.document.clone(),
        }
    }

    pub(crate) fn read(from: &Value) -> Option<Self> {
        serde_json::from_value(from.clone()).ok()
    }

    pub(crate) fn write(&self) -> Value {
        json!(self)
    }
}

fn request(params: &DeployService) -> Result<PutService, StepError> {
    PutService::of(params).map_err(|missing| fatal(codes::PARAMETERS, missing))
}

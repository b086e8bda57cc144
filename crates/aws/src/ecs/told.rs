//! The service deployments API: reading it, letting a deployment go on, and stopping one.
//!
//! Deployments are asked for by ARN, twenty to a call and for everybody who follows one; the ARN of the one under way comes with
//! the service. Only what came before it has to be listed.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_ecs::types as ecs;
use aws_sdk_ecs::types::ServiceDeploymentStatus as Status;
use landfall_ports::orchestrator::{PauseHook, StopDeployment, TrafficShift};
use landfall_ports::{PortError, PortResult};

use super::rollout::{Past, count, deployment_id, time};
use super::{Ecs, locked};
use crate::budget::Family;
use crate::call::Call;

/// DescribeServiceDeployments and DescribeServiceRevisions take 20.
pub(crate) const DESCRIBE_DEPLOYMENTS: usize = 20;

type Told = Option<Arc<ecs::ServiceDeployment>>;

impl Ecs {
    /// The newest first, at most so many.
    pub(crate) async fn list_deployments(&self, service: &str, most: i32) -> PortResult<Vec<Past>> {
        let resource = format!("service {service}");
        let call = Call::ecs("ListServiceDeployments", Family::ServiceDeployment, &resource);
        let request = (self.core.clients.ecs.list_service_deployments())
            .cluster(&self.core.target.cluster)
            .service(service)
            .max_results(most);
        let listed = self.ecs(call, || request.clone().send()).await?;
        let mut listed = listed.service_deployments.unwrap_or_default();
        listed.sort_by_key(|brief| std::cmp::Reverse(time(brief.created_at.as_ref())));
        let arns = listed.into_iter().filter_map(|brief| brief.service_deployment_arn);
        let reads = arns.map(|arn| async move { self.deployment_at(arn).await });
        let read = futures_util::future::join_all(reads).await.into_iter().collect::<PortResult<Vec<Told>>>()?;
        self.as_past(service, read.into_iter().flatten().collect()).await
    }

    /// One that is known by its ARN. `None`: there is none.
    pub(crate) async fn deployment_by_arn(&self, service: &str, arn: &str) -> PortResult<Option<Past>> {
        let told = self.deployment_at(arn.to_owned()).await?;
        Ok(self.as_past(service, told.into_iter().collect()).await?.pop())
    }

    async fn deployment_at(&self, arn: String) -> PortResult<Told> {
        let this = self.clone();
        let fetch = move |arns| {
            let this = this.clone();
            async move { this.describe_deployments(arns).await }
        };
        self.batches.deployments.get(arn, fetch).await
    }

    async fn describe_deployments(&self, arns: Vec<String>) -> PortResult<HashMap<String, Told>> {
        let resource = format!("service deployments {}", super::some_of(&arns));
        let call = Call::ecs("DescribeServiceDeployments", Family::ServiceDeployment, &resource);
        let request =
            self.core.clients.ecs.describe_service_deployments().set_service_deployment_arns(Some(arns.clone()));
        let answer = self.ecs(call, || request.clone().send()).await?;
        let of = |told: ecs::ServiceDeployment| Some((told.service_deployment_arn.clone()?, Arc::new(told)));
        let mut found: HashMap<String, Arc<ecs::ServiceDeployment>> =
            answer.service_deployments.unwrap_or_default().into_iter().filter_map(of).collect();
        Ok(arns
            .into_iter()
            .map(|arn| {
                let told = found.remove(&arn);
                (arn, told)
            })
            .collect())
    }

    async fn as_past(&self, service: &str, mut told: Vec<Arc<ecs::ServiceDeployment>>) -> PortResult<Vec<Past>> {
        told.sort_by_key(|deployment| std::cmp::Reverse(time(deployment.created_at.as_ref())));
        let revision = |deployment: &Arc<ecs::ServiceDeployment>| {
            deployment.target_service_revision.as_ref().and_then(|revision| revision.arn.clone())
        };
        self.read_revisions(service, told.iter().filter_map(revision).collect()).await?;
        let revisions = locked(&self.revisions);
        let task_definition = |arn: &str| revisions.get(arn).cloned().unwrap_or_default();
        Ok(told
            .iter()
            .filter_map(|deployment| Some(read(deployment, task_definition(&revision(deployment)?))))
            .collect())
    }

    /// Service revisions never change; their task definitions are kept.
    async fn read_revisions(&self, service: &str, mut arns: Vec<String>) -> PortResult<()> {
        {
            let known = locked(&self.revisions);
            arns.retain(|arn| !known.contains_key(arn));
        }
        for some in arns.chunks(DESCRIBE_DEPLOYMENTS) {
            let resource = format!("service {service}");
            let call = Call::ecs("DescribeServiceRevisions", Family::ServiceDeployment, &resource);
            let request =
                self.core.clients.ecs.describe_service_revisions().set_service_revision_arns(Some(some.to_vec()));
            let answer = self.ecs(call, || request.clone().send()).await?;
            let mut known = locked(&self.revisions);
            for revision in answer.service_revisions.unwrap_or_default() {
                if let (Some(arn), Some(definition)) = (revision.service_revision_arn, revision.task_definition) {
                    known.insert(arn, definition);
                }
            }
        }
        Ok(())
    }

    /// The deployment that is under way, as ECS has it now.
    async fn under_way(&self, name: &str) -> PortResult<Option<Arc<ecs::ServiceDeployment>>> {
        let Some(service) = self.our_service(name).await? else {
            return Err(PortError::NotFound(format!("this installation has no service {name}")));
        };
        let mut arn = service.current_service_deployment.clone();
        if arn.is_none() {
            arn = self.list_deployments(name, 1).await?.into_iter().next().map(|newest| newest.arn);
        }
        let Some(arn) = arn else { return Ok(None) };
        let goes_on =
            |told: &Arc<ecs::ServiceDeployment>| matches!(told.status, Some(Status::Pending | Status::InProgress));
        Ok(self.deployment_at(arn).await?.filter(goes_on))
    }

    /// Lets it go on that waits at pause hooks: at these, or at all where none is named. `false`: it waits at none of them.
    pub(crate) async fn go_on(&self, name: &str, only: &[String]) -> PortResult<bool> {
        let Some(told) = self.under_way(name).await? else { return Ok(false) };
        let mut any = false;
        for pause in pauses(&told).into_iter().filter(|pause| only.is_empty() || only.contains(&pause.id)) {
            let resource = format!("service {name}");
            let call = Call::ecs("ContinueServiceDeployment", Family::ServiceDeployment, &resource);
            self.core.caller.right_account(&call).await?;
            let request = (self.core.clients.ecs.continue_service_deployment())
                .set_service_deployment_arn(told.service_deployment_arn.clone())
                .hook_id(&pause.id)
                .action(ecs::DeploymentLifecycleHookAction::Continue);
            match self.core.caller.call(call, || request.clone().send()).await {
                Ok(_) => any = true,
                // Somebody else was quicker, or its time was up.
                Err(failed) if failed.message.contains("not awaiting") => {}
                Err(failed) => return Err(self.explained(failed)),
            }
        }
        Ok(any)
    }

    /// `false`: none is under way.
    pub(crate) async fn halt(&self, name: &str, how: StopDeployment) -> PortResult<bool> {
        let Some(told) = self.under_way(name).await? else { return Ok(false) };
        let resource = format!("service {name}");
        let call = Call::ecs("StopServiceDeployment", Family::ServiceDeployment, &resource);
        self.core.caller.right_account(&call).await?;
        let kind = match how {
            StopDeployment::Rollback => ecs::StopServiceDeploymentStopType::Rollback,
            StopDeployment::Abort => ecs::StopServiceDeploymentStopType::Abort,
        };
        let request = (self.core.clients.ecs.stop_service_deployment())
            .set_service_deployment_arn(told.service_deployment_arn.clone())
            .stop_type(kind);
        match self.core.caller.call(call, || request.clone().send()).await {
            Ok(_) => Ok(true),
            // It has ended, or is being stopped, since it was looked at.
            Err(failed) if failed.is("ConflictException") => Ok(false),
            Err(failed) => Err(self.explained(failed)),
        }
    }
}

fn pauses(told: &ecs::ServiceDeployment) -> Vec<PauseHook> {
    let waits = |hook: &&ecs::DeploymentLifecycleHookDetail| {
        hook.target_type == Some(ecs::DeploymentLifecycleHookTargetType::Pause)
            && hook.status == Some(ecs::DeploymentLifecycleHookStatus::AwaitingAction)
    };
    let pause = |hook: &ecs::DeploymentLifecycleHookDetail| PauseHook {
        id: hook.hook_id.clone().unwrap_or_default(),
        expires_at: hook.expires_at.as_ref().map(|at| time(Some(at))),
        on_timeout: hook.timeout_action.as_ref().map_or_else(String::new, |action| action.as_str().to_owned()),
    };
    told.lifecycle_hook_details().iter().filter(waits).map(pause).collect()
}

/// `None`: one without stages.
fn shift(told: &ecs::ServiceDeployment) -> Option<TrafficShift> {
    use ecs::ServiceDeploymentLifecycleStage as Stage;
    let rolling = (told.deployment_configuration.as_ref().and_then(|own| own.strategy.as_ref()))
        .is_none_or(|strategy| *strategy == ecs::DeploymentStrategy::Rolling);
    let pauses = pauses(told);
    let stage = told.lifecycle_stage.as_ref();
    if rolling && pauses.is_empty() && stage.is_none() {
        return None;
    }
    let weight = told.target_service_revision.as_ref().and_then(|own| own.requested_production_traffic_weight);
    // From there on ECS has moved all of it, also where there is no load balancer to have weights.
    let after = matches!(stage, Some(Stage::PostProductionTrafficShift | Stage::BakeTime | Stage::CleanUp));
    let whole = weight.is_some_and(|weight| weight >= 100.0) && stage == Some(&Stage::ProductionTrafficShift);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
    let percent = weight.unwrap_or(if after { 100.0 } else { 0.0 }).clamp(0.0, 100.0) as u32;
    Some(TrafficShift {
        stage: stage.map(|stage| stage.as_str().to_owned()),
        percent,
        shifted: !rolling && told.rollback.is_none() && (after || whole),
        pauses,
    })
}

fn read(deployment: &ecs::ServiceDeployment, task_definition: String) -> Past {
    let target = deployment.target_service_revision.as_ref();
    let breaker = deployment.deployment_circuit_breaker.as_ref();
    let alarms: Vec<&str> = (deployment.alarms.as_ref())
        .map(|alarms| alarms.triggered_alarm_names().iter().map(String::as_str).collect())
        .unwrap_or_default();
    let mut reasons: Vec<String> = Vec::new();
    reasons.extend(deployment.status_reason.clone().filter(|reason| !reason.is_empty()));
    reasons.extend(deployment.rollback.as_ref().and_then(|rollback| rollback.reason.clone()));
    let tripped = breaker.and_then(|breaker| breaker.status.as_ref())
        == Some(&ecs::ServiceDeploymentRollbackMonitorsStatus::Triggered);
    let by_itself = tripped || !alarms.is_empty();
    if !alarms.is_empty() {
        reasons.push(format!("alarms: {}", alarms.join(", ")));
    }
    reasons.dedup();
    let status = deployment.status.clone().unwrap_or(Status::Pending);
    Past {
        arn: deployment.service_deployment_arn.clone().unwrap_or_default(),
        id: target.and_then(|revision| revision.arn.as_deref()).map(deployment_id).unwrap_or_default(),
        status,
        by_itself,
        first: deployment.source_service_revisions().is_empty(),
        reason: Some(reasons.join(" ")).filter(|reason| !reason.is_empty()),
        task_definition,
        desired: target.map_or(0, |revision| count(revision.requested_task_count)),
        running: target.map_or(0, |revision| count(revision.running_task_count)),
        pending: target.map_or(0, |revision| count(revision.pending_task_count)),
        failed_tasks: breaker.map_or(0, |breaker| count(breaker.failure_count)),
        created_at: time(deployment.created_at.as_ref()),
        shift: shift(deployment),
    }
}

//! Service deployments: how they begin, and each of their endings.

use serde_json::{Map, Value, json};

use super::service::{Deployment, Revision, RollbackOf, Rolling, Rollout, RolloutStatus, Service, Stage};
use super::task::TaskState;
use crate::world::space::Space;

/// What of a service's spec belongs to a revision: a change of it is a new deployment.
pub const REVISED: &[&str] = &[
    "networkConfiguration",
    "loadBalancers",
    "platformVersion",
    "capacityProviderStrategy",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "launchType",
];

pub const BREAKER: &str = "Service deployment rolled back because the circuit breaker threshold was exceeded.";
const BREAKER_STOPPED: &str = "Service deployment failed because the circuit breaker threshold was exceeded.";
const NO_CANDIDATE: &str = "No rollback candidate was found to run the rollback.";
const TASKS_FAILED: &str = "ECS deployment circuit breaker: tasks failed to start.";
// AWS does not document these two texts.
const SUPERSEDED: &str = "The service deployment was stopped because a newer service deployment started.";
const STOPPED_BY_USER: &str = "Service deployment stopped by the user.";

impl Rollout {
    /// Whether the new revision may have tasks in this stage.
    pub fn may_scale(&self) -> bool {
        self.stage.is_none_or(|stage| stage >= Stage::ScaleUp)
    }

    /// Whether the old revision's tasks may go in this stage.
    pub fn may_clean_up(&self) -> bool {
        self.stage.is_none_or(|stage| stage == Stage::CleanUp)
    }
}

impl Space {
    /// A new deployment of the service as it is now asked for. The one still under way is superseded.
    pub fn begin_rollout(&mut self, arn: &str) {
        let (digits, short) = (self.ids.digits19(), self.ids.short21());
        let now = self.now;
        let Some(service) = self.ecs.services.get(arn) else { return };
        let cluster = crate::world::value::leaf(&service.cluster).to_owned();
        let name = service.name.clone();
        let revision = self.arn("ecs", &format!("service-revision/{cluster}/{name}/{digits}"));
        let rollout_arn = self.arn("ecs", &format!("service-deployment/{cluster}/{name}/{short}"));
        let Some(service) = self.ecs.services.get_mut(arn) else { return };
        let source: Vec<String> = service.deployments.iter().map(|deployment| deployment.revision.clone()).collect();
        if let Some(former) = service.rollout() {
            former.status = RolloutStatus::Stopped;
            former.reason = Some(SUPERSEDED.to_owned());
            former.finished = Some(now);
            former.stopped = Some(now);
            former.updated = now;
        }
        let spec: Map<String, Value> =
            REVISED.iter().filter_map(|key| Some(((*key).to_owned(), service.spec.get(*key)?.clone()))).collect();
        let id = format!("ecs-svc/{digits}");
        service
            .revisions
            .insert(0, Revision { arn: revision.clone(), definition: service.definition.clone(), created: now, spec });
        let staged = service.strategy() != "ROLLING" && !source.is_empty();
        let rollout = Rollout {
            arn: rollout_arn,
            deployment: id.clone(),
            status: RolloutStatus::Pending,
            reason: None,
            created: now,
            started: None,
            finished: None,
            stopped: None,
            updated: now,
            stage: staged.then_some(if source.len() > 1 { Stage::ReconcileService } else { Stage::PreScaleUp }),
            source,
            target: revision.clone(),
            configuration: service.configuration().clone(),
            stage_since: now,
            hooks: Vec::new(),
            weight: if staged { 0.0 } else { 100.0 },
            test_weight: 0.0,
            rollback: None,
            failures: 0,
            breaker_tripped: false,
            alarms: Vec::new(),
            doomed: false,
        };
        service.rollouts.insert(0, rollout);
        service.deployments.insert(
            0,
            Deployment {
                reason: format!("ECS deployment {id} in progress."),
                id,
                definition: service.definition.clone(),
                revision,
                created: now,
                updated: now,
                state: Rolling::InProgress,
                failed: 0,
                streak: 0,
                not_before: 0,
                succeeded: false,
            },
        );
        service.steady = false;
        self.look_at_service(arn);
    }

    /// PENDING to IN_PROGRESS, the lifecycle's stages, and a stop that was asked for.
    pub fn move_rollout(&mut self, arn: &str) {
        let now = self.now;
        let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) else { return };
        match rollout.status {
            RolloutStatus::Pending => {
                rollout.status = RolloutStatus::InProgress;
                rollout.started = Some(now);
                rollout.stage_since = now;
                rollout.updated = now;
                if rollout.stage.is_some() {
                    self.enter_stage(arn);
                }
                self.look_at_service(arn);
            }
            RolloutStatus::InProgress if rollout.stage.is_some() => self.move_stage(arn),
            RolloutStatus::RollbackRequested => self.roll_back(arn, STOPPED_BY_USER, Rolling::Failed),
            RolloutStatus::StopRequested => {
                rollout.status = RolloutStatus::Stopped;
                rollout.reason = Some(STOPPED_BY_USER.to_owned());
                rollout.finished = Some(now);
                rollout.stopped = Some(now);
                rollout.updated = now;
                self.fail_primary(arn, "ECS deployment stopped by the user.");
            }
            _ => {}
        }
    }

    fn fail_primary(&mut self, arn: &str, reason: &str) {
        let now = self.now;
        let Some(primary) = self.ecs.services.get_mut(arn).and_then(Service::primary) else { return };
        primary.state = Rolling::Failed;
        primary.reason = reason.to_owned();
        primary.updated = now;
    }

    /// Whether the deployment under way has failed often enough.
    pub fn breaker_check(&mut self, arn: &str) {
        let Some(service) = self.ecs.services.get_mut(arn) else { return };
        let breaker = service.breaker();
        let Some(primary) = service.primary().filter(|primary| primary.state == Rolling::InProgress) else { return };
        let tripped = breaker.enabled && primary.failed >= breaker.threshold;
        let Some(rollout) = service.rollout() else { return };
        let doomed = rollout.doomed && rollout.rollback.is_some();
        if !tripped && !doomed {
            return;
        }
        if rollout.rollback.is_some() {
            // What it went back to does not start either.
            self.end_rollout(arn, RolloutStatus::RollbackFailed, "The rollback failed: tasks failed to start.");
            self.fail_primary(arn, TASKS_FAILED);
            return;
        }
        rollout.breaker_tripped = true;
        if breaker.rollback {
            self.roll_back(arn, BREAKER, Rolling::Failed);
        } else {
            self.fail_without_rollback(arn, BREAKER_STOPPED);
        }
    }

    /// The ending without a rollback: STOPPED, and nothing more is started.
    pub fn fail_without_rollback(&mut self, arn: &str, reason: &str) {
        let now = self.now;
        let id = self.primary_id(arn);
        self.service_says(arn, format!("(deployment {id}) deployment failed: tasks failed to start."));
        self.fail_primary(arn, TASKS_FAILED);
        if let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) {
            rollout.status = RolloutStatus::Stopped;
            rollout.reason = Some(reason.to_owned());
            rollout.finished = Some(now);
            rollout.stopped = Some(now);
            rollout.updated = now;
        }
    }

    fn primary_id(&self, arn: &str) -> String {
        let primary = self.ecs.services.get(arn).and_then(|service| service.deployments.first());
        primary.map(|primary| primary.id.clone()).unwrap_or_default()
    }

    fn end_rollout(&mut self, arn: &str, status: RolloutStatus, reason: &str) {
        let now = self.now;
        let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) else { return };
        rollout.status = status;
        rollout.reason = Some(reason.to_owned());
        rollout.finished = Some(now);
        rollout.updated = now;
    }

    /// Back to the last revision whose deployment ended well.
    pub fn roll_back(&mut self, arn: &str, reason: &str, state: Rolling) {
        let now = self.now;
        let failed = self.primary_id(arn);
        let breaker = reason == BREAKER;
        let words = if breaker { "tasks failed to start." } else { reason };
        self.service_says(arn, format!("(deployment {failed}) deployment failed: {words}"));
        let failed_reason = if breaker { TASKS_FAILED.to_owned() } else { format!("ECS deployment failed: {reason}") };
        if let Some(primary) = self.ecs.services.get_mut(arn).and_then(Service::primary) {
            primary.state = state;
            primary.reason = failed_reason;
            primary.updated = now;
        }
        let fresh = self.ids.digits19();
        let Some(service) = self.ecs.services.get_mut(arn) else { return };
        // The former deployment if it is still there; else a new one of its revision.
        let listed = service.deployments.iter().position(|deployment| deployment.succeeded && deployment.id != failed);
        let candidate = match listed {
            Some(place) => Some(service.deployments.remove(place)),
            None => service.last_good(&failed).map(|revision| Deployment {
                id: format!("ecs-svc/{fresh}"),
                definition: revision.definition.clone(),
                revision: revision.arn.clone(),
                created: now,
                updated: now,
                state: Rolling::InProgress,
                reason: String::new(),
                failed: 0,
                streak: 0,
                not_before: 0,
                succeeded: false,
            }),
        };
        let Some(mut candidate) = candidate else {
            self.end_rollout(arn, RolloutStatus::RollbackFailed, NO_CANDIDATE);
            return;
        };
        candidate.state = Rolling::InProgress;
        candidate.failed = 0;
        candidate.updated = now;
        candidate.reason = if breaker {
            format!("ECS deployment circuit breaker: rolling back to deploymentId {}.", candidate.id)
        } else {
            format!("ECS deployment: rolling back to deploymentId {}.", candidate.id)
        };
        service.definition = candidate.definition.clone();
        let spec = service.revisions.iter().find(|revision| revision.arn == candidate.revision);
        for (key, value) in spec.map(|revision| revision.spec.clone()).unwrap_or_default() {
            service.spec.insert(key, value);
        }
        let (id, revision) = (candidate.id.clone(), candidate.revision.clone());
        service.deployments.insert(0, candidate);
        service.steady = false;
        if let Some(rollout) = service.rollout() {
            rollout.status = RolloutStatus::RollbackInProgress;
            rollout.reason = Some(reason.to_owned());
            rollout.rollback = Some(RollbackOf { reason: reason.to_owned(), started: now, revision });
            rollout.weight = 0.0;
            rollout.test_weight = 0.0;
            rollout.updated = now;
            for hook in rollout.hooks.iter_mut().filter(|hook| hook.done_at.is_none()) {
                hook.done_at = Some(now);
            }
        }
        self.service_says(arn, format!("rolling back to deployment {id}."));
        self.look_at_service(arn);
    }

    /// All tasks are well and none of the others is left. Whether that ends the deployment.
    pub fn finish_rollout(&mut self, arn: &str) -> bool {
        let now = self.now;
        let keep = self.rules.keep_failed_deployments;
        let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) else { return true };
        let rolled_back = rollout.rollback.is_some();
        if rollout.status == RolloutStatus::Pending {
            return false;
        }
        // What only now began is seen before it ends.
        let began = rollout.rollback.as_ref().map(|rollback| rollback.started);
        let began = began.or(rollout.stage.map(|_| rollout.stage_since));
        if began == Some(now) {
            self.look_later(arn, 1);
            return false;
        }
        if rolled_back && rollout.doomed {
            return false;
        }
        if !rolled_back && rollout.stage.is_some_and(|stage| stage != Stage::CleanUp) {
            return false;
        }
        let held = rollout.hooks.iter().any(|hook| hook.done_at.is_none());
        if held && !rolled_back {
            return false;
        }
        if !rolled_back {
            rollout.weight = 100.0;
            rollout.reason = None;
        }
        rollout.status = if rolled_back { RolloutStatus::RollbackSuccessful } else { RolloutStatus::Successful };
        rollout.finished = Some(now);
        rollout.updated = now;
        let Some(service) = self.ecs.services.get_mut(arn) else { return true };
        let Some(primary) = service.primary() else { return true };
        primary.state = Rolling::Completed;
        primary.reason = format!("ECS deployment {} completed.", primary.id);
        primary.succeeded = true;
        primary.failed = 0;
        primary.updated = now;
        let id = primary.id.clone();
        service.deployments.retain(|deployment| deployment.id == id || keep && deployment.state == Rolling::Failed);
        self.service_says(arn, format!("(deployment {id}) deployment completed."));
        true
    }

    /// Tasks of a revision: those that are up, and those on their way.
    pub fn revision_counts(&self, service: &Service, revision: &str) -> (u64, u64) {
        let Some(deployment) = service.deployments.iter().find(|deployment| deployment.revision == revision) else {
            return (0, 0);
        };
        self.deployment_counts(service, &deployment.id)
    }

    pub fn deployment_counts(&self, service: &Service, deployment: &str) -> (u64, u64) {
        let tasks = service.tasks.iter().filter_map(|id| self.ecs.tasks.get(id));
        let own = tasks.filter(|task| task.deployment.as_deref() == Some(deployment));
        own.fold((0, 0), |(running, pending), task| {
            (running + u64::from(task.state == TaskState::Running), pending + u64::from(task.counts_as_pending()))
        })
    }
}

impl Service {
    /// The revision of the newest service deployment that was successful.
    fn last_good(&self, failed: &str) -> Option<&Revision> {
        let good = self
            .rollouts
            .iter()
            .find(|rollout| rollout.status == RolloutStatus::Successful && rollout.deployment != failed)?;
        self.revisions.iter().find(|revision| revision.arn == good.target)
    }
}

/// A service deployment's breaker as it is described.
pub fn breaker_view(service: &Service, rollout: &Rollout) -> Value {
    let breaker = service.breaker();
    if !breaker.enabled {
        return json!({"status": "DISABLED", "failureCount": 0, "threshold": 0});
    }
    let status = match (rollout.breaker_tripped, rollout.status.is_over()) {
        (true, _) => "TRIGGERED",
        (false, true) => "MONITORING_COMPLETE",
        (false, false) => "MONITORING",
    };
    json!({"status": status, "failureCount": rollout.failures, "threshold": breaker.threshold})
}

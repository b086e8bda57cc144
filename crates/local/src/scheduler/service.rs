//! The durable state of a service and its deployments.

use landfall_model::Timestamp;
use landfall_model::app::DeploymentConfiguration;
use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_EXECUTION, TAG_INSTANCE, Tags};
use landfall_ports::orchestrator::{
    DeploymentDescription, PutService, PutServiceOutcome, RolloutState, ServiceDescription, ServiceEvent,
    ServiceSettings, ServiceStatus, TargetBinding, TaskDescription,
};
use serde::{Deserialize, Serialize};

use super::decide::TaskView;

const MAX_EVENTS: usize = 100;
const MAX_DEPLOYMENTS: usize = 10;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    pub name: String,
    pub tags: Tags,
    pub status: ServiceStatus,
    pub desired: u32,
    pub configuration: DeploymentConfiguration,
    pub target: Option<TargetBinding>,
    /// Newest first; the first one is PRIMARY.
    pub deployments: Vec<Deployment>,
    /// Newest first.
    pub events: Vec<ServiceEvent>,
    /// Numbers for deployments and tasks; never reused.
    pub counter: u64,
    /// Whether the last thing said was that it is steady.
    pub steady: bool,
    /// The execution that created the service, and what the last put answered: a repeated request gets the same answer.
    pub created_by: Option<String>,
    pub last_outcome: PutServiceOutcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub id: String,
    pub task_definition: String,
    pub rollout: RolloutState,
    pub reason: Option<String>,
    pub created_at: Timestamp,
    /// Of this deployment in all.
    pub failed_tasks: u32,
    /// In a row; a task that becomes ready sets it back.
    pub consecutive_failures: u32,
    /// Sets the delay of the next start; a task that lasted sets it back.
    pub backoff: u32,
    pub retry_at: Option<Timestamp>,
    pub failures: Vec<TaskDescription>,
    /// Failed tasks already counted whose records still exist.
    pub counted: Vec<String>,
    /// Breaker tripped or timed out: no task is started any more.
    pub given_up: bool,
    /// The failed deployment that this one rolls back.
    pub rolls_back: Option<String>,
    /// The tasks that it was to have when another was to take its place; 0 once that one has.
    #[serde(default)]
    pub had: u32,
}

impl Deployment {
    /// Whether it came out well once, and is not given up since.
    pub(crate) fn is_good(&self) -> bool {
        !self.given_up && (self.rollout == RolloutState::Completed || self.rolls_back.is_some())
    }
}

impl ServiceState {
    pub(crate) fn new(request: &PutService, now: Timestamp) -> Self {
        let mut state = Self {
            name: request.name.clone(),
            tags: request.tags.clone(),
            status: ServiceStatus::Active,
            desired: request.desired_count,
            configuration: request.deployment.clone(),
            target: request.target.clone(),
            deployments: Vec::new(),
            events: Vec::new(),
            counter: 0,
            steady: false,
            created_by: request.tags.get(TAG_EXECUTION).cloned(),
            last_outcome: PutServiceOutcome { created: true, deployment: String::new() },
        };
        state.last_outcome.deployment = state.deploy(&request.task_definition, now);
        state
    }

    /// An update in place. The same request again changes nothing and gets the same answer; one for a definition whose
    /// deployment failed tries again.
    pub(crate) fn update(&mut self, request: &PutService, now: Timestamp) -> PutServiceOutcome {
        let desired = if request.keep_count { self.desired } else { request.desired_count };
        let primary = self.deployments.first();
        let same_definition = primary.map(|deployment| &deployment.task_definition) == Some(&request.task_definition);
        let live = primary.is_some_and(|deployment| !deployment.given_up);
        let replaces =
            request.replace.is_some() && primary.map(|deployment| &deployment.id) == request.replace.as_ref();
        let same = same_definition
            && live
            && !replaces
            && self.target == request.target
            && self.desired == desired
            && self.configuration == request.deployment;
        let execution = request.tags.get(TAG_EXECUTION).cloned();
        let same_caller = self.tags.get(TAG_EXECUTION).cloned() == execution;
        if same && same_caller {
            return self.last_outcome.clone();
        }
        let new_deployment = replaces || !(same_definition && live && self.target == request.target);
        if new_deployment && self.target == request.target {
            if let Some(primary) = self.deployments.first_mut().filter(|primary| primary.is_good()) {
                primary.had = self.desired;
            }
        } else if new_deployment {
            // Where the new one is reached nothing of an older version is.
            self.deployments.iter_mut().for_each(|deployment| deployment.had = 0);
        }
        self.status = ServiceStatus::Active;
        self.desired = desired;
        self.configuration = request.deployment.clone();
        self.target = request.target.clone();
        self.tags = request.tags.clone();
        let deployment = match self.deployments.first() {
            Some(primary) if !new_deployment => primary.id.clone(),
            _ => self.deploy(&request.task_definition, now),
        };
        let repeats_creation = execution.is_some() && execution == self.created_by && same_caller;
        self.last_outcome = PutServiceOutcome { created: repeats_creation && self.last_outcome.created, deployment };
        self.last_outcome.clone()
    }

    /// Makes a deployment the PRIMARY one; returns its id.
    pub(crate) fn deploy(&mut self, task_definition: &str, now: Timestamp) -> String {
        let number = self.next_number();
        let id = format!("ecs-svc/{}", crate::labels::short_hash(&[self.owner(), &self.name, &number.to_string()], 19));
        self.deployments.insert(
            0,
            Deployment {
                id: id.clone(),
                task_definition: task_definition.to_owned(),
                rollout: RolloutState::InProgress,
                reason: Some(format!("ECS deployment {id} in progress.")),
                created_at: now,
                failed_tasks: 0,
                consecutive_failures: 0,
                backoff: 0,
                retry_at: None,
                failures: Vec::new(),
                counted: Vec::new(),
                given_up: false,
                rolls_back: None,
                had: 0,
            },
        );
        self.deployments.truncate(MAX_DEPLOYMENTS);
        self.steady = false;
        id
    }

    /// Back to a deployment that was completed before `failed` began; the tasks that are left of it stay.
    pub(crate) fn make_primary_again(&mut self, id: &str, failed: String, now: Timestamp) {
        let Some(at) = self.deployments.iter().position(|deployment| deployment.id == id) else { return };
        let mut deployment = self.deployments.remove(at);
        deployment.rollout = RolloutState::InProgress;
        deployment.reason = Some(format!("Rolling back {failed}."));
        deployment.rolls_back = Some(failed);
        deployment.consecutive_failures = 0;
        deployment.had = 0;
        // Its time limit starts anew.
        deployment.created_at = now;
        self.deployments.insert(0, deployment);
        self.steady = false;
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Instance and environment: two services of one name on one machine still get different ids.
    fn owner(&self) -> &str {
        self.tags.get(TAG_INSTANCE).map_or("", String::as_str)
    }

    /// The id of the next task: deterministic, so that a crash in between repeats it at worst.
    pub(crate) fn next_task_id(&mut self) -> String {
        let number = self.next_number();
        let created = self.deployments.last().map(|oldest| oldest.created_at.to_string()).unwrap_or_default();
        crate::labels::short_hash(&[self.owner(), self.environment(), &self.name, &created, &number.to_string()], 32)
    }

    pub(crate) fn environment(&self) -> &str {
        self.tags.get(TAG_ENVIRONMENT).map_or("", String::as_str)
    }

    pub(crate) fn say(&mut self, now: Timestamp, message: String) {
        self.events.insert(0, ServiceEvent { at: now, message: format!("(service {}) {message}", self.name) });
        self.events.truncate(MAX_EVENTS);
    }

    pub(crate) fn describe(&self, tasks: &[TaskView]) -> ServiceDescription {
        let count = |deployment: Option<&str>, running: bool| {
            let of = |task: &&TaskView| {
                !task.stopping && task.stopped.is_none() && deployment.is_none_or(|id| task.deployment == id)
            };
            let matching = tasks.iter().filter(of).filter(|task| task.started_at.is_some() == running).count();
            u32::try_from(matching).unwrap_or(u32::MAX)
        };
        let primary = self.deployments.first();
        let deployments = self
            .deployments
            .iter()
            .enumerate()
            .map(|(at, deployment)| DeploymentDescription {
                id: deployment.id.clone(),
                task_definition: deployment.task_definition.clone(),
                rollout: deployment.rollout,
                reason: deployment.reason.clone(),
                desired: if at == 0 && !deployment.given_up { self.desired } else { 0 },
                running: count(Some(&deployment.id), true),
                pending: count(Some(&deployment.id), false),
                failed_tasks: deployment.failed_tasks,
                failures: deployment.failures.clone(),
                created_at: deployment.created_at,
                shift: None,
            })
            .collect();
        ServiceDescription {
            name: self.name.clone(),
            status: self.status,
            task_definition: primary.map(|deployment| deployment.task_definition.clone()).unwrap_or_default(),
            desired: self.desired,
            running: count(None, true),
            pending: count(None, false),
            deployments,
            events: self.events.clone(),
            tags: self.tags_of_creation(),
            settings: Some(ServiceSettings { deployment: self.configuration.clone(), target: self.target.clone() }),
        }
    }

    /// `tags` follow the last caller, whose tasks carry them; who made the service stays known.
    fn tags_of_creation(&self) -> Tags {
        let mut tags = self.tags.clone();
        if let Some(execution) = &self.created_by {
            tags.insert(TAG_EXECUTION.to_owned(), execution.clone());
        }
        tags
    }
}

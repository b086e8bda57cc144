//! A service as data: what was asked for, its deployments (`ecs-svc/…`), and its service deployments with their revisions.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use crate::world::Millis;
use crate::world::value::{boolean, number, text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceStatus {
    Active,
    Draining,
    Inactive,
}

impl ServiceStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Service {
    pub name: String,
    pub arn: String,
    /// ARN
    pub cluster: String,
    pub status: ServiceStatus,
    pub desired: u64,
    /// ARN of the task definition asked for last (or rolled back to).
    pub definition: String,
    /// All else that was asked for, by ECS's names.
    pub spec: Map<String, Value>,
    pub created: Millis,
    pub created_by: String,
    /// Newest first; the first is PRIMARY.
    pub deployments: Vec<Deployment>,
    /// Newest first.
    pub rollouts: Vec<Rollout>,
    pub revisions: Vec<Revision>,
    /// Newest first, at most 100.
    pub events: VecDeque<(String, Millis, String)>,
    /// Ids of its tasks that are not STOPPED.
    pub tasks: Vec<String>,
    /// Deployments whose tasks failed since the scheduler's last look, one entry per task.
    pub failures: Vec<String>,
    /// The state of being steady was announced and still holds.
    pub steady: bool,
    /// The token of its creation, with the request.
    pub token: Option<(String, Value)>,
    /// Generation of its next look; an older one in the queue is stale.
    pub generation: u64,
    pub look_at: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rolling {
    InProgress,
    Completed,
    Failed,
}

/// One entry of a service's `deployments`.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// `ecs-svc/…`
    pub id: String,
    pub definition: String,
    pub revision: String,
    pub created: Millis,
    pub updated: Millis,
    pub state: Rolling,
    pub reason: String,
    /// Failed starts in a row.
    pub failed: u64,
    /// Of the failures in a row, whatever the breaker counts: for the wait before the next start.
    pub streak: u32,
    pub not_before: Millis,
    /// Its tasks were all well once: what a rollback goes back to.
    pub succeeded: bool,
}

/// One service deployment.
#[derive(Debug, Clone)]
pub struct Rollout {
    pub arn: String,
    pub deployment: String,
    pub status: RolloutStatus,
    pub reason: Option<String>,
    pub created: Millis,
    pub started: Option<Millis>,
    pub finished: Option<Millis>,
    pub stopped: Option<Millis>,
    pub updated: Millis,
    pub source: Vec<String>,
    pub target: String,
    /// The configuration it runs under.
    pub configuration: Value,
    pub stage: Option<Stage>,
    pub stage_since: Millis,
    pub hooks: Vec<Hook>,
    /// Percent of production and test traffic on the target.
    pub weight: f64,
    pub test_weight: f64,
    pub rollback: Option<RollbackOf>,
    pub failures: u64,
    pub breaker_tripped: bool,
    pub alarms: Vec<String>,
    /// A test wants the rollback to fail.
    pub doomed: bool,
}

#[derive(Debug, Clone)]
pub struct RollbackOf {
    pub reason: String,
    pub started: Millis,
    pub revision: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutStatus {
    Pending,
    InProgress,
    StopRequested,
    Stopped,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
    Successful,
}

impl RolloutStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::InProgress => "IN_PROGRESS",
            Self::StopRequested => "STOP_REQUESTED",
            Self::Stopped => "STOPPED",
            Self::RollbackRequested => "ROLLBACK_REQUESTED",
            Self::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Self::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
            Self::RollbackFailed => "ROLLBACK_FAILED",
            Self::Successful => "SUCCESSFUL",
        }
    }

    pub fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::RollbackSuccessful | Self::RollbackFailed | Self::Successful)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    ReconcileService,
    PreScaleUp,
    ScaleUp,
    PostScaleUp,
    TestTrafficShift,
    PostTestTrafficShift,
    ProductionTrafficShift,
    PostProductionTrafficShift,
    BakeTime,
    CleanUp,
}

impl Stage {
    pub const ORDER: [Self; 10] = [
        Self::ReconcileService,
        Self::PreScaleUp,
        Self::ScaleUp,
        Self::PostScaleUp,
        Self::TestTrafficShift,
        Self::PostTestTrafficShift,
        Self::ProductionTrafficShift,
        Self::PostProductionTrafficShift,
        Self::BakeTime,
        Self::CleanUp,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::ReconcileService => "RECONCILE_SERVICE",
            Self::PreScaleUp => "PRE_SCALE_UP",
            Self::ScaleUp => "SCALE_UP",
            Self::PostScaleUp => "POST_SCALE_UP",
            Self::TestTrafficShift => "TEST_TRAFFIC_SHIFT",
            Self::PostTestTrafficShift => "POST_TEST_TRAFFIC_SHIFT",
            Self::ProductionTrafficShift => "PRODUCTION_TRAFFIC_SHIFT",
            Self::PostProductionTrafficShift => "POST_PRODUCTION_TRAFFIC_SHIFT",
            Self::BakeTime => "BAKE_TIME",
            Self::CleanUp => "CLEAN_UP",
        }
    }

    pub fn next(self) -> Option<Self> {
        Self::ORDER.into_iter().find(|other| *other > self)
    }
}

#[derive(Debug, Clone)]
pub struct Hook {
    pub id: String,
    pub pause: bool,
    pub target: Option<String>,
    pub status: &'static str,
    pub done_at: Option<Millis>,
    pub expires: Option<Millis>,
    pub timeout_action: &'static str,
    /// PRE_PRODUCTION_TRAFFIC_SHIFT exists only as a hook's stage; else the lifecycle stage's own word.
    pub stage: String,
}

/// A service revision: what a deployment runs.
#[derive(Debug, Clone)]
pub struct Revision {
    pub arn: String,
    pub definition: String,
    pub created: Millis,
    /// The part of the service's spec that belongs to it.
    pub spec: Map<String, Value>,
}

impl Service {
    pub fn exists(&self) -> bool {
        self.status != ServiceStatus::Inactive
    }

    pub fn uses(&self, definition: &str) -> bool {
        self.definition == definition || self.deployments.iter().any(|deployment| deployment.definition == definition)
    }

    pub fn configuration(&self) -> &Value {
        self.spec.get("deploymentConfiguration").unwrap_or(&Value::Null)
    }

    pub fn strategy(&self) -> &str {
        text(self.configuration(), "strategy").unwrap_or("ROLLING")
    }

    /// Least and most tasks while a rolling update runs.
    pub fn band(&self) -> (u64, u64) {
        let least = number(self.configuration(), "minimumHealthyPercent").unwrap_or(100);
        let most = number(self.configuration(), "maximumPercent").unwrap_or(200);
        ((self.desired * least).div_ceil(100), self.desired * most / 100)
    }

    pub fn breaker(&self) -> Breaker {
        let breaker = &self.configuration()["deploymentCircuitBreaker"];
        let threshold = &breaker["thresholdConfiguration"];
        let value = number(threshold, "value").unwrap_or(50);
        let percent = (self.desired * value).div_ceil(100);
        Breaker {
            enabled: boolean(breaker, "enable").unwrap_or(false),
            rollback: boolean(breaker, "rollback").unwrap_or(false),
            reset: boolean(breaker, "resetOnHealthyTask").unwrap_or(true),
            threshold: match text(threshold, "type") {
                Some("COUNT") => value.max(1),
                Some("UNBOUNDED_PERCENT") => percent.max(1),
                _ => percent.clamp(3, 200),
            },
        }
    }

    pub fn primary(&mut self) -> Option<&mut Deployment> {
        self.deployments.first_mut()
    }

    pub fn rollout(&mut self) -> Option<&mut Rollout> {
        self.rollouts.first_mut().filter(|rollout| !rollout.status.is_over())
    }

    /// The target groups of its tasks, with container and port.
    pub fn target_groups(&self) -> Vec<(String, String, u64)> {
        let balancers = self.spec.get("loadBalancers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        balancers
            .iter()
            .filter_map(|entry| {
                let container = text(entry, "containerName").unwrap_or_default();
                let port = number(entry, "containerPort").unwrap_or_default();
                Some((text(entry, "targetGroupArn")?.to_owned(), container.to_owned(), port))
            })
            .collect()
    }

    pub fn deployment(&mut self, id: &str) -> Option<&mut Deployment> {
        self.deployments.iter_mut().find(|deployment| deployment.id == id)
    }
}

/// The deployment circuit breaker's settings, with ECS's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    pub enabled: bool,
    pub rollback: bool,
    pub reset: bool,
    pub threshold: u64,
}

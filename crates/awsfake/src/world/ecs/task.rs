//! A task as data.

use serde_json::Value;

use crate::world::Millis;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskState {
    Provisioning,
    Pending,
    Activating,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

impl TaskState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Unknown,
    Healthy,
    Unhealthy,
}

impl Health {
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Container {
    pub name: String,
    pub arn: String,
    pub image: String,
    pub essential: bool,
    pub checked: bool,
    pub health: Health,
    pub exit: Option<i64>,
    pub reason: Option<String>,
    pub rule: crate::world::rules::ImageRule,
    pub stop_timeout: Millis,
    pub definition: Value,
}

#[derive(Debug, Clone)]
pub struct Task {
    pub id: String,
    pub arn: String,
    /// ARN
    pub cluster: String,
    /// ARN of its service.
    pub service: Option<String>,
    /// `ecs-svc/…`
    pub deployment: Option<String>,
    pub group: String,
    pub started_by: Option<String>,
    /// ARN
    pub definition: String,
    pub launch_type: String,
    /// ARN of the container instance that it was placed on.
    pub instance: Option<String>,
    pub state: TaskState,
    /// RUNNING or STOPPED: what is wanted of it.
    pub wanted: &'static str,
    pub created: Millis,
    pub pulled: Option<Millis>,
    pub started: Option<Millis>,
    pub stopping: Option<Millis>,
    pub stopped: Option<Millis>,
    pub stop_code: Option<&'static str>,
    pub stop_reason: Option<String>,
    pub containers: Vec<Container>,
    pub address: String,
    pub overrides: Value,
    /// `awsvpcConfiguration`, or null.
    pub network: Value,
    /// Its network interface is its own: targets are `address:port`, and it is provisioned.
    pub awsvpc: bool,
    /// Target groups it is registered with, with the container and its port.
    pub targets: Vec<(String, String, u64)>,
    /// Long enough up to count as started.
    pub settled: bool,
    /// Its end is a failed start or a failed check, not anybody's wish.
    pub failed: bool,
    pub generation: u64,
}

impl Task {
    pub fn is_live(&self) -> bool {
        self.state != TaskState::Stopped
    }

    pub fn counts_as_running(&self) -> bool {
        matches!(self.state, TaskState::Running)
    }

    pub fn counts_as_pending(&self) -> bool {
        matches!(self.state, TaskState::Provisioning | TaskState::Pending | TaskState::Activating)
    }

    /// On its way up or up, and meant to be.
    pub fn is_wanted(&self) -> bool {
        self.wanted == "RUNNING" && self.state <= TaskState::Running
    }

    pub fn health(&self) -> Health {
        let essential = || self.containers.iter().filter(|container| container.checked && container.essential);
        if self.state > TaskState::Running || essential().next().is_none() {
            return if essential().any(|container| container.health == Health::Unhealthy) {
                Health::Unhealthy
            } else {
                Health::Unknown
            };
        }
        if essential().any(|container| container.health == Health::Unhealthy) {
            Health::Unhealthy
        } else if essential().all(|container| container.health == Health::Healthy) {
            Health::Healthy
        } else {
            Health::Unknown
        }
    }

    pub fn is_checked(&self) -> bool {
        self.containers.iter().any(|container| container.checked && container.essential)
    }
}

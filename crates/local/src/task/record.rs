//! The durable record of a task: what it shall be, and what became of it. The containers, found by label, are the truth of
//! the moment; the record adds what they cannot tell once they are gone.

use std::collections::BTreeMap;

use landfall_model::Timestamp;
use landfall_model::inventory::{TAG_ENVIRONMENT, Tags};
use landfall_model::task::TaskDefinition;
use landfall_ports::orchestrator::{ContainerDescription, TargetBinding, TaskDescription};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    /// ECS's stop code.
    pub code: String,
    pub reason: String,
    /// Counts against its deployment.
    pub failed: bool,
}

impl Stop {
    pub(crate) fn failed(code: &str, reason: &str) -> Self {
        Self { code: code.to_owned(), reason: reason.to_owned(), failed: true }
    }

    pub(crate) fn asked(code: &str, reason: &str) -> Self {
        Self { code: code.to_owned(), reason: reason.to_owned(), failed: false }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskRecord {
    /// 32 hexadecimal digits, as ECS's.
    pub id: String,
    pub tags: Tags,
    pub service: Option<String>,
    pub deployment: Option<String>,
    pub token: Option<String>,
    /// With the overrides of a one-off task already applied.
    pub definition: TaskDefinition,
    pub target: Option<TargetBinding>,
    pub created_at: Timestamp,
    /// When every container had been started.
    pub started_at: Option<Timestamp>,
    /// Decided, perhaps not done.
    pub stopping: Option<Stop>,
    pub stopped_at: Option<Timestamp>,
    #[serde(default)]
    pub healthy: Vec<String>,
    #[serde(default)]
    pub containers: BTreeMap<String, ContainerRecord>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub exit_code: Option<i64>,
    pub reason: Option<String>,
    #[serde(default)]
    pub tail: Vec<String>,
}

impl TaskRecord {
    pub(crate) fn environment(&self) -> &str {
        self.tags.get(TAG_ENVIRONMENT).map_or("", String::as_str)
    }

    /// The description; `statuses` are the containers' current words, absent ones PENDING or STOPPED.
    pub(crate) fn describe(
        &self,
        last_status: &str,
        health: &str,
        statuses: &BTreeMap<String, String>,
    ) -> TaskDescription {
        let containers = self
            .definition
            .containers
            .iter()
            .map(|container| {
                let record = self.containers.get(&container.name).cloned().unwrap_or_default();
                let default = if self.stopped_at.is_some() { "STOPPED" } else { "PENDING" };
                ContainerDescription {
                    name: container.name.clone(),
                    last_status: statuses.get(&container.name).map_or(default, String::as_str).to_owned(),
                    exit_code: record.exit_code,
                    reason: record.reason,
                    tail: record.tail,
                }
            })
            .collect();
        TaskDescription {
            id: self.id.clone(),
            last_status: last_status.to_owned(),
            health: health.to_owned(),
            stopped_reason: self.stopping.as_ref().map(|stop| stop.reason.clone()),
            stop_code: self.stopping.as_ref().map(|stop| stop.code.clone()),
            containers,
            started_at: self.started_at,
            stopped_at: self.stopped_at,
        }
    }
}

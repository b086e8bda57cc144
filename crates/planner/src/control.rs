//! What an environment needs next: level-triggered, one record per environment.
use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_model::environment::EnvironmentRecord;
use landfall_model::event::Intent;
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_model::notice::Notice;
use landfall_workflow::Outcome;

use crate::plan::PlanKind;

/// What an intent did. `record` is to be written (with the stored revision as expected) when it is `Some`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub record: Option<EnvironmentRecord>,
    pub verdict: Verdict,
    pub notices: Vec<Notice>,
}

/// The same three words as the store's `DeliveryOutcome`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Applied { what: String },
    Ignored { why: String },
    Rejected { why: String },
}

/// Applies an intent. `existing`: the record with this key; if there is none, the record that holds the id that
/// `environment_names` gives for the key (its key then differs, and the new environment gets a hashed name).
pub fn apply(_app: &App, _intent: &Intent, _existing: Option<&EnvironmentRecord>, _now: Timestamp) -> Applied {
    Applied { record: None, verdict: Verdict::Ignored { why: String::new() }, notices: Vec::new() }
}

/// What is known of the live execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveStatus {
    /// `superseding`: a supersede signal was sent and not answered yet.
    Running {
        superseding: bool,
    },
    /// Waits for an operator.
    Paused {
        reason: String,
        superseding: bool,
    },
    Finished {
        outcome: Outcome,
        message: String,
        cause: Option<String>,
    },
    /// The journal has no such execution.
    Lost,
}

/// Whether a preview that holds no place yet may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Free,
    Waiting { ahead: usize, cap: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecideContext {
    pub now: Timestamp,
    /// `None` when the record has no live execution.
    pub live: Option<LiveStatus>,
    pub place: Place,
    /// Seconds after the last activity.
    pub ttl: Option<u64>,
    /// Where the environment answers once it is made (`plan::url`).
    pub url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing until something changes, or until `wake_at`.
    Nothing { wake_at: Option<Timestamp> },
    /// Plan and begin an execution; then write what `started` returns.
    Start(PlanKind),
    /// Send `Signal::Supersede` to this execution (once).
    Supersede { execution: ExecutionId },
    /// Write the record: it waits for a place.
    Queue(Settled),
    /// Write the record and decide again.
    Settle(Settled),
    /// The TTL is over: put this intent through the door.
    Expire(Intent),
}

/// A record to be written with its notices, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub record: EnvironmentRecord,
    pub notices: Vec<Notice>,
}

pub fn decide(_record: &EnvironmentRecord, _cx: &DecideContext) -> Decision {
    Decision::Nothing { wake_at: None }
}

/// Whether `environment` may take a place among `records` (first come, first served by `desired_at`). `cap: None`: always.
pub fn place<'a>(
    _records: impl IntoIterator<Item = &'a EnvironmentRecord>,
    _environment: &EnvironmentId,
    _cap: Option<u32>,
) -> Place {
    Place::Free
}

/// Deduplication key of the execution that `Decision::Start` asks for: the same until the record changes hands, so that a
/// crash between creating the execution and writing the record finds the execution again.
pub fn dedup_key(record: &EnvironmentRecord, kind: PlanKind) -> String {
    let last = record.last_execution.as_ref().map_or("-", |id| id.as_str());
    format!("{}/{}/{}/{}/{last}", record.id, record.generation, record.desired_seq, kind.as_str())
}

/// The record once `execution` was created for it, and the notices to create it with. `commit`: what the plan deploys.
pub fn started(
    record: &EnvironmentRecord,
    kind: PlanKind,
    execution: &ExecutionId,
    commit: Option<&str>,
    now: Timestamp,
) -> Settled {
    let _ = (kind, execution, commit, now);
    Settled { record: record.clone(), notices: Vec::new() }
}

/// The record when no plan could be made (no free port, unknown service): failed until somebody asks again.
pub fn plan_failed(record: &EnvironmentRecord, kind: PlanKind, message: &str, now: Timestamp) -> Settled {
    let _ = (kind, message, now);
    Settled { record: record.clone(), notices: Vec::new() }
}

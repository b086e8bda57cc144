//! What an environment needs next. Level-triggered: intents only change the record (`apply`), and what to do follows from
//! the record and the live execution alone (`decide`), however often it is asked.
//!
//! The races, and what settles each:
//! - **Delete against a late create.** A delete leaves a tombstone with the forge's time. A `create`, a push or a pull request
//!   event that is provably older than it (both times known, strictly older) is stale; otherwise the order of arrival counts.
//!   A person's request always counts. The listing of branches counts if it was made after the tombstone, and it never
//!   revives what expired or what a person took down.
//! - **Delete during create.** The live execution is superseded at a step boundary; then a destroy runs.
//! - **Create after delete.** A new generation. What an older generation made (`made_generation`) is destroyed first; a destroy
//!   that runs is never superseded.
//! - **Two deliveries at once, or a crash between two writes.** Every write expects the revision that was read. An execution
//!   is begun by writing its id into the record *first* (`started`) and creating it in the journal second: when the second
//!   write is missing, the execution is `Lost` and is planned anew; an execution that no record knows cannot come to be.

mod apply;
mod decide;
mod settle;
mod sleep;
#[cfg(test)]
mod tests;

pub use apply::apply;
pub use decide::{decide, holds_place, place};
pub use settle::{MAX_REPLANS, plan_failed, started};
pub use sleep::{Idle, is_idle, is_pending as sleep_pending, wake_intent};

use landfall_model::Timestamp;
use landfall_model::environment::{Desired, EnvironmentRecord, SourceRef, Wanted};
use landfall_model::event::Intent;
use landfall_model::ids::ExecutionId;
use landfall_model::names::short_commit;
use landfall_model::notice::{Notice, NoticeKind};
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

/// What is known of the live execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveStatus {
    /// `superseding`: a supersede signal was sent and not answered yet.
    Running { superseding: bool },
    /// Waits for an operator.
    Paused { reason: String, superseding: bool },
    Finished {
        outcome: Outcome,
        message: String,
        cause: Option<Cause>,
        /// All that it was to bring served when it ended (`plan::serves`).
        serves: bool,
    },
    /// The journal has no such execution.
    Lost,
}

/// The first failure of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What failed and why; from the second line on, what a person may do.
    pub text: String,
    /// Of class `Stale`: what the plan had chosen was taken.
    pub stale: bool,
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
    /// The port it keeps once it is made (`plan::port`).
    pub port: Option<u16>,
    /// Of its use; `None`: it is not put to sleep by itself, or nobody could say.
    pub idle: Option<Idle>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing until something changes, or until `wake_at`.
    Nothing { wake_at: Option<Timestamp> },
    /// Choose an execution id, plan, write what `started` returns, then create the execution.
    Start(PlanKind),
    /// Send `Signal::Supersede` to this execution (once).
    Supersede { execution: ExecutionId },
    /// Write the record: it waits for a place.
    Queue(Settled),
    /// Write the record and decide again.
    Settle(Settled),
    /// The TTL is over: put this intent through the door.
    Expire(Intent),
    /// Nobody used it for long enough: put this intent through the door.
    Doze(Intent),
}

/// A record to be written with its notices, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub record: EnvironmentRecord,
    pub notices: Vec<Notice>,
}

/// Deduplication key of the execution that `Decision::Start` asks for, made from the record as it was before `started`.
pub fn dedup_key(record: &EnvironmentRecord, kind: PlanKind) -> String {
    let last = record.last_execution.as_ref().map_or("-", |id| id.as_str());
    format!("{}/{}/{}/{}/{last}", record.id, record.generation, record.desired_seq, kind.as_str())
}

pub(crate) fn wanted(record: &EnvironmentRecord) -> Option<&Wanted> {
    match &record.desired {
        Desired::Present(wanted) => Some(wanted),
        Desired::Absent { .. } => None,
    }
}

/// A fork's commit that nobody has allowed.
pub(crate) fn awaits_approval(record: &EnvironmentRecord) -> bool {
    let fork = matches!(record.key.source, SourceRef::ForkPullRequest(_));
    let allowed = |commit: &String| record.approved_commits.contains(commit);
    fork && wanted(record).is_some_and(|wanted| !wanted.commit.as_ref().is_some_and(allowed))
}

/// Made by an earlier generation, or by this one while the environment shall be gone.
fn needs_clearing(record: &EnvironmentRecord) -> bool {
    record.made_generation != 0 && record.made_generation < record.generation
}

pub(crate) fn at_commit(commit: Option<&str>) -> String {
    commit.map_or_else(String::new, |commit| format!(" at {}", short_commit(commit)))
}

/// One per change: the id repeats when the same change is decided again after a crash.
fn notice(record: &EnvironmentRecord, kind: NoticeKind, word: &str, text: String, now: Timestamp) -> Notice {
    Notice {
        id: format!("{}/{}/{}/{word}", record.id, record.generation, record.desired_seq),
        kind,
        environment: record.id.clone(),
        execution: record.live.as_ref().map(|live| live.id.clone()),
        text,
        url: record.url.clone(),
        cause: None,
        at: now,
        links: None,
        to: Vec::new(),
    }
}

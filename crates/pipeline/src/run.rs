//! A run: the state folded from its records.

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::Timestamp;
use landfall_model::ids::RunId;
use landfall_model::notice::Sent;
use landfall_model::pipeline::{Approval, Pipeline, PipelineRelease, Stage};

use crate::event::{Outcome, Vote};
use crate::shown::{Pause, Shown};
use crate::view::Moment;

/// One release on its way through one pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub(crate) id: RunId,
    /// The order of the runs of one pipeline.
    pub(crate) seq: u64,
    pub(crate) state: State,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub version: u64,
    pub pipeline: Pipeline,
    pub release: PipelineRelease,
    pub by: String,
    pub trigger: String,
    pub created_at: Timestamp,
    pub at: At,
    /// As many as the pipeline has.
    pub stages: Vec<StageRecord>,
    pub why: Option<String>,
    pub cancel: Option<String>,
    pub outcome: Option<Outcome>,
    pub message: Option<String>,
    pub finished_at: Option<Timestamp>,
    pub retries: u32,
    /// Signals that changed nothing.
    pub refused: u32,
    /// Of links that were used.
    pub nonces: BTreeSet<String>,
    pub timeline: Vec<Moment>,
    /// A record of a newer version: nothing goes on.
    pub unknown: bool,
}

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Its images are not all known by digest.
    Images,
    Gate(usize),
    Entering(usize),
    Work(usize),
    Rollback(usize),
    Finished,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StageRecord {
    pub reached_at: Option<Timestamp>,
    /// Why it is not entered.
    pub why: Option<String>,
    /// The last such reason, whatever has come since: told once.
    pub said: Option<String>,
    /// How often in a row it was about to be entered and could not, and when last.
    pub turned_away: u32,
    pub turned_away_at: Option<Timestamp>,
    /// Of the last that was asked; goes up for ever.
    pub round: u32,
    pub asked: Option<Asked>,
    /// Who said no at a pause: what is under way is stopped and undone.
    pub rejected: Option<String>,
    pub entered_at: Option<Timestamp>,
    pub shown: Option<Shown>,
    pub before: Option<String>,
    pub work: Vec<WorkRecord>,
    pub rollback: Option<Rollback>,
    pub finished_at: Option<Timestamp>,
    pub passed: bool,
}

/// An approval that is asked for, or was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub round: u32,
    pub shown: Shown,
    pub fingerprint: String,
    pub at: Timestamp,
    pub deadline: Option<Timestamp>,
    pub votes: Vec<Vote>,
    /// One of each notification.
    pub sent: Vec<Sent>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct WorkRecord {
    pub status: Status,
    /// Goes up with every start, for ever: part of the key.
    pub attempt: u32,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub token: Option<serde_json::Value>,
    pub poll: Option<Poll>,
    pub note: Option<String>,
    pub output: BTreeMap<String, String>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Status {
    #[default]
    Waiting,
    Started,
    Done,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Poll {
    pub since: Timestamp,
    pub ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rollback {
    pub to: String,
    pub started_at: Timestamp,
    pub token: Option<serde_json::Value>,
    pub poll: Option<Poll>,
    pub note: Option<String>,
    pub error: Option<String>,
    pub finished_at: Option<Timestamp>,
}

/// The records cannot have been written by this core.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {version} of {run} cannot follow here: {why}")]
pub struct Corrupt {
    pub run: RunId,
    pub version: u64,
    pub why: String,
}

impl Run {
    pub fn id(&self) -> &RunId {
        &self.id
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }

    pub fn pipeline(&self) -> &Pipeline {
        &self.state.pipeline
    }

    pub fn release(&self) -> &PipelineRelease {
        &self.state.release
    }

    pub fn by(&self) -> &str {
        &self.state.by
    }

    /// Records folded.
    pub fn version(&self) -> u64 {
        self.state.version
    }

    pub fn outcome(&self) -> Option<Outcome> {
        self.state.outcome
    }

    /// The environment whose lock it has, or is about to take: from its entry until the stage has ended.
    pub fn holds(&self) -> Option<&str> {
        match self.state.at {
            At::Entering(stage) | At::Work(stage) | At::Rollback(stage) => Some(self.environment(stage)),
            At::Images | At::Gate(_) | At::Finished => None,
        }
    }

    /// Environments that it has got as far as, in order.
    pub fn reached(&self) -> Vec<String> {
        let reached = self.state.stages.iter().zip(&self.state.pipeline.stages);
        reached.filter(|(record, _)| record.reached_at.is_some()).map(|(_, stage)| stage.environment.clone()).collect()
    }

    pub(crate) fn environment(&self, stage: usize) -> &str {
        self.state.pipeline.stages.get(stage).map_or("", |stage| stage.environment.as_str())
    }

    pub(crate) fn stage(&self, stage: usize) -> Option<(&Stage, &StageRecord)> {
        Some((self.state.pipeline.stages.get(stage)?, self.state.stages.get(stage)?))
    }

    /// `main #12`.
    pub(crate) fn title(&self) -> String {
        format!("{} #{}", self.state.pipeline.name, self.seq)
    }
}

impl StageRecord {
    /// The pause at which people were asked last, answered or not.
    pub(crate) fn pause(&self) -> Option<&Pause> {
        self.asked.as_ref()?.shown.pause.as_ref()
    }
}

impl Asked {
    /// How many are still missing.
    pub(crate) fn missing(&self, approval: &Approval) -> u32 {
        approval.count.saturating_sub(u32::try_from(self.votes.len()).unwrap_or(u32::MAX))
    }
}

/// `anna` of `cli:anna` and `github:anna`.
pub fn bare(who: &str) -> &str {
    who.rsplit_once(':').map_or(who, |(_, name)| name)
}

pub(crate) fn same_person(one: &str, other: &str) -> bool {
    bare(one).eq_ignore_ascii_case(bare(other))
}

pub(crate) fn after(from: Timestamp, ms: u64) -> Timestamp {
    let span = jiff::SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    from.checked_add(span).unwrap_or(Timestamp::MAX)
}

//! What a person sees of a run: plain data for the command line, the page and JSON output.

use std::collections::BTreeMap;

use landfall_model::Timestamp;
use landfall_model::ids::RunId;
use landfall_model::notice::Sent;
use landfall_model::pipeline::{OnDeadline, PipelineRelease};
use serde::{Deserialize, Serialize};

use crate::event::{Outcome, Vote};
use crate::run::{At, Run, StageRecord, Status};
use crate::shown::Shown;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    pub id: RunId,
    pub pipeline: String,
    /// Its number in the pipeline.
    pub number: u64,
    /// `main #12`
    pub title: String,
    pub state: RunState,
    /// One line: why it ended as it did, what it waits for, or what is being done.
    pub message: String,
    pub outcome: Option<Outcome>,
    pub release: PipelineRelease,
    /// Who or what began it.
    pub by: String,
    pub trigger: String,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub stages: Vec<StageView>,
    pub timeline: Vec<Moment>,
    /// Records in its journal: goes up with every change.
    pub version: u64,
}

/// One line of `landfall pipeline list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    pub id: RunId,
    pub pipeline: String,
    pub number: u64,
    pub state: RunState,
    pub message: String,
    pub commit: Option<String>,
    pub by: String,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// The environment that it is before or in; `None`: before the first, or done.
    pub stage: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its images are not all known.
    Queued,
    /// Before a stage that may not be entered yet.
    Waiting,
    AwaitingApproval,
    Running,
    RollingBack,
    Passed,
    Failed,
    RolledBack,
    Rejected,
    Superseded,
    Cancelled,
}

impl RunState {
    pub fn is_finished(self) -> bool {
        !matches!(self, Self::Queued | Self::Waiting | Self::AwaitingApproval | Self::Running | Self::RollingBack)
    }

    /// As in JSON, with spaces: `awaiting approval`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::AwaitingApproval => "awaiting approval",
            Self::Running => "running",
            Self::RollingBack => "rolling back",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::RolledBack => "rolled back",
            Self::Rejected => "rejected",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageView {
    pub environment: String,
    pub state: StageState,
    /// Why it is not entered, or what failed.
    pub why: Option<String>,
    /// Where it is reached, once it was deployed.
    pub url: Option<String>,
    /// When the run got as far, when it entered, and when it left.
    pub reached_at: Option<Timestamp>,
    pub entered_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Seconds that a release bakes before it.
    pub bake: u64,
    /// Where this stage needs one, asked for or not.
    pub approval: Option<ApprovalView>,
    /// What was entered with: images, and what they changed.
    pub shown: Option<Shown>,
    pub work: Vec<WorkView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// Not reached.
    Ahead,
    Waiting,
    AwaitingApproval,
    /// Approved, or without approval, and about to be entered.
    Entering,
    Running,
    RollingBack,
    Passed,
    /// The run ended here, as its own state says.
    Failed,
    RolledBack,
    Rejected,
    Superseded,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalView {
    /// Who may.
    pub by: Vec<String>,
    pub count: u32,
    pub self_approval: bool,
    pub on_deadline: OnDeadline,
    /// What is asked now, or was answered; `None`: nothing yet.
    pub asked: Option<AskedView>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskedView {
    /// Counts from 1; a later one follows where what was shown had changed.
    pub round: u32,
    pub at: Timestamp,
    pub deadline: Option<Timestamp>,
    /// What an approval must name.
    pub fingerprint: String,
    pub shown: Shown,
    pub votes: Vec<Vote>,
    /// How many approvals are missing.
    pub missing: u32,
    /// Where the question was sent, and whom it reached then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<Sent>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkView {
    pub title: String,
    pub state: WorkState,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// How far it is, or what went wrong.
    pub note: Option<String>,
    /// `execution` names what `landfall executions show` shows.
    pub output: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkState {
    Ahead,
    Running,
    Done,
    Failed,
}

/// One line of the time-line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    pub at: Timestamp,
    /// Counts from 0; `None`: of the run as a whole.
    pub stage: Option<usize>,
    pub text: String,
}

impl Run {
    pub fn view(&self) -> RunView {
        let state = &self.state;
        RunView {
            id: self.id.clone(),
            pipeline: state.pipeline.name.clone(),
            number: self.seq,
            title: self.title(),
            state: self.run_state(),
            message: self.line(),
            outcome: state.outcome,
            release: state.release.clone(),
            by: state.by.clone(),
            trigger: state.trigger.clone(),
            created_at: state.created_at,
            finished_at: state.finished_at,
            stages: (0..state.stages.len()).filter_map(|stage| self.stage_view(stage)).collect(),
            timeline: state.timeline.clone(),
            version: state.version,
        }
    }

    pub fn summary(&self) -> RunSummary {
        let state = &self.state;
        RunSummary {
            id: self.id.clone(),
            pipeline: state.pipeline.name.clone(),
            number: self.seq,
            state: self.run_state(),
            message: self.line(),
            commit: state.release.commit.clone(),
            by: state.by.clone(),
            created_at: state.created_at,
            finished_at: state.finished_at,
            stage: state.current().map(|stage| self.environment(stage).to_owned()),
        }
    }

    fn run_state(&self) -> RunState {
        match self.state.outcome {
            Some(Outcome::Passed) => RunState::Passed,
            Some(Outcome::Failed) => RunState::Failed,
            Some(Outcome::RolledBack) => RunState::RolledBack,
            Some(Outcome::Rejected) => RunState::Rejected,
            Some(Outcome::Superseded) => RunState::Superseded,
            Some(Outcome::Cancelled) => RunState::Cancelled,
            None => match self.state.at {
                At::Images => RunState::Queued,
                At::Gate(stage) | At::Work(stage) if self.thinks(stage) => RunState::AwaitingApproval,
                At::Gate(_) => RunState::Waiting,
                At::Rollback(_) => RunState::RollingBack,
                At::Entering(_) | At::Work(_) | At::Finished => RunState::Running,
            },
        }
    }

    /// Whether people are asked and have not all answered.
    pub(crate) fn thinks(&self, stage: usize) -> bool {
        // What is to end is nobody's question any more.
        if self.state.at == At::Work(stage) && self.state.cancel.is_some() {
            return false;
        }
        self.stage(stage).is_some_and(|(own, record)| match (&own.approval, &record.asked) {
            (Some(approval), Some(asked)) => asked.missing(approval) > 0,
            _ => false,
        })
    }

    fn line(&self) -> String {
        if let Some(message) = &self.state.message {
            return message.clone();
        }
        if self.state.unknown {
            return "a record of a newer version of Landfall: nothing goes on".to_owned();
        }
        match self.state.at {
            At::Images => match &self.state.why {
                Some(why) => format!("waits for its images: {why}"),
                None => "begun".to_owned(),
            },
            At::Gate(stage) => {
                let environment = self.environment(stage);
                let Some((own, record)) = self.stage(stage) else { return String::new() };
                match (&own.approval, &record.asked) {
                    (Some(approval), Some(asked)) if asked.missing(approval) > 0 => {
                        let (votes, count) = (asked.votes.len(), approval.count);
                        format!("{environment} waits for approval, {votes} of {count}")
                    }
                    _ => match &record.why {
                        Some(why) => format!("before {environment}: {why}"),
                        None => format!("before {environment}"),
                    },
                }
            }
            At::Entering(stage) => format!("enters {}", self.environment(stage)),
            At::Work(stage) => {
                let environment = self.environment(stage);
                let Some((own, record)) = self.stage(stage) else { return String::new() };
                if let (Some(approval), Some(asked), true) = (&own.approval, &record.asked, self.thinks(stage)) {
                    let (votes, count) = (asked.votes.len(), approval.count);
                    return format!("{environment} is paused and waits for approval, {votes} of {count}");
                }
                let running = own.run.iter().zip(&record.work).find(|(_, one)| one.status == Status::Started);
                match running {
                    Some((work, one)) => match &one.note {
                        Some(note) => format!("{environment}: {}: {note}", work.title()),
                        None => format!("{environment}: {}", work.title()),
                    },
                    None => environment.to_owned(),
                }
            }
            At::Rollback(stage) => format!("{} is being rolled back", self.environment(stage)),
            At::Finished => String::new(),
        }
    }

    fn stage_view(&self, stage: usize) -> Option<StageView> {
        let (own, record) = self.stage(stage)?;
        let approval = own.approval.as_ref().map(|approval| ApprovalView {
            by: approval.by.clone(),
            count: approval.count,
            self_approval: approval.self_approval,
            on_deadline: approval.on_deadline,
            asked: record.asked.as_ref().map(|asked| AskedView {
                round: asked.round,
                at: asked.at,
                deadline: asked.deadline,
                fingerprint: asked.fingerprint.clone(),
                shown: asked.shown.clone(),
                votes: asked.votes.clone(),
                missing: asked.missing(approval),
                sent: asked.sent.clone(),
            }),
        });
        let work = own.run.iter().zip(&record.work).map(|(work, one)| WorkView {
            title: work.title(),
            state: match one.status {
                Status::Waiting => WorkState::Ahead,
                Status::Started => WorkState::Running,
                Status::Done => WorkState::Done,
                Status::Failed => WorkState::Failed,
            },
            started_at: one.started_at,
            finished_at: one.finished_at,
            note: one.error.clone().or_else(|| one.note.clone()),
            output: one.output.clone(),
        });
        let failed = record.work.iter().find_map(|one| one.error.clone());
        let url = record.work.iter().rev().find_map(|one| one.output.get("url").cloned());
        Some(StageView {
            environment: own.environment.clone(),
            state: self.stage_state(stage, record),
            why: failed.or_else(|| record.why.clone().filter(|_| record.entered_at.is_none())),
            url,
            reached_at: record.reached_at,
            entered_at: record.entered_at,
            finished_at: record.finished_at,
            bake: own.requires.bake,
            approval,
            shown: record.shown.clone(),
            work: work.collect(),
        })
    }

    fn stage_state(&self, stage: usize, record: &StageRecord) -> StageState {
        if record.passed {
            return StageState::Passed;
        }
        if record.reached_at.is_none() {
            return StageState::Ahead;
        }
        match (self.state.outcome, self.state.at) {
            (Some(Outcome::RolledBack), _) => StageState::RolledBack,
            (Some(Outcome::Rejected), _) => StageState::Rejected,
            (Some(Outcome::Superseded), _) => StageState::Superseded,
            (Some(Outcome::Cancelled), _) => StageState::Cancelled,
            (Some(Outcome::Failed | Outcome::Passed), _) => StageState::Failed,
            (None, At::Gate(_) | At::Work(_)) if self.thinks(stage) => StageState::AwaitingApproval,
            (None, At::Entering(_)) => StageState::Entering,
            (None, At::Work(_)) => StageState::Running,
            (None, At::Rollback(_)) => StageState::RollingBack,
            (None, _) => StageState::Waiting,
        }
    }
}

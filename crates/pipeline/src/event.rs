//! What a run's journal holds. Records are only ever added to this list; one of a newer version is kept and not understood.

use std::collections::BTreeMap;

use landfall_model::Timestamp;
use landfall_model::notice::Sent;
use landfall_model::pipeline::{Pipeline, PipelineRelease};
use serde::{Deserialize, Serialize};

use crate::shown::{Pause, Shown};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub at: Timestamp,
    pub event: Event,
}

/// How a signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    Command,
    /// A signed link.
    Link,
    /// A page that somebody is signed in to.
    Page,
}

/// What a person may say to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// `fingerprint`: of what was shown to `by`. `nonce`: of the link, which works once.
    Approve {
        by: String,
        via: Via,
        fingerprint: String,
        #[serde(default)]
        comment: Option<String>,
        #[serde(default)]
        nonce: Option<String>,
    },
    Reject {
        by: String,
        via: Via,
        fingerprint: String,
        #[serde(default)]
        comment: Option<String>,
        #[serde(default)]
        nonce: Option<String>,
    },
    Cancel {
        by: String,
        #[serde(default)]
        comment: Option<String>,
    },
    /// Of a run that failed: the stage again.
    Retry { by: String },
}

impl Signal {
    pub fn by(&self) -> &str {
        match self {
            Self::Approve { by, .. } | Self::Reject { by, .. } | Self::Cancel { by, .. } | Self::Retry { by } => by,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    pub by: String,
    pub via: Via,
    pub at: Timestamp,
    pub comment: Option<String>,
    pub nonce: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    /// What the failed stage did is there, as far as it got.
    Failed,
    /// The failed stage's environment is as it was before.
    RolledBack,
    Rejected,
    Superseded,
    Cancelled,
}

/// What was seen of the world before a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveyed {
    /// What does not hold; empty: the stage may be entered.
    pub closed: Vec<String>,
    /// What would be deployed, and over what; only where nothing is closed.
    pub shown: Option<Shown>,
}

/// How far a piece of work is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Report {
    Done {
        /// For people and for later work of the stage: `execution`, `url`, `image.FROM` → TO.
        output: BTreeMap<String, String>,
    },
    Pending {
        token: serde_json::Value,
        after_ms: u64,
        note: Option<String>,
    },
    /// Under way, and standing where somebody has to say yes: `Pending` where nobody is asked.
    Paused {
        token: serde_json::Value,
        after_ms: u64,
        note: Option<String>,
        pause: Pause,
    },
    /// Whoever knows how far it is does not answer: what was known of it stands.
    Unknown {
        token: serde_json::Value,
        after_ms: u64,
        note: Option<String>,
    },
    Failed {
        message: String,
        /// It has taken back what it had done.
        undone: bool,
    },
}

/// Stages are numbered from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first record. The pipeline is kept as it was then.
    Created {
        pipeline: Pipeline,
        release: PipelineRelease,
        by: String,
        trigger: String,
    },
    /// Its images cannot be told yet.
    ImagesAwaited {
        why: String,
    },
    /// Every image is known by digest. The first stage is reached.
    ReleaseKnown {
        release: PipelineRelease,
    },
    /// Before a stage: why it is not entered. Only where that is news.
    Waiting {
        stage: usize,
        why: String,
    },
    /// Before a stage that needs approval, or in it where its deployment stands at a pause. `round` counts from 1.
    ApprovalAsked {
        stage: usize,
        round: u32,
        shown: Shown,
        deadline: Option<Timestamp>,
    },
    /// To whom the question went, or why it could not be sent.
    ApprovalSent {
        stage: usize,
        round: u32,
        sent: Sent,
    },
    Approved {
        stage: usize,
        round: u32,
        fingerprint: String,
        vote: Vote,
    },
    Rejected {
        stage: usize,
        round: u32,
        vote: Vote,
    },
    /// What was shown is no longer so.
    ApprovalVoid {
        stage: usize,
        round: u32,
        why: String,
    },
    /// What somebody said has changed nothing.
    SignalRefused {
        signal: Signal,
        why: String,
    },
    /// The stage is held from here on. The lock is about to be taken.
    Entering {
        stage: usize,
    },
    /// The lock is taken, all is as it was approved; `before` is what a rollback goes back to.
    Entered {
        stage: usize,
        shown: Shown,
        before: Option<String>,
    },
    WorkStarted {
        stage: usize,
        work: usize,
        attempt: u32,
    },
    WorkPending {
        stage: usize,
        work: usize,
        token: serde_json::Value,
        after_ms: u64,
        note: Option<String>,
    },
    WorkDone {
        stage: usize,
        work: usize,
        output: BTreeMap<String, String>,
    },
    WorkFailed {
        stage: usize,
        work: usize,
        message: String,
        undone: bool,
    },
    RollbackStarted {
        stage: usize,
        to: String,
    },
    RollbackPending {
        stage: usize,
        token: serde_json::Value,
        after_ms: u64,
        note: Option<String>,
    },
    RollbackEnded {
        stage: usize,
        error: Option<String>,
    },
    /// The next one is reached.
    StagePassed {
        stage: usize,
    },
    CancelAsked {
        by: String,
        comment: Option<String>,
    },
    /// A finished run goes on before the stage that failed.
    Retried {
        stage: usize,
        by: String,
    },
    Finished {
        outcome: Outcome,
        message: String,
    },
    /// A record of a newer version.
    #[serde(other)]
    Unknown,
}

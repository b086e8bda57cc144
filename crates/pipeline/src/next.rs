//! What is to be done now, from the state alone. Nothing is remembered beside it, so nothing is lost with a process.

use std::collections::BTreeMap;

use landfall_model::Timestamp;
use landfall_model::pipeline::{PipelineRelease, Work};
use serde_json::Value;

use crate::handle::Context;
use crate::run::{At, Poll, Run, Status, after};
use crate::shown::{Pause, Shown};

/// Between two looks at images that are not there, and at what keeps a stage closed.
const CLOSED_MS: u64 = 3_000;
/// After the stage could not be entered though nothing had stood in the way: twice as long each time, up to so many times.
const DOUBLED: u32 = 7;
/// Between two looks at whether what was shown is still so, while people think.
const SHOWN_MS: u64 = 30_000;

#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    Do(Action),
    /// Nothing before then; `None`: nothing before somebody or another run moves.
    Wait(Option<Timestamp>),
    /// It has finished, or cannot be read by this version.
    Rest,
}

/// Each is safe to do again after a crash.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Tell its images by digest. Answered by `Input::Resolved`.
    Resolve,
    /// Look at what the stage requires, at the environment's lock, and at what would be deployed over what.
    Survey { stage: usize },
    /// Take the environment's lock, then look afresh. Answered by `Input::Entered`.
    Enter { stage: usize },
    /// Record that work begins: answered by `Input::Began`.
    Begin,
    /// Begin or go on. Answered by `Input::Reported`.
    Work(Box<Call>),
    /// Likewise: back to the release `to`.
    Rollback(Box<Call>),
}

/// One piece of work, with all that it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub stage: usize,
    pub environment: String,
    /// Names the effect: the same for all calls about it. `run_…/prod/1/1`.
    pub key: String,
    pub work: Option<Work>,
    /// What a rollback goes back to.
    pub to: Option<String>,
    pub release: PipelineRelease,
    /// What was approved, or found where nobody had to.
    pub shown: Option<Shown>,
    /// Of the stage's earlier work.
    pub output: BTreeMap<String, String>,
    /// `None`: not begun, or begun and not known how far.
    pub token: Option<Value>,
    pub started_at: Timestamp,
    /// Somebody wants it to end: stop it, and report how it ended.
    pub stop: bool,
    /// It stands at these, and enough people have said yes: let it go on.
    pub go_on: Option<Pause>,
}

impl Run {
    /// The next thing. `handle` with `Input::Look` comes first: time and other runs may have changed where it is.
    pub fn next(&self, cx: &Context<'_>) -> Next {
        if self.state.unknown {
            return Next::Rest;
        }
        let again = |ms: u64| cx.looked.map(|looked| after(looked, ms)).filter(|at| *at > cx.now);
        match self.state.at {
            At::Finished => Next::Rest,
            At::Images => match again(CLOSED_MS) {
                Some(at) => Next::Wait(Some(at)),
                None => Next::Do(Action::Resolve),
            },
            At::Gate(stage) => self.at_gate(stage, cx, &again),
            At::Entering(stage) => Next::Do(Action::Enter { stage }),
            At::Work(stage) => self.at_work(stage, cx),
            At::Rollback(stage) => self.at_rollback(stage, cx),
        }
    }

    fn at_gate(&self, stage: usize, cx: &Context<'_>, again: &dyn Fn(u64) -> Option<Timestamp>) -> Next {
        if let Some((_, until)) = self.closed(stage, cx.now, cx.peers) {
            return Next::Wait(self.earliest(stage, until));
        }
        if let Some(at) = self.turned_away_until(stage).filter(|at| *at > cx.now) {
            return Next::Wait(self.earliest(stage, Some(at)));
        }
        match again(if self.thinks(stage) { SHOWN_MS } else { CLOSED_MS }) {
            Some(at) => Next::Wait(self.earliest(stage, Some(at))),
            None => Next::Do(Action::Survey { stage }),
        }
    }

    fn turned_away_until(&self, stage: usize) -> Option<Timestamp> {
        let (_, record) = self.stage(stage)?;
        let doubled = record.turned_away.saturating_sub(1).min(DOUBLED);
        Some(after(record.turned_away_at?, CLOSED_MS << doubled))
    }

    /// `at` or the approval's deadline, whichever is first.
    fn earliest(&self, stage: usize, at: Option<Timestamp>) -> Option<Timestamp> {
        let deadline = self.stage(stage).and_then(|(own, record)| {
            let (approval, asked) = (own.approval.as_ref()?, record.asked.as_ref()?);
            asked.deadline.filter(|_| asked.missing(approval) > 0)
        });
        at.into_iter().chain(deadline).min()
    }

    fn at_work(&self, stage: usize, cx: &Context<'_>) -> Next {
        let Some((own, record)) = self.stage(stage) else { return Next::Rest };
        let Some(index) = record.work.iter().position(|one| one.status == Status::Started) else {
            return match record.work.iter().any(|one| one.status == Status::Waiting) {
                true => Next::Do(Action::Begin),
                // `Look` ends it.
                false => Next::Wait(None),
            };
        };
        let one = &record.work[index];
        let stop = self.state.cancel.is_some() || record.rejected.is_some();
        let go_on = record.pause().filter(|_| !stop && !self.thinks(stage)).cloned();
        // That it is to stop, or to go on, is told at once; how that goes is looked at as ever.
        if let Some(at) = due(one.poll.filter(|_| !stop && go_on.is_none() || cx.looked.is_some()), cx) {
            return Next::Wait(Some(at));
        }
        let output = record.work[..index].iter().flat_map(|one| one.output.clone()).collect();
        Next::Do(Action::Work(Box::new(Call {
            stage,
            environment: own.environment.clone(),
            key: format!("{}/{}/{index}/{}", self.id, own.environment, one.attempt),
            work: own.run.get(index).cloned(),
            to: None,
            release: self.state.release.clone(),
            shown: record.shown.clone(),
            output,
            token: one.token.clone(),
            started_at: one.started_at.unwrap_or(cx.now),
            stop,
            go_on,
        })))
    }

    fn at_rollback(&self, stage: usize, cx: &Context<'_>) -> Next {
        let Some((own, record)) = self.stage(stage) else { return Next::Rest };
        let Some(rollback) = &record.rollback else { return Next::Rest };
        if let Some(at) = due(rollback.poll, cx) {
            return Next::Wait(Some(at));
        }
        Next::Do(Action::Rollback(Box::new(Call {
            stage,
            environment: own.environment.clone(),
            key: format!("{}/{}/rollback/{}", self.id, own.environment, self.state.retries),
            work: None,
            to: Some(rollback.to.clone()),
            release: self.state.release.clone(),
            shown: record.shown.clone(),
            output: BTreeMap::new(),
            token: rollback.token.clone(),
            started_at: rollback.started_at,
            stop: false,
            go_on: None,
        })))
    }
}

/// When the next poll is due, where that is later than now. A clock that went backwards waits no longer than the wait was.
fn due(poll: Option<Poll>, cx: &Context<'_>) -> Option<Timestamp> {
    let poll = poll?;
    // Polled since: the record says only the first of answers that are all the same.
    let since = cx.looked.map_or(poll.since, |looked| looked.max(poll.since)).min(cx.now);
    Some(after(since, poll.ms)).filter(|at| *at > cx.now)
}

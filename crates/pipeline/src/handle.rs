//! Deciding: what an input means in the present state.
//!
//! Each chosen event goes through the fold of a scratch copy, so a chosen event is also a legal one, and later choices see it.

use std::borrow::Cow;

use landfall_model::Timestamp;
use landfall_model::ids::RunId;
use landfall_model::notice::Sent;
use landfall_model::pipeline::{OnDeadline, OnFailure, PipelineRelease, Work};

use crate::event::{Event, Outcome, Record, Report, Signal, Surveyed};
use crate::notices::{self, NoticeDraft};
use crate::run::{At, Run, Status, WorkRecord, after};
use crate::shown::{Differs, Pause, Shown};

/// Another run, as far as it matters: all that are alive, and those of the same pipeline that are newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub id: RunId,
    pub pipeline: String,
    pub seq: u64,
    /// As [`Run::reached`].
    pub reached: Vec<String>,
    /// As [`Run::holds`].
    pub holds: Option<String>,
}

impl Peer {
    pub fn of(run: &Run) -> Self {
        Self {
            id: run.id.clone(),
            pipeline: run.state.pipeline.name.clone(),
            seq: run.seq,
            reached: run.reached(),
            holds: run.holds().map(str::to_owned),
        }
    }
}

/// What is known at the moment of an input.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub now: Timestamp,
    pub peers: &'a [Peer],
    /// When its images or its stage were last looked at by this process, since the last record.
    pub looked: Option<Timestamp>,
    /// The one check that everything hangs on, left out: the property test must notice.
    #[cfg(test)]
    pub(crate) unchecked: bool,
}

impl<'a> Context<'a> {
    pub fn new(now: Timestamp, peers: &'a [Peer], looked: Option<Timestamp>) -> Self {
        Self {
            now,
            peers,
            looked,
            #[cfg(test)]
            unchecked: false,
        }
    }

    /// Whether what an approval was given for is no longer so.
    fn void(&self, shown: &Shown, now: &Shown) -> Option<Differs> {
        #[cfg(test)]
        if self.unchecked {
            return None;
        }
        shown.differs(now)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Nothing: time has passed, or other runs have moved.
    Look,
    /// `Ok(Err)`: not yet, and why. `Err`: never.
    Resolved(Result<Result<PipelineRelease, String>, String>),
    Surveyed(Surveyed),
    /// The lock is taken and all was looked at afresh; or what is in the way, and the lock is not held.
    Entered(Result<(Shown, Option<String>), Vec<String>>),
    /// Work is begun from here on: recorded before the call.
    Began,
    Reported(Report),
    /// What became of the notice that asks for approval.
    Sent {
        stage: usize,
        round: u32,
        sent: Sent,
    },
    Signal(Signal),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transition {
    /// All or nothing, with `notices` in the same transaction.
    pub append: Vec<Event>,
    pub notices: Vec<NoticeDraft>,
    /// To who sent a signal: what became of it.
    pub answer: Option<Result<String, Refused>>,
}

/// The signal has changed nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A scratch copy, made by the first event that is chosen, and what was chosen so far.
pub(crate) struct Choice<'a> {
    pub(crate) run: Cow<'a, Run>,
    pub(crate) cx: Context<'a>,
    pub(crate) out: Transition,
}

impl Run {
    /// Decides. Pure: the same state, context and input give the same answer.
    ///
    /// # Errors
    /// A defect: an event that was chosen here and is refused by the fold.
    pub fn handle<'a>(&'a self, cx: Context<'a>, input: Input) -> Result<Transition, String> {
        let mut choice = Choice { run: Cow::Borrowed(self), cx, out: Transition::default() };
        if self.state.unknown {
            if let Input::Signal(_) = input {
                let why = "its journal holds a record of a newer version of Landfall; run that version";
                choice.out.answer = Some(Err(Refused(why.to_owned())));
            }
            return Ok(choice.out);
        }
        match input {
            Input::Look => choice.look()?,
            Input::Resolved(resolved) => choice.resolved(resolved)?,
            Input::Surveyed(surveyed) => choice.surveyed(surveyed)?,
            Input::Entered(entered) => choice.entered(entered)?,
            Input::Began => choice.began()?,
            Input::Reported(report) => choice.reported(report)?,
            Input::Sent { stage, round, sent } => choice.sent(stage, round, sent)?,
            Input::Signal(signal) => choice.signal(signal)?,
        }
        Ok(choice.out)
    }
}

impl Choice<'_> {
    pub(crate) fn add(&mut self, event: Event) -> Result<(), String> {
        self.run
            .to_mut()
            .apply(&Record { at: self.cx.now, event: event.clone() })
            .map_err(|corrupt| corrupt.to_string())?;
        self.out.append.push(event);
        Ok(())
    }

    pub(crate) fn finish(&mut self, outcome: Outcome, message: String) -> Result<(), String> {
        let stage = self.run.state.current();
        self.add(Event::Finished { outcome, message: message.clone() })?;
        self.out.notices.push(notices::finished(&self.run, stage, outcome, &message));
        Ok(())
    }

    fn look(&mut self) -> Result<(), String> {
        match self.run.state.at {
            At::Images | At::Gate(_) => {
                if let Some(newer) = self.run.superseded(self.cx.peers) {
                    let message = format!("superseded: {} #{} has got as far", newer.pipeline, newer.seq);
                    return self.finish(Outcome::Superseded, message);
                }
                let At::Gate(stage) = self.run.state.at else { return Ok(()) };
                if self.over_deadline(stage)? {
                    return Ok(());
                }
                match self.run.closed(stage, self.cx.now, self.cx.peers) {
                    Some((why, _)) => self.waiting(stage, why),
                    None => Ok(()),
                }
            }
            // Recorded with the last stage's end; told again it changes nothing.
            At::Work(stage) if self.run.state.stages.get(stage).is_some_and(|record| record.passed) => self.passed(),
            _ => Ok(()),
        }
    }

    fn over_deadline(&mut self, stage: usize) -> Result<bool, String> {
        let Some((own, record)) = self.run.stage(stage) else { return Ok(false) };
        let (Some(approval), Some(asked)) = (&own.approval, &record.asked) else { return Ok(false) };
        let Some(deadline) = asked.deadline.filter(|deadline| *deadline <= self.cx.now) else { return Ok(false) };
        if asked.missing(approval) == 0 {
            return Ok(false);
        }
        let (outcome, word) = match approval.on_deadline {
            OnDeadline::Reject => (Outcome::Rejected, "rejected"),
            OnDeadline::Cancel => (Outcome::Cancelled, "cancelled"),
        };
        let said = format!("{} of {} had approved", asked.votes.len(), approval.count);
        let message = format!("{word}: by {deadline:.0} {said} {}", own.environment);
        self.finish(outcome, message)?;
        Ok(true)
    }

    /// Told once, until it is another reason.
    fn waiting(&mut self, stage: usize, why: String) -> Result<(), String> {
        let entering = matches!(self.run.state.at, At::Entering(_));
        let known = self.run.stage(stage).is_some_and(|(_, record)| record.why.as_ref() == Some(&why));
        if known && !entering { Ok(()) } else { self.add(Event::Waiting { stage, why }) }
    }

    fn resolved(&mut self, resolved: Result<Result<PipelineRelease, String>, String>) -> Result<(), String> {
        if self.run.state.at != At::Images {
            return Ok(());
        }
        let release = match resolved {
            Err(why) => return self.finish(Outcome::Failed, why),
            Ok(Err(why)) if self.run.state.why.as_ref() == Some(&why) => return Ok(()),
            Ok(Err(why)) => return self.add(Event::ImagesAwaited { why }),
            Ok(Ok(release)) => release,
        };
        let unpinned = release.unpinned();
        if release.images.is_empty() || !unpinned.is_empty() {
            let which = if unpinned.is_empty() { "any image".to_owned() } else { unpinned.join(", ") };
            let message =
                format!("the release has no digest of {which}: nothing is deployed that is not known by digest");
            return self.finish(Outcome::Failed, message);
        }
        self.add(Event::ReleaseKnown { release })?;
        self.look()
    }

    fn surveyed(&mut self, surveyed: Surveyed) -> Result<(), String> {
        let At::Gate(stage) = self.run.state.at else { return Ok(()) };
        // What was looked at may have taken a while.
        self.look()?;
        if self.run.state.at != At::Gate(stage) || self.run.closed(stage, self.cx.now, self.cx.peers).is_some() {
            return Ok(());
        }
        let Some((own, record)) = self.run.stage(stage) else { return Ok(()) };
        let Some(approval) = own.approval.clone() else {
            return match surveyed.closed.is_empty() {
                true => self.add(Event::Entering { stage }),
                false => self.waiting(stage, surveyed.closed.join("; ")),
            };
        };
        match record.asked.clone() {
            None => match surveyed.shown.filter(|_| surveyed.closed.is_empty()) {
                Some(shown) => self.ask(stage, shown),
                None => self.waiting(stage, surveyed.closed.join("; ")),
            },
            Some(asked) => {
                if let Some(shown) = surveyed.shown
                    && let Some(Differs(why)) = self.cx.void(&asked.shown, &shown)
                {
                    return self.ask_again(stage, why, Some(shown));
                }
                match (asked.missing(&approval), surveyed.closed.is_empty()) {
                    (0, true) => self.add(Event::Entering { stage }),
                    (0, false) => self.waiting(stage, surveyed.closed.join("; ")),
                    // Nobody is asked anew because an alarm comes and goes.
                    _ => Ok(()),
                }
            }
        }
    }

    fn ask(&mut self, stage: usize, shown: Shown) -> Result<(), String> {
        let Some((own, record)) = self.run.stage(stage) else { return Ok(()) };
        let Some(approval) = own.approval.clone() else { return Ok(()) };
        let (round, now) = (record.round + 1, self.cx.now);
        // How long a pause waits, and what comes then, ECS decides.
        let deadline = match &shown.pause {
            Some(pause) => pause.until,
            None => approval.deadline.map(|seconds| after(now, seconds.saturating_mul(1_000))),
        };
        self.add(Event::ApprovalAsked { stage, round, shown: shown.clone(), deadline })?;
        self.out.notices.push(notices::asked(&self.run, stage, round, &approval, &shown, deadline));
        Ok(())
    }

    /// Told again it is no news, nor is every attempt that fails.
    fn sent(&mut self, stage: usize, round: u32, sent: Sent) -> Result<(), String> {
        let asked = self.run.stage(stage).and_then(|(_, record)| record.asked.as_ref());
        let Some(asked) = asked.filter(|asked| asked.round == round && self.run.outcome().is_none()) else {
            return Ok(());
        };
        let known = asked.sent.iter().any(|one| one.to == sent.to && (sent.error.is_some() || *one == sent));
        if known { Ok(()) } else { self.add(Event::ApprovalSent { stage, round, sent }) }
    }

    fn ask_again(&mut self, stage: usize, why: String, shown: Option<Shown>) -> Result<(), String> {
        let round = self.run.stage(stage).map_or(0, |(_, record)| record.round);
        self.add(Event::ApprovalVoid { stage, round, why: why.clone() })?;
        self.out.notices.push(notices::void(&self.run, stage, round, &why));
        match shown {
            Some(shown) => self.ask(stage, shown),
            None => Ok(()),
        }
    }

    fn entered(&mut self, entered: Result<(Shown, Option<String>), Vec<String>>) -> Result<(), String> {
        let At::Entering(stage) = self.run.state.at else { return Ok(()) };
        if let Some(by) = self.run.state.cancel.clone() {
            return self.finish(Outcome::Cancelled, format!("cancelled by {by}; nothing was begun in this stage"));
        }
        let (shown, before) = match entered {
            Ok(entered) => entered,
            Err(closed) => return self.waiting(stage, closed.join("; ")),
        };
        let asked = self.run.stage(stage).and_then(|(_, record)| record.asked.clone());
        if let Some(asked) = asked
            && let Some(Differs(why)) = self.cx.void(&asked.shown, &shown)
        {
            return self.ask_again(stage, why, Some(shown));
        }
        self.add(Event::Entered { stage, shown, before })
    }

    fn began(&mut self) -> Result<(), String> {
        let At::Work(stage) = self.run.state.at else { return Ok(()) };
        let Some((_, record)) = self.run.stage(stage) else { return Ok(()) };
        let Some(work) = record.work.iter().position(|one| one.status == Status::Waiting) else { return Ok(()) };
        let attempt = record.work[work].attempt + 1;
        self.add(Event::WorkStarted { stage, work, attempt })
    }

    fn reported(&mut self, report: Report) -> Result<(), String> {
        match self.run.state.at {
            At::Work(stage) => self.worked(stage, report),
            At::Rollback(stage) => self.rolled_back(stage, report),
            _ => Ok(()),
        }
    }

    fn worked(&mut self, stage: usize, report: Report) -> Result<(), String> {
        let Some((_, record)) = self.run.stage(stage) else { return Ok(()) };
        let Some(work) = record.work.iter().position(|one| one.status == Status::Started) else { return Ok(()) };
        match &report {
            Report::Unknown { .. } => {}
            Report::Paused { pause, .. } => self.paused(stage, Some(pause.clone()))?,
            _ => self.paused(stage, None)?,
        }
        let Some((_, record)) = self.run.stage(stage) else { return Ok(()) };
        match report {
            Report::Pending { token, after_ms, note }
            | Report::Paused { token, after_ms, note, .. }
            | Report::Unknown { token, after_ms, note } => {
                let one = &record.work[work];
                // A poll every second for an hour would be 3,600 records that say the same.
                if one.token.as_ref() == Some(&token) && one.note == note {
                    return Ok(());
                }
                self.add(Event::WorkPending { stage, work, token, after_ms, note })
            }
            Report::Done { output } => {
                self.add(Event::WorkDone { stage, work, output })?;
                if let Some(by) = self.run.stage(stage).and_then(|(_, record)| record.rejected.clone()) {
                    return self.done_all_the_same(stage, &by);
                }
                let all = self
                    .run
                    .stage(stage)
                    .is_some_and(|(_, record)| record.work.iter().all(|one| one.status == Status::Done));
                if all {
                    return self.passed();
                }
                match self.run.state.cancel.clone() {
                    Some(by) => {
                        let done = self.run.state.pipeline.stages[stage].run[work].title();
                        self.finish(Outcome::Cancelled, format!("cancelled by {by} after {done}"))
                    }
                    None => Ok(()),
                }
            }
            Report::Failed { message, undone } => {
                self.add(Event::WorkFailed { stage, work, message: message.clone(), undone })?;
                self.failed(stage, work, &message, undone)
            }
        }
    }

    /// People are asked about each pause once; what they said of another, or of one that is over, counts for nothing.
    fn paused(&mut self, stage: usize, pause: Option<Pause>) -> Result<(), String> {
        let Some((own, record)) = self.run.stage(stage) else { return Ok(()) };
        let nobody = own.approval.is_none() || record.rejected.is_some() || self.run.state.cancel.is_some();
        let was = record.pause();
        let approved = was.is_some() && !self.run.thinks(stage);
        // Of several that were approved together one goes on before the other.
        let same = match (was, &pause) {
            (Some(was), Some(now)) => was.services == now.services || approved && now.within(was),
            (was, now) => was.is_none() && now.is_none(),
        };
        if nobody || same {
            return Ok(());
        }
        let (round, shown) = (record.round, record.shown.clone().unwrap_or_default());
        if was.is_some() && !approved {
            let why = "the deployment does not stand there any more".to_owned();
            self.add(Event::ApprovalVoid { stage, round, why: why.clone() })?;
            self.out.notices.push(notices::void(&self.run, stage, round, &why));
        }
        let Some(pause) = pause else { return Ok(()) };
        let changes = pause.lines.iter().chain(&shown.changes).cloned().collect();
        self.ask(stage, Shown { changes, pause: Some(pause), ..shown })
    }

    fn passed(&mut self) -> Result<(), String> {
        let At::Work(stage) = self.run.state.at else { return Ok(()) };
        let Some((own, record)) = self.run.stage(stage) else { return Ok(()) };
        let (environment, before) = (own.environment.clone(), record.passed);
        if !before {
            self.add(Event::StagePassed { stage })?;
        }
        if let Some(by) = self.run.state.cancel.clone() {
            let message = format!("cancelled by {by} after {environment} had passed");
            return self.finish(Outcome::Cancelled, message);
        }
        if stage + 1 == self.run.state.stages.len() {
            let message = format!("passed: {} is in {environment}", self.run.state.release.short());
            return self.finish(Outcome::Passed, message);
        }
        self.look()
    }

    fn failed(&mut self, stage: usize, work: usize, message: &str, undone: bool) -> Result<(), String> {
        let Some((own, record)) = self.run.stage(stage) else { return Ok(()) };
        let what = own.run.get(work).map(Work::title).unwrap_or_default();
        let environment = own.environment.clone();
        if let Some(by) = self.run.state.cancel.clone() {
            return self.finish(Outcome::Cancelled, format!("cancelled by {by} in {environment}: {message}"));
        }
        let begun = |one: &WorkRecord| one.status != Status::Waiting;
        let ran_a_task =
            own.run.iter().zip(&record.work).any(|(work, one)| matches!(work, Work::Task(_)) && begun(one));
        let done = own.run.iter().zip(&record.work);
        let deployed = done
            .filter(|(work, one)| matches!(work, Work::Deploy {} | Work::Stack { .. }) && one.status == Status::Done)
            .count()
            > 0;
        if let Some(by) = &record.rejected {
            let (outcome, how) = match undone {
                true => (Outcome::Rejected, format!("{environment} is as it was")),
                false => (Outcome::Failed, message.to_owned()),
            };
            let message = format!("rejected by {by} while {environment} was paused: {how}");
            return self.finish(outcome, message);
        }
        let message = format!("{environment}: {what} failed: {message}");
        match (own.on_failure, deployed, record.before.clone()) {
            (OnFailure::Rollback, true, Some(to)) => self.add(Event::RollbackStarted { stage, to }),
            (OnFailure::Rollback, true, None) => {
                let message = format!("{message}; there was no release before to go back to");
                self.finish(Outcome::Failed, message)
            }
            // What a task has done nobody takes back.
            (_, false, _) if undone && !ran_a_task => {
                self.finish(Outcome::RolledBack, format!("{message}; {environment} is as it was"))
            }
            _ => self.finish(Outcome::Failed, message),
        }
    }

    /// Somebody else let it go on: what it replaced is brought back.
    fn done_all_the_same(&mut self, stage: usize, by: &str) -> Result<(), String> {
        let Some((own, record)) = self.run.stage(stage) else { return Ok(()) };
        let environment = own.environment.clone();
        match record.before.clone() {
            Some(to) => self.add(Event::RollbackStarted { stage, to }),
            None => {
                let message =
                    format!("rejected by {by}, and {environment} went on all the same; there is nothing to go back to");
                self.finish(Outcome::Failed, message)
            }
        }
    }

    fn rolled_back(&mut self, stage: usize, report: Report) -> Result<(), String> {
        let Some((own, record)) = self.run.stage(stage) else { return Ok(()) };
        let Some(rollback) = &record.rollback else { return Ok(()) };
        let environment = own.environment.clone();
        let cause = own.run.iter().zip(&record.work).find(|(_, one)| one.status == Status::Failed);
        let rejected = record.rejected.as_ref().map(|by| format!("rejected by {by}, and {environment} had gone on"));
        let cause = cause.map_or_else(
            || rejected.unwrap_or_default(),
            |(work, one)| {
                format!("{environment}: {} failed: {}", work.title(), one.error.as_deref().unwrap_or_default())
            },
        );
        match report {
            Report::Pending { token, after_ms, note }
            | Report::Paused { token, after_ms, note, .. }
            | Report::Unknown { token, after_ms, note } => {
                if rollback.token.as_ref() == Some(&token) && rollback.note == note {
                    return Ok(());
                }
                self.add(Event::RollbackPending { stage, token, after_ms, note })
            }
            Report::Done { .. } => {
                self.add(Event::RollbackEnded { stage, error: None })?;
                self.finish(Outcome::RolledBack, format!("{cause}; {environment} is rolled back"))
            }
            Report::Failed { message, .. } => {
                self.add(Event::RollbackEnded { stage, error: Some(message.clone()) })?;
                self.finish(Outcome::Failed, format!("{cause}; rolling back failed too: {message}"))
            }
        }
    }
}

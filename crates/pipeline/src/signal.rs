//! What people say to a run. Whatever cannot count changes nothing, is kept, and is answered with the reason.

use landfall_model::Timestamp;

use crate::event::{Event, Outcome, Signal, Vote};
use crate::handle::{Choice, Refused};
use crate::run::{At, Run, same_person};

/// Signals that change nothing are kept up to here; more only say so to who sent them.
const REFUSED_KEPT: u32 = 100;
const LONGEST_COMMENT: usize = 1_000;

impl Choice<'_> {
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), String> {
        let decided = match &signal {
            Signal::Approve { by, via, fingerprint, comment, nonce }
            | Signal::Reject { by, via, fingerprint, comment, nonce } => {
                let vote = Vote {
                    by: by.clone(),
                    via: *via,
                    at: self.cx.now,
                    comment: comment.as_ref().map(|text| text.chars().take(LONGEST_COMMENT).collect()),
                    nonce: nonce.clone(),
                };
                let yes = matches!(signal, Signal::Approve { .. });
                match self.run.may_vote(by, fingerprint, nonce.as_deref(), yes, self.cx.now) {
                    Err(why) => Err(why),
                    Ok((stage, round)) => Ok(self.vote(stage, round, fingerprint.clone(), vote, yes)?),
                }
            }
            Signal::Cancel { by, comment } => self.cancel(by, comment.as_deref())?,
            Signal::Retry { by } => self.retry(by)?,
        };
        if let Err(why) = &decided
            && self.run.state.refused < REFUSED_KEPT
        {
            self.add(Event::SignalRefused { signal, why: why.clone() })?;
        }
        self.out.answer = Some(decided.map_err(Refused));
        Ok(())
    }

    fn vote(&mut self, stage: usize, round: u32, fingerprint: String, vote: Vote, yes: bool) -> Result<String, String> {
        let environment = self.run.environment(stage).to_owned();
        let by = vote.by.clone();
        if !yes {
            let comment = vote.comment.as_ref().map_or_else(String::new, |text| format!(": {text}"));
            self.add(Event::Rejected { stage, round, vote })?;
            if self.run.state.at == At::Work(stage) {
                return Ok(format!(
                    "rejected by {by}: what is under way in {environment} is stopped and undone{comment}"
                ));
            }
            let message = format!("rejected by {by} before {environment}{comment}");
            self.finish(Outcome::Rejected, message.clone())?;
            return Ok(message);
        }
        self.add(Event::Approved { stage, round, fingerprint, vote })?;
        let missing = match self.run.stage(stage) {
            Some((own, record)) => match (&own.approval, &record.asked) {
                (Some(approval), Some(asked)) => asked.missing(approval),
                _ => 0,
            },
            None => 0,
        };
        Ok(match missing {
            0 if self.run.state.at == At::Work(stage) => format!("approved: {environment} goes on"),
            0 => format!("approved: {environment} is next"),
            1 => format!("approved by {by}; one more is needed for {environment}"),
            more => format!("approved by {by}; {more} more are needed for {environment}"),
        })
    }

    fn cancel(&mut self, by: &str, comment: Option<&str>) -> Result<Result<String, String>, String> {
        match self.run.state.at {
            At::Finished => return Ok(Err(self.run.over())),
            At::Rollback(stage) => {
                return Ok(Err(format!(
                    "{} is being rolled back: that is finished first",
                    self.run.environment(stage)
                )));
            }
            _ if self.run.state.cancel.is_some() => return Ok(Err("its end was asked for already".to_owned())),
            _ => {}
        }
        let comment = comment.map(|text| text.chars().take(LONGEST_COMMENT).collect());
        self.add(Event::CancelAsked { by: by.to_owned(), comment })?;
        Ok(Ok(match self.run.state.at {
            At::Images | At::Gate(_) => {
                let message = format!("cancelled by {by}");
                self.finish(Outcome::Cancelled, message.clone())?;
                message
            }
            _ => "it ends as soon as what is under way has stopped".to_owned(),
        }))
    }

    fn retry(&mut self, by: &str) -> Result<Result<String, String>, String> {
        let (outcome, stages) = (self.run.state.outcome, &self.run.state.stages);
        let why = match outcome {
            Some(Outcome::Failed | Outcome::RolledBack) => None,
            Some(Outcome::Passed) => Some("it has passed: there is nothing to do again".to_owned()),
            Some(Outcome::Rejected) => Some("somebody said no: begin a new run instead".to_owned()),
            Some(Outcome::Superseded) => Some("a newer run has taken over: retry that one".to_owned()),
            Some(Outcome::Cancelled) => Some("it was cancelled: begin a new run instead".to_owned()),
            None => Some("it has not finished".to_owned()),
        };
        if let Some(why) = why {
            return Ok(Err(why));
        }
        let Some(stage) = stages.iter().position(|record| !record.passed).filter(|_| stages[0].reached_at.is_some())
        else {
            return Ok(Err("its images were never known: begin a new run instead".to_owned()));
        };
        let environment = self.run.environment(stage).to_owned();
        let own = &self.run.state.pipeline.name;
        let newer = self
            .cx
            .peers
            .iter()
            .find(|peer| peer.pipeline == *own && peer.seq > self.run.seq && peer.reached.contains(&environment));
        if let Some(newer) = newer {
            return Ok(Err(format!("{own} #{} is newer and has got as far as {environment}", newer.seq)));
        }
        self.add(Event::Retried { stage, by: by.to_owned() })?;
        Ok(Ok(format!("{environment} again")))
    }
}

impl Run {
    pub(crate) fn over(&self) -> String {
        format!("it has finished: {}", self.state.message.as_deref().unwrap_or("its journal says no more"))
    }

    fn stands(&self, stage: usize) -> bool {
        self.stage(stage).is_some_and(|(_, record)| record.pause().is_some())
    }

    /// The stage and round that this vote counts for.
    fn may_vote(
        &self,
        by: &str,
        fingerprint: &str,
        nonce: Option<&str>,
        yes: bool,
        now: Timestamp,
    ) -> Result<(usize, u32), String> {
        if let Some(nonce) = nonce
            && self.state.nonces.contains(nonce)
        {
            return Err("this link was used already".to_owned());
        }
        let stage = match self.state.at {
            At::Gate(stage) => stage,
            At::Finished => return Err(format!("too late: {}", self.over())),
            At::Images => return Err("nobody is asked yet: its images are not known".to_owned()),
            At::Work(stage) if self.state.cancel.is_none() && self.stands(stage) => stage,
            At::Entering(stage) | At::Work(stage) | At::Rollback(stage) => {
                return Err(format!("too late: {} was approved and has begun", self.environment(stage)));
            }
        };
        let Some((own, record)) = self.stage(stage) else { return Err("there is no such stage".to_owned()) };
        let environment = &own.environment;
        let Some(approval) = &own.approval else { return Err(format!("{environment} needs no approval")) };
        let Some(asked) = &record.asked else { return Err(format!("nobody is asked about {environment} yet")) };
        if asked.fingerprint != fingerprint {
            return Err(format!("what you were shown of {environment} is no longer so: look again before you decide"));
        }
        if !approval.by.iter().any(|name| same_person(name, by)) {
            return Err(format!("{by} is not among those who decide about {environment}: {}", approval.by.join(", ")));
        }
        if yes && !approval.self_approval && same_person(&self.state.by, by) {
            return Err(format!("{by} has begun this run, and nobody approves their own here"));
        }
        if yes && asked.votes.iter().any(|vote| same_person(&vote.by, by)) {
            return Err(format!("{by} has approved {environment} already"));
        }
        if asked.missing(approval) > 0 && asked.deadline.is_some_and(|deadline| deadline <= now) {
            return Err("too late: the deadline has passed".to_owned());
        }
        let under_way = asked.shown.pause.is_some();
        if under_way && !yes && asked.missing(approval) == 0 {
            return Err(format!(
                "too late: {environment} was approved and goes on; `landfall pipeline cancel` ends the run"
            ));
        }
        if yes && asked.missing(approval) == 0 {
            return Err(format!("{environment} is approved already"));
        }
        Ok((stage, asked.round))
    }
}

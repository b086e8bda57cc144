//! Records to state. What `handle` chooses goes through here too, so a chosen record is also a legal one.

use landfall_model::ids::RunId;
use landfall_model::pipeline::Pipeline;

use crate::event::{Event, Record, Signal};
use crate::run::{Asked, At, Corrupt, Poll, Rollback, Run, StageRecord, State, Status, WorkRecord};
use crate::view::Moment;

/// Words of a timeline are for people: what is longer is cut there, and whole in the record.
const LONGEST: usize = 400;

impl Run {
    /// # Errors
    /// Where no core of ours can have written these.
    pub fn fold(id: &RunId, seq: u64, records: &[Record]) -> Result<Self, Corrupt> {
        let corrupt = |why: &str| Corrupt { run: id.clone(), version: 1, why: why.to_owned() };
        let Some((first, rest)) = records.split_first() else { return Err(corrupt("there is none")) };
        let Event::Created { pipeline, release, by, trigger } = &first.event else {
            return Err(corrupt("the first one is not `created`"));
        };
        if pipeline.stages.is_empty() {
            return Err(corrupt("a pipeline without stages"));
        }
        let begun = Moment { at: first.at, stage: None, text: format!("begun by {by}: {trigger}") };
        let mut run = Self {
            id: id.clone(),
            seq,
            state: State {
                version: 1,
                stages: stages(pipeline),
                pipeline: pipeline.clone(),
                release: release.clone(),
                by: by.clone(),
                trigger: trigger.clone(),
                created_at: first.at,
                at: At::Images,
                why: None,
                cancel: None,
                outcome: None,
                message: None,
                finished_at: None,
                retries: 0,
                refused: 0,
                nonces: Default::default(),
                timeline: vec![begun],
                unknown: false,
            },
        };
        for record in rest {
            run.apply(record)?;
        }
        Ok(run)
    }

    /// # Errors
    /// Where the record cannot follow here: then the run is not to be used any more.
    pub fn apply(&mut self, record: &Record) -> Result<(), Corrupt> {
        let version = self.state.version + 1;
        self.state.record(record).map_err(|why| Corrupt { run: self.id.clone(), version, why })?;
        self.state.version = version;
        Ok(())
    }
}

fn stages(pipeline: &Pipeline) -> Vec<StageRecord> {
    let fresh = |work: usize| StageRecord { work: vec![WorkRecord::default(); work], ..StageRecord::default() };
    pipeline.stages.iter().map(|stage| fresh(stage.run.len())).collect()
}

impl State {
    fn record(&mut self, record: &Record) -> Result<(), String> {
        let at = record.at;
        let mut say = None;
        match &record.event {
            Event::Created { .. } => return Err("it was created before".to_owned()),
            Event::ImagesAwaited { why } => {
                self.must(self.at == At::Images, "its images are known")?;
                self.why = Some(why.clone());
                say = Some((None, format!("waits for its images: {why}")));
            }
            Event::ReleaseKnown { release } => {
                self.must(self.at == At::Images, "its images are known")?;
                self.release = release.clone();
                self.why = None;
                self.reach(0, at);
                say = Some((None, "every image is known by digest".to_owned()));
            }
            Event::Waiting { stage, why } => {
                self.must(matches!(self.at, At::Gate(s) | At::Entering(s) if s == *stage), "it waits elsewhere")?;
                let entering = self.at == At::Entering(*stage);
                self.at = At::Gate(*stage);
                let record = self.stage(*stage)?;
                if entering {
                    record.turned_away += 1;
                    record.turned_away_at = Some(at);
                }
                record.why = Some(why.clone());
                if record.said.replace(why.clone()).as_ref() != Some(why) {
                    say = Some((Some(*stage), format!("waits: {why}")));
                }
            }
            Event::ApprovalAsked { stage, round, shown, deadline } => {
                let paused = self.at == At::Work(*stage) && shown.pause.is_some();
                self.must(self.at == At::Gate(*stage) || paused, "it is not before that stage")?;
                let record = self.stage(*stage)?;
                if record.asked.is_some() && !paused || *round != record.round + 1 {
                    return Err(format!("round {round} after round {}", record.round));
                }
                record.round = *round;
                record.why = None;
                let fingerprint = shown.fingerprint();
                let (shown, deadline) = (shown.clone(), *deadline);
                record.asked = Some(Asked {
                    round: *round,
                    shown,
                    fingerprint,
                    at,
                    deadline,
                    votes: Vec::new(),
                    sent: Vec::new(),
                });
                let text = if paused { "paused, and approval asked for" } else { "approval asked for" };
                say = Some((Some(*stage), text.to_owned()));
            }
            Event::ApprovalSent { stage, round, sent } => {
                let asked = self.asked(*stage, *round)?;
                asked.sent.retain(|known| known.to != sent.to);
                asked.sent.push(sent.clone());
                say = Some((Some(*stage), sent.said()));
            }
            Event::Approved { stage, round, fingerprint, vote } => {
                self.must(self.is_asked(*stage), "it is not before that stage")?;
                let asked = self.asked(*stage, *round)?;
                if asked.fingerprint != *fingerprint {
                    return Err("approved something else than was asked".to_owned());
                }
                asked.votes.push(vote.clone());
                self.nonces.extend(vote.nonce.clone());
                let comment = vote.comment.as_ref().map_or_else(String::new, |text| format!(": {text}"));
                say = Some((Some(*stage), format!("approved by {}{comment}", vote.by)));
            }
            Event::Rejected { stage, round, vote } => {
                self.must(self.is_asked(*stage), "it is not before that stage")?;
                self.asked(*stage, *round)?;
                if self.at == At::Work(*stage) {
                    let record = self.stage(*stage)?;
                    (record.asked, record.rejected) = (None, Some(vote.by.clone()));
                }
                self.nonces.extend(vote.nonce.clone());
                let comment = vote.comment.as_ref().map_or_else(String::new, |text| format!(": {text}"));
                say = Some((Some(*stage), format!("rejected by {}{comment}", vote.by)));
            }
            Event::ApprovalVoid { stage, round, why } => {
                let paused = self.at == At::Work(*stage) && self.is_asked(*stage);
                let before = matches!(self.at, At::Gate(s) | At::Entering(s) if s == *stage);
                self.must(before || paused, "it is elsewhere")?;
                self.asked(*stage, *round)?;
                self.stage(*stage)?.asked = None;
                if before {
                    self.at = At::Gate(*stage);
                }
                say = Some((Some(*stage), format!("approval void: {why}")));
            }
            Event::SignalRefused { signal, why } => {
                self.refused += 1;
                say = Some((None, format!("{} of {} changed nothing: {why}", word(signal), signal.by())));
            }
            Event::Entering { stage } => {
                self.must(self.at == At::Gate(*stage), "it is not before that stage")?;
                self.at = At::Entering(*stage);
                self.stage(*stage)?.why = None;
            }
            Event::Entered { stage, shown, before } => {
                self.must(self.at == At::Entering(*stage), "it was not about to enter")?;
                self.at = At::Work(*stage);
                let record = self.stage(*stage)?;
                record.entered_at = Some(at);
                record.turned_away = 0;
                record.shown = Some(shown.clone());
                record.before.clone_from(before);
                say = Some((Some(*stage), "entered".to_owned()));
            }
            Event::WorkStarted { stage, work, attempt } => {
                self.must(self.at == At::Work(*stage), "it does not work there")?;
                let one = self.work(*stage, *work)?;
                if one.status != Status::Waiting || *attempt != one.attempt + 1 {
                    return Err(format!("attempt {attempt} after attempt {}", one.attempt));
                }
                *one = WorkRecord {
                    status: Status::Started,
                    attempt: *attempt,
                    started_at: Some(at),
                    ..WorkRecord::default()
                };
                say = self.title(*stage, *work).map(|title| (Some(*stage), title));
            }
            Event::WorkPending { stage, work, token, after_ms, note } => {
                let one = self.started(*stage, *work)?;
                one.token = Some(token.clone());
                one.poll = Some(Poll { since: at, ms: *after_ms });
                one.note.clone_from(note);
            }
            Event::WorkDone { stage, work, output } => {
                let one = self.started(*stage, *work)?;
                one.status = Status::Done;
                one.finished_at = Some(at);
                one.output = output.clone();
                say = self.title(*stage, *work).map(|title| (Some(*stage), format!("{title}: done")));
            }
            Event::WorkFailed { stage, work, message, undone } => {
                let one = self.started(*stage, *work)?;
                one.status = Status::Failed;
                one.finished_at = Some(at);
                one.error = Some(message.clone());
                let how = if *undone { "failed and is undone" } else { "failed" };
                say = self.title(*stage, *work).map(|title| (Some(*stage), format!("{title} {how}: {message}")));
            }
            Event::RollbackStarted { stage, to } => {
                self.must(self.at == At::Work(*stage), "it does not work there")?;
                self.at = At::Rollback(*stage);
                let rollback = Rollback {
                    to: to.clone(),
                    started_at: at,
                    token: None,
                    poll: None,
                    note: None,
                    error: None,
                    finished_at: None,
                };
                self.stage(*stage)?.rollback = Some(rollback);
                say = Some((Some(*stage), "rolls back to the release that was there".to_owned()));
            }
            Event::RollbackPending { stage, token, after_ms, note } => {
                let one = self.rollback(*stage)?;
                one.token = Some(token.clone());
                one.poll = Some(Poll { since: at, ms: *after_ms });
                one.note.clone_from(note);
            }
            Event::RollbackEnded { stage, error } => {
                let one = self.rollback(*stage)?;
                one.error.clone_from(error);
                one.finished_at = Some(at);
                let text = error
                    .as_ref()
                    .map_or_else(|| "rolled back".to_owned(), |error| format!("rolling back failed: {error}"));
                say = Some((Some(*stage), text));
            }
            Event::StagePassed { stage } => {
                self.must(self.at == At::Work(*stage), "it does not work there")?;
                let record = self.stage(*stage)?;
                if record.work.iter().any(|one| one.status != Status::Done) {
                    return Err("its work is not done".to_owned());
                }
                record.passed = true;
                record.finished_at = Some(at);
                if *stage + 1 < self.stages.len() {
                    self.reach(*stage + 1, at);
                } else {
                    self.at = At::Work(*stage);
                }
                say = Some((Some(*stage), "passed".to_owned()));
            }
            Event::CancelAsked { by, comment } => {
                self.must(self.at != At::Finished, "it has finished")?;
                self.cancel = Some(by.clone());
                let comment = comment.as_ref().map_or_else(String::new, |text| format!(": {text}"));
                say = Some((None, format!("{by} asked for its end{comment}")));
            }
            Event::Retried { stage, by } => {
                self.must(self.at == At::Finished, "it has not finished")?;
                let record = self.stage(*stage)?;
                let work = record.work.iter().map(|one| WorkRecord { attempt: one.attempt, ..WorkRecord::default() });
                *record = StageRecord {
                    round: record.round,
                    reached_at: record.reached_at,
                    work: work.collect(),
                    ..StageRecord::default()
                };
                self.at = At::Gate(*stage);
                self.retries += 1;
                (self.outcome, self.message, self.finished_at, self.cancel) = (None, None, None, None);
                say = Some((Some(*stage), format!("again, as {by} asked")));
            }
            Event::Finished { outcome, message } => {
                self.must(self.at != At::Finished, "it has finished before")?;
                if let Some(stage) = self.current() {
                    self.stage(stage)?.finished_at.get_or_insert(at);
                }
                self.at = At::Finished;
                self.outcome = Some(*outcome);
                self.message = Some(message.clone());
                self.finished_at = Some(at);
                self.why = None;
                say = Some((None, message.clone()));
            }
            Event::Unknown => {
                self.unknown = true;
                say = Some((None, "a record of a newer version of Landfall: nothing goes on".to_owned()));
            }
        }
        if let Some((stage, text)) = say {
            let text = if text.chars().count() > LONGEST {
                text.chars().take(LONGEST).collect::<String>() + "…"
            } else {
                text
            };
            self.timeline.push(Moment { at, stage, text });
        }
        Ok(())
    }

    #[allow(clippy::unused_self, reason = "reads as a sentence where it is called")]
    fn must(&self, holds: bool, otherwise: &str) -> Result<(), String> {
        if holds { Ok(()) } else { Err(otherwise.to_owned()) }
    }

    /// Whether people may be asked there: before it, or at a pause in it.
    fn is_asked(&self, stage: usize) -> bool {
        let paused = || self.stages.get(stage).is_some_and(|record| record.pause().is_some());
        self.at == At::Gate(stage) || self.at == At::Work(stage) && paused()
    }

    fn reach(&mut self, stage: usize, at: landfall_model::Timestamp) {
        self.at = At::Gate(stage);
        if let Some(record) = self.stages.get_mut(stage) {
            record.reached_at = Some(at);
        }
    }

    fn stage(&mut self, stage: usize) -> Result<&mut StageRecord, String> {
        self.stages.get_mut(stage).ok_or_else(|| format!("there is no stage {stage}"))
    }

    fn asked(&mut self, stage: usize, round: u32) -> Result<&mut Asked, String> {
        let asked = self.stage(stage)?.asked.as_mut().filter(|asked| asked.round == round);
        asked.ok_or_else(|| format!("round {round} was not asked"))
    }

    fn work(&mut self, stage: usize, work: usize) -> Result<&mut WorkRecord, String> {
        self.stage(stage)?.work.get_mut(work).ok_or_else(|| format!("there is no work {work}"))
    }

    fn started(&mut self, stage: usize, work: usize) -> Result<&mut WorkRecord, String> {
        self.must(self.at == At::Work(stage), "it does not work there")?;
        let one = self.work(stage, work)?;
        if one.status == Status::Started { Ok(one) } else { Err("that work was not begun".to_owned()) }
    }

    fn rollback(&mut self, stage: usize) -> Result<&mut Rollback, String> {
        self.must(self.at == At::Rollback(stage), "it does not roll back there")?;
        self.stage(stage)?.rollback.as_mut().ok_or_else(|| "no rollback was begun".to_owned())
    }

    fn title(&self, stage: usize, work: usize) -> Option<String> {
        Some(self.pipeline.stages.get(stage)?.run.get(work)?.title())
    }

    /// The stage that it is before or in.
    pub(crate) fn current(&self) -> Option<usize> {
        match self.at {
            At::Gate(stage) | At::Entering(stage) | At::Work(stage) | At::Rollback(stage) => Some(stage),
            At::Images | At::Finished => None,
        }
    }
}

fn word(signal: &Signal) -> &'static str {
    match signal {
        Signal::Approve { .. } => "an approval",
        Signal::Reject { .. } => "a rejection",
        Signal::Cancel { .. } => "a cancellation",
        Signal::Retry { .. } => "a retry",
    }
}

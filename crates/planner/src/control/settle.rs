//! Beginnings and ends of executions, written into the record.

use jiff::SignedDuration;
use landfall_model::Timestamp;
use landfall_model::environment::{EnvironmentRecord, LiveExecution, Phase};
use landfall_model::ids::ExecutionId;
use landfall_model::notice::{Notice, NoticeKind};
use landfall_workflow::Outcome;

use super::decide::working_phase;
use super::{Cause, DecideContext, Settled, at_commit, awaits_approval, notice, sleep, wanted};
use crate::plan::PlanKind;

/// First wait after a failed destroy; doubles up to `DESTROY_RETRY_MAX`.
const DESTROY_RETRY: i64 = 5;
const DESTROY_RETRY_MAX: i64 = 600;
/// A stale choice is made again after this long; doubles with each in a row.
const REPLAN_AFTER: i64 = 1;
/// Plans that may go stale in a row for one request (half a minute); the one after them is the last, and fails.
pub const MAX_REPLANS: u32 = 5;

/// The record that says that `execution` works on it, to be written *before* the execution is created in the journal, and
/// the notices to write with it. `commit`: what the plan deploys.
pub fn started(
    record: &EnvironmentRecord,
    kind: PlanKind,
    execution: &ExecutionId,
    commit: Option<&str>,
    now: Timestamp,
) -> Settled {
    let mut next = record.clone();
    let live = LiveExecution {
        id: execution.clone(),
        seq: record.desired_seq,
        kind: kind.as_str().to_owned(),
        commit: commit.filter(|_| kind != PlanKind::Destroy).map(str::to_owned),
    };
    next.phase = working_phase(&live);
    next.live = Some(live);
    next.last_execution = Some(execution.clone());
    next.message = None;
    next.retry_at = None;
    if kind != PlanKind::Destroy {
        next.made_generation = record.generation;
    }
    sleep::begun(&mut next, record, kind, now);
    let id = &record.id;
    let (kind, word, text) = match kind {
        PlanKind::Sleep | PlanKind::Wake => return Settled { record: next, notices: Vec::new() },
        PlanKind::Create => (NoticeKind::Creating, "creating", format!("Creating {id}{}", at_commit(commit))),
        PlanKind::Update => (NoticeKind::Updating, "updating", format!("Updating {id}{}", at_commit(commit))),
        PlanKind::Destroy => (NoticeKind::Destroying, "destroying", format!("Destroying {id}")),
    };
    // A plan made again for the same request: its beginning was told.
    let first = record.replans == 0;
    let notices = first.then(|| notice(&next, kind, word, text, now)).into_iter().collect();
    Settled { record: next, notices }
}

/// The record when no plan could be made (no free port, unknown service): failed until somebody asks again. A destroy is
/// tried again by itself.
pub fn plan_failed(record: &EnvironmentRecord, kind: PlanKind, message: &str, now: Timestamp) -> Settled {
    let mut next = record.clone();
    if matches!(kind, PlanKind::Sleep | PlanKind::Wake) {
        let notices = vec![sleep::plan_failed(&mut next, kind, message, now)];
        return Settled { record: next, notices };
    }
    next.message = Some(message.to_owned());
    if kind == PlanKind::Destroy {
        retry_destroy(&mut next, now);
    } else {
        next.phase = Phase::Failed;
        next.applied_seq = record.desired_seq;
        next.replans = 0;
    }
    let first = next.retries <= 1;
    let text = format!("{} failed before it began: {message}", record.id);
    let notices = first.then(|| notice(&next, NoticeKind::Failed, "plan_failed", text, now)).into_iter().collect();
    Settled { record: next, notices }
}

/// Asked to go before anything was made.
pub(super) fn destroyed_unmade(record: &EnvironmentRecord, now: Timestamp) -> Settled {
    let mut next = record.clone();
    gone(&mut next);
    next.applied_seq = record.desired_seq;
    let notices = vec![notice(
        &next,
        NoticeKind::Destroyed,
        "destroyed",
        format!("{} is gone; it was never made", record.id),
        now,
    )];
    Settled { record: next, notices }
}

fn gone(record: &mut EnvironmentRecord) {
    record.phase = Phase::Destroyed;
    record.made_generation = 0;
    record.ready_generation = 0;
    record.replans = 0;
    record.good_execution = None;
    record.url = None;
    record.commit = None;
    record.port = None;
    record.message = None;
    record.retries = 0;
    record.retry_at = None;
    record.sleep = false;
    record.asleep = None;
    record.awake_since = None;
}

pub(super) fn settle(
    record: &EnvironmentRecord,
    live: &LiveExecution,
    outcome: Outcome,
    message: &str,
    cause: Option<&Cause>,
    serves: bool,
    cx: &DecideContext,
) -> Settled {
    let mut next = record.clone();
    let kind = live.kind.as_str();
    if kind == PlanKind::Sleep.as_str() || kind == PlanKind::Wake.as_str() {
        let told = sleep::settle(&mut next, live, outcome, message, cx.now);
        next.live = None;
        return Settled { record: next, notices: told.into_iter().collect() };
    }
    let mut told = if kind == PlanKind::Destroy.as_str() {
        settle_destroy(&mut next, live, outcome, message, cx.now)
    } else {
        settle_deploy(&mut next, live, outcome, message, cause, cx)
    };
    let replaced = outcome == Outcome::Superseded && serves;
    if kind != PlanKind::Destroy.as_str() && (outcome == Outcome::Succeeded || replaced) {
        next.good_execution = Some(live.id.clone());
        sleep::served(&mut next, cx.now);
    } else if kind != PlanKind::Destroy.as_str() {
        sleep::not_served(&mut next);
    }
    if let Some(told) = &mut told {
        told.id = format!("{}/{}/{}", record.id, live.id, word(told.kind));
        // An execution that only wants another plan tells nothing itself.
        told.execution = Some(live.id.clone()).filter(|_| outcome != Outcome::NeedsReplan);
        told.cause = cause.map(|cause| cause.text.clone());
        told.url = next.url.clone();
    }
    next.live = None;
    Settled { record: next, notices: told.into_iter().collect() }
}

fn word(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Created => "created",
        NoticeKind::Updated => "updated",
        NoticeKind::Destroyed => "destroyed",
        NoticeKind::RolledBack => "rolled_back",
        NoticeKind::Superseded => "superseded",
        NoticeKind::Failed => "failed",
        _ => "finished",
    }
}

fn settle_deploy(
    next: &mut EnvironmentRecord,
    live: &LiveExecution,
    outcome: Outcome,
    message: &str,
    cause: Option<&Cause>,
    cx: &DecideContext,
) -> Option<Notice> {
    let id = next.id.clone();
    let stale = std::mem::take(&mut next.replans);
    let at = at_commit(live.commit.as_deref());
    let update = live.kind == PlanKind::Update.as_str();
    let tell = |record: &EnvironmentRecord, kind, text| Some(notice(record, kind, "", text, cx.now));
    match outcome {
        Outcome::Succeeded => {
            next.applied_seq = live.seq;
            next.commit = live.commit.clone();
            next.url = cx.url.clone();
            next.port = cx.port;
            next.ready_generation = next.made_generation;
            next.phase = Phase::Ready;
            next.message = None;
            hold_newer(next);
            let place = cx.url.as_ref().map_or_else(String::new, |url| format!(": {url}"));
            match update {
                true => tell(next, NoticeKind::Updated, format!("{id} is updated{at}{place}")),
                false => tell(next, NoticeKind::Created, format!("{id} is up{at}{place}")),
            }
        }
        Outcome::Superseded => {
            // Half-way: what there is stays, and the next plan goes on from it.
            next.message = Some("superseded by a newer request".to_owned());
            hold_newer(next);
            tell(next, NoticeKind::Superseded, format!("{id}{at}: superseded by a newer request"))
        }
        Outcome::NeedsReplan => {
            // A port that does not answer yet is given up with the plan that chose it.
            if next.url.is_none() || next.url != cx.url {
                next.port = None;
            }
            if stale >= MAX_REPLANS {
                // Of a plan that did not know that it was the last.
                next.applied_seq = live.seq;
                next.phase = Phase::Failed;
                let why = format!("failed: {message}{}", stale_hint(stale, cause));
                next.message = Some(why.clone());
                hold_newer(next);
                return tell(next, NoticeKind::Failed, format!("{id}{at} {why}"));
            }
            next.replans = stale + 1;
            next.message = Some(format!("planning again: {message}"));
            next.retry_at = later(cx.now, REPLAN_AFTER << stale);
            hold_newer(next);
            None
        }
        Outcome::RolledBack | Outcome::Aborted | Outcome::Failed | Outcome::RollbackFailed => {
            next.applied_seq = live.seq;
            next.phase = Phase::Failed;
            let (kind, what) = match (outcome, update) {
                (Outcome::RolledBack, true) => (NoticeKind::RolledBack, "rolled back; what ran before still serves"),
                (Outcome::RolledBack, false) => {
                    (NoticeKind::RolledBack, "failed; what was made for it was taken away again")
                }
                (Outcome::Aborted, true) => {
                    (NoticeKind::RolledBack, "stopped by a person; what ran before still serves")
                }
                (Outcome::Aborted, false) => {
                    (NoticeKind::RolledBack, "stopped by a person; what was made was taken away again")
                }
                (Outcome::RollbackFailed, _) => (NoticeKind::Failed, "failed, and could not be undone"),
                _ => (NoticeKind::Failed, "failed"),
            };
            if stale > 0 && next.url != cx.url {
                next.port = None;
            }
            let why = format!("{what}: {message}{}", stale_hint(stale, cause));
            next.message = Some(why.clone());
            hold_newer(next);
            tell(next, kind, format!("{id}{at} {why}"))
        }
    }
}

/// How often it was tried, and what the failure's detail says that a person may do. Nothing where it failed for another
/// reason, however many plans went stale before.
fn stale_hint(stale: u32, cause: Option<&Cause>) -> String {
    let Some(cause) = cause.filter(|cause| stale > 0 && cause.stale) else { return String::new() };
    let hint = cause.text.split_once('\n').map_or("", |(_, detail)| detail);
    let hint = hint.split_whitespace().collect::<Vec<_>>().join(" ");
    let colon = if hint.is_empty() { "" } else { "; " };
    format!(" (planned {} times, each time what was chosen had been taken{colon}{hint})", stale + 1)
}

/// A fork's newer commit that came in the meantime waits for its approval in plain sight.
pub(super) fn hold_newer(next: &mut EnvironmentRecord) {
    if next.applied_seq < next.desired_seq && awaits_approval(next) {
        let commit = wanted(next).and_then(|w| w.commit.clone()).unwrap_or_default();
        next.phase = Phase::AwaitingApproval;
        next.message = Some(format!("commit {commit} waits for approval"));
    }
}

fn settle_destroy(
    next: &mut EnvironmentRecord,
    live: &LiveExecution,
    outcome: Outcome,
    message: &str,
    now: Timestamp,
) -> Option<Notice> {
    let id = next.id.clone();
    if outcome == Outcome::Succeeded {
        gone(next);
        if wanted(next).is_none() {
            next.applied_seq = next.desired_seq;
        } else if awaits_approval(next) {
            next.phase = Phase::AwaitingApproval;
        } else {
            next.phase = Phase::Queued;
        }
        return Some(notice(next, NoticeKind::Destroyed, "", format!("{id} is gone"), now));
    }
    if outcome == Outcome::Aborted && wanted(next).is_none() && next.desired_seq == live.seq {
        next.phase = Phase::Failed;
        next.applied_seq = live.seq;
        next.message = Some(format!("its destruction was stopped by a person: {message}"));
        return Some(notice(
            next,
            NoticeKind::Failed,
            "",
            format!("{id}: its destruction was stopped by a person"),
            now,
        ));
    }
    next.message = Some(format!("could not be destroyed, will be tried again: {message}"));
    if outcome == Outcome::Superseded {
        next.retry_at = later(now, REPLAN_AFTER);
        return None;
    }
    retry_destroy(next, now);
    // People hear of the first failure; the ones after it are in the log of executions (their plans are quiet).
    let text = format!("{id} could not be destroyed, will be tried again: {message}");
    (next.retries == 1).then(|| notice(next, NoticeKind::Failed, "", text, now))
}

fn retry_destroy(next: &mut EnvironmentRecord, now: Timestamp) {
    let wait = DESTROY_RETRY.saturating_mul(1 << next.retries.min(10)).min(DESTROY_RETRY_MAX);
    next.retries = next.retries.saturating_add(1);
    next.retry_at = later(now, wait);
}

fn later(now: Timestamp, seconds: i64) -> Option<Timestamp> {
    now.checked_add(SignedDuration::from_secs(seconds)).ok()
}

//! What to do next about one environment: a function of its record and of what its live execution says.

use landfall_model::Timestamp;
use landfall_model::environment::{AbsentReason, Desired, EnvironmentRecord, LiveExecution, Phase};
use landfall_model::event::{Ask, Intent};
use landfall_model::ids::{EnvironmentId, SYSTEM_ACTOR};
use landfall_model::notice::NoticeKind;

use super::settle::{destroyed_unmade, hold_newer, settle};
use super::{
    DecideContext, Decision, LiveStatus, Place, Settled, awaits_approval, needs_clearing, notice, sleep, wanted,
};
use crate::plan::PlanKind;

pub fn decide(record: &EnvironmentRecord, cx: &DecideContext) -> Decision {
    match (&record.live, &cx.live) {
        (Some(live), Some(status)) => with_live(record, live, status, cx),
        // Nobody looked: nothing may be begun beside it.
        (Some(_), None) => Decision::Nothing { wake_at: None },
        (None, _) if wanted(record).is_some() => present(record, cx),
        (None, _) => absent(record, cx),
    }
}

fn with_live(record: &EnvironmentRecord, live: &LiveExecution, status: &LiveStatus, cx: &DecideContext) -> Decision {
    let (superseding, pause) = match status {
        LiveStatus::Lost => {
            let mut next = record.clone();
            next.live = None;
            hold_newer(&mut next);
            return Decision::Settle(Settled { record: next, notices: Vec::new() });
        }
        LiveStatus::Finished { outcome, message, cause, serves } => {
            return Decision::Settle(settle(record, live, *outcome, message, cause.as_ref(), *serves, cx));
        }
        LiveStatus::Running { superseding } => (*superseding, None),
        LiveStatus::Paused { reason, superseding } => (*superseding, Some(reason)),
    };
    if (overtaken(record, live) || sleep::changed_mind(record, live)) && !superseding {
        return Decision::Supersede { execution: live.id.clone() };
    }
    match pause {
        Some(reason) if record.phase != Phase::Paused => {
            let mut next = record.clone();
            next.phase = Phase::Paused;
            next.message = Some(reason.clone());
            let word = format!("{}/paused", live.id);
            let text = format!("{}: {reason}; `landfall executions show {}`", record.id, live.id);
            let notices = vec![notice(&next, NoticeKind::Paused, &word, text, cx.now)];
            Decision::Settle(Settled { record: next, notices })
        }
        None if record.phase == Phase::Paused => {
            let mut next = record.clone();
            next.phase = working_phase(live);
            next.message = None;
            Decision::Settle(Settled { record: next, notices: Vec::new() })
        }
        _ => Decision::Nothing { wake_at: None },
    }
}

pub(super) fn working_phase(live: &LiveExecution) -> Phase {
    match live.kind.as_str() {
        kind if kind == PlanKind::Destroy.as_str() => Phase::Destroying,
        kind if kind == PlanKind::Update.as_str() => Phase::Updating,
        kind if kind == PlanKind::Sleep.as_str() => Phase::FallingAsleep,
        kind if kind == PlanKind::Wake.as_str() => Phase::Waking,
        _ => Phase::Creating,
    }
}

/// Whether the live execution works towards what nobody wants any more. A destroy always runs to its end: whatever is asked
/// next begins from nothing.
fn overtaken(record: &EnvironmentRecord, live: &LiveExecution) -> bool {
    if record.desired_seq <= live.seq || live.kind == PlanKind::Destroy.as_str() {
        return false;
    }
    wanted(record).is_none() || needs_clearing(record) || !awaits_approval(record)
}

fn absent(record: &EnvironmentRecord, cx: &DecideContext) -> Decision {
    if record.applied_seq == record.desired_seq && matches!(record.phase, Phase::Destroyed | Phase::Failed) {
        return Decision::Nothing { wake_at: None };
    }
    if record.made_generation == 0 {
        return Decision::Settle(destroyed_unmade(record, cx.now));
    }
    not_before(record, cx.now).unwrap_or(Decision::Start(PlanKind::Destroy))
}

fn present(record: &EnvironmentRecord, cx: &DecideContext) -> Decision {
    if needs_clearing(record) {
        return not_before(record, cx.now).unwrap_or(Decision::Start(PlanKind::Destroy));
    }
    let expiry = expiry(record, cx);
    if let Some(expiry) = expiry
        && expiry <= cx.now
    {
        return Decision::Expire(expired(record));
    }
    if awaits_approval(record) || record.applied_seq == record.desired_seq {
        return sleep::at_rest(record, cx, expiry);
    }
    if let Some(wait) = not_before(record, cx.now) {
        return wait;
    }
    if holds_place(record) {
        // Records of before `ready_generation` tell by their URL or commit; a worker without a commit has neither.
        let updates = record.ready_generation != 0 || record.url.is_some() || record.commit.is_some();
        return Decision::Start(if updates { PlanKind::Update } else { PlanKind::Create });
    }
    match cx.place {
        Place::Free => Decision::Start(PlanKind::Create),
        Place::Waiting { ahead, cap } => queue(record, ahead, cap, expiry, cx.now),
    }
}

fn queue(record: &EnvironmentRecord, ahead: usize, cap: u32, expiry: Option<Timestamp>, now: Timestamp) -> Decision {
    let message = match ahead {
        0 => format!("next in the queue: {cap} previews exist, as many as previews.limits allows"),
        n => format!("{n} ahead in the queue: {cap} previews exist, as many as previews.limits allows"),
    };
    if record.message.as_ref() == Some(&message) {
        return Decision::Nothing { wake_at: expiry };
    }
    let first = record.message.is_none();
    let mut next = record.clone();
    next.message = Some(message.clone());
    let text = format!("{}: {message}", record.id);
    let notices = first.then(|| notice(&next, NoticeKind::Queued, "queued", text, now)).into_iter().collect();
    Decision::Queue(Settled { record: next, notices })
}

fn not_before(record: &EnvironmentRecord, now: Timestamp) -> Option<Decision> {
    let at = record.retry_at.filter(|at| *at > now)?;
    Some(Decision::Nothing { wake_at: Some(at) })
}

fn expiry(record: &EnvironmentRecord, cx: &DecideContext) -> Option<Timestamp> {
    let ttl = cx.ttl.filter(|_| !record.pinned)?;
    let seconds = i64::try_from(ttl).ok()?;
    record.last_activity.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
}

fn expired(record: &EnvironmentRecord) -> Intent {
    Intent {
        id: format!("{SYSTEM_ACTOR}:ttl/{}/{}/{}", record.id, record.generation, record.last_activity).into(),
        environment: record.key.clone(),
        ask: Ask::Destroy { reason: AbsentReason::Expired },
        actor: format!("{SYSTEM_ACTOR}:ttl"),
        event_at: Some(record.last_activity),
    }
}

/// Whether the preview counts against the cap: it has been begun and is not yet gone.
pub fn holds_place(record: &EnvironmentRecord) -> bool {
    record.made_generation != 0 || record.live.is_some()
}

/// Whether `environment` may take a place among `records` (first come, first served by `desired_at`). `cap: None`: always.
pub fn place<'a>(
    records: impl IntoIterator<Item = &'a EnvironmentRecord>,
    environment: &EnvironmentId,
    cap: Option<u32>,
) -> Place {
    let Some(cap) = cap else { return Place::Free };
    let mut held = 0usize;
    let mut waiting = Vec::new();
    for record in records {
        if holds_place(record) {
            held += 1;
        } else if matches!(record.desired, Desired::Present(_))
            && record.applied_seq < record.desired_seq
            && !awaits_approval(record)
        {
            waiting.push((record.desired_at, &record.id));
        }
    }
    waiting.sort_unstable();
    let position = waiting.iter().position(|(_, id)| *id == environment).unwrap_or(waiting.len());
    let free = usize::try_from(cap).unwrap_or(usize::MAX).saturating_sub(held);
    if position < free { Place::Free } else { Place::Waiting { ahead: position - free, cap } }
}

//! Sleep: a preview that nobody uses runs no task, and is woken by the first who asks for it.
//!
//! What is asked for (`record.sleep`) and what there is (`record.asleep`) are two things, as everywhere; the plans between them
//! are `preview.sleep` and `preview.wake`. `asleep` is written before the first service is stopped and taken back after the last
//! one answers, so that "it may run nothing" is never missed: whoever holds requests for it holds them in all that time.
//!
//! The races, and what settles each:
//! - **A request while it falls asleep.** It is held and asks to wake; the sleep is superseded at a step boundary, then it wakes.
//! - **A push while it sleeps.** The update deploys, proves itself, and has woken it. Where the manifest has `previews.sleep`, the
//!   push counts as use and idle time begins anew; where it was only put to sleep by a person, it goes to sleep again at once.
//! - **An update that fails while it sleeps.** What there is goes back to what it was: no task.
//! - **Waking fails.** It is asleep again and says why; the next request, or a person, tries again.

use jiff::SignedDuration;
use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_model::environment::{Asleep, EnvironmentRecord, LiveExecution, Phase};
use landfall_model::event::{Ask, Intent};
use landfall_model::ids::SYSTEM_ACTOR;
use landfall_model::notice::{Notice, NoticeKind};
use landfall_workflow::Outcome;

use super::apply::{ignored, is_ours, rejected};
use super::settle::hold_newer;
use super::{Applied, DecideContext, Decision, Verdict, notice, wanted};
use crate::plan::PlanKind;

/// First wait after a failed attempt; doubles up to `RETRY_MAX`.
const RETRY: i64 = 5;
const RETRY_MAX: i64 = 600;

/// What is known of a preview's use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// Seconds without a request until it is put to sleep.
    pub after: u64,
    /// When the load balancer was asked.
    pub seen_at: Timestamp,
    pub last_request: Option<Timestamp>,
    /// A request, or a connection that was upgraded, is under way.
    pub in_use: bool,
}

/// Whether something is still to be done about its sleep.
pub fn is_pending(record: &EnvironmentRecord) -> bool {
    wanted(record).is_some()
        && match &record.asleep {
            Some(asleep) => !record.sleep || !asleep.whole,
            None => record.sleep && has_served(record),
        }
}

/// The intent by which a request wakes it; the same for all requests of one sleep.
pub fn wake_intent(record: &EnvironmentRecord) -> Option<Intent> {
    let asleep = record.asleep.as_ref().filter(|_| record.sleep && wanted(record).is_some())?;
    let which = format!("{}/{}/{}/{}", record.id, record.generation, asleep.since, asleep.failed_wakes);
    Some(Intent {
        id: format!("{SYSTEM_ACTOR}:wake/{which}").into(),
        environment: record.key.clone(),
        ask: Ask::Wake,
        actor: format!("{SYSTEM_ACTOR}:request"),
        event_at: None,
    })
}

pub(super) fn ask_sleep(intent: &Intent, own: Option<&EnvironmentRecord>, now: Timestamp) -> Applied {
    let Some(record) = own.filter(|record| wanted(record).is_some()) else {
        return rejected("there is no such preview");
    };
    if record.sleep {
        return ignored("it is asleep, or on its way");
    }
    if !has_served(record) {
        return rejected("it has not come up yet; there is nothing to put to sleep");
    }
    let by_itself = is_ours(intent);
    if by_itself && intent.event_at < record.awake_since {
        return ignored("it was woken since");
    }
    let mut next = record.clone();
    next.sleep = true;
    next.retry_at = None;
    asked(next, intent, by_itself, "sleep", now)
}

pub(super) fn ask_wake(intent: &Intent, own: Option<&EnvironmentRecord>, now: Timestamp) -> Applied {
    let Some(record) = own.filter(|record| wanted(record).is_some()) else {
        return rejected("there is no such preview");
    };
    match (record.sleep, &record.asleep) {
        (false, None) => return ignored("it is awake"),
        (false, Some(_)) => return ignored("it is being woken"),
        (true, _) => {}
    }
    let by_itself = is_ours(intent);
    let mut next = record.clone();
    next.sleep = false;
    if !by_itself {
        next.retry_at = None;
    }
    asked(next, intent, by_itself, "wake", now)
}

fn asked(mut next: EnvironmentRecord, intent: &Intent, by_itself: bool, word: &str, now: Timestamp) -> Applied {
    next.cause = intent.id.clone();
    if !by_itself {
        next.last_activity = now;
    }
    Applied {
        verdict: Verdict::Applied { what: format!("{word} {}", next.id) },
        record: Some(next),
        notices: Vec::new(),
    }
}

/// Something new to deploy, or a person who asks for the preview: it is used again.
pub(super) fn used(app: &App, next: &mut EnvironmentRecord, by_a_person: bool) {
    let sleeps_by_itself = app.previews.as_ref().is_some_and(|previews| previews.sleep.is_some());
    if by_a_person || sleeps_by_itself {
        next.sleep = false;
    }
    // It is not kept waiting for a failure to wake what was there before.
    if next.asleep.is_some() {
        next.retry_at = None;
    }
}

/// Of a preview that stands as it was asked for.
pub(super) fn at_rest(record: &EnvironmentRecord, cx: &DecideContext, expiry: Option<Timestamp>) -> Decision {
    let rest = |wake_at| Decision::Nothing { wake_at };
    let kind = match (&record.asleep, record.sleep) {
        (Some(_), false) => PlanKind::Wake,
        (Some(asleep), true) if !asleep.whole => PlanKind::Sleep,
        (None, true) if has_served(record) => PlanKind::Sleep,
        (Some(_), true) | (None, true) => return rest(expiry),
        (None, false) => return idle(record, cx, expiry),
    };
    match record.retry_at.filter(|at| *at > cx.now) {
        Some(at) => rest(Some(expiry.map_or(at, |expiry| expiry.min(at)))),
        None => Decision::Start(kind),
    }
}

fn idle(record: &EnvironmentRecord, cx: &DecideContext, expiry: Option<Timestamp>) -> Decision {
    let rest = |wake_at| Decision::Nothing { wake_at };
    let Some((idle, (used, due))) = cx.idle.and_then(|idle| Some((idle, due(record, &idle)?))) else {
        return rest(expiry);
    };
    if due > cx.now {
        return rest(Some(expiry.map_or(due, |expiry| expiry.min(due))));
    }
    // Whoever looks at the load balancer wakes the controller again.
    if !is_idle(record, &idle, cx.now) {
        return rest(expiry);
    }
    Decision::Doze(Intent {
        id: format!("{SYSTEM_ACTOR}:sleep/{}/{}/{used}", record.id, record.generation).into(),
        environment: record.key.clone(),
        ask: Ask::Sleep,
        actor: format!("{SYSTEM_ACTOR}:idle"),
        event_at: Some(used),
    })
}

/// Whether nobody has used it for long enough, by a look that was made since: one from before says nothing of the time after.
pub fn is_idle(record: &EnvironmentRecord, idle: &Idle, now: Timestamp) -> bool {
    due(record, idle).is_some_and(|(_, due)| due <= now && due <= idle.seen_at) && !idle.in_use
}

/// When it was used last, and when it may be put to sleep.
fn due(record: &EnvironmentRecord, idle: &Idle) -> Option<(Timestamp, Timestamp)> {
    if record.url.is_none() || !has_served(record) || record.sleep || record.asleep.is_some() {
        return None;
    }
    let used = Some(record.last_activity).max(record.awake_since).max(idle.last_request)?;
    let after = SignedDuration::from_secs(i64::try_from(idle.after).ok()?);
    Some((used, used.checked_add(after).ok()?))
}

/// Whether the live execution puts to sleep what is to be awake, or the other way round.
pub(super) fn changed_mind(record: &EnvironmentRecord, live: &LiveExecution) -> bool {
    match live.kind.as_str() {
        kind if kind == PlanKind::Sleep.as_str() => !record.sleep,
        kind if kind == PlanKind::Wake.as_str() => record.sleep,
        _ => false,
    }
}

/// Something of this generation has answered, so that there is something to go back to.
fn has_served(record: &EnvironmentRecord) -> bool {
    record.good_execution.is_some() && record.ready_generation == record.generation
}

/// Before an execution begins: from now on it may run nothing, or not all.
pub(super) fn begun(next: &mut EnvironmentRecord, before: &EnvironmentRecord, kind: PlanKind, now: Timestamp) {
    if kind == PlanKind::Sleep && next.asleep.is_none() {
        let was = if before.phase == Phase::Failed { Phase::Failed } else { Phase::Ready };
        let message = before.message.clone().filter(|_| was == Phase::Failed);
        next.asleep = Some(Asleep { since: now, whole: false, was, message, failed_wakes: 0 });
    }
    if let Some(asleep) = &mut next.asleep {
        asleep.whole = false;
        // It goes on being why it sleeps although it was asked for.
        if kind == PlanKind::Sleep && asleep.failed_wakes > 0 {
            next.message = before.message.clone();
        }
    }
}

/// After an update or a repair: what serves is awake, whatever it was before.
pub(super) fn served(next: &mut EnvironmentRecord, now: Timestamp) {
    next.asleep = None;
    next.awake_since = Some(now);
}

/// After an update that brought nothing.
pub(super) fn not_served(next: &mut EnvironmentRecord) {
    let (phase, message) = (next.phase, next.message.clone());
    if let Some(asleep) = next.asleep.as_mut().filter(|_| phase == Phase::Failed) {
        (asleep.was, asleep.message) = (phase, message);
    }
}

pub(super) fn settle(
    next: &mut EnvironmentRecord,
    live: &LiveExecution,
    outcome: Outcome,
    message: &str,
    now: Timestamp,
) -> Option<Notice> {
    let falling = live.kind == PlanKind::Sleep.as_str();
    let mut asleep = next.asleep.take()?;
    let mut told = None;
    match (outcome, falling) {
        (Outcome::Succeeded, true) => {
            (asleep.whole, asleep.since) = (true, now);
            next.phase = Phase::Asleep;
            next.asleep = Some(asleep);
        }
        (Outcome::Succeeded, false) => {
            (next.phase, next.message) = (asleep.was, asleep.message);
            next.awake_since = Some(now);
        }
        (Outcome::Superseded, _) => {
            next.phase = if falling { asleep.was } else { Phase::Asleep };
            next.asleep = Some(asleep);
        }
        (_, true) => told = Some(not_asleep(next, asleep, live, message, now)),
        (_, false) => told = Some(not_woken(next, asleep, live, message, now)),
    }
    hold_newer(next);
    told
}

/// No plan can be made.
pub(super) fn plan_failed(next: &mut EnvironmentRecord, kind: PlanKind, message: &str, now: Timestamp) -> Notice {
    let was = if next.phase == Phase::Failed { Phase::Failed } else { Phase::Ready };
    let fresh = || Asleep { since: now, whole: false, was, message: None, failed_wakes: 0 };
    let asleep = next.asleep.take().unwrap_or_else(fresh);
    let none =
        LiveExecution { id: "unplanned".into(), seq: next.desired_seq, kind: kind.as_str().to_owned(), commit: None };
    match kind {
        PlanKind::Wake => not_woken(next, asleep, &none, message, now),
        _ => not_asleep(next, asleep, &none, message, now),
    }
}

/// Part of it may have stopped: it is woken again.
fn not_asleep(
    next: &mut EnvironmentRecord,
    asleep: Asleep,
    live: &LiveExecution,
    message: &str,
    now: Timestamp,
) -> Notice {
    let text = format!("{} could not be put to sleep: {message}", next.id);
    next.sleep = false;
    next.phase = asleep.was;
    next.asleep = Some(asleep);
    tell(next, live, NoticeKind::Warning, "not_asleep", text, now)
}

fn not_woken(
    next: &mut EnvironmentRecord,
    mut asleep: Asleep,
    live: &LiveExecution,
    message: &str,
    now: Timestamp,
) -> Notice {
    let text = format!("{} could not be woken: {message}", next.id);
    let wait = RETRY.saturating_mul(1 << asleep.failed_wakes.min(10)).min(RETRY_MAX);
    asleep.failed_wakes = asleep.failed_wakes.saturating_add(1);
    next.sleep = true;
    next.phase = Phase::Asleep;
    next.message = Some(format!("could not be woken: {message}"));
    next.retry_at = now.checked_add(SignedDuration::from_secs(wait)).ok();
    next.asleep = Some(asleep);
    tell(next, live, NoticeKind::Failed, "not_woken", text, now)
}

/// Told by the record: the plans themselves are quiet.
fn tell(
    next: &EnvironmentRecord,
    live: &LiveExecution,
    kind: NoticeKind,
    word: &str,
    text: String,
    now: Timestamp,
) -> Notice {
    let mut told = notice(next, kind, "", text, now);
    let failed = next.asleep.as_ref().map_or(0, |asleep| asleep.failed_wakes);
    told.id = format!("{}/{}/{}/{word}/{failed}", next.id, next.generation, live.id);
    told.execution = None;
    told
}

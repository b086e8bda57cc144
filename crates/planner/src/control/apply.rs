//! Intents change what is asked of an environment, and nothing else.

use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_model::environment::{AbsentReason, Desired, EnvironmentRecord, Phase, SourceRef, Wanted};
use landfall_model::event::{Ask, Intent, PreviewTrigger};
use landfall_model::ids::SYSTEM_ACTOR;
use landfall_model::names::short_commit;
use landfall_model::notice::{Notice, NoticeKind};

use super::{Applied, Verdict, at_commit, awaits_approval, notice, sleep, wanted};
use crate::names::{environment_names, hashed_names};

/// Applies an intent. `existing`: the record with this key; if there is none, the record that holds the id that
/// `environment_names` gives for the key (its key then differs, and the new environment gets a hashed name).
pub fn apply(app: &App, intent: &Intent, existing: Option<&EnvironmentRecord>, now: Timestamp) -> Applied {
    let own = existing.filter(|record| record.key == intent.environment);
    if let (Some(record), true) = (own, is_ours(intent))
        && intent.event_at.is_some_and(|seen| seen < record.desired_at.max(record.last_activity))
        && intent.ask != (Ask::Destroy { reason: AbsentReason::Expired })
    {
        return ignored("what was seen is older than what was asked since");
    }
    match &intent.ask {
        Ask::Preview { commit, pull_request, fork, trigger } => {
            if *trigger == PreviewTrigger::Repair {
                return repair(intent, commit.as_deref(), own, now);
            }
            let ask =
                Preview { commit: commit.as_deref(), pull_request: *pull_request, fork: *fork, trigger: *trigger };
            preview(app, intent, &ask, own, existing.is_some(), now)
        }
        Ask::Destroy { reason } => destroy(app, intent, *reason, own, existing.is_some(), now),
        Ask::Approve { commit } => approve(intent, commit, own, now),
        Ask::Pin { pinned } => pin(intent, *pinned, own, now),
        Ask::Sleep => sleep::ask_sleep(intent, own, now),
        Ask::Wake => sleep::ask_wake(intent, own, now),
    }
}

struct Preview<'a> {
    commit: Option<&'a str>,
    pull_request: Option<u64>,
    fork: bool,
    trigger: PreviewTrigger,
}

fn preview(
    app: &App,
    intent: &Intent,
    ask: &Preview<'_>,
    own: Option<&EnvironmentRecord>,
    id_taken: bool,
    now: Timestamp,
) -> Applied {
    let is_fork = matches!(intent.environment.source, SourceRef::ForkPullRequest(_));
    if app.previews.is_none() {
        return rejected("the manifest has no `previews` section");
    }
    if !app.repositories.contains_key(&intent.environment.repository) {
        return rejected(format!("repository `{}` is not in the manifest", intent.environment.repository));
    }
    if ask.fork && !is_fork {
        return rejected("a fork's pull request is an environment of its own, never its branch");
    }
    // A request for a fork that is there already means the commit that it has; nothing else may leave it open.
    let known = own.is_some_and(|record| wanted(record).is_some_and(|wanted| wanted.commit.is_some()));
    if is_fork && ask.commit.is_none() && !(ask.trigger == PreviewTrigger::Requested && known) {
        return rejected("a fork is previewed at an exact commit only");
    }
    let record = match own {
        None => Ok(new_record(app, intent, ask, id_taken, now)),
        Some(record) if wanted(record).is_none() => revive(record, intent, ask, now),
        Some(record) => renew(record, intent, ask, now),
    };
    let mut record = match record {
        Ok(record) => record,
        Err(why) => return ignored(why),
    };
    let asked_anew = own.is_none_or(|before| before.desired_seq != record.desired_seq);
    let by_a_person = ask.trigger == PreviewTrigger::Requested;
    if asked_anew || by_a_person {
        sleep::used(app, &mut record, by_a_person);
    }
    let mut notices = Vec::new();
    if awaits_approval(&record) {
        notices.extend(hold_for_approval(&mut record, now).filter(|_| asked_anew));
    }
    let commit = wanted(&record).and_then(|wanted| wanted.commit.as_deref());
    let what = format!("preview {}{}", record.id, at_commit(commit));
    Applied { record: Some(record), verdict: Verdict::Applied { what }, notices }
}

fn new_record(app: &App, intent: &Intent, ask: &Preview<'_>, id_taken: bool, now: Timestamp) -> EnvironmentRecord {
    let key = &intent.environment;
    let names = if id_taken { hashed_names(app, key) } else { environment_names(app, key) };
    let fresh = EnvironmentRecord::new(key.clone(), names, ask.wanted(), intent.id.clone(), now);
    EnvironmentRecord { event_at: ask.forge_time(intent), ..fresh }
}

impl Preview<'_> {
    fn wanted(&self) -> Wanted {
        Wanted { commit: self.commit.map(str::to_owned), pull_request: self.pull_request }
    }

    /// A listing's time is ours, not the forge's: it orders nothing that the forge says.
    fn forge_time(&self, intent: &Intent) -> Option<Timestamp> {
        intent.event_at.filter(|_| !matches!(self.trigger, PreviewTrigger::Listed | PreviewTrigger::Requested))
    }
}

/// An intent of a reconciler: its `event_at` is when it looked.
pub(super) fn is_ours(intent: &Intent) -> bool {
    intent.actor.split(':').next() == Some(SYSTEM_ACTOR)
}

/// The same again: only where the preview still stands as it was asked for.
fn repair(intent: &Intent, commit: Option<&str>, own: Option<&EnvironmentRecord>, now: Timestamp) -> Applied {
    let settled = |record: &&EnvironmentRecord| {
        matches!(record.phase, Phase::Ready | Phase::Asleep)
            && record.live.is_none()
            && record.applied_seq == record.desired_seq
    };
    let Some((record, wanted)) = own.filter(settled).and_then(|record| Some((record, wanted(record)?))) else {
        return ignored("it is not as it was when it was looked at");
    };
    let mut next = record.clone();
    let commit = wanted.commit.clone().or_else(|| commit.map(str::to_owned));
    next.desired = Desired::Present(Wanted { commit, ..wanted.clone() });
    next.desired_seq += 1;
    next.desired_at = now;
    next.cause = intent.id.clone();
    Applied {
        verdict: Verdict::Applied { what: format!("repair {}", next.id) },
        record: Some(next),
        notices: Vec::new(),
    }
}

/// Asked for again after it was asked to go.
fn revive(
    record: &EnvironmentRecord,
    intent: &Intent,
    ask: &Preview<'_>,
    now: Timestamp,
) -> Result<EnvironmentRecord, String> {
    let lasting = matches!(record.desired, Desired::Absent { reason: AbsentReason::Expired | AbsentReason::Requested });
    if ask.trigger == PreviewTrigger::Listed && lasting {
        return Err("it expired or was taken down on purpose; a push or a request brings it back".to_owned());
    }
    if let (Some(event), Some(tombstone)) = (ask.forge_time(intent), record.event_at)
        && event < tombstone
    {
        return Err(format!("older ({event}) than its deletion ({tombstone})"));
    }
    let mut next = record.clone();
    next.generation += 1;
    next.created_at = now;
    next.approved_commits.clear();
    next.retry_at = None;
    if next.phase == Phase::Destroyed {
        next.phase = Phase::Queued;
        next.retries = 0;
    }
    next.message = None;
    want(&mut next, intent, ask, now);
    next.desired_at = now;
    Ok(next)
}

/// Asked for while it is asked for already.
fn renew(
    record: &EnvironmentRecord,
    intent: &Intent,
    ask: &Preview<'_>,
    now: Timestamp,
) -> Result<EnvironmentRecord, String> {
    let current = wanted(record).cloned().unwrap_or_default();
    if ask.trigger == PreviewTrigger::BranchCreated {
        return Err("it is asked for already".to_owned());
    }
    if let (Some(event), Some(known)) = (ask.forge_time(intent), record.event_at)
        && event < known
    {
        return Err(format!("older ({event}) than what is asked already ({known})"));
    }
    let mut next = record.clone();
    next.last_activity = now;
    next.cause = intent.id.clone();
    next.event_at = record.event_at.max(ask.forge_time(intent));
    let failed = record.phase == Phase::Failed && record.applied_seq == record.desired_seq && record.live.is_none();
    let forced = ask.trigger == PreviewTrigger::Requested;
    let same = ask.commit.is_none() || ask.commit == current.commit.as_deref();
    // A `create` is followed by a push of the commit that its plan found by itself.
    let found = match &record.live {
        Some(live) => live.commit.as_deref(),
        None if record.phase == Phase::Ready && record.applied_seq == record.desired_seq => record.commit.as_deref(),
        None => None,
    };
    let found_already = current.commit.is_none() && ask.commit.is_some() && ask.commit == found;
    if !forced && (same || found_already) && (!failed || ask.trigger == PreviewTrigger::Listed) {
        if ask.trigger == PreviewTrigger::Listed {
            return Err("nothing has changed".to_owned());
        }
        let wanted = Wanted {
            commit: current.commit.or_else(|| ask.commit.map(str::to_owned)),
            pull_request: ask.pull_request.or(current.pull_request),
        };
        next.desired = Desired::Present(wanted);
        return Ok(next);
    }
    let ask = Preview {
        commit: ask.commit.or(current.commit.as_deref()),
        pull_request: ask.pull_request.or(current.pull_request),
        ..*ask
    };
    if ask.commit != current.commit.as_deref() {
        next.approved_commits.clear();
    }
    want(&mut next, intent, &ask, now);
    Ok(next)
}

fn want(record: &mut EnvironmentRecord, intent: &Intent, ask: &Preview<'_>, now: Timestamp) {
    record.desired = Desired::Present(ask.wanted());
    record.desired_seq += 1;
    // A newer commit does not cost a waiting preview its place in the queue.
    if record.phase != Phase::Queued {
        record.desired_at = now;
    }
    if record.replans > 0 {
        record.replans = 0;
        record.retry_at = None;
    }
    record.last_activity = now;
    record.cause = intent.id.clone();
    record.event_at = record.event_at.max(ask.forge_time(intent));
}

fn hold_for_approval(record: &mut EnvironmentRecord, now: Timestamp) -> Option<Notice> {
    let commit = wanted(record)?.commit.clone()?;
    let text = format!("{}: commit {} of a fork waits for approval", record.id, short_commit(&commit));
    if record.live.is_none() && !super::needs_clearing(record) {
        record.phase = Phase::AwaitingApproval;
        record.message = Some(format!("commit {commit} waits for approval"));
    }
    Some(notice(record, NoticeKind::AwaitingApproval, "awaiting_approval", text, now))
}

fn destroy(
    app: &App,
    intent: &Intent,
    reason: AbsentReason,
    own: Option<&EnvironmentRecord>,
    id_taken: bool,
    now: Timestamp,
) -> Applied {
    let Some(record) = own else { return bury_unseen(app, intent, reason, id_taken, now) };
    if reason == AbsentReason::Expired {
        if record.pinned {
            return ignored("it is pinned");
        }
        if intent.event_at.is_some_and(|idle_since| idle_since < record.last_activity) {
            return ignored("there was activity since");
        }
    }
    let forge_time = intent.event_at.filter(|_| !is_ours(intent));
    let mut next = record.clone();
    next.event_at = record.event_at.max(forge_time);
    if wanted(record).is_none() {
        let given_up = record.phase == Phase::Failed && record.applied_seq == record.desired_seq;
        let waits = record.retry_at.is_some();
        if reason == AbsentReason::Requested && (given_up || waits) {
            next.retry_at = None;
            // A person waits for it: told as if it were the first time.
            next.retries = 0;
            next.desired_seq += u64::from(given_up);
            next.cause = intent.id.clone();
            return Applied {
                verdict: Verdict::Applied { what: format!("destroy {} again, now", next.id) },
                record: Some(next),
                notices: Vec::new(),
            };
        }
        let changed = next != *record;
        return Applied { record: changed.then_some(next), ..ignored("it is gone, or on its way") };
    }
    next.desired = Desired::Absent { reason };
    next.desired_seq += 1;
    next.desired_at = now;
    next.cause = intent.id.clone();
    next.pinned = false;
    next.retries = 0;
    next.replans = 0;
    next.retry_at = None;
    next.message = None;
    let what = format!("destroy {}", next.id);
    Applied { record: Some(next), verdict: Verdict::Applied { what }, notices: Vec::new() }
}

/// A deletion that overtook its `create`: remembered, so that the late one is known to be stale.
fn bury_unseen(app: &App, intent: &Intent, reason: AbsentReason, id_taken: bool, now: Timestamp) -> Applied {
    let SourceRef::Branch(branch) = &intent.environment.source else { return ignored("there is no such preview") };
    let ours =
        app.repositories.contains_key(&intent.environment.repository) && crate::route::wanted(app, branch).is_ok();
    let orders = reason == AbsentReason::BranchDeleted && intent.event_at.is_some() && !is_ours(intent);
    if !ours || !orders {
        return ignored("there is no such preview");
    }
    let nothing = Preview { commit: None, pull_request: None, fork: false, trigger: PreviewTrigger::BranchCreated };
    let mut record = new_record(app, intent, &nothing, id_taken, now);
    record.desired = Desired::Absent { reason };
    record.applied_seq = record.desired_seq;
    record.phase = Phase::Destroyed;
    Applied { record: Some(record), ..ignored("there is no such preview; a late `create` of it will be stale") }
}

fn approve(intent: &Intent, commit: &str, own: Option<&EnvironmentRecord>, now: Timestamp) -> Applied {
    let Some(record) = own else { return rejected("there is no such preview") };
    let Some(wanted) = wanted(record) else { return rejected("the preview is gone, or on its way") };
    if !matches!(record.key.source, SourceRef::ForkPullRequest(_)) {
        return ignored("only a fork's commits need approval");
    }
    let awaited = wanted.commit.as_deref().unwrap_or("none");
    if awaited != commit {
        return rejected(format!("commit {commit} is not the one that waits: {awaited}"));
    }
    if !awaits_approval(record) {
        return ignored("it was approved already");
    }
    let mut next = record.clone();
    next.approved_commits = vec![commit.to_owned()];
    next.desired_seq += 1;
    next.desired_at = now;
    next.last_activity = now;
    next.cause = intent.id.clone();
    next.message = None;
    if next.phase == Phase::AwaitingApproval {
        next.phase = match (&next.url, next.made_generation) {
            (Some(_), _) => Phase::Ready,
            (None, 0) => Phase::Queued,
            (None, _) => Phase::Failed,
        };
    }
    let what = format!("approved {} at {} by {}", next.id, short_commit(commit), intent.actor);
    Applied { record: Some(next), verdict: Verdict::Applied { what }, notices: Vec::new() }
}

fn pin(intent: &Intent, pinned: bool, own: Option<&EnvironmentRecord>, now: Timestamp) -> Applied {
    let Some(record) = own.filter(|record| wanted(record).is_some()) else {
        return rejected("there is no such preview");
    };
    let mut next = record.clone();
    next.pinned = pinned;
    next.last_activity = now;
    next.cause = intent.id.clone();
    let what = format!("{} {}", if pinned { "pinned" } else { "unpinned" }, next.id);
    Applied { record: Some(next), verdict: Verdict::Applied { what }, notices: Vec::new() }
}

pub(super) fn ignored(why: impl Into<String>) -> Applied {
    Applied { record: None, verdict: Verdict::Ignored { why: why.into() }, notices: Vec::new() }
}

pub(super) fn rejected(why: impl Into<String>) -> Applied {
    Applied { record: None, verdict: Verdict::Rejected { why: why.into() }, notices: Vec::new() }
}

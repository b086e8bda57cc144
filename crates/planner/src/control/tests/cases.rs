use landfall_model::environment::{AbsentReason, Desired, Phase};
use landfall_model::event::{Ask, PreviewTrigger};
use landfall_model::ids::SYSTEM_ACTOR;
use landfall_model::notice::NoticeKind;
use landfall_workflow::Outcome;

use super::model::{Model, ask, at, branch, fork, gone};
use crate::control::{Cause, DecideContext, Decision, LiveStatus, MAX_REPLANS, Place, Verdict, decide, holds_place};

fn create() -> Ask {
    ask(None, PreviewTrigger::BranchCreated)
}

fn push(commit: &str) -> Ask {
    ask(Some(commit), PreviewTrigger::Pushed)
}

fn deleted() -> Ask {
    gone(AbsentReason::BranchDeleted)
}

fn is_ignored(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Ignored { .. })
}

#[test]
fn a_delete_beats_a_late_create() {
    let x = branch("feature/x");
    for older in [create(), push("a")] {
        // It overtook the create of a preview that nobody had heard of.
        let mut model = Model::new();
        assert!(is_ignored(&model.ask(&x, deleted(), Some(at(-10)))));
        assert!(is_ignored(&model.ask(&x, older.clone(), Some(at(-20)))));
        model.rest();
        assert_eq!(model.record(&x).phase, Phase::Destroyed);
        assert!(model.created.is_empty());

        // Of one that was there, before and after it is gone.
        let mut model = Model::new();
        model.ask(&x, push("a"), Some(at(-30)));
        model.rest();
        model.ask(&x, deleted(), Some(at(-10)));
        assert!(is_ignored(&model.ask(&x, older.clone(), Some(at(-20)))));
        model.rest();
        assert!(is_ignored(&model.ask(&x, older, Some(at(-20)))));
        model.rest();
        assert_eq!(model.record(&x).phase, Phase::Destroyed);
    }
}

#[test]
fn a_create_right_after_a_delete_works() {
    let x = branch("feature/x");
    // The forge's clock has whole seconds: equal times are no proof. Nor is a missing one.
    for time in [Some(at(-10)), None] {
        for finished in [false, true] {
            let mut model = Model::new();
            model.ask(&x, push("a"), time);
            model.settle();
            if finished {
                model.rest();
            }
            model.ask(&x, deleted(), time);
            model.settle();
            model.tips.insert(x.clone(), "b".to_owned());
            model.ask(&x, create(), time);
            model.rest();
            let record = model.record(&x);
            assert_eq!((record.phase, record.commit.as_deref(), record.generation), (Phase::Ready, Some("b"), 2));
        }
    }
}

#[test]
fn a_person_is_never_too_late() {
    let x = branch("feature/x");
    let mut model = Model::new();
    model.ask(&x, deleted(), Some(at(100)));
    model.ask_as("cli:root", &x, ask(None, PreviewTrigger::Requested), None);
    model.rest();
    assert_eq!(model.record(&x).phase, Phase::Ready);
}

/// What a sweep saw before a push came in is older than the push, also while the preview waits in the queue.
#[test]
fn a_listing_that_is_older_than_a_push_changes_nothing() {
    let (x, y) = (branch("feature/x"), branch("feature/y"));
    let sweep = format!("{SYSTEM_ACTOR}:sweep");
    let mut model = Model::new();
    model.cap = Some(1);
    model.ask(&y, push("y"), None);
    model.rest();
    model.ask(&x, push("a"), None);
    model.settle();
    model.pass(10);
    let seen = model.now;
    model.pass(10);
    model.ask(&x, push("b"), None);
    assert!(is_ignored(&model.ask_as(&sweep, &x, ask(Some("a"), PreviewTrigger::Listed), Some(seen))));
    assert!(is_ignored(&model.ask_as(&sweep, &x, deleted(), Some(seen))));
    let Desired::Present(wanted) = &model.record(&x).desired else { panic!() };
    assert_eq!(wanted.commit.as_deref(), Some("b"));
    model.pass(10);
    let seen = model.now;
    assert!(!is_ignored(&model.ask_as(&sweep, &x, ask(Some("c"), PreviewTrigger::Listed), Some(seen))));
}

#[test]
fn the_cap_is_a_queue() {
    let keys: Vec<_> = ["e", "d", "c", "b", "a"].map(|leaf| branch(&format!("feature/{leaf}"))).into();
    let mut model = Model::new();
    model.cap = Some(2);
    for key in &keys {
        model.pass(1);
        model.ask(key, push("1"), None);
    }
    model.rest();
    let first_two: Vec<_> = keys[..2].iter().map(|key| model.record(key).id.clone()).collect();
    assert_eq!(model.created.len(), 2);
    assert!(first_two.iter().all(|id| model.created.contains(id)), "first come, first served");
    assert_eq!(
        model.record(&keys[2]).message.as_deref().unwrap_or_default().split(':').next(),
        Some("next in the queue")
    );
    assert!(model.record(&keys[4]).message.as_deref().unwrap_or_default().starts_with("2 ahead"));
    let queued = model.told.iter().filter(|(_, kind)| *kind == NoticeKind::Queued).count();
    assert_eq!(queued, 3, "told once each, however often they move up");

    // Updates of what is there never wait; a newer commit of what waits costs no place.
    model.pass(1);
    model.ask(&keys[0], push("2"), None);
    model.ask(&keys[2], push("2"), None);
    model.rest();
    assert_eq!(model.record(&keys[0]).commit.as_deref(), Some("2"));
    for n in 2..5 {
        model.ask(&keys[n - 2], deleted(), None);
        model.rest();
        assert_eq!(model.created.len(), n + 1);
        assert_eq!(model.created[n], model.record(&keys[n]).id);
    }
    assert_eq!(model.record(&keys[2]).phase, Phase::Destroyed);
    assert_eq!(model.records.values().filter(|record| holds_place(record)).count(), 2);
}

#[test]
fn a_fork_that_waits_for_approval_holds_nobody_up() {
    let mut model = Model::new();
    model.cap = Some(1);
    let opened = Ask::Preview {
        commit: Some("a".to_owned()),
        pull_request: Some(7),
        fork: true,
        trigger: PreviewTrigger::PullRequest,
    };
    model.ask(&fork(7), opened, None);
    model.rest();
    model.pass(1);
    model.ask(&branch("feature/x"), push("a"), None);
    model.rest();
    assert_eq!(model.record(&branch("feature/x")).phase, Phase::Ready);
    assert_eq!(model.record(&fork(7)).phase, Phase::AwaitingApproval);
    model.ask(&fork(7), Ask::Approve { commit: "a".to_owned() }, None);
    model.rest();
    assert_eq!(model.record(&fork(7)).phase, Phase::Queued);
}

#[test]
fn a_fork_is_asked_for_at_a_commit_or_not_at_all() {
    let request = || ask(None, PreviewTrigger::Requested);
    let rejected = |verdict: &Verdict| matches!(verdict, Verdict::Rejected { .. });
    let mut model = Model::new();
    // Without a commit there is nothing that anybody could approve: it would wait for ever.
    assert!(rejected(&model.ask(&fork(7), request(), None)));
    assert!(model.get(&fork(7)).is_none());
    model.ask(&fork(7), ask(Some("a"), PreviewTrigger::PullRequest), None);
    model.ask(&fork(7), Ask::Approve { commit: "a".to_owned() }, None);
    model.rest();
    // Once it is there, a request means what it has.
    assert!(matches!(model.ask(&fork(7), request(), None), Verdict::Applied { .. }));
    model.rest();
    assert_eq!(model.record(&fork(7)).commit.as_deref(), Some("a"));
    model.ask(&fork(7), gone(AbsentReason::PullRequestClosed), None);
    model.rest();
    assert!(rejected(&model.ask(&fork(7), request(), None)));
    assert_eq!(model.record(&fork(7)).phase, Phase::Destroyed);
}

#[test]
fn the_ttl_runs_from_the_last_activity() {
    let x = branch("feature/x");
    let mut model = Model::new();
    model.ttl = Some(100);
    model.ask(&x, push("a"), None);
    model.rest();
    assert_eq!(model.settle(), Some(at(100)));
    model.pass(60);
    model.ask(&x, push("b"), None);
    model.rest();
    model.pass(60);
    assert_eq!(model.settle(), Some(at(160)), "there was activity");
    model.ask_as("cli:root", &x, Ask::Pin { pinned: true }, None);
    model.pass(1000);
    assert_eq!(model.settle(), None);
    assert_eq!(model.record(&x).phase, Phase::Ready);
    model.ask_as("cli:root", &x, Ask::Pin { pinned: false }, None);
    assert_eq!(model.settle(), Some(at(1220)));
    model.pass(100);
    model.rest();
    let record = model.record(&x);
    assert_eq!(record.phase, Phase::Destroyed);
    assert_eq!(record.desired, Desired::Absent { reason: AbsentReason::Expired });
    // A listing does not bring it back, a push does.
    let seen = model.now;
    let listed = ask(Some("c"), PreviewTrigger::Listed);
    assert!(is_ignored(&model.ask_as("landfall:sweep", &x, listed, Some(seen))));
    model.ask(&x, push("c"), None);
    model.rest();
    assert_eq!(model.record(&x).commit.as_deref(), Some("c"));
}

#[test]
fn a_destroy_is_tried_until_it_works() {
    let x = branch("feature/x");
    let mut model = Model::new();
    model.ask(&x, push("a"), None);
    model.rest();
    model.ask(&x, deleted(), None);
    model.settle();
    let mut waits = Vec::new();
    for _ in 0..10 {
        model.finish(Outcome::Failed);
        let wake = model.settle().expect("it will be tried again");
        assert!(!model.running());
        waits.push(wake.duration_since(model.now).as_secs());
        model.now = wake;
        model.settle();
        assert!(model.running());
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
    assert_eq!(model.told.iter().filter(|(_, kind)| *kind == NoticeKind::Failed).count(), 1);
    model.rest();
    let record = model.record(&x);
    assert_eq!((record.phase, record.retries, record.retry_at), (Phase::Destroyed, 0, None));
}

#[test]
fn a_person_may_have_a_destroy_tried_now() {
    let x = branch("feature/x");
    let mut model = Model::new();
    model.ask(&x, push("a"), None);
    model.rest();
    model.ask(&x, deleted(), None);
    model.settle();
    model.finish(Outcome::Failed);
    model.settle();
    assert!(!model.running());
    model.ask_as("cli:root", &x, gone(AbsentReason::Requested), None);
    model.settle();
    assert!(model.running());
}

/// Asked for again while its destruction fails: that goes on, and the new one begins from nothing.
#[test]
fn what_cannot_be_destroyed_is_not_built_upon() {
    let x = branch("feature/x");
    let mut model = Model::new();
    model.ask(&x, push("a"), None);
    model.rest();
    model.ask(&x, deleted(), None);
    model.settle();
    model.finish(Outcome::Failed);
    model.settle();
    model.ask(&x, push("b"), None);
    model.settle();
    model.finish(Outcome::Failed);
    model.settle();
    assert_eq!(model.created.len(), 1);
    model.rest();
    assert_eq!((model.created.len(), model.record(&x).commit.as_deref()), (2, Some("b")));
}

/// A port that somebody takes again and again: ever longer waits, then a failure that says why.
#[test]
fn a_choice_that_is_always_stale_ends_in_a_failure() {
    let x = branch("feature/x");
    let mut model = Model::new();
    model.stale = true;
    model.ask(&x, push("a"), None);
    model.settle();
    let mut waits = Vec::new();
    for _ in 0..MAX_REPLANS {
        model.finish(Outcome::NeedsReplan);
        let wake = model.settle().expect("it is planned again");
        assert!(!model.running());
        waits.push(wake.duration_since(model.now).as_secs());
        model.now = wake;
        model.settle();
    }
    assert_eq!(waits, [1, 2, 4, 8, 16]);
    assert_eq!(model.record(&x).replans, MAX_REPLANS, "the plan that is made now is the last");
    model.finish(Outcome::NeedsReplan);
    model.rest();
    let record = model.record(&x);
    let message = record.message.clone().unwrap_or_default();
    assert_eq!((record.phase, record.replans, record.port), (Phase::Failed, 0, None));
    assert!(message.contains("why (planned 6 times, each time what was chosen had been taken; free it)"), "{message}");
    // Nobody is told of the plans in between.
    let kinds: Vec<_> = model.told.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [NoticeKind::Creating, NoticeKind::RolledBack]);
    model.ask(&x, push("b"), None);
    model.rest();
    assert_eq!(model.record(&x).phase, Phase::Ready);
}

#[test]
fn a_failure_after_stale_plans_gives_its_own_reason() {
    for outcome in [Outcome::RolledBack, Outcome::Failed, Outcome::RollbackFailed] {
        let x = branch("feature/x");
        let mut model = Model::new();
        model.ask(&x, push("a"), None);
        model.settle();
        model.finish(Outcome::NeedsReplan);
        model.now = model.settle().expect("it is planned again");
        model.settle();
        model.finish(outcome);
        model.settle();
        let record = model.record(&x);
        let message = record.message.clone().unwrap_or_default();
        assert_eq!((record.phase, record.replans), (Phase::Failed, 0));
        assert!(message.ends_with(": why"), "{message}");
    }
}

#[test]
fn a_failure_goes_back_to_what_served_last() {
    let x = branch("feature/x");
    let mut model = Model::new();
    let good = |model: &Model| model.record(&x).good_execution.clone();
    model.ask(&x, push("a"), None);
    model.settle();
    assert_eq!(good(&model), None);
    model.rest();
    let first = good(&model);
    assert_eq!(first, model.record(&x).last_execution);
    for end in [Outcome::NeedsReplan, Outcome::RolledBack, Outcome::RollbackFailed, Outcome::Aborted] {
        model.ask(&x, push(&format!("{end:?}")), None);
        model.settle();
        model.finish(end);
        model.settle();
        assert_eq!(good(&model), first, "{end:?}");
    }
    for serves in [false, true] {
        model.serves = serves;
        model.ask(&x, push(&format!("b{serves}")), None);
        model.settle();
        let live = model.record(&x).live.clone().map(|live| live.id);
        model.ask(&x, push(&format!("c{serves}")), None);
        model.settle();
        model.finish(Outcome::Superseded);
        model.settle();
        assert_eq!(good(&model), if serves { live } else { first.clone() });
    }
    model.ask(&x, deleted(), None);
    model.rest();
    assert_eq!(good(&model), None, "what is gone is nothing to go back to");
}

#[test]
fn a_new_request_starts_the_count_of_stale_plans_anew() {
    let x = branch("feature/x");
    let mut model = Model::new();
    model.ask(&x, push("a"), None);
    for _ in 0..3 {
        model.settle();
        model.finish(Outcome::NeedsReplan);
        let wake = model.settle();
        model.now = wake.unwrap_or(model.now);
    }
    model.settle();
    model.finish(Outcome::NeedsReplan);
    model.settle();
    assert_eq!(model.record(&x).replans, 4);
    model.ask(&x, push("b"), None);
    model.settle();
    assert!(model.running(), "it does not wait for the older request's turn");
    assert_eq!(model.record(&x).replans, 0);
    model.rest();
    assert_eq!(model.record(&x).commit.as_deref(), Some("b"));
}

/// The journal of an older version has plans that never know that they are the last.
#[test]
fn a_last_plan_that_wants_another_is_a_failure_that_is_told() {
    let x = branch("feature/x");
    let mut model = Model::new();
    model.ask(&x, push("a"), None);
    model.settle();
    let mut record = model.record(&x).clone();
    record.replans = MAX_REPLANS;
    let outcome = Outcome::NeedsReplan;
    let cause = Some(Cause { text: "Route: port 8000 is taken".to_owned(), stale: true });
    let live = LiveStatus::Finished { outcome, message: "port 8000 is taken".to_owned(), cause, serves: false };
    let cx = DecideContext {
        now: model.now,
        live: Some(live),
        place: Place::Free,
        ttl: None,
        url: None,
        port: None,
        idle: None,
    };
    let Decision::Settle(settled) = decide(&record, &cx) else { panic!() };
    assert_eq!((settled.record.phase, settled.record.applied_seq), (Phase::Failed, record.desired_seq));
    let told = &settled.notices[0];
    assert_eq!((told.kind, &told.execution), (NoticeKind::Failed, &None), "no execution tells it");
    assert!(told.text.contains("port 8000 is taken (planned 6 times"), "{}", told.text);
}

/// It has neither URL nor, where nothing can be listed, a commit.
#[test]
fn a_worker_that_was_ready_is_updated_in_place() {
    let x = branch("feature/x");
    let mut model = Model::new();
    model.workers_only = true;
    let request = || ask(None, PreviewTrigger::Requested);
    model.ask(&x, request(), None);
    model.rest();
    assert_eq!((model.record(&x).phase, model.record(&x).commit.clone()), (Phase::Ready, None));
    model.ask(&x, request(), None);
    model.rest();
    assert_eq!(model.created.len(), 1);
    model.ask(&x, gone(AbsentReason::Requested), None);
    model.rest();
    assert_eq!(model.record(&x).ready_generation, 0);
    model.ask(&x, request(), None);
    model.rest();
    assert_eq!(model.created.len(), 2, "nothing is left to be updated");
}

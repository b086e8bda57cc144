use landfall_model::environment::{AbsentReason, Desired, Phase};
use landfall_model::event::{Ask, PreviewTrigger};
use landfall_model::ids::SYSTEM_ACTOR;
use landfall_model::notice::NoticeKind;
use landfall_workflow::Outcome;

use super::model::{Model, ask, at, branch, fork, gone};
use crate::control::{Verdict, holds_place};

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

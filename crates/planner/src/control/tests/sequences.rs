use landfall_model::environment::{AbsentReason, Desired, EnvironmentKey, Phase};
use landfall_model::event::{Ask, PreviewTrigger};
use landfall_workflow::Outcome;
use proptest::prelude::*;

use super::model::{Model, ask, branch, fork, gone};
use crate::control::holds_place;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Create,
    Push(&'static str),
    PullOpened(&'static str),
    PullClosed,
    Delete,
    ForkPush(&'static str),
    Approve(&'static str),
    ForkClosed,
    Sleep,
    Wake,
}

const BRANCH: [Event; 6] =
    [Event::Create, Event::Push("a"), Event::Push("b"), Event::PullOpened("b"), Event::PullClosed, Event::Delete];
const FORK: [Event; 5] =
    [Event::ForkPush("a"), Event::ForkPush("b"), Event::Approve("a"), Event::Approve("b"), Event::ForkClosed];

const SLEEP: [Event; 5] = [Event::Push("a"), Event::Push("b"), Event::Sleep, Event::Wake, Event::Delete];

/// What happens after an event, before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The next event comes before anybody looked.
    None,
    /// What is needed is begun, or a signal sent.
    Begun,
    /// It is begun in the record only.
    Lost,
    /// It ends, or gives way where it was asked to.
    Ends(Outcome),
    /// It ends and nobody looks before the next event.
    EndsUnseen(Outcome),
}

const PROGRESS: [Progress; 8] = [
    Progress::None,
    Progress::Begun,
    Progress::Lost,
    Progress::Ends(Outcome::Superseded),
    Progress::Ends(Outcome::Succeeded),
    Progress::Ends(Outcome::RolledBack),
    Progress::Ends(Outcome::NeedsReplan),
    Progress::EndsUnseen(Outcome::RolledBack),
];
const BASIC: [Progress; 3] = [Progress::None, Progress::Begun, Progress::Ends(Outcome::Superseded)];

/// What the events so far ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Expected {
    present: bool,
    commit: Option<&'static str>,
    approved: bool,
}

fn happen(model: &mut Model, key: &EnvironmentKey, event: Event, expected: &mut Expected) {
    model.pass(1);
    let forked = |commit: &str| Ask::Preview {
        commit: Some(commit.to_owned()),
        pull_request: Some(7),
        fork: true,
        trigger: PreviewTrigger::PullRequest,
    };
    let asked = match event {
        Event::Create => ask(None, PreviewTrigger::BranchCreated),
        Event::Push(commit) => ask(Some(commit), PreviewTrigger::Pushed),
        Event::PullOpened(commit) => ask(Some(commit), PreviewTrigger::PullRequest),
        Event::PullClosed | Event::ForkClosed => gone(AbsentReason::PullRequestClosed),
        Event::Delete => gone(AbsentReason::BranchDeleted),
        Event::ForkPush(commit) => forked(commit),
        Event::Approve(commit) => Ask::Approve { commit: commit.to_owned() },
        Event::Sleep => Ask::Sleep,
        Event::Wake => Ask::Wake,
    };
    match event {
        Event::Create if expected.present => {}
        Event::Create => *expected = Expected { present: true, commit: Some("tip"), approved: true },
        Event::Push(commit) | Event::PullOpened(commit) => {
            *expected = Expected { present: true, commit: Some(commit), approved: true };
        }
        Event::ForkPush(commit) => {
            let approved = expected.present && expected.approved && expected.commit == Some(commit);
            *expected = Expected { present: true, commit: Some(commit), approved };
        }
        Event::Approve(commit) => expected.approved |= expected.present && expected.commit == Some(commit),
        Event::Sleep | Event::Wake => {}
        Event::PullClosed | Event::ForkClosed | Event::Delete => *expected = Expected::default(),
    }
    if let Some(tip) = expected.commit {
        model.tips.insert(key.clone(), tip.to_owned());
    }
    let stamped = Some(model.now);
    let before = model.get(key).cloned();
    model.ask(key, asked, stamped);
    if let (Some(before), Some(after)) = (before, model.get(key)) {
        let revived = matches!((&before.desired, &after.desired), (Desired::Absent { .. }, Desired::Present(_)));
        assert_eq!(after.generation, before.generation + u64::from(revived));
    }
}

fn go_on(model: &mut Model, progress: Progress) {
    match progress {
        Progress::None => {}
        Progress::Begun => {
            model.settle();
        }
        Progress::Lost => {
            model.lose_next = true;
            model.settle();
            model.lose_next = false;
        }
        Progress::Ends(outcome) => {
            model.settle();
            model.finish(outcome);
            model.settle();
        }
        Progress::EndsUnseen(outcome) => {
            model.settle();
            model.finish(outcome);
        }
    }
}

fn holds(model: &Model, key: &EnvironmentKey, expected: &Expected) {
    let Some(record) = model.get(key) else {
        assert!(!expected.present);
        return;
    };
    assert_eq!(matches!(record.desired, Desired::Present(_)), expected.present, "{record:?}");
    if !expected.present {
        return assert_eq!(record.phase, Phase::Destroyed);
    }
    match record.phase {
        Phase::Ready => assert_eq!(record.commit.as_deref(), expected.commit, "{record:?}"),
        Phase::Asleep if record.asleep.as_ref().is_some_and(|asleep| asleep.was == Phase::Ready) => {
            assert_eq!(record.commit.as_deref(), expected.commit, "{record:?}");
        }
        Phase::Asleep => {}
        Phase::Failed | Phase::Queued => {
            let Desired::Present(wanted) = &record.desired else { unreachable!() };
            assert!(wanted.commit.is_none() || wanted.commit.as_deref() == expected.commit, "{record:?}");
        }
        phase => assert_eq!((phase, expected.approved), (Phase::AwaitingApproval, false), "{record:?}"),
    }
    if !expected.approved {
        assert_eq!(record.phase, Phase::AwaitingApproval, "{record:?}");
    }
}

/// Every sequence of `events` and `progress` of this length, and all shorter ones on the way.
fn walk(
    model: &Model,
    key: &EnvironmentKey,
    expected: &Expected,
    events: &[Event],
    progress: &[Progress],
    left: usize,
) -> u64 {
    let mut seen = 0;
    for event in events {
        for progress_now in progress {
            let (mut model, mut expected) = (model.clone(), expected.clone());
            happen(&mut model, key, *event, &mut expected);
            go_on(&mut model, *progress_now);
            if left > 1 {
                seen += walk(&model, key, &expected, events, progress, left - 1);
            } else {
                model.rest();
                holds(&model, key, &expected);
                seen += 1;
            }
        }
    }
    seen
}

#[test]
fn three_events_with_everything_in_between() {
    assert_eq!(walk(&Model::new(), &branch("feature/x"), &Expected::default(), &BRANCH, &PROGRESS, 3), 48 * 48 * 48);
}

#[test]
fn four_events() {
    let key = branch("feature/x");
    assert_eq!(walk(&Model::new(), &key, &Expected::default(), &BRANCH, &BASIC, 4), 18 * 18 * 18 * 18);
}

#[test]
fn three_events_of_a_fork_with_everything_in_between() {
    assert_eq!(walk(&Model::new(), &fork(7), &Expected::default(), &FORK, &PROGRESS, 3), 40 * 40 * 40);
}

#[test]
fn four_events_of_a_fork() {
    assert_eq!(walk(&Model::new(), &fork(7), &Expected::default(), &FORK, &BASIC, 4), 15 * 15 * 15 * 15);
}

/// After it came up once; with and without the manifest's wish that what is idle sleeps.
#[test]
fn three_events_around_sleep_with_everything_in_between() {
    let key = branch("feature/x");
    for by_itself in [false, true] {
        let mut model = Model::new();
        let sleep = by_itself.then_some(landfall_model::app::Sleep { after: 60, hold: 60 });
        model.app.previews.as_mut().unwrap().sleep = sleep;
        let mut expected = Expected::default();
        happen(&mut model, &key, Event::Push("a"), &mut expected);
        model.rest();
        assert_eq!(walk(&model, &key, &expected, &SLEEP, &PROGRESS, 3), 40 * 40 * 40);
    }
}

#[derive(Debug, Clone)]
enum Move {
    Event(usize, usize),
    Progress(Progress),
    /// One of those that run ends.
    EndsOne(usize, Outcome),
    Passes(i64),
    /// Through the load balancer, for all of them.
    Request,
}

fn any_move() -> impl Strategy<Value = Move> {
    let outcome = prop::sample::select(vec![
        Outcome::Succeeded,
        Outcome::Succeeded,
        Outcome::Superseded,
        Outcome::RolledBack,
        Outcome::RollbackFailed,
        Outcome::Failed,
        Outcome::NeedsReplan,
    ]);
    prop_oneof![
        4 => (0usize..5, any::<usize>()).prop_map(|(who, what)| Move::Event(who, what)),
        2 => prop::sample::select(&PROGRESS[..3]).prop_map(Move::Progress),
        4 => (any::<usize>(), outcome).prop_map(|(nth, outcome)| Move::EndsOne(nth, outcome)),
        1 => (0i64..1000).prop_map(Move::Passes),
        1 => Just(Move::Request),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn long_sequences_of_many_environments(
        moves in prop::collection::vec(any_move(), 1..60),
        cap in prop::option::of(1u32..4),
        idle in prop::option::of(5u64..500),
    ) {
        let mut model = Model::new();
        model.cap = cap;
        model.idle = idle.map(|after| (after, model.now));
        model.app.previews.as_mut().unwrap().sleep = idle.map(|after| landfall_model::app::Sleep { after, hold: 60 });
        let keys = [branch("feature/a"), branch("feature/b"), branch("feature/c"), branch("feature/B_c"), fork(7)];
        let mut expected = vec![Expected::default(); keys.len()];
        for one in &moves {
            match one {
                Move::Event(who, what) => {
                    let events: &[Event] = match *who {
                        4 => &FORK,
                        3 => &SLEEP,
                        _ => &BRANCH,
                    };
                    happen(&mut model, &keys[*who], events[what % events.len()], &mut expected[*who]);
                }
                Move::Progress(progress) => go_on(&mut model, *progress),
                Move::EndsOne(nth, outcome) => {
                    model.settle();
                    model.finish_one(*nth, *outcome);
                }
                Move::Passes(seconds) => model.pass(*seconds),
                Move::Request => model.request(),
            }
        }
        model.rest();
        let waiting = model.records.values().any(|record| record.phase == Phase::Queued);
        let held = model.records.values().filter(|record| holds_place(record)).count();
        prop_assert!(!waiting || cap.is_some_and(|cap| held == cap as usize), "a place is free, and somebody waits");
        for (key, expected) in keys.iter().zip(&expected) {
            holds(&model, key, expected);
        }
    }
}

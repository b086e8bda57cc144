//! One case each of what a run must do, by the words that people see.

use jiff::SignedDuration;
use landfall_model::Timestamp;
use landfall_model::notice::{Reader, Sent};
use landfall_model::pipeline::{
    Approval, OnDeadline, OnFailure, Pipeline, PipelineRelease, Requires, Stage, Trigger, Work,
};
use serde_json::json;

use crate::{
    Action, Context, Event, Input, Next, Outcome, Peer, Record, Report, Run, RunState, Shown, Signal, StageState,
    Surveyed, Via, asked_by,
};

mod pauses;

struct Rig {
    run: Run,
    records: Vec<Record>,
    now: Timestamp,
    peers: Vec<Peer>,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pipeline(on_failure: OnFailure) -> Pipeline {
    let stage = |environment: &str, approval| Stage {
        environment: environment.to_owned(),
        requires: Requires { bake: if environment == "prod" { 600 } else { 0 }, ..Requires::default() },
        approval,
        run: vec![Work::Deploy {}, Work::Verify {}],
        on_failure,
    };
    let approval = Approval {
        by: vec!["anna".into(), "ben".into(), "carl".into()],
        count: 2,
        deadline: Some(3_600),
        on_deadline: OnDeadline::Reject,
        self_approval: false,
        notify: vec!["team".into()],
    };
    Pipeline {
        name: "main".into(),
        on: Trigger::default(),
        stages: vec![stage("dev", None), stage("prod", Some(approval))],
    }
}

fn release() -> PipelineRelease {
    let image = format!("r/app@sha256:{}", "a".repeat(64));
    PipelineRelease {
        commit: Some("1a2b3c4d5e".into()),
        images: [("web".to_owned(), [("app".to_owned(), image)].into())].into(),
        ..PipelineRelease::default()
    }
}

fn shown(version: u64) -> Shown {
    Shown {
        environment: "prod".into(),
        state: [("web".to_owned(), version.to_string())].into(),
        changes: vec!["web: cpu 256 → 512".into()],
        look_at: Some("http://dev.example/".into()),
        ..Shown::default()
    }
}

impl Rig {
    fn new(on_failure: OnFailure) -> Self {
        let created = Event::Created {
            pipeline: pipeline(on_failure),
            release: release(),
            by: "cli:carl".into(),
            trigger: "asked".into(),
        };
        let records = vec![Record { at: at(0), event: created }];
        let run = Run::fold(&"run_1".into(), 1, &records).unwrap();
        Self { run, records, now: at(0), peers: Vec::new() }
    }

    fn cx(&self) -> Context<'_> {
        Context::new(self.now, &self.peers, None)
    }

    fn input(&mut self, input: Input) -> Option<Result<String, String>> {
        let out = self.run.handle(self.cx(), input).unwrap();
        for event in out.append {
            let record = Record { at: self.now, event };
            self.run.apply(&record).unwrap();
            self.records.push(record);
        }
        out.answer.map(|answer| answer.map_err(|refused| refused.to_string()))
    }

    fn next(&self) -> Next {
        self.run.next(&self.cx())
    }

    fn done(&mut self) {
        self.input(Input::Began);
        self.input(Input::Reported(Report::Done { output: Default::default() }));
    }

    /// Passed dev, baked, asked.
    fn asked(on_failure: OnFailure) -> Self {
        let mut rig = Self::new(on_failure);
        rig.input(Input::Resolved(Ok(Ok(release()))));
        rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: None }));
        rig.input(Input::Entered(Ok((Shown::default(), None))));
        rig.done();
        rig.done();
        rig.now = at(601);
        rig.input(Input::Look);
        rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: Some(shown(1)) }));
        assert_eq!(rig.run.view().state, RunState::AwaitingApproval, "{:#?}", rig.run.view());
        rig
    }

    fn vote(&mut self, by: &str, nonce: Option<&str>) -> Result<String, String> {
        let fingerprint = shown(1).fingerprint();
        let nonce = nonce.map(str::to_owned);
        let signal = Signal::Approve { by: by.into(), via: Via::Link, fingerprint, comment: None, nonce };
        self.input(Input::Signal(signal)).unwrap()
    }

    fn message(&self) -> String {
        self.run.view().message
    }
}

#[test]
fn a_run_goes_from_stage_to_stage() {
    let mut rig = Rig::new(OnFailure::Stop);
    assert_eq!(rig.next(), Next::Do(Action::Resolve));
    rig.input(Input::Resolved(Ok(Err("r/app:1a2b3c4 is not there yet".into()))));
    assert_eq!(
        (rig.run.view().state, rig.message().as_str()),
        (RunState::Queued, "waits for its images: r/app:1a2b3c4 is not there yet")
    );
    rig.input(Input::Resolved(Ok(Ok(release()))));
    assert_eq!(rig.next(), Next::Do(Action::Survey { stage: 0 }));
    rig.input(Input::Surveyed(Surveyed { closed: vec!["dev was locked by ben".into()], shown: None }));
    assert_eq!(rig.message(), "before dev: dev was locked by ben");
    assert_eq!(rig.run.holds(), None);
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: None }));
    assert_eq!((rig.next(), rig.run.holds()), (Next::Do(Action::Enter { stage: 0 }), Some("dev")));
    rig.input(Input::Entered(Ok((Shown::default(), None))));
    assert_eq!(rig.next(), Next::Do(Action::Begin));
    rig.input(Input::Began);
    let Next::Do(Action::Work(call)) = rig.next() else { panic!("{:?}", rig.next()) };
    assert_eq!((call.key.as_str(), call.work), ("run_1/dev/0/1", Some(Work::Deploy {})));
    let pending = Report::Pending { token: "t".into(), after_ms: 1_000, note: Some("2 of 3 tasks".into()) };
    rig.input(Input::Reported(pending.clone()));
    assert_eq!((rig.next(), rig.message().as_str()), (Next::Wait(Some(at(1))), "dev: deploy: 2 of 3 tasks"));
    let before = rig.records.len();
    rig.input(Input::Reported(pending));
    assert_eq!(rig.records.len(), before, "the same answer is no news");
    rig.input(Input::Reported(Report::Done { output: Default::default() }));
    rig.done();
    assert_eq!(rig.run.view().stages[0].state, StageState::Passed);
    assert_eq!((rig.run.holds(), rig.next()), (None, Next::Wait(Some(at(600)))));
    assert_eq!(rig.message(), "before prod: bakes until 1970-01-01T00:10:00Z");
    let again = Run::fold(rig.run.id(), 1, &rig.records).unwrap();
    assert_eq!(again, rig.run);
}

#[test]
fn approvals_are_counted_and_everything_else_is_refused_with_its_reason() {
    let mut rig = Rig::asked(OnFailure::Stop);
    assert_eq!(
        rig.vote("cli:mallory", None).unwrap_err(),
        "cli:mallory is not among those who decide about prod: anna, ben, carl"
    );
    assert_eq!(
        rig.vote("github:Carl", None).unwrap_err(),
        "github:Carl has begun this run, and nobody approves their own here"
    );
    assert_eq!(rig.vote("cli:anna", Some("n1")).unwrap(), "approved by cli:anna; one more is needed for prod");
    assert_eq!(rig.vote("link:ANNA", None).unwrap_err(), "link:ANNA has approved prod already");
    assert_eq!(rig.vote("cli:ben", Some("n1")).unwrap_err(), "this link was used already");
    let stale = Signal::Approve {
        by: "cli:ben".into(),
        via: Via::Command,
        fingerprint: shown(2).fingerprint(),
        comment: None,
        nonce: None,
    };
    let answer = rig.input(Input::Signal(stale)).unwrap().unwrap_err();
    assert_eq!(answer, "what you were shown of prod is no longer so: look again before you decide");
    assert_eq!(rig.run.view().state, RunState::AwaitingApproval);
    assert_eq!(rig.vote("cli:ben", None).unwrap(), "approved: prod is next");
    assert_eq!(rig.vote("cli:ben", None).unwrap_err(), "cli:ben has approved prod already");
    assert_eq!(rig.run.holds(), None, "no lock while people think");
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: Some(shown(1)) }));
    rig.input(Input::Entered(Ok((shown(1), Some("exe_1".into())))));
    assert!(rig.vote("cli:ben", None).unwrap_err().starts_with("too late: prod was approved and has begun"));
    rig.done();
    rig.done();
    assert_eq!((rig.run.outcome(), rig.message().as_str()), (Some(Outcome::Passed), "passed: 1a2b3c4 is in prod"));
    assert!(rig.vote("cli:ben", None).unwrap_err().starts_with("too late: it has finished"));
}

#[test]
fn a_target_that_changed_makes_approvals_void_and_people_are_asked_anew() {
    let mut rig = Rig::asked(OnFailure::Stop);
    rig.vote("cli:anna", None).unwrap();
    rig.vote("cli:ben", None).unwrap();
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: Some(shown(1)) }));
    assert_eq!(rig.run.holds(), Some("prod"));
    // Changed between the last look and the lock.
    let out = rig.run.handle(rig.cx(), Input::Entered(Ok((shown(2), None)))).unwrap();
    let words: Vec<&str> = out.notices.iter().map(|notice| notice.text.as_str()).collect();
    assert_eq!(
        words,
        [
            "main #1: approvals for prod are void: what runs of web in prod is no longer what was shown",
            "main #1 asks for approval again: 1a2b3c4 to prod"
        ]
    );
    rig.input(Input::Entered(Ok((shown(2), None))));
    assert_eq!((rig.run.holds(), rig.run.view().state), (None, RunState::AwaitingApproval));
    assert!(rig.vote("cli:anna", None).unwrap_err().contains("is no longer so"));
    let asked = rig.run.view().stages[1].approval.clone().unwrap().asked.unwrap();
    assert_eq!((asked.round, asked.missing, asked.votes.len()), (2, 2, 0));
}

#[test]
fn whoever_is_asked_is_told_what_there_is_to_know() {
    let mut rig = Rig::new(OnFailure::Stop);
    rig.input(Input::Resolved(Ok(Ok(release()))));
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: None }));
    rig.input(Input::Entered(Ok((Shown::default(), None))));
    rig.done();
    rig.done();
    rig.now = at(601);
    let out =
        rig.run.handle(rig.cx(), Input::Surveyed(Surveyed { closed: Vec::new(), shown: Some(shown(1)) })).unwrap();
    let notice = &out.notices[0];
    assert_eq!(notice.text, "main #1 asks for approval: 1a2b3c4 to prod");
    assert_eq!(
        (notice.to.as_slice(), notice.approvers.as_slice()),
        (&["team".to_owned()][..], &["anna".to_owned(), "ben".to_owned()][..])
    );
    assert_eq!(
        notice.details.as_deref().unwrap(),
        "release     1a2b3c4d5e\nbegun by    cli:carl\nlook at     http://dev.example/\n\
         instead of  nothing: it was never deployed\nneeds       2 of anna, ben, carl\n\
         by          1970-01-01T01:10:01Z\n\nweb: cpu 256 → 512"
    );
}

/// Once for each notification, and only of what is asked now.
#[test]
fn to_whom_a_question_went_is_kept_with_it() {
    let mut rig = Rig::asked(OnFailure::Stop);
    let sent = |error: Option<&str>, confirmed: bool| {
        let readers = vec![Reader { who: "anna@example.com".to_owned(), confirmed }];
        let readers = error.is_none().then_some(readers);
        Sent { to: "team".to_owned(), error: error.map(str::to_owned), readers }
    };
    let kept = |rig: &Rig| rig.run.view().stages[1].approval.clone().unwrap().asked.unwrap().sent;
    let before = rig.records.len();
    for (round, told) in
        [(1, sent(Some("answered 500"), false)), (1, sent(Some("answered 502"), false)), (2, sent(None, true))]
    {
        rig.input(Input::Sent { stage: 1, round, sent: told });
    }
    assert_eq!((rig.records.len(), kept(&rig)), (before + 1, vec![sent(Some("answered 500"), false)]));
    for _ in 0..2 {
        rig.input(Input::Sent { stage: 1, round: 1, sent: sent(None, true) });
    }
    assert_eq!((rig.records.len(), kept(&rig)), (before + 2, vec![sent(None, true)]));
    assert_eq!(rig.run.view().timeline.last().unwrap().text, "sent to team: anna@example.com");
    // A question that is asked anew has reached nobody yet.
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: Some(shown(2)) }));
    assert_eq!(kept(&rig), []);
    assert_eq!(Run::fold(rig.run.id(), 1, &rig.records).unwrap(), rig.run);

    assert_eq!(asked_by("run_1/asked/1/2"), Some((rig.run.id().clone(), 1, 2)));
    for other in ["run_1/finished/0", "run_1/void/1/2", "exe_1/7", "run_1/asked/1/2/3"] {
        assert_eq!(asked_by(other), None);
    }
}

#[test]
fn a_deadline_ends_a_run_that_nobody_answers() {
    let mut rig = Rig::asked(OnFailure::Stop);
    rig.vote("cli:anna", None).unwrap();
    assert_eq!(rig.run.next(&Context::new(rig.now, &[], Some(at(4_200)))), Next::Wait(Some(at(4_201))));
    rig.now = at(4_201);
    rig.input(Input::Look);
    assert_eq!(rig.run.outcome(), Some(Outcome::Rejected));
    assert_eq!(rig.message(), "rejected: by 1970-01-01T01:10:01Z 1 of 2 had approved prod");
}

#[test]
fn a_newer_run_takes_the_place_of_one_that_waits_and_not_of_one_that_works() {
    let mut rig = Rig::asked(OnFailure::Stop);
    let newer = |reached: &[&str]| Peer {
        id: "run_2".into(),
        pipeline: "main".into(),
        seq: 2,
        reached: reached.iter().map(|name| (*name).to_owned()).collect(),
        holds: None,
    };
    rig.peers = vec![newer(&["dev"])];
    rig.input(Input::Look);
    assert_eq!(rig.run.outcome(), None, "it has not got as far");
    let mut working = rig.run.clone();
    rig.peers = vec![newer(&["dev", "prod"])];
    rig.input(Input::Look);
    assert_eq!(
        (rig.run.outcome(), rig.message().as_str()),
        (Some(Outcome::Superseded), "superseded: main #2 has got as far")
    );
    assert!(rig.vote("cli:anna", None).unwrap_err().contains("superseded"));
    for event in [Event::Entering { stage: 1 }, Event::Entered { stage: 1, shown: shown(1), before: None }] {
        working.apply(&Record { at: rig.now, event }).unwrap();
    }
    let out = working.handle(rig.cx(), Input::Look).unwrap();
    assert_eq!(out.append, []);
}

#[test]
fn a_stage_that_is_held_is_waited_for() {
    let mut rig = Rig::asked(OnFailure::Stop);
    let mut peer = Peer::of(&rig.run);
    (peer.id, peer.pipeline, peer.holds) = ("run_9".into(), "hotfix".into(), Some("prod".into()));
    rig.peers = vec![peer];
    rig.vote("cli:anna", None).unwrap();
    rig.vote("cli:ben", None).unwrap();
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: Some(shown(1)) }));
    assert_eq!((rig.run.holds(), rig.message().as_str()), (None, "before prod: hotfix #1 is in prod"));
}

fn failed_verification(on_failure: OnFailure, before: Option<String>) -> Rig {
    let mut rig = Rig::asked(on_failure);
    rig.vote("cli:anna", None).unwrap();
    rig.vote("cli:ben", None).unwrap();
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: Some(shown(1)) }));
    rig.input(Input::Entered(Ok((shown(1), before))));
    rig.done();
    rig.input(Input::Began);
    rig.input(Input::Reported(Report::Failed { message: "home answers 500".into(), undone: false }));
    rig
}

#[test]
fn a_failed_verification_stops_or_rolls_back_as_the_stage_says() {
    let rig = failed_verification(OnFailure::Stop, Some("exe_0".into()));
    assert_eq!(
        (rig.run.outcome(), rig.message().as_str()),
        (Some(Outcome::Failed), "prod: verify failed: home answers 500")
    );
    let mut rig = failed_verification(OnFailure::Rollback, Some("exe_0".into()));
    let Next::Do(Action::Rollback(call)) = rig.next() else { panic!("{:?}", rig.next()) };
    assert_eq!((call.to.as_deref(), rig.run.holds()), (Some("exe_0"), Some("prod")));
    rig.input(Input::Reported(Report::Done { output: Default::default() }));
    assert_eq!(
        (rig.run.outcome(), rig.message().as_str()),
        (Some(Outcome::RolledBack), "prod: verify failed: home answers 500; prod is rolled back")
    );
    let rig = failed_verification(OnFailure::Rollback, None);
    assert_eq!(rig.run.outcome(), Some(Outcome::Failed));
    assert!(rig.message().ends_with("there was no release before to go back to"), "{}", rig.message());
}

#[test]
fn a_failed_run_is_retried_and_asks_again() {
    let mut rig = failed_verification(OnFailure::Stop, None);
    assert_eq!(rig.input(Input::Signal(Signal::Retry { by: "cli:carl".into() })), Some(Ok("prod again".into())));
    assert_eq!(rig.run.outcome(), None);
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: Some(shown(3)) }));
    let asked = rig.run.view().stages[1].approval.clone().unwrap().asked.unwrap();
    assert_eq!((asked.round, asked.votes.len()), (2, 0), "who approved then has not seen this");
    let signal = Signal::Reject {
        by: "cli:anna".into(),
        via: Via::Page,
        fingerprint: shown(3).fingerprint(),
        comment: Some("not today".into()),
        nonce: None,
    };
    rig.input(Input::Signal(signal));
    assert_eq!(
        (rig.run.outcome(), rig.message().as_str()),
        (Some(Outcome::Rejected), "rejected by cli:anna before prod: not today")
    );
    let again = rig.input(Input::Signal(Signal::Retry { by: "cli:carl".into() }));
    assert_eq!(again, Some(Err("somebody said no: begin a new run instead".into())));
}

#[test]
fn a_release_without_a_digest_goes_nowhere() {
    let mut rig = Rig::new(OnFailure::Stop);
    let mut moving = release();
    moving.images.get_mut("web").unwrap().insert("proxy".into(), "nginx:latest".into());
    rig.input(Input::Resolved(Ok(Ok(moving))));
    assert_eq!(rig.run.outcome(), Some(Outcome::Failed));
    assert_eq!(
        rig.message(),
        "the release has no digest of web/proxy: nothing is deployed that is not known by digest"
    );
    assert_eq!(rig.run.reached(), Vec::<String>::new());
}

#[test]
fn a_cancelled_run_stops_what_is_under_way() {
    let mut rig = Rig::new(OnFailure::Rollback);
    rig.input(Input::Resolved(Ok(Ok(release()))));
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: None }));
    rig.input(Input::Entered(Ok((Shown::default(), None))));
    rig.input(Input::Began);
    let cancel = Signal::Cancel { by: "cli:ben".into(), comment: None };
    assert!(rig.input(Input::Signal(cancel.clone())).unwrap().is_ok());
    let Next::Do(Action::Work(call)) = rig.next() else { panic!("{:?}", rig.next()) };
    assert!(call.stop);
    assert_eq!(rig.input(Input::Signal(cancel)), Some(Err("its end was asked for already".into())));
    rig.input(Input::Reported(Report::Failed { message: "aborted".into(), undone: true }));
    assert_eq!(
        (rig.run.outcome(), rig.message().as_str()),
        (Some(Outcome::Cancelled), "cancelled by cli:ben in dev: aborted")
    );
}

#[test]
fn a_record_of_a_newer_version_stops_everything_and_is_kept() {
    let mut rig = Rig::asked(OnFailure::Stop);
    let newer: Record =
        serde_json::from_str(r#"{"at": "2026-01-01T00:00:00Z", "event": {"type": "something_new", "x": 1}}"#).unwrap();
    assert_eq!(newer.event, Event::Unknown);
    rig.run.apply(&newer).unwrap();
    assert_eq!(rig.next(), Next::Rest);
    assert!(rig.vote("cli:anna", None).unwrap_err().contains("newer version"));
}

/// What a look from outside does not show stands in the way once the lock is taken.
#[test]
fn a_stage_that_cannot_be_entered_is_tried_less_and_less_often_and_said_once() {
    let mut rig = Rig::new(OnFailure::Stop);
    rig.input(Input::Resolved(Ok(Ok(release()))));
    for (turn, pause) in [3, 6, 12, 24, 48, 96, 192, 384, 384].into_iter().enumerate() {
        assert_eq!(rig.next(), Next::Do(Action::Survey { stage: 0 }), "turn {turn}");
        rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: None }));
        rig.input(Input::Entered(Err(vec!["a deployment is under way".into()])));
        let until = at(rig.now.as_second() + pause);
        assert_eq!(rig.next(), Next::Wait(Some(until)), "turn {turn}");
        rig.now = until;
    }
    let said = rig.run.view().timeline.into_iter().filter(|moment| moment.text.contains("under way")).count();
    assert_eq!((said, rig.message().as_str()), (1, "before dev: a deployment is under way"));
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: None }));
    rig.input(Input::Entered(Ok((Shown::default(), None))));
    assert_eq!(rig.next(), Next::Do(Action::Begin));
}

/// Told at once, and then looked at no oftener than before.
#[test]
fn a_run_that_is_cancelled_waits_for_its_work_as_before() {
    let mut rig = Rig::new(OnFailure::Stop);
    rig.input(Input::Resolved(Ok(Ok(release()))));
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: None }));
    rig.input(Input::Entered(Ok((Shown::default(), None))));
    rig.input(Input::Began);
    let pending = || Input::Reported(Report::Pending { token: json!({"execution": "e"}), after_ms: 500, note: None });
    rig.input(pending());
    assert!(matches!(rig.next(), Next::Wait(Some(_))));
    let cancel = Signal::Cancel { by: "cli:carl".into(), comment: None };
    rig.input(Input::Signal(cancel)).unwrap().unwrap();
    assert!(matches!(rig.next(), Next::Do(Action::Work(call)) if call.stop));
    rig.input(pending());
    let looked = Context::new(rig.now, &rig.peers, Some(rig.now));
    assert_eq!(rig.run.next(&looked), Next::Wait(Some(rig.now + SignedDuration::from_millis(500))));
}

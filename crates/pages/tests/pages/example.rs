//! Runs to look at.

use std::collections::BTreeMap;

use landfall_model::Timestamp;
use landfall_model::notice::{Reader, Sent};
use landfall_model::pipeline::{OnDeadline, PipelineRelease};
use landfall_pages::{Refused, RunPage, Viewer};
use landfall_pipeline::{
    ApprovalView, AskedView, Moment, Outcome, RunState, RunView, Shown, StageState, StageView, WorkState, WorkView,
};

const BEGUN: i64 = 1_795_300_000;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(BEGUN + seconds).unwrap()
}

pub(crate) fn viewer(name: &str) -> Viewer {
    Viewer { name: name.to_owned(), link: None, csrf: "c5rf".to_owned() }
}

pub(crate) fn page(run: &RunView, viewer: &Viewer) -> String {
    RunPage { project: "shop", run, path: "/pipelines/runs/run_1", viewer, now: at(5_400) }.html()
}

fn work(title: &str, from: i64, to: i64) -> WorkView {
    WorkView {
        title: title.to_owned(),
        state: WorkState::Done,
        started_at: Some(at(from)),
        finished_at: Some(at(to)),
        note: None,
        output: BTreeMap::new(),
    }
}

fn stage(name: &str, from: i64, to: i64) -> StageView {
    StageView {
        environment: name.to_owned(),
        state: StageState::Passed,
        why: None,
        url: Some(format!("https://{name}.shop.example.com/")),
        reached_at: Some(at(from)),
        entered_at: Some(at(from + 2)),
        finished_at: Some(at(to)),
        bake: 0,
        approval: None,
        shown: None,
        work: vec![
            work("task web: bin/migrate up", from + 2, from + 20),
            work("deploy", from + 20, to - 5),
            work("verify", to - 5, to),
        ],
    }
}

fn images() -> BTreeMap<String, BTreeMap<String, String>> {
    let image = |name: &str, digit: &str| {
        format!("123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop-{name}@sha256:{}", digit.repeat(64))
    };
    let web = BTreeMap::from([("app".to_owned(), image("app", "a")), ("nginx".to_owned(), image("nginx", "b"))]);
    BTreeMap::from([("web".to_owned(), web)])
}

fn reader(who: &str, confirmed: bool) -> Reader {
    Reader { who: who.to_owned(), confirmed }
}

/// dev and staging have passed, and prod waits for people.
pub(crate) fn run() -> RunView {
    let shown = Shown {
        environment: "prod".to_owned(),
        changes: vec![
            "web/app image".to_owned(),
            "- …/shop-app@sha256:9999999999999999999999999999999999999999999999999999999999999999".to_owned(),
            "+ …/shop-app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
            "web cpu".to_owned(),
            "- 256".to_owned(),
            "+ 512".to_owned(),
        ],
        from: Some("7f3e2d1 of main, deployed on 19 Nov by anna".to_owned()),
        look_at: Some("https://staging.shop.example.com/".to_owned()),
        ..Shown::default()
    };
    let asked = AskedView {
        round: 1,
        at: at(900),
        deadline: Some(at(900 + 2 * 86_400)),
        fingerprint: "sha256:shown".to_owned(),
        shown,
        votes: Vec::new(),
        missing: 1,
        sent: vec![
            Sent { to: "team".to_owned(), error: None, readers: None },
            Sent { to: "mail".to_owned(), error: None, readers: Some(vec![reader("ben@example.com", false)]) },
        ],
    };
    let prod = StageView {
        state: StageState::AwaitingApproval,
        url: None,
        reached_at: Some(at(900)),
        entered_at: None,
        finished_at: None,
        approval: Some(ApprovalView {
            by: vec!["anna".to_owned(), "ben".to_owned(), "carl".to_owned()],
            count: 1,
            self_approval: false,
            on_deadline: OnDeadline::Reject,
            asked: Some(asked),
        }),
        ..stage("prod", 900, 1_000)
    };
    let moment =
        |seconds: i64, stage: Option<usize>, text: &str| Moment { at: at(seconds), stage, text: text.to_owned() };
    RunView {
        id: "run_1".into(),
        pipeline: "release".to_owned(),
        number: 12,
        title: "release #12".to_owned(),
        state: RunState::AwaitingApproval,
        message: "prod waits for approval, 0 of 1".to_owned(),
        outcome: None,
        release: PipelineRelease {
            id: None,
            commit: Some("1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d".to_owned()),
            branch: Some("main".to_owned()),
            images: images(),
        },
        by: "github:carl".to_owned(),
        trigger: "push to main".to_owned(),
        created_at: at(0),
        finished_at: None,
        stages: vec![stage("dev", 60, 250), stage("staging", 300, 880), prod],
        timeline: vec![
            moment(0, None, "begun by a push to main"),
            moment(60, None, "every image is known by digest"),
            moment(62, Some(0), "entered"),
            moment(250, Some(0), "passed"),
            moment(302, Some(1), "entered"),
            moment(880, Some(1), "passed"),
            moment(900, Some(2), "approval asked for"),
        ],
        version: 20,
    }
}

/// What a person may come to see, by name.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    let anna = viewer("anna");
    let mut passed = run();
    passed.state = RunState::Passed;
    passed.outcome = Some(Outcome::Passed);
    passed.message = "in dev, staging and prod".to_owned();
    passed.finished_at = Some(at(4_000));
    passed.stages[2] = stage("prod", 900, 4_000);
    let mut failed = run();
    failed.state = RunState::Failed;
    failed.outcome = Some(Outcome::Failed);
    failed.message = "staging: deploy: tasks of web stopped: exit code 1 of app: cannot reach the database".to_owned();
    failed.finished_at = Some(at(700));
    failed.stages[1].state = StageState::Failed;
    failed.stages[1].why = Some("tasks of web stopped: exit code 1 of app".to_owned());
    failed.stages[1].work[1].state = WorkState::Failed;
    failed.stages[1].work[1].note =
        Some("tasks of web stopped: exit code 1 of app: cannot reach the database".to_owned());
    failed.stages[1].work[2] =
        WorkView { state: WorkState::Ahead, started_at: None, finished_at: None, ..work("verify", 0, 0) };
    failed.stages[2] = StageView {
        state: StageState::Ahead,
        reached_at: None,
        url: None,
        entered_at: None,
        finished_at: None,
        ..stage("prod", 0, 0)
    };
    let mut running = run();
    running.state = RunState::Running;
    running.message = "staging: deploy: 1 of 2 tasks run".to_owned();
    running.stages[1].state = StageState::Running;
    running.stages[1].finished_at = None;
    running.stages[1].work[1].state = WorkState::Running;
    running.stages[1].work[1].finished_at = None;
    running.stages[1].work[1].note = Some("1 of 2 tasks run".to_owned());
    running.stages[1].work[2].state = WorkState::Ahead;
    running.stages[2] = failed.stages[2].clone();
    let refused = Refused {
        title: "This link has expired".to_owned(),
        message: "this link has expired at 2026-11-24T00:00:00Z".to_owned(),
        hint: Some("`landfall pipeline open RUN` on the server prints a new one.".to_owned()),
        back: None,
    };
    vec![
        ("asks", page(&run(), &anna)),
        ("passed", page(&passed, &anna)),
        ("failed", page(&failed, &anna)),
        ("running", page(&running, &anna)),
        ("refused", refused.html()),
    ]
}

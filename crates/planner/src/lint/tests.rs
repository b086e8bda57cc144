#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use landfall_model::app::{App, Hook, HookAction, HookFailure, HookPoint, Routing};
use landfall_model::environment::{EnvironmentKey, EnvironmentRecord, SourceRef};
use landfall_model::event::{Ask, Intent, PreviewTrigger};
use serde_json::json;

use super::*;
use crate::control::apply;
use crate::fixture;
use crate::plan::{PlanInputs, PlanKind, destroy, preview};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn record(app: &App, source: SourceRef) -> EnvironmentRecord {
    let repository = app.repositories.keys().next().unwrap().clone();
    let ask = Ask::Preview {
        commit: Some(COMMIT.to_owned()),
        pull_request: None,
        fork: false,
        trigger: PreviewTrigger::Requested,
    };
    let intent = Intent {
        id: "d".into(),
        environment: EnvironmentKey { repository, source },
        ask,
        actor: "cli:root".into(),
        event_at: None,
    };
    apply(app, &intent, None, landfall_model::Timestamp::UNIX_EPOCH).record.unwrap()
}

fn inputs() -> PlanInputs {
    PlanInputs {
        instance: "here".into(),
        execution: "exe_1".into(),
        parent: None,
        running: [("app".to_owned(), "definition:1".to_owned())].into(),
        owned: Vec::new(),
    }
}

/// Two services, and at every point a command, an HTTP call and a task.
fn full() -> App {
    let mut app = fixture::app();
    let previews = app.previews.as_mut().unwrap();
    previews.services = vec!["app".to_owned(), "worker".to_owned()];
    for (n, when) in [
        HookPoint::BeforeCreate,
        HookPoint::AfterCreate,
        HookPoint::BeforeUpdate,
        HookPoint::AfterUpdate,
        HookPoint::BeforeDestroy,
        HookPoint::AfterDestroy,
    ]
    .into_iter()
    .enumerate()
    {
        let command = HookAction::Command { argv: vec!["true".to_owned()], directory: None };
        let http = HookAction::Http {
            url: "http://127.0.0.1:1/".to_owned(),
            method: "POST".to_owned(),
            headers: Default::default(),
            secret: None,
            secret_headers: Default::default(),
        };
        let task = HookAction::Task { service: "app".to_owned(), container: None, command: vec!["migrate".to_owned()] };
        for (name, run, rerunnable, on_failure) in [
            ("command", command, false, HookFailure::Fail),
            ("http", http, true, HookFailure::Warn),
            ("task", task, false, HookFailure::Pause),
        ] {
            previews.hooks.push(Hook { name: format!("{name}-{n}"), when, run, timeout: 10, on_failure, rerunnable });
        }
    }
    app
}

/// After an attempt that was superseded.
fn create_again() -> Plan {
    let app = full();
    let mut again = record(&app, SourceRef::Branch("feature/test123".to_owned()));
    again.made_generation = again.generation;
    preview(&app, &again, PlanKind::Create, Some(COMMIT), &inputs()).unwrap().plan
}

fn create() -> Plan {
    let app = full();
    let record = record(&app, SourceRef::Branch("feature/test123".to_owned()));
    preview(&app, &record, PlanKind::Create, Some(COMMIT), &inputs()).unwrap().plan
}

fn update() -> Plan {
    let app = full();
    let record = record(&app, SourceRef::Branch("feature/test123".to_owned()));
    preview(&app, &record, PlanKind::Update, Some(COMMIT), &inputs()).unwrap().plan
}

fn teardown() -> Plan {
    let app = full();
    destroy(&app, &record(&app, SourceRef::Branch("feature/test123".to_owned())), &inputs()).plan
}

#[test]
fn all_shapes_are_clean() {
    let mut apps = vec![fixture::app(), full()];
    let mut ports = full();
    ports.previews.as_mut().unwrap().routing = Routing::Ports { first: 9000, last: 9010 };
    apps.push(ports);
    let mut asleep = full();
    asleep.previews.as_mut().unwrap().desired_count = Some(0);
    apps.push(asleep);
    let mut headless = full();
    headless.previews.as_mut().unwrap().services = vec!["worker".to_owned()];
    headless.previews.as_mut().unwrap().hooks.clear();
    apps.push(headless);
    let sources = ["feature/test123", "feature/A/x y", "..", "ünïcode/\u{1F980}", &"long/".repeat(40)]
        .map(|branch| SourceRef::Branch(branch.to_owned()));
    for app in &apps {
        for source in sources.iter().cloned().chain([SourceRef::ForkPullRequest(7)]) {
            let mut record = record(app, source);
            record.port = Some(9001);
            for made_generation in [0, 1] {
                record.made_generation = made_generation;
                for kind in [PlanKind::Create, PlanKind::Update] {
                    let planned = preview(app, &record, kind, Some(COMMIT), &inputs()).unwrap();
                    assert_eq!(lint(&planned.plan), [], "{}", planned.plan.title);
                    planned.plan.validate().unwrap();
                }
                let planned = destroy(app, &record, &inputs());
                assert_eq!(lint(&planned.plan), [], "{}", planned.plan.title);
            }
        }
    }
    let mut bare = fixture::app();
    let gone = record(&bare, SourceRef::Branch("feature/x".to_owned()));
    bare.previews = None;
    assert_eq!(lint(&destroy(&bare, &gone, &inputs()).plan), []);
}

/// The mutated plan has exactly one kind of fault: every note says `expected`.
fn faulty(mut plan: Plan, change: impl FnOnce(&mut Plan), expected: &str) {
    assert_eq!(lint(&plan), []);
    change(&mut plan);
    let notes = lint(&plan);
    assert!(!notes.is_empty(), "nothing was found; expected: {expected}");
    for note in &notes {
        assert!(note.message.contains(expected), "expected {expected:?}, found {notes:#?}");
        assert_eq!(note.severity, Severity::Error);
    }
}

fn at(plan: &mut Plan, id: &str) -> usize {
    plan.steps.iter().position(|step| step.id.as_str() == id).unwrap_or_else(|| {
        let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
        panic!("no step {id} in {ids:?}")
    })
}

fn step<'a>(plan: &'a mut Plan, id: &str) -> &'a mut Step {
    let index = at(plan, id);
    &mut plan.steps[index]
}

/// Sets the parameter at `path` of a step.
fn set(plan: &mut Plan, id: &str, path: &str, value: Value) {
    let step = step(plan, id);
    let kind = step.kind().to_owned();
    *step.params[kind].pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = value;
}

#[test]
fn references() {
    let td = "/task_definition";
    let output = |text: &str| json!({ "$output": text });
    faulty(create(), |p| set(p, "service.app", td, output("nowhere/image")), "there is no step `nowhere`");
    faulty(create(), |p| set(p, "service.app", td, output("probe")), "not of the form step/field");
    faulty(create(), |p| set(p, "service.app", td, output("task_definition.app/arn")), "gives no `arn`");
    faulty(create(), |p| set(p, "service.app", td, output("hook.command-1/tail")), "without needing `hook.command-1`");
    faulty(create(), |p| step(p, "route").needs.clear(), "without needing `target_group`");
    // Through others is enough.
    let mut through = create();
    step(&mut through, "probe").needs.retain(|need| need.as_str() == "targets");
    assert_eq!(lint(&through), []);
    faulty(create(), |p| step(p, "route").on_failure = FailurePolicy::Warn, "is passed over");
}

#[test]
fn the_graph() {
    faulty(create(), |p| p.steps.clear(), "no steps");
    faulty(create(), |p| p.max_parallel = 0, "max_parallel is 0");
    faulty(teardown(), |p| p.environment = "".into(), "");
    faulty(create(), |p| p.steps.push(p.steps[0].clone()), "the same id");
    faulty(create(), |p| step(p, "targets").needs.push("nowhere".into()), "`nowhere`, which is not in the plan");
    faulty(create(), |p| step(p, "target_group").needs.push("probe".into()), "in a circle");
    faulty(create(), |p| step(p, "probe").needs.push("probe".into()), "in a circle");
}

#[test]
fn kinds_and_parameters_that_cannot_be_read() {
    for params in [
        json!({"image.bake": {}}),
        json!({"targets.healthy": {"minimum": -1}}),
        json!({}),
        json!(null),
        json!([1]),
        json!({"targets.healthy": {"target_group": "t", "minimum": 1}, "url.probe": {"url": "u"}}),
    ] {
        faulty(create(), |p| step(p, "targets").params = params, "cannot be read");
    }
}

#[test]
fn times_attempts_and_titles() {
    faulty(create(), |p| step(p, "probe").timeout_ms = 0, "timeout_ms is 0");
    faulty(create(), |p| step(p, "probe").retry.attempts = 0, "retry.attempts is 0");
    let mut plan = create();
    plan.title.clear();
    step(&mut plan, "probe").title.clear();
    step(&mut plan, "probe").retry.max_ms = 0;
    step(&mut plan, "probe").idempotency = Idempotency::Unsafe;
    let notes = lint(&plan);
    assert_eq!(notes.len(), 4);
    assert!(notes.iter().all(|note| note.severity == Severity::Warning));
}

#[test]
fn what_is_made_can_be_undone() {
    for id in ["image.app.app", "task_definition.app", "target_group", "route", "service.app", "service.worker"] {
        faulty(create(), |p| step(p, id).undo = false, "has no undo");
        faulty(update(), |p| step(p, id).undo = false, "has no undo");
    }
}

#[test]
fn what_may_not_be_repeated_says_so() {
    faulty(create(), |p| step(p, "hook.command-0").idempotency = Idempotency::Natural, "must be unsafe");
    faulty(create(), |p| step(p, "hook.task-0").idempotency = Idempotency::Natural, "token or unsafe");
    faulty(teardown(), |p| step(p, "hook.command-4").idempotency = Idempotency::LookUpFirst, "must be unsafe");
}

#[test]
fn tags() {
    let made = ["image.app.app", "task_definition.app", "target_group", "route", "service.app", "hook.task-0"];
    for id in made {
        for tag in ["landfall", "landfall.instance", "landfall.generation", "landfall.execution"] {
            let without = |p: &mut Plan| {
                let step = step(p, id);
                let kind = step.kind().to_owned();
                step.params[kind]["tags"].as_object_mut().unwrap().remove(tag);
            };
            faulty(create(), without, "is missing");
            faulty(create(), |p| set(p, id, &format!("/tags/{tag}"), json!("")), "is missing");
        }
        faulty(create(), |p| set(p, id, "/tags/landfall", json!("another")), "`another`, and the plan's is");
        faulty(create(), |p| set(p, id, "/tags/landfall.generation", json!("0")), "`0`, and the plan's is");
    }
}

#[test]
fn names() {
    let long = "a".repeat(256);
    for (name, expected) in [
        ("", "0 characters"),
        (&long[..33], "33 characters"),
        ("under_score", "illegal"),
        ("Upper", "illegal"),
        ("-a", "hyphen"),
    ] {
        faulty(create(), |p| set(p, "target_group", "/name", json!(name)), expected);
    }
    for (name, expected) in [(&long[..], "256 characters"), ("a/b", "illegal"), ("", "0 characters"), ("a-", "hyphen")]
    {
        faulty(create(), |p| set(p, "service.app", "/name", json!(name)), expected);
        faulty(create(), |p| set(p, "task_definition.app", "/family", json!(name)), expected);
    }
    let host = |label: &str| format!("{label}.my-project.localhost");
    let deep = "a.".repeat(127) + "a";
    for (host, expected) in [
        (host(&long[..64]), "64 characters"),
        (host(""), "0 characters"),
        (host("a_b"), "illegal"),
        (host("A"), "illegal"),
        (host("a-"), "hyphen"),
        (deep, "255 characters"),
    ] {
        faulty(create(), |p| set(p, "route", "/route/host/host", json!(host)), expected);
    }
    let mut domain = create();
    set(&mut domain, "route", "/route/host/host", json!("test123.Team_A.example"));
    assert_eq!(lint(&domain), []);
    let stop = teardown().steps.iter().find(|s| s.kind() == "service.stop").unwrap().id.clone();
    faulty(teardown(), |p| set(p, stop.as_str(), "/name", json!("")), "no name");
    faulty(teardown(), |p| set(p, "target_group", "/name", json!("")), "no name");
}

#[test]
fn ports() {
    faulty(create(), |p| set(p, "target_group", "/port", json!(0)), "a port is 0");
    faulty(create(), |p| set(p, "target_group", "/health_check/port", json!(0)), "a port is 0");
    faulty(create(), |p| set(p, "route", "/route/host/port", json!(0)), "a port is 0");
    faulty(create(), |p| set(p, "route", "/route", json!({"port": {"port": 0}})), "a port is 0");
    faulty(create(), |p| set(p, "service.app", "/target/port", json!(0)), "a port is 0");
    faulty(
        create(),
        |p| set(p, "task_definition.app", "/containers/1/settings/ports", json!([8080, 0])),
        "a port is 0",
    );
    faulty(create(), |p| set(p, "task_definition.app", "/containers", json!([])), "no container");
}

#[test]
fn only_its_own_environment_is_deleted() {
    for id in ["route", "target_group", "sweep", "verify"] {
        faulty(teardown(), |p| set(p, id, "/environment", json!("another")), "belongs to `another`");
    }
}

#[test]
fn a_destroy_looks_at_the_end() {
    faulty(teardown(), |p| p.steps.retain(|s| s.id.as_str() != "verify"), "this has 0");
    let twice = |p: &mut Plan| {
        let mut again = step(p, "verify").clone();
        again.id = "again".into();
        p.steps.push(again);
    };
    faulty(teardown(), twice, "this has 2");
    let after = |p: &mut Plan| {
        let mut late = step(p, "sweep").clone();
        (late.id, late.needs) = ("late".into(), vec!["verify".into()]);
        p.steps.push(late);
    };
    faulty(teardown(), after, "`verify` does not wait for it");
    faulty(teardown(), |p| step(p, "verify").needs.clear(), "`verify` does not wait for it");
    faulty(teardown(), |p| step(p, "verify").on_failure = FailurePolicy::Warn, "passed over");
}

#[test]
fn a_route_is_asked() {
    let without = |p: &mut Plan| {
        p.steps.retain(|s| s.id.as_str() != "probe");
        p.steps.iter_mut().for_each(|s| s.needs.retain(|need| need.as_str() != "probe"));
    };
    faulty(create(), without, "no url.probe");
    faulty(update(), without, "no url.probe");
    faulty(create(), |p| set(p, "probe", "/url", json!("http://elsewhere/")), "no url.probe");
}

#[test]
fn a_sweep_keeps_what_its_plan_made() {
    faulty(update(), |p| set(p, "unused", "/keep", json!([])), "it would delete what `");
    faulty(create_again(), |p| set(p, "unused", "/keep", json!([])), "it would delete what `");
}

#[test]
fn an_undo_that_sweeps_stands_for_those_of_all_after_it() {
    for id in ["image.app.app", "task_definition.app", "target_group", "route", "service.app"] {
        assert!(!create_again().step(&id.into()).unwrap().undo);
    }
    faulty(create_again(), |p| step(p, "leftovers").undo = false, "has no undo");
    faulty(create_again(), |p| set(p, "leftovers", "/undo_kinds", json!(["service"])), "has no undo");
    faulty(create_again(), |p| step(p, "target_group").needs.clear(), "has no undo");
}

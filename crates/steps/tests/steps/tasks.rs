//! Hooks and one-off tasks: what cannot be told apart after a crash, and what is judged.

use std::collections::BTreeMap;

use landfall_model::app::HookAction;
use landfall_model::step::*;
use landfall_ports::steps::{Progress, StepExecutor};
use landfall_steps::Steps;
use landfall_workflow::codes;
use landfall_workflow::event::ErrorClass;
use serde_json::{Value, json};

use crate::handlers::{At, MAKER, NEXT, at, params, running, start, undo};
use crate::world::{FIRST, Place, SECOND, app, context, finish, full, now};

fn hook(rerunnable: bool) -> Value {
    params(StepParams::RunHook(RunHook {
        name: "h".to_owned(),
        action: HookAction::Command { argv: vec!["true".to_owned()], directory: None },
        environment: BTreeMap::new(),
        timeout: 10,
        rerunnable,
    }))
}

#[test]
fn a_hook_lost_with_its_process_waits_for_a_person_unless_it_may_run_again() {
    let place = Place::new(app());
    let once = At { cx: context(MAKER, "e", "hook.once"), params: hook(false) };
    let again = At { cx: context(MAKER, "e", "hook.again"), params: hook(true) };
    start(&place, &once).unwrap();
    start(&place, &again).unwrap();
    place.fake.restart();
    let error = now(place.steps().poll(&once.cx, &once.params, &Value::Null)).unwrap_err();
    assert_eq!(error.code, codes::RESULT_UNKNOWN);
    assert!(error.message.contains("hook h") && error.message.contains("retry"), "{error:?}");
    assert!(now(place.steps().poll(&again.cx, &again.params, &Value::Null)).is_ok());
    let runs = |key: &str| place.fake.hook_runs().iter().filter(|(_, k)| k.contains(key)).count();
    assert_eq!((runs("hook.once"), runs("hook.again")), (1, 2));
}

#[test]
fn a_hook_that_fails_shows_its_code_and_last_lines() {
    let place = Place::new(app());
    place.fake.behave(|b| {
        b.failing_hooks.insert("h".to_owned());
    });
    let error = finish(&place.steps(), &context(MAKER, "e", "hook.h"), &hook(false)).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Fatal, "LF-HOOK-FAILED"));
    assert_eq!(error.message, "hook h failed (3): exit code 3");
    assert_eq!(error.detail.as_deref(), Some("hook says no"));
}

#[test]
fn a_one_off_task_fails_with_its_reason_and_is_started_once_for_a_key() {
    let place = Place::new(full());
    place.fake.behave(|b| {
        b.failing_commands.insert("migrate".to_owned());
    });
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "hook.migrate");
    start(&place, &step).unwrap();
    start(&place, &step).unwrap();
    assert_eq!(place.fake.task_runs(), 1);
    let error = finish(&place.steps(), &step.cx, &step.params).unwrap_err();
    assert_eq!(error.code, "LF-TASK-FAILED");
    assert!(error.message.ends_with("Essential container in task exited (app, exit code 1)"), "{error:?}");
    assert!(error.message.contains("app ended with exit code 1"), "{error:?}");
    let gone = now(place.steps().poll(&step.cx, &step.params, &json!({"task": "task-none"}))).unwrap_err();
    assert_eq!(gone.code, "LF-TASK-GONE");
}

#[test]
fn polls_come_as_seldom_as_the_platform_asks() {
    let place = Place::new(full());
    place.fake.behave(|b| b.patience = 3);
    let slow = |min_poll_ms| Steps::new(landfall_ports::Platform { min_poll_ms, ..place.fake.platform() });
    let after = |progress| match progress {
        Ok(Progress::Pending { poll_after_ms, token, .. }) => (poll_after_ms, token),
        other => panic!("{other:?}"),
    };
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "hook.migrate");
    let (wait, token) = after(now(slow(1_000).start(&step.cx, &step.params)));
    assert_eq!(wait, 1_000);
    assert_eq!(after(now(slow(1_000).poll(&step.cx, &step.params, &token))).0, 1_000);
    assert!(after(now(slow(0).poll(&step.cx, &step.params, &token))).0 < 1_000, "the step's own pace");
    assert!(after(now(slow(1).poll(&step.cx, &step.params, &token))).0 > 1, "the step's own pace");

    // Nothing is waited for before an update; its undo waits for what it puts back.
    let place = running();
    let slow = Steps::new(landfall_ports::Platform { min_poll_ms: 1_000, ..place.fake.platform() });
    place.fake.behave(|b| b.patience = 3);
    let step = at(&place, NEXT, &place.update(NEXT, SECOND), "service.app");
    let (wait, token) = after(now(slow.start(&step.cx, &step.params)));
    assert_eq!(wait, 0);
    let (_, token) = after(now(slow.poll(&step.cx, &step.params, &token)));
    assert_eq!(after(now(slow.undo(&step.cx, &step.params, None, Some(&token)))).0, 1_000);
}

#[test]
fn a_one_off_task_is_judged_by_the_container_that_was_run() {
    let place = Place::new(full());
    place.fake.behave(|b| b.sidecars = BTreeMap::from([("agent".to_owned(), 143), ("proxy".to_owned(), 137)]));
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "hook.migrate");
    finish(&place.steps(), &step.cx, &step.params).unwrap();
    // A token of an earlier version names no container.
    let Progress::Pending { token, .. } = start(&place, &step).unwrap() else { panic!() };
    assert_eq!(token["container"], "app");
    let old = json!({"task": token["task"]});
    assert!(matches!(now(place.steps().poll(&step.cx, &step.params, &old)), Ok(Progress::Done(_))));

    // Its init container did well, and that is not enough.
    let place = Place::new(full());
    place.fake.behave(|b| {
        b.failing_commands.insert("migrate".to_owned());
        b.sidecars = BTreeMap::from([("init".to_owned(), 0)]);
    });
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "hook.migrate");
    assert_eq!(finish(&place.steps(), &step.cx, &step.params).unwrap_err().code, "LF-TASK-FAILED");
}

#[test]
fn a_one_off_task_that_outlives_its_time_is_stopped() {
    let second = |second| landfall_model::Timestamp::from_second(second).unwrap();
    for started_at in [None, Some(second(30))] {
        let place = Place::new(full());
        let mut step = at(&place, MAKER, &place.create(MAKER, FIRST), "hook.migrate");
        place.fake.behave(|b| (b.patience, b.tasks_started_at) = (1_000, started_at));
        let Progress::Pending { token, .. } = start(&place, &step).unwrap() else { panic!() };
        let begun = started_at.map_or(0, |at| at.as_second());
        step.cx.now = second(begun + 59);
        let poll = |step: &At| now(place.steps().poll(&step.cx, &step.params, &token));
        assert!(matches!(poll(&step), Ok(Progress::Pending { .. })));
        assert_eq!(place.fake.view().running_tasks.len(), 1);
        step.cx.now = second(begun + 60);
        let error = poll(&step).unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Fatal, "LF-TASK-FAILED"));
        assert!(error.message.ends_with("took longer than 60 s and was stopped"), "{error:?}");
        assert_eq!(place.fake.view().running_tasks.len(), 0);
    }
}

#[test]
fn undo_of_a_task_stops_it() {
    let place = Place::new(full());
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "hook.migrate");
    place.fake.behave(|b| b.patience = 1_000);
    start(&place, &step).unwrap();
    assert_eq!(place.fake.view().running_tasks.len(), 1);
    undo(&place, &step, None).unwrap();
    assert_eq!(place.fake.view().running_tasks.len(), 0);
}

//! Single decisions, one input at a time.

use landfall_model::notice::NoticeKind;
use landfall_workflow::event::{ErrorClass, StepError};
use landfall_workflow::{
    Action, Event, ExecutionState, FailurePolicy, Idempotency, Outcome, Record, Rejected, Report, Signal, StepStatus,
    codes, view,
};
use serde_json::json;

use crate::sim::{Sim, at, done, error, failed, id, pending, plan, recover, signal, start, step};

#[test]
fn outputs_flow_into_later_steps() {
    let mut two = plan(vec![step("image", &[]), step("service", &["image"])]);
    two.steps[1].params = json!({"fake": {"image": {"$output": "image/ref"}}});
    let mut sim = Sim::started(two);
    let next = sim.report("image", Report::Done(json!({"ref": "app@sha256:1"})));
    let Action::Run(call) = &next.actions[0] else { panic!("{next:?}") };
    assert_eq!(call.params, json!({"fake": {"image": "app@sha256:1"}}));
    assert_eq!(call.key.as_str(), "exe_1/service/1");
}

#[test]
fn an_output_that_never_came_fails_the_step_and_not_the_core() {
    let mut two = plan(vec![step("image", &[]), step("service", &["image"])]);
    two.steps[1].params = json!({"fake": {"image": {"$output": "image/ref"}}});
    let mut sim = Sim::started(two);
    sim.report("image", done());
    assert_eq!(sim.calls.len(), 1, "image is being undone; service never did anything");
    sim.report("image", done());
    let seen = view(&sim.execution);
    assert_eq!(seen.outcome, Some(Outcome::RolledBack));
    assert_eq!(seen.cause.unwrap().error.code, codes::OUTPUT_MISSING);
}

#[test]
fn equal_polls_are_not_recorded() {
    let mut sim = Sim::started(plan(vec![step("a", &[])]));
    sim.report("a", pending("t"));
    let before = sim.records.len();
    for _ in 0..100 {
        sim.fire("a");
        assert!(sim.report("a", pending("t")).append.is_empty());
    }
    assert_eq!(sim.records.len(), before);
    sim.fire("a");
    sim.report("a", pending("t2"));
    assert_eq!(sim.records.len(), before + 1);
}

#[test]
fn recovery_repeats_calls_with_their_keys_and_waits_no_longer_than_before() {
    let mut sim = Sim::started(plan(vec![step("a", &[]), step("b", &[]), step("c", &[])]));
    sim.report("b", pending("t"));
    sim.report("c", failed(ErrorClass::Retryable));
    let retry_in = sim.waits[&"c".into()];
    sim.crash();
    // The clock went back a day.
    sim.now_ms -= 86_400_000;
    let again = sim.input(recover()).unwrap();
    let Action::Run(call) = &again.actions[0] else { panic!("{again:?}") };
    assert_eq!((call.step.as_str(), call.attempt, call.key.as_str()), ("a", 1, "exe_1/a/1"));
    assert_eq!(sim.waits[&"b".into()], 2000);
    assert_eq!(sim.waits[&"c".into()], retry_in);
    assert_eq!(again.append.len(), 1, "only the lease: a start is not recorded twice");
    sim.crash();
    sim.now_ms += 2 * 86_400_000;
    sim.input(recover()).unwrap();
    assert_eq!(sim.waits[&"b".into()], 0);
}

#[test]
fn downtime_does_not_count_against_a_step() {
    let mut sim = Sim::started(plan(vec![step("a", &[])]));
    sim.report("a", pending("t"));
    sim.crash();
    sim.now_ms += 86_400_000;
    sim.input(recover()).unwrap();
    sim.fire("a");
    sim.report("a", pending("t"));
    assert_eq!(sim.execution.status(&"a".into()), Some(StepStatus::Pending));
}

#[test]
fn automatic_attempts_keep_the_key_and_end_at_the_policy() {
    let mut sim = Sim::started(plan(vec![step("a", &[])]));
    for attempt in 2..=3 {
        sim.report("a", failed(ErrorClass::Retryable));
        let next = sim.fire("a");
        let Action::Run(call) = &next.actions[0] else { panic!("{next:?}") };
        assert_eq!((call.attempt, call.key.as_str()), (attempt, "exe_1/a/1"));
    }
    sim.report("a", failed(ErrorClass::Retryable));
    assert_eq!(sim.execution.status(&"a".into()), Some(StepStatus::Undoing));
}

#[test]
fn a_step_stops_at_its_boundary_before_the_unwind_begins() {
    let mut sim = Sim::started(plan(vec![step("a", &[]), step("b", &[]), step("c", &["a"])]));
    sim.report("a", failed(ErrorClass::Fatal));
    assert!(!sim.events().contains(&"unwind_started"), "b is still in flight");
    sim.report("b", done());
    assert!(sim.events().contains(&"unwind_started"));
    assert_eq!(sim.calls.len(), 2, "both are undone at once; c never began");
}

#[test]
fn an_undo_that_is_given_up_is_declared_and_the_others_go_on() {
    let mut sim = Sim::started(plan(vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])]));
    sim.report("a", done());
    sim.report("b", done());
    sim.report("c", failed(ErrorClass::Fatal));
    sim.report("c", done());
    for _ in 0..2 {
        sim.report("b", failed(ErrorClass::Retryable));
        sim.fire("b");
    }
    sim.report("b", failed(ErrorClass::Retryable));
    sim.report("a", done());
    let seen = view(&sim.execution);
    assert_eq!(seen.outcome, Some(Outcome::RollbackFailed));
    assert_eq!(seen.residue.iter().map(|left| left.step.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(seen.message.as_deref(), Some("Make c: broken; not undone: Make b"));
    assert_eq!(sim.notices.last().unwrap().kind, NoticeKind::Failed);
    assert_eq!(sim.notices.last().unwrap().cause.as_deref(), Some("LF-FAKE: broken"));
}

#[test]
fn an_unsafe_step_of_unknown_result_pauses_on_recovery() {
    let mut hook = step("hook", &[]);
    hook.idempotency = Idempotency::Unsafe;
    let mut sim = Sim::started(plan(vec![hook]));
    sim.crash();
    sim.input(recover()).unwrap();
    assert!(sim.calls.is_empty());
    let seen = view(&sim.execution);
    assert_eq!(seen.state, ExecutionState::Paused);
    assert_eq!(seen.steps[0].error.as_ref().unwrap().code, codes::RESULT_UNKNOWN);
    // A second crash tells nobody a second time.
    let told = sim.notices.len();
    sim.crash();
    sim.input(recover()).unwrap();
    assert_eq!(sim.notices.len(), told);
    sim.input(signal(Signal::Retry { step: "hook".into() })).unwrap();
    sim.report("hook", done());
    assert_eq!(sim.execution.outcome(), Some(Outcome::Succeeded));
}

#[test]
fn an_unsafe_step_that_gave_a_token_is_only_looked_at() {
    let mut hook = step("hook", &[]);
    hook.idempotency = Idempotency::Unsafe;
    let mut sim = Sim::started(plan(vec![hook]));
    sim.report("hook", pending("t"));
    sim.crash();
    sim.input(recover()).unwrap();
    let polled = sim.fire("hook");
    assert!(matches!(polled.actions[0], Action::Poll { .. }), "{polled:?}");
}

#[test]
fn an_unknown_record_pauses_and_resume_goes_on() {
    let mut sim = Sim::started(plan(vec![step("a", &[]), step("b", &["a"])]));
    let line = r#"{"at":"2026-01-01T00:00:00Z","type":"teleported","where":{"to":"mars"}}"#;
    let strange: Record = serde_json::from_str(line).unwrap();
    assert_eq!(strange.event, Event::Unknown);
    sim.records.push(strange);
    sim.crash();
    let told = sim.input(recover()).unwrap();
    assert!(matches!(told.append.last(), Some(Event::Paused { step: None, .. })), "{told:?}");
    assert_eq!(told.notices[0].kind, NoticeKind::Paused);
    assert!(sim.calls.is_empty() && sim.execution.pause().is_some());
    assert!(!sim.execution.should_compact(10_000, 500), "a snapshot would lose what it says");
    sim.crash();
    assert_eq!(sim.input(recover()).unwrap().notices, [], "told once");
    sim.input(signal(Signal::Resume)).unwrap();
    sim.report("a", done());
    sim.report("b", done());
    assert_eq!(sim.execution.outcome(), Some(Outcome::Succeeded));
}

#[test]
fn warnings_pass_and_are_told() {
    let mut hook = step("hook", &[]);
    hook.on_failure = FailurePolicy::Warn;
    let mut sim = Sim::started(plan(vec![hook, step("b", &["hook"])]));
    sim.report("hook", failed(ErrorClass::Fatal));
    sim.report("b", done());
    assert_eq!(view(&sim.execution).message.as_deref(), Some("succeeded with 1 warning(s)"));
    let keys: Vec<&str> = sim.notices.iter().map(|notice| notice.key.as_str()).collect();
    assert_eq!(keys, ["started", "warning:hook", "finished"]);
}

#[test]
fn retry_after_is_honoured() {
    let mut sim = Sim::started(plan(vec![step("a", &[])]));
    sim.report("a", Report::Failed(StepError { retry_after_ms: Some(30_000), ..error(ErrorClass::Throttled) }));
    assert!(sim.waits[&"a".into()] >= 30_000);
}

#[test]
fn parallel_steps_are_limited() {
    let mut four = plan(vec![step("a", &[]), step("b", &[]), step("c", &[]), step("d", &[])]);
    four.max_parallel = 2;
    let mut sim = Sim::started(four);
    assert_eq!(sim.calls.len(), 2);
    sim.report("a", pending("t"));
    assert_eq!(sim.calls.len(), 1, "a pending step keeps its place");
    sim.report("b", done());
    assert_eq!(sim.calls.len(), 1);
}

#[test]
fn late_reports_and_inputs_after_the_end_are_refused() {
    let mut sim = Sim::started(plan(vec![step("a", &[])]));
    sim.calls.clear();
    let late = landfall_workflow::Input::StepReported { step: "a".into(), attempt: 7, report: done() };
    assert_eq!(sim.input(late), Err(Rejected::Late { step: "a".into(), attempt: 7 }));
    assert_eq!(sim.input(start()), Err(Rejected::AlreadyStarted));
    let report = landfall_workflow::Input::StepReported { step: "a".into(), attempt: 1, report: done() };
    sim.input(report).unwrap();
    assert_eq!(sim.input(recover()), Err(Rejected::Finished));
    assert_eq!(sim.execution.accepts(&Signal::Abort), Err(Rejected::Finished));
}

#[test]
fn a_record_that_cannot_follow_is_a_damaged_journal() {
    let sim = Sim::started(plan(vec![step("a", &[])]));
    let mut records = sim.records.clone();
    records.push(Record { at: at(1), event: Event::UndoFinished { step: "a".into() } });
    let error = landfall_workflow::Execution::fold(&sim.plan, &id(), None, &records).unwrap_err();
    assert_eq!(error.to_string(), "record 4: undo_finished cannot follow here: the execution is Running at version 3");
}

#[test]
fn a_choice_gone_stale_is_planned_again_except_by_the_last_plan() {
    for (last_try, outcome) in [(false, Outcome::NeedsReplan), (true, Outcome::RolledBack)] {
        let mut two = plan(vec![step("group", &[]), step("route", &["group"])]);
        two.last_try = last_try;
        let mut sim = Sim::started(two);
        sim.report("group", done());
        sim.report("route", failed(ErrorClass::Stale));
        while let Some((step, ..)) = sim.calls.front().cloned() {
            sim.report(step.as_str(), done());
        }
        let seen = view(&sim.execution);
        assert_eq!(seen.outcome, Some(outcome));
        let told: Vec<_> = sim.notices.iter().map(|notice| notice.kind).collect();
        let end = last_try.then_some(NoticeKind::RolledBack);
        assert_eq!(told, [NoticeKind::Creating].into_iter().chain(end).collect::<Vec<_>>());
    }
}

#[test]
fn a_quiet_plan_tells_when_it_has_worked_and_nothing_else() {
    for (works, told) in [(true, vec![NoticeKind::Destroyed]), (false, vec![])] {
        let mut two = plan(vec![step("sweep", &[]), step("verify", &["sweep"])]);
        (two.quiet, two.kind) = (true, "preview.destroy".to_owned());
        two.steps[0].on_failure = FailurePolicy::Warn;
        two.steps[1].on_failure = FailurePolicy::FailForward;
        let mut sim = Sim::started(two);
        sim.report("sweep", failed(ErrorClass::Fatal));
        sim.report("verify", if works { done() } else { failed(ErrorClass::Fatal) });
        assert_eq!(sim.notices.iter().map(|notice| notice.kind).collect::<Vec<_>>(), told);
    }
}

#[test]
fn a_plan_made_again_tells_only_how_it_ends() {
    let mut one = plan(vec![step("a", &[])]);
    one.again = true;
    let mut sim = Sim::started(one);
    sim.report("a", done());
    assert_eq!(sim.notices.iter().map(|notice| notice.kind).collect::<Vec<_>>(), [NoticeKind::Created]);
}

#[test]
fn a_change_of_a_lasting_environment_is_told_in_its_own_words() {
    use NoticeKind::{Deployed, Deploying, RolledBack};
    let told = |kind: &str, title: &str, works: bool| {
        let mut one = plan(vec![step("a", &[])]);
        (one.environment, one.kind, one.title) = ("shop@prod".into(), kind.to_owned(), title.to_owned());
        let mut sim = Sim::started(one);
        sim.report("a", if works { done() } else { failed(ErrorClass::Fatal) });
        while let Some((step, ..)) = sim.calls.front().cloned() {
            sim.report(step.as_str(), done());
        }
        sim.notices.into_iter().map(|notice| (notice.kind, notice.text, notice.cause)).collect::<Vec<_>>()
    };
    let is = |kind, text: &str, cause: Option<&str>| (kind, text.to_owned(), cause.map(str::to_owned));
    assert_eq!(
        told("environment.deploy", "Deploy prod at 1a2b3c4", true),
        [is(Deploying, "shop: deploying prod at 1a2b3c4", None), is(Deployed, "shop: deployed prod at 1a2b3c4", None)]
    );
    assert_eq!(
        told("environment.deploy", "Deploy prod", false)[1],
        is(
            RolledBack,
            "shop: deploying prod failed and was rolled back: Make a: broken; everything undone",
            Some("LF-FAKE: broken")
        )
    );
    assert_eq!(
        told("environment.rollback", "Roll prod back to exe_1", true),
        [
            is(Deploying, "shop: rolling prod back to exe_1", None),
            is(Deployed, "shop: rolled prod back to exe_1", None)
        ]
    );
    assert_eq!(
        told("environment.scale", "Scale prod: web to 2", true),
        [is(Deploying, "shop: scaling prod: web to 2", None), is(Deployed, "shop: scaled prod: web to 2", None)]
    );
}

#[test]
fn an_unwind_restores_what_the_plan_falls_back_to_also_where_a_step_had_not_begun() {
    let mut steps = vec![step("group", &[]), step("image", &[]), step("service", &["group", "image"])];
    steps[2].params = json!({"fake": {"image": {"$output": "image/name"}}});
    let mut three = plan(steps);
    let good = |of: &str| json!({"fake": {"good": of}});
    three.fallback = ["group", "service"].map(|id| (id.into(), good(id))).into();
    let mut sim = Sim::started(three);
    sim.report("group", pending("not an object"));
    sim.fire("group");
    sim.report("group", Report::Done(json!({"former": 1})));
    let undone = |actions: &[Action]| -> Vec<_> {
        let undo = |action: &Action| match action {
            Action::Undo { call, output, token } => {
                Some((call.step.to_string(), call.params.clone(), output.clone(), token.clone()))
            }
            _ => None,
        };
        actions.iter().filter_map(undo).collect()
    };
    let unbegun = (
        "service".to_owned(),
        json!({"fake": {"image": {"$output": "image/name"}}}),
        None,
        Some(json!({"fallback": good("service")})),
    );
    assert_eq!(undone(&sim.report("image", failed(ErrorClass::Fatal)).actions), [unbegun]);
    // The undo's own memory is kept beside it.
    sim.report("service", Report::Pending { token: json!({"of": "undo"}), poll_after_ms: 10, note: None });
    sim.crash();
    let again = sim.input(recover()).unwrap();
    assert_eq!(undone(&again.actions), []);
    let polled = sim.fire("service");
    assert_eq!(undone(&polled.actions)[0].3, Some(json!({"of": "undo", "fallback": good("service")})));
    let next = undone(&sim.report("service", done()).actions);
    let ids: Vec<_> = next.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(ids, ["image", "group"]);
    assert_eq!((&next[1].2, &next[1].3), (&Some(json!({"former": 1})), &Some(json!({"fallback": good("group")}))));
    assert_eq!(next[0].3, None, "nothing else is given one");
    sim.report("group", done());
    sim.report("image", done());
    assert_eq!(view(&sim.execution).outcome, Some(Outcome::RolledBack));
}

#[test]
fn what_was_brought_about_has_no_references() {
    let mut steps = vec![step("image", &[]), step("service", &["image"]), step("probe", &["service"])];
    steps[1].params = json!({"fake": {"image": {"$output": "image/name"}}});
    let mut sim = Sim::started(plan(steps));
    sim.report("image", Report::Done(json!({"name": "app:1"})));
    sim.report("service", done());
    sim.report("probe", failed(ErrorClass::Retryable));
    assert_eq!(sim.execution.brought(), [json!({"fake": {}}), json!({"fake": {"image": "app:1"}})]);
}

#[test]
fn an_undo_begins_with_what_an_unfinished_step_knew() {
    let mut sim = Sim::started(plan(vec![step("a", &[]), step("b", &["a"])]));
    sim.report("a", pending("of a"));
    sim.fire("a");
    sim.report("a", Report::Done(json!({"made": 1})));
    sim.report("b", pending("of b"));
    sim.fire("b");
    let undone = |actions: &[Action]| match actions.iter().find(|action| matches!(action, Action::Undo { .. })) {
        Some(Action::Undo { token, output, .. }) => (token.clone(), output.clone()),
        _ => panic!("nothing is undone: {actions:?}"),
    };
    assert_eq!(undone(&sim.report("b", failed(ErrorClass::Fatal)).actions), (Some(json!("of b")), None));
    assert_eq!(undone(&sim.report("b", done()).actions), (None, Some(json!({"made": 1}))));
}

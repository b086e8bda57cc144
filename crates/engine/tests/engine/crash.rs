//! Deaths after every commit and after every effect; failures at every step; every call twice.

use landfall_model::ids::StepId;
use landfall_testkit::crash::{crash_matrix, crash_matrix_unwinding};
use landfall_testkit::steps::Fault;
use landfall_workflow::{FailurePolicy, Idempotency};
use serde_json::json;

use crate::fake::{FakeWorld, diamond, plan, run, step};

#[tokio::test(start_paused = true)]
async fn diamond_survives_everything() {
    let tried = crash_matrix(&diamond(), FakeWorld::default, run).await;
    assert!(tried.commits >= 10 && tried.calls >= 13 && tried.failures == 15, "{tried:?}");
    assert_eq!(tried.paused, 0);
}

#[tokio::test(start_paused = true)]
async fn deaths_while_unwinding() {
    let tried =
        crash_matrix_unwinding(&diamond(), Fault::FailAfter(StepId::from("route")), FakeWorld::default, run).await;
    assert!(tried.commits >= 18 && tried.calls >= 20, "{tried:?}");
}

#[tokio::test(start_paused = true)]
async fn deaths_while_unwinding_leave_the_same_residue() {
    let plan = plan(vec![
        step("a", &[], json!({})),
        step("b", &["a"], json!({"undo_fatal": true})),
        step("c", &["b"], json!({})),
    ]);
    let tried = crash_matrix_unwinding(&plan, Fault::FailAfter(StepId::from("c")), FakeWorld::default, run).await;
    assert!(tried.calls >= 6, "{tried:?}");
}

#[tokio::test(start_paused = true)]
async fn policies_survive_deaths_too() {
    let mut warn = step("warn", &["a"], json!({"fatal": 1_000}));
    warn.on_failure = FailurePolicy::Warn;
    let mut keep = step("keep", &["warn"], json!({}));
    keep.on_failure = FailurePolicy::FailForward;
    let plan = plan(vec![step("a", &[], json!({})), warn, keep, step("z", &["a"], json!({"pending": 2}))]);
    crash_matrix_unwinding(&plan, Fault::FailAfter(StepId::from("keep")), FakeWorld::default, run).await;
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_must_not_be_repeated_waits_for_a_person() {
    let mut hook = step("hook", &["a"], json!({"count": true}));
    hook.idempotency = Idempotency::Unsafe;
    let plan = plan(vec![step("a", &[], json!({})), hook, step("z", &["hook"], json!({}))]);
    // Twice is what it does not stand, so only its deaths are tried.
    let tried =
        crash_matrix_unwinding(&plan, Fault::FailAfter(StepId::from("no such step")), FakeWorld::default, run).await;
    // After the record of its start, and after its effect.
    assert_eq!(tried.paused, 2, "{tried:?}");
}

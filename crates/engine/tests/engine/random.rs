//! Random DAGs with random step scripts: every run comes to rest, undo runs in reverse order, every effect is undone or
//! declared.

use std::sync::Arc;

use landfall_engine::RunEnd;
use landfall_testkit::Mem;
use landfall_workflow::{FailurePolicy, Outcome, Plan, Step, StepStatus};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::{FakeWorld, engine_on, plan, step, submit};

fn script() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => Just(json!({})),
        3 => (1u64..4).prop_map(|n| json!({"pending": n})),
        2 => (1u64..5).prop_map(|n| json!({"retryable": n})),
        1 => Just(json!({"fatal": 1})),
        1 => Just(json!({"pending": 1, "poll_fatal": 1})),
        1 => Just(json!({"undo_fatal": true})),
        1 => Just(json!({"undo_retryable": 2, "pending": 1})),
        1 => Just(json!({"undo_pending": 1})),
    ]
}

fn policy() -> impl Strategy<Value = FailurePolicy> {
    prop_oneof![
        6 => Just(FailurePolicy::Unwind),
        1 => Just(FailurePolicy::Pause),
        1 => Just(FailurePolicy::FailForward),
        1 => Just(FailurePolicy::Warn),
    ]
}

pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    let steps = prop::collection::vec((script(), policy(), any::<u32>(), prop::bool::weighted(0.85)), 1..9);
    (steps, 1u32..4).prop_map(|(scripts, max_parallel)| {
        let steps: Vec<Step> = scripts
            .into_iter()
            .enumerate()
            .map(|(n, (script, on_failure, needs, undo))| {
                let needs: Vec<String> = (0..n).filter(|i| needs >> i & 1 == 1).map(|i| format!("s{i}")).collect();
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                Step { on_failure, undo, ..step(&format!("s{n}"), &needs, script) }
            })
            .collect();
        Plan { max_parallel, ..plan(steps) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_run_comes_to_rest_and_accounts_for_its_effects(plan in plans()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(check(plan))?;
    }
}

async fn check(plan: Plan) -> Result<(), TestCaseError> {
    let world = FakeWorld::default();
    let engine = engine_on("one", Arc::new(Mem::default()), Arc::new(world.clone()));
    let id = submit(&engine, "k", plan.clone()).await;
    let end = engine.run_to_end(&id).await.unwrap();
    let view = engine.view(&id).await.unwrap();
    let log = world.log();
    prop_assert!(world.things().most_running <= plan.max_parallel);

    // No step starts before all it needs have come to an end.
    for step in &plan.steps {
        let Some(start) = log.iter().position(|line| *line == format!("start {}", step.id)) else { continue };
        for need in &step.needs {
            let last = log.iter().rposition(|line| *line == format!("start {need}") || *line == format!("poll {need}"));
            prop_assert!(last.is_some_and(|last| last < start), "{} before {need}: {log:?}", step.id);
        }
    }
    // No step is undone before the steps that need it.
    for step in plan.steps.iter().filter(|step| step.undo) {
        let Some(undo) = log.iter().rposition(|line| *line == format!("undo {}", step.id)) else { continue };
        for need in &step.needs {
            if let Some(first) = log.iter().position(|line| *line == format!("undo {need}")) {
                prop_assert!(undo < first, "{need} undone before {}: {log:?}", step.id);
            }
        }
    }
    let RunEnd::Finished { outcome, .. } = end else {
        prop_assert!(view.pause.is_some());
        return Ok(());
    };
    let residue: Vec<&str> = view.residue.iter().map(|cause| cause.step.as_str()).collect();
    match outcome {
        Outcome::RolledBack | Outcome::RollbackFailed => {
            prop_assert_eq!(residue.is_empty(), outcome == Outcome::RolledBack);
            for name in world.things().made.keys() {
                let step = plan.step(&name.as_str().into()).unwrap();
                prop_assert!(!step.undo || residue.contains(&name.as_str()), "{name} is left and not declared");
            }
        }
        Outcome::Succeeded => {
            let fine = |status| matches!(status, StepStatus::Done | StepStatus::Warned);
            prop_assert!(view.steps.iter().all(|step| fine(step.status)));
        }
        Outcome::Failed => prop_assert!(view.cause.is_some()),
        other => prop_assert!(false, "{other:?}"),
    }
    Ok(())
}

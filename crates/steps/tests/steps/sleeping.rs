//! The plans of sleep through the crash matrix: to sleep, awake again, and updates of what sleeps.

use std::sync::Arc;

use landfall_model::ids::StepId;
use landfall_planner::PlanInputs;
use landfall_planner::plan::{self, fall_back};
use landfall_testkit::crash::{World, crash_matrix_unwinding};
use landfall_testkit::steps::{Fault as Failing, Faulty};
use landfall_workflow::{Outcome, Plan, Step, outputs};
use serde_json::Value;

use crate::matrix::{EARLIER, EXECUTION, everything, live, live_with, run};
use crate::world::{FIRST, Place, SECOND, full};

fn inputs(execution: &str) -> PlanInputs {
    PlanInputs {
        instance: "i-1".to_owned(),
        execution: execution.into(),
        parent: None,
        running: Default::default(),
        owned: Vec::new(),
    }
}

fn sleep(place: &Place, execution: &str) -> Plan {
    plan::sleep(&place.app, &place.record, &inputs(execution)).plan
}

/// A preview of the first commit, and the parameters with which it was made to serve.
fn awake() -> (Place, Vec<Value>) {
    let place = Place::new(full());
    let plan = place.create(EARLIER, FIRST);
    let done = place.carry_out(EARLIER, &plan).unwrap();
    let brought = |step: &Step| outputs::resolve(&step.params, &|id: &str| done.get(&StepId::from(id))).unwrap();
    let good = plan.steps.iter().map(brought).collect();
    (place, good)
}

fn asleep() -> (Place, Vec<Value>) {
    let (place, good) = awake();
    place.carry_out("exe_nap", &sleep(&place, "exe_nap")).unwrap();
    (place, good)
}

fn running(place: &Place) -> u32 {
    place.fake.view().services.values().map(|(_, desired, running)| desired + running).sum()
}

#[tokio::test(start_paused = true)]
async fn to_sleep() {
    let world = || awake().0;
    let plan = sleep(&world(), EXECUTION);
    let whole = live(&plan, world()).await;
    assert_eq!((whole.view.outcome, running(&whole.place)), (Some(Outcome::Succeeded), 0), "{:#?}", whole.view);
    let (before, after) = (world().fake.view(), whole.place.fake.view());
    let stays = |view: &landfall_testkit::platform::WorldView| {
        (view.task_definitions.clone(), view.target_groups.clone(), view.routes.clone(), view.images.clone())
    };
    assert_eq!(stays(&after), stays(&before));
    everything(&plan, world, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn awake_again() {
    let world = || asleep().0;
    let (place, good) = asleep();
    let plan = plan::wake(&place.record, &good, &inputs(EXECUTION)).unwrap().plan;
    let whole = live(&plan, world()).await;
    assert_eq!(whole.view.outcome, Some(Outcome::Succeeded), "{:#?}", whole.view);
    assert_eq!(whole.place.fake.view(), awake().0.fake.view(), "as it was");
    everything(&plan, world, &["start.my-project-test123-service", "targets", "probe"]).await;
    // Nothing that served is known: there is nothing to wake.
    assert!(plan::wake(&place.record, &good[..1], &inputs(EXECUTION)).is_err());
}

#[tokio::test(start_paused = true)]
async fn an_update_of_what_sleeps_goes_back_to_sleep_where_it_fails() {
    let world = || asleep().0;
    let (place, good) = asleep();
    let mut plan = place.update(EXECUTION, SECOND);
    fall_back(&mut plan, &good, true);
    let whole = live(&plan, world()).await;
    assert_eq!(whole.view.outcome, Some(Outcome::Succeeded), "{:#?}", whole.view);
    assert!(running(&whole.place) > 0, "an update is proven by tasks that run");
    for step in ["service.app", "service.worker"] {
        let place = world();
        let steps = World::steps(&place);
        let faulty = Faulty::new(steps, Failing::FailAfter(StepId::from(step)));
        let end = live_with(&plan, place, Arc::new(faulty)).await;
        assert_eq!(end.view.outcome, Some(Outcome::RolledBack), "{:#?}", end.view);
        end.place.picture();
        assert_eq!((running(&end.place), end.place.fake.view().services), (0, world().fake.view().services));
        crash_matrix_unwinding(&plan, Failing::FailAfter(StepId::from(step)), world, run).await;
    }
}

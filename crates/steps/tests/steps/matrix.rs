//! Every shipped plan shape, with the real engine, handlers and plans: failures at each step, each call twice, deaths after
//! each commit and after each effect before its record, forwards and while a failure is unwound.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_engine::{Engine, EngineConfig, NewPlan};
use landfall_model::ids::{ExecutionId, StepId};
use landfall_planner::plan::fall_back;
use landfall_ports::PortError;
use landfall_ports::orchestrator::Orchestrator;
use landfall_ports::steps::StepExecutor;
use landfall_testkit::crash::{Process, Tried, World, crash_matrix, crash_matrix_unwinding};
use landfall_testkit::platform::{Fault, When};
use landfall_testkit::steps::{Fault as Failing, Faulty};
use landfall_testkit::{Mem, TestClock};
use landfall_workflow::{ExecutionState, ExecutionView, Outcome, Plan, Step, outputs};

use crate::world::{FIRST, Place, SECOND, app, full, now, with_last_task, with_ports};

pub(crate) const EXECUTION: &str = "exe_2";
/// The execution that made the world of before.
pub(crate) const EARLIER: &str = "exe_1";

impl World for Place {
    fn steps(&self) -> Arc<dyn StepExecutor> {
        Arc::new(Place::steps(self))
    }

    /// What exists, settled. Nothing here names an execution or a deployment.
    fn picture(&self) -> String {
        self.fake.mend();
        for _ in 0..5 {
            for name in self.fake.view().services.keys() {
                now(self.fake.describe_service(name)).unwrap();
            }
        }
        format!("{:#?}", self.fake.view())
    }

    fn restart(&self) {
        self.fake.restart();
    }

    fn judge(&self, end: &ExecutionView) {
        let mut runs: BTreeMap<String, u32> = BTreeMap::new();
        let ours = |(_, key): &(String, String)| key.starts_with(&format!("{EXECUTION}/"));
        for (name, _) in self.fake.hook_runs().into_iter().filter(ours) {
            *runs.entry(name).or_default() += 1;
        }
        for (name, count) in runs {
            assert!(count == 1 || !name.starts_with("once-"), "hook {name} ran {count} times: {end:#?}");
        }
        let tasks = end.steps.iter().filter(|step| step.kind == "task.run").count() as u64;
        let ran = self.fake.task_runs() - self.earlier_tasks.get();
        assert!(ran <= tasks, "{ran} one-off tasks: {end:#?}");
        if end.kind == "preview.destroy" && end.outcome == Some(Outcome::Succeeded) {
            assert_eq!(self.fake.leaks(self.environment()), Vec::<String>::new(), "{end:#?}");
        }
        if end.outcome == Some(Outcome::Succeeded) && end.kind != "preview.destroy" {
            let names = self.fake.view();
            assert_eq!(names.services.len(), self.app.previews.as_ref().unwrap().services.len(), "{end:#?}");
        }
    }
}

pub(crate) async fn run(process: Process) {
    let clock = Arc::new(TestClock::seeded(7));
    let engine = Engine::new(EngineConfig::new("process"), process.journal, process.steps, clock);
    let new = NewPlan {
        id: Some(ExecutionId::new(EXECUTION)),
        dedup_key: "one".to_owned(),
        plan: process.plan,
        intent: "delivery-1".to_owned(),
        notices: vec![],
    };
    let Ok(submitted) = engine.submit(new).await else { return std::future::pending().await };
    let _ = engine.run_to_end(&submitted.id).await;
}

fn empty(app: fn() -> landfall_model::app::App) -> impl Fn() -> Place {
    move || Place::new(app())
}

/// A world in which a preview of the first commit runs.
fn running(app: fn() -> landfall_model::app::App) -> impl Fn() -> Place {
    move || {
        let place = Place::new(app());
        place.carry_out(EARLIER, &place.create(EARLIER, FIRST)).unwrap();
        place
    }
}

/// Both directions: deaths on the way, and deaths on the way back from a failure of each of `failing`.
pub(crate) async fn everything(plan: &Plan, world: impl Fn() -> Place, failing: &[&str]) -> Tried {
    let tried = crash_matrix(plan, &world, run).await;
    assert!(tried.commits >= plan.steps.len() as u64 && tried.calls >= plan.steps.len() as u64, "{tried:?}");
    assert_eq!(tried.failures, 3 * plan.steps.len() as u64);
    for step in failing {
        assert!(plan.step(&StepId::from(*step)).is_some(), "no step {step}");
        crash_matrix_unwinding(plan, Failing::FailAfter(StepId::from(*step)), &world, run).await;
    }
    lost_answers(plan, &world).await;
    tried
}

pub(crate) struct End {
    pub(crate) place: Place,
    pub(crate) view: ExecutionView,
}

pub(crate) async fn live(plan: &Plan, place: Place) -> End {
    let steps = World::steps(&place);
    live_with(plan, place, steps).await
}

pub(crate) async fn live_with(plan: &Plan, place: Place, steps: Arc<dyn StepExecutor>) -> End {
    let mem = Arc::new(Mem::default());
    let clock = Arc::new(TestClock::seeded(7));
    let engine = Engine::new(EngineConfig::new("process"), mem, steps, clock);
    let new = NewPlan {
        id: Some(ExecutionId::new(EXECUTION)),
        dedup_key: "one".to_owned(),
        plan: plan.clone(),
        intent: "delivery-1".to_owned(),
        notices: vec![],
    };
    let id = engine.submit(new).await.unwrap().id;
    engine.run_to_end(&id).await.unwrap();
    let view = engine.view(&id).await.unwrap();
    place.judge(&view);
    End { place, view }
}

/// Every call on the platform fails once, before its effect and after it: a passing fault changes nothing in the end.
async fn lost_answers(plan: &Plan, world: impl Fn() -> Place) {
    let first = world().fake.calls();
    let whole = live(plan, world()).await;
    let (picture, before) = (whole.place.picture(), world().picture());
    for (method, calls) in whole.place.fake.calls() {
        for nth in first.get(method).copied().unwrap_or(0) + 1..=calls {
            for when in [When::Before, When::After] {
                let place = world();
                let error = PortError::Unavailable("lost".to_owned());
                place.fake.fail(Fault { method, nth, when, error });
                let end = live(plan, place).await;
                let what = || format!("{when:?} call {nth} of {method}: {:#?}", end.view);
                match end.view.outcome {
                    Some(Outcome::Succeeded) => assert_eq!(end.place.picture(), picture, "{}", what()),
                    // What may not be begun twice is not.
                    Some(Outcome::RolledBack) if end.view.cause.as_ref().is_some_and(|c| once(plan, &c.step)) => {
                        assert_eq!(end.place.picture(), before, "{}", what());
                    }
                    Some(Outcome::Failed) if end.view.cause.as_ref().is_some_and(|c| once(plan, &c.step)) => {}
                    None if end.view.state == ExecutionState::Paused && end.view.pause.is_some() => {}
                    _ => panic!("{}", what()),
                }
            }
        }
    }
}

fn once(plan: &Plan, step: &StepId) -> bool {
    plan.step(step).is_some_and(|step| step.retry.attempts == 1)
}

#[tokio::test(start_paused = true)]
async fn create_behind_a_host() {
    let plan = Place::new(app()).create(EXECUTION, FIRST);
    everything(&plan, empty(app), &["image.app.app", "service.app", "probe"]).await;
}

#[tokio::test(start_paused = true)]
async fn create_behind_a_port() {
    let world = || with_ports(app());
    let plan = Place::new(world()).create(EXECUTION, FIRST);
    everything(&plan, empty(world), &["service.app", "probe"]).await;
}

#[tokio::test(start_paused = true)]
async fn create_with_hooks_worker_and_awaited_image() {
    let plan = Place::new(full()).create(EXECUTION, FIRST);
    let tried = everything(&plan, empty(full), &["hook.migrate", "service.worker", "hook.announce"]).await;
    assert!(tried.paused > 0, "the hook that may not be repeated: {tried:?}");
}

#[tokio::test(start_paused = true)]
async fn create_after_a_superseded_attempt() {
    for last in ["target_group", "task_definition.app", "hook.migrate", "service.app", "service.worker"] {
        let world = || {
            let mut place = Place::new(full());
            let plan = place.create(EARLIER, FIRST);
            place.carry_out_until(EARLIER, &plan, Some(last)).unwrap();
            place.record.made_generation = 1;
            place
        };
        let plan = world().create(EXECUTION, SECOND);
        assert_eq!(plan.steps[0].id, StepId::from("leftovers"));
        // A failure takes away what both made, so this is not the world of before.
        let whole = live(&plan, world()).await;
        assert_eq!(whole.view.outcome, Some(Outcome::Succeeded), "{:#?}", whole.view);
        crash_matrix_unwinding(&plan, Failing::FailAfter(StepId::from("no such step")), world, run).await;
        crash_matrix_unwinding(&plan, Failing::FailAfter(StepId::from("hook.announce")), world, run).await;
        let place = world();
        let environment = place.environment().to_owned();
        let failing = Faulty::new(World::steps(&place), Failing::FailAfter(StepId::from("hook.announce")));
        let end = live_with(&plan, place, Arc::new(failing)).await;
        assert_eq!(end.view.outcome, Some(Outcome::RolledBack), "{:#?}", end.view);
        assert_eq!(end.place.fake.leaks(&environment), Vec::<String>::new(), "after {last}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_superseded_attempt_has_brought_up_goes_on_answering() {
    let world = || {
        let mut place = Place::new(full());
        place.carry_out_until(EARLIER, &place.create(EARLIER, FIRST), Some("probe")).unwrap();
        place.record.made_generation = 1;
        place
    };
    let before = world().fake.view();
    assert!(!before.routes.is_empty() && before.services.len() == 2);
    let plan = world().create(EXECUTION, SECOND);
    for step in &plan.steps {
        let place = world();
        place.carry_out_until(EXECUTION, &plan, Some(step.id.as_str())).unwrap();
        let now = place.fake.view();
        assert_eq!(now.routes, before.routes, "at {}", step.id);
        assert!(now.services.keys().eq(before.services.keys()), "at {}", step.id);
        assert!(now.services.values().all(|(_, desired, _)| *desired > 0), "at {}", step.id);
    }
    let after = live(&plan, world()).await.place.fake.view();
    assert_eq!(after.images.len(), before.images.len(), "the first commit's have gone: {after:#?}");
    assert_eq!(after.task_definitions.len(), before.task_definitions.len(), "{after:#?}");
}

#[tokio::test(start_paused = true)]
async fn update_in_place() {
    let world = running(full);
    let plan = world().update(EXECUTION, SECOND);
    everything(&plan, world, &["task_definition.worker", "service.app", "service.worker", "hook.once-refresh"]).await;
}

#[tokio::test(start_paused = true)]
async fn update_to_the_commit_that_runs() {
    let world = || {
        let place = running(full)();
        // With an older deployment that nobody may go back to.
        place.carry_out("exe_between", &place.update("exe_between", SECOND)).unwrap();
        place
    };
    let plan = world().update(EXECUTION, SECOND);
    crash_matrix(&plan, world, run).await;
    crash_matrix_unwinding(&plan, Failing::FailAfter(StepId::from("service.app")), world, run).await;
}

/// Health check, delays, percentages, the container and port of the traffic: everything that an update in place changes
/// besides what runs. The picture has all of it, so each failure must have set it back.
#[tokio::test(start_paused = true)]
async fn update_with_other_settings() {
    let world = || {
        let mut place = running(full)();
        let service = place.app.services.get_mut("app").unwrap();
        service.deployment.minimum_healthy_percent = 50;
        let binding = service.load_balancer.as_mut().unwrap();
        (binding.container, binding.port) = ("app".to_owned(), 3000);
        binding.health_check.path = "/ready".to_owned();
        (binding.deregistration_delay, binding.idle_timeout) = (30, 7);
        place.app.services.get_mut("worker").unwrap().deployment.timeout = 77;
        place
    };
    let plan = world().update(EXECUTION, SECOND);
    let whole = live(&plan, world()).await;
    assert_eq!(whole.view.outcome, Some(Outcome::Succeeded), "{:#?}", whole.view);
    assert_ne!(whole.place.fake.view().settings, world().fake.view().settings);
    everything(&plan, world, &["service.app", "hook.once-refresh"]).await;
    for step in ["target_group", "service.app"] {
        crash_matrix_unwinding(&plan, Failing::FailAfterPoll(StepId::from(step)), world, run).await;
    }
    // Nothing but the settings changes.
    let plan = world().update(EXECUTION, FIRST);
    crash_matrix_unwinding(&plan, Failing::FailAfter(StepId::from("service.worker")), world, run).await;
}

/// An update after one that was cut short: its steps find what that one left, and each failure goes back to what served
/// before both, also by steps that had not begun.
#[tokio::test(start_paused = true)]
async fn update_after_one_that_was_cut_short() {
    for last in ["target_group", "service.app", "service.worker"] {
        let first = || {
            let place = Place::new(full());
            let plan = place.create(EARLIER, FIRST);
            let done = place.carry_out(EARLIER, &plan).unwrap();
            let brought =
                |step: &Step| outputs::resolve(&step.params, &|id: &str| done.get(&StepId::from(id))).unwrap();
            let good: Vec<_> = plan.steps.iter().map(brought).collect();
            (place, good)
        };
        let world = || {
            let (mut place, _) = first();
            let service = place.app.services.get_mut("app").unwrap();
            service.deployment.minimum_healthy_percent = 50;
            service.load_balancer.as_mut().unwrap().health_check.path = "/ready".to_owned();
            place.carry_out_until("exe_between", &place.update("exe_between", SECOND), Some(last)).unwrap();
            place
        };
        let (good, before) = (first().1, first().0.fake.view());
        let mut plan = world().update(EXECUTION, SECOND);
        fall_back(&mut plan, &good, false);
        assert_eq!(plan.fallback.len(), 3, "{:?}", plan.fallback);
        assert_ne!(world().fake.view().settings, before.settings);
        let mut rolled_back = 0;
        for step in &plan.steps {
            let place = world();
            let faulty = Faulty::new(World::steps(&place), Failing::FailAfter(step.id.clone()));
            let end = live_with(&plan, place, Arc::new(faulty)).await;
            if end.view.outcome == Some(Outcome::RolledBack) {
                rolled_back += 1;
                end.place.picture();
                let after = end.place.fake.view();
                assert_eq!((after.services, after.settings), (before.services.clone(), before.settings.clone()));
            }
        }
        assert!(rolled_back > 8, "{rolled_back} of {}", plan.steps.len());
        for step in ["target_group", "image.app.app", "service.app", "service.worker"] {
            crash_matrix_unwinding(&plan, Failing::FailAfter(StepId::from(step)), world, run).await;
        }
    }
}

/// A manifest that routes in another way: the new address answers before the old one goes, and a failure leaves the old.
#[tokio::test(start_paused = true)]
async fn update_to_another_route() {
    let world = || {
        let mut place = running(full)();
        place.app = with_ports(place.app);
        place
    };
    let plan = world().update(EXECUTION, SECOND);
    let whole = live(&plan, world()).await;
    assert_eq!(whole.view.outcome, Some(Outcome::Succeeded), "{:#?}", whole.view);
    assert_eq!(whole.place.fake.view().routes.keys().collect::<Vec<_>>(), [":9003"]);
    everything(&plan, world, &["route", "probe"]).await;
}

/// No service takes traffic any more: route and target group go with the update.
#[tokio::test(start_paused = true)]
async fn update_to_no_route() {
    let world = || {
        let mut place = running(full)();
        place.app.services.get_mut("app").unwrap().load_balancer = None;
        place
    };
    let plan = world().update(EXECUTION, SECOND);
    let whole = live(&plan, world()).await;
    assert_eq!(whole.view.outcome, Some(Outcome::Succeeded), "{:#?}", whole.view);
    let view = whole.place.fake.view();
    assert_eq!((view.services.len(), view.routes.len(), view.target_groups.len()), (2, 0, 0));
    everything(&plan, world, &["service.app"]).await;
}

#[tokio::test(start_paused = true)]
async fn update_whose_containers_crash_leaves_what_ran_before() {
    let world = || {
        let place = running(full)();
        place.fake.behave(|b| {
            let image = format!("my-project-test123-app-app:{}@sha256:{SECOND}", &SECOND[..7]);
            b.crashing_images.insert(image);
        });
        place
    };
    let plan = world().update(EXECUTION, SECOND);
    let whole = live(&plan, world()).await;
    assert_eq!(whole.view.outcome, Some(Outcome::RolledBack), "{:#?}", whole.view);
    assert_eq!(whole.place.picture(), world().picture());
    assert_eq!(whole.view.cause.unwrap().error.code, "LF-SERVICE-ROLLED-BACK");
    crash_matrix_unwinding(&plan, Failing::FailAfter(StepId::from("no such step")), world, run).await;
}

#[tokio::test(start_paused = true)]
async fn update_takes_away_a_service_that_the_manifest_lost() {
    let world = || {
        let mut place = running(full)();
        place.app.previews.as_mut().unwrap().services.pop();
        place
    };
    let plan = world().update(EXECUTION, SECOND);
    let whole = live(&plan, world()).await;
    assert_eq!(whole.view.outcome, Some(Outcome::Succeeded), "{:#?}", whole.view);
    assert_eq!(whole.place.fake.view().services.len(), 1);
    assert_eq!(whole.place.fake.view().task_definitions.len(), 1);
    crash_matrix_unwinding(&plan, Failing::FailAfter(StepId::from("no such step")), world, run).await;
}

#[tokio::test(start_paused = true)]
async fn destroy() {
    let world = running(full);
    let plan = world().destroy(EXECUTION);
    everything(&plan, world, &["hook.dump", "target_group", "sweep", "verify"]).await;
}

/// A task hook after the destroy runs from the definition that was registered, also when the service is gone already.
#[tokio::test(start_paused = true)]
async fn destroy_with_a_task_at_the_end() {
    for service_gone in [false, true] {
        let world = || {
            let place = running(with_last_task)();
            if service_gone {
                place.fake.vanish_service(&place.record.names.service);
            }
            place
        };
        let plan = world().destroy(EXECUTION);
        let whole = live(&plan, world()).await;
        assert_eq!(whole.view.outcome, Some(Outcome::Succeeded), "{:#?}", whole.view);
        let tasks = plan.steps.iter().filter(|step| step.kind() == "task.run").count() as u64;
        assert_eq!((tasks, whole.place.fake.task_runs() - whole.place.earlier_tasks.get()), (2, 2));
        assert!(whole.view.steps.iter().all(|step| step.error.is_none()), "{:#?}", whole.view);
        if service_gone {
            crash_matrix_unwinding(&plan, Failing::FailAfter(StepId::from("no such step")), world, run).await;
        } else {
            everything(&plan, world, &["sweep", "hook.drop-database", "sweep.last"]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn destroy_behind_a_port() {
    let world = running(|| with_ports(app()));
    let plan = world().destroy(EXECUTION);
    everything(&plan, world, &["sweep"]).await;
}

#[tokio::test(start_paused = true)]
async fn destroy_after_the_manifest_lost_its_previews() {
    let world = || {
        let mut place = running(full)();
        place.app.previews = None;
        place
    };
    let plan = world().destroy(EXECUTION);
    let tried = everything(&plan, world, &["sweep"]).await;
    assert_eq!(tried.paused, 0);
}

#[tokio::test(start_paused = true)]
async fn destroy_after_the_manifest_lost_a_service() {
    let world = || {
        let mut place = running(full)();
        place.app.previews.as_mut().unwrap().services.pop();
        place
    };
    let plan = world().destroy(EXECUTION);
    everything(&plan, world, &["sweep"]).await;
}

#[tokio::test(start_paused = true)]
async fn destroy_of_what_was_never_made() {
    let plan = Place::new(full()).destroy(EXECUTION);
    let end = live(&plan, Place::new(full())).await;
    assert_eq!(end.view.outcome, Some(Outcome::Succeeded), "{:#?}", end.view);
    assert!(end.place.fake.view().is_empty());
}

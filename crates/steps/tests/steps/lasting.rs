//! Plans for a lasting environment through the crash matrix. Task definitions are kept whatever becomes of a deployment, so
//! they are no part of the picture.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_model::app::{App, DeploymentConfiguration, LongLivedEnvironment};
use landfall_model::ids::{ExecutionId, StepId};
use landfall_model::inventory::Tags;
use landfall_model::step::RouteTarget;
use landfall_model::task::{LaunchType, TaskDefinition};
use landfall_planner::plan::{self, EnvironmentInputs, Following, Release, Running};
use landfall_planner::{Severity, lint};
use landfall_ports::orchestrator::{Orchestrator, PutService};
use landfall_ports::steps::StepExecutor;
use landfall_testkit::Mem;
use landfall_testkit::crash::{Process, World, crash_matrix, crash_matrix_unwinding};
use landfall_testkit::steps::{Fault, Faulty};
use landfall_workflow::{ExecutionView, Outcome, Plan, outputs};
use serde_json::json;

use crate::matrix::{EARLIER, EXECUTION, run};
use crate::world::{FIRST, Place, SECOND, app, now};

const NAMES: [&str; 2] = ["my-project-prod-app", "my-project-prod-worker"];

struct Lasting(Place);

fn manifest() -> App {
    let mut app = app();
    let prod = LongLivedEnvironment {
        name: "prod".to_owned(),
        on: None,
        services: vec!["app".to_owned(), "worker".to_owned()],
        variables: BTreeMap::new(),
        names: BTreeMap::new(),
        routing: Some(RouteTarget::Host { host: "www.example.com".to_owned(), port: 8080 }),
        target_groups: BTreeMap::new(),
        desired_count: BTreeMap::new(),
        verify: None,
        schedules: BTreeMap::new(),
        stack: None,
    };
    app.environments.insert("prod".to_owned(), prod);
    app
}

impl World for Lasting {
    fn steps(&self) -> Arc<dyn StepExecutor> {
        Arc::new(self.0.steps())
    }

    fn picture(&self) -> String {
        self.0.fake.mend();
        for _ in 0..5 {
            for name in self.0.fake.view().services.keys() {
                now(self.0.fake.describe_service(name)).unwrap();
            }
        }
        let mut view = self.0.fake.view();
        view.task_definitions.clear();
        // Of a build that failed later; the next one uses it.
        view.images.clear();
        format!("{view:#?}")
    }

    fn restart(&self) {
        self.0.fake.restart();
    }

    fn judge(&self, end: &ExecutionView) {
        let services = self.0.fake.view().services;
        if end.outcome == Some(Outcome::Succeeded) {
            assert_eq!(services.keys().collect::<Vec<_>>(), NAMES, "{end:#?}");
        }
    }
}

fn empty() -> Lasting {
    let place = Place::new(manifest());
    place.fake.behave(|behaviour| {
        behaviour.available_images.insert("docker.io/library/nginx:1.29".to_owned());
    });
    Lasting(place)
}

fn inputs(place: &Place, execution: &str, commit: &str, present: Option<Release>) -> EnvironmentInputs {
    let services = place.fake.view().services;
    let live = || ["app", "worker"].into_iter().zip(NAMES);
    let runs = |(handle, ..): &(String, u32, u32)| Running { task_definition: handle.clone(), images: None };
    EnvironmentInputs {
        instance: "this".to_owned(),
        execution: ExecutionId::new(execution),
        commit: Some(commit.to_owned()),
        images: Vec::new(),
        services: Vec::new(),
        live: live().filter_map(|(service, name)| Some((service.to_owned(), services.get(name)?.1))).collect(),
        running: live().filter_map(|(service, name)| Some((service.to_owned(), runs(services.get(name)?)))).collect(),
        unfinished: BTreeSet::new(),
        target: None,
        following: Following::default(),
        comparing: false,
        present,
    }
}

fn deploy(world: &Lasting, execution: &str, commit: &str) -> Plan {
    let app = &world.0.app;
    let cx = inputs(&world.0, execution, commit, None);
    sound(plan::environment(app, &app.environments["prod"], &cx).unwrap().plan)
}

fn sound(plan: Plan) -> Plan {
    let faults: Vec<_> = lint(&plan).into_iter().filter(|note| note.severity == Severity::Error).collect();
    assert!(faults.is_empty(), "{faults:?}");
    plan
}

/// Carries a deployment out; what it released.
fn released(world: &Lasting, execution: &str, commit: &str) -> Release {
    let plan = deploy(world, execution, commit);
    let done = world.0.carry_out(execution, &plan).unwrap();
    let output = |id: &str| done.get(&StepId::from(id));
    let brought: Vec<_> = plan.steps.iter().map(|step| outputs::resolve(&step.params, &output).unwrap()).collect();
    let view: ExecutionView = serde_json::from_value(json!({
        "id": execution, "environment": plan.environment, "kind": plan.kind, "title": plan.title, "state": "finished",
        "outcome": "succeeded", "message": null, "pause": null, "cause": null, "residue": [], "steps": [], "url": null,
        "driver": null, "created_at": null, "started_at": null, "finished_at": null, "version": 1
    }))
    .unwrap();
    Release::of(&view, &brought).unwrap()
}

/// One in which the first commit runs.
fn running() -> Lasting {
    let world = empty();
    released(&world, EARLIER, FIRST);
    world
}

#[tokio::test(start_paused = true)]
async fn a_first_deployment() {
    let plan = deploy(&empty(), EXECUTION, FIRST);
    let tried = crash_matrix(&plan, empty, run).await;
    assert!(tried.commits > 10 && tried.calls > 10 && tried.failures == 3 * plan.steps.len() as u64, "{tried:?}");
    for step in ["service.app", "service.worker", "probe"] {
        crash_matrix_unwinding(&plan, Fault::FailAfter(StepId::from(step)), empty, run).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_over_another() {
    let plan = deploy(&running(), EXECUTION, SECOND);
    crash_matrix(&plan, running, run).await;
    for step in ["service.app", "probe"] {
        crash_matrix_unwinding(&plan, Fault::FailAfter(StepId::from(step)), running, run).await;
        crash_matrix_unwinding(&plan, Fault::FailAfterPoll(StepId::from(step)), running, run).await;
    }
}

/// One in which somebody else made the services, and scaled them.
fn made_by_others() -> Lasting {
    let world = empty();
    let fake = &world.0.fake;
    for name in NAMES {
        let definition = TaskDefinition { family: name.to_owned(), ..TaskDefinition::default() };
        let definition = now(fake.register_task_definition(&definition, &Tags::new())).unwrap().handle;
        let request = PutService {
            name: name.to_owned(),
            launch_type: LaunchType::Fargate,
            task_definition: definition,
            desired_count: 5,
            keep_count: false,
            deployment: DeploymentConfiguration { maximum_percent: 150, ..crate::world::deployment() },
            target: None,
            tags: Tags::from([("team".to_owned(), "shop".to_owned())]),
            adopt: false,
            replace: None,
            document: None,
        };
        now(fake.put_service(&request)).unwrap();
    }
    World::picture(&world);
    world
}

#[tokio::test(start_paused = true)]
async fn a_deployment_over_what_others_made() {
    let plan = deploy(&made_by_others(), EXECUTION, FIRST);
    crash_matrix(&plan, made_by_others, run).await;
    for step in ["service.app", "probe"] {
        crash_matrix_unwinding(&plan, Fault::FailAfter(StepId::from(step)), made_by_others, run).await;
    }
    let world = made_by_others();
    world.0.carry_out(EXECUTION, &plan).unwrap();
    assert!(world.0.fake.view().services.values().all(|(_, desired, running)| (*desired, *running) == (5, 5)));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_also_where_the_revision_is_gone() {
    for gone in [false, true] {
        let world = || {
            let world = empty();
            let release = released(&world, "exe_0", FIRST);
            released(&world, EARLIER, SECOND);
            if gone {
                now(world.0.fake.deregister_task_definition(&release.services["app"].task_definition)).unwrap();
            }
            (world, release)
        };
        let (made, release) = world();
        let app = &made.0.app;
        let cx = inputs(&made.0, EXECUTION, FIRST, None);
        let plan = sound(plan::rollback(app, &app.environments["prod"], &release, "digest".into(), &cx).plan);
        crash_matrix(&plan, || world().0, run).await;
        crash_matrix_unwinding(&plan, Fault::FailAfter(StepId::from("probe")), || world().0, run).await;
    }
}

#[tokio::test(start_paused = true)]
async fn scaling() {
    let make = || {
        let world = empty();
        let release = released(&world, EARLIER, FIRST);
        (world, release)
    };
    let (world, release) = make();
    let app = &world.0.app;
    let cx = inputs(&world.0, EXECUTION, FIRST, Some(release));
    let counts = BTreeMap::from([("app".to_owned(), 4), ("worker".to_owned(), 0)]);
    let plan = sound(plan::scale(app, &app.environments["prod"], &counts, &cx).unwrap().plan);
    crash_matrix(&plan, || make().0, run).await;
    crash_matrix_unwinding(&plan, Fault::FailAfter(StepId::from("service.worker")), || make().0, run).await;
}

/// What follows a deployment that was cut short goes back to what served, not to what was half done.
#[tokio::test(start_paused = true)]
async fn after_a_deployment_that_was_cut_short() {
    let world = || {
        let world = empty();
        let release = released(&world, "exe_0", FIRST);
        let half = deploy(&world, EARLIER, SECOND);
        world.0.carry_out_until(EARLIER, &half, Some("service.app")).unwrap();
        (world, release)
    };
    let (made, release) = world();
    let mut plan = deploy(&made, EXECUTION, FIRST);
    let live = inputs(&made.0, EXECUTION, FIRST, None).live;
    plan::fall_back(&mut plan, &release.parameters(&live), false);
    let failure = || Fault::FailAfter(StepId::from("service.worker"));
    crash_matrix_unwinding(&plan, failure(), || world().0, run).await;
    // With the same names and numbers as if it had never been begun.
    let untouched = empty();
    released(&untouched, "exe_0", FIRST);
    let (world, ..) = world();
    let steps = Arc::new(Faulty::new(World::steps(&world), failure()));
    let process = Process { journal: Arc::new(Mem::default()), steps, plan };
    run(process).await;
    assert_eq!(World::picture(&world), World::picture(&untouched));
}

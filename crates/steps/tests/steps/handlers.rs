//! Each handler by itself: what it does, how its failures are told, what its undo takes back and what it leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_model::inventory::{ResourceKind, TAG_ENVIRONMENT, TAG_EXECUTION, TAG_INSTANCE, Tags};
use landfall_model::step::*;
use landfall_ports::PortError;
use landfall_ports::orchestrator::Orchestrator;
use landfall_ports::steps::{Progress, StepContext, StepExecutor};
use landfall_testkit::platform::{Fault, When};
use landfall_workflow::Plan;
use landfall_workflow::event::{ErrorClass, StepError};
use serde_json::{Value, json};

use crate::world::{FIRST, Place, SECOND, app, context, finish, full, now, with_ports};

pub(crate) const MAKER: &str = "exe_1";
pub(crate) const NEXT: &str = "exe_2";
const IMAGE: &str = "my-project-test123-app";

pub(crate) fn params(params: StepParams) -> Value {
    serde_json::to_value(params).unwrap()
}

/// A preview of the first commit, running.
pub(crate) fn running() -> Place {
    let place = Place::new(app());
    place.carry_out(MAKER, &place.create(MAKER, FIRST)).unwrap();
    place
}

/// One step of `plan` with the outputs of those before it, carried out by `execution`.
pub(crate) struct At {
    pub(crate) cx: StepContext,
    pub(crate) params: Value,
}

pub(crate) fn at(place: &Place, execution: &str, plan: &Plan, step: &str) -> At {
    let mut done: BTreeMap<String, Value> = BTreeMap::new();
    for index in plan.order().unwrap() {
        let this = &plan.steps[index];
        let cx = context(execution, place.environment(), this.id.as_str());
        let params = landfall_workflow::outputs::resolve(&this.params, &|id: &str| done.get(id)).unwrap();
        if this.id.as_str() == step {
            return At { cx, params };
        }
        done.insert(this.id.to_string(), finish(&place.steps(), &cx, &params).unwrap());
    }
    panic!("no step {step}")
}

pub(crate) fn start(place: &Place, at: &At) -> Result<Progress, StepError> {
    now(place.steps().start(&at.cx, &at.params))
}

pub(crate) fn undo(place: &Place, at: &At, output: Option<&Value>) -> Result<(), StepError> {
    let mut token = None;
    for _ in 0..50 {
        match now(place.steps().undo(&at.cx, &at.params, output, token.as_ref()))? {
            Progress::Done(_) => return Ok(()),
            Progress::Pending { token: next, .. } => token = Some(next),
        }
    }
    panic!("the undo of {} never ends", at.cx.step)
}

#[test]
fn a_preview_is_made_by_its_steps_and_every_output_is_there() {
    let place = Place::new(full());
    let outputs = place.carry_out(MAKER, &place.create(MAKER, FIRST)).unwrap();
    let of = |step: &str| &outputs[&step.into()];
    assert_eq!(of("image.app.app")["image"], format!("{IMAGE}-app:1111111@sha256:{FIRST}"));
    assert_eq!(of("image.app.app")["cached"], false);
    assert!(
        of("image.worker.worker")["image"].as_str().unwrap().starts_with("registry.example/worker:1111111@sha256:")
    );
    assert_eq!(of("task_definition.app")["created"], true);
    assert_eq!(of("target_group"), &json!({"target_group": "my-project-test123-tg", "created": true}));
    assert_eq!(of("route")["url"], "http://test123.my-project.localhost:8080/");
    assert_eq!(of("service.app")["created"], true);
    assert_eq!(of("targets"), &json!({"healthy": 1}));
    assert_eq!(of("probe")["status"], 200);
    assert_eq!(of("hook.once-prepare")["tail"], json!(["hook ran"]));
    assert_eq!(of("hook.migrate")["tail"], json!(["app: ran"]));
    let view = place.fake.view();
    assert_eq!(view.services.len(), 2);
    assert_eq!(view.routes.len(), 1);
}

#[test]
fn an_error_of_a_port_becomes_one_of_its_remedy() {
    let cases = [
        (PortError::Unavailable("x".into()), ErrorClass::Retryable, "LF-PLATFORM-UNAVAILABLE"),
        (PortError::Denied("x".into()), ErrorClass::Fatal, "LF-PLATFORM-DENIED"),
        (PortError::NotFound("x".into()), ErrorClass::Fatal, "LF-PLATFORM-NOT-FOUND"),
        (PortError::Conflict("x".into()), ErrorClass::Fatal, "LF-PLATFORM-CONFLICT"),
        (PortError::Invalid("x".into()), ErrorClass::Fatal, "LF-PLATFORM-INVALID"),
        (PortError::Bug("x".into()), ErrorClass::Fatal, "LF-PLATFORM-BUG"),
    ];
    for (error, class, code) in cases {
        let place = Place::new(app());
        place.fake.fail(Fault { method: "put_target_group", nth: 1, when: When::Before, error });
        let step = at(&place, MAKER, &place.create(MAKER, FIRST), "target_group");
        let error = start(&place, &step).unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (class, code), "{error:?}");
        assert!(error.message.contains('x'), "{error:?}");
    }
    let place = Place::new(app());
    let error = PortError::Throttled { message: "slow down".into(), retry_after_ms: Some(1_500) };
    place.fake.fail(Fault { method: "put_target_group", nth: 1, when: When::Before, error });
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "target_group");
    let error = start(&place, &step).unwrap_err();
    assert_eq!((error.class, error.retry_after_ms), (ErrorClass::Throttled, Some(1_500)));
}

#[test]
fn what_is_full_is_tried_again_and_says_which_limit() {
    let place = Place::new(app());
    let error = PortError::Full("100 target groups".into());
    place.fake.fail(Fault { method: "put_target_group", nth: 1, when: When::Before, error });
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "target_group");
    let error = start(&place, &step).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Throttled, "LF-PLATFORM-FULL"));
    assert!(error.message.contains("100 target groups") && error.retry_after_ms.is_some(), "{error:?}");
}

#[test]
fn parameters_of_another_version_are_refused() {
    let place = Place::new(app());
    let error = now(place.steps().start(&context(MAKER, "e", "s"), &json!({"moon.land": {}}))).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Fatal, "LF-STEP-PARAMETERS"));
}

#[test]
fn a_failed_deployment_names_its_root_cause() {
    let place = Place::new(app());
    crashing_app(&place, FIRST);
    let error = place.carry_out(MAKER, &place.create(MAKER, FIRST)).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Fatal, "LF-SERVICE-DEPLOYMENT-FAILED"));
    insta::assert_snapshot!(format!("{}\n{}", error.message, error.detail.unwrap()), @r"
    deployment of service my-project-test123-service failed: Essential container in task exited (app, exit code 1)
    deployment circuit breaker: tasks failed to start
    app: exit code 1
    app | boom
    ");
}

#[test]
fn a_rollback_is_told_apart_from_a_failure() {
    let place = running();
    crashing_app(&place, SECOND);
    let error = place.carry_out(NEXT, &place.update(NEXT, SECOND)).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Fatal, "LF-SERVICE-ROLLED-BACK"));
    insta::assert_snapshot!(error.message, @"deployment of service my-project-test123-service failed and was rolled back: Essential container in task exited (app, exit code 1)");
}

fn crashing_app(place: &Place, commit: &str) {
    let image = format!("{IMAGE}:{}@sha256:{commit}", &commit[..7]);
    place.fake.behave(|b| {
        b.crashing_images.insert(image);
    });
}

#[test]
fn a_failed_build_shows_its_last_lines() {
    let place = Place::new(app());
    place.fake.behave(|b| {
        b.broken_commits.insert(FIRST.to_owned());
    });
    let error = place.carry_out(MAKER, &place.create(MAKER, FIRST)).unwrap_err();
    assert_eq!(error.code, "LF-IMAGE-BUILD-FAILED");
    assert_eq!(error.message, "building my-project-test123-app:1111111 failed: COPY failed");
    assert_eq!(error.detail.as_deref(), Some("step 2/2: COPY app /app"));
}

#[test]
fn a_build_lost_with_its_process_is_begun_again() {
    let place = Place::new(app());
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "image.app.app");
    assert!(matches!(start(&place, &step).unwrap(), Progress::Pending { .. }));
    place.fake.restart();
    let progress = now(place.steps().poll(&step.cx, &step.params, &Value::Null)).unwrap();
    assert!(matches!(progress, Progress::Done(_)), "{progress:?}");
}

#[test]
fn an_image_that_is_not_there_yet_is_waited_for() {
    let place = Place::new(full());
    place.fake.behave(|b| b.available_images.clear());
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "image.worker.worker");
    let Progress::Pending { note, .. } = start(&place, &step).unwrap() else { panic!("it is not there") };
    assert_eq!(note.as_deref(), Some("waiting for image registry.example/worker:1111111"));
    place.fake.behave(|b| {
        b.available_images.insert("registry.example/worker:1111111".to_owned());
    });
    assert!(matches!(now(place.steps().poll(&step.cx, &step.params, &Value::Null)), Ok(Progress::Done(_))));
}

#[test]
fn undo_of_a_build_takes_its_own_image_only() {
    let place = Place::new(full());
    let plan = place.create(MAKER, FIRST);
    at(&place, MAKER, &plan, "task_definition.app");
    let mut other: StepParams =
        serde_json::from_value(plan.step(&"image.app.app".into()).unwrap().params.clone()).unwrap();
    let StepParams::BuildImage(build) = &mut other else { panic!() };
    build.tag = "my-project-test123-other:1111111".to_owned();
    let other = At { cx: context(MAKER, place.environment(), "image.other"), params: params(other) };
    let output = finish(&place.steps(), &other.cx, &other.params).unwrap();
    assert_eq!(place.fake.view().images.len(), 2);
    undo(&place, &other, Some(&output)).unwrap();
    assert_eq!(
        place.fake.view().images.into_iter().collect::<Vec<_>>(),
        [format!("{IMAGE}-app:1111111@sha256:{FIRST}")]
    );
}

#[test]
fn undo_of_a_registration_leaves_the_other_service_its_own() {
    let place = Place::new(full());
    let plan = place.create(MAKER, FIRST);
    let worker = at(&place, MAKER, &plan, "task_definition.worker");
    let output = finish(&place.steps(), &worker.cx, &worker.params).unwrap();
    assert_eq!(place.fake.view().task_definitions.len(), 2);
    undo(&place, &worker, Some(&output)).unwrap();
    let left = place.fake.view().task_definitions;
    assert_eq!(left.len(), 1);
    assert!(left.iter().all(|handle| !handle.contains("worker")), "{left:?}");
}

#[test]
fn undo_leaves_what_another_execution_made() {
    let place = running();
    let before = place.fake.view();
    let plan = place.update(NEXT, FIRST);
    for step in ["target_group", "route", "image.app.app", "task_definition.app", "service.app"] {
        let step = at(&place, NEXT, &plan, step);
        let output = finish(&place.steps(), &step.cx, &step.params).unwrap();
        undo(&place, &step, Some(&output)).unwrap();
        undo(&place, &step, None).unwrap();
        assert_eq!(place.fake.view(), before, "{}", step.cx.step);
    }
}

#[test]
fn undo_deletes_what_this_execution_made_with_a_record_or_without() {
    for recorded in [true, false] {
        let place = Place::new(app());
        let plan = place.create(MAKER, FIRST);
        let outputs = place.carry_out(MAKER, &plan).unwrap();
        for index in plan.order().unwrap().into_iter().rev() {
            let step = &plan.steps[index];
            let params =
                landfall_workflow::outputs::resolve(&step.params, &|id: &str| outputs.get(&id.into())).unwrap();
            let at = At { cx: context(MAKER, place.environment(), step.id.as_str()), params };
            undo(&place, &at, outputs.get(&step.id).filter(|_| recorded)).unwrap();
        }
        assert!(place.fake.view().is_empty(), "{:?}", place.fake.view());
    }
}

#[test]
fn undo_of_an_update_goes_back_with_a_record_or_without() {
    for recorded in [true, false] {
        let place = running();
        let before = place.fake.view().services;
        let step = at(&place, NEXT, &place.update(NEXT, SECOND), "service.app");
        let output = finish(&place.steps(), &step.cx, &step.params).unwrap();
        assert_ne!(place.fake.view().services, before);
        undo(&place, &step, Some(&output).filter(|_| recorded)).unwrap();
        assert_eq!(place.fake.view().services, before);
    }
}

#[test]
fn a_sweep_of_former_routes_does_nothing_unless_it_sees_the_one_that_stays() {
    let place = running();
    let before = place.fake.view();
    let sweep = |host: &str| {
        params(StepParams::SweepResources(SweepResources {
            environment: place.environment().to_owned(),
            kinds: Vec::new(),
            keep: Vec::new(),
            keep_route: Some(RouteTarget::Host { host: host.to_owned(), port: 8080 }),
            undo_kinds: Vec::new(),
        }))
    };
    let cx = context(NEXT, place.environment(), "unused");
    for host in ["elsewhere.my-project.localhost", "TEST123.my-project.localhost", "test123.my-project.localhost"] {
        finish(&place.steps(), &cx, &sweep(host)).unwrap();
        assert_eq!(place.fake.view(), before, "{host}");
    }
}

#[test]
fn a_service_taken_away_is_made_again() {
    let place = Place::new(app());
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "service.app");
    let Progress::Pending { token, .. } = start(&place, &step).unwrap() else { panic!() };
    place.fake.vanish_service("my-project-test123-service");
    assert!(matches!(now(place.steps().poll(&step.cx, &step.params, &token)), Ok(Progress::Pending { .. })));
    assert_eq!(place.fake.view().services.len(), 1);
}

#[test]
fn a_service_that_is_being_deleted_is_waited_for_and_made_again() {
    let place = running();
    let name = "my-project-test123-service";
    place.fake.behave(|b| b.patience = 5);
    let step = at(&place, NEXT, &place.update(NEXT, SECOND), "service.app");
    now(place.fake.delete_service(name)).unwrap();
    let Progress::Pending { token, note, .. } = start(&place, &step).unwrap() else { panic!() };
    assert!(note.unwrap().starts_with("draining"));
    assert_eq!(token, Value::Null);
    assert_eq!(finish(&place.steps(), &step.cx, &step.params).unwrap()["created"], true);

    // Deleted while its deployment was watched.
    let step = at(&place, "exe_3", &place.update("exe_3", FIRST), "service.app");
    let Progress::Pending { token, .. } = start(&place, &step).unwrap() else { panic!() };
    let Progress::Pending { token, .. } = now(place.steps().poll(&step.cx, &step.params, &token)).unwrap() else {
        panic!()
    };
    assert!(token["deployment"].is_string());
    now(place.fake.delete_service(name)).unwrap();
    let polled = now(place.steps().poll(&step.cx, &step.params, &token)).unwrap();
    assert!(matches!(polled, Progress::Pending { note: Some(note), .. } if note.starts_with("draining")));
    assert_eq!(finish(&place.steps(), &step.cx, &step.params).unwrap()["created"], true);
}

#[test]
fn a_change_of_the_desired_count_alone_waits_for_the_tasks() {
    let mut place = running();
    place.app.previews.as_mut().unwrap().desired_count = Some(3);
    let step = at(&place, NEXT, &place.update(NEXT, FIRST), "service.app");
    place.fake.behave(|b| b.patience = 4);
    let deployments =
        |place: &Place| now(place.fake.describe_service("my-project-test123-service")).unwrap().unwrap().deployments;
    let before = deployments(&place);
    let Progress::Pending { token, .. } = start(&place, &step).unwrap() else { panic!() };
    let Progress::Pending { token, .. } = now(place.steps().poll(&step.cx, &step.params, &token)).unwrap() else {
        panic!()
    };
    assert_eq!(token["deployment"], before[0].id.as_str(), "no new deployment");
    let Progress::Pending { note, .. } = now(place.steps().poll(&step.cx, &step.params, &token)).unwrap() else {
        panic!("one task is not three")
    };
    assert_eq!(note.as_deref(), Some("1 of 3 tasks running"));
    finish(&place.steps(), &step.cx, &step.params).unwrap();
    assert_eq!(deployments(&place)[0].running, 3);
}

#[test]
fn a_deployment_that_somebody_replaced_fails() {
    let place = Place::new(app());
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "service.app");
    start(&place, &step).unwrap();
    let token = json!({"deployment": "ecs-svc/another"});
    let error = now(place.steps().poll(&step.cx, &step.params, &token)).unwrap_err();
    assert_eq!(error.code, "LF-SERVICE-REPLACED");
}

/// Tags of a second installation's environment.
fn foreign() -> Tags {
    Tags::from([
        (TAG_ENVIRONMENT.to_owned(), "somebody-else".to_owned()),
        (TAG_INSTANCE.to_owned(), "other".to_owned()),
        (TAG_EXECUTION.to_owned(), "exe_0".to_owned()),
    ])
}

#[test]
fn a_foreign_target_group_is_refused_and_stays() {
    let place = Place::new(app());
    let ours = place.create(MAKER, FIRST).step(&"target_group".into()).unwrap().typed().unwrap();
    let StepParams::EnsureTargetGroup(theirs) = ours else { panic!() };
    place.fake.plant_target_group(EnsureTargetGroup { tags: foreign(), idle_timeout: 7, ..theirs });
    let before = place.fake.view();
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "target_group");
    let error = start(&place, &step).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Fatal, "LF-PLATFORM-CONFLICT"));
    undo(&place, &step, None).unwrap();
    place.carry_out(NEXT, &place.destroy(NEXT)).unwrap();
    let after = place.fake.view();
    assert_eq!(after.target_groups, before.target_groups);
}

#[test]
fn a_foreign_service_is_refused_and_neither_stopped_nor_deleted() {
    let place = Place::new(app());
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "service.app");
    let mut theirs: StepParams = serde_json::from_value(step.params.clone()).unwrap();
    let StepParams::DeployService(deploy) = &mut theirs else { panic!() };
    deploy.tags = foreign();
    finish(&place.steps(), &context("exe_0", "somebody-else", "service.app"), &params(theirs)).unwrap();
    let before = place.fake.view().services;

    let error = start(&place, &step).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Fatal, "LF-PLATFORM-CONFLICT"));
    undo(&place, &step, None).unwrap();
    let name = "my-project-test123-service".to_owned();
    for step in [
        StepParams::StopService(StopService { name: name.clone() }),
        StepParams::DeleteService(DeleteService { name: name.clone() }),
    ] {
        finish(&place.steps(), &context(NEXT, place.environment(), "s"), &params(step)).unwrap();
    }
    assert_eq!(place.fake.view().services, before);
}

#[test]
fn a_port_taken_meanwhile_makes_the_plan_stale() {
    let place = Place::new(with_ports(app()));
    place.fake.behave(|b| {
        b.foreign_ports.insert(9003);
    });
    let step = at(&place, MAKER, &place.create(MAKER, FIRST), "route");
    let error = start(&place, &step).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Stale, "LF-PORT-TAKEN"));
    assert!(error.message.contains("9003"), "{error:?}");
}

#[test]
fn a_sweep_keeps_what_it_must_and_takes_the_rest() {
    let place = running();
    let view = place.fake.view();
    let keep = view.task_definitions.iter().chain(&view.images).cloned().map(Input::Value).collect();
    let sweep = |keep| {
        params(StepParams::SweepResources(SweepResources {
            environment: place.environment().to_owned(),
            kinds: vec![ResourceKind::TaskDefinition, ResourceKind::Image],
            keep,
            keep_route: None,
            undo_kinds: Vec::new(),
        }))
    };
    let cx = context(NEXT, place.environment(), "sweep");
    finish(&place.steps(), &cx, &sweep(keep)).unwrap();
    assert_eq!(place.fake.view(), view);
    finish(&place.steps(), &cx, &sweep(Vec::new())).unwrap();
    let after = place.fake.view();
    assert!(after.task_definitions.is_empty() && after.images.is_empty());
    assert_eq!(after.services.len(), 1, "kinds that were not asked for stay");
}

#[test]
fn nothing_is_deleted_because_of_a_bad_listing() {
    for short in [true, false] {
        let place = running();
        let plan = place.destroy(NEXT);
        let step = |id: &str| At {
            cx: context(NEXT, place.environment(), id),
            params: plan.step(&id.into()).unwrap().params.clone(),
        };
        let before = place.fake.view();
        place.fake.behave(|b| (b.short_listings, b.blind) = (short, !short));
        for id in ["sweep", "verify"] {
            let error = start(&place, &step(id)).unwrap_err();
            assert_eq!(error.class, ErrorClass::Retryable, "{error:?}");
            assert_eq!(error.code, if short { "LF-LISTING-INCOMPLETE" } else { "LF-PLATFORM-UNAVAILABLE" });
        }
        assert_eq!(place.fake.view(), before);
    }
}

#[test]
fn what_is_left_is_named() {
    let place = running();
    let verify = params(StepParams::VerifyGone(VerifyGone { environment: place.environment().to_owned() }));
    let cx = context(NEXT, place.environment(), "verify");
    let error = finish(&place.steps(), &cx, &verify).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Retryable, "LF-RESOURCES-LEFT"));
    assert!(error.message.starts_with("still there: service my-project-test123-service, rule "), "{error:?}");
    place.carry_out(NEXT, &place.destroy(NEXT)).unwrap();
    finish(&place.steps(), &cx, &verify).unwrap();
}

#[test]
fn deleting_twice_is_fine_and_another_environment_is_left_alone() {
    let place = running();
    let mut other = Place::new(app());
    other.record = crate::world::record(&app(), "feature/other");
    other.fake = place.fake.clone();
    other.carry_out("exe_9", &other.create("exe_9", FIRST)).unwrap();
    let plan = place.destroy(NEXT);
    place.carry_out(NEXT, &plan).unwrap();
    place.carry_out(NEXT, &plan).unwrap();
    assert_eq!(place.fake.leaks(place.environment()), Vec::<String>::new());
    let left = place.fake.view();
    assert_eq!((left.services.len(), left.routes.len(), left.target_groups.len()), (1, 1, 1));
    assert!(now(Orchestrator::describe_service(&place.fake, &other.record.names.service)).unwrap().is_some());
    let steps: Arc<dyn StepExecutor> = Arc::new(other.steps());
    let probe =
        params(StepParams::ProbeUrl(ProbeUrl { url: Input::Value("http://other.my-project.localhost:8080/".into()) }));
    assert!(matches!(now(steps.start(&context("exe_9", "e", "probe"), &probe)), Ok(Progress::Done(_))));
}

#[test]
fn targets_and_urls_say_what_they_wait_for() {
    let place = Place::new(app());
    let plan = place.create(MAKER, FIRST);
    at(&place, MAKER, &plan, "service.app");
    let cx = context(MAKER, place.environment(), "targets");
    let targets = params(StepParams::TargetsHealthy(TargetsHealthy {
        target_group: Input::Value("my-project-test123-tg".to_owned()),
        minimum: 1,
    }));
    let note = |params: &Value| match now(place.steps().start(&cx, params)).unwrap() {
        Progress::Pending { note, .. } => note.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(note(&targets), "0 of 1 targets healthy");
    let url = "http://test123.my-project.localhost:8080/";
    let probe = params(StepParams::ProbeUrl(ProbeUrl { url: Input::Value(url.to_owned()) }));
    assert_eq!(note(&probe), format!("{url} answers 503"));
    let nowhere = params(StepParams::ProbeUrl(ProbeUrl { url: Input::Value("http://nowhere:1/".to_owned()) }));
    assert_eq!(note(&nowhere), "http://nowhere:1/ does not answer yet");
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use landfall_model::cron::Schedule;
use landfall_model::inventory::{TAG_EXECUTION, TAG_SERVICE};
use landfall_model::pipeline::TaskWork;
use landfall_model::stack::{Cluster, Network, Stack};
use landfall_model::step::{DeployService, RegisterTaskDefinition, RunTask, StepParams, WaitUntil};
use landfall_workflow::{Outcome, Plan};
use serde_json::json;

use super::*;
use crate::fixture;
use crate::plan::release::{Attempt, NoRelease, rollback_to, state};
use crate::plan::{only_task, scheduled};
use crate::{Severity, lint};

/// As the platform calls Landfall's own target group.
const GROUP: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/my-project-prod-app/fedcba9876543210";
const COMMIT: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";

fn app() -> App {
    let mut app = fixture::app();
    let prod = LongLivedEnvironment {
        name: "prod".to_owned(),
        on: None,
        services: vec!["app".to_owned(), "worker".to_owned()],
        variables: BTreeMap::from([("MODE".to_owned(), "production".to_owned())]),
        names: BTreeMap::from([("worker".to_owned(), "legacy-worker".to_owned())]),
        routing: Some(RouteTarget::Host { host: "www.example.com".to_owned(), port: 8080 }),
        target_groups: BTreeMap::new(),
        desired_count: BTreeMap::from([("worker".to_owned(), 3)]),
        verify: None,
        schedules: BTreeMap::new(),
        stack: None,
    };
    app.environments.insert("prod".to_owned(), prod);
    app
}

fn inputs() -> EnvironmentInputs {
    EnvironmentInputs {
        instance: "inst".to_owned(),
        execution: ExecutionId::new("exe_2"),
        commit: Some(COMMIT.to_owned()),
        images: Vec::new(),
        services: Vec::new(),
        live: BTreeMap::new(),
        running: BTreeMap::new(),
        unfinished: BTreeSet::new(),
        comparing: false,
        target: None,
        following: Following::default(),
        present: None,
    }
}

fn deploy(app: &App, cx: &EnvironmentInputs) -> Result<Plan, PlanError> {
    environment(app, &app.environments["prod"], cx).map(|planned| planned.plan)
}

fn sound(plan: &Plan) {
    let notes: Vec<_> = lint(plan).into_iter().filter(|note| note.severity == Severity::Error).collect();
    assert!(notes.is_empty(), "{notes:?}");
    plan.validate().unwrap();
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id.as_str()).collect()
}

fn put(plan: &Plan, service: &str) -> DeployService {
    let id = format!("service.{service}").as_str().into();
    match plan.step(&id).unwrap().typed().unwrap() {
        StepParams::DeployService(put) => put,
        other => panic!("{other:?}"),
    }
}

fn definition(plan: &Plan, service: &str) -> RegisterTaskDefinition {
    let id = format!("task_definition.{service}").as_str().into();
    match plan.step(&id).unwrap().typed().unwrap() {
        StepParams::RegisterTaskDefinition(definition) => definition,
        other => panic!("{other:?}"),
    }
}

fn healthy_targets(plan: &Plan) -> u32 {
    match plan.step(&"targets".into()).unwrap().typed().unwrap() {
        StepParams::TargetsHealthy(targets) => targets.minimum,
        other => panic!("{other:?}"),
    }
}

/// What one service runs, as [`EnvironmentInputs::running`] has it; with its images, if any are given.
fn runs(service: &str, task_definition: &str, images: &[(&str, &str)]) -> BTreeMap<String, Running> {
    let images = images.iter().map(|(container, image)| ((*container).to_owned(), (*image).to_owned())).collect();
    let images = Some(images).filter(|images: &BTreeMap<_, _>| !images.is_empty());
    BTreeMap::from([(service.to_owned(), Running { task_definition: task_definition.to_owned(), images })])
}

/// What the journal has after `plan` has succeeded: references replaced by what steps answer.
fn brought(plan: &Plan) -> Vec<serde_json::Value> {
    fn replace(value: &mut serde_json::Value, execution: &str) {
        if let Some(reference) = value.get("$output").and_then(serde_json::Value::as_str) {
            *value = match reference {
                "target_group/target_group" => json!(GROUP),
                other => json!(format!("{execution}:{other}")),
            };
            return;
        }
        match value {
            serde_json::Value::Object(map) => map.values_mut().for_each(|value| replace(value, execution)),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|value| replace(value, execution)),
            _ => {}
        }
    }
    let execution = execution(plan);
    let mut all: Vec<_> = plan.steps.iter().map(|step| step.params.clone()).collect();
    all.iter_mut().for_each(|params| replace(params, &execution));
    all
}

fn execution(plan: &Plan) -> String {
    let tagged = plan.steps.iter().find_map(|step| step.params[step.kind()]["tags"][TAG_EXECUTION].as_str());
    tagged.unwrap().to_owned()
}

fn attempt(plan: &Plan, outcome: Outcome) -> Attempt {
    let id = execution(plan);
    let view: landfall_workflow::ExecutionView = serde_json::from_value(json!({
        "id": id, "environment": plan.environment, "kind": plan.kind, "title": plan.title, "state": "finished",
        "outcome": outcome, "message": null, "pause": null, "cause": null, "residue": [], "steps": [], "url": null,
        "driver": null, "created_at": null, "started_at": null, "finished_at": null, "version": 1
    }))
    .unwrap();
    Attempt {
        execution: view.id.clone(),
        plan: landfall_workflow::digest(&plan.canonical_bytes().unwrap()),
        parent: plan.parent.clone(),
        kind: plan.kind.clone(),
        outcome: Some(outcome),
        release: Release::of(&view, &brought(plan)),
        registered: registered(plan),
        touched: crate::plan::touched(plan, &[]),
    }
}

/// The handles that its steps answer, as `brought` has them.
fn registered(plan: &Plan) -> BTreeSet<String> {
    let ids = ids(plan).into_iter().filter(|id| id.starts_with("task_definition."));
    ids.map(|id| format!("{}:{id}/task_definition", execution(plan))).collect()
}

/// An attempt at `commit` by execution `exe_{n}`.
fn tried(app: &App, n: u32, commit: &str, outcome: Outcome) -> Attempt {
    let cx = EnvironmentInputs {
        execution: ExecutionId::new(format!("exe_{n}")),
        commit: Some(commit.repeat(8)),
        ..inputs()
    };
    attempt(&deploy(app, &cx).unwrap(), outcome)
}

#[test]
fn a_deployment_takes_over_what_is_there_and_keeps_its_definitions() {
    let app = app();
    let plan = deploy(&app, &inputs()).unwrap();
    sound(&plan);
    assert_eq!(
        ids(&plan),
        [
            "target_group",
            "route",
            "image.app.app",
            "image.app.proxy",
            "task_definition.app",
            "service.app",
            "image.worker.worker",
            "task_definition.worker",
            "service.worker",
            "targets",
            "probe"
        ]
    );
    assert_eq!((plan.kind.as_str(), plan.environment.as_str()), ("environment.deploy", "my-project@prod"));
    assert_eq!(plan.title, "Deploy prod at 1a2b3c4");
    assert!(plan.last_try, "a choice gone stale fails it");
    for step in &plan.steps {
        assert_eq!(
            step.undo,
            !matches!(step.kind(), "task_definition.register" | "image.await" | "targets.healthy" | "url.probe"),
            "{}",
            step.id
        );
    }
    let web = put(&plan, "app");
    assert_eq!((web.name.as_str(), web.desired_count, web.adopt), ("my-project-prod-app", 2, true));
    assert_eq!(definition(&plan, "app").family, "my-project-prod-app");
    let environment = &definition(&plan, "app").containers[0].settings.environment;
    assert_eq!(environment["MODE"], "production");
    assert_eq!(environment["LANDFALL_URL"], "http://www.example.com:8080/");
    // The name that it has already, and a count that the environment holds.
    let worker = put(&plan, "worker");
    assert_eq!((worker.name.as_str(), worker.desired_count), ("legacy-worker", 3));
    // A reference is looked up once and kept by its digest.
    assert_eq!(definition(&plan, "app").containers[1].image, Input::output("image.app.proxy", "image"));
}

#[test]
fn a_stack_changes_through_cloudformation_only() {
    let mut app = app();
    let stack = Stack {
        network: Network::Existing { load_balancer_subnets: Vec::new() },
        cluster: Cluster::Existing,
        internal: false,
        zone: None,
        rules: BTreeMap::new(),
        scaling: BTreeMap::new(),
        volumes: BTreeMap::new(),
        permissions: BTreeMap::new(),
        log_retention: 30,
        role: None,
        termination_protection: false,
        template_bucket: None,
    };
    app.environments.get_mut("prod").unwrap().stack = Some(stack);
    let error = deploy(&app, &inputs()).unwrap_err().to_string();
    assert!(error.contains("prod is a stack") && error.contains("landfall stack apply prod"), "{error}");
    let counts = BTreeMap::from([("app".to_owned(), 2)]);
    let scaled = scale(&app, &app.environments["prod"], &counts, &inputs());
    assert_eq!(scaled.map(|_| ()).unwrap_err().to_string(), error);
}

#[test]
fn live_counts_stay_and_a_part_can_be_deployed_alone() {
    let app = app();
    let live = BTreeMap::from([("app".to_owned(), 7), ("worker".to_owned(), 9)]);
    let plan = deploy(&app, &EnvironmentInputs { live: live.clone(), ..inputs() }).unwrap();
    assert_eq!((put(&plan, "app").desired_count, put(&plan, "worker").desired_count), (7, 3));
    // Whoever changes it while the deployment runs is not overruled, but by the environment.
    assert_eq!((put(&plan, "app").keep_count, put(&plan, "worker").keep_count), (true, false));
    assert_eq!(healthy_targets(&plan), 1);
    let worker = deploy(&app, &EnvironmentInputs { services: vec!["worker".to_owned()], live, ..inputs() }).unwrap();
    sound(&worker);
    assert_eq!(ids(&worker), ["image.worker.worker", "task_definition.worker", "service.worker"]);
    let unknown = deploy(&app, &EnvironmentInputs { services: vec!["api".to_owned()], ..inputs() });
    assert!(unknown.unwrap_err().to_string().contains("no service `api`; it has app, worker"));
}

#[test]
fn images_are_given_kept_or_need_a_commit() {
    let app = app();
    let image = |text: &str, service: Option<&str>| ImageOverride {
        service: service.map(str::to_owned),
        container: text.to_owned(),
        image: "registry.example/x@sha256:ab".to_owned(),
    };
    let none = EnvironmentInputs { commit: None, ..inputs() };
    let error = deploy(&app, &none).unwrap_err().to_string();
    assert!(error.contains("--commit"), "{error}");
    let given = vec![image("app", Some("app")), image("worker", None)];
    let plan = deploy(&app, &EnvironmentInputs { images: given, ..none.clone() }).unwrap();
    sound(&plan);
    assert_eq!(definition(&plan, "app").containers[0].image, Input::Value("registry.example/x@sha256:ab".to_owned()));
    assert!(!ids(&plan).contains(&"image.app.app"), "what is pinned is not looked up");
    // What runs now is what there is without a commit.
    let before = tried(&app, 1, "aaaaa", Outcome::Succeeded);
    let kept = EnvironmentInputs { present: state(&[before]), ..none };
    let plan = deploy(&app, &kept).unwrap();
    assert_eq!(definition(&plan, "worker").containers[0].image, Input::Value("exe_1:image.worker.worker/image".into()));
    for (wrong, says) in [
        (image("nope", None), "there is app/app, app/proxy, worker/worker"),
        (image("app", Some("worker")), "no container `worker/app`"),
    ] {
        let error = deploy(&app, &EnvironmentInputs { images: vec![wrong], ..inputs() }).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn services_on_aws_wait_for_their_tasks_side_by_side() {
    let mut app = app();
    for (on, expected) in [(Some("main".to_owned()), MAX_PARALLEL_ON_AWS), (None, MAX_PARALLEL)] {
        app.environments.values_mut().for_each(|environment| environment.on.clone_from(&on));
        assert_eq!(deploy(&app, &inputs()).unwrap().max_parallel, expected);
    }
}

#[test]
fn target_groups_that_exist_are_used_as_they_are() {
    let mut app = app();
    let arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/0123456789abcdef";
    let prod = app.environments.get_mut("prod").unwrap();
    prod.target_groups.insert("app".to_owned(), arn.to_owned());
    let plan = deploy(&app, &inputs()).unwrap();
    sound(&plan);
    assert!(!ids(&plan).iter().any(|id| matches!(*id, "target_group" | "route" | "probe")));
    assert_eq!(put(&plan, "app").target.unwrap().target_group, Input::Value(arn.to_owned()));
    assert_eq!(environment_url(&app, &app.environments["prod"], None), None);
    let release = tried(&app, 1, "aaaaa", Outcome::Succeeded).release.unwrap();
    let back = rollback(&app, &app.environments["prod"], &release, PlanDigest::new("x"), &inputs()).plan;
    sound(&back);
    assert_eq!(put(&back, "app").target.unwrap().target_group, Input::Value(arn.to_owned()));
}

#[test]
fn documents_are_put_as_they_are() {
    let mut app = app();
    let documents = landfall_model::app::ServiceDocuments {
        task_definition: json!({"family": "own-family", "containerDefinitions": []}),
        service: json!({"launchType": "FARGATE"}),
    };
    let service = app.services.get_mut("app").unwrap();
    service.documents = Some(documents.clone());
    service.containers[0].image = landfall_model::app::ImageSource::Base;
    let plan = deploy(&app, &inputs()).unwrap();
    sound(&plan);
    let registered = definition(&plan, "app");
    assert_eq!((registered.family.as_str(), registered.document), ("own-family", Some(documents.task_definition)));
    assert_eq!(registered.containers.len(), 1, "only images that are known are put in");
    let web = put(&plan, "app");
    assert_eq!((web.target, web.document), (None, Some(documents.service)));
    // Scaling sends none of it.
    let release = tried(&app, 1, "aaaaa", Outcome::Succeeded).release;
    let cx = EnvironmentInputs { present: release, running: runs("app", "own-family:7", &[]), ..inputs() };
    let counts = BTreeMap::from([("app".to_owned(), 4)]);
    let scaled = scale(&app, &app.environments["prod"], &counts, &cx).unwrap().plan;
    let scaled = put(&scaled, "app");
    assert_eq!((scaled.only_count, scaled.keep_count, scaled.desired_count, scaled.document), (true, false, 4, None));
    // The count of a release's document is of the past: that of now stays, or what the environment holds is set.
    let counted = |app: &App| {
        let mut release = tried(app, 1, "aaaaa", Outcome::Succeeded).release.unwrap();
        let released = release.services.get_mut("app").unwrap();
        released.deploy.document.as_mut().unwrap()["desiredCount"] = json!(8);
        put(&rollback(app, &app.environments["prod"], &release, PlanDigest::new("x"), &inputs()).plan, "app")
    };
    assert!(counted(&app).keep_count);
    app.environments.get_mut("prod").unwrap().desired_count.insert("app".to_owned(), 5);
    let back = counted(&app);
    assert_eq!((back.keep_count, back.document.unwrap()["desiredCount"].as_u64()), (false, Some(5)));
}

#[test]
fn a_rollback_has_the_parameters_of_the_release_and_the_counts_of_now() {
    let app = app();
    let first = tried(&app, 1, "aaaaa", Outcome::Succeeded);
    let release = first.release.clone().unwrap();
    let cx = EnvironmentInputs { live: BTreeMap::from([("app".to_owned(), 5)]), commit: None, ..inputs() };
    let plan = rollback(&app, &app.environments["prod"], &release, first.plan.clone(), &cx).plan;
    sound(&plan);
    assert_eq!((plan.kind.as_str(), &plan.parent), ("environment.rollback", &Some(first.plan)));
    assert_eq!(plan.title, "Roll prod back to exe_1 at aaaaaaa");
    assert!(!ids(&plan).iter().any(|id| id.starts_with("image.")), "images are pinned: {:?}", ids(&plan));
    assert!(ids(&plan).contains(&"probe"));
    let web = put(&plan, "app");
    assert_eq!((web.desired_count, web.keep_count, web.tags[TAG_EXECUTION].as_str()), (5, true, "exe_2"));
    assert_eq!(healthy_targets(&plan), 1);
    assert_eq!(web.target.unwrap().target_group, Input::output("target_group", "target_group"));
    assert_eq!(definition(&plan, "app").containers[0].image, Input::Value("exe_1:image.app.app/image".to_owned()));
    let worker = put(&plan, "worker");
    assert_eq!((worker.name.as_str(), worker.desired_count, worker.keep_count), ("legacy-worker", 3, false));
}

#[test]
fn scaling_changes_counts_and_nothing_else() {
    let app = app();
    let present = tried(&app, 1, "aaaaa", Outcome::Succeeded).release;
    let following = Following { force: true, wait_until: WaitUntil::Started, fail_fast: Some(2) };
    // Somebody else has deployed since.
    let cx = EnvironmentInputs { present, following, running: runs("worker", "others:4", &[]), ..inputs() };
    let prod = &app.environments["prod"];
    let plan = scale(&app, prod, &BTreeMap::from([("worker".to_owned(), 0)]), &cx).unwrap().plan;
    sound(&plan);
    assert_eq!((ids(&plan), plan.title.as_str()), (vec!["service.worker"], "Scale prod: worker to 0"));
    let worker = put(&plan, "worker");
    assert_eq!((worker.desired_count, worker.force, worker.wait_until), (0, false, WaitUntil::Started));
    assert_eq!((worker.only_count, worker.keep_count), (true, false));
    assert_eq!(worker.task_definition, Input::Value("others:4".to_owned()));
    assert_eq!(plan.steps[0].title, "Scale service legacy-worker to 0");
    let error = scale(&app, prod, &BTreeMap::from([("app".to_owned(), 1)]), &cx).unwrap_err();
    assert!(error.to_string().contains("my-project-prod-app does not exist"), "{error}");
    let never = EnvironmentInputs { present: None, ..inputs() };
    let error = scale(&app, prod, &BTreeMap::from([("worker".to_owned(), 1)]), &never).unwrap_err();
    assert!(error.to_string().contains("never deployed"));
    assert!(scale(&app, prod, &BTreeMap::new(), &cx).is_err());
}

#[test]
fn what_is_rolled_back_to() {
    let app = app();
    let good = |n: u32, commit: &str| tried(&app, n, commit, Outcome::Succeeded);
    let bad = |n: u32| tried(&app, n, "bbbbb", Outcome::RolledBack);
    let to = |attempts: &[Attempt]| rollback_to(attempts, None).map(|index| attempts[index].execution.to_string());
    let newest_first = |mut attempts: Vec<Attempt>| {
        attempts.reverse();
        attempts
    };
    assert_eq!(to(&[]), Err(NoRelease::None));
    assert_eq!(to(&[bad(1)]), Err(NoRelease::None));
    assert_eq!(to(&[good(1, "aaaaa")]), Err(NoRelease::NoEarlier));
    assert_eq!(to(&newest_first(vec![good(1, "aaaaa"), bad(2), bad(3)])).unwrap(), "exe_1", "good, bad, bad");
    assert_eq!(to(&newest_first(vec![good(1, "aaaaa"), bad(2), good(3, "ccccc")])).unwrap(), "exe_1");
    assert_eq!(to(&newest_first(vec![good(1, "aaaaa"), good(2, "bbbbb"), bad(3)])).unwrap(), "exe_2");

    // Twice in a row goes back twice, and does not swing between two.
    let mut attempts = newest_first(vec![good(1, "aaaaa"), good(2, "bbbbb"), good(3, "ccccc")]);
    let back = |attempts: &[Attempt], index: usize, n: u32| {
        let cx = EnvironmentInputs { execution: ExecutionId::new(format!("exe_{n}")), ..inputs() };
        let release = state(&attempts[index..]).unwrap();
        let plan = rollback(&app, &app.environments["prod"], &release, attempts[index].plan.clone(), &cx).plan;
        attempt(&plan, Outcome::Succeeded)
    };
    let index = rollback_to(&attempts, None).unwrap();
    attempts.insert(0, back(&attempts, index, 4));
    assert_eq!(attempts[rollback_to(&attempts, None).unwrap()].execution.as_str(), "exe_1");
    let index = rollback_to(&attempts, None).unwrap();
    attempts.insert(0, back(&attempts, index, 5));
    assert_eq!(rollback_to(&attempts, None), Err(NoRelease::NoEarlier));

    // By name.
    let named = |text: &str| rollback_to(&attempts, Some(text)).map(|index| attempts[index].execution.to_string());
    assert_eq!(named("exe_2").unwrap(), "exe_2");
    assert_eq!(named("ccccccccc").unwrap(), "exe_3");
    assert_eq!(named("aaaaaaaaa").unwrap(), "exe_5", "the newest that has it");
    assert_eq!(named("ccc"), Err(NoRelease::Unknown("ccc".to_owned())), "too short to be a commit");
    assert!(named("exe_9").is_err());
}

#[test]
fn a_release_is_found_by_digest_and_completed_by_older_ones() {
    let app = app();
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let mut attempts = vec![tried(&app, 1, "aaaaa", Outcome::Succeeded)];
    let only = EnvironmentInputs {
        execution: ExecutionId::new("exe_2"),
        services: vec!["worker".to_owned()],
        images: vec![ImageOverride {
            service: None,
            container: "worker".into(),
            image: format!("r.example/w@{digest}"),
        }],
        ..inputs()
    };
    let plan = deploy(&app, &only).unwrap();
    let mut second = attempt(&plan, Outcome::Succeeded);
    second.plan = PlanDigest::new("second");
    attempts.insert(0, second);
    for text in [digest, &digest[..19], &digest[7..19]] {
        assert_eq!(rollback_to(&attempts, Some(text)).unwrap(), 0, "{text}");
    }
    let state = state(&attempts).unwrap();
    assert_eq!(state.services.keys().collect::<Vec<_>>(), ["app", "worker"]);
    assert!(state.route.is_some());
    assert_eq!(state.services["worker"].images().next().unwrap().1, format!("r.example/w@{digest}"));
    assert!(
        state
            .parameters(&BTreeMap::from([("app".to_owned(), 9)]))
            .iter()
            .any(|params| params["service.deploy"]["desired_count"] == 9)
    );
}

#[test]
fn names_are_legal_whatever_the_manifest_calls_things() {
    let mut app = app();
    app.project = "a-project-with-quite-a-long-name-indeed".to_owned();
    let prod = app.environments["prod"].clone();
    let group = crate::names::lasting_target_group(&app, &prod, "app");
    assert!(group.len() <= 32 && !group.ends_with('-'), "{group}");
    assert_ne!(group, crate::names::lasting_target_group(&app, &prod, "worker"));
    let plan = deploy(&app, &inputs()).unwrap();
    sound(&plan);
}

#[path = "environment_others_tests.rs"]
mod others;

fn only_step(plan: &Plan, id: &str) -> RunTask {
    let step = plan.step(&id.into()).unwrap();
    match step.typed().unwrap() {
        StepParams::RunTask(task) => task,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_task_before_the_deployment_is_stopped_by_its_own_undo() {
    let mut plan = deploy(&app(), &inputs()).unwrap();
    let (container, command) = (Some("app".to_owned()), vec!["migrate".to_owned()]);
    let work = TaskWork { service: "app".to_owned(), container, command, timeout: 60 };
    only_task(&mut plan, &work, "my-project-prod-app".to_owned()).unwrap();
    sound(&plan);
    assert_eq!(ids(&plan), ["image.app.app", "image.app.proxy", "task_definition.app", "task"]);
    let undone: Vec<_> = plan.steps.iter().filter(|step| step.undo).map(|step| step.id.as_str()).collect();
    assert_eq!(undone, ["image.app.app", "task"], "what is registered stays: the deployment finds it");
    let task = only_step(&plan, "task");
    assert_eq!(task.tags.get(TAG_EXECUTION).map(String::as_str), Some("exe_2"));
    // A service's tasks go with their service, and an undo leaves them.
    assert_eq!(task.tags.get(TAG_SERVICE), None);
    assert_eq!(task.service.as_deref(), Some("my-project-prod-app"));

    let nowhere = TaskWork { service: "nothing".to_owned(), ..work };
    assert!(only_task(&mut plan, &nowhere, String::new()).is_err());
}

#[test]
fn a_scheduled_task_is_a_plan_of_its_own() {
    let app = app();
    let schedule = Schedule {
        service: "app".to_owned(),
        container: String::new(),
        command: vec!["tidy".to_owned()],
        cron: "0 3 * * *".to_owned(),
        time_zone: None,
    };
    let environment = &app.environments["prod"];
    let revision = "my-project-prod-app:7".to_owned();
    let plan = scheduled("my-project", environment, ("tidy", &schedule), revision, "inst", &ExecutionId::new("exe_3"));
    sound(&plan);
    assert_eq!((plan.environment.as_str(), ids(&plan)), ("my-project@prod/tidy", vec!["task"]));
    assert_eq!(only_step(&plan, "task").container, None, "the service's main one");
}

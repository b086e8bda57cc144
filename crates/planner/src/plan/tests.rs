//! Every plan shape as a person would check it, and the ways in which none can be made.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use landfall_model::Timestamp;
use landfall_model::app::{App, Hook, HookAction, HookFailure, HookPoint, ImageSource, Routing};
use landfall_model::environment::{EnvironmentKey, EnvironmentRecord, Phase, SourceRef, Wanted};
use landfall_model::ids::{DeliveryId, ExecutionId, PlanDigest, RepositoryKey};
use landfall_model::inventory::{OwnedResource, ResourceKind, TAG_EXECUTION, TAG_SERVICE, Tags};
use landfall_model::step::{Input, RouteTarget, StepParams};
use landfall_workflow::{FailurePolicy, Plan};

use super::*;
use crate::environment_names;
use crate::fixture::app;

const COMMIT: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";

fn record(app: &App, source: SourceRef) -> EnvironmentRecord {
    let key = EnvironmentKey { repository: RepositoryKey::new("my-project"), source };
    let names = environment_names(app, &key);
    let cause = DeliveryId::new("delivery-1");
    EnvironmentRecord {
        revision: 1,
        generation: 3,
        phase: Phase::Creating,
        commit: Some(COMMIT.to_owned()),
        ..EnvironmentRecord::new(key, names, Wanted::default(), cause, Timestamp::UNIX_EPOCH)
    }
}

fn branch(app: &App) -> EnvironmentRecord {
    record(app, SourceRef::Branch("feature/test123".to_owned()))
}

fn inputs() -> PlanInputs {
    PlanInputs {
        instance: "here".to_owned(),
        execution: ExecutionId::new("exe_1"),
        parent: None,
        running: BTreeMap::new(),
        owned: Vec::new(),
    }
}

fn owned(kind: ResourceKind, name: &str) -> OwnedResource {
    OwnedResource {
        kind,
        id: name.to_owned(),
        name: name.to_owned(),
        environment: "my-project-test123".to_owned(),
        tags: Tags::new(),
    }
}

/// Two services, an awaited image, hooks of every kind at every point.
fn full() -> App {
    let mut app = app();
    let previews = app.previews.as_mut().unwrap();
    previews.services.push("worker".to_owned());
    let command = || HookAction::Command { argv: vec!["true".to_owned()], directory: None };
    let http = || HookAction::Http {
        url: "http://127.0.0.1/".to_owned(),
        method: "POST".to_owned(),
        headers: BTreeMap::new(),
        secret: None,
        secret_headers: BTreeMap::new(),
    };
    let task = || HookAction::Task { service: "app".to_owned(), container: None, command: vec!["migrate".to_owned()] };
    let hook = |name: &str, when, run, on_failure, rerunnable| Hook {
        name: name.to_owned(),
        when,
        run,
        timeout: 60,
        on_failure,
        rerunnable,
    };
    previews.hooks = vec![
        hook("prepare", HookPoint::BeforeCreate, command(), HookFailure::Fail, false),
        hook("migrate", HookPoint::BeforeCreate, task(), HookFailure::Pause, false),
        hook("announce", HookPoint::AfterCreate, http(), HookFailure::Warn, true),
        hook("refresh", HookPoint::BeforeUpdate, task(), HookFailure::Fail, false),
        hook("dump", HookPoint::BeforeDestroy, task(), HookFailure::Fail, false),
        hook("forget", HookPoint::AfterDestroy, http(), HookFailure::Warn, true),
    ];
    app
}

fn create(app: &App) -> Plan {
    made(app, &branch(app), PlanKind::Create)
}

fn made(app: &App, record: &EnvironmentRecord, kind: PlanKind) -> Plan {
    let planned = preview(app, record, kind, Some(COMMIT), &inputs()).unwrap();
    assert_eq!(planned.warnings, Vec::<String>::new());
    valid(planned.plan)
}

fn valid(plan: Plan) -> Plan {
    plan.validate().unwrap();
    for step in &plan.steps {
        step.typed().unwrap();
    }
    plan
}

/// One line a step: id, kind, needs, then what is not usual of it.
fn shape(plan: &Plan) -> String {
    let mut text = format!("{} · {}\n", plan.kind, plan.title);
    for step in &plan.steps {
        let needs: Vec<&str> = step.needs.iter().map(|need| need.as_str()).collect();
        let policy = serde_json::to_value(step.on_failure).unwrap();
        let idempotency = serde_json::to_value(step.idempotency).unwrap();
        writeln!(
            text,
            "{} [{}] <- {} | {} {} {}s x{}{}",
            step.id,
            step.kind(),
            needs.join(" "),
            policy.as_str().unwrap(),
            idempotency.as_str().unwrap(),
            step.timeout_ms / 1_000,
            step.retry.attempts,
            if step.undo { " undo" } else { "" },
        )
        .unwrap();
    }
    text
}

fn typed(plan: &Plan, id: &str) -> StepParams {
    plan.step(&id.into()).unwrap_or_else(|| panic!("no step {id}")).typed().unwrap()
}

fn refused(app: &App, record: &EnvironmentRecord, commit: Option<&str>) -> String {
    preview(app, record, PlanKind::Create, commit, &inputs()).unwrap_err().to_string()
}

#[test]
fn create_behind_a_host_in_full() {
    insta::assert_json_snapshot!(create(&app()));
}

#[test]
fn create_behind_a_port() {
    let mut app = app();
    app.previews.as_mut().unwrap().routing = Routing::Ports { first: 9000, last: 9009 };
    let mut record = branch(&app);
    assert_eq!(refused(&app, &record, Some(COMMIT)), "no port has been chosen for the preview yet");
    assert_eq!(url(&app, &record), None);
    record.port = Some(9004);
    assert_eq!(url(&app, &record).unwrap(), "http://127.0.0.1:9004/");
    insta::assert_snapshot!(shape(&made(&app, &record, PlanKind::Create)));
}

#[test]
fn create_with_hooks_a_worker_and_an_awaited_image() {
    insta::assert_snapshot!(shape(&create(&full())));
}

#[test]
fn update() {
    let app = full();
    let mut before = inputs();
    before.parent = Some(PlanDigest::new("abc"));
    let plan = preview(&app, &branch(&app), PlanKind::Update, Some(COMMIT), &before).unwrap().plan;
    assert_eq!(plan.parent, Some(PlanDigest::new("abc")));
    insta::assert_snapshot!(shape(&valid(plan)));
}

#[test]
fn an_update_keeps_what_it_uses_and_sweeps_what_nobody_does() {
    let app = full();
    let plan = made(&app, &branch(&app), PlanKind::Update);
    let StepParams::SweepResources(sweep) = typed(&plan, "unused") else { panic!() };
    assert_eq!(sweep.kinds, [ResourceKind::Service, ResourceKind::TaskDefinition, ResourceKind::Image]);
    let kept: Vec<String> = sweep
        .keep
        .iter()
        .map(|input| match input {
            Input::Output { output } => output.clone(),
            Input::Value(name) => name.clone(),
        })
        .collect();
    assert_eq!(
        kept,
        [
            "task_definition.app/task_definition",
            "task_definition.worker/task_definition",
            "image.app.app/image",
            "image.worker.worker/image",
            "my-project-test123-service",
            "my-project-test123--worker-service",
        ]
    );
}

#[test]
fn create_after_a_superseded_attempt_goes_on_from_it() {
    let app = app();
    let mut record = branch(&app);
    record.made_generation = 3;
    let plan = made(&app, &record, PlanKind::Create);
    insta::assert_snapshot!(shape(&plan));
    let StepParams::SweepResources(first) = typed(&plan, "leftovers") else { panic!() };
    assert_eq!(first.kinds, [ResourceKind::Task], "what answers goes on answering");
    assert_eq!(first.undo_kinds, ResourceKind::ALL);
    let roots: Vec<_> = plan.steps.iter().filter(|step| step.needs.is_empty()).map(|step| step.id.as_str()).collect();
    assert_eq!(roots, ["leftovers"]);
    assert!(made(&app, &record, PlanKind::Update).step(&"leftovers".into()).is_none());
}

#[test]
fn destroy_in_full() {
    let app = full();
    let mut there = inputs();
    there.running.insert("app".to_owned(), "my-project-test123:1".to_owned());
    let planned = destroy(&app, &branch(&app), &there);
    assert_eq!(planned.warnings, Vec::<String>::new());
    insta::assert_snapshot!(shape(&valid(planned.plan)));
}

#[test]
fn destroy_works_from_tags_when_the_manifest_lost_its_previews() {
    let mut app = full();
    app.previews = None;
    let record = record(&full(), SourceRef::Branch("feature/test123".to_owned()));
    let mut there = inputs();
    there.owned = vec![
        owned(ResourceKind::Service, "my-project-test123-service"),
        owned(ResourceKind::Rule, "test123.my-project.localhost:8080"),
        OwnedResource { environment: "another".to_owned(), ..owned(ResourceKind::Service, "another-service") },
    ];
    insta::assert_snapshot!(shape(&valid(destroy(&app, &record, &there).plan)));
}

#[test]
fn destroy_stops_a_service_that_the_manifest_lost_and_says_which_hook_is_left_out() {
    let mut app = full();
    app.previews.as_mut().unwrap().services.pop();
    let mut there = inputs();
    there.owned = vec![owned(ResourceKind::Service, "my-project-test123--worker-service")];
    let planned = destroy(&app, &branch(&app), &there);
    assert_eq!(planned.warnings, ["hook dump is left out: its service has no task definition to run from"]);
    let plan = valid(planned.plan);
    assert!(plan.step(&"delete.my-project-test123--worker-service".into()).is_some());
    assert!(plan.step(&"delete.my-project-test123-service".into()).is_some());
}

#[test]
fn no_previews_or_no_service_is_said() {
    let mut without = app();
    without.previews = None;
    let record = branch(&app());
    assert_eq!(refused(&without, &record, None), "the manifest has no `previews` section");
    assert_eq!(url(&without, &record), None);
    let mut lost = app();
    lost.services.clear();
    assert_eq!(refused(&lost, &record, None), "previews.services names `app`, which is not in the manifest");
}

#[test]
fn a_build_needs_a_commit_and_a_source() {
    let mut app = app();
    let record = branch(&app);
    assert_eq!(
        refused(&app, &record, None),
        "container app is built from a commit, and none is known; give the repository a `source`"
    );
    app.repositories.values_mut().for_each(|repository| repository.source = None);
    assert_eq!(
        refused(&app, &record, Some(COMMIT)),
        "container app is built from a checkout, and repository my-project has no `source`"
    );
}

fn awaiting(image: &str) -> App {
    let mut app = app();
    app.previews.as_mut().unwrap().services = vec!["worker".to_owned()];
    let worker = app.services.get_mut("worker").unwrap();
    let ImageSource::Await(wait) = &mut worker.containers[0].image else { panic!() };
    wait.image = image.to_owned();
    app
}

fn awaited(plan: &Plan) -> String {
    let StepParams::AwaitImage(wait) = typed(plan, "image.worker.worker") else { panic!() };
    wait.image
}

#[test]
fn placeholders_are_filled_in_or_missed() {
    let app = awaiting("r.example/{project}/{branch}:{short_commit}-{commit}");
    assert_eq!(awaited(&create(&app)), format!("r.example/my-project/feature-test123:1a2b3c4-{COMMIT}"));
    assert_eq!(
        refused(&app, &branch(&app), None),
        "container worker waits for an image of a commit, and none is known; give the repository a `source`"
    );
    let by_branch = awaiting("r.example/worker:{branch}");
    let fork = record(&by_branch, SourceRef::ForkPullRequest(7));
    assert_eq!(awaited(&made(&by_branch, &fork, PlanKind::Create)), "r.example/worker:pr-7");
    let hostile = record(&by_branch, SourceRef::Branch(format!("-.é\u{0}../{}", "x".repeat(200))));
    assert_eq!(awaited(&made(&by_branch, &hostile, PlanKind::Create)), format!("r.example/worker:{}", "x".repeat(128)));
    let nothing = record(&by_branch, SourceRef::Branch("ünö".to_owned()));
    assert_eq!(awaited(&made(&by_branch, &nothing, PlanKind::Create)), "r.example/worker:n-");
    let nothing = record(&by_branch, SourceRef::Branch("é".to_owned()));
    assert!(refused(&by_branch, &nothing, Some(COMMIT)).contains("nothing that a tag may hold"));
}

#[test]
fn a_plan_without_builds_needs_no_commit() {
    let app = awaiting("r.example/worker:{branch}");
    let plan = preview(&app, &branch(&app), PlanKind::Create, None, &inputs()).unwrap().plan;
    assert_eq!(plan.title, "Create preview my-project-test123");
    assert!(plan.step(&"route".into()).is_none() && plan.step(&"probe".into()).is_none());
}

#[test]
fn containers_that_want_the_same_build_share_one() {
    let mut app = app();
    let containers = &mut app.services.get_mut("app").unwrap().containers;
    let mut second = containers[0].clone();
    second.name = "cron".to_owned();
    containers.push(second);
    let plan = create(&app);
    let builds: Vec<_> = plan.steps.iter().filter(|s| s.kind() == "image.build").map(|s| s.id.as_str()).collect();
    assert_eq!(builds, ["image.app.app"]);
    let StepParams::RegisterTaskDefinition(register) = typed(&plan, "task_definition.app") else { panic!() };
    assert_eq!(register.containers[0].image, register.containers[2].image);

    let ImageSource::Build(build) = &mut app.services.get_mut("app").unwrap().containers[2].image else { panic!() };
    build.target = Some("cron".to_owned());
    assert_eq!(create(&app).steps.iter().filter(|s| s.kind() == "image.build").count(), 2);
}

#[test]
fn containers_are_told_of_their_environment_and_the_manifest_wins_over_the_image() {
    let mut app = app();
    let own = BTreeMap::from([("MODE".to_owned(), "own".to_owned()), ("KEEP".to_owned(), "yes".to_owned())]);
    app.services.get_mut("app").unwrap().containers[0].settings.environment = own;
    let StepParams::RegisterTaskDefinition(register) = typed(&create(&app), "task_definition.app") else { panic!() };
    let given = &register.containers[0].settings.environment;
    let pairs: Vec<String> = given.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        pairs,
        [
            "KEEP=yes".to_owned(),
            "LANDFALL_BRANCH=feature/test123".to_owned(),
            format!("LANDFALL_COMMIT={COMMIT}"),
            "LANDFALL_ENVIRONMENT=my-project-test123".to_owned(),
            "LANDFALL_PROJECT=my-project".to_owned(),
            "LANDFALL_URL=http://test123.my-project.localhost:8080/".to_owned(),
            "MODE=preview".to_owned(),
        ]
    );
}

#[test]
fn everything_made_carries_the_same_tags() {
    let plan = create(&full());
    for step in &plan.steps {
        let tags = match step.typed().unwrap() {
            StepParams::BuildImage(p) => p.tags,
            StepParams::RegisterTaskDefinition(p) => p.tags,
            StepParams::EnsureTargetGroup(p) => p.tags,
            StepParams::EnsureRoute(p) => p.tags,
            StepParams::DeployService(p) => p.tags,
            StepParams::RunTask(p) => p.tags,
            _ => continue,
        };
        let got = |key: &str| tags.get(key).map(String::as_str);
        assert_eq!(got(TAG_ENVIRONMENT), Some("my-project-test123"), "{}", step.id);
        assert_eq!(got(TAG_INSTANCE), Some("here"), "{}", step.id);
        assert_eq!(got(TAG_GENERATION), Some("3"), "{}", step.id);
        assert_eq!(got(TAG_EXECUTION), Some("exe_1"), "{}", step.id);
        assert_eq!(got(TAG_COMMIT), Some(COMMIT), "{}", step.id);
    }
}

#[test]
fn nobody_waits_for_targets_of_a_service_that_runs_none() {
    let mut app = full();
    app.previews.as_mut().unwrap().desired_count = Some(0);
    let plan = create(&app);
    assert!(plan.step(&"targets".into()).is_none() && plan.step(&"probe".into()).is_none());
    let StepParams::DeployService(deploy) = typed(&plan, "service.app") else { panic!() };
    assert_eq!(deploy.desired_count, 0);
    let after = plan.step(&"hook.announce".into()).unwrap();
    assert!(after.needs.contains(&"service.app".into()) && after.needs.contains(&"service.worker".into()));
}

#[test]
fn the_same_inputs_give_the_same_plan() {
    assert_eq!(create(&full()).digest().unwrap(), create(&full()).digest().unwrap());
    assert_eq!(typed(&create(&full()), "hook.prepare"), typed(&create(&full()), "hook.prepare"));
    let plan = create(&full());
    assert_eq!(plan.step(&"hook.migrate".into()).unwrap().on_failure, FailurePolicy::Pause);
}

#[test]
fn a_failed_call_about_a_task_is_repeated_and_a_hook_on_the_host_is_not() {
    let plan = create(&full());
    let task = plan.step(&"hook.migrate".into()).unwrap();
    assert_eq!(task.idempotency, landfall_workflow::Idempotency::Token);
    let waits = (1..task.retry.attempts).map(|n| (task.retry.initial_ms << (n - 1)).min(task.retry.max_ms));
    assert!(waits.sum::<u64>() / 2 > 15_000, "{:?} gives up too soon", task.retry);
    let command = plan
        .steps
        .iter()
        .find(|step| matches!(typed(&plan, step.id.as_str()), StepParams::RunHook(hook) if !hook.rerunnable));
    assert_eq!(command.unwrap().retry.attempts, 1);
}

#[test]
fn what_a_last_task_runs_from_is_swept_after_it() {
    let mut app = full();
    let task = HookAction::Task { service: "app".to_owned(), container: None, command: vec!["drop".to_owned()] };
    let hook = Hook {
        name: "drop-database".to_owned(),
        when: HookPoint::AfterDestroy,
        run: task,
        timeout: 60,
        on_failure: HookFailure::Fail,
        rerunnable: false,
    };
    app.previews.as_mut().unwrap().hooks.push(hook);
    let registered = |id: &str, service: &str, execution: &str| {
        let tags = [(TAG_SERVICE, service), (TAG_EXECUTION, execution)];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        OwnedResource { tags, ..owned(ResourceKind::TaskDefinition, id) }
    };
    let mut inputs = inputs();
    inputs.owned = vec![registered("app:2", "app", "exe_2"), registered("app:9", "app", "exe_1")];
    inputs.owned.push(registered("worker:1", "worker", "exe_3"));
    let planned = destroy(&app, &branch(&app), &inputs);
    assert_eq!(planned.warnings, Vec::<String>::new());
    insta::assert_snapshot!(shape(&valid(planned.plan.clone())));
    let StepParams::RunTask(run) = typed(&planned.plan, "hook.drop-database") else { panic!() };
    assert_eq!(run.task_definition, Input::Value("app:2".to_owned()), "what was registered last");
    inputs.running.insert("app".to_owned(), "app:9".to_owned());
    let planned = destroy(&app, &branch(&app), &inputs);
    let StepParams::RunTask(run) = typed(&planned.plan, "hook.drop-database") else { panic!() };
    assert_eq!(run.task_definition, Input::Value("app:9".to_owned()), "what runs");
    // Nothing to run from: left out, said, and no second sweep.
    let planned = destroy(&app, &branch(&app), &self::inputs());
    assert_eq!(planned.warnings.len(), 2);
    assert!(planned.plan.step(&"sweep.last".into()).is_none());
}

#[test]
fn the_last_try_and_a_repeated_destroy_say_so() {
    let app = app();
    let mut record = branch(&app);
    assert!(!made(&app, &record, PlanKind::Create).last_try);
    record.replans = crate::control::MAX_REPLANS;
    assert!(made(&app, &record, PlanKind::Create).last_try);
    assert!(!destroy(&app, &record, &inputs()).plan.quiet);
    record.retries = 1;
    assert!(destroy(&app, &record, &inputs()).plan.quiet);
}

#[test]
fn an_update_takes_the_former_address_away_after_its_hooks() {
    let mut app = full();
    let unused = |app: &App, record: &EnvironmentRecord| {
        let StepParams::SweepResources(sweep) = typed(&made(app, record, PlanKind::Update), "unused") else { panic!() };
        sweep
    };
    let host = RouteTarget::Host { host: "test123.my-project.localhost".to_owned(), port: 8080 };
    assert_eq!(unused(&app, &branch(&app)).keep_route, Some(host));
    app.services.get_mut("app").unwrap().load_balancer = None;
    let sweep = unused(&app, &branch(&app));
    assert_eq!(sweep.keep_route, None);
    assert!(sweep.kinds.ends_with(&[ResourceKind::Rule, ResourceKind::Listener, ResourceKind::TargetGroup]));
}

#[test]
fn a_host_label_that_another_environment_has_gets_a_hash() {
    let mut app = app();
    let record = branch(&app);
    let mut other = record.clone();
    other.id = "other-test123".into();
    let label =
        |app: &App, record: &EnvironmentRecord, other: &EnvironmentRecord| host_label(app, record, [record, other]);
    assert_eq!(label(&app, &record, &other), "test123", "the other is gone, or has not begun");
    other.made_generation = 1;
    let hashed = label(&app, &record, &other);
    assert!(hashed.starts_with("test123-") && hashed == hashed_names(&app, &record.key).host_label, "{hashed}");
    let mut answers = record.clone();
    answers.url = url(&app, &record);
    assert_eq!(label(&app, &answers, &other), "test123", "who answers there keeps it");
    app.previews.as_mut().unwrap().routing = Routing::Ports { first: 9000, last: 9009 };
    assert_eq!(label(&app, &record, &other), "test123", "nobody has a host");
    let mut ported = record.clone();
    ported.port = Some(9001);
    assert_eq!(port(&app, &ported), Some(9001));
    app.previews.as_mut().unwrap().routing = Routing::Host { domain: "x.localhost".to_owned(), port: 80 };
    assert_eq!(port(&app, &ported), None);
}

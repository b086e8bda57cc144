//! What others did meanwhile: deployed something else, bound services to other target groups, left things half done.
use landfall_model::app::DeploymentConfiguration;
use landfall_workflow::outputs::Begun;
use serde_json::Value;

use super::*;
use crate::plan::{touched, ways_back};

/// A deployment of one service, without a commit.
fn only(service: &str, cx: EnvironmentInputs) -> EnvironmentInputs {
    EnvironmentInputs { commit: None, services: vec![service.to_owned()], ..cx }
}

#[test]
fn without_a_commit_the_images_stay_that_run_whoever_deployed_them() {
    let app = app();
    let attempts = [tried(&app, 1, "aaaaa", Outcome::Succeeded)];
    let released = EnvironmentInputs { present: state(&attempts), ..inputs() };
    let worker = |cx: EnvironmentInputs| {
        deploy(&app, &only("worker", cx)).map(|plan| definition(&plan, "worker").containers[0].image.clone())
    };
    let handle = released.present.as_ref().unwrap().services["worker"].task_definition.clone();
    let own = Input::Value("exe_1:image.worker.worker/image".to_owned());
    // What was released runs; nothing is read.
    let cx = EnvironmentInputs { running: runs("worker", &handle, &[]), ..released.clone() };
    assert_eq!(worker(cx).unwrap(), own);
    // Somebody else's, read.
    let cx =
        EnvironmentInputs { running: runs("worker", "others:4", &[("worker", "others/worker:4")]), ..released.clone() };
    let looked_up = Input::output("image.worker.worker", "image");
    assert_eq!(worker(cx.clone()).unwrap(), looked_up);
    // Also where nothing was ever released here.
    assert_eq!(worker(EnvironmentInputs { present: None, ..cx }).unwrap(), looked_up);
    // By digest there is nothing to look up.
    let cx = EnvironmentInputs { running: runs("worker", "others:4", &[("worker", "x@sha256:4")]), ..released.clone() };
    assert_eq!(worker(cx).unwrap(), Input::Value("x@sha256:4".to_owned()));
    // And where it cannot be read nothing is put over it.
    let cx = EnvironmentInputs { running: runs("worker", "others:4", &[]), ..released.clone() };
    let error = worker(cx.clone()).unwrap_err();
    assert!(matches!(error, PlanError::Elsewhere(_)), "{error}");
    for says in ["others:4", &handle, "--commit"] {
        assert!(error.to_string().contains(says), "{error}");
    }
    // With a commit nothing is kept.
    let commit = EnvironmentInputs { commit: Some(COMMIT.to_owned()), services: vec!["worker".to_owned()], ..cx };
    assert!(deploy(&app, &commit).is_ok());
}

#[test]
fn what_a_failed_attempt_left_is_not_what_anybody_deployed() {
    let app = app();
    let attempts = [tried(&app, 2, "bbbbb", Outcome::Superseded), tried(&app, 1, "aaaaa", Outcome::Succeeded)];
    let half = "exe_2:task_definition.worker/task_definition";
    let running = runs("worker", half, &[("worker", "half/done:2")]);
    let cx = EnvironmentInputs {
        present: state(&attempts),
        unfinished: release::unfinished(&attempts),
        running,
        ..inputs()
    };
    let plan = deploy(&app, &only("worker", cx.clone())).unwrap();
    assert_eq!(
        definition(&plan, "worker").containers[0].image,
        Input::Value("exe_1:image.worker.worker/image".to_owned())
    );
    // One that was undone whole runs only because somebody wants it.
    for whole in [Outcome::RolledBack, Outcome::Aborted] {
        let attempts = [tried(&app, 2, "bbbbb", whole), tried(&app, 1, "aaaaa", Outcome::Succeeded)];
        let cx = EnvironmentInputs { unfinished: release::unfinished(&attempts), ..cx.clone() };
        let plan = deploy(&app, &only("worker", cx)).unwrap();
        assert_eq!(definition(&plan, "worker").containers[0].image, Input::output("image.worker.worker", "image"));
    }
    // Without a release there is nothing to keep.
    let none = EnvironmentInputs { present: None, ..cx };
    assert!(matches!(deploy(&app, &only("worker", none)), Err(PlanError::Unplannable(_))));
}

/// The environment of the other tests, and a second service with a load balancer's binding.
fn with_api(arn: &str) -> App {
    let mut app = app();
    let api = Service { name: "api".to_owned(), ..app.services["app"].clone() };
    app.services.insert("api".to_owned(), api);
    let prod = app.environments.get_mut("prod").unwrap();
    prod.services.push("api".to_owned());
    prod.target_groups.insert("api".to_owned(), arn.to_owned());
    app
}

const A: &str = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/a/0123456789abcdef";
const B: &str = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/b/0123456789abcdef";

fn bound(plan: &Plan, service: &str) -> Input {
    put(plan, service).target.unwrap().target_group
}

#[test]
fn a_rollback_binds_no_service_to_the_group_of_another() {
    let mut app = with_api(A);
    let attempts = [tried(&app, 1, "aaaaa", Outcome::Succeeded)];
    // By now the manifest names another group for it.
    app.environments.get_mut("prod").unwrap().target_groups.insert("api".to_owned(), B.to_owned());
    let back =
        rollback(&app, &app.environments["prod"], &state(&attempts).unwrap(), PlanDigest::new("x"), &inputs()).plan;
    sound(&back);
    assert_eq!(bound(&back, "api"), Input::Value(A.to_owned()));
    assert_eq!(bound(&back, "app"), Input::output("target_group", "target_group"));
    assert!(!back.step(&"service.api".into()).unwrap().needs.contains(&"route".into()));
}

#[test]
fn a_way_in_that_was_retired_is_not_made_again() {
    let mut app = app();
    let first = tried(&app, 1, "aaaaa", Outcome::Succeeded);
    // The group of somebody else takes its place; what follows deploys the other service alone.
    app.environments.get_mut("prod").unwrap().target_groups.insert("app".to_owned(), A.to_owned());
    let second = tried(&app, 2, "bbbbb", Outcome::Succeeded);
    let cx =
        EnvironmentInputs { execution: ExecutionId::new("exe_3"), services: vec!["worker".to_owned()], ..inputs() };
    let third = attempt(&deploy(&app, &cx).unwrap(), Outcome::Succeeded);
    let attempts = [third, second, first];
    let now = state(&attempts).unwrap();
    assert_eq!((now.target_group.clone(), now.route.clone()), (None, None));
    let prod = &app.environments["prod"];
    let back = rollback(&app, prod, &now, PlanDigest::new("x"), &inputs()).plan;
    sound(&back);
    assert!(
        !ids(&back).iter().any(|id| matches!(*id, "target_group" | "route" | "targets" | "probe")),
        "{:?}",
        ids(&back)
    );
    assert_eq!(bound(&back, "app"), Input::Value(A.to_owned()));
    // Going back to before it was retired makes it again: that is what was released then.
    let before = rollback(&app, prod, &state(&attempts[2..]).unwrap(), PlanDigest::new("x"), &inputs()).plan;
    assert!(ids(&before).contains(&"route"));
    // Also a release that says of one what none of its services has.
    let stray = Release { target_group: attempts[2].release.as_ref().unwrap().target_group.clone(), ..now };
    let stray = Release { route: attempts[2].release.as_ref().unwrap().route.clone(), ..stray };
    let back = rollback(&app, prod, &stray, PlanDigest::new("x"), &inputs()).plan;
    assert!(!ids(&back).contains(&"route"));
}

/// Attempt `exe_{n}` at these services (none: all), with the steps that were begun and what their handlers wrote down.
fn came_to(app: &App, n: u32, services: &[&str], outcome: Outcome, begun: &[(&str, Value)]) -> Attempt {
    let cx = EnvironmentInputs {
        execution: ExecutionId::new(format!("exe_{n}")),
        services: services.iter().map(|service| (*service).to_owned()).collect(),
        ..inputs()
    };
    let plan = deploy(app, &cx).unwrap();
    let recalled = |(step, written): &(&str, Value)| {
        let step = landfall_model::ids::StepId::from(*step);
        let params = plan.step(&step).unwrap().params.clone();
        Begun { step, params, written: vec![written.clone()] }
    };
    let begun: Vec<Begun> = begun.iter().map(recalled).collect();
    Attempt { touched: touched(&plan, &begun), ..attempt(&plan, outcome) }
}

/// As service.deploy writes it down before it changes anything.
fn found(task_definition: &str) -> Value {
    let deployment = DeploymentConfiguration { maximum_percent: 150, ..app().services["app"].deployment.clone() };
    let target = json!({"target_group": A, "container": "proxy", "port": 8080});
    json!({
        "previous_task_definition": task_definition, "previous_desired_count": 2, "previous_deployment": "ecs-svc/1",
        "previous_settings": {"deployment": deployment, "target": target},
    })
}

/// Where a deployment of everything goes back to after `attempts`: by step, the task definition, or `lost`.
fn back_to(app: &App, attempts: &[Attempt]) -> BTreeMap<String, String> {
    let mut plan = deploy(app, &inputs()).unwrap();
    ways_back(&mut plan, attempts, state(attempts).as_ref(), &BTreeMap::from([("app".to_owned(), 9)]));
    sound(&plan);
    let told = |params: &Value| match serde_json::from_value(params.clone()) {
        Ok(StepParams::DeployService(put)) => put.task_definition.value().unwrap().to_owned(),
        Ok(StepParams::EnsureTargetGroup(group)) => format!("delay {}", group.deregistration_delay),
        _ => "lost".to_owned(),
    };
    plan.fallback.iter().map(|(step, params)| (step.to_string(), told(params))).collect()
}

fn steps(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(step, back)| ((*step).to_owned(), (*back).to_owned())).collect()
}

#[test]
fn each_service_goes_back_to_before_all_that_were_cut_short() {
    use Outcome::{Aborted, Failed, NeedsReplan, RollbackFailed, RolledBack, Succeeded, Superseded};
    let app = app();
    let all = |n, outcome, begun: &[(&str, Value)]| came_to(&app, n, &[], outcome, begun);
    let app_at = |found_there: &str| ("service.app", found(found_there));
    let first = || came_to(&app, 1, &[], Succeeded, &[app_at("none:0")]);
    // Nobody was cut short.
    assert_eq!(back_to(&app, &[first()]), steps(&[]));
    assert_eq!(back_to(&app, &[]), steps(&[]));
    // A service that was not begun is as it was.
    for outcome in [Superseded, Failed, RollbackFailed, NeedsReplan] {
        let half = all(2, outcome, &[app_at("before:1")]);
        assert_eq!(back_to(&app, &[half, first()]), steps(&[("service.app", "before:1")]), "{outcome:?}");
    }
    // An abort unwinds: what the next one finds is what ran before.
    for outcome in [Succeeded, RolledBack, Aborted] {
        assert_eq!(back_to(&app, &[all(2, outcome, &[app_at("before:1")]), first()]), steps(&[]), "{outcome:?}");
    }
    // Several in a row: the oldest saw what ran.
    let row = [
        all(4, RollbackFailed, &[app_at("half:3")]),
        all(3, Superseded, &[app_at("half:2"), ("service.worker", found("before:5"))]),
        all(2, Superseded, &[app_at("before:1")]),
        first(),
    ];
    assert_eq!(back_to(&app, &row), steps(&[("service.app", "before:1"), ("service.worker", "before:5")]));
    // But not beyond one that was whole.
    let undone = [all(4, Superseded, &[app_at("before:1")]), all(3, Aborted, &[app_at("half:2")]), row[2].clone()];
    assert_eq!(back_to(&app, &undone), steps(&[("service.app", "before:1")]));
    // A whole one of another service says nothing of this one, and a scaled count nothing at all.
    let worker = came_to(&app, 3, &["worker"], Succeeded, &[("service.worker", found("half:2"))]);
    let half = || all(2, Superseded, &[app_at("before:1"), ("service.worker", found("before:5"))]);
    let scaled = Attempt { kind: release::SCALE.to_owned(), release: None, ..all(4, Succeeded, &[]) };
    assert_eq!(back_to(&app, &[scaled, worker, half(), first()]), steps(&[("service.app", "before:1")]));
}

#[test]
fn what_the_journal_does_not_have_is_told_by_the_release_or_is_lost() {
    let app = app();
    let half = |n, written: Value| came_to(&app, n, &[], Outcome::Superseded, &[("service.app", written)]);
    let first = || came_to(&app, 1, &[], Outcome::Succeeded, &[]);
    let released = "exe_1:task_definition.app/task_definition";
    // Begun, and ended before anything was written down; or made anew where somebody had deleted it.
    for written in [json!({}), json!({"service": "my-project-prod-app", "created": true})] {
        let attempts = [half(3, found("half:2")), half(2, written.clone()), first()];
        let expected = if written["created"] == true { released } else { "half:2" };
        assert_eq!(back_to(&app, &attempts), steps(&[("service.app", expected)]), "{written}");
        assert_eq!(back_to(&app, &attempts[1..]), steps(&[("service.app", released)]), "{written}");
        // Nothing ever ended well.
        assert_eq!(back_to(&app, &attempts[1..2]), steps(&[("service.app", "lost")]), "{written}");
    }
    // An attempt that knew has it in its plan.
    let mut knew = half(2, found("half:1"));
    let before = serde_json::to_value(&first().touched[1].params).unwrap();
    let StepParams::DeployService(mut put) = serde_json::from_value(before).unwrap() else { panic!() };
    put.task_definition = Input::Value("before:0".to_owned());
    for (fallback, expected) in
        [(serde_json::to_value(StepParams::DeployService(put)).unwrap(), "before:0"), (Value::Null, "lost")]
    {
        knew.touched.iter_mut().for_each(|touched| touched.fallback = touched.begun.then(|| fallback.clone()));
        assert_eq!(back_to(&app, &[half(3, found("half:2")), knew.clone()]), steps(&[("service.app", expected)]));
    }
}

#[test]
fn what_was_there_is_put_back_with_its_settings_and_the_count_of_now() {
    let app = app();
    let group = json!({"target_group": GROUP, "created": false, "former": {
        "health_check": app.services["app"].load_balancer.as_ref().unwrap().health_check,
        "deregistration_delay": 77, "algorithm": "round_robin", "idle_timeout": 60,
    }});
    let begun = [("target_group", group), ("service.app", found("before:1"))];
    let half = came_to(&app, 2, &[], Outcome::Superseded, &begun);
    let first = came_to(&app, 1, &[], Outcome::Succeeded, &[]);
    let attempts = [half, first];
    assert_eq!(back_to(&app, &attempts), steps(&[("service.app", "before:1"), ("target_group", "delay 77")]));
    let mut plan = deploy(&app, &inputs()).unwrap();
    ways_back(&mut plan, &attempts, None, &BTreeMap::from([("app".to_owned(), 9)]));
    let back = serde_json::from_value(plan.fallback[&"service.app".into()].clone()).unwrap();
    let StepParams::DeployService(back) = back else { panic!("{back:?}") };
    assert_eq!(
        (back.name.as_str(), back.desired_count, back.deployment.maximum_percent),
        ("my-project-prod-app", 9, 150)
    );
    assert_eq!(back.target.unwrap().target_group, Input::Value(A.to_owned()));
}

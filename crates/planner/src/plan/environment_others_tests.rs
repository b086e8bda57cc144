//! What others did meanwhile: deployed something else, bound services to other target groups, left things half done.
use super::*;

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
    assert_eq!(worker(cx.clone()).unwrap(), Input::Value("others/worker:4".to_owned()));
    // Also where nothing was ever released here.
    assert_eq!(worker(EnvironmentInputs { present: None, ..cx }).unwrap(), Input::Value("others/worker:4".to_owned()));
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

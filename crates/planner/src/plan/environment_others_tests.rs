//! What others did meanwhile: deployed something else, bound services to other target groups, left things half done.
use super::*;

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
    let back = rollback(&app, &app.environments["prod"], &state(&attempts).unwrap(), PlanDigest::new("x"), &inputs()).plan;
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
    let cx = EnvironmentInputs { execution: ExecutionId::new("exe_3"), services: vec!["worker".to_owned()], ..inputs() };
    let third = attempt(&deploy(&app, &cx).unwrap(), Outcome::Succeeded);
    let attempts = [third, second, first];
    let now = state(&attempts).unwrap();
    assert_eq!((now.target_group.clone(), now.route.clone()), (None, None));
    let prod = &app.environments["prod"];
    let back = rollback(&app, prod, &now, PlanDigest::new("x"), &inputs()).plan;
    sound(&back);
    assert!(!ids(&back).iter().any(|id| matches!(*id, "target_group" | "route" | "targets" | "probe")), "{:?}", ids(&back));
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

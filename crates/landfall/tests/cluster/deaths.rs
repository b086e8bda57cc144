//! The whole life of a cluster in virtual time, with whoever rolls dead after each call that AWS is asked, and somebody else who is asked
//! for the same.

use std::cell::RefCell;

use landfall_awsfake::Handle;
use landfall_cluster::roll::{Failure, Goal, Next};
use serde_json::json;

use super::instances::{
    INFRA, MUTE, SICK, TASKS, fleet, is_not_there, is_there, nobody_notices, picture, serve, serve_no_more,
};
use super::virtual_time::{Look, SECOND, deaths, deploy, each, first, lives, nobody_hears, rolls, version};

async fn ends(fake: &Handle, process: u32, asked: &Goal) -> Next {
    rolls(fake, process, INFRA, asked, |_| false).await
}

/// Dead after the effect of this call, before its answer is heard.
async fn dies(fake: &Handle, asked: &Goal, after: usize) {
    nobody_hears(fake, after);
    if let Some(end) = lives(fake, ends(fake, 1, asked)).await {
        panic!("it ended as {end:?} before call {after}");
    }
}

struct Tried {
    /// As it is without deaths.
    world: Handle,
    end: Next,
    deaths: usize,
}

/// Everything that is asked for, from this world on: once without deaths, and once for each.
async fn matrix(before: &Handle, asked: Goal) -> Tried {
    let (_, world) = before.fork().await.unwrap();
    let looks = RefCell::new(Vec::<Look<Next>>::new());
    let end = rolls(&world, 1, INFRA, &asked, |decided| {
        looks.borrow_mut().push((world.calls().len(), decided.clone()));
        false
    })
    .await;
    let places = deaths(&world.calls(), &looks.into_inner());
    world.advance(30 * SECOND);
    let expected = picture(&world);
    let tried = places.len();
    each(before, places, async |fake, after| {
        dies(&fake, &asked, after).await;
        fake.advance(3 * SECOND);
        let told = ends(&fake, 2, &asked).await;
        fake.advance(30 * SECOND);
        nobody_notices(&fake);
        let what = || format!("{asked:?}, dead after call {after}: {:?}", world.calls()[after].operation);
        assert_eq!(format!("{told:?}"), format!("{end:?}"), "{}", what());
        assert_eq!(picture(&fake), expected, "{}", what());
    })
    .await;
    Tried { world, end, deaths: tried }
}

/// With version `one`, and a service on it.
async fn with_one() -> Handle {
    let fake = first().await;
    assert_eq!(ends(&fake, 1, &deploy("one")).await, Next::Done);
    serve(&fake, "web", "shop", TASKS);
    fake.advance(30 * SECOND);
    nobody_notices(&fake);
    fake
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_version_comes_whoever_dies() {
    let tried = matrix(&first().await, deploy("one")).await;
    assert_eq!(tried.end, Next::Done);
    assert!(tried.deaths > 12, "{}", tried.deaths);
    is_there(
        &tried.world,
        &["cluster \"web\"", "instance of one/main", "instance of one/reserved", "stack web-asg-one"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_version_takes_its_place_whoever_dies() {
    let tried = matrix(&with_one().await, deploy("two")).await;
    assert_eq!(tried.end, Next::Done);
    assert!(tried.deaths > 18, "{}", tried.deaths);
    is_there(&tried.world, &["instance of two/main, active", "task of \"service:shop\" on Some(\"two\")"]);
    is_not_there(&tried.world, "instance of one");
    is_not_there(&tried.world, "asg-one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_work_changes_nothing_whoever_dies() {
    let before = with_one().await;
    let untouched = fleet(&before);
    for broken in [SICK, MUTE] {
        let tried = matrix(&before, deploy(broken)).await;
        assert_eq!(tried.end, Next::Failed { why: Failure::Unproven { version: version(broken) } });
        assert_eq!(fleet(&tried.world), untouched);
        is_there(&tried.world, &[&format!("group of \"web-asg-{broken}\": 0 to 0, 0")]);
    }
}

/// Half way to a second version the first is wanted back, and the second goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_activated_again_whoever_dies() {
    let fake = with_one().await;
    let drains = |next: &Next| matches!(next, Next::Drain { .. });
    assert!(drains(&rolls(&fake, 1, INFRA, &deploy("two"), drains).await));
    let back = matrix(&fake, Goal::Keep { version: version("one"), fresh: true }).await;
    assert_eq!(back.end, Next::Done);
    is_there(&back.world, &["instance of one/main, active", "instance of two/main, active"]);
    is_not_there(&back.world, "draining");
    let gone = matrix(&back.world, Goal::Retire { version: version("two"), fresh: true }).await;
    assert_eq!(gone.end, Next::Done);
    is_there(&gone.world, &["instance of one/main, active", "task of \"service:shop\" on Some(\"one\")"]);
    is_not_there(&gone.world, "asg-two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_it_goes_whoever_dies() {
    let fake = with_one().await;
    serve_no_more(&fake, "web", "shop");
    fake.advance(60 * SECOND);
    fake.call("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": "shop:1"})).unwrap();
    let tried = matrix(&fake, Goal::Destroy).await;
    assert_eq!((tried.end, picture(&tried.world)), (Next::Done, Vec::new()));
}

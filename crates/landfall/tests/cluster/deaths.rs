//! The whole life of a cluster in virtual time, with whoever rolls dead after each call that AWS is asked, and somebody else who is asked
//! for the same. A look asks much and changes nothing, and no time passes in it: of deaths between two of its questions one is as good as any,
//! and so is one after each of two looks that decided the same.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures_util::{StreamExt as _, stream};
use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_awsfake::faults::Fault;
use landfall_awsfake::world::is_read;
use landfall_awsfake::{Fake, Handle, REGION, Recorded};
use landfall_cluster::roll::{Failure, Goal, Next, Patience, next};
use landfall_cluster::{Around, Infra, Version, load};
use landfall_manifest::SourceFile;
use landfall_model::aws::AwsTarget;
use landfall_steps::cluster::{Cluster, Did};
use serde_json::{Value, json};

use super::instances::{
    INFRA, MUTE, SICK, TASKS, fleet, nobody_notices, picture, serve, serve_no_more, with_instances,
};

const PATIENCE: Patience = Patience { registers: 60, starts: 30, stays: 2, moves: 60, recovers: 600 };
/// Deaths that are tried at a time: while some wait for what one process may ask of CloudFormation in a second, others have the processor.
const AT_ONCE: usize = 64;
const REAL_HOUR_MS: u64 = 3_600_000;
const SECOND: u64 = 1_000;

fn infra() -> Infra {
    load(SourceFile::new("infra.yml", INFRA.to_owned()), None).unwrap().infra
}

fn version(name: &str) -> Version {
    Version::parse(name, "web").unwrap()
}

fn deploy(name: &str) -> Goal {
    Goal::Deploy { version: version(name), fresh: true }
}

/// A process of its own: it has its own quota of calls.
async fn platform(fake: &Handle, process: u32) -> AwsPlatform {
    let target = AwsTarget {
        name: "web".to_owned(),
        region: Some(REGION.to_owned()),
        endpoint: Some(format!("{}/{process}", fake.url())),
        cluster: "web".to_owned(),
        ..AwsTarget::default()
    };
    let credentials = SharedCredentialsProvider::new(Credentials::new("AKIATEST", "test", None, None, "test"));
    AwsPlatform::connect_as(&target, AwsOptions { instance: "none".to_owned() }, credentials).await.unwrap()
}

/// To what happens next, within a few seconds.
fn pass(fake: &Handle) {
    let told = fake.script("GET", "now", &Value::Null).unwrap();
    let next = told["next"].as_u64().unwrap_or(u64::MAX);
    fake.advance(next.saturating_sub(fake.now()).clamp(SECOND / 5, 5 * SECOND));
    nobody_notices(fake);
}

/// From look to look, as `landfall cluster` does. `stop`: where it is left alone.
async fn rolls(fake: &Handle, process: u32, asked: &Goal, stop: impl Fn(&Next) -> bool) -> Next {
    let (infra, platform) = (infra(), platform(fake, process).await);
    let (stacks, instances) = (platform.stacks(), platform.container_instances());
    let image = Some("ami-0a1b2c3d4e5f60718".to_owned());
    let mut cluster = Cluster::new(&infra, Around::default(), image, &*stacks, &*instances);
    let mut goal = asked.clone();
    for _ in 0..1_000 {
        let facts = match cluster.look(&goal, (fake.now() / SECOND) as i64).await {
            Ok(facts) => facts,
            Err(error) if error.passes() => {
                pass(fake);
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let doing = next(&goal, &facts, PATIENCE);
        if matches!(doing, Next::Done | Next::Failed { .. }) {
            return doing;
        }
        for _ in 0..6 {
            match cluster.act(&doing, &facts).await {
                Ok(Did::Soon) => fake.advance(SECOND / 10),
                Ok(Did::It) => {
                    goal.did(&doing);
                    break;
                }
                Ok(Did::Pending) => break,
                Err(error) if error.passes() => break,
                other => panic!("{doing:?}: {other:?}"),
            }
        }
        if stop(&doing) {
            return doing;
        }
        pass(fake);
    }
    panic!("{asked:?} does not end: {:#?}", picture(fake));
}

async fn ends(fake: &Handle, process: u32, asked: &Goal) -> Next {
    rolls(fake, process, asked, |_| false).await
}

/// Dead after the effect of this call, before its answer is heard.
async fn dies(fake: &Handle, asked: &Goal, after: usize) {
    let deaf =
        Fault { skip: after as u32, times: Some(1), lose_response: true, latency_ms: REAL_HOUR_MS, ..Fault::default() };
    fake.fault(deaf);
    let struck = async {
        while fake.script("GET", "faults", &Value::Null).unwrap()[0]["fired"] == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        end = ends(fake, 1, asked) => panic!("it ended as {end:?} before call {after}"),
        () = struck => fake.clear_faults(),
    }
}

/// A look: how many calls there were after it, and what it decided.
type Look = (usize, Next);

/// Calls after which a death is another one than that after the call before: around what changes something, and where a look ended and the
/// next one decided something else.
fn deaths(calls: &[Recorded], looks: &[Look]) -> Vec<usize> {
    let writes = |at: usize| calls.get(at).is_some_and(|call| !is_read(&call.operation));
    let turns = looks.iter().enumerate().filter(|(at, look)| looks.get(at + 1).is_none_or(|next| next.1 != look.1));
    // What the last look decided, which is the end, is not among them.
    let turns: BTreeSet<usize> = turns.map(|(_, look)| look.0).chain([calls.len()]).collect();
    (0..calls.len()).filter(|at| writes(*at) || writes(at + 1) || turns.contains(&(at + 1))).collect()
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
    let looks = RefCell::new(Vec::<Look>::new());
    let end = rolls(&world, 1, &asked, |decided| {
        looks.borrow_mut().push((world.calls().len(), decided.clone()));
        false
    })
    .await;
    let places = deaths(&world.calls(), &looks.into_inner());
    world.advance(30 * SECOND);
    let expected = picture(&world);
    let case = async |after: usize| {
        let (_, fake) = before.fork().await.unwrap();
        dies(&fake, &asked, after).await;
        fake.advance(3 * SECOND);
        let told = ends(&fake, 2, &asked).await;
        fake.advance(30 * SECOND);
        nobody_notices(&fake);
        let what = || format!("{asked:?}, dead after call {after}: {:?}", world.calls()[after].operation);
        assert_eq!(format!("{told:?}"), format!("{end:?}"), "{}", what());
        assert_eq!(picture(&fake), expected, "{}", what());
    };
    let tried = places.len();
    stream::iter(places).map(case).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    Tried { world, end, deaths: tried }
}

async fn first() -> Handle {
    let (_, fake) = Fake { scale: 0.0, ..Fake::default() }.run().await.unwrap();
    with_instances(&fake, 20 * SECOND);
    fake
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

fn is_there(fake: &Handle, lines: &[&str]) {
    let there = picture(fake);
    for line in lines {
        assert!(there.iter().any(|own| own.starts_with(line)), "no {line}: {there:#?}");
    }
}

fn is_not_there(fake: &Handle, what: &str) {
    let there = picture(fake);
    assert!(!there.iter().any(|own| own.contains(what)), "{what}: {there:#?}");
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
    assert!(drains(&rolls(&fake, 1, &deploy("two"), drains).await));
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
